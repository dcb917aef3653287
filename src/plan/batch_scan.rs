//! The leaf of a plan that is built once: it holds no rows, but takes those of the batch from the task context.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use futures::StreamExt;
use futures::stream::BoxStream;

use super::catalog::BatchRows;
use crate::error::{Error, Result};

/// What a [`BatchScanExec`] takes from a batch.
pub(super) trait BatchScan: fmt::Debug + Send + Sync + 'static {
    /// The line in a plan, if the leaf has this schema.
    fn describe(&self, schema: &Schema, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// Whether each batch brings other rows.
    fn is_stream(&self) -> bool;
    /// The rows, with the leaf's schema.
    fn rows(&self, batch: &BatchRows, schema: SchemaRef) -> Result<BoxStream<'static, Result<RecordBatch>>>;
}

/// The leaf. Nothing is said of how many rows there are: that is another number whenever the plan runs.
#[derive(Debug)]
pub(super) struct BatchScanExec {
    scan: Arc<dyn BatchScan>,
    properties: Arc<PlanProperties>,
}

impl BatchScanExec {
    /// `scan`, yielding rows of `schema`.
    pub(super) fn new(scan: Arc<dyn BatchScan>, schema: SchemaRef) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { scan, properties: Arc::new(properties) }
    }

    /// Whether each batch brings other rows.
    pub(super) fn is_stream(&self) -> bool {
        self.scan.is_stream()
    }
}

impl DisplayAs for BatchScanExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scan.describe(&self.schema(), f)
    }
}

impl ExecutionPlan for BatchScanExec {
    fn name(&self) -> &'static str {
        "BatchScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let batch = context.session_config().get_extension::<BatchRows>();
        let batch = batch.ok_or_else(|| DataFusionError::from(Error::internal("a plan over streams was run outside a batch")))?;
        let rows = self.scan.rows(&batch, self.schema())?.map(|rows| rows.map_err(DataFusionError::from));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
