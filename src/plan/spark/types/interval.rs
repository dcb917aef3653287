//! Spark's intervals: from which unit to which they count, the Arrow types that stand for them, and their text.
//!
//! Arrow has a type for `DAY`, for `DAY TO SECOND` and for `YEAR TO MONTH`. The other ranges are decimals of 64 bits that count seconds
//! with six places, or of 32 bits that count months; their precision says nothing but which range it is.

use std::fmt::{self, Write};

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};

use super::{day_interval, day_time_interval, year_month_interval};

/// From which unit to which an interval counts: 0 and 1 are years and months, 2 to 5 days, hours, minutes and seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IntervalRange {
    /// The largest unit.
    pub first: u8,
    /// The smallest unit.
    pub last: u8,
}

/// The units' names.
pub const INTERVAL_UNITS: [&str; 6] = ["year", "month", "day", "hour", "minute", "second"];
/// Months of a year and a month, microseconds of a day, an hour, a minute and a second.
pub const INTERVAL_UNIT_SIZES: [i64; 6] = [12, 1, 86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000];

/// The ranges that Arrow has no type for, in the order of their precisions, from 9 on.
const DAY_TIME_RANGES: [IntervalRange; 8] = [
    IntervalRange { first: 2, last: 3 },
    IntervalRange { first: 2, last: 4 },
    IntervalRange { first: 3, last: 3 },
    IntervalRange { first: 3, last: 4 },
    IntervalRange { first: 3, last: 5 },
    IntervalRange { first: 4, last: 4 },
    IntervalRange { first: 4, last: 5 },
    IntervalRange { first: 5, last: 5 },
];
const FIRST_PRECISION: u8 = 9;

impl IntervalRange {
    /// The range of an interval's type; `None` for other types.
    pub fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Duration(TimeUnit::Second) => Self { first: 2, last: 2 },
            DataType::Duration(_) => Self { first: 2, last: 5 },
            DataType::Interval(IntervalUnit::YearMonth) => Self { first: 0, last: 1 },
            DataType::Decimal64(precision, 6) => *DAY_TIME_RANGES.get(usize::from(precision.checked_sub(FIRST_PRECISION)?))?,
            DataType::Decimal32(precision @ 1..=2, 0) => Self { first: precision - 1, last: precision - 1 },
            _ => return None,
        })
    }

    /// The range of two units, if the first is not the smaller one and both are of one kind.
    pub fn new(first: usize, last: usize) -> Option<Self> {
        let fits = first <= last && last < 6 && (first < 2) == (last < 2);
        fits.then_some(Self { first: first as u8, last: last as u8 })
    }

    /// The Arrow type that stands for it.
    pub fn data_type(self) -> DataType {
        match (self.first, self.last) {
            (0, 1) => year_month_interval(),
            (2, 2) => day_interval(),
            (unit @ 0..=1, _) => DataType::Decimal32(unit + 1, 0),
            _ => match DAY_TIME_RANGES.iter().position(|range| *range == self) {
                Some(place) => DataType::Decimal64(FIRST_PRECISION + place as u8, 6),
                None => day_time_interval(),
            },
        }
    }

    /// Whether it counts months.
    pub fn is_months(self) -> bool {
        self.last < 2
    }

    /// The range that has all units of both; `None` if they are of two kinds.
    pub fn with(self, other: Self) -> Option<Self> {
        let both = Self { first: self.first.min(other.first), last: self.last.max(other.last) };
        (self.is_months() == other.is_months()).then_some(both)
    }

    /// Months, or microseconds, of its smallest unit.
    pub fn unit(self) -> i64 {
        INTERVAL_UNIT_SIZES[usize::from(self.last)]
    }

    /// `interval day to second`.
    pub fn name(self) -> String {
        let (first, last) = (INTERVAL_UNITS[usize::from(self.first)], INTERVAL_UNITS[usize::from(self.last)]);
        if first == last { format!("interval {first}") } else { format!("interval {first} to {last}") }
    }

    /// Writes `INTERVAL '1 02:03:04.5' DAY TO SECOND` from months or microseconds.
    pub fn write(self, out: &mut impl Write, value: i64) -> fmt::Result {
        out.write_str("INTERVAL '")?;
        if value < 0 {
            out.write_char('-')?;
        }
        let mut rest = value.unsigned_abs();
        for field in self.first..=self.last {
            let each = INTERVAL_UNIT_SIZES[usize::from(field)].unsigned_abs();
            if field > self.first {
                out.write_str(["", "-", "", " ", ":", ":"][usize::from(field)])?;
            }
            if field > 2 {
                write!(out, "{:02}", rest / each)?;
            } else {
                write!(out, "{}", rest / each)?;
            }
            rest %= each;
        }
        if self.last == 5 {
            crate::plan::spark::cast::time::write_fraction(out, rest as i64)?;
        }
        let (first, last) = (INTERVAL_UNITS[usize::from(self.first)], INTERVAL_UNITS[usize::from(self.last)]);
        write!(out, "' {}", first.to_uppercase())?;
        if first != last {
            write!(out, " TO {}", last.to_uppercase())?;
        }
        Ok(())
    }
}

/// Whether values of the type are intervals of one kind.
pub fn is_interval(data_type: &DataType) -> bool {
    IntervalRange::of(data_type).is_some()
}

/// Whether the type is a decimal that stands for an interval.
pub fn is_decimal_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal64(..) | DataType::Decimal32(..)) && is_interval(data_type)
}
