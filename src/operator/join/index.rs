//! Which rows a join remembers of one side: their numbers, and which of them may match a key.
//!
//! A row that is remembered has a number, which is its key in the state. Numbers are used again once the batch that forgot their row
//! is committed, so that tables by number are as large as the most rows that were ever held together. The index is derived: it is
//! made from the state when that is restored, and follows how batches end.

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::UInt32Type;

use super::chains::Chains;
use super::keys::JoinKeys;
use crate::error::{Error, ErrorKind, Result};
use crate::state::{BatchEnd, MemoryAccount};

/// See the module.
#[derive(Debug)]
pub struct RowIndex {
    keys: JoinKeys,
    chains: Chains,
    /// Numbers that are free, as of the last commit.
    free: Vec<u32>,
    /// Numbers below this one were in use, or free, at the last commit.
    committed: usize,
    /// What the batch under way added; the first of them were free.
    added: Vec<u32>,
    /// What it forgot.
    removed: Vec<u32>,
    account: MemoryAccount,
}

impl RowIndex {
    /// No rows, whose keys will be `keys`; its memory is on `account`.
    pub(crate) fn new(keys: JoinKeys, account: MemoryAccount) -> Self {
        Self { keys, chains: Chains::default(), free: Vec::new(), committed: 0, added: Vec::new(), removed: Vec::new(), account }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.account.held()
    }

    pub(super) fn chains(&self) -> &Chains {
        &self.chains
    }

    /// Numbers for new rows whose keys have these hashes. Kind `Limit` if there is no memory for them.
    pub(super) fn add(&mut self, hashes: impl ExactSizeIterator<Item = Option<u64>>) -> Result<UInt32Array> {
        let rows = hashes.len();
        let reused = rows.min(self.free.len());
        let room = self.chains.room();
        let wanted = room + rows - reused;
        if u32::try_from(wanted).is_err() || wanted == u32::MAX as usize {
            return Err(Error::new(ErrorKind::Limit, "a join remembers at most 4 billion rows of one side"));
        }
        self.chains.reserve(wanted);
        let fresh = room as u32..wanted as u32;
        let taken = self.free.split_off(self.free.len() - reused);
        let numbers: Vec<u32> = taken.into_iter().rev().chain(fresh).collect();
        self.added.extend_from_slice(&numbers);
        for (number, hash) in numbers.iter().zip(hashes) {
            self.chains.insert(*number, hash);
        }
        let held = self.held();
        if let Some(more) = held.checked_sub(self.account.held()) {
            self.account.grow(more)?;
        }
        Ok(UInt32Array::from(numbers))
    }

    /// Forgets rows; until the batch is committed they stay where they are.
    pub(super) fn remove(&mut self, numbers: &UInt32Array) {
        self.removed.extend_from_slice(numbers.values());
    }

    /// Takes rows in that were restored, pages of the state as they are; `end` with a commit makes them final.
    pub fn restore(&mut self, pages: impl Iterator<Item = Result<RecordBatch>>) -> Result<()> {
        let mut used = Vec::new();
        for page in pages {
            let page = page?;
            let numbers: &ArrayRef = page.column(0);
            let numbers = numbers.as_primitive::<UInt32Type>().values();
            let (_, hashes) = self.keys.of_columns(&page.columns()[1..], page.num_rows())?;
            let end = numbers.iter().max().map_or(0, |last| *last as usize + 1);
            self.chains.reserve(end);
            used.resize(used.len().max(end), false);
            for (number, hash) in numbers.iter().zip(hashes) {
                used[*number as usize] = true;
                self.chains.insert(*number, hash);
            }
        }
        // The lowest is taken first.
        self.free = (0..used.len() as u32).rev().filter(|number| !used[*number as usize]).collect();
        self.settle();
        Ok(())
    }

    /// Ends the batch under way.
    pub fn end(&mut self, end: BatchEnd) {
        match end {
            BatchEnd::Commit => {
                for number in std::mem::take(&mut self.removed) {
                    self.chains.remove(number);
                    self.free.push(number);
                }
                self.added.clear();
                self.committed = self.chains.room();
            }
            BatchEnd::Abort => {
                self.removed.clear();
                for number in std::mem::take(&mut self.added).into_iter().rev() {
                    self.chains.remove(number);
                    if (number as usize) < self.committed {
                        self.free.push(number);
                    }
                }
                self.chains.truncate(self.committed);
            }
            BatchEnd::Closed => {}
        }
        self.settle();
    }

    /// Is as new.
    #[cfg(test)]
    pub(crate) fn forget(&mut self) {
        self.chains = Chains::default();
        (self.free, self.added, self.removed, self.committed) = (Vec::new(), Vec::new(), Vec::new(), 0);
        self.settle();
    }

    fn held(&self) -> usize {
        self.chains.bytes() + (self.free.capacity() + self.added.capacity() + self.removed.capacity()) * size_of::<u32>()
    }

    fn settle(&mut self) {
        let held = self.held();
        match held.checked_sub(self.account.held()) {
            Some(more) => self.account.grow_unchecked(more),
            None => self.account.shrink(self.account.held() - held),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::UInt32Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use proptest::prelude::*;

    use super::*;
    use crate::operator::join::chains::NONE;
    use crate::state::StateMemory;

    fn empty(bytes_max: usize) -> RowIndex {
        let schema = Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true)]));
        RowIndex::new(JoinKeys::new(schema, Vec::new()), StateMemory::new(bytes_max).account("test"))
    }

    /// The rows of a hash, in any order.
    fn rows(index: &RowIndex, hash: u64) -> Vec<u32> {
        let chains = index.chains();
        let mut found = Vec::new();
        let mut row = chains.first(hash);
        while row != NONE {
            found.push(row);
            row = chains.next(row);
        }
        found.sort_unstable();
        found
    }

    proptest! {
        #[test]
        fn chains_have_what_a_table_has(
            batches in proptest::collection::vec((proptest::collection::vec(proptest::option::of(0_u64..4), 0..6), proptest::collection::vec(any::<prop::sample::Index>(), 0..4), any::<bool>()), 1..40)
        ) {
            let mut index = empty(1 << 20);
            let mut held: BTreeMap<u32, Option<u64>> = BTreeMap::new();
            let mut most = 0;
            for (hashes, forgotten, commits) in batches {
                let mut next = held.clone();
                let numbers = index.add(hashes.iter().copied()).unwrap();
                for (number, hash) in numbers.values().iter().zip(&hashes) {
                    prop_assert!(next.insert(*number, *hash).is_none(), "a number that is in use was given away");
                }
                for hash in 0..4 {
                    let wanted: Vec<u32> = next.iter().filter(|(_, of)| **of == Some(hash)).map(|(number, _)| *number).collect();
                    prop_assert_eq!(rows(&index, hash), wanted);
                }
                most = most.max(next.len());
                for which in forgotten.iter().filter(|_| !next.is_empty()).collect::<Vec<_>>() {
                    let Some((number, _)) = next.iter().nth(which.index(next.len().max(1))).map(|(n, h)| (*n, *h)) else { continue };
                    next.remove(&number);
                    index.remove(&UInt32Array::from(vec![number]));
                }
                index.end(if commits { BatchEnd::Commit } else { BatchEnd::Abort });
                if commits { held = next; }
                for hash in 0..4 {
                    let wanted: Vec<u32> = held.iter().filter(|(_, of)| **of == Some(hash)).map(|(number, _)| *number).collect();
                    prop_assert_eq!(rows(&index, hash), wanted);
                }
                prop_assert!(index.chains().room() <= most, "numbers are used again");
            }
        }
    }

    #[test]
    fn without_memory_nothing_is_taken_in() {
        let error = empty(100).add((0..1000_u32).map(|hash| Some(u64::from(hash)))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
    }
}
