//! When keys expire: an index over an operator's keys by time, so that eviction costs what it evicts.
//!
//! Keys that came in a batch are one *run*, sorted by the time at which they expire. Each run knows how far it has been evicted, so
//! that finding what expires looks at one time per run. Runs of about the same size are merged eight at a time: there are few of
//! them, however many batches there were. Every key that is held and can expire stands in exactly one run.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, UInt32Array};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::{concat, take};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

use crate::error::{Attempt, ErrorKind, Result};
use crate::plan::event_time::EventColumn;
use crate::state::{BatchEnd, MemoryAccount};

/// Runs of one size class that are merged together.
const FAN_IN: usize = 8;
/// What a run takes beside its arrays.
const RUN_OVERHEAD_BYTES: usize = 256;

/// Where the time at which a row of state expires comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiry {
    /// The column, among key columns and then state columns.
    pub index: usize,
    /// What it holds.
    pub column: EventColumn,
}

impl Expiry {
    /// When each row of a page (key columns, then state columns) expires, in microseconds since 1970; null is never.
    pub fn times(&self, columns: &[ArrayRef]) -> Int64Array {
        expiry_times(columns[self.index].as_ref(), self.column)
    }
}

/// When each row expires that has `column` as its event time, in microseconds since 1970; null is never.
pub fn expiry_times(column: &dyn Array, what: EventColumn) -> Int64Array {
    let (values, nulls) = match what {
        EventColumn::Instant => parts(column, |us| us),
        EventColumn::WindowStart { size_us } => parts(column, |us| us.saturating_add(size_us)),
        EventColumn::Window => {
            let windows = column.as_struct();
            let (values, nulls) = parts(windows.column_by_name("end").expect("a window has an end").as_ref(), |us| us);
            (values, NullBuffer::union(windows.nulls(), nulls.as_ref()))
        }
    };
    Int64Array::new(values, nulls)
}

/// Whether it is certain that no row has expired at `watermark_us`: what [`expiry_times`] would say, from a single look at each row.
pub fn none_expired(column: &dyn Array, what: EventColumn, watermark_us: i64) -> bool {
    let earliest = |times: &dyn Array| {
        // The value of a null may be anything. If it looks expired, the answer is no, which is no error.
        times.as_primitive::<TimestampMicrosecondType>().values().iter().copied().fold(i64::MAX, i64::min)
    };
    let earliest = match what {
        EventColumn::Instant => earliest(column),
        EventColumn::WindowStart { size_us } => earliest(column).saturating_add(size_us),
        EventColumn::Window => earliest(column.as_struct().column_by_name("end").expect("a window has an end").as_ref()),
    };
    earliest > watermark_us
}

fn parts(times: &dyn Array, ends: impl Fn(i64) -> i64) -> (ScalarBuffer<i64>, Option<NullBuffer>) {
    let times = times.as_primitive::<TimestampMicrosecondType>().unary::<_, TimestampMicrosecondType>(ends);
    let (_, values, nulls) = times.into_parts();
    (values, nulls)
}

/// Keys in the order in which they expire.
#[derive(Debug)]
struct Run {
    keys: Vec<ArrayRef>,
    /// Ascending.
    times: Int64Array,
    /// Keys before this one have been evicted.
    next: usize,
    bytes: usize,
}

impl Run {
    fn new(keys: Vec<ArrayRef>, times: Int64Array) -> Self {
        let bytes = RUN_OVERHEAD_BYTES
            + times.get_array_memory_size()
            + keys.iter().map(|column| column.get_array_memory_size()).sum::<usize>();
        Self { keys, times, next: 0, bytes }
    }

    fn left(&self) -> usize {
        self.times.len() - self.next
    }

    /// How many keys from the next one on expire at `watermark_us`.
    fn expired(&self, watermark_us: i64) -> usize {
        self.times.values()[self.next..].partition_point(|time| *time <= watermark_us)
    }
}

/// Keys that expire together, as their columns.
pub type ExpiredKeys = (Vec<ArrayRef>, usize);

/// See the module.
#[derive(Debug)]
pub struct ExpiryIndex {
    expiry: Expiry,
    runs: Vec<Run>,
    /// Runs from this one on are of the batch under way.
    committed: usize,
    /// Runs and how many of their keys the batch under way evicted.
    evicted: Vec<(usize, usize)>,
    account: MemoryAccount,
}

impl ExpiryIndex {
    /// An empty index whose memory is on `account`.
    pub fn new(expiry: Expiry, account: MemoryAccount) -> Self {
        Self { expiry, runs: Vec::new(), committed: 0, evicted: Vec::new(), account }
    }

    /// Where the times come from.
    pub fn expiry(&self) -> Expiry {
        self.expiry
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.account.held()
    }

    /// Takes keys in that are new to the state; those whose time is null never expire. Kind `Limit` if there is no memory for them.
    pub fn add(&mut self, keys: &[ArrayRef], times: &Int64Array) -> Result<()> {
        if times.null_count() == times.len() {
            return Ok(());
        }
        let run = in_order(keys.to_vec(), times.clone())
            .attempting(ErrorKind::Internal, || "index keys by when they expire".to_owned())?;
        self.account.grow(run.bytes)?;
        self.runs.push(run);
        Ok(())
    }

    /// The keys that expire at `watermark_us`, in runs; they are out of the index if the batch is committed.
    pub fn take_expired(&mut self, watermark_us: i64) -> Vec<ExpiredKeys> {
        let mut expired = Vec::new();
        for (at, run) in self.runs.iter().enumerate() {
            let count = run.expired(watermark_us);
            if count > 0 {
                expired.push((run.keys.iter().map(|column| column.slice(run.next, count)).collect(), count));
                self.evicted.push((at, count));
            }
        }
        expired
    }

    /// Ends the batch under way.
    pub fn end(&mut self, end: BatchEnd) -> Result<()> {
        match end {
            BatchEnd::Commit => {
                for (at, count) in std::mem::take(&mut self.evicted) {
                    self.runs[at].next += count;
                }
                self.runs.retain(|run| run.left() > 0);
                self.committed = self.runs.len();
            }
            BatchEnd::Closed => {
                self.merge_alike().attempting(ErrorKind::Internal, || "merge runs of keys that expire".to_owned())?;
            }
            BatchEnd::Abort => {
                self.evicted.clear();
                self.runs.truncate(self.committed);
            }
        }
        let held: usize = self.runs.iter().map(|run| run.bytes).sum();
        match held.checked_sub(self.account.held()) {
            // Merged, keys may take a little more for a moment than apart.
            Some(more) => self.account.grow_unchecked(more),
            None => self.account.shrink(self.account.held() - held),
        }
        Ok(())
    }

    /// Merges runs of one size class while there are many of them, which a key goes through once per class.
    fn merge_alike(&mut self) -> Result<(), ArrowError> {
        let class = |run: &Run| run.left().ilog2() / 3;
        loop {
            let mut counts = [0_usize; 32];
            self.runs.iter().for_each(|run| counts[class(run) as usize] += 1);
            let Some(full) = counts.iter().position(|count| *count >= FAN_IN) else { return Ok(()) };
            let (alike, others): (Vec<Run>, Vec<Run>) = self.runs.drain(..).partition(|run| class(run) as usize == full);
            self.runs = others;
            self.runs.push(merged(&alike)?);
            self.committed = self.runs.len();
        }
    }
}

/// The rows that have a time, in its order.
fn sorted(times: &Int64Array) -> UInt32Array {
    let mut order: Vec<u32> = (0..times.len() as u32).filter(|row| times.is_valid(*row as usize)).collect();
    // This sort makes use of what is in order already, as times mostly are when they come, and as merged runs are.
    order.sort_by_key(|row| times.value(*row as usize));
    order.into()
}

/// A run of those keys that have a time.
fn in_order(keys: Vec<ArrayRef>, times: Int64Array) -> Result<Run, ArrowError> {
    if times.null_count() == 0 && times.values().is_sorted() && keys.iter().all(|column| is_compact(column.as_ref())) {
        return Ok(Run::new(keys, Int64Array::new(times.values().clone(), None)));
    }
    picked(&keys, &times, &sorted(&times))
}

/// Whether little else is kept in memory with the values of `column`.
fn is_compact(column: &dyn Array) -> bool {
    let data = column.to_data();
    data.get_slice_memory_size().is_ok_and(|needed| data.get_buffer_memory_size() <= needed * 2)
}

fn picked(keys: &[ArrayRef], times: &Int64Array, order: &UInt32Array) -> Result<Run, ArrowError> {
    let keys = keys.iter().map(|column| take(column, order, None)).collect::<Result<_, _>>()?;
    let times = take(times, order, None)?.as_primitive::<arrow::datatypes::Int64Type>().clone();
    // What is left has a time: the values alone say it all.
    Ok(Run::new(keys, Int64Array::new(times.values().clone(), None)))
}

fn merged(runs: &[Run]) -> Result<Run, ArrowError> {
    let columns = runs.first().map_or(0, |run| run.keys.len());
    let mut runs: Vec<&Run> = runs.iter().collect();
    // One after the other, what came in order is in order.
    runs.sort_by_key(|run| run.times.values()[run.next]);
    let keys = (0..columns).map(|column| {
        let parts: Vec<ArrayRef> = runs.iter().map(|run| run.keys[column].slice(run.next, run.left())).collect();
        concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())
    });
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let times: Vec<Int64Array> = runs.iter().map(|run| run.times.slice(run.next, run.left())).collect();
    let times = concat(&times.iter().map(|times| times as &dyn Array).collect::<Vec<_>>())?;
    in_order(keys, times.as_primitive::<arrow::datatypes::Int64Type>().clone())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::state::StateMemory;

    fn index() -> ExpiryIndex {
        ExpiryIndex::new(Expiry { index: 0, column: EventColumn::Instant }, StateMemory::new(1 << 20).account("test"))
    }

    fn taken(index: &mut ExpiryIndex, watermark_us: i64) -> Vec<i64> {
        let mut keys: Vec<i64> = index
            .take_expired(watermark_us)
            .iter()
            .flat_map(|(keys, _)| keys[0].as_primitive::<arrow::datatypes::Int64Type>().values().to_vec())
            .collect();
        keys.sort_unstable();
        keys
    }

    proptest! {
        #[test]
        fn what_expires_is_what_a_table_says(
            batches in proptest::collection::vec((proptest::collection::vec(proptest::option::of(0_i64..50), 0..6), 0_i64..60, any::<bool>()), 1..60)
        ) {
            let mut index = index();
            let mut table: BTreeMap<i64, i64> = BTreeMap::new();
            let mut key = 0;
            for (times, watermark, commits) in batches {
                let mut next = table.clone();
                let keys: Vec<i64> = times.iter().map(|_| { key += 1; key }).collect();
                next.extend(keys.iter().zip(&times).filter_map(|(key, time)| Some((*key, (*time)?))));
                let column: ArrayRef = Arc::new(Int64Array::from(keys));
                index.add(&[column], &Int64Array::from(times)).unwrap();
                let expected: Vec<i64> = next.iter().filter(|(_, time)| **time <= watermark).map(|(key, _)| *key).collect();
                prop_assert_eq!(taken(&mut index, watermark), expected);
                next.retain(|_, time| *time > watermark);
                index.end(if commits { BatchEnd::Commit } else { BatchEnd::Abort }).unwrap();
                if commits { index.end(BatchEnd::Closed).unwrap(); }
                if commits { table = next; }
            }
            let all: Vec<i64> = table.keys().copied().collect();
            prop_assert_eq!(taken(&mut index, i64::MAX), all);
        }
    }

    #[test]
    fn many_small_batches_make_few_runs_and_memory_comes_back() {
        let mut index = index();
        for key in 0..2_000_i64 {
            let column: ArrayRef = Arc::new(Int64Array::from(vec![key]));
            index.add(&[column], &Int64Array::from(vec![key % 97])).unwrap();
            index.end(BatchEnd::Commit).unwrap();
            index.end(BatchEnd::Closed).unwrap();
        }
        assert!(index.runs.len() <= FAN_IN * 4, "{} runs", index.runs.len());
        assert!(index.bytes() < 2_000 * 32, "{} bytes", index.bytes());
        assert_eq!(taken(&mut index, 96).len(), 2_000);
        index.end(BatchEnd::Commit).unwrap();
        assert_eq!((index.runs.len(), index.bytes()), (0, 0));
    }

    #[test]
    fn without_memory_nothing_is_taken_in() {
        let mut index =
            ExpiryIndex::new(Expiry { index: 0, column: EventColumn::Instant }, StateMemory::new(100).account("test"));
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        assert_eq!(index.add(&[column], &Int64Array::from(vec![1])).unwrap_err().kind(), ErrorKind::Limit);
    }
}
