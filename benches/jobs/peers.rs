//! The same work by others, in alternation with ours: what a figure is worth on a noisy machine is its ratio to these.

use std::fs;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Schema};
use serde_json::Value;

use crate::data::{self, size, transactions};
use crate::measure::{Figures, to_end};
use crate::{Bench, Outcome, calls, decode, throughput};

/// Argument with which this program decodes a file with arrow-json instead of running jobs.
pub(crate) const ARROW_JSON: &str = "--arrow-json";

type Run = fn(&Bench) -> Outcome;

/// A job of ours and the peers it is compared with.
struct Comparison {
    job: &'static str,
    ours: Run,
    peers: &'static [(&'static str, Run)],
    /// Runs of each; the best counts, as disturbance only ever slows down.
    rounds: usize,
}

const COMPARISONS: &[Comparison] = &[
    Comparison { job: "decode", ours: decode::data_set, peers: &[("arrow-json", arrow_json)], rounds: 3 },
    Comparison {
        job: "filter",
        ours: throughput::filter,
        peers: &[("wc -l", |bench| count_lines(bench, 64)), ("duckdb", |bench| duckdb(bench, "filter", 64))],
        rounds: 3,
    },
    Comparison {
        job: "fraud",
        ours: throughput::fraud,
        peers: &[("wc -l", |bench| count_lines(bench, 64)), ("duckdb", |bench| duckdb(bench, "fraud", 64))],
        rounds: 3,
    },
    Comparison {
        job: "keys_1m",
        ours: throughput::keys_1m,
        peers: &[("wc -l", |bench| count_lines(bench, 1_000_000)), ("duckdb", |bench| duckdb(bench, "keys_1m", 1_000_000))],
        rounds: 3,
    },
    // The server takes what it takes: once is enough where a run is 100 s.
    Comparison { job: "calls_1", ours: |bench| calls::http(bench, 1), peers: &[("asyncio", |_| calls::asyncio(1))], rounds: 1 },
    Comparison {
        job: "calls_20",
        ours: |bench| calls::http(bench, 20),
        peers: &[("asyncio", |_| calls::asyncio(20))],
        rounds: 3,
    },
    Comparison {
        job: "calls_100",
        ours: |bench| calls::http(bench, 100),
        peers: &[("asyncio", |_| calls::asyncio(100))],
        rounds: 5,
    },
];

/// Runs every comparison, or those of the jobs that are `wanted`, and prints, beside each peer, how many times its rows per second and per CPU-second ours are.
pub(crate) fn run(bench: &Bench, wanted: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    println!("{}   ours: × rows/s  × rows/cpu-s", Figures::HEADER);
    let is_wanted = |comparison: &&Comparison| wanted.is_empty() || wanted.iter().any(|name| name == comparison.job);
    for comparison in COMPARISONS.iter().filter(is_wanted) {
        let mut runs: Vec<(&str, Run)> = vec![(comparison.job, comparison.ours)];
        runs.extend(comparison.peers);
        let mut best: Vec<Option<Figures>> = runs.iter().map(|_| None).collect();
        for _ in 0..comparison.rounds {
            for ((name, run), best) in runs.iter().zip(&mut best) {
                let mut figures = run(bench).map_err(|error| format!("{name}: {error}"))?;
                figures.job = (*name).to_owned();
                if best.as_ref().is_none_or(|best| figures.cpu < best.cpu) {
                    *best = Some(figures);
                }
            }
        }
        let best: Vec<Figures> = best.into_iter().flatten().collect();
        for figures in &best {
            let ratio = |of: fn(&Figures) -> Option<f64>| Some(of(&best[0])? / of(figures)?);
            let shown = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
            println!("{figures}   {:>14} {:>13}", shown(ratio(Figures::rows_per_s)), shown(ratio(Figures::rows_per_cpu_s)));
        }
    }
    Ok(())
}

/// `wc -l` of the same files: what it costs to look at every byte once.
fn count_lines(bench: &Bench, users: u32) -> Outcome {
    let folder = transactions(bench, users)?;
    let mut command = Command::new("wc");
    command.arg("-l").args(files(&folder)?);
    Ok(Figures { rows: Some(bench.rows), bytes: Some(size(&folder)?), ..to_end(command)? })
}

/// The job's query in DuckDB, with the Python of `PEERS_PYTHON`.
fn duckdb(bench: &Bench, job: &str, users: u32) -> Outcome {
    let python = std::env::var_os("PEERS_PYTHON").ok_or("PEERS_PYTHON names no Python that has duckdb; run make bench-peers")?;
    let (input, folder) = (transactions(bench, users)?, bench.folder("duckdb")?);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/duckdb_job.py");
    let output =
        Command::new(python).arg(script).arg(job).arg(&input).arg(folder.join("out.json")).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("duckdb ended with {}", output.status).into());
    }
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let seconds = |key: &str| told[key].as_f64().map(Duration::from_secs_f64);
    Ok(Figures {
        rows: Some(bench.rows),
        bytes: Some(size(&input)?),
        wall: seconds("wall_s"),
        cpu: seconds("cpu_s"),
        peak_bytes: told["peak_bytes"].as_u64(),
        ..Figures::default()
    })
}

/// arrow-json over one file in memory, as often as the data set has files; in a process of its own, as its allocations are.
fn arrow_json(bench: &Bench) -> Outcome {
    let folder = transactions(bench, 64)?;
    let output = Command::new(std::env::current_exe()?).arg(ARROW_JSON).arg(folder.join("00.json")).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let wall = told["wall_s"].as_f64().map(Duration::from_secs_f64);
    Ok(Figures { rows: told["rows"].as_u64(), bytes: told["bytes"].as_u64(), wall, cpu: wall, ..Figures::default() })
}

/// What [`arrow_json`] starts.
pub(crate) fn decode_with_arrow_json(file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let text = fs::read(file)?;
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let schema = Arc::new(Schema::new(vec![
        field("name", DataType::Utf8),
        field("surname", DataType::Utf8),
        field("amount", DataType::Float64),
        field("delta_t", DataType::Float64),
        field("flag", DataType::Int32),
    ]));
    let (started, mut rows) = (Instant::now(), 0);
    for _ in 0..data::FILES {
        let reader = arrow_json::ReaderBuilder::new(schema.clone()).with_batch_size(8192).build(Cursor::new(&text))?;
        for batch in reader {
            rows += batch?.num_rows();
        }
    }
    let told = serde_json::json!({
        "rows": rows, "bytes": text.len() as u64 * data::FILES, "wall_s": started.elapsed().as_secs_f64(),
    });
    println!("{told}");
    Ok(())
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}
