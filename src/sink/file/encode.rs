//! Rows as the bytes of one file.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::csv;
use crate::error::Result;
use crate::format::json::write::write_rows;
use crate::pipeline::FileFormat;

/// The ending of the files.
pub(super) fn extension(format: &FileFormat) -> &'static str {
    match format {
        FileFormat::Json => "json",
        FileFormat::Csv(_) => "csv",
        FileFormat::Parquet => "parquet",
    }
}

/// Appends one file with all the rows; how many bytes of it are a header, which joined files have once. What the format cannot hold is [`crate::ErrorKind::Config`].
pub(super) fn encode(
    format: &FileFormat,
    schema: &SchemaRef,
    rows: &[RecordBatch],
    time_zone: &str,
    out: &mut Vec<u8>,
) -> Result<usize> {
    match format {
        FileFormat::Json => rows.iter().try_for_each(|rows| write_rows(rows, time_zone, out)).map(|()| 0),
        FileFormat::Csv(csv) => csv::encode(csv, schema, rows, time_zone, out),
        FileFormat::Parquet => parquet(schema, rows, out).map(|()| 0),
    }
}

#[cfg(feature = "parquet")]
fn parquet(schema: &SchemaRef, rows: &[RecordBatch], out: &mut Vec<u8>) -> Result<()> {
    use crate::error::{Attempt, ErrorKind};
    use parquet::arrow::ArrowWriter;

    let attempt = || "write Parquet".to_owned();
    let writer = ArrowWriter::try_new(out, schema.clone(), Some(parquet_properties()));
    let mut writer = writer.attempting(ErrorKind::Config, attempt)?;
    for rows in rows {
        writer.write(rows).attempting(ErrorKind::Config, attempt)?;
    }
    writer.close().attempting(ErrorKind::Config, attempt).map(drop)
}

/// How Parquet files are written.
#[cfg(feature = "parquet")]
pub(super) fn parquet_properties() -> parquet::file::properties::WriterProperties {
    use parquet::{basic::Compression, file::properties::WriterProperties};
    WriterProperties::builder().set_compression(Compression::SNAPPY).build()
}

#[cfg(not(feature = "parquet"))]
fn parquet(_schema: &SchemaRef, _rows: &[RecordBatch], _out: &mut Vec<u8>) -> Result<()> {
    Err(crate::error::Error::config(
        "this tidemill was built without Parquet: choose json or csv, or build with the feature `parquet`",
    ))
}
