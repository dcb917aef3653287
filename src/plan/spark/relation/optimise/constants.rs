//! Constants that fail: as in Spark, they are told of before any row is looked at, wherever they stand but in a branch that is
//! taken by some rows only.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::super::super::constant::failing;
use super::super::planner::broken;
use crate::error::Result;

/// The error of the first constant in the plan that fails.
pub(super) fn checked(plan: &LogicalPlan) -> Result<()> {
    let mut error = None;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr: &Expr| {
            error = failing(expr);
            Ok(if error.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    });
    walked.map_err(broken)?;
    error.map_or(Ok(()), Err)
}
