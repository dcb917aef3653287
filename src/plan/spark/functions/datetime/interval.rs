//! Intervals from their parts.

use arrow::array::{Decimal128Array, Int32Array};
use arrow::datatypes::{
    DataType, DurationMicrosecondType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalYearMonthType,
};
use datafusion::scalar::ScalarValue;

use super::super::super::cast::CastMode;
use super::super::super::types::{calendar_interval, day_time_interval, year_month_interval};
use super::super::super::{Call, Typed};
use super::super::arguments::{Want, any_nullable, arity, coerce_one, convert, data_error, literal};
use super::super::native::{Args, Returns, call};
use crate::error::{Error, Result};

fn overflow() -> Error {
    data_error("INTERVAL_ARITHMETIC_OVERFLOW.WITHOUT_SUGGESTION", "the parts make a longer interval than there can be")
}

/// Whole numbers, zeros where they are left out; that at place `seconds` has six decimals.
fn parts(c: &mut Call<'_>, most: usize, seconds: usize) -> Result<Vec<Typed>> {
    arity(c, 0, most)?;
    let mut args = std::mem::take(&mut c.args);
    args.resize_with(most, || literal(ScalarValue::Int32(Some(0))));
    args.into_iter()
        .enumerate()
        .map(|(index, arg)| match index {
            _ if index == seconds => convert(c, coerce_one(c, index, arg, &Want::Decimal)?, &DataType::Decimal128(18, 6)),
            _ => coerce_one(c, index, arg, &Want::Int),
        })
        .collect()
}

/// The first so many arguments of a row; `None` if one is null.
fn ints<const N: usize>(a: &Args<'_>, row: usize) -> Result<Option<[i64; N]>> {
    let mut values = [0; N];
    for (index, value) in values.iter_mut().enumerate() {
        let Some(found) = a.column::<Int32Array>(index)?.get(row) else { return Ok(None) };
        *value = i64::from(found);
    }
    Ok(Some(values))
}

/// `make_interval([years[, months[, weeks[, days[, hours[, minutes[, seconds]]]]]]])`, null where it is too long with [`CastMode::Try`].
pub(super) fn make_interval(mut c: Call<'_>, mode: CastMode) -> Result<Typed> {
    let args = parts(&mut c, 7, 6)?;
    let lenient = mode == CastMode::Try;
    let returns = Returns::fallible_if(!lenient, calendar_interval(), lenient || any_nullable(&args));
    Ok(call(c.name, args, returns, move |a| {
        let seconds = a.column::<Decimal128Array>(6)?;
        a.try_primitive::<IntervalMonthDayNanoType>(|row| {
            let (Some(parts), Some(us)) = (ints::<6>(a, row)?, seconds.get(row)) else { return Ok(None) };
            let months = i32::try_from(parts[0] * 12 + parts[1]).ok();
            let days = i32::try_from(parts[2] * 7 + parts[3]).ok();
            let us = i128::from(parts[4] * 60 + parts[5]) * 60_000_000 + us;
            let nanoseconds = i64::try_from(us * 1000).ok();
            match (months, days, nanoseconds) {
                (Some(months), Some(days), Some(nanoseconds)) => Ok(Some(IntervalMonthDayNano { months, days, nanoseconds })),
                _ if lenient => Ok(None),
                _ => Err(data_error("ARITHMETIC_OVERFLOW", "the parts make a longer interval than there can be")),
            }
        })
    }))
}

/// `make_ym_interval([years[, months]])`.
pub(super) fn make_ym_interval(mut c: Call<'_>) -> Result<Typed> {
    let args = parts(&mut c, 2, 2)?;
    let returns = Returns::fallible(year_month_interval(), any_nullable(&args));
    Ok(call("make_ym_interval", args, returns, |a| {
        a.try_primitive::<IntervalYearMonthType>(|row| {
            let Some(parts) = ints::<2>(a, row)? else { return Ok(None) };
            i32::try_from(parts[0] * 12 + parts[1]).map(Some).map_err(|_| overflow())
        })
    }))
}

/// `make_dt_interval([days[, hours[, minutes[, seconds]]]])`.
pub(super) fn make_dt_interval(mut c: Call<'_>) -> Result<Typed> {
    let args = parts(&mut c, 4, 3)?;
    let returns = Returns::fallible(day_time_interval(), any_nullable(&args));
    Ok(call("make_dt_interval", args, returns, |a| {
        let seconds = a.column::<Decimal128Array>(3)?;
        a.try_primitive::<DurationMicrosecondType>(|row| {
            let (Some(parts), Some(us)) = (ints::<3>(a, row)?, seconds.get(row)) else { return Ok(None) };
            let minutes = i128::from((parts[0] * 24 + parts[1]) * 60 + parts[2]);
            i64::try_from(minutes * 60_000_000 + us).map(Some).map_err(|_| overflow())
        })
    }))
}
