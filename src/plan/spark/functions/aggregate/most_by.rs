//! `max_by` and `min_by` of several values: those of the rows whose keys are the greatest or the least.
//!
//! A group is a heap with the key at its top that the next better one drives out. It takes Spark's steps, as which of equal keys
//! stay, and in which order, depends on them.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray};
use arrow::datatypes::{DataType, Int32Type};
use arrow::row::{RowConverter, SortField};
use datafusion::scalar::ScalarValue;

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, array_of, coerce_one, constant, mismatch, orderable};
use super::super::collection::{comparable_values, list_of};
use super::super::native::from_arrow;
use super::doubles::{items, lists, offsets, span};
use super::fold::{Fold, GroupRows, damaged, paired, typed};
use super::folded;
use super::pick::{column_of, value_at};
use crate::error::{Error, Result};

/// More values than this are not given.
const VALUES_MOST: i32 = 100_000;

/// `max_by(value, by, k)`, or `min_by`; the three arguments were counted.
pub(super) fn most_by(mut c: Call<'_>, wins: Ordering) -> Result<Typed> {
    let mut args = std::mem::take(&mut c.args);
    let k = args.pop().ok_or_else(|| Error::internal("three arguments were counted"))?;
    let k = coerce_one(&c, 2, k, &Want::Int)?;
    let k = constant(&k)?.ok_or_else(|| mismatch("NON_FOLDABLE_INPUT", format!("`k` of `{}` must be a constant", c.name)))?;
    orderable(&c, &args[1].data_type)?;
    let count = if let ScalarValue::Int32(Some(k)) = k { k } else { 0 };
    if !(1..=VALUES_MOST).contains(&count) {
        return Err(mismatch("VALUE_OUT_OF_RANGE", format!("`k` of `{}` must be from 1 to {VALUES_MOST}, not {k}", c.name)));
    }
    let (value, key) = (args[0].data_type.clone(), args[1].data_type.clone());
    let (name, data_type) = (if wins == Ordering::Greater { "max_by" } else { "min_by" }, array_of(value.clone()));
    // By its name a checkpoint knows how many values its states hold.
    let fold = MostBy { wins, value, key, count: count as usize };
    folded(&mut c, &format!("{name}[{count}]"), fold, args, data_type)
}

#[derive(Debug)]
struct MostBy {
    /// What a later key must be, compared with the worst that is held, to take its place.
    wins: Ordering,
    value: DataType,
    key: DataType,
    /// How many values a group keeps, at least 1.
    count: usize,
}

/// A group's values with their keys as rows of one column, and their places as a heap with the worst key at the top.
#[derive(Debug, Clone, Default)]
struct Heap {
    held: Vec<(Box<[u8]>, ScalarValue)>,
    order: Vec<u32>,
}

impl Heap {
    fn is_worse(&self, wins: Ordering, a: usize, b: usize) -> bool {
        let key = |place: usize| &self.held[self.order[place] as usize].0;
        key(a).cmp(key(b)) == wins.reverse()
    }

    fn sift_up(&mut self, wins: Ordering, mut place: usize) {
        while place > 0 && self.is_worse(wins, place, (place - 1) / 2) {
            self.order.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
    }

    fn sift_down(&mut self, wins: Ordering, mut place: usize) {
        while 2 * place + 1 < self.order.len() {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let below = if right < self.order.len() && self.is_worse(wins, right, left) { right } else { left };
            if !self.is_worse(wins, below, place) {
                return;
            }
            self.order.swap(place, below);
            place = below;
        }
    }
}

impl MostBy {
    fn converter(&self) -> Result<RowConverter> {
        RowConverter::new(vec![SortField::new(self.key.clone())]).map_err(from_arrow)
    }

    /// Offers a row to a group; gives the bytes it grew by.
    fn offer(&self, heap: &mut Heap, key: &[u8], value: impl FnOnce() -> Result<ScalarValue>) -> Result<usize> {
        if heap.held.len() < self.count {
            let value = value()?;
            let grown = key.len() + value.size() + size_of::<(Box<[u8]>, u32)>();
            heap.order.push(heap.held.len() as u32);
            heap.held.push((key.into(), value));
            heap.sift_up(self.wins, heap.order.len() - 1);
            return Ok(grown);
        }
        let worst = &mut heap.held[heap.order[0] as usize];
        if key.cmp(&worst.0) != self.wins {
            return Ok(0);
        }
        let value = value()?;
        let grown = (key.len() + value.size()).saturating_sub(worst.0.len() + worst.1.size());
        *worst = (key.into(), value);
        heap.sift_down(self.wins, 0);
        Ok(grown)
    }
}

impl Fold for MostBy {
    type Cell = Heap;

    fn state_types(&self) -> Vec<DataType> {
        vec![array_of(self.value.clone()), array_of(self.key.clone()), array_of(DataType::Int32)]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let keys = comparable_values(&values[1])?;
        let keys = self.converter()?.convert_columns(&[keys]).map_err(from_arrow)?;
        let mut grown = Ok(0);
        rows.each(values[1].as_ref(), |row, group| {
            if let Ok(bytes) = &mut grown {
                match self.offer(&mut cells[group], keys.row(row).as_ref(), || value_at(&values[0], row)) {
                    Ok(more) => *bytes += more,
                    Err(error) => grown = Err(error),
                }
            }
        });
        grown
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let (values, keys) = (typed::<ListArray>(&states[0])?, typed::<ListArray>(&states[1])?);
        let orders = typed::<ListArray>(&states[2])?;
        let places = items::<Int32Type>(orders)?.values();
        let rows_of_keys = self.converter()?.convert_columns(&[Arc::clone(keys.values())]).map_err(from_arrow)?;
        paired("max_by", values, [keys, orders])?;
        let mut grown = Ok(0);
        rows.each(values, |row, group| {
            for place in span(orders, row) {
                let (all, at) = (span(keys, row), places[place]);
                if at < 0 || at as usize >= all.len() {
                    grown = Err(damaged("max_by", format!("has {} values, of which none is number {at}", all.len())));
                    return;
                }
                let (key, value) = (all.start + at as usize, span(values, row).start + at as usize);
                if let Ok(bytes) = &mut grown {
                    match self.offer(&mut cells[group], rows_of_keys.row(key).as_ref(), || value_at(values.values(), value)) {
                        Ok(more) => *bytes += more,
                        Err(error) => grown = Err(error),
                    }
                }
            }
        });
        grown
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        let held = || cells.iter().flat_map(|cell| &cell.held);
        let offsets = offsets(cells.iter().map(|cell| cell.held.len()))?;
        let values = column_of(held().map(|(_, value)| Some(value.clone())), &self.value)?;
        let converter = self.converter()?;
        let parser = converter.parser();
        let keys = converter.convert_rows(held().map(|(key, _)| parser.parse(key))).map_err(from_arrow)?.remove(0);
        Ok(vec![
            list_of(&array_of(self.value.clone()), offsets.clone(), values, None)?,
            list_of(&array_of(self.key.clone()), offsets, keys, None)?,
            lists::<Int32Type, _>(cells.iter().map(|cell| cell.order.iter().map(|place| *place as i32)))?,
        ])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        let mut values = Vec::new();
        for cell in cells {
            let mut sorted: Vec<_> = cell.held.iter().collect();
            // Stable: of equal keys the one that came to its place first.
            sorted.sort_by(|a, b| if self.wins == Ordering::Greater { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) });
            values.extend(sorted.into_iter().map(|(_, value)| Some(value.clone())));
        }
        let offsets = offsets(cells.iter().map(|cell| cell.held.len()))?;
        let valid = cells.iter().map(|cell| !cell.held.is_empty()).collect();
        list_of(&array_of(self.value.clone()), offsets, column_of(values, &self.value)?, Some(valid))
    }
}
