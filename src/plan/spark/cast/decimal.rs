//! Casts to and from decimals; digits that do not fit the scale are rounded half up.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray, PrimitiveBuilder, StringArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast as arrow_cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};

use super::CastMode;
use super::kernel::{Caster, decimals, malformed, overflow};
use super::parse::{self, NoDecimal};
pub use super::text::write_decimal;
use crate::error::{Error, ErrorKind, Result};
use crate::format::number::{double_text, float_text, ten_thousandths};
use crate::plan::spark::types::sql_name;

/// Ten to the power of `exponent`, up to 38.
pub(super) fn power(exponent: u32) -> i128 {
    10_i128.pow(exponent.min(38))
}

/// `value` of scale `from` at scale `to`, if it then has at most `precision` digits.
pub fn rescale(value: i128, from: i8, to: i8, precision: u8) -> Option<i128> {
    let shift = i32::from(to) - i32::from(from);
    let scaled = if shift >= 0 {
        if shift > 38 && value != 0 {
            return None;
        }
        value.checked_mul(power(shift.unsigned_abs()))?
    } else if shift < -38 {
        0
    } else {
        divide_half_up(value, power(shift.unsigned_abs()))
    };
    (scaled.unsigned_abs() < power(u32::from(precision)).unsigned_abs()).then_some(scaled)
}

/// The quotient, rounded half away from zero; the divisor is positive.
pub fn divide_half_up(value: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (value / divisor, value % divisor);
    if rest.unsigned_abs() >= divisor.unsigned_abs() - rest.unsigned_abs() { quotient + value.signum() } else { quotient }
}

/// A decimal to or from a number, a boolean or a timestamp.
pub(super) fn cast(caster: Caster, array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    use DataType as D;
    match (array.data_type(), to) {
        (D::Decimal128(_, from_scale), D::Decimal128(precision, scale)) => {
            let convert = |v: i128| rescale(v, *from_scale, *scale, *precision);
            let fail = |v: i128| out_of_range(v, *from_scale, *precision, *scale);
            to_decimal::<Decimal128Type>(caster, array.as_primitive(), convert, fail, *precision, *scale)
        }
        (D::Decimal128(_, from_scale), _) => from_decimal(caster, array, *from_scale, to),
        (D::Timestamp(..), D::Decimal128(precision, scale)) => {
            let convert = |us: i64| rescale(i128::from(us), 6, *scale, *precision);
            let fail = |us: i64| out_of_range(i128::from(us), 6, *precision, *scale);
            to_decimal::<TimestampMicrosecondType>(caster, array.as_primitive(), convert, fail, *precision, *scale)
        }
        (D::Float32 | D::Float64, D::Decimal128(precision, scale)) => float_to_decimal(caster, array, *precision, *scale),
        (_, D::Decimal128(precision, scale)) => {
            let wide = arrow_cast(array, &D::Int64).map_err(broken)?;
            let convert = |v: i64| rescale(i128::from(v), 0, *scale, *precision);
            let fail = |v: i64| out_of_range(i128::from(v), 0, *precision, *scale);
            to_decimal::<Int64Type>(caster, wide.as_primitive(), convert, fail, *precision, *scale)
        }
        (from, to) => Err(Error::internal(format!("no cast from {} to {}", sql_name(from), sql_name(to)))),
    }
}

fn to_decimal<A: ArrowPrimitiveType>(
    caster: Caster,
    array: &PrimitiveArray<A>,
    convert: impl Fn(A::Native) -> Option<i128>,
    fail: impl Fn(A::Native) -> Error,
    precision: u8,
    scale: i8,
) -> Result<ArrayRef> {
    Ok(Arc::new(decimals(caster.each::<A, Decimal128Type>(array, convert, fail)?, precision, scale)?))
}

fn from_decimal(caster: Caster, array: &ArrayRef, scale: i8, to: &DataType) -> Result<ArrayRef> {
    let values = array.as_primitive::<Decimal128Type>();
    let unit = power(u32::from(scale.unsigned_abs()));
    let from = array.data_type();
    Ok(match to {
        DataType::Boolean => {
            let bits = BooleanBuffer::from_iter(values.values().iter().map(|v| *v != 0));
            Arc::new(BooleanArray::new(bits, values.nulls().cloned()))
        }
        DataType::Float64 | DataType::Float32 => {
            // Through the digits, for a division of floats would round twice.
            let mut text = String::new();
            let mut builder = PrimitiveBuilder::<Float64Type>::with_capacity(values.len());
            for value in values {
                builder.append_option(value.map(|v| to_double(v, unit, scale, &mut text)));
            }
            arrow_cast(&builder.finish(), to).map_err(broken)?
        }
        DataType::Timestamp(_, local) => {
            let convert = |v: i128| i64::try_from(v.checked_mul(1_000_000)? / unit).ok();
            let fail = |v: i128| overflow(&shown(v, scale), from, to);
            let cast = caster.each::<Decimal128Type, TimestampMicrosecondType>(values, convert, fail)?;
            Arc::new(cast.with_timezone_opt(local.clone()))
        }
        _ => {
            let fail = |v: i128| overflow(&shown(v, scale), from, to);
            let wide = caster.each::<Decimal128Type, Int64Type>(values, |v| (v / unit).try_into().ok(), fail)?;
            caster.integers(&wide, from, to)?
        }
    })
}

/// The nearest double. Both sides of the division are exact where they have 53 bits or fewer, so that it rounds once.
fn to_double(value: i128, unit: i128, scale: i8, text: &mut String) -> f64 {
    const EXACT: u128 = 1 << 53;
    if value.unsigned_abs() <= EXACT && unit.unsigned_abs() <= 10_u128.pow(22) {
        return value as f64 / unit as f64;
    }
    text.clear();
    let written = write_decimal(text, value, scale);
    written.ok().and_then(|()| fast_float2::parse(text.as_bytes()).ok()).unwrap_or(f64::NAN)
}

/// By the digits that the float is shown with; NaN and infinities become null.
fn float_to_decimal(caster: Caster, array: &ArrayRef, precision: u8, scale: i8) -> Result<ArrayRef> {
    let single = array.data_type() == &DataType::Float32;
    let wide = arrow_cast(array, &DataType::Float64).map_err(broken)?;
    let mut builder = PrimitiveBuilder::<Decimal128Type>::with_capacity(wide.len());
    for value in wide.as_primitive::<Float64Type>() {
        let Some(value) = value.filter(|v| v.is_finite()) else {
            builder.append_null();
            continue;
        };
        if let Some(decimal) = few_decimals(value, precision, scale) {
            builder.append_value(decimal);
            continue;
        }
        match parse::decimal(double_text(value).as_bytes(), precision, scale) {
            Ok(parsed) => builder.append_value(parsed),
            Err(_) if caster.mode == CastMode::Try => builder.append_null(),
            Err(_) => {
                let shown = if single { float_text(value as f32) } else { double_text(value) };
                return Err(cannot_represent(&shown, precision, scale));
            }
        }
    }
    Ok(Arc::new(decimals(builder.finish(), precision, scale)?))
}

/// The decimal of a number that is shown with at most four decimals, half up; `None` where it takes its text to tell.
fn few_decimals(value: f64, precision: u8, scale: i8) -> Option<i128> {
    let scaled = i128::from(ten_thousandths(value.abs())?);
    let unscaled = match i32::from(scale) - 4 {
        up @ 0..=15 => scaled * 10_i128.pow(up.unsigned_abs()),
        down @ -4..=-1 => {
            // Both are small, and far cheaper to divide as 64 bits.
            let (scaled, unit) = (scaled as u64, 10_u64.pow(down.unsigned_abs()));
            i128::from(scaled / unit + u64::from(scaled % unit >= unit / 2))
        }
        _ => return None,
    };
    (unscaled < 10_i128.checked_pow(u32::from(precision))?).then_some(if value < 0.0 { -unscaled } else { unscaled })
}

pub(super) fn from_text(caster: Caster, array: &StringArray, precision: u8, scale: i8) -> Result<ArrayRef> {
    let mut builder = PrimitiveBuilder::<Decimal128Type>::with_capacity(array.len());
    for value in array {
        let Some(value) = value else {
            builder.append_null();
            continue;
        };
        match parse::decimal(value.as_bytes(), precision, scale) {
            Ok(parsed) => builder.append_value(parsed),
            Err(_) if caster.mode == CastMode::Try => builder.append_null(),
            Err(NoDecimal::Malformed) => return Err(malformed(value, &DataType::Decimal128(precision, scale))),
            Err(NoDecimal::Huge) => {
                let short: String = value.chars().take(100).collect();
                return Err(Error::spark(
                    ErrorKind::Data,
                    "NUMERIC_OUT_OF_SUPPORTED_RANGE",
                    format!("the value {short} cannot be interpreted as a numeric since it has more than 38 digits"),
                ));
            }
            Err(NoDecimal::TooWide) => return Err(cannot_represent(value, precision, scale)),
        }
    }
    Ok(Arc::new(decimals(builder.finish(), precision, scale)?))
}

fn shown(value: i128, scale: i8) -> String {
    let mut text = String::new();
    match write_decimal(&mut text, value, scale) {
        Ok(()) => text,
        Err(_) => value.to_string(),
    }
}

/// `NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION` for a decimal that does not fit another.
pub fn out_of_range(value: i128, from_scale: i8, precision: u8, scale: i8) -> Error {
    cannot_represent(&shown(value, from_scale), precision, scale)
}

fn cannot_represent(value: &str, precision: u8, scale: i8) -> Error {
    let short: String = value.chars().take(100).collect();
    Error::spark(
        ErrorKind::Data,
        "NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION",
        format!("{short} cannot be represented as DECIMAL({precision}, {scale})"),
    )
}

fn broken(error: arrow::error::ArrowError) -> Error {
    Error::internal("could not build the result of a cast").because(error)
}
