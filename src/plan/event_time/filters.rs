//! Conditions move below watermarks.
//!
//! A row that WHERE leaves out does not move the watermark, unless the condition is on the event time itself: that is how Spark
//! plans it, and results depend on it. Rules that optimise leave conditions that can fail where they are, so these are moved here.

use std::collections::HashMap;

use datafusion::common::Result as DataFusionResult;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Projection};

use super::node::watermark_of;
use crate::error::{ErrorKind, Result, from_datafusion};
use crate::plan::spark::is_fallible;

/// Moves conditions of `plan` that stand above a watermark, with only renaming between, below it. None moves past one that stays
/// if it can fail.
pub fn below_watermarks(plan: LogicalPlan) -> Result<LogicalPlan> {
    let moved = plan.transform_down(|node| match node {
        LogicalPlan::Filter(filter) if leads_to_watermark(&filter.input) => below(filter),
        other => Ok(Transformed::no(other)),
    });
    moved.map(|done| done.data).map_err(|e| from_datafusion(e, ErrorKind::Internal))
}

fn leads_to_watermark(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => leads_to_watermark(&projection.input),
        LogicalPlan::Filter(filter) => leads_to_watermark(&filter.input),
        other => watermark_of(other).is_some(),
    }
}

/// What those columns of a projection are called below that it does not compute.
fn renames(projection: &Projection) -> HashMap<String, Expr> {
    let columns = projection.expr.iter().filter_map(|expr| match expr.clone().unalias() {
        Expr::Column(column) => Some((expr.qualified_name().1, Expr::Column(column))),
        _ => None,
    });
    columns.collect()
}

fn below(filter: Filter) -> DataFusionResult<Transformed<LogicalPlan>> {
    let Filter { predicate, input, .. } = filter;
    if let LogicalPlan::Filter(inner) = input.as_ref() {
        return below(Filter::try_new(inner.predicate.clone().and(predicate), inner.input.clone())?);
    }
    if let LogicalPlan::Projection(projection) = input.as_ref() {
        let names = renames(projection);
        if !predicate.column_refs().iter().all(|column| names.contains_key(&column.name)) {
            return Filter::try_new(predicate, input).map(|filter| Transformed::no(LogicalPlan::Filter(filter)));
        }
        let renamed = predicate.transform_up(|expr| match &expr {
            Expr::Column(column) => {
                let below = names.get(&column.name).cloned();
                Ok(below.map_or_else(|| Transformed::no(expr), Transformed::yes))
            }
            _ => Ok(Transformed::no(expr)),
        })?;
        let below = Filter::try_new(renamed.data, projection.input.clone()).map(LogicalPlan::Filter)?;
        let projection = Projection::try_new_with_schema(projection.expr.clone(), below.into(), projection.schema.clone())?;
        return Ok(Transformed::yes(LogicalPlan::Projection(projection)));
    }
    let Some(watermark) = watermark_of(&input) else {
        return Filter::try_new(predicate, input).map(|filter| Transformed::no(LogicalPlan::Filter(filter)));
    };
    let (mut moved, mut kept) = (Vec::new(), Vec::new());
    for condition in split_conjunction_owned(predicate.clone()) {
        let on_event_time = condition.column_refs().contains(watermark.column());
        if on_event_time || (!kept.is_empty() && is_fallible(&condition)) {
            kept.push(condition);
        } else {
            moved.push(condition);
        }
    }
    let Some(moved) = conjunction(moved) else {
        return Filter::try_new(predicate, input).map(|filter| Transformed::no(LogicalPlan::Filter(filter)));
    };
    let [source] = input.inputs()[..] else { return Ok(Transformed::no(input.as_ref().clone())) };
    let below = Filter::try_new(moved, source.clone().into()).map(LogicalPlan::Filter)?;
    let plan = input.with_new_exprs(input.expressions(), vec![below])?;
    match conjunction(kept) {
        Some(kept) => Filter::try_new(kept, plan.into()).map(|filter| Transformed::yes(LogicalPlan::Filter(filter))),
        None => Ok(Transformed::yes(plan)),
    }
}
