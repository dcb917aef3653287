//! The live line at the bottom of a terminal: rate, batch and lag of each query.
//!
//! The line is written without a line end and erased before anything else is printed, so that tables and logs stay whole.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill::engine::status::{QueryMonitor, QueryState};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_millis(250);

/// The line, or nothing where standard error is no terminal; clones share it.
#[derive(Debug, Clone)]
pub(super) struct StatusLine(Option<Arc<Mutex<bool>>>);

impl StatusLine {
    /// A line, unless `quiet` or standard error is no terminal.
    pub(super) fn new(quiet: bool) -> Self {
        Self((!quiet && std::io::stderr().is_terminal()).then(Default::default))
    }

    /// Standard error for logs.
    pub(super) fn stderr(&self) -> Through<std::io::Stderr> {
        Through { line: self.clone(), out: std::io::stderr() }
    }

    /// Standard output for the console sink.
    pub(super) fn stdout(&self) -> Through<std::io::Stdout> {
        Through { line: self.clone(), out: std::io::stdout() }
    }

    /// Redraws the line until `stop`, then erases it.
    pub(super) async fn show(self, queries: Vec<QueryMonitor>, stop: CancellationToken) {
        if self.0.is_none() {
            return;
        }
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => self.draw(&text(&queries)),
            }
        }
        self.erase();
    }

    fn draw(&self, text: &str) {
        let Some(drawn) = &self.0 else { return };
        let mut drawn = drawn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A line that wraps could not be erased.
        let columns = terminal_size::terminal_size_of(std::io::stderr()).map_or(80, |(width, _)| usize::from(width.0));
        let text: String = text.chars().take(columns.saturating_sub(1)).collect();
        let _ = write!(std::io::stderr(), "\r\x1b[2K{text}\r");
        *drawn = true;
    }

    fn erase(&self) {
        let Some(drawn) = &self.0 else { return };
        let mut drawn = drawn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if std::mem::take(&mut *drawn) {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

/// A stream that erases the line before it writes.
pub(super) struct Through<W> {
    line: StatusLine,
    out: W,
}

impl<W: Write> Write for Through<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.line.erase();
        self.out.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

fn text(queries: &[QueryMonitor]) -> String {
    let parts: Vec<_> = queries
        .iter()
        .map(|query| {
            let status = query.status();
            match (status.state, query.progress().last()) {
                (QueryState::Running, Some(last)) => format!(
                    "{}: batch {}, {:.0} rows/s, {} ms a batch",
                    status.name, last.batch_id, last.input_rows_per_second, last.batch_duration
                ),
                (QueryState::Running, None) => format!("{}: {}", status.name, status.message.to_lowercase()),
                (QueryState::Starting, _) => format!("{}: starting", status.name),
                (QueryState::Paused, _) => match status.error {
                    Some(error) => format!("{}: paused ({error})", status.name),
                    None => format!("{}: paused", status.name),
                },
                (QueryState::Stopped, _) => format!("{}: stopped", status.name),
                (QueryState::Failed, _) => format!("{}: failed", status.name),
            }
        })
        .collect();
    parts.join(" | ")
}
