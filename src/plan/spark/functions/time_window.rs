//! Windows of time: `window(time, size[, slide[, start]])` and `window_time`.
//!
//! `window` is not computed where it stands: it is a *marker*, for a row can be in several windows and rows without a time are in
//! none. `relation::time_window` computes the starts of a row's windows below ([`starts_of`]) and puts [`from_start`] in the
//! marker's place. Windows start at multiples of the slide, counted from 1970 (and the given start), also before 1970.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray, TimestampMicrosecondArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;

use super::super::expression::interval_from_text;
use super::super::types::{array_of, timestamp, timestamp_ntz};
use super::super::{Call, Typed};
use super::arguments::{Want, arity, coerce_one, mismatch, struct_of, unexpected_type};
use super::{FunctionSpec, scalar};
use crate::error::{Error, ErrorKind, Result};

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("window(time, size[, slide[, start]])", "The window that a time is in, or the windows if they overlap: a struct of `start` and `end`", "", window),
    scalar("window_time(window)", "The last instant in a window, its event time", "", window_time),
];

/// How windows lie, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WindowSpec {
    /// How long each is; positive.
    pub size_us: i64,
    /// How far their starts lie apart; positive, at most the size.
    pub slide_us: i64,
    /// Where the first after 1970 starts; less than the slide, either way.
    pub start_us: i64,
}

/// What a function here computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WindowFunction {
    /// `window`, before the windows are computed.
    Marker(WindowSpec),
    /// The start of a time's only window.
    Start(WindowSpec),
    /// The starts of a time's windows, the newest first.
    Starts(WindowSpec),
    /// The window that starts at a time and is so many microseconds long.
    Window {
        /// How long it is.
        size_us: i64,
    },
    /// The last instant in a window.
    Time,
}

/// The function of this file that `expr` calls, and its argument.
pub fn window_function(expr: &Expr) -> Option<(WindowFunction, &Expr)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let function = (call.func.inner().as_ref() as &dyn Any).downcast_ref::<Function>()?;
    Some((function.what, call.args.first()?))
}

/// The starts of the windows that a time is in: a list, newest first, or a single one where windows do not overlap.
pub fn starts_of(spec: WindowSpec, time: Typed) -> Typed {
    let time_type = time.data_type.clone();
    if spec.size_us == spec.slide_us {
        return call(WindowFunction::Start(spec), time, time_type, true);
    }
    call(WindowFunction::Starts(spec), time, array_of(time_type), true)
}

/// The window that starts at `start`.
pub fn from_start(size_us: i64, start: Typed) -> Typed {
    let data_type = struct_of([("start", start.data_type.clone()), ("end", start.data_type.clone())]);
    let nullable = start.nullable;
    call(WindowFunction::Window { size_us }, start, data_type, nullable)
}

fn window(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 4)?;
    let parameters = c.args.split_off(1);
    let time = c.args.pop().ok_or_else(|| Error::internal("a call without the arguments it was checked for"))?;
    let size_us = duration_us(&parameters[0])?;
    let slide_us = parameters.get(1).map_or(Ok(size_us), duration_us)?;
    let start_us = parameters.get(2).map_or(Ok(0), duration_us)?;
    let out_of_range = |name: &str, us: i64| {
        mismatch("VALUE_OUT_OF_RANGE", format!("the `{name}` of a window must be positive, but it is {us} µs"))
    };
    let violated = |message: String| Err(mismatch("PARAMETER_CONSTRAINT_VIOLATION", message));
    if size_us <= 0 {
        return Err(out_of_range("window_duration", size_us));
    }
    if slide_us <= 0 {
        return Err(out_of_range("slide_duration", slide_us));
    }
    if slide_us > size_us {
        return violated(format!("the `slide_duration` ({slide_us} µs) must be <= the `window_duration` ({size_us} µs)"));
    }
    if start_us.unsigned_abs() >= slide_us.unsigned_abs() {
        return violated(format!("the `abs(start_time)` ({start_us} µs) must be < the `slide_duration` ({slide_us} µs)"));
    }
    let time = match &time.data_type {
        DataType::Struct(_) => time_of(&c, time)?,
        _ => coerce_one(&c, 0, time, &Want::AnyTimestamp)?,
    };
    let data_type = struct_of([("start", time.data_type.clone()), ("end", time.data_type.clone())]);
    let spec = WindowSpec { size_us, slide_us, start_us };
    Ok(Typed { nullable: false, ..call(WindowFunction::Marker(spec), time, data_type, false) })
}

fn window_time(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 1)?;
    let window = c.args.pop().ok_or_else(|| Error::internal("a call without the argument it was checked for"))?;
    time_of(&c, window)
}

/// The last instant in `window`.
pub(super) fn time_of(c: &Call<'_>, window: Typed) -> Result<Typed> {
    let time = match &window.data_type {
        DataType::Struct(fields) => {
            match fields.iter().map(|field| (field.name().as_str(), field.data_type())).collect::<Vec<_>>()[..] {
                [("start", start), ("end", end)] if start == end && (*end == timestamp() || *end == timestamp_ntz()) => {
                    Some(end.clone())
                }
                _ => None,
            }
        }
        _ => None,
    };
    match time {
        Some(time) => Ok(call(WindowFunction::Time, window, time, true)),
        None => Err(unexpected_type(c, 0, &window.data_type, &Want::Struct)),
    }
}

/// A size, slide or start: a literal text (`10 minutes`) or a whole number of microseconds.
fn duration_us(arg: &Typed) -> Result<i64> {
    let text = match &arg.expr {
        Expr::Literal(ScalarValue::Int32(Some(us)), _) => return Ok(i64::from(*us)),
        Expr::Literal(ScalarValue::Int64(Some(us)), _) => return Ok(*us),
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => text,
        _ => {
            let message = "The duration and time inputs to window must be an integer, long or string literal.";
            return Err(Error::spark(ErrorKind::Config, "_LEGACY_ERROR_TEMP_1207", message));
        }
    };
    let beyond_months = || {
        let message = format!("Intervals greater than a month is not supported ({text}).");
        Error::spark(ErrorKind::Config, "_LEGACY_ERROR_TEMP_3231", message)
    };
    match interval_from_text(text) {
        Ok(Expr::Literal(ScalarValue::DurationSecond(Some(seconds)), _)) => seconds.checked_mul(1_000_000),
        Ok(Expr::Literal(ScalarValue::DurationMicrosecond(Some(us)), _)) => Some(us),
        Ok(_) => return Err(beyond_months()),
        Err(error) if error.condition() == Some("_LEGACY_ERROR_TEMP_0029") => return Err(beyond_months()),
        Err(_) => None,
    }
    .ok_or_else(|| {
        let message = format!("unable to parse '{text}' as an interval; write it as `10 minutes`");
        Error::spark(ErrorKind::Config, "CANNOT_PARSE_INTERVAL", message)
    })
}

fn call(what: WindowFunction, arg: Typed, data_type: DataType, nullable: bool) -> Typed {
    let signature = Signature::any(1, Volatility::Immutable);
    let function = ScalarUDF::new_from_impl(Function { what, data_type: data_type.clone(), signature });
    Typed { expr: function.call(vec![arg.expr]), data_type, nullable }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    what: WindowFunction,
    data_type: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        match self.what {
            WindowFunction::Marker(_) => "window",
            WindowFunction::Start(_) => "window_start",
            WindowFunction::Starts(_) => "window_starts",
            WindowFunction::Window { .. } => "window_from_start",
            WindowFunction::Time => "window_time",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.data_type.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let [arg] = &args.args[..] else { return Err(DataFusionError::Internal("a window function has one argument".into())) };
        let arg = arg.to_array(args.number_rows)?;
        let result = match self.what {
            WindowFunction::Marker(_) => Err(misplaced()),
            WindowFunction::Start(spec) => Ok(self.typed(each(&arg, spec.newest_starts()))),
            WindowFunction::Starts(spec) => self.starts(spec, &arg),
            WindowFunction::Window { size_us } => self.windows(&arg, size_us),
            WindowFunction::Time => {
                let windows = arg.as_struct();
                let ends = each(windows.column(1), |us| us.wrapping_sub(1));
                let nulls = NullBuffer::union(windows.nulls(), ends.nulls());
                Ok(self.typed(TimestampMicrosecondArray::new(ends.values().clone(), nulls)))
            }
        };
        Ok(ColumnarValue::Array(result?))
    }
}

impl Function {
    fn typed(&self, times: TimestampMicrosecondArray) -> ArrayRef {
        Arc::new(times.with_data_type(self.data_type.clone()))
    }

    fn starts(&self, spec: WindowSpec, times: &ArrayRef) -> Result<ArrayRef> {
        let DataType::List(item) = &self.data_type else { return Err(Error::internal("the starts of windows are a list")) };
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let mut starts = Vec::new();
        let mut newest_start = spec.newest_starts();
        let mut offsets = Vec::with_capacity(times.len() + 1);
        offsets.push(0_i32);
        for row in 0..times.len() {
            if times.is_valid(row) {
                let time = times.value(row);
                let mut start = newest_start(time);
                // A window that reaches beyond the last time has it.
                while start.checked_add(spec.size_us).is_none_or(|end| end > time) {
                    starts.push(start);
                    let Some(earlier) = start.checked_sub(spec.slide_us) else { break };
                    start = earlier;
                }
            }
            offsets.push(i32::try_from(starts.len()).map_err(|_| Error::new(ErrorKind::Limit, "rows are in too many windows"))?);
        }
        let starts = TimestampMicrosecondArray::from(starts).with_data_type(item.data_type().clone());
        let list = ListArray::try_new(item.clone(), OffsetBuffer::new(offsets.into()), Arc::new(starts), times.nulls().cloned());
        Ok(Arc::new(list.map_err(super::native::from_arrow)?))
    }

    fn windows(&self, starts: &ArrayRef, size_us: i64) -> Result<ArrayRef> {
        let DataType::Struct(fields) = &self.data_type else { return Err(Error::internal("a window is a struct")) };
        let ends = each(starts, |us| us.saturating_add(size_us)).with_data_type(starts.data_type().clone());
        let columns: Vec<ArrayRef> = vec![starts.clone(), Arc::new(ends)];
        let windows = StructArray::try_new(fields.clone(), columns, starts.nulls().cloned());
        Ok(Arc::new(windows.map_err(super::native::from_arrow)?))
    }
}

impl WindowSpec {
    /// The start of the newest window that holds `us`.
    fn newest_start(&self, us: i64) -> i64 {
        let into = match us.checked_sub(self.start_us) {
            Some(behind) => behind.rem_euclid(self.slide_us),
            None => (i128::from(us) - i128::from(self.start_us)).rem_euclid(i128::from(self.slide_us)) as i64,
        };
        us.saturating_sub(into)
    }

    /// [`Self::newest_start`] for times that mostly come in order: one that is in the last one's window is not divided.
    fn newest_starts(self) -> impl FnMut(i64) -> i64 {
        let mut last = 0..0;
        move |us| {
            if last.contains(&us) {
                return last.start;
            }
            let start = self.newest_start(us);
            // Where numbers end, windows do not lie as elsewhere.
            let is_within = |us: &i64| us.checked_sub(self.start_us).is_some() && *us > i64::MIN;
            last = start..start.checked_add(self.slide_us).filter(|end| is_within(&start) && is_within(end)).unwrap_or(start);
            start
        }
    }
}

fn each(times: &ArrayRef, mut value: impl FnMut(i64) -> i64) -> TimestampMicrosecondArray {
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let values: Vec<i64> = times.values().iter().map(|us| value(*us)).collect();
    TimestampMicrosecondArray::new(values.into(), times.nulls().cloned())
}

/// The refusal of a window where no rows can be made of it.
pub fn misplaced() -> Error {
    let message = "window(…) and session_window(…) can stand in SELECT, WHERE, GROUP BY, HAVING and ORDER BY; compute them in a subquery to use \
                   them elsewhere";
    Error::spark(ErrorKind::Config, "UNSUPPORTED_EXPR_FOR_OPERATOR", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_start_at_multiples_of_the_slide_also_before_1970() {
        let spec = WindowSpec { size_us: 10, slide_us: 10, start_us: 0 };
        assert_eq!([0, 9, 10, -1, -10, -11].map(|us| spec.newest_start(us)), [0, 0, 10, -10, -10, -20]);
        let shifted = WindowSpec { size_us: 10, slide_us: 5, start_us: -2 };
        assert_eq!([0, 3, -2, -3].map(|us| shifted.newest_start(us)), [-2, 3, -2, -7]);
        let ahead = WindowSpec { size_us: 10, slide_us: 10, start_us: 3 };
        // The last place at 3 behind a multiple of ten lies before the first time.
        assert_eq!([i64::MIN, i64::MIN + 1].map(|us| ahead.newest_start(us)), [i64::MIN, i64::MIN + 1]);
    }

    #[test]
    fn times_in_a_row_are_in_the_windows_that_each_is_in_alone() {
        for (slide_us, start_us) in [(10, 0), (7, -3), (i64::MAX, 5), (1 << 62, -(1 << 61))] {
            let spec = WindowSpec { size_us: slide_us, slide_us, start_us };
            let around = |us: i64| (-15..15).map(move |by| us.saturating_add(by));
            let times: Vec<i64> = [i64::MIN, -100, 0, 1000, 1 << 61, i64::MAX].into_iter().flat_map(around).collect();
            let mut starts = spec.newest_starts();
            for us in times.iter().chain(times.iter().rev()) {
                assert_eq!(starts(*us), spec.newest_start(*us), "{us} in {spec:?}");
            }
        }
    }
}
