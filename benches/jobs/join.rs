//! A join of two streams that forgets: equal keys within ten seconds of event time.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use crate::data::{FILES, size};
use crate::measure::{Figures, tidemill, to_end};
use crate::{Bench, Outcome};

/// Rows of each side per second of event time: a batch of a 20th of a million spans 50 seconds.
const ROWS_PER_SECOND: u64 = 1_000;

/// Keys that repeat all the time, so that most candidates by key are out of bounds.
const KEYS: u64 = 100_000;

/// Views and clicks: each click belongs to a view up to ten seconds before it.
pub(crate) fn join(bench: &Bench) -> Outcome {
    let rows = bench.rows / 5;
    let (views, clicks) = (side(bench, "views", rows, 0)?, side(bench, "clicks", rows, 9_999)?);
    let folder = bench.folder("join")?;
    let file = folder.join("pipeline.yaml");
    let source = |name: &str, input: &PathBuf, time: &str| {
        format!(
            "  {name}:\n    from: {{ file: {{ path: {input:?}, max_files_per_trigger: 1 }} }}\n    \
             format: {{ json: {{ schema: \"{time} TIMESTAMP, k STRING, v BIGINT\" }} }}\n    \
             watermark: {{ column: {time}, delay: 5 seconds }}\n"
        )
    };
    let sql = "SELECT views.k AS k, viewed, clicked, clicks.v - views.v AS d FROM views JOIN clicks ON views.k = clicks.k \
               AND clicked >= viewed AND clicked <= viewed + INTERVAL 10 SECONDS";
    let text = format!(
        "version: 1\nname: bench\ncheckpoint: checkpoint\nsources:\n{}{}queries:\n  join:\n    sql: {sql:?}\n    output_mode: append\n    \
         trigger: available_now\n    to: {{ discard: {{}} }}\n",
        source("views", &views, "viewed"),
        source("clicks", &clicks, "clicked"),
    );
    fs::write(&file, text)?;
    let file = file.to_str().ok_or("a path that is not UTF-8")?;
    let figures = to_end(tidemill(&["run", file, "--quiet"]))?;
    Ok(Figures { rows: Some(2 * rows), bytes: Some(size(&views)? + size(&clicks)?), ..figures })
}

/// `rows` rows of one side, up to `late_ms` after the time at which their number says they happened.
fn side(bench: &Bench, name: &str, rows: u64, late_ms: u64) -> io::Result<PathBuf> {
    let time = if name == "views" { "viewed" } else { "clicked" };
    let folder = bench.target.join("bench-data").join(format!("{rows}-{name}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    let unfinished = folder.with_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished)?;
    for number in 0..FILES {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(unfinished.join(format!("{number:02}.json")))?);
        for row in rows * number / FILES..rows * (number + 1) / FILES {
            // Scattered, and the same in every run.
            let scattered = row.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            let ms = row * 1_000 / ROWS_PER_SECOND + scattered % (late_ms + 1);
            let (s, ms) = (ms / 1_000, ms % 1_000);
            let (hour, minute, second) = (s / 3_600, s / 60 % 60, s % 60);
            let key = scattered % KEYS;
            writeln!(
                file,
                "{{\"{time}\":\"2026-01-01T{hour:02}:{minute:02}:{second:02}.{ms:03}Z\",\"k\":\"k{key}\",\"v\":{row}}}"
            )?;
        }
        file.flush()?;
    }
    fs::rename(&unfinished, &folder)?;
    Ok(folder)
}
