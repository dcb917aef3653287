//! Dates and timestamps from their parts.

use arrow::array::{Decimal128Array, Int32Array, StringArray};
use arrow::datatypes::{DataType, Date32Type, TimestampMicrosecondType};

use super::super::super::cast::CastMode;
use super::super::super::cast::time::{Clock, Zone, days_from_date, days_in_month};
use super::super::super::{Call, Typed};
use super::super::arguments::{Want, any_nullable, arity, coerce_one, convert, data_error, expect_one, mismatch, null_of, text};
use super::super::native::{Last, Returns, call};
use super::zone_named;
use crate::error::{Error, ErrorKind, Result};

fn out_of_bounds(what: &str, value: i32) -> Error {
    data_error("DATETIME_FIELD_OUT_OF_BOUNDS.WITHOUT_SUGGESTION", format!("invalid value for {what}: {value}"))
}

/// Days since 1970 of a date that exists.
fn checked_date(year: i32, month: i32, day: i32) -> Result<i32> {
    let (y, m, d) = (i64::from(year), i64::from(month), i64::from(day));
    if !(1..=12).contains(&m) {
        return Err(out_of_bounds("MonthOfYear (valid values 1 - 12)", month));
    }
    if d < 1 || d > days_in_month(y, m) {
        return Err(out_of_bounds("DayOfMonth (valid values 1 - 28/31)", day));
    }
    if !(-999_999_999..=999_999_999).contains(&year) {
        return Err(out_of_bounds("Year (valid values -999999999 - 999999999)", year));
    }
    days_from_date(y, m, d).ok_or_else(|| data_error("ARITHMETIC_OVERFLOW", "the date is beyond what a date holds"))
}

/// `make_date(year, month, day)`.
pub(super) fn make_date(mut c: Call<'_>) -> Result<Typed> {
    let args = super::coerce(&mut c, &[Want::Int, Want::Int, Want::Int])?;
    let returns = Returns::fallible(DataType::Date32, any_nullable(&args));
    Ok(call("make_date", args, returns, |a| {
        let (year, month, day) = (a.column::<Int32Array>(0)?, a.column::<Int32Array>(1)?, a.column::<Int32Array>(2)?);
        a.try_primitive::<Date32Type>(|row| {
            let (Some(year), Some(month), Some(day)) = (year.get(row), month.get(row), day.get(row)) else { return Ok(None) };
            checked_date(year, month, day).map(Some)
        })
    }))
}

/// `make_timestamp(date[, time[, zone]])`: midnight of a date. Of the type TIME there is only null.
fn of_date(mut c: Call<'_>, data_type: DataType) -> Result<Typed> {
    let mut args = std::mem::take(&mut c.args).into_iter();
    let Some(date) = args.next().filter(|date| matches!(date.data_type, DataType::Date32 | DataType::Null)) else {
        return Err(mismatch(
            "UNEXPECTED_INPUT_TYPE",
            format!("the first parameter of `{}` requires the DATE type here", c.name),
        ));
    };
    let Some(time) = args.next() else { return convert(&c, date, &data_type) };
    if time.data_type != DataType::Null {
        return Err(mismatch(
            "UNEXPECTED_INPUT_TYPE",
            format!("the second parameter of `{}` requires the TIME type here", c.name),
        ));
    }
    if let Some(zone) = args.next().filter(|zone| zone.data_type != DataType::Null) {
        expect_one(&c, 2, zone, &Want::Text)?;
    }
    null_of(data_type)
}

/// `make_timestamp(year, month, day, hour, minute, seconds[, zone])`.
pub(super) fn make_timestamp(mut c: Call<'_>, data_type: DataType, mode: CastMode) -> Result<Typed> {
    let zoned = data_type != super::timestamp_ntz();
    let least = if c.name.ends_with("make_timestamp") { 1 } else { 2 };
    if (least..=if zoned { 3 } else { 2 }).contains(&c.args.len()) {
        return of_date(c, data_type);
    }
    arity(&c, 6, if zoned { 7 } else { 6 })?;
    let session = c.context.settings.time_zone.to_string();
    if c.args.len() < 7 {
        c.args.push(text(if zoned { session } else { "UTC".into() }));
    }
    let args = std::mem::take(&mut c.args);
    let args = args
        .into_iter()
        .enumerate()
        .map(|(index, arg)| match index {
            5 => convert(&c, coerce_one(&c, 5, arg, &Want::Decimal)?, &DataType::Decimal128(16, 6)),
            6 => coerce_one(&c, 6, arg, &Want::Text),
            _ => coerce_one(&c, index, arg, &Want::Int),
        })
        .collect::<Result<Vec<_>>>()?;
    let lenient = mode == CastMode::Try;
    // A zone that does not exist is an error in any case, and so is a year too far.
    let returns = Returns::fallible(data_type, lenient || any_nullable(&args));
    Ok(call(c.name, args, returns, move |a| {
        let numbers = (0..5).map(|i| a.column::<Int32Array>(i)).collect::<Result<Vec<_>>>()?;
        let (seconds, zone) = (a.column::<Decimal128Array>(5)?, a.column::<StringArray>(6)?);
        let mut zones = Last::default();
        a.try_primitive::<TimestampMicrosecondType>(|row| {
            let mut parts = [0; 5];
            for (part, column) in parts.iter_mut().zip(&numbers) {
                let Some(value) = column.get(row) else { return Ok(None) };
                *part = value;
            }
            let (Some(seconds), Some(zone)) = (seconds.get(row), zone.get(row)) else { return Ok(None) };
            let zone = zones.get(zone, zone_named)?;
            match instant(parts, seconds, zone) {
                Err(_) if lenient => Ok(None),
                Err(error) => Err(error),
                // Spark has no condition for this, nor null.
                Ok(made) => made.map(Some).ok_or_else(|| Error::new(ErrorKind::Data, "the timestamp is beyond what one holds")),
            }
        })
    }))
}

/// `None` beyond what a timestamp holds.
fn instant([year, month, day, hour, minute]: [i32; 5], seconds_us: i128, zone: &Zone) -> Result<Option<i64>> {
    let days = checked_date(year, month, day)?;
    if !(0..24).contains(&hour) {
        return Err(out_of_bounds("HourOfDay (valid values 0 - 23)", hour));
    }
    if !(0..60).contains(&minute) {
        return Err(out_of_bounds("MinuteOfHour (valid values 0 - 59)", minute));
    }
    // Exactly 60 seconds are the next minute.
    if (60_000_001..61_000_000).contains(&seconds_us) {
        return Err(data_error("INVALID_FRACTION_OF_SECOND", "the seconds must be between 0 and 60, and 60 without a fraction"));
    }
    if !(0..=60_000_000).contains(&seconds_us) {
        return Err(out_of_bounds("SecondOfMinute (valid values 0 - 59)", (seconds_us / 1_000_000) as i32));
    }
    let us = i64::from(hour) * 3_600_000_000 + i64::from(minute) * 60_000_000 + seconds_us as i64;
    Ok(zone.instant(Clock { day: days.into(), us }))
}
