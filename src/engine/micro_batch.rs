//! A micro-batch, from its logged plan to its last sink: the table of the protocol, as code.
//!
//! Before `prepared` nothing has left the process and the batch may be thrown away; after it the batch is never executed again,
//! only committed from the staged bytes.

use std::time::Instant;

use super::Step;
use super::phases::micros;
use super::query::{Next, Query};
use super::report::BatchReport;
use crate::checkpoint::{PlannedBatch, PreparedBatch};
use crate::error::{Error, Result};
use crate::sink::CommitId;

impl Query {
    /// Executes a planned batch until its output is decided.
    pub(super) async fn run_batch(&mut self, planned: PlannedBatch) -> Result<Next> {
        let batch = planned.batch;
        self.parts.monitor.set_batch(batch.0);
        self.parts.monitor.running("Processing new data", true);
        let mut report = BatchReport::start(&planned, self.parts.clock.now_us());
        report.planned(std::mem::take(&mut self.planning), self.trigger_lag_ms.take());

        let (reading, input) = report.time("getBatch", self.read(&planned)).await?;
        self.parts.stop_after.check(batch, Step::Read)?;
        let ran = report.time("addBatch", self.parts.plan.run(input)).await;
        // A source that cannot be read is why the plan failed, if it did.
        let read = reading.finish().await?;
        report.input(&read.counts);
        report.ran(read.waits);
        let output = match ran {
            Ok(output) => output,
            Err(error) => return Err(self.located(&planned, &read, error).await),
        };
        self.parts.stop_after.check(batch, Step::Ran)?;

        let preparing = Instant::now();
        let staged = self.stage(&planned, &output, &read.malformed, &mut report).await;
        let staged = staged.map_err(|error| Error::new(error.kind(), format!("batch {batch} failed")).because(error))?;
        // The sources' own sync ran beside the computation; nothing is decided before it has ended.
        self.make_durable(&planned).await?;
        self.parts.stop_after.check(batch, Step::Staged)?;

        report.output(&output, self.parts.plan.watermarks());
        let mut tracker = self.tracker.clone();
        tracker.observe(&output.event_time.observed, planned.batch_time_us);
        let next_watermark_ms = planned.watermark_ms.max(tracker.reached_ms());
        let prepared = PreparedBatch {
            batch,
            outputs: staged,
            state: output.state.into_iter().map(|(operator, bytes)| crate::checkpoint::StateChange { operator, bytes }).collect(),
            next_watermark_ms,
            summary: report.summary(&tracker, &self.endings),
            inputs: read.checksums,
        };
        let started = Instant::now();
        self.parts.checkpoint.prepared(&prepared)?;
        report.spent("walCommit", started);
        report.phases.prepare_us = micros(preparing.elapsed());
        self.parts.plan.commit();
        self.warn_of_watermark(&planned, next_watermark_ms);
        self.tracker = tracker;
        self.parts.stop_after.check(batch, Step::Prepared)?;
        self.pending = Some(report);
        Ok(Next::Commit { planned: Box::new(planned), prepared: Box::new(prepared), ask: false })
    }

    /// Gives a decided batch to every sink that does not have it, and closes it.
    pub(super) async fn commit_batch(&mut self, planned: &PlannedBatch, prepared: &PreparedBatch, ask: bool) -> Result<Next> {
        let batch = planned.batch;
        self.parts.monitor.set_batch(batch.0);
        let started = Instant::now();
        for (position, output) in prepared.outputs.iter().enumerate() {
            if self.accepted.get(&output.sink).is_none_or(|next| output.number >= *next) {
                let id = self.commit_id(planned, &output.sink, output.number, crc32c::crc32c(&output.bytes));
                self.commit_to_sink(&id, &output.bytes, ask).await?;
            }
            if position == 0 {
                self.parts.stop_after.check(batch, Step::FirstSinkCommitted)?;
            }
        }
        self.parts.stop_after.check(batch, Step::SinksCommitted)?;
        for output in &prepared.outputs {
            let next = self.sink_numbers.entry(output.sink.clone()).or_default();
            *next = (output.number + 1).max(*next);
        }
        self.parts.checkpoint.committed(batch, serde_json::Value::Null)?;
        self.parts.stop_after.check(batch, Step::Committed)?;

        self.after(planned, prepared.next_watermark_ms);
        self.batches_run += 1;
        self.is_settled = false;
        self.parts.metrics.batch_started.set(0.0);
        self.put_out_at_us = Some(i64::MIN);
        self.publish(planned, started);
        Ok(Next::Close(Box::new(planned.clone())))
    }

    /// Tidies up behind a committed batch. A step of its own, so that a full disk here does not commit the batch again.
    pub(super) async fn close_batch(&mut self, planned: &PlannedBatch) -> Result<Next> {
        let batch = planned.batch;
        self.parts.plan.close();
        self.snapshot_if_due().await?;
        self.parts.stop_after.check(batch, Step::Snapshotted)?;
        self.release(planned).await?;
        self.parts.stop_after.check(batch, Step::Released)?;
        Ok(Next::Plan(batch.next()))
    }

    pub(super) fn commit_id(&self, planned: &PlannedBatch, sink: &str, number: u64, crc32c: u32) -> CommitId {
        CommitId {
            query_id: self.parts.checkpoint.query_id().to_owned(),
            sink: sink.to_owned(),
            number,
            batch_id: planned.batch.0,
            batch_time_us: planned.batch_time_us,
            crc32c,
            is_accepted: self.accepted.get(sink) == Some(&number),
        }
    }

    async fn commit_to_sink(&mut self, id: &CommitId, staged: &bytes::Bytes, ask: bool) -> Result<()> {
        // A sink that was taken out of the file between runs has nowhere to commit to: its staged output is dropped with a word.
        let Some(sink) = self.parts.sinks.iter_mut().chain(&mut self.parts.dead_letter).find(|sink| sink.name == id.sink) else {
            tracing::warn!(
                query = self.parts.name,
                sink = id.sink,
                batch = id.batch_id,
                "staged output of a removed sink is dropped"
            );
            return Ok(());
        };
        if ask && sink.sink.contains(id).await?.is_in(id)? {
            return Ok(());
        }
        let started = Instant::now();
        let outcome = sink.sink.commit(id, staged).await;
        self.parts.metrics.sink_commit(&id.sink, started.elapsed().as_secs_f64());
        outcome
    }
}
