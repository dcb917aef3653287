//! Aggregates whose cell is a value: extremes of floating-point numbers, booleans, bits.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, PrimitiveArray};
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
