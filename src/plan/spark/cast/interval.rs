//! Casts of intervals: among each other, from and to text, and from and to numbers of their only unit.

use std::fmt::{self, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, PrimitiveArray, StringArray};
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, DurationMicrosecondType, DurationSecondType, Int32Type, Int64Type,
    IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimeUnit,
};

use super::kernel::{Caster, overflow};
use super::rule::is_integer;
use super::{CastMode, decimal};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::expression::{CalendarInterval, calendar_interval};
use crate::plan::spark::types::interval::{INTERVAL_UNITS, IntervalRange};
use crate::plan::spark::types::sql_name;

/// Months, or microseconds, of every interval of an array.
pub fn values(array: &dyn Array) -> Result<Int64Array> {
    Ok(match array.data_type() {
        // Days as many as there can be fit: they are made of microseconds.
        DataType::Duration(TimeUnit::Second) => array.as_primitive::<DurationSecondType>().unary(|s| s.saturating_mul(1_000_000)),
        DataType::Duration(TimeUnit::Microsecond) => array.as_primitive::<DurationMicrosecondType>().reinterpret_cast(),
        DataType::Interval(IntervalUnit::YearMonth) => array.as_primitive::<IntervalYearMonthType>().unary(i64::from),
        DataType::Decimal64(..) => array.as_primitive::<Decimal64Type>().reinterpret_cast(),
        DataType::Decimal32(..) => array.as_primitive::<Decimal32Type>().unary(i64::from),
        other => return Err(Error::internal(format!("values of type {other} are no intervals"))),
    })
}

impl Caster {
    /// From or to an interval, of a range that is known.
    pub(super) fn interval(self, array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
        match (IntervalRange::of(array.data_type()), IntervalRange::of(to)) {
            (Some(from), Some(range)) => {
                // What is smaller than the last unit is cut off.
                let unit = if range.last == 5 || range.last == from.last { 1 } else { range.unit() };
                let cut: Int64Array = values(array.as_ref())?.unary(|v| v - v % unit);
                self.intervals_of(cut, array.data_type(), to)
            }
            (None, Some(range)) => match array.data_type() {
                DataType::Utf8 => self.interval_from_text(array, range, to),
                from if is_integer(from) => {
                    let wide = arrow::compute::cast(array, &DataType::Int64).map_err(broken)?;
                    let fail = |v: i64| overflow(&v.to_string(), from, to);
                    let scaled = self.each::<Int64Type, Int64Type>(wide.as_primitive(), |v| v.checked_mul(range.unit()), fail)?;
                    self.intervals_of(scaled, from, to)
                }
                from @ DataType::Decimal128(_, scale) => {
                    let power = 10_i128.pow(u32::from(scale.unsigned_abs()));
                    let fail = |v: i128| overflow(&v.to_string(), from, to);
                    let scale = |v: i128| {
                        let scaled = v.checked_mul(i128::from(range.unit()))?;
                        i64::try_from(decimal::divide_half_up(scaled, power)).ok()
                    };
                    let scaled = self.each::<Decimal128Type, Int64Type>(array.as_primitive(), scale, fail)?;
                    self.intervals_of(scaled, from, to)
                }
                from => Err(no_cast(from, to)),
            },
            (Some(range), None) => self.count_of(array, range, to),
            (None, None) => Err(no_cast(array.data_type(), to)),
        }
    }

    /// Months or microseconds as intervals of type `to`.
    fn intervals_of(self, values: Int64Array, from: &DataType, to: &DataType) -> Result<ArrayRef> {
        let fail = |v: i64| overflow(&v.to_string(), from, to);
        let narrow = || self.each::<Int64Type, Int32Type>(&values, |v| i32::try_from(v).ok(), fail);
        Ok(match to {
            DataType::Duration(TimeUnit::Second) => Arc::new(values.unary::<_, DurationSecondType>(|us| us / 1_000_000)),
            DataType::Duration(_) => Arc::new(values.reinterpret_cast::<DurationMicrosecondType>()),
            DataType::Interval(_) => Arc::new(narrow()?.reinterpret_cast::<IntervalYearMonthType>()),
            DataType::Decimal32(..) => Arc::new(narrow()?.reinterpret_cast::<Decimal32Type>().with_data_type(to.clone())),
            _ => Arc::new(values.reinterpret_cast::<Decimal64Type>().with_data_type(to.clone())),
        })
    }

    /// How many of its only unit an interval is; seconds have a fraction as a decimal.
    fn count_of(self, array: &ArrayRef, range: IntervalRange, to: &DataType) -> Result<ArrayRef> {
        let values = values(array.as_ref())?;
        let from = array.data_type();
        if let DataType::Decimal128(..) = to {
            let (unit, scale) = if range.last == 5 { (1, 6) } else { (range.unit(), 0) };
            let exact: PrimitiveArray<Decimal128Type> = values.unary(|v| i128::from(v / unit));
            let exact = super::kernel::decimals(exact, 38, scale)?;
            return decimal::cast(self, &(Arc::new(exact) as ArrayRef), to);
        }
        let whole: Int64Array = values.unary(|v| v / range.unit());
        self.integers(&whole, from, to)
    }

    fn interval_from_text(self, array: &ArrayRef, range: IntervalRange, to: &DataType) -> Result<ArrayRef> {
        let mut read = Int64Array::builder(array.len());
        for text in array.as_string::<i32>() {
            match text.map(|text| (text, read_written(text, range))) {
                None => read.append_null(),
                Some((_, Ok(value))) => read.append_value(value),
                Some(_) if self.mode == CastMode::Try => read.append_null(),
                Some((text, Err(why))) => return Err(why.error(text, range, ErrorKind::Data)),
            }
        }
        self.intervals_of(read.finish(), &DataType::Utf8, to)
    }
}

fn no_cast(from: &DataType, to: &DataType) -> Error {
    Error::internal(format!("no cast from {} to {}", sql_name(from), sql_name(to)))
}

fn broken(error: arrow::error::ArrowError) -> Error {
    Error::internal("could not build the result of a cast").because(error)
}

/// The INTERVALs that texts say, null where they say none.
pub(super) fn calendars(texts: &StringArray) -> ArrayRef {
    let read = |text: &str| {
        let CalendarInterval { months, days, us } = calendar_interval(text)?;
        Some(IntervalMonthDayNano {
            months: i32::try_from(months).ok()?,
            days: i32::try_from(days).ok()?,
            nanoseconds: us.checked_mul(1000)?,
        })
    };
    let intervals: PrimitiveArray<IntervalMonthDayNanoType> = texts.iter().map(|text| text.and_then(read)).collect();
    Arc::new(intervals)
}

/// Why a text is no interval of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// It has another form.
    Form,
    /// A unit has more than the next larger one.
    Limit,
    /// There is no interval as long.
    Overflow,
}

impl Unreadable {
    /// The error, of a literal if `kind` is `Config`; Spark has no condition for all of them.
    pub fn error(self, text: &str, range: IntervalRange, kind: ErrorKind) -> Error {
        let (condition, why) = match (self, range.is_months()) {
            (Self::Form, true) => ("INVALID_INTERVAL_FORMAT.UNMATCHED_FORMAT_STRING", "its form is another"),
            (Self::Form, false) => ("INVALID_INTERVAL_FORMAT.UNMATCHED_FORMAT_STRING_WITH_NOTICE", "its form is another"),
            (Self::Limit | Self::Overflow, true) => ("INVALID_INTERVAL_FORMAT.INTERVAL_PARSING", "it is out of range"),
            (Self::Limit, false) if kind == ErrorKind::Config => ("_LEGACY_ERROR_TEMP_0063", "a unit is out of range"),
            (Self::Limit | Self::Overflow, false) => {
                return Error::new(kind, format!("'{text}' is out of range as {}", range.name()));
            }
        };
        Error::spark(kind, condition, format!("cannot read '{text}' as {}: {why}", range.name()))
    }
}

/// Reads `1 02:03:04` or `INTERVAL '1 02:03:04' DAY TO SECOND`.
fn read_written(text: &str, range: IntervalRange) -> Result<i64, Unreadable> {
    let text = text.trim_matches(|ch: char| ch <= ' ' || ch == '\u{7f}');
    let Some(literal) = text.get(..8).filter(|start| start.eq_ignore_ascii_case("interval")).map(|_| &text[8..]) else {
        return read_fields(text, range);
    };
    let parts: Vec<&str> = literal.splitn(3, '\'').collect();
    let [sign, body, units] = parts.as_slice() else { return Err(Unreadable::Form) };
    let sign = sign.strip_prefix(|ch: char| ch.is_ascii_whitespace()).ok_or(Unreadable::Form)?.trim();
    if !matches!(sign, "" | "-" | "+") {
        return Err(Unreadable::Form);
    }
    let (first, last) = (INTERVAL_UNITS[usize::from(range.first)], INTERVAL_UNITS[usize::from(range.last)]);
    let wanted: &[&str] = if first == last { &[first] } else { &[first, "to", last] };
    let same = units.split_ascii_whitespace().map(str::to_lowercase).eq(wanted.iter().copied());
    if !same || !units.starts_with(|ch: char| ch.is_ascii_whitespace()) {
        return Err(Unreadable::Form);
    }
    // A minus in front of the quotes turns the one within them, so that the longest interval can be written either way.
    match (sign, body.strip_prefix('-')) {
        ("-", Some(body)) if !body.starts_with(['-', '+']) => read_fields(body, range),
        ("-", None) => read_fields(&format!("-{}", body.strip_prefix('+').unwrap_or(body)), range),
        _ => read_fields(body, range),
    }
}

/// Reads the numbers of a range: `1-2`, `1 02:03:04.5`, with a sign at most.
pub fn read_fields(text: &str, range: IntervalRange) -> Result<i64, Unreadable> {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut rest = body;
    let (mut total, mut limit) = (0_i64, Ok(()));
    for field in range.first..=range.last {
        if field > range.first {
            let separator = ["", "-", "", " ", ":", ":"][usize::from(field)];
            rest = rest.strip_prefix(separator).ok_or(Unreadable::Form)?;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let longest = if field > range.first && field > 1 { 2 } else { 18 };
        if digits == 0 || digits > longest {
            return Err(Unreadable::Form);
        }
        let count: i64 = rest[..digits].parse().map_err(|_| Unreadable::Form)?;
        if field > range.first && count > [0, 11, 0, 23, 59, 59][usize::from(field)] {
            limit = Err(Unreadable::Limit);
        }
        rest = &rest[digits..];
        let size = crate::plan::spark::types::interval::INTERVAL_UNIT_SIZES[usize::from(field)];
        // Counted downwards, as there is one more microsecond before zero than behind it.
        let counted = count.checked_mul(-size).ok_or(Unreadable::Limit)?;
        total = total.checked_add(counted).ok_or(Unreadable::Overflow)?;
    }
    if let (Some(fraction), 5) = (rest.strip_prefix('.'), range.last) {
        if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Unreadable::Form);
        }
        let us = fraction.bytes().chain(std::iter::repeat(b'0')).take(6).fold(0, |us, b| us * 10 + i64::from(b - b'0'));
        total = total.checked_sub(us).ok_or(Unreadable::Overflow)?;
        rest = "";
    }
    if !rest.is_empty() {
        return Err(Unreadable::Form);
    }
    limit?;
    let value = if text.starts_with('-') { Some(total) } else { total.checked_neg() };
    let value = value.ok_or(Unreadable::Overflow)?;
    if range.is_months() && i32::try_from(value).is_err() { Err(Unreadable::Overflow) } else { Ok(value) }
}

/// Writes `1 years 2 months 3 days 4 hours 5 minutes 6.5 seconds`, without what is zero.
pub(super) fn write_calendar(out: &mut impl Write, interval: IntervalMonthDayNano) -> fmt::Result {
    let IntervalMonthDayNano { months, days, nanoseconds } = interval;
    let us = nanoseconds / 1000;
    let units = [
        (i64::from(months / 12), "years"),
        (i64::from(months % 12), "months"),
        (i64::from(days), "days"),
        (us / 3_600_000_000, "hours"),
        (us / 60_000_000 % 60, "minutes"),
    ];
    let mut blank = "";
    for (count, unit) in units.into_iter().filter(|(count, _)| *count != 0) {
        write!(out, "{blank}{count} {unit}")?;
        blank = " ";
    }
    let us = us % 60_000_000;
    if us == 0 && !blank.is_empty() {
        return Ok(());
    }
    write!(out, "{blank}{}{}", if us < 0 { "-" } else { "" }, us.abs() / 1_000_000)?;
    crate::plan::spark::cast::time::write_fraction(out, us.abs() % 1_000_000)?;
    out.write_str(" seconds")
}
