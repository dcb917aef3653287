//! Exact percentiles: `percentile`, `median`, `percentile_cont`, `percentile_disc`.
//!
//! A group keeps its values in ascending order, each with how often it came, so that a batch adds what is new to it and little has
//! to be sorted for a result. It grows with the number of different values.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, ListArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use datafusion::scalar::ScalarValue;

use super::super::super::{Call, Typed};
use super::super::arguments::{
    Want, arity, array_of, coerce_one, constant, data_error, expect_one, item_of, mismatch, unexpected_type,
};
use super::doubles::{doubles, from_doubles, items, lists, span};
use super::fold::{Fold, GroupRows, paired, typed};
use super::folded;
use super::within::only_key;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::types::sql_name;

const VALUE: Want = Want::OneOf(&[Want::Numeric, Want::YearMonth, Want::DayTime]);

/// `percentile(value, fractions[, frequency])`.
pub(super) fn percentile(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 3)?;
    let mut args = std::mem::take(&mut c.args).into_iter();
    let (Some(value), Some(fractions), frequency) = (args.next(), args.next(), args.next()) else {
        return Err(crate::Error::internal("two arguments were counted"));
    };
    let value = value_of(&c, value)?;
    let fractions = Fractions::of(&c, fractions)?;
    let mut columns = vec![value];
    if let Some(frequency) = frequency {
        columns.push(whole_number(&c, 2, frequency)?);
    }
    build(c, "percentile", fractions, Rank::Between, false, columns)
}

/// `median(value)`.
pub(super) fn median(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 1)?;
    let value = value_of(&c, c.args[0].clone())?;
    c.args.clear();
    let fractions = Fractions { values: vec![0.5], listed: false };
    build(c, "median", fractions, Rank::Between, false, vec![value])
}

/// `percentile_cont(fractions) WITHIN GROUP (ORDER BY value)` and `percentile_disc(…) …`.
pub(super) fn within_group(mut c: Call<'_>, rank: Rank) -> Result<Typed> {
    arity(&c, 1, 1)?;
    let key = only_key(&mut c)?;
    let fractions = c.args.remove(0);
    let value = value_of(&c, key.value)?;
    let fractions = Fractions::of(&c, fractions)?;
    let name = if rank == Rank::Between { "percentile_cont" } else { "percentile_disc" };
    build(c, name, fractions, rank, key.descending, vec![value])
}

fn build(mut c: Call<'_>, name: &str, fractions: Fractions, rank: Rank, descending: bool, columns: Vec<Typed>) -> Result<Typed> {
    let item = match &columns[0].data_type {
        DataType::Duration(_) => DataType::Duration(TimeUnit::Microsecond),
        other => other.clone(),
    };
    let data_type = if fractions.listed { array_of(item.clone()) } else { item.clone() };
    folded(&mut c, name, Percentiles { fractions, rank, descending, item }, columns, data_type)
}

/// Argument `index`, a whole number or null, as BIGINT.
pub(super) fn whole_number(c: &Call<'_>, index: usize, argument: Typed) -> Result<Typed> {
    let argument = if argument.data_type == DataType::Null { argument } else { expect_one(c, index, argument, &Want::Integral)? };
    coerce_one(c, index, argument, &Want::Long)
}

/// The argument whose percentile is asked for: numbers as doubles, intervals as they are.
fn value_of(c: &Call<'_>, value: Typed) -> Result<Typed> {
    if matches!(value.data_type, DataType::Date32 | DataType::Timestamp(..)) {
        let message = format!("`{}` takes numbers and intervals, not {}", c.name, sql_name(&value.data_type));
        return Err(Error::spark(ErrorKind::Config, "UNSUPPORTED_TIME_TYPE", message));
    }
    let value = coerce_one(c, 0, value, &VALUE)?;
    if Want::Numeric.accepts(&value.data_type) { coerce_one(c, 0, value, &Want::Double) } else { Ok(value) }
}

/// Which percentiles, 0 to 1 each.
#[derive(Debug, Clone)]
pub(super) struct Fractions {
    pub(super) values: Vec<f64>,
    /// Whether an array was asked for.
    pub(super) listed: bool,
}

impl Fractions {
    /// The constant argument `percentage`.
    pub(super) fn of(c: &Call<'_>, argument: Typed) -> Result<Self> {
        let listed = matches!(argument.data_type, DataType::List(_));
        let want = if listed { Want::ArrayOf(&Want::Double) } else { Want::Double };
        // Spark wants an array without nulls, which one of texts may have when it is cast.
        let nullable = || unexpected_type(c, 1, &array_of(DataType::Utf8), &want);
        if item_of(&argument.data_type) == Some(&DataType::Utf8) {
            return Err(nullable());
        }
        let argument = coerce_one(c, 1, argument, &want)?;
        let null = || mismatch("UNEXPECTED_NULL", format!("`percentage` of `{}` must not be null", c.name));
        let values = match constant(&argument)? {
            None => {
                return Err(mismatch(
                    "NON_FOLDABLE_INPUT",
                    format!("`percentage` of `{}` must be a constant expression", c.name),
                ));
            }
            Some(ScalarValue::Float64(Some(fraction))) => vec![fraction],
            Some(ScalarValue::List(list)) if list.is_valid(0) => {
                let values = list.value(0);
                let values = typed::<Float64Array>(&values)?;
                values.iter().collect::<Option<Vec<f64>>>().ok_or_else(nullable)?
            }
            Some(_) => return Err(null()),
        };
        if let Some(beyond) = values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
            let message = format!("`percentage` of `{}` must be between 0.0 and 1.0, not {beyond}", c.name);
            return Err(mismatch("VALUE_OUT_OF_RANGE", message));
        }
        Ok(Self { values, listed })
    }

    /// A result per group from its percentiles, of `item` or arrays of it.
    pub(super) fn column(&self, results: impl Iterator<Item = Option<Vec<f64>>>, item: &DataType) -> Result<ArrayRef> {
        if !self.listed {
            return from_doubles(results.map(|r| r.and_then(|r| r.first().copied())), item);
        }
        let (mut flat, mut offsets, mut valid) = (Vec::new(), vec![0_i32], Vec::new());
        for result in results {
            valid.push(result.is_some());
            flat.extend(result.into_iter().flatten().map(Some));
            offsets.push(super::super::collection::end_of(flat.len())?);
        }
        super::super::collection::list_of(&array_of(item.clone()), offsets, from_doubles(flat.into_iter(), item)?, Some(valid))
    }
}

/// What is taken where a percentile falls between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// What lies in proportion between them.
    Between,
    /// The first value that has at least the fraction of values at or before it.
    Of,
}

#[derive(Debug)]
struct Percentiles {
    fractions: Fractions,
    rank: Rank,
    descending: bool,
    /// The type of a percentile.
    item: DataType,
}

/// Values and how often each came, as often as it is told.
type Count = (Ordered, i64);

/// Values in ascending order, and those that came since, in any. They are put in order once they are as many as the others, so that
/// each takes a sort's share of time and no search.
#[derive(Debug, Clone, Default)]
struct Counts {
    ordered: Vec<Count>,
    added: Vec<Count>,
}

const ADDED_MIN: usize = 64;

impl Counts {
    fn is_empty(&self) -> bool {
        self.ordered.is_empty() && self.added.is_empty()
    }

    /// How many bytes that took.
    fn add(&mut self, value: f64, times: i64) -> usize {
        let before = self.bytes();
        self.added.push((value.into(), times));
        if self.added.len() >= self.ordered.len().max(ADDED_MIN) {
            let mut ordered = self.in_order().into_owned();
            ordered.shrink_to_fit();
            self.ordered = ordered;
            self.added.clear();
        }
        self.bytes().saturating_sub(before)
    }

    fn bytes(&self) -> usize {
        (self.ordered.capacity() + self.added.capacity()) * size_of::<Count>()
    }

    /// Each value once.
    fn in_order(&self) -> Cow<'_, [Count]> {
        if self.added.is_empty() {
            return Cow::Borrowed(&self.ordered);
        }
        let mut added = self.added.clone();
        added.sort_unstable_by_key(|(value, _)| *value);
        let mut all: Vec<Count> = Vec::with_capacity(self.ordered.len() + added.len());
        let mut push = |(value, times): Count| match all.last_mut() {
            Some((last, held)) if *last == value => *held = held.wrapping_add(times),
            _ => all.push((value, times)),
        };
        let mut held = self.ordered.iter().copied().peekable();
        for count in added {
            while let Some(held) = held.next_if(|(value, _)| *value <= count.0) {
                push(held);
            }
            push(count);
        }
        held.for_each(push);
        Cow::Owned(all)
    }
}

/// A double as a number with the same order, NaN last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ordered(u64);

const SIGN: u64 = 1 << 63;

impl From<f64> for Ordered {
    fn from(value: f64) -> Self {
        let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
        Self(if bits & SIGN == 0 { bits | SIGN } else { !bits })
    }
}

impl Ordered {
    fn value(self) -> f64 {
        f64::from_bits(if self.0 & SIGN == 0 { !self.0 } else { self.0 & !SIGN })
    }
}

impl Percentiles {
    fn results(&self, cell: &Counts) -> Option<Vec<f64>> {
        if cell.is_empty() || self.fractions.values.is_empty() {
            return None;
        }
        let mut total = 0_i64;
        let mut reached = |(value, times): &Count| {
            total = total.wrapping_add(*times);
            (value.value(), total)
        };
        let counts = cell.in_order();
        let reached: Vec<(f64, i64)> = if self.descending {
            counts.iter().rev().map(&mut reached).collect()
        } else {
            counts.iter().map(&mut reached).collect()
        };
        // The value at a position from 0 on.
        let at = |position: i64| {
            let index = reached.partition_point(|(_, count)| *count < position.saturating_add(1));
            reached[index.min(reached.len() - 1)].0
        };
        let result = |fraction: &f64| match self.rank {
            Rank::Of => at(((fraction * total as f64).ceil() as i64 - 1).max(0)),
            Rank::Between => {
                let position = (total - 1) as f64 * fraction;
                let (lower, higher) = (position.floor(), position.ceil());
                let (low, high) = (at(lower as i64), at(higher as i64));
                // Equal ones are not weighted: that would make NaN of infinities.
                if lower == higher || Ordered::from(low) == Ordered::from(high) {
                    low
                } else {
                    (higher - position) * low + (position - lower) * high
                }
            }
        };
        Some(self.fractions.values.iter().map(result).collect())
    }
}

impl Fold for Percentiles {
    type Cell = Counts;

    fn state_types(&self) -> Vec<DataType> {
        vec![array_of(DataType::Float64), array_of(DataType::Int64)]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let column = doubles(&values[0])?;
        let frequencies = values.get(1).map(typed::<Int64Array>).transpose()?;
        let (mut grown, mut negative) = (0, None);
        rows.each(&column, |row, group| {
            let times = match frequencies {
                None => 1,
                Some(frequencies) if frequencies.is_valid(row) => frequencies.value(row),
                Some(_) => 0,
            };
            if times > 0 {
                grown += cells[group].add(column.value(row), times);
            } else if times < 0 {
                negative = Some(times);
            }
        });
        match negative {
            Some(times) => Err(data_error(
                "NEGATIVE_VALUES_IN_FREQUENCY_EXPRESSION",
                format!("the frequency of a percentile is negative: {times}"),
            )),
            None => Ok(grown),
        }
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let (values, counts) = (typed::<ListArray>(&states[0])?, typed::<ListArray>(&states[1])?);
        let (value_items, count_items) = (items::<Float64Type>(values)?, items::<Int64Type>(counts)?);
        paired("percentile", values, [counts])?;
        let mut grown = 0;
        rows.each(values, |row, group| {
            let pairs = value_items.values()[span(values, row)].iter().zip(&count_items.values()[span(counts, row)]);
            let cell = &mut cells[group];
            if cell.is_empty() {
                // Stored values are in order.
                cell.ordered = pairs.map(|(value, times)| (Ordered::from(*value), *times)).collect();
                grown += cell.bytes();
            } else {
                pairs.for_each(|(value, times)| grown += cell.add(*value, *times));
            }
        });
        Ok(grown)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        let counts: Vec<_> = cells.iter().map(Counts::in_order).collect();
        let values = lists::<Float64Type, _>(counts.iter().map(|cell| cell.iter().map(|(value, _)| value.value())))?;
        let counts = lists::<Int64Type, _>(counts.iter().map(|cell| cell.iter().map(|(_, times)| *times)))?;
        Ok(vec![values, counts])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        self.fractions.column(cells.iter().map(|cell| self.results(cell)), &self.item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_in_order_each_once_whenever_they_were_added() {
        let (mut counts, mut expected) = (Counts::default(), std::collections::BTreeMap::new());
        for step in 0..1000_u32 {
            let value = f64::from(step.wrapping_mul(7919) % 331) - 100.0;
            counts.add(value, i64::from(step % 3 + 1));
            *expected.entry(Ordered::from(value)).or_insert(0) += i64::from(step % 3 + 1);
            if step % 97 == 0 || step == 999 {
                assert!(counts.in_order().iter().copied().eq(expected.iter().map(|(value, times)| (*value, *times))), "{step}");
            }
        }
    }

    #[test]
    fn doubles_keep_their_order_and_their_bits() {
        let ascending = [f64::NEG_INFINITY, -1.5, -0.0, 0.0, 1e-300, 2.0, f64::INFINITY, f64::NAN];
        let ordered = ascending.map(Ordered::from);
        assert!(ordered.is_sorted_by(|a, b| a < b));
        for (value, ordered) in ascending.iter().zip(ordered) {
            assert_eq!(ordered.value().to_bits(), value.to_bits());
        }
    }
}
