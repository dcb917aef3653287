//! Decides what a restarted query does first.
//!
//! A batch is *planned* when its ranges are logged, *prepared* when its output is decided, *committed* when every sink has it. At
//! most one batch lies between, so the newest step in the log is all there is to know.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{BatchId, PlannedBatch, PreparedBatch};

/// What a start does first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstStep {
    /// Nothing is under way: plan this batch.
    Plan(BatchId),
    /// Planned, and nothing of it has left: run the same ranges.
    Run(PlannedBatch),
    /// Decided: never run again, only committed to the sinks that do not have it.
    CommitSinks(PlannedBatch, PreparedBatch),
}

/// The newest step of any batch in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NewestStep {
    Planned(PlannedBatch),
    Prepared(PlannedBatch, PreparedBatch),
    Committed(BatchId),
}

/// What a start does first, from the newest step in the log.
pub(super) fn first_step(newest: Option<NewestStep>) -> FirstStep {
    match newest {
        None => FirstStep::Plan(BatchId::FIRST),
        Some(NewestStep::Planned(plan)) => FirstStep::Run(plan),
        Some(NewestStep::Prepared(plan, prepared)) => FirstStep::CommitSinks(plan, prepared),
        Some(NewestStep::Committed(batch)) => FirstStep::Plan(batch.next()),
    }
}

/// The newest batch whose output is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastBatch {
    /// Its plan: the ends of its ranges are where the next batch starts.
    pub planned: PlannedBatch,
    /// The watermark that the next batch uses, in milliseconds since 1970.
    pub next_watermark_ms: i64,
    /// What [`PreparedBatch::summary`] said.
    pub summary: serde_json::Value,
    /// Whether every sink is known to have it.
    pub is_committed: bool,
}

/// What a checkpoint holds when it is opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovered {
    /// Nothing was ever planned.
    pub fresh: bool,
    /// What to do first.
    pub first_step: FirstStep,
    /// The newest prepared or committed batch.
    pub last: Option<LastBatch>,
    /// Per stateful operator: its newest snapshot, if it has one, then each later change, oldest first. Lengths and checksums are
    /// verified.
    pub state: BTreeMap<String, Vec<Bytes>>,
    /// The next commit number per sink; a sink that is not here starts at 0.
    pub sink_numbers: BTreeMap<String, u64>,
    /// Sinks that have not committed since a person said where they stand: commits below that number count as in.
    pub accepted: BTreeMap<String, u64>,
    /// Bytes at the end of the log that a crash had left unfinished.
    pub bytes_truncated: u64,
}
