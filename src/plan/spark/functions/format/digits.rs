//! Decimal digits of numbers, rounded as Java rounds them.

use lexical_core::FormattedSize;

use crate::format::number::{double_text, ten_thousandths};

/// The magnitude of a number: `0.d₁d₂d₃… × 10^exponent`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Digits {
    /// `0` to `9` as bytes, none of them leading zeros; none at all for 0.
    pub(super) digits: Vec<u8>,
    /// Where the point stands, counted from the first digit.
    pub(super) exponent: i32,
}

/// How a half is rounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Half {
    Up,
    /// To the even digit.
    Even,
}

impl Digits {
    /// The digits that Java shows of `value`, which is finite; its sign is ignored.
    pub(super) fn of_double(value: f64) -> Self {
        if let Some(number) = ten_thousandths(value.abs()) {
            return Self::of_decimal(number.into(), 4);
        }
        let text = double_text(value.abs());
        let (mantissa, exponent) = text.split_once('E').unwrap_or((&text, "0"));
        let point = mantissa.find('.').unwrap_or(mantissa.len()) as i32;
        let digits = mantissa.bytes().filter(u8::is_ascii_digit).collect();
        Self { digits, exponent: exponent.parse::<i32>().unwrap_or(0) + point }.normal()
    }

    /// Every digit of the double that `value` is.
    pub(super) fn exactly(value: f64) -> Self {
        // A double has at most 1074 decimals.
        let text = format!("{:.1074}", value.abs());
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let exponent = whole.len() as i32;
        Self { digits: whole.bytes().chain(fraction.bytes()).collect(), exponent }.normal()
    }

    /// `unscaled` × 10^-`scale`; its sign is ignored.
    pub(super) fn of_decimal(unscaled: i128, scale: i8) -> Self {
        let mut buffer = [0; u128::FORMATTED_SIZE];
        // The narrow numbers, which nearly all are, are far quicker to write.
        let digits = match u64::try_from(unscaled.unsigned_abs()) {
            Ok(narrow) => lexical_core::write(narrow, &mut buffer),
            Err(_) => lexical_core::write(unscaled.unsigned_abs(), &mut buffer),
        };
        let digits = digits.to_vec();
        let exponent = digits.len() as i32 - i32::from(scale);
        Self { digits, exponent }.normal()
    }

    /// Without zeros at either end.
    fn normal(mut self) -> Self {
        let zeros = self.digits.iter().take_while(|digit| **digit == b'0').count();
        self.digits.drain(..zeros);
        self.exponent -= zeros as i32;
        while self.digits.last() == Some(&b'0') {
            self.digits.pop();
        }
        if self.digits.is_empty() {
            self.exponent = 0;
        }
        self
    }

    pub(super) fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    /// With no digit beyond the first `count` (which may be negative or 0).
    pub(super) fn rounded(mut self, count: i32, half: Half) -> Self {
        if count >= self.digits.len() as i32 {
            return self;
        }
        if count < 0 {
            return Self { digits: Vec::new(), exponent: 0 };
        }
        let at = count as usize;
        let (next, beyond) = (self.digits[at], self.digits.len() > at + 1);
        let odd = at > 0 && (self.digits[at - 1] - b'0') % 2 == 1;
        let up = next > b'5' || next == b'5' && (half == Half::Up || beyond || odd);
        self.digits.truncate(at);
        if up {
            match self.digits.iter().rposition(|digit| *digit != b'9') {
                Some(place) => {
                    self.digits[place] += 1;
                    self.digits.truncate(place + 1);
                }
                None => {
                    self.digits = vec![b'1'];
                    self.exponent += 1;
                }
            }
        }
        self.normal()
    }

    /// With at most so many decimals.
    pub(super) fn with_decimals(self, decimals: usize, half: Half) -> Self {
        let count = self.exponent.saturating_add(i32::try_from(decimals).unwrap_or(i32::MAX));
        self.rounded(count, half)
    }

    /// The digit that counts 10^`power`s.
    pub(super) fn at(&self, power: i32) -> u8 {
        usize::try_from(self.exponent - 1 - power).ok().and_then(|place| self.digits.get(place)).copied().unwrap_or(b'0')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(digits: Digits, expected: &str) {
        assert_eq!(format!("{}e{}", String::from_utf8(digits.digits).unwrap(), digits.exponent), expected);
    }

    #[test]
    fn digits_are_rounded_once() {
        check(Digits::of_double(1.005).with_decimals(2, Half::Up), "101e1");
        check(Digits::exactly(1.005).with_decimals(2, Half::Even), "1e1");
        check(Digits::of_decimal(-125, 2).with_decimals(1, Half::Even), "12e1");
        check(Digits::of_double(0.96).with_decimals(1, Half::Up), "1e1");
        check(Digits::of_double(0.04).with_decimals(1, Half::Up), "e0");
        check(Digits::of_double(0.06).with_decimals(1, Half::Up), "1e0");
        check(Digits::of_double(0.5).with_decimals(0, Half::Even), "e0");
        check(Digits::of_double(999.9).rounded(2, Half::Up), "1e4");
        check(Digits::of_double(0.0), "e0");
    }
}
