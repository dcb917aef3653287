//! Lines at a set rate.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Options, Transactions};

/// Bytes written at once when nothing limits the rate.
const BURST_BYTES: usize = 256 * 1024;
/// Longest sleep, so that a request to stop is seen.
const NAP: Duration = Duration::from_millis(50);
/// Lines due within this time are written together.
const TICK: Duration = Duration::from_millis(5);

/// When which line is due.
pub(crate) struct Pace {
    rate: f64,
    started: Instant,
    /// Lines in all.
    pub(crate) count: u64,
}

impl Pace {
    pub(crate) fn new(options: &Options) -> Self {
        Self { rate: options.rate, started: Instant::now(), count: options.count.unwrap_or(u64::MAX) }
    }

    /// How many lines should have been written by now.
    pub(crate) fn due(&self) -> u64 {
        if self.rate == 0.0 { self.count } else { due_after(self.started.elapsed() + TICK, self.rate).min(self.count) }
    }

    /// How long to wait once so many are, but not for longer than until a request to stop should be seen.
    pub(crate) fn pause(&self, written: u64) -> Duration {
        let next = if self.rate == 0.0 { Duration::ZERO } else { Duration::from_secs_f64(written as f64 / self.rate) };
        next.saturating_sub(self.started.elapsed()).min(NAP)
    }
}

/// Writes the stream of `options` to `out` until its count is reached or `stop` says so. An error is the writer's: its reader
/// has gone.
pub fn write_to(out: &mut impl Write, options: &Options, stop: &(dyn Fn() -> bool + Sync)) -> io::Result<u64> {
    let mut stream = Transactions::new(options);
    let mut buffer = Vec::with_capacity(BURST_BYTES + 1024);
    let pace = Pace::new(options);
    let mut written = 0;
    while written < pace.count && !stop() {
        let due = pace.due();
        while written < due && buffer.len() < BURST_BYTES {
            stream.write_next(&mut buffer);
            written += 1;
        }
        out.write_all(&buffer)?;
        buffer.clear();
        if written >= due && written < pace.count {
            out.flush()?;
            thread::sleep(pace.pause(written));
        }
    }
    out.flush()?;
    Ok(written)
}

/// How many lines should have been written after `elapsed`: the first one at once.
fn due_after(elapsed: Duration, rate: f64) -> u64 {
    (elapsed.as_secs_f64() * rate) as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_exact() {
        let mut out = Vec::new();
        let options = Options { rate: 0.0, count: Some(12_345), ..Options::default() };
        assert_eq!(write_to(&mut out, &options, &|| false).unwrap(), 12_345);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 12_345);
    }

    #[test]
    fn a_stop_ends_an_endless_stream() {
        let mut out = Vec::new();
        let written = write_to(&mut out, &Options { rate: 1.0, ..Options::default() }, &|| true).unwrap();
        assert_eq!(written, 0);
    }

    #[test]
    fn lines_are_due_in_proportion_to_time() {
        assert_eq!(due_after(Duration::ZERO, 5.0), 1);
        assert_eq!(due_after(Duration::from_secs(2), 5.0), 11);
    }
}
