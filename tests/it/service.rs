//! What a running process tells over HTTP.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::binary::{Folder, HEAVY, Running, get, grinding};

/// Right rows to files, the others to a dead letter.
const PIPELINE: &str = r#"
version: 1
name: service
checkpoint: checkpoint
sources:
  rows:
    from: { socket: { listen: "127.0.0.1:0", max_rows_per_trigger: 100 } }
    format: { json: { schema: "k STRING, v BIGINT" } }
    on_malformed: drop
queries:
  pass:
    sql: SELECT k, v FROM rows WHERE v >= 0
    to: { file: { path: out }, format: json }
    dead_letter: { file: { path: bad }, format: json }
  counts:
    sql: SELECT k, count(*) AS n FROM rows GROUP BY k
    output_mode: update
    to: { discard: {} }
"#;

/// Sends 490 right lines and 10 others, and waits until both queries have read them.
fn after_500_lines(folder: &Folder) -> Running {
    let running = folder.start_pipeline(&[]);
    let mut client = running.client();
    let lines: String = (0..500)
        .map(|n| if n % 50 == 7 { "no JSON\n".to_owned() } else { format!("{{\"k\":\"k{}\",\"v\":{n}}}\n", n % 3) })
        .collect();
    client.write_all(lines.as_bytes()).unwrap();
    for query in ["pass", "counts"] {
        running.until("every line is read", || {
            let rows: u64 = progress(&running, query).iter().map(|one| one["numInputRows"].as_u64().unwrap()).sum();
            (rows == 500).then_some(())
        });
    }
    running
}

fn progress(running: &Running, query: &str) -> Vec<Value> {
    running.get_json(&format!("/queries/{query}/progress")).as_array().unwrap().clone()
}

/// Prometheus' text format: samples by name with labels; every name is declared, once, before its first sample.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let (mut declared, mut helped, mut samples) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert_eq!(helped.insert(name, help), None, "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(kind != "counter" || name.ends_with("_total"), "{line}");
            assert_eq!(declared.insert(name, kind), None, "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .filter(|base| declared.contains_key(base));
            assert!(declared.contains_key(base.unwrap_or(name)), "{line} is not declared");
            assert!(name.starts_with("tidemill_") || name.starts_with("process_"), "{line}");
            for label in labels.strip_suffix('}').unwrap().split(',').filter(|label| !label.is_empty()) {
                let (key, value) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
                assert!(key.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
                assert!(value.len() >= 2 && value.starts_with('"') && value.ends_with('"'), "{line}");
            }
            assert_eq!(samples.insert(series.to_owned(), value.parse().unwrap()), None, "{line}");
        }
    }
    assert!(declared.keys().all(|name| helped.contains_key(name)));
    samples
}

#[test]
fn metrics_are_prometheus_text_and_agree_with_rows_in_and_out() {
    let folder = Folder::with(PIPELINE);
    let running = after_500_lines(&folder);
    let (status, text) = running.get("/metrics");
    assert_eq!(status, 200);
    let samples = samples(&text);
    let value = |name: &str, query: &str, more: &str| {
        let series = format!("{name}{{pipeline=\"service\",query=\"{query}\"{more}}}");
        *samples.get(&series).unwrap_or_else(|| panic!("no {series} in\n{text}"))
    };
    for query in ["pass", "counts"] {
        assert_eq!(value("tidemill_rows_read_total", query, ",source=\"rows\""), 500.0);
        assert_eq!(value("tidemill_rows_malformed_total", query, ""), 10.0);
        assert_eq!(
            samples[&format!("tidemill_rows_dropped_total{{pipeline=\"service\",query=\"{query}\",reason=\"malformed\"}}")],
            10.0
        );
        assert_eq!(value("tidemill_query_running", query, ""), 1.0);
        assert_eq!(value("tidemill_batches_total", query, ""), value("tidemill_last_batch_id", query, "") + 1.0);
        assert_eq!(value("tidemill_batch_duration_seconds_count", query, ""), value("tidemill_batches_total", query, ""));
    }
    assert_eq!(value("tidemill_rows_written_total", "pass", ",sink=\"file\""), 490.0);
    assert_eq!(value("tidemill_state_rows", "counts", ""), 3.0);
    assert!(value("tidemill_state_bytes", "counts", "") > 0.0);
    running.stop();
    assert_eq!(folder.lines("out").values().sum::<usize>(), 490);
    assert_eq!(folder.lines("bad").values().sum::<usize>(), 10);
}

#[test]
fn progress_has_the_field_names_of_spark_and_a_ledger_that_adds_up() {
    let folder = Folder::with(PIPELINE);
    let running = after_500_lines(&folder);
    let all = progress(&running, "counts");
    for (batch, one) in all.iter().enumerate() {
        assert_eq!(one["batchId"], batch);
        for key in ["id", "runId", "name", "timestamp"] {
            assert!(one[key].is_string(), "{key}: {one}");
        }
        for key in ["batchDuration", "numInputRows", "inputRowsPerSecond", "processedRowsPerSecond"] {
            assert!(one[key].is_number(), "{key}: {one}");
        }
        for phase in ["triggerExecution", "getBatch", "addBatch", "walCommit", "commitOffsets"] {
            assert!(one["durationMs"][phase].is_u64(), "{phase}: {one}");
        }
        assert!(
            one["eventTime"].is_object() && one["stateOperators"].is_array() && one["sink"]["numOutputRows"].is_number(),
            "{one}"
        );
        let source = &one["sources"][0];
        assert_eq!(source["description"], "rows");
        for key in ["startOffset", "endOffset", "latestOffset", "numInputRows", "inputRowsPerSecond", "processedRowsPerSecond"] {
            assert!(!source[key].is_null(), "{key}: {one}");
        }
        let ledger = |key: &str| one["ledger"][key].as_u64().unwrap();
        let dropped: u64 = one["ledger"]["rows_dropped"].as_object().unwrap().values().map(|rows| rows.as_u64().unwrap()).sum();
        assert_eq!(ledger("rows_read"), ledger("rows_decoded") + dropped, "{one}");
        assert_eq!(one["numInputRows"], ledger("rows_read"));
    }
    assert_eq!(all[0]["numInputRows"], 0, "the first batch of a socket is empty");
    let last = all.last().unwrap();
    assert_eq!(last["stateOperators"][0]["numRowsTotal"], 3);
    for key in ["operatorName", "numRowsUpdated", "numRowsRemoved", "memoryUsedBytes"] {
        assert!(!last["stateOperators"][0][key].is_null(), "{key}: {last}");
    }
    assert_eq!(running.get_json("/queries/counts")["lastProgress"], *last);
    let queries = running.get_json("/queries");
    assert_eq!(queries["pipeline"], "service");
    assert_eq!(queries["queries"][0]["sinks"][0]["guarantee"], "exactly-once");
    let (status, body) = running.get("/queries/nobody/progress");
    assert_eq!(status, 404);
    assert!(body.contains("pass, counts"), "{body}");
    running.stop();
}

#[test]
fn a_failed_query_makes_the_process_unready_and_the_other_goes_on() {
    let folder = Folder::with(PIPELINE);
    let arguments = ["--set", "queries.counts.sql=SELECT k, max(1 div (v - 13)) AS n FROM rows GROUP BY k"];
    let running = folder.start_pipeline(&arguments);
    running.until("it is ready", || (running.get("/readyz").0 == 200).then_some(()));
    let mut client = running.client();
    client.write_all(b"{\"k\":\"a\",\"v\":13}\n").unwrap();
    running.becomes("counts", "failed");
    let (status, body) = running.get("/readyz");
    assert_eq!(status, 503);
    assert!(body.contains("counts failed"), "{body}");
    assert_eq!(running.get("/healthz"), (200, "ok\n".to_owned()));
    assert!(running.get_json("/queries/counts")["status"]["error"].as_str().unwrap().contains("DIVIDE_BY_ZERO"));
    client.write_all(b"{\"k\":\"a\",\"v\":14}\n").unwrap();
    running.until("the other query goes on", || (folder.lines("out").len() == 2).then_some(()));
    assert_eq!(running.state_of("pass"), "running");
    running.signal(rustix::process::Signal::TERM);
    let ended = running.end();
    assert_eq!(ended.code, 1, "a query failed: {ended:?}");
}

#[test]
fn what_may_be_seen_anywhere_is_served_apart() {
    let folder = Folder::with(PIPELINE);
    let running = folder.start_pipeline(&["--metrics", "127.0.0.1:0"]);
    let control = running.http();
    let public = running.until("both addresses are known", || {
        let lines = running.stderr.all();
        lines.iter().filter_map(|line| line.split_once("metrics at http://")).find_map(|(_, rest)| {
            let address = rest.split('/').next()?.parse().ok()?;
            (address != control).then_some(address)
        })
    });
    for path in ["/metrics", "/healthz", "/readyz"] {
        running.until(path, || (get(public, path).0 == 200).then_some(()));
    }
    assert_eq!(get(public, "/queries").0, 404);
    assert_eq!(get(public, "/queries/pass").0, 404);
    assert_eq!(get(control, "/queries").0, 200);
    running.stop();
}

#[test]
fn a_taken_default_port_is_no_obstacle_and_an_asked_one_is() {
    let folder = Folder::with(PIPELINE);
    // Whether this succeeds or someone else has it: the default is taken.
    let _taken = std::net::TcpListener::bind("127.0.0.1:4040");
    let running = folder.start(&["run", "pipeline.yaml"]);
    let address = running.http();
    assert!((4041..=4140).contains(&address.port()), "{address}");
    assert_eq!(running.get("/healthz").0, 200);
    let second = Folder::with(PIPELINE).run(&["run", "pipeline.yaml", "--http", &address.to_string()]);
    assert_eq!(second.code, 2, "{second:?}");
    assert!(second.stderr.contains(&address.to_string()), "{second:?}");
    running.stop();
}

#[test]
fn control_answers_while_a_batch_grinds() {
    let (_folder, running) = grinding();
    let address = running.http();
    let mut times: Vec<Duration> = (0..60)
        .map(|call| {
            let started = Instant::now();
            let path = ["/healthz", "/metrics", "/queries", "/queries/heavy/progress"][call % 4];
            assert_eq!(get(address, path).0, 200);
            started.elapsed()
        })
        .collect();
    assert!(running.grinds(), "the batch was over too soon to tell");
    times.sort();
    println!("control calls beside a batch: median {:?}, worst {:?}", times[30], times[59]);
    // Far above what they take on a machine of their own: the cores are shared with the batch and with other tests.
    assert!(times[30] < Duration::from_millis(500) && times[59] < Duration::from_secs(5), "{times:?}");
}

#[test]
fn a_query_that_has_not_started_is_not_ready() {
    use tidemill::engine::status::QueryMonitor;
    use tidemill::metrics::Metrics;
    use tidemill::service::{Access, Limits, Listening, Service, bind, serve};
    use tokio_util::sync::CancellationToken;

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let stop = CancellationToken::new();
    let service = Service::new("service", vec![QueryMonitor::new("slow")], Metrics::new().unwrap(), stop.clone());
    let listener = runtime.block_on(bind("127.0.0.1:0".parse().unwrap(), false)).unwrap();
    let address = listener.local_addr().unwrap();
    let serving =
        runtime.spawn(serve(listener, service.control(), Listening::new(Limits::default(), Access::default()), stop.clone()));
    assert_eq!(get(address, "/readyz"), (503, "slow starting\n".to_owned()));
    assert_eq!(get(address, "/healthz").0, 200);
    stop.cancel();
    runtime.block_on(serving).unwrap();
}

#[test]
fn it_answers_before_anything_is_planned() {
    let folder = Folder::with(HEAVY);
    folder.write("in/rows.json", "{\"v\":1}\n");
    // Reading the table is the first step of planning, and here it fails.
    let ended = folder.run(&["run", "pipeline.yaml", "--http", "127.0.0.1:0"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    let (serves, fails) = (ended.stderr.find("metrics at http://127.0.0.1:"), ended.stderr.find("error: "));
    assert!(serves.is_some() && serves < fails, "{ended:?}");
}
