//! Where each key is: half of its hash, and its slot.

use hashbrown::HashTable;
use twox_hash::XxHash3_64;

/// Half of a key's hash: enough to tell it from nearly all others without reading their keys.
pub(super) fn hash_of(key: &[u8]) -> u32 {
    (XxHash3_64::oneshot(key) >> 32) as u32
}

#[derive(Debug)]
struct Entry {
    hash: u32,
    slot: u32,
}

/// A table of slots by hash.
#[derive(Debug, Default)]
pub(super) struct Index(HashTable<Entry>);

impl Index {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A slot with this hash, most likely the only one.
    #[inline]
    pub(super) fn first(&self, hash: u32) -> Option<u32> {
        self.0.find(spread(hash), |entry| entry.hash == hash).map(|entry| entry.slot)
    }

    /// The slot with this hash that `is_it`.
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.0.find(spread(hash), |entry| entry.hash == hash && is_it(entry.slot)).map(|entry| entry.slot)
    }

    /// Adds a slot that is not there.
    pub(super) fn insert(&mut self, hash: u32, slot: u32) {
        self.0.insert_unique(spread(hash), Entry { hash, slot }, |entry| spread(entry.hash));
    }

    /// Removes a slot; whether it was there.
    pub(super) fn remove(&mut self, hash: u32, slot: u32) -> bool {
        match self.0.find_entry(spread(hash), |entry| entry.slot == slot) {
            Ok(entry) => {
                entry.remove();
                true
            }
            Err(_) => false,
        }
    }

    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, more: usize) {
        self.0.reserve(more, |entry| spread(entry.hash));
    }

    /// Memory held.
    pub(super) fn memory(&self) -> usize {
        self.0.allocation_size()
    }

    /// Memory held once so many more are in it: a power of two of buckets, at most 7/8 full.
    pub(super) fn memory_with(&self, more: usize) -> usize {
        let wanted = self.0.len() + more;
        if wanted <= self.0.capacity() {
            return self.memory();
        }
        let buckets = (wanted.max(self.0.capacity() + 1) * 8 / 7 + 1).next_power_of_two();
        buckets * (size_of::<Entry>() + 1) + 64
    }
}

/// Half a hash as the whole one that the table wants.
pub(super) fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
