//! What makes a checkpoint this query's: written once when it is created, compared at every start.
//!
//! Only what the stored offsets and states depend on is in it. Filters, projections, aliases, sinks, limits, trigger and output mode
//! may change between runs; the time zone, the sources and each stateful operator's key and state may not.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, ErrorKind};

/// The parts of a query that its checkpoint depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Time zone of zoneless text and date functions.
    pub time_zone: String,
    /// Names of the streaming sources.
    pub sources: BTreeSet<String>,
    /// Fingerprint per stateful operator (`aggregate-0`), as a JSON object with one member per part: `kind`, `keys`, `state`,
    /// `parameters`. What differs is named by member.
    pub operators: BTreeMap<String, Value>,
}

impl Identity {
    /// What of `now` does not fit a checkpoint made as `self`, a sentence per part; empty when it fits.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        self.compare(now).into_iter().map(|difference| difference.text).collect()
    }

    /// Refuses `now` for a checkpoint made as `self`, naming every part that differs.
    pub(super) fn check(&self, now: &Self, query: &str) -> Result<(), Error> {
        let found = self.compare(now);
        let Some(first) = found.first() else { return Ok(()) };
        let condition = first.condition;
        let texts: Vec<String> = found.into_iter().map(|difference| difference.text).collect();
        Err(Error::spark(
            ErrorKind::Config,
            condition,
            format!("query {query} does not fit its checkpoint: {}", texts.join("; ")),
        ))
    }

    fn compare(&self, now: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut differ = |condition, text| found.push(Difference { condition, text });
        if self.time_zone != now.time_zone {
            differ(INCOMPATIBLE, format!("time_zone was {}, is now {}", self.time_zone, now.time_zone));
        }
        for gone in self.sources.difference(&now.sources) {
            differ(INCOMPATIBLE, format!("source {gone} is gone"));
        }
        for new in now.sources.difference(&self.sources) {
            differ(INCOMPATIBLE, format!("source {new} is new"));
        }
        for (operator, was) in &self.operators {
            match now.operators.get(operator) {
                None => differ(OPERATOR, format!("stateful operator {operator} is gone")),
                Some(is) => {
                    let mut parts = Vec::new();
                    value_differences(operator, was, is, &mut parts);
                    for (path, text) in parts {
                        differ(condition_of(&path[operator.len()..]), text);
                    }
                }
            }
        }
        for new in now.operators.keys().filter(|operator| !self.operators.contains_key(*operator)) {
            differ(OPERATOR, format!("stateful operator {new} is new"));
        }
        found
    }
}

struct Difference {
    condition: &'static str,
    text: String,
}

const INCOMPATIBLE: &str = "CKPT_INCOMPATIBLE";
const OPERATOR: &str = "STREAMING_STATEFUL_OPERATOR_NOT_MATCH_IN_STATE_METADATA";

/// Spark's condition for a change below an operator's fingerprint (`.keys[0].type`).
fn condition_of(path: &str) -> &'static str {
    let part = path.trim_start_matches('.');
    if part.starts_with("kind") {
        OPERATOR
    } else if part.starts_with("keys") {
        "STATE_STORE_KEY_SCHEMA_NOT_COMPATIBLE"
    } else if part.starts_with("state") {
        "STATE_STORE_VALUE_SCHEMA_NOT_COMPATIBLE"
    } else {
        INCOMPATIBLE
    }
}

/// The smallest parts of two values that differ: path and sentence.
fn value_differences(path: &str, was: &Value, is: &Value, found: &mut Vec<(String, String)>) {
    match (was, is) {
        (Value::Object(was), Value::Object(is)) => {
            for (name, value) in was {
                let path = format!("{path}.{name}");
                match is.get(name) {
                    Some(other) => value_differences(&path, value, other, found),
                    None => found.push((path.clone(), format!("{path} was {value}, is now gone"))),
                }
            }
            for (name, value) in is.iter().filter(|(name, _)| !was.contains_key(*name)) {
                let path = format!("{path}.{name}");
                found.push((path.clone(), format!("{path} is new: {value}")));
            }
        }
        (Value::Array(was), Value::Array(is)) if was.len() == is.len() => {
            for (at, (was, is)) in was.iter().zip(is).enumerate() {
                value_differences(&format!("{path}[{at}]"), was, is, found);
            }
        }
        _ if was == is => {}
        _ => found.push((path.to_owned(), format!("{path} was {was}, is now {is}"))),
    }
}
