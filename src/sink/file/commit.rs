//! Makes the files of a commit visible, and tells which commits are.
//!
//! Every name follows from the commit alone, and nothing is replaced: a commit that is repeated after a crash finds its own files and
//! goes on behind them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::container::{Staged, StagedFile};
use super::open::{Frame, Owner};
use crate::checkpoint::storage::{Publish, Vfs, publish};
use crate::error::{Error, Result};
use crate::sink::{CommitId, Contains, marker_lost};

/// Folder of files on their way to their names.
pub(super) const STAGING: &str = ".staging";
/// Folder of manifests.
pub(super) const MANIFESTS: &str = "_manifest";

/// What a commit consists of, or several that were put out together: created last, so that it stands for all of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) query_id: String,
    pub(super) sink: String,
    /// Of the last commit in it.
    pub(super) number: u64,
    /// Of the first one, if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first_number: Option<u64>,
    pub(super) batch_id: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first_batch_id: Option<u64>,
    pub(super) batch_time_us: i64,
    pub(super) files: Vec<ManifestFile>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ManifestFile {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) crc32c: u32,
}

impl Manifest {
    /// As it is written.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).expect("a manifest is plain data");
        text.push(b'\n');
        text
    }
}

/// Creates the folder with what commits need in it, and makes sure that it can be written.
pub(super) fn prepare_folder(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    vfs.create_dir(&dir.join(STAGING))?;
    vfs.create_dir(&dir.join(MANIFESTS))?;
    let probe = dir.join(STAGING).join(format!("probe-{}", std::process::id()));
    vfs.remove(&probe)?;
    vfs.write_new(&probe, b"")?;
    vfs.remove(&probe)
}

/// The numbers of the manifests of `tag`.
pub(super) fn numbers(vfs: &dyn Vfs, dir: &Path, tag: &str) -> Result<BTreeSet<u64>> {
    let number = |name: &str| name.strip_prefix(tag)?.strip_prefix('-')?.strip_suffix(".json")?.parse::<u64>().ok();
    let entries = vfs.list(&dir.join(MANIFESTS))?;
    Ok(entries.iter().filter_map(|entry| number(&entry.name)).collect())
}

/// Whether `id` is in, as far as the manifests tell a story at all; `open` is the last commit that is gathered and was looked up
/// before.
pub(super) fn contains(vfs: &dyn Vfs, dir: &Path, id: &CommitId, open: Option<Frame>) -> Result<Contains> {
    let tag = Owner::of(id).tag();
    let numbers = numbers(vfs, dir, &tag)?;
    let is_there = numbers.contains(&id.number);
    let last = numbers.last().copied().max(open.map(|open| open.number));
    if let Some(last) = last.filter(|last| *last > id.number) {
        return Ok(Contains::Ahead(last));
    }
    match open {
        // Of the same number, but of other rows: a copy of the checkpoint went another way.
        Some(open) if open.number == id.number && id.crc32c != 0 && open.crc32c != id.crc32c => {
            return Ok(Contains::Ahead(id.number));
        }
        Some(open) if open.number == id.number => return Ok(Contains::Yes),
        Some(open) if open.number + 1 == id.number => return Ok(Contains::No),
        _ => {}
    }
    // The newest one vouches for the others.
    let newest = if is_there { Some(id.number) } else { id.number.checked_sub(1) };
    let Some(newest) = newest else { return Ok(Contains::No) };
    let path = manifest_path(dir, &tag, newest);
    let manifest = vfs.read(&path)?.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok());
    match manifest {
        Some(found) if found.query_id == id.query_id && found.sink == id.sink && found.number == newest => {
            // A process that was killed may have named it without making the name durable.
            vfs.sync_dir(&dir.join(MANIFESTS))?;
            Ok(if is_there { Contains::Yes } else { Contains::No })
        }
        _ if is_there => Err(occupied(&path, id)),
        _ if id.is_accepted => Ok(Contains::No),
        _ => Ok(Contains::MarkerLost),
    }
}

/// Makes the staged files visible under the names that `id` gives them. May be repeated.
pub(super) fn commit(vfs: &dyn Vfs, dir: &Path, id: &CommitId, staged: &Staged) -> Result<()> {
    let staging = dir.join(STAGING);
    vfs.create_dir(&staging)?;
    vfs.create_dir(&dir.join(MANIFESTS))?;
    let tag = Owner::of(id).tag();
    let mut files = Vec::with_capacity(staged.files.len());
    let mut moves = Vec::with_capacity(staged.files.len());
    for (part, file) in staged.files.iter().enumerate() {
        let name = format!("part-{part:05}-{tag}-{:06}.{}", id.number, staged.extension);
        let temporary = staging.join(&name);
        // Left by a crash in the middle of this very commit: the name is nobody else's.
        vfs.remove(&temporary)?;
        vfs.write_new(&temporary, &file.bytes)?;
        let path = if file.folder.is_empty() { name } else { format!("{}/{name}", file.folder) };
        moves.push((temporary, dir.join(&path), file));
        files.push(ManifestFile { path, bytes: file.bytes.len() as u64, crc32c: file.crc32c });
    }
    // Only once all are safe, so that a disk that fills up leaves none of them.
    let folders: BTreeSet<PathBuf> = moves.iter().filter_map(|(_, path, _)| path.parent().map(Path::to_owned)).collect();
    for folder in &folders {
        vfs.create_dir(folder)?;
    }
    for (temporary, path, file) in &moves {
        if vfs.move_new(temporary, path)? == Publish::AlreadyThere {
            check_same(vfs, path, file, id)?;
            vfs.remove(temporary)?;
        }
    }
    for folder in &folders {
        vfs.sync_dir(folder)?;
    }
    let CommitId { query_id, sink, number, batch_id, batch_time_us, .. } = id.clone();
    let manifest = Manifest { query_id, sink, number, first_number: None, batch_id, first_batch_id: None, batch_time_us, files };
    publish_manifest(vfs, dir, id, &manifest)
}

fn publish_manifest(vfs: &dyn Vfs, dir: &Path, id: &CommitId, manifest: &Manifest) -> Result<()> {
    let path = manifest_path(dir, &Owner::of(id).tag(), manifest.number);
    let text = manifest.text();
    match publish(vfs, &path, &text)? {
        Publish::Created => Ok(()),
        Publish::AlreadyThere if vfs.read(&path)?.is_some_and(|found| found == text) => vfs.sync_dir(&dir.join(MANIFESTS)),
        Publish::AlreadyThere => Err(occupied(&path, id)),
    }
}

/// A file that is already there must be the one that the crash before left.
fn check_same(vfs: &dyn Vfs, path: &Path, file: &StagedFile, id: &CommitId) -> Result<()> {
    match vfs.read(path)? {
        Some(found) if found.len() == file.bytes.len() && crc32c::crc32c(&found) == file.crc32c => Ok(()),
        _ => Err(occupied(path, id)),
    }
}

/// A name that only one commit may give is taken.
fn occupied(path: &Path, id: &CommitId) -> Error {
    let message = format!("{} is there with other contents, so this commit was made before with another outcome", path.display());
    marker_lost(message, &id.sink, id.number + 1)
}

/// Where the manifest of commit `number`, or of those up to it, lies.
pub(super) fn manifest_path(dir: &Path, tag: &str, number: u64) -> PathBuf {
    dir.join(MANIFESTS).join(format!("{tag}-{number:06}.json"))
}
