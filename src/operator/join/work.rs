//! A join at work: each batch is joined with what is remembered of the other side, and with the other side's own batch.
//!
//! Candidates come from the hashes of keys. They are put side by side in chunks of bounded size, their keys are compared, and what
//! the condition asks for beyond keys is evaluated on them: first what cannot fail, then one by one what can, each on the pairs that
//! are left.

use std::fmt;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::compute::{filter, filter_record_batch, take, take_record_batch};
use arrow::datatypes::{SchemaRef, UInt32Type};
use datafusion::common::JoinType;
use datafusion::physical_expr::PhysicalExpr;
use hashbrown::HashSet;

use super::chains::{Chains, NONE};
use super::keys::same;
use super::side::{Arrived, Side, truth};
use super::{CHUNK_ROWS, attempt};
use crate::error::{Attempt, ErrorKind, Result};
use crate::operator::node::PerBatchOfTwo;
use crate::operator::{BatchCounts, Held};

/// See the module.
#[derive(Debug)]
pub(super) struct JoinWork {
    pub(super) join_type: JoinType,
    pub(super) left: Side,
    pub(super) right: Side,
    /// What pairs must fulfil beside their keys, over both sides' columns: what cannot fail first.
    pub(super) residual: Vec<Arc<dyn PhysicalExpr>>,
    /// The columns of both sides.
    pub(super) pair_schema: SchemaRef,
    /// The columns that come out.
    pub(super) schema: SchemaRef,
}

/// Which side a row is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Left,
    Right,
}

/// Pairs that fulfil the condition.
struct Pairs {
    /// Both sides' columns.
    rows: RecordBatch,
    /// Rows of the batch that was probed with.
    probes: UInt32Array,
    /// Numbers of the rows that were found.
    found: ArrayRef,
    /// Whether those had found a partner in an earlier batch, where that is noted.
    known: Option<BooleanArray>,
}

impl PerBatchOfTwo for JoinWork {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamJoinExec: {}, kind={}", self.left.operator.planned_id(), self.join_type)
    }

    fn run(&self, left: Vec<RecordBatch>, right: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        self.left.operator.update(|left_held, left_counts| {
            self.right.operator.update(|right_held, right_counts| {
                let (left, left_unfit) = self.left.arrive(left, left_counts)?;
                let (right, right_unfit) = self.right.arrive(right, right_counts)?;
                let (mut left, mut right) = (left, right);
                let mut out = Vec::new();
                for (rows, of) in [(left_unfit, Of::Left), (right_unfit, Of::Right)] {
                    out.extend(rows.map(|rows| self.alone(&rows, of)).transpose()?);
                }
                if self.join_type == JoinType::LeftSemi {
                    self.semi(&mut left, &mut right, (left_held, left_counts), (right_held, right_counts), &mut out)?;
                } else {
                    self.join(&mut left, &mut right, (left_held, left_counts), (right_held, right_counts), &mut out)?;
                }
                for rows in self.left.evict(left_held, left_counts)? {
                    out.push(self.alone(&rows, Of::Left)?);
                }
                for rows in self.right.evict(right_held, right_counts)? {
                    out.push(self.alone(&rows, Of::Right)?);
                }
                out.retain(|rows| rows.num_rows() > 0);
                Ok(out)
            })
        })
    }
}

/// What a side holds, and what it counts in the batch.
type AtWork<'a> = (&'a mut Held, &'a mut BatchCounts);

impl JoinWork {
    /// Every kind but semi: new rows with those remembered, then with each other.
    fn join(
        &self,
        left: &mut Arrived,
        right: &mut Arrived,
        (left_held, left_counts): AtWork<'_>,
        (right_held, right_counts): AtWork<'_>,
        out: &mut Vec<RecordBatch>,
    ) -> Result<()> {
        let mut partners = self.probe_stored(left, Of::Left, right_held, out)?;
        self.right.mark_matched(&sorted(&mut partners), right_held)?;
        let mut partners = self.probe_stored(right, Of::Right, left_held, out)?;
        self.left.mark_matched(&sorted(&mut partners), left_held)?;
        let chains = Chains::of(&left.hashes);
        let mut found_left = Vec::new();
        self.probe(
            right,
            Of::Right,
            &chains,
            |numbers| take_columns(left, numbers),
            |pairs, matched| {
                mark(matched, &pairs.probes);
                found_left.extend_from_slice(pairs.found.as_primitive::<UInt32Type>().values());
                out.push(self.output(pairs.rows)?);
                Ok(())
            },
        )?;
        for row in found_left {
            left.matched[row as usize] = true;
        }
        self.keep(left, Of::Left, left_held, left_counts, out)?;
        self.keep(right, Of::Right, right_held, right_counts, out)
    }

    /// Semi: a left row comes out once, and is forgotten with that. New right rows find what is remembered of the left; then new
    /// left rows look for one among all right rows.
    fn semi(
        &self,
        left: &mut Arrived,
        right: &mut Arrived,
        (left_held, left_counts): AtWork<'_>,
        (right_held, right_counts): AtWork<'_>,
        out: &mut Vec<RecordBatch>,
    ) -> Result<()> {
        let mut emitted: HashSet<u32> = HashSet::new();
        let held = &*left_held;
        let Some(rows) = &held.rows else { return Ok(()) };
        self.probe(
            right,
            Of::Right,
            rows.chains(),
            |numbers| self.left.stored(numbers, held),
            |pairs, _| {
                let found = pairs.found.as_primitive::<UInt32Type>().values();
                let first: BooleanArray = found.iter().map(|number| Some(emitted.insert(*number))).collect();
                let rows = self.output(pairs.rows)?;
                out.push(filter_record_batch(&rows, &first).attempting(ErrorKind::Internal, attempt)?);
                Ok(())
            },
        )?;
        for numbers in sorted(&mut emitted).chunks(CHUNK_ROWS) {
            let numbers: ArrayRef = Arc::new(UInt32Array::from(numbers.to_vec()));
            self.left.forget(&numbers, left_held, left_counts)?;
        }
        // Rows of the right that are over already are not even looked at by new left rows.
        let watermark_us = self.right.watermark_us();
        for row in 0..right.rows.num_rows() {
            if right.is_over(row, watermark_us) {
                right.hashes[row] = None;
            }
        }
        self.probe_stored(left, Of::Left, right_held, &mut Vec::new())?;
        let chains = Chains::of(&right.hashes);
        self.probe(
            left,
            Of::Left,
            &chains,
            |numbers| take_columns(right, numbers),
            |pairs, matched| {
                mark(matched, &pairs.probes);
                Ok(())
            },
        )?;
        let matched = BooleanArray::from(left.matched.clone());
        out.push(filter_record_batch(&left.rows, &matched).attempting(ErrorKind::Internal, attempt)?);
        self.keep(left, Of::Left, left_held, left_counts, out)?;
        self.keep(right, Of::Right, right_held, right_counts, out)
    }

    /// Probes what is remembered of the other side with `new`, and says which of it has found its first partner.
    fn probe_stored(&self, new: &mut Arrived, of: Of, held: &Held, out: &mut Vec<RecordBatch>) -> Result<HashSet<u32>> {
        let mut first_time = HashSet::new();
        let Some(rows) = &held.rows else { return Ok(first_time) };
        let other = if of == Of::Left { &self.right } else { &self.left };
        self.probe(
            new,
            of,
            rows.chains(),
            |numbers| other.stored(numbers, held),
            |pairs, matched| {
                mark(matched, &pairs.probes);
                if let Some(known) = &pairs.known {
                    let found = pairs.found.as_primitive::<UInt32Type>().values();
                    first_time.extend(found.iter().zip(known.values()).filter(|(_, known)| !known).map(|(number, _)| *number));
                }
                out.push(self.output(pairs.rows)?);
                Ok(())
            },
        )?;
        Ok(first_time)
    }

    /// Probes `chains` with `new`; `fetch` gets the columns of what they number.
    fn probe(
        &self,
        new: &mut Arrived,
        of: Of,
        chains: &Chains,
        fetch: impl Fn(&ArrayRef) -> Result<Vec<ArrayRef>>,
        mut take_pairs: impl FnMut(Pairs, &mut [bool]) -> Result<()>,
    ) -> Result<()> {
        let mut matched = std::mem::take(&mut new.matched);
        let (mut row, mut at) = (0, None);
        let (mut probes, mut found) = (Vec::new(), Vec::new());
        loop {
            while row < new.hashes.len() && probes.len() < CHUNK_ROWS {
                let number = at.unwrap_or_else(|| new.hashes[row].map_or(NONE, |hash| chains.first(hash)));
                if number == NONE {
                    (row, at) = (row + 1, None);
                } else {
                    probes.push(row as u32);
                    found.push(number);
                    at = Some(chains.next(number));
                }
            }
            if probes.is_empty() {
                break;
            }
            let candidates = (UInt32Array::from(std::mem::take(&mut probes)), UInt32Array::from(std::mem::take(&mut found)));
            let pairs = self.pairs(new, of, candidates, &fetch)?;
            take_pairs(pairs, &mut matched)?;
        }
        new.matched = matched;
        Ok(())
    }

    /// Those candidates that fulfil the condition.
    fn pairs(
        &self,
        new: &Arrived,
        of: Of,
        (probes, found): (UInt32Array, UInt32Array),
        fetch: &impl Fn(&ArrayRef) -> Result<Vec<ArrayRef>>,
    ) -> Result<Pairs> {
        let found: ArrayRef = Arc::new(found);
        let other = if of == Of::Left { &self.right } else { &self.left };
        let fetched = fetch(&found)?;
        let known = other.matched(&fetched).filter(|_| fetched.len() > other.schema.fields().len()).cloned();
        let theirs = other.rows(&fetched, found.len())?;
        let ours = take_record_batch(&new.rows, &probes).attempting(ErrorKind::Internal, attempt)?;
        let our_keys = new.keys.iter().map(|key| take(key, &probes, None)).collect::<Result<Vec<_>, _>>();
        let fits = same(&our_keys.attempting(ErrorKind::Internal, attempt)?, &other.keys.values(&theirs)?)?;
        let (left, right) = if of == Of::Left { (&ours, &theirs) } else { (&theirs, &ours) };
        let columns = left.columns().iter().chain(right.columns()).cloned().collect();
        let options = RecordBatchOptions::new().with_row_count(Some(found.len()));
        let rows = RecordBatch::try_new_with_options(self.pair_schema.clone(), columns, &options);
        let rows = rows.attempting(ErrorKind::Internal, attempt)?;
        let mut pairs = Pairs { rows, probes, found, known };
        pairs.retain(&BooleanArray::new(fits, None))?;
        for condition in &self.residual {
            let fits = truth(condition.as_ref(), &pairs.rows)?;
            pairs.retain(&fits)?;
        }
        Ok(pairs)
    }

    /// Remembers what may still match; what is over already goes as if it had been remembered and evicted, as Spark does it.
    fn keep(
        &self,
        arrived: &Arrived,
        of: Of,
        held: &mut Held,
        counts: &mut BatchCounts,
        out: &mut Vec<RecordBatch>,
    ) -> Result<()> {
        let side = if of == Of::Left { &self.left } else { &self.right };
        let watermark_us = side.watermark_us();
        let is_semi = self.join_type == JoinType::LeftSemi;
        let (mut keep, mut alone) = (Vec::with_capacity(arrived.rows.num_rows()), Vec::new());
        for row in 0..arrived.rows.num_rows() {
            let matched = arrived.matched[row];
            if is_semi && of == Of::Left && matched {
                continue;
            }
            if !arrived.is_over(row, watermark_us) {
                keep.push(row as u32);
                continue;
            }
            let comes_out = side.is_outer && !matched;
            if of == Of::Left || comes_out {
                counts.rows_updated += 1;
                counts.rows_removed += 1;
            }
            if comes_out {
                alone.push(row as u32);
            }
        }
        if !alone.is_empty() {
            let rows = take_record_batch(&arrived.rows, &UInt32Array::from(alone)).attempting(ErrorKind::Internal, attempt)?;
            out.push(self.alone(&rows, of)?);
        }
        counts.rows_updated += keep.len();
        side.remember(arrived, &keep, held)
    }

    /// Rows without a partner, with nulls in its place.
    fn alone(&self, rows: &RecordBatch, of: Of) -> Result<RecordBatch> {
        let other = if of == Of::Left { &self.right } else { &self.left };
        let nulls = other.schema.fields().iter().map(|field| new_null_array(field.data_type(), rows.num_rows()));
        let columns = match of {
            Of::Left => rows.columns().iter().cloned().chain(nulls).collect(),
            Of::Right => nulls.chain(rows.columns().iter().cloned()).collect(),
        };
        self.batch(columns, rows.num_rows())
    }

    /// What comes out of pairs.
    fn output(&self, pairs: RecordBatch) -> Result<RecordBatch> {
        let columns = pairs.columns()[..self.schema.fields().len()].to_vec();
        self.batch(columns, pairs.num_rows())
    }

    fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).attempting(ErrorKind::Internal, attempt)
    }
}

impl Pairs {
    fn retain(&mut self, fits: &BooleanArray) -> Result<()> {
        if fits.true_count() == fits.len() {
            return Ok(());
        }
        let filtered = |column: &dyn Array| filter(column, fits).attempting(ErrorKind::Internal, attempt);
        self.probes = filtered(&self.probes)?.as_primitive::<UInt32Type>().clone();
        self.found = filtered(&self.found)?;
        if let Some(known) = &self.known {
            self.known = Some(filtered(known)?.as_boolean().clone());
        }
        self.rows = filter_record_batch(&self.rows, fits).attempting(ErrorKind::Internal, attempt)?;
        Ok(())
    }
}

fn mark(matched: &mut [bool], rows: &UInt32Array) {
    for row in rows.values() {
        matched[*row as usize] = true;
    }
}

/// The columns of some rows of a batch.
fn take_columns(arrived: &Arrived, rows: &ArrayRef) -> Result<Vec<ArrayRef>> {
    let rows = rows.as_primitive::<UInt32Type>();
    let columns = arrived.rows.columns().iter().map(|column| take(column, rows, None));
    columns.collect::<Result<_, _>>().attempting(ErrorKind::Internal, attempt)
}

/// In order, so that what is done with them does not depend on a table's.
fn sorted(numbers: &mut HashSet<u32>) -> Vec<u32> {
    let mut numbers: Vec<u32> = numbers.drain().collect();
    numbers.sort_unstable();
    numbers
}
