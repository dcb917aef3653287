//! Makes the files of a commit visible, and tells which commits are.
//!
//! Every name follows from the commit alone, and nothing is replaced: a commit that is repeated after a crash finds its own files and
//! goes on behind them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::container::{Staged, StagedFile};
use crate::checkpoint::storage::{Publish, Vfs, publish};
use crate::error::{Error, Result};
use crate::sink::{CommitId, Contains, marker_lost};

const STAGING: &str = ".staging";
const MANIFESTS: &str = "_manifest";

/// What a commit consists of: created last, so that it stands for all of it.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    query_id: String,
    sink: String,
    number: u64,
    batch_id: u64,
    batch_time_us: i64,
    files: Vec<ManifestFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ManifestFile {
    path: String,
    bytes: u64,
    crc32c: u32,
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

/// Whether the manifest of `id` is there, as far as the manifests tell a story at all.
pub(super) fn contains(vfs: &dyn Vfs, dir: &Path, id: &CommitId) -> Result<Contains> {
    let prefix = format!("{}-", owner(id));
    let number = |name: &str| name.strip_prefix(&prefix)?.strip_suffix(".json")?.parse::<u64>().ok();
    let entries = vfs.list(&dir.join(MANIFESTS))?;
    let numbers: BTreeSet<u64> = entries.iter().filter_map(|entry| number(&entry.name)).collect();
    let is_there = numbers.contains(&id.number);
    if let Some(last) = numbers.last().filter(|last| **last > id.number) {
        return Ok(Contains::Ahead(*last));
    }
    // The newest one vouches for the others.
    let newest = if is_there { Some(id.number) } else { id.number.checked_sub(1) };
    let Some(newest) = newest else { return Ok(Contains::No) };
    let path = manifest_path(dir, &CommitId { number: newest, ..id.clone() });
    let manifest = vfs.read(&path)?.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok());
    match manifest {
        Some(found) if found.query_id == id.query_id && found.sink == id.sink && found.number == newest => {
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
    let mut files = Vec::with_capacity(staged.files.len());
    let mut moves = Vec::with_capacity(staged.files.len());
    for (part, file) in staged.files.iter().enumerate() {
        let name = format!("part-{part:05}-{}-{:06}.{}", owner(id), id.number, staged.extension);
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
    publish_manifest(vfs, dir, id, &Manifest { query_id, sink, number, batch_id, batch_time_us, files })
}

fn publish_manifest(vfs: &dyn Vfs, dir: &Path, id: &CommitId, manifest: &Manifest) -> Result<()> {
    let path = manifest_path(dir, id);
    let mut text = serde_json::to_vec(manifest).expect("a manifest is plain data");
    text.push(b'\n');
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

fn occupied(path: &Path, id: &CommitId) -> Error {
    let message = format!("{} is there with other contents, so this commit was made before with another outcome", path.display());
    marker_lost(message, &id.sink, id.number + 1)
}

fn manifest_path(dir: &Path, id: &CommitId) -> PathBuf {
    dir.join(MANIFESTS).join(format!("{}-{:06}.json", owner(id), id.number))
}

/// Eight digits for the query's checkpoint and the sink: a checkpoint that starts over, or a sink that is renamed, begins a series of
/// its own in the same folder.
fn owner(id: &CommitId) -> String {
    let crc = crc32c::crc32c(id.query_id.as_bytes());
    format!("{:08x}", crc32c::crc32c_append(crc, id.sink.as_bytes()))
}
