//! The nearest thing that a user may have meant: a similar key, a key of another map, or Spark's name for one of ours.

use datafusion::common::utils::datafusion_strsim::levenshtein;

use super::function_redis::REDIS;
use super::settings::Table;
use super::tables;

/// Spark's option names and what they are called here.
const SPARK_OPTIONS: &[(&str, &str)] = &[
    ("checkpointLocation", "checkpoint, at the top of the file"),
    ("spark.sql.streaming.checkpointLocation", "checkpoint, at the top of the file"),
    ("spark.sql.session.timeZone", "time_zone, at the top of the file"),
    ("timeZone", "time_zone, at the top of the file"),
    ("queryName", "the key of the query under queries"),
    ("outputMode", "output_mode, in the query"),
    ("processingTime", "trigger, in the query: trigger: 2 seconds"),
    ("availableNow", "trigger: available_now, in the query"),
    ("once", "trigger: once, in the query"),
    ("option", "settings in the connector's map"),
    ("options", "settings in the connector's map"),
    ("host", "connect: \"host:port\", in from.socket"),
    ("port", "connect: \"host:port\", in from.socket"),
    ("includeTimestamp", "include_timestamp, in from.socket"),
    ("rowsPerSecond", "rows_per_second, in from.rate"),
    ("maxFilesPerTrigger", "max_files_per_trigger, in from.file"),
    ("maxBytesPerTrigger", "max_bytes_per_trigger, in the source's connector"),
    ("maxOffsetsPerTrigger", "max_rows_per_trigger, in the source's connector"),
    ("maxFileAge", "max_file_age, in from.file"),
    ("cleanSource", "clean_source, in from.file"),
    ("sourceArchiveDir", "archive_to, in from.file"),
    ("numRows", "num_rows, in to.console"),
    ("partitionBy", "partition_by, in to.file"),
    ("sep", "separator, in format.csv"),
    ("delimiter", "separator, in format.csv"),
    ("nullValue", "null_value, in format.csv"),
    ("mode", "on_malformed, in the source"),
    ("startingOffsets", "starting_offsets, in from.kafka"),
    ("startingOffsetsByTimestamp", "starting_offsets_by_timestamp, in from.kafka"),
    ("startingOffsetsByTimestampStrategy", "starting_offsets_by_timestamp_strategy, in from.kafka"),
    ("startingTimestamp", "starting_timestamp, in from.kafka"),
    ("failOnDataLoss", "fail_on_data_loss, in from.kafka"),
    ("minOffsetsPerTrigger", "min_rows_per_trigger, in from.kafka"),
    ("maxTriggerDelay", "max_trigger_delay, in from.kafka"),
    ("subscribePattern", "subscribe_pattern, in from.kafka"),
    ("kafka.bootstrap.servers", "bootstrap_servers, in from.kafka"),
    ("kafka.group.id", "commit_group, in from.kafka"),
    ("kafkaConsumer.pollTimeoutMs", "request_timeout, in from.kafka"),
    ("includeHeaders", "include_headers, in from.kafka"),
];

/// Options of Spark that have nothing here that does their work.
const SPARK_ONLY: &[&str] = &[
    "rampUpTime",
    "numPartitions",
    "rowsPerBatch",
    "latestFirst",
    "fileNameOnly",
    "endingOffsets",
    "minPartitions",
    "groupIdPrefix",
    "maxRecordsPerPartition",
    "fetchOffset.numRetries",
    "fetchOffset.retryIntervalMs",
    "columnNameOfCorruptRecord",
    "inferSchema",
    "multiLine",
    "continuous",
    "realTime",
    "foreach",
    "foreachBatch",
    "retainBatches",
    "compression",
];

/// What changes something in Redis, by the names of its commands and of the sink's operations.
const REDIS_WRITES: &[&str] = &[
    "append",
    "atomic_add",
    "cond_put",
    "decr",
    "decrby",
    "del",
    "delete",
    "eval",
    "expire",
    "getdel",
    "getset",
    "hdel",
    "hincrby",
    "hincrbyfloat",
    "hmset",
    "hset",
    "hsetnx",
    "incr",
    "incrby",
    "incrbyfloat",
    "lpush",
    "mset",
    "publish",
    "put",
    "rpush",
    "sadd",
    "set",
    "set_add",
    "setex",
    "setnx",
    "spop",
    "srem",
    "unlink",
    "zadd",
];

/// What to say of `key`, which `table` does not have: begins with `; ` or is empty.
pub(super) fn hint(key: &str, table: &Table) -> String {
    if let Some(hint) = spark_hint(key) {
        return hint;
    }
    if std::ptr::eq(table, &REDIS) && REDIS_WRITES.iter().any(|write| write.eq_ignore_ascii_case(key)) {
        return "; functions only read, as a planned batch may run twice: what writes is the sink redis".to_owned();
    }
    if let Some(near) = nearest(key, table.keys()) {
        return format!("; did you mean {near}?");
    }
    match key {
        "<<" => return "; merge keys are not supported, write the settings out".to_owned(),
        "memory" => return "; memory is for programs, through the Rust API".to_owned(),
        _ => {}
    }
    let owners: Vec<&Table> = all_tables().into_iter().filter(|other| other.keys().any(|known| known == key)).collect();
    let known: Vec<&str> = table.keys().collect();
    match (&*owners, &*known) {
        ([owner], _) => format!("; it belongs to: {}", owner.title.replace('`', "")),
        (_, []) => "; nothing is set here".to_owned(),
        _ => format!("; known here: {}", known.join(", ")),
    }
}

/// What to say of `key` if it is one of Spark's options. Spark reads their names without regard to case.
pub(super) fn spark_hint(key: &str) -> Option<String> {
    if let Some((spark, ours)) = SPARK_OPTIONS.iter().find(|(spark, _)| spark.eq_ignore_ascii_case(key)) {
        return Some(format!("; Spark's {spark} is here {ours}"));
    }
    let spark = SPARK_ONLY.iter().find(|spark| spark.eq_ignore_ascii_case(key))?;
    Some(format!("; Spark's {spark} has no counterpart here"))
}

/// The known word that `word` most likely is a slip of, if one is near.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let word = folded(word);
    let distance_max = (word.chars().count() / 3).clamp(1, 3);
    known
        .map(|candidate| (levenshtein(&word, &folded(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= distance_max && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Without what people mix up: case, `_` and `-`.
fn folded(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// Every table, each once, a parent before its children.
pub(super) fn all_tables() -> Vec<&'static Table> {
    let mut found: Vec<&'static Table> = vec![&tables::ROOT];
    let mut next = 0;
    while let Some(table) = found.get(next) {
        for child in table.children() {
            if !found.iter().any(|known| std::ptr::eq(*known, child)) {
                found.push(child);
            }
        }
        next += 1;
    }
    found
}
