//! Statements, planned and run over one batch, beside what Spark answers.

mod golden;
mod once;
mod strict;
mod optimiser;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int32Array, Int32Builder, ListArray, ListBuilder, MapBuilder, MapFieldNames,
    RecordBatch, StringArray, StringBuilder, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Decimal128Type, Field, Fields, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema,
    TimestampMicrosecondType,
};
use datafusion::execution::{SessionStateBuilder, TaskContext};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::physical_plan::collect;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;
use serde_json::{Value, json};

use super::generate::exec::GeneratePlanner;
use super::{PlannedQuery, optimise, plan_query};
use crate::error::{ErrorKind, Result, from_datafusion};
use crate::format::MetadataColumn;
use crate::plan::InputRows;
use crate::plan::catalog::{BatchRows, scan_requests};
use crate::plan::running_batch::{Moment, RunningBatch};
use crate::plan::spark::types;
use crate::plan::{Catalog, OutputMode, PlanSettings, Scope, StaticTable, StreamTable};

pub(super) fn settings() -> PlanSettings {
    PlanSettings {
        time_zone: "UTC".into(),
        state_memory_bytes_max: 1 << 30,
        output_mode: OutputMode::Append,
        scope: Scope::MicroBatch,
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true))).unwrap()
}

/// `t(id, k, v, d)`: keys that repeat, nulls, NaN and both zeros.
fn t() -> RecordBatch {
    batch(vec![
        ("id", Arc::new(Int32Array::from(vec![Some(1), Some(2), Some(3), None]))),
        ("k", Arc::new(StringArray::from(vec![Some("a"), Some("a"), Some("b"), None]))),
        ("v", Arc::new(Int32Array::from(vec![10, 20, 30, 40]))),
        ("d", Arc::new(Float64Array::from(vec![f64::NAN, 0.0, -0.0, -f64::NAN]))),
    ])
}

/// `u(k, city, id)`, a static table.
fn u() -> RecordBatch {
    batch(vec![
        ("k", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
        ("city", Arc::new(StringArray::from(vec!["Padova", "Roma", "Oslo"]))),
        ("id", Arc::new(Int32Array::from(vec![1, 2, 3]))),
    ])
}

/// `n(id, l, m, st, ls)`: an array, a map, a struct, an array of structs; full, empty and null.
fn n() -> RecordBatch {
    let mut l = ListBuilder::new(Int32Builder::new());
    l.append_value([Some(1), Some(2)]);
    l.append_value([]);
    l.append_null();
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut m = MapBuilder::new(Some(names), StringBuilder::new(), Int32Builder::new());
    m.keys().append_value("x");
    m.values().append_value(1);
    m.append(true).unwrap();
    m.append(true).unwrap();
    m.append(false).unwrap();
    let fields = |a: &str, b: &str| Fields::from(vec![Field::new(a, DataType::Int32, true), Field::new(b, DataType::Utf8, true)]);
    let ints = |values: Vec<Option<i32>>| -> ArrayRef { Arc::new(Int32Array::from(values)) };
    let texts = |values: Vec<Option<&str>>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    // Null structs hide values that must not show.
    let st = StructArray::new(
        fields("p", "q"),
        vec![ints(vec![Some(1), Some(7), None]), texts(vec![Some("z"), Some("hidden"), None])],
        Some(NullBuffer::from(vec![true, false, false])),
    );
    let structs = StructArray::new(
        fields("a", "b"),
        vec![ints(vec![Some(1), Some(9)]), texts(vec![Some("s"), Some("hidden")])],
        Some(NullBuffer::from(vec![true, false])),
    );
    let item = Arc::new(Field::new("item", structs.data_type().clone(), true));
    let ls =
        ListArray::new(item, OffsetBuffer::new(vec![0, 1, 2, 2].into()), Arc::new(structs), Some(vec![true, true, false].into()));
    batch(vec![
        ("id", Arc::new(Int32Array::from(vec![1, 2, 3]))),
        ("l", Arc::new(l.finish())),
        ("m", Arc::new(m.finish())),
        ("st", Arc::new(st)),
        ("ls", Arc::new(ls)),
    ])
}

fn stream(name: &str, rows: &RecordBatch) -> StreamTable {
    let metadata = vec![MetadataColumn::Source, MetadataColumn::Position, MetadataColumn::ReceivedAt, MetadataColumn::File];
    StreamTable { name: name.into(), schema: rows.schema(), metadata }
}

pub(super) fn catalog() -> Catalog {
    Catalog {
        streams: vec![stream("t", &t()), stream("n", &n())],
        tables: vec![StaticTable { name: "u".into(), schema: u().schema(), rows: vec![u()].into() }],
        views: vec![
            ("flagged".into(), "SELECT id, k FROM t WHERE v > 10".into()),
            ("twice".into(), "SELECT * FROM flagged UNION ALL SELECT * FROM flagged".into()),
            ("loop_a".into(), "SELECT * FROM loop_b".into()),
            ("loop_b".into(), "SELECT * FROM Loop_A".into()),
            ("broken".into(), "SELECT nope FROM t".into()),
        ],
        ..Catalog::default()
    }
}

/// Runs an optimised plan over the batch.
pub(super) async fn run_plan(planned: &PlannedQuery, rows: BTreeMap<String, Vec<RecordBatch>>) -> Result<Vec<RecordBatch>> {
    let plan = optimise(planned.plan.clone())?;
    scan_requests(&plan)?;
    let batch = RunningBatch::default();
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_extension(Arc::new(BatchRows::new(rows.into_iter().map(|(name, rows)| (name, InputRows::Held(rows))).collect())))
        .with_option_extension(batch.clone());
    let mut properties = ExecutionProps::new();
    properties.mark_start_execution(config.options().clone());
    let state =
        SessionStateBuilder::new().with_config(config).with_execution_props(properties).with_analyzer_rules(Vec::new()).build();
    let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(GeneratePlanner)]);
    let physical = planner.create_physical_plan(&plan, &state).await;
    let physical = physical.map_err(|error| from_datafusion(error, ErrorKind::Internal))?;
    let _running = batch.begin(Moment::default());
    let output = collect(physical, Arc::new(TaskContext::from(&state))).await;
    output.map_err(|error| from_datafusion(error, ErrorKind::Data))
}

/// Plans and runs one statement over the test's tables.
fn run(sql: &str) -> Result<(PlannedQuery, Vec<Value>)> {
    let planned = plan_query(sql, &catalog(), &settings())?;
    let rows = BTreeMap::from([("t".to_owned(), vec![t()]), ("n".to_owned(), vec![n()])]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let output = runtime.block_on(run_plan(&planned, rows))?;
    let mut lines = Vec::new();
    for batch in output {
        let batch = planned.named(&batch)?;
        assert_eq!(batch.num_columns(), planned.columns.len(), "{sql}");
        for (values, column) in batch.columns().iter().zip(&planned.columns) {
            assert_eq!(values.data_type(), &column.data_type, "{sql}: type of {}", column.name);
            assert!(column.nullable || values.logical_null_count() == 0, "{sql}: {} is null", column.name);
        }
        lines.extend(
            (0..batch.num_rows()).map(|row| Value::Array(batch.columns().iter().map(|values| plain(values, row)).collect())),
        );
    }
    Ok((planned, lines))
}

/// A value as the reference writes it.
fn plain(values: &ArrayRef, row: usize) -> Value {
    if values.is_null(row) {
        return Value::Null;
    }
    match values.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => json!(values.as_boolean().value(row)),
        DataType::Int8 => json!(values.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => json!(values.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => json!(values.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(values.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => match values.as_primitive::<Float64Type>().value(row) {
            nan if nan.is_nan() => json!("NaN"),
            infinite if infinite.is_infinite() => json!(if infinite > 0.0 { "Infinity" } else { "-Infinity" }),
            value => json!(value),
        },
        DataType::Timestamp(..) => {
            let micros = values.as_primitive::<TimestampMicrosecondType>().value(row);
            json!(chrono::DateTime::from_timestamp_micros(micros).unwrap().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
        }
        DataType::Utf8 => json!(values.as_string::<i32>().value(row)),
        DataType::Decimal128(..) => json!({"decimal": values.as_primitive::<Decimal128Type>().value_as_string(row)}),
        DataType::List(_) => {
            let items = values.as_list::<i32>().value(row);
            Value::Array((0..items.len()).map(|index| plain(&items, index)).collect())
        }
        DataType::Struct(fields) => {
            let members = fields.iter().zip(values.as_struct().columns());
            Value::Object(members.map(|(field, values)| (field.name().clone(), plain(values, row))).collect())
        }
        DataType::Map(..) => {
            let entries = values.as_map().value(row);
            let entry = |index| (entries.column(0).as_string::<i32>().value(index).to_owned(), plain(entries.column(1), index));
            Value::Object((0..entries.len()).map(entry).collect())
        }
        other => panic!("no value of type {other} is expected here"),
    }
}

/// One statement's result in the reference's form.
fn answer(sql: &str) -> Value {
    let outcome = std::panic::catch_unwind(|| run(sql));
    match outcome.unwrap_or_else(|_| Err(crate::error::Error::internal("it panicked"))) {
        Ok((planned, mut rows)) => {
            if !sql.to_uppercase().contains("ORDER BY") {
                rows.sort_by_key(|row| row.to_string());
            }
            let columns: Vec<Value> = planned.columns.iter().map(|c| json!([c.name, types::spark_name(&c.data_type)])).collect();
            json!({"columns": columns, "rows": rows})
        }
        Err(error) => json!({"error": error.condition(), "message": error.chain()}),
    }
}

#[test]
fn statements_give_what_spark_gives() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("spark.json")).unwrap();
    let mut failures = Vec::new();
    for case in &cases {
        let sql = case["sql"].as_str().unwrap();
        let ours = answer(sql);
        let agrees = match case.get("error") {
            Some(error) => ours.get("error").is_some_and(|condition| *condition == error["condition"]),
            None => {
                let mut rows = case["rows"].as_array().unwrap().clone();
                if !sql.to_uppercase().contains("ORDER BY") {
                    rows.sort_by_key(Value::to_string);
                }
                ours["columns"] == case["columns"] && ours["rows"] == Value::Array(rows)
            }
        };
        if !agrees {
            failures.push(format!(
                "{sql}\n  spark: {}\n  ours:  {ours}",
                json!({"columns": case["columns"], "rows": case["rows"], "error": case["error"]})
            ));
        }
    }
    assert!(failures.is_empty(), "{} of {} statements differ:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn refused(sql: &str, condition: Option<&str>, part: &str) {
    let error = run(sql).map(|(_, rows)| rows).expect_err(sql);
    assert_eq!(error.condition(), condition, "{sql}: {}", error.chain());
    assert!(error.chain().contains(part), "{sql}: {}", error.chain());
    assert_eq!(error.kind(), ErrorKind::Config, "{sql}");
}

#[test]
fn errors_name_the_place_and_the_nearest_names() {
    refused(
        "SELECT id,\n  vv FROM t",
        Some("UNRESOLVED_COLUMN.WITH_SUGGESTION"),
        "`vv` cannot be resolved; did you mean one of [`t`.`v`",
    );
    refused("SELECT id,\n  vv FROM t", Some("UNRESOLVED_COLUMN.WITH_SUGGESTION"), "(line 2, column 3)");
    refused("SELECT * FROM tt", Some("TABLE_OR_VIEW_NOT_FOUND"), "did you mean `t`");
    refused("SELECT k FROM t, u", Some("AMBIGUOUS_REFERENCE"), "could be: [`t`.`k`, `u`.`k`] (line 1, column 8)");
    refused("SELECT k, v FROM t GROUP BY k", Some("MISSING_AGGREGATION"), "\"v\"");
}

#[test]
fn what_spark_can_and_this_cannot_is_refused_by_name() {
    refused("SELECT k FROM t EXCEPT ALL SELECT k FROM u", None, "EXCEPT ALL");
    refused("SELECT k FROM t INTERSECT ALL SELECT k FROM u", None, "INTERSECT ALL");
    refused("SELECT id FROM t QUALIFY row_number() OVER (ORDER BY v) = 1", None, "QUALIFY");
    refused("SELECT u.k, x.s FROM u, LATERAL (SELECT sum(v) AS s FROM t WHERE t.k = u.k) x", None, "LATERAL");
    refused("SELECT n.id FROM n LEFT JOIN LATERAL explode(l) x", None, "LEFT JOIN LATERAL");
    refused("SELECT sum(v) OVER (PARTITION BY k) FROM t", Some("NON_TIME_WINDOW_NOT_SUPPORTED_IN_STREAMING"), "OVER");
    refused("WITH RECURSIVE x AS (SELECT 1) SELECT * FROM x", None, "RECURSIVE");
}

#[test]
fn a_scalar_subquery_has_one_row_at_most() {
    for sql in ["SELECT (SELECT city FROM u) FROM t", "SELECT k, (SELECT v FROM t WHERE t.k = u.k) FROM u"] {
        let error = run(sql).map(|(_, rows)| rows).expect_err(sql);
        assert_eq!(error.condition(), Some("SCALAR_SUBQUERY_TOO_MANY_ROWS"), "{sql}: {}", error.chain());
        assert_eq!(error.kind(), ErrorKind::Data, "{sql}");
    }
    refused("SELECT (SELECT city FROM u WHERE u.id >= t.id OR u.k = t.k) FROM t", None, "cannot become a join");
}

/// Spark resolves `v` to the alias first and then fails with an internal error.
#[test]
fn an_alias_does_not_hide_the_column_that_an_aggregate_sorts_by() {
    let sorted = answer("SELECT k, sum(v) AS v FROM t GROUP BY k ORDER BY sum(v) DESC, max(v) + 1");
    assert_eq!(sorted["rows"], json!([[null, 40], ["a", 30], ["b", 30]]));
}

#[test]
fn anything_but_one_query_is_refused() {
    refused("INSERT INTO t SELECT * FROM u", None, "INSERT");
    refused("SHOW TABLES", None, "SHOW");
    refused("CREATE TABLE x (a INT)", None, "CREATE");
    refused("SELECT 1; SELECT 2", Some("PARSE_SYNTAX_ERROR"), "");
    refused("SELECT * FROM t TABLESAMPLE (10 PERCENT)", None, "TABLESAMPLE");
    refused("SELECT * FROM t PIVOT (sum(v) FOR k IN ('a'))", None, "PIVOT");
    refused("SELECT id FROM t SORT BY id", None, "SORT BY");
}

#[test]
fn views_are_inlined_and_cycles_are_named() {
    assert_eq!(answer("SELECT count(*) AS n FROM twice")["rows"], json!([[6]]));
    assert_eq!(answer("SELECT Flagged.ID FROM flagged WHERE flagged.k = 'a'")["rows"], json!([[2]]));
    refused("SELECT * FROM loop_a", Some("RECURSIVE_VIEW"), "loop_a → loop_b → loop_a");
    refused("SELECT * FROM broken", Some("UNRESOLVED_COLUMN.WITH_SUGGESTION"), "in view broken");
    refused("WITH v AS (SELECT * FROM loop_a) SELECT * FROM v", Some("RECURSIVE_VIEW"), "loop_a → loop_b → loop_a");
}

#[test]
fn metadata_columns_are_there_when_they_are_named() {
    let planned = plan_query("SELECT _file, T._position FROM t WHERE _source = 't'", &catalog(), &settings()).unwrap();
    let requests = scan_requests(&optimise(planned.plan).unwrap()).unwrap();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].projection, Vec::<usize>::new());
    assert_eq!(requests[0].metadata, vec![MetadataColumn::Source, MetadataColumn::Position, MetadataColumn::File]);
    refused("SELECT _file FROM (SELECT * FROM t)", Some("UNRESOLVED_COLUMN.WITH_SUGGESTION"), "_file");
}

#[test]
fn names_of_any_case_find_tables_and_columns() {
    assert_eq!(answer("SELECT T.ID AS `Ä` FROM T WHERE t.Id = 1"), json!({"columns": [["Ä", "int"]], "rows": [[1]]}));
}

#[test]
fn deep_and_wide_statements_end_in_an_answer_or_an_error() {
    let deep = format!("{}SELECT 1 AS a{}", "SELECT * FROM (".repeat(60), ")".repeat(60));
    assert_eq!(answer(&deep)["rows"], json!([[1]]));
    let deeper = format!("{}SELECT 1 AS a{}", "SELECT * FROM (".repeat(90), ")".repeat(90));
    refused(&deeper, Some("PARSE_SYNTAX_ERROR"), "nested");
    let wide = vec!["SELECT 1 AS a"; 2000].join(" UNION ALL ");
    assert_eq!(answer(&format!("SELECT count(*) FROM ({wide})"))["rows"], json!([[2000]]));
    let doubling = (1..30).map(|i| format!("x{i} AS (SELECT * FROM x{p} UNION ALL SELECT * FROM x{p})", p = i - 1));
    let doubling = format!("WITH x0 AS (SELECT 1 AS a), {} SELECT * FROM x29", doubling.collect::<Vec<_>>().join(", "));
    refused(&doubling, None, "more than 4096 tables");
    let aliases = (1..40).map(|i| format!("a{p} + a{p} AS a{i}", p = i - 1));
    let aliases = format!("SELECT 0 AS a0, {} FROM t GROUP BY a39", aliases.collect::<Vec<_>>().join(", "));
    refused(&aliases, None, "too often");
}

#[test]
fn schemas_of_results_may_repeat_names() {
    let planned = plan_query("SELECT id, id, k AS id FROM t", &catalog(), &settings()).unwrap();
    assert_eq!(
        *planned.schema(),
        Schema::new(vec![
            Field::new("id", DataType::Int32, true),
            Field::new("id", DataType::Int32, true),
            Field::new("id", DataType::Utf8, true),
        ])
    );
}
