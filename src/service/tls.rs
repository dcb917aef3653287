//! Encryption of what listens, with a certificate of the operator's.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use super::renewal::Renewed;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::pipeline::{FilePath, TlsSpec};

/// What a listener shows to those who connect, and asks of them; clones share it.
#[derive(Clone)]
pub struct Tls(Arc<Held>);

struct Held {
    files: TlsSpec,
    current: RwLock<TlsAcceptor>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// The certificate, with those that it was signed by behind it, and its key; and the authorities of which clients need a
    /// certificate, if they need one: PEM files. TLS 1.2 and 1.3 are spoken.
    ///
    /// # Errors
    /// `Config`, with the file that could not be read or used.
    pub fn read(files: &TlsSpec) -> Result<Self> {
        let current = RwLock::new(acceptor(files)?);
        Ok(Self(Arc::new(Held { files: files.clone(), current })))
    }

    /// Agrees with who has connected.
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let current = self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        current.accept(stream).await
    }
}

impl Renewed for Tls {
    fn files(&self) -> Vec<PathBuf> {
        let TlsSpec { certificate, key, client_ca } = &self.0.files;
        [Some(certificate), Some(key), client_ca.as_ref()].into_iter().flatten().map(|file| file.to_path_buf()).collect()
    }

    fn renew(&self) -> Result<()> {
        let Held { files, current } = &*self.0;
        let renewed = acceptor(files)?;
        *current.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }
}

fn acceptor(TlsSpec { certificate, key, client_ca }: &TlsSpec) -> Result<TlsAcceptor> {
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key).attempting(ErrorKind::Config, || format!("read {key}"))?;
    let config = match client_ca {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(file) => {
            let using = || format!("use the certificates {file}");
            let mut authorities = RootCertStore::empty();
            for authority in certificates(file)? {
                authorities.add(authority).attempting(ErrorKind::Config, using)?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(authorities)).build().attempting(ErrorKind::Config, using)?;
            ServerConfig::builder().with_client_cert_verifier(verifier)
        }
    };
    let config = config.with_single_cert(chain, key);
    let config = config.attempting(ErrorKind::Config, || format!("use the certificate {certificate}"))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(file: &FilePath) -> Result<Vec<CertificateDer<'static>>> {
    let chain = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    let chain = chain.attempting(ErrorKind::Config, || format!("read {file}"))?;
    if chain.is_empty() {
        return Err(Error::config(format!("there is no certificate (PEM) in {file}")));
    }
    Ok(chain)
}
