//! Values of JSON into columns of the declared type.
//!
//! A value of another type than declared is read to its end, noted and left out; only text that is not JSON ends the line.

use std::sync::Arc;

use super::Reason;
use super::keys::{Key, Keys, Role, Shape};
use super::lexer::{Cursor, Form, Number, Text, Token};
use super::text::{self, Discard};
use crate::format::column::{Column, Data};
use crate::format::convert;
use crate::format::datetime::{Zone, parse_date, parse_timestamp, parse_timestamp_ntz};
use crate::format::times::{self, ReadTime, Times};

/// The first value of a line that was not of its type.
#[derive(Debug, Clone)]
pub(super) struct Wrong {
    /// Index of the top-level field, where there is one.
    pub(super) field: Option<usize>,
    /// Name of the type that was expected.
    pub(super) expected: Arc<str>,
}

/// Reads values.
#[derive(Debug)]
pub(super) struct Parser {
    pub(super) depth_max: usize,
    pub(super) zone: Zone,
    /// The first value that was not of its type, since this was last cleared.
    pub(super) wrong: Option<Wrong>,
    /// How times are written, where that is not the usual way.
    pub(super) times: Option<Arc<Times<ReadTime>>>,
    scratch: Vec<u8>,
}

impl Parser {
    pub(super) fn new(zone: Zone, depth_max: usize) -> Self {
        Self { depth_max, zone, wrong: None, times: None, scratch: Vec::new() }
    }

    /// Reads the object at `cursor` into `columns`, each of which has `row` values before (a column that is only checked has none)
    /// and one more afterwards. After an error the columns may have more values than that.
    pub(super) fn object(
        &mut self,
        cursor: &mut Cursor<'_>,
        (keys, shapes): (&Keys, &[Shape]),
        columns: &mut [Column],
        row: usize,
        depth: usize,
    ) -> Result<(), Reason> {
        if depth >= self.depth_max {
            return Err(Reason::TooDeep);
        }
        cursor.step();
        cursor.skip_blanks();
        let mut next = 0;
        if !cursor.eat(b"}") {
            loop {
                match self.key(cursor, keys, &mut next)? {
                    Some(at) => self.field(cursor, (keys.fields[at].role, &shapes[at]), &mut columns[at], row, depth + 1)?,
                    None => text::walk(cursor, depth + 1, self.depth_max, &mut Discard)?,
                }
                if depth == 0
                    && let Some(Wrong { field: field @ None, .. }) = &mut self.wrong
                {
                    *field = next.checked_sub(1);
                }
                cursor.skip_blanks();
                match cursor.peek() {
                    b',' => cursor.step(),
                    b'}' => break cursor.step(),
                    _ => return Err(Reason::NotJson),
                }
                cursor.skip_blanks();
            }
        }
        for (column, key) in columns.iter_mut().zip(&keys.fields) {
            if key.role == Role::Keep && column.len() == row {
                column.push_null();
            }
        }
        Ok(())
    }

    /// Reads a key and its colon; which field it names. `next` is the field to look at first, and then the one after this.
    #[inline]
    fn key(&mut self, cursor: &mut Cursor<'_>, keys: &Keys, next: &mut usize) -> Result<Option<usize>, Reason> {
        if let Some(Key { plain: Some(plain), .. }) = keys.fields.get(*next)
            && cursor.eat_pattern(plain)
        {
            *next += 1;
            cursor.skip_blanks();
            return Ok(Some(*next - 1));
        }
        let name = cursor.string()?;
        let found = keys.find(self.content(name));
        if let Some(at) = found {
            *next = at + 1;
        }
        cursor.skip_blanks();
        if !cursor.eat(b":") {
            return Err(Reason::NotJson);
        }
        cursor.skip_blanks();
        Ok(found)
    }

    /// Reads a field's value. A key that comes again replaces the value, if the new one is of the right type.
    #[inline]
    fn field(
        &mut self,
        cursor: &mut Cursor<'_>,
        (role, shape): (Role, &Shape),
        column: &mut Column,
        row: usize,
        depth: usize,
    ) -> Result<(), Reason> {
        match role {
            Role::Keep => {
                let before = column.len();
                if self.value(cursor, shape, column, depth)? && before > row {
                    column.remove(row, before);
                }
                Ok(())
            }
            Role::Check => {
                self.value(cursor, shape, column, depth)?;
                column.truncate(0);
                Ok(())
            }
            Role::Skip | Role::Corrupt => text::walk(cursor, depth, self.depth_max, &mut Discard),
        }
    }

    /// Reads one value of any type; `false` if it was not of the column's type, nothing having been appended.
    pub(super) fn value(
        &mut self,
        cursor: &mut Cursor<'_>,
        shape: &Shape,
        column: &mut Column,
        depth: usize,
    ) -> Result<bool, Reason> {
        if Self::plain_value(cursor, &mut column.data)? {
            column.pushed();
            return Ok(true);
        }
        let row = column.len();
        let written = match (&mut column.data, cursor.token()?) {
            (_, Token::Null) => {
                column.push_null();
                return Ok(true);
            }
            (Data::String(out), Token::String(string)) => {
                text::write_content(string, &mut out.bytes);
                out.end_value() || return Err(Reason::TooLong)
            }
            (Data::String(out), token) => {
                match token {
                    Token::Number(number) => text::write_number(&number, &mut out.bytes),
                    Token::True => out.bytes.extend_from_slice(b"true"),
                    Token::False => out.bytes.extend_from_slice(b"false"),
                    _ => text::walk(cursor, depth, self.depth_max, &mut out.bytes)?,
                }
                out.end_value() || return Err(Reason::TooLong)
            }
            (data, Token::Number(number)) => self.number(&number, data),
            (data, Token::String(string)) => self.string(string, data)?,
            (Data::Boolean(out), token @ (Token::True | Token::False)) => push(out, Some(matches!(token, Token::True))),
            (Data::Struct(columns, _), Token::Object) => match shape {
                Shape::Struct(keys, shapes) => {
                    self.object(cursor, (keys, shapes), columns, row, depth)?;
                    true
                }
                _ => unreachable!("a shape follows its column"),
            },
            (Data::List(ends, items, _), Token::Array) => self.list(cursor, shape, ends, items, depth)?,
            (Data::Map(ends, entries, _), Token::Object) => self.map(cursor, shape, ends, entries, depth)?,
            (_, Token::Object | Token::Array) => {
                text::walk(cursor, depth, self.depth_max, &mut Discard)?;
                false
            }
            _ => false,
        };
        if written {
            column.pushed();
        } else if self.wrong.is_none() {
            self.wrong = Some(Wrong { field: None, expected: Arc::clone(&column.type_name) });
        }
        Ok(written)
    }

    /// Reads a value of the commonest types in its plainest form; `false`, the cursor where it was, if it is anything else.
    #[inline]
    fn plain_value(cursor: &mut Cursor<'_>, data: &mut Data) -> Result<bool, Reason> {
        let start = *cursor;
        let read = match (data, cursor.peek()) {
            (Data::String(out), b'"') => {
                let string = cursor.string()?;
                let plain = !string.escaped;
                if plain {
                    out.bytes.extend_from_slice(string.raw);
                    out.end_value() || return Err(Reason::TooLong)
                } else {
                    false
                }
            }
            (Data::Float64(out), b'0'..=b'9' | b'-') => push(out, Some(cursor.number()?.double())),
            (Data::Int32(out), b'0'..=b'9' | b'-') => push(out, cursor.number()?.integer().and_then(|v| i32::try_from(v).ok())),
            (Data::Int64(out), b'0'..=b'9' | b'-') => push(out, cursor.number()?.integer()),
            _ => false,
        };
        if !read {
            *cursor = start;
        }
        Ok(read)
    }

    #[inline]
    fn number(&self, number: &Number<'_>, data: &mut Data) -> bool {
        match data {
            Data::Float64(out) => push(out, Some(number.double())),
            Data::Int32(out) => push(out, number.integer().and_then(|v| i32::try_from(v).ok())),
            Data::Int64(out) => push(out, number.integer()),
            // As Spark's reader does, which takes unsigned bytes too.
            Data::Int8(out) => push(out, number.integer().filter(|v| (-128..256).contains(v)).map(|v| v as i8)),
            Data::Int16(out) => push(out, number.integer().and_then(|v| i16::try_from(v).ok())),
            Data::Float32(out) => push(out, Some(number.float())),
            Data::Timestamp(out, _) => push(out, number.integer().and_then(|seconds| seconds.checked_mul(1_000_000))),
            Data::Decimal(out, precision, scale) => {
                let finite = !matches!(number.form, Form::Special(_));
                push(out, finite.then(|| convert::decimal(number.raw, *precision, *scale)).flatten())
            }
            _ => false,
        }
    }

    fn string(&mut self, string: Text<'_>, data: &mut Data) -> Result<bool, Reason> {
        let (zone, times) = (self.zone, self.times.clone());
        let by = |pick: fn(&Times<ReadTime>) -> &Option<ReadTime>| times.as_ref().and_then(|times| pick(times).as_ref());
        let content = self.content(string);
        Ok(match data {
            Data::Timestamp(out, _) => push(out, times::read(by(|t| &t.timestamp), content, |text| parse_timestamp(text, &zone))),
            Data::TimestampNtz(out) => push(out, times::read(by(|t| &t.timestamp_ntz), content, parse_timestamp_ntz)),
            Data::Date(out) => match by(|t| &t.date) {
                Some(by) => push(out, times::read(Some(by), content, |_| None).and_then(|days| i32::try_from(days).ok())),
                None => push(out, parse_date(content).or_else(|| convert::epoch_day(content))),
            },
            Data::Float64(out) => push(out, special(content)),
            Data::Float32(out) => push(out, special(content).map(|v| v as f32)),
            Data::Decimal(out, precision, scale) => push(out, convert::grouped_decimal(content, *precision, *scale)),
            Data::Binary(out) => {
                if !convert::base64(content, &mut out.bytes) {
                    out.abandon_value();
                    return Ok(false);
                }
                out.end_value() || return Err(Reason::TooLong)
            }
            _ => false,
        })
    }

    /// An array; `false` if any item is of another type (parts of a struct aside): then the whole array is.
    fn list(
        &mut self,
        cursor: &mut Cursor<'_>,
        shape: &Shape,
        ends: &mut Vec<i32>,
        items: &mut Column,
        depth: usize,
    ) -> Result<bool, Reason> {
        let Shape::Items(shape) = shape else { unreachable!("a shape follows its column") };
        if depth >= self.depth_max {
            return Err(Reason::TooDeep);
        }
        let start = items.len();
        let mut right = true;
        cursor.step();
        cursor.skip_blanks();
        if !cursor.eat(b"]") {
            loop {
                if right {
                    right = self.value(cursor, shape, items, depth + 1)?;
                } else {
                    text::walk(cursor, depth + 1, self.depth_max, &mut Discard)?;
                }
                cursor.skip_blanks();
                match cursor.peek() {
                    b',' => cursor.step(),
                    b']' => break cursor.step(),
                    _ => return Err(Reason::NotJson),
                }
                cursor.skip_blanks();
            }
        }
        if right {
            ends.push(i32::try_from(items.len()).map_err(|_| Reason::TooLong)?);
        } else {
            items.truncate(start);
        }
        Ok(right)
    }

    /// A map; `false` if any value is of another type. Keys that repeat are kept, as Spark's reader keeps them.
    fn map(
        &mut self,
        cursor: &mut Cursor<'_>,
        shape: &Shape,
        ends: &mut Vec<i32>,
        entries: &mut (Column, Column),
        depth: usize,
    ) -> Result<bool, Reason> {
        let Shape::Items(shape) = shape else { unreachable!("a shape follows its column") };
        if depth >= self.depth_max {
            return Err(Reason::TooDeep);
        }
        let (keys, values) = entries;
        let start = values.len();
        let mut right = true;
        cursor.step();
        cursor.skip_blanks();
        if !cursor.eat(b"}") {
            loop {
                let key = cursor.string()?;
                cursor.skip_blanks();
                if !cursor.eat(b":") {
                    return Err(Reason::NotJson);
                }
                cursor.skip_blanks();
                if right {
                    right = self.value(cursor, shape, values, depth + 1)?;
                } else {
                    text::walk(cursor, depth + 1, self.depth_max, &mut Discard)?;
                }
                if right && let Data::String(out) = &mut keys.data {
                    text::write_content(key, &mut out.bytes);
                    if !out.end_value() {
                        return Err(Reason::TooLong);
                    }
                    keys.pushed();
                }
                cursor.skip_blanks();
                match cursor.peek() {
                    b',' => cursor.step(),
                    b'}' => break cursor.step(),
                    _ => return Err(Reason::NotJson),
                }
                cursor.skip_blanks();
            }
        }
        if right {
            ends.push(i32::try_from(values.len()).map_err(|_| Reason::TooLong)?);
        } else {
            keys.truncate(start);
            values.truncate(start);
        }
        Ok(right)
    }

    /// A string's content, escapes resolved.
    #[inline]
    fn content<'s>(&'s mut self, text: Text<'s>) -> &'s [u8] {
        if !text.escaped {
            return text.raw;
        }
        self.scratch.clear();
        text::write_content(text, &mut self.scratch);
        &self.scratch
    }
}

#[inline]
fn push<T>(out: &mut Vec<T>, value: Option<T>) -> bool {
    match value {
        Some(value) => {
            out.push(value);
            true
        }
        None => false,
    }
}

/// The numbers that may stand in a string.
fn special(text: &[u8]) -> Option<f64> {
    match text {
        b"NaN" => Some(f64::NAN),
        b"Infinity" | b"+Infinity" | b"+INF" => Some(f64::INFINITY),
        b"-Infinity" | b"-INF" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}
