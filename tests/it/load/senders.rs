//! Those who send, and what they know: how many rows went out and how many were acknowledged.
//!
//! A source gets rows by a few *lanes*, one after the other in each, so that what has arrived of a lane is a beginning of it. The n-th row
//! of lane l of L has the id n * L + l.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::super::binary::{Running, pause};
use super::super::kafka::Broker;
use super::Size;
use super::http::Connection;
use super::pipeline::{EACH, KINDS, PARTITIONS, SLOW_SOURCE, Stand};

/// After so many rows of a lane comes a line that is none; Kafka has no such.
const MALFORMED_EVERY: u64 = 997;
/// Lanes of a source that takes connections.
const LANES: u64 = 2;
/// How often a lane sends something.
const EVERY: Duration = Duration::from_millis(200);
/// How often there is another file.
const FILES_EVERY: Duration = Duration::from_secs(1);
/// Rows of a request to the slow query's source, and what makes each of them long.
const SLOW_ROWS: u64 = 50;
const SLOW_PAD: usize = 1000;
/// How long a client waits that was told to come back later.
const LATER: Duration = Duration::from_millis(500);

/// What one lane has sent.
#[derive(Default)]
pub(super) struct Lane {
    /// Rows that may have arrived.
    pub(super) sent: AtomicU64,
    /// Rows that have arrived for sure.
    pub(super) acknowledged: AtomicU64,
}

/// What a source was sent.
pub(super) struct Source {
    pub(super) lanes: Vec<Lane>,
    has_malformed: bool,
}

impl Source {
    /// Rows that may have arrived.
    pub(super) fn rows(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.sent.load(Ordering::Relaxed)).sum()
    }

    /// Rows that have arrived for sure.
    pub(super) fn acknowledged(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.acknowledged.load(Ordering::Relaxed)).sum()
    }

    /// Lines that are no rows.
    pub(super) fn malformed(&self) -> u64 {
        let of = |lane: &Lane| lane.sent.load(Ordering::Relaxed) / MALFORMED_EVERY;
        if self.has_malformed { self.lanes.iter().map(of).sum() } else { 0 }
    }

    /// Rows, and lines that are none.
    pub(super) fn lines(&self) -> u64 {
        self.rows() + self.malformed()
    }

    /// Rows of `lane` from `first` on, as lines.
    fn text(&self, lane: u64, first: u64, count: u64, pad: usize) -> String {
        let (lanes, mut text) = (self.lanes.len() as u64, String::new());
        let pad = if pad > 0 { format!(",\"pad\":\"{}\"", "x".repeat(pad)) } else { String::new() };
        for n in first..first + count {
            writeln!(text, "{{\"id\":{}{pad}}}", n * lanes + lane).unwrap();
            if self.has_malformed && (n + 1) % MALFORMED_EVERY == 0 {
                text.push_str("no JSON\n");
            }
        }
        text
    }
}

/// What all sources were sent.
pub(super) struct Sent {
    sources: BTreeMap<String, Source>,
    /// Requests to the slow query's source that were told to come later.
    pub(super) refusals: AtomicU64,
}

impl Default for Sent {
    fn default() -> Self {
        let source = |kind: &str| {
            let lanes = if matches!(kind, "socket" | "http") { LANES } else { 1 };
            Source { lanes: (0..lanes).map(|_| Lane::default()).collect(), has_malformed: kind != "kafka" }
        };
        let sources = KINDS.iter().flat_map(|kind| (0..EACH).map(move |at| (format!("{kind}{at}"), source(kind))));
        Self { sources: sources.collect(), refusals: AtomicU64::new(0) }
    }
}

impl Sent {
    pub(super) fn of(&self, source: &str) -> &Source {
        &self.sources[source]
    }

    /// Lines that all sources were sent.
    pub(super) fn lines(&self) -> u64 {
        self.sources.values().map(Source::lines).sum()
    }

    /// All that was sent has arrived.
    pub(super) fn all_is_in(&self) {
        for lane in self.sources.values().flat_map(|source| &source.lanes) {
            lane.acknowledged.store(lane.sent.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// What senders are told.
#[derive(Default)]
struct Told {
    /// To stop when what is on its way has arrived.
    to_stop: AtomicBool,
    /// That a connection may break now, which is then their end.
    process_ends: AtomicBool,
}

impl Told {
    fn goes_on(&self) -> bool {
        !self.to_stop.load(Ordering::Relaxed)
    }

    /// `None` if the connection broke because the process ended; any other break is a failure of the test.
    fn allowed<T>(&self, source: &str, result: std::io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(_) if self.process_ends.load(Ordering::Relaxed) => None,
            Err(error) => panic!("{source}: {error}"),
        }
    }
}

/// All senders, at work.
pub(super) struct Senders {
    told: Arc<Told>,
    tasks: Vec<JoinHandle<()>>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// What a task that sends knows.
#[derive(Clone)]
struct Sending {
    told: Arc<Told>,
    sent: Arc<Sent>,
    source: String,
    address: SocketAddr,
    lane: usize,
    rows_per_second: u64,
}

impl Senders {
    /// Each source is sent what `size` says.
    pub(super) fn start(runtime: &Runtime, stand: &Stand, process: &Running, sent: &Arc<Sent>, size: &Size) -> Self {
        let told = Arc::<Told>::default();
        let mut tasks = Vec::new();
        for kind in ["socket", "http"] {
            for source in (0..EACH).map(|at| format!("{kind}{at}")) {
                let address = process.listening_for(&source);
                for lane in 0..sent.of(&source).lanes.len() {
                    let (told, sent, source) = (told.clone(), sent.clone(), source.clone());
                    let sending = Sending { told, sent, source, address, lane, rows_per_second: size.rows_per_second };
                    let task = async move { if kind == "socket" { sending.lines().await } else { sending.requests().await } };
                    tasks.push(runtime.spawn(task));
                }
            }
        }
        let rows = size.rows_per_second;
        let files: Vec<PathBuf> = (0..EACH).map(|at| stand.folder.path(&format!("in/{at}"))).collect();
        let file = move |sent: &Sent, at: usize| write_file(sent, at, &files[at], rows * FILES_EVERY.as_millis() as u64 / 1000);
        let topics = stand.topics.clone();
        let message =
            move |sent: &Sent, at: usize| fill_topic(sent, at, &topics[at], rows * FILES_EVERY.as_millis() as u64 / 1000);
        let threads = vec![every_while(&told, sent, file), every_while(&told, sent, message)];
        Self { told, tasks, threads }
    }

    /// From now on connections may break.
    pub(super) fn process_ends(&self) {
        self.told.process_ends.store(true, Ordering::Relaxed);
    }

    /// Ends them when what is on its way has arrived, or cannot any more.
    pub(super) fn end(self, runtime: &Runtime) {
        self.told.to_stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            runtime.block_on(task).unwrap();
        }
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// Does `send` for each of the sources of a kind, again and again.
fn every_while(told: &Arc<Told>, sent: &Arc<Sent>, send: impl Fn(&Sent, usize) + Send + 'static) -> thread::JoinHandle<()> {
    let (told, sent) = (told.clone(), sent.clone());
    thread::spawn(move || {
        while told.goes_on() {
            let began = Instant::now();
            (0..EACH).for_each(|at| send(&sent, at));
            pause(FILES_EVERY.saturating_sub(began.elapsed()));
        }
    })
}

fn write_file(sent: &Sent, at: usize, folder: &Path, rows: u64) {
    let source = sent.of(&format!("file{at}"));
    let first = source.lanes[0].sent.fetch_add(rows, Ordering::Relaxed);
    let (begun, path) = (folder.join("_begun.tmp"), folder.join(format!("{first}.json")));
    std::fs::write(&begun, source.text(0, first, rows, 0)).unwrap();
    std::fs::rename(begun, path).unwrap();
    source.lanes[0].acknowledged.fetch_add(rows, Ordering::Relaxed);
}

fn fill_topic(sent: &Sent, at: usize, topic: &str, rows: u64) {
    let source = sent.of(&format!("kafka{at}"));
    let first = source.lanes[0].sent.fetch_add(rows, Ordering::Relaxed);
    Broker::shared().fill(topic, PARTITIONS, u32::try_from(first).unwrap(), u32::try_from(rows).unwrap());
    source.lanes[0].acknowledged.fetch_add(rows, Ordering::Relaxed);
}

impl Sending {
    fn source(&self) -> &Source {
        self.sent.of(&self.source)
    }

    /// Rows that a lane sends at a time.
    fn portion(&self) -> u64 {
        (self.rows_per_second * EVERY.as_millis() as u64 / 1000 / self.source().lanes.len() as u64).max(1)
    }

    /// Sends lines over a socket, of which nothing is ever acknowledged.
    async fn lines(self) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let (lane, portion) = (&self.source().lanes[self.lane], self.portion());
        let mut ticks = tokio::time::interval(EVERY);
        while self.told.goes_on() {
            ticks.tick().await;
            let first = lane.sent.fetch_add(portion, Ordering::Relaxed);
            let text = self.source().text(self.lane as u64, first, portion, 0);
            if self.told.allowed(&self.source, stream.write_all(text.as_bytes()).await).is_none() {
                return;
            }
        }
    }

    /// Sends requests, each until it is taken.
    async fn requests(self) {
        let mut connection = Connection::to(self.address).await.unwrap();
        let is_slow = self.source == SLOW_SOURCE;
        let (portion, pad) = if is_slow { (SLOW_ROWS, SLOW_PAD) } else { (self.portion(), 0) };
        let lane = &self.source().lanes[self.lane];
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.told.goes_on() {
            ticks.tick().await;
            let first = lane.sent.fetch_add(portion, Ordering::Relaxed);
            let body = self.source().text(self.lane as u64, first, portion, pad);
            let request = format!(
                "POST /rows HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: {}-{first}\r\nContent-Length: {}\r\n\r\n{body}",
                self.lane,
                body.len()
            );
            loop {
                match self.told.allowed(&self.source, connection.ask(&request).await) {
                    Some(200) => break,
                    Some(429 | 503) if is_slow || self.told.process_ends.load(Ordering::Relaxed) => {
                        self.sent.refusals.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(LATER).await;
                    }
                    Some(status) => panic!("{}: {status}", self.source),
                    None => return,
                }
            }
            lane.acknowledged.fetch_add(portion, Ordering::Relaxed);
        }
    }
}
