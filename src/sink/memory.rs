//! Keeps the result as a table in this process, for tests and for programs that read it with SQL (Spark's memory sink).
//!
//! Append and update add rows, complete replaces them, as Spark does.

use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;

use super::{CommitId, Contains, Guarantee, Sink, ipc};
use crate::error::{Error, Result};
use crate::plan::OutputMode;
use crate::plan::spark::types::outside::{plain_rows, plain_schema};

/// The rows of a memory sink; clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryTable(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    schema: Option<SchemaRef>,
    batches: Vec<(u64, Vec<RecordBatch>)>,
    keeps_replaced: bool,
    last: Option<u64>,
}

impl MemoryTable {
    /// A table that also keeps what complete mode replaces: everything a query ever put out, batch by batch. It grows for as
    /// long as the query runs.
    pub fn keeping_every_batch() -> Self {
        Self(Arc::new(Mutex::new(Contents { keeps_replaced: true, ..Contents::default() })))
    }

    /// The columns, once a query has opened the sink. Intervals are Arrow's durations and intervals of months.
    pub fn schema(&self) -> Option<SchemaRef> {
        self.lock().schema.as_deref().map(plain_schema)
    }

    /// All rows, in the order they came.
    pub fn rows(&self) -> Vec<RecordBatch> {
        self.held().1.iter().map(shown).collect()
    }

    /// The rows that each batch brought, by batch id.
    pub fn rows_by_batch(&self) -> Vec<(u64, Vec<RecordBatch>)> {
        self.lock().batches.iter().map(|(id, rows)| (*id, rows.iter().map(shown).collect())).collect()
    }

    /// Columns and rows in the types of plans.
    pub(crate) fn held(&self) -> (Option<SchemaRef>, Vec<RecordBatch>) {
        let contents = self.lock();
        (contents.schema.clone(), contents.batches.iter().flat_map(|(_, rows)| rows.iter().cloned()).collect())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Rows as programs see them.
fn shown(rows: &RecordBatch) -> RecordBatch {
    plain_rows(rows).unwrap_or_else(|_| rows.clone())
}

/// The sink side of a [`MemoryTable`].
#[derive(Debug)]
pub struct Memory {
    table: MemoryTable,
    mode: OutputMode,
    schema: Option<SchemaRef>,
}

impl Memory {
    /// A sink that writes to `table` as `mode` says.
    pub fn new(table: MemoryTable, mode: OutputMode) -> Self {
        Self { table, mode, schema: None }
    }
}

#[async_trait]
impl Sink for Memory {
    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    async fn open(&mut self, schema: &SchemaRef) -> Result<()> {
        self.schema = Some(schema.clone());
        self.table.lock().schema = Some(schema.clone());
        Ok(())
    }

    fn stage(&mut self, rows: &[RecordBatch]) -> Result<Bytes> {
        let schema = self.schema.as_ref().ok_or_else(|| Error::internal("a memory sink was staged before it was opened"))?;
        ipc::write(schema, rows)
    }

    async fn contains(&mut self, id: &CommitId) -> Result<Contains> {
        Ok(if self.table.lock().last.is_some_and(|last| last >= id.number) { Contains::Yes } else { Contains::No })
    }

    async fn commit(&mut self, id: &CommitId, staged: &Bytes) -> Result<()> {
        let rows = ipc::read(staged)?;
        let mut contents = self.table.lock();
        if self.mode == OutputMode::Complete && !contents.keeps_replaced {
            contents.batches.clear();
        }
        contents.batches.push((id.batch_id, rows));
        contents.last = Some(id.number);
        Ok(())
    }
}
