//! Every panel and every alert has its data where pipelines run.

use std::io::Write;
use std::net::TcpStream;

use regex::Regex;

use super::super::binary::{self, Folder, get};
use super::super::http_server::{HttpServer, reply};
use super::super::kafka::Broker;
use super::{Prometheus, panels, promtool, start, without_comparison};

/// A bit of everything: Kafka through a function that fails now and then, to files and a dead letter; a socket through a window beside a
/// table, to a metric; and a query that fails.
const PIPELINE: &str = r#"
version: 1
name: watched
checkpoint: checkpoint
sources:
  payments:
    from: { kafka: { bootstrap_servers: "{broker}", subscribe: {topic}, starting_offsets: earliest } }
    format: { json: { schema: "id BIGINT" } }
  clicks:
    from: { socket: { listen: "127.0.0.1:0" } }
    format: { json: { schema: "user STRING, ts TIMESTAMP" } }
    watermark: { column: ts, delay: 1 second, max_future: 10000 days }
    on_malformed: drop
tables:
  users:
    from: { file: { path: users.csv } }
    format: { csv: { schema: "name STRING, city STRING", header: true } }
    refresh: when_changed
functions:
  risk:
    args: "id BIGINT"
    returns: INT
    on_error: return_null
    retry: { attempts: 2, base_delay: 1ms }
    cache: { entries: 40, ttl: 1 hour }
    breaker: { }
    http: { url: "http://{server}/{id}", answer: /n, allow_addresses: 127.0.0.1 }
queries:
  enriched:
    sql: SELECT id, risk(id % 100) AS risk FROM payments
    trigger: 100 milliseconds
    to: { file: { path: out }, format: json }
    dead_letter: { file: { path: bad }, format: json }
  windows:
    sql: >-
      SELECT city, count(*) AS n FROM clicks JOIN users ON user = name
      GROUP BY city, window(ts, '1 second')
    output_mode: update
    to: { metric: { name: clicks, labels: [ city ], value: n } }
  broken:
    sql: SELECT 1 div length(user) AS n FROM clicks
    to: { discard: {} }
"#;

/// What keeps coming: rows of Kafka whose ids repeat, and clicks, some of which cannot be read.
struct Feed {
    broker: &'static Broker,
    topic: String,
    clicks: TcpStream,
    sent: u32,
}

impl Feed {
    fn more(&mut self) {
        self.broker.fill(&self.topic, 2, self.sent, 20);
        self.sent += 20;
        let seconds = 1_700_000_000 + self.sent;
        writeln!(self.clicks, "{{\"user\":\"ann\",\"ts\":{seconds}}}\n{{\"user\":").unwrap();
    }
}

/// As Grafana fills variables in: the chosen pipeline as it is, several queries in brackets.
fn filled(expression: &str) -> String {
    let expression = expression.replace("$pipeline", "watched").replace("$query", "(enriched|windows|broken)");
    expression.replace("$__rate_interval", super::RANGE).replace("$__range", "1m")
}

#[test]
fn every_panel_and_every_alert_has_its_data() {
    let server = HttpServer::start(|seen| async move {
        // Some calls fail for good, and some attempts of others do.
        let fails = seen.path.ends_with('7') || seen.number % 5 == 0;
        if fails { reply(503, "") } else { reply(200, "{\"n\": 1}") }
    });
    let broker = Broker::shared();
    let topic = broker.topic(2);
    let pipeline = PIPELINE.replace("{broker}", &broker.address).replace("{topic}", &topic);
    let folder = Folder::with(&pipeline.replace("{server}", &server.address.to_string()));
    folder.write("users.csv", "name,city\nann,Oslo\n");
    let (running, address) = start(&folder);
    let prometheus = Prometheus::scraping(address);
    let mut feed = Feed { broker, topic, clicks: running.client(), sent: 0 };
    // An empty name: division by zero.
    feed.clicks.write_all(b"{\"user\":\"\",\"ts\":1700000000}\n").unwrap();

    let mut wanted: Vec<(String, String)> = Vec::new();
    for (file, title, expressions) in panels() {
        wanted.extend(expressions.iter().map(|expression| (format!("{file}, {title}"), filled(expression))));
    }
    let (rules, comparison) = (prometheus.api("rules", ""), Regex::new(r" (==|>=?|<=?|!=) [0-9]").unwrap());
    for rule in rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        let (name, query) = (rule["name"].as_str().unwrap(), rule["query"].as_str().unwrap());
        let query = without_comparison(query);
        assert!(!comparison.is_match(&query), "{name} compares otherwise: {query}");
        wanted.push((name.to_owned(), query));
    }
    assert!(wanted.len() > 80, "{wanted:?}");
    // Until each has had a number, all at once or one after the other.
    let left = std::cell::RefCell::new(wanted);
    binary::until(|| format!("no data for {:#?}\n{}", left.borrow(), get(address, "/metrics").1), &mut || {
        feed.more();
        left.borrow_mut().retain(|(_, expression)| !prometheus.query(expression).iter().any(|(_, value)| value.is_finite()));
        left.borrow().is_empty().then_some(())
    });

    let samples = prometheus.query("tidemill_query_failures_total{query=\"broken\"} == 1");
    assert_eq!(samples[0].0["condition"], "DIVIDE_BY_ZERO", "{samples:?}");
    prometheus.until_value(
        "ALERTS{alertname=\"TidemillQueryFailed\", alertstate=\"firing\", query=\"broken\"}",
        |one| one == 1.0,
        || {},
    );
    let config = prometheus.config().display().to_string();
    let (is_fine, said) = promtool(&["check", "config", &config], "");
    assert!(is_fine, "{said}");
    let (status, metrics) = get(address, "/metrics");
    let (is_fine, said) = promtool(&["check", "metrics"], &metrics);
    assert!(status == 200 && is_fine && said.is_empty(), "{said}");
}
