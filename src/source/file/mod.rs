//! New files of a folder or glob, in order, or what is appended to growing ones.
//!
//! A batch *takes* files: it writes them into a durable list (`taken`), and offsets are places in that list. A file is taken when
//! two listings agree about it, so that one being written is left until it is whole.

mod block;
mod clean;
mod limit;
mod listing;
mod places;
mod reader;
mod tail;
mod taken;
#[cfg(test)]
mod tests;

pub use clean::CleanSource;
pub(crate) use places::{place_between, places};
pub use reader::{TableFiles, read_table, table_files};
pub use taken::{ListExamined, examine};

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::stats::SourceStats;
use super::{Chunk, Extent, Offset, OffsetRange, ReadLimit, Replay, Source, SourceSpec};
use crate::checkpoint::storage::SharedVfs;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::format::MetadataColumn;
use limit::{Fit, Left};
use listing::{Found, Place};
use reader::{Parked, TakenReader, is_compressed, parts};
use tail::Tails;
use taken::{Taken, TakenFiles};

/// Refuses a path that [`FileSource::open`] would refuse.
pub fn check_path(path: &Path) -> Result<()> {
    Place::new(path).map(drop)
}

/// What is true of every file source.
pub const SPEC: SourceSpec = SourceSpec {
    name: "file",
    replay: Replay::Kept,
    shared: false,
    metadata: &[MetadataColumn::Source, MetadataColumn::Position, MetadataColumn::File],
    limit: ReadLimit { rows_max: None, bytes_max: None, files_max: None },
};

/// Settings of a file source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// A folder (its files, not those of folders in it), a glob, or a single file.
    pub path: PathBuf,
    /// Follow files as they grow, a complete line at a time, instead of taking each once. Compressed files are always taken whole.
    pub tail: bool,
    /// Files last changed this much before the newest one seen are not new any more (7 days). Bounds what is remembered.
    pub max_file_age: Duration,
    /// What becomes of files that were read. Growing files can only stay.
    pub clean_source: CleanSource,
    /// Longest line in bytes (1 MiB).
    pub line_bytes_max: usize,
    /// How often to look for files while there is nothing to do (100 ms).
    pub look_every: Duration,
}

impl FileSettings {
    /// The defaults for the files at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            tail: false,
            max_file_age: Duration::from_secs(7 * 24 * 60 * 60),
            clean_source: CleanSource::Off,
            line_bytes_max: 1 << 20,
            look_every: Duration::from_millis(100),
        }
    }
}

/// Two listings agree about a file only when this much time lies between them.
const LISTING_GAP: Duration = Duration::from_millis(100);
/// A file that was last changed this long ago needs no second listing. Far more than the gap, for file servers whose clock is not ours.
const UNTOUCHED: Duration = Duration::from_secs(5);

/// A file source, owned by one query.
#[derive(Debug)]
pub struct FileSource {
    files: Arc<Mutex<Files>>,
    stats: Arc<SourceStats>,
    look_every: Duration,
}

/// A place in the list of taken files: everything in the files before `file`, and what is before byte `position` of that one, was
/// read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Progress {
    file: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    position: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl FileSource {
    /// Opens the source; `dir` is a folder of its own in the query's checkpoint, where it keeps the list of files it took.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when there is no such folder or file; [`ErrorKind::Corrupt`] when the list is damaged.
    pub async fn open(settings: FileSettings, vfs: SharedVfs, dir: &Path, extent: Extent) -> Result<Self> {
        let (dir, look_every) = (dir.to_owned(), settings.look_every);
        let files = blocking(move || Files::open(settings, vfs, &dir, extent)).await?;
        Ok(Self { files: Arc::new(Mutex::new(files)), stats: Arc::default(), look_every })
    }

    /// Counters.
    pub fn stats(&self) -> Arc<SourceStats> {
        self.stats.clone()
    }

    async fn with<T: Send + 'static>(&self, work: impl FnOnce(&mut Files) -> Result<T> + Send + 'static) -> Result<T> {
        let files = self.files.clone();
        blocking(move || work(&mut files.lock().expect("no holder panics"))).await
    }
}

/// Runs `work` where it may wait for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|cause| Error::internal("reading files stopped unexpectedly").because(cause))?
}

#[async_trait]
impl Source for FileSource {
    async fn initial_offset(&mut self) -> Result<Offset> {
        let file = self.with(|files| Ok(files.taken.first())).await?;
        Ok(Offset::encode(&Progress { file, position: 0 }))
    }

    async fn latest_offset(&mut self, start: &Offset, limit: &ReadLimit) -> Result<Offset> {
        let (from, limit) = (start.decode::<Progress>()?, *limit);
        let (mut end, mut undecided) = self.with(move |files| files.latest(from, &limit)).await?;
        if end == from && undecided {
            // A file has just appeared; the next trigger may be long in coming.
            tokio::time::sleep(LISTING_GAP).await;
            (end, undecided) = self.with(move |files| files.latest(from, &limit)).await?;
        }
        tracing::trace!(file = end.file, position = end.position, undecided, "looked for files");
        Ok(Offset::encode(&end))
    }

    async fn read(&mut self, range: &OffsetRange) -> Result<BoxStream<'static, Result<Chunk>>> {
        let (start, end) = (range.start.decode::<Progress>()?, range.end.decode::<Progress>()?);
        let prepare =
            move |files: &mut Files| Ok((files.between(start, end)?, files.settings.line_bytes_max, files.read_parked.clone()));
        let at_once = self.files.try_lock().ok().map(|mut files| prepare(&mut files));
        let (files, line_bytes_max, parked) = match at_once {
            Some(prepared) => prepared?,
            None => self.with(prepare).await?,
        };
        let parts = parts(files, start.position, (end.file, end.position), line_bytes_max, parked, self.stats.clone());
        Ok(futures::stream::iter(parts.map(|part| Ok(Chunk::Part(part)))).boxed())
    }

    async fn make_durable(&mut self, _end: &Offset) -> Result<()> {
        // A taken file was durably in the list before an offset named it.
        Ok(())
    }

    async fn changed(&mut self, end: &Offset) {
        let Ok(end) = end.decode::<Progress>() else { return };
        loop {
            let began = Instant::now();
            match self.with(move |files| files.has_more(end)).await {
                // A large folder takes long to list: not more often than keeps a core nearly idle.
                Ok(false) => tokio::time::sleep(self.look_every.max(began.elapsed() * 20)).await,
                // `latest_offset` reports the failure.
                Ok(true) | Err(_) => return,
            }
        }
    }

    async fn release(&mut self, end: &Offset) -> Result<()> {
        let end = end.decode::<Progress>()?;
        self.with(move |files| files.release(end)).await
    }
}

/// The state of a file source.
#[derive(Debug)]
struct Files {
    settings: FileSettings,
    clean: CleanSource,
    place: Place,
    taken: TakenFiles,
    /// Files that can be taken, in order.
    ready: VecDeque<Taken>,
    /// Files seen once, and since when they have looked like that.
    sighted: HashMap<String, (u64, i64, Instant)>,
    tails: Tails,
    /// The listing at the start is all there will be.
    frozen: bool,
    read_parked: Arc<Parked>,
    limit_parked: Parked,
}

impl Files {
    fn open(settings: FileSettings, vfs: SharedVfs, dir: &Path, extent: Extent) -> Result<Self> {
        let place = Place::new(&settings.path)?;
        if settings.tail && settings.clean_source != CleanSource::Off {
            return Err(Error::config("growing files are never done with: `tail` and `clean_source` do not go together"));
        }
        let clean = settings.clean_source.open(place.base())?;
        let mut files = Self {
            clean,
            place,
            taken: TakenFiles::open(vfs, dir)?,
            ready: VecDeque::new(),
            sighted: HashMap::new(),
            tails: Tails::default(),
            frozen: extent == Extent::AvailableNow,
            read_parked: Arc::default(),
            limit_parked: Parked::default(),
            settings,
        };
        if files.frozen {
            files.look()?;
        }
        Ok(files)
    }

    /// Lists the files and finds those that can be taken. Answers whether there are some that cannot be taken yet.
    fn look(&mut self) -> Result<bool> {
        let archive = if let CleanSource::Archive(folder) = &self.clean { Some(folder.as_path()) } else { None };
        let (taken, tail) = (&self.taken, self.settings.tail);
        let is_known = |path: &Path| !tail && path.to_str().is_some_and(|path| taken.seen(path).is_some());
        let found = self.place.list(archive, &is_known)?;
        self.ready.clear();
        let (mut sighted, mut undecided) = (HashMap::new(), false);
        let now = Instant::now();
        // By the clock that file systems take their times from; one that lies ahead of it says nothing.
        let touched_before_ns = SystemClock.now_us().saturating_mul(1000) - UNTOUCHED.as_nanos() as i64;
        for found in found {
            if self.settings.tail && !is_compressed(&found.path) {
                self.ready.extend(self.tails.grown(&found, &self.taken)?);
            } else if self.taken.seen(&found.path).is_none() && !self.taken.is_too_old(found.mtime_ns) {
                let since = match self.sighted.get(&found.path) {
                    Some((size, mtime_ns, since)) if (*size, *mtime_ns) == (found.size, found.mtime_ns) => *since,
                    _ => now,
                };
                if self.frozen || found.mtime_ns < touched_before_ns || now.duration_since(since) >= LISTING_GAP {
                    self.ready.push_back(Taken::whole(&found));
                } else {
                    undecided = true;
                }
                sighted.insert(found.path, (found.size, found.mtime_ns, since));
            }
        }
        self.sighted = sighted;
        Ok(undecided)
    }

    /// How far a batch may read, and whether files were seen that cannot be taken yet.
    fn latest(&mut self, start: Progress, limit: &ReadLimit) -> Result<(Progress, bool)> {
        self.check(start)?;
        let files_max = limit.files_max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
        let undecided = if self.frozen || self.ready.len() >= files_max { false } else { self.look()? };
        let mut left = Left::new(limit);
        let (mut at, mut taking, mut used) = (start, Vec::new(), 0);
        while left.files > 0 && left.rows > 0 && left.bytes > 0 {
            let listed = self.taken.entry(at.file).cloned();
            let is_new = listed.is_none();
            let Some(file) = listed.or_else(|| self.next_ready(&mut used)) else { break };
            match self.fit(&file, at, &mut left)? {
                Fit::Nothing => {
                    used -= usize::from(is_new);
                    break;
                }
                Fit::All => at = Progress { file: at.file + 1, position: 0 },
                Fit::Until(position) => at.position = position,
            }
            taking.extend(is_new.then_some(file));
            if at.position > 0 {
                break;
            }
        }
        self.taken.take(taking)?;
        // Only now: after a failure the same files are tried again.
        self.ready.drain(..used);
        self.taken.forget_older(i64::try_from(self.settings.max_file_age.as_nanos()).unwrap_or(i64::MAX))?;
        Ok((at, undecided))
    }

    fn fit(&mut self, file: &Taken, at: Progress, left: &mut Left) -> Result<Fit> {
        left.files -= 1;
        let from = at.position.max(file.from);
        let rest = file.to.unwrap_or(file.size).saturating_sub(from);
        if !left.limited || (left.rows == u64::MAX && rest <= left.bytes && !is_compressed(&file.path)) {
            left.bytes = left.bytes.saturating_sub(rest);
            left.any |= rest > 0;
            return Ok(Fit::All);
        }
        let mut reader = match self.limit_parked.take(at.file, from) {
            Some(reader) => reader,
            None => TakenReader::open(file, from, self.settings.line_bytes_max)?,
        };
        let reach = reader.reach(left.rows, left.bytes, !left.any)?;
        left.rows = left.rows.saturating_sub(reach.rows);
        left.bytes = left.bytes.saturating_sub(reach.bytes);
        left.any |= reach.rows > 0;
        let Some(stop) = reach.stop else { return Ok(Fit::All) };
        self.limit_parked.put(at.file, if reach.rows == 0 { from } else { stop }, reader);
        Ok(if reach.rows == 0 { Fit::Nothing } else { Fit::Until(stop) })
    }

    /// The next file that can be taken, behind the `used` first.
    fn next_ready(&self, used: &mut usize) -> Option<Taken> {
        while let Some(file) = self.ready.get(*used) {
            *used += 1;
            if let Some(file) = self.still_there(file) {
                return Some(file);
            }
        }
        None
    }

    /// A file that is about to be taken, as it is now: it may have gone or changed since it was listed.
    fn still_there(&self, file: &Taken) -> Option<Taken> {
        let now = std::fs::metadata(&*file.path).ok()?;
        if file.is_still(&now) {
            return Some(file.clone());
        }
        self.frozen.then(|| Taken::whole(&Found::new(file.path.to_string(), &now)))
    }

    fn has_more(&mut self, end: Progress) -> Result<bool> {
        if end.file < self.taken.end() {
            return Ok(true);
        }
        if !self.frozen {
            self.look()?;
        }
        Ok(!self.ready.is_empty())
    }

    /// The files of a range with their numbers.
    fn between(&self, start: Progress, end: Progress) -> Result<Vec<(u64, Taken)>> {
        self.check(start)?;
        self.check(end)?;
        let after = end.file + u64::from(end.position > 0);
        (start.file..after).map(|number| Ok((number, self.taken.entry(number).ok_or_else(|| unknown(number))?.clone()))).collect()
    }

    fn check(&self, place: Progress) -> Result<()> {
        let known = self.taken.first()..=self.taken.end();
        let inside = place.position == 0 || self.taken.entry(place.file).is_some();
        if known.contains(&place.file) && inside { Ok(()) } else { Err(unknown(place.file)) }
    }

    fn release(&mut self, end: Progress) -> Result<()> {
        // Before they are forgotten: a crash in between cleans up once more, which does nothing.
        for file in self.taken.entries_before(end.file) {
            self.clean.clean(file, self.place.base());
        }
        self.taken.release(end.file)
    }
}

fn unknown(number: u64) -> Error {
    let message = format!("the checkpoint's list of taken files does not hold file {number}, which the query's log names");
    Error::spark(ErrorKind::Corrupt, "CKPT_CORRUPT", message)
}
