//! Tokens and certificates: two at a time, each for its purpose, exchanged without a restart; and who shows too many wrong ones.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use super::super::binary::{Folder, PATIENCE, Running, answer, send};
use super::super::docs::pipelines;
use super::super::http_server::certificates;
use super::{ask, sample};

const PIPELINE: &str = r#"
name: guarded
checkpoint: checkpoint
sources:
  rows:
    from: { http: { listen: "127.0.0.1:0", path: /rows, token: [ ingest-one-0123456789ab, ingest-two-0123456789ab ] } }
    format: { json: { schema: "id BIGINT" } }
queries:
  pass: { sql: SELECT id FROM rows, to: { file: { path: out }, format: json } }
service:
  token: [ "${file:token}", operate-fixed-0123456789 ]
  read_token: read-0123456789abcdefgh
  metrics_token: metrics-0123456789abcdef
"#;
const OPERATE: &str = "operate-one-0123456789";
const FIXED: &str = "operate-fixed-0123456789";
const READ: &str = "read-0123456789abcdefgh";
const METRICS: &str = "metrics-0123456789abcdef";

fn start() -> (Folder, Running) {
    let folder = Folder::with(PIPELINE);
    folder.write("token", format!("{OPERATE}\n"));
    // Who controlled a query is said at every level.
    let running = folder.start_pipeline(&["--metrics", "127.0.0.1:0"]);
    running.until("it is ready", || (running.get("/readyz").0 == 200).then_some(()));
    (folder, running)
}

/// Where `--metrics` listens.
fn metrics_of(running: &Running) -> SocketAddr {
    let lines = running.stderr.all();
    let line = lines.iter().filter(|line| line.contains("metrics at http://")).nth(1).unwrap();
    line.rsplit("http://").next().unwrap().trim_end_matches("/metrics").parse().unwrap()
}

#[test]
fn a_token_lets_do_what_it_is_for_and_nothing_else() {
    let (_folder, running) = start();
    let (http, metrics) = (running.http(), metrics_of(&running));
    // Pausing what is paused is no mistake, so each status tells of the token alone.
    for (token, statuses) in [
        ("", [401, 401, 401, 200]),
        (METRICS, [403, 200, 403, 200]),
        (READ, [200, 200, 403, 200]),
        (OPERATE, [200, 200, 202, 200]),
        (FIXED, [200, 200, 202, 200]),
        ("ingest-one-0123456789ab", [401, 401, 401, 200]),
    ] {
        let paths = ["GET /queries", "GET /metrics", "POST /queries/pass/pause", "GET /healthz"];
        assert_eq!(paths.map(|path| ask(http, path, token).0), statuses, "{token}");
        let expected = if statuses[1] == 200 { 200 } else { 401 };
        assert_eq!(ask(metrics, "GET /metrics", token).0, expected, "{token}");
        assert_eq!(ask(metrics, "GET /healthz", token).0, 200);
    }
    let rows = running.listening();
    for (token, status) in [("", 401), ("ingest-one-0123456789ab", 200), ("ingest-two-0123456789ab", 200), (OPERATE, 401)] {
        assert_eq!(ask(rows, "POST /rows", token).0, status, "{token}");
    }
    // Two who may have changed something, each with its token and address.
    let said = running.stderr.all();
    let audit: Vec<_> = said.iter().filter(|line| line.contains("control asked for")).collect();
    assert_eq!(audit.len(), 2, "{said:?}");
    for (line, token) in audit.iter().zip(["operate-1", "operate-2"]) {
        for part in ["query=\"pass\"", "action=\"pause\"", "address=127.0.0.1", "status=202", &format!("token=\"{token}\"")] {
            assert!(line.contains(part), "no {part} in {line}");
        }
    }
    let (_, text) = ask(http, "GET /metrics", METRICS);
    let refused = |listener: &str, status: u16| {
        let labels = format!("{{listener=\"{listener}\",pipeline=\"guarded\",status=\"{status}\"}}");
        sample(&text, &format!("tidemill_listener_requests_refused_total{labels}"))
    };
    assert_eq!((refused("http", 403), refused("source.rows", 401), refused("source.rows", 503)), (3, 2, 0));
    assert!(sample(&text, "tidemill_listener_connections{listener=\"http\"") >= 1);
    running.stop();
}

#[test]
fn who_controls_a_query_is_said_at_every_level() {
    let folder = Folder::with(PIPELINE);
    folder.write("token", OPERATE);
    let running = folder.start(&["run", "pipeline.yaml", "--http", "127.0.0.1:14711", "--log-level", "error"]);
    let address: SocketAddr = "127.0.0.1:14711".parse().unwrap();
    running
        .until("it is ready", || (TcpStream::connect(address).is_ok() && ask(address, "GET /readyz", "").0 == 200).then_some(()));
    assert_eq!(ask(address, "POST /queries/pass/pause", OPERATE).0, 202);
    running.says("control asked for");
    let ended = running.stop();
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
}

#[test]
fn an_address_that_shows_many_wrong_tokens_waits() {
    let (_folder, running) = start();
    let (http, rows) = (running.http(), running.listening());
    for (address, what, right) in [(http, "GET /queries", READ), (rows, "POST /rows", "ingest-one-0123456789ab")] {
        let wrong: Vec<_> = (0..12).map(|n| ask(address, what, &format!("wrong-canary-0123456789-{n}")).0).collect();
        assert_eq!(wrong, [[401; 10].as_slice(), &[429, 429]].concat());
        let (status, text) = ask(address, what, right);
        assert!(status == 429 && text.contains("retry-after: "), "{text}");
        assert_eq!(ask(address, what, "").0, 401);
    }
    let said = running.so_far();
    assert_eq!(said.matches("10 wrong tokens within a minute").count(), 2, "{said}");
    assert!(said.contains("listener=\"source.rows\"") && !said.contains("canary"), "{said}");
    assert_eq!(ask(http, "GET /healthz", "").0, 200);
    running.stop();
}

#[test]
fn tokens_follow_their_files() {
    let (folder, running) = start();
    let http = running.http();
    let status = |token: &str| ask(http, "GET /queries", token).0;
    assert_eq!(status(OPERATE), 200);
    let failing = || sample(&ask(http, "GET /metrics", FIXED).1, "tidemill_listener_renewal_failing{listener=\"http\"");
    folder.write("token", "short");
    running.says("changed files cannot be used");
    running.until("the metric tells it", || (failing() == 1).then_some(()));
    assert_eq!((status(OPERATE), status("short")), (200, 401));
    folder.write("token", "operate-next-0123456789");
    running.says("read again");
    running.until("the metric tells it", || (failing() == 0).then_some(()));
    assert_eq!((status("operate-next-0123456789"), status(OPERATE), status(FIXED)), (200, 401, 200));
    assert!(sample(&ask(http, "GET /metrics", FIXED).1, "tidemill_listener_renewals_total{listener=\"http\"") >= 1);
    running.stop();
}

/// What a server at `address` shows to one who trusts `authority`, or why they do not agree.
async fn talk(address: SocketAddr, authority: &[u8], identity: Option<&[u8]>) -> Result<u16, String> {
    let trusted = reqwest::Certificate::from_pem(authority).unwrap();
    let mut client = reqwest::Client::builder().tls_built_in_root_certs(false).add_root_certificate(trusted).no_proxy();
    if let Some(identity) = identity {
        client = client.identity(reqwest::Identity::from_pem(identity).unwrap());
    }
    let request = client.build().unwrap().get(format!("https://{address}/queries")).bearer_auth(FIXED);
    request.send().await.map(|answer| answer.status().as_u16()).map_err(|error| format!("{error:?}"))
}

#[test]
fn certificates_are_exchanged_without_a_restart_and_clients_may_need_one() {
    let (folder, first, second) = (Folder::new(), certificates(), certificates());
    let read = |from: &Path, name: &str| fs::read(from.join(name)).unwrap();
    let put = |from: &Path| {
        for name in ["server.pem", "server.key", "ca.pem"] {
            folder.write(name, read(from, name));
        }
    };
    put(first.path());
    let tls = "  tls: { certificate: server.pem, key: server.key, client_ca: ca.pem }\n";
    folder.write("pipeline.yaml", format!("{PIPELINE}{tls}"));
    folder.write("token", OPERATE);
    let running = folder.start(&["run", "pipeline.yaml", "--http", "0.0.0.0:0"]);
    let address = running.says("live page at https://");
    let port: u16 = address.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let talk = |authority: &Path, identity: Option<&Path>| {
        let identity = identity.map(|from| [read(from, "client.key"), read(from, "client.pem")].concat());
        runtime.block_on(talk(address, &read(authority, "ca.pem"), identity.as_deref()))
    };
    assert_eq!(talk(first.path(), Some(first.path())), Ok(200));
    assert!(talk(first.path(), None).is_err(), "a client without a certificate came in");
    assert!(talk(first.path(), Some(second.path())).is_err(), "a client with another's certificate came in");
    // The key of another certificate: what was there before stays.
    folder.write("server.key", read(second.path(), "server.key"));
    running.says("changed files cannot be used");
    assert_eq!(talk(first.path(), Some(first.path())), Ok(200));
    put(second.path());
    running.says("read again");
    running.until("the new certificate is shown", || talk(second.path(), Some(second.path())).is_ok().then_some(()));
    assert!(talk(first.path(), Some(first.path())).is_err());
    // Nor does it speak what is older than TLS 1.2: a greeting of 1.1 is answered with an alert, `protocol_version`.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut hello = vec![0x16, 3, 1, 0, 57, 1, 0, 0, 53, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 4, 0xC0, 0x13, 0, 0x2F, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
    stream.write_all(&hello).unwrap();
    let mut answered = Vec::new();
    let _ = stream.read_to_end(&mut answered);
    assert!(answered.first() == Some(&0x15) && answered.last() == Some(&70), "{answered:?}");
    running.stop();
}

#[test]
fn what_is_in_clear_is_accepted_by_name_only() {
    let folder = Folder::with(&PIPELINE.replace("listen: \"127.0.0.1:0\"", "listen: \"0.0.0.0:0\""));
    folder.write("token", OPERATE);
    let ended = folder.run(&["check", "pipeline.yaml"]);
    assert!(ended.code == 2 && ended.stderr.contains("accept that with --i-know-insecure"), "{ended:?}");
    assert_eq!(folder.run(&["check", "pipeline.yaml", "--i-know-insecure"]).code, 0);
    let running = folder.start_pipeline(&["--i-know-insecure"]);
    running.says("listens beyond loopback without TLS");
    let address = SocketAddr::from(([127, 0, 0, 1], running.listening().port()));
    assert_eq!(ask(address, "POST /rows", "ingest-one-0123456789ab").0, 200);
    assert_eq!(ask(address, "POST /rows", "").0, 401);
    running.stop();
}

#[test]
fn an_http_source_takes_clients_from_networks_that_are_allowed() {
    let pipeline = PIPELINE.replace("path: /rows,", "path: /rows, allow_from: [10.0.0.0/8, 127.0.0.2],");
    let folder = Folder::with(&pipeline);
    folder.write("token", OPERATE);
    let running = folder.start_pipeline(&[]);
    let (status, text) = ask(running.listening(), "POST /rows", "ingest-one-0123456789ab");
    assert!(status == 403 && text.contains("your address is not allowed"), "{text}");
    running.says("client turned away");
    let (_, text) = ask(running.http(), "GET /metrics", METRICS);
    assert_eq!(sample(&text, "tidemill_listener_connections_refused_total{listener=\"source.rows\""), 1);
    // From an address that is: a client may choose any of loopback's.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    socket.connect(&running.listening().into()).unwrap();
    let mut stream = TcpStream::from(socket);
    write!(stream, "POST /rows HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(answer(&mut stream).0, 401);
    assert_eq!(send(running.http(), "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").0, 200);
    running.stop();
}

#[test]
fn the_guides_example_runs() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md")).unwrap();
    let example = pipelines(&guide).next().unwrap();
    let (folder, made) = (Folder::new(), certificates());
    folder.write("pipeline.yaml", example.replace("0.0.0.0:8443", "0.0.0.0:0").replace("10.0.0.0/8", "127.0.0.0/8"));
    for (name, from) in [("server.pem", "server.pem"), ("server.key", "server.key"), ("clients.pem", "ca.pem")] {
        folder.write(name, fs::read(made.path().join(from)).unwrap());
    }
    let environment = [("INGEST_TOKEN", "ingest-canary-0123456789"), ("TIDEMILL_TOKEN", OPERATE)];
    let running = folder.start_with(&["run", "pipeline.yaml", "--http", "0.0.0.0:0", "--quiet"], &environment);
    let address = SocketAddr::from(([127, 0, 0, 1], running.listening().port()));
    let trusted = reqwest::Certificate::from_pem(&fs::read(made.path().join("ca.pem")).unwrap()).unwrap();
    let client = reqwest::Client::builder().add_root_certificate(trusted).no_proxy().build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let post = |token: &str| {
        let request = client.post(format!("https://{address}/payments")).bearer_auth(token);
        runtime.block_on(request.body("{\"user\":\"ann\",\"amount\":120}\n").send()).unwrap().status().as_u16()
    };
    assert_eq!((post(OPERATE), post("ingest-canary-0123456789")), (401, 200));
    running.prints("|ann |120.0 |");
    let ended = running.stop();
    assert!(!ended.stderr.contains("canary"), "{ended:?}");
}
