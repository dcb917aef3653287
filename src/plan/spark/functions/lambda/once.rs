//! A value that an expression reads more than once, and a condition that is asked only of the rows that another one leaves open.
//!
//! Both are calls with one body, so that what stands in the body is there once, however deep such expressions are nested in each
//! other. The value is an argument: it is evaluated for the rows that the call is evaluated for, before its body.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{and_kleene, or_kleene, take};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::super::super::Typed;
use super::super::native::{from_arrow, repeated};
use super::super::random::random_function;
use super::bind::{Bound, VariableOf, variable};
use super::call::{self, HigherOrder, build};
use super::elements::Input;
use crate::error::{ErrorKind, Result, from_datafusion};
use crate::plan::function::call::first_called;

/// A column that stands for a value while what is computed from the value is put together.
pub(in crate::plan::spark) struct Variable {
    id: String,
    typed: Typed,
}

impl Variable {
    /// One for `value`.
    pub(in crate::plan::spark) fn of(value: &Typed) -> Self {
        let (id, expr) = variable("value");
        Self { id, typed: Typed { expr, data_type: value.data_type.clone(), nullable: value.nullable } }
    }

    /// What stands for the value.
    pub(in crate::plan::spark) fn typed(&self) -> Typed {
        self.typed.clone()
    }

    /// `body` of `value`, which is evaluated once.
    pub(in crate::plan::spark) fn bound(self, value: Typed, body: Typed) -> Result<Typed> {
        // A call of a function that asks the outside world must be found wherever it stands.
        if self.is_read_at_most_once(&body.expr) || first_called(&body.expr).is_some() {
            return self.replaced(&value.expr, body);
        }
        let (data_type, nullable) = (body.data_type.clone(), body.nullable);
        let bound = Bound { body, variables: vec![(self.id, value.data_type.clone())] };
        build(HigherOrder::Once, "once", vec![value], vec![bound], data_type, nullable)
    }

    fn is_it(&self, expr: &Expr) -> bool {
        matches!(expr, Expr::Column(column) if column.name == self.id)
    }

    fn is_read_at_most_once(&self, body: &Expr) -> bool {
        let mut reads = 0;
        let counted = body.apply(|node| {
            reads += usize::from(self.is_it(node));
            Ok(if reads > 1 { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        });
        counted.is_ok() && reads <= 1
    }

    fn replaced(&self, value: &Expr, body: Typed) -> Result<Typed> {
        let replaced = body
            .expr
            .transform_up(|node| Ok(if self.is_it(&node) { Transformed::yes(value.clone()) } else { Transformed::no(node) }));
        let expr = replaced.map_err(|error| from_datafusion(error, ErrorKind::Internal))?.data;
        Ok(Typed { expr, ..body })
    }
}

/// `left AND right` or `left OR right`, the right side evaluated only for the rows that the left one leaves open. `None` where the right
/// side must stay in sight.
pub(in crate::plan::spark) fn behind(operator: Operator, left: &Expr, right: &Expr) -> Option<Expr> {
    if first_called(right).is_some() {
        return None;
    }
    let (function, name) = if operator == Operator::And { (HigherOrder::And, "and") } else { (HigherOrder::Or, "or") };
    let side = |expr: &Expr| Typed { expr: expr.clone(), data_type: DataType::Boolean, nullable: true };
    let bound = Bound { body: side(right), variables: Vec::new() };
    build(function, name, vec![side(left)], vec![bound], DataType::Boolean, true).ok().map(|call| call.expr)
}

/// What `expr` asks, if it is a call made here: an operator between its sides, or what is computed from a value with the value in its
/// places. Random values cannot be in several places.
pub(in crate::plan::spark) fn opened(expr: &Expr) -> Option<Expr> {
    let call = call::opened(expr)?;
    let [value] = call.values() else { return None };
    let operator = match call.function() {
        HigherOrder::Once if random_function(value).is_none() => return call.body(0, std::slice::from_ref(value)).ok(),
        HigherOrder::And => Operator::And,
        HigherOrder::Or => Operator::Or,
        _ => return None,
    };
    Some(Expr::BinaryExpr(BinaryExpr::new(Box::new(value.clone()), operator, Box::new(call.body(0, &[]).ok()?))))
}

/// A call of a higher-order function with its values and bodies rewritten, if `expr` is one.
pub(in crate::plan::spark) fn rewritten(
    expr: &Expr,
    rewrite: &mut dyn FnMut(Expr, &[VariableOf]) -> Result<Expr>,
) -> Result<Option<Expr>> {
    call::opened(expr).map(|call| call.rewritten(rewrite)).transpose()
}

/// A value's column for all rows.
fn expanded((array, constant): &(ArrayRef, bool), rows: usize) -> Result<ArrayRef> {
    if *constant && rows != 1 { repeated(array, &UInt32Array::from_value(0, rows)) } else { Ok(Arc::clone(array)) }
}

/// The body of the value.
pub(super) fn once(input: &Input<'_>) -> Result<ArrayRef> {
    let body = &input.bodies[0];
    body.run(input.rows, &body.of_all_rows(input.rows)?, |_| expanded(&input.values[0], input.rows))
}

/// AND or OR, where a left side of `decisive` decides.
pub(super) fn connected(input: &Input<'_>, decisive: bool) -> Result<ArrayRef> {
    let (rows, body) = (input.rows, &input.bodies[0]);
    let left = expanded(&input.values[0], rows)?;
    let left = left.as_boolean();
    let decides = if decisive { left.values().clone() } else { !left.values() };
    let decides = left.nulls().map_or_else(|| decides.clone(), |nulls| &decides & nulls.inner());
    let decided = decides.count_set_bits();
    if decided == rows {
        return Ok(Arc::new(left.clone()));
    }
    let right = if decided == 0 {
        body.run(rows, &body.of_all_rows(rows)?, |_| expanded(&input.values[0], rows))?
    } else {
        let open: UInt32Array = (!&decides).set_indices().map(|row| row as u32).collect::<Vec<_>>().into();
        let answers = body.run(open.len(), &body.of_rows(&open)?, |_| expanded(&input.values[0], rows))?;
        take(&answers, &places(&decides), None).map_err(from_arrow)?
    };
    let both = if decisive { or_kleene } else { and_kleene };
    Ok(Arc::new(both(left, right.as_boolean()).map_err(from_arrow)?))
}

/// Per row, which of the answers is its; none for a row that is decided.
fn places(decided: &BooleanBuffer) -> UInt32Array {
    let mut next = 0;
    let places = decided.iter().map(|decided| {
        let place = next;
        next += u32::from(!decided);
        (!decided).then_some(place)
    });
    places.collect()
}
