//! A disk in memory that fails on command, for tests.
//!
//! It keeps what was written apart from what was made durable, per file and per name, so that a test can cut the power at any
//! operation and look at what a real disk might have kept: everything, only what was synced, or any part of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error as IoError, ErrorKind as IoKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Entry, Folders, Lock, LockFile, LogFile, Open, Publish, SharedVfs, Vfs, failed, sync_failed};
use crate::error::Result;

/// What goes wrong at an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full for this operation; a sync needs no space and succeeds.
    NoSpace,
    /// A sync fails and what it should have made durable is lost; another operation succeeds.
    SyncFails,
    /// The power goes: a write may be done in part, nothing works any more until [`FaultVfs::after`].
    PowerCut,
}

/// What is left after the power was cut or the process killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// All that was written: only the process died.
    Everything,
    /// Only what was synced.
    Synced,
    /// What was synced, and of the rest any sectors and names, drawn by this seed.
    Any(u64),
}

/// The disk; clones share it.
#[derive(Debug, Clone, Default)]
pub struct FaultVfs {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Clone, Default)]
struct Disk {
    files: BTreeMap<u64, Contents>,
    names: BTreeMap<PathBuf, u64>,
    synced_names: BTreeMap<PathBuf, u64>,
    dirs: BTreeSet<PathBuf>,
    locked: BTreeSet<u64>,
    faults: BTreeMap<u64, Fault>,
    operations: u64,
    syncs: u64,
    is_off: bool,
    files_made: u64,
}

#[derive(Debug, Clone, Default)]
struct Contents {
    current: Vec<u8>,
    synced: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
}

const SECTOR_BYTES: usize = 512;

impl FaultVfs {
    /// As a [`SharedVfs`] of the same disk.
    pub fn shared(&self) -> SharedVfs {
        Arc::new(self.clone())
    }

    /// Lets an operation that changes or syncs something fail; they are counted from 0.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.disk().faults.insert(operation, fault);
    }

    /// Operations so far that changed or synced something.
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// Syncs so far, of files and of folders.
    pub fn syncs(&self) -> u64 {
        self.disk().syncs
    }

    /// The disk as the next process finds it; this one goes on as it is. Faults and locks are gone. What a killed process had not
    /// synced is still not safe from a power cut.
    #[must_use]
    pub fn after(&self, left: Left) -> Self {
        let mut disk = self.disk().clone();
        if left != Left::Everything {
            let mut draw = Draw::new(left);
            for contents in disk.files.values_mut() {
                contents.cut(&mut draw);
            }
            disk.names = disk.surviving_names(&mut draw);
            disk.synced_names.clone_from(&disk.names);
        }
        (disk.locked, disk.faults, disk.operations, disk.syncs, disk.is_off) = Default::default();
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    /// All files, by path.
    pub fn files(&self) -> Vec<PathBuf> {
        self.disk().names.keys().cloned().collect()
    }

    /// Changes the contents of a file behind everyone's back, durably: `None` if there is no such file.
    pub fn damage(&self, file: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Option<()> {
        let mut disk = self.disk();
        let contents = disk.contents(file)?;
        change(&mut contents.current);
        contents.settle();
        Some(())
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation; its fault, if it has one.
    fn begin(&self, attempt: &str, path: &Path) -> Result<(MutexGuard<'_, Disk>, Option<Fault>)> {
        let mut disk = self.disk();
        if disk.is_off {
            return Err(failed(attempt, path, IoError::other("the machine is off")));
        }
        let operation = disk.operations;
        disk.operations += 1;
        let fault = disk.faults.remove(&operation);
        disk.is_off = fault == Some(Fault::PowerCut);
        Ok((disk, fault))
    }

    /// Counts an operation that is done as a whole or not at all.
    fn change(&self, attempt: &str, path: &Path) -> Result<MutexGuard<'_, Disk>> {
        match self.begin(attempt, path)? {
            (disk, None | Some(Fault::SyncFails)) => Ok(disk),
            (_, Some(fault)) => Err(failed(attempt, path, fault.into())),
        }
    }

    /// Counts a sync.
    fn sync(&self, path: &Path, make_durable: impl FnOnce(&mut Disk, Option<Fault>)) -> Result<()> {
        let (mut disk, fault) = self.begin("sync", path)?;
        disk.syncs += 1;
        match fault {
            None | Some(Fault::NoSpace) => {
                make_durable(&mut disk, None);
                Ok(())
            }
            Some(fault) => {
                make_durable(&mut disk, Some(fault));
                Err(sync_failed(path, fault.into()))
            }
        }
    }

    /// Reads what needs no counting.
    fn look(&self, attempt: &str, path: &Path) -> Result<MutexGuard<'_, Disk>> {
        let disk = self.disk();
        if disk.is_off { Err(failed(attempt, path, IoError::other("the machine is off"))) } else { Ok(disk) }
    }
}

impl From<Fault> for IoError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NoSpace => IoKind::StorageFull.into(),
            Fault::SyncFails => IoError::other("input/output error"),
            Fault::PowerCut => IoError::other("the power went"),
        }
    }
}

impl Disk {
    fn contents(&mut self, path: &Path) -> Option<&mut Contents> {
        let id = self.names.get(path)?;
        self.files.get_mut(id)
    }

    fn create(&mut self, path: &Path) -> Result<u64> {
        if self.names.contains_key(path) || self.dirs.contains(path) {
            return Err(failed("create", path, IoKind::AlreadyExists.into()));
        }
        if path.parent().is_some_and(|parent| !self.dirs.contains(parent)) {
            return Err(failed("create", path, IoKind::NotFound.into()));
        }
        let id = self.files_made;
        self.files_made += 1;
        self.files.insert(id, Contents::default());
        self.names.insert(path.to_owned(), id);
        Ok(id)
    }

    /// A name that was neither made nor removed durably may be there or not; a file that was moved has its old name or its new one.
    fn surviving_names(&self, draw: &mut Draw) -> BTreeMap<PathBuf, u64> {
        let by_file = |names: &BTreeMap<PathBuf, u64>| -> BTreeMap<u64, PathBuf> {
            names.iter().map(|(path, id)| (*id, path.clone())).collect()
        };
        let (before, now) = (by_file(&self.synced_names), by_file(&self.names));
        let mut survivors = BTreeMap::new();
        for id in self.files.keys() {
            let (before, now) = (before.get(id), now.get(id));
            let chosen = if before == now || draw.keeps() { now } else { before };
            // A newer file of the same name has a larger number, and wins.
            if let Some(path) = chosen {
                survivors.insert(path.clone(), *id);
            }
        }
        survivors
    }
}

impl Contents {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        overwrite(&mut self.current, offset, bytes);
        self.pending.push((offset, bytes.to_vec()));
    }

    fn sync(&mut self) {
        for (offset, bytes) in std::mem::take(&mut self.pending) {
            overwrite(&mut self.synced, offset, &bytes);
        }
    }

    /// Takes what a power cut leaves.
    fn cut(&mut self, draw: &mut Draw) {
        let mut left = std::mem::take(&mut self.synced);
        for (offset, bytes) in std::mem::take(&mut self.pending) {
            let mut at = 0;
            while at < bytes.len() {
                let until = (at + SECTOR_BYTES - (offset + at) % SECTOR_BYTES).min(bytes.len());
                if draw.keeps() {
                    overwrite(&mut left, offset + at, &bytes[at..until]);
                }
                at = until;
            }
        }
        self.current = left;
        self.settle();
    }

    fn settle(&mut self) {
        self.pending.clear();
        self.synced.clone_from(&self.current);
    }
}

fn overwrite(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if file.len() < offset + bytes.len() {
        file.resize(offset + bytes.len(), 0);
    }
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Decides what survives: nothing, or by splitmix64.
struct Draw(Option<u64>);

impl Draw {
    fn new(left: Left) -> Self {
        match left {
            Left::Any(seed) => Self(Some(seed)),
            Left::Everything | Left::Synced => Self(None),
        }
    }

    fn keeps(&mut self) -> bool {
        let Some(state) = &mut self.0 else { return false };
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 63 == 1
    }
}

impl Folders for FaultVfs {
    fn create_dir(&self, dir: &Path) -> Result<()> {
        if self.look("create the folder", dir)?.dirs.contains(dir) {
            return Ok(());
        }
        let mut disk = self.change("create the folder", dir)?;
        disk.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<Entry>> {
        let disk = self.look("list the folder", dir)?;
        let within = |path: &Path| path.parent() == Some(dir);
        let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let files = disk.names.keys().filter(|path| within(path)).map(|path| Entry { name: name(path), is_dir: false });
        let dirs = disk.dirs.iter().filter(|path| within(path)).map(|path| Entry { name: name(path), is_dir: true });
        let mut entries: Vec<_> = files.chain(dirs).collect();
        entries.sort();
        Ok(entries)
    }

    fn move_new(&self, from: &Path, to: &Path) -> Result<Publish> {
        let mut disk = self.change("move a file to", to)?;
        if disk.names.contains_key(to) || disk.dirs.contains(to) {
            return Ok(Publish::AlreadyThere);
        }
        if disk.dirs.contains(from) {
            let renamed = |path: &Path| path.strip_prefix(from).map_or_else(|_| path.to_owned(), |rest| to.join(rest));
            disk.dirs = disk.dirs.iter().map(|path| renamed(path)).collect();
            disk.names = disk.names.iter().map(|(path, id)| (renamed(path), *id)).collect();
            disk.synced_names = disk.synced_names.iter().map(|(path, id)| (renamed(path), *id)).collect();
            return Ok(Publish::Created);
        }
        let Some(id) = disk.names.remove(from) else {
            return Err(failed("move a file to", to, IoKind::NotFound.into()));
        };
        disk.names.insert(to.to_owned(), id);
        Ok(Publish::Created)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.sync(dir, |disk, fault| {
            if fault.is_none() {
                let within = |path: &PathBuf| path.parent() == Some(dir);
                // A file that came from another folder cannot be in both.
                let arrived: BTreeSet<u64> = disk.names.iter().filter(|(path, _)| within(path)).map(|(_, id)| *id).collect();
                disk.synced_names.retain(|path, id| !within(path) && !arrived.contains(id));
                let kept: Vec<_> =
                    disk.names.iter().filter(|(path, _)| within(path)).map(|(path, id)| (path.clone(), *id)).collect();
                disk.synced_names.extend(kept);
            }
        })
    }

    fn remove(&self, path: &Path) -> Result<()> {
        {
            let disk = self.look("remove", path)?;
            if !disk.names.contains_key(path) && !disk.dirs.contains(path) {
                return Ok(());
            }
        }
        let mut disk = self.change("remove", path)?;
        if disk.names.remove(path).is_none() {
            if disk.names.keys().chain(&disk.dirs).any(|other| other.parent() == Some(path)) {
                return Err(failed("remove", path, IoKind::DirectoryNotEmpty.into()));
            }
            disk.dirs.remove(path);
        }
        Ok(())
    }
}

impl Vfs for FaultVfs {
    fn read(&self, file: &Path) -> Result<Option<Bytes>> {
        let mut disk = self.look("read", file)?;
        Ok(disk.contents(file).map(|contents| Bytes::copy_from_slice(&contents.current)))
    }

    fn write_new(&self, file: &Path, bytes: &[u8]) -> Result<()> {
        let handle = self.open(file, Open::New)?;
        handle.write_at(0, bytes)?;
        handle.sync()
    }

    fn open(&self, file: &Path, how: Open) -> Result<Arc<dyn LogFile>> {
        let id = match how {
            Open::New => self.change("create", file)?.create(file)?,
            Open::Existing | Open::ReadOnly => {
                let disk = self.look("open", file)?;
                *disk.names.get(file).ok_or_else(|| failed("open", file, IoKind::NotFound.into()))?
            }
        };
        Ok(Arc::new(Handle { vfs: self.clone(), id, path: file.to_owned() }))
    }

    fn lock(&self, file: &Path, owner: &str) -> Result<Lock> {
        let mut disk = self.change("lock", file)?;
        let id = match disk.names.get(file) {
            Some(id) => *id,
            None => disk.create(file)?,
        };
        let is_taken = !disk.locked.insert(id);
        let contents = disk.files.entry(id).or_default();
        if is_taken {
            return Ok(Lock::Taken(String::from_utf8_lossy(&contents.current).into_owned()));
        }
        contents.current.clear();
        contents.write(0, owner.as_bytes());
        Ok(Lock::Held(Box::new(HeldLock(Handle { vfs: self.clone(), id, path: file.to_owned() }))))
    }

    fn check_lockable(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }
}

/// An open file.
#[derive(Debug)]
struct Handle {
    vfs: FaultVfs,
    id: u64,
    path: PathBuf,
}

impl LogFile for Handle {
    fn len(&self) -> Result<u64> {
        let disk = self.vfs.look("examine", &self.path)?;
        Ok(disk.files.get(&self.id).map_or(0, |contents| contents.current.len() as u64))
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        let disk = self.vfs.look("read", &self.path)?;
        let bytes = disk.files.get(&self.id).map_or(&[][..], |contents| &contents.current);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        Ok(Bytes::copy_from_slice(&bytes[start..bytes.len().min(start.saturating_add(len))]))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let (mut disk, fault) = self.vfs.begin("write", &self.path)?;
        let written = match fault {
            None | Some(Fault::SyncFails) => bytes,
            Some(Fault::NoSpace | Fault::PowerCut) => &bytes[..bytes.len() / 2],
        };
        disk.files.entry(self.id).or_default().write(usize::try_from(offset).unwrap_or(usize::MAX), written);
        match fault {
            None | Some(Fault::SyncFails) => Ok(()),
            Some(fault) => Err(failed("write", &self.path, fault.into())),
        }
    }

    fn sync(&self) -> Result<()> {
        self.vfs.sync(&self.path, |disk, fault| {
            let contents = disk.files.entry(self.id).or_default();
            match fault {
                None => contents.sync(),
                // The kernel forgets what it could not write.
                Some(Fault::SyncFails) => contents.pending.clear(),
                Some(_) => {}
            }
        })
    }
}

/// A lock, released on drop.
#[derive(Debug)]
struct HeldLock(Handle);

impl LockFile for HeldLock {
    fn is_held(&self) -> Result<bool> {
        let Handle { vfs, id, path } = &self.0;
        Ok(vfs.look("examine the lock", path)?.names.get(path) == Some(id))
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.0.vfs.disk().locked.remove(&self.0.id);
    }
}
