//! One value by one specifier of a `printf` format.

use std::fmt::Write;

use super::super::super::cast::decimal::write_decimal;
use super::super::hash::murmur3;
use super::digits::{Digits, Half};
use super::spec::{Spec, invalid};
use crate::error::Result;
use crate::format::number::{double_text, float_text};

/// A value as Java sees it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Null,
    Boolean(bool),
    Whole { value: i64, bits: u32 },
    Float(f32),
    Double(f64),
    Decimal(i128, i8),
    Text(&'a str),
}

/// Appends `value` as `spec` says.
pub(super) fn write(spec: &Spec, value: &Value<'_>, out: &mut String) -> Result<()> {
    let text = match (spec.conversion, value) {
        (b'n', _) => {
            out.push('\n');
            return Ok(());
        }
        (b'%', _) => "%".to_owned(),
        (b'b', Value::Boolean(value)) => cut(spec, value.to_string()),
        (b'b', Value::Null) => cut(spec, "false".into()),
        (b'b', _) => cut(spec, "true".into()),
        (_, Value::Null) => cut(spec, "null".into()),
        (b's', _) if spec.flags.alternate => return Err(invalid("# does not go with the conversion %s")),
        (b's', value) => cut(spec, shown(value)),
        (b'h', value) => cut(spec, format!("{:x}", hash(value))),
        (b'c', Value::Whole { value, bits: ..=32 }) => u32::try_from(*value)
            .ok()
            .and_then(char::from_u32)
            .ok_or_else(|| invalid(format!("{value} is no character")))?
            .to_string(),
        (b'd', Value::Whole { value, .. }) => decimal(spec, *value),
        (b'o' | b'x', Value::Whole { value, bits }) => unsigned(spec, *value, *bits)?,
        (b'e' | b'f' | b'g' | b'a', Value::Double(value)) => real(spec, *value),
        (b'e' | b'f' | b'g' | b'a', Value::Float(value)) => real(spec, f64::from(*value)),
        (conversion, _) => return Err(invalid(format!("%{} is not for a value of this type", char::from(conversion)))),
    };
    let text = if spec.upper { text.to_uppercase() } else { text };
    let fill = spec.width.unwrap_or(0).saturating_sub(text.encode_utf16().count());
    let fill = std::iter::repeat_n(' ', fill);
    if spec.flags.left {
        out.push_str(&text);
        out.extend(fill);
    } else {
        out.extend(fill);
        out.push_str(&text);
    }
    Ok(())
}

/// Not longer than the precision, in Java's characters; half a character is written as `?`.
fn cut(spec: &Spec, text: String) -> String {
    match spec.precision {
        Some(most) if text.len() > most => {
            let units: Vec<u16> = text.encode_utf16().take(most).collect();
            char::decode_utf16(units).map(|char| char.unwrap_or('?')).collect()
        }
        _ => text,
    }
}

/// The value as Java's `toString` has it.
fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Boolean(value) => value.to_string(),
        Value::Whole { value, .. } => value.to_string(),
        Value::Float(value) => float_text(*value).to_string(),
        Value::Double(value) => double_text(*value).to_string(),
        Value::Text(text) => (*text).to_owned(),
        Value::Decimal(value, scale) => {
            let digits = value.unsigned_abs().to_string();
            let power = digits.len() as i32 - 1 - i32::from(*scale);
            let mut text = String::new();
            if power >= -6 {
                // Writing to a String cannot fail.
                let _ = write_decimal(&mut text, *value, *scale);
                return text;
            }
            let (first, rest) = digits.split_at(1);
            let _ = write!(
                text,
                "{}{first}{}{rest}E{power}",
                if *value < 0 { "-" } else { "" },
                if rest.is_empty() { "" } else { "." }
            );
            text
        }
    }
}

/// Java's `hashCode`.
fn hash(value: &Value<'_>) -> u32 {
    let fold = |bits: u64| (bits ^ bits >> 32) as u32;
    match value {
        Value::Null => 0,
        Value::Boolean(value) => {
            if *value {
                1231
            } else {
                1237
            }
        }
        Value::Whole { value, bits: 64 } => fold(*value as u64),
        Value::Whole { value, .. } => *value as u32,
        Value::Float(value) => value.to_bits(),
        Value::Double(value) => fold(value.to_bits()),
        Value::Decimal(value, scale) => fold(((*value as f64) / 10f64.powi(i32::from(*scale))).to_bits()),
        Value::Text(text) => murmur3(text.as_bytes()),
    }
}

/// What stands before and behind a magnitude.
fn signs(spec: &Spec, negative: bool) -> (&'static str, &'static str) {
    match (negative, spec.flags) {
        (true, flags) if flags.parentheses => ("(", ")"),
        (true, _) => ("-", ""),
        (false, flags) if flags.plus => ("+", ""),
        (false, flags) if flags.space => (" ", ""),
        (false, _) => ("", ""),
    }
}

/// Digits with signs, commas if wanted, and zeros up to the width, of which `behind` characters are taken.
fn signed(spec: &Spec, negative: bool, magnitude: &str, behind: usize) -> String {
    let (before, after) = signs(spec, negative);
    let (whole, fraction) = magnitude.split_at(magnitude.find('.').unwrap_or(magnitude.len()));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if spec.flags.group && place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let length = before.len() + grouped.len() + fraction.len() + after.len() + behind;
    let zeros = if spec.flags.zero { spec.width.unwrap_or(0).saturating_sub(length) } else { 0 };
    format!("{before}{}{grouped}{fraction}", "0".repeat(zeros))
}

fn decimal(spec: &Spec, value: i64) -> String {
    let text = signed(spec, value < 0, &value.unsigned_abs().to_string(), 0);
    text + signs(spec, value < 0).1
}

/// Octal or hexadecimal; a negative number by its bits.
fn unsigned(spec: &Spec, value: i64, bits: u32) -> Result<String> {
    let flags = spec.flags;
    if flags.parentheses || flags.plus || flags.space {
        return Err(invalid(format!("a flag does not go with the conversion %{}", char::from(spec.conversion))));
    }
    let value = value as u64 & (u64::MAX >> (64 - bits));
    let (prefix, digits) = if spec.conversion == b'x' { ("0x", format!("{value:x}")) } else { ("0", format!("{value:o}")) };
    let prefix = if flags.alternate { prefix } else { "" };
    let zeros = if flags.zero { spec.width.unwrap_or(0).saturating_sub(prefix.len() + digits.len()) } else { 0 };
    Ok(format!("{prefix}{}{digits}", "0".repeat(zeros)))
}

fn real(spec: &Spec, value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    let negative = value.is_sign_negative();
    let (before, after) = signs(spec, negative);
    if value.is_infinite() {
        return format!("{before}Infinity{after}");
    }
    let digits = Digits::of_double(value);
    let precision = spec.precision.unwrap_or(6);
    let text = match spec.conversion {
        b'e' => scientific(spec, negative, digits, precision),
        b'f' => plain(spec, negative, digits, precision),
        b'g' => {
            let precision = precision.max(1);
            let rounded = digits.rounded(precision as i32, Half::Up);
            if rounded.is_zero() {
                plain(spec, negative, rounded, precision - 1)
            } else if rounded.exponent - 1 < -4 || rounded.exponent > precision as i32 {
                scientific(spec, negative, rounded, precision - 1)
            } else {
                let decimals = (precision as i32 - rounded.exponent).max(0) as usize;
                plain(spec, negative, rounded, decimals)
            }
        }
        _ => hexadecimal(spec, before, value.abs()),
    };
    text + after
}

fn plain(spec: &Spec, negative: bool, digits: Digits, decimals: usize) -> String {
    let digits = digits.with_decimals(decimals, Half::Up);
    let mut text = String::new();
    text.extend((0..digits.exponent.max(1)).rev().map(|power| char::from(digits.at(power))));
    if decimals > 0 || spec.flags.alternate {
        text.push('.');
    }
    text.extend((1..=decimals as i32).map(|place| char::from(digits.at(-place))));
    signed(spec, negative, &text, 0)
}

fn scientific(spec: &Spec, negative: bool, digits: Digits, decimals: usize) -> String {
    let digits = digits.rounded(decimals as i32 + 1, Half::Up);
    let first = digits.exponent - 1;
    let mut text = String::new();
    text.push(char::from(digits.at(first)));
    if decimals > 0 || spec.flags.alternate {
        text.push('.');
    }
    text.extend((1..=decimals as i32).map(|place| char::from(digits.at(first - place))));
    let power = if digits.is_zero() { 0 } else { first };
    let exponent = format!("e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs());
    signed(spec, negative, &text, exponent.len()) + &exponent
}

/// Java's hexadecimal form of a double, `0x1.8p0`.
fn hexadecimal(spec: &Spec, before: &str, value: f64) -> String {
    const FRACTION_BITS: u32 = 52;
    let bits = value.to_bits();
    let (mut whole, mut fraction) = (1u64, bits & ((1 << FRACTION_BITS) - 1));
    let mut exponent = (bits >> FRACTION_BITS) as i32 - 1023;
    if exponent == -1023 {
        (whole, exponent) = (0, if fraction == 0 { 0 } else { -1022 });
    }
    let mut digits = format!("{fraction:013x}");
    if let Some(precision) = spec.precision.map(|precision| precision.max(1)).filter(|precision| *precision < 13) {
        // To the nearest, a half to the even one.
        let dropped = FRACTION_BITS - 4 * precision as u32;
        let all = whole << FRACTION_BITS | fraction;
        let (kept, rest, half) = (all >> dropped, all & ((1 << dropped) - 1), 1u64 << (dropped - 1));
        let kept = kept + u64::from(rest > half || rest == half && kept & 1 == 1);
        (whole, fraction) = (kept >> (4 * precision), kept & ((1 << (4 * precision)) - 1));
        if whole == 2 {
            (whole, exponent) = (1, exponent + 1);
        }
        digits = format!("{fraction:0precision$x}");
    } else {
        let shortest = digits.trim_end_matches('0').len().max(1);
        digits.truncate(shortest.max(spec.precision.map_or(0, |_| 13)));
    }
    let power = format!("p{exponent}");
    let body = format!("{whole}.{digits}{power}");
    let zeros = if spec.flags.zero { spec.width.unwrap_or(0).saturating_sub(before.len() + 2 + body.len()) } else { 0 };
    format!("{before}0x{}{body}", "0".repeat(zeros))
}
