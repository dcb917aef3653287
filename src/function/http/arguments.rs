//! The arguments of one call, as text for URLs and headers and as JSON for bodies.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Fields};

use super::template::{Piece, Template};
use crate::format::json::write::{WriteOptions, write_value};
use crate::function::{CallError, CallErrorKind};
use crate::pipeline::nearest;

/// The arguments of one call: a row.
#[derive(Debug, Clone)]
pub(super) struct Arguments {
    pub(super) row: RecordBatch,
    /// The zone in which timestamps show their offset.
    pub(super) time_zone: Arc<str>,
    /// Names the call in its batch: the same when the batch runs again.
    pub(super) request_id: Arc<str>,
}

/// A place's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Index of an argument.
    Arg(usize),
    /// The name of the call.
    RequestId,
}

/// The place that names the call.
const REQUEST_ID: &str = "$request_id";

impl Place {
    /// The place that `name` stands for: an argument in any case of letters, or `$request_id`.
    pub(super) fn of(name: &str, args: &Fields) -> Result<Self, String> {
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
pub(super) struct Filling {
    pub(super) template: Template,
    places: Vec<Place>,
}

impl Filling {
    pub(super) fn new(template: Template, args: &Fields) -> Result<Self, String> {
        let places = template.args().map(|name| Place::of(name, args)).collect::<Result<_, _>>()?;
        Ok(Self { template, places })
    }

    /// Calls `take` with each part in order: text as written, and the values between.
    pub(super) fn parts(&self) -> impl Iterator<Item = Result<&crate::pipeline::Text, Place>> {
        let mut places = self.places.iter();
        self.template.pieces().iter().map(move |piece| match piece {
            Piece::Text(text) => Ok(text),
            Piece::Arg(_) => Err(*places.next().expect("a place for each")),
        })
    }

    /// The text with its values; none if it is nothing but a place whose value is null.
    pub(super) fn fill(&self, args: &Arguments, what: &str) -> Result<Option<String>, CallError> {
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
    fn options(&self) -> WriteOptions<'_> {
        WriteOptions { time_zone: &self.time_zone, ..WriteOptions::default() }
    }

    /// Appends a value as JSON, as Spark's `to_json` writes it.
    pub(super) fn write_json(&self, place: Place, out: &mut Vec<u8>) -> Result<(), CallError> {
        match place {
            Place::RequestId => serde_json::to_writer(out, &*self.request_id).map_err(|error| error.to_string()),
            Place::Arg(index) => {
                write_value(self.row.column(index).as_ref(), 0, &self.options(), out).map_err(|error| error.chain())
            }
        }
        .map_err(|message| CallError::new(CallErrorKind::Config, message))
    }

    /// A value as text: strings as they are, others as in JSON without quotes; none if it is null.
    pub(super) fn text(&self, place: Place) -> Result<Option<String>, CallError> {
        let Place::Arg(index) = place else { return Ok(Some(self.request_id.to_string())) };
        let column = self.row.column(index);
        if column.is_null(0) {
            return Ok(None);
        }
        if column.data_type() == &DataType::Utf8 {
            return Ok(Some(column.as_string::<i32>().value(0).to_owned()));
        }
        let mut json = Vec::new();
        self.write_json(place, &mut json)?;
        let text = match json.first() {
            Some(b'"') => serde_json::from_slice(&json).ok(),
            _ => String::from_utf8(json).ok(),
        };
        Ok(text)
    }

    /// Why a text cannot be written.
    pub(super) fn is_null(&self, place: Place, what: &str) -> CallError {
        self.unfit(place, &format!("is null, which has no place in the text of {what}"))
    }

    /// Why no call can be made with this value.
    pub(super) fn unfit(&self, place: Place, why: &str) -> CallError {
        let schema = self.row.schema_ref();
        let name = if let Place::Arg(index) = place { schema.field(index).name() } else { REQUEST_ID };
        CallError { attempts: 0, ..CallError::new(CallErrorKind::Rejected, format!("argument {name} {why}")) }
    }
}
