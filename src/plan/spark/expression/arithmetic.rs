//! Arithmetic: what types the operands become, and which kernel computes the result.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::coercion::{decimal_beside_decimal, integer_rank, tightest_type, type_beside_string};
use super::literal::literal;
use super::native::{Kernel, Operand, call};
use super::{arithmetic_kernel, temporal};
use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::plan::spark::cast::{CastMode, cast};
use crate::plan::spark::constant::is_null_of_two;
use crate::plan::spark::types::interval::is_interval;
use crate::plan::spark::types::{DECIMAL_PRECISION_MAX, calendar_interval, is_numeric, sql_name};
use crate::plan::spark::{PlanSettings, Typed};

/// An arithmetic operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`: of decimals a decimal, else a double.
    Divide,
    /// `div`: a bigint.
    IntegerDivide,
    /// `%`: has the sign of the left operand.
    Remainder,
}

impl Arithmetic {
    /// The operator as SQL writes it.
    pub fn symbol(self) -> &'static str {
        match self {
            Arithmetic::Add => "+",
            Arithmetic::Subtract => "-",
            Arithmetic::Multiply => "*",
            Arithmetic::Divide => "/",
            Arithmetic::IntegerDivide => "div",
            Arithmetic::Remainder => "%",
        }
    }

    fn divides(self) -> bool {
        matches!(self, Arithmetic::Divide | Arithmetic::IntegerDivide | Arithmetic::Remainder)
    }
}

/// `left op right`. With [`CastMode::Try`] an overflow or a division by zero gives null (`try_add` and its like).
pub fn arithmetic(op: Arithmetic, left: Typed, right: Typed, mode: CastMode, settings: &PlanSettings) -> Result<Typed> {
    // Beside a null nothing is computed, and nothing fails.
    let known = is_null_of_two(&left, &right);
    let result = computed(op, left, right, mode, settings)?;
    if !known {
        return Ok(result);
    }
    let null = ScalarValue::try_from(&result.data_type).map_err(|error| from_datafusion(error, ErrorKind::Internal))?;
    Ok(literal(null))
}

fn computed(op: Arithmetic, left: Typed, right: Typed, mode: CastMode, settings: &PlanSettings) -> Result<Typed> {
    if temporal::concerns(&left.data_type) || temporal::concerns(&right.data_type) {
        return temporal::arithmetic(op, left, right, mode, settings);
    }
    let (left, right) = promote_strings(op, left, right, settings)?;
    if let (Some(l), Some(r)) = (decimal_of(&left, &right), decimal_of(&right, &left)) {
        return decimals(op, (left, l), (right, r), mode, settings);
    }
    let common = tightest_type(&left.data_type, &right.data_type).or_else(|| {
        // A float beside a decimal is computed as double.
        (is_numeric(&left.data_type) && is_numeric(&right.data_type)).then_some(DataType::Float64)
    });
    let common = match common {
        // Nulls alone are doubles, but for DIV.
        Some(DataType::Null) => {
            if op == Arithmetic::IntegerDivide {
                DataType::Int64
            } else {
                DataType::Float64
            }
        }
        Some(common) if is_numeric(&common) => common,
        Some(_) => return Err(wrong_type(op, &left, &right)),
        None => return Err(different_types(op.symbol(), &left, &right)),
    };
    let target = match op {
        Arithmetic::Divide => DataType::Float64,
        Arithmetic::IntegerDivide if integer_rank(&common).is_some() => DataType::Int64,
        Arithmetic::IntegerDivide => {
            let decimal = [&left, &right].into_iter().any(|side| matches!(side.data_type, DataType::Decimal128(..)));
            let failed = if decimal { wrong_type(op, &left, &right) } else { different_types(op.symbol(), &left, &right) };
            return Err(failed);
        }
        _ => common,
    };
    let left = cast(left, &target, CastMode::Ansi, settings)?;
    let right = cast(right, &target, CastMode::Ansi, settings)?;
    Ok(same_type(op, left, right, target, mode))
}

/// `left op right`, both of type `target`. As in Spark, the constants among whole numbers that are added or multiplied are put
/// together first, so that they may overflow only together.
fn same_type(op: Arithmetic, left: Typed, right: Typed, target: DataType, mode: CastMode) -> Typed {
    if integer_rank(&target).is_some() && matches!(op, Arithmetic::Add | Arithmetic::Multiply) {
        let mut found = Vec::new();
        let few = [&left, &right].into_iter().all(|side| operands_of(op, &side.expr, 0, &mut found));
        let whole =
            |expr: &Expr| Typed { expr: expr.clone(), data_type: target.clone(), nullable: left.nullable || right.nullable };
        let operands: Vec<Typed> = if few { found.into_iter().map(whole).collect() } else { Vec::new() };
        let (constants, others): (Vec<Typed>, Vec<Typed>) = operands.into_iter().partition(|operand| is_constant(&operand.expr));
        let join = |l: Typed, r: Typed| pair(op, l, r, target.clone(), mode);
        if constants.len() > 1
            && let (Some(constant), Some(other)) = (constants.into_iter().reduce(join), others.into_iter().reduce(join))
        {
            return join(other, constant);
        }
    }
    pair(op, left, right, target, mode)
}

/// How deep sums of sums are looked at for constants.
const DEPTH_MAX: usize = 16;

/// The operands of a sum of sums, or of a product of products, of one type; false if there are too many of them.
fn operands_of<'e>(op: Arithmetic, expr: &'e Expr, depth: usize, operands: &mut Vec<&'e Expr>) -> bool {
    let names = if op == Arithmetic::Add { ["add", "try_add"] } else { ["multiply", "try_multiply"] };
    match expr {
        Expr::ScalarFunction(function) if names.contains(&function.name()) && function.args.len() == 2 => {
            depth < DEPTH_MAX && function.args.iter().all(|arg| operands_of(op, arg, depth + 1, operands))
        }
        _ => {
            operands.push(expr);
            operands.len() <= DEPTH_MAX
        }
    }
}

fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(..) => true,
        Expr::Cast(cast) => is_constant(&cast.expr),
        _ => false,
    }
}

fn pair(op: Arithmetic, left: Typed, right: Typed, target: DataType, mode: CastMode) -> Typed {
    if let Some(null) = null_beside(&left, &right, &target) {
        return null;
    }
    let float = matches!(target, DataType::Float32 | DataType::Float64);
    if float && !op.divides() {
        let operator = match op {
            Arithmetic::Add => Operator::Plus,
            Arithmetic::Subtract => Operator::Minus,
            _ => Operator::Multiply,
        };
        let nullable = left.nullable || right.nullable;
        let expr = Expr::BinaryExpr(BinaryExpr::new(Box::new(left.expr), operator, Box::new(right.expr)));
        return Typed { expr, data_type: target, nullable };
    }
    // A divisor that is known not to be zero (nor -1, which overflows) cannot fail.
    let safe = op.divides() && is_safe_divisor(&right.expr);
    finish(op, left, right, target.clone(), mode, !safe)
}

/// The result where an operand is the constant null: the other one is not even evaluated.
pub(super) fn null_beside(left: &Typed, right: &Typed, result: &DataType) -> Option<Typed> {
    let null = is_null_of_two(left, right).then(|| ScalarValue::try_from(result).ok())??;
    Some(Typed { expr: Expr::Literal(null, None), data_type: result.clone(), nullable: true })
}

fn finish(op: Arithmetic, left: Typed, right: Typed, result: DataType, mode: CastMode, fails: bool) -> Typed {
    if let Some(null) = null_beside(&left, &right, &result) {
        return null;
    }
    let nullable = left.nullable || right.nullable || (fails && mode == CastMode::Try);
    let kernel = ArithmeticKernel { op, mode, result: result.clone() };
    call(kernel, vec![left.expr, right.expr], result, nullable, fails && mode == CastMode::Ansi)
}

/// `+` or `-` of two intervals of one type.
pub(super) fn same_interval(op: Arithmetic, left: Typed, right: Typed, data_type: DataType, mode: CastMode) -> Typed {
    finish(op, left, right, data_type, mode, true)
}

fn is_safe_divisor(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => match value {
            ScalarValue::Int8(Some(n)) => !matches!(n, 0 | -1),
            ScalarValue::Int16(Some(n)) => !matches!(n, 0 | -1),
            ScalarValue::Int32(Some(n)) => !matches!(n, 0 | -1),
            ScalarValue::Int64(Some(n)) => !matches!(n, 0 | -1),
            ScalarValue::Float32(Some(n)) => *n != 0.0,
            ScalarValue::Float64(Some(n)) => *n != 0.0,
            _ => false,
        },
        Expr::Cast(cast) => is_safe_divisor(&cast.expr),
        _ => false,
    }
}

/// A string beside a number is read as one; two strings are no numbers.
fn promote_strings(op: Arithmetic, left: Typed, right: Typed, settings: &PlanSettings) -> Result<(Typed, Typed)> {
    let strings = (left.data_type == DataType::Utf8, right.data_type == DataType::Utf8);
    if strings == (true, true) {
        return Err(wrong_type(op, &left, &right));
    }
    if strings == (false, false) {
        return Ok((left, right));
    }
    let other = if strings.0 { &right.data_type } else { &left.data_type };
    let target = match other {
        DataType::Null => DataType::Float64,
        other if is_numeric(other) => type_beside_string(&DataType::Utf8, other).unwrap_or(DataType::Float64),
        _ => return Err(wrong_type(op, &left, &right)),
    };
    Ok((promote(left, &target, settings)?, promote(right, &target, settings)?))
}

fn promote(value: Typed, target: &DataType, settings: &PlanSettings) -> Result<Typed> {
    if value.data_type == DataType::Utf8 { cast(value, target, CastMode::Ansi, settings) } else { Ok(value) }
}

/// The decimal that `value` takes part as, if `other` or it is one and both can be.
fn decimal_of(value: &Typed, other: &Typed) -> Option<(u8, i8)> {
    let is_decimal = |t: &DataType| matches!(t, DataType::Decimal128(..));
    match &value.data_type {
        DataType::Decimal128(p, s) if integer_rank(&other.data_type).is_some() || is_decimal(&other.data_type) => Some((*p, *s)),
        DataType::Decimal128(p, s) if other.data_type == DataType::Null => Some((*p, *s)),
        DataType::Null => match other.data_type {
            DataType::Decimal128(p, s) => Some((p, s)),
            _ => None,
        },
        t if integer_rank(t).is_some() && is_decimal(&other.data_type) => decimal_beside_decimal(value),
        _ => None,
    }
}

/// Precision and scale of a decimal result, scale given up first where both do not fit (but not below 6).
pub fn adjusted(precision: i32, scale: i32) -> (u8, i8) {
    let max = i32::from(DECIMAL_PRECISION_MAX);
    if precision <= max {
        return (precision as u8, scale as i8);
    }
    let whole = precision - scale;
    (DECIMAL_PRECISION_MAX, (max - whole).max(scale.min(6)) as i8)
}

fn decimals(
    op: Arithmetic,
    (left, (p1, s1)): (Typed, (u8, i8)),
    (right, (p2, s2)): (Typed, (u8, i8)),
    mode: CastMode,
    settings: &PlanSettings,
) -> Result<Typed> {
    let left = cast(left, &DataType::Decimal128(p1, s1), CastMode::Ansi, settings)?;
    let right = cast(right, &DataType::Decimal128(p2, s2), CastMode::Ansi, settings)?;
    let (p1, s1, p2, s2) = (i32::from(p1), i32::from(s1), i32::from(p2), i32::from(s2));
    let scale = s1.max(s2);
    let whole = (p1 - s1).max(p2 - s2);
    let wanted = match op {
        Arithmetic::Add | Arithmetic::Subtract => (whole + scale + 1, scale),
        Arithmetic::Multiply => (p1 + p2 + 1, s1 + s2),
        Arithmetic::Divide => {
            let scale = (s1 + p2 + 1).max(6);
            (p1 - s1 + s2 + scale, scale)
        }
        Arithmetic::Remainder => ((p1 - s1).min(p2 - s2) + scale, scale),
        Arithmetic::IntegerDivide => return Ok(finish(op, left, right, DataType::Int64, mode, true)),
    };
    let (precision, scale) = adjusted(wanted.0, wanted.1);
    let fails = op.divides() || wanted.0 > i32::from(DECIMAL_PRECISION_MAX);
    Ok(finish(op, left, right, DataType::Decimal128(precision, scale), mode, fails))
}

/// `-value`.
pub fn negate(value: Typed, settings: &PlanSettings) -> Result<Typed> {
    let value = match &value.data_type {
        DataType::Utf8 | DataType::Null => cast(value, &DataType::Float64, CastMode::Ansi, settings)?,
        t if is_numeric(t) => value,
        t if is_interval(t) => return temporal::on_plain(value, settings, negate_number),
        t if *t == calendar_interval() => return Err(super::unsupported("`-` of an INTERVAL, which make_interval makes,")),
        t => return Err(unexpected_type("-", t)),
    };
    Ok(negate_number(value))
}

fn negate_number(value: Typed) -> Typed {
    if matches!(value.data_type, DataType::Float32 | DataType::Float64) {
        return Typed { expr: Expr::Negative(Box::new(value.expr)), ..value };
    }
    let fails = !matches!(value.data_type, DataType::Decimal128(..));
    let (data_type, nullable) = (value.data_type.clone(), value.nullable);
    call(NegateKernel, vec![value.expr], data_type, nullable, fails)
}

/// `+value`.
pub fn positive(value: Typed, settings: &PlanSettings) -> Result<Typed> {
    match &value.data_type {
        DataType::Utf8 | DataType::Null => cast(value, &DataType::Float64, CastMode::Ansi, settings),
        t if is_numeric(t) || is_interval(t) => Ok(value),
        t => Err(unexpected_type("+", t)),
    }
}

/// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE` for an operand.
pub(super) fn unexpected_type(what: &str, found: &DataType) -> Error {
    Error::spark(
        ErrorKind::Config,
        "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
        format!("`{what}` cannot take a value of type \"{}\"", sql_name(found)),
    )
}

/// `DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES`.
pub(super) fn different_types(symbol: &str, left: &Typed, right: &Typed) -> Error {
    Error::spark(
        ErrorKind::Config,
        "DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES",
        format!(
            "the operands of `{symbol}` have incompatible types (\"{}\" and \"{}\")",
            sql_name(&left.data_type),
            sql_name(&right.data_type)
        ),
    )
}

pub(super) fn wrong_type(op: Arithmetic, left: &Typed, right: &Typed) -> Error {
    wrong_types(op.symbol(), left, right)
}

/// `DATATYPE_MISMATCH.BINARY_OP_WRONG_TYPE`.
pub(super) fn wrong_types(symbol: &str, left: &Typed, right: &Typed) -> Error {
    Error::spark(
        ErrorKind::Config,
        "DATATYPE_MISMATCH.BINARY_OP_WRONG_TYPE",
        format!("`{symbol}` does not take \"{}\" and \"{}\"", sql_name(&left.data_type), sql_name(&right.data_type)),
    )
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ArithmeticKernel {
    op: Arithmetic,
    mode: CastMode,
    result: DataType,
}

impl Kernel for ArithmeticKernel {
    fn name(&self) -> &str {
        match (self.op, self.mode) {
            (Arithmetic::Add, CastMode::Ansi) => "add",
            (Arithmetic::Subtract, CastMode::Ansi) => "subtract",
            (Arithmetic::Multiply, CastMode::Ansi) => "multiply",
            (Arithmetic::Divide, CastMode::Ansi) => "divide",
            (Arithmetic::Remainder, CastMode::Ansi) => "mod",
            (Arithmetic::IntegerDivide, _) => "div",
            (Arithmetic::Add, CastMode::Try) => "try_add",
            (Arithmetic::Subtract, CastMode::Try) => "try_subtract",
            (Arithmetic::Multiply, CastMode::Try) => "try_multiply",
            (Arithmetic::Divide, CastMode::Try) => "try_divide",
            (Arithmetic::Remainder, CastMode::Try) => "try_mod",
        }
    }

    fn run(&self, args: &[Operand], rows: usize) -> Result<ArrayRef> {
        arithmetic_kernel::run(self.op, self.mode, &args[0], &args[1], rows, &self.result)
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NegateKernel;

impl Kernel for NegateKernel {
    fn name(&self) -> &str {
        "negative"
    }

    fn run(&self, args: &[Operand], _rows: usize) -> Result<ArrayRef> {
        arithmetic_kernel::negate(&args[0].array)
    }
}

/// The day-time interval that counts whole days (INTERVAL DAY).
pub(super) fn is_days(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Duration(TimeUnit::Second))
}

/// An array reference, for kernels that return concrete arrays.
pub(super) fn shared(array: impl arrow::array::Array + 'static) -> ArrayRef {
    Arc::new(array)
}
