//! Reads every byte of a query's checkpoint that means something, and names all that is wrong instead of the first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::blob::BlobReader;
use super::history::History;
use super::log::FrameAt;
use super::meta::Meta;
use super::query::{STAGE, STATE, check_complete};
use super::reader::{load, log_dir, read_log};
use super::root::query_dir;
use super::step::{Blob, Place, Step};
use super::storage::{SharedVfs, absolute};
use super::{FirstStep, Recovered};
use crate::error::{Error, ErrorKind, Result};
use crate::source::Offset;

/// What was read of a query's checkpoint.
#[derive(Debug, Default)]
pub struct Examined {
    /// Frames of the log.
    pub frames: u64,
    /// Outputs, changes of state and snapshots that the frames name and that are there.
    pub blobs: u64,
    /// Bytes of the frames, and of the blobs in files.
    pub bytes: u64,
    /// Files that no frame names; the next start removes them.
    pub unnamed_files: u64,
    /// Bytes at the end of the log that a crash left unfinished; the next start cuts them off.
    pub unfinished_bytes: u64,
    /// A crash cut its creation short: nothing is in it, and the next start creates it again.
    pub is_unfinished: bool,
    /// From where each source is still needed.
    pub needed_from: BTreeMap<String, Offset>,
    /// What is wrong, a sentence with its file each: [`ErrorKind::Corrupt`], or [`ErrorKind::Config`] for another version's format.
    pub faults: Vec<Error>,
}

/// Reads all of the checkpoint of `query` under `root`, which nobody may be writing, and changes nothing.
///
/// # Errors
/// What keeps it from being read, such as missing rights; what is damaged is in [`Examined::faults`].
pub fn examine(vfs: &SharedVfs, root: &Path, query: &str) -> Result<Examined> {
    let dir = query_dir(&absolute(root)?, query);
    let mut examined = Examined::default();
    if let Some(recovered) = examined.read(vfs, &dir)? {
        examined.needed_from = needed_from(&recovered);
    }
    Ok(examined)
}

impl Examined {
    /// Keeps what is wrong, and hands on what is not about the checkpoint. The same is not said twice.
    fn note<T>(&mut self, outcome: Result<T>) -> Result<Option<T>> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Config) => {
                if self.faults.iter().all(|known| known.message() != error.message()) {
                    self.faults.push(error);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn read(&mut self, vfs: &SharedVfs, dir: &Path) -> Result<Option<Recovered>> {
        // A damaged `meta` says no more than which query the log must be of.
        let meta = self.note(Meta::read(vfs, dir))?;
        let has_meta = meta.as_ref().is_none_or(Option::is_some);
        let query_id = meta.flatten().as_ref().and_then(Meta::query_id_bytes);
        let mut named = Vec::new();
        let log = read_log(vfs, dir, query_id, |visited| {
            self.frames += 1;
            self.bytes += visited.found.stride as u64;
            named.extend(blobs_of(visited.step).map(|blob| (blob.clone(), visited.at)));
        });
        let Some((history, tail)) = self.note(log)? else { return Ok(None) };
        self.unfinished_bytes = tail.as_ref().map_or(0, |tail| tail.unfinished_bytes);
        match self.note(check_complete(has_meta, tail.is_some(), &history, dir))? {
            None => return Ok(None),
            Some(is_created) => self.is_unfinished = !is_created,
        }
        self.read_blobs(vfs, dir, &named, &history)?;
        self.note(load(vfs, dir, &history, self.unfinished_bytes))
    }

    /// Reads each blob that is there. A file may only be gone when a newer snapshot stands for it.
    fn read_blobs(&mut self, vfs: &SharedVfs, dir: &Path, named: &[(Blob, FrameAt)], history: &History) -> Result<()> {
        let mut present = BTreeSet::new();
        for folder in [STATE, STAGE] {
            files_below(vfs, dir, folder, &mut present)?;
        }
        let needed = history.files_needed();
        let mut reader = BlobReader::new(vfs, dir.to_owned(), log_dir(dir));
        for (blob, at) in named {
            if let Place::File(file) = &blob.place {
                if !present.remove(file) && !needed.contains(file.as_str()) {
                    continue;
                }
                self.bytes += blob.bytes;
            }
            let read = reader.get(blob, *at);
            self.blobs += u64::from(self.note(read)?.is_some());
        }
        self.unnamed_files = present.len() as u64;
        Ok(())
    }
}

fn blobs_of(step: &Step) -> impl Iterator<Item = &Blob> {
    let (prepared, snapshot) = match step {
        Step::Prepared(head) => (Some(head), None),
        Step::Snapshot(head) => (None, Some(&head.blob)),
        Step::Epoch(_) | Step::Planned(_) | Step::Committed(_) | Step::Retained(_) | Step::Sealed | Step::Accepted(_) => {
            (None, None)
        }
    };
    let outputs = prepared.into_iter().flat_map(|head| head.outputs.iter().map(|output| &output.blob));
    let changes = prepared.into_iter().flat_map(|head| head.state.iter().map(|change| &change.blob));
    outputs.chain(changes).chain(snapshot)
}

/// The files below a folder of the query's folder, by the names that frames give them.
fn files_below(vfs: &SharedVfs, dir: &Path, folder: &str, found: &mut BTreeSet<String>) -> Result<()> {
    for entry in vfs.list(&dir.join(folder))? {
        let path = format!("{folder}/{}", entry.name);
        if entry.is_dir {
            files_below(vfs, dir, &path, found)?;
        } else {
            found.insert(path);
        }
    }
    Ok(())
}

/// From where each source is still needed: a batch that is not decided reads its ranges again; a decided one is behind them.
pub(crate) fn needed_from(recovered: &Recovered) -> BTreeMap<String, Offset> {
    if let FirstStep::Run(plan) = &recovered.first_step {
        return plan.sources.iter().map(|(source, range)| (source.clone(), range.start.clone())).collect();
    }
    let ranges = recovered.last.iter().flat_map(|last| &last.planned.sources);
    ranges.map(|(source, range)| (source.clone(), range.end.clone())).collect()
}
