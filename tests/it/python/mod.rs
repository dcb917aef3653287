//! Functions in Python: the real binary, a real interpreter.
//!
//! `scripts/python-env` names the interpreter, and makes it once where there is none with pyarrow; `PYTHON` names another.

mod chunks;
mod failures;
mod session;
mod shapes;
mod types;
mod workers;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::binary::{Ended, Folder, Running};
use super::docs::{pipelines, programs};
use super::http_server::rows;

static INTERPRETER: LazyLock<String> = LazyLock::new(|| {
    let made = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/python-env")).output().unwrap();
    assert!(made.status.success(), "scripts/python-env: {}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
});

/// An interpreter with pyarrow.
pub(crate) fn interpreter() -> &'static str {
    &INTERPRETER
}

/// What every file of functions begins with: `tell` writes down what was seen.
const PRELUDE: &str = "\
import asyncio, datetime, decimal, json, logging, os, sys, time

def tell(**seen):
    with open('seen', 'a') as file:
        file.write(json.dumps(seen) + '\\n')

def first_time(name):
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False

";

/// Runs a pipeline over `rows` with functions in Python.
struct Fixture {
    folder: Folder,
}

impl Fixture {
    /// `functions` is what stands under `functions`, with `{python}` for `file` and `interpreter`; `code` is the file. The source `t`
    /// has the columns `schema`.
    fn new(functions: &str, code: &str, sql: &str, schema: &str, rows: &[Value]) -> Self {
        let python = format!("file: f.py, interpreter: {:?}", interpreter());
        let functions = functions.replace("{python}", &python);
        let folder = Folder::with(&format!(
            "name: p\ncheckpoint: checkpoint\nlimits: {{ calls_in_flight: 7 }}\nsources:\n  t:\n    from: {{ file: {{ path: in }} }}\n    \
             format: {{ json: {{ schema: {schema:?} }} }}\nfunctions:\n{functions}\nqueries:\n  q:\n    sql: {sql:?}\n    \
             trigger: available_now\n    to: {{ file: {{ path: out }}, format: json }}\n    dead_letter: {{ file: {{ path: bad }}, format: json }}\n"
        ));
        folder.write("f.py", format!("{PRELUDE}{code}"));
        folder.write("in/rows.json", rows.iter().map(|row| format!("{row}\n")).collect::<String>());
        Self { folder }
    }

    fn start_with(&self, level: &str) -> Running {
        self.folder.start(&["run", "pipeline.yaml", "--log-level", level, "--http", "127.0.0.1:0"])
    }

    fn start(&self) -> Running {
        self.start_with("info")
    }

    /// Runs it to its end, which must be a good one.
    fn run(&self) -> Ended {
        let ended = self.start().end();
        assert_eq!(ended.code, 0, "{ended:?}");
        ended
    }

    /// Runs it to its end, which must be a failure that says `why`, and nothing may have come out.
    fn fails(&self, why: &str) -> Ended {
        let ended = self.start().end();
        assert_ne!(ended.code, 0, "{ended:?}");
        assert!(ended.stderr.contains(why), "{why:?} is not in {ended:?}");
        assert_eq!(self.rows(), Vec::<Value>::new());
        ended
    }

    /// The rows that came out, in order.
    fn rows(&self) -> Vec<Value> {
        rows(&self.folder.path("out"))
    }

    fn dead_letters(&self) -> Vec<Value> {
        rows(&self.folder.path("bad"))
    }

    /// What the functions have told.
    fn seen(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path("seen")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// `n` from 0 on.
fn numbers(count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({ "n": n })).collect()
}

/// The values of a column.
fn column(rows: &[Value], name: &str) -> Vec<Value> {
    rows.iter().map(|row| row[name].clone()).collect()
}

#[test]
fn the_example_of_the_guide_runs() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/functions/python.md")).unwrap();
    let folder = Folder::with(pipelines(&page).next().unwrap());
    programs(&page).for_each(|(name, code)| folder.write(name, code));
    folder.write(
        "payments/1.json",
        "{\"user\": \"ann\", \"amount\": 75}\n{\"user\": \"bob\", \"amount\": 5}\n{\"user\": \"eve\"}\n",
    );
    let set = format!("functions.score.python.interpreter={}", interpreter());
    let ended = folder.start_pipeline(&["--set", &set]).end();
    assert_eq!(ended.code, 0, "{ended:?}");
    let table = "|user|score|band|\n+----+-----+----+\n| ann|  1.5|high|\n| bob|  0.1| low|\n";
    assert!(ended.stdout.contains(table), "{ended:?}");
}
