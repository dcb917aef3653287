//! Takes the lines of one connection into the ingest log.
//!
//! What has arrived is read into a buffer that all connections of a thread share, and its whole lines go from there into the log at
//! once: a connection keeps only the line that is not whole yet, however many clients there are and however fast they send.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Receiver;
use crate::source::LineEnd;
use crate::source::ingest::Appended;
use crate::source::lines::{LastReturn, LineSplitter, Piece};

/// Most that is read at once.
const BUFFER_BYTES: usize = 512 * 1024;
/// A line that has grown longer than this is gathered where it is kept: it would be copied with every read otherwise.
const SHARED_LINE_BYTES_MAX: usize = 32 * 1024;

thread_local! {
    /// Empty until a first client has sent something.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

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

/// What one look at a connection brought.
#[derive(Debug)]
enum Taken {
    /// So many bytes, which are in the log as far as they are whole lines.
    Bytes(usize),
    /// Nothing: the log has no room, so the client has to wait.
    NoRoom,
    /// Nothing more will come.
    Ended(Ended),
}

/// A connection's lines on their way into the log.
struct Connection<'a> {
    receiver: &'a Receiver,
    origin: Arc<str>,
    splitter: LineSplitter,
    /// Bytes of a line that is not whole yet.
    rest: Vec<u8>,
    pieces: Vec<Piece>,
}

/// Receives until the connection ends. Answers how, and how many bytes came.
pub(super) async fn receive(receiver: &Receiver, mut stream: TcpStream, origin: Arc<str>) -> (Ended, u64) {
    let splitter = LineSplitter::new(receiver.settings.line_bytes_max, LastReturn::Ends);
    let mut connection = Connection { receiver, origin, splitter, rest: Vec::new(), pieces: Vec::new() };
    let mut received = 0;
    let ended = connection.run(&mut stream, &mut received).await;
    (ended, received)
}

impl Connection<'_> {
    async fn run(&mut self, stream: &mut TcpStream, received: &mut u64) -> Ended {
        // How long we have waited for the rest of the line that has begun.
        let mut line_waited = Duration::ZERO;
        let ended = loop {
            let in_line = self.splitter.in_line(self.rest.len());
            let patience = self.patience(in_line, line_waited);
            let since = Instant::now();
            let taken = tokio::select! {
                // Looked at first, so that a client that never pauses cannot keep us from stopping.
                biased;
                () = self.receiver.cancel.cancelled() => break Ended::Cancelled,
                taken = std::future::poll_fn(|context| self.poll_take(stream, context)) => taken,
                () = expire(patience) => break Ended::TimedOut,
            };
            let waited = since.elapsed();
            match taken {
                Taken::Bytes(bytes) => *received += bytes as u64,
                Taken::NoRoom => match self.receiver.appender.room(&self.receiver.cancel).await {
                    Appended::Yes => {}
                    Appended::Cancelled => break Ended::Cancelled,
                },
                Taken::Ended(Ended::Cancelled) => return Ended::Cancelled,
                Taken::Ended(ended) => break ended,
            }
            let same_line = in_line && self.pieces.is_empty();
            line_waited = if same_line { line_waited + waited } else { Duration::ZERO };
        };
        let end = if matches!(ended, Ended::Closed) { LineEnd::Clean } else { LineEnd::Truncated };
        match self.finish(end).await {
            Appended::Yes => ended,
            Appended::Cancelled => Ended::Cancelled,
        }
    }

    /// Takes what has arrived. Nothing is awaited between looking for room and appending, so no more than a buffer goes in beyond it.
    fn poll_take(&mut self, stream: &mut TcpStream, context: &mut Context<'_>) -> Poll<Taken> {
        self.pieces.clear();
        if let Err(cause) = ready!(stream.poll_read_ready(context)) {
            return Poll::Ready(Taken::Ended(Ended::Broken(cause)));
        }
        let bytes_max = self.receiver.appender.receivable();
        if bytes_max == 0 {
            return Poll::Ready(Taken::NoRoom);
        }
        let kept = self.rest.len();
        let mut rest = std::mem::take(&mut self.rest);
        let taken = if kept > SHARED_LINE_BYTES_MAX {
            // As much again as there is, so that a long line is not moved with every read.
            rest.resize(kept + kept.min(BUFFER_BYTES), 0);
            let (taken, left) = self.poll_into(&mut rest, kept, bytes_max, stream, context);
            rest.truncate(left.end);
            rest.drain(..left.start);
            rest.shrink_to(SHARED_LINE_BYTES_MAX.max(rest.len()));
            taken
        } else {
            BUFFER.with_borrow_mut(|buffer| {
                if buffer.is_empty() {
                    *buffer = vec![0; BUFFER_BYTES];
                }
                buffer[..kept].copy_from_slice(&rest);
                let (taken, left) = self.poll_into(buffer, kept, bytes_max, stream, context);
                rest.clear();
                rest.extend_from_slice(&buffer[left]);
                taken
            })
        };
        self.rest = rest;
        taken
    }

    /// Reads at most `bytes_max` bytes into `buffer` behind the `kept` ones that it begins with, and appends the lines that are whole. Answers also where in the
    /// buffer the rest stands.
    fn poll_into(
        &mut self,
        buffer: &mut [u8],
        kept: usize,
        bytes_max: usize,
        stream: &mut TcpStream,
        context: &mut Context<'_>,
    ) -> (Poll<Taken>, std::ops::Range<usize>) {
        let end = buffer.len().min(kept.saturating_add(bytes_max));
        let mut free = ReadBuf::new(&mut buffer[kept..end]);
        let read = match Pin::new(stream).poll_read(context, &mut free) {
            Poll::Pending => return (Poll::Pending, 0..kept),
            Poll::Ready(Err(cause)) => return (Poll::Ready(Taken::Ended(Ended::Broken(cause))), 0..kept),
            Poll::Ready(Ok(())) => free.filled().len(),
        };
        if read == 0 {
            return (Poll::Ready(Taken::Ended(Ended::Closed)), 0..kept);
        }
        let filled = kept + read;
        let done = self.splitter.split(&mut buffer[..filled], &mut self.pieces);
        let taken = match self.append_received(buffer) {
            Appended::Yes => Taken::Bytes(read),
            Appended::Cancelled => Taken::Ended(Ended::Cancelled),
        };
        (Poll::Ready(taken), done..filled)
    }

    fn append_received(&self, buffer: &[u8]) -> Appended {
        let received_at_us = self.receiver.clock.now_us();
        let appender = &self.receiver.appender;
        for Piece { range, end } in &self.pieces {
            let lines = &buffer[range.clone()];
            if appender.append_received(&self.origin, received_at_us, lines, *end) == Appended::Cancelled {
                return Appended::Cancelled;
            }
            appender.stats().bytes_received.fetch_add(lines.len() as u64, Ordering::Relaxed);
        }
        Appended::Yes
    }

    /// Appends the last line of a connection that has ended, waiting for room.
    async fn finish(&mut self, end: LineEnd) -> Appended {
        self.pieces.clear();
        self.splitter.finish(&mut self.rest, end, &mut self.pieces);
        let received_at_us = self.receiver.clock.now_us();
        let Receiver { appender, cancel, .. } = self.receiver;
        for Piece { range, end } in &self.pieces {
            let lines = &self.rest[range.clone()];
            let appended = appender.append(&self.origin, received_at_us, lines, *end, cancel).await;
            if appended == Appended::Cancelled {
                return appended;
            }
            appender.stats().bytes_received.fetch_add(lines.len() as u64, Ordering::Relaxed);
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
