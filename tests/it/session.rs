//! The Rust API: declare, write, read back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use async_trait::async_trait;
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::prelude::{col, lit};
use serde_json::json;
use tidemill::ErrorKind;
use tidemill::function::http::{HttpSettings, Template};
use tidemill::function::object::{ObjectSettings, Objects};
use tidemill::function::{Answer, AsyncFunction, CallError, CallSettings, Chunk, OnError, Reply, Returns, Signature};
use tidemill::pipeline::{FileFormat, FilePath, Roll, Text};
use tidemill::session::{
    Discard, DropDuplicates, FileOutput, Http, MemoryInput, MemoryOutput, OutputMode, Session, StreamingQuery, Trigger,
    Watermark, WithWatermark, WriteStream,
};
use tidemill::source::ReadLimit;
use tidemill::source::memory::MemoryStream;

use crate::values;

fn input() -> (MemoryStream, MemoryInput) {
    let schema = Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, true), Field::new("v", DataType::Int64, true)]));
    let stream = MemoryStream::new();
    (stream.clone(), MemoryInput { stream, schema })
}

fn rows(keys: &[&str], values: &[i64]) -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> =
        vec![("k", Arc::new(StringArray::from(keys.to_vec()))), ("v", Arc::new(Int64Array::from(values.to_vec())))];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

/// Waits until the query has committed a batch that read rows `total` in all.
async fn until_read(query: &StreamingQuery, total: u64) {
    let started = Instant::now();
    while query.recent_progress().iter().map(|progress| progress.num_input_rows).sum::<u64>() < total {
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", query.status());
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_over_a_memory_stream_is_read_back_with_sql() {
    let session = Session::builder().build().unwrap();
    let (stream, settings) = input();
    session.read_stream("events").from(settings).load().unwrap();
    let query = session
        .sql("SELECT k, count(*) AS n, sum(v) AS s FROM events GROUP BY k")
        .write_stream("totals")
        .output_mode(OutputMode::Complete)
        .to(MemoryOutput)
        .start()
        .await
        .unwrap();
    stream.push_rows(rows(&["a", "b"], &[1, 2]));
    until_read(&query, 2).await;
    stream.push_rows(rows(&["a"], &[10]));
    until_read(&query, 3).await;
    let result = query.sql("SELECT k, n, s FROM result WHERE s > 5").await.unwrap();
    assert_eq!(values::rows(&result), vec![json!(["a", 2, 11])]);
    session.close().await.unwrap();
    query.await_termination().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_frame_becomes_a_query_with_state() {
    let folder = tempfile::tempdir().unwrap();
    for (values, expected) in [(vec![5, 7], json!(["a", 12])), (vec![1], json!(["a", 13]))] {
        let session = Session::builder().checkpoint_root(folder.path().join("root")).build().unwrap();
        let (stream, settings) = input();
        // A memory stream starts anew with the process; its offsets go on where the checkpoint stopped only if it holds the rows.
        if expected == json!(["a", 13]) {
            stream.push_rows(rows(&["a", "a"], &[5, 7]));
        }
        stream.push_rows(rows(&vec!["a"; values.len()], &values));
        let frame = session.read_stream("events").from(settings).load().unwrap();
        let query = frame
            .filter(col("v").gt(lit(0)))
            .unwrap()
            .aggregate(vec![col("k")], vec![sum(col("v")).alias("s")])
            .unwrap()
            .write_stream("sums")
            .output_mode(OutputMode::Update)
            .trigger(Trigger::AvailableNow)
            .to(MemoryOutput)
            .start()
            .await
            .unwrap();
        let table = query.table().unwrap().clone();
        query.await_termination().await.unwrap();
        assert_eq!(values::rows(&table.rows()), vec![expected]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_at_the_call_that_says_it() {
    let session = Session::builder().build().unwrap();
    let (_, settings) = input();
    let frame = session.read_stream("events").from(settings.clone()).load().unwrap();
    let again = session.read_stream("EVENTS").from(settings).load().unwrap_err();
    assert_eq!(again.message(), "there is already a source, table or view called \"EVENTS\"");
    let no_sink = frame.clone().write_stream("q").start().await.err().unwrap();
    assert_eq!(no_sink.message(), "query \"q\" has no sink: call `to`");
    let complete = frame.write_stream("q").output_mode(OutputMode::Complete).to(Discard).start().await.err().unwrap();
    assert_eq!((complete.kind(), complete.condition()), (ErrorKind::Config, Some("STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION")));
    let files = || FileOutput::at("out", FileFormat::Json);
    for mode in [OutputMode::Update, OutputMode::Complete] {
        let counts = session.sql("SELECT k, count(*) AS n FROM events GROUP BY k").write_stream("q").output_mode(mode);
        let refused = counts.to(files()).start().await.err().unwrap();
        assert_eq!(refused.condition(), Some("STREAMING_OUTPUT_MODE.UNSUPPORTED_DATASOURCE"), "{}", refused.chain());
    }
    let never =
        session.sql("SELECT k FROM events").write_stream("q").to(files().roll(Roll::default())).start().await.err().unwrap();
    assert!(never.chain().ends_with("expected rows, bytes or age: when a file is done"), "{}", never.chain());
    let unknown = session.sql("SELECT nope FROM events").write_stream("q").to(Discard).start().await.err().unwrap();
    assert_eq!(unknown.condition(), Some("UNRESOLVED_COLUMN.WITH_SUGGESTION"), "{}", unknown.chain());
}

/// A stream of `ts` (minutes of 1970) and `k`.
fn timed(minutes: &[i64], keys: &[&str]) -> RecordBatch {
    let times =
        TimestampMicrosecondArray::from_iter_values(minutes.iter().map(|minute| minute * 60_000_000)).with_timezone("UTC");
    let columns: Vec<(&str, ArrayRef)> = vec![("ts", Arc::new(times)), ("k", Arc::new(StringArray::from(keys.to_vec())))];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_frame_takes_a_watermark_and_drops_duplicates() {
    let session = Session::builder().build().unwrap();
    let stream = MemoryStream::new();
    let settings = MemoryInput { stream: stream.clone(), schema: timed(&[], &[]).schema() };
    let events = session
        .read_stream("events")
        .from(settings)
        .limit(ReadLimit { rows_max: Some(2), ..ReadLimit::default() })
        .load()
        .unwrap();
    for batch in
        [timed(&[1, 2], &["a", "a"]), timed(&[30, 3], &["b", "a"]), timed(&[4, 31], &["a", "a"]), timed(&[5, 32], &["c", "b"])]
    {
        stream.push_rows(batch);
    }
    let within = events.clone().drop_duplicates_within_watermark(&["k"]).unwrap_err();
    assert_eq!(within.condition(), Some("_LEGACY_ERROR_TEMP_3102"));
    let unknown = events.clone().drop_duplicates(&["nope"]).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Config);
    let no_time = events.clone().with_watermark("k", Duration::ZERO).unwrap_err();
    assert_eq!(no_time.condition(), Some("EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE"));
    let query = events
        .with_watermark("ts", Duration::from_secs(300))
        .unwrap()
        .drop_duplicates_within_watermark(&["k"])
        .unwrap()
        .select(vec![col("k")])
        .unwrap()
        .write_stream("once")
        .trigger(Trigger::AvailableNow)
        .to(MemoryOutput)
        .start()
        .await
        .unwrap();
    let table = query.table().unwrap().clone();
    query.await_termination().await.unwrap();
    // The watermark of batch 2 is minute 25: `a`, first seen in minute 1, still counts in it and is forgotten at its end.
    assert_eq!(values::rows(&table.rows()), vec![json!(["a"]), json!(["b"])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_over_a_stream_with_a_watermark_puts_windows_out_when_they_end() {
    let session = Session::builder().build().unwrap();
    let stream = MemoryStream::new();
    let settings = MemoryInput { stream: stream.clone(), schema: timed(&[], &[]).schema() };
    let watermark = Watermark::new("ts", Duration::from_secs(300));
    session.read_stream("events").from(settings).watermark(watermark).load().unwrap();
    stream.push_rows(timed(&[1, 2, 16], &["a", "b", "a"]));
    let query = session
        .sql("SELECT unix_seconds(window.start) AS s, count(*) AS n FROM events GROUP BY window(ts, '10 minutes')")
        .write_stream("windows")
        .trigger(Trigger::AvailableNow)
        .to(MemoryOutput)
        .start()
        .await
        .unwrap();
    let table = query.table().unwrap().clone();
    query.await_termination().await.unwrap();
    assert_eq!(values::rows(&table.rows()), vec![json!([0, 2])]);
}

/// Ten times its argument.
#[derive(Debug)]
struct Tenfold;

#[async_trait]
impl AsyncFunction for Tenfold {
    async fn call(&self, chunk: Chunk) -> Result<Reply, CallError> {
        let tenfold = chunk.args.column(0).as_primitive::<Int64Type>().unary::<_, Int64Type>(|n| n * 10);
        Ok(Answer::Values(Arc::new(tenfold)).into())
    }
}

fn signature(name: &str, argument: &str, data_type: DataType, returns: DataType) -> Signature {
    let args = vec![Field::new(argument, data_type, true)].into();
    Signature { name: name.to_owned(), args, returns: Returns::Value(returns) }
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_rust_over_http_and_of_objects_are_called_from_sql() {
    let greet = async |Path(name): Path<String>| format!("{{\"greeting\": \"hello {name}\"}}");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/greet/{name}", get(greet))).await });

    let session = Session::builder().build().unwrap();
    let (stream, settings) = input();
    session.read_stream("events").from(settings).load().unwrap();
    let calls = CallSettings::default();
    let tenfold = || signature("tenfold", "n", DataType::Int64, DataType::Int64);
    session.register_function(tenfold(), Tenfold, calls.clone()).unwrap();
    let mut http = HttpSettings::new(Template::parse(&format!("http://{address}/greet/{{name}}")).unwrap());
    http.connection.addresses.allow = vec!["127.0.0.0/8".parse().unwrap()];
    let returns = DataType::Struct(vec![Field::new("greeting", DataType::Utf8, true)].into());
    session.register_http_function(signature("greet", "name", DataType::Utf8, returns), &http, calls.clone()).unwrap();
    for name in ["TENFOLD", "upper"] {
        let taken = Signature { name: name.to_owned(), ..tenfold() };
        let refused = session.register_function(taken, Tenfold, calls.clone()).unwrap_err();
        assert_eq!((refused.kind(), refused.message()), (ErrorKind::Config, &*format!("there is a function {name} already")));
    }

    let shelf = tempfile::tempdir().unwrap();
    std::fs::write(shelf.path().join("b.txt"), "on the shelf").unwrap();
    let settings = ObjectSettings { path: Template::parse("{name}.txt").unwrap(), range: None };
    let store = Objects::folder(FilePath::plain(shelf.path()));
    let calls = CallSettings { on_error: OnError::ReturnNull, ..calls };
    session
        .register_object_function(signature("shelf", "name", DataType::Utf8, DataType::Utf8), &settings, &store, calls)
        .unwrap();

    let sql = session.sql("SELECT tenfold(v) AS tens, greet(k).greeting AS greeting, shelf(k) AS shelf FROM events WHERE v > 1");
    let query = sql.write_stream("called").to(MemoryOutput).start().await.unwrap();
    stream.push_rows(rows(&["a", "b", "ü/"], &[1, 2, 3]));
    until_read(&query, 3).await;
    let result = query.sql("SELECT * FROM result").await.unwrap();
    assert_eq!(values::rows(&result), vec![json!([20, "hello b", "on the shelf"]), json!([30, "hello ü/", null])]);
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_taken_over_http() {
    const TOKEN: &str = "0123456789abcdefghijkl";
    let refused = |address: &str, path: &str| Http::listen(address, path).map(drop).unwrap_err().message().to_owned();
    assert!(refused("127.0.0.1:0", "rows").contains("expected a path such as /transactions"));
    assert!(refused("nowhere", "/rows").contains("nowhere"));
    let exposed = Session::builder().build().unwrap();
    exposed.read_stream("rows").from(Http::listen("0.0.0.0:0", "/rows").unwrap()).text().load().unwrap();
    let started = exposed.sql("SELECT value FROM rows").write_stream("q").to(MemoryOutput).start().await;
    let refused = match started {
        Ok(query) => query.await_termination().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(refused.chain().contains("Set its token"), "{}", refused.chain());

    // A port that is free now: the program chooses where to listen.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let session = Session::builder().checkpoint_root(folder.path().join("root")).build().unwrap();
    let source = Http::listen(&address.to_string(), "/rows").unwrap().token(Text::secret(TOKEN, "token"));
    session.read_stream("rows").from(source).json("v BIGINT").unwrap().load().unwrap();
    let query = session.sql("SELECT sum(v) AS total FROM rows").write_stream("total");
    let query = query.output_mode(OutputMode::Complete).to(MemoryOutput).start().await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post =
        |token: &str| client.post(format!("http://{address}/rows")).bearer_auth(token).body("{\"v\":2}\n{\"v\":3}\n").send();
    assert_eq!(post("wrong").await.unwrap().status(), 401);
    assert_eq!(post(TOKEN).await.unwrap().text().await.unwrap(), "{\"rows\":2}");
    until_read(&query, 2).await;
    assert_eq!(values::rows(&query.sql("SELECT total FROM result").await.unwrap()), vec![json!([5])]);
    session.close().await.unwrap();
}
