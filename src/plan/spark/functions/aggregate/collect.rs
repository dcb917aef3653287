//! Aggregates that collect their values in an array.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use twox_hash::XxHash3_64;

use super::super::super::{Call, NullTreatment, Typed};
use super::super::arguments::{Want, array_of, coerce, mismatch};
use super::super::collection::{comparable_values, end_of, list_of, too_long};
use super::super::native::from_arrow;
use super::expression;
use super::fold::{Fold, GroupRows, typed, udaf};
use crate::error::Result;

/// `collect_list`: every value that is not null, in the order they came.
pub(super) fn list(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Any])?;
    let data_type = array_of(args[0].data_type.clone());
    let fold = Collect { data_type: data_type.clone(), distinct: false, nulls: c.nulls == Some(NullTreatment::Respect) };
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
    let fold = Collect { data_type: data_type.clone(), distinct: true, nulls: c.nulls == Some(NullTreatment::Respect) };
    let function = udaf("collect_set", fold, data_type.clone(), false);
    expression(&mut c, function, args, data_type, false)
}

/// Every value, or each once.
#[derive(Debug)]
pub(super) struct Collect {
    /// The array's type.
    pub(super) data_type: DataType,
    /// Whether each value is kept once.
    pub(super) distinct: bool,
    /// Whether nulls are values.
    pub(super) nulls: bool,
}

/// A group's values, as rows of one column, one behind the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    rows: Bytes,
    /// Of values that are kept once: what they are compared by, and where that is.
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
    /// Takes a value, the first of equal ones if each is wanted once. Gives how many bytes that took.
    fn push(&mut self, value: &[u8], key: Option<&[u8]>) -> Result<usize> {
        let Some(key) = key else { return self.rows.push(value) };
        let hash = |key: &[u8]| XxHash3_64::oneshot(key);
        let keys = &self.keys;
        let found = self.places.entry(hash(key), |at| keys.get(*at as usize) == key, |at| hash(keys.get(*at as usize)));
        let Entry::Vacant(place) = found else { return Ok(0) };
        place.insert(u32::try_from(keys.len()).map_err(|_| too_long())?);
        Ok(self.keys.push(key)? + self.rows.push(value)? + 2 * size_of::<u32>())
    }
}

impl Collect {
    fn converter(&self) -> Result<RowConverter> {
        let DataType::List(item) = &self.data_type else { return Err(crate::Error::internal("the result is an array")) };
        RowConverter::new(vec![SortField::new(item.data_type().clone())]).map_err(from_arrow)
    }

    /// Takes the items of `column` that `offer` names.
    fn take(&self, cells: &mut [Values], column: &ArrayRef, offer: impl FnOnce(&mut dyn FnMut(usize, usize))) -> Result<usize> {
        let converter = self.converter()?;
        let rows = converter.convert_columns(&[Arc::clone(column)]).map_err(from_arrow)?;
        // Values that are equal though their bits differ (0.0 and -0.0) are one; the first stays as it is.
        let keys = if self.distinct {
            Some(converter.convert_columns(&[comparable_values(column)?]).map_err(from_arrow)?)
        } else {
            None
        };
        let (mut grown, mut failed) = (0, None);
        offer(&mut |row, group| {
            let key = keys.as_ref().map(|keys| keys.row(row));
            match cells[group].push(rows.row(row).as_ref(), key.as_ref().map(AsRef::as_ref)) {
                Ok(bytes) => grown += bytes,
                Err(error) => failed = Some(error),
            }
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
        let offsets = lists.value_offsets();
        self.take(cells, lists.values(), |visit| {
            rows.each(lists, |row, group| (offsets[row]..offsets[row + 1]).for_each(|item| visit(item as usize, group)));
        })
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.finish(cells)?])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        let converter = self.converter()?;
        let mut offsets = vec![0_i32];
        let mut count = 0_usize;
        for cell in cells {
            count += cell.rows.len();
            offsets.push(end_of(count)?);
        }
        // Rows know the converter they came from, which is gone; their bytes mean the same to this one.
        let parser = converter.parser();
        let rows = cells.iter().flat_map(|cell| (0..cell.rows.len()).map(|at| parser.parse(cell.rows.get(at))));
        let mut items = converter.convert_rows(rows).map_err(from_arrow)?;
        list_of(&self.data_type, offsets, items.remove(0), None)
    }
}
