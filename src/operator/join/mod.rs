//! Joins of two streams: each side remembers its rows until no partner can come for them any more.
//!
//! A batch's new rows are joined with what is remembered of the other side and with the other side's new rows, each pair once. What
//! has found no partner when it is over comes out alone, if the join is an outer one. Each side has a store of its own, whose key is
//! a row's number; candidates are found by the hash of their keys (`index`).

pub mod bounds;
mod chains;
pub mod condition;
pub mod filters;
pub mod index;
pub(crate) mod keys;
mod node;
mod side;
mod work;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{DFSchema, DataFusionError, JoinType, Result as DataFusionResult};
use datafusion::logical_expr::builder::build_join_schema;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::ExecutionPlan;

use self::bounds::Expiry;
use self::keys::JoinKeys;
use self::node::StreamJoin;
use self::side::{Over, Side};
use self::work::JoinWork;
use super::expiry::Expiry as StateExpiry;
use super::lateness::Lateness;
use super::node::PerBatchExec;
use super::{Claim, Claimed, OnWatermark, Operator, OperatorSpec, Planned, Planning, Store};
use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::plan::catalog::is_streaming;
use crate::plan::event_time::EventColumn;
use crate::plan::spark::expression::logic;
use crate::plan::spark::is_fallible;
use crate::plan::spark::relation::visible_name;
use crate::plan::spark::types::timestamp;
use crate::state::StateSchema;

/// See the module.
pub static SPEC: OperatorSpec = OperatorSpec { kind: "join", spark_name: "symmetricHashJoin", claim, plan };

/// Rows that are put side by side at once.
const CHUNK_ROWS: usize = 8192;

fn attempt() -> String {
    "join rows of two streams".to_owned()
}

fn claim(node: &LogicalPlan, claim: &Claim<'_>) -> Result<Claimed> {
    match node {
        LogicalPlan::Join(join) if is_streaming(&join.left) && is_streaming(&join.right) => {
            Ok(Some(Arc::new(StreamJoin::new(claim.id, join)?)))
        }
        _ => Ok(None),
    }
}

/// How far the watermark that `node` hands on lies behind the one it sees, in milliseconds, if it is a join of streams.
pub fn held_back_ms(node: &dyn UserDefinedLogicalNode) -> Option<i64> {
    node.as_any().downcast_ref::<StreamJoin>().map(|join| join.times.held_back_ms())
}

fn plan(node: &dyn UserDefinedLogicalNode, mut planning: Planning<'_>) -> Result<Option<Planned>> {
    let Some(node) = node.as_any().downcast_ref::<StreamJoin>() else { return Ok(None) };
    let Some((logical, input)) = planning.second.take() else {
        return Err(Error::internal("a join of streams has two inputs"));
    };
    plan_node(node, &planning, logical, input).map(Some).map_err(|e| from_datafusion(e, ErrorKind::Config))
}

/// One input, and what of the join concerns it.
struct Input<'a> {
    name: &'static str,
    logical: &'a LogicalPlan,
    physical: Arc<dyn ExecutionPlan>,
    keys: Vec<(&'a Expr, bool)>,
    filter: &'a [Expr],
    event: Option<(Expr, EventColumn)>,
    over: Option<&'a Expiry>,
    is_outer: bool,
}

fn plan_node(
    node: &StreamJoin,
    planning: &Planning<'_>,
    second: &LogicalPlan,
    second_input: Arc<dyn ExecutionPlan>,
) -> DataFusionResult<Planned> {
    let (condition, times, kind) = (&node.condition, &node.times, node.join_type);
    let event =
        |event: &Option<(_, EventColumn)>| event.as_ref().map(|(column, what)| (Expr::Column(Clone::clone(column)), *what));
    let left = Input {
        name: "left",
        logical: planning.logical_input,
        physical: planning.input.clone(),
        keys: condition.keys.iter().map(|key| (&key.left, key.null_safe)).collect(),
        filter: &condition.left,
        event: event(&times.left_event),
        over: times.left.as_ref(),
        is_outer: matches!(kind, JoinType::Left | JoinType::Full),
    };
    let right = Input {
        name: "right",
        logical: second,
        physical: second_input,
        keys: condition.keys.iter().map(|key| (&key.right, key.null_safe)).collect(),
        filter: &condition.right,
        event: event(&times.right_event),
        over: times.right.as_ref(),
        is_outer: matches!(kind, JoinType::Right | JoinType::Full),
    };
    let both = build_join_schema(left.logical.schema(), right.logical.schema(), &JoinType::Inner)?;
    let pair_schema = Schema::new(both.fields().iter().map(|field| nullable(field)).collect::<Vec<_>>());
    let residual = residual(&condition.both, &both, planning)?;
    let schema = Arc::new(node_schema(&build_join_schema(left.logical.schema(), right.logical.schema(), &kind)?));
    let inputs = [left.physical.clone(), right.physical.clone()];
    let (left, right) = (side(node, left, planning)?, side(node, right, planning)?);
    let operators = vec![left.operator.clone(), right.operator.clone()];
    let work = JoinWork { join_type: kind, left, right, residual, pair_schema: pair_schema.into(), schema: schema.clone() };
    Ok(Planned { node: Arc::new(PerBatchExec::of_two(Arc::new(work), inputs, schema)), operators })
}

fn node_schema(schema: &DFSchema) -> Schema {
    schema.as_arrow().clone()
}

fn nullable(field: &Field) -> Field {
    field.clone().with_nullable(true)
}

/// What pairs must fulfil: first all that cannot fail, then in order what can.
fn residual(conjuncts: &[Expr], schema: &DFSchema, planning: &Planning<'_>) -> DataFusionResult<Vec<Arc<dyn PhysicalExpr>>> {
    let (fallible, safe): (Vec<Expr>, Vec<Expr>) = conjuncts.iter().cloned().partition(is_fallible);
    let stages = safe.into_iter().reduce(Expr::and).into_iter().chain(fallible);
    stages.map(|expr| physical(&expr, schema, planning)).collect()
}

fn physical(expr: &Expr, schema: &DFSchema, planning: &Planning<'_>) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
    create_physical_expr(expr, schema, planning.session.execution_props(), planning.subqueries)
}

/// One side at run time, and its store.
fn side(node: &StreamJoin, input: Input<'_>, planning: &Planning<'_>) -> DataFusionResult<Side> {
    let (schema, logical) = (input.physical.schema(), input.logical.schema());
    let physical = |expr: &Expr| physical(expr, logical, planning);
    let keys = input.keys.iter().map(|(key, null_safe)| Ok((physical(key)?, *null_safe))).collect::<DataFusionResult<_>>()?;
    let keys = JoinKeys::new(schema.clone(), keys);
    let filter = logic::all(input.filter.iter().cloned()).map(|filter| physical(&filter)).transpose()?;
    let operator_id = format!("{}-{}", node.id, input.name);
    let late = match &input.event {
        None => None,
        Some((event, column)) => Some(Lateness {
            operator: operator_id,
            field: visible(event)?,
            value: physical(event)?,
            column: *column,
            event_time: planning.event_time.clone(),
        }),
    };
    let over = match input.over {
        None => None,
        Some(expiry) => {
            let ahead_us = expiry.ahead_ms.saturating_mul(1000);
            Some(Over { value: physical(&expiry.value)?, column: expiry.column, ahead_us })
        }
    };
    let mut state: Vec<FieldRef> = stored_columns(&schema);
    if input.is_outer {
        state.push(Arc::new(Field::new("matched", DataType::Boolean, false)));
    }
    // Both sides run a batch when the watermark moves, if either forgets rows by it.
    let mut on_watermark = match (&node.times.left, &node.times.right) {
        (None, None) => OnWatermark::Nothing,
        _ => OnWatermark::Run,
    };
    if over.is_some() {
        state.push(Arc::new(Field::new("expires", timestamp(), true)));
        on_watermark = OnWatermark::Evict(StateExpiry { index: state.len(), column: EventColumn::Instant });
    }
    let key = Arc::new(Field::new("number", DataType::UInt32, false));
    let store = Store { operator: &node.id, name: input.name, rows: Some(keys.clone()) };
    let schema_of_state = StateSchema::new(vec![key], state);
    let operator = Operator::with_store(&SPEC, store, schema_of_state, parameters(node)?, on_watermark, planning.memory)?;
    let event_time = planning.event_time.clone();
    let forgets_early = node.join_type == JoinType::LeftSemi && input.name == "left";
    Ok(Side { operator, schema, late, filter, keys, over, is_outer: input.is_outer, forgets_early, event_time })
}

/// The columns of a side as they are stored, under the names that the user sees, made different.
fn stored_columns(schema: &Schema) -> Vec<FieldRef> {
    let mut fields: Vec<FieldRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let name = visible_name(field.name());
        let taken = |name: &str| fields.iter().any(|field| field.name() == name);
        let free = std::iter::once(name.to_owned()).chain((2..).map(|n| format!("{name}_{n}"))).find(|name| !taken(name));
        fields.push(Arc::new(nullable(field).with_name(free.unwrap_or_default())));
    }
    fields
}

/// What the state depends on beside its columns.
fn parameters(node: &StreamJoin) -> DataFusionResult<Vec<String>> {
    let mut parameters = vec![node.join_type.to_string()];
    for key in &node.condition.keys {
        let equal = if key.null_safe { "<=>" } else { "=" };
        parameters.push(format!("{} {equal} {}", visible(&key.left)?, visible(&key.right)?));
    }
    let condition = &node.condition;
    for conjunct in condition.left.iter().chain(&condition.right).chain(&condition.both) {
        parameters.push(visible(conjunct)?);
    }
    Ok(parameters)
}

/// An expression with columns as the user calls them, which do not change when others come and go.
fn visible(expr: &Expr) -> DataFusionResult<String> {
    use datafusion::common::Column;
    let named = condition::renamed(expr.clone(), |column| {
        Some(Expr::Column(Column::new(column.relation.clone(), visible_name(&column.name))))
    });
    named.map(|expr| expr.to_string()).map_err(DataFusionError::from)
}
