//! Joins of a stream with a static table: the hash table is made from the static side, once, and again when that has other rows.
//!
//! DataFusion's hash join keeps the table of its left side in the node: a node that is rebuilt with `replace_children` and unchanged
//! properties takes it along, one that is `reset_state` forgets it. So the static side goes to the left at planning time, and
//! [`rerun`] treats such a join with the former and every other node with the latter. The price is that the join's metrics, which
//! travel with the table, gain some entries per run; they are forgotten together, every [`RUNS_PER_BUILD`] runs.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result};
use datafusion::logical_expr::Volatility;
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};

use crate::plan::batch_scan::BatchScanExec;
use crate::plan::function::exec::CallExec;

/// How many batches use one hash table. A run leaves about 2 KiB of metrics behind, so this bounds them to some megabytes.
const RUNS_PER_BUILD: u64 = 4096;

/// Puts the static side of a hash join where the hash table is made.
#[derive(Debug)]
pub(super) struct StaticBuildSide;

impl PhysicalOptimizerRule for StaticBuildSide {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else { return Ok(Transformed::no(node)) };
            // NOT IN decides about nulls on its left side only and cannot be turned: its table is made from the batch.
            if has_stream(join.left()) && !has_stream(join.right()) && join.join_type().supports_swap() && !join.null_aware {
                return join.swap_inputs(*join.partition_mode()).map(Transformed::yes);
            }
            Ok(Transformed::no(node))
        })
        .map(|done| done.data)
    }

    fn name(&self) -> &'static str {
        "static_build_side"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// `plan` ready for its run number `run`; whether static tables have `changed` since the one before.
pub(super) fn rerun(plan: &Arc<dyn ExecutionPlan>, run: u64, changed: bool) -> Result<Arc<dyn ExecutionPlan>> {
    let keep = !changed && !run.is_multiple_of(RUNS_PER_BUILD);
    let fresh = plan.clone().transform_up(|node| {
        let fresh = match node.downcast_ref::<HashJoinExec>() {
            Some(join) if keep && keeps_table(join) => {
                let children = node.children().into_iter().cloned().collect();
                node.clone().replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))?
            }
            _ => node.reset_state()?,
        };
        Ok(Transformed::yes(fresh))
    });
    fresh.map(|done| done.data)
}

/// Whether the table of `join` says nothing about a batch: it is static, and no note is taken in it of rows that matched.
fn keeps_table(join: &HashJoinExec) -> bool {
    let unmarked = match join.join_type() {
        JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => true,
        JoinType::Left | JoinType::Full | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => false,
    };
    unmarked && !has_stream(join.left()) && !asks_for_batch(join.left())
}

/// Whether something in `plan` has another value in every batch: the batch's time, a random number, a function that asks the outside
/// world, or a subquery made of such.
fn asks_for_batch(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let asks = plan.exists(|node| {
        let mut asks = node.is::<CallExec>();
        node.apply_expressions(&mut |expr| {
            asks |= is_of_batch(expr.as_ref());
            Ok(if asks { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        Ok(asks)
    });
    asks.unwrap_or(true)
}

fn is_of_batch(expr: &dyn PhysicalExpr) -> bool {
    // Whatever may fail is volatile here too, but its arguments say what comes of it.
    let own = expr.downcast_ref::<ScalarFunctionExpr>();
    own.is_some_and(|call| call.args().is_empty() && call.fun().signature().volatility != Volatility::Immutable)
        || expr.is::<ScalarSubqueryExpr>()
        || expr.children().into_iter().any(|inner| is_of_batch(inner.as_ref()))
}

fn has_stream(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.exists(|node| Ok(node.downcast_ref::<BatchScanExec>().is_some_and(BatchScanExec::is_stream))).unwrap_or(true)
}
