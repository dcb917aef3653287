//! What progress and metrics say of watermarks, and when a silent source lets go of one.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tidemill::checkpoint::BatchId;
use tidemill::clock::{Clock, ManualClock, SystemClock};
use tidemill::engine::progress::Progress;
use tidemill::engine::start::{Process, Resources};
use tidemill::engine::{Step, StopAfter};
use tidemill::metrics::Metrics;
use tidemill::{Result, pipeline};

/// 2026-01-01T00:00:00Z in seconds.
const NEW_YEAR_S: i64 = 1_767_225_600;
/// Far beyond what a debug build on a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A source's file of one batch: a JSON line per time and key.
fn write(folder: &Path, file: &str, number: u64, rows: &[(&str, &str)]) {
    let lines: String = rows.iter().map(|(ts, k)| format!("{{\"ts\":{ts},\"k\":\"{k}\"}}\n")).collect();
    let path = folder.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, lines).unwrap();
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + number * 10);
    fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
}

fn source(name: &str, watermark: &str) -> String {
    format!(
        "  {name}:\n    from: {{ file: {{ path: {name}, max_files_per_trigger: 1 }} }}\n    format: {{ json: {{ schema: \"ts TIMESTAMP, k \
         STRING\" }} }}\n    watermark: {{ {watermark} }}\n"
    )
}

fn write_pipeline(folder: &Path, sources: &str, sql: &str, trigger: &str) {
    let text = format!(
        "name: p\ncheckpoint: checkpoint\nsources:\n{sources}queries:\n  q:\n    sql: {sql}\n    trigger: {trigger}\n    to: {{ file: {{ \
         path: out }}, format: json }}\n"
    );
    fs::write(folder.join("pipeline.yaml"), text).unwrap();
}

struct Ran {
    progress: Vec<Progress>,
    series: String,
    outcome: Result<()>,
}

impl Ran {
    fn value(&self, series: &str) -> f64 {
        let line = self.series.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with('{')));
        line.unwrap_or_else(|| panic!("no {series} in\n{}", self.series)).rsplit_once(' ').unwrap().1.parse().unwrap()
    }
}

fn run(folder: &Path, clock: Arc<dyn Clock>, stop_after: StopAfter) -> Ran {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let pipeline = pipeline::load(&folder.join("pipeline.yaml"), &[]).unwrap();
    let metrics = Metrics::new().unwrap();
    let resources = Resources { clock, stop_after, ..Resources::new(runtime.handle().clone(), metrics.clone()) };
    runtime.block_on(async {
        let process = Process::start(pipeline, resources).await.unwrap();
        let monitors = process.monitors();
        let ended = tokio::time::timeout(PATIENCE, process.wait(PATIENCE)).await;
        let progress = monitors[0].progress().all();
        let outcome = ended.unwrap_or_else(|_| panic!("it never got there: {progress:?}"));
        Ran { progress, series: metrics.render().unwrap(), outcome }
    })
}

/// Runs whole, by a clock that stands an hour after New Year.
fn run_whole(folder: &Path) -> Ran {
    let ran = run(folder, Arc::new(ManualClock::at_us((NEW_YEAR_S + 3600) * 1_000_000)), StopAfter::default());
    assert!(ran.outcome.is_ok(), "{:?}", ran.outcome);
    ran
}

const WINDOWS: &str = "SELECT window.start AS s, k, count(*) AS n FROM a GROUP BY window(ts, '10 minutes'), k";

fn at(minute: &str) -> String {
    format!("\"2026-01-01T00:{minute}:00Z\"")
}

#[test]
fn progress_and_metrics_tell_watermark_lag_late_rows_and_what_is_held() {
    let folder = TempDir::new().unwrap();
    let batches: [&[(&str, &str)]; 4] =
        [&[("01", "a"), ("02", "b")], &[("16", "a")], &[("03", "a"), ("11", "b")], &[("31", "a"), ("04", "b")]];
    for (number, rows) in batches.iter().enumerate() {
        let rows: Vec<(String, &str)> = rows.iter().map(|(minute, k)| (at(minute), *k)).collect();
        let rows: Vec<(&str, &str)> = rows.iter().map(|(ts, k)| (ts.as_str(), *k)).collect();
        write(folder.path(), &format!("a/{number}"), number as u64, &rows);
    }
    write_pipeline(folder.path(), &source("a", "column: ts, delay: 5 minutes"), WINDOWS, "available_now");
    let ran = run_whole(folder.path());
    let minutes: Vec<i64> = ran.progress.iter().map(|batch| batch.watermark_lag_ms.unwrap() / 60_000).collect();
    assert_eq!(minutes, [(NEW_YEAR_S + 3600) / 60, 63, 49, 49, 34], "the batch's time less its watermark");
    let held: Vec<u64> = ran.progress.iter().map(|batch| batch.state_operators[0].num_rows_total).collect();
    assert_eq!(held, [2, 3, 2, 3, 1]);
    assert_eq!(ran.value("tidemill_watermark_lag_seconds"), 34.0 * 60.0);
    assert_eq!(ran.value("tidemill_watermark_timestamp_seconds"), NEW_YEAR_S as f64 + 26.0 * 60.0);
    assert_eq!(ran.value("tidemill_rows_late_total"), 1.0);
    assert_eq!(ran.value("tidemill_state_operator_rows"), 1.0);
    assert!(ran.series.contains("tidemill_state_operator_rows{operator=\"aggregate-0\",pipeline=\"p\",query=\"q\"} 1"));
    assert_eq!(ran.value("tidemill_watermark_jumps_total") + ran.value("tidemill_watermark_far_ahead_total"), 0.0);
    let json = serde_json::to_value(&ran.progress[2]).unwrap();
    assert_eq!(
        (json["watermarkLagMs"].as_i64(), json["eventTime"]["watermark"].as_str()),
        (Some(49 * 60_000), Some("2026-01-01T00:11:00.000Z"))
    );
}

#[test]
fn a_jump_of_more_than_a_day_is_counted_and_one_of_a_day_is_not() {
    for (days, jumps) in [("02", 0.0), ("03", 1.0)] {
        let folder = TempDir::new().unwrap();
        write(folder.path(), "a/0", 0, &[("\"2026-01-01T00:00:00Z\"", "x")]);
        write(folder.path(), "a/1", 1, &[(&format!("\"2026-01-{days}T00:00:00Z\""), "x")]);
        write_pipeline(folder.path(), &source("a", "column: ts, delay: 0s"), WINDOWS, "available_now");
        let ran = run_whole(folder.path());
        assert_eq!((ran.value("tidemill_watermark_jumps_total"), ran.value("tidemill_watermark_far_ahead_total")), (jumps, 0.0));
    }
}

#[test]
fn milliseconds_where_seconds_belong_are_counted_once() {
    let folder = TempDir::new().unwrap();
    let millis = (NEW_YEAR_S * 1000).to_string();
    write(folder.path(), "a/0", 0, &[(&millis, "x")]);
    write(folder.path(), "a/1", 1, &[(&millis, "y")]);
    write_pipeline(folder.path(), &source("a", "column: ts, delay: 0s"), WINDOWS, "available_now");
    let ran = run_whole(folder.path());
    assert_eq!((ran.value("tidemill_watermark_jumps_total"), ran.value("tidemill_watermark_far_ahead_total")), (0.0, 1.0));
    assert!(ran.progress[1].watermark_lag_ms.unwrap() < 0, "it is ahead of the clock");
}

#[test]
fn a_silent_source_lets_go_without_any_row_and_a_replay_decides_the_same() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "a/0", 0, &[(&at("01"), "x"), (&at("31"), "x")]);
    write(folder.path(), "b/0", 0, &[(&at("05"), "y")]);
    let sql = "SELECT window.start AS s, count(*) AS n FROM (SELECT ts FROM a UNION ALL SELECT ts FROM b) GROUP BY window(ts, '10 minutes')";
    let sources = |silence: &str| {
        source("a", "column: ts, delay: 0s") + &source("b", &format!("column: ts, delay: 0s, idle_after: {silence}"))
    };
    write_pipeline(folder.path(), &sources("200ms"), sql, "as_fast_as_possible");
    // Batch 0 reads both, batch 1 runs with b's watermark; what plans batch 2 is the silence of b alone.
    let stop = StopAfter::when(|batch, after| batch == BatchId(2) && after == Step::Planned);
    let first = run(folder.path(), Arc::new(SystemClock), stop);
    assert!(first.outcome.unwrap_err().chain().contains("step Planned of batch 2"));
    let watermark = |progress: &Progress| progress.event_time["watermark"].clone();
    assert_eq!(
        first.progress.iter().map(watermark).collect::<Vec<_>>(),
        ["1970-01-01T00:00:00.000Z", "2026-01-01T00:05:00.000Z"]
    );
    // After the restart b has not been silent for long, and would not let go for an hour.
    write_pipeline(folder.path(), &sources("1 hour"), sql, "available_now");
    let second = run(folder.path(), Arc::new(SystemClock), StopAfter::default());
    assert!(second.outcome.is_ok(), "{:?}", second.outcome);
    assert_eq!((second.progress[0].batch_id, watermark(&second.progress[0])), (2, "2026-01-01T00:31:00.000Z".to_owned()));
    let files = fs::read_dir(folder.path().join("out")).unwrap().map(|entry| entry.unwrap().path());
    let rows: String = files.filter(|path| path.extension().is_some()).map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_eq!(rows.trim(), r#"{"s":"2026-01-01T00:00:00.000Z","n":2}"#);
}
