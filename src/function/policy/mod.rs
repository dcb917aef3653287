//! What keeps calls from harming either side: few at a time, not too often, again after a pause, not at all while nothing answers.
//!
//! Each is a small part of its own, so that a kind with a chain of its own (see [`AsyncFunction::retries_itself`]) can put them in
//! the order that was configured. What they decide is a function of an instant that is passed in; only the thin `async` ways around
//! them look at the clock.
//!
//! [`AsyncFunction::retries_itself`]: super::AsyncFunction::retries_itself

mod breaker;
mod budget;
mod rate_limit;
mod retry;

pub use breaker::{Breaker, BreakerSettings, BreakerState, Pass};
pub use budget::{Budget, Permit};
pub use rate_limit::{RateLimit, RateLimitSettings};
pub use retry::{Attempts, RETRY_AFTER_MAX, Retry, RetrySettings};
