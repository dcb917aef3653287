//! Rows as JSON text, by the rules of Spark's `to_json`.
//!
//! Fields that are null are left out of objects, but null items of arrays and null values of maps stay. Numbers read as Java writes
//! them; what JSON has no number for (`NaN`, the infinities) is a string, as are dates, timestamps, intervals and binary values.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, StringBuilder};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Fields, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::text::{Beyond, write_escaped};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::format::datetime::{Zone, write_date, write_timestamp, write_timestamp_ntz};
use crate::format::number::{write_decimal, write_double, write_float};
use crate::format::times::{self, Times, WriteTime};
use crate::plan::spark::cast::interval::values as interval_values;
use crate::plan::spark::types::interval::IntervalRange;

/// How values are written.
#[derive(Debug, Clone)]
pub struct WriteOptions<'a> {
    /// The zone in which timestamps show their offset.
    pub time_zone: &'a str,
    /// Whether null fields are left out of objects.
    pub ignore_null_fields: bool,
    /// How times are written, where that is not the usual way.
    pub times: Times<WriteTime>,
}

impl Default for WriteOptions<'_> {
    fn default() -> Self {
        Self { time_zone: "UTC", ignore_null_fields: true, times: Times::default() }
    }
}

/// Appends each row as one line: a JSON object of its columns and a line end. A type that JSON cannot hold is a `Config` error.
pub fn write_rows(rows: &RecordBatch, time_zone: &str, out: &mut Vec<u8>) -> Result<()> {
    let writer = Writer::new(&WriteOptions { time_zone, ..WriteOptions::default() })?;
    let object = writer.object(rows.schema().fields(), rows.columns())?;
    for row in 0..rows.num_rows() {
        writer.write_object(&object, row, out);
        out.push(b'\n');
    }
    Ok(())
}

/// Appends one value of `array`; `null` if it is null.
pub fn write_value(array: &dyn Array, row: usize, options: &WriteOptions<'_>, out: &mut Vec<u8>) -> Result<()> {
    let writer = Writer::new(options)?;
    writer.write(&writer.value(array)?, row, out);
    Ok(())
}

/// Spark's `to_json` of a column of STRUCTs, ARRAYs or MAPs (`DATATYPE_MISMATCH.INVALID_JSON_SCHEMA` otherwise); null stays null.
pub fn to_json(array: &ArrayRef, options: &WriteOptions<'_>) -> Result<StringArray> {
    if !matches!(array.data_type(), DataType::Struct(_) | DataType::List(_) | DataType::Map(..)) {
        let message = format!("to_json takes a STRUCT, an ARRAY or a MAP, not {}", array.data_type());
        return Err(Error::spark(ErrorKind::Config, "DATATYPE_MISMATCH.INVALID_JSON_SCHEMA", message));
    }
    let writer = Writer::new(options)?;
    let value = writer.value(array.as_ref())?;
    let mut texts = StringBuilder::new();
    let mut text = Vec::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        writer.write(&value, row, &mut text);
        texts.append_value(std::str::from_utf8(&text).attempting(ErrorKind::Internal, || "write JSON".to_owned())?);
    }
    Ok(texts.finish())
}

/// Writes values.
pub(in crate::format) struct Writer {
    zone: Zone,
    ignore_null_fields: bool,
    times: Times<WriteTime>,
}

/// A column whose type is known.
pub(in crate::format) struct Value<'a> {
    array: &'a dyn Array,
    nulls: Option<&'a NullBuffer>,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Null,
    Boolean,
    Int8(&'a [i8]),
    Int16(&'a [i16]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Decimal(&'a [i128], i8),
    Date(&'a [i32]),
    Timestamp(&'a [i64]),
    TimestampNtz(&'a [i64]),
    Interval(Int64Array, IntervalRange),
    String(&'a StringArray),
    StringView,
    LargeString,
    Binary,
    BinaryView,
    Struct(Vec<Member<'a>>),
    List(&'a OffsetBuffer<i32>, Box<Value<'a>>),
    Map(&'a OffsetBuffer<i32>, Box<(Value<'a>, Value<'a>)>),
}

struct Member<'a> {
    /// The key as it stands in the text behind another: `,"name":`.
    key: Vec<u8>,
    value: Value<'a>,
}

impl Writer {
    pub(in crate::format) fn new(options: &WriteOptions<'_>) -> Result<Self> {
        Ok(Self {
            zone: crate::format::zone(options.time_zone)?,
            ignore_null_fields: options.ignore_null_fields,
            times: options.times.clone(),
        })
    }

    fn object<'a>(&self, fields: &Fields, columns: &'a [ArrayRef]) -> Result<Vec<Member<'a>>> {
        let members = fields.iter().zip(columns).map(|(field, column)| {
            let mut key = b",\"".to_vec();
            write_escaped(field.name().as_bytes(), Beyond::Plain, &mut key);
            key.extend_from_slice(b"\":");
            Ok(Member { key, value: self.value(column.as_ref())? })
        });
        members.collect()
    }

    /// Looks at a column's type once, for all its values.
    pub(in crate::format) fn value<'a>(&self, array: &'a dyn Array) -> Result<Value<'a>> {
        let kind = match array.data_type() {
            DataType::Null => Kind::Null,
            DataType::Boolean => Kind::Boolean,
            DataType::Int8 => Kind::Int8(array.as_primitive::<Int8Type>().values()),
            DataType::Int16 => Kind::Int16(array.as_primitive::<Int16Type>().values()),
            DataType::Int32 => Kind::Int32(array.as_primitive::<Int32Type>().values()),
            DataType::Int64 => Kind::Int64(array.as_primitive::<Int64Type>().values()),
            DataType::Float32 => Kind::Float32(array.as_primitive::<Float32Type>().values()),
            DataType::Float64 => Kind::Float64(array.as_primitive::<Float64Type>().values()),
            DataType::Decimal128(_, scale) => Kind::Decimal(array.as_primitive::<Decimal128Type>().values(), *scale),
            DataType::Date32 => Kind::Date(array.as_primitive::<Date32Type>().values()),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                let values = array.as_primitive::<TimestampMicrosecondType>().values();
                if zone.is_some() { Kind::Timestamp(values) } else { Kind::TimestampNtz(values) }
            }
            DataType::Utf8 => Kind::String(array.as_string()),
            DataType::Utf8View => Kind::StringView,
            DataType::LargeUtf8 => Kind::LargeString,
            DataType::Binary => Kind::Binary,
            DataType::BinaryView => Kind::BinaryView,
            DataType::Struct(fields) => Kind::Struct(self.object(fields, array.as_struct().columns())?),
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Kind::List(list.offsets(), Box::new(self.value(list.values().as_ref())?))
            }
            DataType::Map(..) => {
                let map = array.as_map();
                let entries = (self.value(map.keys().as_ref())?, self.value(map.values().as_ref())?);
                Kind::Map(map.offsets(), Box::new(entries))
            }
            other => match IntervalRange::of(other) {
                Some(range) => Kind::Interval(interval_values(array)?, range),
                None => return Err(Error::config(format!("values of type {other} cannot be written as text"))),
            },
        };
        Ok(Value { array, nulls: array.nulls(), kind })
    }

    fn write_object(&self, members: &[Member<'_>], row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut first = true;
        for member in members {
            let is_null = member.value.is_null(row);
            if self.ignore_null_fields && is_null {
                continue;
            }
            out.extend_from_slice(&member.key[usize::from(std::mem::take(&mut first))..]);
            if is_null {
                out.extend_from_slice(b"null");
            } else {
                self.write_some(&member.value, row, out);
            }
        }
        out.push(b'}');
    }

    fn write(&self, value: &Value<'_>, row: usize, out: &mut Vec<u8>) {
        if value.is_null(row) {
            return out.extend_from_slice(b"null");
        }
        self.write_some(value, row, out);
    }

    /// A value that is not null.
    fn write_some(&self, value: &Value<'_>, row: usize, out: &mut Vec<u8>) {
        match &value.kind {
            Kind::Null => out.extend_from_slice(b"null"),
            Kind::Boolean => out.extend_from_slice(if value.array.as_boolean().value(row) { b"true" } else { b"false" }),
            Kind::Int8(values) => write_integer(values[row].into(), out),
            Kind::Int16(values) => write_integer(values[row].into(), out),
            Kind::Int32(values) => write_integer(values[row].into(), out),
            Kind::Int64(values) => write_integer(values[row], out),
            Kind::Float32(values) => quoted_if(!values[row].is_finite(), out, |out| write_float(values[row], out)),
            Kind::Float64(values) => quoted_if(!values[row].is_finite(), out, |out| write_double(values[row], out)),
            Kind::Decimal(values, scale) => write_decimal(values[row], *scale, out),
            Kind::Date(values) => quoted_if(true, out, |out| {
                times::write(self.times.date.as_ref(), values[row].into(), out, |out| write_date(values[row], out));
            }),
            Kind::Timestamp(values) => quoted_if(true, out, |out| {
                times::write(self.times.timestamp.as_ref(), values[row], out, |out| {
                    write_timestamp(values[row], &self.zone, out)
                });
            }),
            Kind::TimestampNtz(values) => quoted_if(true, out, |out| {
                times::write(self.times.timestamp_ntz.as_ref(), values[row], out, |out| write_timestamp_ntz(values[row], out));
            }),
            Kind::Interval(values, range) => quoted_if(true, out, |out| {
                let mut text = String::new();
                // Writing to a text does not fail.
                let _ = range.write(&mut text, values.value(row));
                out.extend_from_slice(text.as_bytes());
            }),
            Kind::String(texts) => write_string(texts.value(row), out),
            Kind::StringView => write_string(value.array.as_string_view().value(row), out),
            Kind::LargeString => write_string(value.array.as_string::<i64>().value(row), out),
            Kind::Binary => write_base64(value.array.as_binary::<i32>().value(row), out),
            Kind::BinaryView => write_base64(value.array.as_binary_view().value(row), out),
            Kind::Struct(members) => self.write_object(members, row, out),
            Kind::List(offsets, items) => {
                out.push(b'[');
                for (nth, at) in (offsets[row] as usize..offsets[row + 1] as usize).enumerate() {
                    if nth > 0 {
                        out.push(b',');
                    }
                    self.write(items, at, out);
                }
                out.push(b']');
            }
            Kind::Map(offsets, entries) => {
                out.push(b'{');
                for (nth, at) in (offsets[row] as usize..offsets[row + 1] as usize).enumerate() {
                    if nth > 0 {
                        out.push(b',');
                    }
                    self.write_key(&entries.0, at, out);
                    out.push(b':');
                    self.write(&entries.1, at, out);
                }
                out.push(b'}');
            }
        }
    }

    /// A value as plain text, without quotes: what CSV shows.
    pub(in crate::format) fn write_plain(&self, value: &Value<'_>, row: usize, out: &mut Vec<u8>) {
        let bytes = match &value.kind {
            Kind::String(texts) => return out.extend_from_slice(texts.value(row).as_bytes()),
            Kind::StringView => return out.extend_from_slice(value.array.as_string_view().value(row).as_bytes()),
            Kind::LargeString => return out.extend_from_slice(value.array.as_string::<i64>().value(row).as_bytes()),
            Kind::Binary => value.array.as_binary::<i32>().value(row),
            Kind::BinaryView => value.array.as_binary_view().value(row),
            _ => {
                let start = out.len();
                self.write(value, row, out);
                if out[start] == b'"' {
                    out.remove(start);
                    out.pop();
                }
                return;
            }
        };
        let digits: Vec<String> = bytes.iter().map(|b| format!("{b:02X}")).collect();
        out.extend_from_slice(format!("[{}]", digits.join(" ")).as_bytes());
    }

    /// A map's key: always a string, times by their number as in Spark.
    fn write_key(&self, key: &Value<'_>, row: usize, out: &mut Vec<u8>) {
        match &key.kind {
            Kind::Date(values) => quoted_if(true, out, |out| write_integer(values[row].into(), out)),
            Kind::Interval(values, _) => quoted_if(true, out, |out| write_integer(values.value(row), out)),
            Kind::Timestamp(values) | Kind::TimestampNtz(values) => quoted_if(true, out, |out| write_integer(values[row], out)),
            Kind::String(_) | Kind::StringView | Kind::LargeString => self.write(key, row, out),
            _ => {
                let mut text = Vec::new();
                self.write_plain(key, row, &mut text);
                quoted_if(true, out, |out| write_escaped(&text, Beyond::Plain, out));
            }
        }
    }
}

impl Value<'_> {
    pub(in crate::format) fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row)) || matches!(self.kind, Kind::Null)
    }
}

fn quoted_if(quoted: bool, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if quoted {
        out.push(b'"');
    }
    write(out);
    if quoted {
        out.push(b'"');
    }
}

fn write_integer(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(lexical_core::write(value, &mut [0; 24]));
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    quoted_if(true, out, |out| write_escaped(text.as_bytes(), Beyond::Plain, out));
}

fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    quoted_if(true, out, |out| {
        let start = out.len();
        out.resize(start + bytes.len().div_ceil(3) * 4, 0);
        let written = STANDARD.encode_slice(bytes, &mut out[start..]).expect("four characters for three bytes");
        out.truncate(start + written);
    });
}
