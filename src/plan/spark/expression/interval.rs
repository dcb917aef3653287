//! INTERVAL literals.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use sqlparser::ast;

use super::literal::literal;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::Typed;
use crate::plan::spark::cast::interval::read_fields;
use crate::plan::spark::cast::time::DAY_US;
use crate::plan::spark::dialect::WITHIN_VALUE;
use crate::plan::spark::types::interval::IntervalRange;

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
    let text = match interval.value.as_ref() {
        ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::SingleQuotedString(text), .. }) => text,
        ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Number(number, _), .. }) => {
            return Err(invalid("_LEGACY_ERROR_TEMP_0027", number, "from one unit to another only a text is read"));
        }
        _ => return Err(super::unsupported("an interval of an expression")),
    };
    match (&interval.leading_field, &interval.last_field) {
        (Some(first), Some(last)) => between_fields(text, &unit_name(first), &unit_name(last)),
        (Some(_), None) => units(text),
        // A text that names its units itself.
        (None, _) => units(text).map_err(|error| match error.condition() {
            Some("_LEGACY_ERROR_TEMP_0029") => error,
            _ => invalid("INVALID_TYPED_LITERAL", text, "a number and a unit are needed"),
        }),
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
    let range = IntervalRange::new(*fields.iter().min()?, *fields.iter().max()?)?;
    let value = match interval(written).ok()?.expr {
        Expr::Literal(ScalarValue::IntervalYearMonth(Some(months)) | ScalarValue::Decimal32(Some(months), ..), _) => {
            months.into()
        }
        Expr::Literal(ScalarValue::DurationSecond(Some(seconds)), _) => seconds.checked_mul(1_000_000)?,
        Expr::Literal(ScalarValue::DurationMicrosecond(Some(us)) | ScalarValue::Decimal64(Some(us), ..), _) => us,
        _ => return None,
    };
    let mut shown = String::new();
    range.write(&mut shown, value).ok()?;
    Some(shown)
}

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
    let value = units(text)?;
    Ok(match value.expr {
        Expr::Literal(ScalarValue::Decimal64(us, ..), meta) => Expr::Literal(ScalarValue::DurationMicrosecond(us), meta),
        Expr::Literal(ScalarValue::Decimal32(months, ..), meta) => Expr::Literal(ScalarValue::IntervalYearMonth(months), meta),
        other => other,
    })
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
    let lower = text.to_lowercase().replace(['\t', '\n', '\r'], " ");
    let lower = lower.trim().strip_prefix("interval ").unwrap_or(&lower);
    // Blanks may stand behind a sign.
    let lower = ["-", "+"].into_iter().fold(lower.to_owned(), |lower, sign| {
        let mut parts = lower.split(sign);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |whole, part| whole + sign + part.trim_start())
    });
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

/// The same as a literal, which has months or days and parts of these, of the units that it names.
fn units(text: &str) -> Result<Typed> {
    let Fields { months, days, us } = fields(text)?;
    if months.is_some() && (days.is_some() || us.is_some()) {
        return Err(invalid("_LEGACY_ERROR_TEMP_0029", text, "year-month and day-time fields cannot be mixed"));
    }
    let lower = text.to_lowercase();
    let named = lower.split_whitespace().filter_map(field_of);
    let (first, last) = named.fold((5, 0), |(first, last), field| (first.min(field), last.max(field)));
    let range = IntervalRange::new(first, last).ok_or_else(|| malformed(text))?;
    let value = match months {
        Some(months) => months,
        None => {
            let total = days.unwrap_or(0).checked_mul(DAY_US).and_then(|n| n.checked_add(us.unwrap_or(0)));
            // Days have bounds of their own, which are wider.
            let condition = match i32::try_from(days.unwrap_or(0)) {
                Ok(_) => "INTERVAL_ARITHMETIC_OVERFLOW.WITHOUT_SUGGESTION",
                Err(_) => "INVALID_INTERVAL_FORMAT.ARITHMETIC_EXCEPTION",
            };
            total.ok_or_else(|| invalid(condition, text, "it is out of range"))?
        }
    };
    of_range(range, value).ok_or_else(|| overflow(text))
}

/// Months or microseconds as a literal of a range.
fn of_range(range: IntervalRange, value: i64) -> Option<Typed> {
    Some(literal(match range.data_type() {
        DataType::Duration(TimeUnit::Second) => ScalarValue::DurationSecond(Some(value / 1_000_000)),
        DataType::Interval(_) => ScalarValue::IntervalYearMonth(Some(i32::try_from(value).ok()?)),
        DataType::Decimal32(precision, scale) => ScalarValue::Decimal32(Some(i32::try_from(value).ok()?), precision, scale),
        DataType::Decimal64(precision, scale) => ScalarValue::Decimal64(Some(value), precision, scale),
        _ => ScalarValue::DurationMicrosecond(Some(value)),
    }))
}

/// The whole number and, for seconds, its fraction in microseconds.
fn number(text: &str, number: &str, unit: &str) -> Result<(i64, i64)> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_number = number.bytes().any(|b| b.is_ascii_digit()) && !number.contains(WITHIN_VALUE);
    let condition = if is_number { "INVALID_INTERVAL_FORMAT.INVALID_VALUE" } else { "_LEGACY_ERROR_TEMP_0026" };
    let wrong = || invalid(condition, text, &format!("{number} is not a number"));
    if !fraction.is_empty() && unit != "second" {
        return Err(invalid("INVALID_INTERVAL_FORMAT.INVALID_FRACTION", text, &format!("{unit}s cannot have a fraction")));
    }
    if fraction.len() > 9 && fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid("INVALID_INTERVAL_FORMAT.INVALID_PRECISION", text, "seconds have nine decimal places at most"));
    }
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let negative = whole.starts_with('-');
    let value = match whole {
        "" | "-" | "+" if !fraction.is_empty() => 0,
        whole => whole.parse().map_err(|_| {
            let digits = whole.strip_prefix(['-', '+']).unwrap_or(whole);
            if digits.bytes().all(|b| b.is_ascii_digit()) && !digits.is_empty() { overflow(text) } else { wrong() }
        })?,
    };
    let mut us = fraction.bytes().chain(std::iter::repeat(b'0')).take(6).fold(0, |us, b| us * 10 + i64::from(b - b'0'));
    if negative {
        us = -us;
    }
    Ok((value, us))
}

/// `'1-2' YEAR TO MONTH`, `'1 02:03:04.5' DAY TO SECOND` and the forms between them.
fn between_fields(text: &str, first: &str, last: &str) -> Result<Typed> {
    let range = match (field_of(first), field_of(last)) {
        (Some(first), Some(last)) => IntervalRange::new(first, last).filter(|range| range.first < range.last),
        _ => None,
    };
    let Some(range) = range else {
        return Err(invalid("INVALID_INTERVAL_FORMAT.UNSUPPORTED_FROM_TO_EXPRESSION", text, "there is no such range of units"));
    };
    let body = text.trim();
    // A minus in front of the text and one within it make a plus.
    let (negative, body) = match body.strip_prefix("--") {
        Some(rest) => (false, rest),
        None => (body.starts_with('-'), body.strip_prefix(['-', '+']).unwrap_or(body)),
    };
    let signed = if negative { format!("-{body}") } else { body.to_owned() };
    read_fields(&signed, range)
        .map_err(|why| why.error(text, range, ErrorKind::Config))
        .and_then(|value| of_range(range, value).ok_or_else(|| overflow(text)))
}
