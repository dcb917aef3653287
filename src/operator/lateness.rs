//! Rows that come too late for an operator: they are taken out before it sees them, counted, and kept for the dead letter.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use datafusion::physical_expr::PhysicalExpr;

use super::expiry::{expiry_times, none_expired};
use crate::error::{Attempt, Error, ErrorKind, Result, from_datafusion};
use crate::plan::event_time::{EventColumn, EventTime, SetAside, SetAsideKind};

/// Judges rows by the watermark of the batch before, as Spark does.
#[derive(Debug)]
pub(super) struct Lateness {
    /// The operator's id.
    pub(super) operator: String,
    /// The event-time column, as the user calls it.
    pub(super) field: String,
    /// What computes it.
    pub(super) value: Arc<dyn PhysicalExpr>,
    /// What it holds.
    pub(super) column: EventColumn,
    pub(super) event_time: Arc<EventTime>,
}

/// Rows of one record batch.
pub(super) struct Split {
    pub(super) in_time: RecordBatch,
    /// Those that are late, if any are.
    pub(super) late: Option<RecordBatch>,
}

impl Lateness {
    /// Takes the late rows out of `rows` and reports them.
    pub(super) fn split(&self, rows: RecordBatch) -> Result<Split> {
        let watermark_ms = self.event_time.late_watermark_ms();
        let watermark_us = watermark_ms.saturating_mul(1000);
        let values = self.value.evaluate(&rows).and_then(|values| values.into_array(rows.num_rows()));
        let values = values.map_err(|e| from_datafusion(e, ErrorKind::Data))?;
        if none_expired(values.as_ref(), self.column, watermark_us) {
            return Ok(Split { in_time: rows, late: None });
        }
        let times = expiry_times(values.as_ref(), self.column);
        let is_late = |row: usize| times.is_valid(row) && times.value(row) <= watermark_us;
        if !(0..rows.num_rows()).any(is_late) {
            return Ok(Split { in_time: rows, late: None });
        }
        let which: BooleanArray = (0..rows.num_rows()).map(|row| Some(is_late(row))).collect();
        let filtered = |which: &BooleanArray| {
            filter_record_batch(&rows, which).attempting(ErrorKind::Internal, || "set late rows aside".to_owned())
        };
        let late = filtered(&which)?;
        self.event_time.set_aside(SetAside {
            kind: SetAsideKind::Late,
            operator: self.operator.clone(),
            watermark_ms: Some(watermark_ms),
            field: Some(self.field.clone()),
            reason: self.reason().to_owned(),
            rows: late.clone(),
        });
        let which = not(&which).map_err(|e| Error::internal("could not negate a filter").because(e))?;
        Ok(Split { in_time: filtered(&which)?, late: Some(late) })
    }

    fn reason(&self) -> &'static str {
        match self.column {
            EventColumn::Instant => "the event time is not after the watermark",
            EventColumn::WindowStart { .. } | EventColumn::Window => "the window ended before the watermark",
        }
    }
}
