//! Dates and times. Instants are seen in the session's zone.

use std::sync::Arc;

use arrow::array::{Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use datafusion::scalar::ScalarValue;

use super::super::cast::time::{Clock, Zone, add_months, date_from_days, days_from_date, days_in_month};
use super::super::cast::{CastMode, cast};
use super::super::expression::temporal;
use super::super::types::timestamp_ntz;
use super::super::{Call, PlanSettings, Typed};
use super::arguments::{
    Want, any_nullable, arity, coerce, coerce_one, coerce_optional, constant, convert, data_error, expect_one, is_numeric,
    literal, require_constant, timestamp,
};
use super::native::{Last, Returns, call};
use super::{FunctionSpec, scalar};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::running_batch::Moment;

mod bucket;
mod field;
mod interval;
mod make;
mod pattern;
mod text;
mod unit;

pub(super) use text::{pattern_reader, pattern_writer};

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("year(date)", "Year", "year('2026-01-31') → 2026", |c| field::of_date(c, |d| date_from_days(d).0 as i32)),
    scalar("quarter(date)", "Quarter, 1 to 4", "quarter('2026-08-31') → 3", |c| field::of_date(c, field::quarter)),
    scalar("month(date)", "Month, 1 to 12", "month('2026-07-30') → 7", |c| field::of_date(c, |d| date_from_days(d).1 as i32)),
    scalar("day(date)", "Day of the month", "day('2026-07-30') → 30", |c| field::of_date(c, |d| date_from_days(d).2 as i32)),
    scalar("dayofmonth(date)", "As `day`", "dayofmonth('2026-07-30') → 30", |c| field::of_date(c, |d| date_from_days(d).2 as i32)),
    scalar("dayofyear(date)", "Day of the year, from 1 on", "dayofyear('2026-02-01') → 32", |c| field::of_date(c, field::day_of_year)),
    scalar("dayofweek(date)", "Day of the week, Sunday is 1", "dayofweek('2026-01-31') → 7", |c| field::of_date(c, field::day_of_week)),
    scalar("weekday(date)", "Day of the week, Monday is 0", "weekday('2026-01-31') → 5", |c| field::of_date(c, field::weekday)),
    scalar("weekofyear(date)", "Week of the year by ISO 8601", "weekofyear('2026-01-01') → 1", |c| field::of_date(c, |d| field::iso_week(d).1)),
    scalar("hour(time)", "Hour", "hour('2026-01-31 12:58:59') → 12", |c| field::of_time(c, 3_600_000_000, 24)),
    scalar("minute(time)", "Minute", "minute('2026-01-31 12:58:59') → 58", |c| field::of_time(c, 60_000_000, 60)),
    scalar("second(time)", "Second", "second('2026-01-31 12:58:59') → 59", |c| field::of_time(c, 1_000_000, 60)),
    scalar("monthname(date)", "Three letters of the month's name", "monthname(date'2026-01-31') → Jan", |c| field::name(c, |d| &field::MONTHS[date_from_days(d).1 as usize - 1][..3])),
    scalar("dayname(date)", "Three letters of the day's name", "dayname(date'2026-01-31') → Sat", |c| field::name(c, |d| &field::DAYS[field::weekday(d) as usize][..3])),
    scalar("date_part(field, source)", "A field such as `YEAR`, `WEEK`, `DOY`, `SECONDS` of a date, time or interval", "date_part('doy', date'2026-02-01') → 32", field::date_part),
    scalar("datepart(field, source)", "As `date_part`", "datepart('year', date'2026-02-01') → 2026", field::date_part),
    scalar("extract(field FROM source)", "As `date_part`", "extract(MONTH FROM date'2026-02-01') → 2", field::date_part),
    scalar("date_trunc(unit, time)", "The beginning of the time's unit, from `YEAR` to `MICROSECOND`", "date_trunc('HOUR', timestamp'2026-01-31 09:32:05') → 2026-01-31 09:00:00", unit::date_trunc),
    scalar("time_bucket(size, time[, origin])", "Where the bucket begins that the time lies in; `size` is an interval, one bucket begins at `origin` (or at 1970)", "time_bucket(INTERVAL '15' MINUTE, timestamp'2026-01-31 09:32:05') → 2026-01-31 09:30:00", bucket::time_bucket),
    scalar("trunc(date, unit)", "The beginning of the date's year, quarter, month or week", "trunc(date'2026-10-31', 'MM') → 2026-10-01", unit::trunc),
    scalar("date_add(date, days)", "So many days later", "date_add(date'2026-01-31', 1) → 2026-02-01", |c| add_days(c, false)),
    scalar("dateadd(date, days)", "As `date_add`; `dateadd(unit, n, time)` as `timestampadd`", "dateadd(MONTH, 1, timestamp'2026-01-31 00:00:00') → 2026-02-28 00:00:00", |c| add_days(c, false)),
    scalar("date_sub(date, days)", "So many days earlier", "date_sub(date'2026-03-01', 1) → 2026-02-28", |c| add_days(c, true)),
    scalar("datediff(end, start)", "Days from `start` to `end`; `datediff(unit, start, end)` as `timestampdiff`", "datediff('2026-03-01', '2026-02-01') → 28", date_diff),
    scalar("date_diff(end, start)", "As `datediff`", "date_diff('2026-02-01', '2026-03-01') → -28", date_diff),
    scalar("timestampadd(unit, n, time)", "So many units later, in the query's time zone", "timestampadd(HOUR, 8, timestamp'2026-02-28 20:00:00') → 2026-03-01 04:00:00", unit::timestamp_add),
    scalar("timestampdiff(unit, start, end)", "Whole units from `start` to `end`", "timestampdiff(HOUR, timestamp'2026-02-28 20:00:00', timestamp'2026-03-01 19:59:59') → 23", unit::timestamp_diff),
    scalar("add_months(date, n)", "So many months later, at most the month's last day", "add_months(date'2026-01-31', 1) → 2026-02-28", months_later),
    scalar("months_between(end, start[, round_off])", "Months between two times, with the days as 31sts, rounded to 8 digits", "months_between(date'2026-02-28', date'2026-01-31') → 1.0", months_between),
    scalar("last_day(date)", "The last day of its month", "last_day(date'2026-02-01') → 2026-02-28", last_day),
    scalar("next_day(date, weekday)", "The next such weekday after it", "next_day(date'2026-01-14', 'TU') → 2026-01-20", next_day),
    scalar("to_date(text[, pattern])", "A date read by a pattern", "to_date('31.01.2026', 'dd.MM.yyyy') → 2026-01-31", |c| text::to_date(c, CastMode::Ansi)),
    scalar("try_to_date(text[, pattern])", "As `to_date`, null where that fails", "try_to_date('31.02.2026', 'dd.MM.yyyy') → NULL", |c| text::to_date(c, CastMode::Try)),
    scalar("to_timestamp(text[, pattern])", "A timestamp read by a pattern", "to_timestamp('2026-01-31', 'yyyy-MM-dd') → 2026-01-31 00:00:00", |c| text::to_timestamp(c, timestamp(), CastMode::Ansi)),
    scalar("to_timestamp_ltz(text[, pattern])", "As `to_timestamp`", "to_timestamp_ltz('2026-01-31 01:02:03') → 2026-01-31 01:02:03", |c| text::to_timestamp(c, timestamp(), CastMode::Ansi)),
    scalar("to_timestamp_ntz(text[, pattern])", "A TIMESTAMP_NTZ read by a pattern", "to_timestamp_ntz('2026-01-31 01:02:03') → 2026-01-31 01:02:03", |c| text::to_timestamp(c, timestamp_ntz(), CastMode::Ansi)),
    scalar("try_to_timestamp(text[, pattern])", "As `to_timestamp`, null where that fails", "try_to_timestamp('later') → NULL", |c| text::to_timestamp(c, timestamp(), CastMode::Try)),
    scalar("unix_timestamp([time[, pattern]])", "Seconds since 1970 of a time, a text by a pattern, or now", "unix_timestamp('2026-01-31', 'yyyy-MM-dd') → 1769817600", text::unix_timestamp),
    scalar("to_unix_timestamp(time[, pattern])", "As `unix_timestamp`", "to_unix_timestamp('2026-01-31', 'yyyy-MM-dd') → 1769817600", text::unix_timestamp),
    scalar("date_format(time, pattern)", "A time as text by a pattern", "date_format(date'2026-01-31', 'EEE d MMM y') → Sat 31 Jan 2026", text::date_format),
    scalar("from_unixtime(seconds[, pattern])", "Seconds since 1970 as text in the query's time zone", "from_unixtime(0, 'yyyy-MM-dd HH:mm:ss') → 1970-01-01 00:00:00", text::from_unixtime),
    scalar("timestamp_seconds(n)", "The timestamp so many seconds after 1970", "timestamp_seconds(1230219000) → 2008-12-25 15:30:00", timestamp_seconds),
    scalar("timestamp_millis(n)", "The timestamp so many milliseconds after 1970", "timestamp_millis(1230219000123) → 2008-12-25 15:30:00.123", |c| timestamp_of(c, 1000)),
    scalar("timestamp_micros(n)", "The timestamp so many microseconds after 1970", "timestamp_micros(1230219000123123) → 2008-12-25 15:30:00.123123", |c| timestamp_of(c, 1)),
    scalar("unix_seconds(time)", "Whole seconds since 1970", "unix_seconds(timestamp'1970-01-01 00:00:01Z') → 1", |c| unix(c, 1_000_000)),
    scalar("unix_millis(time)", "Whole milliseconds since 1970", "unix_millis(timestamp'1970-01-01 00:00:01Z') → 1000", |c| unix(c, 1000)),
    scalar("unix_micros(time)", "Microseconds since 1970", "unix_micros(timestamp'1970-01-01 00:00:01Z') → 1000000", |c| unix(c, 1)),
    scalar("unix_date(date)", "Days since 1970", "unix_date(date'1970-01-02') → 1", unix_date),
    scalar("date_from_unix_date(days)", "The date so many days after 1970", "date_from_unix_date(1) → 1970-01-02", date_from_unix_date),
    scalar("make_date(year, month, day)", "A date from its parts; an error where there is none such", "make_date(2026, 2, 28) → 2026-02-28", make::make_date),
    scalar("make_timestamp(year, month, day, hour, minute, second[, zone])", "A timestamp from its parts; an error where there is none such", "make_timestamp(2026, 1, 31, 6, 30, 45.887) → 2026-01-31 06:30:45.887", |c| make::make_timestamp(c, timestamp(), CastMode::Ansi)),
    scalar("make_timestamp_ltz(year, month, day, hour, minute, second[, zone])", "As `make_timestamp`", "make_timestamp_ltz(2026, 1, 31, 6, 30, 45, 'CET') → 2026-01-31 05:30:45", |c| make::make_timestamp(c, timestamp(), CastMode::Ansi)),
    scalar("make_timestamp_ntz(year, month, day, hour, minute, second)", "A TIMESTAMP_NTZ from its parts", "make_timestamp_ntz(2026, 1, 31, 6, 30, 45.887) → 2026-01-31 06:30:45.887", |c| make::make_timestamp(c, timestamp_ntz(), CastMode::Ansi)),
    scalar("try_make_timestamp(year, month, day, hour, minute, second[, zone])", "As `make_timestamp`, null where that fails", "try_make_timestamp(2026, 2, 30, 6, 30, 45) → NULL", |c| make::make_timestamp(c, timestamp(), CastMode::Try)),
    scalar("try_make_timestamp_ltz(year, month, day, hour, minute, second[, zone])", "As `try_make_timestamp`", "try_make_timestamp_ltz(2026, 2, 28, 6, 30, 45) → 2026-02-28 06:30:45", |c| make::make_timestamp(c, timestamp(), CastMode::Try)),
    scalar("try_make_timestamp_ntz(year, month, day, hour, minute, second)", "As `make_timestamp_ntz`, null where that fails", "try_make_timestamp_ntz(2026, 2, 30, 6, 30, 45) → NULL", |c| make::make_timestamp(c, timestamp_ntz(), CastMode::Try)),
    scalar("make_ym_interval([years[, months]])", "An interval of years and months", "typeof(make_ym_interval(1, 2)) → interval year to month", interval::make_ym_interval),
    scalar("make_dt_interval([days[, hours[, minutes[, seconds]]]])", "An interval of days, hours, minutes and seconds", "make_dt_interval(1, 12, 30, 1.5) → INTERVAL '1 12:30:01.5' DAY TO SECOND", interval::make_dt_interval),
    scalar("make_interval([years[, months[, weeks[, days[, hours[, minutes[, seconds]]]]]]])", "An INTERVAL of months, days and microseconds, to be added to a time", "make_interval(0, 1, 0, 1, 0, 0, 2.5) → 1 months 1 days 2.5 seconds", |c| interval::make_interval(c, CastMode::Ansi)),
    scalar("try_make_interval([years[, months[, weeks[, days[, hours[, minutes[, seconds]]]]]]])", "As `make_interval`, null where that fails", "try_make_interval(2147483647) → NULL", |c| interval::make_interval(c, CastMode::Try)),
    scalar("from_utc_timestamp(time, zone)", "What clocks in the zone show at this time of UTC", "from_utc_timestamp('2026-08-31', 'Asia/Seoul') → 2026-08-31 09:00:00", |c| shift_zone(c, true)),
    scalar("to_utc_timestamp(time, zone)", "What clocks in UTC show at this time of the zone", "to_utc_timestamp('2026-08-31', 'Asia/Seoul') → 2026-08-30 15:00:00", |c| shift_zone(c, false)),
    scalar("convert_timezone([from, ]to, time)", "A TIMESTAMP_NTZ of one zone in another", "convert_timezone('Europe/Brussels', 'America/Los_Angeles', timestamp_ntz'2026-12-06 00:00:00') → 2026-12-05 15:00:00", convert_timezone),
    scalar("current_timestamp([6])", "When the batch was planned, the same for all its rows", "", |c| now(c, timestamp())),
    scalar("now([6])", "As `current_timestamp`", "", |c| now(c, timestamp())),
    scalar("localtimestamp([6])", "When the batch was planned, as a TIMESTAMP_NTZ", "", |c| now(c, timestamp_ntz())),
    scalar("current_date()", "The day on which the batch was planned", "", |c| now(c, DataType::Date32)),
    scalar("curdate()", "As `current_date`", "", |c| now(c, DataType::Date32)),
];

/// The session's zone.
pub(super) fn zone_of(c: &Call<'_>) -> Result<Zone> {
    let name = &c.context.settings.time_zone;
    zone_named(name)
}

/// The zone in which values of a type of timestamps are seen: what is not an instant has none.
fn zone_of_type(c: &Call<'_>, data_type: &DataType) -> Result<Zone> {
    match data_type {
        DataType::Timestamp(_, None) => Ok(Zone::UTC),
        _ => zone_of(c),
    }
}

fn invalid_zone(name: &str) -> Error {
    data_error("INVALID_TIMEZONE", format!("the time zone `{name}` is neither a region nor an offset"))
}

fn overflow(what: &str) -> Error {
    data_error("DATETIME_OVERFLOW", format!("{what} is beyond what a timestamp holds"))
}

/// The batch's time, as an instant or in the session's zone.
fn now(mut c: Call<'_>, data_type: DataType) -> Result<Typed> {
    arity(&c, 0, usize::from(data_type != DataType::Date32))?;
    if let Some(precision) = c.args.pop() {
        microseconds(&c, precision)?;
    }
    Ok(batch_time(c.name, data_type, zone_of(&c)?))
}

/// Today's date, in the session's zone.
pub(in crate::plan::spark) fn current_date(settings: &PlanSettings) -> Result<Typed> {
    Ok(batch_time("current_date", DataType::Date32, zone_named(&settings.time_zone)?))
}

/// The time of the batch, as a date or timestamp in `zone`.
fn batch_time(name: &str, data_type: DataType, zone: Zone) -> Typed {
    // Volatile, so that it is neither folded nor taken out of the plan: each batch has its own time.
    call(name, Vec::new(), Returns::fallible(data_type, false), move |a| {
        let (_, Moment { time_us: instant, .. }) = a.running()?;
        let clock = zone.clock(instant);
        match a.returns() {
            DataType::Date32 => a.primitive::<Date32Type>(|_| i32::try_from(clock.day).ok()),
            DataType::Timestamp(_, None) => {
                let local = clock.local().ok_or_else(|| overflow("the time of the batch"))?;
                a.primitive::<TimestampMicrosecondType>(|_| Some(local))
            }
            _ => a.primitive::<TimestampMicrosecondType>(|_| Some(instant)),
        }
    })
}

/// Spark takes the digits behind the point of a time that is now. Only 6 of them there are here, and with Spark's defaults.
fn microseconds(c: &Call<'_>, precision: Typed) -> Result<()> {
    let refused = |condition: &'static str, message: &str| {
        Err(Error::spark(ErrorKind::Config, condition, format!("`{}`: {message}", c.name)))
    };
    if !matches!(precision.data_type, DataType::Int32) {
        return refused("UNEXPECTED_INPUT_TYPE", "`precision` must be an INT");
    }
    match constant(&precision)? {
        Some(ScalarValue::Int32(Some(6))) => Ok(()),
        Some(ScalarValue::Int32(Some(7..=9))) => refused("FEATURE_NOT_ENABLED", "there are no times of nanoseconds"),
        Some(_) => refused("INVALID_TIMESTAMP_PRECISION", "a time has 6 digits behind its seconds"),
        None => refused("NON_FOLDABLE_ARGUMENT", "`precision` must be a constant expression"),
    }
}

/// A date and days to add, which must be a narrow whole number (or a text of one).
fn add_days(mut c: Call<'_>, negative: bool) -> Result<Typed> {
    arity(&c, 2, 2)?;
    let (days, date) = (c.args.remove(1), c.args.remove(0));
    let date = coerce_one(&c, 0, date, &Want::Date)?;
    let days = match days.data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Utf8 | DataType::Null => {
            convert(&c, days, &DataType::Int32)?
        }
        _ => expect_one(&c, 1, days, &Want::Int)?,
    };
    temporal::add_days(date, days, negative, c.context.settings)
}

fn date_diff(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Date, Want::Date])?;
    let returns = Returns::new(DataType::Int32, any_nullable(&args));
    Ok(call("datediff", args, returns, |a| {
        let (end, start) = (a.column::<Date32Array>(0)?, a.column::<Date32Array>(1)?);
        a.primitive::<Int32Type>(|row| Some(end.get(row)?.wrapping_sub(start.get(row)?)))
    }))
}

fn months_later(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Date, Want::Int])?;
    let returns = Returns::fallible(DataType::Date32, any_nullable(&args));
    Ok(call("add_months", args, returns, |a| {
        let (date, months) = (a.column::<Date32Array>(0)?, a.column::<Int32Array>(1)?);
        a.try_primitive::<Date32Type>(|row| {
            let (Some(date), Some(months)) = (date.get(row), months.get(row)) else { return Ok(None) };
            add_months(i64::from(date), i64::from(months))
                .map(Some)
                .ok_or_else(|| data_error("ARITHMETIC_OVERFLOW", "the date is beyond what a date holds"))
        })
    }))
}

/// Whole months between days that match (or both end a month), else by months of 31 days, rounded to 8 places unless told not to.
fn months_between(mut c: Call<'_>) -> Result<Typed> {
    let mut args = coerce_optional(&mut c, 2, &[Want::Timestamp, Want::Timestamp, Want::Boolean])?;
    if args.len() == 2 {
        args.push(literal(true.into()));
    }
    let zone = zone_of(&c)?;
    let returns = Returns::new(DataType::Float64, any_nullable(&args));
    Ok(call("months_between", args, returns, move |a| {
        let (end, start) = (a.column::<TimestampMicrosecondArray>(0)?, a.column::<TimestampMicrosecondArray>(1)?);
        let round = a.column::<arrow::array::BooleanArray>(2)?;
        a.primitive::<Float64Type>(|row| {
            let (end, start, round) = (zone.clock(end.get(row)?), zone.clock(start.get(row)?), round.get(row)?);
            let months = months_apart(end, start);
            Some(if round { (months * 1e8).round_ties_even() / 1e8 } else { months })
        })
    }))
}

fn months_apart(end: Clock, start: Clock) -> f64 {
    const SECONDS_IN_MONTH: f64 = 31.0 * 86_400.0;
    let parts = |clock: Clock| {
        let (year, month, day) = date_from_days(clock.day);
        (year * 12 + month, day, days_in_month(year, month) - day)
    };
    let ((m1, d1, left1), (m2, d2, left2)) = (parts(end), parts(start));
    let months = (m1 - m2) as f64;
    if d1 == d2 || (left1 == 0 && left2 == 0) {
        return months;
    }
    let seconds = |clock: Clock| clock.us / 1_000_000;
    let difference = (d1 - d2) * 86_400 + seconds(end) - seconds(start);
    months + difference as f64 / SECONDS_IN_MONTH
}

fn last_day(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Date])?;
    // The last month that a date can be in has no last day.
    let returns = Returns::new(DataType::Date32, true);
    Ok(call("last_day", args, returns, |a| {
        let date = a.column::<Date32Array>(0)?;
        a.primitive::<Date32Type>(|row| {
            let (year, month, _) = date_from_days(i64::from(date.get(row)?));
            days_from_date(year, month, days_in_month(year, month))
        })
    }))
}

fn next_day(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Date, Want::Text])?;
    let returns = Returns::fallible(DataType::Date32, any_nullable(&args));
    Ok(call("next_day", args, returns, |a| {
        let (date, name) = (a.column::<Date32Array>(0)?, a.column::<StringArray>(1)?);
        let mut wanted = Last::default();
        a.try_primitive::<Date32Type>(|row| {
            let (Some(date), Some(name)) = (date.get(row), name.get(row)) else { return Ok(None) };
            let wanted = wanted.get(name, named_weekday)?;
            let ahead = (wanted - field::weekday(i64::from(date)) - 1).rem_euclid(7) + 1;
            date.checked_add(ahead).map(Some).ok_or_else(|| overflow("the date"))
        })
    }))
}

/// 0 for Monday.
fn named_weekday(name: &str) -> Result<i32> {
    let is = |day: &str| [&day[..2], &day[..3], day].iter().any(|written| name.eq_ignore_ascii_case(written));
    let found = field::DAYS.iter().position(|day| is(day)).map(|place| place as i32);
    found.ok_or_else(|| data_error("ILLEGAL_DAY_OF_WEEK", format!("'{name}' is not a day of the week")))
}

fn timestamp_of(mut c: Call<'_>, factor: i64) -> Result<Typed> {
    arity(&c, 1, 1)?;
    let arg = c.args.remove(0);
    let arg = if arg.data_type == DataType::Null { arg } else { expect_one(&c, 0, arg, &Want::Integral)? };
    let arg = convert(&c, arg, &DataType::Int64)?;
    let returns = Returns::fallible_if(factor > 1, timestamp(), arg.nullable);
    Ok(call(c.name, vec![arg], returns, move |a| {
        let n = a.column::<Int64Array>(0)?;
        a.try_primitive::<TimestampMicrosecondType>(|row| {
            n.get(row).map(|n| n.checked_mul(factor).ok_or_else(|| overflow("the timestamp"))).transpose()
        })
    }))
}

/// Seconds since 1970; a fraction is cut at the microsecond where it is decimal, and goes to null from NaN and infinities.
fn timestamp_seconds(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 1)?;
    let arg = c.args.remove(0);
    if !is_numeric(&arg.data_type) && arg.data_type != DataType::Null {
        return Err(super::arguments::unexpected_type(&c, 0, &arg.data_type, &Want::Numeric));
    }
    match arg.data_type {
        DataType::Float32 | DataType::Float64 => {
            let arg = convert(&c, arg, &DataType::Float64)?;
            Ok(call(c.name, vec![arg], Returns::new(timestamp(), true), |a| {
                let n = a.column::<Float64Array>(0)?;
                a.primitive::<TimestampMicrosecondType>(|row| n.get(row).filter(|n| n.is_finite()).map(|n| (n * 1e6) as i64))
            }))
        }
        DataType::Decimal128(_, scale) => {
            let returns = Returns::fallible(timestamp(), arg.nullable);
            Ok(call(c.name, vec![arg], returns, move |a| {
                let n = a.column::<Decimal128Array>(0)?;
                let factor = 10_i128.checked_pow((6 - i32::from(scale)).max(0) as u32);
                let divisor = 10_i128.pow((i32::from(scale) - 6).max(0) as u32);
                a.try_primitive::<TimestampMicrosecondType>(|row| {
                    let Some(n) = n.get(row) else { return Ok(None) };
                    if n % divisor != 0 {
                        return Err(Error::new(ErrorKind::Data, "the seconds have more than six decimal places"));
                    }
                    factor
                        .and_then(|factor| (n / divisor).checked_mul(factor))
                        .and_then(|us| i64::try_from(us).ok())
                        .map(Some)
                        .ok_or_else(|| overflow("the timestamp"))
                })
            }))
        }
        _ => {
            c.args.push(arg);
            timestamp_of(c, 1_000_000)
        }
    }
}

/// Since 1970, in units of so many microseconds, rounded down.
fn unix(mut c: Call<'_>, unit: i64) -> Result<Typed> {
    arity(&c, 1, 1)?;
    let arg = c.args.remove(0);
    let arg = if arg.data_type == DataType::Null { convert(&c, arg, &timestamp())? } else { arg };
    let arg = expect_one(&c, 0, arg, &Want::AnyTimestamp)?;
    let returns = Returns::new(DataType::Int64, arg.nullable);
    Ok(call(c.name, vec![arg], returns, move |a| a.each::<TimestampMicrosecondType, Int64Type>(0, |us| us.div_euclid(unit))))
}

fn unix_date(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 1)?;
    let arg = c.args.remove(0);
    let arg = if arg.data_type == DataType::Null { convert(&c, arg, &DataType::Date32)? } else { arg };
    let arg = expect_one(&c, 0, arg, &Want::Date)?;
    let returns = Returns::new(DataType::Int32, arg.nullable);
    Ok(call("unix_date", vec![arg], returns, |a| {
        let date = a.column::<Date32Array>(0)?;
        a.primitive::<Int32Type>(|row| date.get(row))
    }))
}

fn date_from_unix_date(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Int])?;
    let returns = Returns::new(DataType::Date32, args[0].nullable);
    Ok(call("date_from_unix_date", args, returns, |a| {
        let days = a.column::<Int32Array>(0)?;
        a.primitive::<Date32Type>(|row| days.get(row))
    }))
}

/// `from_utc_timestamp` (out of UTC) and `to_utc_timestamp`: the clock time of one zone taken as that of the other.
fn shift_zone(mut c: Call<'_>, from_utc: bool) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Timestamp, Want::Text])?;
    let returns = Returns::fallible(timestamp(), any_nullable(&args));
    Ok(call(c.name, args, returns, move |a| {
        let (time, name) = (a.column::<TimestampMicrosecondArray>(0)?, a.column::<StringArray>(1)?);
        let mut zones = Last::default();
        a.try_primitive::<TimestampMicrosecondType>(|row| {
            let (Some(time), Some(name)) = (time.get(row), name.get(row)) else { return Ok(None) };
            let zone = zones.get(name, zone_named)?;
            let shifted = if from_utc { time.checked_add(zone.offset_at(time)) } else { zone.to_instant(time) };
            shifted.map(Some).ok_or_else(beyond)
        })
    }))
}

/// Of some functions Spark has no condition for what overflows.
fn beyond() -> Error {
    Error::new(ErrorKind::Data, "the result is beyond what a timestamp holds")
}

/// `convert_timezone([from,] to, clock time)`.
fn convert_timezone(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 3)?;
    if c.args.len() == 2 {
        c.args.insert(0, super::arguments::text(c.context.settings.time_zone.as_ref()));
    }
    let args = coerce(&mut c, &[Want::Text, Want::Text, Want::TimestampNtz])?;
    let returns = Returns::fallible(timestamp_ntz(), any_nullable(&args));
    Ok(call("convert_timezone", args, returns, |a| {
        let (from, to) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?);
        let time = a.column::<TimestampMicrosecondArray>(2)?;
        let (mut from_zones, mut to_zones) = (Last::default(), Last::default());
        a.try_primitive::<TimestampMicrosecondType>(|row| {
            let (Some(from), Some(to), Some(time)) = (from.get(row), to.get(row), time.get(row)) else { return Ok(None) };
            let from = from_zones.get(from, zone_named)?;
            let to = to_zones.get(to, zone_named)?;
            let instant = from.to_instant(time).ok_or_else(beyond)?;
            to.clock(instant).local().map(Some).ok_or_else(beyond)
        })
    }))
}

fn zone_named(name: &str) -> Result<Zone> {
    Zone::parse(name).ok_or_else(|| invalid_zone(name))
}

/// A constant text argument, upper case; `None` if it is null.
fn constant_name(c: &Call<'_>, name: &str, arg: &Typed) -> Result<Option<String>> {
    match require_constant(c, name, arg)? {
        ScalarValue::Utf8(text) => Ok(text.map(|t| t.to_uppercase())),
        _ => Ok(None),
    }
}

/// A cast that gives null where it fails, if `mode` says so.
fn cast_in(c: &Call<'_>, arg: Typed, to: &DataType, mode: CastMode) -> Result<Typed> {
    cast(arg, to, mode, c.context.settings)
}

/// A decimal column of seconds with six places.
fn seconds_decimal(values: impl Iterator<Item = Option<i64>>) -> Result<arrow::array::ArrayRef> {
    let values: Decimal128Array = values.map(|v| v.map(i128::from)).collect();
    let values: arrow::array::PrimitiveArray<Decimal128Type> = values.with_data_type(DataType::Decimal128(8, 6));
    Ok(Arc::new(values))
}
