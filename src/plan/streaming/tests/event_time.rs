//! Watermarks and windows in plans: what moves a watermark, and which columns are event times.

use arrow::array::TimestampMicrosecondArray;

use super::*;
use crate::plan::event_time::event_column;
use crate::plan::spark::types;

const MINUTE_US: i64 = 60_000_000;

fn timed() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", types::timestamp(), true),
        Field::new("k", DataType::Utf8, true),
        Field::new("v", DataType::Int64, true),
    ]))
}

/// The stream `e` with a watermark 5 minutes behind `ts`, and `n` without one.
fn catalog() -> Catalog {
    let stream = |name: &str| StreamTable { name: name.into(), schema: timed(), metadata: Vec::new() };
    let watermark = Watermark::new("ts", std::time::Duration::from_secs(300));
    Catalog {
        streams: vec![stream("e"), stream("n")],
        watermarks: BTreeMap::from([("e".to_owned(), watermark)]),
        ..Catalog::default()
    }
}

async fn planned(sql: &str, mode: OutputMode) -> Result<StreamingPlan> {
    StreamingPlan::new("q", &QueryText::Sql(sql.to_owned()), &catalog(), &settings(mode)).await
}

/// Runs a batch of rows with these minutes and values; `k` is always `a`.
async fn run_batch(plan: &mut StreamingPlan, batch: &[(Option<i64>, i64)]) -> BatchOutput {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter(batch.iter().map(|(m, _)| m.map(|m| m * MINUTE_US))).with_timezone("UTC")),
        Arc::new(StringArray::from_iter_values(batch.iter().map(|_| "a"))),
        Arc::new(Int64Array::from_iter_values(batch.iter().map(|(_, v)| *v))),
    ];
    let all = RecordBatch::try_new(timed(), columns).unwrap();
    let rows =
        plan.scans().iter().map(|scan| (scan.source.clone(), [all.project(&scan.projection).unwrap()].into_iter().collect()));
    let input =
        BatchInput { rows: rows.collect(), batch_time_us: 0, watermark_ms: 0, late_watermark_ms: 0, seed: 0, calls: None };
    let output = plan.run(input).await.unwrap();
    plan.commit();
    output
}

#[tokio::test]
async fn rows_that_a_condition_leaves_out_move_the_watermark_only_if_it_is_on_the_event_time() {
    let batch = [(Some(10), 1), (Some(20), 2), (Some(30), 0)];
    for (sql, latest) in [
        ("SELECT k FROM e", 30),
        ("SELECT k FROM e WHERE v = 1", 10),
        ("SELECT k FROM e WHERE v + 1 = 2", 10),
        ("SELECT k FROM (SELECT k, v AS w FROM e) WHERE w + 1 = 2", 10),
        ("SELECT k FROM (SELECT k, v AS w, ts FROM e WHERE v > 0) WHERE w + 1 = 2", 10),
        ("SELECT k FROM e WHERE ts < timestamp'1970-01-01 00:15:00'", 30),
        // What stands before a condition that can fail protects it, so it stays behind.
        ("SELECT k FROM e WHERE ts < timestamp'1970-01-01 00:25:00' AND 2 / v > 1", 30),
        ("SELECT k FROM e WHERE v > 0 AND ts > timestamp'1970-01-01 00:15:00'", 20),
    ] {
        let mut plan = planned(sql, OutputMode::Append).await.unwrap();
        let seen = run_batch(&mut plan, &batch).await.event_time.observed["e"];
        assert_eq!(seen.max_ms, latest * 60_000, "{sql}\n{}", plan.explain(WatermarkPolicy::Min));
    }
}

#[tokio::test]
async fn a_null_counts_as_1970_and_every_use_of_a_stream_sees_its_rows() {
    let mut plan =
        planned("SELECT v FROM e UNION ALL SELECT v FROM n UNION ALL SELECT v FROM e", OutputMode::Append).await.unwrap();
    let output = run_batch(&mut plan, &[(None, 1), (Some(10), 2)]).await;
    assert_eq!(output.rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 6);
    let seen = output.event_time.observed["e"];
    assert_eq!((seen.min_ms, seen.max_ms, seen.sum_ms, seen.rows), (0, 600_000, 1_200_000, 4));
}

#[test]
fn event_times_are_handed_on_as_spark_hands_them_on() {
    let has = |sql: &str| {
        let planned = plan_query(sql, &catalog(), &settings(OutputMode::Update)).unwrap();
        event_column(&planned.plan, 0).is_some()
    };
    for sql in [
        "SELECT ts FROM e",
        "SELECT t FROM (SELECT ts AS t, k FROM e WHERE v > 1)",
        "SELECT window(ts, '1 hour') FROM e",
        "SELECT window(ts, '1 hour', '20 minutes') AS w FROM e",
        "SELECT window_time(w) FROM (SELECT window(ts, '1 hour') AS w FROM e)",
        "SELECT window(w, '2 hours') FROM (SELECT window(ts, '1 hour') AS w FROM e)",
        "SELECT w FROM (SELECT window(ts, '1 hour') AS w, count(*) FROM e GROUP BY window(ts, '1 hour'))",
        "SELECT window, k FROM (SELECT window, k, count(*) FROM e GROUP BY ROLLUP(window(ts, '1 hour'), k))",
        "SELECT session_window(ts, '5 minutes') FROM e",
        "SELECT w FROM (SELECT session_window AS w, count(*) FROM e GROUP BY session_window(ts, '5 minutes'), k)",
        "SELECT window_time(w) FROM (SELECT session_window(ts, k) AS w FROM e)",
        "SELECT session_window(w, '1 hour') FROM (SELECT session_window(ts, '5 minutes') AS w FROM e)",
        "SELECT DISTINCT ts, k FROM e",
        "SELECT ts FROM (SELECT ts FROM e UNION ALL SELECT ts FROM n)",
    ] {
        assert!(has(sql), "{sql}");
    }
    for sql in [
        "SELECT k FROM e",
        "SELECT ts FROM n",
        "SELECT CAST(ts AS DATE) FROM e",
        "SELECT date_trunc('hour', ts) FROM e",
        "SELECT window(ts, '1 hour').start FROM e",
        "SELECT session_window(ts, '5 minutes').end FROM e",
        "SELECT session_window(ts, '5 minutes') FROM n",
        "SELECT window(ts, '1 hour') FROM n",
        "SELECT window(date_trunc('minute', ts), '1 hour') FROM e",
        "SELECT max(ts) FROM e GROUP BY k",
        "SELECT ts FROM (SELECT ts FROM n UNION ALL SELECT ts FROM e)",
    ] {
        assert!(!has(sql), "{sql}");
    }
}

#[tokio::test]
async fn rows_without_a_time_are_in_no_window_and_others_in_all_of_theirs() {
    let mut plan = planned(
        "SELECT unix_seconds(window(ts, '10 minutes', '4 minutes', '1 minute').start) DIV 60, window.end, v FROM n",
        OutputMode::Append,
    )
    .await
    .unwrap();
    let output = run_batch(&mut plan, &[(Some(7), 1), (None, 2), (Some(-1), 3)]).await;
    assert_eq!(
        text(&output.rows),
        ["5 1970-01-01T00:15:00Z 1", "1 1970-01-01T00:11:00Z 1", "-3 1970-01-01T00:07:00Z 3", "-7 1970-01-01T00:03:00Z 3",]
    );
}

#[tokio::test]
async fn windows_are_refused_where_spark_refuses_them() {
    for (window, condition) in [
        ("window(ts, '0 minutes')", "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE"),
        ("window(ts, '-1 minutes')", "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE"),
        ("window(ts, '10 minutes', '0 minutes')", "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE"),
        ("window(ts, '10 minutes', '20 minutes')", "DATATYPE_MISMATCH.PARAMETER_CONSTRAINT_VIOLATION"),
        ("window(ts, '10 minutes', '5 minutes', '5 minutes')", "DATATYPE_MISMATCH.PARAMETER_CONSTRAINT_VIOLATION"),
        ("window(ts, '10 minutes', '5 minutes', '-6 minutes')", "DATATYPE_MISMATCH.PARAMETER_CONSTRAINT_VIOLATION"),
        ("window(ts, '1 month')", "_LEGACY_ERROR_TEMP_3231"),
        ("window(ts, 'bogus')", "CANNOT_PARSE_INTERVAL"),
        ("window(ts, k)", "_LEGACY_ERROR_TEMP_1207"),
        ("window(ts, NULL)", "_LEGACY_ERROR_TEMP_1207"),
        ("window(ts, INTERVAL 10 MINUTES)", "_LEGACY_ERROR_TEMP_1207"),
        ("window(v, '10 minutes')", "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE"),
        ("window(struct(ts), '10 minutes')", "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE"),
        ("window_time(ts)", "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE"),
        ("window(ts)", "WRONG_NUM_ARGS.WITHOUT_SUGGESTION"),
        ("window(ts, '1 day'), window(ts, '2 days')", "_LEGACY_ERROR_TEMP_1039"),
        ("window(ts, '1 day'), session_window(ts, '2 days')", "_LEGACY_ERROR_TEMP_1039"),
        ("session_window(ts, '5 minuets')", "CANNOT_PARSE_INTERVAL"),
        ("session_window(ts, '')", "CANNOT_PARSE_INTERVAL"),
        ("session_window(ts, 300)", "_LEGACY_ERROR_TEMP_1040"),
        ("session_window(ts, INTERVAL 5 MINUTES)", "_LEGACY_ERROR_TEMP_1040"),
        ("session_window(v, '10 minutes')", "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE"),
        ("session_window(ts)", "WRONG_NUM_ARGS.WITHOUT_SUGGESTION"),
    ] {
        let error = planned(&format!("SELECT {window} FROM n"), OutputMode::Append).await.unwrap_err();
        assert_eq!((error.kind(), error.condition()), (ErrorKind::Config, Some(condition)), "{window}: {error}");
    }
    for window in ["window(a.ts, '1 day')", "session_window(a.ts, '1 day')"] {
        let sql = format!("SELECT a.k FROM n a JOIN n b ON a.k = b.k AND {window}.start IS NULL");
        let elsewhere = planned(&sql, OutputMode::Append).await.unwrap_err();
        assert_eq!(elsewhere.condition(), Some("UNSUPPORTED_EXPR_FOR_OPERATOR"));
    }
}

#[tokio::test]
async fn sessions_are_refused_where_there_could_be_none() {
    let alone = "SELECT count(*) FROM e GROUP BY session_window(ts, '5 minutes')";
    for mode in [OutputMode::Append, OutputMode::Complete] {
        let error = planned(alone, mode).await.unwrap_err();
        assert_eq!(error.message(), "Global aggregation with session window in streaming query is not supported.");
    }
    let sets = "SELECT k, count(*) FROM e GROUP BY ROLLUP(session_window(ts, '5 minutes'), k)";
    let error = planned(sets, OutputMode::Complete).await.unwrap_err();
    assert!(error.message().contains("must be in all grouping sets"), "{error}");
    let settings = PlanSettings { scope: Scope::MicroBatch, ..settings(OutputMode::Append) };
    let query = QueryText::Sql("SELECT k, count(*) FROM e GROUP BY session_window(ts, '5 minutes'), k".to_owned());
    let error = StreamingPlan::new("q", &query, &catalog(), &settings).await.unwrap_err();
    assert_eq!((error.kind(), error.message().contains("micro_batch")), (ErrorKind::Config, true), "{error}");
    let over_table = "SELECT n.k FROM n JOIN (SELECT city, count(*) FROM u GROUP BY session_window(current_timestamp(), '1 day'), city) ON k = city";
    let catalog = Catalog { tables: vec![users()], ..catalog() };
    let query = QueryText::Sql(over_table.to_owned());
    let error = StreamingPlan::new("q", &query, &catalog, &self::settings(OutputMode::Append)).await.unwrap_err();
    assert!(error.message().contains("not supported over a table"), "{error}");
}

#[tokio::test]
async fn a_checkpoint_knows_the_gap_of_its_sessions() {
    let fingerprint = async |gap: &str, list: &str| {
        let sql = format!("SELECT {list} FROM e GROUP BY session_window(ts, {gap}), k");
        planned(&sql, OutputMode::Append).await.unwrap().fingerprints()
    };
    let known = fingerprint("'5 minutes'", "k, count(*)").await;
    assert_eq!(fingerprint("'300 seconds'", "count(*) AS n, session_window.end").await, known);
    assert_ne!(fingerprint("'6 minutes'", "k, count(*)").await, known);
    assert_ne!(fingerprint("'1 month'", "k, count(*)").await, known);
    assert_ne!(fingerprint("k", "k, count(*)").await, known);
}

#[tokio::test]
async fn windows_are_named_and_typed_as_spark_names_them() {
    for (list, columns) in [
        ("window(ts, '10 minutes')", "window struct<start:timestamp,end:timestamp>"),
        ("window(k, 600000000)", "window struct<start:timestamp,end:timestamp>"),
        ("window(ts, '10 minutes').start, window(ts, '10 minutes').END", "window.start timestamp, window.END timestamp"),
        ("*, window(ts, '1 day 2 hours').start AS s", "ts timestamp, k string, v bigint, s timestamp"),
        ("window_time(window(ts, '0.5 seconds'))", "window_time(window) timestamp"),
        ("session_window(ts, '5 minutes')", "session_window struct<start:timestamp,end:timestamp>"),
        ("session_window(ts, k).start, v", "session_window.start timestamp, v bigint"),
        ("date_trunc('minute', window(ts, '1 day').start)", "date_trunc(minute, window.start) timestamp"),
    ] {
        let plan = planned(&format!("SELECT {list} FROM n"), OutputMode::Append).await.unwrap();
        let fields = plan
            .schema()
            .fields()
            .iter()
            .map(|f| format!("{} {}", f.name(), types::spark_name(f.data_type())))
            .collect::<Vec<_>>();
        assert_eq!(fields.join(", "), columns, "{list}");
    }
    let grouped = "SELECT window.start, window.end, window, count(*) FROM n GROUP BY window(ts, '10 minutes') HAVING window.start IS NOT NULL";
    let plan = planned(grouped, OutputMode::Update).await.unwrap();
    let names = plan.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    assert_eq!(names, ["start", "end", "window", "count(1)"]);
}
