//! `window(time, size, …)` in a SELECT: its rows get a column with the start of their window, or one row per window.
//!
//! Everywhere in the SELECT the window then stands for what is computed from that start, and GROUP BY groups by the start alone:
//! one number instead of a struct of two. `session_window(time, gap)` gives rows a column with the session that each alone is.

use std::ops::ControlFlow;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, lit};
use sqlparser::ast::{self, Visit, Visitor};

use super::super::Typed;
use super::super::functions::session_window::{Gap, of_row};
use super::super::functions::time_window::{WindowFunction, WindowSpec, from_start, misplaced, starts_of, window_function};
use super::columns::{Access, Attribute, Relation, column};
use super::planner::{Env, Planner, broken};
use super::scope::QueryScope;
use super::{generate, grouping};
use crate::error::{Error, ErrorKind, Result};

/// The window of a SELECT.
pub(super) struct TimeWindow {
    /// The call as it was resolved.
    marker: Expr,
    /// The column that SQL calls `window`.
    named: Expr,
    /// The column that stands for it in GROUP BY: its start, or the session of a row.
    key: Attribute,
    /// What both stand for.
    value: Expr,
}

/// `input` with the window that the lists of `select` and the ORDER BY behind it use, if they use one.
pub(super) fn added(
    planner: &Planner<'_>,
    input: Relation,
    select: &ast::Select,
    order_by: Option<&ast::OrderBy>,
    env: &Env<'_>,
) -> Result<(Relation, Option<TimeWindow>)> {
    let mut calls = Calls::default();
    // The visitor never stops.
    let _ = select.projection.visit(&mut calls);
    let _ = select.group_by.visit(&mut calls);
    let _ = select.having.visit(&mut calls);
    if let Some(order_by) = order_by {
        let _ = order_by.visit(&mut calls);
    }
    with_window_of(planner, input, &calls, env)
}

/// `input` with the window that the condition of a WHERE uses, if it uses one. Its columns keep to the WHERE.
pub(super) fn added_for_where(
    planner: &Planner<'_>,
    input: Relation,
    condition: &ast::Expr,
    env: &Env<'_>,
) -> Result<(Relation, Option<TimeWindow>)> {
    let mut calls = Calls::default();
    let _ = condition.visit(&mut calls);
    let columns = input.columns.clone();
    let (input, window) = with_window_of(planner, input, &calls, env)?;
    Ok((Relation { columns, ..input }, window))
}

fn with_window_of(
    planner: &Planner<'_>,
    input: Relation,
    calls: &Calls,
    env: &Env<'_>,
) -> Result<(Relation, Option<TimeWindow>)> {
    let mut markers: Vec<Expr> = Vec::new();
    for call in &calls.found {
        let marker = QueryScope::new(planner, env, vec![&input.columns]).resolve(call)?.expr;
        if !markers.contains(&marker) {
            markers.push(marker);
        }
    }
    match markers.len() {
        0 => return Ok((input, None)),
        1 => {}
        _ => {
            let message = "Multiple time/session window expressions would result in a cartesian product of rows, therefore they are currently \
                           not supported.";
            return Err(Error::spark(ErrorKind::Config, "_LEGACY_ERROR_TEMP_1039", message));
        }
    }
    let Some(marker) = markers.pop() else { return Ok((input, None)) };
    match window_function(&marker) {
        Some((WindowFunction::Marker(spec), time)) => {
            let time = time.clone();
            with_starts(planner, input, marker, spec, time)
        }
        _ => with_sessions(planner, input, marker),
    }
}

/// Calls of `window` and `session_window` in the parts of a SELECT, but not in its subqueries.
#[derive(Default)]
struct Calls {
    depth: usize,
    found: Vec<ast::Expr>,
}

impl Visitor for Calls {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &ast::Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &ast::Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        if self.depth == 0 && is_window(expr) {
            self.found.push(expr.clone());
        }
        ControlFlow::Continue(())
    }
}

fn is_window(expr: &ast::Expr) -> bool {
    let ast::Expr::Function(function) = expr else { return false };
    let [ast::ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return false };
    ["window", "session_window"].iter().any(|window| name.value.eq_ignore_ascii_case(window))
}

fn with_starts(
    planner: &Planner<'_>,
    input: Relation,
    marker: Expr,
    spec: WindowSpec,
    time: Expr,
) -> Result<(Relation, Option<TimeWindow>)> {
    use datafusion::logical_expr::ExprSchemable;
    let data_type = time.get_type(input.plan.schema().as_ref()).map_err(broken)?;
    let start_id = planner.fresh("window_start");
    let starts = starts_of(spec, Typed { expr: time.clone(), data_type: data_type.clone(), nullable: true });
    let mut plan = if spec.size_us == spec.slide_us {
        let known = Filter::try_new(time.is_not_null(), input.plan.into()).map_err(broken)?;
        with_column(planner, LogicalPlan::Filter(known), starts.expr, &start_id)?
    } else {
        generate::elements(input.plan, starts.expr, &start_id, data_type.clone())?
    };
    let start = Attribute {
        name: "window_start".to_owned(),
        qualifier: None,
        id: start_id,
        data_type,
        nullable: false,
        access: Access::Qualified,
    };
    let window = from_start(spec.size_us, start.typed());
    let window_id = planner.fresh("window");
    plan = with_column(planner, plan, window.expr.clone(), &window_id)?;
    let attribute = Attribute {
        name: "window".to_owned(),
        qualifier: None,
        id: window_id,
        data_type: window.data_type,
        nullable: false,
        access: Access::Named,
    };
    let named = column(&attribute.id);
    let mut columns = input.columns;
    columns.push(attribute);
    Ok((Relation { plan, columns }, Some(TimeWindow { marker, named, key: start, value: window.expr })))
}

/// A column with the session that each row alone is; rows that are in none are left out.
fn with_sessions(planner: &Planner<'_>, input: Relation, marker: Expr) -> Result<(Relation, Option<TimeWindow>)> {
    let (session, gap) = of_row(&marker).ok_or_else(|| Error::internal("a window that is none"))?;
    let id = planner.fresh("session_window");
    // Spark sees that a gap of null leaves nothing, so that no row moves the watermark either.
    let plan = match gap {
        Gap::Null => LogicalPlan::Filter(Filter::try_new(lit(false), input.plan.into()).map_err(broken)?),
        Gap::Fixed(_) | Gap::PerRow => input.plan,
    };
    let plan = with_column(planner, plan, session.expr, &id)?;
    let plan = LogicalPlan::Filter(Filter::try_new(column(&id).is_not_null(), plan.into()).map_err(broken)?);
    let key = Attribute {
        name: "session_window".to_owned(),
        qualifier: None,
        id,
        data_type: session.data_type,
        nullable: false,
        access: Access::Named,
    };
    let named = column(&key.id);
    let mut columns = input.columns;
    columns.push(key.clone());
    Ok((Relation { plan, columns }, Some(TimeWindow { marker, value: named.clone(), named, key })))
}

fn with_column(planner: &Planner<'_>, plan: LogicalPlan, expr: Expr, id: &str) -> Result<LogicalPlan> {
    let mut exprs: Vec<Expr> = plan.schema().fields().iter().map(|field| column(field.name())).collect();
    exprs.push(expr.alias(id));
    planner.project(plan, exprs)
}

impl TimeWindow {
    /// `expr` with the window computed from its start.
    pub(super) fn computed(&self, expr: Expr) -> Result<Expr> {
        let replaced = expr.transform_down(|node| {
            let stands_for_window = node == self.marker || node == self.named;
            Ok(if stands_for_window { Transformed::yes(self.value.clone()) } else { Transformed::no(node) })
        });
        replaced.map(|done| done.data).map_err(broken)
    }

    /// Groups by the start where the window is grouped by.
    pub(super) fn group(&self, grouping: &mut grouping::Grouping) -> Result<()> {
        for (index, key) in grouping.keys.iter_mut().enumerate() {
            key.expr = self.computed(key.expr.clone())?;
            if key.expr != self.value {
                continue;
            }
            let is_in_all = grouping.sets.iter().flatten().all(|set| set.contains(&index));
            if !is_in_all && of_row(&self.marker).is_some() {
                return Err(Error::config("session_window must be in all grouping sets: without it rows are in no session"));
            }
            key.expr = column(&self.key.id);
            key.data_type = self.key.data_type.clone();
        }
        Ok(())
    }
}

/// Refuses a window in a place where no rows can be made of it.
pub(super) fn refuse(expr: &Expr) -> Result<()> {
    let is_marker = |node: &Expr| matches!(window_function(node), Some((WindowFunction::Marker(_), _))) || of_row(node).is_some();
    if expr.exists(|node| Ok(is_marker(node))).map_err(broken)? { Err(misplaced()) } else { Ok(()) }
}
