//! An HTTP server of the test, which counts what the real binary asks it; and the rows that come of it.

use std::fs;
use std::ops::Deref;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::binary::{Ended, Folder, PATIENCE, Running, pause};

#[allow(dead_code, reason = "the tests beside the code need more of it")]
#[path = "../../src/function/http/tests/server.rs"]
mod server;
#[path = "../../src/function/http/tests/secured.rs"]
mod secured;

pub(crate) use secured::certificates;
pub(crate) use server::{Reply, Seen, Server, reply, with};

/// A server on threads of its own.
pub(crate) struct HttpServer {
    server: Server,
    _runtime: Runtime,
}

impl HttpServer {
    /// A server that answers by `handler`.
    pub(crate) fn start<F>(handler: impl Fn(Seen) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let runtime = runtime();
        Self { server: runtime.block_on(Server::start(handler)), _runtime: runtime }
    }

    /// A server that takes clients with a certificate only; `folder` has it all.
    pub(crate) fn secured<F>(folder: &Path, handler: impl Fn(Seen) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let runtime = runtime();
        Self { server: runtime.block_on(secured::secured_server(folder, handler)), _runtime: runtime }
    }

    /// Waits until so many requests are in flight.
    pub(crate) fn has_in_flight(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.server.in_flight() < count {
            assert!(Instant::now() < deadline, "{} of {count} requests are in flight", self.server.in_flight());
            pause(Duration::from_millis(5));
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

impl Deref for HttpServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// Runs a pipeline over `rows` with one HTTP function, and a server that it calls.
pub(crate) struct Fixture {
    pub(crate) folder: Folder,
    pub(crate) server: HttpServer,
}

impl Fixture {
    /// `function` is what stands under `functions`, `{server}` in it the address of the server.
    pub(crate) fn new<F>(function: &str, sql: &str, rows: &[Value], answer: impl Fn(Seen) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        Self::asking(HttpServer::start(answer), function, sql, rows)
    }

    /// The same with a server that is there.
    pub(crate) fn asking(server: HttpServer, function: &str, sql: &str, rows: &[Value]) -> Self {
        let function = function.replace("{server}", &server.address.to_string());
        let folder = Folder::with(&format!(
            "name: api\ncheckpoint: checkpoint\nsources:\n  t:\n    from: {{ file: {{ path: in }} }}\n    \
             format: {{ json: {{ schema: \"n BIGINT, user STRING\" }} }}\nfunctions:\n{function}\nqueries:\n  q:\n    sql: {sql:?}\n    \
             trigger: available_now\n    to: {{ file: {{ path: out }}, format: json }}\n    dead_letter: {{ file: {{ path: bad }}, format: json }}\n"
        ));
        folder.write("in/rows.json", rows.iter().map(|row| format!("{row}\n")).collect::<String>());
        Self { folder, server }
    }

    pub(crate) fn run(&self, environment: &[(&str, &str)]) -> Ended {
        self.start(environment).end()
    }

    pub(crate) fn start(&self, environment: &[(&str, &str)]) -> Running {
        self.folder.start_with(&["run", "pipeline.yaml", "--log-level", "trace", "--http", "127.0.0.1:0"], environment)
    }

    /// The rows that came out, in order.
    pub(crate) fn rows(&self) -> Vec<Value> {
        rows(&self.folder.path("out"))
    }

    pub(crate) fn dead_letters(&self) -> Vec<Value> {
        rows(&self.folder.path("bad"))
    }
}

pub(crate) fn users(count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({ "n": n, "user": format!("u{n}") })).collect()
}

pub(crate) const LOCAL: &str = "allow_addresses: 127.0.0.1";

/// The rows of the JSON files of a folder, in the order of the commits.
pub(crate) fn rows(folder: &Path) -> Vec<Value> {
    files(folder).into_iter().flatten().collect()
}

/// The same by file.
pub(crate) fn files(folder: &Path) -> Vec<Vec<Value>> {
    let mut files: Vec<_> = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    // `part-<nth of the commit>-<query and sink>-<commit>`.
    files.sort_by_key(|path| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let (part, commit) = name.rsplit_once('-').map(|(part, commit)| (part.to_owned(), commit.to_owned())).unwrap();
        (commit, part)
    });
    let read = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    files.iter().map(read).collect()
}
