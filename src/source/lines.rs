//! Finds the lines in what was read, a buffer at a time and in bounded memory.
//!
//! `\n`, `\r\n` and `\r` end a line. A lone `\r` becomes `\n` in place, so that everything behind this module knows one line end
//! (with or without a `\r` before it) and byte positions stay what they were.

use std::io::{self, Read};
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memrchr};

use super::LineEnd;

/// Decoders may read a little past the end of a chunk: buffers have that much room to spare, in bytes.
pub(crate) const PADDING: usize = 64;

/// Longest line that any limit may allow, in bytes.
const LINE_BYTES_MAX: usize = 1 << 30;

/// Whether a `\r` at the end of a buffer ends its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastReturn {
    /// Wait for the next byte: it may be the `\n` that belongs to it.
    Waits,
    /// It does, at once, and a `\n` that comes next is swallowed: nobody knows when a socket's next byte comes.
    Ends,
}

/// Consecutive lines within a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where they stand in the buffer.
    pub(crate) range: Range<usize>,
    /// How the last of them ends.
    pub(crate) end: LineEnd,
}

/// Cuts a stream of buffers at line ends.
#[derive(Debug)]
pub(crate) struct LineSplitter {
    line_bytes_max: usize,
    last_return: LastReturn,
    /// In a line that was too long and has been given out: the rest of it is dropped.
    skipping: bool,
    /// The last byte was a `\r` that ended its line.
    after_return: bool,
    /// Bytes at the front of the next buffer that are known to hold no line end.
    scanned: usize,
}

impl LineSplitter {
    pub(crate) fn new(line_bytes_max: usize, last_return: LastReturn) -> Self {
        Self {
            line_bytes_max: line_bytes_max.clamp(1, LINE_BYTES_MAX),
            last_return,
            skipping: false,
            after_return: false,
            scanned: 0,
        }
    }

    /// Appends to `pieces` the lines that are whole and answers how many bytes at the front of `buffer` are done with. The caller
    /// hands in the rest again, followed by what it read next.
    pub(crate) fn split(&mut self, buffer: &mut [u8], pieces: &mut Vec<Piece>) -> usize {
        let mut start = 0;
        if self.after_return && !buffer.is_empty() {
            self.after_return = false;
            start = usize::from(buffer[0] == b'\n');
        }
        let decided = self.end_lines_at_returns(buffer, start.max(self.scanned));
        if self.skipping {
            match memchr(b'\n', &buffer[start..decided]) {
                Some(at) => (start, self.skipping) = (start + at + 1, false),
                None => return self.leave(buffer, decided),
            }
        }
        let unscanned = start.max(self.scanned).min(decided);
        let whole = memrchr(b'\n', &buffer[unscanned..decided]).map_or(start, |at| unscanned + at + 1);
        self.cut(buffer, start..whole, pieces);
        // A line that is one byte longer may still turn out to be as long as allowed and a `\r`.
        if buffer.len() - whole > self.line_bytes_max + 1 {
            add(pieces, whole..whole + self.line_bytes_max, LineEnd::TooLong);
            self.skipping = true;
            return self.leave(buffer, decided);
        }
        self.scanned = decided - whole;
        whole
    }

    /// The last line, when nothing follows it: `buffer` is what `split` left.
    pub(crate) fn finish(&mut self, buffer: &mut [u8], end: LineEnd, pieces: &mut Vec<Piece>) {
        if let Some(last @ b'\r') = buffer.last_mut() {
            *last = b'\n';
        }
        let done = self.split(buffer, pieces);
        let rest = done..buffer.len();
        if rest.len() > self.line_bytes_max {
            add(pieces, done..done + self.line_bytes_max, LineEnd::TooLong);
        } else if !rest.is_empty() && !self.skipping {
            add(pieces, rest, end);
        }
    }

    /// Whether a line has begun that is not whole yet, `left` being the bytes that the last `split` left.
    pub(crate) fn in_line(&self, left: usize) -> bool {
        left > 0 || self.skipping
    }

    fn leave(&mut self, buffer: &[u8], decided: usize) -> usize {
        self.scanned = 0;
        decided.min(buffer.len())
    }

    /// Turns every `\r` that ends a line alone into `\n`. Answers up to where that is decided.
    fn end_lines_at_returns(&mut self, buffer: &mut [u8], from: usize) -> usize {
        let mut at = from.min(buffer.len());
        while let Some(found) = memchr(b'\r', &buffer[at..]) {
            let here = at + found;
            match (buffer.get(here + 1), self.last_return) {
                (Some(b'\n'), _) => {}
                (Some(_), _) => buffer[here] = b'\n',
                (None, LastReturn::Waits) => return here,
                (None, LastReturn::Ends) => {
                    buffer[here] = b'\n';
                    self.after_return = true;
                }
            }
            at = here + 1;
        }
        buffer.len()
    }

    /// Gives out the whole lines in `whole`, cutting those that are too long.
    fn cut(&self, buffer: &[u8], whole: Range<usize>, pieces: &mut Vec<Piece>) {
        let mut piece = whole.start;
        let mut line = whole.start;
        while line < whole.end {
            // Jumps as far as lines can be told to be short enough by the one line end farthest away.
            let window = whole.end.min(line + self.line_bytes_max + 1);
            let Some(at) = memrchr(b'\n', &buffer[line..window]).or_else(|| self.ends_with_return(buffer, line, whole.end))
            else {
                add(pieces, piece..line + self.line_bytes_max, LineEnd::TooLong);
                let rest = line + self.line_bytes_max;
                line = memchr(b'\n', &buffer[rest..whole.end]).map_or(whole.end, |at| rest + at + 1);
                piece = line;
                continue;
            };
            line += at + 1;
        }
        if piece < whole.end {
            add(pieces, piece..whole.end, LineEnd::Clean);
        }
    }

    /// The line end of a line of exactly the longest length that ends with `\r\n`.
    fn ends_with_return(&self, buffer: &[u8], line: usize, end: usize) -> Option<usize> {
        let at = self.line_bytes_max;
        (line + at + 1 < end && buffer[line + at] == b'\r' && buffer[line + at + 1] == b'\n').then_some(at + 1)
    }
}

fn add(pieces: &mut Vec<Piece>, range: Range<usize>, end: LineEnd) {
    pieces.push(Piece { range, end });
}

/// Lines in `bytes`, a last one without line end included.
pub(crate) fn count_lines(bytes: &[u8]) -> u64 {
    let ended = memchr::memchr_iter(b'\n', bytes).count() as u64;
    ended + u64::from(bytes.last().is_some_and(|last| *last != b'\n'))
}

/// Where the line after the first `lines` begins.
pub(crate) fn after_lines(bytes: &[u8], lines: u64) -> usize {
    let Some(last) = lines.checked_sub(1) else { return 0 };
    let mut ends = memchr::memchr_iter(b'\n', bytes);
    usize::try_from(last).ok().and_then(|last| ends.nth(last)).map_or(bytes.len(), |at| at + 1)
}

/// How many bytes of whole lines are within limits of rows and bytes.
pub(crate) fn fitting(lines: &[u8], rows: u64, bytes: u64) -> usize {
    let mut fit = lines.len();
    if fit as u64 > bytes {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        fit = memrchr(b'\n', &lines[..bytes]).map_or(0, |at| at + 1);
    }
    if rows < fit as u64 { after_lines(&lines[..fit], rows) } else { fit }
}

/// Room for raw lines that is used over and over: fresh pages cost as much as reading into them.
#[derive(Debug, Default)]
pub struct ReadBuffer(BytesMut);

impl ReadBuffer {
    /// The first `used` bytes and at least `wanted` bytes of room behind them.
    pub(crate) fn with_room(&mut self, used: usize, wanted: usize) -> &mut [u8] {
        if self.0.len() < used + wanted {
            // Twice as much, so that a long line is not copied once per read.
            let len = (used + wanted).max(self.0.len() * 2);
            self.0.reserve(len + PADDING - self.0.len());
            self.0.resize(len, 0);
        }
        &mut self.0
    }

    /// Shows `use_it` the buffer as shared bytes. It is there again afterwards, copied if a part of it was kept.
    pub(crate) fn lend<T>(&mut self, use_it: impl FnOnce(&Bytes) -> T) -> T {
        let shared = std::mem::take(&mut self.0).freeze();
        let result = use_it(&shared);
        self.0 = shared.try_into_mut().unwrap_or_else(|kept| BytesMut::from(kept.as_ref()));
        result
    }
}

/// Lines read from a file or anything else that ends.
#[derive(Debug, Clone)]
pub(crate) struct Lines {
    pub(crate) bytes: Bytes,
    /// Of the first byte.
    pub(crate) position: u64,
    pub(crate) end: LineEnd,
}

/// Reads whole lines, [`READ_BYTES`] at a time.
pub(crate) struct LineReader<R> {
    input: R,
    splitter: LineSplitter,
    /// Position of the first byte of `left`.
    position: u64,
    left: Vec<u8>,
    ready: std::collections::VecDeque<Lines>,
    ended: bool,
}

/// What is read at once, unless a line is longer.
pub(crate) const READ_BYTES: usize = 512 * 1024;

impl<R: Read> LineReader<R> {
    /// Reads from `input`, whose next byte is at `position`.
    pub(crate) fn new(input: R, position: u64, line_bytes_max: usize) -> Self {
        let splitter = LineSplitter::new(line_bytes_max, LastReturn::Waits);
        Self { input, splitter, position, left: Vec::new(), ready: Default::default(), ended: false }
    }

    /// The next lines, or `None` at the end.
    pub(crate) fn next_lines(&mut self) -> io::Result<Option<Lines>> {
        loop {
            if let Some(lines) = self.ready.pop_front() {
                return Ok(Some(lines));
            }
            if self.ended {
                return Ok(None);
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> io::Result<()> {
        // As much again as is left, so that a long line is not copied once per read.
        let wanted = READ_BYTES.max(self.left.len());
        let mut buffer = Vec::with_capacity(self.left.len() + wanted + PADDING);
        buffer.append(&mut self.left);
        let read = (&mut self.input).take(wanted as u64).read_to_end(&mut buffer)?;
        self.ended = read < wanted;
        let mut pieces = Vec::new();
        let done = self.splitter.split(&mut buffer, &mut pieces);
        let mut at = self.position;
        self.position += done as u64;
        self.left.extend_from_slice(&buffer[done..]);
        self.give(Bytes::from(buffer), at, &pieces);
        if self.ended {
            at = self.position;
            let mut last = std::mem::take(&mut self.left);
            pieces.clear();
            self.splitter.finish(&mut last, LineEnd::Clean, &mut pieces);
            self.position += last.len() as u64;
            self.give(Bytes::from(last), at, &pieces);
        }
        Ok(())
    }

    fn give(&mut self, buffer: Bytes, at: u64, pieces: &[Piece]) {
        self.ready.extend(pieces.iter().map(|piece| Lines {
            bytes: buffer.slice(piece.range.clone()),
            position: at + piece.range.start as u64,
            end: piece.end,
        }));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `parts` one after the other; `|` separates pieces, `!` marks a line cut as too long, `?` one that was broken off.
    fn feed(parts: &[&str], line_bytes_max: usize, last_return: LastReturn, end: LineEnd) -> String {
        let mut splitter = LineSplitter::new(line_bytes_max, last_return);
        let mut buffer = Vec::new();
        let mut out = Vec::new();
        let mut take = |buffer: &[u8], pieces: &[Piece]| {
            for piece in pieces {
                let text = String::from_utf8(buffer[piece.range.clone()].to_vec()).unwrap();
                let mark = match piece.end {
                    LineEnd::Clean => "",
                    LineEnd::TooLong => "!",
                    LineEnd::Truncated => "?",
                };
                out.push(text + mark);
            }
        };
        for part in parts {
            buffer.extend_from_slice(part.as_bytes());
            let mut pieces = Vec::new();
            let done = splitter.split(&mut buffer, &mut pieces);
            take(&buffer, &pieces);
            buffer.drain(..done);
        }
        let mut pieces = Vec::new();
        splitter.finish(&mut buffer, end, &mut pieces);
        take(&buffer, &pieces);
        out.join("|")
    }

    fn socket(parts: &[&str]) -> String {
        feed(parts, 5, LastReturn::Ends, LineEnd::Clean)
    }

    fn file(parts: &[&str]) -> String {
        feed(parts, 5, LastReturn::Waits, LineEnd::Clean)
    }

    #[test]
    fn lines_end_at_newline_return_or_both() {
        assert_eq!(socket(&["a\nb\r\nc\rd\n"]), "a\nb\r\nc\nd\n");
        assert_eq!(socket(&["a\r", "\nb\n"]), "a\n|b\n");
        assert_eq!(socket(&["a\r", "b\r\r\n"]), "a\n|b\n\r\n");
        assert_eq!(file(&["a\r", "\nb\r", "c\r"]), "a\r\n|b\n|c\n");
        assert_eq!(file(&["\n\n", "\r\n"]), "\n\n|\r\n");
    }

    #[test]
    fn an_unfinished_last_line_says_how_it_ended() {
        assert_eq!(socket(&["a\nbc"]), "a\n|bc");
        assert_eq!(feed(&["a\nb", "c"], 5, LastReturn::Ends, LineEnd::Truncated), "a\n|bc?");
        assert_eq!(feed(&["a\n"], 5, LastReturn::Ends, LineEnd::Truncated), "a\n");
    }

    #[test]
    fn a_line_beyond_the_limit_is_cut_and_its_rest_skipped() {
        assert_eq!(file(&["12345\n123456\n1\n"]), "12345\n12345!|1\n");
        assert_eq!(file(&["12345\r\n123456\r\n1"]), "12345\r\n12345!|1");
        assert_eq!(file(&["1234567", "89", "0\nab\n"]), "12345!|ab\n");
        assert_eq!(file(&["1234567", "89", "0\rab\n"]), "12345!|ab\n");
        assert_eq!(socket(&["1234567\r", "\nab"]), "12345!|ab");
        assert_eq!(socket(&["123456"]), "12345!");
        assert_eq!(socket(&["12345"]), "12345");
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_arrive(text in "[ab\r\n]{0,40}", cuts in proptest::collection::vec(0usize..40, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let parts: Vec<&str> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            let lines = |text: String| text.replace("\r\n", "\n").replace('|', "");
            let whole = lines(file(&[&text]));
            prop_assert_eq!(lines(file(&parts)), whole.clone());
            prop_assert_eq!(lines(socket(&parts)), whole);
        }

        #[test]
        fn positions_are_those_of_the_file(text in "[ab\r\n]{0,60}") {
            let mut reader = LineReader::new(text.as_bytes(), 7, 4);
            while let Some(lines) = reader.next_lines().unwrap() {
                let at = lines.position as usize - 7;
                let there = text[at..at + lines.bytes.len()].replace("\r\n", "\n").replace('\r', "\n");
                prop_assert_eq!(String::from_utf8(lines.bytes.to_vec()).unwrap().replace("\r\n", "\n"), there);
            }
        }
    }

    #[test]
    fn lines_are_counted_and_found() {
        assert_eq!([count_lines(b""), count_lines(b"a\nb\n"), count_lines(b"a\nb")], [0, 2, 2]);
        assert_eq!([after_lines(b"a\nbc\nd", 0), after_lines(b"a\nbc\nd", 2), after_lines(b"a\nbc\nd", 9)], [0, 5, 6]);
    }
}
