//! Rows and lines pushed by hand: tests, and programs that embed the engine.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::lines::{after_lines, count_lines};
use super::{Chunk, Extent, LineChunk, LineEnd, Offset, OffsetRange, ReadLimit, Replay, Source, SourceSpec};
use crate::error::{Error, ErrorKind, Result};
use crate::format::MetadataColumn;

/// What is true of every memory source.
pub const SPEC: SourceSpec = SourceSpec {
    name: "memory",
    replay: Replay::Lost,
    shared: true,
    metadata: &[MetadataColumn::Source, MetadataColumn::Position],
    limit: ReadLimit { rows_max: None, bytes_max: None, files_max: None },
};

/// A stream that a program pushes into and queries read. Clones are the same stream.
///
/// What every query that reads it has released is forgotten; a query that comes later starts at the oldest row that is left.
#[derive(Debug, Clone)]
pub struct MemoryStream {
    shared: Arc<Mutex<Shared>>,
    /// Rows pushed so far.
    end: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct Shared {
    pushed: VecDeque<Pushed>,
    /// Rows pushed so far, and bytes of lines.
    rows: u64,
    bytes: u64,
    /// How far each query has released.
    released: HashMap<u64, u64>,
    readers: u64,
}

#[derive(Debug, Clone)]
struct Pushed {
    /// Number of the first row.
    first: u64,
    rows: u64,
    bytes: u64,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Lines(LineChunk),
    Rows(RecordBatch),
}

#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    row: u64,
}

impl Default for MemoryStream {
    fn default() -> Self {
        Self { shared: Arc::default(), end: Arc::new(watch::Sender::new(0)) }
    }
}

impl MemoryStream {
    /// A stream that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Pushes one line, with or without a line end.
    pub fn push_line(&self, line: impl AsRef<[u8]>) {
        let mut bytes = line.as_ref().to_vec();
        if bytes.last() != Some(&b'\n') {
            bytes.push(b'\n');
        }
        self.push_lines(bytes);
    }

    /// Pushes any number of lines that end with `\n`.
    pub fn push_lines(&self, lines: impl Into<Bytes>) {
        let bytes = lines.into();
        let (rows, length) = (count_lines(&bytes), bytes.len() as u64);
        self.push(rows, length, |position| {
            let origin = Arc::from("memory");
            Content::Lines(LineChunk { bytes, origin, position, received_at_us: None, records: None, end: LineEnd::Clean })
        });
    }

    /// Pushes rows, which must have the schema that the source was declared with.
    pub fn push_rows(&self, rows: RecordBatch) {
        self.push(rows.num_rows() as u64, rows.get_array_memory_size() as u64, |_| Content::Rows(rows));
    }

    /// A query's view of the stream.
    pub fn source(&self, extent: Extent) -> MemorySource {
        let mut shared = self.lock();
        let id = shared.readers;
        shared.readers += 1;
        let oldest = shared.oldest();
        shared.released.insert(id, oldest);
        let stop = if extent == Extent::AvailableNow { shared.rows } else { u64::MAX };
        MemorySource { stream: self.clone(), id, stop, end: self.end.subscribe() }
    }

    fn push(&self, rows: u64, bytes: u64, content: impl FnOnce(u64) -> Content) {
        let mut shared = self.lock();
        if rows == 0 {
            return;
        }
        let pushed = Pushed { first: shared.rows, rows, bytes, content: content(shared.bytes) };
        shared.rows += rows;
        shared.bytes += bytes;
        shared.pushed.push_back(pushed);
        self.end.send_replace(shared.rows);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no holder panics")
    }
}

impl Shared {
    fn oldest(&self) -> u64 {
        self.pushed.front().map_or(self.rows, |pushed| pushed.first)
    }

    fn check(&self, row: u64) -> Result<u64> {
        if (self.oldest()..=self.rows).contains(&row) {
            return Ok(row);
        }
        let message = format!("row {row} of a memory source is not there; it holds {}..{}", self.oldest(), self.rows);
        Err(Error::new(ErrorKind::Corrupt, message))
    }
}

impl Pushed {
    /// The rows `[from, to)` of the stream that are in here.
    fn slice(&self, from: u64, to: u64) -> Option<Chunk> {
        let from = from.max(self.first) - self.first;
        let to = to.min(self.first + self.rows).checked_sub(self.first).filter(|to| *to > from)?;
        Some(match &self.content {
            Content::Rows(rows) => {
                let (at, count) = (usize::try_from(from).ok()?, usize::try_from(to - from).ok()?);
                Chunk::Rows(rows.slice(at, count))
            }
            Content::Lines(lines) => {
                let (start, end) = (after_lines(&lines.bytes, from), after_lines(&lines.bytes, to));
                let position = lines.position + start as u64;
                Chunk::Lines(LineChunk { bytes: lines.bytes.slice(start..end), position, ..lines.clone() })
            }
        })
    }

    /// How many rows from `from` on fit into `bytes`.
    fn rows_within(&self, from: u64, bytes: u64) -> u64 {
        match &self.content {
            Content::Rows(_) => bytes / (self.bytes / self.rows).max(1),
            Content::Lines(lines) => {
                let rest = &lines.bytes[after_lines(&lines.bytes, from - self.first)..];
                let fit = rest.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
                memchr::memchr_iter(b'\n', &rest[..fit]).count() as u64
            }
        }
    }
}

/// A query's view of a [`MemoryStream`].
#[derive(Debug)]
pub struct MemorySource {
    stream: MemoryStream,
    id: u64,
    stop: u64,
    end: watch::Receiver<u64>,
}

impl Drop for MemorySource {
    fn drop(&mut self) {
        self.stream.lock().released.remove(&self.id);
    }
}

#[async_trait]
impl Source for MemorySource {
    async fn initial_offset(&mut self) -> Result<Offset> {
        Ok(Offset::encode(&Progress { row: self.stream.lock().oldest() }))
    }

    async fn latest_offset(&mut self, start: &Offset, limit: &ReadLimit) -> Result<Offset> {
        let shared = self.stream.lock();
        let start = shared.check(start.decode::<Progress>()?.row)?;
        let mut end = shared.rows.min(self.stop).max(start);
        if let Some(rows_max) = limit.rows_max {
            end = end.min(start.saturating_add(rows_max.max(1)));
        }
        if let Some(mut bytes_left) = limit.bytes_max {
            let mut fits_to = start;
            for pushed in shared.pushed.iter().filter(|pushed| pushed.first + pushed.rows > start) {
                let rest = pushed.first + pushed.rows - fits_to;
                let fit = pushed.rows_within(fits_to, bytes_left).min(rest);
                fits_to += fit;
                bytes_left = bytes_left.saturating_sub(pushed.bytes * fit / pushed.rows);
                if fit < rest {
                    break;
                }
            }
            end = end.min(fits_to.max(start + 1));
        }
        Ok(Offset::encode(&Progress { row: end }))
    }

    async fn read(&mut self, range: &OffsetRange) -> Result<BoxStream<'static, Result<Chunk>>> {
        let shared = self.stream.lock();
        let start = shared.check(range.start.decode::<Progress>()?.row)?;
        let end = shared.check(range.end.decode::<Progress>()?.row)?;
        let chunks: Vec<_> = shared.pushed.iter().filter_map(|pushed| pushed.slice(start, end)).map(Ok).collect();
        Ok(futures::stream::iter(chunks).boxed())
    }

    async fn make_durable(&mut self, _end: &Offset) -> Result<()> {
        // Memory survives nothing, and promises nothing.
        Ok(())
    }

    async fn changed(&mut self, end: &Offset) {
        let Ok(Progress { row }) = end.decode() else { return };
        let stop = self.stop;
        // The sender lives in `self.stream`, so this ends with more rows only.
        if self.end.wait_for(|rows| (*rows).min(stop) > row).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn release(&mut self, end: &Offset) -> Result<()> {
        let row = end.decode::<Progress>()?.row;
        let mut shared = self.stream.lock();
        shared.released.insert(self.id, row);
        let keep_from = shared.released.values().copied().min().unwrap_or(0);
        while shared.pushed.front().is_some_and(|pushed| pushed.first + pushed.rows <= keep_from) {
            shared.pushed.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;
    use crate::source::contract;

    #[tokio::test]
    async fn lines_and_rows_keep_the_contract_of_sources() {
        let stream = MemoryStream::new();
        stream.push_line("one");
        stream.push_lines("two\nthree\n\nfour\n");
        let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as _;
        let mut source = stream.source(Extent::Endless);
        contract::check(&mut source).await;
        let rows = MemoryStream::new();
        let mut source = rows.source(Extent::Endless);
        for _ in 0..3 {
            rows.push_rows(RecordBatch::try_from_iter([("value", Arc::clone(&numbers))]).unwrap());
        }
        contract::check(&mut source).await;
    }

    #[tokio::test]
    async fn a_row_is_kept_until_every_query_has_released_it() {
        let stream = MemoryStream::new();
        let (mut one, mut two) = (stream.source(Extent::Endless), stream.source(Extent::Endless));
        stream.push_line("a");
        let start = one.initial_offset().await.unwrap();
        let end = one.latest_offset(&start, &ReadLimit::default()).await.unwrap();
        one.release(&end).await.unwrap();
        assert_eq!(stream.source(Extent::Endless).initial_offset().await.unwrap(), start);
        two.release(&end).await.unwrap();
        assert_eq!(stream.source(Extent::Endless).initial_offset().await.unwrap(), end);
    }

    #[tokio::test]
    async fn available_now_ends_where_the_stream_was() {
        let stream = MemoryStream::new();
        stream.push_line("a");
        let mut source = stream.source(Extent::AvailableNow);
        stream.push_line("b");
        let start = source.initial_offset().await.unwrap();
        assert_eq!(contract::texts(&mut source, &start).await.unwrap().0, ["a"]);
    }
}
