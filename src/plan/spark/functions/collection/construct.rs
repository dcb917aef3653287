//! Arrays, maps and structs from values and from each other.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, StringArray, StringBuilder, StructArray, UInt32Array, new_empty_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::scalar::ScalarValue;

use super::super::super::expression::coercion::common_type;
use super::super::super::types::has_map;
use super::super::super::{Call, Typed};
use super::super::arguments::{
    Want, any_nullable, arity, array_of, coerce, constant, convert, data_error, entry_of, expect_one, item_of, literal, map_of,
    mismatch, struct_of, text, unexpected_type, wrong_count,
};
use super::super::native::{Args, Returns, call, from_arrow, interleaved, repeated, within_column};
use super::{Rows, comparable_values, end_of, list_of, ranges};
use crate::error::{Error, Result};

/// `array(a, b, …)`.
pub(super) fn array(mut c: Call<'_>) -> Result<Typed> {
    let args = std::mem::take(&mut c.args);
    if args.is_empty() {
        return empty(array_of(DataType::Null));
    }
    let item = super::super::conditional::common_of(&c, &args)?;
    let args = args.into_iter().map(|a| convert(&c, a, &item)).collect::<Result<Vec<_>>>()?;
    Ok(array_with(args, item))
}

/// An array of `args`, which are all of the type `item`.
pub(in crate::plan::spark) fn array_with(args: Vec<Typed>, item: DataType) -> Typed {
    call("array", args, Returns::new(array_of(item), false), |a| {
        let columns = (0..a.count()).map(|i| a.any(i)).collect::<Vec<_>>();
        let values: Vec<&dyn Array> = columns.iter().map(|c| c.array.as_ref()).collect();
        let indices: Vec<(usize, usize)> =
            (0..a.rows()).flat_map(|row| columns.iter().enumerate().map(move |(i, c)| (i, c.row(row)))).collect();
        let items = interleaved(&values, &indices)?;
        let offsets = (0..=a.rows()).map(|row| end_of(row * a.count())).collect::<Result<_>>()?;
        list_of(a.returns(), offsets, items, None)
    })
}

/// A constant array or map without elements.
fn empty(data_type: DataType) -> Result<Typed> {
    let one = match &data_type {
        DataType::List(item) => {
            let list = ListArray::try_new(
                Arc::clone(item),
                OffsetBuffer::new(vec![0, 0].into()),
                new_empty_array(item.data_type()),
                None,
            );
            Arc::new(list.map_err(from_arrow)?) as ArrayRef
        }
        DataType::Map(..) => {
            map_from(&data_type, vec![0, 0], new_empty_array(&DataType::Null), new_empty_array(&DataType::Null), None)?
        }
        other => return Err(Error::internal(format!("no empty {other}"))),
    };
    let value = ScalarValue::try_from_array(&one, 0).map_err(|e| crate::error::from_datafusion(e, crate::ErrorKind::Internal))?;
    Ok(literal(value))
}

/// `named_struct('a', 1, …)`.
pub(super) fn named_struct(mut c: Call<'_>) -> Result<Typed> {
    if c.args.len() % 2 == 1 {
        return Err(odd(&c));
    }
    let mut names = Vec::new();
    let mut values = Vec::new();
    let mut args = std::mem::take(&mut c.args).into_iter();
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        match constant(&name)? {
            Some(ScalarValue::Utf8(Some(name))) => names.push(name),
            _ => {
                return Err(mismatch(
                    "CREATE_NAMED_STRUCT_WITHOUT_FOLDABLE_STRING",
                    "a field name of `named_struct` must be a constant text",
                ));
            }
        }
        values.push(value);
    }
    let fields: Fields = names.iter().zip(&values).map(|(n, v)| Field::new(n, v.data_type.clone(), v.nullable)).collect();
    if fields.is_empty() {
        let whole = StructArray::new_empty_fields(1, None);
        let value = ScalarValue::Struct(Arc::new(whole));
        return Ok(literal(value));
    }
    Ok(call("named_struct", values, Returns::new(DataType::Struct(fields.clone()), false), move |a| {
        let columns = (0..a.count()).map(|i| a.expanded(i)).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(StructArray::try_new(fields.clone(), columns, None).map_err(from_arrow)?))
    }))
}

/// `struct(a, b, …)`: fields take the names of columns, others `col1`, `col2`, ….
pub(super) fn plain_struct(mut c: Call<'_>) -> Result<Typed> {
    let args = std::mem::take(&mut c.args);
    for (index, arg) in args.into_iter().enumerate() {
        let name = match &arg.expr {
            datafusion::logical_expr::Expr::Column(column) => visible_name(&column.name).to_owned(),
            _ => format!("col{}", index + 1),
        };
        c.args.push(text(name));
        c.args.push(arg);
    }
    named_struct(c)
}

/// A column's name without the number that plans tell columns of one name apart by.
pub(super) fn visible_name(name: &str) -> &str {
    match name.rsplit_once('#') {
        Some((visible, number)) if number.bytes().all(|b| b.is_ascii_digit()) => visible,
        _ => name,
    }
}

fn odd(c: &Call<'_>) -> Error {
    wrong_count(c.name, "2n (n > 0)", c.args.len())
}

/// Refuses keys that are or have maps.
fn key_type(key: &DataType) -> Result<()> {
    if has_map(key) {
        return Err(mismatch("INVALID_MAP_KEY_TYPE", "a map cannot be the key of a map"));
    }
    Ok(())
}

fn null_key() -> Error {
    data_error("NULL_MAP_KEY", "null cannot be the key of a map")
}

fn duplicate_key() -> Error {
    data_error("DUPLICATED_MAP_KEY", "a key stands twice in a map")
}

/// Floating keys as Spark keeps them where it puts entries one by one: `-0.0` as `0.0`. Those within other types stay.
fn put(keys: ArrayRef) -> Result<ArrayRef> {
    if keys.data_type().is_floating() { comparable_values(&keys) } else { Ok(keys) }
}

/// A map column from its parts; keys must be neither null nor repeated.
pub(in crate::plan::spark::functions) fn map_from(
    returns: &DataType,
    offsets: Vec<i32>,
    keys: ArrayRef,
    values: ArrayRef,
    valid: Option<Vec<bool>>,
) -> Result<ArrayRef> {
    let DataType::Map(entries_field, _) = returns else { return Err(Error::internal("the result is not a map")) };
    let DataType::Struct(fields) = entries_field.data_type() else { return Err(Error::internal("a map has entries")) };
    if keys.logical_null_count() > 0 {
        return Err(null_key());
    }
    let comparable = comparable_values(&keys)?;
    let rows = Rows::of(&[&comparable])?;
    let mut seen = HashSet::new();
    for bounds in offsets.windows(2) {
        seen.clear();
        if !(bounds[0]..bounds[1]).all(|i| seen.insert(rows.row(0, i as usize))) {
            return Err(duplicate_key());
        }
    }
    let entries = StructArray::try_new(fields.clone(), vec![keys, values], None).map_err(from_arrow)?;
    let nulls = valid.map(NullBuffer::from);
    let map = MapArray::try_new(Arc::clone(entries_field), OffsetBuffer::new(offsets.into()), entries, nulls, false);
    Ok(Arc::new(map.map_err(from_arrow)?))
}

/// `map(k1, v1, k2, v2, …)`.
pub(super) fn map(mut c: Call<'_>) -> Result<Typed> {
    if c.args.len() % 2 == 1 {
        return Err(odd(&c));
    }
    if c.args.is_empty() {
        return empty(map_of(DataType::Null, DataType::Null));
    }
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for (index, arg) in std::mem::take(&mut c.args).into_iter().enumerate() {
        if index % 2 == 0 { keys.push(arg) } else { values.push(arg) }
    }
    let differ = |sub: &str| mismatch(sub, "the keys of `map`, and its values, should each be of one type");
    let key = common_type(&keys).ok_or_else(|| differ("CREATE_MAP_KEY_DIFF_TYPES"))?;
    let value = common_type(&values).ok_or_else(|| differ("CREATE_MAP_VALUE_DIFF_TYPES"))?;
    key_type(&key)?;
    let pairs = keys.len();
    let keys = keys.into_iter().map(|a| convert(&c, a, &key)).collect::<Result<Vec<_>>>()?;
    let values = values.into_iter().map(|a| convert(&c, a, &value)).collect::<Result<Vec<_>>>()?;
    let args = keys.into_iter().chain(values).collect();
    Ok(call("map", args, Returns::fallible(map_of(key, value), false), move |a| {
        let offsets = (0..=a.rows()).map(|row| end_of(row * pairs)).collect::<Result<_>>()?;
        map_from(a.returns(), offsets, put(weave(a, 0, pairs)?)?, weave(a, pairs, 2 * pairs)?, None)
    }))
}

/// The arguments `from..to` row by row.
fn weave(a: &Args<'_>, from: usize, to: usize) -> Result<ArrayRef> {
    let columns = (from..to).map(|i| a.any(i)).collect::<Vec<_>>();
    let values: Vec<&dyn Array> = columns.iter().map(|c| c.array.as_ref()).collect();
    let indices: Vec<(usize, usize)> =
        (0..a.rows()).flat_map(|row| columns.iter().enumerate().map(move |(i, c)| (i, c.row(row)))).collect();
    interleaved(&values, &indices)
}

/// `map_from_arrays(keys, values)`.
pub(super) fn map_from_arrays(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Array, Want::Array])?;
    let item = |t: &DataType| item_of(t).cloned().unwrap_or(DataType::Null);
    key_type(&item(&args[0].data_type))?;
    let returns = Returns::fallible(map_of(item(&args[0].data_type), item(&args[1].data_type)), any_nullable(&args));
    Ok(call("map_from_arrays", args, returns, |a| {
        let (keys, values) = (a.column::<ListArray>(0)?, a.column::<ListArray>(1)?);
        let (mut key_items, mut value_items, mut offsets, mut valid) = (Vec::new(), Vec::new(), vec![0], Vec::new());
        for row in 0..a.rows() {
            let pair = ranges(&keys, row).zip(ranges(&values, row));
            valid.push(pair.is_some());
            if let Some((k, v)) = pair {
                if k.len() != v.len() {
                    return Err(data_error(
                        "_LEGACY_ERROR_TEMP_2128",
                        "the key array and the value array of a map must have the same length",
                    ));
                }
                key_items.extend(k.map(|i| i as u32));
                value_items.extend(v.map(|i| i as u32));
            }
            offsets.push(end_of(key_items.len())?);
        }
        let take = |list: &ListArray, items: Vec<u32>| repeated(list.values(), &UInt32Array::from(items));
        map_from(a.returns(), offsets, take(keys.array(), key_items)?, take(values.array(), value_items)?, Some(valid))
    }))
}

/// `map_from_entries(array of two-field structs)`; null if an entry is.
pub(super) fn map_from_entries(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Array])?;
    let (key, value) = match item_of(&args[0].data_type) {
        Some(DataType::Struct(fields)) if fields.len() == 2 => (fields[0].data_type().clone(), fields[1].data_type().clone()),
        _ => return Err(unexpected_type(&c, 0, &args[0].data_type, &Want::ArrayOf(&Want::Struct))),
    };
    key_type(&key)?;
    Ok(call("map_from_entries", args, Returns::fallible(map_of(key, value), true), |a| {
        let lists = a.column::<ListArray>(0)?;
        let entries = lists.array().values();
        let (mut items, mut offsets, mut valid) = (Vec::new(), vec![0], Vec::new());
        for row in 0..a.rows() {
            let range = ranges(&lists, row).filter(|r| r.clone().all(|i| entries.is_valid(i)));
            valid.push(range.is_some());
            items.extend(range.into_iter().flatten().map(|i| i as u32));
            offsets.push(end_of(items.len())?);
        }
        let items = UInt32Array::from(items);
        let take = |column: &ArrayRef| repeated(column, &items);
        let entries = entries.as_struct();
        map_from(a.returns(), offsets, put(take(entries.column(0))?)?, take(entries.column(1))?, Some(valid))
    }))
}

/// `map_concat(a, b, …)`.
pub(super) fn map_concat(mut c: Call<'_>) -> Result<Typed> {
    let args = std::mem::take(&mut c.args);
    if args.is_empty() {
        return convert(&c, empty(map_of(DataType::Null, DataType::Null))?, &map_of(DataType::Utf8, DataType::Utf8));
    }
    if !args.iter().all(|a| entry_of(&a.data_type).is_some()) {
        return Err(mismatch("MAP_CONCAT_DIFF_TYPES", "`map_concat` takes maps only"));
    }
    let to = super::super::conditional::common_of(&c, &args)?;
    let args = args.into_iter().map(|a| convert(&c, a, &to)).collect::<Result<Vec<_>>>()?;
    let returns = Returns::fallible(to, any_nullable(&args));
    Ok(call("map_concat", args, returns, |a| {
        let maps = (0..a.count()).map(|i| a.column::<MapArray>(i)).collect::<Result<Vec<_>>>()?;
        let (mut indices, mut offsets, mut valid) = (Vec::new(), vec![0], Vec::new());
        for row in 0..a.rows() {
            let all = maps.iter().all(|m| m.get(row).is_some());
            valid.push(all);
            if all {
                for (which, map) in maps.iter().enumerate() {
                    let bounds = &map.array().value_offsets()[map.row(row)..];
                    indices.extend((bounds[0]..bounds[1]).map(|i| (which, i as usize)));
                }
            }
            offsets.push(end_of(indices.len())?);
        }
        let gather = |column: usize| {
            let columns: Vec<&dyn Array> = maps.iter().map(|m| m.array().entries().column(column).as_ref()).collect();
            interleaved(&columns, &indices)
        };
        map_from(a.returns(), offsets, put(gather(0)?)?, gather(1)?, Some(valid))
    }))
}

fn map_argument(c: &mut Call<'_>) -> Result<(Typed, DataType, DataType)> {
    let arg = coerce(c, &[Want::Map])?.remove(0);
    let (key, value) = entry_of(&arg.data_type).map(|(k, v)| (k.clone(), v.clone())).unwrap_or((DataType::Null, DataType::Null));
    Ok((arg, key, value))
}

/// A list per map, of what `of` takes from the entries.
fn lists_of_maps(name: &str, arg: Typed, data_type: DataType, of: fn(&StructArray, &DataType) -> Result<ArrayRef>) -> Typed {
    let returns = Returns::new(data_type, arg.nullable);
    call(name, vec![arg], returns, move |a| {
        let maps = a.expanded(0)?;
        let maps = maps.as_map();
        let DataType::List(field) = a.returns() else { return Err(Error::internal("the result is an array")) };
        let items = of(maps.entries(), field.data_type())?;
        let list = ListArray::try_new(Arc::clone(field), maps.offsets().clone(), items, maps.nulls().cloned());
        Ok(Arc::new(list.map_err(from_arrow)?))
    })
}

/// `map_keys`.
pub(super) fn map_keys(mut c: Call<'_>) -> Result<Typed> {
    let (arg, key, _) = map_argument(&mut c)?;
    Ok(lists_of_maps("map_keys", arg, array_of(key), |entries, _| Ok(Arc::clone(entries.column(0)))))
}

/// `map_values`.
pub(super) fn map_values(mut c: Call<'_>) -> Result<Typed> {
    let (arg, _, value) = map_argument(&mut c)?;
    Ok(lists_of_maps("map_values", arg, array_of(value), |entries, _| Ok(Arc::clone(entries.column(1)))))
}

/// `map_entries`.
pub(super) fn map_entries(mut c: Call<'_>) -> Result<Typed> {
    let (arg, key, value) = map_argument(&mut c)?;
    let data_type = array_of(struct_of([("key", key), ("value", value)]));
    Ok(lists_of_maps("map_entries", arg, data_type, |entries, item| {
        let DataType::Struct(fields) = item else { return Err(Error::internal("the items are structs")) };
        Ok(Arc::new(StructArray::try_new(fields.clone(), entries.columns().to_vec(), None).map_err(from_arrow)?))
    }))
}

/// `str_to_map(text, pair delimiter, key delimiter)`, the delimiters regular expressions.
pub(super) fn str_to_map(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 3)?;
    let args = std::mem::take(&mut c.args).into_iter().enumerate();
    let mut args = args
        .map(|(index, arg)| match &arg.data_type {
            DataType::Null => convert(&c, arg, &DataType::Utf8),
            _ => expect_one(&c, index, arg, &Want::Text),
        })
        .collect::<Result<Vec<_>>>()?;
    for default in [",", ":"].iter().skip(args.len() - 1) {
        args.push(text(*default));
    }
    let returns = Returns::fallible(map_of(DataType::Utf8, DataType::Utf8), any_nullable(&args));
    Ok(call("str_to_map", args, returns, |a| {
        let (s, pairs, pair) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?, a.column::<StringArray>(2)?);
        let mut splitter = super::super::regex::Splitter::new("str_to_map");
        let (mut keys, mut values) = (StringBuilder::new(), StringBuilder::new());
        let (mut offsets, mut valid, mut count, mut bytes) = (vec![0], Vec::new(), 0_i32, 0);
        for row in 0..a.rows() {
            let given = s.get(row).zip(pairs.get(row)).zip(pair.get(row));
            valid.push(given.is_some());
            if let Some(((s, pairs), pair)) = given {
                for entry in splitter.split(s, pairs, -1)? {
                    let mut parts = splitter.split(&entry, pair, 2)?.into_iter();
                    let key = parts.next().unwrap_or_default();
                    let value = parts.next();
                    bytes = within_column(bytes + key.len() + value.as_ref().map_or(0, String::len))?;
                    keys.append_value(key);
                    values.append_option(value);
                    count = end_of(count as usize + 1)?;
                }
            }
            offsets.push(count);
        }
        map_from(a.returns(), offsets, Arc::new(keys.finish()), Arc::new(values.finish()), Some(valid))
    }))
}
