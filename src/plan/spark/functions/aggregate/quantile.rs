//! `percentile_approx`: percentiles from a summary that stays small (Greenwald and Khanna, "Space-efficient online computation of
//! quantile summaries"), with the steps that Spark takes, so that results are the same where batches are.
//!
//! A summary holds samples of the values in ascending order. Up to half of `accuracy` values it holds all of them and is exact;
//! beyond, a rank is wrong by at most `values / accuracy`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::scalar::ScalarValue;

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, arity, array_of, coerce_one, constant, literal, mismatch};
use super::doubles::{doubles, items, lists, span};
use super::fold::{Fold, GroupRows, paired, typed};
use super::folded;
use super::percentile::{Fractions, whole_number};
use crate::error::Result;

const VALUE: Want =
    Want::OneOf(&[Want::Numeric, Want::Date, Want::Timestamp, Want::TimestampNtz, Want::YearMonth, Want::DayTime]);

/// Without `accuracy`.
const ACCURACY: i64 = 10_000;

/// `percentile_approx(value, fractions[, accuracy])`.
pub(super) fn percentile_approx(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 3)?;
    let mut args = std::mem::take(&mut c.args).into_iter();
    let (Some(value), Some(fractions), accuracy) = (args.next(), args.next(), args.next()) else {
        return Err(crate::Error::internal("two arguments were counted"));
    };
    let value = coerce_one(&c, 0, value, &VALUE)?;
    let accuracy = accuracy.unwrap_or_else(|| literal(ScalarValue::Int64(Some(ACCURACY))));
    let accuracy = match constant(&whole_number(&c, 2, accuracy)?)? {
        None => return Err(mismatch("NON_FOLDABLE_INPUT", format!("`accuracy` of `{}` must be a constant expression", c.name))),
        Some(ScalarValue::Int64(Some(accuracy))) => accuracy,
        Some(_) => return Err(mismatch("UNEXPECTED_NULL", format!("`accuracy` of `{}` must not be null", c.name))),
    };
    let fractions = Fractions::of(&c, fractions)?;
    if !(1..=i64::from(i32::MAX)).contains(&accuracy) {
        let message = format!("`accuracy` of `{}` must be from 1 to 2147483647, not {accuracy}", c.name);
        return Err(mismatch("VALUE_OUT_OF_RANGE", message));
    }
    let item = value.data_type.clone();
    let value = if matches!(item, DataType::Decimal128(..)) { coerce_one(&c, 0, value, &Want::Double)? } else { value };
    let data_type = if fractions.listed { array_of(item.clone()) } else { item.clone() };
    folded(&mut c, "percentile_approx", Quantiles { fractions, item, accuracy }, vec![value], data_type)
}

#[derive(Debug)]
struct Quantiles {
    fractions: Fractions,
    item: DataType,
    accuracy: i64,
}

/// Values are taken in so many at a time, sorted.
const HEAD_VALUES: usize = 50_000;
/// How many samples are kept as they are.
const SAMPLES: usize = 10_000;

#[derive(Debug, Clone, Copy)]
struct Sample {
    value: f64,
    /// The least rank of this sample minus that of the one before.
    step: i64,
    /// How much greater its rank may be.
    span: i64,
}

/// A group's summary.
#[derive(Debug, Clone, Default)]
struct Summary {
    samples: Vec<Sample>,
    /// Values that the samples stand for.
    count: i64,
    /// Values that are not among them yet.
    head: Vec<f64>,
}

fn compressed(samples: &[Sample], threshold: f64) -> Vec<Sample> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Vec::new() };
    let mut kept = Vec::new();
    let mut head = *last;
    for sample in samples[1..].iter().rev().skip(1) {
        if ((sample.step + head.step + head.span) as f64) < threshold {
            head.step += sample.step;
        } else {
            kept.push(head);
            head = *sample;
        }
    }
    kept.push(head);
    // The least value always stays.
    if first.value <= head.value && samples.len() > 1 {
        kept.push(*first);
    }
    kept.reverse();
    kept
}

impl Summary {
    /// Takes the head in.
    fn settle(&mut self, error: f64) {
        if self.head.is_empty() {
            return;
        }
        self.head.sort_unstable_by(f64::total_cmp);
        let mut merged = Vec::with_capacity(self.samples.len() + self.head.len());
        let mut old = std::mem::take(&mut self.samples).into_iter().peekable();
        let last = self.head.len() - 1;
        for (place, value) in self.head.iter().enumerate() {
            while let Some(sample) = old.next_if(|sample| sample.value <= *value) {
                merged.push(sample);
            }
            self.count += 1;
            let at_an_end = merged.is_empty() || (old.peek().is_none() && place == last);
            let span = if at_an_end { 0 } else { (2.0 * error * self.count as f64).floor() as i64 };
            merged.push(Sample { value: *value, step: 1, span });
        }
        merged.extend(old);
        self.samples = merged;
        self.head.clear();
    }

    fn compress(&mut self, error: f64) {
        self.settle(error);
        self.samples = compressed(&self.samples, 2.0 * error * self.count as f64);
    }

    fn insert(&mut self, value: f64, error: f64, samples_most: usize) {
        self.head.push(value);
        if self.head.len() >= HEAD_VALUES {
            self.settle(error);
            if self.samples.len() >= SAMPLES.min(samples_most) {
                self.compress(error);
            }
        }
    }

    /// Takes another summary in; both are compressed.
    fn merge(&mut self, samples: Vec<Sample>, count: i64, error: f64) {
        if count == 0 {
            return;
        }
        if self.count == 0 {
            (self.samples, self.count) = (samples, count);
            return;
        }
        let widened = |count: i64| (2.0 * error * count as f64).floor() as i64;
        let (of_ours, of_others) = (widened(count), widened(self.count));
        let mut merged = Vec::with_capacity(self.samples.len() + samples.len());
        let (mut ours, mut others) = (0, 0);
        while let (Some(our), Some(other)) = (self.samples.get(ours), samples.get(others)) {
            if our.value < other.value {
                ours += 1;
                merged.push(Sample { span: our.span + if others > 0 { of_ours } else { 0 }, ..*our });
            } else {
                others += 1;
                merged.push(Sample { span: other.span + if ours > 0 { of_others } else { 0 }, ..*other });
            }
        }
        merged.extend_from_slice(&self.samples[ours..]);
        merged.extend_from_slice(&samples[others..]);
        self.count += count;
        self.samples = compressed(&merged, 2.0 * error * self.count as f64);
    }

    /// The values at `fractions`; the summary is compressed.
    fn query(&self, fractions: &[f64], error: f64) -> Option<Vec<f64>> {
        let (first, last) = (self.samples.first()?, self.samples.last()?);
        let within = self.samples.iter().map(|s| s.span + s.step).max().unwrap_or(0) / 2;
        let mut ascending: Vec<usize> = (0..fractions.len()).collect();
        ascending.sort_by(|a, b| fractions[*a].total_cmp(&fractions[*b]));
        let mut found = vec![0.0; fractions.len()];
        // Each search goes on where the one before ended.
        let (mut at, mut rank_least) = (0, first.step);
        for place in ascending {
            let fraction = fractions[place];
            found[place] = if fraction <= error || self.samples.len() == 1 {
                first.value
            } else if fraction >= 1.0 - error {
                last.value
            } else {
                let rank = (fraction * self.count as f64).ceil() as i64;
                loop {
                    let sample = &self.samples[at];
                    let matches = rank_least + sample.span - within <= rank && rank <= rank_least + within;
                    if matches || at + 1 == self.samples.len() {
                        break sample.value;
                    }
                    at += 1;
                    rank_least += self.samples[at].step;
                }
            };
        }
        Some(found)
    }

    fn bytes(&self) -> usize {
        self.samples.capacity() * size_of::<Sample>() + self.head.capacity() * size_of::<f64>()
    }
}

impl Quantiles {
    fn error(&self) -> f64 {
        1.0 / self.accuracy as f64
    }

    /// The cells without heads, each compressed.
    fn settled<'c>(&self, cells: &'c [Summary]) -> impl Iterator<Item = std::borrow::Cow<'c, Summary>> {
        let error = self.error();
        cells.iter().map(move |cell| {
            if cell.head.is_empty() {
                return std::borrow::Cow::Borrowed(cell);
            }
            let mut cell = cell.clone();
            cell.compress(error);
            std::borrow::Cow::Owned(cell)
        })
    }
}

impl Fold for Quantiles {
    type Cell = Summary;

    fn state_types(&self) -> Vec<DataType> {
        vec![array_of(DataType::Float64), array_of(DataType::Int64), array_of(DataType::Int64), DataType::Int64]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let column = doubles(&values[0])?;
        let (error, most) = (self.error(), usize::try_from(self.accuracy).unwrap_or(usize::MAX).saturating_mul(4));
        let mut grown = 0;
        rows.each(&column, |row, group| {
            let cell = &mut cells[group];
            let before = cell.bytes();
            cell.insert(column.value(row), error, most);
            grown += cell.bytes().saturating_sub(before);
        });
        Ok(grown)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let (values, steps, spans) =
            (typed::<ListArray>(&states[0])?, typed::<ListArray>(&states[1])?, typed::<ListArray>(&states[2])?);
        let counts = typed::<Int64Array>(&states[3])?;
        let value_items = items::<Float64Type>(values)?.values();
        let (step_items, span_items) = (items::<Int64Type>(steps)?.values(), items::<Int64Type>(spans)?.values());
        let error = self.error();
        paired("percentile_approx", values, [steps, spans])?;
        let mut grown = 0;
        rows.each(counts, |row, group| {
            let places = span(values, row).zip(span(steps, row)).zip(span(spans, row));
            let samples = places.map(|((value, step), span)| Sample {
                value: value_items[value],
                step: step_items[step],
                span: span_items[span],
            });
            let cell = &mut cells[group];
            let before = cell.bytes();
            cell.compress(error);
            cell.merge(samples.collect(), counts.value(row), error);
            grown += cell.bytes().saturating_sub(before);
        });
        Ok(grown)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        let cells: Vec<_> = self.settled(cells).collect();
        let of = |part: fn(&Sample) -> i64| lists::<Int64Type, _>(cells.iter().map(move |cell| cell.samples.iter().map(part)));
        let values = lists::<Float64Type, _>(cells.iter().map(|cell| cell.samples.iter().map(|sample| sample.value)))?;
        let counts = Int64Array::from_iter_values(cells.iter().map(|cell| cell.count));
        Ok(vec![values, of(|sample| sample.step)?, of(|sample| sample.span)?, Arc::new(counts)])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        let error = self.error();
        // No percentile of an empty array is no array, as in Spark.
        let asked = !self.fractions.values.is_empty();
        let results = self.settled(cells).map(|cell| cell.query(&self.fractions.values, error).filter(|_| asked));
        self.fractions.column(results, &self.item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(accuracy: i64) -> Quantiles {
        Quantiles { fractions: Fractions { values: vec![0.5], listed: false }, item: DataType::Float64, accuracy }
    }

    /// A shuffle of 0..count that is the same each time.
    fn values(count: u64) -> impl Iterator<Item = f64> {
        (0..count).map(move |i| ((i * 7919) % count) as f64)
    }

    fn summary(fold: &Quantiles, parts: &[Vec<f64>]) -> Summary {
        let mut merged = vec![Summary::default()];
        for part in parts {
            let groups = vec![0; part.len()];
            let mut cells = vec![Summary::default()];
            let column: ArrayRef = Arc::new(arrow::array::Float64Array::from(part.clone()));
            fold.update(&mut cells, &GroupRows::unfiltered(&groups), &[column]).unwrap();
            fold.merge(&mut merged, &GroupRows::unfiltered(&[0]), &fold.state(&cells).unwrap()).unwrap();
        }
        merged.remove(0)
    }

    #[test]
    fn ranks_of_many_values_are_within_the_error() {
        for (count, accuracy) in [(100_000_u64, 100_i64), (99_991, 1000), (120_000, 20)] {
            let fold = fold(accuracy);
            let all: Vec<f64> = values(count).collect();
            let parts: Vec<Vec<f64>> = all.chunks(30_011).map(<[f64]>::to_vec).collect();
            let summary = summary(&fold, &parts);
            assert_eq!(summary.count, count as i64);
            assert!(summary.samples.len() as i64 <= 10 * accuracy, "{} samples", summary.samples.len());
            for fraction in [0.01, 0.25, 0.5, 0.9, 0.999] {
                let found = summary.query(&[fraction], fold.error()).unwrap()[0];
                let wrong = (found - fraction * count as f64).abs();
                assert!(wrong <= count as f64 / accuracy as f64 + 1.0, "{fraction} of {count}: {found}");
            }
        }
    }

    #[test]
    fn ranks_keep_the_error_for_values_that_crowd_come_in_order_or_repeat() {
        let distributions: [fn(u64) -> f64; 4] = [
            |i| i as f64,
            |i| -(i as f64),
            |i| ((i * 7919) % 100_000) as f64 / 100_000.0 * ((i * 104_729) % 1_000) as f64,
            |i| ((i * 7919) % 10) as f64,
        ];
        for (number, value) in distributions.into_iter().enumerate() {
            for accuracy in [50_i64, 1_000, 10_000] {
                let fold = fold(accuracy);
                let mut all: Vec<f64> = (0..100_000).map(value).collect();
                let summary = summary(&fold, &all.chunks(1_009).map(<[f64]>::to_vec).collect::<Vec<_>>());
                all.sort_by(f64::total_cmp);
                for fraction in [0.001, 0.1, 0.5, 0.75, 0.99] {
                    let found = summary.query(&[fraction], fold.error()).unwrap()[0];
                    // Of equal values any rank will do.
                    let least = all.partition_point(|v| *v < found) as f64;
                    let most = all.partition_point(|v| *v <= found) as f64;
                    let (rank, error) = (fraction * 100_000.0, 100_000.0 / accuracy as f64 + 1.0);
                    assert!(least - error <= rank && rank <= most + error, "{number}, {accuracy}, {fraction}: {found}");
                }
            }
        }
    }

    #[test]
    fn a_hundred_values_are_all_kept() {
        let fold = fold(ACCURACY);
        let all: Vec<f64> = (0..100).map(f64::from).collect();
        let summary = summary(&fold, &all.chunks(7).map(<[f64]>::to_vec).collect::<Vec<_>>());
        for percent in 1..=100 {
            let found = summary.query(&[f64::from(percent) / 100.0], fold.error()).unwrap()[0];
            // 0.07 * 100 is a little more than 7, to Spark too.
            let rank = (f64::from(percent) / 100.0 * 100.0).ceil();
            assert_eq!(found, rank - 1.0, "{percent} %");
        }
    }
}
