//! Which casts exist, and how each is done.

use arrow::datatypes::{DataType, Fields};

use crate::plan::spark::types::interval::{IntervalRange, is_interval};
use crate::plan::spark::types::map_fields;

/// How a cast is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// Nothing to do.
    Same,
    /// Only nulls are cast.
    Null,
    /// As Arrow does it, which never fails here.
    Arrow,
    /// With a kernel of ours.
    Kernel {
        /// Whether some value does not fit.
        fallible: bool,
    },
    /// There is no such cast; Spark's condition.
    None(&'static str),
}

/// How `from` is cast to `to` under ANSI rules.
pub(super) fn route(from: &DataType, to: &DataType) -> Route {
    use DataType::*;
    match (from, to) {
        (a, b) if a == b => Route::Same,
        (Null, _) => Route::Null,
        (List(a), List(b)) => nested(&[(a.data_type(), b.data_type())]),
        (Map(a, _), Map(b, _)) => match (map_fields(a), map_fields(b)) {
            (Some((ak, av)), Some((bk, bv))) => nested(&[(ak.data_type(), bk.data_type()), (av.data_type(), bv.data_type())]),
            _ => Route::None(WITHOUT_SUGGESTION),
        },
        (Struct(a), Struct(b)) if a.len() == b.len() => nested(&pairs(a, b)),
        (_, Utf8) => kernel(true),
        (from, to) if is_interval(from) || is_interval(to) => with_interval(from, to),
        (Utf8, Interval(_)) => kernel(false),
        (Utf8, Binary) => Route::Arrow,
        (Utf8, to) if is_number(to) || matches!(to, Boolean | Date32 | Timestamp(..)) => kernel(false),
        (Boolean, to) if is_integer(to) || is_float(to) => Route::Arrow,
        (from, Boolean) if is_number(from) => kernel(true),
        (Date32, Timestamp(..)) | (Timestamp(..), Date32 | Timestamp(..)) => kernel(true),
        (Timestamp(_, Some(_)), to) if is_number(to) => kernel(matches!(to, Int64 | Float32 | Float64)),
        (from, Timestamp(_, Some(_))) if is_number(from) => kernel(false),
        (from, to) if (is_number(from) || *from == Boolean) && is_number(to) => between_numbers(from, to),
        (from, Binary) if is_integer(from) => Route::None(WITH_CONF),
        (Boolean, Timestamp(_, Some(_))) | (Timestamp(_, Some(_)), Boolean) | (Date32, Boolean) => Route::None(WITH_CONF),
        (from, Date32) | (Date32, from) if is_number(from) => Route::None(WITH_FUNC),
        _ => Route::None(WITHOUT_SUGGESTION),
    }
}

/// Intervals of one kind become each other; numbers count their smallest unit.
fn with_interval(from: &DataType, to: &DataType) -> Route {
    let is_count = |t: &DataType| is_integer(t) || matches!(t, DataType::Decimal128(..));
    match (IntervalRange::of(from), IntervalRange::of(to)) {
        (Some(a), Some(b)) if a.is_months() == b.is_months() => kernel(true),
        (None, Some(_)) if *from == DataType::Utf8 => kernel(false),
        (None, Some(_)) if is_count(from) => kernel(false),
        (Some(_), None) if is_count(to) => kernel(false),
        _ => Route::None(WITHOUT_SUGGESTION),
    }
}

fn kernel(sure: bool) -> Route {
    Route::Kernel { fallible: !sure }
}

/// Whether TRY_CAST might make a null of a map's key, which no map may have.
pub(super) fn makes_null_keys(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::List(a), DataType::List(b)) => makes_null_keys(a.data_type(), b.data_type()),
        (DataType::Map(a, _), DataType::Map(b, _)) => match (map_fields(a), map_fields(b)) {
            (Some((ak, av)), Some((bk, bv))) => {
                matches!(route(ak.data_type(), bk.data_type()), Route::Kernel { fallible: true })
                    || makes_null_keys(av.data_type(), bv.data_type())
            }
            _ => false,
        },
        (DataType::Struct(a), DataType::Struct(b)) => a.iter().zip(b).any(|(a, b)| makes_null_keys(a.data_type(), b.data_type())),
        _ => false,
    }
}

/// Numbers (and booleans as decimals): whether every value of one fits the other.
fn between_numbers(from: &DataType, to: &DataType) -> Route {
    use DataType::*;
    let whole = |precision: &u8, scale: &i8| i16::from(*precision) - i16::from(*scale);
    match (from, to) {
        (from, to) if is_integer(from) && is_integer(to) && width(from) <= width(to) => Route::Arrow,
        (from, Float32 | Float64) if is_integer(from) || is_float(from) => Route::Arrow,
        (Boolean, Decimal128(p, s)) => kernel(whole(p, s) >= 1),
        (from, Decimal128(p, s)) if is_integer(from) => kernel(whole(p, s) >= digits(from)),
        // Fewer digits behind the point may round up to one more before it.
        (Decimal128(p1, s1), Decimal128(p2, s2)) => kernel(whole(p2, s2) >= whole(p1, s1) + i16::from(s2 < s1)),
        (Decimal128(..), Float32 | Float64) => kernel(true),
        (Decimal128(p, s), _) => kernel(whole(p, s) < digits(to)),
        _ => kernel(false),
    }
}

pub(super) const WITHOUT_SUGGESTION: &str = "DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION";
pub(super) const WITH_CONF: &str = "DATATYPE_MISMATCH.CAST_WITH_CONF_SUGGESTION";
const WITH_FUNC: &str = "DATATYPE_MISMATCH.CAST_WITH_FUNC_SUGGESTION";

fn pairs<'a>(a: &'a Fields, b: &'a Fields) -> Vec<(&'a DataType, &'a DataType)> {
    a.iter().zip(b).map(|(a, b)| (a.data_type(), b.data_type())).collect()
}

/// A nested cast exists if all of its parts do, and can fail if one of them can.
fn nested(parts: &[(&DataType, &DataType)]) -> Route {
    let mut fallible = false;
    for (from, to) in parts {
        match route(from, to) {
            Route::None(_) => return Route::None(WITHOUT_SUGGESTION),
            Route::Kernel { fallible: part } => fallible |= part,
            Route::Same | Route::Null | Route::Arrow => {}
        }
    }
    Route::Kernel { fallible }
}

pub(super) fn is_integer(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64)
}

fn is_float(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float32 | DataType::Float64)
}

fn is_number(data_type: &DataType) -> bool {
    is_integer(data_type) || is_float(data_type) || matches!(data_type, DataType::Decimal128(..))
}

fn width(data_type: &DataType) -> usize {
    data_type.primitive_width().unwrap_or(0)
}

/// How many decimal digits the integers of a type have at most.
fn digits(data_type: &DataType) -> i16 {
    match data_type {
        DataType::Int8 => 3,
        DataType::Int16 => 5,
        DataType::Int32 => 10,
        _ => 19,
    }
}
