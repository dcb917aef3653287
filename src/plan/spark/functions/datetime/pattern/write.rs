//! Times written by a pattern.

use std::fmt::Write;

use super::super::super::super::cast::time::{Clock, Zone, date_from_days};
use super::super::field::{DAYS, MONTHS, day_of_year, quarter, weekday};
use super::{Field, Part, offset, zone_name};
use crate::error::Result;

/// A local date and time, taken apart.
pub(super) struct Time<'a> {
    days: i64,
    year: i64,
    month: i64,
    day: i64,
    /// Microseconds since midnight.
    of_day: i64,
    instant: i64,
    zone: &'a Zone,
    era: bool,
}

impl<'a> Time<'a> {
    pub(super) fn new(instant: i64, zone: &'a Zone, era: bool) -> Self {
        let Clock { day: days, us: of_day } = zone.clock(instant);
        let (year, month, day) = date_from_days(days);
        Self { days, year, month, day, of_day, instant, zone, era }
    }

    pub(super) fn write(&self, parts: &[Part], out: &mut String) -> Result<()> {
        for part in parts {
            match part {
                Part::Literal(ch) => out.push(*ch),
                Part::Optional(inner) => self.write(inner, out)?,
                Part::Field(field) => self.write_field(*field, out)?,
            }
        }
        Ok(())
    }

    fn write_field(&self, Field { letter, count, .. }: Field, out: &mut String) -> Result<()> {
        let hour = self.of_day / 3_600_000_000;
        let short = |name: &'static str| if count == 4 { name } else { &name[..3] };
        let number = match letter {
            'y' => {
                write_year(if self.era && self.year <= 0 { 1 - self.year } else { self.year }, count, out);
                return Ok(());
            }
            'M' | 'L' if count < 3 => self.month,
            'd' => self.day,
            'D' => i64::from(day_of_year(self.days)),
            'g' => self.days + 40_587,
            'F' => (self.day - 1) % 7 + 1,
            'Q' | 'q' if count < 3 => i64::from(quarter(self.days)),
            'h' => (hour + 11) % 12 + 1,
            'H' => hour,
            'k' => (hour + 23) % 24 + 1,
            'K' => hour % 12,
            'm' => self.of_day / 60_000_000 % 60,
            's' => self.of_day / 1_000_000 % 60,
            'S' => {
                let nanos = self.of_day % 1_000_000 * 1000;
                write_number(nanos / 10_i64.pow(9 - count as u32), count, out);
                return Ok(());
            }
            _ => {
                out.push_str(match (letter, self.year > 0, quarter(self.days)) {
                    ('G', true, _) => ["Anno Domini", "AD"][usize::from(count != 4)],
                    ('G', false, _) => ["Before Christ", "BC"][usize::from(count != 4)],
                    ('M' | 'L', ..) => short(MONTHS[self.month as usize - 1]),
                    ('E', ..) => short(DAYS[weekday(self.days) as usize]),
                    ('Q' | 'q', _, quarter) if count == 3 => ["Q1", "Q2", "Q3", "Q4"][quarter as usize - 1],
                    ('Q' | 'q', _, quarter) => ["1st quarter", "2nd quarter", "3rd quarter", "4th quarter"][quarter as usize - 1],
                    ('a', ..) => ["AM", "PM"][usize::from(hour >= 12)],
                    _ => return self.write_zone(letter, count, out),
                });
                return Ok(());
            }
        };
        write_number(number, count, out);
        Ok(())
    }

    fn write_zone(&self, letter: char, count: usize, out: &mut String) -> Result<()> {
        let seconds = self.zone.offset_at(self.instant) / 1_000_000;
        match (letter, self.zone) {
            ('V', Zone::Region(region)) => out.push_str(region.name()),
            ('V', Zone::Fixed(0)) => out.push_str("UTC"),
            ('V', Zone::Fixed(_)) => offset::write(seconds, true, false, true, out),
            ('z' | 'v', zone) => {
                let found = zone_name::names(zone).ok_or_else(zone_name::unnamed)?;
                found.write(letter == 'v', count == 4, zone.is_summer(self.instant), out);
            }
            ('O', _) => offset::write_localized(seconds, count == 4, out),
            ('Z', _) if count == 4 => offset::write_localized(seconds, true, out),
            ('X', _) if seconds == 0 => out.push('Z'),
            ('Z', _) if count == 5 && seconds == 0 => out.push('Z'),
            ('Z', _) => offset::write(seconds, count == 5, false, count == 5, out),
            (_, _) => offset::write(seconds, count == 3 || count == 5, count == 1, count >= 4, out),
        }
        Ok(())
    }
}

/// A year: two digits of it, or all; more digits than letters, from four on, have a plus sign.
fn write_year(year: i64, count: usize, out: &mut String) {
    if count == 2 {
        return write_number(year.abs() % 100, 2, out);
    }
    if year < 0 {
        out.push('-');
    } else if count >= 4 && year >= 10_i64.pow(count as u32) {
        out.push('+');
    }
    write_number(year.abs(), count, out);
}

/// A number of at least so many digits.
fn write_number(number: i64, width: usize, out: &mut String) {
    if let (2, 0..=99) = (width, number) {
        out.push((b'0' + (number / 10) as u8) as char);
        out.push((b'0' + (number % 10) as u8) as char);
        return;
    }
    if number < 0 {
        out.push('-');
    }
    let _ = write!(out, "{:0width$}", number.unsigned_abs());
}
