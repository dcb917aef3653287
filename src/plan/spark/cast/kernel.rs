//! The kernels of casts, one array at a time.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, BooleanBuilder, Decimal128Array, ListArray, MapArray,
    PrimitiveArray, PrimitiveBuilder, StringArray, StructArray, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow::compute::{cast as arrow_cast, nullif};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, FieldRef, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};

use super::time::{Clock, ParsedTime, Zone, parse_date, parse_timestamp};
use super::{CastMode, decimal, interval, parse, text};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::elementwise::{map, try_map};
use crate::plan::spark::types::interval::is_interval;
use crate::plan::spark::types::{map_fields, sql_name};

/// Casts every value of `array`; `zone` is the time zone of values without one.
pub fn cast_array(array: &ArrayRef, to: &DataType, mode: CastMode, zone: &str) -> Result<ArrayRef> {
    let zone = Zone::parse(zone)
        .ok_or_else(|| Error::spark(ErrorKind::Config, "INVALID_TIMEZONE", format!("there is no time zone \"{zone}\"")))?;
    Caster { mode, zone }.cast(array, to)
}

/// One cast's settings.
#[derive(Clone, Copy)]
pub(super) struct Caster {
    pub(super) mode: CastMode,
    pub(super) zone: Zone,
}

impl Caster {
    fn cast(self, array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
        use DataType as D;
        if array.data_type() == to {
            return Ok(array.clone());
        }
        match (array.data_type(), to) {
            (D::Null, _) => Ok(new_null_array(to, array.len())),
            (D::List(_), D::List(item)) => self.list(array.as_list(), item),
            (D::Map(..), D::Map(entries, sorted)) => self.map(array.as_map(), entries, *sorted),
            (D::Struct(_), D::Struct(_)) => self.structs(array.as_struct(), to),
            (_, D::Utf8) => text::to_text(array, self.zone),
            (D::Utf8, D::Binary) => plain(array, to),
            (from, to_type) if is_interval(from) || is_interval(to_type) => self.interval(array, to),
            (D::Utf8, D::Interval(_)) => Ok(interval::calendars(array.as_string())),
            (D::Utf8, _) => self.read_text(array.as_string(), to),
            (D::Decimal128(..), _) | (_, D::Decimal128(..)) => decimal::cast(self, array, to),
            (D::Date32 | D::Timestamp(..), _) | (_, D::Timestamp(..)) => self.times(array, to),
            (D::Float32 | D::Float64, D::Boolean) => float_to_boolean(array),
            (D::Float32 | D::Float64, D::Int8 | D::Int16 | D::Int32 | D::Int64) => self.float_to_integer(array, to),
            (D::Int8 | D::Int16 | D::Int32 | D::Int64, D::Int8 | D::Int16 | D::Int32 | D::Int64) => self.narrow(array, to),
            _ => plain(array, to),
        }
    }

    /// Applies `convert` to every value; what it does not convert becomes null or the error of `fail`.
    pub(super) fn each<A: ArrowPrimitiveType, B: ArrowPrimitiveType>(
        self,
        array: &PrimitiveArray<A>,
        convert: impl Fn(A::Native) -> Option<B::Native>,
        fail: impl Fn(A::Native) -> Error,
    ) -> Result<PrimitiveArray<B>> {
        match self.mode {
            CastMode::Try => Ok(map(array, convert).or_null()),
            CastMode::Ansi => try_map(array, convert, fail),
        }
    }

    fn narrow(self, array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
        let wide = plain(array, &DataType::Int64)?;
        self.integers(wide.as_primitive(), array.data_type(), to)
    }

    /// 64-bit integers that came from `from`, made narrower.
    pub(super) fn integers(self, wide: &PrimitiveArray<Int64Type>, from: &DataType, to: &DataType) -> Result<ArrayRef> {
        let fail = |v: i64| overflow(&v.to_string(), from, to);
        Ok(match to {
            DataType::Int8 => Arc::new(self.each::<_, Int8Type>(wide, |v| v.try_into().ok(), fail)?),
            DataType::Int16 => Arc::new(self.each::<_, Int16Type>(wide, |v| v.try_into().ok(), fail)?),
            DataType::Int32 => Arc::new(self.each::<_, Int32Type>(wide, |v| v.try_into().ok(), fail)?),
            DataType::Int64 => Arc::new(wide.clone()),
            other => plain(&(Arc::new(wide.clone()) as ArrayRef), other)?,
        })
    }

    fn float_to_integer(self, array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
        let wide = plain(array, &DataType::Float64)?;
        // What lies between them has a whole part that fits. 2^63 passes, as it does in Java, and becomes the greatest number.
        let (min, max) = match to {
            DataType::Int8 => (f64::from(i8::MIN) - 1.0, f64::from(i8::MAX) + 1.0),
            DataType::Int16 => (f64::from(i16::MIN) - 1.0, f64::from(i16::MAX) + 1.0),
            DataType::Int32 => (f64::from(i32::MIN) - 1.0, f64::from(i32::MAX) + 1.0),
            _ => ((i64::MIN as f64).next_down(), (i64::MAX as f64).next_up()),
        };
        let from = array.data_type();
        let fits = |v: f64| (v > min && v < max).then_some(v as i64);
        let fail = |v: f64| overflow(&crate::format::number::double_text(v), from, to);
        let wide = wide.as_primitive();
        Ok(match to {
            DataType::Int32 => Arc::new(self.each::<Float64Type, Int32Type>(wide, |v| Some(fits(v)? as i32), fail)?),
            DataType::Int64 => Arc::new(self.each::<Float64Type, Int64Type>(wide, fits, fail)?),
            _ => self.integers(&self.each::<Float64Type, Int64Type>(wide, fits, fail)?, from, to)?,
        })
    }

    fn read_text(self, array: &StringArray, to: &DataType) -> Result<ArrayRef> {
        Ok(match to {
            DataType::Int8 => self.parsed::<Int8Type>(array, to, |t| parse::integer(t)?.try_into().ok())?,
            DataType::Int16 => self.parsed::<Int16Type>(array, to, |t| parse::integer(t)?.try_into().ok())?,
            DataType::Int32 => self.parsed::<Int32Type>(array, to, |t| parse::integer(t)?.try_into().ok())?,
            DataType::Int64 => self.parsed::<Int64Type>(array, to, parse::integer)?,
            DataType::Float32 => self.parsed::<Float32Type>(array, to, parse::float)?,
            DataType::Float64 => self.parsed::<Float64Type>(array, to, parse::float)?,
            DataType::Date32 => self.parsed::<Date32Type>(array, to, parse_date)?,
            DataType::Decimal128(precision, scale) => decimal::from_text(self, array, *precision, *scale)?,
            DataType::Timestamp(_, with_zone) => {
                let zone = with_zone.as_ref().map(|_| self.zone);
                let read = |t: &[u8]| match parse_timestamp(t)? {
                    ParsedTime::At(clock, named) => zone.map_or(clock.local(), |zone| named.unwrap_or(zone).instant(clock)),
                    ParsedTime::TimeOnly => None,
                };
                let parsed = self.parsed::<TimestampMicrosecondType>(array, to, read)?;
                Arc::new(parsed.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(with_zone.clone()))
            }
            DataType::Boolean => {
                let mut builder = BooleanBuilder::with_capacity(array.len());
                for value in array {
                    match value {
                        None => builder.append_null(),
                        Some(value) => match parse::boolean(value.as_bytes()) {
                            Some(parsed) => builder.append_value(parsed),
                            None if self.mode == CastMode::Try => builder.append_null(),
                            None => return Err(malformed(value, to)),
                        },
                    }
                }
                Arc::new(builder.finish())
            }
            other => return Err(Error::internal(format!("no cast from STRING to {}", sql_name(other)))),
        })
    }

    fn parsed<T: ArrowPrimitiveType>(
        self,
        array: &StringArray,
        to: &DataType,
        read: impl Fn(&[u8]) -> Option<T::Native>,
    ) -> Result<ArrayRef> {
        let mut builder = PrimitiveBuilder::<T>::with_capacity(array.len());
        for value in array {
            match value {
                None => builder.append_null(),
                Some(value) => match read(value.as_bytes()) {
                    Some(parsed) => builder.append_value(parsed),
                    None if self.mode == CastMode::Try => builder.append_null(),
                    None => return Err(malformed(value, to)),
                },
            }
        }
        Ok(Arc::new(builder.finish()))
    }

    /// Dates, timestamps and numbers of seconds among each other.
    fn times(self, array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
        use DataType as D;
        let zone = self.zone;
        let from = array.data_type();
        // Spark has no condition for this.
        let out_of_range = |_| Error::new(ErrorKind::Data, "what clocks show is beyond what a timestamp holds");
        Ok(match (from, to) {
            (D::Date32, D::Timestamp(_, local)) => {
                let instant = |days: i32| {
                    let midnight = Clock { day: days.into(), us: 0 };
                    if local.is_some() { zone.instant(midnight) } else { midnight.local() }
                };
                // Spark has no condition for this.
                let fail = |_| Error::new(ErrorKind::Data, "the date is beyond what a timestamp holds");
                let cast = self.each::<Date32Type, TimestampMicrosecondType>(array.as_primitive(), instant, fail)?;
                Arc::new(cast.with_timezone_opt(local.clone()))
            }
            (D::Timestamp(_, local), D::Date32) => {
                let shift = |us: i64| if local.is_some() { zone.offset_at(us) } else { 0 };
                let days = |us: i64| i32::try_from(Clock::at(us, shift(us)).day).ok();
                Arc::new(self.each::<TimestampMicrosecondType, Date32Type>(array.as_primitive(), days, out_of_range)?)
            }
            (D::Timestamp(_, a), D::Timestamp(_, b)) => {
                let convert = |us: i64| match (a, b) {
                    (Some(_), None) => us.checked_add(zone.offset_at(us)),
                    (None, Some(_)) => zone.to_instant(us),
                    _ => Some(us),
                };
                let cast =
                    self.each::<TimestampMicrosecondType, TimestampMicrosecondType>(array.as_primitive(), convert, out_of_range)?;
                Arc::new(cast.with_timezone_opt(b.clone()))
            }
            (D::Timestamp(..), D::Float32 | D::Float64) => {
                let seconds: PrimitiveArray<Float64Type> =
                    array.as_primitive::<TimestampMicrosecondType>().unary(|us| us as f64 / 1_000_000.0);
                plain(&(Arc::new(seconds) as ArrayRef), to)?
            }
            (D::Timestamp(..), _) => {
                let seconds: PrimitiveArray<Int64Type> =
                    array.as_primitive::<TimestampMicrosecondType>().unary(|us| us.div_euclid(1_000_000));
                self.integers(&seconds, from, to)?
            }
            (D::Float32 | D::Float64, D::Timestamp(_, local)) => {
                let seconds = plain(array, &D::Float64)?;
                // NaN and infinities are no time; what is merely too large overflows.
                let convert = |s: f64| {
                    let us = s * 1_000_000.0;
                    (us.floor() <= i64::MAX as f64 && us.ceil() >= i64::MIN as f64).then_some(us as i64)
                };
                let fail = |s: f64| {
                    let shown = crate::format::number::double_text(s);
                    if s.is_finite() { overflow(&shown, from, to) } else { malformed_as(&shown, from, to) }
                };
                let cast = self.each::<Float64Type, TimestampMicrosecondType>(seconds.as_primitive(), convert, fail)?;
                Arc::new(cast.with_timezone_opt(local.clone()))
            }
            (_, D::Timestamp(_, local)) => {
                let seconds = plain(array, &D::Int64)?;
                // As Java's TimeUnit does, too many seconds stop at the end of time.
                let cast: PrimitiveArray<TimestampMicrosecondType> =
                    seconds.as_primitive::<Int64Type>().unary(|s| s.saturating_mul(1_000_000));
                Arc::new(cast.with_timezone_opt(local.clone()))
            }
            _ => return Err(Error::internal(format!("no cast from {} to {}", sql_name(from), sql_name(to)))),
        })
    }

    fn list(self, list: &ListArray, item: &FieldRef) -> Result<ArrayRef> {
        let (values, offsets) = referenced(list.values(), list.offsets(), list.nulls())?;
        let values = self.cast(&values, item.data_type())?;
        Ok(Arc::new(ListArray::try_new(item.clone(), offsets, values, list.nulls().cloned()).map_err(broken)?))
    }

    fn map(self, map: &MapArray, entries: &FieldRef, sorted: bool) -> Result<ArrayRef> {
        let Some((key, value)) = map_fields(entries) else { return Err(Error::internal("a map without key and value")) };
        let (keys, offsets) = referenced(map.keys(), map.offsets(), None)?;
        let (values, _) = referenced(map.values(), map.offsets(), None)?;
        let keys = self.cast(&keys, key.data_type())?;
        if keys.null_count() > 0 {
            return Err(Error::spark(ErrorKind::Data, "NULL_MAP_KEY", "a key of a map cannot be null"));
        }
        let values = self.cast(&values, value.data_type())?;
        let DataType::Struct(fields) = entries.data_type() else { return Err(Error::internal("a map without entries")) };
        let pairs = StructArray::try_new(fields.clone(), vec![keys, values], None).map_err(broken)?;
        Ok(Arc::new(MapArray::try_new(entries.clone(), offsets, pairs, map.nulls().cloned(), sorted).map_err(broken)?))
    }

    fn structs(self, from: &StructArray, to: &DataType) -> Result<ArrayRef> {
        let DataType::Struct(fields) = to else { return Err(Error::internal("a struct is cast to something else")) };
        let columns = from
            .columns()
            .iter()
            .zip(fields)
            .map(|(column, field)| self.cast(&masked(column, from.nulls())?, field.data_type()))
            .collect::<Result<Vec<_>>>()?;
        // A value that did not fit is null even where the type says otherwise.
        let fields = fields.iter().zip(&columns).map(|(field, column)| {
            if column.null_count() > 0 && !field.is_nullable() {
                Arc::new(field.as_ref().clone().with_nullable(true))
            } else {
                field.clone()
            }
        });
        Ok(Arc::new(
            StructArray::try_new_with_length(fields.collect(), columns, from.nulls().cloned(), from.len()).map_err(broken)?,
        ))
    }
}

/// The part of `values` that lists refer to, with offsets from zero; what stands under a null list is null.
fn referenced(
    values: &ArrayRef,
    offsets: &OffsetBuffer<i32>,
    nulls: Option<&NullBuffer>,
) -> Result<(ArrayRef, OffsetBuffer<i32>)> {
    let (first, last) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
    let values = values.slice(first, last - first);
    let mut valid = None;
    for row in nulls.into_iter().flat_map(|n| (0..n.len()).filter(|row| n.is_null(*row))) {
        let range = offsets[row] as usize - first..offsets[row + 1] as usize - first;
        if !range.is_empty() {
            valid.get_or_insert_with(|| vec![true; values.len()])[range].fill(false);
        }
    }
    let valid = valid.map(|valid| NullBuffer::new(BooleanBuffer::from(valid)));
    let shifted = OffsetBuffer::new(offsets.iter().map(|o| o - offsets[0]).collect());
    Ok((masked(&values, valid.as_ref())?, shifted))
}

/// `column` with nulls also where `nulls` has them, so that no garbage below a null is looked at.
fn masked(column: &ArrayRef, nulls: Option<&NullBuffer>) -> Result<ArrayRef> {
    match nulls.filter(|n| n.null_count() > 0) {
        None => Ok(column.clone()),
        Some(nulls) => nullif(column, &BooleanArray::new(!nulls.inner(), None)).map_err(broken),
    }
}

/// A cast that Arrow does as Spark does, and that always succeeds.
fn plain(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    arrow_cast(array, to).map_err(broken)
}

fn broken(error: arrow::error::ArrowError) -> Error {
    Error::internal("could not build the result of a cast").because(error)
}

/// Every float but zero is true, NaN too.
fn float_to_boolean(array: &ArrayRef) -> Result<ArrayRef> {
    let wide = plain(array, &DataType::Float64)?;
    let wide = wide.as_primitive::<Float64Type>();
    let values = BooleanBuffer::from_iter(wide.values().iter().map(|v| *v != 0.0));
    Ok(Arc::new(BooleanArray::new(values, wide.nulls().cloned())))
}

pub(super) fn decimals(values: PrimitiveArray<Decimal128Type>, precision: u8, scale: i8) -> Result<Decimal128Array> {
    values.with_precision_and_scale(precision, scale).map_err(broken)
}

/// `CAST_OVERFLOW`.
pub(super) fn overflow(value: &str, from: &DataType, to: &DataType) -> Error {
    Error::spark(
        ErrorKind::Data,
        "CAST_OVERFLOW",
        format!(
            "the value {value} of the type \"{}\" cannot be cast to \"{}\" due to an overflow, use `try_cast` to get NULL instead",
            sql_name(from),
            sql_name(to)
        ),
    )
}

/// `CAST_INVALID_INPUT` for a string.
pub(super) fn malformed(value: &str, to: &DataType) -> Error {
    let short: String = value.chars().take(100).collect();
    malformed_as(&format!("'{short}'"), &DataType::Utf8, to)
}

fn malformed_as(value: &str, from: &DataType, to: &DataType) -> Error {
    Error::spark(
        ErrorKind::Data,
        "CAST_INVALID_INPUT",
        format!(
            "the value {value} of the type \"{}\" cannot be cast to \"{}\" because it is malformed, use `try_cast` to get NULL instead",
            sql_name(from),
            sql_name(to)
        ),
    )
}
