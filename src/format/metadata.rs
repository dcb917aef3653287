//! The columns that tell where a row came from, built beside those of its schema.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, TimeUnit};

use super::MetadataColumn;
use crate::source::LineChunk;

impl MetadataColumn {
    /// The column's name and type.
    pub fn field(self) -> Field {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        match self {
            Self::Source => Field::new("_source", DataType::Utf8, true),
            Self::Position => Field::new("_position", DataType::Int64, true),
            Self::ReceivedAt => Field::new("_received_at", time, true),
            Self::File => Field::new("_file", DataType::Utf8, true),
            Self::Topic => Field::new("_topic", DataType::Utf8, true),
            Self::Partition => Field::new("_partition", DataType::Int32, true),
            Self::Offset => Field::new("_offset", DataType::Int64, true),
            Self::Timestamp => Field::new("_timestamp", time, true),
            Self::Key => Field::new("_key", DataType::Binary, true),
        }
    }
}

/// A value that many rows in a row have.
#[derive(Debug)]
struct Runs<T>(Vec<(T, usize)>);

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq + Clone> Runs<T> {
    fn push(&mut self, value: &T) {
        match self.0.last_mut() {
            Some((last, rows)) if last == value => *rows += 1,
            _ => self.0.push((value.clone(), 1)),
        }
    }

    fn rows(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flat_map(|(value, rows)| std::iter::repeat_n(value, *rows))
    }
}

/// The metadata of the rows of a batch, as far as it is asked for.
#[derive(Default)]
pub(super) struct Metadata {
    rows: usize,
    positions: Vec<i64>,
    offsets: Vec<i64>,
    times_us: Vec<Option<i64>>,
    timestamps_us: Vec<Option<i64>>,
    origins: Runs<Option<Arc<str>>>,
    topics: Runs<Arc<str>>,
    partitions: Runs<i32>,
    keys: BinaryBuilder,
}

impl Metadata {
    /// Adds the row of the line or record that begins at byte `start` of the chunk.
    pub(super) fn push(&mut self, wanted: &[MetadataColumn], chunk: &LineChunk, start: usize) {
        self.rows += 1;
        for column in wanted {
            match column {
                MetadataColumn::Source => {}
                MetadataColumn::Position => self.positions.push(chunk.position_of(start) as i64),
                MetadataColumn::ReceivedAt => self.times_us.push(chunk.received_at_us),
                MetadataColumn::File => {
                    self.origins.push(&chunk.received_at_us.is_none().then(|| Arc::clone(&chunk.origin)));
                }
                MetadataColumn::Topic
                | MetadataColumn::Partition
                | MetadataColumn::Offset
                | MetadataColumn::Timestamp
                | MetadataColumn::Key => self.push_record(*column, chunk, start),
            }
        }
    }

    fn push_record(&mut self, column: MetadataColumn, chunk: &LineChunk, start: usize) {
        let Some(records) = &chunk.records else { return };
        let index = records.index_at(start);
        match column {
            MetadataColumn::Topic => self.topics.push(&records.topic),
            MetadataColumn::Partition => self.partitions.push(&records.partition),
            MetadataColumn::Timestamp => {
                self.timestamps_us.push(records.timestamp_ms(index).map(|ms| ms.saturating_mul(1000)));
            }
            MetadataColumn::Key => self.keys.append_option(records.key(index)),
            _ => self.offsets.push(records.offset(index)),
        }
    }

    /// The columns of the rows since the last call.
    pub(super) fn take(&mut self, wanted: &[MetadataColumn], source: &Arc<str>) -> Vec<ArrayRef> {
        let mut taken = std::mem::take(self);
        let times = |times: &[Option<i64>]| Arc::new(TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC"));
        wanted
            .iter()
            .map(|column| -> ArrayRef {
                match column {
                    MetadataColumn::Source => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(source, taken.rows))),
                    MetadataColumn::Position => Arc::new(Int64Array::from(std::mem::take(&mut taken.positions))),
                    MetadataColumn::Offset => Arc::new(Int64Array::from(std::mem::take(&mut taken.offsets))),
                    MetadataColumn::ReceivedAt => times(&taken.times_us),
                    MetadataColumn::File => Arc::new(taken.origins.rows().map(Option::as_deref).collect::<StringArray>()),
                    MetadataColumn::Topic => Arc::new(taken.topics.rows().map(Some).collect::<StringArray>()),
                    MetadataColumn::Partition => Arc::new(taken.partitions.rows().copied().collect::<Int32Array>()),
                    MetadataColumn::Timestamp => times(&taken.timestamps_us),
                    MetadataColumn::Key => Arc::new(taken.keys.finish()),
                }
            })
            .collect()
    }
}
