//! Reading a planned range: each source's rows flow into the plan while they are decoded, and what was read is summed up behind it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::Mutex;

use super::feed::{Feed, SourceCounts};
use super::phases::Waits;
use super::query::{Query, QuerySource, SourceRows};
use crate::checkpoint::{InputChecksum, PlannedBatch};
use crate::error::Result;
use crate::format::Malformed;
use crate::plan::{BatchInput, InputRows};
use crate::source::OffsetRange;

/// How many batches' worth of log and staged output is kept behind the newest.
const BATCHES_RETAINED: u64 = 10;

/// The sources of one batch being read.
pub(super) struct Reading(BTreeMap<String, Arc<Mutex<Feed>>>);

/// What was read for one batch.
#[derive(Default)]
pub(super) struct BatchRead {
    pub(super) counts: BTreeMap<String, SourceCounts>,
    pub(super) waits: Waits,
    pub(super) malformed: Vec<(String, Vec<Malformed>)>,
    pub(super) checksums: BTreeMap<String, InputChecksum>,
}

impl Reading {
    /// Reads to the end what the plan has not asked for, and sums up. Fails if reading has failed anywhere.
    pub(super) async fn finish(&self) -> Result<BatchRead> {
        let mut read = BatchRead::default();
        for (name, feed) in &self.0 {
            let one = feed.lock().await.finish().await?;
            read.counts.insert(name.clone(), one.counts);
            read.waits.add(one.waits);
            read.checksums.insert(name.clone(), one.checksum);
            if !one.malformed.is_empty() {
                read.malformed.push((name.clone(), one.malformed));
            }
        }
        Ok(read)
    }
}

/// Begins to read one source's range.
pub(super) async fn open_feed(source: &mut QuerySource, rows: SourceRows, range: &OffsetRange) -> Result<Feed> {
    let chunks = if range.start == range.end { stream::empty().boxed() } else { source.source.read(range).await? };
    Ok(Feed::new(&source.name, rows, chunks))
}

/// The rows of a feed, for a plan that takes them as they come.
pub(super) fn rows_of(feed: Arc<Mutex<Feed>>) -> BoxStream<'static, Result<RecordBatch>> {
    let next = |feed: Arc<Mutex<Feed>>| async move {
        let rows = feed.lock().await.next().await?;
        Ok(rows.map(|rows| (rows, feed)))
    };
    stream::try_unfold(feed, next).boxed()
}

impl Query {
    /// What the plan runs with: the rows, and what was planned.
    pub(super) fn batch_input(&self, planned: &PlannedBatch, rows: BTreeMap<String, InputRows>) -> BatchInput {
        BatchInput {
            rows,
            batch_time_us: planned.batch_time_us,
            watermark_ms: planned.watermark_ms,
            late_watermark_ms: planned.late_watermark_ms,
            seed: planned.seed,
            calls: Some(self.parts.calls.in_batch(planned.batch.0)),
        }
    }

    /// Begins to read every source's range: the input of the plan, and what is asked for the sums afterwards.
    pub(super) async fn read(&mut self, planned: &PlannedBatch) -> Result<(Reading, BatchInput)> {
        let (mut feeds, mut rows) = (BTreeMap::new(), BTreeMap::new());
        for source in &mut self.parts.sources {
            let Some(range) = planned.sources.get(&source.name) else { continue };
            let feed = open_feed(source, source.rows.clone(), range).await?;
            feeds.insert(source.name.clone(), Arc::new(Mutex::new(feed)));
        }
        for (name, feed) in &feeds {
            let is_empty = feed.lock().await.is_empty().await?;
            match self.input_rows(name, rows_of(feed.clone()), is_empty).await {
                Ok(input) => drop(rows.insert(name.clone(), input)),
                Err(error) => return Err(feed.lock().await.finish().await.err().unwrap_or(error)),
            }
        }
        Ok((Reading(feeds), self.batch_input(planned, rows)))
    }

    /// One source's rows in the form that the plan takes them in.
    pub(super) async fn input_rows(
        &self,
        source: &str,
        rows: BoxStream<'static, Result<RecordBatch>>,
        is_empty: bool,
    ) -> Result<InputRows> {
        match self.parts.plan.scans().iter().find(|scan| scan.source == source).map_or(0, |scan| scan.scans) {
            0 | 1 => Ok(InputRows::Streamed { rows, is_empty }),
            // Nobody knows which of several scans runs ahead of the others, nor how far.
            _ => Ok(InputRows::Held(rows.try_collect().await?)),
        }
    }

    /// Waits until every source can replay its range after a power cut.
    pub(super) async fn make_durable(&mut self, planned: &PlannedBatch) -> Result<()> {
        for source in &mut self.parts.sources {
            if let Some(range) = planned.sources.get(&source.name) {
                source.source.make_durable(&range.end).await?;
            }
        }
        Ok(())
    }

    /// [`Query::release_all`] where it is not worth failing for: the next start does it again.
    pub(super) async fn try_release_all(&mut self) {
        if let Err(error) = self.release_all().await {
            tracing::warn!(query = self.parts.name, error = error.chain(), "a source could not let go of what was read");
        }
    }

    /// Lets the sources forget everything up to where the query ended; the log is synced by then.
    pub(super) async fn release_all(&mut self) -> Result<()> {
        for source in &mut self.parts.sources {
            if let Some(position) = self.positions.get(&source.name) {
                source.source.release(position).await?;
            }
        }
        Ok(())
    }

    /// Lets sources and log forget what no restart will ask for again: this batch's `prepared` made the end of the one before
    /// durable, so a restart starts at this batch's ranges at the earliest.
    pub(super) async fn release(&mut self, planned: &PlannedBatch) -> Result<()> {
        for source in &mut self.parts.sources {
            if let Some(range) = planned.sources.get(&source.name) {
                source.source.release(&range.start).await?;
            }
        }
        self.parts.checkpoint.retain(BATCHES_RETAINED)
    }
}
