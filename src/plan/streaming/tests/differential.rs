//! Random streams, cut into random batches and restarted anywhere, against a model that looks at each row by itself.

use std::collections::BTreeSet;

use arrow::array::TimestampMicrosecondArray;
use proptest::prelude::*;

use super::*;
use crate::plan::Deduplication;
use crate::plan::spark::types;
use crate::watermark::{Tracker, WatermarkPolicy};

const MINUTE_US: i64 = 60_000_000;

/// Minute of 1970 (if it has a time), key, value.
type Event = (Option<i64>, u8, i64);

fn schema_of_events() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", types::timestamp(), true),
        Field::new("k", DataType::Int64, true),
        Field::new("v", DataType::Int64, true),
    ]))
}

fn page(events: &[Event]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter(events.iter().map(|e| e.0.map(|m| m * MINUTE_US))).with_timezone("UTC")),
        Arc::new(Int64Array::from_iter_values(events.iter().map(|e| i64::from(e.1)))),
        Arc::new(Int64Array::from_iter_values(events.iter().map(|e| e.2))),
    ];
    RecordBatch::try_new(schema_of_events(), columns).unwrap()
}

/// A batch, and whether the query is restarted before it.
type Batch = (Vec<Event>, bool);

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let event = (proptest::option::weighted(0.95, 0_i64..150), 0_u8..3, 0_i64..100);
    proptest::collection::vec((proptest::collection::vec(event, 0..6), any::<bool>()), 1..8)
}

/// What a query puts out over all batches and those without rows that follow, with the watermarks of each batch.
async fn collected(sql: &str, delay_minutes: i64, deduplicate: Option<Deduplication>, batches: &[Batch]) -> Vec<String> {
    let stream = StreamTable { name: "e".into(), schema: schema_of_events(), metadata: Vec::new() };
    let watermark = Watermark::new("ts", std::time::Duration::from_secs(delay_minutes as u64 * 60));
    let catalog = Catalog {
        streams: vec![stream],
        watermarks: BTreeMap::from([("e".to_owned(), watermark)]),
        deduplications: deduplicate.into_iter().map(|deduplicate| ("e".to_owned(), deduplicate)).collect(),
        ..Catalog::default()
    };
    let query = QueryText::Sql(sql.to_owned());
    let settings = settings(OutputMode::Append);
    let mut plan = StreamingPlan::new("q", &query, &catalog, &settings).await.unwrap();
    let mut tracker = Tracker::new(WatermarkPolicy::Min, plan.watermarks(), 0, None);
    let (mut watermark_ms, mut late_watermark_ms) = (0, 0);
    let mut logs: BTreeMap<String, Vec<Bytes>> = BTreeMap::new();
    let mut lines = Vec::new();
    for number in 0.. {
        let (events, restarts) = match batches.get(number) {
            Some((events, restarts)) => (events.as_slice(), *restarts),
            None if watermark_ms > late_watermark_ms => (&[][..], false),
            None => break,
        };
        if restarts {
            plan = StreamingPlan::new("q", &query, &catalog, &settings).await.unwrap();
            for (operator, log) in &logs {
                plan.restore(operator, log).unwrap();
            }
        }
        let rows = page(events);
        let input = || {
            let rows = plan
                .scans()
                .iter()
                .map(|scan| (scan.source.clone(), [rows.project(&scan.projection).unwrap()].into_iter().collect()));
            BatchInput { rows: rows.collect(), batch_time_us: 0, watermark_ms, late_watermark_ms, seed: 0, calls: None }
        };
        let (abandoned, input) = (input(), input());
        plan.run(abandoned).await.unwrap();
        plan.abort();
        let output = plan.run(input).await.unwrap();
        plan.commit();
        plan.close();
        for (operator, bytes) in output.state {
            logs.entry(operator).or_default().push(bytes);
        }
        lines.extend(text(&output.rows));
        tracker.observe(&output.event_time.observed, 0);
        (late_watermark_ms, watermark_ms) = (watermark_ms, watermark_ms.max(tracker.reached_ms()));
    }
    lines.sort();
    lines
}

/// Per batch of rows, in minutes: the watermark by which state ends, and that by which rows are late.
fn watermarks(delay: i64, batches: &[Batch]) -> Vec<(i64, i64)> {
    let (mut now, mut before, mut latest) = (0, 0, None::<i64>);
    let mut all = Vec::new();
    for (events, _) in batches {
        all.push((now, before));
        latest = latest.max(events.iter().map(|event| event.0.unwrap_or(0)).max());
        (before, now) = (now, now.max(latest.map_or(0, |latest| latest - delay)));
    }
    all
}

/// Start of a window and key, with the count and sum of the rows that were not late for it.
fn model_of_windows(size: i64, slide: i64, delay: i64, batches: &[Batch]) -> Vec<String> {
    let mut windows: BTreeMap<(i64, u8), (i64, i64)> = BTreeMap::new();
    for ((events, _), (_, late)) in batches.iter().zip(watermarks(delay, batches)) {
        for (time, key, value) in events {
            let Some(time) = time else { continue };
            let mut start = time.div_euclid(slide) * slide;
            while start + size > *time {
                if start + size > late {
                    let entry = windows.entry((start, *key)).or_default();
                    *entry = (entry.0 + 1, entry.1 + value);
                }
                start -= slide;
            }
        }
    }
    // The row that closes all others has a key of its own.
    windows.retain(|(_, key), _| *key != CLOSING_KEY);
    let mut lines: Vec<String> =
        windows.into_iter().map(|((start, key), (count, sum))| format!("{start} {key} {count} {sum}")).collect();
    lines.sort();
    lines
}

/// Row by row: key and value of those that are neither late nor repeated while their key is remembered.
fn model_of_deduplication(delay: i64, batches: &[Batch]) -> Vec<String> {
    let mut until: BTreeMap<u8, i64> = BTreeMap::new();
    let mut lines = Vec::new();
    for ((events, _), (now, late)) in batches.iter().zip(watermarks(delay, batches)) {
        for (time, key, value) in events {
            let is_late = time.is_some_and(|time| time <= late);
            if !is_late && !until.contains_key(key) {
                until.insert(*key, time.unwrap_or(0) + delay);
                lines.push(format!("{key} {value}"));
            }
        }
        until.retain(|_, until| *until > now);
    }
    lines.sort();
    lines
}

/// Start, end and key of a session, with the count and sum of its rows, each taken in by itself.
fn model_of_sessions(gap_of: impl Fn(i64) -> i64, delay: i64, batches: &[Batch]) -> Vec<String> {
    let mut open: Vec<(u8, i64, i64, i64, i64)> = Vec::new();
    let mut ended = Vec::new();
    for ((events, _), (now, late)) in batches.iter().zip(watermarks(delay, batches)) {
        for (time, key, value) in events {
            let (Some(time), gap) = (time, gap_of(*value)) else { continue };
            if gap <= 0 || time + gap <= late {
                continue;
            }
            let mut session = (*key, *time, time + gap, 1, *value);
            let touches = |a: &(u8, i64, i64, i64, i64), b: &(u8, i64, i64, i64, i64)| a.0 == b.0 && a.1 <= b.2 && b.1 <= a.2;
            while let Some(at) = open.iter().position(|other| touches(&session, other)) {
                let other = open.swap_remove(at);
                session.1 = session.1.min(other.1);
                session.2 = session.2.max(other.2);
                session.3 += other.3;
                session.4 += other.4;
            }
            open.push(session);
        }
        ended.extend(open.extract_if(.., |session| session.2 <= now));
    }
    // The row that closes all others has a key of its own.
    ended.extend(open.into_iter().filter(|session| session.0 != CLOSING_KEY));
    let mut lines: Vec<String> =
        ended.into_iter().map(|(key, start, end, count, sum)| format!("{start} {end} {key} {count} {sum}")).collect();
    lines.sort();
    lines
}

const CLOSING_KEY: u8 = 9;

fn closed(mut batches: Vec<Batch>) -> Vec<Batch> {
    batches.push((vec![(Some(100_000), CLOSING_KEY, 0)], false));
    batches
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn windows_over_batches_are_windows_over_all_rows_in_time(
        batches in batches(), (size, slide) in prop_oneof![Just((10, 10)), Just((10, 5)), Just((10, 4))], delay in prop_oneof![Just(0), Just(5), Just(30)]
    ) {
        let batches = closed(batches);
        let sql = format!(
            "SELECT unix_seconds(window.start) DIV 60, k, count(*), sum(v) FROM e GROUP BY window(ts, '{size} minutes', '{slide} minutes'), k"
        );
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let got = runtime.block_on(collected(&sql, delay, None, &batches));
        prop_assert_eq!(got, model_of_windows(size, slide, delay, &batches));
    }

    #[test]
    fn sessions_over_batches_are_those_of_rows_taken_in_one_by_one(
        batches in batches(), per_row in any::<bool>(), delay in prop_oneof![Just(0), Just(5), Just(30), Just(100)]
    ) {
        let batches = closed(batches);
        let gap = if per_row { "concat(v % 13, ' minutes')" } else { "'5 minutes'" };
        let sql = format!(
            "SELECT unix_seconds(session_window.start) DIV 60, unix_seconds(session_window.end) DIV 60, k, count(*), sum(v) FROM e \
             GROUP BY session_window(ts, {gap}), k"
        );
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let got = runtime.block_on(collected(&sql, delay, None, &batches));
        prop_assert_eq!(got, model_of_sessions(|value| if per_row { value % 13 } else { 5 }, delay, &batches));
    }

    #[test]
    fn deduplication_over_batches_is_that_of_the_model(batches in batches(), delay in prop_oneof![Just(0), Just(5), Just(30)]) {
        let deduplicate = Deduplication { by: vec!["k".to_owned()], within_watermark: true };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let got = runtime.block_on(collected("SELECT k, v FROM e", delay, Some(deduplicate), &batches));
        prop_assert_eq!(got, model_of_deduplication(delay, &batches));
    }

    #[test]
    fn distinct_rows_come_out_once_when_their_time_ends(batches in batches(), delay in prop_oneof![Just(0), Just(5)]) {
        let batches = closed(batches);
        let mut seen = BTreeSet::new();
        for ((events, _), (_, late)) in batches.iter().zip(watermarks(delay, &batches)) {
            seen.extend(events.iter().filter_map(|(time, key, _)| Some(((*time)?, *key))).filter(|(time, key)| *time > late && *key != CLOSING_KEY));
        }
        let mut expected: Vec<String> = seen.into_iter().map(|(time, key)| format!("{time} {key}")).collect();
        expected.sort();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let sql = "SELECT unix_seconds(ts) DIV 60, k FROM (SELECT DISTINCT ts, k FROM e)";
        let mut got = runtime.block_on(collected(sql, delay, None, &batches));
        // Without a delay the closing row ends with itself.
        got.retain(|line| !line.ends_with(&format!(" {CLOSING_KEY}")));
        prop_assert_eq!(got, expected);
    }
}
