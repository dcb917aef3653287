//! Intervals as others know them, and Spark's names for types in files.
//!
//! Within a plan an interval of, say, hours is a decimal with a precision that says so ([`super::interval`]). Whoever else sees Arrow
//! data gets a duration or an interval of months instead, which only a label is between: both are the same bytes.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, RecordBatch, make_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use serde_json::{Value, json};

use super::interval::{IntervalRange, is_decimal_interval, is_interval};
use super::{day_time_interval, parse_type, spark_name, year_month_interval};

/// The type that others know in place of `data_type`, which may have intervals in it.
pub fn plain_type(data_type: &DataType) -> DataType {
    replaced(data_type, &|kind| match IntervalRange::of(kind) {
        Some(range) if is_decimal_interval(kind) && range.is_months() => Some(year_month_interval()),
        Some(_) if is_decimal_interval(kind) => Some(day_time_interval()),
        _ => None,
    })
}

/// `rows` in the types that others know.
///
/// # Errors
/// None for what a plan gives.
pub fn plain_rows(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = rows.schema_ref();
    if !schema.fields().iter().any(|field| holds(field.data_type(), &is_decimal_interval)) {
        return Ok(rows.clone());
    }
    let columns = rows.columns().iter().map(|column| relabelled(column, &plain_type(column.data_type())));
    RecordBatch::try_new(retyped(schema, &plain_type), columns.collect::<Result<_, _>>()?)
}

/// The columns of [`plain_rows`].
pub fn plain_schema(schema: &Schema) -> SchemaRef {
    retyped(schema, &plain_type)
}

/// `array` as values of `to`, whose bytes are the same.
///
/// # Errors
/// If they are not.
pub fn relabelled(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == to { Ok(Arc::clone(array)) } else { Ok(make_array(relabel(array.to_data(), to)?)) }
}

fn relabel(data: ArrayData, to: &DataType) -> Result<ArrayData, ArrowError> {
    let held: Vec<&DataType> = match to {
        DataType::List(item) | DataType::Map(item, _) => vec![item.data_type()],
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        _ => Vec::new(),
    };
    let children = data.child_data().iter().zip(held).map(|(child, to)| relabel(child.clone(), to));
    let children = children.collect::<Result<Vec<_>, _>>()?;
    data.into_builder().data_type(to.clone()).child_data(children).build()
}

/// Whether a type is, or has in it, one that `is` looks for.
fn holds(data_type: &DataType, is: &dyn Fn(&DataType) -> bool) -> bool {
    match data_type {
        DataType::List(item) | DataType::Map(item, _) => holds(item.data_type(), is),
        DataType::Struct(fields) => fields.iter().any(|field| holds(field.data_type(), is)),
        other => is(other),
    }
}

/// `data_type` with what `other` says in place of the types in it.
fn replaced(data_type: &DataType, other: &dyn Fn(&DataType) -> Option<DataType>) -> DataType {
    let within = |field: &Arc<Field>| Arc::new(field.as_ref().clone().with_data_type(replaced(field.data_type(), other)));
    match data_type {
        DataType::List(item) => DataType::List(within(item)),
        DataType::Map(entries, sorted) => DataType::Map(within(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(within).collect()),
        kind => other(kind).unwrap_or_else(|| kind.clone()),
    }
}

fn retyped(schema: &Schema, to: &dyn Fn(&DataType) -> DataType) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_data_type(to(field.data_type())));
    Arc::new(Schema::new_with_metadata(fields.collect::<Fields>(), schema.metadata().clone()))
}

/// The key under which Spark keeps its types in a Parquet file.
pub const SPARK_SCHEMA: &str = "org.apache.spark.sql.parquet.row.metadata";

/// What a Parquet file says in Spark's words of a schema with intervals, which are whole numbers in it; `None` of others.
pub fn spark_schema(schema: &Schema) -> Option<String> {
    let any = schema.fields().iter().any(|field| holds(field.data_type(), &is_interval));
    any.then(|| spark_struct(schema.fields()).to_string())
}

/// `rows` as a Parquet file holds them: intervals are whole numbers of microseconds or months, as Spark writes them.
///
/// # Errors
/// None for what a plan gives.
pub fn stored_rows(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let stored = |column: &ArrayRef| {
        let plain = relabelled(column, &plain_type(column.data_type()))?;
        // Days are held as seconds.
        let in_us = |kind: &DataType| matches!(kind, DataType::Duration(_)).then(|| DataType::Duration(TimeUnit::Microsecond));
        let in_us = replaced(plain.data_type(), &in_us);
        let plain = if plain.data_type() == &in_us { plain } else { cast(&plain, &in_us)? };
        relabelled(&plain, &stored_type(column.data_type()))
    };
    let columns = rows.columns().iter().map(stored).collect::<Result<_, _>>()?;
    RecordBatch::try_new(stored_schema(rows.schema_ref()), columns)
}

/// The columns of [`stored_rows`].
pub fn stored_schema(schema: &Schema) -> SchemaRef {
    retyped(schema, &stored_type)
}

fn stored_type(data_type: &DataType) -> DataType {
    replaced(data_type, &|kind| {
        let range = IntervalRange::of(kind)?;
        Some(if range.is_months() { DataType::Int32 } else { DataType::Int64 })
    })
}

/// `column` of a Parquet file that says in Spark's words that there are intervals in it.
///
/// # Errors
/// If days are too many.
pub fn restored(column: &ArrayRef, told: &Value) -> Result<ArrayRef, ArrowError> {
    let data_type = told_type(column.data_type(), told);
    if &data_type == column.data_type() {
        return Ok(Arc::clone(column));
    }
    // By way of durations, as days are held as seconds.
    let is_days = |kind: &DataType| matches!(kind, DataType::Duration(TimeUnit::Second));
    let in_us = replaced(&data_type, &|kind| is_days(kind).then(day_time_interval));
    let column = relabelled(column, &in_us)?;
    if in_us == data_type { Ok(column) } else { cast(&column, &data_type) }
}

/// What Spark says of each column, by name.
pub fn told_columns(text: &str) -> Vec<(String, Value)> {
    let told: Value = serde_json::from_str(text).unwrap_or_default();
    let fields = told["fields"].as_array().cloned().unwrap_or_default();
    fields.into_iter().filter_map(|field| Some((field["name"].as_str()?.to_owned(), field["type"].clone()))).collect()
}

/// `found` with the intervals that `told` says; anything else is as it was found.
fn told_type(found: &DataType, told: &Value) -> DataType {
    let within =
        |field: &Arc<Field>, told: &Value| Arc::new(field.as_ref().clone().with_data_type(told_type(field.data_type(), told)));
    match (found, told) {
        (DataType::Int32 | DataType::Int64, Value::String(name)) if name.starts_with("interval ") => {
            let range = parse_type(name).ok().filter(|kind| stored_type(kind) == *found);
            range.unwrap_or_else(|| found.clone())
        }
        (DataType::List(item), told) => DataType::List(within(item, &told["elementType"])),
        (DataType::Map(entries, sorted), told) => {
            let DataType::Struct(fields) = entries.data_type() else { return found.clone() };
            let told = [&told["keyType"], &told["valueType"]];
            let fields: Fields = fields.iter().zip(told).map(|(field, told)| within(field, told)).collect();
            DataType::Map(Arc::new(entries.as_ref().clone().with_data_type(DataType::Struct(fields))), *sorted)
        }
        (DataType::Struct(fields), told) => {
            let told = |name: &str| told["fields"].as_array()?.iter().find(|field| field["name"] == name);
            let typed = fields.iter().map(|field| match told(field.name()) {
                Some(told) => within(field, &told["type"]),
                None => Arc::clone(field),
            });
            DataType::Struct(typed.collect())
        }
        _ => found.clone(),
    }
}

fn spark_struct(fields: &Fields) -> Value {
    let fields = fields.iter().map(
        |field| json!({ "name": field.name(), "type": spark_type(field.data_type()), "nullable": field.is_nullable(), "metadata": {} }),
    );
    json!({ "type": "struct", "fields": fields.collect::<Vec<_>>() })
}

/// A type as Spark writes it in files.
fn spark_type(data_type: &DataType) -> Value {
    match data_type {
        DataType::Int8 => json!("byte"),
        DataType::Int16 => json!("short"),
        DataType::Int32 => json!("integer"),
        DataType::Int64 => json!("long"),
        DataType::Struct(fields) => spark_struct(fields),
        DataType::List(item) => {
            json!({ "type": "array", "elementType": spark_type(item.data_type()), "containsNull": item.is_nullable() })
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => json!({
                "type": "map",
                "keyType": spark_type(fields[0].data_type()),
                "valueType": spark_type(fields[1].data_type()),
                "valueContainsNull": fields[1].is_nullable(),
            }),
            _ => Value::Null,
        },
        DataType::Interval(IntervalUnit::YearMonth) | DataType::Duration(_) => json!(spark_name(data_type)),
        other => json!(spark_name(other)),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal32Array, Decimal64Array, DurationSecondArray, Int32Array, StructArray};

    use super::*;

    fn interval(name: &str) -> DataType {
        parse_type(name).unwrap()
    }

    /// A column of each kind, and one in a struct.
    fn rows() -> RecordBatch {
        let hours: ArrayRef =
            Arc::new(Decimal64Array::from(vec![Some(7_200_000_000), None]).with_data_type(interval("interval hour")));
        let years: ArrayRef = Arc::new(Decimal32Array::from(vec![Some(24), None]).with_data_type(interval("interval year")));
        let days: ArrayRef = Arc::new(DurationSecondArray::from(vec![Some(86_400), None]));
        let field = Field::new("h", hours.data_type().clone(), true);
        let nested: ArrayRef = Arc::new(StructArray::new(vec![field].into(), vec![Arc::clone(&hours)], None));
        let number: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        RecordBatch::try_from_iter_with_nullable([
            ("h", hours, true),
            ("y", years, true),
            ("d", days, true),
            ("s", nested, true),
            ("n", number, true),
        ])
        .unwrap()
    }

    fn types(rows: &RecordBatch) -> String {
        rows.schema().fields().iter().map(|field| field.data_type().to_string()).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn others_see_durations_and_months() {
        let plain = plain_rows(&rows()).unwrap();
        assert_eq!(types(&plain), "Duration(µs), Interval(YearMonth), Duration(s), Struct(\"h\": Duration(µs)), Int32");
        assert_eq!(plain.column(0).null_count(), 1);
    }

    #[test]
    fn files_hold_whole_numbers_and_say_what_they_are() {
        let rows = rows();
        let stored = stored_rows(&rows).unwrap();
        assert_eq!(types(&stored), "Int64, Int32, Int64, Struct(\"h\": Int64), Int32");
        let told = told_columns(&spark_schema(&rows.schema()).unwrap());
        let back = stored.columns().iter().zip(&told).map(|(column, (_, told))| restored(column, told).unwrap());
        let back = RecordBatch::try_new(rows.schema(), back.collect()).unwrap();
        assert_eq!(back, rows);
        assert_eq!(spark_schema(&stored.schema()), None);
    }
}
