//! Settings of the Redis sink: what there is to set, and how it becomes what the sink takes.

use std::time::Duration;

use super::connections::Connections;
use super::problem::{Place, Problems};
use super::redis::{CONNECTION, server};
use super::scalar::quoted;
use super::settings::Presence::{Default, Optional, Required};
use super::settings::{Kind, Table};
use super::tables::{plain, setting};
use super::text::Text;
use super::values::Values;
use crate::redis::Durability;
use crate::sink::redis::{OPERATIONS_MAX, RedisCondition, RedisOperation, RedisSinkSettings, RedisValue};

/// A Redis sink.
pub(super) static REDIS_SINK: Table = plain(
    "Sink `redis`",
    "Each row is an operation on a key, done exactly once: every chunk of a batch's operations is a transaction with its mark inside. In \
     texts `{column}` stands for a column's value.",
    &[
        CONNECTION,
        setting(
            "operation",
            Kind::Choice(&["put", "set_add", "atomic_add", "cond_put", "delete"]),
            Required,
            "What is done: write the row, add a member to a set, add to a number, write the row if a condition holds, or delete the key.",
        ),
        setting("key", Kind::Template, Required, "The key, such as `fraud:{userID}`. A null in it fails the batch."),
        setting(
            "columns",
            Kind::Columns,
            Optional,
            "With `put` and `cond_put`: the columns that are fields of a hash. Default: all. A null deletes its field.",
        ),
        setting(
            "value",
            Kind::Template,
            Optional,
            "With `put` and `cond_put`: a text to write as a string instead (with `format: json` beside the connector: the row as JSON). With \
             `set_add`: the member; required there.",
        ),
        setting(
            "field",
            Kind::Template,
            Optional,
            "With `atomic_add`: the field of a hash. Default: the key is a number itself.",
        ),
        setting(
            "amount",
            Kind::Column,
            Optional,
            "With `atomic_add`: the column with the number; required there. Output mode append only, as every row is added.",
        ),
        setting(
            "if",
            Kind::Templates,
            Optional,
            "With `cond_put` of columns: values that fields must have, such as `{ state: open, owner: \"{previous}\" }`. A null stands for a \
             field that is not there.",
        ),
        setting("if_absent", Kind::Bool, Default("false"), "With `cond_put`: write only where the key is not there."),
        setting(
            "ttl",
            Kind::Duration { min: Duration::from_millis(1) },
            Optional,
            "How long a key lives after the last write to it. Default: for ever.",
        ),
        setting(
            "chunk_size",
            Kind::Count { min: 1, max: OPERATIONS_MAX as u64 },
            Default("1024"),
            "Operations of one transaction: so many are outstanding at most.",
        ),
        setting(
            "durable",
            Kind::Bool,
            Default("true"),
            "Whether the server must have what it acknowledges on disk (`appendonly yes`, `appendfsync always`); one that does not is refused. \
             Without it, a server that fails may take committed batches along, and the query stops by `MARKER_LOST`.",
        ),
        setting(
            "replicas",
            Kind::Count { min: 0, max: 1000 },
            Default("0"),
            "Replicas that must have each chunk before it counts (`WAIT`).",
        ),
        setting(
            "request_timeout",
            Kind::Duration { min: Duration::from_millis(100) },
            Default("10s"),
            "How long the server may take to answer, and its replicas.",
        ),
        setting(
            "marker",
            Kind::Text,
            Optional,
            "Key of the sink's mark, which says what is in: one for each sink. Default: `tidemill.<pipeline>.<query>.<sink>`.",
        ),
    ],
);

/// Which operations a setting goes with.
const GOES_WITH: &[(&str, &[&str])] = &[
    ("columns", &["put", "cond_put"]),
    ("value", &["put", "cond_put", "set_add"]),
    ("field", &["atomic_add"]),
    ("amount", &["atomic_add"]),
    ("if", &["cond_put"]),
    ("if_absent", &["cond_put"]),
    ("ttl", &["put", "set_add", "atomic_add", "cond_put"]),
];

/// A sink, given its format's key and place.
pub(super) fn redis_sink(
    sink: &Values,
    values: &Values,
    format: Option<(&'static str, &Place)>,
    connections: &Connections,
    problems: &mut Problems,
) -> Option<RedisSinkSettings> {
    let connection = server(values, connections, problems);
    let operation = values.choice("operation")?;
    for (name, operations) in GOES_WITH {
        if values.is_given(name) && !operations.contains(&operation) {
            let message = format!("goes with operation: {} only", operations.join(", "));
            problems.add(values.place_of(name), values.about(name, &message));
        }
    }
    let is_json = match format {
        None => false,
        Some(("json", _)) if matches!(operation, "put" | "cond_put") => true,
        Some(("json", place)) => {
            problems.add(place, sink.about("format", &format!("goes with operation: put, cond_put only, not {operation}")));
            return None;
        }
        Some((other, place)) => {
            let message = format!("expected json or nothing for redis, found {}", quoted(&Text::plain(other)));
            problems.add(place, sink.about("format", &message));
            return None;
        }
    };
    let operation = match operation {
        "put" => RedisOperation::Put(value(values, is_json, problems)?),
        "set_add" => RedisOperation::SetAdd { member: needed(values, "value", "the member", problems, Values::template)? },
        "atomic_add" => {
            let amount = needed(values, "amount", "the column with the number", problems, Values::word);
            let field = values.template("field");
            RedisOperation::AtomicAdd { field, amount: amount? }
        }
        "cond_put" => {
            let value = value(values, is_json, problems);
            let condition = condition(values, problems);
            let (value, condition) = (value?, condition?);
            if let (RedisCondition::Equal(_), RedisValue::Text(_) | RedisValue::Json) = (&condition, &value) {
                let message = "compares fields of a hash: columns are put then, and no value";
                problems.add(values.place_of("if"), values.about("if", message));
            }
            RedisOperation::CondPut(condition, value)
        }
        _ => RedisOperation::Delete,
    };
    Some(RedisSinkSettings {
        connection: connection?,
        operation,
        key: values.template("key")?,
        ttl: values.duration("ttl"),
        durability: Durability { durable: values.bool("durable")?, replicas: u32::try_from(values.count("replicas")?).ok()? },
        chunk_size: usize::try_from(values.count("chunk_size")?).ok()?,
        request_timeout: values.duration("request_timeout")?,
        marker: values.word("marker"),
    })
}

fn needed<T>(
    values: &Values,
    name: &str,
    what: &str,
    problems: &mut Problems,
    get: impl Fn(&Values, &str) -> Option<T>,
) -> Option<T> {
    if values.is_missing(name) {
        problems.add(&values.place, values.about("", &format!("expected {name}: {what}")));
    }
    get(values, name)
}

fn value(values: &Values, is_json: bool, problems: &mut Problems) -> Option<RedisValue> {
    let given: Vec<&str> = ["columns", "value"].into_iter().filter(|name| values.is_given(name)).collect();
    let mut refuse = |name: &str, other: &str| {
        problems.add(values.place_of(name), values.about(name, &format!("goes without {other} only")));
        None
    };
    match *given.as_slice() {
        ["columns", other] => refuse(other, "columns"),
        [name] if is_json => refuse(name, "format: json"),
        ["value"] => values.template("value").map(RedisValue::Text),
        [_] => Some(RedisValue::Fields(Some(values.words("columns")))),
        _ if is_json => Some(RedisValue::Json),
        _ => Some(RedisValue::Fields(None)),
    }
}

fn condition(values: &Values, problems: &mut Problems) -> Option<RedisCondition> {
    let conditions = values.templates("if");
    match (values.is_given("if"), values.bool("if_absent")?) {
        (true, true) => {
            problems.add(values.place_of("if_absent"), values.about("if_absent", "goes without if only"));
            None
        }
        (false, true) => Some(RedisCondition::Absent),
        (true, false) if !conditions.is_empty() => {
            let conditions = conditions.iter().map(|(key, value)| (key.text.clone(), value.clone()));
            Some(RedisCondition::Equal(conditions.collect()))
        }
        _ => {
            if values.is_missing("if") || values.is_given("if") {
                let message = "expected if_absent: true, or if: the values that fields must have";
                problems.add(&values.place, values.about("", message));
            }
            None
        }
    }
}
