//! The local file system.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as IoKind, IoSlice, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{FlockOperation, RenameFlags};

use super::direct;
use super::{Entry, Folders, Lock, LockFile, LogFile, Open, Publish, Vfs, failed, sync_failed};
use crate::error::{Error, Result};

/// Files and folders of the operating system, created for their owner only (0600, 0700).
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalVfs {
    syncs: Syncs,
}

/// What becomes of the calls that wait for the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Syncs {
    #[default]
    Done,
    LeftOut,
}

impl LocalVfs {
    /// Everything that is to survive a crash of the machine does.
    pub fn shared() -> super::SharedVfs {
        Arc::new(Self::default())
    }

    /// For what nobody looks for after a crash of the machine: never waits for the disk.
    pub fn volatile() -> super::SharedVfs {
        Arc::new(Self { syncs: Syncs::LeftOut })
    }
}

impl Folders for LocalVfs {
    fn create_dir(&self, dir: &Path) -> Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        if let Some(parent) = parent_of(dir) {
            let named =
                |cause: Error| Error::new(cause.kind(), format!("could not create the folder {}", dir.display())).because(cause);
            self.create_dir(parent).map_err(named)?;
        }
        match std::fs::DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => parent_of(dir).map_or(Ok(()), |parent| self.sync_dir(parent)),
            Err(cause) if cause.kind() == IoKind::AlreadyExists && dir.is_dir() => Ok(()),
            Err(cause) if cause.kind() == IoKind::AlreadyExists => Err(Error::config(format!("{} is no folder", dir.display()))),
            Err(cause) => Err(failed("create the folder", dir, cause)),
        }
    }

    fn list(&self, dir: &Path) -> Result<Vec<Entry>> {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == IoKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(failed("list the folder", dir, cause)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|cause| failed("list the folder", dir, cause))?;
            let is_dir = entry.file_type().map_err(|cause| failed("list the folder", dir, cause))?.is_dir();
            // A name that is not text is none of ours.
            if let Some(name) = entry.file_name().to_str() {
                found.push(Entry { name: name.to_owned(), is_dir });
            }
        }
        found.sort();
        Ok(found)
    }

    fn move_new(&self, from: &Path, to: &Path) -> Result<Publish> {
        match rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(Publish::Created),
            Err(rustix::io::Errno::EXIST) => Ok(Publish::AlreadyThere),
            // Some file systems have no such rename; a hard link does not replace either.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => link_new(from, to),
            Err(cause) => Err(failed("move a file to", to, cause.into())),
        }
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        if self.syncs == Syncs::LeftOut {
            return Ok(());
        }
        let folder = File::open(dir).map_err(|cause| failed("open the folder", dir, cause))?;
        folder.sync_all().map_err(|cause| sync_failed(dir, cause))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let removed = match std::fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => std::fs::remove_dir(path),
            Ok(_) => std::fs::remove_file(path),
            Err(cause) => Err(cause),
        };
        match removed {
            Err(cause) if cause.kind() != IoKind::NotFound => Err(failed("remove", path, cause)),
            _ => Ok(()),
        }
    }
}

impl Vfs for LocalVfs {
    fn read(&self, file: &Path) -> Result<Option<Bytes>> {
        match std::fs::read(file) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(cause) if cause.kind() == IoKind::NotFound => Ok(None),
            Err(cause) => Err(failed("read", file, cause)),
        }
    }

    fn write_new(&self, file: &Path, bytes: &[u8]) -> Result<()> {
        let written = direct::write_new(file, bytes, 0o600).and_then(|written| match written {
            Some(handle) => Ok(handle),
            None => {
                let mut handle = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
                handle.write_all(bytes)?;
                Ok(handle)
            }
        });
        let handle = written.map_err(|cause| failed("write", file, cause))?;
        match self.syncs {
            Syncs::Done => handle.sync_all().map_err(|cause| sync_failed(file, cause)),
            Syncs::LeftOut => Ok(()),
        }
    }

    fn open(&self, file: &Path, how: Open) -> Result<Arc<dyn LogFile>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        match how {
            Open::New => options.write(true).create_new(true),
            Open::Existing => options.write(true),
            Open::ReadOnly => &mut options,
        };
        let handle = options.open(file).map_err(|cause| failed("open", file, cause))?;
        Ok(Arc::new(LocalLog { handle, path: file.to_owned(), syncs: self.syncs }))
    }

    fn lock(&self, file: &Path, owner: &str) -> Result<Lock> {
        for _ in 0..LOCK_TRIES {
            let handle = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(file);
            let handle = handle.map_err(|cause| failed("open the lock", file, cause))?;
            match rustix::fs::flock(&handle, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Ok(Lock::Taken(std::fs::read_to_string(file).unwrap_or_default()));
                }
                Err(cause) => return Err(failed("lock", file, cause.into())),
            }
            let held = LocalLock { handle, path: file.to_owned() };
            // Between opening and locking, the owner before may have removed the file.
            if held.is_held()? {
                held.handle.set_len(0).map_err(|cause| failed("write", file, cause))?;
                held.handle.write_all_at(owner.as_bytes(), 0).map_err(|cause| failed("write", file, cause))?;
                return Ok(Lock::Held(Box::new(held)));
            }
        }
        Err(Error::internal(format!("{} is removed as often as it is locked", file.display())))
    }

    #[cfg(target_os = "linux")]
    fn check_lockable(&self, dir: &Path) -> Result<()> {
        let found = rustix::fs::statfs(dir).map_err(|cause| failed("examine the file system of", dir, cause.into()))?;
        let magic = found.f_type as u64 & 0xFFFF_FFFF;
        match NETWORK_FILE_SYSTEMS.iter().find(|(known, _)| *known == magic) {
            None => Ok(()),
            Some((_, name)) => Err(Error::config(format!(
                "{} is on {name}, a network file system, whose locks cannot be trusted: choose a checkpoint folder on a local disk",
                dir.display()
            ))),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn check_lockable(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }
}

const LOCK_TRIES: usize = 16;

/// `f_type` of the file systems that are refused.
#[cfg(target_os = "linux")]
const NETWORK_FILE_SYSTEMS: &[(u64, &str)] = &[
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x5346_414F, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00C3_6400, "Ceph"),
    (0x0102_1997, "9P"),
    (0x0BD0_0BD0, "Lustre"),
    (0x0116_1970, "GFS2"),
    (0x7461_636F, "OCFS2"),
    (0x4750_4653, "GPFS"),
];

/// Most that the kernel takes with one call (`IOV_MAX`).
const PARTS_AT_ONCE: usize = 1024;

#[derive(Debug)]
struct LocalLog {
    handle: File,
    path: PathBuf,
    syncs: Syncs,
}

impl LogFile for LocalLog {
    fn len(&self) -> Result<u64> {
        Ok(self.handle.metadata().map_err(|cause| failed("examine", &self.path, cause))?.len())
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        let left = self.len()?.saturating_sub(offset);
        let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(len)];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.handle.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(cause) if cause.kind() == IoKind::Interrupted => {}
                Err(cause) => return Err(failed("read", &self.path, cause)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes.into())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.handle.write_all_at(bytes, offset).map_err(|cause| failed("write", &self.path, cause))
    }

    fn write_parts_at(&self, offset: u64, parts: &[Bytes]) -> Result<()> {
        let mut at = offset;
        for parts in parts.chunks(PARTS_AT_ONCE) {
            let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
            let mut left = slices.as_mut_slice();
            IoSlice::advance_slices(&mut left, 0);
            while !left.is_empty() {
                match rustix::io::pwritev(&self.handle, left, at) {
                    Ok(0) => return Err(failed("write", &self.path, IoKind::WriteZero.into())),
                    Ok(written) => {
                        IoSlice::advance_slices(&mut left, written);
                        at += written as u64;
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(cause) => return Err(failed("write", &self.path, cause.into())),
                }
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        match self.syncs {
            Syncs::Done => self.handle.sync_data().map_err(|cause| sync_failed(&self.path, cause)),
            Syncs::LeftOut => Ok(()),
        }
    }
}

#[derive(Debug)]
struct LocalLock {
    handle: File,
    path: PathBuf,
}

impl LockFile for LocalLock {
    fn is_held(&self) -> Result<bool> {
        let ours = self.handle.metadata().map_err(|cause| failed("examine the lock", &self.path, cause))?;
        match std::fs::metadata(&self.path) {
            Ok(found) => Ok(ours.nlink() == 1 && found.ino() == ours.ino() && found.dev() == ours.dev()),
            Err(cause) if cause.kind() == IoKind::NotFound => Ok(false),
            Err(cause) => Err(failed("examine the lock", &self.path, cause)),
        }
    }
}

fn link_new(from: &Path, to: &Path) -> Result<Publish> {
    match std::fs::hard_link(from, to) {
        Ok(()) => {
            std::fs::remove_file(from).map_err(|cause| failed("remove", from, cause))?;
            Ok(Publish::Created)
        }
        Err(cause) if cause.kind() == IoKind::AlreadyExists => Ok(Publish::AlreadyThere),
        Err(cause) => Err(failed("move a file to", to, cause)),
    }
}

/// The parent, unless that is the working directory by its empty name.
fn parent_of(dir: &Path) -> Option<&Path> {
    dir.parent().filter(|parent| parent.as_os_str() != OsStr::new(""))
}
