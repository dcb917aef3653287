//! The stream as messages of a Kafka topic, keyed by user. A message counts as sent once the cluster has confirmed it, and
//! nothing ends before that.

use std::io;
use std::time::Duration;

use clap::Args;
use tidemill_librdkafka::{Client, Code, Failure, Producer, Record};

use crate::pace::Pace;
use crate::{Options, Transactions};

/// How long a cluster may take to tell of the topic before it is given up.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// Messages sent between two looks at what was delivered.
const BURST: u64 = 4096;
/// Longest wait for a report, so that a request to stop is seen.
const NAP: Duration = Duration::from_millis(50);

/// Properties that are not the user's to set: the first two are `--kafka`, and messages are neither counted without reports nor sent
/// outside a transaction.
const RESERVED: [&str; 4] = ["bootstrap.servers", "metadata.broker.list", "delivery.report.only.error", "transactional.id"];

/// A topic to send to.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Topic {
    /// Sends to Kafka instead: `host:port` of some brokers, with commas between. Each message has its user, name and surname in
    /// one, as key, and its event time, if it has one, as timestamp.
    #[arg(long = "kafka", value_name = "SERVERS", required = false, requires = "name")]
    pub servers: String,
    /// The topic.
    #[arg(long = "topic", value_name = "NAME", required = false, requires = "servers")]
    pub name: String,
    /// Makes the topic with so many partitions if it is not there; one that is there must have as many.
    #[arg(long, value_name = "N", requires = "servers", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub partitions: Option<i32>,
    /// A property of librdkafka, as `security.protocol=ssl`; may be given several times.
    #[arg(long = "property", value_name = "NAME=VALUE", requires = "servers", value_parser = property)]
    pub properties: Vec<(String, String)>,
}

impl Topic {
    /// The topic `name` at `servers`, as it is.
    pub fn new(servers: &str, name: &str) -> Self {
        Self { servers: servers.to_owned(), name: name.to_owned(), partitions: None, properties: Vec::new() }
    }
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not name=value"))?;
    if RESERVED.contains(&name) {
        return Err(format!("{name} cannot be set"));
    }
    if !tidemill_librdkafka::is_property(name) {
        return Err(format!("librdkafka has no property {name:?}"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Sends the stream of `options` to `topic` until its count is reached or `stop` says so, and waits until each message was
/// delivered; how many there are. `say` is told, once each time, that a broker is waited for. An error says how many were.
pub fn send(topic: &Topic, options: &Options, stop: &(dyn Fn() -> bool + Sync), say: &dyn Fn(&str)) -> io::Result<u64> {
    check(topic)?;
    let producer = Producer::new(&properties(topic)).map_err(io::Error::other)?;
    let topics = producer.topics(&[&topic.name]).map_err(|failure| failed(topic, "open", &failure))?;
    let mut stream = Transactions::new(options);
    let mut reports = Reports { topic, producer: &producer, say, sent: 0, delivered: 0, failed: None, heard: None };
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let pace = Pace::new(options);
    while reports.sent < pace.count && !stop() {
        let due = pace.due();
        let burst = due.min(reports.sent + BURST);
        while reports.sent < burst {
            key.clear();
            value.clear();
            let line = stream.write_next_value(&mut value);
            line.user.iter().for_each(|name| key.extend_from_slice(name.as_bytes()));
            let record = Record {
                partition: -1,
                key: Some(&key),
                value: Some(&value),
                // Kafka knows no time before 1970, and librdkafka takes 0 for now.
                timestamp_ms: line.event_time_ms.map(|at_ms| at_ms.max(1)),
                ..Record::default()
            };
            while let Err(failure) = topics.send(0, &record) {
                if failure.code != Code::RD_KAFKA_RESP_ERR__QUEUE_FULL {
                    return Err(failed(topic, "send to", &failure));
                }
                reports.wait(NAP)?;
                if stop() {
                    return reports.wait_for_all();
                }
            }
            reports.sent += 1;
        }
        reports.wait(if reports.sent < due { Duration::ZERO } else { pace.pause(reports.sent) })?;
    }
    reports.wait_for_all()
}

/// Makes sure that the topic is there, and has the partitions that are wanted.
fn check(topic: &Topic) -> io::Result<()> {
    let client = Client::consumer(&properties(topic)).map_err(io::Error::other)?;
    let missed = |failure: Failure| match failure.code as i32 {
        // Codes above 0 are a broker's answers.
        1.. if !failure.is_refusal() => failed(topic, "look for", &failure),
        _ => {
            let what = if failure.is_refusal() { "refuses the connection" } else { "does not answer as a Kafka broker does" };
            io::Error::other(format!("{} {what}: {failure}", topic.servers))
        }
    };
    let mut found = client.describe(std::slice::from_ref(&topic.name), FIRST_ANSWER, &Failure::is_refusal).map_err(missed)?;
    match (found.pop(), topic.partitions) {
        (None, None) => {
            let message = format!("there is no topic {:?} at {}; --partitions 4 would make it", topic.name, topic.servers);
            Err(io::Error::new(io::ErrorKind::NotFound, message))
        }
        (None, Some(partitions)) => client
            .create(&topic.name, partitions, FIRST_ANSWER, &Failure::is_refusal)
            .map_err(|failure| failed(topic, "make", &failure)),
        (Some(found), Some(wanted)) if usize::try_from(wanted) != Ok(found.partitions.len()) => {
            let message = format!("topic {:?} has {} partitions, not {wanted}", topic.name, found.partitions.len());
            Err(io::Error::other(message))
        }
        (Some(_), _) => Ok(()),
    }
}

/// Those that make it quick and let it count what was delivered, and the user's.
fn properties(topic: &Topic) -> Vec<(String, String)> {
    let own = [
        ("client.id", "tidemill-producer"),
        ("enable.idempotence", "true"),
        ("linger.ms", "10"),
        ("batch.size", "1000000"),
        ("compression.type", "lz4"),
        // The default is a gigabyte.
        ("queue.buffering.max.kbytes", "65536"),
        ("reconnect.backoff.max.ms", "1000"),
        ("log.connection.close", "false"),
        // Keys go where Kafka's own producer would send them.
        ("partitioner", "murmur2_random"),
    ];
    let fixed = [("bootstrap.servers", topic.servers.as_str()), ("delivery.report.only.error", "false")];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    own.map(owned).into_iter().chain(topic.properties.iter().cloned()).chain(fixed.map(owned)).collect()
}

fn failed(topic: &Topic, attempt: &str, failure: &Failure) -> io::Error {
    io::Error::other(format!("could not {attempt} topic {:?}: {failure}", topic.name))
}

/// What became of the messages.
struct Reports<'a> {
    topic: &'a Topic,
    producer: &'a Producer,
    say: &'a dyn Fn(&str),
    sent: u64,
    delivered: u64,
    failed: Option<Failure>,
    /// What a connection met first since a message was delivered.
    heard: Option<Failure>,
}

impl Reports<'_> {
    /// Takes the reports that are there, or waits for one.
    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let (before, mut delivered, mut failed) = (self.delivered, self.delivered, self.failed.take());
        let heard = self.producer.delivered(timeout, &mut |_, failure| match failure {
            None => delivered += 1,
            Some(failure) => {
                failed.get_or_insert(failure);
            }
        });
        self.delivered = delivered;
        if delivered > before {
            self.heard = None;
        }
        if let (None, Some(heard)) = (&self.heard, heard) {
            (self.say)(&format!("waiting for Kafka: {heard}"));
            self.heard = Some(heard);
        }
        match failed.or_else(|| self.producer.fatal()) {
            Some(failure) => Err(self.not_delivered(&failure)),
            None => Ok(()),
        }
    }

    fn wait_for_all(mut self) -> io::Result<u64> {
        while self.delivered < self.sent {
            self.wait(NAP)?;
        }
        Ok(self.sent)
    }

    fn not_delivered(&self, failure: &Failure) -> io::Error {
        let Self { topic, delivered, sent, heard, .. } = self;
        let met = heard.as_ref().map_or_else(String::new, |heard| format!(" ({heard})"));
        io::Error::other(format!(
            "topic {:?} did not take every message: {failure}{met}; {delivered} of {sent} are delivered",
            topic.name
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_properties_come_behind_ours_except_those_that_counting_needs() {
        let mut topic = Topic::new("broker:9092", "t");
        topic.properties = vec![property("linger.ms=3").unwrap(), ("delivery.report.only.error".into(), "true".into())];
        let found = properties(&topic);
        let last = |name: &str| found.iter().rfind(|(one, _)| one == name).map(|(_, value)| value.as_str());
        assert_eq!(last("linger.ms"), Some("3"));
        assert_eq!(last("delivery.report.only.error"), Some("false"));
        assert_eq!(last("bootstrap.servers"), Some("broker:9092"));
        assert_eq!(property("sasl.password=a=b").unwrap().1, "a=b");
        assert_eq!(property("transactional.id=x").unwrap_err(), "transactional.id cannot be set");
        assert_eq!(property("linger.m=3").unwrap_err(), "librdkafka has no property \"linger.m\"");
        assert_eq!(property("linger.ms").unwrap_err(), "\"linger.ms\" is not name=value");
    }

    #[test]
    fn a_broker_that_is_not_there_is_named_within_seconds() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let topic = Topic::new(&free.to_string(), "t");
        let error = send(&topic, &Options::default(), &|| false, &|_| {}).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{free} does not answer as a Kafka broker does: ")), "{error}");
        assert!(error.contains("Connection refused"), "{error}");
    }
}
