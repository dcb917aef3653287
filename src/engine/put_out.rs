//! Sinks that gather commits put them out in time, also when no batch comes.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::query::{Query, RETRY_DELAYS};
use crate::checkpoint::{BatchId, PlannedBatch};
use crate::error::{Error, Result};
use crate::sink::PutOut;

impl Query {
    /// Puts out what has become due. Costs nothing before that.
    pub(super) async fn put_out_due(&mut self) -> Result<()> {
        let now_us = self.now_us();
        match self.put_out_at_us {
            Some(at_us) if at_us <= now_us => self.put_out(PutOut::Due, now_us).await,
            _ => Ok(()),
        }
    }

    /// How long nothing becomes due, at most `longest`.
    pub(super) fn until_put_out(&self, longest: Duration) -> Duration {
        match self.put_out_at_us {
            Some(at_us) => Duration::from_micros(u64::try_from(at_us.saturating_sub(self.now_us())).unwrap_or(0)).min(longest),
            None => longest,
        }
    }

    /// Puts out everything, as the query ends. What fails for a reason outside is tried again until `stop` is cancelled.
    pub(super) async fn put_out_all(&mut self, stop: &CancellationToken) -> Result<()> {
        let mut delay = RETRY_DELAYS.0;
        loop {
            let Err(error) = self.put_out(PutOut::All, self.now_us()).await else { return Ok(()) };
            if stop.is_cancelled() {
                return Err(error);
            }
            self.wait_to_retry(error, delay, stop).await?;
            delay = (delay * 2).min(RETRY_DELAYS.1);
        }
    }

    async fn put_out(&mut self, what: PutOut, now_us: i64) -> Result<()> {
        let now = PlannedBatch { batch_time_us: now_us, ..self.no_batch() };
        let names: Vec<_> = self.parts.sinks.iter().chain(&self.parts.dead_letter).map(|sink| sink.name.clone()).collect();
        let mut next_us: Option<i64> = None;
        for name in names {
            let number = self.sink_numbers.get(&name).copied().unwrap_or(0);
            let id = self.commit_id(&now, &name, number, 0);
            let sinks = self.parts.sinks.iter_mut().chain(&mut self.parts.dead_letter);
            for sink in sinks.filter(|sink| sink.name == name) {
                let asked = sink.sink.put_out(&id, what).await;
                let again_us = asked.map_err(|error| {
                    Error::new(error.kind(), format!("sink {name:?} cannot put out what it gathered")).because(error)
                })?;
                next_us = [next_us, again_us].into_iter().flatten().min();
            }
        }
        self.put_out_at_us = next_us;
        Ok(())
    }

    /// The time as batches count it: never before the last one's.
    fn now_us(&self) -> i64 {
        self.parts.clock.now_us().max(self.last_batch_time_us)
    }

    /// Stands for no batch where sinks are asked between two.
    pub(super) fn no_batch(&self) -> PlannedBatch {
        PlannedBatch {
            batch: BatchId(0),
            batch_time_us: self.last_batch_time_us,
            sources: std::collections::BTreeMap::new(),
            watermark_ms: 0,
            late_watermark_ms: 0,
            seed: 0,
        }
    }
}
