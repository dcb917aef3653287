//! What is looked for in JSON texts: values at paths, lengths, keys, members, the schema.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, StringBuilder, StructArray};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::scalar::ScalarValue;

use super::super::super::column_size::TextLists;
use super::super::super::{Call, Typed};
use super::super::arguments::{
    Want, arity, array_of, convert, expect_one, mismatch, null_of, require_constant, struct_of, text, wrong_count,
};
use super::super::datetime::pattern_reader;
use super::super::native::{Args, Returns, call, within_column};
use crate::error::{Error, ErrorKind, Result};
use crate::format::json::path::{JsonPath, array_length, object_keys, object_members};
use crate::format::json::{Inference, infer_type};
use crate::plan::spark::cast::time::parse_timestamp;

/// The arguments, which must be texts: Spark casts nothing here.
fn texts(c: &mut Call<'_>, count: usize) -> Result<Vec<Typed>> {
    arity(c, count, count)?;
    let args = std::mem::take(&mut c.args);
    args.into_iter()
        .enumerate()
        .map(|(index, arg)| {
            if arg.data_type == DataType::Null {
                convert(c, arg, &DataType::Utf8)
            } else {
                expect_one(c, index, arg, &Want::Text)
            }
        })
        .collect()
}

/// Bytes that came from a text, and are one again.
fn push_bytes(bytes: &[u8], out: &mut String) -> Result<()> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::internal("a part of a text is a text"))?;
    out.push_str(text);
    Ok(())
}

/// `get_json_object(text, path)`.
pub(super) fn get_json_object(mut c: Call<'_>) -> Result<Typed> {
    let args = texts(&mut c, 2)?;
    Ok(call("get_json_object", args, Returns::new(DataType::Utf8, true), |a| {
        let (json, paths) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?);
        // Paths repeat: the last one is kept.
        let mut known: Option<(&str, Option<JsonPath>)> = None;
        let mut found = Vec::new();
        a.try_strings(|row, out| {
            let (Some(json), Some(path)) = (json.get(row), paths.get(row)) else { return Ok(None) };
            if known.as_ref().is_none_or(|(last, _)| *last != path) {
                known = Some((path, JsonPath::parse(path)));
            }
            let Some((_, Some(path))) = &known else { return Ok(None) };
            found.clear();
            if !path.find(json.as_bytes(), &mut found) {
                return Ok(None);
            }
            push_bytes(&found, out).map(Some)
        })
    }))
}

/// `json_array_length(text)`.
pub(super) fn json_array_length(mut c: Call<'_>) -> Result<Typed> {
    let args = texts(&mut c, 1)?;
    Ok(call("json_array_length", args, Returns::new(DataType::Int32, true), |a| {
        let json = a.column::<StringArray>(0)?;
        a.primitive::<Int32Type>(|row| i32::try_from(array_length(json.get(row)?.as_bytes())?).ok())
    }))
}

/// `json_object_keys(text)`.
pub(super) fn json_object_keys(mut c: Call<'_>) -> Result<Typed> {
    let args = texts(&mut c, 1)?;
    Ok(call("json_object_keys", args, Returns::new(array_of(DataType::Utf8), true), |a| {
        let json = a.column::<StringArray>(0)?;
        let mut lists = TextLists::default();
        let mut keys = Vec::new();
        for row in 0..a.rows() {
            keys.clear();
            let found = json
                .get(row)
                .and_then(|json| object_keys(json.as_bytes(), |key| keys.push(String::from_utf8_lossy(key).into_owned())));
            if found.is_some() {
                keys.iter().try_for_each(|key| lists.push(key))?;
            }
            lists.end(found.is_some());
        }
        Ok(lists.finish())
    }))
}

/// Options that say which types values have.
const OF_INFERENCE: [&str; 7] =
    ["primitivesasstring", "dropfieldifallnull", "prefersdecimal", "infertimestamp", "timestampformat", "timezone", "dateformat"];

/// `schema_of_json(text[, options])`: of a constant, so it is a constant.
pub(super) fn schema_of_json(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 2)?;
    let given = (c.args.len() == 2).then(|| c.args.remove(1));
    let known = [&OF_INFERENCE[..], &super::RULES[..]].concat();
    let options = super::options(&c, given, &known)?;
    let option = |name: &str| options.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let rules = super::rules(&option);
    let is_on = |name: &str| options.iter().any(|(key, value)| key == name && value.eq_ignore_ascii_case("true"));
    let json = c.args.remove(0);
    if json.data_type != DataType::Null {
        expect_one(&c, 0, json.clone(), &Want::Text)?;
    }
    let json = match require_constant(&c, "json", &json)? {
        ScalarValue::Utf8(Some(json)) => rules.map_or(json.clone(), |rules| rules.rewritten(&json)),
        _ => return Err(mismatch("UNEXPECTED_NULL", "the JSON of `schema_of_json` must not be null")),
    };
    let zone = option("timezone").unwrap_or_else(|| c.context.settings.time_zone.to_string());
    let read = option("timestampformat").map(|pattern| pattern_reader(&pattern, &zone)).transpose()?;
    let is_time = |text: &str| match &read {
        Some(read) => read(text).is_some(),
        None => parse_timestamp(text.as_bytes()).is_some(),
    };
    let asked = Inference {
        primitives_as_text: is_on("primitivesasstring"),
        prefers_decimal: is_on("prefersdecimal"),
        is_time: is_on("infertimestamp").then_some(&is_time),
    };
    let inferred = infer_type(json.as_bytes(), &asked)
        .map_err(|reason| Error::new(ErrorKind::Data, format!("could not infer a schema: {reason}")))?;
    if has_negative_scale(&inferred) {
        return Err(Error::spark(ErrorKind::Config, "NEGATIVE_SCALE_DISALLOWED", "a DECIMAL has no negative scale"));
    }
    let drop_null = is_on("dropfieldifallnull");
    let empty = DataType::Struct(Default::default());
    let schema = match (settled(&inferred, drop_null), &inferred) {
        (Some(settled), _) => settled,
        (None, DataType::Struct(_)) => empty,
        (None, DataType::List(item)) if matches!(item.data_type(), DataType::Struct(_)) => array_of(empty),
        (None, _) => DataType::Utf8,
    };
    let mut ddl = String::new();
    write_ddl(&schema, &mut ddl);
    Ok(text(ddl))
}

fn has_negative_scale(inferred: &DataType) -> bool {
    match inferred {
        DataType::Decimal128(_, scale) => *scale < 0,
        DataType::List(item) => has_negative_scale(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_negative_scale(field.data_type())),
        _ => false,
    }
}

/// The type without structs that have no fields; what is always null is STRING, or left out.
fn settled(inferred: &DataType, drop_null: bool) -> Option<DataType> {
    match inferred {
        DataType::Null => (!drop_null).then_some(DataType::Utf8),
        DataType::List(item) => settled(item.data_type(), drop_null).map(array_of),
        DataType::Struct(fields) => {
            let kept: Vec<_> = fields
                .iter()
                .filter(|field| !field.name().is_empty())
                .filter_map(|field| Some((field.name().clone(), settled(field.data_type(), drop_null)?)))
                .collect();
            (!kept.is_empty()).then(|| struct_of(kept))
        }
        other => Some(other.clone()),
    }
}

/// The type as DDL, names in backquotes where they need them.
fn write_ddl(data_type: &DataType, out: &mut String) {
    match data_type {
        DataType::List(item) => {
            out.push_str("ARRAY<");
            write_ddl(item.data_type(), out);
            out.push('>');
        }
        DataType::Struct(fields) => {
            out.push_str("STRUCT<");
            for (index, field) in fields.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                out.push_str(&quoted(field.name()));
                out.push_str(": ");
                write_ddl(field.data_type(), out);
            }
            out.push('>');
        }
        simple => out.push_str(&super::super::super::types::sql_name(simple)),
    }
}

fn quoted(name: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain { name.to_owned() } else { format!("`{}`", name.replace('`', "``")) }
}

/// The members that `json_tuple` names, as an array of one struct of texts `c0`, `c1`, …
pub(in super::super::super) fn json_tuple(args: Vec<Typed>) -> Result<Typed> {
    if args.len() < 2 {
        return Err(wrong_count("json_tuple", "> 1", args.len()));
    }
    let args = args
        .into_iter()
        .map(|arg| match arg.data_type {
            DataType::Utf8 => Ok(arg),
            DataType::Null => null_of(DataType::Utf8),
            _ => Err(mismatch("NON_STRING_TYPE", "all arguments of `json_tuple` must be texts")),
        })
        .collect::<Result<Vec<_>>>()?;
    let item = struct_of((0..args.len() - 1).map(|index| (format!("c{index}"), DataType::Utf8)));
    Ok(call("json_tuple", args, Returns::new(array_of(item), false), tuples))
}

fn tuples(a: &Args<'_>) -> Result<ArrayRef> {
    let json = a.column::<StringArray>(0)?;
    let names = (1..a.count()).map(|index| a.column::<StringArray>(index)).collect::<Result<Vec<_>>>()?;
    let mut columns: Vec<StringBuilder> = names.iter().map(|_| StringBuilder::new()).collect();
    let mut values: Vec<Option<String>> = vec![None; names.len()];
    let mut bytes = 0;
    for row in 0..a.rows() {
        values.fill(None);
        let is_wanted = |key: &[u8]| names.iter().any(|name| name.get(row).is_some_and(|name| name.as_bytes() == key));
        let read = json.get(row).and_then(|json| {
            // Of members with one name the last counts.
            object_members(json.as_bytes(), is_wanted, |key, value| {
                for (name, slot) in names.iter().zip(&mut values) {
                    if name.get(row).is_some_and(|name| name.as_bytes() == key) {
                        *slot = Some(String::from_utf8_lossy(value).into_owned());
                    }
                }
            })
        });
        for (column, value) in columns.iter_mut().zip(&mut values) {
            let value = value.take().filter(|_| read.is_some());
            bytes = within_column(bytes + value.as_ref().map_or(0, String::len))?;
            column.append_option(value);
        }
    }
    let DataType::List(item) = a.returns() else { return Err(Error::internal("json_tuple gives an array")) };
    let DataType::Struct(fields) = item.data_type() else { return Err(Error::internal("json_tuple gives structs")) };
    let columns = columns.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect();
    let structs = StructArray::try_new(fields.clone(), columns, None).map_err(super::super::native::from_arrow)?;
    let offsets = arrow::buffer::OffsetBuffer::from_lengths(std::iter::repeat_n(1, a.rows()));
    Ok(Arc::new(arrow::array::ListArray::new(Arc::clone(item), offsets, Arc::new(structs), None)))
}
