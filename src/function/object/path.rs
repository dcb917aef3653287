//! Which object, and which of its bytes.

use std::ops;

/// Whether a key names one object and nothing but that: `pictures/1.png`.
pub(super) fn check(key: &str) -> Result<(), String> {
    if key.chars().any(char::is_control) {
        return Err("expected a path without control characters".to_owned());
    }
    match key.split('/').find(|piece| matches!(*piece, "" | "." | "..")) {
        Some("") => Err("expected a path such as folder/name, without an empty piece before, between or behind its /".to_owned()),
        Some(_) => Err("expected a path without . and .. in it".to_owned()),
        None => Ok(()),
    }
}

/// Some bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    /// From the first of them to the last one.
    Bounded(u64, u64),
    /// From this on.
    From(u64),
    /// So many at the end.
    Last(u64),
}

impl Range {
    /// The range that `text` writes, as HTTP does.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("expected a range of bytes such as 0-1023, 1024- or -512, found {text:?}");
        let (first, last) = text.trim().split_once('-').ok_or_else(expected)?;
        let number = |digits: &str| {
            let plain = digits.bytes().all(|b| b.is_ascii_digit());
            // The end of a range is one more than its last byte.
            digits.parse::<u64>().ok().filter(|number| plain && *number < u64::MAX)
        };
        let range = match (first, last) {
            ("", last) => number(last).filter(|count| *count > 0).map(Self::Last),
            (first, "") => number(first).map(Self::From),
            (first, last) => {
                number(first).zip(number(last)).filter(|(first, last)| first <= last).map(|(a, b)| Self::Bounded(a, b))
            }
        };
        range.ok_or_else(expected)
    }

    /// The bytes of an object of this size; none if it has none of them.
    pub(super) fn of(self, size: u64) -> Option<ops::Range<u64>> {
        let range = match self {
            Self::Bounded(first, last) => first..size.min(last + 1),
            Self::From(first) => first..size,
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        (range.start < range.end).then_some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_where_it_is() {
        for right in ["a", "a/b.png", "a b/é&?#%2e", "..a/b..", "~/x", "a\\..\\b"] {
            assert_eq!(check(right), Ok(()), "{right}");
        }
        for wrong in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "../a", "a\0b", "a\nb", "\u{85}"] {
            assert!(check(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn ranges_are_those_of_http() {
        let of = |text: &str, size| Range::parse(text).unwrap().of(size);
        assert_eq!(of("0-9", 100), Some(0..10));
        assert_eq!(of("90-200", 100), Some(90..100));
        assert_eq!(of("5-", 100), Some(5..100));
        assert_eq!(of("-5", 100), Some(95..100));
        assert_eq!(of("-500", 100), Some(0..100));
        assert_eq!((of("100-", 100), of("100-200", 100), of("-1", 0)), (None, None, None));
        for wrong in ["", "-", "5", "9-0", "-0", "a-b", "+1-2", "0--1", "0-18446744073709551615", "1-2,3-4"] {
            assert!(Range::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
