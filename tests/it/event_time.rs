//! Event time through the real engine: watermarks that move, wait, survive a crash, and do not believe the future.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidemill::checkpoint::BatchId;
use tidemill::clock::Clock;
use tidemill::engine::progress::Progress;
use tidemill::engine::start::{Process, Resources};
use tidemill::engine::{Step, StopAfter};
use tidemill::metrics::Metrics;
use tidemill::{Error, Result, pipeline};

/// 2026-01-01T00:00:00Z in microseconds.
const NEW_YEAR_US: i64 = 1_767_225_600_000_000;

/// A clock that is a minute later each time it is asked.
#[derive(Debug)]
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now_us(&self) -> i64 {
        self.0.fetch_add(60_000_000, Ordering::SeqCst)
    }
}

/// One file per batch, their modification times in that order; an empty one is a batch in which the source is silent.
fn write_source(folder: &Path, source: &str, batches: &[&[(&str, &str)]]) {
    fs::create_dir_all(folder.join(source)).unwrap();
    for (number, rows) in batches.iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
        let lines: String = rows.iter().map(|(ts, k)| format!("{{\"ts\":\"2026-01-{ts}Z\",\"k\":\"{k}\"}}\n")).collect();
        let path = folder.join(source).join(format!("{number}.json"));
        fs::write(&path, lines).unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + number as u64 * 10);
        fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
    }
}

fn source(name: &str, watermark: &str) -> String {
    format!(
        "  {name}:\n    from: {{ file: {{ path: {name}, max_files_per_trigger: 1 }} }}\n    format: {{ json: {{ schema: \"ts TIMESTAMP, k \
         STRING\" }} }}\n    watermark: {{ {watermark} }}\n"
    )
}

fn write_pipeline(folder: &Path, sources: &str, query: &str) {
    let text = format!(
        "checkpoint: checkpoint\nsources:\n{sources}queries:\n  q:\n    trigger: available_now\n    to: {{ file: {{ path: out }}, format: \
         json }}\n    dead_letter: {{ file: {{ path: bad }}, format: json }}\n{query}"
    );
    fs::write(folder.join("pipeline.yaml"), text).unwrap();
}

fn run(folder: &Path, stop: StopAfter) -> (Vec<Progress>, Result<()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let pipeline = match pipeline::load(&folder.join("pipeline.yaml"), &[]) {
        Ok(pipeline) => pipeline,
        Err(problems) => return (Vec::new(), Err(Error::from(problems))),
    };
    let mut resources = Resources::new(runtime.handle().clone(), Metrics::new().unwrap());
    resources.stop_after = stop;
    resources.clock = Arc::new(Ticking(AtomicI64::new(NEW_YEAR_US)));
    runtime.block_on(async {
        let process = match Process::start(pipeline, resources).await {
            Ok(process) => process,
            Err(error) => return (Vec::new(), Err(error)),
        };
        let monitors = process.monitors();
        let outcome = process.wait(Duration::from_secs(30)).await;
        (monitors[0].progress().all(), outcome)
    })
}

fn run_whole(folder: &Path) -> Vec<Progress> {
    let (progress, outcome) = run(folder, StopAfter::default());
    outcome.unwrap();
    progress
}

/// The watermark of each batch, without the part that all have.
fn watermarks(progress: &[Progress]) -> Vec<String> {
    progress.iter().map(|batch| batch.event_time["watermark"].replace("2026-01-", "").replace(".000Z", "")).collect()
}

/// The JSON objects of a folder's files, as a sorted list.
fn rows(folder: &Path) -> Vec<Value> {
    let files = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut rows: Vec<Value> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .flat_map(|path| {
            fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()
        })
        .collect();
    rows.sort_by_key(Value::to_string);
    rows
}

const BOTH: &str = "    sql: SELECT k FROM a UNION ALL SELECT k FROM b\n";
const NEVER: &str = "1970-01-01T00:00:00";

#[test]
fn the_slowest_of_two_sources_decides_or_the_fastest() {
    for (policy, expected) in [("min", [NEVER, NEVER, "01T00:05:00"]), ("max", [NEVER, "01T00:50:00", "01T01:50:00"])] {
        let folder = TempDir::new().unwrap();
        write_source(folder.path(), "a", &[&[("01T01:00:00", "x")], &[("01T02:00:00", "x")], &[("01T01:30:00", "x")]]);
        write_source(folder.path(), "b", &[&[], &[("01T00:15:00", "y")]]);
        // The files of `b` come one batch early, for its first batch is silent.
        fs::rename(folder.path().join("b/1.json"), folder.path().join("later")).unwrap();
        let sources = source("a", "column: ts, delay: 10 minutes") + &source("b", "column: TS, delay: 10 minutes");
        write_pipeline(folder.path(), &sources, &format!("{BOTH}    watermark_policy: {policy}\n"));
        let first = run(folder.path(), StopAfter::when(|batch, step| batch == BatchId(0) && step == Step::Released)).0;
        fs::rename(folder.path().join("later"), folder.path().join("b/1.json")).unwrap();
        let second = run_whole(folder.path());
        assert_eq!([watermarks(&first), watermarks(&second)].concat(), expected, "{policy}");
        assert_eq!(second[0].event_time["max"], "2026-01-01T02:00:00.000Z", "the first watermark in the plan is shown");
    }
}

#[test]
fn a_crash_after_any_step_changes_no_watermark() {
    let batches: [&[(&str, &str)]; 3] =
        [&[("01T01:00:00", "x")], &[("01T02:00:00", "x"), ("01T00:30:00", "z")], &[("01T03:00:00", "x")]];
    for step in Step::ALL {
        let folder = TempDir::new().unwrap();
        write_source(folder.path(), "a", &batches);
        write_pipeline(folder.path(), &source("a", "column: ts, delay: 10 minutes"), "    sql: SELECT k, ts FROM a\n");
        let (before, outcome) = run(folder.path(), StopAfter::when(move |batch, after| batch == BatchId(1) && after == step));
        outcome.expect_err("the run is cut off");
        let mut all = before;
        all.extend(run_whole(folder.path()));
        let last = all.last().unwrap();
        assert_eq!((last.batch_id, watermarks(std::slice::from_ref(last))), (2, vec!["01T01:50:00".to_owned()]), "after {step}");
        assert_eq!(rows(&folder.path().join("out")).len(), 4, "a query without state drops no row");
    }
}

#[test]
fn rows_of_the_far_future_go_to_the_dead_letter_and_move_nothing() {
    let folder = TempDir::new().unwrap();
    write_source(folder.path(), "a", &[&[("01T00:30:00", "x"), ("09T00:00:00", "future")], &[("01T00:40:00", "y")]]);
    write_pipeline(folder.path(), &source("a", "column: ts, delay: 0s, max_future: 1 day"), "    sql: SELECT k FROM a\n");
    let progress = run_whole(folder.path());
    assert_eq!(watermarks(&progress), [NEVER, "01T00:30:00"]);
    assert_eq!(rows(&folder.path().join("out")), [json!({"k": "x"}), json!({"k": "y"})]);
    let ledger = &progress[0].ledger;
    assert_eq!((ledger.rows_decoded, ledger.rows_future, ledger.rows_late, ledger.rows_dead_lettered), (2, 1, 0, 1));
    let letters = rows(&folder.path().join("bad"));
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!(letter["kind"], "future");
    assert_eq!((&letter["operator"], &letter["field"]), (&json!("watermark a"), &json!("ts")));
    let row: Value = serde_json::from_str(letter["row"].as_str().unwrap()).unwrap();
    assert_eq!(row, json!({"ts": "2026-01-09T00:00:00.000Z", "k": "future"}));
}

#[test]
fn a_silent_source_stops_holding_the_other_back() {
    // The clock is asked at least once a batch, a minute apart.
    for (idle, last) in [("", "01T00:15:00"), (", idle_after: 2 minutes", "01T05:00:00")] {
        let folder = TempDir::new().unwrap();
        let hours = ["01", "02", "03", "04", "05", "06"].map(|hour| (format!("01T{hour}:00:00"), "x"));
        let batches: Vec<Vec<(&str, &str)>> = hours.iter().map(|(ts, k)| vec![(ts.as_str(), *k)]).collect();
        write_source(folder.path(), "a", &batches.iter().map(Vec::as_slice).collect::<Vec<_>>());
        write_source(folder.path(), "b", &[&[("01T00:15:00", "y")]]);
        let sources = source("a", "column: ts, delay: 0s") + &source("b", &format!("column: ts, delay: 0s{idle}"));
        write_pipeline(folder.path(), &sources, BOTH);
        let all = watermarks(&run_whole(folder.path()));
        assert_eq!((all[0].as_str(), all[5].as_str()), (NEVER, last), "{all:?}");
    }
}

#[test]
fn a_watermark_that_cannot_be_is_refused_before_anything_is_opened() {
    for (watermark, condition) in [
        ("column: k, delay: 1s", "EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE"),
        ("column: nope, delay: 1s", "UNRESOLVED_COLUMN.WITH_SUGGESTION"),
        ("column: ts.x, delay: 1s", "EVENT_TIME_MUST_BE_TOP_LEVEL_COLUMN"),
    ] {
        let folder = TempDir::new().unwrap();
        write_pipeline(folder.path(), &source("a", watermark), "    sql: SELECT k FROM a\n");
        let error = run(folder.path(), StopAfter::default()).1.expect_err(watermark);
        assert_eq!(error.condition(), Some(condition), "{watermark}");
        assert!(!folder.path().join("checkpoint").exists());
    }
    for (watermark, expected) in [
        ("column: ts, delay: -1s", "not negative"),
        ("column: ts, delay: soon", "expected a duration"),
        ("column: ts", "expected delay"),
        ("delay: 1s", "expected column"),
        ("column: ts, delay: 1s, idle_after: 0s", "idle_after"),
    ] {
        let folder = TempDir::new().unwrap();
        write_pipeline(folder.path(), &source("a", watermark), "    sql: SELECT k FROM a\n");
        let error = run(folder.path(), StopAfter::default()).1.expect_err(watermark);
        assert!(error.chain().contains(expected), "{watermark}: {}", error.chain());
    }
}

#[test]
fn a_second_watermark_is_refused() {
    let folder = TempDir::new().unwrap();
    let views = "views:\n  v: { sql: SELECT * FROM a, watermark: { column: ts, delay: 1s } }\n";
    write_pipeline(folder.path(), &source("a", "column: ts, delay: 1s"), &format!("    sql: SELECT k FROM v\n{views}"));
    let error = run(folder.path(), StopAfter::default()).1.expect_err("a watermark over a watermark");
    assert!(error.chain().contains("redefining watermark is disallowed"), "{}", error.chain());
}

#[test]
fn a_crash_after_any_step_changes_no_window_and_no_late_row() {
    let batches: [&[(&str, &str)]; 5] = [
        &[("01T00:01:00", "a"), ("01T00:02:00", "b")],
        &[("01T00:16:00", "a")],
        &[("01T00:03:00", "a"), ("01T00:11:00", "b")],
        &[("01T00:31:00", "a"), ("01T00:04:00", "late")],
        &[("01T00:50:00", "a")],
    ];
    let query = "    sql: SELECT window.start AS s, k, count(*) AS n FROM a GROUP BY window(ts, '10 minutes'), k\n";
    let prepare = || {
        let folder = TempDir::new().unwrap();
        write_source(folder.path(), "a", &batches);
        write_pipeline(folder.path(), &source("a", "column: ts, delay: 5 minutes"), query);
        folder
    };
    let letters = |folder: &Path| {
        let pick =
            |letter: Value| json!([letter["kind"], letter["operator"], letter["watermark"], letter["field"], letter["row"]]);
        rows(&folder.join("bad")).into_iter().map(pick).collect::<Vec<_>>()
    };
    let whole = prepare();
    let progress = run_whole(whole.path());
    assert_eq!(progress.iter().map(|batch| batch.ledger.rows_late).collect::<Vec<_>>(), [0, 0, 0, 1, 0, 0]);
    assert_eq!(progress[5].num_input_rows, 0, "the last windows come out with a batch without rows");
    let expected = rows(&whole.path().join("out"));
    assert_eq!(expected.len(), 5, "{expected:?}");
    let row = json!({"ts": "2026-01-01T00:04:00.000Z", "k": "late", "window_start": "2026-01-01T00:00:00.000Z"});
    let late = letters(whole.path());
    let seen: Value = serde_json::from_str(late[0][4].as_str().unwrap()).unwrap();
    assert_eq!(late[0].as_array().unwrap()[..3], [json!("late"), json!("aggregate-0"), json!("2026-01-01T00:11:00.000Z")]);
    assert_eq!(seen["k"], row["k"], "{seen}");
    for step in Step::ALL {
        for batch in [2, 3, 5] {
            let folder = prepare();
            run(folder.path(), StopAfter::when(move |at, after| at == BatchId(batch) && after == step))
                .1
                .expect_err("it is cut off");
            run_whole(folder.path());
            assert_eq!(rows(&folder.path().join("out")), expected, "after {step} of batch {batch}");
            assert_eq!(letters(folder.path()), late, "after {step} of batch {batch}");
        }
    }
}
