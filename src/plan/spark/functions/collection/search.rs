//! What is in an array or a map.

use std::iter::Peekable;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Datum, Int32Array, ListArray, MapArray, Scalar, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::kernels::cmp::eq;
use arrow::datatypes::{DataType, Int64Type};
use arrow::util::bit_iterator::BitIndexIterator;

use super::super::super::expression::coercion::{tightest_item_type, wider_item_type};
use super::super::super::types::{has_map, sql_name};
use super::super::super::{Call, Typed};
use super::super::arguments::{
    Want, any_nullable, arity, array_of, coerce, convert, data_error, entry_of, expect_one, is_integral, item_of, map_of,
    mismatch, unexpected_type,
};
use super::super::native::{AnyReader, Args, Reader, Returns, call, from_arrow, repeated};
use super::{Rows, comparable_values, ranges};
use crate::error::{Error, Result};

/// Which type two types share.
pub(super) type Common = fn(&DataType, &DataType) -> Option<DataType>;

/// An array and a value, cast to the type that items and value share without loss.
pub(super) fn array_and_value(c: &mut Call<'_>) -> Result<Vec<Typed>> {
    array_and_value_of(c, tightest_item_type)
}

fn array_and_value_of(c: &mut Call<'_>, common: Common) -> Result<Vec<Typed>> {
    arity(c, 2, 2)?;
    let args = std::mem::take(&mut c.args);
    let item = match item_of(&args[0].data_type) {
        Some(item) => item,
        None if args[0].data_type == DataType::Null => &DataType::Null,
        None => return Err(unexpected_type(c, 0, &args[0].data_type, &Want::Array)),
    };
    let common = common(item, &args[1].data_type).filter(|_| args[0].data_type != DataType::Null).ok_or_else(|| {
        mismatch(
            "ARRAY_FUNCTION_DIFF_TYPES",
            format!(
                "`{}` takes an array and a value of its items' type, not {} and {}",
                c.name,
                sql_name(item),
                sql_name(&args[1].data_type)
            ),
        )
    })?;
    let mut args = args.into_iter();
    let (array, value) = (args.next(), args.next());
    array
        .zip(value)
        .map(|(array, value)| Ok(vec![convert(c, array, &array_of(common.clone()))?, convert(c, value, &common)?]))
        .unwrap_or_else(|| Err(Error::internal("two arguments")))
}

fn refuse_void(c: &Call<'_>, arg: Option<&Typed>) -> Result<()> {
    if arg.is_some_and(|arg| arg.data_type == DataType::Null) {
        return Err(mismatch("NULL_TYPE", format!("`{}` does not take a value of type VOID", c.name)));
    }
    Ok(())
}

/// [`array_and_value`] where the value must be comparable.
fn array_and_search(c: &mut Call<'_>, common: Common) -> Result<Vec<Typed>> {
    let args = array_and_value_of(c, common)?;
    if has_map(&args[1].data_type) {
        return Err(mismatch("INVALID_ORDERING_TYPE", format!("`{}` does not take {}", c.name, sql_name(&args[1].data_type))));
    }
    Ok(args)
}

/// Which of an array's items equal a value, row by row.
struct Search<'a> {
    lists: Reader<'a, ListArray>,
    value: AnyReader<'a>,
    equal: Equal,
}

enum Equal {
    /// Of all items to the one value there is.
    Items(BooleanBuffer),
    /// Each is looked at.
    Rows(Rows),
}

impl<'a> Search<'a> {
    fn of(a: &Args<'a>) -> Result<Self> {
        let lists = a.column::<ListArray>(0)?;
        let value = a.any(1);
        let (items, values) = (comparable_values(lists.array().values())?, comparable_values(value.array)?);
        let equal = if value.get().1 && !items.data_type().is_nested() {
            Equal::Items(true_in(&eq(&items, &Scalar::new(values)).map_err(from_arrow)?))
        } else {
            Equal::Rows(Rows::of(&[&items, &values])?)
        };
        Ok(Self { lists, value, equal })
    }

    /// The row's items, none if list or value is null.
    fn items(&self, row: usize) -> Option<Range<usize>> {
        if self.value.is_null(row) { None } else { ranges(&self.lists, row) }
    }

    fn matches(&self, item: usize, row: usize) -> bool {
        match &self.equal {
            Equal::Items(equal) => equal.value(item),
            Equal::Rows(rows) => {
                self.lists.array().values().is_valid(item) && rows.row(0, item) == rows.row(1, self.value.row(row))
            }
        }
    }

    /// Finds the first item of a row's that equals the value. Rows are to be asked for in order.
    fn finder(&self) -> impl FnMut(usize, Range<usize>) -> Option<usize> {
        let mut marked = match &self.equal {
            Equal::Items(equal) => Some(Marked::of(equal)),
            Equal::Rows(_) => None,
        };
        move |row, mut items| match &mut marked {
            Some(marked) => marked.first_in(items),
            None => items.find(|item| self.matches(*item, row)),
        }
    }
}

/// Bits that are set, looked at from the first to the last.
struct Marked<'a>(Peekable<BitIndexIterator<'a>>);

impl<'a> Marked<'a> {
    fn of(bits: &'a BooleanBuffer) -> Self {
        Self(bits.set_indices().peekable())
    }

    /// The first one in a range, which begins no earlier than those before it did.
    fn first_in(&mut self, range: Range<usize>) -> Option<usize> {
        while self.0.next_if(|at| *at < range.start).is_some() {}
        self.0.peek().copied().filter(|at| *at < range.end)
    }
}

/// Which are true and not null.
fn true_in(array: &BooleanArray) -> BooleanBuffer {
    match array.nulls() {
        Some(nulls) => array.values() & nulls.inner(),
        None => array.values().clone(),
    }
}

/// True if it is there; null if it is not and a null is.
pub(super) fn array_contains(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 2)?;
    c.args.iter().try_for_each(|arg| refuse_void(&c, Some(arg)))?;
    let args = array_and_search(&mut c, wider_item_type)?;
    Ok(call("array_contains", args, Returns::new(DataType::Boolean, true), |a| {
        let search = Search::of(a)?;
        let nulls = search.lists.array().values().logical_nulls().map(|nulls| !nulls.inner());
        let mut nulls = nulls.as_ref().map(Marked::of);
        let mut first = search.finder();
        a.booleans(|row| {
            let items = search.items(row)?;
            let found = first(row, items.clone()).is_some();
            let unknown = !found && nulls.as_mut().is_some_and(|nulls| nulls.first_in(items).is_some());
            (!unknown).then_some(found)
        })
    }))
}

/// From 1; 0 if it is not there.
pub(super) fn array_position(mut c: Call<'_>) -> Result<Typed> {
    refuse_void(&c, c.args.first())?;
    let args = array_and_search(&mut c, tightest_item_type)?;
    refuse_void(&c, args.get(1))?;
    let returns = Returns::new(DataType::Int64, any_nullable(&args));
    Ok(call("array_position", args, returns, |a| {
        let search = Search::of(a)?;
        let mut first = search.finder();
        a.primitive::<Int64Type>(|row| {
            let items = search.items(row)?;
            Some(first(row, items.clone()).map_or(0, |at| (at - items.start) as i64 + 1))
        })
    }))
}

/// Without the items that equal the value.
pub(super) fn array_remove(mut c: Call<'_>) -> Result<Typed> {
    let args = array_and_search(&mut c, tightest_item_type)?;
    let returns = Returns::new(args[0].data_type.clone(), any_nullable(&args));
    Ok(call("array_remove", args, returns, |a| {
        let search = Search::of(a)?;
        super::gather(a, search.lists.array(), |row, out| {
            out.extend(search.items(row)?.filter(|item| !search.matches(*item, row)).map(|item| Some(item as u32)));
            Some(())
        })
    }))
}

/// The greatest or least item, null ones passed over.
pub(super) fn array_extreme(mut c: Call<'_>, greatest: bool) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Array])?;
    let item = item_of(&args[0].data_type).cloned().unwrap_or(DataType::Null);
    if has_map(&item) {
        return Err(mismatch("INVALID_ORDERING_TYPE", format!("`{}` does not take {}", c.name, sql_name(&item))));
    }
    Ok(call(c.name, args, Returns::new(item, true), move |a| {
        let lists = a.column::<ListArray>(0)?;
        let values = lists.array().values();
        let comparable = comparable_values(values)?;
        let rows = Rows::of(&[&comparable])?;
        let lists = (0..a.rows()).map(|row| ranges(&lists, row));
        let nulls = values.logical_nulls();
        let picked = match rows.numbers(0) {
            Some(numbers) => extremes(lists, nulls.as_ref(), |item| numbers[item], greatest),
            None => extremes(lists, nulls.as_ref(), |item| rows.row(0, item), greatest),
        };
        repeated(values, &picked)
    }))
}

/// Of each list the item with the greatest or least key, of equal ones the first.
fn extremes<K: Ord>(
    lists: impl Iterator<Item = Option<Range<usize>>>,
    nulls: Option<&NullBuffer>,
    key: impl Fn(usize) -> K,
    greatest: bool,
) -> UInt32Array {
    let best = |items: Range<usize>| {
        let valid = items.filter(|item| nulls.is_none_or(|nulls| nulls.is_valid(*item)));
        let keyed = valid.map(|item| (key(item), item));
        let better = |a: &K, b: &K| if greatest { a > b } else { a < b };
        let best = keyed.reduce(|held, next| if better(&next.0, &held.0) { next } else { held });
        best.map(|(_, item)| item as u32)
    };
    let picked: Vec<Option<u32>> = lists.map(|items| items.and_then(best)).collect();
    picked.into()
}

/// What an index that is not there gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Fail,
    Null,
}

/// `element_at(array, index from 1, from the end if negative)`, `element_at(map, key)`.
pub(super) fn element_at(mut c: Call<'_>, missing: Missing) -> Result<Typed> {
    arity(&c, 2, 2)?;
    if entry_of(&c.args[0].data_type).is_some() {
        return value_of_key(c);
    }
    let (index, array) = (c.args.remove(1), c.args.remove(0));
    let Some(item) = item_of(&array.data_type).cloned() else {
        return Err(unexpected_type(&c, 0, &array.data_type, &Want::OneOf(&[Want::Array, Want::Map])));
    };
    let narrow = is_integral(&index.data_type) && index.data_type != DataType::Int64;
    let index = if narrow { convert(&c, index, &DataType::Int32)? } else { expect_one(&c, 1, index, &Want::Int)? };
    Ok(call(c.name, vec![array, index], Returns::fallible(item, true), move |a| {
        let (lists, index) = (a.column::<ListArray>(0)?, a.column::<Int32Array>(1)?);
        let picked = (0..a.rows())
            .map(|row| {
                let (Some(items), Some(index)) = (ranges(&lists, row), index.get(row)) else { return Ok(None) };
                if index == 0 {
                    return Err(data_error(
                        "INVALID_INDEX_OF_ZERO",
                        "the index 0 is invalid: an index counts from 1, or from -1 for the last",
                    ));
                }
                let place = index.unsigned_abs() as usize;
                if place > items.len() {
                    return match missing {
                        Missing::Null => Ok(None),
                        Missing::Fail => Err(data_error(
                            "INVALID_ARRAY_INDEX_IN_ELEMENT_AT",
                            format!("the index {index} is out of bounds: the array has {} elements", items.len()),
                        )),
                    };
                }
                Ok(Some(if index > 0 { items.start + place - 1 } else { items.end - place } as u32))
            })
            .collect::<Result<UInt32Array>>()?;
        repeated(lists.array().values(), &picked)
    }))
}

/// `get(array, index from 0)`; null beyond the ends.
pub(super) fn get(mut c: Call<'_>) -> Result<Typed> {
    if let Some(array) = c.args.first().filter(|array| array.data_type == DataType::Null) {
        return Err(unexpected_type(&c, 0, &array.data_type, &Want::Array));
    }
    let args = coerce(&mut c, &[Want::Array, Want::Int])?;
    if let Some(made) = super::super::super::expression::extract::item(&args[0], &args[1]) {
        return Ok(made);
    }
    let item = item_of(&args[0].data_type).cloned().unwrap_or(DataType::Null);
    Ok(call("get", args, Returns::new(item, true), |a| {
        let (lists, index) = (a.column::<ListArray>(0)?, a.column::<Int32Array>(1)?);
        let picked: UInt32Array = (0..a.rows())
            .map(|row| {
                let items = ranges(&lists, row)?;
                let index = usize::try_from(index.get(row)?).ok()?;
                (index < items.len()).then(|| (items.start + index) as u32)
            })
            .collect();
        repeated(lists.array().values(), &picked)
    }))
}

/// A map and a key, cast to one key type.
fn map_and_key(c: &mut Call<'_>, common: Common) -> Result<Vec<Typed>> {
    let (key, map) = (c.args.remove(1), c.args.remove(0));
    let entry = entry_of(&map.data_type).unwrap_or((&DataType::Null, &DataType::Null));
    let (key_type, value_type) = entry;
    let is_map = entry_of(&map.data_type).is_some();
    let common = common(key_type, &key.data_type).filter(|_| is_map).ok_or_else(|| {
        mismatch(
            "MAP_FUNCTION_DIFF_TYPES",
            format!(
                "`{}` takes a map and one of its keys, not {} and {}",
                c.name,
                sql_name(&map.data_type),
                sql_name(&key.data_type)
            ),
        )
    })?;
    let to = map_of(common.clone(), value_type.clone());
    Ok(vec![convert(c, map, &to)?, convert(c, key, &common)?])
}

/// The entry that has the row's key.
fn find_keys(a: &Args<'_>) -> Result<Vec<Option<Option<u32>>>> {
    let (maps, key) = (a.column::<MapArray>(0)?, a.any(1));
    let (keys, wanted) = (comparable_values(maps.array().keys())?, comparable_values(key.array)?);
    let rows = Rows::of(&[&keys, &wanted])?;
    let offsets = maps.array().value_offsets();
    Ok((0..a.rows())
        .map(|row| {
            let at = maps.row(row);
            if key.is_null(row) || !maps.array().is_valid(at) {
                return None;
            }
            let mut entries = offsets[at]..offsets[at + 1];
            Some(entries.find(|i| rows.row(0, *i as usize) == rows.row(1, key.row(row))).map(|i| i as u32))
        })
        .collect())
}

fn value_of_key(mut c: Call<'_>) -> Result<Typed> {
    let args = map_and_key(&mut c, tightest_item_type)?;
    let value = entry_of(&args[0].data_type).map_or(DataType::Null, |(_, v)| v.clone());
    Ok(call(c.name, args, Returns::new(value, true), |a| {
        let found: UInt32Array = find_keys(a)?.into_iter().map(Option::flatten).collect();
        let maps = a.column::<MapArray>(0)?;
        repeated(maps.array().values(), &found)
    }))
}

/// Whether the map has the key.
pub(super) fn map_contains_key(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 2)?;
    refuse_void(&c, c.args.get(1))?;
    let args = map_and_key(&mut c, wider_item_type)?;
    let returns = Returns::new(DataType::Boolean, any_nullable(&args));
    Ok(call("map_contains_key", args, returns, |a| {
        let found: arrow::array::BooleanArray =
            find_keys(a)?.into_iter().map(|found| found.map(|entry| entry.is_some())).collect();
        Ok(Arc::new(found) as ArrayRef)
    }))
}
