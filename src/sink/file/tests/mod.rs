//! The file sink on a disk that fails on command.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use expect_test::{Expect, expect};
use futures::executor::block_on;

use super::*;
use crate::checkpoint::storage::fault::{Fault, FaultVfs, Left};
use crate::checkpoint::storage::{Folders, LocalVfs};
use crate::error::ErrorKind;
use crate::pipeline::CsvSpec;

mod formats;
mod rolling;

const DIR: &str = "/out";

fn id(number: u64) -> CommitId {
    CommitId {
        query_id: "0198c0ffee".repeat(3),
        sink: "file".to_owned(),
        number,
        batch_id: number + 3,
        batch_time_us: 1_700_000,
        crc32c: 0,
        is_accepted: false,
    }
}

fn text(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn rows(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).expect("rows")
}

/// Three rows in two partitions.
fn sample(number: i64) -> RecordBatch {
    let amounts = Int64Array::from(vec![number, number + 10, number + 20]);
    rows(vec![("name", text(&[Some("ada"), None, Some("ada")])), ("amount", Arc::new(amounts))])
}

fn sink(vfs: &FaultVfs, format: FileFormat, partition_by: &[&str]) -> FileSink {
    FileSink::new(vfs.shared(), DIR, format, partition_by.iter().map(|name| (*name).to_owned()).collect(), "UTC")
}

fn opened(vfs: &FaultVfs) -> FileSink {
    let mut sink = sink(vfs, FileFormat::Json, &["name"]);
    block_on(sink.open(&sample(0).schema())).expect("opens");
    sink
}

/// Every file that a reader would read, by its path within the folder.
fn visible(vfs: &FaultVfs) -> BTreeMap<String, String> {
    let within = |path: &PathBuf| path.strip_prefix(DIR).ok().and_then(Path::to_str).map(str::to_owned);
    let is_visible = |path: &String| !path.split('/').any(|name| name.starts_with(['_', '.']));
    let read = |path: String| {
        let bytes = vfs.shared().read(&Path::new(DIR).join(&path)).expect("reads").expect("is there");
        (path, String::from_utf8(bytes.to_vec()).expect("text"))
    };
    vfs.files().iter().filter_map(within).filter(is_visible).map(read).collect()
}

/// What readers see once the commits before `number` are in.
fn expected(number: u64) -> BTreeMap<String, String> {
    let vfs = FaultVfs::default();
    let mut sink = opened(&vfs);
    for number in 0..number {
        commit(&mut sink, number).expect("commits");
    }
    visible(&vfs)
}

fn commit(sink: &mut FileSink, number: u64) -> Result<()> {
    let staged = sink.stage(&[sample(i64::try_from(number).expect("small"))])?;
    block_on(sink.commit(&id(number), &staged))
}

#[test]
fn a_commit_is_a_file_per_partition_and_a_manifest() {
    let vfs = FaultVfs::default();
    let mut sink = opened(&vfs);
    commit(&mut sink, 0).expect("commits");
    let found: Vec<_> = visible(&vfs).into_iter().map(|(path, text)| format!("{path}: {text}")).collect();
    expect![[r#"
        name=__HIVE_DEFAULT_PARTITION__/part-00000-7ec3b274-000000.json: {"amount":10}
        name=ada/part-00001-7ec3b274-000000.json: {"amount":0}
        {"amount":20}
    "#]]
    .assert_eq(&found.concat());
    let manifest = vfs.files().into_iter().find(|path| path.starts_with("/out/_manifest")).expect("a manifest");
    let manifest = vfs.shared().read(&manifest).expect("reads").expect("is there");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!((&manifest["number"], &manifest["batch_id"]), (&0.into(), &3.into()));
    assert_eq!(manifest["files"][1]["path"], "name=ada/part-00001-7ec3b274-000000.json");
    assert!(!vfs.files().iter().any(|path| path.starts_with("/out/.staging")), "{:?}", vfs.files());
}

#[test]
fn a_batch_without_rows_is_nothing() {
    let mut sink = opened(&FaultVfs::default());
    assert!(sink.stage(&[]).expect("stages").is_empty());
    assert!(sink.stage(&[sample(0).slice(0, 0)]).expect("stages").is_empty());
}

#[test]
fn a_commit_cut_at_any_operation_shows_whole_files_and_can_be_repeated() {
    for operation in 0.. {
        let vfs = FaultVfs::default();
        let mut sink = opened(&vfs);
        commit(&mut sink, 0).expect("commits");
        vfs.fail_at(vfs.operations() + operation, Fault::PowerCut);
        let is_done = commit(&mut sink, 1).is_ok();
        let (before, after) = (expected(1), expected(2));
        for left in [Left::Everything, Left::Synced, Left::Any(operation), Left::Any(operation + 1000)] {
            let vfs = vfs.after(left);
            let seen = visible(&vfs);
            assert!(before.iter().all(|(path, text)| seen.get(path) == Some(text)), "cut at {operation}: {seen:?}");
            assert!(seen.iter().all(|(path, text)| after.get(path) == Some(text)), "cut at {operation}: {seen:?}");
            let mut sink = opened(&vfs);
            match block_on(sink.contains(&id(1))).expect("tells") {
                Contains::Yes => assert_eq!(seen, after, "cut at {operation}"),
                Contains::No => commit(&mut sink, 1).unwrap_or_else(|error| panic!("cut at {operation}: {}", error.chain())),
                other => panic!("cut at {operation}: {other:?}"),
            }
            assert_eq!(visible(&vfs), after, "cut at {operation}");
            assert_eq!(block_on(sink.contains(&id(1))).expect("tells"), Contains::Yes);
            assert!(!vfs.files().iter().any(|path| path.starts_with("/out/.staging")), "{:?}", vfs.files());
        }
        if is_done {
            assert!(operation > 10, "there were only {operation} operations");
            return;
        }
    }
}

#[test]
fn a_full_disk_leaves_nothing_visible_and_the_commit_can_be_repeated() {
    let mut full = 0;
    for operation in 0.. {
        let vfs = FaultVfs::default();
        let mut sink = opened(&vfs);
        let start = vfs.operations();
        vfs.fail_at(start + operation, Fault::NoSpace);
        match commit(&mut sink, 0) {
            Ok(()) if vfs.operations() - start <= operation => break,
            Ok(()) => {}
            Err(error) => {
                full += 1;
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{}", error.chain());
                assert_eq!(block_on(sink.contains(&id(0))).expect("tells"), Contains::No);
                commit(&mut sink, 0).expect("commits");
            }
        }
        assert_eq!(visible(&vfs), expected(1), "full at {operation}");
    }
    assert!(full > 6, "only {full} commits found the disk full");
}

#[test]
fn the_manifests_tell_what_is_in() {
    let vfs = FaultVfs::default();
    let mut sink = opened(&vfs);
    let check = |id: &CommitId, expected: Contains| {
        let mut sink = opened(&vfs);
        assert_eq!(block_on(sink.contains(id)).expect("tells"), expected, "{id:?}");
    };
    check(&id(0), Contains::No);
    check(&id(1), Contains::MarkerLost);
    for number in 0..3 {
        commit(&mut sink, number).expect("commits");
    }
    check(&id(1), Contains::Ahead(2));
    check(&id(2), Contains::Yes);
    check(&id(3), Contains::No);
    check(&id(4), Contains::MarkerLost);
    let accepted = |number| CommitId { is_accepted: true, ..id(number) };
    check(&accepted(1), Contains::Ahead(2));
    check(&accepted(2), Contains::Yes);
    check(&accepted(4), Contains::No);
    // A checkpoint that starts over, and a sink under another name, have series of their own.
    check(&CommitId { query_id: "other".to_owned(), ..id(0) }, Contains::No);
    check(&CommitId { sink: "copy".to_owned(), ..id(0) }, Contains::No);
    let newest = vfs.files().into_iter().rfind(|path| path.starts_with("/out/_manifest")).expect("a manifest");
    vfs.damage(&newest, |bytes| bytes.truncate(20)).expect("is there");
    check(&id(3), Contains::MarkerLost);
    check(&accepted(3), Contains::No);
    for id in [id(2), accepted(2)] {
        let error = block_on(opened(&vfs).contains(&id)).expect_err("a manifest that says nothing");
        assert_eq!((error.condition(), error.fact("at")), (Some("MARKER_LOST"), Some("3")));
    }
}

#[test]
fn a_file_that_is_there_with_other_contents_stops_the_commit() {
    let vfs = FaultVfs::default();
    let mut sink = opened(&vfs);
    commit(&mut sink, 0).expect("commits");
    commit(&mut sink, 0).expect("a repetition finds its own files");
    let other = sink.stage(&[sample(7)]).expect("stages");
    let error = block_on(sink.commit(&id(0), &other)).expect_err("other contents");
    assert_eq!((error.kind(), error.condition()), (ErrorKind::Corrupt, Some("MARKER_LOST")));
    assert!(error.message().starts_with("/out/name=__HIVE_DEFAULT_PARTITION__/part-00000-"), "{error}");
    assert_eq!(visible(&vfs), expected(1));
}

#[test]
fn what_was_staged_in_another_format_keeps_it() {
    let vfs = FaultVfs::default();
    let staged = opened(&vfs).stage(&[sample(0)]).expect("stages");
    let mut csv = sink(&vfs, FileFormat::Csv(CsvSpec::default()), &[]);
    block_on(csv.open(&sample(0).schema())).expect("opens");
    block_on(csv.commit(&id(0), &staged)).expect("commits");
    assert_eq!(visible(&vfs), expected(1));
}

#[test]
fn staged_bytes_that_are_damaged_are_refused() {
    let vfs = FaultVfs::default();
    let mut sink = opened(&vfs);
    let staged = sink.stage(&[sample(0)]).expect("stages");
    for at in 0..staged.len() {
        let mut bytes = staged.to_vec();
        bytes[at] ^= 1;
        // Folders and the ending are covered by the frame's checksum only.
        if let Err(error) = container::unpack(&bytes.into()) {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
        let cut = block_on(sink.commit(&id(0), &staged.slice(..at))).expect_err("cut");
        assert_eq!(cut.kind(), ErrorKind::Corrupt);
    }
    assert_eq!(visible(&vfs), BTreeMap::new());
}

#[test]
fn the_local_disk_takes_commits_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("a/b");
    let mut sink = FileSink::new(LocalVfs::shared(), &dir, FileFormat::Json, vec!["name".to_owned()], "UTC");
    block_on(sink.open(&sample(0).schema())).expect("opens");
    for number in [0, 0, 1] {
        commit(&mut sink, number).expect("commits");
    }
    assert_eq!(block_on(sink.contains(&id(1))).expect("tells"), Contains::Yes);
    let names =
        |dir: &Path| LocalVfs::default().list(dir).expect("lists").into_iter().map(|entry| entry.name).collect::<Vec<_>>();
    assert_eq!(names(&dir), [".staging", "_manifest", "name=__HIVE_DEFAULT_PARTITION__", "name=ada"]);
    assert_eq!(names(&dir.join("name=ada")).len(), 2);
    assert_eq!(names(&dir.join(".staging")), Vec::<String>::new());
}
