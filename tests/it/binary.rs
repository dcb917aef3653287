//! Runs the real binary in a folder of its own and waits, within a limit, for what it should do.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for anything: far beyond what a debug build on a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary: ours, or the one that `TIDEMILL_BINARY` names.
fn program() -> PathBuf {
    let named = std::env::var_os("TIDEMILL_BINARY").map(|path| Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_tidemill").into())
}

/// A temporary folder in which the binary runs.
pub(crate) struct Folder(TempDir);

/// How a process ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code, or 128 + the signal that ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// It ended with this code and said all of this.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, expected: &[&str]) {
        assert_eq!(self.code, code, "{self:#?}");
        for text in expected {
            assert!(self.stderr.contains(text), "expected {text:?}: {self:#?}");
        }
    }
}

/// The pipeline of `folder` ends by itself with this code and says all of this.
#[track_caller]
pub(crate) fn fails(folder: &Folder, code: i32, expected: &[&str]) {
    folder.start_pipeline(&[]).end().failed(code, expected);
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// An empty folder with `pipeline.yaml`.
    pub(crate) fn with(pipeline: &str) -> Self {
        let folder = Self::new();
        folder.write("pipeline.yaml", pipeline);
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, whole at once as far as a reader of the folder can see; folders are made as needed.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let begun = path.with_file_name("_begun.tmp");
        fs::write(&begun, text).unwrap();
        fs::rename(begun, path).unwrap();
    }

    /// The names of all files below, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        walk(self.0.path(), &mut |path| names.push(path.strip_prefix(self.0.path()).unwrap().display().to_string()));
        names.sort();
        names
    }

    /// All lines of the visible files below `folder` (not of those that begin with `_` or `.`), with how often each is there.
    pub(crate) fn lines(&self, folder: &str) -> BTreeMap<String, usize> {
        let mut lines = BTreeMap::new();
        walk(&self.path(folder), &mut |path| {
            for line in fs::read_to_string(path).unwrap().lines() {
                *lines.entry(line.to_owned()).or_default() += 1;
            }
        });
        lines
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).end()
    }

    /// `run pipeline.yaml` with a free port and these arguments.
    pub(crate) fn start_pipeline(&self, arguments: &[&str]) -> Running {
        self.start(&[&["run", "pipeline.yaml", "--http", "127.0.0.1:0"], arguments].concat())
    }

    /// Starts a command.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        self.start_with(arguments, &[])
    }

    /// Starts a command with these environment variables.
    pub(crate) fn start_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        let mut command = Command::new(program());
        command.args(arguments).envs(environment.iter().copied()).current_dir(self.0.path());
        Running::of(command)
    }

    /// Like [`Folder::start_pipeline`], by another program, to whose arguments the command's are added.
    pub(crate) fn start_pipeline_by(&self, starter: &[&str], arguments: &[&str]) -> Running {
        let mut command = Command::new(starter[0]);
        command.args(&starter[1..]).arg(program()).args(["run", "pipeline.yaml", "--http", "127.0.0.1:0"]).args(arguments);
        command.current_dir(self.0.path());
        Running::of(command)
    }
}

/// Calls `see` for every visible file below `folder`.
fn walk(folder: &Path, see: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        // A file may be moved away between being listed and being looked at: it is then seen under its new name or not at all.
        let Ok(entry) = entry else { continue };
        if entry.file_name().to_string_lossy().starts_with(['_', '.']) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), see),
            Ok(_) => see(&entry.path()),
            Err(_) => {}
        }
    }
}

/// The lines that a process has printed so far.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<(Mutex<Printed>, Condvar)>);

#[derive(Default)]
struct Printed {
    lines: Vec<String>,
    /// Nothing more will come.
    is_closed: bool,
}

impl Lines {
    fn follow(&self, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = self.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                lines.0.0.lock().unwrap().lines.push(text);
                lines.0.1.notify_all();
                line.clear();
            }
            lines.0.0.lock().unwrap().is_closed = true;
            lines.0.1.notify_all();
        })
    }

    /// All lines so far.
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().lines.clone()
    }

    fn text(&self) -> String {
        self.all().iter().map(|line| format!("{line}\n")).collect()
    }

    /// Waits for `find` to find something in the lines; `None` after [`PATIENCE`] or when no more lines come.
    fn wait<T>(&self, find: impl Fn(&[String]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut printed = self.0.0.lock().unwrap();
        loop {
            let found = find(&printed.lines);
            if found.is_some() || printed.is_closed {
                return found;
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            printed = self.0.1.wait_timeout(printed, left).unwrap().0;
        }
    }
}

/// A process of ours; it is killed when the test ends before it.
pub(crate) struct Running {
    child: Child,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts any command without input.
    pub(crate) fn of(mut command: Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let readers = vec![stdout.follow(child.stdout.take().unwrap()), stderr.follow(child.stderr.take().unwrap())];
        Self { child, stdout, stderr, readers }
    }

    /// Waits for a line on standard output that holds `text`.
    pub(crate) fn prints(&self, text: &str) -> String {
        self.wait_for(&self.stdout, text)
    }

    /// Waits for a line on standard error that holds `text`.
    pub(crate) fn says(&self, text: &str) -> String {
        self.wait_for(&self.stderr, text)
    }

    fn wait_for(&self, lines: &Lines, text: &str) -> String {
        let found = lines.wait(|lines| lines.iter().find(|line| line.contains(text)).cloned());
        found.unwrap_or_else(|| panic!("no line with {text:?} came; {}", self.so_far()))
    }

    /// Waits until `done` answers something; it is asked again and again.
    pub(crate) fn until<T>(&self, what: &str, mut done: impl FnMut() -> Option<T>) -> T {
        until(done_or(what, || self.so_far()), &mut done)
    }

    /// What the process has printed so far, for messages.
    pub(crate) fn so_far(&self) -> String {
        format!("standard output:\n{}standard error:\n{}", self.stdout.text(), self.stderr.text())
    }

    /// Where it serves `/metrics`.
    pub(crate) fn http(&self) -> SocketAddr {
        address_in(&self.says("metrics at http://"), "http://")
    }

    /// Where its socket source listens.
    pub(crate) fn listening(&self) -> SocketAddr {
        address_in(&self.says("listening"), "address")
    }

    /// The same of one source among several.
    pub(crate) fn listening_for(&self, source: &str) -> SocketAddr {
        address_in(&self.says(&format!("listening source=\"{source}\"")), "address")
    }

    /// A connection to the socket source.
    pub(crate) fn client(&self) -> TcpStream {
        TcpStream::connect(self.listening()).unwrap()
    }

    /// Answers a GET: status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(self.http(), path)
    }

    /// The JSON that a GET answers.
    pub(crate) fn get_json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// A query's state (`running`, …) as `/queries/{name}` tells it.
    pub(crate) fn state_of(&self, query: &str) -> String {
        self.get_json(&format!("/queries/{query}"))["status"]["state"].as_str().unwrap().to_owned()
    }

    /// Waits until a query is in that state.
    pub(crate) fn becomes(&self, query: &str, state: &str) {
        self.until(&format!("{query} is {state}"), || (self.state_of(query) == state).then_some(()));
    }

    /// Whether the query of [`grinding`] is in its batch.
    pub(crate) fn grinds(&self) -> bool {
        self.get_json("/queries/heavy")["status"]["message"] == "Processing new data"
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub(crate) fn end(self) -> Ended {
        self.end_within(PATIENCE)
    }

    /// Waits so long for the end of much work.
    pub(crate) fn end_within(mut self, patience: Duration) -> Ended {
        let so_far = format!("{:?}", self.child);
        let in_vain = done_or("the process ends", || so_far.clone());
        let status = until_within(patience, in_vain, &mut || self.child.try_wait().unwrap());
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap();
        Ended { code, stdout: self.stdout.text(), stderr: self.stderr.text() }
    }

    /// SIGTERM, then its end, which must be clean.
    pub(crate) fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        let ended = self.end();
        assert_eq!(ended.code, 0, "{ended:?}");
        ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn done_or<'a>(what: &'a str, so_far: impl Fn() -> String + 'a) -> impl Fn() -> String + 'a {
    move || format!("waited in vain until {what}; {}", so_far())
}

pub(crate) fn until<T>(in_vain: impl Fn() -> String, done: &mut dyn FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, in_vain, done)
}

fn until_within<T>(patience: Duration, in_vain: impl Fn() -> String, done: &mut dyn FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(Instant::now() < deadline, "{}", in_vain());
        pause(Duration::from_millis(5));
    }
}

/// Lets time pass: between two looks at a condition, or up to a moment drawn by a seed.
pub(crate) fn pause(time: Duration) {
    let (_keep, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}

/// The `host:port` that follows `before` in a log line, whatever the log's format.
fn address_in(line: &str, before: &str) -> SocketAddr {
    let rest = &line[line.find(before).unwrap() + before.len()..];
    let digits = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(digits.len());
    digits[..end].parse().unwrap_or_else(|_| panic!("no address in {line:?}"))
}

/// Answers a GET of `address`: status and body.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path} answers {answer:?}"));
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Sends a request as it is and reads the answer: status and text.
pub(crate) fn send(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    answer(&mut stream)
}

/// Reads an answer to the end of its connection; status 0 is none.
pub(crate) fn answer(stream: &mut TcpStream) -> (u16, String) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        // A connection that is closed with something unread is reset; what came before counts.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, text)
}

/// One batch that grinds for minutes: every row beside every row of a table.
pub(crate) const HEAVY: &str = r#"
version: 1
name: heavy
checkpoint: checkpoint
sources:
  rows:
    from: { file: { path: in } }
    format: { json: { schema: "v BIGINT" } }
tables:
  other: { from: { file: { path: other.json } }, format: { json: { schema: "w BIGINT" } } }
queries:
  heavy:
    sql: SELECT v, w FROM rows JOIN other ON v * w % 7 > 8
    trigger: available_now
    to: { file: { path: out }, format: json }
"#;

/// `HEAVY` in the middle of its batch.
pub(crate) fn grinding() -> (Folder, Running) {
    let folder = Folder::with(HEAVY);
    let lines = |name: &str| (0..30_000).map(|n| format!("{{\"{name}\":{n}}}\n")).collect::<String>();
    folder.write("in/rows.json", lines("v"));
    folder.write("other.json", lines("w"));
    let running = folder.start_pipeline(&[]);
    running.says("query started");
    running.until("the batch runs", || running.grinds().then_some(()));
    (folder, running)
}
