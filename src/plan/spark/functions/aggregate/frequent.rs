//! `approx_top_k`: the values that come most often, from a table of counters that does not grow beyond a bound (Anderson et al.,
//! "A high-performance algorithm for identifying frequent items in data streams"), with the steps that Spark takes, so that values
//! that come equally often stand in the order that Spark gives them.
//!
//! As long as there are no more different values than are tracked, counts are exact. When there are more, every counter is lowered
//! by about the median of them, and those that reach zero go; what was taken off is the error of a count.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, ListArray, StructArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Int64Type};
use arrow::row::{RowConverter, SortField};
use datafusion::scalar::ScalarValue;

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, arity, array_of, coerce_one, constant, literal, mismatch, struct_of};
use super::super::collection::list_of;
use super::super::native::from_arrow;
use super::doubles::{items, lists, offsets, span};
use super::fold::{Fold, GroupRows, paired, typed, udaf};
use super::java::hash_codes;
use super::{expression, mode};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Scope;

/// Without `k`.
const K: i32 = 5;
/// Without `tracked`.
const TRACKED: i32 = 10_000;
const TRACKED_MOST: i32 = 1_000_000;

/// `approx_top_k(value[, k[, tracked]])`.
pub(super) fn approx_top_k(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 3)?;
    let mut args = std::mem::take(&mut c.args).into_iter();
    let (Some(value), k, tracked) = (args.next(), args.next(), args.next()) else {
        return Err(Error::internal("an argument was counted"));
    };
    let k = coerce_one(&c, 1, k.unwrap_or_else(|| literal(ScalarValue::Int32(Some(K)))), &Want::Int)?;
    let tracked = coerce_one(&c, 2, tracked.unwrap_or_else(|| literal(ScalarValue::Int32(Some(TRACKED)))), &Want::Int)?;
    if !is_countable(&value.data_type) {
        return Err(mismatch("TYPE_CHECK_FAILURE_WITH_HINT", format!("`{}` does not take such values", c.name)));
    }
    let (k, tracked) = (number(&c, "k", &k)?, number(&c, "maxItemsTracked", &tracked)?);
    bounds(&c, k, tracked)?;
    let item = value.data_type.clone();
    let slots_least = (f64::from(tracked) / 0.75).ceil();
    let kept = c.context.settings.scope == Scope::Query;
    let fold = Frequent { item: item.clone(), k: k as usize, lg_most: slots_least.log2().ceil() as u32, kept };
    let data_type = array_of(struct_of([("item", item), ("count", DataType::Int64)]));
    // By its name a checkpoint knows how large its tables may be.
    let function = udaf(&format!("approx_top_k[{tracked}]"), fold, data_type.clone(), false);
    expression(&mut c, function, vec![value], data_type, false)
}

fn is_countable(t: &DataType) -> bool {
    matches!(
        t,
        DataType::Boolean
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Date32
            | DataType::Timestamp(..)
            | DataType::Utf8
            | DataType::Decimal128(..)
    )
}

fn number(c: &Call<'_>, name: &str, argument: &Typed) -> Result<i32> {
    match constant(argument)? {
        Some(ScalarValue::Int32(Some(number))) => Ok(number),
        Some(_) => {
            let message = format!("`{name}` of `{}` must not be null", c.name);
            Err(Error::spark(ErrorKind::Config, "APPROX_TOP_K_NULL_ARG", message))
        }
        None => {
            let message = format!("`{name}` of `{}` must be a constant", c.name);
            Err(mismatch("TYPE_CHECK_FAILURE_WITH_HINT", message))
        }
    }
}

fn bounds(c: &Call<'_>, k: i32, tracked: i32) -> Result<()> {
    let refused = |condition: &'static str, message: String| Err(Error::spark(ErrorKind::Config, condition, message));
    if let Some((name, value)) = [("k", k), ("maxItemsTracked", tracked)].into_iter().find(|(_, value)| *value <= 0) {
        return refused("APPROX_TOP_K_NON_POSITIVE_ARG", format!("`{name}` of `{}` must be positive, not {value}", c.name));
    }
    if tracked > TRACKED_MOST {
        let message = format!("`maxItemsTracked` of `{}` must be at most {TRACKED_MOST}, not {tracked}", c.name);
        return refused("APPROX_TOP_K_MAX_ITEMS_TRACKED_EXCEEDS_LIMIT", message);
    }
    if tracked < k {
        let message = format!("`maxItemsTracked` of `{}` must be at least `k`: {tracked} is less than {k}", c.name);
        return refused("APPROX_TOP_K_MAX_ITEMS_TRACKED_LESS_THAN_K", message);
    }
    Ok(())
}

#[derive(Debug)]
struct Frequent {
    item: DataType,
    /// At least 1.
    k: usize,
    /// The table grows up to two to this power.
    lg_most: u32,
    /// Whether states are kept between batches, before which Spark merges those of a batch once.
    kept: bool,
}

/// The size of a new table, as a power of two.
const LG_LEAST: u32 = 3;
/// Of so many counters the median is taken.
const SAMPLES: usize = 1024;

#[derive(Debug, Clone)]
struct Slot {
    key: Box<[u8]>,
    hash: i32,
    count: i64,
    /// How far it is from where its hash would have it, and one.
    drift: u32,
}

/// A group's counters in a table with linear probing; no slots before the first.
#[derive(Debug, Clone, Default)]
struct Table {
    slots: Vec<Option<Slot>>,
    active: usize,
    /// What was taken off each counter so far.
    offset: i64,
    nulls: i64,
    /// Whether rows were counted in it, rather than tables merged.
    is_of_rows: bool,
}

fn mixed(hash: i32) -> usize {
    let mut key = i64::from(hash) as u64;
    key ^= key >> 33;
    key = key.wrapping_mul(0xff51_afd7_ed55_8ccd);
    key ^= key >> 33;
    key = key.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    key ^= key >> 33;
    key as u32 as usize
}

impl Table {
    fn of_size(lg: u32) -> Self {
        Self { slots: vec![None; 1 << lg.max(LG_LEAST)], ..Self::default() }
    }

    fn lg(&self) -> u32 {
        self.slots.len().checked_ilog2().unwrap_or(LG_LEAST)
    }

    fn capacity(&self) -> usize {
        self.slots.len() / 4 * 3
    }

    /// Adds to the counter of a key; gives the bytes it grew by.
    fn add(&mut self, key: &[u8], hash: i32, count: i64, lg_most: u32) -> usize {
        let mut grown = 0;
        if self.slots.is_empty() {
            self.slots = vec![None; 1 << LG_LEAST];
            grown += size_of_val(self.slots.as_slice());
        }
        grown += self.count(key, hash, count);
        if self.active > self.capacity() {
            if self.lg() < lg_most.max(LG_LEAST) {
                grown += size_of_val(self.slots.as_slice());
                self.double();
            } else {
                self.purge(SAMPLES.min((1_usize << lg_most) / 4 * 3));
            }
        }
        grown
    }

    fn count(&mut self, key: &[u8], hash: i32, count: i64) -> usize {
        let mask = self.slots.len() - 1;
        let (mut probe, mut drift) = (mixed(hash) & mask, 1);
        while let Some(slot) = &mut self.slots[probe] {
            if slot.hash == hash && *slot.key == *key {
                slot.count = slot.count.wrapping_add(count);
                return 0;
            }
            (probe, drift) = ((probe + 1) & mask, drift + 1);
        }
        self.slots[probe] = Some(Slot { key: key.into(), hash, count, drift });
        self.active += 1;
        key.len()
    }

    fn double(&mut self) {
        let size = self.slots.len() * 2;
        let old = std::mem::replace(&mut self.slots, vec![None; size]);
        let mask = size - 1;
        for slot in old.into_iter().flatten() {
            let (mut probe, mut drift) = (mixed(slot.hash) & mask, 1);
            while self.slots[probe].is_some() {
                (probe, drift) = ((probe + 1) & mask, drift + 1);
            }
            self.slots[probe] = Some(Slot { drift, ..slot });
        }
    }

    /// Lowers every counter by the median of the first `samples`.
    fn purge(&mut self, samples: usize) {
        let mut counts: Vec<i64> = self.slots.iter().flatten().take(samples).map(|slot| slot.count).collect();
        if counts.is_empty() {
            return;
        }
        let middle = counts.len() / 2;
        let median = *counts.select_nth_unstable(middle).1;
        self.slots.iter_mut().flatten().for_each(|slot| slot.count -= median);
        self.offset += median;
        // From the end of a cluster on towards its front, so that what moves up was looked at before.
        let Some(empty) = self.slots.iter().rposition(Option::is_none) else { return };
        for probe in (0..empty).rev().chain((empty..self.slots.len()).rev()) {
            if self.slots[probe].as_ref().is_some_and(|slot| slot.count <= 0) {
                self.delete(probe);
            }
        }
    }

    fn delete(&mut self, mut hole: usize) {
        let mask = self.slots.len() - 1;
        self.slots[hole] = None;
        self.active -= 1;
        let (mut probe, mut drift) = ((hole + 1) & mask, 1);
        while let Some(slot) = &self.slots[probe] {
            if slot.drift > drift {
                let moved = self.slots[probe].take().map(|slot| Slot { drift: slot.drift - drift, ..slot });
                self.slots[hole] = moved;
                (hole, drift) = (probe, 0);
            }
            (probe, drift) = ((probe + 1) & mask, drift + 1);
        }
    }

    /// The slots by strides of the golden ratio, so that what they are put into does not fill from one side.
    fn strided(&self) -> impl Iterator<Item = &Slot> {
        let size = self.slots.len();
        let stride = (size as f64 * ((5_f64.sqrt() - 1.0) / 2.0)) as usize | 1;
        (0..size).filter_map(move |turn| self.slots[(turn * stride) & (size - 1)].as_ref())
    }

    /// The table as it is read back from what is written of it.
    fn reread(&self, lg_most: u32) -> Self {
        let mut table = Self { offset: self.offset, nulls: self.nulls, ..Self::of_size(self.lg().min(lg_most)) };
        for slot in self.slots.iter().flatten() {
            table.add(&slot.key, slot.hash, slot.count, lg_most);
        }
        table
    }

    /// The table after it was written and merged, which moves counters whose hashes meet.
    fn merged_once(&self, lg_most: u32) -> Self {
        let mut merged = Self::default();
        merged.merge(&self.reread(lg_most), lg_most);
        merged
    }

    /// Takes another table in.
    fn merge(&mut self, other: &Self, lg_most: u32) -> usize {
        self.nulls += other.nulls;
        self.is_of_rows = false;
        if other.active == 0 {
            return 0;
        }
        let grown = other.strided().map(|slot| self.add(&slot.key, slot.hash, slot.count, lg_most)).sum();
        self.offset += other.offset;
        grown
    }

    /// The most frequent items, most frequent first, with their counts: a key, or null.
    fn top(&self, k: usize) -> Vec<(Option<&[u8]>, i64)> {
        let certain = self.strided().filter(|slot| slot.count >= self.offset);
        let mut top: Vec<_> = certain.map(|slot| (Some(slot.key.as_ref()), slot.count + self.offset)).collect();
        top.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        if self.nulls > 0 {
            let place = top.partition_point(|(_, count)| *count >= self.nulls);
            top.insert(place, (None, self.nulls));
        }
        top.truncate(k);
        top
    }
}

impl Frequent {
    fn converter(&self) -> Result<RowConverter> {
        RowConverter::new(vec![SortField::new(self.item.clone())]).map_err(from_arrow)
    }

    /// The table as its state is made of it: one of rows that is kept was merged once.
    fn settled<'c>(&self, cell: &'c Table) -> Cow<'c, Table> {
        if self.kept && cell.is_of_rows { Cow::Owned(cell.merged_once(self.lg_most)) } else { Cow::Borrowed(cell) }
    }

    fn column<'r>(&self, rows: impl Iterator<Item = &'r [u8]>) -> Result<ArrayRef> {
        let converter = self.converter()?;
        let parser = converter.parser();
        Ok(converter.convert_rows(rows.map(|row| parser.parse(row))).map_err(from_arrow)?.remove(0))
    }
}

impl Fold for Frequent {
    type Cell = Table;

    fn state_types(&self) -> Vec<DataType> {
        let (lg, offset, nulls) = (DataType::Int64, DataType::Int64, DataType::Int64);
        vec![array_of(self.item.clone()), array_of(DataType::Int64), lg, offset, nulls]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let column = mode::countable(&values[0])?;
        let keys = self.converter()?.convert_columns(&[Arc::clone(&column)]).map_err(from_arrow)?;
        let hashes = hash_codes(&column)?;
        let mut grown = 0;
        rows.all(|row, group| {
            cells[group].is_of_rows = true;
            if column.is_null(row) {
                cells[group].nulls += 1;
            } else {
                grown += cells[group].add(keys.row(row).as_ref(), hashes[row], 1, self.lg_most);
            }
        });
        Ok(grown)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let (values, counts) = (typed::<ListArray>(&states[0])?, typed::<ListArray>(&states[1])?);
        let (lgs, offsets, nulls) =
            (typed::<Int64Array>(&states[2])?, typed::<Int64Array>(&states[3])?, typed::<Int64Array>(&states[4])?);
        let keys = self.converter()?.convert_columns(&[Arc::clone(values.values())]).map_err(from_arrow)?;
        let (hashes, times) = (hash_codes(values.values())?, items::<Int64Type>(counts)?.values());
        paired("approx_top_k", values, [counts])?;
        let mut grown = 0;
        rows.each(values, |row, group| {
            let lg = (lgs.value(row).max(0) as u32).min(self.lg_most.max(LG_LEAST));
            let mut table = Table { offset: offsets.value(row), nulls: nulls.value(row), ..Table::of_size(lg) };
            for (value, at) in span(values, row).zip(span(counts, row)) {
                table.add(keys.row(value).as_ref(), hashes[value], times[at], self.lg_most);
            }
            grown += cells[group].merge(&table, self.lg_most);
        });
        Ok(grown)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        let settled: Vec<_> = cells.iter().map(|cell| self.settled(cell)).collect();
        let cells = settled.as_slice();
        let slots = || cells.iter().map(|cell| cell.slots.iter().flatten());
        let keys = self.column(slots().flatten().map(|slot| slot.key.as_ref()))?;
        let offsets = offsets(cells.iter().map(|cell| cell.active))?;
        let values = list_of(&array_of(self.item.clone()), offsets, keys, None)?;
        let counts = lists::<Int64Type, _>(slots().map(|slots| slots.map(|slot| slot.count)))?;
        let number =
            |of: fn(&Table) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(cells.iter().map(|cell| of(cell)))) };
        Ok(vec![values, counts, number(|cell| i64::from(cell.lg())), number(|cell| cell.offset), number(|cell| cell.nulls)])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        let (mut keys, mut places, mut counts, mut lengths) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for cell in cells {
            let top = cell.top(self.k);
            lengths.push(top.len());
            for (key, count) in top {
                places.push(key.map(|_| keys.len() as u32));
                keys.extend(key);
                counts.push(count);
            }
        }
        let found = self.column(keys.into_iter())?;
        let found = take(&found, &UInt32Array::from(places), None).map_err(from_arrow)?;
        let entry = struct_of([("item", self.item.clone()), ("count", DataType::Int64)]);
        let DataType::Struct(fields) = &entry else { return Err(Error::internal("an entry is a struct")) };
        let counts: ArrayRef = Arc::new(Int64Array::from(counts));
        let entries = StructArray::try_new(fields.clone(), vec![found, counts], None).map_err(from_arrow)?;
        list_of(&array_of(entry.clone()), offsets(lengths.into_iter())?, Arc::new(entries), None)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    fn fold(k: usize, tracked: f64) -> Frequent {
        Frequent { item: DataType::Int64, k, lg_most: (tracked / 0.75).log2().ceil() as u32, kept: true }
    }

    /// Items and counts after each part was taken in on its own and merged through its state.
    fn top(fold: &Frequent, values: &[i64], part: usize) -> (Vec<(i64, i64)>, i64) {
        let mut merged = vec![Table::default()];
        for part in values.chunks(part) {
            let mut cells = vec![Table::default()];
            let column: ArrayRef = Arc::new(Int64Array::from(part.to_vec()));
            fold.update(&mut cells, &GroupRows::unfiltered(&vec![0; part.len()]), &[column]).unwrap();
            fold.merge(&mut merged, &GroupRows::unfiltered(&[0]), &fold.state(&cells).unwrap()).unwrap();
        }
        let found = fold.finish(&merged).unwrap();
        let entries = found.as_list::<i32>().value(0);
        let (items, counts) = (entries.as_struct().column(0), entries.as_struct().column(1));
        let pairs = items.as_primitive::<Int64Type>().values().iter().zip(counts.as_primitive::<Int64Type>().values());
        (pairs.map(|(item, count)| (*item, *count)).collect(), merged[0].offset)
    }

    /// Value n comes about 20000 / (n + 1) times, in an order that is the same each time; and half as many that come once.
    fn skewed() -> Vec<i64> {
        let often = (0..2_000).flat_map(|n| std::iter::repeat_n(n, 20_000 / (n as usize + 1)));
        let mut values: Vec<i64> = often.chain(1_000_000..1_050_000).collect();
        let count = values.len();
        for place in 0..count {
            values.swap(place, (place * 7919 + 13) % count);
        }
        values
    }

    #[test]
    fn counts_are_exact_while_all_values_are_tracked() {
        let values: Vec<i64> = (0..100_000).map(|i| (i * i) % 101).collect();
        let (found, error) = top(&fold(101, 10_000.0), &values, 9_973);
        assert_eq!(error, 0);
        for (item, count) in &found {
            assert_eq!(values.iter().filter(|value| *value == item).count() as i64, *count, "{item}");
        }
        assert_eq!(found.iter().map(|(_, count)| count).sum::<i64>(), 100_000);
        assert!(found.is_sorted_by(|a, b| a.1 >= b.1));
    }

    #[test]
    fn counts_of_more_values_than_are_tracked_are_off_by_a_bounded_error() {
        let values = skewed();
        for (tracked, part) in [(100.0, 200_000), (100.0, 3_001), (1_000.0, 10_007), (3_000.0, 50_000)] {
            let fold = fold(10, tracked);
            let (found, error) = top(&fold, &values, part);
            let bound = 3.5 / f64::from(1_u32 << fold.lg_most) * values.len() as f64;
            assert!(error > 0 && error as f64 <= bound, "{tracked}: {error} is more than {bound}");
            assert!(!found.is_empty(), "{tracked}");
            for (item, count) in found {
                let exact = values.iter().filter(|value| **value == item).count() as i64;
                assert!((exact..=exact + error).contains(&count), "{tracked}, {part}: {item} came {exact} times, not {count}");
            }
        }
    }
}
