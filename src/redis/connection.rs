//! How a server is reached.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::io::tcp::TcpSettings;
use ::redis::{AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, TlsCertificates};

use super::failure::connecting;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::function::CallError;
use crate::pipeline::{Address, FilePath, Text};

/// Commands that may wait to be written to a connection; who has more waits.
const QUEUED_MAX: usize = 1024;

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisConnection {
    /// The server, `host:port`.
    pub address: Address,
    /// Number of the database (0).
    pub database: u32,
    /// Who we are, with servers that know several users.
    pub username: Option<Text>,
    /// What proves it.
    pub password: Option<Text>,
    /// An encrypted connection.
    pub tls: Option<RedisTls>,
    /// How long a connection may take (5 s).
    pub connect_timeout: Duration,
}

/// An encrypted connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RedisTls {
    /// File with the certificates that the server's must be signed by (PEM); `None` are the system's.
    pub ca: Option<FilePath>,
    /// Files with our own certificate and its key (PEM).
    pub identity: Option<(FilePath, FilePath)>,
}

impl RedisConnection {
    /// Database 0 of a server, without a password or encryption.
    pub fn new(address: Address) -> Self {
        Self { address, database: 0, username: None, password: None, tls: None, connect_timeout: Duration::from_secs(5) }
    }

    /// Reads the files of certificates; reaches for nothing else.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a file that cannot be read, or is no certificate.
    pub(super) fn client(&self) -> Result<Client> {
        let (host, port) = self.address.host_and_port();
        let host = host.to_owned();
        let address = match &self.tls {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        let unusable =
            |error| Error::config(format!("Redis at {} cannot be connected to in this way", self.address)).because(error);
        let info = address.into_connection_info().map_err(unusable)?;
        let mut login =
            info.redis_settings().clone().set_db(i64::from(self.database)).set_lib_name("tidemill", env!("CARGO_PKG_VERSION"));
        if let Some(username) = &self.username {
            login = login.set_username(username.expose());
        }
        if let Some(password) = &self.password {
            login = login.set_password(password.expose());
        }
        // Commands are small and come in bursts that are written as one.
        let info = info.set_redis_settings(login).set_tcp_settings(TcpSettings::default().set_nodelay(true));
        match &self.tls {
            None => Client::open(info).map_err(unusable),
            Some(tls) => Client::build_with_tls(info, tls.certificates()?).map_err(unusable),
        }
    }
}

impl RedisTls {
    fn certificates(&self) -> Result<TlsCertificates> {
        let root_cert = match &self.ca {
            Some(ca) => Some(pem(ca, "CERTIFICATE")?),
            None => None,
        };
        let client_tls = match &self.identity {
            Some((certificate, key)) => {
                Some(ClientTlsConfig { client_cert: pem(certificate, "CERTIFICATE")?, client_key: pem(key, "KEY")? })
            }
            None => None,
        };
        Ok(TlsCertificates { client_tls, root_cert })
    }
}

/// A file that holds `what`: one without would be taken for an empty list of them.
fn pem(file: &FilePath, what: &str) -> Result<Vec<u8>> {
    let bytes = std::fs::read(file).attempting(ErrorKind::Config, || format!("read {file}"))?;
    let text = String::from_utf8_lossy(&bytes);
    let has_it = text.lines().any(|line| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{what}-----")));
    if has_it { Ok(bytes) } else { Err(Error::config(format!("{file} holds no {} in PEM", what.to_lowercase()))) }
}

/// A connection of its own; answers are waited for by who asks.
pub(super) async fn connect(client: &Client, connect_timeout: Duration, shown: &str) -> Result<MultiplexedConnection, CallError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(connect_timeout))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUED_MAX);
    client.get_multiplexed_async_connection_with_config(&config).await.map_err(|error| connecting(&error, shown))
}
