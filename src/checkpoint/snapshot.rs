//! A snapshot of an operator's state on its way into the log.
//!
//! It is taken of one version of the state, written while the query goes on, and named by the log when it is durable, then perhaps
//! several versions later. Until the log names it, it is a file that the next start sweeps away.

use std::path::PathBuf;

use bytes::Bytes;

use super::BatchId;
use super::blob::BlobWriter;
use super::log::Sizes;
use super::query::state_file;
use super::step::SnapshotHead;
use super::storage::SharedVfs;
use crate::error::Result;

/// Writes a snapshot of the version that an operator's state had when [`super::Checkpoint::begin_snapshot`] gave this out.
#[derive(Debug)]
pub struct SnapshotWriter {
    pub(super) vfs: SharedVfs,
    pub(super) dir: PathBuf,
    pub(super) sizes: Sizes,
    pub(super) operator: String,
    pub(super) batch: BatchId,
    /// Hash of the version.
    pub(super) root: u64,
    pub(super) attempt: String,
}

/// A snapshot that is durable, or so small that the log will hold it, for [`super::Checkpoint::snapshot`].
#[derive(Debug)]
pub struct WrittenSnapshot {
    pub(super) head: SnapshotHead,
    pub(super) inline: Vec<Bytes>,
}

impl SnapshotWriter {
    /// Writes the operator's whole state. Blocks on the disk, on any thread; after an error nothing is left behind.
    pub fn write(self, bytes: &Bytes) -> Result<WrittenSnapshot> {
        let mut blobs = BlobWriter::new(&self.vfs, &self.dir, self.sizes);
        let file = || state_file(&self.operator, self.batch, &self.attempt, "snap");
        let blob = blobs.put(bytes, file).and_then(|blob| blobs.sync_names().map(|()| blob)).inspect_err(|_| blobs.discard())?;
        let inline = blobs.into_inline();
        Ok(WrittenSnapshot { head: SnapshotHead { batch: self.batch, operator: self.operator, root: self.root, blob }, inline })
    }
}
