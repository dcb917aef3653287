//! Aggregates that collect their values in an array.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, UInt32Array, new_empty_array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use twox_hash::XxHash3_64;

use super::super::super::types::has_map;
use super::super::super::{Call, NullTreatment, Typed};
use super::super::arguments::{Want, arity, array_of, coerce, expect_one, item_of, mismatch};
use super::super::collection::{comparable_values, list_of, too_long};
use super::super::native::{from_arrow, interleaved};
use super::doubles::{offsets, span};
use super::expression;
use super::fold::{Fold, GroupRows, typed, udaf};
use super::java::{order_in_hash_set, set_hashes};
use crate::error::Result;

/// `collect_list`: every value that is not null, in the order they came.
pub(super) fn list(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Any])?;
    let data_type = array_of(args[0].data_type.clone());
    let fold = List { data_type: data_type.clone(), nulls: c.nulls == Some(NullTreatment::Respect) };
    let function = udaf("collect_list", fold, data_type.clone(), false);
    expression(&mut c, function, args, data_type, false)
}

/// `collect_set`: every value once.
pub(super) fn set(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Any])?;
    if matches!(args[0].data_type, DataType::Map(..)) {
        return Err(mismatch("UNSUPPORTED_INPUT_TYPE", "`collect_set` does not take maps"));
    }
    let data_type = array_of(args[0].data_type.clone());
    let fold = Collect { data_type: data_type.clone(), nulls: c.nulls == Some(NullTreatment::Respect), hashed: true };
    let function = udaf("collect_set", fold, data_type.clone(), false);
    expression(&mut c, function, args, data_type, false)
}

/// `collect_union`: every element of the arrays once.
pub(super) fn union(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 1)?;
    let arg = c.args.remove(0);
    let args = vec![expect_one(&c, 0, arg, &Want::Array)?];
    let data_type = args[0].data_type.clone();
    if item_of(&data_type).is_some_and(has_map) {
        return Err(mismatch("UNSUPPORTED_INPUT_TYPE", "`collect_union` does not take arrays of maps"));
    }
    let elements = Collect { data_type: data_type.clone(), nulls: c.nulls == Some(NullTreatment::Respect), hashed: true };
    let function = udaf("collect_union", Union(elements), data_type.clone(), false);
    expression(&mut c, function, args, data_type, false)
}

/// Every value.
#[derive(Debug)]
struct List {
    /// The array's type.
    data_type: DataType,
    /// Whether nulls are values.
    nulls: bool,
}

/// Values that stand one after another in a column, which is copied from at the end only: a list of many values that gets few more
/// is then one copy of memory.
#[derive(Debug, Clone)]
struct Run {
    column: ArrayRef,
    start: usize,
    end: usize,
}

impl List {
    fn take(cells: &mut [Vec<Run>], column: &ArrayRef, group: usize, items: std::ops::Range<usize>) -> usize {
        if items.is_empty() {
            return 0;
        }
        let runs = &mut cells[group];
        if let Some(last) = runs.last_mut().filter(|last| last.end == items.start && Arc::ptr_eq(&last.column, column)) {
            last.end = items.end;
            return 0;
        }
        runs.push(Run { column: Arc::clone(column), start: items.start, end: items.end });
        size_of::<Run>()
    }
}

impl Fold for List {
    type Cell = Vec<Run>;

    fn state_types(&self) -> Vec<DataType> {
        vec![self.data_type.clone()]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let column = &values[0];
        let mut grown = column.get_array_memory_size();
        let visit = |row: usize, group: usize| grown += Self::take(cells, column, group, row..row + 1);
        if self.nulls {
            rows.all(visit)
        } else {
            rows.each(column.as_ref(), visit)
        }
        Ok(grown)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let lists = typed::<ListArray>(&states[0])?;
        let mut grown = lists.values().get_array_memory_size();
        rows.each(lists, |row, group| grown += Self::take(cells, lists.values(), group, span(lists, row)));
        Ok(grown)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.finish(cells)?])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        let mut columns: Vec<&dyn Array> = Vec::new();
        let mut numbers = HashMap::new();
        let mut places = Vec::new();
        for run in cells.iter().flatten() {
            let number = *numbers.entry(Arc::as_ptr(&run.column).cast::<()>()).or_insert_with(|| {
                columns.push(run.column.as_ref());
                columns.len() - 1
            });
            places.extend((run.start..run.end).map(|place| (number, place)));
        }
        let items = match (&self.data_type, columns.is_empty()) {
            (DataType::List(item), true) => new_empty_array(item.data_type()),
            _ => interleaved(&columns, &places)?,
        };
        let lengths = cells.iter().map(|runs| runs.iter().map(|run| run.end - run.start).sum());
        list_of(&self.data_type, offsets(lengths)?, items, None)
    }
}

/// Each value once.
#[derive(Debug)]
pub(super) struct Collect {
    /// The array's type.
    pub(super) data_type: DataType,
    /// Whether nulls are values.
    pub(super) nulls: bool,
    /// Whether they are given in the order of Spark's hash set, where it is known, rather than in that in which they came.
    pub(super) hashed: bool,
}

/// A group's values, as rows of one column, one behind the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    rows: Bytes,
    /// What they are compared by, and where that is.
    keys: Bytes,
    places: HashTable<u32>,
}

/// Runs of bytes.
#[derive(Debug, Clone, Default)]
struct Bytes {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Bytes {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start as usize..self.ends[index] as usize]
    }

    /// How much memory it takes is given back.
    fn push(&mut self, run: &[u8]) -> Result<usize> {
        let end = u32::try_from(self.bytes.len() + run.len()).map_err(|_| too_long())?;
        self.bytes.extend_from_slice(run);
        self.ends.push(end);
        Ok(run.len() + size_of::<u32>())
    }
}

impl Values {
    /// Takes a value, the first of equal ones. Gives how many bytes that took.
    fn push(&mut self, value: &[u8], key: &[u8]) -> Result<usize> {
        let hash = |key: &[u8]| XxHash3_64::oneshot(key);
        let keys = &self.keys;
        let found = self.places.entry(hash(key), |at| keys.get(*at as usize) == key, |at| hash(keys.get(*at as usize)));
        let Entry::Vacant(place) = found else { return Ok(0) };
        place.insert(u32::try_from(keys.len()).map_err(|_| too_long())?);
        Ok(self.keys.push(key)? + self.rows.push(value)? + 2 * size_of::<u32>())
    }
}

impl Collect {
    /// The type of a value.
    pub(super) fn item(&self) -> Option<&DataType> {
        item_of(&self.data_type)
    }

    fn converter(&self) -> Result<RowConverter> {
        let item = self.item().ok_or_else(|| crate::Error::internal("the result is an array"))?;
        RowConverter::new(vec![SortField::new(item.clone())]).map_err(from_arrow)
    }

    /// Takes the items of `column` that `offer` names.
    fn take(&self, cells: &mut [Values], column: &ArrayRef, offer: impl FnOnce(&mut dyn FnMut(usize, usize))) -> Result<usize> {
        let converter = self.converter()?;
        let rows = converter.convert_columns(&[Arc::clone(column)]).map_err(from_arrow)?;
        // Values that are equal though their bits differ (0.0 and -0.0) are one; the first stays as it is.
        let keys = converter.convert_columns(&[comparable_values(column)?]).map_err(from_arrow)?;
        let (mut grown, mut failed) = (0, None);
        offer(&mut |row, group| match cells[group].push(rows.row(row).as_ref(), keys.row(row).as_ref()) {
            Ok(bytes) => grown += bytes,
            Err(error) => failed = Some(error),
        });
        failed.map_or(Ok(grown), Err)
    }
}

impl Fold for Collect {
    type Cell = Values;

    fn state_types(&self) -> Vec<DataType> {
        vec![self.data_type.clone()]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let column = &values[0];
        self.take(cells, column, |visit| if self.nulls { rows.all(visit) } else { rows.each(column.as_ref(), visit) })
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let lists = typed::<ListArray>(&states[0])?;
        self.take(cells, lists.values(), |visit| {
            rows.each(lists, |row, group| span(lists, row).for_each(|item| visit(item, group)));
        })
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.finish(cells)?])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        let converter = self.converter()?;
        // Rows know the converter they came from, which is gone; their bytes mean the same to this one.
        let parser = converter.parser();
        let rows = cells.iter().flat_map(|cell| (0..cell.rows.len()).map(|at| parser.parse(cell.rows.get(at))));
        let items = converter.convert_rows(rows).map_err(from_arrow)?.remove(0);
        let offsets = offsets(cells.iter().map(|cell| cell.rows.len()))?;
        let items = if self.hashed { in_order_of_sets(items, &offsets)? } else { items };
        list_of(&self.data_type, offsets, items, None)
    }
}

/// The items, those of each set in the order in which Spark's would give them.
fn in_order_of_sets(items: ArrayRef, offsets: &[i32]) -> Result<ArrayRef> {
    let Some(hashes) = set_hashes(&items)? else { return Ok(items) };
    let mut places = Vec::with_capacity(items.len());
    for ends in offsets.windows(2) {
        let own = &hashes[ends[0] as usize..ends[1] as usize];
        places.extend(order_in_hash_set(own).map(|place| place + ends[0] as u32));
    }
    take(&items, &UInt32Array::from(places), None).map_err(from_arrow)
}

/// The elements of arrays.
#[derive(Debug)]
struct Union(Collect);

impl Fold for Union {
    type Cell = Values;

    fn state_types(&self) -> Vec<DataType> {
        self.0.state_types()
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let lists = typed::<ListArray>(&values[0])?;
        let nulls = lists.values().logical_nulls().filter(|_| !self.0.nulls);
        self.0.take(cells, lists.values(), |visit| {
            rows.each(lists, |row, group| {
                span(lists, row)
                    .filter(|item| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*item)))
                    .for_each(|item| visit(item, group));
            });
        })
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        self.0.merge(cells, rows, states)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        self.0.state(cells)
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        self.0.finish(cells)
    }
}
