//! LIMIT over the life of a stream: once that many rows have come out, none does.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::{DFSchemaRef, DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{
    Expr, FetchType, Limit, LogicalPlan, SkipType, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};

use super::node::{PerBatch, PerBatchExec};
use super::{Claim, Claimed, OnWatermark, Operator, OperatorSpec, Planned, Planning};
use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::plan::OutputMode;
use crate::plan::catalog::is_streaming;
use crate::plan::output_mode::has_streaming_aggregate;
use crate::state::StateSchema;

/// See the module.
pub static SPEC: OperatorSpec = OperatorSpec { kind: "limit", spark_name: "globalLimit", claim, plan };

fn claim(node: &LogicalPlan, claim: &Claim<'_>) -> Result<Claimed> {
    let LogicalPlan::Limit(limit) = node else { return Ok(None) };
    // Over an aggregation's whole result, each batch is cut anew.
    if !is_streaming(&limit.input) || (claim.mode != OutputMode::Append && has_streaming_aggregate(&limit.input)) {
        return Ok(None);
    }
    let (mut input, mut rows_max) = (limit.input.as_ref().clone(), constant(limit)?);
    // Limits of limits are one limit, as they are to Spark.
    while let Some((inner, rows)) = without_limit(&input)? {
        (input, rows_max) = (inner, rows_max.min(rows));
    }
    // Nothing is remembered to yield nothing: optimisation removes the input altogether.
    Ok((rows_max > 0).then(|| Arc::new(StatefulLimit { id: claim.id.to_owned(), rows_max, input }) as _))
}

fn constant(limit: &Limit) -> Result<u64> {
    let fetch = limit.get_fetch_type().map_err(|e| from_datafusion(e, ErrorKind::Config))?;
    let skip = limit.get_skip_type().map_err(|e| from_datafusion(e, ErrorKind::Config))?;
    match (skip, fetch) {
        (SkipType::Literal(0), FetchType::Literal(Some(rows))) => Ok(rows as u64),
        _ => Err(Error::config("the limit of a stream is not a constant")),
    }
}

/// `plan` without the limit at its top or below renaming and computing, which neither add nor drop rows.
fn without_limit(plan: &LogicalPlan) -> Result<Option<(LogicalPlan, u64)>> {
    match plan {
        LogicalPlan::Limit(limit) => Ok(Some((limit.input.as_ref().clone(), constant(limit)?))),
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
            let [input] = plan.inputs()[..] else { return Ok(None) };
            let Some((input, rows)) = without_limit(input)? else { return Ok(None) };
            let plan =
                plan.with_new_exprs(plan.expressions(), vec![input]).map_err(|e| from_datafusion(e, ErrorKind::Internal))?;
            Ok(Some((plan, rows)))
        }
        _ => Ok(None),
    }
}

/// The logical node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
struct StatefulLimit {
    id: String,
    rows_max: u64,
    input: LogicalPlan,
}

impl UserDefinedLogicalNodeCore for StatefulLimit {
    fn name(&self) -> &str {
        "StatefulLimit"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatefulLimit: {}, rows={}", self.id, self.rows_max)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DataFusionResult<Self> {
        let input = inputs.pop().ok_or_else(|| DataFusionError::Internal("a limit has an input".to_owned()))?;
        Ok(Self { input, ..self.clone() })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }
}

fn plan(node: &dyn UserDefinedLogicalNode, planning: Planning<'_>) -> Result<Option<Planned>> {
    let Some(node) = node.as_any().downcast_ref::<StatefulLimit>() else { return Ok(None) };
    let state = StateSchema::new(Vec::new(), vec![Arc::new(Field::new("rows", DataType::Int64, false))]);
    // The limit itself is no parameter of the state: raising it lets more rows out.
    let operator = Operator::new(&SPEC, &node.id, state, Vec::new(), OnWatermark::Nothing, planning.memory)?;
    let schema = planning.input.schema();
    let cut = Cut { operator: operator.clone(), rows_max: node.rows_max };
    Ok(Some(Planned { node: Arc::new(PerBatchExec::new(Arc::new(cut), planning.input, schema)), operators: vec![operator] }))
}

#[derive(Debug)]
struct Cut {
    operator: Arc<Operator>,
    rows_max: u64,
}

impl PerBatch for Cut {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatefulLimitExec: {}, rows={}", self.operator.id(), self.rows_max)
    }

    fn run(&self, rows: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        self.operator.update(|held, counts| {
            let state = &mut held.state;
            let stored = state.get(&[], 1)?;
            let before = if stored.held == 0 { 0 } else { stored.state[0].as_primitive::<Int64Type>().value(0) as u64 };
            let mut left = usize::try_from(self.rows_max.saturating_sub(before)).unwrap_or(usize::MAX);
            let mut kept = Vec::new();
            for batch in rows {
                let length = left.min(batch.num_rows());
                if length > 0 {
                    kept.push(batch.slice(0, length));
                }
                left -= length;
            }
            let taken: usize = kept.iter().map(RecordBatch::num_rows).sum();
            if taken > 0 {
                let after: ArrayRef = Arc::new(Int64Array::from(vec![(before + taken as u64) as i64]));
                let page = RecordBatch::try_new(state.schema().columns().clone(), vec![after])
                    .map_err(|e| Error::internal("could not write a count").because(e))?;
                state.put(page, Some(stored.lookup))?;
                counts.rows_updated += 1;
            }
            Ok(kept)
        })
    }
}
