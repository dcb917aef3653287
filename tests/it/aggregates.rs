//! One query with every aggregate function, killed again and again in the middle of its batches, ends where an undisturbed run ends.
//!
//! The times of the kills are drawn from a seed, which a failure names; `KILL_SEED` runs with that one again.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;
use serde_json::Value;
use tidemill::checkpoint::inspect;
use tidemill::checkpoint::storage::LocalVfs;
use tidemill::plan::spark::functions::{FUNCTIONS, FunctionKind};
use tidemill::plan::spark::relation::plan_query;
use tidemill::plan::spark::types::parse_schema;
use tidemill::plan::{Catalog, OutputMode, PlanSettings, Scope, StreamTable};

use super::binary::{Folder, pause};

const SCHEMA: &str = "k STRING, n BIGINT, x DOUBLE, s STRING, b BOOLEAN";

/// A function takes those of these that its rules allow.
const ARGUMENTS: [&str; 16] = [
    "n",
    "x",
    "s",
    "b",
    "x, n",
    "s, x",
    "s, x, 3",
    "x, 0.3",
    "x, 4",
    "s, '1'",
    "n, 0.4d, 0.5d, 1",
    "array(n, 1)",
    "array(CAST(x AS FLOAT), 0.5F)",
    "CAST(s AS BINARY)",
    "0.3) WITHIN GROUP (ORDER BY x",
    ") WITHIN GROUP (ORDER BY n DESC",
];

const BATCHES: usize = 24;
const KEYS: u64 = 5;

/// Every call of an aggregate function over the columns of the stream.
fn calls(mode: OutputMode) -> Vec<String> {
    let schema = std::sync::Arc::new(parse_schema(SCHEMA).unwrap());
    let stream = StreamTable { name: "rows".into(), schema, metadata: Vec::new() };
    let catalog = Catalog { streams: vec![stream], ..Catalog::default() };
    let settings =
        PlanSettings { time_zone: "UTC".into(), state_memory_bytes_max: 1 << 30, output_mode: mode, scope: Scope::Query };
    let mut calls = vec!["count(*)".to_owned(), "sum(n) FILTER (WHERE b)".to_owned(), "mode(s) FILTER (WHERE x > 0)".to_owned()];
    for spec in FUNCTIONS.iter().filter(|spec| spec.kind == FunctionKind::Aggregate) {
        let before = calls.len();
        let candidates = ARGUMENTS.iter().map(|arguments| format!("{}({arguments})", spec.name));
        calls.extend(candidates.filter(|call| plan_query(&format!("SELECT {call} AS a FROM rows"), &catalog, &settings).is_ok()));
        assert!(calls.len() > before, "no arguments are known for the aggregate function {}: add some", spec.name);
    }
    // Of doubles it takes a whole number only, as a position.
    calls.retain(|call| !["bitmap_construct_agg(x)", "bitmap_construct_agg(s)"].contains(&call.as_str()));
    calls
}

fn pipeline(mode: &str, calls: &[String]) -> String {
    let columns: Vec<String> = calls.iter().enumerate().map(|(i, call)| format!("{call} AS c{i}")).collect();
    format!(
        "version: 1\nname: aggregates\ncheckpoint: checkpoint\nsources:\n  rows:\n    from: {{ file: {{ path: in, max_files_per_trigger: 1 }} }}\n    \
         format: {{ json: {{ schema: \"{SCHEMA}\" }} }}\nqueries:\n  all:\n    output_mode: {mode}\n    sql: |\n      SELECT k, {}\n      FROM rows GROUP BY k\n    \
         to: {{ console: {{}}, format: json }}\n",
        columns.join(",\n        ")
    )
}

/// The rows of one file: some nulls, and every key in the last file.
fn write_batch(folder: &Folder, number: usize) {
    let mut random = StdRng::seed_from_u64(number as u64);
    let mut lines = String::new();
    let keys: Vec<u64> =
        if number + 1 == BATCHES { (0..KEYS).collect() } else { (0..12).map(|_| random.random_range(0..KEYS)).collect() };
    for key in keys {
        let mut row = serde_json::Map::new();
        row.insert("k".into(), format!("key {key}").into());
        let mut put = |name: &str, value: Value| {
            if random.random_bool(0.85) {
                row.insert(name.into(), value);
            }
        };
        put("n", (number as u64 % 7 * 3 + key).into());
        put("x", (number as f64 * 1.25 - 9.0).into());
        // Texts that every implicit cast takes.
        put("s", ["0", "1"][number % 2].into());
        put("b", number.is_multiple_of(3).into());
        lines.push_str(&Value::from(row).to_string());
        lines.push('\n');
    }
    folder.write(&format!("in/{number:05}.json"), lines);
}

/// The last row of each key that was printed; the last batch has every key.
fn last_rows(stdout: &str) -> BTreeMap<String, Value> {
    let batch: Value = serde_json::from_str(stdout.lines().last().expect("a batch was printed")).unwrap();
    let rows = batch["rows"].as_array().unwrap().iter();
    rows.map(|row| (row["k"].as_str().unwrap().to_owned(), row.clone())).collect()
}

fn killed_and_undisturbed_end_alike(mode: &str, output_mode: OutputMode) {
    let seed = std::env::var("KILL_SEED").ok().map_or_else(rand::random, |text| text.parse().unwrap());
    println!("KILL_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let pipeline = pipeline(mode, &calls(output_mode));
    let (undisturbed, killed) = (Folder::with(&pipeline), Folder::with(&pipeline));
    for number in 0..BATCHES {
        write_batch(&undisturbed, number);
        if number + 1 < BATCHES {
            write_batch(&killed, number);
        }
    }
    let now = ["--set", "queries.all.trigger=available_now"];
    let ended = undisturbed.start_pipeline(&now).end_within(Duration::from_secs(300));
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), BATCHES);
    let wanted = last_rows(&ended.stdout);
    assert_eq!(wanted.len() as u64, KEYS);

    let mut printed = 0;
    for _ in 0..7 {
        let process = killed.start_pipeline(&["--quiet"]);
        process.says("query started");
        // Not before a batch came through, so that states are read, changed and written by each process.
        if random.random_bool(0.7) {
            process.prints("\"rows\"");
        }
        pause(Duration::from_micros(random.random_range(0..300_000)));
        process.signal(Signal::KILL);
        let ended = process.end();
        assert_eq!(ended.code, 128 + 9, "KILL_SEED={seed}: it ended by itself: {ended:?}");
        printed += ended.stdout.lines().count();
    }
    write_batch(&killed, BATCHES - 1);
    let ended = killed.start_pipeline(&now).end_within(Duration::from_secs(300));
    assert_eq!(ended.code, 0, "KILL_SEED={seed}: {ended:?}");
    println!("{printed} batches came out of processes that were killed, {} of the last", ended.stdout.lines().count());
    assert!(printed > 2, "KILL_SEED={seed}: only {printed} batches were run by processes that were killed");
    for (key, wanted) in &wanted {
        assert_eq!(&last_rows(&ended.stdout)[key], wanted, "KILL_SEED={seed}: {key}");
    }
    let found = inspect(&LocalVfs::shared(), &killed.path("checkpoint"), "all").unwrap();
    assert!(found.frames.iter().any(|frame| frame.kind == "snapshot"), "no state was read from a snapshot");
}

#[test]
fn every_aggregate_goes_on_after_kills_in_update_mode() {
    killed_and_undisturbed_end_alike("update", OutputMode::Update);
}

#[test]
fn every_aggregate_goes_on_after_kills_in_complete_mode() {
    killed_and_undisturbed_end_alike("complete", OutputMode::Complete);
}
