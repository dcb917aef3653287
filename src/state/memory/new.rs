//! Which keys are new: one look at the index per row, and at the key where its hash is known.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::index::spread;
use super::{MemoryStore, NONE};
use crate::error::Result;
use crate::state::{FindNew, Lookup, New};

use arrow::array::ArrayRef;

impl FindNew for MemoryStore {
    fn find_new(&self, keys: &[ArrayRef], rows: usize) -> Result<New> {
        let mut located = self.locate(keys, rows)?;
        let missing = (0..).zip(&located.slots).filter(|(_, slot)| **slot == NONE).map(|(row, _)| row);
        let mut new: Vec<u32> = missing.collect();
        let (keys, hashes) = (&located.keys, &located.hashes);
        let mut seen: HashTable<u32> = HashTable::with_capacity(new.len());
        new.retain(|row| {
            let hash = hashes[*row as usize];
            let same = |other: &u32| hashes[*other as usize] == hash && keys.get(*other as usize) == keys.get(*row as usize);
            match seen.entry(spread(hash), same, |other| spread(hashes[*other as usize])) {
                Entry::Occupied(_) => false,
                Entry::Vacant(entry) => {
                    entry.insert(*row);
                    true
                }
            }
        });
        located.slots.clear();
        located.slots.resize(new.len(), NONE);
        located.order = Some(new.clone());
        Ok(New { rows: new.into(), lookup: Lookup(located) })
    }
}
