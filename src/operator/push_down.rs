//! Filters move towards the stream, but not into what remembers.
//!
//! [`key_filters`] does, before stateful nodes are put in place, what is right for aggregations: a condition on keys alone is
//! evaluated below, so that the keys it drops take no state. Joins of streams have rules of their own (`join::filters`). [`PushDownFilter`] is DataFusion's rule kept from stateful nodes, into
//! which it would push any condition that names no column.

use std::collections::HashMap;

use datafusion::common::Result as DataFusionResult;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, Filter, LogicalPlan, Projection};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::push_down_filter::PushDownFilter as DataFusionRule;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::join::filters::{sides_filtered, stream_join, under_where};
use crate::error::{ErrorKind, Result, from_datafusion};
use crate::plan::catalog::is_streaming;
use crate::plan::event_time::WatermarkNode;
use crate::plan::spark::is_fallible;
use crate::plan::spark::relation::carried::carrying;

/// DataFusion's rule, which stops above stateful nodes.
#[derive(Debug, Default)]
pub struct PushDownFilter(DataFusionRule);

impl OptimizerRule for PushDownFilter {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> DataFusionResult<Transformed<LogicalPlan>> {
        match &plan {
            LogicalPlan::Filter(filter) if remembers(&filter.input) => Ok(Transformed::no(plan)),
            _ => self.0.rewrite(plan, config),
        }
    }
}

/// Whether `plan` is a node that a condition must not pass; watermarks, generators and calls say themselves which may.
fn remembers(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Extension(extension) = plan else { return false };
    !extension.node.as_any().is::<WatermarkNode>() && carrying(extension.node.as_ref()).is_none()
}

/// Moves conditions on nothing but keys below the aggregations and DISTINCTs of `plan`, and conditions on one side below its joins.
pub fn key_filters(plan: LogicalPlan) -> Result<LogicalPlan> {
    let moved = plan.transform_down(|node| match node {
        LogicalPlan::Filter(filter) => below(filter),
        LogicalPlan::Join(join) if is_streaming(&join.left) && is_streaming(&join.right) => {
            Ok(Transformed::yes(LogicalPlan::Join(sides_filtered(join)?)))
        }
        other => Ok(Transformed::no(other)),
    });
    moved.map(|done| done.data).map_err(|e| from_datafusion(e, ErrorKind::Internal))
}

/// One step down; the walk goes on with the filter where it is then.
fn below(filter: Filter) -> DataFusionResult<Transformed<LogicalPlan>> {
    let Filter { predicate, input, .. } = filter;
    if let Some(join) = stream_join(&input) {
        return Ok(Transformed::yes(under_where(predicate, join)?));
    }
    let split = |names: &HashMap<String, Expr>| {
        split_conjunction_owned(predicate.clone()).into_iter().partition::<Vec<_>, _>(|condition| {
            let columns = condition.column_refs();
            !is_fallible(condition)
                && !columns.is_empty()
                && columns.iter().all(|column| names.get(&column.name).is_some_and(|expr| !is_fallible(expr)))
        })
    };
    match input.as_ref() {
        // One that stays, such as HAVING, does not hold back one that may go on.
        LogicalPlan::Filter(inner) => below(Filter::try_new(inner.predicate.clone().and(predicate), inner.input.clone())?),
        LogicalPlan::Projection(projection) if leads_to_state(&projection.input) => {
            let names = named(&projection.expr);
            let (moved, kept) = split(&names);
            let Some(moved) = conjunction(moved) else { return unmoved(predicate, input) };
            let below = filtered(renamed(moved, &names)?, projection.input.as_ref().clone())?;
            let projection = Projection::try_new_with_schema(projection.expr.clone(), below.into(), projection.schema.clone())?;
            above(kept, LogicalPlan::Projection(projection))
        }
        LogicalPlan::Aggregate(aggregate) => {
            let keys = match aggregate.group_expr.as_slice() {
                [Expr::GroupingSet(_)] => HashMap::new(),
                keys => named(keys),
            };
            let (moved, kept) = split(&keys);
            let Some(moved) = conjunction(moved) else { return unmoved(predicate, input) };
            let below = filtered(renamed(moved, &keys)?, aggregate.input.as_ref().clone())?;
            let Aggregate { group_expr, aggr_expr, schema, .. } = aggregate.clone();
            let aggregate = Aggregate::try_new_with_schema(below.into(), group_expr, aggr_expr, schema)?;
            above(kept, LogicalPlan::Aggregate(aggregate))
        }
        LogicalPlan::Distinct(Distinct::All(below)) => {
            let columns = below.schema().columns().into_iter().map(Expr::Column).collect::<Vec<_>>();
            let (moved, kept) = split(&named(&columns));
            let Some(moved) = conjunction(moved) else { return unmoved(predicate, input) };
            let below = filtered(moved, below.as_ref().clone())?;
            above(kept, LogicalPlan::Distinct(Distinct::All(below.into())))
        }
        _ => unmoved(predicate, input),
    }
}

/// Whether only renaming, computing and other conditions lie between `plan` and an aggregation.
fn leads_to_state(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => true,
        LogicalPlan::Join(_) => stream_join(plan).is_some(),
        LogicalPlan::Projection(projection) => leads_to_state(&projection.input),
        LogicalPlan::Filter(filter) => leads_to_state(&filter.input),
        _ => false,
    }
}

/// What each output column is called, if its name is no other's, and is made of.
fn named(expressions: &[Expr]) -> HashMap<String, Expr> {
    expressions.iter().map(|expr| (expr.qualified_name().1, expr.clone().unalias())).collect()
}

fn renamed(condition: Expr, names: &HashMap<String, Expr>) -> DataFusionResult<Expr> {
    let replaced = condition.transform_up(|expr| match &expr {
        Expr::Column(column) => {
            Ok(names.get(&column.name).map_or_else(|| Transformed::no(expr.clone()), |of| Transformed::yes(of.clone())))
        }
        _ => Ok(Transformed::no(expr)),
    });
    replaced.map(|done| done.data)
}

fn filtered(condition: Expr, input: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    Filter::try_new(condition, input.into()).map(LogicalPlan::Filter)
}

fn above(kept: Vec<Expr>, plan: LogicalPlan) -> DataFusionResult<Transformed<LogicalPlan>> {
    match conjunction(kept) {
        // The filter that stays has been looked at; what is below it has not.
        Some(kept) => filtered(kept, plan).map(Transformed::yes),
        None => Ok(Transformed::yes(plan)),
    }
}

fn unmoved(predicate: Expr, input: std::sync::Arc<LogicalPlan>) -> DataFusionResult<Transformed<LogicalPlan>> {
    Filter::try_new(predicate, input).map(|filter| Transformed::no(LogicalPlan::Filter(filter)))
}
