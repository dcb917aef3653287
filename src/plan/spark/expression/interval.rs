//! INTERVAL literals.

use std::fmt::Write;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use sqlparser::ast;

use super::literal::literal;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::Typed;
use crate::plan::spark::cast::time::{DAY_US, write_fraction};

const UNITS: [(&str, i64); 7] = [
    ("week", 7 * DAY_US),
    ("day", DAY_US),
    ("hour", 3_600_000_000),
    ("minute", 60_000_000),
    ("second", 1_000_000),
    ("millisecond", 1_000),
    ("microsecond", 1),
];

/// An interval as the parser yields it: either `value unit value unit …` as text, or a text with a first and a last field.
pub(super) fn interval(interval: &ast::Interval) -> Result<Typed> {
    let ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::SingleQuotedString(text), .. }) = interval.value.as_ref() else {
        return Err(super::unsupported("an interval of an expression"));
    };
    match (&interval.leading_field, &interval.last_field) {
        (Some(first), Some(last)) => between_fields(text, &unit_name(first), &unit_name(last)),
        _ => units(text),
    }
}

/// The literal as Spark prints it: `INTERVAL '1' DAY`, `INTERVAL '1 02:03' DAY TO MINUTE`.
pub(super) fn name(written: &ast::Interval) -> Option<String> {
    let ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::SingleQuotedString(text), .. }) = written.value.as_ref() else {
        return None;
    };
    let fields: Vec<usize> = match (&written.leading_field, &written.last_field) {
        (Some(first), Some(last)) => vec![field_of(&unit_name(first))?, field_of(&unit_name(last))?],
        _ => text.to_lowercase().split_whitespace().skip(1).step_by(2).map(field_of).collect::<Option<_>>()?,
    };
    let (first, last) = (*fields.iter().min()?, *fields.iter().max()?);
    let value = match interval(written).ok()?.expr {
        Expr::Literal(ScalarValue::IntervalYearMonth(Some(months)), _) => i64::from(months),
        Expr::Literal(ScalarValue::DurationSecond(Some(seconds)), _) => seconds.checked_mul(1_000_000)?,
        Expr::Literal(ScalarValue::DurationMicrosecond(Some(us)), _) => us,
        _ => return None,
    };
    let sign = if value < 0 { "-" } else { "" };
    let mut rest = value.unsigned_abs();
    let mut shown = String::new();
    for field in first..=last {
        let each = FIELD_SIZES[field];
        let (count, separator) = (rest / each, ["", "-", "", " ", ":", ":"][field]);
        let width = if field > first && field > 2 { 2 } else { 1 };
        let separator = if field == first { "" } else { separator };
        let _ = write!(shown, "{separator}{count:0width$}");
        rest %= each;
        if field == 5 {
            let _ = write_fraction(&mut shown, rest as i64);
        }
    }
    let names = ["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"];
    let range = if first == last { names[first].to_owned() } else { format!("{} TO {}", names[first], names[last]) };
    Some(format!("INTERVAL '{sign}{shown}' {range}"))
}

/// Months of a year and a month, then microseconds of a day, an hour, a minute and a second.
const FIELD_SIZES: [u64; 6] = [12, 1, 86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000];

fn field_of(unit: &str) -> Option<usize> {
    Some(match unit.strip_suffix('s').unwrap_or(unit) {
        "year" => 0,
        "month" => 1,
        "week" | "day" => 2,
        "hour" => 3,
        "minute" => 4,
        "second" | "millisecond" | "microsecond" => 5,
        _ => return None,
    })
}

fn unit_name(field: &ast::DateTimeField) -> String {
    field.to_string().to_lowercase()
}

fn invalid(condition: &'static str, text: &str, why: &str) -> Error {
    Error::spark(ErrorKind::Config, condition, format!("cannot read the interval '{text}': {why}"))
}

fn malformed(text: &str) -> Error {
    invalid("INVALID_INTERVAL_FORMAT.INPUT_IS_EMPTY", text, "a number and a unit are needed")
}

fn overflow(text: &str) -> Error {
    invalid("INVALID_INTERVAL_FORMAT.ARITHMETIC_EXCEPTION", text, "it is out of range")
}

/// The literal that `text` is as an interval: `10 minutes`, `1 day 2 hours`.
pub(in crate::plan::spark) fn from_text(text: &str) -> Result<Expr> {
    units(text).map(|typed| typed.expr)
}

/// An interval of calendar months, calendar days and microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CalendarInterval {
    /// Months.
    pub months: i64,
    /// Days, of whatever length.
    pub days: i64,
    /// Microseconds.
    pub us: i64,
}

/// The interval that `text` says, of any fields together; nothing if it says none.
pub(in crate::plan::spark) fn calendar_interval(text: &str) -> Option<CalendarInterval> {
    let Fields { months, days, us } = fields(text).ok()?;
    let (months, days, us) = (months.unwrap_or(0), days.unwrap_or(0), us.unwrap_or(0));
    (i32::try_from(months).is_ok() && i32::try_from(days).is_ok()).then_some(CalendarInterval { months, days, us })
}

/// What a text says of each kind of field.
#[derive(Default)]
struct Fields {
    months: Option<i64>,
    days: Option<i64>,
    us: Option<i64>,
}

/// `1 day -2 hours`, any case, units in the singular or plural.
fn fields(text: &str) -> Result<Fields> {
    let lower = text.to_lowercase();
    let lower = lower.trim().strip_prefix("interval ").unwrap_or(&lower);
    let words: Vec<&str> = lower.split_whitespace().collect();
    if words.is_empty() || words.len() % 2 == 1 {
        return Err(malformed(text));
    }
    let mut fields = Fields::default();
    for pair in words.chunks_exact(2) {
        let unit = pair[1].strip_suffix('s').unwrap_or(pair[1]);
        let (whole, fraction_us) = number(text, pair[0], unit)?;
        let (sum, each) = match unit {
            "year" => (&mut fields.months, 12),
            "month" => (&mut fields.months, 1),
            "week" => (&mut fields.days, 7),
            "day" => (&mut fields.days, 1),
            _ => match UNITS.iter().find(|(name, _)| *name == unit) {
                Some((_, each)) => (&mut fields.us, *each),
                None => {
                    return Err(invalid("INVALID_INTERVAL_FORMAT.INVALID_UNIT", text, &format!("there is no unit {}", pair[1])));
                }
            },
        };
        let more = whole.checked_mul(each).and_then(|n| n.checked_add(fraction_us)).and_then(|n| n.checked_add(sum.unwrap_or(0)));
        *sum = Some(more.ok_or_else(|| overflow(text))?);
    }
    Ok(fields)
}

/// The same as a literal, which has months or days and parts of these.
fn units(text: &str) -> Result<Typed> {
    match fields(text)? {
        Fields { months: Some(months), days: None, us: None } => year_month(text, months),
        Fields { months: None, days: Some(days), us: None } => {
            let seconds = days.checked_mul(86_400).filter(|seconds| seconds.checked_mul(1_000_000).is_some());
            Ok(literal(ScalarValue::DurationSecond(Some(seconds.ok_or_else(|| overflow(text))?))))
        }
        Fields { months: None, days, us } => {
            let total = days.unwrap_or(0).checked_mul(DAY_US).and_then(|n| n.checked_add(us.unwrap_or(0)));
            Ok(literal(ScalarValue::DurationMicrosecond(Some(total.ok_or_else(|| overflow(text))?))))
        }
        _ => Err(invalid("_LEGACY_ERROR_TEMP_0029", text, "year-month and day-time fields cannot be mixed")),
    }
}

/// The whole number and, for seconds, its fraction in microseconds.
fn number(text: &str, number: &str, unit: &str) -> Result<(i64, i64)> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let wrong = || invalid("INVALID_INTERVAL_FORMAT.INVALID_VALUE", text, &format!("{number} is not a number"));
    if !fraction.is_empty() && unit != "second" {
        return Err(invalid("INVALID_INTERVAL_FORMAT.INVALID_FRACTION", text, &format!("{unit}s cannot have a fraction")));
    }
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let negative = whole.starts_with('-');
    let value = match whole {
        "" | "-" | "+" if !fraction.is_empty() => 0,
        whole => whole.parse().map_err(|_| wrong())?,
    };
    let mut us = fraction.bytes().chain(std::iter::repeat(b'0')).take(6).fold(0, |us, b| us * 10 + i64::from(b - b'0'));
    if negative {
        us = -us;
    }
    Ok((value, us))
}

fn year_month(text: &str, months: i64) -> Result<Typed> {
    let months = i32::try_from(months).map_err(|_| overflow(text))?;
    Ok(literal(ScalarValue::IntervalYearMonth(Some(months))))
}

/// `'1-2' YEAR TO MONTH`, `'1 02:03:04.5' DAY TO SECOND` and the forms between them.
fn between_fields(text: &str, first: &str, last: &str) -> Result<Typed> {
    let wrong = || {
        invalid(
            "INVALID_INTERVAL_FORMAT.UNMATCHED_FORMAT_STRING",
            text,
            &format!("it is not of the form {} TO {}", first.to_uppercase(), last.to_uppercase()),
        )
    };
    let (mut negative, mut body) = (false, text.trim());
    while let Some(rest) = body.strip_prefix('-').inspect(|_| negative = !negative).or_else(|| body.strip_prefix('+')) {
        body = rest;
    }
    let signed = |n: i64| if negative { -n } else { n };
    let whole = |digits: &str| {
        if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse::<i64>().map_err(|_| wrong()) } else { Err(wrong()) }
    };
    if (first, last) == ("year", "month") {
        let (years, months) = body.split_once('-').ok_or_else(wrong)?;
        let (years, months) = (whole(years)?, whole(months)?);
        if months > 11 {
            return Err(wrong());
        }
        let total = years.checked_mul(12).and_then(|m| m.checked_add(months)).ok_or_else(|| overflow(text))?;
        return year_month(text, signed(total));
    }
    const FIELDS: [&str; 4] = ["day", "hour", "minute", "second"];
    let position = |name: &str| FIELDS.iter().position(|f| *f == name);
    let (Some(start), Some(end)) = (position(first), position(last)) else { return Err(wrong()) };
    if start >= end {
        return Err(wrong());
    }
    let parts: Vec<&str> = body.split([' ', ':']).collect();
    let blank_after_day = body.contains(' ') == (start == 0);
    if parts.len() != end - start + 1 || !blank_after_day {
        return Err(wrong());
    }
    let mut total: i64 = 0;
    for (i, part) in parts.iter().enumerate() {
        let field = start + i;
        let (value, us) = if field == 3 { number(text, part, "second")? } else { (whole(part)?, 0) };
        let limit = [i64::MAX, 23, 59, 59][field];
        if value < 0 || i > 0 && value > limit {
            return Err(wrong());
        }
        let each = UNITS[field + 1].1;
        total = value
            .checked_mul(each)
            .and_then(|n| n.checked_add(us))
            .and_then(|n| n.checked_add(total))
            .ok_or_else(|| overflow(text))?;
    }
    Ok(literal(ScalarValue::DurationMicrosecond(Some(signed(total)))))
}
