//! Durations as people write them: `2s`, `500 ms`, `5 minutes`, `1h 30m`.

use std::time::Duration;

/// Units with the words for them; the first word is how the unit is written out.
const UNITS: &[(&[&str], u64)] = &[
    (&["w", "week", "weeks"], 604_800_000_000_000),
    (&["d", "day", "days"], 86_400_000_000_000),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600_000_000_000),
    (&["m", "min", "mins", "minute", "minutes"], 60_000_000_000),
    (&["s", "sec", "secs", "second", "seconds"], 1_000_000_000),
    (&["ms", "msec", "millis", "millisecond", "milliseconds"], 1_000_000),
    (&["us", "usec", "micros", "microsecond", "microseconds"], 1_000),
    (&["ns", "nsec", "nanos", "nanosecond", "nanoseconds"], 1),
];
const CALENDAR_UNITS: &[&str] = &["month", "months", "mon", "mons", "y", "yr", "year", "years", "quarter", "quarters"];

/// The duration that `text` names, or what was expected instead. Months and years have no fixed length and are refused, as Spark
/// refuses them; so are negative durations.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(expected());
    }
    let mut total_ns: u64 = 0;
    while !rest.is_empty() {
        if rest.starts_with('-') {
            return Err("expected a duration that is not negative".to_owned());
        }
        let digits_end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, tail) = rest.split_at(digits_end);
        let tail = tail.trim_start();
        let word_end = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (word, tail) = tail.split_at(word_end);
        if digits.is_empty() || word.is_empty() {
            return Err(expected());
        }
        let unit_ns = unit_ns(word)?;
        let count: u64 = digits.parse().map_err(|_| too_long())?;
        total_ns = count.checked_mul(unit_ns).and_then(|ns| total_ns.checked_add(ns)).ok_or_else(too_long)?;
        rest = tail.trim_start();
    }
    Ok(Duration::from_nanos(total_ns))
}

fn unit_ns(word: &str) -> Result<u64, String> {
    let word = word.to_lowercase();
    if CALENDAR_UNITS.contains(&word.as_str()) {
        return Err("doesn't support month or year interval".to_owned());
    }
    let unit = UNITS.iter().find(|(words, _)| words.contains(&word.as_str()));
    unit.map(|(_, ns)| *ns).ok_or_else(expected)
}

fn expected() -> String {
    "expected a duration such as 2s, 500ms, 5 minutes or 1h 30m".to_owned()
}

fn too_long() -> String {
    "expected a duration of at most 584 years".to_owned()
}

/// `duration` as [`parse_duration`] reads it back: `1h 30m`.
pub fn show_duration(duration: Duration) -> String {
    let mut rest_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    for (words, unit_ns) in &UNITS[1..] {
        let count = rest_ns / unit_ns;
        rest_ns %= unit_ns;
        if count > 0 {
            parts.push(format!("{count}{}", words[0]));
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_written() {
        for (text, ms) in [
            ("2s", 2_000),
            ("2 seconds", 2_000),
            ("500ms", 500),
            ("5 minutes", 300_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("1 hour 30 minutes", 5_400_000),
            ("7 days", 604_800_000),
            (" 1 WEEK ", 604_800_000),
            ("0 seconds", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for (text, message) in [
            ("", "expected a duration such as 2s, 500ms, 5 minutes or 1h 30m"),
            ("2", "expected a duration such as 2s, 500ms, 5 minutes or 1h 30m"),
            ("seconds", "expected a duration such as 2s, 500ms, 5 minutes or 1h 30m"),
            ("2 fortnights", "expected a duration such as 2s, 500ms, 5 minutes or 1h 30m"),
            ("1.5s", "expected a duration such as 2s, 500ms, 5 minutes or 1h 30m"),
            ("1 month", "doesn't support month or year interval"),
            ("2 years", "doesn't support month or year interval"),
            ("-2 seconds", "expected a duration that is not negative"),
            ("99999999999999999999 s", "expected a duration of at most 584 years"),
            ("18446744073709551615 weeks", "expected a duration of at most 584 years"),
        ] {
            assert_eq!(parse_duration(text), Err(message.to_owned()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_reads_back_as_it_was(ns in any::<u64>()) {
            let duration = Duration::from_nanos(ns);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse_duration(&text);
        }
    }
}
