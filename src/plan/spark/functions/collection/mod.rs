//! Arrays, maps and structs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type};
use arrow::row::{Row, RowConverter, SortField};

use super::super::{Call, Typed};
use super::arguments::{Want, coerce};
use super::native::{Args, Reader, Returns, call, from_arrow};
use super::{FunctionSpec, scalar};
use crate::error::{Error, ErrorKind, Result};

/// The functions of this family.
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("size", size),
    scalar("cardinality", size),
    scalar("array_size", array_size),
    scalar("array", construct::array),
    scalar("named_struct", construct::named_struct),
    scalar("struct", construct::plain_struct),
    scalar("map", construct::map),
    scalar("map_from_arrays", construct::map_from_arrays),
    scalar("map_from_entries", construct::map_from_entries),
    scalar("map_concat", construct::map_concat),
    scalar("map_keys", construct::map_keys),
    scalar("map_values", construct::map_values),
    scalar("map_entries", construct::map_entries),
    scalar("str_to_map", construct::str_to_map),
    scalar("array_contains", search::array_contains),
    scalar("array_position", search::array_position),
    scalar("array_remove", search::array_remove),
    scalar("array_max", |c| search::array_extreme(c, true)),
    scalar("array_min", |c| search::array_extreme(c, false)),
    scalar("element_at", |c| search::element_at(c, search::Missing::Fail)),
    scalar("try_element_at", |c| search::element_at(c, search::Missing::Null)),
    scalar("get", search::get),
    scalar("map_contains_key", search::map_contains_key),
    scalar("array_sort", shape::array_sort),
    scalar("sort_array", shape::sort_array),
    scalar("array_distinct", shape::array_distinct),
    scalar("array_compact", shape::array_compact),
    scalar("array_union", |c| shape::set_operation(c, shape::SetOperation::Union)),
    scalar("array_intersect", |c| shape::set_operation(c, shape::SetOperation::Intersect)),
    scalar("array_except", |c| shape::set_operation(c, shape::SetOperation::Except)),
    scalar("arrays_overlap", shape::arrays_overlap),
    scalar("array_append", |c| shape::add(c, shape::Place::Back)),
    scalar("array_prepend", |c| shape::add(c, shape::Place::Front)),
    scalar("array_insert", shape::array_insert),
    scalar("array_repeat", shape::array_repeat),
    scalar("array_join", shape::array_join),
    scalar("slice", shape::slice),
    scalar("flatten", shape::flatten),
    scalar("arrays_zip", shape::arrays_zip),
    scalar("sequence", shape::sequence),
];

mod construct;
mod search;
mod shape;

pub(in crate::plan::spark) use construct::array_with;
pub(super) use construct::map_from;

const ARRAY_OR_MAP: Want = Want::OneOf(&[Want::Array, Want::Map]);

/// Whether a map is in the type somewhere.
pub(super) fn has_map(t: &DataType) -> bool {
    match t {
        DataType::Map(..) => true,
        DataType::List(item) => has_map(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|f| has_map(f.data_type())),
        _ => false,
    }
}

/// Which of the values a row's list has, `None` where the list is null.
pub(super) fn ranges(lists: &Reader<'_, ListArray>, row: usize) -> Option<std::ops::Range<usize>> {
    let row = lists.row(row);
    let offsets = lists.array().value_offsets();
    lists.array().is_valid(row).then(|| offsets[row] as usize..offsets[row + 1] as usize)
}

/// More elements than one column can hold.
pub(super) fn too_long() -> Error {
    Error::new(ErrorKind::Limit, "an array column of one batch would exceed 2147483647 elements")
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

/// Values of one type, in a form that compares as Spark orders them: nulls first, NaN last.
pub(super) struct Rows(Vec<arrow::row::Rows>);

impl Rows {
    /// The columns' values, which all have one type and are [`comparable_values`].
    pub(super) fn of(columns: &[&ArrayRef]) -> Result<Self> {
        let Some(first) = columns.first() else { return Ok(Self(Vec::new())) };
        let converter = RowConverter::new(vec![SortField::new(first.data_type().clone())]).map_err(from_arrow)?;
        let rows = columns.iter().map(|c| converter.convert_columns(&[Arc::clone(c)]).map_err(from_arrow));
        Ok(Self(rows.collect::<Result<_>>()?))
    }

    /// One value of one of the columns.
    pub(super) fn row(&self, column: usize, row: usize) -> Row<'_> {
        self.0[column].row(row)
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
        offsets.push(i32::try_from(items.len()).map_err(|_| too_long())?);
    }
    let items = arrow::compute::take(source.values(), &UInt32Array::from(items), None).map_err(from_arrow)?;
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
            return a.primitive::<Int32Type>(|row| maps.get(row).map(|entries| entries.len() as i32));
        }
        let lists = a.column::<ListArray>(0)?;
        a.primitive::<Int32Type>(|row| lists.get(row).map(|items| items.len() as i32))
    }))
}
