//! Every pipeline file of `examples/` does what its comment promises.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;
use tidemill_producer::{Options, Topic, Transactions, send, serve};

use super::binary::{Folder, Running};
use super::kafka::Broker;
use super::redis::Server;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// A folder with a copy of `examples/`.
fn copy() -> Folder {
    let folder = Folder::new();
    copy_below(&folder, &examples(), "examples");
    folder
}

fn copy_below(folder: &Folder, from: &Path, to: &str) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = format!("{to}/{}", entry.file_name().to_string_lossy());
        match entry.file_type().unwrap().is_dir() {
            // What a run by hand has left there is no part of the examples.
            true if ["out", "checkpoints"].iter().any(|left| entry.file_name() == *left) => {}
            true => copy_below(folder, &entry.path(), &to),
            false => folder.write(&to, fs::read(entry.path()).unwrap()),
        }
    }
}

fn run<'a>(file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["run", file, "--http", "127.0.0.1:0"], more].concat()
}

#[test]
fn no_example_is_left_out() {
    let tested = include_str!("examples.rs");
    for entry in fs::read_dir(examples()).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".yaml") {
            assert!(tested.contains(&format!("\"examples/{name}\"")), "no test runs {name}");
        }
    }
}

/// The lines of the producer that the examples ask for.
fn transactions(options: &Options, count: u64) -> Vec<Value> {
    let mut stream = Transactions::new(options);
    let mut bytes = Vec::new();
    (0..count).for_each(|_| stream.write_next(&mut bytes));
    String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Flagged transactions per user, of those with more than one.
fn suspicious(lines: &[Value]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in lines.iter().filter(|line| line["flag"] == 1) {
        *counts.entry(format!("{}{}", line["name"].as_str().unwrap(), line["surname"].as_str().unwrap())).or_default() += 1;
    }
    counts.retain(|_, count: &mut u64| *count > 1);
    counts
}

/// Runs an example beside the producer of its comment, sped up, until `is_done` likes what is on the screen.
fn beside_a_producer(file: &str, more: &[&str], options: &Options, is_done: impl Fn(&Running) -> bool) -> Vec<String> {
    let folder = copy();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = format!("sources.transactions.from.socket.connect={}", listener.local_addr().unwrap());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let end = Stop(&stop);
        let running = folder.start(&run(file, &[&["--set", &connect], more].concat()));
        scope.spawn(|| serve(&listener, options, &|| stop.load(Ordering::SeqCst)).unwrap());
        running.until("the example has done what it promises", || is_done(&running).then_some(()));
        let ended = running.stop();
        drop(end);
        ended.stdout.lines().map(str::to_owned).collect()
    })
}

/// Ends the producer, also when a test panics.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The rows of the tables on a screen, batch by batch; the header must be there.
fn tables(screen: &[String], header: &str) -> Vec<Vec<Vec<String>>> {
    let mut tables: Vec<Vec<Vec<String>>> = Vec::new();
    for line in screen {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        if let Some(batch) = line.strip_prefix("Batch: ") {
            assert_eq!(batch, tables.len().to_string());
            tables.push(Vec::new());
        } else if line.starts_with('|') && cells.join(" ") != header {
            tables.last_mut().unwrap().push(cells);
        }
    }
    assert!(
        screen.iter().any(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" ") == header),
        "{screen:?}"
    );
    tables
}

const FRAUDS: &str = "userID isFraud nTransactions";

/// User and count of a row of frauds.
fn fraud(row: &[String]) -> (String, u64) {
    assert_eq!(row[1], "true", "{row:?}");
    (row[0].clone(), row[2].parse().unwrap())
}

#[test]
fn fraud_update_shows_the_users_that_changed_and_counts_only_grow() {
    // As many users as the console shows rows.
    let options = Options { rate: 400.0, count: Some(1000), users: 20, ..Options::default() };
    let expected = suspicious(&transactions(&options, 1000));
    let newest = |screen: &[String]| {
        let mut counts = BTreeMap::new();
        for (user, count) in tables(screen, FRAUDS).iter().flatten().map(|row| fraud(row)) {
            let before = counts.insert(user, count);
            assert!(count > 1 && before.is_none_or(|before| before < count), "{screen:?}");
        }
        counts
    };
    let arguments = ["--set", "queries.suspicious.trigger=500ms"];
    let screen = beside_a_producer("examples/fraud_update.yaml", &arguments, &options, |running| {
        let screen = running.stdout.all();
        screen.contains(&"Batch: 0".to_owned()) && has_header(&screen) && newest(&screen) == expected
    });
    let tables = tables(&screen, FRAUDS);
    assert!(tables[0].is_empty(), "the first batch is empty");
    assert!(tables.len() > 2, "{screen:?}");
    assert_eq!(newest(&screen), expected);
}

fn has_header(screen: &[String]) -> bool {
    screen.iter().any(|line| line.starts_with("|userID"))
}

#[test]
fn fraud_complete_shows_everyone_every_time_the_most_flagged_first() {
    let options = Options { rate: 400.0, count: Some(1000), ..Options::default() };
    let mut expected: Vec<_> = suspicious(&transactions(&options, 1000)).into_iter().collect();
    expected.sort_by(|(a, m), (b, n)| n.cmp(m).then(a.cmp(b)));
    // The console shows 20 rows of a table.
    expected.truncate(20);
    let last = |screen: &[String]| tables(screen, FRAUDS).last().unwrap().iter().map(|row| fraud(row)).collect::<Vec<_>>();
    let arguments = ["--set", "queries.suspicious.trigger=500ms"];
    let screen = beside_a_producer("examples/fraud_complete.yaml", &arguments, &options, |running| {
        let screen = running.stdout.all();
        has_header(&screen) && last(&screen) == expected
    });
    for table in tables(&screen, FRAUDS) {
        let shown: Vec<_> = table.iter().map(|row| fraud(row)).collect();
        assert!(shown.iter().all(|(_, count)| *count > 1), "{shown:?}");
        assert!(shown.is_sorted_by(|(a, m), (b, n)| (n, a) < (m, b)), "{shown:?}");
    }
}

#[test]
fn fraud_per_batch_forgets_from_batch_to_batch() {
    let folder = copy();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = format!("sources.transactions.from.socket.connect={}", listener.local_addr().unwrap());
    let arguments = ["--set", &connect, "--set", "queries.suspicious.trigger=500ms"];
    let running = folder.start(&run("examples/fraud_per_batch.yaml", &arguments));
    let (mut engine, _) = listener.accept().unwrap();
    let flagged = |stream: &mut TcpStream, users: &[&str]| {
        let lines: String = users
            .iter()
            .map(|name| format!("{{\"name\":\"{name}\",\"surname\":\"Jones\",\"amount\":1.5,\"delta_t\":0.5,\"flag\":1}}\n"))
            .collect();
        stream.write_all(lines.as_bytes()).unwrap();
    };
    let rows_read = |running: &Running, rows: u64| {
        running.until("the lines are read", || {
            let progress = running.get_json("/queries/suspicious/progress");
            let read: u64 = progress.as_array().unwrap().iter().map(|batch| batch["numInputRows"].as_u64().unwrap()).sum();
            (read == rows).then_some(())
        });
    };
    flagged(&mut engine, &["Twice", "Once", "Twice"]);
    rows_read(&running, 3);
    flagged(&mut engine, &["Once", "Twice"]);
    rows_read(&running, 5);
    flagged(&mut engine, &["Thrice", "Thrice", "Thrice"]);
    rows_read(&running, 8);
    let ended = running.stop();
    let screen: Vec<_> = ended.stdout.lines().map(str::to_owned).collect();
    let shown: Vec<_> = tables(&screen, FRAUDS).iter().flatten().map(|row| fraud(row)).collect();
    assert_eq!(shown, [("TwiceJones".to_owned(), 2), ("ThriceJones".to_owned(), 3)], "{screen:?}");
}

#[test]
fn flagged_filter_prints_a_line_of_json_per_batch() {
    let options = Options { rate: 500.0, count: Some(500), ..Options::default() };
    let expected: Vec<Value> = transactions(&options, 500).into_iter().filter(|line| line["flag"] == 1).collect();
    let rows = |screen: &[String]| {
        let batches: Vec<Value> = screen.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(
            batches.iter().enumerate().all(|(at, batch)| batch["batch_id"] == at && batch["query"] == "alerts"),
            "{screen:?}"
        );
        batches.iter().flat_map(|batch| batch["rows"].as_array().unwrap().clone()).collect::<Vec<_>>()
    };
    let screen = beside_a_producer("examples/flagged_filter.yaml", &[], &options, |running| {
        rows(&running.stdout.all()).len() >= expected.len()
    });
    let found = rows(&screen);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!((&found["name"], &found["surname"]), (&expected["name"], &expected["surname"]));
        assert_eq!(found["amount"].as_f64(), expected["amount"].as_f64());
        assert!(found["received_at"].as_str().unwrap().starts_with("20"), "{found}");
    }
}

/// Counts the rows of a folder of Parquet files, and how many users they have, by `flag`.
const COUNT_PARQUET: &str = r#"
version: 1
name: count
sources:
  one:
    from: { file: { path: one.json } }
    format: { json: { schema: "n BIGINT" } }
tables:
  unflagged: { from: { file: { path: "examples/out/transactions/flag=0" } }, format: parquet }
  flagged: { from: { file: { path: "examples/out/transactions/flag=1" } }, format: parquet }
queries:
  count:
    sql: |
      SELECT t.flag, count(t.userID) AS users, count(t.amount) AS amounts, count(t.delta_t) AS deltas
      FROM one JOIN (SELECT 0 AS flag, * FROM unflagged UNION ALL SELECT 1 AS flag, * FROM flagged) t ON n = 1
      GROUP BY t.flag ORDER BY flag
    output_mode: complete
    trigger: available_now
    to: { console: {}, format: json }
"#;

#[test]
fn file_to_parquet_writes_each_row_once_also_when_run_again() {
    let folder = copy();
    let counted = |folder: &Folder| {
        let ended = folder.start_pipeline(&[]).end();
        assert_eq!(ended.code, 0, "{ended:?}");
        let batch: Value = serde_json::from_str(ended.stdout.trim()).unwrap();
        batch["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| [row["users"].clone(), row["amounts"].clone(), row["deltas"].clone()])
            .collect::<Vec<_>>()
    };
    folder.write("pipeline.yaml", COUNT_PARQUET);
    folder.write("one.json", "{\"n\":1}\n");
    let lines: Vec<Value> = ["part-1.json", "part-2.json"]
        .iter()
        .flat_map(|part| {
            fs::read_to_string(folder.path("examples/data/transactions").join(part))
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect();
    assert_eq!(lines.len(), 60);
    let flagged = lines.iter().filter(|line| line["flag"] == 1).count();
    for _ in 0..2 {
        let ended = folder.start(&run("examples/file_to_parquet.yaml", &[])).end();
        assert_eq!(ended.code, 0, "{ended:?}");
        let of = |rows: usize| [Value::from(rows), Value::from(rows), Value::from(rows)];
        assert_eq!(counted(&folder), [of(60 - flagged), of(flagged)]);
    }
}

#[test]
fn dead_letter_sets_the_wrong_lines_aside() {
    let folder = copy();
    let ended = folder.start(&run("examples/dead_letter.yaml", &[])).end();
    assert_eq!(ended.code, 0, "{ended:?}");
    let screen: Vec<_> = ended.stdout.lines().map(str::to_owned).collect();
    let totals = tables(&screen, "name n flagged");
    let rows: u64 = totals[0].iter().map(|row| row[1].parse::<u64>().unwrap()).sum();
    assert_eq!((totals.len(), rows), (1, 24), "{screen:?}");
    let dead: Vec<Value> =
        folder.lines("examples/out/dead_letter").keys().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(dead.len(), 4, "{dead:?}");
    for letter in &dead {
        assert_eq!(
            (&letter["query"], &letter["source"], &letter["kind"]),
            (&"totals".into(), &"transactions".into(), &"malformed".into())
        );
        assert!(
            !letter["reason"].as_str().unwrap().is_empty() && letter["position"].as_str().unwrap().contains("lines.json"),
            "{letter}"
        );
        assert!(letter["raw"].is_string(), "{letter}");
    }
}

#[test]
fn fraud_kafka_sends_each_change_once_and_goes_on_after_a_kill() {
    let file = fs::read_to_string(examples().join("fraud-kafka.yaml")).unwrap();
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, pipeline) = file.split_once("\nversion: 1\n").unwrap();
    assert!(readme.contains(&format!("```yaml\nversion: 1\n{pipeline}```")), "the README shows another pipeline");

    let broker = Broker::shared();
    let (from, to) = (broker.topic(4), broker.topic(4));
    let topic = Topic::new(&broker.address, &from);
    let options = Options { rate: 0.0, count: Some(1000), ..Options::default() };
    let sets = [
        format!("connections.main.kafka.bootstrap_servers={}", broker.address),
        format!("sources.transactions.from.kafka.subscribe={from}"),
        format!("queries.suspicious.to.kafka.topic={to}"),
        format!("queries.suspicious.to.kafka.transactional_id={to}"),
        "queries.suspicious.trigger=100ms".to_owned(),
    ];
    let arguments: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    // User and count of each message, in the order of the user's partition.
    let counts = || {
        let mut counts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for message in broker.read(&to) {
            let fields: Vec<&str> = message.split('|').collect();
            let row: Value = serde_json::from_str(fields[2]).unwrap();
            assert_eq!((row["userID"].as_str(), &row["isFraud"]), (Some(fields[1]), &Value::Bool(true)));
            counts.entry(fields[1].to_owned()).or_default().push(row["nTransactions"].as_u64().unwrap());
        }
        assert!(counts.values().all(|counts| counts.is_sorted_by(|one, next| one < next)), "{counts:?}");
        counts
    };
    let newest = || counts().into_iter().map(|(user, counts)| (user, *counts.last().unwrap())).collect::<BTreeMap<_, _>>();
    let folder = copy();
    for seed in [1, 2] {
        let running = folder.start(&run("examples/fraud-kafka.yaml", &arguments));
        let options = Options { seed, ..options.clone() };
        send(&topic, &options, &|| false, &|_| {}).unwrap();
        let sent: Vec<Value> = (1..=seed).flat_map(|seed| transactions(&Options { seed, ..options.clone() }, 1000)).collect();
        let expected = suspicious(&sent);
        running.until("all is counted", || (newest() == expected).then_some(()));
        running.signal(rustix::process::Signal::KILL);
        running.end();
    }
}

/// A program that ends with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `examples/risk_api.py` and its address.
fn risk_api() -> (Program, String) {
    let mut command = Command::new("python3");
    let mut child = command.arg(examples().join("risk_api.py")).arg("0").stdout(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let program = Program(child);
    let mut address = String::new();
    BufReader::new(stdout).read_line(&mut address).unwrap();
    (program, address.trim().to_owned())
}

#[test]
fn enrich_adds_up_what_an_api_and_redis_know() {
    let file = fs::read_to_string(examples().join("enrich.yaml")).unwrap();
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/enrich.md")).unwrap();
    let (_, pipeline) = file.split_once("\nversion: 1\n").unwrap();
    assert!(page.contains(&format!("```yaml\nversion: 1\n{pipeline}```")), "the guide shows another pipeline");

    let redis = Server::own(&[]);
    let mut countries = BTreeMap::new();
    for line in fs::read_to_string(examples().join("data/customers.redis")).unwrap().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let _: i64 = redis.tell(&words);
        countries.insert(words[1].trim_start_matches("customer:").to_owned(), words[3].to_owned());
    }
    let (_api, api) = risk_api();
    let options = Options { rate: 1000.0, count: Some(1000), ..Options::default() };
    let mut expected: BTreeMap<(String, &str), u64> = BTreeMap::new();
    for line in transactions(&options, 1000).iter().filter(|line| line["flag"] == 1) {
        // To two digits, as the API rounds.
        let band = match (line["amount"].as_f64().unwrap() / 10.0).round_ties_even() / 100.0 {
            score if score >= 0.8 => "high",
            score if score >= 0.5 => "medium",
            _ => "low",
        };
        let country = countries.get(line["name"].as_str().unwrap()).map_or("NULL", String::as_str);
        *expected.entry((country.to_owned(), band)).or_default() += 1;
    }
    let newest = |screen: &[String]| {
        let mut counts = BTreeMap::new();
        for row in tables(screen, "country band payments amount highest").concat() {
            counts.insert((row[0].clone(), row[1].clone()), row[2].parse::<u64>().unwrap());
        }
        counts
    };
    let expected: BTreeMap<_, _> =
        expected.into_iter().map(|((country, band), count)| ((country, band.to_owned()), count)).collect();
    let sets = [
        format!("connections.store.redis.address={}", redis.address),
        format!("functions.risk.http.url={api}/users/{{user}}"),
        "queries.exposure.trigger=200ms".to_owned(),
    ];
    let arguments: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let screen = beside_a_producer("examples/enrich.yaml", &arguments, &options, |running| {
        let screen = running.stdout.all();
        screen.iter().any(|line| line.starts_with("|country")) && newest(&screen) == expected
    });
    assert!(expected.keys().any(|(country, _)| country == "NULL") && expected.len() == 15, "{expected:?}");
    assert_eq!(newest(&screen), expected);
}

/// The first block of `language` in `text`.
fn block<'a>(text: &'a str, language: &str) -> (&'a str, &'a str) {
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap_or_else(|| panic!("no block of {language}"));
    rest.split_once("```").unwrap()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

#[test]
fn the_late_rows_of_the_guide_are_what_a_run_gives_and_what_spark_gives() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/event-time.md")).unwrap();
    let (_, section) = page.split_once("## Late rows, step by step").unwrap();
    let (pipeline, section) = block(section, "yaml");
    let (input, section) = block(section, "sh");
    let (printed, section) = block(section, "json");
    let (letters, _) = block(section, "json");

    let folder = Folder::new();
    folder.write("late.yaml", pipeline);
    let shell = std::process::Command::new("sh").args(["-c", input]).current_dir(folder.path(".")).status().unwrap();
    assert!(shell.success());
    let ended = folder.run(&run("late.yaml", &[]));
    // The order of a batch's rows is nobody's promise.
    let batches = |text: &str| {
        let mut batches = json_lines(text);
        batches.iter_mut().for_each(|batch| batch["rows"].as_array_mut().unwrap().sort_by_key(Value::to_string));
        batches
    };
    assert_eq!((ended.code, batches(&ended.stdout)), (0, batches(printed)), "{ended:?}");
    let bad = fs::read_dir(folder.path("bad")).unwrap().map(|entry| entry.unwrap().path());
    let written: String = bad.filter(|path| path.extension().is_some()).map(|path| fs::read_to_string(path).unwrap()).collect();
    let mut written = json_lines(&written);
    written.iter_mut().for_each(|letter| assert!(letter.as_object_mut().unwrap().remove("time").is_some()));
    assert_eq!(written, json_lines(letters));

    // The same case as Spark has answered it.
    let case: Value =
        serde_json::from_slice(&fs::read(root.join("tests/streaming/event-time/guide_late_data.json")).unwrap()).unwrap();
    let words = |sql: &str| sql.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert!(words(pipeline).contains(&words(case["sql"].as_str().unwrap())), "the case is about this query");
    let lines = |batch: &Value| {
        batch.as_array().unwrap().iter().map(|line| serde_json::from_str(line.as_str().unwrap()).unwrap()).collect::<Vec<Value>>()
    };
    for (number, batch) in case["sources"]["visits"]["batches"].as_array().unwrap().iter().enumerate() {
        assert_eq!(json_lines(&fs::read_to_string(folder.path(&format!("in/{number}.json"))).unwrap()), lines(batch));
    }
    let sorted = |mut rows: Vec<String>| {
        rows.sort();
        rows
    };
    for (batch, expected) in json_lines(printed).iter().zip(case["expect"]["batches"].as_array().unwrap()) {
        let ours = batch["rows"].as_array().unwrap().iter();
        let ours =
            ours.map(|row| format!("{} {} {}", row["since"].as_str().unwrap().replace(".000Z", ""), row["page"], row["n"]));
        let sparks = expected["rows"].as_array().unwrap().iter();
        let sparks = sparks.map(|row| format!("{} {} {}", row[0].as_str().unwrap().replace(".000000Z", ""), row[1], row[2]));
        assert_eq!(sorted(ours.collect()), sorted(sparks.collect()), "batch {}", expected["id"]);
    }
}
