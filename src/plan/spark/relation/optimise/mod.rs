//! The rules that may rewrite a plan.
//!
//! Types are settled and constants are Spark's, so DataFusion's type coercion and expression simplification have nothing to add and
//! stay out: some of their rewrites hold only for DataFusion's own arithmetic. What stays is the shape of the plan:
//!
//! - subqueries become joins ([`decorrelated`], when a query is planned, so that whoever reads the plan sees joins);
//! - filters move down to where their columns come from and become join keys; a filter that can fail does not move and nothing
//!   moves past it, for it must see exactly the rows it was written for ([`guard`]);
//! - limits move into sorts; columns that nobody uses are not computed and not read.
//!
//! Before that, conditions that decide nothing are left out; afterwards constants that fail are told of (both [`constants`]), and
//! arguments behind a null are kept from failing ([`mod@strict`]).
//!
//! Rules that remove a branch because it is empty are left out as well: with the branch would go the state it keeps.

mod constants;
mod guard;
mod strict;

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, Extension, Filter, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{Optimizer, OptimizerConfig, OptimizerContext, OptimizerRule};

use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::push_down_limit::PushDownLimit;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;

use super::carried::carrying;
use super::planner::broken;
use crate::error::{Error, Result};
use crate::operator::push_down::PushDownFilter;

/// Rewrites a plan for speed, without changing its meaning. Extension nodes may be part of it.
pub fn optimise(plan: LogicalPlan) -> Result<LogicalPlan> {
    let guarded = guard::protect(constants::without_idle_conditions(plan)?)?;
    let rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(PushDownLimit::new()),
        Arc::new(PushDownFilter::default()),
        Arc::new(NarrowCarried),
        Arc::new(OptimizeProjections::new()),
    ];
    let plan = guard::release(apply(guarded, rules)?)?;
    constants::checked(&plan)?;
    strict::beside_nulls(plan)
}

/// The plan with its subqueries turned into joins; scalar subqueries that depend on nothing outside stay.
pub(super) fn decorrelated(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
    ];
    let plan = apply(plan, rules)?;
    let mut left_over = false;
    let walked = plan.apply_with_subqueries(|node| {
        let expressions = node.expressions();
        left_over |= expressions.iter().any(|expr| expr.exists(|inner| Ok(is_left_over(inner))).unwrap_or(true));
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map_err(broken)?;
    if left_over {
        return Err(Error::config("a subquery refers to the query around it in a way that cannot become a join; equalities can"));
    }
    Ok(plan)
}

/// Whether a subquery is still there that cannot be planned.
fn is_left_over(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarSubquery(subquery) => !subquery.outer_ref_columns.is_empty(),
        Expr::InSubquery(_) | Expr::Exists(_) => true,
        _ => false,
    }
}

fn apply(plan: LogicalPlan, rules: Vec<Arc<dyn OptimizerRule + Send + Sync>>) -> Result<LogicalPlan> {
    let context = OptimizerContext::new().with_skip_failing_rules(false);
    Optimizer::with_rules(rules).optimize(plan, &context, |_, _| {}).map_err(broken)
}

/// Lets nodes that carry columns along only carry those that are used above them.
#[derive(Debug)]
struct NarrowCarried;

impl OptimizerRule for NarrowCarried {
    fn name(&self) -> &str {
        "narrow_carried"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> DataFusionResult<Transformed<LogicalPlan>> {
        let input = match &plan {
            LogicalPlan::Projection(projection) => &projection.input,
            LogicalPlan::Aggregate(aggregate) => &aggregate.input,
            _ => return Ok(Transformed::no(plan)),
        };
        match narrowed(input, used(&plan.expressions()))? {
            Some(input) => Ok(Transformed::yes(plan.with_new_exprs(plan.expressions(), vec![input])?)),
            None => Ok(Transformed::no(plan)),
        }
    }
}

/// `plan`, if it is a node that carries columns along, under any number of filters, and can do with fewer of them.
fn narrowed(plan: &LogicalPlan, mut wanted: HashSet<String>) -> DataFusionResult<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Filter(filter) => {
            wanted.extend(used(std::slice::from_ref(&filter.predicate)));
            let Some(input) = narrowed(&filter.input, wanted)? else { return Ok(None) };
            Ok(Some(LogicalPlan::Filter(Filter::try_new(filter.predicate.clone(), input.into())?)))
        }
        LogicalPlan::Extension(Extension { node }) => {
            let Some(carries) = carrying(node.as_ref()) else { return Ok(None) };
            let is_needless = |id: &String| !wanted.contains(id);
            let changed = carries.keep().iter().any(is_needless);
            let node = if changed { carries.keeping(&wanted)? } else { node.clone() };
            let mut below: HashSet<String> = carries.keep().iter().filter(|id| !is_needless(id)).cloned().collect();
            below.extend(used(&node.expressions()));
            let input = node.inputs().into_iter().next().map(|input| narrowed(input, below)).transpose()?.flatten();
            let node = match input {
                Some(input) => node.with_exprs_and_inputs(node.expressions(), vec![input])?,
                None if !changed => return Ok(None),
                None => node,
            };
            Ok(Some(LogicalPlan::Extension(Extension { node })))
        }
        _ => Ok(None),
    }
}

fn used(exprs: &[Expr]) -> HashSet<String> {
    exprs.iter().flat_map(|expr| expr.column_refs().into_iter().map(|column| column.name.clone())).collect()
}

/// Rewrites every node of a plan, subqueries included, from the leaves up.
fn everywhere(
    plan: LogicalPlan,
    rewrite: impl FnMut(LogicalPlan) -> DataFusionResult<Transformed<LogicalPlan>>,
) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(rewrite).map(|done| done.data).map_err(broken)
}
