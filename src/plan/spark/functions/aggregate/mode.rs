//! `mode`: the value that comes most often.
//!
//! A group keeps its different values, each with how often it came; it grows with them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, new_null_array};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use arrow::row::{RowConverter, SortField};
use datafusion::scalar::ScalarValue;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::super::super::types::has_map;
use super::super::super::{Call, Typed};
use super::super::arguments::{Want, arity, array_of, coerce_one, constant, mismatch, orderable};
use super::super::collection::{comparable_values, list_of};
use super::super::native::from_arrow;
use super::doubles::{items, lists, offsets, span};
use super::fold::{Fold, GroupRows, paired, typed};
use super::folded;
use super::java::{order_in_open_table, row_hash_codes};
use super::within::{only_key, wrong_number};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Scope;

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
    let kept = c.context.settings.scope == Scope::Query;
    folded(&mut c, "mode", Mode { data_type: data_type.clone(), ties, kept }, vec![value], data_type)
}

/// Which of the values that come equally often is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ties {
    /// The one that Spark's hash map gives first, where its order is known, else the least.
    Any,
    Least,
    Greatest,
}

#[derive(Debug)]
struct Mode {
    data_type: DataType,
    ties: Ties,
    /// Whether states are kept between batches, before which Spark merges those of a batch once.
    kept: bool,
}

/// A group's values.
#[derive(Debug, Clone, Default)]
struct Cell {
    tally: Tally,
    /// Whether rows were counted in it, rather than states merged.
    is_of_rows: bool,
}

/// Values as rows of one column, whose bytes have the values' order, how often each came, and as which of them it came first.
type Tally = HashMap<Key, (i64, u32)>;

/// Numbers, dates, times and short texts take no memory of their own.
type Key = SmallVec<[u8; 24]>;

/// Values in an order, each with how often it came.
type Counted<'c> = Vec<(&'c [u8], i64)>;

/// Tables that Spark fills when it merges a state into none: the one that it reads and the one that it merges into.
const TABLES_OF_MERGE: usize = 2;

/// What an entry takes, about, beside the bytes of a long value.
const ENTRY_BYTES: usize = 64;

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

    /// The cells' values and counts as they are stored: as Spark's map would give them, as ties depend on it, else in their own
    /// order, so that the same values are the same state. Those of rows that are kept were merged once before.
    fn stored<'c>(&self, cells: impl Iterator<Item = &'c Cell> + Clone) -> Result<Vec<Counted<'c>>> {
        let mut stored: Vec<Counted<'_>> = cells.clone().map(as_they_came).collect();
        if self.ties == Ties::Any {
            let rows: Vec<&[u8]> = stored.iter().flatten().map(|(row, _)| *row).collect();
            if let Some(hashes) = row_hash_codes(&self.column(&rows)?)? {
                let mut hashes = hashes.as_slice();
                for (stored, cell) in stored.iter_mut().zip(cells) {
                    let (own, others) = hashes.split_at(stored.len());
                    hashes = others;
                    let tables = if self.kept && cell.is_of_rows { 1 + TABLES_OF_MERGE } else { 1 };
                    *stored = order_through(tables, own).into_iter().map(|key| stored[key as usize]).collect();
                }
                return Ok(stored);
            }
        }
        stored.iter_mut().for_each(|cell| cell.sort_unstable());
        Ok(stored)
    }

    /// The value that is each cell's result.
    fn results<'c>(&self, cells: &'c [Cell]) -> Result<Vec<Option<&'c [u8]>>> {
        let mut tied = Vec::new();
        let mut results = Vec::with_capacity(cells.len());
        for (number, cell) in cells.iter().enumerate() {
            let mut modes = most(cell);
            results.push(match self.ties {
                Ties::Greatest => modes.max(),
                Ties::Least => modes.min(),
                Ties::Any => {
                    let first = modes.next();
                    if modes.next().is_some() {
                        tied.push(number);
                    }
                    first
                }
            });
        }
        let stored = self.stored(tied.iter().map(|number| &cells[*number]))?;
        for (number, stored) in tied.iter().zip(stored) {
            let most = stored.iter().map(|(_, times)| *times).max();
            results[*number] = stored.iter().find(|(_, times)| Some(*times) == most).map(|(row, _)| *row);
        }
        Ok(results)
    }
}

/// The order in which keys come out of tables, each filled as the one before gives them.
fn order_through(tables: usize, hashes: &[i32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..hashes.len() as u32).collect();
    // A single key has no place to go.
    for _ in 0..if hashes.len() > 1 { tables } else { 0 } {
        let hashes: Vec<i32> = order.iter().map(|key| hashes[*key as usize]).collect();
        order = order_in_open_table(&hashes).into_iter().map(|at| order[at as usize]).collect();
    }
    order
}

fn as_they_came(cell: &Cell) -> Counted<'_> {
    let mut counts: Counted<'_> = vec![(&[], 0); cell.tally.len()];
    cell.tally.iter().for_each(|(row, (times, place))| counts[*place as usize] = (row, *times));
    counts
}

/// The values that come most often.
fn most(cell: &Cell) -> impl Iterator<Item = &[u8]> {
    let most = cell.tally.values().map(|(times, _)| *times).max();
    cell.tally.iter().filter(move |(_, (times, _))| Some(*times) == most).map(|(row, _)| row.as_slice())
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

fn count(cell: &mut Cell, row: &[u8], times: i64) -> usize {
    let cell = &mut cell.tally;
    if let Some((held, _)) = cell.get_mut(row) {
        *held = held.wrapping_add(times);
        return 0;
    }
    let (place, key) = (cell.len() as u32, Key::from_slice(row));
    let bytes = if key.spilled() { row.len() } else { 0 };
    cell.insert(key, (times, place));
    ENTRY_BYTES + bytes
}

impl Fold for Mode {
    type Cell = Cell;

    fn state_types(&self) -> Vec<DataType> {
        vec![array_of(self.data_type.clone()), array_of(DataType::Int64)]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let column = countable(&values[0])?;
        let keys = self.converter()?.convert_columns(&[Arc::clone(&column)]).map_err(from_arrow)?;
        let mut grown = 0;
        rows.each(column.as_ref(), |row, group| {
            cells[group].is_of_rows = true;
            grown += count(&mut cells[group], keys.row(row).as_ref(), 1);
        });
        Ok(grown)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let (values, counts) = (typed::<ListArray>(&states[0])?, typed::<ListArray>(&states[1])?);
        let keys = self.converter()?.convert_columns(&[Arc::clone(values.values())]).map_err(from_arrow)?;
        let times = items::<Int64Type>(counts)?.values();
        let hashes = if self.ties == Ties::Any { row_hash_codes(values.values())? } else { None };
        paired("mode", values, [counts])?;
        let mut grown = 0;
        rows.each(values, |row, group| {
            let cell = &mut cells[group];
            cell.is_of_rows = false;
            let (values, counts) = (span(values, row), span(counts, row));
            let mut take = |at: usize| grown += count(cell, keys.row(values.start + at).as_ref(), times[counts.start + at]);
            match &hashes {
                Some(hashes) => order_through(1, &hashes[values.clone()]).into_iter().for_each(|at| take(at as usize)),
                None => (0..values.len()).for_each(take),
            }
        });
        Ok(grown)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        let cells = self.stored(cells.iter())?;
        let rows: Vec<&[u8]> = cells.iter().flatten().map(|(row, _)| *row).collect();
        let offsets = offsets(cells.iter().map(Vec::len))?;
        let values = list_of(&array_of(self.data_type.clone()), offsets, self.column(&rows)?, None)?;
        Ok(vec![values, lists::<Int64Type, _>(cells.iter().map(|cell| cell.iter().map(|(_, times)| *times)))?])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        for mode in self.results(cells)? {
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
