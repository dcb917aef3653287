//! Higher-order functions: what they make of arrays and maps with a function that is written in place, `x -> x + 1`.
//!
//! A lambda function's body is resolved where its variables are columns beside those of the row ([`mod@bind`]). It becomes part of the
//! function itself ([`call`]): the columns of the row that it reads are further arguments, so that whoever looks at the plan
//! sees them. While a batch runs, elements of many rows lie below one another and the body is evaluated for all of them at once, a
//! bounded number at a time ([`elements`]).

use arrow::datatypes::DataType;

use super::super::expression::coercion::wider_item_type;
use super::super::types::sql_name;
use super::super::types::{has_map, same_structure};
use super::super::{Call, Typed};
use super::arguments::{Want, any_nullable, arity, array_of, convert, entry_of, expect_one, item_of, map_of, mismatch};
use super::{FunctionSpec, scalar};
use crate::error::{Error, ErrorKind, Result};

mod bind;
mod call;
mod elements;
mod array;
mod fold;
mod map;
mod sort;
mod once;
mod attempt;
mod strict;

pub(super) use attempt::attempt;
pub(super) use bind::refuse_elsewhere;
use bind::{Bound, bind, parameters};
pub(in crate::plan::spark) use bind::{is_variable, variable_fields};
use call::{HigherOrder, build};
pub(in crate::plan::spark) use call::{bodies, weight};
pub(in crate::plan::spark) use once::{Variable, behind, opened, rewritten};
pub(in crate::plan::spark) use strict::strict;

/// The functions of this family; `array_sort`, which takes a lambda function too, is among those of arrays.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("transform(array, x -> …)", "Each item through the lambda function; `(x, i)` also has its index from 0 on", "transform(array(1, 2, 3), x -> x + 1) → [2, 3, 4]", transform),
    scalar("filter(array, x -> …)", "The items for which it holds; `(x, i)` also has the index from 0 on", "filter(array(1, 2, 3), x -> x % 2 = 1) → [1, 3]", filter),
    scalar("exists(array, x -> …)", "Whether it holds for an item; null if for none, but is null for one", "exists(array(1, 2, 3), x -> x > 2) → true", |c| test(c, HigherOrder::Exists)),
    scalar("forall(array, x -> …)", "Whether it holds for every item; null if it fails for none, but is null for one", "forall(array(1, 2, 3), x -> x > 0) → true", |c| test(c, HigherOrder::ForAll)),
    scalar("aggregate(array, start, (acc, x) -> …[, acc -> …])", "The items folded into one value, from `start` on, and that through the last lambda function", "aggregate(array(1, 2, 3), 0, (acc, x) -> acc + x, acc -> acc * 10) → 60", aggregate),
    scalar("reduce(array, start, (acc, x) -> …[, acc -> …])", "As `aggregate`", "reduce(array(1, 2, 3), 0, (acc, x) -> acc + x) → 6", aggregate),
    scalar("zip_with(a, b, (x, y) -> …)", "Items at the same places of two arrays made one; the shorter one has nulls at its end", "zip_with(array('a', 'b'), array(1, 2), (x, y) -> concat(x, y)) → [a1, b2]", zip_with),
    scalar("map_filter(map, (k, v) -> …)", "The entries for which it holds", "map_filter(map(1, 0, 2, 2), (k, v) -> k = v) → {2 -> 2}", map_filter),
    scalar("transform_keys(map, (k, v) -> …)", "The entries under other keys", "transform_keys(map(1, 'a'), (k, v) -> k + 1) → {2 -> a}", |c| transform_map(c, HigherOrder::TransformKeys)),
    scalar("transform_values(map, (k, v) -> …)", "The entries with other values", "transform_values(map(1, 10), (k, v) -> k + v) → {1 -> 11}", |c| transform_map(c, HigherOrder::TransformValues)),
    scalar("map_zip_with(a, b, (k, v1, v2) -> …)", "The values of each key in two maps made one, null for a key that one of them lacks", "map_zip_with(map(1, 'a'), map(1, 'b'), (k, v1, v2) -> concat(v1, v2)) → {1 -> ab}", map_zip_with),
];

/// Whether the function of this name (in lower case) takes lambda functions.
pub(in crate::plan::spark) fn takes_lambda(name: &str) -> bool {
    name == "array_sort" || FUNCTIONS.iter().any(|spec| spec.name == name)
}

/// The call's argument `index`, which must be as `want` says, without a cast.
fn value(c: &mut Call<'_>, index: usize, want: &Want) -> Result<Typed> {
    let arg = c.args[index].clone();
    bind::refuse_subqueries(&arg.expr)?;
    expect_one(c, index, arg, want)
}

fn item(list: &Typed) -> DataType {
    item_of(&list.data_type).cloned().unwrap_or(DataType::Null)
}

fn entry(map: &Typed) -> (DataType, DataType) {
    entry_of(&map.data_type).map_or((DataType::Null, DataType::Null), |(key, value)| (key.clone(), value.clone()))
}

/// An element that may be null.
fn element(data_type: DataType) -> (DataType, bool) {
    (data_type, true)
}

/// An element and, if the lambda function names it, its index from 0.
fn with_index(c: &Call<'_>, list: &Typed) -> Vec<(DataType, bool)> {
    let mut variables = vec![element(item(list))];
    if parameters(c, 1) == 2 {
        variables.push((DataType::Int32, false));
    }
    variables
}

/// A body that must yield BOOLEAN.
fn predicate(c: &Call<'_>, index: usize, bound: Bound) -> Result<Bound> {
    if !matches!(bound.body.data_type, DataType::Boolean | DataType::Null) {
        return Err(super::arguments::unexpected_type(c, index, &bound.body.data_type, &Want::Boolean));
    }
    Ok(Bound { body: convert(c, bound.body, &DataType::Boolean)?, ..bound })
}

fn transform(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 2)?;
    refuse_elsewhere(&c, &[1])?;
    let list = value(&mut c, 0, &Want::Array)?;
    let bound = bind(&c, 1, &with_index(&c, &list))?;
    let (returns, nullable) = (array_of(bound.body.data_type.clone()), list.nullable);
    build(HigherOrder::Transform, c.name, vec![list], vec![bound], returns, nullable)
}

fn filter(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 2)?;
    refuse_elsewhere(&c, &[1])?;
    let list = value(&mut c, 0, &Want::Array)?;
    let bound = predicate(&c, 1, bind(&c, 1, &with_index(&c, &list))?)?;
    let (returns, nullable) = (list.data_type.clone(), list.nullable);
    build(HigherOrder::Filter, c.name, vec![list], vec![bound], returns, nullable)
}

fn test(mut c: Call<'_>, function: HigherOrder) -> Result<Typed> {
    arity(&c, 2, 2)?;
    refuse_elsewhere(&c, &[1])?;
    let list = value(&mut c, 0, &Want::Array)?;
    let bound = predicate(&c, 1, bind(&c, 1, &[element(item(&list))])?)?;
    let nullable = list.nullable || bound.body.nullable;
    build(function, c.name, vec![list], vec![bound], DataType::Boolean, nullable)
}

/// `aggregate(list, start, merge[, finish])`. The state has the type of `start`, which `merge` must yield without a cast.
fn aggregate(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 3, 4)?;
    refuse_elsewhere(&c, &[2, 3])?;
    let list = value(&mut c, 0, &Want::Array)?;
    let start = value(&mut c, 1, &Want::Any)?;
    let state = fold::as_nullable(&start.data_type);
    let mut merge = bind(&c, 2, &[element(state.clone()), element(item(&list))])?;
    if merge.body.data_type == DataType::Null {
        merge.body = convert(&c, merge.body, &state)?;
    }
    if !same_structure(&state, &merge.body.data_type) {
        return Err(mismatch(
            "UNEXPECTED_INPUT_TYPE",
            format!(
                "parameter 3 of `{}` requires the {} type of the start value, however it has the type {}",
                c.name,
                sql_name(&state),
                sql_name(&merge.body.data_type)
            ),
        ));
    }
    let mut bodies = vec![merge];
    let (mut returns, mut nullable) = (state.clone(), true);
    if c.args.len() == 4 {
        let finish = bind(&c, 3, &[element(state)])?;
        (returns, nullable) = (finish.body.data_type.clone(), list.nullable || finish.body.nullable);
        bodies.push(finish);
    }
    build(HigherOrder::Aggregate, c.name, vec![list, start], bodies, returns, nullable)
}

fn zip_with(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 3, 3)?;
    refuse_elsewhere(&c, &[2])?;
    let lists = vec![value(&mut c, 0, &Want::Array)?, value(&mut c, 1, &Want::Array)?];
    let bound = bind(&c, 2, &[element(item(&lists[0])), element(item(&lists[1]))])?;
    let (returns, nullable) = (array_of(bound.body.data_type.clone()), any_nullable(&lists));
    build(HigherOrder::ZipWith, c.name, lists, vec![bound], returns, nullable)
}

/// `array_sort(list, comparator)`.
pub(super) fn array_sort(mut c: Call<'_>) -> Result<Typed> {
    refuse_elsewhere(&c, &[1])?;
    let list = value(&mut c, 0, &Want::Array)?;
    let bound = bind(&c, 1, &[element(item(&list)), element(item(&list))])?;
    if bound.body.data_type != DataType::Int32 {
        let message =
            format!("the comparator of `{}` must yield INT, however it yields {}", c.name, sql_name(&bound.body.data_type));
        return Err(mismatch("UNEXPECTED_RETURN_TYPE", message));
    }
    let (returns, nullable) = (list.data_type.clone(), list.nullable);
    build(HigherOrder::ArraySort, c.name, vec![list], vec![bound], returns, nullable)
}

fn map_filter(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 2)?;
    refuse_elsewhere(&c, &[1])?;
    let map = value(&mut c, 0, &Want::Map)?;
    let (key, held) = entry(&map);
    let bound = predicate(&c, 1, bind(&c, 1, &[(key, false), element(held)])?)?;
    let (returns, nullable) = (map.data_type.clone(), map.nullable);
    build(HigherOrder::MapFilter, c.name, vec![map], vec![bound], returns, nullable)
}

fn transform_map(mut c: Call<'_>, function: HigherOrder) -> Result<Typed> {
    arity(&c, 2, 2)?;
    refuse_elsewhere(&c, &[1])?;
    let map = value(&mut c, 0, &Want::Map)?;
    let (key, held) = entry(&map);
    let bound = bind(&c, 1, &[(key.clone(), false), element(held.clone())])?;
    let made = bound.body.data_type.clone();
    let returns = match function {
        HigherOrder::TransformKeys if has_map(&made) => {
            return Err(mismatch("INVALID_MAP_KEY_TYPE", "the key of a map cannot be or contain a map"));
        }
        HigherOrder::TransformKeys => map_of(made, held),
        _ => map_of(key, made),
    };
    let nullable = map.nullable;
    build(function, c.name, vec![map], vec![bound], returns, nullable)
}

fn map_zip_with(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 3, 3)?;
    refuse_elsewhere(&c, &[2])?;
    let (left, right) = (value(&mut c, 0, &Want::Map)?, value(&mut c, 1, &Want::Map)?);
    let ((left_key, left_held), (right_key, right_held)) = (entry(&left), entry(&right));
    let Some(key) = wider_item_type(&left_key, &right_key) else {
        let message = format!(
            "the keys of the maps of `{}` should be of one type, but they are {} and {}",
            c.name,
            sql_name(&left_key),
            sql_name(&right_key)
        );
        return Err(mismatch("MAP_ZIP_WITH_DIFF_TYPES", message));
    };
    if has_map(&key) {
        return Err(mismatch("INVALID_ORDERING_TYPE", format!("`{}` does not take keys of {}", c.name, sql_name(&key))));
    }
    let left = convert(&c, left, &map_of(key.clone(), left_held.clone()))?;
    let right = convert(&c, right, &map_of(key.clone(), right_held.clone()))?;
    let bound = bind(&c, 2, &[(key.clone(), false), element(left_held), element(right_held)])?;
    let (returns, maps) = (map_of(key, bound.body.data_type.clone()), vec![left, right]);
    let nullable = any_nullable(&maps);
    build(HigherOrder::MapZipWith, c.name, maps, vec![bound], returns, nullable)
}

/// `INVALID_LAMBDA_FUNCTION_CALL.…`.
fn invalid_call(sub_condition: &str, message: String) -> Error {
    Error::spark(ErrorKind::Config, format!("INVALID_LAMBDA_FUNCTION_CALL.{sub_condition}"), message)
}

/// A lambda function where `name` takes none.
pub(in crate::plan::spark) fn not_higher_order(name: &str) -> Error {
    let message = format!("a lambda function is an argument of `{name}`, which is no higher-order function");
    invalid_call("NON_HIGHER_ORDER_FUNCTION", message)
}

#[cfg(test)]
mod tests;
