//! The physical node of everything here: reads its input's rows of one batch, works on them, yields the result.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result as DataFusionResult;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use futures::TryStreamExt;

use crate::error::Result;

/// What a [`PerBatchExec`] does with one batch's rows.
pub trait PerBatch: fmt::Debug + Send + Sync + 'static {
    /// The line in a plan.
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// The rows to yield for the input's rows, which may be none at all.
    fn run(&self, rows: Vec<RecordBatch>) -> Result<Vec<RecordBatch>>;
}

/// What a [`PerBatchExec`] does with one batch's rows of two inputs.
pub trait PerBatchOfTwo: fmt::Debug + Send + Sync + 'static {
    /// The line in a plan.
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// The rows to yield for the rows of both inputs, which may be none at all.
    fn run(&self, left: Vec<RecordBatch>, right: Vec<RecordBatch>) -> Result<Vec<RecordBatch>>;
}

/// The work of a node, with as many inputs as it has.
#[derive(Debug, Clone)]
enum Work {
    One(Arc<dyn PerBatch>),
    Two(Arc<dyn PerBatchOfTwo>),
}

/// The node. It takes its inputs' partitions in order and has one partition itself.
#[derive(Debug)]
pub struct PerBatchExec {
    work: Work,
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
}

impl PerBatchExec {
    /// `work` over `input`, yielding rows of `schema`.
    pub fn new(work: Arc<dyn PerBatch>, input: Arc<dyn ExecutionPlan>, schema: SchemaRef) -> Self {
        Self::over(Work::One(work), vec![input], schema)
    }

    /// `work` over two inputs, yielding rows of `schema`.
    pub fn of_two(work: Arc<dyn PerBatchOfTwo>, inputs: [Arc<dyn ExecutionPlan>; 2], schema: SchemaRef) -> Self {
        Self::over(Work::Two(work), inputs.into(), schema)
    }

    fn over(work: Work, inputs: Vec<Arc<dyn ExecutionPlan>>, schema: SchemaRef) -> Self {
        let properties = PlanProperties::new(
            // No claim about order, constants or distinctness is made: state mixes what batches had in common.
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self { work, inputs, properties: Arc::new(properties) }
    }
}

impl DisplayAs for PerBatchExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.work {
            Work::One(work) => work.describe(f),
            Work::Two(work) => work.describe(f),
        }
    }
}

impl ExecutionPlan for PerBatchExec {
    fn name(&self) -> &'static str {
        "PerBatchExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.inputs.len()]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        if children.len() != self.inputs.len() {
            return Err(DataFusionError::Internal("a per-batch node keeps the number of its inputs".to_owned()));
        }
        Ok(Arc::new(Self { work: self.work.clone(), inputs: children, properties: self.properties.clone() }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(Recompute))
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let (work, inputs) = (self.work.clone(), self.inputs.clone());
        let rows = async move {
            let mut collected = Vec::with_capacity(inputs.len());
            for input in &inputs {
                collected.push(collect_partitions(input, &context).await?);
            }
            let mut collected = collected.into_iter();
            let mut next = || collected.next().unwrap_or_default();
            let rows = match &work {
                Work::One(work) => work.run(next())?,
                Work::Two(work) => work.run(next(), next())?,
            };
            Ok::<_, DataFusionError>(futures::stream::iter(rows.into_iter().map(Ok)))
        };
        let stream = futures::stream::once(rows).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }
}

/// The new input of `node`, which has a single one.
pub fn only_input(node: &str, mut children: Vec<Arc<dyn ExecutionPlan>>) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    let input = children.pop().filter(|_| children.is_empty());
    input.ok_or_else(|| DataFusionError::Internal(format!("{node} has one input")))
}

/// All rows of a plan, partition after partition.
pub async fn collect_partitions(plan: &Arc<dyn ExecutionPlan>, context: &Arc<TaskContext>) -> DataFusionResult<Vec<RecordBatch>> {
    let mut rows = Vec::new();
    for partition in 0..plan.output_partitioning().partition_count() {
        let mut stream = plan.execute(partition, context.clone())?;
        while let Some(batch) = stream.try_next().await? {
            if batch.num_rows() > 0 {
                rows.push(batch);
            }
        }
    }
    Ok(rows)
}
