//! Calls become nodes: each one right below the first place that needs its answer, and above whatever does not.
//!
//! Within one SELECT, calls of the same function with the same arguments are one: what WHERE has asked, the select list does not
//! ask again.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, Extension, Filter, LogicalPlan, Projection};

use super::call::{called, first_called};
use super::node::CallNode;
use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::plan::spark::expression::logic::{all, conjuncts};
use crate::plan::spark::is_fallible;

/// When less stack than this is left, in bytes, a nested plan gets a new piece of [`STACK_SIZE`].
const STACK_LEFT_MIN: usize = 128 * 1024;
const STACK_SIZE: usize = 2 * 1024 * 1024;

/// `plan` with its calls as nodes; `fresh` makes names for the columns of their answers.
///
/// # Errors
/// Kind `Config`, where a call stands that is not made for every row that reaches it, or for more than the rows of a stream or table.
pub(in crate::plan) fn place(plan: LogicalPlan, fresh: &dyn Fn(&str) -> String) -> Result<LogicalPlan> {
    if !calls_any(&plan)? {
        return Ok(plan);
    }
    Placing { fresh }.closed(plan)
}

fn calls_any(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    let walked = plan.apply_with_subqueries(|node| {
        found |= node.expressions().iter().any(|expr| first_called(expr).is_some());
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    walked.map_err(broken)?;
    Ok(found)
}

/// A plan, and the calls that were made below it: each with the column of its answer. Such columns come after the plan's own.
struct Placed {
    plan: LogicalPlan,
    made: Vec<(Expr, Expr)>,
}

struct Placing<'a> {
    fresh: &'a dyn Fn(&str) -> String,
}

impl Placing<'_> {
    fn placed(&self, plan: LogicalPlan) -> Result<Placed> {
        stacker::maybe_grow(STACK_LEFT_MIN, STACK_SIZE, || match plan {
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Extension(extension) if extension.node.inputs().len() == 1 => self.extension(&extension),
            other => self.other(other),
        })
    }

    /// `plan` with the columns it had before.
    fn closed(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        let Placed { plan, made } = self.placed(plan)?;
        if made.is_empty() {
            return Ok(plan);
        }
        Projection::try_new(columns, plan.into()).map(LogicalPlan::Projection).map_err(broken)
    }

    fn filter(&self, filter: Filter) -> Result<Placed> {
        let mut below = self.placed(Arc::unwrap_or_clone(filter.input))?;
        refuse_in_subqueries(&filter.predicate)?;
        if first_called(&filter.predicate).is_none() {
            return below.filtered(filter.predicate);
        }
        // What cannot fail is asked first, and saves calls.
        let free = |condition: &Expr| !is_fallible(condition) && first_called(condition).is_none();
        let (first, rest): (Vec<Expr>, Vec<Expr>) = conjuncts(filter.predicate).into_iter().partition(free);
        if let Some(condition) = all(first) {
            below = below.filtered(condition)?;
        }
        for condition in rest {
            let condition = self.answered(condition, &mut below)?;
            below = below.filtered(condition)?;
        }
        Ok(below)
    }

    fn projection(&self, projection: Projection) -> Result<Placed> {
        let mut below = self.placed(Arc::unwrap_or_clone(projection.input))?;
        let mut exprs = Vec::with_capacity(projection.expr.len());
        for expr in projection.expr {
            let (qualifier, name) = expr.qualified_name();
            let answered = self.answered(expr, &mut below)?;
            exprs.push(if answered.qualified_name().1 == name { answered } else { answered.alias_qualified(qualifier, name) });
        }
        let plan = Projection::try_new(exprs, below.plan.into()).map(LogicalPlan::Projection).map_err(broken)?;
        Ok(Placed { plan, made: Vec::new() })
    }

    /// A node of ours with one input; it knows its columns by name, so that more of them do not matter.
    fn extension(&self, extension: &Extension) -> Result<Placed> {
        let input = extension.node.inputs().into_iter().next().cloned();
        let input = input.ok_or_else(|| Error::internal("a node lost its input"))?;
        let exprs = extension.node.expressions();
        exprs.iter().try_for_each(refuse_in_subqueries)?;
        if exprs.iter().all(|expr| first_called(expr).is_none()) {
            let node = extension.node.with_exprs_and_inputs(exprs, vec![self.closed(input)?]).map_err(broken)?;
            return Ok(Placed { plan: LogicalPlan::Extension(Extension { node }), made: Vec::new() });
        }
        let columns: Vec<Expr> =
            LogicalPlan::Extension(extension.clone()).schema().columns().into_iter().map(Expr::Column).collect();
        let mut below = Placed { plan: self.closed(input)?, made: Vec::new() };
        let exprs = exprs.into_iter().map(|expr| self.answered(expr, &mut below)).collect::<Result<Vec<_>>>()?;
        let node = extension.node.with_exprs_and_inputs(exprs, vec![below.plan]).map_err(broken)?;
        let plan = Projection::try_new(columns, LogicalPlan::Extension(Extension { node }).into());
        Ok(Placed { plan: plan.map(LogicalPlan::Projection).map_err(broken)?, made: Vec::new() })
    }

    /// Any other node has no place for calls.
    fn other(&self, plan: LogicalPlan) -> Result<Placed> {
        let exprs = plan.expressions();
        refuse(&exprs, "this place")?;
        exprs.iter().try_for_each(refuse_in_subqueries)?;
        let plan = plan.map_children(|child| self.closed(child).map(Transformed::yes).map_err(Into::into)).map_err(broken)?;
        Ok(Placed { plan: plan.data, made: Vec::new() })
    }

    /// `expr` with the columns of answers in the place of its calls, which `below` now makes.
    fn answered(&self, expr: Expr, below: &mut Placed) -> Result<Expr> {
        refuse_conditional(&expr)?;
        let answered = expr.transform_up(|inner| {
            let Some((callee, args)) = called(&inner) else { return Ok(Transformed::no(inner)) };
            if let Some((_, column)) = below.made.iter().find(|(call, _)| *call == inner) {
                return Ok(Transformed::yes(column.clone()));
            }
            let id = (self.fresh)(callee.name());
            let column = Expr::Column(datafusion::common::Column::new_unqualified(&id));
            below.plan = CallNode::plan(std::mem::take(&mut below.plan), callee.clone(), args.to_vec(), vec![id])?;
            below.made.push((inner, column.clone()));
            Ok(Transformed::yes(column))
        });
        answered.map(|done| done.data).map_err(broken)
    }
}

impl Placed {
    fn filtered(self, condition: Expr) -> Result<Self> {
        let plan = Filter::try_new(condition, self.plan.into()).map(LogicalPlan::Filter).map_err(broken)?;
        Ok(Self { plan, ..self })
    }
}

/// Refuses calls that are not made for every row.
fn refuse_conditional(expr: &Expr) -> Result<()> {
    refuse_in_subqueries(expr)?;
    let conditional = |inner: &Expr| match inner {
        Expr::Case(_) => first_called(inner).map(|name| (name, "CASE, or what is evaluated for some rows only")),
        _ => None,
    };
    refuse_where(expr, conditional)
}

/// Refuses calls in subqueries that stand in an expression.
fn refuse_in_subqueries(expr: &Expr) -> Result<()> {
    let subquery = |inner: &Expr| {
        let plan = match inner {
            Expr::ScalarSubquery(subquery) => &subquery.subquery,
            Expr::InSubquery(within) => &within.subquery.subquery,
            Expr::Exists(exists) => &exists.subquery.subquery,
            _ => return None,
        };
        first_called_in(plan).map(|name| (name, "a subquery expression"))
    };
    refuse_where(expr, subquery)
}

/// Refuses `expr` if any part of it is a call out of place: its function, and the place.
fn refuse_where(expr: &Expr, misplaces: impl Fn(&Expr) -> Option<(String, &'static str)>) -> Result<()> {
    let mut found = None;
    let walked = expr.apply(|inner| {
        found = misplaces(inner);
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    walked.map_err(broken)?;
    match found {
        Some((name, place)) => Err(misplaced(&name, place)),
        None => Ok(()),
    }
}

/// Refuses calls in `exprs`, which stand in `place`.
pub(in crate::plan) fn refuse<'a>(exprs: impl IntoIterator<Item = &'a Expr>, place: &str) -> Result<()> {
    match exprs.into_iter().find_map(first_called) {
        Some(name) => Err(misplaced(&name, place)),
        None => Ok(()),
    }
}

fn first_called_in(plan: &LogicalPlan) -> Option<String> {
    let mut found = None;
    let _ = plan.apply_with_subqueries(|node| {
        found = node.expressions().iter().find_map(first_called);
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

fn misplaced(name: &str, place: &str) -> Error {
    let message = format!(
        "{name} asks the outside world and cannot be called in {place}: call it in the SELECT list or WHERE of a subquery"
    );
    Error::spark(ErrorKind::Config, "UNSUPPORTED_EXPR_FOR_OPERATOR", message)
}

fn broken(error: datafusion::error::DataFusionError) -> Error {
    from_datafusion(error, ErrorKind::Internal)
}
