//! Static tables: read before any query starts, and again when their files change if that is wanted.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::connect::{decode_all_columns, line_format};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{LineLimits, OnMalformed};
use crate::pipeline::{FormatSpec, Pipeline, Refresh, TableSpec};
use crate::plan::{ReplaceableRows, StaticTable};
use crate::source::file::{TableFiles, read_table};

/// Where a listing of more files than this is taken again, it is at most every [`PAUSE_US`]: each file costs a `stat`.
const FILES_PER_LOOK_MAX: usize = 64;
/// How long to wait before files that could not be read are tried again, in microseconds.
const PAUSE_US: u64 = 1_000_000;

/// Every table of `pipeline`, with its rows; and those that are read again.
pub(super) fn read_all(pipeline: &Pipeline) -> Result<(Vec<StaticTable>, Vec<Arc<WatchedTable>>)> {
    let (mut tables, mut watched) = (Vec::new(), Vec::new());
    for spec in &pipeline.tables {
        let reader = TableReader { spec: spec.clone(), time_zone: pipeline.time_zone.clone(), limits: pipeline.limits.lines };
        let named = |error: Error| Error::new(error.kind(), format!("table {:?} cannot be read", spec.name)).because(error);
        // Looked at before they are read, so that what changes from here on is noticed.
        let files = TableFiles::at(&spec.path).map_err(named)?;
        let (schema, rows) = reader.read(OnMalformed::Permissive).map_err(named)?;
        let rows = match spec.refresh {
            Refresh::Never => rows.into(),
            Refresh::WhenChanged => {
                let table = WatchedTable::new(reader, schema.clone(), files, rows);
                let rows = table.rows.clone();
                watched.push(Arc::new(table));
                crate::plan::TableRows::Replaceable(rows)
            }
        };
        tables.push(StaticTable { name: spec.name.clone(), schema, rows });
    }
    Ok((tables, watched))
}

/// How the files of a table are read.
#[derive(Debug)]
struct TableReader {
    spec: TableSpec,
    time_zone: Arc<str>,
    limits: LineLimits,
}

impl TableReader {
    fn read(&self, on_malformed: OnMalformed) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        match &self.spec.format {
            FormatSpec::Parquet => parquet::read(&self.spec.path),
            lines => self.read_lines(lines, on_malformed),
        }
    }

    fn read_lines(&self, format: &FormatSpec, on_malformed: OnMalformed) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let (schema, options) = line_format(format)?;
        let request = decode_all_columns(&self.time_zone, self.limits, &self.spec.name, &schema);
        let mut decoder = crate::format::decoder(&options, crate::format::DecodeRequest { on_malformed, ..request })?;
        for chunk in read_table(&self.spec.path, self.limits.line_bytes_max)? {
            decoder.push(&chunk?)?;
        }
        Ok((schema, decoder.finish()?.rows))
    }
}

/// A table whose files are looked at before each batch, by every query that reads it. A new version of the files is taken whole or not
/// at all: what is half written, damaged or of other columns leaves the rows as they were.
#[derive(Debug)]
pub(super) struct WatchedTable {
    reader: TableReader,
    schema: SchemaRef,
    rows: ReplaceableRows,
    /// Held while looking and reading: one query does it for all.
    seen: Mutex<Seen>,
}

/// What the last look found.
#[derive(Debug)]
struct Seen {
    /// The files that the rows are from.
    used: TableFiles,
    looked_us: i64,
    /// Files that were found to be without a byte.
    emptied: Option<TableFiles>,
    refused: Option<Refused>,
}

/// A version of the files that was not taken.
#[derive(Debug)]
struct Refused {
    /// `None` where they could not even be listed.
    files: Option<TableFiles>,
    at_us: i64,
    /// Whether it may be read later as it is.
    may_pass: bool,
    reason: String,
}

/// What became of a look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The rows stay: nothing has changed, or nothing that was not said already.
    Same,
    /// There are new rows, so many.
    Replaced(usize),
    /// The files have changed, but the rows stay.
    Refused {
        /// Why.
        reason: String,
        /// Whether the look before said the same.
        is_known: bool,
    },
}

impl WatchedTable {
    fn new(reader: TableReader, schema: SchemaRef, files: TableFiles, rows: Vec<RecordBatch>) -> Self {
        let seen = Seen { used: files, looked_us: i64::MIN, emptied: None, refused: None };
        Self { reader, schema, rows: ReplaceableRows::new(rows), seen: Mutex::new(seen) }
    }

    /// The table's name in SQL.
    pub(super) fn name(&self) -> &str {
        &self.reader.spec.name
    }

    /// Looks at the files at the time `now_us`, and reads them if they are others. Does I/O.
    pub(super) fn look(&self, now_us: i64) -> Look {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.used.count > FILES_PER_LOOK_MAX && now_us.abs_diff(seen.looked_us) < PAUSE_US {
            return Look::Same;
        }
        seen.looked_us = now_us;
        let found = match TableFiles::at(&self.reader.spec.path) {
            Ok(found) => found,
            Err(_) if seen.is_refused(None, now_us) => return Look::Same,
            Err(error) => return seen.refuse(None, &error, now_us),
        };
        if found == seen.used {
            (seen.emptied, seen.refused) = (None, None);
            return Look::Same;
        }
        // Whoever writes over a file empties it first; that a table has no rows any more is believed the second time.
        if found.bytes == 0 && seen.used.bytes > 0 && seen.emptied.replace(found) != Some(found) {
            return Look::Same;
        }
        if seen.is_refused(Some(found), now_us) {
            return Look::Same;
        }
        match self.read_whole(found) {
            Ok(rows) => {
                let count = rows.iter().map(RecordBatch::num_rows).sum();
                self.rows.replace(rows);
                *seen = Seen { used: found, looked_us: now_us, emptied: None, refused: None };
                Look::Replaced(count)
            }
            Err(error) => seen.refuse(Some(found), &error, now_us),
        }
    }

    /// The rows of the files, if these are `found` from the first to the last byte read, and right.
    fn read_whole(&self, found: TableFiles) -> Result<Vec<RecordBatch>> {
        let (schema, rows) = self.reader.read(OnMalformed::Fail)?;
        if TableFiles::at(&self.reader.spec.path)? != found {
            return Err(Error::new(ErrorKind::Unavailable, "the files changed while they were read"));
        }
        if schema.fields() != self.schema.fields() {
            let columns = |schema: &SchemaRef| {
                let columns = schema
                    .fields()
                    .iter()
                    .map(|field| format!("{} {}", field.name(), crate::plan::spark::types::sql_name(field.data_type())));
                columns.collect::<Vec<_>>().join(", ")
            };
            let message = format!("expected the columns {}, found {}", columns(&self.schema), columns(&schema));
            return Err(Error::config(message));
        }
        Ok(rows)
    }
}

impl Seen {
    fn refuse(&mut self, files: Option<TableFiles>, error: &Error, at_us: i64) -> Look {
        let reason = error.chain();
        let is_known = self.refused.as_ref().is_some_and(|before| before.reason == reason);
        let may_pass = files.is_none() || error.kind() == ErrorKind::Unavailable;
        self.refused = Some(Refused { files, at_us, may_pass, reason: reason.clone() });
        Look::Refused { reason, is_known }
    }

    /// Whether these files were refused, and are not to be tried again yet.
    fn is_refused(&self, files: Option<TableFiles>, now_us: i64) -> bool {
        let refused = self.refused.as_ref().filter(|refused| refused.files == files);
        refused.is_some_and(|refused| !refused.may_pass || now_us.abs_diff(refused.at_us) < PAUSE_US)
    }
}

#[cfg(feature = "parquet")]
mod parquet {
    use arrow::array::ArrayRef;
    use arrow::compute::cast;
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use arrow::error::ArrowError;

    use super::*;
    use crate::error::{Attempt, ErrorKind};
    use crate::plan::spark::types::outside::{SPARK_SCHEMA, restored, told_columns};
    use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    /// The rows of all files at `path`, with the schema of the first, in Spark's types.
    pub(super) fn read(path: &Path) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let (mut schema, mut rows) = (None, Vec::new());
        for file in crate::source::file::table_files(path)? {
            let attempt = || format!("read {}", file.display());
            let opened = std::fs::File::open(&file).attempting(ErrorKind::Config, attempt)?;
            let builder = ParquetRecordBatchReaderBuilder::try_new(opened).attempting(ErrorKind::Config, attempt)?;
            let told = builder.schema().metadata().get(SPARK_SCHEMA).map(|told| told_columns(told)).unwrap_or_default();
            let reader = builder.build().attempting(ErrorKind::Config, attempt)?;
            for batch in reader {
                let batch = in_spark_types(&batch.attempting(ErrorKind::Config, attempt)?, &told)
                    .attempting(ErrorKind::Config, attempt)?;
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

    /// The same rows in the Arrow types that stand for Spark's; `told` is what Spark says of columns.
    fn in_spark_types(batch: &RecordBatch, told: &[(String, serde_json::Value)]) -> Result<RecordBatch, ArrowError> {
        let mut fields = Vec::new();
        let mut columns: Vec<ArrayRef> = Vec::new();
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let mut column = cast(column, &spark_type(field.data_type()))?;
            if let Some((_, told)) = told.iter().find(|(name, _)| name == field.name()) {
                column = restored(&column, told)?;
            }
            fields.push(Field::new(field.name(), column.data_type().clone(), true));
            columns.push(column);
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
            // Within a plan these stand for intervals.
            DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
                DataType::Decimal128(*precision, *scale)
            }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::pipeline::{CsvSpec, FilePath};
    use arrow::datatypes::{DataType, Field, Schema};

    const SECOND: i64 = 1_000_000;

    fn watched(path: &Path, format: FormatSpec) -> WatchedTable {
        let spec = TableSpec { name: "t".to_owned(), path: FilePath::plain(path), format, refresh: Refresh::WhenChanged };
        let reader = TableReader { spec, time_zone: "UTC".into(), limits: LineLimits::default() };
        let files = TableFiles::at(path).unwrap();
        let (schema, rows) = reader.read(OnMalformed::Permissive).unwrap();
        WatchedTable::new(reader, schema, files, rows)
    }

    fn csv() -> FormatSpec {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, true)]));
        FormatSpec::Csv { schema, csv: CsvSpec::default() }
    }

    fn refusal(look: Look) -> (String, bool) {
        match look {
            Look::Refused { reason, is_known } => (reason, is_known),
            other => panic!("expected a refusal, found {other:?}"),
        }
    }

    #[test]
    fn a_folder_is_other_files_when_one_comes_goes_or_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("1"), "1\n").unwrap();
        let table = watched(folder.path(), csv());
        assert_eq!(table.look(0), Look::Same);
        fs::write(path("2"), "2\n3\n").unwrap();
        assert_eq!(table.look(0), Look::Replaced(3));
        fs::write(path("3.tmp"), "not yet").unwrap();
        assert_eq!(table.look(0), Look::Same, "names of work in progress are left alone");
        fs::remove_file(path("1")).unwrap();
        assert_eq!(table.look(0), Look::Replaced(2));
        fs::write(path("2"), "2\n3\n4\n").unwrap();
        assert_eq!(table.look(0), Look::Replaced(3));
    }

    #[test]
    fn many_files_are_listed_once_a_second_at_most() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=FILES_PER_LOOK_MAX {
            fs::write(folder.path().join(number.to_string()), "1\n").unwrap();
        }
        let table = watched(folder.path(), csv());
        assert_eq!(table.look(0), Look::Same);
        fs::remove_file(folder.path().join("0")).unwrap();
        assert_eq!(table.look(SECOND - 1), Look::Same);
        assert_eq!(table.look(SECOND), Look::Replaced(FILES_PER_LOOK_MAX));
    }

    #[test]
    fn a_refusal_is_said_once_and_tried_again_only_if_it_may_pass() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        fs::write(&path, "1\n").unwrap();
        let table = watched(&path, csv());
        fs::write(&path, "1\nx\n").unwrap();
        let (reason, is_known) = refusal(table.look(0));
        assert!(reason.contains("t.csv") && !is_known, "{reason}");
        assert_eq!(table.look(10 * SECOND), Look::Same, "it will not get better as it is");
        fs::remove_file(&path).unwrap();
        let (reason, is_known) = refusal(table.look(10 * SECOND));
        assert!(reason.contains("there is no file") && !is_known, "{reason}");
        assert_eq!(table.look(11 * SECOND - 1), Look::Same);
        assert!(refusal(table.look(11 * SECOND)).1, "still so");
        fs::write(&path, "1\n2\n").unwrap();
        assert_eq!(table.look(11 * SECOND), Look::Replaced(2));
    }

    #[cfg(feature = "parquet")]
    #[test]
    fn parquet_of_other_columns_is_refused_by_name() {
        use ::parquet::arrow::ArrowWriter;
        use arrow::array::{ArrayRef, Int64Array, StringArray};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let write = |name: &str, column: ArrayRef| {
            let rows = RecordBatch::try_from_iter_with_nullable([(name, column, true)]).unwrap();
            let mut writer = ArrowWriter::try_new(fs::File::create(&path).unwrap(), rows.schema(), None).unwrap();
            writer.write(&rows).unwrap();
            writer.close().unwrap();
        };
        write("a", Arc::new(Int64Array::from(vec![1])));
        let table = watched(&path, FormatSpec::Parquet);
        write("a", Arc::new(Int64Array::from(vec![2, 3])));
        assert_eq!(table.look(0), Look::Replaced(2));
        write("a", Arc::new(StringArray::from(vec!["x"])));
        assert_eq!(refusal(table.look(0)).0, "expected the columns a BIGINT, found a STRING");
        fs::write(&path, "PAR1 half").unwrap();
        assert!(refusal(table.look(0)).0.contains("could not read"));
        let rows = table.rows.latest();
        assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 2, "the rows of before");
    }
}
