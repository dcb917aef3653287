//! A value that an expression needs in several places is evaluated once: else a random one would be another in each place, and values
//! within values would multiply.

use datafusion::logical_expr::{Expr, Volatility};

use crate::error::Result;
use crate::plan::spark::Typed;
use crate::plan::spark::cast::is_cast;
use crate::plan::spark::functions::Variable;

/// What `body` makes of `value`, however often it uses it.
pub fn once(value: Typed, body: impl FnOnce(Typed) -> Result<Typed>) -> Result<Typed> {
    if is_at_hand(&value.expr) {
        return body(value);
    }
    let variable = Variable::of(&value);
    let body = body(variable.typed())?;
    variable.bound(value, body)
}

/// Whether it costs next to nothing to evaluate `expr` again: rules of the optimiser see more where it stands in its places.
fn is_at_hand(expr: &Expr) -> bool {
    match expr {
        // What is aggregated becomes a column.
        Expr::Literal(..) | Expr::Column(_) | Expr::OuterReferenceColumn(..) | Expr::AggregateFunction(_) => true,
        Expr::Cast(cast) => is_at_hand(&cast.expr),
        Expr::ScalarFunction(call) if is_cast(&call.func) && call.func.signature().volatility == Volatility::Immutable => {
            call.args.iter().all(is_at_hand)
        }
        _ => false,
    }
}
