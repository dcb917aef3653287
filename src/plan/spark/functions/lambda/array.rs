//! Arrays from arrays, element by element, and tests of all elements.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, ListArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;

use super::super::native::{from_arrow, repeated};
use super::elements::{Elements, Input, offsets};
use crate::error::{Error, Result};

/// The item type of the result.
fn item_field(input: &Input<'_>) -> Result<arrow::datatypes::FieldRef> {
    match input.returns {
        DataType::List(field) => Ok(Arc::clone(field)),
        other => Err(Error::internal(format!("{other} is not an array"))),
    }
}

/// `transform(list, x -> …)`.
pub(super) fn transform(input: &Input<'_>) -> Result<ArrayRef> {
    let (elements, field) = (Elements::of(&input.values[0], input.rows)?, item_field(input)?);
    let values = input.values[0].0.as_list::<i32>().values();
    // Counted first: what would not fit is not computed.
    let offsets = elements.offsets()?;
    let items = input.bodies[0].all(&elements.lengths, field.data_type(), |variable, chunk| match variable {
        0 => elements.pick(values, chunk),
        _ => Ok(chunk.positions()),
    })?;
    Ok(Arc::new(ListArray::try_new(field, offsets, items, elements.nulls).map_err(from_arrow)?))
}

/// `filter(list, x -> …)`.
pub(super) fn filter(input: &Input<'_>) -> Result<ArrayRef> {
    let (elements, field) = (Elements::of(&input.values[0], input.rows)?, item_field(input)?);
    let values = input.values[0].0.as_list::<i32>().values();
    let (mut kept, mut lengths) = (Vec::new(), vec![0; input.rows]);
    let variable = |variable: usize, chunk: &super::elements::Chunk<'_>| match variable {
        0 => elements.pick(values, chunk),
        _ => Ok(chunk.positions()),
    };
    input.bodies[0].each(&elements.lengths, variable, |chunk, found| {
        let found = found.as_boolean();
        let mut place = 0;
        chunk.for_each(|row, position| {
            if found.is_valid(place) && found.value(place) {
                kept.push(elements.index(row, position));
                lengths[row] += 1;
            }
            place += 1;
        });
        Ok(())
    })?;
    let offsets = offsets(lengths)?;
    let items = repeated(values, &UInt32Array::from(kept))?;
    Ok(Arc::new(ListArray::try_new(field, offsets, items, elements.nulls).map_err(from_arrow)?))
}

/// What is asked of all elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    /// Whether one passes.
    Exists,
    /// Whether none fails.
    ForAll,
}

/// What is known of a row: decided, or a null was among the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    Null,
    Decided,
}

impl Known {
    /// With one more answer; an answer of `decisive` decides.
    fn and(self, answers: &BooleanArray, at: usize, decisive: bool) -> Self {
        match self {
            Self::Decided => self,
            _ if answers.is_null(at) => Self::Null,
            _ if answers.value(at) == decisive => Self::Decided,
            _ => self,
        }
    }
}

/// `exists(list, x -> …)` and `forall(list, x -> …)`, in three-valued logic.
pub(super) fn test(input: &Input<'_>, test: Test) -> Result<ArrayRef> {
    let elements = Elements::of(&input.values[0], input.rows)?;
    let values = input.values[0].0.as_list::<i32>().values();
    let decisive = test == Test::Exists;
    let mut known = vec![Known::Nothing; input.rows];
    let evaluated = input.bodies[0].each(
        &elements.lengths,
        |_, chunk| elements.pick(values, chunk),
        |chunk, answers| {
            let answers = answers.as_boolean();
            let mut place = 0;
            chunk.for_each(|row, _| {
                known[row] = known[row].and(answers, place, decisive);
                place += 1;
            });
            Ok(())
        },
    );
    if evaluated.is_err() {
        // Perhaps an element failed that lies behind the one that decides.
        known = step_by_step(input, &elements, decisive)?;
    }
    let mut result = BooleanBuilder::with_capacity(input.rows);
    for (row, known) in known.into_iter().enumerate() {
        match known {
            _ if elements.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) => result.append_null(),
            Known::Null => result.append_null(),
            Known::Decided => result.append_value(decisive),
            Known::Nothing => result.append_value(!decisive),
        }
    }
    Ok(Arc::new(result.finish()))
}

/// The first elements of all rows, then the second ones of those that are not decided, ….
fn step_by_step(input: &Input<'_>, elements: &Elements<'_>, decisive: bool) -> Result<Vec<Known>> {
    let values = input.values[0].0.as_list::<i32>().values();
    let body = &input.bodies[0];
    let mut known = vec![Known::Nothing; input.rows];
    let mut open: Vec<u32> = (0..input.rows as u32).collect();
    for position in 0.. {
        open.retain(|row| known[*row as usize] != Known::Decided && elements.lengths[*row as usize] > position);
        if open.is_empty() {
            break;
        }
        let rows = UInt32Array::from(open.clone());
        let items: UInt32Array = open.iter().map(|row| elements.index(*row as usize, position)).collect::<Vec<_>>().into();
        let captured = body.of_rows(&rows)?;
        let answers = body.run(open.len(), &captured, |_| take(values, &items, None).map_err(from_arrow))?;
        let answers = answers.as_boolean();
        for (place, row) in open.iter().enumerate() {
            known[*row as usize] = known[*row as usize].and(answers, place, decisive);
        }
    }
    Ok(known)
}

/// `zip_with(left, right, (x, y) -> …)`; the shorter one goes on with nulls.
pub(super) fn zip_with(input: &Input<'_>) -> Result<ArrayRef> {
    let field = item_field(input)?;
    let sides = [Elements::of(&input.values[0], input.rows)?, Elements::of(&input.values[1], input.rows)?];
    let nulls = arrow::buffer::NullBuffer::union(sides[0].nulls.as_ref(), sides[1].nulls.as_ref());
    let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
    let longer = |row: usize| if is_null(row) { 0 } else { sides[0].lengths[row].max(sides[1].lengths[row]) };
    let lengths: Vec<u32> = (0..input.rows).map(longer).collect();
    let offsets = offsets(lengths.iter().copied())?;
    let items = input.bodies[0].all(&lengths, field.data_type(), |variable, chunk| {
        let side = &sides[variable];
        let mut indices = Vec::with_capacity(chunk.count);
        chunk.for_each(|row, position| indices.push((position < side.lengths[row]).then(|| side.index(row, position))));
        let values = input.values[variable].0.as_list::<i32>().values();
        take(values, &UInt32Array::from(indices), None).map_err(from_arrow)
    })?;
    Ok(Arc::new(ListArray::try_new(field, offsets, items, nulls).map_err(from_arrow)?))
}
