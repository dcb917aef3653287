//! Those who look on: clients of the API, each with a connection that it keeps.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::http::Connection;

/// How often a client asks: often enough that its connection is kept.
const EVERY: Duration = Duration::from_secs(5);
/// How many follow events: a few more than may.
const FOLLOWERS: usize = 40;
/// How many ask for more than whether the process lives.
const SCRAPERS: usize = 10;
const READERS: usize = 30;

/// What the clients have seen.
#[derive(Default)]
struct Seen {
    /// How long answers of `/healthz` took.
    health: Mutex<Vec<Duration>>,
    answers: AtomicU64,
    /// Answers other than 200, by path and status.
    refused: Mutex<BTreeMap<(String, u16), usize>>,
    /// Connections that had to be made again.
    again: AtomicU64,
    event_bytes: AtomicU64,
    followers_refused: AtomicU64,
    is_ending: AtomicBool,
}

/// Many clients.
pub(super) struct Clients {
    seen: Arc<Seen>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    /// `count` of them.
    pub(super) fn start(runtime: &Runtime, address: SocketAddr, count: usize) -> Self {
        let seen = Arc::<Seen>::default();
        let task = |at: usize| {
            let seen = seen.clone();
            // Spread over the time in which each of them asks once.
            let first = EVERY.mul_f64(at as f64 / count as f64);
            runtime.spawn(async move {
                tokio::time::sleep(first).await;
                while !seen.is_ending.load(Ordering::Relaxed) {
                    let ended = if at < FOLLOWERS { follow(address, &seen).await } else { ask(address, at, &seen).await };
                    if ended.is_err() {
                        seen.again.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(EVERY).await;
                }
            })
        };
        Self { tasks: (0..count).map(task).collect(), seen }
    }

    /// From now on nobody tries again.
    pub(super) fn process_ends(&self) {
        self.seen.is_ending.store(true, Ordering::Relaxed);
    }

    /// Answers other than 200, by path and status.
    pub(super) fn refused(&self) -> BTreeMap<(String, u16), usize> {
        self.seen.refused.lock().unwrap().clone()
    }

    /// How long answers of `/healthz` took so far.
    pub(super) fn health(&self) -> Vec<Duration> {
        self.seen.health.lock().unwrap().clone()
    }

    /// Says what they saw.
    pub(super) fn report(&self) {
        let Seen { answers, again, event_bytes, followers_refused, .. } = &*self.seen;
        let [answers, again, bytes, refused] =
            [answers, again, event_bytes, followers_refused].map(|n| n.load(Ordering::Relaxed));
        println!(
            "clients: {answers} answers, {again} connections made again, {bytes} bytes of events, {refused} followers refused"
        );
        let health = self.health();
        let [median, high, most] = [50, 99, 100].map(|percent| percentile(&health, percent));
        println!("clients: {} answers of /healthz: p50 {median:?}, p99 {high:?}, longest {most:?}", health.len());
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The time that so many percent of `times` are not above.
pub(super) fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Asks again and again, until the connection ends.
async fn ask(address: SocketAddr, at: usize, seen: &Seen) -> std::io::Result<()> {
    let mut connection = Connection::to(address).await?;
    let path = match at - FOLLOWERS {
        at if at < SCRAPERS => "/metrics",
        at if at < SCRAPERS + READERS => ["/queries", "/queries/http_rows", "/queries/file_both/progress"][at % 3],
        _ => "/healthz",
    };
    loop {
        let began = Instant::now();
        let status = connection.get(path).await?;
        if path == "/healthz" {
            seen.health.lock().unwrap().push(began.elapsed());
        }
        seen.answers.fetch_add(1, Ordering::Relaxed);
        if status != 200 {
            *seen.refused.lock().unwrap().entry((path.to_owned(), status)).or_default() += 1;
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Follows events, unless others do already.
async fn follow(address: SocketAddr, seen: &Seen) -> std::io::Result<()> {
    let mut connection = Connection::to(address).await?;
    let request = "GET /events?query=socket_rows HTTP/1.1\r\nHost: localhost\r\n\r\n";
    if connection.begin(request).await?.status != 200 {
        seen.followers_refused.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    }
    loop {
        let bytes = connection.follow().await?;
        seen.event_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
