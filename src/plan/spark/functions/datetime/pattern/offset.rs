//! Offsets from UTC in patterns: `Z`, `+01`, `+0130`, `+01:30:15`, `GMT+1`.

use std::fmt::Write;

/// `±hh[:]mm[[:]ss]`, minutes left out if `short` and they are zero, seconds only if `with_seconds` and they are not.
pub(super) fn write(seconds: i64, colons: bool, short: bool, with_seconds: bool, out: &mut String) {
    let (sign, abs) = (if seconds < 0 { '-' } else { '+' }, seconds.abs());
    let _ = write!(out, "{sign}{:02}", abs / 3600);
    let minutes = abs / 60 % 60;
    if short && minutes == 0 {
        return;
    }
    let colon = if colons { ":" } else { "" };
    let _ = write!(out, "{colon}{minutes:02}");
    if with_seconds && abs % 60 != 0 {
        let _ = write!(out, "{colon}{:02}", abs % 60);
    }
}

/// `GMT`, and unless that is it `+2`, `+2:30`, or in full `+02:00`.
pub(super) fn write_localized(seconds: i64, full: bool, out: &mut String) {
    out.push_str("GMT");
    if seconds == 0 {
        return;
    }
    let (sign, abs) = (if seconds < 0 { '-' } else { '+' }, seconds.abs());
    let (hours, minutes, rest) = (abs / 3600, abs / 60 % 60, abs % 60);
    let _ = if full { write!(out, "{sign}{hours:02}:{minutes:02}") } else { write!(out, "{sign}{hours}") };
    if !full && (minutes != 0 || rest != 0) {
        let _ = write!(out, ":{minutes:02}");
    }
    if rest != 0 {
        let _ = write!(out, ":{rest:02}");
    }
}

/// Whether a text begins with `start`, in any case; gives what follows.
pub(super) fn after<'t>(text: &'t str, start: &str) -> Option<&'t str> {
    let found = text.get(..start.len())?;
    found.eq_ignore_ascii_case(start).then(|| &text[start.len()..])
}

/// How an offset is written that is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    /// Stands for no offset.
    pub(super) none: &'static str,
    /// `hh:mm` rather than `hhmm`.
    pub(super) colons: bool,
    /// The minutes may be left out.
    pub(super) short: bool,
    /// There may be seconds.
    pub(super) seconds: bool,
}

impl Form {
    /// The form of so many letters.
    pub(super) fn of(letter: char, count: usize) -> Self {
        let none = match (letter, count) {
            ('X', _) | ('Z', 5) => "Z",
            ('x', 1) => "+00",
            ('x', 3 | 5) => "+00:00",
            _ => "+0000",
        };
        let seconds = count == 5 || count == 4 && letter != 'Z';
        Self { none, colons: count == 5 || count == 3 && letter != 'Z', short: count == 1 && letter != 'Z', seconds }
    }
}

/// Seconds of the offset that a text begins with, and what follows.
pub(super) fn read(text: &str, form: Form) -> Option<(i64, &str)> {
    if let Some(rest) = after(text, form.none) {
        return Some((0, rest));
    }
    let negative = text.starts_with('-');
    let (hours, mut rest) = two_digits(text.strip_prefix(['+', '-'])?)?;
    let mut part = |needed: bool| {
        let body = if form.colons { rest.strip_prefix(':') } else { Some(rest) };
        match body.and_then(two_digits) {
            Some((value, after)) => {
                rest = after;
                Some((value, true))
            }
            None => (!needed).then_some((0, false)),
        }
    };
    let (minutes, there) = part(!form.short)?;
    let (seconds, _) = if form.seconds && there { part(false)? } else { (0, false) };
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let total = hours * 3600 + minutes * 60 + seconds;
    Some((if negative { -total } else { total }, rest))
}

/// As [`read`], of `GMT+1`, or in full of `GMT+01:00`.
pub(super) fn read_localized(text: &str, full: bool) -> Option<(i64, &str)> {
    let text = after(text, "GMT")?;
    let Some(body) = text.strip_prefix(['+', '-']) else { return Some((0, text)) };
    let negative = text.starts_with('-');
    let (hours, mut rest) = if full { two_digits(body)? } else { two_digits(body).or_else(|| one_digit(body))? };
    let mut part = || {
        let (value, after) = two_digits(rest.strip_prefix(':')?)?;
        rest = after;
        Some(value)
    };
    let minutes = part();
    if full && minutes.is_none() {
        return None;
    }
    let seconds = minutes.and_then(|_| part());
    let total = hours * 3600 + minutes.unwrap_or(0) * 60 + seconds.unwrap_or(0);
    Some((if negative { -total } else { total }, rest))
}

fn two_digits(text: &str) -> Option<(i64, &str)> {
    let (tens, rest) = one_digit(text)?;
    let (ones, rest) = one_digit(rest)?;
    Some((tens * 10 + ones, rest))
}

fn one_digit(text: &str) -> Option<(i64, &str)> {
    let digit = text.bytes().next().filter(u8::is_ascii_digit)?;
    Some((i64::from(digit - b'0'), &text[1..]))
}
