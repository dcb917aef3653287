//! Lines over TCP: from a server we connect to, or from clients that connect to us.
//!
//! A socket is opened once per process and logged (see `ingest`), so its queries share it and can read it again after a crash.
//! Lines of one connection stay in order; those of several are interleaved line by line.

mod connect;
pub(crate) use connect::NEVER_CONNECTED;
mod connection;
mod listen;
pub(super) use listen::{listen_at, resolve};
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ingest::{Appender, Host, IngestSettings, Inlet, Keep};
use super::{ReadLimit, Replay, SourceSpec};
use crate::clock::Clock;
use crate::error::Result;
use crate::format::MetadataColumn;

/// What is true of every socket source.
pub const SPEC: SourceSpec = SourceSpec {
    name: "socket",
    replay: Replay::Logged,
    shared: true,
    metadata: &[MetadataColumn::Source, MetadataColumn::Position, MetadataColumn::ReceivedAt],
    limit: ReadLimit { rows_max: None, bytes_max: Some(64 << 20), files_max: None },
};

/// Who connects to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// We connect to this `host:port`, again and again should it go away.
    Connect(String),
    /// Clients connect to us at this `host:port`.
    Listen(String),
}

/// Settings of a socket source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketSettings {
    /// Who connects to whom.
    pub endpoint: Endpoint,
    /// How long the first connection may take to come about before the queries fail (30 s). Only with [`Endpoint::Connect`].
    pub connect_timeout: Duration,
    /// Clients at a time (1,024); further ones are turned away, and so is the 65th from one address that is not loopback.
    pub connections_max: usize,
    /// Where clients may come from; empty is anywhere.
    pub allow_from: Vec<IpNet>,
    /// A client that says nothing for so long is disconnected (never).
    pub idle_timeout: Option<Duration>,
    /// A client that takes so long to finish a line is disconnected (60 s); time in which we do not read does not count. Only with
    /// [`Endpoint::Listen`].
    pub line_timeout: Duration,
    /// Longest line in bytes (1 MiB).
    pub line_bytes_max: usize,
    /// How much the ingest log may hold.
    pub log: IngestSettings,
}

impl SocketSettings {
    /// The defaults for an endpoint.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            connect_timeout: Duration::from_secs(30),
            connections_max: 1024,
            allow_from: Vec::new(),
            idle_timeout: None,
            line_timeout: Duration::from_secs(60),
            line_bytes_max: 1 << 20,
            log: IngestSettings::default(),
        }
    }
}

/// What the tasks of a socket share.
#[derive(Debug)]
struct Receiver {
    /// The source's name, for messages.
    name: Arc<str>,
    settings: SocketSettings,
    appender: Appender,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
    tasks: TaskTracker,
    connections: AtomicU64,
}

impl Receiver {
    /// `peer#n`, n counting the source's connections.
    fn origin(&self, peer: SocketAddr) -> Arc<str> {
        let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let ip = peer.ip().to_canonical();
        format!("{}#{number}", SocketAddr::new(ip, peer.port())).into()
    }
}

/// Opens the ingest log and the socket `name`. `queries` are those that read it; see [`super::ingest::Ingest::open`].
///
/// # Errors
/// [`crate::ErrorKind::Config`] for an address that cannot be, [`crate::ErrorKind::Unavailable`] for one that is taken; errors of the
/// log. A server that cannot be connected to fails the queries, not this.
pub async fn open(name: &str, settings: SocketSettings, keep: Keep, queries: Vec<String>, host: Host<'_>) -> Result<Inlet> {
    let (mut inlet, cancel) = Inlet::open(keep, settings.log, queries, &host).await?;
    let tasks = inlet.tasks.clone();
    let receiver = Arc::new(Receiver {
        name: name.into(),
        settings,
        appender: inlet.ingest.appender(name),
        clock: host.clock,
        cancel,
        tasks: tasks.clone(),
        connections: AtomicU64::new(0),
    });
    match &receiver.settings.endpoint {
        Endpoint::Connect(address) => {
            connect::check_address(address)?;
            tasks.spawn_on(connect::run(receiver.clone(), address.clone()), host.runtime);
        }
        Endpoint::Listen(address) => {
            let _entered = host.runtime.enter();
            let listener = listen::bind(&receiver, address)?;
            inlet.local_addr = listener.local_addr().ok();
            tasks.spawn_on(listen::run(receiver.clone(), listener), host.runtime);
        }
    }
    tasks.close();
    Ok(inlet)
}
