//! A canary for each feature that holds a secret: all of them work, fail, and are looked at from every side, and no canary is found.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::binary::{Folder, PATIENCE, Running, send};
use super::super::http_server::{HttpServer, reply};
use super::super::python::interpreter;
use super::ask;

/// Names of the secrets; each is a variable of the environment or a file.
const NAMES: [&str; 21] = [
    "TOKEN",
    "READ",
    "METRICS",
    "INGEST",
    "URL",
    "HEADER",
    "BODY",
    "BASIC_USER",
    "BASIC_PASSWORD",
    "BEARER",
    "OAUTH_URL",
    "OAUTH_ID",
    "OAUTH_SECRET",
    "REDIS_PASSWORD",
    "SASL_USER",
    "SASL_PASSWORD",
    "S3_ID",
    "S3_SECRET",
    "S3_SESSION",
    "WORKER",
    "PARAMETER",
];

/// A secret with signs that are written differently in a URL, in JSON and in base64.
fn secret(name: &str) -> String {
    format!("c4n4ry/{name}+k3p7=s3cr37&?")
}

/// Each kind of function, source and sink that is given a secret. What they reach refuses them, or is not there.
fn pipeline(http: SocketAddr, redis: SocketAddr, nobody: SocketAddr) -> String {
    let local = "allow_addresses: 127.0.0.1";
    let calls = "returns: STRING, on_error: return_null, retry: { attempts: 2, base_delay: 1ms }";
    format!(
        r#"
name: canary
checkpoint: checkpoint
connections:
  lake:
    s3: {{ bucket: lake, endpoint: "http://{http}", allow_http: true, access_key_id: "${{env:S3_ID}}",
          secret_access_key: "${{env:S3_SECRET}}", session_token: "${{env:S3_SESSION}}", allow_addresses: 127.0.0.1 }}
  store: {{ redis: {{ address: "{redis}", username: jo, password: "${{env:REDIS_PASSWORD}}" }} }}
sources:
  rows:
    from: {{ http: {{ listen: "127.0.0.1:0", path: /rows, token: "${{file:secrets/INGEST}}" }} }}
    format: {{ json: {{ schema: "user STRING" }} }}
functions:
  plain: {{ args: user STRING, {calls}, http: {{ url: "http://{http}/${{env:URL}}/{{user}}?k=${{env:URL}}", headers: {{ X-Key: "${{env:HEADER}}" }},
           body: [ "${{env:BODY}}" ], {local} }} }}
  basic: {{ args: user STRING, {calls}, http: {{ url: "http://{http}/{{user}}",
           auth: {{ basic: {{ username: "${{env:BASIC_USER}}", password: "${{env:BASIC_PASSWORD}}" }} }}, {local} }} }}
  bearer: {{ args: user STRING, {calls}, http: {{ url: "http://{http}/{{user}}", auth: {{ bearer: {{ token: "${{file:secrets/BEARER}}" }} }}, {local} }} }}
  oauth: {{ args: user STRING, {calls}, http: {{ url: "http://{http}/{{user}}", {local},
           auth: {{ oauth2_client_credentials: {{ token_url: "http://{http}/token?t=${{env:OAUTH_URL}}", client_id: "${{env:OAUTH_ID}}",
                   client_secret: "${{env:OAUTH_SECRET}}" }} }} }} }}
  away: {{ args: user STRING, {calls}, http: {{ url: "http://{nobody}/${{env:URL}}?k={{user}}", {local} }} }}
  object: {{ args: user STRING, returns: STRING, on_error: return_null, retry: {{ attempts: 1 }}, object: {{ connection: lake, path: "{{user}}" }} }}
  cached: {{ args: user STRING, {calls}, redis: {{ connection: store, get: "k:{{user}}" }} }}
  worker: {{ args: user STRING, returns: STRING, on_error: return_null, retry: {{ attempts: 1 }}, python: {{ file: f.py, interpreter: "{python}" }},
            parameters: {{ key: "${{env:PARAMETER}}" }} }}
queries:
  calls:
    sql: SELECT user, plain(user) AS a, basic(user) AS b, bearer(user) AS c, oauth(user) AS d, away(user) AS e, object(user) AS f, worker(user) AS g FROM rows
    to: {{ file: {{ path: out }}, format: json }}
    dead_letter: {{ file: {{ path: bad }}, format: json }}
  reads_redis: {{ sql: "SELECT user, cached(user) AS c FROM rows", to: {{ file: {{ path: out2 }}, format: json }} }}
  writes_redis: {{ sql: SELECT user FROM rows, to: {{ redis: {{ connection: store, operation: set_add, key: users, value: "{{user}}" }} }} }}
service:
  token: "${{file:secrets/TOKEN}}"
  read_token: "${{env:READ}}"
  metrics_token: "${{env:METRICS}}"
"#,
        python = interpreter(),
    )
}

/// The same with Kafka, which is not there: such queries do not begin.
fn of_kafka(nobody: SocketAddr) -> String {
    format!(
        r#"
name: canary
checkpoint: checkpoint
connections:
  cluster:
    kafka: {{ bootstrap_servers: "{nobody}", sasl: {{ mechanism: PLAIN, username: "${{env:SASL_USER}}", password: "${{env:SASL_PASSWORD}}" }},
             properties: {{ ssl.key.password: "${{env:TOKEN}}", debug: "security,broker" }} }}
sources:
  topic: {{ from: {{ kafka: {{ connection: cluster, subscribe: orders, request_timeout: 2s }} }}, format: text }}
  files: {{ from: {{ file: {{ path: in }} }}, format: text }}
queries:
  reads: {{ sql: SELECT * FROM topic, trigger: available_now, to: {{ console: {{}} }} }}
  writes: {{ sql: SELECT value FROM files, trigger: available_now, to: {{ kafka: {{ connection: cluster, topic: out, request_timeout: 2s }}, format: json }} }}
"#
    )
}

/// A server of Redis that lets nobody in, and says what it was told, as a careless one might.
fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    // Commands come as `*2\r\n...`; each has its answer.
                    let commands = buffer[..read].split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"*")).count();
                    let answer = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n".repeat(commands);
                    if stream.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Every way of writing a secret that is looked for.
fn disguises(secret: &str) -> Vec<Vec<u8>> {
    let encoded: String = secret
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { (byte as char).to_string() } else { format!("%{byte:02X}") })
        .collect();
    let mut all = vec![secret.as_bytes().to_vec(), encoded.to_lowercase().into_bytes(), encoded.into_bytes()];
    // Base64 depends on where in the text the secret begins; its first and last signs on what stands beside it.
    for before in 0..3 {
        let text = STANDARD.encode(format!("{}{secret}", &"   "[..before]));
        all.push(text.as_bytes()[4..text.len() - 4].to_vec());
    }
    all.push(secret.bytes().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes());
    // The sign of the URL that a JSON text or a log would escape.
    all.push(secret.replace('&', "\\u0026").into_bytes());
    all
}

fn all_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all_files(&path, files) } else { files.push(path) }
    }
}

/// What a server of events says first.
fn first_event(address: SocketAddr, token: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /events?query=calls HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n").unwrap();
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.contains("data: ") || !text.ends_with("\n\n\r\n") {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            read => text.push_str(&String::from_utf8_lossy(&buffer[..read])),
        }
    }
    text
}

/// Everything that the process answers.
fn answers(running: &Running) -> Vec<(String, Vec<u8>)> {
    let http = running.http();
    let mut told = vec![("/events".to_owned(), first_event(http, &secret("READ")).into_bytes())];
    let queries = ["calls", "reads_redis", "writes_redis"];
    let of_queries = queries.iter().flat_map(|query| ["", "/progress", "/plan"].map(|part| format!("/queries/{query}{part}")));
    for path in ["/", "/metrics", "/queries", "/readyz", "/healthz", "/none"].map(str::to_owned).into_iter().chain(of_queries) {
        let (status, text) = ask(http, &format!("GET {path}"), &secret("TOKEN"));
        assert!(status > 0, "{path}");
        told.push((path, text.into_bytes()));
    }
    for query in queries {
        told.push((query.to_owned(), ask(http, &format!("POST /queries/{query}/restart"), &secret("TOKEN")).1.into_bytes()));
    }
    // Wrong ones are secrets, too: of somebody who has mistaken the field, or the server.
    let (_, wrong) = ask(http, &format!("GET /queries?token={}", secret("BODY")), &secret("BASIC_PASSWORD"));
    told.push(("a wrong token".to_owned(), wrong.into_bytes()));
    told
}

#[test]
fn no_secret_is_found_anywhere() {
    let server = HttpServer::start(|seen| async move {
        match seen.path.as_str() {
            "/token" => reply(
                400,
                format!("{{\"error\": \"invalid_client\", \"error_description\": \"{}\"}}", seen.header("authorization")),
            ),
            // Says back whatever it was told, where no answer is expected.
            _ => reply(403, format!("{seen:?}")),
        }
    });
    let nobody = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let folder = Folder::with(&pipeline(server.address, refusing(), nobody));
    let failing = "import os\nasync def worker(context, values):\n    raise ValueError(f\"no {values} {len(os.environ['WORKER'])}\")\n    yield None\n";
    folder.write("f.py", failing);
    let kept = Folder::new();
    for name in NAMES {
        kept.write(name, secret(name));
    }
    std::os::unix::fs::symlink(kept.path(""), folder.path("secrets")).unwrap();
    let secrets: Vec<_> = NAMES.map(|name| (name, secret(name))).into();
    let environment: Vec<_> = secrets.iter().map(|(name, secret)| (*name, secret.as_str())).collect();
    let running = folder.start_with(&["run", "pipeline.yaml", "--http", "127.0.0.1:0", "--log-level", "trace"], &environment);
    running.says("listening source=\"rows\"");
    let rows = running.listening();
    let body = "{\"user\":\"ann\"}\nno json\n";
    let request = |token: &str| {
        let length = body.len();
        let head = format!("POST /rows HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n");
        send(rows, &format!("{head}Content-Length: {length}\r\n\r\n{body}"))
    };
    assert_eq!(request(&secret("INGEST")).0, 200);
    let (_, wrong) = request(&secret("BEARER"));
    running.until("every function was asked", || {
        let seen = format!("{:?}", server.seen());
        let alive = ["HEADER", "BODY", "BEARER", "S3_SESSION"].iter().all(|name| seen.contains(&secret(name)));
        (alive && seen.contains("/token") && folder.lines("out").len() == 2).then_some(())
    });
    running.says("query failed query=\"writes_redis\"");
    running.until("Redis has refused the function, too", || {
        let has_failed = running.stderr.all().iter().any(|line| line.contains("query failed query=\"reads_redis\""));
        (has_failed || !folder.lines("out2").is_empty()).then_some(())
    });
    let mut left = answers(&running);
    left.push(("a wrong token of the source".to_owned(), wrong.into_bytes()));
    running.signal(rustix::process::Signal::TERM);
    let ended = running.end();
    left.push(("output".to_owned(), format!("{}{}", ended.stdout, ended.stderr).into_bytes()));
    let kafka = Folder::with(&of_kafka(nobody));
    kafka.write("in/a.txt", "a\n");
    let ended = kafka.start_with(&["run", "pipeline.yaml", "--http", "127.0.0.1:0", "--log-level", "trace"], &environment).end();
    assert!(ended.code != 0, "{ended:?}");
    left.push(("output of Kafka".to_owned(), format!("{}{}", ended.stdout, ended.stderr).into_bytes()));
    for command in [
        &["check", "pipeline.yaml"][..],
        &["explain", "pipeline.yaml"],
        &["inspect", "checkpoint"],
        &["checkpoint", "verify", "checkpoint"],
    ] {
        let ended = folder.start_with(command, &environment).end();
        left.push((command.join(" "), format!("{}{}", ended.stdout, ended.stderr).into_bytes()));
    }
    // Mistakes of a file are shown with what is wrong, but for what references stand for.
    for (name, setting) in
        [("connections.lake.s3.endpoint", "${env:S3_SECRET}"), ("limits.line", "${env:TOKEN}"), ("service.token", "${env:URL} x")]
    {
        let ended = folder.start_with(&["check", "pipeline.yaml", "--set", &format!("{name}={setting}")], &environment).end();
        assert_eq!(ended.code, 2, "{name}: {ended:?}");
        left.push((name.to_owned(), format!("{}{}", ended.stdout, ended.stderr).into_bytes()));
    }
    fs::remove_file(folder.path("secrets")).unwrap();
    let mut files = Vec::new();
    all_files(&folder.path(""), &mut files);
    all_files(&kafka.path(""), &mut files);
    assert!(files.len() > 10, "{files:?}");
    left.extend(files.into_iter().map(|file| (file.display().to_string(), fs::read(&file).unwrap())));
    for (place, bytes) in &left {
        if let Some(at) = memchr::memmem::find(bytes, b"c4n4ry") {
            let around = &bytes[at.saturating_sub(200)..bytes.len().min(at + 100)];
            panic!("a canary in {place}: {:?}", String::from_utf8_lossy(around));
        }
        for (name, secret) in &secrets {
            for disguise in disguises(secret) {
                let at = memchr::memmem::find(bytes, &disguise);
                assert!(at.is_none(), "{name} as {:?} in {place}", String::from_utf8_lossy(&disguise));
            }
        }
    }
}
