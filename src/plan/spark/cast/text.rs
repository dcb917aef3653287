//! Values → text, as Spark's cast to STRING writes them.

use std::fmt::{self, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, MapArray, StringBuilder, StructArray};
use arrow::array::{BinaryArray, BooleanArray, Decimal128Array, Int64Array, ListArray, PrimitiveArray, StringArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, IntervalUnit, TimeUnit, TimestampMicrosecondType,
};

use lexical_core::FormattedSize;

use super::interval;
use super::time::{Clock, Zone, write_date, write_timestamp};
use crate::error::{Error, Result};
use crate::format::number::{double_text, float_text};
use crate::plan::spark::column_size::within_column;
use crate::plan::spark::types::interval::IntervalRange;
use crate::plan::spark::types::spark_name;

/// The text of every value; null stays null.
pub(super) fn to_text(array: &ArrayRef, zone: Zone) -> Result<ArrayRef> {
    to_text_with(array, zone, "null")
}

/// As a cast to STRING, with another text for the nulls inside of arrays, maps and structs.
pub(in crate::plan::spark) fn to_text_with(array: &ArrayRef, zone: Zone, null: &str) -> Result<ArrayRef> {
    let writer = Writer::new(array.as_ref(), zone)?;
    let mut builder = StringBuilder::with_capacity(array.len(), array.len() * 8);
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_null();
        } else {
            writer.write(&mut builder, row, null).map_err(|e| Error::internal("could not write a value as text").because(e))?;
            within_column(builder.values_slice().len())?;
            builder.append_value("");
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// Writes the elements of one array.
enum Writer<'a> {
    Null,
    Boolean(&'a BooleanArray),
    Int8(&'a PrimitiveArray<Int8Type>),
    Int16(&'a PrimitiveArray<Int16Type>),
    Int32(&'a PrimitiveArray<Int32Type>),
    Int64(&'a PrimitiveArray<Int64Type>),
    Float32(&'a PrimitiveArray<Float32Type>),
    Float64(&'a PrimitiveArray<Float64Type>),
    Decimal(&'a Decimal128Array, i8),
    Text(&'a StringArray),
    Binary(&'a BinaryArray),
    Date(&'a PrimitiveArray<Date32Type>),
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>, Option<Zone>),
    Interval(Int64Array, IntervalRange),
    Calendar(&'a PrimitiveArray<IntervalMonthDayNanoType>),
    List(&'a ListArray, Box<Writer<'a>>),
    Map(&'a MapArray, Box<Writer<'a>>, Box<Writer<'a>>),
    Struct(&'a StructArray, Vec<Writer<'a>>),
}

impl<'a> Writer<'a> {
    fn new(array: &'a dyn Array, zone: Zone) -> Result<Self> {
        if let Some(range) = IntervalRange::of(array.data_type()) {
            return Ok(Writer::Interval(interval::values(array)?, range));
        }
        Ok(match array.data_type() {
            DataType::Null => Writer::Null,
            DataType::Boolean => Writer::Boolean(array.as_boolean()),
            DataType::Int8 => Writer::Int8(array.as_primitive()),
            DataType::Int16 => Writer::Int16(array.as_primitive()),
            DataType::Int32 => Writer::Int32(array.as_primitive()),
            DataType::Int64 => Writer::Int64(array.as_primitive()),
            DataType::Float32 => Writer::Float32(array.as_primitive()),
            DataType::Float64 => Writer::Float64(array.as_primitive()),
            DataType::Decimal128(_, scale) => Writer::Decimal(array.as_primitive::<Decimal128Type>(), *scale),
            DataType::Utf8 => Writer::Text(array.as_string()),
            DataType::Binary => Writer::Binary(array.as_binary()),
            DataType::Date32 => Writer::Date(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, local) => {
                Writer::Timestamp(array.as_primitive(), local.is_some().then_some(zone))
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => Writer::Calendar(array.as_primitive()),
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Writer::List(list, Box::new(Writer::new(list.values().as_ref(), zone)?))
            }
            DataType::Map(..) => {
                let map = array.as_map();
                let key = Writer::new(map.keys().as_ref(), zone)?;
                Writer::Map(map, Box::new(key), Box::new(Writer::new(map.values().as_ref(), zone)?))
            }
            DataType::Struct(_) => {
                let fields = array.as_struct();
                let writers = fields.columns().iter().map(|c| Writer::new(c.as_ref(), zone)).collect::<Result<_>>()?;
                Writer::Struct(fields, writers)
            }
            other => return Err(Error::internal(format!("no text for values of type {}", spark_name(other)))),
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Writer::Null => true,
            Writer::Boolean(a) => a.is_null(row),
            Writer::Int8(a) => a.is_null(row),
            Writer::Int16(a) => a.is_null(row),
            Writer::Int32(a) => a.is_null(row),
            Writer::Int64(a) => a.is_null(row),
            Writer::Float32(a) => a.is_null(row),
            Writer::Float64(a) => a.is_null(row),
            Writer::Decimal(a, _) => a.is_null(row),
            Writer::Text(a) => a.is_null(row),
            Writer::Binary(a) => a.is_null(row),
            Writer::Date(a) => a.is_null(row),
            Writer::Timestamp(a, _) => a.is_null(row),
            Writer::Interval(a, _) => a.is_null(row),
            Writer::Calendar(a) => a.is_null(row),
            Writer::List(a, _) => a.is_null(row),
            Writer::Map(a, ..) => a.is_null(row),
            Writer::Struct(a, _) => a.is_null(row),
        }
    }

    /// What follows `before`, behind a space if there is anything before it and anything to write.
    fn write_item(&self, before: &str, out: &mut impl Write, row: usize, null: &str) -> fmt::Result {
        out.write_str(before)?;
        let is_null = self.is_null(row);
        let nothing = is_null && null.is_empty();
        if !(before.is_empty() || nothing) {
            out.write_char(' ')?;
        }
        if is_null { out.write_str(null) } else { self.write(out, row, null) }
    }

    fn write(&self, out: &mut impl Write, row: usize, null: &str) -> fmt::Result {
        match self {
            Writer::Null => out.write_str(null),
            Writer::Boolean(a) => out.write_str(if a.value(row) { "true" } else { "false" }),
            Writer::Int8(a) => write_integer(out, a.value(row).into()),
            Writer::Int16(a) => write_integer(out, a.value(row).into()),
            Writer::Int32(a) => write_integer(out, a.value(row).into()),
            Writer::Int64(a) => write_integer(out, a.value(row)),
            Writer::Float32(a) => out.write_str(&float_text(a.value(row))),
            Writer::Float64(a) => out.write_str(&double_text(a.value(row))),
            Writer::Decimal(a, scale) => write_decimal(out, a.value(row), *scale),
            Writer::Text(a) => out.write_str(a.value(row)),
            Writer::Binary(a) => a.value(row).utf8_chunks().try_for_each(|chunk| {
                out.write_str(chunk.valid())?;
                if chunk.invalid().is_empty() { Ok(()) } else { out.write_char(char::REPLACEMENT_CHARACTER) }
            }),
            Writer::Date(a) => write_date(out, i64::from(a.value(row))),
            Writer::Timestamp(a, zone) => {
                let instant = a.value(row);
                write_timestamp(out, Clock::at(instant, zone.map_or(0, |z| z.offset_at(instant))))
            }
            Writer::Interval(a, range) => range.write(out, a.value(row)),
            Writer::Calendar(a) => interval::write_calendar(out, a.value(row)),
            Writer::List(a, items) => {
                let offsets = a.value_offsets();
                out.write_char('[')?;
                for i in offsets[row]..offsets[row + 1] {
                    items.write_item(if i > offsets[row] { "," } else { "" }, out, i as usize, null)?;
                }
                out.write_char(']')
            }
            Writer::Map(a, keys, values) => {
                let offsets = a.value_offsets();
                out.write_char('{')?;
                for i in offsets[row]..offsets[row + 1] {
                    keys.write_item(if i > offsets[row] { "," } else { "" }, out, i as usize, null)?;
                    values.write_item(" ->", out, i as usize, null)?;
                }
                out.write_char('}')
            }
            Writer::Struct(_, fields) => {
                out.write_char('{')?;
                for (i, field) in fields.iter().enumerate() {
                    field.write_item(if i > 0 { "," } else { "" }, out, row, null)?;
                }
                out.write_char('}')
            }
        }
    }
}

/// Writes a whole number.
fn write_integer(out: &mut impl Write, value: i64) -> fmt::Result {
    let mut digits = [0; i64::FORMATTED_SIZE];
    // Digits are ASCII.
    out.write_str(std::str::from_utf8(lexical_core::write(value, &mut digits)).map_err(|_| fmt::Error)?)
}

/// Writes all digits of the scale, never an exponent.
pub fn write_decimal(out: &mut impl Write, unscaled: i128, scale: i8) -> fmt::Result {
    if scale <= 0 {
        return write!(out, "{unscaled}");
    }
    let width = usize::from(scale.unsigned_abs());
    if let Ok(mut rest) = u64::try_from(unscaled.unsigned_abs()) {
        // From the last digit to the first, with at least one before the point.
        let mut text = [b'0'; DECIMAL_BYTES];
        let mut at = DECIMAL_BYTES;
        let mut put = |byte: u8| {
            at -= 1;
            text[at] = byte;
        };
        for _ in 0..width {
            put(b'0' + (rest % 10) as u8);
            rest /= 10;
        }
        put(b'.');
        loop {
            put(b'0' + (rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if unscaled < 0 {
            put(b'-');
        }
        return out.write_str(std::str::from_utf8(&text[at..]).map_err(|_| fmt::Error)?);
    }
    let power = 10_u128.pow(u32::from(scale.unsigned_abs()));
    let digits = unscaled.unsigned_abs();
    let sign = if unscaled < 0 { "-" } else { "" };
    write!(out, "{sign}{}.{:0width$}", digits / power, digits % power)
}

/// A decimal of 38 digits behind the point, twenty before it, the point and the sign.
const DECIMAL_BYTES: usize = 38 + 20 + 2;
