//! The parity cases' queries as plain queries: over the rows of all batches at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{plain, run_plan, settings};
use crate::format::{DecodeRequest, FormatOptions, LineLimits, OnMalformed, decoder};
use crate::plan::spark::relation::plan_query;
use crate::plan::spark::types::{parse_schema, spark_name};
use crate::plan::{Catalog, StaticTable, StreamTable};
use crate::source::{LineChunk, LineEnd};

fn folder() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let known = [root.join("../shared/golden"), root.join("tests/golden")];
    known.into_iter().find(|folder| folder.is_dir()).expect("the parity cases are beside the repository or in tests/golden")
}

fn rows(schema: &SchemaRef, lines: &[&str]) -> Vec<RecordBatch> {
    let request = DecodeRequest {
        schema: schema.clone(),
        projection: (0..schema.fields().len()).collect(),
        metadata: Vec::new(),
        filter: Vec::new(),
        on_malformed: OnMalformed::Permissive,
        keep_malformed: crate::format::KeepMalformed::None,
        source: "test".into(),
        limits: LineLimits::default(),
        time_zone: "UTC".into(),
    };
    let mut decoder = decoder(&FormatOptions::Json, request).unwrap();
    let bytes = Bytes::from(lines.join("\n"));
    let chunk = LineChunk { bytes, origin: "test".into(), position: 0, received_at_us: None, records: None, end: LineEnd::Clean };
    decoder.push(&chunk).unwrap();
    decoder.finish().unwrap().rows
}

fn lines(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect()
}

fn schema(value: &Value) -> SchemaRef {
    let schema: Schema = parse_schema(value["schema"].as_str().unwrap()).unwrap();
    Arc::new(schema)
}

/// Sums of floats depend on the order of addition in their last digits.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => match (a.as_f64(), b.as_f64()) {
            (Some(x), Some(y)) => (x - y).abs() <= 1e-12 * x.abs().max(y.abs()),
            _ => a == b,
        },
    }
}

/// What is wrong with our answer to a case; nothing if it has no meaning as a plain query.
async fn difference(case: &Value) -> Option<String> {
    let sql = case["sql"].as_str().unwrap();
    let sources = case["sources"].as_object().unwrap();
    let timed = |source: &Value| !source["watermark"].is_null() || !source["deduplicate"].is_null();
    if sql.contains("window(") || sources.values().any(timed) {
        return None;
    }
    let mut catalog = Catalog::default();
    let mut input = BTreeMap::new();
    for (name, source) in sources {
        let schema = schema(source);
        let all: Vec<&str> = source["batches"].as_array().unwrap().iter().flat_map(lines).collect();
        input.insert(name.clone(), rows(&schema, &all));
        catalog.streams.push(StreamTable { name: name.clone(), schema, metadata: Vec::new() });
    }
    for (name, table) in case["tables"].as_object().into_iter().flatten() {
        let schema = schema(table);
        let rows = rows(&schema, &lines(&table["rows"]));
        catalog.tables.push(StaticTable { name: name.clone(), schema, rows: rows.into() });
    }
    let planned = match plan_query(sql, &catalog, &settings()) {
        Ok(planned) => planned,
        Err(error) => return Some(error.chain()),
    };
    let expect = &case["expect"];
    expect.get("columns")?;
    let columns: Vec<Value> = planned.columns.iter().map(|c| json!([c.name, spark_name(&c.data_type)])).collect();
    if expect["columns"] != Value::Array(columns.clone()) {
        return Some(format!("columns {columns:?}"));
    }
    let output = match run_plan(&planned, input).await {
        Ok(output) => output,
        Err(error) => return Some(error.chain()),
    };
    let ours = output.iter().flat_map(|batch| {
        (0..batch.num_rows()).map(|row| Value::Array(batch.columns().iter().map(|values| plain(values, row)).collect()))
    });
    let ours: Vec<Value> = ours.collect();
    // Update emits a key whenever it changes, complete everything every time: the plain answer is among what was emitted.
    let batches = expect["batches"].as_array().unwrap();
    let emitted: Vec<&Value> = batches.iter().flat_map(|batch| batch["rows"].as_array().unwrap()).collect();
    let complete = case["output_mode"] == "complete";
    let last = batches.last().map(|batch| batch["rows"].as_array().unwrap().len());
    let expected_count = if case["output_mode"] == "append" { Some(emitted.len()) } else { last.filter(|_| complete) };
    if expected_count.is_some_and(|count| count != ours.len())
        || ours.iter().any(|row| !emitted.iter().any(|other| same(row, other)))
    {
        return Some(format!("rows {ours:?} instead of {emitted:?}"));
    }
    None
}

#[test]
fn queries_of_the_parity_cases_have_the_same_columns_and_rows() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut seen = 0;
    let mut failures = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let case: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        seen += 1;
        if let Some(difference) = runtime.block_on(difference(&case)) {
            failures.push(format!("{}: {}\n  {difference}", case["name"], case["sql"]));
        }
    }
    assert!(seen > 40, "only {seen} cases were found");
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
}
