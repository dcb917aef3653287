//! Growing columns that a decoder writes values into, and takes back what turns out to belong to a malformed row.
//!
//! They hold plain vectors in Arrow's layout, so that a finished batch needs no copy of its values.

mod block;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Date32Array, Decimal128Array, ListArray, MapArray, PrimitiveArray,
    StringArray, StructArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};

use crate::error::{Attempt, Error, ErrorKind, Result};

pub(super) use block::{BLOCK_ROWS, BlockValues, bits, first, span};

/// One column in the making.
#[derive(Debug)]
pub(super) struct Column {
    /// The values; whoever pushes one must call [`Column::pushed`] next.
    pub(super) data: Data,
    len: usize,
    /// One bit per value, from the first null on.
    validity: Option<BooleanBufferBuilder>,
    /// What messages call the type: `INT`.
    pub(super) type_name: Arc<str>,
}

/// A column's values.
#[derive(Debug)]
pub(super) enum Data {
    /// BOOLEAN.
    Boolean(Vec<bool>),
    /// TINYINT.
    Int8(Vec<i8>),
    /// SMALLINT.
    Int16(Vec<i16>),
    /// INT.
    Int32(Vec<i32>),
    /// BIGINT.
    Int64(Vec<i64>),
    /// FLOAT.
    Float32(Vec<f32>),
    /// DOUBLE.
    Float64(Vec<f64>),
    /// DATE, in days since 1970.
    Date(Vec<i32>),
    /// TIMESTAMP, in microseconds since 1970, with its zone for Arrow.
    Timestamp(Vec<i64>, Arc<str>),
    /// TIMESTAMP_NTZ, in microseconds.
    TimestampNtz(Vec<i64>),
    /// DECIMAL: unscaled values, precision, scale.
    Decimal(Vec<i128>, u8, i8),
    /// STRING, always UTF-8.
    String(Bytes),
    /// BINARY.
    Binary(Bytes),
    /// STRUCT: its fields' columns, each as long as this one.
    Struct(Vec<Column>, Fields),
    /// ARRAY: where each value's items end, and the items.
    List(Vec<i32>, Box<Column>, FieldRef),
    /// MAP: where each value's entries end, keys, values.
    Map(Vec<i32>, Box<(Column, Column)>, FieldRef),
}

/// Values of varying length, one after the other.
#[derive(Debug)]
pub(super) struct Bytes {
    /// All the bytes.
    pub(super) bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Bytes {
    fn new() -> Self {
        Self { bytes: Vec::new(), offsets: vec![0] }
    }

    /// Ends the value that was appended to `bytes`; `false`, without it, if the column cannot hold as much.
    pub(super) fn end_value(&mut self) -> bool {
        let start = self.offsets[self.offsets.len() - 1];
        match i32::try_from(self.bytes.len()) {
            Ok(end) => {
                self.offsets.push(end);
                true
            }
            Err(_) => {
                self.bytes.truncate(start as usize);
                false
            }
        }
    }

    /// Drops what was appended since the last value's end.
    pub(super) fn abandon_value(&mut self) {
        self.bytes.truncate(self.offsets[self.offsets.len() - 1] as usize);
    }

    fn remove(&mut self, start: usize, end: usize) {
        let (from, to) = remove_offsets(&mut self.offsets, start, end);
        self.bytes.drain(from..to);
    }

    fn take(&mut self) -> Self {
        let taken = Self { bytes: std::mem::take(&mut self.bytes), offsets: std::mem::take(&mut self.offsets) };
        self.bytes.reserve(taken.bytes.len());
        self.offsets.reserve(taken.offsets.len());
        self.offsets.push(0);
        taken
    }
}

/// Takes the values `start..end` out of `offsets`; returns the range of what they pointed to.
fn remove_offsets(offsets: &mut Vec<i32>, start: usize, end: usize) -> (usize, usize) {
    let (from, to) = (offsets[start], offsets[end]);
    offsets.drain(start + 1..=end);
    for offset in &mut offsets[start + 1..] {
        *offset -= to - from;
    }
    (from as usize, to as usize)
}

impl Column {
    /// An empty column. A type that no line can hold is [`ErrorKind::Config`].
    pub(super) fn new(data_type: &DataType) -> Result<Self> {
        let data = match data_type {
            DataType::Boolean => Data::Boolean(Vec::new()),
            DataType::Int8 => Data::Int8(Vec::new()),
            DataType::Int16 => Data::Int16(Vec::new()),
            DataType::Int32 => Data::Int32(Vec::new()),
            DataType::Int64 => Data::Int64(Vec::new()),
            DataType::Float32 => Data::Float32(Vec::new()),
            DataType::Float64 => Data::Float64(Vec::new()),
            DataType::Date32 => Data::Date(Vec::new()),
            DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) => Data::Timestamp(Vec::new(), Arc::clone(zone)),
            DataType::Timestamp(TimeUnit::Microsecond, None) => Data::TimestampNtz(Vec::new()),
            DataType::Decimal128(precision, scale) => Data::Decimal(Vec::new(), *precision, *scale),
            DataType::Utf8 => Data::String(Bytes::new()),
            DataType::Binary => Data::Binary(Bytes::new()),
            DataType::Struct(fields) => {
                let columns = fields.iter().map(|f| Self::new(f.data_type())).collect::<Result<Vec<_>>>()?;
                Data::Struct(columns, fields.iter().map(nullable_field).collect())
            }
            DataType::List(item) => Data::List(vec![0], Box::new(Self::new(item.data_type())?), nullable_field(item)),
            DataType::Map(entries, _) => map(entries)?,
            other => {
                return Err(Error::spark(
                    ErrorKind::Config,
                    "UNSUPPORTED_FEATURE",
                    format!("lines cannot hold values of type {}", crate::plan::spark::types::sql_name(other)),
                ));
            }
        };
        Ok(Self { data, len: 0, validity: None, type_name: type_name(data_type).into() })
    }

    /// Values so far.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Counts the value that was just pushed to `data`.
    #[inline]
    pub(super) fn pushed(&mut self) {
        self.len += 1;
        if let Some(validity) = &mut self.validity {
            validity.append(true);
        }
    }

    /// Whether the value at `at` is null.
    fn is_null(&self, at: usize) -> bool {
        self.validity.as_ref().is_some_and(|validity| !validity.get_bit(at))
    }

    /// The bits of the values so far.
    fn validity(&mut self) -> &mut BooleanBufferBuilder {
        self.validity.get_or_insert_with(|| {
            let mut validity = BooleanBufferBuilder::new(self.len);
            validity.append_n(self.len, true);
            validity
        })
    }

    /// Appends a null.
    pub(super) fn push_null(&mut self) {
        match &mut self.data {
            Data::Boolean(values) => values.push(false),
            Data::Int8(values) => values.push(0),
            Data::Int16(values) => values.push(0),
            Data::Int32(values) | Data::Date(values) => values.push(0),
            Data::Int64(values) | Data::Timestamp(values, _) | Data::TimestampNtz(values) => values.push(0),
            Data::Float32(values) => values.push(0.0),
            Data::Float64(values) => values.push(0.0),
            Data::Decimal(values, ..) => values.push(0),
            Data::String(Bytes { offsets, .. })
            | Data::Binary(Bytes { offsets, .. })
            | Data::List(offsets, ..)
            | Data::Map(offsets, ..) => {
                offsets.push(offsets[offsets.len() - 1]);
            }
            Data::Struct(columns, _) => columns.iter_mut().for_each(Self::push_null),
        }
        self.validity().append(false);
        self.len += 1;
    }

    /// Appends `count` nulls.
    pub(super) fn push_nulls(&mut self, count: usize) {
        (0..count).for_each(|_| self.push_null());
    }

    /// Appends values of another column of the same type. The offsets of both together must fit in 32 bits.
    fn append(&mut self, from: &Self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        match (&mut self.data, &from.data) {
            (Data::Boolean(out), Data::Boolean(values)) => out.extend_from_slice(&values[range.clone()]),
            (Data::Int8(out), Data::Int8(values)) => out.extend_from_slice(&values[range.clone()]),
            (Data::Int16(out), Data::Int16(values)) => out.extend_from_slice(&values[range.clone()]),
            (Data::Int32(out), Data::Int32(values)) => out.extend_from_slice(&values[range.clone()]),
            (Data::Date(out), Data::Date(values)) => out.extend_from_slice(&values[range.clone()]),
            (Data::Int64(out), Data::Int64(values)) => out.extend_from_slice(&values[range.clone()]),
            (Data::Timestamp(out, _), Data::Timestamp(values, _)) => out.extend_from_slice(&values[range.clone()]),
            (Data::TimestampNtz(out), Data::TimestampNtz(values)) => out.extend_from_slice(&values[range.clone()]),
            (Data::Float32(out), Data::Float32(values)) => out.extend_from_slice(&values[range.clone()]),
            (Data::Float64(out), Data::Float64(values)) => out.extend_from_slice(&values[range.clone()]),
            (Data::Decimal(out, ..), Data::Decimal(values, ..)) => out.extend_from_slice(&values[range.clone()]),
            (Data::String(out), Data::String(values)) | (Data::Binary(out), Data::Binary(values)) => {
                let inner = append_offsets(&mut out.offsets, &values.offsets, &range);
                out.bytes.extend_from_slice(&values.bytes[inner]);
            }
            (Data::Struct(out, _), Data::Struct(columns, _)) => {
                out.iter_mut().zip(columns).for_each(|(out, column)| out.append(column, range.clone()));
            }
            (Data::List(ends, out, _), Data::List(from_ends, items, _)) => {
                out.append(items, append_offsets(ends, from_ends, &range));
            }
            (Data::Map(ends, out, _), Data::Map(from_ends, entries, _)) => {
                let inner = append_offsets(ends, from_ends, &range);
                out.0.append(&entries.0, inner.clone());
                out.1.append(&entries.1, inner);
            }
            _ => unreachable!("both columns are of one type"),
        }
        match &from.validity {
            Some(bits) => {
                let validity = self.validity();
                range.clone().for_each(|at| validity.append(bits.get_bit(at)));
            }
            None => {
                if let Some(validity) = &mut self.validity {
                    validity.append_n(range.len(), true);
                }
            }
        }
        self.len += range.len();
    }

    /// Drops every value from `len` on, and a value of a STRUCT that was begun and not counted.
    pub(super) fn truncate(&mut self, len: usize) {
        match &mut self.data {
            Data::Boolean(values) => values.truncate(len),
            Data::Int8(values) => values.truncate(len),
            Data::Int16(values) => values.truncate(len),
            Data::Int32(values) | Data::Date(values) => values.truncate(len),
            Data::Int64(values) | Data::Timestamp(values, _) | Data::TimestampNtz(values) => values.truncate(len),
            Data::Float32(values) => values.truncate(len),
            Data::Float64(values) => values.truncate(len),
            Data::Decimal(values, ..) => values.truncate(len),
            Data::String(values) | Data::Binary(values) => {
                values.offsets.truncate(len + 1);
                values.abandon_value();
            }
            Data::Struct(columns, _) => columns.iter_mut().for_each(|c| c.truncate(len)),
            Data::List(offsets, items, _) => {
                offsets.truncate(len + 1);
                items.truncate(offsets[offsets.len() - 1] as usize);
            }
            Data::Map(offsets, entries, _) => {
                offsets.truncate(len + 1);
                let end = offsets[offsets.len() - 1] as usize;
                entries.0.truncate(end);
                entries.1.truncate(end);
            }
        }
        self.len = self.len.min(len);
        if let Some(validity) = &mut self.validity {
            validity.truncate(len);
        }
    }

    /// Takes the values `start..end` out; later ones move down.
    pub(super) fn remove(&mut self, start: usize, end: usize) {
        match &mut self.data {
            Data::Boolean(values) => drop(values.drain(start..end)),
            Data::Int8(values) => drop(values.drain(start..end)),
            Data::Int16(values) => drop(values.drain(start..end)),
            Data::Int32(values) | Data::Date(values) => drop(values.drain(start..end)),
            Data::Int64(values) | Data::Timestamp(values, _) | Data::TimestampNtz(values) => drop(values.drain(start..end)),
            Data::Float32(values) => drop(values.drain(start..end)),
            Data::Float64(values) => drop(values.drain(start..end)),
            Data::Decimal(values, ..) => drop(values.drain(start..end)),
            Data::String(values) | Data::Binary(values) => values.remove(start, end),
            Data::Struct(columns, _) => columns.iter_mut().for_each(|c| c.remove(start, end)),
            Data::List(offsets, items, _) => {
                let (from, to) = remove_offsets(offsets, start, end);
                items.remove(from, to);
            }
            Data::Map(offsets, entries, _) => {
                let (from, to) = remove_offsets(offsets, start, end);
                entries.0.remove(from, to);
                entries.1.remove(from, to);
            }
        }
        self.len -= end - start;
        if let Some(validity) = &mut self.validity {
            let bits = validity.finish();
            validity.append_buffer(&bits.slice(0, start));
            validity.append_buffer(&bits.slice(end, bits.len() - end));
        }
    }

    /// The values as an Arrow array; the column is empty afterwards.
    pub(super) fn take(&mut self) -> Result<ArrayRef> {
        let nulls = self.validity.take().map(|mut bits| NullBuffer::new(bits.finish())).filter(|nulls| nulls.null_count() > 0);
        let len = std::mem::take(&mut self.len);
        let building = || "build a column".to_owned();
        Ok(match &mut self.data {
            Data::Boolean(values) => Arc::new(BooleanArray::new(take(values).into(), nulls)),
            Data::Int8(values) => Arc::new(PrimitiveArray::<Int8Type>::new(take(values).into(), nulls)),
            Data::Int16(values) => Arc::new(PrimitiveArray::<Int16Type>::new(take(values).into(), nulls)),
            Data::Int32(values) => Arc::new(PrimitiveArray::<Int32Type>::new(take(values).into(), nulls)),
            Data::Int64(values) => Arc::new(PrimitiveArray::<Int64Type>::new(take(values).into(), nulls)),
            Data::Float32(values) => Arc::new(PrimitiveArray::<Float32Type>::new(take(values).into(), nulls)),
            Data::Float64(values) => Arc::new(PrimitiveArray::<Float64Type>::new(take(values).into(), nulls)),
            Data::Date(values) => Arc::new(Date32Array::new(take(values).into(), nulls)),
            Data::Timestamp(values, zone) => Arc::new(
                PrimitiveArray::<TimestampMicrosecondType>::new(take(values).into(), nulls).with_timezone(Arc::clone(zone)),
            ),
            Data::TimestampNtz(values) => Arc::new(PrimitiveArray::<TimestampMicrosecondType>::new(take(values).into(), nulls)),
            Data::Decimal(values, precision, scale) => Arc::new(
                Decimal128Array::new(take(values).into(), nulls)
                    .with_precision_and_scale(*precision, *scale)
                    .attempting(ErrorKind::Internal, building)?,
            ),
            Data::String(values) => {
                let Bytes { bytes, offsets } = values.take();
                // Checked once more, the whole column at a time: no mistake of a decoder may become unsound text.
                Arc::new(
                    StringArray::try_new(offset_buffer(offsets), Buffer::from(bytes), nulls)
                        .attempting(ErrorKind::Internal, building)?,
                )
            }
            Data::Binary(values) => {
                let Bytes { bytes, offsets } = values.take();
                Arc::new(
                    BinaryArray::try_new(offset_buffer(offsets), Buffer::from(bytes), nulls)
                        .attempting(ErrorKind::Internal, building)?,
                )
            }
            nested => take_nested(nested, len, nulls)?,
        })
    }
}

/// Appends the values `range` of `from` to `offsets`; the range of what they point to.
fn append_offsets(offsets: &mut Vec<i32>, from: &[i32], range: &Range<usize>) -> Range<usize> {
    let (start, end) = (from[range.start], from[range.end]);
    let shift = offsets[offsets.len() - 1] - start;
    offsets.extend(from[range.start + 1..=range.end].iter().map(|offset| offset + shift));
    start as usize..end as usize
}

fn take_nested(data: &mut Data, len: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let building = || "build a nested column".to_owned();
    Ok(match data {
        Data::Struct(columns, fields) => {
            let arrays = columns.iter_mut().map(Column::take).collect::<Result<Vec<_>>>()?;
            Arc::new(
                StructArray::try_new_with_length(fields.clone(), arrays, nulls, len).attempting(ErrorKind::Internal, building)?,
            )
        }
        Data::List(offsets, items, field) => Arc::new(
            ListArray::try_new(Arc::clone(field), offset_buffer(restart(offsets)), items.take()?, nulls)
                .attempting(ErrorKind::Internal, building)?,
        ),
        Data::Map(offsets, entries, field) => {
            let DataType::Struct(fields) = field.data_type() else {
                return Err(Error::internal("the entries of a map are no struct"));
            };
            let entries = StructArray::try_new(fields.clone(), vec![entries.0.take()?, entries.1.take()?], None)
                .attempting(ErrorKind::Internal, building)?;
            Arc::new(
                MapArray::try_new(Arc::clone(field), offset_buffer(restart(offsets)), entries, nulls, false)
                    .attempting(ErrorKind::Internal, building)?,
            )
        }
        _ => return Err(Error::internal("this column is not nested")),
    })
}

fn map(entries: &FieldRef) -> Result<Data> {
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(Error::internal("the entries of a map are no struct"));
    };
    let [key, value] = fields.as_ref() else {
        return Err(Error::internal("the entries of a map are not a key and a value"));
    };
    if key.data_type() != &DataType::Utf8 {
        return Err(Error::spark(
            ErrorKind::Config,
            "DATATYPE_MISMATCH.INVALID_JSON_MAP_KEY_TYPE",
            format!("the keys of a map in JSON are STRING, not {}", type_name(key.data_type())),
        ));
    }
    let columns = (Column::new(key.data_type())?, Column::new(value.data_type())?);
    let entry = Fields::from(vec![Field::new(key.name(), DataType::Utf8, false), (*nullable_field(value)).clone()]);
    let field = Arc::new(Field::new(entries.name(), DataType::Struct(entry), false));
    Ok(Data::Map(vec![0], Box::new(columns), field))
}

fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let taken = std::mem::take(values);
    values.reserve(taken.len());
    taken
}

fn restart(offsets: &mut Vec<i32>) -> Vec<i32> {
    let taken = take(offsets);
    offsets.push(0);
    taken
}

fn offset_buffer(offsets: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

/// The field with null allowed at every depth (but for map keys): any part of a line may be missing.
pub(super) fn nullable_field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), nullable(field.data_type()), true))
}

/// The type with null allowed at every depth.
pub(crate) fn nullable(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(nullable_field).collect()),
        DataType::List(item) => DataType::List(nullable_field(item)),
        DataType::Map(entries, sorted) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                let key = Field::new(fields[0].name(), fields[0].data_type().clone(), false);
                let entry = Fields::from(vec![Arc::new(key), nullable_field(&fields[1])]);
                DataType::Map(Arc::new(Field::new(entries.name(), DataType::Struct(entry), false)), *sorted)
            }
            _ => data_type.clone(),
        },
        other => other.clone(),
    }
}

/// Spark's name of the type, nested types by their kind alone.
pub(super) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INT",
        DataType::Int64 => "BIGINT",
        DataType::Float32 => "FLOAT",
        DataType::Float64 => "DOUBLE",
        DataType::Date32 => "DATE",
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP",
        DataType::Timestamp(_, None) => "TIMESTAMP_NTZ",
        DataType::Decimal128(precision, scale) => return format!("DECIMAL({precision},{scale})"),
        DataType::Utf8 => "STRING",
        DataType::Binary => "BINARY",
        DataType::Struct(_) => "STRUCT",
        DataType::List(_) => "ARRAY",
        DataType::Map(..) => "MAP",
        other => return other.to_string(),
    }
    .to_owned()
}
