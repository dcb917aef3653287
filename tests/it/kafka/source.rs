//! What the source reads, and where it begins and goes on.

use rustix::process::Signal;

use super::{Broker, batches, ids, printing, run};

const IDS: &str = "format: { json: { schema: \"id BIGINT\" } }";
const AVAILABLE: &str = "trigger: available_now";

/// A source of `id`s with these settings of the connector, read from the beginning.
fn earliest(broker: &Broker, settings: &str) -> String {
    format!(
        "from: {{ kafka: {{ bootstrap_servers: \"{}\", starting_offsets: earliest, {settings} }} }}\n    {IDS}",
        broker.address
    )
}

#[test]
fn raw_columns_are_sparks() {
    let broker = Broker::shared();
    let topic = broker.topic(2);
    broker.tell(&["send", "-", &topic, "1", "1700000000123", "k", "v", "h=1", "g=-"]);
    broker.tell(&["send", "-", &topic, "1", "1700000000124", "-", "-"]);
    let from = format!(
        "from: {{ kafka: {{ bootstrap_servers: \"{}\", starting_offsets: earliest, subscribe: {topic}, include_headers: true }} }}",
        broker.address
    );
    let sql = "SELECT CAST(key AS STRING) k, CAST(value AS STRING) v, topic, partition, offset, timestamp, timestampType AS tt, \
               coalesce(size(headers), -1) AS n, headers[0].key AS h, CAST(headers[0].value AS STRING) AS hv, headers IS NULL AS none FROM t";
    let ended = run(&printing(&from, sql, AVAILABLE));
    let rows: Vec<String> = batches(&ended.stdout).concat().iter().map(ToString::to_string).collect();
    let first = format!(
        r#"{{"k":"k","v":"v","topic":"{topic}","partition":1,"offset":0,"timestamp":"2023-11-14T22:13:20.123Z","tt":0,"n":2,"h":"h","hv":"1","none":false}}"#
    );
    let second = format!(
        r#"{{"topic":"{topic}","partition":1,"offset":1,"timestamp":"2023-11-14T22:13:20.124Z","tt":0,"n":-1,"none":true}}"#
    );
    assert_eq!(rows, [first, second]);
}

#[test]
fn a_message_is_one_record_whatever_bytes_it_holds() {
    let broker = Broker::shared();
    let topic = broker.topic(1);
    for value in [r#"{"id":1}"#, r#"{\n  "id":\n 2}\n"#, "-", "nonsense\\n{\"id\":9}", "", r#"{"id":3}"#] {
        broker.send(&topic, 0, "k", value);
    }
    let sql = "SELECT id, _topic, _partition, _offset, _position, CAST(_key AS STRING) AS key, _timestamp > TIMESTAMP '2020-01-01' AS recent FROM t";
    let folder = printing(
        &earliest(broker, &format!("subscribe: {topic}")),
        sql,
        "trigger: available_now\n    dead_letter: { file: { path: bad }, format: json }",
    );
    let ended = run(&folder);
    let rows = batches(&ended.stdout).concat();
    let found: Vec<_> = rows.iter().map(|row| (row["_offset"].as_i64().unwrap(), row["id"].as_i64())).collect();
    assert_eq!(found, [(0, Some(1)), (1, Some(2)), (2, None), (3, None), (4, None), (5, Some(3))]);
    for row in &rows {
        assert_eq!((&row["_topic"], &row["key"], &row["_partition"]), (&topic.clone().into(), &"k".into(), &0.into()));
        assert_eq!((&row["recent"], &row["_position"]), (&true.into(), &row["_offset"]));
    }
    let bad: Vec<String> = folder.lines("bad").into_keys().collect();
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert!(bad[0].contains(&format!("\"position\":\"{topic}[0]:3\"")) && bad[0].contains("not valid JSON"), "{bad:?}");
}

#[test]
fn text_of_a_tombstone_is_null() {
    let broker = Broker::shared();
    let topic = broker.topic(1);
    for value in ["a\\nb", "-", ""] {
        broker.send(&topic, 0, "-", value);
    }
    let from = earliest(broker, &format!("subscribe: {topic}")).replace(IDS, "format: text");
    let ended = run(&printing(&from, "SELECT coalesce(value, 'null') AS v FROM t", AVAILABLE));
    let rows: Vec<String> = batches(&ended.stdout).concat().iter().map(|row| row["v"].as_str().unwrap().to_owned()).collect();
    assert_eq!(rows, ["a\nb", "null", ""]);
}

#[test]
fn topics_are_subscribed_found_by_pattern_or_assigned() {
    let broker = Broker::shared();
    let (one, two) = (broker.filled(2, 6), broker.filled(1, 2));
    let read = |settings: &str| ids(&run(&printing(&earliest(broker, settings), "SELECT id FROM t", AVAILABLE)).stdout);
    assert_eq!(read(&format!("subscribe: [{one}, {two}]")), [0, 0, 1, 1, 2, 3, 4, 5]);
    assert_eq!(read(&format!("subscribe_pattern: \"{two}|none\"")), [0, 1]);
    assert_eq!(read(&format!("subscribe_pattern: \"{}\"", &two[1..])), [0u64; 0], "the whole name must fit");
    assert_eq!(read(&format!("assign: {{ {one}: [1] }}")), [1, 3, 5]);
}

#[test]
fn topics_may_be_compressed() {
    let broker = Broker::shared();
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("{}-{codec}", broker.topic(1));
        broker.tell(&["create", &topic, "1", &format!("compression.type={codec}")]);
        broker.fill(&topic, 1, 0, 20);
        let folder = printing(&earliest(broker, &format!("subscribe: {topic}")), "SELECT id FROM t", AVAILABLE);
        assert_eq!(ids(&run(&folder).stdout), (0..20).collect::<Vec<_>>(), "{codec}");
    }
}

/// A topic of two partitions, in each a message at 1, 2 and 3 seconds: 0 and 1, 10 and 11, 20 and 21.
fn topic_at_three_times(broker: &Broker) -> String {
    let topic = broker.topic(2);
    for (at, time) in [1000, 2000, 3000].into_iter().enumerate() {
        for partition in 0..2 {
            let value = format!("{{\"id\":{}}}", at * 10 + partition);
            broker.tell(&["send", "-", &topic, &partition.to_string(), &time.to_string(), "-", &value]);
        }
    }
    topic
}

#[test]
fn a_query_begins_where_it_is_told_to() {
    let broker = Broker::shared();
    let topic = topic_at_three_times(broker);
    let read = |start: &str| {
        let from = earliest(broker, &format!("subscribe: {topic}")).replace("starting_offsets: earliest", start);
        let ended = printing(&from, "SELECT id FROM t", AVAILABLE).start_pipeline(&[]).end();
        if ended.code == 0 { Ok(ids(&ended.stdout)) } else { Err(ended.stderr) }
    };
    assert_eq!(read("starting_offsets: latest").unwrap(), [0u64; 0]);
    assert_eq!(read(&format!("starting_offsets: {{ {topic}: {{ 0: 2, 1: -2 }} }}")).unwrap(), [1, 11, 20, 21]);
    assert_eq!(read(&format!("starting_offsets: '{{\"{topic}\": {{\"0\": -1, \"1\": 1}}}}'")).unwrap(), [11, 21]);
    assert_eq!(read("starting_timestamp: 1500").unwrap(), [10, 11, 20, 21]);
    assert_eq!(read(&format!("starting_offsets_by_timestamp: {{ {topic}: {{ 0: 3000, 1: 1 }} }}")).unwrap(), [1, 11, 20, 21]);
    assert!(read("starting_timestamp: 9000").unwrap_err().contains("has no record since"));
    assert_eq!(read("starting_timestamp: 9000, starting_offsets_by_timestamp_strategy: latest").unwrap(), [0u64; 0]);
    let partial = read(&format!("starting_offsets: {{ {topic}: {{ 0: 2 }} }}")).unwrap_err();
    assert!(partial.contains("must name every partition"), "{partial}");
}

#[test]
fn a_query_is_moved_to_where_the_cluster_says() {
    let broker = Broker::shared();
    let topic = topic_at_three_times(broker);
    let all = [0u64, 1, 10, 11, 20, 21];
    let folder = printing(&earliest(broker, &format!("subscribe: {topic}")), "SELECT id FROM t", AVAILABLE);
    assert_eq!(ids(&run(&folder).stdout), all);
    let set =
        |to: &[&str]| folder.run(&[&["offsets", "set", "checkpoint", "--query", "q", "--source", "t", "--yes"], to].concat());
    set(&["--earliest"]).failed(2, &["nothing of source t is kept under the root", "name the pipeline by --file"]);
    set(&["--offset", "{}", "--file", "pipeline.yaml"]).failed(2, &["a cluster is not asked for an offset"]);
    let then_reads = |to: &[&str]| {
        let ended = set(&[to, &["--file", "pipeline.yaml"]].concat());
        assert_eq!(ended.code, 0, "{ended:?}");
        ids(&run(&folder).stdout)
    };
    assert_eq!(then_reads(&["--time", "1970-01-01T00:00:01.500Z"]), all[2..]);
    assert_eq!(then_reads(&["--time", "1970-01-01T00:00:02Z"]), all[2..]);
    assert_eq!(then_reads(&["--time", "1970-01-01T00:00:02.000001Z"]), all[4..]);
    assert_eq!(then_reads(&["--time", "1970-01-01T00:00:09Z"]), [0u64; 0]);
    assert_eq!(set(&["--earliest", "--file", "pipeline.yaml"]).code, 0);
    assert_eq!(then_reads(&["--latest"]), [0u64; 0]);
    assert_eq!(then_reads(&["--earliest"]), all);

    // A topic that was made again: the error's command goes on with the new one.
    broker.tell(&["delete", &topic]);
    broker.tell(&["create", &topic, "1"]);
    broker.fill(&topic, 1, 30, 3);
    let ended = folder.start_pipeline(&[]).end();
    ended.failed(1, &["TOPIC_RECREATED", "--query q --source t --earliest --file FILE`"]);
    assert_eq!(then_reads(&["--earliest"]), [30, 31, 32]);
}

#[test]
fn a_restart_goes_on_exactly_where_the_last_run_ended() {
    let broker = Broker::shared();
    let topic = broker.filled(3, 50);
    let folder =
        printing(&earliest(broker, &format!("subscribe: {topic}, commit_group: g-{topic}")), "SELECT id FROM t", AVAILABLE);
    assert_eq!(ids(&run(&folder).stdout), (0..50).collect::<Vec<_>>());
    assert_eq!(ids(&run(&folder).stdout), [0u64; 0]);
    broker.fill(&topic, 3, 50, 40);
    assert_eq!(ids(&run(&folder).stdout), (50..90).collect::<Vec<_>>());
    let committed = broker.tell(&["committed", &format!("g-{topic}")]);
    assert_eq!(committed, format!("{{{topic}-0=30, {topic}-1=30, {topic}-2=30}}"));
}

#[test]
fn a_limit_is_shared_between_partitions() {
    let broker = Broker::shared();
    let topic = broker.filled(2, 20);
    broker.fill(&topic, 1, 20, 20); // partition 0 has 30, partition 1 has 10
    let sql = "SELECT _partition AS p, count(*) AS n FROM t GROUP BY _partition";
    let settings = format!("subscribe: {topic}, max_rows_per_trigger: 20");
    let folder = printing(&earliest(broker, &settings), sql, "trigger: available_now\n    scope: micro_batch");
    let counts: Vec<Vec<(i64, i64)>> = batches(&run(&folder).stdout)
        .iter()
        .map(|batch| {
            let mut counts: Vec<_> = batch.iter().map(|row| (row["p"].as_i64().unwrap(), row["n"].as_i64().unwrap())).collect();
            counts.sort_unstable();
            counts
        })
        .collect();
    assert_eq!(counts, [vec![(0, 15), (1, 5)], vec![(0, 15), (1, 5)]]);
}

#[test]
fn what_is_added_while_a_query_runs_is_found() {
    let broker = Broker::shared();
    let topic = broker.filled(1, 2);
    let folder = printing(&earliest(broker, &format!("subscribe_pattern: \"{topic}.*\"")), "SELECT id FROM t", "trigger: 50ms");
    let process = folder.start_pipeline(&[]);
    process.prints("{\"id\":1}");
    broker.send(&topic, 0, "-", "{\"id\":2}");
    process.prints("{\"id\":2}");
    broker.tell(&["partitions", &topic, "2"]);
    broker.send(&topic, 1, "-", "{\"id\":3}");
    broker.tell(&["create", &format!("{topic}-more"), "1"]);
    broker.send(&format!("{topic}-more"), 0, "-", "{\"id\":4}");
    process.prints("{\"id\":3}");
    process.prints("{\"id\":4}");
    assert_eq!(ids(&process.stop().stdout), [0, 1, 2, 3, 4]);
}

#[test]
fn what_was_not_committed_is_not_seen() {
    let broker = Broker::shared();
    let topic = broker.topic(1);
    let id = format!("x-{topic}");
    let transaction = |end: &str, value: &str| {
        broker.tell(&["begin", &id]);
        broker.tell(&["send", &id, &topic, "0", "-", "-", value]);
        broker.tell(&[end, &id]);
    };
    transaction("commit", "{\"id\":1}");
    transaction("abort", "{\"id\":2}");
    let folder = printing(&earliest(broker, &format!("subscribe: {topic}")), "SELECT id FROM t", AVAILABLE);
    // The batch ends behind control records, which no message tells of.
    assert_eq!(ids(&run(&folder).stdout), [1]);
    transaction("abort", "{\"id\":3}");
    transaction("commit", "{\"id\":4}");
    broker.tell(&["begin", &id]);
    broker.tell(&["send", &id, &topic, "0", "-", "-", "{\"id\":5}"]);
    assert_eq!(ids(&run(&folder).stdout), [4], "an open transaction ends what can be read");
    broker.tell(&["commit", &id]);
    assert_eq!(ids(&run(&folder).stdout), [5]);
    let everything = earliest(broker, &format!("subscribe: {topic}, properties: {{ isolation.level: read_uncommitted }}"));
    assert_eq!(ids(&run(&printing(&everything, "SELECT id FROM t", AVAILABLE)).stdout), [1, 2, 3, 4, 5]);
}

#[test]
fn a_batch_waits_for_enough_rows() {
    let broker = Broker::shared();
    let topic = broker.filled(1, 3);
    let settings = format!("subscribe: {topic}, min_rows_per_trigger: 4, max_trigger_delay: 1h");
    let folder = printing(&earliest(broker, &settings), "SELECT id FROM t", "");
    let process = folder.start_pipeline(&[]);
    process.prints("{\"id\":2}");
    broker.fill(&topic, 1, 3, 3);
    process.says("query started");
    broker.fill(&topic, 1, 6, 2);
    process.prints("{\"id\":7}");
    let stdout = process.stop().stdout;
    let sizes: Vec<usize> = batches(&stdout).iter().map(Vec::len).collect();
    assert_eq!(ids(&stdout), (0..8).collect::<Vec<_>>());
    assert!(sizes[1..].iter().all(|rows| *rows >= 4), "{sizes:?}");
}

#[test]
fn a_killed_query_loses_and_repeats_nothing() {
    let broker = Broker::shared();
    let topic = broker.filled(4, 4000);
    let from = earliest(broker, &format!("subscribe: {topic}, max_rows_per_trigger: 100"));
    let folder = printing(&from, "SELECT id FROM t", AVAILABLE);
    let pipeline = std::fs::read_to_string(folder.path("pipeline.yaml")).unwrap();
    folder.write("pipeline.yaml", pipeline.replace("{ console: {}, format: json }", "{ file: { path: out }, format: json }"));
    for kill in 0..4 {
        let process = folder.start_pipeline(&[]);
        process.says("query started");
        super::super::binary::pause(std::time::Duration::from_millis(20 + 60 * kill));
        process.signal(Signal::KILL);
        process.end();
    }
    run(&folder);
    let lines = folder.lines("out");
    assert_eq!(lines.len(), 4000);
    assert!(lines.values().all(|times| *times == 1));
}
