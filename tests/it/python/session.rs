//! Functions in Python through the Rust API.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::Int64Array;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidemill::ErrorKind;
use tidemill::function::python::PythonSettings;
use tidemill::function::{CallSettings, Returns, Signature};
use tidemill::pipeline::FilePath;
use tidemill::session::{MemoryInput, MemoryOutput, Session, StreamingQuery, Trigger};
use tidemill::source::memory::MemoryStream;

use super::workers::is_gone;
use super::{PRELUDE, interpreter};
use crate::values;

/// A session with a stream `t` of `n` and a function `f` from `n` to a number.
struct Fixture {
    folder: TempDir,
    session: Session,
    stream: MemoryStream,
    schema: Arc<Schema>,
}

impl Fixture {
    fn new(code: &str, calls: CallSettings) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("f.py");
        std::fs::write(&file, format!("{PRELUDE}import os\nos.chdir(os.path.dirname(__file__))\n{code}")).unwrap();
        let session = Session::builder().build().unwrap();
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let stream = MemoryStream::new();
        session.read_stream("t").from(MemoryInput { stream: stream.clone(), schema: schema.clone() }).load().unwrap();
        let signature =
            Signature { name: "f".to_owned(), args: schema.fields().clone(), returns: Returns::Value(DataType::Int64) };
        let mut settings = PythonSettings::new(file);
        settings.interpreter = FilePath::plain(interpreter());
        let f = settings.build(&signature, &calls).unwrap();
        session.register_function(signature, f, calls).unwrap();
        Self { folder, session, stream, schema }
    }

    fn push(&self, numbers: std::ops::Range<i64>) {
        let column = Arc::new(Int64Array::from_iter_values(numbers));
        self.stream.push_rows(RecordBatch::try_new(self.schema.clone(), vec![column]).unwrap());
    }

    async fn start(&self, name: &str) -> StreamingQuery {
        let sql = self.session.sql("SELECT f(n) AS m FROM t");
        sql.write_stream(name).trigger(Trigger::AvailableNow).to(MemoryOutput).start().await.unwrap()
    }

    fn seen(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("seen")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn until(&self, what: &str, done: impl Fn() -> bool) {
        let started = Instant::now();
        while !done() {
            assert!(started.elapsed() < Duration::from_secs(60), "waited in vain until {what}: {:?}", self.seen());
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_share_a_worker_which_ends_with_the_session() {
    let code = "
async def f(context, values):
    tell(query=context.query, pid=context.pid)
    for value in values:
        yield value * 10
";
    let fixture = Fixture::new(code, CallSettings::default());
    for name in ["one", "two"] {
        fixture.push(0..3);
        let query = fixture.start(name).await;
        let table = query.table().unwrap().clone();
        query.await_termination().await.unwrap();
        assert_eq!(values::rows(&table.rows()), [json!([0]), json!([10]), json!([20])]);
    }
    let [one, two] = &fixture.seen()[..] else { panic!("{:?}", fixture.seen()) };
    assert_eq!((&one["query"], &two["query"], &one["pid"]), (&json!("one"), &json!("two"), &two["pid"]));
    let pid = rustix::process::Pid::from_raw(one["pid"].as_i64().unwrap() as i32).unwrap();
    assert!(!is_gone(pid));
    let Fixture { folder, session, stream, schema } = fixture;
    session.close().await.unwrap();
    drop(stream);
    let left = Fixture { folder, session: Session::builder().build().unwrap(), stream: MemoryStream::new(), schema };
    left.until("the worker is gone", || is_gone(pid)).await;
}

/// The third row fails while the others wait: those are cancelled in Python too.
#[tokio::test(flavor = "multi_thread")]
async fn s0_12_the_siblings_of_a_call_that_fails_are_cancelled() {
    let code = "
others = 0

async def f(context, values):
    global others
    if values[0] == 2:
        while others < 5:
            await asyncio.sleep(0.001)
        raise ValueError('no such row')
    others += 1
    try:
        await asyncio.Event().wait()
    finally:
        tell(cancelled=values[0])
    yield 1
";
    let calls = CallSettings { chunk_size: 1, timeout: Duration::from_secs(60), ..CallSettings::default() };
    let fixture = Fixture::new(code, calls);
    fixture.push(0..6);
    let query = fixture.start("q").await;
    let table = query.table().unwrap().clone();
    let error = query.await_termination().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.chain().contains("for row 3 (attempts: 1): ValueError: no such row"), "{}", error.chain());
    assert!(table.rows().iter().all(|rows| rows.num_rows() == 0));
    fixture.until("the others are cancelled", || fixture.seen().len() == 5).await;
    let mut cancelled: Vec<u64> = fixture.seen().iter().map(|call| call["cancelled"].as_u64().unwrap()).collect();
    cancelled.sort_unstable();
    assert_eq!(cancelled, [0, 1, 3, 4, 5]);
}

#[test]
fn what_is_wrong_is_told_before_anything_is_started() {
    let signature = Signature {
        name: "f".to_owned(),
        args: vec![Field::new("n", DataType::Int64, true)].into(),
        returns: Returns::Value(DataType::Int64),
    };
    let mut settings = PythonSettings::new("nowhere.py");
    settings.workers = 0;
    settings.start_timeout = Duration::ZERO;
    let error = settings.build(&signature, &CallSettings::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let expected = "function \"f\": file: expected a file, found no nowhere.py; workers: expected 1 to 256; \
                    start_timeout: expected more than 0 and at most a day";
    assert_eq!(error.message(), expected);
}
