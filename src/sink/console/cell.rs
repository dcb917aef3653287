//! A value as `show()` prints it.

use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::format::number::{write_double, write_float};
use crate::plan::spark::cast::interval::values as interval_values;
use crate::plan::spark::cast::time::{Zone, write_date, write_timestamp};
use crate::plan::spark::types::interval::IntervalRange;

/// Renders the cells of one column.
pub(super) enum Cells<'a> {
    Text(&'a StringArray),
    Double(&'a arrow::array::Float64Array),
    Float(&'a arrow::array::Float32Array),
    Date(&'a arrow::array::Date32Array),
    Timestamp(&'a arrow::array::TimestampMicrosecondArray, Zone),
    Binary(&'a arrow::array::BinaryArray),
    List(&'a arrow::array::ListArray, Box<Cells<'a>>),
    Struct(&'a dyn Array, Vec<Cells<'a>>),
    Map(&'a arrow::array::MapArray, Box<Cells<'a>>, Box<Cells<'a>>),
    Interval(arrow::array::Int64Array, IntervalRange),
    Null,
    Other(&'a dyn Array, Box<ArrayFormatter<'a>>),
}

impl<'a> Cells<'a> {
    /// Prepares `column`, whose timestamps are shown in the zone called `zone`.
    pub(super) fn new(column: &'a ArrayRef, zone: &str) -> Result<Self> {
        let nested = |column| Cells::new(column, zone).map(Box::new);
        Ok(match column.data_type() {
            DataType::Null => Self::Null,
            DataType::Utf8 => Self::Text(column.as_string()),
            DataType::Float64 => Self::Double(column.as_primitive()),
            DataType::Float32 => Self::Float(column.as_primitive()),
            DataType::Binary => Self::Binary(column.as_binary()),
            DataType::Date32 => Self::Date(column.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, zoned) => {
                let zone = if zoned.is_some() { zone } else { "UTC" };
                let zone = Zone::parse(zone).ok_or_else(|| Error::config(format!("there is no time zone {zone:?}")))?;
                Self::Timestamp(column.as_primitive(), zone)
            }
            DataType::List(_) => Self::List(column.as_list(), nested(column.as_list::<i32>().values())?),
            DataType::Struct(_) => {
                let fields = column.as_struct().columns().iter().map(|c| Cells::new(c, zone)).collect::<Result<_>>()?;
                Self::Struct(column.as_ref(), fields)
            }
            DataType::Map(_, _) => Self::Map(column.as_map(), nested(column.as_map().keys())?, nested(column.as_map().values())?),
            other if let Some(range) = IntervalRange::of(other) => Self::Interval(interval_values(column.as_ref())?, range),
            _ => {
                const OPTIONS: FormatOptions<'static> = FormatOptions::new();
                let formatter = ArrayFormatter::try_new(column.as_ref(), &OPTIONS)
                    .attempting(ErrorKind::Internal, || format!("show a column of type {}", column.data_type()))?;
                Self::Other(column.as_ref(), Box::new(formatter))
            }
        })
    }

    /// The text of one cell.
    pub(super) fn text(&self, row: usize) -> String {
        let mut out = String::new();
        self.write(row, &mut out);
        out
    }

    fn write(&self, row: usize, out: &mut String) {
        if self.is_null(row) {
            out.push_str("NULL");
            return;
        }
        match self {
            Self::Null => {}
            Self::Text(array) => out.push_str(array.value(row)),
            Self::Double(array) => push_bytes(out, |bytes| write_double(array.value(row), bytes)),
            Self::Float(array) => push_bytes(out, |bytes| write_float(array.value(row), bytes)),
            // Writing to a text does not fail.
            Self::Date(array) => drop(write_date(out, array.value(row).into())),
            Self::Timestamp(array, zone) => drop(write_timestamp(out, zone.clock(array.value(row)))),
            Self::Binary(array) => write_binary(array.value(row), out),
            Self::Interval(array, range) => drop(range.write(out, array.value(row))),
            Self::List(array, items) => {
                let offsets = array.value_offsets();
                write_items(out, "[", "]", offsets[row] as usize..offsets[row + 1] as usize, |item, out| items.write(item, out));
            }
            Self::Struct(_, fields) => write_items(out, "{", "}", 0..fields.len(), |field, out| fields[field].write(row, out)),
            Self::Map(array, keys, values) => {
                let offsets = array.value_offsets();
                write_items(out, "{", "}", offsets[row] as usize..offsets[row + 1] as usize, |entry, out| {
                    keys.write(entry, out);
                    out.push_str(" -> ");
                    values.write(entry, out);
                });
            }
            Self::Other(_, formatter) => {
                let _ = write!(out, "{}", formatter.value(row));
            }
        }
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Null => true,
            Self::Text(array) => array.is_null(row),
            Self::Double(array) => array.is_null(row),
            Self::Float(array) => array.is_null(row),
            Self::Date(array) => array.is_null(row),
            Self::Timestamp(array, _) => array.is_null(row),
            Self::Binary(array) => array.is_null(row),
            Self::Interval(array, _) => array.is_null(row),
            Self::List(array, _) => array.is_null(row),
            Self::Map(array, _, _) => array.is_null(row),
            Self::Struct(array, _) | Self::Other(array, _) => array.is_null(row),
        }
    }
}

fn push_bytes(out: &mut String, write: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::with_capacity(24);
    write(&mut bytes);
    out.push_str(&String::from_utf8_lossy(&bytes));
}

fn write_items(
    out: &mut String,
    open: &str,
    close: &str,
    items: std::ops::Range<usize>,
    mut write: impl FnMut(usize, &mut String),
) {
    out.push_str(open);
    for (position, item) in items.enumerate() {
        if position > 0 {
            out.push_str(", ");
        }
        write(item, out);
    }
    out.push_str(close);
}

fn write_binary(value: &[u8], out: &mut String) {
    out.push('[');
    for (position, byte) in value.iter().enumerate() {
        let _ = write!(out, "{}{byte:02X}", if position > 0 { " " } else { "" });
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn the_first_and_last_dates_and_times_are_shown_in_any_zone() {
        let shown = |column: ArrayRef, zone: &str| {
            let cells = Cells::new(&column, zone).unwrap();
            [cells.text(0), cells.text(1)]
        };
        let dates = Arc::new(Date32Array::from(vec![i32::MIN, i32::MAX]));
        assert_eq!(shown(dates, "UTC"), ["-5877641-06-23", "+5881580-07-11"]);
        let times = TimestampMicrosecondArray::from(vec![i64::MIN, i64::MAX]).with_timezone("UTC");
        assert_eq!(shown(Arc::new(times), "+18:00"), ["-290308-12-22 13:59:05.224192", "+294247-01-10 22:00:54.775807"]);
        let clocks = Arc::new(TimestampMicrosecondArray::from(vec![i64::MIN, 0]));
        assert_eq!(shown(clocks, "Europe/Paris"), ["-290308-12-21 19:59:05.224192", "1970-01-01 00:00:00"]);
    }
}
