//! Arithmetic as functions.

use arrow::array::{Array, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::scalar::ScalarValue;

use super::super::cast::{CastMode, cast};
use super::super::expression::arithmetic::{Arithmetic, arithmetic, negate, positive};
use super::super::expression::bits::{Shift, shift};
use super::super::expression::coercion::type_beside_string;
use super::super::types::is_numeric;
use super::super::{Call, Typed, is_fallible};
use super::arguments::{Want, any_nullable, arity, coerce, coerce_one, is_foldable, literal};
use super::lambda::attempt;
use super::native::{Returns, call};
use super::{FunctionSpec, scalar};
use crate::error::Result;

pub(super) mod bits;
mod integer;
mod round;
pub(super) mod strict;

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("sqrt(x)", "Square root, NaN of a negative number", "sqrt(16) → 4.0", |c| double(c, f64::sqrt)),
    scalar("cbrt(x)", "Cube root", "cbrt(27) → 3.0", |c| double(c, strict::cbrt)),
    scalar("exp(x)", "e to the power of `x`", "exp(0) → 1.0", |c| double(c, libm::exp)),
    scalar("expm1(x)", "`exp(x) - 1`, exact also near 0", "expm1(0) → 0.0", |c| double(c, libm::expm1)),
    scalar("sin(x)", "Sine of an angle in radians", "sin(0) → 0.0", |c| double(c, f64::sin)),
    scalar("cos(x)", "Cosine of an angle in radians", "cos(0) → 1.0", |c| double(c, f64::cos)),
    scalar("tan(x)", "Tangent of an angle in radians", "tan(0) → 0.0", |c| double(c, f64::tan)),
    scalar("cot(x)", "Cotangent of an angle in radians", "cot(1) → 0.6420926159343306", |c| double(c, |x| 1.0 / x.tan())),
    scalar("sec(x)", "Secant, `1 / cos(x)`", "sec(0) → 1.0", |c| double(c, |x| 1.0 / x.cos())),
    scalar("csc(x)", "Cosecant, `1 / sin(x)`", "csc(1) → 1.1883951057781212", |c| double(c, |x| 1.0 / x.sin())),
    scalar("asin(x)", "Inverse sine in radians, NaN outside -1 to 1", "asin(0) → 0.0", |c| double(c, libm::asin)),
    scalar("acos(x)", "Inverse cosine in radians, NaN outside -1 to 1", "acos(1) → 0.0", |c| double(c, libm::acos)),
    scalar("atan(x)", "Inverse tangent in radians", "atan(0) → 0.0", |c| double(c, libm::atan)),
    scalar("sinh(x)", "Hyperbolic sine", "sinh(0) → 0.0", |c| double(c, strict::sinh)),
    scalar("cosh(x)", "Hyperbolic cosine", "cosh(0) → 1.0", |c| double(c, strict::cosh)),
    scalar("tanh(x)", "Hyperbolic tangent", "tanh(0) → 0.0", |c| double(c, strict::tanh)),
    scalar("asinh(x)", "Inverse hyperbolic sine", "asinh(0) → 0.0", |c| double(c, libm::asinh)),
    scalar("acosh(x)", "Inverse hyperbolic cosine", "acosh(1) → 0.0", |c| double(c, libm::acosh)),
    scalar("atanh(x)", "Inverse hyperbolic tangent", "atanh(0) → 0.0", |c| double(c, |x| 0.5 * (libm::log1p(x) - libm::log1p(-x)))),
    scalar("degrees(x)", "Radians as degrees", "degrees(pi()) → 180.0", |c| double(c, f64::to_degrees)),
    scalar("radians(x)", "Degrees as radians", "radians(180) → 3.141592653589793", |c| double(c, |x| x * 0.017_453_292_519_943_295)),
    scalar("rint(x)", "The nearest whole number, of two the even one, as a DOUBLE", "rint(2.5) → 2.0", |c| double(c, f64::round_ties_even)),
    scalar("ln(x)", "Natural logarithm, null unless `x` is positive", "ln(1) → 0.0", |c| logarithm(c, 0.0, strict::ln)),
    scalar("log10(x)", "Logarithm to base 10, null unless `x` is positive", "log10(1000) → 3.0", |c| logarithm(c, 0.0, strict::log10)),
    scalar("log2(x)", "Logarithm to base 2, null unless `x` is positive", "log2(8) → 3.0", |c| logarithm(c, 0.0, |x| strict::ln(x) / strict::ln(2.0))),
    scalar("log1p(x)", "`ln(1 + x)`, exact also near 0, null unless `x` is over -1", "log1p(0) → 0.0", |c| logarithm(c, -1.0, libm::log1p)),
    scalar("log([base, ]x)", "Logarithm of `x` to `base`, or the natural one", "log(2, 8) → 3.0", log),
    scalar("pow(x, y)", "`x` to the power of `y`, a DOUBLE", "pow(2, 10) → 1024.0", |c| doubles(c, strict::pow)),
    scalar("power(x, y)", "As `pow`", "power(2, -1) → 0.5", |c| doubles(c, strict::pow)),
    scalar("atan2(y, x)", "Angle of the point (`x`, `y`) in radians", "atan2(0, 1) → 0.0", |c| doubles(c, |y, x| libm::atan2(y + 0.0, x + 0.0))),
    scalar("hypot(x, y)", "`sqrt(x * x + y * y)` without overflow on the way", "hypot(3, 4) → 5.0", |c| doubles(c, strict::hypot)),
    scalar("e()", "Euler's number", "e() → 2.718281828459045", |c| constant_number(&c, std::f64::consts::E)),
    scalar("pi()", "The circle's number", "pi() → 3.141592653589793", |c| constant_number(&c, std::f64::consts::PI)),
    scalar("sign(x)", "-1, 0 or 1 by the sign, a DOUBLE", "sign(-40) → -1.0", sign),
    scalar("signum(x)", "As `sign`", "signum(0) → 0.0", sign),
    scalar("abs(n)", "The number without its sign; an error where its type cannot hold that", "abs(-3) → 3", integer::abs),
    scalar("negative(n)", "`-n`", "negative(3) → -3", |c| one(c, negate)),
    scalar("positive(n)", "`n` as it is", "positive(-3) → -3", |c| one(c, positive)),
    scalar("mod(a, b)", "Remainder with the sign of `a`; an error for `b` 0", "mod(-7, 3) → -1", |c| two(c, Arithmetic::Remainder, CastMode::Ansi)),
    scalar("pmod(a, b)", "Remainder that is not negative for a positive `b`; an error for `b` 0", "pmod(-7, 3) → 2", integer::pmod),
    scalar("div(a, b)", "Whole quotient of `a` and `b`, a BIGINT, as `a DIV b`; an error for `b` 0", "div(7, 2) → 3", |c| two(c, Arithmetic::IntegerDivide, CastMode::Ansi)),
    scalar("try_add(a, b)", "`a + b`, null where that fails", "try_add(2147483647, 1) → NULL", |c| two(c, Arithmetic::Add, CastMode::Try)),
    scalar("try_subtract(a, b)", "`a - b`, null where that fails", "try_subtract(5, 3) → 2", |c| two(c, Arithmetic::Subtract, CastMode::Try)),
    scalar("try_multiply(a, b)", "`a * b`, null where that fails", "try_multiply(2147483647, 2) → NULL", |c| two(c, Arithmetic::Multiply, CastMode::Try)),
    scalar("try_divide(a, b)", "`a / b`, null where that fails", "try_divide(1, 0) → NULL", |c| two(c, Arithmetic::Divide, CastMode::Try)),
    scalar("try_mod(a, b)", "`a % b`, null where that fails", "try_mod(1, 0) → NULL", |c| two(c, Arithmetic::Remainder, CastMode::Try)),
    scalar("round(n[, scale])", "Rounded to `scale` digits behind the point (before it if negative), halves away from 0", "round(2.5) → 3", |c| round::round(c, round::Mode::HalfUp)),
    scalar("bround(n[, scale])", "As `round`, halves to the even digit", "bround(2.5) → 2", |c| round::round(c, round::Mode::HalfEven)),
    scalar("ceil(n[, scale])", "The next whole number up, or the next one with `scale` digits", "ceil(-0.1) → 0", |c| round::whole(c, round::Mode::Ceiling)),
    scalar("ceiling(n[, scale])", "As `ceil`", "ceiling(3.1411, 3) → 3.142", |c| round::whole(c, round::Mode::Ceiling)),
    scalar("floor(n[, scale])", "The next whole number down, or the next one with `scale` digits", "floor(-0.1) → -1", |c| round::whole(c, round::Mode::Floor)),
    scalar("factorial(n)", "`n!` for 0 to 20, else null", "factorial(5) → 120", integer::factorial),
    scalar("width_bucket(value, low, high, buckets)", "In which of so many equal buckets between `low` and `high` a value lies, from 1 on", "width_bucket(5.3, 0.2, 10.6, 5) → 3", width_bucket),
    scalar("bit_count(n)", "How many bits are set, also of a BOOLEAN", "bit_count(7) → 3", bits::bit_count),
    scalar("bit_get(n, position)", "The bit at a position, the lowest is 0", "bit_get(11, 2) → 0", bits::bit_get),
    scalar("getbit(n, position)", "As `bit_get`", "getbit(11, 0) → 1", bits::bit_get),
    scalar("shiftleft(n, bits)", "The bits moved left", "shiftleft(2, 3) → 16", |c| shifted(c, Shift::Left)),
    scalar("shiftright(n, bits)", "The bits moved right, copies of the sign coming in", "shiftright(-16, 2) → -4", |c| shifted(c, Shift::Right)),
    scalar("shiftrightunsigned(n, bits)", "The bits moved right, zeros coming in", "shiftrightunsigned(-1, 30) → 3", |c| shifted(c, Shift::RightUnsigned)),
    scalar("hex(value)", "A whole number, text or binary in hexadecimal digits", "hex('Spark') → 537061726B", bits::hex),
    scalar("unhex(text)", "The bytes that hexadecimal digits stand for, null for other text", "unhex('4D') → M", bits::unhex),
    scalar("bin(n)", "A whole number in binary digits", "bin(13) → 1101", bits::bin),
    scalar("conv(text, from_base, to_base)", "A whole number's digits in another base, 2 to 36", "conv('ff', 16, 10) → 255", bits::conv),
];

/// DOUBLE → DOUBLE.
fn double(mut c: Call<'_>, f: fn(f64) -> f64) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Double])?;
    let returns = Returns::new(DataType::Float64, args[0].nullable);
    Ok(call(c.name, args, returns, move |a| a.each::<Float64Type, Float64Type>(0, f)))
}

/// DOUBLE → DOUBLE, null where the argument is not above `asymptote`.
fn logarithm(mut c: Call<'_>, asymptote: f64, f: fn(f64) -> f64) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Double])?;
    Ok(call(c.name, args, Returns::new(DataType::Float64, true), move |a| {
        let x = a.column::<Float64Array>(0)?;
        a.primitive::<Float64Type>(|row| {
            let x = x.get(row)?;
            if x <= asymptote { None } else { Some(f(x)) }
        })
    }))
}

/// `log(x)`, or `log(base, x)`.
fn log(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 2)?;
    if c.args.len() == 1 {
        return logarithm(c, 0.0, strict::ln);
    }
    let args = coerce(&mut c, &[Want::Double, Want::Double])?;
    Ok(call(c.name, args, Returns::new(DataType::Float64, true), |a| {
        let (base, x) = (a.column::<Float64Array>(0)?, a.column::<Float64Array>(1)?);
        a.primitive::<Float64Type>(|row| {
            let (base, x) = (base.get(row)?, x.get(row)?);
            if base <= 0.0 || x <= 0.0 { None } else { Some(strict::ln(x) / strict::ln(base)) }
        })
    }))
}

/// DOUBLE, DOUBLE → DOUBLE.
fn doubles(mut c: Call<'_>, f: fn(f64, f64) -> f64) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Double, Want::Double])?;
    let returns = Returns::new(DataType::Float64, any_nullable(&args));
    Ok(call(c.name, args, returns, move |a| {
        let (x, y) = (a.column::<Float64Array>(0)?, a.column::<Float64Array>(1)?);
        a.primitive::<Float64Type>(|row| Some(f(x.get(row)?, y.get(row)?)))
    }))
}

fn constant_number(c: &Call<'_>, value: f64) -> Result<Typed> {
    arity(c, 0, 0)?;
    Ok(literal(ScalarValue::Float64(Some(value))))
}

/// -1, 0 or 1 as a DOUBLE.
fn sign(mut c: Call<'_>) -> Result<Typed> {
    const WANT: Want = Want::OneOf(&[Want::Double, Want::YearMonth, Want::DayTime]);
    let arg = coerce(&mut c, &[WANT])?.remove(0);
    let signum = |x: f64| if x == 0.0 || x.is_nan() { x } else { x.signum() };
    if arg.data_type == DataType::Float64 {
        c.args = vec![arg];
        return double(c, signum);
    }
    let returns = Returns::new(DataType::Float64, arg.nullable);
    Ok(call(c.name, vec![arg], returns, |a| {
        let intervals = micros(std::sync::Arc::clone(a.any(0).array))?;
        let intervals = arrow::compute::cast(&intervals, &DataType::Int64).map_err(super::native::from_arrow)?;
        let intervals = arrow::array::AsArray::as_primitive::<Int64Type>(&intervals).clone();
        let signs: Float64Array = intervals.iter().map(|n| n.map(|n| n.signum() as f64)).collect();
        Ok(std::sync::Arc::new(signs))
    }))
}

/// An operator of one argument as a function.
fn one(mut c: Call<'_>, operator: fn(Typed, &crate::plan::PlanSettings) -> Result<Typed>) -> Result<Typed> {
    arity(&c, 1, 1)?;
    operator(c.args.remove(0), c.context.settings)
}

/// An operator of two arguments as a function.
fn two(mut c: Call<'_>, op: Arithmetic, mode: CastMode) -> Result<Typed> {
    arity(&c, 2, 2)?;
    let (right, left) = (c.args.remove(1), c.args.remove(0));
    let types = (left.data_type.clone(), right.data_type.clone());
    // Of other types than numbers, Spark tries the operation with all that is computed for it.
    let numbers = is_numeric(&types.0) && is_numeric(&types.1);
    if mode == CastMode::Try && !numbers && (is_fallible(&left.expr) || is_fallible(&right.expr)) {
        return attempt(c.name, arithmetic(op, left, right, CastMode::Ansi, c.context.settings)?);
    }
    let constants = (is_foldable(&left.expr), is_foldable(&right.expr));
    if mode == CastMode::Try && (constants.0 && types.0 == DataType::Utf8) != (constants.1 && types.1 == DataType::Utf8) {
        return attempt(c.name, arithmetic(op, left, right, CastMode::Ansi, c.context.settings)?);
    }
    let (left, right) = (attempted(&c, left, &types.1, mode)?, attempted(&c, right, &types.0, mode)?);
    arithmetic(op, left, right, mode, c.context.settings)
}

/// A text beside a number, read as one; where that must not fail, null if it is none.
fn attempted(c: &Call<'_>, value: Typed, other: &DataType, mode: CastMode) -> Result<Typed> {
    if mode == CastMode::Ansi || value.data_type != DataType::Utf8 || !is_numeric(other) {
        return Ok(value);
    }
    match type_beside_string(&value.data_type, other) {
        Some(to) => cast(value, &to, mode, c.context.settings),
        None => Ok(value),
    }
}

fn shifted(mut c: Call<'_>, direction: Shift) -> Result<Typed> {
    arity(&c, 2, 2)?;
    let (right, left) = (c.args.remove(1), c.args.remove(0));
    shift(direction, left, right, c.context.settings)
}

fn width_bucket(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 4, 4)?;
    let intervals = c.args[..3].iter().any(|a| matches!(a.data_type, DataType::Duration(_) | DataType::Interval(_)));
    let is_months = |arg: &Typed| matches!(arg.data_type, DataType::Interval(_));
    if intervals && c.args[..3].iter().any(|arg| is_months(arg) != is_months(&c.args[0])) {
        return Err(super::arguments::mismatch("DATA_DIFF_TYPES", "the intervals of `width_bucket` should all be of one type"));
    }
    let args = std::mem::take(&mut c.args);
    let args = args
        .into_iter()
        .enumerate()
        .map(|(index, arg)| match (index, intervals) {
            (3, _) => coerce_one(&c, 3, arg, &Want::Long),
            (_, false) => coerce_one(&c, index, arg, &Want::Double),
            (_, true) if matches!(arg.data_type, DataType::Duration(_) | DataType::Interval(_)) => Ok(arg),
            (_, true) => Err(super::arguments::unexpected_type(&c, index, &arg.data_type, &Want::DayTime)),
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(call(c.name, args, Returns::new(DataType::Int64, true), move |a| {
        let number = |index: usize| -> Result<Float64Array> {
            let column = a.expanded(index)?;
            let column = if intervals {
                arrow::compute::cast(
                    &arrow::compute::cast(&micros(column)?, &DataType::Int64).map_err(super::native::from_arrow)?,
                    &DataType::Float64,
                )
                .map_err(super::native::from_arrow)?
            } else {
                column
            };
            Ok(arrow::array::AsArray::as_primitive::<Float64Type>(&column).clone())
        };
        let (value, min, max, count) = (number(0)?, number(1)?, number(2)?, a.column::<Int64Array>(3)?);
        a.primitive::<Int64Type>(|row| {
            let at = |column: &Float64Array| column.is_valid(row).then(|| column.value(row));
            bucket(at(&value)?, at(&min)?, at(&max)?, count.get(row)?)
        })
    }))
}

/// Day-time intervals of either unit in microseconds.
fn micros(column: arrow::array::ArrayRef) -> Result<arrow::array::ArrayRef> {
    if let DataType::Duration(_) = column.data_type() {
        let to = DataType::Duration(arrow::datatypes::TimeUnit::Microsecond);
        return arrow::compute::cast(&column, &to).map_err(super::native::from_arrow);
    }
    let months = arrow::array::AsArray::as_primitive::<arrow::datatypes::IntervalYearMonthType>(&column);
    Ok(std::sync::Arc::new(months.reinterpret_cast::<arrow::datatypes::Int32Type>()))
}

fn bucket(value: f64, min: f64, max: f64, count: i64) -> Option<i64> {
    if count <= 0 || count == i64::MAX || value.is_nan() || min == max || !min.is_finite() || !max.is_finite() {
        return None;
    }
    let (lower, upper) = (min.min(max), min.max(max));
    let (before, after, distance) =
        if min < max { (value < lower, value >= upper, value - lower) } else { (value > upper, value <= lower, upper - value) };
    Some(if before {
        0
    } else if after {
        count + 1
    } else {
        (count as f64 * distance / (upper - lower)) as i64 + 1
    })
}
