//! Linear regression: `regr_slope`, `regr_intercept` and the sums they are made of. The first argument depends on the second.

use arrow::compute::{is_null, nullif};

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, coerce};
use super::super::native::{Returns, call, from_arrow};
use super::statistic::{PairCell, Sums};
use super::{OnOverflow, average, count};
use crate::error::Result;

const PAIR: [Want; 2] = [Want::Numeric, Want::Numeric];

/// `regr_count`: pairs of which none is null.
pub(super) fn pairs_counted(mut c: Call<'_>) -> Result<Typed> {
    c.args = coerce(&mut c, &PAIR)?;
    count(c)
}

/// `regr_avgx` and `regr_avgy`: the mean of one side of the pairs, argument `side`.
pub(super) fn mean_of(mut c: Call<'_>, side: usize) -> Result<Typed> {
    let args = coerce(&mut c, &PAIR)?;
    c.args = vec![paired(args, side)];
    average(c, OnOverflow::Fail)
}

/// Argument `side` where both are there, else null.
fn paired(args: Vec<Typed>, side: usize) -> Typed {
    let returns = Returns::new(args[side].data_type.clone(), true);
    call(&format!("paired[{side}]"), args, returns, move |a| {
        let missing = is_null(&a.expanded(1 - side)?).map_err(from_arrow)?;
        nullif(&a.expanded(side)?, &missing).map_err(from_arrow)
    })
}

/// The sums of pairs, with rows added in the order of operations that Spark has for regressions, so that the last bits agree.
#[derive(Clone, Copy, Default)]
pub(super) struct RegressionCell(pub(super) PairCell);

impl Sums<2, 6> for RegressionCell {
    fn add(&mut self, [y, x]: [f64; 2]) {
        let sums = self.0;
        let n = sums.n + 1.0;
        let (dx, dy) = (x - sums.x_mean, y - sums.y_mean);
        let (dx_n, dy_n) = (dx / n, dy / n);
        let y_mean = sums.y_mean + dy_n;
        self.0 = PairCell {
            n,
            x_mean: sums.x_mean + dx_n,
            y_mean,
            c: sums.c + dx * (y - y_mean),
            x2: sums.x2 + dx * (dx - dx_n),
            y2: sums.y2 + dy * (dy - dy_n),
        };
    }

    fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    fn of(numbers: [f64; 6]) -> Self {
        Self(PairCell::of(numbers))
    }

    fn numbers(&self) -> [f64; 6] {
        self.0.numbers()
    }
}

impl RegressionCell {
    /// Null where `x` does not vary.
    pub(super) fn slope(&self) -> Option<f64> {
        (self.0.n > 0.0 && self.0.x2 != 0.0).then(|| self.0.c / self.0.x2)
    }

    /// Where the line meets x = 0.
    pub(super) fn intercept(&self) -> Option<f64> {
        self.slope().map(|slope| self.0.y_mean - slope * self.0.x_mean)
    }

    /// `sum`, null of no pairs.
    pub(super) fn of_some(&self, sum: f64) -> Option<f64> {
        (self.0.n > 0.0).then_some(sum)
    }
}
