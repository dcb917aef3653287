//! Jobs that run a bounded pipeline to its end.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tidemill::format::{DecodeRequest, FormatOptions, LineLimits, OnMalformed, decoder};
use tidemill::plan::spark::types::parse_schema;
use tidemill::source::{LineChunk, LineEnd};

use crate::data::{self, size, transactions};
use crate::measure::{Figures, tidemill, to_end};
use crate::{Bench, Outcome};

/// The columns of a transaction.
pub(crate) const COLUMNS: &str = "name STRING, surname STRING, amount DOUBLE, delta_t DOUBLE, flag INT";

/// The demo's query.
pub(crate) const FRAUD: &str = "SELECT concat(name, surname) AS userID, true AS isFraud, count(*) AS nTransactions FROM transactions \
                                WHERE flag = 1 GROUP BY concat(name, surname) HAVING count(*) > 1";

/// All five columns through the decoder on one thread, from memory.
pub(crate) fn decode(bench: &Bench) -> Outcome {
    let folder = transactions(bench, 64)?;
    let text = Bytes::from(fs::read(folder.join("00.json"))?);
    let started = Instant::now();
    let mut rows = 0;
    for _ in 0..data::FILES {
        rows += decode_all(&text)?;
    }
    let wall = started.elapsed();
    Ok(Figures {
        rows: Some(rows),
        bytes: Some(text.len() as u64 * data::FILES),
        wall: Some(wall),
        cpu: Some(wall),
        ..Figures::default()
    })
}

/// Decodes every column of `text`, handed over in pieces of 512 KiB that end with a line.
fn decode_all(text: &Bytes) -> Result<u64, tidemill::Error> {
    let schema = Arc::new(parse_schema(COLUMNS)?);
    let request = DecodeRequest {
        projection: (0..schema.fields().len()).collect(),
        schema,
        metadata: Vec::new(),
        filter: Vec::new(),
        on_malformed: OnMalformed::Permissive,
        keep_malformed: false,
        source: "bench".into(),
        time_zone: "UTC".into(),
        limits: LineLimits::default(),
    };
    let mut decoder = decoder(&FormatOptions::Json, request)?;
    let (mut start, mut rows) = (0, 0);
    while start < text.len() {
        let cut = (start + (512 << 10)).min(text.len());
        let end = text[..cut].iter().rposition(|byte| *byte == b'\n').map_or(text.len(), |at| at + 1);
        decoder.push(&LineChunk {
            bytes: text.slice(start..end),
            origin: "bench".into(),
            position: start as u64,
            received_at_us: None,
            end: LineEnd::Clean,
        })?;
        rows += decoder.finish()?.lines_read;
        start = end;
    }
    Ok(rows)
}

/// One row in ten, to JSON files.
pub(crate) fn filter(bench: &Bench) -> Outcome {
    let sql = "SELECT * FROM transactions WHERE flag = 1";
    pipeline(bench, "filter", 64, COLUMNS, sql, "append", "{ file: { path: out/ }, format: json }")
}

/// The demo's query.
pub(crate) fn fraud(bench: &Bench) -> Outcome {
    pipeline(bench, "fraud", 64, COLUMNS, FRAUD, "update", "{ discard: {} }")
}

/// A million keys in state.
pub(crate) fn keys_1m(bench: &Bench) -> Outcome {
    let sql = "SELECT user, count(*) AS n, sum(amount) AS total, max(amount) AS largest FROM transactions GROUP BY user";
    let columns = format!("{COLUMNS}, user STRING");
    pipeline(bench, "keys_1m", 1_000_000, &columns, sql, "update", "{ discard: {} }")
}

fn pipeline(bench: &Bench, job: &str, users: u32, columns: &str, sql: &str, mode: &str, sink: &str) -> Outcome {
    let (input, folder) = (transactions(bench, users)?, bench.folder(job)?);
    let file = folder.join("pipeline.yaml");
    let text = format!(
        "version: 1\nname: bench\ncheckpoint: checkpoint\nsources:\n  transactions:\n    from: {{ file: {{ path: {input:?}, max_files_per_trigger: 1 }} }}\n    \
         format: {{ json: {{ schema: {columns:?} }} }}\nqueries:\n  {job}:\n    sql: {sql:?}\n    output_mode: {mode}\n    \
         trigger: available_now\n    to: {sink}\n"
    );
    fs::write(&file, text)?;
    let file = file.to_str().ok_or("a path that is not UTF-8")?;
    let figures = to_end(tidemill(&["run", file, "--quiet"]))?;
    Ok(Figures { rows: Some(bench.rows), bytes: Some(size(&input)?), ..figures })
}
