//! From the answer of a call to the values that were declared: JSON pointers into it, its text, or what is known of the call.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, StructArray, UInt32Array};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef};
use serde::Deserializer;
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::envelope::{Envelope, Known};
use crate::format::OnMalformed;
use crate::format::json::{ValueOptions, decode_values};
use crate::function::{Answer, CallError, CallErrorKind, Returns};
use crate::pipeline::nearest;
use crate::plan::spark::types::sql_name;

/// Where the values that a function returns are found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AnswerSettings {
    /// In the answer, under their own names; a single value is the answer itself.
    #[default]
    ByName,
    /// The answer as it is: a STRING.
    Text,
    /// What is known of the call, by the names of the fields.
    Envelope,
    /// At this pointer.
    At(String),
    /// Each at its pointer, or `$name` for what is known of the call.
    Fields(Vec<(String, String)>),
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    Pointer(Vec<String>),
    Known(Known),
}

/// Reads answers.
#[derive(Debug)]
pub(super) struct AnswerMap {
    /// What is decoded: the fields of the answer, or one for a single value.
    fields: Fields,
    origins: Vec<Origin>,
    form: Form,
    time_zone: Arc<str>,
}

#[derive(Debug)]
enum Form {
    /// The whole answer as a STRING.
    Text,
    One,
    Struct,
    /// The items of the array at the pointer.
    Rows(SchemaRef, Vec<String>),
}

impl AnswerMap {
    pub(super) fn new(
        settings: &AnswerSettings,
        rows: Option<&str>,
        returns: &Returns,
        time_zone: Arc<str>,
    ) -> Result<Self, String> {
        let (fields, form) = match (returns, rows) {
            (Returns::Rows(schema), rows) => {
                (schema.fields().clone(), Form::Rows(schema.clone(), pointer(rows.unwrap_or_default())?))
            }
            (Returns::Value(_), Some(_)) => return Err("rows goes with returns: TABLE (…) only".to_owned()),
            (Returns::Value(DataType::Struct(fields)), None) => (fields.clone(), Form::Struct),
            (Returns::Value(data_type), None) => (vec![Field::new("value", data_type.clone(), true)].into(), Form::One),
        };
        let own = |field: &FieldRef| Origin::Pointer(vec![field.name().clone()]);
        let origins = match (settings, &form) {
            (AnswerSettings::ByName, Form::One) => vec![Origin::Pointer(Vec::new())],
            (AnswerSettings::ByName, _) => fields.iter().map(own).collect(),
            (AnswerSettings::Text, Form::One) if fields[0].data_type() == &DataType::Utf8 => {
                return Ok(Self { fields, origins: Vec::new(), form: Form::Text, time_zone });
            }
            (AnswerSettings::Text, _) => return Err("text goes with returns: STRING only".to_owned()),
            (AnswerSettings::Envelope, Form::Struct) => {
                fields.iter().map(|field| Known::of(field.name()).map(Origin::Known)).collect::<Result<_, _>>()?
            }
            (AnswerSettings::Envelope, _) => {
                return Err("envelope goes with several fields only, such as returns: \"status INT, body STRING\"".to_owned());
            }
            (AnswerSettings::At(at), Form::One) => vec![origin(at)?],
            (AnswerSettings::At(_), _) => {
                return Err("expected a map from each field that is returned to its pointer".to_owned());
            }
            (AnswerSettings::Fields(_), Form::One) => {
                return Err(format!("expected one pointer, as a single {} is returned", sql_name(fields[0].data_type())));
            }
            (AnswerSettings::Fields(named), _) => by_field(named, &fields)?,
        };
        for (field, origin) in fields.iter().zip(&origins) {
            let Origin::Known(known) = origin else { continue };
            if matches!(form, Form::Rows(..)) {
                return Err(format!("${known} is of the call, and goes with one row for each call only"));
            }
            known.fits(field.data_type())?;
        }
        Ok(Self { fields, origins, form, time_zone })
    }

    /// Whether it holds what is known of the call: then a call that fails is a row too.
    pub(super) fn is_envelope(&self) -> bool {
        self.origins.iter().any(|origin| matches!(origin, Origin::Known(_)))
    }

    /// Whether it holds how long the call took.
    pub(super) fn tells_time(&self) -> bool {
        self.origins.contains(&Origin::Known(Known::TimeMs))
    }

    /// The values of an answer.
    pub(super) fn read(&self, body: &[u8], envelope: Option<&Envelope>) -> Result<Answer, CallError> {
        let text = std::str::from_utf8(body).map_err(|_| bad("the answer is not UTF-8".to_owned()))?;
        if let Form::Text = self.form {
            return Ok(Answer::Values(Arc::new(StringArray::from(vec![text]))));
        }
        // An answer without content has nothing at any pointer.
        let text = if text.trim().is_empty() { "null" } else { text };
        if let Form::Rows(schema, at) = &self.form {
            return self.rows(text, schema, at);
        }
        let values = self.decode(vec![self.object(text, envelope)?])?;
        Ok(Answer::Values(match self.form {
            Form::One => values.column(0).clone(),
            _ => Arc::new(values),
        }))
    }

    /// The row of a call that has no answer to read.
    pub(super) fn without_answer(&self, envelope: &Envelope) -> Result<Answer, CallError> {
        self.read(b"", Some(envelope))
    }

    fn rows(&self, text: &str, schema: &SchemaRef, at: &[String]) -> Result<Answer, CallError> {
        let mut found = [None];
        find(text, &[(0, at)], &mut found)?;
        let items: Vec<&RawValue> = match found[0] {
            None | Some("null") => Vec::new(),
            Some(array) => serde_json::from_str(array).map_err(|_| bad(format!("the answer's {} is no array", shown(at))))?,
        };
        let objects = items.iter().map(|item| self.object(item.get(), None)).collect::<Result<Vec<_>, _>>()?;
        let of = UInt32Array::from(vec![0; objects.len()]);
        let values = self.decode(objects)?;
        let rows = RecordBatch::try_new(schema.clone(), values.columns().to_vec()).map_err(|error| bad(error.to_string()))?;
        Ok(Answer::Rows { rows, of })
    }

    /// The values of one row as a JSON object of the declared fields.
    fn object(&self, text: &str, envelope: Option<&Envelope>) -> Result<String, CallError> {
        let mut wanted = Vec::with_capacity(self.origins.len());
        for (index, origin) in self.origins.iter().enumerate() {
            if let Origin::Pointer(path) = origin {
                wanted.push((index, path.as_slice()));
            }
        }
        let mut found = vec![None; self.origins.len()];
        // What is known of the call does not depend on what the answer is.
        if !wanted.is_empty() {
            find(text, &wanted, &mut found)?;
        }
        let mut object = String::from("{");
        for ((field, origin), found) in self.fields.iter().zip(&self.origins).zip(found) {
            let known = match (origin, envelope) {
                (Origin::Known(known), Some(envelope)) => known.json(envelope),
                _ => None,
            };
            let Some(value) = found.map(str::to_owned).or(known) else { continue };
            if object.len() > 1 {
                object.push(',');
            }
            object.push_str(&serde_json::Value::from(field.name().as_str()).to_string());
            object.push(':');
            object.push_str(&value);
        }
        object.push('}');
        Ok(object)
    }

    fn decode(&self, objects: Vec<String>) -> Result<StructArray, CallError> {
        if let Ok(values) = self.decode_as(&objects, self.fields.clone()) {
            return Ok(values.as_struct().clone());
        }
        // Slowly, to tell which one it is.
        for (field, origin) in self.fields.iter().zip(&self.origins) {
            if self.decode_as(&objects, vec![field.clone()].into()).is_err() {
                let at = if let Origin::Pointer(path) = origin { shown(path) } else { field.name().clone() };
                return Err(bad(format!("the answer's {at} is no {}", sql_name(field.data_type()))));
            }
        }
        Err(bad("the answer is not what was declared".to_owned()))
    }

    fn decode_as(&self, objects: &[String], fields: Fields) -> crate::error::Result<ArrayRef> {
        let options = ValueOptions {
            time_zone: &self.time_zone,
            on_malformed: OnMalformed::Fail,
            // No field has this name, as none is empty.
            corrupt_column: "",
            ..ValueOptions::default()
        };
        decode_values(&StringArray::from_iter_values(objects), &DataType::Struct(fields), &options)
    }
}

fn bad(message: String) -> CallError {
    CallError::new(CallErrorKind::BadAnswer, message)
}

fn by_field(named: &[(String, String)], fields: &Fields) -> Result<Vec<Origin>, String> {
    let is = |name: &str, field: &FieldRef| field.name().eq_ignore_ascii_case(name);
    if let Some((unknown, _)) = named.iter().find(|(name, _)| !fields.iter().any(|field| is(name, field))) {
        let near = nearest(unknown, fields.iter().map(|field| field.name().as_str()));
        let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        return Err(format!("returns has no field {unknown:?}{hint}"));
    }
    let found = |field: &FieldRef| {
        let mut of_field = named.iter().filter(|(name, _)| is(name, field));
        match (of_field.next(), of_field.next()) {
            (Some((_, at)), None) => origin(at),
            (Some(_), Some((name, _))) => Err(format!("field {name:?} is there twice")),
            (None, _) => Err(format!("expected a pointer for field {:?}, which is returned", field.name())),
        }
    };
    fields.iter().map(found).collect()
}

fn origin(text: &str) -> Result<Origin, String> {
    match text.strip_prefix('$') {
        Some(name) => Known::of(name).map(Origin::Known),
        None => pointer(text).map(Origin::Pointer),
    }
}

/// A JSON pointer (RFC 6901).
fn pointer(text: &str) -> Result<Vec<String>, String> {
    let expected = || format!("expected a JSON pointer such as /data/score, found {text:?}");
    let Some(rest) = text.strip_prefix('/') else {
        return if text.is_empty() { Ok(Vec::new()) } else { Err(expected()) };
    };
    rest.split('/')
        .map(|token| {
            let wrong = token.split('~').skip(1).any(|after| !after.starts_with(['0', '1']));
            if wrong { Err(expected()) } else { Ok(token.replace("~1", "/").replace("~0", "~")) }
        })
        .collect()
}

fn shown(path: &[String]) -> String {
    if path.is_empty() {
        return "whole".to_owned();
    }
    path.iter().map(|token| format!("/{}", token.replace('~', "~0").replace('/', "~1"))).collect()
}

/// Notes the texts of the values at the paths of `wanted`, each under its index. The whole text is checked to be JSON.
fn find<'a>(text: &'a str, wanted: &[(usize, &[String])], found: &mut [Option<&'a str>]) -> Result<(), CallError> {
    let mut members: BTreeMap<&str, Vec<(usize, &[String])>> = BTreeMap::new();
    for (index, path) in wanted {
        match path.split_first() {
            None => found[*index] = Some(text.trim()),
            Some((first, rest)) => members.entry(first).or_default().push((*index, rest)),
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let picked = deserializer
        .deserialize_any(Pick(&members))
        .and_then(|picked| deserializer.end().map(|()| picked))
        .map_err(|error| bad(format!("the answer is not JSON: {error}")))?;
    for (name, text) in picked {
        find(text, &members[name], found)?;
    }
    Ok(())
}

/// Members of an object, or items of an array by their index, as text.
struct Pick<'w>(&'w BTreeMap<&'w str, Vec<(usize, &'w [String])>>);

impl<'w, 'de> Visitor<'de> for Pick<'w> {
    type Value = BTreeMap<&'w str, &'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    /// Of a key that is there twice, the last one counts.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut picked = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            match self.0.get_key_value(key.as_str()) {
                Some((name, _)) => drop(picked.insert(*name, map.next_value::<&RawValue>()?.get())),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(picked)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut picked = BTreeMap::new();
        let mut index = 0_usize;
        loop {
            match self.0.get_key_value(index.to_string().as_str()) {
                Some((name, _)) => match items.next_element::<&RawValue>()? {
                    Some(item) => drop(picked.insert(*name, item.get())),
                    None => return Ok(picked),
                },
                None => {
                    if items.next_element::<IgnoredAny>()?.is_none() {
                        return Ok(picked);
                    }
                }
            }
            index += 1;
        }
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }
}
