//! Times read by a pattern: first what the text says of each field, then the time that these make.

use super::super::super::super::cast::time::{Clock, Zone, date_from_days, days_from_date, days_in_month};
use super::super::field::{MONTHS, day_of_year};
use super::offset::{self, Form};
use super::{Field, Part, zone_name};

/// The instant that a text means; see [`super::Pattern::parse`].
pub(super) fn read(parts: &[Part], era: bool, text: &str, zone: Option<&Zone>) -> Option<i64> {
    let mut found = Found::default();
    let rest = read_parts(parts, text, &mut found)?;
    if !rest.is_empty() {
        return None;
    }
    let clock = Clock { day: found.days(era)?, us: found.of_day()? };
    let offset = found.offset.map(|seconds| i32::try_from(seconds).ok().filter(|s| s.abs() <= 18 * 3600).map(Zone::Fixed));
    match (zone, found.zone, offset) {
        (None, ..) => clock.local(),
        (Some(_), Some(named), _) => named.instant(clock),
        (Some(_), None, Some(offset)) => offset?.instant(clock),
        (Some(zone), None, None) => zone.instant(clock),
    }
}

/// What a text says of each field.
#[derive(Debug, Clone, Default)]
struct Found {
    before_christ: Option<i64>,
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    julian_day: Option<i64>,
    hour: Option<i64>,
    /// 1 to 24.
    clock_hour: Option<i64>,
    /// 0 to 11.
    half_hour: Option<i64>,
    /// 1 to 12.
    clock_half_hour: Option<i64>,
    afternoon: Option<i64>,
    minute: Option<i64>,
    second: Option<i64>,
    micros: Option<i64>,
    offset: Option<i64>,
    zone: Option<Zone>,
}

/// Sets a field, which must not have another value yet.
fn set(field: &mut Option<i64>, value: i64) -> Option<()> {
    if field.is_some_and(|before| before != value) {
        return None;
    }
    *field = Some(value);
    Some(())
}

fn within(value: i64, low: i64, high: i64) -> Option<i64> {
    (low..=high).contains(&value).then_some(value)
}

impl Found {
    /// Days since 1970. A day of a year and a whole date must agree with what else is said of them; what is missing is of
    /// 1 January 1970.
    fn days(&self, era: bool) -> Option<i64> {
        let year = match (era, self.year) {
            (false, year) => year,
            (true, Some(year)) if self.before_christ.is_some() => {
                let year = within(year, 1, 999_999_999)?;
                Some(if self.before_christ == Some(1) { 1 - year } else { year })
            }
            (true, _) => None,
        };
        let date = |year: i64, month: i64, day: i64| days_from_date(year, within(month, 1, 12)?, day).map(i64::from);
        let of_year = |year: i64, day: i64| {
            let days = 337 + days_in_month(year, 2);
            Some(date(year, 1, 1)? + within(day, 1, days)? - 1)
        };
        let whole = match (year, self.month, self.day, self.day_of_year) {
            _ if self.julian_day.is_some() => self.julian_day.map(|day| day - 40_587),
            (Some(year), Some(month), Some(day), _) => Some(date(year, month, day)?),
            (year, _, _, Some(day)) => Some(of_year(year.unwrap_or(1970), day)?),
            _ => None,
        };
        let Some(days) = whole else {
            return date(year.unwrap_or(1970), self.month.unwrap_or(1), self.day.unwrap_or(1));
        };
        let (y, m, d) = date_from_days(days);
        let day_of_year = i64::from(day_of_year(days));
        let same = |said: Option<i64>, is: i64| said.is_none_or(|said| said == is);
        (same(year, y) && same(self.month, m) && same(self.day, d) && same(self.day_of_year, day_of_year)).then_some(days)
    }

    /// Microseconds since midnight.
    fn of_day(&self) -> Option<i64> {
        let (mut hour, mut half_hour) = (self.hour, self.half_hour);
        if let Some(clock) = self.clock_hour {
            set(&mut hour, within(clock, 1, 24)? % 24)?;
        }
        if let Some(clock) = self.clock_half_hour {
            set(&mut half_hour, within(clock, 1, 12)? % 12)?;
        }
        if let (Some(half), Some(afternoon)) = (half_hour, self.afternoon) {
            set(&mut hour, afternoon * 12 + within(half, 0, 11)?)?;
        }
        let (minute, second) = (within(self.minute.unwrap_or(0), 0, 59)?, within(self.second.unwrap_or(0), 0, 59)?);
        // An hour alone is a time, but not one with seconds and no minutes.
        let is_whole = match (self.minute, self.second, self.micros) {
            (None, second, micros) => second.is_none() && micros.is_none(),
            (Some(_), None, Some(_)) => false,
            _ => true,
        };
        if let (Some(hour), true) = (hour, is_whole) {
            let agrees = self.afternoon.is_none_or(|a| a == hour / 12) && half_hour.is_none_or(|half| half == hour % 12);
            if !agrees {
                return None;
            }
        }
        let hour = match (hour, half_hour) {
            (Some(hour), _) => within(hour, 0, 23)?,
            (None, Some(half)) => within(half, 0, 11)?,
            (None, None) => self.afternoon.unwrap_or(0) * 12,
        };
        Some(((hour * 60 + minute) * 60 + second) * 1_000_000 + self.micros.unwrap_or(0))
    }
}

/// Reads `parts` from the beginning of `text` and gives what is left of it.
fn read_parts<'t>(parts: &[Part], mut text: &'t str, found: &mut Found) -> Option<&'t str> {
    for part in parts {
        text = match part {
            Part::Literal(ch) => {
                let mut chars = text.chars();
                let next = chars.next()?;
                let same = next == *ch || next.to_lowercase().eq(ch.to_lowercase());
                same.then_some(chars.as_str())?
            }
            Part::Optional(inner) => {
                let mut attempt = found.clone();
                match read_parts(inner, text, &mut attempt) {
                    Some(rest) => {
                        *found = attempt;
                        rest
                    }
                    None => text,
                }
            }
            Part::Field(field) => read_field(*field, text, found)?,
        };
    }
    Some(text)
}

/// A number of `least` to `most` digits; `reserved` digits are left to others.
fn number(text: &str, least: usize, most: usize, reserved: usize) -> Option<(i64, usize)> {
    let digits = text.bytes().take(most + reserved).take_while(u8::is_ascii_digit).count();
    let take = digits.saturating_sub(reserved).max(least).min(most);
    if digits < take || take == 0 {
        return None;
    }
    Some((text[..take].parse().ok()?, take))
}

fn read_field<'t>(Field { letter, count, reserved }: Field, text: &'t str, found: &mut Found) -> Option<&'t str> {
    let slot = match letter {
        'y' => {
            let (year, rest) = read_year(count, reserved, text)?;
            set(&mut found.year, year)?;
            return Some(rest);
        }
        'G' => {
            let (name, rest) =
                prefix_of(text, if count == 4 { ["Anno Domini", "Before Christ"] } else { ["AD", "BC"] }.into_iter())?;
            set(&mut found.before_christ, name)?;
            return Some(rest);
        }
        'M' | 'L' if count >= 3 => {
            let (month, rest) = prefix_of(text, MONTHS.iter().map(|name| if count == 4 { name } else { &name[..3] }))?;
            set(&mut found.month, month + 1)?;
            return Some(rest);
        }
        'a' => {
            let (name, rest) = prefix_of(text, ["AM", "PM"].into_iter())?;
            set(&mut found.afternoon, name)?;
            return Some(rest);
        }
        'S' => {
            let digits = text.bytes().take(count).take_while(u8::is_ascii_digit).count();
            let padded = text.as_bytes()[..digits].iter().copied().chain(std::iter::repeat(b'0')).take(6);
            let micros = padded.fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0'));
            set(&mut found.micros, micros)?;
            return (digits > 0).then(|| &text[digits..]);
        }
        'M' | 'L' => &mut found.month,
        'd' => &mut found.day,
        'D' => &mut found.day_of_year,
        'g' => &mut found.julian_day,
        'H' => &mut found.hour,
        'k' => &mut found.clock_hour,
        'K' => &mut found.half_hour,
        'h' => &mut found.clock_half_hour,
        'm' => &mut found.minute,
        's' => &mut found.second,
        _ => return read_zone(letter, count, text, found),
    };
    let (least, most, signed) = match (letter, count) {
        ('g', count) => (count, 19, true),
        (_, 1) => (1, 19, true),
        ('D', count) => (count, 3, false),
        (_, count) => (count, count, false),
    };
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) if signed => (true, rest),
        _ => (false, text),
    };
    let (value, length) = number(digits, least, most, reserved)?;
    if negative && value == 0 {
        return None;
    }
    set(slot, if negative { -value } else { value })?;
    Some(&digits[length..])
}

/// A year: two digits of this century, or more, of which four letters and more take longer ones only behind a plus sign.
fn read_year(count: usize, reserved: usize, text: &str) -> Option<(i64, &str)> {
    if count == 2 {
        let (year, length) = number(text, 2, 2, 0)?;
        return Some((2000 + year, &text[length..]));
    }
    let sign = text.bytes().next().filter(|sign| *sign == b'-' || *sign == b'+' && count >= 4);
    let digits = &text[usize::from(sign.is_some())..];
    let (year, length) = number(digits, count, 19, reserved)?;
    let fits = match sign {
        Some(b'-') => year != 0,
        Some(_) => length > count,
        None => count < 4 || length == count,
    };
    let year = within(if sign == Some(b'-') { -year } else { year }, -999_999_999, 999_999_999)?;
    fits.then(|| (year, &digits[length..]))
}

/// Which of `names` the text begins with, in any case, and what follows.
fn prefix_of(text: &str, names: impl Iterator<Item = &'static str>) -> Option<(i64, &str)> {
    names
        .enumerate()
        .filter_map(|(index, name)| offset::after(text, name).map(|rest| (index as i64, rest)))
        .min_by_key(|(_, rest)| rest.len())
}

fn read_zone<'t>(letter: char, count: usize, text: &'t str, found: &mut Found) -> Option<&'t str> {
    let (seconds, rest) = match letter {
        'V' | 'z' | 'v' => {
            let names = if letter == 'V' { None } else { Some(count == 4) };
            let (zone, rest) = zone_name::read(text, names)?;
            found.zone = Some(zone);
            return Some(rest);
        }
        'O' => offset::read_localized(text, count == 4)?,
        'Z' if count == 4 => offset::read_localized(text, true)?,
        _ => offset::read(text, Form::of(letter, count))?,
    };
    set(&mut found.offset, seconds)?;
    Some(rest)
}
