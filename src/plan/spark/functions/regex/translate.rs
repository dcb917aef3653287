//! Java's syntax of regular expressions in that of Rust's crates.
//!
//! `\w`, `\d`, `\s` and case-insensitivity are ASCII unless a flag says otherwise, `.`, `^` and `$` know more line terminators, a
//! lookbehind must have an end, and `\Q…\E` and escapes are spelled out. What is left out was never valid, or is refused by name.

use std::fmt::Write;

use super::class::{push_escaped, shorthand};

/// Stands for `$` and `\Z`: the end, or before a line terminator at the end.
pub(super) const END_MARK: char = '\u{F8FF}';

const TERMINATORS: &str = r"\n\r\x{85}\x{2028}\x{2029}";

/// A pattern for Rust's crates.
pub(super) struct Translated {
    /// The pattern; [`END_MARK`] is to be replaced.
    pub(super) text: String,
    /// Whether only the backtracking crate can run it.
    pub(super) backtracking: bool,
}

/// Why there is no translation.
#[derive(Debug)]
pub(super) enum Problem {
    /// It is no pattern of Java's.
    Invalid(String),
    /// It is one that we do not have.
    Unsupported(String),
}

impl From<&str> for Problem {
    fn from(reason: &str) -> Self {
        Self::Invalid(reason.to_owned())
    }
}

/// A step of the translation.
pub(super) type Step<T = ()> = Result<T, Problem>;

/// Flags that hold at a place of the pattern.
#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    /// `i`
    pub(super) ignore_case: bool,
    /// `u`
    pub(super) unicode_case: bool,
    /// `U`
    pub(super) unicode_class: bool,
    /// `s`
    dot_all: bool,
    /// `m`
    multiline: bool,
    /// `d`
    unix_lines: bool,
    /// `x`
    pub(super) comments: bool,
}

/// A group that is open.
struct Open {
    outer: Flags,
    lookbehind: bool,
}

/// A pattern on its way.
pub(super) struct Translator {
    /// Characters, and whether `\Q` makes them literal.
    input: Vec<(char, bool)>,
    at: usize,
    out: String,
    backtracking: bool,
    pub(super) flags: Flags,
    open: Vec<Open>,
    /// Capturing groups so far, and their names.
    groups: usize,
    names: Vec<String>,
    /// Whether a quantifier may follow.
    quantifiable: bool,
    /// Whether what it would follow is a single character.
    single: bool,
    /// How deep classes are nested.
    pub(super) depth: usize,
}

/// `pattern` for Rust's crates.
pub(super) fn translate(pattern: &str) -> Step<Translated> {
    let mut translator = Translator {
        input: unquoted(pattern),
        at: 0,
        out: String::new(),
        backtracking: false,
        flags: Flags::default(),
        open: Vec::new(),
        groups: 0,
        names: Vec::new(),
        quantifiable: false,
        single: false,
        depth: 0,
    };
    while let Some((ch, quoted)) = translator.next_any() {
        translator.element(ch, quoted)?;
    }
    if !translator.open.is_empty() {
        return Err("unclosed group".into());
    }
    Ok(Translated { text: translator.out, backtracking: translator.backtracking })
}

/// The characters of a pattern, those between `\Q` and `\E` marked.
fn unquoted(pattern: &str) -> Vec<(char, bool)> {
    let mut input = Vec::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    let mut quoting = false;
    while let Some(ch) = rest.next() {
        match (ch, rest.as_str().chars().next(), quoting) {
            ('\\', Some('E'), true) | ('\\', Some('Q'), false) => {
                quoting = !quoting;
                rest.next();
            }
            ('\\', Some(next), false) => {
                input.extend([(ch, false), (next, false)]);
                rest.next();
            }
            _ => input.push((ch, quoting)),
        }
    }
    input
}

impl Translator {
    /// The next character, unless it is a quoted one.
    pub(super) fn peek(&self) -> Option<char> {
        self.input.get(self.at).filter(|(_, quoted)| !quoted).map(|(ch, _)| *ch)
    }

    /// The character behind the next one, unless it is a quoted one.
    pub(super) fn peek_second(&self) -> Option<char> {
        self.input.get(self.at + 1).filter(|(_, quoted)| !quoted).map(|(ch, _)| *ch)
    }

    /// Takes the next character, and whether it is quoted.
    pub(super) fn next_any(&mut self) -> Option<(char, bool)> {
        let next = self.input.get(self.at).copied()?;
        self.at += 1;
        Some(next)
    }

    /// Takes the next character.
    pub(super) fn next(&mut self) -> Option<char> {
        self.next_any().map(|(ch, _)| ch)
    }

    /// Takes `text` if it comes next.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let found = text.chars().enumerate().all(|(i, ch)| self.input.get(self.at + i) == Some(&(ch, false)));
        if found {
            self.at += text.chars().count();
        }
        found
    }

    /// What stands before the next `end`, which is taken too.
    pub(super) fn until(&mut self, end: char, unclosed: &str) -> Step<String> {
        let mut text = String::new();
        loop {
            match self.next().ok_or(unclosed)? {
                ch if ch == end => return Ok(text),
                ch => text.push(ch),
            }
        }
    }

    /// With the flag `x`, takes blanks and comments.
    pub(super) fn skip_comments(&mut self) {
        while self.flags.comments {
            match self.peek() {
                Some(ch) if ch.is_ascii_whitespace() || ch == '\u{B}' => self.at += 1,
                Some('#') => {
                    while self.next().is_some_and(|ch| !matches!(ch, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')) {}
                }
                _ => return,
            }
        }
    }

    fn element(&mut self, ch: char, quoted: bool) -> Step {
        if quoted {
            self.literal(ch);
            return Ok(());
        }
        if self.flags.comments && (ch.is_ascii_whitespace() || ch == '\u{B}' || ch == '#') {
            self.at -= 1;
            self.skip_comments();
            return Ok(());
        }
        match ch {
            '\\' => return self.escape(),
            '[' => {
                let class = self.class()?;
                self.push(&class);
                self.single = true;
            }
            '(' => return self.group(),
            ')' => {
                self.flags = self.open.pop().ok_or("unmatched closing parenthesis")?.outer;
                self.push(")");
            }
            '.' => {
                match (self.flags.dot_all, self.flags.unix_lines) {
                    (true, _) => self.push("(?s:.)"),
                    (false, true) => self.push(r"[^\n]"),
                    (false, false) => self.push(&format!("[^{TERMINATORS}]")),
                }
                self.single = true;
            }
            '$' => self.end(),
            '^' => self.beginning(),
            '*' | '+' | '?' => {
                self.repeat(&ch.to_string(), ch != '?')?;
            }
            '{' => return self.repetition(),
            '|' => {
                self.out.push('|');
                self.quantifiable = false;
            }
            ch => self.literal(ch),
        }
        Ok(())
    }

    /// What a quantifier may follow.
    fn push(&mut self, text: &str) {
        self.out.push_str(text);
        self.quantifiable = true;
        self.single = false;
    }

    fn beginning(&mut self) {
        match (self.flags.multiline, self.flags.unix_lines) {
            (false, _) => return self.push(r"\A"),
            // Never at the end, not even of an empty text.
            (true, false) => self.push(r"(?:(?!\z)(?:\A|(?<=[\n\x{85}\x{2028}\x{2029}])|(?<=\r)(?!\n)))"),
            (true, true) => self.push(r"(?:(?!\z)(?:\A|(?<=\n)))"),
        }
        self.backtracking = true;
    }

    fn end(&mut self) {
        match (self.flags.multiline, self.flags.unix_lines) {
            (false, false) => {
                self.out.push(END_MARK);
                self.quantifiable = true;
                self.single = false;
                return;
            }
            (false, true) => self.push(r"(?=\n?\z)"),
            (true, false) => self.push(r"(?:\z|(?=[\r\x{85}\x{2028}\x{2029}])|(?<!\r)(?=\n))"),
            (true, true) => self.push(r"(?:\z|(?=\n))"),
        }
        self.backtracking = true;
    }

    /// A quantifier, which may be lazy or possessive.
    fn repeat(&mut self, quantifier: &str, unbounded: bool) -> Step {
        if !self.quantifiable {
            return Err("a quantifier without anything before it".into());
        }
        // Java lets a single character have no end there.
        if unbounded && !self.single && self.open.iter().any(|group| group.lookbehind) {
            return Err("a lookbehind without an obvious maximum length".into());
        }
        self.out.push_str(quantifier);
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
        self.quantifiable = false;
        Ok(())
    }

    fn repetition(&mut self) -> Step {
        if !self.quantifiable {
            if self.out.ends_with(['*', '+', '?', '}']) {
                return Err(Problem::Unsupported("a quantifier behind a quantifier".into()));
            }
            // Nothing, so many times.
            self.push("(?:)");
        }
        let inner = self.until('}', "unclosed counted repetition")?;
        let (least, most) = inner.split_once(',').map_or((inner.as_str(), None), |(least, most)| (least, Some(most)));
        let number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u32>().ok()).flatten();
        let least = number(least).ok_or("illegal repetition")?;
        match most {
            Some(most) if !most.is_empty() && number(most).ok_or("illegal repetition")? < least => {
                return Err("illegal repetition range".into());
            }
            _ => {}
        }
        self.repeat(&format!("{{{inner}}}"), most == Some(""))
    }

    /// A character that means itself.
    fn literal(&mut self, ch: char) {
        let Flags { ignore_case, unicode_case, .. } = self.flags;
        if ignore_case && unicode_case && matches!(ch, 'i' | 'I' | 'ı' | 'İ') {
            // Java goes to capitals and back, on which way these four meet.
            self.out.push_str("[iIıİ]");
        } else if ignore_case && unicode_case && ch.is_alphabetic() {
            let _ = write!(self.out, "(?i:{ch})");
        } else if ignore_case && ch.is_ascii_alphabetic() {
            let _ = write!(self.out, "[{}{}]", ch.to_ascii_lowercase(), ch.to_ascii_uppercase());
        } else {
            push_escaped(&mut self.out, ch);
        }
        self.quantifiable = true;
        self.single = true;
    }

    fn group(&mut self) -> Step {
        self.quantifiable = false;
        let open = |translator: &mut Self, text: &str, lookbehind: bool| {
            translator.open.push(Open { outer: translator.flags, lookbehind });
            translator.out.push_str(text);
        };
        if !self.take("?") {
            self.groups += 1;
            open(self, "(", false);
            return Ok(());
        }
        for (java, rust) in [(":", "(?:"), ("=", "(?="), ("!", "(?!"), ("<=", "(?<="), ("<!", "(?<!"), (">", "(?>")] {
            if self.take(java) {
                self.backtracking |= java != ":";
                open(self, rust, java.starts_with('<'));
                return Ok(());
            }
        }
        if self.take("<") {
            let name = self.until('>', "unclosed group name")?;
            if !name.starts_with(|ch: char| ch.is_ascii_alphabetic()) || !name.chars().all(|ch| ch.is_ascii_alphanumeric()) {
                return Err("illegal group name".into());
            }
            if self.names.contains(&name) {
                return Err("two groups of one name".into());
            }
            self.groups += 1;
            open(self, &format!("(?<{name}>"), false);
            self.names.push(name);
            return Ok(());
        }
        self.inline_flags()
    }

    fn inline_flags(&mut self) -> Step {
        let (outer, mut on) = (self.flags, true);
        loop {
            match self.next().ok_or("unclosed inline flags")? {
                '-' if on => on = false,
                'i' => self.flags.ignore_case = on,
                's' => self.flags.dot_all = on,
                'm' => self.flags.multiline = on,
                'd' => self.flags.unix_lines = on,
                'u' => self.flags.unicode_case = on,
                'U' => (self.flags.unicode_class, self.flags.unicode_case) = (on, on),
                'x' => self.flags.comments = on,
                'c' => return Err(Problem::Unsupported("the flag c (canonical equivalence)".into())),
                ':' => {
                    self.open.push(Open { outer, lookbehind: false });
                    self.out.push_str("(?:");
                    return Ok(());
                }
                // The flags hold until the enclosing group ends.
                ')' => return Ok(()),
                flag => return Err(Problem::Invalid(format!("the unknown inline flag {flag}"))),
            }
        }
    }

    fn escape(&mut self) -> Step {
        let ch = self.next().ok_or("nothing after the backslash")?;
        match ch {
            'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'h' | 'H' | 'v' | 'V' => {
                let (members, negated) = shorthand(ch, self.flags.unicode_class);
                self.push(&format!("[{}{members}]", if negated { "^" } else { "" }));
                self.single = true;
            }
            'b' if self.take("{g}") => return Err(Problem::Unsupported(r"the boundary \b{g}".into())),
            'b' | 'B' => self.push(&format!("\\{ch}")),
            'A' | 'z' => self.push(&format!("\\{ch}")),
            'Z' => {
                let multiline = std::mem::take(&mut self.flags.multiline);
                self.end();
                self.flags.multiline = multiline;
            }
            'R' => self.push(r"(?:\r\n|[\n\x0B\x0C\r\x{85}\x{2028}\x{2029}])"),
            'G' | 'X' | 'N' => return Err(Problem::Unsupported(format!("\\{ch}"))),
            'p' | 'P' => {
                let class = self.property(ch == 'P')?;
                self.push(&class);
                self.single = true;
            }
            'k' => {
                if !self.take("<") {
                    return Err(r"\k is not followed by '<' for a group name".into());
                }
                let name = self.until('>', "unclosed group name")?;
                if !self.names.contains(&name) {
                    return Err("no such named group".into());
                }
                self.back_reference(&format!("k<{name}>"))?;
            }
            '1'..='9' => {
                let mut number = ch as usize - '0' as usize;
                // Further digits belong to it as long as there is such a group.
                while let Some(longer) = self.peek().and_then(|ch| ch.to_digit(10)).map(|digit| number * 10 + digit as usize) {
                    if longer > self.groups {
                        break;
                    }
                    (number, self.at) = (longer, self.at + 1);
                }
                match number > self.groups {
                    // What is no group yet never matches.
                    true => {
                        self.push("(?:(?!))");
                        self.backtracking = true;
                    }
                    false => self.back_reference(&number.to_string())?,
                }
            }
            _ => {
                let literal = self.escaped_char(ch)?;
                self.literal(literal);
            }
        }
        Ok(())
    }

    fn back_reference(&mut self, to: &str) -> Step {
        if self.open.iter().any(|group| group.lookbehind) {
            return Err("a lookbehind without an obvious maximum length".into());
        }
        let flag = if self.flags.ignore_case { "i" } else { "" };
        self.push(&format!("(?{flag}:\\{to})"));
        self.backtracking = true;
        Ok(())
    }

    /// A single character written as an escape, of which `ch` follows the backslash.
    pub(super) fn escaped_char(&mut self, ch: char) -> Step<char> {
        Ok(match ch {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{C}',
            'a' => '\u{7}',
            'e' => '\u{1B}',
            'c' => {
                let control = self.next().ok_or("illegal control escape")?;
                char::from_u32(control as u32 ^ 64).ok_or("illegal control escape")?
            }
            'x' if self.take("{") => {
                let digits = self.until('}', "unclosed hexadecimal escape")?;
                let hexadecimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
                let number = hexadecimal.then(|| u32::from_str_radix(&digits, 16).ok()).flatten();
                character(number.ok_or("illegal hexadecimal escape")?)?
            }
            'x' => character(self.hexadecimal(2)?)?,
            'u' => {
                let unit = self.hexadecimal(4)?;
                match unit {
                    0xD800..=0xDBFF if self.take(r"\u") => match self.hexadecimal(4)? {
                        low @ 0xDC00..=0xDFFF => character(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))?,
                        _ => return Err(Problem::Unsupported("half a surrogate pair".into())),
                    },
                    unit => character(unit)?,
                }
            }
            '0' => {
                let mut number = 0;
                let mut digits = 0;
                while let Some(digit) = self.peek().and_then(|ch| ch.to_digit(8)).filter(|_| digits < 3 && number < 0o40) {
                    (number, digits, self.at) = (number * 8 + digit, digits + 1, self.at + 1);
                }
                if digits == 0 {
                    return Err("illegal octal escape".into());
                }
                character(number)?
            }
            ch if ch.is_ascii_alphabetic() => return Err(Problem::Invalid(format!("the illegal escape \\{ch}"))),
            ch => ch,
        })
    }

    fn hexadecimal(&mut self, digits: usize) -> Step<u32> {
        let mut number = 0;
        for _ in 0..digits {
            let digit = self.next().and_then(|ch| ch.to_digit(16)).ok_or("illegal hexadecimal escape")?;
            number = number * 16 + digit;
        }
        Ok(number)
    }
}

fn character(number: u32) -> Step<char> {
    match number {
        0xD800..=0xDFFF => Err(Problem::Unsupported("half a surrogate pair".into())),
        number => char::from_u32(number).ok_or_else(|| "a number beyond all characters".into()),
    }
}
