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

/// One file with all the rows. What the format cannot hold is [`crate::ErrorKind::Config`].
pub(super) fn encode(format: &FileFormat, schema: &SchemaRef, rows: &[RecordBatch], time_zone: &str) -> Result<Vec<u8>> {
    match format {
        FileFormat::Json => {
            let mut out = Vec::new();
            rows.iter().try_for_each(|rows| write_rows(rows, time_zone, &mut out))?;
            Ok(out)
        }
        FileFormat::Csv(csv) => csv::encode(csv, schema, rows, time_zone),
        FileFormat::Parquet => parquet(schema, rows),
    }
}

#[cfg(feature = "parquet")]
fn parquet(schema: &SchemaRef, rows: &[RecordBatch]) -> Result<Vec<u8>> {
    use crate::error::{Attempt, ErrorKind};
    use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};

    let attempt = || "write Parquet".to_owned();
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties));
    let mut writer = writer.attempting(ErrorKind::Config, attempt)?;
    for rows in rows {
        writer.write(rows).attempting(ErrorKind::Config, attempt)?;
    }
    writer.into_inner().attempting(ErrorKind::Config, attempt)
}

#[cfg(not(feature = "parquet"))]
fn parquet(_schema: &SchemaRef, _rows: &[RecordBatch]) -> Result<Vec<u8>> {
    Err(crate::error::Error::config(
        "this tidemill was built without Parquet: choose json or csv, or build with the feature `parquet`",
    ))
}
