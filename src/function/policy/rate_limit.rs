//! How often calls may be made: a bucket of tokens that fills evenly.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often calls may be made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimitSettings {
    /// Attempts in a second, in the long run; more than 0.
    pub calls_per_second: f64,
    /// Attempts that may be made at once after a pause; at least 1, the default, which spaces them evenly.
    pub burst: u32,
}

impl RateLimitSettings {
    /// So many in a second, evenly spaced.
    pub fn per_second(calls: f64) -> Self {
        Self { calls_per_second: calls, burst: 1 }
    }
}

/// Spaces out whatever asks it. Keeps no list of those who wait: each is told at once when its turn is.
#[derive(Debug)]
pub struct RateLimit {
    interval: Duration,
    /// How far ahead of its turn an attempt may be.
    ahead: Duration,
    /// When the next one's turn is.
    turn: Mutex<Option<Instant>>,
}

impl RateLimit {
    /// A full bucket.
    pub fn new(settings: RateLimitSettings) -> Self {
        let interval = Duration::try_from_secs_f64(1.0 / settings.calls_per_second).unwrap_or(Duration::MAX);
        Self { interval, ahead: interval.saturating_mul(settings.burst.max(1) - 1), turn: Mutex::new(None) }
    }

    /// Takes the next turn and says how long it is till then. It is taken even if the caller gives up.
    pub fn reserve(&self, now: Instant) -> Duration {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = turn.map_or(now, |turn| turn.max(now));
        *turn = Some(mine.checked_add(self.interval).unwrap_or(mine));
        mine.saturating_duration_since(now).saturating_sub(self.ahead)
    }

    /// Waits for the next turn.
    pub async fn turn(&self) {
        let wait = self.reserve(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits_ms(settings: RateLimitSettings, asked_at_ms: &[u64]) -> Vec<u128> {
        let (limit, start) = (RateLimit::new(settings), Instant::now());
        asked_at_ms.iter().map(|at| limit.reserve(start + Duration::from_millis(*at)).as_millis()).collect()
    }

    #[test]
    fn calls_are_spaced_evenly() {
        assert_eq!(waits_ms(RateLimitSettings::per_second(10.0), &[0, 0, 0, 150, 150, 2000]), [0, 100, 200, 150, 250, 0]);
    }

    #[test]
    fn a_pause_saves_up_no_more_than_the_burst() {
        let settings = RateLimitSettings { calls_per_second: 10.0, burst: 3 };
        assert_eq!(waits_ms(settings, &[0, 0, 0, 0, 5000, 5000, 5000, 5000]), [0, 0, 0, 100, 0, 0, 0, 100]);
    }

    #[test]
    fn a_rate_of_almost_nothing_waits_and_does_not_panic() {
        let limit = RateLimit::new(RateLimitSettings::per_second(f64::MIN_POSITIVE));
        assert!(limit.reserve(Instant::now()).is_zero());
        limit.reserve(Instant::now());
    }
}
