//! Every aggregate function gives the same over batches, with state between them, as over all rows at once.

use std::sync::OnceLock;

use proptest::prelude::*;
use serde_json::Value;

use super::golden::{accept_rounding, plain_rows};
use super::*;
use crate::plan::spark::functions::{FUNCTIONS, FunctionKind};

const ARGUMENTS: [&str; 14] = [
    "amount",
    "flag",
    "name",
    "flag > 1",
    "amount, flag",
    "name, amount",
    "name, struct(amount, flag, name), 2",
    "amount, 0.3",
    "flag, 0.4d, 0.5d, 1",
    "array(flag, 1)",
    "array(CAST(flag AS FLOAT), 0.5F)",
    "CAST(name AS BINARY)",
    "0.3) WITHIN GROUP (ORDER BY amount",
    ") WITHIN GROUP (ORDER BY amount",
];

/// Whether a function gives one answer for these arguments, however rows are cut into batches.
fn suits(name: &str, arguments: &str) -> bool {
    match name {
        // `amount` has negative values, which are no positions in a bitmap.
        "bitmap_construct_agg" => arguments == "flag",
        // Values that come equally often stand in the order of a hash table, which depends on when it grew: few of them.
        "approx_top_k" => ["flag", "flag > 1"].contains(&arguments),
        _ => true,
    }
}

fn catalog() -> Catalog {
    let stream = StreamTable { name: "t".into(), schema: schema(), metadata: Vec::new() };
    Catalog { streams: vec![stream], ..Catalog::default() }
}

static CALLS: OnceLock<Vec<String>> = OnceLock::new();

/// Every call of an aggregate function that its rules allow, over the columns of `t`.
fn calls() -> Vec<String> {
    let names = FUNCTIONS.iter().filter(|spec| spec.kind == FunctionKind::Aggregate);
    // Histograms depend on the batches: bins of two batches stay apart, even with one centre, until there are too many. Means of
    // vectors do by rounding, in single precision.
    let names = names.filter(|spec| !["histogram_numeric", "vector_avg"].contains(&spec.name));
    let mut calls = vec!["count(*)".to_owned(), "sum(flag) FILTER (WHERE amount > 0)".to_owned()];
    for name in names.map(|spec| spec.name) {
        let before = calls.len();
        for arguments in ARGUMENTS.iter().filter(|arguments| suits(name, arguments)) {
            let call = format!("{name}({arguments})");
            if plan_query(&format!("SELECT {call} AS a FROM t"), &catalog(), &settings(OutputMode::Complete)).is_ok() {
                calls.push(call);
            }
        }
        assert!(calls.len() > before, "no arguments are known for {name}");
    }
    calls
}

async fn planned(sql: &str, scope: Scope) -> StreamingPlan {
    let mode = if scope == Scope::Query { OutputMode::Complete } else { OutputMode::Update };
    let settings = PlanSettings { scope, ..settings(mode) };
    StreamingPlan::new("q", &QueryText::Sql(sql.to_owned()), &catalog(), &settings).await.unwrap()
}

fn sorted(rows: &[RecordBatch]) -> Vec<Value> {
    let mut rows: Vec<Value> = rows.iter().flat_map(plain_rows).collect();
    rows.sort_by_key(|row| row[0].to_string());
    rows
}

fn batch() -> impl Strategy<Value = Vec<Row>> {
    // Texts that every implicit cast takes.
    let name = prop_oneof![Just(None), Just(Some("0")), Just(Some("1"))];
    let amount = proptest::option::of((-8i32..8).prop_map(|halves| f64::from(halves) / 2.0));
    proptest::collection::vec((name, amount, proptest::option::of(0i64..4)), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn aggregates_over_batches_are_aggregates_over_all(batches in proptest::collection::vec(batch(), 1..5)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let calls = CALLS.get_or_init(calls).join(", ");
        for sql in [format!("SELECT name, {calls} FROM t GROUP BY name"), format!("SELECT 1, {calls} FROM t")] {
            let all: Vec<Row> = batches.iter().flatten().copied().collect();
            let (got, wanted) = runtime.block_on(async {
                let mut streaming = planned(&sql, Scope::Query).await;
                let mut got = Vec::new();
                for batch in &batches {
                    got = run(&mut streaming, batch).await.unwrap().rows;
                    streaming.commit();
                }
                (got, run(&mut planned(&sql, Scope::MicroBatch).await, &all).await.unwrap().rows)
            });
            if all.is_empty() {
                continue;
            }
            let (got, mut wanted) = (sorted(&got), sorted(&wanted));
            for (wanted, got) in wanted.iter_mut().zip(&got) {
                accept_rounding(wanted, got, 1.0);
            }
            prop_assert_eq!(got, wanted, "{}", sql);
        }
    }
}

/// States of no rows, of nulls only and of many groups go through changelogs and snapshots.
#[tokio::test]
async fn states_are_read_as_they_were_written() {
    let mut names: Vec<String> = vec!["histogram_numeric(amount, 3)".into(), "vector_avg(array(CAST(flag AS FLOAT)))".into()];
    names.extend(CALLS.get_or_init(calls).iter().cloned());
    let calls = names.join(", ");
    let row = |i: usize| (["0", "1"].get(i % 3).copied(), Some(i as f64 - 4.0), Some((i % 5) as i64));
    let many: Vec<Row> = (0..40).map(row).collect();
    let batches: [&[Row]; 6] = [&[], &[(None, None, None), (Some("1"), None, None)], &many[..3], &many[3..20], &[], &many[20..]];
    for sql in [format!("SELECT flag, {calls} FROM t GROUP BY flag"), format!("SELECT 1, {calls} FROM t")] {
        let mut straight = planned(&sql, Scope::Query).await;
        let mut logs: BTreeMap<String, Vec<Bytes>> = BTreeMap::new();
        for (number, batch) in batches.into_iter().enumerate() {
            let wanted = run(&mut straight, batch).await.unwrap().rows;
            straight.commit();
            let mut restarted = planned(&sql, Scope::Query).await;
            for (operator, log) in &logs {
                restarted.restore(operator, log).unwrap();
            }
            let output = run(&mut restarted, batch).await.unwrap();
            assert_eq!(sorted(&output.rows), sorted(&wanted), "batch {number} of {sql}");
            for (operator, bytes) in output.state {
                logs.entry(operator).or_default().push(bytes);
            }
            restarted.commit();
            if number % 2 == 1 {
                for (operator, log) in &mut logs {
                    *log = vec![restarted.snapshot(operator).unwrap().encode().unwrap()];
                }
            }
        }
        assert!(!logs.is_empty(), "nothing was kept by {sql}");
    }
}

#[tokio::test]
async fn what_groups_keep_counts_towards_the_limit() {
    for call in [
        "collect_list(amount)",
        "collect_set(amount)",
        "collect_union(array(amount))",
        "percentile(amount, 0.5)",
        "mode(amount)",
        "listagg(amount, ',')",
        "listagg(name, ',') WITHIN GROUP (ORDER BY amount)",
        "max_by(name, amount, 100000)",
        "approx_top_k(amount, 5, 1000000)",
    ] {
        let settings = PlanSettings { state_memory_bytes_max: 400_000, ..settings(OutputMode::Update) };
        let query = QueryText::Sql(format!("SELECT name, {call} AS a FROM t GROUP BY name"));
        let mut plan = StreamingPlan::new("q", &query, &catalog(), &settings).await.unwrap();
        let mut stopped = false;
        for batch in 0..60 {
            let rows: Vec<Row> = (0..1000).map(|i| (Some("a"), Some(f64::from(batch * 1000 + i)), Some(0))).collect();
            let before = plan.memory_used_bytes();
            match run(&mut plan, &rows).await {
                Ok(_) => {
                    plan.commit();
                    assert!(plan.memory_used_bytes() >= 2_000 * (batch as usize + 1), "{call}: {}", plan.memory_used_bytes());
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Limit, "{call}: {error}");
                    assert!(error.message().contains("limits.state_memory"), "{error}");
                    plan.abort();
                    assert!(plan.memory_used_bytes() <= before + 4096, "{call}");
                    assert!(batch > 0, "{call} stopped at once");
                    stopped = true;
                    break;
                }
            }
        }
        assert!(stopped, "{call} was never stopped");
    }
}
