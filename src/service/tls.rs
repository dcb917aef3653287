//! Encryption of what listens, with a certificate of the operator's.

use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use crate::error::{Attempt, Error, ErrorKind, Result};

/// What a listener shows to those who connect; clones share it.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// The certificate, with those that it was signed by behind it, and its key: PEM files.
    ///
    /// # Errors
    /// `Config`, with the file that could not be read or used.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self> {
        let reading = |file: &Path| format!("read {}", file.display());
        let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
        let chain = chain.attempting(ErrorKind::Config, || reading(certificate))?;
        if chain.is_empty() {
            return Err(Error::config(format!("there is no certificate (PEM) in {}", certificate.display())));
        }
        let read = PrivateKeyDer::from_pem_file(key).attempting(ErrorKind::Config, || reading(key))?;
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, read);
        let config = config.attempting(ErrorKind::Config, || format!("use the certificate {}", certificate.display()))?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Agrees with who has connected.
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.0.accept(stream).await
    }
}
