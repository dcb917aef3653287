//! Deduplication over the life of a stream: of rows with the same key, the first one passes.
//!
//! Without a watermark on the key every key is remembered for ever. With one among the key columns a key is forgotten when the
//! watermark reaches it, as no row with it can come any more that is not late. *Within the watermark* a key is forgotten once the
//! watermark reaches its first row's time plus the watermark's delay, whatever the key's columns are.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray};
use arrow::compute::take_record_batch;
use arrow::datatypes::Field;
use datafusion::common::{Column, DFSchemaRef, DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::expressions::Column as PhysicalColumn;

use super::expiry::{Expiry, expiry_times};
use super::lateness::Lateness;
use super::node::{Flow, PerBatchExec};
use super::{BatchCounts, Claim, Claimed, Held, OnWatermark, Operator, OperatorSpec, Planned, Planning};
use crate::error::{Attempt, Error, ErrorKind, Result, from_datafusion};
use crate::plan::event_time::{EventColumn, EventTime, Traced, only_event_column};
use crate::plan::spark::relation::visible_name;
use crate::plan::spark::types::timestamp;
use crate::state::StateSchema;

/// Keys are remembered for ever, or until the watermark reaches the event time among them.
pub static SPEC: OperatorSpec =
    OperatorSpec { kind: "deduplicate", spark_name: "dedupe", claim: claim_for_ever, plan: plan_for_ever };

/// Keys are remembered for the watermark's delay.
pub static WITHIN_WATERMARK: OperatorSpec = OperatorSpec {
    kind: "deduplicate_within_watermark",
    spark_name: "dedupeWithinWatermark",
    claim: claim_within,
    plan: plan_within,
};

/// The logical node: as it was declared, then with the id of its operator.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct Deduplicate {
    by: Vec<Column>,
    within_watermark: bool,
    /// The input's event time, if it has one.
    event_time: Option<(Column, Traced)>,
    id: Option<String>,
    input: LogicalPlan,
}

impl Deduplicate {
    /// `input` without rows whose columns `by` an earlier row had.
    ///
    /// # Errors
    /// Kind `Config`, if `within_watermark` is said and `input` has no watermark, or if it has several event times.
    pub fn plan(input: LogicalPlan, by: Vec<Column>, within_watermark: bool) -> Result<LogicalPlan> {
        let found = only_event_column(&input, 0..input.schema().fields().len())?;
        if within_watermark && found.is_none() {
            return Err(Error::spark(
                ErrorKind::Config,
                "_LEGACY_ERROR_TEMP_3102",
                "dropDuplicatesWithinWatermark is not supported on streaming DataFrames/DataSets without watermark",
            ));
        }
        let event_time = found.map(|(index, traced)| (Column::from(input.schema().qualified_field(index)), traced));
        let node = Self { by, within_watermark, event_time, id: None, input };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    /// The event time, if rows are only judged by it: it neither is a key nor says when keys end.
    pub fn event_time_beside_keys(&self) -> Option<&Column> {
        let (column, _) = self.event_time.as_ref()?;
        (!self.within_watermark && !self.by.contains(column)).then_some(column)
    }

    /// Where a column stands in the input, and so in the output.
    pub fn input_index(&self, column: &Column) -> Option<usize> {
        self.input.schema().maybe_index_of_column(column)
    }

    /// The same, judging no row as late.
    pub fn without_event_time(&self) -> Self {
        Self { event_time: None, ..self.clone() }
    }
}

fn claim_for_ever(node: &LogicalPlan, claim: &Claim<'_>) -> Result<Claimed> {
    Ok(claimed(node, claim, false))
}

fn claim_within(node: &LogicalPlan, claim: &Claim<'_>) -> Result<Claimed> {
    Ok(claimed(node, claim, true))
}

fn claimed(node: &LogicalPlan, claim: &Claim<'_>, within_watermark: bool) -> Claimed {
    let LogicalPlan::Extension(extension) = node else { return None };
    let node = extension.node.as_any().downcast_ref::<Deduplicate>()?;
    let is_ours = node.id.is_none() && node.within_watermark == within_watermark;
    is_ours.then(|| Arc::new(Deduplicate { id: Some(claim.id.to_owned()), ..node.clone() }) as _)
}

impl UserDefinedLogicalNodeCore for Deduplicate {
    fn name(&self) -> &str {
        "Deduplicate"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        let event_time = self.event_time.iter().map(|(column, _)| column);
        self.by.iter().chain(event_time).cloned().map(Expr::Column).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = self.by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        write!(f, "Deduplicate: {}, by=[{by}]", self.id.as_deref().unwrap_or("not planned"))?;
        match &self.event_time {
            Some((column, traced)) if self.within_watermark => write!(f, ", ends={column} + {} ms", traced.delay_ms),
            Some((column, _)) if self.by.contains(column) => write!(f, ", ends={column}"),
            _ => Ok(()),
        }
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DataFusionResult<Self> {
        let broken = || DataFusionError::Internal("a deduplication takes columns and an input".to_owned());
        let mut columns = exprs.into_iter().map(|expr| match expr {
            Expr::Column(column) => Ok(column),
            _ => Err(broken()),
        });
        let by = columns.by_ref().take(self.by.len()).collect::<DataFusionResult<Vec<_>>>()?;
        let event_time = match (&self.event_time, columns.next()) {
            (Some((_, traced)), Some(column)) => Some((column?, *traced)),
            _ => None,
        };
        let input = inputs.pop().ok_or_else(broken)?;
        Ok(Self { by, event_time, input, ..self.clone() })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // What the expressions name is added by the caller.
        Some(vec![output_columns.to_vec()])
    }
}

fn plan_for_ever(node: &dyn UserDefinedLogicalNode, planning: Planning<'_>) -> Result<Option<Planned>> {
    plan(&SPEC, node, planning)
}

fn plan_within(node: &dyn UserDefinedLogicalNode, planning: Planning<'_>) -> Result<Option<Planned>> {
    plan(&WITHIN_WATERMARK, node, planning)
}

fn plan(spec: &'static OperatorSpec, node: &dyn UserDefinedLogicalNode, planning: Planning<'_>) -> Result<Option<Planned>> {
    let Some(node) = node.as_any().downcast_ref::<Deduplicate>() else { return Ok(None) };
    let Some(id) = node.id.as_ref().filter(|_| std::ptr::eq(spec, &WITHIN_WATERMARK) == node.within_watermark) else {
        return Ok(None);
    };
    let schema = planning.logical_input.schema();
    let index_of = |column: &Column| schema.index_of_column(column).map_err(|e| from_datafusion(e, ErrorKind::Internal));
    let keys = node.by.iter().map(index_of).collect::<Result<Vec<_>>>()?;
    let input_schema = planning.input.schema();
    let key_fields = keys.iter().map(|index| {
        let field = input_schema.field(*index);
        Arc::new(field.clone().with_name(visible_name(field.name())))
    });
    let key_fields: Vec<_> = key_fields.collect();
    let event = node.event_time.as_ref().map(|(column, traced)| Ok::<_, Error>((index_of(column)?, *traced))).transpose()?;
    let late = event.as_ref().map(|(index, traced)| Lateness {
        operator: id.clone(),
        field: visible_name(input_schema.field(*index).name()).to_owned(),
        value: Arc::new(PhysicalColumn::new(input_schema.field(*index).name(), *index)),
        column: traced.column,
        event_time: planning.event_time.clone(),
    });
    let mut first_seen = None;
    let mut state_fields = Vec::new();
    let expiry = match &event {
        Some((index, traced)) if node.within_watermark => {
            state_fields.push(Arc::new(Field::new("expires", timestamp(), false)));
            first_seen = Some(FirstSeen { index: *index, column: traced.column, delay_us: traced.delay_ms.saturating_mul(1000) });
            Some(Expiry { index: keys.len(), column: EventColumn::Instant })
        }
        Some((index, traced)) => keys.iter().position(|key| key == index).map(|index| Expiry { index, column: traced.column }),
        None => None,
    };
    let state = StateSchema::new(key_fields, state_fields);
    let on_watermark = expiry.map_or(OnWatermark::Run, OnWatermark::Evict);
    let operator = Operator::new(spec, id, state, Vec::new(), on_watermark, planning.memory)?;
    let work = Distinct { operator: operator.clone(), keys, late, first_seen, event_time: planning.event_time.clone() };
    Ok(Some(Planned { node: Arc::new(PerBatchExec::flowing(Arc::new(work), planning.input)), operators: vec![operator] }))
}

/// Where a key's time to live begins.
#[derive(Debug)]
struct FirstSeen {
    index: usize,
    column: EventColumn,
    delay_us: i64,
}

#[derive(Debug)]
struct Distinct {
    operator: Arc<Operator>,
    keys: Vec<usize>,
    late: Option<Lateness>,
    first_seen: Option<FirstSeen>,
    event_time: Arc<EventTime>,
}

impl Flow for Distinct {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeduplicateExec: {}", self.operator.id())
    }

    fn pass(&self, rows: RecordBatch) -> Result<RecordBatch> {
        self.operator.update(|held, counts| {
            let rows = match &self.late {
                Some(late) => {
                    let split = late.split(rows)?;
                    counts.rows_dropped += split.late.map_or(0, |late| late.num_rows());
                    split.in_time
                }
                None => rows,
            };
            if rows.num_rows() == 0 { Ok(rows) } else { self.firsts(rows, held, counts) }
        })
    }

    fn end(&self) -> Result<()> {
        self.operator.update(|held, counts| {
            let watermark_us = self.event_time.watermark_ms().saturating_mul(1000);
            let expired = held.expiring.as_mut().map(|expiring| expiring.take_expired(watermark_us)).unwrap_or_default();
            for (keys, rows) in expired {
                counts.rows_removed += held.state.remove(&keys, rows)?;
            }
            Ok(())
        })
    }
}

impl Distinct {
    /// The rows whose key is new, which is remembered.
    fn firsts(&self, rows: RecordBatch, held: &mut Held, counts: &mut BatchCounts) -> Result<RecordBatch> {
        let keys: Vec<ArrayRef> = self.keys.iter().map(|index| rows.column(*index).clone()).collect();
        let new = held.state.find_new(&keys, rows.num_rows())?;
        let count = new.rows.len();
        *counts.rows_duplicate.get_or_insert(0) += rows.num_rows() - count;
        if count == 0 {
            return Ok(rows.slice(0, 0));
        }
        let rows = if count == rows.num_rows() {
            rows
        } else {
            take_record_batch(&rows, &new.rows).attempting(ErrorKind::Internal, attempt)?
        };
        let keys: Vec<ArrayRef> = self.keys.iter().map(|index| rows.column(*index).clone()).collect();
        let mut page = keys.clone();
        page.extend(self.first_seen.as_ref().map(|seen| seen.expires(&rows)));
        if let Some(expiring) = &mut held.expiring {
            let times = expiring.expiry().times(&page);
            expiring.add(&keys, &times)?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let page = RecordBatch::try_new_with_options(held.state.schema().columns().clone(), page, &options);
        held.state.put(page.attempting(ErrorKind::Internal, attempt)?, Some(new.lookup))?;
        counts.rows_updated += count;
        Ok(rows)
    }
}

impl FirstSeen {
    /// When the keys of `rows` expire. A row without a time counts as one of 1970, as it does in Spark.
    fn expires(&self, rows: &RecordBatch) -> ArrayRef {
        let times = expiry_times(rows.column(self.index).as_ref(), self.column);
        let expires = times.iter().map(|time| time.unwrap_or(0).saturating_add(self.delay_us));
        Arc::new(TimestampMicrosecondArray::from_iter_values(expires).with_data_type(timestamp()))
    }
}

fn attempt() -> String {
    "tell duplicates apart".to_owned()
}
