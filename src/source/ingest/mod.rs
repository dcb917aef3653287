//! The ingest log: makes what arrives on a connection replayable.
//!
//! Lines are appended as *records* and are visible to queries at once; a thread writes and syncs them behind, and `make_durable`
//! waits for it. Offsets are positions in the log. It is opened once per process and source; its queries share it, and it forgets
//! what all of them have released. When it is full nothing more is accepted, so clients are held back by their connection.

mod examine;
mod inlet;
mod kept;
mod keys;
mod log;
mod places;
mod reader;
mod record;
mod segment;
mod state;
#[cfg(test)]
mod tests;
mod writer;

pub use examine::{LogExamined, examine};
pub use inlet::{Host, Inlet};
pub(crate) use keys::RequestKey;
pub use places::{Places, has_log};
pub use reader::IngestSource;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Extent, LineEnd, SourceStats};
use crate::checkpoint::storage::SharedVfs;
use crate::error::{Attempt, Error, ErrorKind, Result};
use kept::Kept;
use keys::Keys;
use log::{Append, Failure, Full, Lines, Log, Request, Room, Start, Stop};
use record::Secret;
use segment::{HEADER, Header, Recovered, Segment, recover};
use writer::Writer;

/// Where an ingest log is kept.
#[derive(Debug, Clone)]
pub enum Keep {
    /// In segments in a folder of its own, `sources/<source>/` below the checkpoint root.
    Durably {
        /// The file system.
        vfs: SharedVfs,
        /// The folder.
        dir: PathBuf,
    },
    /// In memory: what was received is gone when the process is.
    InMemory,
}

/// Settings of an ingest log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IngestSettings {
    /// Bytes that the log may hold before nothing more is received, at least 1 MiB (4 GiB). A log in memory holds at most
    /// [`IngestSettings::MEMORY_BYTES_MAX`].
    pub log_bytes_max: u64,
    /// Bytes of the newest records that are kept in memory as well (64 MiB).
    pub tail_bytes_max: usize,
    /// Keys of requests that are remembered (0); of a log on disk at most one for each KiB that it may hold, as they are kept beside
    /// each segment.
    pub keys_max: usize,
}

impl IngestSettings {
    /// Most that a log without files holds, in bytes.
    pub const MEMORY_BYTES_MAX: u64 = 256 << 20;
}

impl Default for IngestSettings {
    fn default() -> Self {
        Self { log_bytes_max: 4 << 30, tail_bytes_max: 64 << 20, keys_max: 0 }
    }
}

/// Smallest and largest segment in bytes.
const SEGMENT_BYTES_MIN: u64 = 4 << 10;
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// Bytes that a segment has for each key that is kept beside it: keys take a quarter of the log's room at most.
const SEGMENT_BYTES_PER_KEY: u64 = 128;
/// An opening begins this far beyond the last position of the one before: more than that one can have given out without writing it,
/// which is a little more than [`log::UNWRITTEN_BYTES_MAX`] and one line.
const GAP: u64 = 4 << 30;

/// An ingest log, owned by whoever opened it. Dropping it is like a crash; [`Ingest::close`] is the way to end it.
#[derive(Debug)]
pub struct Ingest {
    log: Arc<Log>,
    writer: Option<JoinHandle<Result<()>>>,
}

impl Ingest {
    /// Opens a log. `queries` are those that read the source: what one of them has not released is kept. Waits for the disk.
    ///
    /// # Errors
    /// `CKPT_CORRUPT` when synced records are damaged; errors of the file system.
    pub fn open(keep: Keep, settings: IngestSettings, queries: &[String]) -> Result<Self> {
        let stats = Arc::<SourceStats>::default();
        match keep {
            Keep::InMemory => {
                let start = Start {
                    log_id: rand::random(),
                    secret: Secret(rand::random()),
                    durable: false,
                    segments: VecDeque::new(),
                    end: 0,
                    end_row: 0,
                    log_bytes_max: settings.log_bytes_max.min(IngestSettings::MEMORY_BYTES_MAX),
                    tail_bytes_max: usize::MAX,
                    keys: Keys::new(settings.keys_max),
                };
                Ok(Self { log: Arc::new(Log::new(start, queries, stats)), writer: None })
            }
            Keep::Durably { vfs, dir } => Self::open_durable(vfs, &dir, settings, queries, stats),
        }
    }

    fn open_durable(
        vfs: SharedVfs,
        dir: &Path,
        settings: IngestSettings,
        queries: &[String],
        stats: Arc<SourceStats>,
    ) -> Result<Self> {
        vfs.create_dir(dir)?;
        let Recovered { mut segments, leftovers: mut emptied, mut end, end_row, torn_bytes, base_max, .. } = recover(&vfs, dir)?;
        if torn_bytes > 0 {
            warn!(dir = %dir.display(), bytes = torn_bytes, "the ingest log ended in a record that a crash left unfinished");
            stats.log_bytes_torn.store(torn_bytes, Ordering::Relaxed);
        }
        // Eight segments to a full log, so that what is released is soon given back.
        let segment_bytes_max = (settings.log_bytes_max / 8).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let keys_max = settings.keys_max.min(usize::try_from(segment_bytes_max / SEGMENT_BYTES_PER_KEY).unwrap_or(usize::MAX));
        let keys = taken_before(&vfs, dir, &segments, keys_max)?;
        let log_id = segments.last().map_or_else(rand::random, |last| last.header.log_id);
        while let Some(last) = segments.pop_if(|last| last.end() == last.header.base) {
            end = last.header.previous_end;
            emptied.push(last.path.clone());
        }
        let base = base_max.map_or(0, |base_max| base_max.max(end).next_multiple_of(GAP) + GAP);
        let secret = Secret(rand::random());
        let header = Header { base, first_row: end_row, previous_end: end, log_id, secret };
        let segment = Arc::new(begin_segment(&vfs, dir, header, keys.before(base))?);
        if !emptied.is_empty() {
            for empty in emptied {
                vfs.remove(&empty)?;
            }
            // Before anything is in the new one: with records behind it, an empty segment would look like one that lost its own.
            vfs.sync_dir(dir)?;
        }
        segments.push(segment.clone());
        let start = Start {
            log_id,
            secret,
            durable: true,
            segments: segments.into(),
            end: base,
            end_row,
            log_bytes_max: settings.log_bytes_max,
            tail_bytes_max: settings.tail_bytes_max,
            keys,
        };
        let log = Arc::new(Log::new(start, queries, stats));
        let writer = Writer {
            log: log.clone(),
            vfs,
            dir: dir.to_owned(),
            segment,
            segment_bytes_max,
            zeros_to: HEADER,
            unneeded: VecDeque::new(),
        };
        let writer = std::thread::Builder::new().name("ingest-log".to_owned()).spawn(move || writer.run());
        let writer = writer.attempting(ErrorKind::Unavailable, || "start the thread of an ingest log".to_owned())?;
        Ok(Self { log, writer: Some(writer) })
    }

    /// A query's view of the log. The query holds what it has not released, also after the view is dropped.
    pub fn source(&self, query: &str, extent: Extent) -> IngestSource {
        IngestSource::new(self.log.clone(), query, extent)
    }

    /// Lets go of what a query holds, when it has failed for good and the others are to go on. A restart has to find its rows gone.
    pub fn forget(&self, query: &str) {
        self.log.forget(query);
    }

    /// The way in for what the source of this name receives.
    pub fn appender(&self, source: &str) -> Appender {
        Appender { log: self.log.clone(), source: source.into() }
    }

    /// Counters.
    pub fn stats(&self) -> Arc<SourceStats> {
        self.log.stats.clone()
    }

    /// Writes what was appended and ends. Nothing more may be appended. Waits for the disk.
    ///
    /// # Errors
    /// The first failure that kept the log from being written.
    pub fn close(mut self) -> Result<()> {
        self.stop(Stop::WhenWritten)?;
        if self.log.durable && !self.log.lock().is_written() {
            let why = self.log.durability().borrow().trouble.as_ref().map(Failure::error);
            let why = why.unwrap_or_else(|| Error::internal("the ingest log ended before it was written"));
            return Err(Error::new(why.kind(), "could not write the last lines of the ingest log").because(why));
        }
        Ok(())
    }

    fn stop(&mut self, stop: Stop) -> Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        self.log.lock().stop = stop;
        self.log.work.notify_all();
        writer.join().unwrap_or_else(|_| Err(Error::internal("the thread of an ingest log panicked")))
    }
}

/// The keys of the newest requests of the log in `dir`, whose `segments` come oldest first.
fn taken_before(vfs: &SharedVfs, dir: &Path, segments: &[Arc<Segment>], count_max: usize) -> Result<Keys> {
    let mut keys = Keys::new(count_max);
    let Some(newest) = segments.last().filter(|_| count_max > 0) else { return Ok(keys) };
    let kept = Kept::newest(vfs, dir, newest.header.base)?.filter(|kept| kept.log_id == newest.header.log_id);
    let from = kept.as_ref().map_or(0, |kept| kept.base);
    for request in kept.iter().flat_map(|kept| &kept.keys) {
        keys.add(request, from);
    }
    for segment in segments.iter().filter(|segment| segment.header.base >= from) {
        let mut position = segment.header.base;
        while position < segment.end() {
            for record in segment.read(position, segment.end())? {
                position = record.end();
                if let Some(request) = &record.about.request {
                    keys.add(request, position);
                }
            }
        }
    }
    Ok(keys)
}

/// Creates a segment, durably, and before it the file of the keys that are known where it begins.
fn begin_segment(vfs: &SharedVfs, dir: &Path, header: Header, keys: Vec<RequestKey>) -> Result<Segment> {
    if keys.is_empty() {
        return Segment::create(vfs, dir, header);
    }
    let kept = Kept { log_id: header.log_id, base: header.base, keys };
    kept.write(vfs, dir)?;
    let segment = Segment::create(vfs, dir, header)?;
    kept::remove_others(vfs, dir, header.base);
    Ok(segment)
}

impl Drop for Ingest {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure.
        let _ = self.stop(Stop::AtOnce);
    }
}

/// Appends to an ingest log.
#[derive(Debug, Clone)]
pub struct Appender {
    log: Arc<Log>,
    source: Arc<str>,
}

/// What became of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// They are in the log.
    Yes,
    /// There was no room for them until the wait was cancelled, or the log is being closed.
    Cancelled,
}

/// What became of a request's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// They are in the log, durably.
    Now,
    /// They were in it already, and are durable.
    Before,
    /// They are not: a request of the same key brought others.
    OtherLines,
    /// They are not: the log is full, or being closed.
    NoRoom,
}

impl Appender {
    /// Appends consecutive lines of one connection, waiting for room.
    pub async fn append(
        &self,
        origin: &Arc<str>,
        received_at_us: i64,
        lines: &[u8],
        end: LineEnd,
        cancel: &CancellationToken,
    ) -> Appended {
        let append = || match self.log.append(&Lines::new(origin, received_at_us, lines, end), Room::Needed) {
            Append::Done => true,
            Append::NoRoom => false,
        };
        self.once_there_is_room(append, cancel).await
    }

    /// How many bytes may be received now and appended with [`Appender::append_received`]; 0 while the log is full.
    pub fn receivable(&self) -> usize {
        self.log.receivable()
    }

    /// Waits until something may be received.
    pub async fn room(&self, cancel: &CancellationToken) -> Appended {
        self.once_there_is_room(|| self.receivable() > 0, cancel).await
    }

    /// Appends consecutive lines of one connection that were received after asking [`Appender::receivable`], without waiting in
    /// between.
    pub fn append_received(&self, origin: &Arc<str>, received_at_us: i64, lines: &[u8], end: LineEnd) -> Appended {
        match self.log.append(&Lines::new(origin, received_at_us, lines, end), Room::Granted) {
            Append::Done => Appended::Yes,
            Append::NoRoom => Appended::Cancelled,
        }
    }

    /// Appends all lines of a request, or none, and waits until they are durable. Those of a request that was taken already are not
    /// taken again.
    ///
    /// # Errors
    /// Why the log cannot be written. Whether the lines are in it is not known then.
    pub(crate) async fn take(
        &self,
        origin: &Arc<str>,
        received_at_us: i64,
        lines: &[u8],
        key: Option<RequestKey>,
    ) -> Result<Taken> {
        match self.log.append_request(&Lines::new(origin, received_at_us, lines, LineEnd::Clean), key) {
            Request::Now(end) => self.log.durable_to(end).await.map(|()| Taken::Now),
            Request::Before(end) => self.log.durable_to(end).await.map(|()| Taken::Before),
            Request::OtherLines => Ok(Taken::OtherLines),
            Request::NoRoom => {
                self.warn_when_full();
                Ok(Taken::NoRoom)
            }
        }
    }

    async fn once_there_is_room(&self, done: impl Fn() -> bool, cancel: &CancellationToken) -> Appended {
        loop {
            let mut room = std::pin::pin!(self.log.room.notified());
            // Before looking, or room made meanwhile would go unnoticed.
            room.as_mut().enable();
            if done() {
                return Appended::Yes;
            }
            self.warn_when_full();
            tokio::select! {
                () = room => {}
                () = cancel.cancelled() => return Appended::Cancelled,
            }
        }
    }

    pub(crate) fn warn_when_full(&self) {
        if let Some(Full { slowest, held, limit }) = self.log.newly_full() {
            let source = &*self.source;
            warn!(
                source,
                slowest_query = slowest,
                held,
                limit,
                "the ingest log is full (limits.ingest_log); nothing is received until the slowest query has read more of it"
            );
        }
    }

    /// Counters.
    pub fn stats(&self) -> &SourceStats {
        &self.log.stats
    }

    /// Fails the source for its queries, or lets them go on.
    pub fn set_failure(&self, failure: Option<Error>) {
        self.log.set_failure(failure);
    }
}
