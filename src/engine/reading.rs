//! Reading a planned range: chunks from the sources, rows for the plan, malformed lines set aside.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, new_null_array};
use arrow::datatypes::{FieldRef, Schema};
use futures::TryStreamExt;
use twox_hash::XxHash3_64;

use super::query::{Query, QuerySource, SourceRows};
use crate::checkpoint::{BatchId, InputChecksum, PlannedBatch};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::format::{Malformed, MetadataColumn};
use crate::plan::catalog::metadata_field;
use crate::source::{Chunk, OffsetRange};

/// How many batches' worth of log and staged output is kept behind the newest.
const BATCHES_RETAINED: u64 = 10;

/// What was read for one batch.
#[derive(Default)]
pub(super) struct BatchRead {
    pub(super) rows: BTreeMap<String, Vec<RecordBatch>>,
    pub(super) counts: BTreeMap<String, SourceCounts>,
    pub(super) malformed: Vec<(String, Vec<Malformed>)>,
    pub(super) checksums: BTreeMap<String, InputChecksum>,
}

/// Rows of one source in one batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SourceCounts {
    pub(super) read: u64,
    pub(super) decoded: u64,
    pub(super) malformed: u64,
    pub(super) dropped_malformed: u64,
}

impl Query {
    /// Reads and decodes every source's range.
    pub(super) async fn read(&mut self, planned: &PlannedBatch) -> Result<BatchRead> {
        let mut read = BatchRead::default();
        for source in &mut self.parts.sources {
            let name = source.name.clone();
            let Some(range) = planned.sources.get(&name) else { continue };
            let one = read_source(source, range).await?;
            read.rows.insert(name.clone(), one.rows);
            read.counts.insert(name.clone(), one.counts);
            read.checksums.insert(name.clone(), InputChecksum { rows: one.counts.read, xxh3: one.xxh3 });
            if !one.malformed.is_empty() {
                read.malformed.push((name, one.malformed));
            }
        }
        Ok(read)
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

    /// Writes a snapshot of each operator whose changelog has grown long, so that a restart stays short.
    pub(super) fn snapshot_if_due(&mut self, batch: BatchId) -> Result<()> {
        for operator in self.parts.plan.fingerprints() {
            if self.parts.checkpoint.wants_snapshot(&operator.id) {
                let bytes = self.parts.plan.snapshot(&operator.id)?;
                self.parts.checkpoint.snapshot(batch, &operator.id, &bytes)?;
            }
        }
        Ok(())
    }
}

struct SourceRead {
    rows: Vec<RecordBatch>,
    counts: SourceCounts,
    malformed: Vec<Malformed>,
    xxh3: u64,
}

async fn read_source(source: &mut QuerySource, range: &OffsetRange) -> Result<SourceRead> {
    if std::mem::replace(&mut source.is_cut_off, true) {
        if let SourceRows::Lines { decoder, .. } = &mut source.rows {
            decoder.finish()?;
        }
    }
    let mut hash = XxHash3_64::new();
    let mut counts = SourceCounts::default();
    let mut rows = Vec::new();
    if range.start != range.end {
        let mut chunks = source.source.read(range).await?;
        while let Some(chunk) = chunks.try_next().await? {
            match (chunk, &mut source.rows) {
                (Chunk::Lines(chunk), SourceRows::Lines { decoder, .. }) => {
                    hash.write(&chunk.bytes);
                    decoder.push(&chunk)?;
                }
                (Chunk::Rows(batch), SourceRows::Columns { source, projection, metadata }) => {
                    counts.read += batch.num_rows() as u64;
                    rows.push(pick(&batch, source, projection, metadata)?);
                }
                _ => {
                    return Err(Error::internal(format!("source {:?} yields chunks that its format does not take", source.name)));
                }
            }
        }
    }
    let mut malformed = Vec::new();
    if let SourceRows::Lines { decoder, .. } = &mut source.rows {
        let decoded = decoder.finish()?;
        counts.read = decoded.lines_read;
        counts.malformed = decoded.lines_malformed;
        counts.dropped_malformed = decoded.lines_dropped;
        rows = decoded.rows;
        malformed = decoded.malformed;
    }
    source.is_cut_off = false;
    counts.decoded = counts.read - counts.dropped_malformed;
    Ok(SourceRead { rows, counts, malformed, xxh3: hash.finish() })
}

/// The asked-for columns of rows that needed no decoding; of the metadata they have only `_source`.
fn pick(rows: &RecordBatch, source: &str, projection: &[usize], metadata: &[MetadataColumn]) -> Result<RecordBatch> {
    let mut fields: Vec<FieldRef> = projection.iter().map(|at| rows.schema_ref().fields()[*at].clone()).collect();
    let mut columns: Vec<ArrayRef> = projection.iter().map(|at| rows.column(*at).clone()).collect();
    for column in metadata {
        let field = metadata_field(*column);
        columns.push(match column {
            MetadataColumn::Source => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(source, rows.num_rows()))),
            MetadataColumn::Position | MetadataColumn::ReceivedAt | MetadataColumn::File => {
                new_null_array(field.data_type(), rows.num_rows())
            }
        });
        fields.push(field.into());
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .attempting(ErrorKind::Internal, || format!("pick columns of source {source:?}"))
}
