//! Functions that ask the outside world: declared in the pipeline file or registered in Rust, called by name in SQL.
//!
//! A kind of function (HTTP, Redis, Python, …) implements [`AsyncFunction`]: it answers one chunk of rows. Everything else is the same
//! for all kinds and lives here: chunks, the window of calls in flight, order, time limits, retries, caching, what a failure does.

pub mod policy;
mod settings;
mod declared;
mod mistake;
mod chunks;
mod call;
mod check;
mod answering;
pub(crate) mod template;
pub(crate) mod arguments;
pub mod http;
pub mod redis;
pub mod object;
pub mod python;
mod plain;
mod cache;
mod window;
mod batch;
pub(crate) mod measures;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Fields, SchemaRef};
use async_trait::async_trait;

pub use batch::QueryCalls;
pub use cache::{CACHE_ENTRIES_MAX, CacheSettings};
pub use declared::{Answered, BatchContext, Function};
pub use mistake::Mistake;
pub use policy::{Attempts, BreakerState};
pub use settings::{ATTEMPTS_MAX, CHUNK_ROWS_MAX, CallSettings, IN_FLIGHT_MAX, OnError};
pub use window::{CallLost, CallWindow, Completed, Deferred, NotCompleted};

/// What a kind of function does with a chunk of rows.
#[async_trait]
pub trait AsyncFunction: fmt::Debug + Send + Sync + 'static {
    /// Waits until it can be called, before each attempt. It has its own time limit, and the call's begins after it.
    async fn ready(&self) -> Result<(), CallError> {
        Ok(())
    }

    /// Answers a chunk. Dropping the future cancels the call.
    async fn call(&self, chunk: Chunk) -> Result<Reply, CallError>;

    /// Whether it makes its own further attempts, each within its own time limit, so that the engine makes one.
    fn retries_itself(&self) -> bool {
        false
    }

    /// The state of a circuit breaker of its own, for the metrics; `None` if it has none.
    fn breaker(&self) -> Option<BreakerState> {
        None
    }
}

/// What SQL knows of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Its name in SQL; case does not matter.
    pub name: String,
    /// Its arguments, in order.
    pub args: Fields,
    /// What it answers.
    pub returns: Returns,
}

/// What a function answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Returns {
    /// One value for each row; of several fields if the type is a struct.
    Value(DataType),
    /// Any number of rows for each row: the table form.
    Rows(SchemaRef),
}

/// Rows to be answered by one call.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Where they are from.
    pub context: ChunkContext,
    /// The arguments, named and typed as in the signature; at least one row.
    pub args: RecordBatch,
}

/// Where a chunk is from.
#[derive(Debug, Clone)]
pub struct ChunkContext {
    /// Pipeline, query, batch, function, and which of the query's calls of functions it is: with the row it names what is asked.
    pub origin: Arc<str>,
    /// Name of the query.
    pub query: Arc<str>,
    /// The batch it belongs to.
    pub batch_id: u64,
    /// The partition; 0, as there is one.
    pub partition: usize,
    /// Number of the chunk in the batch, from 1.
    pub index: usize,
    /// Which rows of the batch they are, counted from 1 as they come to the function; the end is not among them. With a cache, those
    /// between that need no call are not in the chunk.
    pub rows: Range<usize>,
    /// When the function began with the batch.
    pub started: SystemTime,
    /// What the declaration sets, by name.
    pub parameters: Arc<BTreeMap<String, serde_json::Value>>,
    /// Counts the attempts of the call. Only a kind that retries itself has to tell it of any.
    pub attempts: Attempts,
}

/// What a call hands back for its chunk.
#[derive(Debug, Clone)]
pub struct Reply {
    /// For all rows; null, or no row, for those that failed.
    pub answer: Answer,
    /// The rows that failed for good although the call went well, counted from 0, rising. They have what
    /// [`CallSettings::on_error`] says, like those of a call that failed.
    pub failed: Vec<(usize, CallError)>,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self { answer, failed: Vec::new() }
    }
}

/// What a call answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A value for each row of the chunk, in its order.
    Values(ArrayRef),
    /// Rows of the table form.
    Rows {
        /// With the columns of [`Returns::Rows`].
        rows: RecordBatch,
        /// For each, which row of the chunk it is for, from 0; never falling. All null if they are for the chunk as a whole: then a
        /// query can read nothing else of the chunk's rows beside them, and nothing can be kept.
        of: UInt32Array,
    },
}

/// Why a call did not answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// What sort of failure it is.
    pub kind: CallErrorKind,
    /// In words, without a full stop and without secrets.
    pub message: String,
    /// How long the other side asks to wait.
    pub retry_after: Option<Duration>,
    /// Attempts that were made; 0 if the circuit was open.
    pub attempts: u32,
}

/// What sort of failure it is, and so whether another attempt may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallErrorKind {
    /// No answer within the time limit. Another attempt may help.
    Timeout,
    /// The other side is not there or says that it cannot just now. Another attempt may help.
    Unavailable,
    /// The other side says no to this call.
    Rejected,
    /// The answer is not what was declared.
    BadAnswer,
    /// Too many calls have failed: none is made for a while.
    CircuitOpen,
    /// The function is set up wrong; no call can succeed.
    Config,
    /// The function itself is broken: it panicked.
    Defect,
}

impl CallErrorKind {
    /// Every one of them.
    pub const ALL: [Self; 7] =
        [Self::Timeout, Self::Unavailable, Self::Rejected, Self::BadAnswer, Self::CircuitOpen, Self::Config, Self::Defect];

    /// Whether another attempt may help.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Timeout | Self::Unavailable)
    }

    /// As in metrics and dead letters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Rejected => "rejected",
            Self::BadAnswer => "bad_answer",
            Self::CircuitOpen => "circuit_open",
            Self::Config => "config",
            Self::Defect => "defect",
        }
    }
}

impl CallError {
    /// A failure of the first attempt.
    pub fn new(kind: CallErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None, attempts: 1 }
    }
}

#[cfg(test)]
mod tests;
