//! When state ends, told to people: what `explain` says of it, and rows of state in the order in which they end.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{SortOptions, sort_to_indices, take};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

use super::expiry::Expiry;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::pipeline::show_duration;
use crate::plan::event_time::EventColumn;
use crate::plan::spark::types::timestamp;

/// How the rows of an operator's state end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Where the time stands that the operator's watermark has to reach.
    pub expiry: Expiry,
    /// How far that watermark lies behind the query's, in milliseconds.
    #[serde(default)]
    pub lag_ms: i64,
}

impl Ending {
    /// What the watermark has to reach, where `columns` are the names of key and then state columns.
    pub fn describe(&self, columns: &[&str]) -> String {
        let name = columns.get(self.expiry.index).copied().unwrap_or_default();
        let lag = if self.lag_ms == 0 { String::new() } else { format!(" + {}", duration(self.lag_ms)) };
        match self.expiry.column {
            EventColumn::Instant => format!("{name}{lag}"),
            EventColumn::WindowStart { size_us } => format!("window.end{lag} ({name} + {})", duration(size_us / 1000)),
            EventColumn::Window => format!("{name}.end{lag}"),
        }
    }

    /// The first `rows_max` of `rows` (key columns, then state columns) to end, behind a column `expires` with the watermark of the
    /// query that ends them: null where none does.
    ///
    /// # Errors
    /// Kind `Corrupt`, if the rows have no such column.
    pub fn soonest_first(&self, rows: &RecordBatch, rows_max: usize) -> Result<RecordBatch> {
        let Expiry { index, column } = self.expiry;
        let fits = rows.columns().get(index).is_some_and(|times| column.is_of(times.data_type()));
        if !fits {
            return Err(Error::new(ErrorKind::Corrupt, format!("state has no column {index} that says when its rows end")));
        }
        let lag_us = self.lag_ms.saturating_mul(1000);
        let expires: TimestampMicrosecondArray =
            self.expiry.times(rows.columns()).iter().map(|time| Some(time?.saturating_add(lag_us))).collect();
        let sorted = || -> Result<RecordBatch, ArrowError> {
            let order = sort_to_indices(&expires, Some(SortOptions { descending: false, nulls_first: false }), Some(rows_max))?;
            with_expires(rows, &expires, &order)
        };
        sorted().attempting(ErrorKind::Internal, || "sort state by when it ends".to_owned())
    }
}

fn with_expires(rows: &RecordBatch, expires: &TimestampMicrosecondArray, order: &UInt32Array) -> Result<RecordBatch, ArrowError> {
    let mut fields = vec![Arc::new(Field::new("expires", timestamp(), true))];
    let mut columns = vec![take(&expires.clone().with_timezone("UTC"), order, None)?];
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        // Some operators hold it themselves.
        if field.name() != "expires" {
            fields.push(field.clone());
            columns.push(take(column, order, None)?);
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// Milliseconds as the pipeline file writes them.
pub fn duration(ms: i64) -> String {
    show_duration(std::time::Duration::from_millis(ms.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

    fn rows(minutes: &[Option<i64>]) -> RecordBatch {
        let times: TimestampMicrosecondArray = minutes.iter().map(|minute| Some((*minute)? * 60_000_000)).collect();
        let keys = Int64Array::from_iter_values(0..minutes.len() as i64);
        let columns: [(&str, ArrayRef, bool); 2] =
            [("k", Arc::new(keys), true), ("w", Arc::new(times.with_timezone("UTC")), true)];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    #[test]
    fn the_first_to_end_come_first_and_those_that_never_do_last() {
        let column = EventColumn::WindowStart { size_us: 600_000_000 };
        let ending = Ending { expiry: Expiry { index: 1, column }, lag_ms: 60_000 };
        let shown = ending.soonest_first(&rows(&[Some(20), None, Some(0), Some(10)]), 10).unwrap();
        assert_eq!(shown.column(1).as_primitive::<Int64Type>().values(), &[2, 3, 0, 1]);
        let expires = shown.column(0).as_primitive::<TimestampMicrosecondType>();
        let minutes: Vec<_> = expires.iter().map(|time| Some(time? / 60_000_000)).collect();
        assert_eq!(minutes, [Some(11), Some(21), Some(31), None]);
        assert_eq!(ending.soonest_first(&rows(&[Some(20), None, Some(0)]), 1).unwrap().num_rows(), 1);
        assert_eq!(ending.describe(&["k", "window_start"]), "window.end + 1m (window_start + 10m)");
    }

    #[test]
    fn state_that_is_of_another_query_is_refused() {
        let ending = |index| Ending { expiry: Expiry { index, column: EventColumn::Window }, lag_ms: 0 };
        for index in [0, 1, 2] {
            let refused = ending(index).soonest_first(&rows(&[Some(1)]), 1).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn it_is_read_back_as_it_was_written() {
        let ending = Ending { expiry: Expiry { index: 1, column: EventColumn::WindowStart { size_us: 5 } }, lag_ms: 3 };
        let text = serde_json::to_string(&ending).unwrap();
        assert_eq!(serde_json::from_str::<Ending>(&text).unwrap(), ending);
    }
}
