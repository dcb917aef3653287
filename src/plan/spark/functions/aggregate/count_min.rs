//! `count_min_sketch`: counters by hash, from which a reader tells how often a value came, at most too often (Cormode and
//! Muthukrishnan, "An improved data stream summary"). The bytes are those that Spark writes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::scalar::ScalarValue;

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, arity, constant, expect_one, mismatch};
use super::super::hash::murmur3_from;
use super::super::native::{from_arrow, within_column};
use super::expression;
use super::fold::{Fold, GroupRows, damaged, typed, udaf};
use super::java::Random;
use crate::error::{Error, ErrorKind, Result};

const VALUE: Want = Want::OneOf(&[Want::Integral, Want::Text, Want::Binary, Want::Null]);
const DOUBLE: Want = Want::OneOf(&[Want::Double, Want::Null]);
const SEED: Want = Want::OneOf(&[Want::Int, Want::Long, Want::Null]);

/// More counters than this a group does not get: 8 MiB.
const COUNTERS_MOST: usize = 1 << 20;

/// `count_min_sketch(value, error, confidence, seed)`.
pub(super) fn count_min_sketch(mut c: Call<'_>) -> Result<Typed> {
    if c.args.len() < 4 {
        let message = format!("`{}` requires a value, an error, a confidence and a seed", c.name);
        return Err(Error::spark(ErrorKind::Config, "REQUIRED_PARAMETER_NOT_FOUND", message));
    }
    arity(&c, 4, 4)?;
    let mut settings = c.args.split_off(1);
    let value = c.args.remove(0);
    let value = expect_one(&c, 0, value, &VALUE)?;
    for (index, want) in [DOUBLE, DOUBLE, SEED].iter().enumerate() {
        settings[index] = expect_one(&c, index + 1, settings[index].clone(), want)?;
    }
    let mut values = Vec::new();
    for (setting, name) in settings.iter().zip(["eps", "confidence", "seed"]) {
        let Some(value) = constant(setting)? else {
            return Err(mismatch("NON_FOLDABLE_INPUT", format!("`{name}` of `{}` must be a constant expression", c.name)));
        };
        values.push(value);
    }
    let seed = match values[2] {
        ScalarValue::Int32(seed) => seed,
        // Of a long one the lower half counts.
        ScalarValue::Int64(seed) => seed.map(|seed| seed as i32),
        _ => None,
    };
    let [ScalarValue::Float64(Some(error)), ScalarValue::Float64(Some(confidence)), _] = values[..] else {
        return Err(mismatch("UNEXPECTED_NULL", format!("`eps` and `confidence` of `{}` must not be null", c.name)));
    };
    let Some(seed) = seed else {
        return Err(mismatch("UNEXPECTED_NULL", format!("`seed` of `{}` must not be null", c.name)));
    };
    if error.is_nan() || error <= 0.0 || confidence.is_nan() || confidence <= 0.0 || confidence >= 1.0 {
        let message = format!("`eps` of `{}` must be above 0, `confidence` between 0 and 1", c.name);
        return Err(mismatch("VALUE_OUT_OF_RANGE", message));
    }
    let (width, depth) = ((2.0 / error).ceil() as usize, (-(1.0 - confidence).ln() / std::f64::consts::LN_2).ceil() as usize);
    if width.saturating_mul(depth) > COUNTERS_MOST {
        let message = format!("a sketch of {depth} times {width} counters is more than {COUNTERS_MOST}: raise `eps`");
        return Err(Error::spark(ErrorKind::Config, "UNSUPPORTED_FEATURE", message));
    }
    let mut random = Random::new(seed.into());
    let factors = (0..depth).map(|_| random.below_most()).collect();
    // By its name a checkpoint knows what its sketches are.
    let name = format!("count_min_sketch[{width}, {depth}, {seed}]");
    let function = udaf(&name, CountMin { width, factors }, DataType::Binary, false);
    expression(&mut c, function, vec![value], DataType::Binary, false)
}

#[derive(Debug)]
struct CountMin {
    /// Counters in a row, at least 1.
    width: usize,
    /// Of each row, the factor of its hash.
    factors: Vec<i64>,
}

const VERSION: i32 = 1;

/// A group's rows of counters, one after the other, and how many values they count; none before the first.
#[derive(Debug, Clone, Default)]
struct Sketch {
    counters: Vec<i64>,
    total: i64,
}

impl CountMin {
    fn header_bytes(&self) -> usize {
        20 + 8 * self.factors.len()
    }

    fn bytes_of_one(&self) -> usize {
        self.header_bytes() + 8 * self.width * self.factors.len()
    }

    fn held<'c>(&self, cell: &'c mut Sketch, grown: &mut usize) -> &'c mut Sketch {
        if cell.counters.is_empty() {
            cell.counters = vec![0; self.width * self.factors.len()];
            *grown += size_of_val(cell.counters.as_slice());
        }
        cell
    }

    fn add_number(&self, cell: &mut Sketch, value: i64) {
        for (row, factor) in self.factors.iter().enumerate() {
            let mut hash = factor.wrapping_mul(value);
            hash = hash.wrapping_add(hash >> 32) & i64::from(i32::MAX);
            cell.counters[row * self.width + hash as usize % self.width] += 1;
        }
        cell.total += 1;
    }

    fn add_bytes(&self, cell: &mut Sketch, value: &[u8]) {
        let first = murmur3_from(value, 0) as i32;
        let second = murmur3_from(value, first) as i32;
        for row in 0..self.factors.len() {
            let hash = first.wrapping_add((row as i32).wrapping_mul(second)) % self.width as i32;
            cell.counters[row * self.width + hash.unsigned_abs() as usize] += 1;
        }
        cell.total += 1;
    }

    /// The header of a sketch that counts nothing.
    fn header(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.header_bytes());
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(0_i64.to_be_bytes());
        bytes.extend((self.factors.len() as i32).to_be_bytes());
        bytes.extend((self.width as i32).to_be_bytes());
        bytes.extend(self.factors.iter().flat_map(|factor| factor.to_be_bytes()));
        bytes
    }

    fn bytes(&self, cell: &Sketch) -> Vec<u8> {
        let counters = self.width * self.factors.len();
        let mut bytes = self.header();
        bytes[4..12].copy_from_slice(&cell.total.to_be_bytes());
        bytes.reserve_exact(8 * counters);
        bytes.extend(cell.counters.iter().flat_map(|counter| counter.to_be_bytes()));
        bytes.resize(self.header_bytes() + 8 * counters, 0);
        bytes
    }
}

fn number_at(bytes: &[u8], place: usize) -> i64 {
    bytes.get(place..place + 8).and_then(|b| b.try_into().ok()).map_or(0, i64::from_be_bytes)
}

impl Fold for CountMin {
    type Cell = Sketch;

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Binary]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let column = &values[0];
        let mut grown = 0;
        if matches!(column.data_type(), DataType::Utf8 | DataType::Binary) {
            let bytes = cast(column, &DataType::Binary).map_err(from_arrow)?;
            let bytes = typed::<BinaryArray>(&bytes)?;
            rows.each(bytes, |row, group| self.add_bytes(self.held(&mut cells[group], &mut grown), bytes.value(row)));
        } else {
            let numbers = cast(column, &DataType::Int64).map_err(from_arrow)?;
            let numbers = numbers.as_primitive::<Int64Type>();
            rows.each(numbers, |row, group| self.add_number(self.held(&mut cells[group], &mut grown), numbers.value(row)));
        }
        Ok(grown)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let sketches = typed::<BinaryArray>(&states[0])?;
        let (mut grown, mut odd) = (0, false);
        let header = self.header();
        rows.each(sketches, |row, group| {
            let sketch = sketches.value(row);
            if sketch.is_empty() {
                return;
            }
            let (start, counters) = sketch.split_at(sketch.len().min(self.header_bytes()));
            // The total stands in the middle of what is the same for all sketches of one shape and seed.
            let is_ours = start.len() == header.len() && start[..4] == header[..4] && start[12..] == header[12..];
            if !is_ours || counters.len() != 8 * self.width * self.factors.len() {
                odd = true;
                return;
            }
            let cell = self.held(&mut cells[group], &mut grown);
            cell.total += number_at(start, 4);
            cell.counters.iter_mut().enumerate().for_each(|(at, held)| *held += number_at(counters, 8 * at));
        });
        if odd { Err(damaged("count_min_sketch", "is of another shape or seed")) } else { Ok(grown) }
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        within_column(cells.iter().filter(|cell| !cell.counters.is_empty()).count() * self.bytes_of_one())?;
        let states = cells.iter().map(|cell| if cell.counters.is_empty() { Vec::new() } else { self.bytes(cell) });
        Ok(vec![Arc::new(BinaryArray::from_iter_values(states))])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        within_column(cells.len() * self.bytes_of_one())?;
        Ok(Arc::new(BinaryArray::from_iter_values(cells.iter().map(|cell| self.bytes(cell)))))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    fn sketch(width: usize, factors: &[i64], values: &[i64]) -> ArrayRef {
        let fold = CountMin { width, factors: factors.to_vec() };
        let mut cells = vec![Sketch::default()];
        let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        fold.update(&mut cells, &GroupRows::unfiltered(&vec![0; values.len()]), &[column]).unwrap();
        fold.state(&cells).unwrap().remove(0)
    }

    #[test]
    fn states_add_up_and_a_state_of_another_sketch_is_damaged() {
        let fold = CountMin { width: 4, factors: vec![7, 9] };
        let merged = |states: ArrayRef| -> Result<Vec<u8>> {
            let mut cells = vec![Sketch::default()];
            let ours = sketch(4, &[7, 9], &[1, 2, 2]);
            fold.merge(&mut cells, &GroupRows::unfiltered(&[0]), &[ours])?;
            fold.merge(&mut cells, &GroupRows::unfiltered(&[0]), &[states])?;
            Ok(fold.bytes(&cells[0]))
        };
        let all = sketch(4, &[7, 9], &[1, 2, 2, 3, 2]);
        assert_eq!(merged(sketch(4, &[7, 9], &[3, 2])).unwrap(), all.as_binary::<i32>().value(0));
        assert_eq!(merged(sketch(4, &[7, 9], &[])).unwrap(), sketch(4, &[7, 9], &[1, 2, 2]).as_binary::<i32>().value(0));
        for other in [sketch(4, &[7], &[1]), sketch(5, &[7, 9], &[1]), sketch(4, &[7, 8], &[1]), sketch(2, &[7, 9], &[1])] {
            assert_eq!(merged(other).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        let cut: ArrayRef = Arc::new(BinaryArray::from_iter_values([&all.as_binary::<i32>().value(0)[..30]]));
        assert_eq!(merged(cut).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
