//! Checked arithmetic over arrays.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Decimal128Type, DurationMicrosecondType, DurationSecondType, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, IntervalYearMonthType, i256,
};

use super::arithmetic::Arithmetic;
use super::native::Operand;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::cast::CastMode;
use crate::plan::spark::cast::decimal::{divide_half_up, out_of_range, rescale};
use crate::plan::spark::elementwise::{Computed, try_map};
use crate::plan::spark::types::spark_name;

/// Why a row has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The type does not hold the result.
    Overflow,
    ByZero,
}

/// `f` of both operands' values, row by row, null where one is null. A failure is null or an error, as `mode` says.
pub(super) fn zip<A: ArrowPrimitiveType, B: ArrowPrimitiveType, O: ArrowPrimitiveType>(
    (left, right): (&Operand, &Operand),
    rows: usize,
    mode: CastMode,
    f: impl Fn(A::Native, B::Native) -> Result<O::Native, Failure>,
    fail: impl Fn(Failure, A::Native, B::Native) -> Error,
) -> Result<PrimitiveArray<O>> {
    let (a, b) = (left.array.as_primitive::<A>().values(), right.array.as_primitive::<B>().values());
    let nulls = NullBuffer::union(expand(left, rows).as_ref(), expand(right, rows).as_ref());
    let computed: Computed<O> = match (left.scalar, right.scalar) {
        (false, false) => Computed::of(|| a.iter().copied().zip(b.iter().copied()), nulls, |(x, y)| f(x, y).ok()),
        (true, _) => Computed::of(|| b.iter().copied(), nulls, |y| f(a[0], y).ok()),
        (false, true) => Computed::of(|| a.iter().copied(), nulls, |x| f(x, b[0]).ok()),
    };
    if let (CastMode::Ansi, Some(row)) = (mode, computed.first_failed()) {
        let (x, y) = (a[left.index(row)], b[right.index(row)]);
        if let Err(failure) = f(x, y) {
            return Err(fail(failure, x, y));
        }
    }
    Ok(computed.or_null())
}

/// The nulls of an operand, one bit per row.
pub(super) fn expand(operand: &Operand, rows: usize) -> Option<NullBuffer> {
    if !operand.scalar {
        return operand.array.logical_nulls();
    }
    operand.array.is_null(0).then(|| NullBuffer::new_null(rows))
}

/// `left op right`, both of one type (decimals: each with its own scale).
pub(super) fn run(
    op: Arithmetic,
    mode: CastMode,
    left: &Operand,
    right: &Operand,
    rows: usize,
    result: &DataType,
) -> Result<ArrayRef> {
    let operands = (left, right);
    Ok(match left.array.data_type() {
        DataType::Decimal128(_, s1) => {
            let DataType::Decimal128(_, s2) = right.array.data_type() else {
                return Err(Error::internal("a decimal operator with another operand"));
            };
            return decimals(op, mode, operands, (*s1, *s2), rows, result);
        }
        DataType::Int8 => Arc::new(integers::<Int8Type>(op, mode, operands, rows)?),
        DataType::Int16 => Arc::new(integers::<Int16Type>(op, mode, operands, rows)?),
        DataType::Int32 => Arc::new(integers::<Int32Type>(op, mode, operands, rows)?),
        DataType::Int64 => Arc::new(integers::<Int64Type>(op, mode, operands, rows)?),
        DataType::Float32 => Arc::new(floats::<Float32Type>(op, mode, operands, rows)?),
        DataType::Float64 => Arc::new(floats::<Float64Type>(op, mode, operands, rows)?),
        DataType::Duration(arrow::datatypes::TimeUnit::Second) => {
            Arc::new(integers::<DurationSecondType>(op, mode, operands, rows)?)
        }
        DataType::Duration(_) => Arc::new(integers::<DurationMicrosecondType>(op, mode, operands, rows)?),
        DataType::Interval(_) => Arc::new(integers::<IntervalYearMonthType>(op, mode, operands, rows)?),
        other => return Err(Error::internal(format!("no arithmetic for {}", spark_name(other)))),
    })
}

/// Whole numbers, whose overflow is seen without a branch.
trait Whole: ArrowNativeTypeOp {
    fn plus(self, other: Self) -> Option<Self>;
    fn minus(self, other: Self) -> Option<Self>;
    fn times(self, other: Self) -> Option<Self>;
}

macro_rules! whole {
    ($($t:ty),*) => {$(
        impl Whole for $t {
            fn plus(self, other: Self) -> Option<Self> {
                let sum = self.wrapping_add(other);
                // It has another sign than both.
                ((self ^ sum) & (other ^ sum) >= 0).then_some(sum)
            }

            fn minus(self, other: Self) -> Option<Self> {
                let difference = self.wrapping_sub(other);
                ((self ^ other) & (self ^ difference) >= 0).then_some(difference)
            }

            fn times(self, other: Self) -> Option<Self> {
                self.checked_mul(other)
            }
        }
    )*};
}

whole!(i8, i16, i32, i64);

fn integers<T: ArrowPrimitiveType>(
    op: Arithmetic,
    mode: CastMode,
    operands: (&Operand, &Operand),
    rows: usize,
) -> Result<PrimitiveArray<T>>
where
    T::Native: Whole,
{
    let zero = T::Native::ZERO;
    let small = matches!(T::DATA_TYPE, DataType::Int8 | DataType::Int16);
    let interval = matches!(T::DATA_TYPE, DataType::Duration(_) | DataType::Interval(_));
    let fail = |failure: Failure, a: T::Native, b: T::Native| match failure {
        Failure::ByZero => by_zero(op),
        Failure::Overflow if interval => Error::spark(
            ErrorKind::Data,
            "INTERVAL_ARITHMETIC_OVERFLOW.WITH_SUGGESTION",
            format!("integer overflow while operating with intervals, use `try_{}` to get NULL instead", word(op)),
        ),
        Failure::Overflow if small => Error::spark(
            ErrorKind::Data,
            "BINARY_ARITHMETIC_OVERFLOW",
            format!("{a:?} {} {b:?} caused overflow, use `try_{}` to get NULL instead", op.symbol(), word(op)),
        ),
        Failure::Overflow => overflow(&format!(", use `try_{}` to get NULL instead", word(op))),
    };
    let checked = |value: Option<T::Native>| value.ok_or(Failure::Overflow);
    match op {
        Arithmetic::Add => zip::<T, T, T>(operands, rows, mode, |a, b| checked(a.plus(b)), fail),
        Arithmetic::Subtract => zip::<T, T, T>(operands, rows, mode, |a, b| checked(a.minus(b)), fail),
        Arithmetic::Multiply => zip::<T, T, T>(operands, rows, mode, |a, b| checked(a.times(b)), fail),
        Arithmetic::Divide | Arithmetic::IntegerDivide => {
            let divide =
                |a: T::Native, b: T::Native| if b == zero { Err(Failure::ByZero) } else { checked(a.div_checked(b).ok()) };
            zip::<T, T, T>(operands, rows, mode, divide, fail)
        }
        Arithmetic::Remainder => {
            // The smallest number modulo -1 is 0, though dividing them overflows.
            let remainder = |a: T::Native, b: T::Native| if b == zero { Err(Failure::ByZero) } else { Ok(a.mod_wrapping(b)) };
            zip::<T, T, T>(operands, rows, mode, remainder, fail)
        }
    }
}

fn floats<T: ArrowPrimitiveType>(
    op: Arithmetic,
    mode: CastMode,
    operands: (&Operand, &Operand),
    rows: usize,
) -> Result<PrimitiveArray<T>>
where
    T::Native: ArrowNativeTypeOp,
{
    // Compared so that -0.0 is zero too.
    let is_zero = |v: T::Native| v == T::Native::ZERO || v.neg_wrapping() == T::Native::ZERO;
    let nonzero = |b: T::Native, result: T::Native| if is_zero(b) { Err(Failure::ByZero) } else { Ok(result) };
    let fail = |_, _, _| by_zero(op);
    match op {
        Arithmetic::Add => zip::<T, T, T>(operands, rows, mode, |a, b| Ok(a.add_wrapping(b)), fail),
        Arithmetic::Subtract => zip::<T, T, T>(operands, rows, mode, |a, b| Ok(a.sub_wrapping(b)), fail),
        Arithmetic::Multiply => zip::<T, T, T>(operands, rows, mode, |a, b| Ok(a.mul_wrapping(b)), fail),
        Arithmetic::Remainder => zip::<T, T, T>(operands, rows, mode, |a, b| nonzero(b, a.mod_wrapping(b)), fail),
        Arithmetic::Divide | Arithmetic::IntegerDivide => {
            zip::<T, T, T>(operands, rows, mode, |a, b| nonzero(b, a.div_wrapping(b)), fail)
        }
    }
}

fn decimals(
    op: Arithmetic,
    mode: CastMode,
    operands: (&Operand, &Operand),
    (s1, s2): (i8, i8),
    rows: usize,
    result: &DataType,
) -> Result<ArrayRef> {
    if op == Arithmetic::IntegerDivide {
        let divide = |a: i128, b: i128| {
            let (a, b) = aligned(a, s1, b, s2);
            if b == i256::ZERO {
                return Err(Failure::ByZero);
            }
            let quotient = a.checked_div(b).and_then(i256::to_i128).ok_or(Failure::Overflow)?;
            i64::try_from(quotient).map_err(|_| Failure::Overflow)
        };
        let fail = |failure, _, _| if failure == Failure::ByZero { by_zero(op) } else { overflow(" in integral divide") };
        return Ok(Arc::new(zip::<Decimal128Type, Decimal128Type, Int64Type>(operands, rows, mode, divide, fail)?));
    }
    let DataType::Decimal128(precision, scale) = *result else {
        return Err(Error::internal("a decimal operator with another result"));
    };
    let compute = |a: i128, b: i128| match op {
        _ if b == 0 && matches!(op, Arithmetic::Divide | Arithmetic::Remainder) => Err(Failure::ByZero),
        _ => (quick(op, (a, s1), (b, s2), precision, scale))
            .or_else(|| wide(op, (a, s1), (b, s2), precision, scale))
            .ok_or(Failure::Overflow),
    };
    let fail = |failure, a: i128, _: i128| match failure {
        Failure::ByZero => by_zero(op),
        Failure::Overflow => out_of_range(a, s1, precision, scale),
    };
    let general = || zip::<Decimal128Type, Decimal128Type, Decimal128Type>(operands, rows, mode, compute, fail);
    let computed = match Narrow::of(op, s1, s2, precision, scale).and_then(|narrow| narrow.all(operands, rows)) {
        Some(computed) => computed,
        None => general()?,
    };
    let typed = computed.with_precision_and_scale(precision, scale);
    Ok(Arc::new(typed.map_err(|e| Error::internal("could not build a decimal result").because(e))?))
}

/// Sums and products of numbers of 64 bits that need no rounding, as most do: what they are raised by is known beforehand.
struct Narrow {
    op: Arithmetic,
    raise: (i64, i64),
    limit: u128,
}

impl Narrow {
    fn of(op: Arithmetic, s1: i8, s2: i8, precision: u8, scale: i8) -> Option<Self> {
        let (raise, natural) = match op {
            Arithmetic::Add | Arithmetic::Subtract => {
                let common = s1.max(s2);
                let up = |s: i8| 10_i64.checked_pow(u32::try_from(i32::from(common) - i32::from(s)).ok()?);
                ((up(s1)?, up(s2)?), common)
            }
            Arithmetic::Multiply => ((1, 1), s1.checked_add(s2)?),
            _ => return None,
        };
        (natural == scale).then_some(Self { op, raise, limit: 10_u128.pow(u32::from(precision)) })
    }

    /// All results; `None` if one takes the general way to tell.
    fn all(&self, operands: (&Operand, &Operand), rows: usize) -> Option<PrimitiveArray<Decimal128Type>> {
        // 64 bits times at most 18 digits are less than 127.
        let raised = |v: i64, by: i64| i128::from(v) * i128::from(by);
        match self.op {
            Arithmetic::Add => self.each(operands, rows, |a, b| raised(a, self.raise.0) + raised(b, self.raise.1)),
            Arithmetic::Subtract => self.each(operands, rows, |a, b| raised(a, self.raise.0) - raised(b, self.raise.1)),
            _ => self.each(operands, rows, |a, b| i128::from(a) * i128::from(b)),
        }
    }

    fn each(
        &self,
        operands: (&Operand, &Operand),
        rows: usize,
        f: impl Fn(i64, i64) -> i128,
    ) -> Option<PrimitiveArray<Decimal128Type>> {
        let narrow = |v: i128| i64::try_from(v).map_err(|_| Failure::Overflow);
        let result = |a: i128, b: i128| {
            let value = f(narrow(a)?, narrow(b)?);
            if value.unsigned_abs() < self.limit { Ok(value) } else { Err(Failure::Overflow) }
        };
        let too_wide = |_, _, _| overflow("");
        zip::<Decimal128Type, Decimal128Type, Decimal128Type>(operands, rows, CastMode::Ansi, result, too_wide).ok()
    }
}

/// The result where 128 bits hold every step.
fn quick(op: Arithmetic, (a, s1): (i128, i8), (b, s2): (i128, i8), precision: u8, scale: i8) -> Option<i128> {
    let common = s1.max(s2);
    let raise = |v: i128, by: i32| v.checked_mul(10_i128.checked_pow(u32::try_from(by).ok()?)?);
    let (up_a, up_b) = (i32::from(common) - i32::from(s1), i32::from(common) - i32::from(s2));
    let (value, from) = match op {
        Arithmetic::Add => (raise(a, up_a)?.checked_add(raise(b, up_b)?)?, common),
        Arithmetic::Subtract => (raise(a, up_a)?.checked_sub(raise(b, up_b)?)?, common),
        Arithmetic::Multiply => (a.checked_mul(b)?, s1.checked_add(s2)?),
        Arithmetic::Remainder => (raise(a, up_a)?.checked_rem(raise(b, up_b)?)?, common),
        Arithmetic::Divide | Arithmetic::IntegerDivide => {
            let raised = raise(a, i32::from(scale) - i32::from(s1) + i32::from(s2))?;
            let (raised, divisor) = if b < 0 { (raised.checked_neg()?, b.checked_neg()?) } else { (raised, b) };
            (divide_half_up(raised, divisor), scale)
        }
    };
    rescale(value, from, scale, precision)
}

/// The result by way of 256 bits.
fn wide(op: Arithmetic, (a, s1): (i128, i8), (b, s2): (i128, i8), precision: u8, scale: i8) -> Option<i128> {
    let common = s1.max(s2);
    let (x, y) = aligned(a, s1, b, s2);
    let (value, from) = match op {
        Arithmetic::Add => (x.checked_add(y)?, common),
        Arithmetic::Subtract => (x.checked_sub(y)?, common),
        Arithmetic::Multiply => (i256::from_i128(a).checked_mul(i256::from_i128(b))?, s1.checked_add(s2)?),
        Arithmetic::Remainder => (x.checked_rem(y)?, common),
        Arithmetic::Divide | Arithmetic::IntegerDivide => {
            let by = i32::from(scale) - i32::from(s1) + i32::from(s2);
            let raised = i256::from_i128(a).checked_mul(power(by)?)?;
            (wide_divide_half_up(raised, i256::from_i128(b))?, scale)
        }
    };
    let shift = i32::from(scale) - i32::from(from);
    let scaled = if shift >= 0 { value.checked_mul(power(shift)?)? } else { wide_divide_half_up(value, power(-shift)?)? };
    let scaled = scaled.to_i128()?;
    (scaled.unsigned_abs() < 10_u128.pow(u32::from(precision))).then_some(scaled)
}

fn aligned(a: i128, s1: i8, b: i128, s2: i8) -> (i256, i256) {
    let common = s1.max(s2);
    let raise = |v: i128, s: i8| {
        // At most 38 digits more on 38 digits: 256 bits hold 76.
        i256::from_i128(v).wrapping_mul(power(i32::from(common) - i32::from(s)).unwrap_or(i256::ONE))
    };
    (raise(a, s1), raise(b, s2))
}

fn power(exponent: i32) -> Option<i256> {
    i256::from_i128(10).checked_pow(u32::try_from(exponent).ok().filter(|e| *e <= 76)?)
}

fn wide_divide_half_up(value: i256, divisor: i256) -> Option<i256> {
    let (quotient, rest) = (value.checked_div(divisor)?, value.checked_rem(divisor)?);
    let negative = value.is_negative() != divisor.is_negative();
    let (rest, divisor) = (rest.wrapping_abs(), divisor.wrapping_abs());
    if rest < divisor.wrapping_sub(rest) {
        return Some(quotient);
    }
    if negative { quotient.checked_sub(i256::ONE) } else { quotient.checked_add(i256::ONE) }
}

/// `-value`, checked.
pub(super) fn negate(array: &ArrayRef) -> Result<ArrayRef> {
    fn each<T: ArrowPrimitiveType>(array: &ArrayRef) -> Result<ArrayRef>
    where
        T::Native: ArrowNativeTypeOp,
    {
        // Only the least number is its own negative and not zero.
        let negative = |v: T::Native| Some(v.neg_wrapping()).filter(|negative| *negative != v || v == T::Native::ZERO);
        let interval = matches!(T::DATA_TYPE, DataType::Duration(_) | DataType::Interval(_));
        let fail = |_| if interval { interval_overflow() } else { overflow("") };
        let negated: PrimitiveArray<T> = try_map(array.as_primitive::<T>(), negative, fail)?;
        Ok(Arc::new(negated.with_data_type(array.data_type().clone())))
    }
    match array.data_type() {
        DataType::Int8 => each::<Int8Type>(array),
        DataType::Int16 => each::<Int16Type>(array),
        DataType::Int32 => each::<Int32Type>(array),
        DataType::Int64 => each::<Int64Type>(array),
        DataType::Decimal128(..) => each::<Decimal128Type>(array),
        DataType::Duration(arrow::datatypes::TimeUnit::Second) => each::<DurationSecondType>(array),
        DataType::Duration(_) => each::<DurationMicrosecondType>(array),
        DataType::Interval(_) => each::<IntervalYearMonthType>(array),
        other => Err(Error::internal(format!("no negative of {}", spark_name(other)))),
    }
}

fn word(op: Arithmetic) -> &'static str {
    match op {
        Arithmetic::Add => "add",
        Arithmetic::Subtract => "subtract",
        Arithmetic::Multiply => "multiply",
        Arithmetic::Divide | Arithmetic::IntegerDivide => "divide",
        Arithmetic::Remainder => "mod",
    }
}

/// `ARITHMETIC_OVERFLOW`.
pub(super) fn overflow(hint: &str) -> Error {
    Error::spark(ErrorKind::Data, "ARITHMETIC_OVERFLOW", format!("overflow{hint}"))
}

/// `INTERVAL_ARITHMETIC_OVERFLOW`.
pub(super) fn interval_overflow() -> Error {
    Error::spark(
        ErrorKind::Data,
        "INTERVAL_ARITHMETIC_OVERFLOW.WITHOUT_SUGGESTION",
        "integer overflow while operating with intervals",
    )
}

fn by_zero(op: Arithmetic) -> Error {
    match op {
        Arithmetic::Remainder => {
            Error::spark(ErrorKind::Data, "REMAINDER_BY_ZERO", "remainder by zero, use `try_mod` to get NULL instead")
        }
        _ => Error::spark(ErrorKind::Data, "DIVIDE_BY_ZERO", "division by zero, use `try_divide` to get NULL instead"),
    }
}
