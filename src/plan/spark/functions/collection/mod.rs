//! Arrays, maps and structs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type};

use super::super::{Call, Typed};
use super::arguments::{Want, coerce};
use super::native::{Args, Reader, Returns, call, from_arrow, repeated};
use super::{FunctionSpec, scalar};
use crate::error::{Error, ErrorKind, Result};

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("size(value)", "Items of an array or map; null for null", "size(array('b', 'd', 'c', 'a')) → 4", size),
    scalar("cardinality(value)", "As `size`", "cardinality(map('a', 1, 'b', 2)) → 2", size),
    scalar("array_size(array)", "Items of an array", "array_size(array(1, 2)) → 2", array_size),
    scalar("array(value, …)", "An array of the values", "array(1, 2, 3) → [1, 2, 3]", construct::array),
    scalar("named_struct(name, value, …)", "A struct of fields with these names", "named_struct('a', 1, 'b', 2) → {1, 2}", construct::named_struct),
    scalar("struct(value, …)", "A struct of the values, under the names of columns or as `col1`, `col2`, …", "struct(1, 'x') → {1, x}", construct::plain_struct),
    scalar("map(key, value, …)", "A map; an error for a null key or one that is there twice", "map(1.0, '2', 3.0, '4') → {1.0 -> 2, 3.0 -> 4}", construct::map),
    scalar("map_from_arrays(keys, values)", "A map of an array's keys and another's values", "map_from_arrays(array(1, 3), array('2', '4')) → {1 -> 2, 3 -> 4}", construct::map_from_arrays),
    scalar("map_from_entries(array)", "A map of an array of structs of key and value", "map_from_entries(array(struct(1, 'a'), struct(2, 'b'))) → {1 -> a, 2 -> b}", construct::map_from_entries),
    scalar("map_concat(map, …)", "The entries of all the maps; an error for a key that is there twice", "map_concat(map(1, 'a'), map(2, 'b')) → {1 -> a, 2 -> b}", construct::map_concat),
    scalar("map_keys(map)", "Its keys", "map_keys(map(1, 'a', 2, 'b')) → [1, 2]", construct::map_keys),
    scalar("map_values(map)", "Its values", "map_values(map(1, 'a', 2, 'b')) → [a, b]", construct::map_values),
    scalar("map_entries(map)", "Its entries as an array of structs of `key` and `value`", "map_entries(map(1, 'a', 2, 'b')) → [{1, a}, {2, b}]", construct::map_entries),
    scalar("str_to_map(text[, between_pairs[, between_key_and_value]])", "A map of texts, split at `,` and `:` or other patterns", "str_to_map('a:1,b:2') → {a -> 1, b -> 2}", construct::str_to_map),
    scalar("array_contains(array, value)", "Whether the array has the value", "array_contains(array(1, 2, 3), 2) → true", search::array_contains),
    scalar("array_position(array, value)", "At which place the value first stands, from 1 on; 0 if it does not", "array_position(array(312, 773, 708), 708) → 3", search::array_position),
    scalar("array_remove(array, value)", "Without all items that equal the value", "array_remove(array(1, 2, 3, 3), 3) → [1, 2]", search::array_remove),
    scalar("array_max(array)", "The greatest item, nulls left out", "array_max(array(1, 20, NULL, 3)) → 20", |c| search::array_extreme(c, true)),
    scalar("array_min(array)", "The least item, nulls left out", "array_min(array(1, 20, NULL, 3)) → 1", |c| search::array_extreme(c, false)),
    scalar("element_at(array or map, key)", "The item at a place from 1 on (negative: from the end), an error beyond; the value of a key, or null", "element_at(array(1, 2, 3), -1) → 3", |c| search::element_at(c, search::Missing::Fail)),
    scalar("try_element_at(array or map, key)", "As `element_at`, null beyond the array", "try_element_at(array(1, 2), 3) → NULL", |c| search::element_at(c, search::Missing::Null)),
    scalar("get(array, index)", "The item at an index from 0 on, null beyond", "get(array(1, 2, 3), 0) → 1", search::get),
    scalar("map_contains_key(map, key)", "Whether the map has the key", "map_contains_key(map(1, 'a'), 1) → true", search::map_contains_key),
    scalar("array_sort(array[, (a, b) -> …])", "In ascending order, nulls last; or in that of a comparison that gives a number below, at or above 0", "array_sort(array('b', 'd', NULL, 'a')) → [a, b, d, null]", shape::array_sort),
    scalar("sort_array(array[, ascending])", "In ascending order with nulls first, or in descending order with nulls last", "sort_array(array('b', 'd', NULL, 'a'), true) → [null, a, b, d]", shape::sort_array),
    scalar("array_distinct(array)", "Without what was there before", "array_distinct(array(1, 2, 3, NULL, 3)) → [1, 2, 3, null]", shape::array_distinct),
    scalar("array_compact(array)", "Without nulls", "array_compact(array(1, 2, 3, NULL)) → [1, 2, 3]", shape::array_compact),
    scalar("array_union(a, b)", "What is in one of them, each value once", "array_union(array(1, 2, 3), array(1, 3, 5)) → [1, 2, 3, 5]", |c| shape::set_operation(c, shape::SetOperation::Union)),
    scalar("array_intersect(a, b)", "What is in both, each value once", "array_intersect(array(1, 2, 3), array(1, 3, 5)) → [1, 3]", |c| shape::set_operation(c, shape::SetOperation::Intersect)),
    scalar("array_except(a, b)", "What is in `a` and not in `b`, each value once", "array_except(array(1, 2, 3), array(1, 3, 5)) → [2]", |c| shape::set_operation(c, shape::SetOperation::Except)),
    scalar("arrays_overlap(a, b)", "Whether they share a value; null if not, but one has a null", "arrays_overlap(array(1, 2, 3), array(3, 4, 5)) → true", shape::arrays_overlap),
    scalar("array_append(array, value)", "With the value behind", "array_append(array('b', 'd'), 'a') → [b, d, a]", |c| shape::add(c, shape::Place::Back)),
    scalar("array_prepend(array, value)", "With the value in front", "array_prepend(array('b', 'd'), 'a') → [a, b, d]", |c| shape::add(c, shape::Place::Front)),
    scalar("array_insert(array, position, value)", "With the value at a position from 1 on, or from the end if negative; nulls fill a gap", "array_insert(array(1, 2, 3, 4), 5, 5) → [1, 2, 3, 4, 5]", shape::array_insert),
    scalar("array_repeat(value, times)", "The value so many times", "array_repeat('123', 2) → [123, 123]", shape::array_repeat),
    scalar("array_join(array, separator[, for_null])", "The items as one text; nulls are left out or replaced", "array_join(array('hello', NULL, 'world'), ' ', ',') → hello , world", shape::array_join),
    scalar("slice(array, start, length)", "A part from a position on, counted from 1 or, negative, from the end", "slice(array(1, 2, 3, 4), -2, 2) → [3, 4]", shape::slice),
    scalar("flatten(array)", "The items of an array's arrays", "flatten(array(array(1, 2), array(3, 4))) → [1, 2, 3, 4]", shape::flatten),
    scalar("arrays_zip(array, …)", "An array of structs: the first items of all, the second ones, …", "arrays_zip(array(1, 2), array(3, 4)) → [{1, 3}, {2, 4}]", shape::arrays_zip),
    scalar("sequence(start, stop[, step])", "All values from one to another, both included", "sequence(5, 1) → [5, 4, 3, 2, 1]", shape::sequence),
];

mod construct;
mod order;
mod search;
mod shape;
mod sequence;

pub(in crate::plan::spark) use construct::array_with;
pub(super) use construct::map_from;
pub(super) use order::Rows;

const ARRAY_OR_MAP: Want = Want::OneOf(&[Want::Array, Want::Map]);

/// Which of the values a row's list has, `None` where the list is null.
pub(super) fn ranges(lists: &Reader<'_, ListArray>, row: usize) -> Option<std::ops::Range<usize>> {
    let row = lists.row(row);
    let offsets = lists.array().value_offsets();
    lists.array().is_valid(row).then(|| offsets[row] as usize..offsets[row + 1] as usize)
}

/// Elements that an array column of one batch may have: 2 GiB of numbers.
const ITEMS_MAX: usize = 1 << 28;

/// More elements than one column may have.
pub(super) fn too_long() -> Error {
    Error::new(ErrorKind::Limit, format!("an array column of one batch would exceed {ITEMS_MAX} elements"))
}

/// Where a row's elements end in a column, if it may have so many.
pub(super) fn end_of(count: usize) -> Result<i32> {
    i32::try_from(count).ok().filter(|_| count <= ITEMS_MAX).ok_or_else(too_long)
}

/// Equal values with equal bits: `-0.0` as `0.0`, every NaN as one, nested ones too.
pub(super) fn comparable_values(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Float32 => {
            Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(|f| if f.is_nan() { f32::NAN } else { f + 0.0 }))
        }
        DataType::Float64 => {
            Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(|f| if f.is_nan() { f64::NAN } else { f + 0.0 }))
        }
        DataType::List(field) if has_floats(field.data_type()) => {
            let list = array.as_list::<i32>();
            let values = comparable_values(list.values())?;
            Arc::new(
                ListArray::try_new(Arc::clone(field), list.offsets().clone(), values, list.nulls().cloned())
                    .map_err(from_arrow)?,
            )
        }
        DataType::Struct(fields) if fields.iter().any(|f| has_floats(f.data_type())) => {
            let whole = array.as_struct();
            let columns = whole.columns().iter().map(comparable_values).collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, whole.nulls().cloned()).map_err(from_arrow)?)
        }
        _ => Arc::clone(array),
    })
}

fn has_floats(t: &DataType) -> bool {
    match t {
        DataType::Float32 | DataType::Float64 => true,
        DataType::List(item) => has_floats(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|f| has_floats(f.data_type())),
        _ => false,
    }
}

/// Lists whose items are taken from `source`'s values: `pick` adds a row's items by index (`None` for a null item) and gives
/// `None` where the row is null.
pub(super) fn gather(
    a: &Args<'_>,
    source: &ListArray,
    mut pick: impl FnMut(usize, &mut Vec<Option<u32>>) -> Option<()>,
) -> Result<ArrayRef> {
    let mut items = Vec::new();
    let mut offsets = vec![0_i32];
    let mut valid = Vec::with_capacity(a.rows());
    for row in 0..a.rows() {
        valid.push(pick(row, &mut items).is_some());
        offsets.push(end_of(items.len())?);
    }
    let items = repeated(source.values(), &UInt32Array::from(items))?;
    list_of(a.returns(), offsets, items, Some(valid))
}

/// A list column of the declared type from its parts.
pub(super) fn list_of(returns: &DataType, offsets: Vec<i32>, items: ArrayRef, valid: Option<Vec<bool>>) -> Result<ArrayRef> {
    let DataType::List(field) = returns else { return Err(Error::internal("the result is not an array")) };
    let nulls = valid.map(NullBuffer::from);
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), OffsetBuffer::new(offsets.into()), items, nulls).map_err(from_arrow)?))
}

fn size(mut c: Call<'_>) -> Result<Typed> {
    count_items(&mut c, ARRAY_OR_MAP)
}

fn array_size(mut c: Call<'_>) -> Result<Typed> {
    count_items(&mut c, Want::Array)
}

fn count_items(c: &mut Call<'_>, want: Want) -> Result<Typed> {
    let args = coerce(c, &[want])?;
    let returns = Returns::new(DataType::Int32, args[0].nullable);
    Ok(call(c.name, args, returns, |a| {
        if matches!(a.any(0).array.data_type(), DataType::Map(..)) {
            let maps = a.column::<MapArray>(0)?;
            let offsets = maps.array().value_offsets();
            return a.primitive::<Int32Type>(|row| {
                let row = maps.row(row);
                maps.array().is_valid(row).then(|| offsets[row + 1] - offsets[row])
            });
        }
        let lists = a.column::<ListArray>(0)?;
        a.primitive::<Int32Type>(|row| ranges(&lists, row).map(|items| items.len() as i32))
    }))
}
