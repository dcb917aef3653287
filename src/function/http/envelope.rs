//! What is known of a call beside its answer, as fields that a function can return.

use std::fmt;
use std::fmt::Write;

use arrow::datatypes::{DataType, TimeUnit};
use reqwest::header::HeaderMap;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::chain::Record;
use crate::function::CallError;
use crate::pipeline::nearest;
use crate::plan::spark::types::sql_name;

/// What is known of a call.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) request_id: String,
    /// Without secrets and without the query.
    pub(super) url: String,
    pub(super) method: String,
    pub(super) attempts: u32,
    pub(super) record: Record,
    pub(super) error: Option<CallError>,
    /// When the call began, in microseconds since 1970.
    pub(super) requested_at_us: i64,
}

/// A field of the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    RequestId,
    RowHash,
    Url,
    Method,
    Status,
    Headers,
    Body,
    Success,
    Error,
    ErrorKind,
    Attempts,
    TimeMs,
    RequestedAt,
}

const ALL: &[(&str, Known)] = &[
    ("request_id", Known::RequestId),
    ("row_hash", Known::RowHash),
    ("url", Known::Url),
    ("method", Known::Method),
    ("status", Known::Status),
    ("headers", Known::Headers),
    ("body", Known::Body),
    ("success", Known::Success),
    ("error", Known::Error),
    ("error_kind", Known::ErrorKind),
    ("attempts", Known::Attempts),
    ("time_ms", Known::TimeMs),
    ("requested_at", Known::RequestedAt),
];

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALL.iter().find(|(_, known)| known == self).map_or("", |(name, _)| name))
    }
}

impl Known {
    pub(super) fn of(name: &str) -> Result<Self, String> {
        if let Some((_, known)) = ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return Ok(*known);
        }
        let names = ALL.iter().map(|(name, _)| *name);
        let hint = match nearest(name, names.clone()) {
            Some(near) => format!("; did you mean {near}?"),
            None => format!("; known are {}", names.collect::<Vec<_>>().join(", ")),
        };
        Err(format!("the envelope has no {name:?}{hint}"))
    }

    /// Whether a field of this type can hold it.
    pub(super) fn fits(self, data_type: &DataType) -> Result<(), String> {
        let (fits, expected) = match self {
            Self::Status | Self::Attempts => (matches!(data_type, DataType::Int32 | DataType::Int64), "INT or BIGINT"),
            Self::TimeMs => (matches!(data_type, DataType::Int64 | DataType::Float64), "BIGINT or DOUBLE"),
            Self::Success => (data_type == &DataType::Boolean, "BOOLEAN"),
            Self::RequestedAt => (matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, Some(_))), "TIMESTAMP"),
            Self::Headers => (
                matches!(data_type, DataType::Map(entries, _) if matches!(entries.data_type(), DataType::Struct(fields)
                    if fields.iter().all(|field| field.data_type() == &DataType::Utf8))),
                "MAP<STRING, STRING>",
            ),
            _ => (data_type == &DataType::Utf8, "STRING"),
        };
        if fits { Ok(()) } else { Err(format!("{self} of the envelope is {expected}, not {}", sql_name(data_type))) }
    }

    /// The value as JSON; none is null.
    pub(super) fn json(self, envelope: &Envelope) -> Option<String> {
        let reply = envelope.record.reply.as_ref();
        let value = match self {
            Self::RequestId => Value::from(envelope.request_id.as_str()),
            Self::RowHash => {
                let mut hex = String::with_capacity(64);
                Sha256::digest(&envelope.record.body).iter().for_each(|byte| {
                    let _ = write!(hex, "{byte:02x}");
                });
                Value::from(hex)
            }
            Self::Url => Value::from(envelope.url.as_str()),
            Self::Method => Value::from(envelope.method.as_str()),
            Self::Status => Value::from(reply?.status.as_u16()),
            Self::Headers => Value::Object(headers(&reply?.headers)),
            Self::Body => Value::from(String::from_utf8_lossy(&reply?.body)),
            Self::Success => Value::from(envelope.error.is_none()),
            Self::Error => Value::from(envelope.error.as_ref()?.message.as_str()),
            Self::ErrorKind => Value::from(envelope.error.as_ref()?.kind.name()),
            Self::Attempts => Value::from(envelope.attempts),
            Self::TimeMs => Value::from(u64::try_from(envelope.record.took?.as_millis()).ok()?),
            Self::RequestedAt => {
                let at = chrono::DateTime::from_timestamp_micros(envelope.requested_at_us)?;
                Value::from(at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
            }
        };
        Some(value.to_string())
    }
}

/// The headers of an answer; those that are there several times with `, ` between.
fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let joined = |name: &reqwest::header::HeaderName| {
        let values: Vec<String> =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
        values.join(", ")
    };
    headers.keys().map(|name| (name.as_str().to_owned(), Value::from(joined(name)))).collect()
}
