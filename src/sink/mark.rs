//! The mark of a commit: what its transaction leaves in the sink's group, beside an offset that counts the commits, and in the progress
//! topic if there is one.

use crate::checkpoint::kernel_text;
use crate::sink::{CommitId, Contains};

/// Who committed what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// UUID of the checkpoint, 32 hex digits.
    pub(super) query_id: String,
    /// The sink's commit number.
    pub(super) number: u64,
    /// Messages of the commit.
    pub(super) rows: usize,
    /// Checksum of its staged bytes.
    pub(super) crc32c: u32,
    /// Process and host.
    pub(super) owner: String,
}

impl Mark {
    /// The mark of `id`, made by this process.
    pub(super) fn of(id: &CommitId, rows: usize) -> Self {
        Self { query_id: id.query_id.clone(), number: id.number, rows, crc32c: id.crc32c, owner: this_process() }
    }

    /// Whether this process made it.
    pub(super) fn is_ours(&self) -> bool {
        self.owner == this_process()
    }

    /// The offset that it stands beside.
    pub(super) fn offset(&self) -> i64 {
        i64::try_from(self.number).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// As it is written.
    pub(super) fn text(&self) -> String {
        format!("v1;{};{};{};{:08x};{}", self.query_id, self.number, self.rows, self.crc32c, self.owner)
    }

    /// Reads it back.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("v1;")?.splitn(5, ';');
        Some(Self {
            query_id: parts.next()?.to_owned(),
            number: parts.next()?.parse().ok()?,
            rows: parts.next()?.parse().ok()?,
            crc32c: u32::from_str_radix(parts.next()?, 16).ok()?,
            owner: parts.next()?.to_owned(),
        })
    }
}

/// Says who holds something.
pub(super) fn this_process() -> String {
    format!("pid {} on {}", std::process::id(), kernel_text("hostname"))
}

/// Whether `id` is in, given the mark that was found. One of our checkpoint is the truth: it was committed together with its messages.
pub(super) fn contains(id: &CommitId, mark: Option<&Mark>) -> Contains {
    match mark.filter(|mark| mark.query_id == id.query_id) {
        Some(mark) if mark.number == id.number && mark.crc32c == id.crc32c => Contains::Yes,
        // Of the same number, but of other rows: a copy of the checkpoint went another way.
        Some(mark) if mark.number >= id.number => Contains::Ahead(mark.number),
        Some(mark) if mark.number + 1 == id.number => Contains::No,
        // A new checkpoint begins its own count, whatever another one left.
        None if id.number == 0 => Contains::No,
        Some(_) | None if id.is_accepted => Contains::No,
        Some(_) | None => Contains::MarkerLost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(number: u64) -> CommitId {
        let crc32c = 0xfee1 + u32::try_from(number).unwrap();
        CommitId {
            query_id: "a".repeat(32),
            sink: "kafka".into(),
            number,
            batch_id: 9,
            batch_time_us: 0,
            crc32c,
            is_accepted: false,
        }
    }

    #[test]
    fn the_mark_tells_which_commits_are_in() {
        let mark = Mark::of(&commit(4), 17);
        assert_eq!(mark.offset(), 5);
        assert_eq!(Mark::read(&mark.text()), Some(mark.clone()));
        for text in ["", "something else", "v1;a;1;2", "v2;a;4;17;0000fee5;me", "v1;a;4;17;me;me"] {
            assert_eq!(Mark::read(text), None, "{text}");
        }
        assert!(mark.is_ours() && !Mark { owner: "pid 0 on x".into(), ..mark.clone() }.is_ours());
        let verdict = |number| contains(&commit(number), Some(&mark));
        assert_eq!([3, 4, 5, 6].map(verdict), [Contains::Ahead(4), Contains::Yes, Contains::No, Contains::MarkerLost]);
        assert_eq!(
            contains(&CommitId { crc32c: 1, ..commit(4) }, Some(&mark)),
            Contains::Ahead(4),
            "other rows of the same number"
        );
        assert_eq!(contains(&commit(1), None), Contains::MarkerLost);
        assert_eq!(contains(&commit(0), None), Contains::No);
        let other = CommitId { query_id: "b".repeat(32), ..commit(0) };
        assert_eq!(contains(&other, Some(&mark)), Contains::No, "another checkpoint's");
        assert_eq!(contains(&CommitId { number: 5, ..other.clone() }, Some(&mark)), Contains::MarkerLost);
        let accepted = |id: CommitId, mark| contains(&CommitId { is_accepted: true, ..id }, mark);
        assert_eq!(
            [3, 4, 5, 9].map(|number| accepted(commit(number), Some(&mark))),
            [Contains::Ahead(4), Contains::Yes, Contains::No, Contains::No]
        );
        assert_eq!(accepted(commit(9), None), Contains::No);
        assert_eq!(accepted(CommitId { number: 9, ..other }, Some(&mark)), Contains::No);
    }
}
