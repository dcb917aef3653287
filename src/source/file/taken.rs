//! The files that were taken, durably.
//!
//! An offset names a place in this list (`file` 7, byte 100), so a planned range means the same files after a restart, whatever
//! else has appeared. The list is a file of lines, each a checksum and a JSON record. Opening it writes it anew: what a snapshot
//! holds is named in its first record, so only records that were appended later can be torn by a crash.

use std::collections::{HashMap, VecDeque};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::listing::Found;
use crate::checkpoint::storage::{LogFile, Open, SharedVfs, publish};
use crate::error::{Error, ErrorKind, Result};

/// A file, or a further piece of a growing one, that batches read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) path: Arc<str>,
    /// Size in bytes when it was taken.
    pub(super) size: u64,
    pub(super) mtime_ns: i64,
    pub(super) inode: u64,
    /// First byte to read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) from: u64,
    /// One past the last byte; without it, the whole file, which must then be just as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<u64>,
}

impl Taken {
    pub(super) fn whole(found: &Found) -> Self {
        let Found { mtime_ns, path, size, inode } = found.clone();
        Self { path: path.into(), size, mtime_ns, inode, from: 0, to: None }
    }

    /// Whether it is still what was taken: a whole file just as it was, a growing one the same file and long enough.
    pub(super) fn is_still(&self, now: &Metadata) -> bool {
        let now = Found::new(String::new(), now);
        match self.to {
            None => (now.size, now.mtime_ns, now.inode) == (self.size, self.mtime_ns, self.inode),
            Some(to) => now.inode == self.inode && now.size >= to,
        }
    }
}

/// What is remembered of a file that was read, so that it is not read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) mtime_ns: i64,
    pub(super) inode: u64,
    /// Bytes taken so far.
    pub(super) taken_to: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    /// The first record: `records` more belong to the snapshot, entries are numbered from `first`.
    Snapshot {
        records: u64,
        first: u64,
        oldest_ns: i64,
    },
    Seen {
        path: Arc<str>,
        seen: Seen,
    },
    /// The entries from `number` on, all that were taken at once: an append is one record, so none is there in part.
    Take {
        number: u64,
        files: Vec<Taken>,
        #[serde(default, skip_serializing_if = "is_zero")]
        durable_to: u64,
    },
    /// No batch reads the entries before `before` again.
    Release {
        before: u64,
        #[serde(default, skip_serializing_if = "is_zero")]
        durable_to: u64,
    },
}

impl Record {
    /// The file was durable up to this byte before the record was written. What is not durable may reach the disk in any order, so
    /// only before this place something unreadable is damage.
    fn durable_to(&self) -> u64 {
        match self {
            Self::Snapshot { .. } | Self::Seen { .. } => 0,
            Self::Take { durable_to, .. } | Self::Release { durable_to, .. } => *durable_to,
        }
    }
}

/// The list, in memory and on disk.
#[derive(Debug)]
pub(super) struct TakenFiles {
    vfs: SharedVfs,
    dir: PathBuf,
    generation: u64,
    log: Arc<dyn LogFile>,
    log_bytes: u64,
    /// Bytes of the file that a power cut leaves.
    durable_bytes: u64,
    /// Entries and releases appended since the snapshot.
    appended: usize,
    content: Content,
}

impl TakenFiles {
    /// Reads the list in `dir`, or begins one.
    pub(super) fn open(vfs: SharedVfs, dir: &Path) -> Result<Self> {
        vfs.create_dir(dir)?;
        let mut generations: Vec<u64> = vfs.list(dir)?.iter().filter_map(|entry| generation(&entry.name)).collect();
        generations.sort_unstable();
        let mut content = Content::default();
        if let Some(newest) = generations.last() {
            let path = dir.join(name(*newest));
            let bytes = vfs.read(&path)?.ok_or_else(|| corrupt(&path, "it is gone"))?;
            content = Content::parse(&bytes).map_err(|why| corrupt(&path, &why))?;
        }
        let generation = generations.last().map_or(0, |newest| newest + 1);
        let log = content.write(&vfs, dir, generation)?;
        for old in generations {
            vfs.remove(&dir.join(name(old)))?;
        }
        let log_bytes = log.len()?;
        Ok(Self { vfs, dir: dir.to_owned(), generation, log, log_bytes, durable_bytes: log_bytes, appended: 0, content })
    }

    /// Number of the first entry that may still be read.
    pub(super) fn first(&self) -> u64 {
        self.content.first
    }

    /// One past the number of the last entry.
    pub(super) fn end(&self) -> u64 {
        self.content.first + self.content.entries.len() as u64
    }

    pub(super) fn entry(&self, number: u64) -> Option<&Taken> {
        number.checked_sub(self.content.first).and_then(|at| self.content.entries.get(usize::try_from(at).ok()?))
    }

    pub(super) fn seen(&self, path: &str) -> Option<&Seen> {
        self.content.seen.get(path)
    }

    /// Whether a file last changed then is too old to be new.
    pub(super) fn is_too_old(&self, mtime_ns: i64) -> bool {
        mtime_ns < self.content.oldest_ns
    }

    /// Appends entries. They are durable when this returns, so an offset may name them.
    pub(super) fn take(&mut self, files: Vec<Taken>) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        self.append(&Record::Take { number: self.end(), files: files.clone(), durable_to: self.durable_bytes })?;
        self.log.sync()?;
        self.durable_bytes = self.log_bytes;
        self.appended += files.len();
        for file in files {
            remember(&mut self.content.seen, &file);
            self.content.entries.push_back(file);
        }
        Ok(())
    }

    /// The entries before `before`.
    pub(super) fn entries_before(&self, before: u64) -> impl Iterator<Item = &Taken> {
        let count = usize::try_from(before.saturating_sub(self.content.first)).unwrap_or(usize::MAX);
        self.content.entries.iter().take(count)
    }

    /// Forgets the entries before `before`; the files themselves stay known as seen.
    pub(super) fn release(&mut self, before: u64) -> Result<()> {
        let count = before.min(self.end()).saturating_sub(self.content.first);
        if count == 0 {
            return Ok(());
        }
        self.content.first += count;
        self.content.entries.drain(..usize::try_from(count).unwrap_or(usize::MAX));
        // Not synced: a release that is lost is repeated by the next one.
        self.append(&Record::Release { before: self.content.first, durable_to: self.durable_bytes })?;
        self.appended += 1;
        Ok(())
    }

    /// Forgets the files that are `age_ns` older than the newest one seen, and never takes such a file again. The first call comes
    /// after the first files were taken, so whatever is there at the start is new.
    pub(super) fn forget_older(&mut self, age_ns: i64) -> Result<()> {
        let Some(newest) = self.content.seen.values().map(|seen| seen.mtime_ns).max() else { return Ok(()) };
        let oldest_ns = newest.saturating_sub(age_ns);
        if oldest_ns > self.content.oldest_ns {
            self.content.oldest_ns = oldest_ns;
            self.content.seen.retain(|_, seen| seen.mtime_ns >= oldest_ns);
        }
        if self.appended > 1_000 + 2 * (self.content.seen.len() + self.content.entries.len()) { self.compact() } else { Ok(()) }
    }

    fn compact(&mut self) -> Result<()> {
        let generation = self.generation + 1;
        self.log = self.content.write(&self.vfs, &self.dir, generation)?;
        self.vfs.remove(&self.dir.join(name(self.generation)))?;
        (self.generation, self.log_bytes, self.appended) = (generation, self.log.len()?, 0);
        self.durable_bytes = self.log_bytes;
        Ok(())
    }

    /// A record that did not fit is written over by the next one; what is left of it then passes for none.
    fn append(&mut self, record: &Record) -> Result<()> {
        let mut line = Vec::new();
        encode(record, &mut line);
        self.log.write_at(self.log_bytes, &line)?;
        self.log_bytes += line.len() as u64;
        Ok(())
    }
}

/// A list of taken files that was read to its end.
#[derive(Debug, Clone)]
pub struct ListExamined {
    /// Files that are known, so that they are not read again.
    pub seen: usize,
    /// Numbers of the files, or pieces of growing ones, that batches may still read.
    pub numbers: std::ops::Range<u64>,
    /// Bytes of the list.
    pub bytes: usize,
}

/// Reads the list of taken files in `dir` and changes nothing; `None` when there is none. A damaged list is [`ErrorKind::Corrupt`].
pub fn examine(vfs: &SharedVfs, dir: &Path) -> Result<Option<ListExamined>> {
    let Some(newest) = vfs.list(dir)?.iter().filter_map(|entry| generation(&entry.name)).max() else { return Ok(None) };
    let path = dir.join(name(newest));
    let bytes = vfs.read(&path)?.ok_or_else(|| corrupt(&path, "it is gone"))?;
    let content = Content::parse(&bytes).map_err(|why| corrupt(&path, &why))?;
    let numbers = content.first..content.first + content.entries.len() as u64;
    Ok(Some(ListExamined { seen: content.seen.len(), numbers, bytes: bytes.len() }))
}

/// What a list says.
#[derive(Debug, Default)]
struct Content {
    /// Number of the first of `entries`.
    first: u64,
    entries: VecDeque<Taken>,
    seen: HashMap<Arc<str>, Seen>,
    /// Files last changed before this are too old to be new.
    oldest_ns: i64,
}

impl Content {
    /// Writes all of it into a new file, durably, and opens that for more.
    fn write(&self, vfs: &SharedVfs, dir: &Path, generation: u64) -> Result<Arc<dyn LogFile>> {
        let Self { first, entries, seen, oldest_ns } = self;
        let mut bytes = Vec::new();
        let records = (seen.len() + entries.len()) as u64;
        encode(&Record::Snapshot { records, first: *first, oldest_ns: *oldest_ns }, &mut bytes);
        for (path, seen) in seen {
            encode(&Record::Seen { path: path.clone(), seen: *seen }, &mut bytes);
        }
        for (number, file) in (*first..).zip(entries) {
            encode(&Record::Take { number, files: vec![file.clone()], durable_to: 0 }, &mut bytes);
        }
        let path = dir.join(name(generation));
        publish(vfs.as_ref(), &path, &bytes)?;
        vfs.open(&path, Open::Existing)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').map(|line| (line.len() as u64, decode(line)));
        let Some((mut at, Some(Record::Snapshot { records, first, oldest_ns }))) = lines.next() else {
            return Err("its first record is damaged".to_owned());
        };
        let mut content = Self { first, oldest_ns, ..Self::default() };
        for number in 0..records {
            let Some((length, Some(record))) = lines.next() else {
                return Err(format!("record {number} of its snapshot is damaged"));
            };
            content.apply(record)?;
            at += length;
        }
        while let Some((length, record)) = lines.next() {
            let Some(record) = record else {
                // Torn, unless a later record knows it was durable.
                let durable_to = lines.filter_map(|(_, later)| later).map(|later| later.durable_to()).max();
                if durable_to.is_some_and(|durable_to| durable_to > at) {
                    return Err(format!("the record at byte {at} is damaged"));
                }
                break;
            };
            content.apply(record)?;
            at += length;
        }
        Ok(content)
    }

    fn apply(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Snapshot { .. } => return Err("it holds a second first record".to_owned()),
            Record::Seen { path, seen } => {
                self.seen.insert(path, seen);
            }
            Record::Take { number, .. } if number != self.first + self.entries.len() as u64 => {
                return Err(format!("entry {number} is not where it belongs"));
            }
            Record::Take { files, .. } => {
                for file in files {
                    remember(&mut self.seen, &file);
                    self.entries.push_back(file);
                }
            }
            Record::Release { before, .. } => {
                let end = self.first + self.entries.len() as u64;
                if before < self.first || before > end {
                    return Err(format!("it releases up to entry {before}, which it does not hold"));
                }
                self.entries.drain(..usize::try_from(before - self.first).unwrap_or(usize::MAX));
                self.first = before;
            }
        }
        Ok(())
    }
}

fn remember(seen: &mut HashMap<Arc<str>, Seen>, file: &Taken) {
    let now = Seen { mtime_ns: file.mtime_ns, inode: file.inode, taken_to: file.to.unwrap_or(file.size) };
    seen.insert(file.path.clone(), now);
}

fn name(generation: u64) -> String {
    format!("files-{generation:010}")
}

fn generation(name: &str) -> Option<u64> {
    name.strip_prefix("files-")?.parse().ok()
}

fn encode(record: &Record, lines: &mut Vec<u8>) {
    let json = serde_json::to_vec(record).expect("a record is plain data");
    lines.extend_from_slice(format!("{:08x} ", crc32c::crc32c(&json)).as_bytes());
    lines.extend_from_slice(&json);
    lines.push(b'\n');
}

fn decode(line: &[u8]) -> Option<Record> {
    let (checksum, json) = line.strip_suffix(b"\n")?.split_at_checked(9)?;
    let checksum = u32::from_str_radix(std::str::from_utf8(checksum).ok()?.strip_suffix(' ')?, 16).ok()?;
    (crc32c::crc32c(json) == checksum).then(|| serde_json::from_slice(json).ok()).flatten()
}

fn corrupt(path: &Path, why: &str) -> Error {
    let message = format!("the list of taken files {} is damaged: {why}", path.display());
    Error::spark(ErrorKind::Corrupt, "CKPT_CORRUPT", message)
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::storage::LocalVfs;
    use crate::checkpoint::storage::fault::{Fault, FaultVfs, Left};

    fn file(path: &str, mtime_ns: i64) -> Taken {
        Taken { path: path.into(), size: 10, mtime_ns, inode: 1, from: 0, to: None }
    }

    fn open(dir: &Path) -> Result<TakenFiles> {
        TakenFiles::open(LocalVfs::shared(), dir)
    }

    fn only_file(dir: &Path) -> PathBuf {
        let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        files.remove(0)
    }

    #[test]
    fn what_was_taken_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut taken = open(dir.path()).unwrap();
        taken.take(vec![file("a", 1), file("b", 2)]).unwrap();
        taken.take(vec![file("c", 3)]).unwrap();
        assert_eq!(taken.entries_before(1).collect::<Vec<_>>(), [&file("a", 1)]);
        taken.release(1).unwrap();
        drop(taken);
        for _ in 0..2 {
            let taken = open(dir.path()).unwrap();
            assert_eq!((taken.first(), taken.end()), (1, 3));
            assert_eq!(taken.entry(0), None);
            assert_eq!(taken.entry(2), Some(&file("c", 3)));
            assert!(taken.seen("a").is_some());
        }
    }

    #[test]
    fn old_files_are_forgotten_and_never_new_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut taken = open(dir.path()).unwrap();
        taken.take(vec![file("a", 100), file("b", 200)]).unwrap();
        taken.forget_older(50).unwrap();
        assert!(taken.seen("a").is_none() && taken.seen("b").is_some());
        assert!(taken.is_too_old(149) && !taken.is_too_old(150));
    }

    #[test]
    fn the_list_does_not_grow_without_bound() {
        let dir = tempfile::tempdir().unwrap();
        let mut taken = open(dir.path()).unwrap();
        for number in 0..30 {
            taken.take(vec![file("a", number); 100]).unwrap();
            taken.release(u64::MAX).unwrap();
            taken.forget_older(1_000).unwrap();
        }
        assert!(std::fs::metadata(only_file(dir.path())).unwrap().len() < 200_000);
        assert_eq!(open(dir.path()).unwrap().end(), 3_000);
    }

    #[test]
    fn a_torn_end_is_cut_and_any_other_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut taken = open(dir.path()).unwrap();
        taken.take(vec![file("a", 1)]).unwrap();
        drop(open(dir.path()).unwrap());
        let mut taken = open(dir.path()).unwrap();
        taken.take(vec![file("b", 2)]).unwrap();
        let path = only_file(dir.path());
        let whole = std::fs::read(&path).unwrap();
        let snapshot = whole.split_inclusive(|byte| *byte == b'\n').take(3).map(<[u8]>::len).sum();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            match Content::parse(&flipped) {
                Ok(content) => assert!(at >= snapshot && content.entries.len() == 1, "byte {at}"),
                Err(_) => assert!(at < snapshot, "byte {at}"),
            }
            match Content::parse(&whole[..at]) {
                Ok(content) => assert!(at >= snapshot && content.entries.len() == 1, "cut at {at}"),
                Err(_) => assert!(at < snapshot, "cut at {at}"),
            }
        }
    }

    fn faulty(vfs: &FaultVfs) -> Result<TakenFiles> {
        TakenFiles::open(vfs.shared(), Path::new("/taken"))
    }

    fn paths(taken: &TakenFiles) -> Vec<&str> {
        taken.content.entries.iter().map(|entry| &*entry.path).collect()
    }

    #[test]
    fn a_take_without_space_leaves_nothing_that_a_later_record_could_expose() {
        for files in 1..20 {
            let vfs = FaultVfs::default();
            let mut taken = faulty(&vfs).unwrap();
            taken.take(vec![file("first", 1), file("second", 2)]).unwrap();
            vfs.fail_at(vfs.operations(), Fault::NoSpace);
            let error = taken.take(vec![file("too many", 3); files]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoSpace);
            taken.release(1).unwrap();
            for left in [Left::Everything, Left::Synced, Left::Any(files as u64)] {
                assert!(faulty(&vfs.after(left)).unwrap().entry(1).is_some());
            }
            taken.take(vec![file("third", 4)]).unwrap();
            for left in [Left::Everything, Left::Synced] {
                assert_eq!(paths(&faulty(&vfs.after(left)).unwrap()), ["second", "third"]);
            }
        }
    }

    #[test]
    fn what_a_power_cut_leaves_of_unsynced_records_is_no_damage() {
        for seed in 0..200 {
            let vfs = FaultVfs::default();
            let mut taken = faulty(&vfs).unwrap();
            taken.take(vec![file("kept", 1); 5]).unwrap();
            for before in 1..5 {
                taken.release(before).unwrap();
            }
            // The write is done, its sync is not.
            vfs.fail_at(vfs.operations() + 1, Fault::PowerCut);
            taken.take((0..40).map(|number| file(&format!("file {number}"), 2)).collect()).unwrap_err();
            let again = faulty(&vfs.after(Left::Any(seed))).unwrap_or_else(|error| panic!("seed {seed}: {}", error.chain()));
            assert!(again.end() == 5 || again.end() == 45, "seed {seed}");
        }
    }

    #[test]
    fn a_record_that_was_synced_and_is_unreadable_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let mut taken = open(dir.path()).unwrap();
        let start = taken.log_bytes as usize;
        taken.take(vec![file("a", 1)]).unwrap();
        let synced = taken.log_bytes as usize;
        taken.release(1).unwrap();
        let whole = std::fs::read(only_file(dir.path())).unwrap();
        for at in start..synced {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            // Without its line end it takes the record behind it along.
            assert_eq!(Content::parse(&flipped).is_err(), at + 1 < synced, "byte {at}");
        }
    }
}
