//! Rows by the hash of their join key: a table from hashes to chains of row numbers.
//!
//! The rows of one hash are a list that is linked in both directions, so that a key with a million rows costs as much per row as one
//! with a single row, on the way in and on the way out. Hashes may collide: whoever follows a chain compares the keys.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;

/// Stands for no row.
pub(super) const NONE: u32 = u32::MAX;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Chains {
    /// The first row of each hash.
    first: HashTable<u32>,
    links: Vec<Link>,
}

/// One row, by its number.
#[derive(Debug, Clone, Copy)]
struct Link {
    hash: u64,
    next: u32,
    /// [`NONE`] for the first of its chain.
    before: u32,
    /// Rows whose key matches nothing are in no chain.
    chained: bool,
}

const LOOSE: Link = Link { hash: 0, next: NONE, before: NONE, chained: false };

impl Chains {
    /// Chains of rows 0, 1, … with these hashes; those without match nothing.
    pub(super) fn of(hashes: &[Option<u64>]) -> Self {
        let mut chains = Self { first: HashTable::with_capacity(hashes.len()), links: Vec::with_capacity(hashes.len()) };
        // What is put in last comes first: backwards, so that chains are followed in the order of the rows.
        chains.reserve(hashes.len());
        for (row, hash) in hashes.iter().enumerate().rev() {
            chains.insert(row as u32, *hash);
        }
        chains
    }

    /// Makes room for row numbers below `rows`.
    pub(super) fn reserve(&mut self, rows: usize) {
        if rows > self.links.len() {
            self.links.resize(rows, LOOSE);
        }
    }

    /// How many row numbers there is room for.
    pub(super) fn room(&self) -> usize {
        self.links.len()
    }

    /// Forgets row numbers from `rows` on, which are in no chain.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.links.truncate(rows);
    }

    /// Memory held.
    pub(super) fn bytes(&self) -> usize {
        self.links.capacity() * size_of::<Link>() + self.first.capacity() * (size_of::<u32>() + 1)
    }

    /// Puts `row` at the head of its chain.
    pub(super) fn insert(&mut self, row: u32, hash: Option<u64>) {
        let Some(hash) = hash else {
            self.links[row as usize] = LOOSE;
            return;
        };
        let links = &mut self.links;
        let mut next = NONE;
        match self.first.entry(hash, |first| links[*first as usize].hash == hash, |first| links[*first as usize].hash) {
            TableEntry::Occupied(mut entry) => next = std::mem::replace(entry.get_mut(), row),
            TableEntry::Vacant(entry) => {
                entry.insert(row);
            }
        }
        self.links[row as usize] = Link { hash, next, before: NONE, chained: true };
        if next != NONE {
            self.links[next as usize].before = row;
        }
    }

    /// Takes `row` out of its chain.
    pub(super) fn remove(&mut self, row: u32) {
        let Link { hash, next, before, chained } = std::mem::replace(&mut self.links[row as usize], LOOSE);
        if !chained {
            return;
        }
        if next != NONE {
            self.links[next as usize].before = before;
        }
        if before != NONE {
            self.links[before as usize].next = next;
            return;
        }
        if let Ok(mut entry) = self.first.find_entry(hash, |first| *first == row) {
            if next == NONE {
                entry.remove();
            } else {
                *entry.get_mut() = next;
            }
        }
    }

    /// The first row with `hash`, or [`NONE`].
    pub(super) fn first(&self, hash: u64) -> u32 {
        self.first.find(hash, |first| self.links[*first as usize].hash == hash).copied().unwrap_or(NONE)
    }

    /// The row after `row` with the same hash, or [`NONE`].
    pub(super) fn next(&self, row: u32) -> u32 {
        self.links[row as usize].next
    }
}
