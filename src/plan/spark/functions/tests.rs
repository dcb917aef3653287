//! Tables of `expression -> {"type": …, "values": [value]}` or `{"error": condition}`, as Spark 4.3.0 answered.
//!
//! Each expression is evaluated as it stands and once more with its literals as columns of several rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Field, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Schema, TimestampMicrosecondType,
};
use base64::Engine;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::create_physical_expr;
use datafusion::prelude::SessionConfig;
use serde_json::{Value, json};
use sqlparser::ast;

use super::super::expression::resolve;
use super::super::types::spark_name;
use super::super::{Context, Scope, SubqueryUsage, Typed, dialect};
use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::function::Function;
use crate::plan::running_batch::{Moment, RunningBatch};
use crate::plan::{OutputMode, PlanSettings};

struct NoColumns;

impl Scope for NoColumns {
    fn functions(&self) -> &[Arc<Function>] {
        &[]
    }

    fn column(&self, parts: &[ast::Ident]) -> Result<Typed> {
        Err(Error::spark(ErrorKind::Config, "UNRESOLVED_COLUMN.WITH_SUGGESTION", format!("{parts:?}")))
    }

    fn subquery(&self, _: &ast::Query, _: SubqueryUsage<'_>) -> Result<Typed> {
        Err(Error::config("no subqueries"))
    }
}

pub(super) fn settings() -> PlanSettings {
    PlanSettings {
        time_zone: "UTC".into(),
        state_memory_bytes_max: 1 << 20,
        output_mode: OutputMode::Append,
        scope: crate::plan::Scope::Query,
    }
}

pub(super) fn resolved(text: &str) -> Result<Typed> {
    let settings = settings();
    resolve(&dialect::parse_expression(text)?, &Context { scope: &NoColumns, settings: &settings })
}

/// Evaluates as a running batch does.
pub(super) fn evaluate(expr: &Expr, rows: &RecordBatch) -> Result<ArrayRef> {
    let ours = |error| from_datafusion(error, ErrorKind::Data);
    let schema = DFSchema::try_from(rows.schema().as_ref().clone()).map_err(ours)?;
    let batch = RunningBatch::default();
    let config = SessionConfig::new().with_option_extension(batch.clone());
    let mut properties = ExecutionProps::new();
    properties.mark_start_execution(config.options().clone());
    let physical = create_physical_expr(expr, &schema, &properties, &Default::default()).map_err(ours)?;
    let _running = batch.begin(Moment::default());
    physical.evaluate(rows).and_then(|value| value.into_array(rows.num_rows())).map_err(ours)
}

pub(super) fn one_row() -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap()
}

/// The expression with its literals as columns, and those columns.
fn with_columns(expr: &Expr) -> (Expr, RecordBatch) {
    const ROWS: usize = 3;
    let mut fields = vec![Field::new("row", DataType::Int32, false)];
    let mut columns: Vec<ArrayRef> = vec![Arc::new(arrow::array::Int32Array::from(vec![0; ROWS]))];
    let expr = expr
        .clone()
        .transform_down(|e| {
            Ok(match &e {
                Expr::Literal(value, _) => {
                    let name = format!("c{}", fields.len());
                    fields.push(Field::new(&name, value.data_type(), true));
                    columns.push(value.to_array_of_size(ROWS)?);
                    Transformed::yes(Expr::Column(Column::new_unqualified(name)))
                }
                _ => Transformed::no(e),
            })
        })
        .unwrap()
        .data;
    (expr, RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap())
}

/// A value as the tables write it.
fn plain(array: &ArrayRef, row: usize) -> Value {
    if array.logical_nulls().is_some_and(|n| n.is_null(row)) {
        return Value::Null;
    }
    let float = |v: f64| {
        if v.is_nan() {
            json!("NaN")
        } else if v.is_infinite() {
            json!(if v > 0.0 { "Infinity" } else { "-Infinity" })
        } else {
            json!(v)
        }
    };
    match array.data_type() {
        DataType::Null => Value::Null,
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
            let time = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let time = chrono::DateTime::from_timestamp_micros(time).unwrap();
            json!(time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
        }
        DataType::Interval(_) => json!(array.as_primitive::<arrow::datatypes::IntervalYearMonthType>().value(row)),
        DataType::Duration(_) => json!(array.as_primitive::<DurationMicrosecondType>().value(row)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Value::Array((0..items.len()).map(|i| plain(&items, i)).collect())
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let text = |v: Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
            Value::Object((0..entries.len()).map(|i| (text(plain(keys, i)), plain(values, i))).collect())
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            Value::Object(fields.iter().zip(columns).map(|(f, c)| (f.name().clone(), plain(c, row))).collect())
        }
        other => panic!("no rule for {other}"),
    }
}

fn outcome(text: &str, columns: bool) -> Result<Value> {
    let typed = resolved(text)?;
    let (expr, batch) = if columns { with_columns(&typed.expr) } else { (typed.expr.clone(), one_row()) };
    let values = evaluate(&expr, &batch)?;
    assert_eq!(values.data_type(), &typed.data_type, "{text}: the values' type is not the declared one");
    let value = plain(&values, 0);
    for row in 1..values.len() {
        assert_eq!(plain(&values, row), value, "{text}: row {row} differs");
    }
    assert!(typed.nullable || !value.is_null(), "{text}: null though not nullable");
    Ok(json!({"type": spark_name(&typed.data_type), "values": [value]}))
}

/// Numbers compare by value (`3` and `3.0`, 15 digits), all else as it is.
fn agree(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| agree(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|other| agree(v, other)))
        }
        (a, b) => a == b,
    }
}

fn check(table: &str) {
    let mut failures = Vec::new();
    let mut count = 0;
    for line in table.lines().filter(|l| !l.is_empty() && !l.starts_with("--")) {
        let (text, expected) = line.split_once(" -> {").unwrap();
        let expected: Value = serde_json::from_str(&format!("{{{expected}")).unwrap();
        for columns in [false, true] {
            count += 1;
            let found = outcome(text, columns).unwrap_or_else(|e| json!({"error": e.condition()}));
            let fails = expected.get("error").is_some_and(Value::is_null) && found.get("error").is_some();
            if !fails && !agree(&expected, &found) {
                let reason = outcome(text, columns).err().map(|e| e.chain()).unwrap_or_default();
                failures.push(format!(
                    "{text} {}\n   expected {expected}\n   found    {found} {reason}",
                    if columns { "(columns)" } else { "" }
                ));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn text_functions_answer_as_spark() {
    check(include_str!("tests/string.txt"));
}

#[test]
fn regular_expressions_answer_as_spark() {
    check(include_str!("tests/regex.txt"));
}

#[test]
fn arithmetic_functions_answer_as_spark() {
    check(include_str!("tests/math.txt"));
}

#[test]
fn functions_of_collections_answer_as_spark() {
    check(include_str!("tests/collection.txt"));
}

#[test]
fn functions_of_dates_and_times_answer_as_spark() {
    check(include_str!("tests/datetime.txt"));
}

#[test]
fn conditional_functions_answer_as_spark() {
    check(include_str!("tests/conditional.txt"));
}

#[test]
fn other_functions_and_hashes_answer_as_spark() {
    check(include_str!("tests/misc.txt"));
}

#[test]
fn a_function_is_found_in_any_case_and_no_name_stands_twice() {
    assert!(super::find("CONCAT").is_some_and(|f| f.name == "concat"));
    assert!(super::find("no_such_function").is_none());
    let mut names: Vec<_> = super::FUNCTIONS.iter().map(|f| f.name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}
