//! The sink's transactions: what is done once, by whom, and how far.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use tidemill::ErrorKind;
use tidemill::sink::redis::{RedisOperation, RedisSink, RedisSinkSettings, Template};
use tidemill::sink::{CommitId, Contains, Sink};

use super::{Server, prefix};

fn rows(count: usize) -> RecordBatch {
    let schema: SchemaRef =
        Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, true), Field::new("n", DataType::Int64, true)]));
    let keys = StringArray::from_iter_values((0..count).map(|nth| (nth % 3).to_string()));
    RecordBatch::try_new(schema, vec![Arc::new(keys), Arc::new(Int64Array::from(vec![1; count]))]).unwrap()
}

/// A sink that adds, and what it staged.
async fn adding(server: &Server, p: &str, chunk_size: usize, count: usize) -> (RedisSink, Bytes) {
    let operation = RedisOperation::AtomicAdd { field: Some(Template::parse("{k}").unwrap()), amount: "n".into() };
    let key = Template::parse(&format!("{p}:sum")).unwrap();
    let mut settings = RedisSinkSettings::new(server.address.parse().unwrap(), operation, key);
    settings.chunk_size = chunk_size;
    let mut sink = RedisSink::new(settings, &format!("{p}:mark"), "UTC");
    let rows = rows(count);
    sink.open(rows.schema_ref()).await.unwrap();
    let staged = sink.stage(&[rows]).unwrap();
    (sink, staged)
}

fn commit(query: char, number: u64, staged: &Bytes) -> CommitId {
    let query_id = query.to_string().repeat(32);
    let crc32c = crc32c(staged);
    CommitId { query_id, sink: "redis".into(), number, batch_id: number, batch_time_us: 0, crc32c, is_accepted: false }
}

/// Any checksum will do.
fn crc32c(staged: &Bytes) -> u32 {
    staged.iter().fold(7, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)))
}

fn sum(server: &Server, p: &str) -> i64 {
    server.tell::<Vec<i64>>(&["HVALS", &format!("{p}:sum")]).into_iter().sum()
}

#[tokio::test]
async fn a_commit_is_done_once_however_often_and_by_whomever() {
    let (server, p) = (Server::shared(), prefix());
    let (mut one, staged) = adding(server, &p, 4, 10).await;
    let first = commit('a', 0, &staged);
    assert_eq!(one.contains(&first).await.unwrap(), Contains::No);
    for _ in 0..3 {
        one.commit(&first, &staged).await.unwrap();
    }
    let (mut other, _) = adding(server, &p, 1024, 10).await;
    other.commit(&first, &staged).await.unwrap();
    assert_eq!((sum(server, &p), other.contains(&first).await.unwrap()), (10, Contains::Yes));
    other.commit(&commit('a', 1, &staged), &staged).await.unwrap();
    assert_eq!(sum(server, &p), 20);
    // Who is behind, has other rows, or has skipped some, is told.
    assert_eq!(one.contains(&first).await.unwrap(), Contains::Ahead(1));
    let late = one.commit(&first, &staged).await.unwrap_err();
    assert_eq!((late.kind(), late.condition()), (ErrorKind::Corrupt, Some("SINK_AHEAD")));
    let other_rows = CommitId { crc32c: 1, ..commit('a', 1, &staged) };
    assert_eq!(one.contains(&other_rows).await.unwrap(), Contains::Ahead(1));
    assert_eq!(one.contains(&commit('a', 3, &staged)).await.unwrap(), Contains::MarkerLost);
    // A new checkpoint takes over, and the old one's process notices.
    other.commit(&commit('b', 0, &staged), &staged).await.unwrap();
    let fenced = one.commit(&commit('a', 2, &staged), &staged).await.unwrap_err();
    assert_eq!((fenced.kind(), fenced.condition()), (ErrorKind::Corrupt, Some("MARKER_LOST")));
    assert_eq!(sum(server, &p), 30);
    // Unless a person says that it goes on there; the other one is behind then.
    assert_eq!(fenced.fact("at"), Some("2"));
    let accepted = CommitId { is_accepted: true, ..commit('a', 2, &staged) };
    for _ in 0..2 {
        one.commit(&accepted, &staged).await.unwrap();
    }
    assert_eq!((sum(server, &p), one.contains(&commit('a', 3, &staged)).await.unwrap()), (40, Contains::No));
    assert_eq!(other.contains(&commit('b', 1, &staged)).await.unwrap(), Contains::MarkerLost);
}

#[tokio::test]
async fn what_is_done_in_part_goes_on_where_it_ended() {
    let (server, p) = (Server::shared(), prefix());
    let mark = format!("{p}:mark");
    let (mut sink, staged) = adding(server, &p, 4, 10).await;
    let id = commit('a', 0, &staged);
    sink.commit(&id, &staged).await.unwrap();
    let whole: String = server.tell(&["GET", &mark]);
    assert!(whole.starts_with("10;v1;"), "{whole}");
    for done in [0, 1, 4, 9] {
        server.tell::<i64>(&["DEL", &format!("{p}:sum")]);
        server.set(&[(&mark, &whole.replacen("10;", &format!("{done};"), 1))]);
        assert_eq!(sink.contains(&id).await.unwrap(), Contains::No);
        assert_eq!(sink.contains(&commit('a', 1, &staged)).await.unwrap(), Contains::MarkerLost, "it was never finished");
        sink.commit(&id, &staged).await.unwrap();
        assert_eq!((sum(server, &p), server.tell::<String>(&["GET", &mark])), (10 - done, whole.clone()), "{done} were done");
    }
    server.set(&[(&mark, "something else")]);
    assert_eq!(sink.contains(&commit('a', 1, &staged)).await.unwrap(), Contains::MarkerLost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_do_the_same_each_chunk_is_done_by_one() {
    let (server, p) = (Server::own(&[]), prefix());
    let ((mut one, staged), (mut other, _)) = (adding(&server, &p, 1, 200).await, adding(&server, &p, 3, 200).await);
    let id = commit('a', 0, &staged);
    let (first, second) = tokio::join!(one.commit(&id, &staged), other.commit(&id, &staged));
    // One of them may have been disturbed too often, and tries again.
    let kinds = [first, second].map(|done| done.err().map(|error| error.kind()));
    assert!(kinds.iter().flatten().all(|kind| *kind == ErrorKind::Unavailable), "{kinds:?}");
    one.commit(&id, &staged).await.unwrap();
    other.commit(&id, &staged).await.unwrap();
    assert_eq!(sum(&server, &p), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_write_meanwhile_is_kept() {
    const OTHERS: i64 = 2_000;
    let (server, p) = (Server::own(&[]), prefix());
    let (mut sink, staged) = adding(&server, &p, 50, 3_000).await;
    let key = format!("{p}:sum");
    let mut client = server.client();
    let others = tokio::task::spawn_blocking(move || {
        for _ in 0..OTHERS {
            let _: i64 = ::redis::cmd("HINCRBY").arg(&key).arg("0").arg(1).query(&mut client).unwrap();
        }
    });
    let id = commit('a', 0, &staged);
    // Each time it is given up for now, some of it may be done.
    while let Err(error) = sink.commit(&id, &staged).await {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    }
    others.await.unwrap();
    assert_eq!(sum(&server, &p), 3_000 + OTHERS);
}
