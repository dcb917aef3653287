//! The physical node of a call: hands the arguments of its rows to the function, and puts the answers beside the rows they are for.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat, concat_batches, filter_record_batch, take};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::{StreamExt, TryStreamExt};

use super::node::{CallNode, Callee};
use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::function::{Answer, Answered, CallError, OnError, QueryCalls};
use crate::operator::node::{only_input, partitions_in_turn};
use crate::plan::event_time::{EventTime, SetAside, SetAsideKind};
use crate::plan::spark::relation::carried::Carries;

/// Most answers that are put together at once.
const READY_MAX: usize = 1024;

/// Plans [`CallNode`]s; any other node is somebody else's.
#[derive(Debug)]
pub struct CallPlanner(pub Arc<EventTime>);

#[async_trait]
impl ExtensionPlanner for CallPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> DataFusionResult<Option<Arc<dyn ExecutionPlan>>> {
        let Some(call) = node.as_any().downcast_ref::<CallNode>() else { return Ok(None) };
        let ([logical], [input]) = (logical_inputs, physical_inputs) else {
            return Err(DataFusionError::Internal("a call takes one input".into()));
        };
        let args = call.args().iter().map(|arg| planner.create_physical_expr(arg, logical.schema(), session, context));
        let caller = Caller {
            callee: call.callee().clone(),
            args: args.collect::<DataFusionResult<_>>()?,
            keep: call.keep().iter().map(|id| input.schema().index_of(id)).collect::<Result<_, _>>()?,
            schema: node.schema().inner().clone(),
            event_time: self.0.clone(),
        };
        Ok(Some(Arc::new(CallExec::new(Arc::new(caller), input.clone()))))
    }
}

/// What a [`CallExec`] does.
#[derive(Debug)]
struct Caller {
    callee: Callee,
    args: Vec<Arc<dyn PhysicalExpr>>,
    /// Columns of the input that are carried along.
    keep: Vec<usize>,
    schema: SchemaRef,
    /// Takes rows whose call failed.
    event_time: Arc<EventTime>,
}

/// The node. It takes its input's partitions in order and has one partition itself.
#[derive(Debug)]
pub struct CallExec {
    caller: Arc<Caller>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl CallExec {
    /// The name of the function that is called.
    pub fn function(&self) -> &str {
        self.caller.callee.name()
    }

    fn new(caller: Arc<Caller>, input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(caller.schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { caller, input, properties: Arc::new(properties) }
    }
}

/// Rows whose answers have not come yet. They are as many as the function has taken, which is bounded by its window.
#[derive(Debug, Default)]
struct Waiting {
    /// In order, each with the number of its rows that still wait.
    batches: VecDeque<(RecordBatch, usize)>,
    /// Rows of the batches that are no longer there.
    gone: usize,
}

impl Waiting {
    fn push(&mut self, rows: RecordBatch) {
        let count = rows.num_rows();
        self.batches.push_back((rows, count));
    }

    /// The rows from number `start` on, which are `count`.
    fn take(&mut self, start: usize, count: usize, schema: &SchemaRef) -> Result<RecordBatch> {
        let (mut first, wanted) = (self.gone, start..start + count);
        let mut parts = Vec::new();
        for (rows, left) in &mut self.batches {
            let (from, to) = (wanted.start.max(first), wanted.end.min(first + rows.num_rows()));
            if from < to {
                parts.push(rows.slice(from - first, to - from));
                *left -= to - from;
            }
            first += rows.num_rows();
        }
        while let Some((rows, 0)) = self.batches.front() {
            self.gone += rows.num_rows();
            self.batches.pop_front();
        }
        match parts.as_slice() {
            [only] if only.num_rows() == count => Ok(only.clone()),
            parts if parts.iter().map(RecordBatch::num_rows).sum::<usize>() == count => {
                concat_batches(schema, parts).map_err(|e| Error::internal("rows of a batch do not go together").because(e))
            }
            _ => Err(Error::internal("a function answered for rows that it was not given")),
        }
    }
}

/// Values for rows that follow each other, as one answer.
fn together(parts: Vec<Answered>) -> Result<Vec<Answered>> {
    let mut merged: Vec<Answered> = Vec::with_capacity(parts.len());
    let mut values: Vec<Vec<ArrayRef>> = Vec::with_capacity(parts.len());
    for part in parts {
        let Answer::Values(value) = &part.answer else {
            merged.push(part);
            values.push(Vec::new());
            continue;
        };
        match (merged.last_mut(), values.last_mut()) {
            (Some(last), Some(before)) if !before.is_empty() && last.start + last.rows == part.start => {
                before.push(value.clone());
                last.failed.extend(part.failed.into_iter().map(|(row, error)| (row + last.rows, error)));
                last.rows += part.rows;
            }
            _ => {
                values.push(vec![value.clone()]);
                merged.push(part);
            }
        }
    }
    for (part, values) in merged.iter_mut().zip(values).filter(|(_, values)| values.len() > 1) {
        let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
        let all = concat(&values).map_err(|e| Error::internal("answers do not go together").because(e))?;
        part.answer = Answer::Values(all);
    }
    Ok(merged)
}

impl Caller {
    /// The number that the plan has given to the column of the answer: another one for each call, and the same whenever it is planned.
    fn number(&self) -> &str {
        let answer = self.schema.field(self.keep.len()).name();
        answer.rsplit_once('#').map_or(answer.as_str(), |(_, number)| number)
    }

    /// The arguments of `rows`, as the function declares them.
    fn arguments(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let declared = &self.callee.0.signature().args;
        let mut columns = Vec::with_capacity(self.args.len());
        for (arg, field) in self.args.iter().zip(declared) {
            let values = arg.evaluate(rows).and_then(|values| values.into_array(rows.num_rows()));
            let values = values.map_err(|e| from_datafusion(e, ErrorKind::Data))?;
            // Only names and nullability within nested types can differ.
            let values = if values.data_type() == field.data_type() { values } else { relabelled(&values, field.data_type())? };
            columns.push(values);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(declared.clone())), columns, &options)
            .map_err(|e| Error::internal("arguments are not as declared").because(e))
    }

    /// The rows of a part of the batch with their answers.
    fn joined(&self, rows: &RecordBatch, answered: Answered) -> Result<RecordBatch> {
        let broken = |e| Error::internal("an answer does not fit its rows").because(e);
        let Answered { answer, failed, .. } = answered;
        self.set_aside(rows, &failed)?;
        let kept = rows.project(&self.keep).map_err(broken)?;
        let (kept, answers, dropped) = match answer {
            Answer::Values(values) => {
                let drops = self.callee.0.settings().on_error == OnError::DropRow;
                (kept, vec![values], if drops { failed } else { Vec::new() })
            }
            // Rows that failed have none here.
            Answer::Rows { of, .. } if of.null_count() > 0 && kept.num_columns() > 0 => {
                return Err(self.rows_of_nobody(&kept));
            }
            Answer::Rows { rows: yielded, of } => (taken(&kept, &of).map_err(broken)?, yielded.columns().to_vec(), Vec::new()),
        };
        let columns = kept.columns().iter().cloned().chain(answers).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(kept.num_rows()));
        let joined = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(broken)?;
        if dropped.is_empty() {
            return Ok(joined);
        }
        let mut stays = vec![true; joined.num_rows()];
        dropped.iter().for_each(|(row, _)| stays[*row] = false);
        filter_record_batch(&joined, &BooleanArray::from(stays)).map_err(broken)
    }

    fn rows_of_nobody(&self, kept: &RecordBatch) -> Error {
        let name = self.callee.name();
        let message = match kept.num_columns() {
            1 => "the query reads another column of that row",
            _ => "the query reads other columns of that row",
        };
        Error::config(format!("function {name}: its rows do not say which row they are for, and {message}"))
    }

    /// Reports the rows whose calls failed, those of one reason together.
    fn set_aside(&self, rows: &RecordBatch, failed: &[(usize, Arc<CallError>)]) -> Result<()> {
        let mut by_reason: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (row, error) in failed {
            by_reason.entry(&error.message).or_default().push(u32::try_from(*row).unwrap_or(u32::MAX));
        }
        for (reason, which) in by_reason {
            let rows = taken(rows, &UInt32Array::from(which));
            self.event_time.set_aside(SetAside {
                kind: SetAsideKind::FailedCall,
                operator: format!("function {}", self.callee.name()),
                watermark_ms: None,
                field: None,
                reason: reason.to_owned(),
                rows: rows.map_err(|e| Error::internal("could not set failed rows aside").because(e))?,
            });
        }
        Ok(())
    }
}

/// The rows of these numbers, also where there are no columns.
fn taken(rows: &RecordBatch, which: &UInt32Array) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter().map(|column| take(column, which, None)).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(which.len()));
    RecordBatch::try_new_with_options(rows.schema(), columns, &options)
}

/// `values` as `data_type`, from which they differ in no value.
fn relabelled(values: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    arrow::compute::cast(values, data_type).map_err(|e| Error::internal("an argument is not as declared").because(e))
}

impl DisplayAs for CallExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args: Vec<String> = self.caller.args.iter().map(ToString::to_string).collect();
        write!(f, "CallExec: {}({})", self.caller.callee.name(), args.join(", "))
    }
}

impl ExecutionPlan for CallExec {
    fn name(&self) -> &'static str {
        "CallExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        for arg in &self.caller.args {
            if visit(arg)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(self.caller.clone(), only_input("a call", children)?)))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let batch = context.session_config().get_extension::<QueryCalls>();
        let batch = batch.ok_or_else(|| DataFusionError::from(Error::internal("a function was called outside a batch")))?;
        let batch = batch.of(self.function(), self.caller.number())?;
        let (caller, waiting) = (self.caller.clone(), Arc::new(Mutex::new(Waiting::default())));
        let (taking, given) = (caller.clone(), waiting.clone());
        let args = partitions_in_turn(self.input.clone(), context).map(move |rows| {
            let rows = rows.map_err(|e| from_datafusion(e, ErrorKind::Data))?;
            let args = taking.arguments(&rows)?;
            given.lock().unwrap_or_else(PoisonError::into_inner).push(rows);
            Ok(args)
        });
        let input_schema = self.input.schema();
        // Calls of a row each would otherwise make batches of a row each.
        let answers = self.caller.callee.0.answer(batch, args.boxed()).ready_chunks(READY_MAX);
        let joined = answers.map(move |ready| {
            let mut joined = Vec::new();
            for answered in together(ready.into_iter().collect::<Result<_>>()?)? {
                let rows =
                    waiting.lock().unwrap_or_else(PoisonError::into_inner).take(answered.start, answered.rows, &input_schema);
                joined.push(caller.joined(&rows?, answered).map_err(DataFusionError::from));
            }
            Ok::<_, Error>(futures::stream::iter(joined))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), joined.map_err(DataFusionError::from).try_flatten())))
    }
}
