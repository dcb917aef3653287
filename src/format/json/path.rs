//! What functions look for in a JSON text: the value at a path, the length of an array, the keys of an object.
//!
//! A path is Hive's: `$`, then `.name`, `['name']`, `[n]`, `[*]`. How what it finds is written follows Hive too: one find is written
//! as it is, several as an array, and two `[*]` in a row flatten what they find. Text that is not JSON has nothing to be found in,
//! even if what is looked for stands before the fault.

use super::Reason;
use super::lexer::{Cursor, Number, Text, Token};
use super::text::{Beyond, Discard, Keep, Piece, decode, walk, write_content, write_number, write_string};

/// Levels of nesting that Spark's reader allows.
const DEPTH_MAX: usize = 1000;

/// A path that can find something.
#[derive(Debug)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, PartialEq)]
enum Step {
    Member(Box<[u8]>),
    Element(u64),
    Every,
}

/// How a find is written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Style {
    /// Outside arrays: a string without its quotes.
    Raw,
    Quoted,
    /// Elements of arrays instead of the arrays.
    Flat,
}

impl JsonPath {
    /// Reads a path; `None` if it is none, or one that finds nothing in any text (with `.*`).
    pub fn parse(path: &str) -> Option<Self> {
        let mut rest = path.strip_prefix('$')?;
        let mut steps = Vec::new();
        while !skip_space(rest).is_empty() {
            let spaced = skip_space(rest);
            // Space may stand before what the grammar calls a literal or a pattern, not before a single character.
            if spaced.starts_with(".*") || spaced.starts_with("['*']") {
                return None;
            }
            let (step, tail) = member(rest, spaced).or_else(|| element(rest))?;
            steps.push(step);
            rest = tail;
        }
        Some(Self(steps))
    }

    /// Appends what stands at this path in `text` to `out`; `false` if nothing does.
    pub fn find(&self, text: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let mut cursor = Cursor::searching(text);
        cursor.skip_blanks();
        let is_number = matches!(cursor.peek(), b'0'..=b'9' | b'-');
        let mut output = Output { out, beyond: Beyond::Escaped, in_array: false, begun: false };
        let found = matches!(evaluate(&mut cursor, &self.0, Style::Raw, &mut output, 0), Ok(true));
        let whole = !is_number || cursor.is_at_end() || matches!(cursor.peek(), b' ' | b'\t' | b'\n' | b'\r');
        if !(found && whole) {
            out.truncate(start);
        }
        found && whole
    }
}

/// Without the space in front that Scala's parsers skip.
fn skip_space(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r'])
}

/// `.name` or `['name']`.
fn member<'a>(rest: &'a str, spaced: &'a str) -> Option<(Step, &'a str)> {
    let (name, tail) = if let Some(name) = rest.strip_prefix('.') {
        let name = skip_space(name);
        name.split_at(name.find(['.', '[']).unwrap_or(name.len()))
    } else {
        let name = skip_space(spaced.strip_prefix("['")?);
        let (name, tail) = name.split_at(name.find('\'')?);
        (name, tail.strip_prefix("']")?)
    };
    (!name.is_empty()).then(|| (Step::Member(name.as_bytes().into()), tail))
}

/// `[n]` or `[*]`.
fn element(rest: &str) -> Option<(Step, &str)> {
    let rest = rest.strip_prefix('[')?;
    if let Some(tail) = rest.strip_prefix("*]") {
        return Some((Step::Every, tail));
    }
    let rest = skip_space(rest);
    let (digits, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    Some((Step::Element(digits.parse().ok()?), tail.strip_prefix(']')?))
}

/// Where finds are written, with what must stand between them.
struct Output<'o> {
    out: &'o mut Vec<u8>,
    beyond: Beyond,
    in_array: bool,
    begun: bool,
}

impl Output<'_> {
    fn separate(&mut self) {
        if self.begun {
            self.out.push(if self.in_array { b',' } else { b' ' });
        }
        self.begun = true;
    }

    /// An array with what `elements` writes.
    fn array(&mut self, elements: impl FnOnce(&mut Self) -> Result<bool, Reason>) -> Result<bool, Reason> {
        self.separate();
        self.out.push(b'[');
        let outside = (self.in_array, self.begun);
        (self.in_array, self.begun) = (true, false);
        let found = elements(self)?;
        (self.in_array, self.begun) = outside;
        self.out.push(b']');
        Ok(found)
    }
}

impl Keep for Output<'_> {
    fn verbatim(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
    }

    fn string(&mut self, text: Text<'_>) {
        write_string(text, self.beyond, self.out);
    }

    fn number(&mut self, number: &Number<'_>) {
        write_number(number, self.out);
    }
}

/// Writes what `path` finds in the value at `cursor`, which is `depth` levels deep; whether it found anything. What was written
/// without a find is part of the result if something else is found.
fn evaluate(cursor: &mut Cursor<'_>, path: &[Step], style: Style, output: &mut Output<'_>, depth: usize) -> Result<bool, Reason> {
    match (path.split_first(), cursor.peek()) {
        (None, b'"' | b'\'') if style == Style::Raw => {
            let text = cursor.string()?;
            // Half a surrogate pair cannot be written as UTF-8, and Spark's writer gives up there.
            let mut whole = true;
            decode(text, |piece| whole &= !matches!(piece, Piece::LoneSurrogate(_)));
            if !whole {
                return Err(Reason::NotJson);
            }
            write_content(text, output.out);
            Ok(true)
        }
        (None, b'[') if style == Style::Flat => {
            let mut found = false;
            elements(cursor, depth, |cursor| {
                found |= evaluate(cursor, path, style, output, depth + 1)?;
                Ok(())
            })?;
            Ok(found)
        }
        (None, _) => {
            output.separate();
            walk(cursor, depth, DEPTH_MAX, output)?;
            Ok(true)
        }
        (Some((Step::Member(name), rest)), b'{') => {
            let mut found = false;
            members(cursor, depth, |cursor, key| {
                // The first find counts; a null is none.
                if found || !is(key, name) || cursor.peek() == b'n' {
                    return walk(cursor, depth + 1, DEPTH_MAX, &mut Discard);
                }
                found = evaluate(cursor, rest, style, output, depth + 1)?;
                Ok(())
            })?;
            Ok(found)
        }
        (Some((Step::Every, rest)), b'[') => every(cursor, rest, style, output, depth),
        (Some((Step::Element(wanted), rest)), b'[') => {
            let style = if rest.first() == Some(&Step::Every) { Style::Quoted } else { style };
            let (mut at, mut found) = (0, false);
            elements(cursor, depth, |cursor| {
                at += 1;
                if at - 1 != *wanted {
                    return walk(cursor, depth + 1, DEPTH_MAX, &mut Discard);
                }
                found = evaluate(cursor, rest, style, output, depth + 1)?;
                Ok(())
            })?;
            Ok(found)
        }
        _ => {
            walk(cursor, depth, DEPTH_MAX, &mut Discard)?;
            Ok(false)
        }
    }
}

/// `[*]`.
fn every(cursor: &mut Cursor<'_>, rest: &[Step], style: Style, output: &mut Output<'_>, depth: usize) -> Result<bool, Reason> {
    if let Some((Step::Every, rest)) = rest.split_first() {
        return output.array(|output| each(cursor, rest, Style::Flat, output, depth).map(|finds| finds > 0));
    }
    if style == Style::Quoted {
        return output.array(|output| each(cursor, rest, Style::Quoted, output, depth).map(|finds| finds > 0));
    }
    let style = if style == Style::Raw { Style::Quoted } else { style };
    let mut buffer = Vec::new();
    let mut inner = Output { out: &mut buffer, beyond: Beyond::Plain, in_array: true, begun: false };
    let finds = each(cursor, rest, style, &mut inner, depth)?;
    if finds > 0 {
        output.separate();
        // One find stands for itself.
        let (open, close): (&[u8], &[u8]) = if finds > 1 { (b"[", b"]") } else { (b"", b"") };
        output.verbatim(open);
        output.verbatim(&buffer);
        output.verbatim(close);
    }
    Ok(finds > 0)
}

/// How many elements of the array at `cursor` the path finds something in.
fn each(cursor: &mut Cursor<'_>, path: &[Step], style: Style, output: &mut Output<'_>, depth: usize) -> Result<usize, Reason> {
    let mut finds = 0;
    elements(cursor, depth, |cursor| {
        finds += usize::from(evaluate(cursor, path, style, output, depth + 1)?);
        Ok(())
    })?;
    Ok(finds)
}

/// Whether a key, escaped or not, is `name`.
fn is(key: Text<'_>, name: &[u8]) -> bool {
    if !key.escaped {
        return key.raw == name;
    }
    let mut content = Vec::new();
    write_content(key, &mut content);
    content == name
}

/// Calls `each` at each value of the object at `cursor`; it must step over the value.
pub(super) fn members<'a>(
    cursor: &mut Cursor<'a>,
    depth: usize,
    mut each: impl FnMut(&mut Cursor<'a>, Text<'a>) -> Result<(), Reason>,
) -> Result<(), Reason> {
    listed(cursor, depth, b"}", |cursor| {
        let key = cursor.string()?;
        cursor.skip_blanks();
        if !cursor.eat(b":") {
            return Err(Reason::NotJson);
        }
        cursor.skip_blanks();
        each(cursor, key)
    })
}

/// Calls `each` at each element of the array at `cursor`; it must step over the element.
pub(super) fn elements<'a>(
    cursor: &mut Cursor<'a>,
    depth: usize,
    each: impl FnMut(&mut Cursor<'a>) -> Result<(), Reason>,
) -> Result<(), Reason> {
    listed(cursor, depth, b"]", each)
}

fn listed<'a>(
    cursor: &mut Cursor<'a>,
    depth: usize,
    close: &[u8],
    mut each: impl FnMut(&mut Cursor<'a>) -> Result<(), Reason>,
) -> Result<(), Reason> {
    if depth >= DEPTH_MAX {
        return Err(Reason::TooDeep);
    }
    cursor.step();
    cursor.skip_blanks();
    if cursor.eat(close) {
        return Ok(());
    }
    loop {
        each(cursor)?;
        cursor.skip_blanks();
        if cursor.eat(close) {
            return Ok(());
        }
        if !cursor.eat(b",") {
            return Err(Reason::NotJson);
        }
        cursor.skip_blanks();
    }
}

/// How many elements the array has that `text` is; `None` if it is none.
pub fn array_length(text: &[u8]) -> Option<usize> {
    let mut cursor = Cursor::searching(text);
    cursor.skip_blanks();
    if cursor.peek() != b'[' {
        return None;
    }
    let mut length = 0;
    elements(&mut cursor, 0, |cursor| {
        length += 1;
        walk(cursor, 1, DEPTH_MAX, &mut Discard)
    })
    .ok()?;
    Some(length)
}

/// Calls `take` with each key of the object that `text` is; `None` if it is none, also when keys have been told already.
pub fn object_keys(text: &[u8], mut take: impl FnMut(&[u8])) -> Option<()> {
    let mut cursor = Cursor::searching(text);
    cursor.skip_blanks();
    if cursor.peek() != b'{' {
        return None;
    }
    let mut content = Vec::new();
    members(&mut cursor, 0, |cursor, key| {
        content.clear();
        write_content(key, &mut content);
        take(&content);
        walk(cursor, 1, DEPTH_MAX, &mut Discard)
    })
    .ok()
}

/// Calls `take` with each member of the object that `text` is whose value is not null: key and value as text; `None` if it is
/// none. Members that are not `wanted` are passed over.
pub fn object_members(text: &[u8], wanted: impl Fn(&[u8]) -> bool, mut take: impl FnMut(&[u8], &[u8])) -> Option<()> {
    let mut cursor = Cursor::searching(text);
    cursor.skip_blanks();
    if cursor.peek() != b'{' {
        return None;
    }
    let (mut name, mut value) = (Vec::new(), Vec::new());
    members(&mut cursor, 0, |cursor, key| {
        name.clear();
        write_content(key, &mut name);
        if !wanted(&name) {
            return walk(cursor, 1, DEPTH_MAX, &mut Discard);
        }
        value.clear();
        match cursor.peek() {
            b'{' | b'[' => walk(cursor, 1, DEPTH_MAX, &mut value)?,
            _ => match cursor.token()? {
                Token::String(text) => write_content(text, &mut value),
                Token::Number(number) => write_number(&number, &mut value),
                Token::True => value.extend_from_slice(b"true"),
                Token::False => value.extend_from_slice(b"false"),
                Token::Null | Token::Object | Token::Array => return Ok(()),
            },
        }
        take(&name, &value);
        Ok(())
    })
    .ok()
}
