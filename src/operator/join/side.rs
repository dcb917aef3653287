//! One side of a join at work: what comes in, what is remembered, and what is over.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::{concat_batches, filter_record_batch, take, take_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType, UInt32Type};
use datafusion::physical_expr::PhysicalExpr;

use super::index::RowIndex;
use super::keys::JoinKeys;
use super::{CHUNK_ROWS, attempt};
use crate::error::{Attempt, Error, ErrorKind, Result, from_datafusion};
use crate::operator::expiry::expiry_times;
use crate::operator::lateness::Lateness;
use crate::operator::{BatchCounts, Held, Operator};
use crate::plan::event_time::{EventColumn, EventTime};
use crate::plan::spark::types::timestamp;

/// What does not change from batch to batch.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) operator: Arc<Operator>,
    /// The columns of its rows.
    pub(super) schema: SchemaRef,
    pub(super) late: Option<Lateness>,
    /// What a row must fulfil to match anything.
    pub(super) filter: Option<Arc<dyn PhysicalExpr>>,
    pub(super) keys: JoinKeys,
    pub(super) over: Option<Over>,
    /// Whether its rows come out without a partner.
    pub(super) is_outer: bool,
    /// Whether rows are forgotten before they are over: their numbers may be others' by then.
    pub(super) forgets_early: bool,
    pub(super) event_time: Arc<EventTime>,
}

/// When rows are over.
#[derive(Debug)]
pub(super) struct Over {
    pub(super) value: Arc<dyn PhysicalExpr>,
    pub(super) column: EventColumn,
    /// How far ahead of the watermark rows are over, in microseconds.
    pub(super) ahead_us: i64,
}

/// The rows of one batch that may match something.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) rows: RecordBatch,
    pub(super) keys: Vec<ArrayRef>,
    pub(super) hashes: Vec<Option<u64>>,
    /// The watermark at which each row is over, in microseconds; null is never.
    pub(super) ends_us: Option<Int64Array>,
    /// Which have found a partner.
    pub(super) matched: Vec<bool>,
}

impl Side {
    /// Takes out what is late and what can match nothing; hands the latter over as well.
    pub(super) fn arrive(&self, batches: Vec<RecordBatch>, counts: &mut BatchCounts) -> Result<(Arrived, Option<RecordBatch>)> {
        let (mut in_time, mut unfit) = (Vec::with_capacity(batches.len()), Vec::new());
        for rows in batches {
            let mut rows = rows;
            if let Some(late) = &self.late {
                let split = late.split(rows)?;
                counts.rows_dropped += split.late.map_or(0, |late| late.num_rows());
                rows = split.in_time;
            }
            if let Some(filter) = &self.filter {
                let fits = truth(filter.as_ref(), &rows)?;
                if self.is_outer && fits.true_count() < rows.num_rows() {
                    let not = BooleanArray::new(!fits.values(), None);
                    unfit.push(filter_record_batch(&rows, &not).attempting(ErrorKind::Internal, attempt)?);
                }
                rows = filter_record_batch(&rows, &fits).attempting(ErrorKind::Internal, attempt)?;
            }
            in_time.push(rows);
        }
        let rows = self.one(&in_time)?;
        let unfit = if unfit.is_empty() { None } else { Some(self.one(&unfit)?) };
        let (keys, hashes) = self.keys.of(&rows)?;
        let ends_us = self.over.as_ref().map(|over| over.ends_us(&rows)).transpose()?;
        let matched = vec![false; rows.num_rows()];
        Ok((Arrived { rows, keys, hashes, ends_us, matched }, unfit))
    }

    fn one(&self, batches: &[RecordBatch]) -> Result<RecordBatch> {
        match batches {
            [one] => Ok(one.clone()),
            many => concat_batches(&self.schema, many).attempting(ErrorKind::Internal, attempt),
        }
    }

    pub(super) fn watermark_us(&self) -> i64 {
        self.event_time.watermark_ms().saturating_mul(1000)
    }

    /// Remembers those of `arrived` that `keep` names and that are not over yet.
    pub(super) fn remember(&self, arrived: &Arrived, keep: &[u32], held: &mut Held) -> Result<()> {
        let keep = UInt32Array::from(keep.to_vec());
        if keep.is_empty() {
            return Ok(());
        }
        let rows = take_record_batch(&arrived.rows, &keep).attempting(ErrorKind::Internal, attempt)?;
        let hashes = keep.values().iter().map(|row| arrived.hashes[*row as usize]);
        let numbers: ArrayRef = Arc::new(index(held)?.add(hashes)?);
        let mut columns = vec![numbers.clone()];
        columns.extend(rows.columns().iter().cloned());
        if self.is_outer {
            let matched = keep.values().iter().map(|row| Some(arrived.matched[*row as usize]));
            columns.push(Arc::new(BooleanArray::from_iter(matched)));
        }
        if let Some(ends_us) = &arrived.ends_us {
            let ends_us = take(ends_us, &keep, None).attempting(ErrorKind::Internal, attempt)?;
            let ends_us = ends_us.as_primitive::<Int64Type>().clone();
            if let Some(expiring) = &mut held.expiring {
                expiring.add(std::slice::from_ref(&numbers), &ends_us)?;
            }
            let ends = TimestampMicrosecondArray::new(ends_us.values().clone(), ends_us.nulls().cloned());
            columns.push(Arc::new(ends.with_data_type(timestamp())));
        }
        let page = RecordBatch::try_new(held.state.schema().columns().clone(), columns);
        held.state.put(page.attempting(ErrorKind::Internal, attempt)?, None)
    }

    /// The rows with these numbers: the side's columns, then what else is kept of them.
    pub(super) fn stored(&self, numbers: &ArrayRef, held: &Held) -> Result<Vec<ArrayRef>> {
        let found = held.state.get(std::slice::from_ref(numbers), numbers.len())?;
        if found.held != numbers.len() {
            return Err(Error::internal(format!("{} has lost rows", self.operator.id())));
        }
        Ok(found.state)
    }

    /// The side's columns among those of a stored row.
    pub(super) fn rows(&self, stored: &[ArrayRef], rows: usize) -> Result<RecordBatch> {
        let columns = stored[..self.schema.fields().len()].to_vec();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).attempting(ErrorKind::Internal, attempt)
    }

    /// Whether each stored row has found a partner, if the side is an outer one.
    pub(super) fn matched<'a>(&self, stored: &'a [ArrayRef]) -> Option<&'a BooleanArray> {
        stored.get(self.schema.fields().len()).filter(|_| self.is_outer).map(|matched| matched.as_boolean())
    }

    /// Notes that rows have found a partner, which they had not before.
    pub(super) fn mark_matched(&self, numbers: &[u32], held: &mut Held) -> Result<()> {
        for numbers in numbers.chunks(CHUNK_ROWS) {
            let numbers: ArrayRef = Arc::new(UInt32Array::from(numbers.to_vec()));
            let mut columns = self.stored(&numbers, held)?;
            columns[self.schema.fields().len()] = Arc::new(BooleanArray::from(vec![true; numbers.len()]));
            columns.insert(0, numbers);
            let page = RecordBatch::try_new(held.state.schema().columns().clone(), columns);
            held.state.put(page.attempting(ErrorKind::Internal, attempt)?, None)?;
        }
        Ok(())
    }

    /// Forgets rows.
    pub(super) fn forget(&self, numbers: &ArrayRef, held: &mut Held, counts: &mut BatchCounts) -> Result<()> {
        index(held)?.remove(numbers.as_primitive::<UInt32Type>());
        counts.rows_removed += held.state.remove(std::slice::from_ref(numbers), numbers.len())?;
        Ok(())
    }

    /// Forgets the rows that are over, and gives those back that come out because they have found no partner.
    pub(super) fn evict(&self, held: &mut Held, counts: &mut BatchCounts) -> Result<Vec<RecordBatch>> {
        let watermark_us = self.watermark_us();
        let expired = held.expiring.as_mut().map(|expiring| expiring.take_expired(watermark_us)).unwrap_or_default();
        let mut alone = Vec::new();
        for (keys, count) in expired {
            for start in (0..count).step_by(CHUNK_ROWS) {
                let mut numbers = keys[0].slice(start, CHUNK_ROWS.min(count - start));
                if self.forgets_early {
                    numbers = still_over(&numbers, watermark_us, held)?;
                }
                if self.is_outer {
                    let stored = self.stored(&numbers, held)?;
                    let rows = self.rows(&stored, numbers.len())?;
                    if let Some(matched) = self.matched(&stored) {
                        let not = BooleanArray::new(!matched.values(), None);
                        alone.push(filter_record_batch(&rows, &not).attempting(ErrorKind::Internal, attempt)?);
                    }
                }
                self.forget(&numbers, held, counts)?;
            }
        }
        Ok(alone)
    }
}

impl Over {
    fn ends_us(&self, rows: &RecordBatch) -> Result<Int64Array> {
        let values = self.value.evaluate(rows).and_then(|values| values.into_array(rows.num_rows()));
        let values = values.map_err(|e| from_datafusion(e, ErrorKind::Data))?;
        let times = expiry_times(values.as_ref(), self.column);
        Ok(times.unary(|time_us| time_us.saturating_sub(self.ahead_us)))
    }
}

impl Arrived {
    /// Whether a row is over at this watermark.
    pub(super) fn is_over(&self, row: usize, watermark_us: i64) -> bool {
        self.ends_us.as_ref().is_some_and(|ends| ends.is_valid(row) && ends.value(row) <= watermark_us)
    }
}

/// The rows that a side remembers.
pub(super) fn index(held: &mut Held) -> Result<&mut RowIndex> {
    held.rows.as_mut().ok_or_else(|| Error::internal("a join without an index of its rows"))
}

/// Those of `numbers` that are rows which are over, each once.
fn still_over(numbers: &ArrayRef, watermark_us: i64, held: &Held) -> Result<ArrayRef> {
    let found = held.state.get(std::slice::from_ref(numbers), numbers.len())?;
    let numbers = match &found.order {
        Some(order) => take(numbers, order, None).attempting(ErrorKind::Internal, attempt)?,
        None => numbers.clone(),
    };
    let Some(ends) = found.state.last() else { return Ok(numbers.slice(0, 0)) };
    let ends = ends.as_primitive::<TimestampMicrosecondType>();
    let is_over = |row: &usize| ends.is_valid(*row) && ends.value(*row) <= watermark_us;
    let numbers = numbers.as_primitive::<UInt32Type>().values();
    let mut over: Vec<u32> = (0..found.held).filter(is_over).map(|row| numbers[row]).collect();
    over.sort_unstable();
    over.dedup();
    Ok(Arc::new(UInt32Array::from(over)))
}

/// Where `condition` is true.
pub(super) fn truth(condition: &dyn PhysicalExpr, rows: &RecordBatch) -> Result<BooleanArray> {
    let values = condition.evaluate(rows).and_then(|values| values.into_array(rows.num_rows()));
    let values = values.map_err(|e| from_datafusion(e, ErrorKind::Data))?;
    let values = values.as_boolean();
    let truth = match values.nulls() {
        None => values.values().clone(),
        Some(nulls) => values.values() & nulls.inner(),
    };
    Ok(BooleanArray::new(truth, None))
}
