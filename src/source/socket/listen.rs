//! Takes clients.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use super::Receiver;
use super::connection::{Ended, receive};
use crate::error::{Attempt, Error, ErrorKind, Result};

/// Clients at a time from one address that is not loopback.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 64;
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
    let open = Arc::new(Mutex::new(Open::default()));
    loop {
        let accepted = tokio::select! {
            () = receiver.cancel.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match Admitted::new(&receiver, &open, peer.ip().to_canonical()) {
                Ok(admitted) => {
                    let receiver = receiver.clone();
                    receiver.tasks.clone().spawn(async move { serve(&receiver, stream, peer, admitted).await });
                }
                Err(reason) => {
                    let refused = receiver.appender.stats().connections_refused.fetch_add(1, Ordering::Relaxed);
                    if refused == 0 {
                        // Once: whoever can connect must not be able to fill the log.
                        warn!(source = &*receiver.name, %peer, reason, "client turned away; further ones are only counted");
                    }
                }
            },
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

async fn serve(receiver: &Receiver, stream: TcpStream, peer: SocketAddr, _admitted: Admitted) {
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

/// Who is connected.
#[derive(Debug, Default)]
struct Open {
    count: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A client's place, given back when it is dropped.
struct Admitted {
    open: Arc<Mutex<Open>>,
    address: IpAddr,
}

impl Admitted {
    fn new(receiver: &Receiver, open: &Arc<Mutex<Open>>, address: IpAddr) -> Result<Self, &'static str> {
        let allowed = &receiver.settings.allow_from;
        if !allowed.is_empty() && !allowed.iter().any(|network| network.contains(&address)) {
            return Err("its address is not allowed");
        }
        let mut now = open.lock().expect("no holder panics");
        if now.count >= receiver.settings.connections_max {
            return Err("there are too many");
        }
        let of_address = now.by_address.entry(address).or_default();
        if !address.is_loopback() && *of_address >= CONNECTIONS_PER_ADDRESS_MAX {
            return Err("there are too many from its address");
        }
        *of_address += 1;
        now.count += 1;
        Ok(Self { open: open.clone(), address })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut now = self.open.lock().expect("no holder panics");
        now.count -= 1;
        if let Some(count) = now.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                now.by_address.remove(&self.address);
            }
        }
    }
}
