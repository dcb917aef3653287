//! When things happen, and in what order.
//!
//! A query is a loop over three steps: *plan* a batch, *run* it until its output is decided, *commit* it to the sinks
//! (`micro_batch`). Each step is safe to repeat and safe to die in; which one comes first after a start is what the checkpoint
//! says. Only this folder knows the order of the protocol, and only it spawns tasks.

mod micro_batch;
mod feed;
mod locate;
mod reading;
mod snapshots;
mod staging;
mod planning;
mod query;
mod put_out;
mod report;
mod connect;
mod tables;
pub mod start;
mod process;
mod trigger;
pub mod control;
pub mod glance;
pub mod phases;
pub mod progress;
pub mod summary;
pub mod status;
pub(crate) mod measures;
pub mod way_out;

use std::fmt;
use std::sync::Arc;

pub use feed::Decoders;
pub use query::{Query, QueryParts, QuerySink, QuerySource, SourceRows};

use crate::checkpoint::BatchId;
use crate::error::{Error, Result};

/// The points after which a batch may be cut off without losing or repeating a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Ranges and clock are in the log (not yet synced).
    Planned,
    /// The range was read and decoded.
    Read,
    /// The plan ran; state changes are on an overlay.
    Ran,
    /// The output is encoded per sink; the sources are durable up to the batch's end.
    Staged,
    /// The batch is decided and will never be executed again.
    Prepared,
    /// The first sink has it.
    FirstSinkCommitted,
    /// Every sink has it.
    SinksCommitted,
    /// The log says so (not yet synced).
    Committed,
    /// The snapshot that was ready is in the log, and one that was due is being written.
    Snapshotted,
    /// Sources and log have forgotten what is not needed any more.
    Released,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::Planned,
        Self::Read,
        Self::Ran,
        Self::Staged,
        Self::Prepared,
        Self::FirstSinkCommitted,
        Self::SinksCommitted,
        Self::Committed,
        Self::Snapshotted,
        Self::Released,
    ];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Asked after each step; `true` makes the query stop there as if the process had died. For tests of recovery.
#[derive(Clone, Default)]
pub struct StopAfter(Option<Arc<dyn Fn(BatchId, Step) -> bool + Send + Sync>>);

impl StopAfter {
    /// Stops where `stop` says so.
    pub fn when(stop: impl Fn(BatchId, Step) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(stop)))
    }

    pub(crate) fn check(&self, batch: BatchId, step: Step) -> Result<()> {
        match &self.0 {
            Some(stop) if stop(batch, step) => Err(Error::internal(format!("stopped after step {step} of batch {batch}"))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
