//! Windows of activity: `session_window(time, gap)`.
//!
//! A row alone is a session from its time until the gap has passed; sessions that touch are one. What this function computes for a
//! row is the former; `operator::session` puts sessions together, where an aggregation is keyed by such a column. Like `window` it
//! is a *marker* where it stands: `relation::time_window` computes the column below and leaves out rows that start no session,
//! because they have no time or no positive gap.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray, TimestampMicrosecondArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;

use super::super::cast::time::{Zone, later};
use super::super::expression::{CalendarInterval, calendar_interval};
use super::super::types::sql_name;
use super::super::{Call, Typed};
use super::arguments::{Want, arity, coerce_one, struct_of};
use super::time_window::{misplaced, time_of};
use super::{FunctionSpec, scalar};
use crate::error::{Error, ErrorKind, Result};

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("session_window(time, gap)", "The session that a time is in: a struct of `start` and `end`", "", session_window),
];

/// How long after its last row a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gap {
    /// So long after each row.
    Fixed(CalendarInterval),
    /// What an expression says for each row, as text.
    PerRow,
    /// Never known: no row is in a session.
    Null,
}

/// What a function here does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionFunction {
    /// `session_window`, before the column is there.
    Marker(Gap),
    /// The session of a row alone; null if it is in none.
    OfRow(Gap),
    /// The start of a session.
    Start,
    /// The end of a session.
    End,
}

/// The function of this file that `expr` calls, and its first argument.
pub fn session_function(expr: &Expr) -> Option<(SessionFunction, &Expr)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let function = (call.func.inner().as_ref() as &dyn Any).downcast_ref::<Function>()?;
    Some((function.what, call.args.first()?))
}

/// What the column below a `marker` of this file computes, and the gap.
pub fn of_row(marker: &Expr) -> Option<(Typed, Gap)> {
    let Expr::ScalarFunction(call) = marker else { return None };
    let function = (call.func.inner().as_ref() as &dyn Any).downcast_ref::<Function>()?;
    let SessionFunction::Marker(gap) = function.what else { return None };
    let of_row = Function { what: SessionFunction::OfRow(gap), ..function.clone() };
    Some((of_row.call(call.args.clone(), true), gap))
}

/// Start and end of the sessions that `session` yields.
pub fn bounds(session: &Expr, time: &DataType) -> [Expr; 2] {
    [SessionFunction::Start, SessionFunction::End].map(|what| {
        let function = Function { what, data_type: time.clone(), zone: "UTC".into(), signature: signature() };
        function.call(vec![session.clone()], false).expr
    })
}

fn session_window(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 2)?;
    let (Some(gap), Some(time)) = (c.args.pop(), c.args.pop()) else {
        return Err(Error::internal("a call without the arguments it was checked for"));
    };
    let time = match &time.data_type {
        DataType::Struct(_) => time_of(&c, time)?,
        _ => coerce_one(&c, 0, time, &Want::AnyTimestamp)?,
    };
    let how_long = match (&gap.data_type, &gap.expr) {
        (DataType::Null, _) | (_, Expr::Literal(ScalarValue::Utf8(None), _)) => Gap::Null,
        (DataType::Utf8, Expr::Literal(ScalarValue::Utf8(Some(text)), _)) => {
            // For Spark no row would be in a session, without a word.
            let fixed = calendar_interval(text).ok_or_else(|| {
                let message = format!("unable to parse '{text}' as an interval; write it as `10 minutes`");
                Error::spark(ErrorKind::Config, "CANNOT_PARSE_INTERVAL", message)
            })?;
            Gap::Fixed(fixed)
        }
        (DataType::Utf8, _) => Gap::PerRow,
        (other, _) => {
            let message = format!(
                "Gap duration expression used in session window must be CalendarIntervalType, but got {}; write it as text, like \
                 '10 minutes'",
                sql_name(other)
            );
            return Err(Error::spark(ErrorKind::Config, "_LEGACY_ERROR_TEMP_1040", message));
        }
    };
    let data_type = struct_of([("start", time.data_type.clone()), ("end", time.data_type.clone())]);
    let mut args = vec![time.expr];
    if how_long == Gap::PerRow {
        args.push(gap.expr);
    }
    let zone = c.context.settings.time_zone.clone();
    let marker = Function { what: SessionFunction::Marker(how_long), data_type, zone, signature: signature() };
    Ok(marker.call(args, false))
}

fn signature() -> Signature {
    Signature::variadic_any(Volatility::Immutable)
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Function {
    what: SessionFunction,
    data_type: DataType,
    /// Where days and months begin.
    zone: Arc<str>,
    signature: Signature,
}

impl Function {
    fn call(self, args: Vec<Expr>, nullable: bool) -> Typed {
        let data_type = self.data_type.clone();
        Typed { expr: ScalarUDF::new_from_impl(self).call(args), data_type, nullable }
    }

    fn sessions(&self, gap: Gap, args: &[ArrayRef]) -> Result<ArrayRef> {
        let DataType::Struct(fields) = &self.data_type else { return Err(Error::internal("a session is a struct")) };
        let times = args[0].as_primitive::<TimestampMicrosecondType>();
        let zone = match times.data_type() {
            DataType::Timestamp(_, Some(_)) => Zone::parse(&self.zone).unwrap_or(Zone::Fixed(0)),
            _ => Zone::Fixed(0),
        };
        let end = |row: usize, gap: Option<CalendarInterval>| {
            let start = times.is_valid(row).then(|| times.value(row))?;
            gap.and_then(|gap| end_of(start, gap, &zone)).filter(|end| *end > start)
        };
        let ends: TimestampMicrosecondArray = match (gap, args.get(1)) {
            (Gap::Fixed(gap), _) => (0..times.len()).map(|row| end(row, Some(gap))).collect(),
            (Gap::PerRow, Some(gaps)) => {
                let gaps = gaps.as_string::<i32>();
                // There are few different ones.
                let mut known: HashMap<&str, Option<CalendarInterval>> = HashMap::new();
                let mut gap = |row: usize| {
                    let text = gaps.is_valid(row).then(|| gaps.value(row))?;
                    *known.entry(text).or_insert_with(|| calendar_interval(text))
                };
                (0..times.len()).map(|row| end(row, gap(row))).collect()
            }
            _ => TimestampMicrosecondArray::new_null(times.len()),
        };
        let nulls: Option<NullBuffer> = ends.nulls().cloned();
        let ends = ends.with_data_type(times.data_type().clone());
        let sessions = StructArray::try_new(fields.clone(), vec![args[0].clone(), Arc::new(ends)], nulls);
        Ok(Arc::new(sessions.map_err(super::native::from_arrow)?))
    }
}

/// When a session that begins at `start_us` ends: days and months are those of the zone's calendar. Nothing where no calendar goes.
fn end_of(start_us: i64, gap: CalendarInterval, zone: &Zone) -> Option<i64> {
    if gap.months == 0 && gap.days == 0 {
        return start_us.checked_add(gap.us);
    }
    let moved = later(zone.clock(start_us), gap.months, gap.days)?;
    zone.instant(moved)?.checked_add(gap.us)
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        match self.what {
            SessionFunction::Marker(_) => "session_window",
            SessionFunction::OfRow(_) => "session_of_row",
            SessionFunction::Start => "session_start",
            SessionFunction::End => "session_end",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.data_type.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let rows = args.number_rows;
        let args = args.args.iter().map(|arg| arg.to_array(rows)).collect::<DataFusionResult<Vec<_>>>()?;
        if args.is_empty() {
            return Err(DataFusionError::Internal("a session function has an argument".into()));
        }
        let result = match self.what {
            SessionFunction::Marker(_) => Err(misplaced()),
            SessionFunction::OfRow(gap) => self.sessions(gap, &args),
            SessionFunction::Start => Ok(args[0].as_struct().column(0).clone()),
            SessionFunction::End => Ok(args[0].as_struct().column(1).clone()),
        };
        Ok(ColumnarValue::Array(result?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_months_of_a_gap_are_those_of_the_calendar() {
        let end = |text: &str, start: &str, zone: &str| {
            let start = chrono::DateTime::parse_from_rfc3339(start).unwrap().timestamp_micros();
            let end = end_of(start, calendar_interval(text).unwrap(), &Zone::parse(zone).unwrap()).unwrap();
            chrono::DateTime::from_timestamp_micros(end).unwrap().to_rfc3339()
        };
        assert_eq!(end("90 minutes", "2026-01-31T12:00:00Z", "UTC"), "2026-01-31T13:30:00+00:00");
        assert_eq!(end("1 month 1 hour", "2026-01-31T12:00:00Z", "UTC"), "2026-02-28T13:00:00+00:00");
        // The last Sunday of March has 23 hours.
        assert_eq!(end("1 day", "2026-03-28T20:00:00Z", "Europe/Oslo"), "2026-03-29T19:00:00+00:00");
        assert_eq!(end("24 hours", "2026-03-28T20:00:00Z", "Europe/Oslo"), "2026-03-29T20:00:00+00:00");
    }
}
