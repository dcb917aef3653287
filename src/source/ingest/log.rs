//! The ingest log in memory: what was received last, who may forget what, and who waits for what.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use bytes::BytesMut;
use tokio::sync::{Notify, watch};

use super::keys::{Keys, RequestKey, Seen};
use super::record::{About, Record, Secret};
use super::segment::Segment;
use super::state::{RECORD_OVERHEAD, State, gap};
use crate::error::{Error, ErrorKind, Result};
use crate::source::lines::count_lines;
use crate::source::{LineEnd, SourceStats};

/// Records share allocations of this many bytes.
const BLOCK_BYTES: usize = 256 * 1024;
/// Bytes that may wait to be written before nothing more is accepted.
pub(super) const UNWRITTEN_BYTES_MAX: u64 = 32 << 20;
/// As long as anything may be received, at least so much may: a log is not filled up byte by byte.
const RECEIVED_BYTES_MIN: usize = 16 * 1024;
/// Records that are handed out at once.
const RECORDS_AT_ONCE: usize = 1024;
const BYTES_AT_ONCE: usize = 4 << 20;

/// The log of one source, shared by its connections, its queries and the thread that writes it.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) log_id: u32,
    pub(super) secret: Secret,
    /// Whether there are segments; without, the log lives in memory alone.
    pub(super) durable: bool,
    log_bytes_max: u64,
    tail_bytes_max: usize,
    state: Mutex<State>,
    /// Wakes the writer.
    pub(super) work: Condvar,
    /// Wakes whoever waits for room.
    pub(super) room: Notify,
    /// Where the log ends, and whether the source has failed.
    end: watch::Sender<End>,
    durability: watch::Sender<Durability>,
    failure: Mutex<Option<Failure>>,
    pub(super) stats: Arc<SourceStats>,
}

/// An error that every query of the source may be told.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    kind: ErrorKind,
    condition: Option<String>,
    message: String,
}

impl Failure {
    fn new(error: &Error) -> Self {
        let condition = error.condition().map(str::to_owned);
        let mut message = error.chain();
        if let Some(rest) = condition.as_ref().and_then(|name| message.strip_prefix(&format!("[{name}] "))) {
            message = rest.to_owned();
        }
        Self { kind: error.kind(), condition, message }
    }

    pub(super) fn error(&self) -> Error {
        match &self.condition {
            Some(condition) => Error::spark(self.kind, condition.clone(), self.message.clone()),
            None => Error::new(self.kind, self.message.clone()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) position: u64,
    pub(super) failed: bool,
}

/// What of the log survives a power cut.
#[derive(Debug, Clone)]
pub(super) struct Durability {
    pub(super) to: u64,
    /// Why it does not get further.
    pub(super) trouble: Option<Failure>,
}

/// What the writer is to do when it has nothing else to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    No,
    WhenWritten,
    AtOnce,
}

/// Whether an append has to find room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// It does.
    Needed,
    /// There was some just before: what was received since then goes in.
    Granted,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Append {
    Done,
    /// The log is full, or the disk is slower than the clients.
    NoRoom,
}

/// What became of a request's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// They are in the log and end there.
    Now(u64),
    /// They were in it already and end there.
    Before(u64),
    /// Its key was that of other lines.
    OtherLines,
    NoRoom,
}

/// Consecutive lines of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines<'a> {
    origin: &'a Arc<str>,
    received_at_us: i64,
    payload: &'a [u8],
    rows: u64,
    end: LineEnd,
}

impl<'a> Lines<'a> {
    pub(super) fn new(origin: &'a Arc<str>, received_at_us: i64, payload: &'a [u8], end: LineEnd) -> Self {
        Self { origin, received_at_us, payload, rows: count_lines(payload), end }
    }

    fn record_length(&self) -> usize {
        Record::length(self.origin, self.payload, None)
    }
}

/// What to say about a log without room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Full {
    /// The query that has released least.
    pub(super) slowest: String,
    /// Bytes in the log.
    pub(super) held: u64,
    /// Bytes that it may hold.
    pub(super) limit: u64,
}

/// Where the records after a position are.
pub(super) enum Next {
    Here(Vec<Record>),
    InSegment(Arc<Segment>, u64),
    Nowhere,
}

/// Where a log begins when it is opened.
pub(super) struct Start {
    pub(super) log_id: u32,
    pub(super) secret: Secret,
    pub(super) durable: bool,
    pub(super) segments: VecDeque<Arc<Segment>>,
    pub(super) end: u64,
    pub(super) end_row: u64,
    pub(super) log_bytes_max: u64,
    pub(super) tail_bytes_max: usize,
    pub(super) keys: Keys,
}

impl Log {
    pub(super) fn new(start: Start, queries: &[String], stats: Arc<SourceStats>) -> Self {
        let Start { log_id, secret, durable, segments, end, end_row, log_bytes_max, tail_bytes_max, keys } = start;
        let state = State::new(segments, (end, end_row), keys, queries);
        stats.log_bytes.store(state.held(), Ordering::Relaxed);
        Self {
            log_id,
            secret,
            durable,
            log_bytes_max,
            tail_bytes_max,
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Notify::new(),
            end: watch::Sender::new(End { position: end, failed: false }),
            durability: watch::Sender::new(Durability { to: end, trouble: None }),
            failure: Mutex::new(None),
            stats,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// How many bytes may be received at once; 0 while nothing may.
    pub(super) fn receivable(&self) -> usize {
        let mut state = self.lock();
        if !self.has_room(&mut state, 0) {
            return 0;
        }
        usize::try_from(self.log_bytes_max.saturating_sub(state.held())).unwrap_or(usize::MAX).max(RECEIVED_BYTES_MIN)
    }

    /// Whether there is room for a record of `length` bytes.
    fn has_room(&self, state: &mut State, length: usize) -> bool {
        let held = state.held();
        let unwritten = state.end - state.written;
        // A record larger than the whole limit is admitted once there is nothing else.
        let full = held > 0 && held + length as u64 > self.log_bytes_max && !(state.all_released() && unwritten == 0);
        state.is_full = full;
        state.is_full_known &= held > self.log_bytes_max / 2;
        let is_disk_behind = self.durable && unwritten > UNWRITTEN_BYTES_MAX;
        !full && !is_disk_behind && state.stop == Stop::No
    }

    /// Appends lines of one connection. They are visible to queries at once, durable soon.
    pub(super) fn append(&self, lines: &Lines<'_>, room: Room) -> Append {
        let mut state = self.lock();
        let admitted = match room {
            Room::Needed => self.has_room(&mut state, lines.record_length()),
            Room::Granted => state.stop == Stop::No,
        };
        if !admitted {
            return Append::NoRoom;
        }
        self.put(&mut state, lines, None);
        drop(state);
        self.note_received(lines);
        Append::Done
    }

    /// Appends all lines of a request, unless those of one with its key were before. Answers where they end.
    pub(super) fn append_request(&self, lines: &Lines<'_>, request: Option<RequestKey>) -> Request {
        let mut state = self.lock();
        match request.as_ref().map_or(Seen::Never, |request| state.keys.look(request)) {
            Seen::Before(end) => return Request::Before(end),
            Seen::Otherwise => return Request::OtherLines,
            Seen::Never => {}
        }
        if !self.has_room(&mut state, lines.record_length() + request.map_or(0, |_| RequestKey::BYTES)) {
            return Request::NoRoom;
        }
        let end = self.put(&mut state, lines, request);
        if let Some(request) = &request {
            state.keys.add(request, end);
        }
        drop(state);
        self.note_received(lines);
        Request::Now(end)
    }

    /// Adds a record. Answers where it ends.
    fn put(&self, state: &mut State, lines: &Lines<'_>, request: Option<RequestKey>) -> u64 {
        let Lines { origin, received_at_us, payload, rows, end } = *lines;
        let length = Record::length(origin, payload, request.as_ref());
        let about = About {
            origin: origin.clone(),
            received_at_us,
            rows: u32::try_from(rows).unwrap_or(u32::MAX),
            first_row: state.end_row,
            durable_to: state.written,
            end,
            request,
        };
        if state.block.capacity() < length {
            state.block = BytesMut::with_capacity(length.max(BLOCK_BYTES));
        }
        let position = state.end;
        let record = Record::encode(self.secret, position, about, payload, &mut state.block);
        state.end = record.end();
        state.end_row += rows;
        state.tail_bytes += record.bytes.len() + RECORD_OVERHEAD;
        state.tail.push_back(record);
        self.end.send_modify(|now| now.position = state.end);
        self.stats.log_bytes.store(state.held(), Ordering::Relaxed);
        state.end
    }

    /// Wakes the writer and counts.
    fn note_received(&self, lines: &Lines<'_>) {
        self.work.notify_one();
        self.stats.lines_received.fetch_add(lines.rows, Ordering::Relaxed);
        match lines.end {
            LineEnd::Clean => {}
            LineEnd::Truncated => _ = self.stats.lines_truncated.fetch_add(1, Ordering::Relaxed),
            LineEnd::TooLong => _ = self.stats.lines_too_long.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Records that are not in their segment yet, at most `bytes_max` of them but always one.
    pub(super) fn unwritten(state: &State, bytes_max: usize) -> Vec<Record> {
        let from = state.tail.partition_point(|record| record.position < state.written);
        take_within(state.tail.range(from..), bytes_max, usize::MAX)
    }

    /// Says that everything up to `to` is durable.
    pub(super) fn set_written(&self, to: u64) {
        let mut state = self.lock();
        state.written = to;
        while state.tail_bytes > self.tail_bytes_max && state.tail.front().is_some_and(|record| record.end() <= to) {
            state.drop_front();
        }
        drop(state);
        self.durability.send_modify(|now| *now = Durability { to, trouble: None });
        self.room.notify_waiters();
    }

    /// Says why writing does not get on.
    pub(super) fn set_trouble(&self, error: &Error) {
        self.durability.send_modify(|now| now.trouble = Some(Failure::new(error)));
    }

    pub(super) fn durability(&self) -> watch::Receiver<Durability> {
        self.durability.subscribe()
    }

    /// Waits until everything up to `position` survives a power cut.
    ///
    /// # Errors
    /// Why it does not come to that: nothing is known about those lines then.
    pub(super) async fn durable_to(&self, position: u64) -> Result<()> {
        if !self.durable {
            return Ok(());
        }
        let mut durability = self.durability();
        let now = durability.wait_for(|now| now.to >= position || now.trouble.is_some()).await;
        let now = now.map_err(|cause| Error::internal("the ingest log was closed").because(cause))?;
        match &now.trouble {
            Some(trouble) if now.to < position => Err(trouble.error()),
            _ => Ok(()),
        }
    }

    pub(super) fn end(&self) -> watch::Receiver<End> {
        self.end.subscribe()
    }

    /// Position and row of the end.
    pub(super) fn end_and_row(&self) -> (u64, u64) {
        let state = self.lock();
        (state.end, state.end_row)
    }

    /// Position and row of the oldest record there is.
    pub(super) fn oldest_and_row(&self) -> (u64, u64) {
        let state = self.lock();
        (state.oldest, state.oldest_row)
    }

    /// Notes that a query will not read anything before `position` again, and forgets what no query will.
    pub(super) fn release(&self, query: &str, position: u64) {
        let mut state = self.lock();
        if let Some(released) = state.released.get_mut(query) {
            *released = (*released).max(Some(position));
        }
        let keep_from = state.keep_from();
        while state
            .tail
            .front()
            .is_some_and(|record| record.end() <= keep_from && (!self.durable || record.end() <= state.written))
        {
            state.drop_front();
        }
        if !self.durable {
            (state.oldest, state.oldest_row) = state.tail_start();
            self.stats.log_bytes.store(state.held(), Ordering::Relaxed);
        }
        let has_unneeded = Self::has_unneeded(&state);
        drop(state);
        // Waking the writer for nothing would cost each small batch two system calls and a change of threads.
        if has_unneeded {
            self.work.notify_one();
        }
        self.room.notify_waiters();
    }

    /// A query that is to hold the log until it has read it.
    pub(super) fn register(&self, query: &str) {
        self.lock().released.entry(query.to_owned()).or_insert(None);
    }

    /// A query that will not read again while this process lives.
    pub(super) fn forget(&self, query: &str) {
        self.lock().released.remove(query);
        // The others may be waiting for what only it held.
        self.release(query, 0);
    }

    /// Takes the segments off the list that no query needs, for the writer to delete.
    pub(super) fn take_unneeded(&self, state: &mut State) -> Vec<Arc<Segment>> {
        let keep_from = state.keep_from();
        let mut unneeded = Vec::new();
        while let [first, second, ..] = state.segments.make_contiguous() {
            if first.end() > keep_from {
                break;
            }
            let (second, gap) = (second.header, gap(first, second));
            (state.oldest, state.oldest_row) = (second.base, second.first_row);
            state.gaps -= gap;
            unneeded.extend(state.segments.pop_front());
        }
        self.stats.log_bytes.store(state.held(), Ordering::Relaxed);
        unneeded
    }

    /// Whether there are segments that no query needs.
    pub(super) fn has_unneeded(state: &State) -> bool {
        state.segments.len() > 1 && state.segments.front().is_some_and(|first| first.end() <= state.keep_from())
    }

    /// Where the records from `position` on are, none of them beyond `stop`.
    pub(super) fn next(&self, position: u64, stop: u64) -> Result<Next> {
        let state = self.lock();
        let (position, _) = state.normal(position, 0);
        if position >= state.end.min(stop) {
            return Ok(Next::Nowhere);
        }
        if state.tail.front().is_some_and(|first| first.position <= position) {
            let from = state.tail.partition_point(|record| record.position < position);
            let to = state.tail.partition_point(|record| record.position < stop);
            let records = take_within(state.tail.range(from..to.max(from)), BYTES_AT_ONCE, RECORDS_AT_ONCE);
            return match records.first() {
                Some(first) if first.position == position => Ok(Next::Here(records)),
                _ => Err(no_record(position)),
            };
        }
        match state.segment_of(position) {
            Some(segment) => Ok(Next::InSegment(segment.clone(), position)),
            None => Err(no_record(position)),
        }
    }

    /// The place that an offset of this log stands for, in its simplest form.
    ///
    /// # Errors
    /// `CKPT_CORRUPT` when the log does not reach there.
    pub(super) fn normal(&self, position: u64, row: u64) -> Result<(u64, u64)> {
        let state = self.lock();
        if position < state.readable_from() || position > state.end {
            let message = format!("the ingest log holds {}..{} and not position {position}", state.oldest, state.end);
            return Err(Error::spark(ErrorKind::Corrupt, "CKPT_CORRUPT", message));
        }
        Ok(state.normal(position, row))
    }

    /// Fails the source, or says that it works again.
    pub(super) fn set_failure(&self, failure: Option<Error>) {
        let failed = failure.is_some();
        *self.failure.lock().expect("no holder panics") = failure.as_ref().map(Failure::new);
        self.end.send_modify(|end| end.failed = failed);
    }

    pub(super) fn check_failure(&self) -> Result<()> {
        match &*self.failure.lock().expect("no holder panics") {
            Some(failure) => Err(failure.error()),
            None => Ok(()),
        }
    }

    /// Who holds a full log, unless that was answered before and the log has not been half empty since: a query that is only just too
    /// slow would be warned of after each of its batches.
    pub(super) fn newly_full(&self) -> Option<Full> {
        let mut state = self.lock();
        if !state.is_full || std::mem::replace(&mut state.is_full_known, true) {
            return None;
        }
        Some(Full { slowest: state.slowest().to_owned(), held: state.held(), limit: self.log_bytes_max })
    }
}

fn take_within<'a>(records: impl Iterator<Item = &'a Record>, bytes_max: usize, count_max: usize) -> Vec<Record> {
    let mut bytes = 0;
    let within = records.take_while(|record| {
        let first = bytes == 0;
        bytes += record.bytes.len();
        first || bytes <= bytes_max
    });
    within.take(count_max).cloned().collect()
}

fn no_record(position: u64) -> Error {
    Error::spark(ErrorKind::Corrupt, "CKPT_CORRUPT", format!("there is no record at position {position} of the ingest log"))
}
