//! The functions of an aggregation: partial states of a batch, states merged with each other, states turned into results.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, FieldRef};
use datafusion::common::{DFSchemaRef, Result as DataFusionResult};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{EmitTo, Expr, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};

use crate::error::{Error, ErrorKind, Result, from_datafusion};

/// The functions of one aggregation, and which columns of its state are each one's.
#[derive(Debug)]
pub(super) struct Functions {
    functions: Vec<Arc<AggregateFunctionExpr>>,
    ranges: Vec<Range<usize>>,
    fields: Vec<FieldRef>,
    keyed: bool,
}

/// The partial aggregation of `input` by `group_by`, which yields each group once if the input has one partition, and the functions
/// that understand its states.
pub(super) fn partial(
    aggr_expr: &[Expr],
    group_by: PhysicalGroupBy,
    input: Arc<dyn ExecutionPlan>,
    logical_schema: &DFSchemaRef,
    properties: &ExecutionProps,
    subqueries: &PhysicalPlanningContext,
) -> DataFusionResult<(AggregateExec, Functions)> {
    let input_schema = input.schema();
    let (mut functions, mut filters) = (Vec::new(), Vec::new());
    for expr in aggr_expr {
        let lowered = LoweredAggregateBuilder::new(expr, logical_schema, &input_schema, properties, subqueries).build()?;
        functions.push(lowered.aggregate);
        filters.push(lowered.filter);
    }
    let keyed = !group_by.expr().is_empty();
    let partial = AggregateExec::try_new(AggregateMode::Partial, group_by, functions, filters, input, input_schema)?;
    // The aggregation may have replaced a function by its reverse; its own are the ones that understand its states.
    let functions = Functions::new(partial.aggr_expr().to_vec(), keyed)?;
    Ok((partial, functions))
}

impl Functions {
    /// State columns are named by position, so that a renamed alias does not change the state's schema.
    fn new(functions: Vec<Arc<AggregateFunctionExpr>>, keyed: bool) -> DataFusionResult<Self> {
        let (mut fields, mut ranges) = (Vec::<FieldRef>::new(), Vec::new());
        for (position, function) in functions.iter().enumerate() {
            let start = fields.len();
            for (part, field) in function.state_fields()?.iter().enumerate() {
                let name = format!("{}_{position}_{part}", function.fun().name());
                fields.push(Arc::new(Field::new(name, field.data_type().clone(), true)));
            }
            ranges.push(start..fields.len());
        }
        Ok(Self { functions, ranges, fields, keyed })
    }

    /// The state columns of all functions in order.
    pub(super) fn state_fields(&self) -> &[FieldRef] {
        &self.fields
    }

    /// What the functions are called.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.functions.iter().map(|function| function.fun().name().to_owned())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.functions.len()
    }

    /// The states of `total` groups after all of `parts` in turn, each of them state columns and the groups of their rows.
    /// Accumulators take it that the groups of the parts, one part after another, are first named in ascending order.
    pub(super) fn merge(&self, parts: &[(&[ArrayRef], &[usize])], total: usize) -> Result<Vec<ArrayRef>> {
        let mut merged = Vec::with_capacity(self.fields.len());
        for (function, range) in self.functions.iter().zip(&self.ranges) {
            let mut accumulator = self.accumulator(function)?;
            let mut known = 0;
            for (states, groups) in parts {
                known = groups.iter().max().map_or(known, |group| known.max(group + 1));
                accumulator.merge_batch(&states[range.clone()], groups, known).map_err(data_error)?;
            }
            debug_assert_eq!(known, total, "each group is named");
            merged.extend(accumulator.state(EmitTo::All).map_err(data_error)?);
        }
        Ok(merged)
    }

    /// The states of `rows` groups of which none was known before, from those of their batch.
    pub(super) fn first(&self, batch: &[ArrayRef], rows: usize) -> Result<Vec<ArrayRef>> {
        let groups: Vec<usize> = (0..rows).collect();
        let mut states = batch.to_vec();
        for (function, range) in self.functions.iter().zip(&self.ranges) {
            if rows > 0 && MERGED_ALWAYS.iter().any(|name| function.fun().name().starts_with(name)) {
                let mut accumulator = self.accumulator(function)?;
                accumulator.merge_batch(&batch[range.clone()], &groups, rows).map_err(data_error)?;
                states[range.clone()].clone_from_slice(&accumulator.state(EmitTo::All).map_err(data_error)?);
            }
        }
        Ok(states)
    }

    /// The results of `rows` groups.
    pub(super) fn results(&self, states: &[ArrayRef], rows: usize) -> Result<Vec<ArrayRef>> {
        let groups: Vec<usize> = (0..rows).collect();
        let result = |(function, range): (&Arc<AggregateFunctionExpr>, &Range<usize>)| {
            if let [value] = &states[range.clone()]
                && is_own_state(function)
            {
                return Ok(value.clone());
            }
            let mut accumulator = self.accumulator(function)?;
            accumulator.merge_batch(&states[range.clone()], &groups, rows).map_err(data_error)?;
            accumulator.evaluate(EmitTo::All).map_err(data_error)
        };
        self.functions.iter().zip(&self.ranges).map(result).collect()
    }

    fn accumulator(&self, function: &Arc<AggregateFunctionExpr>) -> Result<Box<dyn GroupsAccumulator>> {
        // Without keys the partial aggregation uses plain accumulators: their states are theirs to read.
        if self.keyed && function.groups_accumulator_supported() {
            return function.create_groups_accumulator().map_err(data_error);
        }
        let function = function.clone();
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
    }
}

/// Functions whose result is the only column of their state.
const OWN_STATES: [&str; 6] = ["count", "min", "max", "collect_list", "collect_set", "collect_union"];

/// Functions whose ties depend on how often their states were merged: also those of a new group are, as in Spark.
const MERGED_ALWAYS: [&str; 2] = ["approx_top_k", "mode"];

/// Whether the result is the only column of the state.
fn is_own_state(function: &AggregateFunctionExpr) -> bool {
    let result = function.field();
    let same = |state: &[FieldRef]| matches!(state, [state] if state.data_type() == result.data_type());
    OWN_STATES.contains(&function.fun().name()) && function.state_fields().is_ok_and(|state| same(&state))
}

fn data_error(error: datafusion::error::DataFusionError) -> Error {
    from_datafusion(error, ErrorKind::Data)
}
