//! Measuring a process from outside: wall time, CPU time, peak memory.

use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What a job measured; `None` where a figure does not apply.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) job: String,
    pub(crate) rows: Option<u64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) wall: Option<Duration>,
    pub(crate) cpu: Option<Duration>,
    /// Wall time of the strict parser for the same.
    pub(crate) strict: Option<Duration>,
    pub(crate) peak_bytes: Option<u64>,
    pub(crate) p50: Option<Duration>,
    pub(crate) p99: Option<Duration>,
    /// What else is to be said.
    pub(crate) note: Option<String>,
}

impl Figures {
    pub(crate) const HEADER: &str =
        "job                      rows       rows/s  rows/cpu-s      MB/s   peak MB    p50 ms    p99 ms";

    /// The figures with the median and the 99th percentile of `times`.
    pub(crate) fn percentiles(mut self, mut times: Vec<Duration>) -> Self {
        times.sort();
        let at = |share: f64| times.get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1))).copied();
        (self.p50, self.p99) = (at(0.5), at(0.99));
        self
    }

    pub(crate) fn rows_per_s(&self) -> Option<f64> {
        Some(self.rows? as f64 / self.wall?.as_secs_f64())
    }

    pub(crate) fn rows_per_cpu_s(&self) -> Option<f64> {
        Some(self.rows? as f64 / self.cpu?.as_secs_f64())
    }

    fn mb_per_s(&self) -> Option<f64> {
        Some(self.bytes? as f64 / 1e6 / self.wall?.as_secs_f64())
    }

    fn strict_mb_per_s(&self) -> Option<f64> {
        Some(self.bytes? as f64 / 1e6 / self.strict?.as_secs_f64())
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "job": self.job,
            "rows": self.rows,
            "rows_per_s": self.rows_per_s(),
            "rows_per_cpu_s": self.rows_per_cpu_s(),
            "mb_per_s": self.mb_per_s(),
            "strict_mb_per_s": self.strict_mb_per_s(),
            "peak_mb": self.peak_bytes.map(|bytes| bytes as f64 / 1e6),
            "p50_ms": self.p50.map(|time| time.as_secs_f64() * 1e3),
            "p99_ms": self.p99.map(|time| time.as_secs_f64() * 1e3),
            "note": self.note,
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
        let millis = |time: Option<Duration>| number(time.map(|time| time.as_secs_f64() * 1e3), 2);
        write!(
            f,
            "{:<18} {:>9} {:>12} {:>11} {:>9} {:>9} {:>9} {:>9}",
            self.job,
            self.rows.map_or("-".to_owned(), |rows| rows.to_string()),
            number(self.rows_per_s(), 0),
            number(self.rows_per_cpu_s(), 0),
            number(self.mb_per_s(), 1),
            number(self.peak_bytes.map(|bytes| bytes as f64 / 1e6), 1),
            millis(self.p50),
            millis(self.p99)
        )?;
        match self.strict_mb_per_s().zip(self.mb_per_s()) {
            Some((strict, usual)) => write!(f, "   strict {strict:.1} MB/s: {:.2} times that", usual / strict),
            None => Ok(()),
        }?;
        self.note.as_ref().map_or(Ok(()), |note| write!(f, "   {note}"))
    }
}

/// The release binary with `arguments`; its logs are dropped.
pub(crate) fn tidemill(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs `command` to its end: its wall time, CPU time and peak memory.
pub(crate) fn to_end(mut command: Command) -> io::Result<Figures> {
    let (started, cpu_before) = (Instant::now(), children_cpu()?);
    let mut child = command.stdout(Stdio::null()).spawn()?;
    let peak = PeakMemory::watch(&child);
    let status = child.wait()?;
    let wall = started.elapsed();
    if !status.success() {
        return Err(io::Error::other(format!("the process ended with {status}")));
    }
    Ok(Figures { wall: Some(wall), cpu: Some(children_cpu()? - cpu_before), peak_bytes: Some(peak.stop()), ..Figures::default() })
}

/// A batch that was committed.
pub(crate) struct Commit {
    /// When the log said so.
    pub(crate) at: Instant,
    /// What the log said of it.
    pub(crate) progress: Value,
}

/// Runs `command`, a `tidemill run`, to its end: what [`to_end`] measures, and each of its batches.
pub(crate) fn commits(mut command: Command) -> io::Result<(Figures, Vec<Commit>)> {
    command.args(["--log-format", "json", "--log-level", "debug"]);
    let (started, cpu_before) = (Instant::now(), children_cpu()?);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let peak = PeakMemory::watch(&child);
    let mut commits = Vec::new();
    for line in BufReader::new(child.stderr.take().ok_or_else(|| io::Error::other("no standard error"))?).lines() {
        let (line, at) = (line?, Instant::now());
        let said: Value = serde_json::from_str(&line).unwrap_or_default();
        if said["message"] == "batch committed" {
            let progress = said["progress"].as_str().and_then(|text| serde_json::from_str(text).ok());
            commits.push(Commit { at, progress: progress.unwrap_or_default() });
        }
    }
    let status = child.wait()?;
    let wall = started.elapsed();
    if !status.success() {
        return Err(io::Error::other(format!("the process ended with {status}")));
    }
    let (cpu, peak_bytes) = (children_cpu()? - cpu_before, peak.stop());
    Ok((Figures { wall: Some(wall), cpu: Some(cpu), peak_bytes: Some(peak_bytes), ..Figures::default() }, commits))
}

/// CPU time of all children that were waited for, from the kernel.
pub(crate) fn children_cpu() -> io::Result<Duration> {
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok()).unwrap_or(0);
    Ok(TICK * (ticks(13) + ticks(14)))
}

/// Memory of a process, from the kernel: `VmHWM` is its peak, `VmRSS` what it has now.
pub(crate) fn memory(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Looks at a process's peak memory until it is stopped: the kernel forgets it when the process ends.
pub(crate) struct PeakMemory {
    ended: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    thread: thread::JoinHandle<()>,
}

impl PeakMemory {
    pub(crate) fn watch(child: &Child) -> Self {
        let (ended, bytes, pid) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), child.id());
        let (seen_end, seen) = (ended.clone(), bytes.clone());
        let thread = thread::spawn(move || {
            while !seen_end.load(Ordering::Relaxed) {
                if let Some(peak) = memory(pid, "VmHWM:") {
                    seen.fetch_max(peak, Ordering::Relaxed);
                }
                thread::park_timeout(Duration::from_millis(10));
            }
        });
        Self { ended, bytes, thread }
    }

    pub(crate) fn stop(self) -> u64 {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        let _ = self.thread.join();
        self.bytes.load(Ordering::Relaxed)
    }
}
