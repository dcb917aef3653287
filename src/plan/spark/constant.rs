//! Constant expressions: what is one, its value while planning, and the constants within an expression that fail.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion, TreeNodeVisitor};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{ColumnarValue, Expr, Volatility};
use datafusion::physical_expr::create_physical_expr;
use datafusion::scalar::ScalarValue;

use super::functions::{bodies, is_raising, random_call};
use super::settled::settled;
use super::{Typed, is_fallible};
use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::plan::function::call::is_called;

/// Nodes of an expression that is tried for being null: chains of thousands of operators must not be tried one by one.
const TRIED_NODES_MAX: usize = 64;

/// Whether `expr` is what Spark calls foldable: the same for all rows, whatever is asked of it.
pub(super) fn is_foldable(expr: &Expr) -> bool {
    !expr.exists(|node| Ok(varies(node))).unwrap_or(true)
}

/// Whether `node` depends on more than its arguments, or may not be computed before it is reached.
fn varies(node: &Expr) -> bool {
    match node {
        Expr::Column(_) | Expr::OuterReferenceColumn(..) | Expr::AggregateFunction(_) | Expr::WindowFunction(_) => true,
        Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => true,
        Expr::ScalarFunction(call) => {
            call.args.is_empty() && call.func.signature().volatility == Volatility::Volatile
                || random_call(node).is_some()
                || is_raising(node)
                || is_called(node)
        }
        _ => false,
    }
}

/// The value of `expr`, nothing if it is not constant. A constant that fails gives its error.
pub(crate) fn evaluate(expr: &Expr) -> Result<Option<ScalarValue>> {
    if let Expr::Literal(value, _) = expr {
        return Ok(Some(value.clone()));
    }
    if is_foldable(expr) { value(expr).map(Some) } else { Ok(None) }
}

fn value(constant: &Expr) -> Result<ScalarValue> {
    let ours = |error| from_datafusion(error, ErrorKind::Internal);
    let (schema, context) = (DFSchema::empty(), PhysicalPlanningContext::default());
    let physical = create_physical_expr(constant, &schema, &ExecutionProps::new(), &context).map_err(ours)?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Schema::empty().into(), Vec::new(), &options);
    let row = row.map_err(|error| ours(error.into()))?;
    match physical.evaluate(&row).map_err(ours)? {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(values) => ScalarValue::try_from_array(&values, 0).map_err(ours),
    }
}

/// Whether `arg` is null whatever the row: a null as it is written, or what constants come to.
pub(super) fn is_null_constant(arg: &Typed) -> bool {
    if let Expr::Literal(value, _) = &arg.expr {
        return value.is_null();
    }
    if !arg.nullable || !has_at_most(TRIED_NODES_MAX, &arg.expr) {
        return false;
    }
    let is_null = |expr: &Expr| matches!(evaluate(expr), Ok(Some(value)) if value.is_null());
    let has_branches = || arg.expr.exists(|node| Ok(matches!(node, Expr::Case(_)))).unwrap_or(false);
    is_null(&arg.expr) || has_branches() && settled(arg.expr.clone()).is_ok_and(|expr| is_null(&expr))
}

/// Whether what is computed from both is null whatever the row, and Spark sees it before a constant among them fails.
pub(super) fn is_null_of_two(left: &Typed, right: &Typed) -> bool {
    let makes_null = |arg: &Typed, other: &Typed| {
        is_null_constant(arg) && (is_foldable(&arg.expr) || !is_foldable(&other.expr) || !fails_when_planned(&other.expr))
    };
    makes_null(left, right) || makes_null(right, left)
}

/// Whether an expression has no more nodes than that.
fn has_at_most(nodes_max: usize, expr: &Expr) -> bool {
    let mut nodes = 0;
    let within = expr.apply(|_| {
        nodes += 1;
        Ok(if nodes > nodes_max { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    within.is_ok() && nodes <= nodes_max
}

/// Whether a constant in `expr` fails that Spark computes before any row.
pub(super) fn fails_when_planned(expr: &Expr) -> bool {
    failing(expr).is_some()
}

/// The error of the first constant in `expr` that fails. What only some rows may need, a branch of CASE, is not looked at, but what is
/// done with every element of an array is, though the array may be empty.
pub(super) fn failing(expr: &Expr) -> Option<Error> {
    if !is_fallible(expr) {
        return None;
    }
    let mut search = Search { open: vec![Node::default()], error: None };
    let _ = expr.visit(&mut search);
    let whole = search.open.pop()?.constants;
    search.error.or_else(|| whole.into_iter().find_map(failure))
}

fn failure(constant: &Expr) -> Option<Error> {
    if is_fallible(constant) { value(constant).err() } else { None }
}

/// Looks for the constants that are part of nothing larger that is constant.
struct Search<'n> {
    /// The nodes above, each with what is known of its arguments.
    open: Vec<Node<'n>>,
    error: Option<Error>,
}

#[derive(Default)]
struct Node<'n> {
    varies: bool,
    /// The arguments so far that are constants.
    constants: Vec<&'n Expr>,
}

impl<'n> TreeNodeVisitor<'n> for Search<'n> {
    type Node = Expr;

    fn f_down(&mut self, node: &'n Expr) -> DataFusionResult<TreeNodeRecursion> {
        if let Expr::Case(case) = node {
            let varies = !is_foldable(node);
            let first = case.expr.as_deref().or_else(|| case.when_then_expr.first().map(|(when, _)| when.as_ref()));
            self.error = first.filter(|_| varies).and_then(failing);
            self.open.push(Node { varies, constants: Vec::new() });
            return Ok(if self.error.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Jump });
        }
        self.open.push(Node { varies: varies(node), constants: Vec::new() });
        Ok(TreeNodeRecursion::Continue)
    }

    fn f_up(&mut self, node: &'n Expr) -> DataFusionResult<TreeNodeRecursion> {
        let Some(Node { varies, constants }) = self.open.pop() else { return Ok(TreeNodeRecursion::Stop) };
        let (is_lambda, bodies) = bodies(node);
        let varies = varies || is_lambda;
        if varies {
            self.error = constants.into_iter().find_map(failure).or_else(|| bodies.into_iter().find_map(failing));
        }
        if let Some(above) = self.open.last_mut() {
            above.varies |= varies;
            if !varies {
                above.constants.push(node);
            }
        }
        Ok(if self.error.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    }
}
