//! `mode`: the value that comes most often.
//!
//! A group keeps its different values, each with how often it came; it grows with them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, new_null_array};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use arrow::row::{RowConverter, SortField};
use datafusion::scalar::ScalarValue;
use hashbrown::HashMap;

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, arity, array_of, coerce_one, constant, mismatch};
use super::super::collection::{comparable_values, has_map, list_of};
use super::super::native::from_arrow;
use super::doubles::{items, lists, offsets, span};
use super::fold::{Fold, GroupRows, typed};
use super::within::{only_key, wrong_number};
use super::{folded, orderable};
use crate::error::{Error, ErrorKind, Result};

/// `mode(value[, deterministic])` and `mode() WITHIN GROUP (ORDER BY value)`.
pub(super) fn mode(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 0, 2)?;
    if c.args.is_empty() {
        let key = only_key(&mut c)?;
        return build(c, key.value, if key.descending { Ties::Greatest } else { Ties::Least });
    }
    if !c.within_group.is_empty() {
        return Err(wrong_number(&c, 0, c.within_group.len()));
    }
    let mut args = std::mem::take(&mut c.args).into_iter();
    let (value, deterministic) = (args.next(), args.next());
    let ties = match deterministic {
        None => Ties::Any,
        Some(flag) => match constant(&flag)? {
            None => return Err(refused("NON_FOLDABLE_ARGUMENT", "`deterministic` of `mode` must be a constant expression")),
            Some(ScalarValue::Boolean(Some(flag))) => {
                if flag {
                    Ties::Least
                } else {
                    Ties::Any
                }
            }
            Some(value) if value.is_null() => {
                return Err(mismatch("UNEXPECTED_NULL", "`deterministic` of `mode` must not be null"));
            }
            Some(_) => return Err(refused("UNEXPECTED_INPUT_TYPE", "`deterministic` of `mode` must be true or false")),
        },
    };
    let Some(value) = value else { return Err(crate::Error::internal("an argument was counted")) };
    build(c, value, ties)
}

fn refused(condition: &'static str, message: &str) -> Error {
    Error::spark(ErrorKind::Config, condition, message)
}

fn build(mut c: Call<'_>, value: Typed, ties: Ties) -> Result<Typed> {
    let value = coerce_one(&c, 0, value, &Want::Any)?;
    if has_map(&value.data_type) && ties == Ties::Any {
        return Err(refused("UNSUPPORTED_FEATURE", "`mode` of maps is not supported; use `mode(map_entries(…))`"));
    }
    if ties != Ties::Any {
        orderable(&c, &value.data_type)?;
    }
    let data_type = value.data_type.clone();
    folded(&mut c, "mode", Mode { data_type: data_type.clone(), ties }, vec![value], data_type)
}

/// Which of the values that come equally often is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ties {
    /// None in particular: with us the least.
    Any,
    Least,
    Greatest,
}

#[derive(Debug)]
struct Mode {
    data_type: DataType,
    ties: Ties,
}

/// Values as rows of one column, whose bytes have the values' order, and how often each came.
type Tally = HashMap<Box<[u8]>, i64>;

/// What an entry takes beside its bytes, about.
const ENTRY_BYTES: usize = 40;

impl Mode {
    fn converter(&self) -> Result<RowConverter> {
        RowConverter::new(vec![SortField::new(self.data_type.clone())]).map_err(from_arrow)
    }

    fn column(&self, rows: &[&[u8]]) -> Result<ArrayRef> {
        let converter = self.converter()?;
        let parser = converter.parser();
        let mut columns = converter.convert_rows(rows.iter().map(|row| parser.parse(row))).map_err(from_arrow)?;
        Ok(columns.remove(0))
    }
}

/// Values of which two are equal bytes if Spark counts them as one. Zeros of both signs are two to it, as in its hash map.
pub(super) fn countable(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(match column.data_type() {
        DataType::Float32 => {
            Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(|v| if v.is_nan() { f32::NAN } else { v }))
        }
        DataType::Float64 => {
            Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(|v| if v.is_nan() { f64::NAN } else { v }))
        }
        _ => comparable_values(column)?,
    })
}

fn count(cell: &mut Tally, row: &[u8], times: i64) -> usize {
    if let Some(held) = cell.get_mut(row) {
        *held = held.wrapping_add(times);
        return 0;
    }
    cell.insert(row.into(), times);
    ENTRY_BYTES + row.len()
}

/// The same values are the same state, in whatever order they came.
fn in_order(cell: &Tally) -> Vec<(&[u8], i64)> {
    let mut counts: Vec<(&[u8], i64)> = cell.iter().map(|(row, times)| (row.as_ref(), *times)).collect();
    counts.sort_unstable();
    counts
}

impl Fold for Mode {
    type Cell = Tally;

    fn state_types(&self) -> Vec<DataType> {
        vec![array_of(self.data_type.clone()), array_of(DataType::Int64)]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let column = countable(&values[0])?;
        let keys = self.converter()?.convert_columns(&[Arc::clone(&column)]).map_err(from_arrow)?;
        let mut grown = 0;
        rows.each(column.as_ref(), |row, group| grown += count(&mut cells[group], keys.row(row).as_ref(), 1));
        Ok(grown)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let (values, counts) = (typed::<ListArray>(&states[0])?, typed::<ListArray>(&states[1])?);
        let keys = self.converter()?.convert_columns(&[Arc::clone(values.values())]).map_err(from_arrow)?;
        let times = items::<Int64Type>(counts)?.values();
        let mut grown = 0;
        rows.each(values, |row, group| {
            let cell = &mut cells[group];
            let pairs = span(values, row).zip(span(counts, row));
            pairs.for_each(|(value, at)| grown += count(cell, keys.row(value).as_ref(), times[at]));
        });
        Ok(grown)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        let cells: Vec<_> = cells.iter().map(in_order).collect();
        let rows: Vec<&[u8]> = cells.iter().flatten().map(|(row, _)| *row).collect();
        let offsets = offsets(cells.iter().map(Vec::len))?;
        let values = list_of(&array_of(self.data_type.clone()), offsets, self.column(&rows)?, None)?;
        Ok(vec![values, lists::<Int64Type, _>(cells.iter().map(|cell| cell.iter().map(|(_, times)| *times)))?])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        for cell in cells {
            let greatest = cell.values().copied().max();
            let modes = cell.iter().filter(|(_, times)| Some(**times) == greatest).map(|(row, _)| row.as_ref());
            let mode: Option<&[u8]> = if self.ties == Ties::Greatest { modes.max() } else { modes.min() };
            places.push(mode.map(|_| rows.len() as u64));
            rows.extend(mode);
        }
        if rows.is_empty() {
            return Ok(new_null_array(&self.data_type, cells.len()));
        }
        let places = arrow::array::UInt64Array::from(places);
        arrow::compute::take(&self.column(&rows)?, &places, None).map_err(from_arrow)
    }
}
