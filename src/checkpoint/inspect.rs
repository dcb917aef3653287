//! Looks into a checkpoint without owning it: what `inspect` prints.

use std::path::Path;

use serde_json::Value;

use super::frame::Kind;
use super::meta::Meta;
use super::reader::{load, read_log};
use super::root::{queries, query_dir};
use super::storage::{SharedVfs, absolute};
use super::{BatchId, Identity, Recovered};
use crate::error::{Error, ErrorKind, Result};

/// A query's checkpoint as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// The checkpoint's UUID, 32 hex digits.
    pub query_id: String,
    /// What was fixed when it was created.
    pub identity: Identity,
    /// The frames of the log, oldest first.
    pub frames: Vec<FrameInfo>,
    /// What a start would find: the next step, offsets, and every operator's state.
    pub recovered: Recovered,
}

/// One frame of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameInfo {
    /// `epoch`, `planned`, `prepared`, `committed`, `snapshot`, `retained`, `sealed` or `accepted`.
    pub kind: &'static str,
    /// The batch it is about.
    pub batch: Option<BatchId>,
    /// Which opening of the checkpoint wrote it, from 0.
    pub epoch: u64,
    /// The file it is in.
    pub segment: String,
    /// Where it begins in that file.
    pub offset: u64,
    /// Its length in the file.
    pub bytes: u64,
    /// What it says, except for bytes it carries: plans with times and offsets; outputs with sink, number and size; receipts.
    pub detail: Value,
}

/// How often a log that seems damaged is read again: its owner may have been writing it.
const READS_MAX: usize = 3;

/// The queries that have a checkpoint under `root`. Takes no lock.
pub fn list_queries(vfs: &SharedVfs, root: &Path) -> Result<Vec<String>> {
    queries(vfs, &absolute(root)?)
}

/// Reads the checkpoint of a query. Takes no lock and changes nothing; its owner may be running. No such checkpoint is
/// [`ErrorKind::Config`].
pub fn inspect(vfs: &SharedVfs, root: &Path, query: &str) -> Result<Inspection> {
    let dir = query_dir(&absolute(root)?, query);
    let mut read = read(vfs, &dir, query);
    for _ in 1..READS_MAX {
        if !matches!(&read, Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unavailable)) {
            break;
        }
        read = self::read(vfs, &dir, query);
    }
    read
}

fn read(vfs: &SharedVfs, dir: &Path, query: &str) -> Result<Inspection> {
    let Some(meta) = Meta::read(vfs, dir)? else {
        return Err(Error::config(format!("there is no checkpoint of query {query} in {}", dir.display())));
    };
    let mut frames = Vec::new();
    let (history, tail) = read_log(vfs, dir, meta.query_id_bytes(), |visited| {
        let has_batch = !matches!(visited.found.head.kind, Kind::Epoch | Kind::Retained | Kind::Sealed | Kind::Accepted);
        frames.push(FrameInfo {
            kind: visited.found.head.kind.name(),
            batch: has_batch.then_some(BatchId(visited.found.head.batch)),
            epoch: visited.found.head.epoch,
            segment: visited.segment.file(),
            offset: visited.offset,
            bytes: visited.found.stride as u64,
            detail: visited.step.to_json(),
        });
    })?;
    let recovered = load(vfs, dir, &history, tail.map_or(0, |tail| tail.unfinished_bytes))?;
    Ok(Inspection { query_id: meta.query_id, identity: meta.identity, frames, recovered })
}
