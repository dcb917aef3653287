//! How far event time has come: what each watermark of a query has reached, and what the query's is.
//!
//! A watermark promises that rows older than it are no longer waited for. Each one declared in the query's plan moves to the
//! latest event time it saw minus its delay; the query's is the smallest of them (or the largest), is used from the next batch on,
//! and never goes back. What is decided is in the checkpoint log: a batch that is run again sees the same watermark.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::plan::event_time::{Observed, Watermark};

/// Which of a query's watermarks is the query's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WatermarkPolicy {
    /// The smallest: no row of any source is late because of another source.
    #[default]
    Min,
    /// The largest: the fastest source decides, and rows of slower ones may be late.
    Max,
}

/// What a checkpoint remembers beside the query's watermark.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reached {
    /// The policy that the query was started with for the first time: a restart goes on with it.
    pub policy: WatermarkPolicy,
    /// What each watermark has reached, in milliseconds since 1970; those that have seen no row are not in it.
    pub nodes: BTreeMap<String, i64>,
    /// Those that have seen no row.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub silent: BTreeSet<String>,
}

/// The watermarks of a query as they move.
#[derive(Debug, Clone)]
pub struct Tracker {
    policy: WatermarkPolicy,
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
struct Node {
    id: String,
    delay_ms: i64,
    idle_after_us: Option<i64>,
    reached_ms: Option<i64>,
    /// When it last saw a row, or the query was started.
    seen_us: i64,
}

impl Tracker {
    /// Those that `declared` names, at the time `now_us`, where `before` says how far they had come.
    pub fn new(policy: WatermarkPolicy, declared: &[(String, Watermark)], now_us: i64, before: Option<&Reached>) -> Self {
        let node = |(id, watermark): &(String, Watermark)| Node {
            id: id.clone(),
            delay_ms: watermark.delay_ms,
            idle_after_us: watermark.idle_after_ms.map(|ms| ms.saturating_mul(1000)),
            reached_ms: before.and_then(|before| before.nodes.get(id).copied()),
            seen_us: now_us,
        };
        Self { policy: before.map_or(policy, |before| before.policy), nodes: declared.iter().map(node).collect() }
    }

    /// The policy in force.
    pub fn policy(&self) -> WatermarkPolicy {
        self.policy
    }

    /// Whether the query has a watermark at all.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Takes in what a batch saw at the time `at_us`.
    pub fn observe(&mut self, observed: &BTreeMap<String, Observed>, at_us: i64) {
        for node in &mut self.nodes {
            let Some(seen) = observed.get(&node.id).filter(|seen| seen.rows > 0) else { continue };
            let reached = seen.max_ms.saturating_sub(node.delay_ms);
            node.reached_ms = Some(node.reached_ms.map_or(reached, |before| before.max(reached)));
            node.seen_us = node.seen_us.max(at_us);
        }
    }

    /// What the query's watermark would be from what was seen, in milliseconds since 1970. One that has seen nothing counts as 0.
    pub fn reached_ms(&self) -> i64 {
        self.among(|_| true)
    }

    /// The same, without those that have been silent for too long at the time `now_us`.
    pub fn reached_without_idle_ms(&self, now_us: i64) -> i64 {
        self.among(|node| !node.is_idle(now_us))
    }

    fn among(&self, counts: impl Fn(&Node) -> bool) -> i64 {
        let reached = self.nodes.iter().filter(|node| counts(node)).map(|node| node.reached_ms.unwrap_or(0));
        let chosen = match self.policy {
            WatermarkPolicy::Min => reached.min(),
            WatermarkPolicy::Max => reached.max(),
        };
        chosen.unwrap_or(0).max(0)
    }

    /// When the next of those that are not idle at `now_us` becomes so, if nothing is seen until then.
    pub fn next_idle_us(&self, now_us: i64) -> Option<i64> {
        let waiting = self.nodes.iter().filter(|node| !node.is_idle(now_us));
        waiting.filter_map(|node| Some(node.seen_us.saturating_add(node.idle_after_us?))).min()
    }

    /// What a checkpoint must remember.
    pub fn reached(&self) -> Reached {
        let nodes = self.nodes.iter().filter_map(|node| Some((node.id.clone(), node.reached_ms?)));
        let silent = self.nodes.iter().filter(|node| node.reached_ms.is_none()).map(|node| node.id.clone());
        Reached { policy: self.policy, nodes: nodes.collect(), silent: silent.collect() }
    }
}

impl Node {
    fn is_idle(&self, now_us: i64) -> bool {
        self.idle_after_us.is_some_and(|after| now_us.saturating_sub(self.seen_us) >= after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(nodes: &[(&str, i64, Option<i64>)]) -> Vec<(String, Watermark)> {
        let watermark = |delay_ms, idle_after_ms| Watermark { column: "t".into(), delay_ms, max_future_ms: None, idle_after_ms };
        nodes.iter().map(|(id, delay, idle)| ((*id).to_owned(), watermark(*delay, *idle))).collect()
    }

    fn saw(seen: &[(&str, i64)]) -> BTreeMap<String, Observed> {
        seen.iter()
            .map(|(id, ms)| ((*id).to_owned(), Observed { max_ms: *ms, min_ms: *ms, sum_ms: (*ms).into(), rows: 1 }))
            .collect()
    }

    #[test]
    fn the_slowest_decides_and_one_without_rows_holds_all_back() {
        let mut tracker = Tracker::new(WatermarkPolicy::Min, &declared(&[("a", 10, None), ("b", 0, None)]), 0, None);
        tracker.observe(&saw(&[("a", 1000)]), 1);
        assert_eq!(tracker.reached_ms(), 0);
        tracker.observe(&saw(&[("b", 500)]), 2);
        assert_eq!(tracker.reached_ms(), 500);
        tracker.observe(&saw(&[("b", 2000), ("a", 400)]), 3);
        assert_eq!(tracker.reached_ms(), 990, "a late row moves nothing back");
    }

    #[test]
    fn the_fastest_decides_under_max() {
        let mut tracker = Tracker::new(WatermarkPolicy::Max, &declared(&[("a", 10, None), ("b", 0, None)]), 0, None);
        tracker.observe(&saw(&[("a", 1000)]), 1);
        assert_eq!(tracker.reached_ms(), 990);
    }

    #[test]
    fn event_times_before_1970_never_move_it_below_its_start() {
        let mut tracker = Tracker::new(WatermarkPolicy::Min, &declared(&[("a", 10, None)]), 0, None);
        tracker.observe(&saw(&[("a", -5000)]), 1);
        assert_eq!(tracker.reached_ms(), 0);
    }

    #[test]
    fn a_silent_one_stops_holding_back_after_its_time_and_counts_again_when_it_speaks() {
        let mut tracker = Tracker::new(WatermarkPolicy::Min, &declared(&[("a", 0, None), ("b", 0, Some(60_000))]), 0, None);
        tracker.observe(&saw(&[("a", 1000)]), 30_000_000);
        assert_eq!(tracker.next_idle_us(30_000_000), Some(60_000_000));
        assert_eq!(tracker.reached_without_idle_ms(59_999_999), 0);
        assert_eq!(tracker.reached_without_idle_ms(60_000_000), 1000);
        assert_eq!(tracker.next_idle_us(60_000_000), None);
        tracker.observe(&saw(&[("b", 100)]), 61_000_000);
        assert_eq!(tracker.reached_without_idle_ms(61_000_001), 100);
    }

    #[test]
    fn a_restart_goes_on_with_what_was_reached_and_with_the_first_policy() {
        let nodes = declared(&[("a", 0, None), ("b", 0, None)]);
        let mut tracker = Tracker::new(WatermarkPolicy::Max, &nodes, 0, None);
        tracker.observe(&saw(&[("a", 1000)]), 1);
        let text = serde_json::to_string(&tracker.reached()).unwrap();
        let before: Reached = serde_json::from_str(&text).unwrap();
        let again = Tracker::new(WatermarkPolicy::Min, &nodes, 5, Some(&before));
        assert_eq!((again.policy(), again.reached_ms()), (WatermarkPolicy::Max, 1000));
    }
}
