//! A query's view of an ingest log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::log::{Log, Next};
use super::record::Record;
use crate::error::{Error, ErrorKind, Result};
use crate::source::lines::{after_lines, count_lines, fitting};
use crate::source::{Chunk, Extent, LineChunk, LineEnd, Offset, OffsetRange, ReadLimit, Source};

/// A place in an ingest log: the start of a record, or a line within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The log that it is a place of.
    pub(super) log: u32,
    /// Of a record.
    pub(super) position: u64,
    /// Bytes of the record's lines that come before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) skip: u64,
    /// Rows in the log before it.
    pub(super) row: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A query's handle on a shared source, with the query's own offsets.
#[derive(Debug)]
pub struct IngestSource {
    log: Arc<Log>,
    query: String,
    /// Where the log ended when an available-now query was opened.
    stop: Option<(u64, u64)>,
    /// End of a range whose rows were counted as lost.
    lost_to: Option<Offset>,
}

impl IngestSource {
    pub(super) fn new(log: Arc<Log>, query: &str, extent: Extent) -> Self {
        log.register(query);
        let stop = (extent == Extent::AvailableNow).then(|| log.end_and_row());
        Self { log, query: query.to_owned(), stop, lost_to: None }
    }

    /// The place that an offset stands for now, and whether it is one of a log that is gone.
    fn place(&self, offset: &Offset) -> Result<(Place, bool)> {
        let place: Place = offset.decode()?;
        if place.log == self.log.log_id {
            let (position, row) = self.log.normal(place.position, place.row)?;
            let skip = if position == place.position { place.skip } else { 0 };
            return Ok((Place { position, row, skip, ..place }, false));
        }
        if self.log.durable {
            let message = "the ingest log is not the one that the query has read so far; was its folder removed or replaced?";
            return Err(Error::spark(ErrorKind::Corrupt, "CKPT_CORRUPT", message));
        }
        let (position, row) = self.log.oldest_and_row();
        Ok((Place { log: self.log.log_id, position, skip: 0, row }, true))
    }
}

/// The records from `position` on, wherever they are; none at the end.
async fn records(log: &Arc<Log>, position: u64, stop: u64) -> Result<Vec<Record>> {
    match log.next(position, stop)? {
        Next::Here(records) => Ok(records),
        Next::Nowhere => Ok(Vec::new()),
        Next::InSegment(segment, position) => {
            let read = tokio::task::spawn_blocking(move || segment.read(position, stop)).await;
            read.map_err(|cause| Error::internal("reading the ingest log stopped unexpectedly").because(cause))?
        }
    }
}

/// How far rows and bytes reach from `start`.
async fn reach(log: &Arc<Log>, start: Place, stop: u64, limit: &ReadLimit) -> Result<Place> {
    let mut rows_left = limit.rows_max.unwrap_or(u64::MAX).max(1);
    let mut bytes_left = limit.bytes_max.unwrap_or(u64::MAX).max(1);
    let mut at = start;
    loop {
        let next = records(log, at.position, stop).await?;
        if next.is_empty() {
            return Ok(at);
        }
        for record in next {
            let payload = record.payload();
            let skipped = usize::try_from(at.skip).unwrap_or(usize::MAX).min(payload.len());
            let lines = &payload[skipped..];
            let rows = u64::from(record.about.rows);
            if skipped == 0 && rows <= rows_left && lines.len() as u64 <= bytes_left {
                (rows_left, bytes_left) = (rows_left - rows, bytes_left - lines.len() as u64);
                at = Place { position: record.end(), skip: 0, row: at.row + rows, ..at };
                continue;
            }
            let mut fit = fitting(lines, rows_left, bytes_left);
            if fit == 0 && (at.position, at.skip) == (start.position, start.skip) {
                fit = after_lines(lines, 1);
            }
            let rows = count_lines(&lines[..fit]);
            rows_left = rows_left.saturating_sub(rows);
            bytes_left = bytes_left.saturating_sub(fit as u64);
            at.row += rows;
            if fit < lines.len() {
                let skip = (skipped + fit) as u64;
                return Ok(Place { position: record.position, skip, ..at });
            }
            (at.position, at.skip) = (record.end(), 0);
        }
    }
}

/// What of a range has not been read yet.
struct Reading {
    log: Arc<Log>,
    at: Place,
    end: Place,
    ready: VecDeque<Record>,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<Chunk>, Self)> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                match self.chunk(&record) {
                    Some(chunk) => return Some((Ok(Chunk::Lines(chunk)), self)),
                    None => continue,
                }
            }
            // A record that the range ends within begins before its end.
            let stop = self.end.position + u64::from(self.end.skip > 0);
            match records(&self.log, self.at.position, stop).await {
                Ok(records) if records.is_empty() => return None,
                Ok(records) => self.ready = records.into(),
                Err(error) => {
                    self.at.position = stop;
                    return Some((Err(error), self));
                }
            }
        }
    }

    /// The lines of a record that are in the range.
    fn chunk(&mut self, record: &Record) -> Option<LineChunk> {
        let payload = record.payload();
        let within = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(payload.len());
        let start = within(if record.position == self.at.position { self.at.skip } else { 0 });
        let stop = if record.position == self.end.position { within(self.end.skip) } else { payload.len() };
        self.at = Place { position: record.end(), skip: 0, ..self.at };
        (stop > start).then(|| LineChunk {
            bytes: payload.slice(start..stop),
            origin: record.about.origin.clone(),
            position: record.payload_position() + start as u64,
            received_at_us: Some(record.about.received_at_us),
            records: None,
            end: if stop == payload.len() { record.about.end } else { LineEnd::Clean },
        })
    }
}

#[async_trait]
impl Source for IngestSource {
    async fn initial_offset(&mut self) -> Result<Offset> {
        let (position, row) = self.log.oldest_and_row();
        Ok(Offset::encode(&Place { log: self.log.log_id, position, skip: 0, row }))
    }

    async fn latest_offset(&mut self, start: &Offset, limit: &ReadLimit) -> Result<Offset> {
        let (from, _) = self.place(start)?;
        let (end, end_row) = self.stop.unwrap_or_else(|| self.log.end_and_row());
        if from.position >= end {
            // What was there when an available-now query was opened is all that it reads, so it needs no connection.
            if self.stop.is_none() {
                self.log.check_failure()?;
            }
            return Ok(start.clone());
        }
        let all = limit.rows_max.is_none_or(|max| end_row.saturating_sub(from.row) <= max)
            && limit.bytes_max.is_none_or(|max| end - from.position <= max);
        let place =
            if all { Place { position: end, skip: 0, row: end_row, ..from } } else { reach(&self.log, from, end, limit).await? };
        // A gap that a crash left holds no records.
        if (place.position, place.skip) == (from.position, from.skip) {
            return Ok(start.clone());
        }
        Ok(Offset::encode(&place))
    }

    async fn read(&mut self, range: &OffsetRange) -> Result<BoxStream<'static, Result<Chunk>>> {
        let ((start, start_gone), (end, end_gone)) = (self.place(&range.start)?, self.place(&range.end)?);
        if start_gone && end_gone {
            let rows = range.end.decode::<Place>()?.row.saturating_sub(range.start.decode::<Place>()?.row);
            if self.lost_to.replace(range.end.clone()).as_ref() != Some(&range.end) && rows > 0 {
                self.log.stats.rows_lost.fetch_add(rows, Ordering::Relaxed);
                tracing::warn!(rows, query = self.query, "rows of a planned batch were only in memory and are lost");
            }
            return Ok(futures::stream::iter([Ok(Chunk::Lost(rows))]).boxed());
        }
        let reading = Reading { log: self.log.clone(), at: start, end, ready: VecDeque::new() };
        Ok(futures::stream::unfold(reading, Reading::next).boxed())
    }

    async fn make_durable(&mut self, end: &Offset) -> Result<()> {
        if !self.log.durable {
            return Ok(());
        }
        let (end, _) = self.place(end)?;
        self.log.durable_to(end.position + u64::from(end.skip > 0)).await
    }

    async fn changed(&mut self, end: &Offset) {
        let Ok((place, _)) = self.place(end) else { return };
        let stop = self.stop.map_or(u64::MAX, |(stop, _)| stop);
        let mut log_end = self.log.end();
        let is_closed = log_end.wait_for(|now| now.position.min(stop) > place.position || now.failed).await.is_err();
        if is_closed {
            std::future::pending::<()>().await;
        }
    }

    async fn release(&mut self, end: &Offset) -> Result<()> {
        let (place, _) = self.place(end)?;
        self.log.release(&self.query, place.position);
        Ok(())
    }
}
