//! Which columns of a plan are event times: a watermark's column, the windows over it, and whatever merely renames these.
//!
//! The rules are Spark's, which marks the column and hands the mark on from column to column: a cast or any other computation
//! loses it, `window` and `window_time` keep it, a union has that of its first input.

use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, Join, JoinType, LogicalPlan};

use super::node::watermark_of;
use crate::plan::spark::functions::time_window::{WindowFunction, window_function};
use crate::plan::spark::relation::generate::node::Generate;

/// How a column says when a row is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub enum EventColumn {
    /// It is the event time itself.
    Instant,
    /// It is the start of a window that is so many microseconds long.
    WindowStart {
        /// How long the window is.
        size_us: i64,
    },
    /// It is a window, a struct with `end`.
    Window,
}

/// What the column at `index` of `plan` has to do with event time, if it has.
pub fn event_column(plan: &LogicalPlan, index: usize) -> Option<EventColumn> {
    if let Some(watermark) = watermark_of(plan) {
        if plan.schema().maybe_index_of_column(watermark.column()) == Some(index) {
            let is_window = plan.schema().field(index).data_type().is_nested();
            return Some(if is_window { EventColumn::Window } else { EventColumn::Instant });
        }
        return event_column(only_input(plan)?, index);
    }
    match plan {
        LogicalPlan::Projection(projection) => of_expr(projection.expr.get(index)?, &projection.input),
        LogicalPlan::Aggregate(Aggregate { group_expr, input, .. }) => match group_expr.as_slice() {
            [Expr::GroupingSet(set)] => of_expr(set.distinct_expr().get(index)?, input),
            keys => of_expr(keys.get(index)?, input),
        },
        LogicalPlan::Distinct(Distinct::All(input)) => event_column(input, index),
        LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => {
            event_column(only_input(plan)?, index)
        }
        LogicalPlan::Union(union) => event_column(union.inputs.first()?, index),
        LogicalPlan::Join(join) => of_join(join, index),
        LogicalPlan::Extension(extension) => {
            let name = plan.schema().field(index).name();
            match extension.node.as_any().downcast_ref::<Generate>() {
                Some(generate) if generate.keep().contains(name) => of_column(&Column::new_unqualified(name), only_input(plan)?),
                Some(generate) => of_expr(generate.list(), only_input(plan)?),
                None => None,
            }
        }
        _ => None,
    }
}

fn only_input(plan: &LogicalPlan) -> Option<&LogicalPlan> {
    match plan.inputs()[..] {
        [input] => Some(input),
        _ => None,
    }
}

fn of_column(column: &Column, plan: &LogicalPlan) -> Option<EventColumn> {
    event_column(plan, plan.schema().maybe_index_of_column(column)?)
}

/// What `expr` over the rows of `plan` has to do with event time.
pub fn of_expr(expr: &Expr, plan: &LogicalPlan) -> Option<EventColumn> {
    match expr {
        Expr::Column(column) => of_column(column, plan),
        Expr::Alias(alias) => of_expr(&alias.expr, plan),
        // A key that is null in the grouping sets that it is not part of.
        Expr::Case(case) if case.expr.is_none() => match (&case.when_then_expr[..], case.else_expr.as_deref()) {
            ([(_, then)], Some(Expr::Literal(null, _))) if ScalarValue::is_null(null) => of_expr(then, plan),
            _ => None,
        },
        other => {
            let (function, of) = window_function(other)?;
            match (function, of_expr(of, plan)?) {
                (WindowFunction::Start(spec) | WindowFunction::Starts(spec), EventColumn::Instant) => {
                    Some(EventColumn::WindowStart { size_us: spec.size_us })
                }
                (WindowFunction::Window { size_us }, EventColumn::WindowStart { size_us: same }) if size_us == same => {
                    Some(EventColumn::Window)
                }
                (WindowFunction::Time, EventColumn::Window) => Some(EventColumn::Instant),
                _ => None,
            }
        }
    }
}

fn of_join(join: &Join, index: usize) -> Option<EventColumn> {
    let left = join.left.schema().fields().len();
    match join.join_type {
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => event_column(&join.right, index),
        _ if index < left => event_column(&join.left, index),
        _ => event_column(&join.right, index - left),
    }
}
