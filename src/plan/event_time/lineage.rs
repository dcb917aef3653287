//! Which columns of a plan are event times: a watermark's column, the windows over it, and whatever merely renames these.
//!
//! The rules are Spark's, which marks the column and hands the mark on from column to column: a cast or any other computation
//! loses it, `window`, `session_window` and `window_time` keep it, a union has that of its first input.

use std::ops::Range;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, Join, JoinType, LogicalPlan};
use serde::{Deserialize, Serialize};

use super::node::watermark_of;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::functions::session_window::{Gap, SessionFunction, session_function};
use crate::plan::spark::functions::time_window::{WindowFunction, window_function};
use crate::plan::spark::relation::carried::carrying;
use crate::plan::spark::relation::generate::node::Generate;
use crate::plan::spark::relation::{GROUPING_SET, visible_name};

/// How a column says when a row is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

impl EventColumn {
    /// Whether a column of this type can be one.
    pub fn is_of(self, data_type: &DataType) -> bool {
        let is_time = |data_type: &DataType| matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, _));
        match (self, data_type) {
            (Self::Instant | Self::WindowStart { .. }, other) => is_time(other),
            (Self::Window, DataType::Struct(fields)) => {
                fields.iter().any(|field| field.name() == "end" && is_time(field.data_type()))
            }
            (Self::Window, _) => false,
        }
    }
}

/// An event-time column, and how far its watermark stays behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub struct Traced {
    /// What the column holds.
    pub column: EventColumn,
    /// The watermark's delay, in milliseconds.
    pub delay_ms: i64,
}

/// What the column at `index` of `plan` has to do with event time, if it has.
pub fn event_column(plan: &LogicalPlan, index: usize) -> Option<Traced> {
    match origin(plan, index)? {
        Origin::Watermark(traced) => Some(traced),
        Origin::Computed(expr, input) => of_computed(expr, input),
    }
}

/// Where a column comes from.
enum Origin<'a> {
    /// It is the column of a watermark.
    Watermark(Traced),
    /// This expression over the rows of a plan computes it.
    Computed(&'a Expr, &'a LogicalPlan),
}

/// Where the column at `index` of `plan` comes from, past whatever merely hands it on.
fn origin(plan: &LogicalPlan, index: usize) -> Option<Origin<'_>> {
    if let Some(watermark) = watermark_of(plan) {
        if plan.schema().maybe_index_of_column(watermark.column()) == Some(index) {
            let is_window = plan.schema().field(index).data_type().is_nested();
            let column = if is_window { EventColumn::Window } else { EventColumn::Instant };
            return Some(Origin::Watermark(Traced { column, delay_ms: watermark.watermark().delay_ms }));
        }
        return origin(only_input(plan)?, index);
    }
    match plan {
        LogicalPlan::Projection(projection) => origin_of_expr(projection.expr.get(index)?, &projection.input),
        LogicalPlan::Aggregate(Aggregate { group_expr, input, .. }) => match group_expr.as_slice() {
            [Expr::GroupingSet(set)] => origin_of_expr(set.distinct_expr().get(index)?, input),
            keys => origin_of_expr(keys.get(index)?, input),
        },
        LogicalPlan::Distinct(Distinct::All(input)) => origin(input, index),
        LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => {
            origin(only_input(plan)?, index)
        }
        LogicalPlan::Union(union) => origin(union.inputs.first()?, index),
        LogicalPlan::Join(join) => origin_in_join(join, index),
        LogicalPlan::Extension(extension) => {
            let name = plan.schema().field(index).name();
            match carrying(extension.node.as_ref()) {
                Some(carries) if carries.keep().contains(name) => {
                    origin_of_column(&Column::new_unqualified(name), only_input(plan)?)
                }
                // Elements of a list of event times are such; answers of a function are not.
                Some(_) => match extension.node.as_any().downcast_ref::<Generate>() {
                    Some(generate) => origin_of_expr(generate.list(), only_input(plan)?),
                    None => None,
                },
                // Whatever else stands here hands its input's columns on.
                None => origin(only_input(plan)?, index),
            }
        }
        _ => None,
    }
}

fn origin_of_expr<'a>(expr: &'a Expr, plan: &'a LogicalPlan) -> Option<Origin<'a>> {
    match expr {
        Expr::Column(column) => origin_of_column(column, plan),
        Expr::Alias(alias) => origin_of_expr(&alias.expr, plan),
        computed => Some(Origin::Computed(computed, plan)),
    }
}

fn origin_of_column<'a>(column: &Column, plan: &'a LogicalPlan) -> Option<Origin<'a>> {
    origin(plan, plan.schema().maybe_index_of_column(column)?)
}

fn only_input(plan: &LogicalPlan) -> Option<&LogicalPlan> {
    match plan.inputs()[..] {
        [input] => Some(input),
        _ => None,
    }
}

fn of_expr(expr: &Expr, plan: &LogicalPlan) -> Option<Traced> {
    match origin_of_expr(expr, plan)? {
        Origin::Watermark(traced) => Some(traced),
        Origin::Computed(expr, input) => of_computed(expr, input),
    }
}

/// What an expression over the rows of `plan`, other than a column, has to do with event time.
fn of_computed(expr: &Expr, plan: &LogicalPlan) -> Option<Traced> {
    // A key that is null in the grouping sets that it is not part of.
    if let Expr::Case(case) = expr {
        return match (case.expr.is_none(), &case.when_then_expr[..], case.else_expr.as_deref()) {
            (true, [(when, then)], Some(Expr::Literal(null, _))) if ScalarValue::is_null(null) && is_of_grouping_set(when) => {
                of_expr(then, plan)
            }
            _ => None,
        };
    }
    if let Some((SessionFunction::OfRow(_), of)) = session_function(expr) {
        let traced = of_expr(of, plan).filter(|traced| traced.column == EventColumn::Instant)?;
        return Some(Traced { column: EventColumn::Window, ..traced });
    }
    let (function, of) = window_function(expr)?;
    let traced = of_expr(of, plan)?;
    let column = match (function, traced.column) {
        (WindowFunction::Start(spec) | WindowFunction::Starts(spec), EventColumn::Instant) => {
            EventColumn::WindowStart { size_us: spec.size_us }
        }
        (WindowFunction::Window { size_us }, EventColumn::WindowStart { size_us: same }) if size_us == same => {
            EventColumn::Window
        }
        (WindowFunction::Time, EventColumn::Window) => EventColumn::Instant,
        _ => return None,
    };
    Some(Traced { column, ..traced })
}

/// Whether `condition` is the planner's question whether a grouping set has a key, and not one that the query asks.
fn is_of_grouping_set(condition: &Expr) -> bool {
    let columns = condition.column_refs();
    !columns.is_empty() && columns.iter().all(|column| visible_name(&column.name) == GROUPING_SET)
}

/// The key of an aggregation, or column of a DISTINCT, that is a session, and its gap. Rows are not grouped by such a key but put
/// together where their sessions touch.
pub fn session_key(node: &LogicalPlan) -> Option<(usize, Gap)> {
    let keys = match node {
        LogicalPlan::Aggregate(aggregate) => node.schema().fields().len() - aggregate.aggr_expr.len(),
        LogicalPlan::Distinct(Distinct::All(input)) => input.schema().fields().len(),
        _ => return None,
    };
    (0..keys).find_map(|index| match origin(node, index)? {
        Origin::Computed(expr, _) => match session_function(expr)?.0 {
            SessionFunction::OfRow(gap) => Some((index, gap)),
            _ => None,
        },
        Origin::Watermark(_) => None,
    })
}

fn origin_in_join(join: &Join, index: usize) -> Option<Origin<'_>> {
    let left = join.left.schema().fields().len();
    match join.join_type {
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => origin(&join.right, index),
        _ if index < left => origin(&join.left, index),
        _ => origin(&join.right, index - left),
    }
}

/// The event time among the columns `indices` of `plan`.
///
/// # Errors
/// Kind `Config`, if there are several: nobody could say which of them decides.
pub fn only_event_column(plan: &LogicalPlan, indices: Range<usize>) -> Result<Option<(usize, Traced)>> {
    let mut found = indices.filter_map(|index| Some((index, event_column(plan, index)?)));
    let first = found.next();
    if let (Some((first, _)), Some((second, _))) = (first, found.next()) {
        let name = |index: usize| visible_name(plan.schema().field(index).name()).to_owned();
        let message = format!("more than one event time is available: {} and {}; keep one of them", name(first), name(second));
        return Err(Error::spark(ErrorKind::Config, "MULTIPLE_EVENT_TIME_COLUMNS", message));
    }
    Ok(first)
}

/// The key of an aggregation that says when a group ends, if one does.
///
/// # Errors
/// As [`only_event_column`].
pub fn event_key(aggregate: &Aggregate) -> Result<Option<(usize, EventColumn)>> {
    let node = LogicalPlan::Aggregate(aggregate.clone());
    let keys = node.schema().fields().len() - aggregate.aggr_expr.len();
    let found = only_event_column(&node, 0..keys)?;
    if found.is_some() && matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)]) {
        return Err(Error::config("grouping sets over event time are written in SQL, as ROLLUP, CUBE or GROUPING SETS"));
    }
    Ok(found.map(|(index, traced)| (index, traced.column)))
}
