//! Takes clients.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use super::Receiver;
use super::connection::{Ended, receive};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::service::{Client, Clients};

/// Clients that the kernel keeps waiting.
const BACKLOG: i32 = 1024;
/// When there are no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens at `host:port`.
pub(super) fn bind(receiver: &Receiver, address: &str) -> Result<TcpListener> {
    let resolved = resolve(&receiver.name, address)?;
    let listener = listen_at(&receiver.name, resolved)?;
    if !resolved.ip().to_canonical().is_loopback() && receiver.settings.allow_from.is_empty() {
        let source = &*receiver.name;
        warn!(source, address, "anyone who can reach this address can send rows; `allow_from` says who may");
    }
    Ok(listener)
}

/// The address that the source `name` is to listen at.
pub(in crate::source) fn resolve(name: &str, address: &str) -> Result<SocketAddr> {
    super::connect::check_address(address)?;
    let attempt = || format!("listen at {address} for source `{name}`");
    let found = address.to_socket_addrs().attempting(ErrorKind::Config, attempt)?.next();
    found.ok_or_else(|| Error::config(format!("there is no host of the name in `{address}`")))
}

/// Listens for the source `name`, within the runtime that is entered.
pub(in crate::source) fn listen_at(name: &str, address: SocketAddr) -> Result<TcpListener> {
    listen(address).map_err(|cause| {
        let taken = cause.kind() == std::io::ErrorKind::AddrInUse;
        let kind = if taken { ErrorKind::Unavailable } else { ErrorKind::Config };
        Error::new(kind, format!("could not listen at {address} for source `{name}`")).because(cause)
    })
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the process before to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Runs until cancelled.
pub(super) async fn run(receiver: Arc<Receiver>, listener: TcpListener) {
    let settings = &receiver.settings;
    let stats = receiver.appender.stats().clients.clone();
    let clients =
        Clients::new(&format!("source.{}", receiver.name), settings.connections_max, settings.allow_from.clone(), stats);
    loop {
        let accepted = tokio::select! {
            () = receiver.cancel.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Ok(client) = clients.admit(peer.ip()) {
                    let receiver = receiver.clone();
                    receiver.tasks.clone().spawn(async move { serve(&receiver, stream, peer, client).await });
                }
            }
            // A client that is gone again is no trouble; a lack of descriptors passes.
            Err(cause) => {
                debug!(source = &*receiver.name, %cause, "could not accept a client");
                tokio::select! {
                    () = receiver.cancel.cancelled() => return,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
}

async fn serve(receiver: &Receiver, stream: TcpStream, peer: SocketAddr, _client: Client) {
    keep_alive(&stream);
    let source = &*receiver.name;
    debug!(source, %peer, "client connected");
    match receive(receiver, stream, receiver.origin(peer)).await {
        (Ended::Closed | Ended::Cancelled, received) => debug!(source, %peer, received, "client gone"),
        (Ended::TimedOut, received) => debug!(source, %peer, received, "client disconnected: it was silent for too long"),
        (Ended::Broken(cause), received) => debug!(source, %peer, received, %cause, "the connection to a client broke"),
    }
}

/// Finds out about peers that vanish without a word.
pub(super) fn keep_alive(stream: &TcpStream) {
    let probes = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10)).with_retries(3);
    if let Err(cause) = SockRef::from(stream).set_tcp_keepalive(&probes) {
        debug!(%cause, "could not ask for keep-alive probes");
    }
}
