//! Dates, times of day and time zones, as Spark reads and writes them.

use std::fmt::{self, Write};

use crate::format::datetime;
pub use crate::format::datetime::{Clock, DAY_US, Zone, civil as date_from_days};

/// Days since 1970 of a date of the proleptic Gregorian calendar, if it is one that a DATE can be.
pub fn days_from_date(year: i64, month: i64, day: i64) -> Option<i32> {
    i32::try_from(datetime::days(year, month, day)?).ok()
}

/// How many days a month has.
pub fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Adds months to a date; a day that the month does not have becomes its last.
pub fn add_months(days: i64, months: i64) -> Option<i32> {
    let (year, month, day) = date_from_days(days);
    let total = year.checked_mul(12)?.checked_add(month - 1)?.checked_add(months)?;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
    days_from_date(year, month, day.min(days_in_month(year, month)))
}

/// What clocks show at the same time of day, so many months and then days later.
pub fn later(clock: Clock, months: i64, days: i64) -> Option<Clock> {
    let day = i64::from(add_months(clock.day, months)?).checked_add(days)?;
    Some(Clock { day, us: clock.us })
}

/// Writes `2026-01-31`; years beyond 9999 have a `+`.
pub fn write_date(out: &mut impl Write, days: i64) -> fmt::Result {
    let (year, month, day) = date_from_days(days);
    match year {
        0..=9999 => {
            let [y1, y2] = two_digits(year / 100);
            let [y3, y4] = two_digits(year % 100);
            let ([m1, m2], [d1, d2]) = (two_digits(month), two_digits(day));
            out.write_str(ascii(&[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2])?)
        }
        10_000.. => write!(out, "+{year}-{month:02}-{day:02}"),
        _ => write!(out, "-{:04}-{month:02}-{day:02}", -year),
    }
}

/// Writes `2026-01-31 23:59:58.123`, without the fraction's trailing zeros.
pub fn write_timestamp(out: &mut impl Write, clock: Clock) -> fmt::Result {
    write_date(out, clock.day)?;
    let (seconds, fraction) = (clock.us / 1_000_000, clock.us % 1_000_000);
    let [h1, h2] = two_digits(seconds / 3600);
    let ([m1, m2], [s1, s2]) = (two_digits(seconds / 60 % 60), two_digits(seconds % 60));
    out.write_str(ascii(&[b' ', h1, h2, b':', m1, m2, b':', s1, s2])?)?;
    write_fraction(out, fraction)
}

/// The digits of a number below 100.
fn two_digits(value: i64) -> [u8; 2] {
    [b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8]
}

fn ascii(text: &[u8]) -> Result<&str, fmt::Error> {
    std::str::from_utf8(text).map_err(|_| fmt::Error)
}

/// Writes `.5` for 500,000 microseconds, nothing for 0.
pub fn write_fraction(out: &mut impl Write, fraction_us: i64) -> fmt::Result {
    if fraction_us == 0 {
        return Ok(());
    }
    let [a, b] = two_digits(fraction_us / 10_000);
    let ([c, d], [e, f]) = (two_digits(fraction_us / 100), two_digits(fraction_us));
    let digits = [b'.', a, b, c, d, e, f];
    let end = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    out.write_str(ascii(&digits[..end])?)
}

/// A date as Spark's cast reads it, in days since 1970: `2026`, `2026-1`, `2026-01-02`, whatever follows a blank or `T` after that.
pub fn parse_date(text: &[u8]) -> Option<i32> {
    let text = trim(text);
    let (sign, mut rest) = match text.first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let mut parts = [1_i64; 3];
    for (i, part) in parts.iter_mut().enumerate() {
        let (value, digits) = leading_number(rest);
        let digits_right = if i == 0 { (4..=7).contains(&digits) } else { (1..=2).contains(&digits) };
        if !digits_right {
            return None;
        }
        *part = value;
        rest = &rest[digits..];
        match rest.first() {
            Some(b'-') if i < 2 => rest = &rest[1..],
            Some(b' ' | b'T') if i == 2 => break,
            None => break,
            _ => return None,
        }
    }
    days_from_date(sign * parts[0], parts[1], parts[2])
}

/// What a text says about a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ParsedTime {
    /// What clocks show, and the zone if one is named.
    At(Clock, Option<Zone>),
    /// A time of day without a date.
    TimeOnly,
}

/// A timestamp as Spark's cast reads it: `2026`, `2026-1`, `2026-01-02`, `2026-01-02 3:04:05.678 Europe/Berlin`, `…T…Z`, `…+01:00`.
pub fn parse_timestamp(text: &[u8]) -> Option<ParsedTime> {
    let text = trim(text);
    let (sign, signed, mut rest) = match text.first()? {
        b'-' => (-1, true, &text[1..]),
        b'+' => (1, true, &text[1..]),
        _ => (1, false, text),
    };
    let mut date = [1_i64; 3];
    let mut time = [0_i64; 3];
    let mut has_time = false;
    if let (Some(b'T'), false) = (rest.first(), signed) {
        return parse_time(&rest[1..], &mut time).map(|_| ParsedTime::TimeOnly);
    }
    if !signed && matches!(rest.get(leading_number(rest).1), Some(b':')) {
        return parse_time(rest, &mut time).map(|_| ParsedTime::TimeOnly);
    }
    for (i, part) in date.iter_mut().enumerate() {
        let (value, digits) = leading_number(rest);
        let digits_right = if i == 0 { (4..=6).contains(&digits) } else { (1..=2).contains(&digits) };
        if !digits_right {
            return None;
        }
        *part = value;
        rest = &rest[digits..];
        match rest.first() {
            None => break,
            Some(b'-') if i < 2 => rest = &rest[1..],
            Some(b' ' | b'T') if i == 2 => {
                rest = &rest[1..];
                has_time = true;
            }
            _ => return None,
        }
    }
    let (fraction, zone) = if has_time { parse_time(rest, &mut time)? } else { (0, None) };
    let day = datetime::days(sign * date[0], date[1], date[2])?;
    let us = ((time[0] * 60 + time[1]) * 60 + time[2]) * 1_000_000 + fraction;
    Some(ParsedTime::At(Clock { day, us }, zone))
}

/// `h[:m[:s[.fraction]][zone]]`; gives the fraction in microseconds and the zone.
fn parse_time(mut rest: &[u8], time: &mut [i64; 3]) -> Option<(i64, Option<Zone>)> {
    for i in 0..3 {
        let (value, digits) = leading_number(rest);
        if !(1..=2).contains(&digits) || value > [23, 59, 59][i] {
            return None;
        }
        time[i] = value;
        rest = &rest[digits..];
        match rest.first() {
            None => return Some((0, None)),
            Some(b':') if i < 2 => rest = &rest[1..],
            _ if i == 2 => break,
            _ => return None,
        }
    }
    let mut fraction = 0;
    if rest.first() == Some(&b'.') {
        let digits = rest[1..].iter().take_while(|b| b.is_ascii_digit()).count();
        for i in 0..6 {
            fraction = fraction * 10 + if i < digits { i64::from(rest[1 + i] - b'0') } else { 0 };
        }
        rest = &rest[1 + digits..];
    }
    if rest.is_empty() {
        return Some((fraction, None));
    }
    let zone = std::str::from_utf8(trim(rest)).ok()?;
    Zone::parse(zone).map(|zone| (fraction, Some(zone)))
}

/// The number at the start, and how many digits it has (8 at most: no segment has as many).
fn leading_number(text: &[u8]) -> (i64, usize) {
    let digits = text.iter().take(8).take_while(|b| b.is_ascii_digit()).count();
    (text[..digits].iter().fold(0, |value, b| value * 10 + i64::from(b - b'0')), digits)
}

/// Without the white space and control characters around it.
pub fn trim(text: &[u8]) -> &[u8] {
    let blank = |b: &u8| *b <= b' ' || *b == 0x7f;
    let start = text.iter().position(|b| !blank(b)).unwrap_or(text.len());
    let end = text.iter().rposition(|b| !blank(b)).map_or(start, |i| i + 1);
    &text[start..end]
}
