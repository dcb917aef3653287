//! Joins of two streams, batch by batch with restarts and aborted attempts, against a model that looks at one row after the other.

use arrow::array::TimestampMicrosecondArray;
use proptest::prelude::*;

use super::*;
use crate::plan::spark::types;

const MINUTE_US: i64 = 60_000_000;
/// A right row matches up to so many minutes before a left one.
const BEFORE: i64 = 3;
/// And up to so many after it.
const AFTER: i64 = 5;

/// Minute of 1970, key, value.
type Event = (Option<i64>, Option<i64>, i64);

/// The rows of both sides, how far the watermark has moved in minutes, whether the query is restarted before.
type Batch = (Vec<Event>, Vec<Event>, i64, bool);

fn schema_of(side: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(format!("{side}t"), types::timestamp(), true),
        Field::new("k", DataType::Int64, true),
        Field::new(format!("{side}v"), DataType::Int64, true),
    ]))
}

fn page(side: &str, events: &[Event]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter(events.iter().map(|e| e.0.map(|m| m * MINUTE_US))).with_timezone("UTC")),
        Arc::new(events.iter().map(|e| e.1).collect::<Int64Array>()),
        Arc::new(Int64Array::from_iter_values(events.iter().map(|e| e.2))),
    ];
    RecordBatch::try_new(schema_of(side), columns).unwrap()
}

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let event = || (proptest::option::weighted(0.9, 0_i64..60), proptest::option::weighted(0.9, 0_i64..3), 0_i64..100);
    let side = || proptest::collection::vec(event(), 0..6);
    let moved = prop_oneof![Just(0_i64), 0_i64..20];
    proptest::collection::vec((side(), side(), moved, any::<bool>()), 1..8)
}

fn sql(kind: &str) -> String {
    let columns = if kind == "LEFT SEMI" { "lt, l.k, lv" } else { "lt, l.k, lv, rt, r.k, rv" };
    format!(
        "SELECT {columns} FROM l {kind} JOIN r ON l.k = r.k AND rt >= lt - INTERVAL {BEFORE} MINUTES \
         AND rt <= lt + INTERVAL {AFTER} MINUTES AND lv <= rv + 30"
    )
}

async fn planned(kind: &str) -> StreamingPlan {
    let stream = |name: &str| StreamTable { name: name.into(), schema: schema_of(name), metadata: Vec::new() };
    let watermark = |name: &str| (name.to_owned(), Watermark::new(&format!("{name}t"), std::time::Duration::ZERO));
    let catalog = Catalog {
        streams: vec![stream("l"), stream("r")],
        watermarks: BTreeMap::from([watermark("l"), watermark("r")]),
        ..Catalog::default()
    };
    StreamingPlan::new("q", &QueryText::Sql(sql(kind)), &catalog, &settings(OutputMode::Append)).await.unwrap()
}

/// Rows of one side, each with whether it has found a partner.
type Kept = Vec<(Event, bool)>;

/// The join, row by row.
#[derive(Default)]
struct Model {
    kind: &'static str,
    left: Kept,
    right: Kept,
}

fn matches(l: &Event, r: &Event) -> bool {
    let near = matches!((l.0, r.0), (Some(l), Some(r)) if r >= l - BEFORE && r <= l + AFTER);
    near && l.1.is_some() && l.1 == r.1 && l.2 <= r.2 + 30
}

/// A bound that lets the last instant match: a row is over when the watermark is past it.
fn is_over(event: &Event, minutes: i64, watermark: i64) -> bool {
    event.0.is_some_and(|at| at + minutes < watermark)
}

fn cells(event: Option<&Event>) -> String {
    let Some((at, key, value)) = event else { return "NULL NULL NULL".to_owned() };
    let at = at.map_or("NULL".to_owned(), |m| format!("1970-01-01T{:02}:{:02}:00Z", m / 60, m % 60));
    format!("{at} {} {value}", key.map_or("NULL".to_owned(), |key| key.to_string()))
}

impl Model {
    /// The rows that come out, sorted, and what is held, updated, removed and dropped.
    fn run(&mut self, left: &[Event], right: &[Event], watermark: i64, late: i64) -> (Vec<String>, [usize; 4]) {
        let outer = |side: &str| self.kind == side || self.kind == "FULL";
        let (outer_left, outer_right) = (outer("LEFT"), outer("RIGHT"));
        let mut dropped = 0;
        let mut arrive = |events: &[Event], is_outer: bool| {
            let known = events.iter().filter(|e| is_outer || (e.0.is_some() && e.1.is_some()));
            let (late, in_time): (Vec<&Event>, Vec<&Event>) = known.partition(|e| e.0.is_some_and(|at| at <= late));
            dropped += late.len();
            in_time.into_iter().map(|event| (*event, false)).collect::<Kept>()
        };
        let (mut new_left, mut new_right) = (arrive(left, outer_left), arrive(right, outer_right));
        let mut out = Vec::new();
        let (mut updated, mut removed) = (0, 0);
        if self.kind == "LEFT SEMI" {
            let before = self.left.len();
            self.left.retain(|(l, _)| {
                let found = new_right.iter().any(|(r, _)| matches(l, r));
                if found {
                    out.push(cells(Some(l)));
                }
                !found
            });
            removed += before - self.left.len();
            new_right.retain(|(r, _)| !is_over(r, BEFORE, watermark));
            updated += new_right.len();
            self.right.append(&mut new_right);
            new_left.retain(|(l, _)| {
                let found = self.right.iter().any(|(r, _)| matches(l, r));
                if found {
                    out.push(cells(Some(l)));
                }
                !found
            });
            updated += new_left.len();
            self.left.append(&mut new_left);
        } else {
            let mut pair = |lefts: &mut Kept, rights: &mut Kept| {
                for (l, l_matched) in lefts.iter_mut() {
                    for (r, r_matched) in rights.iter_mut().filter(|(r, _)| matches(l, r)) {
                        (*l_matched, *r_matched) = (true, true);
                        out.push(format!("{} {}", cells(Some(l)), cells(Some(r))));
                    }
                }
            };
            pair(&mut new_left, &mut self.right);
            pair(&mut self.left, &mut new_right);
            pair(&mut new_left, &mut new_right);
            new_right.retain(|(r, matched)| !is_over(r, BEFORE, watermark) || (outer_right && !matched));
            updated += new_left.len() + new_right.len();
            self.left.append(&mut new_left);
            self.right.append(&mut new_right);
        }
        let (over, left) = std::mem::take(&mut self.left).into_iter().partition::<Kept, _>(|(l, _)| is_over(l, AFTER, watermark));
        out.extend(
            over.iter().filter(|(_, matched)| outer_left && !matched).map(|(l, _)| format!("{} {}", cells(Some(l)), cells(None))),
        );
        removed += over.len();
        self.left = left;
        let (over, right) =
            std::mem::take(&mut self.right).into_iter().partition::<Kept, _>(|(r, _)| is_over(r, BEFORE, watermark));
        out.extend(
            over.iter()
                .filter(|(_, matched)| outer_right && !matched)
                .map(|(r, _)| format!("{} {}", cells(None), cells(Some(r)))),
        );
        removed += over.len();
        self.right = right;
        out.sort();
        (out, [self.left.len() + self.right.len(), updated, removed, dropped])
    }
}

fn batch_input(plan: &StreamingPlan, left: &[Event], right: &[Event], watermark: i64, late: i64) -> BatchInput {
    let rows = plan.scans().iter().map(|scan| {
        let all = if scan.source == "l" { page("l", left) } else { page("r", right) };
        (scan.source.clone(), [all.project(&scan.projection).unwrap()].into_iter().collect())
    });
    let (watermark_ms, late_watermark_ms) = (watermark * 60_000, late * 60_000);
    BatchInput { rows: rows.collect(), batch_time_us: 0, watermark_ms, late_watermark_ms, seed: 0, calls: None }
}

async fn agrees(kind: &'static str, batches: &[Batch]) -> Result<(), TestCaseError> {
    let mut model = Model { kind, ..Model::default() };
    let mut plan = planned(kind).await;
    let mut logs: BTreeMap<String, Vec<Bytes>> = BTreeMap::new();
    let (mut watermark, mut late) = (0, 0);
    for (number, (left, right, moved, restarts)) in batches.iter().enumerate() {
        if *restarts {
            plan = planned(kind).await;
            for (operator, log) in &logs {
                plan.restore(operator, log).unwrap();
            }
            let attempt = batch_input(&plan, right, left, watermark + 7, late);
            plan.run(attempt).await.unwrap();
            plan.abort();
        }
        let output = plan.run(batch_input(&plan, left, right, watermark, late)).await.unwrap();
        let mut lines = text(&output.rows);
        lines.sort();
        let [join] = &output.operators[..] else { panic!("one operator") };
        let counts = [join.num_rows_total, join.num_rows_updated, join.num_rows_removed, join.num_rows_dropped_by_watermark]
            .map(|n| n as usize);
        prop_assert_eq!((lines, counts), model.run(left, right, watermark, late), "{} in batch {}", kind, number);
        for (operator, bytes) in output.state {
            logs.entry(operator).or_default().push(bytes);
        }
        plan.commit();
        plan.close();
        if number % 3 == 2 {
            for (operator, log) in &mut logs {
                *log = vec![plan.snapshot(operator).unwrap().encode().unwrap()];
            }
        }
        (late, watermark) = (watermark, watermark + moved);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn every_kind_of_join_does_what_the_model_does(batches in batches()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for kind in ["INNER", "LEFT", "RIGHT", "FULL", "LEFT SEMI"] {
            runtime.block_on(agrees(kind, &batches))?;
        }
    }
}

/// One key with so many rows that looking at all of them for each would not end.
#[tokio::test]
async fn a_hot_key_is_forgotten_at_the_cost_of_what_is_forgotten() {
    let mut plan = planned("LEFT").await;
    let events: Vec<Event> = (0..60_000).map(|n| (Some(n / 2_000), Some(1), n)).collect();
    let output = plan.run(batch_input(&plan, &events, &[], 0, 0)).await.unwrap();
    assert_eq!(output.operators[0].num_rows_total, 58_000, "those of the first minute are late");
    plan.commit();
    let output = plan.run(batch_input(&plan, &[(Some(100), Some(2), 0)], &[], 90, 0)).await.unwrap();
    assert_eq!(output.rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 58_000);
    assert_eq!((output.operators[0].num_rows_total, output.operators[0].num_rows_removed), (1, 58_000));
    plan.commit();
    let numbers = plan.state_rows("join-0-left").unwrap();
    assert_eq!(numbers.num_rows(), 1);
}
