//! Reads the lines of taken files, and finds out how many of them fit a limit.

use std::fs::{File, Metadata};
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::block::{BLOCK_BYTES, blocks};
use super::taken::Taken;
use crate::error::{Error, ErrorKind, Result};
use crate::source::lines::{LineReader, Lines, after_lines, count_lines, fitting};
use crate::source::{LineChunk, LineEnd, LinePart, ReadBuffer, SourceStats};

/// A file being read, from wherever the reader before stopped.
pub(super) struct TakenReader {
    file: Taken,
    /// The open file, to see whether it is still the one that was taken.
    handle: File,
    lines: LineReader<Box<dyn Read + Send>>,
    /// Lines read but not wanted yet.
    left: Option<Lines>,
}

/// A part of a file that was too much for a limit, kept open so that the next batch need not read its way there again: a compressed
/// file can only be read from its start.
#[derive(Default)]
pub(super) struct Parked(Mutex<Option<(u64, u64, TakenReader)>>);

impl std::fmt::Debug for Parked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parked")
    }
}

impl Parked {
    /// The reader that stopped at this place, if it is the last one that stopped.
    pub(super) fn take(&self, number: u64, position: u64) -> Option<TakenReader> {
        let mut parked = self.0.lock().expect("no holder panics");
        parked.take_if(|(n, p, _)| (*n, *p) == (number, position)).map(|(_, _, reader)| reader)
    }

    pub(super) fn put(&self, number: u64, position: u64, reader: TakenReader) {
        *self.0.lock().expect("no holder panics") = Some((number, position, reader));
    }
}

/// How far a limit reaches into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// Where the next line begins; `None` when the file ends there.
    pub(super) stop: Option<u64>,
}

impl TakenReader {
    /// Opens a taken file at `position`, where a line begins.
    pub(super) fn open(file: &Taken, position: u64, line_bytes_max: usize) -> Result<Self> {
        let attempt = |cause| failed(file, cause);
        let handle = File::open(&*file.path).map_err(attempt)?;
        check(file, &handle.metadata().map_err(attempt)?)?;
        let to = file.to.unwrap_or(u64::MAX);
        let plain = handle.try_clone().map_err(attempt)?;
        let (input, position) = open_at(plain, &file.path, position, to).map_err(attempt)?;
        Ok(Self { file: file.clone(), handle, lines: LineReader::new(input, position, line_bytes_max), left: None })
    }

    /// The next lines before `stop`; `None` when there are none.
    pub(super) fn next_before(&mut self, stop: Option<u64>) -> Result<Option<Lines>> {
        let Some(mut lines) = self.next_lines()? else { return Ok(None) };
        let Some(stop) = stop else { return Ok(Some(lines)) };
        if lines.position >= stop {
            self.left = Some(lines);
            return Ok(None);
        }
        let wanted = usize::try_from(stop - lines.position).unwrap_or(usize::MAX);
        if wanted < lines.bytes.len() {
            let rest = lines.bytes.split_off(wanted);
            self.left = Some(Lines { bytes: rest, position: stop, end: lines.end });
            lines.end = LineEnd::Clean;
        }
        Ok(Some(lines))
    }

    /// Reads on until `rows` or `bytes` are used up; one line is always within reach where `forced`.
    pub(super) fn reach(&mut self, rows: u64, bytes: u64, forced: bool) -> Result<Reach> {
        let mut reach = Reach { rows: 0, bytes: 0, stop: None };
        loop {
            let Some(lines) = self.next_lines()? else { return Ok(reach) };
            let mut fit = fitting(&lines.bytes, rows.saturating_sub(reach.rows), bytes.saturating_sub(reach.bytes));
            if fit == 0 && forced && reach.rows == 0 {
                fit = after_lines(&lines.bytes, 1);
            }
            reach.rows += count_lines(&lines.bytes[..fit]);
            reach.bytes += fit as u64;
            if fit < lines.bytes.len() {
                let position = lines.position + fit as u64;
                reach.stop = Some(position);
                self.left = Some(Lines { bytes: lines.bytes.slice(fit..), position, end: lines.end });
                return Ok(reach);
            }
        }
    }

    fn next_lines(&mut self) -> Result<Option<Lines>> {
        if let Some(lines) = self.left.take() {
            return Ok(Some(lines));
        }
        let lines = self.lines.next_lines().map_err(|cause| failed(&self.file, cause))?;
        if lines.is_none() {
            // It may have changed while it was read.
            check(&self.file, &self.handle.metadata().map_err(|cause| failed(&self.file, cause))?)?;
        }
        Ok(lines)
    }

    /// The lines as the rest of the engine sees them.
    pub(super) fn chunk(&self, lines: Lines) -> LineChunk {
        let Lines { bytes, position, end } = lines;
        LineChunk { bytes, origin: self.file.path.clone(), position, received_at_us: None, records: None, end }
    }
}

/// Whether lines can only be found by reading a file from its start.
pub(super) fn is_compressed(path: &str) -> bool {
    path.ends_with(".gz") || path.ends_with(".zst")
}

/// The bytes of a file from `position` up to `to`, both counted in what it holds uncompressed.
fn open_at(file: File, path: &str, position: u64, to: u64) -> io::Result<(Box<dyn Read + Send>, u64)> {
    let mut input: Box<dyn Read + Send> = if path.ends_with(".gz") {
        Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::new(file)))
    } else if path.ends_with(".zst") {
        Box::new(zstd::Decoder::new(file)?)
    } else {
        Box::new(file)
    };
    if position > 0 {
        skip(&mut input, path, position)?;
        return Ok((Box::new(input.take(to.saturating_sub(position))), position));
    }
    Ok((Box::new(input.take(to)), 0))
}

fn skip(input: &mut Box<dyn Read + Send>, path: &str, bytes: u64) -> io::Result<()> {
    let skipped = io::copy(&mut input.take(bytes), &mut io::sink())?;
    if skipped < bytes {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{path} ends before byte {bytes}")));
    }
    Ok(())
}

pub(super) fn check(file: &Taken, now: &Metadata) -> Result<()> {
    let how = || format!("it had {} bytes and has {} now", file.size, now.len());
    if file.is_still(now) { Ok(()) } else { Err(changed(&file.path, &how())) }
}

/// A file that is not what was taken any more: what a batch read, or was to read, cannot be read again.
pub(super) fn changed(path: &str, how: &str) -> Error {
    Error::spark(ErrorKind::Data, "FILE_CHANGED", format!("the file {path} changed after it was taken: {how}"))
}

pub(super) fn failed(file: &Taken, cause: io::Error) -> Error {
    let path = &file.path;
    match cause.kind() {
        io::ErrorKind::NotFound => changed(path, "it is gone"),
        io::ErrorKind::PermissionDenied => Error::config(format!("could not read the file {path}")).because(cause),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            Error::new(ErrorKind::Data, format!("the file {path} is damaged")).because(cause)
        }
        // What zstd reports has no kind.
        _ if is_compressed(path) && cause.raw_os_error().is_none() => {
            Error::new(ErrorKind::Data, format!("the file {path} is damaged")).because(cause)
        }
        _ => Error::new(ErrorKind::Unavailable, format!("could not read the file {path}")).because(cause),
    }
}

/// The lines of the files that are at `path` now, in order, for a table that is read once.
///
/// # Errors
/// [`ErrorKind::Config`] when there is nothing at `path`; reading a file fails as for a source.
pub fn read_table(path: &Path, line_bytes_max: usize) -> Result<impl Iterator<Item = Result<LineChunk>> + Send + use<>> {
    let files = super::listing::Place::new(path)?.list(None, &|_| false)?;
    Ok(files.into_iter().flat_map(move |found| {
        let mut reader = Some(TakenReader::open(&Taken::whole(&found), 0, line_bytes_max));
        std::iter::from_fn(move || match reader.take()? {
            Err(error) => Some(Err(error)),
            Ok(mut open) => {
                let next = open.next_before(None);
                let chunk = next.transpose()?.map(|lines| open.chunk(lines));
                reader = chunk.is_ok().then_some(Ok(open));
                Some(chunk)
            }
        })
    }))
}

/// What tells the files of a table from those of another time: their paths, sizes, modification times and inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableFiles {
    /// How many there are.
    pub count: usize,
    /// What they hold together.
    pub bytes: u64,
    /// A hash of all of it.
    identity: u64,
}

impl TableFiles {
    /// Those that are at `path` now.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when there is nothing at `path`.
    pub fn at(path: &Path) -> Result<Self> {
        let files = super::listing::Place::new(path)?.list(None, &|_| false)?;
        let mut hash = twox_hash::XxHash3_64::new();
        for found in &files {
            found.hash(&mut hash);
        }
        Ok(Self { count: files.len(), bytes: files.iter().map(|found| found.size).sum(), identity: hash.finish() })
    }
}

/// The files that are at `path` now, in reading order, for formats that are not lines.
///
/// # Errors
/// [`ErrorKind::Config`] when there is nothing at `path`.
pub fn table_files(path: &Path) -> Result<Vec<std::path::PathBuf>> {
    let files = super::listing::Place::new(path)?.list(None, &|_| false)?;
    Ok(files.into_iter().map(|found| found.path.into()).collect())
}

/// The parts of a range: `from` in the first of `files`, up to the byte `to.1` of file number `to.0`.
pub(super) fn parts(
    files: Vec<(u64, Taken)>,
    from: u64,
    to: (u64, u64),
    line_bytes_max: usize,
    parked: Arc<Parked>,
    stats: Arc<SourceStats>,
) -> impl Iterator<Item = Box<dyn LinePart>> + Send {
    let mut position = from;
    files.into_iter().flat_map(move |(number, file)| -> Box<dyn Iterator<Item = Box<dyn LinePart>> + Send> {
        let stop = (number == to.0).then_some(to.1);
        let start = std::mem::replace(&mut position, 0).max(file.from);
        if is_compressed(&file.path) {
            let (parked, stats) = (parked.clone(), stats.clone());
            let part = Compressed { number, file, start, stop, line_bytes_max, parked, stats };
            return Box::new(std::iter::once(Box::new(part) as Box<dyn LinePart>));
        }
        let end = stop.unwrap_or_else(|| file.to.unwrap_or(file.size));
        let blocks = blocks(&file, start..end, BLOCK_BYTES, line_bytes_max, &stats);
        Box::new(blocks.map(|block| Box::new(block) as Box<dyn LinePart>))
    })
}

/// What a range has of a compressed file, which can only be read from its start.
#[derive(Debug)]
struct Compressed {
    number: u64,
    file: Taken,
    start: u64,
    stop: Option<u64>,
    line_bytes_max: usize,
    parked: Arc<Parked>,
    stats: Arc<SourceStats>,
}

impl LinePart for Compressed {
    fn read(self: Box<Self>, _buffer: &mut ReadBuffer, deliver: &mut dyn FnMut(&LineChunk) -> Result<()>) -> Result<()> {
        let opened = match self.parked.take(self.number, self.start) {
            Some(reader) => Ok(reader),
            None => TakenReader::open(&self.file, self.start, self.line_bytes_max),
        };
        let mut reader = opened?;
        while let Some(lines) = reader.next_before(self.stop)? {
            self.stats.bytes_received.fetch_add(lines.bytes.len() as u64, Ordering::Relaxed);
            deliver(&reader.chunk(lines))?;
        }
        if let Some(stop) = self.stop {
            self.parked.put(self.number, stop, reader);
        }
        Ok(())
    }
}
