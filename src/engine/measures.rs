//! What a query counts, and what is looked up about it when metrics are asked for.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{Gauge, Histogram, IntCounter, IntGauge};

use super::status::{QueryMonitor, STATES};
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::metrics::{Metrics, signed};
use crate::source::SourceStats;

impl Metrics {
    /// The series of one query, from its start at zero.
    pub fn query(&self, pipeline: &str, query: &str) -> QueryMetrics {
        let labels = &[pipeline, query];
        let (rows, batches) = (&self.rows, &self.batches);
        QueryMetrics {
            all: self.clone(),
            pipeline: pipeline.to_owned(),
            query: query.to_owned(),
            rows_malformed: rows.malformed.with_label_values(labels),
            rows_late: rows.late.with_label_values(labels),
            rows_future: rows.future.with_label_values(labels),
            rows_lost: rows.lost.with_label_values(labels),
            rows_emitted: rows.emitted.with_label_values(labels),
            rows_dead_lettered: rows.dead_lettered.with_label_values(labels),
            watermark_jumps: self.event_time.jumps.with_label_values(labels),
            watermark_far_ahead: self.event_time.far_ahead.with_label_values(labels),
            batches: batches.count.with_label_values(labels),
            batch_duration: batches.duration.with_label_values(labels),
            batch_started: batches.started.with_label_values(labels),
            last_batch_id: batches.last_id.with_label_values(labels),
            last_commit: batches.last_commit.with_label_values(labels),
            state_rows: self.state.rows.with_label_values(labels),
            state_bytes: self.state.bytes.with_label_values(labels),
            state_limit: self.state.limit.with_label_values(labels),
            retries: self.queries.retries.with_label_values(labels),
            failed_tries: self.queries.failed_tries.with_label_values(labels),
            running: self.queries.running.with_label_values(labels),
        }
    }

    /// Shows the state of a query for as long as its monitor lives.
    pub fn watch_query(&self, pipeline: &str, monitor: &QueryMonitor) {
        let (series, query, monitor) = (self.queries.state.clone(), monitor.status().name, monitor.downgrade());
        let pipeline = pipeline.to_owned();
        self.before_each_scrape(move || {
            let now = monitor.upgrade().map(|monitor| monitor.state_name());
            for state in STATES {
                let labels = [pipeline.as_str(), &query, state];
                match now {
                    Some(now) => series.with_label_values(&labels).set(i64::from(now == state)),
                    None => drop(series.remove_label_values(&labels)),
                }
            }
            now.is_some()
        });
    }

    /// Shows how much room there is where the checkpoint of `pipeline` is kept, as long as that is there.
    pub fn watch_disk(&self, pipeline: &str, path: PathBuf) {
        let [free, size] = [&self.disk_free, &self.disk_size].map(|series| series.with_label_values(&[pipeline]));
        self.before_each_scrape(move || {
            let Ok(disk) = rustix::fs::statvfs(&path) else { return false };
            free.set(signed(disk.f_bavail.saturating_mul(disk.f_frsize)));
            // What nobody may use, such as root's reserve, does not count.
            let used = disk.f_blocks.saturating_sub(disk.f_bfree);
            size.set(signed(used.saturating_add(disk.f_bavail).saturating_mul(disk.f_frsize)));
            true
        });
    }

    /// Shows what a source that receives has counted, and its limits: connections, and bytes of its ingest log.
    pub fn add_source(&self, pipeline: &str, source: &str, stats: Arc<SourceStats>, limits: (usize, u64)) {
        let (all, labels) = (&self.sources, [pipeline, source]);
        all.connections_limit.with_label_values(&labels).set(signed(limits.0 as u64));
        all.log_limit.with_label_values(&labels).set(signed(limits.1));
        let [connections, log_bytes] = [&all.connections, &all.log_bytes].map(|series| series.with_label_values(&labels));
        let counters = [&all.refused, &all.bytes, &all.lines, &all.truncated].map(|series| series.with_label_values(&labels));
        let before = [const { AtomicU64::new(0) }; 4];
        self.before_each_scrape(move || {
            connections.set(signed(SourceStats::get(&stats.clients.open)));
            log_bytes.set(signed(SourceStats::get(&stats.log_bytes)));
            let counted = [&stats.clients.turned_away, &stats.bytes_received, &stats.lines_received, &stats.lines_truncated];
            for ((counter, before), now) in counters.iter().zip(&before).zip(counted.map(SourceStats::get)) {
                // What is opened anew counts from zero; its series goes on.
                counter.inc_by(now.saturating_sub(before.swap(now, Ordering::Relaxed)));
            }
            is_in_use(&stats)
        });
    }

    /// Shows how far a query is behind the partitions that a source reads, until it has closed the source.
    pub fn add_lag(&self, pipeline: &str, query: &str, source: &str, stats: Arc<SourceStats>) {
        let (offsets, seconds) = (self.sources.lag_offsets.clone(), self.sources.lag_seconds.clone());
        let [pipeline, query, source] = [pipeline, query, source].map(str::to_owned);
        let shown = Mutex::new(BTreeSet::new());
        self.before_each_scrape(move || {
            let lag = if is_in_use(&stats) { stats.lag() } else { Vec::new() };
            let now: BTreeSet<_> = lag.iter().map(|lag| (lag.topic.clone(), lag.partition.to_string())).collect();
            let before = std::mem::replace(&mut *shown.lock().unwrap_or_else(PoisonError::into_inner), now.clone());
            for (topic, partition) in before.difference(&now) {
                let labels = [pipeline.as_str(), &query, &source, topic, partition];
                // One of them may never have been there.
                let _ = (offsets.remove_label_values(&labels), seconds.remove_label_values(&labels));
            }
            let now_ms = SystemClock.now_us() / 1000;
            for lag in lag {
                let labels = [pipeline.as_str(), &query, &source, &lag.topic, &lag.partition.to_string()];
                offsets.with_label_values(&labels).set(signed(lag.offsets));
                if let Some(ms) = lag.age_ms(now_ms) {
                    seconds.with_label_values(&labels).set(ms as f64 / 1e3);
                }
            }
            is_in_use(&stats)
        });
    }
}

/// Whether anyone but the metrics still has it.
fn is_in_use(stats: &Arc<SourceStats>) -> bool {
    Arc::strong_count(stats) > 1
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
    /// How often in a row its step has failed.
    pub failed_tries: IntGauge,
    /// When the batch that is under way began, seconds since 1970.
    pub batch_started: Gauge,
    /// Rows that a source did not have any more.
    pub rows_lost: IntCounter,
    /// Rows of the result.
    pub rows_emitted: IntCounter,
    /// Rows given to the dead letter.
    pub rows_dead_lettered: IntCounter,
}

impl QueryMetrics {
    /// Adds rows read from `source`.
    pub fn rows_read(&self, source: &str, rows: u64) {
        self.all.rows.read.with_label_values(&[self.pipeline.as_str(), &self.query, source]).inc_by(rows);
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
        self.all.batches.phases.with_label_values(&[self.pipeline.as_str(), &self.query, phase]).inc_by(time_s);
    }

    /// Sets how much later than its interval the last trigger fired; a query without an interval has no such series.
    pub fn trigger_lag(&self, lag_s: f64) {
        self.all.batches.trigger_lag.with_label_values(&[self.pipeline.as_str(), &self.query]).set(lag_s);
    }

    /// Sets the rows that `operator` holds.
    pub fn operator_rows(&self, operator: &str, rows: u64) {
        let series = self.all.state.operator_rows.with_label_values(&[self.pipeline.as_str(), &self.query, operator]);
        series.set(signed(rows));
    }

    /// Adds rows committed to `sink`.
    pub fn rows_written(&self, sink: &str, rows: u64) {
        self.all.rows.written.with_label_values(&[self.pipeline.as_str(), &self.query, sink]).inc_by(rows);
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
        self.all.rows.dropped.with_label_values(&[self.pipeline.as_str(), &self.query, reason]).inc_by(rows);
    }

    /// Adds the time that a commit to `sink` took.
    pub fn sink_commit(&self, sink: &str, time_s: f64) {
        self.all.batches.sink_commits.with_label_values(&[self.pipeline.as_str(), &self.query, sink]).observe(time_s);
    }

    /// The query has failed with this error.
    pub fn failed(&self, error: &Error) {
        let labels = &[self.pipeline.as_str(), &self.query, error.code()];
        self.all.queries.failures.with_label_values(labels).inc();
    }

    /// Series of what the query is made of, at zero: what has not happened yet can be told from what is not known.
    pub fn begin<'a>(
        &self,
        sources: impl Iterator<Item = &'a str>,
        sinks: impl Iterator<Item = &'a str>,
        tables: impl Iterator<Item = &'a str>,
    ) {
        sources.for_each(|source| self.rows_read(source, 0));
        sinks.for_each(|sink| {
            self.rows_written(sink, 0);
            self.all.batches.sink_commits.with_label_values(&[self.pipeline.as_str(), &self.query, sink]);
        });
        tables.for_each(|table| {
            self.all.tables_refreshed.with_label_values(&[self.pipeline.as_str(), table]);
            self.all.tables_refused.with_label_values(&[self.pipeline.as_str(), table]);
        });
        self.rows_dropped("malformed", 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::source::{PartitionAhead, PartitionTimes};

    /// The samples whose line holds `part`, without their name.
    fn samples(metrics: &Metrics, part: &str) -> Vec<String> {
        let text = metrics.render().unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#') && line.contains(part));
        lines.map(|line| line.split_once('{').map_or(line, |(_, rest)| rest).to_owned()).collect()
    }

    #[test]
    fn a_state_is_one_of_all_and_goes_with_the_query() {
        let (metrics, monitor) = (Metrics::new().unwrap(), QueryMonitor::new("q"));
        metrics.watch_query("p", &monitor);
        let now = || {
            let all = samples(&metrics, "tidemill_query_state");
            let one: Vec<_> = all.iter().filter(|line| line.ends_with(" 1")).collect();
            assert_eq!((all.len(), one.len()), (6, 1), "{all:?}");
            one[0].rsplit('"').nth(1).unwrap().to_owned()
        };
        assert_eq!(now(), "starting");
        monitor.running("Getting offsets", true);
        assert_eq!(now(), "running");
        monitor.paused("nobody answers".to_owned());
        assert_eq!(now(), "paused");
        monitor.holding();
        assert_eq!(now(), "held");
        monitor.ended(Some("division by zero".to_owned()));
        assert_eq!(now(), "failed");
        monitor.ended(None);
        assert_eq!(now(), "stopped");
        drop(monitor);
        assert_eq!(samples(&metrics, "tidemill_query_state"), [""; 0]);
    }

    #[test]
    fn a_failure_is_counted_by_its_condition_or_its_sort() {
        let metrics = Metrics::new().unwrap();
        let query = metrics.query("p", "q");
        query.failed(&Error::spark(ErrorKind::Data, "DIVIDE_BY_ZERO", "division by zero"));
        query.failed(&Error::new(ErrorKind::Storage, "a file").because(std::io::Error::other("no")));
        let of = |condition: &str| format!("condition=\"{condition}\",pipeline=\"p\",query=\"q\"}} 1");
        assert_eq!(samples(&metrics, "tidemill_query_failures"), [of("DIVIDE_BY_ZERO"), of("STORAGE")]);
    }

    #[test]
    fn a_source_that_is_opened_anew_goes_on_counting() {
        let metrics = Metrics::new().unwrap();
        let lines = |expected: &str| {
            let line = format!("pipeline=\"p\",source=\"s\"}} {expected}");
            assert_eq!(samples(&metrics, "tidemill_source_received_lines_total"), [line]);
        };
        let first = Arc::<SourceStats>::default();
        metrics.add_source("p", "s", first.clone(), (10, 20));
        first.lines_received.store(5, Ordering::Relaxed);
        lines("5");
        first.lines_received.store(7, Ordering::Relaxed);
        drop(first);
        lines("7");
        let second = Arc::<SourceStats>::default();
        metrics.add_source("p", "s", second.clone(), (10, 20));
        second.lines_received.store(2, Ordering::Relaxed);
        lines("9");
        lines("9");
        assert!(samples(&metrics, "tidemill_source_connections_limit")[0].ends_with(" 10"));
        assert!(samples(&metrics, "tidemill_ingest_log_limit_bytes")[0].ends_with(" 20"));
    }

    #[test]
    fn lag_goes_with_the_partition_and_with_the_source() {
        let (metrics, stats, times) = (Metrics::new().unwrap(), Arc::<SourceStats>::default(), Arc::<PartitionTimes>::default());
        metrics.add_lag("p", "q", "s", stats.clone());
        let planned = |partitions: std::ops::Range<i32>| {
            let one = |partition| PartitionAhead {
                topic: "t".to_owned(),
                partition,
                offsets: 3,
                left: 1,
                times: if partition == 0 { times.clone() } else { Arc::default() },
            };
            stats.set_ahead(serde_json::Value::Null, partitions.map(one).collect());
        };
        let counts = |name: &str| {
            samples(&metrics, name).iter().map(|line| line.rsplit_once(' ').unwrap().1.to_owned()).collect::<Vec<_>>()
        };
        planned(0..2);
        times.read(SystemClock.now_us() / 1000 - 90_000);
        assert_eq!(counts("tidemill_source_lag_offsets"), ["3", "3"]);
        let seconds = counts("tidemill_source_lag_seconds");
        assert!(seconds.len() == 1 && (90.0..1000.0).contains(&seconds[0].parse::<f64>().unwrap()), "{seconds:?}");
        stats.committed();
        assert_eq!(counts("tidemill_source_lag_offsets"), ["1", "1"]);
        planned(1..2);
        assert_eq!((counts("tidemill_source_lag_offsets").len(), counts("tidemill_source_lag_seconds").len()), (1, 0));
        drop(stats);
        assert_eq!(counts("tidemill_source_lag"), [""; 0]);
    }
}
