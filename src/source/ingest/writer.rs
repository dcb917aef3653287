//! The thread that writes an ingest log to disk.
//!
//! It writes and syncs whatever has come meanwhile, then looks again: while one sync runs the next group gathers, so a group is as
//! large as the disk is slow, and a lone line is on its way at once.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::begin_segment;
use super::log::{Log, Stop};
use super::record::{MARK, Record, encode_mark};
use super::segment::{HEADER, Header, Segment};
use super::state::State;
use crate::checkpoint::storage::{SharedVfs, preallocate};
use crate::error::{ErrorKind, Result};

/// Most that is written before a sync: half of what may wait, so that the other half gathers meanwhile.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// Groups below this are worth a sync that finds its place ready: zeros are written ahead for them, so that the file system need not
/// record a longer file with each. Larger ones are busy enough with their own bytes.
const SMALL_GROUP_BYTES: u64 = 256 * 1024;
const ZEROS_AHEAD: u64 = 1 << 20;
/// Segments that no query needs are deleted when there is nothing to write; but at once when there are more than so many in all, or
/// clients that never pause would fill the disk.
const SEGMENTS_BEFORE_WRITING_MAX: usize = 4;
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

pub(super) struct Writer {
    pub(super) log: Arc<Log>,
    pub(super) vfs: SharedVfs,
    pub(super) dir: PathBuf,
    pub(super) segment: Arc<Segment>,
    /// Largest segment in bytes, its header left aside.
    pub(super) segment_bytes_max: u64,
    /// Up to here the file holds zeros or records.
    pub(super) zeros_to: u64,
    /// Segments that no query needs, oldest first, which could not be deleted yet.
    pub(super) unneeded: VecDeque<Arc<Segment>>,
}

/// What the writer found to do.
enum Work {
    Write(Vec<Record>),
    Delete(Vec<Arc<Segment>>),
    Stop(Stop),
}

impl Writer {
    /// Writes until it is told to stop.
    pub(super) fn run(mut self) -> Result<()> {
        let mut retry_after = RETRY_MIN;
        loop {
            match self.wait() {
                Work::Delete(segments) => self.delete(segments),
                Work::Stop(Stop::AtOnce) => return Ok(()),
                Work::Stop(_) => return self.segment.file.sync(),
                Work::Write(records) => match self.write(&records) {
                    Ok(end) => {
                        if retry_after > RETRY_MIN {
                            info!(dir = %self.dir.display(), "the ingest log is written again");
                            retry_after = RETRY_MIN;
                        }
                        self.log.set_written(end);
                        self.mark(end);
                    }
                    // Nothing was promised yet, so the same may be tried again; only what a failed sync lost is lost.
                    Err(error) if matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::Unavailable) => {
                        if retry_after == RETRY_MIN {
                            warn!(error = %error.chain(), "the ingest log cannot be written; little more is received until it can");
                        }
                        self.log.set_trouble(&error);
                        self.pause(retry_after);
                        retry_after = (retry_after * 2).min(RETRY_MAX);
                    }
                    Err(error) => {
                        error!(error = %error.chain(), "the ingest log could not be written");
                        self.log.set_trouble(&error);
                        return Err(error);
                    }
                },
            }
        }
    }

    fn wait(&self) -> Work {
        let mut state = self.log.lock();
        loop {
            if state.stop == Stop::AtOnce {
                return Work::Stop(Stop::AtOnce);
            }
            if Log::has_unneeded(&state) && state.segments.len() > SEGMENTS_BEFORE_WRITING_MAX {
                return Work::Delete(self.log.take_unneeded(&mut state));
            }
            if !state.is_written() {
                return Work::Write(Log::unwritten(&state, GROUP_BYTES_MAX));
            }
            if Log::has_unneeded(&state) {
                return Work::Delete(self.log.take_unneeded(&mut state));
            }
            if state.stop == Stop::WhenWritten {
                return Work::Stop(Stop::WhenWritten);
            }
            state = self.log.work.wait(state).expect("no holder panics");
        }
    }

    /// Waits until the time is over or the log is to stop. A log that is told to finish while the disk is full stops at once: what was
    /// not written cannot be kept.
    fn pause(&self, time: Duration) {
        let state = self.log.lock();
        let until_stopped = |state: &mut State| state.stop == Stop::No;
        let (mut state, _) = self.log.work.wait_timeout_while(state, time, until_stopped).expect("no holder panics");
        if state.stop == Stop::WhenWritten {
            state.stop = Stop::AtOnce;
        }
    }

    /// Writes records and makes them durable, as many as go into one segment: what is in is in, should the next one fail. Answers
    /// where they end.
    fn write(&mut self, records: &[Record]) -> Result<u64> {
        let first = records.first().expect("only called with records");
        if !self.fits(first, true) {
            self.roll(first)?;
        }
        let mut group = Vec::with_capacity(records.len());
        let mut end = first.position;
        for record in records {
            if !self.fits(record, group.is_empty()) {
                break;
            }
            group.push(record.bytes.clone());
            end = record.end();
        }
        let offset = self.segment.file_offset(first.position);
        self.segment.file.write_parts_at(offset, &group)?;
        self.write_zeros(self.segment.file_offset(end), end - first.position)?;
        self.segment.file.sync()?;
        self.segment.set_end(end);
        Ok(end)
    }

    /// Whether a record has room in the segment; an empty one takes any.
    fn fits(&self, record: &Record, first: bool) -> bool {
        let used = record.position - self.segment.header.base;
        (used == 0 && first) || used + record.bytes.len() as u64 <= self.segment_bytes_max
    }

    fn roll(&mut self, first: &Record) -> Result<()> {
        let header = Header {
            base: first.position,
            first_row: first.about.first_row,
            previous_end: first.position,
            log_id: self.log.log_id,
            secret: self.log.secret,
        };
        let keys = self.log.lock().keys.before(header.base);
        let segment = Arc::new(begin_segment(&self.vfs, &self.dir, header, keys)?);
        self.segment = segment.clone();
        self.zeros_to = HEADER;
        self.log.lock().segments.push_back(segment);
        Ok(())
    }

    fn write_zeros(&mut self, written_to: u64, group_bytes: u64) -> Result<()> {
        self.zeros_to = self.zeros_to.max(written_to);
        // Room for the mark, too.
        if group_bytes < SMALL_GROUP_BYTES && written_to + MARK as u64 > self.zeros_to {
            let to = (written_to + ZEROS_AHEAD).min(HEADER + self.segment_bytes_max + MARK as u64);
            preallocate(self.segment.file.as_ref(), self.zeros_to, to)?;
            self.zeros_to = self.zeros_to.max(to);
        }
        Ok(())
    }

    /// Says behind the last record that everything before is durable. Only tells damage from a torn end, so a failure means nothing.
    fn mark(&mut self, end: u64) {
        let offset = self.segment.file_offset(end);
        let mark = encode_mark(self.log.secret, end);
        if self.segment.file.write_at(offset, &mark).is_ok() {
            self.zeros_to = self.zeros_to.max(offset + MARK as u64);
        }
    }

    /// Deletes segments, oldest first and durably one after the other: one that is missing between others would look like damage.
    /// What could not be deleted comes before whatever is to be deleted next.
    fn delete(&mut self, segments: Vec<Arc<Segment>>) {
        self.unneeded.extend(segments);
        while let Some(segment) = self.unneeded.front() {
            if let Err(error) = self.vfs.remove(&segment.path).and_then(|()| self.vfs.sync_dir(&self.dir)) {
                warn!(error = %error.chain(), "a segment of the ingest log could not be deleted");
                break;
            }
            self.unneeded.pop_front();
        }
        self.log.room.notify_waiters();
    }
}
