//! What a source counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counters and gauges of one source since the process began; the metrics read them.
#[derive(Debug, Default)]
pub struct SourceStats {
    /// Bytes received from clients or read from files.
    pub bytes_received: AtomicU64,
    /// Lines received from clients.
    pub lines_received: AtomicU64,
    /// Connections open now.
    pub connections_open: AtomicU64,
    /// Connections turned away: too many, or from an address that is not allowed.
    pub connections_refused: AtomicU64,
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
    /// Per topic and partition, how many offsets the batch left.
    lag: Vec<(String, i32, u64)>,
}

impl SourceStats {
    /// A counter's value.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Sets how far partitions could be read, and the lag of each.
    pub fn set_ahead(&self, latest: serde_json::Value, lag: impl Iterator<Item = (String, i32, u64)>) {
        *self.ahead() = Ahead { latest: Some(latest), lag: lag.collect() };
    }

    /// The lag of each partition, in offsets.
    pub fn lag(&self) -> Vec<(String, i32, u64)> {
        self.ahead().lag.clone()
    }

    /// How far the source could be read, as an offset; `None` before it was asked, and of sources without partitions.
    pub fn latest(&self) -> Option<serde_json::Value> {
        self.ahead().latest.clone()
    }

    /// Spark's metrics of a source of partitions: how many offsets they are behind, at least, at most and on average.
    pub fn metrics(&self) -> BTreeMap<String, String> {
        let lag: Vec<u64> = self.ahead().lag.iter().map(|(_, _, offsets)| *offsets).collect();
        let (Some(min), Some(max)) = (lag.iter().min(), lag.iter().max()) else { return BTreeMap::new() };
        let avg = lag.iter().sum::<u64>() as f64 / lag.len() as f64;
        let named = [("min", min.to_string()), ("max", max.to_string()), ("avg", format!("{avg:?}"))];
        named.into_iter().map(|(name, value)| (format!("{name}OffsetsBehindLatest"), value)).collect()
    }

    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
