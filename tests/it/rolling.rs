//! `roll` of the file sink with the real process: few files, each row in one of them, whatever happens to the process.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;

use super::binary::{Folder, PATIENCE, Running, pause};
use super::control::ask;
use super::docs::pipelines;

const KILLS: usize = 20;
const FILES_PER_ROUND: usize = 40;
const ROWS_PER_FILE: usize = 3;

/// Each format, one of them in partitions.
const THREE_SINKS: &str = r#"
version: 1
name: rolling
checkpoint: checkpoint
sources:
  rows:
    from: { file: { path: in, max_files_per_trigger: 1 } }
    format: { json: { schema: "id BIGINT" } }
queries:
  pass:
    sql: SELECT id, id % 3 AS k FROM rows
    trigger: 100 ms
    to:
      - { file: { path: out/json, roll: { rows: 60 } }, format: json, name: lines }
      - { file: { path: out/csv, partition_by: [k], roll: { bytes: 200 } }, format: { csv: { header: true } }, name: table }
      - { file: { path: out/parquet, roll: { age: 3 s } }, format: parquet, name: columns }
"#;

/// Reads what comes out while it is written.
const READER: &str = r#"
version: 1
name: reader
checkpoint: reader
sources:
  lines:
    from: { file: { path: out/json } }
    format: { json: { schema: "id BIGINT" } }
queries:
  copy:
    sql: SELECT id FROM lines
    to: { file: { path: copy }, format: json }
"#;

fn add_file(folder: &Folder, number: usize) {
    let lines: String = (0..ROWS_PER_FILE).map(|row| format!("{{\"id\":{}}}\n", number * ROWS_PER_FILE + row)).collect();
    folder.write(&format!("in/{number:05}.json"), lines);
}

fn kill(process: Running) {
    process.signal(Signal::KILL);
    assert_eq!(process.end().code, 128 + 9);
}

/// The number of commits of the only sink that writes below `out`, and of the files that readers see there.
fn commits_and_files(folder: &Folder, out: &str) -> (u64, usize) {
    let newest = fs::read_dir(folder.path(out).join("_manifest")).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(newest).unwrap()).unwrap();
    let is_visible = |name: &&String| {
        name.strip_prefix(&format!("{out}/")).is_some_and(|path| !path.split('/').any(|part| part.starts_with(['_', '.'])))
    };
    (manifest["number"].as_u64().unwrap() + 1, folder.names().iter().filter(is_visible).count())
}

/// What is left hidden with rows in it.
fn hidden(folder: &Folder, out: &str) -> Vec<String> {
    let names = |hidden: &str| {
        let entries = fs::read_dir(folder.path(out).join(hidden)).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let all = names(".open").into_iter().chain(names(".staging"));
    // Nor a lock nor what tries whether the folder can be written.
    all.filter(|name| !name.ends_with(".lock") && !name.starts_with("probe-")).collect()
}

fn ids(rows: usize, line: impl Fn(usize) -> String) -> BTreeMap<String, usize> {
    (0..rows).map(|id| (line(id), 1)).collect()
}

#[cfg(feature = "parquet")]
fn parquet_ids(folder: &Folder, out: &str) -> BTreeMap<String, usize> {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    let mut ids = BTreeMap::new();
    for entry in fs::read_dir(folder.path(out)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "parquet") {
            let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).unwrap()).unwrap();
            assert_eq!(reader.metadata().num_row_groups(), 1, "{}", path.display());
            for rows in reader.build().unwrap() {
                for id in rows.unwrap().column(0).as_primitive::<Int64Type>() {
                    *ids.entry(id.unwrap().to_string()).or_default() += 1;
                }
            }
        }
    }
    ids
}

#[test]
fn through_many_kills_every_row_is_in_one_file_of_few() {
    let seed = std::env::var("KILL_SEED").ok().map_or_else(rand::random, |text| text.parse().unwrap());
    println!("KILL_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = Folder::with(THREE_SINKS);
    folder.write("reader.yaml", READER);
    fs::create_dir_all(folder.path("out/json")).unwrap();
    let reader = folder.start(&["run", "reader.yaml"]);
    let (mut files, mut kills_with_progress) = (0, 0);
    let commits = |folder: &Folder| folder.names().iter().filter(|name| name.starts_with("out/parquet/part")).count();
    for _ in 0..KILLS {
        for _ in 0..FILES_PER_ROUND {
            add_file(&folder, files);
            files += 1;
        }
        let before = commits(&folder);
        let process = folder.start_pipeline(&["--quiet", "--set", "queries.pass.trigger=0 s"]);
        process.says("query started");
        pause(Duration::from_millis(random.random_range(0..700)));
        kill(process);
        kills_with_progress += usize::from(commits(&folder) > before);
    }
    // On a busy machine the kills leave most of the commits, each with three synced files, to this one.
    let ended = folder.start_pipeline(&["--set", "queries.pass.trigger=available_now"]).end_within(PATIENCE * 10);
    assert_eq!(ended.code, 0, "KILL_SEED={seed}: {ended:?}");
    let rows = files * ROWS_PER_FILE;
    assert!(folder.lines("out/json") == ids(rows, |id| format!("{{\"id\":{id},\"k\":{}}}", id % 3)), "KILL_SEED={seed}");
    let mut csv = folder.lines("out/csv");
    let headers = csv.remove("id");
    assert!(csv == ids(rows, |id| id.to_string()), "KILL_SEED={seed}");
    #[cfg(feature = "parquet")]
    assert!(parquet_ids(&folder, "out/parquet") == ids(rows, |id| id.to_string()), "KILL_SEED={seed}");
    for (out, files_max) in [("out/json", 45), ("out/csv", 120), ("out/parquet", 80)] {
        let (commits, made) = commits_and_files(&folder, out);
        println!("{out}: {made} files of {commits} commits");
        assert_eq!(commits, files as u64, "KILL_SEED={seed}");
        assert!(made <= files_max, "KILL_SEED={seed}: {out} has {made} files");
        assert_eq!(hidden(&folder, out), Vec::<String>::new(), "KILL_SEED={seed}");
        assert!(out != "out/csv" || headers == Some(made), "KILL_SEED={seed}: {headers:?} headers in {made} files");
    }
    reader.until("the reader has all rows", || (folder.lines("copy").values().sum::<usize>() >= rows).then_some(()));
    reader.stop();
    assert!(folder.lines("copy") == ids(rows, |id| format!("{{\"id\":{id}}}")), "KILL_SEED={seed}");
    println!("{kills_with_progress} of {KILLS} kills after files were put out");
}

const ONE_SINK: &str = r#"
version: 1
name: rolling
checkpoint: checkpoint
sources:
  rows:
    from: { file: { path: in } }
    format: { json: { schema: "id BIGINT" } }
queries:
  pass:
    sql: SELECT id FROM rows
    to: { file: { path: out, roll: { rows: 1000 } }, format: json }
"#;

/// A folder with [`ONE_SINK`] and a process that has committed one file, which nobody sees yet.
fn gathering(arguments: &[&str]) -> (Folder, Running) {
    let folder = Folder::with(ONE_SINK);
    add_file(&folder, 0);
    let process = folder.start_pipeline(arguments);
    process.until("a batch is committed", || (!hidden(&folder, "out").is_empty()).then_some(()));
    (folder, process)
}

fn all_of_one_file() -> BTreeMap<String, usize> {
    ids(ROWS_PER_FILE, |id| format!("{{\"id\":{id}}}"))
}

#[test]
fn files_are_done_in_time_while_no_row_comes() {
    for trigger in ["0 s", "1 hour"] {
        let trigger = format!("queries.pass.trigger={trigger}");
        let started = Instant::now();
        let (folder, process) = gathering(&["--set", &trigger, "--set", "queries.pass.to.file.roll={age: 1 s}"]);
        process.until("the file is done", || (folder.lines("out") == all_of_one_file()).then_some(()));
        assert!(started.elapsed() >= Duration::from_secs(1));
        process.stop();
    }
}

#[test]
fn files_are_done_in_time_while_a_query_is_paused() {
    let (folder, process) = gathering(&["--set", "queries.pass.to.file.roll={age: 3 s}"]);
    assert_eq!(ask(&process, "pass", "pause"), 202);
    process.becomes("pass", "paused");
    process.until("the file is done", || (folder.lines("out") == all_of_one_file()).then_some(()));
    process.stop();
}

#[test]
fn a_query_that_is_stopped_puts_out_what_it_gathered() {
    let (folder, process) = gathering(&[]);
    assert_eq!(folder.lines("out"), BTreeMap::new());
    assert_eq!(ask(&process, "pass", "stop"), 202);
    process.becomes("pass", "stopped");
    assert_eq!(folder.lines("out"), all_of_one_file());
    process.stop();

    let (folder, process) = gathering(&[]);
    process.stop();
    assert_eq!(folder.lines("out"), all_of_one_file());
    assert_eq!(hidden(&folder, "out"), Vec::<String>::new());
}

#[test]
fn what_a_killed_process_gathered_comes_out_whatever_is_run_next() {
    let now = "queries.pass.trigger=available_now";
    let fresh: &[&str] = &["--fresh", "--set", now];
    for (pipeline, arguments, times) in [
        (ONE_SINK, &["--set", now][..], 1),
        (&ONE_SINK.replace(", roll: { rows: 1000 }", ""), &["--set", now], 1),
        (&ONE_SINK.replace("rows: 1000", "rows: 1"), &["--set", now], 1),
        // Starts over, and so repeats the rows.
        (ONE_SINK, fresh, 2),
    ] {
        let (folder, process) = gathering(&[]);
        kill(process);
        assert_eq!(folder.lines("out"), BTreeMap::new());
        folder.write("pipeline.yaml", pipeline);
        let ended = folder.start_pipeline(arguments).end();
        assert_eq!(ended.code, 0, "{ended:?}");
        let expected = all_of_one_file().into_keys().map(|line| (line, times)).collect::<BTreeMap<_, _>>();
        assert_eq!(folder.lines("out"), expected, "{pipeline} {arguments:?}");
        assert_eq!(hidden(&folder, "out"), Vec::<String>::new());
    }
}

#[test]
fn an_emptied_output_folder_is_noticed_at_the_next_start() {
    let (folder, process) = gathering(&[]);
    // A first commit that the log does not have yet would only be made again.
    let length = || fs::read_dir(folder.path("out/.open")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).max();
    let before = length();
    add_file(&folder, 1);
    process.until("a second batch is committed", || (length() > before).then_some(()));
    kill(process);
    fs::remove_dir_all(folder.path("out")).unwrap();
    folder.start_pipeline(&[]).end().failed(1, &["MARKER_LOST"]);
}

#[test]
fn the_example_of_the_guide_makes_the_files_that_it_shows() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sinks/file.md")).unwrap();
    let example = pipelines(&page).find(|block| block.contains("roll:")).expect("the page has an example");
    let folder = Folder::with(example);
    let process = folder.start_pipeline(&["--set", "queries.archive.trigger=50 ms"]);
    process.until("some batches are committed", || {
        let entries = fs::read_dir(folder.path("out/.open")).into_iter().flatten();
        let open = entries.map(|entry| entry.unwrap()).find(|entry| entry.path().extension().is_some_and(|kind| kind == "log"));
        open.filter(|open| open.metadata().is_ok_and(|open| open.len() > 4000)).map(drop)
    });
    process.stop();
    let names: Vec<_> = folder.names().into_iter().filter(|name| name.starts_with("out/")).collect();
    let shown = |name: &str| {
        let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let parts: Vec<_> = name.trim_end_matches(".parquet").split('-').collect();
        matches!(parts[..], ["out/part", "00000", owner, "000000", last] if digits(owner, 8) && digits(last, 6))
    };
    assert!(names.len() == 1 && shown(&names[0]), "{names:?}");
    assert!(page.contains("out/part-00000-9f0c1a52-000000-000150.parquet"), "the page shows another name");
}
