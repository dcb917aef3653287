//! Bits, and numbers in other bases.

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Int8Type, Int32Type, Int64Type};

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, any_nullable, arity, coerce, data_error, expect_one};
use super::super::native::{Returns, call, from_arrow};
use crate::error::Result;

fn as_longs(array: &ArrayRef) -> Result<ArrayRef> {
    arrow::compute::cast(array, &DataType::Int64).map_err(from_arrow)
}

/// How many bits are set.
pub(super) fn bit_count(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 1)?;
    let arg = c.args.remove(0);
    let arg = if arg.data_type == DataType::Null { super::super::arguments::convert(&c, arg, &DataType::Int32)? } else { arg };
    let arg = expect_one(&c, 0, arg, &Want::OneOf(&[Want::Integral, Want::Boolean]))?;
    let returns = Returns::new(DataType::Int32, arg.nullable);
    Ok(call(c.name, vec![arg], returns, |a| {
        let longs = as_longs(a.any(0).array)?;
        Ok(std::sync::Arc::new(longs.as_primitive::<Int64Type>().unary::<_, Int32Type>(|n| n.count_ones() as i32)))
    }))
}

/// The bit at a position counted from the lowest.
pub(super) fn bit_get(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Integral, Want::Int])?;
    let width = match args[0].data_type {
        DataType::Int8 => 8,
        DataType::Int16 => 16,
        DataType::Int32 => 32,
        _ => 64,
    };
    let returns = Returns::fallible(DataType::Int8, any_nullable(&args));
    Ok(call(c.name, args, returns, move |a| {
        let longs = as_longs(&a.expanded(0)?)?;
        let (longs, position) = (longs.as_primitive::<Int64Type>(), a.column::<Int32Array>(1)?);
        a.try_primitive::<Int8Type>(|row| {
            use arrow::array::Array;
            let Some(position) = position.get(row).filter(|_| longs.is_valid(row)) else { return Ok(None) };
            if !(0..width).contains(&position) {
                return Err(data_error(
                    "INVALID_PARAMETER_VALUE.BIT_POSITION_RANGE",
                    format!("the bit position must be in 0..{width}, but is {position}"),
                ));
            }
            Ok(Some(((longs.value(row) >> position) & 1) as i8))
        })
    }))
}

/// Hexadecimal digits with large letters.
const UPPER: &[u8; 16] = b"0123456789ABCDEF";
/// Hexadecimal digits with small letters.
pub(in super::super) const LOWER: &[u8; 16] = b"0123456789abcdef";

/// Appends two of the digits for each byte.
pub(in super::super) fn push_hex(digits: &[u8; 16], bytes: &[u8], out: &mut String) {
    out.reserve(2 * bytes.len());
    for byte in bytes {
        out.push(char::from(digits[usize::from(byte >> 4)]));
        out.push(char::from(digits[usize::from(byte & 15)]));
    }
}

/// A whole number, bytes or a text in hexadecimal digits.
pub(super) fn hex(mut c: Call<'_>) -> Result<Typed> {
    const WANT: Want = Want::OneOf(&[Want::Long, Want::Binary, Want::Text]);
    let args = coerce(&mut c, &[WANT])?;
    let returns = Returns::new(DataType::Utf8, args[0].nullable);
    let data_type = args[0].data_type.clone();
    Ok(call(c.name, args, returns, move |a| {
        match data_type {
            DataType::Int64 => {
                let n = a.column::<Int64Array>(0)?;
                a.strings(|row, out| {
                    let n = n.get(row)?;
                    // Zeros at the front are left out, but for the last one.
                    let skipped = (n.leading_zeros() as usize / 8).min(7);
                    let bytes = &n.to_be_bytes()[skipped..];
                    push_hex(UPPER, bytes, out);
                    if bytes[0] < 16 {
                        out.remove(0);
                    }
                    Some(())
                })
            }
            DataType::Binary => {
                let b = a.column::<BinaryArray>(0)?;
                a.strings(|row, out| b.get(row).map(|b| push_hex(UPPER, b, out)))
            }
            _ => {
                let s = a.column::<StringArray>(0)?;
                a.strings(|row, out| s.get(row).map(|s| push_hex(UPPER, s.as_bytes(), out)))
            }
        }
    }))
}

/// Hexadecimal digits as bytes; null where another character stands.
pub(super) fn unhex(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text])?;
    Ok(call(c.name, args, Returns::new(DataType::Binary, true), |a| {
        let s = a.column::<StringArray>(0)?;
        a.binaries(|row, out| Ok(s.get(row).and_then(|s| from_hex(s, out))))
    }))
}

pub(in super::super) fn from_hex(s: &str, out: &mut Vec<u8>) -> Option<()> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    let mut bytes = s.as_bytes();
    // An odd first digit is a byte of its own.
    if let (true, [first, rest @ ..]) = (bytes.len() % 2 == 1, bytes) {
        out.push(digit(*first)?);
        bytes = rest;
    }
    for pair in bytes.chunks_exact(2) {
        out.push(digit(pair[0])? << 4 | digit(pair[1])?);
    }
    Some(())
}

/// A whole number in binary digits.
pub(super) fn bin(mut c: Call<'_>) -> Result<Typed> {
    use std::fmt::Write;
    let args = coerce(&mut c, &[Want::Long])?;
    let returns = Returns::new(DataType::Utf8, args[0].nullable);
    Ok(call(c.name, args, returns, |a| {
        let n = a.column::<Int64Array>(0)?;
        a.strings(|row, out| write!(out, "{:b}", n.get(row)?).ok())
    }))
}

/// A number's digits in another base. A negative target base makes the result signed.
pub(super) fn conv(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text, Want::Int, Want::Int])?;
    Ok(call(c.name, args, Returns::fallible(DataType::Utf8, true), |a| {
        let (s, from, to) = (a.column::<StringArray>(0)?, a.column::<Int32Array>(1)?, a.column::<Int32Array>(2)?);
        a.try_strings(|row, out| match (s.get(row), from.get(row), to.get(row)) {
            (Some(s), Some(from), Some(to)) => convert_base(s.trim_matches(' '), from, to, out),
            _ => Ok(None),
        })
    }))
}

fn convert_base(s: &str, from: i32, to: i32, out: &mut String) -> Result<Option<()>> {
    let base = |b: u32| (2..=36).contains(&b);
    if s.is_empty() || from < 0 || !base(from.unsigned_abs()) || !base(to.unsigned_abs()) {
        return Ok(None);
    }
    let (mut negative, digits) = match s.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, s),
    };
    let radix = from.unsigned_abs();
    let mut value: u64 = 0;
    for digit in digits.chars().map_while(|ch| ch.to_digit(radix)) {
        value = value.checked_mul(u64::from(radix)).and_then(|v| v.checked_add(u64::from(digit))).ok_or_else(|| {
            data_error("ARITHMETIC_OVERFLOW", format!("`conv` overflows: {s} in base {from} does not fit 64 bits"))
        })?;
    }
    if negative && to > 0 {
        // As an unsigned number: the two's complement, or the greatest if the sign has no bit left.
        value = if (value as i64) < 0 { u64::MAX } else { value.wrapping_neg() };
    }
    if to < 0 && (value as i64) < 0 {
        negative = true;
        value = value.wrapping_neg();
    }
    if negative && to < 0 {
        out.push('-');
    }
    let target = u64::from(to.unsigned_abs());
    let mut reversed = [0_u8; 64];
    let mut count = 0;
    loop {
        reversed[count] =
            char::from_digit((value % target) as u32, to.unsigned_abs()).map_or(b'0', |d| d.to_ascii_uppercase() as u8);
        value /= target;
        count += 1;
        if value == 0 {
            break;
        }
    }
    out.extend(reversed[..count].iter().rev().map(|b| char::from(*b)));
    Ok(Some(()))
}
