//! JSON in texts: `from_json`, `to_json`, and what is looked for in a text.

mod search;

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;

pub(in super::super) use search::json_tuple;

use super::super::types::parse_ddl_argument;
use super::super::{Call, Typed};
use super::arguments::{Want, arity, coerce_one, constant, mismatch, null_of, unexpected_type};
use super::datetime::{pattern_reader, pattern_writer};
use super::native::{Returns, call};
use super::{FunctionSpec, scalar};
use crate::error::{Error, ErrorKind, Result};
use crate::format::OnMalformed;
use crate::format::json::pretty::indent;
use crate::format::json::relaxed::Relaxed;
use crate::format::json::write::{WriteOptions, to_json as written};
use crate::format::json::{CORRUPT_RECORD, ValueOptions, decode_values};
use crate::format::nullable;
use crate::format::times::{ReadTime, Times, WriteTime};
use crate::plan::spark::cast::time::DAY_US;

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
/// are refused; what is no option of Spark's changes nothing there either.
pub(super) fn options(c: &Call<'_>, arg: Option<Typed>, known: &[&str]) -> Result<Vec<(String, String)>> {
    let Some(arg) = arg else { return Ok(Vec::new()) };
    let Some(ScalarValue::Map(map)) = constant(&arg)? else {
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
        if !known.contains(&name.as_str()) && ELSEWHERE.contains(&name.as_str()) {
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

/// Options that Spark has for JSON or CSV and that are not known to every function here.
const ELSEWHERE: [&str; 28] = [
    "locale",
    "writenonasciicharacterascodepoint",
    "enabledatetimeparsingfallback",
    "singlevariantcolumn",
    "sep",
    "delimiter",
    "quote",
    "escape",
    "comment",
    "chartoescapequoteescaping",
    "unescapedquotehandling",
    "nullvalue",
    "nanvalue",
    "positiveinf",
    "negativeinf",
    "emptyvalue",
    "maxcolumns",
    "maxcharspercolumn",
    "columnpruning",
    "prefersdate",
    "quoteall",
    "escapequotes",
    "ignoreleadingwhitespace",
    "ignoretrailingwhitespace",
    "dateformat",
    "timestampformat",
    "timestampntzformat",
    "timezone",
];

/// Options that change nothing where the schema is given and each text is a value by itself.
const IGNORED: [&str; 10] = [
    "multiline",
    "encoding",
    "charset",
    "linesep",
    "samplingratio",
    "infertimestamp",
    "prefersdate",
    "prefersdecimal",
    "primitivesasstring",
    "dropfieldifallnull",
];

/// Options that say what JSON is.
const RULES: [&str; 7] = [
    "allowunquotedfieldnames",
    "allownumericleadingzeros",
    "allowcomments",
    "allowbackslashescapinganycharacter",
    "allowunquotedcontrolchars",
    "allowsinglequotes",
    "allownonnumericnumbers",
];

/// What the options say that JSON is, if they say anything.
fn rules(option: &dyn Fn(&str) -> Option<String>) -> Option<Relaxed> {
    let is_on = |index: usize, usual: bool| option(RULES[index]).map_or(usual, |value| value.eq_ignore_ascii_case("true"));
    let rules = Relaxed {
        unquoted_names: is_on(0, false),
        leading_zeros: is_on(1, false),
        comments: is_on(2, false),
        any_escape: is_on(3, false),
        control_chars: is_on(4, false),
        single_quotes: is_on(5, true),
        non_numeric: is_on(6, true),
    };
    (rules != Relaxed::default()).then_some(rules)
}

/// `from_json(text, schema[, options])`.
fn from_json(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 3)?;
    let given = (c.args.len() == 3).then(|| c.args.remove(2));
    const KNOWN: [&str; 6] =
        ["mode", "timezone", "columnnameofcorruptrecord", "dateformat", "timestampformat", "timestampntzformat"];
    let options = options(&c, given, &[&KNOWN[..], &IGNORED[..], &RULES[..]].concat())?;
    let schema = c.args.remove(1);
    let ddl = schema_text(&c, &schema)?;
    let data_type = nullable(&parse_ddl_argument(&ddl)?);
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
    let times = read_times(&zone, &option)?;
    let relaxed = rules(&option);
    let value = c.args.remove(0);
    let value = only_text(&c, value)?;
    let returns = Returns::fallible_if(on_malformed == OnMalformed::Fail, data_type.clone(), true);
    // The schema and the options go with the call's name, for they are part of what it computes.
    let name = format!("from_json[{ddl}|{on_malformed:?}|{zone}|{corrupt}|{options:?}]");
    Ok(call(&name, vec![value], returns, move |a| {
        let texts = a.expanded(0)?;
        let texts = texts.as_any().downcast_ref::<StringArray>().ok_or_else(|| Error::internal("the argument is text"))?;
        let options = ValueOptions {
            time_zone: &zone,
            on_malformed,
            corrupt_column: &corrupt,
            times: times.clone(),
            relaxed,
            ..ValueOptions::default()
        };
        decode_values(texts, &data_type, &options)
    }))
}

/// The schema argument of `from_json` and its like, a constant text.
pub(super) fn schema_text(c: &Call<'_>, schema: &Typed) -> Result<String> {
    match constant(schema)? {
        Some(ScalarValue::Utf8(Some(ddl))) if ddl.trim().is_empty() => {
            Err(Error::spark(ErrorKind::Config, "PARSE_EMPTY_STATEMENT", format!("the schema of `{}` is empty", c.name)))
        }
        Some(ScalarValue::Utf8(Some(ddl))) => Ok(ddl),
        _ => Err(Error::spark(
            ErrorKind::Config,
            "INVALID_SCHEMA.NON_STRING_LITERAL",
            format!("the schema of `{}` must be a constant text", c.name),
        )),
    }
}

/// A text or null as it is; nothing else is cast.
pub(super) fn only_text(c: &Call<'_>, value: Typed) -> Result<Typed> {
    match value.data_type {
        DataType::Utf8 | DataType::Null => coerce_one(c, 0, value, &Want::Text),
        ref other => Err(unexpected_type(c, 0, other, &Want::Text)),
    }
}

/// How the options say that times are read; `None` if they do not.
pub(super) fn read_times(zone: &str, option: &dyn Fn(&str) -> Option<String>) -> Result<Option<Arc<Times<ReadTime>>>> {
    let [date, timestamp, timestamp_ntz] = ["dateformat", "timestampformat", "timestampntzformat"].map(option);
    if date.is_none() && timestamp.is_none() && timestamp_ntz.is_none() {
        return Ok(None);
    }
    let reader = |pattern: Option<String>, zone: &str| pattern.map(|pattern| pattern_reader(&pattern, zone)).transpose();
    let date = reader(date, "UTC")?.map(|read| -> ReadTime { Arc::new(move |text| read(text).map(|us| us.div_euclid(DAY_US))) });
    Ok(Some(Arc::new(Times { date, timestamp: reader(timestamp, zone)?, timestamp_ntz: reader(timestamp_ntz, "UTC")? })))
}

/// How the options say that times are written.
fn write_times(zone: &str, option: &dyn Fn(&str) -> Option<String>) -> Result<Times<WriteTime>> {
    let writer = |name: &str, zone: &str| option(name).map(|pattern| pattern_writer(&pattern, zone)).transpose();
    let date = writer("dateformat", "UTC")?
        .map(|write| -> WriteTime { Arc::new(move |days, out| write(days.saturating_mul(DAY_US), out)) });
    let (timestamp, timestamp_ntz) = (writer("timestampformat", zone)?, writer("timestampntzformat", "UTC")?);
    Ok(Times { date, timestamp, timestamp_ntz })
}

/// Options that say how values are written.
const OF_WRITING: [&str; 7] = [
    "ignorenullfields",
    "timezone",
    "dateformat",
    "timestampformat",
    "timestampntzformat",
    "pretty",
    "writenonasciicharacterascodepoint",
];

/// `to_json(struct, array or map[, options])`.
fn to_json(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 2)?;
    let given = (c.args.len() == 2).then(|| c.args.remove(1));
    let options = options(&c, given, &OF_WRITING)?;
    let option = |name: &str| options.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let ignore_null_fields = !option("ignorenullfields").is_some_and(|value| value.eq_ignore_ascii_case("false"));
    let zone = option("timezone").unwrap_or_else(|| c.context.settings.time_zone.to_string());
    let times = write_times(&zone, &option)?;
    let value = c.args.remove(0);
    if value.data_type == DataType::Null {
        return null_of(DataType::Utf8);
    }
    if !matches!(value.data_type, DataType::Struct(_) | DataType::List(_) | DataType::Map(..)) {
        return Err(mismatch("INVALID_JSON_SCHEMA", "`to_json` takes a STRUCT, an ARRAY or a MAP"));
    }
    let returns = Returns::new(DataType::Utf8, value.nullable);
    let is_on = |name: &str| option(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let (is_pretty, is_ascii) = (is_on("pretty"), is_on("writenonasciicharacterascodepoint"));
    let name = format!("to_json[{ignore_null_fields}|{zone}|{options:?}]");
    Ok(call(&name, vec![value], returns, move |a| {
        let options = WriteOptions { time_zone: &zone, ignore_null_fields, times: times.clone() };
        let texts = written(&a.expanded(0)?, &options)?;
        let texts = if is_ascii { texts.iter().map(|text| text.map(escaped)).collect() } else { texts };
        if !is_pretty {
            return Ok(Arc::new(texts));
        }
        a.strings(|row, out| texts.is_valid(row).then(|| indent(texts.value(row), out)))
    }))
}

/// JSON with an escape for each character, or half of one, that is not ASCII.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut units = [0; 2];
    for char in json.chars() {
        if char.is_ascii() {
            out.push(char);
        } else {
            out.extend(char.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04X}")));
        }
    }
    out
}
