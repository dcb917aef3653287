//! Reads a checkpoint without changing it: the log in order, then the bytes that its newest steps name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::blob::BlobReader;
use super::chain::Chain;
use super::frame::{Found, Kind};
use super::history::{Decided, History};
use super::log::{FrameAt, segments};
use super::recovery::{LastBatch, NewestStep, Recovered, first_step};
use super::segment::{HEAD_BYTES, Segment, SegmentHead, SegmentName, corrupt};
use super::step::Step;
use super::storage::SharedVfs;
use super::{PreparedBatch, StagedOutput, StateChange};
use crate::error::{Error, ErrorKind, Result};

/// Where a log ends.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) name: SegmentName,
    pub(super) head: SegmentHead,
    /// Position after the last frame, and the frame's checksum.
    pub(super) end: u64,
    pub(super) last_crc: u32,
    /// Bytes of unfinished frames after it.
    pub(super) unfinished_bytes: u64,
}

/// One frame as a visitor sees it.
pub(super) struct Visited<'a> {
    pub(super) segment: SegmentName,
    /// Where the frame begins in the segment's file.
    pub(super) offset: u64,
    pub(super) at: FrameAt,
    pub(super) found: &'a Found,
    pub(super) step: &'a Step,
}

/// The folder of the log below the query's folder.
pub(super) fn log_dir(dir: &Path) -> PathBuf {
    dir.join("log")
}

/// Reads the whole log in order and folds it. The tail is `None` when there is no log.
pub(super) fn read_log(
    vfs: &SharedVfs,
    dir: &Path,
    query_id: Option<[u8; 16]>,
    mut visit: impl FnMut(Visited<'_>),
) -> Result<(History, Option<Tail>)> {
    let log_dir = log_dir(dir);
    let names = newest_run(segments(vfs, &log_dir)?, &log_dir)?;
    let mut history = History::default();
    let mut heads: Vec<(SegmentName, SegmentHead, Bytes)> = Vec::new();
    let mut tail = None;
    // A segment is judged once the next one is known, so at most two are in memory.
    for (at, name) in names.iter().enumerate() {
        let bytes = read_segment(vfs, &log_dir, *name)?;
        let path = name.path(&log_dir);
        let head = Segment::open(&path, *name, query_id, &bytes)?.head;
        if let Some((name, _, bytes)) = heads.pop() {
            fold(&log_dir, name, query_id, &bytes, Some(head.base), &mut history, &mut visit)?;
        }
        if at + 1 == names.len() {
            tail = Some(fold(&log_dir, *name, query_id, &bytes, None, &mut history, &mut visit)?);
        } else {
            heads.push((*name, head, bytes));
        }
    }
    if let Some(first) = names.first()
        && first.number > history.first_segment_needed()
    {
        return Err(missing(&log_dir, history.first_segment_needed()));
    }
    Ok((history, tail))
}

fn fold(
    log_dir: &Path,
    name: SegmentName,
    query_id: Option<[u8; 16]>,
    bytes: &[u8],
    end: Option<u64>,
    history: &mut History,
    visit: &mut impl FnMut(Visited<'_>),
) -> Result<Tail> {
    let path = name.path(log_dir);
    let segment = Segment::open(&path, name, query_id, bytes)?;
    if end.is_some_and(|end| end < segment.head.base) {
        return Err(corrupt(&path, 0, "the next segment begins before it"));
    }
    let scanned = segment.scan(end)?;
    history.add_segment(name);
    let mut offset = HEAD_BYTES;
    for found in &scanned.frames {
        let refuse = |what: &str| corrupt(&path, offset, what);
        let decoded = Step::decode(found.head.kind, &bytes[found.payload.clone()]);
        let (step, head_bytes) = decoded.ok_or_else(|| refuse("a frame has another format"))?;
        if step.batch() != found.head.batch {
            return Err(refuse("a frame is labelled with another batch"));
        }
        history.check(&step).map_err(|what| refuse(&what))?;
        let inline_at = (found.payload.start + head_bytes) as u64;
        let at = FrameAt { segment: name, inline_at, end: found.head.position + found.stride as u64 };
        visit(Visited { segment: name, offset: offset as u64, at, found, step: &step });
        history.apply(step, at);
        offset += found.stride;
    }
    if end.is_none() && scanned.frames.last().is_some_and(|found| found.head.kind == Kind::Sealed) {
        return Err(missing(log_dir, name.number + 1));
    }
    let Segment { head, .. } = segment;
    Ok(Tail { name, head, end: scanned.end, last_crc: scanned.last_crc, unfinished_bytes: scanned.unfinished_bytes })
}

fn read_segment(vfs: &SharedVfs, log_dir: &Path, name: SegmentName) -> Result<Bytes> {
    vfs.read(&name.path(log_dir))?.ok_or_else(|| missing(log_dir, name.number))
}

/// The segments that follow each other up to the newest one. Older ones with a hole between are being removed, or the hole is damage:
/// the log itself will tell.
fn newest_run(mut names: Vec<SegmentName>, log_dir: &Path) -> Result<Vec<SegmentName>> {
    if let Some(pair) = names.windows(2).find(|pair| pair[0].number == pair[1].number || pair[0].epoch > pair[1].epoch) {
        let what = format!("{} stands beside it", pair[0].file());
        return Err(corrupt(&pair[1].path(log_dir), 0, &what));
    }
    let hole = names.windows(2).rposition(|pair| pair[0].number + 1 != pair[1].number);
    Ok(names.split_off(hole.map_or(0, |at| at + 1)))
}

fn missing(log_dir: &Path, number: u64) -> Error {
    let what = format!("segment {number} of the log {} is missing", log_dir.display());
    Error::spark(ErrorKind::Corrupt, "CKPT_CORRUPT", what)
}

/// Everything that the newest steps of a log name, read and verified.
pub(super) fn load(vfs: &SharedVfs, dir: &Path, history: &History, bytes_truncated: u64) -> Result<Recovered> {
    let mut blobs = BlobReader::new(vfs, dir.to_owned(), log_dir(dir));
    let mut state = BTreeMap::new();
    for (operator, chain) in &history.operators {
        state.insert(operator.clone(), load_chain(operator, chain, &mut blobs, dir)?);
    }
    let last = history.prepared.as_ref().map(|decided| last_batch(decided, history, dir)).transpose()?;
    let is_open = last.as_ref().is_some_and(|last| !last.is_committed);
    let newest = match (&history.planned, &history.prepared, history.committed) {
        (Some(plan), _, _) => Some(NewestStep::Planned(plan.clone())),
        (None, Some(decided), _) if is_open => {
            let planned = last.as_ref().map(|last| last.planned.clone());
            planned
                .map(|planned| load_prepared(decided, &mut blobs).map(|batch| NewestStep::Prepared(planned, batch)))
                .transpose()?
        }
        (None, _, committed) => committed.map(NewestStep::Committed),
    };
    if matches!(newest, Some(NewestStep::Committed(_))) && last.is_none() {
        return Err(missing(&log_dir(dir), 0));
    }
    Ok(Recovered {
        fresh: !history.has_steps(),
        first_step: first_step(newest),
        last,
        state,
        sink_numbers: history.sink_numbers.clone(),
        accepted: history.accepted.clone(),
        bytes_truncated,
    })
}

fn last_batch(decided: &Decided, history: &History, dir: &Path) -> Result<LastBatch> {
    let Some(planned) = decided.planned.clone() else {
        let what = format!("the plan of batch {} is missing in {}", decided.head.batch, log_dir(dir).display());
        return Err(Error::spark(ErrorKind::Corrupt, "CKPT_CORRUPT", what));
    };
    Ok(LastBatch {
        planned,
        next_watermark_ms: decided.head.next_watermark_ms,
        summary: decided.head.summary.clone(),
        is_committed: history.committed == Some(decided.head.batch),
    })
}

fn load_prepared(decided: &Decided, blobs: &mut BlobReader) -> Result<PreparedBatch> {
    let head = &decided.head;
    let mut outputs = Vec::with_capacity(head.outputs.len());
    for output in &head.outputs {
        let bytes = blobs.get(&output.blob, decided.at)?;
        outputs.push(StagedOutput { sink: output.sink.clone(), number: output.number, bytes });
    }
    let mut state = Vec::with_capacity(head.state.len());
    for change in &head.state {
        state.push(StateChange { operator: change.operator.clone(), bytes: blobs.get(&change.blob, decided.at)? });
    }
    Ok(PreparedBatch {
        batch: head.batch,
        outputs,
        state,
        next_watermark_ms: head.next_watermark_ms,
        summary: head.summary.clone(),
        inputs: head.inputs.clone(),
    })
}

/// The newest version of an operator's state, by the first way that can be read; else why the best one cannot.
fn load_chain(operator: &str, chain: &Chain, blobs: &mut BlobReader, dir: &Path) -> Result<Vec<Bytes>> {
    let mut refused: Option<Error> = None;
    for way in chain.ways() {
        let links = Chain::resolve(way).ok_or_else(|| broken(operator, dir));
        let loaded = links.and_then(|links| links.iter().map(|link| blobs.get(&link.blob, link.at)).collect());
        match loaded {
            Ok(bytes) => {
                if let Some(error) = refused {
                    tracing::warn!(operator, error = %error.chain(), "state was rebuilt from an older snapshot");
                }
                return Ok(bytes);
            }
            Err(error) if error.kind() == ErrorKind::Corrupt => refused = Some(refused.unwrap_or(error)),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| broken(operator, dir)))
}

fn broken(operator: &str, dir: &Path) -> Error {
    let what = format!("the changes of {operator} in {} do not follow each other", log_dir(dir).display());
    Error::spark(ErrorKind::Corrupt, "CKPT_CORRUPT", what)
}
