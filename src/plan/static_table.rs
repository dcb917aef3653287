//! Static tables in a plan: rows that never change, and rows that whoever reads the files may replace between two batches.
//!
//! The former are DataFusion's own table in memory. A leaf over the latter holds no rows: like that of a stream it takes them from
//! the [`BatchRows`] of the task context, so that all scans of one batch see the same, and a plan that is built once goes on.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::{DefaultTableSource, MemTable, provider_as_source};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, LogicalPlan, TableSource, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::StaticTable;
use super::batch_scan::{BatchScan, BatchScanExec};
use super::catalog::BatchRows;
use crate::error::{Error, ErrorKind, Result, from_datafusion};

/// The rows of a static table.
#[derive(Debug, Clone)]
pub enum TableRows {
    /// Those that were read at start.
    Fixed(Vec<RecordBatch>),
    /// Those that were read last.
    Replaceable(ReplaceableRows),
}

impl From<Vec<RecordBatch>> for TableRows {
    fn from(rows: Vec<RecordBatch>) -> Self {
        Self::Fixed(rows)
    }
}

/// Rows that can be replaced as a whole, by others of the same schema. Clones share them: every query takes them from the same place,
/// each between two of its batches.
#[derive(Debug, Clone)]
pub struct ReplaceableRows(Arc<Mutex<Arc<Vec<RecordBatch>>>>);

impl ReplaceableRows {
    /// `rows`, until they are replaced.
    pub fn new(rows: Vec<RecordBatch>) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(rows))))
    }

    /// Puts `rows` in the place of those before. A batch under way keeps what it has.
    pub fn replace(&self, rows: Vec<RecordBatch>) {
        *self.lock() = Arc::new(rows);
    }

    /// The rows of now.
    pub fn latest(&self) -> Arc<Vec<RecordBatch>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Vec<RecordBatch>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A static table as a plan's leaf.
pub fn static_source(table: &StaticTable) -> Result<Arc<dyn TableSource>> {
    let StaticTable { name, schema, rows } = table;
    let provider: Arc<dyn TableProvider> = match rows {
        TableRows::Fixed(rows) => {
            let table = MemTable::try_new(schema.clone(), vec![rows.clone()]);
            Arc::new(table.map_err(|error| from_datafusion(error, ErrorKind::Internal))?)
        }
        TableRows::Replaceable(rows) => {
            Arc::new(ReplaceableTable { name: name.as_str().into(), schema: schema.clone(), rows: rows.clone() })
        }
    };
    Ok(provider_as_source(provider))
}

/// The tables that a query reads and that may get other rows, each with those that its batches see.
#[derive(Debug, Default)]
pub(super) struct TablesInUse(BTreeMap<Arc<str>, (ReplaceableRows, Arc<Vec<RecordBatch>>)>);

impl TablesInUse {
    /// Those of `plan`, with their rows of now.
    pub(super) fn of(plan: &LogicalPlan) -> Result<Self> {
        let mut tables = BTreeMap::new();
        let walked = plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node
                && let Some(source) = (scan.source.as_ref() as &dyn Any).downcast_ref::<DefaultTableSource>()
                && let Some(table) = (source.table_provider.as_ref() as &dyn Any).downcast_ref::<ReplaceableTable>()
            {
                tables.insert(table.name.clone(), (table.rows.clone(), table.rows.latest()));
            }
            Ok(TreeNodeRecursion::Continue)
        });
        walked.map_err(|error| from_datafusion(error, ErrorKind::Internal))?;
        Ok(Self(tables))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(AsRef::as_ref)
    }

    /// Takes the rows of now for the batches to come: whether any are others.
    pub(super) fn use_latest(&mut self) -> bool {
        let mut any = false;
        for (rows, used) in self.0.values_mut() {
            let latest = rows.latest();
            any |= !Arc::ptr_eq(used, &latest);
            *used = latest;
        }
        any
    }

    pub(super) fn rows(&self) -> BTreeMap<Arc<str>, Arc<Vec<RecordBatch>>> {
        self.0.iter().map(|(name, (_, used))| (name.clone(), used.clone())).collect()
    }
}

/// A table whose rows may be replaced.
#[derive(Debug)]
struct ReplaceableTable {
    name: Arc<str>,
    schema: SchemaRef,
    rows: ReplaceableRows,
}

#[async_trait]
impl TableProvider for ReplaceableTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&columns)?);
        let scan = LatestRows { table: self.name.clone(), columns };
        Ok(Arc::new(BatchScanExec::new(Arc::new(scan), schema)))
    }
}

/// Yields the rows of a table that the batch sees.
#[derive(Debug)]
struct LatestRows {
    table: Arc<str>,
    columns: Vec<usize>,
}

impl BatchScan for LatestRows {
    fn describe(&self, _schema: &Schema, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableScanExec: table={}, read again when its files change", self.table)
    }

    fn is_stream(&self) -> bool {
        false
    }

    fn rows(&self, batch: &BatchRows, _schema: SchemaRef) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let rows = batch.table(&self.table).ok_or_else(|| Error::internal(format!("a batch has no table {}", self.table)))?;
        let columns = self.columns.clone();
        let fits = |error| Error::internal("a table has other columns than planned").because(error);
        let projected = (0..rows.len()).map(move |index| rows[index].project(&columns).map_err(fits));
        Ok(futures::stream::iter(projected).boxed())
    }
}
