//! What the sink sends, seen by a consumer of Kafka's own that reads what is committed.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Signal;

use super::super::binary::{Folder, fails, pause};
use super::super::operating::take_the_way_out;
use super::{Broker, run};

pub(super) const AVAILABLE: &str = "trigger: available_now";

/// A pipeline called `name` from files of `id`s to Kafka; `sink` are the sink's settings, `beside` what stands beside it.
pub(super) fn sending(broker: &Broker, name: &str, sql: &str, (sink, beside): (&str, &str), more: &str) -> Folder {
    Folder::with(&format!(
        "version: 1\nname: {name}\ncheckpoint: checkpoint\nsources:\n  t:\n    from: {{ file: {{ path: in/*.json, \
         max_files_per_trigger: 1 }} }}\n    format: {{ json: {{ schema: \"id BIGINT\" }} }}\nqueries:\n  q:\n    sql: {sql}\n    to: {{ \
         kafka: {{ bootstrap_servers: \"{}\", {sink} }}{beside} }}\n    {more}\n",
        broker.address
    ))
}

/// Rows of JSON, to `topic`.
pub(super) fn json(broker: &Broker, topic: &str, settings: &str, more: &str) -> Folder {
    let sink = format!("topic: {topic}{settings}");
    sending(broker, topic, "SELECT id FROM t", (&sink, ", format: json"), more)
}

pub(super) fn put(folder: &Folder, file: &str, ids: std::ops::Range<u64>) {
    let lines: String = ids.map(|id| format!("{{\"id\":{id}}}\n")).collect();
    folder.write(&format!("in/{file}.json"), lines);
}

/// How often each `id` is there.
pub(super) fn ids(broker: &Broker, topic: &str) -> BTreeMap<u64, usize> {
    let mut times = BTreeMap::new();
    for message in broker.read(topic) {
        let value = message.split('|').nth(2).unwrap();
        let row: serde_json::Value = serde_json::from_str(value).unwrap();
        *times.entry(row["id"].as_u64().unwrap()).or_default() += 1;
    }
    times
}

pub(super) fn once(ids: std::ops::Range<u64>) -> BTreeMap<u64, usize> {
    ids.map(|id| (id, 1)).collect()
}

#[test]
fn rows_arrive_as_json_with_their_keys() {
    let broker = Broker::shared();
    let topic = broker.topic(2);
    let folder = json(broker, &topic, ", key: id", AVAILABLE);
    put(&folder, "a", 0..3);
    put(&folder, "b", 3..4);
    run(&folder);
    let mut messages: Vec<String> =
        broker.read(&topic).iter().map(|message| message.split_once('|').unwrap().1.to_owned()).collect();
    messages.sort_unstable();
    assert_eq!(messages, ["0|{\"id\":0}|", "1|{\"id\":1}|", "2|{\"id\":2}|", "3|{\"id\":3}|"]);
    // Nothing more to send: the mark is where the log says.
    run(&folder);
    put(&folder, "c", 4..6);
    run(&folder);
    assert_eq!(ids(broker, &topic), once(0..6));
}

#[test]
fn columns_are_the_message() {
    let broker = Broker::shared();
    let (one, two) = (broker.topic(2), broker.topic(1));
    let sql = format!(
        "SELECT if(id = 1, '{two}', '{one}') AS topic, CAST(id AS STRING) AS key, if(id = 2, NULL, concat('v', id)) AS value, if(id = 1, 0, \
         1) AS partition, array(named_struct('key', 'h', 'value', CAST('x' AS BINARY))) AS headers FROM t"
    );
    let folder = sending(broker, &one, &sql, (&format!("marker_topic: {one}"), ""), AVAILABLE);
    put(&folder, "a", 0..3);
    run(&folder);
    assert_eq!(broker.read(&one), ["1|0|v0|h=x", "1|2|-|h=x"], "a null value is a tombstone");
    assert_eq!(broker.read(&two), ["0|1|v1|h=x"]);
}

#[test]
fn nothing_is_a_key_and_a_value_too() {
    let broker = Broker::shared();
    let topic = broker.topic(1);
    let sql = "SELECT CAST(NULL AS STRING) AS key, if(id = 0, NULL, if(id = 1, '', 'v')) AS value, CAST(NULL AS INT) AS partition FROM t";
    let folder = sending(broker, &topic, sql, (&format!("topic: {topic}"), ""), AVAILABLE);
    put(&folder, "a", 0..3);
    run(&folder);
    assert_eq!(broker.read(&topic), ["0|-|-|", "0|-||", "0|-|v|"]);
    // A row of JSON whose key is null.
    let topic = broker.topic(1);
    let sink = format!("topic: {topic}, key: k");
    let folder = sending(broker, &topic, "SELECT id, if(id = 0, NULL, id) AS k FROM t", (&sink, ", format: json"), AVAILABLE);
    put(&folder, "a", 0..2);
    run(&folder);
    assert_eq!(broker.read(&topic), ["0|-|{\"id\":0}|", "0|1|{\"id\":1,\"k\":1}|"]);
}

#[test]
fn a_topic_or_partition_that_is_not_there_is_named() {
    let broker = Broker::shared();
    let topic = broker.topic(1);
    let later = format!("{topic}-later");
    let to = |sql: &str, name: &str| {
        let folder = sending(broker, &format!("{topic}-{name}"), sql, (&format!("marker_topic: {topic}"), ""), AVAILABLE);
        put(&folder, "a", 0..2);
        folder
    };
    let folder = to(&format!("SELECT if(id = 1, '{later}', '{topic}') AS topic, CAST(id AS STRING) AS value FROM t"), "topic");
    fails(&folder, 2, &["UNKNOWN_TOPIC_OR_PARTITION", &format!("no topic {later:?}")]);
    assert_eq!(broker.read(&topic), [""; 0], "nothing of the batch is seen");
    broker.tell(&["create", &later, "1"]);
    run(&folder);
    assert_eq!((broker.read(&topic), broker.read(&later)), (vec!["0|-|0|".to_owned()], vec!["0|-|1|".to_owned()]));
    let folder = to(&format!("SELECT '{topic}' AS topic, 'v' AS value, 7 AS partition FROM t"), "partition");
    fails(&folder, 1, &[&format!("topic {topic:?} does not take message 0 of batch 0 (1 bytes)"), "nknown partition"]);
    // What cannot be is refused before the batch is decided: right rows later are not held up.
    let folder = to("SELECT 'no/topic' AS topic, 'v' AS value FROM t", "name");
    fails(&folder, 1, &["a row's topic is no topic's name"]);
    let folder = to(&format!("SELECT '{topic}' AS topic, 'v' AS value, -1 AS partition FROM t"), "negative");
    fails(&folder, 1, &["a row's partition is below 0"]);
    assert_eq!(broker.read(&topic).len(), 1);
}

#[test]
fn a_group_of_consumers_is_not_overwritten() {
    let broker = Broker::shared();
    let topic = broker.topic(1);
    broker.tell(&["occupy", &format!("{topic}-readers"), &topic, "0"]);
    let folder = json(broker, &topic, &format!(", transactional_id: {topic}-readers"), AVAILABLE);
    put(&folder, "a", 0..1);
    fails(&folder, 2, &[&format!("the consumer group \"{topic}-readers\" holds an offset that is no mark")]);
    assert_eq!(broker.tell(&["committed", &format!("{topic}-readers")]), format!("{{{topic}-0=0}}"));
}

#[test]
fn a_mark_in_a_topic_outlives_that_of_the_group() {
    let broker = Broker::shared();
    let (topic, progress) = (broker.topic(1), format!("{}-progress", broker.topic(1)));
    broker.tell(&["create", &progress, "2", "cleanup.policy=compact"]);
    let group = format!("tidemill.{topic}.q.kafka");
    let group_only = json(broker, &topic, "", AVAILABLE);
    put(&group_only, "a", 0..5);
    run(&group_only);
    // A pipeline that has begun without the topic goes on with it.
    let pipeline = std::fs::read_to_string(group_only.path("pipeline.yaml")).unwrap();
    let both = pipeline
        .replace("topic: ", &format!("request_timeout: 1s, transaction_timeout: 3s, progress_topic: {progress}, topic: "));
    group_only.write("pipeline.yaml", &both);
    put(&group_only, "b", 5..10);
    run(&group_only);
    broker.tell(&["forget", &group]);
    put(&group_only, "c", 10..15);
    run(&group_only);
    assert_eq!(ids(broker, &topic), once(0..15));
    let marks = broker.read(&progress);
    assert!(marks.len() == 2 && marks.iter().all(|mark| mark.starts_with(&format!("0|{group}|v1;"))), "{marks:?}");

    // What another sink has not committed there is not read, and what it has aborted does not count.
    let mark = marks[1].split('|').nth(2).unwrap().replace(";2;", ";7;");
    broker.tell(&["begin", &topic]);
    broker.tell(&["send", &topic, &progress, "0", "-", &group, &mark]);
    put(&group_only, "d", 15..20);
    // The mark of this batch lies behind the open transaction.
    run(&group_only);
    broker.tell(&["forget", &group]);
    put(&group_only, "e", 20..25);
    fails(&group_only, 75, &[&format!("topic {progress:?} could not be read up to its end")]);
    broker.tell(&["abort", &topic]);
    run(&group_only);
    assert_eq!(ids(broker, &topic), once(0..25));

    // Others' marks, and many of them, do not hide ours; one that was taken back is none.
    for number in 0..1100 {
        broker.send(&progress, 0, &number.to_string(), "v1;someone else's");
    }
    broker.tell(&["forget", &group]);
    run(&group_only);
    broker.send(&progress, 0, &group, "-");
    put(&group_only, "f", 25..30);
    fails(&group_only, 1, &["MARKER_LOST"]);
    assert_eq!(ids(broker, &topic), once(0..25));
}

#[test]
fn a_group_that_was_forgotten_stops_a_sink_without_a_progress_topic() {
    let broker = Broker::shared();
    let topic = broker.topic(1);
    let folder = json(broker, &topic, "", AVAILABLE);
    put(&folder, "a", 0..5);
    run(&folder);
    broker.tell(&["forget", &format!("tidemill.{topic}.q.kafka")]);
    put(&folder, "b", 5..10);
    let ended = folder.start_pipeline(&[]).end();
    ended.failed(1, &["MARKER_LOST"]);
    assert_eq!(ids(broker, &topic), once(0..5));
    assert_eq!(take_the_way_out(&folder, &ended).code, 0);
    run(&folder);
    run(&folder);
    assert_eq!(ids(broker, &topic), once(0..10));
}

#[test]
fn at_least_once_needs_no_transaction() {
    let broker = Broker::shared();
    let topic = broker.topic(1);
    let folder = json(broker, &topic, ", guarantee: at_least_once", AVAILABLE);
    put(&folder, "a", 0..100);
    run(&folder);
    assert_eq!(ids(broker, &topic), once(0..100));
}

#[test]
fn a_killed_query_sends_nothing_twice() {
    let broker = Broker::shared();
    let topic = broker.topic(3);
    let folder = json(broker, &topic, "", AVAILABLE);
    for file in 0..60 {
        put(&folder, &format!("{file:02}"), file * 20..file * 20 + 20);
    }
    for kill in 0..6 {
        let process = folder.start_pipeline(&[]);
        process.says("query started");
        pause(Duration::from_millis(10 + 35 * kill));
        process.signal(Signal::KILL);
        process.end();
    }
    run(&folder);
    assert_eq!(ids(broker, &topic), once(0..1200));
}

#[test]
fn what_was_decided_is_sent_after_the_broker_and_the_engine_died() {
    let broker = Broker::own();
    let topic = broker.topic(1);
    let settings = ", request_timeout: 2s, transaction_timeout: 10s";
    let folder = json(&broker, &topic, settings, "trigger: 20ms");
    put(&folder, "a", 0..10);
    let process = folder.start_pipeline(&[]);
    process.until("the first batch", || (ids(&broker, &topic).len() == 10).then_some(()));
    broker.kill();
    put(&folder, "b", 10..20);
    // Decided, and not committed.
    process.says("query paused");
    process.signal(Signal::KILL);
    process.end();
    broker.start();
    let process = folder.start_pipeline(&[]);
    process.until("the second batch", || (ids(&broker, &topic).len() == 20).then_some(()));
    // Once more, with an engine that lives on.
    broker.kill();
    put(&folder, "c", 20..30);
    process.says("query paused");
    broker.start();
    process.until("the third batch", || (ids(&broker, &topic).len() == 30).then_some(()));
    // What was delivered is counted once it is committed, by the process that decided it.
    let counted = format!("tidemill_rows_written_total{{pipeline=\"{topic}\",query=\"q\",sink=\"kafka\"}} 10\n");
    process.until("it is counted", || process.get("/metrics").1.contains(&counted).then_some(()));
    process.stop();
    assert_eq!(ids(&broker, &topic), once(0..30));
}

#[test]
fn who_was_fenced_says_by_whom() {
    let broker = Broker::shared();
    let topic = broker.topic(1);
    let (first, second) = (json(broker, &topic, "", "trigger: 20ms"), json(broker, &topic, "", AVAILABLE));
    put(&first, "a", 0..5);
    let process = first.start_pipeline(&[]);
    process.until("the first rows", || (ids(broker, &topic).len() == 5).then_some(()));
    // The same names, and so the same transactional id, with another checkpoint.
    put(&second, "a", 5..10);
    run(&second);
    put(&first, "b", 10..15);
    let ended = process.end();
    assert_eq!(ended.code, 75, "{ended:#?}");
    for text in ["PRODUCER_FENCED", &format!("\"tidemill.{topic}.q.kafka\""), "the last commit there is 0, by pid "] {
        assert!(ended.stderr.contains(text), "expected {text:?}: {ended:#?}");
    }
    assert_eq!(ids(broker, &topic), once(0..10), "what the fenced one sent was not committed");
    // Its mark is another checkpoint's now.
    fails(&first, 1, &["MARKER_LOST"]);
}

#[test]
fn an_old_checkpoint_is_noticed() {
    let broker = Broker::shared();
    let topic = broker.topic(1);
    let folder = json(broker, &topic, "", AVAILABLE);
    put(&folder, "a", 0..5);
    run(&folder);
    let status = std::process::Command::new("cp").arg("-r").args([folder.path("checkpoint"), folder.path("old")]).status();
    assert!(status.unwrap().success());
    put(&folder, "b", 5..10);
    run(&folder);
    std::fs::remove_dir_all(folder.path("checkpoint")).unwrap();
    std::fs::rename(folder.path("old"), folder.path("checkpoint")).unwrap();
    let ended = folder.start_pipeline(&[]).end();
    ended.failed(1, &["SINK_AHEAD", "--sink kafka --at 2`"]);
    assert_eq!(ids(broker, &topic), once(0..10));
    // What the old checkpoint does not know is sent once more, as the command says, and nothing else.
    assert_eq!(take_the_way_out(&folder, &ended).code, 0);
    put(&folder, "c", 10..15);
    run(&folder);
    run(&folder);
    let mut expected = once(0..15);
    (5..10).for_each(|id| *expected.get_mut(&id).unwrap() += 1);
    assert_eq!(ids(broker, &topic), expected);
}

#[test]
fn a_message_that_is_too_large_is_named() {
    let broker = Broker::shared();
    let topic = broker.topic(1);
    let sql = "SELECT repeat('x', if(id = 1, 2000000, 1)) AS value FROM t";
    // Refused by the client, and by the broker.
    for (name, properties) in [("client", ""), ("broker", ", properties: { message.max.bytes: 4000000, compression.type: none }")]
    {
        let sink = format!("topic: {topic}{properties}");
        let folder = sending(broker, &format!("{topic}-{name}"), sql, (&sink, ""), AVAILABLE);
        put(&folder, "a", 0..3);
        fails(&folder, 1, &[&format!("topic \"{topic}\" does not take message 1 of batch 0 (2000000 bytes)"), "too large"]);
    }
    assert_eq!(broker.read(&topic), [""; 0], "nothing of the batch is seen");
}

#[test]
fn what_cannot_be_sent_is_refused_before() {
    let broker = Broker::shared();
    let topic = broker.topic(1);
    let absent = json(broker, "no-such-topic", "", AVAILABLE);
    put(&absent, "a", 0..1);
    fails(&absent, 2, &["UNKNOWN_TOPIC_OR_PARTITION", "no topic \"no-such-topic\""]);
    let check = |sql: &str, sink: &str, beside: &str, expected: &str| {
        let ended = sending(broker, "p", sql, (sink, beside), "").run(&["check", "pipeline.yaml"]);
        assert_eq!(ended.code, 2, "{ended:#?}");
        assert!(ended.stderr.contains(expected), "expected {expected:?}: {ended:#?}");
    };
    let to = format!("topic: {topic}");
    check("SELECT id FROM t", &to, "", "Required attribute 'value' not found");
    check("SELECT id AS value FROM t", &to, "", "column value of messages to Kafka must be STRING or BINARY, not BIGINT");
    check("SELECT 'v' AS value FROM t", "marker_topic: m", "", "topic option required when no 'topic' attribute is present");
    check("SELECT 'v' AS value, 't' AS topic FROM t", "guarantee: exactly_once", "", "expected marker_topic");
    check("SELECT id FROM t", "marker_topic: m", ", format: json", "expected topic");
    check("SELECT id FROM t", &format!("{to}, key: user"), ", format: json", "there is no column \"user\" to be the key");
    check("SELECT id FROM t", &to, ", format: csv", "expected json or nothing for kafka");
    check("SELECT id FROM t", &format!("{to}, properties: {{ acks: 1 }}"), "", "acks cannot be set");
    check("SELECT id FROM t", &format!("{to}, properties: {{ transactional.id: x }}"), "", "use transactional_id");
    check("SELECT id FROM t", &format!("{to}, request_timeout: 2m"), ", format: json", "less than transaction_timeout");
    check("SELECT id FROM t", &format!("{to}, guarantee: at_least_once, transactional_id: x"), "", "exactly_once only");
    check("SELECT id FROM t", &format!("{to}, guarantee: at_least_once, progress_topic: x"), "", "exactly_once only");
    check("SELECT id FROM t", &format!("{to}, progress_topic: {topic}"), "", "expected another topic than the messages'");
    check("SELECT id FROM t", "topic: a/b", "", "expected 1 to 249 letters, digits, dots, underscores and hyphens");
}
