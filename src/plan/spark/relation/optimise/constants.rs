//! Constants that fail: as in Spark, they are told of before any row is looked at, wherever they stand but in a branch that is
//! taken by some rows only. Before that goes what decides nothing and could fail.

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::super::super::constant::failing;
use super::super::super::is_fallible;
use super::super::super::settled::settled;
use super::super::planner::broken;
use super::everywhere;
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

/// The plan without conditions that decide nothing and can fail.
pub(super) fn without_idle_conditions(plan: LogicalPlan) -> Result<LogicalPlan> {
    everywhere(plan, |node| {
        if !matches!(node, LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::Aggregate(_)) {
            return Ok(Transformed::no(node));
        }
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            if !is_fallible(&expr) {
                return Ok(Transformed::no(expr));
            }
            let name = names.save(&expr);
            let expr = settled(expr).map_err(DataFusionError::from)?;
            Ok(Transformed::yes(name.restore(expr)))
        })
    })
}
