//! Floating-point numbers as Java writes them, for JSON, CSV, casts and the console alike.
//!
//! The digits are those of Java 17: mostly the fewest that read back as the same number, see `decimal_digits`
//! for the others. From 0.001 up to ten million they stand plain and with at least one digit behind the point (`100.0`), otherwise in the form `1.0E10`.

use std::ops::Deref;

use super::decimal_digits::{Binary, JavaDigits};

/// The text of one number, without an allocation.
#[derive(Debug, Clone, Copy)]
pub struct NumberText {
    bytes: [u8; 32],
    len: u8,
}

impl Deref for NumberText {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("a number is ASCII")
    }
}

impl NumberText {
    /// The text's bytes, all ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn empty() -> Self {
        Self { bytes: [0; 32], len: 0 }
    }

    fn of(text: &str) -> Self {
        let mut this = Self::empty();
        this.push_all(text.as_bytes());
        this
    }

    fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.len)] = byte;
        self.len += 1;
    }

    fn push_all(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }

    fn push_zeros(&mut self, count: i32) {
        for _ in 0..count {
            self.push(b'0');
        }
    }
}

/// A DOUBLE's text: `1.0`, `1.0E10`, `1.0E-5`, `NaN`, `-Infinity`.
pub fn double_text(value: f64) -> NumberText {
    if !value.is_finite() {
        return NumberText::of(special(value));
    }
    let binary = Binary::of_double(value);
    if value != 0.0 && binary.is_special() {
        return Digits::of_java(value.is_sign_negative(), &binary.digits()).text();
    }
    let mut buffer = ryu::Buffer::new();
    Digits::read(buffer.format_finite(value)).text()
}

/// A FLOAT's text, from its own precision: `0.1`, not `0.10000000149011612`.
pub fn float_text(value: f32) -> NumberText {
    if !value.is_finite() {
        return NumberText::of(special(f64::from(value)));
    }
    let binary = Binary::of_float(value);
    if value != 0.0 && binary.is_special() {
        return Digits::of_java(value.is_sign_negative(), &binary.digits()).text();
    }
    let mut buffer = ryu::Buffer::new();
    Digits::read(buffer.format_finite(value)).text()
}

/// Appends [`double_text`] to `out`.
pub fn write_double(value: f64, out: &mut Vec<u8>) {
    if !write_few_decimals(value, out) {
        out.extend_from_slice(double_text(value).as_bytes());
    }
}

const SCALE: u64 = 10_000;

/// How many ten thousandths a positive number is, if its digits need no more than four decimals and are at most fifteen in all.
///
/// No two decimals of at most 15 digits are the same DOUBLE: if the one with four decimals reads back as `magnitude`, it is, but for
/// zeros at its end, the shortest that does.
pub fn ten_thousandths(magnitude: f64) -> Option<u64> {
    if !(0.001..1e11).contains(&magnitude) {
        return None;
    }
    let scaled = (magnitude * SCALE as f64 + 0.5) as u64;
    (scaled as f64 / SCALE as f64 == magnitude).then_some(scaled)
}

/// Appends a number that stands plain and needs no more than four decimals, as most that people enter do.
fn write_few_decimals(value: f64, out: &mut Vec<u8>) -> bool {
    let magnitude = value.abs();
    if !(0.001..1e7).contains(&magnitude) {
        return false;
    }
    let Some(scaled) = ten_thousandths(magnitude) else { return false };
    if value < 0.0 {
        out.push(b'-');
    }
    out.extend_from_slice(lexical_core::write(scaled / SCALE, &mut [0; 24]));
    let fraction = scaled % SCALE;
    let digits = [fraction / 1000, fraction / 100 % 10, fraction / 10 % 10, fraction % 10].map(|digit| b'0' + digit as u8);
    let shown = digits.iter().rposition(|digit| *digit != b'0').map_or(1, |last| last + 1);
    out.push(b'.');
    out.extend_from_slice(&digits[..shown]);
    true
}

/// Appends [`float_text`] to `out`.
pub fn write_float(value: f32, out: &mut Vec<u8>) {
    out.extend_from_slice(float_text(value).as_bytes());
}

/// Appends a DECIMAL of `unscaled` × 10^-`scale`, as Java's `BigDecimal` writes it: `1.50`, but `1E-10` once the first digit stands
/// more than six places behind the point.
pub fn write_decimal(unscaled: i128, scale: i8, out: &mut Vec<u8>) {
    let mut buffer = [0; 40];
    let digits: &[u8] = lexical_core::write(unscaled.unsigned_abs(), &mut buffer);
    if unscaled < 0 {
        out.push(b'-');
    }
    let scale = i32::from(scale);
    let exponent = digits.len() as i32 - 1 - scale;
    if scale < 0 || exponent < -6 {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        let mut buffer = [0; 12];
        out.extend_from_slice(if exponent < 0 { b"E" } else { b"E+" });
        out.extend_from_slice(lexical_core::write(exponent, &mut buffer));
    } else if digits.len() as i32 <= scale {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', (scale - digits.len() as i32) as usize));
        out.extend_from_slice(digits);
    } else {
        let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
        out.extend_from_slice(whole);
        if scale > 0 {
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    }
}

fn special(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// `0.d₁d₂…dₙ × 10^point`, without zeros at either end.
struct Digits {
    negative: bool,
    bytes: [u8; 20],
    len: usize,
    point: i32,
}

impl Digits {
    /// Takes a finite number's text apart: `12.5`, `1e16`, `1.5e-7`, `0.001`.
    fn read(text: &str) -> Self {
        let mut this = Self { negative: false, bytes: [0; 20], len: 0, point: 0 };
        let mut behind_point = false;
        let mut zeros = 0;
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                b'-' => this.negative = true,
                b'.' => behind_point = true,
                b'e' => {
                    this.point += text[at + 1..].parse::<i32>().expect("an exponent is a small integer");
                    break;
                }
                b'0' if this.len == 0 => this.point -= i32::from(behind_point),
                b'0' => {
                    zeros += 1;
                    this.point += i32::from(!behind_point);
                }
                digit => {
                    for _ in 0..zeros {
                        this.push(b'0');
                    }
                    zeros = 0;
                    this.push(digit);
                    this.point += i32::from(!behind_point);
                }
            }
        }
        this
    }

    fn of_java(negative: bool, java: &JavaDigits) -> Self {
        let mut this = Self { negative, bytes: [0; 20], len: 0, point: java.exponent + 1 };
        let zeros = java.digits.iter().rev().take_while(|digit| **digit == b'0').count();
        java.digits[..java.digits.len() - zeros].iter().for_each(|digit| this.push(*digit));
        this
    }

    fn push(&mut self, digit: u8) {
        self.bytes[self.len] = digit;
        self.len += 1;
    }

    fn text(&self) -> NumberText {
        let mut out = NumberText::empty();
        if self.negative {
            out.push(b'-');
        }
        let digits = &self.bytes[..self.len];
        let shown = self.len as i32;
        match self.point {
            _ if digits.is_empty() => out.push_all(b"0.0"),
            point @ 1..=7 => {
                out.push_all(&digits[..point.min(shown) as usize]);
                out.push_zeros(point - shown);
                out.push(b'.');
                out.push_all(if point < shown { &digits[point as usize..] } else { b"0" });
            }
            point @ -2..=0 => {
                out.push_all(b"0.");
                out.push_zeros(-point);
                out.push_all(digits);
            }
            point => {
                out.push(digits[0]);
                out.push(b'.');
                out.push_all(if shown > 1 { &digits[1..] } else { b"0" });
                out.push(b'E');
                let mut exponent = [0; 12];
                out.push_all(lexical_core::write(point - 1, &mut exponent));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn few_decimals_are_written_as_all_others(scaled in -200_000_000_000i64..200_000_000_000, scale in 0i32..7, any in proptest::num::f64::ANY) {
            for value in [scaled as f64 / 10f64.powi(scale), any] {
                let mut text = Vec::new();
                write_double(value, &mut text);
                proptest::prop_assert_eq!(std::str::from_utf8(&text).unwrap(), &*double_text(value));
            }
        }
    }

    #[test]
    fn doubles_read_as_java_writes_them() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (100.0, "100.0"),
            (120.5, "120.5"),
            (249.9, "249.9"),
            (0.1 + 0.2, "0.30000000000000004"),
            (0.001, "0.001"),
            (0.0012, "0.0012"),
            (0.000_999, "9.99E-4"),
            (1e-5, "1.0E-5"),
            (9_999_999.0, "9999999.0"),
            (1_234_567.875, "1234567.875"),
            (1e7, "1.0E7"),
            (12_345_678.9, "1.23456789E7"),
            (1e10, "1.0E10"),
            (1.05e22, "1.0499999999999999E22"),
            (1e23, "9.999999999999999E22"),
            (2e23, "1.9999999999999998E23"),
            (1_152_921_504_606_846_976.0, "1.15292150460684698E18"),
            (123_456_789_012_345_680.0, "1.2345678901234568E17"),
            (9_223_372_036_854_775_807.0, "9.223372036854776E18"),
            (9_007_199_254_740_993.0, "9.007199254740992E15"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::MIN_POSITIVE, "2.2250738585072014E-308"),
            (f64::from_bits(1), "4.9E-324"),
            (f64::from_bits(2), "1.0E-323"),
            (f64::from_bits(3), "1.5E-323"),
            (f64::from_bits(4), "2.0E-323"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(&*double_text(value), text);
        }
    }

    #[test]
    fn floats_keep_their_own_precision() {
        for (value, text) in [
            (0.1f32, "0.1"),
            (1.0, "1.0"),
            (16_777_216.0, "1.6777216E7"),
            (3.4e38, "3.4E38"),
            (f32::MAX, "3.4028235E38"),
            (f32::from_bits(1), "1.4E-45"),
            (f32::from_bits(2), "2.8E-45"),
            (f32::from_bits(3), "4.2E-45"),
            (1e-3, "0.001"),
            (f32::MIN_POSITIVE, "1.17549435E-38"),
            (8_589_934_592.0, "8.5899346E9"),
            (f32::NAN, "NaN"),
        ] {
            assert_eq!(&*float_text(value), text);
        }
    }

    #[test]
    fn every_text_reads_back_as_the_same_number() {
        let mut bits = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = f64::from_bits(bits);
            if value.is_finite() {
                assert_eq!(double_text(value).parse::<f64>().expect("a number").to_bits(), bits);
            }
            let value = f32::from_bits(bits as u32);
            if value.is_finite() {
                assert_eq!(float_text(value).parse::<f32>().expect("a number").to_bits(), value.to_bits());
            }
        }
    }

    #[test]
    fn decimals_are_plain_until_they_are_tiny() {
        for (unscaled, scale, text) in [
            (150, 2, "1.50"),
            (-5, 2, "-0.05"),
            (0, 2, "0.00"),
            (0, 0, "0"),
            (1, 6, "0.000001"),
            (1, 7, "1E-7"),
            (-12, 10, "-1.2E-9"),
            (0, 10, "0E-10"),
            (100_000_000_000, 5, "1000000.00000"),
            (i128::MAX, 0, "170141183460469231731687303715884105727"),
        ] {
            let mut out = Vec::new();
            write_decimal(unscaled, scale, &mut out);
            assert_eq!(String::from_utf8(out).expect("ASCII"), text);
        }
    }

    #[test]
    fn appending_keeps_what_was_there() {
        let mut out = b"x=".to_vec();
        write_double(1.0, &mut out);
        out.push(b' ');
        write_float(0.5, &mut out);
        assert_eq!(out, b"x=1.0 0.5");
    }
}
