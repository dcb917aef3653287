//! What a function's calls count.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use super::CallErrorKind;
use super::policy::BreakerState;
use crate::metrics::Metrics;

impl Metrics {
    /// The series of one function in one query, from its start at zero.
    pub fn function(&self, pipeline: &str, query: &str, function: &str) -> FunctionMetrics {
        let (all, labels) = (&self.functions, &[pipeline, query, function]);
        let calls = |outcome| all.calls.with_label_values(&[pipeline, query, function, outcome]);
        for kind in CallErrorKind::ALL {
            calls(kind.name());
        }
        FunctionMetrics {
            calls: all.calls.clone(),
            labels: labels.map(str::to_owned),
            ok: calls("ok"),
            cancelled: calls("cancelled"),
            attempts: all.attempts.with_label_values(labels),
            retries: all.retries.with_label_values(labels),
            rows_failed: all.rows_failed.with_label_values(labels),
            cache_hits: all.cache_hits.with_label_values(labels),
            cache_misses: all.cache_misses.with_label_values(labels),
            in_flight: all.in_flight.with_label_values(labels),
            attempt_duration: all.duration.with_label_values(labels),
            breaker: all.breaker.with_label_values(&[pipeline, function]),
        }
    }
}

/// The series of one function in one query.
#[derive(Debug, Clone)]
pub struct FunctionMetrics {
    calls: IntCounterVec,
    labels: [String; 3],
    ok: IntCounter,
    cancelled: IntCounter,
    /// Attempts of all calls.
    pub attempts: IntCounter,
    /// Attempts after a call's first.
    pub retries: IntCounter,
    /// Rows whose call failed for good.
    pub rows_failed: IntCounter,
    /// Rows answered without a call of their own.
    pub cache_hits: IntCounter,
    /// Rows that were not in the cache.
    pub cache_misses: IntCounter,
    /// Attempts in flight.
    pub in_flight: IntGauge,
    /// Time of an attempt, in seconds.
    pub attempt_duration: Histogram,
    breaker: IntGauge,
}

impl FunctionMetrics {
    /// A call was answered.
    pub fn answered(&self) {
        self.ok.inc();
    }

    /// A call was given up before it ended.
    pub fn cancelled(&self) {
        self.cancelled.inc();
    }

    /// A call failed.
    pub fn failed(&self, kind: CallErrorKind) {
        let [pipeline, query, function] = self.labels.each_ref().map(String::as_str);
        self.calls.with_label_values(&[pipeline, query, function, kind.name()]).inc();
    }

    /// Whether calls are made.
    pub fn breaker(&self, state: BreakerState) {
        self.breaker.set(match state {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        });
    }
}
