//! What a person who looks on may see beside counts: the newest rows of each sink, samples of malformed lines, and the plan.
//!
//! A batch leaves a few rows here as they are; they become text when somebody asks. What is kept is bounded in rows and bytes, and
//! with `service.show_rows: false` there is nothing.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use serde::Serialize;
use serde_json::{Value, json};

use crate::format::Malformed;
use crate::format::json::write::{WriteOptions, write_value};

/// Rows of a sink, and malformed lines, that are kept.
const ROWS_MAX: usize = 20;
/// Malformed lines that one batch leaves.
pub(super) const SAMPLES_PER_BATCH: usize = 8;
/// What one batch's rows of a sink may keep alive, in bytes.
const BYTES_MAX: usize = 64 << 10;
/// Columns, and characters of a value, that are shown.
const COLUMNS_MAX: usize = 40;
const VALUE_CHARS_MAX: usize = 200;

/// What may be seen of one query.
#[derive(Debug, Default)]
pub struct Glance(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    plan: Option<Arc<Value>>,
    time_zone: Arc<str>,
    results: BTreeMap<String, VecDeque<Shown>>,
    malformed: VecDeque<Arc<Sample>>,
    version: u64,
}

/// What one batch gave to a sink, or the end of it.
#[derive(Debug, Clone)]
struct Shown {
    batch: u64,
    rows: RecordBatch,
}

/// A malformed line, as much of it as is shown.
#[derive(Debug, Serialize)]
pub struct Sample {
    /// The batch that read it.
    pub batch: u64,
    /// Where it came from.
    pub source: String,
    /// File or connection.
    pub origin: String,
    /// Byte position there, or the record's offset.
    pub position: u64,
    /// The top-level field that was wrong, where one was.
    pub field: Option<String>,
    /// Why.
    pub reason: String,
    /// The line, cut, with control characters escaped.
    pub line: String,
}

/// What a batch leaves to be seen once it is committed.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    rows: Vec<(String, RecordBatch)>,
    samples: Vec<Arc<Sample>>,
}

impl Leaves {
    /// Keeps the last rows of what `sink` was given.
    pub(super) fn rows(&mut self, sink: &str, rows: &[RecordBatch]) {
        if let Some(last) = rows.iter().rfind(|rows| rows.num_rows() > 0) {
            self.rows.extend(last_of(last).map(|kept| (sink.to_owned(), kept)));
        }
    }

    /// Keeps the first malformed lines of a source.
    pub(super) fn malformed(&mut self, batch: u64, source: &str, lines: &[Malformed]) {
        let samples = lines.iter().take(SAMPLES_PER_BATCH).map(|line| Sample {
            batch,
            source: source.to_owned(),
            origin: plain(&line.origin),
            position: line.position,
            field: line.field.as_deref().map(plain),
            reason: plain(&line.reason),
            line: plain(&String::from_utf8_lossy(&line.raw)),
        });
        self.samples.extend(samples.map(Arc::new));
    }
}

/// The last rows of `rows`, without keeping more in memory for them than is worth it.
fn last_of(rows: &RecordBatch) -> Option<RecordBatch> {
    let count = rows.num_rows().min(ROWS_MAX);
    let start = rows.num_rows() - count;
    if rows.get_array_memory_size() <= BYTES_MAX {
        return Some(rows.slice(start, count));
    }
    // A slice would keep the whole batch.
    let mut from = start as u64;
    while from < rows.num_rows() as u64 {
        let indexes: UInt64Array = (from..rows.num_rows() as u64).collect();
        let copied = take_record_batch(rows, &indexes).ok()?;
        if copied.get_array_memory_size() <= BYTES_MAX {
            return Some(copied);
        }
        // Half as many.
        from = rows.num_rows() as u64 - indexes.len() as u64 / 2;
    }
    None
}

impl Glance {
    /// Counts what has changed.
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// The query's plan as a tree of `name`, `detail` and `inputs`; `null` until it has one.
    pub fn plan(&self) -> Arc<Value> {
        self.lock().plan.clone().unwrap_or_default()
    }

    /// The newest malformed lines, oldest first.
    pub fn malformed(&self) -> Vec<Arc<Sample>> {
        self.lock().malformed.iter().cloned().collect()
    }

    /// The newest rows of each sink: `sink`, `columns`, and `rows`, each with its `batch` and `values`, oldest first.
    pub fn results(&self) -> Vec<Value> {
        // Text is made without the lock, which a batch may be waiting for.
        let (results, zone) = {
            let seen = self.lock();
            (seen.results.clone(), seen.time_zone.clone())
        };
        results.into_iter().map(|(sink, shown)| as_json(&sink, &shown, &zone)).collect()
    }

    /// What the query is, once it has been planned; timestamps are shown in `time_zone`.
    pub(super) fn planned(&self, plan: Value, time_zone: &Arc<str>) {
        let mut seen = self.lock();
        seen.plan = Some(Arc::new(plan));
        seen.time_zone = time_zone.clone();
        seen.version += 1;
    }

    /// Adds what a committed batch left; with `replaces`, its rows are all that the result has.
    pub(super) fn add(&self, batch: u64, leaves: Leaves, replaces: bool) {
        if leaves.rows.is_empty() && leaves.samples.is_empty() {
            return;
        }
        let mut seen = self.lock();
        seen.version += 1;
        for (sink, rows) in leaves.rows {
            let shown = seen.results.entry(sink).or_default();
            if replaces || shown.back().is_some_and(|last| last.rows.schema_ref() != rows.schema_ref()) {
                shown.clear();
            }
            shown.push_back(Shown { batch, rows });
            let mut total: usize = shown.iter().map(|shown| shown.rows.num_rows()).sum();
            while let Some(first) = shown.front().map(|first| first.rows.num_rows()).filter(|first| total - first >= ROWS_MAX) {
                shown.pop_front();
                total -= first;
            }
        }
        for sample in leaves.samples {
            if seen.malformed.len() == ROWS_MAX {
                seen.malformed.pop_front();
            }
            seen.malformed.push_back(sample);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn as_json(sink: &str, shown: &VecDeque<Shown>, zone: &str) -> Value {
    let schema = shown.back().map(|last| last.rows.schema());
    let fields = schema.iter().flat_map(|schema| schema.fields().iter().take(COLUMNS_MAX));
    let columns: Vec<_> = fields.map(|field| plain(field.name())).collect();
    let mut rows = Vec::new();
    for Shown { batch, rows: shown } in shown {
        for row in 0..shown.num_rows() {
            let values: Vec<_> =
                shown.columns().iter().take(COLUMNS_MAX).map(|column| value(column.as_ref(), row, zone)).collect();
            rows.push(json!({ "batch": batch, "values": values }));
        }
    }
    let skipped = rows.len().saturating_sub(ROWS_MAX);
    json!({ "sink": sink, "columns": columns, "rows": rows.split_off(skipped) })
}

/// A value that reads well in a table: numbers, booleans and null as they are, text and nested values as short text.
fn value(column: &dyn arrow::array::Array, row: usize, zone: &str) -> Value {
    let options = WriteOptions { time_zone: zone, ignore_null_fields: false, ..WriteOptions::default() };
    let mut text = Vec::new();
    if write_value(column, row, &options, &mut text).is_err() {
        return Value::String(column.data_type().to_string());
    }
    // As text, since a page's numbers lose the last digits of a long one.
    match serde_json::from_slice(&text) {
        Ok(Value::String(text)) => Value::String(plain(&text)),
        Ok(value @ (Value::Null | Value::Bool(_))) => value,
        Ok(Value::Number(_)) => json!({ "number": String::from_utf8_lossy(&text) }),
        Ok(_) | Err(_) => Value::String(plain(&String::from_utf8_lossy(&text))),
    }
}

/// `text`, cut, without what changes how the text around it looks: control characters and marks of direction are escaped.
fn plain(text: &str) -> String {
    let mut shown = String::new();
    let mut chars = text.chars();
    for char in chars.by_ref().take(VALUE_CHARS_MAX) {
        let is_mark = matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if char.is_control() || is_mark {
            write!(shown, "{}", char.escape_default()).expect("writing to a string does not fail");
        } else {
            shown.push(char);
        }
    }
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn batch(from: i64, rows: i64, text_bytes: usize) -> RecordBatch {
        let n: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + rows));
        let s: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|_| "x".repeat(text_bytes))));
        RecordBatch::try_from_iter([("n", n), ("s", s)]).unwrap()
    }

    fn add(glance: &Glance, id: u64, rows: &RecordBatch, replaces: bool) {
        let mut leaves = Leaves::default();
        leaves.rows("out", std::slice::from_ref(rows));
        glance.add(id, leaves, replaces);
    }

    fn numbers(glance: &Glance) -> Vec<String> {
        let results = glance.results();
        let rows = results[0]["rows"].as_array().unwrap();
        rows.iter().map(|row| row["values"][0]["number"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_newest_rows_are_kept_and_no_more() {
        let glance = Glance::default();
        glance.planned(Value::Null, &"UTC".into());
        for id in 0..50 {
            add(&glance, id, &batch(i64::try_from(id).unwrap() * 3, 3, 1), false);
        }
        let expected: Vec<_> = (130..150).map(|n| n.to_string()).collect();
        assert_eq!(numbers(&glance), expected);
        assert!(glance.lock().results["out"].len() <= 7);
        add(&glance, 50, &batch(7, 2, 1), true);
        assert_eq!(numbers(&glance), ["7", "8"]);
    }

    #[test]
    fn what_is_kept_of_a_large_batch_is_small() {
        let glance = Glance::default();
        for (text_bytes, kept) in [(1, 20), (20 << 10, 2), (200 << 10, 0)] {
            let rows = last_of(&batch(0, 10_000 / (text_bytes as i64 / 100 + 1), text_bytes));
            assert_eq!(rows.as_ref().map_or(0, RecordBatch::num_rows), kept, "{text_bytes}");
            assert!(rows.is_none_or(|rows| rows.get_array_memory_size() <= BYTES_MAX));
        }
        assert_eq!(glance.results().len(), 0);
    }

    #[test]
    fn text_stays_text_and_short() {
        assert_eq!(plain("a\u{202e}b\n\u{1b}[1m<i>"), "a\\u{202e}b\\n\\u{1b}[1m<i>");
        assert_eq!(plain(&"é".repeat(300)).chars().count(), VALUE_CHARS_MAX + 1);
        let glance = Glance::default();
        let mut leaves = Leaves::default();
        let line = |n: u64| Malformed {
            origin: "in/a".into(),
            position: n,
            field: None,
            reason: "not valid JSON".into(),
            raw: b"\xff<script>\0".to_vec(),
        };
        leaves.malformed(3, "rows", &(0..100).map(line).collect::<Vec<_>>());
        glance.add(3, leaves, false);
        let samples = glance.malformed();
        assert_eq!(
            (samples.len(), samples[1].position, samples[1].line.as_str()),
            (SAMPLES_PER_BATCH, 1, "\u{fffd}<script>\\u{0}")
        );
    }
}
