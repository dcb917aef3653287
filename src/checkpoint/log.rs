//! The append-only log of one query, written by one process.
//!
//! Segments are filled with zeros before they are used and the next one is grown while this one fills, so that a full disk cannot
//! strike in the middle of a batch and a sync has no metadata to write. Names appear only once what they stand for is durable.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{self, FrameHead, Kind};
use super::segment::{HEAD_BYTES, SegmentHead, SegmentName};
use super::storage::{LogFile, Open, Publish, SharedVfs, preallocate};
use crate::error::{Error, ErrorKind, Result};

/// The log, open for appending.
#[derive(Debug)]
pub(super) struct Log {
    vfs: SharedVfs,
    dir: PathBuf,
    sizes: Sizes,
    name: SegmentName,
    head: SegmentHead,
    file: Arc<dyn LogFile>,
    /// Checksum of the newest frame.
    previous_crc: u32,
    /// Position of the next frame.
    end: u64,
    /// Everything before this position survives a power cut.
    durable: u64,
    spare: Option<Spare>,
    /// A sync failed: nothing may be written any more.
    is_broken: bool,
}

/// The file that the next segment will be.
#[derive(Debug)]
struct Spare {
    file: Arc<dyn LogFile>,
    filled: u64,
}

/// Where a frame was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameAt {
    pub(super) segment: SegmentName,
    /// Where the bytes after the payload's first part, the step's head, begin in the segment's file.
    pub(super) inline_at: u64,
    /// Position after the frame.
    pub(super) end: u64,
}

/// What a new log continues.
#[derive(Debug, Clone, Copy)]
pub(super) struct Previous {
    pub(super) query_id: [u8; 16],
    pub(super) epoch: u64,
    pub(super) number: u64,
    /// Where the accepted part of the log before ends; all of it is durable.
    pub(super) end: u64,
}

/// How large things are; tests make them small.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Of the first segment of an opening.
    pub(super) segment_bytes_min: u64,
    /// Segments double in size up to this.
    pub(super) segment_bytes_max: u64,
    /// How much a spare grows at a time, at least.
    pub(super) spare_step_bytes: u64,
    /// Up to this many bytes stand in a frame instead of in a file.
    pub(super) inline_bytes_max: usize,
    /// The same for all items of one frame together.
    pub(super) inline_total_bytes_max: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            segment_bytes_min: 1 << 20,
            segment_bytes_max: 64 << 20,
            spare_step_bytes: 64 << 10,
            inline_bytes_max: 1 << 20,
            inline_total_bytes_max: 8 << 20,
        }
    }
}

const SPARE: &str = "spare.wal";

impl Log {
    /// Begins a new segment that starts with `payload` as the frame of this opening; both are durable when it returns.
    pub(super) fn begin(vfs: SharedVfs, dir: PathBuf, sizes: Sizes, previous: Previous, payload: &[u8]) -> Result<Self> {
        vfs.remove(&dir.join(SPARE))?;
        let name = SegmentName { epoch: previous.epoch, number: previous.number };
        let mut spare = Spare { file: vfs.open(&dir.join(SPARE), Open::New)?, filled: 0 };
        let wanted = (frame::stride(payload.len()) + HEAD_BYTES) as u64 + SEAL_BYTES;
        spare.grow(sizes.segment_bytes_min.max(wanted))?;
        let head = segment_head(previous.query_id, name, previous.end, spare.filled);
        let (bytes, previous_crc) = head.encode();
        let file = spare.file;
        file.write_at(0, &bytes)?;
        let end = previous.end;
        let mut log = Self { vfs, dir, sizes, name, head, file, previous_crc, end, durable: end, spare: None, is_broken: false };
        log.append(Kind::Epoch, 0, &[payload])?;
        log.sync()?;
        publish(&log.vfs, &log.dir, name)?;
        Ok(log)
    }

    /// Writes a frame behind the others. It is visible to a process that starts after a crash of this one, and safe from a power cut
    /// after the next `sync`.
    pub(super) fn append(&mut self, kind: Kind, batch: u64, payload: &[&[u8]]) -> Result<FrameAt> {
        self.check_usable()?;
        let stride = frame::stride(payload.iter().map(|part| part.len()).sum()) as u64;
        // The seal of a full segment must fit behind its last frame.
        if self.head.offset_of(self.end) + stride + SEAL_BYTES > self.head.file_bytes {
            self.rotate(stride)?;
        }
        self.write(kind, batch, payload)
    }

    /// Makes every frame durable; does nothing when they are.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.check_usable()?;
        if self.durable < self.end {
            // From here on nobody knows what is on the disk, unless the sync succeeds.
            self.is_broken = true;
            self.file.sync()?;
            self.is_broken = false;
            self.durable = self.end;
        }
        Ok(())
    }

    /// Lets the next segment's file grow ahead of need, by a small multiple of what was just written. A disk without room for that is
    /// no failure yet: what is being written has its place.
    pub(super) fn prepare_next(&mut self, bytes_written: u64) -> Result<()> {
        self.check_usable()?;
        let target = self.next_segment_bytes();
        let spare = match self.spare.take() {
            Some(spare) => spare,
            None => match self.create_spare() {
                Err(error) if error.kind() == ErrorKind::NoSpace => return Ok(()),
                created => created?,
            },
        };
        let spare = self.spare.insert(spare);
        if spare.filled >= target {
            return Ok(());
        }
        match spare.grow(target.min(spare.filled + self.sizes.spare_step_bytes.max(4 * bytes_written))) {
            Err(error) if error.kind() == ErrorKind::NoSpace => Ok(()),
            grown => grown,
        }
    }

    /// The segment that is being written.
    pub(super) fn segment(&self) -> SegmentName {
        self.name
    }

    /// Everything before this position survives a power cut.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// Position after the newest frame.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Refuses to go on after a failed sync.
    pub(super) fn check_usable(&self) -> Result<()> {
        if self.is_broken {
            let path = self.name.path(&self.dir);
            return Err(Error::new(ErrorKind::Storage, format!("{} could not be made durable before", path.display())));
        }
        Ok(())
    }

    /// Refuses to go on when the log has a segment of a later opening.
    pub(super) fn check_newest(&self) -> Result<()> {
        let newest = segments(&self.vfs, &self.dir)?.into_iter().max_by_key(|name| (name.number, name.epoch));
        match newest {
            Some(newest) if newest == self.name => Ok(()),
            found => {
                let what = found.map_or_else(|| "gone".to_owned(), |name| format!("continued by {}", name.file()));
                let path = self.name.path(&self.dir);
                Err(Error::spark(ErrorKind::Fenced, "FENCED", format!("the log {} is {what}", path.display())))
            }
        }
    }

    fn write(&mut self, kind: Kind, batch: u64, payload: &[&[u8]]) -> Result<FrameAt> {
        let head = FrameHead {
            kind,
            previous_crc: self.previous_crc,
            batch,
            epoch: self.name.epoch,
            durable_upto: self.durable,
            position: self.end,
        };
        let (bytes, crc) = frame::encode(&head, payload);
        let offset = self.head.offset_of(self.end);
        self.file.write_at(offset, &bytes)?;
        self.previous_crc = crc;
        self.end += bytes.len() as u64;
        let head_bytes = payload.first().map_or(0, |head| head.len());
        Ok(FrameAt { segment: self.name, inline_at: offset + (frame::HEAD_BYTES + head_bytes) as u64, end: self.end })
    }

    /// Goes on in the next segment, which has room for a frame of `stride` bytes. Nothing is changed when it fails for lack of space.
    fn rotate(&mut self, stride: u64) -> Result<()> {
        self.sync()?;
        let mut spare = match self.spare.take() {
            Some(spare) => spare,
            None => self.create_spare()?,
        };
        let wanted = self
            .next_segment_bytes()
            .max((stride + HEAD_BYTES as u64 + SEAL_BYTES).next_multiple_of(self.sizes.segment_bytes_min));
        let grown = spare.grow(wanted);
        let spare = self.spare.insert(spare);
        grown?;
        let name = SegmentName { epoch: self.name.epoch, number: self.name.number + 1 };
        let head = segment_head(self.head.query_id, name, self.end, spare.filled);
        let (bytes, crc) = head.encode();
        let file = Arc::clone(&spare.file);
        file.write_at(0, &bytes)?;
        let published = file.sync().and_then(|()| publish(&self.vfs, &self.dir, name));
        // Whether the name is there is unknown then, unless the disk was too full to move anything.
        self.is_broken = matches!(&published, Err(error) if error.kind() != ErrorKind::NoSpace);
        published?;
        self.spare = None;
        // Only now, so that a seal proves that there is a next segment. If it is lost, nothing is.
        if let Err(error) = self.write(Kind::Sealed, 0, &[]) {
            tracing::debug!(error = %error.chain(), "a full segment stays unsealed");
        }
        (self.name, self.head, self.file, self.previous_crc, self.end) = (name, head, file, crc, head.base);
        Ok(())
    }

    fn create_spare(&self) -> Result<Spare> {
        let path = self.dir.join(SPARE);
        self.vfs.remove(&path)?;
        Ok(Spare { file: self.vfs.open(&path, Open::New)?, filled: 0 })
    }

    fn next_segment_bytes(&self) -> u64 {
        (self.head.file_bytes * 2).clamp(self.sizes.segment_bytes_min, self.sizes.segment_bytes_max)
    }
}

impl Spare {
    fn grow(&mut self, bytes: u64) -> Result<()> {
        if self.filled < bytes {
            preallocate(self.file.as_ref(), self.filled, bytes)?;
            self.filled = bytes;
        }
        Ok(())
    }
}

/// Gives the spare, which is durable, the name of the segment that it is from now on.
fn publish(vfs: &SharedVfs, dir: &Path, name: SegmentName) -> Result<()> {
    let path = name.path(dir);
    match vfs.move_new(&dir.join(SPARE), &path)? {
        Publish::Created => vfs.sync_dir(dir),
        Publish::AlreadyThere => {
            Err(Error::spark(ErrorKind::Fenced, "FENCED", format!("{} was made by another process", path.display())))
        }
    }
}

/// Length of the frame that ends a full segment.
const SEAL_BYTES: u64 = 56;

/// Writes the seal of the epoch before, whose log ends at `end`: from now on a missing next segment is damage.
pub(super) fn seal(file: &dyn LogFile, head: &SegmentHead, end: u64, previous_crc: u32) -> Result<()> {
    let offset = head.offset_of(end);
    if offset + SEAL_BYTES > head.file_bytes {
        return Ok(());
    }
    let frame = FrameHead { kind: Kind::Sealed, previous_crc, batch: 0, epoch: head.epoch, durable_upto: end, position: end };
    file.write_at(offset, &frame::encode(&frame, &[]).0)
}

/// The segments in a folder, oldest first.
pub(super) fn segments(vfs: &SharedVfs, dir: &Path) -> Result<Vec<SegmentName>> {
    let mut found: Vec<_> = vfs.list(dir)?.into_iter().filter_map(|entry| SegmentName::parse(&entry.name)).collect();
    found.sort_by_key(|name| (name.number, name.epoch));
    Ok(found)
}

fn segment_head(query_id: [u8; 16], name: SegmentName, base: u64, file_bytes: u64) -> SegmentHead {
    SegmentHead { query_id, epoch: name.epoch, number: name.number, base, file_bytes }
}
