//! Joins of two streams: the random question, and the answer by looking at every pair of rows.

use std::fmt;

use rand::Rng;
use rand::rngs::StdRng;

use super::model::{Arrived, ModelBatch};
use super::stream::{Event, MINUTE_US};

/// Which rows without a partner come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
    Semi,
}

/// A join of `e` and `f` by key, with bounds between their times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Join {
    pub kind: JoinKind,
    /// A row of `f` may be so much older than its partner.
    before_us: i64,
    /// Or so much younger.
    after_us: i64,
    /// Only pairs whose values are in order.
    by_value: bool,
}

/// What a join puts out and keeps.
#[derive(Debug, Default)]
pub(super) struct Joined {
    pub lines: Vec<String>,
    pub rows_late: usize,
    /// Rows of both sides that are left in the end.
    pub kept: usize,
}

impl Join {
    pub(super) fn draw(rng: &mut StdRng) -> Self {
        const KINDS: [JoinKind; 5] = [JoinKind::Inner, JoinKind::Left, JoinKind::Right, JoinKind::Full, JoinKind::Semi];
        const MINUTES: [i64; 4] = [0, 3, 10, 40];
        Self {
            kind: KINDS[rng.random_range(0..KINDS.len())],
            before_us: MINUTES[rng.random_range(0..MINUTES.len())] * MINUTE_US,
            after_us: MINUTES[rng.random_range(0..MINUTES.len())] * MINUTE_US,
            by_value: rng.random_bool(0.3),
        }
    }

    /// The columns that the join puts out.
    pub(super) fn columns(self) -> &'static str {
        match self.kind {
            JoinKind::Semi => "unix_micros(e.ts) AS t, e.k AS k, e.v AS v",
            _ => "unix_micros(e.ts) AS t, e.k AS k, e.v AS v, unix_micros(f.ts) AS u, f.k AS l, f.v AS w",
        }
    }

    /// Whether the rows of a source come out without a partner; of another source only rows that can have one are looked at.
    pub(super) fn is_outer(self, source: usize) -> bool {
        match self.kind {
            JoinKind::Full => true,
            JoinKind::Left => source == 0,
            JoinKind::Right => source == 1,
            JoinKind::Inner | JoinKind::Semi => false,
        }
    }

    /// What comes out of these rows of `batches`.
    pub(super) fn of(self, arrived: &[Arrived], batches: &[ModelBatch]) -> Joined {
        let last_us = batches.last().map_or(0, |batch| batch.watermark_ms * 1000);
        let known = |row: &&Arrived| self.is_outer(row.source) || (row.event.us.is_some() && row.event.key.is_some());
        let (late, in_time): (Vec<&Arrived>, Vec<&Arrived>) =
            arrived.iter().filter(known).partition(|row| row.event.us.is_some_and(|us| us <= row.late_us));
        let mut joined = Joined { rows_late: late.len(), ..Joined::default() };
        let (left, right): (Vec<&Arrived>, Vec<&Arrived>) = in_time.into_iter().partition(|row| row.source == 0);
        for row in &left {
            let is_kept = |other: &Arrived| {
                // A semi join takes the rows of `f` first and keeps none that is over in its own batch: that is how Spark does it.
                let ends_at_once = is_over(&other.event, self.before_us, batches[other.batch].watermark_ms * 1000);
                self.kind != JoinKind::Semi || other.batch != row.batch || !ends_at_once
            };
            let partners = right.iter().filter(|other| self.matches(&row.event, &other.event) && is_kept(other));
            let partners: Vec<_> = partners.collect();
            match self.kind {
                JoinKind::Semi if !partners.is_empty() => joined.lines.push(cells(Some(&row.event))),
                JoinKind::Semi => {}
                _ => joined.lines.extend(partners.iter().map(|other| pair(Some(&row.event), Some(&other.event)))),
            }
            let is_over = is_over(&row.event, self.after_us, last_us);
            let has_come_out = self.kind == JoinKind::Semi && !partners.is_empty();
            joined.kept += usize::from(!is_over && !has_come_out);
            if is_over && partners.is_empty() && self.is_outer(0) {
                joined.lines.push(pair(Some(&row.event), None));
            }
        }
        for row in &right {
            let is_over = is_over(&row.event, self.before_us, last_us);
            joined.kept += usize::from(!is_over);
            if is_over && self.is_outer(1) && !left.iter().any(|other| self.matches(&other.event, &row.event)) {
                joined.lines.push(pair(None, Some(&row.event)));
            }
        }
        joined
    }

    fn matches(self, left: &Event, right: &Event) -> bool {
        let (Some(at), Some(other), true) = (left.us, right.us, left.key.is_some() && left.key == right.key) else {
            return false;
        };
        (at - self.before_us..=at + self.after_us).contains(&other) && (!self.by_value || left.value <= right.value)
    }
}

/// A row is over a millisecond after the last instant that its partner may have.
fn is_over(event: &Event, until_us: i64, watermark_us: i64) -> bool {
    event.us.is_some_and(|us| us + until_us + 1000 <= watermark_us)
}

fn pair(left: Option<&Event>, right: Option<&Event>) -> String {
    format!("{} {}", cells(left), cells(right))
}

fn cells(event: Option<&Event>) -> String {
    let Some(Event { us, key, value }) = event else { return "null null null".to_owned() };
    let or_null = |number: &Option<i64>| number.map_or_else(|| "null".to_owned(), |number| number.to_string());
    format!("{} {} {value}", or_null(us), or_null(key))
}

impl fmt::Display for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = (self.before_us / MINUTE_US, self.after_us / MINUTE_US);
        write!(f, "e.k = f.k AND f.ts >= e.ts - INTERVAL {before} MINUTES AND f.ts <= e.ts + INTERVAL {after} MINUTES")?;
        if self.by_value { f.write_str(" AND e.v <= f.v") } else { Ok(()) }
    }
}

impl JoinKind {
    pub(super) fn sql(self) -> &'static str {
        match self {
            Self::Inner => "JOIN",
            Self::Left => "LEFT JOIN",
            Self::Right => "RIGHT JOIN",
            Self::Full => "FULL JOIN",
            Self::Semi => "LEFT SEMI JOIN",
        }
    }
}
