//! One file of the log: a header, then frames, then zeros up to the length it was given when it was made.

use std::path::{Path, PathBuf};

use super::frame::{self, Found, u32_at, u64_at};
use crate::error::{Error, ErrorKind, Result};

/// The header of a segment, durable before the segment has its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHead {
    /// The checkpoint's UUID: a segment of another query is recognised.
    pub(super) query_id: [u8; 16],
    pub(super) epoch: u64,
    /// Dense over all epochs, from 0.
    pub(super) number: u64,
    /// Position of the first frame; what lies before it was durable and accepted when the segment was made.
    pub(super) base: u64,
    /// Length of the file: a shorter one was cut.
    pub(super) file_bytes: u64,
}

/// Bytes of the header.
pub(super) const HEAD_BYTES: usize = 64;
const MAGIC: &[u8; 8] = b"TIDEWAL1";
const CRC_AT: usize = 56;

impl SegmentHead {
    /// The header's bytes, and their checksum.
    pub(super) fn encode(&self) -> ([u8; HEAD_BYTES], u32) {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..24].copy_from_slice(&self.query_id);
        for (at, field) in [(24, self.epoch), (32, self.number), (40, self.base), (48, self.file_bytes)] {
            bytes[at..at + 8].copy_from_slice(&field.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        let crc = u32_at(bytes, CRC_AT)?;
        if &bytes[..8] != MAGIC || crc32c::crc32c(&bytes[..CRC_AT]) != crc || u32_at(bytes, CRC_AT + 4)? != 0 {
            return None;
        }
        let head = Self {
            query_id: bytes[8..24].try_into().ok()?,
            epoch: u64_at(bytes, 24)?,
            number: u64_at(bytes, 32)?,
            base: u64_at(bytes, 40)?,
            file_bytes: u64_at(bytes, 48)?,
        };
        Some((head, crc))
    }

    /// Where in the file a position of the log is.
    pub(super) fn offset_of(&self, position: u64) -> u64 {
        position - self.base + HEAD_BYTES as u64
    }
}

/// The name of a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentName {
    pub(super) epoch: u64,
    pub(super) number: u64,
}

impl SegmentName {
    pub(super) fn file(self) -> String {
        format!("{:06}-{:08}.wal", self.epoch, self.number)
    }

    pub(super) fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.file())
    }

    /// The segment that a file name stands for; `None` for any other file.
    pub(super) fn parse(file: &str) -> Option<Self> {
        let (epoch, number) = file.strip_suffix(".wal")?.split_once('-')?;
        let name = Self { epoch: epoch.parse().ok()?, number: number.parse().ok()? };
        (name.file() == file).then_some(name)
    }
}

/// A segment in memory.
pub(super) struct Segment<'a> {
    pub(super) path: &'a Path,
    pub(super) bytes: &'a [u8],
    pub(super) head: SegmentHead,
    head_crc: u32,
}

/// What a scan found.
#[derive(Debug)]
pub(super) struct Scanned {
    /// Checksum of the newest frame, or of the header.
    pub(super) last_crc: u32,
    pub(super) frames: Vec<Found>,
    /// Position after the last frame.
    pub(super) end: u64,
    /// Bytes after the end up to the last one that is not zero: a frame that was never finished.
    pub(super) unfinished_bytes: u64,
}

impl<'a> Segment<'a> {
    /// Checks the header against the name and, if it is known, the query.
    pub(super) fn open(path: &'a Path, name: SegmentName, query_id: Option<[u8; 16]>, bytes: &'a [u8]) -> Result<Self> {
        let Some((head, head_crc)) = bytes.get(..HEAD_BYTES).and_then(SegmentHead::decode) else {
            return Err(corrupt(path, 0, "its header is damaged"));
        };
        if query_id.is_some_and(|expected| expected != head.query_id) {
            return Err(Error::spark(
                ErrorKind::Corrupt,
                "WRONG_QUERY",
                format!("{} belongs to the checkpoint of another query", path.display()),
            ));
        }
        if (head.epoch, head.number) != (name.epoch, name.number) {
            let other = SegmentName { epoch: head.epoch, number: head.number }.file();
            return Err(corrupt(path, 0, &format!("it was written as {other}")));
        }
        if head.file_bytes != bytes.len() as u64 {
            let what = format!("it has {} bytes instead of {}", bytes.len(), head.file_bytes);
            return Err(corrupt(path, bytes.len().min(usize::try_from(head.file_bytes).unwrap_or(usize::MAX)), &what));
        }
        Ok(Self { path, bytes, head, head_crc })
    }

    /// Its frames in order. `end` is where the next segment begins, which proves that everything before was durable; without it the
    /// frames themselves must tell how far the log was.
    pub(super) fn scan(&self, end: Option<u64>) -> Result<Scanned> {
        let mut frames: Vec<Found> = Vec::new();
        let (mut at, mut previous_crc) = (HEAD_BYTES, self.head_crc);
        let mut durable_upto = end.unwrap_or(self.head.base);
        loop {
            let position = self.position(at);
            if end == Some(position) {
                break;
            }
            let Some(found) = self.valid(at, position).filter(|found| found.head.previous_crc == previous_crc) else { break };
            (at, previous_crc) = (at + found.stride, found.crc);
            durable_upto = durable_upto.max(found.head.durable_upto);
            frames.push(found);
        }
        let reached = self.position(at);
        if end.is_none() {
            durable_upto = durable_upto.max(self.durable_upto_after(at));
        }
        if reached < durable_upto {
            return Err(corrupt(self.path, at, "a frame that was durable is damaged or missing"));
        }
        let rest = self.bytes.get(at..).unwrap_or_default();
        let unfinished = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        Ok(Scanned { last_crc: previous_crc, frames, end: reached, unfinished_bytes: unfinished })
    }

    /// The largest `durable_upto` of any whole frame after a bad one: unsynced frames may reach the disk in any order.
    fn durable_upto_after(&self, at: usize) -> u64 {
        let rest = self.bytes.get(at..).unwrap_or_default();
        memchr::memmem::find_iter(rest, &frame::MAGIC)
            .filter_map(|found| self.valid(at + found, self.position(at + found)))
            .map(|found| found.head.durable_upto)
            .max()
            .unwrap_or(0)
    }

    fn valid(&self, at: usize, position: u64) -> Option<Found> {
        frame::decode(self.bytes, at, position).filter(|found| found.head.epoch == self.head.epoch)
    }

    fn position(&self, at: usize) -> u64 {
        self.head.base + (at - HEAD_BYTES) as u64
    }
}

/// Damage, by file and byte.
pub(super) fn corrupt(path: &Path, at: usize, what: &str) -> Error {
    Error::spark(ErrorKind::Corrupt, "CKPT_CORRUPT", format!("{} is damaged at byte {at}: {what}", path.display()))
}
