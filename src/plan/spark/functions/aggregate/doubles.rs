//! Values as doubles and back, for aggregates that compute with doubles whatever they are given: dates and times as the days or
//! microseconds since 1970 that they are, intervals as their months or microseconds.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, DurationMicrosecondType, DurationSecondType, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalUnit, IntervalYearMonthType, TimeUnit,
    TimestampMicrosecondType,
};

use super::super::arguments::array_of;
use super::super::collection::{end_of, list_of};
use super::super::native::from_arrow;
use super::fold::typed;
use crate::error::{Error, Result};

const MICROSECONDS: f64 = 1_000_000.0;

/// The column's values as doubles.
pub(super) fn doubles(column: &ArrayRef) -> Result<Float64Array> {
    let whole = |column: &ArrayRef, as_type: DataType| cast(&cast(column, &as_type)?, &DataType::Float64);
    let doubles = match column.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            let months: ArrayRef = Arc::new(column.as_primitive::<IntervalYearMonthType>().reinterpret_cast::<Int32Type>());
            cast(&months, &DataType::Float64)
        }
        DataType::Date32 => whole(column, DataType::Int32),
        DataType::Timestamp(..) | DataType::Duration(TimeUnit::Microsecond) => whole(column, DataType::Int64),
        DataType::Duration(_) => {
            cast(column, &DataType::Duration(TimeUnit::Microsecond)).and_then(|c| whole(&c, DataType::Int64))
        }
        _ => cast(column, &DataType::Float64),
    };
    Ok(typed::<Float64Array>(&doubles.map_err(from_arrow)?)?.clone())
}

/// A column of `to` from values as doubles.
pub(super) fn from_doubles(values: impl Iterator<Item = Option<f64>>, to: &DataType) -> Result<ArrayRef> {
    fn column<T: ArrowPrimitiveType>(
        values: impl Iterator<Item = Option<f64>>,
        to: &DataType,
        of: impl Fn(f64) -> T::Native,
    ) -> ArrayRef {
        let column: PrimitiveArray<T> = values.map(|value| value.map(&of)).collect();
        Arc::new(column.with_data_type(to.clone()))
    }
    Ok(match to {
        DataType::Int8 => column::<Int8Type>(values, to, |v| v as i8),
        DataType::Int16 => column::<Int16Type>(values, to, |v| v as i16),
        DataType::Int32 => column::<Int32Type>(values, to, |v| v as i32),
        DataType::Int64 => column::<Int64Type>(values, to, |v| v as i64),
        DataType::Float32 => column::<Float32Type>(values, to, |v| v as f32),
        DataType::Float64 => column::<Float64Type>(values, to, |v| v),
        DataType::Decimal128(_, scale) => column::<Decimal128Type>(values, to, |v| unscaled(v, *scale)),
        DataType::Date32 => column::<Date32Type>(values, to, |v| v as i32),
        DataType::Timestamp(..) => column::<TimestampMicrosecondType>(values, to, |v| v as i64),
        DataType::Duration(TimeUnit::Microsecond) => column::<DurationMicrosecondType>(values, to, |v| v as i64),
        DataType::Duration(_) => column::<DurationSecondType>(values, to, |v| (v / MICROSECONDS) as i64),
        DataType::Interval(_) => column::<IntervalYearMonthType>(values, to, |v| v as i32),
        other => return Err(Error::internal(format!("{other} has no values that are doubles"))),
    })
}

/// The decimal of the digits that the double is shown with, which is the one it was made from.
fn unscaled(value: f64, scale: i8) -> i128 {
    let text = format!("{value:.*}", usize::from(scale.unsigned_abs()));
    let exact = value * 10_f64.powi(i32::from(scale));
    if exact.abs() < 9e15 {
        return exact.round() as i128;
    }
    text.replace('.', "").parse().unwrap_or(exact as i128)
}

/// A list per cell.
pub(super) fn lists<'c, T: ArrowPrimitiveType, I>(cells: impl Iterator<Item = I>) -> Result<ArrayRef>
where
    I: Iterator<Item = T::Native> + 'c,
{
    let (mut items, mut lengths) = (Vec::new(), Vec::new());
    for cell in cells {
        let before = items.len();
        items.extend(cell);
        lengths.push(items.len() - before);
    }
    let offsets = offsets(lengths.into_iter())?;
    let items: ArrayRef = Arc::new(PrimitiveArray::<T>::from_iter_values(items));
    list_of(&array_of(T::DATA_TYPE), offsets, items, None)
}

/// The lists' items as numbers.
pub(super) fn items<T: ArrowPrimitiveType>(lists: &ListArray) -> Result<&PrimitiveArray<T>> {
    typed::<PrimitiveArray<T>>(lists.values())
}

/// Where the items of a row are.
pub(super) fn span(lists: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = lists.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

/// Offsets of lists of these lengths.
pub(super) fn offsets(lengths: impl Iterator<Item = usize>) -> Result<Vec<i32>> {
    let (mut offsets, mut total) = (vec![0_i32], 0_usize);
    for length in lengths {
        total += length;
        offsets.push(end_of(total)?);
    }
    Ok(offsets)
}
