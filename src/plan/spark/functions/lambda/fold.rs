//! `aggregate`: a state that takes up one element after the other, of all rows at once.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};

use super::super::native::from_arrow;
use super::elements::{Elements, Input, joined};
use crate::error::{Error, Result};

/// `aggregate(list, start, (state, x) -> …[, state -> …])`.
///
/// Rows are put in the order of their lengths, so that those that still have an element are always the first ones.
pub(super) fn aggregate(input: &Input<'_>) -> Result<ArrayRef> {
    let elements = Elements::of(&input.values[0], input.rows)?;
    let values = input.values[0].0.as_list::<i32>().values();
    let is_valid = |row: u32| elements.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row as usize));
    let length = |row: u32| elements.lengths[row as usize];
    let mut order: Vec<u32> = (0..input.rows as u32).filter(|row| is_valid(*row)).collect();
    if order.is_empty() {
        return Ok(new_null_array(input.returns, input.rows));
    }
    order.sort_by_key(|row| std::cmp::Reverse(length(*row)));

    let merge = &input.bodies[0];
    let rows = UInt32Array::from(order.clone());
    let captured = merge.of_rows(&rows)?;
    let (start, constant) = &input.values[1];
    let starts = if *constant { UInt32Array::from_value(0, order.len()) } else { rows.clone() };
    let state_type = as_nullable(start.data_type());
    let mut state = retyped(&take(start, &starts, None).map_err(from_arrow)?, &state_type)?;
    let mut finished = Vec::new();
    for position in 0.. {
        let active = order.partition_point(|row| length(*row) > position);
        if active < state.len() {
            finished.push(state.slice(active, state.len() - active));
            state = state.slice(0, active);
        }
        if active == 0 {
            break;
        }
        let items: Vec<u32> = order[..active].iter().map(|row| elements.index(*row as usize, position)).collect();
        let items = UInt32Array::from(items);
        let captured: Vec<ArrayRef> = captured.iter().map(|column| column.slice(0, active)).collect();
        let next = merge.run(active, &captured, |variable| match variable {
            0 => Ok(Arc::clone(&state)),
            _ => take(values, &items, None).map_err(from_arrow),
        })?;
        state = retyped(&next, &state_type)?;
    }
    finished.reverse();
    let mut result = joined(finished, &state_type)?;
    if let Some(finish) = input.bodies.get(1) {
        let captured = finish.of_rows(&rows)?;
        result = finish.run(order.len(), &captured, |_| Ok(Arc::clone(&result)))?;
    }
    let mut places = vec![None; input.rows];
    for (place, row) in order.iter().enumerate() {
        places[*row as usize] = Some(place as u32);
    }
    take(&result, &UInt32Array::from(places), None).map_err(from_arrow)
}

/// The type with everything in it nullable that can be.
pub(super) fn as_nullable(data_type: &DataType) -> DataType {
    let nullable = |field: &FieldRef| Arc::new(Field::new(field.name(), as_nullable(field.data_type()), true));
    match data_type {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(nullable).collect()),
        DataType::List(item) => DataType::List(nullable(item)),
        DataType::Map(entries, sorted) => {
            let DataType::Struct(fields) = entries.data_type() else { return data_type.clone() };
            let inner = fields.iter().map(|field| Field::new(field.name(), as_nullable(field.data_type()), field.is_nullable()));
            let entries = Field::new(entries.name(), DataType::Struct(inner.collect::<Fields>()), false);
            DataType::Map(Arc::new(entries), *sorted)
        }
        simple => simple.clone(),
    }
}

/// The same values under a type of the same structure.
fn retyped(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    Ok(match to {
        DataType::Struct(fields) if !fields.is_empty() => {
            let old = array.as_struct();
            let columns = old.columns().iter().zip(fields).map(|(column, field)| retyped(column, field.data_type()));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, old.nulls().cloned()).map_err(from_arrow)?)
        }
        DataType::List(item) => {
            let old = array.as_list::<i32>();
            let values = retyped(old.values(), item.data_type())?;
            let (offsets, nulls) = (old.offsets().clone(), old.nulls().cloned());
            Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, nulls).map_err(from_arrow)?)
        }
        DataType::Map(entries, sorted) => {
            let old = array.as_map();
            let whole: ArrayRef = Arc::new(old.entries().clone());
            let whole = retyped(&whole, entries.data_type())?.as_struct().clone();
            let (offsets, nulls) = (old.offsets().clone(), old.nulls().cloned());
            Arc::new(MapArray::try_new(Arc::clone(entries), offsets, whole, nulls, *sorted).map_err(from_arrow)?)
        }
        other => return Err(Error::internal(format!("{} became {other}", array.data_type()))),
    })
}
