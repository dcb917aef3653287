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
    use crate::plan::spark::types::outside::{spark_schema, stored_rows, stored_schema};
    use parquet::arrow::ArrowWriter;

    let attempt = || "write Parquet".to_owned();
    let intervals = spark_schema(schema);
    let stored = if intervals.is_some() { stored_schema(schema) } else { schema.clone() };
    let has_intervals = intervals.is_some();
    let writer = ArrowWriter::try_new(out, stored, Some(parquet_properties(intervals)));
    let mut writer = writer.attempting(ErrorKind::Config, attempt)?;
    for rows in rows {
        if has_intervals {
            let rows = stored_rows(rows).attempting(ErrorKind::Internal, attempt)?;
            writer.write(&rows).attempting(ErrorKind::Config, attempt)?;
        } else {
            writer.write(rows).attempting(ErrorKind::Config, attempt)?;
        }
    }
    writer.close().attempting(ErrorKind::Config, attempt).map(drop)
}

/// How Parquet files are written; `spark_schema` is what they say of their types, where Parquet has none for these.
#[cfg(feature = "parquet")]
pub(super) fn parquet_properties(spark_schema: Option<String>) -> parquet::file::properties::WriterProperties {
    use crate::plan::spark::types::outside::SPARK_SCHEMA;
    use parquet::file::metadata::KeyValue;
    use parquet::{basic::Compression, file::properties::WriterProperties};
    let told = spark_schema.map(|schema| vec![KeyValue::new(SPARK_SCHEMA.to_owned(), schema)]);
    WriterProperties::builder().set_compression(Compression::SNAPPY).set_key_value_metadata(told).build()
}

#[cfg(not(feature = "parquet"))]
fn parquet(_schema: &SchemaRef, _rows: &[RecordBatch], _out: &mut Vec<u8>) -> Result<()> {
    Err(crate::error::Error::config(
        "this tidemill was built without Parquet: choose json or csv, or build with the feature `parquet`",
    ))
}
