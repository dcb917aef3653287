//! Messages → what the engine takes: chunks of records for a decoder, or rows with the raw columns.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, ListBuilder, RecordBatch, StringBuilder, StructBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use tokio::sync::mpsc;

use super::partition::{Collect, Partition, Record, Run};
use super::settings::Wanted;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::source::{LineChunk, LineEnd, LinePart, ReadBuffer, Records};
use tidemill_librdkafka::Flow;

/// Bytes of records that are handed on together: a few decoded batches.
const CHUNK_BYTES: usize = 1 << 20;
/// Rows of a raw batch at most.
const ROWS_MAX: usize = 8192;

/// A span of one partition that is fetched and decoded on its own.
#[derive(Debug)]
pub(super) struct SpanPart {
    pub(super) partition: Arc<Partition>,
    pub(super) from: i64,
    pub(super) to: i64,
    /// Whether it is the first of its range in this partition.
    pub(super) first: bool,
    pub(super) wanted: Wanted,
    pub(super) run: Arc<Run>,
}

impl LinePart for SpanPart {
    fn read(self: Box<Self>, buffer: &mut ReadBuffer, deliver: &mut dyn FnMut(&LineChunk) -> Result<()>) -> Result<()> {
        let partition = &self.partition;
        let records = Records::new(partition.topic.clone(), partition.partition);
        let mut chunks = Chunks { buffer, used: 0, records, origin: partition.name(), wanted: self.wanted, deliver };
        partition.read(self.from, self.to, self.first, &self.run, &mut chunks)
    }
}

/// Lays values one after the other into a buffer.
struct Chunks<'a> {
    buffer: &'a mut ReadBuffer,
    used: usize,
    records: Records,
    origin: Arc<str>,
    wanted: Wanted,
    deliver: &'a mut dyn FnMut(&LineChunk) -> Result<()>,
}

impl Collect for Chunks<'_> {
    fn add(&mut self, message: &Record<'_>) -> Flow {
        let value = message.value();
        let bytes = value.unwrap_or_default();
        let end = self.used + bytes.len();
        let room = self.buffer.with_room(self.used, bytes.len() + 1);
        room[self.used..end].copy_from_slice(bytes);
        room[end] = b'\n';
        self.used = end + 1;
        self.records.push(end, message.offset(), value.is_none());
        if self.wanted.timestamps {
            self.records.push_timestamp(message.timestamp().0);
        }
        if self.wanted.keys {
            self.records.push_key(message.key());
        }
        if self.used >= CHUNK_BYTES { Flow::Enough } else { Flow::Next }
    }

    fn flush(&mut self) -> Result<()> {
        if self.records.is_empty() {
            return Ok(());
        }
        let next = Records::new(self.records.topic.clone(), self.records.partition);
        let records = Arc::new(std::mem::replace(&mut self.records, next));
        let used = std::mem::take(&mut self.used);
        let Self { buffer, deliver, origin, .. } = self;
        buffer.lend(|bytes| {
            deliver(&LineChunk {
                bytes: bytes.slice(..used),
                origin: origin.clone(),
                position: records.offset(0).unsigned_abs(),
                received_at_us: None,
                records: Some(records),
                end: LineEnd::Clean,
            })
        })
    }
}

/// The raw columns, as Spark has them; `headers` on request.
pub fn schema(include_headers: bool) -> SchemaRef {
    let mut fields = vec![
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        Field::new("topic", DataType::Utf8, true),
        Field::new("partition", DataType::Int32, true),
        Field::new("offset", DataType::Int64, true),
        Field::new("timestamp", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("timestampType", DataType::Int32, true),
    ];
    if include_headers {
        fields.push(Field::new("headers", DataType::List(header_field()), true));
    }
    Arc::new(Schema::new(fields))
}

fn header_field() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Struct(header_fields()), true))
}

fn header_fields() -> Fields {
    vec![Field::new("key", DataType::Utf8, true), Field::new("value", DataType::Binary, true)].into()
}

/// Makes rows of raw columns and sends them on.
pub(super) struct Rows {
    schema: SchemaRef,
    topic: Arc<str>,
    partition: i32,
    keys: BinaryBuilder,
    values: BinaryBuilder,
    offsets: Int64Builder,
    timestamps: TimestampMicrosecondBuilder,
    timestamp_kinds: Int32Builder,
    headers: Option<ListBuilder<StructBuilder>>,
    rows: usize,
    bytes: usize,
    send_to: mpsc::Sender<Result<RecordBatch>>,
}

impl Rows {
    /// For the rows of one partition.
    pub(super) fn new(partition: &Partition, include_headers: bool, send_to: mpsc::Sender<Result<RecordBatch>>) -> Self {
        let headers = || ListBuilder::new(StructBuilder::from_fields(header_fields(), 0)).with_field(header_field());
        Self {
            schema: schema(include_headers),
            topic: partition.topic.clone(),
            partition: partition.partition,
            keys: BinaryBuilder::new(),
            values: BinaryBuilder::new(),
            offsets: Int64Builder::new(),
            timestamps: TimestampMicrosecondBuilder::new(),
            timestamp_kinds: Int32Builder::new(),
            headers: include_headers.then(headers),
            rows: 0,
            bytes: 0,
            send_to,
        }
    }

    fn add_headers(&mut self, message: &Record<'_>) {
        let Some(headers) = &mut self.headers else { return };
        let mut count = 0;
        message.headers(|name, value| {
            count += 1;
            let header = headers.values();
            if let Some(names) = header.field_builder::<StringBuilder>(0) {
                names.append_value(String::from_utf8_lossy(name));
            }
            if let Some(values) = header.field_builder::<BinaryBuilder>(1) {
                values.append_option(value);
            }
            header.append(true);
            self.bytes += name.len() + value.map_or(0, <[u8]>::len);
        });
        headers.append(count > 0);
    }

    fn columns(&mut self) -> Vec<ArrayRef> {
        let mut topics = StringBuilder::new();
        let mut partitions = Int32Builder::new();
        for _ in 0..self.rows {
            topics.append_value(&self.topic);
            partitions.append_value(self.partition);
        }
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.keys.finish()),
            Arc::new(self.values.finish()),
            Arc::new(topics.finish()),
            Arc::new(partitions.finish()),
            Arc::new(self.offsets.finish()),
            Arc::new(self.timestamps.finish().with_timezone("UTC")),
            Arc::new(self.timestamp_kinds.finish()),
        ];
        columns.extend(self.headers.as_mut().map(|headers| Arc::new(headers.finish()) as ArrayRef));
        columns
    }
}

impl Collect for Rows {
    fn add(&mut self, message: &Record<'_>) -> Flow {
        self.keys.append_option(message.key());
        self.values.append_option(message.value());
        self.offsets.append_value(message.offset());
        let (ms, kind) = message.timestamp();
        self.timestamps.append_option((ms >= 0).then(|| ms.saturating_mul(1000)));
        self.timestamp_kinds.append_value(kind);
        self.bytes += message.key().map_or(0, <[u8]>::len) + message.value().map_or(0, <[u8]>::len);
        self.add_headers(message);
        self.rows += 1;
        if self.rows >= ROWS_MAX || self.bytes >= CHUNK_BYTES { Flow::Enough } else { Flow::Next }
    }

    fn flush(&mut self) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let columns = self.columns();
        (self.rows, self.bytes) = (0, 0);
        let rows = RecordBatch::try_new(self.schema.clone(), columns);
        let rows = rows.attempting(ErrorKind::Internal, || "build the rows of a Kafka source".to_owned())?;
        self.send_to
            .blocking_send(Ok(rows))
            .map_err(|_| Error::new(ErrorKind::Unavailable, "nobody waits for what is being read"))
    }
}
