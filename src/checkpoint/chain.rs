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

/// A snapshot is wanted when this many bytes have changed, or as many as the last one had.
const CHANGED_BYTES_MIN: u64 = 1 << 20;
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

    pub(super) fn push_snapshot(&mut self, head: SnapshotHead, at: FrameAt) {
        self.root = head.root;
        self.bytes_since_snapshot = 0;
        self.snapshot_bytes = Some(head.blob.bytes);
        self.links.push(Link { batch: head.batch, at, blob: head.blob, root: head.root, parent: None });
    }

    /// Bytes of the changes since the newest snapshot.
    pub(super) fn bytes_since_snapshot(&self) -> u64 {
        self.bytes_since_snapshot
    }

    /// Whether a snapshot is worth its size, when `segment` is being written.
    pub(super) fn wants_snapshot(&self, segment: u64) -> bool {
        let limit = self.snapshot_bytes.unwrap_or(0).max(CHANGED_BYTES_MIN);
        let start = self.links.iter().rposition(|link| link.parent.is_none()).unwrap_or(0);
        let is_far_behind = self.links.get(start).is_some_and(|link| link.at.segment.number + SEGMENTS_BEHIND_MAX <= segment);
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
        self.links.first().map(|link| link.at.segment.number)
    }

    /// The files that recovery may need.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.links.iter().filter_map(|link| match &link.blob.place {
            Place::File(file) => Some(file.as_str()),
            Place::Inline(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::segment::SegmentName;

    /// A chain of changes (`c`) and snapshots (`s`), without the ones at `dropped`; the batches that each way would read.
    fn ways(kinds: &str, dropped: &[usize]) -> Vec<Option<Vec<u64>>> {
        let mut chain = Chain::default();
        let at = |end| FrameAt { segment: SegmentName { epoch: 0, number: end / 100 }, inline_at: 0, end };
        for (n, kind) in kinds.bytes().enumerate() {
            let batch = BatchId(n as u64);
            let blob = Blob { bytes: 10, crc: 7, place: Place::Inline(0) };
            let parent = chain.root();
            if kind == b's' {
                let head = SnapshotHead { batch, operator: String::new(), root: parent, blob };
                chain.push_snapshot(head, at(n as u64));
            } else {
                let root = Chain::next_root(parent, batch, blob.bytes, blob.crc);
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
}
