//! Every expression of the parity file gives Spark's type and values or Spark's error, or is refused by name when it is planned.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::{SessionConfig, SessionContext};
use serde_json::{Value, json};
use tidemill::error::{Error, ErrorKind, Result, from_datafusion};
use tidemill::format::json::{ValueOptions, decode_values};
use tidemill::plan::running_batch::{Moment, RunningBatch};
use tidemill::plan::spark::functions::{FUNCTIONS, FunctionSpec};
use tidemill::plan::spark::relation::{optimise, plan_query};
use tidemill::plan::spark::types::{parse_schema, spark_name};
use tidemill::plan::{Catalog, OutputMode, PlanSettings, Scope, StaticTable};

use crate::values::{data_folder, rows, same};

/// What became of an expression.
enum Outcome {
    Agrees,
    Refused(String),
    Differs(String),
}

#[tokio::test]
async fn every_expression_agrees_with_spark_or_is_refused_by_name() {
    judge(&data_folder("functions").join("functions.json"), "refused.txt").await;
}

/// More of the same: operators, casts and literals at their edges.
#[tokio::test]
async fn expressions_at_the_edges_agree_too() {
    judge(&own_folder().join("expressions.json"), "expressions-refused.txt").await;
}

/// Functions that take lambda functions.
#[tokio::test]
async fn higher_order_functions_agree_too() {
    judge(&own_folder().join("lambdas.json"), "lambdas-refused.txt").await;
}

/// JSON, formats, CSV, URLs and what else reads or writes texts.
#[tokio::test]
async fn functions_of_texts_agree_too() {
    judge(&own_folder().join("texts.json"), "texts-refused.txt").await;
}

/// Collections, operators, conditions, literals, numbers: what is not of one of the other files.
#[tokio::test]
async fn collections_and_operators_agree_too() {
    judge(&own_folder().join("collections.json"), "collections-refused.txt").await;
}

/// Texts, regular expressions and literals at their edges.
#[tokio::test]
async fn texts_at_the_edges_agree_too() {
    judge(&own_folder().join("strings.json"), "strings-refused.txt").await;
}

/// Casts and decimals at their edges.
#[tokio::test]
async fn numbers_at_the_edges_agree_too() {
    judge(&own_folder().join("numbers.json"), "numbers-refused.txt").await;
}

/// Formats, CSV, JSON and hashes at their edges.
#[tokio::test]
async fn formats_at_the_edges_agree_too() {
    judge(&own_folder().join("formats.json"), "formats-refused.txt").await;
}

/// Functions in functions, syntax where it is ambiguous, and what Spark's optimiser changes.
#[tokio::test]
async fn compositions_agree_too() {
    judge(&own_folder().join("compositions.json"), "compositions-refused.txt").await;
}

/// Forms of calls, literals and operators that are seldom written.
#[tokio::test]
async fn seldom_forms_agree_too() {
    judge(&own_folder().join("forms.json"), "forms-refused.txt").await;
}

/// Dates, times, zones and intervals.
#[tokio::test]
async fn dates_and_times_agree_too() {
    judge(&own_folder().join("dates.json"), "dates-refused.txt").await;
}

/// The same in a zone that puts its clocks forward and back.
#[tokio::test]
async fn dates_and_times_of_another_zone_agree_too() {
    judge(&own_folder().join("dates-zone.json"), "dates-zone-refused.txt").await;
}

/// The first and the last dates, times and intervals.
#[tokio::test]
async fn the_ends_of_time_agree_too() {
    judge(&own_folder().join("ends.json"), "ends-refused.txt").await;
}

/// The same east of Greenwich, where clocks show times behind the last instant.
#[tokio::test]
async fn the_ends_of_time_in_the_east_agree_too() {
    judge(&own_folder().join("ends-east.json"), "ends-east-refused.txt").await;
}

/// The same in a region of the west, whose first offset was not a whole minute.
#[tokio::test]
async fn the_ends_of_time_in_the_west_agree_too() {
    judge(&own_folder().join("ends-west.json"), "ends-west-refused.txt").await;
}

/// Calls within calls: what comes of values that others made, and which of several errors is told.
#[tokio::test]
async fn calls_within_calls_agree_too() {
    judge(&own_folder().join("interplay.json"), "interplay-refused.txt").await;
}

/// What is not computed, and so cannot fail: arguments behind a null, branches that are not taken. Constants are, before any row.
#[tokio::test]
async fn what_is_not_computed_agrees_too() {
    judge(&own_folder().join("laziness.json"), "laziness-refused.txt").await;
}

/// Random values that have a seed.
#[tokio::test]
async fn random_values_agree_too() {
    judge(&own_folder().join("random.json"), "random-refused.txt").await;
}

/// Aggregates over the whole table.
#[tokio::test]
async fn aggregates_agree_too() {
    judge(&own_folder().join("aggregates.json"), "aggregates-refused.txt").await;
}

/// Whole queries over the same table: the names of their columns, what their clauses mean by a name, and their rows.
#[tokio::test]
async fn queries_agree_too() {
    let document: Value = serde_json::from_slice(&std::fs::read(own_folder().join("queries.json")).unwrap()).unwrap();
    let catalog = beginnings(&document).pop().unwrap();
    let mut complaints = String::new();
    for query in document["queries"].as_array().unwrap() {
        let sql = query["sql"].as_str().unwrap();
        let found = match run(sql, &catalog, "UTC").await {
            Ok((columns, mut rows)) => {
                if query["ordered"] != json!(true) {
                    rows.sort_by_key(|row| json!(row).to_string());
                }
                json!({"columns": columns, "rows": rows})
            }
            Err(error) => json!({"error": error.condition(), "message": error.message()}),
        };
        let agrees = match query.get("error") {
            Some(error) => found.get("error") == Some(error),
            None => found["columns"] == query["columns"] && same(&found["rows"], &query["rows"]),
        };
        if !agrees {
            writeln!(complaints, "{sql}: {found} instead of {query}").unwrap();
        }
    }
    assert!(complaints.is_empty(), "\n{complaints}");
}

/// What the list of functions shows is so.
#[tokio::test]
async fn every_function_has_a_doc_and_an_example_that_is_true() {
    let document = json!({
        "schema": "x INT, y STRING, z INT",
        "rows": [{"x": 1, "y": "a", "z": 2}, {"x": 2, "y": "b", "z": 4}, {"x": 3, "y": "c", "z": 5}],
    });
    let catalog = Catalog { tables: vec![table(&document, 3)], ..Catalog::default() };
    let mut wrong = String::new();
    for spec in FUNCTIONS.iter() {
        let FunctionSpec { name, signature, doc, example, .. } = spec;
        assert!(signature.starts_with(&format!("{name}(")) && signature.ends_with(')') && !doc.is_empty(), "{signature}: {doc}");
        let Some((call, result)) = example.split_once(" → ") else { continue };
        let found = match evaluate(&format!("CAST({call} AS STRING)"), &catalog, "UTC").await {
            Ok((_, values)) => values[0].as_str().unwrap_or("NULL").to_owned(),
            Err(error) => error.chain(),
        };
        if found != result || !call.contains(name) {
            writeln!(wrong, "{call} → {found}, not {result}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn own_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/functions")
}

/// Evaluates every expression of `path`. The file `refused` has those that are refused for now, one a line; `UPDATE_EXPECT=1`
/// writes it anew.
async fn judge(path: &Path, refused: &str) {
    let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let catalogs = beginnings(&document);
    let zone = document["time_zone"].as_str().unwrap_or("UTC");
    let list = own_folder().join(refused);
    let written = std::fs::read_to_string(&list).unwrap();
    let listed: BTreeSet<&str> = written.lines().collect();
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut counts: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    let (mut complaints, mut found) = (String::new(), String::new());
    for entry in document["expressions"].as_array().unwrap() {
        let (category, expr) = (entry["category"].as_str().unwrap(), entry["expr"].as_str().unwrap());
        let count = counts.entry(category).or_default();
        match check(entry, expr, &catalogs, zone).await {
            Outcome::Agrees if listed.contains(expr) && !update => {
                writeln!(complaints, "{category}: {expr}: agrees now, take it off {refused}").unwrap();
            }
            Outcome::Agrees => count[0] += 1,
            Outcome::Refused(why) => {
                count[1] += 1;
                writeln!(found, "{expr}").unwrap();
                if !listed.contains(expr) && !update {
                    writeln!(complaints, "{category}: {expr}: refused, but not in {refused}: {why}").unwrap();
                }
            }
            Outcome::Differs(how) => writeln!(complaints, "{category}: {expr}: {how}").unwrap(),
        }
    }
    for (category, [agree, refused]) in &counts {
        eprintln!("{category}: {agree} agree, {refused} are refused");
    }
    if update {
        std::fs::write(&list, found).unwrap();
    }
    assert!(complaints.is_empty(), "\n{complaints}");
}

/// The file's first rows as the table `t`, read as `from_json` reads them.
fn table(document: &Value, count: usize) -> StaticTable {
    let schema = Arc::new(parse_schema(document["schema"].as_str().unwrap()).unwrap());
    let lines: StringArray = document["rows"].as_array().unwrap()[..count].iter().map(|row| Some(row.to_string())).collect();
    let decoded = decode_values(&lines, &DataType::Struct(schema.fields().clone()), &ValueOptions::default()).unwrap();
    StaticTable { name: "t".into(), schema, rows: vec![RecordBatch::from(decoded.as_struct())].into() }
}

/// The table with its first row, with its first two, and so on to all of it.
fn beginnings(document: &Value) -> Vec<Catalog> {
    let rows = document["rows"].as_array().unwrap().len();
    (1..=rows).map(|count| Catalog { tables: vec![table(document, count)], ..Catalog::default() }).collect()
}

/// Type and values of an expression over the table; where rows fail, the error of the first, as the engine reports it.
async fn evaluate_in_order(expr: &str, catalogs: &[Catalog], zone: &str) -> Result<(Value, Vec<Value>)> {
    let (whole, beginnings) = catalogs.split_last().unwrap();
    let result = evaluate(expr, whole, zone).await;
    if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Data) {
        for catalog in beginnings {
            evaluate(expr, catalog, zone).await?;
        }
    }
    result
}

async fn check(entry: &Value, expr: &str, catalogs: &[Catalog], zone: &str) -> Outcome {
    let wanted_error = entry["error"].as_str();
    match evaluate_in_order(expr, catalogs, zone).await {
        // Some of Spark's errors have no condition.
        Err(error) if entry.get("error").is_some() && error.condition() == wanted_error => Outcome::Agrees,
        Err(error) if is_refusal(&error) => Outcome::Refused(error.chain()),
        Err(error) => Outcome::Differs(format!("{} instead of {}", error.chain(), wanted_error.unwrap_or("a result"))),
        Ok((data_type, values)) if entry.get("error").is_some() => {
            Outcome::Differs(format!("{data_type} {} instead of {}", Value::from(values), wanted_error.unwrap_or_default()))
        }
        Ok((data_type, values)) => {
            let values = Value::from(values);
            if data_type == entry["type"] && same(&values, &entry["values"]) {
                Outcome::Agrees
            } else {
                Outcome::Differs(format!("{data_type} {values} instead of {} {}", entry["type"], entry["values"]))
            }
        }
    }
}

/// Refused by name: before anything runs, as something that Tidemill does not have.
fn is_refusal(error: &Error) -> bool {
    error.kind() == ErrorKind::Config && matches!(error.condition(), Some("UNRESOLVED_ROUTINE" | "UNSUPPORTED_FEATURE"))
}

/// Type and value per row of `SELECT expr AS r FROM t`.
async fn evaluate(expr: &str, catalog: &Catalog, zone: &str) -> Result<(Value, Vec<Value>)> {
    let (columns, rows) = run(&format!("SELECT {expr} AS r FROM t"), catalog, zone).await?;
    Ok((columns[0][1].clone(), rows.into_iter().map(|row| row[0].clone()).collect()))
}

/// Name and type of each column of a query over the table, and its rows.
async fn run(sql: &str, catalog: &Catalog, zone: &str) -> Result<(Value, Vec<Value>)> {
    let settings = PlanSettings {
        time_zone: zone.into(),
        state_memory_bytes_max: 1 << 30,
        output_mode: OutputMode::Append,
        scope: Scope::MicroBatch,
    };
    let query = plan_query(sql, catalog, &settings)?;
    let columns = query.columns.iter().map(|column| json!([column.name, spark_name(&column.data_type)])).collect();
    let plan = optimise(query.plan)?;
    let batch = RunningBatch::default();
    let config = SessionConfig::new().with_option_extension(batch.clone());
    let context = SessionContext::new_with_config(config);
    let failed = |error| from_datafusion(error, ErrorKind::Data);
    let physical = DefaultPhysicalPlanner::default().create_physical_plan(&plan, &context.state()).await.map_err(failed)?;
    let _running = batch.begin(Moment::default());
    let batches = datafusion::physical_plan::collect(physical, context.task_ctx()).await.map_err(failed)?;
    Ok((columns, rows(&batches)))
}
