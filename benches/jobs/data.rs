//! The data set: made once, kept under `target/bench-data`.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use tidemill_producer::{Options, Transactions};

use crate::Bench;

/// Files that a data set is split into: one per batch.
pub(crate) const FILES: u64 = 20;

/// From one event time to the next.
pub(crate) const EVENT_STEP_MS: u64 = 1;

/// The folder that holds `bench.rows` transactions of `users` users.
pub(crate) fn transactions(bench: &Bench, users: u32) -> io::Result<PathBuf> {
    let options = Options { users, flag_rate: 0.1, seed: 1, ..Options::default() };
    made(bench, &format!("{}-rows-{users}-users", bench.rows), &options)
}

/// The same with an event time, which starts a millisecond per row later than the default if `after` rows go before.
pub(crate) fn timed(bench: &Bench, users: u32, after: u64) -> io::Result<PathBuf> {
    let default = Options::default();
    let options = Options {
        users,
        flag_rate: 0.1,
        seed: 1,
        event_time: true,
        event_start_ms: default.event_start_ms + (after * EVENT_STEP_MS) as i64,
        event_step_ms: EVENT_STEP_MS as i64,
        ..default
    };
    made(bench, &format!("{}-rows-{users}-users-timed-after-{after}", bench.rows), &options)
}

fn made(bench: &Bench, name: &str, options: &Options) -> io::Result<PathBuf> {
    let folder = bench.target.join("bench-data").join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    let unfinished = folder.with_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished)?;
    let mut stream = Transactions::new(options);
    let mut line = Vec::new();
    for number in 0..FILES {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(unfinished.join(format!("{number:02}.json")))?);
        for _ in bench.rows * number / FILES..bench.rows * (number + 1) / FILES {
            line.clear();
            stream.write_next(&mut line);
            file.write_all(&line)?;
        }
        file.flush()?;
    }
    fs::rename(&unfinished, &folder)?;
    Ok(folder)
}

/// Bytes of all files of a folder.
pub(crate) fn size(folder: &PathBuf) -> io::Result<u64> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}
