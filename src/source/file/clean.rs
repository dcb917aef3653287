//! What becomes of files that were read.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tracing::warn;

use super::taken::Taken;
use crate::error::{Attempt, Error, ErrorKind, Result};

/// What becomes of a file once the batch that read the last of it is committed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CleanSource {
    /// It stays.
    #[default]
    Off,
    /// It is moved into this folder, keeping its place below the source's path. A name that is taken gets `.1`, `.2`, … appended.
    Archive(PathBuf),
    /// It is deleted.
    Delete,
}

impl CleanSource {
    /// Refuses an archive whose files would be read again, and makes its folder.
    pub(super) fn open(&self, base: &Path) -> Result<Self> {
        let Self::Archive(archive) = self else { return Ok(self.clone()) };
        let attempt = || format!("make the archive folder {}", archive.display());
        let archive = std::path::absolute(archive).attempting(ErrorKind::Config, attempt)?;
        if archive == base || base.starts_with(&archive) {
            return Err(Error::config(format!("the archive {} is where the source reads", archive.display())));
        }
        std::fs::create_dir_all(&archive).attempting(ErrorKind::Config, attempt)?;
        Ok(Self::Archive(archive))
    }

    /// Cleans up one file. A failure is a warning: the rows are out, and the file is not read again.
    pub(super) fn clean(&self, taken: &Taken, base: &Path) {
        if *self == Self::Off {
            return;
        }
        let file = Path::new(&*taken.path);
        // Something else under the same name was not read.
        if !std::fs::metadata(file).is_ok_and(|now| taken.is_still(&now)) {
            return;
        }
        let done = match self {
            Self::Off => Ok(()),
            Self::Delete => std::fs::remove_file(file),
            Self::Archive(archive) => move_to(file, &archive.join(file.strip_prefix(base).unwrap_or(file))),
        };
        match done {
            // Done before a restart.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => warn!(file = %file.display(), %cause, "a file that was read could not be cleaned up"),
            Ok(()) => {}
        }
    }
}

fn move_to(file: &Path, target: &Path) -> io::Result<()> {
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut free = target.to_owned();
    for number in 1..=NAMES_MAX {
        match move_new(file, &free) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                let mut name = target.as_os_str().to_owned();
                name.push(format!(".{number}"));
                free = name.into();
            }
            done => return done,
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} has too many namesakes", target.display())))
}

fn move_new(file: &Path, target: &Path) -> io::Result<()> {
    match renameat_with(CWD, file, CWD, target, RenameFlags::NOREPLACE) {
        Err(Errno::XDEV) => copy_to(file, target),
        done => Ok(done?),
    }
}

const NAMES_MAX: u32 = 10_000;

/// The archive is on another file system: the file is removed only once its copy is there for good.
fn copy_to(file: &Path, target: &Path) -> io::Result<()> {
    let mut copy = std::fs::OpenOptions::new().write(true).create_new(true).open(target)?;
    io::copy(&mut std::fs::File::open(file)?, &mut copy)?;
    copy.sync_all()?;
    std::fs::remove_file(file)
}
