//! Dates, times of day and time zones, as Spark reads and writes them.

use std::fmt::{self, Write};

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;

/// Microseconds of a day.
pub const DAY_US: i64 = 86_400_000_000;

/// A time zone: a fixed offset or a region.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Zone {
    /// Seconds east of Greenwich.
    Fixed(i32),
    /// A region with its rules.
    Region(Tz),
}

impl Zone {
    /// The zone that Java's `ZoneId.of(name, SHORT_IDS)` gives, with Spark's one-digit hours and minutes.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(offset) = parse_offset(name) {
            return Some(Zone::Fixed(offset));
        }
        for prefix in ["UTC", "GMT", "UT"] {
            match name.strip_prefix(prefix) {
                Some("") => return Some(Zone::Fixed(0)),
                Some(rest) if rest.starts_with(['+', '-']) => return parse_offset(rest).map(Zone::Fixed),
                _ => {}
            }
        }
        let region = match name {
            "Z" => return Some(Zone::Fixed(0)),
            "SystemV/AST4" => return Some(Zone::Fixed(-4 * 3600)),
            "EST" | "SystemV/EST5" => return Some(Zone::Fixed(-5 * 3600)),
            "SystemV/CST6" => return Some(Zone::Fixed(-6 * 3600)),
            "MST" | "SystemV/MST7" => return Some(Zone::Fixed(-7 * 3600)),
            "SystemV/PST8" => return Some(Zone::Fixed(-8 * 3600)),
            "SystemV/YST9" => return Some(Zone::Fixed(-9 * 3600)),
            "HST" | "SystemV/HST10" => return Some(Zone::Fixed(-10 * 3600)),
            "ACT" => "Australia/Darwin",
            "AET" => "Australia/Sydney",
            "AGT" => "America/Argentina/Buenos_Aires",
            "ART" => "Africa/Cairo",
            "AST" => "America/Anchorage",
            "BET" => "America/Sao_Paulo",
            "BST" => "Asia/Dhaka",
            "CAT" => "Africa/Harare",
            "CNT" => "America/St_Johns",
            "CST" => "America/Chicago",
            "CTT" => "Asia/Shanghai",
            "EAT" => "Africa/Addis_Ababa",
            "ECT" => "Europe/Paris",
            "IET" => "America/Indiana/Indianapolis",
            "IST" => "Asia/Kolkata",
            "JST" => "Asia/Tokyo",
            "MIT" => "Pacific/Apia",
            "NET" => "Asia/Yerevan",
            "NST" => "Pacific/Auckland",
            "PLT" => "Asia/Karachi",
            "PNT" => "America/Phoenix",
            "PRT" => "America/Puerto_Rico",
            "PST" => "America/Los_Angeles",
            "SST" => "Pacific/Guadalcanal",
            "VST" => "Asia/Ho_Chi_Minh",
            other => other,
        };
        region.parse().ok().map(Zone::Region)
    }

    /// Offset from UTC in microseconds at an instant, in microseconds since 1970.
    pub fn offset_at(&self, instant_us: i64) -> i64 {
        let seconds = match self {
            Zone::Fixed(seconds) => *seconds,
            Zone::Region(Tz::UTC) => 0,
            Zone::Region(zone) => match DateTime::from_timestamp_micros(instant_us - beyond_tables(instant_us)) {
                Some(instant) => zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc(),
                None => 0,
            },
        };
        i64::from(seconds) * 1_000_000
    }

    /// The instant of a local time, in microseconds. The earlier one where the clocks were put back; where they were put forward,
    /// a time in the gap moves forward with them.
    pub fn to_instant(&self, local_us: i64) -> Option<i64> {
        let zone = match self {
            Zone::Fixed(seconds) => return local_us.checked_sub(i64::from(*seconds) * 1_000_000),
            Zone::Region(Tz::UTC) => return Some(local_us),
            Zone::Region(zone) => zone,
        };
        let known = local_us - beyond_tables(local_us);
        let Some(local) = DateTime::from_timestamp_micros(known).map(|t| t.naive_utc()) else { return Some(local_us) };
        let offset = match zone.offset_from_local_datetime(&local) {
            MappedLocalTime::Single(offset) | MappedLocalTime::Ambiguous(offset, _) => offset,
            MappedLocalTime::None => {
                zone.offset_from_utc_datetime(&local.checked_sub_signed(TimeDelta::days(1)).unwrap_or(NaiveDateTime::MIN))
            }
        };
        local_us.checked_sub(i64::from(offset.fix().local_minus_utc()) * 1_000_000)
    }
}

/// The microseconds from a year that the tables of zones know to a later one that has the same days of the week: daylight saving goes on
/// for ever by the same rules, the tables do not.
fn beyond_tables(us: i64) -> i64 {
    /// 2098.
    const FIRST_UNKNOWN_US: i64 = 46_752 * DAY_US;
    if us < FIRST_UNKNOWN_US {
        return 0;
    }
    let (year, _, _) = date_from_days(us.div_euclid(DAY_US));
    let first_day = |year: i64| days_from_date(year, 1, 1).map(i64::from);
    let kind = |year: i64| first_day(year).map(|day| (day.rem_euclid(7), days_in_month(year, 2)));
    // Of 28 years in a row, each kind of year is one at least.
    let like = (2070..2098).find(|known| kind(*known) == kind(year));
    let days = like.and_then(|known| Some(first_day(year)? - first_day(known)?));
    days.map_or(0, |days| days * DAY_US)
}

/// `+h`, `+hh`, `+hh:mm`, `+h:mm`, `+hh:m`, `+hhmm`, `+hh:mm:ss`, `+hhmmss`, up to 18 hours, in seconds.
fn parse_offset(text: &str) -> Option<i32> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let number = |digits: &str| if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse::<i32>().ok() } else { None };
    let (hours, minutes, seconds) = if rest.contains(':') {
        let mut parts = rest.split(':');
        let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next());
        let lengths_right =
            (1..=2).contains(&hours.len()) && (1..=2).contains(&minutes.len()) && seconds.is_none_or(|s| s.len() == 2);
        if !lengths_right || parts.next().is_some() {
            return None;
        }
        (number(hours)?, number(minutes)?, seconds.map_or(Some(0), number)?)
    } else {
        match rest.len() {
            1 | 2 => (number(rest)?, 0, 0),
            4 => (number(rest.get(..2)?)?, number(rest.get(2..)?)?, 0),
            6 => (number(rest.get(..2)?)?, number(rest.get(2..4)?)?, number(rest.get(4..)?)?),
            _ => return None,
        }
    };
    let total = hours * 3600 + minutes * 60 + seconds;
    (minutes < 60 && seconds < 60 && total <= 18 * 3600).then_some(sign * total)
}

/// Days since 1970 of a date of the proleptic Gregorian calendar, if it is one.
pub fn days_from_date(year: i64, month: i64, day: i64) -> Option<i32> {
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    // Years are counted from March, so that the leap day is the last of its year.
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i32::try_from(era * 146_097 + day_of_era - 719_468).ok()
}

/// Year, month and day of days since 1970.
pub fn date_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
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

/// Writes `2026-01-31 23:59:58.123`, without the fraction's trailing zeros, from local microseconds since 1970.
pub fn write_timestamp(out: &mut impl Write, local_us: i64) -> fmt::Result {
    write_date(out, local_us.div_euclid(DAY_US))?;
    let of_day = local_us.rem_euclid(DAY_US);
    let (seconds, fraction) = (of_day / 1_000_000, of_day % 1_000_000);
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
    /// Local microseconds since 1970, and the zone if one is named.
    At(i64, Option<Zone>),
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
    let days = i64::from(days_from_date(sign * date[0], date[1], date[2])?);
    let of_day = ((time[0] * 60 + time[1]) * 60 + time[2]) * 1_000_000 + fraction;
    // A midnight before the first instant may have instants behind it.
    let local = i128::from(days) * i128::from(DAY_US) + i128::from(of_day);
    i64::try_from(local).ok().map(|local| ParsedTime::At(local, zone))
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
