//! Time zones in patterns: by id, by offset, and by the English names that people use.

use std::collections::HashMap;
use std::sync::LazyLock;

use chrono_tz::{TZ_VARIANTS, Tz};

use super::super::super::super::cast::time::Zone;
use super::offset::{self, Form};
use super::zone_table::{READ, WRITTEN};
use crate::error::{Error, ErrorKind};

/// What a zone is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Names {
    /// In winter, in summer, and all year.
    long: [&'static str; 3],
    short: [&'static str; 3],
}

impl Names {
    /// Writes the name of all the year if `generic`, else of the season.
    pub(super) fn write(&self, generic: bool, long: bool, summer: bool, out: &mut String) {
        let season = if generic { 2 } else { usize::from(summer) };
        out.push_str(if long { self.long[season] } else { self.short[season] });
    }
}

/// The names of a zone, if it is one that has names here.
pub(in super::super) fn names(zone: &Zone) -> Option<Names> {
    let region = match zone {
        Zone::Fixed(0) => Tz::UTC,
        Zone::Fixed(_) => return None,
        Zone::Region(region) => *region,
    };
    BY_ZONE.get(&region).copied()
}

/// The refusal of a pattern that writes the name of a zone which has none here.
pub(in super::super) fn unnamed() -> Error {
    let message = "the query's time zone has no name that a pattern (z, v) could write; use VV or XXX";
    Error::spark(ErrorKind::Config, "UNSUPPORTED_FEATURE", message)
}

static BY_ZONE: LazyLock<HashMap<Tz, Names>> = LazyLock::new(|| {
    let mut zones = HashMap::new();
    for (ids, long, short) in WRITTEN {
        for zone in ids.split_whitespace().filter_map(|id| id.parse::<Tz>().ok()) {
            zones.insert(zone, Names { long: *long, short: *short });
        }
    }
    zones
});

/// Ids of regions in small letters.
static BY_ID: LazyLock<HashMap<String, Zone>> = LazyLock::new(|| {
    let regions = TZ_VARIANTS.iter().filter(|zone| !matches!(zone.name(), "EST" | "MST" | "HST"));
    regions.map(|zone| (zone.name().to_lowercase(), Zone::Region(*zone))).collect()
});

/// Short names in small letters, and long ones, each with ids beside them.
static BY_NAME: LazyLock<[HashMap<String, Zone>; 2]> = LazyLock::new(|| {
    let mut found = [BY_ID.clone(), BY_ID.clone()];
    for (id, short, long) in READ {
        let Ok(zone) = id.parse::<Tz>() else { continue };
        for (names, zones) in [short, long].into_iter().zip(&mut found) {
            zones.extend(names.split('|').filter(|name| !name.is_empty()).map(|name| (name.to_lowercase(), Zone::Region(zone))));
        }
    }
    found
});

/// The zone that a text begins with, and what follows; by names too if `names` says whether by long ones.
pub(super) fn read(text: &str, names: Option<bool>) -> Option<(Zone, &str)> {
    const OFFSET: Form = Form { none: "Z", colons: true, short: false, seconds: true };
    if text.starts_with(['+', '-']) {
        let (seconds, rest) = offset::read(text, OFFSET)?;
        return Some((fixed(seconds)?, rest));
    }
    for prefix in ["UTC", "GMT", "UT"] {
        let Some(rest) = offset::after(text, prefix) else { continue };
        let offset = if rest.starts_with(['+', '-']) { offset::read(rest, OFFSET) } else { None };
        return match offset {
            Some((seconds, rest)) => Some((fixed(seconds)?, rest)),
            None => Some((Zone::Fixed(0), rest.strip_prefix('0').filter(|_| prefix == "GMT").unwrap_or(rest))),
        };
    }
    let zones = match names {
        None => &*BY_ID,
        Some(long) => &BY_NAME[usize::from(long)],
    };
    let longest = text.char_indices().take_while(|(at, ch)| *at < 48 && ch.is_ascii()).count();
    let lower = text[..longest].to_ascii_lowercase();
    for length in (1..=longest).rev() {
        if let Some(zone) = zones.get(&lower[..length]) {
            return Some((*zone, &text[length..]));
        }
    }
    offset::after(text, "Z").map(|rest| (Zone::Fixed(0), rest))
}

fn fixed(seconds: i64) -> Option<Zone> {
    i32::try_from(seconds).ok().filter(|s| s.abs() <= 18 * 3600).map(Zone::Fixed)
}
