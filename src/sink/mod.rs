//! Where results go.
//!
//! A batch's output is first encoded into staged bytes under the checkpoint; once the batch is decided (`Prepared`) each sink is
//! given exactly those bytes under its own dense commit number, as often as it takes.

pub mod console;
pub mod file;
pub mod dead_letter;
pub mod discard;
mod ipc;
pub mod kafka;
mod mark;
mod packed;
pub mod redis;
pub mod memory;
pub mod metric;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// What a sink promises its readers; shown in status, page and log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// Each row exactly once, through any number of crashes.
    ExactlyOnce,
    /// No row lost; the last batch may be repeated after a crash.
    AtLeastOnce,
}

impl Guarantee {
    /// `exactly-once` or `at-least-once`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExactlyOnce => "exactly-once",
            Self::AtLeastOnce => "at-least-once",
        }
    }
}

/// Names one commit of one sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitId {
    /// UUID of the query's checkpoint, 32 hex digits.
    pub query_id: String,
    /// The sink's name within its query.
    pub sink: String,
    /// The sink's own dense commit number, from 0.
    pub number: u64,
    /// The batch whose output this is.
    pub batch_id: u64,
    /// Batch time in microseconds since 1970.
    pub batch_time_us: i64,
    /// CRC-32C of the staged bytes: a copy of the checkpoint may count the same number for other rows. 0 while there are none.
    pub crc32c: u32,
    /// A person has said that this commit comes next: the mark before it may be gone, older, or another query's.
    pub is_accepted: bool,
}

/// What a sink knows about a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contains {
    /// This commit is in.
    Yes,
    /// It is not; the one before it is the last.
    No,
    /// The sink holds a later commit than the log knows of (`SINK_AHEAD`): its last one.
    Ahead(u64),
    /// The sink's mark is gone or is another query's (`MARKER_LOST`).
    MarkerLost,
}

impl Contains {
    /// Whether `id` is in.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the sink and the checkpoint do not belong together: `SINK_AHEAD`, `MARKER_LOST`.
    pub fn is_in(self, id: &CommitId) -> Result<bool> {
        match self {
            Self::Yes => Ok(true),
            Self::No => Ok(false),
            Self::Ahead(last) => Err(sink_ahead(id, last)),
            Self::MarkerLost => {
                let message =
                    format!("sink {:?} has no or another query's mark where commit {} should follow", id.sink, id.number);
                Err(marker_lost(message, &id.sink, id.number))
            }
        }
    }
}

/// The sink's output is newer than the checkpoint: an old checkpoint was restored. Skipping numbers would lose rows in silence.
pub(crate) fn sink_ahead(id: &CommitId, last: u64) -> Error {
    let message = format!(
        "sink {:?} already holds commit {last} where commit {} should follow: the checkpoint is older than the output",
        id.sink, id.number
    );
    Error::spark(ErrorKind::Corrupt, "SINK_AHEAD", message).with_fact("sink", &id.sink).with_fact("at", (last + 1).to_string())
}

/// What the sink says of its commits does not fit; it would after commit `next` if a person said so.
pub(crate) fn marker_lost(message: String, sink: &str, next: u64) -> Error {
    Error::spark(ErrorKind::Corrupt, "MARKER_LOST", message).with_fact("sink", sink).with_fact("at", next.to_string())
}

/// What a sink that gathers commits is to show its readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOut {
    /// What is due.
    Due,
    /// All of it: the query ends.
    All,
}

/// A place that takes a batch's output.
///
/// # Contract
/// - `stage` is a function of its arguments: it touches nothing outside the process.
/// - `commit` makes exactly the staged bytes visible and is idempotent per [`CommitId`]; when it fails, `contains` tells the truth
///   afterwards.
/// - A sink whose `guarantee` is at-least-once answers [`Contains::No`] to everything.
/// - What a sink has committed it may show later, at a `put_out` at the latest that asks for all of it. Its answers to `contains` do not
///   depend on what it has shown.
#[async_trait]
pub trait Sink: Send + Sync {
    /// What readers of this sink may rely on.
    fn guarantee(&self) -> Guarantee;
    /// Opens the sink for rows of `schema` without changing anything visible: creates folders, checks permissions, refuses what it
    /// cannot take.
    async fn open(&mut self, schema: &SchemaRef) -> Result<()>;
    /// Encodes a batch's rows; empty when this batch has nothing for the sink.
    fn stage(&mut self, rows: &[RecordBatch]) -> Result<Bytes>;
    /// Whether `id` is in.
    async fn contains(&mut self, id: &CommitId) -> Result<Contains>;
    /// Makes the staged bytes of `id` visible.
    async fn commit(&mut self, id: &CommitId, staged: &Bytes) -> Result<()>;
    /// Shows readers what is committed and was held back. `next` is the commit that comes next, at the time it is now. Answers when
    /// to ask again, in microseconds since 1970, unless a commit comes first; may be repeated.
    async fn put_out(&mut self, _next: &CommitId, _what: PutOut) -> Result<Option<i64>> {
        Ok(None)
    }
}
