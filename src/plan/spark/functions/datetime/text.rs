//! Dates and timestamps as text, by Java's patterns.

use std::sync::Arc;

use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use datafusion::scalar::ScalarValue;

use super::super::super::cast::CastMode;
use super::super::super::cast::time::Zone;
use super::super::super::{Call, Typed};
use super::super::arguments::{
    Want, any_nullable, arity, coerce, coerce_one, constant, convert, data_error, is_null_constant, is_numeric, null_of, text,
    timestamp, unexpected_type,
};
use super::super::native::{Reader, Returns, call};
use super::pattern::zone_name::{names, unnamed};
use super::pattern::{Pattern, Use};
use super::{cast_in, zone_of};
use crate::error::{Error, ErrorKind, Result};
use crate::format::times::{ReadTime, WriteTime};
use crate::plan::spark::cast::computed;

const DEFAULT_PATTERN: &str = "yyyy-MM-dd HH:mm:ss";

/// The pattern of the rows of one invocation: compiled again only where it changes.
struct Compiled {
    usage: Use,
    held: Option<(String, Arc<Pattern>)>,
}

impl Compiled {
    fn new(usage: Use) -> Self {
        Self { usage, held: None }
    }

    fn get(&mut self, pattern: &str) -> Result<Arc<Pattern>> {
        match &self.held {
            Some((text, compiled)) if text == pattern => Ok(Arc::clone(compiled)),
            _ => {
                let compiled = Arc::new(Pattern::compile(pattern, self.usage)?);
                self.held = Some((pattern.to_owned(), Arc::clone(&compiled)));
                Ok(compiled)
            }
        }
    }

    /// Refuses a constant pattern that is none even where there is no value to read or write by it.
    fn check(&mut self, pattern: &Reader<'_, StringArray>) -> Result<()> {
        let constant = if pattern.is_constant() { pattern.get(0) } else { None };
        constant.map_or(Ok(()), |text| self.get(text).map(drop))
    }
}

fn cannot_parse(s: &str, pattern: &str) -> Error {
    data_error("CANNOT_PARSE_TIMESTAMP", format!("the text '{s}' could not be parsed by the pattern '{pattern}'"))
}

/// `to_date(value)` is a cast; with a pattern, text is read by it.
pub(super) fn to_date(mut c: Call<'_>, mode: CastMode) -> Result<Typed> {
    const WANT: Want = Want::OneOf(&[Want::Date, Want::AnyTimestamp, Want::Text]);
    arity(&c, 1, 2)?;
    let pattern = (c.args.len() == 2).then(|| c.args.remove(1));
    let value = c.args.remove(0);
    match pattern {
        Some(pattern) if !matches!(value.data_type, DataType::Date32 | DataType::Timestamp(..)) => {
            let instants = parsed(&c, value, pattern, timestamp(), mode)?;
            convert(&c, instants, &DataType::Date32)
        }
        _ => {
            let value = coerce_one(&c, 0, value, &WANT)?;
            cast_in(&c, value, &DataType::Date32, mode)
        }
    }
}

/// `to_timestamp(value)` is a cast; with a pattern, text is read by it.
pub(super) fn to_timestamp(mut c: Call<'_>, to: DataType, mode: CastMode) -> Result<Typed> {
    arity(&c, 1, 2)?;
    let pattern = (c.args.len() == 2).then(|| c.args.remove(1));
    let value = c.args.remove(0);
    match pattern {
        Some(pattern) if matches!(value.data_type, DataType::Utf8 | DataType::Null) => parsed(&c, value, pattern, to, mode),
        // Spark takes numbers here, but has no rule for them.
        Some(_) if is_numeric(&value.data_type) => {
            Err(Error::spark(ErrorKind::Config, "INTERNAL_ERROR", format!("`{}` does not read a number by a pattern", c.name)))
        }
        _ => {
            const INSTANT: Want = Want::OneOf(&[Want::Text, Want::Date, Want::AnyTimestamp, Want::Numeric]);
            const LOCAL: Want = Want::OneOf(&[Want::Text, Want::Date, Want::AnyTimestamp]);
            let wanted = if matches!(to, DataType::Timestamp(_, None)) { &LOCAL } else { &INSTANT };
            let value = coerce_one(&c, 0, value, wanted)?;
            let value = cast_in(&c, value, &to, mode)?;
            let nullable = value.nullable || mode == CastMode::Try;
            Ok(computed(Typed { nullable, ..value }))
        }
    }
}

/// Text read by a pattern.
fn parsed(c: &Call<'_>, value: Typed, pattern: Typed, to: DataType, mode: CastMode) -> Result<Typed> {
    let value = coerce_one(c, 0, value, &Want::Text)?;
    let pattern = coerce_one(c, 1, pattern, &Want::Text)?;
    let zone = if matches!(to, DataType::Timestamp(_, None)) { None } else { Some(zone_of(c)?) };
    if is_null_constant(&value) {
        return null_of(to);
    }
    let lenient = mode == CastMode::Try;
    let args = vec![value, pattern];
    let nullable = lenient || any_nullable(&args);
    Ok(call(if lenient { "try_parse_timestamp" } else { "parse_timestamp" }, args, Returns::fallible(to, nullable), move |a| {
        let (s, pattern) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?);
        let mut compiled = Compiled::new(Use::Parsing);
        compiled.check(&pattern)?;
        a.try_primitive::<TimestampMicrosecondType>(|row| {
            let (Some(s), Some(pattern)) = (s.get(row), pattern.get(row)) else { return Ok(None) };
            match compiled.get(pattern)?.parse(s, zone.as_ref()) {
                None if lenient => Ok(None),
                instant => instant.map(Some).ok_or_else(|| cannot_parse(s, pattern)),
            }
        })
    }))
}

/// Seconds since 1970 of a text (by a pattern), a date or a timestamp; towards zero.
pub(super) fn unix_timestamp(mut c: Call<'_>) -> Result<Typed> {
    const WANT: Want = Want::OneOf(&[Want::Text, Want::Date, Want::AnyTimestamp]);
    arity(&c, if c.name == "unix_timestamp" { 0 } else { 1 }, 2)?;
    if c.args.is_empty() {
        c.args.push(super::now(
            Call { name: "current_timestamp", args: vec![], filter: None, within_group: vec![], lambdas: vec![], ..c },
            timestamp(),
        )?);
    }
    let pattern = if c.args.len() == 2 { c.args.remove(1) } else { text(DEFAULT_PATTERN) };
    let value = c.args.remove(0);
    if !WANT.accepts(&value.data_type) && value.data_type != DataType::Null {
        return Err(unexpected_type(&c, 0, &value.data_type, &WANT));
    }
    let value = coerce_one(&c, 0, value, &WANT)?;
    let instants = match value.data_type {
        DataType::Utf8 => parsed(&c, value, pattern, timestamp(), CastMode::Ansi)?,
        // What clocks show is counted as it is.
        DataType::Timestamp(_, None) => value,
        _ => convert(&c, value, &timestamp())?,
    };
    let returns = Returns::new(DataType::Int64, instants.nullable);
    Ok(call("unix_timestamp", vec![instants], returns, |a| a.each::<TimestampMicrosecondType, Int64Type>(0, |us| us / 1_000_000)))
}

/// Refuses a constant pattern that writes the zone's name, if it has none.
fn check_zone_name(pattern: &Typed, zone: &Zone) -> Result<()> {
    match constant(pattern) {
        Ok(Some(ScalarValue::Utf8(Some(pattern)))) if names(zone).is_none() => {
            let named = Pattern::compile(&pattern, Use::Formatting).is_ok_and(|pattern| pattern.names_zone());
            if named { Err(unnamed()) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

/// `date_format(timestamp, pattern)`.
pub(super) fn date_format(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Timestamp, Want::Text])?;
    if is_null_constant(&args[0]) {
        return null_of(DataType::Utf8);
    }
    let zone = zone_of(&c)?;
    check_zone_name(&args[1], &zone)?;
    let returns = Returns::fallible(DataType::Utf8, any_nullable(&args));
    Ok(call("date_format", args, returns, move |a| {
        let (time, pattern) = (a.column::<TimestampMicrosecondArray>(0)?, a.column::<StringArray>(1)?);
        let mut compiled = Compiled::new(Use::Formatting);
        compiled.check(&pattern)?;
        a.try_strings(|row, out| {
            let (Some(us), Some(pattern)) = (time.get(row), pattern.get(row)) else { return Ok(None) };
            compiled.get(pattern)?.format(us, &zone, out).map(Some)
        })
    }))
}

/// `from_unixtime(seconds[, pattern])`.
pub(super) fn from_unixtime(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 2)?;
    if c.args.len() == 1 {
        c.args.push(text(DEFAULT_PATTERN));
    }
    let args = coerce(&mut c, &[Want::Long, Want::Text])?;
    if is_null_constant(&args[0]) {
        return null_of(DataType::Utf8);
    }
    let zone = zone_of(&c)?;
    check_zone_name(&args[1], &zone)?;
    let returns = Returns::fallible(DataType::Utf8, any_nullable(&args));
    Ok(call("from_unixtime", args, returns, move |a| {
        let (seconds, pattern) = (a.column::<Int64Array>(0)?, a.column::<StringArray>(1)?);
        let mut compiled = Compiled::new(Use::Formatting);
        compiled.check(&pattern)?;
        a.try_strings(|row, out| {
            let (Some(seconds), Some(pattern)) = (seconds.get(row), pattern.get(row)) else { return Ok(None) };
            // Spark does not look whether this fits.
            let us = seconds.wrapping_mul(1_000_000);
            compiled.get(pattern)?.format(us, &zone, out).map(Some)
        })
    }))
}

/// Reads texts by a pattern, for options of other functions: microseconds since 1970, seen in `zone`.
pub(in super::super) fn pattern_reader(pattern: &str, zone: &str) -> Result<ReadTime> {
    let zone = Zone::parse(zone).ok_or_else(|| super::invalid_zone(zone))?;
    let pattern = Pattern::compile(pattern, Use::Parsing)?;
    Ok(Arc::new(move |text| pattern.parse(text, Some(&zone))))
}

/// Writes microseconds since 1970 by a pattern, as they are seen in `zone`.
pub(in super::super) fn pattern_writer(pattern: &str, zone: &str) -> Result<WriteTime> {
    let zone = Zone::parse(zone).ok_or_else(|| super::invalid_zone(zone))?;
    let pattern = Pattern::compile(pattern, Use::Formatting)?;
    if pattern.names_zone() && names(&zone).is_none() {
        return Err(unnamed());
    }
    Ok(Arc::new(move |us, out| {
        let start = out.len();
        // Times beyond a calendar's end have no text.
        if pattern.format(us, &zone, out).is_err() {
            out.truncate(start);
        }
    }))
}
