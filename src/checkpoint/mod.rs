//! What survives a crash.
//!
//! One append-only log per query holds a frame per step of a batch: *planned* when its ranges are fixed, *prepared* when its
//! output is decided, *committed* when every sink has it. At most one batch lies between, so the newest frame says what to do.
//! The checkpoint never interprets an offset, a state page or a staged output: they are bytes with a length and a checksum.

mod root;
mod asked;
mod query;
mod snapshot;
mod recovery;
mod identity;
mod meta;
mod inspect;
mod verify;
mod reader;
mod history;
mod chain;
mod log;
mod segment;
mod frame;
mod step;
mod blob;
pub mod storage;

pub use asked::Asked;
pub use identity::Identity;
pub use inspect::{FrameInfo, Inspection, inspect, list_queries};
pub use query::{Checkpoint, compare};
pub use recovery::{FirstStep, LastBatch, Recovered};
pub use root::CheckpointRoot;
pub(crate) use root::kernel_text;
pub use snapshot::{SnapshotWriter, WrittenSnapshot};
pub(crate) use verify::needed_from;
pub use verify::{Examined, examine};

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::source::OffsetRange;

/// Number of a micro-batch: names its offset entry, state version, sink write and commit entry alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(pub u64);

impl BatchId {
    /// The first batch of a query.
    pub const FIRST: Self = Self(0);

    /// The batch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for BatchId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Everything that a re-run of a batch must see again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedBatch {
    /// The batch.
    pub batch: BatchId,
    /// The only clock the plan may see, in microseconds since 1970; never goes back.
    pub batch_time_us: i64,
    /// What to read from each source, by name.
    pub sources: BTreeMap<String, OffsetRange>,
    /// Watermark in force, in milliseconds since 1970 (Spark's W(n)); 0 at the start.
    pub watermark_ms: i64,
    /// Watermark of the batch before, against which lateness is judged (Spark's W(n-1)).
    pub late_watermark_ms: i64,
    /// Seed of anything random in the plan.
    pub seed: u64,
}

/// One staged output of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedOutput {
    /// The sink's name within the query.
    pub sink: String,
    /// The sink's own dense commit number.
    pub number: u64,
    /// What the sink will be given, as often as it takes.
    pub bytes: Bytes,
}

/// What one stateful operator changed in a batch: an Arrow IPC page, opaque here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The operator's id in plan order (`aggregate-0`).
    pub operator: String,
    /// The changelog page.
    pub bytes: Bytes,
}

/// The decision: from here on a batch is never executed again, only committed from these bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedBatch {
    /// The batch.
    pub batch: BatchId,
    /// Output per sink that has any, in commit order.
    pub outputs: Vec<StagedOutput>,
    /// State changes per operator that has any.
    pub state: Vec<StateChange>,
    /// The watermark that the next batch uses, in milliseconds since 1970.
    pub next_watermark_ms: i64,
    /// Row counts and whatever else progress needs after a restart, as JSON.
    pub summary: serde_json::Value,
    /// Rows read and xxh3 of the input per source: a replay that differs stops.
    pub inputs: BTreeMap<String, InputChecksum>,
}

/// What a batch read from one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputChecksum {
    /// Records read.
    pub rows: u64,
    /// xxh3 of their bytes in order.
    pub xxh3: u64,
}

#[cfg(test)]
mod tests;
