//! Aggregates that collect their values in an array.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray};
use arrow::datatypes::DataType;
use arrow::row::{OwnedRow, RowConverter, SortField};

use super::super::super::{Call, NullTreatment, Typed};
use super::super::arguments::{Want, array_of, coerce, mismatch};
use super::super::collection::{comparable_values, list_of, too_long};
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

/// A group's values, as rows of one column.
#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    rows: Vec<OwnedRow>,
    seen: HashSet<OwnedRow>,
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
        let comparable = comparable_values(column)?;
        let keys = converter.convert_columns(&[comparable]).map_err(from_arrow)?;
        let mut grown = 0;
        offer(&mut |row, group| {
            let value = rows.row(row).owned();
            let size = size_of::<OwnedRow>() + value.as_ref().len();
            if !self.distinct {
                grown += size;
                cells[group].rows.push(value);
            } else if cells[group].seen.insert(keys.row(row).owned()) {
                grown += 2 * size;
                cells[group].rows.push(value);
            }
        });
        Ok(grown)
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
            offsets.push(i32::try_from(count).map_err(|_| too_long())?);
        }
        // Rows know the converter they came from, which is gone; their bytes mean the same to this one.
        let parser = converter.parser();
        let rows = cells.iter().flat_map(|cell| &cell.rows).map(|row| parser.parse(row.as_ref()));
        let mut items = converter.convert_rows(rows).map_err(from_arrow)?;
        list_of(&self.data_type, offsets, items.remove(0), None)
    }
}
