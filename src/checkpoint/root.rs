//! The folder that one process owns: a log per query, an ingest log per source, and one lock over both.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::storage::{LocalVfs, Lock, LockFile, Publish, SharedVfs, absolute, file_name, remove_tree};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};

/// A checkpoint folder that this process has locked. Clones share the lock, which is released with the last of them.
#[derive(Debug, Clone)]
pub struct CheckpointRoot {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    vfs: SharedVfs,
    path: PathBuf,
    lock: Box<dyn LockFile>,
    is_temporary: bool,
    open_queries: Mutex<BTreeSet<String>>,
}

impl CheckpointRoot {
    /// Creates the folder where needed and locks it. A folder that another process (or this one) has open is
    /// [`ErrorKind::Fenced`], naming the owner; one on a network file system is [`ErrorKind::Config`].
    pub fn open(vfs: SharedVfs, path: impl AsRef<Path>) -> Result<Self> {
        Self::open_as(vfs, path.as_ref(), false)
    }

    /// The same for a folder that must be a root already; any other is [`ErrorKind::Config`].
    pub fn open_existing(vfs: SharedVfs, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if !vfs.list(&absolute(path)?)?.iter().any(|entry| entry.is_dir && entry.name == QUERIES) {
            return Err(Error::config(format!("{} is no checkpoint root: it has no folder {QUERIES}", path.display())));
        }
        Self::open_as(vfs, path, false)
    }

    /// A root for a pipeline without `checkpoint:`, which [`CheckpointRoot::finish`] removes. No restart looks for it, so it never waits
    /// for the disk.
    pub fn temporary() -> Result<Self> {
        let made = tempfile::Builder::new().prefix("tidemill-").tempdir();
        let path =
            made.map_err(|cause| Error::new(ErrorKind::Unavailable, "could not create a temporary folder").because(cause))?;
        Self::open_as(LocalVfs::volatile(), &path.keep(), true)
    }

    fn open_as(vfs: SharedVfs, path: &Path, is_temporary: bool) -> Result<Self> {
        let path = absolute(path)?;
        vfs.create_dir(&path)?;
        vfs.check_lockable(&path)?;
        let lock = lock(&vfs, &path)?;
        for folder in [SOURCES, QUERIES] {
            vfs.create_dir(&path.join(folder))?;
        }
        Ok(Self { inner: Arc::new(Inner { vfs, path, lock, is_temporary, open_queries: Mutex::default() }) })
    }

    /// Moves the root at `path` out of the way, for a fresh start: its new name, or `None` when there was none. A root that is in
    /// use is [`ErrorKind::Fenced`].
    pub fn archive(vfs: &SharedVfs, path: impl AsRef<Path>) -> Result<Option<PathBuf>> {
        let path = absolute(path.as_ref())?;
        if vfs.list(&path)?.is_empty() {
            return Ok(None);
        }
        vfs.check_lockable(&path)?;
        let _held = lock(vfs, &path)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Err(Error::config(format!("{} cannot be moved aside", path.display())));
        };
        let time = now_text("%Y%m%dT%H%M%SZ");
        for attempt in 1..=ARCHIVES_PER_SECOND_MAX {
            let suffix = if attempt == 1 { String::new() } else { format!("-{attempt}") };
            let aside = parent.join(format!("{name}.{time}{suffix}"));
            if vfs.move_new(&path, &aside)? == Publish::Created {
                vfs.sync_dir(parent)?;
                return Ok(Some(aside));
            }
        }
        Err(Error::new(ErrorKind::Unavailable, format!("no free name to move {} to", path.display())))
    }

    /// The absolute path of the root.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The file system that the root is on.
    pub fn vfs(&self) -> &SharedVfs {
        &self.inner.vfs
    }

    /// The folder of a source's ingest log, created where needed.
    pub fn source_dir(&self, source: &str) -> Result<PathBuf> {
        let dir = self.inner.path.join(SOURCES).join(file_name(source));
        self.inner.vfs.create_dir(&dir)?;
        Ok(dir)
    }

    /// The folders of sources that have one, by name: of an ingest log (`orders`) or of a query's list of files (`total.orders`).
    pub fn source_dirs(&self) -> Result<Vec<(String, PathBuf)>> {
        let sources = self.inner.path.join(SOURCES);
        let entries = self.inner.vfs.list(&sources)?;
        Ok(entries.into_iter().filter(|entry| entry.is_dir).map(|entry| (entry.name.clone(), sources.join(entry.name))).collect())
    }

    /// The queries that have a checkpoint here, as their folders are named.
    pub fn queries(&self) -> Result<Vec<String>> {
        queries(&self.inner.vfs, &self.inner.path)
    }

    /// Ends cleanly: a temporary root is removed, any other left as it is. The lock goes with the last clone.
    pub fn finish(self) -> Result<()> {
        if self.inner.is_temporary { remove_tree(self.inner.vfs.as_ref(), &self.inner.path) } else { Ok(()) }
    }

    /// Whether this process still owns the root; else [`ErrorKind::Fenced`]. Asked before each decision.
    pub fn check_owned(&self) -> Result<()> {
        if self.inner.lock.is_held()? {
            return Ok(());
        }
        let lock = self.inner.path.join(LOCK);
        let owner = self.inner.vfs.read(&lock)?.map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
        Err(Error::spark(
            ErrorKind::Fenced,
            "FENCED",
            format!("the lock {} was removed or replaced while it was held{}", lock.display(), describe(&owner)),
        ))
    }

    /// Claims a query for one engine of this process.
    pub(super) fn claim(&self, query: &str) -> Result<Claim> {
        let mut open = self.inner.open_queries.lock().unwrap_or_else(PoisonError::into_inner);
        if !open.insert(query.to_owned()) {
            return Err(Error::spark(ErrorKind::Fenced, "FENCED", format!("query {query} is already open in this process")));
        }
        Ok(Claim { root: self.clone(), query: query.to_owned() })
    }
}

/// The queries that have a checkpoint under `root`, without opening it.
pub(super) fn queries(vfs: &SharedVfs, root: &Path) -> Result<Vec<String>> {
    let entries = vfs.list(&root.join(QUERIES))?;
    Ok(entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect())
}

/// The folder of a query's checkpoint.
pub(super) fn query_dir(root: &Path, query: &str) -> PathBuf {
    root.join(QUERIES).join(file_name(query))
}

/// A query that this process has open; freed on drop.
#[derive(Debug)]
pub(super) struct Claim {
    root: CheckpointRoot,
    query: String,
}

impl Claim {
    pub(super) fn root(&self) -> &CheckpointRoot {
        &self.root
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.root.inner.open_queries.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.query);
    }
}

const LOCK: &str = "lock";
const SOURCES: &str = "sources";
const QUERIES: &str = "queries";
const ARCHIVES_PER_SECOND_MAX: usize = 100;

fn lock(vfs: &SharedVfs, root: &Path) -> Result<Box<dyn LockFile>> {
    let host = kernel_text("hostname");
    let boot = kernel_text("random/boot_id");
    let since = now_text("%Y-%m-%dT%H:%M:%SZ");
    let owner = format!("pid {}\nhost {host}\nboot {boot}\nsince {since}\n", std::process::id());
    match vfs.lock(&root.join(LOCK), &owner)? {
        Lock::Held(lock) => Ok(lock),
        Lock::Taken(owner) => {
            Err(Error::spark(ErrorKind::Fenced, "FENCED", format!("checkpoint {} is in use{}", root.display(), describe(&owner))))
        }
    }
}

/// ` by process 4711 on mill since 2026-…` from the text of a lock file.
fn describe(owner: &str) -> String {
    let field = |name: &str| owner.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    match (field("pid"), field("host"), field("since")) {
        (Some(pid), Some(host), Some(since)) => format!(" by process {pid} on {host} since {since}"),
        _ => String::new(),
    }
}

/// What the kernel says about this machine; only shown to people, so that it may be missing.
pub(crate) fn kernel_text(name: &str) -> String {
    let text = std::fs::read_to_string(Path::new("/proc/sys/kernel").join(name)).unwrap_or_default();
    if text.trim().is_empty() { "unknown".to_owned() } else { text.trim().to_owned() }
}

fn now_text(format: &str) -> String {
    let now = chrono::DateTime::from_timestamp_micros(SystemClock.now_us()).unwrap_or_default();
    now.format(format).to_string()
}
