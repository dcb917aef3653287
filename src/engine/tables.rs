//! Static tables: read once, before any query starts.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::connect::{decode_all_columns, line_format};
use crate::error::{Error, Result};
use crate::pipeline::{FormatSpec, Pipeline, TableSpec};
use crate::plan::StaticTable;
use crate::source::file::read_table;

/// Every table of `pipeline`, with its rows.
pub(super) fn read_all(pipeline: &Pipeline) -> Result<Vec<StaticTable>> {
    pipeline.tables.iter().map(|table| read(pipeline, table)).collect()
}

fn read(pipeline: &Pipeline, table: &TableSpec) -> Result<StaticTable> {
    let read = match &table.format {
        FormatSpec::Parquet => parquet::read(&table.path),
        lines => read_lines(pipeline, table, lines),
    };
    let (schema, rows) =
        read.map_err(|error| Error::new(error.kind(), format!("table {:?} cannot be read", table.name)).because(error))?;
    Ok(StaticTable { name: table.name.clone(), schema, rows })
}

fn read_lines(pipeline: &Pipeline, table: &TableSpec, format: &FormatSpec) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let (schema, options) = line_format(format)?;
    let request = decode_all_columns(pipeline, &table.name, &schema);
    let mut decoder = crate::format::decoder(&options, request)?;
    for chunk in read_table(&table.path, pipeline.limits.lines.line_bytes_max)? {
        decoder.push(&chunk?)?;
    }
    Ok((schema, decoder.finish()?.rows))
}

#[cfg(feature = "parquet")]
mod parquet {
    use arrow::array::ArrayRef;
    use arrow::compute::cast;
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use arrow::error::ArrowError;

    use super::*;
    use crate::error::{Attempt, ErrorKind};
    use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    /// The rows of all files at `path`, with the schema of the first, in Spark's types.
    pub(super) fn read(path: &Path) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let (mut schema, mut rows) = (None, Vec::new());
        for file in crate::source::file::table_files(path)? {
            let attempt = || format!("read {}", file.display());
            let opened = std::fs::File::open(&file).attempting(ErrorKind::Config, attempt)?;
            let reader = ParquetRecordBatchReaderBuilder::try_new(opened)
                .and_then(|builder| builder.build())
                .attempting(ErrorKind::Config, attempt)?;
            for batch in reader {
                let batch =
                    in_spark_types(&batch.attempting(ErrorKind::Config, attempt)?).attempting(ErrorKind::Config, attempt)?;
                let expected: &SchemaRef = schema.get_or_insert_with(|| batch.schema());
                if batch.schema().fields() != expected.fields() {
                    return Err(Error::config(format!("{} has other columns than the files before it", file.display())));
                }
                rows.push(batch);
            }
        }
        let schema = schema.ok_or_else(|| Error::config(format!("there are no rows at {}", path.display())))?;
        Ok((schema, rows))
    }

    /// The same rows in the Arrow types that stand for Spark's.
    fn in_spark_types(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let mut fields = Vec::new();
        let mut columns: Vec<ArrayRef> = Vec::new();
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let wanted = spark_type(field.data_type());
            columns.push(cast(column, &wanted)?);
            fields.push(Field::new(field.name(), wanted, true));
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
    }

    fn spark_type(data_type: &DataType) -> DataType {
        let inner = |field: &Field| Arc::new(Field::new(field.name(), spark_type(field.data_type()), field.is_nullable()));
        match data_type {
            DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
            DataType::BinaryView | DataType::LargeBinary | DataType::FixedSizeBinary(_) => DataType::Binary,
            DataType::Dictionary(_, values) => spark_type(values),
            DataType::Timestamp(_, Some(_)) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Date64 => DataType::Date32,
            DataType::UInt8 => DataType::Int16,
            DataType::UInt16 => DataType::Int32,
            DataType::UInt32 => DataType::Int64,
            DataType::UInt64 => DataType::Decimal128(20, 0),
            DataType::Float16 => DataType::Float32,
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                DataType::List(Arc::new(Field::new("item", spark_type(item.data_type()), true)))
            }
            DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| inner(field)).collect()),
            DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
            other => other.clone(),
        }
    }
}

/// Built without Parquet: refused before anything starts.
#[cfg(not(feature = "parquet"))]
mod parquet {
    use super::*;

    pub(super) fn read(_path: &Path) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        Err(Error::config("this tidemill was built without the feature `parquet`"))
    }
}
