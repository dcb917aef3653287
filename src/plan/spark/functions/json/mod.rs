//! JSON in texts: `from_json`, `to_json`, and what is looked for in a text.

mod search;

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;

pub(in super::super) use search::json_tuple;

use super::super::types::parse_ddl;
use super::super::{Call, Typed};
use super::arguments::{Want, arity, coerce_one, mismatch, require_constant};
use super::native::{Returns, call};
use super::{FunctionSpec, scalar};
use crate::error::{Error, ErrorKind, Result};
use crate::format::OnMalformed;
use crate::format::json::write::{WriteOptions, to_json as written};
use crate::format::json::{CORRUPT_RECORD, ValueOptions, decode_values};

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("from_json(text, schema[, options])", "A struct, array or map read from JSON; null fields where it does not fit", r#"from_json('{"a":1, "b":0.8}', 'a INT, b DOUBLE') → {1, 0.8}"#, from_json),
    scalar("to_json(value[, options])", "A struct, array or map as JSON", r#"to_json(named_struct('a', 1, 'b', 2)) → {"a":1,"b":2}"#, to_json),
    scalar("get_json_object(text, path)", "What stands at a path such as `$.a[0].b` or `$.a[*].b`, as text; null if nothing does", r#"get_json_object('{"a":[{"b":1},{"b":2}]}', '$.a[*].b') → [1,2]"#, search::get_json_object),
    scalar("json_array_length(text)", "Elements of a JSON array; null if it is none", "json_array_length('[1, [2, 3]]') → 2", search::json_array_length),
    scalar("json_object_keys(text)", "The keys of a JSON object; null if it is none", r#"json_object_keys('{"a":1,"b":2}') → [a, b]"#, search::json_object_keys),
    scalar("schema_of_json(text[, options])", "The schema, for `from_json`, of a constant JSON text", r#"schema_of_json('[{"a":1}]') → ARRAY<STRUCT<a: BIGINT>>"#, search::schema_of_json),
];

/// The options argument: a constant map of texts, keys in lower case. Options that would change the result and that we do not have
/// are refused.
pub(super) fn options(c: &Call<'_>, arg: Option<Typed>, known: &[&str]) -> Result<Vec<(String, String)>> {
    let Some(arg) = arg else { return Ok(Vec::new()) };
    let ScalarValue::Map(map) = require_constant(c, "options", &arg)? else {
        return Err(Error::spark(
            ErrorKind::Config,
            "INVALID_OPTIONS.NON_MAP_FUNCTION",
            "must use the `map()` function for options",
        ));
    };
    let (keys, values) = (map.keys(), map.values());
    let (Some(keys), Some(values)) = (keys.as_string_opt::<i32>(), values.as_string_opt::<i32>()) else {
        return Err(Error::spark(ErrorKind::Config, "INVALID_OPTIONS.NON_STRING_TYPE", "the options must be a map of texts"));
    };
    let mut options = Vec::new();
    for index in 0..keys.len() {
        let name = keys.value(index).to_lowercase();
        if !known.contains(&name.as_str()) {
            return Err(Error::spark(
                ErrorKind::Config,
                "UNSUPPORTED_FEATURE",
                format!("the option `{}` of {} is not supported", keys.value(index), c.name),
            ));
        }
        options.push((name, if values.is_valid(index) { values.value(index).to_owned() } else { String::new() }));
    }
    Ok(options)
}

/// `from_json(text, schema[, options])`.
fn from_json(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 3)?;
    let given = (c.args.len() == 3).then(|| c.args.remove(2));
    let options = options(&c, given, &["mode", "timezone", "columnnameofcorruptrecord"])?;
    let schema = c.args.remove(1);
    let ScalarValue::Utf8(Some(ddl)) = require_constant(&c, "schema", &schema)? else {
        return Err(Error::spark(
            ErrorKind::Config,
            "INVALID_SCHEMA.NON_STRING_LITERAL",
            "the schema of `from_json` must be a text",
        ));
    };
    let data_type = parse_ddl(&ddl)?;
    if !matches!(data_type, DataType::Struct(_) | DataType::List(_) | DataType::Map(..)) {
        return Err(mismatch("INVALID_JSON_SCHEMA", format!("`from_json` gives a STRUCT, an ARRAY or a MAP, not {ddl}")));
    }
    let option = |name: &str| options.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let on_malformed = match option("mode").unwrap_or_default().to_uppercase().as_str() {
        "FAILFAST" => OnMalformed::Fail,
        "DROPMALFORMED" => OnMalformed::Drop,
        _ => OnMalformed::Permissive,
    };
    if on_malformed == OnMalformed::Drop {
        return Err(Error::spark(
            ErrorKind::Config,
            "PARSE_MODE_UNSUPPORTED",
            "`from_json` has the parse modes PERMISSIVE and FAILFAST, not DROPMALFORMED",
        ));
    }
    let zone = option("timezone").unwrap_or_else(|| c.context.settings.time_zone.to_string());
    let corrupt = option("columnnameofcorruptrecord").unwrap_or_else(|| CORRUPT_RECORD.to_owned());
    let value = c.args.remove(0);
    let value = coerce_one(&c, 0, value, &Want::Text)?;
    let returns = Returns::fallible_if(on_malformed == OnMalformed::Fail, data_type.clone(), true);
    // The schema and the options go with the call's name, for they are part of what it computes.
    let name = format!("from_json[{ddl}|{on_malformed:?}|{zone}|{corrupt}]");
    Ok(call(&name, vec![value], returns, move |a| {
        let texts = a.expanded(0)?;
        let texts = texts.as_any().downcast_ref::<StringArray>().ok_or_else(|| Error::internal("the argument is text"))?;
        let options = ValueOptions { time_zone: &zone, on_malformed, corrupt_column: &corrupt, ..ValueOptions::default() };
        decode_values(texts, &data_type, &options)
    }))
}

/// `to_json(struct, array or map[, options])`.
fn to_json(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 2)?;
    let given = (c.args.len() == 2).then(|| c.args.remove(1));
    let options = options(&c, given, &["ignorenullfields", "timezone"])?;
    let option = |name: &str| options.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let ignore_null_fields = !option("ignorenullfields").is_some_and(|value| value.eq_ignore_ascii_case("false"));
    let zone = option("timezone").unwrap_or_else(|| c.context.settings.time_zone.to_string());
    let value = c.args.remove(0);
    if !matches!(value.data_type, DataType::Struct(_) | DataType::List(_) | DataType::Map(..)) {
        return Err(mismatch("INVALID_JSON_SCHEMA", "`to_json` takes a STRUCT, an ARRAY or a MAP"));
    }
    let returns = Returns::new(DataType::Utf8, value.nullable);
    let name = format!("to_json[{ignore_null_fields}|{zone}]");
    Ok(call(&name, vec![value], returns, move |a| {
        let options = WriteOptions { time_zone: &zone, ignore_null_fields };
        Ok(Arc::new(written(&a.expanded(0)?, &options)?))
    }))
}
