//! Jobs over event time: windows, deduplication, and what they cost when much is open or much has ended.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::data::{EVENT_STEP_MS, size, timed};
use crate::measure::{Commit, Figures, commits, tidemill};
use crate::{Bench, Outcome};

type Checked<T> = Result<T, Box<dyn std::error::Error>>;

/// How long the windows are.
const WINDOW_MS: u64 = 10_000;
/// How far the watermark of `window` stays behind.
const DELAY_MS: u64 = 5_000;
/// Groups that share a window in `evict`, and so end together.
const ENDING: u64 = 10;
/// Windows that are open in `evict`.
const OPEN: u64 = 1_000_000;
/// Small batches that are measured.
const SMALL_BATCHES: u64 = 100;
/// How much more memory twice the rows may take. What differs is where an allocator and a scheduler happen to be.
const GROWTH_MAX: f64 = 1.2;

/// A pipeline over one folder of files, one per batch.
struct Pipeline<'a> {
    input: &'a Path,
    columns: &'a str,
    watermark: &'a str,
    deduplicate: Option<&'a str>,
    sql: &'a str,
    sink: &'a str,
}

impl Pipeline<'_> {
    /// Runs it to its end in `folder`.
    fn run(&self, folder: &Path) -> Checked<(Figures, Vec<Commit>)> {
        let Self { input, columns, watermark, deduplicate, sql, sink } = self;
        let deduplicate = deduplicate.map_or(String::new(), |by| format!("\n    deduplicate: {by}"));
        let text = format!(
            "version: 1\nname: bench\ncheckpoint: checkpoint\nsources:\n  transactions:\n    from: {{ file: {{ path: {input:?}, max_files_per_trigger: 1 }} }}\n    \
             format: {{ json: {{ schema: {columns:?} }} }}\n    watermark: {watermark}{deduplicate}\nqueries:\n  job:\n    sql: {sql:?}\n    \
             trigger: available_now\n    to: {sink}\n"
        );
        let file = folder.join("pipeline.yaml");
        fs::write(&file, text)?;
        Ok(commits(tidemill(&["run", file.to_str().ok_or("a path that is not UTF-8")?, "--quiet"]))?)
    }
}

/// Counts and sums of 64 users in windows of 10 seconds, each put out when it ends.
pub(crate) fn window(bench: &Bench) -> Outcome {
    let (input, folder) = (timed(bench, 64, 0)?, bench.folder("window")?);
    let pipeline = Pipeline {
        input: &input,
        columns: "name STRING, surname STRING, amount DOUBLE, ts TIMESTAMP",
        watermark: &format!("{{ column: ts, delay: {DELAY_MS} ms }}"),
        deduplicate: None,
        sql: "SELECT window.start AS since, concat(name, surname) AS user, count(*) AS n, sum(amount) AS total FROM transactions \
              GROUP BY window(ts, '10 seconds'), concat(name, surname)",
        sink: "{ file: { path: out/ }, format: json }",
    };
    let (figures, _) = pipeline.run(&folder)?;
    check_windows(&folder.join("out"), bench.rows)?;
    Ok(Figures { rows: Some(bench.rows), bytes: Some(size(&input)?), ..figures })
}

/// Every window that has ended is there once, with all its rows.
fn check_windows(out: &Path, rows: u64) -> Checked<()> {
    let mut windows: BTreeMap<String, u64> = BTreeMap::new();
    for file in fs::read_dir(out)?.collect::<Result<Vec<_>, _>>()?.iter().filter(|file| file.path().is_file()) {
        for line in BufReader::new(File::open(file.path())?).lines() {
            let row: Value = serde_json::from_str(&line?)?;
            let since = row["since"].as_str().ok_or("a row without a window")?.to_owned();
            *windows.entry(since).or_default() += row["n"].as_u64().ok_or("a row without a count")?;
        }
    }
    let watermark_ms = ((rows - 1) * EVENT_STEP_MS).saturating_sub(DELAY_MS);
    let (ended, rows_each) = (watermark_ms / WINDOW_MS, WINDOW_MS / EVENT_STEP_MS);
    if windows.len() as u64 != ended || windows.values().any(|n| *n != rows_each) {
        return Err(format!("{} windows came out, not {ended} with {rows_each} rows each", windows.len()).into());
    }
    Ok(())
}

/// The first row of each of a million users.
pub(crate) fn dedup(bench: &Bench) -> Outcome {
    let (input, folder) = (timed(bench, 1_000_000, 0)?, bench.folder("dedup")?);
    let pipeline = Pipeline {
        input: &input,
        columns: "amount DOUBLE, user STRING, ts TIMESTAMP",
        watermark: "{ column: ts, delay: 1 day }",
        deduplicate: Some("{ by: user, within_watermark: true }"),
        sql: "SELECT * FROM transactions",
        sink: "{ discard: {} }",
    };
    let (figures, commits) = pipeline.run(&folder)?;
    let (found, users) = (emitted(&commits), distinct_users(&input)?);
    if found != users {
        return Err(format!("{found} rows came out, but there are {users} users").into());
    }
    Ok(Figures { rows: Some(bench.rows), bytes: Some(size(&input)?), ..figures })
}

fn distinct_users(input: &Path) -> Checked<u64> {
    let mut seen = vec![false; 1_000_000];
    for file in fs::read_dir(input)? {
        for line in BufReader::with_capacity(1 << 20, File::open(file?.path())?).split(b'\n') {
            let line = line?;
            let key = b"\"user\": \"u";
            let at = line.windows(key.len()).position(|bytes| bytes == key).ok_or("a line without a user")? + key.len();
            let user: usize = std::str::from_utf8(&line[at..at + 7])?.parse()?;
            seen[user] = true;
        }
    }
    Ok(seen.iter().filter(|seen| **seen).count() as u64)
}

fn emitted(commits: &[Commit]) -> u64 {
    commits.iter().map(|commit| commit.progress["ledger"]["rows_emitted"].as_u64().unwrap_or(0)).sum()
}

/// Batches that end ten groups, with ten open and with a million, and one that ends them all.
pub(crate) fn evict(bench: &Bench) -> Outcome {
    let (few, _) = evicting(bench, ENDING)?;
    let (_, quarter) = evicting(bench, OPEN / 4)?;
    let (many, all) = evicting(bench, OPEN)?;
    let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
    println!(
        "{:<12} ten groups that end cost {:.2} times as much with a million open; ending all takes {:.0} ms, {:.1} times that of a quarter",
        "",
        ratio(many, few),
        all.as_secs_f64() * 1e3,
        ratio(all, quarter)
    );
    Ok(Figures { rows: Some(OPEN), p50: Some(few), p99: Some(many), ..Figures::default() })
}

/// Median time of a batch that ends ten of `open` groups, and the time of the batch that ends them all.
fn evicting(bench: &Bench, open: u64) -> Checked<(Duration, Duration)> {
    let folder = bench.folder("evict")?;
    let input = folder.join("in");
    fs::create_dir(&input)?;
    // The watermark stays as far behind as the first batch is long: from then on each batch ends the oldest window.
    let delay_ms = open / ENDING * WINDOW_MS;
    write_groups(&input.join("000.json"), 0..open)?;
    for number in 0..=SMALL_BATCHES {
        let first = open + number * ENDING;
        write_groups(&input.join(format!("{:03}.json", number + 1)), first..first + ENDING)?;
    }
    let future = (open + SMALL_BATCHES * ENDING) * 10;
    write_groups(&input.join("999.json"), future..future + 1)?;
    let pipeline = Pipeline {
        input: &input,
        columns: "ts TIMESTAMP, user STRING",
        watermark: &format!("{{ column: ts, delay: {delay_ms} ms }}"),
        deduplicate: None,
        sql: "SELECT window.start AS since, user, count(*) AS n FROM transactions GROUP BY window(ts, '10 seconds'), user",
        sink: "{ discard: {} }",
    };
    let (_, commits) = pipeline.run(&folder)?;
    let of_each: Vec<u64> = commits.iter().map(|commit| emitted(std::slice::from_ref(commit))).collect();
    // The second of the small batches moves the watermark to the first window's end. The last one ends all that is open.
    let small = 3..3 + SMALL_BATCHES as usize;
    let (Some(ended), Some(last)) = (of_each.get(small.clone()), of_each.last()) else {
        return Err(format!("{} batches ran", of_each.len()).into());
    };
    if ended.iter().any(|rows| *rows != ENDING) || *last != open + ENDING {
        return Err(format!("of {open} open groups batches ended {of_each:?}").into());
    }
    let times: Vec<Duration> = commits.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    let mut of_small = times[small.start - 1..small.end - 1].to_vec();
    of_small.sort_unstable();
    Ok((of_small[of_small.len() / 2], times[times.len() - 1]))
}

/// One row for each of `groups`, ten to a window.
fn write_groups(file: &Path, groups: Range<u64>) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(file)?);
    for group in groups {
        // A number in a TIMESTAMP is seconds.
        let seconds = 1_767_225_600 + group / ENDING * WINDOW_MS / 1000;
        writeln!(file, "{{\"ts\": {seconds}, \"user\": \"u{group:07}\"}}")?;
    }
    file.flush()
}

/// Twice the rows, of which a watermark lets only the newest stay: memory, state and time per batch.
pub(crate) fn growth(bench: &Bench) -> Outcome {
    let folder = bench.folder("growth_event_time")?;
    let (once, twice) = (folder.join("once"), folder.join("twice"));
    fs::create_dir(&once)?;
    fs::create_dir(&twice)?;
    link(&timed(bench, 64, 0)?, "a", &once)?;
    link(&timed(bench, 64, 0)?, "a", &twice)?;
    link(&timed(bench, 64, bench.rows)?, "b", &twice)?;
    let run = |input: &PathBuf| {
        let checkpoint = folder.join("checkpoint");
        let _ = fs::remove_dir_all(&checkpoint);
        let pipeline = Pipeline {
            input,
            columns: "name STRING, surname STRING, amount DOUBLE, ts TIMESTAMP",
            watermark: "{ column: ts, delay: 100 seconds }",
            deduplicate: Some("{ by: [name, surname, ts] }"),
            sql: "SELECT window.start AS since, name, count(*) AS n FROM transactions GROUP BY window(ts, '10 seconds'), name",
            sink: "{ discard: {} }",
        };
        pipeline.run(&folder)
    };
    let (half, first) = run(&once)?;
    let (whole, all) = run(&twice)?;
    let growth = ratio(whole.peak_bytes, half.peak_bytes).ok_or("no peak memory was seen")?;
    let state = ratio(state_bytes(&all), state_bytes(&first)).ok_or("no state was seen")?;
    let times: Vec<Duration> = all.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    let mean = |times: &[Duration]| times.iter().sum::<Duration>() / times.len().max(1) as u32;
    let (early, late) = (mean(&times[4..times.len() / 2]), mean(&times[times.len() / 2..times.len() - 1]));
    println!(
        "{:<12} twice the rows: {growth:.2} times the memory, {state:.2} times the state, {:.2} times the time per batch",
        "",
        late.as_secs_f64() / early.as_secs_f64()
    );
    if growth > GROWTH_MAX || state > GROWTH_MAX {
        return Err(format!("twice the rows take {growth:.2} times the memory and {state:.2} times the state").into());
    }
    Ok(Figures { rows: Some(bench.rows * 2), p50: Some(early), p99: Some(late), ..whole })
}

fn ratio(whole: Option<u64>, half: Option<u64>) -> Option<f64> {
    Some(whole? as f64 / half? as f64)
}

/// The most that all operators together held after a batch.
fn state_bytes(commits: &[Commit]) -> Option<u64> {
    let of_batch = |commit: &Commit| {
        let operators = commit.progress["stateOperators"].as_array()?;
        operators.iter().map(|operator| operator["memoryUsedBytes"].as_u64()).sum::<Option<u64>>()
    };
    commits.iter().filter_map(of_batch).max()
}

fn link(from: &Path, prefix: &str, to: &Path) -> std::io::Result<()> {
    for file in fs::read_dir(from)? {
        let file = file?;
        std::os::unix::fs::symlink(file.path(), to.join(format!("{prefix}-{}", file.file_name().display())))?;
    }
    Ok(())
}
