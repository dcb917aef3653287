//! Text to values of single types, where several formats agree: decimals, days, base64.

use base64::Engine;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};

/// A DECIMAL(`precision`, `scale`) from `[±]digits[.digits][e[±]digits]`, rounded half up; `None` if it is no number or too large.
pub(super) fn decimal(text: &[u8], precision: u8, scale: i8) -> Option<i128> {
    let (negative, text) = match text.first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = text.iter().position(|b| matches!(b, b'e' | b'E')).unwrap_or(text.len());
    let (digits, exponent) = (&text[..end], exponent(&text[end..])?);
    let point = digits.iter().position(|b| *b == b'.').unwrap_or(digits.len());
    let fraction = digits.len().saturating_sub(point + 1);
    let all = || digits[..point].iter().chain(digits.get(point + 1..).unwrap_or_default());
    if point + fraction == 0 || !all().all(u8::is_ascii_digit) {
        return None;
    }
    let leading = all().take_while(|b| **b == b'0').count();
    let significant = point + fraction - leading;
    // The unscaled value is all digits × 10^shift.
    let shift = exponent.checked_sub(fraction as i64)? + i64::from(scale);
    let kept = significant as i64 + shift;
    if significant == 0 || kept < 0 {
        return Some(0);
    }
    if kept > 38 {
        return None;
    }
    let mut digits = all().skip(leading).map(|b| i128::from(b - b'0')).chain(std::iter::repeat(0));
    let unscaled = digits.by_ref().take(kept as usize).fold(0, |value, digit| value * 10 + digit);
    let unscaled = unscaled + i128::from(digits.next()? >= 5);
    (unscaled < 10_i128.pow(u32::from(precision))).then_some(if negative { -unscaled } else { unscaled })
}

fn exponent(text: &[u8]) -> Option<i64> {
    match text.split_first() {
        None => Some(0),
        // Java reads exponents into 32 bits.
        Some((_, digits)) => std::str::from_utf8(digits).ok()?.parse::<i32>().ok().map(i64::from),
    }
}

/// A DECIMAL from text in which commas may group digits.
pub(super) fn grouped_decimal(text: &[u8], precision: u8, scale: i8) -> Option<i128> {
    if !text.contains(&b',') {
        return decimal(text, precision, scale);
    }
    let plain: Vec<u8> = text.iter().copied().filter(|b| *b != b',').collect();
    decimal(&plain, precision, scale)
}

/// A DATE given as its number of days since 1970, as Spark once wrote dates. Days of the Julian calendar are refused.
pub(super) fn epoch_day(text: &[u8]) -> Option<i32> {
    const GREGORIAN_DAY_MIN: i32 = -141_427;
    std::str::from_utf8(text).ok()?.parse().ok().filter(|day| *day >= GREGORIAN_DAY_MIN)
}

/// Appends the bytes that `text` stands for; `false` if it is not base64 with its padding. White space may stand between groups of
/// four.
pub(super) fn base64(text: &[u8], out: &mut Vec<u8>) -> bool {
    const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true);
    const ENGINE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, CONFIG);
    if text.iter().all(|b| *b > b' ') {
        return ENGINE.decode_vec(text, out).is_ok();
    }
    let mut plain = Vec::with_capacity(text.len());
    for byte in text {
        if *byte > b' ' {
            plain.push(*byte);
        } else if plain.len() % 4 != 0 {
            return false;
        }
    }
    ENGINE.decode_vec(plain, out).is_ok()
}
