//! Rounding: `round`, `bround`, `ceil`, `floor`, each to a number of decimal places.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Decimal128Array, Float32Array, Float64Array, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use datafusion::scalar::ScalarValue;

use super::super::super::elementwise::try_map;
use super::super::super::{Call, Typed};
use super::super::arguments::{
    Want, arity, coerce, coerce_one, coerce_optional, constant, data_error, literal, mismatch, null_of,
};
use super::super::native::{Args, Returns, call};
use crate::error::{Error, ErrorKind, Result};
use crate::format::number::ten_thousandths;

/// Which neighbour is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The nearer, of two equally near the one away from zero.
    HalfUp,
    /// The nearer, of two equally near the even one.
    HalfEven,
    /// The greater.
    Ceiling,
    /// The lesser.
    Floor,
}

impl Mode {
    /// `value / unit` rounded to a whole number; `unit` is positive.
    fn divide(self, value: i128, unit: i128) -> i128 {
        let (quotient, rest) = (value.div_euclid(unit), value.rem_euclid(unit));
        let up = match self {
            _ if rest == 0 => false,
            Mode::Floor => false,
            Mode::Ceiling => true,
            // Compared without doubling, which might overflow.
            Mode::HalfUp | Mode::HalfEven => match rest.cmp(&(unit - rest)) {
                Ordering::Less => false,
                Ordering::Greater => true,
                Ordering::Equal if self == Mode::HalfUp => value > 0,
                Ordering::Equal => quotient % 2 != 0,
            },
        };
        quotient + i128::from(up)
    }

    /// [`Mode::divide`] of small numbers, to the nearest.
    fn nearest(self, value: u64, unit: u64) -> u64 {
        let (quotient, rest) = (value / unit, value % unit);
        let up = match rest.cmp(&(unit - rest)) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => self == Mode::HalfUp || quotient % 2 != 0,
        };
        quotient + u64::from(up)
    }
}

/// What `ceil` and `floor` say of a scale that they cannot take.
fn no_scale(c: &Call<'_>) -> Error {
    let message = format!("the parameter `scale` of `{}` must be a constant INT that is not null", c.name);
    Error::spark(ErrorKind::Config, "NON_FOLDABLE_ARGUMENT", message)
}

/// The scale argument: a constant, 0 if it is left out.
fn scale_of(c: &Call<'_>, args: &mut Vec<Typed>) -> Result<Option<i32>> {
    let Some(scale) = (args.len() == 2).then(|| args.remove(1)) else { return Ok(Some(0)) };
    // Of the scale of `ceil` and `floor` Spark says this itself, and of a null too.
    let strict = matches!(c.name, "ceil" | "ceiling" | "floor");
    let value = constant(&scale)?.filter(|value| !strict || !value.is_null());
    let Some(value) = value else {
        return Err(match strict {
            true => no_scale(c),
            false => {
                mismatch("NON_FOLDABLE_INPUT", format!("the parameter `scale` of `{}` must be a constant expression", c.name))
            }
        });
    };
    match value {
        ScalarValue::Int32(scale) => Ok(scale),
        other => Err(Error::internal(format!("a scale of type {}", other.data_type()))),
    }
}

/// The decimal that the rounded values of DECIMAL(p, s) fit.
fn decimal_result(p: u8, s: i8, scale: i32) -> DataType {
    // One more digit than before: 9.9 rounds to 10.
    let whole = i32::from(p) - i32::from(s) + 1;
    let scale = scale.max(-1_000);
    if scale < 0 {
        return DataType::Decimal128(whole.max(1 - scale).min(38) as u8, 0);
    }
    let scale = scale.min(i32::from(s));
    DataType::Decimal128((whole + scale).min(38) as u8, scale as i8)
}

/// `round`, `bround`: whole numbers and floating-point numbers keep their type.
pub(super) fn round(mut c: Call<'_>, mode: Mode) -> Result<Typed> {
    let mut args = coerce_optional(&mut c, 1, &[Want::Numeric, Want::Int])?;
    let scale = scale_of(&c, &mut args)?;
    let from = args[0].data_type.clone();
    let Some(scale) = scale else {
        return null_of(match from {
            DataType::Decimal128(p, s) => decimal_result(p, s, 0),
            other => other,
        });
    };
    rounded(&c, args.remove(0), scale, mode)
}

fn rounded(c: &Call<'_>, arg: Typed, scale: i32, mode: Mode) -> Result<Typed> {
    let (from, nullable) = (arg.data_type.clone(), arg.nullable);
    // The scale is part of what the kernel computes, so it goes with the arguments.
    let args = vec![arg, literal(scale.into())];
    match from {
        DataType::Decimal128(p, s) => {
            let to = decimal_result(p, s, scale);
            let returns = Returns::fallible_if(i32::from(p) - i32::from(s) + 1 > 38 - scale.clamp(0, i32::from(s)), to, nullable);
            Ok(call(c.name, args, returns, move |a| round_decimals(a, s, scale, mode)))
        }
        DataType::Float32 => Ok(call(c.name, args, Returns::fallible_if(beyond(scale), from, nullable), move |a| {
            let x = a.column::<Float32Array>(0)?;
            let mut digits = String::new();
            a.try_primitive::<Float32Type>(|row| {
                let rounded = x.get(row).map(|x| within_scale(f64::from(x), scale, mode, &mut digits)).transpose()?;
                Ok(rounded.map(|x| x as f32))
            })
        })),
        DataType::Float64 => Ok(call(c.name, args, Returns::fallible_if(beyond(scale), from, nullable), move |a| {
            let x = a.column::<Float64Array>(0)?;
            let mut digits = String::new();
            a.try_primitive::<Float64Type>(|row| x.get(row).map(|x| within_scale(x, scale, mode, &mut digits)).transpose())
        })),
        whole => {
            let returns = Returns::fallible_if(scale < 0, whole.clone(), nullable);
            Ok(call(c.name, args, returns, move |a| match &whole {
                DataType::Int8 => round_whole::<Int8Type>(a, scale, mode),
                DataType::Int16 => round_whole::<Int16Type>(a, scale, mode),
                DataType::Int32 => round_whole::<Int32Type>(a, scale, mode),
                _ => round_whole::<Int64Type>(a, scale, mode),
            }))
        }
    }
}

/// Whether Java cannot even compute the power of ten.
fn beyond(scale: i32) -> bool {
    scale.unsigned_abs() > 646_456_993
}

fn within_scale(x: f64, scale: i32, mode: Mode, digits: &mut String) -> Result<f64> {
    if beyond(scale) && x.is_finite() && x != 0.0 {
        return Err(Error::new(ErrorKind::Data, format!("cannot round to {scale} places")));
    }
    Ok(round_float(x, scale, mode, digits))
}

fn overflow(what: &str) -> Error {
    data_error("ARITHMETIC_OVERFLOW", format!("{what} overflows its type"))
}

fn round_whole<T: ArrowPrimitiveType>(a: &Args<'_>, scale: i32, mode: Mode) -> Result<arrow::array::ArrayRef>
where
    i128: From<T::Native>,
    T::Native: TryFrom<i128>,
{
    let n = a.column::<PrimitiveArray<T>>(0)?;
    let unit = 10_i128.checked_pow(scale.min(0).unsigned_abs());
    a.try_primitive::<T>(|row| {
        let Some(n) = n.get(row).map(i128::from) else { return Ok(None) };
        if scale < 0 && beyond(scale) {
            return Err(overflow("the unit that is rounded to"));
        }
        // A unit beyond every value leaves zero.
        let result = unit.map_or(0, |unit| mode.divide(n, unit) * unit);
        T::Native::try_from(result).map(Some).map_err(|_| overflow("the rounded number"))
    })
}

fn round_decimals(a: &Args<'_>, s: i8, scale: i32, mode: Mode) -> Result<arrow::array::ArrayRef> {
    let DataType::Decimal128(precision, scale_out) = *a.returns() else {
        return Err(Error::internal("a rounded decimal is a decimal"));
    };
    let values = a.column::<Decimal128Array>(0)?;
    // Digits that go, and zeros that come back before the point.
    let unit = 10_i128.checked_pow(u32::try_from((i64::from(s) - i64::from(scale)).max(0)).unwrap_or(u32::MAX));
    let zeros = 10_i128.checked_pow(scale.min(0).unsigned_abs());
    let limit = 10_u128.pow(u32::from(precision));
    a.try_primitive::<Decimal128Type>(|row| {
        let Some(value) = values.get(row) else { return Ok(None) };
        let rounded = match unit {
            Some(unit) => mode.divide(value, unit),
            None => match mode {
                Mode::Ceiling => i128::from(value > 0),
                Mode::Floor => -i128::from(value < 0),
                Mode::HalfUp | Mode::HalfEven => 0,
            },
        };
        let result = zeros.and_then(|zeros| rounded.checked_mul(zeros)).or(if rounded == 0 { Some(0) } else { None });
        result.filter(|r| r.unsigned_abs() < limit).map(Some).ok_or_else(|| {
            Error::spark(
                ErrorKind::Data,
                "NUMERIC_VALUE_OUT_OF_RANGE.WITHOUT_SUGGESTION",
                format!("the rounded value does not fit DECIMAL({precision},{scale_out})"),
            )
        })
    })
}

/// Rounds the number's shortest decimal digits, not its exact binary value: 2.675 becomes 2.68.
fn round_float(x: f64, scale: i32, mode: Mode, digits: &mut String) -> f64 {
    if !x.is_finite() || x == 0.0 {
        return x;
    }
    if let Some(mantissa) = ten_thousandths(x.abs()) {
        let rounded = match 4 - i64::from(scale) {
            ..=0 => return x,
            dropped @ 1..=18 => mode.nearest(mantissa, 10_u64.pow(dropped as u32)),
            _ => 0,
        };
        return decimal_value(i128::from(rounded), scale, digits).copysign(if rounded == 0 { 1.0 } else { x });
    }
    let mut buffer = ryu::Buffer::new();
    let (mantissa, exponent) = shortest(buffer.format_finite(x.abs()));
    // The value is mantissa × 10^exponent with a mantissa of at most 17 digits.
    let dropped = -i64::from(scale) - i64::from(exponent);
    if dropped <= 0 {
        return x;
    }
    let rounded = match u32::try_from(dropped).ok().filter(|d| *d <= 30) {
        Some(dropped) => mode.divide(mantissa, 10_i128.pow(dropped)),
        None => 0,
    };
    if rounded == 0 { 0.0 } else { decimal_value(rounded, scale, digits).copysign(x) }
}

/// The double nearest to `digits × 10^-scale`.
fn decimal_value(unscaled: i128, scale: i32, text: &mut String) -> f64 {
    const EXACT: i128 = 1 << 53;
    // Where both sides are exact, one division or multiplication rounds once.
    match scale {
        0..=22 if unscaled <= EXACT => return unscaled as f64 / POWERS[scale as usize],
        -22..=-1 if unscaled <= EXACT => return unscaled as f64 * POWERS[scale.unsigned_abs() as usize],
        _ => {}
    }
    use std::fmt::Write;
    text.clear();
    let _ = write!(text, "{unscaled}e{}", -i64::from(scale));
    text.parse().unwrap_or(0.0)
}

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21,
    1e22,
];

/// Digits and exponent of a number written like `12.5` or `1.25e1`.
fn shortest(text: &str) -> (i128, i32) {
    let (digits, exponent) = text.split_once('e').map_or((text, 0), |(d, e)| (d, e.parse::<i32>().unwrap_or(0)));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let mantissa = whole.bytes().chain(fraction.bytes()).fold(0_i128, |m, b| m * 10 + i128::from(b - b'0'));
    (mantissa, exponent - fraction.len() as i32)
}

/// `ceil`, `floor`: to a whole number, or with a scale to a decimal.
pub(super) fn whole(mut c: Call<'_>, mode: Mode) -> Result<Typed> {
    const WANT: Want = Want::OneOf(&[Want::Double, Want::Decimal, Want::Long]);
    arity(&c, 1, 2)?;
    if c.args.len() == 2 {
        if !matches!(c.args[1].data_type, DataType::Int32 | DataType::Null) {
            return Err(no_scale(&c));
        }
        let mut args = coerce(&mut c, &[Want::Decimal, Want::Int])?;
        let scale = scale_of(&c, &mut args)?;
        return match scale {
            Some(scale) => rounded(&c, args.remove(0), scale, mode),
            None => Err(no_scale(&c)),
        };
    }
    let arg = c.args.remove(0);
    // Whole numbers as BIGINT rather than as DOUBLE, which stands first for what is no number.
    let want = if super::super::arguments::is_integral(&arg.data_type) { Want::Long } else { WANT };
    let arg = coerce_one(&c, 0, arg, &want)?;
    match arg.data_type {
        DataType::Int64 => Ok(arg),
        DataType::Decimal128(_, 0) => Ok(arg),
        DataType::Decimal128(..) => rounded(&c, arg, 0, mode),
        _ => whole_of_double(&c, arg, mode),
    }
}

fn whole_of_double(c: &Call<'_>, arg: Typed, mode: Mode) -> Result<Typed> {
    let returns = Returns::fallible(DataType::Int64, arg.nullable);
    Ok(call(c.name, vec![arg], returns, move |a| {
        let x = a.column::<Float64Array>(0)?.array();
        // 2^63 itself does not fit, -2^63 does; NaN passes, and becomes 0.
        let fits = |x: f64| x.is_nan() || (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&x);
        // The whole part is a step off on one side of zero. Numbers so great that a step would overflow are whole.
        let up = |x: f64| fits(x).then(|| x as i64 + i64::from(x > x as i64 as f64));
        let down = |x: f64| fits(x).then(|| x as i64 - i64::from(x < x as i64 as f64));
        let fail = |_| overflow("the whole number");
        let whole: PrimitiveArray<Int64Type> =
            if mode == Mode::Ceiling { try_map(x, up, fail)? } else { try_map(x, down, fail)? };
        Ok(Arc::new(whole))
    }))
}
