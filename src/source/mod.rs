//! Where rows come from.
//!
//! A source is a replayable stream of records addressed by [`Offset`]s that only the source itself understands: the engine plans
//! a range, logs it, reads it, and after a crash reads the same range again. What is received becomes replayable by an ingest log.

pub mod file;
pub mod http;
pub mod ingest;
mod lines;
mod records;
mod stats;
pub mod memory;
pub mod rate;
pub mod socket;
pub mod kafka;
#[cfg(test)]
mod contract;

pub use lines::ReadBuffer;
pub use records::Records;
pub use stats::{PartitionAhead, PartitionLag, PartitionTimes, SourceStats};

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::{Error, ErrorKind, Result};
use crate::format::MetadataColumn;

/// A position in a source, as JSON that only the source interprets. It goes into the checkpoint log and into progress as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(serde_json::Value);

impl Offset {
    /// The offset that stands for a source's own typed position.
    pub fn encode<T: Serialize>(position: &T) -> Self {
        Self(serde_json::to_value(position).expect("an offset is plain data"))
    }

    /// The source's own typed position; an offset of another source is [`ErrorKind::Corrupt`].
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.0.clone())
            .map_err(|cause| Error::new(ErrorKind::Corrupt, format!("offset {} is not of this source", self.0)).because(cause))
    }

    /// The offset as progress shows it.
    pub fn as_json(&self) -> &serde_json::Value {
        &self.0
    }
}

/// The records from `start` (inclusive) to `end` (exclusive).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetRange {
    /// First record of the range.
    pub start: Offset,
    /// One past the last record of the range.
    pub end: Offset,
}

/// How much one batch may take from a source. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadLimit {
    /// Rows (lines) at most.
    pub rows_max: Option<u64>,
    /// Bytes at most; one record is always admitted, however long.
    pub bytes_max: Option<u64>,
    /// Files at most (file source).
    pub files_max: Option<u64>,
}

/// A piece of a range, in order.
#[derive(Debug)]
pub enum Chunk {
    /// Raw lines for the source's decoder.
    Lines(LineChunk),
    /// Raw lines that are still to be fetched: parts of a range can be read and decoded side by side.
    Part(Box<dyn LinePart>),
    /// Rows that need no decoding (rate and memory sources), in the source's own schema.
    Rows(RecordBatch),
    /// So many records that the source, which promised nothing, does not have any more.
    Lost(u64),
}

/// A part of a range that is read on its own.
///
/// # Contract
/// - Parts do not depend on each other, and reading one again yields the same lines, in chunks that may be cut elsewhere.
/// - How a range is cut into parts depends on the range alone, not on the machine or on what was read before.
pub trait LinePart: std::fmt::Debug + Send {
    /// Hands the lines to `deliver`, in order, until they end or it fails. Waits for the disk. What `buffer` holds does not matter;
    /// it saves allocating one.
    fn read(self: Box<Self>, buffer: &mut ReadBuffer, deliver: &mut dyn FnMut(&LineChunk) -> Result<()>) -> Result<()>;
}

/// Consecutive raw lines of one origin. Lines end with `\n`; only the last may lack it, see [`LineChunk::end`].
#[derive(Debug, Clone)]
pub struct LineChunk {
    /// The lines with their line ends.
    pub bytes: Bytes,
    /// The file path or the connection (`127.0.0.1:40112#3`) that the lines came from: `_file` for file sources.
    pub origin: Arc<str>,
    /// Byte position of the first byte within `origin` (or within the ingest log): `_position` of the first line. The position of
    /// a later line is this plus its byte offset in `bytes`.
    pub position: u64,
    /// When the bytes were received, in microseconds since 1970; `None` where the source has no such time.
    pub received_at_us: Option<i64>,
    /// How the last line ends when it has no line end of its own.
    pub end: LineEnd,
    /// The messages that the bytes are made of, instead of lines.
    pub records: Option<Arc<Records>>,
}

impl LineChunk {
    /// Position of the line or record that begins at byte `start` of the chunk.
    pub(crate) fn position_of(&self, start: usize) -> u64 {
        match &self.records {
            Some(records) => records.offset(records.index_at(start)).unsigned_abs(),
            None => self.position + start as u64,
        }
    }
}

/// What became of a last line without a line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnd {
    /// Every line is terminated, or the file or connection ended cleanly: an unterminated last line counts as whole.
    Clean,
    /// The connection broke in the middle of the last line: it is malformed, reason `truncated`.
    Truncated,
    /// The last line was cut at the line limit and the rest of it skipped up to its line end: malformed, reason `too long`.
    TooLong,
}

/// A replayable stream of records, addressed by offset.
///
/// # Contract
/// - `read` of one range yields the same records every time, until the range is released.
/// - `latest_offset` never goes backwards and never passes `limit`.
/// - Offsets compare equal exactly when no record lies between them.
/// - After `make_durable(end)` every range up to `end` survives a crash of the process and of the machine, as far as the source
///   can promise that at all.
#[async_trait]
pub trait Source: Send + Sync {
    /// Where a query without a checkpoint starts.
    async fn initial_offset(&mut self) -> Result<Offset>;
    /// How far a batch starting at `start` may read: `start` itself when there is nothing new.
    async fn latest_offset(&mut self, start: &Offset, limit: &ReadLimit) -> Result<Offset>;
    /// The records of `range` in order, a chunk at a time.
    async fn read(&mut self, range: &OffsetRange) -> Result<BoxStream<'static, Result<Chunk>>>;
    /// Waits until the records before `end` are replayable after a power cut. Called while the batch computes and awaited before
    /// its output is decided.
    async fn make_durable(&mut self, end: &Offset) -> Result<()>;
    /// Completes when `latest_offset(end, …)` may answer something other than `end`. May complete early; never misses.
    async fn changed(&mut self, end: &Offset);
    /// Promises that nothing before `end` will be read again by this query.
    async fn release(&mut self, end: &Offset) -> Result<()>;
}

/// What becomes of the records of a source when the process or the machine goes down before a batch has read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// They are kept outside, and can be read again.
    Kept,
    /// They are kept in the source's ingest log from the moment they are received (unless that is switched off).
    Logged,
    /// They are made from the offset itself.
    Computed,
    /// They are gone.
    Lost,
}

/// What is true of every source of a kind.
#[derive(Debug)]
pub struct SourceSpec {
    /// The connector's key under `from`.
    pub name: &'static str,
    /// What survives a crash.
    pub replay: Replay,
    /// Whether one such source is opened per process and shared by its queries.
    pub shared: bool,
    /// Columns that it can yield beside those of its schema; the others are null.
    pub metadata: &'static [MetadataColumn],
    /// How much a batch takes where the settings do not say.
    pub limit: ReadLimit,
}

/// Every source there is, by name. A new one is its own file and one line here.
pub const SOURCES: &[&SourceSpec] = &[&socket::SPEC, &http::SPEC, &file::SPEC, &rate::SPEC, &memory::SPEC, &kafka::SPEC];

/// Which records a query will see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extent {
    /// All that come, without end.
    #[default]
    Endless,
    /// Those that are there when the source is opened: available-now and once.
    AvailableNow,
}
