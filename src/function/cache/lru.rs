//! A table of keys: some with an answer, in a list by when it was last asked for, some being asked.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashTable;

use super::{Flight, Key, Value};

/// The end of the list.
const NONE: u32 = u32::MAX;
/// What an entry takes beside its bytes: its place here, in the table, and the counts and lengths of its two allocations.
const ENTRY_BYTES: usize = 160;

#[derive(Debug)]
pub(super) struct Lru {
    entries_max: usize,
    bytes_max: usize,
    /// By key, the place of its entry.
    table: HashTable<u32>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
    kept: usize,
    bytes: usize,
    hasher: RandomState,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    key: Key,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    Kept {
        value: Value,
        /// `None`: never.
        expires: Option<Instant>,
        newer: u32,
        older: u32,
    },
    /// Row of a call that is being made.
    Asked(Arc<Flight>, usize),
}

/// What there is for a key.
#[derive(Debug)]
pub(super) enum Found {
    Kept(Value),
    Asked(Arc<Flight>, usize),
    Claimed,
}

impl Lru {
    pub(super) fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self {
            entries_max,
            bytes_max,
            table: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            kept: 0,
            bytes: 0,
            hasher: RandomState::new(),
        }
    }

    /// The answer that is kept for `key`, unless it is too old.
    pub(super) fn get(&mut self, key: &[u8], now: Instant) -> Option<Value> {
        let place = self.find(self.hasher.hash_one(key), key)?;
        let Answer::Kept { value, expires, .. } = &self.entries[place as usize].answer else { return None };
        if expires.is_some_and(|expires| expires <= now) {
            return None;
        }
        let value = value.clone();
        self.unlink(place);
        self.link(place);
        Some(value)
    }

    /// What there is for `key`; if nothing, it is row `row` of `flight` from now on.
    pub(super) fn claim(&mut self, key: &Key, now: Instant, flight: &Arc<Flight>, row: usize) -> Found {
        if let Some(value) = self.get(key, now) {
            return Found::Kept(value);
        }
        let hash = self.hasher.hash_one(&**key);
        if let Some(place) = self.find(hash, key) {
            if let Answer::Asked(flight, row) = &self.entries[place as usize].answer {
                return Found::Asked(flight.clone(), *row);
            }
            self.remove_at(place);
        }
        let entry = Entry { hash, key: key.clone(), answer: Answer::Asked(flight.clone(), row) };
        let place = match self.free.pop() {
            Some(place) => {
                self.entries[place as usize] = entry;
                place
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("rows being asked are bounded by the windows of calls")
            }
        };
        let entries = &self.entries;
        self.table.insert_unique(hash, place, |place| entries[*place as usize].hash);
        Found::Claimed
    }

    /// Keeps the answer of a key that `flight` has asked for, unless it was invalidated meanwhile.
    pub(super) fn keep(&mut self, key: &Key, value: &Value, expires: Option<Instant>, flight: &Arc<Flight>) {
        let Some(place) = self.asked_by(key, flight) else { return };
        let bytes = key.len() + value.len() + ENTRY_BYTES;
        if bytes > self.bytes_max {
            return self.remove_at(place);
        }
        // Room first, so that the limits hold at any time.
        while self.kept + 1 > self.entries_max || self.bytes + bytes > self.bytes_max {
            self.remove_at(self.oldest);
        }
        self.entries[place as usize].answer = Answer::Kept { value: value.clone(), expires, newer: NONE, older: NONE };
        self.kept += 1;
        self.bytes += bytes;
        self.link(place);
    }

    /// Forgets that `flight` asks for `key`.
    pub(super) fn give_up(&mut self, key: &Key, flight: &Arc<Flight>) {
        if let Some(place) = self.asked_by(key, flight) {
            self.remove_at(place);
        }
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        if let Some(place) = self.find(self.hasher.hash_one(key), key) {
            self.remove_at(place);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.entries_max, self.bytes_max);
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        self.table.find(hash, |place| *self.entries[*place as usize].key == *key).copied()
    }

    fn asked_by(&self, key: &[u8], flight: &Arc<Flight>) -> Option<u32> {
        let place = self.find(self.hasher.hash_one(key), key)?;
        let asked = |answer: &Answer| matches!(answer, Answer::Asked(other, _) if Arc::ptr_eq(other, flight));
        asked(&self.entries[place as usize].answer).then_some(place)
    }

    fn remove_at(&mut self, place: u32) {
        self.unlink(place);
        let hash = self.entries[place as usize].hash;
        if let Ok(found) = self.table.find_entry(hash, |other| *other == place) {
            found.remove();
        }
        let entry = &mut self.entries[place as usize];
        if let Answer::Kept { value, .. } = &entry.answer {
            self.kept -= 1;
            self.bytes -= entry.key.len() + value.len() + ENTRY_BYTES;
        }
        // The place stays; what it held goes.
        entry.key = Arc::default();
        entry.answer = Answer::Asked(Arc::default(), 0);
        self.free.push(place);
    }

    /// Puts an entry with an answer at the newest end of the list.
    fn link(&mut self, place: u32) {
        let before = self.newest;
        if let Answer::Kept { newer, older, .. } = &mut self.entries[place as usize].answer {
            (*newer, *older) = (NONE, before);
        }
        match self.neighbours(before) {
            Some((newer, _)) => *newer = place,
            None => self.oldest = place,
        }
        self.newest = place;
    }

    /// Takes an entry out of the list, if it is in it.
    fn unlink(&mut self, place: u32) {
        let Some((newer, older)) = self.neighbours(place).map(|(newer, older)| (*newer, *older)) else { return };
        match self.neighbours(newer) {
            Some((_, of_newer)) => *of_newer = older,
            None => self.newest = older,
        }
        match self.neighbours(older) {
            Some((of_older, _)) => *of_older = newer,
            None => self.oldest = newer,
        }
    }

    fn neighbours(&mut self, place: u32) -> Option<(&mut u32, &mut u32)> {
        match &mut self.entries.get_mut(place as usize)?.answer {
            Answer::Kept { newer, older, .. } => Some((newer, older)),
            Answer::Asked(..) => None,
        }
    }
}
