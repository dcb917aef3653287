//! Arithmetic with dates, timestamps and intervals.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast as arrow_cast;
use arrow::datatypes::{
    DataType, Date32Type, DurationMicrosecondType, DurationSecondType, Float64Type, Int32Type, Int64Type, IntervalYearMonthType,
    TimestampMicrosecondType,
};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::arithmetic::{self, Arithmetic, different_types, is_days, shared, unexpected_type, wrong_type};
use super::arithmetic_kernel::{Failure, interval_overflow, overflow, zip};
use super::coercion::{is_numeric, tightest_type};
use super::literal::literal;
use super::native::{Kernel, Operand, call};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::cast::time::{DAY_US, Zone, add_months};
use crate::plan::spark::cast::{CastMode, cast};
use crate::plan::spark::types::{day_interval, day_time_interval, timestamp, year_month_interval};
use crate::plan::spark::{PlanSettings, Typed};

/// Whether arithmetic with a value of this type is this module's.
pub(super) fn concerns(data_type: &DataType) -> bool {
    is_time(data_type) || is_interval(data_type)
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Timestamp(..))
}

fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Duration(_) | DataType::Interval(_))
}

pub(super) fn arithmetic(op: Arithmetic, left: Typed, right: Typed, mode: CastMode, settings: &PlanSettings) -> Result<Typed> {
    use Arithmetic as O;
    let (l, r) = (left.data_type.clone(), right.data_type.clone());
    if l == DataType::Null || r == DataType::Null {
        return beside_null(op, left, right, mode, settings);
    }
    match op {
        O::Add if is_time(&l) && is_interval(&r) => shift(left, right, false, mode, settings),
        O::Add if is_interval(&l) && is_time(&r) => shift(right, left, false, mode, settings),
        O::Subtract if is_time(&l) && is_interval(&r) => shift(left, right, true, mode, settings),
        O::Add if l == DataType::Date32 => add_days(left, right, false, settings),
        O::Add if r == DataType::Date32 => add_days(right, left, false, settings),
        O::Subtract if is_time(&l) && (is_time(&r) || r == DataType::Utf8) || l == DataType::Utf8 && is_time(&r) => {
            difference(left, right, settings)
        }
        O::Subtract if l == DataType::Date32 => add_days(left, right, true, settings),
        O::Add | O::Subtract if is_interval(&l) && is_interval(&r) => {
            let common = match tightest_interval(&l, &r) {
                Some(common) => common,
                None => return Err(unexpected_type(op.symbol(), &r)),
            };
            let left = widened(left, &common)?;
            let right = widened(right, &common)?;
            Ok(arithmetic::same_interval(op, left, right, common, mode))
        }
        O::IntegerDivide if is_interval(&l) && is_interval(&r) => {
            let Some(common) = tightest_interval(&l, &r) else { return Err(different_types(op.symbol(), &left, &right)) };
            let number = |value: Typed| -> Result<Typed> {
                let value = widened(value, &common)?;
                Ok(call(CountKernel, vec![value.expr], DataType::Int64, value.nullable, false))
            };
            arithmetic::arithmetic(op, number(left)?, number(right)?, mode, settings)
        }
        O::Multiply if is_interval(&l) => scale(op, left, right, mode, settings),
        O::Multiply if is_interval(&r) => scale(op, right, left, mode, settings),
        O::Divide if is_interval(&l) => scale(op, left, right, mode, settings),
        _ if l == DataType::Utf8 || r == DataType::Utf8 => Err(wrong_type(op, &left, &right)),
        _ => Err(different_types(op.symbol(), &left, &right)),
    }
}

/// How many months, seconds or microseconds an interval is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CountKernel;

impl Kernel for CountKernel {
    fn name(&self) -> &str {
        "interval_count"
    }

    fn run(&self, args: &[Operand], _rows: usize) -> Result<ArrayRef> {
        let intervals = &args[0].array;
        let counts = match intervals.data_type() {
            DataType::Interval(_) => Arc::new(intervals.as_primitive::<IntervalYearMonthType>().reinterpret_cast::<Int32Type>()),
            _ => Arc::clone(intervals),
        };
        arrow::compute::cast(&counts, &DataType::Int64)
            .map_err(|error| Error::internal("could not count an interval").because(error))
    }
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
    match (a, b) {
        (a, b) if a == b => Some(a.clone()),
        (DataType::Duration(_), DataType::Duration(_)) => Some(day_time_interval()),
        _ => None,
    }
}

/// An interval of days as one of microseconds, if that is what `to` is.
pub(super) fn widened(value: Typed, to: &DataType) -> Result<Typed> {
    if &value.data_type == to {
        return Ok(value);
    }
    let nullable = value.nullable;
    Ok(call(Temporal::WidenDays, vec![value.expr], to.clone(), nullable, true))
}

/// `date ± days`.
fn add_days(date: Typed, days: Typed, negative: bool, settings: &PlanSettings) -> Result<Typed> {
    let days = match days.data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Null => {
            cast(days, &DataType::Int32, CastMode::Ansi, settings)?
        }
        ref other => return Err(unexpected_type(if negative { "date - days" } else { "date + days" }, other)),
    };
    let nullable = date.nullable || days.nullable;
    Ok(call(Temporal::AddDays { negative }, vec![date.expr, days.expr], DataType::Date32, nullable, true))
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
    let (kernel, result) =
        if days { (Temporal::DaysBetween, day_interval()) } else { (Temporal::TimeBetween, day_time_interval()) };
    Ok(call(kernel, vec![left.expr, right.expr], result, nullable, !days))
}

/// `time ± interval`.
fn shift(time: Typed, interval: Typed, negative: bool, mode: CastMode, settings: &PlanSettings) -> Result<Typed> {
    let days = is_days(&interval.data_type);
    let months = matches!(interval.data_type, DataType::Interval(_));
    // A date plus hours is a time of that day.
    let time = if time.data_type == DataType::Date32 && !days && !months {
        cast(time, &timestamp(), CastMode::Ansi, settings)?
    } else {
        time
    };
    let interval = if days && time.data_type != DataType::Date32 { widened(interval, &day_time_interval())? } else { interval };
    let nullable = time.nullable || interval.nullable || mode == CastMode::Try;
    let result = time.data_type.clone();
    let kernel = Temporal::Shift { negative, mode, zone: settings.time_zone.clone() };
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
        DataType::Utf8 | DataType::Null | DataType::Decimal128(..) | DataType::Float32 | DataType::Float64 => DataType::Float64,
        other if is_numeric(other) => DataType::Float64,
        _ => return Err(different_types(op.symbol(), &interval, &number)),
    };
    let number = cast(number, &target, CastMode::Ansi, settings)?;
    let months = matches!(interval.data_type, DataType::Interval(_));
    let result = if months { year_month_interval() } else { day_time_interval() };
    let interval = if is_days(&interval.data_type) { widened(interval, &result)? } else { interval };
    let nullable = interval.nullable || number.nullable || mode == CastMode::Try;
    let kernel = Temporal::Scale { divide: op == Arithmetic::Divide, mode };
    Ok(call(kernel, vec![interval.expr, number.expr], result, nullable, mode == CastMode::Ansi))
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Temporal {
    WidenDays,
    AddDays { negative: bool },
    DaysBetween,
    TimeBetween,
    Shift { negative: bool, mode: CastMode, zone: Arc<str> },
    Scale { divide: bool, mode: CastMode },
}

impl Kernel for Temporal {
    fn name(&self) -> &str {
        match self {
            Temporal::WidenDays => "interval_in_microseconds",
            Temporal::AddDays { negative: false } => "date_add",
            Temporal::AddDays { negative: true } => "date_sub",
            Temporal::DaysBetween => "days_between",
            Temporal::TimeBetween => "time_between",
            Temporal::Shift { negative: false, .. } => "add_interval",
            Temporal::Shift { negative: true, .. } => "subtract_interval",
            Temporal::Scale { divide: false, .. } => "multiply_interval",
            Temporal::Scale { divide: true, .. } => "divide_interval",
        }
    }

    fn run(&self, args: &[Operand], rows: usize) -> Result<ArrayRef> {
        let pair = || (&args[0], &args[1]);
        match self {
            Temporal::WidenDays => {
                let days = args[0].array.as_primitive::<DurationSecondType>();
                let wide = days
                    .try_unary::<_, DurationMicrosecondType, Error>(|s| s.checked_mul(1_000_000).ok_or_else(interval_overflow))?;
                Ok(shared(wide))
            }
            Temporal::AddDays { negative } => {
                let add = |date: i32, days: i32| {
                    if *negative { date.checked_sub(days) } else { date.checked_add(days) }.ok_or(Failure::Overflow)
                };
                let sum = zip::<Date32Type, Int32Type, Date32Type>(pair(), rows, CastMode::Ansi, add, |_, _, _| overflow(""))?;
                Ok(shared(sum))
            }
            Temporal::DaysBetween => {
                let between = |a: i32, b: i32| Ok((i64::from(a) - i64::from(b)) * 86_400);
                let days =
                    zip::<Date32Type, Date32Type, DurationSecondType>(pair(), rows, CastMode::Ansi, between, |_, _, _| {
                        interval_overflow()
                    })?;
                Ok(shared(days))
            }
            Temporal::TimeBetween => {
                let between = |a: i64, b: i64| a.checked_sub(b).ok_or(Failure::Overflow);
                Ok(shared(zip::<TimestampMicrosecondType, TimestampMicrosecondType, DurationMicrosecondType>(
                    pair(),
                    rows,
                    CastMode::Ansi,
                    between,
                    |_, _, _| overflow(""),
                )?))
            }
            Temporal::Shift { negative, mode, zone } => shift_kernel(pair(), rows, *negative, *mode, zone),
            Temporal::Scale { divide, mode } => scale_kernel(pair(), rows, *divide, *mode),
        }
    }
}

fn shift_kernel(
    (time, interval): (&Operand, &Operand),
    rows: usize,
    negative: bool,
    mode: CastMode,
    zone: &str,
) -> Result<ArrayRef> {
    let operands = (time, interval);
    let fail = |_, _, _| Error::spark(ErrorKind::Data, "DATETIME_OVERFLOW", "a date or time plus an interval is out of range");
    let signed = |v: i64| if negative { v.checked_neg().ok_or(Failure::Overflow) } else { Ok(v) };
    let zone = match time.array.data_type() {
        DataType::Timestamp(_, Some(_)) => Zone::parse(zone).unwrap_or(Zone::Fixed(0)),
        _ => Zone::Fixed(0),
    };
    match (time.array.data_type(), interval.array.data_type()) {
        (DataType::Date32, DataType::Duration(_)) => {
            let add = |date: i32, seconds: i64| {
                i32::try_from(i64::from(date) + signed(seconds)? / 86_400).map_err(|_| Failure::Overflow)
            };
            Ok(shared(zip::<Date32Type, DurationSecondType, Date32Type>(operands, rows, mode, add, |_, a, _| fail((), a, 0))?))
        }
        (DataType::Date32, _) => {
            let add = |date: i32, months: i32| add_months(i64::from(date), signed(i64::from(months))?).ok_or(Failure::Overflow);
            Ok(shared(zip::<Date32Type, IntervalYearMonthType, Date32Type>(operands, rows, mode, add, |_, a, _| fail((), a, 0))?))
        }
        (data_type, DataType::Duration(_)) => {
            let add = |us: i64, by: i64| us.checked_add(signed(by)?).ok_or(Failure::Overflow);
            let sum = zip::<TimestampMicrosecondType, DurationMicrosecondType, TimestampMicrosecondType>(
                operands,
                rows,
                mode,
                add,
                |_, _, _| fail((), 0, 0),
            )?;
            Ok(shared(sum.with_data_type(data_type.clone())))
        }
        (data_type, _) => {
            // Months are added to the local date; the time of day stays.
            let add = |us: i64, months: i32| {
                let local = us.checked_add(zone.offset_at(us)).ok_or(Failure::Overflow)?;
                let days = add_months(local.div_euclid(DAY_US), signed(i64::from(months))?).ok_or(Failure::Overflow)?;
                let moved = i64::from(days).checked_mul(DAY_US).and_then(|d| d.checked_add(local.rem_euclid(DAY_US)));
                moved.and_then(|local| zone.to_instant(local)).ok_or(Failure::Overflow)
            };
            let sum = zip::<TimestampMicrosecondType, IntervalYearMonthType, TimestampMicrosecondType>(
                operands,
                rows,
                mode,
                add,
                |_, _, _| fail((), 0, 0),
            )?;
            Ok(shared(sum.with_data_type(data_type.clone())))
        }
    }
}

fn scale_kernel((interval, number): (&Operand, &Operand), rows: usize, divide: bool, mode: CastMode) -> Result<ArrayRef> {
    let fail = |failure| match failure {
        Failure::ByZero => Error::spark(ErrorKind::Data, "INTERVAL_DIVIDED_BY_ZERO", "an interval is divided by zero"),
        Failure::Overflow => interval_overflow(),
    };
    let by_integer = |a: i64, b: i64| {
        if !divide {
            return a.checked_mul(b).ok_or(Failure::Overflow);
        }
        if b == 0 {
            return Err(Failure::ByZero);
        }
        let (a, b) = (i128::from(a), i128::from(b));
        let (a, b) = if b < 0 { (-a, -b) } else { (a, b) };
        i64::try_from(crate::plan::spark::cast::decimal::divide_half_up(a, b)).map_err(|_| Failure::Overflow)
    };
    let by_float = |a: i64, b: f64| {
        if divide && b == 0.0 {
            return Err(Failure::ByZero);
        }
        let result = if divide { a as f64 / b } else { a as f64 * b };
        let rounded = result.round();
        if rounded.is_finite() && rounded.abs() < 9.3e18 { Ok(rounded as i64) } else { Err(Failure::Overflow) }
    };
    let months = matches!(interval.array.data_type(), DataType::Interval(_));
    let wide = if months {
        let values = interval.array.as_primitive::<IntervalYearMonthType>().unary::<_, Int64Type>(i64::from);
        Operand { array: shared(values), scalar: interval.scalar }
    } else {
        let values = arrow_cast(&interval.array, &DataType::Int64)
            .map_err(|e| Error::internal("could not read an interval").because(e))?;
        Operand { array: values, scalar: interval.scalar }
    };
    let operands = (&wide, number);
    let scaled = match number.array.data_type() {
        DataType::Int64 => zip::<Int64Type, Int64Type, Int64Type>(operands, rows, mode, by_integer, |f, _, _| fail(f))?,
        _ => zip::<Int64Type, Float64Type, Int64Type>(operands, rows, mode, by_float, |f, _, _| fail(f))?,
    };
    if !months {
        return Ok(shared(scaled.reinterpret_cast::<DurationMicrosecondType>()));
    }
    match mode {
        CastMode::Try => Ok(shared(scaled.unary_opt::<_, IntervalYearMonthType>(|v| i32::try_from(v).ok()))),
        CastMode::Ansi => {
            let narrow =
                scaled.try_unary::<_, IntervalYearMonthType, Error>(|v| i32::try_from(v).map_err(|_| interval_overflow()))?;
            Ok(shared(narrow))
        }
    }
}
