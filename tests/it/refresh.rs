//! Static tables whose files change while a query runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidemill::checkpoint::BatchId;
use tidemill::engine::start::{Process, Resources};
use tidemill::engine::{Step, StopAfter};
use tidemill::metrics::Metrics;
use tidemill::pipeline::{self, CsvSpec, FormatSpec};
use tidemill::session::{MemoryInput, MemoryOutput, OutputMode, Refresh, Session, StreamingQuery};
use tidemill::source::memory::MemoryStream;

use crate::values;

/// A query over the stream `events(k)` and the table `users(name, city)`, whose file the test replaces between two batches.
struct Fixture {
    folder: TempDir,
    session: Session,
    stream: MemoryStream,
    query: StreamingQuery,
    rows: u64,
}

fn write_users(folder: &Path, users: &str) {
    // As the guide says: written beside, then put in its place.
    let lines: String = users.split(", ").filter(|user| !user.is_empty()).map(|user| user.replace(' ', ",") + "\n").collect();
    fs::write(folder.join("users.csv.tmp"), lines).unwrap();
    fs::rename(folder.join("users.csv.tmp"), folder.join("users.csv")).unwrap();
}

fn users(folder: &Path) -> (PathBuf, FormatSpec) {
    let field = |name| Field::new(name, DataType::Utf8, true);
    let schema = Arc::new(Schema::new(vec![field("name"), field("city")]));
    (folder.join("users.csv"), FormatSpec::Csv { schema, csv: CsvSpec::default() })
}

impl Fixture {
    async fn new(sql: &str, mode: OutputMode, users_at_start: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_users(folder.path(), users_at_start);
        let session = Session::builder().build().unwrap();
        let stream = MemoryStream::new();
        let schema = Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, true)]));
        session.read_stream("events").from(MemoryInput { stream: stream.clone(), schema }).load().unwrap();
        let (path, format) = users(folder.path());
        session.read_table_with("users", path, format, Refresh::WhenChanged).unwrap();
        let query = session.sql(sql).write_stream("q").output_mode(mode).to(MemoryOutput).start().await.unwrap();
        Self { folder, session, stream, query, rows: 0 }
    }

    /// One batch of `keys`; all rows put out so far.
    async fn batch(&mut self, keys: &[&str]) -> Vec<Value> {
        let column: ArrayRef = Arc::new(StringArray::from(keys.to_vec()));
        self.stream.push_rows(RecordBatch::try_from_iter_with_nullable([("k", column, true)]).unwrap());
        self.rows += keys.len() as u64;
        let started = Instant::now();
        while self.query.recent_progress().iter().map(|progress| progress.num_input_rows).sum::<u64>() < self.rows {
            assert!(started.elapsed() < Duration::from_secs(60), "{:?}", self.query.status());
            tokio::task::yield_now().await;
        }
        values::rows(&self.query.table().unwrap().rows())
    }

    fn series(&self, name: &str) -> Option<f64> {
        let text = self.session.metrics().render().unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }
}

/// Puts `users` into the table before each batch of the key `a`; the rows that each batch adds.
async fn check(sql: &str, mode: OutputMode, versions: &[&str], expected: &[Value]) {
    let mut fixture = Fixture::new(sql, mode, versions[0]).await;
    let (mut seen, mut added) = (0, Vec::new());
    for users in versions {
        write_users(fixture.folder.path(), users);
        let rows = fixture.batch(&["a"]).await;
        added.push(Value::Array(rows[seen..].to_vec()));
        seen = rows.len();
    }
    assert_eq!(added, expected, "{sql}");
}

const VERSIONS: [&str; 4] = ["a Oslo", "a Rome, b Oslo", "b Oslo", "a Rome, a Bari"];

#[tokio::test(flavor = "multi_thread")]
async fn a_join_sees_the_rows_of_now() {
    let each = [json!([["a", "Oslo"]]), json!([["a", "Rome"]]), json!([]), json!([["a", "Rome"], ["a", "Bari"]])];
    check("SELECT k, city FROM events JOIN users ON k = name", OutputMode::Append, &VERSIONS, &each).await;
    let left = [each[0].clone(), each[1].clone(), json!([["a", null]]), each[3].clone()];
    check("SELECT k, city FROM events LEFT JOIN users ON k = name", OutputMode::Append, &VERSIONS, &left).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn semi_and_anti_joins_see_the_rows_of_now() {
    let (has, none) = (json!([["a"]]), json!([]));
    let semi = [has.clone(), has.clone(), none.clone(), has.clone()];
    check("SELECT k FROM events WHERE k IN (SELECT name FROM users)", OutputMode::Append, &VERSIONS, &semi).await;
    let anti = [none.clone(), none.clone(), has, none];
    check("SELECT k FROM events LEFT ANTI JOIN users ON k = name", OutputMode::Append, &VERSIONS, &anti).await;
    check("SELECT k FROM events WHERE k NOT IN (SELECT name FROM users)", OutputMode::Append, &VERSIONS, &anti).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scalar_subquery_sees_the_rows_of_now() {
    let counts = [json!([["a", 1]]), json!([["a", 2]]), json!([["a", 1]]), json!([["a", 2]])];
    check("SELECT k, (SELECT count(*) FROM users) AS n FROM events", OutputMode::Append, &VERSIONS, &counts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_named_twice_is_the_same_in_one_batch() {
    let sql =
        "SELECT k, one.city, other.name FROM events JOIN users one ON k = one.name JOIN users other ON one.city = other.city";
    let each =
        [json!([["a", "Oslo", "a"]]), json!([["a", "Rome", "a"]]), json!([]), json!([["a", "Rome", "a"], ["a", "Bari", "a"]])];
    check(sql, OutputMode::Append, &VERSIONS, &each).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_keeps_what_earlier_rows_of_the_table_made_of_it() {
    let sql = "SELECT city, count(*) AS n FROM events JOIN users ON k = name GROUP BY city";
    let each = [json!([["Oslo", 1]]), json!([["Rome", 1]]), json!([]), json!([["Rome", 2], ["Bari", 1]])];
    check(sql, OutputMode::Update, &VERSIONS, &each).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_not_right_leave_the_rows_and_the_query_as_they_were() {
    let mut fixture = Fixture::new("SELECT city FROM events JOIN users ON k = name", OutputMode::Append, "a Oslo").await;
    let file = fixture.folder.path().join("users.csv");
    fixture.batch(&["a"]).await;
    fs::write(&file, "a,Rome\nb").unwrap();
    fixture.batch(&["a"]).await;
    assert_eq!(fixture.series("tidemill_table_refresh_failures_total"), Some(1.0), "a file that breaks off");
    fixture.batch(&["a"]).await;
    assert_eq!(fixture.series("tidemill_table_refresh_failures_total"), Some(1.0), "it is not read for every batch");
    fs::remove_file(&file).unwrap();
    fixture.batch(&["a"]).await;
    assert_eq!(fixture.series("tidemill_table_refresh_failures_total"), Some(2.0), "no file at all");
    assert_eq!(fixture.series("tidemill_table_refreshes_total"), Some(0.0));
    fs::write(&file, "a,Bari\n").unwrap();
    let rows = fixture.batch(&["a"]).await;
    assert_eq!(rows, [["Oslo"], ["Oslo"], ["Oslo"], ["Oslo"], ["Bari"]].map(|row| json!(row)));
    assert_eq!(fixture.series("tidemill_table_refreshes_total"), Some(1.0));
    // Whoever writes over a file empties it first.
    fs::write(&file, "").unwrap();
    assert_eq!(fixture.batch(&["a"]).await.len(), 6);
    assert_eq!(fixture.batch(&["a"]).await.len(), 6, "but a file that stays empty has no rows");
}

#[test]
fn a_batch_that_is_decided_keeps_its_rows_and_one_that_is_only_planned_sees_new_ones() {
    for (step, expected) in [(Step::Planned, "Rome"), (Step::Prepared, "Oslo")] {
        let folder = tempfile::tempdir().unwrap();
        write_users(folder.path(), "a Oslo");
        fs::create_dir(folder.path().join("in")).unwrap();
        fs::write(folder.path().join("in/1"), "a\n").unwrap();
        let text = "checkpoint: checkpoint\nsources: { events: { from: { file: { path: in } } } }\n\
                    tables:\n  users:\n    from: { file: { path: users.csv } }\n    refresh: when_changed\n    \
                    format: { csv: { schema: \"name STRING, city STRING\" } }\n\
                    queries:\n  q:\n    sql: SELECT city FROM events JOIN users ON value = name\n    trigger: available_now\n    \
                    to: { file: { path: out }, format: json }\n";
        fs::write(folder.path().join("pipeline.yaml"), text).unwrap();
        let run = |stop_after| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let pipeline = pipeline::load(&folder.path().join("pipeline.yaml"), &[]).unwrap();
            let resources = Resources { stop_after, ..Resources::new(runtime.handle().clone(), Metrics::new().unwrap()) };
            runtime.block_on(async { Process::start(pipeline, resources).await.unwrap().wait(Duration::from_secs(60)).await })
        };
        run(StopAfter::when(move |batch, after| batch == BatchId(0) && after == step)).unwrap_err();
        write_users(folder.path(), "a Rome");
        run(StopAfter::default()).unwrap();
        let files = fs::read_dir(folder.path().join("out")).unwrap().map(|entry| entry.unwrap().path());
        let rows: String =
            files.filter(|path| path.extension().is_some()).map(|path| fs::read_to_string(path).unwrap()).collect();
        assert_eq!(rows.trim(), format!("{{\"city\":\"{expected}\"}}"), "after {step}");
    }
}
