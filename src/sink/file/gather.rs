//! Commits of a sink that gathers them: appended to its open file, put out together when that is due.
//!
//! What is on disk decides everything, and settings only when something is put out; so a start goes on wherever a crash was, with
//! other settings too. An owner is locked while its commits are gathered: another process may take over only what nobody holds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use super::commit::{self, MANIFESTS, STAGING};
use super::container;
use super::open::{self, FOLDER, Frame, OpenLog, Owner, lost};
use super::roll;
use crate::checkpoint::storage::{Lock, LockFile, Open, SharedVfs, Vfs};
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::Roll;
use crate::sink::mark::this_process;
use crate::sink::{CommitId, sink_ahead};

/// Folders that are gathered at a time: each costs a file with two syncs when they are put out, and its name in memory until then.
const FOLDERS_MAX: usize = 1000;
/// Staged files that are gathered at a time: where each stands is in memory while they are put out.
const PIECES_MAX: usize = 100_000;
/// How soon to ask again when another process holds the open file.
const AGAIN: Duration = Duration::from_secs(1);

/// A sink's open file, held.
#[derive(Debug)]
pub(super) struct Gathering {
    vfs: SharedVfs,
    dir: PathBuf,
    /// Of the last commit that was put out.
    out: Option<u64>,
    log: Option<OpenLog>,
    lock: Box<dyn LockFile>,
    lock_path: PathBuf,
}

/// Whether a crash, or a run with another `roll`, has left commits of `tag` that are to be put out.
pub(super) fn is_left(vfs: &dyn Vfs, dir: &Path, tag: &str) -> Result<bool> {
    let found = vfs.list(&dir.join(FOLDER))?;
    Ok(found.iter().any(|entry| tag_of(&entry.name) == Some(tag)))
}

/// The newest commit of `owner` that is gathered, durably.
pub(super) fn newest(vfs: &dyn Vfs, dir: &Path, owner: &Owner) -> Result<Option<Frame>> {
    let folder = dir.join(FOLDER);
    let mut newest: Option<Frame> = None;
    for path in open::paths(vfs, &folder, &owner.tag())? {
        if let Some(log) = OpenLog::read(vfs, &path)?.filter(|log| log.owner == *owner) {
            // What a killed process had written is in the file, and may yet be lost with the power.
            vfs.open(&path, Open::Existing)?.sync()?;
            vfs.sync_dir(&folder)?;
            newest = newest.filter(|newest| newest.number > log.last.number).or(Some(log.last));
        }
    }
    Ok(newest)
}

/// Puts out what others have left in the folder `dir` and nobody holds: a checkpoint that was given up, a sink that was renamed.
pub(super) fn adopt(vfs: &SharedVfs, dir: &Path, own: &str) -> Result<()> {
    let found = vfs.list(&dir.join(FOLDER))?;
    let tags: BTreeSet<&str> = found.iter().filter_map(|entry| tag_of(&entry.name)).filter(|tag| *tag != own).collect();
    for tag in tags {
        let adopted = Gathering::take(vfs, dir, tag, None).and_then(|taken| match taken {
            Some(mut gathering) => gathering.put_out().map(|()| gathering.let_go()),
            None => Ok(()),
        });
        // It is not ours: it must not keep us from working.
        if let Err(error) = adopted {
            tracing::warn!(folder = %dir.display(), error = error.chain(), "what another query left could not be put out");
        }
    }
    Ok(())
}

/// Whose open file has that name. Where there is a plan there is one too.
fn tag_of(name: &str) -> Option<&str> {
    let (tag, _) = name.strip_suffix(".log")?.split_once('-')?;
    (tag.len() == 8 && tag.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(tag)
}

impl Gathering {
    /// Takes the open file of whoever makes the commit `id`; `None` while another process holds it.
    pub(super) fn of(vfs: &SharedVfs, dir: &Path, id: &CommitId) -> Result<Option<Box<Self>>> {
        Self::take(vfs, dir, &Owner::of(id).tag(), Some(id))
    }

    fn take(vfs: &SharedVfs, dir: &Path, tag: &str, id: Option<&CommitId>) -> Result<Option<Box<Self>>> {
        let folder = dir.join(FOLDER);
        for folder in [&folder, &dir.join(STAGING), &dir.join(MANIFESTS)] {
            vfs.create_dir(folder)?;
        }
        let lock_path = folder.join(format!("{tag}.lock"));
        let lock = match vfs.lock(&lock_path, &this_process())? {
            Lock::Held(lock) => lock,
            Lock::Taken(_) => return Ok(None),
        };
        // A process that was killed may have left a plan or a manifest whose name is not durable: nothing may be done on its word.
        vfs.sync_dir(&dir.join(MANIFESTS))?;
        roll::finish(vfs.as_ref(), dir, tag, id.is_some_and(|id| id.is_accepted))?;
        roll::remove_staged(vfs.as_ref(), dir, tag)?;
        let numbers = commit::numbers(vfs.as_ref(), dir, tag)?;
        let out = numbers.last().copied();
        let mut log: Option<OpenLog> = None;
        for path in open::paths(vfs.as_ref(), &folder, tag)? {
            match OpenLog::read(vfs.as_ref(), &path)? {
                Some(found) if !numbers.contains(&found.last.number) => {
                    let is_old = out.is_some_and(|out| out > found.last.number);
                    if is_old || log.is_some() || id.is_some_and(|id| Owner::of(id) != found.owner) {
                        return Err(lost(&path, "is not what follows the last manifest"));
                    }
                    vfs.open(&path, Open::Existing)?.sync()?;
                    log = Some(found);
                }
                // Put out already, or begun by a commit that did not come about.
                _ => vfs.remove(&path)?,
            }
        }
        vfs.sync_dir(&folder)?;
        Ok(Some(Box::new(Self { vfs: vfs.clone(), dir: dir.to_owned(), out, log, lock, lock_path })))
    }

    /// The last commit that is in.
    fn last(&self) -> Option<u64> {
        self.log.as_ref().map(|log| log.last.number).or(self.out)
    }

    /// Takes the commit `id`, and puts out what is due with it. May be repeated; after an error what is on disk has to be looked at
    /// again.
    pub(super) fn commit(&mut self, id: &CommitId, staged: &Bytes, roll: &Roll) -> Result<()> {
        let content = container::unpack(staged)?;
        match self.last() {
            Some(last) if last >= id.number => {
                let same = self.log.as_ref().is_none_or(|log| log.last.crc32c == crc32c::crc32c(staged));
                if last > id.number || !same {
                    return Err(sink_ahead(id, last));
                }
            }
            last if id.is_accepted || last.map_or(0, |last| last + 1) == id.number => {
                let follows = last.is_none_or(|last| last + 1 == id.number);
                if !follows || self.log.as_ref().is_some_and(|log| log.kind != content.kind || log.extension != content.extension)
                {
                    self.put_out()?;
                }
                let folder = self.dir.join(FOLDER);
                match &mut self.log {
                    Some(log) => log.append(self.vfs.as_ref(), id, staged, &content)?,
                    None => self.log = Some(OpenLog::begin(self.vfs.as_ref(), &folder, id, staged, &content)?),
                }
            }
            _ => return Err(lost(&self.dir, "has not the commit before this one")),
        }
        if self.due_us(roll).is_some_and(|due_us| due_us <= id.batch_time_us) { self.put_out() } else { Ok(()) }
    }

    /// When what is gathered is to be put out, in microseconds since 1970.
    pub(super) fn due_us(&self, roll: &Roll) -> Option<i64> {
        let log = self.log.as_ref()?;
        let is_full = log
            .files
            .values()
            .any(|file| roll.rows.is_some_and(|rows| file.rows >= rows) || roll.bytes.is_some_and(|bytes| file.bytes >= bytes));
        if is_full || log.files.len() >= FOLDERS_MAX || log.pieces >= PIECES_MAX {
            return Some(i64::MIN);
        }
        let age = i64::try_from(roll.age?.as_micros()).unwrap_or(i64::MAX);
        Some(log.first.batch_time_us.saturating_add(age))
    }

    /// Makes final files of all that is gathered.
    pub(super) fn put_out(&mut self) -> Result<()> {
        if let Some(log) = &self.log {
            roll::roll(self.vfs.as_ref(), &self.dir, log)?;
            self.out = Some(log.last.number);
            self.log = None;
        }
        Ok(())
    }

    /// Leaves the open file to whoever comes next.
    pub(super) fn let_go(self: Box<Self>) {
        // Removed while it is held: who waits for the old one finds that it is not the file of that name any more. One that stays is in
        // nobody's way.
        if self.lock.is_held().unwrap_or(false) {
            let _ = self.vfs.remove(&self.lock_path);
        }
    }
}

/// Another process is at work on what is gathered for `id`: one that tidies up, or one with a copy of the checkpoint.
pub(super) fn held_elsewhere(dir: &Path, id: &CommitId) -> Error {
    let message = format!("the open file of sink {:?} in {} is held by another process", id.sink, dir.display());
    Error::new(ErrorKind::Unavailable, message)
}

/// When to ask again after `now_us` where another process is at work.
pub(super) fn again_us(now_us: i64) -> i64 {
    now_us.saturating_add(i64::try_from(AGAIN.as_micros()).unwrap_or(i64::MAX))
}
