mod aggregates;
mod differential;
mod event_time;
mod functions;
mod golden;
mod joins;
mod random;

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::*;
use crate::plan::{OutputMode, StaticTable, StreamTable};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("amount", DataType::Float64, true),
        Field::new("flag", DataType::Int64, true),
    ]))
}

fn users() -> StaticTable {
    let schema = Arc::new(Schema::new(vec![Field::new("name", DataType::Utf8, true), Field::new("city", DataType::Utf8, true)]));
    let name: ArrayRef = Arc::new(StringArray::from(vec!["John", "Jill", "Zed"]));
    let city: ArrayRef = Arc::new(StringArray::from(vec!["Oslo", "Rome", "Bern"]));
    let rows = RecordBatch::try_new(schema.clone(), vec![name, city]).unwrap();
    StaticTable { name: "u".into(), schema, rows: vec![rows].into() }
}

type Row = (Option<&'static str>, Option<f64>, Option<i64>);

fn rows(rows: &[Row]) -> Vec<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.0).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| r.1).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|r| r.2).collect::<Int64Array>()),
    ];
    vec![RecordBatch::try_new(schema(), columns).unwrap()]
}

const fn r(name: &'static str, amount: f64, flag: i64) -> Row {
    (Some(name), Some(amount), Some(flag))
}

fn settings(mode: OutputMode) -> PlanSettings {
    PlanSettings { time_zone: "UTC".into(), state_memory_bytes_max: 1 << 24, output_mode: mode, scope: Scope::Query }
}

/// The streams `t` and `s` and the table `u`.
fn catalog() -> Catalog {
    let stream = |name: &str| StreamTable { name: name.into(), schema: schema(), metadata: Vec::new() };
    Catalog { streams: vec![stream("t"), stream("s")], tables: vec![users()], ..Catalog::default() }
}

async fn plan_with(sql: &str, settings: &PlanSettings) -> Result<StreamingPlan> {
    StreamingPlan::new("q", &QueryText::Sql(sql.to_owned()), &catalog(), settings).await
}

async fn plan(sql: &str, mode: OutputMode) -> StreamingPlan {
    plan_with(sql, &settings(mode)).await.unwrap()
}

fn text(rows: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let mut lines = Vec::new();
    for rows in rows {
        let columns: Vec<_> = rows.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        lines.extend(
            (0..rows.num_rows()).map(|row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join(" ")),
        );
    }
    lines
}

/// Projects what the engine would have read for `plan`.
fn input(plan: &StreamingPlan, batch: &[Row], other: &[Row]) -> BatchInput {
    let mut by_source = BTreeMap::new();
    for scan in plan.scans() {
        let all = if scan.source == "t" { rows(batch) } else { rows(other) };
        by_source.insert(scan.source.clone(), all.iter().map(|rows| rows.project(&scan.projection).unwrap()).collect());
    }
    BatchInput { rows: by_source, batch_time_us: 0, watermark_ms: 0, late_watermark_ms: 0, seed: 0, calls: None }
}

async fn run(plan: &mut StreamingPlan, batch: &[Row]) -> Result<BatchOutput> {
    plan.run(input(plan, batch, &[])).await
}

/// Runs and commits; the rows sorted, then `total/updated` of each operator.
async fn step(plan: &mut StreamingPlan, batch: &[Row]) -> String {
    let output = run(plan, batch).await.unwrap();
    plan.commit();
    let mut lines = text(&output.rows);
    lines.sort();
    let counts: Vec<_> = output.operators.iter().map(|o| format!("{}/{}", o.num_rows_total, o.num_rows_updated)).collect();
    format!("{} | {}", lines.join(", "), counts.join(" "))
}

async fn check(sql: &str, mode: OutputMode, batches: &[&[Row]], expected: &[&str]) {
    let mut straight = plan(sql, mode).await;
    let mut got = Vec::new();
    for batch in batches {
        got.push(step(&mut straight, batch).await);
    }
    assert_eq!(got, expected, "{sql}\n{}", straight.explain(WatermarkPolicy::Min));
    restarted(sql, mode, batches, expected).await;
}

/// The same with a restart after each batch, from a snapshot after the second one, and with an aborted attempt before each.
async fn restarted(sql: &str, mode: OutputMode, batches: &[&[Row]], expected: &[&str]) {
    let mut logs: BTreeMap<String, Vec<Bytes>> = BTreeMap::new();
    for (number, batch) in batches.iter().enumerate() {
        let mut plan = plan(sql, mode).await;
        for (operator, log) in &logs {
            plan.restore(operator, log).unwrap();
        }
        run(&mut plan, &[r("aborted", 7.0, 7), r("John", 7.0, 1)]).await.unwrap();
        plan.abort();
        let output = run(&mut plan, batch).await.unwrap();
        let counts: Vec<_> = output.operators.iter().map(|o| format!("{}/{}", o.num_rows_total, o.num_rows_updated)).collect();
        let mut lines = text(&output.rows);
        lines.sort();
        assert_eq!(
            format!("{} | {}", lines.join(", "), counts.join(" ")),
            expected[number],
            "{sql}, restarted before batch {number}"
        );
        for (operator, bytes) in output.state {
            logs.entry(operator).or_default().push(bytes);
        }
        plan.commit();
        if number == 1 {
            for (operator, log) in &mut logs {
                *log = vec![plan.snapshot(operator).unwrap().encode().unwrap()];
            }
        }
    }
}

const BATCHES: &[&[Row]] = &[
    &[r("John", 1.5, 1), r("Jill", 2.5, 0)],
    &[r("John", 3.5, 1), (Some("Ann"), None, Some(1)), (None, Some(1.0), None)],
    &[],
    &[r("Jill", 0.5, 1), (None, Some(4.0), Some(0))],
];

#[tokio::test]
async fn a_keyed_aggregation_in_update_mode_emits_what_changed() {
    check(
        "SELECT name, count(*) AS n, sum(amount) AS s, max(flag) AS m FROM t GROUP BY name",
        OutputMode::Update,
        BATCHES,
        &[
            "Jill 1 2.5 0, John 1 1.5 1 | 2/2",
            "Ann 1 NULL 1, John 2 5.0 1, NULL 1 1.0 NULL | 4/3",
            " | 4/0",
            "Jill 2 3.0 1, NULL 2 5.0 0 | 4/2",
        ],
    )
    .await;
}

#[tokio::test]
async fn complete_mode_emits_everything_every_time() {
    check(
        "SELECT name, avg(amount) AS a FROM t GROUP BY name",
        OutputMode::Complete,
        BATCHES,
        &[
            "Jill 2.5, John 1.5 | 2/2",
            "Ann NULL, Jill 2.5, John 2.5, NULL 1.0 | 4/3",
            "Ann NULL, Jill 2.5, John 2.5, NULL 1.0 | 4/0",
            "Ann NULL, Jill 1.5, John 2.5, NULL 2.5 | 4/2",
        ],
    )
    .await;
}

#[tokio::test]
async fn an_aggregation_without_keys_emits_one_row_per_batch() {
    check(
        "SELECT count(*) AS n, sum(amount) AS s FROM t WHERE flag = 1",
        OutputMode::Update,
        &[&[], &[r("John", 1.5, 1), r("Jill", 2.5, 0)], &[], &[r("John", 1.0, 1)]],
        &["0 NULL | 1/1", "1 1.5 | 1/1", "1 1.5 | 1/1", "2 2.5 | 1/1"],
    )
    .await;
}

#[tokio::test]
async fn having_and_select_sit_above_the_state() {
    check(
        "SELECT concat(name, '!') AS who, true AS yes, n * 2 AS twice FROM (SELECT name, count(*) AS n FROM t GROUP BY name HAVING count(*) > 1)",
        OutputMode::Update,
        BATCHES,
        &[" | 2/2", "John! true 4 | 4/3", " | 4/0", "Jill! true 4, NULL true 4 | 4/2"],
    )
    .await;
}

#[tokio::test]
async fn distinct_is_an_aggregation_without_functions() {
    check(
        "SELECT DISTINCT name FROM t WHERE flag = 1",
        OutputMode::Update,
        BATCHES,
        &["John | 1/1", "Ann, John | 2/2", " | 2/0", "Jill | 3/1"],
    )
    .await;
}

#[tokio::test]
async fn grouping_sets_are_keys_and_yield_nothing_for_nothing() {
    check(
        "SELECT name, flag, count(*) AS n FROM t WHERE amount > 1 GROUP BY ROLLUP(name, flag)",
        OutputMode::Update,
        &[&[], BATCHES[0], &[r("Low", 0.5, 1)], BATCHES[3]],
        &[
            " | 0/0",
            "Jill 0 1, Jill NULL 1, John 1 1, John NULL 1, NULL NULL 2 | 5/5",
            " | 5/0",
            "NULL 0 1, NULL NULL 1, NULL NULL 3 | 7/3",
        ],
    )
    .await;
}

#[tokio::test]
async fn order_matters_to_first_and_collected_lists() {
    check(
        "SELECT flag, first_value(amount) AS f, last_value(amount) AS l, array_agg(amount) AS c FROM t GROUP BY flag",
        OutputMode::Update,
        &[&[r("a", 1.0, 1), r("b", 2.0, 1)], &[r("c", 3.0, 1), r("d", 4.0, 0)]],
        &["1 1.0 2.0 [1.0, 2.0] | 1/1", "0 4.0 4.0 [4.0], 1 1.0 3.0 [1.0, 2.0, 3.0] | 2/2"],
    )
    .await;
}

#[tokio::test]
async fn a_limit_counts_over_the_life_of_the_query() {
    check(
        "SELECT name FROM t LIMIT 3",
        OutputMode::Append,
        &[&[r("a", 1.0, 1), r("b", 1.0, 1)], &[], &[r("c", 1.0, 1), r("d", 1.0, 1)], &[r("e", 1.0, 1)]],
        &["a, b | 1/1", " | 1/0", "c | 1/1", " | 1/0"],
    )
    .await;
    check(
        "SELECT name FROM (SELECT * FROM t LIMIT 3) LIMIT 1",
        OutputMode::Append,
        BATCHES,
        &["John | 1/1", " | 1/0", " | 1/0", " | 1/0"],
    )
    .await;
    check("SELECT name FROM t LIMIT 0", OutputMode::Append, BATCHES, &[" | ", " | ", " | ", " | "]).await;
    check(
        "SELECT count(*) AS n FROM (SELECT * FROM t LIMIT 3)",
        OutputMode::Complete,
        BATCHES,
        &["2 | 1/1 1/1", "3 | 1/1 1/1", "3 | 1/1 1/0", "3 | 1/1 1/0"],
    )
    .await;
}

#[tokio::test]
async fn sort_and_limit_cut_a_complete_result_anew() {
    let mut plan =
        plan("SELECT name, sum(amount) AS s FROM t GROUP BY name ORDER BY s DESC NULLS LAST, name LIMIT 2", OutputMode::Complete)
            .await;
    let mut got = Vec::new();
    for batch in BATCHES {
        got.push(text(&run(&mut plan, batch).await.unwrap().rows));
        plan.commit();
    }
    assert_eq!(got, [["Jill 2.5", "John 1.5"], ["John 5.0", "Jill 2.5"], ["John 5.0", "Jill 2.5"], ["NULL 5.0", "John 5.0"]]);
}

#[tokio::test]
async fn a_stream_joins_a_static_table_batch_after_batch() {
    for (sql, expected) in [
        (
            "SELECT t.name, city FROM t JOIN u ON t.name = u.name",
            ["Jill Rome, John Oslo | ", "John Oslo | ", " | ", "Jill Rome | "],
        ),
        ("SELECT u.city FROM u JOIN t ON t.name = u.name", ["Oslo, Rome | ", "Oslo | ", " | ", "Rome | "]),
        (
            "SELECT t.name, city FROM t LEFT JOIN u ON t.name = u.name",
            ["Jill Rome, John Oslo | ", "Ann NULL, John Oslo, NULL NULL | ", " | ", "Jill Rome, NULL NULL | "],
        ),
        (
            "SELECT t.name, city FROM u RIGHT JOIN t ON t.name = u.name AND city > 'P'",
            ["Jill Rome, John NULL | ", "Ann NULL, John NULL, NULL NULL | ", " | ", "Jill Rome, NULL NULL | "],
        ),
        ("SELECT name FROM t WHERE name IN (SELECT name FROM u)", ["Jill, John | ", "John | ", " | ", "Jill | "]),
        ("SELECT name FROM t WHERE name NOT IN (SELECT name FROM u)", [" | ", "Ann | ", " | ", " | "]),
        ("SELECT t.name FROM t LEFT ANTI JOIN u ON t.name = u.name", [" | ", "Ann, NULL | ", " | ", "NULL | "]),
        (
            "SELECT name FROM t WHERE flag = 0 OR name IN (SELECT name FROM u)",
            ["Jill, John | ", "John | ", " | ", "Jill, NULL | "],
        ),
        (
            "SELECT name, (SELECT max(city) FROM u) AS m FROM t",
            ["Jill Rome, John Rome | ", "Ann Rome, John Rome, NULL Rome | ", " | ", "Jill Rome, NULL Rome | "],
        ),
        (
            "SELECT name, (SELECT max(city) FROM u WHERE u.name = t.name) AS m FROM t",
            ["Jill Rome, John Oslo | ", "Ann NULL, John Oslo, NULL NULL | ", " | ", "Jill Rome, NULL NULL | "],
        ),
        ("SELECT count(*) AS n FROM t CROSS JOIN u WHERE flag = 1 HAVING count(*) > 99", [" | 1/1"; 4]),
    ] {
        let mode = if sql.contains("count(*)") { OutputMode::Complete } else { OutputMode::Append };
        check(sql, mode, BATCHES, &expected).await;
    }
}

#[tokio::test]
async fn a_condition_on_keys_keeps_keys_out_of_the_state() {
    check(
        "SELECT who, n FROM (SELECT upper(name) AS who, count(*) AS n FROM t GROUP BY upper(name)) WHERE who > 'JI' AND n < 9",
        OutputMode::Update,
        BATCHES,
        &["JILL 1, JOHN 1 | 2/2", "JOHN 2 | 2/1", " | 2/0", "JILL 2 | 2/1"],
    )
    .await;
    check(
        "SELECT count(*) AS n FROM t HAVING 10 / (count(*) + 1) > 99",
        OutputMode::Update,
        &[&[], BATCHES[0]],
        &[" | 1/1", " | 1/1"],
    )
    .await;
    check(
        "SELECT n FROM (SELECT name AS n FROM t LIMIT 2) WHERE length(n) + 1 > 99",
        OutputMode::Append,
        &[BATCHES[1], &[]],
        &[" | 1/1", " | 1/0"],
    )
    .await;
    check(
        "SELECT DISTINCT name FROM t WHERE name < 'B'",
        OutputMode::Update,
        BATCHES,
        &[" | 0/0", "Ann | 1/1", " | 1/0", " | 1/0"],
    )
    .await;
}

#[tokio::test]
async fn unions_of_streams_run_in_order() {
    let mut plan =
        plan("SELECT name FROM t UNION ALL SELECT name FROM s UNION ALL SELECT 'x' FROM t WHERE flag = 1", OutputMode::Append)
            .await;
    assert_eq!(
        plan.scans().iter().map(|scan| (scan.source.as_str(), scan.projection.clone())).collect::<Vec<_>>(),
        [("s", vec![0]), ("t", vec![0, 2])]
    );
    let batch = input(&plan, BATCHES[0], &[r("Other", 1.0, 1)]);
    assert_eq!(text(&plan.run(batch).await.unwrap().rows), ["John", "Jill", "Other", "x"]);
    let sql = "SELECT name, count(*) AS n FROM (SELECT name FROM t UNION ALL SELECT name FROM s) GROUP BY name";
    let mut plan = self::plan(sql, OutputMode::Update).await;
    let batch = input(&plan, BATCHES[0], &[r("John", 1.0, 1)]);
    let mut lines = text(&plan.run(batch).await.unwrap().rows);
    lines.sort();
    assert_eq!(lines, ["Jill 1", "John 2"]);
}

#[tokio::test]
async fn two_aggregations_side_by_side_have_their_own_state() {
    let sql = "SELECT name AS k, count(*) AS n FROM t GROUP BY name UNION ALL SELECT 'all', count(*) FROM t";
    check(
        sql,
        OutputMode::Complete,
        BATCHES,
        &[
            "Jill 1, John 1, all 2 | 2/2 1/1",
            "Ann 1, Jill 1, John 2, NULL 1, all 5 | 4/3 1/1",
            "Ann 1, Jill 1, John 2, NULL 1, all 5 | 4/0 1/1",
            "Ann 1, Jill 2, John 2, NULL 2, all 7 | 4/2 1/1",
        ],
    )
    .await;
    let plan = plan(sql, OutputMode::Complete).await;
    let prints = plan.fingerprints();
    assert_eq!(prints.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(), ["aggregate-0", "aggregate-1"]);
    assert_eq!(prints[0].keys, [("name".to_owned(), "Utf8".to_owned())]);
    assert_eq!(prints[0].state, [("count_0_0".to_owned(), "Int64".to_owned())]);
    assert_eq!(prints[1].parameters, ["count"]);
}

#[tokio::test]
async fn a_micro_batch_is_a_query_of_its_own() {
    let alone = |mode| PlanSettings { scope: Scope::MicroBatch, ..settings(mode) };
    let sql = "SELECT name, count(*) AS n FROM t GROUP BY name ORDER BY n DESC, name LIMIT 2";
    let mut plan = plan_with(sql, &alone(OutputMode::Update)).await.unwrap();
    let batch = &[r("b", 1.0, 1), r("c", 1.0, 1), r("c", 1.0, 1), r("a", 1.0, 1)];
    for _ in 0..2 {
        assert_eq!(text(&run(&mut plan, batch).await.unwrap().rows), ["c 2", "a 1"]);
    }
    let mut plan = plan_with("SELECT count(*) AS n FROM t", &alone(OutputMode::Append)).await.unwrap();
    let output = run(&mut plan, &[]).await.unwrap();
    assert_eq!((text(&output.rows).len(), output.rows[0].num_columns(), output.state.len()), (0, 1, 0));
    assert_eq!(plan_with(sql, &alone(OutputMode::Complete)).await.unwrap_err().kind(), ErrorKind::Config);
    let join = "SELECT t.name FROM t JOIN s ON t.name = s.name";
    assert!(plan_with(join, &alone(OutputMode::Append)).await.unwrap_err().message().contains("joins between streams"));
}

#[tokio::test]
async fn state_past_its_limit_fails_the_batch_and_changes_nothing() {
    let settings = PlanSettings { state_memory_bytes_max: 20_000, ..settings(OutputMode::Update) };
    let mut plan = plan_with("SELECT name, count(*) AS n FROM t GROUP BY name", &settings).await.unwrap();
    step(&mut plan, &[r("a", 1.0, 1)]).await;
    let before = plan.memory_used_bytes();
    let names: Vec<&'static str> =
        (0..1000).map(|i| &*Box::leak(format!("a name of some length {i}").into_boxed_str())).collect();
    let many: Vec<Row> = names.iter().map(|name| (Some(*name), None, None)).collect();
    let error = run(&mut plan, &many).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.message().contains("aggregate-0") && error.message().contains("limits.state_memory"), "{error}");
    assert_eq!(step(&mut plan, &[r("a", 1.0, 1)]).await, "a 2 | 1/1");
    assert!(plan.memory_used_bytes() <= before + 4096, "{} after {before}", plan.memory_used_bytes());
}

#[tokio::test]
async fn an_error_in_the_data_drops_the_overlay() {
    let mut plan = plan("SELECT name, sum(10 / flag) AS s FROM t GROUP BY name", OutputMode::Update).await;
    step(&mut plan, &[r("a", 1.0, 2)]).await;
    let error = run(&mut plan, &[r("a", 1.0, 1), r("a", 1.0, 0)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert_eq!(step(&mut plan, &[r("a", 1.0, 1)]).await, "a 15.0 | 1/1");
}

#[tokio::test]
async fn state_can_be_looked_at_and_belongs_to_an_operator() {
    let mut plan = plan("SELECT name, sum(flag) AS s FROM t GROUP BY name", OutputMode::Update).await;
    step(&mut plan, BATCHES[0]).await;
    let mut lines = text(&[plan.state_rows("aggregate-0").unwrap()]);
    lines.sort();
    assert_eq!(lines, ["Jill 0 false", "John 1 false"]);
    assert_eq!(plan.state_rows("aggregate-1").unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(plan.snapshot("limit-0").err().unwrap().kind(), ErrorKind::Corrupt);
    let bytes = plan.snapshot("aggregate-0").unwrap().encode().unwrap();
    let mut other = self::plan("SELECT flag, sum(flag) AS s FROM t GROUP BY flag", OutputMode::Update).await;
    assert_eq!(other.restore("aggregate-0", &[bytes]).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn columns_that_nothing_needs_are_not_asked_for() {
    for (sql, expected) in [
        ("SELECT count(*) AS n FROM t", vec![]),
        ("SELECT count(*) AS n FROM t WHERE flag = 1", vec![2]),
        ("SELECT flag FROM (SELECT flag, sum(amount) AS s FROM t GROUP BY flag)", vec![1, 2]),
        ("SELECT count(*) AS n FROM t WHERE 1 = 0", vec![]),
    ] {
        assert_eq!(plan(sql, OutputMode::Update).await.scans()[0].projection, expected, "{sql}");
    }
}

#[tokio::test]
async fn the_static_side_of_a_join_is_read_once() {
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    use datafusion::physical_plan::joins::HashJoinExec;

    let mut plan = plan("SELECT t.name, city FROM t LEFT JOIN u ON t.name = u.name", OutputMode::Append).await;
    for _ in 0..5 {
        step(&mut plan, BATCHES[0]).await;
    }
    let mut rows_built = Vec::new();
    plan.runner
        .plan
        .apply(|node| {
            if node.is::<HashJoinExec>() {
                rows_built.extend(node.metrics().and_then(|m| m.sum_by_name("build_input_rows")).map(|rows| rows.as_usize()));
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .unwrap();
    assert_eq!(rows_built, [3], "{}", plan.explain(WatermarkPolicy::Min));
}

#[tokio::test]
async fn a_static_side_that_asks_for_the_time_has_that_of_each_batch() {
    for sql in [
        "SELECT now FROM t JOIN (SELECT name, unix_micros(current_timestamp()) AS now FROM u) v ON t.name = v.name",
        "SELECT v.name FROM t JOIN (SELECT name FROM u WHERE unix_micros(now()) >= 5) v ON t.name = v.name",
        "SELECT v.name FROM t JOIN (SELECT name FROM u WHERE (SELECT max(unix_micros(now())) FROM u) >= 5) v ON t.name = v.name",
    ] {
        let mut plan = plan(sql, OutputMode::Append).await;
        let mut texts = Vec::new();
        for batch_time_us in [1, 9] {
            let rows = rows(BATCHES[0]);
            let input = BatchInput {
                rows: BTreeMap::from([("t".to_owned(), InputRows::Held(rows))]),
                batch_time_us,
                watermark_ms: 0,
                late_watermark_ms: 0,
                seed: 0,
                calls: None,
            };
            texts.push(text(&plan.run(input).await.unwrap().rows));
            plan.commit();
        }
        assert_ne!(texts[0], texts[1], "{sql}");
    }
}

#[tokio::test]
async fn a_select_takes_each_row_of_the_result_by_itself() {
    let settings = settings(OutputMode::Complete);
    let mut select = ResultPlan::new("SELECT upper(Name) AS N, flag + 1 AS f FROM result WHERE amount > 1", &schema(), &settings)
        .await
        .unwrap();
    assert_eq!(select.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["N", "f"]);
    for _ in 0..2 {
        assert_eq!(text(&select.run(rows(BATCHES[1]), Moment::default()).await.unwrap()), ["JOHN 2"]);
    }
    assert_eq!(select.run(Vec::new(), Moment::default()).await.unwrap()[0].num_columns(), 2);
    for refused in
        ["SELECT count(*) FROM result", "SELECT * FROM result LIMIT 1", "SELECT * FROM result ORDER BY name", "SELECT * FROM t"]
    {
        assert_eq!(ResultPlan::new(refused, &schema(), &settings).await.unwrap_err().kind(), ErrorKind::Config, "{refused}");
    }
}

#[test]
fn plans_can_be_made_and_run_in_any_task() {
    fn check_send<T: Send>(_: &T) {}
    let (catalog, settings) = (Catalog::default(), settings(OutputMode::Append));
    let query = QueryText::Sql("SELECT 1".into());
    let planning = async {
        let mut plan = StreamingPlan::new("q", &query, &catalog, &settings).await?;
        plan.run(BatchInput {
            rows: BTreeMap::new(),
            batch_time_us: 0,
            watermark_ms: 0,
            late_watermark_ms: 0,
            seed: 0,
            calls: None,
        })
        .await
    };
    check_send(&planning);
}

#[tokio::test]
async fn the_only_clock_is_the_time_of_the_batch() {
    let stream = StreamTable { name: "t".into(), schema: schema(), metadata: Vec::new() };
    let catalog = Catalog { streams: vec![stream], ..Catalog::default() };
    let sql = QueryText::Sql("SELECT name, CAST(current_timestamp() AS BIGINT) AS at FROM t".into());
    let mut plan = StreamingPlan::new("q", &sql, &catalog, &settings(OutputMode::Append)).await.unwrap();
    for (seconds, expected) in [(7, "John 7"), (9, "John 9")] {
        let batch = BatchInput { batch_time_us: seconds * 1_000_000, ..input(&plan, &[r("John", 1.0, 1)], &[]) };
        assert_eq!(text(&plan.run(batch).await.unwrap().rows), [expected]);
        plan.commit();
    }
}
