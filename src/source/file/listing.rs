//! Which files there are.
//!
//! A path is a folder (its files), a glob, or a single file. Names starting `_` or `.` or ending `.tmp` are somebody's work in
//! progress and left alone, and so is what lies in folders with such names.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use crate::error::{Attempt, Error, ErrorKind, Result};

/// A file as a listing saw it. Ordered as files are read: by modification time, then by path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Found {
    pub(super) mtime_ns: i64,
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) inode: u64,
}

impl Found {
    pub(super) fn new(path: String, metadata: &Metadata) -> Self {
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Self { mtime_ns, path, size: metadata.len(), inode: metadata.ino() }
    }
}

/// Where a source looks for files.
#[derive(Debug)]
pub(super) enum Place {
    File(PathBuf),
    Folder(PathBuf),
    Glob { base: PathBuf, pattern: GlobMatcher, depth_max: usize },
}

/// Deepest folder that `**` descends to.
const DEPTH_MAX: usize = 64;

impl Place {
    /// Refuses a path that is not there: a misspelt folder would otherwise look like one without files.
    pub(super) fn new(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).attempting(ErrorKind::Config, || format!("resolve the path {}", path.display()))?;
        match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => {
                readable(&path)?;
                return Ok(Self::Folder(path));
            }
            Ok(_) => return Ok(Self::File(path)),
            Err(_) if is_glob(&path) => {}
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::config(format!("there is no file or folder {}", path.display())));
            }
            Err(cause) => return Err(Error::config(format!("could not read {}", path.display())).because(cause)),
        }
        let base: PathBuf = path.components().take_while(|part| !is_glob(Path::new(part))).collect();
        if !base.is_dir() {
            let message = format!("there is no folder {}, where the files of {} would be", base.display(), path.display());
            return Err(Error::config(message));
        }
        readable(&base)?;
        let text = path.to_str().ok_or_else(|| Error::config(format!("the path {} is not UTF-8", path.display())))?;
        let glob = GlobBuilder::new(text).literal_separator(true).build();
        let pattern = glob.map_err(|cause| Error::config(format!("{text} is not a glob")).because(cause))?.compile_matcher();
        let rest = path.components().skip(base.components().count());
        let parts: Vec<Component<'_>> = rest.collect();
        let endless = parts.iter().any(|part| part.as_os_str() == "**");
        Ok(Self::Glob { base, pattern, depth_max: if endless { DEPTH_MAX } else { parts.len() } })
    }

    /// Every file that is there now, in reading order, except what lies below `except` and what is known already: that is not even
    /// examined, which is most of the work.
    pub(super) fn list(&self, except: Option<&Path>, is_known: &dyn Fn(&Path) -> bool) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        match self {
            Self::File(path) if is_known(path) => {}
            Self::File(path) => add(path, &mut found)?,
            Self::Folder(folder) => walk(folder, 1, except, &|path| !is_known(path), &mut found)?,
            Self::Glob { base, pattern, depth_max } => {
                walk(base, *depth_max, except, &|path| pattern.is_match(path) && !is_known(path), &mut found)?;
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The folder that all files lie in or below.
    pub(super) fn base(&self) -> &Path {
        match self {
            Self::File(path) => path.parent().unwrap_or(path),
            Self::Folder(base) | Self::Glob { base, .. } => base,
        }
    }
}

fn readable(folder: &Path) -> Result<()> {
    std::fs::read_dir(folder).attempting(ErrorKind::Config, || format!("list the folder {}", folder.display())).map(drop)
}

fn is_glob(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.contains(['*', '?', '[', '{']))
}

fn is_left_alone(name: &str) -> bool {
    name.starts_with(['_', '.']) || name.ends_with(".tmp")
}

fn walk(
    folder: &Path,
    depth_left: usize,
    except: Option<&Path>,
    wanted: &dyn Fn(&Path) -> bool,
    found: &mut Vec<Found>,
) -> Result<()> {
    let attempt = || format!("list the folder {}", folder.display());
    for entry in std::fs::read_dir(folder).attempting(ErrorKind::Unavailable, attempt)? {
        let entry = entry.attempting(ErrorKind::Unavailable, attempt)?;
        let name = entry.file_name();
        // A name that is not UTF-8 could not be written into an offset.
        let Some(name) = name.to_str() else { continue };
        let path = entry.path();
        if is_left_alone(name) || except == Some(path.as_path()) {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if depth_left > 1 {
                walk(&path, depth_left - 1, except, wanted, found)?;
            }
        } else if wanted(&path) {
            add(&path, found)?;
        }
    }
    Ok(())
}

fn add(path: &Path, found: &mut Vec<Found>) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {
            let text = path.to_str().ok_or_else(|| Error::config(format!("the path {} is not UTF-8", path.display())))?;
            found.push(Found::new(text.to_owned(), &metadata));
            Ok(())
        }
        // A link to a folder, a pipe; or it was removed since the folder was read.
        Ok(_) => Ok(()),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(cause).attempting(ErrorKind::Unavailable, || format!("examine the file {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists `path` within a folder that holds `files`.
    fn list(path: &str, files: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let file = folder.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "x").unwrap();
        }
        let listed =
            Place::new(&folder.path().join(path)).and_then(|place| place.list(Some(&folder.path().join("archive")), &|_| false));
        let base = format!("{}/", folder.path().display());
        match listed {
            Ok(found) => {
                let mut names: Vec<&str> = found.iter().map(|found| found.path.strip_prefix(&base).unwrap()).collect();
                names.sort_unstable();
                names.join(" ")
            }
            Err(error) => error.chain().replace(&base, ""),
        }
    }

    #[test]
    fn a_folder_gives_its_files_but_not_work_in_progress() {
        assert_eq!(list("", &["b.json", "a.json", "_a", ".a", "a.tmp", "in/c.json"]), "a.json b.json");
    }

    #[test]
    fn a_glob_gives_what_matches() {
        let files = ["a.json", "b.csv", "d/c.json", "d/e/f.json", "d/_e/g.json", "archive/h.json"];
        assert_eq!(list("*.json", &files), "a.json");
        assert_eq!(list("*/*.json", &files), "d/c.json");
        assert_eq!(list("**/*.json", &files), "a.json d/c.json d/e/f.json");
        assert_eq!(list("{a,b}.*", &files), "a.json b.csv");
    }

    #[test]
    fn a_path_that_exists_is_no_glob() {
        assert_eq!(list("a[1].json", &["a[1].json", "a1.json"]), "a[1].json");
    }

    #[test]
    fn a_path_that_is_not_there_is_refused() {
        assert_eq!(list("nowhere", &[]), "there is no file or folder nowhere");
        assert_eq!(list("nowhere/*.json", &[]), "there is no folder nowhere, where the files of nowhere/*.json would be");
    }
}
