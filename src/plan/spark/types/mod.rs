//! Spark's types: their names, and the DDL they are written in.
//!
//! Arrow's types stand for Spark's as [`super::Typed`] lists them.

mod ddl;
mod json;
pub mod interval;
pub mod outside;

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};

pub use ddl::{parse_ddl, parse_ddl_argument, parse_schema, parse_type};

/// The widest decimal there is.
pub const DECIMAL_PRECISION_MAX: u8 = 38;

/// Spark's TIMESTAMP: an instant.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Spark's TIMESTAMP_NTZ: date and time of day without a zone.
pub fn timestamp_ntz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// Spark's INTERVAL DAY TO SECOND.
pub fn day_time_interval() -> DataType {
    DataType::Duration(TimeUnit::Microsecond)
}

/// Spark's INTERVAL DAY: whole days, what dates lie apart.
pub fn day_interval() -> DataType {
    DataType::Duration(TimeUnit::Second)
}

/// Spark's INTERVAL YEAR TO MONTH.
pub fn year_month_interval() -> DataType {
    DataType::Interval(IntervalUnit::YearMonth)
}

/// Spark's INTERVAL: months, days and microseconds, each by itself.
pub fn calendar_interval() -> DataType {
    DataType::Interval(IntervalUnit::MonthDayNano)
}

/// ARRAY of `item`.
pub fn array_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

/// MAP from `key` to `value`.
pub fn map_of(key: DataType, value: DataType) -> DataType {
    let entries = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// Key and value field of a map's entries.
pub fn map_fields(entries: &FieldRef) -> Option<(&FieldRef, &FieldRef)> {
    match entries.data_type() {
        DataType::Struct(fields) if fields.len() == 2 => Some((&fields[0], &fields[1])),
        _ => None,
    }
}

/// Whether Spark calls it a numeric type.
pub fn is_numeric(data_type: &DataType) -> bool {
    use DataType as D;
    matches!(data_type, D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::Float32 | D::Float64 | D::Decimal128(..))
}

/// Whether a map is in the type somewhere.
pub fn has_map(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(..) => true,
        DataType::List(item) => has_map(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_map(field.data_type())),
        _ => false,
    }
}

/// Whether two types differ in nothing but the names of fields and what can be null.
pub fn same_structure(a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_structure(a.data_type(), b.data_type()))
        }
        (DataType::List(a), DataType::List(b)) | (DataType::Map(a, _), DataType::Map(b, _)) => {
            same_structure(a.data_type(), b.data_type())
        }
        (a, b) => a == b,
    }
}

/// Spark's `simpleString`: `bigint`, `decimal(10,2)`, `struct<a:int>`, `array<int>`, `map<string,int>`, `void`.
pub fn spark_name(data_type: &DataType) -> String {
    let mut name = String::new();
    write_name(&mut name, data_type);
    name
}

/// The name as SQL writes it, for messages: `BIGINT`, `STRUCT<a: INT>`.
pub fn sql_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields.iter().map(|f| format!("{}: {}", f.name(), sql_name(f.data_type()))).collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
        DataType::List(item) | DataType::LargeList(item) => format!("ARRAY<{}>", sql_name(item.data_type())),
        DataType::Map(entries, _) => match map_fields(entries) {
            Some((key, value)) => format!("MAP<{}, {}>", sql_name(key.data_type()), sql_name(value.data_type())),
            None => "MAP".into(),
        },
        simple => spark_name(simple).to_uppercase(),
    }
}

fn write_name(out: &mut String, data_type: &DataType) {
    let name = match data_type {
        DataType::Null => "void",
        DataType::Boolean => "boolean",
        DataType::Int8 => "tinyint",
        DataType::Int16 => "smallint",
        DataType::Int32 => "int",
        DataType::Int64 => "bigint",
        DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary",
        DataType::Date32 => "date",
        DataType::Timestamp(_, Some(_)) => "timestamp",
        DataType::Timestamp(_, None) => "timestamp_ntz",
        kind if interval::is_interval(kind) => {
            let _ = interval::IntervalRange::of(kind).map(|range| out.push_str(&range.name()));
            return;
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => "interval",
        DataType::Decimal128(precision, scale) => {
            let _ = write!(out, "decimal({precision},{scale})");
            return;
        }
        DataType::Struct(fields) => return write_struct(out, fields),
        DataType::List(item) | DataType::LargeList(item) => {
            out.push_str("array<");
            write_name(out, item.data_type());
            return out.push('>');
        }
        DataType::Map(entries, _) => {
            out.push_str("map<");
            if let Some((key, value)) = map_fields(entries) {
                write_name(out, key.data_type());
                out.push(',');
                write_name(out, value.data_type());
            }
            return out.push('>');
        }
        other => {
            let _ = write!(out, "{other}");
            return;
        }
    };
    out.push_str(name);
}

fn write_struct(out: &mut String, fields: &Fields) {
    out.push_str("struct<");
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(field.name());
        out.push(':');
        write_name(out, field.data_type());
    }
    out.push('>');
}

#[cfg(test)]
mod tests;
