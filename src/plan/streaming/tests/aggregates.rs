//! Every aggregate function gives the same over batches, with state between them, as over all rows at once.

use std::sync::OnceLock;

use proptest::prelude::*;
use serde_json::Value;

use super::golden::{accept_rounding, plain_rows};
use super::*;
use crate::plan::spark::functions::{FUNCTIONS, FunctionKind};

const ARGUMENTS: [&str; 9] = [
    "amount",
    "flag",
    "name",
    "flag > 1",
    "amount, flag",
    "name, amount",
    "amount, 0.3",
    "CAST(name AS BINARY)",
    "0.3) WITHIN GROUP (ORDER BY amount",
];

fn catalog() -> Catalog {
    let stream = StreamTable { name: "t".into(), schema: schema(), metadata: Vec::new() };
    Catalog { streams: vec![stream], ..Catalog::default() }
}

static CALLS: OnceLock<Vec<String>> = OnceLock::new();

/// Every call of an aggregate function that its rules allow, over the columns of `t`.
fn calls() -> Vec<String> {
    let names = FUNCTIONS.iter().filter(|spec| spec.kind == FunctionKind::Aggregate);
    // Histograms depend on the batches: bins of two batches stay apart, even with one centre, until there are too many.
    let names = names.filter(|spec| spec.name != "histogram_numeric");
    let mut calls = vec!["count(*)".to_owned(), "sum(flag) FILTER (WHERE amount > 0)".to_owned()];
    for name in names.map(|spec| spec.name) {
        let before = calls.len();
        // `amount` has negative values, which are no positions in a bitmap.
        for arguments in ARGUMENTS.iter().filter(|arguments| name != "bitmap_construct_agg" || **arguments == "flag") {
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
