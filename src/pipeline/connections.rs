//! `connections`: clusters and servers that several parts of the file name.

use std::collections::BTreeMap;

use super::kafka;
use super::objects;
use super::problem::Problems;
use super::redis;
use super::settings::{Branch, Table};
use super::values::Values;
use crate::function::object::Objects;
use crate::kafka::KafkaConnection;
use crate::redis::RedisConnection;

/// A cluster or server that several parts of the file name.
pub(super) static CONNECTION: Table = Table {
    title: "A connection",
    doc: "`connections.<name>`: a cluster or server that sources, sinks and functions name with `connection`.",
    settings: &[],
    branches: &[
        Branch { key: "kafka", table: &kafka::KAFKA_CONNECTION },
        Branch { key: "redis", table: &redis::REDIS_CONNECTION },
        Branch { key: "s3", table: &objects::S3_CONNECTION },
        Branch { key: "folder", table: &objects::FOLDER_CONNECTION },
    ],
    branch: "kind",
};

/// A connection that is right.
#[derive(Debug, Clone)]
pub(super) enum Connection {
    Kafka(KafkaConnection),
    Redis(RedisConnection),
    Objects(Objects),
}

impl Connection {
    fn kind(&self) -> &'static str {
        match self {
            Self::Kafka(_) => "kafka",
            Self::Redis(_) => "redis",
            Self::Objects(_) => "s3 or folder",
        }
    }
}

/// The connections of the file by name; `None` for those that are wrong.
pub(super) type Connections = BTreeMap<String, Option<Connection>>;

/// Every connection of the file.
pub(super) fn connections(root: &Values, problems: &mut Problems) -> Connections {
    let named = root.named("connections").iter();
    named
        .map(|(key, values)| {
            let built = values.branch.as_ref().and_then(|(kind, settings)| match *kind {
                "redis" => redis::connection(settings, problems).map(Connection::Redis),
                "s3" => objects::s3(settings, problems).map(Connection::Objects),
                "folder" => objects::folder(settings).map(Connection::Objects),
                _ => kafka::shared_connection(settings, problems).map(Connection::Kafka),
            });
            (key.text.clone(), built)
        })
        .collect()
}

/// The connection that `values` names, if it is of a kind that `pick` takes. Nothing, and no further problem, if it is wrong itself.
pub(super) fn named<T>(
    values: &Values,
    connections: &Connections,
    kind: &str,
    pick: impl FnOnce(Connection) -> Option<T>,
    problems: &mut Problems,
) -> Option<T> {
    let name = values.word("connection")?;
    let message = match connections.get(&name) {
        None => {
            let near = super::nearest(&name, connections.keys().map(String::as_str));
            let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            format!("there is no {name:?} under connections{hint}")
        }
        Some(None) => return None,
        Some(Some(known)) if known.kind() != kind => format!("{name:?} is a connection of {}, not of {kind}", known.kind()),
        Some(Some(known)) => return pick(known.clone()),
    };
    problems.add(values.place_of("connection"), values.about("connection", &message));
    None
}
