//! Values in a form that compares as Spark orders them.
//!
//! Numbers, dates and times become unsigned integers, texts and bytes stay where they are, and whatever else there is (booleans,
//! decimals, nested values) becomes Arrow's rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, DurationMicrosecondType, DurationSecondType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType,
};
use arrow::row::{Row, RowConverter, SortField};

use super::super::native::from_arrow;
use crate::error::Result;

/// Values of one type, to be compared: nulls first, NaN last.
pub(in super::super) struct Rows(Vec<Values>);

enum Values {
    Numbers(Vec<u64>, Option<NullBuffer>),
    Texts(StringArray),
    Bytes(BinaryArray),
    Others(arrow::row::Rows),
}

/// A value that can be compared with others of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) enum Key<'a> {
    /// Before all others.
    Null,
    /// Of a fixed width.
    Number(u64),
    /// A text or binary.
    Bytes(&'a [u8]),
    /// Of any other type.
    Other(Row<'a>),
}

impl Rows {
    /// The columns' values, which all have one type and are [`super::comparable_values`].
    pub(in super::super) fn of(columns: &[&ArrayRef]) -> Result<Self> {
        let Some(first) = columns.first() else { return Ok(Self(Vec::new())) };
        let plain: Option<Vec<Values>> = columns.iter().map(|column| Values::plain(column)).collect();
        if let Some(plain) = plain {
            return Ok(Self(plain));
        }
        let converter = RowConverter::new(vec![SortField::new(first.data_type().clone())]).map_err(from_arrow)?;
        let rows = columns.iter().map(|column| {
            let rows = converter.convert_columns(&[Arc::clone(column)]).map_err(from_arrow)?;
            Ok(Values::Others(rows))
        });
        Ok(Self(rows.collect::<Result<_>>()?))
    }

    /// A column's values, if they are of a fixed width. What stands for a null means nothing.
    pub(in super::super) fn numbers(&self, column: usize) -> Option<&[u64]> {
        match &self.0[column] {
            Values::Numbers(numbers, _) => Some(numbers),
            _ => None,
        }
    }

    /// One value of one of the columns.
    #[inline]
    pub(in super::super) fn row(&self, column: usize, row: usize) -> Key<'_> {
        match &self.0[column] {
            Values::Numbers(_, Some(nulls)) if nulls.is_null(row) => Key::Null,
            Values::Numbers(numbers, _) => Key::Number(numbers[row]),
            Values::Texts(texts) if texts.is_valid(row) => Key::Bytes(texts.value(row).as_bytes()),
            Values::Bytes(bytes) if bytes.is_valid(row) => Key::Bytes(bytes.value(row)),
            Values::Texts(_) | Values::Bytes(_) => Key::Null,
            Values::Others(rows) => Key::Other(rows.row(row)),
        }
    }
}

impl Values {
    /// Values that need no rows of Arrow's.
    fn plain(array: &ArrayRef) -> Option<Self> {
        let numbers = match array.data_type() {
            DataType::Utf8 => return Some(Self::Texts(array.as_string().clone())),
            DataType::Binary => return Some(Self::Bytes(array.as_binary().clone())),
            DataType::Int8 => numbers::<Int8Type>(array, |v| signed(v.into())),
            DataType::Int16 => numbers::<Int16Type>(array, |v| signed(v.into())),
            DataType::Int32 => numbers::<Int32Type>(array, |v| signed(v.into())),
            DataType::Int64 => numbers::<Int64Type>(array, signed),
            DataType::Float32 => numbers::<Float32Type>(array, |v| float(v.into())),
            DataType::Float64 => numbers::<Float64Type>(array, float),
            DataType::Date32 => numbers::<Date32Type>(array, |v| signed(v.into())),
            DataType::Timestamp(TimeUnit::Microsecond, _) => numbers::<TimestampMicrosecondType>(array, signed),
            DataType::Duration(TimeUnit::Microsecond) => numbers::<DurationMicrosecondType>(array, signed),
            DataType::Duration(TimeUnit::Second) => numbers::<DurationSecondType>(array, signed),
            _ => return None,
        };
        Some(Self::Numbers(numbers, array.nulls().cloned()))
    }
}

fn numbers<T: ArrowPrimitiveType>(array: &ArrayRef, number: impl Fn(T::Native) -> u64) -> Vec<u64> {
    array.as_primitive::<T>().values().iter().map(|value| number(*value)).collect()
}

const SIGN: u64 = 1 << 63;

/// In the order of the numbers.
fn signed(value: i64) -> u64 {
    value as u64 ^ SIGN
}

/// In the order of the numbers, NaN behind infinity.
fn float(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int32Array, StringArray};

    use super::*;

    /// Each value is less than the next one, and equal to itself in another column.
    fn rising(array: ArrayRef) {
        let rows = Rows::of(&[&array, &array]).unwrap();
        for row in 1..array.len() {
            assert!(rows.row(0, row - 1) < rows.row(0, row), "{array:?} {row}");
            assert!(rows.row(0, row) == rows.row(1, row), "{array:?} {row}");
        }
    }

    #[test]
    fn nulls_come_first_and_nan_last() {
        rising(Arc::new(Int32Array::from(vec![None, Some(i32::MIN), Some(-1), Some(0), Some(7), Some(i32::MAX)])));
        let doubles = [f64::NEG_INFINITY, -2.5, -f64::MIN_POSITIVE, 0.0, 1e-300, 3.0, f64::INFINITY, f64::NAN];
        rising(Arc::new(doubles.iter().map(|v| Some(*v)).collect::<Float64Array>()));
        rising(Arc::new(StringArray::from(vec![None, Some(""), Some("B"), Some("a"), Some("ab"), Some("ä")])));
        rising(Arc::new(arrow::array::BooleanArray::from(vec![None, Some(false), Some(true)])));
    }
}
