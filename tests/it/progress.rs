//! What progress says of batches that are none, and of rows that are gone.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::checkpoint::BatchId;
use tidemill::clock::ManualClock;
use tidemill::engine::progress::Progress;
use tidemill::engine::start::{Process, Resources};
use tidemill::engine::{Step, StopAfter};
use tidemill::metrics::Metrics;
use tidemill::{Result, pipeline};
use tokio::runtime::Runtime;

/// Far beyond what a debug build on a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn load(folder: &Path, text: &str) -> tidemill::pipeline::Pipeline {
    fs::write(folder.join("pipeline.yaml"), text).unwrap();
    pipeline::load(&folder.join("pipeline.yaml"), &[]).unwrap()
}

#[test]
fn an_idle_query_says_so_every_ten_seconds_under_the_next_batch() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    fs::write(folder.path().join("in/1"), "a\n").unwrap();
    let text = "version: 1\nname: idle\nsources: { rows: { from: { file: { path: in } }, format: text } }\n\
                queries: { q: { sql: SELECT value FROM rows, trigger: 5 ms, to: { discard: {} } } }\n";
    let pipeline = load(folder.path(), text);
    let runtime = runtime();
    let clock = Arc::new(ManualClock::at_us(1_000_000));
    let resources = Resources { clock: clock.clone(), ..Resources::new(runtime.handle().clone(), Metrics::new().unwrap()) };
    let stop = resources.stop.clone();
    runtime.block_on(async {
        let process = Process::start(pipeline, resources).await.unwrap();
        let monitor = process.monitors().remove(0);
        let started = Instant::now();
        let idle: Vec<Progress> = loop {
            assert!(started.elapsed() < PATIENCE, "{:?}", monitor.progress().all());
            // Each look finds that three seconds have passed.
            clock.advance(Duration::from_secs(3));
            tokio::time::sleep(Duration::from_millis(20)).await;
            let idle: Vec<_> = monitor.progress().all().into_iter().filter(|progress| progress.num_input_rows == 0).collect();
            if idle.len() >= 3 {
                break idle;
            }
        };
        assert_eq!(monitor.progress().all()[0].num_input_rows, 1);
        for pair in idle.windows(2) {
            assert!(pair[0].timestamp[..19] < pair[1].timestamp[..19], "{pair:?}");
        }
        let progress = &idle[0];
        assert_eq!(progress.batch_id, 1);
        assert!(progress.duration_ms.keys().eq(["latestOffset", "triggerExecution"]), "{progress:?}");
        assert_eq!(progress.sources[0].start_offset, progress.sources[0].end_offset);
        stop.cancel();
        process.wait(PATIENCE).await.unwrap();
    });
}

/// Runs until `step` of batch 1 and answers what the query said about it.
fn run(folder: &Path, text: &str, step: Step) -> (Result<()>, Vec<Progress>) {
    let (runtime, pipeline) = (runtime(), load(folder, text));
    let mut resources = Resources::new(runtime.handle().clone(), Metrics::new().unwrap());
    resources.stop_after = StopAfter::when(move |batch, after| batch == BatchId(1) && after == step);
    runtime.block_on(async {
        let process = Process::start(pipeline, resources).await.unwrap();
        let monitor = process.monitors().remove(0);
        (process.wait(PATIENCE).await, monitor.progress().all())
    })
}

#[test]
fn rows_that_were_only_in_memory_are_lost_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let mut clients: Vec<TcpStream> = Vec::new();
        for lines in ["a\n", ""] {
            let (mut client, _) = listener.accept().unwrap();
            client.write_all(lines.as_bytes()).unwrap();
            clients.push(client);
        }
        clients
    });
    let text = format!(
        "version: 1\nname: lost\ncheckpoint: checkpoint\nsources:\n  rows: {{ from: {{ socket: {{ connect: {address:?}, durable: false }} }}, format: text }}\n\
         queries: {{ q: {{ sql: SELECT value FROM rows, to: {{ discard: {{}} }} }} }}\n"
    );
    // The row is planned, and the process dies.
    let (outcome, _) = run(folder.path(), &text, Step::Planned);
    assert!(outcome.unwrap_err().chain().contains("stopped after step Planned of batch 1"));
    let (_, progress) = run(folder.path(), &text, Step::Released);
    let ledger = &progress.last().unwrap().ledger;
    assert_eq!((ledger.rows_lost, ledger.rows_read), (1, 0), "{ledger:?}");
    // The second run may have ended before it connected.
    let _ = TcpStream::connect(address);
    drop(serving.join().unwrap());
}
