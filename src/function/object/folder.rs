//! Objects that are files below a folder.
//!
//! A path is walked a piece at a time, each opened in the folder before it and never through a link, so that no path leads out of the
//! folder, whatever is renamed meanwhile.

use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use async_trait::async_trait;
use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::Errno;

use super::{Object, Store, Wanted, not_found, rejected};
use crate::function::{CallError, CallErrorKind};
use crate::pipeline::FilePath;

/// The files below a folder.
#[derive(Debug)]
pub(super) struct Folder {
    root: FilePath,
}

impl Folder {
    pub(super) fn new(root: FilePath) -> Self {
        Self { root }
    }
}

#[async_trait]
impl Store for Folder {
    async fn fetch(&self, wanted: Wanted) -> Result<Object, CallError> {
        let root = self.root.clone();
        let read = tokio::task::spawn_blocking(move || read(&root, &wanted));
        read.await.map_err(|error| CallError::new(CallErrorKind::Defect, error.to_string()))?
    }
}

fn read(root: &FilePath, wanted: &Wanted) -> Result<Object, CallError> {
    let mut file = File::from(find(root, &wanted.key)?);
    let metadata = file.metadata().map_err(|error| unavailable(&error))?;
    if !metadata.is_file() {
        return Err(rejected("not a file"));
    }
    let mut object = Object {
        content: bytes::Bytes::new(),
        size: metadata.len(),
        etag: Some(etag(&metadata)),
        modified_us: Some(modified_us(&metadata)),
    };
    if !wanted.content {
        return Ok(object);
    }
    let range = match wanted.range {
        Some(range) => range.of(object.size).ok_or_else(outside)?,
        None => 0..object.size,
    };
    let bytes = range.end - range.start;
    wanted.admit(bytes)?;
    let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    let mut read = || {
        file.seek(SeekFrom::Start(range.start))?;
        // A file may grow while it is read.
        (&file).take(bytes).read_to_end(&mut content)
    };
    read().map_err(|error| unavailable(&error))?;
    if content.len() as u64 != bytes {
        return Err(CallError::new(CallErrorKind::Unavailable, "it became shorter while it was read"));
    }
    object.content = content.into();
    Ok(object)
}

/// The range has nothing of the object.
pub(super) fn outside() -> CallError {
    rejected("the range lies outside of the object")
}

/// Opens a file below `root`.
fn find(root: &FilePath, key: &str) -> Result<OwnedFd, CallError> {
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = open(&**root, folder, Mode::empty()).map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR => CallError::new(CallErrorKind::Config, format!("there is no folder {root}")),
        other => unavailable(&other.into()),
    })?;
    let (folders, name) = key.rsplit_once('/').map_or((None, key), |(folders, name)| (Some(folders), name));
    for piece in folders.iter().flat_map(|folders| folders.split('/')) {
        at = openat(&at, piece, folder | OFlags::NOFOLLOW, Mode::empty()).map_err(meaning)?;
    }
    // Without waiting: a pipe would be opened when somebody writes to it.
    let file = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(&at, name, file, Mode::empty()).map_err(meaning)
}

fn meaning(error: Errno) -> CallError {
    match error {
        Errno::NOENT | Errno::NOTDIR => not_found(),
        Errno::LOOP => rejected("it is a link, and links are not followed"),
        Errno::ACCESS | Errno::PERM => rejected("it may not be read"),
        Errno::NAMETOOLONG | Errno::INVAL | Errno::NXIO => rejected("no file can have this name"),
        other => unavailable(&other.into()),
    }
}

fn unavailable(error: &std::io::Error) -> CallError {
    CallError::new(CallErrorKind::Unavailable, format!("it could not be read: {error}"))
}

/// Another one when the file was replaced or written.
fn etag(metadata: &Metadata) -> String {
    format!("{:x}-{:x}-{:x}", metadata.ino(), modified_us(metadata), metadata.len())
}

fn modified_us(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000).saturating_add(metadata.mtime_nsec() / 1000)
}
