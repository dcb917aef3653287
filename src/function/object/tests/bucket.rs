use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::function::CacheSettings;

#[tokio::test]
async fn an_object_is_what_is_declared_of_it() {
    let server = lake().await;
    let objects = objects(&server);
    let all = Fixture::plain(&objects, "STRUCT<content: BINARY, size: BIGINT, etag: STRING, modified: TIMESTAMP>");
    assert_eq!(
        all.one("a/1.png").await,
        r#"{"content":"YS8xLnBuZ2EvMS5wbmc=","size":14,"etag":"abc","modified":"2015-10-21T07:28:00.000Z"}"#
    );
    assert_eq!(Fixture::plain(&objects, "STRING").one("b").await, "\"bb\"");
    assert_eq!(Fixture::plain(&objects, "BINARY").one("b").await, "\"YmI=\"");
    assert_eq!(Fixture::plain(&objects, "STRUCT<Size: BIGINT, ETAG: STRING>").one("b").await, r#"{"Size":2,"ETAG":"abc"}"#);
    let methods: Vec<String> = server.seen().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, ["GET", "GET", "GET", "HEAD"], "what does not return the content does not fetch it");
}

#[tokio::test]
async fn some_bytes_of_an_object_are_fetched() {
    let server = lake().await;
    let objects = objects(&server);
    let fetch = async |range: &str, path: &str| {
        let settings = settings("{path}", Some(range));
        Fixture::new(&objects, "STRUCT<content: STRING, size: BIGINT>", &settings, calls()).one(path).await
    };
    assert_eq!(fetch("0-2", "abcd").await, r#"{"content":"abc","size":8}"#);
    assert_eq!(fetch("6-100", "abcd").await, r#"{"content":"cd","size":8}"#);
    assert_eq!(fetch("5-", "abcd").await, r#"{"content":"bcd","size":8}"#);
    assert_eq!(fetch("-3", "abcd").await, r#"{"content":"bcd","size":8}"#);
    assert_eq!(fetch("8-9", "abcd").await, "rejected 1 {path}: the range lies outside of the object");
    let by_argument = Fixture::new(&objects, "STRING", &settings("fixed", Some("{path}")), calls());
    let answers = by_argument.all_of(vec![Some("1-2"), None, Some("x")]).await;
    let expected = "rejected 1 fixed: expected a range of bytes such as 0-1023, 1024- or -512, found \"x\"";
    assert_eq!(answers[..2], ["\"ix\"", "\"fixedfixed\""]);
    assert!(expected.ends_with(answers[2].trim_start_matches("rejected 1 ")), "{answers:?}");
}

#[tokio::test]
async fn requests_are_signed_unless_nobody_asks() {
    let server = lake().await;
    Fixture::plain(&objects(&server), "STRING").one("a b/é+&").await;
    let nobody = Objects::s3(&S3Settings { key: None, ..s3(&server) }).unwrap();
    Fixture::plain(&nobody, "STRING").one("x").await;
    let seen = server.seen();
    assert_eq!(seen[0].path, "/lake/a%20b/%C3%A9%2B%26");
    let signed = seen[0].header("authorization");
    let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/";
    assert!(signed.starts_with(expected) && signed.contains("/eu-central-1/s3/aws4_request"), "{signed}");
    assert_eq!((seen[1].header("authorization"), seen[1].path.as_str()), ("", "/lake/x"));
}

fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    let mut padded = [0; 64];
    padded[..key.len()].copy_from_slice(key);
    let inner = Sha256::new().chain_update(padded.map(|b| b ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded.map(|b| b ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The signature that a request must have as it has arrived, by AWS Signature Version 4.
fn signature_of(seen: &Seen, secret: &str) -> String {
    let (_, signed) = seen.header("authorization").split_once("SignedHeaders=").expect("signed headers");
    let (signed, _) = signed.split_once(',').expect("a signature");
    let headers: String = signed.split(';').map(|name| format!("{name}:{}\n", seen.header(name))).collect();
    let request = [&seen.method, &seen.path, &seen.query, &headers, signed, seen.header("x-amz-content-sha256")].join("\n");
    let time = seen.header("x-amz-date");
    let scope = [&time[..8], "eu-central-1", "s3", "aws4_request"];
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{}\n{}", scope.join("/"), hex(&Sha256::digest(request)));
    let key = scope.iter().fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part));
    hex(&hmac(&key, &text))
}

#[tokio::test]
async fn what_is_signed_is_what_is_sent() {
    let server = lake().await;
    let settings = S3Settings { session_token: Some(Text::plain("t/o+k=")), ..s3(&server) };
    let function = Fixture::new(&Objects::s3(&settings).unwrap(), "BINARY", &super::settings("{path}", Some("0-9")), calls());
    for key in ["plain", "a b/c+d", "é/ü", "%41%2f", "q?a=b&c#d", "~!@$^*()_-=[]{}|;:'\",.<>\\`"] {
        assert!(function.one(key).await.starts_with('"'), "{key}");
    }
    for seen in server.seen() {
        let sent = seen.header("authorization");
        assert!(sent.ends_with(&format!("Signature={}", signature_of(&seen, "s3cret"))), "{seen:?}");
        assert!(!sent.ends_with(&signature_of(&seen, "s3cre")) && seen.header("range") == "bytes=0-9");
    }
}

#[tokio::test]
async fn s4_1_ten_objects_for_each_of_fifty_records_a_hundred_at_a_time_in_order() {
    let server = lake().await;
    let function =
        Fixture::new(&objects(&server), "STRING", &settings("r/{path}", None), CallSettings { max_in_flight: 100, ..calls() });
    let paths: Vec<String> = (0..500).map(|n| format!("{}/{}", n / 10, n % 10)).collect();
    server.close_gate();
    let release = async {
        server.until_in_flight(100).await;
        server.open_gate();
    };
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let (answers, ()) = tokio::join!(function.all(&paths), release);
    assert_eq!(answers, paths.iter().map(|path| format!("\"r/{path}r/{path}\"")).collect::<Vec<_>>());
    assert_eq!((server.in_flight_max(), server.seen().len()), (100, 500));
}

#[tokio::test]
async fn s4_2_objects_that_are_missing_are_named_and_the_others_come() {
    let server = lake().await;
    let function = Fixture::plain(&objects(&server), "STRING");
    let answers = function.all(&["a", "missing1", "b", "missing2", "missing3"]).await;
    let missing = "rejected 1 {path}: not found";
    assert_eq!(answers, ["\"aa\"", missing, "\"bb\"", missing, missing]);
}

#[tokio::test]
async fn s4_3_what_is_being_fetched_is_not_fetched_again() {
    let server = lake().await;
    let objects = objects(&server);
    let cached = |entries| {
        let cache = Some(CacheSettings { entries, ..CacheSettings::default() });
        Fixture::new(&objects, "BINARY", &settings("{path}", None), CallSettings { max_in_flight: 50, cache, ..calls() })
    };
    let function = cached(128);
    assert_eq!(function.all(&["same"; 50]).await, vec!["\"c2FtZXNhbWU=\""; 50]);
    assert_eq!(server.seen().len(), 1);
    function.0.invalidate(batch(vec![Some("same")])).unwrap();
    function.all(&["same"; 50]).await;
    assert_eq!(server.seen().len(), 2);
    function.all(&["missing", "missing"]).await;
    let failed = server.seen().len();
    function.all(&["missing"]).await;
    assert_eq!(server.seen().len(), failed + 1, "a failure is not kept");
    cached(0).all(&["same"; 50]).await;
    assert_eq!(server.seen().len(), failed + 1 + 50);
}

#[tokio::test]
async fn s4_5_more_than_is_wanted_is_not_read() {
    // It says how much there is, and would never end.
    let server = Server::start(|seen| async move {
        let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1000])));
        let body = axum::body::Body::from_stream(endless);
        let answer = match seen.path.as_str() {
            "/lake/error" => reply(500, body),
            "/lake/fits" => with(reply(200, body), "content-length", "1048577"),
            _ => with(reply(200, body), "content-length", "1099511627776"),
        };
        with(answer, "etag", "\"abc\"")
    })
    .await;
    let function = |answer_bytes_max| {
        Fixture::new(&objects(&server), "BINARY", &settings("{path}", None), CallSettings { answer_bytes_max, ..calls() })
    };
    let expected = "bad_answer 1 {path}: too much data: 1099511627776 bytes, and max_answer is 1 MiB";
    assert_eq!(function(1 << 20).one("large").await, expected);
    assert_eq!(function(2 << 20).one("fits").await.len(), 1_398_106, "one that fits comes whole");
    let expected = "unavailable 3 attempts exhausted after 3: {path}: answered 500 Internal Server Error";
    assert_eq!(function(1 << 20).one("error").await, expected, "nor is an error without end");
}

/// Counts the connections that are made.
struct Counting(TcpListener, Arc<AtomicUsize>);

impl axum::serve::Listener for Counting {
    type Io = TcpStream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (TcpStream, std::net::SocketAddr) {
        let accepted = axum::serve::Listener::accept(&mut self.0).await;
        self.1.fetch_add(1, Ordering::SeqCst);
        accepted
    }

    fn local_addr(&self) -> std::io::Result<std::net::SocketAddr> {
        self.0.local_addr()
    }
}

#[tokio::test]
async fn s4_7_a_thousand_batches_share_one_connection() {
    let accepted = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::serve(Counting(listener, accepted.clone()), address, |seen| async move { object(&seen) });
    let objects = objects(&server);
    let functions = [Fixture::plain(&objects, "STRING"), Fixture::plain(&objects, "STRING")];
    for number in 0..1000 {
        assert_eq!(functions[number % 2].one("a").await, "\"aa\"");
    }
    assert_eq!((server.seen().len(), accepted.load(Ordering::SeqCst)), (1000, 1));
}
