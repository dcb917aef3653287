//! What a Kafka sink is told, and the properties of librdkafka that come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::error::Result;
use crate::kafka::{KafkaConnection, Role};
use crate::pipeline::Text;
use crate::sink::Guarantee;

/// Pause before librdkafka repeats a request, or connects once more: it makes them up to a quarter shorter.
const RETRY_PAUSE_MS: &str = "250";
/// What was answered sooner was asked once only.
pub(super) const RETRY_PAUSE_MIN: Duration = Duration::from_millis(180);

/// What the values of messages are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KafkaValue {
    /// The columns `value`, `key`, `headers`, `topic` and `partition` are the message.
    Columns,
    /// Each row as a JSON object.
    Json {
        /// Column that is the key too.
        key: Option<String>,
    },
}

/// Settings of a Kafka sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSinkSettings {
    /// The cluster.
    pub connection: KafkaConnection,
    /// Where all messages go; `None` leaves it to the column `topic`.
    pub topic: Option<String>,
    /// Topic that the mark of a commit refers to; [`KafkaSinkSettings::topic`] unless given.
    pub marker_topic: Option<String>,
    /// Compacted topic that keeps the mark, too, for longer than the cluster keeps a group's offsets.
    pub progress_topic: Option<String>,
    /// What the messages are.
    pub value: KafkaValue,
    /// Exactly once by a transaction per batch, or at least once without.
    pub guarantee: Guarantee,
    /// Names the sink to the cluster, and the group that holds its mark. `None`: `tidemill.<pipeline>.<query>.<sink>`.
    pub transactional_id: Option<String>,
    /// How long a transaction may be open before the cluster aborts it (60 s).
    pub transaction_timeout: Duration,
    /// Longest wait for an answer of the cluster, and for a message to be taken (30 s).
    pub request_timeout: Duration,
}

impl KafkaSinkSettings {
    /// The defaults: exactly once, from columns.
    pub fn new(bootstrap_servers: &str, topic: &str) -> Self {
        Self {
            connection: KafkaConnection {
                bootstrap_servers: Text::plain(bootstrap_servers),
                tls: None,
                sasl: None,
                properties: BTreeMap::new(),
            },
            topic: Some(topic.to_owned()),
            marker_topic: None,
            progress_topic: None,
            value: KafkaValue::Columns,
            guarantee: Guarantee::ExactlyOnce,
            transactional_id: None,
            transaction_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(30),
        }
    }

    /// The topic that a commit's mark refers to, if there is one.
    pub(super) fn marker_topic(&self) -> Option<&str> {
        self.marker_topic.as_deref().or(self.topic.as_deref()).or(self.progress_topic.as_deref())
    }

    /// Every topic that the settings name.
    pub(super) fn topics(&self) -> Vec<String> {
        let marks = [self.marker_topic(), self.progress_topic.as_deref()];
        let marks = marks.into_iter().filter(|_| self.guarantee == Guarantee::ExactlyOnce);
        let names: BTreeSet<&str> = marks.chain([self.topic.as_deref()]).flatten().collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// The properties of the sink's producer; the user's own come last.
    pub(super) fn producer_properties(&self, id: &str) -> Result<Vec<(String, String)>> {
        let message_timeout = self.request_timeout.as_millis().to_string();
        let transaction_timeout = self.transaction_timeout.as_millis().to_string();
        let mut own = vec![
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("message.timeout.ms", message_timeout.as_str()),
            // A batch is sent whole and then waited for: waiting for more would only delay it.
            ("linger.ms", "1"),
            // The default is a gigabyte.
            ("queue.buffering.max.kbytes", "65536"),
            ("compression.type", "lz4"),
            ("retry.backoff.ms", RETRY_PAUSE_MS),
            ("reconnect.backoff.ms", RETRY_PAUSE_MS),
            // Keys go where Kafka's own producer, and Spark's, would send them.
            ("partitioner", "murmur2_random"),
        ];
        if self.guarantee == Guarantee::ExactlyOnce {
            own.extend([("transactional.id", id), ("transaction.timeout.ms", transaction_timeout.as_str())]);
        }
        self.connection.properties(&own, Role::Sink)
    }

    /// The properties of the client that asks for topics and marks.
    pub(super) fn reader_properties(&self, id: &str) -> Result<Vec<(String, String)>> {
        let own = [
            ("group.id", id),
            ("enable.auto.commit", "false"),
            ("isolation.level", "read_committed"),
            ("auto.offset.reset", "earliest"),
            // The end of the progress topic is told at once, and again once it has moved.
            ("enable.partition.eof", "true"),
            ("fetch.wait.max.ms", "20"),
        ];
        self.connection.properties(&own, Role::Sink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_shows_what_it_begins_with() {
        let page = include_str!("../../../docs/sinks/kafka.md");
        for (name, value) in KafkaSinkSettings::new("b:1", "t").producer_properties("id").unwrap() {
            // What is not the user's to set stands among the refused ones.
            let is_free = crate::kafka::check_property(&name, Role::Sink).is_ok();
            assert!(!is_free || page.contains(&format!("| `{name}` | {value} |")), "{name}: {value}");
        }
    }
}
