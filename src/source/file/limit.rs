//! How much a batch takes of the files that are there.

use crate::source::ReadLimit;

/// What is left of a batch's limit.
pub(super) struct Left {
    pub(super) files: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// Whether rows or bytes are limited at all.
    pub(super) limited: bool,
    /// Whether the batch has anything yet: a first line is admitted however long.
    pub(super) any: bool,
}

impl Left {
    pub(super) fn new(limit: &ReadLimit) -> Self {
        let at_least_one = |max: Option<u64>| max.map_or(u64::MAX, |max| max.max(1));
        Self {
            files: at_least_one(limit.files_max),
            rows: at_least_one(limit.rows_max),
            bytes: at_least_one(limit.bytes_max),
            limited: limit.rows_max.is_some() || limit.bytes_max.is_some(),
            any: false,
        }
    }
}

/// How much of a file a batch takes.
pub(super) enum Fit {
    All,
    Until(u64),
    Nothing,
}
