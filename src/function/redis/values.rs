//! What was found → values of the declared type. The texts of Redis become JSON, which the decoder of JSON reads for all rows at once.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Field, Fields};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;

use super::read::Found;
use crate::format::OnMalformed;
use crate::format::json::{ValueOptions, decode_values};
use crate::function::{CallError, CallErrorKind};
use crate::plan::spark::types::sql_name;

/// Reads values of one type.
#[derive(Debug)]
pub(super) struct Values {
    data_type: DataType,
    /// The decoder reads objects: this is one with the value in it.
    object: DataType,
    time_zone: Arc<str>,
}

impl Values {
    /// # Errors
    /// For a type that no text can be read as.
    pub(super) fn new(data_type: &DataType, time_zone: Arc<str>) -> Result<Self, String> {
        let object = DataType::Struct(Fields::from(vec![Field::new("v", data_type.clone(), true)]));
        let values = Self { data_type: data_type.clone(), object, time_zone };
        match values.decode_all(&[String::from("{}")]) {
            Ok(_) => Ok(values),
            Err(error) => Err(error.chain()),
        }
    }

    /// A value for each row, null for those whose key holds something else, which are told.
    pub(super) fn decode(&self, found: Vec<Found>) -> Result<(ArrayRef, Vec<(usize, CallError)>), CallError> {
        let mut failed = Vec::new();
        let mut objects = Vec::with_capacity(found.len());
        for (row, found) in found.into_iter().enumerate() {
            let mut json = String::from("{\"v\":");
            if let Err(error) = self.write(found, &mut json) {
                failed.push((row, error));
                json.truncate(5);
                json.push_str("null");
            }
            json.push('}');
            objects.push(json);
        }
        let values = match self.decode_all(&objects) {
            Ok(values) => values,
            Err(_) => {
                // One by one, to tell which they are.
                for (row, object) in objects.iter_mut().enumerate() {
                    if self.decode_all(std::slice::from_ref(object)).is_err() {
                        failed.push((row, self.unfit()));
                        *object = String::from("{}");
                    }
                }
                failed.sort_unstable_by_key(|(row, _)| *row);
                self.decode_all(&objects).map_err(|error| CallError::new(CallErrorKind::BadAnswer, error.chain()))?
            }
        };
        Ok((values.as_struct().column(0).clone(), failed))
    }

    fn decode_all(&self, objects: &[String]) -> crate::error::Result<ArrayRef> {
        let options = ValueOptions {
            time_zone: &self.time_zone,
            on_malformed: OnMalformed::Fail,
            // No field has this name.
            corrupt_column: "",
            ..ValueOptions::default()
        };
        decode_values(&StringArray::from_iter_values(objects), &self.object, &options)
    }

    fn unfit(&self) -> CallError {
        CallError::new(CallErrorKind::BadAnswer, format!("what is there is no {}", sql_name(&self.data_type)))
    }

    fn write(&self, found: Found, out: &mut String) -> Result<(), CallError> {
        let written = match (found, &self.data_type) {
            (Found::Nothing, _) => {
                out.push_str("null");
                Some(())
            }
            (Found::Refused(error), _) => return Err(error),
            (Found::One(bytes), data_type) => write(&bytes, data_type, out),
            (Found::Fields(values), DataType::Struct(fields)) => {
                let present = fields.iter().zip(&values).filter_map(|(field, value)| Some((field, value.as_deref()?)));
                between(out, ['{', '}'], present, |(field, value), out| {
                    out.push_str(&serde_json::Value::from(field.name().as_str()).to_string());
                    out.push(':');
                    write(value, field.data_type(), out)
                })
            }
            (Found::Pairs(pairs), DataType::Map(entries, _)) => {
                let DataType::Struct(fields) = entries.data_type() else { return Err(self.unfit()) };
                between(out, ['{', '}'], pairs.iter(), |(name, value), out| {
                    write(name, &DataType::Utf8, out)?;
                    out.push(':');
                    write(value, fields[1].data_type(), out)
                })
            }
            (Found::Members(members), DataType::List(element)) => {
                between(out, ['[', ']'], members.iter(), |member, out| write(member, element.data_type(), out))
            }
            _ => None,
        };
        written.ok_or_else(|| self.unfit())
    }
}

fn between<T>(
    out: &mut String,
    [open, close]: [char; 2],
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(T, &mut String) -> Option<()>,
) -> Option<()> {
    out.push(open);
    for (nth, item) in items.enumerate() {
        if nth > 0 {
            out.push(',');
        }
        write(item, out)?;
    }
    out.push(close);
    Some(())
}

/// Appends what Redis holds as JSON, as a value of this type would be written; `None` if it cannot be one.
fn write(bytes: &[u8], data_type: &DataType, out: &mut String) -> Option<()> {
    if matches!(data_type, DataType::Binary | DataType::LargeBinary) {
        out.push('"');
        STANDARD.encode_string(bytes, out);
        out.push('"');
        return Some(());
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let is_json = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
    match data_type {
        DataType::Struct(_) | DataType::List(_) | DataType::Map(..) if is_json(text) => out.push_str(text),
        DataType::Struct(_) | DataType::List(_) | DataType::Map(..) => return None,
        DataType::Boolean => match text {
            "true" | "1" => out.push_str("true"),
            "false" | "0" => out.push_str("false"),
            _ => return None,
        },
        // `NaN` and the like are told in quotes.
        kind if kind.is_numeric()
            && text.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
            && is_json(text) =>
        {
            out.push_str(text);
        }
        _ => out.push_str(&serde_json::Value::from(text).to_string()),
    }
    Some(())
}
