//! Types of two relations brought together: the columns of unions, the keys of joins and groups.

use arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;

use super::super::Typed;
use super::super::expression::coercion;
use super::normalise;
use super::planner::Planner;
use crate::error::Result;

/// The type that values of both types have a place in, as Spark's set operations and comparisons choose it.
pub(super) fn common(a: &DataType, b: &DataType) -> Option<DataType> {
    if a == b { Some(a.clone()) } else { coercion::wider_type(a, b) }
}

/// `typed` as a value of `to`.
pub(super) fn cast(planner: &Planner<'_>, typed: Typed, to: &DataType) -> Result<Typed> {
    if typed.data_type == *to { Ok(typed) } else { coercion::implicit_cast(typed, to, planner.settings) }
}

/// `typed` as a key: one NaN, one zero.
pub(super) fn key(typed: Typed) -> Typed {
    if normalise::has_floats(&typed.data_type) {
        Typed { expr: normalise::normalised(typed.expr), ..typed }
    } else {
        typed
    }
}

/// `left = right` over keys of one type.
pub(super) fn equal(left: Typed, right: Typed) -> Expr {
    key(left).expr.eq(key(right).expr)
}
