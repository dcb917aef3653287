//! Rows on their way into an aggregation: counted, and without those whose group has ended. Partitions come one after another, so
//! that the order of rows does not depend on scheduling.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::lateness::Lateness;
use super::node::{Flow, PerBatchExec};
use crate::error::{Attempt, ErrorKind, Result, from_datafusion};

/// `input` in one partition, rows as they come.
pub fn in_turn(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    if input.output_partitioning().partition_count() == 1 {
        return input;
    }
    Arc::new(PerBatchExec::flowing(Arc::<Arrivals>::default(), input))
}

/// Takes late rows out and counts the others.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    late: Option<LateGroups>,
    rows: AtomicUsize,
    groups_late: Mutex<HashSet<OwnedRow>>,
}

/// Which rows are late, and for which groups.
#[derive(Debug)]
pub(super) struct LateGroups {
    pub(super) lateness: Lateness,
    /// The keys of the aggregation.
    pub(super) keys: Vec<Arc<dyn PhysicalExpr>>,
}

impl Arrivals {
    /// Without `late` every row is in time.
    pub(super) fn new(late: Option<LateGroups>) -> Self {
        Self { late, ..Self::default() }
    }

    /// Rows that went on in the current run.
    pub(super) fn rows(&self) -> usize {
        self.rows.load(Ordering::Relaxed)
    }

    /// Groups that late rows of the current run were for: what Spark counts instead of rows.
    pub(super) fn groups_late(&self) -> usize {
        self.groups().len()
    }

    fn groups(&self) -> MutexGuard<'_, HashSet<OwnedRow>> {
        // What a run that panicked left is cleared by the next one.
        self.groups_late.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flow for Arrivals {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.late {
            Some(late) => write!(f, "InTurnExec: late by {}", late.lateness.field),
            None => f.write_str("InTurnExec"),
        }
    }

    fn begin(&self) {
        self.rows.store(0, Ordering::Relaxed);
        self.groups().clear();
    }

    fn pass(&self, rows: RecordBatch) -> Result<RecordBatch> {
        let in_time = match &self.late {
            None => rows,
            Some(late) => {
                let split = late.lateness.split(rows)?;
                if let Some(rows) = split.late {
                    late.note(&rows, &mut self.groups())?;
                }
                split.in_time
            }
        };
        self.rows.fetch_add(in_time.num_rows(), Ordering::Relaxed);
        Ok(in_time)
    }
}

impl LateGroups {
    fn note(&self, rows: &RecordBatch, groups: &mut HashSet<OwnedRow>) -> Result<()> {
        let keys = self.keys.iter().map(|key| key.evaluate(rows)?.into_array(rows.num_rows()));
        let keys: Vec<ArrayRef> = keys.collect::<Result<_, _>>().map_err(|e| from_datafusion(e, ErrorKind::Data))?;
        let fields = keys.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        let converted = RowConverter::new(fields).and_then(|converter| converter.convert_columns(&keys));
        let converted = converted.attempting(ErrorKind::Internal, || "tell late groups apart".to_owned())?;
        groups.extend(converted.iter().map(|row| row.owned()));
        Ok(())
    }
}
