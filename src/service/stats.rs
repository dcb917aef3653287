//! What a listener counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::metrics::{Metrics, signed};

/// Statuses that refused requests are counted by; any other is `other`.
pub(crate) const STATUSES: [u16; 14] = [400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 431, 500, 503];

/// Counters and gauges of one listener since the process began; the metrics read them.
#[derive(Debug, Default)]
pub struct ListenerStats {
    /// Connections open now.
    pub open: AtomicU64,
    /// Connections turned away: too many, or from an address that is not allowed.
    pub turned_away: AtomicU64,
    /// Times that tokens or certificates were read again because their files had changed.
    pub renewals: AtomicU64,
    /// Whether files have changed and cannot be used, so that what was read before is still in force.
    pub is_stale: AtomicBool,
    refused: [AtomicU64; STATUSES.len()],
    refused_otherwise: AtomicU64,
}

impl ListenerStats {
    /// A counter's value.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Counts a request that was answered with `status`, if that refuses it.
    pub(crate) fn answered(&self, status: u16) {
        if status < 400 {
            return;
        }
        let known = STATUSES.iter().position(|known| *known == status);
        known.map_or(&self.refused_otherwise, |at| &self.refused[at]).fetch_add(1, Ordering::Relaxed);
    }

    /// Requests refused so far by status; the last is `other`.
    pub fn refused(&self) -> impl Iterator<Item = (String, u64)> {
        let known = STATUSES.iter().zip(&self.refused).map(|(status, count)| (status.to_string(), Self::get(count)));
        known.chain([("other".to_owned(), Self::get(&self.refused_otherwise))])
    }
}

impl Metrics {
    /// Shows the counters of what listens as `listener`, as they are whenever metrics are asked for and until it is closed.
    pub fn add_listener(&self, pipeline: &str, listener: &str, stats: Arc<ListenerStats>) {
        let (series, labels) = (&self.listeners, [pipeline, listener]);
        let [open, stale] = [&series.open, &series.stale].map(|gauges| gauges.with_label_values(&labels));
        let [turned_away, renewals] = [&series.turned_away, &series.renewals].map(|counters| counters.with_label_values(&labels));
        let of_status = |(status, _): (String, u64)| series.refused.with_label_values(&[pipeline, listener, &status]);
        let counters: Vec<_> = stats.refused().map(of_status).chain([turned_away, renewals]).collect();
        let before: Vec<_> = counters.iter().map(|_| AtomicU64::new(0)).collect();
        self.before_each_scrape(move || {
            open.set(signed(ListenerStats::get(&stats.open)));
            stale.set(i64::from(stats.is_stale.load(Ordering::Relaxed)));
            let others = [&stats.turned_away, &stats.renewals].map(ListenerStats::get);
            let counted = stats.refused().map(|(_, count)| count).chain(others);
            for ((counter, before), now) in counters.iter().zip(&before).zip(counted) {
                // What is opened anew counts from zero; its series goes on.
                counter.inc_by(now.saturating_sub(before.swap(now, Ordering::Relaxed)));
            }
            Arc::strong_count(&stats) > 1
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_a_bounded_number_of_statuses() {
        let stats = ListenerStats::default();
        for status in [200, 202, 304, 401, 401, 418, 599, 503] {
            stats.answered(status);
        }
        let counted: Vec<_> = stats.refused().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("401".to_owned(), 2), ("503".to_owned(), 1), ("other".to_owned(), 2)]);
        assert_eq!(stats.refused().count(), STATUSES.len() + 1);
    }

    #[test]
    fn what_is_opened_anew_goes_on_with_its_series() {
        let metrics = Metrics::new().unwrap();
        for opening in 1..=2 {
            let stats = Arc::new(ListenerStats::default());
            metrics.add_listener("p", "source.s", stats.clone());
            stats.answered(401);
            stats.open.store(3, Ordering::Relaxed);
            let text = metrics.render().unwrap();
            assert!(text.contains("tidemill_listener_connections{listener=\"source.s\",pipeline=\"p\"} 3"), "{text}");
            let refused = format!("requests_refused_total{{listener=\"source.s\",pipeline=\"p\",status=\"401\"}} {opening}");
            assert!(text.contains(&refused), "{text}");
            stats.open.store(0, Ordering::Relaxed);
            drop(stats);
            assert!(metrics.render().unwrap().contains("tidemill_listener_connections{listener=\"source.s\",pipeline=\"p\"} 0"));
        }
    }
}
