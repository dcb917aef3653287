//! The first step of a batch: wait for the trigger, ask the sources how far they may be read, and write it down.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::select_all;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Step;
use super::query::{Next, Query};
use super::tables::Look;
use super::trigger::{is_bounded, next_tick_us};
use crate::checkpoint::{BatchId, PlannedBatch};
use crate::error::Result;
use crate::pipeline::Trigger;
use crate::source::{OffsetRange, ReadLimit};

/// Silence after which what is committed is made durable without waiting for the next batch.
const IDLE: Duration = Duration::from_secs(1);
/// How often an idle query says so in its progress (Spark's `noDataProgressEventInterval`).
const IDLE_PROGRESS: Duration = Duration::from_secs(10);

impl Query {
    /// Plans `batch` as soon as its trigger fires and there is something to do.
    pub(super) async fn plan_batch(&mut self, batch: BatchId, stop: &CancellationToken) -> Result<Next> {
        if self.parts.trigger == Trigger::Once && self.batches_run > 0 {
            return Ok(Next::End);
        }
        self.wait_for_tick(stop).await?;
        loop {
            self.wait_while_held(stop).await?;
            self.put_out_due().await?;
            if stop.is_cancelled() {
                return Ok(Next::End);
            }
            self.parts.monitor.set_batch(batch.0);
            self.parts.monitor.running("Getting offsets", false);
            let now_us = self.parts.clock.now_us();
            let looked = Instant::now();
            let sources = self.ranges(batch).await?;
            // The sources answer, though there may be nothing to do for a while.
            self.parts.metrics.failed_tries.set(0);
            let is_first_and_empty = batch == BatchId::FIRST && self.parts.sources.iter().any(|source| source.starts_empty);
            let batch_time_us = now_us.max(self.last_batch_time_us);
            // What is decided here about sources that are silent goes to the log with the plan.
            let watermark_ms = self.watermark_ms.max(self.tracker.reached_without_idle_ms(batch_time_us));
            if is_first_and_empty || sources.values().any(|range| range.start != range.end) {
                self.refresh_tables(stop).await;
                return self.log_plan(batch, batch_time_us, watermark_ms, sources, looked);
            }
            if self.parts.trigger != Trigger::Once && watermark_ms > self.late_watermark_ms && self.parts.plan.expires() {
                self.parts.monitor.running("No new data but cleaning up state", true);
                self.refresh_tables(stop).await;
                return self.log_plan(batch, batch_time_us, watermark_ms, sources, looked);
            }
            if is_bounded(self.parts.trigger) {
                return Ok(Next::End);
            }
            let idle_since_us = *self.idle_since_us.get_or_insert(now_us);
            if now_us - idle_since_us >= i64::try_from(IDLE_PROGRESS.as_micros()).unwrap_or(i64::MAX) {
                self.publish_idle(batch, now_us, sources, looked);
                self.idle_since_us = Some(now_us);
            }
            self.parts.monitor.running("Waiting for data to arrive", false);
            self.wait_for_data(now_us, stop).await?;
        }
    }

    /// Looks whether the files of static tables have changed; the batch that is being planned is the first to see their new rows. Never
    /// fails: what cannot be read leaves the rows as they were.
    async fn refresh_tables(&mut self, stop: &CancellationToken) {
        if self.parts.tables.is_empty() {
            return;
        }
        let (query, metrics, now_us) = (&self.parts.name, &self.parts.metrics, self.parts.clock.now_us());
        for table in &self.parts.tables {
            let name = table.name();
            let looking = table.clone();
            // A file system may take its time: neither other queries nor a stop wait for it.
            let looked = tokio::select! {
                looked = tokio::task::spawn_blocking(move || looking.look(now_us)) => looked,
                () = stop.cancelled() => return,
            };
            match looked {
                Ok(Look::Same) => {}
                Ok(Look::Replaced(rows)) => {
                    info!(query, table = name, rows, "table read again");
                    metrics.table_refreshed(name);
                }
                Ok(Look::Refused { reason, is_known }) => {
                    if !is_known {
                        warn!(query, table = name, reason, "table not read again; its rows stay as they were");
                    }
                    metrics.table_refused(name);
                }
                Err(panic) => warn!(query, table = name, error = %panic, "table not looked at"),
            }
        }
        self.parts.plan.use_latest_tables();
    }

    async fn ranges(&mut self, batch: BatchId) -> Result<BTreeMap<String, OffsetRange>> {
        let mut ranges = BTreeMap::new();
        for source in &mut self.parts.sources {
            let start = self.positions.get(&source.name).cloned().expect("every source has a position from `open` on");
            let limit = if self.parts.trigger == Trigger::Once { ReadLimit::default() } else { source.limit };
            let end = if batch == BatchId::FIRST && source.starts_empty {
                start.clone()
            } else {
                source.source.latest_offset(&start, &limit).await?
            };
            ranges.insert(source.name.clone(), OffsetRange { start, end });
        }
        Ok(ranges)
    }

    fn log_plan(
        &mut self,
        batch: BatchId,
        batch_time_us: i64,
        watermark_ms: i64,
        sources: BTreeMap<String, OffsetRange>,
        looked: Instant,
    ) -> Result<Next> {
        self.idle_since_us = None;
        self.parts.monitor.running("Writing offsets to log", true);
        let planned = PlannedBatch {
            batch,
            batch_time_us,
            sources,
            watermark_ms,
            late_watermark_ms: self.late_watermark_ms,
            seed: twox_hash::XxHash3_64::oneshot_with_seed(batch.0, self.parts.checkpoint.query_id().as_bytes()),
        };
        // Logged before anything is read: a crash from here on must replay exactly these ranges.
        self.parts.checkpoint.planned(&planned)?;
        self.planning = looked.elapsed();
        self.parts.stop_after.check(batch, Step::Planned)?;
        Ok(Next::Run(planned))
    }

    /// As long as the query is asked to pause, nothing is planned. What is committed becomes durable, as in any quiet moment, and
    /// the sources keep what comes next.
    async fn wait_while_held(&mut self, stop: &CancellationToken) -> Result<()> {
        if !self.parts.monitor.is_held() {
            return Ok(());
        }
        self.settle().await?;
        self.parts.monitor.holding();
        info!(query = self.parts.name, "query paused by request");
        loop {
            self.put_out_due().await?;
            tokio::select! {
                () = self.parts.monitor.until_held(false) => info!(query = self.parts.name, "query resumed by request"),
                () = stop.cancelled() => {}
                () = tokio::time::sleep(self.until_put_out(IDLE_PROGRESS)) => continue,
            }
            break;
        }
        self.idle_since_us = None;
        Ok(())
    }

    /// With an interval, the next aligned tick after the last batch's start; at once if that is past.
    async fn wait_for_tick(&mut self, stop: &CancellationToken) -> Result<()> {
        let (Trigger::Interval(interval), Some(started_us)) = (self.parts.trigger, self.previous_trigger_us) else {
            return Ok(());
        };
        let tick_us = next_tick_us(started_us, interval);
        let now_us = self.parts.clock.now_us();
        self.trigger_lag_ms = Some(0);
        if now_us >= tick_us {
            let overran_ms = (now_us - tick_us) / 1000;
            self.trigger_lag_ms = Some(u64::try_from(overran_ms).unwrap_or(0));
            warn!(query = self.parts.name, overran_ms, "current batch is falling behind its trigger interval");
            return Ok(());
        }
        self.parts.monitor.running("Waiting for next trigger", false);
        self.sleep_until(tick_us, interval, stop).await
    }

    /// With an interval, the next tick; otherwise until a source has something.
    async fn wait_for_data(&mut self, now_us: i64, stop: &CancellationToken) -> Result<()> {
        if let Trigger::Interval(interval) = self.parts.trigger {
            self.settle().await?;
            return self.sleep_until(next_tick_us(now_us, interval), interval, stop).await;
        }
        if !self.is_settled {
            if self.anything_new(IDLE, stop).await {
                return Ok(());
            }
            self.settle().await?;
            self.put_out_due().await?;
        }
        // A source that falls silent may let state expire without any row.
        let until_idle = self.tracker.next_idle_us(now_us).filter(|_| self.parts.plan.expires());
        let patience = until_idle
            .map_or(IDLE_PROGRESS, |at_us| Duration::from_micros(u64::try_from(at_us - now_us).unwrap_or(0)).min(IDLE_PROGRESS));
        self.anything_new(self.until_put_out(patience), stop).await;
        Ok(())
    }

    /// Waits until a source may have something, at most `patience`; whether to look now.
    async fn anything_new(&mut self, patience: Duration, stop: &CancellationToken) -> bool {
        let mut waits = Vec::new();
        for source in &mut self.parts.sources {
            let position = self.positions.get(&source.name).cloned().expect("every source has a position from `open` on");
            waits.push(Box::pin(async move { source.source.changed(&position).await }));
        }
        if waits.is_empty() {
            stop.cancelled().await;
            return true;
        }
        tokio::select! {
            _ = select_all(waits) => true,
            () = stop.cancelled() => true,
            () = self.parts.monitor.until_held(true) => true,
            () = tokio::time::sleep(patience) => false,
        }
    }

    /// In a quiet moment: what is committed becomes durable without waiting for the next batch, and the sources may let go of it.
    async fn settle(&mut self) -> Result<()> {
        if !self.is_settled {
            self.log_snapshot().await?;
            self.parts.checkpoint.sync()?;
            self.release_all().await?;
            self.is_settled = true;
        }
        Ok(())
    }

    /// At most `longest`, so that a clock that was set back does not suspend the query.
    // `&mut`, as a decoder may be sent to another thread but not shared between two.
    async fn sleep_until(&mut self, at_us: i64, longest: Duration, stop: &CancellationToken) -> Result<()> {
        loop {
            self.put_out_due().await?;
            let wait = Duration::from_micros(u64::try_from(at_us - self.parts.clock.now_us()).unwrap_or(0)).min(longest);
            let until_put_out = self.until_put_out(wait);
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.parts.monitor.until_held(true) => {}
                () = tokio::time::sleep(until_put_out) => {
                    if until_put_out < wait {
                        continue;
                    }
                }
            }
            return Ok(());
        }
    }
}
