//! Rows → messages: which column is what, checked once, and each batch's rows packed.

use arrow::array::{Array, AsArray, BinaryArray, Int32Array, ListArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema};
use std::sync::Arc;

use super::settings::{KafkaSinkSettings, KafkaValue};
use super::staged::Packer;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::format::json::write::write_rows;
use crate::plan::spark::types::sql_name;
use tidemill_librdkafka::{Header, Record};

/// Where in a row the parts of its message are.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// `None`: the row as JSON.
    value: Option<usize>,
    key: Option<usize>,
    headers: Option<usize>,
    partition: Option<usize>,
    topic: Topic,
    time_zone: String,
}

#[derive(Debug, Clone)]
enum Topic {
    Fixed(String),
    Column(usize),
}

impl Columns {
    /// Finds the columns, by Spark's rules.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for one that is missing or has another type than its part of a message.
    pub(super) fn new(schema: &Schema, settings: &KafkaSinkSettings, time_zone: &str) -> Result<Self> {
        let find = |name: &str| schema.fields().iter().position(|field| field.name() == name);
        let typed = |name: &str, fits: fn(&DataType) -> bool, wanted: &str| match find(name) {
            Some(at) if !fits(schema.field(at).data_type()) => {
                let found = sql_name(schema.field(at).data_type());
                Err(Error::config(format!("column {name} of messages to Kafka must be {wanted}, not {found}")))
            }
            at => Ok(at),
        };
        let (value, key, headers, partition, topic_column) = match &settings.value {
            KafkaValue::Columns => {
                let value = typed("value", is_bytes, "STRING or BINARY")?;
                let value = value.ok_or_else(|| {
                    Error::config("Required attribute 'value' not found: select it, or give the sink format: json")
                })?;
                let headers = typed("headers", is_headers, "ARRAY<STRUCT<key: STRING, value: BINARY>>")?;
                let partition = typed("partition", |kind| *kind == DataType::Int32, "INT")?;
                let topic = typed("topic", is_text, "STRING")?;
                (Some(value), typed("key", is_bytes, "STRING or BINARY")?, headers, partition, topic)
            }
            KafkaValue::Json { key } => {
                write_rows(&RecordBatch::new_empty(Arc::new(schema.clone())), time_zone, &mut Vec::new())?;
                (None, key.as_deref().map(|name| json_key(schema, name)).transpose()?, None, None, None)
            }
        };
        let topic = match (&settings.topic, topic_column) {
            // The setting wins over the column.
            (Some(topic), _) => Topic::Fixed(topic.clone()),
            (None, Some(column)) => Topic::Column(column),
            (None, None) => {
                let message =
                    "topic option required when no 'topic' attribute is present. Use the topic option for setting a topic";
                return Err(Error::config(message));
            }
        };
        Ok(Self { value, key, headers, partition, topic, time_zone: time_zone.to_owned() })
    }

    /// Adds the rows' messages.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] for a row without a topic, with one that no topic is called, with a partition below 0, or with a header
    /// without a name.
    pub(super) fn pack(&self, rows: &RecordBatch, packer: &mut Packer) -> Result<()> {
        let part =
            |at: usize, to: &DataType| cast(rows.column(at), to).attempting(ErrorKind::Internal, || "write messages".to_owned());
        let bytes = |at: usize| -> Result<BinaryArray> {
            // Numbers become text first.
            let kind = rows.column(at).data_type();
            let column = if is_bytes(kind) { rows.column(at).clone() } else { part(at, &DataType::Utf8)? };
            let column = cast(&column, &DataType::Binary).attempting(ErrorKind::Internal, || "write messages".to_owned())?;
            Ok(column.as_binary::<i32>().clone())
        };
        let values = match self.value {
            Some(at) => Values::Column(bytes(at)?),
            None => {
                let mut lines = Vec::new();
                write_rows(rows, &self.time_zone, &mut lines)?;
                Values::Lines(lines)
            }
        };
        let keys = self.key.map(bytes).transpose()?;
        let headers = self.headers.map(|at| part(at, &headers_type())).transpose()?;
        let headers = headers.as_ref().map(|array| array.as_list::<i32>());
        let partitions: Option<&Int32Array> = self.partition.map(|at| rows.column(at).as_primitive::<Int32Type>());
        let topics: Option<StringArray> = match &self.topic {
            Topic::Column(at) => Some(part(*at, &DataType::Utf8)?.as_string::<i32>().clone()),
            Topic::Fixed(_) => None,
        };
        let mut lines = values.lines();
        for row in 0..rows.num_rows() {
            let topic = match (&self.topic, &topics) {
                (Topic::Fixed(topic), _) => packer.topic(topic)?,
                (_, Some(topics)) if topics.is_valid(row) => packer.topic(topics.value(row))?,
                _ => {
                    let message = "null topic present in the data. Use the topic option for setting a topic";
                    return Err(Error::new(ErrorKind::Data, message));
                }
            };
            let value = match &values {
                Values::Column(column) => column.is_valid(row).then(|| column.value(row)),
                Values::Lines(_) => lines.next(),
            };
            let partition = partitions.filter(|array| array.is_valid(row)).map(|array| array.value(row));
            if partition.is_some_and(|number| number < 0) {
                return Err(Error::new(ErrorKind::Data, "a row's partition is below 0; null leaves the choice to its key"));
            }
            packer.add(&Record {
                topic,
                partition: partition.unwrap_or(-1),
                key: keys.as_ref().filter(|keys| keys.is_valid(row)).map(|keys| keys.value(row)),
                value,
                headers: match headers {
                    Some(list) if list.is_valid(row) => headers_of(list, row)?,
                    _ => Vec::new(),
                },
                timestamp_ms: None,
            })?;
        }
        Ok(())
    }
}

/// The values of a batch's messages.
enum Values {
    Column(BinaryArray),
    /// One a line.
    Lines(Vec<u8>),
}

impl Values {
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let lines = match self {
            Self::Lines(lines) => &lines[..],
            Self::Column(_) => &[],
        };
        let mut start = 0;
        memchr::memchr_iter(b'\n', lines).map(move |end| {
            let line = &lines[start..end];
            start = end + 1;
            line
        })
    }
}

/// The headers of one row, of the type that [`headers_type`] says.
fn headers_of(list: &ListArray, row: usize) -> Result<Vec<Header<'_>>> {
    let offsets = list.value_offsets();
    let entries = list.values().as_struct();
    let (names, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_binary::<i32>());
    let range = usize::try_from(offsets[row]).unwrap_or(0)..usize::try_from(offsets[row + 1]).unwrap_or(0);
    let header = |at: usize| {
        if entries.is_null(at) || names.is_null(at) {
            return Err(Error::new(ErrorKind::Data, "a header of a message to Kafka has no name"));
        }
        Ok((names.value(at), values.is_valid(at).then(|| values.value(at))))
    };
    range.map(header).collect()
}

fn headers_type() -> DataType {
    let fields = Fields::from(vec![Field::new("key", DataType::Utf8, true), Field::new("value", DataType::Binary, true)]);
    DataType::List(Arc::new(Field::new("element", DataType::Struct(fields), true)))
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_bytes(kind: &DataType) -> bool {
    is_text(kind) || matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

fn is_headers(kind: &DataType) -> bool {
    let DataType::List(element) = kind else { return false };
    let DataType::Struct(fields) = element.data_type() else { return false };
    matches!(fields.as_ref(), [name, value] if is_text(name.data_type()) && is_bytes(value.data_type()))
}

/// The column that is a row's key, named as SQL would.
fn json_key(schema: &Schema, name: &str) -> Result<usize> {
    let found = schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name));
    let at = found.ok_or_else(|| {
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        Error::config(format!("there is no column {name:?} to be the key: the result has {}", columns.join(", ")))
    })?;
    let kind = schema.field(at).data_type();
    if is_bytes(kind) || kind.is_integer() {
        return Ok(at);
    }
    Err(Error::config(format!("the key {name:?} must be STRING, BINARY or a whole number, not {}", sql_name(kind))))
}
