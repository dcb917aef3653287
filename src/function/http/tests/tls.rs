use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use super::*;
use crate::pipeline::FilePath;

/// An authority, and what it has signed: `ca.pem`, `server.pem` and `client.pem` with their keys.
fn certificates() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |line: &str| {
        let run = Command::new("openssl").args(line.split(' ')).current_dir(&folder).output().expect("openssl");
        assert!(run.status.success(), "{line}: {}", String::from_utf8_lossy(&run.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -days 2 -subj /CN=authority -keyout ca.key -out ca.pem"));
    for name in ["server", "client"] {
        std::fs::write(folder.path().join("extensions"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
        openssl(&format!("req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out {name}.pem"
        ));
    }
    folder
}

/// Takes clients with a certificate of the authority.
struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

async fn tls_server(folder: &Path) -> Server {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap()).unwrap();
    let certificate = CertificateDer::from_pem_file(folder.join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let clients = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let config = ServerConfig::builder().with_client_cert_verifier(clients).with_single_cert(vec![certificate], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = TlsListener { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
    Server::serve(listener, address, |_| async { reply(200, "{\"n\": 1}") })
}

#[tokio::test]
async fn both_sides_show_their_certificates() {
    let folder = certificates();
    let server = tls_server(folder.path()).await;
    let file = |name: &str| FilePath::plain(folder.path().join(name));
    let with = |ca: bool, identity: bool| {
        let mut settings = local(&server.url("/").replace("http:", "https:"));
        settings.connection.ca = ca.then(|| file("ca.pem"));
        settings.connection.identity = identity.then(|| (file("client.pem"), file("client.key")));
        Fixture::new("x STRING", "n INT", &settings)
    };
    assert_eq!(with(true, true).answer(vec![text("x")]).await, "{\"n\":1}");
    let (answer, attempts) = with(false, true).call(vec![text("x")]).await;
    let error = answer.unwrap_err();
    assert_eq!((error.kind, attempts), (CallErrorKind::Rejected, 1), "another attempt is no use: {error}");
    assert!(error.message.contains("invalid peer certificate: UnknownIssuer"), "{error}");
    let (answer, attempts) = with(true, false).call(vec![text("x")]).await;
    let error = answer.unwrap_err();
    assert_eq!((error.kind, attempts), (CallErrorKind::Rejected, 1), "{error}");
    assert!(error.message.contains("CertificateRequired"), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn files_that_hold_no_certificate_are_named() {
    let folder = certificates();
    let file = |name: &str| FilePath::plain(folder.path().join(name));
    let refused = |ca: Option<&str>, identity: Option<(&str, &str)>| {
        let mut settings = local("https://127.0.0.1/");
        settings.connection.ca = ca.map(file);
        settings.connection.identity = identity.map(|(one, other)| (file(one), file(other)));
        let made = function(signature("x STRING", "n INT"), &settings, calls(), &shared(), Arc::new(Budget::new(1)));
        made.unwrap_err().chain()
    };
    assert!(refused(Some("missing.pem"), None).contains("missing.pem: No such file"));
    assert!(refused(Some("ca.key"), None).starts_with("there is no certificate (PEM) in "));
    assert!(refused(None, Some(("ca.key", "extensions"))).contains("could not use the certificate "));
}
