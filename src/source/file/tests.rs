use std::io::Write;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::checkpoint::storage::LocalVfs;
use crate::source::contract::{self, read, texts};
use crate::source::{LineEnd, contract::Line};

/// A folder with files whose modification times are in the order they were written, and a source's own folder beside it.
struct Fixture {
    dir: TempDir,
    written: i64,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        Self { dir, written: 1_000_000 }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("in")
    }

    fn write(&mut self, name: &str, content: impl AsRef<[u8]>) {
        self.written += 1;
        let file = self.folder().join(name);
        std::fs::write(&file, content).unwrap();
        let time = std::time::UNIX_EPOCH + Duration::from_secs(self.written as u64);
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    }

    fn append(&self, name: &str, content: &str) {
        let file = std::fs::File::options().append(true).create(true).open(self.folder().join(name));
        file.unwrap().write_all(content.as_bytes()).unwrap();
    }

    fn settings(&self) -> FileSettings {
        FileSettings { look_every: Duration::from_millis(5), ..FileSettings::new(self.folder()) }
    }

    async fn open_with(&self, settings: FileSettings, extent: Extent) -> Result<FileSource> {
        FileSource::open(settings, LocalVfs::shared(), &self.dir.path().join("own"), extent).await
    }

    async fn open(&self) -> FileSource {
        self.open_with(self.settings(), Extent::Endless).await.unwrap()
    }

    async fn available(&self) -> FileSource {
        self.open_with(self.settings(), Extent::AvailableNow).await.unwrap()
    }
}

const UNLIMITED: ReadLimit = ReadLimit { rows_max: None, bytes_max: None, files_max: None };

async fn all(source: &mut FileSource) -> Vec<String> {
    let start = source.initial_offset().await.unwrap();
    texts(source, &start).await.unwrap().0
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn plain_compressed_and_growing_files_keep_the_contract_of_sources() {
    for tail in [false, true] {
        let mut fixture = Fixture::new();
        fixture.write("a", "one\ntwo\r\nthree\rfour\n");
        fixture.write("b.gz", gzip("five\nsix\nseven\n"));
        fixture.write("c.zst", zstd::encode_all(&b"eight\nnine"[..], 1).unwrap());
        fixture.write("d", "\n\nten\n");
        let settings = FileSettings { tail, ..fixture.settings() };
        let mut source = fixture.open_with(settings, Extent::AvailableNow).await.unwrap();
        contract::check(&mut source).await;
    }
}

#[tokio::test]
async fn files_are_read_in_the_order_they_were_written() {
    let mut fixture = Fixture::new();
    fixture.write("z", "1\n");
    fixture.write("a", "2\n");
    fixture.write("m", "3");
    fixture.write("n", "4\n");
    assert_eq!(all(&mut fixture.available().await).await, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn files_per_batch_are_limited_and_an_empty_file_is_a_batch() {
    let mut fixture = Fixture::new();
    fixture.write("a", "1\n2\n");
    fixture.write("b", "");
    fixture.write("c", "3\n");
    let mut source = fixture.available().await;
    let limit = ReadLimit { files_max: Some(1), ..UNLIMITED };
    let mut at = source.initial_offset().await.unwrap();
    let mut batches = Vec::new();
    loop {
        let end = source.latest_offset(&at, &limit).await.unwrap();
        if end == at {
            break;
        }
        batches.push(read(&mut source, &at, &end).await.unwrap().len());
        at = end;
    }
    assert_eq!(batches, [2, 0, 1]);
}

#[tokio::test]
async fn available_now_reads_what_was_there_at_the_start() {
    let mut fixture = Fixture::new();
    fixture.write("a", "1\n");
    let mut source = fixture.available().await;
    fixture.write("b", "2\n");
    assert_eq!(all(&mut source).await, ["1"]);
}

#[tokio::test]
async fn a_file_is_taken_once_two_listings_agree() {
    let fixture = Fixture::new();
    let mut source = fixture.open().await;
    let start = source.initial_offset().await.unwrap();
    fixture.append("a", "1\n");
    {
        let mut files = source.files.lock().unwrap();
        let from = Progress { file: 0, position: 0 };
        assert_eq!(files.latest(from, &UNLIMITED).unwrap(), (from, true), "seen once");
    }
    assert_eq!(texts(&mut source, &start).await.unwrap().0, ["1"]);
}

#[tokio::test]
async fn a_file_that_was_not_touched_for_long_is_taken_at_once() {
    let mut fixture = Fixture::new();
    let source = fixture.open().await;
    fixture.write("a", "1\n");
    let mut files = source.files.lock().unwrap();
    let taken = files.latest(Progress { file: 0, position: 0 }, &UNLIMITED).unwrap();
    assert_eq!(taken, (Progress { file: 1, position: 0 }, false));
}

#[tokio::test]
async fn a_planned_range_is_the_same_after_a_restart_though_other_files_appeared() {
    let mut fixture = Fixture::new();
    fixture.write("b", "1\n2\n3\n");
    let mut source = fixture.available().await;
    let start = source.initial_offset().await.unwrap();
    let middle = source.latest_offset(&start, &ReadLimit { rows_max: Some(2), ..UNLIMITED }).await.unwrap();
    drop(source);
    fixture.written = 0;
    fixture.write("a", "0\n");
    let mut source = fixture.available().await;
    let lines = read(&mut source, &start, &middle).await.unwrap();
    assert_eq!(lines.iter().map(|line| &line.text[..]).collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(texts(&mut source, &middle).await.unwrap().0, ["3", "0"]);
}

#[tokio::test]
async fn a_file_that_changed_after_it_was_taken_stops_the_query() {
    for change in ["longer than it was\n", "x"] {
        let mut fixture = Fixture::new();
        fixture.write("a", "1\n");
        let mut source = fixture.available().await;
        let start = source.initial_offset().await.unwrap();
        let end = source.latest_offset(&start, &UNLIMITED).await.unwrap();
        if change == "x" {
            std::fs::remove_file(fixture.folder().join("a")).unwrap()
        } else {
            fixture.write("a", change)
        }
        let error = read(&mut source, &start, &end).await.unwrap_err();
        assert_eq!((error.kind(), error.condition()), (ErrorKind::Data, Some("FILE_CHANGED")), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_gone_before_it_is_taken_is_no_failure() {
    let mut fixture = Fixture::new();
    fixture.write("a", "1\n");
    fixture.write("b", "2\n");
    let mut source = fixture.available().await;
    std::fs::remove_file(fixture.folder().join("a")).unwrap();
    assert_eq!(all(&mut source).await, ["2"]);
}

#[tokio::test]
async fn growing_files_give_their_complete_lines() {
    let fixture = Fixture::new();
    let mut source = fixture.open_with(FileSettings { tail: true, ..fixture.settings() }, Extent::Endless).await.unwrap();
    let start = source.initial_offset().await.unwrap();
    fixture.append("a", "1\n2");
    fixture.append("b", "x\r");
    let (lines, at) = texts(&mut source, &start).await.unwrap();
    assert_eq!(lines, ["1"]);
    fixture.append("a", "2\n3\n");
    fixture.append("b", "\ny\n");
    tokio::time::timeout(Duration::from_secs(20), source.changed(&at)).await.unwrap();
    let (mut lines, at) = texts(&mut source, &at).await.unwrap();
    lines.sort_unstable();
    assert_eq!(lines, ["22", "3", "x", "y"]);
    drop(source);
    fixture.append("a", "4\n");
    let mut source = fixture.open_with(FileSettings { tail: true, ..fixture.settings() }, Extent::AvailableNow).await.unwrap();
    assert_eq!(texts(&mut source, &at).await.unwrap().0, ["4"]);
    std::fs::write(fixture.folder().join("a"), "1\n").unwrap();
    let mut source = fixture.open_with(FileSettings { tail: true, ..fixture.settings() }, Extent::Endless).await.unwrap();
    let error = source.latest_offset(&at, &UNLIMITED).await.unwrap_err();
    assert_eq!(error.condition(), Some("FILE_CHANGED"));
}

#[tokio::test]
async fn a_line_that_is_too_long_is_cut_and_counts_as_one_row() {
    let mut fixture = Fixture::new();
    let long = "x".repeat(3_000_000);
    fixture.write("a", format!("1\n{long}\n2\n{long}"));
    let settings = FileSettings { line_bytes_max: 1_000, ..fixture.settings() };
    let mut source = fixture.open_with(settings, Extent::AvailableNow).await.unwrap();
    let limit = ReadLimit { rows_max: Some(2), ..UNLIMITED };
    let start = source.initial_offset().await.unwrap();
    let middle = source.latest_offset(&start, &limit).await.unwrap();
    let end = source.latest_offset(&middle, &limit).await.unwrap();
    let shown = |line: &Line| (line.text.len(), line.position, line.end);
    let first: Vec<_> = read(&mut source, &start, &middle).await.unwrap().iter().map(shown).collect();
    assert_eq!(first, [(1, 0, LineEnd::Clean), (1_000, 2, LineEnd::TooLong)]);
    let second: Vec<_> = read(&mut source, &middle, &end).await.unwrap().iter().map(shown).collect();
    assert_eq!(second, [(1, 3_000_003, LineEnd::Clean), (1_000, 3_000_005, LineEnd::TooLong)]);
}

#[tokio::test]
async fn bytes_pass_through_as_they_are_a_byte_order_mark_too() {
    let mut fixture = Fixture::new();
    fixture.write("a", b"\xEF\xBB\xBFa\0\xFF\n\xEF\xBB\xBFb\n");
    let mut source = fixture.available().await;
    let start = source.initial_offset().await.unwrap();
    let end = source.latest_offset(&start, &UNLIMITED).await.unwrap();
    let lines = read(&mut source, &start, &end).await.unwrap();
    assert_eq!((lines[0].position, &lines[0].text[..]), (0, &b"\xEF\xBB\xBFa\0\xFF"[..]));
    assert_eq!(lines[1].text, b"\xEF\xBB\xBFb");
}

#[tokio::test]
async fn a_damaged_compressed_file_is_an_error_of_the_data() {
    for name in ["a.gz", "a.zst"] {
        let mut fixture = Fixture::new();
        fixture.write(name, "not compressed at all");
        let mut source = fixture.available().await;
        let start = source.initial_offset().await.unwrap();
        let error = texts(&mut source, &start).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{name}: {error}");
    }
}

#[tokio::test]
async fn files_that_were_read_are_archived_or_deleted_once_released() {
    let mut fixture = Fixture::new();
    let archive = fixture.dir.path().join("in/archive");
    for (settings, left) in [(CleanSource::Archive(archive.clone()), 1), (CleanSource::Delete, 1)] {
        fixture.write("a", "1\n");
        fixture.write("b", "2\n");
        let settings = FileSettings { clean_source: settings, ..fixture.settings() };
        let own = tempfile::tempdir().unwrap();
        let mut source = FileSource::open(settings, LocalVfs::shared(), own.path(), Extent::AvailableNow).await.unwrap();
        let start = source.initial_offset().await.unwrap();
        let end = source.latest_offset(&start, &UNLIMITED).await.unwrap();
        assert!(fixture.folder().join("a").exists());
        source.release(&end).await.unwrap();
        assert!(!fixture.folder().join("a").exists() && !fixture.folder().join("b").exists());
        assert_eq!(std::fs::read_dir(fixture.folder()).unwrap().count(), left);
    }
    assert_eq!(std::fs::read(archive.join("b")).unwrap(), b"2\n");
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let fixture = Fixture::new();
    let cases = [
        (FileSettings::new(fixture.dir.path().join("nowhere")), "there is no file or folder"),
        (
            FileSettings { tail: true, clean_source: CleanSource::Delete, ..fixture.settings() },
            "`tail` and `clean_source` do not go together",
        ),
        (
            FileSettings { clean_source: CleanSource::Archive(fixture.folder()), ..fixture.settings() },
            "is where the source reads",
        ),
    ];
    for (settings, expected) in cases {
        let error = fixture.open_with(settings, Extent::Endless).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn an_offset_beyond_the_list_is_a_damaged_checkpoint() {
    let fixture = Fixture::new();
    let mut source = fixture.open().await;
    let beyond = Offset::encode(&Progress { file: 3, position: 0 });
    let error = source.latest_offset(&beyond, &UNLIMITED).await.unwrap_err();
    assert_eq!((error.kind(), error.condition()), (ErrorKind::Corrupt, Some("CKPT_CORRUPT")));
}

#[test]
fn a_table_is_all_lines_of_its_files() {
    let mut fixture = Fixture::new();
    fixture.write("b", "1\n2");
    fixture.write("a.gz", gzip("3\n"));
    let chunks: Vec<_> = read_table(&fixture.folder(), 100).unwrap().collect::<Result<_>>().unwrap();
    let lines: Vec<&[u8]> = chunks.iter().map(|chunk| &chunk.bytes[..]).collect();
    assert_eq!(lines, [&b"1\n"[..], b"2", b"3\n"]);
    assert_eq!(table_files(&fixture.folder()).unwrap().len(), 2);
    assert_eq!(read_table(&fixture.folder().join("c"), 100).err().unwrap().kind(), ErrorKind::Config);
}
