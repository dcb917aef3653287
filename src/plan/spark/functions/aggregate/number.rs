//! Aggregates whose cell is a value or a few numbers: extremes of floating-point numbers, booleans, bits, moments.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float64Type};

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

/// A statistic of one column of doubles, from its central moments up to the fourth.
pub(super) struct Moments {
    pub(super) name: &'static str,
    /// From count and moments (sums of powers of the distance from the mean) to the result.
    pub(super) result: fn(&MomentCell) -> Option<f64>,
}

impl Debug for Moments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Count, mean and central moments.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MomentCell {
    pub(super) n: f64,
    pub(super) mean: f64,
    pub(super) m2: f64,
    pub(super) m3: f64,
    pub(super) m4: f64,
}

impl MomentCell {
    // The order of operations is Spark's, so that the last bits agree.
    fn add(&mut self, x: f64) {
        let n = self.n + 1.0;
        let delta = x - self.mean;
        let delta_n = delta / n;
        let mean = self.mean + delta_n;
        let m2 = self.m2 + delta * (delta - delta_n);
        let (delta2, delta_n2) = (delta * delta, delta_n * delta_n);
        let m3 = self.m3 - 3.0 * delta_n * m2 + delta * (delta2 - delta_n2);
        let m4 = self.m4 - 4.0 * delta_n * m3 - 6.0 * delta_n2 * m2 + delta * (delta * delta2 - delta_n * delta_n2);
        *self = Self { n, mean, m2, m3, m4 };
    }

    fn merge(&mut self, other: &Self) {
        let (n1, n2) = (self.n, other.n);
        let n = n1 + n2;
        let delta = other.mean - self.mean;
        let delta_n = if n == 0.0 { 0.0 } else { delta / n };
        let mean = self.mean + delta_n * n2;
        let m2 = self.m2 + other.m2 + delta * delta_n * n1 * n2;
        let m3 =
            self.m3 + other.m3 + delta_n * delta_n * delta * n1 * n2 * (n1 - n2) + 3.0 * delta_n * (n1 * other.m2 - n2 * self.m2);
        let m4 = self.m4
            + other.m4
            + delta_n * delta_n * delta_n * delta * n1 * n2 * (n1 * n1 - n1 * n2 + n2 * n2)
            + 6.0 * delta_n * delta_n * (n1 * n1 * other.m2 + n2 * n2 * self.m2)
            + 4.0 * delta_n * (n1 * other.m3 - n2 * self.m3);
        *self = Self { n, mean, m2, m3, m4 };
    }
}

impl Fold for Moments {
    type Cell = MomentCell;

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Float64; 5]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let column = typed::<Float64Array>(&values[0])?;
        rows.each(column, |row, group| cells[group].add(column.value(row)));
        Ok(0)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let columns = states.iter().map(typed::<Float64Array>).collect::<Result<Vec<_>>>()?;
        let at = |column: usize, row: usize| columns[column].value(row);
        rows.each(columns[0], |row, group| {
            let other = MomentCell { n: at(0, row), mean: at(1, row), m2: at(2, row), m3: at(3, row), m4: at(4, row) };
            cells[group].merge(&other);
        });
        Ok(0)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        let column = |of: fn(&MomentCell) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(cells.iter().map(of))) };
        Ok(vec![column(|c| c.n), column(|c| c.mean), column(|c| c.m2), column(|c| c.m3), column(|c| c.m4)])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        Ok(Arc::new(cells.iter().map(self.result).collect::<PrimitiveArray<Float64Type>>()))
    }
}

/// A statistic of two columns of doubles.
pub(super) struct Pairs {
    pub(super) name: &'static str,
    /// From count, means and moments to the result.
    pub(super) result: fn(&PairCell) -> Option<f64>,
}

impl Debug for Pairs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Count, means, co-moment and second moments of two columns.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PairCell {
    pub(super) n: f64,
    pub(super) x_mean: f64,
    pub(super) y_mean: f64,
    pub(super) c: f64,
    pub(super) x2: f64,
    pub(super) y2: f64,
}

impl PairCell {
    fn add(&mut self, x: f64, y: f64) {
        let n = self.n + 1.0;
        let (dx, dy) = (x - self.x_mean, y - self.y_mean);
        let (x_mean, y_mean) = (self.x_mean + dx / n, self.y_mean + dy / n);
        *self = Self {
            n,
            x_mean,
            y_mean,
            c: self.c + dx * (y - y_mean),
            x2: self.x2 + dx * (x - x_mean),
            y2: self.y2 + dy * (y - y_mean),
        };
    }

    fn merge(&mut self, other: &Self) {
        let (n1, n2) = (self.n, other.n);
        let n = n1 + n2;
        let (dx, dy) = (other.x_mean - self.x_mean, other.y_mean - self.y_mean);
        let (dx_n, dy_n) = if n == 0.0 { (0.0, 0.0) } else { (dx / n, dy / n) };
        *self = Self {
            n,
            x_mean: self.x_mean + dx_n * n2,
            y_mean: self.y_mean + dy_n * n2,
            c: self.c + other.c + dx * dy_n * n1 * n2,
            x2: self.x2 + other.x2 + dx * dx_n * n1 * n2,
            y2: self.y2 + other.y2 + dy * dy_n * n1 * n2,
        };
    }
}

impl Fold for Pairs {
    type Cell = PairCell;

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Float64; 6]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let (x, y) = (typed::<Float64Array>(&values[0])?, typed::<Float64Array>(&values[1])?);
        rows.each(x, |row, group| {
            if y.is_valid(row) {
                cells[group].add(x.value(row), y.value(row));
            }
        });
        Ok(0)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let columns = states.iter().map(typed::<Float64Array>).collect::<Result<Vec<_>>>()?;
        let at = |column: usize, row: usize| columns[column].value(row);
        rows.each(columns[0], |row, group| {
            cells[group].merge(&PairCell {
                n: at(0, row),
                x_mean: at(1, row),
                y_mean: at(2, row),
                c: at(3, row),
                x2: at(4, row),
                y2: at(5, row),
            });
        });
        Ok(0)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        let column = |of: fn(&PairCell) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(cells.iter().map(of))) };
        Ok(vec![column(|c| c.n), column(|c| c.x_mean), column(|c| c.y_mean), column(|c| c.c), column(|c| c.x2), column(|c| c.y2)])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        Ok(Arc::new(cells.iter().map(self.result).collect::<PrimitiveArray<Float64Type>>()))
    }
}
