//! What the system says of this process, where it has `/proc`.

use std::fs;
use std::sync::LazyLock;

use rustix::process::{Resource, getrlimit};

/// Clock ticks in a second as `/proc` counts them, which Linux has kept at 100 on every machine that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process as it is just now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Process {
    /// Processor time used, in seconds.
    pub(crate) cpu_s: f64,
    /// When it began, seconds since 1970.
    pub(crate) started_s: f64,
    pub(crate) threads: u64,
    pub(crate) resident_bytes: u64,
    pub(crate) virtual_bytes: u64,
    pub(crate) fds_open: u64,
    pub(crate) fds_max: u64,
}

/// This process; `None` where the system does not say.
pub(crate) fn read() -> Option<Process> {
    /// When the system was started, seconds since 1970.
    static BOOTED_S: LazyLock<Option<f64>> = LazyLock::new(|| booted(&fs::read_to_string("/proc/stat").ok()?));
    let (stat, status) = (fs::read_to_string("/proc/self/stat").ok()?, fs::read_to_string("/proc/self/status").ok()?);
    let (cpu, started) = ticks(&stat)?;
    Some(Process {
        cpu_s: cpu / TICKS_PER_SECOND,
        started_s: (*BOOTED_S)? + started / TICKS_PER_SECOND,
        threads: status_of(&status, "Threads:")?,
        resident_bytes: status_of(&status, "VmRSS:")? << 10,
        virtual_bytes: status_of(&status, "VmSize:")? << 10,
        // The folder that is being listed is one of them.
        fds_open: (fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1),
        fds_max: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
    })
}

fn booted(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Used ticks, and the one at which the process began since the system was started, of `/proc/self/stat`.
fn ticks(stat: &str) -> Option<(f64, f64)> {
    // The name of the program stands in brackets and may hold anything; what follows begins with the third field.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some((field(14)? + field(15)?, field(22)?))
}

/// The number behind a name in `/proc/self/status`.
fn status_of(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 4 0 9000 1 2 3";
        assert_eq!(ticks(stat), Some((300.0, 9000.0)));
        assert_eq!(ticks("7 (a) S 1"), None);
        assert_eq!(status_of("Name:\tx\nVmRSS:\t  12 kB\nThreads:\t4\n", "VmRSS:"), Some(12));
        assert_eq!(status_of("VmSize: 3 kB\n", "VmRSS:"), None);
        assert_eq!(booted("cpu 1 2\nbtime 1700000000\n"), Some(1.7e9));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_found() {
        let before = read().unwrap();
        let _file = fs::File::open("/proc/self/stat").unwrap();
        let now = read().unwrap();
        assert!(now.cpu_s >= before.cpu_s && now.started_s == before.started_s && now.started_s > 1.6e9, "{now:?}");
        assert!(now.resident_bytes > 1 << 20 && now.virtual_bytes >= now.resident_bytes, "{now:?}");
        assert!(now.threads >= 1 && (1..=now.fds_max).contains(&now.fds_open), "{now:?}");
    }
}
