//! Connects to a server, and again whenever the connection ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::Receiver;
use super::connection::{Ended, receive};
use crate::error::{Error, ErrorKind, Result};

const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Longest single attempt.
const ATTEMPT_MAX: Duration = Duration::from_secs(10);

/// Condition of a source that had no connection within its time: its queries fail instead of trying again.
pub(crate) const NEVER_CONNECTED: &str = "NEVER_CONNECTED";

/// Refuses what is no `host:port`.
pub(super) fn check_address(address: &str) -> Result<()> {
    let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(_) => Ok(()),
        None => Err(Error::config(format!("`{address}` is no `host:port`"))),
    }
}

/// Runs until cancelled.
pub(super) async fn run(receiver: Arc<Receiver>, address: String) {
    let mut retry = Retry { after: RETRY_MIN };
    let mut first = First { deadline: Some(Instant::now() + receiver.settings.connect_timeout), cause: None };
    loop {
        let attempt = tokio::select! {
            () = receiver.cancel.cancelled() => return,
            attempt = timeout(ATTEMPT_MAX, TcpStream::connect(&address)) => attempt.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
            () = until(first.deadline) => Err(first.cause.take().unwrap_or_else(|| io::ErrorKind::TimedOut.into())),
        };
        let received = match attempt {
            Ok(stream) => {
                first.deadline = None;
                receiver.appender.set_failure(None);
                stay(&receiver, &address, stream).await
            }
            Err(cause) => {
                first.failed(&receiver, &address, cause);
                0
            }
        };
        tokio::select! {
            () = receiver.cancel.cancelled() => return,
            () = tokio::time::sleep(retry.next(received > 0)) => {}
            // One more attempt at the very end.
            () = until(first.deadline) => {}
        }
    }
}

/// The time until there has to be a first connection, while there is none.
struct First {
    deadline: Option<Instant>,
    /// Why the attempt before failed.
    cause: Option<io::Error>,
}

impl First {
    /// Fails the source when the time is over. It works again as soon as there is a connection.
    fn failed(&mut self, receiver: &Receiver, address: &str, cause: io::Error) {
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            let time = humantime::format_duration(receiver.settings.connect_timeout);
            let message = format!("could not connect to {address} of source `{}` within {time}", receiver.name);
            receiver.appender.set_failure(Some(Error::spark(ErrorKind::Unavailable, NEVER_CONNECTED, message).because(cause)));
            self.deadline = None;
        } else {
            self.cause = Some(cause);
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Receives until the connection ends; answers how many bytes came.
async fn stay(receiver: &Receiver, address: &str, stream: TcpStream) -> u64 {
    let Ok(peer) = stream.peer_addr() else { return 0 };
    super::listen::keep_alive(&stream);
    let source = &*receiver.name;
    info!(source, address, "connected");
    let open = &receiver.appender.stats().clients.open;
    open.fetch_add(1, Ordering::Relaxed);
    let (ended, received) = receive(receiver, stream, receiver.origin(peer)).await;
    open.fetch_sub(1, Ordering::Relaxed);
    match ended {
        Ended::Cancelled => {}
        Ended::Closed => info!(source, address, received, "the server closed the connection; waiting for it to come back"),
        Ended::TimedOut => warn!(source, address, received, "the server said nothing for too long; connecting again"),
        Ended::Broken(cause) => warn!(source, address, received, %cause, "the connection broke; connecting again"),
    }
    received
}

/// How long to wait between attempts: longer and longer, until a connection brings something.
struct Retry {
    after: Duration,
}

impl Retry {
    fn next(&mut self, worked: bool) -> Duration {
        if worked {
            self.after = RETRY_MIN;
        }
        let wait = self.after;
        self.after = (self.after * 2).min(RETRY_MAX);
        wait
    }
}
