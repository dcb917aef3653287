//! Settings of the Kafka sink: what there is to set, and how it becomes what the sink takes.

use std::time::Duration;

use super::connections::Connections;
use super::kafka::{PROPERTIES, SASL_SETTING, SERVERS_DOC, TLS_SETTING, cluster};
use super::problem::{Place, Problems};
use super::scalar::quoted;
use super::settings::Presence::{Default, Optional};
use super::settings::{Kind, Table};
use super::tables::{plain, setting};
use super::text::Text;
use super::values::Values;
use crate::kafka::{Role, is_topic_name};
use crate::sink::Guarantee;
use crate::sink::kafka::{KafkaSinkSettings, KafkaValue};

/// A Kafka sink.
pub(super) static KAFKA_SINK: Table = plain(
    "Sink `kafka`",
    "Messages to Kafka topics, each row exactly once for readers with `isolation.level=read_committed`: every batch is a transaction. \
     Without a format the columns `value` (required), `key`, `headers`, `topic` and `partition` are the message; a null value is a \
     tombstone. With `format: json` each row is one JSON object.",
    &[
        setting("connection", Kind::Name, Optional, "The entry of `connections` that says where the cluster is."),
        setting("bootstrap_servers", Kind::Value, Optional, SERVERS_DOC),
        TLS_SETTING,
        SASL_SETTING,
        PROPERTIES,
        setting("topic", Kind::Text, Optional, "Where every message goes. Default: where the column `topic` says."),
        setting("key", Kind::Column, Optional, "Column that is the key too. With `format: json` only."),
        setting(
            "guarantee",
            Kind::Choice(&["exactly_once", "at_least_once"]),
            Default("exactly_once"),
            "`at_least_once` does without transactions: the last batch may be repeated after a failure.",
        ),
        setting(
            "transactional_id",
            Kind::Text,
            Optional,
            "Names the sink to the cluster (`transactional.id`), and the consumer group that holds its mark: one for each sink. Default: \
             `tidemill.<pipeline>.<query>.<sink>`.",
        ),
        setting(
            "marker_topic",
            Kind::Text,
            Optional,
            "Topic whose first partition the mark of a commit refers to; nothing is written there. Default: `topic`; required when that \
             is a column and there is no `progress_topic`.",
        ),
        setting(
            "progress_topic",
            Kind::Text,
            Optional,
            "Topic with `cleanup.policy=compact` that keeps the mark too, in its first partition: the cluster forgets the offsets of a \
             group after 7 days. Any number of sinks can share one.",
        ),
        setting(
            "transaction_timeout",
            Kind::Duration { min: Duration::from_secs(1) },
            Default("60s"),
            "How long a transaction may be open (`transaction.timeout.ms`). The cluster has a limit, of 15 minutes by default.",
        ),
        setting(
            "request_timeout",
            Kind::Duration { min: Duration::from_millis(100) },
            Default("30s"),
            "How long the cluster may take to answer, and to take a message (`message.timeout.ms`): less than `transaction_timeout`.",
        ),
    ],
);

/// A sink, given its format's key and place.
pub(super) fn kafka_sink(
    sink: &Values,
    values: &Values,
    format: Option<(&'static str, &Place)>,
    connections: &Connections,
    problems: &mut Problems,
) -> Option<KafkaSinkSettings> {
    let connection = cluster(values, connections, Role::Sink, problems);
    let guarantee = match values.choice("guarantee")? {
        "at_least_once" => Guarantee::AtLeastOnce,
        _ => Guarantee::ExactlyOnce,
    };
    let key = values.word("key");
    let value = match format {
        None => {
            if values.is_given("key") {
                problems.add(
                    values.place_of("key"),
                    values.about("key", "goes with format: json only; a column called key is the key"),
                );
            }
            KafkaValue::Columns
        }
        Some(("json", _)) => {
            if values.is_missing("topic") {
                problems.add(&values.place, values.about("", "expected topic: where the messages go, which format: json needs"));
            }
            KafkaValue::Json { key }
        }
        Some((other, place)) => {
            let message = format!("expected json or nothing for kafka, found {}", quoted(&Text::plain(other)));
            problems.add(place, sink.about("format", &message));
            return None;
        }
    };
    if guarantee == Guarantee::ExactlyOnce {
        let marks = ["topic", "marker_topic", "progress_topic"];
        if format.is_none() && marks.iter().all(|name| values.is_missing(name)) {
            let message = "expected marker_topic: a topic that the mark of each commit can refer to, as topic is a column";
            problems.add(&values.place, values.about("", message));
        }
    } else {
        for name in ["transactional_id", "marker_topic", "progress_topic", "transaction_timeout"] {
            if values.is_given(name) {
                problems.add(values.place_of(name), values.about(name, "goes with guarantee: exactly_once only"));
            }
        }
    }
    topic_names(values, problems);
    let (request_timeout, transaction_timeout) = (values.duration("request_timeout")?, values.duration("transaction_timeout")?);
    if guarantee == Guarantee::ExactlyOnce && request_timeout >= transaction_timeout {
        let message = values.about("request_timeout", "expected less than transaction_timeout");
        problems.add(values.place_of("request_timeout"), message);
    }
    Some(KafkaSinkSettings {
        connection: connection?,
        topic: values.word("topic"),
        marker_topic: values.word("marker_topic"),
        progress_topic: values.word("progress_topic"),
        value,
        guarantee,
        transactional_id: values.word("transactional_id"),
        transaction_timeout,
        request_timeout,
    })
}

fn topic_names(values: &Values, problems: &mut Problems) {
    for name in ["topic", "marker_topic", "progress_topic"] {
        if values.word(name).is_some_and(|topic| !is_topic_name(&topic)) {
            let message = "expected 1 to 249 letters, digits, dots, underscores and hyphens";
            problems.add(values.place_of(name), values.about(name, message));
        }
    }
    if values.is_given("progress_topic") && values.word("progress_topic") == values.word("topic") {
        let message = "expected another topic than the messages', whose readers would see the marks";
        problems.add(values.place_of("progress_topic"), values.about("progress_topic", message));
    }
}
