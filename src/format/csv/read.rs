//! Lines of CSV into columns.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Fields};

use super::CsvOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::format::column::{Column, Data};
use crate::format::datetime::{Zone, parse_date, parse_timestamp, parse_timestamp_ntz};
use crate::format::json::CORRUPT_RECORD;
use crate::format::lines::{LineDecoder, LineFault, RowParser};
use crate::format::times::{self, ReadTime, Times};
use crate::format::{DecodeRequest, Decoder, OnMalformed, convert};

pub(super) fn decoder(options: &CsvOptions, request: DecodeRequest) -> Result<Box<dyn Decoder>> {
    let rows = CsvRows::new(options.clone(), &request)?;
    Ok(Box::new(LineDecoder::new(request, rows).skipping_header(options.header)))
}

pub(super) struct CsvRows {
    options: CsvOptions,
    zone: Zone,
    fields: Vec<Field>,
    rows: usize,
    projection: Vec<usize>,
    drop_malformed: bool,
    pub(super) reading: Reading,
    scratch: Vec<u8>,
}

/// What functions may ask for beside [`CsvOptions`].
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    /// Blanks before values that are not quoted do not count.
    pub(super) trim_start: bool,
    /// Blanks behind values that are not quoted do not count.
    pub(super) trim_end: bool,
    /// How times are written, where that is not the usual way.
    pub(super) times: Times<ReadTime>,
}

struct Field {
    name: Arc<str>,
    column: Column,
    role: Role,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Keep,
    /// Judged, not kept.
    Check,
    /// Holds malformed lines and no value of its own.
    Corrupt {
        keep: bool,
    },
}

impl CsvRows {
    fn new(options: CsvOptions, request: &DecodeRequest) -> Result<Self> {
        let zone = crate::format::zone(&request.time_zone)?;
        let rows = Self::of(options, request.schema.fields(), request.built(), CORRUPT_RECORD, zone)?;
        Ok(Self { drop_malformed: request.on_malformed == OnMalformed::Drop, ..rows })
    }

    /// Rows of `fields`, of which those in `projection` are built; the field called `corrupt` holds malformed lines.
    pub(super) fn of(options: CsvOptions, fields: &Fields, projection: Vec<usize>, corrupt: &str, zone: Zone) -> Result<Self> {
        let fields = fields.iter().enumerate().map(|(at, field)| {
            let keep = projection.contains(&at);
            let role = match field.name() == corrupt {
                true => Role::Corrupt { keep },
                false if keep => Role::Keep,
                false => Role::Check,
            };
            if matches!(role, Role::Corrupt { .. }) && field.data_type() != &DataType::Utf8 {
                let message = format!("the column {corrupt} for corrupt records must have the nullable STRING type");
                return Err(Error::spark(ErrorKind::Config, "INVALID_CORRUPT_RECORD_TYPE", message));
            }
            if field.data_type().is_nested() {
                let message = format!("column {:?}: CSV cannot hold values of type {}", field.name(), field.data_type());
                return Err(Error::spark(ErrorKind::Config, "UNSUPPORTED_DATATYPE", message));
            }
            Ok(Field { name: field.name().as_str().into(), column: Column::new(field.data_type())?, role })
        });
        Ok(Self {
            fields: fields.collect::<Result<_>>()?,
            zone,
            options,
            rows: 0,
            projection,
            drop_malformed: false,
            reading: Reading::default(),
            scratch: Vec::new(),
        })
    }

    /// Appends the row of one line; what was wrong with it.
    pub(super) fn row(&mut self, line: &[u8]) -> Option<(Option<Arc<str>>, Arc<str>)> {
        if line.is_empty() {
            self.null_fields();
            return None;
        }
        let Self { options, zone, fields, scratch, reading, .. } = self;
        let mut fault = None;
        let mut rest = Some(line);
        for field in fields.iter_mut().filter(|f| !matches!(f.role, Role::Corrupt { .. })) {
            let Some(text) = rest else {
                fault.get_or_insert((Some(Arc::clone(&field.name)), "too few values".into()));
                if field.role == Role::Keep {
                    field.column.push_null();
                }
                continue;
            };
            let (mut value, behind) = next_value(text, options, scratch);
            if !value.quoted {
                value.text = reading.trimmed(value.text);
            }
            rest = behind;
            let null = value.text.is_empty() && !value.quoted || value.text == options.null_value.as_bytes();
            let right = !null && push(value.text, zone, &reading.times, &mut field.column.data);
            if right {
                field.column.pushed();
            } else {
                field.column.push_null();
                if !null {
                    let reason = format!("expected {}", field.column.type_name);
                    fault.get_or_insert((Some(Arc::clone(&field.name)), reason.into()));
                }
            }
            if field.role == Role::Check {
                field.column.truncate(0);
            }
        }
        if rest.is_some() {
            fault.get_or_insert((None, "too many values".into()));
        }
        fault
    }

    pub(super) fn null_fields(&mut self) {
        for field in self.fields.iter_mut().filter(|f| f.role == Role::Keep) {
            field.column.push_null();
        }
    }

    pub(super) fn end_row(&mut self, corrupt: Option<&[u8]>) {
        self.rows += 1;
        for field in self.fields.iter_mut().filter(|f| f.role == Role::Corrupt { keep: true }) {
            match (corrupt, &mut field.column.data) {
                (Some(line), Data::String(out)) => {
                    out.bytes.extend_from_slice(line);
                    if out.end_value() { field.column.pushed() } else { field.column.push_null() }
                }
                _ => field.column.push_null(),
            }
        }
    }
}

impl RowParser for CsvRows {
    fn parse(&mut self, text: &[u8], lines: &[Range<usize>], faults: &mut Vec<LineFault>) -> u64 {
        for (line, range) in lines.iter().enumerate() {
            let raw = &text[range.clone()];
            let Some((field, reason)) = self.row(raw) else {
                self.end_row(None);
                continue;
            };
            faults.push(LineFault { line, field, reason });
            if self.drop_malformed {
                for field in self.fields.iter_mut().filter(|f| f.role == Role::Keep) {
                    field.column.truncate(self.rows);
                }
            } else {
                self.end_row(Some(raw));
            }
        }
        0
    }

    fn malformed(&mut self, text: &str, salvage: bool) {
        if salvage {
            self.row(text.as_bytes());
        } else {
            self.null_fields();
        }
        self.end_row(Some(text.as_bytes()));
    }

    fn absent(&mut self) {
        self.null_fields();
        self.end_row(None);
    }

    fn take(&mut self) -> Result<Vec<ArrayRef>> {
        self.rows = 0;
        let mut arrays = vec![None; self.fields.len()];
        for at in &self.projection {
            if arrays[*at].is_none() {
                arrays[*at] = Some(self.fields[*at].column.take()?);
            }
        }
        Ok(self.projection.iter().filter_map(|at| arrays[*at].clone()).collect())
    }
}

impl Reading {
    fn trimmed<'t>(&self, mut text: &'t [u8]) -> &'t [u8] {
        while let ([b'\0'..=b' ', rest @ ..], true) = (text, self.trim_start) {
            text = rest;
        }
        while let ([rest @ .., b'\0'..=b' '], true) = (text, self.trim_end) {
            text = rest;
        }
        text
    }
}

pub(super) struct Value<'a> {
    pub(super) text: &'a [u8],
    quoted: bool,
}

/// The first value of `line` and what is behind its separator, if there is one.
pub(super) fn next_value<'l: 's, 's>(
    line: &'l [u8],
    options: &CsvOptions,
    scratch: &'s mut Vec<u8>,
) -> (Value<'s>, Option<&'l [u8]>) {
    if line.first() == Some(&options.quote)
        && let Some(end) = quoted_value(&line[1..], options, scratch)
    {
        let rest = &line[1 + end..];
        let behind = rest.iter().position(|b| *b == options.separator).map(|at| &rest[at + 1..]);
        return (Value { text: scratch, quoted: true }, behind);
    }
    match memchr::memchr(options.separator, line) {
        Some(at) => (Value { text: &line[..at], quoted: false }, Some(&line[at + 1..])),
        None => (Value { text: line, quoted: false }, None),
    }
}

/// Reads a value behind its opening quote into `scratch`; where it ends, closing quote included. `None` if something other than
/// blanks stands between the closing quote and the separator: then the quotes are part of the value. Without a closing quote the
/// value has all the rest of the line.
fn quoted_value(text: &[u8], options: &CsvOptions, scratch: &mut Vec<u8>) -> Option<usize> {
    scratch.clear();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let next = text.get(at + 1);
        if *byte == options.escape && next == Some(&options.quote) {
            scratch.push(options.quote);
            at += 2;
        } else if *byte == options.quote {
            let behind = text[at + 1..].iter().find(|b| **b > b' ' || **b == options.separator);
            return behind.is_none_or(|b| *b == options.separator).then_some(at + 1);
        } else {
            scratch.push(*byte);
            at += if *byte == options.escape && next == Some(&options.escape) { 2 } else { 1 };
        }
    }
    Some(text.len())
}

/// Appends the value that `text` stands for; `false` if it is not of the column's type.
fn push(text: &[u8], zone: &Zone, times: &Times<ReadTime>, data: &mut Data) -> bool {
    fn some<T>(out: &mut Vec<T>, value: Option<T>) -> bool {
        value.map(|value| out.push(value)).is_some()
    }
    let plain = std::str::from_utf8(text).unwrap_or_default();
    match data {
        Data::Boolean(out) => some(
            out,
            match plain {
                _ if plain.eq_ignore_ascii_case("true") => Some(true),
                _ if plain.eq_ignore_ascii_case("false") => Some(false),
                _ => None,
            },
        ),
        Data::Int8(out) => some(out, plain.parse().ok()),
        Data::Int16(out) => some(out, plain.parse().ok()),
        Data::Int32(out) => some(out, plain.parse().ok()),
        Data::Int64(out) => some(out, plain.parse().ok()),
        Data::Float32(out) => some(out, float(plain)),
        Data::Float64(out) => some(out, float(plain)),
        Data::Date(out) => {
            let days = times::read(times.date.as_ref(), text, |text| parse_date(text).map(i64::from));
            some(out, days.and_then(|days| i32::try_from(days).ok()))
        }
        Data::Timestamp(out, _) => some(out, times::read(times.timestamp.as_ref(), text, |text| parse_timestamp(text, zone))),
        Data::TimestampNtz(out) => some(out, times::read(times.timestamp_ntz.as_ref(), text, parse_timestamp_ntz)),
        Data::Decimal(out, precision, scale) => some(out, convert::grouped_decimal(text, *precision, *scale)),
        Data::String(out) | Data::Binary(out) => {
            out.bytes.extend_from_slice(text);
            out.end_value()
        }
        Data::Struct(..) | Data::List(..) | Data::Map(..) => false,
    }
}

/// Whether a text is a DOUBLE in CSV.
pub fn is_double(text: &str) -> bool {
    float::<f64>(text).is_some()
}

/// A number as Java reads it, which may end in `d` or `f` and have blanks around, or one of Spark's names for the special ones.
fn float<T: fast_float2::FastFloat + From<f32>>(text: &str) -> Option<T> {
    match text {
        "Inf" => return Some(f32::INFINITY.into()),
        "-Inf" => return Some(f32::NEG_INFINITY.into()),
        _ => {}
    }
    let text = text.trim_matches(|c: char| c <= ' ');
    match text {
        "NaN" | "+NaN" | "-NaN" => return Some(f32::NAN.into()),
        "Infinity" | "+Infinity" => return Some(f32::INFINITY.into()),
        "-Infinity" => return Some(f32::NEG_INFINITY.into()),
        _ => {}
    }
    let number = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let only_digits = number.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    let number = number.strip_prefix('+').filter(|rest| !rest.starts_with(['+', '-'])).unwrap_or(number);
    if only_digits { fast_float2::parse(number).ok() } else { None }
}
