//! The files of one commit as one piece of staged bytes: their contents, then their folders, lengths and checksums as JSON, then the
//! length of that. So a file is encoded where it stays.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    extension: String,
    files: Vec<FileHead>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FileHead {
    folder: String,
    bytes: usize,
    crc32c: u32,
}

/// The files to commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Staged {
    /// Their ending: kept here, as the pipeline file may say another format when they are committed.
    pub(super) extension: String,
    pub(super) files: Vec<StagedFile>,
}

/// A file to commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StagedFile {
    /// Relative to the sink's folder, empty for that folder itself.
    pub(super) folder: String,
    pub(super) bytes: Bytes,
    pub(super) crc32c: u32,
}

/// Puts files together.
pub(super) struct Packer {
    packed: Vec<u8>,
    head: Head,
}

impl Packer {
    /// Files that end in `extension`, to be written into `room`, which is emptied.
    pub(super) fn new(extension: &str, mut room: Vec<u8>) -> Self {
        room.clear();
        Self { packed: room, head: Head { extension: extension.to_owned(), files: Vec::new() } }
    }

    /// Adds a file with what `write` appends.
    pub(super) fn add(&mut self, folder: String, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        let start = self.packed.len();
        write(&mut self.packed)?;
        let content = &self.packed[start..];
        self.head.files.push(FileHead { folder, bytes: content.len(), crc32c: crc32c::crc32c(content) });
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
    for FileHead { folder, bytes, crc32c } in head.files {
        let end = at.checked_add(bytes).filter(|end| *end <= contents).ok_or_else(damaged)?;
        let bytes = packed.slice(at..end);
        if crc32c::crc32c(&bytes) != crc32c {
            return Err(damaged());
        }
        files.push(StagedFile { folder, bytes, crc32c });
        at = end;
    }
    if at == contents { Ok(Staged { extension: head.extension, files }) } else { Err(damaged()) }
}
