//! Cases that were run on Spark: the same rows, batch by batch, the same state counters, or a refusal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use base64::Engine;
use serde_json::{Value, json};

use super::*;
use crate::format::{DecodeRequest, FormatOptions, LineLimits, OnMalformed, decoder};
use crate::plan::Deduplication;
use crate::plan::spark::types::{self, parse_schema};
use crate::source::{LineChunk, LineEnd};
use crate::watermark::{Tracker, WatermarkPolicy};

/// What Spark refuses as a stream and this program refuses earlier, as a thing it does not know at all.
const UNKNOWN_ANYWHERE: [&str; 4] = ["mono_id", "sample", "window_agg_complete", "window_update"];

fn decoded(ddl: &str, lines: &[Value]) -> RecordBatch {
    let schema = Arc::new(parse_schema(ddl).unwrap());
    let request = DecodeRequest {
        projection: (0..schema.fields().len()).collect(),
        schema: schema.clone(),
        metadata: Vec::new(),
        filter: Vec::new(),
        on_malformed: OnMalformed::Permissive,
        keep_malformed: crate::format::KeepMalformed::None,
        source: "t".into(),
        time_zone: "UTC".into(),
        limits: LineLimits::default(),
    };
    let mut decoder = decoder(&FormatOptions::Json, request).unwrap();
    let bytes: String = lines.iter().map(|line| format!("{}\n", line.as_str().unwrap())).collect();
    let chunk = LineChunk {
        bytes: bytes.into(),
        origin: "f".into(),
        position: 0,
        received_at_us: None,
        records: None,
        end: LineEnd::Clean,
    };
    decoder.push(&chunk).unwrap();
    concat_batches(&schema, &decoder.finish().unwrap().rows).unwrap()
}

fn values(list: &Value) -> Vec<Value> {
    list.as_array().cloned().unwrap_or_default()
}

struct Prepared {
    catalog: Catalog,
    batches: BTreeMap<String, Vec<RecordBatch>>,
}

fn prepare(case: &Value) -> Prepared {
    let (mut catalog, mut batches) = (Catalog::default(), BTreeMap::new());
    for (name, source) in case["sources"].as_object().unwrap() {
        let ddl = source["schema"].as_str().unwrap();
        let rows: Vec<_> = values(&source["batches"]).iter().map(|lines| decoded(ddl, &values(lines))).collect();
        catalog.streams.push(StreamTable {
            name: name.clone(),
            schema: Arc::new(parse_schema(ddl).unwrap()),
            metadata: Vec::new(),
        });
        batches.insert(name.clone(), rows);
        if let Some(delay) = source["watermark"]["delay"].as_str() {
            let column = source["watermark"]["column"].as_str().unwrap();
            let watermark = Watermark::new(column, crate::pipeline::parse_duration(delay).unwrap());
            catalog.watermarks.insert(name.to_lowercase(), watermark);
        }
        if !source["deduplicate"].is_null() {
            let by = values(&source["deduplicate"]["by"]).iter().map(|column| column.as_str().unwrap().to_owned()).collect();
            let within_watermark = source["deduplicate"]["within_watermark"] == json!(true);
            catalog.deduplications.insert(name.to_lowercase(), Deduplication { by, within_watermark });
        }
    }
    for (name, table) in case["tables"].as_object().into_iter().flatten() {
        let rows = decoded(table["schema"].as_str().unwrap(), &values(&table["rows"]));
        catalog.tables.push(StaticTable { name: name.clone(), schema: rows.schema(), rows: vec![rows].into() });
    }
    Prepared { catalog, batches }
}

/// Runs a case; what it put out in the words of `expect`. With `restart` every batch is run by a new plan.
async fn run_case(case: &Value, restart: bool) -> Result<Value> {
    let Prepared { catalog, batches } = prepare(case);
    let mode = match case["output_mode"].as_str().unwrap() {
        "append" => OutputMode::Append,
        "update" => OutputMode::Update,
        _ => OutputMode::Complete,
    };
    let query = QueryText::Sql(case["sql"].as_str().unwrap().to_owned());
    let mut plan = StreamingPlan::new("q", &query, &catalog, &settings(mode)).await?;
    let mut logs: BTreeMap<String, Vec<Bytes>> = BTreeMap::new();
    let mut put_out = Vec::new();
    let mut tracker = Tracker::new(WatermarkPolicy::Min, plan.watermarks(), 0, None);
    let (mut watermark_ms, mut late_watermark_ms) = (0, 0);
    let with_rows = batches.values().map(Vec::len).max().unwrap_or(0);
    for number in 0.. {
        // A batch without rows follows when state may have expired.
        if number >= with_rows && !(plan.expires() && watermark_ms > late_watermark_ms) {
            break;
        }
        if restart {
            plan = StreamingPlan::new("q", &query, &catalog, &settings(mode)).await?;
            for (operator, log) in &logs {
                plan.restore(operator, log)?;
            }
        }
        let rows = plan.scans().iter().map(|scan| {
            let rows = batches[&scan.source].get(number).map(|rows| rows.project(&scan.projection).unwrap());
            (scan.source.clone(), rows.into_iter().collect())
        });
        let input = BatchInput { rows: rows.collect(), batch_time_us: 0, watermark_ms, late_watermark_ms, seed: 0, calls: None };
        let output = plan.run(input).await?;
        plan.commit();
        plan.close();
        tracker.observe(&output.event_time.observed, 0);
        (late_watermark_ms, watermark_ms) = (watermark_ms, watermark_ms.max(tracker.reached_ms()));
        for (operator, bytes) in output.state {
            logs.entry(operator).or_default().push(bytes);
        }
        let mut rows: Vec<Value> = output.rows.iter().flat_map(plain_rows).collect();
        if case["ordered"].is_null() {
            rows.sort_by_key(Value::to_string);
        }
        let state = output.operators.iter().map(|o| json!([o.operator_name, o.num_rows_total, o.num_rows_updated]));
        put_out.push(json!({"rows": rows, "state": state.collect::<Vec<_>>()}));
    }
    let columns = plan.schema().fields().iter().map(|f| json!([f.name(), types::spark_name(f.data_type())])).collect::<Vec<_>>();
    Ok(json!({"columns": columns, "batches": put_out}))
}

/// What is wrong with the outcome of a case, if anything.
async fn failure(case: &Value, restart: bool) -> Option<String> {
    let expect = &case["expect"];
    match (run_case(case, restart).await, &expect["error"]) {
        (Ok(got), Value::Null) => {
            let wanted = normal(expect, &got, case["ordered"].is_null());
            (got != wanted).then(|| format!("got    {got}\n wanted {wanted}"))
        }
        (Ok(got), error) => Some(format!("got {got}\n wanted the error {error}")),
        (Err(error), Value::Null) => Some(format!("failed: {}", error.chain())),
        (Err(_), _) if UNKNOWN_ANYWHERE.iter().any(|name| case["name"] == *name) => None,
        (Err(error), wanted) => {
            let condition = wanted["condition"].as_str().filter(|condition| !condition.starts_with("_LEGACY"));
            let message = wanted["message"].as_str().unwrap_or_default();
            let right = match condition {
                Some(condition) => error.condition() == Some(condition),
                None => message.trim_end_matches(';').starts_with(&error.message()[..error.message().len().min(60)]),
            };
            (!right).then(|| format!("failed with {error}\n wanted {wanted}"))
        }
    }
}

/// The expectation with as many batches as were run, in the order of `run_case`, numbers as close as floating point gets.
fn normal(expect: &Value, got: &Value, sort: bool) -> Value {
    let mut batches = values(&expect["batches"]);
    batches.truncate(values(&got["batches"]).len());
    for (batch, got) in batches.iter_mut().zip(values(&got["batches"])) {
        let mut rows = values(&batch["rows"]);
        if sort {
            rows.sort_by_key(Value::to_string);
        }
        for (wanted, got) in rows.iter_mut().zip(values(&got["rows"])) {
            accept_rounding(wanted, &got, 0.0);
        }
        let state = values(&batch["state"]).into_iter().map(|state| match state {
            Value::Object(state) => json!([state["operatorName"], state["numRowsTotal"], state["numRowsUpdated"]]),
            other => other,
        });
        *batch = json!({"rows": rows, "state": state.collect::<Vec<_>>()});
    }
    json!({"columns": expect["columns"], "batches": batches})
}

/// Sums of doubles depend on the order of additions, which Spark leaves to its partitions. Values of up to `scale` are compared as
/// if they were that large.
pub(super) fn accept_rounding(wanted: &mut Value, got: &Value, scale: f64) {
    match (wanted, got) {
        (Value::Array(wanted), Value::Array(got)) if wanted.len() == got.len() => {
            wanted.iter_mut().zip(got).for_each(|(wanted, got)| accept_rounding(wanted, got, scale));
        }
        (wanted @ Value::Number(_), Value::Number(number)) => {
            let (a, b) = (wanted.as_f64().unwrap(), number.as_f64().unwrap());
            if wanted.is_f64() && number.is_f64() && (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(scale) {
                *wanted = got.clone();
            }
        }
        _ => {}
    }
}

pub(super) fn plain_rows(rows: &RecordBatch) -> Vec<Value> {
    (0..rows.num_rows()).map(|row| Value::Array(rows.columns().iter().map(|column| plain(column, row)).collect())).collect()
}

/// A value as the cases write it.
fn plain(array: &ArrayRef, row: usize) -> Value {
    if array.logical_nulls().is_some_and(|nulls| nulls.is_null(row)) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Int8 => json!(array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => json!(array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => json!(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => float(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => json!({"decimal": array.as_primitive::<Decimal128Type>().value_as_string(row)}),
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::Binary => {
            json!({"base64": base64::engine::general_purpose::STANDARD.encode(array.as_binary::<i32>().value(row))})
        }
        DataType::Date32 => json!(array.as_primitive::<Date32Type>().value_as_date(row).unwrap().to_string()),
        DataType::Timestamp(..) => {
            let time =
                chrono::DateTime::from_timestamp_micros(array.as_primitive::<TimestampMicrosecondType>().value(row)).unwrap();
            json!(time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
        }
        DataType::Duration(_) => interval(array.as_primitive::<DurationMicrosecondType>().value(row)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Value::Array((0..items.len()).map(|item| plain(&items, item)).collect())
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            Value::Object(fields.iter().zip(columns).map(|(field, column)| (field.name().clone(), plain(column, row))).collect())
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1));
            Value::Object((0..entries.len()).map(|entry| (keys.value(entry).to_owned(), plain(values, entry))).collect())
        }
        other => json!(format!("a {other} has no text here")),
    }
}

/// Python's text of it.
fn interval(us: i64) -> Value {
    let (days, rest) = (us.div_euclid(86_400_000_000), us.rem_euclid(86_400_000_000));
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let days = match days {
        0 => String::new(),
        1 | -1 => format!("{days} day, "),
        _ => format!("{days} days, "),
    };
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:06}") };
    json!(format!("{days}{}:{:02}:{:02}{fraction}", seconds / 3600, seconds / 60 % 60, seconds % 60))
}

fn float(value: f64) -> Value {
    if value.is_nan() {
        json!("NaN")
    } else if value.is_infinite() {
        json!(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        json!(value)
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

async fn check_all(cases: Vec<Value>) {
    let mut failures = Vec::new();
    let mut ran = 0;
    for case in &cases {
        ran += 1;
        for restart in [false, true] {
            if let Some(failure) = failure(case, restart).await {
                failures.push(format!("{}: {}\n {failure}", case["name"], case["sql"]));
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{} of {ran} cases differ from Spark:\n{}", failures.len(), failures.join("\n"));
    assert!(ran > 20, "only {ran} cases ran");
}

#[tokio::test]
async fn parity_cases_give_sparks_rows_and_refusals() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = ["tests/golden", "../shared/golden"].iter().map(|path| root.join(path)).find(|path| path.is_dir());
    let mut files: Vec<PathBuf> =
        folder.expect("the parity cases are there").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    let own = root.join("tests/streaming/event-time");
    files.extend(own.read_dir().unwrap().map(|entry| entry.unwrap().path()));
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    check_all(files.iter().map(|path| read(path)).collect()).await;
}

#[tokio::test]
async fn what_streams_may_do_in_each_mode_is_what_spark_lets_them() {
    let all = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/streaming/cases.json"));
    let with_sources = |mut case: Value| {
        let names: &[&str] = if case["streams"].is_null() { &["t"] } else { &["t", "s"] };
        case["sources"] =
            names.iter().map(|name| ((*name).to_owned(), all["stream"].clone())).collect::<serde_json::Map<_, _>>().into();
        case["tables"] = json!({"u": all["table"]});
        case
    };
    check_all(values(&all["cases"]).into_iter().map(with_sources).collect()).await;
}
