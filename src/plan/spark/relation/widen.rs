//! Types of two relations brought together: the columns of unions, the keys of joins and groups.

use arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;

use super::super::Typed;
use super::super::cast::{self, CastMode};
use super::super::expression::{coercion, comparison};
use super::columns::column;
use super::planner::Planner;
use crate::error::Result;

/// The type that values of both types have a place in, as Spark's set operations and comparisons choose it.
pub(super) fn common(a: &DataType, b: &DataType) -> Option<DataType> {
    if a == b { Some(a.clone()) } else { coercion::wider_type(a, b) }
}

/// `typed` as a value of `to`, a type wide enough for it.
pub(super) fn cast(planner: &Planner<'_>, typed: Typed, to: &DataType) -> Result<Typed> {
    if typed.data_type == *to { Ok(typed) } else { cast::cast(typed, to, CastMode::Ansi, planner.settings) }
}

/// `typed` as a key: Arrow compares the bits of floats, but to Spark all NaN are one value and so are -0.0 and 0.0 wherever rows
/// are compared: group keys, DISTINCT, join keys, sort keys.
pub(super) fn key(typed: Typed) -> Typed {
    comparison::normalized(typed)
}

/// Whether a key of this type differs from its value.
pub(super) fn has_key(data_type: &DataType) -> bool {
    let value = column("value");
    key(Typed { expr: value.clone(), data_type: data_type.clone(), nullable: true }).expr != value
}

/// `left = right` over values of one type.
pub(super) fn equal(left: Typed, right: Typed) -> Expr {
    key(left).expr.eq(key(right).expr)
}
