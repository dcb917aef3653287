//! What one batch changed, as bytes: Arrow pages behind a header.
//!
//! ```text
//! "TMST" | version u16 | sections u16 | xxh3 of the rest u64 | { kind u8, length u64, Arrow IPC stream }…
//! ```
//! Integers are little-endian. A *put* section holds key and state columns, a *remove* section key columns. A snapshot is the same
//! with nothing but puts. The checksum comes first, so that damaged bytes never reach the Arrow reader.

use std::borrow::Borrow;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use twox_hash::XxHash3_64;

use super::StateSchema;
use crate::error::{Attempt, Error, ErrorKind, Result};

const MAGIC: &[u8; 4] = b"TMST";
const VERSION: u16 = 1;
const HEADER_LENGTH: usize = 16;
const SECTION_HEADER_LENGTH: usize = 9;
const PUT: u8 = 1;
const REMOVE: u8 = 2;

/// One step of what a batch did to a store; steps are applied in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Key and state columns that were set.
    Put(RecordBatch),
    /// Key columns that were removed.
    Remove(RecordBatch),
}

impl Change {
    fn kind(&self) -> u8 {
        match self {
            Self::Put(_) => PUT,
            Self::Remove(_) => REMOVE,
        }
    }

    fn rows(&self) -> &RecordBatch {
        match self {
            Self::Put(rows) | Self::Remove(rows) => rows,
        }
    }
}

/// Writes `changes` into `memory`; neighbours of one kind share a section.
pub fn encode(changes: &[Change], memory: Vec<u8>) -> Result<Bytes> {
    let groups: Vec<_> = changes.chunk_by(|a, b| a.kind() == b.kind()).collect();
    let sections = u16::try_from(groups.len()).map_err(|_| Error::internal("a batch changed its state in too many steps"))?;
    let rows_bytes: usize = changes.iter().map(|change| bytes_of(change.rows())).sum();
    let mut bytes = begin(memory, sections, rows_bytes);
    for group in groups {
        bytes = section(bytes, group[0].kind(), &group[0].rows().schema(), group.iter().map(|change| Ok(change.rows())))?;
    }
    Ok(finish(bytes))
}

/// Writes all rows of a store as puts.
pub(super) fn encode_puts(schema: &StateSchema, rows: impl Iterator<Item = Result<RecordBatch>>) -> Result<Bytes> {
    let mut rows = rows.peekable();
    let is_empty = rows.peek().is_none();
    let bytes = begin(Vec::new(), u16::from(!is_empty), 0);
    if is_empty {
        return Ok(finish(bytes));
    }
    section(bytes, PUT, schema.columns(), rows).map(finish)
}

fn begin(mut bytes: Vec<u8>, sections: u16, rows_bytes: usize) -> Vec<u8> {
    bytes.clear();
    // Room for the schema, and for the little that stands before each page.
    bytes.reserve(rows_bytes + rows_bytes / 64 + 2048);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&sections.to_le_bytes());
    bytes.resize(HEADER_LENGTH, 0);
    bytes
}

fn section<R: Borrow<RecordBatch>>(
    mut bytes: Vec<u8>,
    kind: u8,
    schema: &Schema,
    pages: impl Iterator<Item = Result<R>>,
) -> Result<Vec<u8>> {
    let attempt = || "encode a state page".to_owned();
    let start = bytes.len();
    bytes.push(kind);
    bytes.extend_from_slice(&[0; 8]);
    let mut writer = StreamWriter::try_new(bytes, schema).attempting(ErrorKind::Internal, attempt)?;
    for page in pages {
        writer.write(page?.borrow()).attempting(ErrorKind::Internal, attempt)?;
    }
    let mut bytes = writer.into_inner().attempting(ErrorKind::Internal, attempt)?;
    let length = (bytes.len() - start - SECTION_HEADER_LENGTH) as u64;
    bytes[start + 1..start + SECTION_HEADER_LENGTH].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

fn finish(mut bytes: Vec<u8>) -> Bytes {
    let checksum = checksum(&bytes);
    bytes[8..16].copy_from_slice(&checksum.to_le_bytes());
    bytes.into()
}

/// What the columns of `rows` show, roughly what they take when they are encoded.
fn bytes_of(rows: &RecordBatch) -> usize {
    rows.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0) + column.len() / 8).sum()
}

/// The section count and everything behind the checksum.
fn checksum(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(u64::from(u16::from_le_bytes([bytes[6], bytes[7]])), &bytes[HEADER_LENGTH..])
}

/// Reads what [`encode`] wrote. Kind `Corrupt` if it is damaged, of another format version, or not of `schema`.
pub fn decode(bytes: &Bytes, schema: &StateSchema) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for (kind, section) in sections(bytes)? {
        decode_section(kind, &section, schema, &mut changes)?;
    }
    Ok(changes)
}

/// The columns of the first section that sets rows, key columns first; nothing if no row is set. For readers that do not know the
/// query.
pub(super) fn columns_of(bytes: &Bytes) -> Result<Option<SchemaRef>> {
    let Some((_, section)) = sections(bytes)?.into_iter().find(|(kind, _)| *kind == PUT) else { return Ok(None) };
    let reader = StreamReader::try_new(Cursor::new(section), None).map_err(|cause| corrupt("cannot be read").because(cause))?;
    Ok(Some(reader.schema()))
}

/// Kind and bytes of each section, once the checksum has been verified.
fn sections(bytes: &Bytes) -> Result<Vec<(u8, Bytes)>> {
    if bytes.len() < HEADER_LENGTH || &bytes[..4] != MAGIC {
        return Err(corrupt("has no header"));
    }
    let version = u16::from_le_bytes([bytes[4], bytes[5]]);
    if version != VERSION {
        return Err(corrupt(format!("is of format version {version}, this program knows version {VERSION}")));
    }
    let stored = u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
    if stored != checksum(bytes) {
        return Err(corrupt("fails its checksum"));
    }
    let mut sections = Vec::new();
    let mut rest = bytes.slice(HEADER_LENGTH..);
    for _ in 0..u16::from_le_bytes([bytes[6], bytes[7]]) {
        if rest.len() < SECTION_HEADER_LENGTH {
            return Err(corrupt("ends early"));
        }
        let header = rest.split_to(SECTION_HEADER_LENGTH);
        let length = u64::from_le_bytes(header[1..].try_into().expect("eight bytes"));
        let length = usize::try_from(length).ok().filter(|l| *l <= rest.len()).ok_or_else(|| corrupt("ends early"))?;
        sections.push((header[0], rest.split_to(length)));
    }
    if rest.is_empty() { Ok(sections) } else { Err(corrupt("has bytes behind its end")) }
}

fn decode_section(kind: u8, bytes: &[u8], schema: &StateSchema, changes: &mut Vec<Change>) -> Result<()> {
    let (wrap, expected): (fn(RecordBatch) -> Change, SchemaRef) = match kind {
        PUT => (Change::Put, schema.columns().clone()),
        REMOVE => (Change::Remove, Arc::new(Schema::new(schema.keys().to_vec()))),
        other => return Err(corrupt(format!("has a section of unknown kind {other}"))),
    };
    let unreadable = |cause: arrow::error::ArrowError| corrupt("cannot be read").because(cause);
    let reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(unreadable)?;
    if !same_types(&reader.schema(), &expected) {
        return Err(corrupt(format!("holds other columns than the query's: {} instead of {expected}", reader.schema())));
    }
    for rows in reader {
        let rows = rows.map_err(unreadable)?;
        // Names may differ (an alias was changed); types may not.
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(expected.clone(), rows.columns().to_vec(), &options);
        changes.push(wrap(rows.map_err(unreadable)?));
    }
    Ok(())
}

fn same_types(a: &Schema, b: &Schema) -> bool {
    a.fields().len() == b.fields().len() && a.fields().iter().zip(b.fields()).all(|(a, b)| a.data_type() == b.data_type())
}

fn corrupt(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("a state page {what}"))
}
