//! Sums and averages.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Decimal128Array, Float64Array, Int64Array, PrimitiveArray};
use arrow::datatypes::{ArrowNativeTypeOp, ArrowPrimitiveType, DataType, Decimal128Type, Float64Type, i256};

use super::fold::{Fold, GroupRows, typed};
use crate::error::{Error, Result};
use crate::plan::spark::functions::arguments::data_error;
use crate::plan::spark::types::sql_name;

/// What a sum that does not fit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnOverflow {
    /// It fails the query.
    Fail,
    /// It becomes null.
    Null,
}

/// A sum, null until there is a value.
#[derive(Debug)]
pub(super) struct Sum<T> {
    pub(super) data_type: DataType,
    pub(super) on_overflow: OnOverflow,
    /// Whether it is kept over batches.
    pub(super) kept: bool,
    pub(super) kind: PhantomData<T>,
}

/// A group's sum.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) enum SumCell<N> {
    #[default]
    Empty,
    Of(N),
    Overflown,
}

/// Addition that notices overflow.
pub(super) trait Addable: ArrowPrimitiveType + std::fmt::Debug + Send + Sync {
    /// The sum, if it fits the type (for decimals: 38 digits).
    fn add(a: Self::Native, b: Self::Native) -> Option<Self::Native>;
}

macro_rules! addable {
    ($($t:ty),*) => {$(
        impl Addable for $t {
            fn add(a: Self::Native, b: Self::Native) -> Option<Self::Native> {
                a.add_checked(b).ok()
            }
        }
    )*};
}

addable!(
    arrow::datatypes::Int64Type,
    arrow::datatypes::DurationMicrosecondType,
    arrow::datatypes::IntervalYearMonthType,
    Float64Type,
    Decimal128Type
);

/// Whole days, hours, … are held as seconds, but must fit as microseconds.
const SECONDS_MOST: i64 = i64::MAX / 1_000_000;

impl Addable for arrow::datatypes::DurationSecondType {
    fn add(a: i64, b: i64) -> Option<i64> {
        a.checked_add(b).filter(|sum| (-SECONDS_MOST..=SECONDS_MOST).contains(sum))
    }
}

impl<T: Addable> Sum<T> {
    fn add(&self, cell: &mut SumCell<T::Native>, value: T::Native) {
        *cell = match *cell {
            SumCell::Empty => self.fitting(T::add(T::Native::ZERO, value)),
            SumCell::Of(sum) => self.fitting(T::add(sum, value)),
            SumCell::Overflown => SumCell::Overflown,
        };
    }

    fn add_all(&self, cell: SumCell<T::Native>, values: &[T::Native]) -> SumCell<T::Native> {
        let sum = match cell {
            SumCell::Empty => T::Native::ZERO,
            SumCell::Of(sum) => sum,
            SumCell::Overflown => return cell,
        };
        self.fitting(values.iter().try_fold(sum, |sum, value| T::add(sum, *value)))
    }

    fn fitting(&self, sum: Option<T::Native>) -> SumCell<T::Native> {
        match sum {
            Some(sum) => SumCell::Of(sum),
            None => SumCell::Overflown,
        }
    }

    fn check(&self, overflown: bool) -> Result<usize> {
        if overflown && self.on_overflow == OnOverflow::Fail { Err(overflow("sum", &self.data_type, self.kept)) } else { Ok(0) }
    }

    fn column(&self, cells: &[SumCell<T::Native>]) -> PrimitiveArray<T> {
        let sums: PrimitiveArray<T> = cells
            .iter()
            .map(|cell| match cell {
                SumCell::Of(sum) => Some(*sum),
                _ => None,
            })
            .collect();
        sums.with_data_type(self.data_type.clone())
    }
}

/// A sum or average that its type does not hold. Of decimals that are not kept over batches Spark says that the value is out of range.
fn overflow(what: &str, data_type: &DataType, kept: bool) -> Error {
    let condition = match data_type {
        DataType::Decimal128(..) if !kept => "NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION",
        DataType::Duration(_) | DataType::Interval(_) => "INTERVAL_ARITHMETIC_OVERFLOW.WITH_SUGGESTION",
        _ => "ARITHMETIC_OVERFLOW",
    };
    data_error(condition, format!("the {what} does not fit {}; `try_{what}` gives NULL instead", sql_name(data_type)))
}

impl<T: Addable> Fold for Sum<T> {
    type Cell = SumCell<T::Native>;

    fn state_types(&self) -> Vec<DataType> {
        vec![self.data_type.clone(), DataType::Boolean]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let column = typed::<PrimitiveArray<T>>(&values[0])?;
        let numbers = column.values();
        if let Some(counted) = rows.single(column) {
            cells[0] = counted.set_slices().fold(cells[0], |cell, (from, to)| self.add_all(cell, &numbers[from..to]));
            return self.check(cells[0] == SumCell::Overflown);
        }
        let mut overflown = false;
        rows.each(column, |row, group| {
            self.add(&mut cells[group], numbers[row]);
            overflown |= cells[group] == SumCell::Overflown;
        });
        self.check(overflown)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let overflown = typed::<arrow::array::BooleanArray>(&states[1])?;
        rows.each(overflown, |row, group| {
            if overflown.value(row) {
                cells[group] = SumCell::Overflown;
            }
        });
        self.update(cells, rows, states)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        let overflown: arrow::array::BooleanArray = cells.iter().map(|cell| Some(*cell == SumCell::Overflown)).collect();
        Ok(vec![Arc::new(self.column(cells)), Arc::new(overflown)])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        let sums = self.column(cells);
        let DataType::Decimal128(precision, _) = &self.data_type else { return Ok(Arc::new(sums)) };
        let decimals = arrow::array::AsArray::as_primitive::<Decimal128Type>(&sums as &dyn Array);
        let fitted: Decimal128Array = decimals.iter().map(|sum| sum.filter(|s| fits(*s, *precision))).collect();
        self.check(fitted.null_count() > decimals.null_count())?;
        Ok(Arc::new(fitted.with_data_type(self.data_type.clone())))
    }
}

/// Whether an unscaled decimal has at most `precision` digits.
pub(super) fn fits(unscaled: i128, precision: u8) -> bool {
    unscaled.unsigned_abs() < 10_u128.pow(u32::from(precision.min(38)))
}

/// The average of doubles.
#[derive(Debug)]
pub(super) struct Average;

impl Fold for Average {
    type Cell = (f64, i64);

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Float64, DataType::Int64]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let column = typed::<Float64Array>(&values[0])?;
        let numbers = column.values();
        if let Some(counted) = rows.single(column) {
            let (mut sum, count) = cells[0];
            counted.set_slices().for_each(|(from, to)| numbers[from..to].iter().for_each(|number| sum += number));
            cells[0] = (sum, count + counted.count_set_bits() as i64);
            return Ok(0);
        }
        rows.each(column, |row, group| {
            let (sum, count) = &mut cells[group];
            *sum += numbers[row];
            *count += 1;
        });
        Ok(0)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let (sums, counts) = (typed::<Float64Array>(&states[0])?, typed::<Int64Array>(&states[1])?);
        rows.each(sums, |row, group| {
            cells[group].0 += sums.value(row);
            cells[group].1 += counts.value(row);
        });
        Ok(0)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        let sums: Float64Array = cells.iter().map(|(sum, _)| Some(*sum)).collect();
        let counts: Int64Array = cells.iter().map(|(_, count)| Some(*count)).collect();
        Ok(vec![Arc::new(sums), Arc::new(counts)])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        let averages = cells.iter().map(|(sum, count)| (*count > 0).then(|| sum / *count as f64));
        Ok(Arc::new(averages.collect::<Float64Array>()))
    }
}

/// The average of decimals; `scale` is that of the input.
#[derive(Debug)]
pub(super) struct DecimalAverage {
    pub(super) scale: i8,
    pub(super) precision_out: u8,
    pub(super) scale_out: i8,
    pub(super) on_overflow: OnOverflow,
}

impl DecimalAverage {
    fn average(&self, sum: i128, count: i64) -> Option<i128> {
        let shift = u32::try_from(self.scale_out - self.scale).ok()?;
        let scaled = i256::from_i128(sum).checked_mul(i256::from_i128(10_i128.checked_pow(shift)?))?;
        let count = i256::from_i128(i128::from(count));
        let (quotient, rest) = (scaled.checked_div(count)?, scaled.checked_rem(count)?);
        let twice = rest.checked_mul(i256::from_i128(2))?;
        // Half away from zero.
        let round = if twice.wrapping_abs() >= count { if sum < 0 { -1 } else { 1 } } else { 0 };
        let result = quotient.checked_add(i256::from_i128(round))?.to_i128()?;
        fits(result, self.precision_out).then_some(result)
    }
}

impl Fold for DecimalAverage {
    /// Sum (`None` after an overflow) and count.
    type Cell = DecimalSum;

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Decimal128(38, self.scale), DataType::Int64]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let column = typed::<Decimal128Array>(&values[0])?;
        rows.each(column, |row, group| cells[group].add(Some(column.value(row)), 1));
        Ok(0)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let (sums, counts) = (typed::<Decimal128Array>(&states[0])?, typed::<Int64Array>(&states[1])?);
        rows.each(counts, |row, group| cells[group].add(sums.is_valid(row).then(|| sums.value(row)), counts.value(row)));
        Ok(0)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        let sums: Decimal128Array = cells.iter().map(|cell| cell.sum).collect();
        let sums = sums.with_data_type(DataType::Decimal128(38, self.scale));
        let counts: Int64Array = cells.iter().map(|cell| Some(cell.count)).collect();
        Ok(vec![Arc::new(sums), Arc::new(counts)])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        let average = |cell: &DecimalSum| -> Result<Option<i128>> {
            if cell.count == 0 {
                return Ok(None);
            }
            match cell.sum.and_then(|sum| self.average(sum, cell.count)) {
                None if self.on_overflow == OnOverflow::Fail => {
                    Err(overflow("avg", &DataType::Decimal128(self.precision_out, self.scale_out), false))
                }
                average => Ok(average),
            }
        };
        let averages = cells.iter().map(average).collect::<Result<Decimal128Array>>()?;
        Ok(Arc::new(averages.with_data_type(DataType::Decimal128(self.precision_out, self.scale_out))))
    }
}

/// A group's sum of decimals and their count.
#[derive(Debug, Clone, Copy)]
pub(super) struct DecimalSum {
    sum: Option<i128>,
    count: i64,
}

impl Default for DecimalSum {
    fn default() -> Self {
        Self { sum: Some(0), count: 0 }
    }
}

impl DecimalSum {
    fn add(&mut self, value: Option<i128>, count: i64) {
        self.sum = self.sum.zip(value).and_then(|(sum, value)| sum.checked_add(value)).filter(|sum| fits(*sum, 38));
        self.count += count;
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn a_sum_that_overflowed_in_one_batch_stays_null_in_the_next() {
        let sum = Sum::<Int64Type> { data_type: DataType::Int64, on_overflow: OnOverflow::Null, kept: true, kind: PhantomData };
        let of_batch = |values: Vec<i64>| {
            let mut cells = vec![SumCell::Empty];
            let groups = vec![0; values.len()];
            sum.update(&mut cells, &GroupRows::unfiltered(&groups), &[Arc::new(Int64Array::from(values)) as ArrayRef]).unwrap();
            sum.state(&cells).unwrap()
        };
        let mut merged = vec![SumCell::Empty];
        for (batch, is_null) in [(vec![1], false), (vec![i64::MAX, 1], true), (vec![2], true)] {
            sum.merge(&mut merged, &GroupRows::unfiltered(&[0]), &of_batch(batch)).unwrap();
            assert_eq!(sum.finish(&merged).unwrap().is_null(0), is_null);
        }
    }
}
