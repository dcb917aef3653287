//! Conditions that decide nothing: where every branch of a CASE is the same, the CASE is that branch and its conditions are not asked,
//! so that they cannot fail.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion, TreeNodeRewriter};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, Volatility};

use super::constant::{evaluate, is_foldable};
use super::functions::{is_raising, opened, random_call, rewritten};
use crate::error::{ErrorKind, Result, from_datafusion};
use crate::plan::function::call::is_called;

/// `expr` without such conditions.
pub(super) fn settled(expr: Expr) -> Result<Expr> {
    expr.rewrite(&mut Settling).map(|done| done.data).map_err(|error| from_datafusion(error, ErrorKind::Internal))
}

struct Settling;

impl TreeNodeRewriter for Settling {
    type Node = Expr;

    fn f_down(&mut self, node: Expr) -> DataFusionResult<Transformed<Expr>> {
        // A value that conditions share is not asked either.
        let shared = match opened(&node) {
            Some(Expr::Case(case)) if !is_foldable(&node) => only_branch(&case).map(settled),
            _ => None,
        };
        let within = match shared {
            Some(branch) => branch.map(Some),
            None => rewritten(&node, &mut |inner, _| settled(inner)),
        };
        Ok(match within.map_err(DataFusionError::from)? {
            Some(expr) => Transformed::new(expr, true, TreeNodeRecursion::Jump),
            None => Transformed::no(node),
        })
    }

    fn f_up(&mut self, node: Expr) -> DataFusionResult<Transformed<Expr>> {
        let branch = match &node {
            // A CASE of constants alone is computed as it is, and may fail.
            Expr::Case(case) if !is_foldable(&node) => only_branch(case),
            _ => None,
        };
        Ok(branch.map_or_else(|| Transformed::no(node), Transformed::yes))
    }
}

/// What `case` comes to whatever its conditions are, if these may be left out.
fn only_branch(case: &Case) -> Option<Expr> {
    let ((_, first), others) = case.when_then_expr.split_first()?;
    let is_same = match &case.else_expr {
        Some(otherwise) => others.iter().map(|(_, branch)| branch).chain([otherwise]).all(|branch| is_equal(first, branch)),
        None => case.when_then_expr.iter().all(|(_, branch)| is_null(branch)),
    };
    let mut asked = case.expr.iter().chain(case.when_then_expr.iter().map(|(when, _)| when));
    (is_same && is_repeatable(first) && asked.all(|expr| is_repeatable(expr))).then(|| first.as_ref().clone())
}

fn is_equal(left: &Expr, right: &Expr) -> bool {
    if left == right {
        return true;
    }
    match (evaluate(left), evaluate(right)) {
        (Ok(Some(left)), Ok(Some(right))) => left == right,
        _ => false,
    }
}

fn is_null(expr: &Expr) -> bool {
    matches!(evaluate(expr), Ok(Some(value)) if value.is_null())
}

/// Whether leaving `expr` out changes nothing else: it draws no random value, asks nobody, and does not fail on purpose.
fn is_repeatable(expr: &Expr) -> bool {
    let is_other_each_time = |node: &Expr| match node {
        Expr::ScalarFunction(call) => {
            random_call(node).is_some()
                || is_raising(node)
                || is_called(node)
                || call.args.is_empty() && call.func.signature().volatility == Volatility::Volatile
        }
        _ => false,
    };
    !expr.exists(|node| Ok(is_other_each_time(node))).unwrap_or(true)
}
