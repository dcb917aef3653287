//! An HTTP server of the test, which counts what the real binary asks it; and the rows that come of it.

use std::fs;
use std::ops::Deref;
use std::path::Path;

use serde_json::Value;
use tokio::runtime::Runtime;

#[allow(dead_code, reason = "the tests beside the code need more of it")]
#[path = "../../src/function/http/tests/server.rs"]
mod server;

pub(crate) use server::{Reply, Seen, Server, reply, with};

/// A server on threads of its own.
pub(crate) struct HttpServer {
    server: Server,
    runtime: Runtime,
}

impl HttpServer {
    /// A server that answers by `handler`.
    pub(crate) fn start<F>(handler: impl Fn(Seen) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = runtime.block_on(Server::start(handler));
        Self { server, runtime }
    }

    /// Waits until so many requests are in flight.
    pub(crate) fn has_in_flight(&self, count: usize) {
        self.runtime.block_on(self.server.until_in_flight(count));
    }
}

impl Deref for HttpServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

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
