//! What sources and sinks of Kafka share: how a cluster is reached, and librdkafka.

mod connection;

use tidemill_librdkafka::{Code, Failure};

pub use connection::{KafkaConnection, KafkaSasl, KafkaTls, Role, check_property};

/// What a source or sink of a query is called at a cluster, unless its settings say otherwise.
pub(crate) fn default_id(pipeline: &str, query: &str, name: &str) -> String {
    format!("tidemill.{pipeline}.{query}.{name}")
}

/// Whether a topic can have this name: 1 to 249 letters, digits, `.`, `_` and `-`, and not only dots.
pub(crate) fn is_topic_name(name: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name.bytes().all(is_legal) && !matches!(name, "." | "..")
}

/// Whether trying again would end in the same way.
pub(crate) fn is_hopeless(failure: &Failure) -> bool {
    let is_impossible =
        matches!(failure.code, Code::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION | Code::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE);
    failure.is_refusal() || is_impossible
}

#[cfg(test)]
mod tests {
    use super::is_topic_name;

    #[test]
    fn topics_have_kafkas_names() {
        for name in ["a", "orders.v2_x-1", "...", &"x".repeat(249)] {
            assert!(is_topic_name(name), "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "\u{e9}", "a\0", &"x".repeat(250)] {
            assert!(!is_topic_name(name), "{name}");
        }
    }
}
