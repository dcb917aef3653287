//! Text functions. Positions and lengths count code points, as in Spark's UTF8_BINARY collation.

use std::sync::Arc;

use arrow::array::{Array, BinaryArray, BooleanArray, Datum, Int32Array, ListArray, StringArray};
use arrow::compute::{contains, ends_with, starts_with};
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;
use datafusion::scalar::ScalarValue;
use memchr::memmem::{Finder, FinderRev};

use super::super::{Call, Typed, is_fallible};
use super::arguments::{
    Want, any_nullable, arity, coerce, coerce_one, coerce_optional, constant, convert, mismatch, null_of, text,
};
use super::native::{Args, Last, Reader, Returns, call, from_arrow, within_column};
use super::{FunctionSpec, scalar};
use crate::error::Result;
use crate::plan::spark::cast::digit;
use crate::plan::spark::constant::fails_when_planned;

mod case;
mod concat;
mod find;
mod pad;
mod sentence;
mod similar;

const TEXT_OR_BINARY: Want = Want::OneOf(&[Want::Text, Want::Binary]);

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("upper(text)", "In capitals", "upper('straße') → STRASSE", case::upper),
    scalar("ucase(text)", "As `upper`", "ucase('a') → A", case::upper),
    scalar("lower(text)", "In small letters", "lower('SQL') → sql", case::lower),
    scalar("lcase(text)", "As `lower`", "lcase('A') → a", case::lower),
    scalar("initcap(text)", "Each word with a capital first and small letters behind", "initcap('sPark sql') → Spark Sql", |c| to_text(c, case::initcap)),
    scalar("soundex(text)", "Soundex code of how a word sounds in English", "soundex('Miller') → M460", |c| { only_texts(&c)?; to_text(c, case::soundex) }),
    scalar("length(value)", "Characters of a text, bytes of a binary", "length('Spark ') → 6", length),
    scalar("len(value)", "As `length`", "len('äö') → 2", length),
    scalar("char_length(value)", "As `length`", "char_length('abc') → 3", length),
    scalar("character_length(value)", "As `length`", "character_length('abc') → 3", length),
    scalar("octet_length(value)", "Bytes of a text or binary", "octet_length('äö') → 4", |c| byte_length(c, 1)),
    scalar("bit_length(value)", "Bits of a text or binary", "bit_length('ab') → 16", |c| byte_length(c, 8)),
    scalar("concat(value, …)", "Texts, binaries or arrays one behind another; null if one is null", "concat('Spark', 'SQL') → SparkSQL", concat::concat),
    scalar("concat_ws(separator, text or array, …)", "Texts with a separator between; nulls are left out", "concat_ws(', ', 'a', NULL, array('b', 'c')) → a, b, c", concat::concat_ws),
    scalar("substring(text, position[, length])", "A part from a position on, counted from 1 or, negative, from the end", "substring('Spark SQL', 5, 3) → k S", substring),
    scalar("substr(text, position[, length])", "As `substring`", "substr('Spark SQL', -3) → SQL", substring),
    scalar("left(text, length)", "The first characters", "left('Spark', 3) → Spa", left),
    scalar("right(text, length)", "The last characters", "right('Spark', 3) → ark", right),
    scalar("trim(text)", "Without spaces at both ends; `TRIM(BOTH 'x' FROM text)` names other characters", "trim('  SQL ') → SQL", |c| trim_reversed(c, Side::Both)),
    scalar("ltrim(text)", "Without spaces at the beginning", "ltrim('  SQL') → SQL", |c| trim_reversed(c, Side::Left)),
    scalar("rtrim(text)", "Without spaces at the end", "rtrim('SQL  ') → SQL", |c| trim_reversed(c, Side::Right)),
    scalar("btrim(text[, characters])", "Without these characters, or spaces, at both ends", "btrim('xxSQLyx', 'xy') → SQL", |c| trim(c, Side::Both)),
    scalar("lpad(value, length[, pad])", "Filled up at the front, or cut, to a length", "lpad('7', 3, '0') → 007", |c| pad::pad(c, Side::Left)),
    scalar("rpad(value, length[, pad])", "Filled up at the end, or cut, to a length", "rpad('7', 3, '.') → 7..", |c| pad::pad(c, Side::Right)),
    scalar("repeat(text, times)", "The text so many times", "repeat('ab', 3) → ababab", pad::repeat),
    scalar("space(n)", "So many spaces", "length(space(3)) → 3", pad::space),
    scalar("reverse(value)", "A text or array from its end to its beginning", "reverse('Spark') → krapS", reverse),
    scalar("replace(text, search[, with])", "Every `search` in the text replaced, or left out", "replace('ABCabc', 'abc', 'DEF') → ABCDEF", replace),
    scalar("translate(text, from, to)", "Each character in `from` replaced by the one at its place in `to`, or left out", "translate('AaBbCc', 'abc', '123') → A1B2C3", translate),
    scalar("instr(text, part[, from[, occurrence]])", "Where `part` begins, from 1 on; 0 if it does not; from the end for a negative `from`", "instr('SparkSQL', 'SQL') → 6", find::instr),
    scalar("locate(part, text[, from])", "Where the first `part` at `from` or later begins; 0 if there is none", "locate('bar', 'foobarbar', 5) → 7", locate),
    scalar("position(part, text[, from])", "As `locate`; also `POSITION(part IN text)`", "position('bar', 'foobarbar') → 4", locate),
    scalar("split_part(text, delimiter, n)", "The n-th piece between delimiters, from the end if negative", "split_part('11.12.13', '.', 3) → 13", split_part),
    scalar("substring_index(text, delimiter, count)", "What stands before the count-th delimiter, or behind it if negative", "substring_index('www.apache.org', '.', 2) → www.apache", substring_index),
    scalar("startswith(text, part)", "Whether it begins with `part`", "startswith('Spark', 'Sp') → true", |c| test(c, starts_with)),
    scalar("endswith(text, part)", "Whether it ends with `part`", "endswith('Spark', 'k') → true", |c| test(c, ends_with)),
    scalar("contains(text, part)", "Whether it has `part` in it", "contains('Spark', 'ar') → true", |c| test(c, contains)),
    scalar("ascii(text)", "The number of its first character", "ascii('2') → 50", ascii),
    scalar("char(n)", "The character of a number, modulo 256", "char(65) → A", char),
    scalar("chr(n)", "As `char`", "chr(65) → A", char),
    scalar("levenshtein(a, b[, limit])", "How many edits lie between two texts; -1 above `limit`", "levenshtein('kitten', 'sitting') → 3", case::levenshtein),
    scalar("overlay(text, with, position[, length])", "With a part replaced; also `OVERLAY(text PLACING with FROM position)`", "overlay('Spark SQL', '_', 6) → Spark_SQL", pad::overlay),
    scalar("find_in_set(text, list)", "At which place in a list with commas the text stands, 0 if it does not", "find_in_set('ab', 'abc,b,ab,c') → 3", find_in_set),
    scalar("elt(n, value, …)", "The n-th of the values; an error beyond them", "elt(2, 'scala', 'java') → java", elt),
    scalar("mask(text[, upper, lower, digit, other])", "Letters as `X` and `x`, digits as `n`, or as given; null leaves characters as they are", "mask('AbCD123-@$#') → XxXXnnn-@$#", case::mask),
    scalar("luhn_check(digits)", "Whether a number such as a card's has the right check digit", "luhn_check('8112189876') → true", luhn_check),
    scalar("sentences(text[, language, country])", "The words of each sentence", "sentences('Hi there. Bye') → [[Hi, there], [Bye]]", sentence::sentences),
    scalar("jaro_winkler_similarity(a, b)", "How alike two texts are, from 0 to 1", "jaro_winkler_similarity('MARTHA', 'MARHTA') → 0.9611111111111111", similar::jaro_winkler),
    scalar("quote(text)", "In single quotes, with those in it escaped", r"quote('Don\'t') → 'Don\'t'", |c| to_text(c, case::quote)),
];

/// Which end of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    Both,
}

/// Refuses arguments that are no texts, which some functions do not cast by themselves.
fn only_texts(c: &Call<'_>) -> Result<()> {
    match c.args.iter().position(|arg| !matches!(arg.data_type, DataType::Utf8 | DataType::Null)) {
        Some(index) => Err(super::arguments::unexpected_type(c, index, &c.args[index].data_type, &Want::Text)),
        None => Ok(()),
    }
}

/// STRING → STRING.
fn to_text(mut c: Call<'_>, write: fn(&str, &mut String)) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text])?;
    let returns = Returns::new(DataType::Utf8, args[0].nullable);
    Ok(call(c.name, args, returns, move |a| {
        let s = a.column::<StringArray>(0)?;
        a.strings(|row, out| {
            write(s.get(row)?, out);
            Some(())
        })
    }))
}

fn length(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[TEXT_OR_BINARY])?;
    let (nullable, is_text) = (args[0].nullable, args[0].data_type == DataType::Utf8);
    Ok(call(c.name, args, Returns::new(DataType::Int32, nullable), move |a| {
        if is_text {
            let s = a.column::<StringArray>(0)?;
            a.primitive::<Int32Type>(|row| Some(count_chars(s.get(row)?)))
        } else {
            let s = a.column::<BinaryArray>(0)?;
            a.primitive::<Int32Type>(|row| Some(s.get(row)?.len() as i32))
        }
    }))
}

fn byte_length(mut c: Call<'_>, factor: i32) -> Result<Typed> {
    let args = coerce(&mut c, &[TEXT_OR_BINARY])?;
    let returns = Returns::new(DataType::Int32, args[0].nullable);
    Ok(call(c.name, args, returns, move |a| {
        let bytes = Bytes::of(a, 0)?;
        a.primitive::<Int32Type>(|row| Some((bytes.get(row)?.len() as i32).wrapping_mul(factor)))
    }))
}

/// A text or binary column, by its bytes.
enum Bytes<'a> {
    Text(Reader<'a, StringArray>),
    Binary(Reader<'a, BinaryArray>),
}

impl<'a> Bytes<'a> {
    fn of(a: &Args<'a>, index: usize) -> Result<Self> {
        Ok(match a.any(index).array.data_type() {
            DataType::Utf8 => Self::Text(a.column(index)?),
            _ => Self::Binary(a.column(index)?),
        })
    }

    fn get(&self, row: usize) -> Option<&'a [u8]> {
        match self {
            Self::Text(s) => s.get(row).map(str::as_bytes),
            Self::Binary(b) => b.get(row),
        }
    }
}

/// Code points; lengths of one value fit an INT since a column holds at most 2 GiB.
fn count_chars(s: &str) -> i32 {
    s.chars().count() as i32
}

/// The byte offset of code point `index` (0-based), or the length if there are fewer.
fn offset_of(s: &str, index: usize) -> usize {
    if s.is_ascii() {
        return index.min(s.len());
    }
    s.char_indices().nth(index).map_or(s.len(), |(offset, _)| offset)
}

/// Code points `start..end` of `s`, both clamped.
fn slice_chars(s: &str, start: i64, end: i64) -> &str {
    let (start, end) = (start.max(0) as usize, end.max(0) as usize);
    if end <= start {
        return "";
    }
    let from = offset_of(s, start);
    let rest = &s[from..];
    &rest[..offset_of(rest, end - start)]
}

/// SQL's `substring`: 1-based, negative positions count from the end, 0 is like 1.
fn sql_slice(s: &str, position: i32, length: i32) -> &str {
    let start = match position {
        1.. => i64::from(position) - 1,
        0 => 0,
        _ => i64::from(count_chars(s)) + i64::from(position),
    };
    slice_chars(s, start, (start + i64::from(length)).clamp(i64::from(i32::MIN), i64::from(i32::MAX)))
}

/// The same of bytes.
fn sql_slice_bytes(b: &[u8], position: i32, length: i32) -> &[u8] {
    let size = b.len() as i64;
    if i64::from(position) > size {
        return &[];
    }
    let start = match position {
        1.. => i64::from(position) - 1,
        0 => 0,
        _ => size + i64::from(position),
    };
    let end = if size - start < i64::from(length) { size } else { start + i64::from(length) };
    let start = start.max(0);
    if start >= end { &[] } else { &b[start as usize..end as usize] }
}

fn substring(mut c: Call<'_>) -> Result<Typed> {
    let mut args = coerce_optional(&mut c, 2, &[TEXT_OR_BINARY, Want::Int, Want::Int])?;
    if args.len() == 2 {
        args.push(super::arguments::literal(i32::MAX.into()));
    }
    slice("substring", args)
}

fn left(mut c: Call<'_>) -> Result<Typed> {
    let mut args = coerce(&mut c, &[TEXT_OR_BINARY, Want::Int])?;
    args.insert(1, super::arguments::literal(1_i32.into()));
    slice("left", args)
}

fn slice(name: &str, args: Vec<Typed>) -> Result<Typed> {
    let (data_type, nullable) = (args[0].data_type.clone(), any_nullable(&args));
    let is_text = data_type == DataType::Utf8;
    Ok(call(name, args, Returns::new(data_type, nullable), move |a| {
        let (position, length) = (a.column::<Int32Array>(1)?, a.column::<Int32Array>(2)?);
        if is_text {
            let s = a.column::<StringArray>(0)?;
            return a.slices(|row| Some(sql_slice(s.get(row)?, position.get(row)?, length.get(row)?)));
        }
        let b = a.column::<BinaryArray>(0)?;
        a.binaries(|row, out| {
            let (Some(b), Some(position), Some(length)) = (b.get(row), position.get(row), length.get(row)) else {
                return Ok(None);
            };
            out.extend_from_slice(sql_slice_bytes(b, position, length));
            Ok(Some(()))
        })
    }))
}

fn right(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text, Want::Int])?;
    let returns = Returns::new(DataType::Utf8, any_nullable(&args));
    Ok(call(c.name, args, returns, |a| {
        let (s, length) = (a.column::<StringArray>(0)?, a.column::<Int32Array>(1)?);
        a.slices(|row| {
            let (s, length) = (s.get(row)?, length.get(row)?);
            Some(if length > 0 { sql_slice(s, -length, i32::MAX) } else { "" })
        })
    }))
}

/// `trim(characters, text)`: the characters come first, as in `TRIM(characters FROM text)`.
fn trim_reversed(mut c: Call<'_>, side: Side) -> Result<Typed> {
    if c.args.len() == 2 {
        c.args.reverse();
    }
    trim(c, side)
}

fn trim(mut c: Call<'_>, side: Side) -> Result<Typed> {
    let mut args = coerce_optional(&mut c, 1, &[Want::Text, Want::Text])?;
    if args.len() == 1 {
        args.push(text(" "));
    }
    let returns = Returns::new(DataType::Utf8, any_nullable(&args));
    Ok(call(c.name, args, returns, move |a| {
        let (s, set) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?);
        a.slices(|row| {
            let (s, set) = (s.get(row)?, set.get(row)?);
            // Most often a single character, which is compared rather than looked for.
            let mut chars = set.chars();
            Some(match (chars.next(), chars.next()) {
                (None, _) => s,
                (Some(only), None) => trimmed(s, side, |ch| ch == only),
                _ => trimmed(s, side, |ch| set.contains(ch)),
            })
        })
    }))
}

fn trimmed(mut s: &str, side: Side, within: impl Fn(char) -> bool) -> &str {
    if side != Side::Right {
        s = s.trim_start_matches(&within);
    }
    if side != Side::Left {
        s = s.trim_end_matches(&within);
    }
    s
}

/// `reverse` of a text, of bytes or of an array.
fn reverse(mut c: Call<'_>) -> Result<Typed> {
    const WANT: Want = Want::OneOf(&[Want::Text, Want::Array, Want::Binary]);
    let args = coerce(&mut c, &[WANT])?;
    let returns = Returns::new(args[0].data_type.clone(), args[0].nullable);
    if args[0].data_type == DataType::Utf8 {
        return Ok(call(c.name, args, returns, |a| {
            let s = a.column::<StringArray>(0)?;
            a.strings(|row, out| {
                out.extend(s.get(row)?.chars().rev());
                Some(())
            })
        }));
    }
    if args[0].data_type == DataType::Binary {
        return Ok(call(c.name, args, returns, |a| {
            let b = a.column::<BinaryArray>(0)?;
            a.binaries(|row, out| Ok(b.get(row).map(|b| out.extend(b.iter().rev()))))
        }));
    }
    Ok(call(c.name, args, returns, |a| {
        let lists = a.column::<ListArray>(0)?;
        super::collection::gather(a, lists.array(), |row, items| {
            items.extend(super::collection::ranges(&lists, row)?.rev().map(|i| Some(i as u32)));
            Some(())
        })
    }))
}

fn replace(mut c: Call<'_>) -> Result<Typed> {
    let mut args = coerce_optional(&mut c, 2, &[Want::Text, Want::Text, Want::Text])?;
    if args.len() == 2 {
        args.push(text(""));
    }
    let returns = Returns::new(DataType::Utf8, any_nullable(&args));
    Ok(call(c.name, args, returns, |a| {
        let (s, search, with) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?, a.column::<StringArray>(2)?);
        a.try_strings(|row, out| {
            let (Some(s), Some(search), Some(with)) = (s.get(row), search.get(row), with.get(row)) else { return Ok(None) };
            if search.is_empty() {
                out.push_str(s);
                return Ok(Some(()));
            }
            let mut done = 0;
            for (at, found) in s.match_indices(search) {
                within_column(out.len() + with.len())?;
                out.push_str(&s[done..at]);
                out.push_str(with);
                done = at + found.len();
            }
            out.push_str(&s[done..]);
            Ok(Some(()))
        })
    }))
}

fn translate(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text, Want::Text, Want::Text])?;
    let returns = Returns::new(DataType::Utf8, any_nullable(&args));
    Ok(call(c.name, args, returns, |a| {
        let (s, from, to) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?, a.column::<StringArray>(2)?);
        let mut becomes: Option<(&str, &str, [Option<char>; 128])> = None;
        a.strings(|row, out| {
            let (s, from, to) = (s.get(row)?, from.get(row)?, to.get(row)?);
            let translated = |ch: char| match from.chars().position(|f| f == ch) {
                Some(index) => to.chars().nth(index),
                None => Some(ch),
            };
            if becomes.as_ref().is_none_or(|(of, with, _)| *of != from || *with != to) {
                becomes = Some((from, to, std::array::from_fn(|ch| translated(char::from(ch as u8)))));
            }
            let (_, _, ascii) = becomes.as_ref()?;
            s.chars().for_each(|ch| {
                if let Some(ch) = if ch.is_ascii() { ascii[ch as usize] } else { translated(ch) } {
                    out.push(ch);
                }
            });
            Some(())
        })
    }))
}

/// Code point position (1-based) of `part` in `s` from code point `from` (0-based) on; 0 if it is not there.
fn position_from(s: &str, part: &str, from: usize) -> i32 {
    if part.is_empty() {
        return 1;
    }
    let start = offset_of(s, from);
    s[start..].find(part).map_or(0, |at| count_chars(&s[..start + at]) + 1)
}

fn locate(mut c: Call<'_>) -> Result<Typed> {
    let mut args = coerce_optional(&mut c, 2, &[Want::Text, Want::Text, Want::Int])?;
    if args.len() == 2 {
        args.push(super::arguments::literal(1_i32.into()));
    }
    let returns = Returns::new(DataType::Int32, args[0].nullable || args[1].nullable);
    Ok(call(c.name, args, returns, |a| {
        let (part, s, from) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?, a.column::<Int32Array>(2)?);
        a.primitive::<Int32Type>(|row| {
            // A null start position finds nothing, before anything else is looked at.
            let Some(from) = from.get(row) else { return Some(0) };
            let (part, s) = (part.get(row)?, s.get(row)?);
            Some(if from < 1 { 0 } else { position_from(s, part, from as usize - 1) })
        })
    }))
}

fn split_part(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text, Want::Text, Want::Int])?;
    let returns = Returns::fallible(DataType::Utf8, any_nullable(&args));
    Ok(call(c.name, args, returns, |a| {
        let (s, by, part) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?, a.column::<Int32Array>(2)?);
        a.try_slices(|row| {
            let (Some(s), Some(by), Some(part)) = (s.get(row), by.get(row), part.get(row)) else { return Ok(None) };
            if part == 0 {
                return Err(super::arguments::data_error(
                    "INVALID_INDEX_OF_ZERO",
                    "the index 0 is invalid: an index counts from 1, or from -1 for the last",
                ));
            }
            let index = part.unsigned_abs() as usize - 1;
            let found = if by.is_empty() {
                (index == 0).then_some(s)
            } else if part > 0 {
                s.split(by).nth(index)
            } else {
                // From the front, since overlapping delimiters (`aa` in `aaa`) are cut from there.
                let count = s.split(by).count();
                count.checked_sub(index + 1).and_then(|index| s.split(by).nth(index))
            };
            Ok(Some(found.unwrap_or("")))
        })
    }))
}

fn substring_index(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text, Want::Text, Want::Int])?;
    let returns = Returns::new(DataType::Utf8, any_nullable(&args));
    Ok(call(c.name, args, returns, |a| {
        let (s, by, count) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?, a.column::<Int32Array>(2)?);
        let mut finders = Last::default();
        a.slices(|row| {
            let (s, by, count) = (s.get(row)?, by.get(row)?, count.get(row)?);
            let make = |by: &str| Ok((Finder::new(by).into_owned(), FinderRev::new(by).into_owned()));
            let (first, last) = finders.get(by, make).ok()?;
            Some(match count {
                0 => "",
                1.. => before_delimiter(s, by, count.unsigned_abs(), first),
                _ => behind_delimiter(s, by, count.unsigned_abs(), last),
            })
        })
    }))
}

/// What precedes the `count`-th `by`. Delimiters may overlap.
fn before_delimiter<'s>(s: &'s str, by: &str, count: u32, finder: &Finder<'_>) -> &'s str {
    let Some(first) = by.chars().next() else { return "" };
    let mut from = 0;
    for left in (0..count).rev() {
        let Some(at) = finder.find(&s.as_bytes()[from..]).map(|at| from + at) else { return s };
        if left == 0 {
            return &s[..at];
        }
        from = at + first.len_utf8();
    }
    s
}

/// What follows the `count`-th `by` from the end. Delimiters may overlap.
fn behind_delimiter<'s>(s: &'s str, by: &str, count: u32, finder: &FinderRev<'_>) -> &'s str {
    let Some(last) = by.chars().next_back() else { return "" };
    let mut to = s.len();
    for left in (0..count).rev() {
        let Some(at) = finder.rfind(&s.as_bytes()[..to]) else { return s };
        if left == 0 {
            return &s[at + by.len()..];
        }
        // One code point before the end of this match, so that an overlapping one is found.
        to = at + by.len() - last.len_utf8();
    }
    s
}

/// Of two texts or two binaries.
type Predicate = fn(&dyn Datum, &dyn Datum) -> std::result::Result<BooleanArray, ArrowError>;

fn test(mut c: Call<'_>, holds: Predicate) -> Result<Typed> {
    let args = coerce(&mut c, &[TEXT_OR_BINARY, TEXT_OR_BINARY])?;
    let binary = args.iter().all(|a| a.data_type == DataType::Binary);
    let to = if binary { DataType::Binary } else { DataType::Utf8 };
    let args = args.into_iter().map(|a| convert(&c, a, &to)).collect::<Result<Vec<_>>>()?;
    let returns = Returns::new(DataType::Boolean, any_nullable(&args));
    Ok(call(c.name, args, returns, move |a| Ok(Arc::new(holds(&a.any(0), &a.any(1)).map_err(from_arrow)?))))
}

fn ascii(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text])?;
    let returns = Returns::new(DataType::Int32, args[0].nullable);
    Ok(call(c.name, args, returns, |a| {
        let s = a.column::<StringArray>(0)?;
        a.primitive::<Int32Type>(|row| Some(s.get(row)?.chars().next().map_or(0, |ch| ch as i32)))
    }))
}

fn char(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Long])?;
    let returns = Returns::new(DataType::Utf8, args[0].nullable);
    Ok(call(c.name, args, returns, |a| {
        let n = a.column::<arrow::array::Int64Array>(0)?;
        a.strings(|row, out| {
            let n = n.get(row)?;
            if n >= 0 {
                out.push(char::from((n & 0xFF) as u8));
            }
            Some(())
        })
    }))
}

fn find_in_set(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text, Want::Text])?;
    let returns = Returns::new(DataType::Int32, any_nullable(&args));
    Ok(call(c.name, args, returns, |a| {
        let (word, set) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?);
        a.primitive::<Int32Type>(|row| {
            let (word, set) = (word.get(row)?, set.get(row)?);
            let found = if word.contains(',') { None } else { set.split(',').position(|s| s == word) };
            Some(found.map_or(0, |at| at as i32 + 1))
        })
    }))
}

fn elt(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, None)?;
    let args = std::mem::take(&mut c.args);
    let binary = args[1..].iter().all(|a| a.data_type == DataType::Binary);
    let value = if binary { Want::Binary } else { Want::Text };
    let args = args
        .into_iter()
        .enumerate()
        .map(|(index, arg)| coerce_one(&c, index, arg, if index == 0 { &Want::Int } else { &value }))
        .collect::<Result<Vec<_>>>()?;
    // A value that is not chosen is not computed.
    if let (true, Some(ScalarValue::Int32(Some(index)))) =
        (args[1..].iter().any(|arg| is_fallible(&arg.expr)), constant(&args[0]).ok().flatten())
        && let Some(chosen) = usize::try_from(index).ok().filter(|index| *index > 0).and_then(|index| args.get(index))
        && !args.iter().any(|arg| fails_when_planned(&arg.expr))
    {
        return Ok(chosen.clone());
    }
    let returns = Returns::fallible(args[1].data_type.clone(), true);
    Ok(call(c.name, args, returns, move |a| {
        let index = a.column::<Int32Array>(0)?;
        let values = (1..a.count()).map(|i| Bytes::of(a, i)).collect::<Result<Vec<_>>>()?;
        let pick = |row: usize| -> Result<Option<&[u8]>> {
            let Some(index) = index.get(row) else { return Ok(None) };
            match usize::try_from(index).ok().and_then(|i| i.checked_sub(1)).and_then(|i| values.get(i)) {
                Some(value) => Ok(value.get(row)),
                None => Err(super::arguments::data_error(
                    "INVALID_ARRAY_INDEX",
                    format!("the index {index} is out of bounds: there are {} values", values.len()),
                )),
            }
        };
        if binary {
            return a.binaries(|row, out| Ok(pick(row)?.map(|value| out.extend_from_slice(value))));
        }
        a.try_strings(|row, out| Ok(pick(row)?.map(|value| out.push_str(&String::from_utf8_lossy(value)))))
    }))
}

fn luhn_check(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text])?;
    let returns = Returns::new(DataType::Boolean, args[0].nullable);
    Ok(call(c.name, args, returns, |a| {
        let s = a.column::<StringArray>(0)?;
        a.booleans(|row| Some(is_luhn(s.get(row)?)))
    }))
}

fn is_luhn(s: &str) -> bool {
    let mut digits = s.chars().rev().map(digit).enumerate();
    let sum = digits.try_fold(0_u64, |sum, (place, digit)| {
        let digit = u64::from(digit?);
        Some(match (place % 2, digit * 2) {
            (0, _) => sum + digit,
            (_, doubled) if doubled > 9 => sum + doubled - 9,
            (_, doubled) => sum + doubled,
        })
    });
    !s.is_empty() && sum.is_some_and(|sum| sum.is_multiple_of(10))
}
