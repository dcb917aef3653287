//! Memory that does not grow with what flows through: one batch over all the data, and one over twice as much.

use std::fs;
use std::path::{Path, PathBuf};

use crate::data::{size, transactions};
use crate::measure::{Figures, tidemill, to_end};
use crate::{Bench, Outcome};

/// How much more memory twice the rows may take. What differs is where an allocator and a scheduler happen to be.
const GROWTH_MAX: f64 = 1.2;

/// An aggregation of 64 keys over twice the rows in a single batch; fails if that takes more memory than once the rows.
pub(crate) fn flat(bench: &Bench) -> Outcome {
    let (once, folder) = (transactions(bench, 64)?, bench.folder("flat")?);
    let twice = folder.join("twice");
    fs::create_dir(&twice)?;
    for entry in fs::read_dir(&once)? {
        let entry = entry?;
        for copy in ["a", "b"] {
            std::os::unix::fs::symlink(entry.path(), twice.join(format!("{copy}-{}", entry.file_name().display())))?;
        }
    }
    let half = run(&folder, "once", &once)?;
    let whole = run(&folder, "twice", &twice)?;
    let growth = ratio(whole.peak_bytes, half.peak_bytes).ok_or("no peak memory was seen")?;
    if growth > GROWTH_MAX {
        return Err(format!("twice the rows take {growth:.2} times the memory").into());
    }
    Ok(Figures { rows: Some(bench.rows * 2), bytes: Some(size(&once)? * 2), ..whole })
}

fn ratio(whole: Option<u64>, half: Option<u64>) -> Option<f64> {
    Some(whole? as f64 / half? as f64)
}

fn run(folder: &Path, name: &str, input: &PathBuf) -> std::io::Result<Figures> {
    let file = folder.join(format!("{name}.yaml"));
    let text = format!(
        "version: 1\nname: bench\ncheckpoint: checkpoint-{name}\nsources:\n  transactions:\n    from: {{ file: {{ path: {input:?} }} }}\n    \
         format: {{ json: {{ schema: \"name STRING, surname STRING, amount DOUBLE\" }} }}\nqueries:\n  flat:\n    \
         sql: \"SELECT concat(name, surname) AS user, count(*) AS n, sum(amount) AS total FROM transactions GROUP BY concat(name, surname)\"\n    \
         output_mode: update\n    trigger: available_now\n    to: {{ discard: {{}} }}\n"
    );
    fs::write(&file, text)?;
    to_end(tidemill(&["run", file.to_str().unwrap_or_default(), "--quiet"]))
}
