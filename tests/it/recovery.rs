//! Stopping after every step of the protocol, also within recovery, loses and repeats nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use tempfile::TempDir;
use tidemill::checkpoint::storage::LocalVfs;
use tidemill::checkpoint::{BatchId, CheckpointRoot, inspect};
use tidemill::engine::start::{Process, Resources};
use tidemill::engine::{Step, StopAfter};
use tidemill::maintenance::plan_accept;
use tidemill::metrics::Metrics;
use tidemill::state::rows_of_changelogs;
use tidemill::{Result, pipeline};

const FILES: usize = 4;

/// Every transaction passes through, and per-name counts too: append to one folder, and a running total whose every emission is kept.
fn write_pipeline(folder: &Path) {
    fs::create_dir(folder.join("in")).unwrap();
    for number in 0..FILES {
        let lines: String = (0..5).map(|row| format!("{{\"id\": {}, \"k\": \"k{}\"}}\n", number * 5 + row, row % 2)).collect();
        let path = folder.join(format!("in/{number}.json"));
        fs::write(&path, lines).unwrap();
        let at = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + number as u64);
        fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
    }
    let text = r#"
version: 1
name: recovery
checkpoint: checkpoint
sources:
  rows:
    from: { file: { path: in, max_files_per_trigger: 1 } }
    format: { json: { schema: "id BIGINT, k STRING" } }
queries:
  pass:
    sql: SELECT id, k FROM rows
    trigger: available_now
    to:
      - { file: { path: out/json }, format: json }
      - { file: { path: out/csv, partition_by: [k] }, format: csv, name: second, select: "SELECT id, k FROM result" }
"#;
    fs::write(folder.join("pipeline.yaml"), text).unwrap();
}

/// Runs the pipeline once, stopping where `stop` says.
fn run(folder: &Path, stop: StopAfter) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let pipeline = pipeline::load(&folder.join("pipeline.yaml"), &[])?;
    let mut resources = Resources::new(runtime.handle().clone(), Metrics::new()?);
    resources.stop_after = stop;
    runtime.block_on(async { Process::start(pipeline, resources).await?.wait(Duration::from_secs(30)).await })
}

/// Stops once, after `step` of `batch`.
fn once(batch: u64, step: Step) -> (StopAfter, Arc<AtomicBool>) {
    let stopped = Arc::new(AtomicBool::new(false));
    let seen = stopped.clone();
    let stop = StopAfter::when(move |at, after| at == BatchId(batch) && after == step && !seen.swap(true, Ordering::SeqCst));
    (stop, stopped)
}

/// All lines of a folder's visible files, as a multiset.
fn lines(folder: &Path) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with(['_', '.']) {
            continue;
        }
        let inner = if path.is_dir() {
            lines(&path)
        } else {
            fs::read_to_string(&path).unwrap().lines().map(|line| (line.to_owned(), 1)).fold(BTreeMap::new(), add)
        };
        found = inner.into_iter().fold(found, add);
    }
    found
}

fn add(mut found: BTreeMap<String, usize>, (line, times): (String, usize)) -> BTreeMap<String, usize> {
    *found.entry(line).or_default() += times;
    found
}

fn assert_whole(folder: &Path, when: &str) {
    let json: BTreeMap<_, _> = (0..FILES * 5).map(|id| (format!("{{\"id\":{id},\"k\":\"k{}\"}}", id % 5 % 2), 1)).collect();
    assert_eq!(lines(&folder.join("out/json")), json, "json output {when}");
    let csv: BTreeMap<_, _> = (0..FILES * 5).map(|id| (id.to_string(), 1)).collect();
    assert_eq!(lines(&folder.join("out/csv")), csv, "csv output {when}");
}

#[test]
fn every_row_comes_out_once_wherever_a_batch_is_cut_off() {
    for step in Step::ALL {
        for batch in [0, 2] {
            let folder = TempDir::new().unwrap();
            write_pipeline(folder.path());
            let (stop, stopped) = once(batch, step);
            run(folder.path(), stop).expect_err("the run is cut off");
            assert!(stopped.load(Ordering::SeqCst), "batch {batch} never got to {step}");
            run(folder.path(), StopAfter::default()).unwrap();
            assert_whole(folder.path(), &format!("after a stop at {step} of batch {batch}"));
        }
    }
}

#[test]
fn the_output_of_a_decided_batch_is_written_unless_a_person_says_that_it_is_in() {
    for (at, is_written) in [(2, true), (3, false)] {
        let folder = TempDir::new().unwrap();
        write_pipeline(folder.path());
        run(folder.path(), once(2, Step::Prepared).0).expect_err("the run is cut off");
        fs::remove_dir_all(folder.path().join("out/json/_manifest")).unwrap();
        let lost = run(folder.path(), StopAfter::default()).unwrap_err();
        assert_eq!((lost.condition(), lost.fact("at")), (Some("MARKER_LOST"), Some("2")), "{}", lost.chain());
        let root = CheckpointRoot::open(LocalVfs::shared(), folder.path().join("checkpoint")).unwrap();
        plan_accept(&root, "pass", lost.fact("sink").unwrap(), at).unwrap().apply(&root).unwrap();
        drop(root);
        // What was said holds through a crash before the other sink has the batch.
        run(folder.path(), once(2, Step::FirstSinkCommitted).0).expect_err("the run is cut off");
        run(folder.path(), StopAfter::default()).unwrap();
        if is_written {
            assert_whole(folder.path(), "after it was accepted");
        } else {
            let expected: BTreeMap<_, _> = (0..FILES * 5)
                .filter(|id| id / 5 != 2)
                .map(|id| (format!("{{\"id\":{id},\"k\":\"k{}\"}}", id % 5 % 2), 1))
                .collect();
            assert_eq!(lines(&folder.path().join("out/json")), expected);
            assert_eq!(lines(&folder.path().join("out/csv")).len(), FILES * 5);
        }
    }
}

/// Counts per key, with so many and so long keys that every batch is worth a snapshot.
fn write_counting_pipeline(folder: &Path) {
    fs::create_dir(folder.join("in")).unwrap();
    for number in 0..FILES {
        let lines: String = (0..KEYS).map(|key| format!("{{\"k\": \"{}\"}}\n", long_key(key))).collect();
        fs::write(folder.join(format!("in/{number}.json")), lines).unwrap();
    }
    let text = r#"
version: 1
name: recovery
checkpoint: checkpoint
sources:
  rows:
    from: { file: { path: in, max_files_per_trigger: 1 } }
    format: { json: { schema: "k STRING" } }
queries:
  counts:
    sql: SELECT k, count(*) AS n FROM rows GROUP BY k
    output_mode: update
    trigger: available_now
    to: { discard: {} }
"#;
    fs::write(folder.join("pipeline.yaml"), text).unwrap();
}

const KEYS: usize = 3_000;

fn long_key(key: usize) -> String {
    format!("{key:0>400}")
}

#[test]
fn state_counts_every_row_once_wherever_a_batch_with_a_snapshot_is_cut_off() {
    for (batch, step) in
        [(0, Step::Snapshotted), (1, Step::Committed), (1, Step::Snapshotted), (2, Step::Prepared), (3, Step::Released)]
    {
        let folder = TempDir::new().unwrap();
        write_counting_pipeline(folder.path());
        run(folder.path(), once(batch, step).0).expect_err("the run is cut off");
        run(folder.path(), StopAfter::default()).unwrap();
        let found = inspect(&LocalVfs::shared(), &folder.path().join("checkpoint"), "counts").unwrap();
        let state = rows_of_changelogs(&found.recovered.state["aggregate-0"], 1).unwrap().unwrap();
        assert_eq!(state.num_rows(), KEYS, "after a stop at {step} of batch {batch}");
        let counts = state.column(1).as_primitive::<Int64Type>().values();
        assert!(counts.iter().all(|count| *count == FILES as i64), "after a stop at {step} of batch {batch}");
        // A run that goes on for a batch writes the snapshot that is due before it ends.
        assert!(
            batch == 3 || found.frames.iter().any(|frame| frame.kind == "snapshot"),
            "no snapshot after a stop at {step} of batch {batch}"
        );
    }
}

/// Counts and sums of what lambda functions make of arrays.
fn write_folding_pipeline(folder: &Path) {
    fs::create_dir(folder.join("in")).unwrap();
    for number in 0..FILES {
        let lines: String =
            (0..9).map(|row| format!("{{\"k\": {}, \"a\": [1, {row}, null]}}\n{{\"k\": {0}}}\n", row % 3)).collect();
        fs::write(folder.join(format!("in/{number}.json")), lines).unwrap();
    }
    let text = r#"
version: 1
name: recovery
checkpoint: checkpoint
sources:
  rows:
    from: { file: { path: in, max_files_per_trigger: 1 } }
    format: { json: { schema: "k INT, a ARRAY<INT>" } }
queries:
  folds:
    sql: |
      SELECT k, count_if(exists(a, x -> x > k)) AS n, max(aggregate(transform(a, (x, i) -> x * k + i), 0, (s, x) -> s + coalesce(x, 100))) AS m
      FROM rows GROUP BY k
    output_mode: update
    trigger: available_now
    to: { discard: {} }
"#;
    fs::write(folder.join("pipeline.yaml"), text).unwrap();
}

#[test]
fn folds_of_lambda_functions_go_on_where_a_batch_is_cut_off() {
    for (batch, step) in [(1, Step::Planned), (1, Step::Prepared), (2, Step::Committed)] {
        let folder = TempDir::new().unwrap();
        write_folding_pipeline(folder.path());
        run(folder.path(), once(batch, step).0).expect_err("the run is cut off");
        run(folder.path(), StopAfter::default()).unwrap();
        let found = inspect(&LocalVfs::shared(), &folder.path().join("checkpoint"), "folds").unwrap();
        let state = rows_of_changelogs(&found.recovered.state["aggregate-0"], 1).unwrap().unwrap();
        let keys = state.column(0).as_primitive::<Int32Type>().values();
        let counts = state.column(1).as_primitive::<Int64Type>().values();
        let most = state.column(2).as_primitive::<Int32Type>().values();
        let mut rows: Vec<_> = keys.iter().zip(counts).zip(most).map(|((k, n), m)| (*k, *n, *m)).collect();
        rows.sort_unstable();
        // Of the rows 0, 3, 6 of each file, then 1, 4, 7 and 2, 5, 8: how many have an element above the key; the largest fold.
        assert_eq!(rows, [(0, 12, 101), (1, 8, 109), (2, 8, 119)], "after a stop at {step} of batch {batch}");
    }
}

#[test]
fn recovery_may_itself_be_cut_off_anywhere() {
    for first in [Step::Planned, Step::Staged, Step::Prepared, Step::FirstSinkCommitted, Step::SinksCommitted, Step::Committed] {
        for second in Step::ALL {
            let folder = TempDir::new().unwrap();
            write_pipeline(folder.path());
            run(folder.path(), once(1, first).0).expect_err("the first run is cut off");
            // Recovery takes batch 1 up where the log says; a step that it does not take again is cut off in batch 2.
            let again = match first {
                Step::Planned | Step::Staged => second > Step::Planned,
                Step::Committed => false,
                _ => second > Step::Prepared,
            };
            let batch = if again { 1 } else { 2 };
            run(folder.path(), once(batch, second).0).expect_err("the second run is cut off");
            run(folder.path(), StopAfter::default()).unwrap();
            assert_whole(folder.path(), &format!("after stops at {first} and {second}"));
        }
    }
}

#[test]
fn a_checkpoint_is_opened_once() {
    let folder = TempDir::new().unwrap();
    write_pipeline(folder.path());
    let path = folder.path().to_owned();
    let inner = StopAfter::when(move |batch, step| {
        if batch == BatchId(1) && step == Step::Read {
            let other = || run(&path, StopAfter::default()).expect_err("the checkpoint is in use");
            let refused = std::thread::scope(|scope| scope.spawn(other).join().unwrap());
            assert_eq!(refused.kind(), tidemill::ErrorKind::Fenced, "{}", refused.chain());
            assert!(refused.chain().contains(&std::process::id().to_string()), "{}", refused.chain());
        }
        false
    });
    std::thread::scope(|scope| scope.spawn(|| run(folder.path(), inner)).join().unwrap()).unwrap();
    assert_whole(folder.path(), "after a second process was refused");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            fs::File::options().write(true).open(&target).unwrap().set_modified(modified).unwrap();
        }
    }
}

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// The same damage done to every byte of a checkpoint is the checkpoint's own test; here a sample of it goes through the engine.
#[test]
fn damage_to_a_checkpoint_is_named_or_harmless() {
    let folder = TempDir::new().unwrap();
    write_pipeline(folder.path());
    run(folder.path(), once(2, Step::Prepared).0).expect_err("the run is cut off");
    let mut damaged = Vec::new();
    files(&folder.path().join("checkpoint"), &mut damaged);
    damaged.retain(|path| !path.ends_with("lock"));
    damaged.sort();
    // Restored in place each time: the list of files that were taken holds absolute paths.
    let saved = TempDir::new().unwrap();
    copy(folder.path(), saved.path());
    let (mut harmless, mut named) = (0, 0);
    for path in damaged {
        let bytes = fs::read(&path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for at in (0..used).step_by(61).chain([used.saturating_sub(1)]) {
            let work = folder.path();
            for part in ["checkpoint", "out"] {
                fs::remove_dir_all(work.join(part)).unwrap();
                copy(&saved.path().join(part), &work.join(part));
            }
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x15;
            let name = path.strip_prefix(folder.path()).unwrap();
            fs::write(work.join(name), bytes).unwrap();
            match run(work, StopAfter::default()) {
                Ok(()) => {
                    assert_whole(work, &format!("with byte {at} of {} changed", name.display()));
                    harmless += 1;
                }
                Err(error) => {
                    let kind = error.kind();
                    assert_eq!(kind, tidemill::ErrorKind::Corrupt, "byte {at} of {}: {}", name.display(), error.chain());
                    assert!(lines(&work.join("out/json")).values().all(|times| *times == 1));
                    named += 1;
                }
            }
        }
    }
    println!("{named} damages were named, {harmless} were harmless");
    assert!(named > 10, "only {named} damages were named");
}
