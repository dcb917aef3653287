//! Time zones by Java's names, and what their clocks show.

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;

use super::datetime::{DAY_US, SECOND_US, civil, days};

/// A time zone: a fixed offset or a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// Seconds east of UTC, at most 18 hours either way.
    Fixed(i32),
    /// A region with its history of offsets.
    Region(Tz),
}

/// What a calendar and a clock show. Clocks show times that are no number of microseconds since 1970 in 64 bits, so those are not what
/// local times are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Clock {
    /// Days since 1970.
    pub day: i64,
    /// Microseconds since midnight.
    pub us: i64,
}

impl Clock {
    /// A clock that shows so many microseconds since 1970.
    pub fn of(local_us: i64) -> Self {
        Self { day: local_us.div_euclid(DAY_US), us: local_us.rem_euclid(DAY_US) }
    }

    /// What it shows so many microseconds east of UTC at an instant.
    pub fn at(instant_us: i64, offset_us: i64) -> Self {
        match instant_us.checked_add(offset_us) {
            Some(local) => Self::of(local),
            None => {
                let Self { day, us } = Self::of(instant_us);
                let us = us + offset_us;
                Self { day: day + us.div_euclid(DAY_US), us: us.rem_euclid(DAY_US) }
            }
        }
    }

    /// Microseconds since 1970 that it shows, if there are as many.
    pub fn local(self) -> Option<i64> {
        match self.day.checked_mul(DAY_US).and_then(|midnight| midnight.checked_add(self.us)) {
            // A midnight before the first microsecond may have a time of day behind it.
            None => i64::try_from(self.wide()).ok(),
            local => local,
        }
    }

    /// The same, however many.
    pub fn wide(self) -> i128 {
        i128::from(self.day) * i128::from(DAY_US) + i128::from(self.us)
    }
}

/// Zones that Java knows and the tables do not: what Spark still takes.
const OTHER_NAMES: [(&str, &str); 35] = [
    ("ACT", "Australia/Darwin"),
    ("AET", "Australia/Sydney"),
    ("AGT", "America/Argentina/Buenos_Aires"),
    ("ART", "Africa/Cairo"),
    ("AST", "America/Anchorage"),
    ("BET", "America/Sao_Paulo"),
    ("BST", "Asia/Dhaka"),
    ("CAT", "Africa/Harare"),
    ("CNT", "America/St_Johns"),
    ("CST", "America/Chicago"),
    ("CTT", "Asia/Shanghai"),
    ("EAT", "Africa/Addis_Ababa"),
    ("ECT", "Europe/Paris"),
    ("IET", "America/Indiana/Indianapolis"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("MIT", "Pacific/Apia"),
    ("NET", "Asia/Yerevan"),
    ("NST", "Pacific/Auckland"),
    ("PLT", "Asia/Karachi"),
    ("PNT", "America/Phoenix"),
    ("PRT", "America/Puerto_Rico"),
    ("PST", "America/Los_Angeles"),
    ("SST", "Pacific/Guadalcanal"),
    ("VST", "Asia/Ho_Chi_Minh"),
    ("EST", "-05:00"),
    ("MST", "-07:00"),
    ("HST", "-10:00"),
    ("SystemV/AST4", "-04:00"),
    ("SystemV/EST5", "-05:00"),
    ("SystemV/CST6", "-06:00"),
    ("SystemV/MST7", "-07:00"),
    ("SystemV/PST8", "-08:00"),
    ("SystemV/YST9", "-09:00"),
    ("SystemV/HST10", "-10:00"),
];

impl Zone {
    /// UTC.
    pub const UTC: Zone = Zone::Fixed(0);

    /// The zone called `name`: `Z`, `+01:00`, `+1:00`, `GMT+1`, `Europe/Rome`, `PST`. `None` if there is none.
    pub fn parse(name: &str) -> Option<Self> {
        let name = OTHER_NAMES.iter().find(|(other, _)| *other == name).map_or(name, |(_, known)| known);
        if name == "Z" {
            return Some(Self::UTC);
        }
        if name.starts_with(['+', '-']) {
            return offset(name).map(Self::Fixed);
        }
        for prefix in ["UTC", "GMT", "UT"] {
            match name.strip_prefix(prefix) {
                Some("") => return Some(Self::UTC),
                Some(rest) if rest.starts_with(['+', '-']) => return offset(rest).map(Self::Fixed),
                _ => {}
            }
        }
        name.parse().ok().map(Self::Region)
    }

    /// Microseconds east of UTC at an instant (microseconds since 1970).
    pub fn offset_at(&self, instant_us: i64) -> i64 {
        let seconds = match self {
            Self::Fixed(seconds) => *seconds,
            Self::Region(Tz::UTC) => 0,
            Self::Region(region) => region.offset_from_utc_datetime(&known(instant_us)).fix().local_minus_utc(),
        };
        i64::from(seconds) * SECOND_US
    }

    /// What clocks show at an instant.
    pub fn clock(&self, instant_us: i64) -> Clock {
        Clock::at(instant_us, self.offset_at(instant_us))
    }

    /// The instant at which clocks show so many microseconds since 1970. The earlier one where the clocks were put back; where they
    /// were put forward, a time in the gap moves forward with them.
    pub fn to_instant(&self, local_us: i64) -> Option<i64> {
        local_us.checked_sub(self.offset_of_local(local_us))
    }

    /// The same of what they show.
    pub fn instant(&self, clock: Clock) -> Option<i64> {
        match clock.local() {
            Some(local) => self.to_instant(local),
            None => {
                let near = if clock.day < 0 { i64::MIN } else { i64::MAX };
                i64::try_from(clock.wide() - i128::from(self.offset_of_local(near))).ok()
            }
        }
    }

    /// Microseconds east of UTC when clocks show `local_us`.
    fn offset_of_local(&self, local_us: i64) -> i64 {
        let seconds = match self {
            Self::Fixed(seconds) => *seconds,
            Self::Region(Tz::UTC) => 0,
            Self::Region(region) => {
                let local = known(local_us);
                let offset = match region.offset_from_local_datetime(&local) {
                    MappedLocalTime::Single(offset) | MappedLocalTime::Ambiguous(offset, _) => offset,
                    // The offset before the gap.
                    MappedLocalTime::None => region.offset_from_utc_datetime(&(local - TimeDelta::days(1))),
                };
                offset.fix().local_minus_utc()
            }
        };
        i64::from(seconds) * SECOND_US
    }

    /// Whether clocks are put forward for summer at an instant.
    pub fn is_summer(&self, instant_us: i64) -> bool {
        use chrono_tz::OffsetComponents;
        match self {
            Self::Fixed(_) => false,
            Self::Region(region) => !region.offset_from_utc_datetime(&known(instant_us)).dst_offset().is_zero(),
        }
    }
}

/// A time that the tables of zones know for `us`: far out rules do not change.
fn known(us: i64) -> NaiveDateTime {
    // No calendar of `chrono` has the first and last times that there are.
    const FIRST_US: i64 = -8_000_000_000_000_000_000;
    DateTime::from_timestamp_micros((us - beyond_tables(us)).max(FIRST_US)).unwrap_or(DateTime::UNIX_EPOCH).naive_utc()
}

/// The microseconds from a year that the tables of zones know to a later one that has the same days of the week: daylight saving goes on
/// for ever by the same rules, the tables do not.
fn beyond_tables(us: i64) -> i64 {
    /// 2098.
    const FIRST_UNKNOWN_US: i64 = 46_752 * DAY_US;
    if us < FIRST_UNKNOWN_US {
        return 0;
    }
    let (year, _, _) = civil(us.div_euclid(DAY_US));
    let first_day = |year: i64| days(year, 1, 1).unwrap_or_default();
    let kind = |year: i64| (first_day(year).rem_euclid(7), first_day(year + 1) - first_day(year));
    // Of 28 years in a row, each kind of year is one at least.
    let like = (2070..2098).find(|known| kind(*known) == kind(year));
    like.map_or(0, |like| (first_day(year) - first_day(like)) * DAY_US)
}

/// `±h`, `±hh`, `±h:mm`, `±hh:m`, `±hh:mm`, `±hhmm`, `±hh:mm:ss`, `±hhmmss`, up to 18 hours, in seconds.
fn offset(text: &str) -> Option<i32> {
    let (sign, digits) = (if text.starts_with('-') { -1 } else { 1 }, &text[1..]);
    let parts: Vec<&str> = if digits.contains(':') {
        let parts: Vec<&str> = digits.split(':').collect();
        let minutes_long_enough = parts.len() == 2 || parts[1].len() == 2 && parts.get(2).is_none_or(|s| s.len() == 2);
        if parts.len() > 3 || !minutes_long_enough {
            return None;
        }
        parts
    } else if digits.is_ascii() && matches!(digits.len(), 1 | 2 | 4 | 6) {
        if digits.len() == 1 { vec![digits] } else { (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]).collect() }
    } else {
        return None;
    };
    let mut values = [0; 3];
    for (value, part) in values.iter_mut().zip(parts) {
        if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *value = part.parse().ok()?;
    }
    let [hours, minutes, seconds] = values;
    let total = hours * 3600 + minutes * 60 + seconds;
    (minutes < 60 && seconds < 60 && total <= 18 * 3600).then_some(sign * total)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: [i64; 6] = [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX];

    #[test]
    fn zones_are_known_by_the_names_that_java_knows() {
        for (name, seconds) in
            [("Z", 0), ("UTC", 0), ("GMT+1", 3600), ("EST", -18_000), ("SystemV/YST9", -32_400), ("-18:00", -64_800)]
        {
            assert_eq!(Zone::parse(name), Some(Zone::Fixed(seconds)), "{name}");
        }
        for name in ["PST", "Asia/Kolkata"] {
            assert!(matches!(Zone::parse(name), Some(Zone::Region(_))), "{name}");
        }
        for name in ["", "+", "+19:00", "+1:2:3", "+-1:00", "+1:", "+é", "utc+", "Mars/Phobos"] {
            assert_eq!(Zone::parse(name), None, "{name}");
        }
    }

    #[test]
    fn every_instant_has_a_clock_that_leads_back_to_it() {
        for name in ["UTC", "+18:00", "-18:00", "America/New_York", "Europe/Paris", "Asia/Tokyo"] {
            let zone = Zone::parse(name).unwrap();
            for us in ENDS {
                let clock = zone.clock(us);
                assert!((0..DAY_US).contains(&clock.us), "{clock:?}");
                assert_eq!(zone.instant(clock), Some(us), "{us} in {name}");
            }
        }
    }

    #[test]
    fn what_clocks_never_show_is_no_instant() {
        let (east, west) = (Zone::Fixed(3600), Zone::Fixed(-3600));
        assert_eq!((east.to_instant(i64::MIN), west.to_instant(i64::MAX)), (None, None));
        assert_eq!(west.instant(Zone::UTC.clock(i64::MAX)), None);
        assert_eq!(east.instant(Clock { day: i64::MAX, us: 0 }), None);
    }

    #[test]
    fn far_out_clocks_go_by_the_first_and_the_last_rules() {
        let paris = Zone::parse("Europe/Paris").unwrap();
        assert_eq!(paris.offset_at(i64::MIN), 561_000_000);
        assert_eq!(paris.offset_at(i64::MAX), 3_600_000_000);
        assert!(paris.is_summer(i64::MAX - 180 * DAY_US) && !paris.is_summer(i64::MAX));
    }
}
