//! Controlling one query over HTTP while the others go on, and what the listener refuses.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tidemill::engine::control::{self, Requests};
use tidemill::engine::status::QueryMonitor;
use tidemill::metrics::Metrics;
use tidemill::service::{Access, Limits, Listening, Service, bind, serve};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::binary::{Folder, PATIENCE, Running, answer, get, send};
use super::http_server::certificates;

const OWN: &str = "X-Tidemill: 1\r\n";

const PIPELINE: &str = r#"
version: 1
name: control
checkpoint: checkpoint
sources:
  rows:
    from: { socket: { listen: "127.0.0.1:0" } }
    format: { json: { schema: "v BIGINT" } }
  files:
    from: { file: { path: in } }
    format: { json: { schema: "v BIGINT" } }
tables:
  divisor: { from: { file: { path: divisor.json } }, format: { json: { schema: "w BIGINT" } } }
queries:
  sums:
    sql: SELECT sum(v) AS total, count(*) AS n FROM rows
    output_mode: complete
    trigger: 50 ms
    to: { console: {}, format: json }
  pass:
    sql: SELECT v FROM rows
    to: { file: { path: out }, format: json }
  files:
    sql: SELECT v div w AS q FROM files JOIN divisor ON v > w
    to: { file: { path: quotients }, format: json }
"#;

fn post(address: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let head = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
    send(address, &format!("POST {path} HTTP/1.1\r\n{head}{headers}Connection: close\r\nContent-Length: 0\r\n\r\n"))
}

pub(crate) fn ask(running: &Running, query: &str, action: &str) -> u16 {
    post(running.http(), &format!("/queries/{query}/{action}"), OWN).0
}

fn start() -> (Folder, Running) {
    let folder = Folder::with(PIPELINE);
    folder.write("divisor.json", "{\"w\":5}\n");
    folder.write("in/a.json", "{\"v\":100}\n");
    let running = folder.start_pipeline(&[]);
    running.until("it is ready", || (running.get("/readyz").0 == 200).then_some(()));
    (folder, running)
}

#[test]
fn one_query_is_paused_stopped_and_restarted_while_the_others_go_on() {
    let (folder, running) = start();
    let mut client = running.client();
    client.write_all(b"{\"v\":1}\n").unwrap();
    running.prints(r#"{"total":1,"n":1}"#);
    assert_eq!(ask(&running, "sums", "pause"), 202);
    running.becomes("sums", "paused");
    assert_eq!(running.get("/readyz"), (503, "sums paused\n".to_owned()));
    client.write_all(b"{\"v\":2}\n").unwrap();
    running.until("the other query goes on", || (folder.lines("out").len() == 2).then_some(()));
    assert!(running.stdout.all().last().unwrap().contains(r#"{"total":1,"n":1}"#));
    assert_eq!(ask(&running, "sums", "resume"), 202);
    running.prints(r#"{"total":3,"n":2}"#);

    assert_eq!(ask(&running, "sums", "stop"), 202);
    running.becomes("sums", "stopped");
    for (action, status) in [("pause", 409), ("resume", 409), ("stop", 202)] {
        assert_eq!(ask(&running, "sums", action), status, "{action}");
    }
    client.write_all(b"{\"v\":4}\n").unwrap();
    running.until("the other query goes on", || (folder.lines("out").len() == 3).then_some(()));
    assert_eq!(ask(&running, "sums", "restart"), 202);
    running.prints(r#"{"total":7,"n":3}"#);
    // A query that runs is ended first; its state comes from the checkpoint, and a pause is over.
    assert_eq!(ask(&running, "sums", "pause"), 202);
    assert_eq!(ask(&running, "sums", "restart"), 202);
    client.write_all(b"{\"v\":8}\n").unwrap();
    running.prints(r#"{"total":15,"n":4}"#);
    assert_eq!(ask(&running, "nobody", "pause"), 404);
    assert_eq!(ask(&running, "sums", "explode"), 404);
    let ended = running.stop();
    assert_eq!(ended.stdout.matches(r#""n":2}"#).count(), 1, "{ended:?}");
}

#[test]
fn a_query_that_failed_is_restarted_and_the_process_waits_for_those_that_were_stopped() {
    let (folder, running) = start();
    running.until("the first row is out", || (folder.lines("quotients").len() == 1).then_some(()));
    // A restart reads the table again; so one can be broken, and mended.
    folder.write("divisor.json", "{\"w\":0}\n");
    assert_eq!(ask(&running, "files", "restart"), 202);
    let started = |lines: &[String]| lines.iter().filter(|line| line.contains(r#"query started query="files""#)).count();
    running.until("it is restarted", || (started(&running.stderr.all()) == 2).then_some(()));
    folder.write("in/b.json", "{\"v\":100}\n");
    running.becomes("files", "failed");
    folder.write("divisor.json", "{\"w\":4}\n");
    assert_eq!(ask(&running, "files", "restart"), 202);
    running.until("the row is out", || folder.lines("quotients").contains_key(r#"{"q":25}"#).then_some(()));
    assert_eq!(running.state_of("files"), "running");
    for query in ["sums", "pass", "files"] {
        assert_eq!(ask(&running, query, "stop"), 202);
        running.becomes(query, "stopped");
    }
    assert_eq!(running.get("/healthz").0, 200);
    assert_eq!(ask(&running, "pass", "restart"), 202);
    running.becomes("pass", "running");
    // What failed and was mended is no failure of the process.
    running.stop();
}

#[test]
fn a_pause_and_a_stop_hold_through_restarts_of_the_process() {
    let (folder, running) = start();
    running.until("the first row is out", || (folder.lines("quotients").len() == 1).then_some(()));
    for (query, action, state) in [("sums", "pause", "paused"), ("files", "stop", "stopped")] {
        assert_eq!(ask(&running, query, action), 202);
        running.becomes(query, state);
    }
    running.stop();
    folder.write("in/b.json", "{\"v\":50}\n");
    let running = folder.start_pipeline(&[]);
    running.says(r#"the query was paused by request, and stays so until it is resumed query="sums""#);
    running.says(r#"the query was stopped by request, and stays so until it is restarted query="files""#);
    running.becomes("sums", "paused");
    assert_eq!(running.state_of("files"), "stopped");
    running.client().write_all(b"{\"v\":1}\n").unwrap();
    running.until("the other query goes on", || (folder.lines("out").len() == 1).then_some(()));
    assert_eq!((running.stdout.all().len(), folder.lines("quotients").len()), (0, 1));
    assert_eq!((ask(&running, "sums", "resume"), ask(&running, "files", "restart")), (202, 202));
    running.prints(r#"{"total":1,"n":1}"#);
    running.until("the file is read", || folder.lines("quotients").contains_key(r#"{"q":10}"#).then_some(()));
    running.stop();
    let running = folder.start_pipeline(&[]);
    running.until("it is ready", || (running.get("/readyz").0 == 200).then_some(()));
    let ended = running.stop();
    assert!(!ended.stderr.contains("by request"), "{ended:?}");
}

#[test]
fn what_another_site_may_have_sent_changes_nothing() {
    let (_folder, running) = start();
    let address = running.http();
    let refused = [
        "",
        "Content-Type: text/plain\r\n",
        "Host: evil.example\r\nX-Tidemill: 1\r\n",
        "Host: 127.0.0.1.evil.example\r\nX-Tidemill: 1\r\n",
        "X-Tidemill: 1\r\nOrigin: http://evil.example\r\n",
        "X-Tidemill: 1\r\nOrigin: null\r\n",
        "X-Tidemill: 1\r\nSec-Fetch-Site: cross-site\r\n",
    ];
    for headers in refused {
        let (status, text) = post(address, "/queries/sums/stop", headers);
        assert_eq!(status, 403, "{headers:?}: {text}");
    }
    for path in ["/", "/queries", "/events", "/metrics"] {
        let (status, text) = send(address, &format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"));
        assert_eq!(status, 403, "{path}: {text}");
        assert!(!text.to_lowercase().contains("access-control"), "{text}");
    }
    assert_eq!(send(address, "GET /queries/sums/stop HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").0, 405);
    assert_eq!(running.state_of("sums"), "running");
    let own = format!("{OWN}Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n");
    assert_eq!(post(address, "/queries/sums/pause", &own).0, 202);
    assert_eq!(post(address, "/queries/sums/resume", "Content-Type: application/json\r\n").0, 202);
    let (_, page) = send(address, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    for told in ["content-security-policy: default-src 'none'", "x-frame-options: DENY", "x-content-type-options: nosniff"] {
        assert!(page.contains(told), "no {told:?} in {page}");
    }
    running.stop();
}

#[test]
fn beyond_loopback_control_needs_a_token() {
    let folder = Folder::with(PIPELINE);
    folder.write("divisor.json", "{\"w\":5}\n");
    for (arguments, said) in [
        (&[][..], "Set service.token"),
        (&["--i-know-insecure"][..], "Set service.token"),
        (&["--set", "service.token=${env:CONTROL_TOKEN}"][..], "--i-know-insecure"),
        (&["--set", "service.token=short", "--i-know-insecure"][..], "22 characters"),
        (&["--http-token-file", "no-such-file"][..], "no-such-file"),
    ] {
        let all = [&["run", "pipeline.yaml", "--http", "0.0.0.0:0"], arguments].concat();
        let ended = folder.start_with(&all, &[("CONTROL_TOKEN", "canary-0123456789abcdef")]).end();
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(said), "no {said:?} in {}", ended.stderr);
    }
    let token = "canary-0123456789abcdef";
    folder.write("in/a.json", "{\"v\":100}\n");
    let arguments =
        ["run", "pipeline.yaml", "--http", "0.0.0.0:0", "--i-know-insecure", "--set", "service.token=${env:CONTROL_TOKEN}"];
    let running = folder.start_with(&arguments, &[("CONTROL_TOKEN", token)]);
    let address = SocketAddr::from(([127, 0, 0, 1], running.http().port()));
    running.says("in clear");
    running.until("it is ready", || (get(address, "/readyz").0 == 200).then_some(()));
    for path in ["/queries", "/queries/sums", "/events", "/metrics", "/queries/sums/plan"] {
        let (status, text) = send(address, &format!("GET {path} HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n"));
        assert_eq!(status, 401, "{path}: {text}");
        assert!(text.contains("www-authenticate: Bearer"), "{text}");
    }
    assert_eq!(get(address, "/healthz").0, 200);
    assert_eq!(post(address, "/queries/sums/pause", OWN).0, 401);
    assert_eq!(post(address, "/queries/sums/pause", &format!("{OWN}Authorization: Bearer {token}x\r\n")).0, 401);
    assert_eq!(post(address, "/queries/sums/pause", &format!("{OWN}Authorization: Bearer {token}\r\n")).0, 202);
    let shown = format!("GET /queries HTTP/1.1\r\nHost: any\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
    let (status, text) = send(address, &shown);
    assert!(status == 200 && !text.contains(token), "{text}");
    let ended = running.stop();
    assert!(!ended.stderr.contains(token) && !ended.stdout.contains(token), "{ended:?}");
    for name in folder.names() {
        let bytes = std::fs::read(folder.path(&name)).unwrap();
        assert!(!bytes.windows(token.len()).any(|part| part == token.as_bytes()), "{name} holds the token");
    }
}

#[test]
fn what_is_encrypted_needs_only_a_token() {
    let token = "canary-0123456789abcdef";
    let certificates = certificates();
    let folder = Folder::with(PIPELINE);
    folder.write("divisor.json", "{\"w\":5}\n");
    folder.write("in/a.json", "{\"v\":100}\n");
    let settings = |key: &str| {
        let path = |name: &str| certificates.path().join(name).display().to_string();
        format!("service={{token: {token}, tls: {{certificate: '{}', key: '{}'}}}}", path("server.pem"), path(key))
    };
    let ended = folder.run(&["run", "pipeline.yaml", "--http", "0.0.0.0:0", "--set", &settings("ca.pem")]);
    assert!(ended.code == 2 && ended.stderr.contains("ca.pem"), "{ended:?}");
    let running = folder.start(&["run", "pipeline.yaml", "--http", "0.0.0.0:0", "--set", &settings("server.key")]);
    let address = running.says("live page at https://");
    let port: u16 = address.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
    let authority = std::fs::read(certificates.path().join("ca.pem")).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let authority = reqwest::Certificate::from_pem(&authority).unwrap();
        let client = reqwest::Client::builder().add_root_certificate(authority).no_proxy().build().unwrap();
        let ask = |token: &str| client.get(format!("https://127.0.0.1:{port}/queries")).bearer_auth(token).send();
        assert_eq!(ask("wrong").await.unwrap().status(), 401);
        let answer = ask(token).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.text().await.unwrap().contains("sums"));
    });
    // Who does not speak TLS is not answered.
    let (status, _) = send(SocketAddr::from(([127, 0, 0, 1], port)), "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(status, 0);
    assert!(!running.so_far().contains("in clear"));
    running.stop();
}

/// A service in this process, whose limits are short.
struct Served {
    runtime: Runtime,
    address: SocketAddr,
    stop: CancellationToken,
    _requests: Requests,
}

impl Served {
    fn start(limits: Limits, queries: Vec<QueryMonitor>) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (control, requests) = control::channel();
        let stop = CancellationToken::new();
        let service = Service::new("limits", queries, Metrics::new().unwrap(), stop.clone());
        let service = service.with_control(control, Access::default());
        let listener = runtime.block_on(bind("127.0.0.1:0".parse().unwrap(), false)).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, service.control(), Listening::new(limits, Access::default()), stop.clone()));
        Self { runtime, address, stop, _requests: requests }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
        let _in = self.runtime.enter();
    }
}

#[test]
fn heads_and_bodies_have_limits() {
    let served = Served::start(Limits::default(), vec![QueryMonitor::new("q")]);
    let large = "x".repeat(20 << 10);
    let (status, _) = send(served.address, &format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Large: {large}\r\n\r\n"));
    assert_eq!(status, 431);
    let (status, _) = send(served.address, &format!("GET /{large} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert!(matches!(status, 414 | 431), "{status}");
    let many = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect::<String>();
    let (status, _) = send(served.address, &format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"));
    assert_eq!(status, 431);
    let head = format!("POST /queries/q/pause HTTP/1.1\r\nHost: localhost\r\n{OWN}Connection: close\r\n");
    let (status, _) = send(served.address, &format!("{head}Content-Length: {}\r\n\r\n{large}", large.len()));
    assert_eq!(status, 413);
    let (status, _) = send(served.address, &format!("{head}Transfer-Encoding: chunked\r\n\r\n5000\r\n{large}\r\n0\r\n\r\n"));
    assert_eq!(status, 413);
    assert_eq!(get(served.address, "/healthz").0, 200);
}

#[test]
fn connections_have_a_limit_and_slow_ones_do_not_keep_their_place() {
    let limits = Limits { connections_max: 4, head_timeout: Duration::from_millis(500), ..Limits::default() };
    let served = Served::start(limits, Vec::new());
    // Slow loris: a head that never ends, and no word at all.
    let mut slow: Vec<_> = (0..4).map(|_| TcpStream::connect(served.address).unwrap()).collect();
    for (n, stream) in slow.iter_mut().enumerate().skip(1) {
        write!(stream, "GET /healthz HTTP/1.1\r\nX-{n}: ").unwrap();
    }
    let mut further = TcpStream::connect(served.address).unwrap();
    let (status, text) = answer(&mut further);
    assert!(status == 503 && text.ends_with("too many connections\n"), "{text}");
    // Closed by the server, each of them.
    for stream in &mut slow {
        let (status, _) = answer(stream);
        assert!(matches!(status, 0 | 408), "{status}");
    }
    assert_eq!(get(served.address, "/healthz").0, 200);
}

#[test]
fn a_follower_that_does_not_read_is_dropped_and_holds_nobody_up() {
    let limits = Limits { write_timeout: Duration::from_millis(500), ..Limits::default() };
    // Much to tell at once: more than the buffers of a connection hold.
    let queries: Vec<_> = (0..40_000).map(|n| QueryMonitor::new(&format!("query-{n}"))).collect();
    let served = Served::start(limits, queries);
    let mut stuck = TcpStream::connect(served.address).unwrap();
    socket2::SockRef::from(&stuck).set_recv_buffer_size(4096).unwrap();
    stuck.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let deadline = Instant::now() + PATIENCE;
    // Nobody reads until the server has given up: then writing fails.
    while stuck.write_all(b"x").is_ok() {
        assert!(Instant::now() < deadline, "the connection is kept");
        super::binary::pause(Duration::from_millis(50));
        assert_eq!(get(served.address, "/healthz").0, 200);
    }
}

#[test]
fn followers_have_a_limit() {
    let served = Served::start(Limits::default(), vec![QueryMonitor::new("q")]);
    let follow = || {
        let mut stream = TcpStream::connect(served.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /events?query=q HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut start = [0; 16];
        stream.read_exact(&mut start).unwrap();
        (stream, String::from_utf8_lossy(&start).into_owned())
    };
    let followers: Vec<_> = (0..33).map(|_| follow()).collect();
    let served_first = followers.iter().filter(|(_, start)| start.starts_with("HTTP/1.1 200")).count();
    assert_eq!(served_first, 32);
    assert!(followers[32].1.starts_with("HTTP/1.1 503"), "{}", followers[32].1);
}
