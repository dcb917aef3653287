//! A copy of a whole root, to be kept or to be run elsewhere.
//!
//! It is made beside its place under a name of its own, read through as a check, and then moved there: what has the name that was asked
//! for is whole. What a crash leaves under the other name the next copy to that place clears away.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::verify::{Verified, verify};
use crate::checkpoint::CheckpointRoot;
use crate::checkpoint::storage::{Open, Publish, Vfs, absolute, exists, remove_tree};
use crate::error::{Error, ErrorKind, Result};

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Where it is, as an absolute path.
    pub path: PathBuf,
    /// Files of it.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// A copy that was checked and not begun.
#[derive(Debug)]
pub struct Copy<'a> {
    root: &'a CheckpointRoot,
    parts: Vec<Verified>,
    to: PathBuf,
    /// Where it is made.
    beside: PathBuf,
}

/// How much of a file is in memory at a time.
const CHUNK_BYTES: usize = 4 << 20;
/// Belongs to a process, not to the root.
const LOCK: &str = "lock";
/// Space for a log's next segment.
const SPARE: &str = "spare.wal";

/// Reads all of `root` and checks that it can be copied to `to`, which must not be there; changes nothing. A damaged root is
/// [`ErrorKind::Corrupt`], a place that will not do [`ErrorKind::Config`].
pub fn plan_copy<'a>(root: &'a CheckpointRoot, to: &Path) -> Result<Copy<'a>> {
    let to = absolute(to)?;
    let (Some(parent), Some(name)) = (to.parent(), to.file_name().and_then(OsStr::to_str)) else {
        return Err(Error::config(format!("{} is no name for a copy", to.display())));
    };
    if to.starts_with(root.path()) || root.path().starts_with(&to) {
        return Err(Error::config(format!("{} and {} lie within each other", to.display(), root.path().display())));
    }
    if exists(root.vfs().as_ref(), &to)? {
        return Err(occupied(&to));
    }
    let parts = verify(root)?;
    let faults: Vec<_> = parts.iter().flat_map(|part| &part.faults).collect();
    if let Some(first) = faults.first() {
        let message = format!("{} is damaged and was not copied: {first}", root.path().display());
        return Err(Error::spark(ErrorKind::Corrupt, "CKPT_CORRUPT", message));
    }
    let beside = parent.join(format!(".{name}.tmp"));
    Ok(Copy { root, parts, to, beside })
}

impl Copy<'_> {
    /// Makes it, durably. A place that has been taken meanwhile is left alone.
    pub fn apply(self) -> Result<Copied> {
        let vfs = self.root.vfs();
        // Whoever else copies to this place has the lock there.
        let made = CheckpointRoot::open(vfs.clone(), &self.beside)?;
        for entry in vfs.list(&self.beside)?.into_iter().filter(|entry| entry.name != LOCK) {
            let path = self.beside.join(&entry.name);
            if entry.is_dir { remove_tree(vfs.as_ref(), &path)? } else { vfs.remove(&path)? }
        }
        let mut copied = Copied { path: self.to.clone(), files: 0, bytes: 0 };
        copy_folder(vfs.as_ref(), self.root.path(), &self.beside, &mut copied)?;
        let holds = |parts: &[Verified]| parts.iter().map(|part| (part.part.clone(), part.holds.clone())).collect::<Vec<_>>();
        let found = verify(&made)?;
        if holds(&found) != holds(&self.parts) || found.iter().any(|part| !part.faults.is_empty()) {
            let message = format!("the copy {} is not what was copied: the disk may be failing", self.beside.display());
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        self.root.check_owned()?;
        made.check_owned()?;
        vfs.remove(&self.beside.join(LOCK))?;
        vfs.sync_dir(&self.beside)?;
        if vfs.move_new(&self.beside, &self.to)? == Publish::AlreadyThere {
            remove_tree(vfs.as_ref(), &self.beside)?;
            return Err(occupied(&self.to));
        }
        self.to.parent().map_or(Ok(()), |parent| vfs.sync_dir(parent))?;
        Ok(copied)
    }
}

fn occupied(to: &Path) -> Error {
    Error::config(format!("{} is there already: a copy replaces nothing", to.display()))
}

fn copy_folder(vfs: &dyn Vfs, from: &Path, to: &Path, copied: &mut Copied) -> Result<()> {
    vfs.create_dir(to)?;
    for entry in vfs.list(from)? {
        let (source, target) = (from.join(&entry.name), to.join(&entry.name));
        if entry.is_dir {
            copy_folder(vfs, &source, &target, copied)?;
        } else if entry.name != LOCK && entry.name != SPARE && !entry.name.starts_with('.') {
            copied.bytes += copy_file(vfs, &source, &target)?;
            copied.files += 1;
        }
    }
    vfs.sync_dir(to)
}

fn copy_file(vfs: &dyn Vfs, from: &Path, to: &Path) -> Result<u64> {
    let (source, target) = (vfs.open(from, Open::ReadOnly)?, vfs.open(to, Open::New)?);
    let mut at = 0;
    loop {
        let chunk = source.read_at(at, CHUNK_BYTES)?;
        if chunk.is_empty() {
            break;
        }
        target.write_at(at, &chunk)?;
        at += chunk.len() as u64;
    }
    target.sync()?;
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::storage::fault::{Fault, FaultVfs, Left};
    use crate::checkpoint::{Checkpoint, Identity, inspect};
    use crate::maintenance::tests::run_three;

    const ROOT: &str = "/a/ckpt";
    const TO: &str = "/b/copy";

    fn open(vfs: &FaultVfs, path: &str) -> Result<CheckpointRoot> {
        CheckpointRoot::open(vfs.shared(), path)
    }

    /// Batches whose staged output is in a file, the last of them not committed.
    fn made() -> FaultVfs {
        let vfs = FaultVfs::default();
        let identity = Identity { time_zone: "UTC".to_owned(), sources: Default::default(), operators: Default::default() };
        let (checkpoint, _) = Checkpoint::open_small(&open(&vfs, ROOT).unwrap(), "q", &identity).unwrap();
        run_three(checkpoint, &[7; 5 << 10], false);
        vfs.after(Left::Everything)
    }

    fn copy(vfs: &FaultVfs) -> Result<Copied> {
        let root = open(vfs, ROOT)?;
        plan_copy(&root, Path::new(TO))?.apply()
    }

    fn below(vfs: &FaultVfs, folder: &str) -> Vec<PathBuf> {
        vfs.files().into_iter().filter(|path| path.starts_with(folder)).collect()
    }

    #[test]
    fn a_copy_is_the_root_without_its_lock() {
        let vfs = made();
        let copied = copy(&vfs).unwrap();
        let files = below(&vfs, TO);
        assert_eq!((copied.path.as_path(), copied.files), (Path::new(TO), files.len() as u64));
        assert!(files.iter().all(|file| !file.ends_with(LOCK) && !file.ends_with(SPARE)), "{files:?}");
        assert!(files.iter().any(|file| file.starts_with("/b/copy/queries/q/stage")), "{files:?}");
        let found = |path: &str| inspect(&vfs.shared(), Path::new(path), "q").unwrap();
        assert_eq!(found(TO), found(ROOT));
        assert!(below(&vfs, "/b/.copy.tmp").is_empty());
        let refused = copy(&vfs).unwrap_err();
        assert!(refused.kind() == ErrorKind::Config && refused.message().contains("a copy replaces nothing"), "{refused}");
    }

    #[test]
    fn places_that_will_not_do_and_damage_are_refused_before_anything_is_written() {
        let vfs = made();
        let root = open(&vfs, ROOT).unwrap();
        for to in ["/a/ckpt", "/a/ckpt/queries/copy", "/a", "/"] {
            assert_eq!(plan_copy(&root, Path::new(to)).unwrap_err().kind(), ErrorKind::Config, "{to}");
        }
        let log = below(&vfs, "/a/ckpt/queries/q/log").into_iter().find(|path| !path.ends_with(SPARE)).unwrap();
        vfs.damage(&log, |bytes| bytes[150] ^= 1).unwrap();
        let operations = vfs.operations();
        let refused = plan_copy(&root, Path::new(TO)).unwrap_err();
        assert_eq!((refused.condition(), vfs.operations()), (Some("CKPT_CORRUPT"), operations), "{refused}");
    }

    #[test]
    fn a_power_cut_at_any_operation_leaves_a_whole_copy_or_none_and_the_root_alone() {
        let whole = made();
        let expected = inspect(&whole.shared(), Path::new(ROOT), "q").unwrap();
        let (mut copies, mut nones) = (0, 0);
        for operation in 0.. {
            let vfs = whole.after(Left::Everything);
            vfs.fail_at(vfs.operations() + operation, Fault::PowerCut);
            let done = copy(&vfs).is_ok();
            for seed in 0..3 {
                let after = vfs.after(Left::Any(seed));
                assert_eq!(inspect(&after.shared(), Path::new(ROOT), "q").unwrap(), expected, "operation {operation}");
                let is_there = exists(&after, Path::new(TO)).unwrap();
                assert!(is_there || !done, "operation {operation}: it is gone");
                (copies, nones) = (copies + u64::from(is_there && !done), nones + u64::from(!is_there));
                if !is_there {
                    copy(&after).unwrap();
                }
                assert_eq!(inspect(&after.shared(), Path::new(TO), "q").unwrap(), expected, "operation {operation}");
                let parts = verify(&open(&after, TO).unwrap()).unwrap();
                assert!(parts.iter().all(|part| part.faults.is_empty()), "operation {operation}: {parts:?}");
            }
            if done {
                break;
            }
        }
        assert!(copies > 0 && nones > 0, "{copies} {nones}");
    }
}
