//! What a Kafka source is told, and the properties of librdkafka that come of it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::Result;
use crate::kafka::{KafkaConnection, Role};
use crate::pipeline::Text;

/// Which partitions are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KafkaTopics {
    /// All of these topics.
    Subscribe(Vec<String>),
    /// All of the topics whose whole name fits a regular expression, those to come too.
    Pattern(String),
    /// These ones, by topic.
    Assign(BTreeMap<String, Vec<i32>>),
}

/// Where a query without a checkpoint begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KafkaStart {
    /// At the first record that is still there.
    Earliest,
    /// Behind the last record that is there.
    #[default]
    Latest,
    /// At these offsets, by topic and partition: -2 is the earliest and -1 the latest. Every partition must be named.
    Offsets(BTreeMap<String, BTreeMap<i32, i64>>),
    /// In every partition at the first record not older than this, in milliseconds since 1970.
    Timestamp(i64, NoneSince),
    /// The same for each partition, by topic and partition.
    Timestamps(BTreeMap<String, BTreeMap<i32, i64>>, NoneSince),
}

/// What to do with a partition that has no record since the wanted time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NoneSince {
    /// The query fails.
    #[default]
    Fail,
    /// It begins at the latest offset.
    Latest,
}

/// Settings of a Kafka source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// The cluster.
    pub connection: KafkaConnection,
    /// What of it is read.
    pub topics: KafkaTopics,
    /// Where a new query begins.
    pub start: KafkaStart,
    /// Whether records that are gone before they were read fail the query (default), or are counted as lost.
    pub fail_on_data_loss: bool,
    /// Whether the raw columns have the headers of messages.
    pub include_headers: bool,
    /// A batch waits for as many rows, but no longer than [`KafkaSettings::max_trigger_delay`].
    pub min_rows_per_trigger: Option<u64>,
    /// Longest wait for them (15 minutes).
    pub max_trigger_delay: Duration,
    /// Group that the consumed offsets are told to, for tools that show lag; they are never read back.
    pub commit_group: Option<String>,
    /// Longest wait for an answer of the cluster, and for records that it has (30 s).
    pub request_timeout: Duration,
}

impl KafkaSettings {
    /// The defaults.
    pub fn new(bootstrap_servers: &str, topics: KafkaTopics) -> Self {
        Self {
            connection: KafkaConnection {
                bootstrap_servers: Text::plain(bootstrap_servers),
                tls: None,
                sasl: None,
                properties: BTreeMap::new(),
            },
            topics,
            start: KafkaStart::default(),
            fail_on_data_loss: true,
            include_headers: false,
            min_rows_per_trigger: None,
            max_trigger_delay: Duration::from_secs(15 * 60),
            commit_group: None,
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// What a query wants to know of each message beside its value and its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// `_timestamp`.
    pub timestamps: bool,
    /// `_key`.
    pub keys: bool,
    /// The raw columns instead of a decoder's.
    pub raw: bool,
}

impl KafkaSettings {
    /// The properties of the source's consumer; the user's own come last.
    pub(super) fn properties(&self, group: &str) -> Result<Vec<(String, String)>> {
        let own = [
            ("group.id", self.commit_group.as_deref().unwrap_or(group)),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            // Nothing is skipped in silence.
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "true"),
            ("isolation.level", "read_committed"),
            ("check.crcs", "true"),
            // A partition whose queue was full is fetched again at once, and not after a second.
            ("fetch.queue.backoff.ms", "5"),
            // Small fetches stay in the processor's cache.
            ("fetch.message.max.bytes", "262144"),
            // The end of a partition is told after as long a silence.
            ("fetch.wait.max.ms", "100"),
            // Per partition, of what is fetched ahead. A small message takes several times its size there.
            ("queued.max.messages.kbytes", "1024"),
        ];
        self.connection.properties(&own, Role::Source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_decides_last() {
        let mut settings = KafkaSettings::new("b:1", KafkaTopics::Subscribe(vec!["t".into()]));
        settings.connection.properties.insert("isolation.level".into(), Text::plain("read_uncommitted"));
        let properties = settings.properties("g").unwrap();
        let last = properties.iter().rfind(|(name, _)| name == "isolation.level").unwrap();
        assert_eq!(last.1, "read_uncommitted");
    }
    #[test]
    fn the_guide_shows_what_it_begins_with() {
        let page = include_str!("../../../docs/sources/kafka.md");
        let settings = KafkaSettings::new("b:1", KafkaTopics::Subscribe(vec!["t".into()]));
        for (name, value) in settings.properties("g").unwrap() {
            // What is not the user's to set stands among the refused ones.
            let is_free = crate::kafka::check_property(&name, Role::Source).is_ok();
            assert!(!is_free || page.contains(&format!("| `{name}` | {value} |")), "{name}: {value}");
        }
    }
}
