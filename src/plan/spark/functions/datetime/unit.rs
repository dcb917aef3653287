//! Truncation to a unit, and arithmetic in units.

use arrow::array::{Date32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Date32Type, Int64Type, TimestampMicrosecondType};
use datafusion::scalar::ScalarValue;

use super::super::super::cast::time::{Clock, DAY_US, date_from_days, days_from_date, later};
use super::super::super::{Call, Typed};
use super::super::arguments::{Want, any_nullable, arity, coerce, coerce_one, constant, null_of, timestamp};
use super::super::native::{Last, Returns, call};
use super::field::{quarter, weekday};
use super::{constant_name, overflow, zone_of, zone_of_type};
use crate::error::{Error, ErrorKind, Result};

/// A unit that dates and times are cut to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Year,
    Quarter,
    Month,
    Week,
    Micros(i64),
}

impl Unit {
    fn named(name: &str) -> Option<Self> {
        const UNITS: [(&str, Unit); 15] = [
            ("YEAR", Unit::Year),
            ("YYYY", Unit::Year),
            ("YY", Unit::Year),
            ("QUARTER", Unit::Quarter),
            ("MONTH", Unit::Month),
            ("MON", Unit::Month),
            ("MM", Unit::Month),
            ("WEEK", Unit::Week),
            ("DAY", Unit::Micros(DAY_US)),
            ("DD", Unit::Micros(DAY_US)),
            ("HOUR", Unit::Micros(3_600_000_000)),
            ("MINUTE", Unit::Micros(60_000_000)),
            ("SECOND", Unit::Micros(1_000_000)),
            ("MILLISECOND", Unit::Micros(1000)),
            ("MICROSECOND", Unit::Micros(1)),
        ];
        UNITS.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, unit)| *unit)
    }

    /// The first day of the unit that the day is in; `None` for units below a week.
    fn first_day(self, days: i64) -> Option<i64> {
        let (year, month, _) = date_from_days(days);
        let first = match self {
            Self::Year => days_from_date(year, 1, 1)?,
            Self::Quarter => days_from_date(year, i64::from(quarter(days)) * 3 - 2, 1)?,
            Self::Month => days_from_date(year, month, 1)?,
            Self::Week => return Some(days - i64::from(weekday(days))),
            Self::Micros(_) => return None,
        };
        Some(i64::from(first))
    }
}

fn midnight(day: i64) -> Clock {
    Clock { day, us: 0 }
}

/// Whether a unit is a constant that is none of those that are `known`: Spark does not look at the time beside it.
fn is_unknown(unit: &Typed, known: impl Fn(Unit) -> bool) -> bool {
    match constant(unit) {
        Ok(Some(ScalarValue::Utf8(name))) => !name.as_deref().and_then(Unit::named).is_some_and(known),
        _ => false,
    }
}

/// `date_trunc(unit, timestamp)`; null for an unknown unit.
pub(super) fn date_trunc(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text, Want::Timestamp])?;
    if is_unknown(&args[0], |_| true) {
        return null_of(timestamp());
    }
    let zone = zone_of(&c)?;
    Ok(call("date_trunc", args, Returns::new(timestamp(), true), move |a| {
        let (unit, time) = (a.column::<StringArray>(0)?, a.column::<TimestampMicrosecondArray>(1)?);
        // The unit is nearly always a constant: read its name once.
        let constant = if unit.is_constant() { Some(unit.get(0).and_then(Unit::named)) } else { None };
        a.primitive::<TimestampMicrosecondType>(|row| {
            let unit = constant.unwrap_or_else(|| unit.get(row).and_then(Unit::named))?;
            let us = time.get(row)?;
            let clock = zone.clock(us);
            match unit {
                Unit::Micros(unit) if unit < DAY_US => us.checked_sub(clock.us % unit),
                Unit::Micros(_) => zone.instant(midnight(clock.day)),
                unit => zone.instant(midnight(unit.first_day(clock.day)?)),
            }
        })
    }))
}

/// `trunc(date, unit)`; null for an unknown unit and for one below a week.
pub(super) fn trunc(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Date, Want::Text])?;
    if is_unknown(&args[1], |unit| unit.first_day(0).is_some()) {
        return null_of(DataType::Date32);
    }
    Ok(call("trunc", args, Returns::new(DataType::Date32, true), |a| {
        let (date, unit) = (a.column::<Date32Array>(0)?, a.column::<StringArray>(1)?);
        let mut units = Last::default();
        a.primitive::<Date32Type>(|row| {
            let (date, unit) = (date.get(row)?, unit.get(row)?);
            let unit = (*units.get(unit, |name| Ok(Unit::named(name))).ok()?)?;
            unit.first_day(i64::from(date)).and_then(|d| i32::try_from(d).ok())
        })
    }))
}

/// A unit of `timestampadd` and `timestampdiff`.
#[derive(Debug, Clone, Copy)]
enum Step {
    Months(i64),
    Days(i64),
    Micros(i64),
}

fn step(c: &Call<'_>, arg: &Typed) -> Result<Step> {
    let name = constant_name(c, "unit", arg)?.unwrap_or_default();
    Ok(match name.as_str() {
        "MICROSECOND" => Step::Micros(1),
        "MILLISECOND" => Step::Micros(1000),
        "SECOND" => Step::Micros(1_000_000),
        "MINUTE" => Step::Micros(60_000_000),
        "HOUR" => Step::Micros(3_600_000_000),
        "DAY" => Step::Days(1),
        "DAYOFYEAR" if c.name == "timestampadd" => Step::Days(1),
        "WEEK" => Step::Days(7),
        "MONTH" => Step::Months(1),
        "QUARTER" => Step::Months(3),
        "YEAR" => Step::Months(12),
        _ => {
            return Err(Error::spark(
                ErrorKind::Config,
                "INVALID_PARAMETER_VALUE.DATETIME_UNIT",
                format!("`{}` expects a unit such as HOUR, not `{name}`", c.name),
            ));
        }
    })
}

/// `timestampadd(unit, count, timestamp)`.
pub(super) fn timestamp_add(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 3, 3)?;
    let (time, count, unit) = (c.args.remove(2), c.args.remove(1), c.args.remove(0));
    let step = step(&c, &unit)?;
    let count = coerce_one(&c, 1, count, &Want::Long)?;
    let time = coerce_one(&c, 2, time, &Want::AnyTimestamp)?;
    let zone = zone_of_type(&c, &time.data_type)?;
    let data_type = time.data_type.clone();
    let args = vec![unit, count, time];
    let returns = Returns::fallible(data_type, any_nullable(&args));
    Ok(call("timestampadd", args, returns, move |a| {
        let (count, time) = (a.column::<Int64Array>(1)?, a.column::<TimestampMicrosecondArray>(2)?);
        a.try_primitive::<TimestampMicrosecondType>(|row| {
            let (Some(count), Some(us)) = (count.get(row), time.get(row)) else { return Ok(None) };
            let added = match step {
                Step::Micros(unit) => count.checked_mul(unit).and_then(|by| us.checked_add(by)),
                Step::Days(unit) => {
                    count.checked_mul(unit).and_then(|days| later(zone.clock(us), 0, days)).and_then(|clock| zone.instant(clock))
                }
                Step::Months(unit) => count
                    .checked_mul(unit)
                    .and_then(|months| later(zone.clock(us), months, 0))
                    .and_then(|clock| zone.instant(clock)),
            };
            added.map(Some).ok_or_else(|| overflow("the timestamp"))
        })
    }))
}

/// `timestampdiff(unit, start, end)`: whole units, towards zero.
pub(super) fn timestamp_diff(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 3, 3)?;
    let (end, start, unit) = (c.args.remove(2), c.args.remove(1), c.args.remove(0));
    let step = step(&c, &unit)?;
    let start = coerce_one(&c, 1, start, &Want::AnyTimestamp)?;
    let end = coerce_one(&c, 2, end, &Want::AnyTimestamp)?;
    let (start_zone, end_zone) = (zone_of_type(&c, &start.data_type)?, zone_of_type(&c, &end.data_type)?);
    let args = vec![unit, start, end];
    // Of the smallest unit there may be too many.
    let returns = Returns::fallible_if(matches!(step, Step::Micros(1)), DataType::Int64, any_nullable(&args));
    Ok(call("timestampdiff", args, returns, move |a| {
        let (start, end) = (a.column::<TimestampMicrosecondArray>(1)?, a.column::<TimestampMicrosecondArray>(2)?);
        a.try_primitive::<Int64Type>(|row| {
            let (Some(start), Some(end)) = (start.get(row), end.get(row)) else { return Ok(None) };
            let (start, end) = (start_zone.clock(start), end_zone.clock(end));
            let between = match step {
                Step::Micros(unit) => apart(start, end, unit),
                Step::Days(unit) => apart(start, end, unit * DAY_US),
                Step::Months(unit) => Some(whole_months(start, end) / unit),
            };
            // Spark has no condition for this.
            between.map(Some).ok_or_else(|| Error::new(ErrorKind::Data, "two times lie further apart than a BIGINT counts"))
        })
    }))
}

/// Whole units of so many microseconds between two clocks.
fn apart(start: Clock, end: Clock, unit: i64) -> Option<i64> {
    match end.local().zip(start.local()).and_then(|(end, start)| end.checked_sub(start)) {
        Some(us) => Some(us / unit),
        None => i64::try_from((end.wide() - start.wide()) / i128::from(unit)).ok(),
    }
}

/// Months that have passed in full, counted by the day of the month and the time of day.
fn whole_months(start: Clock, end: Clock) -> i64 {
    let place = |clock: Clock| {
        let (year, month, day) = date_from_days(clock.day);
        (year * 12 + month, (day, clock.us))
    };
    let ((m1, rest1), (m2, rest2)) = (place(start), place(end));
    let months = m2 - m1;
    if months > 0 && rest2 < rest1 {
        months - 1
    } else if months < 0 && rest2 > rest1 {
        months + 1
    } else {
        months
    }
}
