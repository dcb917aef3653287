//! Arithmetic with dates, timestamps and intervals.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{
    DataType, Date32Type, DurationMicrosecondType, DurationSecondType, Int32Type, Int64Type, TimestampMicrosecondType,
};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::arithmetic::{self, Arithmetic, different_types, is_days, shared, unexpected_type, wrong_type};
use super::arithmetic_kernel::{Failure, interval_overflow, overflow, zip};
use super::coercion::tightest_type;
use super::literal::literal;
use super::native::{Kernel, Operand, call};
use super::temporal_kernel;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::cast::interval::values as interval_values;
use crate::plan::spark::cast::time::{DAY_US, Zone};
use crate::plan::spark::cast::{CastMode, cast};
use crate::plan::spark::types::interval::{IntervalRange, is_interval};
use crate::plan::spark::types::{calendar_interval, day_interval, day_time_interval, is_numeric, timestamp, year_month_interval};
use crate::plan::spark::{PlanSettings, Typed};

/// Whether arithmetic with a value of this type is this module's.
pub(super) fn concerns(data_type: &DataType) -> bool {
    is_time(data_type) || is_interval(data_type) || *data_type == calendar_interval()
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Timestamp(..))
}

pub(super) fn arithmetic(op: Arithmetic, left: Typed, right: Typed, mode: CastMode, settings: &PlanSettings) -> Result<Typed> {
    use Arithmetic as O;
    let (l, r) = (left.data_type.clone(), right.data_type.clone());
    if l == DataType::Null || r == DataType::Null {
        return beside_null(op, left, right, mode, settings);
    }
    if l == calendar_interval() || r == calendar_interval() {
        return match op {
            O::Add if is_time(&l) => shift_by_calendar(left, right, false, mode, settings),
            O::Add if is_time(&r) => shift_by_calendar(right, left, false, mode, settings),
            O::Subtract if is_time(&l) => shift_by_calendar(left, right, true, mode, settings),
            _ => Err(super::unsupported(&format!("`{}` of INTERVAL, which make_interval makes,", op.symbol()))),
        };
    }
    match op {
        O::Add if is_time(&l) && is_interval(&r) => shift(left, right, false, mode, settings),
        O::Add if is_interval(&l) && is_time(&r) => shift(right, left, false, mode, settings),
        O::Subtract if is_time(&l) && is_interval(&r) => shift(left, right, true, mode, settings),
        O::Add if l == r && is_time(&l) && l != DataType::Date32 => Err(wrong_type(op, &left, &right)),
        O::Subtract if is_time(&l) && l != DataType::Date32 && is_numeric(&r) => Err(unexpected_type(op.symbol(), &r)),
        O::Subtract if is_numeric(&l) && is_time(&r) => Err(unexpected_type(op.symbol(), &l)),
        O::Add if l == DataType::Date32 => add_days(left, right, false, settings),
        O::Add if r == DataType::Date32 => add_days(right, left, false, settings),
        O::Subtract if is_time(&l) && (is_time(&r) || r == DataType::Utf8) || l == DataType::Utf8 && is_time(&r) => {
            difference(left, right, settings)
        }
        O::Subtract if l == DataType::Date32 => add_days(left, right, true, settings),
        O::Add | O::Subtract if is_interval(&l) && is_interval(&r) => {
            let months = is_months(&l);
            let Some(common) = tightest_interval(&l, &r) else { return Err(beside_interval(op, &left, &right)) };
            // In microseconds, so that days overflow where Spark's do.
            let plain = if months { year_month_interval() } else { day_time_interval() };
            let (left, right) = (as_plain(left, &plain, settings)?, as_plain(right, &plain, settings)?);
            cast(arithmetic::same_interval(op, left, right, plain, mode), &common, CastMode::Ansi, settings)
        }
        O::IntegerDivide if is_interval(&l) && is_interval(&r) => {
            let Some(common) = tightest_interval(&l, &r) else { return Err(different_types(op.symbol(), &left, &right)) };
            let (left, right) = (as_plain(left, &common, settings)?, as_plain(right, &common, settings)?);
            let nullable = left.nullable || right.nullable;
            Ok(call(Temporal::Times, vec![left.expr, right.expr], DataType::Int64, nullable, true))
        }
        O::Multiply | O::Divide if is_interval(&l) && is_interval(&r) => Err(unexpected_type(op.symbol(), &r)),
        O::Add if is_text_beside(&l, &r) => text_shift(left, right, false, mode, settings),
        O::Subtract if l == DataType::Utf8 && is_text_beside(&l, &r) => text_shift(left, right, true, mode, settings),
        O::Add | O::Subtract if (is_interval(&l) || is_interval(&r)) && l != DataType::Utf8 && r != DataType::Utf8 => {
            Err(beside_interval(op, &left, &right))
        }
        O::Multiply if is_interval(&l) => scale(op, left, right, mode, settings),
        O::Multiply if is_interval(&r) => scale(op, right, left, mode, settings),
        O::Divide if is_interval(&l) => scale(op, left, right, mode, settings),
        // `date / date`: of one type, but not one that there is such an operation of.
        _ if l == r => Err(wrong_type(op, &left, &right)),
        _ if is_interval(&l) || is_interval(&r) => Err(different_types(op.symbol(), &left, &right)),
        _ if l == DataType::Utf8 || r == DataType::Utf8 => Err(wrong_type(op, &left, &right)),
        _ => Err(different_types(op.symbol(), &left, &right)),
    }
}

/// What is wrong with a sum that has an interval. Beside one of days and times a time is wanted.
fn beside_interval(op: Arithmetic, left: &Typed, right: &Typed) -> Error {
    let of_days = |side: &Typed| is_interval(&side.data_type) && !is_months(&side.data_type);
    match op {
        _ if of_days(right) => unexpected_type(op.symbol(), &left.data_type),
        Arithmetic::Subtract if is_time(&right.data_type) => unexpected_type(op.symbol(), &left.data_type),
        Arithmetic::Add if of_days(left) => unexpected_type(op.symbol(), &right.data_type),
        _ => different_types(op.symbol(), left, right),
    }
}

fn is_months(data_type: &DataType) -> bool {
    IntervalRange::of(data_type).is_some_and(IntervalRange::is_months)
}

/// `text ± interval`: the text is a time, and so is the result.
fn text_shift(left: Typed, right: Typed, negative: bool, mode: CastMode, settings: &PlanSettings) -> Result<Typed> {
    let (text, interval) = if left.data_type == DataType::Utf8 { (left, right) } else { (right, left) };
    let time = cast(text, &timestamp(), CastMode::Ansi, settings)?;
    cast(shift(time, interval, negative, mode, settings)?, &DataType::Utf8, CastMode::Ansi, settings)
}

/// Whether one is a text and the other a day-time interval: the text is then read as a time.
fn is_text_beside(l: &DataType, r: &DataType) -> bool {
    let other = match (l, r) {
        (DataType::Utf8, other) | (other, DataType::Utf8) => other,
        _ => return false,
    };
    IntervalRange::of(other).is_some_and(|range| !range.is_months())
}

/// One side is null: it takes the type that makes the operation one of times or intervals.
fn beside_null(op: Arithmetic, left: Typed, right: Typed, mode: CastMode, settings: &PlanSettings) -> Result<Typed> {
    let known = if left.data_type == DataType::Null { right.data_type.clone() } else { left.data_type.clone() };
    let as_known = |value: Typed| cast(value, &known, CastMode::Ansi, settings);
    match op {
        Arithmetic::Add if is_time(&known) => {
            let result = if known == DataType::Date32 { timestamp() } else { known };
            cast(literal(ScalarValue::Null), &result, CastMode::Ansi, settings)
        }
        Arithmetic::Subtract if is_time(&known) => difference(as_known(left)?, as_known(right)?, settings),
        Arithmetic::Add | Arithmetic::Subtract => arithmetic(op, as_known(left)?, as_known(right)?, mode, settings),
        Arithmetic::Multiply if left.data_type == DataType::Null => scale(op, right, left, mode, settings),
        Arithmetic::Multiply | Arithmetic::Divide if is_interval(&left.data_type) => scale(op, left, right, mode, settings),
        _ => Err(different_types(op.symbol(), &left, &right)),
    }
}

/// The interval type that two have in common.
pub(super) fn tightest_interval(a: &DataType, b: &DataType) -> Option<DataType> {
    Some(IntervalRange::of(a)?.with(IntervalRange::of(b)?)?.data_type())
}

/// The type that computes what `range` shows: days, microseconds or months.
fn plain_type(range: &DataType) -> DataType {
    match IntervalRange::of(range) {
        Some(IntervalRange { first: 2, last: 2 }) => day_interval(),
        Some(range) if range.is_months() => year_month_interval(),
        _ => day_time_interval(),
    }
}

/// An interval as one that is computed with, beside one of type `beside`. A literal stays one.
pub(super) fn as_plain(value: Typed, beside: &DataType, settings: &PlanSettings) -> Result<Typed> {
    match &value.expr {
        Expr::Literal(ScalarValue::Decimal64(us, ..), _) => Ok(literal(ScalarValue::DurationMicrosecond(*us))),
        Expr::Literal(ScalarValue::Decimal32(months, ..), _) => Ok(literal(ScalarValue::IntervalYearMonth(*months))),
        _ => cast(value, &plain_type(beside), CastMode::Ansi, settings),
    }
}

/// What `compute` makes of an interval, as an interval of the same units.
pub(super) fn on_plain(value: Typed, settings: &PlanSettings, compute: impl FnOnce(Typed) -> Typed) -> Result<Typed> {
    let range = value.data_type.clone();
    let computed = compute(as_plain(value, &range, settings)?);
    cast(computed, &range, CastMode::Ansi, settings)
}

/// `date ± days`.
pub fn add_days(date: Typed, days: Typed, negative: bool, settings: &PlanSettings) -> Result<Typed> {
    let days = match days.data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Null => {
            cast(days, &DataType::Int32, CastMode::Ansi, settings)?
        }
        ref other => return Err(unexpected_type(if negative { "date - days" } else { "date + days" }, other)),
    };
    let nullable = date.nullable || days.nullable;
    Ok(call(Temporal::AddDays { negative }, vec![date.expr, days.expr], DataType::Date32, nullable, false))
}

/// `time - time`: days between dates, else an interval.
fn difference(left: Typed, right: Typed, settings: &PlanSettings) -> Result<Typed> {
    let dates = |a: &DataType, b: &DataType| *a == DataType::Date32 && matches!(b, DataType::Date32 | DataType::Utf8);
    let days = dates(&left.data_type, &right.data_type) || dates(&right.data_type, &left.data_type);
    let common = if days {
        DataType::Date32
    } else {
        match tightest_type(&left.data_type, &right.data_type) {
            Some(DataType::Date32) | None => timestamp(),
            Some(common) => common,
        }
    };
    let left = cast(left, &common, CastMode::Ansi, settings)?;
    let right = cast(right, &common, CastMode::Ansi, settings)?;
    let nullable = left.nullable || right.nullable;
    let (kernel, result) = if days {
        (Temporal::DaysBetween, day_interval())
    } else {
        (Temporal::TimeBetween { zone: settings.time_zone.clone() }, day_time_interval())
    };
    Ok(call(kernel, vec![left.expr, right.expr], result, nullable, true))
}

/// `time ± interval`.
fn shift(time: Typed, interval: Typed, negative: bool, mode: CastMode, settings: &PlanSettings) -> Result<Typed> {
    let beside = interval.data_type.clone();
    let interval = as_plain(interval, &beside, settings)?;
    let days = is_days(&interval.data_type);
    let months = matches!(interval.data_type, DataType::Interval(_));
    // A date plus hours is a time of that day.
    let time = if time.data_type == DataType::Date32 && !days && !months {
        cast(time, &timestamp(), CastMode::Ansi, settings)?
    } else {
        time
    };
    let interval =
        if days && time.data_type != DataType::Date32 { as_plain(interval, &day_time_interval(), settings)? } else { interval };
    let nullable = time.nullable || interval.nullable || mode == CastMode::Try;
    let result = time.data_type.clone();
    let kernel = Temporal::Shift { negative, mode, zone: settings.time_zone.clone() };
    Ok(call(kernel, vec![time.expr, interval.expr], result, nullable, mode == CastMode::Ansi))
}

/// `time ± interval` of months, days and microseconds, in this order.
fn shift_by_calendar(time: Typed, interval: Typed, negative: bool, mode: CastMode, settings: &PlanSettings) -> Result<Typed> {
    let nullable = time.nullable || interval.nullable || mode == CastMode::Try;
    let result = time.data_type.clone();
    let kernel = Temporal::ShiftByCalendar { negative, mode, zone: settings.time_zone.clone() };
    Ok(call(kernel, vec![time.expr, interval.expr], result, nullable, mode == CastMode::Ansi))
}

/// The time and the interval that `expr` adds to it, or takes from it, if that is what it does.
pub fn shifted(expr: &Expr) -> Option<(&Expr, &Expr, bool)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let negative = match call.func.name() {
        "add_interval" => false,
        "subtract_interval" => true,
        _ => return None,
    };
    match call.args.as_slice() {
        [time, interval] => Some((time, interval, negative)),
        _ => None,
    }
}

/// `interval * number`, `interval / number`.
fn scale(op: Arithmetic, interval: Typed, number: Typed, mode: CastMode, settings: &PlanSettings) -> Result<Typed> {
    let target = match &number.data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => DataType::Int64,
        decimal @ DataType::Decimal128(..) => decimal.clone(),
        DataType::Utf8 | DataType::Null | DataType::Float32 | DataType::Float64 => DataType::Float64,
        other => return Err(unexpected_type(op.symbol(), other)),
    };
    let number = cast(number, &target, CastMode::Ansi, settings)?;
    let result = if is_months(&interval.data_type) { year_month_interval() } else { day_time_interval() };
    let interval = as_plain(interval, &result, settings)?;
    let nullable = interval.nullable || number.nullable || mode == CastMode::Try;
    let kernel = Temporal::Scale { divide: op == Arithmetic::Divide, mode };
    Ok(call(kernel, vec![interval.expr, number.expr], result, nullable, mode == CastMode::Ansi))
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Temporal {
    Times,
    AddDays {
        negative: bool,
    },
    DaysBetween,
    /// By what clocks show in the zone.
    TimeBetween {
        zone: Arc<str>,
    },
    Shift {
        negative: bool,
        mode: CastMode,
        zone: Arc<str>,
    },
    ShiftByCalendar {
        negative: bool,
        mode: CastMode,
        zone: Arc<str>,
    },
    Scale {
        divide: bool,
        mode: CastMode,
    },
}

impl Kernel for Temporal {
    fn name(&self) -> &str {
        match self {
            Temporal::Times => "divide_intervals",
            Temporal::AddDays { negative: false } => "date_add",
            Temporal::AddDays { negative: true } => "date_sub",
            Temporal::DaysBetween => "days_between",
            Temporal::TimeBetween { .. } => "time_between",
            Temporal::Shift { negative: false, .. } => "add_interval",
            Temporal::Shift { negative: true, .. } => "subtract_interval",
            Temporal::ShiftByCalendar { negative: false, .. } => "add_calendar_interval",
            Temporal::ShiftByCalendar { negative: true, .. } => "subtract_calendar_interval",
            Temporal::Scale { divide: false, .. } => "multiply_interval",
            Temporal::Scale { divide: true, .. } => "divide_interval",
        }
    }

    fn run(&self, args: &[Operand], rows: usize) -> Result<ArrayRef> {
        let pair = || (&args[0], &args[1]);
        match self {
            Temporal::Times => {
                let [a, b] = [&args[0], &args[1]].map(|operand| {
                    let array = shared(interval_values(operand.array.as_ref())?);
                    Ok::<_, Error>(Operand { array, scalar: operand.scalar })
                });
                let divide = |a: i64, b: i64| match b {
                    0 => Err(Failure::ByZero),
                    b => a.checked_div(b).ok_or(Failure::Overflow),
                };
                let fail = |failure, _, _| match failure {
                    Failure::ByZero => Error::spark(ErrorKind::Data, "DIVIDE_BY_ZERO", "an interval is divided by zero"),
                    Failure::Overflow => interval_overflow(),
                };
                Ok(shared(zip::<Int64Type, Int64Type, Int64Type>((&a?, &b?), rows, CastMode::Ansi, divide, fail)?))
            }
            Temporal::AddDays { negative } => {
                // Spark does not look whether this fits.
                let add = |date: i32, days: i32| Ok(if *negative { date.wrapping_sub(days) } else { date.wrapping_add(days) });
                let sum = zip::<Date32Type, Int32Type, Date32Type>(pair(), rows, CastMode::Ansi, add, |_, _, _| overflow(""))?;
                Ok(shared(sum))
            }
            Temporal::DaysBetween => {
                // An interval of days is as long as its microseconds can be counted.
                const DAYS_MAX: i64 = i64::MAX / DAY_US;
                let between = |a: i32, b: i32| {
                    let days = i64::from(a) - i64::from(b);
                    if days.abs() <= DAYS_MAX { Ok(days * 86_400) } else { Err(Failure::Overflow) }
                };
                let days =
                    zip::<Date32Type, Date32Type, DurationSecondType>(pair(), rows, CastMode::Ansi, between, |_, _, _| {
                        Error::new(ErrorKind::Data, "two dates lie further apart than an interval is long")
                    })?;
                Ok(shared(days))
            }
            Temporal::TimeBetween { zone } => {
                let zone = match args[0].array.data_type() {
                    DataType::Timestamp(_, Some(_)) => Zone::parse(zone).unwrap_or(Zone::Fixed(0)),
                    _ => Zone::Fixed(0),
                };
                let between = |a: i64, b: i64| match a.checked_sub(b) {
                    // Offsets may differ by more than what is left.
                    Some(us) => us.checked_add(zone.offset_at(a) - zone.offset_at(b)),
                    None => i64::try_from(zone.clock(a).wide() - zone.clock(b).wide()).ok(),
                };
                let between = |a: i64, b: i64| between(a, b).ok_or(Failure::Overflow);
                Ok(shared(zip::<TimestampMicrosecondType, TimestampMicrosecondType, DurationMicrosecondType>(
                    pair(),
                    rows,
                    CastMode::Ansi,
                    between,
                    |_, _, _| Error::new(ErrorKind::Data, "two times lie further apart than an interval is long"),
                )?))
            }
            Temporal::Shift { negative, mode, zone } => temporal_kernel::shift(pair(), rows, *negative, *mode, zone),
            Temporal::ShiftByCalendar { negative, mode, zone } => {
                temporal_kernel::shift_by_calendar(pair(), rows, *negative, *mode, zone)
            }
            Temporal::Scale { divide, mode } => temporal_kernel::scale(pair(), rows, *divide, *mode),
        }
    }
}
