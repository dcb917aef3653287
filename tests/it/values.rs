//! Values as the parity files write them, and how two of them compare.

use std::path::PathBuf;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::*;
use base64::Engine;
use chrono::DateTime;
use serde_json::{Map, Value, json};

/// A folder of parity data: beside the repository where it is present, the repository's copy otherwise.
pub(crate) fn data_folder(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let shared = root.join("../shared").join(name);
    if shared.is_dir() { shared } else { root.join("tests").join(name) }
}

/// The rows of `batches` as arrays of values.
pub(crate) fn rows(batches: &[RecordBatch]) -> Vec<Value> {
    let row = |batch: &RecordBatch, row| Value::Array(batch.columns().iter().map(|column| value(column, row)).collect());
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |at| row(batch, at))).collect()
}

/// One value.
pub(crate) fn value(array: &dyn Array, row: usize) -> Value {
    if array.data_type() == &DataType::Null || array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Int8 => json!(array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => json!(array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => json!(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => float(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::Binary => json!({ "base64": base64::prelude::BASE64_STANDARD.encode(array.as_binary::<i32>().value(row)) }),
        DataType::Decimal128(_, _) => json!({ "decimal": array.as_primitive::<Decimal128Type>().value_as_string(row) }),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            json!(instant(array.as_primitive::<TimestampMicrosecondType>().value(row)))
        }
        DataType::Date32 => json!(date(array.as_primitive::<Date32Type>().value(row))),
        DataType::Duration(TimeUnit::Microsecond) => json!(duration(array.as_primitive::<DurationMicrosecondType>().value(row))),
        // Intervals of days, and of units that Arrow has no type for.
        DataType::Duration(TimeUnit::Second) => {
            json!(duration(array.as_primitive::<DurationSecondType>().value(row) * 1_000_000))
        }
        DataType::Decimal64(..) => json!(duration(array.as_primitive::<Decimal64Type>().value(row))),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Value::Array((0..items.len()).map(|item| value(&items, item)).collect())
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            Value::Object(fields.iter().zip(columns).map(|(field, column)| (field.name().clone(), value(column, row))).collect())
        }
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let mut object = Map::new();
            for entry in 0..entries.len() {
                let key = match value(keys, entry) {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                object.insert(key, value(values, entry));
            }
            Value::Object(object)
        }
        other => json!(format!("a value of type {other}")),
    }
}

fn float(value: f64) -> Value {
    match value {
        value if value.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        value => json!(value),
    }
}

fn instant(micros: i64) -> String {
    let instant = DateTime::from_timestamp_micros(micros);
    instant.map_or_else(|| format!("{micros} µs"), |at| at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}

fn date(days: i32) -> String {
    let day = DateTime::from_timestamp(i64::from(days) * 86_400, 0);
    day.map_or_else(|| format!("{days} days"), |day| day.format("%Y-%m-%d").to_string())
}

/// As Python prints a timedelta: `-672 days, 12:00:00`, the fraction only where there is one.
fn duration(micros: i64) -> String {
    let (days, rest) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let mut text = match days {
        0 => String::new(),
        1 | -1 => format!("{days} day, "),
        _ => format!("{days} days, "),
    };
    text += &format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction > 0 {
        text += &format!(".{fraction:06}");
    }
    text
}

/// Whether two values are the same; doubles may differ in the last places, where the order of a sum is not fixed.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            a == b || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}
