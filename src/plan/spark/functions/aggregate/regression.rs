//! Linear regression: `regr_slope`, `regr_intercept` and the sums they are made of. The first argument depends on the second.

use datafusion::logical_expr::{Expr, when};

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, coerce, null_of};
use super::statistic::Sums;
use super::{OnOverflow, average, count};
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

/// Count, means, co-moment and second moments of the pairs.
#[derive(Clone, Copy, Default)]
pub(super) struct RegressionCell {
    n: f64,
    x_mean: f64,
    y_mean: f64,
    pub(super) xy: f64,
    pub(super) xx: f64,
    pub(super) yy: f64,
}

// The order of operations is Spark's, so that the last bits agree.
impl Sums<2, 6> for RegressionCell {
    fn add(&mut self, [y, x]: [f64; 2]) {
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

    fn of([n, x_mean, y_mean, xy, xx, yy]: [f64; 6]) -> Self {
        Self { n, x_mean, y_mean, xy, xx, yy }
    }

    fn numbers(&self) -> [f64; 6] {
        [self.n, self.x_mean, self.y_mean, self.xy, self.xx, self.yy]
    }
}

impl RegressionCell {
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
