//! Java's regular expressions, which Spark's are, in the syntax of Rust's crates.
//!
//! What differs is rewritten: `\w`, `\d`, `\s` and case-insensitivity are ASCII, `.` and `$` know more line terminators, `\Q…\E` and
//! escapes are spelled out. A construct without an exact counterpart is refused, never approximated. Patterns run on the linear-time
//! crate unless they need lookaround, back-references or possessive quantifiers.

use std::fmt::Write;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

const TERMINATORS: &str = r"\n\r\x{85}\x{2028}\x{2029}";
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
        let invalid = |reason: String| {
            Error::spark(
                ErrorKind::Data,
                "INVALID_PARAMETER_VALUE.PATTERN",
                format!("the value of `regexp` in `{function}` is not a valid pattern: '{pattern}' ({reason})"),
            )
        };
        let translated = Translator::new(pattern).run().map_err(invalid)?;
        let build = |text: &str, backtracking: bool| -> Result<Engine> {
            Ok(if backtracking {
                Engine::Backtracking(Arc::new(fancy_regex::Regex::new(text).map_err(|e| invalid(e.to_string()))?))
            } else {
                Engine::Linear(Arc::new(regex::Regex::new(text).map_err(|e| invalid(e.to_string()))?))
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

const END_MARK: char = '\u{F8FF}';

struct Translated {
    text: String,
    backtracking: bool,
}

#[derive(Clone, Copy, Default)]
struct Flags {
    ignore_case: bool,
    dot_all: bool,
    comments: bool,
}

struct Translator {
    input: Vec<char>,
    at: usize,
    out: String,
    backtracking: bool,
    flags: Flags,
    outer: Vec<Flags>,
    depth: usize,
}

type Step<T = ()> = std::result::Result<T, String>;

impl Translator {
    fn new(pattern: &str) -> Self {
        let (out, outer) = (String::new(), Vec::new());
        Self { input: pattern.chars().collect(), at: 0, out, backtracking: false, flags: Flags::default(), outer, depth: 0 }
    }

    fn run(mut self) -> Step<Translated> {
        while let Some(ch) = self.next() {
            self.element(ch)?;
        }
        if !self.outer.is_empty() {
            return Err("unclosed group".into());
        }
        Ok(Translated { text: self.out, backtracking: self.backtracking })
    }

    fn peek(&self) -> Option<char> {
        self.input.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let ch = self.peek()?;
        self.at += 1;
        Some(ch)
    }

    fn take(&mut self, text: &str) -> bool {
        let found = text.chars().enumerate().all(|(i, ch)| self.input.get(self.at + i) == Some(&ch));
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn element(&mut self, ch: char) -> Step {
        match ch {
            '\\' => return self.escape(),
            '[' => {
                let class = self.class()?;
                self.out.push_str(&class);
            }
            '(' => return self.open(),
            ')' => {
                self.flags = self.outer.pop().ok_or("unmatched closing parenthesis")?;
                self.out.push(')');
            }
            '.' if self.flags.dot_all => self.out.push_str("(?s:.)"),
            '.' => {
                let _ = write!(self.out, "[^{TERMINATORS}]");
            }
            '$' => self.out.push(END_MARK),
            '^' => self.out.push_str(r"\A"),
            '*' | '+' | '?' => {
                self.out.push(ch);
                self.after_quantifier();
            }
            '{' => return self.repetition(),
            '|' => self.out.push('|'),
            '#' if self.flags.comments => while self.next().is_some_and(|ch| ch != '\n') {},
            ch if self.flags.comments && ch.is_ascii_whitespace() => {}
            ch => self.literal(ch),
        }
        Ok(())
    }

    fn after_quantifier(&mut self) {
        match self.peek() {
            Some('?') => {
                self.at += 1;
                self.out.push('?');
            }
            Some('+') => {
                self.at += 1;
                self.out.push('+');
                self.backtracking = true;
            }
            _ => {}
        }
    }

    fn repetition(&mut self) -> Step {
        let start = self.at;
        while self.next().ok_or("unclosed counted repetition")? != '}' {}
        let inner: String = self.input[start..self.at - 1].iter().collect();
        let mut parts = inner.splitn(2, ',');
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        let valid = parts.next().is_some_and(digits) && parts.next().is_none_or(|s| s.is_empty() || digits(s));
        if !valid {
            return Err("illegal repetition".into());
        }
        let _ = write!(self.out, "{{{inner}}}");
        self.after_quantifier();
        Ok(())
    }

    fn literal(&mut self, ch: char) {
        if self.flags.ignore_case && ch.is_ascii_alphabetic() {
            let _ = write!(self.out, "[{}{}]", ch.to_ascii_lowercase(), ch.to_ascii_uppercase());
        } else {
            push_escaped(&mut self.out, ch);
        }
    }

    fn open(&mut self) -> Step {
        self.outer.push(self.flags);
        if !self.take("?") {
            self.out.push('(');
            return Ok(());
        }
        for (java, rust) in [(":", "(?:"), ("=", "(?="), ("!", "(?!"), ("<=", "(?<="), ("<!", "(?<!"), (">", "(?>")] {
            if self.take(java) {
                self.backtracking |= java != ":";
                self.out.push_str(rust);
                return Ok(());
            }
        }
        if self.take("<") {
            self.out.push_str("(?<");
            loop {
                let ch = self.next().ok_or("unclosed group name")?;
                if ch != '>' && !ch.is_ascii_alphanumeric() {
                    return Err("illegal group name".into());
                }
                self.out.push(ch);
                if ch == '>' {
                    return Ok(());
                }
            }
        }
        self.inline_flags()
    }

    fn inline_flags(&mut self) -> Step {
        let mut on = true;
        loop {
            match self.next().ok_or("unclosed inline flags")? {
                '-' => on = false,
                'i' => self.flags.ignore_case = on,
                's' => self.flags.dot_all = on,
                'x' => self.flags.comments = on,
                ':' => {
                    self.out.push_str("(?:");
                    return Ok(());
                }
                ')' => {
                    // The flags hold until the enclosing group ends.
                    self.outer.pop();
                    return Ok(());
                }
                flag => return Err(format!("the inline flag {flag} is not supported")),
            }
        }
    }

    fn escape(&mut self) -> Step {
        let ch = self.next().ok_or("nothing after the backslash")?;
        match ch {
            'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'h' | 'H' | 'v' | 'V' => {
                let (members, negated) = shorthand(ch);
                let _ = write!(self.out, "[{}{members}]", if negated { "^" } else { "" });
            }
            'b' | 'B' => {
                self.out.push('\\');
                self.out.push(ch);
            }
            'A' | 'z' => {
                self.out.push('\\');
                self.out.push(ch);
            }
            'Z' => self.out.push(END_MARK),
            'R' => self.out.push_str(r"(?:\r\n|[\n\x0B\x0C\r\x{85}\x{2028}\x{2029}])"),
            'Q' => {
                while self.at < self.input.len() && !self.take(r"\E") {
                    if let Some(ch) = self.next() {
                        self.literal(ch);
                    }
                }
            }
            'E' => {}
            'p' | 'P' => {
                let class = self.property(ch == 'P')?;
                self.out.push_str(&class);
            }
            'k' => {
                let start = self.at;
                while self.next().ok_or("unclosed group name")? != '>' {}
                let name: String = self.input[start..self.at].iter().collect();
                let _ = write!(self.out, "\\k{name}");
                self.backtracking = true;
            }
            '1'..='9' => {
                let _ = write!(self.out, "(?:\\{ch})");
                self.backtracking = true;
            }
            _ => {
                let literal = self.escaped_char(ch)?;
                self.literal(literal);
            }
        }
        Ok(())
    }

    /// A single character written as an escape, of which `ch` follows the backslash.
    fn escaped_char(&mut self, ch: char) -> Step<char> {
        Ok(match ch {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{C}',
            'a' => '\u{7}',
            'e' => '\u{1B}',
            'x' if self.take("{") => {
                let start = self.at;
                while self.next().ok_or("unclosed hexadecimal escape")? != '}' {}
                self.code_point(start, self.at - 1, 16)?
            }
            'x' => self.fixed(2)?,
            'u' => self.fixed(4)?,
            '0' => {
                let start = self.at;
                while self.at - start < 3 && self.peek().is_some_and(|ch| ('0'..='7').contains(&ch)) {
                    self.at += 1;
                }
                self.code_point(start, self.at, 8)?
            }
            ch if ch.is_ascii_alphabetic() => return Err(format!("the escape \\{ch} is not supported")),
            ch => ch,
        })
    }

    fn fixed(&mut self, digits: usize) -> Step<char> {
        let start = self.at;
        self.at = (start + digits).min(self.input.len());
        if self.at - start < digits {
            return Err("illegal hexadecimal escape".into());
        }
        self.code_point(start, self.at, 16)
    }

    fn code_point(&self, start: usize, end: usize, radix: u32) -> Step<char> {
        let digits: String = self.input[start..end].iter().collect();
        u32::from_str_radix(&digits, radix).ok().and_then(char::from_u32).ok_or_else(|| format!("{digits} is not a character"))
    }

    /// `\p{…}` as a class of its own, brackets included.
    fn property(&mut self, negated: bool) -> Step<String> {
        let name: String = if self.take("{") {
            let start = self.at;
            while self.next().ok_or("unclosed character family")? != '}' {}
            self.input[start..self.at - 1].iter().collect()
        } else {
            self.next().ok_or("unclosed character family")?.to_string()
        };
        let ignore_case = self.flags.ignore_case;
        let members = match name.as_str() {
            "Lower" | "Upper" if ignore_case => "a-zA-Z",
            "Lower" => "a-z",
            "Upper" => "A-Z",
            "ASCII" => r"\x00-\x7F",
            "Alpha" => "a-zA-Z",
            "Digit" => "0-9",
            "Alnum" => "a-zA-Z0-9",
            "Punct" => r##"!-/:-@\[-`{-~"##,
            "Graph" => "!-~",
            "Print" => " -~",
            "Blank" => r" \t",
            "Cntrl" => r"\x00-\x1F\x7F",
            "XDigit" => "0-9A-Fa-f",
            "Space" => r" \t\n\x0B\f\r",
            "IsAlphabetic" => r"\p{Alphabetic}",
            "IsLetter" => r"\p{L}",
            "IsDigit" => r"\p{Nd}",
            "IsUppercase" | "javaUpperCase" if !ignore_case => r"\p{Uppercase}",
            "IsLowercase" | "javaLowerCase" if !ignore_case => r"\p{Lowercase}",
            "IsWhite_Space" => r"\p{White_Space}",
            "L" | "Lm" | "Lo" | "M" | "Mn" | "Mc" | "Me" | "N" | "Nd" | "Nl" | "No" | "P" | "Pc" | "Pd" | "Ps" | "Pe" | "Pi"
            | "Pf" | "Po" | "S" | "Sm" | "Sc" | "Sk" | "So" | "Z" | "Zs" | "Zl" | "Zp" | "Cc" | "Cf" => {
                return Ok(format!("[{}\\p{{{name}}}]", if negated { "^" } else { "" }));
            }
            "Lu" | "Ll" | "Lt" if !ignore_case => {
                return Ok(format!("[{}\\p{{{name}}}]", if negated { "^" } else { "" }));
            }
            script if script.starts_with("Is") && script.len() > 3 => {
                return Ok(format!("[{}\\p{{{}}}]", if negated { "^" } else { "" }, &script[2..]));
            }
            other => return Err(format!("the character family {{{other}}} is not supported")),
        };
        Ok(format!("[{}{members}]", if negated { "^" } else { "" }))
    }

    /// What follows `[`, up to its `]`, as a class with brackets.
    fn class(&mut self) -> Step<String> {
        self.depth += 1;
        if self.depth > 50 {
            return Err("character classes are nested too deeply".into());
        }
        let mut out = String::from("[");
        if self.take("^") {
            out.push('^');
        }
        let mut first = true;
        loop {
            let ch = self.next().ok_or("unclosed character class")?;
            match ch {
                ']' if !first => break,
                '[' => out.push_str(&self.class()?),
                '&' if self.take("&") => out.push_str("&&"),
                '\\' => match self.peek() {
                    Some(kind @ ('d' | 'D' | 'w' | 'W' | 's' | 'S' | 'h' | 'H' | 'v' | 'V')) => {
                        self.at += 1;
                        let (members, negated) = shorthand(kind);
                        let _ = write!(out, "[{}{members}]", if negated { "^" } else { "" });
                    }
                    Some(kind @ ('p' | 'P')) => {
                        self.at += 1;
                        out.push_str(&self.property(kind == 'P')?);
                    }
                    Some('Q') => return Err("quoting inside a character class is not supported".into()),
                    _ => {
                        let ch = self.next().ok_or("nothing after the backslash")?;
                        let low = self.escaped_char(ch)?;
                        self.range(&mut out, low)?;
                    }
                },
                ch => self.range(&mut out, ch)?,
            }
            first = false;
        }
        self.depth -= 1;
        out.push(']');
        Ok(out)
    }

    /// A member of a class, or a range that begins with it.
    fn range(&mut self, out: &mut String, low: char) -> Step {
        let mut high = low;
        let follows = self.input.get(self.at + 1).copied();
        if self.peek() == Some('-') && follows.is_some_and(|ch| ch != ']' && ch != '[') {
            self.at += 1;
            high = self.next().ok_or("unclosed character class")?;
            if high == '\\' {
                let ch = self.next().ok_or("nothing after the backslash")?;
                high = self.escaped_char(ch)?;
            }
            if high < low {
                return Err("illegal character range".into());
            }
        }
        push_range(out, low, high);
        if self.flags.ignore_case {
            for (from, to, other) in [('a', 'z', 'A'), ('A', 'Z', 'a')] {
                let (low, high) = (low.max(from), high.min(to));
                if low <= high {
                    let shift = |ch: char| char::from(other as u8 + (ch as u8 - from as u8));
                    push_range(out, shift(low), shift(high));
                }
            }
        }
        Ok(())
    }
}

/// The members of a shorthand class, and whether they are what it excludes.
fn shorthand(kind: char) -> (&'static str, bool) {
    let members = match kind.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "a-zA-Z0-9_",
        's' => r" \t\n\x0B\f\r",
        'h' => r" \t\x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}",
        _ => r"\n\x0B\f\r\x{85}\x{2028}\x{2029}",
    };
    (members, kind.is_ascii_uppercase())
}

fn push_range(out: &mut String, low: char, high: char) {
    push_escaped(out, low);
    if high > low {
        out.push('-');
        push_escaped(out, high);
    }
}

fn push_escaped(out: &mut String, ch: char) {
    if ch.is_ascii_alphanumeric() || (!ch.is_ascii() && ch != END_MARK) || ch == '_' || ch == ' ' {
        out.push(ch);
    } else {
        let _ = write!(out, "\\x{{{:X}}}", ch as u32);
    }
}
