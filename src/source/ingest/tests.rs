use std::fmt::Debug;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use tempfile::TempDir;

use super::*;
use crate::checkpoint::storage::fault::{Fault, FaultVfs, Left};
use crate::checkpoint::storage::{Entry, Folders, LocalVfs, Lock, LogFile, Open, Publish, Vfs};
use crate::source::contract::{self, texts};
use crate::source::{Chunk, Offset, OffsetRange, ReadLimit, Source};

const UNLIMITED: ReadLimit = ReadLimit { rows_max: None, bytes_max: None, files_max: None };
const SMALL: IngestSettings = IngestSettings { log_bytes_max: 64 << 10, tail_bytes_max: 2 << 10, keys_max: 0 };

struct Fixture {
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn dir(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn try_open(&self, settings: IngestSettings) -> Result<Ingest> {
        Ingest::open(Keep::Durably { vfs: LocalVfs::shared(), dir: self.dir() }, settings, &["q".to_owned()])
    }

    fn open(&self) -> Ingest {
        self.try_open(IngestSettings::default()).unwrap()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = std::fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

async fn append(ingest: &Ingest, lines: &str) {
    append_as(ingest, "a:1#1", lines).await;
}

async fn append_as(ingest: &Ingest, origin: &str, lines: &str) {
    let cancel = CancellationToken::new();
    let appended = ingest.appender("s").append(&origin.into(), 7, lines.as_bytes(), LineEnd::Clean, &cancel).await;
    assert_eq!(appended, Appended::Yes);
}

async fn end_of(source: &mut IngestSource, start: &Offset) -> Offset {
    source.latest_offset(start, &UNLIMITED).await.unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it takes too long")
}

#[tokio::test]
async fn logs_on_disk_and_in_memory_keep_the_contract_of_sources() {
    let fixture = Fixture::new();
    for ingest in [fixture.open(), Ingest::open(Keep::InMemory, IngestSettings::default(), &[]).unwrap()] {
        append(&ingest, "one\ntwo\nthree\n").await;
        append_as(&ingest, "b:2#2", "four\n").await;
        append(&ingest, "\n").await;
        append(&ingest, "six").await;
        contract::check(&mut ingest.source("q", Extent::Endless)).await;
        ingest.close().unwrap();
    }
}

#[tokio::test]
async fn what_has_left_memory_is_read_from_its_segments() {
    let fixture = Fixture::new();
    let settings = IngestSettings { log_bytes_max: 64 << 10, tail_bytes_max: 1, keys_max: 0 };
    let ingest = fixture.try_open(settings).unwrap();
    let mut expected = Vec::new();
    for number in 0..300 {
        let line = format!("{number:0100}");
        append(&ingest, &format!("{line}\n")).await;
        expected.push(line);
    }
    let mut source = ingest.source("q", Extent::Endless);
    let start = source.initial_offset().await.unwrap();
    let end = end_of(&mut source, &start).await;
    soon(source.make_durable(&end)).await.unwrap();
    assert!(fixture.segments().len() > 1);
    assert_eq!(texts(&mut source, &start).await.unwrap().0, expected);
    let limit = ReadLimit { rows_max: Some(177), ..UNLIMITED };
    let middle = source.latest_offset(&start, &limit).await.unwrap();
    assert_eq!(contract::read(&mut source, &start, &middle).await.unwrap().len(), 177);
    contract::check(&mut source).await;
}

#[tokio::test]
async fn a_range_reads_the_same_after_a_restart_and_rows_go_on_counting() {
    let fixture = Fixture::new();
    let ingest = fixture.open();
    append(&ingest, "a\nb\n").await;
    let mut source = ingest.source("q", Extent::Endless);
    let start = source.initial_offset().await.unwrap();
    let middle = source.latest_offset(&start, &ReadLimit { rows_max: Some(1), ..UNLIMITED }).await.unwrap();
    let end = end_of(&mut source, &start).await;
    ingest.close().unwrap();
    for round in 0..3 {
        let ingest = fixture.open();
        let mut source = ingest.source("q", Extent::Endless);
        assert_eq!(source.initial_offset().await.unwrap(), start);
        let lines = contract::read(&mut source, &middle, &end).await.unwrap();
        assert_eq!((lines.len(), &lines[0].text[..], &*lines[0].origin), (1, &b"b"[..], "a:1#1"));
        assert_eq!(end_of(&mut source, &end).await == end, round == 0, "nothing new the first time");
        append(&ingest, "c\n").await;
        let (new, later) = texts(&mut source, &end).await.unwrap();
        assert_eq!(new.len(), round + 1);
        assert_eq!(later.as_json()["row"], 3 + round);
        ingest.close().unwrap();
    }
}

#[tokio::test]
async fn a_crash_keeps_what_was_durable_and_gives_no_position_twice() {
    let fixture = Fixture::new();
    let ingest = fixture.open();
    append(&ingest, "a\n").await;
    let mut source = ingest.source("q", Extent::Endless);
    let start = source.initial_offset().await.unwrap();
    let durable = end_of(&mut source, &start).await;
    soon(source.make_durable(&durable)).await.unwrap();
    append(&ingest, "b\n").await;
    let planned = end_of(&mut source, &start).await;
    drop((source, ingest));
    // Cut everything behind the first record, as a power cut may.
    let segment = &fixture.segments()[0];
    let cut = HEADER + durable.as_json()["position"].as_u64().unwrap();
    std::fs::OpenOptions::new().write(true).open(segment).unwrap().set_len(cut + 9).unwrap();

    let ingest = fixture.open();
    append(&ingest, "c\n").await;
    let mut source = ingest.source("q", Extent::Endless);
    let replay = contract::read(&mut source, &start, &planned).await.unwrap();
    assert_eq!(replay.len(), 1, "the planned range is cut to what there is");
    assert_eq!(texts(&mut source, &planned).await.unwrap().0, ["c"], "and what came later follows it");
    assert_eq!(texts(&mut source, &durable).await.unwrap().0, ["c"]);
    assert!(SourceStats::get(&ingest.stats().log_bytes_torn) > 0);
}

#[tokio::test]
async fn no_damage_of_a_closed_log_goes_unnoticed() {
    let fixture = Fixture::new();
    let ingest = fixture.open();
    append(&ingest, "a\nb\n").await;
    append(&ingest, "c\n").await;
    let mut source = ingest.source("q", Extent::Endless);
    let start = source.initial_offset().await.unwrap();
    let end = end_of(&mut source, &start).await;
    soon(source.make_durable(&end)).await.unwrap();
    drop(source);
    ingest.close().unwrap();
    let segment = fixture.segments().remove(0);
    let whole = std::fs::read(&segment).unwrap();
    let position = end.as_json()["position"].as_u64().unwrap();
    let used = (HEADER + position) as usize;
    let whole = whole[..used + record::MARK + 40].to_vec();
    let vfs = LocalVfs::shared();
    for at in 0..used + record::MARK {
        for damaged in [flipped(&whole, at), [&whole[..at], &vec![0; whole.len() - at]].concat()] {
            std::fs::write(&segment, &damaged).unwrap();
            match recover(&vfs, &fixture.dir()) {
                Ok(found) => {
                    let cut = damaged[at..].iter().all(|byte| *byte == 0);
                    assert!(at >= used || cut, "byte {at}");
                    assert!(found.end == position || cut, "byte {at}");
                }
                Err(error) => assert_eq!(error.condition(), Some("CKPT_CORRUPT"), "byte {at}: {error}"),
            }
        }
    }
    std::fs::write(&segment, &whole).unwrap();
    let ingest = fixture.open();
    assert_eq!(texts(&mut ingest.source("q", Extent::Endless), &start).await.unwrap().0, ["a", "b", "c"]);
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    flipped[at] ^= 0x10;
    flipped
}

#[tokio::test]
async fn damage_in_an_older_segment_is_found_when_it_is_read() {
    let fixture = Fixture::new();
    let ingest = fixture.try_open(SMALL).unwrap();
    for _ in 0..20 {
        append(&ingest, &format!("{}\n", "x".repeat(1_000))).await;
    }
    let mut source = ingest.source("q", Extent::Endless);
    let start = source.initial_offset().await.unwrap();
    drop(source);
    ingest.close().unwrap();
    let segment = fixture.segments().remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[500] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let ingest = fixture.try_open(SMALL).unwrap();
    let error = texts(&mut ingest.source("q", Extent::Endless), &start).await.unwrap_err();
    assert_eq!((error.kind(), error.condition()), (ErrorKind::Corrupt, Some("CKPT_CORRUPT")));
}

#[tokio::test]
async fn an_offset_of_another_log_is_refused() {
    let (one, other) = (Fixture::new(), Fixture::new());
    let start = one.open().source("q", Extent::Endless).initial_offset().await.unwrap();
    let error = other.open().source("q", Extent::Endless).latest_offset(&start, &UNLIMITED).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_full_log_takes_no_more_until_the_slowest_query_has_released() {
    let fixture = Fixture::new();
    let keep = || [Keep::Durably { vfs: LocalVfs::shared(), dir: fixture.dir() }, Keep::InMemory];
    for keep in keep() {
        let ingest = Ingest::open(keep, SMALL, &["slow".to_owned(), "fast".to_owned()]).unwrap();
        let (mut slow, mut fast) = (ingest.source("slow", Extent::Endless), ingest.source("fast", Extent::Endless));
        let start = slow.initial_offset().await.unwrap();
        let line = format!("{}\n", "x".repeat(1_000));
        let (appender, origin, cancel) = (ingest.appender("s"), Arc::<str>::from("a:1#1"), CancellationToken::new());
        let fill = async || {
            for filled in 0.. {
                let mut append = std::pin::pin!(appender.append(&origin, 0, line.as_bytes(), LineEnd::Clean, &cancel));
                if futures::poll!(append.as_mut()).is_pending() {
                    // Full only if it is not just the disk that is behind.
                    let mut source = ingest.source("fast", Extent::Endless);
                    let end = end_of(&mut source, &start).await;
                    soon(source.make_durable(&end)).await.unwrap();
                    if futures::poll!(append).is_pending() {
                        return filled;
                    }
                }
            }
            0
        };
        assert!((55..64).contains(&fill().await));
        let end = end_of(&mut fast, &start).await;
        fast.release(&end).await.unwrap();
        assert_eq!(fill().await, 0, "the slow query still needs it");
        slow.release(&end).await.unwrap();
        let appended = soon(appender.append(&origin, 0, line.as_bytes(), LineEnd::Clean, &cancel)).await;
        assert_eq!(appended, Appended::Yes);
        assert_eq!(texts(&mut slow, &end).await.unwrap().0.len(), 1);
        ingest.close().unwrap();
    }
    let left: u64 = fixture.segments().iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
    assert!(left < 20 << 10, "{left} bytes are left");
}

#[tokio::test]
async fn a_released_log_can_be_opened_again_and_again() {
    let fixture = Fixture::new();
    let mut at = None;
    for round in 0..5 {
        let ingest = fixture.open();
        let mut source = ingest.source("q", Extent::Endless);
        let start = match at {
            Some(at) => at,
            None => source.initial_offset().await.unwrap(),
        };
        assert!(texts(&mut source, &start).await.unwrap().0.is_empty());
        if round % 2 == 0 {
            append(&ingest, "a\n").await;
        }
        let end = end_of(&mut source, &start).await;
        soon(source.make_durable(&end)).await.unwrap();
        source.release(&end).await.unwrap();
        ingest.close().unwrap();
        at = Some(end);
    }
    assert!(fixture.segments().len() <= 3, "{:?}", fixture.segments());
}

#[tokio::test]
async fn rows_that_were_only_in_memory_are_counted_as_lost() {
    let open = || Ingest::open(Keep::InMemory, IngestSettings::default(), &["q".to_owned()]).unwrap();
    let before = open();
    append(&before, "a\nb\n").await;
    let mut source = before.source("q", Extent::Endless);
    let start = source.initial_offset().await.unwrap();
    let end = end_of(&mut source, &start).await;
    let after = open();
    append(&after, "c\n").await;
    let mut source = after.source("q", Extent::Endless);
    for _ in 0..2 {
        let chunks: Vec<_> = source.read(&OffsetRange { start: start.clone(), end: end.clone() }).await.unwrap().collect().await;
        assert!(matches!(chunks[..], [Ok(Chunk::Lost(2))]), "{chunks:?}");
    }
    assert_eq!(SourceStats::get(&after.stats().rows_lost), 2);
    assert_eq!(texts(&mut source, &end).await.unwrap().0, ["c"]);
}

#[tokio::test]
async fn a_failed_source_gives_what_it_has_and_then_its_failure() {
    let ingest = Ingest::open(Keep::InMemory, IngestSettings::default(), &[]).unwrap();
    let mut source = ingest.source("q", Extent::Endless);
    append(&ingest, "a\n").await;
    let failure = Error::spark(ErrorKind::Unavailable, "NO_HOST", "no host").because(std::io::Error::other("no cable"));
    ingest.appender("s").set_failure(Some(failure));
    let start = source.initial_offset().await.unwrap();
    let (lines, end) = texts(&mut source, &start).await.unwrap();
    assert_eq!(lines, ["a"]);
    soon(source.changed(&end)).await;
    let error = source.latest_offset(&end, &UNLIMITED).await.unwrap_err();
    assert_eq!((error.kind(), error.condition()), (ErrorKind::Unavailable, Some("NO_HOST")), "the engine tells by it what to do");
    assert_eq!(error.chain(), "[NO_HOST] no host: no cable");
    let mut backlog = ingest.source("q", Extent::AvailableNow);
    assert_eq!(end_of(&mut backlog, &start).await, end);
    assert_eq!(end_of(&mut backlog, &end).await, end, "what is there can be read without a connection");
    ingest.appender("s").set_failure(None);
    assert_eq!(end_of(&mut source, &end).await, end);
}

/// A disk with room for so many bytes; what it says when there is no more.
#[derive(Debug)]
struct FullDisk {
    disk: LocalVfs,
    room: Arc<AtomicUsize>,
    kind: ErrorKind,
    /// So many files cannot be removed.
    kept: AtomicUsize,
}

impl FullDisk {
    fn new(kind: ErrorKind) -> Self {
        Self { disk: LocalVfs::default(), room: Arc::new(AtomicUsize::new(1 << 30)), kind, kept: AtomicUsize::new(0) }
    }
}

#[derive(Debug)]
struct FullFile(Arc<dyn LogFile>, Arc<AtomicUsize>, ErrorKind);

impl Folders for FullDisk {
    fn create_dir(&self, dir: &Path) -> Result<()> {
        self.disk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> Result<Vec<Entry>> {
        self.disk.list(dir)
    }
    fn move_new(&self, from: &Path, to: &Path) -> Result<Publish> {
        self.disk.move_new(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.disk.sync_dir(dir)
    }
    fn remove(&self, path: &Path) -> Result<()> {
        let kept = self.kept.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |kept| kept.checked_sub(1));
        if kept.is_ok() {
            return Err(Error::new(ErrorKind::Unavailable, "could not remove: busy"));
        }
        self.disk.remove(path)
    }
}

impl Vfs for FullDisk {
    fn read(&self, file: &Path) -> Result<Option<Bytes>> {
        self.disk.read(file)
    }
    fn write_new(&self, file: &Path, bytes: &[u8]) -> Result<()> {
        self.disk.write_new(file, bytes)
    }
    fn open(&self, file: &Path, how: Open) -> Result<Arc<dyn LogFile>> {
        Ok(Arc::new(FullFile(self.disk.open(file, how)?, self.room.clone(), self.kind)))
    }
    fn lock(&self, file: &Path, owner: &str) -> Result<Lock> {
        self.disk.lock(file, owner)
    }
    fn check_lockable(&self, dir: &Path) -> Result<()> {
        self.disk.check_lockable(dir)
    }
}

impl LogFile for FullFile {
    fn len(&self) -> Result<u64> {
        self.0.len()
    }
    fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        self.0.read_at(offset, len)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let room = self.1.load(Ordering::SeqCst).checked_sub(bytes.len());
        let room = room.ok_or_else(|| Error::new(self.2, "could not write"))?;
        self.1.store(room, Ordering::SeqCst);
        self.0.write_at(offset, bytes)
    }
    fn sync(&self) -> Result<()> {
        self.0.sync()
    }
}

#[tokio::test]
async fn a_full_or_absent_disk_is_reported_and_got_over() {
    // Nothing fits; one record; the first of two segments and the header of the second.
    let cases = [(0, ErrorKind::NoSpace), (4_000, ErrorKind::NoSpace), (9_000, ErrorKind::NoSpace), (0, ErrorKind::Unavailable)];
    for (room, kind) in cases {
        let fixture = Fixture::new();
        let vfs = Arc::new(FullDisk::new(kind));
        let left = vfs.room.clone();
        let keep = Keep::Durably { vfs, dir: fixture.dir() };
        let ingest = Ingest::open(keep, SMALL, &["q".to_owned()]).unwrap();
        left.store(room, Ordering::SeqCst);
        let mut expected = Vec::new();
        for number in 0..5 {
            let line = number.to_string().repeat(3_000);
            append(&ingest, &format!("{line}\n")).await;
            expected.push(line);
        }
        let mut source = ingest.source("q", Extent::Endless);
        let start = source.initial_offset().await.unwrap();
        let end = end_of(&mut source, &start).await;
        assert_eq!(soon(source.make_durable(&end)).await.unwrap_err().kind(), kind);
        left.store(1 << 30, Ordering::SeqCst);
        let position = end.as_json()["position"].as_u64().unwrap();
        let mut durability = ingest.log.durability();
        soon(durability.wait_for(|now| now.to == position)).await.unwrap();
        soon(source.make_durable(&end)).await.unwrap();
        ingest.close().unwrap();
        let ingest = fixture.open();
        assert_eq!(texts(&mut ingest.source("q", Extent::Endless), &start).await.unwrap().0, expected);
    }
}

#[tokio::test]
async fn a_segment_that_cannot_be_removed_leaves_no_hole() {
    let fixture = Fixture::new();
    let vfs = Arc::new(FullDisk::new(ErrorKind::NoSpace));
    let keep = Keep::Durably { vfs: vfs.clone(), dir: fixture.dir() };
    let ingest = Ingest::open(keep, SMALL, &["q".to_owned()]).unwrap();
    for _ in 0..30 {
        append(&ingest, &format!("{}\n", "x".repeat(1_000))).await;
    }
    let mut source = ingest.source("q", Extent::Endless);
    let start = source.initial_offset().await.unwrap();
    let end = end_of(&mut source, &start).await;
    soon(source.make_durable(&end)).await.unwrap();
    assert!(fixture.segments().len() > 3);
    vfs.kept.store(1, Ordering::SeqCst);
    source.release(&end).await.unwrap();
    ingest.close().unwrap();
    let ingest = fixture.try_open(SMALL).unwrap();
    let mut source = ingest.source("q", Extent::Endless);
    assert_eq!(texts(&mut source, &end).await.unwrap().0, [""; 0]);
    source.release(&end).await.unwrap();
    ingest.close().unwrap();
    assert!(fixture.segments().len() <= 2, "{:?}", fixture.segments());
}

#[tokio::test]
async fn an_empty_segment_that_a_crash_kept_is_no_damage() {
    let dir = PathBuf::from("/log");
    let open = |vfs: &FaultVfs| Ingest::open(Keep::Durably { vfs: vfs.shared(), dir: dir.clone() }, SMALL, &["q".to_owned()]);
    let vfs = FaultVfs::default();
    let ingest = open(&vfs).unwrap();
    append(&ingest, "a\n").await;
    let start = ingest.source("q", Extent::Endless).initial_offset().await.unwrap();
    ingest.close().unwrap();
    open(&vfs).unwrap().close().unwrap();
    for operation in 0.. {
        let crashing = vfs.after(Left::Everything);
        crashing.fail_at(crashing.operations() + operation, Fault::PowerCut);
        if open(&crashing).is_ok() {
            assert!(operation > 4, "it writes, syncs and removes");
            break;
        }
        for left in [Left::Everything, Left::Synced].into_iter().chain((0..8).map(Left::Any)) {
            let vfs = crashing.after(left);
            for lines in [&["a", "b"][..], &["a", "b", "b"]] {
                let ingest = open(&vfs).unwrap_or_else(|error| panic!("{operation} {left:?}: {}", error.chain()));
                append(&ingest, "b\n").await;
                assert_eq!(texts(&mut ingest.source("q", Extent::Endless), &start).await.unwrap().0, lines);
                ingest.close().unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_full_log_names_who_holds_it_once_until_there_was_room() {
    let queries = ["fast".to_owned(), "slow".to_owned()];
    let ingest = Ingest::open(Keep::InMemory, SMALL, &queries).unwrap();
    let (mut slow, mut fast) = (ingest.source("slow", Extent::Endless), ingest.source("fast", Extent::Endless));
    let mut start = slow.initial_offset().await.unwrap();
    let line = format!("{}\n", "x".repeat(1_000));
    let origin = Arc::<str>::from("a:1#1");
    for _ in 0..2 {
        while ingest.log.append(&Lines::new(&origin, 0, line.as_bytes(), LineEnd::Clean), Room::Needed) == Append::Done {
            assert_eq!(ingest.log.newly_full(), None);
        }
        let end = end_of(&mut fast, &start).await;
        fast.release(&end).await.unwrap();
        let full = ingest.log.newly_full().unwrap();
        assert_eq!((full.slowest.as_str(), full.limit), ("slow", SMALL.log_bytes_max));
        assert!((60 << 10..=64 << 10).contains(&full.held), "{}", full.held);
        assert_eq!(ingest.log.append(&Lines::new(&origin, 0, line.as_bytes(), LineEnd::Clean), Room::Needed), Append::NoRoom);
        assert_eq!(ingest.log.newly_full(), None, "it was said");
        slow.release(&end).await.unwrap();
        start = end;
    }
}

/// Remembers keys of requests.
const KEYED: IngestSettings = IngestSettings { keys_max: 100, ..SMALL };

async fn take(ingest: &Ingest, key: &str, lines: &str) -> Result<Taken> {
    let key = RequestKey::new(key.as_bytes(), lines.as_bytes());
    soon(ingest.appender("s").take(&"a:1#1".into(), 7, lines.as_bytes(), Some(key))).await
}

#[tokio::test]
async fn a_request_is_acknowledged_only_when_it_is_durable() {
    let fixture = Fixture::new();
    let vfs = Arc::new(FullDisk::new(ErrorKind::NoSpace));
    let room = vfs.room.clone();
    let ingest = Ingest::open(Keep::Durably { vfs, dir: fixture.dir() }, KEYED, &["q".to_owned()]).unwrap();
    room.store(0, Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(take(&ingest, "key", "a\n").await.unwrap_err().kind(), ErrorKind::NoSpace);
    }
    room.store(1 << 30, Ordering::SeqCst);
    let mut durability = ingest.log.durability();
    soon(durability.wait_for(|now| now.trouble.is_none())).await.unwrap();
    assert_eq!(take(&ingest, "key", "a\n").await.unwrap(), Taken::Before);
    assert_eq!(take(&ingest, "key", "b\n").await.unwrap(), Taken::OtherLines);
    let mut source = ingest.source("q", Extent::Endless);
    let start = source.initial_offset().await.unwrap();
    assert_eq!(texts(&mut source, &start).await.unwrap().0, ["a"]);
}

#[tokio::test]
async fn what_was_acknowledged_before_a_power_cut_is_there_once() {
    const REQUESTS: usize = 5;
    let dir = PathBuf::from("/log");
    let open = |vfs: &FaultVfs| Ingest::open(Keep::Durably { vfs: vfs.shared(), dir: dir.clone() }, KEYED, &["q".to_owned()]);
    for operation in 0.. {
        let crashing = FaultVfs::default();
        crashing.fail_at(operation, Fault::PowerCut);
        let mut acknowledged = 0;
        if let Ok(ingest) = open(&crashing) {
            while acknowledged < REQUESTS && take(&ingest, &acknowledged.to_string(), "x\ny\n").await.is_ok() {
                acknowledged += 1;
            }
        }
        for left in [Left::Everything, Left::Synced].into_iter().chain((0..8).map(Left::Any)) {
            let ingest = open(&crashing.after(left)).unwrap_or_else(|error| panic!("{operation} {left:?}: {}", error.chain()));
            for request in 0..REQUESTS {
                let taken = take(&ingest, &request.to_string(), "x\ny\n").await.unwrap();
                assert!(taken == Taken::Before || request >= acknowledged, "{operation} {left:?}: request {request} was lost");
            }
            let mut source = ingest.source("q", Extent::Endless);
            let start = source.initial_offset().await.unwrap();
            assert_eq!(texts(&mut source, &start).await.unwrap().0.len(), 2 * REQUESTS, "{operation} {left:?}");
        }
        if acknowledged == REQUESTS {
            assert!(operation > 8, "it writes and syncs");
            break;
        }
    }
}

/// Lets go of everything that was received.
fn release_all(ingest: &Ingest) {
    let (end, _) = ingest.log.end_and_row();
    ingest.log.release("q", end);
}

#[tokio::test]
async fn a_key_outlives_the_lines_that_it_came_with() {
    const REQUESTS: usize = 40;
    let fixture = Fixture::new();
    let lines = format!("{}\n", "x".repeat(3_000));
    for opening in 0..3 {
        let ingest = fixture.try_open(KEYED).unwrap();
        for request in 0..REQUESTS {
            let taken = take(&ingest, &request.to_string(), &lines).await.unwrap();
            assert_eq!(taken, if opening == 0 { Taken::Now } else { Taken::Before }, "{opening}: {request}");
            release_all(&ingest);
        }
        assert_eq!(take(&ingest, "0", "others\n").await.unwrap(), Taken::OtherLines);
        ingest.close().unwrap();
        let kept = fixture.segments().iter().filter(|file| file.extension().is_some_and(|ending| ending == "keys")).count();
        let bytes: u64 = fixture.segments().iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
        assert!(kept == 1 && bytes < 20 << 10, "{kept} files of keys, {bytes} bytes");
    }
    // At most so many: the oldest are forgotten for new ones, here one for each KiB of the log.
    let ingest = fixture.try_open(KEYED).unwrap();
    for request in REQUESTS..64 + 10 {
        assert_eq!(take(&ingest, &request.to_string(), "x\n").await.unwrap(), Taken::Now);
        release_all(&ingest);
    }
    drop(ingest);
    let ingest = fixture.try_open(KEYED).unwrap();
    assert_eq!(take(&ingest, "10", &lines).await.unwrap(), Taken::Before);
    assert_eq!(take(&ingest, "9", &lines).await.unwrap(), Taken::Now);
    ingest.close().unwrap();
    // What relies on a file of keys does not go on without it.
    let kept = fixture.segments().into_iter().find(|file| file.extension().is_some_and(|ending| ending == "keys")).unwrap();
    let mut bytes = std::fs::read(&kept).unwrap();
    bytes[50] ^= 1;
    std::fs::write(&kept, bytes).unwrap();
    let examined = examine(&LocalVfs::shared(), &fixture.dir()).unwrap().unwrap();
    assert!(examined.faults[0].chain().contains(".keys is damaged"), "{:?}", examined.faults);
    assert_eq!(fixture.try_open(KEYED).unwrap_err().condition(), Some("CKPT_CORRUPT"));
}

#[tokio::test]
async fn a_power_cut_while_segments_change_loses_no_key() {
    const REQUESTS: usize = 8;
    let (dir, lines) = (PathBuf::from("/log"), format!("{}\n", "x".repeat(5_000)));
    let open = |vfs: &FaultVfs| Ingest::open(Keep::Durably { vfs: vfs.shared(), dir: dir.clone() }, KEYED, &["q".to_owned()]);
    for operation in 0.. {
        let crashing = FaultVfs::default();
        crashing.fail_at(operation, Fault::PowerCut);
        let mut acknowledged = 0;
        if let Ok(ingest) = open(&crashing) {
            while acknowledged < REQUESTS && take(&ingest, &acknowledged.to_string(), &lines).await.is_ok() {
                release_all(&ingest);
                acknowledged += 1;
            }
        }
        for left in [Left::Everything, Left::Synced].into_iter().chain((0..4).map(Left::Any)) {
            let after = crashing.after(left);
            for opening in 0..2 {
                let ingest = open(&after).unwrap_or_else(|error| panic!("{operation} {left:?} {opening}: {}", error.chain()));
                for request in 0..acknowledged {
                    let taken = take(&ingest, &request.to_string(), &lines).await.unwrap();
                    assert_eq!(taken, Taken::Before, "{operation} {left:?} {opening}: request {request} was taken again");
                }
            }
        }
        if acknowledged == REQUESTS {
            assert!(operation > 30, "segments and keys are written, synced and deleted");
            break;
        }
    }
}
