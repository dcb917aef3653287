//! Java's regular expressions, which Spark's are, in the syntax of Rust's crates.
//!
//! [`translate`] rewrites what differs. A construct without an exact counterpart is refused by name, never approximated. Patterns run on
//! the linear-time crate unless they need lookaround, back-references or possessive quantifiers.

use std::sync::Arc;

use super::translate::{END_MARK, Problem, translate};

use crate::error::{Error, ErrorKind, Result};

/// Before the end, or before a line terminator at the end.
const END: &str = r"(?=(?:\r\n|(?<!\r)\n|[\r\x{85}\x{2028}\x{2029}])?\z)";

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(in super::super) struct Pattern {
    engine: Engine,
    /// Used instead for texts that end with a line terminator, before which `$` matches too.
    before_terminator: Option<Engine>,
}

#[derive(Debug, Clone)]
enum Engine {
    Linear(Arc<regex::Regex>),
    Backtracking(Arc<fancy_regex::Regex>),
}

/// Where each group of the last match lies; group 0 is the match. Matches found one after the other share its memory.
#[derive(Default)]
pub(in super::super) struct Groups {
    spans: Vec<Option<(usize, usize)>>,
    /// Of the pattern that was matched last.
    locations: Option<(Arc<regex::Regex>, regex::CaptureLocations)>,
}

impl Groups {
    /// Start and end (bytes) of group `index`, if it took part.
    pub(in super::super) fn get(&self, index: usize) -> Option<(usize, usize)> {
        match &self.locations {
            Some((_, locations)) => locations.get(index),
            None => self.spans.get(index).copied().flatten(),
        }
    }

    /// Room for the groups of `regex`.
    fn locations(&mut self, regex: &Arc<regex::Regex>) -> &mut regex::CaptureLocations {
        if self.locations.as_ref().is_some_and(|(of, _)| !Arc::ptr_eq(of, regex)) {
            self.locations = None;
        }
        &mut self.locations.get_or_insert_with(|| (Arc::clone(regex), regex.capture_locations())).1
    }
}

impl Pattern {
    /// Compiles Java's `pattern`; `function` is named in the error.
    pub(in super::super) fn compile(pattern: &str, function: &str) -> Result<Self> {
        let problem = |problem: Problem| match problem {
            Problem::Invalid(reason) => Error::spark(
                ErrorKind::Data,
                "INVALID_PARAMETER_VALUE.PATTERN",
                format!("the value of `regexp` in `{function}` is not a valid pattern: '{pattern}' ({reason})"),
            ),
            Problem::Unsupported(what) => Error::spark(
                ErrorKind::Config,
                "UNSUPPORTED_FEATURE",
                format!("the pattern '{pattern}' of `{function}` has {what}, which is not supported"),
            ),
        };
        let translated = translate(pattern).map_err(problem)?;
        // What Java takes and the crates do not is at least named.
        let refused = |error: &dyn std::fmt::Display| problem(Problem::Unsupported(format!("something unusual ({error})")));
        let build = |text: &str, backtracking: bool| -> Result<Engine> {
            Ok(if backtracking {
                Engine::Backtracking(Arc::new(fancy_regex::Regex::new(text).map_err(|e| refused(&e))?))
            } else {
                Engine::Linear(Arc::new(regex::Regex::new(text).map_err(|e| refused(&e))?))
            })
        };
        let engine = build(&translated.text.replace(END_MARK, r"\z"), translated.backtracking)?;
        let ends = translated.text.contains(END_MARK);
        let before_terminator = if ends { Some(build(&translated.text.replace(END_MARK, END), true)?) } else { None };
        Ok(Self { engine, before_terminator })
    }

    fn engine(&self, text: &str) -> &Engine {
        match &self.before_terminator {
            Some(engine) if text.ends_with(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) => engine,
            _ => &self.engine,
        }
    }

    /// How many groups there are, the match itself not counted.
    pub(super) fn group_count(&self) -> usize {
        match &self.engine {
            Engine::Linear(regex) => regex.captures_len() - 1,
            Engine::Backtracking(regex) => regex.captures_len() - 1,
        }
    }

    /// The index of a named group.
    pub(super) fn group_named(&self, name: &str) -> Option<usize> {
        match &self.engine {
            Engine::Linear(regex) => regex.capture_names().position(|n| n == Some(name)),
            Engine::Backtracking(regex) => regex.capture_names().position(|n| n == Some(name)),
        }
    }

    /// Whether it occurs anywhere in `text`.
    pub(super) fn is_match(&self, text: &str) -> Result<bool> {
        match self.engine(text) {
            Engine::Linear(regex) => Ok(regex.is_match(text)),
            Engine::Backtracking(regex) => regex.is_match(text).map_err(gave_up),
        }
    }

    /// The first match at or after byte `start`.
    pub(super) fn find(&self, text: &str, start: usize) -> Result<Option<(usize, usize)>> {
        match self.engine(text) {
            Engine::Linear(regex) => Ok(regex.find_at(text, start).map(|m| (m.start(), m.end()))),
            Engine::Backtracking(regex) => Ok(regex.find_from_pos(text, start).map_err(gave_up)?.map(|m| (m.start(), m.end()))),
        }
    }

    /// Whether Java also finds nothing between the halves of the character at `end`, behind an empty match that ends there: it counts
    /// in UTF-16, in which characters outside the basic plane are two.
    pub(super) fn matches_between_halves(&self, text: &str, (start, end): (usize, usize)) -> Result<bool> {
        let Some(wide) = text[end..].chars().next().filter(|ch| start == end && ch.len_utf16() == 2) else { return Ok(false) };
        // Two characters that no pattern means stand for the halves.
        let halves = format!("\u{fdd0}\u{fdd1}{}", &text[end + wide.len_utf8()..]);
        let middle = '\u{fdd0}'.len_utf8();
        Ok(self.find(&halves, middle)? == Some((middle, middle)))
    }

    /// The first match at or after byte `start`; where its groups lie goes to `groups`.
    pub(in super::super) fn captures(&self, text: &str, start: usize, groups: &mut Groups) -> Result<Option<(usize, usize)>> {
        match self.engine(text) {
            Engine::Linear(regex) => {
                let found = regex.captures_read_at(groups.locations(regex), text, start);
                Ok(found.map(|m| (m.start(), m.end())))
            }
            Engine::Backtracking(regex) => {
                let found = regex.captures_from_pos(text, start).map_err(gave_up)?;
                groups.locations = None;
                groups.spans.clear();
                let spans = found.iter().flat_map(|captures| captures.iter());
                groups.spans.extend(spans.map(|group| group.map(|group| (group.start(), group.end()))));
                Ok(groups.get(0))
            }
        }
    }
}

fn gave_up(error: fancy_regex::Error) -> Error {
    Error::new(ErrorKind::Data, format!("could not match a regular expression: {error}"))
}

/// Where the next search begins after a match: behind it, and one code point on after an empty one; `None` at the end.
pub(super) fn next_start(text: &str, (start, end): (usize, usize)) -> Option<usize> {
    if end > start {
        return Some(end);
    }
    text[end..].chars().next().map(|ch| end + ch.len_utf8())
}
