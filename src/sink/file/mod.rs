//! Files of a folder, each row in exactly one, none ever seen half written.
//!
//! A batch's files are encoded when it is staged, so that a later version commits the same bytes. A commit writes them into
//! `.staging/` of the folder, moves them to names that the commit fixes, and then creates the commit's manifest in `_manifest/`. Names
//! that begin with `_` or `.` are left alone by readers, which therefore see whole files only, each once, whether they know of
//! manifests or not.
//!
//! With `roll` a commit is appended to an open file in `.open/` instead, and the files of many commits are put out as one.

mod layout;
mod encode;
mod csv;
mod container;
mod commit;
mod gather;
mod open;
mod roll;
mod join;

use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;

use super::{CommitId, Contains, Guarantee, PutOut, Sink};
use crate::checkpoint::storage::SharedVfs;
use crate::error::{Error, Result};
use crate::pipeline::{FileFormat, Roll};
use container::Packer;
use gather::Gathering;
use layout::Layout;
use open::Owner;

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
    roll: Option<Roll>,
    layout: Option<Layout>,
    /// Tells files apart that cannot be joined.
    kind: u32,
    gathering: Option<Box<Gathering>>,
    /// What others have left in the folder was looked for.
    has_adopted: bool,
    /// Nothing is gathered that was to come out before the next commit of a sink without `roll`.
    is_clear: bool,
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
        Self {
            vfs,
            dir: dir.into(),
            format,
            partition_by,
            time_zone: time_zone.into(),
            roll: None,
            layout: None,
            kind: 0,
            gathering: None,
            has_adopted: false,
            is_clear: false,
            spare: Bytes::new(),
        }
    }

    /// The same, with the batches of several commits in one file.
    #[must_use]
    pub fn rolling(self, roll: Option<Roll>) -> Self {
        Self { roll, ..self }
    }

    /// Refuses columns that cannot be partitioned by or that the format cannot hold; touches nothing.
    pub fn check(&self, schema: &SchemaRef) -> Result<()> {
        self.layout(schema).map(drop)
    }

    fn layout(&self, schema: &SchemaRef) -> Result<Layout> {
        if self.roll.as_ref().is_some_and(Roll::is_never) {
            return Err(Error::config("expected rows, bytes or age: when a file is done"));
        }
        let layout = Layout::new(schema, &self.partition_by)?;
        let sample = RecordBatch::new_empty(layout.body().clone());
        encode::encode(&self.format, layout.body(), &[sample], &self.time_zone, &mut Vec::new())?;
        Ok(layout)
    }

    fn put_out_gathered(&mut self, next: &CommitId, what: PutOut) -> Result<Option<i64>> {
        let tag = Owner::of(next).tag();
        if !self.has_adopted {
            gather::adopt(&self.vfs, &self.dir, &tag)?;
            self.has_adopted = true;
        }
        let held = self.gathering.take();
        let mut gathering = match held {
            Some(gathering) => gathering,
            None if gather::is_left(self.vfs.as_ref(), &self.dir, &tag)? => match Gathering::of(&self.vfs, &self.dir, next)? {
                Some(gathering) => gathering,
                None if what == PutOut::Due => return Ok(Some(gather::again_us(next.batch_time_us))),
                None => return Err(gather::held_elsewhere(&self.dir, next)),
            },
            None => {
                self.is_clear = true;
                return Ok(None);
            }
        };
        let due_us = self.roll.as_ref().map_or(Some(i64::MIN), |roll| gathering.due_us(roll));
        if what == PutOut::All || due_us.is_some_and(|due_us| due_us <= next.batch_time_us) {
            gathering.put_out()?;
        }
        match &self.roll {
            Some(roll) if what == PutOut::Due => {
                let due_us = gathering.due_us(roll);
                self.gathering = Some(gathering);
                Ok(due_us)
            }
            _ => {
                self.is_clear = true;
                gathering.let_go();
                Ok(None)
            }
        }
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
        self.kind = crc32c::crc32c(format!("{:?} {:?}", self.format, layout.body()).as_bytes());
        self.layout = Some(layout);
        Ok(())
    }

    fn stage(&mut self, rows: &[RecordBatch]) -> Result<Bytes> {
        let layout = self.layout.as_ref().ok_or_else(|| Error::internal("a file sink was used before it was opened"))?;
        let room = std::mem::take(&mut self.spare).try_into_mut().map(Vec::from).unwrap_or_default();
        let mut packer = Packer::new(encode::extension(&self.format), self.kind, room);
        for (folder, rows) in layout.split(rows, &self.time_zone)? {
            let count = rows.iter().map(|rows| rows.num_rows() as u64).sum();
            packer.add(folder, count, |out| encode::encode(&self.format, layout.body(), &rows, &self.time_zone, out))?;
        }
        let staged = packer.finish();
        if staged.len() <= SPARE_BYTES_MAX {
            self.spare = staged.clone();
        }
        Ok(staged)
    }

    async fn contains(&mut self, id: &CommitId) -> Result<Contains> {
        // In this order: what is put out meanwhile has its manifest before it leaves the open file.
        let open = gather::newest(self.vfs.as_ref(), &self.dir, &Owner::of(id))?;
        commit::contains(self.vfs.as_ref(), &self.dir, id, open)
    }

    async fn commit(&mut self, id: &CommitId, staged: &Bytes) -> Result<()> {
        let Some(roll) = self.roll.clone() else {
            // What was gathered before `roll` was taken out of the settings comes first: a later manifest would stand for it.
            if !self.is_clear {
                self.put_out_gathered(id, PutOut::All).map_err(|error| before(error, id))?;
            }
            return commit::commit(self.vfs.as_ref(), &self.dir, id, &container::unpack(staged)?);
        };
        let held = self.gathering.take();
        let mut gathering = match held {
            Some(gathering) => gathering,
            None => Gathering::of(&self.vfs, &self.dir, id)
                .map_err(|error| before(error, id))?
                .ok_or_else(|| gather::held_elsewhere(&self.dir, id))?,
        };
        gathering.commit(id, staged, &roll).map_err(|error| before(error, id))?;
        self.gathering = Some(gathering);
        Ok(())
    }

    async fn put_out(&mut self, next: &CommitId, what: PutOut) -> Result<Option<i64>> {
        self.put_out_gathered(next, what).map_err(|error| before(error, next))
    }
}

/// Says of commits that are lost that `next` would follow them.
fn before(error: Error, next: &CommitId) -> Error {
    if error.condition() != Some("MARKER_LOST") || error.fact("at").is_some() {
        return error;
    }
    error.with_fact("sink", &next.sink).with_fact("at", next.number.to_string())
}

#[cfg(test)]
mod tests;
