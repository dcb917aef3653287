//! `make stack`: it comes up as a whole, and ends as a whole, however it ends.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::super::binary::{Folder, Running, get};
use super::{producer, programs, root, run};

/// What all processes of one stack have in their environment.
const MARK: &str = "TIDEMILL_STACK_OF_TEST";

fn start(data: &Path) -> Running {
    // Where whoever runs the tests ignores Ctrl-C, as what a script puts in the background does, a shell could not trap it.
    let mut command = Command::new("env");
    command
        .arg("--default-signal=INT")
        .arg(root().join("scripts/stack"))
        .arg("--bin")
        .arg(programs())
        .arg("--data")
        .arg(data)
        .args(["--ports", "free"])
        .env(MARK, data);
    // A group of its own, as a terminal gives to what is started there.
    command.process_group(0);
    let running = Running::of(command);
    running.prints("Ctrl-C ends all of it");
    running
}

/// The command lines of all processes that belong to the stack with this data.
fn processes(data: &Path) -> Vec<String> {
    let mark = format!("{MARK}={}", data.display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        // A process may end between being listed and being looked at.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            found.push(fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default().replace('\0', " "));
        }
    }
    found
}

/// The script and its guard, Kafka, Tidemill, the producer, Prometheus; what printed the addresses may take a moment to end.
fn six_run(running: &Running, data: &Path) {
    running.until("six processes are left", || (processes(data).len() == 6).then_some(()));
}

/// The address in the line of the table that begins with `name`.
fn address(running: &Running, name: &str) -> SocketAddr {
    let line = running.prints(&format!("{name}  "));
    let text = line.split_whitespace().find(|word| word.contains("127.0.0.1")).unwrap().trim_start_matches("http://");
    text.split('/').next().unwrap().trim_end_matches(',').parse().unwrap()
}

/// What Prometheus has last seen of a series.
fn newest(prometheus: SocketAddr, series: &str) -> Option<f64> {
    let (status, body) = get(prometheus, &format!("/api/v1/query?query={series}"));
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    answer["data"]["result"][0]["value"][1].as_str().map(|value| value.parse().unwrap())
}

#[test]
fn the_stack_runs_and_leaves_nothing_behind() {
    producer();
    let folder = Folder::new();
    let data = folder.path("data");
    let running = start(&data);
    let prometheus = address(&running, "Prometheus");
    running.until("Prometheus sees Tidemill", || (newest(prometheus, "up") == Some(1.0)).then_some(()));
    let first = running.until("there are batches", || newest(prometheus, "tidemill_batches_total"));
    running.until("there are more", || newest(prometheus, "tidemill_batches_total").filter(|next| *next > first));
    running.until("rows come out", || newest(prometheus, "tidemill_rows_written_total").filter(|rows| *rows > 0.0));
    assert_eq!(get(prometheus, "/-/ready").0, 200);
    let (status, page) = get(address(&running, "Tidemill's page"), "/");
    assert!(status == 200 && page.contains("<html"), "{page}");
    six_run(&running, &data);
    let mut second = Command::new(root().join("scripts/stack"));
    second.arg("--bin").arg(programs()).arg("--data").arg(&data);
    run(second).failed(1, &["another one runs with"]);

    // Ctrl-C reaches the whole group.
    kill_process_group(Pid::from_raw(running.id().try_into().unwrap()).unwrap(), Signal::INT).unwrap();
    let ended = running.end();
    assert!(ended.code == 0 && ended.stdout.contains("all of it has ended"), "{ended:?}");
    assert_eq!(processes(&data), Vec::<String>::new());
    let log = fs::read_to_string(data.join("tidemill.log")).unwrap();
    assert!(log.contains("query stopped") && !log.contains("second signal: ending"), "{log}");

    // A second time it goes on, and a `kill -9` of the script ends the others too.
    let running = start(&data);
    let metrics = address(&running, "its metrics");
    let (_, text) = get(metrics, "/metrics");
    assert!(text.contains("tidemill_query_running{"), "{text}");
    six_run(&running, &data);
    running.signal(Signal::KILL);
    running.until("nothing is left", || processes(&data).is_empty().then_some(()));
}
