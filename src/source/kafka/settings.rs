//! What a Kafka source is told, and the properties of librdkafka that come of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ffi;
use crate::error::{Error, Result};
use crate::pipeline::{Text, nearest};

/// How a cluster is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConnection {
    /// `host:port` of some brokers, with commas between.
    pub bootstrap_servers: Text,
    /// Encrypted connections.
    pub tls: Option<KafkaTls>,
    /// Who we are.
    pub sasl: Option<KafkaSasl>,
    /// Further properties of librdkafka, by name.
    pub properties: BTreeMap<String, Text>,
}

/// Encrypted connections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KafkaTls {
    /// File with the certificates that a broker's must be signed by (PEM); `None` are the system's.
    pub ca: Option<String>,
    /// File with our own certificate (PEM).
    pub certificate: Option<String>,
    /// File with its key (PEM).
    pub key: Option<String>,
    /// What the key is encrypted with.
    pub key_password: Option<Text>,
}

/// Who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: String,
    /// The user.
    pub username: Text,
    /// And the password.
    pub password: Text,
}

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

/// Properties that the source decides itself, and what to use instead.
const RESERVED: &[(&str, &str)] = &[
    ("bootstrap.servers", "bootstrap_servers"),
    ("metadata.broker.list", "bootstrap_servers"),
    ("group.id", "commit_group"),
    ("group.instance.id", "nothing: partitions are assigned, not shared in a group"),
    ("group.protocol", "nothing: partitions are assigned, not shared in a group"),
    ("auto.offset.reset", "starting_offsets, and fail_on_data_loss"),
    ("enable.auto.commit", "commit_group: offsets are kept in the checkpoint"),
    ("auto.commit.enable", "commit_group: offsets are kept in the checkpoint"),
    ("auto.commit.interval.ms", "commit_group: offsets are kept in the checkpoint"),
    ("enable.auto.offset.store", "nothing: offsets are kept in the checkpoint"),
    ("enable.partition.eof", "nothing: the source needs it"),
    ("key.deserializer", "the column key or _key"),
    ("value.deserializer", "format"),
    ("interceptor.classes", "nothing"),
    ("plugin.library.paths", "nothing: code is not loaded"),
    ("security.protocol", "tls and sasl"),
    ("ssl.ca.location", "tls.ca"),
    ("ssl.certificate.location", "tls.certificate"),
    ("ssl.key.location", "tls.key"),
    ("ssl.key.password", "tls.key_password"),
    ("sasl.mechanism", "sasl.mechanism"),
    ("sasl.mechanisms", "sasl.mechanism"),
    ("sasl.username", "sasl.username"),
    ("sasl.password", "sasl.password"),
];

/// What cannot be done with the property `name`, if anything.
pub fn check_property(name: &str) -> Result<(), String> {
    let plain = name.strip_prefix("kafka.").unwrap_or(name);
    if let Some((_, instead)) = RESERVED.iter().find(|(reserved, _)| *reserved == plain) {
        return Err(match instead.strip_prefix("nothing") {
            Some(why) => format!("{plain} cannot be set{why}"),
            None => format!("{plain} cannot be set here; use {instead}"),
        });
    }
    let known = ffi::property_names();
    if known.iter().any(|known| known == name) {
        return Ok(());
    }
    let hint = match nearest(plain, known.iter().map(String::as_str)) {
        Some(near) => format!("; did you mean {near}?"),
        None => String::new(),
    };
    Err(format!("librdkafka has no property {name:?}{hint}"))
}

impl KafkaConnection {
    /// The properties that every client of this cluster has.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] for a property that is unknown or not to be set.
    pub(crate) fn properties(&self) -> Result<Vec<(String, String)>> {
        let mut properties: Vec<(&str, &str)> = vec![
            ("bootstrap.servers", self.bootstrap_servers.expose()),
            ("client.id", "tidemill"),
            // A broker that comes back is seen soon.
            ("reconnect.backoff.max.ms", "1000"),
            ("log.connection.close", "false"),
        ];
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        properties.push(("security.protocol", protocol));
        if let Some(tls) = &self.tls {
            // Our own OpenSSL does not know where the system keeps its certificates; librdkafka looks where they use to be.
            properties.push(("ssl.ca.location", tls.ca.as_deref().unwrap_or("probe")));
            let files = [("ssl.certificate.location", &tls.certificate), ("ssl.key.location", &tls.key)];
            properties.extend(files.into_iter().filter_map(|(name, file)| Some((name, file.as_deref()?))));
            properties.extend(tls.key_password.as_ref().map(|password| ("ssl.key.password", password.expose())));
        }
        if let Some(sasl) = &self.sasl {
            properties.push(("sasl.mechanisms", &sasl.mechanism));
            properties.push(("sasl.username", sasl.username.expose()));
            properties.push(("sasl.password", sasl.password.expose()));
        }
        for (name, value) in &self.properties {
            check_property(name).map_err(Error::config)?;
            properties.push((name, value.expose()));
        }
        Ok(properties.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
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
            // Per partition, of what is fetched ahead.
            ("queued.max.messages.kbytes", "4096"),
        ];
        let mut properties: Vec<_> = own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        properties.extend(self.connection.properties()?);
        Ok(properties)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_librdkafkas_and_those_that_are_not_ours() {
        assert_eq!(check_property("fetch.min.bytes"), Ok(()));
        assert_eq!(check_property("message.timeout.ms"), Ok(()), "a property of topics");
        let refused = |name: &str| check_property(name).unwrap_err();
        assert_eq!(refused("fetch.min.byte"), "librdkafka has no property \"fetch.min.byte\"; did you mean fetch.min.bytes?");
        assert_eq!(
            refused("auto.offset.reset"),
            "auto.offset.reset cannot be set here; use starting_offsets, and fail_on_data_loss"
        );
        assert_eq!(refused("kafka.interceptor.classes"), "interceptor.classes cannot be set");
        assert!(refused("nonsense").starts_with("librdkafka has no property"));
    }

    #[test]
    fn the_user_decides_last() {
        let mut settings = KafkaSettings::new("b:1", KafkaTopics::Subscribe(vec!["t".into()]));
        settings.connection.properties.insert("isolation.level".into(), Text::plain("read_uncommitted"));
        let properties = settings.properties("g").unwrap();
        let last = properties.iter().rfind(|(name, _)| name == "isolation.level").unwrap();
        assert_eq!(last.1, "read_uncommitted");
    }
}
