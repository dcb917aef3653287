//! Where a batch's time goes.
//!
//! A batch reads, decodes and computes at once, on several threads. What is told here is what its own clock showed: the time for which
//! the plan waited for bytes is *read*, the time for which it waited for rows of bytes that were there is *decode*, and the rest is
//! *run*. So the phases add up to the batch's time, and the longest of them is the one worth making shorter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The phases of one batch, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Phases {
    /// Asking the sources how far they may be read, and writing it down.
    pub plan_us: u64,
    /// Waiting for bytes.
    pub read_us: u64,
    /// Waiting for bytes to become rows.
    pub decode_us: u64,
    /// Computing.
    pub run_us: u64,
    /// Encoding the output and deciding it.
    pub prepare_us: u64,
    /// Giving the output to the sinks and noting it.
    pub commit_us: u64,
}

impl Phases {
    /// Each with its name.
    pub fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("plan", self.plan_us),
            ("read", self.read_us),
            ("decode", self.decode_us),
            ("run", self.run_us),
            ("prepare", self.prepare_us),
            ("commit", self.commit_us),
        ]
    }

    /// Divides the `elapsed` time of reading and computing between the phases that went on at once.
    pub(super) fn divide(&mut self, elapsed: Duration, waits: Waits) {
        let elapsed_us = micros(elapsed);
        // Several sources may have been waited for at the same time.
        self.read_us = micros(waits.read).min(elapsed_us);
        self.decode_us = micros(waits.decode).min(elapsed_us - self.read_us);
        self.run_us = elapsed_us - self.read_us - self.decode_us;
    }
}

/// How long a batch waited for its sources.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waits {
    pub(super) read: Duration,
    pub(super) decode: Duration,
    /// For parts, which are read and decoded elsewhere.
    pub(super) parts: Duration,
}

impl Waits {
    /// The wait for parts is divided as their own work was.
    pub(super) fn with_parts(self, work: &PartWork) -> Self {
        let (read_ns, decode_ns) = (work.read_ns.load(Ordering::Relaxed), work.decode_ns.load(Ordering::Relaxed));
        let share = if read_ns == 0 { 0.0 } else { read_ns as f64 / (read_ns as f64 + decode_ns as f64) };
        let read = self.parts.mul_f64(share);
        Self { read: self.read + read, decode: self.decode + self.parts.saturating_sub(read), parts: Duration::ZERO }
    }

    /// Adds those of another source.
    pub(super) fn add(&mut self, other: Self) {
        self.read += other.read;
        self.decode += other.decode;
        self.parts += other.parts;
    }
}

/// How long the parts of a source were read and decoded, summed over threads.
#[derive(Debug, Default)]
pub(super) struct PartWork {
    read_ns: AtomicU64,
    decode_ns: AtomicU64,
}

impl PartWork {
    pub(super) fn add(&self, read: Duration, decode: Duration) {
        self.read_ns.fetch_add(nanos(read), Ordering::Relaxed);
        self.decode_ns.fetch_add(nanos(decode), Ordering::Relaxed);
    }
}

/// Whole microseconds.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_add_up_to_the_time_there_was() {
        let work = PartWork::default();
        work.add(Duration::from_millis(30), Duration::from_millis(10));
        let ms = Duration::from_millis;
        let waits = Waits { read: ms(5), decode: ms(1), parts: ms(8) }.with_parts(&work);
        assert_eq!((waits.read, waits.decode, waits.parts), (ms(11), ms(3), ms(0)));
        let mut phases = Phases::default();
        phases.divide(ms(20), waits);
        assert_eq!((phases.read_us, phases.decode_us, phases.run_us), (11_000, 3_000, 6_000));
        // Two sources that were waited for at once.
        phases.divide(ms(12), waits);
        assert_eq!((phases.read_us, phases.decode_us, phases.run_us), (11_000, 1_000, 0));
        phases.divide(ms(4), waits);
        assert_eq!((phases.read_us, phases.decode_us, phases.run_us), (4_000, 0, 0));
    }
}
