//! A call that is null where an argument is, its arguments as bodies: Spark does not compute those behind a null, so that they cannot
//! fail for its row.
//!
//! Most rows of most batches fail nowhere, so all arguments are computed for all rows first. Only if that fails are they computed
//! one after the other, each for the rows that it is needed for.

use std::cell::Cell;

use arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, ExprSchemable};

use super::super::super::Typed;
use super::super::native::from_arrow;
use super::bind::{Bound, variable};
use super::call::{HigherOrder, build};
use super::elements::{Evaluator, Input};
use crate::error::{Error, ErrorKind, Result, from_datafusion};

/// `call`, an expression over `schema`, which is null where one of the arguments `order` is: they are computed in this order, each only
/// where those before it are not null.
pub(in crate::plan::spark) fn strict(call: Expr, order: &[usize], schema: &DFSchema) -> Result<Expr> {
    let ours = |error| from_datafusion(error, ErrorKind::Internal);
    let (data_type, nullable) = (call.get_type(schema).map_err(ours)?, call.nullable(schema).map_err(ours)?);
    let (mut arguments, mut place) = (Vec::new(), 0);
    let body = call.map_children(|argument| {
        place += 1;
        let Some(turn) = order.iter().position(|index| index + 1 == place) else { return Ok(Transformed::no(argument)) };
        let (id, column) = variable("argument");
        arguments.push((turn, id, argument));
        Ok(Transformed::yes(column))
    });
    let body = Typed { expr: body.map_err(ours)?.data, data_type: data_type.clone(), nullable };
    arguments.sort_unstable_by_key(|(turn, ..)| *turn);
    let (mut bodies, mut variables) = (Vec::new(), Vec::new());
    for (_, id, expr) in arguments {
        let data_type = expr.get_type(schema).map_err(ours)?;
        variables.push((id, data_type.clone()));
        bodies.push(Bound { body: Typed { expr, data_type, nullable: true }, variables: Vec::new() });
    }
    bodies.push(Bound { body, variables });
    build(HigherOrder::Strict, "strict", Vec::new(), bodies, data_type, nullable).map(|call| call.expr)
}

thread_local! {
    /// Whether what is evaluated on this thread has failed already when all was computed at once.
    static HAS_FAILED: Cell<bool> = const { Cell::new(false) };
}

/// As long as there is one, nothing is tried at once: calls within calls would be tried again and again.
struct OneByOne {
    before: bool,
}

impl OneByOne {
    fn begin() -> Self {
        Self { before: HAS_FAILED.replace(true) }
    }
}

impl Drop for OneByOne {
    fn drop(&mut self) {
        HAS_FAILED.set(self.before);
    }
}

pub(super) fn run(input: &Input<'_>) -> Result<ArrayRef> {
    let Some((call, arguments)) = input.bodies.split_last() else {
        return Err(Error::internal("a strict call without arguments"));
    };
    let mut values = Vec::with_capacity(arguments.len());
    if !HAS_FAILED.get() {
        match at_once(call, arguments, input.rows, &mut values) {
            Ok(result) => return Ok(result),
            Err(error) if error.kind() != ErrorKind::Data || !has_nulls(&values) => return Err(error),
            Err(_) => {}
        }
    }
    let _one_by_one = OneByOne::begin();
    one_by_one(call, arguments, values, input)
}

fn has_nulls(values: &[ArrayRef]) -> bool {
    values.iter().any(|value| value.logical_null_count() > 0)
}

/// The arguments for all rows, as far as none fails, and the call of them.
fn at_once(call: &Evaluator<'_>, arguments: &[Evaluator<'_>], rows: usize, values: &mut Vec<ArrayRef>) -> Result<ArrayRef> {
    for argument in arguments {
        values.push(argument.run(rows, &argument.of_all_rows(rows)?, no_variable)?);
    }
    call.run(rows, &call.of_all_rows(rows)?, |k| Ok(values[k].clone()))
}

/// The call, the first `values` of its arguments computed for all rows.
fn one_by_one(
    call: &Evaluator<'_>,
    arguments: &[Evaluator<'_>],
    mut values: Vec<ArrayRef>,
    input: &Input<'_>,
) -> Result<ArrayRef> {
    let mut open: UInt32Array = (0..input.rows as u32).collect();
    let nulls = values.iter().fold(None, |nulls, value| NullBuffer::union(nulls.as_ref(), value.logical_nulls().as_ref()));
    narrow(nulls, &mut open, &mut values)?;
    for argument in &arguments[values.len()..] {
        let value = argument.run(open.len(), &argument.of_rows(&open)?, no_variable)?;
        let nulls = value.logical_nulls();
        values.push(value);
        narrow(nulls, &mut open, &mut values)?;
    }
    if open.is_empty() {
        return Ok(new_null_array(input.returns, input.rows));
    }
    let results = call.run(open.len(), &call.of_rows(&open)?, |k| Ok(values[k].clone()))?;
    let mut places = vec![None; input.rows];
    for (place, row) in open.values().iter().enumerate() {
        places[*row as usize] = Some(place as u32);
    }
    take(&results, &UInt32Array::from(places), None).map_err(from_arrow)
}

/// Closes the rows that are null.
fn narrow(nulls: Option<NullBuffer>, open: &mut UInt32Array, values: &mut [ArrayRef]) -> Result<()> {
    let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else { return Ok(()) };
    let kept: UInt32Array = nulls.inner().set_indices().map(|row| row as u32).collect();
    for value in values {
        *value = take(value, &kept, None).map_err(from_arrow)?;
    }
    *open = kept.values().iter().map(|row| open.value(*row as usize)).collect();
    Ok(())
}

fn no_variable(_: usize) -> Result<ArrayRef> {
    Err(Error::internal("an argument of a call reads a variable"))
}
