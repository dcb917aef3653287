//! `histogram_numeric`: values in at most so many bins, the nearest two of which become one whenever there is one too many
//! (Ben-Haim and Tom-Tov, "A streaming parallel decision tree algorithm").

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, ListArray, StructArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::scalar::ScalarValue;

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, array_of, coerce, coerce_one, constant, mismatch, struct_of};
use super::super::collection::list_of;
use super::super::native::from_arrow;
use super::doubles::{doubles, from_doubles, items, lists, offsets, span};
use super::fold::{Fold, GroupRows, paired, typed};
use super::folded;
use super::java::Random;
use crate::error::Result;

const VALUE: Want =
    Want::OneOf(&[Want::Numeric, Want::Date, Want::Timestamp, Want::TimestampNtz, Want::YearMonth, Want::DayTime]);

/// `histogram_numeric(value, bins)`.
pub(super) fn histogram(mut c: Call<'_>) -> Result<Typed> {
    let mut args = coerce(&mut c, &[VALUE, Want::Int])?;
    let bins = match constant(&args.remove(1))? {
        None => return Err(mismatch("NON_FOLDABLE_INPUT", "`nb` of `histogram_numeric` must be a constant expression")),
        Some(ScalarValue::Int32(Some(bins))) => bins,
        Some(_) => return Err(mismatch("UNEXPECTED_NULL", "`nb` of `histogram_numeric` must not be null")),
    };
    if bins < 2 {
        return Err(mismatch("VALUE_OUT_OF_RANGE", format!("`histogram_numeric` makes at least 2 bins, not {bins}")));
    }
    let value = args.remove(0);
    let data_type = value.data_type.clone();
    let value = if matches!(data_type, DataType::Decimal128(..)) { coerce_one(&c, 0, value, &Want::Double)? } else { value };
    let bin = struct_of([("x", data_type.clone()), ("y", DataType::Float64)]);
    let fold = Histogram { data_type, bins: bins as usize };
    folded(&mut c, "histogram_numeric", fold, vec![value], array_of(bin))
}

#[derive(Debug)]
struct Histogram {
    data_type: DataType,
    /// At least 2.
    bins: usize,
}

#[derive(Debug, Clone, Copy)]
struct Bin {
    centre: f64,
    height: f64,
}

/// Where Spark's random numbers begin, which say which of two pairs that are equally near becomes one bin.
const SEED: i64 = 31183;

/// A group's bins in ascending order of their centres.
#[derive(Debug, Clone)]
struct Bins {
    bins: Vec<Bin>,
    random: Random,
}

impl Default for Bins {
    fn default() -> Self {
        Self { bins: Vec::new(), random: Random::new(SEED) }
    }
}

impl Bins {
    fn add(&mut self, value: f64, most: usize) -> usize {
        let (mut place, mut left, mut right) = (0, 0, self.bins.len());
        while left < right {
            place = (left + right) / 2;
            let centre = self.bins[place].centre;
            if centre > value {
                right = place;
            } else if centre < value {
                place += 1;
                left = place;
            } else {
                break;
            }
        }
        if let Some(bin) = self.bins.get_mut(place).filter(|bin| bin.centre == value) {
            bin.height += 1.0;
            return 0;
        }
        let before = self.bins.capacity();
        self.bins.insert(place, Bin { centre: value, height: 1.0 });
        self.trim(most);
        (self.bins.capacity() - before) * size_of::<Bin>()
    }

    fn merge(&mut self, others: impl Iterator<Item = Bin>, most: usize) -> usize {
        let (before, first) = (self.bins.capacity(), self.bins.is_empty());
        self.bins.extend(others);
        if !first {
            self.bins.sort_by(|a, b| a.centre.total_cmp(&b.centre));
            self.trim(most);
        }
        (self.bins.capacity() - before) * size_of::<Bin>()
    }

    fn trim(&mut self, most: usize) {
        while self.bins.len() > most {
            let width = |bins: &[Bin], at: usize| bins[at + 1].centre - bins[at].centre;
            let (mut least, mut place, mut equal) = (width(&self.bins, 0), 0, 1_u32);
            for at in 1..self.bins.len() - 1 {
                let width = width(&self.bins, at);
                if width < least {
                    (least, place, equal) = (width, at, 1);
                } else if width == least {
                    equal += 1;
                    if self.random.double() <= 1.0 / f64::from(equal) {
                        place = at;
                    }
                }
            }
            let (low, high) = (self.bins[place], self.bins.remove(place + 1));
            let height = low.height + high.height;
            let centre = low.centre * (low.height / height) + high.centre / height * high.height;
            self.bins[place] = Bin { centre, height };
        }
    }
}

impl Fold for Histogram {
    type Cell = Bins;

    fn state_types(&self) -> Vec<DataType> {
        vec![array_of(DataType::Float64), array_of(DataType::Float64)]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let column = doubles(&values[0])?;
        let mut grown = 0;
        rows.each(&column, |row, group| grown += cells[group].add(column.value(row), self.bins));
        Ok(grown)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        let (centres, heights) = (typed::<ListArray>(&states[0])?, typed::<ListArray>(&states[1])?);
        let (centre_items, height_items) = (items::<Float64Type>(centres)?.values(), items::<Float64Type>(heights)?.values());
        paired("histogram_numeric", centres, [heights])?;
        let mut grown = 0;
        rows.each(centres, |row, group| {
            let bins = span(centres, row).zip(span(heights, row));
            if bins.len() > 0 {
                let bins = bins.map(|(centre, height)| Bin { centre: centre_items[centre], height: height_items[height] });
                grown += cells[group].merge(bins, self.bins);
            }
        });
        Ok(grown)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        let column = |of: fn(&Bin) -> f64| lists::<Float64Type, _>(cells.iter().map(move |cell| cell.bins.iter().map(of)));
        Ok(vec![column(|bin| bin.centre)?, column(|bin| bin.height)?])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        let offsets = offsets(cells.iter().map(|cell| cell.bins.len()))?;
        let bins = || cells.iter().flat_map(|cell| &cell.bins);
        let centres = from_doubles(bins().map(|bin| Some(bin.centre)), &self.data_type)?;
        let heights: ArrayRef = Arc::new(Float64Array::from_iter_values(bins().map(|bin| bin.height)));
        let bin = struct_of([("x", self.data_type.clone()), ("y", DataType::Float64)]);
        let DataType::Struct(fields) = &bin else { return Err(crate::Error::internal("a bin is a struct")) };
        let items = StructArray::try_new(fields.clone(), vec![centres, heights], None).map_err(from_arrow)?;
        let valid = cells.iter().map(|cell| !cell.bins.is_empty()).collect();
        list_of(&array_of(bin.clone()), offsets, Arc::new(items), Some(valid))
    }
}
