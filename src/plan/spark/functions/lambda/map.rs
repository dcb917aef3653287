//! Maps from maps, entry by entry.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, MapArray, StructArray, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::DataType;

use super::super::collection::{Rows, comparable_values, map_from};
use super::super::native::{from_arrow, interleaved, repeated};
use super::elements::{Chunk, Elements, Input, offsets};
use crate::error::{Error, Result};

/// The maps of a column and where their entries are.
struct Maps<'a> {
    map: &'a MapArray,
    entries: Elements<'a>,
}

impl<'a> Maps<'a> {
    fn of(input: &'a Input<'_>, index: usize) -> Result<Self> {
        Ok(Self { map: input.values[index].0.as_map(), entries: Elements::of(&input.values[index], input.rows)? })
    }

    /// Keys (0) or values (1) of a chunk.
    fn pick(&self, column: usize, chunk: &Chunk<'_>) -> Result<ArrayRef> {
        self.entries.pick(self.map.entries().column(column), chunk)
    }

    fn flattened(&self, column: usize) -> Result<ArrayRef> {
        self.entries.flattened(self.map.entries().column(column))
    }
}

/// A column of maps whose keys are known to be different and not null.
fn made(
    input: &Input<'_>,
    offsets: OffsetBuffer<i32>,
    keys: ArrayRef,
    values: ArrayRef,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let DataType::Map(entries, sorted) = input.returns else { return Err(Error::internal("the result is not a map")) };
    let DataType::Struct(fields) = entries.data_type() else { return Err(Error::internal("a map has entries")) };
    let whole = StructArray::try_new(fields.clone(), vec![keys, values], None).map_err(from_arrow)?;
    Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, whole, nulls, *sorted).map_err(from_arrow)?))
}

/// Type of the result's keys (0) or values (1).
fn part<'a>(input: &Input<'a>, column: usize) -> &'a DataType {
    match input.returns {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => fields.get(column).map_or(&DataType::Null, |field| field.data_type()),
            _ => &DataType::Null,
        },
        _ => &DataType::Null,
    }
}

/// `map_filter(map, (k, v) -> …)`.
pub(super) fn filter(input: &Input<'_>) -> Result<ArrayRef> {
    let maps = Maps::of(input, 0)?;
    let (mut kept, mut lengths) = (Vec::new(), vec![0; input.rows]);
    input.bodies[0].each(
        &maps.entries.lengths,
        |variable, chunk| maps.pick(variable, chunk),
        |chunk, found| {
            let found = found.as_boolean();
            let mut place = 0;
            chunk.for_each(|row, position| {
                if found.is_valid(place) && found.value(place) {
                    kept.push(maps.entries.index(row, position));
                    lengths[row] += 1;
                }
                place += 1;
            });
            Ok(())
        },
    )?;
    let kept = UInt32Array::from(kept);
    let picked = |column: usize| repeated(maps.map.entries().column(column), &kept);
    made(input, offsets(lengths)?, picked(0)?, picked(1)?, maps.entries.nulls.clone())
}

/// `transform_values(map, (k, v) -> …)`.
pub(super) fn transform_values(input: &Input<'_>) -> Result<ArrayRef> {
    let maps = Maps::of(input, 0)?;
    let offsets = maps.entries.offsets()?;
    let values = input.bodies[0].all(&maps.entries.lengths, part(input, 1), |column, chunk| maps.pick(column, chunk))?;
    made(input, offsets, maps.flattened(0)?, values, maps.entries.nulls.clone())
}

/// `transform_keys(map, (k, v) -> …)`; fails where a new key is null or stands twice.
pub(super) fn transform_keys(input: &Input<'_>) -> Result<ArrayRef> {
    let maps = Maps::of(input, 0)?;
    let offsets = maps.entries.offsets()?;
    let keys = input.bodies[0].all(&maps.entries.lengths, part(input, 0), |column, chunk| maps.pick(column, chunk))?;
    let valid = maps.entries.nulls.as_ref().map(|nulls| nulls.iter().collect());
    map_from(input.returns, offsets.to_vec(), keys, maps.flattened(1)?, valid)
}

/// `map_zip_with(left, right, (k, x, y) -> …)`: the keys of the left map, then those that only the right one has.
pub(super) fn zip_with(input: &Input<'_>) -> Result<ArrayRef> {
    let sides = [Maps::of(input, 0)?, Maps::of(input, 1)?];
    let keys = [comparable_values(sides[0].map.keys())?, comparable_values(sides[1].map.keys())?];
    let rows = Rows::of(&[&keys[0], &keys[1]])?;
    let nulls = NullBuffer::union(sides[0].entries.nulls.as_ref(), sides[1].entries.nulls.as_ref());
    // Per entry of the result, where its key, left and right value are.
    let (mut entries, mut ends) = (Vec::<[Option<u32>; 2]>::new(), Vec::with_capacity(input.rows + 1));
    let mut places = HashMap::new();
    let mut lengths = Vec::with_capacity(input.rows);
    for row in 0..input.rows {
        let begin = entries.len();
        ends.push(begin);
        places.clear();
        if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
            for (which, side) in sides.iter().enumerate() {
                for position in 0..side.entries.lengths[row] {
                    let index = side.entries.index(row, position);
                    let place = *places.entry(rows.row(which, index as usize)).or_insert_with(|| {
                        entries.push([None; 2]);
                        entries.len() - 1
                    });
                    // Of a key that stands twice in a map only the first counts.
                    entries[place][which].get_or_insert(index);
                }
            }
        }
        lengths.push(u32::try_from(entries.len() - begin).map_err(|_| super::super::collection::too_long())?);
    }
    let offsets = offsets(lengths.iter().copied())?;
    let key_of = |entry: &[Option<u32>; 2]| match entry {
        [Some(left), _] => (0, *left as usize),
        [None, right] => (1, right.unwrap_or_default() as usize),
    };
    // Floating keys come out as they are compared: `-0.0` as `0.0`.
    let sources = match keys[0].data_type() {
        DataType::Float32 | DataType::Float64 => [&keys[0], &keys[1]],
        _ => [sides[0].map.keys(), sides[1].map.keys()],
    };
    let key_indices: Vec<(usize, usize)> = entries.iter().map(key_of).collect();
    let all_keys = interleaved(&[sources[0].as_ref(), sources[1].as_ref()], &key_indices)?;
    let values = input.bodies[0].all(&lengths, part(input, 1), |variable, chunk| {
        let mut places = Vec::with_capacity(chunk.count);
        chunk.for_each(|row, position| places.push(ends[row] + position as usize));
        if variable == 0 {
            let indices: UInt32Array = places.iter().map(|place| *place as u32).collect::<Vec<_>>().into();
            return take(&all_keys, &indices, None).map_err(from_arrow);
        }
        let side = variable - 1;
        let indices: UInt32Array = places.iter().map(|place| entries[*place][side]).collect();
        take(sides[side].map.values(), &indices, None).map_err(from_arrow)
    })?;
    made(input, offsets, all_keys, values, nulls)
}
