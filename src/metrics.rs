//! Every series there is, each declared once with its unit and help text.
//!
//! Labels hold names from the pipeline file only, so their number is bounded by the file.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{
    CounterVec, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder, exponential_buckets,
};

use crate::error::{Attempt, ErrorKind, Result};
use crate::function::CallErrorKind;
use crate::function::policy::BreakerState;
use crate::source::SourceStats;

const QUERY: &[&str] = &["pipeline", "query"];

/// The process's series.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    rows_read: IntCounterVec,
    rows_written: IntCounterVec,
    rows_malformed: IntCounterVec,
    rows_dropped: IntCounterVec,
    event_time: EventTimeSeries,
    batches: IntCounterVec,
    retries: IntCounterVec,
    time: BatchTimes,
    last_batch_id: IntGaugeVec,
    last_commit: GaugeVec,
    state_rows: IntGaugeVec,
    operator_rows: IntGaugeVec,
    state_bytes: IntGaugeVec,
    state_limit: IntGaugeVec,
    running: IntGaugeVec,
    sources: SourceSeries,
    functions: FunctionSeries,
    tables_refreshed: IntCounterVec,
    tables_refused: IntCounterVec,
    series_refused: IntCounterVec,
    /// Brings series up to date whose values live elsewhere.
    refresh: Arc<Mutex<Vec<Refresh>>>,
}

/// Whether it is wanted again.
type Refresh = Box<dyn Fn() -> bool + Send>;

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Series of sources that receive, labelled with pipeline and source.
#[derive(Debug, Clone)]
struct SourceSeries {
    connections: IntGaugeVec,
    refused: IntGaugeVec,
    bytes: IntGaugeVec,
    lines: IntGaugeVec,
    truncated: IntGaugeVec,
    lost: IntGaugeVec,
    log_bytes: IntGaugeVec,
    lag: IntGaugeVec,
}

impl SourceSeries {
    fn new() -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["pipeline", "source"]);
        Ok(Self {
            connections: gauge("tidemill_source_connections", "Connections open just now.")?,
            refused: gauge("tidemill_source_connections_refused", "Connections turned away since the start.")?,
            bytes: gauge("tidemill_source_received_bytes", "Bytes received since the start.")?,
            lines: gauge("tidemill_source_received_lines", "Lines received since the start.")?,
            truncated: gauge("tidemill_source_truncated_lines", "Lines cut off by a broken connection since the start.")?,
            lost: gauge("tidemill_source_lost_rows", "Rows of planned ranges that were gone after a restart (durable: false).")?,
            log_bytes: gauge("tidemill_ingest_log_bytes", "Bytes that the ingest log holds.")?,
            lag: IntGaugeVec::new(
                Opts::new("tidemill_source_lag_offsets", "Offsets of a partition that the last planned batch left to be read."),
                &["pipeline", "query", "source", "topic", "partition"],
            )?,
        })
    }

    fn all(&self) -> [&IntGaugeVec; 7] {
        [&self.connections, &self.refused, &self.bytes, &self.lines, &self.truncated, &self.lost, &self.log_bytes]
    }
}

/// Series of event time, labelled with pipeline and query.
#[derive(Debug, Clone)]
struct EventTimeSeries {
    rows_late: IntCounterVec,
    rows_future: IntCounterVec,
    watermark: GaugeVec,
    lag: GaugeVec,
    jumps: IntCounterVec,
    far_ahead: IntCounterVec,
}

impl EventTimeSeries {
    fn new() -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), QUERY);
        let gauge = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), QUERY);
        Ok(Self {
            rows_late: counter("tidemill_rows_late_total", "Rows that a stateful operator judged late.")?,
            rows_future: counter(
                "tidemill_rows_future_total",
                "Rows set aside because their event time lies too far in the future.",
            )?,
            watermark: gauge("tidemill_watermark_timestamp_seconds", "The query's watermark, seconds since 1970.")?,
            lag: gauge("tidemill_watermark_lag_seconds", "How far the watermark was behind the last batch's time.")?,
            jumps: counter("tidemill_watermark_jumps_total", "Batches that moved the watermark by more than a day.")?,
            far_ahead: counter(
                "tidemill_watermark_far_ahead_total",
                "Batches whose event times lie centuries ahead, like milliseconds read as seconds.",
            )?,
        })
    }

    fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        for counters in [&self.rows_late, &self.rows_future, &self.jumps, &self.far_ahead] {
            registry.register(Box::new(counters.clone()))?;
        }
        for gauges in [&self.watermark, &self.lag] {
            registry.register(Box::new(gauges.clone()))?;
        }
        Ok(())
    }
}

/// Series of functions, labelled with pipeline, query and function.
#[derive(Debug, Clone)]
struct FunctionSeries {
    calls: IntCounterVec,
    attempts: IntCounterVec,
    retries: IntCounterVec,
    rows_failed: IntCounterVec,
    cache_hits: IntCounterVec,
    cache_misses: IntCounterVec,
    in_flight: IntGaugeVec,
    duration: HistogramVec,
    breaker: IntGaugeVec,
}

impl FunctionSeries {
    fn new() -> prometheus::Result<Self> {
        let labels = &["pipeline", "query", "function"];
        let counter = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), labels);
        let buckets = exponential_buckets(0.001, 2.0, 17)?;
        Ok(Self {
            calls: IntCounterVec::new(
                Opts::new("tidemill_function_calls_total", "Calls by how they ended: ok, cancelled, or the sort of failure."),
                &["pipeline", "query", "function", "outcome"],
            )?,
            attempts: counter("tidemill_function_attempts_total", "Attempts of all calls.")?,
            retries: counter("tidemill_function_retries_total", "Attempts after a call's first.")?,
            rows_failed: counter("tidemill_function_rows_failed_total", "Rows whose call failed for good.")?,
            cache_hits: counter("tidemill_function_cache_hits_total", "Rows that were answered without a call of their own.")?,
            cache_misses: counter("tidemill_function_cache_misses_total", "Rows that were not in the cache.")?,
            in_flight: IntGaugeVec::new(Opts::new("tidemill_function_in_flight", "Attempts in flight just now."), labels)?,
            duration: HistogramVec::new(
                HistogramOpts::new("tidemill_function_attempt_duration_seconds", "Time that an attempt took.").buckets(buckets),
                labels,
            )?,
            breaker: IntGaugeVec::new(
                Opts::new("tidemill_function_breaker_state", "Whether calls are made: 0 yes, 1 one as a trial, 2 no."),
                &["pipeline", "function"],
            )?,
        })
    }

    fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let counters = [&self.calls, &self.attempts, &self.retries, &self.rows_failed, &self.cache_hits, &self.cache_misses];
        for counters in counters {
            registry.register(Box::new(counters.clone()))?;
        }
        registry.register(Box::new(self.in_flight.clone()))?;
        registry.register(Box::new(self.duration.clone()))?;
        registry.register(Box::new(self.breaker.clone()))
    }
}

/// The series of one function in one query.
#[derive(Debug, Clone)]
pub struct FunctionMetrics {
    calls: IntCounterVec,
    labels: [String; 3],
    ok: IntCounter,
    cancelled: IntCounter,
    /// Attempts of all calls.
    pub attempts: IntCounter,
    /// Attempts after a call's first.
    pub retries: IntCounter,
    /// Rows whose call failed for good.
    pub rows_failed: IntCounter,
    /// Rows answered without a call of their own.
    pub cache_hits: IntCounter,
    /// Rows that were not in the cache.
    pub cache_misses: IntCounter,
    /// Attempts in flight.
    pub in_flight: IntGauge,
    /// Time of an attempt, in seconds.
    pub attempt_duration: Histogram,
    breaker: IntGauge,
}

impl FunctionMetrics {
    /// A call was answered.
    pub fn answered(&self) {
        self.ok.inc();
    }

    /// A call was given up before it ended.
    pub fn cancelled(&self) {
        self.cancelled.inc();
    }

    /// A call failed.
    pub fn failed(&self, kind: CallErrorKind) {
        let [pipeline, query, function] = self.labels.each_ref().map(String::as_str);
        self.calls.with_label_values(&[pipeline, query, function, kind.name()]).inc();
    }

    /// Whether calls are made.
    pub fn breaker(&self, state: BreakerState) {
        self.breaker.set(match state {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        });
    }
}

/// What batches' time went to.
#[derive(Clone)]
struct BatchTimes {
    duration: HistogramVec,
    phases: CounterVec,
    trigger_lag: GaugeVec,
}

impl BatchTimes {
    fn new() -> prometheus::Result<Self> {
        let duration = HistogramOpts::new("tidemill_batch_duration_seconds", "Time from a batch's trigger to its commit.");
        let phases = Opts::new("tidemill_batch_phase_seconds_total", "Time that batches spent in each phase.");
        let lag = Opts::new("tidemill_trigger_lag_seconds", "How much later than its interval the last trigger fired.");
        Ok(Self {
            duration: HistogramVec::new(duration.buckets(exponential_buckets(0.000_25, 2.0, 20)?), QUERY)?,
            phases: CounterVec::new(phases, &["pipeline", "query", "phase"])?,
            trigger_lag: GaugeVec::new(lag, QUERY)?,
        })
    }

    fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.duration.clone()))?;
        registry.register(Box::new(self.phases.clone()))?;
        registry.register(Box::new(self.trigger_lag.clone()))
    }
}

fn operator_rows() -> prometheus::Result<IntGaugeVec> {
    let opts = Opts::new("tidemill_state_operator_rows", "Rows that a stateful operator holds.");
    IntGaugeVec::new(opts, &["pipeline", "query", "operator"])
}

fn series_refused() -> prometheus::Result<IntCounterVec> {
    let opts = Opts::new("tidemill_metric_series_refused_total", "Rows whose series was over the limit of a metric sink.");
    IntCounterVec::new(opts, &["pipeline", "query", "metric"])
}

impl Metrics {
    /// Declares every series.
    pub fn new() -> Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let gauge = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), QUERY);
        let declare = || -> prometheus::Result<Self> {
            Ok(Self {
                registry: Registry::new(),
                rows_read: counter("tidemill_rows_read_total", "Rows read from a source.", &["pipeline", "query", "source"])?,
                rows_written: counter(
                    "tidemill_rows_written_total",
                    "Rows committed to a sink.",
                    &["pipeline", "query", "sink"],
                )?,
                rows_malformed: counter("tidemill_rows_malformed_total", "Rows that were malformed, kept or dropped.", QUERY)?,
                rows_dropped: counter(
                    "tidemill_rows_dropped_total",
                    "Rows that did not reach the plan.",
                    &["pipeline", "query", "reason"],
                )?,
                event_time: EventTimeSeries::new()?,
                batches: counter("tidemill_batches_total", "Micro-batches committed.", QUERY)?,
                retries: counter(
                    "tidemill_retries_total",
                    "Steps that failed for a reason outside and were tried again.",
                    QUERY,
                )?,
                time: BatchTimes::new()?,
                last_batch_id: gauge("tidemill_last_batch_id", "Number of the last committed micro-batch.")?,
                last_commit: GaugeVec::new(
                    Opts::new(
                        "tidemill_last_commit_timestamp_seconds",
                        "When the last micro-batch was committed, seconds since 1970.",
                    ),
                    QUERY,
                )?,
                state_rows: gauge("tidemill_state_rows", "Rows that all stateful operators of a query hold.")?,
                operator_rows: operator_rows()?,
                state_bytes: gauge(
                    "tidemill_state_bytes",
                    "Memory that all stateful operators of a query hold, index included.",
                )?,
                state_limit: gauge(
                    "tidemill_state_limit_bytes",
                    "What limits.state_memory allows the stateful operators of a query.",
                )?,
                sources: SourceSeries::new()?,
                functions: FunctionSeries::new()?,
                tables_refreshed: counter(
                    "tidemill_table_refreshes_total",
                    "Times that a static table was read again.",
                    &["pipeline", "table"],
                )?,
                tables_refused: counter(
                    "tidemill_table_refresh_failures_total",
                    "Times that the changed files of a static table could not be used.",
                    &["pipeline", "table"],
                )?,
                series_refused: series_refused()?,
                refresh: Arc::default(),
                running: gauge("tidemill_query_running", "1 while a query runs, 0 once it has stopped or failed.")?,
            })
        };
        let metrics = declare().attempting(ErrorKind::Internal, || "declare metrics".to_owned())?;
        metrics.register().attempting(ErrorKind::Internal, || "register metrics".to_owned())?;
        Ok(metrics)
    }

    fn register(&self) -> prometheus::Result<()> {
        let registry = &self.registry;
        registry.register(Box::new(self.rows_read.clone()))?;
        registry.register(Box::new(self.rows_written.clone()))?;
        registry.register(Box::new(self.rows_malformed.clone()))?;
        registry.register(Box::new(self.rows_dropped.clone()))?;
        self.event_time.register(registry)?;
        self.functions.register(registry)?;
        registry.register(Box::new(self.batches.clone()))?;
        registry.register(Box::new(self.retries.clone()))?;
        self.time.register(registry)?;
        registry.register(Box::new(self.last_batch_id.clone()))?;
        registry.register(Box::new(self.last_commit.clone()))?;
        registry.register(Box::new(self.state_rows.clone()))?;
        registry.register(Box::new(self.operator_rows.clone()))?;
        registry.register(Box::new(self.state_bytes.clone()))?;
        registry.register(Box::new(self.state_limit.clone()))?;
        registry.register(Box::new(self.series_refused.clone()))?;
        registry.register(Box::new(self.tables_refreshed.clone()))?;
        registry.register(Box::new(self.tables_refused.clone()))?;
        for series in self.sources.all() {
            registry.register(Box::new(series.clone()))?;
        }
        registry.register(Box::new(self.sources.lag.clone()))?;
        registry.register(Box::new(self.running.clone()))
    }

    /// The series of one query, from its start at zero.
    pub fn query(&self, pipeline: &str, query: &str) -> QueryMetrics {
        let labels = &[pipeline, query];
        QueryMetrics {
            all: self.clone(),
            pipeline: pipeline.to_owned(),
            query: query.to_owned(),
            rows_malformed: self.rows_malformed.with_label_values(labels),
            rows_late: self.event_time.rows_late.with_label_values(labels),
            rows_future: self.event_time.rows_future.with_label_values(labels),
            watermark_jumps: self.event_time.jumps.with_label_values(labels),
            watermark_far_ahead: self.event_time.far_ahead.with_label_values(labels),
            batches: self.batches.with_label_values(labels),
            retries: self.retries.with_label_values(labels),
            batch_duration: self.time.duration.with_label_values(labels),
            last_batch_id: self.last_batch_id.with_label_values(labels),
            last_commit: self.last_commit.with_label_values(labels),
            state_rows: self.state_rows.with_label_values(labels),
            state_bytes: self.state_bytes.with_label_values(labels),
            state_limit: self.state_limit.with_label_values(labels),
            running: self.running.with_label_values(labels),
        }
    }

    /// The series of one function in one query, from its start at zero.
    pub fn function(&self, pipeline: &str, query: &str, function: &str) -> FunctionMetrics {
        let (all, labels) = (&self.functions, &[pipeline, query, function]);
        FunctionMetrics {
            calls: all.calls.clone(),
            labels: labels.map(str::to_owned),
            ok: all.calls.with_label_values(&[pipeline, query, function, "ok"]),
            cancelled: all.calls.with_label_values(&[pipeline, query, function, "cancelled"]),
            attempts: all.attempts.with_label_values(labels),
            retries: all.retries.with_label_values(labels),
            rows_failed: all.rows_failed.with_label_values(labels),
            cache_hits: all.cache_hits.with_label_values(labels),
            cache_misses: all.cache_misses.with_label_values(labels),
            in_flight: all.in_flight.with_label_values(labels),
            attempt_duration: all.duration.with_label_values(labels),
            breaker: all.breaker.with_label_values(&[pipeline, function]),
        }
    }

    /// Shows the counters of a source that receives, as they are whenever metrics are asked for.
    pub fn add_source(&self, pipeline: &str, source: &str, stats: Arc<SourceStats>) {
        let labels = [pipeline, source];
        let [connections, refused, bytes, lines, truncated, lost, log_bytes] =
            self.sources.all().map(|series| series.with_label_values(&labels));
        let refresh = move || {
            let value = |counter| i64::try_from(SourceStats::get(counter)).unwrap_or(i64::MAX);
            connections.set(value(&stats.connections_open));
            refused.set(value(&stats.connections_refused));
            bytes.set(value(&stats.bytes_received));
            lines.set(value(&stats.lines_received));
            truncated.set(value(&stats.lines_truncated));
            lost.set(value(&stats.rows_lost));
            log_bytes.set(value(&stats.log_bytes));
            true
        };
        self.before_each_scrape(refresh);
    }

    /// Shows how far a query is behind the partitions that a source reads.
    pub fn add_lag(&self, pipeline: &str, query: &str, source: &str, stats: Arc<SourceStats>) {
        let lag = self.sources.lag.clone();
        let [pipeline, query, source] = [pipeline, query, source].map(str::to_owned);
        let refresh = move || {
            for (topic, partition, offsets) in stats.lag() {
                let partition = partition.to_string();
                let labels = [pipeline.as_str(), &query, &source, &topic, &partition];
                lag.with_label_values(&labels).set(i64::try_from(offsets).unwrap_or(i64::MAX));
            }
            true
        };
        self.before_each_scrape(refresh);
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> Result<String> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner).retain(|refresh| refresh());
        let mut text = Vec::new();
        let encoder = TextEncoder::new();
        encoder.encode(&self.registry.gather(), &mut text).attempting(ErrorKind::Internal, || "encode metrics".to_owned())?;
        String::from_utf8(text).attempting(ErrorKind::Internal, || "encode metrics".to_owned())
    }

    /// Does `refresh` before series are shown, until it says that it is not wanted any more.
    pub fn before_each_scrape(&self, refresh: impl Fn() -> bool + Send + 'static) {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(refresh));
    }

    /// Rows of a query's result that had no room among the series of a metric.
    pub fn series_refused(&self, pipeline: &str, query: &str, metric: &str) -> IntCounter {
        self.series_refused.with_label_values(&[pipeline, query, metric])
    }

    /// The registry, for series of other parts of the process.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

/// The series of one query.
#[derive(Debug, Clone)]
pub struct QueryMetrics {
    all: Metrics,
    pipeline: String,
    query: String,
    /// Rows that were malformed, kept or dropped.
    pub rows_malformed: IntCounter,
    /// Rows that a stateful operator judged late.
    pub rows_late: IntCounter,
    /// Rows set aside because their event time lies too far in the future.
    pub rows_future: IntCounter,
    /// Batches that moved the watermark by more than a day.
    pub watermark_jumps: IntCounter,
    /// Batches whose event times lie centuries ahead.
    pub watermark_far_ahead: IntCounter,
    /// Micro-batches committed.
    pub batches: IntCounter,
    /// Steps tried again.
    pub retries: IntCounter,
    /// Trigger to commit, in seconds.
    pub batch_duration: Histogram,
    /// Number of the last committed batch.
    pub last_batch_id: IntGauge,
    /// When it was committed, seconds since 1970.
    pub last_commit: Gauge,
    /// Rows held in state.
    pub state_rows: IntGauge,
    /// Bytes held in state.
    pub state_bytes: IntGauge,
    /// `limits.state_memory`.
    pub state_limit: IntGauge,
    /// 1 while the query runs.
    pub running: IntGauge,
}

impl QueryMetrics {
    /// Adds rows read from `source`.
    pub fn rows_read(&self, source: &str, rows: u64) {
        self.all.rows_read.with_label_values(&[self.pipeline.as_str(), &self.query, source]).inc_by(rows);
    }

    /// Sets the watermark, in seconds since 1970, and how far it is behind the batch's time, in seconds. A query without a watermark
    /// has neither series.
    pub fn watermark(&self, at_s: f64, lag_s: f64) {
        let labels = &[self.pipeline.as_str(), &self.query];
        self.all.event_time.watermark.with_label_values(labels).set(at_s);
        self.all.event_time.lag.with_label_values(labels).set(lag_s);
    }

    /// Adds the time that a batch spent in a phase.
    pub fn batch_phase(&self, phase: &str, time_s: f64) {
        self.all.time.phases.with_label_values(&[self.pipeline.as_str(), &self.query, phase]).inc_by(time_s);
    }

    /// Sets how much later than its interval the last trigger fired; a query without an interval has no such series.
    pub fn trigger_lag(&self, lag_s: f64) {
        self.all.time.trigger_lag.with_label_values(&[self.pipeline.as_str(), &self.query]).set(lag_s);
    }

    /// Sets the rows that `operator` holds.
    pub fn operator_rows(&self, operator: &str, rows: u64) {
        let series = self.all.operator_rows.with_label_values(&[self.pipeline.as_str(), &self.query, operator]);
        series.set(i64::try_from(rows).unwrap_or(i64::MAX));
    }

    /// Adds rows committed to `sink`.
    pub fn rows_written(&self, sink: &str, rows: u64) {
        self.all.rows_written.with_label_values(&[self.pipeline.as_str(), &self.query, sink]).inc_by(rows);
    }

    /// A static table was read again.
    pub fn table_refreshed(&self, table: &str) {
        self.all.tables_refreshed.with_label_values(&[self.pipeline.as_str(), table]).inc();
    }

    /// The changed files of a static table could not be used.
    pub fn table_refused(&self, table: &str) {
        self.all.tables_refused.with_label_values(&[self.pipeline.as_str(), table]).inc();
    }

    /// Adds rows dropped for `reason`.
    pub fn rows_dropped(&self, reason: &str, rows: u64) {
        self.all.rows_dropped.with_label_values(&[self.pipeline.as_str(), &self.query, reason]).inc_by(rows);
    }
}
