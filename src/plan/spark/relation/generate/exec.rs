//! The physical node of generators.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, RecordBatchOptions, StructArray, UInt64Array, make_array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    ReplaceChildrenOptions,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::{StreamExt, stream};

use super::super::carried::Carries;
use super::node::{Generate, Options};
use crate::operator::node::only_input;

/// Rows of one output batch at most.
const ROWS_MAX: usize = 8192;

/// Plans [`Generate`] nodes; any other node is somebody else's.
#[derive(Debug, Default)]
pub struct GeneratePlanner;

#[async_trait]
impl ExtensionPlanner for GeneratePlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(generate) = node.as_any().downcast_ref::<Generate>() else { return Ok(None) };
        let ([logical], [input]) = (logical_inputs, physical_inputs) else {
            return Err(DataFusionError::Internal("a generator takes one input".into()));
        };
        let list = planner.create_physical_expr(generate.list(), logical.schema(), session, context)?;
        let keep = generate.keep().iter().map(|id| input.schema().index_of(id)).collect::<Result<_, _>>()?;
        let schema = node.schema().inner().clone();
        Ok(Some(Arc::new(GenerateExec::new(input.clone(), keep, list, generate.options(), schema))))
    }
}

/// Carries columns of its input along and adds a row per element of a list.
#[derive(Debug, Clone)]
pub struct GenerateExec {
    input: Arc<dyn ExecutionPlan>,
    keep: Vec<usize>,
    list: Arc<dyn PhysicalExpr>,
    options: Options,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl GenerateExec {
    fn new(
        input: Arc<dyn ExecutionPlan>,
        keep: Vec<usize>,
        list: Arc<dyn PhysicalExpr>,
        options: Options,
        schema: SchemaRef,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            datafusion::physical_plan::Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, keep, list, options, schema, properties: Arc::new(properties) }
    }

    /// The output of one input batch, in batches of at most [`ROWS_MAX`] rows.
    fn expand(&self, rows: &RecordBatch) -> Result<Vec<RecordBatch>> {
        let list = self.list.evaluate(rows)?.into_array(rows.num_rows())?;
        let (offsets, values) = elements(&list)?;
        let mut output = Vec::new();
        let mut chunk = Chunk::default();
        for row in 0..rows.num_rows() {
            let (start, end) = if list.is_null(row) { (0, 0) } else { (offsets[row], offsets[row + 1]) };
            if start == end && self.options.outer {
                chunk.push(row, None, None);
            }
            for (position, element) in (start..end).enumerate() {
                chunk.push(row, Some(element), i32::try_from(position).ok());
                if chunk.rows.len() >= ROWS_MAX {
                    output.push(self.assemble(rows, &values, std::mem::take(&mut chunk))?);
                }
            }
        }
        if !chunk.rows.is_empty() {
            output.push(self.assemble(rows, &values, chunk)?);
        }
        Ok(output)
    }

    fn assemble(&self, rows: &RecordBatch, values: &ArrayRef, chunk: Chunk) -> Result<RecordBatch> {
        let count = chunk.rows.len();
        let from = UInt64Array::from(chunk.rows);
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for &index in &self.keep {
            columns.push(take(rows.column(index), &from, None)?);
        }
        if self.options.position {
            columns.push(Arc::new(Int32Array::from(chunk.positions)));
        }
        let picked = take(values, &UInt64Array::from(chunk.elements), None)?;
        if self.options.flatten {
            let structs = picked.as_struct();
            for index in 0..structs.num_columns() {
                columns.push(member(structs, index)?);
            }
        } else {
            columns.push(picked);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

/// Rows being gathered: input row, element (none: nulls), position.
#[derive(Default)]
struct Chunk {
    rows: Vec<u64>,
    elements: Vec<Option<u64>>,
    positions: Vec<Option<i32>>,
}

impl Chunk {
    fn push(&mut self, row: usize, element: Option<usize>, position: Option<i32>) {
        self.rows.push(row as u64);
        self.elements.push(element.map(|element| element as u64));
        self.positions.push(position);
    }
}

/// A field of structs; it is null where its struct is, whatever lies beneath.
fn member(structs: &StructArray, index: usize) -> Result<ArrayRef> {
    let field = structs.column(index);
    if structs.null_count() == 0 || field.data_type() == &DataType::Null {
        return Ok(field.clone());
    }
    let nulls = NullBuffer::union(structs.nulls(), field.nulls());
    Ok(make_array(field.to_data().into_builder().nulls(nulls).build()?))
}

/// Where each row's elements lie, and the elements.
fn elements(list: &ArrayRef) -> Result<(Vec<usize>, ArrayRef)> {
    let offsets = |offsets: &[i32]| offsets.iter().map(|&offset| usize::try_from(offset).unwrap_or_default()).collect();
    if let Some(list) = list.as_list_opt::<i32>() {
        return Ok((offsets(list.value_offsets()), list.values().clone()));
    }
    if let Some(map) = list.as_map_opt() {
        return Ok((offsets(map.value_offsets()), Arc::new(map.entries().clone())));
    }
    Err(DataFusionError::Internal(format!("a generator's argument is of type {}", list.data_type())))
}

impl DisplayAs for GenerateExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GenerateExec: {}{}", self.list, if self.options.outer { ", outer" } else { "" })
    }
}

impl ExecutionPlan for GenerateExec {
    fn name(&self) -> &'static str {
        "GenerateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        visit(&self.list)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = only_input("a generator", children)?;
        let this = self.as_ref();
        Ok(Arc::new(Self::new(input, this.keep.clone(), this.list.clone(), this.options, this.schema.clone())))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let this = self.clone();
        let output = input.flat_map(move |rows| {
            let batches = match rows.and_then(|rows| this.expand(&rows)) {
                Ok(batches) => batches.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            stream::iter(batches)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), output)))
    }
}
