//! Lines over TCP: from a server we connect to, or from clients that connect to us.
//!
//! A socket is opened once per process and logged (see `ingest`), so its queries share it and can read it again after a crash.
//! Lines of one connection stay in order; those of several are interleaved line by line.

mod connect;
pub(crate) use connect::NEVER_CONNECTED;
mod connection;
mod listen;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::ingest::{Appender, Ingest, IngestSettings, IngestSource, Keep};
use super::{Extent, ReadLimit, Replay, SourceSpec, SourceStats};
use crate::clock::Clock;
use crate::error::{Error, Result};
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

/// An open socket with its ingest log.
///
/// Dropping it without [`Socket::close`] is like a crash: what was not yet written to the log is gone.
#[derive(Debug)]
pub struct Socket {
    ingest: Ingest,
    tasks: TaskTracker,
    /// Ends the tasks when dropped.
    cancel: DropGuard,
    local_addr: Option<SocketAddr>,
}

/// What a socket runs on.
#[derive(Debug, Clone)]
pub struct Host<'a> {
    /// Says when lines were received.
    pub clock: Arc<dyn Clock>,
    /// Runs the network tasks.
    pub runtime: &'a Handle,
    /// Ends them; [`Socket::close`] does, too.
    pub cancel: &'a CancellationToken,
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

impl Socket {
    /// Opens the ingest log and the socket `name`. `queries` are those that read it; see [`Ingest::open`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] for an address that cannot be, [`crate::ErrorKind::Unavailable`] for one that is taken; errors
    /// of the log. A server that cannot be connected to fails the queries, not this.
    pub async fn open(name: &str, settings: SocketSettings, keep: Keep, queries: Vec<String>, host: Host<'_>) -> Result<Self> {
        let Host { clock, runtime, cancel } = host;
        let log = settings.log;
        let opened = tokio::task::spawn_blocking(move || Ingest::open(keep, log, &queries)).await;
        let ingest = opened.map_err(|cause| Error::internal("opening an ingest log stopped unexpectedly").because(cause))??;
        let cancel = cancel.child_token();
        let tasks = TaskTracker::new();
        let receiver = Arc::new(Receiver {
            name: name.into(),
            settings,
            appender: ingest.appender(name),
            clock,
            cancel: cancel.clone(),
            tasks: tasks.clone(),
            connections: AtomicU64::new(0),
        });
        let local_addr = match &receiver.settings.endpoint {
            Endpoint::Connect(address) => {
                connect::check_address(address)?;
                tasks.spawn_on(connect::run(receiver.clone(), address.clone()), runtime);
                None
            }
            Endpoint::Listen(address) => {
                let _entered = runtime.enter();
                let listener = listen::bind(&receiver, address)?;
                let local_addr = listener.local_addr().ok();
                tasks.spawn_on(listen::run(receiver.clone(), listener), runtime);
                local_addr
            }
        };
        tasks.close();
        Ok(Self { ingest, tasks, cancel: cancel.drop_guard(), local_addr })
    }

    /// A query's view of what was received. The query holds what it has not released.
    pub fn source(&self, query: &str, extent: Extent) -> IngestSource {
        self.ingest.source(query, extent)
    }

    /// Lets go of what a query holds; see [`Ingest::forget`].
    pub fn forget(&self, query: &str) {
        self.ingest.forget(query);
    }

    /// Where a listening socket listens: the real port where port 0 was asked for.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// Counters.
    pub fn stats(&self) -> Arc<SourceStats> {
        self.ingest.stats()
    }

    /// Disconnects everyone, ends every task, and writes what was received.
    ///
    /// # Errors
    /// The failure that kept the log from being written.
    pub async fn close(self) -> Result<()> {
        let Self { ingest, tasks, cancel, .. } = self;
        drop(cancel);
        tasks.wait().await;
        let closed = tokio::task::spawn_blocking(move || ingest.close()).await;
        closed.map_err(|cause| Error::internal("closing an ingest log stopped unexpectedly").because(cause))?
    }
}
