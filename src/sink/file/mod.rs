//! Files of a folder, each row in exactly one, none ever seen half written.
//!
//! A batch's files are encoded when it is staged, so that a later version commits the same bytes. A commit writes them into
//! `.staging/` of the folder, moves them to names that the commit fixes, and then creates the commit's manifest in `_manifest/`. Names
//! that begin with `_` or `.` are left alone by readers, which therefore see whole files only, each once, whether they know of
//! manifests or not.

mod layout;
mod encode;
mod csv;
mod container;
mod commit;

use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;

use super::{CommitId, Contains, Guarantee, Sink};
use crate::checkpoint::storage::SharedVfs;
use crate::error::{Error, Result};
use crate::pipeline::FileFormat;
use container::Packer;
use layout::Layout;

/// Staged bytes up to this many keep their memory for the next batch: fresh pages cost as much as writing into them.
const SPARE_BYTES_MAX: usize = 16 << 20;

/// The sink that appends files to a folder.
#[derive(Debug)]
pub struct FileSink {
    vfs: SharedVfs,
    dir: PathBuf,
    format: FileFormat,
    partition_by: Vec<String>,
    time_zone: String,
    layout: Option<Layout>,
    /// What was staged last: room for what comes next, once it is committed and nobody else holds it.
    spare: Bytes,
}

impl FileSink {
    /// A sink for the folder `dir`, which is created when the sink is opened. The columns `partition_by` become folders
    /// `column=value`; `time_zone` is the one in which timestamps are written.
    pub fn new(
        vfs: SharedVfs,
        dir: impl Into<PathBuf>,
        format: FileFormat,
        partition_by: Vec<String>,
        time_zone: impl Into<String>,
    ) -> Self {
        Self { vfs, dir: dir.into(), format, partition_by, time_zone: time_zone.into(), layout: None, spare: Bytes::new() }
    }

    /// Refuses columns that cannot be partitioned by or that the format cannot hold; touches nothing.
    pub fn check(&self, schema: &SchemaRef) -> Result<()> {
        self.layout(schema).map(drop)
    }

    fn layout(&self, schema: &SchemaRef) -> Result<Layout> {
        let layout = Layout::new(schema, &self.partition_by)?;
        let sample = RecordBatch::new_empty(layout.body().clone());
        encode::encode(&self.format, layout.body(), &[sample], &self.time_zone, &mut Vec::new())?;
        Ok(layout)
    }
}

#[async_trait]
impl Sink for FileSink {
    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    async fn open(&mut self, schema: &SchemaRef) -> Result<()> {
        let layout = self.layout(schema)?;
        commit::prepare_folder(self.vfs.as_ref(), &self.dir)?;
        self.layout = Some(layout);
        Ok(())
    }

    fn stage(&mut self, rows: &[RecordBatch]) -> Result<Bytes> {
        let layout = self.layout.as_ref().ok_or_else(|| Error::internal("a file sink was used before it was opened"))?;
        let room = std::mem::take(&mut self.spare).try_into_mut().map(Vec::from).unwrap_or_default();
        let mut packer = Packer::new(encode::extension(&self.format), room);
        for (folder, rows) in layout.split(rows, &self.time_zone)? {
            packer.add(folder, |out| encode::encode(&self.format, layout.body(), &rows, &self.time_zone, out))?;
        }
        let staged = packer.finish();
        if staged.len() <= SPARE_BYTES_MAX {
            self.spare = staged.clone();
        }
        Ok(staged)
    }

    async fn contains(&mut self, id: &CommitId) -> Result<Contains> {
        commit::contains(self.vfs.as_ref(), &self.dir, id)
    }

    async fn commit(&mut self, id: &CommitId, staged: &Bytes) -> Result<()> {
        commit::commit(self.vfs.as_ref(), &self.dir, id, &container::unpack(staged)?)
    }
}

#[cfg(test)]
mod tests;
