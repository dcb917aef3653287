//! Dates and timestamps as text, both ways, as Spark reads and writes them in JSON and CSV.
//!
//! Reading is lenient where Spark is: one-digit months, parts left out from the right, any number of fraction digits (cut at the
//! microsecond), offsets and zone names. A time without a date, which Spark would complete with today's date, is not read:
//! decoding knows no clock.

pub use super::zone::{Clock, Zone};

/// Microseconds of a day.
pub const DAY_US: i64 = 86_400_000_000;
/// Microseconds of a second.
pub const SECOND_US: i64 = 1_000_000;

/// A TIMESTAMP from text, in microseconds since 1970; text without a zone is in `zone`.
pub fn parse_timestamp(text: &[u8], zone: &Zone) -> Option<i64> {
    match parse_clock(trim(text))? {
        (clock, None) => zone.instant(clock),
        (clock, Some(name)) => Zone::parse(std::str::from_utf8(trim(name)).ok()?)?.instant(clock),
    }
}

/// A TIMESTAMP_NTZ from text, in microseconds since 1970 on a clock without a zone; text with a zone is refused.
pub fn parse_timestamp_ntz(text: &[u8]) -> Option<i64> {
    match parse_clock(trim(text))? {
        (clock, None) => clock.local(),
        _ => None,
    }
}

/// A DATE from text, in days since 1970. Whatever follows a `T` or a blank is ignored.
pub fn parse_date(text: &[u8]) -> Option<i32> {
    let text = trim(text);
    let (negative, mut rest) = signed(text);
    let year = number(&mut rest, 4, 7)?;
    let (mut month, mut day) = (1, 1);
    if eat(&mut rest, b'-') {
        month = number(&mut rest, 1, 2)?;
        if eat(&mut rest, b'-') {
            day = number(&mut rest, 1, 2)?;
            if matches!(rest.first(), Some(b' ' | b'T')) {
                rest = &[];
            }
        }
    }
    if !rest.is_empty() {
        return None;
    }
    i32::try_from(days(if negative { -year } else { year }, month, day)?).ok()
}

/// What the clock on the wall shows, and what stands behind: the zone.
fn parse_clock(text: &[u8]) -> Option<(Clock, Option<&[u8]>)> {
    let (negative, mut rest) = signed(text);
    let year = number(&mut rest, 4, 6)?;
    let (mut month, mut day, mut time_us, mut suffix) = (1, 1, 0, None);
    if eat(&mut rest, b'-') {
        month = number(&mut rest, 1, 2)?;
        if eat(&mut rest, b'-') {
            day = number(&mut rest, 1, 2)?;
            if eat(&mut rest, b'T') || eat(&mut rest, b' ') {
                (time_us, suffix) = parse_time(&mut rest)?;
            }
        }
    }
    if !rest.is_empty() {
        return None;
    }
    let day = days(if negative { -year } else { year }, month, day)?;
    Some((Clock { day, us: time_us }, suffix))
}

/// `h[:m[:s[.f…]]]` and the zone, which only a time with seconds can have.
fn parse_time<'a>(rest: &mut &'a [u8]) -> Option<(i64, Option<&'a [u8]>)> {
    let (mut minute, mut second, mut fraction_us, mut suffix) = (0, 0, 0, None);
    let hour = number(rest, 1, 2)?;
    if eat(rest, b':') {
        minute = number(rest, 1, 2)?;
        if eat(rest, b':') {
            second = number(rest, 1, 2)?;
            if eat(rest, b'.') {
                let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
                fraction_us = (0..6).fold(0, |us, at| us * 10 + if at < digits { i64::from(rest[at] - b'0') } else { 0 });
                *rest = &rest[digits..];
            }
            if !rest.is_empty() {
                suffix = Some(std::mem::take(rest));
            }
        }
    }
    let seconds = hour * 3600 + minute * 60 + second;
    (hour < 24 && minute < 60 && second < 60).then_some((seconds * SECOND_US + fraction_us, suffix))
}

fn trim(text: &[u8]) -> &[u8] {
    let blank = |b: &u8| *b <= b' ' || *b == 0x7f;
    let start = text.iter().position(|b| !blank(b)).unwrap_or(text.len());
    let end = text.iter().rposition(|b| !blank(b)).map_or(start, |last| last + 1);
    &text[start..end]
}

fn signed(text: &[u8]) -> (bool, &[u8]) {
    match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

fn eat(rest: &mut &[u8], byte: u8) -> bool {
    let found = rest.first() == Some(&byte);
    if found {
        *rest = &rest[1..];
    }
    found
}

/// A number of `digits_min` to `digits_max` digits, none following.
fn number(rest: &mut &[u8], digits_min: usize, digits_max: usize) -> Option<i64> {
    let mut value = 0;
    let mut digits = 0;
    while let Some(digit) = rest.get(digits).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
        digits += 1;
        if digits > digits_max {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    *rest = &rest[digits..];
    (digits >= digits_min).then_some(value)
}

/// Days since 1970 of a date of the Gregorian calendar, `None` if there is no such date.
pub fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days_in_month).contains(&day) {
        return None;
    }
    // Years start in March here, so that the leap day is the last day of its year.
    let year = year - i64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468)
}

/// Year, month and day of a day since 1970.
pub fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = (shifted_month + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted_month + 2) / 5 + 1)
}

/// Appends a DATE: `2026-01-01`, `+12000-01-01`, `-0001-01-01`.
pub fn write_date(days: i32, out: &mut Vec<u8>) {
    push_date(i64::from(days), out);
}

/// Appends a TIMESTAMP as the clocks of `zone` show it, with milliseconds and offset: `2026-01-01T00:00:00.123Z`.
pub fn write_timestamp(instant_us: i64, zone: &Zone, out: &mut Vec<u8>) {
    let east_us = zone.offset_at(instant_us);
    push_clock(Clock::at(instant_us, east_us), out);
    let east = east_us / SECOND_US;
    if east == 0 {
        out.push(b'Z');
        return;
    }
    out.push(if east < 0 { b'-' } else { b'+' });
    let east = east.abs();
    push_padded(east / 3600, 2, out);
    out.push(b':');
    push_padded(east / 60 % 60, 2, out);
    if east % 60 != 0 {
        out.push(b':');
        push_padded(east % 60, 2, out);
    }
}

/// Appends a TIMESTAMP_NTZ with milliseconds: `2026-01-01T00:00:00.123`.
pub fn write_timestamp_ntz(local_us: i64, out: &mut Vec<u8>) {
    push_clock(Clock::of(local_us), out);
}

fn push_clock(clock: Clock, out: &mut Vec<u8>) {
    push_date(clock.day, out);
    let ms = clock.us / 1000;
    for (lead, value, width) in
        [(b'T', ms / 3_600_000, 2), (b':', ms / 60_000 % 60, 2), (b':', ms / 1000 % 60, 2), (b'.', ms % 1000, 3)]
    {
        out.push(lead);
        push_padded(value, width, out);
    }
}

fn push_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(days);
    match year {
        ..0 => out.push(b'-'),
        10_000.. => out.push(b'+'),
        _ => {}
    }
    push_padded(year.abs(), 4, out);
    out.push(b'-');
    push_padded(month, 2, out);
    out.push(b'-');
    push_padded(day, 2, out);
}

fn push_padded(value: i64, width: usize, out: &mut Vec<u8>) {
    let mut buffer = [0; 20];
    let digits = lexical_core::write(value, &mut buffer);
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(digits.len())));
    out.extend_from_slice(digits);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(us: i64, zone: &str) -> String {
        let mut out = Vec::new();
        write_timestamp(us, &Zone::parse(zone).expect("a zone"), &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn timestamps_show_milliseconds_and_the_offset_in_force() {
        for (us, zone, text) in [
            (1_767_225_600_123_456, "UTC", "2026-01-01T00:00:00.123Z"),
            (1_767_225_600_123_456, "Europe/Rome", "2026-01-01T01:00:00.123+01:00"),
            (1_782_856_800_000_000, "Europe/Rome", "2026-07-01T00:00:00.000+02:00"),
            (-1, "Z", "1969-12-31T23:59:59.999Z"),
            (316_516_204_800_000_000, "+00:00", "+12000-01-01T00:00:00.000Z"),
            (-62_198_755_200_000_000, "GMT", "-0001-01-01T00:00:00.000Z"),
            (1_767_225_600_000_000, "-03:30", "2025-12-31T20:30:00.000-03:30"),
            (i64::MAX, "UTC", "+294247-01-10T04:00:54.775Z"),
            (i64::MIN, "UTC", "-290308-12-21T19:59:05.224Z"),
        ] {
            assert_eq!(written(us, zone), text);
        }
    }

    #[test]
    fn zoneless_text_is_in_the_given_zone_and_clock_changes_take_the_offset_before() {
        let rome = Zone::parse("Europe/Rome").expect("a zone");
        for (text, us) in [
            ("2026-01-01", 1_767_222_000_000_000),
            ("2026-01-01T00:00:00Z", 1_767_225_600_000_000),
            ("2026-03-29 02:30:00", 1_774_747_800_000_000),
            ("2026-10-25 02:30:00", 1_792_888_200_000_000),
        ] {
            assert_eq!(parse_timestamp(text.as_bytes(), &rome), Some(us), "{text}");
        }
    }

    #[test]
    fn every_day_of_eight_centuries_reads_back() {
        let mut text = Vec::new();
        for day in -150_000..150_000 {
            text.clear();
            write_date(day, &mut text);
            assert_eq!(parse_date(&text), Some(day));
        }
    }
}
