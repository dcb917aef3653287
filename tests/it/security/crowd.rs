//! Ten thousand clients that never get to the end of what they say.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::super::binary::{Folder, Running, get, send};
use super::sample;

const PIPELINE: &str = r#"
name: crowd
checkpoint: checkpoint
limits: { connections: 4096 }
sources:
  lines:
    from: { socket: { listen: "127.0.0.1:0" } }
    format: { json: { schema: "v BIGINT" } }
  rows:
    from: { http: { listen: "127.0.0.1:0", path: /rows } }
    format: { json: { schema: "v BIGINT" } }
queries:
  lines: { sql: SELECT v FROM lines, to: { file: { path: out/lines }, format: json } }
  rows: { sql: SELECT v FROM rows, to: { file: { path: out/rows }, format: json } }
"#;
/// Memory that the clients may take together, in KiB: 24 KiB each. Without optimisation they take 18, when all are there at once.
const GROWTH_KIB_MAX: u64 = 240 << 10;

/// Connections that this process may open, once it has asked for more.
fn connections_max() -> usize {
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |files| usize::try_from(files).unwrap()).saturating_sub(500)
}

/// What a process has in memory, in KiB.
fn resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Clients that begin to say something.
fn crowd(address: SocketAddr, count: usize, beginning: &str) -> Vec<TcpStream> {
    let begin = |_| {
        let mut stream = TcpStream::connect(address).unwrap();
        // One that is turned away may be gone by now.
        let _ = stream.write_all(beginning.as_bytes());
        stream
    };
    (0..count).map(begin).collect()
}

/// The address that the log names for a source.
fn listening(running: &Running, source: &str) -> SocketAddr {
    let line = running.says(&format!("listening source=\"{source}\""));
    line.rsplit("address=").next().unwrap().trim().parse().unwrap()
}

#[test]
fn ten_thousand_slow_clients_leave_memory_and_answers_to_others() {
    let possible = connections_max();
    assert!(possible >= 10_000, "this test needs a hard limit of 10,500 open files, there are {possible}");
    let folder = Folder::with(PIPELINE);
    let running = folder.start_pipeline(&["--metrics", "127.0.0.1:0"]);
    running.until("it is ready", || (running.get("/readyz").0 == 200).then_some(()));
    let (lines, rows, http) = (listening(&running, "lines"), listening(&running, "rows"), running.http());
    let said = running.says("live page at http://");
    let metrics: SocketAddr = running
        .stderr
        .all()
        .iter()
        .filter(|line| line.contains("metrics at http://"))
        .find(|line| !line.contains(&http.to_string()))
        .unwrap_or_else(|| panic!("{said}"))
        .rsplit("http://")
        .next()
        .unwrap()
        .trim_end_matches("/metrics")
        .parse()
        .unwrap();
    let before = resident_kib(running.id());
    let held = [
        crowd(rows, 3_000, "POST /rows HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{\"v\":"),
        crowd(lines, 3_000, "{\"v\":"),
        // These are given up after ten seconds, whether or not all of them are there by then.
        crowd(http, 4_000, "GET /healthz HTTP/1.1\r\nX-Slow: "),
    ];
    let (mut seen, mut grown) = ([0; 3], 0);
    running.until("all are connected", || {
        let (_, text) = get(metrics, "/metrics");
        let open = |listener: &str| sample(&text, &format!("tidemill_listener_connections{{listener=\"{listener}\""));
        let now = ["http", "source.rows", "source.lines"].map(open);
        grown = grown.max(resident_kib(running.id()).saturating_sub(before));
        if now != seen {
            println!("{now:?} clients take {grown} KiB beside {before} KiB");
            seen = now;
        }
        (now[1] == 3_000 && now[2] == 3_000).then_some(())
    });
    assert!(grown < GROWTH_KIB_MAX, "10,000 clients take {grown} KiB");
    // Others are served meanwhile, each by its listener.
    assert_eq!(get(metrics, "/healthz").0, 200);
    let body = "{\"v\":1}\n";
    let request =
        format!("POST /rows HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(send(rows, &request).0, 200);
    TcpStream::connect(lines).unwrap().write_all(body.as_bytes()).unwrap();
    running
        .until("their rows come out", || (folder.lines("out/rows").len() + folder.lines("out/lines").len() == 2).then_some(()));
    // And who is slow with its head loses its place.
    running.until("control answers again", || {
        let (status, _) = send(http, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        (status == 200).then_some(())
    });
    drop(held);
    running.stop();
}

#[test]
fn a_crash_leaves_no_memory_on_disk_and_files_are_not_scarce() {
    let folder = Folder::with(PIPELINE);
    let running = folder.start_pipeline(&[]);
    running.until("it is ready", || (running.get("/readyz").0 == 200).then_some(()));
    let limits = fs::read_to_string(format!("/proc/{}/limits", running.id())).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{limits}"));
        line[name.len()..].split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max core file size")[..2], ["0", "0"]);
    let files = limit("Max open files");
    assert_eq!(files[0], files[1], "as many as the system lets us have");
    running.stop();
}
