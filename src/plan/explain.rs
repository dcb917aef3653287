//! What a query's plan looks like to a person.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable};

use super::{OperatorFingerprint, ScanRequest};

/// The three plans of a query, as text.
#[derive(Debug)]
pub struct Explained {
    logical: String,
    incremental: String,
    physical: String,
    /// How far the watermark that each operator sees lies behind the query's, if it sees one.
    lags_ms: BTreeMap<String, Option<i64>>,
}

impl Explained {
    /// `written` as the query says, `incremental` with stateful nodes and optimised, `physical` as it runs; `lags_ms` says how far
    /// the watermark that each operator sees lies behind the query's.
    pub fn new(
        written: &LogicalPlan,
        incremental: &LogicalPlan,
        physical: &Arc<dyn ExecutionPlan>,
        lags_ms: BTreeMap<String, Option<i64>>,
    ) -> Self {
        Self {
            lags_ms,
            logical: written.display_indent().to_string(),
            incremental: incremental.display_indent().to_string(),
            physical: displayable(physical.as_ref()).indent(false).to_string(),
        }
    }

    /// All of it, with which rows of the sources decoders leave out and what `operators` keep.
    pub fn text(&self, scans: &[ScanRequest], operators: &[OperatorFingerprint]) -> String {
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
        text.push_str("\n== State ==\n");
        if operators.is_empty() {
            text.push_str("none\n");
        }
        for OperatorFingerprint { id, keys, state, parameters } in operators {
            push(&mut text, format_args!("{id}\n  keys: {}\n  state: {}\n", columns(keys), columns(state)));
            match self.lags_ms.get(id).copied().flatten() {
                None => {}
                Some(0) => text.push_str("  sees: the query's watermark\n"),
                Some(lag_ms) => push(&mut text, format_args!("  sees: the query's watermark - {}\n", duration(lag_ms))),
            }
            if !parameters.is_empty() {
                push(&mut text, format_args!("  functions: {}\n", parameters.join(", ")));
            }
        }
        text
    }
}

fn duration(ms: i64) -> String {
    humantime::format_duration(Duration::from_millis(ms.unsigned_abs())).to_string()
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
