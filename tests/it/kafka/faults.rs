//! What goes wrong outside, and what the source says of it.

use super::super::binary::{Folder, fails};
use super::{Broker, ids, printing, run};

pub(super) const IDS: &str = "format: { json: { schema: \"id BIGINT\" } }";

pub(super) fn reading(servers: &str, settings: &str, more: &str) -> Folder {
    let from =
        format!("from: {{ kafka: {{ bootstrap_servers: \"{servers}\", starting_offsets: earliest, {settings} }} }}\n    {IDS}");
    printing(&from, "SELECT id FROM t", more)
}

fn available(servers: &str, settings: &str) -> Folder {
    reading(servers, settings, "trigger: available_now")
}

#[test]
fn records_that_expired_fail_the_query_or_are_counted() {
    let broker = Broker::shared();
    let topic = broker.filled(1, 10);
    let strict = available(&broker.address, &format!("subscribe: {topic}, max_rows_per_trigger: 2"));
    let lenient = available(&broker.address, &format!("subscribe: {topic}, fail_on_data_loss: false"));
    for folder in [&strict, &lenient] {
        assert_eq!(ids(&run(folder).stdout), (0..10).collect::<Vec<_>>());
    }
    broker.fill(&topic, 1, 10, 10);
    broker.tell(&["expire", &topic, "0", "14"]);
    fails(&strict, 1, &["DATA_LOST", "begins at offset 14, and 10 was to be read next", "fail_on_data_loss"]);
    let ended = run(&lenient);
    assert_eq!(ids(&ended.stdout), (14..20).collect::<Vec<_>>());
    assert!(ended.stderr.contains("DATA_LOST"), "{ended:#?}");
    // The failed query still has its place, and goes on when it is told to.
    let pipeline = std::fs::read_to_string(strict.path("pipeline.yaml")).unwrap();
    strict.write("pipeline.yaml", pipeline.replace("max_rows_per_trigger: 2", "fail_on_data_loss: false"));
    assert_eq!(ids(&run(&strict).stdout), (14..20).collect::<Vec<_>>());
}

#[test]
fn a_topic_that_was_made_again_is_another() {
    let broker = Broker::shared();
    let topic = broker.filled(1, 5);
    let strict = available(&broker.address, &format!("subscribe: {topic}"));
    let lenient = available(&broker.address, &format!("subscribe: {topic}, fail_on_data_loss: false"));
    for folder in [&strict, &lenient] {
        assert_eq!(ids(&run(folder).stdout), [0, 1, 2, 3, 4]);
    }
    broker.tell(&["delete", &topic]);
    fails(&strict, 2, &["UNKNOWN_TOPIC_OR_PARTITION"]);
    broker.tell(&["create", &topic, "1"]);
    // More than before: offsets alone would not tell.
    broker.fill(&topic, 1, 100, 8);
    fails(&strict, 1, &["TOPIC_RECREATED", &topic]);
    assert_eq!(ids(&run(&lenient).stdout), (100..108).collect::<Vec<_>>());
}

#[test]
fn a_cluster_that_is_not_there_is_named() {
    // Nobody listens on a port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = available(&free.to_string(), "subscribe: orders, request_timeout: 1s");
    fails(&folder, 75, &[&format!("the Kafka cluster at {free} did not answer within 1s"), "Connection refused"]);
    // A listener that speaks another protocol.
    let broker = Broker::secured();
    let folder = available(&broker.port(3), "subscribe: orders, request_timeout: 1s");
    fails(&folder, 75, &["did not answer within 1s"]);
}

#[test]
fn secured_listeners_take_who_they_know() {
    let broker = Broker::secured();
    let topic = broker.filled(1, 3);
    let sasl = |mechanism: &str, password: &str| {
        let settings = format!("subscribe: {topic}, sasl: {{ mechanism: {mechanism}, username: test, password: {password} }}");
        available(&broker.port(2), &settings)
    };
    let tls = |ca: &str| available(&broker.port(3), &format!("subscribe: {topic}, tls: {{ ca: \"{}\" }}", broker.file(ca)));
    let both = |ca: &str, password: &str| {
        let tls = format!("tls: {{ ca: \"{}\" }}", broker.file(ca));
        let sasl = format!("sasl: {{ mechanism: SCRAM-SHA-256, username: test, password: {password} }}");
        available(&broker.port(4), &format!("subscribe: {topic}, {tls}, {sasl}"))
    };
    for folder in [sasl("PLAIN", "secret"), sasl("SCRAM-SHA-256", "secret"), tls("ca.pem"), both("ca.pem", "secret")] {
        assert_eq!(ids(&run(&folder).stdout), [0, 1, 2]);
    }
    fails(&sasl("SCRAM-SHA-256", "wrong"), 2, &["refuses the connection", "uthentication failed"]);
    fails(&sasl("PLAIN", "wrong"), 2, &["refuses the connection", "uthentication failed"]);
    fails(&tls("other.pem"), 2, &["refuses the connection", "certificate verify failed"]);
    fails(&both("ca.pem", "wrong"), 2, &["refuses the connection", "uthentication failed"]);
    fails(&both("other.pem", "secret"), 2, &["refuses the connection", "certificate verify failed"]);
}

#[test]
fn settings_that_cannot_be_are_refused_where_they_stand() {
    let broker = Broker::shared();
    fails(&available(&broker.address, "subscribe: no-such-topic"), 2, &["no topic \"no-such-topic\""]);
    fails(&available("", "subscribe: t"), 2, &["bootstrap_servers: expected text, found \"\""]);
    let check = |settings: &str, expected: &str| {
        let ended = available("b:1", settings).run(&["check", "pipeline.yaml"]);
        ended.failed(2, &[expected]);
    };
    check("subscribe: t, properties: { fetch.min.byte: 1 }", "no property \"fetch.min.byte\"; did you mean fetch.min.bytes?");
    check(
        "subscribe: t, properties: { auto.offset.reset: earliest }",
        "auto.offset.reset cannot be set here; use starting_offsets",
    );
    check("subscribe: t, properties: { enable.auto.commit: true }", "offsets are kept in the checkpoint");
    check("subscribe: t, failOnDataLoss: false", "Spark's failOnDataLoss is here fail_on_data_loss");
    check("subscribe: t, subscribe_pattern: t", "found subscribe and subscribe_pattern");
    check("subscribe_pattern: \"(\"", "no regular expression");
    check("fail_on_data_loss: true", "expected subscribe: topics");
    check("assign: { t: 1 }", "expected partitions by topic");
    check("subscribe: t, connection: main", "goes without connection only");
    check("subscribe: t, include_headers: true", "goes without a format only");
    check("subscribe: t, min_rows_per_trigger: 9, max_rows_per_trigger: 2", "at most max_rows_per_trigger");
    check("subscribe: t, tls: { key: k.pem }", "goes with certificate only");
    // What only the client can judge.
    let folder = available(&broker.address, "subscribe: t, properties: { fetch.min.bytes: many }");
    fails(&folder, 2, &["fetch.min.bytes"]);
}

#[test]
fn a_connection_is_shared() {
    let broker = Broker::shared();
    let topic = broker.filled(1, 2);
    let folder = printing(
        &format!("from: {{ kafka: {{ connection: main, starting_offsets: earliest, subscribe: {topic} }} }}\n    {IDS}"),
        "SELECT id FROM t",
        "trigger: available_now",
    );
    let pipeline = std::fs::read_to_string(folder.path("pipeline.yaml")).unwrap();
    let connections = format!(
        "connections: {{ main: {{ kafka: {{ bootstrap_servers: \"${{env:NO_SUCH_BROKERS:-{}}}\" }} }} }}\n",
        broker.address
    );
    folder.write("pipeline.yaml", pipeline.clone() + &connections);
    assert_eq!(ids(&run(&folder).stdout), [0, 1]);
    folder.write("pipeline.yaml", pipeline.replace("connection: main", "connection: mainn") + &connections);
    fails(&folder, 2, &["there is no \"mainn\" under connections; did you mean main?"]);
}

#[test]
fn a_batch_waits_for_a_broker_that_comes_back() {
    let broker = Broker::own();
    let topic = broker.filled(2, 400);
    let settings = format!("subscribe: {topic}, max_rows_per_trigger: 20, request_timeout: 2s");
    let folder = reading(&broker.address, &settings, "trigger: 20ms");
    let process = folder.start_pipeline(&[]);
    process.prints("\"batch_id\":2");
    broker.kill();
    process.says("query paused");
    broker.start();
    broker.fill(&topic, 2, 400, 10);
    process.prints("{\"id\":409}");
    process.prints("{\"id\":408}");
    assert_eq!(ids(&process.stop().stdout), (0..410).collect::<Vec<_>>());
}
