//! Operators on the bits of integers.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, Int8Type, Int16Type, Int32Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::arithmetic::{different_types, null_beside, unexpected_type, wrong_types};
use super::arithmetic_kernel::zip;
use super::coercion::{implicit_cast, integer_rank, wider_type};
use super::native::{Kernel, Operand, call};
use crate::error::{Error, Result};
use crate::plan::spark::cast::{CastMode, cast};
use crate::plan::spark::types::is_numeric;
use crate::plan::spark::{PlanSettings, Typed};

/// `&`, `|`, `^`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bits {
    /// `&`
    And,
    /// `|`
    Or,
    /// `^`
    Xor,
}

/// A shift; the distance is taken modulo the width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shift {
    /// `<<`
    Left,
    /// `>>`, which keeps the sign.
    Right,
    /// `>>>`
    RightUnsigned,
}

/// `left op right`, of the wider type.
pub fn combine(op: Bits, left: Typed, right: Typed, settings: &PlanSettings) -> Result<Typed> {
    let (symbol, operator) = match op {
        Bits::And => ("&", Operator::BitwiseAnd),
        Bits::Or => ("|", Operator::BitwiseOr),
        Bits::Xor => ("^", Operator::BitwiseXor),
    };
    let common = wider_type(&left.data_type, &right.data_type).filter(|t| integer_rank(t).is_some());
    let Some(common) = common else {
        let refused = if left.data_type == right.data_type { wrong_types } else { different_types };
        return Err(refused(symbol, &left, &right));
    };
    let left = cast(left, &common, CastMode::Ansi, settings)?;
    let right = cast(right, &common, CastMode::Ansi, settings)?;
    if let Some(null) = null_beside(&left, &right, &common) {
        return Ok(null);
    }
    let nullable = left.nullable || right.nullable;
    let expr = Expr::BinaryExpr(BinaryExpr::new(Box::new(left.expr), operator, Box::new(right.expr)));
    Ok(Typed { expr, data_type: common, nullable })
}

/// `value << distance` and its like: of an int or a bigint.
pub fn shift(op: Shift, value: Typed, distance: Typed, settings: &PlanSettings) -> Result<Typed> {
    let target = match &value.data_type {
        DataType::Int64 => DataType::Int64,
        DataType::Utf8 | DataType::Null => DataType::Int32,
        number if is_numeric(number) => DataType::Int32,
        other => return Err(unexpected_type("a shift", other)),
    };
    let as_number = |operand: Typed, to: &DataType| match is_numeric(&operand.data_type) {
        true => cast(operand, to, CastMode::Ansi, settings),
        false => implicit_cast(operand, to, settings),
    };
    let (value, distance) = (as_number(value, &target)?, as_number(distance, &DataType::Int32)?);
    if let Some(null) = null_beside(&value, &distance, &target) {
        return Ok(null);
    }
    let nullable = value.nullable || distance.nullable;
    Ok(call(ShiftKernel(op), vec![value.expr, distance.expr], target, nullable, false))
}

/// `~value`.
pub fn complement(value: Typed) -> Result<Typed> {
    if value.data_type == DataType::Null {
        return Ok(Typed { expr: Expr::Literal(ScalarValue::Int32(None), None), data_type: DataType::Int32, nullable: true });
    }
    if integer_rank(&value.data_type).is_none() {
        return Err(unexpected_type("~", &value.data_type));
    }
    let (data_type, nullable) = (value.data_type.clone(), value.nullable);
    Ok(call(ComplementKernel, vec![value.expr], data_type, nullable, false))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ShiftKernel(Shift);

impl Kernel for ShiftKernel {
    fn name(&self) -> &str {
        match self.0 {
            Shift::Left => "shiftleft",
            Shift::Right => "shiftright",
            Shift::RightUnsigned => "shiftrightunsigned",
        }
    }

    fn run(&self, args: &[Operand], rows: usize) -> Result<ArrayRef> {
        let operands = (&args[0], &args[1]);
        let impossible = |_| Error::internal("a shift cannot fail");
        Ok(match args[0].array.data_type() {
            DataType::Int64 => {
                let shift = |v: i64, by: i32| {
                    Ok(match self.0 {
                        Shift::Left => v.wrapping_shl(by as u32),
                        Shift::Right => v.wrapping_shr(by as u32),
                        Shift::RightUnsigned => (v as u64).wrapping_shr(by as u32) as i64,
                    })
                };
                Arc::new(zip::<Int64Type, Int32Type, Int64Type>(operands, rows, CastMode::Ansi, shift, |f, _, _| impossible(f))?)
            }
            _ => {
                let shift = |v: i32, by: i32| {
                    Ok(match self.0 {
                        Shift::Left => v.wrapping_shl(by as u32),
                        Shift::Right => v.wrapping_shr(by as u32),
                        Shift::RightUnsigned => (v as u32).wrapping_shr(by as u32) as i32,
                    })
                };
                Arc::new(zip::<Int32Type, Int32Type, Int32Type>(operands, rows, CastMode::Ansi, shift, |f, _, _| impossible(f))?)
            }
        })
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ComplementKernel;

impl Kernel for ComplementKernel {
    fn name(&self) -> &str {
        "bitwise_not"
    }

    fn run(&self, args: &[Operand], _rows: usize) -> Result<ArrayRef> {
        fn each<T: ArrowPrimitiveType>(array: &ArrayRef) -> ArrayRef
        where
            T::Native: std::ops::Not<Output = T::Native>,
        {
            let flipped: PrimitiveArray<T> = array.as_primitive::<T>().unary(|v| !v);
            Arc::new(flipped)
        }
        let array = &args[0].array;
        Ok(match array.data_type() {
            DataType::Int8 => each::<Int8Type>(array),
            DataType::Int16 => each::<Int16Type>(array),
            DataType::Int32 => each::<Int32Type>(array),
            _ => each::<Int64Type>(array),
        })
    }
}
