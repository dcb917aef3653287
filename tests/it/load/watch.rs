//! Looks at the process from outside: memory, threads, files and processor time every second, and how long it takes to say that it lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;

use super::super::binary::{Running, pause};
use super::Size;
use super::clients::percentile;
use super::http::Connection;

/// How often somebody asks whether it lives.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// What `/proc` counts processor time in, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
const MIB: u64 = 1 << 20;

/// What one look at the process showed.
#[derive(Debug, Clone, Copy)]
struct Look {
    resident_bytes: u64,
    threads: u64,
    files: u64,
    cpu_ticks: u64,
}

/// Two threads that look.
pub(super) struct Watch {
    is_over: Arc<AtomicBool>,
    looks: JoinHandle<Vec<Look>>,
    probes: JoinHandle<Vec<Duration>>,
}

/// What was seen.
pub(super) struct Seen {
    looks: Vec<Look>,
    /// How long `/healthz` took.
    pub(super) health: Vec<Duration>,
}

impl Watch {
    pub(super) fn new(process: &Running) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let (id, address) = (process.id(), process.http());
        let over = is_over.clone();
        let looks = thread::spawn(move || {
            let mut looks = Vec::new();
            while !over.load(Ordering::Relaxed) {
                pause(Duration::from_secs(1));
                looks.push(look(id));
            }
            looks
        });
        let over = is_over.clone();
        let probes = thread::spawn(move || {
            let mut times = Vec::new();
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let mut connection = Connection::to(address).await.unwrap();
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    assert_eq!(connection.get("/healthz").await.unwrap(), 200);
                    times.push(began.elapsed());
                    tokio::time::sleep(PROBE_EVERY).await;
                }
            });
            times
        });
        Self { is_over, looks, probes }
    }

    pub(super) fn end(self) -> Seen {
        self.is_over.store(true, Ordering::Relaxed);
        Seen { looks: self.looks.join().unwrap(), health: self.probes.join().unwrap() }
    }
}

fn look(id: u32) -> Look {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // Behind the name in parentheses; user and system time are the 14th and 15th of all fields.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    Look {
        resident_bytes: of("VmRSS:") * 1024,
        threads: of("Threads:"),
        files: std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count() as u64,
        cpu_ticks: fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap(),
    }
}

impl Seen {
    /// Says what was seen.
    pub(super) fn report(&self, seconds: u64, lines: u64) {
        let health = [50, 99, 100].map(|percent| percentile(&self.health, percent));
        println!("{} probes of /healthz: p50 {:?}, p99 {:?}, longest {:?}", self.health.len(), health[0], health[1], health[2]);
        let every = (self.looks.len() / 20).max(1);
        let resident: Vec<u64> = self.looks.iter().step_by(every).map(|look| look.resident_bytes / MIB).collect();
        println!("resident MiB, every {every} s: {resident:?}");
        let (Some(first), Some(last)) = (self.looks.first(), self.looks.last()) else { return };
        let cpu_seconds = (last.cpu_ticks - first.cpu_ticks) as f64 / TICKS_PER_SECOND;
        let most = |of: fn(&Look) -> u64| self.looks.iter().map(of).max().unwrap_or_default();
        println!("{lines} lines in {seconds} s; processor {cpu_seconds:.1} s in {} s", self.looks.len() - 1);
        println!("threads {}, most {}; files {}, most {}", last.threads, most(|l| l.threads), last.files, most(|l| l.files));
    }

    /// Memory does not grow: in the last third it is what it was in the middle one, give or take.
    pub(super) fn judge(&self, size: &Size) {
        let third = self.looks.len() / 3;
        let median = |looks: &[Look]| {
            let mut bytes: Vec<u64> = looks.iter().map(|look| look.resident_bytes).collect();
            bytes.sort_unstable();
            bytes[bytes.len() / 2]
        };
        let (middle, last) = (median(&self.looks[third..2 * third]), median(&self.looks[2 * third..]));
        // In a short run caches and histories still fill.
        let (percent, more) = if size.is_measured() { (103, 4 * MIB) } else { (115, 24 * MIB) };
        println!("resident: {} MiB in the middle, {} MiB in the end", middle / MIB, last / MIB);
        assert!(last <= middle * percent / 100 + more, "memory grew from {middle} to {last} bytes");
    }
}
