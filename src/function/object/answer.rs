//! An object as what a function returns: its content alone, or fields by their names.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, StringArray, StructArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Fields, TimeUnit};

use super::Object;
use crate::function::{Answer, CallError, CallErrorKind, Returns};
use crate::pipeline::nearest;
use crate::plan::spark::types::sql_name;

/// How an object becomes an answer.
#[derive(Debug)]
pub(super) enum AnswerMap {
    /// Its content, of this type.
    Content(DataType),
    /// Fields, and what is in each.
    Fields(Fields, Vec<Field>),
}

/// What is known of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Content,
    Size,
    Etag,
    Modified,
}

const ALL: &[(&str, Field)] =
    &[("content", Field::Content), ("size", Field::Size), ("etag", Field::Etag), ("modified", Field::Modified)];

impl AnswerMap {
    pub(super) fn new(returns: &Returns) -> Result<Self, String> {
        match returns {
            Returns::Rows(_) => Err("an object is one value: returns cannot be TABLE (…)".to_owned()),
            Returns::Value(DataType::Struct(fields)) => {
                let known = fields.iter().map(|field| {
                    let known = Field::of(field.name())?;
                    known.fits(field.name(), field.data_type()).map(|()| known)
                });
                Ok(Self::Fields(fields.clone(), known.collect::<Result<_, _>>()?))
            }
            Returns::Value(data_type) => {
                Field::Content.fits("a single value", data_type).map(|()| Self::Content(data_type.clone()))
            }
        }
    }

    /// Whether anything of the content is returned.
    pub(super) fn has_content(&self) -> bool {
        match self {
            Self::Content(_) => true,
            Self::Fields(_, known) => known.contains(&Field::Content),
        }
    }

    /// The answer for one row.
    pub(super) fn of(&self, object: &Object) -> Result<Answer, CallError> {
        let values = match self {
            Self::Content(data_type) => Field::Content.value(object, data_type)?,
            Self::Fields(fields, known) => {
                let values = fields.iter().zip(known).map(|(field, known)| known.value(object, field.data_type()));
                let values = values.collect::<Result<Vec<_>, _>>()?;
                let built = StructArray::try_new(fields.clone(), values, None);
                Arc::new(built.map_err(|error| CallError::new(CallErrorKind::Config, error.to_string()))?)
            }
        };
        Ok(Answer::Values(values))
    }
}

impl Field {
    fn of(name: &str) -> Result<Self, String> {
        if let Some((_, known)) = ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return Ok(*known);
        }
        let names = ALL.iter().map(|(name, _)| *name);
        let hint = match nearest(name, names.clone()) {
            Some(near) => format!("; did you mean {near}?"),
            None => format!("; it has {}", names.collect::<Vec<_>>().join(", ")),
        };
        Err(format!("an object has no {name:?}{hint}"))
    }

    fn fits(self, name: &str, data_type: &DataType) -> Result<(), String> {
        let (fits, expected) = match self {
            Self::Content => (matches!(data_type, DataType::Binary | DataType::Utf8), "BINARY or STRING"),
            Self::Size => (data_type == &DataType::Int64, "BIGINT"),
            Self::Etag => (data_type == &DataType::Utf8, "STRING"),
            Self::Modified => (matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, Some(_))), "TIMESTAMP"),
        };
        if fits { Ok(()) } else { Err(format!("{name} of an object is {expected}, not {}", sql_name(data_type))) }
    }

    fn value(self, object: &Object, data_type: &DataType) -> Result<ArrayRef, CallError> {
        Ok(match (self, data_type) {
            (Self::Content, DataType::Utf8) => {
                let text = simdutf8::basic::from_utf8(&object.content);
                let text = text.map_err(|_| CallError::new(CallErrorKind::BadAnswer, "the content is no UTF-8 text"))?;
                Arc::new(StringArray::from(vec![text]))
            }
            (Self::Content, _) => Arc::new(BinaryArray::from(vec![&object.content[..]])),
            (Self::Size, _) => Arc::new(Int64Array::from(vec![i64::try_from(object.size).unwrap_or(i64::MAX)])),
            (Self::Etag, _) => Arc::new(StringArray::from(vec![object.etag.as_deref()])),
            (Self::Modified, _) => {
                Arc::new(TimestampMicrosecondArray::from(vec![object.modified_us]).with_data_type(data_type.clone()))
            }
        })
    }
}
