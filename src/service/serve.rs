//! Listening, and what one connection may take: none of them can hold the process up, however many there are and however slow.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::clients::{Clients, TurnedAway};
use super::renewal::{Renewal, Renewed};
use super::{Access, ListenerStats, Tls};
use crate::error::{Attempt, ErrorKind, Result};

/// Bytes of a request's head at most.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long connections may take to finish once the process ends.
const GRACE: Duration = Duration::from_secs(1);
/// A pause after a connection could not be accepted, as when there are no more files to be had.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the connections of a listener may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time, 64 of them from one address that is not loopback; further ones are answered 503 and closed.
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

/// A listener: what it is called, what it may take, and who may come in.
#[derive(Debug, Clone)]
pub struct Listening {
    /// What connections may take.
    pub limits: Limits,
    /// Who may come in. The files that it was read from are followed.
    pub access: Access,
    /// What to encrypt with; its files are followed, too.
    pub tls: Option<Tls>,
    /// Where clients may come from; empty is anywhere.
    pub allow_from: Vec<IpNet>,
    /// Counters.
    pub stats: Arc<ListenerStats>,
}

impl Listening {
    /// One that takes clients from anywhere, in clear.
    pub fn new(limits: Limits, access: Access) -> Self {
        Self { limits, access, tls: None, allow_from: Vec::new(), stats: Arc::default() }
    }
}

/// Who has connected, as requests know it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Serves `router` until `stop` is cancelled.
pub async fn serve(listener: TcpListener, router: Router, listening: Listening, stop: CancellationToken) {
    let Listening { limits, access, tls, allow_from, stats } = listening;
    let mut renewed: Vec<Box<dyn Renewed>> = vec![Box::new(access.tokens().clone())];
    renewed.extend(tls.clone().map(|tls| Box::new(tls) as Box<dyn Renewed>));
    let renewal = Renewal::new(access.listener(), renewed, stats.clone());
    let clients = Clients::new(access.listener(), limits.connections_max, allow_from, stats.clone());
    let router = router.layer(from_fn_with_state(stats, count_refusals));
    let accepting = accept(listener, router, (limits, tls), &clients, &stop);
    tokio::join!(accepting, renewal.run(stop.clone()));
}

async fn accept(
    listener: TcpListener,
    router: Router,
    (limits, tls): (Limits, Option<Tls>),
    clients: &Arc<Clients>,
    stop: &CancellationToken,
) {
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
        match clients.admit(peer.ip()) {
            Ok(client) => {
                let (router, tls, stop) = (router.clone().layer(Extension(Peer(peer))), tls.clone(), stop.clone());
                connections.spawn(async move {
                    connection(stream, router, limits, tls, stop).await;
                    drop(client);
                });
            }
            // In clear it is answered; encrypted that would take time.
            Err(why) if tls.is_none() => turn_away(&stream, why),
            Err(_) => {}
        }
    }
    connections.close();
    let _ = tokio::time::timeout(GRACE, connections.wait()).await;
}

async fn count_refusals(State(stats): State<Arc<ListenerStats>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    stats.answered(response.status().as_u16());
    response
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
fn turn_away(stream: &TcpStream, why: TurnedAway) {
    let (status, text) = match why {
        TurnedAway::NotAllowed => ("403 Forbidden", "your address is not allowed"),
        TurnedAway::TooMany | TurnedAway::TooManyOfAddress => ("503 Service Unavailable", "too many connections"),
    };
    let length = text.len() + 1;
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}\n");
    let _ = stream.try_write(answer.as_bytes());
}
