//! The engine against real Redis servers, which `scripts/redis` starts.
//!
//! One server is shared by the tests that leave it alone, each with keys of its own. A server ends when this process does, however that ends:
//! it watches a pipe that we hold open. `REDIS_URL` (`redis://host:port`) names another one to be shared.

mod faults;
mod functions;
mod protocol;
mod proxy;
mod session;
mod sink;
mod space;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use ::redis::{Client, Commands, Connection, FromRedisValue, Value};

use super::binary::{self, Folder};

/// A server.
pub(crate) struct Server {
    /// `host:port`.
    pub(crate) address: String,
    data: PathBuf,
    password: Option<&'static str>,
    _serving: Option<Serving>,
}

/// `scripts/redis serve`, which ends the server and deletes its data when its standard input ends.
struct Serving {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/redis"))
}

static SHARED: LazyLock<Server> = LazyLock::new(|| match std::env::var("REDIS_URL") {
    Ok(url) => {
        let address = url.trim_start_matches("redis://").trim_end_matches('/').to_owned();
        Server { address, data: PathBuf::new(), password: None, _serving: None }
    }
    Err(_) => Server::own(&[]),
});

static NAMES: AtomicU32 = AtomicU32::new(0);

/// A beginning of keys that no other test has.
pub(crate) fn prefix() -> String {
    format!("t{}-{}", std::process::id(), NAMES.fetch_add(1, Ordering::Relaxed))
}

impl Server {
    /// The server of all tests that leave it alone.
    pub(crate) fn shared() -> &'static Self {
        &SHARED
    }

    /// One that the test may end, started with these options of the script.
    pub(crate) fn own(options: &[&str]) -> Self {
        let folder = tempfile::TempDir::new().unwrap();
        let mut command = script();
        command.args(["serve", "--port", "0", "--data"]).arg(folder.path()).args(options);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut address = String::new();
        // The script waits for the server within a limit, and says nothing if it does not start.
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(!address.is_empty(), "scripts/redis could not start a server; try it: scripts/redis start --port 0");
        let password = options.contains(&"--secure").then_some("secret");
        let data = folder.path().to_owned();
        Self { address: address.trim().to_owned(), data, password, _serving: Some(Serving { child, _folder: folder }) }
    }

    /// Its port, and the ones after it.
    pub(crate) fn port(&self, distance: u16) -> u16 {
        self.address.rsplit_once(':').unwrap().1.parse::<u16>().unwrap() + distance
    }

    /// A file of the server's.
    pub(crate) fn file(&self, name: &str) -> String {
        self.data.join(name).display().to_string()
    }

    /// Ends it at once.
    pub(crate) fn kill(&self) {
        self.control("kill");
    }

    /// Starts it again.
    pub(crate) fn start(&self) {
        self.control("start");
    }

    fn control(&self, command: &str) {
        let status = script().args([command, "--data"]).arg(&self.data).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.unwrap().success(), "scripts/redis {command}");
    }

    /// A connection of a client of its own.
    pub(crate) fn client(&self) -> Connection {
        let password = self.password.map(|password| format!(":{password}@")).unwrap_or_default();
        Client::open(format!("redis://{password}{}", self.address)).unwrap().get_connection().unwrap()
    }

    /// What one command is answered.
    pub(crate) fn tell<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = ::redis::Cmd::new();
        words.iter().for_each(|word| {
            command.arg(word);
        });
        command.query(&mut self.client()).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Puts strings under keys.
    pub(crate) fn set(&self, pairs: &[(&str, &str)]) {
        let _: Value = self.client().mset(pairs).unwrap();
    }
}

/// Waits until `done` answers something; it is asked again and again.
pub(crate) fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    binary::until(|| format!("waited in vain for {what}"), &mut done)
}

/// A pipeline of files with rows of JSON, whose one query prints batches as JSON; `functions` and `sql` are the test's.
pub(crate) fn printing(server: &Server, schema: &str, functions: &str, sql: &str, more: &str) -> Folder {
    Folder::with(&format!(
        "version: 1\nname: redis\ncheckpoint: checkpoint\nsources:\n  t:\n    from: {{ file: {{ path: in/*.json, max_files_per_trigger: 1 }} }}\n    \
         format: {{ json: {{ schema: \"{schema}\" }} }}\nconnections:\n  store: {{ redis: {{ address: \"{}\" }} }}\nfunctions:\n{functions}\
         queries:\n  q:\n    sql: {sql}\n    trigger: available_now\n    to: {{ console: {{}}, format: json }}\n{more}",
        server.address
    ))
}
