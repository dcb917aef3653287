//! Numbers at a fixed rate, for trying things out: `timestamp TIMESTAMP, value BIGINT`.
//!
//! Value `v` belongs to the instant `start + v / rate`, and appears when the second it lies in is over, as Spark's rate source has
//! it. The start is part of every offset, so a range yields the same rows whenever it is read.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::{Chunk, Extent, Offset, OffsetRange, ReadLimit, Replay, Source, SourceSpec};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::format::MetadataColumn;

/// What is true of every rate source.
pub const SPEC: SourceSpec = SourceSpec {
    name: "rate",
    replay: Replay::Computed,
    shared: false,
    metadata: &[MetadataColumn::Source],
    limit: ReadLimit { rows_max: None, bytes_max: None, files_max: None },
};

/// Settings of a rate source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateSettings {
    /// Rows per second, at least 1 (1).
    pub rows_per_second: u32,
}

impl Default for RateSettings {
    fn default() -> Self {
        Self { rows_per_second: 1 }
    }
}

/// The columns of every rate source.
pub fn schema() -> SchemaRef {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![Field::new("timestamp", timestamp, true), Field::new("value", DataType::Int64, true)]))
}

/// A rate source, owned by one query.
#[derive(Debug)]
pub struct RateSource {
    rows_per_second: u64,
    clock: Arc<dyn Clock>,
    opened_at_ms: i64,
    extent: Extent,
}

/// Values below `value` were read.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Progress {
    /// When value 0 is due, in milliseconds since 1970.
    start_ms: i64,
    value: u64,
}

const SECOND_MS: u64 = 1_000;
const ROWS_MAX: u64 = 8_192;
/// What a row counts as against a limit of bytes.
const ROW_BYTES: u64 = 16;

impl RateSource {
    /// A source that starts now, or goes on where its offsets say.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the rate is zero.
    pub fn new(settings: RateSettings, clock: Arc<dyn Clock>, extent: Extent) -> Result<Self> {
        if settings.rows_per_second == 0 {
            return Err(Error::config("`rows_per_second` must be at least 1"));
        }
        let opened_at_ms = clock.now_us().div_euclid(1_000);
        Ok(Self { rows_per_second: settings.rows_per_second.into(), clock, opened_at_ms, extent })
    }

    /// Values that are there: those of the seconds that are over.
    fn available(&self, start_ms: i64) -> u64 {
        let now_ms = match self.extent {
            Extent::Endless => self.clock.now_us().div_euclid(1_000),
            Extent::AvailableNow => self.opened_at_ms,
        };
        let elapsed_ms = u64::try_from(now_ms.saturating_sub(start_ms)).unwrap_or(0);
        (elapsed_ms / SECOND_MS).saturating_mul(self.rows_per_second)
    }
}

#[async_trait]
impl Source for RateSource {
    async fn initial_offset(&mut self) -> Result<Offset> {
        Ok(Offset::encode(&Progress { start_ms: self.opened_at_ms, value: 0 }))
    }

    async fn latest_offset(&mut self, start: &Offset, limit: &ReadLimit) -> Result<Offset> {
        let Progress { start_ms, value } = start.decode()?;
        let bytes_limit = limit.bytes_max.map(|bytes| bytes / ROW_BYTES);
        let rows_max = [limit.rows_max, bytes_limit].into_iter().flatten().min().map_or(u64::MAX, |rows| rows.max(1));
        let end = self.available(start_ms).min(value.saturating_add(rows_max)).max(value);
        Ok(Offset::encode(&Progress { start_ms, value: end }))
    }

    async fn read(&mut self, range: &OffsetRange) -> Result<BoxStream<'static, Result<Chunk>>> {
        let (start, end) = (range.start.decode::<Progress>()?, range.end.decode::<Progress>()?);
        if start.start_ms != end.start_ms {
            return Err(Error::new(ErrorKind::Corrupt, "the range of a rate source has two different starts"));
        }
        let rate = self.rows_per_second;
        let schema = schema();
        let chunks = (start.value..end.value).step_by(ROWS_MAX as usize).map(move |from| {
            let values = from..end.value.min(from + ROWS_MAX);
            rows(&schema, start.start_ms, rate, values).map(Chunk::Rows)
        });
        Ok(futures::stream::iter(chunks).boxed())
    }

    async fn make_durable(&mut self, _end: &Offset) -> Result<()> {
        // Nothing to keep: rows are computed from their offset.
        Ok(())
    }

    async fn changed(&mut self, end: &Offset) {
        let Ok(Progress { start_ms, value }) = end.decode() else { return };
        if self.available(start_ms) > value {
            return;
        }
        if self.extent == Extent::AvailableNow {
            return std::future::pending().await;
        }
        let since_start_us = self.clock.now_us().saturating_sub(start_ms.saturating_mul(1_000));
        // To the end of the running second: a second at most, and early is allowed should the clock be turned.
        let left_us = 1_000_000 - since_start_us.rem_euclid(1_000_000);
        tokio::time::sleep(Duration::from_micros(left_us.unsigned_abs())).await;
    }

    async fn release(&mut self, _end: &Offset) -> Result<()> {
        Ok(())
    }
}

fn rows(schema: &SchemaRef, start_ms: i64, rate: u64, values: std::ops::Range<u64>) -> Result<RecordBatch> {
    let due_us = |value: u64| {
        let (seconds, within) = (value / rate, value % rate);
        // Spark rounds to the nearest millisecond.
        let ms = seconds * SECOND_MS + (within * SECOND_MS * 2 + rate) / (rate * 2);
        start_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)).saturating_mul(1_000)
    };
    let timestamps = TimestampMicrosecondArray::from_iter_values(values.clone().map(due_us)).with_timezone("UTC");
    let values = Int64Array::from_iter_values(values.map(|value| i64::try_from(value).unwrap_or(i64::MAX)));
    let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(timestamps), Arc::new(values)]);
    batch.map_err(|cause| Error::internal("could not build the rows of a rate source").because(cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::source::contract;

    fn source(rate: u32, clock: &Arc<ManualClock>, extent: Extent) -> RateSource {
        RateSource::new(RateSettings { rows_per_second: rate }, clock.clone(), extent).unwrap()
    }

    #[tokio::test]
    async fn a_rate_source_keeps_the_contract_of_sources() {
        let clock = Arc::new(ManualClock::at_us(5_000_000));
        let mut source = source(3, &clock, Extent::Endless);
        clock.advance(Duration::from_millis(3_000));
        contract::check(&mut source).await;
    }

    #[tokio::test]
    async fn rows_appear_when_their_second_is_over() {
        let clock = Arc::new(ManualClock::at_us(5_000_400));
        let mut source = source(3, &clock, Extent::Endless);
        let start = source.initial_offset().await.unwrap();
        clock.advance(Duration::from_millis(999));
        assert_eq!(source.latest_offset(&start, &ReadLimit::default()).await.unwrap(), start);
        clock.advance(Duration::from_millis(1));
        let end = source.latest_offset(&start, &ReadLimit::default()).await.unwrap();
        let mut chunks = source.read(&OffsetRange { start, end }).await.unwrap();
        let Chunk::Rows(rows) = chunks.next().await.unwrap().unwrap() else { panic!("rows") };
        let expected = TimestampMicrosecondArray::from(vec![5_000_000, 5_333_000, 5_667_000]).with_timezone("UTC");
        assert_eq!(rows.column(0).as_ref(), &expected as &dyn arrow::array::Array);
        assert_eq!(rows.column(1).as_ref(), &Int64Array::from(vec![0, 1, 2]) as &dyn arrow::array::Array);
    }

    #[tokio::test]
    async fn a_restart_goes_on_from_the_offset_and_available_now_ends_at_the_start() {
        let clock = Arc::new(ManualClock::at_us(0));
        let start = source(2, &clock, Extent::Endless).initial_offset().await.unwrap();
        clock.advance(Duration::from_secs(4));
        let mut later = source(2, &clock, Extent::AvailableNow);
        clock.advance(Duration::from_secs(4));
        let (rows, end) = contract::texts(&mut later, &start).await.unwrap();
        assert_eq!(rows.len(), 8);
        assert_eq!(contract::texts(&mut later, &end).await.unwrap().0.len(), 0);
    }

    #[test]
    fn a_rate_of_zero_is_refused() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
        let refused = RateSource::new(RateSettings { rows_per_second: 0 }, clock, Extent::Endless);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Config);
    }
}
