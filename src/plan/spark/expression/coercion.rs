//! Spark's ANSI type coercion: which type two operands share, and what a function's argument may silently become.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::cast::{CastMode, cast};
use crate::plan::spark::types::interval::{IntervalRange, is_interval};
use crate::plan::spark::types::{
    DECIMAL_PRECISION_MAX, array_of, is_numeric, map_fields, map_of, sql_name, timestamp, timestamp_ntz,
};
use crate::plan::spark::{PlanSettings, Typed};

/// The type that all of `values` are cast to where they must agree (CASE, COALESCE, IN, `array(…)`): Spark's
/// `findWiderCommonType`, which turns strings into numbers, dates, … where they meet one. None where there is no such type.
pub fn common_type(values: &[Typed]) -> Option<DataType> {
    fold(values.iter().map(|v| &v.data_type), wider_type)
}

/// As [`common_type`], but a string only agrees with strings (GREATEST, LEAST, map keys, …).
pub fn common_type_without_strings(values: &[Typed]) -> Option<DataType> {
    fold(values.iter().map(|v| &v.data_type), wider_type_without_strings)
}

fn fold<'a>(types: impl Iterator<Item = &'a DataType>, wider: fn(&DataType, &DataType) -> Option<DataType>) -> Option<DataType> {
    types.into_iter().try_fold(DataType::Null, |so_far, next| wider(&so_far, next))
}

/// Spark's `findWiderTypeForTwo`.
pub fn wider_type(a: &DataType, b: &DataType) -> Option<DataType> {
    tightest_type(a, b)
        .or_else(|| wider_decimal_type(a, b))
        .or_else(|| type_beside_string(a, b))
        .or_else(|| complex_type(a, b, wider_type))
}

/// [`wider_type`] without turning strings into anything.
pub fn wider_type_without_strings(a: &DataType, b: &DataType) -> Option<DataType> {
    tightest_type(a, b).or_else(|| wider_decimal_type(a, b)).or_else(|| complex_type(a, b, wider_type_without_strings))
}

/// Spark's `findTightestCommonType`: no precision is lost.
pub fn tightest_type(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::*;
    Some(match (a, b) {
        (a, b) if a == b => a.clone(),
        (Null, t) | (t, Null) => t.clone(),
        (Decimal128(p, s), t) | (t, Decimal128(p, s)) if integer_rank(t).is_some() => {
            let (digits, _) = decimal_for(t)?;
            if i16::from(*p) - i16::from(*s) < i16::from(digits) {
                return None;
            }
            Decimal128(*p, *s)
        }
        (a, b) if number_rank(a).is_some() && number_rank(b).is_some() => {
            let wider = if number_rank(a) > number_rank(b) { a } else { b };
            // An integer may not fit a float exactly.
            if *wider == Float32 { Float64 } else { wider.clone() }
        }
        (Date32, Timestamp(unit, zone)) | (Timestamp(unit, zone), Date32) => Timestamp(*unit, zone.clone()),
        (Timestamp(..), Timestamp(..)) => timestamp(),
        (a, b) if is_interval(a) && is_interval(b) => IntervalRange::of(a)?.with(IntervalRange::of(b)?)?.data_type(),
        (a, b) => return complex_type(a, b, tightest_type),
    })
}

/// [`wider_type_without_strings`] for what collections hold, which are not found together if they are intervals of different units.
pub fn wider_item_type(a: &DataType, b: &DataType) -> Option<DataType> {
    let other_units = is_interval(a) && is_interval(b) && a != b;
    wider_type_without_strings(a, b).filter(|_| !other_units)
}

/// As [`tightest_type`] by the rules of Spark without ANSI, which functions of arrays still follow: of a whole number and a FLOAT
/// the FLOAT, and of intervals of different units none.
pub fn tightest_item_type(a: &DataType, b: &DataType) -> Option<DataType> {
    match (a, b) {
        (DataType::Float32, whole) | (whole, DataType::Float32) if integer_rank(whole).is_some() => Some(DataType::Float32),
        (DataType::List(_), DataType::List(_)) => complex_type(a, b, tightest_item_type),
        (a, b) if is_interval(a) && is_interval(b) && a != b => None,
        (a, b) => complex_type(a, b, tightest_item_type).or_else(|| tightest_type(a, b)),
    }
}

/// What an operand and a string become together: the string is read as the other's kind.
pub fn type_beside_string(a: &DataType, b: &DataType) -> Option<DataType> {
    let other = match (a, b) {
        (DataType::Utf8, other) | (other, DataType::Utf8) => other,
        _ => return None,
    };
    match other {
        t if integer_rank(t).is_some() => Some(DataType::Int64),
        DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) => Some(DataType::Float64),
        DataType::Boolean | DataType::Date32 | DataType::Timestamp(..) | DataType::Binary => Some(other.clone()),
        _ => None,
    }
}

fn wider_decimal_type(a: &DataType, b: &DataType) -> Option<DataType> {
    match (a, b) {
        (DataType::Decimal128(..), DataType::Float32 | DataType::Float64)
        | (DataType::Float32 | DataType::Float64, DataType::Decimal128(..)) => Some(DataType::Float64),
        (DataType::Decimal128(..), _) | (_, DataType::Decimal128(..)) => {
            let ((p1, s1), (p2, s2)) = (decimal_for(a)?, decimal_for(b)?);
            let scale = s1.max(s2);
            let range = (i16::from(p1) - i16::from(s1)).max(i16::from(p2) - i16::from(s2));
            Some(bounded_decimal(range, i16::from(scale)))
        }
        _ => None,
    }
}

/// A decimal with `range` digits before the point and `scale` after it, the latter cut where both do not fit.
fn bounded_decimal(range: i16, scale: i16) -> DataType {
    let max = i16::from(DECIMAL_PRECISION_MAX);
    let precision = range + scale;
    if precision <= max {
        DataType::Decimal128(precision as u8, scale as i8)
    } else {
        DataType::Decimal128(DECIMAL_PRECISION_MAX, (max - range).clamp(0, scale) as i8)
    }
}

fn complex_type(a: &DataType, b: &DataType, wider: fn(&DataType, &DataType) -> Option<DataType>) -> Option<DataType> {
    match (a, b) {
        (DataType::List(a), DataType::List(b)) => Some(array_of(wider(a.data_type(), b.data_type())?)),
        (DataType::Map(a, _), DataType::Map(b, _)) => {
            let ((ak, av), (bk, bv)) = (map_fields(a)?, map_fields(b)?);
            let key = wider(ak.data_type(), bk.data_type())?;
            // A text that is no number would become a null key.
            if key != DataType::Utf8 && [ak, bk].iter().any(|k| *k.data_type() == DataType::Utf8) {
                return None;
            }
            Some(map_of(key, wider(av.data_type(), bv.data_type())?))
        }
        (DataType::Struct(a), DataType::Struct(b)) if a.len() == b.len() => {
            let fields: Option<Fields> = a
                .iter()
                .zip(b)
                .map(|(a, b)| {
                    let same = a.name().to_lowercase() == b.name().to_lowercase();
                    let data_type = if same { wider(a.data_type(), b.data_type())? } else { return None };
                    Some(Arc::new(Field::new(a.name(), data_type, a.is_nullable() || b.is_nullable())))
                })
                .collect();
            Some(DataType::Struct(fields?))
        }
        _ => None,
    }
}

/// Place among Spark's integers, narrowest first.
pub fn integer_rank(data_type: &DataType) -> Option<u8> {
    match data_type {
        DataType::Int8 => Some(0),
        DataType::Int16 => Some(1),
        DataType::Int32 => Some(2),
        DataType::Int64 => Some(3),
        _ => None,
    }
}

/// Place among Spark's numbers other than decimals.
fn number_rank(data_type: &DataType) -> Option<u8> {
    match data_type {
        DataType::Float32 => Some(4),
        DataType::Float64 => Some(5),
        other => integer_rank(other),
    }
}

/// Precision and scale of the decimal that holds every value of a numeric type.
pub fn decimal_for(data_type: &DataType) -> Option<(u8, i8)> {
    Some(match data_type {
        DataType::Int8 => (3, 0),
        DataType::Int16 => (5, 0),
        DataType::Int32 => (10, 0),
        DataType::Int64 => (20, 0),
        DataType::Float32 => (14, 7),
        DataType::Float64 => (30, 15),
        DataType::Decimal128(p, s) => (*p, *s),
        _ => return None,
    })
}

/// The decimal of an operand beside a decimal: an integer literal takes the digits it has (a TINYINT those of its type), any other integer those
/// of its type.
pub fn decimal_beside_decimal(value: &Typed) -> Option<(u8, i8)> {
    let literal = match &value.expr {
        Expr::Literal(ScalarValue::Int16(Some(n)), _) => Some(i64::from(*n)),
        Expr::Literal(ScalarValue::Int32(Some(n)), _) => Some(i64::from(*n)),
        Expr::Literal(ScalarValue::Int64(Some(n)), _) => Some(*n),
        _ => None,
    };
    match literal {
        Some(n) => Some((n.unsigned_abs().checked_ilog10().unwrap_or(0) as u8 + 1, 0)),
        None => decimal_for(&value.data_type),
    }
}

/// Casts an argument to the type that a function wants, where Spark does so by itself; `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE`
/// where it does not.
pub fn implicit_cast(value: Typed, to: &DataType, settings: &PlanSettings) -> Result<Typed> {
    if can_cast_implicitly(&value.data_type, to) {
        return cast(value, to, CastMode::Ansi, settings);
    }
    Err(Error::spark(
        ErrorKind::Config,
        "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
        format!("an argument has the type \"{}\" where \"{}\" is needed", sql_name(&value.data_type), sql_name(to)),
    ))
}

/// Whether Spark casts `from` to `to` without being told.
pub fn can_cast_implicitly(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    match (from, to) {
        (a, b) if a == b => true,
        (Null, _) => true,
        (Utf8, to) => is_numeric(to) || matches!(to, Boolean | Date32 | Timestamp(..) | Binary),
        (from, Utf8) => !from.is_nested() && *from != Binary,
        // A number that does not fit the narrower type fails when it is met.
        (from, to) if is_numeric(from) && is_numeric(to) => true,
        (Date32, Timestamp(..)) => true,
        (a, b) if is_interval(a) && is_interval(b) => tightest_type(a, b).is_some(),
        (t, n) if *t == timestamp() && *n == timestamp_ntz() || *t == timestamp_ntz() && *n == timestamp() => true,
        (List(a), List(b)) => can_cast_implicitly(a.data_type(), b.data_type()),
        (Map(a, _), Map(b, _)) => match (map_fields(a), map_fields(b)) {
            (Some((ak, av)), Some((bk, bv))) => {
                can_cast_implicitly(ak.data_type(), bk.data_type()) && can_cast_implicitly(av.data_type(), bv.data_type())
            }
            _ => false,
        },
        (Struct(a), Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| can_cast_implicitly(a.data_type(), b.data_type()))
        }
        _ => false,
    }
}
