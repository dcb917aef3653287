//! Every series there is, each declared once with its unit and help text.
//!
//! Labels hold names from the pipeline file, topics that it asks for, and words of ours only, so their number is bounded by the file.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{
    Counter, CounterVec, Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, Result as Declared, TextEncoder, core::Collector, exponential_buckets,
};

use crate::error::{Attempt, ErrorKind, Result};
use crate::procfs;

pub use crate::engine::measures::QueryMetrics;
pub use crate::function::measures::FunctionMetrics;

const QUERY: &[&str] = &["pipeline", "query"];
const FUNCTION: &[&str] = &["pipeline", "query", "function"];
const SOURCE: &[&str] = &["pipeline", "source"];
const LISTENER: &[&str] = &["pipeline", "listener"];
const PARTITION: &[&str] = &["pipeline", "query", "source", "topic", "partition"];

/// The process's series.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    build_info: IntGaugeVec,
    pub(crate) disk_free: IntGaugeVec,
    pub(crate) disk_size: IntGaugeVec,
    pub(crate) rows: RowSeries,
    pub(crate) event_time: EventTimeSeries,
    pub(crate) queries: QuerySeries,
    pub(crate) batches: BatchSeries,
    pub(crate) state: StateSeries,
    pub(crate) sources: SourceSeries,
    pub(crate) listeners: ListenerSeries,
    pub(crate) functions: FunctionSeries,
    pub(crate) tables_refreshed: IntCounterVec,
    pub(crate) tables_refused: IntCounterVec,
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

/// Makes series, and registers each.
struct Declare<'a>(&'a Registry);

impl Declare<'_> {
    fn add<C: Collector + Clone + 'static>(&self, series: Declared<C>) -> Declared<C> {
        let series = series?;
        self.0.register(Box::new(series.clone()))?;
        Ok(series)
    }

    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> Declared<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Declared<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn seconds(&self, name: &str, help: &str, labels: &[&str]) -> Declared<GaugeVec> {
        self.add(GaugeVec::new(Opts::new(name, help), labels))
    }

    /// From `first` seconds, each bucket twice as wide as the one before.
    fn durations(&self, name: &str, help: &str, labels: &[&str], (first, count): (f64, usize)) -> Declared<HistogramVec> {
        let opts = HistogramOpts::new(name, help).buckets(exponential_buckets(first, 2.0, count)?);
        self.add(HistogramVec::new(opts, labels))
    }
}

/// Series of rows by what became of them.
#[derive(Clone)]
pub(crate) struct RowSeries {
    pub(crate) read: IntCounterVec,
    pub(crate) written: IntCounterVec,
    pub(crate) malformed: IntCounterVec,
    pub(crate) dropped: IntCounterVec,
    pub(crate) lost: IntCounterVec,
    pub(crate) emitted: IntCounterVec,
    pub(crate) dead_lettered: IntCounterVec,
    pub(crate) late: IntCounterVec,
    pub(crate) future: IntCounterVec,
}

impl RowSeries {
    fn new(declare: &Declare<'_>) -> Declared<Self> {
        let with = |name, help, label| declare.counter(name, help, &["pipeline", "query", label]);
        let of_query = |name, help| declare.counter(name, help, QUERY);
        Ok(Self {
            read: with("tidemill_rows_read_total", "Rows read from a source.", "source")?,
            written: with("tidemill_rows_written_total", "Rows committed to a sink.", "sink")?,
            malformed: of_query("tidemill_rows_malformed_total", "Rows that were malformed, kept or dropped.")?,
            dropped: with("tidemill_rows_dropped_total", "Rows that did not reach the plan.", "reason")?,
            lost: of_query("tidemill_rows_lost_total", "Rows of planned batches that their source did not have any more.")?,
            emitted: of_query("tidemill_rows_emitted_total", "Rows of the result.")?,
            dead_lettered: of_query("tidemill_rows_dead_lettered_total", "Rows given to the dead letter.")?,
            late: of_query("tidemill_rows_late_total", "Rows that a stateful operator judged late.")?,
            future: of_query(
                "tidemill_rows_future_total",
                "Rows set aside because their event time lies too far in the future.",
            )?,
        })
    }
}

/// Series of event time.
#[derive(Clone)]
pub(crate) struct EventTimeSeries {
    pub(crate) watermark: GaugeVec,
    pub(crate) lag: GaugeVec,
    pub(crate) jumps: IntCounterVec,
    pub(crate) far_ahead: IntCounterVec,
}

impl EventTimeSeries {
    fn new(declare: &Declare<'_>) -> Declared<Self> {
        let (watermark, lag) =
            ("The query's watermark, seconds since 1970.", "How far the watermark was behind the last batch's time.");
        let far_ahead = "Batches whose event times lie centuries ahead, like milliseconds read as seconds.";
        Ok(Self {
            watermark: declare.seconds("tidemill_watermark_timestamp_seconds", watermark, QUERY)?,
            lag: declare.seconds("tidemill_watermark_lag_seconds", lag, QUERY)?,
            jumps: declare.counter(
                "tidemill_watermark_jumps_total",
                "Batches that moved the watermark by more than a day.",
                QUERY,
            )?,
            far_ahead: declare.counter("tidemill_watermark_far_ahead_total", far_ahead, QUERY)?,
        })
    }
}

/// Series of how queries are.
#[derive(Clone)]
pub(crate) struct QuerySeries {
    pub(crate) running: IntGaugeVec,
    pub(crate) state: IntGaugeVec,
    pub(crate) failures: IntCounterVec,
    pub(crate) retries: IntCounterVec,
    pub(crate) failed_tries: IntGaugeVec,
}

impl QuerySeries {
    fn new(declare: &Declare<'_>) -> Declared<Self> {
        let failed_tries = "How often in a row the step that a query is at has failed for a reason outside.";
        Ok(Self {
            running: declare.gauge("tidemill_query_running", "1 while a query runs, 0 once it has stopped or failed.", QUERY)?,
            state: declare.gauge(
                "tidemill_query_state",
                "1 for the state that a query is in, 0 for the others.",
                &["pipeline", "query", "state"],
            )?,
            failures: declare.counter(
                "tidemill_query_failures_total",
                "Times that a query has failed, by the condition of its error.",
                &["pipeline", "query", "condition"],
            )?,
            retries: declare.counter(
                "tidemill_retries_total",
                "Steps that failed for a reason outside and were tried again.",
                QUERY,
            )?,
            failed_tries: declare.gauge("tidemill_query_failed_tries", failed_tries, QUERY)?,
        })
    }
}

/// Series of batches, and what their time went to.
#[derive(Clone)]
pub(crate) struct BatchSeries {
    pub(crate) count: IntCounterVec,
    pub(crate) duration: HistogramVec,
    pub(crate) phases: CounterVec,
    pub(crate) sink_commits: HistogramVec,
    pub(crate) started: GaugeVec,
    pub(crate) trigger_lag: GaugeVec,
    pub(crate) last_id: IntGaugeVec,
    pub(crate) last_commit: GaugeVec,
}

impl BatchSeries {
    fn new(declare: &Declare<'_>) -> Declared<Self> {
        let phases = Opts::new("tidemill_batch_phase_seconds_total", "Time that batches spent in each phase.");
        let seconds = |name, help| declare.seconds(name, help, QUERY);
        let from_quarter_ms = (0.000_25, 20);
        Ok(Self {
            count: declare.counter("tidemill_batches_total", "Micro-batches committed.", QUERY)?,
            duration: declare.durations(
                "tidemill_batch_duration_seconds",
                "Time from a batch's trigger to its commit.",
                QUERY,
                from_quarter_ms,
            )?,
            phases: declare.add(CounterVec::new(phases, &["pipeline", "query", "phase"]))?,
            sink_commits: declare.durations(
                "tidemill_sink_commit_duration_seconds",
                "Time that giving a batch to a sink took, whether that went well or not.",
                &["pipeline", "query", "sink"],
                from_quarter_ms,
            )?,
            started: seconds(
                "tidemill_batch_started_timestamp_seconds",
                "When the batch that is being run or committed began, seconds since 1970; 0 between batches.",
            )?,
            trigger_lag: seconds("tidemill_trigger_lag_seconds", "How much later than its interval the last trigger fired.")?,
            last_id: declare.gauge("tidemill_last_batch_id", "Number of the last committed micro-batch.", QUERY)?,
            last_commit: seconds(
                "tidemill_last_commit_timestamp_seconds",
                "When the last micro-batch was committed, seconds since 1970.",
            )?,
        })
    }
}

/// Series of what stateful operators hold.
#[derive(Clone)]
pub(crate) struct StateSeries {
    pub(crate) rows: IntGaugeVec,
    pub(crate) operator_rows: IntGaugeVec,
    pub(crate) bytes: IntGaugeVec,
    pub(crate) limit: IntGaugeVec,
}

impl StateSeries {
    fn new(declare: &Declare<'_>) -> Declared<Self> {
        let bytes = "Memory that all stateful operators of a query hold, index included.";
        let limit = "What limits.state_memory allows the stateful operators of a query.";
        let of_operator = &["pipeline", "query", "operator"];
        Ok(Self {
            rows: declare.gauge("tidemill_state_rows", "Rows that all stateful operators of a query hold.", QUERY)?,
            operator_rows: declare.gauge("tidemill_state_operator_rows", "Rows that a stateful operator holds.", of_operator)?,
            bytes: declare.gauge("tidemill_state_bytes", bytes, QUERY)?,
            limit: declare.gauge("tidemill_state_limit_bytes", limit, QUERY)?,
        })
    }
}

/// Series of sources.
#[derive(Clone)]
pub(crate) struct SourceSeries {
    pub(crate) connections: IntGaugeVec,
    pub(crate) connections_limit: IntGaugeVec,
    pub(crate) log_bytes: IntGaugeVec,
    pub(crate) log_limit: IntGaugeVec,
    pub(crate) refused: IntCounterVec,
    pub(crate) bytes: IntCounterVec,
    pub(crate) lines: IntCounterVec,
    pub(crate) truncated: IntCounterVec,
    pub(crate) lag_offsets: IntGaugeVec,
    pub(crate) lag_seconds: GaugeVec,
}

impl SourceSeries {
    fn new(declare: &Declare<'_>) -> Declared<Self> {
        let gauge = |name, help| declare.gauge(name, help, SOURCE);
        let counter = |name, help| declare.counter(name, help, SOURCE);
        let lag_offsets = "Offsets of a partition that are there and in no committed batch, when a batch was last planned.";
        let lag_seconds = "How long ago what comes next in a partition was written; 0 while nothing is left.";
        Ok(Self {
            connections: gauge("tidemill_source_connections", "Connections open just now.")?,
            connections_limit: gauge("tidemill_source_connections_limit", "Connections there may be at a time.")?,
            log_bytes: gauge("tidemill_ingest_log_bytes", "Bytes that the ingest log holds.")?,
            log_limit: gauge("tidemill_ingest_log_limit_bytes", "What limits.ingest_log allows the ingest log.")?,
            refused: counter("tidemill_source_connections_refused_total", "Connections turned away.")?,
            bytes: counter("tidemill_source_received_bytes_total", "Bytes received.")?,
            lines: counter("tidemill_source_received_lines_total", "Lines received.")?,
            truncated: counter("tidemill_source_truncated_lines_total", "Lines cut off by a broken connection.")?,
            lag_offsets: declare.gauge("tidemill_source_lag_offsets", lag_offsets, PARTITION)?,
            lag_seconds: declare.seconds("tidemill_source_lag_seconds", lag_seconds, PARTITION)?,
        })
    }
}

/// Series of what listens.
#[derive(Clone)]
pub(crate) struct ListenerSeries {
    pub(crate) open: IntGaugeVec,
    pub(crate) turned_away: IntCounterVec,
    pub(crate) refused: IntCounterVec,
    pub(crate) renewals: IntCounterVec,
    pub(crate) stale: IntGaugeVec,
}

impl ListenerSeries {
    fn new(declare: &Declare<'_>) -> Declared<Self> {
        let refused = "Requests that a listener answered with this status.";
        let renewals = "Times that changed tokens or certificates were read again.";
        let stale = "1 while changed tokens or certificates cannot be used and the ones before are in force.";
        let turned_away = "Connections that a listener turned away.";
        Ok(Self {
            open: declare.gauge(
                "tidemill_listener_connections",
                "Connections of a listener that are open just now.",
                LISTENER,
            )?,
            turned_away: declare.counter("tidemill_listener_connections_refused_total", turned_away, LISTENER)?,
            refused: declare.counter("tidemill_listener_requests_refused_total", refused, &["pipeline", "listener", "status"])?,
            renewals: declare.counter("tidemill_listener_renewals_total", renewals, LISTENER)?,
            stale: declare.gauge("tidemill_listener_renewal_failing", stale, LISTENER)?,
        })
    }
}

/// Series of functions.
#[derive(Clone)]
pub(crate) struct FunctionSeries {
    pub(crate) calls: IntCounterVec,
    pub(crate) attempts: IntCounterVec,
    pub(crate) retries: IntCounterVec,
    pub(crate) rows_failed: IntCounterVec,
    pub(crate) cache_hits: IntCounterVec,
    pub(crate) cache_misses: IntCounterVec,
    pub(crate) in_flight: IntGaugeVec,
    pub(crate) duration: HistogramVec,
    pub(crate) breaker: IntGaugeVec,
}

impl FunctionSeries {
    fn new(declare: &Declare<'_>) -> Declared<Self> {
        let counter = |name, help| declare.counter(name, help, FUNCTION);
        Ok(Self {
            calls: declare.counter(
                "tidemill_function_calls_total",
                "Calls by how they ended: ok, cancelled, or the sort of failure.",
                &["pipeline", "query", "function", "outcome"],
            )?,
            attempts: counter("tidemill_function_attempts_total", "Attempts of all calls.")?,
            retries: counter("tidemill_function_retries_total", "Attempts after a call's first.")?,
            rows_failed: counter("tidemill_function_rows_failed_total", "Rows whose call failed for good.")?,
            cache_hits: counter("tidemill_function_cache_hits_total", "Rows that were answered without a call of their own.")?,
            cache_misses: counter("tidemill_function_cache_misses_total", "Rows that were not in the cache.")?,
            in_flight: declare.gauge("tidemill_function_in_flight", "Attempts in flight just now.", FUNCTION)?,
            duration: declare.durations(
                "tidemill_function_attempt_duration_seconds",
                "Time that an attempt took.",
                FUNCTION,
                (0.001, 17),
            )?,
            breaker: declare.gauge(
                "tidemill_function_breaker_state",
                "Whether calls are made: 0 yes, 1 one as a trial, 2 no.",
                &["pipeline", "function"],
            )?,
        })
    }
}

/// What Prometheus' own clients tell of every process, under the same names.
#[derive(Clone)]
struct ProcessSeries {
    cpu: Counter,
    resident: IntGauge,
    virtual_bytes: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
    threads: IntGauge,
    started: Gauge,
}

impl ProcessSeries {
    fn new(declare: &Declare<'_>) -> Declared<Self> {
        let gauge = |name: &str, help: &str| declare.add(IntGauge::new(name, help));
        Ok(Self {
            cpu: declare.add(Counter::new("process_cpu_seconds_total", "Processor time used, in user and system mode."))?,
            resident: gauge("process_resident_memory_bytes", "Memory that is in use.")?,
            virtual_bytes: gauge("process_virtual_memory_bytes", "Address space that is in use.")?,
            open_fds: gauge("process_open_fds", "Files and sockets open just now.")?,
            max_fds: gauge("process_max_fds", "Files and sockets that may be open.")?,
            threads: gauge("process_threads", "Threads there are.")?,
            started: declare.add(Gauge::new("process_start_time_seconds", "When the process began, seconds since 1970."))?,
        })
    }

    /// What cannot be found out stays as it was.
    fn show(&self, now: &procfs::Process) {
        self.cpu.inc_by((now.cpu_s - self.cpu.get()).max(0.0));
        let counts = [
            (&self.resident, now.resident_bytes),
            (&self.virtual_bytes, now.virtual_bytes),
            (&self.open_fds, now.fds_open),
            (&self.max_fds, now.fds_max),
            (&self.threads, now.threads),
        ];
        counts.into_iter().for_each(|(gauge, value)| gauge.set(signed(value)));
        self.started.set(now.started_s);
    }
}

/// As the value of a gauge.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Metrics {
    /// Declares every series.
    pub fn new() -> Result<Self> {
        Self::declare(Registry::new()).attempting(ErrorKind::Internal, || "declare metrics".to_owned())
    }

    fn declare(registry: Registry) -> Declared<Self> {
        let declare = Declare(&registry);
        let of_table = &["pipeline", "table"];
        let metrics = Self {
            build_info: declare.gauge("tidemill_build_info", "1, with the version that runs.", &["pipeline", "version"])?,
            disk_free: declare.gauge(
                "tidemill_checkpoint_disk_free_bytes",
                "Space left where the checkpoint is kept.",
                &["pipeline"],
            )?,
            disk_size: declare.gauge(
                "tidemill_checkpoint_disk_size_bytes",
                "Space used and left where the checkpoint is kept.",
                &["pipeline"],
            )?,
            rows: RowSeries::new(&declare)?,
            event_time: EventTimeSeries::new(&declare)?,
            queries: QuerySeries::new(&declare)?,
            batches: BatchSeries::new(&declare)?,
            state: StateSeries::new(&declare)?,
            sources: SourceSeries::new(&declare)?,
            listeners: ListenerSeries::new(&declare)?,
            functions: FunctionSeries::new(&declare)?,
            tables_refreshed: declare.counter(
                "tidemill_table_refreshes_total",
                "Times that a static table was read again.",
                of_table,
            )?,
            tables_refused: declare.counter(
                "tidemill_table_refresh_failures_total",
                "Times that the changed files of a static table could not be used.",
                of_table,
            )?,
            series_refused: declare.counter(
                "tidemill_metric_series_refused_total",
                "Rows whose series was over the limit of a metric sink.",
                &["pipeline", "query", "metric"],
            )?,
            refresh: Arc::default(),
            registry: registry.clone(),
        };
        if procfs::read().is_some() {
            let process = ProcessSeries::new(&declare)?;
            metrics.before_each_scrape(move || {
                procfs::read().iter().for_each(|now| process.show(now));
                true
            });
        }
        Ok(metrics)
    }

    /// Says which version runs `pipeline`.
    pub fn runs(&self, pipeline: &str) {
        self.build_info.with_label_values(&[pipeline, env!("CARGO_PKG_VERSION")]).set(1);
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
