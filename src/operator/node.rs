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
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

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

/// What a [`PerBatchExec`] does with rows that it need not hold: each record batch goes on before the next one comes.
pub trait Flow: fmt::Debug + Send + Sync + 'static {
    /// The line in a plan.
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// A run begins.
    fn begin(&self) {}
    /// Those of `rows` that go on.
    fn pass(&self, rows: RecordBatch) -> Result<RecordBatch>;
    /// All rows of the batch have come.
    fn end(&self) -> Result<()> {
        Ok(())
    }
}

/// The work of a node, with as many inputs as it has.
#[derive(Debug, Clone)]
enum Work {
    One(Arc<dyn PerBatch>),
    Two(Arc<dyn PerBatchOfTwo>),
    Flow(Arc<dyn Flow>),
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
        Self::over(Work::One(work), vec![input], schema, EmissionType::Final)
    }

    /// `work` over two inputs, yielding rows of `schema`.
    pub fn of_two(work: Arc<dyn PerBatchOfTwo>, inputs: [Arc<dyn ExecutionPlan>; 2], schema: SchemaRef) -> Self {
        Self::over(Work::Two(work), inputs.into(), schema, EmissionType::Final)
    }

    /// `work` over `input`, yielding rows of the same schema as they come.
    pub fn flowing(work: Arc<dyn Flow>, input: Arc<dyn ExecutionPlan>) -> Self {
        let schema = input.schema();
        Self::over(Work::Flow(work), vec![input], schema, EmissionType::Incremental)
    }

    fn over(work: Work, inputs: Vec<Arc<dyn ExecutionPlan>>, schema: SchemaRef, emission: EmissionType) -> Self {
        let properties = PlanProperties::new(
            // No claim about order, constants or distinctness is made: state mixes what batches had in common.
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            emission,
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
            Work::Flow(work) => work.describe(f),
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
        type Run = Box<dyn FnOnce(&mut dyn FnMut() -> Vec<RecordBatch>) -> Result<Vec<RecordBatch>> + Send>;
        let inputs = self.inputs.clone();
        let run: Run = match self.work.clone() {
            Work::Flow(work) => return Ok(flow(work, inputs, context, self.schema())),
            Work::One(work) => Box::new(move |next| work.run(next())),
            Work::Two(work) => Box::new(move |next| work.run(next(), next())),
        };
        let rows = async move {
            let mut collected = Vec::with_capacity(inputs.len());
            for input in &inputs {
                collected.push(collect_partitions(input, &context).await?);
            }
            let mut collected = collected.into_iter();
            let rows = run(&mut || collected.next().unwrap_or_default())?;
            Ok::<_, DataFusionError>(futures::stream::iter(rows.into_iter().map(Ok)))
        };
        let stream = futures::stream::once(rows).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }
}

/// The rows of all partitions of all inputs as they come.
fn flow(
    work: Arc<dyn Flow>,
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    context: Arc<TaskContext>,
    schema: SchemaRef,
) -> SendableRecordBatchStream {
    work.begin();
    let rows = futures::stream::iter(inputs).flat_map(move |input| partitions_in_turn(input, context.clone()));
    let last = work.clone();
    let passed = rows.and_then(move |rows| futures::future::ready(work.pass(rows).map_err(DataFusionError::from)));
    let end = futures::stream::once(async move { last.end().map_err(DataFusionError::from) });
    let end = end.try_filter_map(|()| futures::future::ready(Ok(None)));
    Box::pin(RecordBatchStreamAdapter::new(schema, passed.chain(end)))
}

/// The rows of a plan as they come, partition after partition; each begins when the one before has ended.
pub fn partitions_in_turn(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
) -> BoxStream<'static, DataFusionResult<RecordBatch>> {
    let count = plan.output_partitioning().partition_count();
    let partitions = futures::stream::iter(0..count).map(move |partition| plan.execute(partition, context.clone()));
    partitions.try_flatten().boxed()
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
