//! A query's plan, built once and run for every batch.
//!
//! [`StreamingPlan`] owns the physical plan and the state of its operators. A run applies the batch's changes on an overlay of
//! that state; the engine merges it with [`StreamingPlan::commit`] once the batch is decided, or drops it.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;

use super::{BatchInput, BatchOutput, Catalog, OperatorFingerprint, PlanSettings, QueryText, ScanRequest};
use crate::error::{Error, Result};

/// One query, planned.
///
/// # Contract
/// - Built once per query start; [`run`](Self::run) plans nothing.
/// - After a `run`, exactly one of `commit` and `abort` follows, whether the run succeeded or not (a failed run has already
///   dropped its overlay; `abort` is then harmless).
#[derive(Debug)]
pub struct StreamingPlan {
    schema: SchemaRef,
    scans: Vec<ScanRequest>,
}

impl StreamingPlan {
    /// Plans `query`, called `name` in messages, and refuses what Spark refuses (kind `Config`, with Spark's condition).
    pub async fn new(name: &str, _query: &QueryText, _catalog: &Catalog, _settings: &PlanSettings) -> Result<Self> {
        Err(Error::internal(format!("query {name} cannot be planned yet")))
    }

    /// Columns of the output, named as the user sees them.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// What a batch must bring, one entry per source.
    pub fn scans(&self) -> &[ScanRequest] {
        &self.scans
    }

    /// What a checkpoint must remember of each stateful operator, in plan order (upstream first).
    pub fn fingerprints(&self) -> Vec<OperatorFingerprint> {
        Vec::new()
    }

    /// The logical, incremental and physical plan, and what each part keeps in state.
    pub fn explain(&self) -> String {
        String::new()
    }

    /// Loads one operator's state from a snapshot (or nothing) followed by later changelogs, oldest first. Kind `Corrupt` if the
    /// bytes are damaged or belong to another plan, `Limit` if the state does not fit.
    pub fn restore(&mut self, operator: &str, _changelog: &[Bytes]) -> Result<()> {
        Err(Error::internal(format!("there is no operator {operator}")))
    }

    /// Runs one batch on an overlay of the state.
    pub async fn run(&mut self, _input: BatchInput) -> Result<BatchOutput> {
        Err(Error::internal("nothing is planned"))
    }

    /// Merges the overlay of the last run.
    pub fn commit(&mut self) {}

    /// Drops the overlay of the last run.
    pub fn abort(&mut self) {}

    /// One operator's whole state, in the encoding of a changelog. Called between a commit and the next run.
    pub fn snapshot(&self, operator: &str) -> Result<Bytes> {
        Err(Error::internal(format!("there is no operator {operator}")))
    }

    /// One operator's state as rows: key columns, then state columns.
    pub fn state_rows(&self, operator: &str) -> Result<RecordBatch> {
        Err(Error::internal(format!("there is no operator {operator}")))
    }

    /// Bytes held by the state of all operators, indexes included.
    pub fn memory_used_bytes(&self) -> usize {
        0
    }
}

/// Stateless SQL over the rows of a finished batch, which it calls `result`: a sink's `select`.
#[derive(Debug)]
pub struct ResultPlan {
    schema: SchemaRef,
}

impl ResultPlan {
    /// Plans `sql` over `result` with the columns of `schema`.
    pub async fn new(sql: &str, _schema: &SchemaRef, _settings: &PlanSettings) -> Result<Self> {
        Err(Error::internal(format!("select {sql:?} cannot be planned yet")))
    }

    /// Columns of the output, named as the user sees them.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Runs it over one batch's rows. `batch_time_us` is the only clock it sees, in microseconds since 1970.
    pub async fn run(&mut self, _rows: Vec<RecordBatch>, _batch_time_us: i64) -> Result<Vec<RecordBatch>> {
        Err(Error::internal("nothing is planned"))
    }
}
