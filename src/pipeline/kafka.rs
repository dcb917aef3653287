//! Settings of Kafka: what there is to set, and how it becomes what the source takes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

use super::connections::{Connection, Connections, named};
use super::problem::Problems;
use super::settings::Presence::{Default, Optional, Required};
use super::settings::{Kind, Setting, Table};
use super::tables::{ANY_DURATION, ANY_SIZE, MANY, MAX_BYTES_DOC, MAX_ROWS, plain, setting};
use super::text::Text;
use super::values::Values;
use crate::kafka::{KafkaConnection, KafkaSasl, KafkaTls, Role, check_property};
use crate::source::kafka::{KafkaSettings, KafkaStart, KafkaTopics, NoneSince, whole_name};

pub(super) const SERVERS_DOC: &str = "Some brokers of the cluster, as `host:port` with commas between (`bootstrap.servers`).";
pub(super) const TLS_SETTING: Setting = setting(
    "tls",
    Kind::Table(&TLS),
    Optional,
    "Encrypted connections; `{}` trusts the certificates of the system. Default: not encrypted (`security.protocol`).",
);
pub(super) const SASL_SETTING: Setting =
    setting("sasl", Kind::Table(&SASL), Optional, "Who we are. Default: nobody (`security.protocol`).");
pub(super) const PROPERTIES: Setting = setting(
    "properties",
    Kind::Properties,
    Optional,
    "Any other properties of [librdkafka](https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md), by name. Those \
     that a setting here stands for, or that would skip or repeat records, are refused.",
);

/// How a cluster is reached.
pub(super) static KAFKA_CONNECTION: Table = plain(
    "Connection `kafka`",
    "How a Kafka cluster is reached.",
    &[setting("bootstrap_servers", Kind::Value, Required, SERVERS_DOC), TLS_SETTING, SASL_SETTING, PROPERTIES],
);

static TLS: Table = plain(
    "Encryption to Kafka",
    "`tls` of a Kafka source, sink or connection.",
    &[
        setting(
            "ca",
            Kind::Path,
            Optional,
            "File with the certificates (PEM) that a broker's must be signed by (`ssl.ca.location`). Default: the system's.",
        ),
        setting("certificate", Kind::Path, Optional, "File with our own certificate, PEM (`ssl.certificate.location`)."),
        setting("key", Kind::Path, Optional, "File with its key, PEM (`ssl.key.location`)."),
        setting("key_password", Kind::Value, Optional, "What the key is encrypted with (`ssl.key.password`)."),
    ],
);

static SASL: Table = plain(
    "Identity at Kafka",
    "`sasl` of a Kafka source, sink or connection.",
    &[
        setting(
            "mechanism",
            Kind::Choice(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
            Required,
            "How the password is proved (`sasl.mechanisms`).",
        ),
        setting("username", Kind::Value, Required, "The user (`sasl.username`)."),
        setting("password", Kind::Value, Required, "The password (`sasl.password`): better a reference than in the file."),
    ],
);

const ASSIGN: &str = "partitions by topic, such as { orders: [0, 1] }";
const STARTING_OFFSETS: &str = "earliest, latest, or offsets by topic and partition, such as { orders: { 0: 23, 1: -2 } }";
const BY_TIMESTAMP: &str = "milliseconds since 1970 by topic and partition, such as { orders: { 0: 1767225600000 } }";

/// A Kafka source.
pub(super) static KAFKA_SOURCE: Table = plain(
    "Source `kafka`",
    "Messages of Kafka topics, decoded by a format or as raw columns. Exactly one of `subscribe`, `subscribe_pattern` and `assign`.",
    &[
        setting("connection", Kind::Name, Optional, "The entry of `connections` that says where the cluster is."),
        setting("bootstrap_servers", Kind::Value, Optional, SERVERS_DOC),
        TLS_SETTING,
        SASL_SETTING,
        PROPERTIES,
        setting("subscribe", Kind::Topics, Optional, "Topics, or one."),
        setting(
            "subscribe_pattern",
            Kind::Text,
            Optional,
            "A regular expression that the whole names of the topics fit; topics that come later are found too.",
        ),
        setting("assign", Kind::Tree(ASSIGN), Optional, "Certain partitions only."),
        setting(
            "starting_offsets",
            Kind::Tree(STARTING_OFFSETS),
            Optional,
            "Where a new query begins, -2 being the earliest and -1 the latest offset. A partition that appears later is read from its \
             beginning. Default: `latest`.",
        ),
        setting(
            "starting_timestamp",
            Kind::Count { min: 0, max: MANY },
            Optional,
            "Instead: at the first records not older than this, in milliseconds since 1970.",
        ),
        setting(
            "starting_offsets_by_timestamp",
            Kind::Tree(BY_TIMESTAMP),
            Optional,
            "The same for each partition. `starting_timestamp` goes before it, and both before `starting_offsets`.",
        ),
        setting(
            "starting_offsets_by_timestamp_strategy",
            Kind::Choice(&["error", "latest"]),
            Default("error"),
            "What a partition without such a record does: fail the query, or begin at its latest offset.",
        ),
        setting(
            "fail_on_data_loss",
            Kind::Bool,
            Default("true"),
            "Whether records that are gone before they were read (expired, or with their topic) fail the query. Otherwise they are \
             counted as lost.",
        ),
        setting(
            "include_headers",
            Kind::Bool,
            Default("false"),
            "Whether the raw columns have `headers`. Without a format only.",
        ),
        MAX_ROWS,
        setting("max_bytes_per_trigger", ANY_SIZE, Default("64 MiB"), MAX_BYTES_DOC),
        setting(
            "min_rows_per_trigger",
            Kind::Count { min: 1, max: MANY },
            Optional,
            "Rows that a batch waits for. Triggers that end by themselves do not wait.",
        ),
        setting(
            "max_trigger_delay",
            ANY_DURATION,
            Default("15 minutes"),
            "How long it waits for them at most. With `min_rows_per_trigger` only.",
        ),
        setting(
            "commit_group",
            Kind::Text,
            Optional,
            "Consumer group that is told what has been read, for tools that show lag (`group.id`). Nothing is read back from it.",
        ),
        setting(
            "request_timeout",
            Kind::Duration { min: Duration::from_millis(100) },
            Default("30s"),
            "How long the cluster may take to answer. A query that cannot reach it by then does not start; one that runs tries again.",
        ),
    ],
);

/// A connection of the file.
pub(super) fn shared_connection(settings: &Values, problems: &mut Problems) -> Option<KafkaConnection> {
    let servers = settings.text("bootstrap_servers");
    connection(servers, settings, Role::Both, problems)
}

fn connection(servers: Option<Text>, values: &Values, role: Role, problems: &mut Problems) -> Option<KafkaConnection> {
    let properties = properties(values, role, problems);
    let tls = match values.map("tls").filter(|_| values.is_given("tls")) {
        Some(tls) => {
            let file = |name: &str| tls.path(name).map(|path| path.to_string_lossy().into_owned());
            for (one, other) in [("certificate", "key"), ("key", "certificate"), ("key_password", "key")] {
                if tls.is_given(one) && tls.is_missing(other) {
                    problems.add(tls.place_of(one), tls.about(one, &format!("goes with {other} only")));
                }
            }
            let key_password = tls.text("key_password").as_ref().map(hidden);
            Some(KafkaTls { ca: file("ca"), certificate: file("certificate"), key: file("key"), key_password })
        }
        None => None,
    };
    let sasl = match values.map("sasl").filter(|_| values.is_given("sasl")) {
        Some(sasl) => Some(KafkaSasl {
            mechanism: sasl.choice("mechanism")?.to_owned(),
            username: hidden(&sasl.text("username")?),
            password: hidden(&sasl.text("password")?),
        }),
        None => None,
    };
    Some(KafkaConnection { bootstrap_servers: servers?, tls, sasl, properties: properties? })
}

/// The same text, never shown: what is written out in the file is no less a secret.
fn hidden(text: &Text) -> Text {
    Text::secret(text.expose(), "(secret)")
}

fn properties(values: &Values, role: Role, problems: &mut Problems) -> Option<BTreeMap<String, Text>> {
    let mut properties = BTreeMap::new();
    for (key, value) in values.properties("properties") {
        match check_property(&key.text, role) {
            Ok(()) => drop(properties.insert(key.text.clone(), hidden(value))),
            Err(message) => problems.add(&key.place, values.about("properties", &message)),
        }
    }
    (!values.is_given("properties") || properties.len() == values.properties("properties").len()).then_some(properties)
}

/// A source.
pub(super) fn source(values: &Values, connections: &Connections, problems: &mut Problems) -> Option<KafkaSettings> {
    let connection = cluster(values, connections, Role::Source, problems);
    let topics = topics(values, problems);
    let start = start(values, problems);
    if values.is_given("max_trigger_delay") && values.is_missing("min_rows_per_trigger") {
        let message = values.about("max_trigger_delay", "goes with min_rows_per_trigger only");
        problems.add(values.place_of("max_trigger_delay"), message);
    }
    if let (Some(min), Some(max)) = (values.count("min_rows_per_trigger"), values.count("max_rows_per_trigger"))
        && min > max
    {
        let message = values.about("min_rows_per_trigger", "expected at most max_rows_per_trigger");
        problems.add(values.place_of("min_rows_per_trigger"), message);
    }
    Some(KafkaSettings {
        connection: connection?,
        topics: topics?,
        start: start?,
        fail_on_data_loss: values.bool("fail_on_data_loss")?,
        include_headers: values.bool("include_headers")?,
        min_rows_per_trigger: values.count("min_rows_per_trigger"),
        max_trigger_delay: values.duration("max_trigger_delay")?,
        commit_group: values.word("commit_group"),
        request_timeout: values.duration("request_timeout")?,
    })
}

/// The cluster, described in place or elsewhere; properties in place are added to those there.
pub(super) fn cluster(
    values: &Values,
    connections: &Connections,
    role: Role,
    problems: &mut Problems,
) -> Option<KafkaConnection> {
    if values.word("connection").is_none() {
        if values.is_missing("bootstrap_servers") && values.is_missing("connection") {
            let message = "expected bootstrap_servers: \"host:port\", or connection: a name under connections";
            problems.add(&values.place, values.about("", message));
        }
        return connection(values.text("bootstrap_servers"), values, role, problems);
    }
    for other in ["bootstrap_servers", "tls", "sasl"] {
        if values.is_given(other) {
            problems.add(values.place_of(other), values.about(other, "goes without connection only, which says it already"));
        }
    }
    let pick = |connection| if let Connection::Kafka(connection) = connection { Some(connection) } else { None };
    let known = named(values, connections, "kafka", pick, problems);
    let more = properties(values, role, problems)?;
    let mut connection = known?;
    connection.properties.extend(more);
    Some(connection)
}

fn topics(values: &Values, problems: &mut Problems) -> Option<KafkaTopics> {
    let names = ["subscribe", "subscribe_pattern", "assign"];
    let given: Vec<&str> = names.into_iter().filter(|name| values.is_given(name)).collect();
    match *given.as_slice() {
        ["subscribe"] => {
            let topics = values.words("subscribe");
            if topics.is_empty() {
                problems.add(values.place_of("subscribe"), values.about("subscribe", "expected at least one topic"));
                return None;
            }
            Some(KafkaTopics::Subscribe(topics))
        }
        ["subscribe_pattern"] => {
            let pattern = values.word("subscribe_pattern")?;
            if let Err(error) = whole_name(&pattern) {
                problems.add(values.place_of("subscribe_pattern"), values.about("subscribe_pattern", &error.chain()));
                return None;
            }
            Some(KafkaTopics::Pattern(pattern))
        }
        [_] => {
            let assigned = values.tree("assign").and_then(partitions);
            if assigned.is_none() {
                problems.add(values.place_of("assign"), values.about("assign", &format!("expected {ASSIGN}")));
            }
            assigned.map(KafkaTopics::Assign)
        }
        [] => {
            if names.iter().all(|name| values.is_missing(name)) {
                let message =
                    "expected subscribe: topics, subscribe_pattern: a regular expression, or assign: partitions by topic";
                problems.add(&values.place, values.about("", message));
            }
            None
        }
        [first, second, ..] => {
            let message = format!("expected one of subscribe, subscribe_pattern and assign, found {first} and {second}");
            problems.add(values.place_of(second), values.about("", &message));
            None
        }
    }
}

fn start(values: &Values, problems: &mut Problems) -> Option<KafkaStart> {
    let otherwise = match values.choice("starting_offsets_by_timestamp_strategy")? {
        "latest" => NoneSince::Latest,
        _ => NoneSince::Fail,
    };
    if let Some(ms) = values.count("starting_timestamp") {
        return Some(KafkaStart::Timestamp(i64::try_from(ms).unwrap_or(i64::MAX), otherwise));
    }
    if let Some(tree) = values.tree("starting_offsets_by_timestamp") {
        let read = by_partition(tree).filter(|topics| topics.values().flat_map(BTreeMap::values).all(|ms| *ms >= 0));
        if read.is_none() {
            let message = values.about("starting_offsets_by_timestamp", &format!("expected {BY_TIMESTAMP}"));
            problems.add(values.place_of("starting_offsets_by_timestamp"), message);
        }
        return read.map(|wanted| KafkaStart::Timestamps(wanted, otherwise));
    }
    match values.tree("starting_offsets") {
        None => Some(KafkaStart::Latest),
        Some(Json::String(word)) if word.eq_ignore_ascii_case("latest") => Some(KafkaStart::Latest),
        Some(Json::String(word)) if word.eq_ignore_ascii_case("earliest") => Some(KafkaStart::Earliest),
        Some(tree) => {
            let read = by_partition(tree).filter(|topics| topics.values().flat_map(BTreeMap::values).all(|offset| *offset >= -2));
            if read.is_none() {
                let message = values.about("starting_offsets", &format!("expected {STARTING_OFFSETS}"));
                problems.add(values.place_of("starting_offsets"), message);
            }
            read.map(KafkaStart::Offsets)
        }
    }
}

fn number<T: std::str::FromStr + TryFrom<i64>>(value: &Json) -> Option<T> {
    match value {
        Json::String(text) => text.parse().ok(),
        Json::Number(number) => T::try_from(number.as_i64()?).ok(),
        _ => None,
    }
}

fn partitions(tree: &Json) -> Option<BTreeMap<String, Vec<i32>>> {
    let topics = tree.as_object().filter(|topics| !topics.is_empty())?;
    let topic = |(name, partitions): (&String, &Json)| {
        let partitions: Vec<i32> = partitions.as_array()?.iter().map(number).collect::<Option<_>>()?;
        (!partitions.is_empty() && partitions.iter().all(|partition| *partition >= 0)).then(|| (name.clone(), partitions))
    };
    topics.iter().map(topic).collect()
}

fn by_partition(tree: &Json) -> Option<BTreeMap<String, BTreeMap<i32, i64>>> {
    let partition = |(partition, value): (&String, &Json)| Some((partition.parse().ok()?, number(value)?));
    let topic = |(name, values): (&String, &Json)| {
        Some((name.clone(), values.as_object()?.iter().map(partition).collect::<Option<_>>()?))
    };
    tree.as_object()?.iter().map(topic).collect()
}
