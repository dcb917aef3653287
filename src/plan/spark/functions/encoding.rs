//! Texts as bytes by an encoding, and bytes as texts that are UTF-8.

use arrow::array::{BinaryArray, StringArray};
use arrow::datatypes::DataType;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use datafusion::scalar::ScalarValue;

use super::super::expression::call::by_name;
use super::super::{Call, Typed};
use super::arguments::{Want, arity, coerce, coerce_one, convert, data_error, mismatch, null_of, require_constant, text};
use super::lambda::attempt;
use super::math::bits::from_hex;
use super::native::{Returns, call};
use super::{FunctionSpec, scalar};
use crate::error::Result;

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("to_binary(text[, encoding])", "The bytes of a text in `hex`, `utf-8` or `base64`", "to_binary('616263', 'hex') → abc", |c| to_binary(c, false)),
    scalar("try_to_binary(text[, encoding])", "As `to_binary`, null where the text is none such", "try_to_binary('xyz', 'hex') → NULL", |c| to_binary(c, true)),
    scalar("to_base32(bytes)", "Bytes in base32", "to_base32('Spark') → KNYGC4TL", to_base32),
    scalar("from_base32(text)", "The bytes that base32 stands for; what is no digit of it is passed over", "from_base32('KNYGC4TL') → Spark", from_base32),
    scalar("is_valid_utf8(text or bytes)", "Whether the bytes are UTF-8", "is_valid_utf8(x'ff') → false", is_valid_utf8),
    scalar("make_valid_utf8(text or bytes)", "The text, with `�` for what is no UTF-8", "make_valid_utf8(x'61ff') → a�", |c| as_utf8(c, Invalid::Replaced)),
    scalar("validate_utf8(text or bytes)", "The text; an error if the bytes are no UTF-8", "validate_utf8(x'61') → a", |c| as_utf8(c, Invalid::Error)),
    scalar("try_validate_utf8(text or bytes)", "As `validate_utf8`, null where that fails", "try_validate_utf8(x'ff') → NULL", |c| as_utf8(c, Invalid::Null)),
];

/// What becomes of bytes that are no UTF-8.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Invalid {
    Replaced,
    Error,
    Null,
}

/// `to_binary(text[, encoding])`; `lenient`: null where that, or the argument, fails.
fn to_binary(c: Call<'_>, lenient: bool) -> Result<Typed> {
    let name = c.name;
    let bytes = bytes_of(c, lenient)?;
    if lenient { attempt(name, bytes) } else { Ok(bytes) }
}

fn bytes_of(mut c: Call<'_>, lenient: bool) -> Result<Typed> {
    arity(&c, 1, 2)?;
    let encoding = if c.args.len() == 2 { c.args.remove(1) } else { text("hex") };
    let encoding = coerce_one(&c, 1, encoding, &Want::Text)?;
    let value = c.args.remove(0);
    let value = coerce_one(&c, 0, value, &Want::Text)?;
    let ScalarValue::Utf8(Some(encoding)) = require_constant(&c, "fmt", &encoding)? else {
        return null_of(DataType::Binary);
    };
    match encoding.to_lowercase().as_str() {
        "utf-8" | "utf8" => by_name("encode", vec![value, text("UTF-8")], &c.context),
        encoding @ ("base64" | "hex") => {
            let decode = if encoding == "hex" { from_hex } else { from_base64 };
            let returns = Returns::fallible_if(!lenient, DataType::Binary, lenient || value.nullable);
            Ok(call(&format!("{}[{encoding}]", c.name), vec![value], returns, move |a| {
                let texts = a.column::<StringArray>(0)?;
                a.binaries(|row, out| {
                    let Some(text) = texts.get(row) else { return Ok(None) };
                    match decode(text, out) {
                        None if !lenient => {
                            let message = format!("'{text}' cannot be read; try_to_binary gives null for it");
                            Err(data_error("CONVERSION_INVALID_INPUT", message))
                        }
                        read => Ok(read),
                    }
                })
            }))
        }
        _ if lenient => null_of(DataType::Binary),
        other => {
            Err(mismatch("INVALID_ARG_VALUE", format!("the encoding must be 'hex', 'utf-8', 'utf8' or 'base64', not '{other}'")))
        }
    }
}

/// Reads base64 with or without padding, and with any bits behind the last byte.
pub(super) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// Base64 with or without padding and with blanks among the digits; nothing else may stand in it, nor anything behind the padding.
fn from_base64(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let (body, padding) = text.split_at(text.find('=').unwrap_or(text.len()));
    let digits: Vec<u8> = body.bytes().filter(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'\r')).collect();
    if !matches!(padding, "" | "=" | "==") || !padding.is_empty() && !(digits.len() + padding.len()).is_multiple_of(4) {
        return None;
    }
    LENIENT.decode_vec(digits, out).ok()
}

/// The argument as bytes.
fn bytes(c: &mut Call<'_>) -> Result<Vec<Typed>> {
    if c.args.first().is_some_and(|arg| arg.data_type != DataType::Binary) {
        let arg = c.args.remove(0);
        let arg = coerce_one(c, 0, arg, &Want::Text)?;
        c.args.insert(0, convert(c, arg, &DataType::Binary)?);
    }
    coerce(c, &[Want::Binary])
}

fn is_valid_utf8(mut c: Call<'_>) -> Result<Typed> {
    let args = bytes(&mut c)?;
    let returns = Returns::new(DataType::Boolean, args[0].nullable);
    Ok(call("is_valid_utf8", args, returns, |a| {
        let bytes = a.column::<BinaryArray>(0)?;
        a.booleans(|row| Some(std::str::from_utf8(bytes.get(row)?).is_ok()))
    }))
}

fn as_utf8(mut c: Call<'_>, invalid: Invalid) -> Result<Typed> {
    let args = bytes(&mut c)?;
    let nullable = invalid == Invalid::Null || args[0].nullable;
    let returns = Returns::fallible_if(invalid == Invalid::Error, DataType::Utf8, nullable);
    Ok(call(c.name, args, returns, move |a| {
        let bytes = a.column::<BinaryArray>(0)?;
        a.try_strings(|row, out| {
            let Some(bytes) = bytes.get(row) else { return Ok(None) };
            match (std::str::from_utf8(bytes), invalid) {
                (Ok(text), _) => out.push_str(text),
                (Err(_), Invalid::Replaced) => out.push_str(&String::from_utf8_lossy(bytes)),
                (Err(_), Invalid::Null) => return Ok(None),
                (Err(_), Invalid::Error) => {
                    return Err(data_error(
                        "INVALID_UTF8_STRING",
                        "the bytes are no UTF-8; make_valid_utf8 replaces what is not",
                    ));
                }
            }
            Ok(Some(()))
        })
    }))
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn to_base32(mut c: Call<'_>) -> Result<Typed> {
    if let Some(index) =
        c.args.iter().position(|arg| !matches!(arg.data_type, DataType::Utf8 | DataType::Binary | DataType::Null))
    {
        return Err(super::arguments::unexpected_type(&c, index, &c.args[index].data_type, &Want::Binary));
    }
    let args = coerce(&mut c, &[Want::Binary])?;
    let returns = Returns::new(DataType::Utf8, args[0].nullable);
    Ok(call("to_base32", args, returns, |a| {
        let bytes = a.column::<BinaryArray>(0)?;
        a.strings(|row, out| {
            for chunk in bytes.get(row)?.chunks(5) {
                let bits = chunk.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte)) << (8 * (5 - chunk.len()));
                let digits = (chunk.len() * 8).div_ceil(5);
                for place in 0..8 {
                    let digit = (bits >> (35 - 5 * place)) as usize & 31;
                    out.push(if place < digits { char::from(BASE32[digit]) } else { '=' });
                }
            }
            Some(())
        })
    }))
}

fn from_base32(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text])?;
    let returns = Returns::new(DataType::Binary, args[0].nullable);
    Ok(call("from_base32", args, returns, |a| {
        let texts = a.column::<StringArray>(0)?;
        a.binaries(|row, out| {
            let Some(text) = texts.get(row) else { return Ok(None) };
            let (mut bits, mut digits) = (0_u64, 0);
            let flush = |bits: u64, digits: usize, out: &mut Vec<u8>| {
                // Whole bytes; a single digit counts as the beginning of one.
                let bytes = if digits == 1 { 1 } else { digits * 5 / 8 };
                let bits = if digits == 1 { bits >> 2 } else { bits >> (digits * 5 - bytes * 8) };
                out.extend((0..bytes).rev().map(|place| (bits >> (8 * place)) as u8));
            };
            for digit in
                text.bytes().take_while(|b| *b != b'=').filter_map(|b| BASE32.iter().position(|d| *d == b.to_ascii_uppercase()))
            {
                (bits, digits) = (bits << 5 | digit as u64, digits + 1);
                if digits == 8 {
                    flush(bits, digits, out);
                    (bits, digits) = (0, 0);
                }
            }
            flush(bits, digits, out);
            Ok(Some(()))
        })
    }))
}
