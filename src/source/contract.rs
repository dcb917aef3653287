//! What every source must keep, checked on a real one with some records in it.

use futures::StreamExt;

use super::{Chunk, LineChunk, LineEnd, Offset, OffsetRange, ReadBuffer, ReadLimit, Source};
use crate::error::{Error, Result};

/// A line as a decoder would see it: its text without line end, where it came from and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: Vec<u8>,
    pub(crate) origin: String,
    pub(crate) position: u64,
    pub(crate) end: LineEnd,
}

/// The records of a chunk; rows are shown as text.
pub(crate) fn records(chunk: Chunk) -> Result<Vec<Line>> {
    Ok(match chunk {
        Chunk::Rows(rows) => {
            let shown = (0..rows.num_rows()).map(|row| format!("{:?}", rows.slice(row, 1)).into_bytes());
            shown.map(|text| Line { text, origin: String::new(), position: 0, end: LineEnd::Clean }).collect()
        }
        Chunk::Lines(lines) => lines_of(&lines),
        Chunk::Lost(_) => Vec::new(),
        Chunk::Part(part) => {
            let mut lines = Vec::new();
            part.read(&mut ReadBuffer::default(), &mut |chunk| {
                lines.extend(lines_of(chunk));
                Ok(())
            })?;
            lines
        }
    })
}

/// The lines of a chunk.
pub(crate) fn lines_of(lines: &LineChunk) -> Vec<Line> {
    let mut at = lines.position;
    let mut records = Vec::new();
    for line in lines.bytes.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let end = if text.len() == line.len() { lines.end } else { LineEnd::Clean };
        let text = text.strip_suffix(b"\r").unwrap_or(text).to_vec();
        records.push(Line { text, origin: lines.origin.to_string(), position: at, end });
        at += line.len() as u64;
    }
    records
}

/// Everything between two offsets.
pub(crate) async fn read(source: &mut dyn Source, start: &Offset, end: &Offset) -> Result<Vec<Line>> {
    let range = OffsetRange { start: start.clone(), end: end.clone() };
    let chunks: Vec<Result<Chunk>> = source.read(&range).await?.collect().await;
    let records = chunks.into_iter().map(|chunk| records(chunk?)).collect::<Result<Vec<_>>>()?;
    Ok(records.into_iter().flatten().collect())
}

/// The texts of everything from `start` to wherever the source is now.
pub(crate) async fn texts(source: &mut dyn Source, start: &Offset) -> Result<(Vec<String>, Offset)> {
    let end = source.latest_offset(start, &ReadLimit::default()).await?;
    let lines = read(source, start, &end).await?;
    Ok((lines.into_iter().map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect(), end))
}

/// Checks the contract of [`Source`] on one that holds at least five records and gets no more meanwhile.
pub(crate) async fn check(source: &mut dyn Source) {
    let unlimited = ReadLimit::default();
    let start = source.initial_offset().await.unwrap();
    let end = source.latest_offset(&start, &unlimited).await.unwrap();
    assert_ne!(start, end, "there are records");
    let all = read(source, &start, &end).await.unwrap();
    assert!(all.len() >= 5);
    assert_eq!(read(source, &start, &end).await.unwrap(), all, "a range reads the same every time");
    assert!(read(source, &start, &start).await.unwrap().is_empty(), "an empty range has no records");
    assert_eq!(source.latest_offset(&end, &unlimited).await.unwrap(), end, "nothing new gives the start itself");
    source.changed(&start).await;
    let waits = tokio::time::timeout(std::time::Duration::from_millis(20), source.changed(&end)).await;
    assert!(waits.is_err(), "nothing has changed at the end");

    for limit in [
        ReadLimit { rows_max: Some(1), ..unlimited },
        ReadLimit { rows_max: Some(2), ..unlimited },
        ReadLimit { bytes_max: Some(1), ..unlimited },
        ReadLimit { bytes_max: Some(12), ..unlimited },
        ReadLimit { rows_max: Some(3), bytes_max: Some(20), ..unlimited },
    ] {
        check_limit(source, &start, &all, &limit).await;
    }

    source.make_durable(&end).await.unwrap();
    let middle = source.latest_offset(&start, &ReadLimit { rows_max: Some(2), ..unlimited }).await.unwrap();
    source.release(&middle).await.unwrap();
    source.release(&middle).await.unwrap();
    assert_eq!(read(source, &middle, &end).await.unwrap(), all[2..], "what is not released can still be read");
    source.release(&end).await.unwrap();
    assert_eq!(source.latest_offset(&end, &unlimited).await.unwrap(), end);
    let foreign: Result<Offset, Error> = source.latest_offset(&Offset::encode(&"elsewhere"), &unlimited).await;
    assert!(foreign.is_err(), "another source's offset is refused");
}

/// Reads everything in batches of `limit` and checks that each keeps it and that together they are everything.
async fn check_limit(source: &mut dyn Source, start: &Offset, all: &[Line], limit: &ReadLimit) {
    let mut at = start.clone();
    let mut seen = Vec::new();
    loop {
        let end = source.latest_offset(&at, limit).await.unwrap();
        if end == at {
            break;
        }
        let lines = read(source, &at, &end).await.unwrap();
        assert!(!lines.is_empty(), "different offsets have records between them");
        assert!(limit.rows_max.is_none_or(|max| lines.len() as u64 <= max), "{limit:?}: {} rows", lines.len());
        let bytes: u64 = lines.iter().map(|line| line.text.len() as u64).sum();
        assert!(lines.len() == 1 || limit.bytes_max.is_none_or(|max| bytes <= max), "{limit:?}: {bytes} bytes");
        seen.extend(lines);
        at = end;
    }
    assert_eq!(seen, all, "{limit:?}");
}
