//! Which row made a batch fail.
//!
//! A plan evaluates whole columns, so its error does not say where. The batch has failed anyway: it is run again and again over ever
//! shorter beginnings of its range, until the shortest one that fails is left. Its last row is the one; reading the range once more,
//! with metadata columns, says where that row stands. The rows are read anew each time, for a batch need not fit into memory.
//! Where rows fail in several ways, the error is that of the first row, as it is where rows are evaluated one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::Mutex;

use super::feed::Decoders;
use super::query::{Query, QuerySource, SourceRows};
use super::reading::{BatchRead, open_feed, rows_of};
use crate::checkpoint::PlannedBatch;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{KeepMalformed, MetadataColumn};
use crate::plan::BatchInput;
use crate::source::OffsetRange;

impl Query {
    /// `error` of a batch with the place of the row behind it, where one row of one source can be named.
    pub(super) async fn located(&mut self, planned: &PlannedBatch, read: &BatchRead, error: Error) -> Error {
        // Another run would call the functions again.
        let (mut error, mut place) = (error, None);
        if error.kind() == ErrorKind::Data && self.parts.plan.functions().is_empty() {
            place = self.place(planned, read, &mut error).await;
        }
        self.parts.plan.abort();
        let place = place.map(|place| format!(" at {place}")).unwrap_or_default();
        Error::new(error.kind(), format!("batch {} failed{place}", planned.batch)).because(error)
    }

    /// Where the first row stands that fails; `error` becomes its error.
    async fn place(&mut self, planned: &PlannedBatch, read: &BatchRead, error: &mut Error) -> Option<String> {
        let mut with_rows = read.counts.iter().filter(|(_, counts)| counts.decoded > 0);
        let (Some((name, counts)), None) = (with_rows.next(), with_rows.next()) else { return None };
        // `low` rows are known to pass, `high` rows to fail.
        let (mut low, mut high) = (0, usize::try_from(counts.decoded).ok()?);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let beginning = self.beginning(planned, name, middle).await.ok()?;
            let outcome = self.parts.plan.run(beginning).await;
            self.parts.plan.abort();
            match outcome {
                Err(earlier) if earlier.kind() == ErrorKind::Data => {
                    *error = earlier;
                    high = middle;
                }
                _ => low = middle,
            }
        }
        let source = self.parts.sources.iter_mut().find(|source| source.name == *name)?;
        let position = position(source, planned.sources.get(name)?, high - 1).await.ok().flatten();
        let position = position.map(|position| format!(" ({position})")).unwrap_or_default();
        Some(format!("row {high} of source {name:?}{position}"))
    }

    /// The batch with nothing but the first `wanted` rows of the source `name`, counted before any filter.
    async fn beginning(&mut self, planned: &PlannedBatch, name: &str, wanted: usize) -> Result<BatchInput> {
        let range = planned.sources.get(name).ok_or_else(|| Error::internal("a batch without range has rows"))?;
        let source = self.parts.sources.iter_mut().find(|source| source.name == name);
        let source = source.ok_or_else(|| Error::internal("a source without name has rows"))?;
        let rows = unfiltered(&source.rows)?;
        let feed = open_feed(source, rows, range).await?;
        let rows = first(rows_of(Arc::new(Mutex::new(feed))), wanted);
        let rows = self.input_rows(name, rows, false).await?;
        Ok(self.batch_input(planned, BTreeMap::from([(name.to_owned(), rows)])))
    }
}

/// The same rows and those that the decoder would leave out: rows are counted as they were read.
fn unfiltered(rows: &SourceRows) -> Result<SourceRows> {
    match rows {
        SourceRows::Lines(decoders) if !decoders.request().filter.is_empty() => {
            let mut request = decoders.request().clone();
            request.filter.clear();
            Ok(SourceRows::Lines(Arc::new(Decoders::new(decoders.options().clone(), request)?)))
        }
        SourceRows::Lines(_) | SourceRows::Columns { .. } => Ok(rows.clone()),
    }
}

/// Where the row with index `row` of a range stands: `<file>:<byte position>`, or the position in the ingest log.
async fn position(source: &mut QuerySource, range: &OffsetRange, row: usize) -> Result<Option<String>> {
    let SourceRows::Lines(decoders) = &source.rows else { return Ok(None) };
    let mut request = decoders.request().clone();
    request.projection.clear();
    request.metadata = vec![MetadataColumn::File, MetadataColumn::Position];
    request.filter.clear();
    request.keep_malformed = KeepMalformed::None;
    let places = SourceRows::Lines(Arc::new(Decoders::new(decoders.options().clone(), request)?));
    let mut feed = open_feed(source, places, range).await?;
    let mut left = row;
    while let Some(rows) = feed.next().await? {
        if left < rows.num_rows() {
            let (file, position) = (rows.column(0).as_string::<i32>(), rows.column(1).as_primitive::<Int64Type>());
            let position = position.value(left);
            return Ok(Some(if file.is_null(left) { position.to_string() } else { format!("{}:{position}", file.value(left)) }));
        }
        left -= rows.num_rows();
    }
    Ok(None)
}

/// The first `wanted` rows.
fn first(rows: BoxStream<'static, Result<RecordBatch>>, wanted: usize) -> BoxStream<'static, Result<RecordBatch>> {
    let next = |(mut rows, wanted): (BoxStream<'static, Result<RecordBatch>>, usize)| async move {
        if wanted == 0 {
            return Ok(None);
        }
        let Some(batch) = rows.try_next().await? else { return Ok(None) };
        let take = wanted.min(batch.num_rows());
        Ok(Some((batch.slice(0, take), (rows, wanted - take))))
    };
    stream::try_unfold((rows, wanted), next).boxed()
}
