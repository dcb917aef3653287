//! What a source counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::service::ListenerStats;

/// Counters and gauges of one source since the process began; the metrics read them.
#[derive(Debug, Default)]
pub struct SourceStats {
    /// Bytes received from clients or read from files.
    pub bytes_received: AtomicU64,
    /// Lines received from clients.
    pub lines_received: AtomicU64,
    /// Connections and requests of clients.
    pub clients: Arc<ListenerStats>,
    /// Lines that a broken connection left unfinished.
    pub lines_truncated: AtomicU64,
    /// Lines cut at the line limit.
    pub lines_too_long: AtomicU64,
    /// Rows of planned ranges that were gone after a restart, or that their source had not kept.
    pub rows_lost: AtomicU64,
    /// Bytes in the ingest log now.
    pub log_bytes: AtomicU64,
    /// Bytes at the end of the ingest log that a crash had left unfinished, found when it was opened.
    pub log_bytes_torn: AtomicU64,
    ahead: Mutex<Ahead>,
}

/// What was there to be read when the last batch was planned, of a source of partitions.
#[derive(Debug, Default)]
struct Ahead {
    /// Behind all of it.
    latest: Option<serde_json::Value>,
    partitions: Vec<PartitionAhead>,
    /// The batch that was planned then has been committed.
    is_committed: bool,
}

/// What was there of one partition.
#[derive(Debug)]
pub struct PartitionAhead {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// Offsets behind the last committed batch.
    pub offsets: u64,
    /// Those of them that the planned batch leaves.
    pub left: u64,
    /// What is known of when its records were written.
    pub times: Arc<PartitionTimes>,
}

/// When records of a partition were written.
#[derive(Debug, Default)]
pub struct PartitionTimes {
    /// The last one that was read, in milliseconds since 1970.
    read_ms: AtomicI64,
    /// When there was nothing more to be read: what has come since is newer.
    caught_up_ms: AtomicI64,
}

impl PartitionTimes {
    /// The record that was written at `ms` (since 1970) was read; below 0 it does not say when.
    pub fn read(&self, ms: i64) {
        if ms >= 0 {
            self.read_ms.store(ms, Ordering::Relaxed);
        }
    }

    /// At `ms` (since 1970) there was nothing left.
    pub fn caught_up(&self, ms: i64) {
        self.caught_up_ms.store(ms, Ordering::Relaxed);
    }

    /// The next record was not written before this, in milliseconds since 1970; `None` while nothing is known.
    fn next_since_ms(&self) -> Option<i64> {
        let ms = self.read_ms.load(Ordering::Relaxed).max(self.caught_up_ms.load(Ordering::Relaxed));
        (ms > 0).then_some(ms)
    }
}

/// How far a partition is ahead of what has been committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionLag {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// Offsets that are in no committed batch.
    pub offsets: u64,
    next_since_ms: Option<i64>,
}

impl PartitionLag {
    /// How long ago, in milliseconds, what comes next was written at most: 0 while nothing is left, `None` while nothing is known.
    pub fn age_ms(&self, now_ms: i64) -> Option<i64> {
        if self.offsets == 0 { Some(0) } else { self.next_since_ms.map(|since_ms| now_ms.saturating_sub(since_ms).max(0)) }
    }
}

impl SourceStats {
    /// A counter's value.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Sets how far partitions could be read when a batch was planned.
    pub fn set_ahead(&self, latest: serde_json::Value, partitions: Vec<PartitionAhead>) {
        *self.ahead() = Ahead { latest: Some(latest), partitions, is_committed: false };
    }

    /// The batch that was planned last is committed.
    pub fn committed(&self) {
        self.ahead().is_committed = true;
    }

    /// The lag of each partition.
    pub fn lag(&self) -> Vec<PartitionLag> {
        let ahead = self.ahead();
        let partitions = ahead.partitions.iter().map(|one| PartitionLag {
            topic: one.topic.clone(),
            partition: one.partition,
            offsets: if ahead.is_committed { one.left } else { one.offsets },
            next_since_ms: one.times.next_since_ms(),
        });
        partitions.collect()
    }

    /// How far the source could be read, as an offset; `None` before it was asked, and of sources without partitions.
    pub fn latest(&self) -> Option<serde_json::Value> {
        self.ahead().latest.clone()
    }

    /// Spark's metrics of a source of partitions: how many offsets they are behind, at least, at most and on average.
    pub fn metrics(&self) -> BTreeMap<String, String> {
        let lag: Vec<u64> = self.ahead().partitions.iter().map(|partition| partition.left).collect();
        let (Some(min), Some(max)) = (lag.iter().min(), lag.iter().max()) else { return BTreeMap::new() };
        let avg = lag.iter().sum::<u64>() as f64 / lag.len() as f64;
        let named = [("min", min.to_string()), ("max", max.to_string()), ("avg", format!("{avg:?}"))];
        named.into_iter().map(|(name, value)| (format!("{name}OffsetsBehindLatest"), value)).collect()
    }

    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_what_no_committed_batch_has_and_as_old_as_what_was_read_last() {
        let (stats, times) = (SourceStats::default(), Arc::<PartitionTimes>::default());
        let planned = |offsets, left| {
            let partition = PartitionAhead { topic: "t".to_owned(), partition: 3, offsets, left, times: times.clone() };
            stats.set_ahead(serde_json::Value::Null, vec![partition]);
        };
        let lag = |now_ms| stats.lag().iter().map(|lag| (lag.offsets, lag.age_ms(now_ms))).next().unwrap();
        assert_eq!(stats.lag(), []);
        planned(7, 5);
        assert_eq!(lag(9_000), (7, None), "nothing is known of when it was written");
        times.read(4_000);
        times.read(-1);
        assert_eq!(lag(9_000), (7, Some(5_000)));
        stats.committed();
        assert_eq!(lag(9_000), (5, Some(5_000)));
        assert_eq!(lag(3_000), (5, Some(0)), "a clock that is ahead of ours");
        planned(5, 0);
        stats.committed();
        assert_eq!(lag(9_000), (0, Some(0)));
        // An hour without a record: what comes then is not an hour old.
        planned(0, 0);
        times.caught_up(3_600_000);
        planned(1, 0);
        assert_eq!(lag(3_600_500), (1, Some(500)));
        assert_eq!(stats.metrics()["maxOffsetsBehindLatest"], "0");
    }
}
