//! What a plan may know of the batch that runs: its time, which is the only clock, and the seed of all that is random.
//!
//! `current_timestamp()`, `rand()` and their relatives read it while a batch runs, so that a plan made once serves every batch and a
//! re-run of a batch gives the same values. Between batches there is nothing to read: who computes an expression while it is planned
//! gets an error.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::error::{DataFusionError, Result};

/// The running batch of a plan. Clones share it: the one that goes into the session configuration of a query's plans is set
/// through the one that the query keeps.
#[derive(Debug, Clone, Default)]
pub struct RunningBatch(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    runs: u64,
    moment: Option<Moment>,
    /// How many seeds were given out.
    seeds: u64,
}

/// What is the same in each run of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// In microseconds since 1970.
    pub time_us: i64,
    /// Seed of anything random.
    pub seed: u64,
}

/// A batch runs for as long as it is held.
#[derive(Debug)]
#[must_use = "the batch ends when it is dropped"]
pub struct Running(RunningBatch);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.state().moment = None;
    }
}

impl RunningBatch {
    /// Begins a run.
    pub fn begin(&self, moment: Moment) -> Running {
        let mut state = self.state();
        *state = State { runs: state.runs + 1, moment: Some(moment), seeds: 0 };
        Running(self.clone())
    }

    /// Which run this is, if one is under way, and what it knows.
    pub fn run(&self) -> Option<(u64, Moment)> {
        let state = self.state();
        state.moment.map(|moment| (state.runs, moment))
    }

    /// A seed that no other caller in this run is given. The same callers in the same order get the same seeds in each run of a batch.
    pub fn next_seed(&self) -> Option<u64> {
        let mut state = self.state();
        state.seeds += 1;
        let number = state.seeds;
        state.moment.map(|moment| twox_hash::XxHash3_64::oneshot_with_seed(moment.seed, &number.to_le_bytes()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConfigExtension for RunningBatch {
    const PREFIX: &'static str = "tidemill_batch";
}

impl ExtensionOptions for RunningBatch {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _: &str) -> Result<()> {
        Err(DataFusionError::Configuration(format!("{key} is not a setting")))
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}
