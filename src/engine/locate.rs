//! Which row made a batch fail.
//!
//! A plan evaluates whole columns, so its error does not say where. The batch has failed anyway: its input is cut in half again
//! and again, until the shortest beginning that fails is left. Its last row is the one; reading the range once more, with
//! metadata columns, says where that row stands.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;

use super::query::{Query, QuerySource, SourceRows};
use crate::checkpoint::PlannedBatch;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{DecodeRequest, MetadataColumn, decoder};
use crate::plan::BatchInput;
use crate::source::{Chunk, OffsetRange};

impl Query {
    /// `error` of a batch with the place of the row behind it, where one row of one source can be named.
    pub(super) async fn located(&mut self, planned: &PlannedBatch, input: BatchInput, error: Error) -> Error {
        let place = match error.kind() {
            ErrorKind::Data => self.place(planned, input, &error).await,
            _ => None,
        };
        self.parts.plan.abort();
        let place = place.map(|place| format!(" at {place}")).unwrap_or_default();
        Error::new(error.kind(), format!("batch {} failed{place}", planned.batch)).because(error)
    }

    async fn place(&mut self, planned: &PlannedBatch, input: BatchInput, error: &Error) -> Option<String> {
        let mut with_rows = input.rows.iter().filter(|(_, rows)| count(rows) > 0);
        let (Some((name, rows)), None) = (with_rows.next(), with_rows.next()) else { return None };
        let (name, rows) = (name.clone(), rows.clone());
        // `low` rows are known to pass, `high` rows to fail.
        let (mut low, mut high) = (0, count(&rows));
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let beginning = BTreeMap::from([(name.clone(), first(&rows, middle))]);
            let outcome = self.parts.plan.run(BatchInput { rows: with_empty(&input.rows, beginning), ..input.clone() }).await;
            self.parts.plan.abort();
            match outcome {
                Err(other) if other.condition() == error.condition() => high = middle,
                _ => low = middle,
            }
        }
        let source = self.parts.sources.iter_mut().find(|source| source.name == name)?;
        let position = position(source, planned.sources.get(&name)?, high - 1).await.ok().flatten();
        let position = position.map(|position| format!(" ({position})")).unwrap_or_default();
        Some(format!("row {high} of source {name:?}{position}"))
    }
}

/// Where the row with index `row` of a range stands: `<file>:<byte position>`, or the position in the ingest log.
async fn position(source: &mut QuerySource, range: &OffsetRange, row: usize) -> Result<Option<String>> {
    let SourceRows::Lines { options, request, .. } = &source.rows else { return Ok(None) };
    let mut request = DecodeRequest::clone(request);
    request.projection.clear();
    request.metadata = vec![MetadataColumn::File, MetadataColumn::Position];
    request.keep_malformed = false;
    let mut decoder = decoder(options, request)?;
    let mut chunks = source.source.read(range).await?;
    let mut left = row;
    while let Some(chunk) = chunks.try_next().await? {
        let Chunk::Lines(chunk) = chunk else { return Ok(None) };
        decoder.push(&chunk)?;
        for rows in decoder.finish()?.rows {
            if left < rows.num_rows() {
                let (file, position) = (rows.column(0).as_string::<i32>(), rows.column(1).as_primitive::<Int64Type>());
                let position = position.value(left);
                return Ok(Some(if file.is_null(left) {
                    position.to_string()
                } else {
                    format!("{}:{position}", file.value(left))
                }));
            }
            left -= rows.num_rows();
        }
    }
    Ok(None)
}

fn count(rows: &[RecordBatch]) -> usize {
    rows.iter().map(RecordBatch::num_rows).sum()
}

/// The first `wanted` rows.
fn first(rows: &[RecordBatch], mut wanted: usize) -> Vec<RecordBatch> {
    let mut taken = Vec::new();
    for batch in rows {
        let take = wanted.min(batch.num_rows());
        taken.push(batch.slice(0, take));
        wanted -= take;
    }
    taken
}

/// The input with the rows of one source replaced.
fn with_empty(
    all: &BTreeMap<String, Vec<RecordBatch>>,
    one: BTreeMap<String, Vec<RecordBatch>>,
) -> BTreeMap<String, Vec<RecordBatch>> {
    let mut rows = all.clone();
    rows.extend(one);
    rows
}
