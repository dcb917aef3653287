//! Gathers what a batch did while it runs, and publishes it when it is committed: progress, ledger, metrics, one debug line.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::feed::SourceCounts;
use super::glance::Leaves;
use super::phases::{Phases, Waits, micros};
use super::progress::{Ledger, Progress, SinkProgress, SourceProgress, iso_millis, per_second};
use super::query::Query;
use super::summary::{EventTimeSummary, summary};
use crate::checkpoint::{BatchId, PlannedBatch};
use crate::operator::ending::Ending;
use crate::plan::event_time::{Observed, Watermark};
use crate::plan::{BatchOutput, OperatorProgress};
use crate::sink::Guarantee;
use crate::source::OffsetRange;
use crate::watermark::Tracker;

/// A watermark that moves by more than this at once is worth a warning.
const DAY_MS: i64 = 86_400_000;
/// Event times that lie further ahead than this are hardly meant: milliseconds read as seconds lie 50,000 years ahead.
const FAR_MS: i64 = 365 * 300 * DAY_MS;

/// What a batch has done so far.
pub(super) struct BatchReport {
    started: Instant,
    trigger_us: i64,
    duration_ms: BTreeMap<String, u64>,
    counts: BTreeMap<String, SourceCounts>,
    operators: Vec<OperatorProgress>,
    sinks: Vec<SinkProgress>,
    event_time: BTreeMap<String, String>,
    ledger: Ledger,
    pub(super) phases: Phases,
    trigger_lag_ms: Option<u64>,
    pub(super) leaves: Leaves,
}

impl BatchReport {
    #[allow(clippy::disallowed_methods)] // durations of phases are for people; nothing is decided by them
    pub(super) fn start(_planned: &PlannedBatch, trigger_us: i64) -> Self {
        Self {
            started: Instant::now(),
            trigger_us,
            duration_ms: BTreeMap::new(),
            counts: BTreeMap::new(),
            operators: Vec::new(),
            sinks: Vec::new(),
            event_time: BTreeMap::new(),
            ledger: Ledger::default(),
            phases: Phases::default(),
            trigger_lag_ms: None,
            leaves: Leaves::default(),
        }
    }

    /// How long planning took, and how late it began.
    pub(super) fn planned(&mut self, took: Duration, trigger_lag_ms: Option<u64>) {
        self.phases.plan_us = micros(took);
        self.trigger_lag_ms = trigger_lag_ms;
    }

    /// The plan has run: the time since [`BatchReport::start`], and what of it the batch waited for its sources.
    pub(super) fn ran(&mut self, waits: Waits) {
        self.phases.divide(self.started.elapsed(), waits);
    }

    #[allow(clippy::disallowed_methods)]
    pub(super) async fn time<T>(&mut self, phase: &str, work: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let result = work.await;
        self.spent(phase, started);
        result
    }

    pub(super) fn spent(&mut self, phase: &str, since: Instant) {
        *self.duration_ms.entry(phase.to_owned()).or_default() += millis(since);
    }

    pub(super) fn input(&mut self, counts: &BTreeMap<String, SourceCounts>) {
        self.counts.clone_from(counts);
        for counts in counts.values() {
            self.ledger.rows_read += counts.read;
            self.ledger.rows_decoded += counts.decoded;
            self.ledger.rows_malformed += counts.malformed;
            self.ledger.rows_lost += counts.lost;
            if counts.dropped_malformed > 0 {
                *self.ledger.rows_dropped.entry("malformed".to_owned()).or_default() += counts.dropped_malformed;
            }
        }
    }

    /// What the plan put out; `watermarks` are its own.
    pub(super) fn output(&mut self, output: &BatchOutput, watermarks: &[(String, Watermark)]) {
        self.ledger.rows_emitted = output.rows.iter().map(|batch| batch.num_rows() as u64).sum();
        self.ledger.rows_late = output.event_time.rows_late;
        self.ledger.rows_future = output.event_time.rows_future;
        self.ledger.rows_failed_call = output.event_time.rows_failed_call;
        let first = watermarks.iter().find_map(|(id, _)| output.event_time.observed.get(id));
        if let Some(Observed { max_ms, min_ms, sum_ms, rows }) = first {
            let avg_ms = i64::try_from(sum_ms.div_euclid(i128::from(*rows).max(1))).unwrap_or(i64::MAX);
            for (name, ms) in [("max", *max_ms), ("min", *min_ms), ("avg", avg_ms)] {
                self.event_time.insert(name.to_owned(), iso_millis(ms.saturating_mul(1000)));
            }
        }
        self.operators.clone_from(&output.operators);
    }

    pub(super) fn dead_lettered(&mut self, rows: u64) {
        self.ledger.rows_dead_lettered = rows;
    }

    pub(super) fn sink(&mut self, name: &str, rows: u64, guarantee: Guarantee) {
        let num_output_rows = i64::try_from(rows).unwrap_or(i64::MAX);
        self.sinks.push(SinkProgress { description: name.to_owned(), num_output_rows, guarantee: guarantee.name().to_owned() });
    }

    /// The part that a restart after `prepared` needs to publish the batch.
    pub(super) fn summary(&self, tracker: &Tracker, endings: &BTreeMap<String, Ending>) -> serde_json::Value {
        let watermarks = (!tracker.is_empty()).then(|| tracker.reached());
        summary(&self.ledger, &self.operators, EventTimeSummary { watermarks, endings: endings.clone() })
    }
}

impl Query {
    /// Publishes the batch that was just committed. After a restart between `prepared` and `committed` there is no report: what
    /// the batch did was counted by the process that ran it.
    pub(super) fn publish(&mut self, planned: &PlannedBatch, commit_started: Instant) {
        let Some(mut report) = self.pending.take() else { return };
        report.spent("commitOffsets", commit_started);
        report.phases.commit_us = micros(commit_started.elapsed());
        let elapsed_ms = millis(report.started);
        report.duration_ms.insert("triggerExecution".to_owned(), elapsed_ms);
        let since_previous_ms =
            self.previous_trigger_us.map_or(0, |previous| u64::try_from((report.trigger_us - previous) / 1000).unwrap_or(0));
        self.previous_trigger_us = Some(report.trigger_us);
        let (phases, leaves) = (report.phases, std::mem::take(&mut report.leaves));
        let progress = Progress { phases: Some(phases), ..self.progress(planned, report, elapsed_ms, since_previous_ms) };
        self.count(&progress);
        self.parts.sources.iter().filter_map(|source| source.stats.as_ref()).for_each(|stats| stats.committed());
        if let Some(lag_ms) = progress.watermark_lag_ms {
            self.parts.metrics.watermark(planned.watermark_ms as f64 / 1e3, lag_ms as f64 / 1e3);
        }
        self.warn_of_state_limit();
        if progress.ledger.rows_malformed > 0 {
            warn!(query = self.parts.name, batch = progress.batch_id, lines = progress.ledger.rows_malformed, "malformed lines");
        }
        debug!(
            query = self.parts.name,
            batch = progress.batch_id,
            rows = progress.num_input_rows,
            progress = serde_json::to_string(&progress).unwrap_or_default(),
            "batch committed"
        );
        self.parts.monitor.glance().add(planned.batch.0, leaves, self.parts.is_complete);
        self.parts.monitor.progress().push(progress);
    }

    /// Says once in a while that there is nothing to do, under the number of the batch that comes next.
    pub(super) fn publish_idle(&mut self, batch: BatchId, now_us: i64, ranges: BTreeMap<String, OffsetRange>, looked: Instant) {
        let planned = PlannedBatch {
            batch,
            batch_time_us: now_us,
            sources: ranges,
            watermark_ms: self.watermark_ms,
            late_watermark_ms: self.late_watermark_ms,
            seed: 0,
        };
        let mut report = BatchReport::start(&planned, now_us);
        let elapsed_ms = millis(looked);
        for phase in ["latestOffset", "triggerExecution"] {
            report.duration_ms.insert(phase.to_owned(), elapsed_ms);
        }
        let progress = self.progress(&planned, report, elapsed_ms, 0);
        debug!(query = self.parts.name, batch = progress.batch_id, "query idle");
        self.parts.monitor.progress().push(progress);
    }

    fn progress(&self, planned: &PlannedBatch, report: BatchReport, elapsed_ms: u64, since_previous_ms: u64) -> Progress {
        let sources = planned.sources.iter().map(|(name, range)| {
            let read = report.counts.get(name).map_or(0, |counts| counts.read);
            let stats = self.parts.sources.iter().find(|source| source.name == *name).and_then(|source| source.stats.as_ref());
            let latest = stats.and_then(|stats| stats.latest());
            SourceProgress {
                description: name.clone(),
                start_offset: range.start.as_json().clone(),
                end_offset: range.end.as_json().clone(),
                latest_offset: latest.unwrap_or_else(|| range.end.as_json().clone()),
                num_input_rows: read,
                input_rows_per_second: per_second(read, since_previous_ms),
                processed_rows_per_second: per_second(read, elapsed_ms),
                metrics: stats.map(|stats| stats.metrics()).unwrap_or_default(),
            }
        });
        let mut event_time = report.event_time;
        if !self.tracker.is_empty() {
            event_time.insert("watermark".to_owned(), iso_millis(planned.watermark_ms.saturating_mul(1000)));
        }
        let none = SinkProgress {
            description: "none".to_owned(),
            num_output_rows: -1,
            guarantee: Guarantee::ExactlyOnce.name().to_owned(),
        };
        Progress {
            id: self.parts.checkpoint.query_id().to_owned(),
            run_id: self.run_id.clone(),
            name: self.parts.name.clone(),
            timestamp: iso_millis(report.trigger_us),
            batch_id: planned.batch.0,
            batch_duration: elapsed_ms,
            num_input_rows: report.ledger.rows_read,
            input_rows_per_second: per_second(report.ledger.rows_read, since_previous_ms),
            processed_rows_per_second: per_second(report.ledger.rows_read, elapsed_ms),
            duration_ms: report.duration_ms,
            phases: None,
            trigger_lag_ms: report.trigger_lag_ms,
            event_time,
            watermark_lag_ms: (!self.tracker.is_empty())
                .then(|| (planned.batch_time_us / 1000).saturating_sub(planned.watermark_ms)),
            state_operators: report.operators,
            sources: sources.collect(),
            sink: report.sinks.first().cloned().unwrap_or(none),
            sinks: report.sinks,
            ledger: report.ledger,
        }
    }

    /// A warning when a watermark has moved by more than a day at once, or as if milliseconds had been read as seconds.
    pub(super) fn warn_of_watermark(&self, planned: &PlannedBatch, next_ms: i64) {
        if self.tracker.is_empty() {
            return;
        }
        if planned.watermark_ms == 0 && next_ms > (planned.batch_time_us / 1000).saturating_add(FAR_MS) {
            let watermark = iso_millis(next_ms.saturating_mul(1000));
            self.parts.metrics.watermark_far_ahead.inc();
            warn!(
                query = self.parts.name,
                batch = planned.batch.0,
                watermark,
                "event times lie centuries ahead: a number in a TIMESTAMP column is seconds, these look like milliseconds"
            );
        } else if planned.watermark_ms > 0 && next_ms - planned.watermark_ms > DAY_MS {
            self.parts.metrics.watermark_jumps.inc();
            let hours = (next_ms - planned.watermark_ms) / 3_600_000;
            warn!(
                query = self.parts.name,
                batch = planned.batch.0,
                hours,
                "the watermark jumps by more than a day: earlier rows are late now"
            );
        }
    }

    /// One warning when state comes near its limit, the next only after it has shrunk in between.
    fn warn_of_state_limit(&mut self) {
        let (used, limit) = (self.parts.plan.memory_used_bytes() as u64, self.parts.state_bytes_max);
        let is_near = used >= limit / 5 * 4;
        if is_near && !self.is_state_warned {
            warn!(
                query = self.parts.name,
                used_bytes = used,
                limit_bytes = limit,
                "state holds more than 80 % of limits.state_memory"
            );
        }
        self.is_state_warned = is_near;
    }

    fn count(&self, progress: &Progress) {
        let metrics = &self.parts.metrics;
        for source in &progress.sources {
            metrics.rows_read(&source.description, source.num_input_rows);
        }
        for sink in &progress.sinks {
            metrics.rows_written(&sink.description, u64::try_from(sink.num_output_rows).unwrap_or(0));
        }
        metrics.rows_malformed.inc_by(progress.ledger.rows_malformed);
        metrics.rows_late.inc_by(progress.ledger.rows_late);
        metrics.rows_future.inc_by(progress.ledger.rows_future);
        metrics.rows_lost.inc_by(progress.ledger.rows_lost);
        metrics.rows_emitted.inc_by(progress.ledger.rows_emitted);
        metrics.rows_dead_lettered.inc_by(progress.ledger.rows_dead_lettered);
        for (reason, rows) in &progress.ledger.rows_dropped {
            metrics.rows_dropped(reason, *rows);
        }
        metrics.batches.inc();
        for (phase, us) in progress.phases.iter().flat_map(Phases::named) {
            metrics.batch_phase(phase, us as f64 / 1e6);
        }
        if let Some(lag_ms) = progress.trigger_lag_ms {
            metrics.trigger_lag(lag_ms as f64 / 1e3);
        }
        metrics.batch_duration.observe(progress.batch_duration as f64 / 1000.0);
        metrics.last_batch_id.set(i64::try_from(progress.batch_id).unwrap_or(i64::MAX));
        metrics.last_commit.set(self.parts.clock.now_us() as f64 / 1e6);
        for (operator, progress) in self.parts.plan.operator_ids().zip(&progress.state_operators) {
            metrics.operator_rows(operator, progress.num_rows_total);
        }
        metrics.state_rows.set(progress.state_operators.iter().map(|o| i64::try_from(o.num_rows_total).unwrap_or(0)).sum());
        metrics.state_bytes.set(progress.state_operators.iter().map(|o| i64::try_from(o.memory_used_bytes).unwrap_or(0)).sum());
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
