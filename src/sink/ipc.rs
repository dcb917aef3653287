//! Rows as Arrow IPC bytes: the staged form of sinks that keep rows rather than text.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::{reader::StreamReader, writer::StreamWriter};
use bytes::Bytes;

use crate::error::{Attempt, ErrorKind, Result};

/// `rows` of `schema` as one IPC stream.
pub(super) fn write(schema: &SchemaRef, rows: &[RecordBatch]) -> Result<Bytes> {
    let mut out = Vec::new();
    let attempt = || "encode rows as Arrow IPC".to_owned();
    let mut writer = StreamWriter::try_new(&mut out, schema).attempting(ErrorKind::Internal, attempt)?;
    for batch in rows.iter().filter(|batch| batch.num_rows() > 0) {
        writer.write(batch).attempting(ErrorKind::Internal, attempt)?;
    }
    writer.finish().attempting(ErrorKind::Internal, attempt)?;
    drop(writer);
    Ok(out.into())
}

/// The rows of an IPC stream.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<RecordBatch>> {
    let attempt = || "read staged rows".to_owned();
    let reader = StreamReader::try_new(bytes, None).attempting(ErrorKind::Corrupt, attempt)?;
    reader.collect::<std::result::Result<Vec<_>, _>>().attempting(ErrorKind::Corrupt, attempt)
}
