//! The files of one commit as one piece of staged bytes: their contents, then their folders, lengths and checksums as JSON, then the
//! length of that. So a file is encoded where it stays.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::open::Piece;
use crate::checkpoint::storage::LogFile;
use crate::error::{Error, ErrorKind, Result};

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    extension: String,
    #[serde(default)]
    kind: u32,
    files: Vec<FileHead>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FileHead {
    folder: String,
    bytes: usize,
    crc32c: u32,
    #[serde(default)]
    rows: u64,
    #[serde(default)]
    header_bytes: usize,
}

/// The files to commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Staged {
    /// Their ending: kept here, as the pipeline file may say another format when they are committed.
    pub(super) extension: String,
    /// Files of equal kind may be joined: their format and their columns are the same.
    pub(super) kind: u32,
    pub(super) files: Vec<StagedFile>,
}

/// A file to commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StagedFile {
    /// Relative to the sink's folder, empty for that folder itself.
    pub(super) folder: String,
    pub(super) bytes: Bytes,
    pub(super) crc32c: u32,
    /// Rows in it.
    pub(super) rows: u64,
    /// Bytes at its beginning that stand once in joined files.
    pub(super) header_bytes: usize,
}

/// Puts files together.
pub(super) struct Packer {
    packed: Vec<u8>,
    head: Head,
}

impl Packer {
    /// Files of a kind that end in `extension`, to be written into `room`, which is emptied.
    pub(super) fn new(extension: &str, kind: u32, mut room: Vec<u8>) -> Self {
        room.clear();
        Self { packed: room, head: Head { extension: extension.to_owned(), kind, files: Vec::new() } }
    }

    /// Adds a file of so many rows with what `write` appends, which tells how many bytes of it are a header.
    pub(super) fn add(&mut self, folder: String, rows: u64, write: impl FnOnce(&mut Vec<u8>) -> Result<usize>) -> Result<()> {
        let start = self.packed.len();
        let header_bytes = write(&mut self.packed)?;
        let content = &self.packed[start..];
        let (bytes, crc32c) = (content.len(), crc32c::crc32c(content));
        self.head.files.push(FileHead { folder, bytes, crc32c, rows, header_bytes });
        Ok(())
    }

    /// All of it; nothing without a file.
    pub(super) fn finish(mut self) -> Bytes {
        if self.head.files.is_empty() {
            return Bytes::new();
        }
        let start = self.packed.len();
        serde_json::to_writer(&mut self.packed, &self.head).expect("a head is plain data");
        let length = (self.packed.len() - start) as u64;
        self.packed.extend_from_slice(&length.to_le_bytes());
        self.packed.into()
    }
}

/// The files in `packed`; [`ErrorKind::Corrupt`] if it was not packed by a [`Packer`].
pub(super) fn unpack(packed: &Bytes) -> Result<Staged> {
    let damaged = || Error::new(ErrorKind::Corrupt, "staged files are damaged");
    let (rest, len) = packed.split_last_chunk::<8>().ok_or_else(damaged)?;
    let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| damaged())?;
    let contents = rest.len().checked_sub(len).ok_or_else(damaged)?;
    let head: Head = serde_json::from_slice(&rest[contents..]).map_err(|cause| damaged().because(cause))?;
    let mut files = Vec::with_capacity(head.files.len());
    let mut at = 0usize;
    for FileHead { folder, bytes, crc32c, rows, header_bytes } in head.files {
        let end = at.checked_add(bytes).filter(|end| *end <= contents).ok_or_else(damaged)?;
        let bytes = packed.slice(at..end);
        if crc32c::crc32c(&bytes) != crc32c {
            return Err(damaged());
        }
        files.push(StagedFile { folder, bytes, crc32c, rows, header_bytes });
        at = end;
    }
    if at == contents { Ok(Staged { extension: head.extension, kind: head.kind, files }) } else { Err(damaged()) }
}

/// What is in packed files, without their contents.
pub(super) struct Index {
    pub(super) extension: String,
    pub(super) kind: u32,
    /// Folder and rows of each file, and where it stands.
    pub(super) pieces: Vec<(String, u64, Piece)>,
}

/// The index of what was packed and stands in `file` from `start` on.
pub(super) fn read_index(file: &dyn LogFile, start: u64, bytes: u64) -> Result<Index> {
    let damaged = || Error::new(ErrorKind::Corrupt, "gathered files are damaged");
    let lengths_at = bytes.checked_sub(8).ok_or_else(damaged)?;
    let length = file.read_at(start + lengths_at, 8)?;
    let length = u64::from_le_bytes(length.as_ref().try_into().map_err(|_| damaged())?);
    let contents = lengths_at.checked_sub(length).ok_or_else(damaged)?;
    let head = file.read_at(start + contents, usize::try_from(length).map_err(|_| damaged())?)?;
    let head: Head = serde_json::from_slice(&head).map_err(|cause| damaged().because(cause))?;
    let mut at = start;
    let mut pieces = Vec::with_capacity(head.files.len());
    for FileHead { folder, bytes, crc32c, rows, header_bytes } in head.files {
        pieces.push((folder, rows, Piece { at, bytes, crc32c, header_bytes }));
        at = at.checked_add(bytes as u64).filter(|end| *end <= start + contents).ok_or_else(damaged)?;
    }
    Ok(Index { extension: head.extension, kind: head.kind, pieces })
}
