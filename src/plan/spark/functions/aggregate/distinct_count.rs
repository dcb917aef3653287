//! `approx_count_distinct`: HyperLogLog++ over XXH64, with Spark's registers.
//!
//! Up to the cardinality where HyperLogLog++ leaves linear counting (400 at the default precision) the result is Spark's to the last
//! digit. Beyond it Spark corrects its estimate by tables of measured bias, and we use an estimator that has no bias to correct
//! (Ertl, "New cardinality estimation algorithms for HyperLogLog sketches"): as near to the truth, but not the same number.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array};
use arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;

use super::super::super::{Call, Typed};
use super::super::arguments::arity;
use super::super::hash::xxhash64;
use super::super::native::within_column;
use super::expression;
use super::fold::{Fold, GroupRows, damaged, typed, udaf};
use crate::error::{Error, ErrorKind, Result};

/// `approx_count_distinct(value[, relative standard deviation])`.
pub(super) fn approx_count_distinct(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 2)?;
    let mut args = std::mem::take(&mut c.args);
    let deviation = if args.len() == 2 { literal_deviation(&args.remove(1))? } else { 0.05 };
    let precision = (2.0 * (1.106 / deviation).ln() / std::f64::consts::LN_2).ceil();
    let refused = |condition: Option<&'static str>, bound| {
        let message = format!("a relative standard deviation of {deviation} is not supported: it must be {bound}");
        Err(match condition {
            Some(condition) => Error::spark(ErrorKind::Config, condition, message),
            None => Error::config(message),
        })
    };
    if precision.is_nan() || precision < 4.0 {
        return refused(Some("FAILED_FUNCTION_CALL"), "above 0 and at most 0.39");
    }
    if precision > 18.0 {
        return refused(None, "at least 0.0022");
    }
    // By its name a checkpoint knows the size of its sketches.
    let name = match precision as u32 {
        9 => "approx_count_distinct".to_owned(),
        precision => format!("approx_count_distinct[{precision}]"),
    };
    let function = udaf(&name, Sketch { precision: precision as u32 }, DataType::Int64, false);
    expression(&mut c, function, args, DataType::Int64, false)
}

/// A literal DOUBLE or DECIMAL; Spark has no public name for the error of anything else.
fn literal_deviation(argument: &Typed) -> Result<f64> {
    match &argument.expr {
        Expr::Literal(ScalarValue::Float64(Some(deviation)), _) => Ok(*deviation),
        Expr::Literal(ScalarValue::Decimal128(Some(unscaled), _, scale), _) => {
            Ok(*unscaled as f64 / 10_f64.powi(i32::from(*scale)))
        }
        _ => {
            let message = "the second argument of `approx_count_distinct` must be a literal of a double";
            Err(Error::spark(ErrorKind::Config, "_LEGACY_ERROR_TEMP_1104", message))
        }
    }
}

#[derive(Debug)]
struct Sketch {
    /// Registers are 2^precision, 4 to 18.
    precision: u32,
}

/// Where linear counting ends, by precision from 4.
const THRESHOLDS: [f64; 15] =
    [10.0, 20.0, 40.0, 80.0, 220.0, 400.0, 900.0, 1800.0, 3100.0, 6500.0, 11500.0, 20000.0, 50000.0, 120_000.0, 350_000.0];

impl Sketch {
    fn registers(&self) -> usize {
        1 << self.precision
    }

    /// The cell's registers, made when the first value comes, and how many bytes that took.
    fn held<'c>(&self, cell: &'c mut Vec<u8>) -> (&'c mut [u8], usize) {
        let grown = if cell.is_empty() { self.registers() } else { 0 };
        cell.resize(self.registers(), 0);
        (cell, grown)
    }

    fn estimate(&self, registers: &[u8]) -> i64 {
        if registers.is_empty() {
            return 0;
        }
        let m = registers.len() as f64;
        let empty = registers.iter().filter(|r| **r == 0).count();
        if empty > 0 {
            let linear = m * (m / empty as f64).ln();
            if linear <= THRESHOLDS[self.precision as usize - 4] {
                return linear.round() as i64;
            }
        }
        let longest = 64 - self.precision as usize;
        let mut counts = vec![0_u32; longest + 2];
        for register in registers {
            counts[usize::from(*register).min(longest + 1)] += 1;
        }
        let mut z = m * tau(1.0 - f64::from(counts[longest + 1]) / m);
        for count in counts[1..=longest].iter().rev() {
            z = 0.5 * (z + f64::from(*count));
        }
        z += m * sigma(f64::from(counts[0]) / m);
        (m * m / (2.0 * std::f64::consts::LN_2 * z)).round() as i64
    }
}

/// The weight of registers that are empty.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// The weight of registers that are full.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

impl Fold for Sketch {
    type Cell = Vec<u8>;

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Binary]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let hashes = xxhash64(&values[0])?;
        let mut grown = 0;
        rows.each(values[0].as_ref(), |row, group| {
            let (registers, bytes) = self.held(&mut cells[group]);
            grown += bytes;
            let hash = hashes[row] as u64;
            let index = (hash >> (64 - self.precision)) as usize;
            // The place of the first one among the bits that are left; the padding ends a run of zeros.
            let rest = (hash << self.precision) | (1 << (self.precision - 1));
            registers[index] = registers[index].max(rest.leading_zeros() as u8 + 1);
        });
        Ok(grown)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let sketches = typed::<BinaryArray>(&states[0])?;
        let (mut grown, mut odd) = (0, None);
        rows.each(sketches, |row, group| match sketches.value(row) {
            [] => {}
            sketch if sketch.len() == self.registers() => {
                let (registers, bytes) = self.held(&mut cells[group]);
                grown += bytes;
                registers.iter_mut().zip(sketch).for_each(|(held, other)| *held = (*held).max(*other));
            }
            sketch => odd = Some(sketch.len()),
        });
        let refused = |bytes| damaged("approx_count_distinct", format!("has {bytes} registers, not {}", self.registers()));
        odd.map_or(Ok(grown), |bytes| Err(refused(bytes)))
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        within_column(cells.iter().map(Vec::len).sum())?;
        Ok(vec![Arc::new(BinaryArray::from_iter_values(cells.iter().map(Vec::as_slice)))])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from_iter_values(cells.iter().map(|cell| self.estimate(cell)))))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;

    use super::*;

    fn estimate_of(values: impl Iterator<Item = i64>) -> i64 {
        let sketch = Sketch { precision: 9 };
        let column: ArrayRef = Arc::new(values.collect::<Int64Array>());
        let groups = vec![0; column.len()];
        let mut cells = vec![Vec::new()];
        sketch.update(&mut cells, &GroupRows::unfiltered(&groups), &[column]).unwrap();
        sketch.estimate(&cells[0])
    }

    #[test]
    fn small_counts_are_those_of_spark() {
        assert_eq!(estimate_of(0..100), 103);
        assert_eq!(estimate_of(0..300), 296);
        assert_eq!(estimate_of((0..350).map(|i| i * 7919)), 324);
    }

    #[test]
    fn large_counts_stay_within_three_deviations() {
        for count in [1_000_i64, 2_500, 20_000, 300_000] {
            let estimate = estimate_of((0..count).map(|i| i * 7919));
            assert!((estimate - count).abs() * 100 < count * 15, "{count}: {estimate}");
        }
    }

    #[test]
    fn every_precision_keeps_its_error_after_merging_many_batches() {
        for deviation in [0.3, 0.1, 0.05, 0.02, 0.01] {
            let sketch = Sketch { precision: (2.0 * f64::ln(1.106 / deviation) / std::f64::consts::LN_2).ceil() as u32 };
            // All different, each three times, and most of them few.
            for (count, value) in [
                (100_000_i64, (|i| i) as fn(i64) -> i64),
                (33_334, |i| i / 3 * 1_000_003),
                (1_000, |i| if i % 100 == 0 { i } else { 7 }),
            ] {
                let mut merged = vec![Vec::new()];
                for start in (0..100_000).step_by(8_192) {
                    let part: Int64Array = (start..(start + 8_192).min(100_000)).map(value).collect();
                    let (groups, mut cells) = (vec![0; part.len()], vec![Vec::new()]);
                    sketch.update(&mut cells, &GroupRows::unfiltered(&groups), &[Arc::new(part) as ArrayRef]).unwrap();
                    sketch.merge(&mut merged, &GroupRows::unfiltered(&[0]), &sketch.state(&cells).unwrap()).unwrap();
                }
                let (estimate, exact) = (sketch.estimate(&merged[0]), count + i64::from(count == 1_000));
                let off = (estimate - exact).abs() as f64 / exact as f64;
                assert!(off <= 3.0 * deviation, "{deviation}: {estimate} instead of {exact}");
            }
        }
    }

    #[test]
    fn a_state_of_another_size_is_damaged() {
        let merge = |bytes: &[u8]| {
            let states: ArrayRef = Arc::new(BinaryArray::from_iter_values([bytes]));
            Sketch { precision: 9 }.merge(&mut [Vec::new()], &GroupRows::unfiltered(&[0]), &[states])
        };
        assert_eq!(merge(&[]).unwrap(), 0);
        assert_eq!(merge(&[1; 512]).unwrap(), 512);
        for size in [1, 256, 511, 513, 1024] {
            assert_eq!(merge(&vec![1; size]).unwrap_err().kind(), ErrorKind::Corrupt, "{size}");
        }
    }

    #[test]
    fn merged_sketches_are_the_sketch_of_all() {
        let sketch = Sketch { precision: 9 };
        let column = |from: i64, to: i64| -> ArrayRef { Arc::new((from..to).collect::<Int64Array>()) };
        let (left, right, all) = (column(0, 700), column(500, 1500), column(0, 1500));
        let groups = vec![0; 1500];
        let mut parts = [Vec::new(), Vec::new(), Vec::new()];
        for (cell, column) in parts.iter_mut().zip([&left, &right, &all]) {
            let rows = GroupRows::unfiltered(&groups[..column.len()]);
            sketch.update(std::slice::from_mut(cell), &rows, &[Arc::clone(column)]).unwrap();
        }
        let states = sketch.state(&parts[..2]).unwrap();
        let mut merged = vec![Vec::new()];
        sketch.merge(&mut merged, &GroupRows::unfiltered(&[0, 0]), &states).unwrap();
        assert_eq!(merged[0], parts[2]);
    }
}
