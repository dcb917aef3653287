//! Jobs that read a topic of a real broker: the filter as a pipeline, and nothing but librdkafka's own loop over the same messages.
//!
//! The broker, from `scripts/kafka`, runs on the same machine and is not measured; it ends with this process.
#![allow(unsafe_code)] // librdkafka's loop has no other form

use std::ffi::{CString, c_char, c_void};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::ptr;
use std::sync::OnceLock;

use rdkafka_sys as sys;

use crate::data::{size, transactions};
use crate::measure::{Figures, tidemill, to_end};
use crate::throughput::COLUMNS;
use crate::{Bench, Outcome};

/// The argument with which this program is the bare loop: `--bare-kafka HOST:PORT ROWS`.
pub(crate) const BARE: &str = "--bare-kafka";
pub(crate) const TOPIC: &str = "transactions";
pub(crate) const PARTITIONS: i32 = 4;
/// What the source sets too; without it the loop is several times slower.
const SETTINGS: [(&str, &str); 4] = [
    ("group.id", "bench"),
    ("enable.auto.commit", "false"),
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.message.max.bytes", "262144"),
];

pub(crate) struct Broker {
    pub(crate) address: String,
    /// Ends with its standard input, and so with us.
    _serving: Child,
}

/// A broker that holds the data set in one topic, lz4, over four partitions.
pub(crate) fn broker(bench: &Bench) -> Result<&'static Broker, Box<dyn std::error::Error>> {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    if let Some(broker) = BROKER.get() {
        return Ok(broker);
    }
    let data = bench.folder("kafka-broker")?;
    let mut serving = script();
    serving.args(["serve", "--port", "0", "--heap", "512", "--data"]).arg(&data);
    let mut serving = serving.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut address = String::new();
    BufReader::new(serving.stdout.take().ok_or("no output")?).read_line(&mut address)?;
    let address = address.trim().to_owned();
    let broker = Broker { address, _serving: serving };
    broker.tell(&[
        format!("create\t{TOPIC}\t{PARTITIONS}"),
        format!("load\t{TOPIC}\t{PARTITIONS}\t{}", transactions(bench, 64)?.display()),
    ])?;
    Ok(BROKER.get_or_init(|| broker))
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka"))
}

impl Broker {
    /// Has the tests' driver do `commands`.
    pub(crate) fn tell(&self, commands: &[String]) -> Result<(), Box<dyn std::error::Error>> {
        let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/kafka/Driver.java");
        let mut running = script();
        running.arg("run").arg(driver).arg(&self.address);
        let mut running = running.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut input = running.stdin.take().ok_or("no input")?;
        commands.iter().try_for_each(|command| writeln!(input, "{command}"))?;
        drop(input);
        let answers = io::read_to_string(running.stdout.take().ok_or("no output")?)?;
        running.wait()?;
        if answers.lines().count() != commands.len() + 1 || answers.contains("error") {
            return Err(format!("{commands:?} were answered with {answers:?}").into());
        }
        Ok(())
    }
}

/// One row in ten of the topic, decoded and counted.
pub(crate) fn kafka_in(bench: &Bench) -> Outcome {
    let (broker, folder) = (broker(bench)?, bench.folder("kafka_in")?);
    let text = format!(
        "version: 1\nname: bench\ncheckpoint: checkpoint\nsources:\n  transactions:\n    from: {{ kafka: {{ bootstrap_servers: {:?}, subscribe: \
         {TOPIC}, starting_offsets: earliest }} }}\n    format: {{ json: {{ schema: {COLUMNS:?} }} }}\nqueries:\n  kafka_in:\n    sql: SELECT * \
         FROM transactions WHERE flag = 1\n    trigger: available_now\n    to: {{ discard: {{}} }}\n",
        broker.address
    );
    fs::write(folder.join("pipeline.yaml"), text)?;
    let mut command = tidemill(&["run", "pipeline.yaml", "--quiet"]);
    command.current_dir(&folder);
    let figures = to_end(command)?;
    Ok(Figures { rows: Some(bench.rows), bytes: Some(size(&transactions(bench, 64)?)?), ..figures })
}

/// librdkafka's loop over the same topic, which looks at no more than the length of each message.
pub(crate) fn kafka_bare(bench: &Bench) -> Outcome {
    let broker = broker(bench)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args([BARE, &broker.address, &bench.rows.to_string()]);
    let figures = to_end(command)?;
    Ok(Figures { rows: Some(bench.rows), bytes: Some(size(&transactions(bench, 64)?)?), ..figures })
}

#[derive(Default)]
struct Seen {
    rows: u64,
    bytes: u64,
}

/// Called for each message, on the thread that polls.
unsafe extern "C" fn see(message: *mut sys::rd_kafka_message_t, seen: *mut c_void) {
    // SAFETY: librdkafka lends the message until we return; `seen` is the value that the loop below hands in.
    let (message, seen) = unsafe { (&*message, &mut *seen.cast::<Seen>()) };
    if message.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        seen.rows += 1;
        seen.bytes += message.len as u64;
    }
}

/// Reads `rows` messages and does nothing with them.
pub(crate) fn read_bare(servers: &str, rows: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut message = [0 as c_char; 512];
    let text = |text: &str| CString::new(text);
    let mut seen = Seen::default();
    // SAFETY: each object is made, used and destroyed here, on this thread; strings outlive the calls that copy them.
    unsafe {
        let conf = sys::rd_kafka_conf_new();
        for (name, value) in SETTINGS.into_iter().chain([("bootstrap.servers", servers)]) {
            sys::rd_kafka_conf_set(conf, text(name)?.as_ptr(), text(value)?.as_ptr(), message.as_mut_ptr(), message.len());
        }
        let kind = sys::rd_kafka_type_t::RD_KAFKA_CONSUMER;
        let handle = sys::rd_kafka_new(kind, conf, message.as_mut_ptr(), message.len());
        if handle.is_null() {
            return Err("no consumer".into());
        }
        let list = sys::rd_kafka_topic_partition_list_new(PARTITIONS);
        for partition in 0..PARTITIONS {
            (*sys::rd_kafka_topic_partition_list_add(list, text(TOPIC)?.as_ptr(), partition)).offset = 0;
        }
        sys::rd_kafka_assign(handle, list);
        sys::rd_kafka_topic_partition_list_destroy(list);
        let queue = sys::rd_kafka_queue_get_consumer(handle);
        while seen.rows < rows {
            sys::rd_kafka_consume_callback_queue(queue, 100, Some(see), ptr::from_mut(&mut seen).cast());
        }
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_destroy_flags(handle, sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    }
    println!("{} rows, {} bytes", seen.rows, seen.bytes);
    Ok(())
}
