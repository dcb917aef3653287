//! Aggregates whose cell is a value: extremes of floating-point numbers, booleans, bits, a count.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType};

use super::fold::{Fold, GroupRows, typed};
use crate::error::Result;

/// A value that absorbs others of its type: `min`, `max`, `bit_and`, ….
pub(super) struct Absorb<T: ArrowPrimitiveType> {
    pub(super) name: &'static str,
    pub(super) data_type: DataType,
    pub(super) with: fn(T::Native, T::Native) -> T::Native,
}

impl<T: ArrowPrimitiveType> Debug for Absorb<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.data_type)
    }
}

impl<T: ArrowPrimitiveType> Fold for Absorb<T> {
    type Cell = Option<T::Native>;

    fn state_types(&self) -> Vec<DataType> {
        vec![self.data_type.clone()]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let column = typed::<PrimitiveArray<T>>(&values[0])?;
        let numbers = column.values();
        if let Some(counted) = rows.single(column) {
            let run = |(from, to)| numbers[from..to].iter().copied().reduce(self.with);
            cells[0] = cells[0].into_iter().chain(counted.set_slices().filter_map(run)).reduce(self.with);
            return Ok(0);
        }
        rows.each(column, |row, group| {
            let cell = &mut cells[group];
            *cell = Some(cell.map_or(numbers[row], |held| (self.with)(held, numbers[row])));
        });
        Ok(0)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        self.update(cells, rows, states)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.finish(cells)?])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        let values: PrimitiveArray<T> = cells.iter().copied().collect();
        Ok(Arc::new(values.with_data_type(self.data_type.clone())))
    }
}

/// `bool_and` (stops at false) and `bool_or` (stops at true).
#[derive(Debug)]
pub(super) struct Booleans {
    /// The value that decides.
    pub(super) decides: bool,
}

impl Fold for Booleans {
    type Cell = Option<bool>;

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Boolean]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let column = typed::<BooleanArray>(&values[0])?;
        if let Some(counted) = rows.single(column) {
            let values = if self.decides { column.values().clone() } else { !column.values() };
            let decided = cells[0] == Some(self.decides) || (&counted & &values).count_set_bits() > 0;
            if decided || counted.count_set_bits() > 0 {
                cells[0] = Some(decided == self.decides);
            }
            return Ok(0);
        }
        rows.each(column, |row, group| {
            let value = column.value(row);
            let cell = &mut cells[group];
            if value == self.decides || cell.is_none() {
                *cell = Some(value);
            }
        });
        Ok(0)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        self.update(cells, rows, states)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.finish(cells)?])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        Ok(Arc::new(cells.iter().copied().collect::<BooleanArray>()))
    }
}

/// How many rows there are in which no argument is null.
#[derive(Debug)]
pub(super) struct CountWhole;

impl Fold for CountWhole {
    type Cell = i64;

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let nulls: Vec<_> = values.iter().map(|column| column.logical_nulls()).collect();
        rows.all(|row, group| {
            cells[group] += i64::from(nulls.iter().flatten().all(|nulls| nulls.is_valid(row)));
        });
        Ok(0)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let counts = typed::<Int64Array>(&states[0])?;
        rows.each(counts, |row, group| cells[group] += counts.value(row));
        Ok(0)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.finish(cells)?])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from_iter_values(cells.iter().copied())))
    }
}
