//! Offsets of an ingest log that nobody has open.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::reader::Place;
use super::segment::{Recovered, base, corrupt, survey};
use crate::checkpoint::storage::SharedVfs;
use crate::error::{Error, Result};
use crate::source::Offset;

/// Whether there is a log in `dir`.
pub fn has_log(vfs: &SharedVfs, dir: &Path) -> Result<bool> {
    Ok(vfs.list(dir)?.iter().any(|entry| base(&entry.name).is_some()))
}

/// A log in which places are looked for.
#[derive(Debug)]
pub struct Places {
    dir: PathBuf,
    found: Recovered,
}

impl Places {
    /// Looks at the log in `dir` and changes nothing. No or a damaged log is [`crate::ErrorKind::Corrupt`].
    pub fn open(vfs: &SharedVfs, dir: &Path) -> Result<Self> {
        let found = survey(vfs, dir)?;
        if found.segments.is_empty() {
            return Err(corrupt(dir, "it has no segment"));
        }
        Ok(Self { dir: dir.to_owned(), found })
    }

    /// The oldest line.
    pub fn earliest(&self) -> Offset {
        self.found.segments.first().map_or_else(|| self.latest(), |first| self.offset(first.header.base, first.header.first_row))
    }

    /// Behind the newest line.
    pub fn latest(&self) -> Offset {
        self.offset(self.found.end, self.found.end_row)
    }

    /// The first lines that were received at this time or later, in microseconds since 1970; the end if there are none.
    pub fn at_time(&self, at_us: i64) -> Result<Offset> {
        for segment in &self.found.segments {
            let mut position = segment.header.base;
            while position < segment.end() {
                let records = segment.read(position, u64::MAX)?;
                if let Some(record) = records.iter().find(|record| record.about.received_at_us >= at_us) {
                    return Ok(self.offset(record.position, record.about.first_row));
                }
                position = records.last().map_or(segment.end(), |record| record.end());
            }
        }
        Ok(self.latest())
    }

    /// The record that an offset names.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] when no record begins there.
    pub fn at(&self, offset: &Value) -> Result<Offset> {
        let refuse = || {
            let (from, to) = (self.earliest(), self.latest());
            Error::config(format!(
                "no record of the ingest log {} begins at {offset}; it holds {} to {}",
                self.dir.display(),
                from.as_json(),
                to.as_json()
            ))
        };
        let place: Place = Offset::encode(offset).decode().map_err(|_| refuse())?;
        if place.log != self.log_id() || place.skip != 0 {
            return Err(refuse());
        }
        // The first that ends behind it: a position before its base is in the gap that an opening left, which stands for the base.
        let Some(segment) = self.found.segments.iter().find(|segment| place.position < segment.end()) else {
            let newest = self.found.segments.iter().rfind(|segment| segment.end() > segment.header.base);
            let end = newest.map_or(0, |newest| newest.end());
            return if (end..=self.found.end).contains(&place.position) { Ok(self.latest()) } else { Err(refuse()) };
        };
        if place.position < segment.header.previous_end {
            return Err(refuse());
        }
        if place.position < segment.header.base {
            return Ok(self.offset(segment.header.base, segment.header.first_row));
        }
        let records = segment.read(place.position, place.position + 1).map_err(|_| refuse())?;
        records.first().map(|record| self.offset(record.position, record.about.first_row)).ok_or_else(refuse)
    }

    fn log_id(&self) -> u32 {
        self.found.segments.first().map_or(0, |first| first.header.log_id)
    }

    fn offset(&self, position: u64, row: u64) -> Offset {
        Offset::encode(&Place { log: self.log_id(), position, skip: 0, row })
    }
}
