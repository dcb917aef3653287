//! How a function is called: the same settings for every kind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::cache::CacheSettings;
use super::policy::{BreakerSettings, RateLimitSettings, RetrySettings};
use crate::error::{Error, Result};

/// Most rows that one call may get.
pub const CHUNK_ROWS_MAX: usize = 1_000_000;
/// Most calls of one function that may be in flight.
pub const IN_FLIGHT_MAX: usize = 100_000;
/// Most attempts of one call.
pub const ATTEMPTS_MAX: u32 = 100;

/// Longest time limit and pause.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How a function is called.
#[derive(Debug, Clone, PartialEq)]
pub struct CallSettings {
    /// Rows of a call: exactly so many, however they came; only a batch's last call may have fewer. 1 to [`CHUNK_ROWS_MAX`],
    /// default 100.
    pub chunk_size: usize,
    /// Calls of the function in flight, those of all queries together. 1 to [`IN_FLIGHT_MAX`], default 20. Rows are taken from the
    /// input for twice as many.
    pub max_in_flight: usize,
    /// How long one attempt may take; more than 0, at most a day, default 5 s.
    pub timeout: Duration,
    /// When a failed attempt is made again.
    pub retry: RetrySettings,
    /// How often attempts are made; default: as often as the window allows.
    pub rate_limit: Option<RateLimitSettings>,
    /// When calls stop being made for a while. On by default.
    pub breaker: Option<BreakerSettings>,
    /// Which answers are kept for equal arguments; default: none, and every row is asked.
    pub cache: Option<CacheSettings>,
    /// What follows when a call fails for good.
    pub on_error: OnError,
    /// Whether answers come in the order of the rows, the default. Values always do; rows of the table form need not.
    pub ordered: bool,
    /// Largest answer of one call, in bytes of memory; at least 1, default 1 MiB. A larger one is a failure.
    pub answer_bytes_max: usize,
    /// What the declaration sets for the function itself, by name.
    pub parameters: Arc<BTreeMap<String, serde_json::Value>>,
}

/// What follows when a call fails for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// Its siblings are cancelled and the batch fails: as `Unavailable` if the other side did not answer, so that the query tries the
    /// batch again after a pause, else for good.
    #[default]
    Fail,
    /// Its rows get null, or no row in the table form.
    ReturnNull,
    /// Its rows are left out of the result.
    DropRow,
}

impl Default for CallSettings {
    fn default() -> Self {
        Self {
            chunk_size: 100,
            max_in_flight: 20,
            timeout: Duration::from_secs(5),
            retry: RetrySettings::default(),
            rate_limit: None,
            breaker: Some(BreakerSettings::default()),
            cache: None,
            on_error: OnError::Fail,
            ordered: true,
            answer_bytes_max: 1 << 20,
            parameters: Arc::default(),
        }
    }
}

impl CallSettings {
    /// Checks every range.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] naming the first setting that is out of its range.
    pub fn check(&self) -> Result<()> {
        let retry = &self.retry;
        let duration = |duration: Duration| duration <= DURATION_MAX;
        let within = [
            ("chunk_size", (1..=CHUNK_ROWS_MAX).contains(&self.chunk_size), "from 1 to 1000000"),
            ("max_in_flight", (1..=IN_FLIGHT_MAX).contains(&self.max_in_flight), "from 1 to 100000"),
            ("timeout", !self.timeout.is_zero() && duration(self.timeout), "more than 0 and at most a day"),
            ("attempts", (1..=ATTEMPTS_MAX).contains(&retry.attempts), "from 1 to 100"),
            ("delay between attempts", duration(retry.base_delay) && duration(retry.max_delay), "at most a day"),
            ("retry budget", retry.budget.is_finite() && retry.budget >= 0.0, "at least 0"),
            ("rate_limit", self.rate_limit.is_none_or(|limit| limit.calls_per_second > 0.0 && limit.burst > 0), "more than 0"),
            (
                "breaker",
                self.breaker.is_none_or(|breaker| breaker.holds()),
                "of a share above 0 up to 1, at least one call and at most a day",
            ),
            ("cache", self.cache.is_none_or(|cache| cache.holds()), "of at most 100000000 entries, a ttl and bytes_max above 0"),
            ("answer_bytes_max", self.answer_bytes_max > 0, "at least 1"),
        ];
        match within.iter().find(|(_, holds, _)| !holds) {
            Some((name, _, range)) => Err(Error::config(format!("{name} must be {range}"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_named() {
        assert!(CallSettings::default().check().is_ok());
        let refused = |change: &dyn Fn(&mut CallSettings)| {
            let mut settings = CallSettings::default();
            change(&mut settings);
            settings.check().unwrap_err().message().to_owned()
        };
        assert_eq!(refused(&|s| s.chunk_size = 0), "chunk_size must be from 1 to 1000000");
        assert_eq!(refused(&|s| s.max_in_flight = 0), "max_in_flight must be from 1 to 100000");
        assert_eq!(refused(&|s| s.retry.attempts = 0), "attempts must be from 1 to 100");
        assert_eq!(refused(&|s| s.retry.budget = f64::NAN), "retry budget must be at least 0");
        assert_eq!(refused(&|s| s.rate_limit = Some(RateLimitSettings::per_second(0.0))), "rate_limit must be more than 0");
    }
}
