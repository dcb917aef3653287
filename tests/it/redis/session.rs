//! Functions and sinks of the Rust API.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field};
use tidemill::function::redis::{Read, RedisSettings};
use tidemill::function::{CallSettings, Returns, Signature};
use tidemill::redis::RedisConnection;
use tidemill::session::{MemoryInput, OutputMode, Session, Trigger};
use tidemill::sink::redis::{RedisOperation, RedisSinkSettings, Template};
use tidemill::source::memory::MemoryStream;

use super::{Server, prefix};

#[tokio::test(flavor = "multi_thread")]
async fn a_program_reads_and_adds() {
    let (server, p) = (Server::shared(), prefix());
    server.set(&[(&format!("{p}:factor:a"), "10"), (&format!("{p}:factor:b"), "100")]);
    let columns: Vec<(&str, ArrayRef)> =
        vec![("k", Arc::new(StringArray::from(vec!["a", "b", "a", "c"]))), ("v", Arc::new(Int64Array::from(vec![1, 2, 3, 4])))];
    let rows = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let session = Session::builder().checkpoint_root(folder.path()).build().unwrap();
    let stream = MemoryStream::new();
    session.read_stream("events").from(MemoryInput { stream: stream.clone(), schema: rows.schema() }).load().unwrap();
    let template = |text: &str| Template::parse(text).unwrap();
    let connection = RedisConnection::new(server.address.parse().unwrap());
    let factor = RedisSettings { connection: connection.clone(), read: Read::Get(template(&format!("{p}:factor:{{k}}"))) };
    let args = vec![Field::new("k", DataType::Utf8, true)].into();
    let signature = Signature { name: "factor".into(), args, returns: Returns::Value(DataType::Int64) };
    session.register_redis_function(signature, &factor, CallSettings::default()).unwrap();
    stream.push_rows(rows);
    let add = || {
        let operation = RedisOperation::AtomicAdd { field: Some(template("{k}")), amount: "n".into() };
        RedisSinkSettings::new(server.address.parse().unwrap(), operation, template(&format!("{p}:sums")))
    };
    let sql = session.sql("SELECT k, v * f AS n FROM (SELECT k, v, factor(k) AS f FROM events) WHERE f IS NOT NULL");
    let query = sql.write_stream(&p).trigger(Trigger::AvailableNow).to(add()).start().await.unwrap();
    query.await_termination().await.unwrap();
    assert_eq!(server.tell::<Vec<i64>>(&["HMGET", &format!("{p}:sums"), "a", "b"]), [40, 200]);
    let counts = session.sql("SELECT k, count(*) AS n FROM events GROUP BY k");
    let refused = counts.write_stream("refused").output_mode(OutputMode::Update).to(add()).start().await.err().unwrap();
    assert_eq!(refused.condition(), Some("STREAMING_OUTPUT_MODE.UNSUPPORTED_DATASOURCE"), "{refused:?}");
    session.close().await.unwrap();
}
