//! Sizes in bytes as people write them: `64 MiB`, `1 GiB`, `1000`.

/// Units with their bytes, largest first; without regard to case.
const UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// The bytes that `text` names, or what was expected instead. A bare number is bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let unit = unit.trim_start();
    if digits.is_empty() {
        return Err(expected());
    }
    let unit_bytes = match unit {
        "" => 1,
        unit => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(expected)?.1,
    };
    let count: u64 = digits.parse().map_err(|_| too_large())?;
    count.checked_mul(unit_bytes).ok_or_else(too_large)
}

fn expected() -> String {
    "expected a size such as 64 MiB, 1 GiB or 1000".to_owned()
}

fn too_large() -> String {
    "expected a size below 16 EiB".to_owned()
}

/// `bytes` as [`parse_size`] reads it back: `64 MiB`.
pub fn show_size(bytes: u64) -> String {
    let binary = UNITS.iter().filter(|(name, _)| name.ends_with("iB"));
    match binary.into_iter().find(|(_, unit)| bytes != 0 && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_as_written() {
        for (text, bytes) in [
            ("1000", 1000),
            ("64 MiB", 64 << 20),
            ("64MiB", 64 << 20),
            ("1 gib", 1 << 30),
            ("2 kB", 2000),
            ("1 TiB", 1 << 40),
            ("12 B", 12),
            (" 0 ", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for (text, message) in [
            ("", "expected a size such as 64 MiB, 1 GiB or 1000"),
            ("MiB", "expected a size such as 64 MiB, 1 GiB or 1000"),
            ("64 M", "expected a size such as 64 MiB, 1 GiB or 1000"),
            ("-1", "expected a size such as 64 MiB, 1 GiB or 1000"),
            ("1.5 GiB", "expected a size such as 64 MiB, 1 GiB or 1000"),
            ("99999999999999999999", "expected a size below 16 EiB"),
            ("99999999 TiB", "expected a size below 16 EiB"),
        ] {
            assert_eq!(parse_size(text), Err(message.to_owned()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_size_reads_back_as_it_was(bytes in any::<u64>(), zeros in 0u32..41) {
            let bytes = bytes >> zeros << zeros;
            prop_assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse_size(&text);
        }
    }
}
