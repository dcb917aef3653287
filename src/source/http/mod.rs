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
use ipnet::IpNet;
use tokio::sync::Semaphore;
use tracing::warn;

use self::handler::{Receiver, take};
use super::ingest::{Host, IngestSettings, Inlet, Keep};
use super::socket::{listen_at, resolve};
use super::{ReadLimit, Replay, SourceSpec};
use crate::error::Result;
use crate::format::MetadataColumn;
use crate::pipeline::Text;
use crate::service::{Access, Exposure, Limits, Listening, Scope, Tls, Tokens, serve};

/// What is true of every HTTP source.
pub const SPEC: SourceSpec = SourceSpec {
    name: "http",
    replay: Replay::Logged,
    shared: true,
    metadata: &[MetadataColumn::Source, MetadataColumn::Position, MetadataColumn::ReceivedAt],
    limit: ReadLimit { rows_max: None, bytes_max: Some(64 << 20), files_max: None },
};

/// Bytes of a request at most, where nothing else is said.
pub const REQUEST_BYTES_MAX: usize = 8 << 20;
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
    /// What a request must show one of.
    pub tokens: Vec<Text>,
    /// What to encrypt with.
    pub tls: Option<Tls>,
    /// Whether a token is enough beyond loopback, though it and all rows are sent in clear (no).
    pub is_insecure: bool,
    /// Where clients may come from; empty is anywhere.
    pub allow_from: Vec<IpNet>,
    /// Bytes of a request's lines at most, unpacked and as they are sent.
    pub request_bytes_max: usize,
    /// How long a request may take to arrive (60 s).
    pub request_timeout: Duration,
    /// Clients at a time (1,024); further ones are turned away, and so is the 65th from one address that is not loopback.
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
            tokens: Vec::new(),
            tls: None,
            is_insecure: false,
            allow_from: Vec::new(),
            request_bytes_max: REQUEST_BYTES_MAX,
            request_timeout: Duration::from_secs(60),
            connections_max: 1024,
            line_bytes_max: 1 << 20,
            log: IngestSettings { keys_max: KEYS_MAX, ..IngestSettings::default() },
        }
    }
}

/// Whether requests can be sent to `path`: it begins with `/` and is written as in a request.
pub fn check_path(path: &str) -> std::result::Result<(), &'static str> {
    let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
    if is_path { Ok(()) } else { Err("expected a path such as /transactions, as it stands in a request") }
}

/// Opens the ingest log of the source `name` and listens. `queries` are those that read it; see [`super::ingest::Ingest::open`].
///
/// # Errors
/// [`crate::ErrorKind::Config`] for an address that cannot be or that nothing guards, [`crate::ErrorKind::Unavailable`] for one that is
/// taken; errors of the log.
pub async fn open(name: &str, settings: HttpSettings, keep: Keep, queries: Vec<String>, host: Host<'_>) -> Result<Inlet> {
    let address = resolve(name, &settings.listen)?;
    let tokens = Tokens::new(&format!("source `{name}`"), settings.tokens.iter().map(|token| (Scope::Ingest, token)))?;
    let exposure = Exposure { address, is_encrypted: settings.tls.is_some(), is_insecure: settings.is_insecure };
    let access = Access::of_source(name, exposure, tokens)?;
    if access.is_insecure() {
        warn!(source = name, %address, "listens beyond loopback without TLS: the token and all rows cross the network in clear");
    }
    let (mut inlet, cancel) = Inlet::open(keep, settings.log, queries, &host).await?;
    let _entered = host.runtime.enter();
    let listener = listen_at(name, address)?;
    inlet.local_addr = listener.local_addr().ok();
    let limits = Limits { connections_max: settings.connections_max, ..Limits::default() };
    let held_max = settings.request_bytes_max * LARGEST_REQUESTS_MAX;
    let listening = Listening {
        limits,
        access: access.clone(),
        tls: settings.tls.clone(),
        allow_from: settings.allow_from.clone(),
        stats: inlet.stats().clients.clone(),
    };
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
    inlet.tasks.spawn_on(serve(listener, router, listening, cancel), host.runtime);
    inlet.tasks.close();
    Ok(inlet)
}
