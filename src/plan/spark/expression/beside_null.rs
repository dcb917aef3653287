//! Calls that are null whatever the row: the other arguments are not computed, and cannot fail.

use crate::plan::spark::constant::{fails_when_planned, is_null_constant};
use crate::plan::spark::functions::{NullOrder, null_order};
use crate::plan::spark::{Call, is_fallible};

/// Whether the call is null because an argument is.
pub(super) fn is_beside_null(call: &Call<'_>) -> bool {
    if !call.args.iter().any(|arg| is_fallible(&arg.expr)) {
        return false;
    }
    let Some(order) = null_order(call.name, &call.args.iter().map(|arg| &arg.expr).collect::<Vec<_>>()) else { return false };
    let Some(place) = call.args.iter().position(is_null_constant) else { return false };
    let before = &call.args[..place];
    match order {
        // What is constant is computed first, in order, and may fail.
        NullOrder::Any | NullOrder::Divisor => !before.iter().any(|arg| fails_when_planned(&arg.expr)),
        NullOrder::Earlier => {
            let computed_all = call.name == "concat" && call.args.iter().any(|arg| fails_when_planned(&arg.expr));
            !computed_all && !before.iter().any(|arg| is_fallible(&arg.expr))
        }
        NullOrder::Leading(count) => place < count && !before.iter().any(|arg| is_fallible(&arg.expr)),
        NullOrder::LastOfThree => place == 0,
    }
}
