//! What SQL reads of streams: a leaf that yields the current batch's rows.
//!
//! A streaming leaf is a `TableScan` of a [`StreamScan`]. Its physical scan holds no rows: each execution takes them from the
//! [`BatchRows`] of the task context, so one physical plan serves every batch. A scan names the columns it needs, and
//! [`scan_requests`] gathers from an optimised plan what the engine must decode.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::{DefaultTableSource, provider_as_source};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown, TableScan, TableSource, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::batch_scan::{BatchScan, BatchScanExec};
use super::condition::condition;
use super::spark::types;
use super::{InputRows, ScanRequest, StreamTable};
use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::format::{Condition, MetadataColumn};

/// The current batch's rows of each source, their columns as in its [`ScanRequest`], and of tables whose rows may change between two
/// batches. Put into the session configuration of the task context with `SessionConfig::with_extension`.
#[derive(Debug, Default)]
pub struct BatchRows {
    streams: BTreeMap<String, ScanRows>,
    tables: BTreeMap<Arc<str>, Arc<Vec<RecordBatch>>>,
}

/// What scans of one source take.
enum ScanRows {
    /// The same rows for each.
    Held(Vec<RecordBatch>),
    /// For one alone, which takes the stream away.
    Streamed(Mutex<Option<BoxStream<'static, Result<RecordBatch>>>>),
}

impl fmt::Debug for ScanRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(rows) => f.debug_tuple("Held").field(rows).finish(),
            Self::Streamed(_) => f.write_str("Streamed"),
        }
    }
}

impl BatchRows {
    /// The rows of each source.
    pub fn new(rows: BTreeMap<String, InputRows>) -> Self {
        let taken = rows.into_iter().map(|(source, rows)| match rows {
            InputRows::Held(rows) => (source, ScanRows::Held(rows)),
            InputRows::Streamed { rows, .. } => (source, ScanRows::Streamed(Mutex::new(Some(rows)))),
        });
        Self { streams: taken.collect(), tables: BTreeMap::new() }
    }

    /// The same with the rows of tables.
    #[must_use]
    pub fn with_tables(self, tables: BTreeMap<Arc<str>, Arc<Vec<RecordBatch>>>) -> Self {
        Self { tables, ..self }
    }

    /// The rows of a table that may change.
    pub(super) fn table(&self, name: &str) -> Option<Arc<Vec<RecordBatch>>> {
        self.tables.get(name).cloned()
    }

    fn take(&self, source: &str) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        match self.streams.get(source) {
            None => Ok(futures::stream::empty().boxed()),
            Some(ScanRows::Held(rows)) => Ok(futures::stream::iter(rows.clone().into_iter().map(Ok)).boxed()),
            Some(ScanRows::Streamed(rows)) => {
                let rows = rows.lock().unwrap_or_else(PoisonError::into_inner).take();
                rows.ok_or_else(|| Error::internal(format!("the rows of source {source} were streamed to two scans")))
            }
        }
    }
}

/// A stream as a table: its declared columns, then its metadata columns.
#[derive(Debug)]
pub struct StreamScan {
    name: String,
    declared: usize,
    metadata: Vec<MetadataColumn>,
    schema: SchemaRef,
}

impl StreamScan {
    /// The stream `table`. A metadata column that the declared schema has a column of the same name for is left out.
    pub fn new(table: &StreamTable) -> Self {
        let mut fields: Vec<Arc<Field>> = table.schema.fields().iter().cloned().collect();
        let mut metadata = Vec::new();
        for &column in &table.metadata {
            if !table.schema.fields().iter().any(|field| field.name().eq_ignore_ascii_case(metadata_name(column))) {
                metadata.push(column);
                fields.push(Arc::new(metadata_field(column)));
            }
        }
        let declared = table.schema.fields().len();
        Self { name: table.name.clone(), declared, metadata, schema: Arc::new(Schema::new(fields)) }
    }

    /// The source's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many of the columns are declared ones; metadata columns follow.
    pub fn declared(&self) -> usize {
        self.declared
    }

    /// The column with this index, metadata columns after declared ones.
    pub(super) fn field(&self, column: usize) -> &Field {
        self.schema.field(column)
    }

    /// Which of the declared columns is called `name`.
    pub(super) fn declared_column(&self, name: &str) -> Option<usize> {
        self.schema.fields()[..self.declared].iter().position(|field| field.name() == name)
    }
}

/// Name of a metadata column in SQL.
pub fn metadata_name(column: MetadataColumn) -> &'static str {
    match column {
        MetadataColumn::Source => "_source",
        MetadataColumn::Position => "_position",
        MetadataColumn::ReceivedAt => "_received_at",
        MetadataColumn::File => "_file",
        MetadataColumn::Topic => "_topic",
        MetadataColumn::Partition => "_partition",
        MetadataColumn::Offset => "_offset",
        MetadataColumn::Timestamp => "_timestamp",
        MetadataColumn::Key => "_key",
    }
}

/// Name and type of a metadata column.
pub fn metadata_field(column: MetadataColumn) -> Field {
    use arrow::datatypes::DataType;
    let (data_type, nullable) = match column {
        MetadataColumn::Source => (DataType::Utf8, false),
        MetadataColumn::Position => (DataType::Int64, false),
        MetadataColumn::ReceivedAt => (types::timestamp(), true),
        MetadataColumn::File => (DataType::Utf8, true),
        MetadataColumn::Topic => (DataType::Utf8, false),
        MetadataColumn::Partition => (DataType::Int32, false),
        MetadataColumn::Offset => (DataType::Int64, false),
        MetadataColumn::Timestamp => (types::timestamp(), true),
        MetadataColumn::Key => (DataType::Binary, true),
    };
    Field::new(metadata_name(column), data_type, nullable)
}

/// The stream that a scan reads, if it reads one.
pub fn stream_of(scan: &TableScan) -> Option<&StreamScan> {
    let source = (scan.source.as_ref() as &dyn Any).downcast_ref::<DefaultTableSource>()?;
    (source.table_provider.as_ref() as &dyn Any).downcast_ref::<StreamScan>()
}

/// Whether any leaf of `plan`, subqueries included, is a stream.
pub fn is_streaming(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found |= stream_of(scan).is_some();
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    debug_assert!(walked.is_ok(), "the visitor never fails");
    found
}

/// What each source must bring for an optimised plan, one entry per source, by name.
pub fn scan_requests(plan: &LogicalPlan) -> Result<Vec<ScanRequest>> {
    let mut wanted: BTreeMap<String, Wanted> = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(stream) = stream_of(scan)
        {
            let wanted = wanted.entry(stream.name.clone()).or_insert_with(|| Wanted::nothing_of(stream));
            match &scan.projection {
                Some(projection) => projection.iter().for_each(|&index| wanted.columns[index] = true),
                None => wanted.columns.fill(true),
            }
            wanted.filter(
                scan.filters.iter().filter_map(|filter| Some((condition(filter, stream)?, filter.to_string()))).collect(),
            );
            wanted.scans += 1;
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(|error| from_datafusion(error, ErrorKind::Internal))?;
    Ok(wanted.into_iter().map(|(source, wanted)| wanted.request(source)).collect())
}

/// What the scans of one source want together.
struct Wanted {
    /// Declared columns, then metadata columns.
    columns: Vec<bool>,
    declared: usize,
    metadata: Vec<MetadataColumn>,
    /// Conditions with their texts.
    filter: Vec<(Condition, String)>,
    scans: usize,
}

impl Wanted {
    fn nothing_of(stream: &StreamScan) -> Self {
        let columns = vec![false; stream.schema.fields().len()];
        Self { columns, declared: stream.declared, metadata: stream.metadata.clone(), filter: Vec::new(), scans: 0 }
    }

    /// One more scan wants only the rows that fulfil `conditions`: a row can be left out that no scan wants.
    fn filter(&mut self, conditions: Vec<(Condition, String)>) {
        if self.scans == 0 {
            self.filter = conditions;
        } else {
            self.filter.retain(|(known, _)| conditions.iter().any(|(condition, _)| condition == known));
        }
    }

    fn request(self, source: String) -> ScanRequest {
        let Self { columns, declared, metadata, filter, scans } = self;
        let projection = (0..declared).filter(|&index| columns[index]).collect();
        let metadata = metadata.into_iter().zip(&columns[declared..]).filter(|(_, wanted)| **wanted).map(|(m, _)| m).collect();
        let (filter, filter_text) = filter.into_iter().unzip();
        ScanRequest { source, projection, metadata, filter, filter_text, scans }
    }
}

/// A stream as a plan's leaf.
pub fn stream_source(table: &StreamTable) -> Arc<dyn TableSource> {
    provider_as_source(Arc::new(StreamScan::new(table)))
}

#[async_trait]
impl TableProvider for StreamScan {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match condition(filter, self) {
            // The plan judges again: whatever a decoder makes of it, no row comes through that should not.
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(projection) => Arc::new(self.schema.project(projection)?),
            None => self.schema.clone(),
        };
        let scan = StreamRows { source: self.name.as_str().into() };
        Ok(Arc::new(BatchScanExec::new(Arc::new(scan), schema)))
    }
}

/// Yields the current batch's rows of one source.
#[derive(Debug, Clone)]
struct StreamRows {
    source: Arc<str>,
}

impl StreamRows {
    /// The columns of `schema` out of rows that may have more.
    fn pick(&self, rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let column = rows.column_by_name(field.name());
            let column =
                column.ok_or_else(|| Error::internal(format!("source {} brought no column {}", self.source, field.name())))?;
            columns.push(column.clone());
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(schema.clone(), columns, &options)
            .map_err(|error| Error::internal(format!("rows of source {} do not fit its schema", self.source)).because(error))
    }
}

impl BatchScan for StreamRows {
    fn describe(&self, schema: &Schema, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamScanExec: source={}, columns=[", self.source)?;
        for (index, field) in schema.fields().iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { ", " }, field.name())?;
        }
        write!(f, "]")
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn rows(&self, batch: &BatchRows, schema: SchemaRef) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let scan = self.clone();
        Ok(batch.take(&self.source)?.map(move |rows| rows.and_then(|rows| scan.pick(&rows, &schema))).boxed())
    }
}
