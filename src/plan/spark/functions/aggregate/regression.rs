//! Linear regression: `regr_slope`, `regr_intercept` and the sums they are made of. The first argument depends on the second.

use std::fmt::{self, Debug};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array};
use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, when};

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, coerce, null_of};
use super::fold::{Fold, GroupRows, typed};
use super::{OnOverflow, average, count, folded};
use crate::error::{ErrorKind, Result, from_datafusion};

const PAIR: [Want; 2] = [Want::Numeric, Want::Numeric];

/// `regr_count`: pairs of which none is null.
pub(super) fn pairs_counted(mut c: Call<'_>) -> Result<Typed> {
    c.args = coerce(&mut c, &PAIR)?;
    count(c)
}

/// `regr_avgx` and `regr_avgy`: the mean of one side of the pairs, argument `side`.
pub(super) fn mean_of(mut c: Call<'_>, side: usize) -> Result<Typed> {
    let args = coerce(&mut c, &PAIR)?;
    c.args = vec![paired(&args, side)?];
    average(c, OnOverflow::Fail)
}

/// Argument `side` where both are there, else null.
fn paired(args: &[Typed], side: usize) -> Result<Typed> {
    let both: Expr = args[0].expr.clone().is_not_null().and(args[1].expr.clone().is_not_null());
    let value = args[side].clone();
    let expr = when(both, value.expr)
        .otherwise(null_of(value.data_type.clone())?.expr)
        .map_err(|e| from_datafusion(e, ErrorKind::Internal))?;
    Ok(Typed { expr, data_type: value.data_type, nullable: true })
}

/// A statistic of the pairs.
pub(super) fn regression(mut c: Call<'_>, name: &'static str, result: fn(&RegressionCell) -> Option<f64>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Double, Want::Double])?;
    folded(&mut c, name, Regression { name, result }, args, DataType::Float64)
}

pub(super) struct Regression {
    name: &'static str,
    result: fn(&RegressionCell) -> Option<f64>,
}

impl Debug for Regression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Count, means, co-moment and second moments of the pairs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RegressionCell {
    pub(super) n: f64,
    x_mean: f64,
    y_mean: f64,
    pub(super) xy: f64,
    pub(super) xx: f64,
    pub(super) yy: f64,
}

// The order of operations is Spark's, so that the last bits agree.
impl RegressionCell {
    fn add(&mut self, y: f64, x: f64) {
        let n = self.n + 1.0;
        let (dx, dy) = (x - self.x_mean, y - self.y_mean);
        let (dx_n, dy_n) = (dx / n, dy / n);
        let y_mean = self.y_mean + dy_n;
        *self = Self {
            n,
            x_mean: self.x_mean + dx_n,
            y_mean,
            xy: self.xy + dx * (y - y_mean),
            xx: self.xx + dx * (dx - dx_n),
            yy: self.yy + dy * (dy - dy_n),
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
            xy: self.xy + other.xy + dx * dy_n * n1 * n2,
            xx: self.xx + other.xx + dx * dx_n * n1 * n2,
            yy: self.yy + other.yy + dy * dy_n * n1 * n2,
        };
    }

    /// Null where `x` does not vary.
    pub(super) fn slope(&self) -> Option<f64> {
        (self.n > 0.0 && self.xx != 0.0).then(|| self.xy / self.xx)
    }

    /// Where the line meets x = 0.
    pub(super) fn intercept(&self) -> Option<f64> {
        self.slope().map(|slope| self.y_mean - slope * self.x_mean)
    }

    /// `sum`, null of no pairs.
    pub(super) fn of_some(&self, sum: f64) -> Option<f64> {
        (self.n > 0.0).then_some(sum)
    }
}

impl Fold for Regression {
    type Cell = RegressionCell;

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Float64; 6]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let (y, x) = (typed::<Float64Array>(&values[0])?, typed::<Float64Array>(&values[1])?);
        rows.each(y, |row, group| {
            if x.is_valid(row) {
                cells[group].add(y.value(row), x.value(row));
            }
        });
        Ok(0)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let columns = states.iter().map(typed::<Float64Array>).collect::<Result<Vec<_>>>()?;
        let at = |column: usize, row: usize| columns[column].value(row);
        rows.each(columns[0], |row, group| {
            let (n, x_mean, y_mean) = (at(0, row), at(1, row), at(2, row));
            cells[group].merge(&RegressionCell { n, x_mean, y_mean, xy: at(3, row), xx: at(4, row), yy: at(5, row) });
        });
        Ok(0)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        let column =
            |of: fn(&RegressionCell) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(cells.iter().map(of))) };
        Ok(vec![
            column(|c| c.n),
            column(|c| c.x_mean),
            column(|c| c.y_mean),
            column(|c| c.xy),
            column(|c| c.xx),
            column(|c| c.yy),
        ])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        Ok(Arc::new(cells.iter().map(self.result).collect::<Float64Array>()))
    }
}
