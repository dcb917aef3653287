//! Kernels of arithmetic with dates, timestamps and intervals.

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast as arrow_cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, DurationSecondType, Float64Type, Int64Type,
    IntervalMonthDayNanoType, IntervalYearMonthType, TimestampMicrosecondType, i256,
};

use super::arithmetic::shared;
use super::arithmetic_kernel::{Failure, zip};
use super::native::Operand;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::cast::CastMode;
use crate::plan::spark::cast::time::{Zone, add_months, later};

const OUT_OF_RANGE: &str = "a date or time plus an interval is out of range";

/// `time ± interval`.
pub(super) fn shift(
    (time, interval): (&Operand, &Operand),
    rows: usize,
    negative: bool,
    mode: CastMode,
    zone: &str,
) -> Result<ArrayRef> {
    let operands = (time, interval);
    // Spark has a condition for dates only.
    let fail = || match time.array.data_type() {
        DataType::Date32 => Error::spark(ErrorKind::Data, "ARITHMETIC_OVERFLOW", OUT_OF_RANGE),
        _ => Error::new(ErrorKind::Data, OUT_OF_RANGE),
    };
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
            Ok(shared(zip::<Date32Type, DurationSecondType, Date32Type>(operands, rows, mode, add, |_, _, _| fail())?))
        }
        (DataType::Date32, _) => {
            let add = |date: i32, months: i32| add_months(i64::from(date), signed(i64::from(months))?).ok_or(Failure::Overflow);
            Ok(shared(zip::<Date32Type, IntervalYearMonthType, Date32Type>(operands, rows, mode, add, |_, _, _| fail())?))
        }
        (data_type, DataType::Duration(_)) => {
            let add = |us: i64, by: i64| us.checked_add(signed(by)?).ok_or(Failure::Overflow);
            let sum = zip::<TimestampMicrosecondType, DurationMicrosecondType, TimestampMicrosecondType>(
                operands,
                rows,
                mode,
                add,
                |_, _, _| fail(),
            )?;
            Ok(shared(sum.with_data_type(data_type.clone())))
        }
        (data_type, _) => {
            // Months are added to the local date; the time of day stays.
            let add = |us: i64, months: i32| {
                let moved = later(zone.clock(us), signed(i64::from(months))?, 0);
                moved.and_then(|clock| zone.instant(clock)).ok_or(Failure::Overflow)
            };
            let sum = zip::<TimestampMicrosecondType, IntervalYearMonthType, TimestampMicrosecondType>(
                operands,
                rows,
                mode,
                add,
                |_, _, _| fail(),
            )?;
            Ok(shared(sum.with_data_type(data_type.clone())))
        }
    }
}

/// `time ± interval` of months, days and microseconds.
pub(super) fn shift_by_calendar(
    operands @ (time, _): (&Operand, &Operand),
    rows: usize,
    negative: bool,
    mode: CastMode,
    zone: &str,
) -> Result<ArrayRef> {
    type Interval = arrow::datatypes::IntervalMonthDayNano;
    let sign = if negative { -1 } else { 1 };
    if let DataType::Date32 = time.array.data_type() {
        let has_time = |by: Interval| by.nanoseconds != 0;
        let fail = |_: Failure, _: i32, by: Interval| match has_time(by) {
            true => Error::spark(
                ErrorKind::Data,
                "INVALID_INTERVAL_WITH_MICROSECONDS_ADDITION",
                "an interval with hours, minutes or seconds cannot be added to a date",
            ),
            false => Error::spark(ErrorKind::Data, "ARITHMETIC_OVERFLOW", OUT_OF_RANGE),
        };
        let add = |date: i32, by: Interval| {
            if has_time(by) {
                return Err(Failure::Overflow);
            }
            let day = add_months(i64::from(date), i64::from(by.months) * sign).ok_or(Failure::Overflow)?;
            i32::try_from(i64::from(day) + i64::from(by.days) * sign).map_err(|_| Failure::Overflow)
        };
        return Ok(shared(zip::<Date32Type, IntervalMonthDayNanoType, Date32Type>(operands, rows, mode, add, fail)?));
    }
    let zone = match time.array.data_type() {
        DataType::Timestamp(_, Some(_)) => Zone::parse(zone).unwrap_or(Zone::Fixed(0)),
        _ => Zone::Fixed(0),
    };
    let add = |us: i64, by: Interval| {
        let instant = match (i64::from(by.months) * sign, i64::from(by.days) * sign) {
            (0, 0) => Some(us),
            (months, days) => later(zone.clock(us), months, days).and_then(|clock| zone.instant(clock)),
        };
        instant.and_then(|us| us.checked_add(by.nanoseconds / 1000 * sign)).ok_or(Failure::Overflow)
    };
    let sum = zip::<TimestampMicrosecondType, IntervalMonthDayNanoType, TimestampMicrosecondType>(
        operands,
        rows,
        mode,
        add,
        // Spark has a condition for dates only.
        |_, _, _| Error::new(ErrorKind::Data, OUT_OF_RANGE),
    )?;
    Ok(shared(sum.with_data_type(time.array.data_type().clone())))
}

/// `interval * number`, `interval / number`.
pub(super) fn scale((interval, number): (&Operand, &Operand), rows: usize, divide: bool, mode: CastMode) -> Result<ArrayRef> {
    let fail = |failure| match failure {
        Failure::ByZero => Error::spark(ErrorKind::Data, "INTERVAL_DIVIDED_BY_ZERO", "an interval is divided by zero"),
        Failure::Overflow => too_long(),
    };
    // Only of the division by a whole number Spark has a condition for this.
    let fail_by_integer = |failure, _: i64, _: i64| match failure {
        Failure::Overflow if divide => quotient_too_long(),
        failure => fail(failure),
    };
    let one = i256::from_i128(10_i128.pow(match number.array.data_type() {
        DataType::Decimal128(_, scale) => scale.unsigned_abs().into(),
        _ => 0,
    }));
    let by_integer = |a, b| scaled_by_integer(a, b, divide);
    let by_decimal = |a, b| scaled_by_decimal(a, b, one, divide);
    let by_float = |a, b| scaled_by_float(a, b, divide);
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
        DataType::Int64 => zip::<Int64Type, Int64Type, Int64Type>(operands, rows, mode, by_integer, fail_by_integer)?,
        DataType::Decimal128(..) => {
            zip::<Int64Type, Decimal128Type, Int64Type>(operands, rows, mode, by_decimal, |f, _, _| fail(f))?
        }
        _ => zip::<Int64Type, Float64Type, Int64Type>(operands, rows, mode, by_float, |f, _, _| fail(f))?,
    };
    if !months {
        return Ok(shared(scaled.reinterpret_cast::<DurationMicrosecondType>()));
    }
    match mode {
        CastMode::Try => Ok(shared(scaled.unary_opt::<_, IntervalYearMonthType>(|v| i32::try_from(v).ok()))),
        CastMode::Ansi => {
            let by_integer = divide && number.array.data_type() == &DataType::Int64;
            let beyond = |_| if by_integer { quotient_too_long() } else { too_long() };
            let narrow = scaled.try_unary::<_, IntervalYearMonthType, Error>(|v| i32::try_from(v).map_err(beyond))?;
            Ok(shared(narrow))
        }
    }
}

fn scaled_by_integer(a: i64, b: i64, divide: bool) -> std::result::Result<i64, Failure> {
    if !divide {
        return a.checked_mul(b).ok_or(Failure::Overflow);
    }
    if b == 0 {
        return Err(Failure::ByZero);
    }
    let (a, b) = (i128::from(a), i128::from(b));
    let (a, b) = if b < 0 { (-a, -b) } else { (a, b) };
    i64::try_from(crate::plan::spark::cast::decimal::divide_half_up(a, b)).map_err(|_| Failure::Overflow)
}

/// `b` is so many times `one`.
fn scaled_by_decimal(a: i64, b: i128, one: i256, divide: bool) -> std::result::Result<i64, Failure> {
    if divide && b == 0 {
        return Err(Failure::ByZero);
    }
    let (a, b) = (i256::from_i128(a.into()), i256::from_i128(b));
    let (a, b) = if divide { (a * one, b) } else { (a * b, one) };
    let quotient = a / b;
    let up = (a % b).wrapping_abs() * i256::from_i128(2) >= b.wrapping_abs();
    let away = i256::from_i128(if (a < i256::ZERO) == (b < i256::ZERO) { 1 } else { -1 });
    let rounded = if up { quotient + away } else { quotient };
    rounded.to_i128().and_then(|rounded| i64::try_from(rounded).ok()).ok_or(Failure::Overflow)
}

fn scaled_by_float(a: i64, b: f64, divide: bool) -> std::result::Result<i64, Failure> {
    if divide && b == 0.0 {
        return Err(Failure::ByZero);
    }
    let result = if divide { a as f64 / b } else { a as f64 * b };
    let rounded = result.round();
    // 2^63 itself does not fit, -2^63 does.
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&rounded);
    if fits { Ok(rounded as i64) } else { Err(Failure::Overflow) }
}

fn quotient_too_long() -> Error {
    Error::spark(
        ErrorKind::Data,
        "INTERVAL_ARITHMETIC_OVERFLOW.WITH_SUGGESTION",
        "an interval is longer than there can be; try_divide gives null for it",
    )
}

/// Spark has no condition for this.
fn too_long() -> Error {
    Error::new(ErrorKind::Data, "an interval is longer than there can be")
}
