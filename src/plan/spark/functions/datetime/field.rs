//! Fields of dates and times.

use arrow::array::{Array, Date32Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Date32Type, Int8Type, Int32Type, TimestampMicrosecondType};

use super::super::super::cast::interval::values as interval_values;
use super::super::super::cast::time::date_from_days;
use super::super::super::types::interval::{INTERVAL_UNIT_SIZES, IntervalRange};
use super::super::super::{Call, Typed};
use super::super::arguments::{Want, arity, coerce, coerce_one};
use super::super::native::{Returns, call};
use super::{constant_name, seconds_decimal, zone_of_type};
use crate::error::{Error, ErrorKind, Result};
use crate::format::datetime::days as first_day;

/// English months.
pub(super) const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
/// English days of the week, Monday first.
pub(super) const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// 0 for Monday.
pub(super) fn weekday(days: i64) -> i32 {
    (days + 3).rem_euclid(7) as i32
}

/// 1 for Sunday.
pub(super) fn day_of_week(days: i64) -> i32 {
    (days + 4).rem_euclid(7) as i32 + 1
}

/// 1 for January to March.
pub(super) fn quarter(days: i64) -> i32 {
    (date_from_days(days).1 as i32 - 1) / 3 + 1
}

/// 1 for 1 January.
pub(super) fn day_of_year(days: i64) -> i32 {
    let (year, _, _) = date_from_days(days);
    // The first year that dates are in begins before the first date.
    first_day(year, 1, 1).map_or(1, |first| (days - first) as i32 + 1)
}

/// Year and number of the ISO week: the week belongs to the year of its Thursday.
pub(super) fn iso_week(days: i64) -> (i32, i32) {
    let thursday = days - i64::from(weekday(days)) + 3;
    (date_from_days(thursday).0 as i32, (day_of_year(thursday) - 1) / 7 + 1)
}

/// DATE → INT.
pub(super) fn of_date(mut c: Call<'_>, field: fn(i64) -> i32) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Date])?;
    let returns = Returns::new(DataType::Int32, args[0].nullable);
    Ok(call(c.name, args, returns, move |a| a.each::<Date32Type, Int32Type>(0, |d| field(i64::from(d)))))
}

/// The clock's `us / unit % modulus`.
pub(super) fn of_time(mut c: Call<'_>, unit: i64, modulus: i64) -> Result<Typed> {
    let arg = coerce(&mut c, &[Want::AnyTimestamp])?.remove(0);
    let time_of_day = time_of_day(&c, &arg)?;
    let returns = Returns::new(DataType::Int32, arg.nullable);
    Ok(call(c.name, vec![arg], returns, move |a| {
        a.each::<TimestampMicrosecondType, Int32Type>(0, |us| (time_of_day(us) / unit % modulus) as i32)
    }))
}

/// From a timestamp's value to the microseconds of the day that clocks show.
fn time_of_day(c: &Call<'_>, arg: &Typed) -> Result<impl Fn(i64) -> i64 + Send + Sync + 'static + use<>> {
    let zone = zone_of_type(c, &arg.data_type)?;
    Ok(move |us: i64| zone.clock(us).us)
}

/// DATE → STRING.
pub(super) fn name(mut c: Call<'_>, name: fn(i64) -> &'static str) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Date])?;
    let returns = Returns::new(DataType::Utf8, args[0].nullable);
    Ok(call(c.name, args, returns, move |a| {
        let date = a.column::<Date32Array>(0)?;
        a.strings(|row, out| {
            out.push_str(name(i64::from(date.get(row)?)));
            Some(())
        })
    }))
}

/// `date_part('field', source)`, `extract(field FROM source)`.
pub(super) fn date_part(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 2)?;
    let (source, field) = (c.args.remove(1), c.args.remove(0));
    let name = constant_name(&c, "field", &field).map_err(|error| match error.condition() {
        Some("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT") => {
            Error::spark(ErrorKind::Config, "NON_FOLDABLE_ARGUMENT", format!("the field of `{}` must be a constant", c.name))
        }
        _ => error,
    })?;
    let Some(field) = name else { return super::super::arguments::null_of(DataType::Float64) };
    if let Some(range) = IntervalRange::of(&source.data_type) {
        return of_interval(&field, source, range);
    }
    let as_date: fn(i64) -> i32 = match field.as_str() {
        "YEAR" | "Y" | "YEARS" | "YR" | "YRS" => |d| date_from_days(d).0 as i32,
        "YEAROFWEEK" => |d| iso_week(d).0,
        "QUARTER" | "QTR" => quarter,
        "MONTH" | "MON" | "MONS" | "MONTHS" => |d| date_from_days(d).1 as i32,
        "WEEK" | "W" | "WEEKS" => |d| iso_week(d).1,
        "DAY" | "D" | "DAYS" => |d| date_from_days(d).2 as i32,
        "DAYOFWEEK" | "DOW" => day_of_week,
        "DAYOFWEEK_ISO" | "DOW_ISO" => |d| weekday(d) + 1,
        "DOY" => day_of_year,
        "HOUR" | "H" | "HOURS" | "HR" | "HRS" => return time_part(c, source, "hour", 3_600_000_000, 24),
        "MINUTE" | "M" | "MIN" | "MINS" | "MINUTES" => return time_part(c, source, "minute", 60_000_000, 60),
        "SECOND" | "S" | "SEC" | "SECONDS" | "SECS" => return seconds(&c, source),
        _ => return Err(no_field(&field, "dates and times")),
    };
    let name = format!("date_part_{}", field.to_lowercase());
    let arg = coerce_one(&c, 1, source, &Want::Date)?;
    c.args = vec![arg];
    of_date(Call { name: &name, ..c }, as_date)
}

fn no_field(field: &str, of: &str) -> Error {
    Error::spark(ErrorKind::Config, "INVALID_EXTRACT_FIELD", format!("cannot extract `{field}`, which is no field of {of}"))
}

/// A unit's part of an interval, which must have that unit.
fn of_interval(field: &str, source: Typed, range: IntervalRange) -> Result<Typed> {
    let unit: u8 = match field {
        "YEAR" | "Y" | "YEARS" | "YR" | "YRS" => 0,
        "MONTH" | "MON" | "MONS" | "MONTHS" => 1,
        "DAY" | "D" | "DAYS" => 2,
        "HOUR" | "H" | "HOURS" | "HR" | "HRS" => 3,
        "MINUTE" | "M" | "MIN" | "MINS" | "MINUTES" => 4,
        "SECOND" | "S" | "SEC" | "SECONDS" | "SECS" => 5,
        _ => return Err(no_field(field, &range.name())),
    };
    if !(range.first..=range.last).contains(&unit) {
        return Err(no_field(field, &range.name()));
    }
    let data_type = match unit {
        0 | 2 => DataType::Int32,
        5 => DataType::Decimal128(8, 6),
        _ => DataType::Int8,
    };
    let size = INTERVAL_UNIT_SIZES[usize::from(unit)];
    let larger = if matches!(unit, 0 | 2) { None } else { Some(INTERVAL_UNIT_SIZES[usize::from(unit) - 1]) };
    let returns = Returns::new(data_type, source.nullable);
    Ok(call(&format!("interval_part_{unit}"), vec![source], returns, move |a| {
        let values = interval_values(a.any(0).array.as_ref())?;
        let part =
            |row: usize| values.is_valid(row).then(|| larger.map_or(values.value(row), |larger| values.value(row) % larger));
        match unit {
            5 => seconds_decimal((0..a.rows()).map(part)),
            0 | 2 => a.primitive::<Int32Type>(|row| part(row).map(|v| (v / size) as i32)),
            _ => a.primitive::<Int8Type>(|row| part(row).map(|v| (v / size) as i8)),
        }
    }))
}

fn time_part(mut c: Call<'_>, source: Typed, name: &'static str, unit: i64, modulus: i64) -> Result<Typed> {
    c.args = vec![source];
    of_time(Call { name, ..c }, unit, modulus)
}

/// Seconds with their fraction.
fn seconds(c: &Call<'_>, source: Typed) -> Result<Typed> {
    let arg = coerce_one(c, 1, source, &Want::AnyTimestamp)?;
    let time_of_day = time_of_day(c, &arg)?;
    let returns = Returns::new(DataType::Decimal128(8, 6), arg.nullable);
    Ok(call("second_with_fraction", vec![arg], returns, move |a| {
        let time = a.column::<TimestampMicrosecondArray>(0)?;
        seconds_decimal((0..a.rows()).map(|row| time.get(row).map(|us| time_of_day(us) % 60_000_000)))
    }))
}
