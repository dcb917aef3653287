//! When a failed attempt is made again: after a pause at random, a few times, and only while few calls need it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::function::CallError;

/// The longest pause that the other side may ask for: whoever asks for more gets no further attempt.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Further attempts that are there at the start, so that the first calls have some.
const RESERVE: f64 = 100.0;
/// Further attempts a second that are there however few calls are made.
const RESERVE_PER_SECOND: f64 = 10.0;

/// When a failed attempt is made again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetrySettings {
    /// Attempts in all, 1 to 100; 1 is no further one. Default 3.
    pub attempts: u32,
    /// Upper bound of the first pause; it doubles with each further one. At most a day, default 100 ms.
    pub base_delay: Duration,
    /// Largest upper bound of a pause, at most a day. Default 2 s.
    pub max_delay: Duration,
    /// Further attempts for each call, in the long run: default 0.1, one for ten calls. 100 are there at the start and 10 a second
    /// always, so this holds back only where many calls fail.
    pub budget: f64,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { attempts: 3, base_delay: Duration::from_millis(100), max_delay: Duration::from_secs(2), budget: 0.1 }
    }
}

/// Counts the attempts of one call, whoever makes them.
#[derive(Debug, Clone, Default)]
pub struct Attempts(Arc<AtomicU32>);

impl Attempts {
    /// How many there have been.
    pub fn made(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// One is about to be made.
    pub fn begin(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes attempts until one succeeds, a further one cannot help, or there have been enough.
#[derive(Debug)]
pub struct Retry {
    settings: RetrySettings,
    bucket: Mutex<Bucket>,
}

/// Further attempts that may be made.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Option<Instant>,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Next {
    After(Duration),
    Exhausted,
    OutOfBudget,
    AskedForTooLong,
    Final,
}

impl Retry {
    /// With a full budget.
    pub fn new(settings: RetrySettings) -> Self {
        Self { settings, bucket: Mutex::new(Bucket { tokens: RESERVE, filled: None }) }
    }

    /// The settings.
    pub fn settings(&self) -> &RetrySettings {
        &self.settings
    }

    /// Runs `attempt`, which is told its number from 1, until it succeeds or another attempt is no use. `made` counts them, and the
    /// error tells how many there were. Dropping the future ends it wherever it is.
    pub async fn run<T, F>(&self, made: &Attempts, mut attempt: impl FnMut(u32) -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        self.with_bucket(Instant::now(), |bucket| bucket.tokens = (bucket.tokens + self.settings.budget).min(RESERVE));
        let mut number = 1;
        loop {
            made.begin();
            let mut error = match attempt(number).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            error.attempts = number;
            let why = match self.next(number, &error, rand::random(), Instant::now()) {
                Next::After(pause) => {
                    tokio::time::sleep(pause).await;
                    number += 1;
                    continue;
                }
                Next::Final => return Err(error),
                Next::Exhausted => format!("attempts exhausted after {number}"),
                Next::OutOfBudget => "no further attempt while so many calls fail".to_owned(),
                Next::AskedForTooLong => {
                    format!("no further attempt, as it asks to wait {:?}", error.retry_after.unwrap_or_default())
                }
            };
            error.message = format!("{why}: {}", error.message);
            return Err(error);
        }
    }

    /// What follows attempt `number`, from 1; `random` lies between 0 and 1.
    fn next(&self, number: u32, error: &CallError, random: f64, now: Instant) -> Next {
        if !error.kind.is_transient() || self.settings.attempts <= 1 {
            return Next::Final;
        }
        if number >= self.settings.attempts {
            return Next::Exhausted;
        }
        let asked = error.retry_after.unwrap_or_default();
        if asked > RETRY_AFTER_MAX {
            return Next::AskedForTooLong;
        }
        let taken = self.with_bucket(now, |bucket| {
            let enough = bucket.tokens >= 1.0;
            bucket.tokens -= if enough { 1.0 } else { 0.0 };
            enough
        });
        if !taken {
            return Next::OutOfBudget;
        }
        // Those who are asked to wait equally long do not come back together either.
        Next::After(asked + self.bound(number).mul_f64(random.clamp(0.0, 1.0)))
    }

    /// Upper bound of the pause after attempt `number`, from 1.
    fn bound(&self, number: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(number - 1);
        self.settings.base_delay.saturating_mul(doubled).min(self.settings.max_delay)
    }

    fn with_bucket<T>(&self, now: Instant, change: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let since = bucket.filled.map_or(Duration::ZERO, |filled| now.saturating_duration_since(filled));
        bucket.filled = Some(now);
        bucket.tokens = (bucket.tokens + since.as_secs_f64() * RESERVE_PER_SECOND).min(RESERVE);
        change(&mut bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::CallErrorKind;

    fn settings(attempts: u32) -> RetrySettings {
        RetrySettings {
            attempts,
            base_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(4),
            ..Default::default()
        }
    }

    fn unavailable() -> CallError {
        CallError::new(CallErrorKind::Unavailable, "status 503")
    }

    #[tokio::test]
    async fn s3_5_a_flaky_call_succeeds_at_the_third_attempt() {
        let (made, attempts) = (AtomicU32::new(0), Attempts::default());
        let retry = Retry::new(settings(5));
        let answer = retry.run(&attempts, |number| {
            made.store(number, Ordering::SeqCst);
            async move { if number < 3 { Err(unavailable()) } else { Ok(200) } }
        });
        assert_eq!(answer.await.unwrap(), 200);
        assert_eq!((made.load(Ordering::SeqCst), attempts.made()), (3, 3));
    }

    #[tokio::test]
    async fn s3_6_a_call_that_always_fails_is_exhausted_and_says_so() {
        let error =
            Retry::new(settings(3)).run(&Attempts::default(), |_| async { Err::<(), _>(unavailable()) }).await.unwrap_err();
        assert_eq!((error.attempts, error.message.as_str()), (3, "attempts exhausted after 3: status 503"));
    }

    #[tokio::test]
    async fn s3_7_what_another_attempt_cannot_help_gets_none() {
        for kind in [CallErrorKind::Rejected, CallErrorKind::BadAnswer, CallErrorKind::CircuitOpen, CallErrorKind::Config] {
            let error = Retry::new(settings(5))
                .run(&Attempts::default(), |_| async { Err::<(), _>(CallError::new(kind, "no")) })
                .await
                .unwrap_err();
            assert_eq!((error.attempts, error.message.as_str()), (1, "no"));
        }
    }

    #[test]
    fn pauses_are_at_random_below_a_bound_that_doubles() {
        let retry = Retry::new(RetrySettings { attempts: 9, ..RetrySettings::default() });
        let pause = |number, random| match retry.next(number, &unavailable(), random, Instant::now()) {
            Next::After(pause) => pause.as_millis(),
            other => panic!("{other:?}"),
        };
        assert_eq!([1, 2, 3, 4, 5, 6, 7, 8].map(|number| pause(number, 1.0)), [100, 200, 400, 800, 1600, 2000, 2000, 2000]);
        assert_eq!([1, 4, 8].map(|number| pause(number, 0.5)), [50, 400, 1000]);
        assert_eq!(pause(3, 0.0), 0);
    }

    #[test]
    fn a_pause_is_never_shorter_than_asked_for() {
        let retry = Retry::new(RetrySettings::default());
        let next = |seconds, random| {
            let error = CallError { retry_after: Some(Duration::from_secs(seconds)), ..unavailable() };
            retry.next(1, &error, random, Instant::now())
        };
        assert_eq!(next(3, 0.0), Next::After(Duration::from_secs(3)));
        assert_eq!(next(60, 1.0), Next::After(Duration::from_millis(60_100)));
        assert_eq!(next(61, 0.0), Next::AskedForTooLong);
    }

    #[test]
    fn a_budget_that_is_used_up_fills_with_calls_and_with_time() {
        let (retry, start) = (Retry::new(RetrySettings::default()), Instant::now());
        let allowed = |now| (0..1000).filter(|_| matches!(retry.next(1, &unavailable(), 0.0, now), Next::After(_))).count();
        assert_eq!(allowed(start), 100);
        assert_eq!(retry.next(1, &unavailable(), 0.0, start), Next::OutOfBudget);
        for _ in 0..205 {
            retry.with_bucket(start, |bucket| bucket.tokens += retry.settings.budget);
        }
        assert_eq!(allowed(start), 20, "one for ten calls");
        assert_eq!(allowed(start + Duration::from_secs(3)), 30);
        assert_eq!(allowed(start + Duration::from_secs(3000)), 100);
    }
}
