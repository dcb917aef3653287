//! What fails for a row is null there: the argument of a `try_…` function as a body that is evaluated again for the rows that fail.

use arrow::array::{ArrayRef, UInt32Array, new_null_array};

use super::super::super::constant::fails_when_planned;
use super::super::super::{Typed, is_fallible};
use super::bind::Bound;
use super::call::{HigherOrder, build};
use super::elements::{Evaluator, Input, joined};
use crate::error::{ErrorKind, Result};

/// `value`, but null for the rows where it fails. Constants in it that fail are computed before, and fail.
pub(in super::super) fn attempt(name: &str, value: Typed) -> Result<Typed> {
    let is_constant = value.expr.column_refs().is_empty();
    if !is_fallible(&value.expr) || !is_constant && fails_when_planned(&value.expr) {
        return Ok(value);
    }
    let data_type = value.data_type.clone();
    let body = Bound { body: value, variables: Vec::new() };
    build(HigherOrder::Attempt, name, Vec::new(), vec![body], data_type, true)
}

/// Halves what fails until the rows that do stand alone.
pub(super) fn run(input: &Input<'_>) -> Result<ArrayRef> {
    let body = &input.bodies[0];
    let (mut parts, mut left) = (Vec::new(), vec![(0, input.rows as u32)]);
    while let Some((from, to)) = left.pop() {
        match evaluated(body, from, to) {
            Ok(values) => parts.push(values),
            Err(error) if error.kind() != ErrorKind::Data => return Err(error),
            Err(_) if to - from == 1 => parts.push(new_null_array(input.returns, 1)),
            Err(_) => {
                let middle = from + (to - from) / 2;
                left.extend([(middle, to), (from, middle)]);
            }
        }
    }
    joined(parts, input.returns)
}

fn evaluated(body: &Evaluator<'_>, from: u32, to: u32) -> Result<ArrayRef> {
    let rows: UInt32Array = (from..to).collect();
    let captured = body.of_rows(&rows)?;
    body.run(rows.len(), &captured, |_| Ok(new_null_array(&arrow::datatypes::DataType::Null, rows.len())))
}
