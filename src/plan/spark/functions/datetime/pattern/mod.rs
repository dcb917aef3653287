//! Java's patterns for dates and times, as far as Spark takes them.
//!
//! A pattern is compiled to a list of parts, once per constant. Letters that Spark refuses, and counts of letters that it does not know,
//! are refused with the same conditions.

use super::super::super::cast::time::Zone;
use super::super::arguments::data_error;
use crate::error::{Error, Result};

mod offset;
mod read;
mod write;
pub(super) mod zone_name;
mod zone_table;

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
    Field(Field),
    /// What may be left out when reading.
    Optional(Vec<Part>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    letter: char,
    /// How often the letter stands there.
    count: usize,
    /// Digits of a number of any length that belong to the fields right behind it.
    reserved: usize,
}

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    parts: Vec<Part>,
    /// Years are those of an era, because the pattern names it.
    era: bool,
}

/// Dates and times have no patterns of this kind any more: how Spark says that an older version knew it.
const RECOGNITION: &str = "INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_PATTERN_RECOGNITION";
const WEEKS: &str = "INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_WEEK_BASED_PATTERN";
const ILLEGAL: &str = "INVALID_DATETIME_PATTERN.ILLEGAL_CHARACTER";
const LENGTH: &str = "INVALID_DATETIME_PATTERN.LENGTH";
const UNKNOWN: &str = "INVALID_DATETIME_PATTERN.WITH_SUGGESTION";

/// The refusal of a pattern. What Java's older patterns knew is refused as a change of behaviour, all else for what it is.
fn refused(pattern: &str, condition: &'static str) -> Error {
    let condition = if is_older(pattern) { RECOGNITION } else { condition };
    data_error(condition, format!("the pattern '{pattern}' is not one that dates and times can be read or written by"))
}

fn is_older(pattern: &str) -> bool {
    const LETTERS: &str = "GyYMLwWDdFEuaHkKhmsSzZX";
    let segments = pattern.split('\'');
    let is_closed = segments.clone().count() % 2 == 1;
    is_closed
        && segments
            .step_by(2)
            .all(|s| !s.contains("XXXX") && s.chars().all(|ch| !ch.is_ascii_alphabetic() || LETTERS.contains(ch)))
}

/// What Spark looks for itself, text outside of quotes by text outside of quotes.
fn check_letters(pattern: &str, usage: Use) -> Result<()> {
    for segment in pattern.split('\'').step_by(2) {
        let illegal = if usage == Use::Parsing { "ABnNpEFqQ" } else { "ABnNp" };
        // Fields of weeks are not fields of dates.
        if segment.contains(|ch| "YWwuec".contains(ch)) {
            return Err(refused(pattern, WEEKS));
        }
        if segment.contains(|ch| illegal.contains(ch)) {
            return Err(refused(pattern, ILLEGAL));
        }
        if ["GGGGG", "MMMMM", "LLLLL", "EEEEE", "QQQQQ", "qqqqq", "yyyyyyy"].iter().any(|long| segment.contains(long)) {
            return Err(refused(pattern, LENGTH));
        }
    }
    Ok(())
}

/// Whether there is a field of so many letters.
fn is_field(letter: char, count: usize) -> bool {
    match letter {
        'G' | 'y' | 'M' | 'L' | 'E' | 'Q' | 'q' => true,
        'd' | 'h' | 'H' | 'k' | 'K' | 'm' | 's' => count <= 2,
        'D' => count <= 3,
        'S' => count <= 9,
        'a' | 'F' => count == 1,
        'V' => count == 2,
        'v' | 'O' => count == 1 || count == 4,
        'z' => count <= 4,
        'X' | 'x' | 'Z' => count <= 5,
        'g' => count <= 19,
        _ => false,
    }
}

impl Pattern {
    /// Compiles a pattern.
    pub(super) fn compile(text: &str, usage: Use) -> Result<Self> {
        check_letters(text, usage)?;
        let unknown = || refused(text, UNKNOWN);
        // Fractions that are read are set apart from the rest, and an open quote does no harm then.
        let open_quotes = usage == Use::Parsing && text.contains('S');
        let mut stack: Vec<Vec<Part>> = vec![Vec::new()];
        let mut chars = text.chars().peekable();
        while let Some(ch) = chars.next() {
            let top = stack.last_mut().ok_or_else(unknown)?;
            match ch {
                '\'' if chars.next_if_eq(&'\'').is_some() => top.push(Part::Literal('\'')),
                '\'' => loop {
                    match chars.next() {
                        Some('\'') if chars.next_if_eq(&'\'').is_some() => top.push(Part::Literal('\'')),
                        Some('\'') => break,
                        Some(ch) => top.push(Part::Literal(ch)),
                        None if open_quotes => break,
                        None => return Err(unknown()),
                    }
                },
                '[' => stack.push(Vec::new()),
                ']' => {
                    let inner = finished(stack.pop().unwrap_or_default(), usage);
                    stack.last_mut().ok_or_else(unknown)?.push(Part::Optional(inner));
                }
                '#' | '{' | '}' => return Err(unknown()),
                letter if letter.is_ascii_alphabetic() => {
                    let mut count = 1;
                    while chars.next_if_eq(&letter).is_some() {
                        count += 1;
                    }
                    if !is_field(letter, count) {
                        return Err(unknown());
                    }
                    top.push(Part::Field(Field { letter, count, reserved: 0 }));
                }
                ch => top.push(Part::Literal(ch)),
            }
        }
        while stack.len() > 1 {
            let inner = finished(stack.pop().unwrap_or_default(), usage);
            if let Some(outer) = stack.last_mut() {
                outer.push(Part::Optional(inner));
            }
        }
        let parts = finished(stack.pop().unwrap_or_default(), usage);
        let era = text.split('\'').step_by(2).any(|segment| segment.contains('G'));
        Ok(Self { parts, era })
    }

    /// Whether the pattern writes the zone's name.
    pub(super) fn names_zone(&self) -> bool {
        fn any(parts: &[Part]) -> bool {
            parts.iter().any(|part| match part {
                Part::Field(field) => matches!(field.letter, 'z' | 'v'),
                Part::Optional(inner) => any(inner),
                Part::Literal(_) => false,
            })
        }
        any(&self.parts)
    }

    /// Writes the time that clocks of `zone` show at the instant `us`.
    pub(super) fn format(&self, us: i64, zone: &Zone, out: &mut String) -> Result<()> {
        write::Time::new(us, zone, self.era).write(&self.parts, out)
    }

    /// The instant that `text` means, seen in `zone` unless it names one; without a zone, what it says clocks show. `None` if it does
    /// not fit.
    pub(super) fn parse(&self, text: &str, zone: Option<&Zone>) -> Option<i64> {
        read::read(&self.parts, self.era, text, zone)
    }
}

/// The digits of a number that always has as many.
fn fixed_width(part: &Part) -> Option<usize> {
    match part {
        Part::Field(Field { letter: 'M' | 'L' | 'd' | 'H' | 'h' | 'k' | 'K' | 'm' | 's' | 'y', count: 2, .. }) => Some(2),
        Part::Field(Field { letter: 'D', count: 3, .. }) => Some(3),
        Part::Field(Field { letter: 'S', count: 1, .. }) => Some(1),
        _ => None,
    }
}

/// Sets for each number how many digits the numbers right behind it need.
fn finished(mut parts: Vec<Part>, usage: Use) -> Vec<Part> {
    if usage == Use::Formatting {
        return parts;
    }
    let mut behind = 0;
    for part in parts.iter_mut().rev() {
        let fixed = fixed_width(part);
        if let Part::Field(field) = part {
            field.reserved = behind;
        }
        behind = fixed.map_or(0, |width| behind + width);
    }
    parts
}
