//! Plain files a block at a time, so that several cores can work on one file.
//!
//! A block has the lines that begin in it: its last line is read to its end, wherever that is, and a line that began earlier is the
//! business of the block before. Whether a line begins somewhere can be told from the bytes around that place, so no block waits for
//! another, and which lines a block has depends on nothing but the file and the range.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use memchr::memchr2;

use super::reader::{check, failed};
use super::taken::Taken;
use crate::error::Result;
use crate::source::lines::{LastReturn, LineSplitter, Piece};
use crate::source::{LineChunk, LineEnd, LinePart, ReadBuffer, SourceStats};

/// Length of a block: long enough that its overhead does not count, short enough that blocks in flight take little memory.
pub(super) const BLOCK_BYTES: u64 = 2 << 20;

/// What is read at once: it should still be in the processor's cache when it is decoded.
const CHUNK_BYTES: usize = 256 << 10;

/// What is read at once to look for a line end.
const PEEK_BYTES: usize = 4 << 10;

/// A part of a plain file.
#[derive(Debug)]
pub(super) struct Block {
    file: Taken,
    line_bytes_max: usize,
    stats: Arc<SourceStats>,
    /// The lines begin at or after this byte.
    from: u64,
    /// A line is known to begin at `from`.
    is_first: bool,
    /// The lines begin before this byte.
    to: u64,
    /// No line of the range goes beyond this byte.
    end: u64,
}

/// The blocks of a range of a file that begins and ends where lines begin; at least one, so that a file without content is looked
/// at too. A block is longer than a byte order mark.
pub(super) fn blocks(
    file: &Taken,
    range: std::ops::Range<u64>,
    block_bytes: u64,
    line_bytes_max: usize,
    stats: &Arc<SourceStats>,
) -> impl Iterator<Item = Block> + Send + use<> {
    let (file, stats, start, end) = (file.clone(), stats.clone(), range.start, range.end);
    let mut next = Some(start);
    std::iter::from_fn(move || {
        let from = next?;
        let to = ((from / block_bytes + 1) * block_bytes).min(end);
        next = (to < end).then_some(to);
        let (file, stats) = (file.clone(), stats.clone());
        Some(Block { file, line_bytes_max, stats, from, is_first: from == start, to, end })
    })
}

impl LinePart for Block {
    fn read(self: Box<Self>, buffer: &mut ReadBuffer, deliver: &mut dyn FnMut(&LineChunk) -> Result<()>) -> Result<()> {
        let attempt = |cause| failed(&self.file, cause);
        let handle = File::open(&*self.file.path).map_err(attempt)?;
        check(&self.file, &handle.metadata().map_err(attempt)?)?;
        let splitter = LineSplitter::new(self.line_bytes_max, LastReturn::Waits);
        let outcome = match self.start(&handle).map_err(attempt) {
            Ok(None) => Ok(()),
            Ok(Some(position)) => {
                Reading { block: &self, handle: &handle, splitter, buffer, deliver, position, held: 0, pieces: Vec::new() }.run()
            }
            Err(error) => Err(error),
        };
        // It may have changed while it was read, which is then also why it could not be.
        check(&self.file, &handle.metadata().map_err(attempt)?)?;
        outcome
    }
}

impl Block {
    /// Where the first line of the block begins, if one does.
    fn start(&self, handle: &File) -> io::Result<Option<u64>> {
        if self.is_first {
            return Ok(Some(self.from));
        }
        let mut bytes = [0; PEEK_BYTES];
        // The byte before the block, which may end a line, is part of it.
        let mut at = self.from - 1;
        while at < self.to {
            let read = read_at(handle, &mut bytes, at, self.end)?;
            if let Some(found) = memchr2(b'\n', b'\r', &bytes[..read]) {
                let is_return = bytes[found] == b'\r';
                let mut start = at + found as u64 + 1;
                if is_return && start < self.end {
                    let mut next = [0];
                    read_at(handle, &mut next, start, self.end)?;
                    start += u64::from(next == *b"\n");
                }
                return Ok((start < self.to).then_some(start));
            }
            at += read as u64;
        }
        Ok(None)
    }
}

/// A block being read.
struct Reading<'a> {
    block: &'a Block,
    handle: &'a File,
    splitter: LineSplitter,
    buffer: &'a mut ReadBuffer,
    deliver: &'a mut dyn FnMut(&LineChunk) -> Result<()>,
    /// Of the first byte of the buffer.
    position: u64,
    /// Bytes of the buffer that are not dealt with.
    held: usize,
    pieces: Vec<Piece>,
}

impl Reading<'_> {
    fn run(mut self) -> Result<()> {
        while self.next() < self.block.to {
            self.held += self.fill(CHUNK_BYTES, self.block.to)?;
            let text = &mut self.buffer.with_room(self.held, 0)[..self.held];
            let done = self.splitter.split(text, &mut self.pieces);
            self.give(done)?;
        }
        self.end_last_line()?;
        let text = &mut self.buffer.with_room(self.held, 0)[..self.held];
        self.splitter.finish(text, LineEnd::Clean, &mut self.pieces);
        self.give(self.held)
    }

    /// Reads on to the end of the line that the block ends in, and no further.
    fn end_last_line(&mut self) -> Result<()> {
        while self.splitter.in_line(self.held) && self.next() < self.block.end {
            let begun = self.held;
            let read = self.fill(PEEK_BYTES.max(begun), self.block.end)?;
            let text = &mut self.buffer.with_room(begun + read, 0)[..begun + read];
            if let Some(end) = line_end(text, begun) {
                self.held = end;
                return Ok(());
            }
            self.held += read;
            let done = self.splitter.split(text, &mut self.pieces);
            self.give(done)?;
        }
        Ok(())
    }

    /// Where in the file the bytes behind those in the buffer are.
    fn next(&self) -> u64 {
        self.position + self.held as u64
    }

    /// Reads at most `wanted` bytes, and none at `stop` or behind it: how many now follow those that are held.
    fn fill(&mut self, wanted: usize, stop: u64) -> Result<usize> {
        let at = self.next();
        let room = &mut self.buffer.with_room(self.held, wanted)[self.held..][..wanted];
        read_at(self.handle, room, at, stop).map_err(|cause| failed(&self.block.file, cause))
    }

    /// Hands on the pieces and lets go of the first `done` bytes.
    fn give(&mut self, done: usize) -> Result<()> {
        if !self.pieces.is_empty() {
            let Self { block, deliver, position, pieces, .. } = self;
            self.buffer.lend(|bytes| {
                pieces.drain(..).try_for_each(|Piece { range, end }| {
                    block.stats.bytes_received.fetch_add(range.len() as u64, Ordering::Relaxed);
                    let position = *position + range.start as u64;
                    let origin = block.file.path.clone();
                    deliver(&LineChunk { bytes: bytes.slice(range), origin, position, received_at_us: None, records: None, end })
                })
            })?;
        }
        self.buffer.with_room(self.held, 0).copy_within(done..self.held, 0);
        self.position += done as u64;
        self.held -= done;
        Ok(())
    }
}

/// Where the line ends that has begun in the first `begun` bytes; `None` if the text does not tell. The line end may be among those
/// bytes: a `\r` that is the last of them.
fn line_end(text: &[u8], begun: usize) -> Option<usize> {
    let from = if begun > 0 && text[begun - 1] == b'\r' { begun - 1 } else { begun };
    let at = from + memchr2(b'\n', b'\r', &text[from..])?;
    match (text[at], text.get(at + 1)) {
        (b'\n', _) => Some(at + 1),
        (_, Some(b'\n')) => Some(at + 2),
        (_, Some(_)) => Some(at + 1),
        (_, None) => None,
    }
}

/// Reads into `bytes` what is at `at` and before `stop`: at least one byte.
fn read_at(file: &File, bytes: &mut [u8], at: u64, stop: u64) -> io::Result<usize> {
    let wanted = usize::try_from(stop - at).unwrap_or(usize::MAX).min(bytes.len());
    loop {
        match file.read_at(&mut bytes[..wanted], at) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, format!("it ends before byte {stop}"))),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::contract::{Line, lines_of};
    use crate::source::file::listing::Found;
    use crate::source::lines::LineReader;

    const LINE_BYTES_MAX: usize = 6;

    fn file(dir: &std::path::Path, content: &[u8]) -> Taken {
        let path = dir.join("file");
        std::fs::write(&path, content).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        Taken::whole(&Found::new(path.to_str().unwrap().to_owned(), &metadata))
    }

    /// The lines of `[from, end)` read in blocks of `block_bytes`; each block has those that begin in it.
    fn read(file: &Taken, from: u64, end: u64, block_bytes: u64) -> Result<Vec<Line>> {
        let (mut lines, mut buffer) = (Vec::new(), ReadBuffer::default());
        for block in blocks(file, from..end, block_bytes, LINE_BYTES_MAX, &Arc::default()) {
            let (range, before) = (block.from..block.to, lines.len());
            Box::new(block).read(&mut buffer, &mut |chunk| {
                lines.extend(lines_of(chunk));
                Ok(())
            })?;
            assert!(lines[before..].iter().all(|line| range.contains(&line.position)), "{:?} in {range:?}", &lines[before..]);
        }
        Ok(lines)
    }

    /// The lines as one reader finds them.
    fn expected(file: &Taken, content: &[u8], from: usize) -> Vec<Line> {
        let mut reader = LineReader::new(&content[from..], from as u64, LINE_BYTES_MAX);
        let mut lines = Vec::new();
        while let Some(found) = reader.next_lines().unwrap() {
            let (bytes, position, end) = (found.bytes, found.position, found.end);
            lines.extend(lines_of(&LineChunk {
                bytes,
                origin: file.path.clone(),
                position,
                received_at_us: None,
                records: None,
                end,
            }));
        }
        lines
    }

    fn check(content: &[u8], block_bytes: std::ops::RangeInclusive<u64>) {
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path(), content);
        let all = expected(&file, content, 0);
        for block_bytes in block_bytes {
            let lines = read(&file, 0, content.len() as u64, block_bytes).unwrap();
            assert_eq!(lines, all, "{:?} in blocks of {block_bytes}", String::from_utf8_lossy(content));
        }
    }

    #[test]
    fn lines_at_borders_are_read_once() {
        for content in [
            "",
            "\n",
            "\r",
            "\r\n",
            "a",
            "abc\ndef\n",
            "abc\r\ndef\r\n",
            "abc\rdef\r",
            "abc\r\r\ndef\n\r",
            "\n\n\n\n",
            "\r\r\r\r",
            "\r\n\r\n\r\n",
            "\u{feff}a\nb",
            "\u{feff}",
            "1234567890123456789\nab\n",
            "123456\r\n1234567\r\n1\r",
            "12345678901\r",
        ] {
            check(content.as_bytes(), 4..=12);
        }
    }

    #[test]
    fn a_line_longer_than_all_reads_is_read_once() {
        let long = "x".repeat(3 * CHUNK_BYTES);
        check(format!("a\n{long}\nb\n{long}\r{long}\r\nc").as_bytes(), CHUNK_BYTES as u64..=CHUNK_BYTES as u64 + 1);
    }

    #[test]
    fn a_file_that_became_shorter_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let taken = file(dir.path(), b"one\ntwo\n");
        file(dir.path(), b"one\n");
        assert_eq!(read(&taken, 0, 8, 2).unwrap_err().condition(), Some("FILE_CHANGED"));
    }

    proptest! {
        #[test]
        fn blocks_have_the_lines_of_the_file(
            content in "(\u{feff})?[ab\r\n]{0,60}",
            block_bytes in 4u64..30,
            from in 0usize..60,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let file = file(dir.path(), content.as_bytes());
            let all = expected(&file, content.as_bytes(), 0);
            let end = content.len() as u64;
            prop_assert_eq!(&read(&file, 0, end, block_bytes).unwrap(), &all);
            // From any line on, and up to it.
            if let Some(at) = all.get(from % all.len().max(1)).map(|line| line.position) {
                let (before, behind): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|line| line.position < at);
                prop_assert_eq!(read(&file, 0, at, block_bytes).unwrap(), before);
                prop_assert_eq!(read(&file, at, end, block_bytes).unwrap(), behind);
            }
        }
    }
}
