//! The real process, killed at random times again and again, loses no row and repeats none.
//!
//! The times are drawn from a seed, which a failure names; `KILL_SEED` runs with that one again.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;

use super::binary::{Ended, Folder, Running, pause};

const KILLS: usize = 60;
const CLIENTS: u64 = 3;

fn seed() -> u64 {
    let seed = std::env::var("KILL_SEED").ok().map_or_else(rand::random, |text| text.parse().unwrap());
    println!("KILL_SEED={seed}");
    seed
}

/// When a process dies.
#[derive(Debug, Clone, Copy)]
enum When {
    /// So long after it was started: while it opens things, or recovers.
    AfterStart(Duration),
    /// So long after its query began to run: within batches.
    AfterQueryStart(Duration),
}

fn draw(random: &mut StdRng) -> When {
    let ms = |range: std::ops::Range<u64>, random: &mut StdRng| {
        Duration::from_micros(random.random_range(range.start * 1000..range.end * 1000))
    };
    if random.random_bool(0.4) { When::AfterStart(ms(0..120, random)) } else { When::AfterQueryStart(ms(0..400, random)) }
}

/// Kills `process` at that time; it must not have ended before.
fn kill(process: Running, when: When) -> Ended {
    match when {
        When::AfterStart(time) => pause(time),
        When::AfterQueryStart(time) => {
            process.says("query started");
            pause(time);
        }
    }
    process.signal(Signal::KILL);
    let ended = process.end();
    assert_eq!(ended.code, 128 + 9, "it ended by itself: {ended:?}");
    ended
}

const FROM_FILES: &str = r#"
version: 1
name: kill
checkpoint: checkpoint
sources:
  rows:
    from: { file: { path: in, max_files_per_trigger: 1 } }
    format: { json: { schema: "id BIGINT" } }
queries:
  pass:
    sql: SELECT id FROM rows
    to:
      - { file: { path: out/json }, format: json }
      - { file: { path: out/csv }, format: csv, name: second }
  sums:
    sql: SELECT id % 7 AS k, count(*) AS n, sum(id) AS total FROM rows GROUP BY id % 7 ORDER BY k
    output_mode: complete
    to: { console: {}, format: json }
"#;

#[test]
fn every_row_of_a_file_comes_out_once_through_many_kills() {
    const ROWS_PER_FILE: usize = 3;
    let (seed, started) = (seed(), Instant::now());
    let mut random = StdRng::seed_from_u64(seed);
    let folder = Folder::with(FROM_FILES);
    let (mut files, mut kills_with_progress) = (0, 0);
    for _ in 0..KILLS {
        // There is always more to do than a round can do, so that every kill hits a process at work.
        let done = folder.lines("out/json").len() / ROWS_PER_FILE;
        while files < done + 150 {
            let lines: String = (0..ROWS_PER_FILE).map(|row| format!("{{\"id\":{}}}\n", files * ROWS_PER_FILE + row)).collect();
            folder.write(&format!("in/{files:05}.json"), lines);
            files += 1;
        }
        kill(folder.start_pipeline(&["--quiet"]), draw(&mut random));
        kills_with_progress += usize::from(folder.lines("out/json").len() / ROWS_PER_FILE > done);
    }
    // One more file, so that the last run has something to do and prints what the state holds in the end.
    folder.write("in/last.json", format!("{{\"id\":{}}}\n", files * ROWS_PER_FILE));
    let mut arguments = vec!["--set", "sources.rows.from.file.max_files_per_trigger=100000"];
    arguments.extend(["--set", "queries.pass.trigger=available_now", "--set", "queries.sums.trigger=available_now"]);
    let ended = folder.start_pipeline(&arguments).end();
    assert_eq!(ended.code, 0, "KILL_SEED={seed}: {ended:?}");
    println!("{KILLS} kills, {kills_with_progress} of them after progress, {files} files, {:?}", started.elapsed());
    let rows = files * ROWS_PER_FILE + 1;
    assert_eq!(last_sums(&ended.stdout), sums(rows as u64), "KILL_SEED={seed}");
    let json: BTreeMap<_, _> = (0..rows).map(|id| (format!("{{\"id\":{id}}}"), 1)).collect();
    assert!(folder.lines("out/json") == json, "KILL_SEED={seed}: {}", difference(&folder.lines("out/json"), &json));
    let csv: BTreeMap<_, _> = (0..rows).map(|id| (id.to_string(), 1)).collect();
    assert!(folder.lines("out/csv") == csv, "KILL_SEED={seed}: {}", difference(&folder.lines("out/csv"), &csv));
    assert!(kills_with_progress > KILLS / 10, "KILL_SEED={seed}: only {kills_with_progress} kills came after progress");
}

/// Key, count and sum of every id below `rows`.
fn sums(rows: u64) -> Vec<[u64; 3]> {
    let of = |k: u64| (k..rows).step_by(7).fold([k, 0, 0], |[k, n, total], id| [k, n + 1, total + id]);
    (0..7).map(of).collect()
}

/// The last table of sums that was printed.
fn last_sums(stdout: &str) -> Vec<[u64; 3]> {
    let batch: serde_json::Value = serde_json::from_str(stdout.lines().last().expect("a batch was printed")).unwrap();
    let row = |row: &serde_json::Value| ["k", "n", "total"].map(|name| row[name].as_u64().unwrap());
    batch["rows"].as_array().unwrap().iter().map(row).collect()
}

fn difference(found: &BTreeMap<String, usize>, expected: &BTreeMap<String, usize>) -> String {
    let missing: Vec<_> = expected.keys().filter(|line| !found.contains_key(*line)).take(20).collect();
    let other: Vec<_> = found.iter().filter(|(line, times)| expected.get(*line) != Some(*times)).take(20).collect();
    format!("missing {missing:?}, repeated or unknown {other:?}")
}

/// Two queries share the log; a row of it that came out of one only was lost or made up by the other.
const FROM_SOCKET: &str = r#"
version: 1
name: kill
checkpoint: checkpoint
sources:
  rows:
    from: { socket: { listen: "127.0.0.1:0", max_rows_per_trigger: 200 } }
    format: { json: { schema: "client BIGINT, connection BIGINT, n BIGINT" } }
queries:
  pass:
    sql: SELECT client, connection, n, _position AS position FROM rows
    to: { file: { path: out/pass }, format: json }
  other:
    sql: SELECT client, connection, n, _position AS position FROM rows
    trigger: 50 ms
    to: { file: { path: out/other }, format: json }
"#;

/// Where clients find the process, and whether they go on.
struct Meeting {
    address: Mutex<Option<SocketAddr>>,
    is_over: AtomicBool,
    connections: AtomicU64,
}

impl Meeting {
    fn set(&self, address: Option<SocketAddr>) {
        *self.address.lock().unwrap() = address;
    }

    /// Sends numbered lines, over a new connection whenever one breaks: answers the one that was closed in peace, and how many lines
    /// it took.
    fn keep_sending(&self, client: u64, mut random: StdRng) -> Option<(u64, u64)> {
        while !self.is_over.load(Ordering::SeqCst) {
            let address = *self.address.lock().unwrap();
            let Some(stream) = address.and_then(|address| TcpStream::connect(address).ok()) else {
                pause(Duration::from_millis(1));
                continue;
            };
            let connection = self.connections.fetch_add(1, Ordering::SeqCst);
            if let Some(sent) = self.send(stream, client, connection, &mut random) {
                return Some((connection, sent));
            }
        }
        None
    }

    fn send(&self, mut stream: TcpStream, client: u64, connection: u64, random: &mut StdRng) -> Option<u64> {
        let mut n = 0;
        while !self.is_over.load(Ordering::SeqCst) {
            let burst = random.random_range(1..8);
            let lines: String =
                (n..n + burst).map(|n| format!("{{\"client\":{client},\"connection\":{connection},\"n\":{n}}}\n")).collect();
            // Now and then in two writes, so that a kill finds half a line.
            let cut = if random.random_bool(0.3) { random.random_range(0..lines.len()) } else { lines.len() };
            for part in [&lines[..cut], &lines[cut..]] {
                stream.write_all(part.as_bytes()).ok()?;
            }
            n += burst;
            pause(Duration::from_micros(random.random_range(0..4000)));
        }
        stream.shutdown(Shutdown::Write).ok()?;
        Some(n)
    }
}

/// Rows by connection, each with how often it came out; the positions in the log must differ.
fn rows_by_connection(lines: &BTreeMap<String, usize>, seed: u64) -> BTreeMap<u64, BTreeMap<u64, usize>> {
    let mut rows: BTreeMap<u64, BTreeMap<u64, usize>> = BTreeMap::new();
    let mut positions = BTreeMap::new();
    for (line, times) in lines {
        let row: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("KILL_SEED={seed}: {line:?}: {error}"));
        let number = |name: &str| row[name].as_u64().unwrap_or_else(|| panic!("KILL_SEED={seed}: {line}"));
        *rows.entry(number("connection")).or_default().entry(number("n")).or_default() += times;
        let other = positions.insert(row["position"].to_string(), line.clone());
        assert_eq!(other, None, "KILL_SEED={seed}: {line} stands at the same position of the log");
    }
    rows
}

#[test]
fn every_row_of_the_ingest_log_comes_out_once_through_many_kills() {
    let (seed, started) = (seed(), Instant::now());
    let mut random = StdRng::seed_from_u64(seed);
    let folder = Folder::with(FROM_SOCKET);
    let meeting = Meeting { address: Mutex::new(None), is_over: AtomicBool::new(false), connections: AtomicU64::new(0) };
    let last = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (meeting, random) = (&meeting, StdRng::seed_from_u64(seed ^ (client + 1)));
                scope.spawn(move || meeting.keep_sending(client, random))
            })
            .collect();
        // The clients end also when this thread panics.
        let over = Over(&meeting);
        for _ in 0..KILLS {
            let when = draw(&mut random);
            let process = folder.start_pipeline(&["--quiet"]);
            if let When::AfterQueryStart(_) = when {
                meeting.set(Some(process.listening()));
            }
            kill(process, when);
            meeting.set(None);
        }
        let process = folder.start_pipeline(&["--quiet"]);
        let enough = meeting.connections.load(Ordering::SeqCst) + CLIENTS;
        meeting.set(Some(process.listening()));
        process.until("every client is served", || (meeting.connections.load(Ordering::SeqCst) >= enough).then_some(()));
        drop(over);
        let last: Vec<_> =
            clients.into_iter().map(|client| client.join().unwrap().expect("the last process took every client")).collect();
        // What was sent over a connection that was closed in peace comes out to its last line.
        process.until("the last lines are out", || {
            let lines = folder.lines("out/pass");
            let rows = rows_by_connection(&lines, seed);
            last.iter().all(|(connection, sent)| rows.get(connection).map_or(0, |rows| rows.len() as u64) == *sent).then_some(())
        });
        process.stop();
        last
    });
    let now = ["--set", "queries.pass.trigger=available_now", "--set", "queries.other.trigger=available_now"];
    let ended = folder.start_pipeline(&now).end();
    assert_eq!(ended.code, 0, "KILL_SEED={seed}: {ended:?}");

    let (pass, other) = (folder.lines("out/pass"), folder.lines("out/other"));
    assert!(pass == other, "KILL_SEED={seed}: {} / {}", difference(&pass, &other), difference(&other, &pass));
    let rows = rows_by_connection(&pass, seed);
    println!("{KILLS} kills, {} rows of {} connections, the last ones {last:?}, {:?}", pass.len(), rows.len(), started.elapsed());
    for (connection, rows) in &rows {
        let expected: BTreeMap<u64, usize> = (0..rows.len() as u64).map(|n| (n, 1)).collect();
        assert!(*rows == expected, "KILL_SEED={seed}: connection {connection} is no gap-free prefix: {rows:?}");
    }
    assert!(rows.len() > KILLS / 10, "KILL_SEED={seed}: only {} connections brought rows", rows.len());
}

/// Ends the clients when dropped.
struct Over<'a>(&'a Meeting);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }
}
