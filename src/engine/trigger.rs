//! When a batch starts. Pure arithmetic on the wall clock; the waiting is elsewhere.

use std::time::Duration;

use crate::pipeline::Trigger;

/// Whether the query ends by itself.
pub(super) fn is_bounded(trigger: Trigger) -> bool {
    match trigger {
        Trigger::AvailableNow | Trigger::Once => true,
        Trigger::AsFastAsPossible | Trigger::Interval(_) => false,
    }
}

/// The next tick after a batch that started at `started_us`: the following multiple of `interval`, so that ticks stay aligned
/// and missed ones collapse (Spark's `ProcessingTimeExecutor`).
pub(super) fn next_tick_us(started_us: i64, interval: Duration) -> i64 {
    let interval_us = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX).max(1);
    started_us.div_euclid(interval_us).saturating_mul(interval_us).saturating_add(interval_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    #[test]
    fn ticks_are_aligned_to_the_epoch() {
        let every_second = Duration::from_secs(1);
        assert_eq!(next_tick_us(24 * S + 196_000, every_second), 25 * S);
        assert_eq!(next_tick_us(25 * S, every_second), 26 * S);
    }

    #[test]
    fn missed_ticks_collapse_into_the_next_one() {
        let every_two = Duration::from_secs(2);
        let started = next_tick_us(3 * S, every_two);
        let finished = started + 5 * S;
        assert!(next_tick_us(started, every_two) < finished, "the tick is past: the next batch starts at once");
        assert_eq!(next_tick_us(finished, every_two), 10 * S);
    }

    #[test]
    fn a_tick_before_1970_is_still_the_next_multiple() {
        assert_eq!(next_tick_us(-S / 2, Duration::from_secs(1)), 0);
    }
}
