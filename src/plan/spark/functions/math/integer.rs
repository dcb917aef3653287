//! Functions of whole numbers, checked.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, PrimitiveArray};
use arrow::datatypes::{
    ArrowNativeTypeOp, ArrowPrimitiveType, DataType, Decimal128Type, DurationMicrosecondType, DurationSecondType, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalYearMonthType,
};

use super::super::super::cast::CastMode;
use super::super::super::elementwise::try_map;
use super::super::super::expression::arithmetic::{Arithmetic, arithmetic};
use super::super::super::expression::once::once;
use super::super::super::{Call, Typed};
use super::super::arguments::{Want, arity, coerce, convert, data_error};
use super::super::native::{Args, Returns, call};
use crate::error::{Error, Result};

/// The value without its sign; the least whole number has none.
pub(super) fn abs(mut c: Call<'_>) -> Result<Typed> {
    const WANT: Want = Want::OneOf(&[Want::Numeric, Want::DayTime, Want::YearMonth]);
    let arg = coerce(&mut c, &[WANT])?.remove(0);
    let data_type = arg.data_type.clone();
    let fallible = !matches!(data_type, DataType::Float32 | DataType::Float64 | DataType::Decimal128(..));
    let returns = Returns::fallible_if(fallible, data_type.clone(), arg.nullable);
    Ok(call(c.name, vec![arg], returns, move |a| {
        let array = a.any(0).array;
        match &data_type {
            DataType::Int8 => abs_of::<Int8Type>(array),
            DataType::Int16 => abs_of::<Int16Type>(array),
            DataType::Int32 => abs_of::<Int32Type>(array),
            DataType::Int64 => abs_of::<Int64Type>(array),
            DataType::Float32 => Ok(Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::abs))),
            DataType::Float64 => Ok(Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::abs))),
            DataType::Decimal128(..) => abs_of::<Decimal128Type>(array),
            DataType::Duration(arrow::datatypes::TimeUnit::Second) => abs_of::<DurationSecondType>(array),
            DataType::Duration(_) => abs_of::<DurationMicrosecondType>(array),
            DataType::Interval(_) => abs_of::<IntervalYearMonthType>(array),
            other => Err(Error::internal(format!("abs of {other}"))),
        }
    }))
}

fn abs_of<T: ArrowPrimitiveType>(array: &ArrayRef) -> Result<ArrayRef> {
    let values = array.as_primitive::<T>();
    let least = |_| data_error("ARITHMETIC_OVERFLOW", "the absolute value of the least number is too great for its type");
    let positive = |v: T::Native| Some(if v < T::Native::ZERO { v.neg_wrapping() } else { v }).filter(|v| *v >= T::Native::ZERO);
    let positive: PrimitiveArray<T> = try_map(values, positive, least)?;
    Ok(Arc::new(positive.with_data_type(array.data_type().clone())))
}

/// The remainder, never negative for a positive divisor.
pub(super) fn pmod(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 2)?;
    let (right, left) = (c.args.remove(1), c.args.remove(0));
    once(right, |right| pmod_by(&c, left, right))
}

fn pmod_by(c: &Call<'_>, left: Typed, right: Typed) -> Result<Typed> {
    // The remainder settles the types: its operands' common one for numbers, a decimal of its own for decimals.
    let remainder = arithmetic(Arithmetic::Remainder, left, right.clone(), CastMode::Ansi, c.context.settings)?;
    let data_type = remainder.data_type.clone();
    if let DataType::Decimal128(..) = data_type {
        return once(remainder, |remainder| decimal_pmod(c, remainder, right));
    }
    let divisor = convert(c, right, &data_type)?;
    let returns = Returns::fallible(data_type.clone(), remainder.nullable || divisor.nullable);
    Ok(call("pmod", vec![remainder, divisor], returns, move |a| match &data_type {
        DataType::Int8 => wrap::<Int8Type>(a),
        DataType::Int16 => wrap::<Int16Type>(a),
        DataType::Int32 => wrap::<Int32Type>(a),
        DataType::Int64 => wrap::<Int64Type>(a),
        DataType::Float32 => wrap::<Float32Type>(a),
        DataType::Float64 => wrap::<Float64Type>(a),
        other => Err(Error::internal(format!("pmod of {other}"))),
    }))
}

/// A negative remainder `r` of the divisor `n` becomes `(r + n) % n`.
fn wrap<T: ArrowPrimitiveType>(a: &Args<'_>) -> Result<ArrayRef> {
    let (remainder, divisor) = (a.column::<PrimitiveArray<T>>(0)?, a.column::<PrimitiveArray<T>>(1)?);
    a.primitive::<T>(|row| {
        let (r, n) = (remainder.get(row)?, divisor.get(row)?);
        Some(if r < T::Native::ZERO { r.add_wrapping(n).mod_wrapping(n) } else { r })
    })
}

fn decimal_pmod(c: &Call<'_>, remainder: Typed, right: Typed) -> Result<Typed> {
    let zero = super::super::arguments::literal(0_i32.into());
    let negative = super::super::super::expression::comparison::compare(
        super::super::super::expression::comparison::Comparison::Less,
        remainder.clone(),
        zero,
        c.context.settings,
    )?;
    let data_type = remainder.data_type.clone();
    let sum = arithmetic(Arithmetic::Add, remainder.clone(), right.clone(), CastMode::Ansi, c.context.settings)?;
    let wrapped = arithmetic(Arithmetic::Remainder, sum, right, CastMode::Ansi, c.context.settings)?;
    let wrapped = convert(c, wrapped, &data_type)?;
    super::super::super::expression::logic::if_else(negative, wrapped, remainder, c.context.settings)
}

/// The factorial of 0 to 20, null beyond.
pub(super) fn factorial(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Int])?;
    Ok(call(c.name, args, Returns::new(DataType::Int64, true), |a| {
        let n = a.column::<Int32Array>(0)?;
        a.primitive::<Int64Type>(|row| n.get(row).filter(|n| (0..=20).contains(n)).map(|n| (1..=i64::from(n)).product()))
    }))
}
