//! A checkpoint on a disk that fails on command.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::json;

use super::log::Sizes;
use super::storage::LocalVfs;
use super::storage::fault::{Fault, FaultVfs, Left};
use super::*;
use crate::error::{ErrorKind, Result};
use crate::source::Offset;

mod crash;
mod damage;
mod verify;
mod daily;

/// Small, so that a few batches rotate segments and write files.
const SIZES: Sizes = Sizes {
    segment_bytes_min: 4 << 10,
    segment_bytes_max: 8 << 10,
    spare_step_bytes: 1 << 10,
    inline_bytes_max: 300,
    inline_total_bytes_max: 1 << 10,
};
const ROOT: &str = "/ckpt";
const QUERY: &str = "suspicious";
const OPERATORS: [&str; 2] = ["aggregate-0", "join-1"];
const SINKS: [&str; 2] = ["console", "files"];

fn identity() -> Identity {
    Identity {
        time_zone: "UTC".to_owned(),
        sources: ["transactions".to_owned()].into(),
        operators: OPERATORS
            .map(|operator| (operator.to_owned(), json!({"kind": "aggregate", "keys": [{"name": "userID", "type": "STRING"}]})))
            .into(),
    }
}

fn open(vfs: &FaultVfs) -> Result<(Checkpoint, Recovered)> {
    let root = CheckpointRoot::open(vfs.shared(), ROOT)?;
    Checkpoint::open_sized(&root, QUERY, &identity(), SIZES)
}

fn plan(n: u64) -> PlannedBatch {
    let range = OffsetRange { start: Offset::encode(&(n * 10)), end: Offset::encode(&(n * 10 + 10)) };
    PlannedBatch {
        batch: BatchId(n),
        batch_time_us: 1_700_000_000_000_000 + i64::try_from(n).expect("small"),
        sources: [("transactions".to_owned(), range)].into(),
        watermark_ms: 5,
        late_watermark_ms: 4,
        seed: n,
    }
}

/// The change of an operator in batch n: small for most, above the inline limit for some.
fn page(operator: &str, n: u64) -> Vec<u8> {
    let len = if n % 3 == 2 { 400 } else { 20 };
    format!("<{operator}:{n}:").into_bytes().into_iter().chain(std::iter::repeat_n(b'x', len)).collect()
}

fn has_output(sink: &str, n: u64) -> bool {
    sink != "files" || n % 2 == 1
}

fn prepared(n: u64) -> PreparedBatch {
    let number = |sink: &str| (0..n).filter(|n| has_output(sink, *n)).count() as u64;
    let output = |sink: &str| StagedOutput { sink: sink.to_owned(), number: number(sink), bytes: page(sink, n).into() };
    PreparedBatch {
        batch: BatchId(n),
        outputs: SINKS.into_iter().filter(|sink| has_output(sink, n)).map(output).collect(),
        state: OPERATORS.map(|operator| StateChange { operator: operator.to_owned(), bytes: page(operator, n).into() }).into(),
        next_watermark_ms: i64::try_from(n).expect("small") * 1000,
        summary: json!({"rows": n}),
        inputs: [("transactions".to_owned(), InputChecksum { rows: 10, xxh3: u64::MAX - n })].into(),
    }
}

/// The whole state of an operator after batch n.
fn state(operator: &str, n: u64) -> Vec<u8> {
    (0..=n).flat_map(|n| page(operator, n)).collect()
}

/// An operator's snapshot, begun and logged at once.
fn snapshot(checkpoint: &mut Checkpoint, operator: &str, bytes: &Bytes) -> Result<()> {
    let written = checkpoint.begin_snapshot(operator)?.write(bytes)?;
    checkpoint.snapshot(written)
}

/// How far a run got.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Progress {
    /// Batches whose `prepared` was called, returned, and that are committed for sure.
    tried: u64,
    decided: u64,
    committed: u64,
}

/// One batch from where the checkpoint stands, with all that goes with it.
fn run_batch(checkpoint: &mut Checkpoint, n: u64, progress: &mut Progress) -> Result<()> {
    // A snapshot of the batch before, which is logged when this one is decided.
    let late =
        if n % 4 == 2 { Some(checkpoint.begin_snapshot(OPERATORS[0])?.write(&state(OPERATORS[0], n - 1).into())?) } else { None };
    checkpoint.planned(&plan(n))?;
    progress.tried = n + 1;
    checkpoint.prepared(&prepared(n))?;
    progress.decided = n + 1;
    late.map_or(Ok(()), |late| checkpoint.snapshot(late))?;
    finish_batch(checkpoint, n, progress)
}

fn finish_batch(checkpoint: &mut Checkpoint, n: u64, progress: &mut Progress) -> Result<()> {
    checkpoint.committed(BatchId(n), json!({"files": n}))?;
    if n % 4 == 3 {
        for operator in OPERATORS {
            snapshot(checkpoint, operator, &state(operator, n).into())?;
        }
    }
    checkpoint.retain(2)?;
    if n % 5 == 4 {
        checkpoint.sync()?;
    }
    progress.committed = checkpoint.committed_durable().map_or(0, |batch| batch.0 + 1);
    Ok(())
}

/// Opens, checks what is found against `progress`, and goes on to batch `until`.
fn resume(vfs: &FaultVfs, progress: &mut Progress, until: u64) -> Result<()> {
    let (mut checkpoint, found) = open(vfs)?;
    let decided = check(&found, *progress);
    let mut next = decided;
    if let FirstStep::CommitSinks(plan, _) = &found.first_step {
        progress.decided = progress.decided.max(plan.batch.0 + 1);
        finish_batch(&mut checkpoint, plan.batch.0, progress)?;
    }
    while next < until {
        run_batch(&mut checkpoint, next, progress)?;
        next += 1;
    }
    Ok(())
}

/// What is found is one of the states that may be there after `progress`: the number of decided batches.
#[track_caller]
fn check(found: &Recovered, progress: Progress) -> u64 {
    let decided = found.last.as_ref().map_or(0, |last| last.planned.batch.0 + 1);
    assert!((progress.decided..=progress.tried).contains(&decided), "{decided} batches after {progress:?}");
    let is_committed = found.last.as_ref().is_none_or(|last| last.is_committed);
    assert!(is_committed || progress.committed < decided, "a commit is gone: {found:?} after {progress:?}");
    match &found.first_step {
        FirstStep::Plan(batch) => assert_eq!((batch.0, is_committed), (decided, true)),
        FirstStep::Run(found) => assert_eq!((found, is_committed), (&plan(decided), true)),
        FirstStep::CommitSinks(found, batch) => {
            assert_eq!((found, batch, is_committed), (&plan(decided - 1), &prepared(decided - 1), false));
        }
    }
    assert_eq!(found.fresh, found.first_step == FirstStep::Plan(BatchId::FIRST));
    if let (Some(last), Some(n)) = (&found.last, decided.checked_sub(1)) {
        let expected = LastBatch {
            planned: plan(n),
            next_watermark_ms: prepared(n).next_watermark_ms,
            summary: prepared(n).summary,
            is_committed,
        };
        assert_eq!(last, &expected);
        for operator in OPERATORS {
            assert_eq!(found.state[operator].concat(), state(operator, n), "state of {operator} after {n}");
        }
        for sink in SINKS {
            let count = (0..=n).filter(|n| has_output(sink, *n)).count() as u64;
            assert_eq!(found.sink_numbers.get(sink).copied().unwrap_or(0), count, "numbers of {sink} after {n}");
        }
    }
    decided
}

/// Runs `batches` batches on a new disk, in a single process.
fn run(batches: u64) -> FaultVfs {
    let vfs = FaultVfs::default();
    resume(&vfs, &mut Progress::default(), batches).expect("nothing fails");
    vfs
}
