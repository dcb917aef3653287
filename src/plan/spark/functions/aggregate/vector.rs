//! `vector_sum` and `vector_avg`: vectors of FLOAT, added up or averaged element by element, in single precision as Spark does.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float32Array, Int64Array, ListArray};
use arrow::datatypes::{DataType, Float32Type};

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, arity, array_of, data_error, expect_one};
use super::super::collection::list_of;
use super::doubles::{items, offsets, span};
use super::fold::{Fold, GroupRows, typed};
use super::folded;
use crate::error::Result;

const VECTOR: Want = Want::ArrayOf(&Want::Float);

/// `vector_sum(vector)`, or `vector_avg(vector)`.
pub(super) fn vector(mut c: Call<'_>, name: &'static str, mean: bool) -> Result<Typed> {
    arity(&c, 1, 1)?;
    let arg = c.args.remove(0);
    let arg = expect_one(&c, 0, arg, &VECTOR)?;
    folded(&mut c, name, Vectors { name, mean }, vec![arg], array_of(DataType::Float32))
}

#[derive(Debug)]
struct Vectors {
    name: &'static str,
    mean: bool,
}

/// A group's sum or mean, and of how many vectors.
#[derive(Debug, Clone, Default)]
struct Vector {
    elements: Vec<f32>,
    count: i64,
}

impl Vectors {
    /// Takes a vector in, or a state's that stands for `stored`; gives the bytes the cell grew by.
    fn take(&self, cell: &mut Vector, elements: &[f32], stored: Option<i64>) -> Result<usize> {
        let count = stored.unwrap_or(1);
        if cell.count == 0 {
            *cell = Vector { elements: elements.to_vec(), count };
            return Ok(size_of_val(elements));
        }
        if cell.elements.len() != elements.len() {
            return Err(data_error(
                "VECTOR_DIMENSION_MISMATCH",
                format!("`{}` takes vectors of one length, not of {} and {}", self.name, cell.elements.len(), elements.len()),
            ));
        }
        let before = cell.count;
        cell.count += count;
        let pairs = cell.elements.iter_mut().zip(elements);
        if !self.mean {
            pairs.for_each(|(held, element)| *held += element);
        } else if stored.is_none() {
            let share = 1.0 / cell.count as f32;
            pairs.for_each(|(held, element)| *held += (element - *held) * share);
        } else {
            let (held_share, share) = (before as f32 / cell.count as f32, count as f32 / cell.count as f32);
            pairs.for_each(|(held, element)| *held = *held * held_share + element * share);
        }
        Ok(0)
    }
}

impl Fold for Vectors {
    type Cell = Vector;

    fn state_types(&self) -> Vec<DataType> {
        vec![array_of(DataType::Float32), DataType::Int64]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let vectors = typed::<ListArray>(&values[0])?;
        let elements = items::<Float32Type>(vectors)?;
        let mut grown = Ok(0);
        rows.each(vectors, |row, group| {
            let span = span(vectors, row);
            // A vector with a null counts as none.
            if elements.null_count() > 0 && span.clone().any(|at| elements.is_null(at)) {
                return;
            }
            if let Ok(bytes) = &mut grown {
                match self.take(&mut cells[group], &elements.values()[span], None) {
                    Ok(more) => *bytes += more,
                    Err(error) => grown = Err(error),
                }
            }
        });
        grown
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let (vectors, counts) = (typed::<ListArray>(&states[0])?, typed::<Int64Array>(&states[1])?);
        let elements = items::<Float32Type>(vectors)?.values();
        let mut grown = Ok(0);
        rows.each(counts, |row, group| {
            if let Ok(bytes) = &mut grown
                && counts.value(row) > 0
            {
                match self.take(&mut cells[group], &elements[span(vectors, row)], Some(counts.value(row))) {
                    Ok(more) => *bytes += more,
                    Err(error) => grown = Err(error),
                }
            }
        });
        grown
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        let counts = Int64Array::from_iter_values(cells.iter().map(|cell| cell.count));
        Ok(vec![vectors(cells, None)?, Arc::new(counts)])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        vectors(cells, Some(cells.iter().map(|cell| cell.count > 0).collect()))
    }
}

fn vectors(cells: &[Vector], valid: Option<Vec<bool>>) -> Result<ArrayRef> {
    let elements = Float32Array::from_iter_values(cells.iter().flat_map(|cell| cell.elements.iter().copied()));
    let offsets = offsets(cells.iter().map(|cell| cell.elements.len()))?;
    list_of(&array_of(DataType::Float32), offsets, Arc::new(elements), valid)
}
