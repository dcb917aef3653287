//! Calls of functions: rows asked of an HTTP server that takes 100 ms for each, what a call costs the engine, and what one in flight holds.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Int64Type};
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::Value;
use tidemill::function::policy::Budget;
use tidemill::function::{
    Answer, AsyncFunction, BatchContext, CallError, CallSettings, Chunk, Function, Reply, Returns, Signature,
};
use tidemill::metrics::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::measure::{Figures, memory, tidemill, to_end};
use crate::{Bench, Outcome};

/// Argument with which this program makes calls of a function that answers at once, instead of running jobs.
pub(crate) const ENGINE: &str = "--calls-of-nothing";
/// Rows of each job, and how long the server takes for one.
const ROWS: u64 = 1_000;
const LATENCY: Duration = Duration::from_millis(100);
/// Calls of `calls_engine`.
const ENGINE_CALLS: u64 = 1_000_000;
/// Calls that `calls_memory` has in flight.
const HELD: usize = 10_000;
/// Longest wait for all of them.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server on a thread of its own, whose cost counts for nobody.
struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
}

/// What the server sees, and when it answers.
#[derive(Default)]
struct Seen {
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
    answered: AtomicUsize,
    /// Told when requests are to be answered; where it is not there they are after [`LATENCY`].
    gate: Option<Notify>,
}

impl Server {
    fn start(seen: Seen) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let (address, seen) = (listener.local_addr()?, Arc::new(seen));
        let serving = seen.clone();
        thread::spawn(move || {
            runtime.block_on(async {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, serving.clone()));
                }
            });
        });
        Ok(Self { address, seen })
    }
}

/// Answers one request after the other, none of which has a body.
async fn serve(mut stream: TcpStream, seen: Arc<Seen>) -> io::Result<()> {
    let mut request = Vec::with_capacity(1024);
    loop {
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            if stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        request.clear();
        let now = seen.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        seen.in_flight_max.fetch_max(now, Ordering::SeqCst);
        match &seen.gate {
            Some(gate) => gate.notified().await,
            None => tokio::time::sleep(LATENCY).await,
        }
        seen.in_flight.fetch_sub(1, Ordering::SeqCst);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"score\": 0.5}")
            .await?;
        seen.answered.fetch_add(1, Ordering::SeqCst);
    }
}

/// A pipeline that asks the server for each of `rows` rows.
fn pipeline(folder: &Path, address: SocketAddr, rows: u64, in_flight: usize) -> io::Result<()> {
    let input = folder.join("rows.json");
    fs::write(&input, (0..rows).map(|id| format!("{{\"id\": {id}}}\n")).collect::<String>())?;
    // It has lain there for a while: one that was just written would be looked at a second time.
    fs::File::options().write(true).open(&input)?.set_modified(SystemTime::now() - Duration::from_secs(60))?;
    let text = format!(
        "version: 1\nname: bench\ncheckpoint: checkpoint\nlimits: {{ calls_in_flight: {in_flight}, calls_in_flight_per_query: {in_flight} }}\n\
         sources:\n  rows:\n    from: {{ file: {{ path: rows.json }} }}\n    format: {{ json: {{ schema: \"id BIGINT\" }} }}\n\
         functions:\n  score:\n    args: \"id BIGINT\"\n    returns: \"score DOUBLE\"\n    timeout: 5 minutes\n    max_in_flight: {in_flight}\n    \
         http: {{ url: \"http://{address}/score/{{id}}\", allow_addresses: [127.0.0.0/8] }}\n\
         queries:\n  scored:\n    sql: SELECT id, score(id) AS score FROM rows\n    trigger: available_now\n    \
         to: {{ file: {{ path: out/ }}, format: json }}\n"
    );
    fs::write(folder.join("pipeline.yaml"), text)
}

/// A thousand rows with so many calls in flight; fails unless each was asked for once and so many were in flight, never more.
pub(crate) fn http(bench: &Bench, in_flight: usize) -> Outcome {
    let (folder, server) = (bench.folder(&format!("calls_{in_flight}"))?, Server::start(Seen::default())?);
    pipeline(&folder, server.address, ROWS, in_flight)?;
    let mut command = tidemill(&["run", "pipeline.yaml", "--quiet"]);
    command.current_dir(&folder);
    let figures = to_end(command)?;
    server.judge(in_flight)?;
    Ok(Figures { rows: Some(ROWS), ..figures })
}

/// The same with a Python client: asyncio and aiohttp, with the Python of `PEERS_PYTHON`.
pub(crate) fn asyncio(in_flight: usize) -> Outcome {
    let python = std::env::var_os("PEERS_PYTHON").ok_or("PEERS_PYTHON names no Python that has aiohttp; run make bench-peers")?;
    let server = Server::start(Seen::default())?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/asyncio_calls.py");
    let url = format!("http://{}/score/", server.address);
    let output = Command::new(python)
        .arg(script)
        .args([&url, &ROWS.to_string(), &in_flight.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("the Python client ended with {}", output.status).into());
    }
    server.judge(in_flight)?;
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let seconds = |key: &str| told[key].as_f64().map(Duration::from_secs_f64);
    Ok(Figures {
        rows: Some(ROWS),
        wall: seconds("wall_s"),
        cpu: seconds("cpu_s"),
        peak_bytes: told["peak_bytes"].as_u64(),
        ..Figures::default()
    })
}

impl Server {
    fn judge(&self, in_flight: usize) -> Result<(), String> {
        let (answered, most) = (self.seen.answered.load(Ordering::SeqCst), self.seen.in_flight_max.load(Ordering::SeqCst));
        match answered == ROWS as usize && most == in_flight {
            true => Ok(()),
            false => Err(format!("{answered} requests of {ROWS}, at most {most} in flight where {in_flight} were wanted")),
        }
    }
}

/// Ten thousand calls in flight at once: memory with all of them waiting, less that of the same pipeline with one.
pub(crate) fn in_flight(bench: &Bench) -> Outcome {
    let alone = held(bench, 1)?;
    let all = held(bench, HELD)?;
    let each = all.saturating_sub(alone) / HELD as u64;
    let note = format!("{:.1} KiB for each call in flight", each as f64 / 1024.0);
    Ok(Figures { rows: Some(HELD as u64), peak_bytes: Some(all), note: Some(note), ..Figures::default() })
}

/// Memory of a process that has so many calls in flight.
fn held(bench: &Bench, in_flight: usize) -> Result<u64, Box<dyn std::error::Error>> {
    let folder = bench.folder("calls_memory")?;
    let server = Server::start(Seen { gate: Some(Notify::new()), ..Seen::default() })?;
    pipeline(&folder, server.address, HELD as u64, in_flight)?;
    let mut child = tidemill(&["run", "pipeline.yaml", "--quiet"]).current_dir(&folder).stdout(Stdio::null()).spawn()?;
    let started = Instant::now();
    while server.seen.in_flight.load(Ordering::SeqCst) < in_flight && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(20));
    }
    let (most, bytes) = (server.seen.in_flight_max.load(Ordering::SeqCst), memory(child.id(), "VmHWM:"));
    child.kill()?;
    child.wait()?;
    match most == in_flight {
        true => bytes.ok_or_else(|| "the process has ended".into()),
        false => Err(format!("{most} calls in flight of {in_flight}").into()),
    }
}

/// A million calls of a row each that are answered at once: what is left is the engine's own.
pub(crate) fn engine() -> Outcome {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([ENGINE, &ENGINE_CALLS.to_string()]);
    let figures = to_end(command)?;
    let each = figures.cpu.unwrap_or_default().as_secs_f64() * 1e6 / ENGINE_CALLS as f64;
    Ok(Figures { rows: Some(ENGINE_CALLS), note: Some(format!("{each:.1} µs of CPU for each call")), ..figures })
}

#[derive(Debug)]
struct Nothing;

#[async_trait]
impl AsyncFunction for Nothing {
    async fn call(&self, chunk: Chunk) -> Result<Reply, CallError> {
        // As an answer from outside does, this one comes later.
        tokio::task::yield_now().await;
        Ok(Answer::Values(chunk.args.column(0).clone()).into())
    }
}

/// What [`engine`] starts.
pub(crate) fn call_nothing(calls: u64) -> Result<(), Box<dyn std::error::Error>> {
    const BATCH_ROWS: i64 = 8_192;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let field = Field::new("id", DataType::Int64, true);
    let args = Fields::from(vec![field]);
    let signature = Signature { name: "nothing".to_owned(), args, returns: Returns::Value(DataType::Int64) };
    let settings = CallSettings { chunk_size: 1, max_in_flight: 100, ..CallSettings::default() };
    let function = Arc::new(Function::new(signature, Arc::new(Nothing), settings, Arc::new(Budget::new(1_000)))?);
    let batch = BatchContext {
        origin: "p/q/7/f.1".into(),
        query: "bench".into(),
        batch_id: 0,
        query_budget: Arc::new(Budget::new(1_000)),
        metrics: Arc::new(Metrics::new()?.function("bench", "bench", "nothing")),
        runtime: runtime.handle().clone(),
    };
    let last = i64::try_from(calls)?;
    let batches = (0..last).step_by(BATCH_ROWS as usize).map(move |first| {
        let numbers = Int64Array::from_iter_values(first..last.min(first + BATCH_ROWS));
        RecordBatch::try_from_iter([("id", Arc::new(numbers) as _)]).map_err(|e| tidemill::Error::internal(e.to_string()))
    });
    let mut answers = function.answer(batch, futures::stream::iter(batches.collect::<Vec<_>>()).boxed());
    let sum = runtime.block_on(async {
        let mut sum = 0;
        while let Some(part) = answers.next().await {
            if let Answer::Values(values) = part?.answer {
                sum += values.as_primitive::<Int64Type>().values().iter().sum::<i64>();
            }
        }
        Ok::<_, tidemill::Error>(sum)
    })?;
    match sum == (0..last).sum::<i64>() {
        true => Ok(()),
        false => Err(format!("the answers add up to {sum}").into()),
    }
}
