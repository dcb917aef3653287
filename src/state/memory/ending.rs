//! How a batch ends for the store: what it did stays or is undone, and afterwards there is time to tidy up.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt64Array};
use arrow::datatypes::UInt64Type;

use super::index::hash_of;
use super::{MemoryStore, Undo, attempt, cells};
use crate::error::{Attempt, ErrorKind, Result};

impl MemoryStore {
    /// Makes what the batch did final.
    pub(super) fn commit(&mut self) -> Result<()> {
        self.journal_bytes = 0;
        let journal = std::mem::take(&mut self.journal);
        if !self.logged.is_empty() {
            self.settle_log(&journal)?;
        }
        for undo in journal {
            if let Undo::Remove(slots) = undo {
                self.buried.extend(slots);
            }
        }
        Ok(())
    }

    /// Tells the log which of its rows no slot names any more.
    fn settle_log(&mut self, journal: &[Undo]) -> Result<()> {
        let (mut replaced, mut superseded) = (Vec::new(), Vec::new());
        for undo in journal {
            match undo {
                Undo::Put(put) => {
                    self.log.keep(&put.places);
                    if let Some(places) = put.cells.last() {
                        replaced.extend_from_slice(places.as_primitive::<UInt64Type>().values());
                    }
                    let now = self.places(&put.slots)?;
                    let now = now.as_primitive::<UInt64Type>().values();
                    superseded.extend(put.places.iter().zip(now).filter(|(place, now)| place != now).map(|(place, _)| *place));
                }
                Undo::Remove(slots) => replaced.extend_from_slice(self.places(slots)?.as_primitive::<UInt64Type>().values()),
            }
        }
        // A place that a put replaced may have been made by the batch itself, and is then among the superseded, too.
        replaced.append(&mut superseded);
        replaced.sort_unstable();
        replaced.dedup();
        self.log.release(&replaced);
        Ok(())
    }

    /// Undoes what the batch did, the newest first.
    pub(super) fn abort(&mut self) -> Result<()> {
        self.journal_bytes = 0;
        let mut undone = Ok(());
        for undo in std::mem::take(&mut self.journal).into_iter().rev() {
            match undo {
                Undo::Put(put) => {
                    for slot in &put.added {
                        self.index.remove(hash_of(self.pages.key(*slot)), *slot);
                    }
                    let restored = self.pages.set(&put.held, &put.cells).attempting(ErrorKind::Internal, attempt);
                    undone = undone.and(restored);
                    self.pages.undo_add(&put.added, put.open);
                    self.log.forget(&put.places);
                }
                Undo::Remove(slots) => {
                    self.pages.set_dead(&slots, false);
                    for slot in slots {
                        self.index.insert(hash_of(self.pages.key(slot)), slot);
                    }
                }
            }
        }
        undone
    }

    /// Gives back pages whose keys are gone, moves what is left of sparse ones, and rewrites small and sparse pages of the log.
    pub(super) fn tidy(&mut self) -> Result<()> {
        let mut buried = std::mem::take(&mut self.buried);
        buried.sort_unstable();
        buried.dedup_by_key(|slot| cells::page_of(*slot));
        for slot in buried.into_iter().filter(|slot| self.pages.is_sparse(*slot)).collect::<Vec<_>>() {
            self.move_rows(slot)?;
        }
        while let Some(rewrite) = self.log.next_rewrite() {
            let cell = self.fixed.len();
            let rows = rewrite.slots.iter().zip(&rewrite.places);
            let live = rows.filter(|(slot, place)| self.pages.word(**slot, cell) == Some(**place));
            let (slots, places): (Vec<u32>, Vec<u64>) = live.map(|(slot, place)| (*slot, *place)).unzip();
            let rewritten = self.log.rewrite(&rewrite.pages, slots.clone(), &places);
            let new: ArrayRef = Arc::new(UInt64Array::from(rewritten.attempting(ErrorKind::Internal, attempt)?));
            self.pages.set_one(&slots, cell, &new).attempting(ErrorKind::Internal, attempt)?;
        }
        Ok(())
    }

    /// Moves the live rows of the page of `slot` to the open one and gives the page back.
    fn move_rows(&mut self, slot: u32) -> Result<()> {
        let old = self.pages.live(slot);
        let cells = self.cells(&old)?;
        let mut new = Vec::with_capacity(old.len());
        for slot in &old {
            let key = self.pages.key(*slot).to_vec();
            let moved = self.pages.add(&key)?;
            self.index.remove(hash_of(&key), *slot);
            self.index.insert(hash_of(&key), moved);
            new.push(moved);
        }
        self.pages.set(&new, &cells).attempting(ErrorKind::Internal, attempt)?;
        if let Some(places) = cells.last().filter(|_| !self.logged.is_empty()) {
            for (place, slot) in places.as_primitive::<UInt64Type>().values().iter().zip(&new) {
                self.log.moved(*place, *slot);
            }
        }
        self.pages.free_page_of(slot);
        Ok(())
    }
}
