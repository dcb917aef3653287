//! How a Kafka cluster is reached, and which properties of librdkafka that leaves to the user.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::pipeline::{Text, nearest};
use tidemill_librdkafka as librdkafka;

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

/// Whose properties they are: each decides some itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A source's.
    Source,
    /// A sink's.
    Sink,
    /// Both, in a connection that they share.
    Both,
}

/// Properties that sources and sinks decide themselves, and what to use instead.
const RESERVED: &[(&str, &str)] = &[
    ("bootstrap.servers", "bootstrap_servers"),
    ("metadata.broker.list", "bootstrap_servers"),
    ("group.instance.id", "nothing: partitions are assigned, not shared in a group"),
    ("group.protocol", "nothing: partitions are assigned, not shared in a group"),
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

/// The same, of sources alone.
const OF_SOURCES: &[(&str, &str)] = &[
    ("group.id", "commit_group"),
    ("auto.offset.reset", "starting_offsets, and fail_on_data_loss"),
    ("enable.auto.commit", "commit_group: offsets are kept in the checkpoint"),
    ("auto.commit.enable", "commit_group: offsets are kept in the checkpoint"),
    ("auto.commit.interval.ms", "commit_group: offsets are kept in the checkpoint"),
    ("enable.auto.offset.store", "nothing: offsets are kept in the checkpoint"),
    ("enable.partition.eof", "nothing: the source needs it"),
    ("key.deserializer", "the column key or _key"),
    ("value.deserializer", "format"),
];

/// The same, of sinks alone.
const OF_SINKS: &[(&str, &str)] = &[
    ("group.id", "transactional_id, which also names the group of the mark"),
    ("transactional.id", "transactional_id"),
    ("transaction.timeout.ms", "transaction_timeout"),
    ("message.timeout.ms", "request_timeout"),
    ("delivery.timeout.ms", "request_timeout"),
    ("enable.idempotence", "nothing: the sink needs it"),
    ("enable.gapless.guarantee", "nothing: a batch is committed whole or not at all"),
    ("acks", "nothing: every replica in sync must have the record"),
    ("request.required.acks", "nothing: every replica in sync must have the record"),
    ("delivery.report.only.error", "nothing: every record's delivery is counted"),
    ("queuing.strategy", "nothing: records keep their order"),
    ("retry.backoff.ms", "nothing: from its pauses the sink knows what was sent twice"),
    ("reconnect.backoff.ms", "nothing: from its pauses the sink knows what was sent twice"),
    ("isolation.level", "nothing: marks are read as they were committed"),
    ("auto.offset.reset", "nothing: marks are read where they are"),
    ("enable.partition.eof", "nothing: the sink needs it"),
    ("enable.auto.commit", "nothing: the sink's group holds its mark"),
    ("auto.commit.enable", "nothing: the sink's group holds its mark"),
    ("key.serializer", "the column key"),
    ("value.serializer", "format"),
];

/// What cannot be done with the property `name`, if anything.
pub fn check_property(name: &str, role: Role) -> Result<(), String> {
    let plain = name.strip_prefix("kafka.").unwrap_or(name);
    let (of_sources, of_sinks) = match role {
        Role::Source => (OF_SOURCES, &[][..]),
        Role::Sink => (&[][..], OF_SINKS),
        Role::Both => (OF_SOURCES, OF_SINKS),
    };
    let mut reserved = RESERVED.iter().chain(of_sources).chain(of_sinks);
    if let Some((_, instead)) = reserved.find(|(reserved, _)| *reserved == plain) {
        return Err(match instead.strip_prefix("nothing") {
            Some(why) => format!("{plain} cannot be set{why}"),
            None => format!("{plain} cannot be set here; use {instead}"),
        });
    }
    if librdkafka::is_property(name) {
        return Ok(());
    }
    let known = librdkafka::property_names();
    let hint = match nearest(plain, known.iter().map(String::as_str)) {
        Some(near) => format!("; did you mean {near}?"),
        None => String::new(),
    };
    Err(format!("librdkafka has no property {name:?}{hint}"))
}

impl KafkaConnection {
    /// The properties of a client of this cluster: its `own`, those that every client has, and the user's, which decide last.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] for a property that is unknown or not to be set.
    pub(crate) fn properties(&self, own: &[(&str, &str)], role: Role) -> Result<Vec<(String, String)>> {
        let mut properties: Vec<(&str, &str)> = own.to_vec();
        properties.extend([
            ("bootstrap.servers", self.bootstrap_servers.expose()),
            ("client.id", "tidemill"),
            // A broker that comes back is seen soon.
            ("reconnect.backoff.max.ms", "1000"),
            ("log.connection.close", "false"),
        ]);
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
            check_property(name, role).map_err(Error::config)?;
            properties.push((name, value.expose()));
        }
        Ok(properties.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_librdkafkas_and_those_that_are_not_ours() {
        assert_eq!(check_property("fetch.min.bytes", Role::Source), Ok(()));
        assert_eq!(check_property("message.timeout.ms", Role::Source), Ok(()), "a property of topics");
        assert_eq!(check_property("client.rack", Role::Source), Ok(()), "one without a default");
        let refused = |name: &str| check_property(name, Role::Source).unwrap_err();
        assert_eq!(refused("fetch.min.byte"), "librdkafka has no property \"fetch.min.byte\"; did you mean fetch.min.bytes?");
        assert_eq!(
            refused("auto.offset.reset"),
            "auto.offset.reset cannot be set here; use starting_offsets, and fail_on_data_loss"
        );
        assert_eq!(refused("kafka.interceptor.classes"), "interceptor.classes cannot be set");
        assert!(refused("nonsense").starts_with("librdkafka has no property"));
        assert_eq!(check_property("linger.ms", Role::Sink), Ok(()), "another name for queue.buffering.max.ms");
        assert_eq!(check_property("isolation.level", Role::Source), Ok(()));
        let refused = check_property("isolation.level", Role::Sink).unwrap_err();
        assert_eq!(refused, "isolation.level cannot be set: marks are read as they were committed");
        let refused = check_property("acks", Role::Sink).unwrap_err();
        assert_eq!(refused, "acks cannot be set: every replica in sync must have the record");
        let refused = check_property("transactional.id", Role::Both).unwrap_err();
        assert_eq!(refused, "transactional.id cannot be set here; use transactional_id");
    }
    #[test]
    fn the_guide_names_every_property_that_is_refused() {
        let (source, sink) = (include_str!("../../docs/sources/kafka.md"), include_str!("../../docs/sinks/kafka.md"));
        let is_named = |page: &str, name: &str| page.contains(&format!("`{name}`"));
        for (name, _) in RESERVED.iter().chain(OF_SOURCES) {
            assert!(is_named(source, name), "{name}");
        }
        for (name, _) in OF_SINKS {
            assert!(is_named(sink, name), "{name}");
        }
    }
}
