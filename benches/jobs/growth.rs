//! Jobs that show what a query costs when its state has grown: per batch, per key touched, and at a restart.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::data::transactions;
use crate::measure::{Figures, commits, tidemill};
use crate::{Bench, Outcome};

/// Users that the data draws from; nearly all of them turn up in 5 M rows.
const USERS: u32 = 1_000_000;
/// Keys of a small batch.
const TOUCHED: u64 = 10;
/// Small batches that are measured.
const SMALL_BATCHES: usize = 200;

/// What the jobs keep per user.
const SUMS: &str = "SELECT user, count(*) AS n, sum(amount) AS total, max(amount) AS largest FROM rows GROUP BY user";

/// Twenty batches over a growing state: the second five against the last five.
pub(crate) fn batches(bench: &Bench) -> Outcome {
    over_batches(bench, "growth_batches", SUMS)
}

/// The same with aggregates that keep each value of a group, for a million groups of a few values.
pub(crate) fn lists(bench: &Bench) -> Outcome {
    let sql = "SELECT user, collect_set(amount) AS amounts, percentile(amount, 0.5) AS middle, mode(amount) AS usual FROM rows GROUP BY user";
    over_batches(bench, "growth_lists", sql)
}

/// The same for one group of a million values.
pub(crate) fn values(bench: &Bench) -> Outcome {
    over_batches(bench, "growth_values", "SELECT size(collect_set(user)) AS users, mode(user) AS usual FROM rows")
}

/// Twenty batches of `sql`.
fn over_batches(bench: &Bench, name: &str, sql: &str) -> Outcome {
    let run = Run::new(bench, name, link_all(bench, name)?, sql)?;
    let (whole, ends) = run.to_end()?;
    let times: Vec<Duration> = ends.windows(2).map(|pair| pair[1] - pair[0]).collect();
    if times.len() < 19 {
        return Err(format!("{} batches ran", ends.len()).into());
    }
    // The first batch has no predecessor to measure from: `times[n]` is batch n + 1.
    let mean = |times: &[Duration]| times.iter().sum::<Duration>() / times.len() as u32;
    let (second, last) = (mean(&times[4..9]), mean(&times[14..19]));
    println!("{:<12} last five batches / second five: {:.2}", "", last.as_secs_f64() / second.as_secs_f64());
    Ok(Figures { rows: Some(bench.rows), p50: Some(second), p99: Some(last), ..whole })
}

/// Batches that touch ten keys, with ten keys held and with a million.
pub(crate) fn touch(bench: &Bench) -> Outcome {
    let few = small_batches(bench, "growth_touch_10", TOUCHED)?;
    let many = small_batches(bench, "growth_touch_1m", u64::from(USERS))?;
    println!("{:<12} ten keys cost {:.2} ms more with a million held", "", (many.as_secs_f64() - few.as_secs_f64()) * 1e3);
    Ok(Figures { rows: Some(TOUCHED), p50: Some(few), p99: Some(many), ..Figures::default() })
}

/// Median time of a batch of ten keys after one with `held`.
fn small_batches(bench: &Bench, name: &str, held: u64) -> Result<Duration, Box<dyn std::error::Error>> {
    let input = bench.folder(name)?.join("in");
    fs::create_dir(&input)?;
    write_keys(&input.join("000.json"), 0..held, 1)?;
    for number in 0..SMALL_BATCHES as u64 {
        let start = number * 7919 % held.saturating_sub(TOUCHED).max(1);
        write_keys(&input.join(format!("{:03}.json", number + 1)), start..start + TOUCHED, 1)?;
    }
    let ends = Run::new(bench, name, input, SUMS)?.to_end()?.1;
    let mut times: Vec<Duration> = ends.windows(2).map(|pair| pair[1] - pair[0]).collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().ok_or_else(|| "no batch ran".into())
}

/// Process start to the end of the first batch, with a million keys in the checkpoint and with none.
pub(crate) fn restart(bench: &Bench) -> Outcome {
    let input = bench.folder("growth_restart_plain")?.join("in");
    fs::create_dir(&input)?;
    write_keys(&input.join("00.json"), 0..TOUCHED, 1)?;
    let plain = Run::new(bench, "growth_restart_plain", input, SUMS)?.first_batch()?;
    let input = link_all(bench, "growth_restart")?;
    let run = Run::new(bench, "growth_restart", input.clone(), SUMS)?;
    run.to_end()?;
    write_keys(&input.join("99.json"), 0..TOUCHED, 1)?;
    let full = run.first_batch()?;
    println!("{:<12} a restart with a million keys takes {:.2} s more", "", full.as_secs_f64() - plain.as_secs_f64());
    Ok(Figures { rows: Some(u64::from(USERS)), p50: Some(plain), p99: Some(full), ..Figures::default() })
}

/// The data set's files in a folder of the job's own, to which files can be added.
fn link_all(bench: &Bench, name: &str) -> std::io::Result<PathBuf> {
    let (data, input) = (transactions(bench, USERS)?, bench.folder(name)?.join("in"));
    fs::create_dir(&input)?;
    for file in fs::read_dir(data)? {
        let file = file?;
        fs::hard_link(file.path().canonicalize()?, input.join(file.file_name()))?;
    }
    Ok(input)
}

/// Rows of the data set's shape, one per user of `users`.
fn write_keys(file: &Path, users: std::ops::Range<u64>, amount: u64) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(fs::File::create(file)?);
    for user in users {
        writeln!(file, "{{\"amount\": {amount}.5, \"user\": \"u{user:07}\"}}")?;
    }
    file.flush()
}

/// A pipeline over the files of a folder, one per batch.
struct Run {
    file: PathBuf,
}

impl Run {
    fn new(bench: &Bench, name: &str, input: PathBuf, sql: &str) -> std::io::Result<Self> {
        let file = bench.target.join("bench-work").join(name).join("pipeline.yaml");
        let text = format!(
            "version: 1\nname: bench\ncheckpoint: checkpoint\nsources:\n  rows:\n    from: {{ file: {{ path: {input:?}, max_files_per_trigger: 1 }} }}\n    \
             format: {{ json: {{ schema: \"amount DOUBLE, user STRING\" }} }}\nqueries:\n  growth:\n    \
             sql: {sql}\n    output_mode: update\n    trigger: available_now\n    to: {{ discard: {{}} }}\n"
        );
        fs::write(&file, text)?;
        Ok(Self { file })
    }

    /// What the run took, and when each batch was committed, as the log says it.
    fn to_end(&self) -> Result<(Figures, Vec<Instant>), Box<dyn std::error::Error>> {
        let file = self.file.to_str().ok_or("a path that is not UTF-8")?;
        let (whole, commits) = commits(tidemill(&["run", file, "--quiet"]))?;
        Ok((whole, commits.into_iter().map(|commit| commit.at).collect()))
    }

    /// Time from the start of the process to its first committed batch.
    fn first_batch(&self) -> Result<Duration, Box<dyn std::error::Error>> {
        let started = Instant::now();
        let first = self.to_end()?.1.first().copied().ok_or("no batch ran")?;
        Ok(first - started)
    }
}
