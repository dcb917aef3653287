//! Records, topics and leaders that are not there: what the source says, what it counts, and that the rest comes once.

use futures::StreamExt;
use serde_json::Value;
use tidemill::ErrorKind;
use tidemill::source::kafka::{KafkaSettings, KafkaSource, KafkaStart, KafkaTopics, Wanted};
use tidemill::source::{Chunk, Extent, OffsetRange, ReadBuffer, ReadLimit, Source};

use super::super::bad_input::SmallDisk;
use super::super::binary::Running;
use super::super::binary::fails;
use super::faults::{IDS, reading};
use super::{Broker, ids, printing, run};

const LENIENT: &str = "fail_on_data_loss: false";

/// The sum of a counter over the last batches' ledgers.
fn ledger(process: &Running, counter: &str) -> u64 {
    let progress = process.get_json("/queries/q/progress");
    progress.as_array().unwrap().iter().map(|batch| batch["ledger"][counter].as_u64().unwrap()).sum()
}

#[test]
fn a_topic_that_is_deleted_while_it_is_read_fails_the_query_or_is_waited_for() {
    let broker = Broker::shared();
    let topic = broker.filled(2, 6);
    let strict = reading(&broker.address, &format!("subscribe: {topic}"), "trigger: 20ms");
    let lenient = reading(&broker.address, &format!("subscribe: {topic}, {LENIENT}"), "trigger: 20ms");
    let [strict, lenient] = [&strict, &lenient].map(|folder| folder.start_pipeline(&[]));
    for process in [&strict, &lenient] {
        process.prints("{\"id\":5}");
    }
    broker.tell(&["delete", &topic]);
    let ended = strict.end();
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert!(ended.stderr.contains("DATA_LOST") && ended.stderr.contains("was deleted"), "{ended:#?}");
    lenient.says("was deleted");
    broker.tell(&["create", &topic, "1"]);
    broker.fill(&topic, 1, 10, 3);
    lenient.prints("{\"id\":12}");
    let ended = lenient.stop();
    assert_eq!(ids(&ended.stdout), [0, 1, 2, 3, 4, 5, 10, 11, 12]);
    assert_eq!(ended.stderr.matches("was deleted;").count(), 1, "{ended:#?}");
}

#[test]
fn what_a_planned_batch_wants_may_be_gone_when_it_is_run_again() {
    let broker = Broker::shared();
    let strict_about_values = |topic: &str, settings: &str| {
        let from = format!(
            "from: {{ kafka: {{ bootstrap_servers: \"{}\", starting_offsets: earliest, subscribe: {topic}, {settings} }} }}\n    {}\n    \
             on_malformed: fail",
            broker.address, IDS
        );
        printing(&from, "SELECT id FROM t", "trigger: available_now")
    };
    // A poison message leaves the batch planned.
    let poisoned = || {
        let topic = broker.filled(1, 3);
        broker.send(&topic, 0, "-", "poison");
        let [strict, lenient] = ["request_timeout: 30s", LENIENT].map(|settings| strict_about_values(&topic, settings));
        for folder in [&strict, &lenient] {
            fails(folder, 1, &["MALFORMED_RECORD_IN_PARSING", &format!("{topic}[0]"), "3"]);
        }
        (topic, strict, lenient)
    };
    let (topic, strict, lenient) = poisoned();
    broker.fill(&topic, 1, 4, 2);
    broker.tell(&["expire", &topic, "0", "4"]);
    fails(&strict, 1, &["DATA_LOST", "begins at offset 4, and 0 was to be read next"]);
    assert_eq!(ids(&run(&lenient).stdout), [4, 5], "the poison has expired too");

    let (topic, strict, lenient) = poisoned();
    broker.tell(&["delete", &topic]);
    broker.tell(&["create", &topic, "1"]);
    broker.fill(&topic, 1, 10, 9);
    fails(&strict, 1, &["TOPIC_RECREATED", &topic]);
    assert_eq!(ids(&run(&lenient).stdout), (10..19).collect::<Vec<_>>());
}

#[test]
fn a_start_outside_of_a_partition_is_named() {
    let broker = Broker::shared();
    let topic = broker.filled(1, 10);
    broker.tell(&["expire", &topic, "0", "4"]);
    let from = |offset: u32, settings: &str| {
        let start = format!("starting_offsets: {{ {topic}: {{ 0: {offset} }} }}");
        let source = format!(
            "from: {{ kafka: {{ bootstrap_servers: \"{}\", subscribe: {topic}, {start}, {settings} }} }}\n    {IDS}",
            broker.address
        );
        printing(&source, "SELECT id FROM t", "trigger: available_now")
    };
    fails(&from(2, ""), 1, &["DATA_LOST", "begins at offset 4, and 2 was to be read next"]);
    fails(&from(11, ""), 1, &["DATA_LOST", "ends at 10, before offset 11"]);
    assert_eq!(ids(&run(&from(2, LENIENT)).stdout), [4, 5, 6, 7, 8, 9]);
    let behind = from(11, LENIENT);
    assert_eq!(ids(&run(&behind).stdout), [0u64; 0]);
    broker.fill(&topic, 1, 10, 2);
    assert_eq!(ids(&run(&behind).stdout), [10, 11], "it goes on behind the last record");
    assert_eq!(ids(&run(&from(10, "")).stdout), [10, 11], "the end itself is a place to begin");
}

#[test]
fn lag_and_losses_are_counted() {
    let broker = Broker::shared();
    let topic = broker.filled(2, 20);
    broker.tell(&["expire", &topic, "1", "3"]);
    let start = format!("starting_offsets: {{ {topic}: {{ 0: 0, 1: 0 }} }}");
    let settings = format!("subscribe: {topic}, max_rows_per_trigger: 10, {LENIENT}");
    let folder = reading(&broker.address, &settings, "trigger: 1h");
    let pipeline = std::fs::read_to_string(folder.path("pipeline.yaml")).unwrap();
    folder.write("pipeline.yaml", pipeline.replace("starting_offsets: earliest", &start));
    let process = folder.start_pipeline(&[]);
    process.prints("{\"id\":9}");
    process.until("the batch is committed", || (ledger(&process, "rows_read") == 7).then_some(()));
    assert_eq!(ledger(&process, "rows_lost"), 3);
    let (_, metrics) = process.get("/metrics");
    for partition in ["0", "1"] {
        let series = metrics
            .lines()
            .find(|line| line.starts_with("tidemill_source_lag_offsets") && line.contains(&format!("partition=\"{partition}\"")));
        assert!(series.is_some_and(|line| line.contains(&topic) && line.ends_with(" 5")), "{metrics}");
        // What is left was written after what was read, which this test has just sent.
        let of =
            |line: &&str| line.starts_with("tidemill_source_lag_seconds") && line.contains(&format!("partition=\"{partition}\""));
        let age: f64 =
            metrics.lines().find(of).unwrap_or_else(|| panic!("{metrics}")).rsplit_once(' ').unwrap().1.parse().unwrap();
        assert!(age > 0.0 && age < 600.0, "{age}");
    }
    let source = &process.get_json("/queries/q")["lastProgress"]["sources"][0];
    let behind = |name: &str| source["metrics"][format!("{name}OffsetsBehindLatest")].clone();
    assert_eq!([behind("min"), behind("max"), behind("avg")], ["5", "5", "5.0"].map(Value::from), "{source}");
    let offsets = |end: &str| source[end][&topic]["offsets"].to_string();
    assert_eq!([offsets("endOffset"), offsets("latestOffset")], [r#"{"0":5,"1":5}"#, r#"{"0":10,"1":10}"#], "{source}");
}

/// The ids of a range.
async fn read(source: &mut KafkaSource, range: &OffsetRange) -> Vec<String> {
    let mut chunks = source.read(range).await.unwrap();
    let mut lines = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let Chunk::Part(part) = chunk.unwrap() else { panic!("a part of a partition") };
        part.read(&mut ReadBuffer::default(), &mut |chunk| {
            lines.extend(String::from_utf8_lossy(&chunk.bytes).lines().map(str::to_owned));
            Ok(())
        })
        .unwrap();
    }
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_again_while_a_batch_computes_is_noticed_before_it_is_decided() {
    let broker = Broker::shared();
    let topic = broker.filled(2, 20);
    let open = async |fail_on_data_loss: bool| {
        let mut settings = KafkaSettings::new(&broker.address, KafkaTopics::Subscribe(vec![topic.clone()]));
        (settings.start, settings.fail_on_data_loss) = (KafkaStart::Earliest, fail_on_data_loss);
        KafkaSource::open(settings, "g", Wanted::default(), Extent::Endless).await.unwrap()
    };
    let (mut strict, mut lenient) = (open(true).await, open(false).await);
    let start = strict.initial_offset().await.unwrap();
    let end = strict.latest_offset(&start, &ReadLimit::default()).await.unwrap();
    let range = OffsetRange { start, end };
    let all: Vec<String> = read(&mut strict, &range).await;
    assert_eq!(all.len(), 20);
    assert_eq!(read(&mut strict, &range).await, all, "a range is the same every time");
    assert_eq!(read(&mut lenient, &range).await, all);
    strict.make_durable(&range.end).await.unwrap();
    broker.tell(&["delete", &topic]);
    broker.tell(&["create", &topic, "2"]);
    broker.fill(&topic, 2, 100, 30);
    let error = strict.make_durable(&range.end).await.unwrap_err();
    assert_eq!((error.kind(), error.condition()), (ErrorKind::Data, Some("TOPIC_RECREATED")));
    // What does not mind runs the batch again, without the records.
    let error = lenient.make_durable(&range.end).await.unwrap_err();
    assert_eq!((error.kind(), error.condition()), (ErrorKind::Unavailable, Some("TOPIC_RECREATED")));
    let chunks: Vec<_> = lenient.read(&range).await.unwrap().collect().await;
    assert!(matches!(chunks[..], [Ok(Chunk::Lost(20))]), "{chunks:?}");
}

#[test]
fn a_full_disk_on_our_side_costs_no_record() {
    let broker = Broker::shared();
    let topic = broker.filled(2, 10);
    let folder = reading(&broker.address, &format!("subscribe: {topic}"), "trigger: 20ms");
    let pipeline = std::fs::read_to_string(folder.path("pipeline.yaml")).unwrap();
    let pipeline = pipeline.replace("checkpoint: checkpoint", "checkpoint: small/checkpoint");
    folder
        .write("pipeline.yaml", pipeline.replace("{ console: {}, format: json }", "{ file: { path: small/out }, format: json }"));
    let Some(disk) = SmallDisk::new(folder.path("small")) else {
        println!("may not mount: `a_full_disk_costs_nothing_but_time` has the rest");
        return;
    };
    let process = folder.start_pipeline(&[]);
    process.until("the first rows are out", || (folder.lines("small/out").len() == 10).then_some(()));
    disk.fill();
    broker.fill(&topic, 2, 10, 3000);
    process.says("NO_SPACE");
    process.becomes("q", "paused");
    disk.free();
    process.until("it has resumed", || (folder.lines("small/out").len() == 3010).then_some(()));
    process.stop();
    assert!(folder.lines("small/out").values().all(|times| *times == 1));
}

#[test]
fn a_partition_without_leader_is_waited_for() {
    let broker = Broker::own();
    let second = broker.second();
    broker.tell(&["assign", "t", "1", "2"]);
    broker.fill("t", 2, 0, 10);
    let folder = reading(&broker.address, "subscribe: t, request_timeout: 2s", "trigger: 20ms");
    let process = folder.start_pipeline(&[]);
    for id in [8, 9] {
        process.prints(&format!("{{\"id\":{id}}}"));
    }
    second.kill();
    process.says("query paused");
    broker.send("t", 0, "-", "{\"id\":10}");
    let first = process.stop().stdout;
    // A start finds it like that, too: the partition is missed, not forgotten.
    let process = folder.start_pipeline(&[]);
    let paused = process.says("query paused");
    assert!(paused.contains("t[1]"), "{paused}");
    second.start();
    broker.tell(&["leaders", "t", "2"]);
    broker.send("t", 1, "-", "{\"id\":11}");
    for id in [10, 11] {
        process.prints(&format!("{{\"id\":{id}}}"));
    }
    assert_eq!(ids(&(first + &process.stop().stdout)), (0..12).collect::<Vec<_>>());
}
