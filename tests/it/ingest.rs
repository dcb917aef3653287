//! Lines over HTTP, through the real process: what was acknowledged comes out once, however the process ends.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::process::Signal;

use super::binary::{Folder, PATIENCE, Running};
use super::http_server::certificates;

/// Two queries share the log; the batch after the first comes in an hour, so that what is acknowledged then waits.
const PIPELINE: &str = r#"
version: 1
name: ingest
checkpoint: checkpoint
sources:
  rows:
    from: { http: { listen: "127.0.0.1:0", path: /rows } }
    format: { json: { schema: "id BIGINT" } }
queries:
  pass:
    sql: SELECT id FROM rows
    trigger: 1 hour
    to: { file: { path: out/pass }, format: json }
  other:
    sql: SELECT id FROM rows
    to: { file: { path: out/other }, format: json }
"#;

/// Status and body that a POST is answered.
fn post(address: SocketAddr, headers: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head =
        format!("POST /rows HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Sends request number `round`, which brings three rows.
fn send(process: &Running, round: u64) {
    let lines: String = (round * 3..round * 3 + 3).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    let answer = post(process.listening(), &format!("Idempotency-Key: round-{round}\r\n"), lines.as_bytes());
    assert_eq!(answer, (200, "{\"rows\":3}".to_owned()), "round {round}; {}", process.so_far());
}

#[test]
fn what_was_acknowledged_comes_out_once_although_the_process_is_killed_and_requests_are_repeated() {
    const ROUNDS: u64 = 12;
    let folder = Folder::with(PIPELINE);
    for round in 0..ROUNDS {
        let process = folder.start_pipeline(&["--quiet"]);
        // What was acknowledged last, in case the answer was lost.
        if let Some(before) = round.checked_sub(1) {
            send(&process, before);
        }
        send(&process, round);
        process.signal(Signal::KILL);
        assert_eq!(process.end().code, 128 + 9);
    }
    let now = ["--set", "queries.pass.trigger=available_now", "--set", "queries.other.trigger=available_now"];
    let ended = folder.start_pipeline(&now).end();
    assert_eq!(ended.code, 0, "{ended:?}");
    let expected: BTreeMap<_, _> = (0..ROUNDS * 3).map(|id| (format!("{{\"id\":{id}}}"), 1)).collect();
    assert_eq!(folder.lines("out/pass"), expected);
    assert_eq!(folder.lines("out/other"), expected);
}

#[test]
fn what_was_acknowledged_is_counted_and_survives_a_clean_stop() {
    let folder = Folder::with(PIPELINE);
    let process = folder.start_pipeline(&["--quiet"]);
    send(&process, 0);
    send(&process, 0);
    process.until("the other query has put out the rows", || (folder.lines("out/other").len() == 3).then_some(()));
    let (_, metrics) = process.get("/metrics");
    let sample = |name: &str| {
        metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {metrics}")).to_owned()
    };
    assert!(sample("tidemill_source_received_lines_total").ends_with(" 3"), "{metrics}");
    assert!(sample("tidemill_source_received_bytes_total").ends_with(" 27"), "{metrics}");
    process.stop();
    let ended = folder.start_pipeline(&["--set", "queries.pass.trigger=once", "--set", "queries.other.trigger=once"]).end();
    assert_eq!((ended.code, folder.lines("out/pass").len()), (0, 3), "{ended:?}");
}

#[test]
fn an_address_beyond_loopback_is_refused_without_token_and_encryption() {
    for (settings, missing) in [
        ("listen: \"0.0.0.0:0\", path: /rows", "a token is needed"),
        ("listen: \"0.0.0.0:0\", path: /rows, token: 0123456789abcdefghijkl", "tls is needed"),
        ("listen: \"127.0.0.1:0\", path: rows", "expected a path such as /transactions"),
        ("listen: \"127.0.0.1:0\", path: /rows, token: short", "22 characters"),
    ] {
        let folder = Folder::with(&PIPELINE.replace("listen: \"127.0.0.1:0\", path: /rows", settings));
        let ended = folder.run(&["check", "pipeline.yaml"]);
        assert!(ended.code == 2 && ended.stderr.contains(missing), "{settings}: {ended:?}");
    }
}

#[test]
fn rows_come_encrypted_to_an_address_beyond_loopback() {
    let (certificates, token) = (certificates(), "canary-0123456789abcdef");
    let path = |name: &str| certificates.path().join(name).display().to_string();
    let settings = |key: &str| {
        let tls = format!("{{ certificate: '{}', key: '{}' }}", path("server.pem"), path(key));
        PIPELINE.replace("listen: \"127.0.0.1:0\"", &format!("listen: \"0.0.0.0:0\", token: {token}, tls: {tls}"))
    };
    let ended = Folder::with(&settings("ca.pem")).start_pipeline(&["--quiet"]).end();
    assert!(ended.code != 0 && ended.stderr.contains("ca.pem"), "{ended:?}");
    let folder = Folder::with(&settings("server.key"));
    let process = folder.start_pipeline(&["--quiet"]);
    let address = SocketAddr::from(([127, 0, 0, 1], process.listening().port()));
    let authority = reqwest::Certificate::from_pem(&std::fs::read(path("ca.pem")).unwrap()).unwrap();
    let client = reqwest::Client::builder().add_root_certificate(authority).no_proxy().build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let status = |token: &str| {
        let request = client.post(format!("https://{address}/rows")).bearer_auth(token).body("{\"id\":1}\n");
        runtime.block_on(request.send()).unwrap().status().as_u16()
    };
    assert_eq!((status("wrong"), status(token)), (401, 200));
    process.until("the row is out", || (folder.lines("out/other").len() == 1).then_some(()));
    assert!(!process.so_far().contains("canary"), "{}", process.so_far());
    process.stop();
}
