//! Arrays from arrays: sorted, cut, filled, joined, and as sets.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray, StringArray, StructArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::ScalarValue;
use hashbrown::HashSet;

use super::super::super::expression::coercion::tightest_item_type;
use super::super::super::{Call, Typed};
use super::super::arguments::{
    Want, any_nullable, arity, array_of, coerce, coerce_one, convert, data_error, expect_one, is_foldable, is_integral, item_of,
    literal, mismatch, orderable, require_constant, unexpected_type,
};
use super::super::lambda;
use super::super::lambda::refuse_elsewhere;
use super::super::native::{Args, Reader, Returns, call, from_arrow, interleaved, repeated, within_column};
use super::search::array_and_value;
use super::{Rows, comparable_values, end_of, gather, list_of, ranges};
use crate::error::{Error, Result};

/// `array_sort(a)`: ascending, nulls last; or as a comparator says.
pub(super) fn array_sort(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 2)?;
    if c.args.len() == 2 {
        return lambda::array_sort(c);
    }
    refuse_elsewhere(&c, &[])?;
    let array = c.args.remove(0);
    let args = vec![expect_one(&c, 0, array, &Want::Array)?];
    orderable(&c, &args[0].data_type)?;
    let returns = Returns::new(args[0].data_type.clone(), args[0].nullable);
    Ok(call("array_sort", args, returns, |a| sorted(a, |_| Some((true, false)))))
}

/// `sort_array(a[, ascending])`: nulls are the least.
pub(super) fn sort_array(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 2)?;
    let ascending = if c.args.len() == 2 { c.args.remove(1) } else { literal(true.into()) };
    let ascending = if ascending.data_type == DataType::Null { convert(&c, ascending, &DataType::Boolean)? } else { ascending };
    let ascending = expect_one(&c, 1, ascending, &Want::Boolean)?;
    require_constant(&c, "ascendingOrder", &ascending)?;
    let array = coerce(&mut c, &[Want::Array])?.remove(0);
    orderable(&c, &array.data_type)?;
    let args = vec![array, ascending];
    let returns = Returns::new(args[0].data_type.clone(), any_nullable(&args));
    Ok(call("sort_array", args, returns, |a| {
        let ascending = a.column::<BooleanArray>(1)?;
        sorted(a, |row| ascending.get(row).map(|ascending| (ascending, ascending)))
    }))
}

/// Sorts each list; `order` says whether ascending, and whether nulls come first.
fn sorted(a: &Args<'_>, order: impl Fn(usize) -> Option<(bool, bool)>) -> Result<ArrayRef> {
    let lists = a.column::<ListArray>(0)?;
    let values = lists.array().values();
    let comparable = comparable_values(values)?;
    let rows = Rows::of(&[&comparable])?;
    let nulls = values.logical_nulls();
    let is_null = |i: u32| nulls.as_ref().is_some_and(|n| n.is_null(i as usize));
    let mut items: Vec<u32> = Vec::new();
    let mut keyed: Vec<(u64, u32)> = Vec::new();
    gather(a, lists.array(), |row, out| {
        let (ascending, nulls_first) = order(row)?;
        let all = ranges(&lists, row)?;
        items.clear();
        items.extend(all.clone().map(|i| i as u32).filter(|i| !is_null(*i)));
        match rows.numbers(0) {
            // Each number with its place, so that equal ones keep their order.
            Some(numbers) => {
                let descending = if ascending { 0 } else { u64::MAX };
                keyed.clear();
                keyed.extend(items.iter().map(|i| (numbers[*i as usize] ^ descending, *i)));
                keyed.sort_unstable();
                items.clear();
                items.extend(keyed.iter().map(|(_, i)| *i));
            }
            None => items.sort_by(|x, y| {
                let order = rows.row(0, *x as usize).cmp(&rows.row(0, *y as usize));
                if ascending { order } else { order.reverse() }
            }),
        }
        let missing = std::iter::repeat_n(None, all.len() - items.len());
        if nulls_first {
            out.extend(missing.chain(items.iter().copied().map(Some)));
        } else {
            out.extend(items.iter().copied().map(Some).chain(missing));
        }
        Some(())
    })
}

/// Each value once, the first.
pub(super) fn array_distinct(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Array])?;
    orderable(&c, &args[0].data_type)?;
    let returns = Returns::new(args[0].data_type.clone(), args[0].nullable);
    Ok(call("array_distinct", args, returns, |a| {
        let lists = a.column::<ListArray>(0)?;
        let comparable = comparable_values(lists.array().values())?;
        let rows = Rows::of(&[&comparable])?;
        let mut seen = HashSet::new();
        gather(a, lists.array(), |row, out| {
            seen.clear();
            out.extend(ranges(&lists, row)?.filter(|i| seen.insert(rows.row(0, *i))).map(|i| Some(i as u32)));
            Some(())
        })
    }))
}

/// Without the nulls.
pub(super) fn array_compact(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Array])?;
    let returns = Returns::new(args[0].data_type.clone(), args[0].nullable);
    Ok(call("array_compact", args, returns, |a| {
        let lists = a.column::<ListArray>(0)?;
        let nulls = lists.array().values().logical_nulls();
        gather(a, lists.array(), |row, out| {
            let present = ranges(&lists, row)?.filter(|i| nulls.as_ref().is_none_or(|n| n.is_valid(*i)));
            out.extend(present.map(|i| Some(i as u32)));
            Some(())
        })
    }))
}

/// How two arrays are combined as sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SetOperation {
    Union,
    Intersect,
    Except,
}

/// Two arrays of one type.
fn two_arrays(c: &mut Call<'_>) -> Result<Vec<Typed>> {
    arity(c, 2, 2)?;
    let args = std::mem::take(&mut c.args);
    let common = tightest_item_type(&args[0].data_type, &args[1].data_type)
        .filter(|t| item_of(t).is_some() && args.iter().all(|a| item_of(&a.data_type).is_some()))
        .ok_or_else(|| mismatch("BINARY_ARRAY_DIFF_TYPES", format!("`{}` takes two arrays of one type", c.name)))?;
    orderable(c, &common)?;
    args.into_iter().map(|a| convert(c, a, &common)).collect()
}

/// `array_union`, `array_intersect`, `array_except`: each value once, nulls being equal.
pub(super) fn set_operation(mut c: Call<'_>, operation: SetOperation) -> Result<Typed> {
    let args = two_arrays(&mut c)?;
    let returns = Returns::new(args[0].data_type.clone(), any_nullable(&args));
    Ok(call(c.name, args, returns, move |a| {
        let (left, right) = (a.column::<ListArray>(0)?, a.column::<ListArray>(1)?);
        let (l, r) = (comparable_values(left.array().values())?, comparable_values(right.array().values())?);
        let rows = Rows::of(&[&l, &r])?;
        let (mut seen, mut other) = (HashSet::new(), HashSet::new());
        let (mut indices, mut offsets, mut valid) = (Vec::new(), vec![0], Vec::new());
        for row in 0..a.rows() {
            let both = ranges(&left, row).zip(ranges(&right, row));
            valid.push(both.is_some());
            if let Some((l, r)) = both {
                seen.clear();
                other.clear();
                if operation != SetOperation::Union {
                    other.extend(r.clone().map(|i| rows.row(1, i)));
                }
                let wanted = operation == SetOperation::Intersect;
                indices.extend(
                    l.filter(|i| {
                        let value = rows.row(0, *i);
                        (operation == SetOperation::Union || other.contains(&value) == wanted) && seen.insert(value)
                    })
                    .map(|i| (0, i)),
                );
                if operation == SetOperation::Union {
                    indices.extend(r.filter(|i| seen.insert(rows.row(1, *i))).map(|i| (1, i)));
                }
            }
            offsets.push(end_of(indices.len())?);
        }
        let values: [&dyn Array; 2] = [left.array().values().as_ref(), right.array().values().as_ref()];
        list_of(a.returns(), offsets, interleaved(&values, &indices)?, Some(valid))
    }))
}

/// True if they share a value; null if they do not, neither is empty and one has a null.
pub(super) fn arrays_overlap(mut c: Call<'_>) -> Result<Typed> {
    let args = two_arrays(&mut c)?;
    Ok(call("arrays_overlap", args, Returns::new(DataType::Boolean, true), |a| {
        let (left, right) = (a.column::<ListArray>(0)?, a.column::<ListArray>(1)?);
        let (l, r) = (comparable_values(left.array().values())?, comparable_values(right.array().values())?);
        let rows = Rows::of(&[&l, &r])?;
        let (left_nulls, right_nulls) = (l.logical_nulls(), r.logical_nulls());
        let mut seen = HashSet::new();
        a.booleans(|row| {
            let (items, others) = (ranges(&left, row)?, ranges(&right, row)?);
            let valid = |nulls: &Option<arrow::buffer::NullBuffer>, i: usize| nulls.as_ref().is_none_or(|n| n.is_valid(i));
            seen.clear();
            seen.extend(items.clone().filter(|i| valid(&left_nulls, *i)).map(|i| rows.row(0, i)));
            if others.clone().any(|i| valid(&right_nulls, i) && seen.contains(&rows.row(1, i))) {
                return Some(true);
            }
            let null = items.clone().any(|i| !valid(&left_nulls, i)) || others.clone().any(|i| !valid(&right_nulls, i));
            if null && !items.is_empty() && !others.is_empty() { None } else { Some(false) }
        })
    }))
}

/// Which place an added value takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Front,
    Back,
}

/// `array_append`, `array_prepend`.
pub(super) fn add(mut c: Call<'_>, place: Place) -> Result<Typed> {
    arity(&c, 2, 2)?;
    if item_of(&c.args[0].data_type).is_none() {
        return Err(unexpected_type(&c, 0, &c.args[0].data_type, &Want::Array));
    }
    let args = array_and_value(&mut c)?;
    let returns = Returns::new(args[0].data_type.clone(), args[0].nullable);
    Ok(call(c.name, args, returns, move |a| {
        let (lists, value) = (a.column::<ListArray>(0)?, a.any(1));
        woven(a, &lists, value.array, |row, items, out| {
            let added = (1, value.row(row));
            if place == Place::Front {
                out.push(Some(added));
            }
            out.extend(items.map(|i| Some((0, i))));
            if place == Place::Back {
                out.push(Some(added));
            }
            Ok(())
        })
    }))
}

/// Lists whose items come from the lists' values (0), another array (1), or are null (`None`).
fn woven(
    a: &Args<'_>,
    lists: &Reader<'_, ListArray>,
    other: &ArrayRef,
    mut weave: impl FnMut(usize, std::ops::Range<usize>, &mut Vec<Option<(usize, usize)>>) -> Result<()>,
) -> Result<ArrayRef> {
    let (mut items, mut offsets, mut valid) = (Vec::new(), vec![0], Vec::new());
    for row in 0..a.rows() {
        let range = ranges(lists, row);
        valid.push(range.is_some());
        if let Some(range) = range {
            weave(row, range, &mut items)?;
        }
        offsets.push(end_of(items.len())?);
    }
    let null = arrow::array::new_null_array(other.data_type(), 1);
    let values: [&dyn Array; 3] = [lists.array().values().as_ref(), other.as_ref(), null.as_ref()];
    let indices: Vec<(usize, usize)> = items.into_iter().map(|item| item.unwrap_or((2, 0))).collect();
    list_of(a.returns(), offsets, interleaved(&values, &indices)?, Some(valid))
}

/// `array_insert(array, position, value)`: from 1, or behind from -1; gaps are null.
pub(super) fn array_insert(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 3, 3)?;
    let position = c.args.remove(1);
    let narrow = is_integral(&position.data_type) && position.data_type != DataType::Int64;
    let position = if narrow { convert(&c, position, &DataType::Int32)? } else { expect_one(&c, 1, position, &Want::Int)? };
    let mut args = array_and_value(&mut c)?;
    args.insert(1, position);
    let returns = Returns::fallible(args[0].data_type.clone(), args[0].nullable || args[1].nullable);
    Ok(call("array_insert", args, returns, |a| {
        let (lists, value, position) = (a.column::<ListArray>(0)?, a.any(2), a.column::<Int32Array>(1)?);
        let is_constant = position.is_constant();
        let inserted = woven(a, &lists, value.array, |row, items, out| {
            let Some(position) = position.get(row) else { return Ok(()) };
            let (added, count) = (Some((1, value.row(row))), items.len());
            if position == 0 {
                return Err(data_error(
                    "INVALID_INDEX_OF_ZERO",
                    "the index 0 is invalid: an index counts from 1, or from -1 for the last",
                ));
            }
            let place = position.unsigned_abs() as usize;
            let length = place.max(count) + usize::from(place <= count || position < 0);
            if length > LENGTH_MAX {
                return Err(beyond(if is_constant { "FUNCTION" } else { "PARAMETER" }, length as i128));
            }
            end_of(out.len() + length)?;
            // How many items of the result come before the added one.
            let before = if position > 0 { place - 1 } else { (count + 1).saturating_sub(place) };
            if position < 0 && place > count + 1 {
                out.push(added);
                out.extend(std::iter::repeat_n(None, place - count - 1));
                out.extend(items.map(|i| Some((0, i))));
                return Ok(());
            }
            out.extend(items.clone().take(before).map(|i| Some((0, i))));
            out.extend(std::iter::repeat_n(None, before.saturating_sub(count)));
            out.push(added);
            out.extend(items.skip(before).map(|i| Some((0, i))));
            Ok(())
        })?;
        // A null position gives null.
        let unknown: BooleanArray = (0..a.rows()).map(|row| Some(position.get(row).is_none())).collect();
        arrow::compute::nullif(&inserted, &unknown).map_err(from_arrow)
    }))
}

/// `array_repeat(value, count)`.
pub(super) fn array_repeat(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 2)?;
    let (count, value) = (c.args.remove(1), c.args.remove(0));
    let count = match count.data_type {
        DataType::Null => convert(&c, count, &DataType::Int32)?,
        _ => expect_one(&c, 1, count, &Want::Int)?,
    };
    let returns = Returns::fallible(array_of(value.data_type.clone()), count.nullable);
    Ok(call("array_repeat", vec![value, count], returns, |a| {
        let (value, count) = (a.any(0), a.column::<Int32Array>(1)?);
        let is_constant = count.is_constant();
        let (mut items, mut offsets, mut valid) = (Vec::new(), vec![0], Vec::new());
        for row in 0..a.rows() {
            let count = count.get(row);
            valid.push(count.is_some());
            let count = count.unwrap_or(0).max(0) as usize;
            if count > LENGTH_MAX {
                let too_many = || data_error("_LEGACY_ERROR_TEMP_2176", format!("cannot create an array of {count} elements"));
                return Err(if is_constant { beyond("PARAMETER", count as i128) } else { too_many() });
            }
            // Checked before the memory is taken.
            let end = end_of(items.len().saturating_add(count))?;
            items.extend(std::iter::repeat_n(value.row(row) as u32, count));
            offsets.push(end);
        }
        list_of(a.returns(), offsets, repeated(value.array, &UInt32Array::from(items))?, Some(valid))
    }))
}

/// `array_join(texts, delimiter[, text for null])`.
pub(super) fn array_join(mut c: Call<'_>) -> Result<Typed> {
    const TEXTS: Want = Want::ArrayOf(&Want::Text);
    arity(&c, 2, 3)?;
    let args = std::mem::take(&mut c.args).into_iter().enumerate();
    let args = args
        .map(|(index, arg)| match (index, &arg.data_type) {
            (0, _) => coerce_one(&c, 0, arg, &TEXTS),
            (_, DataType::Null) => convert(&c, arg, &DataType::Utf8),
            _ => expect_one(&c, index, arg, &Want::Text),
        })
        .collect::<Result<Vec<_>>>()?;
    let returns = Returns::new(DataType::Utf8, any_nullable(&args));
    Ok(call("array_join", args, returns, |a| {
        let (lists, delimiter) = (a.column::<ListArray>(0)?, a.column::<StringArray>(1)?);
        let for_null = if a.count() == 3 { Some(a.column::<StringArray>(2)?) } else { None };
        let items = lists.array().values().as_string::<i32>();
        a.try_strings(|row, out| {
            let (Some(range), Some(delimiter)) = (ranges(&lists, row), delimiter.get(row)) else { return Ok(None) };
            let for_null = match for_null.as_ref().map(|text| text.get(row)) {
                Some(None) => return Ok(None),
                text => text.flatten(),
            };
            let texts = range.filter_map(|i| if items.is_valid(i) { Some(items.value(i)) } else { for_null });
            for (index, text) in texts.enumerate() {
                within_column(out.len() + delimiter.len() + text.len())?;
                if index > 0 {
                    out.push_str(delimiter);
                }
                out.push_str(text);
            }
            Ok(Some(()))
        })
    }))
}

/// `slice(array, start from 1 or -1, length)`.
pub(super) fn slice(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Array, Want::Int, Want::Int])?;
    let returns = Returns::fallible(args[0].data_type.clone(), any_nullable(&args));
    Ok(call("slice", args, returns, |a| {
        let (lists, start, length) = (a.column::<ListArray>(0)?, a.column::<Int32Array>(1)?, a.column::<Int32Array>(2)?);
        for row in 0..a.rows() {
            let (Some(_), Some(start), Some(length)) = (ranges(&lists, row), start.get(row), length.get(row)) else { continue };
            if start == 0 {
                return Err(data_error("INVALID_PARAMETER_VALUE.START", "the value of `start` in `slice` must not be 0"));
            }
            if length < 0 {
                return Err(data_error(
                    "INVALID_PARAMETER_VALUE.LENGTH",
                    format!("the value of `length` in `slice` must not be negative, but is {length}"),
                ));
            }
        }
        gather(a, lists.array(), |row, out| {
            let (items, start, length) = (ranges(&lists, row)?, start.get(row)?, length.get(row)?);
            let skip = if start > 0 {
                start as usize - 1
            } else {
                items.len().checked_sub(start.unsigned_abs() as usize).unwrap_or(usize::MAX)
            };
            out.extend(items.skip(skip).take(length as usize).map(|i| Some(i as u32)));
            Some(())
        })
    }))
}

/// The items of an array's arrays; null if one of them is.
pub(super) fn flatten(mut c: Call<'_>) -> Result<Typed> {
    const NESTED: Want = Want::ArrayOf(&Want::Array);
    arity(&c, 1, 1)?;
    let arg = c.args.remove(0);
    let arg = expect_one(&c, 0, arg, &NESTED)?;
    let inner = item_of(&arg.data_type).cloned().unwrap_or(DataType::Null);
    Ok(call("flatten", vec![arg], Returns::new(inner, true), |a| {
        let outer = a.column::<ListArray>(0)?;
        let inner = outer.array().values().as_list::<i32>();
        let offsets = inner.value_offsets();
        gather(a, inner, |row, out| {
            let lists = ranges(&outer, row)?;
            if !lists.clone().all(|list| inner.is_valid(list)) {
                return None;
            }
            out.extend(lists.flat_map(|list| offsets[list]..offsets[list + 1]).map(|i| Some(i as u32)));
            Some(())
        })
    }))
}

/// Structs of the arrays' items at the same place; missing ones are null.
pub(super) fn arrays_zip(mut c: Call<'_>) -> Result<Typed> {
    use datafusion::logical_expr::Expr;
    if c.args.is_empty() {
        let none = ScalarValue::new_list(&[], &DataType::Struct(Fields::empty()), true);
        return Ok(literal(ScalarValue::List(none)));
    }
    let args = std::mem::take(&mut c.args);
    let args = args.into_iter().enumerate().map(|(i, a)| coerce_one(&c, i, a, &Want::Array)).collect::<Result<Vec<_>>>()?;
    let fields: Fields = args
        .iter()
        .enumerate()
        .map(|(index, arg)| {
            let name = match &arg.expr {
                Expr::Column(column) => super::construct::visible_name(&column.name).to_owned(),
                _ => index.to_string(),
            };
            Field::new(name, item_of(&arg.data_type).cloned().unwrap_or(DataType::Null), true)
        })
        .collect();
    let returns = Returns::new(array_of(DataType::Struct(fields.clone())), any_nullable(&args));
    Ok(call("arrays_zip", args, returns, move |a| {
        let lists = (0..a.count()).map(|i| a.column::<ListArray>(i)).collect::<Result<Vec<_>>>()?;
        let mut picks: Vec<Vec<Option<u32>>> = vec![Vec::new(); lists.len()];
        let (mut offsets, mut valid, mut count) = (vec![0], Vec::new(), 0_usize);
        for row in 0..a.rows() {
            let items: Option<Vec<_>> = lists.iter().map(|list| ranges(list, row)).collect();
            valid.push(items.is_some());
            let items = items.unwrap_or_default();
            let longest = items.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
            for (pick, range) in picks.iter_mut().zip(&items) {
                pick.extend((0..longest).map(|i| (i < range.len()).then(|| (range.start + i) as u32)));
            }
            count += longest;
            offsets.push(end_of(count)?);
        }
        let columns = lists
            .iter()
            .zip(picks)
            .map(|(list, pick)| repeated(list.array().values(), &UInt32Array::from(pick)))
            .collect::<Result<Vec<_>>>()?;
        let structs = StructArray::try_new(fields.clone(), columns, None).map_err(from_arrow)?;
        list_of(a.returns(), offsets, Arc::new(structs), Some(valid))
    }))
}

/// Items that an array can have in Spark.
pub(super) const LENGTH_MAX: usize = 2_147_483_632;

/// An array of more than [`LENGTH_MAX`] items: the fault of the function itself or of its `PARAMETER`.
pub(super) fn beyond(of: &str, items: i128) -> Error {
    let message = format!("cannot create an array of {items} elements, which is more than {LENGTH_MAX}");
    Error::spark(crate::ErrorKind::Data, format!("COLLECTION_SIZE_LIMIT_EXCEEDED.{of}"), message)
}

/// A sequence that never ends, or begins beyond its end. Where Spark computes it when it plans, it has no condition.
pub(super) fn no_sequence(is_folded: bool) -> Error {
    let message = "illegal sequence boundaries: the step does not lead from start to stop";
    if is_folded {
        Error::new(crate::ErrorKind::Data, message)
    } else {
        Error::spark(crate::ErrorKind::Data, "_LEGACY_ERROR_TEMP_3243", message)
    }
}

/// How many numbers there are from `start` to `stop` by `step`.
fn sequence_length(start: i64, stop: i64, step: i64, is_folded: bool) -> Result<usize> {
    let leads = (step > 0 && start <= stop) || (step < 0 && start >= stop) || (step == 0 && start == stop);
    if !leads {
        return Err(no_sequence(is_folded));
    }
    if step == 0 {
        return Ok(1);
    }
    let count = (i128::from(stop) - i128::from(start)) / i128::from(step) + 1;
    usize::try_from(count).ok().filter(|n| *n <= LENGTH_MAX).ok_or_else(|| beyond("PARAMETER", count))
}

/// `sequence(start, stop[, step])` of whole numbers.
pub(super) fn sequence(mut c: Call<'_>) -> Result<Typed> {
    use arrow::datatypes::Int64Type;
    arity(&c, 2, 3)?;
    let mut bounds = std::mem::take(&mut c.args);
    let step = (bounds.len() == 3).then(|| bounds.pop()).flatten();
    let common = super::super::conditional::common_of(&c, &bounds)?;
    if !is_integral(&common) {
        return match common {
            DataType::Date32 | DataType::Timestamp(..) => {
                let bounds = bounds.into_iter().map(|a| convert(&c, a, &common)).collect::<Result<Vec<_>>>()?;
                super::sequence::of_times(&c, bounds.into_iter().chain(step).collect(), common)
            }
            _ => Err(mismatch("SEQUENCE_WRONG_INPUT_TYPES", "`sequence` takes whole numbers, dates or timestamps")),
        };
    }
    let is_step = |step: &Typed| matches!(step.data_type, DataType::Null | DataType::Utf8) || is_integral(&step.data_type);
    if !step.as_ref().is_none_or(is_step) {
        return Err(mismatch("SEQUENCE_WRONG_INPUT_TYPES", "the step of a `sequence` of numbers must be a whole number"));
    }
    let mut args = bounds;
    args.extend(step);
    let common = super::super::conditional::common_of(&c, &args)?;
    let args = args.into_iter().map(|a| convert(&c, a, &common)).collect::<Result<Vec<_>>>()?;
    let returns = Returns::fallible(array_of(common.clone()), any_nullable(&args));
    let is_folded = args.iter().all(|arg| is_foldable(&arg.expr));
    Ok(call("sequence", args, returns, move |a| {
        let longs = (0..a.count())
            .map(|i| arrow::compute::cast(&a.expanded(i)?, &DataType::Int64).map_err(from_arrow))
            .collect::<Result<Vec<_>>>()?;
        let at = |i: usize, row: usize| {
            let column = longs[i].as_primitive::<Int64Type>();
            column.is_valid(row).then(|| column.value(row))
        };
        let (mut items, mut offsets, mut valid) = (Vec::new(), vec![0], Vec::new());
        for row in 0..a.rows() {
            let bounds = at(0, row).zip(at(1, row));
            let step = if longs.len() == 3 { at(2, row) } else { bounds.map(|(start, stop)| if start <= stop { 1 } else { -1 }) };
            let known = bounds.zip(step);
            valid.push(known.is_some());
            if let Some(((start, stop), step)) = known {
                let count = sequence_length(start, stop, step, is_folded)?;
                end_of(items.len() + count)?;
                items.reserve(count);
                // A product alone may be beyond a BIGINT, the sum is not.
                items.extend((0..count as i64).map(|i| start.wrapping_add(i.wrapping_mul(step))));
            }
            offsets.push(end_of(items.len())?);
        }
        let items: ArrayRef = Arc::new(arrow::array::Int64Array::from(items));
        list_of(a.returns(), offsets, arrow::compute::cast(&items, &common).map_err(from_arrow)?, Some(valid))
    }))
}
