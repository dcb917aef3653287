//! Rows that were not right, as rows of their own: one more output of a query, staged and committed with the batch.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BinaryBuilder, RecordBatch, StringArray, StringBuilder, StructArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::error::{Attempt, ErrorKind, Result};
use crate::format::Malformed;
use crate::format::json::write::{WriteOptions, to_json};
use crate::plan::event_time::SetAside;
use crate::plan::spark::relation::visible_name;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let instant = |name: &str| Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true);
    Arc::new(Schema::new(vec![
        text("query"),
        Field::new("batch_id", DataType::Int64, true),
        text("source"),
        text("position"),
        instant("time"),
        text("kind"),
        text("operator"),
        instant("watermark"),
        text("field"),
        text("reason"),
        text("row"),
        Field::new("raw", DataType::Binary, true),
    ]))
});

/// The columns of a dead letter.
pub fn schema() -> SchemaRef {
    SCHEMA.clone()
}

/// The dead letters of malformed lines. `position` is the byte position in the ingest log, or `<file>:<byte position>`.
pub fn of_malformed(query: &str, batch_id: u64, time_us: i64, source: &str, lines: &[Malformed]) -> Result<RecordBatch> {
    let rows = lines.len();
    let repeated = |text: &str| {
        let mut builder = StringBuilder::with_capacity(rows, rows * text.len());
        (0..rows).for_each(|_| builder.append_value(text));
        Arc::new(builder.finish()) as ArrayRef
    };
    let (mut position, mut field, mut reason, mut raw) =
        (StringBuilder::new(), StringBuilder::new(), StringBuilder::new(), BinaryBuilder::new());
    for line in lines {
        position.append_value(format!("{}:{}", line.origin, line.position));
        field.append_option(line.field.as_deref());
        reason.append_value(&line.reason);
        raw.append_value(&line.raw);
    }
    let batch_ids = arrow::array::Int64Array::from(vec![i64::try_from(batch_id).unwrap_or(i64::MAX); rows]);
    let columns: Vec<ArrayRef> = vec![
        repeated(query),
        Arc::new(batch_ids),
        repeated(source),
        Arc::new(position.finish()),
        Arc::new(TimestampMicrosecondArray::from(vec![time_us; rows]).with_timezone("UTC")),
        repeated("malformed"),
        new_null_array(&DataType::Utf8, rows),
        new_null_array(SCHEMA.field(7).data_type(), rows),
        Arc::new(field.finish()),
        Arc::new(reason.finish()),
        new_null_array(&DataType::Utf8, rows),
        Arc::new(raw.finish()),
    ];
    RecordBatch::try_new(schema(), columns).attempting(ErrorKind::Internal, || "build dead letters".to_owned())
}

/// The dead letters of rows that were late, lie in the future or whose call failed: each as the operator saw it, as JSON.
pub fn of_set_aside(query: &str, batch_id: u64, time_us: i64, aside: &SetAside, time_zone: &str) -> Result<RecordBatch> {
    let rows = aside.rows.num_rows();
    let repeated = |text: &str| Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows))) as ArrayRef;
    let instant = |us: i64| Arc::new(TimestampMicrosecondArray::from(vec![us; rows]).with_timezone("UTC")) as ArrayRef;
    let fields = aside.rows.schema_ref().fields().iter();
    let fields = fields.map(|field| field.as_ref().clone().with_name(visible_name(field.name())));
    let fields = fields.collect::<Vec<_>>().into();
    let seen: ArrayRef = Arc::new(StructArray::new(fields, aside.rows.columns().to_vec(), None));
    let options = WriteOptions { time_zone, ignore_null_fields: false, ..WriteOptions::default() };
    let batch_ids = arrow::array::Int64Array::from(vec![i64::try_from(batch_id).unwrap_or(i64::MAX); rows]);
    let columns: Vec<ArrayRef> = vec![
        repeated(query),
        Arc::new(batch_ids),
        new_null_array(&DataType::Utf8, rows),
        new_null_array(&DataType::Utf8, rows),
        instant(time_us),
        repeated(aside.kind.name()),
        repeated(&aside.operator),
        aside.watermark_ms.map_or_else(
            || new_null_array(SCHEMA.field(7).data_type(), rows),
            |watermark_ms| instant(watermark_ms.saturating_mul(1000)),
        ),
        aside.field.as_deref().map_or_else(|| new_null_array(&DataType::Utf8, rows), repeated),
        repeated(&aside.reason),
        Arc::new(to_json(&seen, &options)?),
        new_null_array(&DataType::Binary, rows),
    ];
    RecordBatch::try_new(schema(), columns).attempting(ErrorKind::Internal, || "build dead letters".to_owned())
}
