//! Jobs from topic to topic: the fraud query exactly once, how long its transactions take, and how long one row takes.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tidemill_librdkafka::{At, Client, Flow, PartitionQueue, Producer, Record};

use crate::data::{size, transactions};
use crate::kafka::{Broker, PARTITIONS, TOPIC, broker};
use crate::measure::{Figures, commits, tidemill, to_end};
use crate::throughput::COLUMNS;
use crate::{Bench, Outcome};

/// Rows of each batch of `kafka_commit`, and how many batches there are.
const COMMIT_ROWS: u64 = 1_000;
const COMMITS: u64 = 300;
/// Rows a second of `kafka_latency`, and for how long they are sent after a second of warm-up.
const RATE: usize = 1_000;
const SENDING_S: usize = 10;
/// Longest wait for a row to come out.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes a pipeline from the topic `from` to the topic `to`.
fn pipeline(folder: &Path, broker: &Broker, (from, to): (&str, &str), limit: &str, query: &str) -> std::io::Result<()> {
    let schema = if from == TOPIC { COLUMNS } else { "id BIGINT" };
    let text = format!(
        "version: 1\nname: {to}\ncheckpoint: checkpoint\nconnections: {{ main: {{ kafka: {{ bootstrap_servers: {:?} }} }} }}\nsources:\n  \
         rows:\n    from: {{ kafka: {{ connection: main, subscribe: {from}, starting_offsets: earliest{limit} }} }}\n    format: {{ json: {{ \
         schema: {schema:?} }} }}\nqueries:\n  q:\n    {query}\n    to: {{ kafka: {{ connection: main, topic: {to} }}, format: json }}\n",
        broker.address
    );
    fs::write(folder.join("pipeline.yaml"), text)
}

/// The whole topic through the fraud aggregation into another one.
pub(crate) fn fraud(bench: &Bench) -> Outcome {
    let (broker, folder) = (broker(bench)?, bench.folder("kafka_fraud")?);
    broker.tell(&[format!("create\tfraud\t{PARTITIONS}")])?;
    let query = "sql: SELECT concat(name, surname) AS userID, true AS isFraud, count(*) AS nTransactions FROM rows WHERE flag = 1 GROUP BY \
                 concat(name, surname) HAVING count(*) > 1\n    output_mode: update\n    trigger: available_now";
    pipeline(&folder, broker, (TOPIC, "fraud"), "", query)?;
    let mut command = tidemill(&["run", "pipeline.yaml", "--quiet"]);
    command.current_dir(&folder);
    let figures = to_end(command)?;
    Ok(Figures { rows: Some(bench.rows), bytes: Some(size(&transactions(bench, 64)?)?), ..figures })
}

/// Batches of a thousand rows, each a transaction: how long the sink's commit takes.
pub(crate) fn commit(bench: &Bench) -> Outcome {
    let (broker, folder) = (broker(bench)?, bench.folder("kafka_commit")?);
    let rows = COMMIT_ROWS * COMMITS;
    broker.tell(&[
        format!("create\tnumbers\t{PARTITIONS}"),
        format!("create\tcommits\t{PARTITIONS}"),
        format!("fill\tnumbers\t{PARTITIONS}\t{rows}\t0"),
    ])?;
    let limit = format!(", max_rows_per_trigger: {COMMIT_ROWS}");
    pipeline(&folder, broker, ("numbers", "commits"), &limit, "sql: SELECT * FROM rows\n    trigger: available_now")?;
    let mut command = tidemill(&["run", "pipeline.yaml", "--quiet"]);
    command.current_dir(&folder);
    let (figures, commits) = commits(command)?;
    // The first one meets a coordinator that has just made its topic.
    let times = commits.iter().skip(1).filter_map(|commit| commit.progress["durationMs"]["commitOffsets"].as_u64());
    Ok(Figures { rows: Some(rows), ..figures }.percentiles(times.map(Duration::from_millis).collect()))
}

/// Rows sent to a topic one by one: the time until a consumer of committed rows has each from the other topic.
pub(crate) fn latency(bench: &Bench) -> Outcome {
    let (broker, folder) = (broker(bench)?, bench.folder("kafka_latency")?);
    broker.tell(&["create\tlatency-in\t1".to_owned(), "create\tlatency-out\t1".to_owned()])?;
    pipeline(&folder, broker, ("latency-in", "latency-out"), "", "sql: SELECT id FROM rows")?;
    let mut child = tidemill(&["run", "pipeline.yaml", "--quiet"]).current_dir(&folder).spawn()?;
    let ended = Arc::new(AtomicBool::new(false));
    let arrivals = arrivals(&broker.address, ended.clone())?;
    let sent = send(&broker.address)?;
    let mut times = Vec::with_capacity(sent.len());
    for _ in 0..sent.len() {
        let (id, at) = arrivals.recv_timeout(PATIENCE).map_err(|_| "a row did not come out")?;
        if id >= RATE {
            times.push(at - sent[id]);
        }
    }
    ended.store(true, Ordering::Relaxed);
    child.kill()?;
    child.wait()?;
    Ok(Figures { rows: Some(times.len() as u64), ..Figures::default() }.percentiles(times))
}

fn properties(servers: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let reached = [("bootstrap.servers", servers)];
    let all = more.iter().chain(&reached);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Sends one row at a time, each when it is due; when each was handed to the producer.
fn send(servers: &str) -> Result<Vec<Instant>, Box<dyn std::error::Error>> {
    let producer = Producer::new(&properties(servers, &[("linger.ms", "0"), ("acks", "all")]))?;
    let topics = producer.topics(&["latency-in"])?;
    let (started, total) = (Instant::now(), RATE * (SENDING_S + 1));
    let (mut sent, mut delivered) = (Vec::with_capacity(total), 0);
    let mut count = |timeout| {
        producer.delivered(timeout, &mut |_, failure| delivered += usize::from(failure.is_none()));
        delivered
    };
    for id in 0..total {
        let due = started + Duration::from_secs(1) / RATE as u32 * id as u32;
        while Instant::now() < due {
            thread::sleep(due.saturating_duration_since(Instant::now()).min(Duration::from_micros(500)));
        }
        let value = format!("{{\"id\":{id}}}");
        sent.push(Instant::now());
        topics.send(id, &Record { partition: 0, value: Some(value.as_bytes()), ..Record::default() })?;
        count(Duration::ZERO);
    }
    while count(Duration::from_millis(100)) < total && started.elapsed() < PATIENCE {}
    Ok(sent)
}

/// When each row came out, as a consumer of committed rows sees it.
fn arrivals(servers: &str, ended: Arc<AtomicBool>) -> Result<mpsc::Receiver<(usize, Instant)>, Box<dyn std::error::Error>> {
    let settings = [("group.id", "latency"), ("isolation.level", "read_committed"), ("enable.auto.commit", "false")];
    let client = Arc::new(Client::consumer(&properties(servers, &settings))?);
    let mut queue = PartitionQueue::new(client.clone(), "latency-out", 0, Arc::default())?;
    client.assign(&[At { topic: "latency-out".into(), partition: 0, offset: 0 }])?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            queue.consume(Duration::from_millis(100), |message| {
                let id = message.value().and_then(|value| serde_json::from_slice::<serde_json::Value>(value).ok());
                if let Some(id) = id.and_then(|row| row["id"].as_u64()) {
                    let _ = sender.send((id as usize, Instant::now()));
                }
                Flow::Next
            });
        }
    });
    Ok(receiver)
}
