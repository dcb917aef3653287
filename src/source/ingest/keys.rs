//! Requests that a log has taken, by the key that their client gave them.
//!
//! A request's key is part of the record of its lines: either both are in the log or neither is. With each segment that begins, what is
//! known by then is kept beside it (see `kept`), so that a key outlives the lines that it came with.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest, Sha256};

/// Bytes that each half of a [`RequestKey`] has.
const HALF: usize = 16;

/// A request's key and what it brought, as hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestKey {
    key: [u8; HALF],
    body: [u8; HALF],
}

impl RequestKey {
    /// Bytes in a record.
    pub(super) const BYTES: usize = 2 * HALF;

    /// Of a request with this key and these lines.
    pub(crate) fn new(key: &[u8], lines: &[u8]) -> Self {
        Self { key: half(key), body: half(lines) }
    }

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..HALF].copy_from_slice(&self.key);
        bytes[HALF..].copy_from_slice(&self.body);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut read = Self { key: [0; HALF], body: [0; HALF] };
        read.key.copy_from_slice(&bytes[..HALF]);
        read.body.copy_from_slice(&bytes[HALF..]);
        read
    }
}

fn half(bytes: &[u8]) -> [u8; HALF] {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let mut half = [0; HALF];
    half.copy_from_slice(&digest[..HALF]);
    half
}

/// What is known of a request that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    body: [u8; HALF],
    /// One past its record.
    pub(super) end: u64,
}

/// What a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// New.
    Never,
    /// That of the same request, whose record ends there.
    Before(u64),
    /// That of a request with other lines.
    Otherwise,
}

/// The newest keys, a bounded number of them.
#[derive(Debug, Default)]
pub(super) struct Keys {
    count_max: usize,
    known: HashMap<[u8; HALF], Known>,
    /// Oldest first.
    order: VecDeque<[u8; HALF]>,
}

impl Keys {
    /// Remembers `count_max` keys.
    pub(super) fn new(count_max: usize) -> Self {
        Self { count_max, ..Self::default() }
    }

    pub(super) fn look(&self, request: &RequestKey) -> Seen {
        match self.known.get(&request.key) {
            None => Seen::Never,
            Some(known) if known.body == request.body => Seen::Before(known.end),
            Some(_) => Seen::Otherwise,
        }
    }

    /// The requests whose records end at `end` at the latest, oldest first.
    pub(super) fn before(&self, end: u64) -> Vec<RequestKey> {
        let known = self.order.iter().filter_map(|key| Some((*key, self.known.get(key)?)));
        known.filter(|(_, known)| known.end <= end).map(|(key, known)| RequestKey { key, body: known.body }).collect()
    }

    /// Remembers a request whose record ends at `end`, and forgets the oldest for it.
    pub(super) fn add(&mut self, request: &RequestKey, end: u64) {
        if self.count_max == 0 {
            return;
        }
        if self.known.insert(request.key, Known { body: request.body, end }).is_none() {
            self.order.push_back(request.key);
        }
        while self.order.len() > self.count_max {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_keys_are_known_with_what_they_brought() {
        let request = |number: usize| RequestKey::new(number.to_string().as_bytes(), b"lines");
        let mut keys = Keys::new(3);
        for number in 0..5 {
            assert_eq!(keys.look(&request(number)), Seen::Never);
            keys.add(&request(number), number as u64);
        }
        let seen: Vec<_> = (0..5).map(|number| keys.look(&request(number))).collect();
        assert_eq!(seen, [Seen::Never, Seen::Never, Seen::Before(2), Seen::Before(3), Seen::Before(4)]);
        assert_eq!(keys.look(&RequestKey::new(b"4", b"other lines")), Seen::Otherwise);
        assert_eq!(RequestKey::from_bytes(&request(4).to_bytes()), request(4));
    }

    #[test]
    fn what_is_not_durable_yet_is_not_kept() {
        let request = |number: u64| RequestKey::new(&number.to_le_bytes(), b"lines");
        let mut keys = Keys::new(3);
        for number in 0..5 {
            keys.add(&request(number), 10 * number);
        }
        assert_eq!(keys.before(30), [request(2), request(3)]);
        assert_eq!(keys.before(19), []);
    }

    #[test]
    fn a_key_that_comes_again_takes_one_place() {
        let mut keys = Keys::new(2);
        let (one, other) = (RequestKey::new(b"1", b""), RequestKey::new(b"2", b""));
        keys.add(&one, 1);
        keys.add(&one, 2);
        keys.add(&other, 3);
        assert_eq!((keys.look(&one), keys.look(&other)), (Seen::Before(2), Seen::Before(3)));
    }
}
