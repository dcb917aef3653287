//! The clients of the process: one for each way to make connections, whatever functions share it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Certificate, Client, Identity, redirect};

use super::address::{AddressRules, Resolver};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::pipeline::FilePath;

/// A connection that nobody uses is closed after this time: an address is looked up again for the next.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Largest file of certificates that is read.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// How connections are made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectionSettings {
    /// Which addresses may be called.
    pub addresses: AddressRules,
    /// How long a connection may take; `None`: as long as the attempt.
    pub connect_timeout: Option<Duration>,
    /// File with the certificates (PEM) that the server's must be signed by; `None`: those of the system.
    pub ca: Option<FilePath>,
    /// Files with our own certificate and its key, PEM.
    pub identity: Option<(FilePath, FilePath)>,
}

/// The clients of the process. They keep connections, so it has one set of them.
#[derive(Debug, Default)]
pub struct Clients(Mutex<HashMap<String, Client>>);

impl Clients {
    /// The client that makes connections so.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a file of certificates cannot be read or used.
    pub fn client(&self, settings: &ConnectionSettings) -> Result<Client> {
        // Paths from references show the reference, so what is used goes into the key.
        let path = |path: &FilePath| path.as_os_str().to_owned();
        let files = (settings.ca.as_ref().map(path), settings.identity.as_ref().map(|(one, other)| (path(one), path(other))));
        let key = format!("{:?} {:?} {files:?}", settings.addresses, settings.connect_timeout);
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = build(settings)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn build(settings: &ConnectionSettings) -> Result<Client> {
    let mut builder = Client::builder()
        .use_rustls_tls()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .pool_idle_timeout(IDLE_MAX)
        .user_agent(concat!("tidemill/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Arc::new(Resolver(Arc::new(settings.addresses.clone()))));
    if let Some(timeout) = settings.connect_timeout {
        builder = builder.connect_timeout(timeout);
    }
    if let Some(ca) = &settings.ca {
        let use_it = || format!("use the certificates in {ca}");
        let certificates = Certificate::from_pem_bundle(&read(ca)?).attempting(ErrorKind::Config, use_it)?;
        if certificates.is_empty() {
            return Err(Error::config(format!("there is no certificate (PEM) in {ca}")));
        }
        builder = builder.tls_built_in_root_certs(false);
        for certificate in certificates {
            builder = builder.add_root_certificate(certificate);
        }
    }
    if let Some((certificate, key)) = &settings.identity {
        let mut pem = read(certificate)?;
        pem.push(b'\n');
        pem.extend(read(key)?);
        let identity = Identity::from_pem(&pem)
            .attempting(ErrorKind::Config, || format!("use the certificate {certificate} with the key {key}"))?;
        builder = builder.identity(identity);
    }
    builder.build().attempting(ErrorKind::Config, || "set up the client for HTTP".to_owned())
}

fn read(path: &FilePath) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path).and_then(|file| file.take(PEM_BYTES_MAX).read_to_end(&mut bytes));
    opened.attempting(ErrorKind::Config, || format!("read {path}"))?;
    Ok(bytes)
}
