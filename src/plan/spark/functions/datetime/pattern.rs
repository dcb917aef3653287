//! Java's patterns for dates and times, as far as Spark takes them.
//!
//! A pattern is compiled to a list of parts. Letters that Spark refuses, and counts of letters that it does not know, are refused with
//! the same conditions.

use std::fmt::Write;

use super::super::super::cast::time::{DAY_US, Zone, date_from_days, days_from_date, days_in_month};
use super::super::arguments::data_error;
use super::field::{DAYS, MONTHS, day_of_year, quarter, weekday};
use crate::error::{Error, ErrorKind, Result};

/// What a pattern is for: some letters only write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Text from a time.
    Formatting,
    /// A time from text.
    Parsing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(char),
    /// A letter and how often it stands there.
    Field(char, usize),
    /// What may be left out when reading.
    Optional(Vec<Part>),
}

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    parts: Vec<Part>,
}

fn unrecognized(pattern: &str) -> Error {
    data_error(
        "INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_PATTERN_RECOGNITION",
        format!("the pattern '{pattern}' is not one that dates and times can be written by"),
    )
}

/// The refusal of a letter. What Java's older patterns knew is refused as a change of behaviour, all else for what it is.
fn refused(pattern: &str, letter: char, condition: &'static str) -> Error {
    const OLDER: &str = "GyYMLwWDdFEuaHkKhmsSzZX";
    let mut quoted = false;
    let known = pattern.chars().all(|ch| {
        quoted ^= ch == '\'';
        quoted || !ch.is_ascii_alphabetic() || OLDER.contains(ch)
    });
    if known {
        unrecognized(pattern)
    } else {
        data_error(condition, format!("'{letter}' in the pattern '{pattern}' is not supported"))
    }
}

impl Pattern {
    /// Compiles a pattern.
    pub(super) fn compile(text: &str, usage: Use) -> Result<Self> {
        let mut quoted = false;
        for ch in text.chars() {
            quoted ^= ch == '\'';
            // Fields of weeks are not fields of dates: the whole pattern is refused for them first.
            if !quoted && "YWwuec".contains(ch) {
                return Err(refused(text, ch, "INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_WEEK_BASED_PATTERN"));
            }
        }
        let chars: Vec<char> = text.chars().collect();
        let mut stack: Vec<Vec<Part>> = vec![Vec::new()];
        let mut at = 0;
        while at < chars.len() {
            let ch = chars[at];
            let top = stack.last_mut().ok_or_else(|| unrecognized(text))?;
            match ch {
                '\'' => {
                    at += 1;
                    if chars.get(at) == Some(&'\'') {
                        top.push(Part::Literal('\''));
                    } else {
                        loop {
                            match chars.get(at) {
                                Some('\'') if chars.get(at + 1) == Some(&'\'') => {
                                    top.push(Part::Literal('\''));
                                    at += 2;
                                }
                                Some('\'') => break,
                                Some(ch) => {
                                    top.push(Part::Literal(*ch));
                                    at += 1;
                                }
                                None => return Err(unrecognized(text)),
                            }
                        }
                    }
                    at += 1;
                }
                '[' => {
                    stack.push(Vec::new());
                    at += 1;
                }
                ']' => {
                    let inner = stack.pop().unwrap_or_default();
                    stack.last_mut().ok_or_else(|| unrecognized(text))?.push(Part::Optional(inner));
                    at += 1;
                }
                '#' | '{' | '}' => return Err(unrecognized(text)),
                'a'..='z' | 'A'..='Z' => {
                    let count = chars[at..].iter().take_while(|other| **other == ch).count();
                    check_letter(text, ch, count, usage)?;
                    top.push(Part::Field(ch, count));
                    at += count;
                }
                ch => {
                    top.push(Part::Literal(ch));
                    at += 1;
                }
            }
        }
        while stack.len() > 1 {
            let inner = stack.pop().unwrap_or_default();
            if let Some(outer) = stack.last_mut() {
                outer.push(Part::Optional(inner));
            }
        }
        Ok(Self { parts: stack.pop().unwrap_or_default() })
    }

    /// Writes the time that clocks of `zone` show as `local_us` at the instant `us`.
    pub(super) fn format(&self, local_us: i64, us: i64, zone: &Zone, out: &mut String) -> Result<()> {
        let time = Clock::at(local_us);
        write_parts(&self.parts, &time, us, zone, out)
    }

    /// The instant that `text` means, seen in `zone` unless it names one; `None` if it does not fit.
    pub(super) fn parse(&self, text: &str, zone: &Zone) -> Option<i64> {
        let mut read = Read::default();
        let rest = read_parts(&self.parts, text, &mut read)?;
        if !rest.is_empty() {
            return None;
        }
        read.instant(zone)
    }
}

const ILLEGAL: &str = "INVALID_DATETIME_PATTERN.ILLEGAL_CHARACTER";

fn check_letter(pattern: &str, letter: char, count: usize, usage: Use) -> Result<()> {
    let longest = match letter {
        'A' | 'B' | 'n' | 'N' | 'p' => return Err(refused(pattern, letter, ILLEGAL)),
        'E' | 'F' | 'q' | 'Q' if usage == Use::Parsing => return Err(refused(pattern, letter, ILLEGAL)),
        'y' => 6,
        'M' | 'L' | 'E' | 'Q' | 'q' | 'z' => 4,
        'd' | 'h' | 'H' | 'k' | 'K' | 'm' | 's' | 'V' => 2,
        'D' => 3,
        'S' => 9,
        'a' | 'F' => 1,
        'G' => 4,
        'O' => 4,
        'X' | 'x' | 'Z' => 5,
        _ => return Err(refused(pattern, letter, ILLEGAL)),
    };
    let odd = match letter {
        'V' => count != 2,
        'O' => count != 1 && count != 4,
        _ => false,
    };
    if count > longest || odd {
        return Err(refused(pattern, letter, "INVALID_DATETIME_PATTERN.LENGTH"));
    }
    Ok(())
}

/// A local date and time, taken apart.
struct Clock {
    days: i64,
    year: i64,
    month: i64,
    day: i64,
    /// Microseconds since midnight.
    time: i64,
}

impl Clock {
    fn at(local_us: i64) -> Self {
        let days = local_us.div_euclid(DAY_US);
        let (year, month, day) = date_from_days(days);
        Self { days, year, month, day, time: local_us.rem_euclid(DAY_US) }
    }

    fn hour(&self) -> i64 {
        self.time / 3_600_000_000
    }
}

fn write_parts(parts: &[Part], time: &Clock, us: i64, zone: &Zone, out: &mut String) -> Result<()> {
    for part in parts {
        match part {
            Part::Literal(ch) => out.push(*ch),
            Part::Optional(inner) => write_parts(inner, time, us, zone, out)?,
            Part::Field(letter, count) => write_field(*letter, *count, time, us, zone, out)?,
        }
    }
    Ok(())
}

fn write_field(letter: char, count: usize, time: &Clock, us: i64, zone: &Zone, out: &mut String) -> Result<()> {
    let year_of_era = if time.year > 0 { time.year } else { 1 - time.year };
    let hour = time.hour();
    let number = match letter {
        'G' => {
            out.push_str(match (time.year > 0, count) {
                (true, 4) => "Anno Domini",
                (false, 4) => "Before Christ",
                (true, _) => "AD",
                (false, _) => "BC",
            });
            return Ok(());
        }
        'y' if count == 2 => year_of_era % 100,
        'y' => {
            if count >= 4 && year_of_era >= 10_i64.pow(count as u32) {
                out.push('+');
            }
            year_of_era
        }
        'M' | 'L' if count >= 3 => {
            let name = MONTHS[time.month as usize - 1];
            out.push_str(if count == 4 { name } else { &name[..3] });
            return Ok(());
        }
        'M' | 'L' => time.month,
        'd' => time.day,
        'D' => i64::from(day_of_year(time.days)),
        'F' => (time.day - 1) % 7 + 1,
        'E' => {
            let name = DAYS[weekday(time.days) as usize];
            out.push_str(if count == 4 { name } else { &name[..3] });
            return Ok(());
        }
        'Q' | 'q' if count >= 3 => {
            let quarter = quarter(time.days);
            let _ = match (count, quarter) {
                (3, quarter) => write!(out, "Q{quarter}"),
                (_, 1) => write!(out, "1st quarter"),
                (_, 2) => write!(out, "2nd quarter"),
                (_, 3) => write!(out, "3rd quarter"),
                (_, _) => write!(out, "4th quarter"),
            };
            return Ok(());
        }
        'Q' | 'q' => i64::from(quarter(time.days)),
        'a' => {
            out.push_str(if hour < 12 { "AM" } else { "PM" });
            return Ok(());
        }
        'h' => (hour + 11) % 12 + 1,
        'H' => hour,
        'k' => (hour + 23) % 24 + 1,
        'K' => hour % 12,
        'm' => time.time / 60_000_000 % 60,
        's' => time.time / 1_000_000 % 60,
        'S' => {
            let digits = format!("{:06}000", time.time % 1_000_000);
            out.push_str(&digits[..count]);
            return Ok(());
        }
        _ => return write_zone(letter, count, us, zone, out),
    };
    let _ = write!(out, "{number:0count$}");
    Ok(())
}

fn write_zone(letter: char, count: usize, us: i64, zone: &Zone, out: &mut String) -> Result<()> {
    let seconds = zone.offset_at(us) / 1_000_000;
    match (letter, zone) {
        ('V', Zone::Region(region)) => out.push_str(region.name()),
        ('V', Zone::Fixed(0)) => out.push_str("UTC"),
        ('V', Zone::Fixed(_)) => write_offset(seconds, true, false, false, out),
        ('z', zone) if seconds == 0 && is_utc(zone) => {
            out.push_str(if count == 4 { "Coordinated Universal Time" } else { "UTC" });
        }
        ('z', Zone::Fixed(_)) => write_offset(seconds, true, false, false, out),
        ('z', Zone::Region(_)) => {
            return Err(Error::spark(
                ErrorKind::Config,
                "UNSUPPORTED_FEATURE",
                "zone names in patterns (z) are supported in UTC only; use VV or XXX",
            ));
        }
        ('O', _) | ('Z', _) if letter == 'O' || count == 4 => {
            out.push_str("GMT");
            if seconds != 0 {
                write_offset_parts(seconds, letter == 'Z' || count == 4, out);
            }
        }
        ('X', _) if seconds == 0 => out.push('Z'),
        ('Z', _) if count == 5 && seconds == 0 => out.push('Z'),
        ('Z', _) => write_offset(seconds, count == 5, false, count == 5, out),
        (_, _) => write_offset(seconds, count == 3 || count == 5, count == 1, count >= 4, out),
    }
    Ok(())
}

fn is_utc(zone: &Zone) -> bool {
    match zone {
        Zone::Fixed(seconds) => *seconds == 0,
        Zone::Region(region) => matches!(region.name(), "UTC" | "Etc/UTC" | "Zulu" | "Etc/Zulu" | "Universal" | "UCT"),
    }
}

/// `±hh[:]mm[[:]ss]`, minutes left out if `short` and they are zero, seconds only if `with_seconds` and they are not.
fn write_offset(seconds: i64, colons: bool, short: bool, with_seconds: bool, out: &mut String) {
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

/// What follows `GMT`: `+2`, `+2:30`, or in full `+02:00`.
fn write_offset_parts(seconds: i64, full: bool, out: &mut String) {
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

/// What reading a text has found.
#[derive(Debug, Clone, Default)]
struct Read {
    before_christ: bool,
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: Option<i64>,
    /// 0 to 11.
    half_hour: Option<i64>,
    afternoon: Option<bool>,
    minute: Option<i64>,
    second: Option<i64>,
    micros: i64,
    zone: Option<Zone>,
}

impl Read {
    fn instant(&self, zone: &Zone) -> Option<i64> {
        let year = match self.year {
            Some(year) if self.before_christ => 1 - year,
            Some(year) => year,
            None => 1970,
        };
        let days = match self.day_of_year {
            Some(day) if self.month.is_none() && self.day.is_none() => {
                let first = i64::from(days_from_date(year, 1, 1)?);
                let in_year = i64::from(days_from_date(year, 12, 31)?) - first + 1;
                (1..=in_year).contains(&day).then_some(first + day - 1)?
            }
            _ => {
                let (month, day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
                if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
                    return None;
                }
                i64::from(days_from_date(year, month, day)?)
            }
        };
        let hour = match (self.hour, self.half_hour) {
            (Some(hour), _) => hour,
            (None, Some(half)) => half + if self.afternoon.unwrap_or(false) { 12 } else { 0 },
            (None, None) => {
                if self.afternoon == Some(true) {
                    12
                } else {
                    0
                }
            }
        };
        let (minute, second) = (self.minute.unwrap_or(0), self.second.unwrap_or(0));
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let time = ((hour * 60 + minute) * 60 + second) * 1_000_000 + self.micros;
        let local = days.checked_mul(DAY_US)?.checked_add(time)?;
        self.zone.as_ref().unwrap_or(zone).to_instant(local)
    }
}

/// Reads `parts` from the beginning of `text` and gives what is left of it.
fn read_parts<'t>(parts: &[Part], mut text: &'t str, read: &mut Read) -> Option<&'t str> {
    for (index, part) in parts.iter().enumerate() {
        text = match part {
            Part::Literal(ch) => {
                let mut chars = text.chars();
                let found = chars.next()?;
                let same = found == *ch || found.to_lowercase().eq(ch.to_lowercase());
                same.then_some(chars.as_str())?
            }
            Part::Optional(inner) => {
                let mut attempt = read.clone();
                match read_parts(inner, text, &mut attempt) {
                    Some(rest) => {
                        *read = attempt;
                        rest
                    }
                    None => text,
                }
            }
            Part::Field(letter, count) => {
                // Digits that belong to the fields right behind a variable number.
                let reserved: usize = parts[index + 1..]
                    .iter()
                    .map_while(|part| match part {
                        Part::Field('y', width) if *width != 1 => Some(*width),
                        Part::Field('M' | 'L' | 'd' | 'H' | 'h' | 'k' | 'K' | 'm' | 's', 2) => Some(2),
                        Part::Field('D', 3) => Some(3),
                        _ => None,
                    })
                    .sum();
                read_field(*letter, *count, text, reserved, read)?
            }
        };
    }
    Some(text)
}

/// A number of `least` to `most` digits; `reserved` digits are left to others.
fn number(text: &str, least: usize, most: usize, reserved: usize) -> Option<(i64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let take = if least == most { most } else { digits.saturating_sub(reserved).max(least).min(most) };
    if digits < take || take == 0 {
        return None;
    }
    Some((text[..take].parse().ok()?, &text[take..]))
}

fn read_field<'t>(letter: char, count: usize, text: &'t str, reserved: usize, read: &mut Read) -> Option<&'t str> {
    let (least, most) = if count == 1 { (1, 19) } else { (count, count) };
    let within = |value: i64, low: i64, high: i64| (low..=high).contains(&value).then_some(value);
    match letter {
        'G' => {
            let (found, rest) = prefix_of(text, if count == 4 { &["Anno Domini", "Before Christ"] } else { &["AD", "BC"] })?;
            read.before_christ = found == 1;
            Some(rest)
        }
        'y' if count == 2 => {
            let (value, rest) = number(text, 2, 2, 0)?;
            read.year = Some(2000 + value);
            Some(rest)
        }
        'y' => {
            // Four letters and more take longer years only behind a plus sign.
            let (signed, text) = match text.strip_prefix('+') {
                Some(rest) if count >= 4 => (true, rest),
                _ => (false, text),
            };
            let most = if signed || count < 4 { 10 } else { count };
            let (value, rest) = number(text, count, most, reserved)?;
            if signed && value < 10_i64.pow(count as u32) {
                return None;
            }
            read.year = Some(value).filter(|y| *y >= 1);
            read.year.map(|_| rest)
        }
        'M' | 'L' if count >= 3 => {
            let names: Vec<&str> = MONTHS.iter().map(|m| if count == 4 { *m } else { &m[..3] }).collect();
            let (found, rest) = prefix_of(text, &names)?;
            read.month = Some(found as i64 + 1);
            Some(rest)
        }
        'a' => {
            let (found, rest) = prefix_of(text, &["AM", "PM"])?;
            read.afternoon = Some(found == 1);
            Some(rest)
        }
        'S' => {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            let take = digits.min(count);
            if take == 0 {
                return None;
            }
            let padded = format!("{:0<9}", &text[..take]);
            read.micros = padded[..6].parse().ok()?;
            Some(&text[take..])
        }
        'M' | 'L' | 'd' | 'D' | 'H' | 'h' | 'k' | 'K' | 'm' | 's' => {
            let (least, most) = if letter == 'D' && count == 2 { (2, 3) } else { (least, most) };
            let (value, rest) = number(text, least, most, reserved)?;
            match letter {
                'M' | 'L' => read.month = Some(within(value, 1, 12)?),
                'd' => read.day = Some(within(value, 1, 31)?),
                'D' => read.day_of_year = Some(within(value, 1, 366)?),
                'H' => read.hour = Some(within(value, 0, 23)?),
                'h' => read.half_hour = Some(within(value, 1, 12)? % 12),
                'k' => read.hour = Some(within(value, 1, 24)? % 24),
                'K' => read.half_hour = Some(within(value, 0, 11)?),
                'm' => read.minute = Some(within(value, 0, 59)?),
                _ => read.second = Some(within(value, 0, 59)?),
            }
            Some(rest)
        }
        _ => read_zone(letter, count, text, read),
    }
}

/// Which of `names` the text begins with, in any case, and what follows.
fn prefix_of<'t>(text: &'t str, names: &[&str]) -> Option<(usize, &'t str)> {
    names
        .iter()
        .enumerate()
        .filter(|(_, name)| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
        .max_by_key(|(_, name)| name.len())
        .map(|(index, name)| (index, &text[name.len()..]))
}

fn read_zone<'t>(letter: char, count: usize, text: &'t str, read: &mut Read) -> Option<&'t str> {
    if matches!(letter, 'V' | 'z') {
        let end = text.find(|ch: char| !(ch.is_ascii_alphanumeric() || "/_-+:".contains(ch))).unwrap_or(text.len());
        read.zone = Some(Zone::parse(&text[..end])?);
        return Some(&text[end..]);
    }
    let text = if letter == 'O' || (letter == 'Z' && count == 4) {
        match text.strip_prefix("GMT")? {
            rest if !rest.starts_with(['+', '-']) => {
                read.zone = Some(Zone::Fixed(0));
                return Some(rest);
            }
            rest => rest,
        }
    } else {
        text
    };
    if let (true, Some(rest)) = (letter == 'X' || (letter == 'Z' && count == 5), text.strip_prefix('Z')) {
        read.zone = Some(Zone::Fixed(0));
        return Some(rest);
    }
    let colons = matches!((letter, count), ('X' | 'x', 3 | 5) | ('Z', 4 | 5) | ('O', _));
    let negative = text.starts_with('-');
    let hour_digits = if letter == 'O' && count == 1 { 1 } else { 2 };
    let (hours, mut rest) = number(text.strip_prefix(['+', '-'])?, hour_digits, 2, 0)?;
    let minutes_needed = count != 1 || !matches!(letter, 'X' | 'x' | 'O');
    let minutes = offset_part(&mut rest, colons, minutes_needed)?;
    let seconds = if count >= 4 { offset_part(&mut rest, colons, false)? } else { None };
    let total = hours * 3600 + minutes.unwrap_or(0) * 60 + seconds.unwrap_or(0);
    if total > 18 * 3600 {
        return None;
    }
    read.zone = Some(Zone::Fixed(if negative { -total } else { total } as i32));
    Some(rest)
}

/// Minutes or seconds of an offset; `Some(None)` if they are not there and need not be.
fn offset_part(rest: &mut &str, colons: bool, needed: bool) -> Option<Option<i64>> {
    let body = if colons { rest.strip_prefix(':') } else { Some(*rest) };
    match body.and_then(|body| number(body, 2, 2, 0)).filter(|(value, _)| *value < 60) {
        Some((value, after)) => {
            *rest = after;
            Some(Some(value))
        }
        None if needed => None,
        None => Some(None),
    }
}
