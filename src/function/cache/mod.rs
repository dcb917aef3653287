//! Answers that are kept: each row's own, by its arguments, shared by every query that calls the function.
//!
//! What is being asked already is not asked again: the first to claim a key makes the call, everyone else waits for it. A claim is
//! made by the task that makes the call, never earlier: it ends by itself whoever looks at it, so no two batches can wait for each
//! other. Failures are told to those who wait and then forgotten.

mod codec;
mod lru;
mod recall;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub(super) use codec::Codec;
use lru::{Found, Lru};
pub(super) use recall::{Memory, Recalling};

use super::CallError;

/// Which answers are kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    /// Rows whose answer is kept, at most [`CACHE_ENTRIES_MAX`]; 0 keeps none, and then equal rows are asked as often as they come.
    pub entries: usize,
    /// How long an answer is good for; more than 0.
    pub ttl: Duration,
    /// Bytes that arguments and answers may take in all, their housekeeping included; at least 1. The one that was not asked for the
    /// longest goes first.
    pub bytes_max: usize,
}

/// Most rows whose answer can be kept.
pub const CACHE_ENTRIES_MAX: usize = 100_000_000;

impl CacheSettings {
    /// Whether every setting is in its range.
    pub(crate) fn holds(&self) -> bool {
        self.entries <= CACHE_ENTRIES_MAX && !self.ttl.is_zero() && self.bytes_max > 0
    }
}

impl Default for CacheSettings {
    /// 10,000 rows for 10 minutes in 64 MiB.
    fn default() -> Self {
        Self { entries: 10_000, ttl: Duration::from_secs(600), bytes_max: 64 << 20 }
    }
}

/// The arguments of a row in bytes: equal if they are.
pub(super) type Key = Arc<[u8]>;
/// The answer for a row in bytes.
pub(super) type Value = Arc<[u8]>;

/// Answers by their arguments.
#[derive(Debug)]
pub(super) struct Cache {
    ttl: Duration,
    lru: Mutex<Lru>,
}

/// A call that several may wait for.
#[derive(Debug, Default)]
pub(super) struct Flight {
    end: OnceLock<End>,
    ended: Notify,
}

/// The answer for a row, or why there is none.
pub(super) type Outcome = Result<Value, Arc<CallError>>;

/// How it ended.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// With what there is for each row.
    Answered(Arc<[Outcome]>),
    /// It failed for good.
    Failed(Arc<CallError>),
    /// Whoever made it has gone: somebody else may ask.
    Abandoned,
}

/// What is to be done for a number of keys.
#[derive(Debug)]
pub(super) struct Claims<'a> {
    /// By number of the key: answers that were there.
    pub(super) found: Vec<(usize, Value)>,
    /// What somebody else has asked, and which row of that call it is.
    pub(super) asked: Vec<(usize, Arc<Flight>, usize)>,
    /// What the caller has to ask.
    pub(super) mine: Claim<'a>,
}

/// The right and the duty to ask for some keys. Dropping it gives both up.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    cache: &'a Cache,
    keys: Vec<(usize, Key)>,
    flight: Arc<Flight>,
}

impl Cache {
    pub(super) fn new(settings: CacheSettings) -> Self {
        Self { ttl: settings.ttl, lru: Mutex::new(Lru::new(settings.entries, settings.bytes_max)) }
    }

    /// The answer that is kept for `key`, unless it is too old.
    pub(super) fn get(&self, key: &[u8], now: Instant) -> Option<Value> {
        self.lock().get(key, now)
    }

    /// Says for each of `keys` who has to ask.
    pub(super) fn claim(&self, keys: impl Iterator<Item = (usize, Key)>, now: Instant) -> Claims<'_> {
        let flight = Arc::<Flight>::default();
        let (mut found, mut asked, mut mine) = (Vec::new(), Vec::new(), Vec::new());
        let mut lru = self.lock();
        for (number, key) in keys {
            match lru.claim(&key, now, &flight, mine.len()) {
                Found::Kept(value) => found.push((number, value)),
                Found::Asked(other, row) => asked.push((number, other, row)),
                Found::Claimed => mine.push((number, key)),
            }
        }
        Claims { found, asked, mine: Claim { cache: self, keys: mine, flight } }
    }

    /// Forgets the answer for `key`, also one that is on its way: those who wait for it already get it.
    pub(super) fn invalidate(&self, key: &[u8]) {
        self.lock().remove(key);
    }

    /// Forgets all of them.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Lru> {
        self.lru.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim<'_> {
    /// Numbers of the keys to ask for, rising.
    pub(super) fn numbers(&self) -> impl ExactSizeIterator<Item = usize> {
        self.keys.iter().map(|(number, _)| *number)
    }

    /// Keeps the answers, an outcome for each number, and tells those who wait.
    pub(super) fn answered(self, outcomes: Arc<[Outcome]>, now: Instant) {
        let expires = now.checked_add(self.cache.ttl);
        let mut lru = self.cache.lock();
        for ((_, key), outcome) in self.keys.iter().zip(outcomes.iter()) {
            match outcome {
                Ok(value) => lru.keep(key, value, expires, &self.flight),
                Err(_) => lru.give_up(key, &self.flight),
            }
        }
        drop(lru);
        self.flight.finish(End::Answered(outcomes));
    }

    /// Tells those who wait; the next who asks makes a call again.
    pub(super) fn failed(self, error: Arc<CallError>) {
        self.forget();
        self.flight.finish(End::Failed(error));
    }

    fn forget(&self) {
        let mut lru = self.cache.lock();
        for (_, key) in &self.keys {
            lru.give_up(key, &self.flight);
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if self.flight.end.get().is_none() {
            self.forget();
            self.flight.finish(End::Abandoned);
        }
    }
}

impl Flight {
    fn finish(&self, end: End) {
        // Set once: by whoever has the claim, which is used up by it.
        let _ = self.end.set(end);
        self.ended.notify_waiters();
    }

    /// Waits for the end.
    pub(super) async fn end(&self) -> &End {
        loop {
            // Listening begins before the look, so that no end falls between them.
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            if let Some(end) = self.end.get() {
                return end;
            }
            ended.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::function::CallErrorKind;

    fn key(text: &str) -> Key {
        Arc::from(text.as_bytes())
    }

    struct Fixture {
        cache: Cache,
        start: Instant,
    }

    impl Fixture {
        fn new(entries: usize, bytes_max: usize) -> Self {
            let settings = CacheSettings { entries, ttl: Duration::from_secs(10), bytes_max };
            Self { cache: Cache::new(settings), start: Instant::now() }
        }

        fn claim(&self, keys: &str, second: u64) -> Claims<'_> {
            let keys = keys.split(' ').map(key).enumerate();
            self.cache.claim(keys, self.start + Duration::from_secs(second))
        }

        /// Asks for `keys` and keeps an answer for those that are not there: the key itself.
        fn ask(&self, keys: &str, second: u64) -> String {
            let claims = self.claim(keys, second);
            let names: Vec<_> = keys.split(' ').collect();
            let mine: Vec<_> = claims.mine.numbers().map(|number| names[number]).collect();
            let asked = mine.join(" ");
            claims.mine.answered(mine.into_iter().map(|name| Ok(key(name))).collect(), self.start + Duration::from_secs(second));
            asked
        }
    }

    #[test]
    fn what_is_kept_is_not_asked_again_until_it_is_too_old() {
        let fixture = Fixture::new(9, 100_000);
        assert_eq!(fixture.ask("a b", 0), "a b");
        assert_eq!(fixture.ask("a b c", 9), "c");
        assert_eq!(fixture.ask("a b c", 10), "a b");
        let found = fixture.claim("c", 12).found;
        assert_eq!(found, [(0, key("c"))]);
    }

    #[test]
    fn the_one_not_asked_for_the_longest_goes_first() {
        let fixture = Fixture::new(3, 100_000);
        fixture.ask("a b c", 0);
        fixture.ask("a", 1);
        fixture.ask("d", 1);
        assert_eq!(fixture.ask("a c d", 1), "");
        assert_eq!(fixture.ask("b", 1), "b");
    }

    #[test]
    fn bytes_are_limited_too_and_what_alone_is_too_large_is_not_kept() {
        let fixture = Fixture::new(1000, 1000);
        let keys: Vec<_> = (0..100).map(|n| n.to_string()).collect();
        fixture.ask(&keys.join(" "), 0);
        let kept = fixture.claim(&keys.join(" "), 0).found.len();
        assert!((1..8).contains(&kept), "{kept}");
        let huge = "x".repeat(2000);
        assert_eq!(fixture.ask(&huge, 0), huge);
        assert_eq!(fixture.ask(&huge, 0), huge);
    }

    #[test]
    fn a_key_is_asked_by_one_while_the_others_wait() {
        let fixture = Fixture::new(9, 100_000);
        let first = fixture.claim("a b", 0);
        let second = fixture.claim("b c", 0);
        assert_eq!(second.mine.numbers().collect::<Vec<_>>(), [1]);
        let (number, flight, row) = &second.asked[0];
        assert_eq!((*number, *row), (0, 1));
        assert!(flight.end().now_or_never().is_none());
        first.mine.answered([Ok(key("A")), Ok(key("B"))].into(), fixture.start);
        assert!(
            matches!(flight.end().now_or_never(), Some(End::Answered(outcomes)) if *outcomes[*row].as_ref().unwrap() == key("B"))
        );
    }

    #[test]
    fn failures_are_told_to_those_who_wait_and_not_kept() {
        let fixture = Fixture::new(9, 100_000);
        let first = fixture.claim("a", 0);
        let second = fixture.claim("a", 0);
        first.mine.failed(Arc::new(CallError::new(CallErrorKind::Timeout, "late")));
        assert!(matches!(second.asked[0].1.end().now_or_never(), Some(End::Failed(error)) if error.message == "late"));
        assert_eq!(fixture.ask("a", 0), "a");
    }

    #[test]
    fn who_gives_up_leaves_the_key_to_the_next() {
        let fixture = Fixture::new(9, 100_000);
        let first = fixture.claim("a", 0);
        let second = fixture.claim("a", 0);
        drop(first);
        assert!(matches!(second.asked[0].1.end().now_or_never(), Some(End::Abandoned)));
        assert_eq!(fixture.ask("a", 0), "a");
    }

    #[test]
    fn what_is_invalidated_is_asked_again_even_if_it_was_on_its_way() {
        let fixture = Fixture::new(9, 100_000);
        fixture.ask("a b", 0);
        fixture.cache.invalidate(b"a");
        assert_eq!(fixture.ask("a b", 0), "a");
        fixture.cache.clear();
        let first = fixture.claim("a", 0);
        fixture.cache.invalidate(b"a");
        let second = fixture.claim("a", 0);
        assert_eq!(second.mine.numbers().len(), 1);
        first.mine.answered([Ok(key("old"))].into(), fixture.start);
        second.mine.answered([Ok(key("new"))].into(), fixture.start);
        assert_eq!(fixture.claim("a", 0).found, [(0, key("new"))]);
    }

    /// The same as a plain list of entries, least recently used first.
    #[derive(Default)]
    struct Model(Vec<(u8, u64)>);

    impl Model {
        fn ask(&mut self, key: u8, second: u64, entries: usize) -> bool {
            let there = self.0.iter().position(|(other, _)| *other == key).map(|at| self.0.remove(at));
            let fresh = there.filter(|(_, kept)| second < kept + 10);
            self.0.push(fresh.unwrap_or((key, second)));
            while self.0.len() > entries {
                self.0.remove(0);
            }
            fresh.is_some()
        }
    }

    proptest::proptest! {
        #[test]
        fn it_keeps_what_a_list_would(steps in proptest::collection::vec((0_u8..12, 0_u64..3, 0_u8..20), 1..300), entries in 1_usize..8) {
            let (fixture, mut model, mut second) = (Fixture::new(entries, 1 << 20), Model::default(), 0);
            for (number, later, forget) in steps {
                second += later;
                let name = number.to_string();
                if forget == 0 {
                    fixture.cache.invalidate(name.as_bytes());
                    model.0.retain(|(other, _)| *other != number);
                }
                let asked = fixture.ask(&name, second) == name;
                proptest::prop_assert_eq!(!asked, model.ask(number, second, entries));
            }
        }
    }
}
