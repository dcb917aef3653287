//! How long a join of streams remembers the rows of each side.
//!
//! There are two ways to know when a row cannot match any more. If event time is among the keys, a row is over when its key is: the
//! watermark has reached it. Else the condition may bound the event times of one side by those of the other: rows of the other side
//! that are still to come lie after the watermark, so `left > right - 10 minutes` says that left rows that are 10 minutes older than
//! the watermark are over. Of several bounds for a side the weakest counts, as in Spark.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Expr, Join, JoinType, LogicalPlan, Operator};

use super::condition::{Condition, Key, has};
use crate::error::Result;
use crate::plan::event_time::{EventColumn, event_column, only_event_column};
use crate::plan::spark::constant;
use crate::plan::spark::expression::temporal;

/// When the rows of one side are over: once the watermark, plus `ahead_ms`, has reached the time that `value` says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Expiry {
    /// What computes the time from a row of the side.
    pub value: Expr,
    /// What it computes.
    pub column: EventColumn,
    /// How far ahead of the watermark rows are over; mostly negative.
    pub ahead_ms: i64,
}

/// What a join knows about event time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct JoinTimes {
    /// The event time of the left side, by which its rows are late.
    pub left_event: Option<(Column, EventColumn)>,
    /// That of the right side.
    pub right_event: Option<(Column, EventColumn)>,
    /// When rows of the left side are over; `None` is never.
    pub left: Option<Expiry>,
    /// The same for the right side.
    pub right: Option<Expiry>,
    /// Whether the right side's watermark bounds a time of the left side, which need not be an event time.
    pub left_is_bound: bool,
    /// The same the other way round.
    pub right_is_bound: bool,
}

impl JoinTimes {
    /// Those of `join`, whose condition is `condition`.
    ///
    /// # Errors
    /// Kind `Config`, if a side has several event times.
    pub fn of(join: &Join, condition: &Condition) -> Result<Self> {
        let (left_event, right_event) = (event(&join.left)?, event(&join.right)?);
        if let Some((key, column)) = time_key(join, &condition.keys) {
            let over = |value: &Expr| Some(Expiry { value: value.clone(), column, ahead_ms: 0 });
            let (left, right) = (over(&key.left), over(&key.right));
            return Ok(Self { left_event, right_event, left, right, left_is_bound: true, right_is_bound: true });
        }
        let both = &condition.both;
        let (left_bounds, right_bounds) =
            (bounds(both, &right_event, &join.left, join), bounds(both, &left_event, &join.right, join));
        Ok(Self {
            left: expiry(&left_event, &left_bounds),
            right: expiry(&right_event, &right_bounds),
            left_is_bound: !left_bounds.is_empty(),
            right_is_bound: !right_bounds.is_empty(),
            left_event,
            right_event,
        })
    }

    /// Whether Spark runs an outer or semi join with these: the other side's watermark bounds the side that is shown anyway.
    pub fn suffice(&self, join_type: JoinType) -> bool {
        match join_type {
            JoinType::Left | JoinType::LeftSemi => self.left_is_bound,
            JoinType::Right => self.right_is_bound,
            JoinType::Full => self.left_is_bound || self.right_is_bound,
            _ => true,
        }
    }

    /// How far the watermark that a join hands on lies behind the one it sees, in milliseconds: it may still emit rows of such an age.
    pub fn held_back_ms(&self) -> i64 {
        let ahead = [&self.left, &self.right].into_iter().flatten().map(|expiry| expiry.ahead_ms).min();
        ahead.map_or(0, |ahead_ms| ahead_ms.saturating_neg().max(0))
    }
}

fn event(input: &LogicalPlan) -> Result<Option<(Column, EventColumn)>> {
    let found = only_event_column(input, 0..input.schema().fields().len())?;
    Ok(found.map(|(index, traced)| (Column::from(input.schema().qualified_field(index)), traced.column)))
}

/// The first key that is an event time, on the left or else on the right side, and what it holds.
fn time_key<'a>(join: &Join, keys: &'a [Key]) -> Option<(&'a Key, EventColumn)> {
    let on_side = |input: &LogicalPlan, expr: &Expr| {
        let Expr::Column(column) = expr else { return None };
        let traced = event_column(input, input.schema().maybe_index_of_column(column)?)?;
        // The start of a window is not the window's end.
        (!matches!(traced.column, EventColumn::WindowStart { .. })).then_some(traced.column)
    };
    let left = keys.iter().find_map(|key| Some((key, on_side(&join.left, &key.left)?)));
    left.or_else(|| keys.iter().find_map(|key| Some((key, on_side(&join.right, &key.right)?))))
}

/// How far ahead of the watermark rows are over, by a bound on this column.
type Bound = (Column, i64);

/// The bounds of times of the side `own` by `other`, the other side's event time: no row with one up to the watermark will come.
fn bounds(conjuncts: &[Expr], other: &Option<(Column, EventColumn)>, own: &LogicalPlan, join: &Join) -> Vec<Bound> {
    let Some((other, EventColumn::Instant)) = other else { return Vec::new() };
    let bounds = conjuncts.iter().filter_map(|conjunct| bound(conjunct, other, join));
    bounds.filter(|(column, _)| has(own.schema(), column)).collect()
}

/// When rows with the event time `own` are over.
fn expiry(own: &Option<(Column, EventColumn)>, bounds: &[Bound]) -> Option<Expiry> {
    let Some((own, EventColumn::Instant)) = own else { return None };
    let ahead_ms = bounds.iter().filter(|(column, _)| column == own).map(|(_, ahead_ms)| *ahead_ms).min()?;
    Some(Expiry { value: Expr::Column(own.clone()), column: EventColumn::Instant, ahead_ms })
}

/// The column that `conjunct` bounds from below by `other`, and how far ahead of the watermark rows are over by that.
fn bound(conjunct: &Expr, other: &Column, join: &Join) -> Option<Bound> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = conjunct else { return None };
    let (smaller, greater, inclusive) = match op {
        Operator::Lt => (left, right, false),
        Operator::LtEq => (left, right, true),
        Operator::Gt => (right, left, false),
        Operator::GtEq => (right, left, true),
        _ => return None,
    };
    let (smaller, smaller_us) = column_and_offset(smaller, join)?;
    let (greater, greater_us) = column_and_offset(greater, join)?;
    if smaller != other {
        return None;
    }
    // other + a < own + b, and other > watermark: own > watermark + a - b.
    let bound_ms = smaller_us.checked_sub(greater_us)?.div_euclid(1000);
    // The watermark is reached by a row at it, which `<=` still lets match.
    Some((greater.clone(), bound_ms.checked_sub(i64::from(inclusive))?))
}

/// A timestamp column and how many microseconds are added to it.
fn column_and_offset<'a>(expr: &'a Expr, join: &Join) -> Option<(&'a Column, i64)> {
    if let Expr::Column(column) = expr {
        let schema = [&join.left, &join.right].into_iter().find_map(|side| {
            let index = side.schema().maybe_index_of_column(column)?;
            Some(side.schema().field(index).data_type().clone())
        })?;
        return matches!(schema, DataType::Timestamp(TimeUnit::Microsecond, _)).then_some((column, 0));
    }
    let (time, interval, negative) = match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) => match left.column_refs().is_empty() {
            true => (right.as_ref(), left.as_ref(), false),
            false => (left.as_ref(), right.as_ref(), false),
        },
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) => (left.as_ref(), right.as_ref(), true),
        _ => temporal::shifted(expr)?,
    };
    let by_us = microseconds(&constant::evaluate(interval).ok()??)?;
    let (column, offset_us) = column_and_offset(time, join)?;
    let offset_us = if negative { offset_us.checked_sub(by_us)? } else { offset_us.checked_add(by_us)? };
    Some((column, offset_us))
}

/// The length of an interval that has one: months do not.
fn microseconds(interval: &ScalarValue) -> Option<i64> {
    match interval {
        ScalarValue::DurationSecond(Some(s)) => s.checked_mul(1_000_000),
        ScalarValue::DurationMillisecond(Some(ms)) => ms.checked_mul(1000),
        ScalarValue::DurationMicrosecond(Some(us)) => Some(*us),
        ScalarValue::DurationNanosecond(Some(ns)) => (ns % 1000 == 0).then_some(ns / 1000),
        ScalarValue::IntervalDayTime(Some(interval)) => {
            let ms = i64::from(interval.days).checked_mul(86_400_000)?.checked_add(i64::from(interval.milliseconds))?;
            ms.checked_mul(1000)
        }
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 && interval.nanoseconds % 1000 == 0 => {
            i64::from(interval.days).checked_mul(86_400_000_000)?.checked_add(interval.nanoseconds / 1000)
        }
        _ => None,
    }
}
