//! Aggregation over the life of a stream, with or without keys; DISTINCT is an aggregation without functions.
//!
//! Each batch is aggregated alone by DataFusion's partial aggregation, which yields each key once with the intermediate states of
//! its functions. Those are merged with the stored states of the same keys, the merged states go back to the store, and the keys
//! touched (update), the keys that end with the watermark (append) or all keys (complete) are turned into rows. Work grows with the
//! keys touched and those that end, except for what complete mode must emit. Grouping sets are keys like others, with the id of the
//! set as one more key column.
//!
//! A group that is keyed by event time, or by a window over it, ends when the watermark reaches it: rows that come for it later are
//! taken out before the partial aggregation, and its state is removed. Complete mode keeps every group for ever.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::SchemaRef;
use datafusion::common::{DFSchemaRef, DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::ExecutionPlan;

use super::arrivals::{Arrivals, LateGroups};
use super::expiry::{ExpiredKeys, Expiry};
use super::functions::{Functions, partial};
use super::grouping::physical_group_by;
use super::lateness::Lateness;
use super::node::{PerBatch, PerBatchExec};
use super::{BatchCounts, Claim, Claimed, Held, OnWatermark, Operator, OperatorSpec, Planned, Planning};
use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::plan::OutputMode;
use crate::plan::catalog::is_streaming;
use crate::plan::event_time::{EventColumn, EventTime, event_key, session_key};
use crate::plan::spark::functions::session_window::Gap;
use crate::plan::spark::relation::visible_name;
use crate::state::{Found, OperatorState, StateSchema};

/// See the module.
pub static SPEC: OperatorSpec = OperatorSpec { kind: "aggregate", spark_name: "stateStoreSave", claim, plan };

fn claim(node: &LogicalPlan, claim: &Claim<'_>) -> Result<Claimed> {
    claimed(node, claim, false)
}

/// The node that takes the place of an aggregation or DISTINCT over a stream, if it is one of sessions or is none, as asked for.
pub(super) fn claimed(node: &LogicalPlan, claim: &Claim<'_>, of_sessions: bool) -> Result<Claimed> {
    let session = session_key(node);
    if session.is_some() != of_sessions {
        return Ok(None);
    }
    let aggregate = match node {
        LogicalPlan::Aggregate(aggregate) if is_streaming(&aggregate.input) => aggregate.clone(),
        LogicalPlan::Distinct(Distinct::All(input)) if is_streaming(input) => {
            let keys = input.schema().columns().into_iter().map(Expr::Column).collect();
            Aggregate::try_new(input.clone(), keys, Vec::new()).map_err(|e| from_datafusion(e, ErrorKind::Config))?
        }
        _ => return Ok(None),
    };
    let ends = match claim.mode {
        // Sessions that are kept take no late rows either.
        OutputMode::Complete if !of_sessions => None,
        OutputMode::Append | OutputMode::Update | OutputMode::Complete => event_key(&aggregate)?,
    };
    if let (Some((session, _)), Some((key, _))) = (session, ends)
        && session != key
    {
        let message = "session_window is over another time than the event time that is grouped by; group by one of them";
        return Err(Error::config(message));
    }
    Ok(Some(Arc::new(StatefulAggregate { id: claim.id.to_owned(), mode: claim.mode, ends, session, aggregate })))
}

/// The logical node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct StatefulAggregate {
    pub(super) id: String,
    pub(super) mode: OutputMode,
    /// The key that says when a group ends.
    pub(super) ends: Option<(usize, EventColumn)>,
    /// The key that is a session, and its gap.
    pub(super) session: Option<(usize, Gap)>,
    pub(super) aggregate: Aggregate,
}

impl StatefulAggregate {
    /// Its rows on their way in. Those that are late are counted by `keys`, as Spark does.
    pub(super) fn arrivals(
        &self,
        keys: &[Expr],
        event_time: &Arc<EventTime>,
        physical: impl Fn(&Expr) -> DataFusionResult<Arc<dyn PhysicalExpr>>,
    ) -> DataFusionResult<Arc<Arrivals>> {
        let Some((key, column)) = self.ends else { return Ok(Arc::new(Arrivals::new(None))) };
        let lateness = Lateness {
            operator: self.id.clone(),
            field: visible_name(self.aggregate.schema.field(key).name()).to_owned(),
            value: physical(&self.aggregate.group_expr[key])?,
            column,
            event_time: event_time.clone(),
        };
        let keys = keys.iter().map(physical).collect::<DataFusionResult<_>>()?;
        Ok(Arc::new(Arrivals::new(Some(LateGroups { lateness, keys }))))
    }
}

// Nodes have no order, but the trait asks for one.
impl PartialOrd for StatefulAggregate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.id.partial_cmp(&other.id).filter(|order| order.is_ne() || self == other)
    }
}

impl UserDefinedLogicalNodeCore for StatefulAggregate {
    fn name(&self) -> &str {
        "StatefulAggregate"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.aggregate.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.aggregate.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.aggregate.group_expr.iter().chain(&self.aggregate.aggr_expr).cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |expressions: &[Expr]| expressions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let Aggregate { group_expr, aggr_expr, .. } = &self.aggregate;
        write!(
            f,
            "StatefulAggregate: {}, keys=[{}], functions=[{}], mode={:?}",
            self.id,
            list(group_expr),
            list(aggr_expr),
            self.mode
        )?;
        match self.ends.and_then(|(key, column)| Some((group_expr.get(key)?, column))) {
            Some((key, EventColumn::WindowStart { size_us })) => write!(f, ", ends={key} + {} ms", size_us / 1000),
            Some((key, EventColumn::Window)) => write!(f, ", ends={key}.end"),
            Some((key, EventColumn::Instant)) => write!(f, ", ends={key}"),
            None => Ok(()),
        }
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DataFusionResult<Self> {
        let aggr_expr = exprs.split_off(self.aggregate.group_expr.len());
        let input = inputs.pop().ok_or_else(|| DataFusionError::Internal("an aggregate has an input".to_owned()))?;
        // The schema is kept: rules may change expressions but not names and types.
        let aggregate = Aggregate::try_new_with_schema(Arc::new(input), exprs, aggr_expr, self.aggregate.schema.clone())?;
        Ok(Self { aggregate, ..self.clone() })
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // Only what the expressions name, which the caller adds: state does not depend on what is read from it.
        Some(vec![Vec::new()])
    }
}

fn plan(node: &dyn UserDefinedLogicalNode, planning: Planning<'_>) -> Result<Option<Planned>> {
    let node = node.as_any().downcast_ref::<StatefulAggregate>().filter(|node| node.session.is_none());
    let Some(node) = node else { return Ok(None) };
    let planned = plan_node(node, planning).map_err(|e| from_datafusion(e, ErrorKind::Config))?;
    Ok(Some(planned))
}

fn plan_node(node: &StatefulAggregate, planning: Planning<'_>) -> DataFusionResult<Planned> {
    let Aggregate { group_expr, aggr_expr, schema, .. } = &node.aggregate;
    let Planning { logical_input, input, session, subqueries, memory, event_time, .. } = planning;
    let (properties, input_schema) = (session.execution_props(), logical_input.schema());
    let group_by = physical_group_by(group_expr, input_schema, properties, subqueries)?;
    let physical = |expr: &Expr| create_physical_expr(expr, input_schema, properties, subqueries);
    let arrivals = node.arrivals(group_expr, event_time, physical)?;
    // One partition, so that each key comes out of the partial aggregation once.
    let input = Arc::new(PerBatchExec::flowing(arrivals.clone(), input));
    let (partial, functions) = partial(aggr_expr, group_by, input, input_schema, properties, subqueries)?;
    let schema = schema.inner().clone();
    let keys = schema.fields().len() - functions.len();
    // State outlives changes to the query that renumber its columns.
    let key_fields =
        schema.fields()[..keys].iter().map(|field| Arc::new(field.as_ref().clone().with_name(visible_name(field.name()))));
    let state = StateSchema::new(key_fields.collect(), functions.state_fields().to_vec());
    let parameters = functions.names().collect();
    let on_watermark = match (node.mode, node.ends) {
        (OutputMode::Complete, _) => OnWatermark::Nothing,
        (OutputMode::Append | OutputMode::Update, None) => OnWatermark::Run,
        (OutputMode::Append | OutputMode::Update, Some((index, column))) => OnWatermark::Evict(Expiry { index, column }),
    };
    let operator = Operator::new(&SPEC, &node.id, state, parameters, on_watermark, memory)?;
    let merge = Merge {
        operator: operator.clone(),
        mode: node.mode,
        arrivals,
        event_time: event_time.clone(),
        partial_schema: partial.schema(),
        schema: schema.clone(),
        keys,
        functions,
    };
    Ok(Planned { node: Arc::new(PerBatchExec::new(Arc::new(merge), Arc::new(partial), schema)), operators: vec![operator] })
}

/// Partial states of one batch + stored states → new states and rows.
#[derive(Debug)]
struct Merge {
    operator: Arc<Operator>,
    mode: OutputMode,
    arrivals: Arc<Arrivals>,
    event_time: Arc<EventTime>,
    partial_schema: SchemaRef,
    schema: SchemaRef,
    keys: usize,
    functions: Functions,
}

impl PerBatch for Merge {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatefulAggregateExec: {}, mode={:?}", self.operator.id(), self.mode)
    }

    fn run(&self, mut partial: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        // Over no rows a grouping set without keys yields a row, which Spark's does not: there a set is rows, and none came.
        if self.keys > 0 && self.arrivals.rows() == 0 {
            partial.clear();
        }
        let partial = one_batch(&self.partial_schema, partial)?;
        self.merge(&partial)
    }
}

impl Merge {
    /// Merges a batch's partial states, each key in one row, and says what to emit.
    fn merge(&self, partial: &RecordBatch) -> Result<Vec<RecordBatch>> {
        self.operator.update(|held, counts| {
            counts.rows_dropped += self.arrivals.groups_late();
            let rows = partial.num_rows();
            let (keys, batch_states) = partial.columns().split_at(self.keys);
            let found = held.state.get(keys, rows)?;
            let known = found.held;
            let (keys, merged) = self.merged_states(&found, keys, batch_states, rows)?;
            if rows > 0 {
                let page = record_batch(held.state.schema().columns().clone(), [&keys[..], &merged].concat(), rows)?;
                held.state.put(page, Some(found.lookup))?;
                counts.rows_updated += rows;
            }
            let ended = self.ended(held, &keys, known, rows)?;
            let rows = match self.mode {
                OutputMode::Update => vec![self.finish(&keys, &merged, rows)?],
                OutputMode::Append => ended.iter().map(|keys| self.final_rows(&held.state, keys)).collect::<Result<_>>()?,
                OutputMode::Complete => self.all_rows(&held.state)?,
            };
            remove(held, &ended, counts)?;
            Ok(rows)
        })
    }

    /// The groups that end with this batch; those from `known` on are new to the state.
    fn ended(&self, held: &mut Held, keys: &[ArrayRef], known: usize, rows: usize) -> Result<Vec<ExpiredKeys>> {
        let Some(expiring) = &mut held.expiring else { return Ok(Vec::new()) };
        if rows > known {
            let new: Vec<ArrayRef> = keys.iter().map(|column| column.slice(known, rows - known)).collect();
            let times = expiring.expiry().times(&new);
            expiring.add(&new, &times)?;
        }
        Ok(expiring.take_expired(self.event_time.watermark_ms().saturating_mul(1000)))
    }

    /// The rows of groups that end.
    fn final_rows(&self, state: &OperatorState, (keys, rows): &ExpiredKeys) -> Result<RecordBatch> {
        let found = state.get(keys, *rows)?;
        if found.held != *rows {
            return Err(Error::internal(format!("{} has lost groups that end", self.operator.id())));
        }
        self.finish(keys, &found.state, *rows)
    }

    fn all_rows(&self, state: &OperatorState) -> Result<Vec<RecordBatch>> {
        let rows = state.freeze().map(|page| {
            let page = page?;
            let (keys, states) = page.columns().split_at(self.keys);
            self.finish(keys, states, page.num_rows())
        });
        rows.collect()
    }

    /// Keys and their new states, in the order of `found`.
    fn merged_states(
        &self,
        found: &Found,
        keys: &[ArrayRef],
        batch: &[ArrayRef],
        rows: usize,
    ) -> Result<(Vec<ArrayRef>, Vec<ArrayRef>)> {
        if found.held == 0 {
            return Ok((keys.to_vec(), self.functions.first(batch, rows)?));
        }
        // Accumulators take it that a group is first named by a row of its own: groups with a stored state come first.
        let in_order = |columns: &[ArrayRef]| match &found.order {
            None => Ok(columns.to_vec()),
            Some(order) => columns.iter().map(|column| take(column, order, None)).collect::<std::result::Result<_, _>>(),
        };
        let unordered = |e| Error::internal("could not order a batch's groups").because(e);
        let batch: Vec<ArrayRef> = in_order(batch).map_err(unordered)?;
        let groups: Vec<usize> = (0..rows).collect();
        // What is stored came first: FIRST, LAST and the collecting functions depend on it.
        let merged = self.functions.merge(&[(&found.state, &groups[..found.held]), (&batch, &groups)], rows)?;
        Ok((in_order(keys).map_err(unordered)?, merged))
    }

    /// Turns states into rows.
    fn finish(&self, keys: &[ArrayRef], states: &[ArrayRef], rows: usize) -> Result<RecordBatch> {
        record_batch(self.schema.clone(), [keys, &self.functions.results(states, rows)?].concat(), rows)
    }
}

fn remove(held: &mut Held, keys: &[ExpiredKeys], counts: &mut BatchCounts) -> Result<()> {
    for (keys, rows) in keys {
        counts.rows_removed += held.state.remove(keys, *rows)?;
    }
    Ok(())
}

/// All of a batch's groups together.
pub(super) fn one_batch(schema: &SchemaRef, mut partial: Vec<RecordBatch>) -> Result<RecordBatch> {
    match partial.len() {
        1 => Ok(partial.swap_remove(0)),
        _ => concat_batches(schema, &partial).map_err(|e| Error::internal("could not put a batch's groups together").because(e)),
    }
}

/// Columns that an aggregation made.
pub(super) fn record_batch(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options)
        .map_err(|e| Error::internal("an aggregation yielded columns of other types than planned").because(e))
}
