//! The batch's time: the only clock that a plan sees.
//!
//! `current_timestamp()` and its relatives read it while a batch runs, so that a plan made once serves every batch and a re-run of a
//! batch gives the same values.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::error::{DataFusionError, Result};

/// Time of the running batch, in microseconds since 1970. Clones share it: the one that goes into the session configuration
/// of a query's plans is set through the one that the query keeps.
#[derive(Debug, Clone, Default)]
pub struct BatchTime(Arc<AtomicI64>);

impl BatchTime {
    /// The time of the running batch, in microseconds since 1970.
    pub fn us(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }

    /// Sets the time before a batch runs.
    pub fn set_us(&self, batch_time_us: i64) {
        self.0.store(batch_time_us, Ordering::Release);
    }
}

impl ConfigExtension for BatchTime {
    const PREFIX: &'static str = "tidemill_batch";
}

impl ExtensionOptions for BatchTime {
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
