use std::path::{Path, PathBuf};

use expect_test::Expect;

use super::*;

mod event_time;
mod function;
mod reading;
mod mistakes;
mod redis;
mod declared;

/// A right file: what is wrong with a snippet is then only what the snippet changes.
const RATE: &str = "sources: { r: { from: rate } }\n";
const QUERY: &str = "queries: { q: { sql: SELECT * FROM r, to: console } }\n";

/// One of everything.
const EVERY_SETTING: &str = r#"
version: 1
name: all-of-it
checkpoint: ./state//x
time_zone: Europe/Rome
sources:
  socket_in:
    from: { socket: { listen: "[::1]:0", allow_from: [10.0.0.0/8, 192.168.1.7], durable: true, include_timestamp: true,
                      max_rows_per_trigger: 10, max_bytes_per_trigger: 1 MiB } }
    format: text
    on_malformed: fail
  client:
    from: { socket: { connect: "localhost:5555", connect_timeout: 5s, durable: false } }
    format: { json: { schema: "a INT, b STRUCT<c: STRING>" } }
    on_malformed: DROP
  files:
    from:
      file:
        path: in/*.csv.gz
        max_files_per_trigger: 3
        max_file_age: 1h 30m
        clean_source: archive
        archive_to: done
    format: { csv: { schema: "a INT", header: true, separator: "\t", quote: "", escape: "", null_value: NA } }
  ticks:
    from: { rate: { rows_per_second: 5 } }
    watermark: { column: timestamp, delay: 5 minutes, max_future: 1 hour, idle_after: 1 minute }
tables:
  users: { from: { file: { path: ref/users.csv } }, format: { csv: { schema: "id INT" } } }
views:
  v: { sql: SELECT 1, watermark: { column: at, delay: 0s } }
queries:
  one:
    sql: SELECT 1
    output_mode: Update
    trigger: 2 seconds
    watermark_policy: max
    to:
      - { console: { num_rows: 5, truncate: 30 } }
      - { console: { truncate: false }, format: json, name: machine, select: SELECT * FROM result }
      - discard
  two:
    sql: SELECT 2
    scope: micro_batch
    trigger: available_now
    to: { file: { path: out, partition_by: [a, b] }, format: { csv: { header: true } } }
    dead_letter: { file: { path: bad }, format: json }
  three:
    sql: SELECT 3
    to:
      - kafka:
          bootstrap_servers: "a:1,b:2"
          tls: { ca: ca.pem, certificate: own.pem, key: own.key, key_password: "${env:SECRET:-hunter2}" }
          sasl: { mechanism: scram-sha-512, username: me, password: hunter2 }
          properties: { linger.ms: 5, compression.type: zstd }
          topic: out
          key: user
          guarantee: exactly_once
          transactional_id: team.out
          marker_topic: marks
          progress_topic: progress
          transaction_timeout: 2m
          request_timeout: 10s
        format: json
      - { kafka: { connection: main, guarantee: at_least_once }, name: columns }
connections:
  main: { kafka: { bootstrap_servers: "c:3", tls: {}, properties: { socket.timeout.ms: 9000 } } }
limits: { state_memory: 2 GiB, ingest_log: 8 MiB, stage: 3 MiB, line: 4 KiB, json_depth: 10, connections: 9 }
functions:
  risk:
    args: "user STRING, amount DOUBLE"
    returns: "score DOUBLE, band STRING"
    http:
      method: put
      url: https://risk.example/u/{user}?v=1
      query: { amount: "{amount}", n: 1 }
      headers: { X-Key: "${env:SECRET}", X-User: "{user}" }
      body: { amount: "{amount}", note: "of {user}", one: 1, yes: true, text: "1", none: ~, list: [1.5, "{user}"] }
      answer: { score: /data/score, band: /data/band }
      success: [200-299, 404]
      retry_on: 503
      auth:
        oauth2_password: { token_url: "https://login.example/token", client_id: tide, client_secret: "${env:SECRET}", username: jo,
                           password: "${env:SECRET}", client_auth: body, scope: read write, parameters: { audience: risk }, refresh_margin: 30s }
      allow_addresses: [10.0.0.0/8, "::1"]
      connect_timeout: 1s
      middleware: [timing, retry, headers, auth, body, rate_limit, breaker]
    timeout: 2s
    max_in_flight: 50
    on_error: return_null
    retry: { attempts: 5, base_delay: 10ms, max_delay: 1s, budget_percent: 100 }
    rate_limit: { calls: 30, per: 1 minute, burst: 3 }
    breaker: { failure_percent: 90, min_calls: 10, window: 1 minute, open_for: 10s }
    cache: { entries: 7, ttl: 1 hour, memory: 1 MiB }
    max_answer: 64 KiB
  items:
    args: id BIGINT
    returns: TABLE (sku STRING, n INT)
    http: { url: "https://shop.example/{id}", rows: /items, auth: { api_key: { query: key, value: "${env:SECRET}" } } }
    ordered: false
    breaker: { enabled: false }
"#;

fn read_with(text: &str, overrides: &[&str]) -> Result<Pipeline, Problems> {
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    let env = |name: &str| match name {
        "SECRET" => Some("hunter2".to_owned()),
        "ROWS" => Some("7".to_owned()),
        "TREE" => Some("{ console: {} }".to_owned()),
        _ => None,
    };
    parse(text, "p.yaml", Path::new("/base"), &overrides, &env)
}

fn read(text: &str) -> Pipeline {
    read_with(text, &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

fn check(text: &str, expected: Expect) {
    let problems = read_with(text, &[]).expect_err("the file is wrong");
    expected.assert_eq(&problems.to_string());
}

fn check_source(source: &str, expected: Expect) {
    check(&format!("sources:\n  s:\n{source}\n{QUERY}"), expected);
}

fn check_query(query: &str, expected: Expect) {
    check(&format!("checkpoint: c\n{RATE}queries:\n  q:\n    sql: SELECT 1\n{query}\n"), expected);
}

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let entries = std::fs::read_dir(folder).expect("the folder of examples");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    assert!(paths.len() >= 6, "{paths:?}");
    paths
}
