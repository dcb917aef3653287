//! Every parity case through the real engine: file source, one file per batch, available-now, results batch by batch.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tidemill::engine::progress::Progress;
use tidemill::engine::start::{Process, Resources};
use tidemill::metrics::Metrics;
use tidemill::pipeline::*;
use tidemill::plan::event_time::Watermark;
use tidemill::plan::spark::types;
use tidemill::plan::{Deduplication, OutputMode, QueryText, Scope};
use tidemill::sink::memory::MemoryTable;
use tidemill::source::ReadLimit;
use tidemill::{Error, ErrorKind, Result};

use crate::values;

#[test]
fn every_case_gives_what_spark_gives() {
    let golden = std::env::var_os("GOLDEN_DIR").map_or_else(|| values::data_folder("golden"), PathBuf::from);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/streaming/event-time");
    let mut paths = Vec::new();
    for folder in [golden, own] {
        let before = paths.len();
        paths.extend(fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()));
        paths.retain(|path: &PathBuf| path.extension().is_some_and(|ext| ext == "json"));
        assert!(paths.len() > before, "no cases in {}", folder.display());
    }
    paths.sort();
    let (mut passed, mut wrong) = (Vec::new(), Vec::new());
    for path in &paths {
        let case: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let name = case["name"].as_str().unwrap().to_owned();
        match check(&case) {
            Ok(()) => passed.push(name),
            Err(difference) => wrong.push(format!("{name}: {difference}")),
        }
    }
    println!("{} of {} parity cases pass: {}", passed.len(), paths.len(), passed.join(", "));
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn check(case: &Value) -> Result<(), String> {
    let expect = &case["expect"];
    match (run(case), expect.get("error")) {
        (Ok(_), Some(error)) => Err(format!("ran, but Spark refuses it: {}", error["message"])),
        (Err(error), None) => Err(format!("failed: {}", error.chain())),
        (Err(error), Some(expected)) => same_error(&error, expected),
        (Ok(outcome), None) => outcome.compare(expect, case["ordered"] == json!(true)),
    }
}

fn same_error(error: &Error, expected: &Value) -> Result<(), String> {
    match expected["condition"].as_str().filter(|condition| !condition.starts_with("_LEGACY")) {
        Some(condition) if error.condition() == Some(condition) => Ok(()),
        Some(condition) => Err(format!("refused as {:?} where Spark says {condition}: {}", error.condition(), error.chain())),
        None if error.kind() == ErrorKind::Config => Ok(()),
        None => Err(format!("failed at run time where Spark refuses to start: {}", error.chain())),
    }
}

struct Outcome {
    table: MemoryTable,
    progress: BTreeMap<u64, Progress>,
}

impl Outcome {
    fn compare(&self, expect: &Value, ordered: bool) -> Result<(), String> {
        let schema = self.table.schema().ok_or("the sink was never opened")?;
        let columns: Vec<_> =
            schema.fields().iter().map(|field| json!([field.name(), types::spark_name(field.data_type())])).collect();
        equal("columns", &json!(columns), &expect["columns"])?;
        let mut by_batch: BTreeMap<u64, Vec<Value>> = self.progress.keys().map(|id| (*id, Vec::new())).collect();
        for (id, rows) in self.table.rows_by_batch() {
            by_batch.insert(id, values::rows(&rows));
        }
        let expected = expect["batches"].as_array().ok_or("the case expects no batches")?;
        let ids: Vec<_> = expected.iter().map(|batch| batch["id"].as_u64().unwrap()).collect();
        equal("batch ids", &json!(by_batch.keys().collect::<Vec<_>>()), &json!(ids))?;
        for batch in expected {
            let id = batch["id"].as_u64().unwrap();
            let (mut got, mut wanted) = (by_batch[&id].clone(), batch["rows"].as_array().unwrap().clone());
            if !ordered {
                got.sort_by_cached_key(sort_key);
                wanted.sort_by_cached_key(sort_key);
            }
            equal(&format!("rows of batch {id}"), &Value::Array(got), &Value::Array(wanted))?;
            equal(&format!("state after batch {id}"), &json!(state(&self.progress[&id])), &batch["state"])?;
            let watermark = self.progress[&id].event_time.get("watermark");
            equal(&format!("watermark of batch {id}"), &json!(watermark), &batch["watermark"])?;
        }
        Ok(())
    }
}

/// Doubles that differ in the last place must not change the order: the key holds 9 digits.
fn sort_key(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_f64() => format!("{:.9e}", number.as_f64().unwrap()),
        Value::Array(items) => items.iter().map(sort_key).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn equal(what: &str, got: &Value, wanted: &Value) -> Result<(), String> {
    if values::same(got, wanted) { Ok(()) } else { Err(format!("{what}: got {got}, Spark has {wanted}")) }
}

fn state(progress: &Progress) -> Vec<Value> {
    let operator = |operator: &tidemill::plan::OperatorProgress| {
        json!({
            "operatorName": operator.operator_name,
            "numRowsTotal": operator.num_rows_total,
            "numRowsUpdated": operator.num_rows_updated,
            "numRowsRemoved": operator.num_rows_removed,
            "numRowsDroppedByWatermark": operator.num_rows_dropped_by_watermark,
        })
    };
    progress.state_operators.iter().map(operator).collect()
}

fn run(case: &Value) -> Result<Outcome> {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = pipeline(case, folder.path())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let table = MemoryTable::keeping_every_batch();
    let resources = Resources::new(runtime.handle().clone(), Metrics::new()?);
    resources.memory.add_result("case", table.clone());
    runtime.block_on(async {
        let process = Process::start(pipeline, resources).await?;
        let monitors = process.monitors();
        process.wait(Duration::from_secs(60)).await?;
        let progress = monitors[0].progress().all().into_iter().map(|progress| (progress.batch_id, progress)).collect();
        Ok(Outcome { table, progress })
    })
}

fn pipeline(case: &Value, folder: &Path) -> Result<Pipeline> {
    let mut sources = Vec::new();
    for (name, source) in case["sources"].as_object().unwrap() {
        sources.push(source_spec(name, source, &folder.join(name))?);
    }
    let mut tables = Vec::new();
    for (name, table) in case.get("tables").and_then(Value::as_object).into_iter().flatten() {
        let path = folder.join(format!("{name}.table.json"));
        write_lines(&path, &table["rows"]);
        tables.push(TableSpec {
            name: name.clone(),
            path: FilePath::plain(path),
            format: json_format(&table["schema"])?,
            refresh: Refresh::Never,
        });
    }
    let query = QuerySpec {
        name: "case".to_owned(),
        text: QueryText::Sql(case["sql"].as_str().unwrap().to_owned()),
        position: None,
        output_mode: serde_json::from_value::<OutputMode>(case["output_mode"].clone()).unwrap(),
        scope: Scope::Query,
        trigger: Trigger::AvailableNow,
        watermark_policy: Default::default(),
        sinks: vec![SinkSpec { name: "memory".to_owned(), connector: SinkConnector::Memory, select: None, position: None }],
        dead_letter: None,
    };
    Ok(Pipeline {
        name: "parity".to_owned(),
        checkpoint: folder.join("checkpoint").into(),
        time_zone: "UTC".into(),
        sources,
        tables,
        views: Vec::new(),
        functions: Vec::new(),
        queries: vec![query],
        limits: Limits::default(),
        service: Default::default(),
    })
}

/// One file per batch, ten seconds apart, so that their order is beyond doubt.
fn source_spec(name: &str, source: &Value, folder: &Path) -> Result<SourceSpec> {
    fs::create_dir(folder).unwrap();
    for (number, lines) in source["batches"].as_array().unwrap().iter().enumerate() {
        let path = folder.join(format!("{number:04}.json"));
        write_lines(&path, lines);
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + number as u64 * 10);
        fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
    }
    let file = FileSource {
        path: FilePath::plain(folder.to_owned()),
        max_file_age: Duration::from_secs(7 * 86_400),
        clean_source: CleanSource::Off,
        tail: false,
    };
    Ok(SourceSpec {
        name: name.to_owned(),
        connector: SourceConnector::File(file),
        format: Some(json_format(&source["schema"])?),
        on_malformed: Default::default(),
        admission: ReadLimit { files_max: Some(1), ..ReadLimit::default() },
        watermark: watermark(&source["watermark"]),
        deduplicate: deduplication(&source["deduplicate"]),
    })
}

fn watermark(declared: &Value) -> Option<Watermark> {
    let delay = parse_duration(declared["delay"].as_str()?).unwrap();
    Some(Watermark::new(declared["column"].as_str().unwrap(), delay))
}

fn deduplication(declared: &Value) -> Option<Deduplication> {
    let by = declared["by"].as_array()?.iter().map(|column| column.as_str().unwrap().to_owned());
    Some(Deduplication { by: by.collect(), within_watermark: declared["within_watermark"] == json!(true) })
}

fn write_lines(path: &Path, lines: &Value) {
    let text: String = lines.as_array().unwrap().iter().map(|line| format!("{}\n", line.as_str().unwrap())).collect();
    fs::write(path, text).unwrap();
}

fn json_format(ddl: &Value) -> Result<FormatSpec> {
    Ok(FormatSpec::Json { schema: Arc::new(types::parse_schema(ddl.as_str().unwrap())?) })
}
