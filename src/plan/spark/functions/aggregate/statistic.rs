//! Statistics of one column of numbers or of two: deviations, moments, correlations.

use std::fmt::{self, Debug};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array};
use arrow::datatypes::DataType;

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, coerce};
use super::fold::{Fold, GroupRows, typed};
use super::folded;
use crate::error::Result;

/// The `N` numbers of a group that statistics of `ARGS` columns are made of. They are its state as they stand.
pub(super) trait Sums<const ARGS: usize, const N: usize>: Copy + Default + Send + Sync + 'static {
    /// Takes a row in.
    fn add(&mut self, row: [f64; ARGS]);
    /// Takes the rows of another cell in.
    fn merge(&mut self, other: &Self);
    /// From what `numbers` gave.
    fn of(numbers: [f64; N]) -> Self;
    /// All that it holds.
    fn numbers(&self) -> [f64; N];
}

/// The call of the statistic `result` over rows where no argument is null.
pub(super) fn statistic<S, const ARGS: usize, const N: usize>(
    mut c: Call<'_>,
    name: &'static str,
    result: fn(&S) -> Option<f64>,
) -> Result<Typed>
where
    S: Sums<ARGS, N>,
{
    let args = coerce(&mut c, &[Want::Double; ARGS])?;
    folded(&mut c, name, Statistic { name, result }, args, DataType::Float64)
}

struct Statistic<S, const ARGS: usize, const N: usize> {
    name: &'static str,
    result: fn(&S) -> Option<f64>,
}

impl<S, const ARGS: usize, const N: usize> Debug for Statistic<S, ARGS, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<S: Sums<ARGS, N>, const ARGS: usize, const N: usize> Fold for Statistic<S, ARGS, N> {
    type Cell = S;

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Float64; N]
    }

    fn update(&self, cells: &mut [S], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let columns = columns::<ARGS>(values)?;
        rows.each(columns[0], |row, group| {
            if columns[1..].iter().all(|column| column.is_valid(row)) {
                cells[group].add(columns.map(|column| column.value(row)));
            }
        });
        Ok(0)
    }

    fn merge(&self, cells: &mut [S], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let columns = columns::<N>(states)?;
        rows.each(columns[0], |row, group| cells[group].merge(&S::of(columns.map(|column| column.value(row)))));
        Ok(0)
    }

    fn state(&self, cells: &[S]) -> Result<Vec<ArrayRef>> {
        let numbers: Vec<[f64; N]> = cells.iter().map(S::numbers).collect();
        let column = |at: usize| -> ArrayRef { Arc::new(Float64Array::from_iter_values(numbers.iter().map(|cell| cell[at]))) };
        Ok((0..N).map(column).collect())
    }

    fn finish(&self, cells: &[S]) -> Result<ArrayRef> {
        Ok(Arc::new(cells.iter().map(self.result).collect::<Float64Array>()))
    }
}

fn columns<const N: usize>(arrays: &[ArrayRef]) -> Result<[&Float64Array; N]> {
    let columns = arrays.iter().map(typed::<Float64Array>).collect::<Result<Vec<_>>>()?;
    columns.try_into().map_err(|_| crate::Error::internal(format!("a statistic needs {N} columns")))
}

/// Count, mean and central moments.
#[derive(Clone, Copy, Default)]
pub(super) struct MomentCell {
    pub(super) n: f64,
    mean: f64,
    pub(super) m2: f64,
    pub(super) m3: f64,
    pub(super) m4: f64,
}

impl Sums<1, 5> for MomentCell {
    // The order of operations is Spark's, so that the last bits agree.
    fn add(&mut self, [x]: [f64; 1]) {
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

    fn of([n, mean, m2, m3, m4]: [f64; 5]) -> Self {
        Self { n, mean, m2, m3, m4 }
    }

    fn numbers(&self) -> [f64; 5] {
        [self.n, self.mean, self.m2, self.m3, self.m4]
    }
}

/// Count, means, co-moment and second moments of two columns.
#[derive(Clone, Copy, Default)]
pub(super) struct PairCell {
    pub(super) n: f64,
    pub(super) x_mean: f64,
    pub(super) y_mean: f64,
    pub(super) c: f64,
    pub(super) x2: f64,
    pub(super) y2: f64,
}

impl Sums<2, 6> for PairCell {
    fn add(&mut self, [x, y]: [f64; 2]) {
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

    fn of([n, x_mean, y_mean, c, x2, y2]: [f64; 6]) -> Self {
        Self { n, x_mean, y_mean, c, x2, y2 }
    }

    fn numbers(&self) -> [f64; 6] {
        [self.n, self.x_mean, self.y_mean, self.c, self.x2, self.y2]
    }
}

pub(super) fn sample(m: &MomentCell) -> Option<f64> {
    (m.n > 1.0).then(|| m.m2 / (m.n - 1.0))
}

pub(super) fn population(m: &MomentCell) -> Option<f64> {
    (m.n > 0.0).then(|| m.m2 / m.n)
}

/// Null where one of the columns does not vary.
pub(super) fn correlation(p: &PairCell) -> Option<f64> {
    let divisor = (p.x2 * p.y2).sqrt();
    (p.n > 1.0 && divisor != 0.0).then(|| p.c / divisor)
}

/// Null where the second column does not vary, which is the one that explains.
pub(super) fn explained(p: &PairCell) -> Option<f64> {
    if p.n == 0.0 || p.y2 == 0.0 {
        return None;
    }
    let correlation = p.c / (p.x2 * p.y2).sqrt();
    Some(if p.x2 == 0.0 { 1.0 } else { correlation * correlation })
}

/// Null where all values are one.
pub(super) fn skewness(m: &MomentCell) -> Option<f64> {
    (m.n > 0.0 && m.m2 != 0.0).then(|| m.n.sqrt() * m.m3 / (m.m2 * m.m2 * m.m2).sqrt())
}

pub(super) fn kurtosis(m: &MomentCell) -> Option<f64> {
    (m.n > 0.0 && m.m2 != 0.0).then(|| m.n * m.m4 / (m.m2 * m.m2) - 3.0)
}
