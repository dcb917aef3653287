//! Casts by name, types as text, character sets, and what fits nowhere else.

use std::sync::Arc;

use arrow::array::{BinaryArray, BooleanArray, NullArray, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use base64::Engine;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::Expr;

use super::super::expression::once::once;
use super::super::types::spark_name;
use super::super::{Call, Typed};
use super::arguments::{
    Want, any_nullable, arity, coerce, coerce_optional, convert, data_error, expect_one, null_of, text, timestamp,
    unexpected_type,
};
use super::encoding::LENIENT;
use super::native::{Last, Returns, call};
use super::{FunctionSpec, scalar};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::cast::computed;

/// Characters of a message of `raise_error` that its error has.
const RAISED_CHARS_MAX: usize = 250;

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("typeof(value)", "The name of the value's type", "typeof(array(1L)) → array<bigint>", type_of),
    scalar("boolean(value)", "As `CAST(value AS BOOLEAN)`", "boolean('yes') → true", |c| cast_to(c, DataType::Boolean)),
    scalar("tinyint(value)", "As `CAST(value AS TINYINT)`", "tinyint('12') → 12", |c| cast_to(c, DataType::Int8)),
    scalar("smallint(value)", "As `CAST(value AS SMALLINT)`", "smallint(12.9) → 12", |c| cast_to(c, DataType::Int16)),
    scalar("int(value)", "As `CAST(value AS INT)`", "int('12') → 12", |c| cast_to(c, DataType::Int32)),
    scalar("bigint(value)", "As `CAST(value AS BIGINT)`", "bigint(true) → 1", |c| cast_to(c, DataType::Int64)),
    scalar("float(value)", "As `CAST(value AS FLOAT)`", "float('1.5') → 1.5", |c| cast_to(c, DataType::Float32)),
    scalar("double(value)", "As `CAST(value AS DOUBLE)`", "double('1e3') → 1000.0", |c| cast_to(c, DataType::Float64)),
    scalar("decimal(value)", "As `CAST(value AS DECIMAL(10, 0))`", "decimal('12.5') → 13", |c| cast_to(c, DataType::Decimal128(10, 0))),
    scalar("date(value)", "As `CAST(value AS DATE)`", "date('2026-01-31') → 2026-01-31", |c| cast_to(c, DataType::Date32)),
    scalar("timestamp(value)", "As `CAST(value AS TIMESTAMP)`", "timestamp('2026-01-31 10:00:00') → 2026-01-31 10:00:00", |c| cast_to(c, timestamp())),
    scalar("binary(value)", "As `CAST(value AS BINARY)`", "binary('ab') → ab", |c| cast_to(c, DataType::Binary)),
    scalar("string(value)", "As `CAST(value AS STRING)`", "string(1.50) → 1.50", |c| cast_to(c, DataType::Utf8)),
    scalar("decode(bytes, charset)", "Bytes as text; with more arguments `decode(value, search1, result1, …[, default])` picks a result", "decode(2, 1, 'one', 2, 'two', 'many') → two", decode),
    scalar("encode(text, charset)", "Text as bytes of US-ASCII, ISO-8859-1, UTF-8, UTF-16, UTF-16BE, UTF-16LE or UTF-32", "encode('abc', 'UTF-8') → abc", encode),
    scalar("base64(bytes)", "Bytes in base64", "base64('Spark SQL') → U3BhcmsgU1FM", to_base64),
    scalar("unbase64(text)", "The bytes that base64 stands for", "unbase64('U3BhcmsgU1FM') → Spark SQL", from_base64),
    scalar("url_encode(text)", "Text as a part of a URL", "url_encode('a b&c') → a+b%26c", url_encode),
    scalar("url_decode(text)", "Text from a part of a URL; an error where it is none", "url_decode('a+b%26c') → a b&c", |c| url_decode(c, false)),
    scalar("try_url_decode(text)", "As `url_decode`, null where it is none", "try_url_decode('%ZZ') → NULL", |c| url_decode(c, true)),
    scalar("assert_true(condition[, message])", "Null if the condition holds, else an error", "assert_true(1 < 2) → NULL", assert_true),
    scalar("raise_error(message)", "Fails with this message", "", raise_error),
    scalar("bitmap_bit_position(n)", "At which bit of its bucket a number lies", "bitmap_bit_position(32769) → 0", |c| bitmap(c, |n| if n > 0 { (n - 1) % 32768 } else { n.wrapping_neg() % 32768 })),
    scalar("bitmap_bucket_number(n)", "In which bucket of 32,768 a number lies", "bitmap_bucket_number(32769) → 2", |c| bitmap(c, |n| if n > 0 { 1 + (n - 1) / 32768 } else { n / 32768 })),
    scalar("bitmap_count(bitmap)", "How many bits of a BINARY are set", "bitmap_count(X'FF01') → 9", bitmap_count),
    scalar("current_timezone()", "The query's time zone", "", current_timezone),
];

fn bitmap_count(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 1)?;
    let arg = c.args.remove(0);
    let args = vec![expect_one(&c, 0, arg, &Want::Binary)?];
    let returns = Returns::new(DataType::Int64, any_nullable(&args));
    Ok(call(c.name, args, returns, |a| {
        let bitmaps = a.column::<BinaryArray>(0)?;
        let ones = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(byte.count_ones())).sum();
        a.primitive::<Int64Type>(|row| bitmaps.get(row).map(ones))
    }))
}

fn current_timezone(c: Call<'_>) -> Result<Typed> {
    arity(&c, 0, 0)?;
    Ok(text(c.context.settings.time_zone.as_ref()))
}

fn type_of(c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 1)?;
    let name = spark_name(&c.args[0].data_type);
    if !c.args[0].expr.exists(|node| Ok(matches!(node, Expr::AggregateFunction(_)))).unwrap_or(true) {
        return Ok(text(name));
    }
    // What it is the type of stays: it says that rows are grouped.
    let returns = Returns::new(DataType::Utf8, false);
    Ok(call("typeof", c.args, returns, move |a| {
        a.strings(|_, out| {
            out.push_str(&name);
            Some(())
        })
    }))
}

fn cast_to(mut c: Call<'_>, to: DataType) -> Result<Typed> {
    arity(&c, 1, 1)?;
    let arg = c.args.remove(0);
    convert(&c, arg, &to).map(computed)
}

/// A character set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charset {
    Utf8,
    Ascii,
    Latin1,
    Utf16,
    Utf16Be,
    Utf16Le,
    Utf32,
}

impl Charset {
    fn named(name: &str) -> Result<Self> {
        Ok(match name.to_ascii_uppercase().as_str() {
            "UTF-8" => Self::Utf8,
            "US-ASCII" => Self::Ascii,
            "ISO-8859-1" => Self::Latin1,
            "UTF-16" => Self::Utf16,
            "UTF-16BE" => Self::Utf16Be,
            "UTF-16LE" => Self::Utf16Le,
            "UTF-32" => Self::Utf32,
            _ => {
                return Err(data_error(
                    "INVALID_PARAMETER_VALUE.CHARSET",
                    format!("{name} is not one of UTF-8, US-ASCII, ISO-8859-1, UTF-16, UTF-16BE, UTF-16LE, UTF-32"),
                ));
            }
        })
    }

    fn encode(self, s: &str, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Utf8 => out.extend_from_slice(s.as_bytes()),
            Self::Ascii if !s.is_ascii() => return None,
            Self::Ascii => out.extend_from_slice(s.as_bytes()),
            Self::Latin1 => {
                for ch in s.chars() {
                    out.push(u8::try_from(u32::from(ch)).ok()?);
                }
            }
            Self::Utf16 => {
                // Big-endian with its mark, except that nothing stays nothing.
                if !s.is_empty() {
                    out.extend_from_slice(&[0xFE, 0xFF]);
                }
                out.extend(s.encode_utf16().flat_map(u16::to_be_bytes));
            }
            Self::Utf16Be => out.extend(s.encode_utf16().flat_map(u16::to_be_bytes)),
            Self::Utf16Le => out.extend(s.encode_utf16().flat_map(u16::to_le_bytes)),
            Self::Utf32 => out.extend(s.chars().flat_map(|ch| u32::from(ch).to_be_bytes())),
        }
        Some(())
    }

    fn decode(self, bytes: &[u8], out: &mut String) -> Option<()> {
        let utf16 = |bytes: &[u8], little: bool, out: &mut String| {
            if bytes.len() % 2 == 1 {
                return None;
            }
            let units = bytes.chunks_exact(2).map(|b| {
                let pair = [b[0], b[1]];
                if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
            });
            for ch in char::decode_utf16(units) {
                out.push(ch.ok()?);
            }
            Some(())
        };
        match self {
            Self::Utf8 => out.push_str(std::str::from_utf8(bytes).ok()?),
            Self::Ascii if !bytes.is_ascii() => return None,
            Self::Ascii | Self::Latin1 => out.extend(bytes.iter().map(|b| char::from(*b))),
            Self::Utf16 => {
                return match bytes {
                    [0xFF, 0xFE, rest @ ..] => utf16(rest, true, out),
                    [0xFE, 0xFF, rest @ ..] => utf16(rest, false, out),
                    _ => utf16(bytes, false, out),
                };
            }
            Self::Utf16Be => return utf16(bytes, false, out),
            Self::Utf16Le => return utf16(bytes, true, out),
            Self::Utf32 => {
                if !bytes.len().is_multiple_of(4) {
                    return None;
                }
                for b in bytes.chunks_exact(4) {
                    out.push(char::from_u32(u32::from_be_bytes([b[0], b[1], b[2], b[3]]))?);
                }
            }
        }
        Some(())
    }
}

fn malformed(function: &str, charset: &str) -> Error {
    data_error("MALFORMED_CHARACTER_CODING", format!("`{function}` met a character that {charset} does not have"))
}

/// `decode(bytes, charset)`, or with more arguments the value that stands beside the first equal one.
fn decode(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, None)?;
    if c.args.len() > 2 {
        return decode_cases(c);
    }
    let args = coerce(&mut c, &[Want::Binary, Want::Text])?;
    let returns = Returns::fallible(DataType::Utf8, any_nullable(&args));
    Ok(call("decode", args, returns, |a| {
        let (bytes, charset) = (a.column::<BinaryArray>(0)?, a.column::<StringArray>(1)?);
        let mut charsets = Last::default();
        a.try_strings(|row, out| {
            let (Some(bytes), Some(charset)) = (bytes.get(row), charset.get(row)) else { return Ok(None) };
            charsets.get(charset, Charset::named)?.decode(bytes, out).map(Some).ok_or_else(|| malformed("decode", charset))
        })
    }))
}

fn decode_cases(mut c: Call<'_>) -> Result<Typed> {
    let mut args = std::mem::take(&mut c.args);
    let value = args.remove(0);
    let otherwise = if args.len() % 2 == 1 { args.pop() } else { None };
    let otherwise = match otherwise {
        Some(otherwise) => otherwise,
        // A null of type STRING in Spark: what is beside it is brought to the type of both, an INT to BIGINT.
        None => null_of(DataType::Utf8)?,
    };
    once(value, |value| {
        let mut branches = Vec::new();
        let mut rest = args.into_iter();
        while let (Some(search), Some(result)) = (rest.next(), rest.next()) {
            branches.push((super::conditional::same(&c, value.clone(), search)?, result));
        }
        super::super::expression::logic::case(branches, Some(otherwise), c.context.settings)
    })
}

fn encode(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text, Want::Text])?;
    let returns = Returns::fallible(DataType::Binary, any_nullable(&args));
    Ok(call("encode", args, returns, |a| {
        let (s, charset) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?);
        let mut charsets = Last::default();
        a.binaries(|row, out| {
            let (Some(s), Some(charset)) = (s.get(row), charset.get(row)) else { return Ok(None) };
            charsets.get(charset, Charset::named)?.encode(s, out).map(Some).ok_or_else(|| malformed("encode", charset))
        })
    }))
}

/// In lines of 76 characters, as MIME has it.
fn to_base64(mut c: Call<'_>) -> Result<Typed> {
    const LINE: usize = 57;
    let args = coerce(&mut c, &[Want::Binary])?;
    let returns = Returns::new(DataType::Utf8, args[0].nullable);
    Ok(call("base64", args, returns, |a| {
        let bytes = a.column::<BinaryArray>(0)?;
        a.strings(|row, out| {
            for (line, bytes) in bytes.get(row)?.chunks(LINE).enumerate() {
                if line > 0 {
                    out.push_str("\r\n");
                }
                base64::engine::general_purpose::STANDARD.encode_string(bytes, out);
            }
            Some(())
        })
    }))
}

fn from_base64(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text])?;
    let returns = Returns::fallible(DataType::Binary, args[0].nullable);
    Ok(call("unbase64", args, returns, |a| {
        let s = a.column::<StringArray>(0)?;
        let mut digits = Vec::new();
        a.binaries(|row, out| {
            let Some(s) = s.get(row) else { return Ok(None) };
            // What is no digit is passed over, as MIME has it, but not within the padding.
            let is_digit = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
            let (body, padding) = s.split_at(s.find('=').unwrap_or(s.len()));
            digits.clear();
            digits.extend(body.bytes().filter(is_digit));
            let padded = match (padding, digits.len() % 4) {
                ("", _) => true,
                (_, 0) => false,
                (_, 2) => padding.starts_with("=="),
                _ => true,
            };
            if !padded || padding.bytes().any(|b| is_digit(&b)) {
                return Err(Error::new(ErrorKind::Data, format!("`unbase64` cannot read '{s}': its padding is wrong")));
            }
            LENIENT
                .decode_vec(&digits, out)
                .map_err(|e| Error::new(ErrorKind::Data, format!("`unbase64` cannot read '{s}': {e}")))?;
            Ok(Some(()))
        })
    }))
}

/// As HTML forms are encoded: letters, digits and `.-*_` stay, a space becomes `+`.
fn url_encode(mut c: Call<'_>) -> Result<Typed> {
    use std::fmt::Write;
    let args = coerce(&mut c, &[Want::Text])?;
    let returns = Returns::new(DataType::Utf8, args[0].nullable);
    Ok(call("url_encode", args, returns, |a| {
        let s = a.column::<StringArray>(0)?;
        a.strings(|row, out| {
            for byte in s.get(row)?.bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => out.push(char::from(byte)),
                    b' ' => out.push('+'),
                    _ => write!(out, "%{byte:02X}").ok()?,
                }
            }
            Some(())
        })
    }))
}

fn url_decode(mut c: Call<'_>, lenient: bool) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text])?;
    let returns = Returns::fallible_if(!lenient, DataType::Utf8, lenient || args[0].nullable);
    Ok(call(c.name, args, returns, move |a| {
        let s = a.column::<StringArray>(0)?;
        let mut bytes = Vec::new();
        a.try_strings(|row, out| {
            let Some(s) = s.get(row) else { return Ok(None) };
            bytes.clear();
            match unescape(s, &mut bytes) {
                Some(()) => out.push_str(&String::from_utf8_lossy(&bytes)),
                None if lenient => return Ok(None),
                None => return Err(data_error("CANNOT_DECODE_URL", format!("the URL '{s}' has a malformed escape"))),
            }
            Ok(Some(()))
        })
    }))
}

fn unescape(s: &str, out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = s.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                (high * 16 + low) as u8
            }
            other => other,
        });
    }
    Some(())
}

/// The message may be a value, which can be as long as a line.
fn raised(message: &str) -> Error {
    let short: String = message.chars().take(RAISED_CHARS_MAX).collect();
    data_error("USER_RAISED_EXCEPTION", short)
}

fn assert_true(mut c: Call<'_>) -> Result<Typed> {
    // The condition is the one of IF, which takes no text.
    if let Some(text) = c.args.first().map(|arg| &arg.data_type).filter(|given| **given == DataType::Utf8) {
        return Err(unexpected_type(&c, 0, text, &Want::Boolean));
    }
    let args = coerce_optional(&mut c, 1, &[Want::Boolean, Want::Text])?;
    Ok(call("assert_true", args, Returns::fallible(DataType::Null, true), |a| {
        let holds = a.column::<BooleanArray>(0)?;
        for row in 0..a.rows() {
            if holds.get(row) != Some(true) {
                let message = if a.count() == 2 { a.column::<StringArray>(1)?.get(row) } else { None };
                return Err(raised(message.unwrap_or("the asserted condition is not true")));
            }
        }
        Ok(Arc::new(NullArray::new(a.rows())))
    }))
}

fn raise_error(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text])?;
    Ok(call("raise_error", args, Returns::fallible(DataType::Null, true), |a| {
        Err(raised(a.column::<StringArray>(0)?.get(0).unwrap_or("null")))
    }))
}

/// Whether `node` fails on purpose: where it is not reached it must not be computed, constant or not.
pub(in super::super) fn is_raising(node: &Expr) -> bool {
    matches!(node, Expr::ScalarFunction(call) if matches!(call.name(), "raise_error" | "assert_true"))
}

fn bitmap(mut c: Call<'_>, place: fn(i64) -> i64) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Long])?;
    let returns = Returns::new(DataType::Int64, args[0].nullable);
    Ok(call(c.name, args, returns, move |a| {
        let n = a.column::<arrow::array::Int64Array>(0)?;
        a.primitive::<arrow::datatypes::Int64Type>(|row| n.get(row).map(place))
    }))
}
