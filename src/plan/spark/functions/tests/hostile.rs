//! Every function is called with what nobody would pass: it answers or fails by name, but never panics and never takes memory
//! without bound. `HOSTILE_SEED` and `HOSTILE_CALLS` (per function) make other calls than the usual ones, `HOSTILE_ONLY` those of
//! one function; `HOSTILE_SLOW_MS` tells of calls that take longer.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::Column;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::collect;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::{SessionConfig, SessionContext};
use sqlparser::ast;

use super::super::expression::resolve;
use super::super::relation::generate::exec::GeneratePlanner;
use super::super::relation::{optimise, plan_query};
use super::super::{Context, Scope, SubqueryUsage, Typed, dialect};
use super::tests::{evaluate, one_row, resolved, settings};
use super::{FUNCTIONS, FunctionKind, FunctionSpec, random};
use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::function::Function;
use crate::plan::running_batch::{Moment, RunningBatch};
use crate::plan::{Catalog, PlanSettings, StaticTable};

/// Memory that one call may take.
const CALL_BYTES_MAX: usize = 1 << 30;

/// Zones of sessions: each call is in one of them.
const ZONES: &[&str] = &["UTC", "UTC", "+18:00", "-18:00", "America/New_York", "Pacific/Apia"];

const TEXTS: &[&str] = &[
    "''",
    "' '",
    "'a'",
    "'ÄÖÜ ßtraße 😀'",
    "'e\\u0301\\u0000x'",
    "'%_\\\\'",
    "'('",
    "'[a-'",
    "'(a+)+$'",
    "'$1'",
    "'1'",
    "'-9223372036854775809'",
    "'1e400'",
    "'NaN'",
    "'2020-02-30'",
    "'9999-12-31 23:59:59.999999'",
    "'yyyy-MM-dd HH:mm:ss.SSSSSSSSS'",
    "'GGGGGyyyyyyyyyyy'",
    "'\\''",
    "'{\"a\":[1,{\"b\":null}]}'",
    "'[[[[[[[[['",
    "'$.a[*].b'",
    "'a INT, b ARRAY<STRING>'",
    "'%s %d %5.2f %x'",
    "'%2147483647d'",
    "'%1$99999999s'",
    "'%.2147483647f'",
    "'999,999.99'",
    "'S$99999999999999999999999999999999999999999.99MI'",
    "repeat('9', 500)",
    "repeat('ä', 300)",
    "'http://user@host:99999/p?q=1#r'",
    "'%E0%A4%A'",
    "'====A'",
    "'Asia/Kathmandu'",
    "'+25:00'",
    "'MONTH'",
    "'interval 1 day'",
    "','",
    "'c_int'",
];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "7",
    "31",
    "64",
    "1000",
    "2147483647",
    "-2147483648",
    "9223372036854775807",
    "-9223372036854775808L",
    "127Y",
    "-128Y",
    "32767S",
    "-32768S",
    "0.0D",
    "-0.0D",
    "double('NaN')",
    "double('Infinity')",
    "double('-Infinity')",
    "1.7976931348623157E308D",
    "4.9E-324D",
    "0.5D",
    "float('NaN')",
    "float('-Infinity')",
    "3.4028234E38F",
    "-0.0F",
    "1.5",
    "-0.05",
    "99999999999999999999999999999999999999",
    "-0.99999999999999999999999999999999999999",
    "cast(9999999999.9999999999 as decimal(38,18))",
    "cast(1 as decimal(38,38)) * 0",
];
const TIMES: &[&str] = &[
    "date'0001-01-01'",
    "date'9999-12-31'",
    "date'-0044-03-15'",
    "date'1582-10-10'",
    "date_from_unix_date(2147483647)",
    "date_from_unix_date(-2147483648)",
    "date'2024-02-29'",
    "date'1970-01-01'",
    "timestamp'0001-01-01 00:00:00'",
    "timestamp'9999-12-31 23:59:59.999999'",
    "timestamp_micros(9223372036854775807)",
    "timestamp_micros(-9223372036854775808)",
    "timestamp'1969-12-31 23:59:59.999999'",
    "timestamp_ntz'2024-03-10 02:30:00'",
    "timestamp_ntz'+294247-01-10 04:00:54.775807'",
    "timestamp_ntz'-290308-12-21 19:59:05.224192'",
];
const INTERVALS: &[&str] = &[
    "interval 0 day",
    "interval -1 day",
    "interval 106751991 day",
    "interval '106751991 04:00:54.775807' day to second",
    "interval '-106751991 04:00:54.775808' day to second",
    "interval -106751991 day",
    "interval 2562047788 hour",
    "interval '-2562047788:00' hour to minute",
    "interval -153722867280 minute",
    "interval 9223372036854.775807 second",
    "interval '-9223372036854.775808' second",
    "make_interval(178956970, 7, 0, 2147483647, 2562047, 47, 16.854775)",
    "make_interval(-178956970, -8, 0, -2147483647 - 1, -2562047, -47, -16.854775)",
    "interval 1 microsecond",
    "interval 178956970 year",
    "interval -1 month",
    "interval 2147483647 month",
    "interval -2147483648 month",
    "interval '-178956970' year",
    "interval '178956970-7' year to month",
];
const OTHERS: &[&str] = &["true", "false", "X''", "X'FF00FE'", "X'C3'", "cast('ä' as binary)", "unhex(repeat('ff', 200))"];
const ARRAYS: &[&str] = &[
    "array()",
    "array(null)",
    "array(1, null, -2147483648)",
    "array(double('NaN'), -0.0D, 0.0D, null)",
    "array('', null, 'ä')",
    "array(array(), null, array(null, 1))",
    "array(struct(1, 'a'), null, struct(1, 'b'))",
    "array(map(1, 2))",
    "array(X'FF')",
    "array(date'0001-01-01')",
    "array(true, null)",
    "array(99999999999999999999999999999999999999, null)",
    "sequence(1, 300)",
    "array(interval 1 day)",
    "array(1.5F, -2F)",
    "array(3D, 4D)",
];
const MAPS: &[&str] = &[
    "map()",
    "map(1, null)",
    "map('a', 1, 'ä', 2)",
    "map('', array(1, null))",
    "map(double('NaN'), 'x')",
    "map(array(1), map(1, 2))",
    "map('sep', '|')",
];
const STRUCTS: &[&str] = &["struct(1)", "named_struct('a', null, 'b', array())", "named_struct('A', map(1, 2), 'a', -0.0D)"];
const TYPES: &[&str] = &[
    "tinyint",
    "smallint",
    "int",
    "bigint",
    "float",
    "double",
    "decimal(10,2)",
    "decimal(38,0)",
    "decimal(38,18)",
    "decimal(38,38)",
    "string",
    "binary",
    "boolean",
    "date",
    "timestamp",
    "timestamp_ntz",
    "interval day to second",
    "interval year to month",
    "interval hour",
    "interval month",
    "interval day",
    "interval minute to second",
    "array<int>",
    "array<timestamp>",
    "array<string>",
    "array<double>",
    "array<array<int>>",
    "map<string,int>",
    "map<int,array<string>>",
    "struct<x:int,y:string>",
];
/// Columns: name, type, values.
#[rustfmt::skip]
const COLUMNS: &[(&str, &str, &[&str])] = &[
    ("c_byte", "tinyint", &["1", "-128", "127", "0"]),
    ("c_int", "int", &["1", "-2147483648", "2147483647", "0", "-1", "3"]),
    ("c_long", "bigint", &["9223372036854775807", "-9223372036854775807L - 1", "1", "0"]),
    ("c_double", "double", &["double('NaN')", "-0.0D", "double('-Infinity')", "1.5D", "1e308D"]),
    ("c_float", "float", &["float('NaN')", "1.5F", "3.4028234E38F"]),
    ("c_decimal", "decimal(10,2)", &["999999.99", "-0.01", "0"]),
    ("c_wide", "decimal(38,0)", &["99999999999999999999999999999999999999", "-1"]),
    ("c_text", "string", &["''", "'ä😀'", "'1'", "'2024-02-29'", "' a,b '", "'a'", "'['"]),
    ("c_binary", "binary", &["X'FF'", "X''", "X'6162'"]),
    ("c_boolean", "boolean", &["true", "false"]),
    ("c_short", "smallint", &["-32768", "32767", "0", "1"]),
    ("c_exact", "decimal(38,18)", &["99999999999999999999.999999999999999999", "-99999999999999999999.999999999999999999", "0.000000000000000001"]),
    ("c_date", "date", &["date_from_unix_date(-2147483648)", "date'9999-12-31'", "date'2024-02-29'", "date'0001-01-01'", "date_from_unix_date(2147483647)"]),
    ("c_time", "timestamp", &["timestamp_micros(-9223372036854775808)", "timestamp'2024-02-29 12:00:00'", "timestamp_micros(9223372036854775807)"]),
    ("c_clock", "timestamp_ntz", &["timestamp_ntz'+294247-01-10 04:00:54.775807'", "timestamp_ntz'2024-02-29 12:00:00'", "timestamp_ntz'-290308-12-21 19:59:05.224192'"]),
    ("c_days", "interval day to second", &["interval '-106751991 04:00:54.775808' day to second", "interval -1 day", "interval '106751991 04:00:54.775807' day to second"]),
    ("c_months", "interval year to month", &["interval 2147483647 month", "interval -1 month", "interval -2147483648 month"]),
    ("c_hours", "interval hour", &["interval 2562047788 hour", "interval 1 hour", "interval -2562047788 hour"]),
    ("c_times", "array<timestamp>", &["array(timestamp_micros(9223372036854775807), null)", "array(timestamp_micros(-9223372036854775808))"]),
    ("c_ints", "array<int>", &["array(3, null, 1)", "array()", "array(-2147483648)", "array(1, 2, 3, 4)"]),
    ("c_texts", "array<string>", &["array('a', null)", "array()", "array('')"]),
    ("c_doubles", "array<double>", &["array(double('NaN'), 1D)", "array()", "array(3D, -0.0D)"]),
    ("c_lists", "array<array<int>>", &["array(array(1), null)", "array()", "array(array(), array(null))"]),
    ("c_map", "map<string,int>", &["map('a', 1, '', null)", "map()"]),
    ("c_struct", "struct<x:int,y:string>", &["named_struct('x', 1, 'y', null)", "named_struct('x', null, 'y', 'ä')"]),
];

/// Reproducible numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// The columns of a batch.
struct Columns(Arc<Schema>);

impl Scope for Columns {
    fn functions(&self) -> &[Arc<Function>] {
        &[]
    }

    fn column(&self, parts: &[ast::Ident]) -> Result<Typed> {
        let unknown = || Error::spark(ErrorKind::Config, "UNRESOLVED_COLUMN.WITH_SUGGESTION", format!("no column {parts:?}"));
        let field = self.0.field_with_name(&parts[0].value).map_err(|_| unknown())?;
        let expr = Expr::Column(Column::new_unqualified(field.name()));
        Ok(Typed { expr, data_type: field.data_type().clone(), nullable: true })
    }

    fn subquery(&self, _: &ast::Query, _: SubqueryUsage<'_>) -> Result<Typed> {
        Err(Error::config("no subqueries"))
    }
}

/// What calls are made of and judged over.
struct World {
    rows: RecordBatch,
    catalog: Catalog,
    /// Arguments by what they are.
    pool: Vec<Vec<String>>,
    /// Those that are columns.
    columns: Vec<Vec<String>>,
}

fn world() -> World {
    const ROWS: usize = 9;
    let one = one_row();
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (name, data_type, values) in COLUMNS {
        let values: Vec<ArrayRef> = (0..ROWS)
            .map(|row| {
                let value = if row % 4 == 3 { "null" } else { values[row % values.len()] };
                evaluate(&resolved(&format!("cast({value} as {data_type})")).unwrap().expr, &one).unwrap()
            })
            .collect();
        let column = hide(concat(&values.iter().map(AsRef::as_ref).collect::<Vec<_>>()).unwrap());
        fields.push(Field::new(*name, column.data_type().clone(), true));
        columns.push(column);
    }
    let schema = Arc::new(Schema::new(fields));
    let rows = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let table = StaticTable { name: "t".into(), schema, rows: vec![rows.slice(0, 4), rows.slice(4, ROWS - 4)].into() };
    let groups = [TEXTS, NUMBERS, TIMES, INTERVALS, OTHERS, ARRAYS, MAPS, STRUCTS];
    let mut pool: Vec<Vec<String>> = groups.iter().map(|g| g.iter().map(|&text| text.to_owned()).collect()).collect();
    let mut columns = vec![Vec::new(); pool.len()];
    for (name, data_type, _) in COLUMNS {
        let group = group_of(&rows, name);
        pool[group].push((*name).to_owned());
        columns[group].push((*name).to_owned());
        assert!(TYPES.contains(data_type), "{data_type}");
    }
    for data_type in TYPES {
        let null = format!("cast(null as {data_type})");
        pool[group_of(&rows, &null)].push(null);
    }
    pool.push(vec!["null".to_owned()]);
    World { rows, catalog: Catalog { tables: vec![table], ..Catalog::default() }, pool, columns }
}

/// An array column with values under one of its nulls, as filters and joins may leave them.
fn hide(column: ArrayRef) -> ArrayRef {
    let DataType::List(field) = column.data_type() else { return column };
    let list = column.as_list::<i32>();
    let nulls: Vec<bool> = (0..list.len()).map(|row| list.is_valid(row) && row != 4).collect();
    Arc::new(ListArray::new(field.clone(), list.offsets().clone(), list.values().clone(), Some(NullBuffer::from(nulls))))
}

/// Which group of the pool an expression is like.
fn group_of(rows: &RecordBatch, text: &str) -> usize {
    let Ok(typed) = typed(text, rows, "UTC") else { return 0 };
    match typed.data_type {
        DataType::Utf8 => 0,
        t if t.is_numeric() => 1,
        DataType::Date32 | DataType::Timestamp(..) => 2,
        DataType::Duration(_) | DataType::Interval(_) => 3,
        DataType::List(_) => 5,
        DataType::Map(..) => 6,
        DataType::Struct(_) => 7,
        _ => 4,
    }
}

fn settings_in(zone: &str) -> PlanSettings {
    PlanSettings { time_zone: zone.into(), ..settings() }
}

fn typed(text: &str, rows: &RecordBatch, zone: &str) -> Result<Typed> {
    let settings = settings_in(zone);
    resolve(&dialect::parse_expression(text)?, &Context { scope: &Columns(rows.schema()), settings: &settings })
}

/// The most memory that this process has held since it was last asked, in bytes.
fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    peak.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

thread_local! {
    static UNNAMED: RefCell<std::collections::BTreeMap<String, String>> = RefCell::default();
}

/// An error that a user may see.
fn proper(text: &str, error: &Error) -> Result<(), String> {
    if error.condition().is_none() {
        let shape = error.chain().chars().filter(|c| !c.is_ascii_digit()).collect();
        UNNAMED.with_borrow_mut(|all| drop(all.insert(shape, text.to_owned())));
    }
    match error.kind() {
        ErrorKind::Config | ErrorKind::Data | ErrorKind::Limit => Ok(()),
        kind => Err(format!("{kind:?}: {}", error.chain())),
    }
}

/// Whether the call is planned; what is wrong with it otherwise.
fn scalar_call(name: &str, text: &str, zone: &str, world: &World) -> Result<bool, String> {
    let typed = match typed(text, &world.rows, zone) {
        Ok(typed) => typed,
        Err(error) => return proper(text, &error).map(|()| false),
    };
    let one = |rows: &RecordBatch| match evaluate(&typed.expr, rows) {
        Ok(values) => {
            let declared = &typed.data_type;
            if values.data_type() != declared {
                return Err(format!("{}, declared {declared}", values.data_type()));
            }
            if values.len() != rows.num_rows() {
                return Err(format!("{} rows instead of {}", values.len(), rows.num_rows()));
            }
            if !typed.nullable && values.logical_null_count() > 0 {
                return Err("null, though never null".into());
            }
            values.to_data().validate_full().map_err(|e| format!("invalid: {e}"))?;
            Ok(Some(values))
        }
        Err(error) => proper(text, &error).map(|()| None),
    };
    let count = world.rows.num_rows();
    let whole = one(&world.rows)?;
    for (from, length) in [(0, 0), (3, 1), (2, count - 3), (4, 3)] {
        let part = one(&world.rows.slice(from, length))?;
        if random::FUNCTIONS.iter().any(|spec| spec.name == name) {
            continue;
        }
        match (&whole, part) {
            (Some(whole), Some(part)) if whole.slice(from, length).to_data() != part.to_data() => {
                return Err(format!("rows {from}..{} by themselves give {part:?}", from + length));
            }
            (Some(_), None) => return Err(format!("rows {from}..{} by themselves fail", from + length)),
            _ => {}
        }
    }
    Ok(true)
}

/// The same for a statement over the table.
fn statement(text: &str, zone: &str, world: &World) -> Result<bool, String> {
    let settings = settings_in(zone);
    let planned = match plan_query(text, &world.catalog, &settings).and_then(|query| Ok((optimise(query.plan)?, query.columns))) {
        Ok(planned) => planned,
        Err(error) => return proper(text, &error).map(|()| false),
    };
    let batch = RunningBatch::default();
    let config = SessionConfig::new().with_target_partitions(1).with_option_extension(batch.clone());
    let context = SessionContext::new_with_config(config);
    let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(GeneratePlanner)]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ran = runtime.block_on(async {
        let physical = planner.create_physical_plan(&planned.0, &context.state()).await?;
        let _running = batch.begin(Moment::default());
        collect(physical, context.task_ctx()).await
    });
    match ran.map_err(|error| from_datafusion(error, ErrorKind::Data)) {
        Err(error) => proper(text, &error)?,
        Ok(batches) => {
            for (batch, (index, column)) in batches.iter().flat_map(|b| planned.1.iter().enumerate().map(move |c| (b, c))) {
                let values = batch.column(index);
                if *values.data_type() != column.data_type {
                    return Err(format!("{}, declared {}", values.data_type(), column.data_type));
                }
                if !column.nullable && values.logical_null_count() > 0 {
                    return Err("null, though never null".into());
                }
                values.to_data().validate_full().map_err(|e| format!("invalid: {e}"))?;
            }
        }
    }
    Ok(true)
}

/// Calls of one function: what its example says, with arguments exchanged, and any arguments at all.
struct Calls {
    known: Vec<Vec<String>>,
}

impl Calls {
    fn of(spec: &FunctionSpec) -> Self {
        let (call, _) = spec.example.split_once(" → ").unwrap_or_default();
        let mut known = vec![Vec::new()];
        if let Ok(ast::Expr::Function(function)) = dialect::parse_expression(call)
            && let ast::FunctionArguments::List(list) = &function.args
            && function.name.to_string() == spec.name
        {
            known[0] = list.args.iter().map(ToString::to_string).collect();
        }
        Self { known }
    }

    fn next(&self, random: &mut Random, world: &World) -> Vec<String> {
        let any = |random: &mut Random| {
            let group = random.below(world.pool.len());
            random.of(&world.pool[group]).clone()
        };
        if random.below(5) == 0 {
            return (0..random.below(5)).map(|_| any(random)).collect();
        }
        let mut args = random.of(&self.known).clone();
        for _ in 0..=random.below(3) {
            let Some(place) = (!args.is_empty()).then(|| random.below(args.len())) else { break };
            if args[place].contains("->") && random.below(10) > 0 {
                continue;
            }
            let group = group_of(&world.rows, &args[place]);
            args[place] = match random.below(8) {
                0 => any(random),
                1 | 2 if world.columns.get(group).is_some_and(|columns| !columns.is_empty()) => {
                    random.of(&world.columns[group]).clone()
                }
                _ => random.of(&world.pool[group]).clone(),
            };
        }
        match random.below(12) {
            0 => drop(args.pop()),
            1 => args.push(any(random)),
            _ => {}
        }
        args
    }
}

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What a panic said.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("PANIC {}", said.unwrap_or_default())
}

/// Makes `calls` calls of `spec`; gives what is wrong.
fn attack(spec: &FunctionSpec, calls: u64, random: &mut Random, world: &World, wrong: &mut Vec<String>) {
    let mut corpus = Calls::of(spec);
    let slow_s = setting("HOSTILE_SLOW_MS", u64::MAX) as f64 / 1e3;
    for _ in 0..calls {
        let args = corpus.next(random, world);
        let call = format!("{}({})", spec.name, args.join(", "));
        let zone = random.of(ZONES);
        let text = match (spec.kind, random.below(3)) {
            (FunctionKind::Scalar, _) => call.clone(),
            (FunctionKind::Aggregate, 0) => format!("SELECT {call} AS r FROM t WHERE false"),
            (FunctionKind::Aggregate, 1) => format!("SELECT c_boolean, {call} AS r FROM t GROUP BY c_boolean"),
            (FunctionKind::Aggregate, _) => format!("SELECT {call} AS r FROM t"),
        };
        let (before, begun) = (peak_bytes(), std::time::Instant::now());
        let outcome = catch_unwind(AssertUnwindSafe(|| match spec.kind {
            FunctionKind::Scalar => scalar_call(spec.name, &text, zone, world),
            FunctionKind::Aggregate => statement(&text, zone, world),
        }));
        let grown = peak_bytes().saturating_sub(before);
        if begun.elapsed().as_secs_f64() > slow_s {
            eprintln!("{text}: {:?}", begun.elapsed());
        }
        if grown > CALL_BYTES_MAX {
            wrong.push(format!("{text} in {zone}: {} MiB", grown >> 20));
        }
        match outcome {
            Ok(Ok(true)) => {
                corpus.known.push(args);
            }
            Ok(Ok(false)) => {}
            Ok(Err(complaint)) => wrong.push(format!("{text} in {zone}: {complaint}")),
            Err(panic) => wrong.push(format!("{text} in {zone}: {}", said(&*panic))),
        }
    }
}

#[test]
fn no_function_panics_or_takes_memory_without_bound() {
    let (seed, calls) = (setting("HOSTILE_SEED", 9), setting("HOSTILE_CALLS", 12));
    let only = std::env::var("HOSTILE_ONLY").ok();
    eprintln!("HOSTILE_SEED={seed} HOSTILE_CALLS={calls}");
    let world = world();
    let mut wrong = Vec::new();
    for (index, spec) in FUNCTIONS.iter().enumerate() {
        if only.as_ref().is_none_or(|name| name == spec.name) {
            let mut random = Random(seed.wrapping_mul(1_000_003).wrapping_add(index as u64));
            attack(spec, calls, &mut random, &world, &mut wrong);
        }
    }
    for generator in ["explode", "posexplode_outer", "inline", "stack", "json_tuple"] {
        let mut random = Random(seed);
        for _ in 0..calls {
            let args: Vec<_> = (0..=random.below(3))
                .map(|_| {
                    let group = random.below(world.pool.len());
                    random.of(&world.pool[group]).clone()
                })
                .collect();
            let text = format!("SELECT {generator}({}) FROM t", args.join(", "));
            match catch_unwind(AssertUnwindSafe(|| statement(&text, "UTC", &world))) {
                Ok(Ok(_)) => {}
                Ok(Err(complaint)) => wrong.push(format!("{text}: {complaint}")),
                Err(_) => wrong.push(format!("{text}: PANIC")),
            }
        }
    }
    if std::env::var_os("HOSTILE_UNNAMED").is_some() {
        UNNAMED.with_borrow(|all| all.iter().for_each(|(message, text)| eprintln!("UNNAMED {message}\n    {text}")));
    }
    assert!(wrong.is_empty(), "{} calls with seed {seed}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Operators and casts of anything.
#[test]
fn no_operator_or_cast_panics() {
    const BINARY: [&str; 17] = ["+", "-", "*", "/", "%", "div", "=", "<=>", "<", ">=", "&", "|", "^", "||", "<<", ">>", ">>>"];
    let (seed, calls) = (setting("HOSTILE_SEED", 9), setting("HOSTILE_CALLS", 12) * 250);
    let world = world();
    let mut random = Random(seed);
    let mut wrong = Vec::new();
    for _ in 0..calls {
        let mut value = || {
            let group = random.below(world.pool.len());
            match world.columns.get(group) {
                Some(columns) if !columns.is_empty() && random.below(3) == 0 => random.of(columns).clone(),
                _ => random.of(&world.pool[group]).clone(),
            }
        };
        let (a, b) = (value(), value());
        let (operator, to, zone) = (random.of(&BINARY), random.of(TYPES), random.of(ZONES));
        let text = match random.below(6) {
            0 => format!("cast({a} as {to})"),
            1 => format!("try_cast({a} as {to})"),
            2 => format!("cast(cast({a} as {to}) as string)"),
            3 => format!("-({a})"),
            _ => format!("({a}) {operator} ({b})"),
        };
        match catch_unwind(AssertUnwindSafe(|| scalar_call("", &text, zone, &world))) {
            Ok(Ok(_)) => {}
            Ok(Err(complaint)) => wrong.push(format!("{text} in {zone}: {complaint}")),
            Err(panic) => wrong.push(format!("{text} in {zone}: {}", said(&*panic))),
        }
    }
    assert!(wrong.is_empty(), "{} calls with seed {seed}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Calls that would take gigabytes, refused before they take anything, some with the condition that Spark names.
#[test]
fn what_would_take_gigabytes_is_refused_at_once() {
    let world = world();
    let too_long = Some("COLLECTION_SIZE_LIMIT_EXCEEDED.PARAMETER");
    for (text, condition) in [
        ("repeat('ab', 2147483647)", None),
        ("repeat(c_text, 2147483647)", None),
        ("space(2147483647)", None),
        ("lpad('a', 2147483647, 'b')", None),
        ("rpad(X'00', 2147483647, X'01')", None),
        ("rpad('a', 2147483632, '😀')", None),
        ("lpad(c_text, 1500000000, 'äö')", None),
        ("sequence(0, 9223372036854775807)", too_long),
        ("sequence(c_int, 9223372036854775807)", too_long),
        ("sequence(0, 2147483000)", None),
        ("sequence(timestamp'0001-01-01', timestamp'9999-12-31', interval 1 microsecond)", too_long),
        ("sequence(timestamp'2020-01-01', timestamp'2020-01-01 00:30', interval 1 microsecond)", None),
        ("array_repeat(1, 2147483647)", too_long),
        ("array_repeat(c_map, 2147483632)", None),
        ("array_repeat(repeat('a', 1000000), 100000)", None),
        ("array_repeat(sequence(1, 100000), 100000)", None),
        ("array_repeat(array_repeat(repeat('a', 1000), 1000), 100000)", None),
        ("array_repeat(struct(repeat('a', 100000), c_text), 100000)", None),
        ("array_insert(array(1), 2147483647, 1)", Some("COLLECTION_SIZE_LIMIT_EXCEEDED.FUNCTION")),
        ("array_insert(c_ints, -2147483648, 1)", Some("COLLECTION_SIZE_LIMIT_EXCEEDED.FUNCTION")),
        ("array_insert(c_ints, 2147483600, 1)", None),
        ("transform(array_repeat(1, 100000), x -> sequence(1, 100000))", None),
        ("transform(sequence(1, 100000), x -> repeat('a', 100000))", None),
        ("transform(sequence(1, 5000), x -> array(repeat('a', 1000000), cast(x as string)))", None),
        ("transform(sequence(1, 5000), x -> map(x, repeat('a', 1000000)))", None),
        ("transform(sequence(1, 5000), x -> array_union(array(repeat('a', 1000000)), array(cast(x as string))))", None),
        ("printf('%2147483647d', 1)", None),
        ("printf('%.2147483647f', 1.5D)", None),
    ] {
        peak_bytes();
        let before = peak_bytes();
        let found = typed(text, &world.rows, "UTC").and_then(|typed| evaluate(&typed.expr, &world.rows).map(drop));
        let grown = peak_bytes().saturating_sub(before);
        let error = found.expect_err(text);
        assert!(matches!(error.kind(), ErrorKind::Limit | ErrorKind::Data), "{text}: {}", error.chain());
        assert_eq!(error.condition(), condition, "{text}: {}", error.chain());
        assert!(grown < CALL_BYTES_MAX, "{text}: {} MiB", grown >> 20);
    }
}
