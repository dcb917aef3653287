//! Text as it may stand in a log or on a terminal: whoever wrote parts of it can neither move the cursor nor forge a line, and cannot
//! fill the disk.

use std::fmt::{self, Write};

/// Writes what it is given with control characters escaped, up to a number of bytes.
pub(super) struct Printable<W> {
    out: W,
    /// Bytes that may still be written.
    left: usize,
    /// Whether a line end stays one.
    has_lines: bool,
}

impl<W: Write> Printable<W> {
    /// One line of `bytes_max` bytes at most, and what shows that there was more.
    pub(super) fn line(out: W, bytes_max: usize) -> Self {
        Self { out, left: bytes_max, has_lines: false }
    }
}

/// `text` with control characters escaped, but for the ends of lines where it has some.
pub(super) fn printable(text: &str, has_lines: bool) -> String {
    let mut out = String::with_capacity(text.len());
    // Writing to a string does not fail.
    let _ = Printable { out: &mut out, left: usize::MAX, has_lines }.write_str(text);
    out
}

impl<W: Write> Write for Printable<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while self.left > 0 && !rest.is_empty() {
            let plain = rest.find(|c| self.is_escaped(c)).unwrap_or(rest.len());
            if plain > self.left {
                let end = (0..=self.left).rev().find(|end| rest.is_char_boundary(*end)).unwrap_or(0);
                self.left = 0;
                self.out.write_str(&rest[..end])?;
                return self.out.write_char('…');
            }
            self.out.write_str(&rest[..plain])?;
            self.left -= plain;
            let mut after = rest[plain..].chars();
            if let Some(c) = after.next() {
                write!(self.out, "{}", c.escape_default())?;
                self.left = self.left.saturating_sub(c.escape_default().len());
            }
            rest = after.as_str();
        }
        Ok(())
    }
}

impl<W> Printable<W> {
    /// Control characters, and those that turn the direction of what follows.
    fn is_escaped(&self, c: char) -> bool {
        match c {
            '\n' => !self.has_lines,
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => true,
            c => c.is_control(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(parts: &[&str], bytes_max: usize) -> String {
        let mut out = String::new();
        let mut line = Printable::line(&mut out, bytes_max);
        for part in parts {
            line.write_str(part).unwrap();
        }
        out
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(line(&["a\nb\r\t\u{1b}[2Jc\u{7f}\u{9b}\u{202e}d é"], 100), r"a\nb\r\t\u{1b}[2Jc\u{7f}\u{9b}\u{202e}d é");
        assert_eq!(printable("one\ntwo\u{1b}]0;x\u{7}", true), "one\ntwo\\u{1b}]0;x\\u{7}");
        assert_eq!(printable("one\ntwo", false), "one\\ntwo");
    }

    #[test]
    fn a_line_has_an_end() {
        assert_eq!(line(&["abc", "def", "ghi"], 5), "abcde…");
        assert_eq!(line(&["abc", "éé", "x"], 4), "abc…");
        assert_eq!(line(&["abc", "de"], 5), "abcde");
        assert!(line(&["\n".repeat(1000).as_str()], 10).len() <= 12);
    }
}
