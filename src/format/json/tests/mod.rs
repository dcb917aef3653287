use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::format::{Decoded, FormatOptions, LineLimits, number};
use crate::source::{LineChunk, LineEnd};

mod chunks;
mod generated;
mod speculation;
mod single;

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(field("item", item)))
}

fn map(value: DataType) -> DataType {
    let entry = Fields::from(vec![Field::new("key", DataType::Utf8, false), field("value", value)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
}

fn record(fields: Vec<Field>) -> DataType {
    DataType::Struct(fields.into())
}

fn only_x() -> DataType {
    record(vec![field("x", DataType::Int32)])
}

/// A column of every type, and some nested ones.
fn every_type() -> SchemaRef {
    let inner = record(vec![field("p", DataType::Int32), field("l", list(DataType::Int32))]);
    Arc::new(Schema::new(vec![
        field("a", DataType::Int32),
        field("b", DataType::Utf8),
        field("d", DataType::Float64),
        field("t", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        field("f", DataType::Boolean),
        field("n", record(vec![field("p", DataType::Int32), field("q", DataType::Utf8)])),
        field("l", list(DataType::Int32)),
        field("i8", DataType::Int8),
        field("i16", DataType::Int16),
        field("i64", DataType::Int64),
        field("fl", DataType::Float32),
        field("dt", DataType::Date32),
        field("nt", DataType::Timestamp(TimeUnit::Microsecond, None)),
        field("c", DataType::Decimal128(10, 2)),
        field("bin", DataType::Binary),
        field("m", map(DataType::Int32)),
        field("ls", list(record(vec![field("x", DataType::Int32), field("y", DataType::Utf8)]))),
        field("ms", map(only_x())),
        field("ll", list(list(DataType::Int32))),
        field("lb", list(DataType::Utf8)),
        field("big", DataType::Decimal128(38, 10)),
        field("nn", record(vec![field("k", inner), field("z", DataType::Int32)])),
        field("lls", list(list(only_x()))),
        field("lm", list(map(DataType::Int32))),
    ]))
}

fn with_corrupt(schema: &Schema) -> SchemaRef {
    let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.push(field(CORRUPT_RECORD, DataType::Utf8));
    Arc::new(Schema::new(fields))
}

fn request(schema: SchemaRef) -> DecodeRequest {
    DecodeRequest {
        projection: (0..schema.fields().len()).collect(),
        schema,
        metadata: Vec::new(),
        filter: Vec::new(),
        on_malformed: OnMalformed::Permissive,
        keep_malformed: crate::format::KeepMalformed::All,
        source: "s".into(),
        time_zone: "UTC".into(),
        limits: LineLimits::default(),
    }
}

fn chunk(text: impl Into<Vec<u8>>) -> LineChunk {
    LineChunk {
        bytes: Bytes::from(text.into()),
        origin: "file.json".into(),
        position: 0,
        received_at_us: None,
        records: None,
        end: LineEnd::Clean,
    }
}

fn decode(request: DecodeRequest, chunk: &LineChunk) -> Result<Decoded> {
    let mut decoder = crate::format::decoder(&FormatOptions::Json, request)?;
    decoder.push(chunk)?;
    decoder.finish()
}

/// A value as the table of cases writes it.
fn show(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    let float = |v: f64| serde_json::Number::from_f64(v).map_or_else(|| json!(&*number::double_text(v)), Value::Number);
    macro_rules! number {
        ($type:ident) => {
            json!(array.as_primitive::<arrow::datatypes::$type>().value(row))
        };
    }
    match array.data_type() {
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::Date32 => number!(Date32Type),
        DataType::Timestamp(..) => number!(TimestampMicrosecondType),
        DataType::Float32 => float(array.as_primitive::<arrow::datatypes::Float32Type>().value(row).into()),
        DataType::Float64 => float(array.as_primitive::<arrow::datatypes::Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            let mut text = Vec::new();
            number::write_decimal(array.as_primitive::<arrow::datatypes::Decimal128Type>().value(row), *scale, &mut text);
            json!({ "decimal": String::from_utf8(text).expect("ASCII") })
        }
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::Binary => {
            use base64::Engine;
            json!({ "base64": base64::engine::general_purpose::STANDARD.encode(array.as_binary::<i32>().value(row)) })
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter();
            fields.iter().zip(columns).map(|(f, c)| (f.name().clone(), show(c, row))).collect()
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|at| show(&items, at)).collect()
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            (0..entries.len()).map(|at| (keys.as_string::<i32>().value(at).to_owned(), show(values, at))).collect()
        }
        other => panic!("no such column: {other}"),
    }
}

/// A row without its nulls.
fn row(batch: &RecordBatch, row: usize) -> Value {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    columns.map(|(f, c)| (f.name().clone(), show(c, row))).filter(|(_, v)| !v.is_null()).collect()
}

fn rows(decoded: &Decoded) -> Vec<Value> {
    decoded.rows.iter().flat_map(|batch| (0..batch.num_rows()).map(|at| row(batch, at))).collect()
}

/// The cases: a line, its row without nulls, and whether it is malformed. They were put to Spark 4.3.0, `from_json`; where
/// `not_spark` is set we differ on purpose: no wrap-around of large times, and no guess at how a broken line goes on.
fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("lines.json")).expect("the table of cases")
}

#[test]
fn lines_mean_what_they_mean_to_spark() {
    let cases = cases();
    let mut text = Vec::new();
    for case in &cases {
        text.extend_from_slice(case["line"].as_str().expect("a line").as_bytes());
        text.push(b'\n');
    }
    // Files may begin with a mark; here the first line is blank.
    let decoded = decode(request(with_corrupt(&every_type())), &chunk(text)).expect("decodes");
    let mut wrong = String::new();
    for (case, mut row) in cases.iter().zip(rows(&decoded)) {
        let line = case["line"].as_str().expect("a line");
        let corrupt = row.as_object_mut().expect("an object").remove(CORRUPT_RECORD);
        let expected_corrupt = (case["malformed"] == true).then(|| json!(line.strip_suffix('\r').unwrap_or(line)));
        if row != case["row"] || corrupt != expected_corrupt {
            wrong += &format!("{line}\n  expected {} {expected_corrupt:?}\n  but got  {row} {corrupt:?}\n", case["row"]);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(rows(&decoded).len(), cases.len());
    assert_eq!(decoded.lines_malformed as usize, cases.iter().filter(|c| c["malformed"] == true).count());
}

#[test]
fn a_line_means_the_same_alone_and_whatever_is_asked_for() {
    let schema = with_corrupt(&every_type());
    let columns = schema.fields().len();
    for (nth, case) in cases().iter().enumerate() {
        let line = case["line"].as_str().expect("a line");
        if line.starts_with('\u{feff}') {
            continue;
        }
        let mut one = request(schema.clone());
        one.projection = vec![nth % columns, columns - 1];
        let decoded = decode(one, &chunk(format!("{line}\n"))).expect("decodes");
        assert_eq!(decoded.lines_malformed == 1, case["malformed"] == true, "{line}");
        let name = schema.field(nth % columns).name();
        if name != CORRUPT_RECORD {
            assert_eq!(row(&decoded.rows[0], 0)[name], case["row"][name], "{line}");
        }
    }
}
