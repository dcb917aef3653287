//! Jobs that measure how long one row takes.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::measure::{Figures, memory, tidemill};
use crate::{Bench, Outcome};

/// Batches of the `tiny` job.
const TINY_BATCHES: usize = 2_000;
/// Pairs of syncs of the `probe` job.
const PROBES: usize = 2_000;
/// How long rows are sent to measure their latency, after a warm-up of a second.
const SENDING: Duration = Duration::from_secs(10);
/// Longest wait for a process to come up or a row to come out.
const PATIENCE: Duration = Duration::from_secs(30);

/// One-row batches back to back: the time from one batch's output to the next.
pub(crate) fn tiny(bench: &Bench) -> Outcome {
    let folder = bench.folder("tiny")?;
    let lines: String = (0..TINY_BATCHES).map(|n| format!("{{\"k\": \"k{}\", \"v\": {n}}}\n", n % 64)).collect();
    fs::write(folder.join("rows.json"), lines)?;
    fs::write(
        folder.join("pipeline.yaml"),
        "version: 1\nname: bench\ncheckpoint: checkpoint\nsources:\n  rows:\n    from: { file: { path: rows.json, max_rows_per_trigger: 1 } }\n    \
         format: { json: { schema: \"k STRING, v BIGINT\" } }\nqueries:\n  tiny:\n    sql: SELECT k, count(*) AS n, sum(v) AS s FROM rows GROUP BY k\n    \
         output_mode: update\n    trigger: available_now\n    to: { console: {}, format: json }\n",
    )?;
    let mut child = spawn(&folder, "pipeline.yaml")?;
    let reader = BufReader::new(child.stdout.take().ok_or("no standard output")?);
    let (mut last, mut times) = (None, Vec::new());
    for line in reader.lines() {
        line?;
        let now = Instant::now();
        if let Some(last) = last.replace(now) {
            times.push(now - last);
        }
    }
    child.wait()?;
    if times.len() + 1 < TINY_BATCHES {
        return Err(format!("{} batches came out of {TINY_BATCHES}", times.len() + 1).into());
    }
    Ok(Figures { rows: Some(TINY_BATCHES as u64), ..Figures::default() }.percentiles(times))
}

/// `rate` rows a second into a listening socket: the time from the client's write to the read of the row behind the console.
pub(crate) fn at_rate(bench: &Bench, rate: u64) -> Outcome {
    let folder = bench.folder(&format!("latency_{rate}"))?;
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    fs::write(
        folder.join("pipeline.yaml"),
        format!(
            "version: 1\nname: bench\ncheckpoint: checkpoint\nsources:\n  rows:\n    from: {{ socket: {{ listen: \"127.0.0.1:{port}\" }} }}\n    \
             format: {{ json: {{ schema: \"id BIGINT\" }} }}\nqueries:\n  latency:\n    sql: SELECT id FROM rows\n    to: {{ console: {{}}, format: json }}\n"
        ),
    )?;
    let mut child = spawn(&folder, "pipeline.yaml")?;
    let arrivals = arrivals(&mut child)?;
    let mut client = connect(port)?;
    let sent = send(&mut client, rate)?;
    drop(client);
    let mut times = Vec::with_capacity(sent.len());
    let warm = rate as usize;
    for _ in 0..sent.len() {
        let (id, at) = arrivals.recv_timeout(PATIENCE).map_err(|_| "a row did not come out")?;
        if id >= warm {
            times.push(at - sent[id]);
        }
    }
    child.kill()?;
    child.wait()?;
    Ok(Figures { rows: Some(times.len() as u64), ..Figures::default() }.percentiles(times))
}

/// Sends one row at a time, each when it is due; when each was written.
fn send(client: &mut TcpStream, rate: u64) -> std::io::Result<Vec<Instant>> {
    let started = Instant::now();
    let total = rate as usize * (SENDING.as_secs() as usize + 1);
    let mut sent = Vec::with_capacity(total);
    let mut line = Vec::new();
    for id in 0..total {
        let due = started + Duration::from_nanos(1_000_000_000 / rate * id as u64);
        while Instant::now() < due {
            thread::sleep(due.saturating_duration_since(Instant::now()).min(Duration::from_micros(500)));
        }
        line.clear();
        writeln!(line, "{{\"id\": {id}}}")?;
        sent.push(Instant::now());
        client.write_all(&line)?;
    }
    Ok(sent)
}

/// When each row came out, as it comes.
fn arrivals(child: &mut Child) -> Result<mpsc::Receiver<(usize, Instant)>, Box<dyn std::error::Error>> {
    let (sender, receiver) = mpsc::channel();
    let reader = BufReader::new(child.stdout.take().ok_or("no standard output")?);
    thread::spawn(move || {
        for line in reader.lines().map_while(Result::ok) {
            let now = Instant::now();
            let batch: Value = serde_json::from_str(&line).unwrap_or_default();
            for row in batch["rows"].as_array().into_iter().flatten() {
                if let Some(id) = row["id"].as_u64() {
                    let _ = sender.send((id as usize, now));
                }
            }
        }
    });
    Ok(receiver)
}

/// Process start to the first row out, the median of ten; and the memory of a process that waits for data.
pub(crate) fn start(bench: &Bench) -> Outcome {
    let folder = bench.folder("start")?;
    let row = folder.join("row.json");
    fs::write(&row, "{\"id\": 1}\n")?;
    // It has lain there for a while: one that was just written would be looked at a second time, 100 ms later.
    fs::File::options().write(true).open(row)?.set_modified(SystemTime::now() - Duration::from_secs(60))?;
    let file = "version: 1\nname: bench\nsources:\n  rows:\n    from: { file: { path: row.json } }\n    format: { json: { schema: \"id BIGINT\" } }\n\
                queries:\n  start:\n    sql: SELECT id FROM rows\n    to: { console: {}, format: json }\n";
    fs::write(folder.join("pipeline.yaml"), file)?;
    let (mut times, mut idle) = (Vec::new(), None);
    for _ in 0..10 {
        let started = Instant::now();
        let mut child = spawn(&folder, "pipeline.yaml")?;
        let mut reader = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut line = String::new();
        while !line.contains("\"id\":1") {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Err("the process ended before its first row".into());
            }
        }
        times.push(started.elapsed());
        thread::sleep(Duration::from_millis(500));
        idle = memory(child.id(), "VmRSS:");
        child.kill()?;
        child.wait()?;
    }
    Ok(Figures { peak_bytes: idle, ..Figures::default() }.percentiles(times))
}

/// Two bare `fdatasync`s in sequence, of two files that have their place on the disk: what a durable row costs at the least.
pub(crate) fn probe(bench: &Bench) -> Outcome {
    const FILE_BYTES: u64 = 4 << 20;
    let folder = bench.folder("probe")?;
    let mut files = Vec::new();
    for name in ["log", "ingest"] {
        let file = fs::File::create(folder.join(name))?;
        file.write_all_at(&vec![0; FILE_BYTES as usize], 0)?;
        file.sync_all()?;
        files.push(file);
    }
    let mut times = Vec::with_capacity(PROBES);
    for at in 0..PROBES as u64 {
        let started = Instant::now();
        for file in &files {
            file.write_all_at(&[1; 300], at * 512 % FILE_BYTES)?;
            file.sync_data()?;
        }
        times.push(started.elapsed());
    }
    Ok(Figures { rows: Some(PROBES as u64), ..Figures::default() }.percentiles(times))
}

fn spawn(folder: &std::path::Path, file: &str) -> std::io::Result<Child> {
    tidemill(&["run", file, "--quiet"]).current_dir(folder).stdout(Stdio::piped()).spawn()
}

/// Connects as soon as somebody listens.
pub(crate) fn connect(port: u16) -> std::io::Result<TcpStream> {
    let started = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(_) if started.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(error),
        }
    }
}
