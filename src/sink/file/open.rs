//! What commits have brought that no reader sees yet: one file in `.open/` that is only appended to, a frame per commit with its staged
//! bytes, durable before the commit is.
//!
//! A frame counts if it is whole and the number in it follows the one before. So what a crash left half written is not there, and a
//! frame that is damaged later is missed by its number: the query does not go on without it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::container::{self, Staged};
use crate::checkpoint::storage::{LogFile, Open, Vfs};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::CommitId;

/// Folder of such files within the sink's.
pub(super) const FOLDER: &str = ".open";
const MAGIC: &[u8; 8] = b"tmopen01";
/// Magic, length of the owner, checksum of both.
const PREAMBLE_BYTES: usize = 16;
/// Length, number, batch, time, checksum of the staged bytes, checksum of all that.
const FRAME_BYTES: usize = 40;
/// What is checked at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Whose commits they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) query_id: String,
    pub(super) sink: String,
}

impl Owner {
    /// Who makes the commit `id`.
    pub(super) fn of(id: &CommitId) -> Self {
        Self { query_id: id.query_id.clone(), sink: id.sink.clone() }
    }

    /// Eight digits for the query's checkpoint and the sink: a checkpoint that starts over, or a sink that is renamed, begins a series of
    /// its own in the same folder.
    pub(super) fn tag(&self) -> String {
        let crc = crc32c::crc32c(self.query_id.as_bytes());
        format!("{:08x}", crc32c::crc32c_append(crc, self.sink.as_bytes()))
    }
}

/// One commit within the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) number: u64,
    pub(super) batch_id: u64,
    pub(super) batch_time_us: i64,
    /// Of the staged bytes.
    pub(super) crc32c: u32,
    /// Where the staged bytes stand.
    at: u64,
    bytes: u64,
}

/// A file that is gathered for one folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Gathered {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// The file, as far as it is whole.
#[derive(Debug)]
pub(super) struct OpenLog {
    pub(super) path: PathBuf,
    pub(super) owner: Owner,
    pub(super) first: Frame,
    pub(super) last: Frame,
    /// The format's ending, and the kind, of all files in it.
    pub(super) extension: String,
    pub(super) kind: u32,
    /// What is gathered, by folder.
    pub(super) files: BTreeMap<String, Gathered>,
    /// Files of all its commits.
    pub(super) pieces: usize,
    /// Where the next frame goes.
    end: u64,
}

/// A staged file in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) at: u64,
    pub(super) bytes: usize,
    pub(super) crc32c: u32,
    pub(super) header_bytes: usize,
}

/// The logs of `tag` in the folder `dir` of open files.
pub(super) fn paths(vfs: &dyn Vfs, dir: &Path, tag: &str) -> Result<Vec<PathBuf>> {
    let is_ours =
        |name: &str| name.strip_prefix(tag).and_then(|rest| rest.strip_prefix('-')).is_some_and(|rest| rest.ends_with(".log"));
    Ok(vfs.list(dir)?.iter().filter(|entry| is_ours(&entry.name)).map(|entry| dir.join(&entry.name)).collect())
}

impl OpenLog {
    /// Begins a file with the commit `id`.
    pub(super) fn begin(vfs: &dyn Vfs, dir: &Path, id: &CommitId, staged: &Bytes, content: &Staged) -> Result<Self> {
        let owner = Owner::of(id);
        let path = dir.join(format!("{}-{:06}.log", owner.tag(), id.number));
        let text = serde_json::to_vec(&owner).expect("an owner is plain data");
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(
            &u32::try_from(text.len()).map_err(|_| Error::internal("a sink's name is endless"))?.to_le_bytes(),
        );
        bytes.extend_from_slice(&crc32c::crc32c_append(crc32c::crc32c(&bytes), &text).to_le_bytes());
        bytes.extend_from_slice(&text);
        let (frame, head) = frame_of(id, staged, bytes.len() as u64);
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(staged);
        // Left by a crash in the middle of this very commit.
        vfs.remove(&path)?;
        vfs.write_new(&path, &bytes)?;
        vfs.sync_dir(dir)?;
        let mut log = Self {
            path,
            owner,
            first: frame,
            last: frame,
            extension: content.extension.clone(),
            kind: content.kind,
            files: BTreeMap::new(),
            pieces: 0,
            end: bytes.len() as u64,
        };
        log.count(content.files.iter().map(|file| (file.folder.as_str(), file.rows, file.bytes.len() as u64)));
        Ok(log)
    }

    /// Appends the commit `id`, durably. After an error the file has to be read again.
    pub(super) fn append(&mut self, vfs: &dyn Vfs, id: &CommitId, staged: &Bytes, content: &Staged) -> Result<()> {
        // By its name, so that a folder that was emptied meanwhile is noticed.
        let file = vfs.open(&self.path, Open::Existing)?;
        if file.len()? < self.end {
            return Err(lost(&self.path, "is shorter than it was"));
        }
        let (frame, head) = frame_of(id, staged, self.end);
        file.write_parts_at(self.end, &[head.to_vec().into(), staged.clone()])?;
        file.sync()?;
        self.end = frame.at + frame.bytes;
        self.last = frame;
        self.count(content.files.iter().map(|file| (file.folder.as_str(), file.rows, file.bytes.len() as u64)));
        Ok(())
    }

    /// Reads a file and checks all of it; `None` if nothing in it is whole.
    pub(super) fn read(vfs: &dyn Vfs, path: &Path) -> Result<Option<Self>> {
        let file = vfs.open(path, Open::ReadOnly)?;
        let Some((owner, start)) = owner_in(file.as_ref())? else { return Ok(None) };
        let mut log: Option<Self> = None;
        let mut at = start;
        while let Some(frame) = frame_at(file.as_ref(), at)? {
            let follows = log.as_ref().is_none_or(|log| log.last.number.checked_add(1) == Some(frame.number));
            if !follows || checksum(file.as_ref(), frame.at, frame.bytes)? != frame.crc32c {
                break;
            }
            let staged = container::read_index(file.as_ref(), frame.at, frame.bytes)?;
            let log = log.get_or_insert_with(|| Self {
                path: path.to_owned(),
                owner: owner.clone(),
                first: frame,
                last: frame,
                extension: staged.extension.clone(),
                kind: staged.kind,
                files: BTreeMap::new(),
                pieces: 0,
                end: 0,
            });
            at = frame.at + frame.bytes;
            (log.last, log.end) = (frame, at);
            log.count(staged.pieces.iter().map(|(folder, rows, piece)| (folder.as_str(), *rows, piece.bytes as u64)));
        }
        Ok(log)
    }

    /// The staged files of all commits, in their order, by folder.
    pub(super) fn pieces(&self, file: &dyn LogFile) -> Result<BTreeMap<String, Vec<Piece>>> {
        let mut pieces: BTreeMap<String, Vec<Piece>> = BTreeMap::new();
        let mut frame = self.first;
        loop {
            for (folder, _, piece) in container::read_index(file, frame.at, frame.bytes)?.pieces {
                pieces.entry(folder).or_default().push(piece);
            }
            if frame == self.last {
                return Ok(pieces);
            }
            let next = frame_at(file, frame.at + frame.bytes)?;
            frame = next.ok_or_else(|| lost(&self.path, "is damaged"))?;
        }
    }

    /// Opens it to be read.
    pub(super) fn open(&self, vfs: &dyn Vfs) -> Result<Arc<dyn LogFile>> {
        vfs.open(&self.path, Open::ReadOnly)
    }

    fn count<'a>(&mut self, files: impl Iterator<Item = (&'a str, u64, u64)>) {
        for (folder, rows, bytes) in files {
            self.pieces += 1;
            let file = match self.files.get_mut(folder) {
                Some(file) => file,
                None => self.files.entry(folder.to_owned()).or_default(),
            };
            file.rows += rows;
            file.bytes += bytes;
        }
    }
}

/// A frame for `staged` that begins at `start`, and its bytes before those.
fn frame_of(id: &CommitId, staged: &Bytes, start: u64) -> (Frame, [u8; FRAME_BYTES]) {
    let bytes = staged.len() as u64;
    let crc32c = crc32c::crc32c(staged);
    let mut head = [0; FRAME_BYTES];
    head[..8].copy_from_slice(&bytes.to_le_bytes());
    head[8..16].copy_from_slice(&id.number.to_le_bytes());
    head[16..24].copy_from_slice(&id.batch_id.to_le_bytes());
    head[24..32].copy_from_slice(&id.batch_time_us.to_le_bytes());
    head[32..36].copy_from_slice(&crc32c.to_le_bytes());
    let own = crc32c::crc32c(&head[..36]);
    head[36..].copy_from_slice(&own.to_le_bytes());
    let CommitId { number, batch_id, batch_time_us, .. } = *id;
    (Frame { number, batch_id, batch_time_us, crc32c, at: start + FRAME_BYTES as u64, bytes }, head)
}

/// The frame that begins at `start`, if its head is whole and the file is long enough for it.
fn frame_at(file: &dyn LogFile, start: u64) -> Result<Option<Frame>> {
    let head = file.read_at(start, FRAME_BYTES)?;
    let Ok(head) = <[u8; FRAME_BYTES]>::try_from(head.as_ref()) else { return Ok(None) };
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| head[at + byte]));
    let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| head[at + byte]));
    if crc32c::crc32c(&head[..36]) != half(36) {
        return Ok(None);
    }
    let (at, bytes) = (start + FRAME_BYTES as u64, word(0));
    let is_whole = at.checked_add(bytes).is_some_and(|end| file.len().is_ok_and(|len| end <= len));
    let batch_time_us = i64::from_le_bytes(std::array::from_fn(|byte| head[24 + byte]));
    Ok(is_whole.then_some(Frame { number: word(8), batch_id: word(16), batch_time_us, crc32c: half(32), at, bytes }))
}

/// Whose file it is and where its first frame begins; `None` if that was not written to its end.
fn owner_in(file: &dyn LogFile) -> Result<Option<(Owner, u64)>> {
    let preamble = file.read_at(0, PREAMBLE_BYTES)?;
    let Ok(preamble) = <[u8; PREAMBLE_BYTES]>::try_from(preamble.as_ref()) else { return Ok(None) };
    let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| preamble[at + byte]));
    let text = file.read_at(PREAMBLE_BYTES as u64, usize::try_from(half(8)).unwrap_or(0))?;
    if &preamble[..8] != MAGIC || crc32c::crc32c_append(crc32c::crc32c(&preamble[..12]), &text) != half(12) {
        return Ok(None);
    }
    let owner = serde_json::from_slice(&text).ok();
    Ok(owner.map(|owner| (owner, (PREAMBLE_BYTES + text.len()) as u64)))
}

/// CRC-32C of a part of a file, read a little at a time.
pub(super) fn checksum(file: &dyn LogFile, start: u64, bytes: u64) -> Result<u32> {
    let (mut at, end, mut crc) = (start, start + bytes, 0);
    while at < end {
        let chunk = file.read_at(at, usize::try_from(end - at).unwrap_or(usize::MAX).min(CHUNK_BYTES))?;
        if chunk.is_empty() {
            break;
        }
        crc = crc32c::crc32c_append(crc, &chunk);
        at += chunk.len() as u64;
    }
    Ok(crc)
}

/// What commits left is not what it was.
pub(super) fn lost(path: &Path, what: &str) -> Error {
    Error::spark(ErrorKind::Corrupt, "MARKER_LOST", format!("{} {what}, so rows of earlier commits are gone", path.display()))
}
