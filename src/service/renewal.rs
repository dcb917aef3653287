//! What listeners read from files follows them: tokens and certificates are exchanged without a restart.
//!
//! Files are looked at again and again instead of watched: it works for every way in which a file is exchanged (written over, renamed,
//! a link to a folder turned elsewhere) and on every file system.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::ListenerStats;
use crate::error::Result;

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Something that was read from files.
pub(crate) trait Renewed: Send {
    /// The files.
    fn files(&self) -> Vec<PathBuf>;
    /// Reads them again. What was read before stays in force if that fails.
    fn renew(&self) -> Result<()>;
}

/// What tells one version of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    place: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let found = std::fs::metadata(file).ok()?;
        Some(Self {
            place: (found.dev(), found.ino()),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// One thing that was read, and what its files looked like then.
struct Followed {
    renewed: Box<dyn Renewed>,
    seen: Vec<Option<Stamp>>,
    /// Why the newest version cannot be used.
    trouble: Option<String>,
}

impl Followed {
    fn new(renewed: Box<dyn Renewed>) -> Self {
        let seen = stamps(renewed.as_ref());
        Self { renewed, seen, trouble: None }
    }

    /// Reads the files again if they have changed or could not be used.
    fn look(&mut self, listener: &str, stats: &ListenerStats) {
        // Before they are read: what changes meanwhile is seen the next time.
        let now = stamps(self.renewed.as_ref());
        if now == self.seen && self.trouble.is_none() {
            return;
        }
        self.seen = now;
        match self.renewed.renew() {
            Ok(()) => {
                stats.renewals.fetch_add(1, Ordering::Relaxed);
                self.trouble = None;
                let files = self.renewed.files().iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
                info!(listener, files, "read again");
            }
            Err(error) => {
                let why = error.chain();
                if self.trouble.as_ref() != Some(&why) {
                    warn!(listener, error = why, "changed files cannot be used; what was read before stays in force");
                }
                self.trouble = Some(why);
            }
        }
    }
}

fn stamps(renewed: &dyn Renewed) -> Vec<Option<Stamp>> {
    renewed.files().iter().map(|file| Stamp::of(file)).collect()
}

/// The files of one listener.
pub(super) struct Renewal {
    listener: String,
    followed: Vec<Followed>,
    stats: Arc<ListenerStats>,
}

impl Renewal {
    /// Follows what was just read.
    pub(super) fn new(listener: &str, renewed: Vec<Box<dyn Renewed>>, stats: Arc<ListenerStats>) -> Self {
        let followed = renewed.into_iter().filter(|renewed| !renewed.files().is_empty()).map(Followed::new).collect();
        Self { listener: listener.to_owned(), followed, stats }
    }

    /// Looks at the files once.
    fn look(&mut self) {
        for followed in &mut self.followed {
            followed.look(&self.listener, &self.stats);
        }
        self.stats.is_stale.store(self.followed.iter().any(|followed| followed.trouble.is_some()), Ordering::Relaxed);
    }

    /// Looks at the files until `stop` is cancelled.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while !self.followed.is_empty() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(renewal) => self = renewal,
                // Only when the process ends.
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::error::Error;

    /// The text of a file; `bad` cannot be used.
    #[derive(Clone)]
    struct Words(PathBuf, Arc<Mutex<Vec<String>>>);

    impl Renewed for Words {
        fn files(&self) -> Vec<PathBuf> {
            vec![self.0.clone()]
        }

        fn renew(&self) -> Result<()> {
            let text = std::fs::read_to_string(&self.0).map_err(|error| Error::config("no file").because(error))?;
            if text == "bad" {
                return Err(Error::config("not this"));
            }
            self.1.lock().unwrap().push(text);
            Ok(())
        }
    }

    #[test]
    fn a_changed_file_is_read_once_and_one_that_cannot_be_used_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("words");
        let stats = Arc::new(ListenerStats::default());
        std::fs::write(&file, "one").unwrap();
        let words = Words(file.clone(), Arc::default());
        let mut renewal = Renewal::new("test", vec![Box::new(words.clone())], stats.clone());
        let mut look = |expected: &[&str], is_stale: bool| {
            renewal.look();
            assert_eq!(*words.1.lock().unwrap(), expected);
            assert_eq!(stats.is_stale.load(Ordering::Relaxed), is_stale);
        };
        look(&[], false);
        std::fs::write(&file, "two!").unwrap();
        look(&["two!"], false);
        look(&["two!"], false);
        // Another file by the same name, as a rename leaves it.
        std::fs::write(folder.path().join("next"), "three").unwrap();
        std::fs::rename(folder.path().join("next"), &file).unwrap();
        look(&["two!", "three"], false);
        std::fs::write(&file, "bad").unwrap();
        look(&["two!", "three"], true);
        look(&["two!", "three"], true);
        std::fs::remove_file(&file).unwrap();
        look(&["two!", "three"], true);
        std::fs::write(&file, "four").unwrap();
        look(&["two!", "three", "four"], false);
        assert_eq!(ListenerStats::get(&stats.renewals), 3);
    }
}
