//! What a batch did: Spark's progress JSON with our ledger beside it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use chrono::DateTime;
use serde::{Deserialize, Serialize};

use super::phases::Phases;
use crate::plan::OperatorProgress;

/// How many batches' progress is kept (Spark's `numRecentProgressUpdates`).
const KEPT: usize = 100;

/// One batch, as Spark's `StreamingQueryProgress`; field names are Spark's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The checkpoint's query id.
    pub id: String,
    /// This run of the query.
    pub run_id: String,
    /// The query's name.
    pub name: String,
    /// When the trigger fired, `2026-01-01T00:00:00.000Z`.
    pub timestamp: String,
    /// The batch; while idle, the batch that comes next.
    pub batch_id: u64,
    /// How long the whole trigger took, in milliseconds.
    pub batch_duration: u64,
    /// Rows read from all sources.
    pub num_input_rows: u64,
    /// Rows read per second since the previous trigger started.
    pub input_rows_per_second: f64,
    /// Rows read per second of this trigger's time.
    pub processed_rows_per_second: f64,
    /// Milliseconds per phase, under Spark's names.
    pub duration_ms: BTreeMap<String, u64>,
    /// Where the batch's time went; a query that is idle has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phases: Option<Phases>,
    /// How much later than its interval the trigger fired, in milliseconds; of a query with an interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_lag_ms: Option<u64>,
    /// Watermark and event times.
    pub event_time: BTreeMap<String, String>,
    /// How far the watermark is behind the batch's time, in milliseconds; of a query that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark_lag_ms: Option<i64>,
    /// Stateful operators, the downstream one first.
    pub state_operators: Vec<OperatorProgress>,
    /// Sources in the order of their names.
    pub sources: Vec<SourceProgress>,
    /// The first sink, under Spark's name for it.
    pub sink: SinkProgress,
    /// All sinks.
    pub sinks: Vec<SinkProgress>,
    /// Where every row went.
    pub ledger: Ledger,
}

/// One source's part of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceProgress {
    /// The source's name.
    pub description: String,
    /// Where the batch started.
    pub start_offset: serde_json::Value,
    /// Where it ended.
    pub end_offset: serde_json::Value,
    /// How far the source could be read.
    pub latest_offset: serde_json::Value,
    /// Rows read.
    pub num_input_rows: u64,
    /// Rows read per second since the previous trigger started.
    pub input_rows_per_second: f64,
    /// Rows read per second of this trigger's time.
    pub processed_rows_per_second: f64,
    /// What the source tells beside, under Spark's names: of Kafka how many offsets its partitions were behind when the batch was
    /// planned.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, String>,
}

/// One sink's part of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkProgress {
    /// The sink's name.
    pub description: String,
    /// Rows given to it.
    pub num_output_rows: i64,
    /// `exactly-once` or `at-least-once`.
    pub guarantee: String,
}

/// Every row read is either decoded or dropped for a named reason; nothing disappears uncounted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Rows (lines) read from the sources: `rows_decoded` plus all of `rows_dropped`.
    pub rows_read: u64,
    /// Rows that reached the plan.
    pub rows_decoded: u64,
    /// Rows that did not, by reason.
    pub rows_dropped: BTreeMap<String, u64>,
    /// Malformed rows, kept or dropped.
    pub rows_malformed: u64,
    /// Records of a planned range that its source no longer had.
    pub rows_lost: u64,
    /// Rows that a stateful operator judged late.
    pub rows_late: u64,
    /// Rows set aside because their event time lies too far in the future.
    #[serde(default)]
    pub rows_future: u64,
    /// Rows that a function could not answer: they went on without an answer, or were dropped, as its `on_error` says.
    #[serde(default)]
    pub rows_failed_call: u64,
    /// Rows given to the query's sinks (dead letters not included).
    pub rows_emitted: u64,
    /// Rows given to the dead-letter sink.
    pub rows_dead_lettered: u64,
}

impl Ledger {
    /// Adds what another batch did.
    pub fn add(&mut self, other: &Self) {
        // Taken apart as a whole, so that a field that is new cannot be forgotten here.
        let Self {
            rows_read,
            rows_decoded,
            rows_dropped,
            rows_malformed,
            rows_lost,
            rows_late,
            rows_future,
            rows_failed_call,
            rows_emitted,
            rows_dead_lettered,
        } = other;
        self.rows_read += rows_read;
        self.rows_decoded += rows_decoded;
        for (reason, rows) in rows_dropped {
            match self.rows_dropped.get_mut(reason) {
                Some(total) => *total += rows,
                None => drop(self.rows_dropped.insert(reason.clone(), *rows)),
            }
        }
        self.rows_malformed += rows_malformed;
        self.rows_lost += rows_lost;
        self.rows_late += rows_late;
        self.rows_future += rows_future;
        self.rows_failed_call += rows_failed_call;
        self.rows_emitted += rows_emitted;
        self.rows_dead_lettered += rows_dead_lettered;
    }
}

/// The last 100 progress records of a query and the sum of all; clones share them.
#[derive(Debug, Clone, Default)]
pub struct RecentProgress(Arc<Mutex<Recent>>);

#[derive(Debug, Default)]
struct Recent {
    kept: VecDeque<Progress>,
    pushed: u64,
    totals: Ledger,
}

impl RecentProgress {
    /// Adds the newest.
    pub fn push(&self, progress: Progress) {
        let mut recent = self.lock();
        if recent.kept.len() == KEPT {
            recent.kept.pop_front();
        }
        recent.pushed += 1;
        recent.totals.add(&progress.ledger);
        recent.kept.push_back(progress);
    }

    /// How many there have been since the process began.
    pub fn pushed(&self) -> u64 {
        self.lock().pushed
    }

    /// What `see` makes of those after the first `seen`, at most the newest `most` of them, oldest first; how many there have been,
    /// and the sum of all their ledgers.
    pub fn since<T>(&self, seen: u64, most: usize, see: impl Fn(&Progress) -> T) -> (Vec<T>, u64, Ledger) {
        let recent = self.lock();
        let new = usize::try_from(recent.pushed.saturating_sub(seen)).unwrap_or(usize::MAX).min(most);
        let skipped = recent.kept.len().saturating_sub(new);
        (recent.kept.iter().skip(skipped).map(see).collect(), recent.pushed, recent.totals.clone())
    }

    /// All that are kept, oldest first.
    pub fn all(&self) -> Vec<Progress> {
        self.lock().kept.iter().cloned().collect()
    }

    /// The newest.
    pub fn last(&self) -> Option<Progress> {
        self.lock().kept.back().cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// `2026-01-01T00:00:00.000Z` of microseconds since 1970.
pub fn iso_millis(at_us: i64) -> String {
    DateTime::from_timestamp_micros(at_us)
        .map(|at| at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
        .unwrap_or_else(|| format!("{at_us}us"))
}

/// Rows per second; 0 where no time has passed.
pub fn per_second(rows: u64, millis: u64) -> f64 {
    if millis == 0 { 0.0 } else { rows as f64 * 1000.0 / millis as f64 }
}
