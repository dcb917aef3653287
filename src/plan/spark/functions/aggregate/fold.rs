//! Aggregates of our own: one adapter for all of them.
//!
//! An aggregate is a [`Fold`]: a cell of state per group that takes rows in, merges with stored states, and becomes a value. The
//! adapter makes both of DataFusion's accumulators from it, so that every fold works in each aggregation mode and its state can be
//! kept between batches.

use std::any::Any;
use std::fmt::{Debug, Display};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, ListArray, StructArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};
use datafusion::scalar::ScalarValue;

use super::super::arguments::struct_of;
use super::super::native::from_arrow;
use super::collect::Collect;
use crate::error::{ErrorKind, Result};
use crate::plan::spark::types::array_of;

/// One aggregate function with its types settled.
///
/// # Contract
/// - A default cell is a group without rows; merging it changes nothing.
/// - `state` and `merge` are inverse: the state of merged cells is what one cell with all rows would have.
/// - `Debug` shows every parameter: two folds that print alike compute alike.
pub(super) trait Fold: Debug + Send + Sync + 'static {
    /// A group's state.
    type Cell: Default + Clone + Send + Sync + 'static;
    /// The columns that hold the state of one group.
    fn state_types(&self) -> Vec<DataType>;
    /// Takes argument rows into their groups. Gives the bytes that cells grew by on the heap.
    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize>;
    /// Takes stored states, one per row, into their groups. Gives the bytes that cells grew by on the heap.
    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize>;
    /// The state columns of the cells.
    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>>;
    /// The results of the cells.
    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef>;
}

/// Which group each row belongs to, and which rows count.
pub(super) struct GroupRows<'a> {
    groups: Groups<'a>,
    filter: Option<&'a BooleanArray>,
}

#[derive(Clone, Copy)]
enum Groups<'a> {
    /// So many rows, all of the first group.
    One(usize),
    /// Each row's.
    Each(&'a [usize]),
}

impl<'a> GroupRows<'a> {
    /// Every row counts.
    #[cfg(test)]
    pub(super) fn unfiltered(groups: &'a [usize]) -> Self {
        Self { groups: Groups::Each(groups), filter: None }
    }

    /// Which rows count and are not null in `values`, if all rows are of one group, the first.
    pub(super) fn single(&self, values: &dyn Array) -> Option<BooleanBuffer> {
        let Groups::One(rows) = self.groups else { return None };
        let nulls = values.logical_nulls();
        Some(self.counted(nulls.as_ref().map(NullBuffer::inner)).unwrap_or_else(|| BooleanBuffer::new_set(rows)))
    }

    /// Calls `visit` with every row that counts and whose `values` are not null, and its group.
    #[inline]
    pub(super) fn each(&self, values: &dyn Array, mut visit: impl FnMut(usize, usize)) {
        let nulls = values.logical_nulls().filter(|n| n.null_count() > 0);
        self.visit(self.counted(nulls.as_ref().map(NullBuffer::inner)), &mut visit);
    }

    /// Calls `visit` with every row of `counted`, all if that is `None`, and its group.
    #[inline]
    fn visit(&self, counted: Option<BooleanBuffer>, visit: &mut impl FnMut(usize, usize)) {
        let mut run = |from: usize, to: usize| match self.groups {
            Groups::One(_) => (from..to).for_each(|row| visit(row, 0)),
            Groups::Each(groups) => groups[from..to].iter().enumerate().for_each(|(row, group)| visit(from + row, *group)),
        };
        match (counted, self.groups) {
            // Run by run, so that no bit is looked at for each row.
            (Some(counted), _) => counted.set_slices().for_each(|(from, to)| run(from, to)),
            (None, Groups::One(rows)) => run(0, rows),
            (None, Groups::Each(groups)) => run(0, groups.len()),
        }
    }

    /// Which rows count, of those of `among`; `None` if all do.
    fn counted(&self, among: Option<&BooleanBuffer>) -> Option<BooleanBuffer> {
        let filter = self.filter.map(|filter| match filter.nulls() {
            Some(known) => filter.values() & known.inner(),
            None => filter.values().clone(),
        });
        match (filter, among) {
            (Some(filter), Some(among)) => Some(&filter & among),
            (Some(filter), None) => Some(filter),
            (None, among) => among.cloned(),
        }
    }

    /// Calls `visit` with every row that counts, null or not, and its group.
    pub(super) fn all(&self, mut visit: impl FnMut(usize, usize)) {
        self.visit(self.counted(None), &mut visit);
    }
}

/// A fold as a function that plans can hold.
pub(super) fn udaf<F: Fold>(name: &str, fold: F, data_type: DataType, nullable: bool) -> Arc<AggregateUDF> {
    let identity = format!("{name} {fold:?}");
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(AggregateUDF::new_from_impl(Udaf {
        name: name.to_owned(),
        identity,
        fold: Arc::new(fold),
        data_type,
        nullable,
        signature,
    }))
}

#[derive(Debug)]
struct Udaf<F: Fold> {
    name: String,
    identity: String,
    fold: Arc<F>,
    data_type: DataType,
    nullable: bool,
    signature: Signature,
}

impl<F: Fold> PartialEq for Udaf<F> {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity && self.data_type == other.data_type && self.nullable == other.nullable
    }
}

impl<F: Fold> Eq for Udaf<F> {}

impl<F: Fold> Hash for Udaf<F> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
    }
}

impl<F: Fold> AggregateUDFImpl for Udaf<F> {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.data_type.clone())
    }

    fn return_field(&self, _: &[FieldRef]) -> DataFusionResult<FieldRef> {
        Ok(Arc::new(Field::new(&self.name, self.data_type.clone(), self.nullable)))
    }

    fn is_nullable(&self) -> bool {
        self.nullable
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> DataFusionResult<Box<dyn Accumulator>> {
        if let Some(distinct) = self.distinct(args.is_distinct, args.expr_fields)? {
            return Ok(Box::new(Single(Grouped::new(Arc::new(distinct)))));
        }
        Ok(Box::new(Single(Grouped::new(Arc::clone(&self.fold)))))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> DataFusionResult<Vec<FieldRef>> {
        let types = match self.distinct(args.is_distinct, args.input_fields)? {
            Some(distinct) => distinct.state_types(),
            None => self.fold.state_types(),
        };
        Ok(types
            .into_iter()
            .enumerate()
            .map(|(i, t)| Arc::new(Field::new(format_state_name(args.name, &format!("state{i}")), t, true)))
            .collect())
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> DataFusionResult<Box<dyn GroupsAccumulator>> {
        if let Some(distinct) = self.distinct(args.is_distinct, args.expr_fields)? {
            return Ok(Box::new(Grouped::new(Arc::new(distinct))));
        }
        Ok(Box::new(Grouped::new(Arc::clone(&self.fold))))
    }
}

impl<F: Fold> Udaf<F> {
    /// The fold over each value once, if that is asked for.
    fn distinct(&self, asked: bool, arguments: &[FieldRef]) -> DataFusionResult<Option<Distinct<F>>> {
        let item = match arguments {
            _ if !asked => return Ok(None),
            [argument] => argument.data_type().clone(),
            _ => struct_of(arguments.iter().enumerate().map(|(i, argument)| (format!("{i}"), argument.data_type().clone()))),
        };
        let values = Collect { data_type: array_of(item), nulls: true, hashed: false };
        Ok(Some(Distinct { values, arguments: arguments.len(), fold: Arc::clone(&self.fold) }))
    }
}

/// A fold that takes each value of its argument once; until the end it only collects them. Values of several arguments are structs.
#[derive(Debug)]
struct Distinct<F: Fold> {
    values: Collect,
    arguments: usize,
    fold: Arc<F>,
}

impl<F: Fold> Fold for Distinct<F> {
    type Cell = <Collect as Fold>::Cell;

    fn state_types(&self) -> Vec<DataType> {
        self.values.state_types()
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        match self.values.item() {
            Some(DataType::Struct(fields)) if self.arguments > 1 => {
                let together = StructArray::try_new(fields.clone(), values.to_vec(), None).map_err(from_arrow)?;
                self.values.update(cells, rows, &[Arc::new(together)])
            }
            _ => self.values.update(cells, rows, values),
        }
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        self.values.merge(cells, rows, states)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        self.values.state(cells)
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        let lists = self.values.finish(cells)?;
        let lists = typed::<ListArray>(&lists)?;
        let groups: Vec<usize> =
            lists.offsets().lengths().enumerate().flat_map(|(group, n)| std::iter::repeat_n(group, n)).collect();
        let mut folded = vec![F::Cell::default(); cells.len()];
        let values = match self.arguments {
            1 => vec![Arc::clone(lists.values())],
            _ => typed::<StructArray>(lists.values())?.columns().to_vec(),
        };
        self.fold.update(&mut folded, &GroupRows { groups: Groups::Each(&groups), filter: None }, &values)?;
        self.fold.finish(&folded)
    }
}

struct Grouped<F: Fold> {
    fold: Arc<F>,
    cells: Vec<F::Cell>,
    heap_bytes: usize,
}

impl<F: Fold> Grouped<F> {
    fn new(fold: Arc<F>) -> Self {
        Self { fold, cells: Vec::new(), heap_bytes: 0 }
    }

    fn update(&mut self, values: &[ArrayRef], rows: &GroupRows<'_>, total_groups: usize) -> DataFusionResult<()> {
        self.cells.resize_with(total_groups.max(self.cells.len()), F::Cell::default);
        self.heap_bytes += self.fold.update(&mut self.cells, rows, values)?;
        Ok(())
    }

    fn merge(&mut self, states: &[ArrayRef], rows: &GroupRows<'_>, total_groups: usize) -> DataFusionResult<()> {
        self.cells.resize_with(total_groups.max(self.cells.len()), F::Cell::default);
        self.heap_bytes += self.fold.merge(&mut self.cells, rows, states)?;
        Ok(())
    }

    fn take(&mut self, emit: EmitTo) -> Vec<F::Cell> {
        let before = self.cells.len();
        let taken = emit.take_needed(&mut self.cells);
        // An even share of the heap goes with the cells: their own sizes are not tracked one by one.
        self.heap_bytes = self.heap_bytes.checked_div(before).map_or(0, |each| each * self.cells.len());
        taken
    }
}

impl<F: Fold> GroupsAccumulator for Grouped<F> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total_groups: usize,
    ) -> DataFusionResult<()> {
        self.update(values, &GroupRows { groups: Groups::Each(groups), filter }, total_groups)
    }

    fn evaluate(&mut self, emit: EmitTo) -> DataFusionResult<ArrayRef> {
        let cells = self.take(emit);
        Ok(self.fold.finish(&cells)?)
    }

    fn state(&mut self, emit: EmitTo) -> DataFusionResult<Vec<ArrayRef>> {
        let cells = self.take(emit);
        Ok(self.fold.state(&cells)?)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total_groups: usize) -> DataFusionResult<()> {
        self.merge(states, &GroupRows { groups: Groups::Each(groups), filter: None }, total_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> DataFusionResult<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |v| v.len());
        let groups: Vec<usize> = (0..rows).collect();
        let mut cells = vec![F::Cell::default(); rows];
        self.fold.update(&mut cells, &GroupRows { groups: Groups::Each(&groups), filter }, values)?;
        Ok(self.fold.state(&cells)?)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.cells.capacity() * size_of::<F::Cell>() + self.heap_bytes
    }
}

/// The accumulator of an aggregation without keys: one group.
struct Single<F: Fold>(Grouped<F>);

impl<F: Fold> Debug for Single<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Single").field(&self.0.fold).finish()
    }
}

impl<F: Fold> Single<F> {
    fn cells(&mut self) -> &[F::Cell] {
        self.0.cells.resize_with(1, F::Cell::default);
        &self.0.cells
    }
}

impl<F: Fold> Accumulator for Single<F> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        self.0.update(values, &one_group(values), 1)
    }

    fn evaluate(&mut self) -> DataFusionResult<ScalarValue> {
        self.cells();
        ScalarValue::try_from_array(&self.0.fold.finish(&self.0.cells)?, 0)
    }

    fn size(&self) -> usize {
        GroupsAccumulator::size(&self.0)
    }

    fn state(&mut self) -> DataFusionResult<Vec<ScalarValue>> {
        self.cells();
        let columns = self.0.fold.state(&self.0.cells)?;
        columns.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DataFusionResult<()> {
        self.0.merge(states, &one_group(states), 1)
    }
}

/// All rows of `columns` in one group.
fn one_group(columns: &[ArrayRef]) -> GroupRows<'static> {
    GroupRows { groups: Groups::One(columns.first().map_or(0, |column| column.len())), filter: None }
}

/// Refuses a stored state that `function` has not written.
pub(super) fn damaged(function: &str, how: impl Display) -> crate::Error {
    crate::Error::new(ErrorKind::Corrupt, format!("a stored state of `{function}` {how}"))
}

/// Refuses states of `function` whose lists do not go together row by row.
pub(super) fn paired<'l>(function: &str, first: &ListArray, others: impl IntoIterator<Item = &'l ListArray>) -> Result<()> {
    let paired = |other: &ListArray| first.offsets().lengths().eq(other.offsets().lengths());
    if others.into_iter().all(paired) { Ok(()) } else { Err(damaged(function, "has lists of different lengths")) }
}

/// A column of the wrong type, which only a defect of ours can cause.
pub(super) fn typed<A: Any>(array: &ArrayRef) -> Result<&A> {
    array.as_any().downcast_ref::<A>().ok_or_else(|| {
        crate::Error::internal(format!("an aggregate's column is {}, another type than was settled", array.data_type()))
    })
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn lists_of_one_state_are_of_one_length() {
        let lists = |lengths: &[usize]| {
            ListArray::from_iter_primitive::<Int64Type, _, _>(lengths.iter().map(|length| Some(vec![Some(1); *length])))
        };
        paired("f", &lists(&[1, 0, 3]), [&lists(&[1, 0, 3])]).unwrap();
        for other in [lists(&[1, 1, 2]), lists(&[1, 0, 2]), lists(&[1, 0])] {
            assert_eq!(paired("f", &lists(&[1, 0, 3]), [&other]).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
