//! Text → numbers, booleans, decimals, as Spark reads them.

use super::time::trim;

/// An integer: blanks around it and a sign are allowed, nothing else.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let text = trim(text);
    let (negative, digits) = match text.first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    for b in digits {
        if !b.is_ascii_digit() {
            return None;
        }
        // Downwards, for the smallest number has no positive counterpart.
        value = value.checked_mul(10)?.checked_sub(i64::from(b - b'0'))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// A float as Java's `parseDouble` reads it, or one of Spark's words for infinity and NaN.
pub(super) fn float<T: fast_float2::FastFloat + Special>(text: &[u8]) -> Option<T> {
    let text = trim(text);
    let (negative, body) = match text.first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let first = *body.first()?;
    if first.is_ascii_alphabetic() {
        let word = |words: &[&str]| words.iter().any(|w| body.eq_ignore_ascii_case(w.as_bytes()));
        if word(&["inf", "infinity"]) {
            return Some(T::infinity(negative));
        }
        return (word(&["nan"]) && (body.len() == text.len() || body == b"NaN")).then(T::nan);
    }
    if let [b'0', b'x' | b'X', digits @ ..] = body {
        return hexadecimal(digits).map(|(value, exponent)| T::scaled(value, exponent).negate_if(negative));
    }
    let body = without_suffix(body);
    if !body.iter().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
        || matches!(body.first(), None | Some(b'+' | b'-'))
    {
        return None;
    }
    fast_float2::parse::<T, _>(body).ok().map(|value| value.negate_if(negative))
}

/// A number without the letter that names its type in Java.
fn without_suffix(number: &[u8]) -> &[u8] {
    match number {
        [digits @ .., b'd' | b'D' | b'f' | b'F'] => digits,
        _ => number,
    }
}

/// `1.8p3`, what follows `0x`: a whole number and the power of two that it is taken times.
fn hexadecimal(text: &[u8]) -> Option<(u128, i32)> {
    let text = without_suffix(text);
    let end = text.iter().position(|b| matches!(b, b'p' | b'P'))?;
    let (digits, exponent) = (&text[..end], &text[end + 1..]);
    if exponent.iter().any(|b| *b <= b' ') {
        return None;
    }
    let mut power = integer(exponent)?.clamp(-1_000_000, 1_000_000);
    let (mut value, mut found, mut behind_point) = (0_u128, false, false);
    for b in digits {
        if *b == b'.' && !behind_point {
            behind_point = true;
            continue;
        }
        let digit = u128::from(char::from(*b).to_digit(16)?);
        found = true;
        if value >> 120 == 0 {
            value = value << 4 | digit;
            power -= if behind_point { 4 } else { 0 };
        } else {
            // Too small to count, but for which way the rest is rounded.
            value |= u128::from(digit != 0);
            power += if behind_point { 0 } else { 4 };
        }
    }
    found.then_some((value, power.clamp(-100_000, 100_000) as i32))
}

/// The values that no digits write.
pub(super) trait Special: Sized {
    /// `value` times two to the power of `exponent`.
    fn scaled(value: u128, exponent: i32) -> Self;
    fn infinity(negative: bool) -> Self;
    fn nan() -> Self;
    fn negate_if(self, negative: bool) -> Self;
}

macro_rules! special {
    ($float:ident) => {
        impl Special for $float {
            fn scaled(value: u128, exponent: i32) -> Self {
                libm::ldexp(f64::from(value as $float), exponent) as $float
            }
            fn infinity(negative: bool) -> Self {
                if negative { $float::NEG_INFINITY } else { $float::INFINITY }
            }
            fn nan() -> Self {
                $float::NAN
            }
            fn negate_if(self, negative: bool) -> Self {
                if negative { -self } else { self }
            }
        }
    };
}
special!(f32);
special!(f64);

/// The value of a decimal digit of any script of the basic plane, as Java's `Character.digit` has it.
pub(in crate::plan::spark) fn digit(char: char) -> Option<u8> {
    /// The zeros of all scripts; the other nine digits follow each.
    const ZEROS: [u16; 37] = [
        0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20,
        0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900,
        0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
    ];
    let code = u16::try_from(u32::from(char)).ok()?;
    let zero = ZEROS[..ZEROS.partition_point(|zero| *zero <= code)].last()?;
    u8::try_from(code - zero).ok().filter(|digit| *digit < 10)
}

/// A boolean by one of Spark's words.
pub(super) fn boolean(text: &[u8]) -> Option<bool> {
    let text = trim(text);
    let is = |words: [&str; 5]| words.iter().any(|w| text.eq_ignore_ascii_case(w.as_bytes()));
    if is(["t", "true", "y", "yes", "1"]) {
        Some(true)
    } else if is(["f", "false", "n", "no", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// Why a text is no decimal of the wanted precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoDecimal {
    /// It is not a number.
    Malformed,
    /// It has more than 38 digits before the point.
    Huge,
    /// It does not fit the precision.
    TooWide,
}

/// A decimal, rounded half up to `scale`; its digits are not limited.
pub(super) fn decimal(text: &[u8], precision: u8, scale: i8) -> Result<i128, NoDecimal> {
    let text = trim(text);
    if !text.is_ascii() {
        let plain = |char: char| digit(char).map_or(char, |digit| char::from(b'0' + digit));
        let text: String = std::str::from_utf8(text).map_err(|_| NoDecimal::Malformed)?.chars().map(plain).collect();
        return if text.is_ascii() { decimal(text.as_bytes(), precision, scale) } else { Err(NoDecimal::Malformed) };
    }
    let (negative, body) = match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let mantissa_end = body.iter().position(|b| matches!(b, b'e' | b'E')).unwrap_or(body.len());
    let exponent = match body.get(mantissa_end + 1..) {
        Some(exponent) if mantissa_end < body.len() => integer(exponent)
            .filter(|_| exponent.last().is_some_and(u8::is_ascii_digit) && exponent.first().is_some_and(|b| *b > b' '))
            .ok_or(NoDecimal::Malformed)?,
        _ => 0,
    };
    let mantissa = &body[..mantissa_end];
    let point = mantissa.iter().position(|b| *b == b'.');
    let digit_count = mantissa.len() - usize::from(point.is_some());
    if digit_count == 0 || mantissa.iter().enumerate().any(|(i, b)| !b.is_ascii_digit() && Some(i) != point) {
        return Err(NoDecimal::Malformed);
    }
    let digits = || mantissa.iter().filter(|b| **b != b'.').map(|b| b - b'0');
    let leading_zeros = digits().take_while(|d| *d == 0).count();
    let significant = (digit_count - leading_zeros) as i64;
    if significant == 0 {
        return Ok(0);
    }
    let fraction = point.map_or(0, |p| mantissa.len() - p - 1) as i64;
    let before_point = significant.saturating_sub(fraction).saturating_add(exponent);
    if before_point > 38 {
        return Err(NoDecimal::Huge);
    }
    // How many of the significant digits the unscaled value keeps (more than there are: zeros follow).
    let kept = before_point.saturating_add(i64::from(scale));
    if kept > i64::from(precision) {
        return Err(NoDecimal::TooWide);
    }
    if kept < 0 {
        return Ok(0);
    }
    let mut unscaled: i128 = 0;
    let mut rest = digits().skip(leading_zeros);
    for _ in 0..kept {
        unscaled = unscaled * 10 + i128::from(rest.next().unwrap_or(0));
    }
    if rest.next().is_some_and(|d| d >= 5) {
        unscaled += 1;
    }
    if unscaled >= 10_i128.pow(u32::from(precision)) {
        return Err(NoDecimal::TooWide);
    }
    Ok(if negative { -unscaled } else { unscaled })
}
