//! The mean of intervals.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, DurationMicrosecondType, Int32Type, IntervalYearMonthType, TimeUnit};

use super::OnOverflow;
use super::fold::{Fold, GroupRows, typed};
use crate::error::Result;
use crate::plan::spark::functions::arguments::data_error;
use crate::plan::spark::functions::native::from_arrow;

/// The mean of intervals, in whole months or microseconds.
#[derive(Debug)]
pub(super) struct IntervalAverage {
    /// Of the result.
    pub(super) data_type: DataType,
    pub(super) on_overflow: OnOverflow,
}

/// Sum (`None` after an overflow) and count.
#[derive(Debug, Clone, Copy)]
pub(super) struct IntervalSum {
    sum: Option<i64>,
    count: i64,
}

impl Default for IntervalSum {
    fn default() -> Self {
        Self { sum: Some(0), count: 0 }
    }
}

impl IntervalSum {
    fn add(&mut self, sum: Option<i64>, count: i64) {
        self.sum = self.sum.zip(sum).and_then(|(held, sum)| held.checked_add(sum));
        self.count += count;
    }

    /// Half away from zero.
    fn mean(&self) -> Option<i64> {
        let (sum, count) = (i128::from(self.sum?), i128::from(self.count));
        let mean = (2 * sum.abs() + count) / (2 * count);
        i64::try_from(mean * sum.signum()).ok()
    }
}

/// Months or microseconds.
fn units(column: &ArrayRef) -> Result<Int64Array> {
    let units = match column.data_type() {
        DataType::Interval(_) => {
            let months: ArrayRef = Arc::new(column.as_primitive::<IntervalYearMonthType>().reinterpret_cast::<Int32Type>());
            cast(&months, &DataType::Int64)
        }
        _ => cast(column, &DataType::Duration(TimeUnit::Microsecond)).and_then(|column| cast(&column, &DataType::Int64)),
    };
    Ok(typed::<Int64Array>(&units.map_err(from_arrow)?)?.clone())
}

impl Fold for IntervalAverage {
    type Cell = IntervalSum;

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64, DataType::Int64]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let units = units(&values[0])?;
        rows.each(&units, |row, group| cells[group].add(Some(units.value(row)), 1));
        Ok(0)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let (sums, counts) = (typed::<Int64Array>(&states[0])?, typed::<Int64Array>(&states[1])?);
        rows.each(counts, |row, group| cells[group].add(sums.is_valid(row).then(|| sums.value(row)), counts.value(row)));
        Ok(0)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        let sums: Int64Array = cells.iter().map(|cell| cell.sum).collect();
        Ok(vec![Arc::new(sums), Arc::new(Int64Array::from_iter_values(cells.iter().map(|cell| cell.count)))])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        let mean = |cell: &IntervalSum| match cell.mean() {
            None if self.on_overflow == OnOverflow::Fail => Err(data_error(
                "INTERVAL_ARITHMETIC_OVERFLOW.WITH_SUGGESTION",
                "the sum of intervals does not fit; `try_avg` gives NULL instead",
            )),
            mean => Ok(mean),
        };
        let means =
            cells.iter().map(|cell| if cell.count == 0 { Ok(None) } else { mean(cell) }).collect::<Result<Int64Array>>()?;
        Ok(match &self.data_type {
            DataType::Interval(_) => {
                let months: Int32Array = means.iter().map(|mean| mean.map(|m| m as i32)).collect();
                Arc::new(months.reinterpret_cast::<IntervalYearMonthType>())
            }
            _ => Arc::new(means.reinterpret_cast::<DurationMicrosecondType>()),
        })
    }
}
