//! Rows on their way into an aggregation: counted, and without those whose group has ended.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::physical_expr::PhysicalExpr;

use super::lateness::Lateness;
use crate::error::{Attempt, ErrorKind, Result, from_datafusion};

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

    /// A run begins.
    pub(super) fn begin(&self) {
        self.rows.store(0, Ordering::Relaxed);
        self.groups().clear();
    }

    /// Those of `rows` that are in time.
    pub(super) fn pass(&self, rows: RecordBatch) -> Result<RecordBatch> {
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

    /// Rows that went on in the current run.
    pub(super) fn rows(&self) -> usize {
        self.rows.load(Ordering::Relaxed)
    }

    /// Groups that late rows of the current run were for: what Spark counts instead of rows.
    pub(super) fn groups_late(&self) -> usize {
        self.groups().len()
    }

    /// What a plan says of it.
    pub(super) fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.late {
            Some(late) => write!(f, ": late by {}", late.lateness.field),
            None => Ok(()),
        }
    }

    fn groups(&self) -> MutexGuard<'_, HashSet<OwnedRow>> {
        // What a run that panicked left is cleared by the next one.
        self.groups_late.lock().unwrap_or_else(PoisonError::into_inner)
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
