//! Which type a JSON text has, as Spark infers it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};

use super::Reason;
use super::lexer::{Cursor, Form, Number, Token};
use super::path::{elements, members};
use super::text::write_content;
use crate::plan::spark::types::{DECIMAL_PRECISION_MAX, array_of};

/// Digits that any 64-bit integer fits in.
const LONG_DIGITS: u8 = 20;

/// The type of the JSON that `text` begins with, fields in order of their names: NULL for a null, an empty text and nothing. Numbers
/// and booleans are STRING if `primitives_as_text`.
///
/// # Errors
/// What is wrong with the text, as a phrase.
pub fn infer_type(text: &[u8], primitives_as_text: bool) -> Result<DataType, String> {
    let mut cursor = Cursor::new(text);
    cursor.skip_blanks();
    if cursor.is_at_end() {
        return Ok(DataType::Null);
    }
    infer(&mut cursor, primitives_as_text, 0).map_err(|reason| reason.to_string())
}

fn infer(cursor: &mut Cursor<'_>, primitives_as_text: bool, depth: usize) -> Result<DataType, Reason> {
    let primitive = |data_type| if primitives_as_text { DataType::Utf8 } else { data_type };
    Ok(match cursor.token()? {
        Token::Null => DataType::Null,
        // Nothing is taken for a missing value.
        Token::String(text) if text.raw.is_empty() => DataType::Null,
        Token::String(_) => DataType::Utf8,
        Token::True | Token::False => primitive(DataType::Boolean),
        Token::Number(number) => primitive(number_type(&number)),
        Token::Array => {
            let mut item = DataType::Null;
            elements(cursor, depth, |cursor| {
                let found = infer(cursor, primitives_as_text, depth + 1)?;
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
                let found = infer(cursor, primitives_as_text, depth + 1)?;
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

fn number_type(number: &Number<'_>) -> DataType {
    if number.form != Form::Integer {
        return DataType::Float64;
    }
    let digits = number.raw.strip_prefix(b"-").unwrap_or(number.raw).len();
    match u8::try_from(digits) {
        _ if number.integer().is_some() => DataType::Int64,
        Ok(digits) if digits <= DECIMAL_PRECISION_MAX => DataType::Decimal128(digits, 0),
        _ => DataType::Float64,
    }
}

/// The type that holds values of both; text if nothing else does.
fn common(a: &DataType, b: &DataType) -> DataType {
    use DataType as T;
    match (a, b) {
        _ if a == b => a.clone(),
        (T::Null, other) | (other, T::Null) => other.clone(),
        (T::Float64, T::Int64 | T::Decimal128(..)) | (T::Int64 | T::Decimal128(..), T::Float64) => T::Float64,
        // Inferred decimals have no fraction.
        (T::Decimal128(digits, 0), T::Int64) | (T::Int64, T::Decimal128(digits, 0)) => {
            T::Decimal128((*digits).max(LONG_DIGITS), 0)
        }
        (T::Decimal128(x, 0), T::Decimal128(y, 0)) => T::Decimal128(*x.max(y), 0),
        (T::List(x), T::List(y)) => array_of(common(x.data_type(), y.data_type())),
        (T::Struct(x), T::Struct(y)) => merged(x, y),
        _ => T::Utf8,
    }
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
