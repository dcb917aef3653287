//! Which type a JSON text has, as Spark infers it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use super::Reason;
use super::lexer::{Cursor, Form, Number, Token};
use super::path::{elements, members};
use super::text::write_content;
use crate::plan::spark::types::{DECIMAL_PRECISION_MAX, array_of};

/// Digits that any 64-bit integer fits in.
const LONG_DIGITS: u8 = 20;

/// What is asked of the types of values.
#[derive(Default)]
pub struct Inference<'a> {
    /// Numbers and booleans are STRING.
    pub primitives_as_text: bool,
    /// Numbers with a fraction, and texts that say a number, are DECIMAL if that can hold them.
    pub prefers_decimal: bool,
    /// Tells which texts are TIMESTAMP.
    pub is_time: Option<&'a dyn Fn(&str) -> bool>,
}

/// The type of the JSON that `text` begins with, fields in order of their names: NULL for a null, an empty text and nothing, a DECIMAL
/// of negative scale (which Spark refuses) for a number such as `1e5` where DECIMAL is preferred.
///
/// # Errors
/// What is wrong with the text, as a phrase.
pub fn infer_type(text: &[u8], asked: &Inference<'_>) -> Result<DataType, String> {
    let mut cursor = Cursor::new(text);
    cursor.skip_blanks();
    if cursor.is_at_end() {
        return Ok(DataType::Null);
    }
    infer(&mut cursor, asked, 0).map_err(|reason| reason.to_string())
}

fn infer(cursor: &mut Cursor<'_>, asked: &Inference<'_>, depth: usize) -> Result<DataType, Reason> {
    let primitive = |data_type| if asked.primitives_as_text { DataType::Utf8 } else { data_type };
    Ok(match cursor.token()? {
        Token::Null => DataType::Null,
        // Nothing is taken for a missing value.
        Token::String(text) if text.raw.is_empty() => DataType::Null,
        Token::String(text) => {
            let mut content = Vec::new();
            write_content(text, &mut content);
            text_type(&String::from_utf8_lossy(&content), asked)
        }
        Token::True | Token::False => primitive(DataType::Boolean),
        Token::Number(number) => primitive(number_type(&number, asked)),
        Token::Array => {
            let mut item = DataType::Null;
            elements(cursor, depth, |cursor| {
                let found = infer(cursor, asked, depth + 1)?;
                item = common(&item, &found);
                Ok(())
            })?;
            array_of(item)
        }
        Token::Object => {
            let mut fields: Vec<(String, DataType)> = Vec::new();
            members(cursor, depth, |cursor, key| {
                let mut name = Vec::new();
                write_content(key, &mut name);
                let found = infer(cursor, asked, depth + 1)?;
                fields.push((String::from_utf8_lossy(&name).into_owned(), found));
                Ok(())
            })?;
            fields.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            struct_of(fields)
        }
    })
}

fn struct_of(fields: Vec<(String, DataType)>) -> DataType {
    DataType::Struct(fields.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)).collect())
}

fn text_type(text: &str, asked: &Inference<'_>) -> DataType {
    let decimal = || digits_and_scale(&text.replace(',', "")).filter(|(digits, scale)| (0..=*digits).contains(scale));
    if asked.prefers_decimal
        && let Some(decimal) = decimal().and_then(|(digits, scale)| decimal_type(digits, scale))
    {
        return decimal;
    }
    match asked.is_time {
        Some(is_time) if is_time(text) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        _ => DataType::Utf8,
    }
}

fn number_type(number: &Number<'_>, asked: &Inference<'_>) -> DataType {
    if number.integer().is_some() {
        return DataType::Int64;
    }
    if number.form != Form::Integer && !asked.prefers_decimal {
        return DataType::Float64;
    }
    let found = std::str::from_utf8(number.raw).ok().and_then(digits_and_scale);
    found.and_then(|(digits, scale)| decimal_type(digits.max(scale), scale)).unwrap_or(DataType::Float64)
}

/// The digits of a decimal number without zeros in front, and how many of them stand behind the point; `None` for other texts.
fn digits_and_scale(text: &str) -> Option<(i64, i64)> {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, i64::from(exponent.parse::<i32>().ok()?)),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = whole.bytes().chain(fraction.bytes());
    if mantissa.len() < 1 + usize::from(mantissa.contains('.')) || !digits.all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let used = whole.bytes().chain(fraction.bytes()).skip_while(|digit| *digit == b'0').count();
    Some((used.max(1) as i64, fraction.len() as i64 - exponent))
}

/// A DECIMAL of so many digits, if there is one.
fn decimal_type(digits: i64, scale: i64) -> Option<DataType> {
    let digits = u8::try_from(digits).ok().filter(|digits| *digits <= DECIMAL_PRECISION_MAX)?;
    Some(DataType::Decimal128(digits, i8::try_from(scale).ok()?))
}

/// The type that holds values of both; text if nothing else does.
fn common(a: &DataType, b: &DataType) -> DataType {
    use DataType as T;
    match (a, b) {
        _ if a == b => a.clone(),
        (T::Null, other) | (other, T::Null) => other.clone(),
        (T::Float64, T::Int64 | T::Decimal128(..)) | (T::Int64 | T::Decimal128(..), T::Float64) => T::Float64,
        (T::Decimal128(digits, scale), T::Int64) | (T::Int64, T::Decimal128(digits, scale)) => {
            wider((*digits, *scale), (LONG_DIGITS, 0))
        }
        (T::Decimal128(digits, scale), T::Decimal128(others, other)) => wider((*digits, *scale), (*others, *other)),
        (T::List(x), T::List(y)) => array_of(common(x.data_type(), y.data_type())),
        (T::Struct(x), T::Struct(y)) => merged(x, y),
        _ => T::Utf8,
    }
}

/// The DECIMAL that holds the digits of both before and behind the point; DOUBLE if there is none.
fn wider(x: (u8, i8), y: (u8, i8)) -> DataType {
    // It has no name in Spark, whatever stands beside it.
    if let Some((digits, scale)) = [x, y].into_iter().find(|(_, scale)| *scale < 0) {
        return DataType::Decimal128(digits, scale);
    }
    let whole = |(digits, scale): (u8, i8)| i64::from(digits) - i64::from(scale);
    let scale = i64::from(x.1.max(y.1));
    decimal_type(whole(x).max(whole(y)) + scale, scale).unwrap_or(DataType::Float64)
}

/// The fields of both, each list in order of names.
fn merged(x: &Fields, y: &Fields) -> DataType {
    let (mut x, mut y) = (x.iter().peekable(), y.iter().peekable());
    let mut fields = Vec::with_capacity(x.len().max(y.len()));
    loop {
        let order = match (x.peek(), y.peek()) {
            (Some(a), Some(b)) => a.name().encode_utf16().cmp(b.name().encode_utf16()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => break,
        };
        let left = if order.is_le() { x.next() } else { None };
        let right = if order.is_ge() { y.next() } else { None };
        fields.extend(match (left, right) {
            (Some(a), Some(b)) => Some(Arc::new(Field::new(a.name(), common(a.data_type(), b.data_type()), true))),
            (one, other) => one.or(other).cloned(),
        });
    }
    DataType::Struct(fields.into())
}
