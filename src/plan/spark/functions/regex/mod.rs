//! Functions of regular expressions, which are Java's (see [`pattern`]).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, Int32Array, StringArray};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;

use super::super::column_size::TextLists;
use super::super::{Call, Typed};
use super::arguments::{Want, any_nullable, array_of, coerce, coerce_optional, data_error, literal, mismatch, require_constant};
use super::native::{Args, Returns, call};
use super::{FunctionSpec, scalar};
use crate::error::{Error, ErrorKind, Result};

mod class;
mod pattern;
mod translate;

use pattern::next_start;
pub(super) use pattern::{Groups, Pattern};

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("regexp_replace(text, pattern, with[, position])", "Every match replaced; `$1` stands for a group", r"regexp_replace('100-200', '(\\d+)', 'num') → num-num", replace),
    scalar("regexp_extract(text, pattern[, group])", "A group of the first match (1 unless given, 0 for all of it), empty if nothing matches", r"regexp_extract('100-200', '(\\d+)-(\\d+)', 2) → 200", extract),
    scalar("regexp_extract_all(text, pattern[, group])", "A group of every match", r"regexp_extract_all('100-200, 300-400', '(\\d+)-(\\d+)', 1) → [100, 300]", extract_all),
    scalar("regexp_like(text, pattern)", "Whether the pattern matches somewhere", "regexp_like('Spark', '^S.*k$') → true", like),
    scalar("regexp(text, pattern)", "As `regexp_like`", "regexp('Spark', 'x') → false", like),
    scalar("rlike(text, pattern)", "As `regexp_like`; also `text RLIKE pattern`", "rlike('Spark', 'p.r') → true", like),
    scalar("regexp_count(text, pattern)", "How many matches there are", "regexp_count('Steven Jones and Stephen Smith', 'Ste(v|ph)en') → 2", count),
    scalar("regexp_instr(text, pattern)", "Where the first match begins, from 1 on; 0 if there is none", "regexp_instr('user@spark.org', '@') → 5", instr),
    scalar("regexp_substr(text, pattern)", "The first match, null if there is none", "regexp_substr('Steven Jones', 'J[a-z]+') → Jones", substr),
    scalar("split(text, pattern[, limit])", "The pieces between matches, at most `limit` if that is positive", "split('oneAtwoBthree', '[AB]') → [one, two, three]", split),
];

/// The patterns that one call of a query has met, each compiled once for all its batches. Bounded: a column of distinct patterns does
/// not pile up.
struct Known {
    function: String,
    compiled: Mutex<HashMap<String, Arc<Pattern>>>,
}

const PATTERNS_MAX: usize = 16;

impl Known {
    fn new(function: &str) -> Arc<Self> {
        Arc::new(Self { function: function.to_owned(), compiled: Mutex::default() })
    }

    fn get(&self, pattern: &str) -> Result<Arc<Pattern>> {
        let mut known = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(pattern) {
            return Ok(Arc::clone(found));
        }
        if known.len() >= PATTERNS_MAX {
            known.clear();
        }
        let compiled = Arc::new(Pattern::compile(pattern, &self.function)?);
        known.insert(pattern.to_owned(), Arc::clone(&compiled));
        Ok(compiled)
    }
}

/// The patterns of one invocation: the last row's is nearly always the next one's too.
struct Patterns {
    known: Arc<Known>,
    last: Option<(String, Arc<Pattern>)>,
}

impl Patterns {
    fn of(known: &Arc<Known>) -> Self {
        Self { known: Arc::clone(known), last: None }
    }

    fn get(&mut self, pattern: &str) -> Result<&Pattern> {
        if self.last.as_ref().is_none_or(|(last, _)| last != pattern) {
            self.last = Some((pattern.to_owned(), self.known.get(pattern)?));
        }
        let (_, compiled) = self.last.as_ref().ok_or_else(|| Error::internal("the pattern was just put there"))?;
        Ok(compiled)
    }
}

/// A function of a text and a pattern, by the pattern that a row has.
fn per_pattern(
    name: &str,
    args: Vec<Typed>,
    returns: Returns,
    kernel: impl Fn(&Args<'_>, &mut Patterns) -> Result<ArrayRef> + Send + Sync + 'static,
) -> Result<Typed> {
    let known = Known::new(name);
    // A constant pattern that we do not have is refused when the query is planned; one that is wrong fails with the first row.
    if let Expr::Literal(ScalarValue::Utf8(Some(pattern)), _) = &args[1].expr
        && let Err(error) = known.get(pattern)
        && error.kind() == ErrorKind::Config
    {
        return Err(error);
    }
    Ok(call(name, args, returns, move |a| kernel(a, &mut Patterns::of(&known))))
}

/// Whether `pattern` occurs in `text`: `RLIKE`, as a function.
pub(in crate::plan::spark) fn like(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text, Want::Text])?;
    let returns = Returns::fallible(DataType::Boolean, any_nullable(&args));
    per_pattern(c.name, args, returns, |a, patterns| {
        let (s, pattern) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?);
        let mut found = arrow::array::BooleanBuilder::with_capacity(a.rows());
        for row in 0..a.rows() {
            match (s.get(row), pattern.get(row)) {
                (Some(s), Some(pattern)) => found.append_value(patterns.get(pattern)?.is_match(s)?),
                _ => found.append_null(),
            }
        }
        Ok(Arc::new(found.finish()))
    })
}

fn replace(mut c: Call<'_>) -> Result<Typed> {
    let mut args = coerce_optional(&mut c, 3, &[Want::Text, Want::Text, Want::Text, Want::Int])?;
    if args.len() == 3 {
        args.push(literal(1_i32.into()));
    }
    let position = require_constant(&c, "position", &args[3])?;
    if matches!(position, ScalarValue::Int32(Some(..=0))) {
        return Err(mismatch("VALUE_OUT_OF_RANGE", "the `position` must be between (0, 2147483647]"));
    }
    let returns = Returns::fallible(DataType::Utf8, any_nullable(&args));
    per_pattern(c.name, args, returns, |a, patterns| {
        let (s, pattern) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?);
        let (with, position) = (a.column::<StringArray>(2)?, a.column::<Int32Array>(3)?);
        let mut groups = Groups::default();
        a.try_strings(|row, out| {
            let (Some(s), Some(pattern), Some(with), Some(position)) =
                (s.get(row), pattern.get(row), with.get(row), position.get(row))
            else {
                return Ok(None);
            };
            let pattern = patterns.get(pattern)?;
            let from = s.char_indices().nth(position as usize - 1).map(|(offset, _)| offset);
            // A position behind the end replaces nothing, but an empty text has its one position.
            let Some(from) = from.or(if position == 1 { Some(0) } else { None }) else {
                out.push_str(s);
                return Ok(Some(()));
            };
            // What lies before the position is not there for the pattern either.
            let (before, s) = s.split_at(from);
            out.push_str(before);
            replace_all(s, pattern, with, &mut groups, out)?;
            Ok(Some(()))
        })
    })
}

fn replace_all(s: &str, pattern: &Pattern, with: &str, groups: &mut Groups, out: &mut String) -> Result<()> {
    let plain = !with.contains(['$', '\\']);
    let (mut copied, mut start) = (0, Some(0));
    while let Some(at) = start {
        let found = if plain { pattern.find(s, at)? } else { pattern.captures(s, at, groups)? };
        let Some((begin, end)) = found else { break };
        out.push_str(&s[copied..begin]);
        if plain {
            out.push_str(with);
        } else {
            expand(with, s, pattern, groups, out)?;
        }
        super::native::within_column(out.len())?;
        copied = end;
        start = next_start(s, (begin, end));
        if pattern.matches_between_halves(s, (begin, end))? {
            // Neither half is a character by itself.
            out.push(HALF);
            expand(with, s, pattern, &Groups::default(), out)?;
            out.push(HALF);
            copied = start.unwrap_or(s.len());
        }
    }
    out.push_str(&s[copied..]);
    Ok(())
}

/// What Java writes for half of a character.
const HALF: char = '?';

/// Appends a replacement: `$1`, `${name}` are groups, a backslash takes the next character literally.
fn expand(with: &str, s: &str, pattern: &Pattern, groups: &Groups, out: &mut String) -> Result<()> {
    let invalid = |reason: &str| {
        data_error("INVALID_REGEXP_REPLACE", format!("could not perform regexp_replace with the replacement '{with}': {reason}"))
    };
    let mut chars = with.chars().peekable();
    while let Some(ch) = chars.next() {
        match ch {
            '\\' => out.push(chars.next().ok_or_else(|| invalid("a character to be escaped is missing"))?),
            '$' if chars.peek() == Some(&'{') => {
                chars.next();
                let mut name = String::new();
                loop {
                    match chars.next() {
                        Some('}') => break,
                        Some(ch) if ch.is_ascii_alphanumeric() => name.push(ch),
                        _ => return Err(invalid("a named group is missing its closing brace")),
                    }
                }
                let group = pattern.group_named(&name).ok_or_else(|| invalid("no such named group"))?;
                push_group(groups, group, s, out);
            }
            '$' => {
                let digit = |ch: Option<&char>| ch.and_then(|ch| ch.to_digit(10)).map(|d| d as usize);
                let mut group = digit(chars.peek()).ok_or_else(|| invalid("an illegal group reference"))?;
                chars.next();
                if group > pattern.group_count() {
                    return Err(invalid("no such group"));
                }
                // Further digits belong to the number as long as there is such a group.
                while let Some(longer) = digit(chars.peek()).map(|d| group * 10 + d).filter(|g| *g <= pattern.group_count()) {
                    group = longer;
                    chars.next();
                }
                push_group(groups, group, s, out);
            }
            ch => out.push(ch),
        }
    }
    Ok(())
}

fn push_group(groups: &Groups, group: usize, s: &str, out: &mut String) {
    if let Some((begin, end)) = groups.get(group) {
        out.push_str(&s[begin..end]);
    }
}

/// The text, the pattern and the group (1 unless given).
fn extraction(c: &mut Call<'_>) -> Result<Vec<Typed>> {
    let mut args = coerce_optional(c, 2, &[Want::Text, Want::Text, Want::Int])?;
    if args.len() == 2 {
        args.push(literal(1_i32.into()));
    }
    Ok(args)
}

fn group_index(function: &str, pattern: &Pattern, group: i32) -> Result<usize> {
    usize::try_from(group).ok().filter(|g| *g <= pattern.group_count()).ok_or_else(|| {
        data_error(
            "INVALID_PARAMETER_VALUE.REGEX_GROUP_INDEX",
            format!(
                "the value of `idx` in `{function}` must be between 0 and {}, the number of groups, but is {group}",
                pattern.group_count()
            ),
        )
    })
}

fn extract(mut c: Call<'_>) -> Result<Typed> {
    let args = extraction(&mut c)?;
    let returns = Returns::fallible(DataType::Utf8, any_nullable(&args));
    per_pattern(c.name, args, returns, |a, patterns| {
        let (s, pattern, group) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?, a.column::<Int32Array>(2)?);
        let mut groups = Groups::default();
        a.try_slices(|row| {
            let (Some(s), Some(pattern), Some(group)) = (s.get(row), pattern.get(row), group.get(row)) else { return Ok(None) };
            let pattern = patterns.get(pattern)?;
            if pattern.captures(s, 0, &mut groups)?.is_none() {
                return Ok(Some(""));
            }
            let group = groups.get(group_index("regexp_extract", pattern, group)?);
            Ok(Some(group.map_or("", |(begin, end)| &s[begin..end])))
        })
    })
}

/// Calls `visit` with every match of `pattern` in `s`, and whether there is another one between the halves of the character behind it.
fn each_match(s: &str, pattern: &Pattern, mut visit: impl FnMut((usize, usize), bool) -> Result<()>) -> Result<()> {
    let mut start = Some(0);
    while let Some(at) = start {
        let Some(found) = pattern.find(s, at)? else { break };
        visit(found, pattern.matches_between_halves(s, found)?)?;
        start = next_start(s, found);
    }
    Ok(())
}

fn extract_all(mut c: Call<'_>) -> Result<Typed> {
    let args = extraction(&mut c)?;
    let returns = Returns::fallible(array_of(DataType::Utf8), any_nullable(&args));
    per_pattern(c.name, args, returns, |a, patterns| {
        let (s, pattern, group) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?, a.column::<Int32Array>(2)?);
        let mut lists = TextLists::default();
        let mut groups = Groups::default();
        for row in 0..a.rows() {
            let (Some(s), Some(pattern), Some(group)) = (s.get(row), pattern.get(row), group.get(row)) else {
                lists.end(false);
                continue;
            };
            let pattern = patterns.get(pattern)?;
            let mut start = Some(0);
            while let Some(at) = start {
                let Some(whole) = pattern.captures(s, at, &mut groups)? else { break };
                let index = group_index("regexp_extract_all", pattern, group)?;
                let (begin, end) = groups.get(index).unwrap_or((0, 0));
                lists.push(&s[begin..end])?;
                start = next_start(s, whole);
                if pattern.matches_between_halves(s, whole)? {
                    lists.push("")?;
                }
            }
            lists.end(true);
        }
        Ok(lists.finish())
    })
}

fn count(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text, Want::Text])?;
    let returns = Returns::fallible(DataType::Int32, any_nullable(&args));
    per_pattern(c.name, args, returns, |a, patterns| {
        let (s, pattern) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?);
        a.try_primitive::<Int32Type>(|row| {
            let (Some(s), Some(pattern)) = (s.get(row), pattern.get(row)) else { return Ok(None) };
            let mut matches = 0;
            each_match(s, patterns.get(pattern)?, |_, halves| {
                matches += 1 + i32::from(halves);
                Ok(())
            })?;
            Ok(Some(matches))
        })
    })
}

fn instr(mut c: Call<'_>) -> Result<Typed> {
    let mut args = coerce_optional(&mut c, 2, &[Want::Text, Want::Text, Want::Int])?;
    // Spark takes a group index, and pays it no attention beyond its being null.
    if args.len() == 2 {
        args.push(literal(0_i32.into()));
    }
    let returns = Returns::fallible(DataType::Int32, any_nullable(&args));
    per_pattern(c.name, args, returns, |a, patterns| {
        let (s, pattern, group) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?, a.column::<Int32Array>(2)?);
        a.try_primitive::<Int32Type>(|row| {
            let (Some(s), Some(pattern), Some(_)) = (s.get(row), pattern.get(row), group.get(row)) else { return Ok(None) };
            let found = patterns.get(pattern)?.find(s, 0)?;
            Ok(Some(found.map_or(0, |(begin, _)| s[..begin].chars().count() as i32 + 1)))
        })
    })
}

fn substr(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text, Want::Text])?;
    per_pattern(c.name, args, Returns::fallible(DataType::Utf8, true), |a, patterns| {
        let (s, pattern) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?);
        a.try_slices(|row| {
            let (Some(s), Some(pattern)) = (s.get(row), pattern.get(row)) else { return Ok(None) };
            let found = patterns.get(pattern)?.find(s, 0)?;
            Ok(found.filter(|(begin, end)| end > begin).map(|(begin, end)| &s[begin..end]))
        })
    })
}

fn split(mut c: Call<'_>) -> Result<Typed> {
    let mut args = coerce_optional(&mut c, 2, &[Want::Text, Want::Text, Want::Int])?;
    if args.len() == 2 {
        args.push(literal((-1_i32).into()));
    }
    let returns = Returns::fallible(array_of(DataType::Utf8), any_nullable(&args));
    per_pattern(c.name, args, returns, |a, patterns| {
        let (s, pattern, limit) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?, a.column::<Int32Array>(2)?);
        let mut lists = TextLists::default();
        for row in 0..a.rows() {
            let (Some(s), Some(pattern), Some(limit)) = (s.get(row), pattern.get(row), limit.get(row)) else {
                lists.end(false);
                continue;
            };
            // Spark's `split` says only what Java says of a pattern.
            split_into(s, pattern, limit, patterns, |part| lists.push(part)).map_err(|error| {
                if error.kind() == ErrorKind::Data { Error::new(ErrorKind::Data, error.chain()) } else { error }
            })?;
            lists.end(true);
        }
        Ok(lists.finish())
    })
}

/// A pattern that means itself.
fn is_plain(pattern: &str) -> bool {
    !pattern.is_empty() && !pattern.contains(['\\', '[', ']', '(', ')', '{', '}', '.', '*', '+', '?', '^', '$', '|'])
}

/// Calls `push` with the parts of `s`, at most `limit` if that is positive.
fn split_into(
    s: &str,
    pattern: &str,
    limit: i32,
    patterns: &mut Patterns,
    mut push: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let limit = if limit > 0 { limit as usize } else { usize::MAX };
    if is_plain(pattern) {
        s.splitn(limit, pattern).try_for_each(push)?;
    } else if pattern.is_empty() && !s.is_empty() {
        split_chars(s, limit, push)?;
    } else {
        let (mut done, mut count, mut half) = (0, 1, false);
        each_match(s, patterns.get(pattern)?, |(begin, end), halves| {
            // An empty match at the very beginning does not cut off an empty part.
            if count < limit && !(begin == 0 && end == 0) {
                push(&with_half(half, &s[done..begin]))?;
                (done, half) = (end, false);
                count += 1;
            }
            if count < limit && halves {
                push(&format!("{}{HALF}", with_half(half, &s[done..end])))?;
                done = next_start(s, (end, end)).unwrap_or(s.len());
                half = true;
                count += 1;
            }
            Ok(())
        })?;
        push(&with_half(half, &s[done..]))?;
    }
    Ok(())
}

/// `part` behind half a character.
fn with_half(half: bool, part: &str) -> Cow<'_, str> {
    if half { Cow::Owned(format!("{HALF}{part}")) } else { Cow::Borrowed(part) }
}

/// One part per code point, the last with all that is left.
fn split_chars(s: &str, limit: usize, mut push: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let mut rest = s;
    for _ in 1..limit {
        let Some(ch) = rest.chars().next() else { return Ok(()) };
        if ch.len_utf8() == rest.len() {
            break;
        }
        let (first, others) = rest.split_at(ch.len_utf8());
        push(first)?;
        rest = others;
    }
    push(rest)
}

/// Texts cut by patterns, for functions of other families. Compiled patterns are kept.
pub(super) struct Splitter(Patterns);

impl Splitter {
    /// `function` is named in errors.
    pub(super) fn new(function: &str) -> Self {
        Self(Patterns::of(&Known::new(function)))
    }

    /// The parts of `s`, at most `limit` if that is positive.
    pub(super) fn split(&mut self, s: &str, pattern: &str, limit: i32) -> Result<Vec<String>> {
        let mut parts = Vec::new();
        split_into(s, pattern, limit, &mut self.0, |part| {
            parts.push(part.to_owned());
            Ok(())
        })?;
        Ok(parts)
    }
}
