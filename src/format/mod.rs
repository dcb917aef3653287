//! Bytes ↔ columns.
//!
//! A decoder takes chunks of raw lines in and gives whole Arrow batches out. A line is decoded alone: a malformed one can neither
//! swallow its neighbour nor fail the batch. What a line yields is `semantics.md` S14's `from_json` column, for every source.

pub mod number;
mod decimal_digits;
pub mod datetime;
mod zone;
pub mod times;
pub mod json;
pub mod text;
pub mod csv;
mod lines;
mod metadata;
mod filter;
mod column;
mod convert;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::source::LineChunk;

pub(crate) use column::nullable;
pub use filter::{Comparison, Condition, Literal, Test};

/// What a line that is not right yields in the query. Independently, a query with a dead letter gets each such line there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMalformed {
    /// The row that Spark's PERMISSIVE mode gives: the fields that are right, nulls elsewhere.
    #[default]
    Permissive,
    /// No row; the line is counted as dropped.
    Drop,
    /// The query fails, naming the line (`MALFORMED_RECORD_IN_PARSING`).
    Fail,
}

/// Columns that a source yields on request, beside those of its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetadataColumn {
    /// `_source` STRING: the source's name.
    Source,
    /// `_position` BIGINT: byte position of the line in its file or ingest log, or offset of the message.
    Position,
    /// `_received_at` TIMESTAMP: when the line was received, null for files.
    ReceivedAt,
    /// `_file` STRING: path of the file, null elsewhere.
    File,
    /// `_topic` STRING: the message's topic.
    Topic,
    /// `_partition` INT: the message's partition.
    Partition,
    /// `_offset` BIGINT: the message's offset.
    Offset,
    /// `_timestamp` TIMESTAMP: the message's timestamp, null where it has none.
    Timestamp,
    /// `_key` BINARY: the message's key, null where it has none.
    Key,
}

/// What a decoder must build.
#[derive(Debug, Clone)]
pub struct DecodeRequest {
    /// The whole declared schema; a line is judged on all of it.
    pub schema: SchemaRef,
    /// Indexes into `schema` of the columns to build, in output order.
    pub projection: Vec<usize>,
    /// Metadata columns to build, after the projected ones.
    pub metadata: Vec<MetadataColumn>,
    /// What a row must fulfil: all of it. Other rows are judged and counted like any, but not given out.
    pub filter: Vec<Condition>,
    /// What malformed lines yield.
    pub on_malformed: OnMalformed,
    /// Which malformed lines to keep in [`Decoded::malformed`].
    pub keep_malformed: KeepMalformed,
    /// The source's name, for `_source` and messages.
    pub source: Arc<str>,
    /// Zone of timestamps that are written without one: an IANA name.
    pub time_zone: Arc<str>,
    /// Longest line in bytes (default 1 MiB), and deepest JSON nesting (default 64).
    pub limits: LineLimits,
}

/// Which malformed lines a decoder keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeepMalformed {
    /// None: they are only counted.
    #[default]
    None,
    /// A few between two calls of [`Decoder::finish`], cut, for people to look at.
    Samples,
    /// All of them, for a dead letter.
    All,
}

/// Limits that are checked before anything is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineLimits {
    /// Longest line in bytes, 1 B to 1 GiB.
    pub line_bytes_max: usize,
    /// Deepest JSON nesting, 1 to 1,000.
    pub json_depth_max: usize,
}

impl Default for LineLimits {
    fn default() -> Self {
        Self { line_bytes_max: 1 << 20, json_depth_max: 64 }
    }
}

/// A line that was not right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// File path or connection.
    pub origin: Arc<str>,
    /// Byte position in the file or ingest log.
    pub position: u64,
    /// The top-level field that was wrong, where one was.
    pub field: Option<Arc<str>>,
    /// Why, in a few words without any of the row's values: `not valid JSON`, `expected INT`, `invalid UTF-8`, `truncated`.
    pub reason: Arc<str>,
    /// The line's bytes without its line end, cut at the line limit.
    pub raw: Vec<u8>,
}

/// What became of the lines pushed since the last `finish`.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The rows in input order: projected columns, then metadata columns. One or more batches of at most 8,192 rows; at least one
    /// (possibly empty) batch, so that the schema is always there.
    pub rows: Vec<RecordBatch>,
    /// Lines read.
    pub lines_read: u64,
    /// Lines that were malformed, whether they gave a row or not.
    pub lines_malformed: u64,
    /// Malformed lines that gave no row.
    pub lines_dropped: u64,
    /// Rows that did not fulfil the filter, partial rows of malformed lines among them. `rows` has the `lines_read` less these and
    /// less `lines_dropped`.
    pub rows_filtered: u64,
    /// The malformed lines, if they were asked for.
    pub malformed: Vec<Malformed>,
}

/// Lines in, batches out.
///
/// # Contract
/// - Rows come out in the order of their lines; a line yields one row (none with [`OnMalformed::Drop`] if malformed, nor if the
///   filter does not want the row).
/// - A malformed line is an error only with [`OnMalformed::Fail`], and the error names origin and position but no value.
/// - No input makes it panic, and none makes it use memory beyond a small multiple of the chunk.
pub trait Decoder: Send {
    /// Decodes the lines of a chunk.
    fn push(&mut self, chunk: &LineChunk) -> Result<()>;
    /// Everything decoded since the last call. The decoder can be used again afterwards.
    fn finish(&mut self) -> Result<Decoded>;
}

/// How a source's or sink's bytes are to be read and written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatOptions {
    /// JSON lines.
    Json,
    /// Lines as they are, one column.
    Text,
    /// CSV.
    Csv(csv::CsvOptions),
}

/// A format: its name in a pipeline file, its settings, and how it reads and writes.
pub struct FormatSpec {
    /// The key under `format`.
    pub name: &'static str,
    /// Names of its settings, beside `schema`.
    pub settings: &'static [&'static str],
    /// Whether a `schema` must be declared.
    pub needs_schema: bool,
    decoder: fn(&FormatOptions, DecodeRequest) -> Result<Box<dyn Decoder>>,
    encode: fn(&FormatOptions, &RecordBatch, &str, &mut Vec<u8>) -> Result<()>,
    encode_header: fn(&FormatOptions, &Schema, &mut Vec<u8>) -> Result<()>,
}

/// Every format there is. A new one is its own file and one line here.
pub static FORMATS: &[&FormatSpec] = &[&json::SPEC, &text::SPEC, &csv::SPEC];

/// The format called `name`.
pub fn find(name: &str) -> Option<&'static FormatSpec> {
    FORMATS.iter().find(|spec| spec.name == name).copied()
}

impl FormatOptions {
    /// The format that these options are of.
    pub fn spec(&self) -> &'static FormatSpec {
        match self {
            Self::Json => &json::SPEC,
            Self::Text => &text::SPEC,
            Self::Csv(_) => &csv::SPEC,
        }
    }
}

/// A decoder for one source of one query. A schema that the format cannot read is a `Config` error, a projection
/// or filter that does not fit the schema an `Internal` one.
pub fn decoder(format: &FormatOptions, request: DecodeRequest) -> Result<Box<dyn Decoder>> {
    request.check()?;
    (format.spec().decoder)(format, request)
}

/// Appends rows as lines of a sink's format, timestamps in `time_zone`. A column that the format cannot hold is a `Config` error;
/// encoding no rows finds it too.
pub fn encode(format: &FormatOptions, rows: &RecordBatch, time_zone: &str, out: &mut Vec<u8>) -> Result<()> {
    (format.spec().encode)(format, rows, time_zone, out)
}

/// Appends what a file of the format begins with.
pub fn encode_header(format: &FormatOptions, schema: &Schema, out: &mut Vec<u8>) -> Result<()> {
    (format.spec().encode_header)(format, schema, out)
}

/// The zone called `name`.
fn zone(name: &str) -> Result<datetime::Zone> {
    datetime::Zone::parse(name).ok_or_else(|| Error::config(format!("there is no time zone {name:?}")))
}
