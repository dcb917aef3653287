//! Everything at once, for a while: twenty queries over twenty sources in one process, one sink that is slow, and two thousand clients
//! of its API.
//!
//! While it runs, senders count what they sent and what was acknowledged. Then they pause: every query but the slow one has soon read
//! and written all there was, the slow one when its sink is quick again, and the totals of `/metrics` are those of the senders and of
//! the outputs. Then they go on, the process is told to end in the midst of it, and a second one finishes: what was acknowledged is out
//! once. Memory is looked at every second.
//!
//! - `TIDEMILL_LOAD_SECONDS` is how long it goes on before the pause: 60 unless given. From 600 on latency is judged, too, and memory
//!   strictly: by hand, on a machine that does nothing else.
//! - `TIDEMILL_LOAD_ROWS` is how many rows a second each source gets (100).
//! - `TIDEMILL_BINARY` is the binary to run, such as `target/release/tidemill`.
//!
//! ```sh
//! cargo build --release
//! TIDEMILL_LOAD_SECONDS=600 TIDEMILL_LOAD_ROWS=1000 TIDEMILL_BINARY=target/release/tidemill \
//!   cargo test --test it load:: -- --nocapture
//! ```

mod check;
mod clients;
mod http;
mod pipeline;
mod senders;
mod slow;
mod watch;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use super::binary::{Folder, PATIENCE, Running, pause};
use super::kafka::Broker;
use super::redis::{Server, prefix};
use check::{Outputs, Totals};
use clients::{Clients, percentile};
use pipeline::{Query, SLOW_QUERY, Stand};
use senders::{Senders, Sent};
use slow::Slow;
use watch::Watch;

/// From here on it is a measurement.
const MEASURED_SECONDS: u64 = 600;
/// Clients of the API.
const CLIENTS: usize = 2000;
/// How long an answer of the slow sink's server takes.
const SLOW: Duration = Duration::from_millis(400);
/// How long everything goes on after the pause, before the process is told to end.
const MORE: Duration = Duration::from_secs(5);
/// How long `/healthz` may take at the 99th percentile.
const HEALTH_P99: Duration = Duration::from_millis(50);

/// What the environment says.
pub(crate) struct Size {
    seconds: u64,
    rows_per_second: u64,
}

impl Size {
    fn given() -> Self {
        let number = |name: &str, otherwise| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
        Self { seconds: number("TIDEMILL_LOAD_SECONDS", 60), rows_per_second: number("TIDEMILL_LOAD_ROWS", 100) }
    }

    fn is_measured(&self) -> bool {
        self.seconds >= MEASURED_SECONDS
    }
}

#[test]
fn twenty_queries_two_thousand_clients_and_a_slow_sink() {
    let size = Size::given();
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (broker, redis) = (Broker::shared(), Server::shared());
    let slow = runtime.block_on(Slow::before(&redis.address, SLOW));
    let stand = Stand::new(broker, slow.address, &prefix());
    let (outputs, sent) = (Outputs { stand: &stand, broker, redis }, Arc::<Sent>::default());

    let process = start(&stand, &[]);
    let senders = Senders::start(&runtime, &stand, &process, &sent, &size);
    let watch = Watch::new(&process);
    let clients = Clients::start(&runtime, process.http(), CLIENTS);
    pause(Duration::from_secs(size.seconds));
    let seen = watch.end();
    seen.report(size.seconds, sent.lines());
    clients.report();
    check::report_batches(&stand, &process);
    senders.end(&runtime);
    everything_is_read(&stand, &process, &sent, &slow);
    sent.all_is_in();
    outputs.equal(&process, &sent);
    assert!(clients.refused().is_empty(), "answers to clients that should have been 200: {:?}", clients.refused());

    // Everything goes on, and ends in the midst of it.
    slow.set(SLOW);
    let senders = Senders::start(&runtime, &stand, &process, &sent, &size);
    pause(MORE);
    clients.process_ends();
    senders.process_ends();
    let received = Totals::of(&stand, &process);
    process.signal(Signal::TERM);
    let ended = process.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    senders.end(&runtime);
    drop(clients);
    slow.set(Duration::ZERO);
    let once = stand.queries().into_iter().flat_map(|query| {
        let set = format!("queries.{}.trigger=available_now", query.name);
        ["--set".to_owned(), set]
    });
    let once: Vec<String> = once.collect();
    let ended = start(&stand, &once.iter().map(String::as_str).collect::<Vec<_>>()).end_within(4 * PATIENCE);
    assert_eq!(ended.code, 0, "{ended:?}");
    outputs.complete(&sent, &received, &ended);

    seen.judge(&size);
    if size.is_measured() {
        let high = percentile(&seen.health, 99);
        assert!(high <= HEALTH_P99, "/healthz took {high:?} at the 99th percentile");
    }
}

/// Senders pause: all queries but the slow one are done while that one is far from it, and it is when its sink is quick again.
fn everything_is_read(stand: &Stand, process: &Running, sent: &Sent, slow: &Slow) {
    let is_done =
        |query: &Query, totals: &Totals| query.reads.iter().all(|source| totals.read(query, source) == sent.of(source).lines());
    let (slow_one, others): (Vec<_>, Vec<_>) = stand.queries().into_iter().partition(|query| query.name == SLOW_QUERY);
    process.until("all but the slow query have read everything", || {
        let totals = Totals::of(stand, process);
        others.iter().all(|query| is_done(query, &totals)).then_some(())
    });
    assert!(!is_done(&slow_one[0], &Totals::of(stand, process)), "the slow sink was not slow");
    assert!(sent.refusals.load(Ordering::Relaxed) > 0, "the slow sink's source was never held back");
    slow.set(Duration::ZERO);
    process.until("the slow query has read everything", || is_done(&slow_one[0], &Totals::of(stand, process)).then_some(()));
}

#[test]
fn fewer_open_files_than_connections_are_warned_of() {
    let folder = Folder::with(
        "sources: { n: { from: { rate: { rows_per_second: 1 } } } }\nqueries: { q: { sql: SELECT value FROM n, to: { discard: {} } } }\n",
    );
    let limited = |files: u32| folder.start_pipeline_by(&["sh", "-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")], &[]);
    let process = limited(1000);
    let warning = process.says("the system allows fewer open files than limits.connections");
    assert!(warning.contains("open_files_max=1000"), "{warning}");
    process.says("query started");
    process.stop();
    let process = limited(2000);
    process.says("query started");
    let said = process.stop().stderr;
    assert!(!said.contains("open files"), "{said}");
}

/// Starts the process with the small limit of open files that most systems give.
fn start(stand: &Stand, arguments: &[&str]) -> Running {
    stand.folder.start_pipeline_by(&["sh", "-c", "ulimit -Sn 1024; exec \"$0\" \"$@\""], arguments)
}
