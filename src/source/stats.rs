//! What a source counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

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
    /// Per topic and partition, how many offsets the last planned batch left to be read.
    lag: Mutex<Vec<(String, i32, u64)>>,
}

impl SourceStats {
    /// A counter's value.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Sets the lag of partitions; the last one said of a partition counts.
    pub fn set_lag(&self, lag: impl Iterator<Item = (String, i32, u64)>) {
        let lag: BTreeMap<(String, i32), u64> = lag.map(|(topic, partition, offsets)| ((topic, partition), offsets)).collect();
        let lag = lag.into_iter().map(|((topic, partition), offsets)| (topic, partition, offsets)).collect();
        *self.lag.lock().unwrap_or_else(PoisonError::into_inner) = lag;
    }

    /// The lag of each partition, in offsets.
    pub fn lag(&self) -> Vec<(String, i32, u64)> {
        self.lag.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
