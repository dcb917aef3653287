//! What users, clients and disks do wrong: a clear message, nothing lost, and the other queries go on.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::binary::{Ended, Folder, Running};

/// `bad` is what a test is about, `good` the query beside it, which goes on whatever happens.
const TWO_QUERIES: &str = r#"
version: 1
name: bad
checkpoint: checkpoint
sources:
  rows:
    from: { file: { path: in } }
    format: { json: { schema: "k STRING, v BIGINT" } }
  lines:
    from: { file: { path: good } }
    format: { json: { schema: "n BIGINT" } }
queries:
  bad:
    sql: SELECT k, v FROM rows
    to: { file: { path: out/bad }, format: json }
  good:
    sql: SELECT n FROM lines
    to: { file: { path: out/good }, format: json }
"#;

fn two_queries() -> Folder {
    let folder = Folder::with(TWO_QUERIES);
    folder.write("in/0.json", "{\"k\":\"a\",\"v\":1}\n");
    folder.write("good/0.json", "{\"n\":0}\n");
    folder
}

/// The good query still does what is asked of it.
fn good_goes_on(folder: &Folder, running: &Running) {
    let next = fs::read_dir(folder.path("good")).unwrap().count();
    folder.write(&format!("good/{next}.json"), format!("{{\"n\":{next}}}\n"));
    running.until("the good query goes on", || folder.lines("out/good").contains_key(&format!("{{\"n\":{next}}}")).then_some(()));
    assert_eq!(running.state_of("good"), "running");
}

/// Ends a process of which a query has failed.
fn ends_with(running: Running, code: i32) -> Ended {
    running.signal(rustix::process::Signal::TERM);
    let ended = running.end();
    assert_eq!(ended.code, code, "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    ended
}

/// Waits until the bad query has failed and gives its error.
fn failure(running: &Running) -> String {
    running.becomes("bad", "failed");
    running.get_json("/queries/bad")["status"]["error"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[test]
fn every_problem_of_a_file_is_listed_with_its_place() {
    let folder = Folder::with(
        r#"version: 1
name: bad
sources:
  rows:
    from: { fil: { path: in } }
queries:
  a:
    sql: SELECT 1
    triger: once
    to: { console: {} }
  b:
    sql: SELECT 1
    output_mode: sideways
    trigger: soon
    to: { file: { path: out }, format: json }
"#,
    );
    for command in ["run", "check", "explain"] {
        let ended = folder.run(&[command, "pipeline.yaml"]);
        assert_eq!(ended.code, 2, "{ended:?}");
        let problems = [
            "pipeline.yaml:5:13: ",
            "did you mean file?",
            "pipeline.yaml:9:5: ",
            "did you mean trigger?",
            "pipeline.yaml:13:18: ",
            "STREAMING_OUTPUT_MODE.INVALID",
            "pipeline.yaml:14:14: ",
            "checkpoint must be specified",
        ];
        assert_holds(&ended.stderr, &problems);
    }
    folder.write("pipeline.yaml", "version: 1\nname: [unclosed\n");
    let ended = folder.run(&["check", "pipeline.yaml"]);
    assert_eq!(ended.code, 2);
    assert_holds(&ended.stderr, &["pipeline.yaml:"]);
}

#[test]
fn wrong_columns_types_and_syntax_are_refused_for_every_query_at_once() {
    let folder = two_queries();
    let set = ["--set", "queries.bad.sql=SELECT k, w FROM rows", "--set", "queries.good.sql=SELECT n + true AS s FROM lines"];
    let ended = folder.run(&[&["run", "pipeline.yaml"], &set[..]].concat());
    assert_eq!(ended.code, 2, "{ended:?}");
    assert_holds(&ended.stderr, &["\"bad\"", "UNRESOLVED_COLUMN.WITH_SUGGESTION", "`w`", "\"good\"", "DATATYPE_MISMATCH"]);
    let ended = folder.run(&["run", "pipeline.yaml", "--set", "queries.bad.sql=SELEC k FROM rows"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert_holds(&ended.stderr, &["\"bad\"", "PARSE_SYNTAX_ERROR", "SELEC"]);
    assert_eq!(folder.names(), ["good/0.json", "in/0.json", "pipeline.yaml"], "nothing was opened");
}

/// The bad query reads a socket that it has to connect to.
fn connecting(address: &str) -> Folder {
    let socket = format!("from: {{ socket: {{ connect: \"{address}\", connect_timeout: 500ms }} }}");
    let folder = Folder::with(&TWO_QUERIES.replacen("from: { file: { path: in } }", &socket, 1));
    folder.write("good/0.json", "{\"n\":0}\n");
    folder
}

#[test]
fn who_cannot_be_connected_to_is_named_after_the_timeout() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    // Nobody listens at the first; the second is reserved for documentation; the third is reserved for names that are none.
    for address in [closed.as_str(), "192.0.2.1:9", "nobody.invalid:9"] {
        let folder = connecting(address);
        let started = Instant::now();
        let running = folder.start_pipeline(&[]);
        assert_holds(&failure(&running), &[address, "rows", "within 500ms"]);
        println!("{address}: failed {:?} after the start", started.elapsed());
        good_goes_on(&folder, &running);
        let ended = ends_with(running, 75);
        assert_holds(&ended.stderr, &["query failed", address]);
    }
}

#[test]
fn a_connection_that_is_lost_later_is_made_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = connecting(&listener.local_addr().unwrap().to_string());
    let running = folder.start_pipeline(&[]);
    for n in 0..2 {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(format!("{{\"k\":\"a\",\"v\":{n}}}\n").as_bytes()).unwrap();
        running.until("the line is out", || (folder.lines("out/bad").len() == n + 1).then_some(()));
    }
    running.stop();
}

#[test]
fn a_folder_that_does_not_exist_is_named() {
    let folder = two_queries();
    let absent = ["--set", "sources.rows.from.file.path=absent"];
    let ended = folder.run(&[&["check", "pipeline.yaml"], &absent[..]].concat());
    assert_eq!(ended.code, 2, "{ended:?}");
    assert_holds(&ended.stderr, &["rows", "absent"]);
    let running = folder.start_pipeline(&absent);
    assert_holds(&failure(&running), &["rows", "absent"]);
    good_goes_on(&folder, &running);
    ends_with(running, 2);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = two_queries();
    // Also root cannot make a folder below a file.
    let running = folder.start_pipeline(&["--set", "queries.bad.to.file.path=pipeline.yaml/out"]);
    assert_holds(&failure(&running), &["pipeline.yaml/out"]);
    good_goes_on(&folder, &running);
    ends_with(running, 2);
    let ended = folder.run(&["run", "pipeline.yaml", "--set", "checkpoint=pipeline.yaml/checkpoint"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert_holds(&ended.stderr, &["pipeline.yaml/checkpoint"]);
}

/// A small disk of its own, mounted for one test.
pub(crate) struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount.
    pub(crate) fn new(path: std::path::PathBuf) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "none"]).arg(&path).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(path))
    }

    /// Leaves no byte free.
    pub(crate) fn fill(&self) {
        let mut ballast = fs::File::create(self.0.join("ballast")).unwrap();
        while ballast.write_all(&[0; 4096]).is_ok() {}
    }

    pub(crate) fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn a_query_whose_disk_is_full_waits_and_resumes_by_itself() {
    let folder = two_queries();
    let Some(disk) = SmallDisk::new(folder.path("small")) else {
        println!("may not mount: `a_full_disk_costs_nothing_but_time` has the rest");
        return;
    };
    let running = folder.start_pipeline(&["--set", "queries.bad.to.file.path=small/out"]);
    running.until("the first row is out", || (folder.lines("small/out").len() == 1).then_some(()));
    disk.fill();
    let lines: String = (2..2000).map(|v| format!("{{\"k\":\"{}\",\"v\":{v}}}\n", "x".repeat(100))).collect();
    folder.write("in/1.json", lines);
    running.becomes("bad", "paused");
    assert_holds(&running.get_json("/queries/bad")["status"]["error"].to_string(), &["small", "space"]);
    assert_eq!(running.get("/readyz").0, 503);
    good_goes_on(&folder, &running);
    disk.free();
    running.until("it has resumed", || (folder.lines("small/out").values().sum::<usize>() == 1999).then_some(()));
    running.becomes("bad", "running");
    let ended = running.stop();
    assert_holds(&ended.stderr, &["query paused", "NO_SPACE"]);
    assert!(folder.lines("small/out").values().all(|times| *times == 1));
}

#[test]
fn queries_whose_checkpoint_is_on_a_full_disk_wait_and_resume_by_themselves() {
    let folder = two_queries();
    let Some(disk) = SmallDisk::new(folder.path("small")) else {
        println!("may not mount: `a_full_disk_costs_nothing_but_time` has the rest");
        return;
    };
    let running = folder.start_pipeline(&["--set", "checkpoint=small/checkpoint"]);
    running.until("the first row is out", || (folder.lines("out/bad").len() == 1).then_some(()));
    disk.fill();
    // More staged output than what the log has reserved.
    let lines: String = (2..30_000).map(|v| format!("{{\"k\":\"{}\",\"v\":{v}}}\n", "x".repeat(100))).collect();
    folder.write("in/1.json", lines);
    running.becomes("bad", "paused");
    assert_eq!(running.get("/healthz").0, 200);
    assert_eq!(folder.lines("out/bad").len(), 1, "never half a batch");
    disk.free();
    running.until("it has resumed", || (folder.lines("out/bad").values().sum::<usize>() == 29_999).then_some(()));
    running.stop();
    assert!(folder.lines("out/bad").values().all(|times| *times == 1));
}

#[test]
fn a_query_that_waits_for_space_can_be_stopped_and_goes_on_later() {
    let folder = two_queries();
    let Some(disk) = SmallDisk::new(folder.path("small")) else {
        println!("may not mount: `a_full_disk_costs_nothing_but_time` has the rest");
        return;
    };
    let arguments = ["--set", "queries.bad.to.file.path=small/out"];
    let running = folder.start_pipeline(&arguments);
    running.until("the first row is out", || (folder.lines("small/out").len() == 1).then_some(()));
    disk.fill();
    folder.write("in/1.json", (2..2000).map(|v| format!("{{\"k\":\"{}\",\"v\":{v}}}\n", "x".repeat(100))).collect::<String>());
    running.becomes("bad", "paused");
    let started = Instant::now();
    let ended = running.stop();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(ended.stderr.matches("query paused").count() < 10, "{ended:?}");
    disk.free();
    let running = folder.start_pipeline(&arguments);
    running.until("the rest is out", || (folder.lines("small/out").values().sum::<usize>() == 1999).then_some(()));
    running.stop();
    assert!(folder.lines("small/out").values().all(|times| *times == 1));
}

const KEPT: &str = r#"
version: 1
name: bad
checkpoint: checkpoint
sources:
  rows:
    from: { file: { path: in } }
    format: { json: { schema: "k STRING, v BIGINT" } }
  lines:
    from: { file: { path: good } }
    format: { json: { schema: "n BIGINT" } }
queries:
  bad:
    sql: SELECT k, count(*) AS n FROM rows GROUP BY k
    output_mode: update
    trigger: available_now
    to: { discard: {} }
  good:
    sql: SELECT n FROM lines
    to: { file: { path: out/good }, format: json }
"#;

#[test]
fn a_checkpoint_that_does_not_fit_says_which_part_has_changed() {
    let folder = two_queries();
    folder.write("pipeline.yaml", KEPT);
    assert_eq!(folder.start_pipeline(&["--set", "queries.good.trigger=available_now"]).end().code, 0);
    for (change, told) in [
        ("queries.bad.sql=SELECT v, count(*) AS n FROM rows GROUP BY v", "aggregate-0"),
        ("queries.bad.sql=SELECT k, sum(v) AS n FROM rows GROUP BY k", "aggregate-0"),
        ("queries.bad.sql=SELECT n, count(*) AS m FROM lines GROUP BY n", "lines"),
    ] {
        let ended = folder.run(&["check", "pipeline.yaml", "--set", change]);
        assert_eq!(ended.code, 2, "{ended:?}");
        assert_holds(&ended.stderr, &["bad", told]);
        let running = folder.start_pipeline(&["--set", change]);
        assert_holds(&failure(&running), &[told]);
        good_goes_on(&folder, &running);
        ends_with(running, 2);
    }
    let ended = folder.start_pipeline(&["--set", "time_zone=Europe/Paris"]).end();
    assert_eq!(ended.code, 2, "{ended:?}");
    assert_holds(&ended.stderr, &["time_zone", "UTC", "Europe/Paris"]);
    // What may change: filters, projections, aliases, the trigger.
    let free = "queries.bad.sql=SELECT k AS key, count(*) AS times, 1 AS one FROM rows WHERE v > 0 GROUP BY k";
    assert_eq!(folder.start_pipeline(&["--set", free, "--set", "queries.good.trigger=available_now"]).end().code, 0);
    fs::rename(folder.path("checkpoint/queries/good"), folder.path("checkpoint/queries/other")).unwrap();
    fs::rename(folder.path("checkpoint/queries/bad"), folder.path("checkpoint/queries/good")).unwrap();
    let ended = folder.start_pipeline(&["--set", "queries.good.trigger=available_now"]).end();
    assert_eq!(ended.code, 2, "{ended:?}");
    assert_holds(&ended.stderr, &["good", "lines", "rows"]);
}

/// Two queries on one listening socket; what is malformed goes to a dead letter.
const LISTENING: &str = r#"
version: 1
name: bad
checkpoint: checkpoint
sources:
  rows:
    from: { socket: { listen: "127.0.0.1:0" } }
    format: { json: { schema: "k STRING, v BIGINT, a ARRAY<BIGINT>" } }
    on_malformed: drop
queries:
  good:
    sql: SELECT k, v FROM rows
    to: { file: { path: out }, format: json }
    dead_letter: { file: { path: bad }, format: json }
  counts:
    sql: SELECT count(*) AS n FROM rows
    output_mode: update
    to: { discard: {} }
"#;

/// Waits until the line `{"k":"a","v":<v>}` is out.
fn arrives(folder: &Folder, running: &Running, v: u64) {
    let line = format!("{{\"k\":\"a\",\"v\":{v}}}");
    running.until("the line is out", || folder.lines("out").contains_key(&line).then_some(()));
}

fn dead_letters(folder: &Folder) -> Vec<Value> {
    folder.lines("bad").keys().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn all_run(running: Running) -> Ended {
    for query in ["good", "counts"] {
        running.becomes(query, "running");
    }
    running.stop()
}

/// Most memory that the process ever held, in MiB.
#[cfg(target_os = "linux")]
fn peak_mib(running: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn a_line_of_100_mb_is_one_malformed_line() {
    let folder = Folder::with(LISTENING);
    let running = folder.start_pipeline(&[]);
    let mut client = running.client();
    client.write_all(b"{\"k\":\"a\",\"v\":1}\n{\"k\":\"").unwrap();
    let part = vec![b'x'; 1 << 20];
    (0..100).for_each(|_| client.write_all(&part).unwrap());
    client.write_all(b"\"}\n{\"k\":\"a\",\"v\":2}\n").unwrap();
    arrives(&folder, &running, 2);
    #[cfg(target_os = "linux")]
    {
        println!("peak memory {} MiB", peak_mib(&running));
        assert!(peak_mib(&running) < 400, "{} MiB", peak_mib(&running));
    }
    all_run(running);
    assert_eq!(folder.lines("out").len(), 2);
    let dead = dead_letters(&folder);
    assert_eq!(dead.len(), 1);
    assert!(dead[0]["raw"].as_str().unwrap().len() < 2 << 20, "the bytes are cut at the line limit");
}

#[test]
fn a_file_with_a_line_of_100_mb_is_read_to_its_end() {
    let folder = two_queries();
    let mut file = b"{\"k\":\"a\",\"v\":2}\n".to_vec();
    file.resize(100 << 20, b'x');
    file.extend_from_slice(b"\n{\"k\":\"a\",\"v\":3}\n");
    folder.write("in/1.json", file);
    let running = folder.start_pipeline(&[]);
    running.until("the last line is out", || folder.lines("out/bad").contains_key("{\"k\":\"a\",\"v\":3}").then_some(()));
    good_goes_on(&folder, &running);
    running.stop();
    // Permissive: a row of nulls stands for the line, and JSON leaves nulls out.
    let expected: BTreeMap<_, _> =
        [("{\"k\":\"a\",\"v\":1}", 1), ("{\"k\":\"a\",\"v\":2}", 1), ("{\"k\":\"a\",\"v\":3}", 1), ("{}", 1)]
            .map(|(line, times)| (line.to_owned(), times))
            .into();
    assert_eq!(folder.lines("out/bad"), expected);
}

#[test]
fn bytes_that_are_no_json_cost_their_line_and_nothing_else() {
    let deep = "[".repeat(50_000);
    let closed = format!("{}{}", deep, "]".repeat(50_000));
    let lines: Vec<Vec<u8>> = vec![
        deep.clone().into_bytes(),
        closed.clone().into_bytes(),
        format!("{{\"k\":\"a\",\"a\":{closed}}}").into_bytes(),
        format!("{{\"k\":\"a\",\"unknown\":{closed}}}").into_bytes(),
        "{\"a\":".repeat(50_000).into_bytes(),
        b"{\"k\":\"\xff\xfe\",\"v\":1}".to_vec(),
        b"\xc3\x28\xe2\x82".to_vec(),
        b"{\"k\":\"a\0b\",\"v\":1}".to_vec(),
        b"\0\0\0\0".to_vec(),
        b"{\"k\":\"a\",\"v\":\0}".to_vec(),
        b"{\"k\":\"unclosed".to_vec(),
    ];
    let folder = Folder::with(LISTENING);
    let running = folder.start_pipeline(&[]);
    let mut client = running.client();
    for (v, line) in lines.iter().enumerate() {
        client.write_all(line).unwrap();
        client.write_all(format!("\n{{\"k\":\"a\",\"v\":{v}}}\n").as_bytes()).unwrap();
    }
    for v in 0..lines.len() as u64 {
        arrives(&folder, &running, v);
    }
    let ended = all_run(running);
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    let warnings = ended.stderr.lines().filter(|line| line.contains("malformed lines")).count();
    assert!(warnings > 0 && !ended.stderr.contains("[[["), "{}", ended.stderr);
    assert_eq!(folder.lines("out").len() + dead_letters(&folder).len(), 2 * lines.len(), "every line is somewhere");
    assert_eq!(dead_letters(&folder).len(), lines.len(), "{:?}", folder.lines("out"));
}

#[test]
fn a_client_that_says_nothing_holds_nobody_up() {
    let folder = Folder::with(LISTENING);
    let running = folder.start_pipeline(&[]);
    let silent: Vec<TcpStream> = (0..20).map(|_| running.client()).collect();
    let mut half = running.client();
    half.write_all(b"{\"k\":\"a\",").unwrap();
    let mut client = running.client();
    client.write_all(b"{\"k\":\"a\",\"v\":1}\n").unwrap();
    arrives(&folder, &running, 1);
    let started = Instant::now();
    let ended = all_run(running);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}: {ended:?}", started.elapsed());
    drop((silent, half));
}

#[test]
fn a_client_that_dies_within_a_line_costs_that_line_only() {
    let folder = Folder::with(LISTENING);
    let running = folder.start_pipeline(&[]);
    // A line before in the same write: when it is out, the half line has been read as well.
    let mut dies = running.client();
    dies.write_all(b"{\"k\":\"a\",\"v\":1}\n{\"k\":\"a\",\"v\":99").unwrap();
    arrives(&folder, &running, 1);
    rustix::net::sockopt::set_socket_linger(&dies, Some(Duration::ZERO)).unwrap();
    drop(dies);
    running.until("the half line is a dead letter", || (dead_letters(&folder).len() == 1).then_some(()));
    let mut client = running.client();
    // One that closes in peace has said all it wanted to say.
    client.write_all(b"{\"k\":\"a\",\"v\":2}\n{\"k\":\"a\",\"v\":3}").unwrap();
    drop(client);
    arrives(&folder, &running, 3);
    all_run(running);
    assert_eq!(folder.lines("out").len(), 3);
    let dead = dead_letters(&folder);
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert!(dead[0]["reason"].as_str().unwrap().contains("truncated"), "{dead:?}");
}

/// A disk that fails on command needs no rights.
mod in_process {
    use std::path::Path;

    use super::*;
    use tidemill::checkpoint::storage::Vfs;
    use tidemill::checkpoint::storage::fault::{Fault, FaultVfs};
    use tidemill::engine::start::{Process, Resources};
    use tidemill::metrics::Metrics;
    use tidemill::{ErrorKind, pipeline};

    const PIPELINE: &str = r#"
version: 1
name: bad
checkpoint: checkpoint
sources:
  rows:
    from: { file: { path: in, max_files_per_trigger: 1 } }
    format: { json: { schema: "v BIGINT" } }
queries:
  pass:
    sql: SELECT v FROM rows
    trigger: available_now
    to: { file: { path: out }, format: json }
"#;

    /// Runs the pipeline on `disk`; the operations that it took.
    fn run(folder: &Folder, disk: &FaultVfs) -> tidemill::Result<u64> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let pipeline = pipeline::load(&folder.path("pipeline.yaml"), &[])?;
        let mut resources = Resources::new(runtime.handle().clone(), Metrics::new()?);
        resources.files = disk.shared();
        runtime.block_on(async { Process::start(pipeline, resources).await?.wait(Duration::from_secs(30)).await })?;
        Ok(disk.operations())
    }

    /// The rows of the output's visible files.
    fn rows(folder: &Folder, disk: &FaultVfs) -> Vec<String> {
        let out = folder.path("out");
        let is_visible = |path: &Path| path.parent() == Some(&out) && path.extension().is_some_and(|ext| ext == "json");
        let files = disk.files().into_iter().filter(|path| is_visible(path));
        let mut rows: Vec<String> = Vec::new();
        for file in files {
            let bytes = disk.read(&file).unwrap().unwrap();
            rows.extend(std::str::from_utf8(&bytes).unwrap().lines().map(str::to_owned));
        }
        rows.sort();
        rows
    }

    #[test]
    fn a_full_disk_costs_nothing_but_time() {
        let folder = Folder::with(PIPELINE);
        (0..3).for_each(|v| folder.write(&format!("in/{v}.json"), format!("{{\"v\":{v}}}\n")));
        let expected = ["{\"v\":0}", "{\"v\":1}", "{\"v\":2}"];
        let calm = FaultVfs::default();
        let operations = run(&folder, &calm).unwrap();
        assert_eq!(rows(&folder, &calm), expected);
        let full_at = |operation: u64| {
            let disk = FaultVfs::default();
            disk.fail_at(operation, Fault::NoSpace);
            let outcome = run(&folder, &disk);
            if let Err(error) = &outcome {
                // Before there is anything to wait with, the command as a whole is worth retrying.
                assert_eq!(error.kind(), ErrorKind::NoSpace, "operation {operation}: {}", error.chain());
                run(&folder, &disk).unwrap();
            }
            assert_eq!(rows(&folder, &disk), expected, "operation {operation}");
            outcome.is_ok()
        };
        // Side by side: each waits for a second before it tries again.
        let resumed: Vec<bool> = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..operations)
                .map(|operation| {
                    let full_at = &full_at;
                    scope.spawn(move || full_at(operation))
                })
                .collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        println!(
            "{operations} operations, after {} of them the query resumed by itself",
            resumed.iter().filter(|did| **did).count()
        );
        assert!(resumed.iter().filter(|did| **did).count() > resumed.len() / 2, "{resumed:?}");
    }
}
