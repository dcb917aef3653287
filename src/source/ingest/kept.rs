//! Keys of requests, kept beside the segments: they outlive the records that brought them.
//!
//! A file of keys holds what was known when the segment of its name began, and is durable before that segment is there; the keys since
//! are in the records. So the newest file and the segments from it on tell everything, however much of the log was deleted before.
//!
//! ```text
//! magic 8 | log 8 | base 8 | count 8 | key and lines of each request, oldest first, 32 each | crc 8
//! ```

use std::path::{Path, PathBuf};

use tracing::warn;

use super::keys::RequestKey;
use super::segment::corrupt;
use crate::checkpoint::storage::{Open, SharedVfs};
use crate::error::Result;

/// Also the version of the format.
const MAGIC: &[u8; 8] = b"TIDEKEY1";
const ENDING: &str = ".keys";

/// The keys that were known at one position of a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) log_id: u32,
    pub(super) base: u64,
    /// Oldest first.
    pub(super) keys: Vec<RequestKey>,
}

impl Kept {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for number in [u64::from(self.log_id), self.base, self.keys.len() as u64] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for key in &self.keys {
            bytes.extend_from_slice(&key.to_bytes());
        }
        let checksum = u64::from(crc32c::crc32c(&bytes));
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, checksum) = bytes.split_last_chunk()?;
        if u64::from(crc32c::crc32c(content)) != u64::from_le_bytes(*checksum) {
            return None;
        }
        let (numbers, keys) = content.strip_prefix(MAGIC)?.split_first_chunk::<24>()?;
        let mut numbers = numbers.chunks_exact(8).map(|number| u64::from_le_bytes(number.try_into().expect("eight bytes")));
        let (log_id, base, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let (keys, rest) = keys.as_chunks::<{ RequestKey::BYTES }>();
        let is_whole = rest.is_empty() && keys.len() as u64 == count;
        let keys = keys.iter().map(RequestKey::from_bytes).collect();
        is_whole.then_some(Self { log_id: u32::try_from(log_id).ok()?, base, keys })
    }

    /// Writes the file; its name is durable once the segment of the same base is created.
    pub(super) fn write(&self, vfs: &SharedVfs, dir: &Path) -> Result<()> {
        let path = dir.join(name(self.base));
        // Left by an attempt that the disk had no room for.
        vfs.remove(&path)?;
        let file = vfs.open(&path, Open::New)?;
        file.write_at(0, &self.encode())?;
        file.sync()
    }

    /// The newest file in `dir`, where the newest segment begins at `newest_segment`.
    ///
    /// # Errors
    /// `CKPT_CORRUPT` when a file is damaged that was durable: one whose segment, or a later one, is there.
    pub(super) fn newest(vfs: &SharedVfs, dir: &Path, newest_segment: u64) -> Result<Option<Self>> {
        let mut bases: Vec<u64> = vfs.list(dir)?.iter().filter_map(|entry| base(&entry.name)).collect();
        bases.sort_unstable();
        for base in bases.into_iter().rev() {
            let path = dir.join(name(base));
            let bytes = vfs.open(&path, Open::Existing)?.read_at(0, usize::MAX)?;
            match Self::decode(&bytes).filter(|kept| kept.base == base) {
                Some(kept) => return Ok(Some(kept)),
                None if base <= newest_segment => return Err(corrupt(&path, "its keys of requests cannot be read")),
                // A crash came before it was whole, so nothing relies on it.
                None => {}
            }
        }
        Ok(None)
    }
}

/// Removes all files of keys in `dir` but that of `base`. One that stays takes room and does no harm.
pub(super) fn remove_others(vfs: &SharedVfs, dir: &Path, keep: u64) {
    let remove = || -> Result<()> {
        for entry in vfs.list(dir)? {
            if base(&entry.name).is_some_and(|base| base != keep) {
                vfs.remove(&PathBuf::from(dir).join(&entry.name))?;
            }
        }
        Ok(())
    };
    if let Err(error) = remove() {
        warn!(error = %error.chain(), "keys of requests that are not needed any more could not be deleted");
    }
}

fn name(base: u64) -> String {
    format!("{base:020}{ENDING}")
}

fn base(name: &str) -> Option<u64> {
    name.strip_suffix(ENDING)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::storage::LocalVfs;

    fn kept(base: u64, count: usize) -> Kept {
        let keys = (0..count).map(|number| RequestKey::new(number.to_string().as_bytes(), b"lines")).collect();
        Kept { log_id: 7, base, keys }
    }

    #[test]
    fn keys_come_back_as_they_were_and_no_damage_passes() {
        let written = kept(1 << 40, 3);
        let bytes = written.encode();
        assert_eq!(bytes.len(), 32 + 3 * 32 + 8);
        assert_eq!(Kept::decode(&bytes), Some(written));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(Kept::decode(&damaged), None, "byte {at}");
            assert_eq!(Kept::decode(&bytes[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn the_newest_whole_file_is_found_and_damage_that_matters_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (vfs, dir) = (LocalVfs::shared(), folder.path());
        assert_eq!(Kept::newest(&vfs, dir, 9).unwrap(), None);
        for base in [5, 9, 12] {
            kept(base, 2).write(&vfs, dir).unwrap();
        }
        assert_eq!(Kept::newest(&vfs, dir, 9).unwrap(), Some(kept(12, 2)));
        // Cut off by a crash, before there was a segment that relies on it.
        std::fs::write(dir.join(name(12)), &kept(12, 2).encode()[..40]).unwrap();
        assert_eq!(Kept::newest(&vfs, dir, 9).unwrap(), Some(kept(9, 2)));
        let error = Kept::newest(&vfs, dir, 12).unwrap_err();
        assert_eq!(error.condition(), Some("CKPT_CORRUPT"));
        remove_others(&vfs, dir, 9);
        assert_eq!(Kept::newest(&vfs, dir, 12).unwrap(), Some(kept(9, 2)));
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 1);
    }
}
