//! What an ingest log knows at one moment; whoever looks or changes it holds the lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;

use super::keys::Keys;
use super::log::Stop;
use super::record::Record;
use super::segment::Segment;

/// What a record in memory costs beside its bytes.
pub(super) const RECORD_OVERHEAD: usize = 128;

#[derive(Debug)]
pub(super) struct State {
    pub(super) segments: VecDeque<Arc<Segment>>,
    /// The newest records; the first may be long before the end of what is in the segments.
    pub(super) tail: VecDeque<Record>,
    pub(super) tail_bytes: usize,
    pub(super) block: BytesMut,
    pub(super) end: u64,
    pub(super) end_row: u64,
    /// Up to here records are in their segment, durably.
    pub(super) written: u64,
    /// Oldest position there is.
    pub(super) oldest: u64,
    pub(super) oldest_row: u64,
    /// Positions between the two that crashes left without records.
    pub(super) gaps: u64,
    /// How far each query has released; `None` before its first time.
    pub(super) released: BTreeMap<String, Option<u64>>,
    /// Requests that were taken.
    pub(super) keys: Keys,
    pub(super) stop: Stop,
    /// Whether the last append found the log full, and whether somebody was told.
    pub(super) is_full: bool,
    pub(super) is_full_known: bool,
}

pub(super) fn gap(before: &Segment, next: &Segment) -> u64 {
    next.header.base - before.end()
}

impl State {
    /// A log that ends at a position and row and holds nothing beyond what is in its segments.
    pub(super) fn new(segments: VecDeque<Arc<Segment>>, (end, end_row): (u64, u64), keys: Keys, queries: &[String]) -> Self {
        let (oldest, oldest_row) = segments.front().map_or((end, end_row), |s| (s.header.base, s.header.first_row));
        let gaps = segments.iter().zip(segments.iter().skip(1)).map(|(before, next)| gap(before, next)).sum();
        Self {
            segments,
            tail: VecDeque::new(),
            tail_bytes: 0,
            block: BytesMut::new(),
            end,
            end_row,
            written: end,
            oldest,
            oldest_row,
            gaps,
            released: queries.iter().map(|query| (query.clone(), None)).collect(),
            keys,
            stop: Stop::No,
            is_full: false,
            is_full_known: false,
        }
    }

    /// Bytes of records that are kept.
    pub(super) fn held(&self) -> u64 {
        self.end - self.oldest - self.gaps
    }

    pub(super) fn drop_front(&mut self) {
        if let Some(record) = self.tail.pop_front() {
            self.tail_bytes -= record.bytes.len() + RECORD_OVERHEAD;
        }
    }

    /// No query reads anything before this. Without any query, the one to come reads all of it.
    pub(super) fn keep_from(&self) -> u64 {
        self.released.values().map(|released| released.unwrap_or(0)).min().unwrap_or(0)
    }

    /// The query that holds the log; empty when there is none.
    pub(super) fn slowest(&self) -> &str {
        self.released.iter().min_by_key(|(_, released)| released.unwrap_or(0)).map_or("", |(query, _)| query)
    }

    pub(super) fn all_released(&self) -> bool {
        self.keep_from() >= self.end
    }

    pub(super) fn tail_start(&self) -> (u64, u64) {
        self.tail.front().map_or((self.end, self.end_row), |first| (first.position, first.about.first_row))
    }

    /// Whether the writer has something to write.
    pub(super) fn is_written(&self) -> bool {
        self.written >= self.end
    }

    pub(super) fn segment_of(&self, position: u64) -> Option<&Arc<Segment>> {
        let after = self.segments.partition_point(|segment| segment.header.base <= position);
        after.checked_sub(1).map(|at| &self.segments[at])
    }

    /// The smallest position that stands for a record that is still there.
    pub(super) fn readable_from(&self) -> u64 {
        self.segments.front().map_or(self.oldest, |first| first.header.previous_end)
    }

    /// A position in a gap that a crash left is the start of the segment after it.
    pub(super) fn normal(&self, position: u64, row: u64) -> (u64, u64) {
        if position < self.oldest {
            return (self.oldest, self.oldest_row);
        }
        let after = self.segments.partition_point(|segment| segment.header.base <= position);
        match (after.checked_sub(1).map(|at| &self.segments[at]), self.segments.get(after)) {
            (Some(segment), Some(next)) if position >= segment.end() => (next.header.base, next.header.first_row),
            _ => (position, row),
        }
    }
}
