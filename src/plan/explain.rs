//! What a query's plan looks like to a person.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable};

use super::event_time::Watermark;
use super::picture::picture;
use super::{OperatorFingerprint, ScanRequest};
use crate::operator::ending::{Ending, duration};
use crate::watermark::WatermarkPolicy;

/// The three plans of a query, as text.
#[derive(Debug)]
pub struct Explained {
    logical: String,
    incremental: String,
    physical: String,
    picture: serde_json::Value,
}

impl Explained {
    /// `written` as the query says, `incremental` with stateful nodes and optimised, `physical` as it runs.
    pub fn new(written: &LogicalPlan, incremental: &LogicalPlan, physical: &Arc<dyn ExecutionPlan>) -> Self {
        Self {
            logical: written.display_indent().to_string(),
            incremental: incremental.display_indent().to_string(),
            physical: displayable(physical.as_ref()).indent(false).to_string(),
            picture: picture(incremental),
        }
    }

    /// The incremental plan as a tree of `name`, `detail` and `inputs`.
    pub fn picture(&self) -> &serde_json::Value {
        &self.picture
    }

    /// All of it, with which rows of the sources decoders leave out and what operators keep.
    pub fn text(&self, scans: &[ScanRequest], kept: &Kept<'_>) -> String {
        let mut text = String::new();
        for (title, plan) in
            [("Logical plan", &self.logical), ("Incremental plan", &self.incremental), ("Physical plan", &self.physical)]
        {
            push(&mut text, format_args!("== {title} ==\n{}\n\n", plan.trim_end()));
        }
        text.push_str("== Sources ==\n");
        for ScanRequest { source, filter_text, .. } in scans {
            let rows =
                if filter_text.is_empty() { "all rows".to_owned() } else { format!("rows with {}", filter_text.join(" AND ")) };
            push(&mut text, format_args!("{source}: {rows}\n"));
        }
        kept.write(&mut text);
        text
    }
}

/// What operators keep, and for how long.
pub struct Kept<'a> {
    /// The watermarks that move the query's, each with its id.
    pub watermarks: &'a [(String, Watermark)],
    /// Which of them is the query's.
    pub policy: WatermarkPolicy,
    /// Each operator.
    pub operators: &'a [Keeper<'a>],
    /// How the state of those ends that forget.
    pub endings: &'a BTreeMap<String, Ending>,
}

/// An operator with state.
pub struct Keeper<'a> {
    /// What it keeps.
    pub fingerprint: &'a OperatorFingerprint,
    /// Whether it has something to do when the watermark moves.
    pub expires: bool,
    /// How far the watermark that it sees lies behind the query's, in milliseconds, if it sees one.
    pub lag_ms: Option<i64>,
}

impl Kept<'_> {
    fn write(&self, text: &mut String) {
        if !self.watermarks.is_empty() {
            push(text, format_args!("\n== Watermark ==\n{}\n", self.watermark()));
        }
        text.push_str("\n== State ==\n");
        if self.operators.is_empty() {
            text.push_str("none\n");
        }
        for Keeper { fingerprint, expires, lag_ms } in self.operators {
            let OperatorFingerprint { id, keys, state, parameters } = fingerprint;
            push(text, format_args!("{id}\n  keys: {}\n  state: {}\n", columns(keys), columns(state)));
            if !parameters.is_empty() {
                push(text, format_args!("  functions: {}\n", parameters.join(", ")));
            }
            match lag_ms {
                None => {}
                Some(0) => push(text, format_args!("  sees: {}\n", self.watermark())),
                Some(lag_ms) => push(text, format_args!("  sees: {}, {} behind it\n", self.watermark(), duration(*lag_ms))),
            }
            let names: Vec<&str> = keys.iter().chain(state).map(|(name, _)| name.as_str()).collect();
            let ends = match self.endings.get(id) {
                Some(ending) => format!("when the watermark reaches {}", ending.describe(&names)),
                None if lag_ms.is_none() => "never: there is no watermark below it".to_owned(),
                None if *expires => "never: it is not bound to event time".to_owned(),
                None => "never: its result may need it for ever".to_owned(),
            };
            push(text, format_args!("  expires: {ends}\n"));
        }
    }

    /// The query's watermark: each column with its delay, and which of them counts.
    fn watermark(&self) -> String {
        let each = self.watermarks.iter().map(|(id, Watermark { column, delay_ms, .. })| match delay_ms {
            0 => format!("{id}.{column}"),
            delay_ms => format!("{id}.{column} - {}", duration(*delay_ms)),
        });
        let each = each.collect::<Vec<_>>().join(", ");
        match (self.watermarks.len(), self.policy) {
            (1, _) => each,
            (_, WatermarkPolicy::Min) => format!("the smallest of {each}"),
            (_, WatermarkPolicy::Max) => format!("the largest of {each}"),
        }
    }
}

fn columns(columns: &[(String, String)]) -> String {
    if columns.is_empty() {
        return "none".to_owned();
    }
    columns.iter().map(|(name, data_type)| format!("{name} {data_type}")).collect::<Vec<_>>().join(", ")
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line).expect("writing to a string does not fail");
}
