//! Event time in a plan: where a watermark stands, and what its nodes and the stateful operators share while a batch runs.
//!
//! A declared watermark is a node of the plan (`node`) that looks at its event-time column and passes every row on. What it saw
//! goes to the engine, which decides the watermark of the next batch (`crate::watermark`); what was decided comes back with the
//! next batch's input ([`EventTime`]).

mod exec;
mod filters;
mod lineage;
mod node;
mod shared;
mod unread;

use std::time::Duration;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ExprSchema};
use datafusion::logical_expr::{Extension, LogicalPlan};

pub use filters::{below_watermarks, without_null_keys};
pub use lineage::{EventColumn, Traced, event_column, event_key, only_event_column, session_key};
pub use node::{WatermarkNode, WatermarkPlanner};
pub use shared::{EventTime, EventTimeReport, Observed, SetAside, SetAsideKind};
pub use unread::{without_unread, without_unread_in_joins};

use super::catalog::is_streaming;
use super::spark::types::{self, sql_name};
use crate::error::{Error, ErrorKind, Result, from_datafusion};

/// A watermark as it is declared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct Watermark {
    /// The column that says when a row happened: a TIMESTAMP.
    pub column: String,
    /// How far the watermark stays behind the latest event time, in milliseconds.
    pub delay_ms: i64,
    /// How far after the batch's time, in milliseconds, an event time is no longer believed; `None` believes all.
    pub max_future_ms: Option<i64>,
    /// After how long without a row, in milliseconds, this watermark no longer holds others back; `None` waits for ever.
    pub idle_after_ms: Option<i64>,
}

impl Watermark {
    /// A watermark `delay` behind the latest value of `column`.
    pub fn new(column: &str, delay: Duration) -> Self {
        Self { column: column.to_owned(), delay_ms: millis(delay), max_future_ms: None, idle_after_ms: None }
    }

    /// Rows whose event time is more than `ahead` after the batch's time are set aside before anything else sees them.
    #[must_use]
    pub fn max_future(self, ahead: Duration) -> Self {
        Self { max_future_ms: Some(millis(ahead)), ..self }
    }

    /// After so long without a row it no longer holds the query's other watermarks back.
    #[must_use]
    pub fn idle_after(self, silence: Duration) -> Self {
        Self { idle_after_ms: Some(millis(silence)), ..self }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// `plan` with a watermark on its column `column`; `id` tells it from others of the query, in the checkpoint too.
///
/// # Errors
/// Kind `Config` with Spark's condition, if the column is no TIMESTAMP or `plan` has a watermark already.
pub fn watermarked(plan: LogicalPlan, id: &str, column: Column, watermark: Watermark) -> Result<LogicalPlan> {
    let field = plan.schema().field_from_column(&column).map_err(|e| from_datafusion(e, ErrorKind::Config))?;
    check_type(&watermark.column, field.data_type())?;
    if !is_streaming(&plan) {
        return Err(Error::config(format!("a watermark on {id} has no effect: it is no stream")));
    }
    if !watermarks(&plan).is_empty() {
        let message = format!("redefining watermark is disallowed: {id} has a watermark, but what it reads has one already");
        return Err(Error::config(message));
    }
    let node = WatermarkNode::new(id, column, watermark, plan);
    Ok(LogicalPlan::Extension(Extension { node: std::sync::Arc::new(node) }))
}

/// Refuses a watermark that cannot stand on a relation of `schema`.
pub fn check(schema: &Schema, watermark: &Watermark) -> Result<()> {
    let name = &watermark.column;
    let find = |name: &str| schema.fields().iter().find(|field| field.name().eq_ignore_ascii_case(name));
    match find(name) {
        Some(field) => check_type(name, field.data_type()),
        None => Err(no_column(name, name.split_once('.').is_some_and(|(first, _)| find(first).is_some()))),
    }
}

/// The refusal of an event-time column that is not there, or is part of one that is.
pub(crate) fn no_column(name: &str, is_nested: bool) -> Error {
    if is_nested {
        return Error::spark(
            ErrorKind::Config,
            "EVENT_TIME_MUST_BE_TOP_LEVEL_COLUMN",
            format!(
                "the event time of a watermark must be a top-level column, but {name:?} is a nested field: give it a name in a view"
            ),
        );
    }
    let message = format!("a column with name `{name}` cannot be resolved, which a watermark needs");
    Error::spark(ErrorKind::Config, "UNRESOLVED_COLUMN.WITH_SUGGESTION", message)
}

fn check_type(name: &str, data_type: &DataType) -> Result<()> {
    let is_time = match data_type {
        DataType::Struct(fields) => fields.iter().any(|field| field.name() == "end" && *field.data_type() == types::timestamp()),
        other => *other == types::timestamp(),
    };
    if is_time {
        return Ok(());
    }
    Err(Error::spark(
        ErrorKind::Config,
        "EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE",
        format!("the event time `{name}` has the invalid type \"{}\", but expected \"TIMESTAMP\"", sql_name(data_type)),
    ))
}

/// The watermarks of a plan, each once, outer ones first.
pub fn watermarks(plan: &LogicalPlan) -> Vec<(String, Watermark)> {
    let mut found: Vec<(String, Watermark)> = Vec::new();
    let walked = plan.apply(|node| {
        if let Some(node) = node::watermark_of(node)
            && !found.iter().any(|(id, _)| id == node.id())
        {
            found.push((node.id().to_owned(), node.watermark().clone()));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(walked.is_ok(), "the visitor never fails");
    found
}
