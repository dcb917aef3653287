//! How often calls may be made: evenly spaced, in the order in which they ask.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

/// How far behind a turn may be taken before it counts as missed: timers are late by milliseconds, and the rate is kept nevertheless.
const LATE_MAX: Duration = Duration::from_millis(20);

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

/// Spaces out whatever asks it.
#[derive(Debug)]
pub struct RateLimit {
    interval: Duration,
    /// How far ahead of its turn an attempt may be.
    ahead: Duration,
    /// When the next one's turn is. Held by the one that waits for it: whoever gives up leaves its turn to the next.
    turn: Mutex<Option<Instant>>,
}

impl RateLimit {
    /// With all of its burst.
    pub fn new(settings: RateLimitSettings) -> Self {
        let interval = Duration::try_from_secs_f64(1.0 / settings.calls_per_second).unwrap_or(Duration::MAX);
        Self { interval, ahead: interval.saturating_mul(settings.burst.max(1) - 1), turn: Mutex::new(None) }
    }

    /// Waits for the next turn. Dropping the future takes none.
    pub async fn turn(&self) {
        let asked = Instant::now();
        let mut next = self.turn.lock().await;
        let (turn, wait) = self.next(*next, asked, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        *next = Some(turn.checked_add(self.interval).unwrap_or(turn));
    }

    /// The turn of who asked at `asked` and is the first `now`, and how long it has to wait for it.
    fn next(&self, turn: Option<Instant>, asked: Instant, now: Instant) -> (Instant, Duration) {
        let late = now.checked_sub(LATE_MAX).unwrap_or(now);
        let mine = turn.map_or(asked, |turn| turn.max(asked)).max(late);
        (mine, mine.saturating_duration_since(now).saturating_sub(self.ahead))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// How long those have to wait who ask at these times, if timers are late by `late_ms`.
    fn waits_ms(settings: RateLimitSettings, late_ms: u64, asked_at_ms: &[u64]) -> Vec<u128> {
        let (limit, start) = (RateLimit::new(settings), Instant::now());
        let (mut turn, mut now) = (None, start);
        let mut waits = Vec::new();
        for asked in asked_at_ms {
            let asked = start + Duration::from_millis(*asked);
            now = now.max(asked);
            let (mine, wait) = limit.next(turn, asked, now);
            turn = Some(mine + limit.interval);
            now += if wait.is_zero() { wait } else { wait + Duration::from_millis(late_ms) };
            waits.push(wait.as_millis());
        }
        waits
    }

    #[test]
    fn calls_are_spaced_evenly() {
        let waits = waits_ms(RateLimitSettings::per_second(10.0), 0, &[0, 0, 0, 350, 350, 2000]);
        assert_eq!(waits, [0, 100, 100, 0, 100, 0]);
    }

    #[test]
    fn late_timers_do_not_lower_the_rate() {
        let waits = waits_ms(RateLimitSettings::per_second(1000.0), 3, &[0; 10]);
        assert_eq!(waits, [0, 1, 0, 0, 0, 1, 0, 0, 0, 1], "a turn each millisecond, four at a time");
    }

    #[test]
    fn turns_that_were_missed_are_not_made_up_for() {
        let waits = waits_ms(RateLimitSettings::per_second(100.0), 5000, &[0; 6]);
        assert_eq!(waits, [0, 10, 0, 0, 0, 10]);
    }

    #[test]
    fn a_pause_saves_up_no_more_than_the_burst() {
        let settings = RateLimitSettings { calls_per_second: 10.0, burst: 3 };
        assert_eq!(waits_ms(settings, 0, &[0, 0, 0, 0, 5000, 5000, 5000, 5000]), [0, 0, 0, 100, 0, 0, 0, 100]);
    }

    #[tokio::test]
    async fn who_gives_up_takes_no_turn() {
        let limit = RateLimit::new(RateLimitSettings::per_second(0.001));
        assert!(limit.turn().now_or_never().is_some());
        let taken = *limit.turn.lock().await;
        for _ in 0..10 {
            assert!(limit.turn().now_or_never().is_none());
        }
        assert_eq!(*limit.turn.lock().await, taken);
    }

    #[tokio::test]
    async fn a_rate_of_almost_nothing_waits_and_does_not_panic() {
        let limit = RateLimit::new(RateLimitSettings::per_second(f64::MIN_POSITIVE));
        limit.turn().await;
        limit.turn().await;
    }
}
