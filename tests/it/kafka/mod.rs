//! The engine against a real Kafka broker, which `scripts/kafka` starts, and Kafka's own client on the other side.
//!
//! One broker serves all tests of a run. It ends when this process does, however that ends: it watches a pipe that we hold open.
//! `KAFKA_BOOTSTRAP` names another broker to be used instead, except by tests that end it or need its secured ports.

mod faults;
mod losses;
mod producer;
mod proof;
mod proxy;
mod script;
mod sink;
mod sink_faults;
mod source;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};

use serde_json::Value;

use super::binary::{Ended, Folder};
use proxy::Proxy;

/// A broker and a client of Kafka's own.
pub(crate) struct Broker {
    /// `host:port` of its listener without security; the next but one and the one after are SASL and TLS.
    pub(crate) address: String,
    data: PathBuf,
    driver: Mutex<Driver>,
    _serving: Option<Serving>,
}

/// `scripts/kafka serve`, which ends the broker and deletes its data when its standard input ends.
struct Serving {
    child: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

struct Driver {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    child: Child,
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka"))
}

fn serve(arguments: &[&str]) -> Serving {
    let folder = tempfile::TempDir::new().unwrap();
    let mut command = script();
    command.args(["serve", "--port", "0", "--data"]).arg(folder.path()).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut address = String::new();
    // The script waits for the broker within a limit, and says nothing if it does not start.
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
    assert!(!address.is_empty(), "scripts/kafka could not start a broker; try it: scripts/kafka start --port 0");
    Serving { child, address: address.trim().to_owned(), folder }
}

static SHARED: LazyLock<Broker> = LazyLock::new(|| match std::env::var("KAFKA_BOOTSTRAP") {
    Ok(address) => Broker { driver: Driver::start(&address), address, data: PathBuf::new(), _serving: None },
    Err(_) => Broker::serving(&[]),
});
static SECURED: LazyLock<Broker> = LazyLock::new(|| Broker::serving(&["--secure"]));

static NAMES: AtomicU32 = AtomicU32::new(0);

impl Broker {
    /// The broker of all tests that leave it alone.
    pub(crate) fn shared() -> &'static Self {
        if std::env::var_os("KAFKA_BOOTSTRAP").is_some() { &SHARED } else { &SECURED }
    }

    /// One with secured listeners.
    pub(crate) fn secured() -> &'static Self {
        &SECURED
    }

    /// One that the test may end.
    pub(crate) fn own() -> Self {
        Self::serving(&[])
    }

    /// One that clients reach through `proxy`, at its port.
    pub(crate) fn behind(proxy: &Proxy) -> Self {
        let broker = Self::serving(&["--proxy", &proxy.port.to_string()]);
        proxy.to(broker.port(2));
        broker
    }

    fn serving(options: &[&str]) -> Self {
        let serving = serve(options);
        let (address, data) = (serving.address.clone(), serving.folder.path().to_owned());
        Self { driver: Driver::start(&address), address, data, _serving: Some(serving) }
    }

    /// Ends the broker at once.
    pub(crate) fn kill(&self) {
        control(&self.data, "kill");
    }

    /// Starts it again.
    pub(crate) fn start(&self) {
        control(&self.data, "start");
    }

    /// A second broker in the same cluster.
    pub(crate) fn second(&self) -> Second {
        let (_, port) = self.address.rsplit_once(':').unwrap();
        Second(serve(&["--join", port]))
    }

    /// The address of another of its listeners.
    pub(crate) fn port(&self, distance: u16) -> String {
        let (host, port) = self.address.rsplit_once(':').unwrap();
        format!("{host}:{}", port.parse::<u16>().unwrap() + distance)
    }

    /// A file of the broker's.
    pub(crate) fn file(&self, name: &str) -> String {
        self.data.join(name).display().to_string()
    }

    /// Runs a command of `Driver.java`; its answer.
    pub(crate) fn tell(&self, words: &[&str]) -> String {
        self.driver.lock().unwrap_or_else(std::sync::PoisonError::into_inner).tell(words)
    }

    /// A new topic, whose name no other test has.
    pub(crate) fn topic(&self, partitions: u32) -> String {
        let name = format!("t{}-{}", std::process::id(), NAMES.fetch_add(1, Ordering::Relaxed));
        self.tell(&["create", &name, &partitions.to_string()]);
        name
    }

    /// A topic with rows `{"id":0}`, `{"id":1}`, …, one after the other into each partition.
    pub(crate) fn filled(&self, partitions: u32, rows: u32) -> String {
        let topic = self.topic(partitions);
        self.fill(&topic, partitions, 0, rows);
        topic
    }

    /// `rows` more, from this id.
    pub(crate) fn fill(&self, topic: &str, partitions: u32, first: u32, rows: u32) {
        self.tell(&["fill", topic, &partitions.to_string(), &rows.to_string(), &first.to_string()]);
    }

    /// Every message of a topic that a consumer of committed ones sees, as `partition|key|value|headers`.
    pub(crate) fn read(&self, topic: &str) -> Vec<String> {
        let answer = self.tell(&["read", topic]);
        answer.split('\t').filter(|message| !message.is_empty()).map(str::to_owned).collect()
    }

    /// Sends one message; its offset.
    pub(crate) fn send(&self, topic: &str, partition: u32, key: &str, value: &str) -> String {
        self.tell(&["send", "-", topic, &partition.to_string(), "-", key, value])
    }
}

/// A broker that joined another's cluster.
pub(crate) struct Second(Serving);

impl Second {
    /// Ends it at once.
    pub(crate) fn kill(&self) {
        control(self.0.folder.path(), "kill");
    }

    /// Starts it again.
    pub(crate) fn start(&self) {
        control(self.0.folder.path(), "start");
    }
}

fn control(data: &Path, command: &str) {
    let status = script().args([command, "--data"]).arg(data).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.unwrap().success(), "scripts/kafka {command}");
}

impl Driver {
    fn start(address: &str) -> Mutex<Self> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/kafka/Driver.java");
        let mut command = script();
        command.arg("run").arg(file).arg(address);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut driver = Self { to, from, child };
        assert_eq!(driver.answer(), "ready");
        Mutex::new(driver)
    }

    fn tell(&mut self, words: &[&str]) -> String {
        writeln!(self.to, "{}", words.join("\t")).unwrap();
        let answer = self.answer();
        assert!(!answer.starts_with("error"), "{words:?}: {answer}");
        answer
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        let line = line.trim_end_matches('\n');
        line.strip_prefix("ok ").map_or_else(|| format!("error {line}"), str::to_owned)
    }
}

/// A pipeline whose one query prints batches as JSON. `from` is the source's connector and what stands beside it, `sql` reads `t`.
pub(crate) fn printing(from: &str, sql: &str, more: &str) -> Folder {
    Folder::with(&format!(
        "version: 1\nname: kafka\ncheckpoint: checkpoint\nsources:\n  t:\n    {from}\nqueries:\n  q:\n    sql: {sql}\n    to: {{ console: {{}}, \
         format: json }}\n    {more}\n"
    ))
}

/// Runs a pipeline that ends by itself, well.
#[track_caller]
pub(crate) fn run(folder: &Folder) -> Ended {
    let ended = folder.start_pipeline(&[]).end();
    assert_eq!(ended.code, 0, "{ended:#?}");
    ended
}

/// The rows of each batch that was printed.
pub(crate) fn batches(stdout: &str) -> Vec<Vec<Value>> {
    let batches = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    batches.map(|batch| batch["rows"].as_array().unwrap().clone()).collect()
}

/// The numbers `id` of all rows that were printed, sorted.
pub(crate) fn ids(stdout: &str) -> Vec<u64> {
    let mut ids: Vec<u64> = batches(stdout).into_iter().flatten().map(|row| row["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    ids
}
