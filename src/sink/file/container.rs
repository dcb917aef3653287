//! The files of one commit as one piece of staged bytes: their folders, lengths and checksums as JSON, then their contents.

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

pub(super) fn pack(extension: &str, files: Vec<(String, Vec<u8>)>) -> Bytes {
    let head_of = |(folder, bytes): &(String, Vec<u8>)| FileHead {
        folder: folder.clone(),
        bytes: bytes.len(),
        crc32c: crc32c::crc32c(bytes),
    };
    let head = Head { extension: extension.to_owned(), files: files.iter().map(head_of).collect() };
    let head = serde_json::to_vec(&head).expect("a head is plain data");
    let mut packed = Vec::with_capacity(8 + head.len() + files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>());
    packed.extend_from_slice(&(head.len() as u64).to_le_bytes());
    packed.extend_from_slice(&head);
    for (_, bytes) in files {
        packed.extend_from_slice(&bytes);
    }
    packed.into()
}

/// The files in `packed`; [`ErrorKind::Corrupt`] if it was not packed by [`pack`].
pub(super) fn unpack(packed: &Bytes) -> Result<Staged> {
    let damaged = || Error::new(ErrorKind::Corrupt, "staged files are damaged");
    let (len, rest) = packed.split_first_chunk::<8>().ok_or_else(damaged)?;
    let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| damaged())?;
    let head = rest.get(..len).ok_or_else(damaged)?;
    let head: Head = serde_json::from_slice(head).map_err(|cause| damaged().because(cause))?;
    let mut files = Vec::with_capacity(head.files.len());
    let mut at = 8 + len;
    for FileHead { folder, bytes, crc32c } in head.files {
        let end = at.checked_add(bytes).filter(|end| *end <= packed.len()).ok_or_else(damaged)?;
        let bytes = packed.slice(at..end);
        if crc32c::crc32c(&bytes) != crc32c {
            return Err(damaged());
        }
        files.push(StagedFile { folder, bytes, crc32c });
        at = end;
    }
    if at == packed.len() { Ok(Staged { extension: head.extension, files }) } else { Err(damaged()) }
}
