//! Texts and binaries filled up, repeated and overlaid.

use arrow::array::{BinaryArray, Int32Array, StringArray};
use arrow::datatypes::DataType;

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, any_nullable, coerce, coerce_optional, literal, text};
use super::super::native::{Returns, call, within_column};
use super::{Side, TEXT_OR_BINARY, count_chars, slice_chars, sql_slice, sql_slice_bytes};
use crate::error::Result;

/// `lpad`, `rpad`: to exactly so many code points (bytes), cut or filled.
pub(super) fn pad(mut c: Call<'_>, side: Side) -> Result<Typed> {
    if c.args.len() == 2 {
        let default = if c.args[0].data_type == DataType::Binary { literal(vec_scalar(&[0])) } else { text(" ") };
        c.args.push(default);
    }
    let mut args = coerce_optional(&mut c, 2, &[TEXT_OR_BINARY, Want::Int, TEXT_OR_BINARY])?;
    let binary = args[0].data_type == DataType::Binary && args[2].data_type == DataType::Binary;
    if !binary {
        for index in [0, 2] {
            let arg = args[index].clone();
            args[index] = super::convert(&c, arg, &DataType::Utf8)?;
        }
    }
    let data_type = if binary { DataType::Binary } else { DataType::Utf8 };
    let returns = Returns::fallible(data_type, any_nullable(&args));
    Ok(call(c.name, args, returns, move |a| {
        let size = a.column::<Int32Array>(1)?;
        if binary {
            let (b, fill) = (a.column::<BinaryArray>(0)?, a.column::<BinaryArray>(2)?);
            return a.binaries(|row, out| {
                let (Some(b), Some(size), Some(fill)) = (b.get(row), size.get(row), fill.get(row)) else { return Ok(None) };
                let size = within_column(size.max(0) as usize)?;
                let missing = if fill.is_empty() { 0 } else { size.saturating_sub(b.len()) };
                let filler = fill.iter().copied().cycle().take(missing);
                if side == Side::Left {
                    out.extend(filler.clone());
                }
                out.extend_from_slice(&b[..b.len().min(size)]);
                if side == Side::Right {
                    out.extend(filler);
                }
                Ok(Some(()))
            });
        }
        let (s, fill) = (a.column::<StringArray>(0)?, a.column::<StringArray>(2)?);
        a.try_strings(|row, out| {
            let (Some(s), Some(size), Some(fill)) = (s.get(row), size.get(row), fill.get(row)) else { return Ok(None) };
            let size = size.max(0) as usize;
            let missing = if fill.is_empty() { 0 } else { size.saturating_sub(count_chars(s) as usize) };
            // Of many characters one may be longer than another; few fit in any case.
            if missing > 1 << 20 {
                let count = count_chars(fill) as usize;
                let rest = slice_chars(fill, 0, (missing % count) as i64);
                within_column((missing / count).saturating_mul(fill.len()).saturating_add(rest.len() + s.len()))?;
            }
            if side == Side::Left {
                push_filler(fill, missing, out);
            }
            out.push_str(if missing > 0 { s } else { slice_chars(s, 0, size as i64) });
            if side == Side::Right {
                push_filler(fill, missing, out);
            }
            Ok(Some(()))
        })
    }))
}

/// So many characters of `fill`, which begins anew at its end.
fn push_filler(fill: &str, missing: usize, out: &mut String) {
    match fill.as_bytes() {
        [byte] if byte.is_ascii() => out.extend(std::iter::repeat_n(char::from(*byte), missing)),
        _ => out.extend(fill.chars().cycle().take(missing)),
    }
}

/// Appends `s` so many times.
fn push_times(s: &str, times: usize, out: &mut String) {
    if s.is_empty() {
        return;
    }
    if s.len() * times < 64 {
        (0..times).for_each(|_| out.push_str(s));
    } else {
        out.push_str(&s.repeat(times));
    }
}

fn vec_scalar(bytes: &[u8]) -> datafusion::scalar::ScalarValue {
    datafusion::scalar::ScalarValue::Binary(Some(bytes.to_vec()))
}

/// The text so many times.
pub(super) fn repeat(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text, Want::Int])?;
    let returns = Returns::fallible(DataType::Utf8, any_nullable(&args));
    Ok(call(c.name, args, returns, |a| {
        let (s, times) = (a.column::<StringArray>(0)?, a.column::<Int32Array>(1)?);
        a.try_strings(|row, out| {
            let (Some(s), Some(times)) = (s.get(row), times.get(row)) else { return Ok(None) };
            let times = times.max(0) as usize;
            within_column(s.len().saturating_mul(times))?;
            push_times(s, times, out);
            Ok(Some(()))
        })
    }))
}

/// So many spaces.
pub(super) fn space(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Int])?;
    let returns = Returns::fallible(DataType::Utf8, args[0].nullable);
    Ok(call(c.name, args, returns, |a| {
        let times = a.column::<Int32Array>(0)?;
        a.try_strings(|row, out| {
            let Some(times) = times.get(row) else { return Ok(None) };
            let times = within_column(times.max(0) as usize)?;
            push_times(" ", times, out);
            Ok(Some(()))
        })
    }))
}

/// `overlay(text placing other from position [for length])`.
pub(super) fn overlay(mut c: Call<'_>) -> Result<Typed> {
    if c.args.len() == 3 {
        c.args.push(literal((-1_i32).into()));
    }
    let mut args = coerce_optional(&mut c, 3, &[TEXT_OR_BINARY, TEXT_OR_BINARY, Want::Int, Want::Int])?;
    let binary = args[0].data_type == DataType::Binary && args[1].data_type == DataType::Binary;
    if !binary && [&args[0], &args[1]].iter().any(|arg| arg.data_type == DataType::Binary) {
        return Err(super::mismatch("DATA_DIFF_TYPES", "`overlay` takes two texts or two binaries"));
    }
    let data_type = if binary { DataType::Binary } else { DataType::Utf8 };
    for index in [0, 1] {
        let arg = args[index].clone();
        args[index] = super::convert(&c, arg, &data_type)?;
    }
    let returns = Returns::new(data_type, any_nullable(&args));
    Ok(call(c.name, args, returns, move |a| {
        let (position, length) = (a.column::<Int32Array>(2)?, a.column::<Int32Array>(3)?);
        if binary {
            let (b, with) = (a.column::<BinaryArray>(0)?, a.column::<BinaryArray>(1)?);
            return a.binaries(|row, out| {
                let (Some(b), Some(with), Some(position), Some(length)) =
                    (b.get(row), with.get(row), position.get(row), length.get(row))
                else {
                    return Ok(None);
                };
                let length = if length >= 0 { length } else { with.len() as i32 };
                out.extend_from_slice(sql_slice_bytes(b, 1, position.wrapping_sub(1)));
                out.extend_from_slice(with);
                out.extend_from_slice(sql_slice_bytes(b, position.saturating_add(length), i32::MAX));
                Ok(Some(()))
            });
        }
        let (s, with) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?);
        a.strings(|row, out| {
            let (s, with, position, length) = (s.get(row)?, with.get(row)?, position.get(row)?, length.get(row)?);
            let length = if length >= 0 { length } else { count_chars(with) };
            out.push_str(sql_slice(s, 1, position.wrapping_sub(1)));
            out.push_str(with);
            out.push_str(sql_slice(s, position.saturating_add(length), i32::MAX));
            Some(())
        })
    }))
}
