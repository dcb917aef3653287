//! Arrays, maps and structs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type};
use arrow::row::{Row, RowConverter, SortField};

use super::super::{Call, Typed};
use super::arguments::{Want, coerce};
use super::native::{Args, Returns, call, from_arrow};
use super::{FunctionSpec, scalar};
use crate::error::{Error, ErrorKind, Result};

/// The functions of this family.
pub(super) const FUNCTIONS: &[FunctionSpec] =
    &[scalar("size", size), scalar("cardinality", size), scalar("array_size", array_size)];

const ARRAY_OR_MAP: Want = Want::OneOf(&[Want::Array, Want::Map]);

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
