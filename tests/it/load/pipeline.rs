//! What runs: five sources of each kind, and five queries on them.

use std::fmt::Write;

use super::super::binary::Folder;
use super::super::kafka::Broker;

/// Kinds of sources.
pub(super) const KINDS: [&str; 4] = ["socket", "http", "file", "kafka"];
/// Sources of a kind.
pub(super) const EACH: usize = 5;
/// Its sink is slow, and only it reads [`SLOW_SOURCE`].
pub(super) const SLOW_QUERY: &str = "http_last";
/// The source that is held back.
pub(super) const SLOW_SOURCE: &str = "http4";
/// Groups of the queries that count.
pub(super) const GROUPS: u64 = 50;
/// Partitions of a topic that is read.
pub(super) const PARTITIONS: u32 = 2;

/// A query, and the sources that it reads.
pub(super) struct Query {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) reads: Vec<String>,
    /// Names of its sinks.
    pub(super) sinks: Vec<&'static str>,
}

/// A folder with the pipeline, and what stands around it.
pub(super) struct Stand {
    pub(super) folder: Folder,
    /// The name of the pipeline, which no other has.
    pub(super) name: String,
    /// Topics that the Kafka sources read, and those that queries write: of rows and of counts, by kind.
    pub(super) topics: Vec<String>,
    pub(super) rows: Vec<String>,
    pub(super) counts: Vec<String>,
}

impl Stand {
    /// A pipeline on these servers; `slow` is the address of the slow one.
    pub(super) fn new(broker: &Broker, slow: std::net::SocketAddr, name: &str) -> Self {
        let topics = |count: usize, partitions| (0..count).map(|_| broker.topic(partitions)).collect::<Vec<_>>();
        let (topics, rows, counts) = (topics(EACH, PARTITIONS), topics(KINDS.len(), 2), topics(KINDS.len(), 1));
        let mut text = format!(
            "version: 1\nname: {name}\ncheckpoint: checkpoint\nlimits: {{ connections: 4096, ingest_log: 4 MiB }}\nconnections:\n  \
             main: {{ kafka: {{ bootstrap_servers: \"{}\" }} }}\n  slow: {{ redis: {{ address: \"{slow}\" }} }}\ntables:\n  \
             names: {{ from: {{ file: {{ path: names.json }} }}, format: {{ json: {{ schema: \"n BIGINT, name STRING\" }} }} }}\nsources:\n",
            broker.address
        );
        for kind in KINDS {
            for (at, topic) in topics.iter().enumerate() {
                let from = match kind {
                    "socket" => "socket: { listen: \"127.0.0.1:0\" }".to_owned(),
                    "http" => {
                        let most = if format!("http{at}") == SLOW_SOURCE { ", max_rows_per_trigger: 200" } else { "" };
                        format!("http: {{ listen: \"127.0.0.1:0\", path: /rows{most} }}")
                    }
                    // Two queries read the first of them, which therefore stays.
                    "file" if at == 0 => "file: { path: in/0 }".to_owned(),
                    "file" => format!("file: {{ path: in/{at}, clean_source: delete }}"),
                    _ => format!("kafka: {{ connection: main, subscribe: {topic}, starting_offsets: earliest }}"),
                };
                let format = "format: { json: { schema: \"id BIGINT\" } }\n    on_malformed: drop";
                writeln!(text, "  {kind}{at}:\n    from: {{ {from} }}\n    {format}").unwrap();
            }
        }
        text.push_str("queries:\n");
        for (at, kind) in KINDS.into_iter().enumerate() {
            queries(kind, &rows[at], &counts[at], name, &mut text);
        }
        let folder = Folder::with(&text);
        let names = (0..10).map(|n| format!("{{\"n\":{n},\"name\":\"name{n}\"}}\n"));
        folder.write("names.json", names.collect::<String>());
        for at in 0..EACH {
            std::fs::create_dir_all(folder.path(&format!("in/{at}"))).unwrap();
        }
        Self { folder, name: name.to_owned(), topics, rows, counts }
    }

    /// All queries.
    pub(super) fn queries(&self) -> Vec<Query> {
        let of = |kind: &'static str| {
            let query = |name: &str, reads: &[usize], sinks: &[&'static str]| Query {
                name: format!("{kind}_{name}"),
                kind,
                reads: reads.iter().map(|at| format!("{kind}{at}")).collect(),
                sinks: sinks.to_vec(),
            };
            let last = match kind {
                "socket" => "console",
                "http" => "redis",
                _ => "file",
            };
            [
                query("rows", &[0], &["file"]),
                query("odd", &[0], &["discard"]),
                query("both", &[1, 2], &["kafka"]),
                query("counts", &[3], &["kafka", "metric"]),
                query("last", &[4], &[last]),
            ]
        };
        KINDS.into_iter().flat_map(of).collect()
    }
}

/// The queries on the sources of a kind: copied, filtered, united, counted, and one of its own.
fn queries(kind: &str, rows: &str, counts: &str, name: &str, text: &mut String) {
    let last = match kind {
        "socket" => format!(
            "sql: SELECT count(*) AS n FROM {kind}4\n    output_mode: complete\n    trigger: 2 seconds\n    to: {{ console: {{}}, format: json }}"
        ),
        // One operation a row, in chunks that the slow server makes wait for.
        "http" => format!(
            "sql: SELECT id, 1 AS one FROM {kind}4\n    to: {{ redis: {{ connection: slow, operation: atomic_add, key: \"{name}\", \
             field: \"{{id}}\", amount: one, chunk_size: 50 }} }}"
        ),
        "file" => format!(
            "sql: SELECT id, id % 4 AS quarter FROM {kind}4\n    trigger: 1 second\n    \
             to: {{ file: {{ path: out/{kind}_last, partition_by: [quarter] }}, format: json }}"
        ),
        _ => format!(
            "sql: SELECT id, name FROM {kind}4 JOIN names ON id % 10 = n\n    trigger: 1 second\n    \
             to: {{ file: {{ path: out/{kind}_last }}, format: json }}"
        ),
    };
    write!(
        text,
        r#"  {kind}_rows:
    sql: SELECT id FROM {kind}0
    trigger: 1 second
    to: {{ file: {{ path: out/{kind}_rows }}, format: json }}
  {kind}_odd:
    sql: SELECT id FROM {kind}0 WHERE id % 2 = 1
    to: {{ discard: {{}} }}
  {kind}_both:
    sql: SELECT 1 AS s, id FROM {kind}1 UNION ALL SELECT 2 AS s, id FROM {kind}2
    trigger: 500 milliseconds
    to: {{ kafka: {{ connection: main, topic: {rows} }}, format: json }}
  {kind}_counts:
    sql: SELECT id % {GROUPS} AS k, count(*) AS n FROM {kind}3 GROUP BY id % {GROUPS}
    output_mode: update
    trigger: 2 seconds
    to:
      - {{ kafka: {{ connection: main, topic: {counts} }}, format: json }}
      - {{ metric: {{ name: {kind}_counts, labels: [k], value: n }} }}
  {kind}_last:
    {last}
"#
    )
    .unwrap();
}
