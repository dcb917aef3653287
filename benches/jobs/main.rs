//! The benchmark jobs of `benches/README.md`: each runs the real binary (only the decoder runs in this process) and measures it from
//! outside.

// A benchmark prints its table and sends rows when they are due.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

mod calls;
mod data;
mod decode;
mod event_time;
mod flat;
mod ingest;
mod join;
mod growth;
mod kafka;
mod kafka_out;
mod latency;
mod measure;
mod peers;
mod redis;
mod throughput;

use std::fs;
use std::path::{Path, PathBuf};

use measure::Figures;

type Outcome = Result<Figures, Box<dyn std::error::Error>>;

/// One job: its name and what it does with `rows` lines of data.
struct Job {
    name: &'static str,
    run: fn(&Bench) -> Outcome,
}

const JOBS: &[Job] = &[
    Job { name: "decode", run: decode::data_set },
    Job { name: "decode_wide", run: |_| decode::shape(&decode::WIDE) },
    Job { name: "decode_nested", run: |_| decode::shape(&decode::NESTED) },
    Job { name: "decode_arrays", run: |_| decode::shape(&decode::ARRAYS) },
    Job { name: "decode_nulls", run: |_| decode::shape(&decode::NULLS) },
    Job { name: "decode_missing", run: |_| decode::shape(&decode::MISSING) },
    Job { name: "decode_reordered", run: |_| decode::shape(&decode::REORDERED) },
    Job { name: "decode_alternating", run: |_| decode::shape(&decode::ALTERNATING) },
    Job { name: "decode_non_ascii", run: |_| decode::shape(&decode::NON_ASCII) },
    Job { name: "filter", run: throughput::filter },
    Job { name: "fraud", run: throughput::fraud },
    Job { name: "columns", run: throughput::columns },
    Job { name: "functions", run: throughput::functions },
    Job { name: "keys_1m", run: throughput::keys_1m },
    Job { name: "join", run: join::join },
    Job { name: "flat", run: flat::flat },
    Job { name: "ingest", run: |bench| ingest::ingest(bench, "ingest", 1) },
    Job { name: "ingest_1000", run: |bench| ingest::ingest(bench, "ingest_1000", 1_000) },
    Job { name: "kafka_bare", run: kafka::kafka_bare },
    Job { name: "kafka_in", run: kafka::kafka_in },
    Job { name: "kafka_fraud", run: kafka_out::fraud },
    Job { name: "kafka_commit", run: kafka_out::commit },
    Job { name: "kafka_latency", run: kafka_out::latency },
    Job { name: "calls_1", run: |bench| calls::http(bench, 1) },
    Job { name: "calls_20", run: |bench| calls::http(bench, 20) },
    Job { name: "calls_100", run: |bench| calls::http(bench, 100) },
    Job { name: "calls_engine", run: |_| calls::engine() },
    Job { name: "calls_memory", run: calls::in_flight },
    // With one at a time, a tenth is enough to see how long each takes.
    Job { name: "redis_1", run: |bench| redis::puts(bench, 10_000, 1) },
    Job { name: "redis_32", run: |bench| redis::puts(bench, 100_000, 32) },
    Job { name: "redis_1024", run: |bench| redis::puts(bench, 100_000, 1_024) },
    Job { name: "probe", run: latency::probe },
    Job { name: "tiny", run: latency::tiny },
    Job { name: "latency_1k", run: |bench| latency::at_rate(bench, 1_000) },
    Job { name: "latency_20k", run: |bench| latency::at_rate(bench, 20_000) },
    Job { name: "start", run: latency::start },
    Job { name: "window", run: event_time::window },
    Job { name: "dedup", run: event_time::dedup },
    Job { name: "evict", run: event_time::evict },
    Job { name: "growth_event_time", run: event_time::growth },
    Job { name: "growth_batches", run: growth::batches },
    Job { name: "growth_lists", run: growth::lists },
    Job { name: "growth_values", run: growth::values },
    Job { name: "growth_touch", run: growth::touch },
    Job { name: "growth_restart", run: growth::restart },
];

/// What every job needs.
struct Bench {
    rows: u64,
    target: PathBuf,
}

impl Bench {
    /// An empty folder for one job.
    fn folder(&self, job: &str) -> std::io::Result<PathBuf> {
        let folder = self.target.join("bench-work").join(job);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (mut wanted, mut rows, mut beside_peers) = (Vec::new(), 5_000_000, false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            peers::ARROW_JSON => return peers::decode_with_arrow_json(arguments.next().ok_or("a file is missing")?.as_ref()),
            kafka::BARE => {
                let (servers, rows) =
                    arguments.next().zip(arguments.next()).ok_or("an address and a number of rows are missing")?;
                return kafka::read_bare(&servers, rows.parse()?);
            }
            redis::PUTS => {
                let mut next = || arguments.next().ok_or("an address, a number of puts and a window are missing");
                return redis::put(&next()?, next()?.parse()?, next()?.parse()?);
            }
            calls::ENGINE => return calls::call_nothing(arguments.next().ok_or("a number of calls is missing")?.parse()?),
            "--peers" => beside_peers = true,
            "--rows" => rows = arguments.next().ok_or("--rows needs a number")?.parse()?,
            name if JOBS.iter().any(|job| job.name == name) => wanted.push(name.to_owned()),
            other => return Err(format!("unknown job {other}; there are: {}", JOBS.map_names().join(", ")).into()),
        }
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_tidemill"));
    let target = binary.ancestors().nth(2).ok_or("the binary is not in a target folder")?.to_owned();
    let bench = Bench { rows, target };
    if beside_peers {
        return peers::run(&bench, &wanted);
    }
    let mut figures = Vec::new();
    println!("{}", Figures::HEADER);
    for job in JOBS.iter().filter(|job| wanted.is_empty() || wanted.iter().any(|name| name == job.name)) {
        let mut measured = (job.run)(&bench).map_err(|error| format!("{}: {error}", job.name))?;
        measured.job = job.name.to_owned();
        println!("{measured}");
        figures.push(measured.json());
    }
    let path = bench.target.join("bench.json");
    fs::write(&path, serde_json::to_string_pretty(&figures)?)?;
    println!("written to {}", path.display());
    Ok(())
}

trait Names {
    fn map_names(&self) -> Vec<&'static str>;
}

impl Names for [Job] {
    fn map_names(&self) -> Vec<&'static str> {
        self.iter().map(|job| job.name).collect()
    }
}
