//! Reads all of an ingest log that nobody has open, and changes nothing.

use std::path::Path;

use super::kept::Kept;
use super::reader::Place;
use super::segment::{corrupt, survey};
use crate::checkpoint::storage::SharedVfs;
use crate::error::{Error, ErrorKind, Result};
use crate::source::Offset;

/// An ingest log that was read to its end.
#[derive(Debug)]
pub struct LogExamined {
    /// Files with records.
    pub segments: usize,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Bytes at its end that a crash left unfinished; the next start leaves them out.
    pub torn_bytes: u64,
    /// Records that are damaged, one per segment at most: the first.
    pub faults: Vec<Error>,
    log_id: u32,
    /// The positions that an offset may name.
    readable: std::ops::RangeInclusive<u64>,
}

/// Reads the ingest log in `dir`; `None` when there is none. Damage that hides where the log begins or ends is
/// [`ErrorKind::Corrupt`], a damaged record in between one of [`LogExamined::faults`].
pub fn examine(vfs: &SharedVfs, dir: &Path) -> Result<Option<LogExamined>> {
    let found = survey(vfs, dir)?;
    let Some(first) = found.segments.first() else { return Ok(None) };
    let mut examined = LogExamined {
        segments: found.segments.len(),
        rows: 0,
        bytes: 0,
        torn_bytes: found.torn_bytes,
        faults: Vec::new(),
        log_id: first.header.log_id,
        readable: first.header.previous_end..=found.end,
    };
    for segment in &found.segments {
        let mut position = segment.header.base;
        while position < segment.end() {
            match segment.read(position, u64::MAX) {
                Ok(records) => {
                    position = records.last().map_or(segment.end(), |record| record.end());
                    examined.rows += records.iter().map(|record| u64::from(record.about.rows)).sum::<u64>();
                    examined.bytes += records.iter().map(|record| record.bytes.len() as u64).sum::<u64>();
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    examined.faults.push(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
    }
    match Kept::newest(vfs, dir, found.segments.last().map_or(0, |last| last.header.base)) {
        Err(error) if error.kind() == ErrorKind::Corrupt => examined.faults.push(error),
        kept => drop(kept?),
    }
    Ok(Some(examined))
}

impl LogExamined {
    /// Refuses an offset that a query goes on from and that this log does not hold.
    pub fn check(&self, dir: &Path, offset: &Offset) -> Result<()> {
        let place: Place = offset.decode()?;
        if place.log != self.log_id {
            return Err(corrupt(dir, "it is not the one that the query has read so far"));
        }
        if !self.readable.contains(&place.position) {
            let (from, to) = (self.readable.start(), self.readable.end());
            return Err(corrupt(dir, &format!("it holds {from}..{to} and not position {}", place.position)));
        }
        Ok(())
    }
}
