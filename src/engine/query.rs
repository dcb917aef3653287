//! One query: its parts, and the loop that plans, runs and commits its batches until it ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::StopAfter;
use super::feed::Decoders;
use super::phases::Phases;
use super::report::BatchReport;
use super::snapshots::Snapshots;
use super::status::QueryMonitor;
use super::summary::EventTimeSummary;
use super::tables::WatchedTable;
use crate::checkpoint::{BatchId, Checkpoint, FirstStep, PlannedBatch, PreparedBatch, Recovered};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::format::MetadataColumn;
use crate::function::QueryCalls;
use crate::metrics::QueryMetrics;
use crate::operator::ending::Ending;
use crate::pipeline::Trigger;
use crate::plan::streaming::{ResultPlan, StreamingPlan};
use crate::sink::{Sink, sink_ahead};
use crate::source::socket::NEVER_CONNECTED;
use crate::source::{Offset, ReadLimit, Source, SourceStats};
use crate::watermark::{Tracker, WatermarkPolicy};

/// First and longest pause between tries of a step that failed for a reason outside.
pub(super) const RETRY_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How a source's chunks become rows.
#[derive(Debug, Clone)]
pub enum SourceRows {
    /// Lines, through decoders that are used for every batch.
    Lines(Arc<Decoders>),
    /// Rows that need no decoding.
    Columns {
        /// The source's name, for `_source`.
        source: Arc<str>,
        /// Indexes into the source's schema.
        projection: Vec<usize>,
        /// Metadata columns, after the projected ones.
        metadata: Vec<MetadataColumn>,
    },
}

/// One source of a query.
pub struct QuerySource {
    /// Its name.
    pub name: String,
    /// Where the chunks come from.
    pub source: Box<dyn Source>,
    /// What it tells of itself, if it has partitions.
    pub stats: Option<Arc<SourceStats>>,
    /// How they become rows.
    pub rows: SourceRows,
    /// Admission limit per batch.
    pub limit: ReadLimit,
    /// Batch 0 of a fresh checkpoint reads nothing from it, as Spark's socket source does.
    pub starts_empty: bool,
}

/// One sink of a query.
pub struct QuerySink {
    /// Its name within the query.
    pub name: String,
    /// Where rows go.
    pub sink: Box<dyn Sink>,
    /// Stateless SQL over the result, if the sink wants something other than the result itself.
    pub select: Option<ResultPlan>,
    /// Whether a batch without rows is a commit too (the console prints empty batches).
    pub takes_empty: bool,
}

/// Everything a query is made of.
pub struct QueryParts {
    /// The query's name.
    pub name: String,
    /// Zone in which timestamps are written.
    pub time_zone: Arc<str>,
    /// When batches start.
    pub trigger: Trigger,
    /// Which of several watermarks is the query's, unless the checkpoint says another.
    pub watermark_policy: WatermarkPolicy,
    /// What a batch runs.
    pub plan: StreamingPlan,
    /// The static tables that are looked at before each batch.
    pub(super) tables: Vec<Arc<WatchedTable>>,
    /// Where rows come from.
    pub sources: Vec<QuerySource>,
    /// Where results go, in commit order.
    pub sinks: Vec<QuerySink>,
    /// Where rows that were not right go.
    pub dead_letter: Option<QuerySink>,
    /// What survives a crash.
    pub checkpoint: Checkpoint,
    /// What the checkpoint held when it was opened.
    pub recovered: Recovered,
    /// What functions are called with.
    pub calls: QueryCalls,
    /// Largest staged output of a batch, in bytes (`limits.stage`).
    pub stage_bytes_max: u64,
    /// What all state of the query may hold, in bytes (`limits.state_memory`).
    pub state_bytes_max: u64,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Whether every batch emits the whole result.
    pub is_complete: bool,
    /// Whether rows are left to be looked at (`service.show_rows`).
    pub shows_rows: bool,
    /// What the outside may know.
    pub monitor: QueryMonitor,
    /// Counters.
    pub metrics: QueryMetrics,
    /// Where tests cut the query off.
    pub stop_after: StopAfter,
}

/// A query that is ready to run.
pub struct Query {
    pub(super) parts: QueryParts,
    pub(super) run_id: String,
    /// Where the next batch starts, per source.
    pub(super) positions: BTreeMap<String, Offset>,
    /// Next commit number per sink.
    pub(super) sink_numbers: BTreeMap<String, u64>,
    /// Where a person said that sinks stand: commits below that number count as in.
    pub(super) accepted: BTreeMap<String, u64>,
    pub(super) tracker: Tracker,
    /// How the state of each operator ends.
    pub(super) endings: BTreeMap<String, Ending>,
    pub(super) watermark_ms: i64,
    pub(super) late_watermark_ms: i64,
    pub(super) last_batch_time_us: i64,
    pub(super) previous_trigger_us: Option<i64>,
    /// How long the batch that comes next was planned, and how late, in milliseconds, its trigger fired.
    pub(super) planning: Duration,
    pub(super) trigger_lag_ms: Option<u64>,
    pub(super) batches_run: u64,
    /// Nothing has been committed since the log was synced and the sources were let go.
    pub(super) is_settled: bool,
    /// The state limit's warning was given and is not repeated until there is room again.
    pub(super) is_state_warned: bool,
    /// When the query was found or last said to be idle.
    pub(super) idle_since_us: Option<i64>,
    /// What the batch being committed did.
    pub(super) pending: Option<BatchReport>,
    /// When to ask the sinks next for what they gather, in microseconds since 1970.
    pub(super) put_out_at_us: Option<i64>,
    pub(super) snapshots: Snapshots,
}

/// What comes next. Every step can be repeated after a failure, in this process or the next.
pub(super) enum Next {
    /// Wait for the trigger and plan a batch.
    Plan(BatchId),
    /// Run a planned batch until it is decided.
    Run(PlannedBatch),
    /// Give a decided batch to its sinks; `ask` first whether they have it.
    Commit { planned: Box<PlannedBatch>, prepared: Box<PreparedBatch>, ask: bool },
    /// Tidy up behind a committed batch.
    Close(Box<PlannedBatch>),
    /// Nothing more will come.
    End,
}

impl Query {
    /// Restores state and positions from the checkpoint and opens the sinks.
    pub async fn open(mut parts: QueryParts) -> Result<(Self, FirstStep)> {
        for (operator, pages) in &parts.recovered.state {
            parts.plan.restore(operator, pages)?;
        }
        parts.recovered.state.clear();
        parts.plan.keep_set_aside(parts.dead_letter.is_some());
        let tracker = tracker(&parts);
        let mut query = Self {
            run_id: Uuid::now_v7().to_string(),
            positions: BTreeMap::new(),
            sink_numbers: std::mem::take(&mut parts.recovered.sink_numbers),
            accepted: std::mem::take(&mut parts.recovered.accepted),
            tracker,
            endings: parts.plan.endings(),
            watermark_ms: 0,
            late_watermark_ms: 0,
            last_batch_time_us: 0,
            previous_trigger_us: None,
            planning: Duration::ZERO,
            trigger_lag_ms: None,
            batches_run: 0,
            is_settled: true,
            is_state_warned: false,
            idle_since_us: None,
            pending: None,
            put_out_at_us: Some(i64::MIN),
            snapshots: Snapshots::default(),
            parts,
        };
        if let Some(last) = query.parts.recovered.last.take() {
            query.after(&last.planned, last.next_watermark_ms);
        }
        for source in &mut query.parts.sources {
            if !query.positions.contains_key(&source.name) {
                query.positions.insert(source.name.clone(), source.source.initial_offset().await?);
            }
        }
        query.open_sinks().await?;
        query.begin_metrics();
        let first = query.parts.recovered.first_step.clone();
        if matches!(first, FirstStep::Plan(_) | FirstStep::Run(_)) {
            query.check_marks().await?;
        }
        Ok((query, first))
    }

    fn begin_metrics(&self) {
        let parts = &self.parts;
        let sinks = parts.sinks.iter().chain(&parts.dead_letter).map(|sink| sink.name.as_str());
        let sources = parts.sources.iter().map(|source| source.name.as_str());
        parts.metrics.begin(sources, sinks, parts.tables.iter().map(|table| table.name()));
        Phases::default().named().iter().for_each(|(phase, _)| parts.metrics.batch_phase(phase, 0.0));
    }

    /// Runs until the trigger has no more batches, `stop` is cancelled, or a batch fails.
    pub async fn run(mut self, first: FirstStep, stop: CancellationToken) -> Result<()> {
        self.run_on(first, &stop).await
    }

    pub(super) async fn run_on(&mut self, first: FirstStep, stop: &CancellationToken) -> Result<()> {
        if let Err(error) = self.run_steps(first, stop).await {
            self.drop_snapshot().await;
            return Err(error);
        }
        match self.finish_snapshot().await {
            Err(error) if matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::Unavailable) => {
                warn!(query = self.parts.name, error = error.chain(), "the last snapshot was not written");
            }
            finished => finished?,
        }
        self.parts.checkpoint.sync()?;
        self.try_release_all().await;
        self.put_out_all(stop).await?;
        info!(query = self.parts.name, batches = self.batches_run, "query stopped");
        Ok(())
    }

    async fn run_steps(&mut self, first: FirstStep, stop: &CancellationToken) -> Result<()> {
        let mut next = match first {
            FirstStep::Plan(batch) => Next::Plan(batch),
            FirstStep::Run(planned) => Next::Run(planned),
            FirstStep::CommitSinks(planned, prepared) => {
                Next::Commit { planned: Box::new(planned), prepared: Box::new(prepared), ask: true }
            }
        };
        if matches!(next, Next::Plan(_)) {
            self.try_release_all().await;
        }
        let mut delay = RETRY_DELAYS.0;
        loop {
            if stop.is_cancelled() && !matches!(next, Next::Commit { .. } | Next::Close(_)) {
                break;
            }
            if matches!(next, Next::Run(_) | Next::Commit { .. }) && self.parts.metrics.batch_started.get() == 0.0 {
                self.parts.metrics.batch_started.set(self.parts.clock.now_us() as f64 / 1e6);
            }
            let outcome = match &next {
                Next::Plan(batch) => self.plan_batch(*batch, stop).await,
                Next::Run(planned) => self.run_batch(planned.clone()).await,
                Next::Commit { planned, prepared, ask } => self.commit_batch(planned, prepared, *ask).await,
                Next::Close(planned) => self.close_batch(planned).await,
                Next::End => break,
            };
            match outcome {
                Ok(step) => {
                    next = step;
                    delay = RETRY_DELAYS.0;
                    self.parts.metrics.failed_tries.set(0);
                }
                Err(error) => {
                    self.parts.plan.abort();
                    self.wait_to_retry(error, delay, stop).await?;
                    if stop.is_cancelled() {
                        break; // what is decided is durable, and committed at the next start
                    }
                    delay = (delay * 2).min(RETRY_DELAYS.1);
                    if let Next::Commit { ask, .. } = &mut next {
                        *ask = true;
                    }
                }
            }
        }
        Ok(())
    }

    /// Pauses if `error` comes from outside and may pass; gives it back otherwise.
    pub(super) async fn wait_to_retry(&mut self, error: Error, delay: Duration, stop: &CancellationToken) -> Result<()> {
        match error.kind() {
            // The first connection has its own time limit; when that is over the query fails.
            ErrorKind::Unavailable if error.condition() == Some(NEVER_CONNECTED) => return Err(error),
            ErrorKind::Unavailable | ErrorKind::NoSpace => {}
            ErrorKind::Config
            | ErrorKind::Data
            | ErrorKind::Corrupt
            | ErrorKind::Fenced
            | ErrorKind::Storage
            | ErrorKind::Limit
            | ErrorKind::Internal => return Err(error),
        }
        let text = error.chain();
        warn!(query = self.parts.name, code = error.code(), error = text, retry_in_s = delay.as_secs(), "query paused");
        self.parts.monitor.paused(text);
        self.parts.metrics.retries.inc();
        self.parts.metrics.failed_tries.inc();
        let _ = tokio::time::timeout(delay, stop.cancelled()).await;
        Ok(())
    }

    /// Remembers where a batch ended: the next one starts there.
    pub(super) fn after(&mut self, planned: &PlannedBatch, next_watermark_ms: i64) {
        for (name, range) in &planned.sources {
            self.positions.insert(name.clone(), range.end.clone());
        }
        self.last_batch_time_us = planned.batch_time_us;
        self.late_watermark_ms = planned.watermark_ms;
        self.watermark_ms = next_watermark_ms;
    }

    /// Where nothing is left to commit, every sink must stand exactly where the log says it does.
    async fn check_marks(&mut self) -> Result<()> {
        let planned = self.no_batch();
        let names: Vec<_> = self.parts.sinks.iter().chain(&self.parts.dead_letter).map(|sink| sink.name.clone()).collect();
        for name in names {
            let number = self.sink_numbers.get(&name).copied().unwrap_or(0);
            let id = self.commit_id(&planned, &name, number, 0);
            let sinks = self.parts.sinks.iter_mut().chain(&mut self.parts.dead_letter);
            for sink in sinks.filter(|sink| sink.name == name) {
                if sink.sink.contains(&id).await?.is_in(&id)? {
                    return Err(sink_ahead(&id, number));
                }
            }
        }
        Ok(())
    }

    async fn open_sinks(&mut self) -> Result<()> {
        let schema = self.parts.plan.schema();
        let mut statuses = Vec::new();
        for QuerySink { name, sink, select, .. } in &mut self.parts.sinks {
            let schema = select.as_ref().map_or_else(|| schema.clone(), ResultPlan::schema);
            sink.open(&schema).await.map_err(|error| cannot_open(name, error))?;
            statuses.push(super::status::SinkStatus { name: name.clone(), guarantee: sink.guarantee().name() });
        }
        if let Some(dead_letter) = &mut self.parts.dead_letter {
            let opened = dead_letter.sink.open(&crate::sink::dead_letter::schema()).await;
            opened.map_err(|error| cannot_open(&dead_letter.name, error))?;
        }
        self.parts.monitor.set_sinks(statuses);
        Ok(())
    }
}

/// The query's watermarks, as far as the checkpoint says they had come.
fn tracker(parts: &QueryParts) -> Tracker {
    let before = parts.recovered.last.as_ref().and_then(|last| EventTimeSummary::of(&last.summary).watermarks);
    let tracker = Tracker::new(parts.watermark_policy, parts.plan.watermarks(), parts.clock.now_us(), before.as_ref());
    if tracker.policy() != parts.watermark_policy {
        let policy = tracker.policy();
        warn!(query = parts.name, ?policy, "the query goes on with the watermark_policy that it was started with");
    }
    tracker
}

fn cannot_open(sink: &str, cause: Error) -> Error {
    Error::new(cause.kind(), format!("sink {sink:?} cannot be opened")).because(cause)
}
