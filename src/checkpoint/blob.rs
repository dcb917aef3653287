//! Bytes that a frame names: small ones stand in the frame, large ones in a file that is durable before the frame is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::log::{FrameAt, Sizes};
use super::segment::SegmentName;
use super::step::{Blob, Place};
use super::storage::{LogFile, Open, SharedVfs};
use crate::error::{Error, ErrorKind, Result};

/// Lays out the blobs of one frame, writing the large ones.
#[derive(Debug)]
pub(super) struct BlobWriter<'a> {
    vfs: &'a SharedVfs,
    dir: &'a Path,
    sizes: Sizes,
    inline: Vec<Bytes>,
    inline_bytes: usize,
    files: Vec<String>,
}

impl<'a> BlobWriter<'a> {
    /// For a frame of the query whose folder is `dir`.
    pub(super) fn new(vfs: &'a SharedVfs, dir: &'a Path, sizes: Sizes) -> Self {
        Self { vfs, dir, sizes, inline: Vec::new(), inline_bytes: 0, files: Vec::new() }
    }

    /// Places `bytes`, in `file` (below the query's folder) if they are many.
    pub(super) fn put(&mut self, bytes: &Bytes, file: impl FnOnce() -> String) -> Result<Blob> {
        let crc = crc32c::crc32c(bytes);
        let is_small = bytes.len() <= self.sizes.inline_bytes_max;
        let place = if is_small && self.inline_bytes + bytes.len() <= self.sizes.inline_total_bytes_max {
            let at = self.inline_bytes as u64;
            self.inline_bytes += bytes.len();
            self.inline.push(bytes.clone());
            Place::Inline(at)
        } else {
            let file = file();
            // Before it is written, so that a half-written one is removed too.
            self.files.push(file.clone());
            let path = self.dir.join(&file);
            if let Some(folder) = path.parent() {
                self.vfs.create_dir(folder)?;
            }
            self.vfs.write_new(&path, bytes)?;
            Place::File(file)
        };
        Ok(Blob { bytes: bytes.len() as u64, crc, place })
    }

    /// Makes the names of the files durable: what is left to do before a frame may name them.
    pub(super) fn sync_names(&self) -> Result<()> {
        let mut folders: Vec<_> = self.files.iter().filter_map(|file| self.dir.join(file).parent().map(PathBuf::from)).collect();
        folders.sort();
        folders.dedup();
        folders.iter().try_for_each(|folder| self.vfs.sync_dir(folder))
    }

    /// The bytes for the frame.
    pub(super) fn inline(&self) -> impl Iterator<Item = &[u8]> {
        self.inline.iter().map(Bytes::as_ref)
    }

    /// The bytes for the frame, once nothing more is put.
    pub(super) fn into_inline(self) -> Vec<Bytes> {
        self.inline
    }

    /// Gives the space of the files back, as no frame names them. What cannot be removed is swept at the next start.
    pub(super) fn discard(&self) {
        for file in &self.files {
            if let Err(error) = self.vfs.remove(&self.dir.join(file)) {
                tracing::debug!(file, error = %error.chain(), "a file of an abandoned attempt stays until the next start");
            }
        }
    }
}

/// Reads blobs back, checking every byte.
#[derive(Debug)]
pub(super) struct BlobReader {
    vfs: SharedVfs,
    /// The query's folder.
    dir: PathBuf,
    log_dir: PathBuf,
    open: Option<(SegmentName, Arc<dyn LogFile>)>,
}

impl BlobReader {
    /// For the query whose folder is `dir`.
    pub(super) fn new(vfs: &SharedVfs, dir: PathBuf, log_dir: PathBuf) -> Self {
        Self { vfs: Arc::clone(vfs), dir, log_dir, open: None }
    }

    /// The bytes of `blob`, which the frame at `at` names.
    pub(super) fn get(&mut self, blob: &Blob, at: FrameAt) -> Result<Bytes> {
        let (path, bytes) = match &blob.place {
            Place::File(file) => {
                let path = self.dir.join(file);
                let Some(bytes) = self.vfs.read(&path)? else {
                    return Err(damaged(&path, "it is missing"));
                };
                (path, bytes)
            }
            Place::Inline(offset) => {
                let path = at.segment.path(&self.log_dir);
                let file = self.segment(at.segment)?;
                let len = usize::try_from(blob.bytes).unwrap_or(usize::MAX);
                (path, file.read_at(at.inline_at + offset, len)?)
            }
        };
        if bytes.len() as u64 != blob.bytes {
            return Err(damaged(&path, &format!("{} bytes were expected and {} are there", blob.bytes, bytes.len())));
        }
        if crc32c::crc32c(&bytes) != blob.crc {
            return Err(damaged(&path, "its checksum does not match"));
        }
        Ok(bytes)
    }

    fn segment(&mut self, name: SegmentName) -> Result<Arc<dyn LogFile>> {
        match &self.open {
            Some((open, file)) if *open == name => Ok(Arc::clone(file)),
            _ => {
                let file = self.vfs.open(&name.path(&self.log_dir), Open::ReadOnly)?;
                self.open = Some((name, Arc::clone(&file)));
                Ok(file)
            }
        }
    }
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::spark(ErrorKind::Corrupt, "CKPT_CORRUPT", format!("{} is damaged: {what}", path.display()))
}
