//! The file system as the checkpoint and the ingest log see it.
//!
//! Everything that must survive a crash goes through [`Vfs`], so that a test can stand in for the disk and lose exactly what a
//! power cut may lose. Each call says what is durable after it; whatever it does not say may be gone.

mod local;
mod direct;
pub mod fault;

pub use fault::FaultVfs;
pub use local::LocalVfs;

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};

/// A file system that many own.
pub type SharedVfs = Arc<dyn Vfs>;

/// What stands in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name within the folder.
    pub name: String,
    /// Whether it is a folder itself.
    pub is_dir: bool,
}

/// Whether a name was free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// It was, and is now ours.
    Created,
    /// It was not: nothing was changed.
    AlreadyThere,
}

/// Names in folders. Full disks are [`ErrorKind::NoSpace`], failed syncs [`ErrorKind::Storage`], anything else
/// [`ErrorKind::Unavailable`]; every error names the path.
///
/// # Contract
/// - `move_new` is atomic and replaces nothing.
/// - Changes to names are durable after `sync_dir` of the folder, in `create_dir` at once.
pub trait Folders: Send + Sync + Debug {
    /// Creates a folder and its missing parents, durably. One that is there is fine.
    fn create_dir(&self, dir: &Path) -> Result<()>;
    /// What is in a folder, by name; nothing when there is no such folder.
    fn list(&self, dir: &Path) -> Result<Vec<Entry>>;
    /// Gives a file or folder another name, unless that name is taken.
    fn move_new(&self, from: &Path, to: &Path) -> Result<Publish>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> Result<()>;
    /// Removes a file or an empty folder; one that is not there is fine.
    fn remove(&self, path: &Path) -> Result<()>;
}

/// Files with their contents. Errors as for [`Folders`].
pub trait Vfs: Folders {
    /// A whole file; `None` when it is not there.
    fn read(&self, file: &Path) -> Result<Option<Bytes>>;
    /// Creates a file with these contents, which are durable when the call returns; its name is not before `sync_dir`. A name that
    /// is taken is an error.
    fn write_new(&self, file: &Path, bytes: &[u8]) -> Result<()>;
    /// Opens a file for reading and writing at positions.
    fn open(&self, file: &Path, how: Open) -> Result<Arc<dyn LogFile>>;
    /// Takes the lock file of a folder, creating it, and writes `owner` into it; held until dropped.
    fn lock(&self, file: &Path, owner: &str) -> Result<Lock>;
    /// Refuses a folder whose file system cannot be trusted with locks and create-only names.
    fn check_lockable(&self, dir: &Path) -> Result<()>;
}

/// How [`Vfs::open`] treats the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// It must be free.
    New,
    /// It must be there.
    Existing,
    /// It must be there, and is not written.
    ReadOnly,
}

/// A file that is written at positions, by one writer. All methods may be called from several threads: a sync covers what was written
/// before it began.
#[expect(clippy::len_without_is_empty, reason = "a preallocated file is never empty, and asking may fail")]
pub trait LogFile: Send + Sync + Debug {
    /// Its length in bytes.
    fn len(&self) -> Result<u64>;
    /// Up to `len` bytes from `offset`; fewer only at the end of the file.
    fn read_at(&self, offset: u64, len: usize) -> Result<Bytes>;
    /// Writes all of `bytes` at `offset`, making the file longer where needed.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;
    /// Writes all of `parts` one behind the other from `offset` on, as [`LogFile::write_at`] would.
    fn write_parts_at(&self, offset: u64, parts: &[Bytes]) -> Result<()> {
        let mut at = offset;
        for part in parts {
            self.write_at(at, part)?;
            at += part.len() as u64;
        }
        Ok(())
    }
    /// Makes contents and length durable (`fdatasync`). A failure is final: what was written may be gone, so it is never retried.
    fn sync(&self) -> Result<()>;
}

/// What became of [`Vfs::lock`].
#[derive(Debug)]
pub enum Lock {
    /// Ours until dropped.
    Held(Box<dyn LockFile>),
    /// Another's; the text it left in the file.
    Taken(String),
}

/// A lock that is held.
pub trait LockFile: Send + Sync + Debug {
    /// Whether the locked file is still the one under that name: someone may have deleted it and locked a new one.
    fn is_held(&self) -> Result<bool>;
}

/// Creates a file so that it is either not there or there with all its contents, durably, through a temporary name beside it.
pub fn publish(vfs: &dyn Vfs, file: &Path, bytes: &[u8]) -> Result<Publish> {
    let (dir, name) = split(file)?;
    let temporary = dir.join(format!(".{name}.tmp"));
    // Left by a crash; names under a root are ours alone.
    vfs.remove(&temporary)?;
    vfs.write_new(&temporary, bytes)?;
    let outcome = vfs.move_new(&temporary, file)?;
    match outcome {
        Publish::Created => vfs.sync_dir(dir)?,
        Publish::AlreadyThere => vfs.remove(&temporary)?,
    }
    Ok(outcome)
}

/// Writes zeros from `from` up to `to`, so that later writes there need no new space; not synced.
pub fn preallocate(file: &dyn LogFile, from: u64, to: u64) -> Result<()> {
    const ZEROS: &[u8] = &[0; 256 * 1024];
    let mut at = from;
    while at < to {
        let len = usize::try_from(to - at).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_at(at, &ZEROS[..len])?;
        at += len as u64;
    }
    Ok(())
}

/// Whether a file or folder of that name is there.
pub fn exists(vfs: &dyn Vfs, path: &Path) -> Result<bool> {
    let (dir, name) = split(path)?;
    Ok(vfs.list(dir)?.iter().any(|entry| entry.name == name))
}

/// Removes a folder with all that is in it.
pub fn remove_tree(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    for entry in vfs.list(dir)? {
        let path = dir.join(&entry.name);
        if entry.is_dir { remove_tree(vfs, &path)? } else { vfs.remove(&path)? }
    }
    vfs.remove(dir)
}

/// A file name for a name of the user's: what is no letter, digit, `_` or `-` becomes `%XX`, dots within are kept.
pub fn file_name(name: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' || (byte == b'.' && at > 0) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    encoded
}

fn split(path: &Path) -> Result<(&Path, &str)> {
    match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        (Some(dir), Some(name)) => Ok((dir, name)),
        _ => Err(Error::internal(format!("{} is no file name", path.display()))),
    }
}

/// An error of the operating system on `path`, by kind.
fn failed(attempt: &str, path: &Path, cause: std::io::Error) -> Error {
    let kind = match cause.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("could not {attempt} {}", path.display())).because(cause)
}

/// A sync that failed: the kernel may have dropped what was written, so nobody may go on.
fn sync_failed(path: &Path, cause: std::io::Error) -> Error {
    Error::new(ErrorKind::Storage, format!("could not make {} durable", path.display())).because(cause)
}

/// An absolute path, so that a later change of the working directory moves nothing.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|cause| failed("resolve", path, cause))
}
