//! The mark of a commit: what its transaction leaves in the sink's group, beside an offset that counts the commits.

use crate::checkpoint::kernel_text;
use crate::sink::{CommitId, Contains};

/// What is written beside the offset: who committed what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// UUID of the checkpoint, 32 hex digits.
    pub(super) query_id: String,
    /// The sink's commit number.
    pub(super) number: u64,
    /// Messages of the commit.
    pub(super) rows: usize,
    /// Process and host.
    pub(super) owner: String,
}

impl Mark {
    /// The mark of `id`, made by this process.
    pub(super) fn of(id: &CommitId, rows: usize) -> Self {
        let owner = format!("pid {} on {}", std::process::id(), kernel_text("hostname"));
        Self { query_id: id.query_id.clone(), number: id.number, rows, owner }
    }

    /// The offset that it stands beside.
    pub(super) fn offset(&self) -> i64 {
        i64::try_from(self.number).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// As it is written.
    pub(super) fn text(&self) -> String {
        format!("v1;{};{};{};{}", self.query_id, self.number, self.rows, self.owner)
    }

    /// Reads it back, from the text and its offset.
    pub(super) fn read(offset: i64, text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("v1;")?.splitn(4, ';');
        let query_id = parts.next()?.to_owned();
        let (number, rows) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let mark = Self { query_id, number, rows, owner: parts.next()?.to_owned() };
        (mark.offset() == offset).then_some(mark)
    }
}

/// Whether `id` is in, given what the group holds: an offset, negative if there is none, and the text beside it.
pub(super) fn contains(id: &CommitId, offset: i64, text: &str) -> Contains {
    let mark = Mark::read(offset, text).filter(|mark| mark.query_id == id.query_id);
    match mark {
        Some(mark) if mark.number == id.number => Contains::Yes,
        Some(mark) if mark.number > id.number => Contains::Ahead,
        Some(mark) if mark.number + 1 == id.number => Contains::No,
        // A new checkpoint begins its own count, whatever another one left.
        None if id.number == 0 => Contains::No,
        Some(_) | None => Contains::MarkerLost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(number: u64) -> CommitId {
        CommitId { query_id: "a".repeat(32), sink: "kafka".into(), number, batch_id: 9, batch_time_us: 0 }
    }

    #[test]
    fn the_mark_tells_which_commits_are_in() {
        let mark = Mark::of(&commit(4), 17);
        let (offset, text) = (mark.offset(), mark.text());
        assert_eq!(Mark::read(offset, &text), Some(mark));
        let verdict = |number| contains(&commit(number), offset, &text);
        assert_eq!([3, 4, 5, 6].map(verdict), [Contains::Ahead, Contains::Yes, Contains::No, Contains::MarkerLost]);
        assert_eq!(contains(&commit(5), offset + 1, &text), Contains::MarkerLost, "the two do not belong together");
        assert_eq!(contains(&commit(5), 6, "something else"), Contains::MarkerLost);
        assert_eq!(contains(&commit(1), -1001, ""), Contains::MarkerLost);
        assert_eq!(contains(&commit(0), -1001, ""), Contains::No);
        let other = CommitId { query_id: "b".repeat(32), ..commit(0) };
        assert_eq!(contains(&other, offset, &text), Contains::No, "another checkpoint's");
        assert_eq!(contains(&CommitId { number: 5, ..other }, offset, &text), Contains::MarkerLost);
    }
}
