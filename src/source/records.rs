//! What is known of each record in a chunk beside its bytes, where records come as messages and not as lines of a text.

use std::ops::Range;
use std::sync::Arc;

/// The messages of a chunk: where each lies in the bytes, and what came with it.
///
/// A record is what its message holds, line ends and all; in the bytes each is followed by one `\n` that is not its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// Topic that they are of.
    pub topic: Arc<str>,
    /// Partition that they are of.
    pub partition: i32,
    /// Where each one ends in the bytes of the chunk.
    ends: Vec<u32>,
    /// Of each one, ascending, with gaps.
    offsets: Vec<i64>,
    /// Indexes of those that have no value, ascending.
    absent: Vec<u32>,
    /// Milliseconds since 1970 of each one; empty if nobody asked for them.
    timestamps_ms: Vec<i64>,
    /// Of each one; empty if nobody asked for them.
    keys: Vec<Option<Box<[u8]>>>,
}

impl Records {
    /// No records yet.
    pub fn new(topic: Arc<str>, partition: i32) -> Self {
        Self { topic, partition, ..Self::default() }
    }

    /// Adds a record that ends at `end`, a tombstone if it `is_absent`.
    pub fn push(&mut self, end: usize, offset: i64, is_absent: bool) {
        if is_absent {
            self.absent.push(self.ends.len() as u32);
        }
        self.ends.push(end as u32);
        self.offsets.push(offset);
    }

    /// Adds the timestamp of the record pushed last.
    pub fn push_timestamp(&mut self, timestamp_ms: i64) {
        self.timestamps_ms.push(timestamp_ms);
    }

    /// Adds the key of the record pushed last.
    pub fn push_key(&mut self, key: Option<&[u8]>) {
        self.keys.push(key.map(Into::into));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Where each one lies in the bytes, and whether it has a value at all.
    pub fn ranges(&self) -> impl Iterator<Item = (Range<usize>, bool)> {
        let (mut start, mut absent) = (0, self.absent.iter().peekable());
        self.ends.iter().enumerate().map(move |(index, end)| {
            let range = start..*end as usize;
            start = range.end + 1;
            (range, absent.next_if(|at| **at as usize == index).is_none())
        })
    }

    /// The index of the record that begins at `start`.
    pub fn index_at(&self, start: usize) -> usize {
        self.ends.partition_point(|end| (*end as usize) < start)
    }

    /// Position of a record in its partition.
    pub fn offset(&self, index: usize) -> i64 {
        self.offsets.get(index).copied().unwrap_or_default()
    }

    /// When a record was made or kept, in milliseconds since 1970; `None` where it does not say.
    pub fn timestamp_ms(&self, index: usize) -> Option<i64> {
        self.timestamps_ms.get(index).copied().filter(|ms| *ms >= 0)
    }

    /// A record's key.
    pub fn key(&self, index: usize) -> Option<&[u8]> {
        self.keys.get(index).and_then(Option::as_deref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_by_where_they_begin() {
        let mut records = Records::new("t".into(), 3);
        for (end, offset, is_absent) in [(2, 10, false), (3, 11, true), (4, 15, false), (9, 16, false)] {
            records.push(end, offset, is_absent);
        }
        let ranges: Vec<_> = records.ranges().collect();
        assert_eq!(ranges, [(0..2, true), (3..3, false), (4..4, true), (5..9, true)]);
        let offsets: Vec<_> = ranges.iter().map(|(range, _)| records.offset(records.index_at(range.start))).collect();
        assert_eq!(offsets, [10, 11, 15, 16]);
        assert_eq!((records.timestamp_ms(0), records.key(0)), (None, None));
    }
}
