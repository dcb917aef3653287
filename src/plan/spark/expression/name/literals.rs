//! How Spark prints literals.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use sqlparser::ast;

use super::literal;
use crate::format::number::{double_text, float_text};
use crate::plan::spark::cast::decimal::write_decimal;
use crate::plan::spark::cast::time::{Clock, ParsedTime, parse_date, parse_timestamp, write_date, write_timestamp};

/// A literal as it is printed.
pub(super) fn value_text(value: &ast::Value, negative: bool) -> String {
    match value {
        ast::Value::Null => "NULL".into(),
        ast::Value::SingleQuotedString(text) => text.clone(),
        ast::Value::Number(digits, long) => match literal::number(digits, *long, negative).map(|typed| typed.expr) {
            Ok(Expr::Literal(ScalarValue::Float64(Some(v)), _)) => double_text(v).to_string(),
            Ok(Expr::Literal(ScalarValue::Float32(Some(v)), _)) => float_text(v).to_string(),
            Ok(Expr::Literal(ScalarValue::Decimal128(Some(v), _, scale), _)) => decimal_text(v, scale),
            Ok(Expr::Literal(number, _)) => number.to_string(),
            _ => digits.clone(),
        },
        other => other.to_string(),
    }
}

/// `DATE '…'` and its like.
pub(super) fn typed_text(typed: &ast::TypedString) -> String {
    let name = typed.data_type.to_string().to_uppercase();
    let ast::Value::SingleQuotedString(written) = &typed.value.value else { return typed.to_string() };
    let mut text = String::new();
    let normal = match name.as_str() {
        "DATE" => parse_date(written.as_bytes()).and_then(|days| write_date(&mut text, i64::from(days)).ok()),
        "X" => return format!("X'{}{}'", if written.len() % 2 == 1 { "0" } else { "" }, written.to_uppercase()),
        _ => match parse_timestamp(written.as_bytes()) {
            Some(ParsedTime::At(clock, None)) => write_timestamp(&mut text, clock).ok(),
            // The zone of a literal is of no matter to a time that has none.
            Some(ParsedTime::At(clock, Some(_))) if name == "TIMESTAMP_NTZ" => write_timestamp(&mut text, clock).ok(),
            Some(ParsedTime::At(clock, Some(zone))) => {
                zone.instant(clock).and_then(|instant| write_timestamp(&mut text, Clock::of(instant)).ok())
            }
            _ => None,
        },
    };
    let shown = if normal.is_some() { &text } else { written };
    format!("{} '{shown}'", if name == "TIMESTAMP_LTZ" { "TIMESTAMP" } else { &name })
}

/// A decimal as Java prints it: small ones with an exponent.
fn decimal_text(unscaled: i128, scale: i8) -> String {
    let digits = unscaled.unsigned_abs().to_string();
    let exponent = digits.len() as i32 - 1 - i32::from(scale);
    if exponent < -6 {
        let sign = if unscaled < 0 { "-" } else { "" };
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        return format!("{sign}{first}{point}{rest}E{exponent}");
    }
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_decimal(&mut text, unscaled, scale);
    text
}
