//! Takes the lines of one connection into the ingest log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Receiver;
use crate::source::LineEnd;
use crate::source::ingest::Appended;
use crate::source::lines::{LastReturn, LineSplitter, Piece};

const READ_BYTES_MIN: usize = 16 * 1024;
const READ_BYTES_MAX: usize = 512 * 1024;

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The other side closed it.
    Closed,
    /// It broke.
    Broken(io::Error),
    /// The client said nothing, or did not get to the end of a line, for too long.
    TimedOut,
    /// We are stopping.
    Cancelled,
}

/// A connection's lines on their way into the log.
struct Connection<'a> {
    receiver: &'a Receiver,
    origin: Arc<str>,
    splitter: LineSplitter,
    /// Bytes of a line that is not whole yet, and what is read next.
    buffer: Vec<u8>,
    pieces: Vec<Piece>,
}

/// Receives until the connection ends. Answers how, and how many bytes came.
pub(super) async fn receive(receiver: &Receiver, mut stream: TcpStream, origin: Arc<str>) -> (Ended, u64) {
    let splitter = LineSplitter::new(receiver.settings.line_bytes_max, LastReturn::Ends);
    let mut connection = Connection { receiver, origin, splitter, buffer: Vec::new(), pieces: Vec::new() };
    let open = &receiver.appender.stats().connections_open;
    open.fetch_add(1, Ordering::Relaxed);
    let mut received = 0;
    let ended = connection.run(&mut stream, &mut received).await;
    open.fetch_sub(1, Ordering::Relaxed);
    (ended, received)
}

impl Connection<'_> {
    async fn run(&mut self, stream: &mut TcpStream, received: &mut u64) -> Ended {
        let mut read_bytes = READ_BYTES_MIN;
        // How long we have waited for the rest of the line that has begun.
        let mut line_waited = Duration::ZERO;
        let ended = loop {
            self.buffer.reserve(read_bytes);
            let in_line = self.splitter.in_line(self.buffer.len());
            let patience = self.patience(in_line, line_waited);
            let since = Instant::now();
            let mut limited = (&mut *stream).take(read_bytes as u64);
            let read = tokio::select! {
                // Looked at first, so that a client that never pauses cannot keep us from stopping.
                biased;
                () = self.receiver.cancel.cancelled() => break Ended::Cancelled,
                read = limited.read_buf(&mut self.buffer) => read,
                () = expire(patience) => break Ended::TimedOut,
            };
            let read = match read {
                Ok(0) => break Ended::Closed,
                Ok(read) => read,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => break Ended::Broken(cause),
            };
            *received += read as u64;
            let waited = since.elapsed();
            match self.take().await {
                Appended::Yes => {}
                Appended::Cancelled => return Ended::Cancelled,
            }
            let same_line = in_line && self.pieces.is_empty();
            line_waited = if same_line { line_waited + waited } else { Duration::ZERO };
            read_bytes = next_read_bytes(read_bytes, read);
            if read_bytes == READ_BYTES_MIN {
                self.buffer.shrink_to(READ_BYTES_MAX / 8);
            }
        };
        let end = if matches!(ended, Ended::Closed) { LineEnd::Clean } else { LineEnd::Truncated };
        self.pieces.clear();
        self.splitter.finish(&mut self.buffer, end, &mut self.pieces);
        match self.append().await {
            Appended::Yes => ended,
            Appended::Cancelled => Ended::Cancelled,
        }
    }

    /// Takes the whole lines that are in the buffer.
    async fn take(&mut self) -> Appended {
        self.pieces.clear();
        let done = self.splitter.split(&mut self.buffer, &mut self.pieces);
        let appended = self.append().await;
        self.buffer.drain(..done);
        appended
    }

    async fn append(&self) -> Appended {
        let received_at_us = self.receiver.clock.now_us();
        let Receiver { appender, cancel, .. } = self.receiver;
        let stats = appender.stats();
        for Piece { range, end } in &self.pieces {
            let lines = &self.buffer[range.clone()];
            let appended = appender.append(&self.origin, received_at_us, lines, *end, cancel).await;
            if appended == Appended::Cancelled {
                return appended;
            }
            stats.bytes_received.fetch_add(lines.len() as u64, Ordering::Relaxed);
        }
        Appended::Yes
    }

    /// How long to wait for the next bytes.
    fn patience(&self, in_line: bool, line_waited: Duration) -> Option<Duration> {
        let settings = &self.receiver.settings;
        let listening = matches!(settings.endpoint, super::Endpoint::Listen(_));
        let line = (listening && in_line).then(|| settings.line_timeout.saturating_sub(line_waited));
        [settings.idle_timeout, line].into_iter().flatten().min()
    }
}

async fn expire(patience: Option<Duration>) {
    match patience {
        Some(patience) => tokio::time::sleep(patience).await,
        None => std::future::pending().await,
    }
}

/// Reads as much at once as the connection brings.
fn next_read_bytes(read_bytes: usize, read: usize) -> usize {
    if read == read_bytes {
        (read_bytes * 2).min(READ_BYTES_MAX)
    } else if read < read_bytes / 8 {
        (read_bytes / 2).max(READ_BYTES_MIN)
    } else {
        read_bytes
    }
}
