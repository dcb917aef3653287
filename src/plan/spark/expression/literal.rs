//! Literals.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use sqlparser::ast::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::Typed;
use crate::plan::spark::types::DECIMAL_PRECISION_MAX;

/// A literal of a known value.
pub fn literal(value: ScalarValue) -> Typed {
    let (data_type, nullable) = (value.data_type(), value.is_null());
    Typed { expr: Expr::Literal(value, None), data_type, nullable }
}

/// A string.
pub fn text(value: &str) -> Typed {
    literal(ScalarValue::Utf8(Some(value.to_owned())))
}

/// A plain literal as the parser yields it.
pub(super) fn value(value: &Value) -> Result<Typed> {
    match value {
        Value::Null => Ok(literal(ScalarValue::Null)),
        Value::Boolean(b) => Ok(literal(ScalarValue::Boolean(Some(*b)))),
        Value::Number(text, long) => number(text, *long, false),
        Value::SingleQuotedString(s) => Ok(text(s)),
        Value::Placeholder(name) => {
            Err(Error::spark(ErrorKind::Config, "UNBOUND_SQL_PARAMETER", format!("the parameter `{name}` has no value")))
        }
        other => Err(super::unsupported(&format!("the literal `{other}`"))),
    }
}

/// A number, whose suffix decides its type; `negative` where a minus stands before it.
pub(super) fn number(text: &str, long: bool, negative: bool) -> Result<Typed> {
    let upper = text.to_ascii_uppercase();
    let sign = if negative { "-" } else { "" };
    let split = |suffix: &str| upper.strip_suffix(suffix).map(|digits| format!("{sign}{digits}"));
    let integral = |digits: &str, name: &str| match digits.contains(['.', 'E']) {
        true => Error::spark(
            ErrorKind::Config,
            "PARSE_SYNTAX_ERROR",
            format!("the literal {digits} of type {name} is no whole number"),
        ),
        false => out_of_range(digits, name),
    };
    if long {
        let digits = format!("{sign}{upper}");
        return digits.parse().map(|n| literal(ScalarValue::Int64(Some(n)))).map_err(|_| integral(&digits, "bigint"));
    }
    if let Some(digits) = split("BD") {
        return decimal(&digits);
    }
    if let Some(digits) = split("Y") {
        return digits.parse().map(|n| literal(ScalarValue::Int8(Some(n)))).map_err(|_| integral(&digits, "tinyint"));
    }
    if let Some(digits) = split("S") {
        return digits.parse().map(|n| literal(ScalarValue::Int16(Some(n)))).map_err(|_| integral(&digits, "smallint"));
    }
    if let Some(digits) = split("D") {
        return double(&digits);
    }
    if let Some(digits) = split("F") {
        return match digits.parse::<f32>() {
            Ok(n) if n.is_finite() && !(n.abs() == f32::MAX && is_above(&digits, FLOAT_MAX)) => {
                Ok(literal(ScalarValue::Float32(Some(n))))
            }
            _ => Err(out_of_range(&digits, "float")),
        };
    }
    let digits = format!("{sign}{upper}");
    if upper.contains('E') {
        return double(&digits);
    }
    if upper.contains('.') {
        return decimal(&digits);
    }
    if let Ok(n) = digits.parse() {
        return Ok(literal(ScalarValue::Int32(Some(n))));
    }
    match digits.parse() {
        Ok(n) => Ok(literal(ScalarValue::Int64(Some(n)))),
        Err(_) => decimal(&digits),
    }
}

fn double(digits: &str) -> Result<Typed> {
    match digits.parse::<f64>() {
        Ok(n) if n.is_finite() && !(n.abs() == f64::MAX && is_above(digits, DOUBLE_MAX)) => {
            Ok(literal(ScalarValue::Float64(Some(n))))
        }
        _ => Err(out_of_range(digits, "double")),
    }
}

/// The digits of the greatest FLOAT and DOUBLE as Spark compares a literal with them.
const FLOAT_MAX: &str = "34028234663852886";
const DOUBLE_MAX: &str = "17976931348623157";

/// Whether a number that is rounded to the greatest one there is was written as more than it, whose digits are `greatest`.
fn is_above(number: &str, greatest: &str) -> bool {
    let mantissa = number.split(['E', 'e']).next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0');
    // Both have the same number of digits before the point, so that their digits are in the order of their values.
    digits.gt(greatest.bytes().chain(std::iter::repeat(b'0')).take(mantissa.len().max(greatest.len())))
}

/// A decimal of just the digits that are written.
fn decimal(text: &str) -> Result<Typed> {
    let (mantissa, exponent) = match text.split_once('E') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().unwrap_or(i64::MAX)),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let too_wide = || {
        Error::spark(
            ErrorKind::Config,
            "DECIMAL_PRECISION_EXCEEDS_MAX_PRECISION",
            format!("the literal {text} needs more than {DECIMAL_PRECISION_MAX} digits"),
        )
    };
    let mut scale = fraction.len() as i64 - exponent.clamp(-1_000, 1_000);
    let digits = format!("{whole}{fraction}");
    let mut unscaled: i128 = digits.parse().map_err(|_| too_wide())?;
    while scale < 0 {
        unscaled = unscaled.checked_mul(10).ok_or_else(too_wide)?;
        scale += 1;
    }
    let used = unscaled.unsigned_abs().checked_ilog10().map_or(1, |n| i64::from(n) + 1);
    let precision = used.max(scale);
    if precision > i64::from(DECIMAL_PRECISION_MAX) {
        return Err(too_wide());
    }
    Ok(literal(ScalarValue::Decimal128(Some(unscaled), precision as u8, scale as i8)))
}

fn out_of_range(digits: &str, name: &str) -> Error {
    Error::spark(
        ErrorKind::Config,
        "INVALID_NUMERIC_LITERAL_RANGE",
        format!("the literal {digits} is outside the range of {name}"),
    )
}
