//! Intervals from their parts.

use arrow::array::{Decimal128Array, Int32Array};
use arrow::datatypes::{DataType, DurationMicrosecondType, IntervalYearMonthType};
use datafusion::scalar::ScalarValue;

use super::super::super::types::{day_time_interval, year_month_interval};
use super::super::super::{Call, Typed};
use super::super::arguments::{Want, any_nullable, arity, coerce_one, convert, data_error, literal};
use super::super::native::{Args, Returns, call};
use crate::error::{Error, Result};

fn overflow() -> Error {
    data_error("INTERVAL_ARITHMETIC_OVERFLOW.WITHOUT_SUGGESTION", "the parts make a longer interval than there can be")
}

/// Whole numbers, zeros where they are left out; the fourth has six decimals.
fn parts(c: &mut Call<'_>, most: usize) -> Result<Vec<Typed>> {
    arity(c, 0, most)?;
    let mut args = std::mem::take(&mut c.args);
    args.resize_with(most, || literal(ScalarValue::Int32(Some(0))));
    args.into_iter()
        .enumerate()
        .map(|(index, arg)| match index {
            3 => convert(c, coerce_one(c, 3, arg, &Want::Decimal)?, &DataType::Decimal128(18, 6)),
            _ => coerce_one(c, index, arg, &Want::Int),
        })
        .collect()
}

fn ints(a: &Args<'_>, count: usize, row: usize) -> Result<Option<Vec<i64>>> {
    (0..count).map(|index| Ok(a.column::<Int32Array>(index)?.get(row).map(i64::from))).collect()
}

/// `make_ym_interval([years[, months]])`.
pub(super) fn make_ym_interval(mut c: Call<'_>) -> Result<Typed> {
    let args = parts(&mut c, 2)?;
    let returns = Returns::fallible(year_month_interval(), any_nullable(&args));
    Ok(call("make_ym_interval", args, returns, |a| {
        a.try_primitive::<IntervalYearMonthType>(|row| {
            let Some(parts) = ints(a, 2, row)? else { return Ok(None) };
            i32::try_from(parts[0] * 12 + parts[1]).map(Some).map_err(|_| overflow())
        })
    }))
}

/// `make_dt_interval([days[, hours[, minutes[, seconds]]]])`.
pub(super) fn make_dt_interval(mut c: Call<'_>) -> Result<Typed> {
    let args = parts(&mut c, 4)?;
    let returns = Returns::fallible(day_time_interval(), any_nullable(&args));
    Ok(call("make_dt_interval", args, returns, |a| {
        let seconds = a.column::<Decimal128Array>(3)?;
        a.try_primitive::<DurationMicrosecondType>(|row| {
            let (Some(parts), Some(us)) = (ints(a, 3, row)?, seconds.get(row)) else { return Ok(None) };
            let minutes = i128::from((parts[0] * 24 + parts[1]) * 60 + parts[2]);
            i64::try_from(minutes * 60_000_000 + us).map(Some).map_err(|_| overflow())
        })
    }))
}
