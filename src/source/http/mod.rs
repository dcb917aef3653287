//! Lines over HTTP: clients POST them, and are answered once they are durable.
//!
//! A request is taken whole or not at all: its lines are one record of the ingest log (see `ingest`), with the key that the client gave
//! it, so that a request that is sent again is known again. Where a socket's clients wait for room, these are told to come back.

mod body;
mod handler;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use tokio::sync::Semaphore;

use self::handler::{Peer, Receiver, take};
use super::ingest::{Host, IngestSettings, Inlet, Keep};
use super::socket::{listen_at, resolve};
use super::{ReadLimit, Replay, SourceSpec};
use crate::error::Result;
use crate::format::MetadataColumn;
use crate::pipeline::Text;
use crate::service::{Access, Limits, Tls, serve_clients};

/// What is true of every HTTP source.
pub const SPEC: SourceSpec = SourceSpec {
    name: "http",
    replay: Replay::Logged,
    shared: true,
    metadata: &[MetadataColumn::Source, MetadataColumn::Position, MetadataColumn::ReceivedAt],
    limit: ReadLimit { rows_max: None, bytes_max: Some(64 << 20), files_max: None },
};

/// Requests whose keys are remembered.
pub const KEYS_MAX: usize = 1 << 16;
/// Requests of the largest size that are held at a time; smaller ones are as many more.
const LARGEST_REQUESTS_MAX: usize = 8;

/// Settings of an HTTP source.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Where to listen, `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Where requests go, with the `/` that it begins with.
    pub path: String,
    /// What a request must show.
    pub token: Option<Text>,
    /// What to encrypt with.
    pub tls: Option<Tls>,
    /// Bytes of a request's lines at most, unpacked and as they are sent.
    pub request_bytes_max: usize,
    /// How long a request may take to arrive (60 s).
    pub request_timeout: Duration,
    /// Clients at a time (1,024); further ones are turned away.
    pub connections_max: usize,
    /// Longest line in bytes (1 MiB); a request with a longer one is refused.
    pub line_bytes_max: usize,
    /// How much the ingest log may hold, and how many keys it remembers.
    pub log: IngestSettings,
}

impl HttpSettings {
    /// The defaults for an address and a path.
    pub fn new(listen: &str, path: &str) -> Self {
        Self {
            listen: listen.to_owned(),
            path: path.to_owned(),
            token: None,
            tls: None,
            request_bytes_max: 8 << 20,
            request_timeout: Duration::from_secs(60),
            connections_max: 1024,
            line_bytes_max: 1 << 20,
            log: IngestSettings { keys_max: KEYS_MAX, ..IngestSettings::default() },
        }
    }
}

/// Opens the ingest log of the source `name` and listens. `queries` are those that read it; see [`super::ingest::Ingest::open`].
///
/// # Errors
/// [`crate::ErrorKind::Config`] for an address that cannot be or that nothing guards, [`crate::ErrorKind::Unavailable`] for one that is
/// taken; errors of the log.
pub async fn open(name: &str, settings: HttpSettings, keep: Keep, queries: Vec<String>, host: Host<'_>) -> Result<Inlet> {
    let address = resolve(name, &settings.listen)?;
    let token = settings.token.as_ref().map(Text::expose);
    let access = Access::of_source(name, address, token, settings.tls.is_some())?;
    let (mut inlet, cancel) = Inlet::open(keep, settings.log, queries, &host).await?;
    let _entered = host.runtime.enter();
    let listener = listen_at(name, address)?;
    inlet.local_addr = listener.local_addr().ok();
    let limits = Limits { connections_max: settings.connections_max, ..Limits::default() };
    let (stats, tls, held_max) = (inlet.stats(), settings.tls.clone(), settings.request_bytes_max * LARGEST_REQUESTS_MAX);
    let receiver = Arc::new(Receiver {
        name: name.into(),
        access,
        appender: inlet.ingest.appender(name),
        clock: host.clock,
        held: Arc::new(Semaphore::new(held_max.min(Semaphore::MAX_PERMITS))),
        requests: AtomicU64::new(0),
        settings,
    });
    // Paths are compared by the handler, as they are: a router would read patterns in the one that is set.
    let router = Router::new().fallback(take).with_state(receiver);
    let serving = async move {
        serve_clients(listener, |peer| router.clone().layer(Extension(Peer(peer))), limits, tls, cancel, &stats).await;
    };
    inlet.tasks.spawn_on(serving, host.runtime);
    inlet.tasks.close();
    Ok(inlet)
}
