//! A row's values, as text for URLs, headers and keys and as JSON for bodies.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Fields};

use super::template::{Piece, Template};
use super::{CallError, CallErrorKind};
use crate::format::json::write::{WriteOptions, write_value};
use crate::pipeline::nearest;

/// The arguments of one call: a row.
#[derive(Debug, Clone)]
pub(crate) struct Arguments {
    pub(crate) row: RecordBatch,
    /// The zone in which timestamps show their offset.
    pub(crate) time_zone: Arc<str>,
    /// Names the call in its batch: the same when the batch runs again.
    pub(crate) request_id: Arc<str>,
}

/// A place's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Index of an argument.
    Arg(usize),
    /// The name of the call.
    RequestId,
}

/// The place that names the call.
const REQUEST_ID: &str = "$request_id";

impl Place {
    /// The place that `name` stands for: an argument in any case of letters, or `$request_id`.
    pub(crate) fn of(name: &str, args: &Fields) -> Result<Self, String> {
        if name == REQUEST_ID {
            return Ok(Self::RequestId);
        }
        let exact = args.iter().position(|arg| arg.name() == name);
        match exact.or_else(|| args.iter().position(|arg| arg.name().eq_ignore_ascii_case(name))) {
            Some(index) => Ok(Self::Arg(index)),
            None => {
                let near = nearest(name, args.iter().map(|arg| arg.name().as_str()).chain([REQUEST_ID]));
                let hint = near.map(|near| format!("; did you mean {{{near}}}?")).unwrap_or_default();
                Err(format!("there is no argument {name:?}{hint}"))
            }
        }
    }
}

/// A template whose places are known.
#[derive(Debug, Clone)]
pub(crate) struct Filling {
    pub(crate) template: Template,
    places: Vec<Place>,
}

impl Filling {
    pub(crate) fn new(template: Template, args: &Fields) -> Result<Self, String> {
        let places = template.args().map(|name| Place::of(name, args)).collect::<Result<_, _>>()?;
        Ok(Self { template, places })
    }

    /// Calls `take` with each part in order: text as written, and the values between.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Result<&crate::pipeline::Text, Place>> {
        let mut places = self.places.iter();
        self.template.pieces().iter().map(move |piece| match piece {
            Piece::Text(text) => Ok(text),
            Piece::Arg(_) => Err(*places.next().expect("a place for each")),
        })
    }

    /// The text with its values; none if it is nothing but a place whose value is null.
    pub(crate) fn fill(&self, args: &Arguments, what: &str) -> Result<Option<String>, CallError> {
        let mut filled = String::new();
        for part in self.parts() {
            match part {
                Ok(text) => filled.push_str(text.expose()),
                Err(place) => match args.text(place)? {
                    Some(value) => filled.push_str(&value),
                    None if self.template.only_arg().is_some() => return Ok(None),
                    None => return Err(args.is_null(place, what)),
                },
            }
        }
        Ok(Some(filled))
    }
}

impl Arguments {
    /// Appends a value as JSON, as Spark's `to_json` writes it.
    pub(crate) fn write_json(&self, place: Place, out: &mut Vec<u8>) -> Result<(), CallError> {
        match place {
            Place::RequestId => serde_json::to_writer(out, &*self.request_id).map_err(|error| error.to_string()),
            Place::Arg(index) => {
                write_value(self.row.column(index).as_ref(), 0, &options(&self.time_zone), out).map_err(|error| error.chain())
            }
        }
        .map_err(|message| CallError::new(CallErrorKind::Config, message))
    }

    /// A value as text: strings as they are, others as in JSON without quotes; none if it is null.
    pub(crate) fn text(&self, place: Place) -> Result<Option<String>, CallError> {
        let Place::Arg(index) = place else { return Ok(Some(self.request_id.to_string())) };
        let mut text = Vec::new();
        let is_there = write_text(self.row.column(index).as_ref(), 0, &self.time_zone, &mut text);
        let is_there = is_there.map_err(|error| CallError::new(CallErrorKind::Config, error.chain()))?;
        Ok(is_there.then(|| String::from_utf8(text).ok()).flatten())
    }

    /// Why a text cannot be written.
    pub(crate) fn is_null(&self, place: Place, what: &str) -> CallError {
        self.unfit(place, &format!("is null, which has no place in the text of {what}"))
    }

    /// Why no call can be made with this value.
    pub(crate) fn unfit(&self, place: Place, why: &str) -> CallError {
        let schema = self.row.schema_ref();
        let name = if let Place::Arg(index) = place { schema.field(index).name() } else { REQUEST_ID };
        CallError { attempts: 0, ..CallError::new(CallErrorKind::Rejected, format!("argument {name} {why}")) }
    }
}

fn options(time_zone: &str) -> WriteOptions<'_> {
    WriteOptions { time_zone, ..WriteOptions::default() }
}

/// Appends a value as text: strings as they are, others as in JSON without quotes. Whether there is one: null is nothing.
///
/// # Errors
/// For a type that JSON cannot hold.
pub(crate) fn write_text(column: &dyn Array, row: usize, time_zone: &str, out: &mut Vec<u8>) -> crate::error::Result<bool> {
    if column.is_null(row) {
        return Ok(false);
    }
    if column.data_type() == &DataType::Utf8 {
        out.extend_from_slice(column.as_string::<i32>().value(row).as_bytes());
        return Ok(true);
    }
    let start = out.len();
    write_value(column, row, &options(time_zone), out)?;
    if out.get(start) == Some(&b'"')
        && let Ok(text) = serde_json::from_slice::<String>(&out[start..])
    {
        out.truncate(start);
        out.extend_from_slice(text.as_bytes());
    }
    Ok(true)
}
