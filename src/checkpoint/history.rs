//! What the frames of a log add up to.
//!
//! Recovery folds the frames it reads, a running checkpoint the ones it writes, into the same value: so both agree on what comes next,
//! which files are named and which segments are needed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::chain::Chain;
use super::log::FrameAt;
use super::segment::SegmentName;
use super::step::{AcceptedHead, Place, PreparedHead, RetainedHead, Step};
use super::{BatchId, PlannedBatch};

/// The fold of a log's frames.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The newest plan that is not prepared.
    pub(super) planned: Option<PlannedBatch>,
    /// The newest decided batch.
    pub(super) prepared: Option<Decided>,
    /// The newest committed batch.
    pub(super) committed: Option<BatchId>,
    /// Per stateful operator, the snapshots and changes that are still named.
    pub(super) operators: BTreeMap<String, Chain>,
    /// The next commit number per sink.
    pub(super) sink_numbers: BTreeMap<String, u64>,
    /// Sinks that have not committed since a person said where they stand, with the number that comes next.
    pub(super) accepted: BTreeMap<String, u64>,
    /// Committed batches by the end of their frame, until that is known to be durable.
    commits: VecDeque<(BatchId, u64)>,
    /// Files of staged output.
    staged: Vec<(BatchId, String)>,
    /// Newest batch per segment.
    segments: BTreeMap<u64, (SegmentName, Option<BatchId>)>,
    /// The first segment that is needed, and the end of the frame that says so.
    retained: Option<(u64, u64)>,
}

/// A decided batch as the log has it.
#[derive(Debug)]
pub(super) struct Decided {
    /// Its plan, unless that was in a segment that is gone.
    pub(super) planned: Option<PlannedBatch>,
    pub(super) head: PreparedHead,
    pub(super) at: FrameAt,
}

impl History {
    /// Whether a batch was ever planned.
    pub(super) fn has_steps(&self) -> bool {
        self.planned.is_some() || self.prepared.is_some() || self.committed.is_some()
    }

    /// Whether `step` may follow; else why not.
    pub(super) fn check(&self, step: &Step) -> Result<(), String> {
        let decided = self.prepared.as_ref().map(|decided| decided.head.batch);
        match step {
            Step::Planned(plan) => {
                if decided.is_some() && decided != self.committed {
                    return Err(format!("batch {} is planned before the one before is committed", plan.batch));
                }
                match self.committed {
                    Some(committed) if plan.batch != committed.next() => {
                        Err(format!("batch {} is planned after batch {committed}", plan.batch))
                    }
                    None if self.is_whole() && plan.batch != BatchId::FIRST => {
                        Err(format!("batch {} is planned as the first one", plan.batch))
                    }
                    _ => Ok(()),
                }
            }
            Step::Prepared(head) => match &self.planned {
                Some(plan) if plan.batch == head.batch => Ok(()),
                None if !self.is_whole() && !self.has_steps() => Ok(()),
                _ => Err(format!("batch {} is prepared without a plan", head.batch)),
            },
            Step::Committed(head) if decided == Some(head.batch) && self.committed != decided => Ok(()),
            // The frames before are in a segment that is gone.
            Step::Committed(_) if !self.is_whole() && !self.has_steps() => Ok(()),
            Step::Committed(head) => Err(format!("batch {} is committed without being prepared", head.batch)),
            Step::Snapshot(head) if self.operators.get(&head.operator).is_some_and(|chain| !chain.knows(head.root)) => {
                Err(format!("the snapshot of {} after batch {} is of a state that never was", head.operator, head.batch))
            }
            Step::Accepted(head) if head.number < self.first_open(&head.sink) => {
                Err(format!("sink {} is said to stand before commit {}", head.sink, self.first_open(&head.sink)))
            }
            Step::Snapshot(_) | Step::Epoch(_) | Step::Retained(_) | Step::Sealed | Step::Accepted(_) => Ok(()),
        }
    }

    /// Takes note of a frame that is in the log.
    pub(super) fn apply(&mut self, step: Step, at: FrameAt) {
        let (_, newest) = self.segments.entry(at.segment.number).or_insert((at.segment, None));
        match step {
            Step::Planned(plan) => {
                *newest = Some(plan.batch);
                self.planned = Some(plan);
            }
            Step::Prepared(head) => {
                *newest = Some(head.batch);
                self.apply_prepared(head, at);
            }
            Step::Committed(head) => {
                *newest = Some(head.batch);
                self.committed = Some(head.batch);
                let next = &self.sink_numbers;
                self.accepted.retain(|sink, number| next.get(sink).is_none_or(|next| *next <= *number));
                self.commits.push_back((head.batch, at.end));
            }
            Step::Snapshot(head) => self.operators.entry(head.operator.clone()).or_default().push_snapshot(head, at),
            Step::Retained(head) => {
                self.retained = Some((head.first_segment, at.end));
                for (sink, number) in head.sink_numbers {
                    self.raise(sink, number);
                }
                self.accepted = head.accepted;
            }
            Step::Accepted(AcceptedHead { sink, number }) => {
                self.raise(sink.clone(), number);
                self.accepted.insert(sink, number);
            }
            Step::Epoch(_) | Step::Sealed => {}
        }
    }

    fn raise(&mut self, sink: String, number: u64) {
        let next = self.sink_numbers.entry(sink).or_default();
        *next = number.max(*next);
    }

    /// The sink's first commit that is not known to be in.
    pub(super) fn first_open(&self, sink: &str) -> u64 {
        let next = self.sink_numbers.get(sink).copied().unwrap_or(0);
        let open = self.prepared.iter().filter(|decided| self.committed != Some(decided.head.batch));
        let open = open.flat_map(|decided| &decided.head.outputs).find(|output| output.sink == sink);
        open.map_or(next, |output| output.number)
    }

    fn apply_prepared(&mut self, head: PreparedHead, at: FrameAt) {
        for output in &head.outputs {
            self.sink_numbers.insert(output.sink.clone(), output.number + 1);
            if let Place::File(file) = &output.blob.place {
                self.staged.push((head.batch, file.clone()));
            }
        }
        for change in &head.state {
            self.operators.entry(change.operator.clone()).or_default().push_change(head.batch, change.clone(), at);
        }
        self.prepared = Some(Decided { planned: self.planned.take(), head, at });
    }

    /// The newest committed batch that survives a power cut, when the log is durable up to `durable`.
    pub(super) fn committed_durable(&self, durable: u64) -> Option<BatchId> {
        self.commits.iter().rev().find(|(_, end)| *end <= durable).map(|(batch, _)| *batch)
    }

    /// The files that no recovery needs any more, which are then no longer named here: staged output of batches known to be committed,
    /// and state before the newest durable snapshot that lies before the last `batches` batches.
    pub(super) fn retire(&mut self, batches: u64, durable: u64) -> Vec<String> {
        let Some(committed) = self.committed_durable(durable) else { return Vec::new() };
        while self.commits.len() > 1 && self.commits[1].1 <= durable {
            self.commits.pop_front();
        }
        let mut files = Vec::new();
        self.staged.retain(|(batch, file)| {
            let is_needed = *batch > committed;
            if !is_needed {
                files.push(file.clone());
            }
            is_needed
        });
        let keep_from = Self::keep_from(committed, batches);
        for chain in self.operators.values_mut() {
            chain.retire(keep_from, durable, &mut files);
        }
        files
    }

    /// What to log so that segments can be removed; `None` when none can be.
    pub(super) fn trim(&self, batches: u64, durable: u64) -> Option<RetainedHead> {
        let committed = self.committed_durable(durable)?;
        let keep_from = Self::keep_from(committed, batches);
        let pinned = self.operators.values().filter_map(Chain::first_segment).min().unwrap_or(u64::MAX);
        let newest = *self.segments.last_key_value()?.0;
        let in_use =
            self.segments.iter().find(|(_, (_, last))| last.is_some_and(|last| last >= keep_from)).map(|(number, _)| *number);
        let first_segment = pinned.min(newest).min(in_use.unwrap_or(newest));
        let has_more =
            first_segment > *self.segments.first_key_value()?.0 && self.retained.is_none_or(|(first, _)| first < first_segment);
        has_more.then(|| RetainedHead { first_segment, sink_numbers: self.sink_numbers.clone(), accepted: self.accepted.clone() })
    }

    /// The segments that a durable frame says are not needed, which are then forgotten.
    pub(super) fn take_unneeded_segments(&mut self, durable: u64) -> Vec<SegmentName> {
        match self.retained {
            Some((first, end)) if end <= durable => {
                let needed = self.segments.split_off(&first);
                std::mem::replace(&mut self.segments, needed).into_values().map(|(name, _)| name).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Takes note of a segment that may have no frames.
    pub(super) fn add_segment(&mut self, name: SegmentName) {
        self.segments.entry(name.number).or_insert((name, None));
    }

    /// The first segment that must be there.
    pub(super) fn first_segment_needed(&self) -> u64 {
        self.retained.map_or(0, |(first, _)| first)
    }

    /// Files that recovery may need.
    pub(super) fn files(&self) -> BTreeSet<&str> {
        self.files_staged().chain(self.operators.values().flat_map(Chain::files)).collect()
    }

    /// The files without which a start fails, or has to begin from an older snapshot.
    pub(super) fn files_needed(&self) -> BTreeSet<&str> {
        self.files_staged().chain(self.operators.values().flat_map(Chain::files_since_snapshot)).collect()
    }

    /// The files of output that is decided and not committed.
    fn files_staged(&self) -> impl Iterator<Item = &str> {
        let is_open = |batch: BatchId| self.committed.is_none_or(|committed| batch > committed);
        self.staged.iter().filter(move |(batch, _)| is_open(*batch)).map(|(_, file)| file.as_str())
    }

    /// Whether the fold began with the log's first segment.
    fn is_whole(&self) -> bool {
        self.segments.first_key_value().is_none_or(|(first, _)| *first == 0)
    }

    fn keep_from(committed: BatchId, batches: u64) -> BatchId {
        BatchId((committed.0 + 1).saturating_sub(batches.max(1)))
    }
}
