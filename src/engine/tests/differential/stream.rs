//! Random streams: rows, how they are cut into batches, and where the query is broken off.

use std::fmt;

use rand::Rng;
use rand::rngs::StdRng;

use super::question::Question;
use crate::checkpoint::storage::fault::Left;
use crate::engine::Step;
use crate::pipeline::Trigger;

pub(super) const MINUTE_US: i64 = 60_000_000;
/// 2026-01-01T00:00:00Z.
const NEW_YEAR_US: i64 = 1_767_225_600_000_000;

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Event {
    /// When it happened, in microseconds since 1970, if it says so.
    pub us: Option<i64>,
    pub key: Option<i64>,
    pub value: i64,
}

/// What the sources bring at once.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    /// Nothing is there for a while before it: time for a batch without rows.
    pub rests_before: bool,
    /// Rows per source. `None` is a source that is silent; one that brings no rows at all has moved on all the same.
    pub rows: Vec<Option<Vec<Event>>>,
}

/// What happens to the query after a step of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Break {
    pub batch: u64,
    pub after: Step,
    pub how: How,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum How {
    /// The step fails and the same process tries the batch again.
    Retry,
    /// The process is gone, and with it what the disk had not yet.
    Kill(Left),
    /// It is asked to stop, and is started again.
    Stop(Left),
}

/// A stream, and a way through it.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub cuts: Vec<Cut>,
    pub trigger: Trigger,
    pub breaks: Vec<Break>,
}

impl Stream {
    /// A stream for `question`.
    pub(super) fn draw(rng: &mut StdRng, question: &Question) -> Self {
        let sources = question.delays_ms.len();
        let shape = Shape {
            base_us: if rng.random_bool(0.4) { 0 } else { NEW_YEAR_US },
            behind: [-40, 0][rng.random_range(0..2)],
            step: [0, 4, 15][rng.random_range(0..3)],
            spread: [3, 20, 60][rng.random_range(0..3)],
            rows_max: if rng.random_bool(0.05) { 40 } else { 6 },
        };
        let mut cuts = Vec::new();
        let mut seen = Vec::new();
        for number in 0..rng.random_range(1..6_i64) {
            let mut rows: Vec<_> = (0..sources).map(|_| shape.rows(rng, number, &mut seen)).collect();
            if rows.iter().all(Option::is_none) {
                rows[0] = Some(Vec::new());
            }
            cuts.push(Cut { rests_before: rng.random_bool(0.2), rows });
        }
        if rng.random_bool(0.85) {
            // Far in the future, so that everything before it ends.
            let closing = Event { us: Some(shape.base_us + 20_000 * MINUTE_US), key: Some(1), value: 0 };
            cuts.push(Cut { rests_before: rng.random_bool(0.2), rows: vec![Some(vec![closing]); sources] });
        }
        let trigger = match rng.random_range(0..10) {
            0..6 => Trigger::AsFastAsPossible,
            6..9 => Trigger::AvailableNow,
            _ => Trigger::Once,
        };
        let breaks = match rng.random_range(0..10) {
            0..3 => 0,
            3..6 => 1,
            6..9 => rng.random_range(2..4),
            _ => 2 * cuts.len(),
        };
        let breaks = (0..breaks).map(|_| Break::draw(rng, cuts.len() as u64 + 2)).collect();
        Self { cuts, trigger, breaks }
    }
}

/// How the times of a stream's rows lie.
struct Shape {
    base_us: i64,
    /// Where the first batch lies, in minutes after the base.
    behind: i64,
    /// Minutes from batch to batch.
    step: i64,
    /// Minutes around the batch's.
    spread: i64,
    rows_max: usize,
}

impl Shape {
    fn rows(&self, rng: &mut StdRng, number: i64, seen: &mut Vec<Event>) -> Option<Vec<Event>> {
        if rng.random_bool(0.1) {
            return rng.random_bool(0.5).then(Vec::new);
        }
        let count = rng.random_range(1..=self.rows_max);
        let rows: Vec<Event> = (0..count)
            .map(|_| match seen.len() {
                1.. if rng.random_bool(0.15) => seen[rng.random_range(0..seen.len())],
                _ => {
                    let event = self.event(rng, number);
                    seen.push(event);
                    event
                }
            })
            .collect();
        Some(rows)
    }

    fn event(&self, rng: &mut StdRng, number: i64) -> Event {
        let minute = self.behind + number * self.step + rng.random_range(-self.spread..=self.spread);
        let beside_us = match rng.random_range(0..20) {
            0 => 1,
            1 => -1,
            2 => 500,
            3 => 1000,
            4 => -1000,
            _ => 0,
        };
        let us = rng.random_bool(0.95).then_some(self.base_us + minute * MINUTE_US + beside_us);
        Event { us, key: rng.random_bool(0.94).then(|| rng.random_range(0..4)), value: rng.random_range(0..100) }
    }
}

impl Break {
    fn draw(rng: &mut StdRng, batches: u64) -> Self {
        let left = match rng.random_range(0..4) {
            0 => Left::Synced,
            1 => Left::Any(rng.random()),
            _ => Left::Everything,
        };
        let after = Step::ALL[rng.random_range(0..Step::ALL.len())];
        let how = match rng.random_range(0..5) {
            0 => How::Stop(left),
            // What is decided is not tried again.
            1 | 2 if after < Step::Prepared => How::Retry,
            _ => How::Kill(left),
        };
        Self { batch: rng.random_range(0..batches), after, how }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "trigger {:?}", self.trigger)?;
        for Break { batch, after, how } in &self.breaks {
            writeln!(f, "break: {how:?} after {after} of batch {batch}")?;
        }
        for (number, cut) in self.cuts.iter().enumerate() {
            let rest = if cut.rests_before { " (after a rest)" } else { "" };
            for (source, rows) in cut.rows.iter().enumerate() {
                let Some(rows) = rows else { continue };
                let rows: Vec<_> = rows.iter().map(ToString::to_string).collect();
                writeln!(f, "cut {number}{rest}, {}: {}", super::SOURCES[source], rows.join(", "))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_null = |value: Option<String>| value.unwrap_or_else(|| "null".to_owned());
        let time = |us| chrono::DateTime::from_timestamp_micros(us).map(|time| time.format("%F %T%.f").to_string());
        let key = or_null(self.key.map(|key| key.to_string()));
        write!(f, "[{} k={key} v={}]", or_null(self.us.and_then(time)), self.value)
    }
}
