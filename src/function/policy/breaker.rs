//! No calls for a while where most of them fail: whoever is down gets up sooner, and nobody waits for its time limits.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When calls stop being made, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerSettings {
    /// Share of the calls that must have failed, more than 0 and at most 1. Default 0.5.
    pub failure_share: f64,
    /// Calls that must have been made, at least 1: the share of a few says nothing. Default 100.
    pub calls_min: u32,
    /// Calls of how long are looked at; more than 0, at most a day. Default 10 s.
    pub window: Duration,
    /// How long none is made, at most a day; then a single one decides. Default 5 s.
    pub open_for: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failure_share: 0.5, calls_min: 100, window: Duration::from_secs(10), open_for: Duration::from_secs(5) }
    }
}

impl BreakerSettings {
    /// Whether every setting is in its range.
    pub(crate) fn holds(&self) -> bool {
        let day = Duration::from_secs(24 * 60 * 60);
        let share = self.failure_share > 0.0 && self.failure_share <= 1.0;
        share && self.calls_min > 0 && !self.window.is_zero() && self.window <= day && self.open_for <= day
    }
}

/// Whether calls are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// They are.
    Closed,
    /// A single one, which decides.
    HalfOpen,
    /// They are not.
    Open,
}

/// Lets calls pass while most of them succeed. A call is counted once, after all of its attempts, when [`Pass::report`] says how it
/// went.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    inner: Mutex<Inner>,
}

/// Parts of the window that are forgotten one at a time.
const PARTS: u32 = 10;

#[derive(Debug)]
struct Inner {
    state: State,
    /// Counts changes of state: what was let pass before one says nothing after it.
    epoch: u64,
}

#[derive(Debug)]
enum State {
    Closed(Window),
    Open { until: Instant },
    HalfOpen { trying: bool },
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    /// Which part of the window it is, since `start`.
    part: u64,
    calls: u32,
    failures: u32,
}

#[derive(Debug)]
struct Window {
    start: Instant,
    counts: [Count; PARTS as usize],
}

/// Leave to make a call. Dropping it unreported counts as no call.
#[derive(Debug)]
#[must_use]
pub struct Pass<'a> {
    breaker: &'a Breaker,
    epoch: u64,
    /// Whether it decides whether others may follow.
    decides: bool,
}

impl Breaker {
    /// A breaker that lets calls pass.
    pub fn new(settings: BreakerSettings, now: Instant) -> Self {
        Self { settings, inner: Mutex::new(Inner { state: State::Closed(Window::new(now)), epoch: 0 }) }
    }

    /// Leave to make a call, or how long it is till the next may be tried.
    pub fn pass(&self, now: Instant) -> Result<Pass<'_>, Duration> {
        let mut inner = self.lock();
        let decides = match &mut inner.state {
            State::Closed(_) => false,
            State::Open { until } if now < *until => return Err(until.saturating_duration_since(now)),
            // The one that is being tried takes no longer than its time limits.
            State::HalfOpen { trying: true } => return Err(Duration::ZERO),
            State::Open { .. } => {
                inner.change(State::HalfOpen { trying: true });
                true
            }
            State::HalfOpen { trying } => {
                *trying = true;
                true
            }
        };
        Ok(Pass { breaker: self, epoch: inner.epoch, decides })
    }

    /// Whether calls are made just now.
    pub fn state(&self) -> BreakerState {
        match self.lock().state {
            State::Closed(_) => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    fn report(&self, epoch: u64, failed: bool, now: Instant) {
        let mut inner = self.lock();
        if inner.epoch != epoch {
            return;
        }
        let open = match &mut inner.state {
            State::Closed(window) => {
                let (calls, failures) = window.count(failed, now, self.settings.window);
                calls >= self.settings.calls_min && f64::from(failures) >= self.settings.failure_share * f64::from(calls)
            }
            State::HalfOpen { .. } if failed => true,
            State::HalfOpen { .. } => {
                inner.change(State::Closed(Window::new(now)));
                false
            }
            State::Open { .. } => false,
        };
        if open {
            inner.change(State::Open { until: now + self.settings.open_for });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn change(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

impl Window {
    fn new(start: Instant) -> Self {
        Self { start, counts: [Count::default(); PARTS as usize] }
    }

    /// Adds a call and returns how many there are, and how many of them failed.
    fn count(&mut self, failed: bool, now: Instant, length: Duration) -> (u32, u32) {
        let part_ns = (length / PARTS).as_nanos().max(1);
        let part = u64::try_from(now.saturating_duration_since(self.start).as_nanos() / part_ns).unwrap_or(u64::MAX);
        let count = &mut self.counts[(part % u64::from(PARTS)) as usize];
        if count.part != part {
            *count = Count { part, ..Count::default() };
        }
        count.calls += 1;
        count.failures += u32::from(failed);
        let recent = self.counts.iter().filter(|count| count.part + u64::from(PARTS) > part);
        recent.fold((0, 0), |(calls, failures), count| (calls + count.calls, failures + count.failures))
    }
}

impl Pass<'_> {
    /// Whether this call decides whether others may follow.
    pub fn is_trial(&self) -> bool {
        self.decides
    }

    /// Says how the call went: `failed` if nothing answered, not if the answer was no.
    pub fn report(mut self, failed: bool, now: Instant) {
        self.decides = false;
        self.breaker.report(self.epoch, failed, now);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.decides {
            return;
        }
        let mut inner = self.breaker.lock();
        if inner.epoch == self.epoch
            && let State::HalfOpen { trying } = &mut inner.state
        {
            *trying = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: BreakerSettings =
        BreakerSettings { failure_share: 0.5, calls_min: 4, window: Duration::from_secs(10), open_for: Duration::from_secs(5) };

    struct Fixture {
        breaker: Breaker,
        start: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            let start = Instant::now();
            Self { breaker: Breaker::new(SETTINGS, start), start }
        }

        fn at(&self, second: u64) -> Instant {
            self.start + Duration::from_secs(second)
        }

        /// `.` is a call that succeeds, `x` one that fails; the state after them.
        fn calls(&self, second: u64, calls: &str) -> BreakerState {
            for call in calls.chars() {
                self.breaker.pass(self.at(second)).unwrap().report(call == 'x', self.at(second));
            }
            self.breaker.state()
        }
    }

    #[test]
    fn it_opens_when_the_share_is_reached_and_not_for_a_few_calls() {
        assert_eq!(Fixture::new().calls(0, "xxx"), BreakerState::Closed);
        assert_eq!(Fixture::new().calls(0, "xxxx"), BreakerState::Open);
        assert_eq!(Fixture::new().calls(0, "..x..x"), BreakerState::Closed);
        assert_eq!(Fixture::new().calls(0, "..xx"), BreakerState::Open);
    }

    #[test]
    fn old_calls_are_forgotten() {
        let fixture = Fixture::new();
        fixture.calls(0, "xxx");
        assert_eq!(fixture.calls(10, "x"), BreakerState::Closed);
        assert_eq!(fixture.calls(12, "xx"), BreakerState::Closed);
        assert_eq!(fixture.calls(19, "x"), BreakerState::Open);
    }

    #[test]
    fn an_open_one_lets_none_pass_then_one_and_closes_after_it() {
        let fixture = Fixture::new();
        fixture.calls(0, "xxxx");
        assert_eq!(fixture.breaker.pass(fixture.at(2)).unwrap_err(), Duration::from_secs(3));
        let trial = fixture.breaker.pass(fixture.at(5)).unwrap();
        assert_eq!(fixture.breaker.state(), BreakerState::HalfOpen);
        assert!(fixture.breaker.pass(fixture.at(6)).is_err(), "one at a time");
        trial.report(false, fixture.at(6));
        assert_eq!(fixture.calls(6, "xxx"), BreakerState::Closed);
    }

    #[test]
    fn a_trial_that_fails_opens_it_again() {
        let fixture = Fixture::new();
        fixture.calls(0, "xxxx");
        assert_eq!(fixture.calls(5, "x"), BreakerState::Open);
        assert_eq!(fixture.breaker.pass(fixture.at(9)).unwrap_err(), Duration::from_secs(1));
    }

    #[test]
    fn a_trial_that_is_cancelled_leaves_room_for_another() {
        let fixture = Fixture::new();
        fixture.calls(0, "xxxx");
        drop(fixture.breaker.pass(fixture.at(5)).unwrap());
        assert_eq!(fixture.calls(5, "."), BreakerState::Closed);
    }

    #[test]
    fn what_passed_before_it_opened_says_nothing_after() {
        let fixture = Fixture::new();
        let slow = fixture.breaker.pass(fixture.at(0)).unwrap();
        fixture.calls(0, "xxxx");
        let trial = fixture.breaker.pass(fixture.at(5)).unwrap();
        slow.report(true, fixture.at(5));
        assert_eq!(fixture.breaker.state(), BreakerState::HalfOpen);
        trial.report(false, fixture.at(5));
        assert_eq!(fixture.breaker.state(), BreakerState::Closed);
    }
}
