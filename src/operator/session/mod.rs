//! Sessions over the life of a stream: rows of a key that follow each other within a gap.
//!
//! Each row alone is a session, from its time until its gap has passed, and sessions of a key that touch become one. So a row can
//! begin a session, make one longer, or join several. The rows of a batch are aggregated alone by DataFusion's partial aggregation,
//! by key and by what each row alone is. These pieces are put together by time with the sessions that are known of the same keys
//! (`sweep.rs`), which an index finds (`open.rs`); then the states of each session's pieces are merged in that order.
//!
//! State has a row per session, keyed by the other keys and its start. A session ends when the watermark reaches its end. The index
//! of what expires holds the end that a session had when its start was set: at that time one that has grown is put in anew. So work
//! grows with the keys touched and the sessions that end.

pub mod open;
mod sweep;

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StructArray, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{filter, interleave, not};
use arrow::datatypes::{DataType, Field, SchemaRef, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_plan::ExecutionPlan;

use self::open::{OpenSessions, Span, picked, spans};
use self::sweep::{Piece, Swept, swept};
use super::aggregate::{StatefulAggregate, claimed, one_batch, record_batch};
use super::arrivals::Arrivals;
use super::expiry::Expiry;
use super::functions::{Functions, partial};
use super::grouping::physical_group_by;
use super::node::{PerBatch, PerBatchExec};
use super::numbering::{Numbered, numbered};
use super::{BatchCounts, Claim, Claimed, Held, OnWatermark, Operator, OperatorSpec, Planned, Planning};
use crate::error::{Attempt, Error, ErrorKind, Result, from_datafusion};
use crate::plan::OutputMode;
use crate::plan::event_time::{EventColumn, EventTime};
use crate::plan::spark::functions::session_window::{Gap, bounds};
use crate::plan::spark::relation::visible_name;
use crate::state::{OperatorState, StateSchema};

/// See the module.
pub static SPEC: OperatorSpec = OperatorSpec { kind: "session", spark_name: "sessionWindowStateStoreSaveExec", claim, plan };

fn claim(node: &LogicalPlan, claim: &Claim<'_>) -> Result<Claimed> {
    claimed(node, claim, true)
}

fn plan(node: &dyn UserDefinedLogicalNode, planning: Planning<'_>) -> Result<Option<Planned>> {
    let Some(node) = node.as_any().downcast_ref::<StatefulAggregate>() else { return Ok(None) };
    let Some((session, gap)) = node.session else { return Ok(None) };
    plan_node(node, session, gap, planning).map(Some).map_err(|e| from_datafusion(e, ErrorKind::Config))
}

fn plan_node(node: &StatefulAggregate, session: usize, gap: Gap, planning: Planning<'_>) -> DataFusionResult<Planned> {
    let aggregate = &node.aggregate;
    let Planning { logical_input, input, session: planner, subqueries, memory, event_time, .. } = planning;
    let (properties, input_schema) = (planner.execution_props(), logical_input.schema());
    let schema = aggregate.schema.inner().clone();
    let DataType::Struct(fields) = schema.field(session).data_type() else {
        return Err(DataFusionError::Internal("a session is a struct".to_owned()));
    };
    let time = fields[0].data_type().clone();
    let mut group_expr: Vec<Expr> = aggregate.group_expr.clone();
    let of_row = group_expr.remove(session);
    group_expr.extend(bounds(&of_row, &time));
    let physical = |expr: &Expr| create_physical_expr(expr, input_schema, properties, subqueries);
    let arrivals = node.arrivals(&group_expr, event_time, physical)?;
    let input = Arc::new(PerBatchExec::flowing(arrivals.clone(), input));
    let group_by = physical_group_by(&group_expr, input_schema, properties, subqueries)?;
    let (partial, functions) = partial(&aggregate.aggr_expr, group_by, input, input_schema, properties, subqueries)?;
    let others = group_expr.len() - 2;
    let mut keys: Vec<_> = schema.fields()[..=others]
        .iter()
        .map(|field| Arc::new(field.as_ref().clone().with_name(visible_name(field.name()))))
        .collect();
    keys.remove(session);
    let open = OpenSessions::new(keys.clone(), memory.account(&node.id))?;
    keys.push(Arc::new(Field::new("session_start", time.clone(), false)));
    let mut state = vec![Arc::new(Field::new("session_end", time, false))];
    state.extend_from_slice(functions.state_fields());
    // Known sessions were put together with the gap that their rows had.
    let gap = match gap {
        Gap::Fixed(gap) => format!("gap of {} months {} days {} µs", gap.months, gap.days, gap.us),
        Gap::PerRow => "gap per row".to_owned(),
        Gap::Null => "no gap".to_owned(),
    };
    let parameters = std::iter::once(gap).chain(functions.names()).collect();
    let on_watermark = match node.mode {
        OutputMode::Complete => OnWatermark::Nothing,
        OutputMode::Append | OutputMode::Update => OnWatermark::Evict(Expiry { index: others + 1, column: EventColumn::Instant }),
    };
    let operator = Operator::new(&SPEC, &node.id, StateSchema::new(keys, state), parameters, on_watermark, memory)?;
    operator.keep_sessions(open);
    let sessions = Sessions {
        operator: operator.clone(),
        mode: node.mode,
        arrivals,
        event_time: event_time.clone(),
        partial_schema: partial.schema(),
        schema: schema.clone(),
        session,
        others,
        functions,
    };
    let node = PerBatchExec::new(Arc::new(sessions), Arc::new(partial), schema);
    Ok(Planned { node: Arc::new(node), operators: vec![operator] })
}

/// Pieces of one batch + known sessions → sessions and rows.
#[derive(Debug)]
struct Sessions {
    operator: Arc<Operator>,
    mode: OutputMode,
    arrivals: Arc<Arrivals>,
    event_time: Arc<EventTime>,
    partial_schema: SchemaRef,
    schema: SchemaRef,
    /// Which of the output's columns is the session.
    session: usize,
    /// How many other keys there are. In the pieces and in state these come first, then start and end.
    others: usize,
    functions: Functions,
}

impl PerBatch for Sessions {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionExec: {}, mode={:?}", self.operator.id(), self.mode)
    }

    fn run(&self, partial: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        let pieces = one_batch(&self.partial_schema, partial)?;
        self.operator.update(|held, counts| {
            counts.rows_dropped += self.arrivals.groups_late();
            if pieces.num_rows() > 0 {
                self.take_in(&pieces, held, counts)?;
            }
            match self.mode {
                OutputMode::Complete => held.state.freeze().map(|page| self.finish(page?.columns())).collect::<Result<Vec<_>>>(),
                OutputMode::Append | OutputMode::Update => self.take_ended(held, counts),
            }
        })
    }
}

impl Sessions {
    /// Puts the pieces of a batch together with the sessions of their keys.
    fn take_in(&self, pieces: &RecordBatch, held: &mut Held, counts: &mut BatchCounts) -> Result<()> {
        let Held { state, expiring, sessions, .. } = held;
        let Some(sessions) = sessions else { return Err(no_index()) };
        let (keys, columns) = pieces.columns().split_at(self.others);
        let Numbered { of_row, first } = numbered(keys, pieces.num_rows())?;
        let keys = picked(keys, &first)?;
        let known = sessions.of(&keys, first.len())?;
        let spans = spans(&columns[0], &columns[1]).enumerate();
        let mut new: Vec<(u32, Span, usize)> = of_row.into_iter().zip(spans).map(|(key, (at, span))| (key, span, at)).collect();
        new.sort_unstable();
        let swept = swept(&known, &new);
        let merged = self.merged(&swept, &keys, &known.spans, &columns[2..], state)?;
        // As Spark counts: every session of a key that got rows is written again.
        counts.rows_updated += swept.lists.spans.len();
        if !swept.absorbed.is_empty() {
            let of = swept.absorbed.iter().map(|(place, key)| (*key, known.spans[*place].start));
            counts.rows_removed += state.remove(&self.keys_of(&keys, of)?, swept.absorbed.len())?;
        }
        if let Some(expiring) = expiring {
            let fresh = swept.changed.iter().filter(|changed| changed.is_new);
            let fresh_keys = self.keys_of(&keys, fresh.clone().map(|changed| (changed.key, changed.span.start)))?;
            expiring.add(&fresh_keys, &fresh.map(|changed| Some(changed.span.end)).collect())?;
        }
        if !swept.changed.is_empty() {
            let mut page = self.keys_of(&keys, swept.changed.iter().map(|changed| (changed.key, changed.span.start)))?;
            page.push(self.times(swept.changed.iter().map(|changed| changed.span.end)));
            page.extend(merged);
            state.put(record_batch(state.schema().columns().clone(), page, swept.changed.len())?, None)?;
        }
        sessions.put(&keys, &swept.lists)
    }

    /// The states of the sessions that changed.
    fn merged(
        &self,
        swept: &Swept,
        keys: &[ArrayRef],
        known: &[Span],
        batch: &[ArrayRef],
        state: &OperatorState,
    ) -> Result<Vec<ArrayRef>> {
        let mut wanted = Vec::new();
        let mut places = Vec::with_capacity(swept.pieces.len());
        for (piece, session) in swept.pieces.iter().zip(&swept.session_of) {
            match piece {
                Piece::New(at) => places.push((0, *at)),
                Piece::Known(place) => {
                    places.push((1, wanted.len()));
                    wanted.push((swept.changed[*session].key, known[*place].start));
                }
            }
        }
        let count = wanted.len();
        let found = state.get(&self.keys_of(keys, wanted.into_iter())?, count)?;
        if found.held != count {
            return Err(Error::internal(format!("{} has lost sessions", self.operator.id())));
        }
        let in_order = |(batch, known): (&ArrayRef, &ArrayRef)| interleave(&[batch.as_ref(), known.as_ref()], &places);
        let states = batch.iter().zip(&found.state[1..]).map(in_order).collect::<Result<Vec<_>, _>>();
        let states = states.attempting(ErrorKind::Internal, || "put the pieces of sessions in order".to_owned())?;
        self.functions.merge(&[(&states, &swept.session_of)], swept.changed.len())
    }

    /// The rows of sessions that end with this batch, which are forgotten.
    fn take_ended(&self, held: &mut Held, counts: &mut BatchCounts) -> Result<Vec<RecordBatch>> {
        let Held { state, expiring: Some(expiring), sessions: Some(sessions), .. } = held else { return Err(no_index()) };
        let watermark_us = self.event_time.watermark_ms().saturating_mul(1000);
        let mut rows = Vec::new();
        for (keys, count) in expiring.take_expired(watermark_us) {
            let found = state.get(&keys, count)?;
            let keys = match &found.order {
                Some(order) => picked(&keys, &order.slice(0, found.held))?,
                None => keys.iter().map(|column| column.slice(0, found.held)).collect(),
            };
            let ends = found.state[0].as_primitive::<TimestampMicrosecondType>();
            let ended = BooleanArray::from_unary(ends, |end| end <= watermark_us);
            let of = |which: &BooleanArray, columns: &[ArrayRef]| {
                let columns = columns.iter().map(|column| filter(column, which)).collect::<Result<Vec<_>, _>>();
                columns.attempting(ErrorKind::Internal, || "tell sessions that end from others".to_owned())
            };
            let grown = not(&ended).attempting(ErrorKind::Internal, || "negate a filter".to_owned())?;
            if grown.true_count() > 0 {
                let columns = of(&grown, &[&keys[..], &found.state[..1]].concat())?;
                expiring.add(&columns[..keys.len()], &expiring.expiry().times(&columns))?;
            }
            let count = ended.true_count();
            if count > 0 {
                let keys = of(&ended, &keys)?;
                rows.push(self.finish(&[&keys[..], &of(&ended, &found.state)?].concat())?);
                counts.rows_removed += state.remove(&keys, count)?;
                forget(sessions, &keys[..self.others], count, watermark_us)?;
            }
        }
        Ok(rows)
    }

    /// Turns keys, starts, ends and states into rows.
    fn finish(&self, columns: &[ArrayRef]) -> Result<RecordBatch> {
        let (keys, rest) = columns.split_at(self.others);
        let DataType::Struct(fields) = self.schema.field(self.session).data_type() else {
            return Err(Error::internal("a session is a struct"));
        };
        let session = StructArray::try_new(fields.clone(), rest[..2].to_vec(), None);
        let session = session.attempting(ErrorKind::Internal, || "put sessions out".to_owned())?;
        let rows = session.len();
        let mut columns = keys.to_vec();
        columns.insert(self.session, Arc::new(session));
        columns.extend(self.functions.results(&rest[2..], rows)?);
        record_batch(self.schema.clone(), columns, rows)
    }

    /// Keys of state: number of the other keys, and start.
    fn keys_of(&self, keys: &[ArrayRef], of: impl Iterator<Item = (u32, i64)>) -> Result<Vec<ArrayRef>> {
        let (numbers, starts): (Vec<u32>, Vec<i64>) = of.unzip();
        let mut keys = picked(keys, &UInt32Array::from(numbers))?;
        keys.push(self.times(starts.into_iter()));
        Ok(keys)
    }

    fn times(&self, us: impl Iterator<Item = i64>) -> ArrayRef {
        let time = self.partial_schema.field(self.others).data_type().clone();
        Arc::new(TimestampMicrosecondArray::from_iter_values(us).with_data_type(time))
    }
}

/// Takes the sessions of `keys` that have ended out of the index.
fn forget(sessions: &mut OpenSessions, keys: &[ArrayRef], rows: usize, watermark_us: i64) -> Result<()> {
    let first = numbered(keys, rows)?.first;
    let keys = picked(keys, &first)?;
    let known = sessions.of(&keys, first.len())?;
    let mut left = open::Lists::default();
    for index in 0..first.len() {
        left.spans.extend(known.spans[known.range(index)].iter().filter(|span| span.end > watermark_us));
        left.ends.push(left.spans.len());
    }
    sessions.put(&keys, &left)
}

fn no_index() -> Error {
    Error::internal("sessions without an index of them")
}
