//! Conditions move below watermarks.
//!
//! A row that WHERE leaves out does not move the watermark, unless the condition is on the event time itself: that is how Spark
//! plans it, and results depend on it. Rules that optimise leave conditions that can fail where they are, so these are moved here.

use std::collections::HashMap;

use datafusion::common::Result as DataFusionResult;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, JoinType, LogicalPlan, Projection};

use super::node::watermark_of;
use crate::error::{ErrorKind, Result, from_datafusion};
use crate::operator::join::condition::Condition;
use crate::operator::join::filters::{filtered, not_null};
use crate::plan::catalog::is_streaming;
use crate::plan::spark::is_fallible;
use crate::plan::spark::relation::carried::carrier;

/// Moves conditions of `plan` that stand above a watermark, with only renaming and generators between, below it. None moves past one
/// that stays if it can fail.
pub fn below_watermarks(plan: LogicalPlan) -> Result<LogicalPlan> {
    let moved = plan.transform_down(|node| match node {
        LogicalPlan::Filter(filter) if leads_to_watermark(&filter.input) => below(filter),
        other => Ok(Transformed::no(other)),
    });
    moved.map(|done| done.data).map_err(|e| from_datafusion(e, ErrorKind::Internal))
}

/// Leaves out below each join of a stream and a table the rows that find no partner because a column that it compares is null, and
/// that it does not keep either: Spark concludes from the join that the column is not null, so that they move no watermark. Joins
/// of two streams see to it themselves.
pub fn without_null_keys(plan: LogicalPlan) -> Result<LogicalPlan> {
    let left_out = plan.transform_up(|node| match node {
        LogicalPlan::Join(join) if !join.null_aware && is_streaming(&join.left) != is_streaming(&join.right) => {
            let keeps = match join.join_type {
                JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => (false, false),
                JoinType::Left | JoinType::LeftAnti => (true, false),
                JoinType::Right | JoinType::RightAnti => (false, true),
                JoinType::Full | JoinType::LeftMark | JoinType::RightMark => (true, true),
            };
            let (is_left, keeps) = if is_streaming(&join.left) { (true, keeps.0) } else { (false, keeps.1) };
            let mut condition = Condition::of(&join);
            condition.both.append(&mut condition.left);
            condition.both.append(&mut condition.right);
            let not_null = not_null(&condition, join.left.schema(), join.right.schema(), is_left);
            if keeps || not_null.is_empty() {
                return Ok(Transformed::no(LogicalPlan::Join(join)));
            }
            let mut join = join;
            let side = if is_left { &mut join.left } else { &mut join.right };
            *side = filtered(side.clone(), not_null)?;
            Ok(Transformed::yes(LogicalPlan::Join(join)))
        }
        other => Ok(Transformed::no(other)),
    });
    left_out.map(|done| done.data).map_err(|e| from_datafusion(e, ErrorKind::Internal))
}

fn leads_to_watermark(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => leads_to_watermark(&projection.input),
        LogicalPlan::Filter(filter) => leads_to_watermark(&filter.input),
        other if carrier(other).is_some() => other.inputs().into_iter().all(leads_to_watermark),
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
    let may_pass = |condition: &Expr| match (watermark_of(&input), carrier(&input)) {
        (Some(watermark), _) => !condition.column_refs().contains(watermark.column()),
        (None, Some(carries)) => condition.column_refs().iter().all(|column| carries.keep().contains(&column.name)),
        (None, None) => false,
    };
    let (mut moved, mut kept) = (Vec::new(), Vec::new());
    for condition in split_conjunction_owned(predicate.clone()) {
        if !may_pass(&condition) || (!kept.is_empty() && is_fallible(&condition)) {
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
