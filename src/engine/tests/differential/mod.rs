//! Random queries over random streams, cut into random batches and broken off anywhere: what comes out of the engine in the end is
//! what the same SQL puts out once over all rows that were not late.
//!
//! A failure prints the case and its seed; `TIDEMILL_SEED=<seed> cargo test -p tidemill --lib <test>` runs that case alone.

mod join;
mod model;
mod oracle;
mod question;
mod run;
mod stream;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::model::{Expected, ModelBatch};
use self::oracle::Oracle;
use self::question::{Kind, Question, ResultRows};
use self::run::{Outcome, Plans};
use self::stream::Stream;
use crate::plan::OutputMode;

/// The streams of a question.
const SOURCES: [&str; 2] = ["e", "f"];
/// Streams that each question is asked over: planning takes longer than running.
const STREAMS: u64 = 16;

/// Asks `questions` of a kind, or the one that `TIDEMILL_SEED` says.
fn check(kind: Kind, questions: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, count) = match std::env::var("TIDEMILL_SEED") {
        Ok(seed) => (seed.parse().expect("TIDEMILL_SEED is a number"), 1),
        Err(_) => (rand::rng().random_range(0..1 << 40) * STREAMS, questions * STREAMS),
    };
    let mut asked: Option<(u64, Question, Oracle, Plans)> = None;
    for seed in first..first + count {
        let number = seed / STREAMS;
        if asked.as_ref().is_none_or(|(of, ..)| *of != number) {
            let question = Question::draw(&mut StdRng::seed_from_u64(number), kind);
            let oracle = runtime.block_on(Oracle::new(&question));
            asked = Some((number, question, oracle, Plans::new()));
        }
        let Some((_, question, oracle, plans)) = &mut asked else { unreachable!("it was just set") };
        let stream = Stream::draw(&mut StdRng::seed_from_u64(!seed), question);
        let batches = model::batches(question, &stream);
        let case = runtime.block_on(async {
            let expected = model::expected(question, &batches, oracle).await;
            // Every start of the first stream plans anew; those of the others use one plan again, without its state.
            let is_first = seed % STREAMS == 0;
            let ran = AssertUnwindSafe(run::run(question, &stream, plans, is_first)).catch_unwind().await;
            ran.map_err(|_| "the run panicked".to_owned()).and_then(|outcome| compare(question, &expected, &outcome))
        });
        if let Err(what) = case {
            let watermarks: Vec<_> = batches.iter().map(watermarks_of).collect();
            panic!(
                "TIDEMILL_SEED={seed} ({kind:?})\n{question}{stream}batches, by late and ending watermark: {}\n{what}",
                watermarks.join(" ")
            );
        }
    }
}

fn watermarks_of(batch: &ModelBatch) -> String {
    let rows: usize = batch.rows.iter().map(Vec::len).sum();
    let time =
        |ms| chrono::DateTime::from_timestamp_millis(ms).map_or_else(String::new, |time| time.format("%dT%T%.f").to_string());
    format!("{rows} rows ({}, {})", time(batch.late_watermark_ms), time(batch.watermark_ms))
}

fn compare(question: &Question, expected: &Expected, outcome: &Outcome) -> Result<(), String> {
    let by_batch: Vec<Vec<String>> = outcome.rows.iter().map(|batch| batch.iter().flat_map(oracle::lines).collect()).collect();
    let mut rows = match (question.mode, question.result) {
        (OutputMode::Complete, _) => by_batch.last().cloned().unwrap_or_default(),
        (OutputMode::Update, ResultRows::Groups(keys) | ResultRows::Ending(keys)) => {
            let key = |row: &String| row.split(' ').take(keys).map(str::to_owned).collect::<Vec<_>>();
            let last: BTreeMap<_, _> = by_batch.iter().flatten().map(|row| (key(row), row.clone())).collect();
            last.into_values().collect()
        }
        _ => by_batch.concat(),
    };
    rows.sort();
    if rows != expected.rows {
        return Err(format!("{}\ngot, batch by batch: {by_batch:#?}", difference(&expected.rows, &rows)));
    }
    if let Some(rows_late) = expected.rows_late
        && rows_late != outcome.rows_late
    {
        return Err(format!("{} rows were late, {rows_late} should be", outcome.rows_late));
    }
    for (kind, rows) in &expected.state {
        if outcome.state.get(*kind) != Some(rows) {
            return Err(format!("{rows} rows of {kind} should be left: {:?}", outcome.state));
        }
    }
    Ok(())
}

fn difference(expected: &[String], got: &[String]) -> String {
    let mut counts: BTreeMap<&String, i64> = BTreeMap::new();
    expected.iter().for_each(|row| *counts.entry(row).or_default() += 1);
    got.iter().for_each(|row| *counts.entry(row).or_default() -= 1);
    let lines = counts.iter().filter(|(_, count)| **count != 0);
    let lines: Vec<_> = lines.map(|(row, count)| format!("{} {row}", if *count > 0 { "missing" } else { "too much" })).collect();
    lines.join("\n")
}

#[test]
fn windows_and_times_over_batches_are_those_over_all_rows_in_time() {
    check(Kind::Groups, 40);
}

#[test]
fn what_is_new_over_batches_is_what_is_new_row_by_row() {
    check(Kind::Deduplication, 30);
}

#[test]
fn windows_over_windows_and_sources_and_tables_are_those_over_all_rows_in_time() {
    check(Kind::Chains, 35);
}

#[test]
fn sessions_over_batches_are_those_of_rows_taken_in_one_by_one() {
    check(Kind::Sessions, 25);
}

#[test]
fn joins_of_streams_over_batches_are_the_pairs_of_rows_in_time() {
    check(Kind::Joins, 25);
}
