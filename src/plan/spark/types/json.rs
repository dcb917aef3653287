//! Types and schemas in JSON, as Spark's `DataType.json` writes them: `{"type":"struct","fields":[{"name":"a","type":"integer"}]}`.

use arrow::datatypes::{DataType, Field, Fields};
use serde_json::Value;

use super::ddl::{parse_type, with_length};
use super::{array_of, map_of, timestamp, timestamp_ntz};
use crate::error::Result;

/// The type that `text` has in JSON; nothing if it is none.
pub(super) fn parse_json(text: &str) -> Result<Option<DataType>> {
    serde_json::from_str(text).map_or(Ok(None), |value| data_type(&value))
}

fn data_type(value: &Value) -> Result<Option<DataType>> {
    let part = |name: &str| value.get(name).map_or(Ok(None), data_type);
    // Whether there are nulls must be said, but everything that is read can be null.
    let says = |name: &str| value.get(name).is_some_and(Value::is_boolean);
    let kind = match value {
        Value::String(name) => return named(name),
        _ => value.get("type").and_then(Value::as_str).unwrap_or_default(),
    };
    Ok(match kind {
        "struct" => {
            let Some(fields) = value.get("fields").and_then(Value::as_array) else { return Ok(None) };
            let fields = fields.iter().map(field).collect::<Result<Option<Fields>>>()?;
            fields.map(DataType::Struct)
        }
        "array" if says("containsNull") => part("elementType")?.map(array_of),
        "map" if says("valueContainsNull") => part("keyType")?.zip(part("valueType")?).map(|(key, value)| map_of(key, value)),
        _ => None,
    })
}

fn field(value: &Value) -> Result<Option<Field>> {
    let Some(name) = value.get("name").and_then(Value::as_str) else { return Ok(None) };
    let data_type = value.get("type").map_or(Ok(None), data_type)?;
    Ok(data_type.map(|data_type| Field::new(name, data_type, true)))
}

fn named(name: &str) -> Result<Option<DataType>> {
    Ok(Some(match name {
        "boolean" => DataType::Boolean,
        "byte" => DataType::Int8,
        "short" => DataType::Int16,
        "integer" => DataType::Int32,
        "long" => DataType::Int64,
        "float" => DataType::Float32,
        "double" => DataType::Float64,
        "string" => DataType::Utf8,
        "binary" => DataType::Binary,
        "date" => DataType::Date32,
        "timestamp" => timestamp(),
        "timestamp_ntz" => timestamp_ntz(),
        "void" | "null" => DataType::Null,
        text if text.starts_with("char(") || text.starts_with("varchar(") => return Err(with_length()),
        other if other.starts_with("decimal") || other.starts_with("interval ") => return Ok(parse_type(other).ok()),
        _ => return Ok(None),
    }))
}
