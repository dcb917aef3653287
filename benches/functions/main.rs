//! Each family of functions beside DataFusion's own nearest: `cargo bench --bench functions -- [FAMILY or CALL …] [--rows N]
//! [--rounds N] [--check]`. Prints a table; the ratio is how many times as fast as the peer ours is, in CPU time, by medians of runs
//! in turns. With `--check` nothing is measured, but results that should be the same are compared.

#![allow(clippy::print_stdout)]

mod aggregates;
mod calls;
mod data;
mod peers;
mod run;

use std::fs;
use std::thread;
use std::time::Duration;

use peers::Pair;
use run::{Bench, BoxError, Runnable};

/// What the command line asks for.
struct Options {
    rows: usize,
    rounds: usize,
    check: bool,
    wanted: Vec<String>,
}

fn main() -> Result<(), BoxError> {
    let options = options()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let bench = Bench::new(data::rows(options.rows)?);
    println!("| family | ours | ns a row | beside it | ns a row | ratio |\n|---|---|---:|---|---:|---:|");
    for (family, pairs) in calls::FAMILIES {
        for pair in *pairs {
            runtime.block_on(measure(&bench, &options, family, pair, None))?;
        }
    }
    for pair in aggregates::AGGREGATES {
        for (family, key) in [("aggregates, one group", None), ("aggregates, 10,000 keys", Some("k"))] {
            runtime.block_on(measure(&bench, &options, family, pair, key))?;
        }
    }
    Ok(())
}

fn options() -> Result<Options, BoxError> {
    let mut options = Options { rows: 1_000_000, rounds: 7, check: false, wanted: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok()).ok_or(format!("{argument} takes a number"));
        match argument.as_str() {
            // Cargo's own.
            "--bench" => {}
            "--check" => options.check = true,
            "--rows" => options.rows = number()?,
            "--rounds" => options.rounds = number()?,
            option if option.starts_with("--") => return Err(format!("there is no option {option}").into()),
            name => options.wanted.push(name.to_owned()),
        }
    }
    Ok(options)
}

/// One row of the table, if it is wanted.
async fn measure(bench: &Bench, options: &Options, family: &str, pair: &Pair, key: Option<&str>) -> Result<(), BoxError> {
    let is_named = |name: &String| family.contains(name.as_str()) || pair.ours.contains(name.as_str());
    if !options.wanted.is_empty() && !options.wanted.iter().any(is_named) {
        return Ok(());
    }
    let named = |error: BoxError| format!("{}: {error}", pair.ours);
    if options.check {
        if key.is_none() {
            bench.check(pair).await.map_err(named)?;
        }
        return Ok(());
    }
    let ours = bench.ours(pair.ours, key).await.map_err(named)?;
    let peer = bench.peer(&pair.peer, key).await.map_err(named)?;
    let (mut ours_times, mut peer_times) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds.max(1) {
        ours_times.push(timed(&ours).await.map_err(named)?);
        peer_times.push(timed(&peer).await.map_err(named)?);
    }
    let (ours_ns, peer_ns) = (median(ours_times, options.rows), median(peer_times, options.rows));
    let ratio = peer_ns / ours_ns.max(0.01);
    let reason = if ratio < 0.5 && !pair.reason.is_empty() { format!(": {}", pair.reason) } else { String::new() };
    // A bar would end the table's cell.
    let (ours, beside) = (pair.ours.replace('|', "\\|"), pair.peer.shown().replace('|', "\\|"));
    println!("| {family} | `{ours}` | {ours_ns:.1} | {beside} | {peer_ns:.1} | {ratio:.2}{reason} |");
    Ok(())
}

/// CPU time of one run.
async fn timed(runnable: &Runnable) -> Result<Duration, BoxError> {
    let before = cpu_time()?;
    runnable.run().await?;
    Ok(cpu_time()? - before)
}

/// CPU time of this thread. The kernel adds up what has passed when the thread gives way, so it does first.
fn cpu_time() -> Result<Duration, BoxError> {
    thread::yield_now();
    let told = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = told.split_whitespace().next().ok_or("no CPU time")?.parse()?;
    Ok(Duration::from_nanos(nanos))
}

/// Nanoseconds a row.
fn median(mut times: Vec<Duration>, rows: usize) -> f64 {
    times.sort();
    times[times.len() / 2].as_nanos() as f64 / rows as f64
}
