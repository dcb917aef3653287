//! The files of an ingest log.
//!
//! A segment holds the records from its base position on. Every opening of a log begins a new segment at a base well beyond
//! anything the opening before can have given out, so a position never means two things: what was received but not yet written
//! when a process died leaves a gap.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::record::{Decoded, Record, Secret, durable_anywhere};
use crate::checkpoint::storage::{LogFile, Open, SharedVfs, Vfs};
use crate::error::{Error, ErrorKind, Result};

/// Bytes before the first record.
pub(super) const HEADER: u64 = 56;
/// Also the version of the format.
const MAGIC: &[u8; 8] = b"TIDEING1";
/// Bytes that are read at once.
const BLOCK: usize = 1 << 20;

/// What a segment says about itself and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Position of the first record.
    pub(super) base: u64,
    /// Rows in the log before it.
    pub(super) first_row: u64,
    /// Where the records of the segment before end.
    pub(super) previous_end: u64,
    /// Names the log: an offset of another one is refused.
    pub(super) log_id: u32,
    pub(super) secret: Secret,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for number in [self.base, self.first_row, self.previous_end, u64::from(self.log_id), self.secret.0] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let checksum = u64::from(crc32c::crc32c(&bytes));
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let mut numbers = rest.chunks_exact(8).map(|number| u64::from_le_bytes(number.try_into().expect("eight bytes")));
        let mut next = || numbers.next();
        let (base, first_row, previous_end, log_id, secret) = (next()?, next()?, next()?, next()?, next()?);
        let header = Self { base, first_row, previous_end, log_id: u32::try_from(log_id).ok()?, secret: Secret(secret) };
        (header.encode() == bytes).then_some(header)
    }
}

/// A segment that can be read and, if it is the last one, written.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) header: Header,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn LogFile>,
    /// One past the last record that is in the file.
    end: AtomicU64,
}

impl Segment {
    /// Creates a segment, durably.
    pub(super) fn create(vfs: &SharedVfs, dir: &Path, header: Header) -> Result<Self> {
        let path = dir.join(name(header.base));
        // Left by an attempt that the disk had no room for; nothing was in it.
        vfs.remove(&path)?;
        let file = vfs.open(&path, Open::New)?;
        file.write_at(0, &header.encode())?;
        file.sync()?;
        vfs.sync_dir(dir)?;
        Ok(Self { header, path, file, end: AtomicU64::new(header.base) })
    }

    /// One past the last record in the file.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Says that the file holds records up to `end`.
    pub(super) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// Place of a position in the file.
    pub(super) fn file_offset(&self, position: u64) -> u64 {
        HEADER + (position - self.header.base)
    }

    /// The next records from `position` on, about a mebibyte of them, and none beyond `stop`.
    ///
    /// # Errors
    /// `CKPT_CORRUPT` when something else stands there.
    pub(super) fn read(&self, position: u64, stop: u64) -> Result<Vec<Record>> {
        let mut reader = Records::new(self, position);
        let stop = stop.min(self.end());
        let mut records = Vec::new();
        let mut read = 0;
        while reader.position < stop && read < BLOCK {
            match reader.next()? {
                Some(record) => {
                    read += record.bytes.len();
                    records.push(record);
                }
                None => return Err(corrupt(&self.path, &format!("there is no valid record at position {}", reader.position))),
            }
        }
        Ok(records)
    }
}

/// Reads records one after the other.
struct Records<'a> {
    segment: &'a Segment,
    position: u64,
    block: Bytes,
    origin: Option<Arc<str>>,
}

impl<'a> Records<'a> {
    fn new(segment: &'a Segment, position: u64) -> Self {
        Self { segment, position, block: Bytes::new(), origin: None }
    }

    /// The record at the current position, or `None` when there is no valid one.
    fn next(&mut self) -> Result<Option<Record>> {
        loop {
            let segment = self.segment;
            match Record::decode(segment.header.secret, self.position, &self.block, self.origin.as_ref()) {
                Decoded::Record(record) => {
                    self.position = record.end();
                    self.block = self.block.slice(record.bytes.len()..);
                    self.origin = Some(record.about.origin.clone());
                    return Ok(Some(record));
                }
                Decoded::Bad => return Ok(None),
                Decoded::Needs(bytes) => {
                    let offset = segment.file_offset(self.position);
                    // A damaged length must not make us ask for more than there is.
                    let there = usize::try_from(segment.file.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
                    if bytes > there || self.block.len() >= there {
                        return Ok(None);
                    }
                    self.block = segment.file.read_at(offset, bytes.max(BLOCK).min(there))?;
                }
            }
        }
    }
}

/// What was found on disk.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) segments: Vec<Arc<Segment>>,
    /// Empty segments that a later one has replaced, to be removed when there is another again.
    pub(super) leftovers: Vec<PathBuf>,
    /// A newest segment that was never used, not even for its header.
    unused: Option<PathBuf>,
    /// One past the last record, and rows up to there.
    pub(super) end: u64,
    pub(super) end_row: u64,
    /// Bytes behind it that a crash left unfinished.
    pub(super) torn_bytes: u64,
    /// The largest base that was ever given to a segment, if any was.
    pub(super) base_max: Option<u64>,
}

/// Opens the segments in `dir`.
///
/// # Errors
/// `CKPT_CORRUPT` when anything that had been synced is damaged, as far as that can be seen without reading all of it.
pub(super) fn recover(vfs: &SharedVfs, dir: &Path) -> Result<Recovered> {
    let recovered = survey(vfs, dir)?;
    if let Some(unused) = &recovered.unused {
        vfs.remove(unused)?;
        // Or it could come back behind the next one.
        vfs.sync_dir(dir)?;
    }
    Ok(recovered)
}

/// The same, changing nothing.
pub(super) fn survey(vfs: &SharedVfs, dir: &Path) -> Result<Recovered> {
    let mut bases: Vec<u64> = vfs.list(dir)?.iter().filter_map(|entry| base(&entry.name)).collect();
    bases.sort_unstable();
    let base_max = bases.last().copied();
    let mut segments: Vec<Segment> = Vec::new();
    let mut leftovers = Vec::new();
    let mut unused = None;
    for base in &bases {
        let path = dir.join(name(*base));
        match open(vfs.as_ref(), &path, *base)? {
            Some(segment) => {
                while let Some(replaced) = pop_replaced(&mut segments, &segment)? {
                    leftovers.push(replaced.path);
                }
                if let Some(before) = segments.last() {
                    link(before, &segment)?;
                }
                segments.push(segment);
            }
            // Synced before anything else is written to it, so it was never used.
            None if Some(*base) == base_max => unused = Some(path),
            None => return Err(corrupt(&path, "its header is damaged")),
        }
    }
    let (mut end, mut end_row, mut torn_bytes) = (0, 0, 0);
    if let Some(last) = segments.last() {
        let mut records = Records::new(last, last.header.base);
        let mut durable_to = 0;
        end_row = last.header.first_row;
        while let Some(record) = records.next()? {
            end_row = record.about.first_row + u64::from(record.about.rows);
            durable_to = durable_to.max(record.about.durable_to);
        }
        end = records.position;
        let rest = last.file.read_at(last.file_offset(end), usize::MAX)?;
        durable_to = durable_to.max(durable_anywhere(last.header.secret, end, &rest));
        if durable_to > end {
            return Err(corrupt(&last.path, &format!("the record at position {end} is damaged")));
        }
        let mark = super::record::encode_mark(last.header.secret, end);
        let unread = rest.strip_prefix(&mark[..]).unwrap_or(&rest);
        torn_bytes = unread.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1);
        last.set_end(end);
    }
    let segments = segments.into_iter().map(Arc::new).collect();
    Ok(Recovered { segments, leftovers, unused, end, end_row, torn_bytes, base_max })
}

/// Takes the last segment off when it is empty and `next` follows the one before it: an opening that finds an empty segment creates
/// its own and then removes that one, and may not have come to it.
fn pop_replaced(segments: &mut Vec<Segment>, next: &Segment) -> Result<Option<Segment>> {
    let Some(last) = segments.pop_if(|last| next.header.previous_end < last.header.base) else { return Ok(None) };
    if Records::new(&last, last.header.base).next()?.is_some() {
        return Err(corrupt(&next.path, "it does not follow the segment before it"));
    }
    Ok(Some(last))
}

/// Sets the end of `before` by what `next` says about it.
fn link(before: &Segment, next: &Segment) -> Result<()> {
    let end = next.header.previous_end;
    let fits = end >= before.header.base && end <= next.header.base && before.header.log_id == next.header.log_id;
    if !fits {
        return Err(corrupt(&next.path, "it does not follow the segment before it"));
    }
    if before.file.len()? < before.file_offset(end) {
        return Err(corrupt(&before.path, "it is shorter than it was"));
    }
    before.set_end(end);
    Ok(())
}

fn open(vfs: &dyn Vfs, path: &Path, base: u64) -> Result<Option<Segment>> {
    let file = vfs.open(path, Open::Existing)?;
    let bytes = file.read_at(0, usize::try_from(HEADER).expect("a few bytes"))?;
    match Header::decode(&bytes) {
        Some(header) if header.base == base => {
            Ok(Some(Segment { header, path: path.to_owned(), file, end: AtomicU64::new(base) }))
        }
        Some(_) => Err(corrupt(path, "it has another segment's name")),
        None if file.read_at(HEADER, usize::MAX)?.iter().all(|byte| *byte == 0) => Ok(None),
        None => Err(corrupt(path, "its header is damaged")),
    }
}

fn name(base: u64) -> String {
    format!("{base:020}.ingest")
}

pub(super) fn base(name: &str) -> Option<u64> {
    name.strip_suffix(".ingest")?.parse().ok()
}

pub(super) fn corrupt(path: &Path, why: &str) -> Error {
    Error::spark(ErrorKind::Corrupt, "CKPT_CORRUPT", format!("the ingest log {} is damaged: {why}", path.display()))
}
