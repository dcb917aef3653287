//! Turns what is gathered into final files, each step of which may be the last before a crash.
//!
//! 1. Joined files are written to `.staging/`, durably. A crash leaves what the next start removes.
//! 2. The manifest is written under a hidden name, as a plan. From here on it is decided which commits these files are: what follows is done
//!    before anything else.
//! 3. The files are moved to their names, then the plan to its own, in the same folder: no power cut can lose both.
//! 4. The gathered commits are removed. As long as they are there they are known by the manifest's number to be out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::commit::{MANIFESTS, Manifest, ManifestFile, STAGING, manifest_path};
use super::join::Pieces;
use super::open::{self, FOLDER, OpenLog, checksum, lost};
use crate::checkpoint::storage::{Open, Publish, Vfs, publish};
use crate::error::{Error, ErrorKind, Result};

/// Where the decision of `owner` lies until it is done.
pub(super) fn plan_path(dir: &Path, tag: &str) -> PathBuf {
    dir.join(MANIFESTS).join(format!(".{tag}.plan"))
}

/// Puts out all that is in `log`.
pub(super) fn roll(vfs: &dyn Vfs, dir: &Path, log: &OpenLog) -> Result<()> {
    let tag = log.owner.tag();
    let written = write_files(vfs, dir, log).and_then(|files| {
        let (first, last) = (log.first, log.last);
        let is_one = first.number == last.number;
        let manifest = Manifest {
            query_id: log.owner.query_id.clone(),
            sink: log.owner.sink.clone(),
            number: last.number,
            first_number: (!is_one).then_some(first.number),
            batch_id: last.batch_id,
            first_batch_id: (!is_one).then_some(first.batch_id),
            batch_time_us: last.batch_time_us,
            files,
        };
        vfs.sync_dir(&dir.join(STAGING))?;
        match publish(vfs, &plan_path(dir, &tag), &manifest.text())? {
            Publish::Created => Ok(()),
            Publish::AlreadyThere => Err(Error::internal("files are put out twice at a time")),
        }
    });
    if let Err(error) = written {
        if error.kind() == ErrorKind::NoSpace {
            // They would keep what is left of the disk. What cannot be removed now is removed at the next start.
            let _ = remove_staged(vfs, dir, &tag);
        }
        return Err(error);
    }
    finish(vfs, dir, &tag, false)
}

/// Does what was decided, if anything was. The plan's name must be durable. With `is_accepted` a person has said that it is done: what
/// is missing of it is not missed.
pub(super) fn finish(vfs: &dyn Vfs, dir: &Path, tag: &str, is_accepted: bool) -> Result<()> {
    let plan = plan_path(dir, tag);
    let Some(text) = vfs.read(&plan)? else { return Ok(()) };
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|cause| lost(&plan, "is damaged").because(cause))?;
    move_files(vfs, dir, &manifest, is_accepted)?;
    let path = manifest_path(dir, tag, manifest.number);
    if vfs.move_new(&plan, &path)? == Publish::AlreadyThere {
        if vfs.read(&path)?.is_none_or(|found| found != text) {
            return Err(lost(&path, "is another manifest"));
        }
        vfs.remove(&plan)?;
    }
    vfs.sync_dir(&dir.join(MANIFESTS))?;
    for log in open::paths(vfs, &dir.join(FOLDER), tag)? {
        vfs.remove(&log)?;
    }
    Ok(())
}

/// Removes the joined files that no plan names.
pub(super) fn remove_staged(vfs: &dyn Vfs, dir: &Path, tag: &str) -> Result<()> {
    let (staging, infix) = (dir.join(STAGING), format!("-{tag}-"));
    for entry in vfs.list(&staging)?.iter().filter(|entry| entry.name.contains(&infix)) {
        vfs.remove(&staging.join(&entry.name))?;
    }
    Ok(())
}

fn write_files(vfs: &dyn Vfs, dir: &Path, log: &OpenLog) -> Result<Vec<ManifestFile>> {
    let file = log.open(vfs)?;
    let source = Pieces { path: &log.path, file: file.as_ref(), extension: &log.extension };
    let numbers = match (log.first.number, log.last.number) {
        (first, last) if first == last => format!("{last:06}"),
        (first, last) => format!("{first:06}-{last:06}"),
    };
    let mut files = Vec::with_capacity(log.files.len());
    for (part, (folder, pieces)) in log.pieces(file.as_ref())?.into_iter().enumerate() {
        let name = format!("part-{part:05}-{}-{numbers}.{}", log.owner.tag(), log.extension);
        let temporary = dir.join(STAGING).join(&name);
        vfs.remove(&temporary)?;
        let written = source.join(vfs, &temporary, &pieces)?;
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        files.push(ManifestFile { path, bytes: written.bytes, crc32c: written.crc32c });
    }
    Ok(files)
}

fn move_files(vfs: &dyn Vfs, dir: &Path, manifest: &Manifest, is_accepted: bool) -> Result<()> {
    let staging = dir.join(STAGING);
    let staged: BTreeSet<String> = vfs.list(&staging)?.into_iter().map(|entry| entry.name).collect();
    let mut folders = BTreeSet::new();
    for file in &manifest.files {
        let path = dir.join(&file.path);
        let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Err(lost(&path, "is no file"));
        };
        vfs.create_dir(folder)?;
        folders.insert(folder.to_owned());
        let temporary = staging.join(name);
        if !staged.contains(name) {
            // It was durable there before the plan was, so it has been moved.
            is_same_length(vfs, &path, file).or_else(|error| if is_accepted { Ok(()) } else { Err(error) })?;
        } else if vfs.move_new(&temporary, &path)? == Publish::AlreadyThere {
            is_same(vfs, &path, file)?;
            vfs.remove(&temporary)?;
        }
    }
    folders.iter().try_for_each(|folder| vfs.sync_dir(folder))
}

fn is_same_length(vfs: &dyn Vfs, path: &Path, file: &ManifestFile) -> Result<()> {
    let length = vfs.open(path, Open::ReadOnly).and_then(|found| found.len());
    if length.is_ok_and(|length| length == file.bytes) { Ok(()) } else { Err(lost(path, "is not there as it was written")) }
}

fn is_same(vfs: &dyn Vfs, path: &Path, file: &ManifestFile) -> Result<()> {
    let found = vfs.open(path, Open::ReadOnly)?;
    if found.len()? == file.bytes && checksum(found.as_ref(), 0, file.bytes)? == file.crc32c {
        Ok(())
    } else {
        Err(lost(path, "is another file"))
    }
}
