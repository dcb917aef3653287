//! `format_number`: numbers by a pattern of Java's `DecimalFormat`, in its English form.

use arrow::array::{
    Array, Decimal128Array, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, StringArray,
};
use arrow::datatypes::DataType;

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, any_nullable, arity, convert, expect_one};
use super::super::native::{Args, Reader, Returns, call};
use super::digits::{Digits, Half};
use super::spec::invalid;
use crate::error::{Error, ErrorKind, Result};

/// What `format_number(n, '')` means.
const DEFAULT: &str = "#,###,###,###,###,###,##0";
/// Decimals that a number which is no DECIMAL is written with at most.
const FRACTION_MAX: usize = 340;
/// Decimals of a DECIMAL at most.
const DECIMALS_MAX: usize = 1_000_000;

/// A pattern, read.
#[derive(Debug, Clone, Default)]
struct Pattern {
    positive: Affixes,
    negative: Affixes,
    whole_min: usize,
    /// Counts with an exponent only.
    whole_max: usize,
    fraction_min: usize,
    fraction_max: usize,
    /// Digits between two commas; 0 for no commas.
    group: usize,
    /// 1, 100 or 1000.
    factor: u32,
    point_always: bool,
    /// Least digits of the exponent, if there is one.
    exponent_min: Option<usize>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Affixes {
    prefix: String,
    suffix: String,
}

/// What the digits of one half of a pattern say.
#[derive(Debug, Default)]
struct Layout {
    left: usize,
    zeros: usize,
    right: usize,
    point: Option<usize>,
    group: Option<usize>,
    exponent_min: Option<usize>,
    factor: Option<u32>,
    affixes: Affixes,
}

/// `format_number(number, decimals or pattern)`.
pub(super) fn format_number(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 2)?;
    let mut args = std::mem::take(&mut c.args);
    let (format, number) = (args.pop(), args.pop());
    let (Some(format), Some(number)) = (format, number) else { return Err(Error::internal("there are two arguments")) };
    let checked = |index, arg: Typed, want, null| {
        if arg.data_type == DataType::Null { convert(&c, arg, null) } else { expect_one(&c, index, arg, want) }
    };
    let number = checked(0, number, &Want::Numeric, &DataType::Float64)?;
    let format = checked(1, format, &Want::OneOf(&[Want::Int, Want::Text]), &DataType::Int32)?;
    let by_decimals = format.data_type == DataType::Int32;
    let args = vec![number, format];
    let returns = Returns::fallible(DataType::Utf8, by_decimals || any_nullable(&args));
    Ok(call("format_number", args, returns, move |a| {
        let numbers = Numbers::of(a)?;
        if by_decimals {
            let decimals = a.column::<Int32Array>(1)?;
            let mut pattern = Pattern::parse(DEFAULT)?;
            return a.try_strings(|row, out| {
                let (Some(number), Some(decimals)) = (numbers.get(row), decimals.get(row)) else { return Ok(None) };
                let Ok(decimals) = usize::try_from(decimals) else { return Ok(None) };
                if decimals > DECIMALS_MAX {
                    return Err(Error::new(ErrorKind::Limit, format!("{decimals} decimals are above {DECIMALS_MAX}")));
                }
                (pattern.fraction_min, pattern.fraction_max) = (decimals, decimals);
                pattern.write(&number, out);
                Ok(Some(()))
            });
        }
        let patterns = a.column::<StringArray>(1)?;
        let mut known: Option<(&str, Pattern)> = None;
        a.try_strings(|row, out| {
            let (Some(number), Some(text)) = (numbers.get(row), patterns.get(row)) else { return Ok(None) };
            if known.as_ref().is_none_or(|(last, _)| *last != text) {
                known = Some((text, Pattern::parse(if text.is_empty() { DEFAULT } else { text })?));
            }
            if let Some((_, pattern)) = &known {
                pattern.write(&number, out);
            }
            Ok(Some(()))
        })
    }))
}

/// A number to be written.
enum Number {
    Exact(i128, i8, bool),
    Double(f64),
}

enum Numbers<'a> {
    Byte(Reader<'a, Int8Array>),
    Short(Reader<'a, Int16Array>),
    Int(Reader<'a, Int32Array>),
    Long(Reader<'a, Int64Array>),
    Float(Reader<'a, Float32Array>),
    Double(Reader<'a, Float64Array>),
    Decimal(Reader<'a, Decimal128Array>, i8),
}

impl<'a> Numbers<'a> {
    fn of(a: &Args<'a>) -> Result<Self> {
        Ok(match a.any(0).array.data_type() {
            DataType::Int8 => Self::Byte(a.column(0)?),
            DataType::Int16 => Self::Short(a.column(0)?),
            DataType::Int32 => Self::Int(a.column(0)?),
            DataType::Int64 => Self::Long(a.column(0)?),
            DataType::Float32 => Self::Float(a.column(0)?),
            DataType::Decimal128(_, scale) => Self::Decimal(a.column(0)?, *scale),
            _ => Self::Double(a.column(0)?),
        })
    }

    fn get(&self, row: usize) -> Option<Number> {
        let whole = |value: i64| Number::Exact(i128::from(value), 0, false);
        Some(match self {
            Self::Byte(values) => whole(values.get(row)?.into()),
            Self::Short(values) => whole(values.get(row)?.into()),
            Self::Int(values) => whole(values.get(row)?.into()),
            Self::Long(values) => whole(values.get(row)?),
            Self::Float(values) => Number::Double(values.get(row)?.into()),
            Self::Double(values) => Number::Double(values.get(row)?),
            Self::Decimal(values, scale) => Number::Exact(values.get(row)?, *scale, true),
        })
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self> {
        let chars: Vec<char> = text.chars().collect();
        let (layout, next) = layout(&chars, 0, true)?;
        let total = layout.left + layout.zeros + layout.right;
        let point = layout.point.unwrap_or(total);
        let whole_min = point.saturating_sub(layout.left);
        let minus = || Affixes { prefix: format!("-{}", layout.affixes.prefix), suffix: layout.affixes.suffix.clone() };
        let negative = match next {
            Some(next) => {
                let (second, _) = self::layout(&chars, next, false)?;
                // The same as the positive half, or nothing at all behind the semicolon, is none.
                if next == chars.len() || second.affixes == layout.affixes { minus() } else { second.affixes }
            }
            None => minus(),
        };
        Ok(Self {
            negative,
            whole_min,
            whole_max: layout.left + whole_min,
            fraction_min: if layout.point.is_some() { (layout.left + layout.zeros).saturating_sub(point) } else { 0 },
            fraction_max: total - point,
            group: layout.group.unwrap_or(0),
            factor: layout.factor.unwrap_or(1),
            point_always: layout.point.is_some_and(|point| point == 0 || point == total),
            exponent_min: layout.exponent_min,
            positive: layout.affixes,
        })
    }

    fn write(&self, number: &Number, out: &mut String) {
        let significant = self.exponent_min.map(|_| (self.whole_max + self.fraction_max) as i32);
        let fraction_max = match number {
            Number::Exact(_, _, true) => self.fraction_max,
            _ => self.fraction_max.min(FRACTION_MAX),
        };
        let places = |digits: &Digits| match significant {
            Some(significant) => significant,
            None => digits.exponent.saturating_add(fraction_max as i32),
        };
        let (negative, digits) = match number {
            Number::Exact(value, scale, _) => {
                let mut digits = Digits::of_decimal(*value, *scale);
                if !digits.is_zero() {
                    digits.exponent += self.factor.ilog10() as i32;
                }
                let count = places(&digits);
                (*value < 0, digits.rounded(count, Half::Even))
            }
            Number::Double(value) if value.is_nan() => return out.push_str("NaN"),
            Number::Double(value) => {
                let negative = value.is_sign_negative();
                let value = value * f64::from(self.factor);
                if value.is_infinite() {
                    return self.within(negative, out, |out| out.push('∞'));
                }
                (negative, rounded_double(value, places))
            }
        };
        self.within(negative, out, |out| match self.exponent_min {
            Some(exponent_min) => self.scientific(&digits, exponent_min, out),
            None => self.plain(&digits, fraction_max, out),
        });
    }

    fn within(&self, negative: bool, out: &mut String, number: impl FnOnce(&mut String)) {
        let affixes = if negative { &self.negative } else { &self.positive };
        out.push_str(&affixes.prefix);
        number(out);
        out.push_str(&affixes.suffix);
    }

    fn plain(&self, digits: &Digits, fraction_max: usize, out: &mut String) {
        let whole = self.whole_min.max(digits.exponent.max(0) as usize);
        for power in (0..whole).rev() {
            out.push(char::from(digits.at(power as i32)));
            if self.group > 0 && power > 0 && power.is_multiple_of(self.group) {
                out.push(',');
            }
        }
        let needed = (digits.digits.len() as i32 - digits.exponent).max(0) as usize;
        let fraction = if digits.is_zero() { 0 } else { needed }.max(self.fraction_min).min(fraction_max);
        if fraction == 0 && whole == 0 {
            out.push('0');
        }
        if fraction > 0 || self.point_always {
            out.push('.');
        }
        out.extend((1..=fraction).map(|place| char::from(digits.at(-(place as i32)))));
    }

    fn scientific(&self, digits: &Digits, exponent_min: usize, out: &mut String) {
        let (mut whole_min, repeat) = (self.whole_min as i32, self.whole_max as i32);
        let mut exponent = digits.exponent;
        if repeat > 1 && repeat > whole_min {
            // Exponents are multiples of the digits in front.
            exponent = if exponent >= 1 { (exponent - 1) / repeat * repeat } else { (exponent - repeat) / repeat * repeat };
            whole_min = 1;
        } else {
            exponent -= whole_min;
        }
        let whole = if digits.is_zero() { whole_min } else { digits.exponent - exponent };
        if digits.is_zero() {
            exponent = 0;
        }
        let least = (self.whole_min + self.fraction_min).max(whole.max(0) as usize);
        let total = digits.digits.len().max(least);
        for place in 0..total {
            if place as i32 == whole {
                out.push('.');
            }
            out.push(char::from(digits.digits.get(place).copied().unwrap_or(b'0')));
        }
        if self.point_always && total as i32 == whole {
            out.push('.');
        }
        out.push('E');
        if exponent < 0 {
            out.push('-');
        }
        let shown = exponent.unsigned_abs().to_string();
        out.extend(std::iter::repeat_n('0', exponent_min.saturating_sub(shown.len())));
        out.push_str(&shown);
    }
}

/// The shortest digits of a double, rounded; what is just half of the last place is decided by the double itself.
fn rounded_double(value: f64, places: impl Fn(&Digits) -> i32) -> Digits {
    let digits = Digits::of_double(value);
    let count = places(&digits);
    let tie = digits.digits.len() as i32 == count + 1 && digits.digits.last() == Some(&b'5');
    let digits = if tie { Digits::exactly(value) } else { digits };
    digits.rounded(count, Half::Even)
}

/// Reads one half of a pattern from `start` on; where the other half begins, if there is one.
fn layout(chars: &[char], start: usize, first: bool) -> Result<(Layout, Option<usize>)> {
    let mut layout = Layout::default();
    let (mut at, mut in_number, mut in_suffix, mut quoted, mut next) = (start, false, false, false, None);
    while let Some(char) = chars.get(at).copied() {
        if !quoted && matches!(char, '#' | '0' | ',' | '.') {
            in_number = true;
            if first {
                layout.number(char)?;
            }
            at += 1;
            continue;
        }
        if in_number && char == 'E' && !quoted {
            at += 1;
            let zeros = chars[at..].iter().take_while(|char| **char == '0').count();
            if first && (layout.exponent_min.is_some() || layout.left + layout.zeros == 0 || zeros == 0) {
                return Err(invalid("the exponent of the number pattern is malformed"));
            }
            layout.exponent_min = Some(zeros);
            at += zeros;
            (in_number, in_suffix) = (false, true);
            continue;
        }
        in_suffix |= in_number;
        in_number = false;
        at += 1;
        let affix = if in_suffix { &mut layout.affixes.suffix } else { &mut layout.affixes.prefix };
        match char {
            '\'' if chars.get(at) == Some(&'\'') => {
                affix.push('\'');
                at += 1;
            }
            '\'' => quoted = !quoted,
            _ if quoted => affix.push(char),
            ';' if !in_suffix || !first => return Err(invalid("there is a ; too many in the number pattern")),
            ';' => {
                next = Some(at);
                break;
            }
            '¤' if chars.get(at) == Some(&'¤') => {
                affix.push_str("USD");
                at += 1;
            }
            '¤' => affix.push('$'),
            '%' | '‰' => {
                if layout.factor.replace(if char == '%' { 100 } else { 1000 }).is_some() {
                    return Err(invalid("the number pattern has several % or ‰"));
                }
                affix.push(char);
            }
            other => affix.push(other),
        }
    }
    if first {
        layout.settle(quoted)?;
    } else if quoted {
        return Err(invalid("a quote of the number pattern is left open"));
    }
    Ok((layout, next))
}

impl Layout {
    fn number(&mut self, char: char) -> Result<()> {
        match char {
            '#' if self.zeros > 0 => self.right += 1,
            '#' => self.left += 1,
            '0' if self.right > 0 => return Err(invalid("a 0 stands behind a # in the number pattern")),
            '0' => self.zeros += 1,
            ',' => {
                self.group = Some(0);
                return Ok(());
            }
            _ => {
                if self.point.replace(self.left + self.zeros + self.right).is_some() {
                    return Err(invalid("the number pattern has several points"));
                }
                return Ok(());
            }
        }
        if self.point.is_none()
            && let Some(group) = &mut self.group
        {
            *group += 1;
        }
        Ok(())
    }

    /// `##.##` means `#0.##`.
    fn settle(&mut self, quoted: bool) -> Result<()> {
        if self.zeros == 0
            && self.left > 0
            && let Some(point) = self.point
        {
            let whole = point.max(1);
            (self.right, self.left, self.zeros) = (self.left - whole, whole - 1, 1);
        }
        let misplaced = self.point.is_some_and(|point| point < self.left || point > self.left + self.zeros);
        if self.point.is_none() && self.right > 0 || misplaced || self.group == Some(0) || quoted {
            return Err(invalid("the number pattern is malformed"));
        }
        Ok(())
    }
}
