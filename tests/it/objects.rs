//! Functions that fetch objects: the real binary against a real store that `scripts/s3` starts, a server of the test that counts, and a folder.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectStore, PutPayload};
use serde_json::{Value, json};

use super::binary::{Ended, Folder};
use super::http_server::{HttpServer, Reply, Seen, reply, rows, with};

/// `scripts/s3 serve`, which ends and wipes when its standard input ends.
struct Store {
    child: Child,
    address: String,
}

impl Store {
    fn start() -> Self {
        let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/s3"));
        script.args(["serve", "--port", "0", "--bucket", "pictures"]);
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(!address.is_empty(), "scripts/s3 could not start a store; try it: scripts/s3 serve");
        Self { child, address: address.trim().to_owned() }
    }

    fn put(&self, objects: &[(&str, &[u8])]) {
        let client: AmazonS3 = AmazonS3Builder::new()
            .with_bucket_name("pictures")
            .with_endpoint(format!("http://{}", self.address))
            .with_access_key_id("S3RVER")
            .with_secret_access_key("S3RVER")
            .with_allow_http(true)
            .build()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for (key, content) in objects {
            let path = object_store::path::Path::parse(key).unwrap();
            let put = client.put_opts(&path, PutPayload::from(content.to_vec()), object_store::PutOptions::default());
            runtime.block_on(put).unwrap();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What stands under `connections` for a store at `address`.
fn lake(address: &str, id: &str) -> String {
    format!(
        "lake: {{ s3: {{ bucket: pictures, endpoint: \"http://{address}\", region: eu-central-1, access_key_id: {id:?}, \
         secret_access_key: c4naryInTheMine, allow_http: true, allow_addresses: 127.0.0.1 }} }}"
    )
}

/// A pipeline over files in `in` with one function of a path.
fn pipeline(connection: &str, function: &str, schema: &str, sql: &str) -> Folder {
    Folder::with(&format!(
        "name: objects\ncheckpoint: checkpoint\nconnections:\n  {connection}\nsources:\n  t:\n    from: {{ file: {{ path: in, max_files_per_trigger: 1 }} }}\n    \
         format: {{ json: {{ schema: {schema:?} }} }}\nfunctions:\n  picture: {{ args: path STRING, {function} }}\nqueries:\n  q:\n    sql: {sql:?}\n    \
         trigger: available_now\n    to: {{ file: {{ path: out }}, format: json }}\n    dead_letter: {{ file: {{ path: bad }}, format: json }}\n"
    ))
}

fn run(folder: &Folder) -> Ended {
    folder.run(&["run", "pipeline.yaml", "--log-level", "trace", "--http", "127.0.0.1:0"])
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn paths(paths: &[&str]) -> String {
    lines(&paths.iter().map(|path| json!({ "path": path })).collect::<Vec<_>>())
}

/// The rows of the dead letter with their reasons.
fn failed(folder: &Folder) -> Vec<(Value, String)> {
    let letter = |letter: &Value| {
        assert_eq!((&letter["kind"], &letter["operator"]), (&json!("failed_call"), &json!("function picture")));
        (serde_json::from_str(letter["row"].as_str().unwrap()).unwrap(), letter["reason"].as_str().unwrap().to_owned())
    };
    rows(&folder.path("bad")).iter().map(letter).collect()
}

#[test]
fn objects_of_a_real_store_are_fetched_and_what_is_missing_is_a_dead_letter() {
    let store = Store::start();
    let large = vec![b'x'; 300_000];
    store.put(&[("p/a.txt", b"hello"), ("p/deep/b c+é.txt", b"world"), ("p/empty", b""), ("p/large", &large)]);
    let function = "returns: \"content STRING, size BIGINT, etag STRING, modified TIMESTAMP\", max_answer: 200 KiB, \
                    on_error: return_null, object: { connection: lake, path: \"p/{path}\" }";
    let sql = "SELECT path, p.content, p.size, p.etag, p.modified > TIMESTAMP '2020-01-01' AS recent FROM (SELECT path, picture(path) AS p FROM t)";
    let folder = pipeline(&lake(&store.address, "S3RVER"), function, "path STRING", sql);
    folder.write("in/1.json", paths(&["a.txt", "none", "deep/b c+é.txt", "empty", "large", "../p/a.txt", "a.txt"]));
    let ended = run(&folder);
    assert_eq!(ended.code, 0, "{ended:?}");
    let hello =
        json!({ "path": "a.txt", "content": "hello", "size": 5, "etag": "5d41402abc4b2a76b9719d911017c592", "recent": true });
    let expected = [
        hello.clone(),
        json!({ "path": "none" }),
        json!({ "path": "deep/b c+é.txt", "content": "world", "size": 5, "etag": "7d793037a0760186574b0282f2f435e7", "recent": true }),
        json!({ "path": "empty", "content": "", "size": 0, "etag": "d41d8cd98f00b204e9800998ecf8427e", "recent": true }),
        json!({ "path": "large" }),
        json!({ "path": "../p/a.txt" }),
        hello,
    ];
    assert_eq!(rows(&folder.path("out")), expected);
    let mut failed = failed(&folder);
    failed.sort_by_key(|(row, _)| row["path"].to_string());
    let letter = |path: &str, reason: &str| (json!({ "path": path }), reason.to_owned());
    let expected = [
        letter("../p/a.txt", "expected a path without . and .. in it"),
        letter("large", "p/{path}: too much data: 300000 bytes, and max_answer is 200 KiB"),
        letter("none", "p/{path}: not found"),
    ];
    assert_eq!(failed, expected);
}

#[test]
fn a_part_of_an_object_or_nothing_of_it_is_fetched_from_a_real_store() {
    let store = Store::start();
    store.put(&[("a", b"0123456789"), ("b", b"01")]);
    for (returns, range, expected) in [
        ("STRING", ", range: \"2-4\"", json!([{ "p": "234" }, {}])),
        ("STRING", ", range: \"1-\"", json!([{ "p": "123456789" }, { "p": "1" }])),
        ("size BIGINT", "", json!([{ "p": { "size": 10 } }, { "p": { "size": 2 } }])),
        ("BINARY", "", json!([{ "p": "MDEyMzQ1Njc4OQ==" }, { "p": "MDE=" }])),
    ] {
        let function =
            format!("returns: {returns:?}, on_error: return_null, object: {{ connection: lake, path: \"{{path}}\"{range} }}");
        let folder = pipeline(&lake(&store.address, "S3RVER"), &function, "path STRING", "SELECT picture(path) AS p FROM t");
        folder.write("in/1.json", paths(&["a", "b"]));
        let ended = run(&folder);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(json!(rows(&folder.path("out"))), expected, "{returns}{range}");
    }
}

#[test]
fn a_store_that_refuses_us_ends_the_query_and_the_secret_is_nowhere() {
    let store = Store::start();
    store.put(&[("a", b"hello")]);
    let function = "returns: STRING, object: { connection: lake, path: \"{path}\" }";
    let folder = pipeline(&lake(&store.address, "S3TRANGER"), function, "path STRING", "SELECT picture(path) AS p FROM t");
    folder.write("in/1.json", paths(&["a"]));
    let ended = run(&folder);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("answered 403 Forbidden (InvalidAccessKeyId)"), "{ended:?}");
    let explained = folder.run(&["explain", "pipeline.yaml"]);
    let told = format!("{}{}{}{}", ended.stdout, ended.stderr, explained.stdout, explained.stderr);
    assert!(!told.contains("c4naryInTheMine") && !told.contains("S3TRANGER"), "{told}");
    assert!(rows(&folder.path("out")).is_empty());
}

/// Answers as a store does: each object holds its own key; those of `missing` are not there.
async fn object(seen: Seen, missing: &[&str]) -> Reply {
    let key = seen.path.strip_prefix("/pictures/").unwrap();
    match missing.contains(&key) {
        true => reply(404, "<Error><Code>NoSuchKey</Code></Error>"),
        false => with(reply(200, key.to_owned()), "etag", "\"e\""),
    }
}

/// Fifty records with ten channels each, of which three are missing, twice over.
#[test]
fn scenario_19_five_hundred_objects_a_hundred_at_a_time_and_the_second_time_none() {
    const MISSING: [&str; 3] = ["r/3/c4", "r/17/c0", "r/49/c9"];
    let server = HttpServer::start(|seen| async move { object(seen, &MISSING).await });
    let function = "returns: STRING, max_in_flight: 100, on_error: return_null, cache: { entries: 1000 }, \
                    object: { connection: lake, path: \"r/{path}\" }";
    let sql = "SELECT id, c, picture(concat(id, '/', c)) AS p FROM t LATERAL VIEW explode(channels) e AS c";
    let schema = "id BIGINT, channels ARRAY<STRING>";
    let folder = pipeline(&lake(&server.address.to_string(), "S3RVER"), function, schema, sql);
    let channels: Vec<String> = (0..10).map(|c| format!("c{c}")).collect();
    let input: Vec<Value> = (0..50).map(|id| json!({ "id": id, "channels": channels })).collect();
    for name in ["in/1.json", "in/2.json"] {
        folder.write(name, lines(&input));
    }
    server.close_gate();
    let running = folder.start_pipeline(&[]);
    server.has_in_flight(100);
    server.open_gate();
    let ended = running.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    let row = |id: usize, c: &str| {
        let key = format!("r/{id}/{c}");
        if MISSING.contains(&key.as_str()) { json!({ "id": id, "c": c }) } else { json!({ "id": id, "c": c, "p": key }) }
    };
    let once: Vec<Value> = (0..50).flat_map(|id| channels.iter().map(move |c| row(id, c))).collect();
    assert_eq!(rows(&folder.path("out")), [once.clone(), once].concat(), "in the order of the records and channels");
    assert_eq!(server.in_flight_max(), 100);
    let again: Vec<String> = server.seen()[500..].iter().map(|seen| seen.path.clone()).collect();
    let failures: Vec<String> = MISSING.iter().map(|key| format!("/pictures/{key}")).collect();
    assert_eq!((server.seen().len(), again.len()), (503, 3), "what was fetched is kept, and failures are not");
    assert!(failures.iter().all(|path| again.contains(path)), "{again:?}");
    let failed: Vec<(i64, String)> =
        failed(&folder).into_iter().map(|(row, reason)| (row["id"].as_i64().unwrap(), reason)).collect();
    let expected = [3, 17, 49, 3, 17, 49].map(|id| (id, "r/{path}: not found".to_owned()));
    assert_eq!(failed, expected, "exactly those that are missing");
}

#[test]
fn s4_5_more_than_may_be_is_a_clear_error_and_leaves_nothing() {
    let server = HttpServer::start(|_| async { with(reply(200, vec![b'x'; 2048]), "etag", "e") });
    let function = "returns: BINARY, max_answer: 1 KiB, object: { connection: lake, path: \"{path}\" }";
    let folder =
        pipeline(&lake(&server.address.to_string(), "S3RVER"), function, "path STRING", "SELECT picture(path) AS p FROM t");
    folder.write("in/1.json", paths(&["a", "b"]));
    let ended = run(&folder);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("too much data: 2048 bytes, and max_answer is 1 KiB"), "{ended:?}");
    assert!(rows(&folder.path("out")).is_empty() && !folder.names().iter().any(|name| name.starts_with("out/part")));
}

#[test]
fn files_of_a_folder_are_objects_too() {
    let function =
        "returns: \"content STRING, size BIGINT\", on_error: drop_row, object: { connection: shelf, path: \"{path}.txt\" }";
    let sql = "SELECT path, picture(path).content AS content FROM t";
    let folder = pipeline("shelf: { folder: { path: shelf } }", function, "path STRING", sql);
    folder.write("shelf/a.txt", "one");
    folder.write("shelf/deep/b.txt", "two");
    folder.write("secret.txt", "three");
    symlink("../secret.txt", folder.path("shelf/link.txt")).unwrap();
    let absolute = fs::canonicalize(folder.path("secret.txt")).unwrap().display().to_string();
    let absolute = absolute.strip_suffix(".txt").unwrap();
    folder.write("in/1.json", paths(&["a", "../secret", "link", absolute, "deep/b", "none"]));
    let ended = run(&folder);
    assert_eq!(ended.code, 0, "{ended:?}");
    let expected = [json!({ "path": "a", "content": "one" }), json!({ "path": "deep/b", "content": "two" })];
    assert_eq!(rows(&folder.path("out")), expected);
    let mut failed: Vec<String> = failed(&folder).into_iter().map(|(row, _)| row["path"].as_str().unwrap().to_owned()).collect();
    failed.sort();
    let mut expected = vec!["../secret".to_owned(), absolute.to_owned(), "link".to_owned(), "none".to_owned()];
    expected.sort();
    assert_eq!(failed, expected);
}

#[test]
fn what_is_wrong_with_a_connection_is_told_before_anything_runs() {
    let function = "returns: STRING, object: { connection: lake, path: \"{path}\" }";
    let refused = |connection: &str, function: &str| {
        let ended =
            pipeline(connection, function, "path STRING", "SELECT picture(path) AS p FROM t").run(&["check", "pipeline.yaml"]);
        assert_eq!(ended.code, 2, "{ended:?}");
        ended.stderr
    };
    let s3 = |settings: &str| format!("lake: {{ s3: {{ {settings} }} }}");
    for (connection, expected) in [
        (s3("bucket: a"), "bucket: expected a name of 3 to 63"),
        (s3("bucket: pictures, access_key_id: x"), "access_key_id: goes with secret_access_key only"),
        (s3("bucket: pictures, session_token: x"), "session_token: goes with access_key_id only"),
        (
            s3("bucket: pictures, endpoint: \"http://store.example\""),
            "endpoint: expected a URL that begins with https://, or allow_http: true",
        ),
        (s3("bucket: pictures, endpoint: \"https://10.0.0.1\""), "endpoint: 10.0.0.1 is not a public address"),
        (s3("bucket: pictures, tls: { ca: none.pem }"), "none.pem"),
        ("lak: { folder: { path: x } }".to_owned(), "there is no \"lake\" under connections; did you mean lak?"),
        ("lake: { kafka: { bootstrap_servers: \"x:1\" } }".to_owned(), "is a connection of kafka, not of s3 or folder"),
    ] {
        let told = refused(&connection, function);
        assert!(told.contains(expected), "{connection}: {told}");
    }
    let right = s3("bucket: pictures");
    for (function, expected) in [
        (
            "returns: INT, object: { connection: lake, path: a }",
            "returns: a single value of an object is BINARY or STRING, not INT",
        ),
        ("returns: STRING, object: { connection: lake, path: /a }", "path: expected a path such as folder/name"),
        ("returns: STRING, object: { connection: lake, path: a, range: x }", "range: expected a range of bytes"),
        ("returns: STRING, chunk_size: 5, object: { connection: lake, path: a }", "chunk_size: object makes a call for each row"),
    ] {
        let told = refused(&right, function);
        assert!(told.contains(expected), "{function}: {told}");
    }
}
