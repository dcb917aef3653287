//! Large files written past the page cache.
//!
//! A file that is written once, made durable and then hardly ever read gains nothing from a copy in memory: going around the cache
//! spares most of the time that a large write takes. File systems that cannot do it are written to in the ordinary way.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Files below this size are written in the ordinary way: for them the cost is in the sync.
const BYTES_MIN: usize = 256 << 10;
/// Places in the file, places in memory and lengths are multiples of this, which suits every disk.
const ALIGN: usize = 4096;
/// Bytes per write: little enough to stay in the processor's cache on their way.
const CHUNK_BYTES: usize = 512 << 10;

/// Creates `file` with `bytes` and the permissions `mode`, not yet synced. `None` where it has to be written in the ordinary way,
/// in which case there is no file.
pub(super) fn write_new(file: &Path, bytes: &[u8], mode: u32) -> Result<Option<File>> {
    if bytes.len() < BYTES_MIN || !cfg!(target_os = "linux") {
        return Ok(None);
    }
    let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).unwrap_or(0);
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).custom_flags(flags).open(file);
    let written = opened.and_then(|handle| write(&handle, bytes).map(|()| handle));
    match written {
        // Some file systems say so when the file is opened, after it was made, others at the first write.
        Err(cause) if cause.kind() == ErrorKind::InvalidInput => match std::fs::remove_file(file) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => Err(cause),
            _ => Ok(None),
        },
        written => written.map(Some),
    }
}

fn write(handle: &File, bytes: &[u8]) -> Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES + ALIGN];
    let start = buffer.as_ptr().align_offset(ALIGN);
    let chunk = buffer.get_mut(start..start + CHUNK_BYTES).ok_or_else(|| Error::from(ErrorKind::InvalidInput))?;
    let mut at = 0;
    for part in bytes.chunks(CHUNK_BYTES) {
        let padded = part.len().next_multiple_of(ALIGN);
        chunk[..part.len()].copy_from_slice(part);
        chunk[part.len()..padded].fill(0);
        handle.write_all_at(&chunk[..padded], at)?;
        at += padded as u64;
    }
    handle.set_len(bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_just_the_bytes_whether_or_not_the_cache_was_passed_by() {
        let folder = tempfile::tempdir().expect("a folder");
        for length in [BYTES_MIN - 1, BYTES_MIN, BYTES_MIN + 1, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES + ALIGN + 7] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let file = folder.path().join(length.to_string());
            match write_new(&file, &bytes, 0o600).expect("there is room") {
                Some(_) => assert!(std::fs::read(&file).expect("reads") == bytes, "{length} bytes"),
                None => assert!(!file.exists(), "{length} bytes"),
            }
        }
    }

    #[test]
    fn a_name_that_is_taken_is_refused_and_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("taken");
        std::fs::write(&file, b"old").expect("writes");
        let refused = write_new(&file, &vec![1; BYTES_MIN], 0o600).expect_err("it is there");
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&file).expect("reads"), b"old");
    }
}
