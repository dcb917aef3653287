//! What one batch runs.
//!
//! SQL becomes a DataFusion plan with Spark's meaning (`spark/`), whose streaming leaves scan the current batch's rows and whose
//! stateful nodes (`crate::operator`) fetch and store what outlives a batch. The physical plan is built once per query start and
//! re-run for every batch. Nothing here does I/O or reads a clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::logical_expr::LogicalPlan;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use self::event_time::{EventTimeReport, Watermark};
pub use self::static_table::{ReplaceableRows, TableRows};
use crate::error::Result;
use crate::format::{Condition, MetadataColumn};
use crate::function::{Function, QueryCalls};

pub mod running_batch;
pub mod event_time;
pub mod spark;
mod batch_scan;
pub mod catalog;
pub mod static_table;
mod condition;
pub mod function;
pub mod output_mode;
pub mod streaming;
pub mod explain;
mod picture;

/// Which rows of a stateful result a batch emits (Spark's output modes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputMode {
    /// Only rows that will never change again.
    #[default]
    Append,
    /// Rows that changed in this batch.
    Update,
    /// The whole result, every batch.
    Complete,
}

/// How long state lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// As long as the query.
    #[default]
    Query,
    /// Each micro-batch alone: no state at all.
    MicroBatch,
}

/// What a query computes.
#[derive(Debug, Clone)]
pub enum QueryText {
    /// Spark SQL.
    Sql(String),
    /// A plan built with DataFusion's `DataFrame`, from the Rust API.
    Plan(Box<LogicalPlan>),
}

/// A stream that queries may read.
#[derive(Debug, Clone)]
pub struct StreamTable {
    /// Its name in SQL.
    pub name: String,
    /// Its declared columns; metadata columns are not among them.
    pub schema: SchemaRef,
    /// The metadata columns it can yield when they are named.
    pub metadata: Vec<MetadataColumn>,
}

/// A static table.
#[derive(Debug, Clone)]
pub struct StaticTable {
    /// Its name in SQL.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// Its rows.
    pub rows: TableRows,
}

/// Everything a query's SQL may name.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Streaming sources.
    pub streams: Vec<StreamTable>,
    /// Static tables.
    pub tables: Vec<StaticTable>,
    /// Views: name and SQL, inlined where they are named.
    pub views: Vec<(String, String)>,
    /// Watermarks of streams and views, by the relation's name in lower case.
    pub watermarks: BTreeMap<String, Watermark>,
    /// Deduplications of streams and views, by the relation's name in lower case; they come after the watermark.
    pub deduplications: BTreeMap<String, Deduplication>,
    /// Functions that ask the outside world.
    pub functions: Vec<Arc<Function>>,
}

/// What is taken out of a relation as repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deduplication {
    /// The columns that tell rows apart.
    pub by: Vec<String>,
    /// Whether a key is remembered for the watermark's delay only.
    pub within_watermark: bool,
}

/// Settings that shape a plan.
#[derive(Debug, Clone)]
pub struct PlanSettings {
    /// Zone of zoneless text and date functions (IANA name, default `UTC`).
    pub time_zone: Arc<str>,
    /// What all stateful operators of the query may hold together, in bytes.
    pub state_memory_bytes_max: usize,
    /// Output mode.
    pub output_mode: OutputMode,
    /// State's scope.
    pub scope: Scope,
}

/// What the plan needs from one source: the scan of a batch hands it exactly these columns.
#[derive(Debug, Clone, PartialEq)]
pub struct ScanRequest {
    /// The source's name.
    pub source: String,
    /// Indexes into the source's declared schema, in output order.
    pub projection: Vec<usize>,
    /// Metadata columns, after the projected ones.
    pub metadata: Vec<MetadataColumn>,
    /// What the plan wants of every row, as far as a decoder can judge it. The plan judges it again.
    pub filter: Vec<Condition>,
    /// The same, for people.
    pub filter_text: Vec<String>,
    /// How many scans of the plan read it: rows can be streamed to one, and must be held for several.
    pub scans: usize,
}

/// What a checkpoint remembers of a stateful operator: a restart with another one is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorFingerprint {
    /// `<kind>-<k>` in plan order, e.g. `aggregate-0`.
    pub id: String,
    /// Key columns, name and type.
    pub keys: Vec<(String, String)>,
    /// State columns, name and type.
    pub state: Vec<(String, String)>,
    /// Parameters that state depends on, e.g. the aggregate functions in order.
    pub parameters: Vec<String>,
}

/// The rows of one source in one batch, columns as in its [`ScanRequest`].
pub enum InputRows {
    /// All of them.
    Held(Vec<RecordBatch>),
    /// As they come, for a source that is scanned once.
    Streamed {
        /// The rows; errors end the run.
        rows: BoxStream<'static, Result<RecordBatch>>,
        /// The batch has nothing of this source, not even rows that the request's filter drops.
        is_empty: bool,
    },
}

impl InputRows {
    /// Whether the batch has nothing of this source.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Held(rows) => rows.iter().all(|rows| rows.num_rows() == 0),
            Self::Streamed { is_empty, .. } => *is_empty,
        }
    }
}

impl FromIterator<RecordBatch> for InputRows {
    fn from_iter<T: IntoIterator<Item = RecordBatch>>(rows: T) -> Self {
        Self::Held(rows.into_iter().collect())
    }
}

impl std::fmt::Debug for InputRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Held(rows) => f.debug_tuple("Held").field(rows).finish(),
            Self::Streamed { is_empty, .. } => f.debug_struct("Streamed").field("is_empty", is_empty).finish_non_exhaustive(),
        }
    }
}

/// One batch's input.
#[derive(Debug)]
pub struct BatchInput {
    /// The rows of each source.
    pub rows: BTreeMap<String, InputRows>,
    /// The only clock the plan sees, in microseconds since 1970.
    pub batch_time_us: i64,
    /// Watermark in force (W(n)), in milliseconds since 1970.
    pub watermark_ms: i64,
    /// The watermark that lateness is judged by (W(n-1)), in milliseconds since 1970.
    pub late_watermark_ms: i64,
    /// Seed of anything random.
    pub seed: u64,
    /// What functions are called with; needed only by a plan that calls some.
    pub calls: Option<QueryCalls>,
}

/// One batch's result.
#[derive(Debug, Clone)]
pub struct BatchOutput {
    /// The rows to emit, in order; at least one (possibly empty) batch.
    pub rows: Vec<RecordBatch>,
    /// Changelog page per operator whose state changed.
    pub state: Vec<(String, Bytes)>,
    /// Progress per operator, the downstream operator first.
    pub operators: Vec<OperatorProgress>,
    /// What was seen of event times, and what was set aside because of them.
    pub event_time: EventTimeReport,
}

/// Spark's `stateOperators[]` entry of one operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorProgress {
    /// Spark's name (`stateStoreSave`, `globalLimit`, …).
    pub operator_name: String,
    /// Rows (keys) held after the batch.
    pub num_rows_total: u64,
    /// Rows put in this batch.
    pub num_rows_updated: u64,
    /// Rows evicted in this batch.
    pub num_rows_removed: u64,
    /// Rows dropped as late, counted as Spark does.
    pub num_rows_dropped_by_watermark: u64,
    /// Memory held, index included.
    pub memory_used_bytes: u64,
    /// Time spent merging, in milliseconds.
    pub all_updates_time_ms: u64,
    /// Time spent evicting, in milliseconds.
    pub all_removals_time_ms: u64,
    /// Time spent writing the changelog, in milliseconds.
    pub commit_time_ms: u64,
    /// What only this kind of operator counts.
    #[serde(default)]
    pub custom_metrics: BTreeMap<String, u64>,
}

impl OperatorProgress {
    /// Takes in what another store of the same operator did, at the same time.
    pub fn add_store(&mut self, other: &Self) {
        self.num_rows_total += other.num_rows_total;
        self.num_rows_updated += other.num_rows_updated;
        self.num_rows_removed += other.num_rows_removed;
        self.num_rows_dropped_by_watermark += other.num_rows_dropped_by_watermark;
        self.memory_used_bytes += other.memory_used_bytes;
        self.all_updates_time_ms = self.all_updates_time_ms.max(other.all_updates_time_ms);
        self.all_removals_time_ms = self.all_removals_time_ms.max(other.all_removals_time_ms);
        self.commit_time_ms += other.commit_time_ms;
    }
}
