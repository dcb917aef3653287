//! The state of one operator in the log: snapshots, and the changes between and after them.
//!
//! Every change names the version it changes by a hash over all that led to it, so that a change that is missing, doubled or out of
//! place is noticed.

use super::BatchId;
use super::log::FrameAt;
use super::step::{Blob, Place, SnapshotHead, StateHead};

/// An operator's snapshots and changes, oldest first.
#[derive(Debug, Default)]
pub(super) struct Chain {
    links: Vec<Link>,
    /// Hash of the newest version; 0 before the first.
    root: u64,
    bytes_since_snapshot: u64,
    snapshot_bytes: Option<u64>,
}

/// A snapshot or a change.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) batch: BatchId,
    pub(super) at: FrameAt,
    pub(super) blob: Blob,
    /// Hash of the version after it.
    pub(super) root: u64,
    /// Hash of the version that it changes; `None` for a snapshot, which needs none.
    pub(super) parent: Option<u64>,
}

/// A snapshot is wanted when this many bytes have changed, and so many times as many as the last one had: a restart reads at most
/// this much more than the state itself.
const CHANGED_BYTES_MIN: u64 = 1 << 20;
const CHANGED_TIMES: u64 = 2;
/// A snapshot is wanted when the oldest change stands so many segments back.
const SEGMENTS_BEHIND_MAX: u64 = 4;

impl Chain {
    /// Hash of the newest version.
    pub(super) fn root(&self) -> u64 {
        self.root
    }

    /// Hash of the version that `blob` of `batch` makes of `parent`.
    pub(super) fn next_root(parent: u64, batch: BatchId, bytes: u64, crc: u32) -> u64 {
        let mut text = [0; 28];
        text[..8].copy_from_slice(&parent.to_le_bytes());
        text[8..16].copy_from_slice(&batch.0.to_le_bytes());
        text[16..24].copy_from_slice(&bytes.to_le_bytes());
        text[24..].copy_from_slice(&crc.to_le_bytes());
        // 0 stands for "no version".
        twox_hash::XxHash3_64::oneshot(&text).max(1)
    }

    pub(super) fn push_change(&mut self, batch: BatchId, head: StateHead, at: FrameAt) {
        self.root = head.root;
        self.bytes_since_snapshot += head.blob.bytes;
        self.links.push(Link { batch, at, blob: head.blob, root: head.root, parent: Some(head.parent) });
    }

    /// Takes note of a snapshot, which may be of an older version: it stands before the changes that it does not contain.
    pub(super) fn push_snapshot(&mut self, head: SnapshotHead, at: FrameAt) {
        let later = self.links.iter().position(|link| link.parent == Some(head.root)).unwrap_or(self.links.len());
        if later == self.links.len() {
            self.root = head.root;
        }
        let link = Link { batch: head.batch, at, root: head.root, parent: None, blob: head.blob };
        self.links.insert(later, link);
        let sizes: Vec<u64> = self.since_snapshot().iter().map(|link| link.blob.bytes).collect();
        self.snapshot_bytes = sizes.first().copied();
        self.bytes_since_snapshot = sizes.iter().skip(1).sum();
    }

    /// Whether a version with this hash is the newest one, or was changed by one of the changes here.
    pub(super) fn knows(&self, root: u64) -> bool {
        self.root == root || self.links.iter().any(|link| link.parent == Some(root))
    }

    /// The newest snapshot and the changes after it; everything if there is no snapshot.
    fn since_snapshot(&self) -> &[Link] {
        let start = self.links.iter().rposition(|link| link.parent.is_none()).unwrap_or(0);
        &self.links[start..]
    }

    /// Bytes of the changes since the newest snapshot.
    pub(super) fn bytes_since_snapshot(&self) -> u64 {
        self.bytes_since_snapshot
    }

    /// Whether a snapshot is worth its size, when `segment` is being written.
    pub(super) fn wants_snapshot(&self, segment: u64) -> bool {
        let limit = (CHANGED_TIMES * self.snapshot_bytes.unwrap_or(0)).max(CHANGED_BYTES_MIN);
        let oldest = self.since_snapshot().iter().map(|link| link.at.segment.number).min();
        let is_far_behind = oldest.is_some_and(|oldest| oldest + SEGMENTS_BEHIND_MAX <= segment);
        self.bytes_since_snapshot >= limit || is_far_behind
    }

    /// The ways to rebuild the newest version, best first: from the newest snapshot, from an older one, from nothing.
    pub(super) fn ways(&self) -> impl Iterator<Item = &[Link]> {
        let snapshots = self.links.iter().enumerate().rev().filter(|(_, link)| link.parent.is_none()).map(|(at, _)| at);
        let from_nothing = self.links.first().is_some_and(|link| link.parent == Some(0)).then_some(0);
        snapshots.chain(from_nothing).map(|start| &self.links[start..])
    }

    /// The links of a way that are to be read: its start, then the changes. `None` if they do not hang together.
    pub(super) fn resolve(way: &[Link]) -> Option<Vec<&Link>> {
        let (start, rest) = way.split_first()?;
        if start.parent.is_some_and(|parent| parent != 0) {
            return None;
        }
        let mut root = start.root;
        let mut links = vec![start];
        for link in rest {
            match link.parent {
                Some(parent) if parent == root => {
                    root = link.root;
                    links.push(link);
                }
                // A later snapshot of this very version, which could not be read.
                None if link.root == root => {}
                _ => return None,
            }
        }
        Some(links)
    }

    /// Forgets what lies before the newest snapshot that is durable and older than `keep_from`; its files are appended to `files`.
    pub(super) fn retire(&mut self, keep_from: BatchId, durable: u64, files: &mut Vec<String>) {
        let is_base = |link: &Link| link.parent.is_none() && link.at.end <= durable && link.batch < keep_from;
        let Some(base) = self.links.iter().rposition(is_base) else { return };
        files.extend(self.links.drain(..base).filter_map(|link| match link.blob.place {
            Place::File(file) => Some(file),
            Place::Inline(_) => None,
        }));
    }

    /// The oldest segment that recovery needs for this operator.
    pub(super) fn first_segment(&self) -> Option<u64> {
        // A snapshot may stand in the log behind changes that come after it here.
        self.links.iter().map(|link| link.at.segment.number).min()
    }

    /// The files that recovery may need.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        files(&self.links)
    }

    /// The files of the newest snapshot and of the changes after it.
    pub(super) fn files_since_snapshot(&self) -> impl Iterator<Item = &str> {
        files(self.since_snapshot())
    }
}

fn files(links: &[Link]) -> impl Iterator<Item = &str> {
    links.iter().filter_map(|link| match &link.blob.place {
        Place::File(file) => Some(file.as_str()),
        Place::Inline(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::segment::SegmentName;

    /// A chain of changes (`c`), snapshots (`s`) and snapshots of the version two changes before (`l`), without the ones at `dropped`; the batches that each way would read.
    fn ways(kinds: &str, dropped: &[usize]) -> Vec<Option<Vec<u64>>> {
        let mut chain = Chain::default();
        let at = |end| FrameAt { segment: SegmentName { epoch: 0, number: end / 100 }, inline_at: 0, end };
        let mut roots = Vec::new();
        for (n, kind) in kinds.bytes().enumerate() {
            let batch = BatchId(n as u64);
            let blob = Blob { bytes: 10, crc: 7, place: Place::Inline(0) };
            let parent = chain.root();
            if kind == b's' || kind == b'l' {
                let root = if kind == b's' { parent } else { roots[roots.len() - 3] };
                assert!(chain.knows(root));
                let head = SnapshotHead { batch, operator: String::new(), root, blob };
                chain.push_snapshot(head, at(n as u64));
            } else {
                let root = Chain::next_root(parent, batch, blob.bytes, blob.crc);
                roots.push(root);
                chain.push_change(batch, StateHead { operator: String::new(), parent, root, blob }, at(n as u64));
            }
        }
        for n in dropped.iter().rev() {
            chain.links.remove(*n);
        }
        chain.ways().map(|way| Chain::resolve(way).map(|links| links.iter().map(|link| link.batch.0).collect())).collect()
    }

    #[test]
    fn changes_hang_together_or_are_refused() {
        assert_eq!(ways("ccc", &[]), [Some(vec![0, 1, 2])]);
        assert_eq!(ways("ccc", &[1]), [None]);
        assert_eq!(ways("ccc", &[0]), [] as [Option<Vec<u64>>; 0]);
        assert_eq!(ways("ccscc", &[]), [Some(vec![2, 3, 4]), Some(vec![0, 1, 3, 4])]);
        assert_eq!(ways("ccscc", &[3]), [None, None]);
        assert_eq!(ways("ccscc", &[0, 1]), [Some(vec![2, 3, 4])]);
        assert_eq!(ways("cscs", &[]), [Some(vec![3]), Some(vec![1, 2]), Some(vec![0, 2])]);
    }

    #[test]
    fn a_snapshot_may_come_after_later_changes() {
        assert_eq!(ways("cccl", &[]), [Some(vec![3, 1, 2]), Some(vec![0, 1, 2])]);
        assert_eq!(ways("cccl", &[0]), [Some(vec![3, 1, 2])]);
        assert_eq!(ways("cccl", &[2]), [None, None]);
        assert_eq!(ways("cccsl", &[]), [Some(vec![3]), Some(vec![4, 1, 2]), Some(vec![0, 1, 2])]);
        assert_eq!(ways("ccclcc", &[]), [Some(vec![3, 1, 2, 4, 5]), Some(vec![0, 1, 2, 4, 5])]);
    }

    #[test]
    fn changes_after_a_late_snapshot_count_and_keep_their_segments() {
        let mut chain = Chain::default();
        let at = |number| FrameAt { segment: SegmentName { epoch: 0, number }, inline_at: 0, end: number };
        let blob = |bytes| Blob { bytes, crc: 7, place: Place::Inline(0) };
        for n in 1..=3 {
            let head = StateHead { operator: String::new(), parent: n - 1, root: n, blob: blob(CHANGED_BYTES_MIN / 2) };
            chain.push_change(BatchId(n), head, at(n));
        }
        assert!(chain.wants_snapshot(3));
        chain.push_snapshot(SnapshotHead { batch: BatchId(2), operator: String::new(), root: 2, blob: blob(9) }, at(5));
        assert_eq!((chain.root(), chain.bytes_since_snapshot()), (3, CHANGED_BYTES_MIN / 2));
        assert!(!chain.wants_snapshot(6) && chain.wants_snapshot(7));
        chain.retire(BatchId(3), 5, &mut Vec::new());
        assert_eq!(chain.first_segment(), Some(3));
        assert!(!chain.knows(1) && chain.knows(2) && chain.knows(3));
    }
}
