//! JSON text in and out of its escapes, and values of any kind kept as compact JSON text.

use super::Reason;
use super::lexer::{Cursor, Form, Number, Text, Token};
use crate::format::number;

/// Deepest nesting that can be asked for.
const DEPTH_MAX: usize = 1000;

/// What becomes of a value that is walked over.
pub(super) trait Keep {
    fn verbatim(&mut self, text: &[u8]);
    fn string(&mut self, text: Text<'_>);
    fn number(&mut self, number: &Number<'_>);
}

/// Only checks.
pub(super) struct Discard;

impl Keep for Discard {
    fn verbatim(&mut self, _: &[u8]) {}
    fn string(&mut self, _: Text<'_>) {}
    fn number(&mut self, _: &Number<'_>) {}
}

/// Keeps the value as compact JSON, numbers and escapes in the form that Spark's generator gives them.
impl Keep for Vec<u8> {
    fn verbatim(&mut self, text: &[u8]) {
        self.extend_from_slice(text);
    }

    fn string(&mut self, text: Text<'_>) {
        write_string(text, Beyond::Escaped, self);
    }

    fn number(&mut self, number: &Number<'_>) {
        write_number(number, self);
    }
}

/// A string as JSON, quotes included.
pub(super) fn write_string(text: Text<'_>, beyond: Beyond, out: &mut Vec<u8>) {
    out.push(b'"');
    decode(text, |piece| match piece {
        Piece::Plain(run) => write_escaped(run, beyond, out),
        Piece::Char(char) => write_escaped(char.encode_utf8(&mut [0; 4]).as_bytes(), beyond, out),
        Piece::LoneSurrogate(unit) => write_unit(unit, out),
    });
    out.push(b'"');
}

/// A number as Spark keeps it in a STRING: integers as they are, others as doubles.
pub(super) fn write_number(number: &Number<'_>, out: &mut Vec<u8>) {
    match number.form {
        Form::Integer if number.raw == b"-0" => out.push(b'0'),
        Form::Integer => out.extend_from_slice(number.raw),
        Form::Decimal | Form::Special(_) => {
            let value = number.double();
            let quote: &[u8] = if value.is_finite() { b"" } else { b"\"" };
            out.extend_from_slice(quote);
            number::write_double(value, out);
            out.extend_from_slice(quote);
        }
    }
}

/// Walks over the value at `cursor`, which is `depth` levels deep, checking it to its end. Nesting is counted, not recursed into.
pub(super) fn walk(cursor: &mut Cursor<'_>, depth: usize, depth_max: usize, keep: &mut impl Keep) -> Result<(), Reason> {
    let mut nesting = Nesting::new();
    loop {
        let closed_at_once = match cursor.token()? {
            Token::Object => {
                nesting.enter(true, depth, depth_max)?;
                open(cursor, b'}', keep, b"{")
            }
            Token::Array => {
                nesting.enter(false, depth, depth_max)?;
                open(cursor, b']', keep, b"[")
            }
            scalar => {
                keep_scalar(scalar, keep);
                true
            }
        };
        if closed_at_once {
            // A scalar, or an empty object or array whose end comes next.
            if end_value(cursor, &mut nesting, keep)? {
                return Ok(());
            }
        }
        if nesting.in_object() {
            keep.string(cursor.string()?);
            cursor.skip_blanks();
            if !cursor.eat(b":") {
                return Err(Reason::NotJson);
            }
            keep.verbatim(b":");
            cursor.skip_blanks();
        }
    }
}

fn open(cursor: &mut Cursor<'_>, close: u8, keep: &mut impl Keep, text: &[u8]) -> bool {
    keep.verbatim(text);
    cursor.step();
    cursor.skip_blanks();
    cursor.peek() == close
}

fn keep_scalar(token: Token<'_>, keep: &mut impl Keep) {
    match token {
        Token::String(text) => keep.string(text),
        Token::Number(number) => keep.number(&number),
        Token::True => keep.verbatim(b"true"),
        Token::False => keep.verbatim(b"false"),
        Token::Null | Token::Object | Token::Array => keep.verbatim(b"null"),
    }
}

/// Steps over what follows a value: closing brackets up to a comma. `true` when the outermost value has ended.
fn end_value(cursor: &mut Cursor<'_>, nesting: &mut Nesting, keep: &mut impl Keep) -> Result<bool, Reason> {
    loop {
        if nesting.depth == 0 {
            return Ok(true);
        }
        cursor.skip_blanks();
        let here = cursor.peek();
        cursor.step();
        match (here, nesting.in_object()) {
            (b',', _) => {
                keep.verbatim(b",");
                cursor.skip_blanks();
                return Ok(false);
            }
            (b'}', true) | (b']', false) => {
                keep.verbatim(&[here]);
                nesting.depth -= 1;
            }
            _ => return Err(Reason::NotJson),
        }
    }
}

/// Which of the open brackets are braces.
struct Nesting {
    depth: usize,
    objects: [u64; DEPTH_MAX.div_ceil(64)],
}

impl Nesting {
    fn new() -> Self {
        Self { depth: 0, objects: [0; DEPTH_MAX.div_ceil(64)] }
    }

    fn enter(&mut self, object: bool, depth: usize, depth_max: usize) -> Result<(), Reason> {
        if depth + self.depth >= depth_max.min(DEPTH_MAX) {
            return Err(Reason::TooDeep);
        }
        let (word, bit) = (self.depth / 64, 1 << (self.depth % 64));
        if object {
            self.objects[word] |= bit;
        } else {
            self.objects[word] &= !bit;
        }
        self.depth += 1;
        Ok(())
    }

    fn in_object(&self) -> bool {
        self.depth > 0 && self.objects[(self.depth - 1) / 64] & (1 << ((self.depth - 1) % 64)) != 0
    }
}

/// A piece of a string whose escapes are resolved.
pub(super) enum Piece<'a> {
    Plain(&'a [u8]),
    Char(char),
    /// Half of a pair without its other half.
    LoneSurrogate(u16),
}

/// Resolves the escapes of `text`, which the lexer has checked.
pub(super) fn decode(text: Text<'_>, mut take: impl FnMut(Piece<'_>)) {
    let mut rest = text.raw;
    if !text.escaped {
        return take(Piece::Plain(rest));
    }
    while let Some(at) = memchr::memchr(b'\\', rest) {
        take(Piece::Plain(&rest[..at]));
        let letter = rest[at + 1];
        rest = &rest[at + 2..];
        let char = match letter {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = hex(rest);
                rest = &rest[4..];
                let low = rest.strip_prefix(b"\\u").map(hex);
                match (char::from_u32(u32::from(unit)), low) {
                    (Some(char), _) => char,
                    (None, Some(low)) if unit < 0xdc00 && (0xdc00..0xe000).contains(&low) => {
                        rest = &rest[6..];
                        let code = 0x10000 + ((u32::from(unit) - 0xd800) << 10) + (u32::from(low) - 0xdc00);
                        char::from_u32(code).expect("a pair is a character")
                    }
                    _ => {
                        take(Piece::LoneSurrogate(unit));
                        continue;
                    }
                }
            }
            other => char::from(other),
        };
        take(Piece::Char(char));
    }
    take(Piece::Plain(rest));
}

fn hex(digits: &[u8]) -> u16 {
    digits[..4].iter().fold(0, |value, digit| value << 4 | char::from(*digit).to_digit(16).unwrap_or(0) as u16)
}

/// Appends a string's content to `out`; half a surrogate pair becomes `?`, as in Spark.
pub(super) fn write_content(text: Text<'_>, out: &mut Vec<u8>) {
    if !text.escaped {
        return out.extend_from_slice(text.raw);
    }
    decode(text, |piece| match piece {
        Piece::Plain(run) => out.extend_from_slice(run),
        Piece::Char(char) => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        Piece::LoneSurrogate(_) => out.push(b'?'),
    });
}

/// What becomes of characters beyond U+FFFF.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Beyond {
    /// They stay as they are (`to_json`).
    Plain,
    /// They are written as two escapes (JSON kept in a STRING).
    Escaped,
}

/// Appends UTF-8 text with what JSON requires to be escaped.
pub(super) fn write_escaped(text: &[u8], beyond: Beyond, out: &mut Vec<u8>) {
    let special = |b: u8| b < 0x20 || b == b'"' || b == b'\\' || beyond == Beyond::Escaped && b >= 0xf0;
    let mut rest = text;
    while let Some(at) = rest.iter().position(|b| special(*b)) {
        out.extend_from_slice(&rest[..at]);
        let byte = rest[at];
        rest = &rest[at + 1..];
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control @ ..0x20 => write_unit(u16::from(control), out),
            first => {
                let tail = rest.get(..3).unwrap_or(&[0x80; 3]);
                let code = tail.iter().fold(u32::from(first & 0x07), |code, b| code << 6 | u32::from(b & 0x3f));
                let code = code.saturating_sub(0x10000);
                write_unit(0xd800 | (code >> 10) as u16, out);
                write_unit(0xdc00 | (code & 0x3ff) as u16, out);
                rest = rest.get(3..).unwrap_or_default();
            }
        }
    }
    out.extend_from_slice(rest);
}

fn write_unit(unit: u16, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(DIGITS[usize::from(unit >> shift & 0xf)]);
    }
}
