//! The commands, as a user types them.

use std::io::Write;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::binary::{Ended, Folder, grinding};

/// Counts per key of files, printed as JSON; it needs no checkpoint.
const COUNTS: &str = r#"
version: 1
name: cli
sources:
  rows:
    from: { file: { path: in } }
    format: { json: { schema: "k STRING, v BIGINT" } }
queries:
  counts:
    sql: SELECT k, count(*) AS n, sum(v) AS total FROM rows GROUP BY k
    output_mode: update
    trigger: available_now
    to: { console: {}, format: json }
"#;

const COUNTS_ROWS: &str = "{\"k\":\"a\",\"v\":1}\n{\"k\":\"b\",\"v\":2}\n{\"k\":\"a\",\"v\":3}\n";

/// Rows of a listening socket go to files.
const TO_FILES: &str = r#"
version: 1
name: cli
checkpoint: checkpoint
sources:
  rows:
    from: { socket: { listen: "127.0.0.1:0" } }
    format: { json: { schema: "n BIGINT" } }
queries:
  pass:
    sql: SELECT n FROM rows
    to: { file: { path: out }, format: json }
"#;

fn counts() -> Folder {
    let folder = Folder::with(COUNTS);
    folder.write("in/rows.json", COUNTS_ROWS);
    folder
}

#[track_caller]
fn assert_ends(ended: &Ended, code: i32, stderr: &str) {
    assert!(ended.code == code && ended.stderr.contains(stderr), "expected code {code} and {stderr:?}: {ended:#?}");
}

/// All rows of a console in JSON, batch by batch.
fn batches(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))).collect()
}

#[test]
fn run_prints_results_alone_on_standard_output_and_ends_by_itself() {
    let folder = counts();
    let ended = folder.start_pipeline(&[]).end();
    assert_ends(&ended, 0, "query stopped");
    let batches = batches(&ended.stdout);
    assert_eq!(batches.len(), 1, "{ended:?}");
    assert_eq!((batches[0]["query"].as_str(), batches[0]["batch_id"].as_u64()), (Some("counts"), Some(0)));
    let mut rows: Vec<String> = batches[0]["rows"].as_array().unwrap().iter().map(Value::to_string).collect();
    rows.sort();
    assert_eq!(rows, [r#"{"k":"a","n":2,"total":4}"#, r#"{"k":"b","n":1,"total":2}"#]);
    assert_eq!(folder.names(), ["in/rows.json", "pipeline.yaml"], "a temporary checkpoint leaves nothing behind");
}

#[test]
fn check_opens_no_socket_and_creates_no_file() {
    let folder = Folder::with(TO_FILES);
    // Taken: whoever listened there would fail.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let listen = format!("sources.rows.from.socket.listen={address}");
    let ended = folder.run(&["check", "pipeline.yaml", "--set", &listen]);
    assert_ends(&ended, 0, "");
    assert_eq!(ended.stdout, "pipeline.yaml: ok (1 query)\n");
    assert_eq!(folder.names(), ["pipeline.yaml"]);
    taken.set_nonblocking(true).unwrap();
    assert_eq!(taken.accept().expect_err("nobody connected").kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn check_compares_with_an_existing_checkpoint() {
    let folder = counts();
    let checkpoint = ["--set", "checkpoint=checkpoint"];
    assert_ends(&folder.start_pipeline(&checkpoint).end(), 0, "");
    let before = folder.names();
    assert_ends(&folder.run(&["check", "pipeline.yaml", checkpoint[0], checkpoint[1]]), 0, "");
    let other = "queries.counts.sql=SELECT v, count(*) AS n FROM rows GROUP BY v";
    let ended = folder.run(&["check", "pipeline.yaml", checkpoint[0], checkpoint[1], "--set", other]);
    assert_ends(&ended, 2, "aggregate-0");
    assert_eq!(folder.names(), before);
}

#[test]
fn explain_shows_plans_and_what_is_kept() {
    let ended = counts().run(&["explain", "pipeline.yaml"]);
    assert_ends(&ended, 0, "");
    for part in ["== Query counts ==", "Logical", "Incremental", "Physical", "aggregate-0", "rows"] {
        assert!(ended.stdout.contains(part), "no {part:?} in:\n{}", ended.stdout);
    }
}

#[test]
fn schema_is_a_json_schema_of_the_file() {
    let ended = Folder::new().run(&["schema"]);
    assert_ends(&ended, 0, "");
    let schema: Value = serde_json::from_str(&ended.stdout).unwrap();
    for key in ["version", "name", "checkpoint", "time_zone", "sources", "tables", "views", "queries", "limits"] {
        assert!(schema["properties"][key].is_object(), "{key} is not in the schema");
    }
}

#[test]
fn functions_lists_them_and_tells_of_one() {
    let folder = Folder::with(COUNTS);
    let all = folder.run(&["functions"]);
    assert_eq!(all.code, 0, "{all:#?}");
    assert!(all.stdout.contains("Numbers\n") && all.stdout.contains("\n  upper(text): "), "{}", all.stdout);
    let one = folder.run(&["functions", "Count"]);
    assert!(one.stdout.starts_with("count(") && one.stdout.contains("count(*) → 3"), "{one:#?}");
    assert_ends(&folder.run(&["functions", "uper"]), 2, "did you mean upper");
    for (name, text) in [("Explode", "a row per element"), ("ilike", "without regard to case"), ("rlike", "text RLIKE pattern")] {
        let ended = folder.run(&["functions", name]);
        assert!(ended.code == 0 && ended.stdout.to_lowercase().contains(&text.to_lowercase()), "{ended:#?}");
    }
    assert_ends(&folder.run(&["functions", "parse_json"]), 2, "the type VARIANT is not supported");
    assert!(all.stdout.contains("\n  explode(array or map): ") && all.stdout.contains("parse_json"), "{}", all.stdout);
}

#[test]
fn init_writes_a_file_that_runs() {
    let folder = Folder::new();
    assert_ends(&folder.run(&["init"]), 0, "");
    assert_ends(&folder.run(&["check", "pipeline.yaml"]), 0, "");
    let running = folder.start_pipeline(&[]);
    running.prints("|digit|");
    running.prints("|9 ");
    running.stop();
    assert_ends(&folder.run(&["init"]), 2, "could not create pipeline.yaml");
    assert_eq!(folder.names(), ["pipeline.yaml"]);
}

#[test]
fn inspect_shows_log_offsets_and_state_also_of_a_running_process() {
    let folder = counts();
    let arguments = ["--set", "checkpoint=checkpoint", "--set", "queries.counts.trigger=as_fast_as_possible"];
    let running = folder.start_pipeline(&arguments);
    running.prints("\"rows\":[");
    running.until("the state is in the log", || folder.run(&["inspect", "checkpoint"]).stdout.contains("State of").then_some(()));
    let shown = folder.run(&["inspect", "checkpoint"]);
    running.stop();
    assert_ends(&shown, 0, "");
    for part in ["== Query counts ==", "offset of rows", "prepared", "State of aggregate-0: 2 rows", "|a  |", "|b  |"] {
        assert!(shown.stdout.contains(part), "no {part:?} in:\n{}", shown.stdout);
    }
    assert_ends(&folder.run(&["inspect", "checkpoint", "--query", "nobody"]), 2, "counts");
    assert_ends(&folder.run(&["inspect", "nowhere"]), 2, "nowhere");
}

/// Windows per page over visits, each visit once.
const WINDOWS: &str = r#"
checkpoint: checkpoint
sources:
  visits:
    from: { file: { path: in } }
    format: { json: { schema: "ts TIMESTAMP, page STRING" } }
    watermark: { column: ts, delay: 5 minutes }
    deduplicate: { by: page, within_watermark: true }
  other:
    from: { file: { path: other } }
    format: { json: { schema: "ts TIMESTAMP, page STRING" } }
    watermark: { column: ts, delay: 0s }
queries:
  windows:
    sql: SELECT window(ts, '10 minutes').start AS since, page, count(*) AS n FROM visits GROUP BY window(ts, '10 minutes'), page
    trigger: available_now
    to: { discard: {} }
  both:
    sql: SELECT page FROM visits UNION ALL SELECT page FROM other
    watermark_policy: max
    trigger: available_now
    to: { discard: {} }
  kept:
    sql: SELECT page, count(*) AS n FROM other GROUP BY page
    output_mode: update
    trigger: available_now
    to: { discard: {} }
"#;

#[test]
fn event_time_is_explained_and_open_windows_are_listed_with_their_end() {
    let folder = Folder::with(WINDOWS);
    let visits = [("00:01", "a"), ("00:33", "b"), ("00:21", "c"), ("00:38", "d")];
    let lines: String =
        visits.iter().map(|(at, page)| format!("{{\"ts\":\"2026-01-01T{at}:00Z\",\"page\":\"{page}\"}}\n")).collect();
    folder.write("in/1.json", &lines);
    folder.write("other/.nothing", "");
    let ended = folder.run(&["explain", "pipeline.yaml"]);
    assert_ends(&ended, 0, "");
    for part in [
        "  sees: visits.ts - 5m\n  expires: when the watermark reaches window.end (window_start + 10m)\n",
        "  sees: visits.ts - 5m\n  expires: when the watermark reaches expires\n",
        "== Watermark ==\nthe largest of visits.ts - 5m, other.ts\n",
        "  sees: other.ts\n  expires: never: it is not bound to event time\n",
    ] {
        assert!(ended.stdout.contains(part), "no {part:?} in:\n{}", ended.stdout);
    }
    assert_ends(&folder.start_pipeline(&[]).end(), 0, "");
    let shown = folder.run(&["inspect", "checkpoint", "--rows", "1"]);
    assert_ends(&shown, 0, "");
    for part in [
        "watermark: 2026-01-01T00:33:00.000Z\nlate: rows that ended before 2026-01-01T00:33:00.000Z\n  visits: 2026-01-01T00:33:00.000Z\n",
        "-- State of aggregate-0: 2 rows --\nexpires when the watermark reaches window.end (window_start + 10m); soonest first\n",
        "|2026-01-01 00:40:00|2026-01-01 00:30:00|",
        "-- State of deduplicate_within_watermark-0: 2 rows --\n",
        "|expires            |page|\n",
        "|2026-01-01 00:38:00|b   |\n",
        "1 more\n",
        "watermark: 2026-01-01T00:33:00.000Z, the largest of:\n",
        "  other: no row yet\n",
    ] {
        assert!(shown.stdout.contains(part), "no {part:?} in:\n{}", shown.stdout);
    }
    let all = folder.run(&["inspect", "checkpoint", "--query", "windows"]);
    assert!(!all.stdout.contains(" more\n"), "{}", all.stdout);
}

#[test]
fn demo_runs_in_an_empty_folder() {
    let folder = Folder::new();
    let started = Instant::now();
    let running = folder.start(&["demo", "--rate", "200", "--http", "127.0.0.1:0"]);
    running.prints("Batch: 0");
    running.prints("|userID");
    let row = running.until("a table of frauds appears", || {
        running.stdout.all().into_iter().find(|line| line.starts_with('|') && line.contains("|true   |"))
    });
    println!("first fraud {row} after {:?}", started.elapsed());
    let (status, metrics) = running.get("/metrics");
    assert_eq!(status, 200);
    assert!(
        metrics.contains("tidemill_rows_read_total{pipeline=\"demo\",query=\"suspicious\",source=\"transactions\"}"),
        "{metrics}"
    );
    running.stop();
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn usage_errors_exit_with_2() {
    let folder = counts();
    for arguments in [
        &["run"][..],
        &["run", "pipeline.yaml", "--no-such-flag"],
        &["grind", "pipeline.yaml"],
        &["run", "absent.yaml"],
        &["run", "pipeline.yaml", "--log-level", "loud"],
        &["run", "pipeline.yaml", "--http", "0.0.0.0:0"],
        &["run", "pipeline.yaml", "--set", "queries.counts.tigger=once"],
        &["run", "pipeline.yaml", "--set", "queries.counts.trigger"],
    ] {
        let ended = folder.run(arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert!(!ended.stderr.is_empty() && ended.stdout.is_empty(), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn a_failed_query_exits_with_1_and_names_the_condition() {
    let folder = counts();
    let ended = folder.start_pipeline(&["--set", "queries.counts.sql=SELECT v div (v - 2) AS q FROM rows"]).end();
    assert_ends(&ended, 1, "DIVIDE_BY_ZERO");
}

#[test]
fn a_checkpoint_in_use_is_worth_retrying() {
    let folder = Folder::with(TO_FILES);
    let running = folder.start_pipeline(&[]);
    running.says("query started");
    let started = Instant::now();
    let ended = folder.start_pipeline(&[]).end();
    assert_eq!(ended.code, 75, "{ended:?}");
    assert!(ended.stderr.contains("FENCED") && ended.stderr.contains(&format!("process {}", running.id())), "{ended:?}");
    println!("refused after {:?}", started.elapsed());
    running.stop();
}

#[test]
fn signals_end_it_cleanly_and_lose_nothing() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = Folder::with(TO_FILES);
        let mut sent = 0;
        for round in 0..3 {
            let running = folder.start_pipeline(&[]);
            let mut client = running.client();
            for _ in 0..200 {
                client.write_all(format!("{{\"n\":{sent}}}\n").as_bytes()).unwrap();
                sent += 1;
            }
            // Every line was received, not only sent, once the first of the next hundred is out.
            let expected = format!("{{\"n\":{}}}", sent - 1);
            running.until("the last line is out", || folder.lines("out").contains_key(&expected).then_some(()));
            client.write_all(format!("{{\"n\":{sent}}}\n").as_bytes()).unwrap();
            let started = Instant::now();
            running.signal(signal);
            let ended = running.end();
            assert_ends(&ended, 0, "stopping");
            assert!(started.elapsed() < Duration::from_secs(10), "round {round}: it took {:?}", started.elapsed());
            // The line sent beside the signal may or may not have been received.
            let now = folder.start_pipeline(&["--set", "queries.pass.trigger=available_now"]).end();
            assert_ends(&now, 0, "");
            sent += usize::from(folder.lines("out").contains_key(&format!("{{\"n\":{sent}}}")));
        }
        let expected = (0..sent).map(|n| (format!("{{\"n\":{n}}}"), 1)).collect();
        assert_eq!(folder.lines("out"), expected);
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let (_folder, running) = grinding();
        running.signal(signal);
        running.says("stopping");
        let started = Instant::now();
        running.signal(signal);
        let ended = running.end();
        assert_eq!(ended.code, code, "{ended:?}");
        println!("ended {:?} after the second signal", started.elapsed());
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
}

#[test]
fn a_batch_that_takes_too_long_is_abandoned_within_30_seconds_and_run_again() {
    let (folder, running) = grinding();
    let started = Instant::now();
    running.signal(Signal::TERM);
    let ended = running.end();
    println!("ended {:?} after the signal", started.elapsed());
    assert_ends(&ended, 0, "abandoning");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    assert_eq!(folder.lines("out").len(), 0);
    // The planned batch is run again with its old ranges under the edited file: that is how a heavy batch is mended.
    let ended = folder.start_pipeline(&["--set", "queries.heavy.sql=SELECT v FROM rows WHERE v % 10000 = 0"]).end();
    assert_ends(&ended, 0, "");
    let expected = [0, 10_000, 20_000].map(|v| (format!("{{\"v\":{v}}}"), 1)).into();
    assert_eq!(folder.lines("out"), expected);
}

#[test]
fn set_overrides_and_names_what_it_does_not_know() {
    let folder = counts();
    let ended = folder.start_pipeline(&["--set", "queries.counts.output_mode=complete", "--set", "name=other"]).end();
    assert_ends(&ended, 0, "");
    let ended = folder.run(&["check", "pipeline.yaml", "--set", "queries.counts.output_mod=complete"]);
    assert_ends(&ended, 2, "output_mode");
}

#[test]
fn fresh_moves_the_old_checkpoint_aside() {
    let folder = counts();
    let checkpoint = ["--set", "checkpoint=checkpoint"];
    assert_eq!(batches(&folder.start_pipeline(&checkpoint).end().stdout).len(), 1);
    assert_eq!(batches(&folder.start_pipeline(&checkpoint).end().stdout).len(), 0, "the file was read before");
    let ended = folder.start_pipeline(&[checkpoint[0], checkpoint[1], "--fresh"]).end();
    assert_ends(&ended, 0, "moved the old checkpoint to ");
    assert_eq!(batches(&ended.stdout).len(), 1, "it is read again");
    let aside = ended.stderr.lines().find_map(|line| line.strip_prefix("moved the old checkpoint to ")).unwrap();
    assert!(folder.path(aside).join("queries/counts").is_dir(), "{aside}");
}

#[test]
fn json_logs_have_fields_and_never_the_values_of_rows() {
    let folder = counts();
    folder.write("in/rows.json", format!("{COUNTS_ROWS}{{\"k\":\"sesame-1\",\"v\":4}}\nsesame-2 is not JSON\n"));
    let ended = folder.start_pipeline(&["--log-format", "json", "--log-level", "debug"]).end();
    assert_eq!(ended.code, 0, "{ended:?}");
    let events = batches(&ended.stderr);
    for event in &events {
        assert!(event["timestamp"].is_string() && event["level"].is_string() && event["message"].is_string(), "{event}");
    }
    let find =
        |message: &str| events.iter().find(|event| event["message"] == message).unwrap_or_else(|| panic!("{message}: {ended:?}"));
    assert_eq!(find("query started")["query"], "counts");
    assert_eq!(find("batch committed")["query"], "counts");
    assert_eq!(find("batch committed")["batch"], 0);
    let warning = find("malformed lines");
    assert_eq!((&warning["query"], &warning["batch"], &warning["lines"]), (&"counts".into(), &0.into(), &1.into()));
    assert_eq!(warning["level"], "WARN");
    assert!(!ended.stderr.contains("sesame"), "{}", ended.stderr);
    assert!(ended.stdout.contains("sesame-1"));
}

#[test]
fn a_failure_in_json_logs_has_query_and_condition() {
    let folder = counts();
    let sql = "queries.counts.sql=SELECT v div (v - 2) AS q FROM rows";
    let ended = folder.start_pipeline(&["--set", sql, "--log-format", "json"]).end();
    assert_eq!(ended.code, 1, "{ended:?}");
    let event = ended
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|event| event["message"] == "query failed");
    let event = event.unwrap_or_else(|| panic!("{ended:?}"));
    assert_eq!((&event["query"], &event["code"], &event["level"]), (&"counts".into(), &"DIVIDE_BY_ZERO".into(), &"ERROR".into()));
    assert_eq!(event["batch"], 0);
}

#[test]
fn without_a_terminal_there_is_no_status_line() {
    for arguments in [&["--quiet"][..], &[]] {
        let ended = counts().start_pipeline(arguments).end();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(!ended.stderr.contains("\u{1b}[") && !ended.stderr.contains('\r'), "{ended:?}");
    }
}

/// The rows per batch that a query printed.
fn rows_per_batch(ended: &Ended) -> Vec<usize> {
    assert_eq!(ended.code, 0, "{ended:?}");
    batches(&ended.stdout).iter().map(|batch| batch["rows"].as_array().unwrap().len()).collect()
}

const PASS: [&str; 6] = [
    "--set",
    "queries.counts.sql=SELECT v FROM rows",
    "--set",
    "queries.counts.output_mode=append",
    "--set",
    "sources.rows.from.file.max_files_per_trigger=1",
];

#[test]
fn available_now_honours_limits_and_once_ignores_them() {
    let folder = counts();
    folder.write("in/second.json", "{\"v\":4}\n");
    folder.write("in/third.json", "{\"v\":5}\n{\"v\":6}\n");
    assert_eq!(rows_per_batch(&folder.start_pipeline(&PASS).end()), [3, 1, 2]);
    let once = [&PASS[..], &["--set", "queries.counts.trigger=once", "--set", "checkpoint=checkpoint"]].concat();
    assert_eq!(rows_per_batch(&folder.start_pipeline(&once).end()), [6]);
    assert_eq!(rows_per_batch(&folder.start_pipeline(&once).end()), [0; 0]);
    folder.write("in/fourth.json", "{\"v\":7}\n");
    assert_eq!(rows_per_batch(&folder.start_pipeline(&once).end()), [1]);
}

#[test]
fn as_fast_as_possible_takes_files_as_they_come() {
    let folder = counts();
    let arguments = [&PASS[..], &["--set", "queries.counts.trigger=as_fast_as_possible"]].concat();
    let running = folder.start_pipeline(&arguments);
    running.prints("\"batch_id\":0");
    folder.write("in/second.json", "{\"v\":4}\n");
    running.prints("\"batch_id\":1");
    folder.write("in/third.json", "{\"v\":5}\n");
    running.prints("\"batch_id\":2");
    assert_eq!(rows_per_batch(&running.stop()), [3, 1, 1]);
}

#[test]
fn an_interval_starts_batches_at_its_multiples() {
    let folder = counts();
    (0..6).for_each(|n| folder.write(&format!("in/{n}.json"), format!("{{\"v\":{n}}}\n")));
    let running = folder.start_pipeline(&[&PASS[..], &["--set", "queries.counts.trigger=400ms"]].concat());
    running.prints("\"batch_id\":6");
    let progress = running.until("the last batch is told of", || {
        let progress = running.get_json("/queries/counts/progress");
        let progress = progress.as_array().unwrap().clone();
        (progress.len() == 7).then_some(progress)
    });
    let triggered_ms = progress.iter().map(|batch| {
        let at = batch["timestamp"].as_str().unwrap();
        let (_, seconds) = at.trim_end_matches('Z').rsplit_once(':').unwrap();
        (seconds.parse::<f64>().unwrap() * 1000.0).round() as i64
    });
    // The first batch starts at once, the others with a multiple of the interval; a busy machine is late, never early.
    let triggered_ms: Vec<i64> = triggered_ms.skip(1).collect();
    let in_time = triggered_ms.iter().filter(|ms| **ms % 400 < 200).count();
    assert!(in_time * 2 > triggered_ms.len(), "{triggered_ms:?}");
    let ticks: std::collections::BTreeSet<i64> = triggered_ms.iter().map(|ms| ms / 400).collect();
    assert_eq!(ticks.len(), triggered_ms.len(), "two batches within one interval: {triggered_ms:?}");
    running.stop();
}

#[test]
fn a_query_whose_output_nobody_reads_any_more_stops_quietly() {
    let folder = Folder::with(&COUNTS.replace("    trigger: available_now\n", ""));
    folder.write("in/0.json", COUNTS_ROWS);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.args(["run", "pipeline.yaml", "--http", "127.0.0.1:0"]).current_dir(folder.path(""));
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut first).unwrap();
    assert_eq!(batches(&first).len(), 1);
    // Nobody holds the pipe any more when the next batch is printed.
    folder.write("in/1.json", COUNTS_ROWS);
    let ended = child.wait_with_output().unwrap();
    let log = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{log}");
    assert!(log.contains("standard output was closed") && !log.contains("ERROR"), "{log}");
}

/// Answers one request with this, and tells its address.
fn answering(answer: &'static str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
        let _ = stream.write_all(answer.as_bytes());
    });
    address.to_string()
}

#[test]
fn health_tells_well_from_ill() {
    let folder = Folder::with(TO_FILES);
    let running = folder.start_pipeline(&[]);
    running.becomes("pass", "running");
    let address = format!("http://{}", running.http());
    let well = folder.run(&["health", &address]);
    assert_eq!((well.code, well.stdout.as_str()), (0, "ok\n"), "{well:?}");
    let ready = folder.run(&["health", &format!("{address}/readyz")]);
    assert_eq!((ready.code, ready.stdout.as_str()), (0, "ready\n"), "{ready:?}");
    folder.run(&["health", &format!("{address}/nothing")]).failed(1, &["answers 404"]);
    running.stop();
    folder.run(&["health", &address]).failed(1, &["could not ask http://127.0.0.1:", "/healthz"]);

    // 2 means something else to container engines, but for a wrong command line it is right.
    let ill = answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 11\r\n\r\npass failed");
    folder.run(&["health", &format!("http://{ill}/readyz")]).failed(1, &["answers 503", "pass failed"]);
    let elsewhere = answering("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    folder.run(&["health", &format!("http://{elsewhere}")]).failed(1, &["answers 302"]);
    folder.run(&["health", "https://127.0.0.1:4040"]).failed(2, &["is not of http"]);
    folder.run(&["health", "127.0.0.1:4040"]).failed(2, &[]);
}
