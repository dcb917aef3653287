//! The checkpoint of one query: opened by its engine, told each step, asked nothing else until the next start.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::blob::BlobWriter;
use super::chain::Chain;
use super::history::History;
use super::log::{FrameAt, Log, Previous, Sizes, seal, segments};
use super::meta::{self, Meta};
use super::reader::{Tail, load, log_dir, read_log};
use super::root::{Claim, query_dir};
use super::snapshot::{SnapshotWriter, WrittenSnapshot};
use super::step::{AcceptedHead, CommittedHead, EpochHead, OutputHead, Place, PreparedHead, StateHead, Step};
use super::storage::{Open, Publish, SharedVfs, absolute, file_name, preallocate, publish};
use super::{BatchId, CheckpointRoot, Identity, PlannedBatch, PreparedBatch, Recovered};
use crate::error::{Error, ErrorKind, Result};

/// The checkpoint of one query, open for its engine alone.
///
/// Calls block on the disk. After [`ErrorKind::NoSpace`] nothing has changed and the call may be repeated; after
/// [`ErrorKind::Storage`] every further call fails and the process must end.
#[derive(Debug)]
pub struct Checkpoint {
    claim: Claim,
    dir: PathBuf,
    query_id: String,
    epoch: u64,
    log: Log,
    sizes: Sizes,
    history: History,
    /// Executions of batches and snapshots in this epoch: makes file names unique.
    attempts: u64,
    /// End of the log when the spare segment last grew.
    spare_grown_at: u64,
}

impl Checkpoint {
    /// Opens (or creates) the checkpoint of `query` and says what is in it. What does not fit `identity` is [`ErrorKind::Config`],
    /// damage is [`ErrorKind::Corrupt`], and in both cases nothing is changed.
    pub fn open(root: &CheckpointRoot, query: &str, identity: &Identity) -> Result<(Self, Recovered)> {
        Self::open_sized(root, query, identity, Sizes::default())
    }

    /// The same with small files, of which there are many then.
    #[cfg(test)]
    pub(crate) fn open_small(root: &CheckpointRoot, query: &str, identity: &Identity) -> Result<(Self, Recovered)> {
        let sizes = Sizes {
            segment_bytes_min: 16 << 10,
            segment_bytes_max: 64 << 10,
            spare_step_bytes: 4 << 10,
            inline_bytes_max: 2 << 10,
            inline_total_bytes_max: 8 << 10,
        };
        Self::open_sized(root, query, identity, sizes)
    }

    pub(super) fn open_sized(root: &CheckpointRoot, query: &str, identity: &Identity, sizes: Sizes) -> Result<(Self, Recovered)> {
        let claim = root.claim(query)?;
        root.check_owned()?;
        let vfs = root.vfs();
        let dir = query_dir(root.path(), query);
        let meta = Meta::read(vfs, &dir)?;
        if let Some(meta) = &meta {
            meta.identity.check(identity, query)?;
        }
        let known_id = meta.as_ref().and_then(Meta::query_id_bytes);
        let (mut history, tail) = read_log(vfs, &dir, known_id, |_| {})?;
        let is_created = check_complete(meta.is_some(), tail.is_some(), &history, &dir)?;
        let unfinished_bytes = tail.as_ref().map_or(0, |tail| tail.unfinished_bytes);
        let recovered = load(vfs, &dir, &history, unfinished_bytes)?;

        // From here on the disk changes; each step may be the last one before the next crash.
        let meta = meta.unwrap_or_else(|| Meta::new(identity));
        let log_dir = log_dir(&dir);
        vfs.create_dir(&log_dir)?;
        let tail = if is_created { tail } else { remove_segments(vfs, &log_dir)? };
        if !is_created {
            history = History::default();
        }
        let log = continue_log(vfs, &log_dir, sizes, &meta, tail.as_ref())?;
        if !is_created && publish(vfs.as_ref(), &dir.join(meta::FILE), &meta.encode())? == Publish::AlreadyThere {
            return Err(Error::spark(ErrorKind::Fenced, "FENCED", format!("{} was made by another process", dir.display())));
        }
        history.add_segment(log.segment());
        let (epoch, spare_grown_at) = (log.segment().epoch, log.end());
        let mut opened = Self { claim, dir, query_id: meta.query_id, epoch, log, sizes, history, attempts: 0, spare_grown_at };
        opened.remove_unneeded_segments()?;
        opened.sweep_orphans()?;
        Ok((opened, recovered))
    }

    /// The checkpoint's UUID, 32 hex digits.
    pub fn query_id(&self) -> &str {
        &self.query_id
    }

    /// How often it was opened before.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Logs a plan; durable with `prepared` at the latest. A batch may be planned again until it is prepared.
    pub fn planned(&mut self, plan: &PlannedBatch) -> Result<()> {
        self.append(Step::Planned(plan.clone()), &[])?;
        Ok(())
    }

    /// The decision point: the batch, its output and its state are durable when it returns. Costs one sync, and one per item above
    /// 1 MiB. [`ErrorKind::Fenced`] when this process has lost the checkpoint; then nothing was written.
    pub fn prepared(&mut self, prepared: &PreparedBatch) -> Result<()> {
        self.claim.root().check_owned()?;
        self.log.check_usable()?;
        self.log.check_newest()?;
        self.attempts += 1;
        let attempt = format!("{}.{}", self.epoch, self.attempts);
        let vfs = Arc::clone(self.claim.root().vfs());
        let dir = self.dir.clone();
        let mut blobs = BlobWriter::new(&vfs, &dir, self.sizes);
        let written = self.prepared_head(prepared, attempt, &mut blobs).and_then(|head| {
            blobs.sync_names()?;
            let inline: Vec<&[u8]> = blobs.inline().collect();
            self.append(Step::Prepared(head), &inline)
        });
        match written {
            Ok(_) => self.log.sync(),
            Err(error) => {
                blobs.discard();
                Err(error)
            }
        }
    }

    fn prepared_head(&self, prepared: &PreparedBatch, attempt: String, blobs: &mut BlobWriter<'_>) -> Result<PreparedHead> {
        let batch = prepared.batch;
        let mut outputs = Vec::with_capacity(prepared.outputs.len());
        for output in &prepared.outputs {
            let next = self.history.sink_numbers.get(&output.sink).copied().unwrap_or(0);
            if output.number != next {
                let what = format!("sink {} was given number {} instead of {next}", output.sink, output.number);
                return Err(Error::internal(what));
            }
            let blob = blobs.put(&output.bytes, || format!("{STAGE}/{}/{batch}-{attempt}", file_name(&output.sink)))?;
            outputs.push(OutputHead { sink: output.sink.clone(), number: output.number, blob });
        }
        let mut state = Vec::with_capacity(prepared.state.len());
        for change in &prepared.state {
            let blob = blobs.put(&change.bytes, || state_file(&change.operator, batch, &attempt, "delta"))?;
            let parent = self.history.operators.get(&change.operator).map_or(0, Chain::root);
            let root = Chain::next_root(parent, batch, blob.bytes, blob.crc);
            state.push(StateHead { operator: change.operator.clone(), parent, root, blob });
        }
        Ok(PreparedHead {
            batch,
            attempt,
            outputs,
            state,
            next_watermark_ms: prepared.next_watermark_ms,
            summary: prepared.summary.clone(),
            inputs: prepared.inputs.clone(),
        })
    }

    /// Logs that every sink has the batch; durable with the next `prepared` or `sync`.
    pub fn committed(&mut self, batch: BatchId, receipts: Value) -> Result<()> {
        let at = self.append(Step::Committed(CommittedHead { batch, receipts }), &[])?;
        let written = at.end.saturating_sub(self.spare_grown_at);
        self.spare_grown_at = at.end;
        // The frame is in: that the space for the next ones could not be prepared is no reason to append it again.
        match self.log.prepare_next(written) {
            Err(error) if matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::Unavailable) => {
                tracing::warn!(error = error.chain(), "the next segment of the log could not be prepared ahead");
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Logs that a person says where a sink stands: commits below `number` count as in whatever its mark is, and that one comes next.
    /// Durable when it returns. A number below a commit that is known to be in is refused.
    pub fn accept(&mut self, sink: &str, number: u64) -> Result<()> {
        self.append(Step::Accepted(AcceptedHead { sink: sink.to_owned(), number }), &[])?;
        self.log.sync()
    }

    /// The newest batch known to be committed even after a power cut: sources may forget what it read.
    pub fn committed_durable(&self) -> Option<BatchId> {
        self.history.committed_durable(self.log.durable())
    }

    /// Makes everything logged durable: after a second of idleness, and at a stop. Costs nothing when it is.
    pub fn sync(&mut self) -> Result<()> {
        self.log.sync()
    }

    /// For writing an operator's whole state as it is after the last prepared batch, beside further batches.
    pub fn begin_snapshot(&mut self, operator: &str) -> Result<SnapshotWriter> {
        self.log.check_usable()?;
        self.attempts += 1;
        let Some(decided) = &self.history.prepared else {
            return Err(Error::internal(format!("a snapshot of {operator} was asked for before the first batch")));
        };
        Ok(SnapshotWriter {
            vfs: Arc::clone(self.claim.root().vfs()),
            dir: self.dir.clone(),
            sizes: self.sizes,
            operator: operator.to_owned(),
            batch: decided.head.batch,
            root: self.history.operators.get(operator).map_or(0, Chain::root),
            attempt: format!("{}.{}", self.epoch, self.attempts),
        })
    }

    /// Logs a snapshot that was written, however many batches ago it was begun. Counts once it is durable, as for `committed`; after
    /// an error it has to be written again.
    pub fn snapshot(&mut self, written: WrittenSnapshot) -> Result<()> {
        let WrittenSnapshot { head, inline } = written;
        let file = match &head.blob.place {
            Place::File(file) => Some(self.dir.join(file)),
            Place::Inline(_) => None,
        };
        let inline: Vec<&[u8]> = inline.iter().map(Bytes::as_ref).collect();
        let appended = self.append(Step::Snapshot(head), &inline);
        if let (Err(_), Some(file)) = (&appended, file)
            && let Err(error) = self.claim.root().vfs().remove(&file)
        {
            tracing::debug!(error = %error.chain(), "a snapshot that was not named stays until the next start");
        }
        appended.map(|_| ())
    }

    /// Bytes of an operator's changes since its newest snapshot.
    pub fn bytes_since_snapshot(&self, operator: &str) -> u64 {
        self.history.operators.get(operator).map_or(0, Chain::bytes_since_snapshot)
    }

    /// Whether a snapshot of the operator is worth its size: twice as much has changed as the last one held (1 MiB at least), or its oldest
    /// change keeps old segments of the log from being removed.
    pub fn wants_snapshot(&self, operator: &str) -> bool {
        self.history.operators.get(operator).is_some_and(|chain| chain.wants_snapshot(self.log.segment().number))
    }

    /// Forgets what no recovery needs, keeping the log of the last `batches` batches (at least one) and the state after each of them.
    /// Files go at once, segments of the log once a durable frame says so; nothing goes before its successor is durable.
    pub fn retain(&mut self, batches: u64) -> Result<()> {
        self.log.check_usable()?;
        let vfs = Arc::clone(self.claim.root().vfs());
        for file in self.history.retire(batches, self.log.durable()) {
            vfs.remove(&self.dir.join(file))?;
        }
        self.remove_unneeded_segments()?;
        if let Some(head) = self.history.trim(batches, self.log.durable()) {
            self.append(Step::Retained(head), &[])?;
        }
        Ok(())
    }

    fn append(&mut self, step: Step, inline: &[&[u8]]) -> Result<FrameAt> {
        self.history.check(&step).map_err(Error::internal)?;
        let head = step.encode();
        let mut payload = Vec::with_capacity(1 + inline.len());
        payload.push(head.as_slice());
        payload.extend_from_slice(inline);
        let at = self.log.append(step.kind(), step.batch(), &payload)?;
        self.history.apply(step, at);
        Ok(at)
    }

    fn remove_unneeded_segments(&mut self) -> Result<()> {
        let log_dir = log_dir(&self.dir);
        for name in self.history.take_unneeded_segments(self.log.durable()) {
            self.claim.root().vfs().remove(&name.path(&log_dir))?;
        }
        Ok(())
    }

    /// Removes what attempts left that no frame names.
    fn sweep_orphans(&self) -> Result<()> {
        let named = self.history.files();
        for folder in [STATE, STAGE] {
            sweep(self.claim.root().vfs(), &self.dir, folder, &named)?;
        }
        Ok(())
    }
}

pub(super) const STATE: &str = "state";
pub(super) const STAGE: &str = "stage";

/// State is not partitioned yet: everything is in partition 0.
pub(super) fn state_file(operator: &str, batch: BatchId, attempt: &str, kind: &str) -> String {
    format!("{STATE}/{}/0/{batch}-{attempt}.{kind}", file_name(operator))
}

fn sweep(vfs: &SharedVfs, dir: &Path, folder: &str, named: &BTreeSet<&str>) -> Result<()> {
    for entry in vfs.list(&dir.join(folder))? {
        let path = format!("{folder}/{}", entry.name);
        if entry.is_dir {
            sweep(vfs, dir, &path, named)?;
        } else if !named.contains(path.as_str()) {
            vfs.remove(&dir.join(&path))?;
        }
    }
    Ok(())
}

/// Whether the checkpoint was created to the end. The log comes first and `meta` last, so a log without `meta` is a creation that a
/// crash cut short, unless a batch stands in it.
pub(super) fn check_complete(has_meta: bool, has_log: bool, history: &History, dir: &Path) -> Result<bool> {
    let missing = match (has_meta, has_log) {
        (true, false) => "its log is missing",
        (false, true) if history.has_steps() => "its file `meta` is missing",
        _ => return Ok(has_meta),
    };
    Err(Error::spark(ErrorKind::Corrupt, "CKPT_CORRUPT", format!("checkpoint {} is damaged: {missing}", dir.display())))
}

fn remove_segments(vfs: &SharedVfs, log_dir: &Path) -> Result<Option<Tail>> {
    for name in segments(vfs, log_dir)? {
        vfs.remove(&name.path(log_dir))?;
    }
    Ok(None)
}

/// Begins the segment of this opening behind what was accepted of the log before.
fn continue_log(vfs: &SharedVfs, log_dir: &Path, sizes: Sizes, meta: &Meta, tail: Option<&Tail>) -> Result<Log> {
    let query_id = meta.query_id_bytes().ok_or_else(|| Error::internal("the checkpoint's UUID is none"))?;
    let (epoch, number, end) = tail.map_or((0, 0, 0), |tail| (tail.name.epoch + 1, tail.name.number + 1, tail.end));
    let old = match tail {
        None => None,
        Some(tail) => {
            let file = vfs.open(&tail.name.path(log_dir), Open::Existing)?;
            let from = tail.head.offset_of(tail.end);
            preallocate(file.as_ref(), from, from + tail.unfinished_bytes)?;
            // What was read may have come from memory: the new segment claims that it is on the disk.
            file.sync()?;
            Some((file, tail))
        }
    };
    let payload = Step::Epoch(EpochHead { previous_end: end }).encode();
    let log = Log::begin(Arc::clone(vfs), log_dir.to_owned(), sizes, Previous { query_id, epoch, number, end }, &payload)?;
    if let Some((file, tail)) = old {
        seal(file.as_ref(), &tail.head, tail.end, tail.last_crc)?;
    }
    Ok(log)
}

/// What of `identity` does not fit the checkpoint of `query` under `root`, a sentence per part; empty when it fits or there is none.
/// Changes nothing and takes no lock.
pub fn compare(vfs: &SharedVfs, root: &Path, query: &str, identity: &Identity) -> Result<Vec<String>> {
    let dir = query_dir(&absolute(root)?, query);
    let meta = Meta::read(vfs, &dir)?;
    Ok(meta.map(|meta| meta.identity.differences(identity)).unwrap_or_default())
}
