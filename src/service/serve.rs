//! Listening, and what one connection may take: none of them can hold the process up, however many there are and however slow.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::Tls;
use crate::error::{Attempt, ErrorKind, Result};
use crate::source::SourceStats;

/// Bytes of a request's head at most.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long connections may take to finish once the process ends.
const GRACE: Duration = Duration::from_secs(1);
/// A pause after a connection could not be accepted, as when there are no more files to be had.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the connections of a listener may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; further ones are answered 503 and closed.
    pub connections_max: usize,
    /// How long a request's head may take to come, the wait for the next request of a connection included; and agreeing on encryption.
    pub head_timeout: Duration,
    /// How long an answer may wait for its reader.
    pub write_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections_max: 1024, head_timeout: Duration::from_secs(10), write_timeout: Duration::from_secs(30) }
    }
}

/// Binds `address`; with `or_next`, the next free port when it is taken (up to 100 further).
pub async fn bind(address: SocketAddr, or_next: bool) -> Result<TcpListener> {
    let mut attempt = address;
    loop {
        match TcpListener::bind(attempt).await {
            Ok(listener) => return Ok(listener),
            Err(error) => {
                let taken = error.kind() == std::io::ErrorKind::AddrInUse;
                let next =
                    attempt.port().checked_add(1).filter(|port| or_next && taken && *port <= address.port().saturating_add(100));
                match next {
                    Some(port) => attempt.set_port(port),
                    None => return Err(error).attempting(ErrorKind::Config, || format!("listen on {address}")),
                }
            }
        }
    }
}

/// Serves `router`, encrypted with `tls`, until `stop` is cancelled.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, tls: Option<Tls>, stop: CancellationToken) {
    serve_clients(listener, |_| router.clone(), limits, tls, stop, &Arc::default()).await;
}

/// Serves to each client the router that `router_of` has for its address, and counts connections.
pub(crate) async fn serve_clients(
    listener: TcpListener,
    router_of: impl Fn(SocketAddr) -> Router,
    limits: Limits,
    tls: Option<Tls>,
    stop: CancellationToken,
    stats: &Arc<SourceStats>,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match places.clone().try_acquire_owned() {
            Ok(place) => {
                let (router, tls, stop) = (router_of(peer), tls.clone(), stop.clone());
                let open = Open::new(stats.clone());
                connections.spawn(async move {
                    connection(stream, router, limits, tls, stop).await;
                    drop((place, open));
                });
            }
            Err(_) => {
                stats.connections_refused.fetch_add(1, Ordering::Relaxed);
                // In clear it is answered; encrypted that would take time.
                if tls.is_none() {
                    turn_away(&stream);
                }
            }
        }
    }
    connections.close();
    let _ = tokio::time::timeout(GRACE, connections.wait()).await;
}

/// A connection that is counted until this is dropped.
struct Open(Arc<SourceStats>);

impl Open {
    fn new(stats: Arc<SourceStats>) -> Self {
        stats.connections_open.fetch_add(1, Ordering::Relaxed);
        Self(stats)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections_open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connection(stream: TcpStream, router: Router, limits: Limits, tls: Option<Tls>, stop: CancellationToken) {
    // Small events go out at once; and who does not read for long is dropped by the system.
    let _ = stream.set_nodelay(true);
    let timeout_ms = u32::try_from(limits.write_timeout.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(&stream, timeout_ms) {
        debug!(%error, "no time limit for a connection's reader");
    }
    let Some(tls) = tls else { return answer(TokioIo::new(stream), router, limits, stop).await };
    match tokio::time::timeout(limits.head_timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => answer(TokioIo::new(stream), router, limits, stop).await,
        Ok(Err(error)) => debug!(%error, "no encryption was agreed on"),
        Err(_) => debug!("no encryption was agreed on in time"),
    }
}

async fn answer<S: Read + Write + Unpin + Send + 'static>(stream: S, router: Router, limits: Limits, stop: CancellationToken) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(stream, TowerToHyperService::new(router));
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended");
    }
}

/// Says why, if that goes without waiting.
fn turn_away(stream: &TcpStream) {
    let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 21\r\nconnection: close\r\n\r\ntoo many connections\n";
    let _ = stream.try_write(answer.as_bytes());
}
