//! Feeds the raw lines of dead letters back: into files of a folder that a file source reads, each line once however often it is run.
//!
//! What was taken is noted beside the dead letters, in `_redriven/`, which readers leave alone. A file of lines is first written under a
//! hidden name, then noted, then given its name: a note whose hidden file is still there is finished by the next run, and one whose
//! hidden file is gone was finished, whatever has become of the lines since.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::checkpoint::storage::{Lock, LockFile, Publish, SharedVfs, absolute, exists, file_name, publish};
use crate::error::{Attempt, Error, ErrorKind, Result};

/// Which dead letters to feed back, and where to.
#[derive(Debug, Clone)]
pub struct Redrive {
    /// The folder of the dead letters, written with `format: json`.
    pub dead_letters: PathBuf,
    /// The folder that gets files of lines; made where needed.
    pub to: PathBuf,
    /// What the files' names end with, such as `json`.
    pub extension: String,
    /// The first line of each file, where the source's format has one.
    pub header: Option<String>,
    /// Lines this long or longer were cut when they were set aside, in bytes: they are left.
    pub line_bytes_max: usize,
    /// Only of this source.
    pub source: Option<String>,
    /// Only with this text in their reason.
    pub reason: Option<String>,
    /// Only of batches of this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Only of batches before this time.
    pub until: Option<DateTime<Utc>>,
}

/// How many dead letters there are of which kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Wanted, and to be fed back.
    pub lines: u64,
    /// Files that are made of them.
    pub files: u64,
    /// Fed back before.
    pub before: u64,
    /// Not wanted.
    pub others: u64,
    /// Wanted, without a raw line: rows that were late or whose call failed.
    pub without_line: u64,
    /// Wanted, and cut at the limit for lines.
    pub cut: u64,
    /// Files that an earlier run was about to give their names.
    pub unfinished: u64,
}

/// What would be done; nothing has been.
#[derive(Debug)]
pub struct Redriving {
    vfs: SharedVfs,
    redrive: Redrive,
    notes: PathBuf,
    unfinished: Vec<Note>,
    batches: Vec<Batch>,
    /// How many.
    pub counts: Counts,
    _lock: Box<dyn LockFile>,
}

/// The lines of one file of dead letters.
#[derive(Debug)]
struct Batch {
    file: String,
    /// Which of its rows, from 0.
    rows: Vec<u64>,
    lines: Vec<u8>,
    /// How often lines of this file were taken before.
    runs: u64,
}

/// What was taken of a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Note {
    file: String,
    rows: Vec<u64>,
    hidden: PathBuf,
    name: PathBuf,
}

/// The columns of a dead letter that matter here.
#[derive(Debug, Deserialize)]
struct Letter {
    source: Option<String>,
    time: Option<DateTime<Utc>>,
    reason: Option<String>,
    raw: Option<String>,
}

const NOTES: &str = "_redriven";

/// Reads the dead letters and what was noted before. Changes nothing but the lock in `_redriven/`, which is held as long as the value lives:
/// another run is [`ErrorKind::Fenced`].
pub fn plan_redrive(vfs: SharedVfs, mut redrive: Redrive) -> Result<Redriving> {
    redrive.dead_letters = absolute(&redrive.dead_letters)?;
    redrive.to = absolute(&redrive.to)?;
    if redrive.to.starts_with(&redrive.dead_letters) || redrive.dead_letters.starts_with(&redrive.to) {
        let (to, from) = (redrive.to.display(), redrive.dead_letters.display());
        return Err(Error::config(format!("{to} and the dead letters in {from} lie within each other")));
    }
    let mut files = Vec::new();
    files_below(&vfs, &redrive.dead_letters, "", &mut files)?;
    if files.is_empty() {
        return Err(Error::config(format!("there are no dead letters in {}", redrive.dead_letters.display())));
    }
    let notes = redrive.dead_letters.join(NOTES);
    vfs.create_dir(&notes)?;
    let lock = match vfs.lock(&notes.join("lock"), &format!("pid {}\n", std::process::id()))? {
        Lock::Held(lock) => lock,
        Lock::Taken(owner) => {
            let message =
                format!("the dead letters in {} are being fed back by {}", redrive.dead_letters.display(), owner.trim());
            return Err(Error::spark(ErrorKind::Fenced, "FENCED", message));
        }
    };
    let noted = read_notes(&vfs, &notes)?;
    let mut unfinished = Vec::new();
    for note in noted.values().flatten() {
        if exists(vfs.as_ref(), &note.hidden)? {
            unfinished.push(note.clone());
        }
    }
    let counts = Counts { unfinished: unfinished.len() as u64, ..Counts::default() };
    let mut planned = Redriving { vfs, redrive, notes, unfinished, batches: Vec::new(), counts, _lock: lock };
    for file in files {
        planned.take(file, &noted)?;
    }
    Ok(planned)
}

impl Redriving {
    /// Picks the lines of one file.
    fn take(&mut self, file: String, noted: &BTreeMap<String, Vec<Note>>) -> Result<()> {
        let path = self.redrive.dead_letters.join(&file);
        if !file.ends_with(".json") {
            let message =
                format!("{} is no dead letter that can be fed back: expected a file with `format: json`", path.display());
            return Err(Error::config(message));
        }
        let before = noted.get(&file).map(Vec::as_slice).unwrap_or_default();
        let Some(text) = self.vfs.read(&path)? else { return Ok(()) };
        let mut batch = Batch { file, rows: Vec::new(), lines: Vec::new(), runs: before.len() as u64 };
        let taken: std::collections::HashSet<u64> = before.iter().flat_map(|note| note.rows.iter().copied()).collect();
        for (row, line) in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
            let row = row as u64;
            let attempt = || format!("read dead letter {} of {}", row + 1, path.display());
            let letter: Letter = serde_json::from_slice(line).attempting(ErrorKind::Data, attempt)?;
            if !self.redrive.wants(&letter) {
                self.counts.others += 1;
                continue;
            }
            let Some(raw) = &letter.raw else {
                self.counts.without_line += 1;
                continue;
            };
            let raw = STANDARD.decode(raw).attempting(ErrorKind::Data, attempt)?;
            if taken.contains(&row) {
                self.counts.before += 1;
            } else if raw.len() >= self.redrive.line_bytes_max {
                self.counts.cut += 1;
            } else {
                batch.rows.push(row);
                batch.lines.extend_from_slice(&raw);
                batch.lines.push(b'\n');
            }
        }
        if !batch.rows.is_empty() {
            self.counts.lines += batch.rows.len() as u64;
            self.counts.files += 1;
            self.batches.push(batch);
        }
        Ok(())
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.unfinished.is_empty()
    }

    /// Does it, durably, a file at a time. After a failure or a crash the next run goes on behind what was done.
    pub fn apply(self) -> Result<()> {
        for note in &self.unfinished {
            self.finish(note)?;
        }
        self.vfs.create_dir(&self.redrive.to)?;
        for batch in &self.batches {
            self.write(batch)?;
        }
        Ok(())
    }

    fn write(&self, batch: &Batch) -> Result<()> {
        let Redrive { to, extension, header, .. } = &self.redrive;
        let stem = batch.file.strip_suffix(".json").unwrap_or(&batch.file);
        let name = format!("redriven-{}-{}.{extension}", file_name(stem), batch.runs);
        let (hidden, path) = (to.join(format!(".{name}.tmp")), to.join(&name));
        if exists(self.vfs.as_ref(), &path)? {
            return Err(occupied(&path));
        }
        let header = header.as_ref().map(|header| format!("{header}\n")).unwrap_or_default();
        // Left by a run that ended before it was noted.
        self.vfs.remove(&hidden)?;
        self.vfs.write_new(&hidden, &[header.as_bytes(), &batch.lines].concat())?;
        self.vfs.sync_dir(to)?;
        let note = Note { file: batch.file.clone(), rows: batch.rows.clone(), hidden, name: path };
        let text = serde_json::to_vec(&note).attempting(ErrorKind::Internal, || "note what was fed back".to_owned())?;
        let noted = self.notes.join(format!("{}-{}.json", file_name(stem), batch.runs));
        match publish(self.vfs.as_ref(), &noted, &text)? {
            Publish::Created => self.finish(&note),
            Publish::AlreadyThere => Err(Error::internal(format!("{} is there already", noted.display()))),
        }
    }

    /// Gives the lines their name, once.
    fn finish(&self, note: &Note) -> Result<()> {
        if self.vfs.move_new(&note.hidden, &note.name)? == Publish::AlreadyThere {
            return Err(occupied(&note.name));
        }
        self.vfs.sync_dir(note.name.parent().unwrap_or(&self.redrive.to))
    }
}

fn occupied(path: &Path) -> Error {
    Error::config(format!("{} is there already: move it away, and run the command again", path.display()))
}

impl Redrive {
    fn wants(&self, letter: &Letter) -> bool {
        let Self { source, reason, since, until, .. } = self;
        // Rows that were late or whose call failed have no source.
        source.as_ref().is_none_or(|source| letter.source.as_ref().is_none_or(|of| of == source))
            && reason.as_ref().is_none_or(|text| letter.reason.as_ref().is_some_and(|reason| reason.contains(text.as_str())))
            && since.is_none_or(|since| letter.time.is_some_and(|time| time >= since))
            && until.is_none_or(|until| letter.time.is_some_and(|time| time < until))
    }
}

/// The files that readers see, by their path below `folder`.
fn files_below(vfs: &SharedVfs, folder: &Path, within: &str, found: &mut Vec<String>) -> Result<()> {
    for entry in vfs.list(&folder.join(within))? {
        if entry.name.starts_with(['_', '.']) || entry.name.ends_with(".tmp") {
            continue;
        }
        let path = if within.is_empty() { entry.name.clone() } else { format!("{within}/{}", entry.name) };
        if entry.is_dir { files_below(vfs, folder, &path, found)? } else { found.push(path) }
    }
    Ok(())
}

/// What was taken before, by file.
fn read_notes(vfs: &SharedVfs, notes: &Path) -> Result<BTreeMap<String, Vec<Note>>> {
    let mut found: BTreeMap<String, Vec<Note>> = BTreeMap::new();
    for entry in vfs.list(notes)?.into_iter().filter(|entry| entry.name.ends_with(".json")) {
        let path = notes.join(&entry.name);
        let Some(text) = vfs.read(&path)? else { continue };
        let note: Note = serde_json::from_slice(&text)
            .map_err(|cause| Error::new(ErrorKind::Corrupt, format!("{} is damaged", path.display())).because(cause))?;
        found.entry(note.file.clone()).or_default().push(note);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::storage::FaultVfs;
    use crate::checkpoint::storage::fault::{Fault, Left};

    /// Two files of dead letters; of the second line of the first, nothing but that its call failed.
    fn made() -> FaultVfs {
        let vfs = FaultVfs::default();
        let shared = vfs.shared();
        shared.create_dir(Path::new("/bad/_manifest")).unwrap();
        let line = |source: &str, hour: u64, reason: &str, raw: &str| {
            let raw = STANDARD.encode(raw);
            format!(
                "{{\"source\":\"{source}\",\"time\":\"2026-01-01T{hour:02}:00:00.000Z\",\"reason\":\"{reason}\",\"raw\":\"{raw}\"}}\n"
            )
        };
        let first = line("a", 1, "expected DOUBLE", "one")
            + "{\"kind\":\"failed_call\",\"time\":\"2026-01-01T01:00:00.000Z\",\"reason\":\"expected DOUBLE\",\"row\":\"{}\"}\n"
            + &line("a", 1, "no JSON", "two");
        let second = line("a", 2, "expected DOUBLE", "three")
            + &line("b", 2, "expected DOUBLE", "four")
            + &line("a", 2, "", "far too long");
        for (name, text) in [("part-1.json", first), ("part-2.json", second)] {
            shared.write_new(&Path::new("/bad").join(name), text.as_bytes()).unwrap();
        }
        shared.write_new(Path::new("/bad/_manifest/1.json"), b"{}").unwrap();
        for folder in ["/bad", "/bad/_manifest"] {
            shared.sync_dir(Path::new(folder)).unwrap();
        }
        vfs
    }

    fn all() -> Redrive {
        Redrive {
            dead_letters: "/bad".into(),
            to: "/in".into(),
            extension: "csv".to_owned(),
            header: None,
            line_bytes_max: 10,
            source: None,
            reason: None,
            since: None,
            until: None,
        }
    }

    /// The lines that a reader of the folder sees, in order of their files.
    fn seen(vfs: &FaultVfs) -> Vec<String> {
        let visible =
            vfs.files().into_iter().filter(|path| path.starts_with("/in") && path.extension().is_some_and(|e| e == "csv"));
        let visible = visible.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'));
        let texts = visible.map(|path| vfs.shared().read(&path).unwrap().unwrap());
        texts.flat_map(|text| String::from_utf8(text.to_vec()).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    fn redrive(vfs: &FaultVfs, redrive: Redrive) -> Result<Counts> {
        let planned = plan_redrive(vfs.shared(), redrive)?;
        let counts = planned.counts;
        planned.apply().map(|()| counts)
    }

    #[test]
    fn each_wanted_line_is_fed_back_once() {
        let vfs = made();
        let only_doubles = Redrive { reason: Some("DOUBLE".to_owned()), source: Some("a".to_owned()), ..all() };
        let counts = redrive(&vfs, only_doubles.clone()).unwrap();
        let expected = Counts { lines: 2, files: 2, others: 3, without_line: 1, ..Counts::default() };
        assert_eq!((counts, seen(&vfs)), (expected, vec!["one".to_owned(), "three".to_owned()]));
        let again = redrive(&vfs, only_doubles).unwrap();
        assert_eq!(again, Counts { before: 2, others: 3, without_line: 1, ..Counts::default() });
        // What is left, also where a reader has taken the files away.
        for path in vfs.files().into_iter().filter(|path| path.starts_with("/in")) {
            vfs.shared().remove(&path).unwrap();
        }
        let counts = redrive(&vfs, Redrive { header: Some("h".to_owned()), ..all() }).unwrap();
        assert_eq!(counts, Counts { lines: 2, files: 2, before: 2, without_line: 1, cut: 1, ..Counts::default() });
        assert_eq!(seen(&vfs), ["h", "two", "h", "four"]);
        assert!(plan_redrive(vfs.shared(), all()).unwrap().is_empty());
    }

    #[test]
    fn times_are_from_and_before() {
        let at = |hour: u32| Some(format!("2026-01-01T{hour:02}:00:00Z").parse().unwrap());
        for (since, until, lines) in [(at(1), at(2), 2), (at(2), None, 2), (None, at(1), 0), (at(3), None, 0), (None, None, 4)] {
            let planned = plan_redrive(made().shared(), Redrive { since, until, ..all() }).unwrap();
            assert_eq!(planned.counts.lines, lines, "{since:?} {until:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_a_second_run_waits() {
        let vfs = made();
        let held = plan_redrive(vfs.shared(), all()).unwrap();
        assert_eq!(plan_redrive(vfs.shared(), all()).unwrap_err().condition(), Some("FENCED"));
        drop(held);
        for to in ["/bad", "/bad/in", "/"] {
            assert_eq!(
                plan_redrive(vfs.shared(), Redrive { to: to.into(), ..all() }).unwrap_err().kind(),
                ErrorKind::Config,
                "{to}"
            );
        }
        let nowhere = Redrive { dead_letters: "/nowhere".into(), ..all() };
        assert!(plan_redrive(vfs.shared(), nowhere).unwrap_err().message().contains("there are no dead letters"));
        vfs.shared().write_new(Path::new("/bad/part-3.json"), b"{\"raw\":\"%\"}\n").unwrap();
        assert!(
            plan_redrive(vfs.shared(), all()).unwrap_err().message().contains("could not read dead letter 1 of /bad/part-3.json")
        );
        vfs.shared().remove(Path::new("/bad/part-3.json")).unwrap();
        vfs.shared().write_new(Path::new("/bad/part-3.csv"), b"").unwrap();
        assert!(plan_redrive(vfs.shared(), all()).unwrap_err().message().contains("expected a file with `format: json`"));
    }

    #[test]
    fn a_power_cut_at_any_operation_repeats_and_loses_no_line() {
        let whole = made();
        let mut halfway = 0;
        for operation in 0.. {
            let vfs = whole.after(Left::Everything);
            vfs.fail_at(vfs.operations() + operation, Fault::PowerCut);
            let done = redrive(&vfs, all()).is_ok();
            for seed in 0..4 {
                let after = vfs.after(Left::Any(seed));
                // What is there is read and taken away before the next run.
                let mut lines = seen(&after);
                halfway += u64::from(!lines.is_empty() && lines.len() < 4);
                for path in after.files() {
                    if path.starts_with("/in") && !path.file_name().unwrap().to_str().unwrap().starts_with('.') {
                        after.shared().remove(&path).unwrap();
                    }
                }
                redrive(&after, all()).unwrap();
                lines.extend(seen(&after));
                lines.sort();
                assert_eq!(lines, ["four", "one", "three", "two"], "operation {operation}, seed {seed}");
            }
            if done {
                break;
            }
        }
        assert!(halfway > 0);
    }
}
