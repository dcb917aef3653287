//! One source's rows of one batch: fetched and decoded ahead of the plan, on several cores, and handed out in order.
//!
//! A source gives out chunks of lines, which are decoded one after the other, or parts that can be read on their own: a few of those
//! are read and decoded at a time, each on a thread that may wait for the disk. Whatever happens on the way, rows, malformed lines,
//! counts, checksum and the first error are those of reading everything in order.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, new_null_array};
use arrow::datatypes::{FieldRef, Schema};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use twox_hash::XxHash3_64;

use super::glance::SAMPLES_PER_BATCH;
use super::phases::{PartWork, Waits};
use super::query::SourceRows;
use crate::checkpoint::InputChecksum;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::format::{DecodeRequest, Decoded, Decoder, FormatOptions, KeepMalformed, Malformed, MetadataColumn, decoder};
use crate::plan::catalog::metadata_field;
use crate::source::{Chunk, LineChunk, LinePart, ReadBuffer};

/// Text whose rows are handed on together, in bytes: enough for some full batches of rows, little enough that what is decoded ahead
/// does not take much memory.
const TEXT_BYTES: usize = 2 << 20;

/// Pieces that a part may be ahead of the plan. A part of a plain file has a single one.
const PIECES_AHEAD: usize = 2;

/// Rows of one source in one batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SourceCounts {
    pub(super) read: u64,
    pub(super) decoded: u64,
    pub(super) malformed: u64,
    pub(super) dropped_malformed: u64,
    /// Planned, and gone before they were read: none of the others.
    pub(super) lost: u64,
}

/// Decoders of one source, lent to whoever has a part of it to decode.
pub struct Decoders {
    options: FormatOptions,
    request: DecodeRequest,
    idle: Mutex<Vec<Worker>>,
}

/// What decoding needs and would be dear to make for every part.
struct Worker {
    decoder: Box<dyn Decoder>,
    buffer: ReadBuffer,
}

impl std::fmt::Debug for Decoders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoders").field("options", &self.options).field("request", &self.request).finish_non_exhaustive()
    }
}

impl Decoders {
    /// Decoders of a format; what it cannot read is a `Config` error.
    pub fn new(options: FormatOptions, request: DecodeRequest) -> Result<Self> {
        let first = Worker { decoder: decoder(&options, request.clone())?, buffer: ReadBuffer::default() };
        Ok(Self { options, request, idle: Mutex::new(vec![first]) })
    }

    /// The format.
    pub fn options(&self) -> &FormatOptions {
        &self.options
    }

    /// What they are asked for.
    pub fn request(&self) -> &DecodeRequest {
        &self.request
    }

    fn lend(&self) -> Result<Worker> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(worker) => Ok(worker),
            None => Ok(Worker { decoder: decoder(&self.options, self.request.clone())?, buffer: ReadBuffer::default() }),
        }
    }

    /// Takes a worker back that has finished what it began; one that has not is dropped with all that is in it.
    fn give_back(&self, worker: Worker) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }
}

/// One source's rows of one batch.
pub(super) struct Feed {
    source: String,
    rows: SourceRows,
    chunks: BoxStream<'static, Result<Chunk>>,
    is_fetched: bool,
    /// Decodes the chunks that come by themselves.
    inline: Option<Inline>,
    /// In order; the first one's rows are next.
    parts: VecDeque<Part>,
    parts_max: usize,
    ready: VecDeque<RecordBatch>,
    counts: SourceCounts,
    waits: Waits,
    /// What all parts took, on whatever thread.
    part_work: Arc<PartWork>,
    malformed: Vec<Malformed>,
    malformed_max: usize,
    hash: XxHash3_64,
    error: Option<Error>,
}

struct Inline {
    worker: Worker,
    hash: XxHash3_64,
    text_bytes: usize,
}

/// A part that is being decoded.
struct Part {
    pieces: mpsc::Receiver<Decoded>,
    /// The checksum of its lines.
    end: JoinHandle<Result<u64>>,
}

/// What was read of a source in the end.
pub(super) struct SourceRead {
    pub(super) counts: SourceCounts,
    /// How long the batch waited for the source and its decoders.
    pub(super) waits: Waits,
    pub(super) malformed: Vec<Malformed>,
    pub(super) checksum: InputChecksum,
}

impl Feed {
    /// The rows of `chunks`.
    pub(super) fn new(source: &str, rows: SourceRows, chunks: BoxStream<'static, Result<Chunk>>) -> Self {
        let malformed_max = match &rows {
            SourceRows::Lines(decoders) if decoders.request.keep_malformed == KeepMalformed::All => usize::MAX,
            SourceRows::Lines(_) | SourceRows::Columns { .. } => SAMPLES_PER_BATCH,
        };
        Self {
            source: source.to_owned(),
            malformed_max,
            rows,
            chunks,
            is_fetched: false,
            inline: None,
            parts: VecDeque::new(),
            // One more: while the plan is busy with the first one's rows, the others keep the cores busy.
            parts_max: cores() + 1,
            ready: VecDeque::new(),
            counts: SourceCounts::default(),
            waits: Waits::default(),
            part_work: Arc::default(),
            malformed: Vec::new(),
            hash: XxHash3_64::new(),
            error: None,
        }
    }

    /// The next rows, never none of them. An error is told again at [`Feed::finish`]; may be dropped and called again.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while self.error.is_none() {
            if let Some(rows) = self.ready.pop_front() {
                return Ok(Some(rows));
            }
            match self.advance().await {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) => self.error = Some(error),
            }
        }
        Err(Error::internal(format!("source {:?} could not be read", self.source)))
    }

    /// Whether there are rows at all, dropped by the filter or not.
    pub(super) async fn is_empty(&mut self) -> Result<bool> {
        while self.counts.decoded == 0 {
            if !self.advance().await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads what the plan has left unread.
    pub(super) async fn finish(&mut self) -> Result<SourceRead> {
        self.ready.clear();
        while self.error.is_none() && self.advance().await? {
            self.ready.clear();
        }
        match self.error.take() {
            Some(error) => Err(error),
            None => Ok(SourceRead {
                counts: self.counts,
                waits: self.waits.with_parts(&self.part_work),
                malformed: std::mem::take(&mut self.malformed),
                checksum: InputChecksum { rows: self.counts.read, xxh3: self.hash.finish() },
            }),
        }
    }

    /// One step; false when there is nothing more to do.
    async fn advance(&mut self) -> Result<bool> {
        while !self.is_fetched && self.parts.len() < self.parts_max {
            let asked = Instant::now();
            let chunk = self.chunks.try_next().await?;
            self.waits.read += asked.elapsed();
            match chunk {
                None => {
                    self.is_fetched = true;
                    return self.end_inline().map(|()| true);
                }
                Some(Chunk::Part(part)) => {
                    let started = self.start(part)?;
                    self.parts.push_back(started);
                }
                Some(Chunk::Lines(chunk)) => {
                    let begun = Instant::now();
                    self.decode(&chunk)?;
                    self.waits.decode += begun.elapsed();
                    return Ok(true);
                }
                Some(Chunk::Rows(rows)) => return self.pick(&rows).map(|()| true),
                Some(Chunk::Lost(rows)) => self.counts.lost += rows,
            }
        }
        let Some(part) = self.parts.front_mut() else { return Ok(false) };
        let asked = Instant::now();
        let piece = part.pieces.recv().await;
        self.waits.parts += asked.elapsed();
        if let Some(piece) = piece {
            self.take(piece);
            return Ok(true);
        }
        let ended = (&mut part.end).await;
        self.parts.pop_front();
        let hash =
            ended.map_err(|panic| Error::internal(format!("decoding source {:?} panicked", self.source)).because(panic))?;
        self.hash.write_u64(hash?);
        Ok(true)
    }

    fn take(&mut self, piece: Decoded) {
        self.counts.read += piece.lines_read;
        self.counts.malformed += piece.lines_malformed;
        self.counts.dropped_malformed += piece.lines_dropped;
        self.counts.decoded = self.counts.read - self.counts.dropped_malformed;
        self.malformed.extend(piece.malformed.into_iter().take(self.malformed_max.saturating_sub(self.malformed.len())));
        self.ready.extend(piece.rows.into_iter().filter(|rows| rows.num_rows() > 0));
    }

    /// Begins to decode a part.
    fn start(&self, part: Box<dyn LinePart>) -> Result<Part> {
        let SourceRows::Lines(decoders) = &self.rows else { return Err(self.wrong_chunk()) };
        let (decoders, work) = (decoders.clone(), self.part_work.clone());
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        let end = tokio::task::spawn_blocking(move || {
            let mut worker = decoders.lend()?;
            let hash = decode_part(part, &mut worker, &sender, &work)?;
            decoders.give_back(worker);
            Ok(hash)
        });
        Ok(Part { pieces, end })
    }

    /// Decodes lines that came by themselves.
    fn decode(&mut self, chunk: &LineChunk) -> Result<()> {
        let SourceRows::Lines(decoders) = &self.rows else { return Err(self.wrong_chunk()) };
        let mut inline = match self.inline.take() {
            Some(inline) => inline,
            None => Inline { worker: decoders.lend()?, hash: XxHash3_64::new(), text_bytes: 0 },
        };
        inline.hash.write(&chunk.bytes);
        inline.text_bytes += chunk.bytes.len();
        inline.worker.decoder.push(chunk)?;
        if inline.text_bytes >= TEXT_BYTES {
            inline.text_bytes = 0;
            let piece = inline.worker.decoder.finish()?;
            self.take(piece);
        }
        self.inline = Some(inline);
        Ok(())
    }

    fn end_inline(&mut self) -> Result<()> {
        let (Some(mut inline), SourceRows::Lines(decoders)) = (self.inline.take(), &self.rows) else { return Ok(()) };
        let piece = inline.worker.decoder.finish()?;
        decoders.give_back(inline.worker);
        self.hash.write_u64(inline.hash.finish());
        self.take(piece);
        Ok(())
    }

    fn pick(&mut self, rows: &RecordBatch) -> Result<()> {
        let SourceRows::Columns { source, projection, metadata } = &self.rows else { return Err(self.wrong_chunk()) };
        let picked = pick(rows, source, projection, metadata)?;
        self.counts.read += rows.num_rows() as u64;
        self.counts.decoded = self.counts.read;
        self.ready.extend((picked.num_rows() > 0).then_some(picked));
        Ok(())
    }

    fn wrong_chunk(&self) -> Error {
        Error::internal(format!("source {:?} yields chunks that its format does not take", self.source))
    }
}

/// Cores there are, asked for once: it takes the standard library twenty system calls, too many for every small batch.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, |cores| cores.get()))
}

/// Reads and decodes a part; the checksum of its lines. Stops early when nobody wants the rest.
fn decode_part(part: Box<dyn LinePart>, worker: &mut Worker, pieces: &mpsc::Sender<Decoded>, work: &PartWork) -> Result<u64> {
    let Worker { decoder, buffer } = worker;
    let mut hash = XxHash3_64::new();
    let mut text_bytes = 0;
    let begun = Instant::now();
    let (mut decoding, mut sending) = (Duration::ZERO, Duration::ZERO);
    let mut send = |decoder: &mut Box<dyn Decoder>, decoding: &mut Duration| {
        let begun = Instant::now();
        let piece = decoder.finish()?;
        let finished = Instant::now();
        *decoding += finished - begun;
        let sent = pieces.blocking_send(piece);
        sending += finished.elapsed();
        sent.map_err(|_| Error::internal("nobody waits for what is being decoded"))
    };
    part.read(buffer, &mut |chunk| {
        // A part that fits a piece is one, for its end is where another begins anyway.
        if text_bytes >= TEXT_BYTES {
            text_bytes = 0;
            send(decoder, &mut decoding)?;
        }
        let begun = Instant::now();
        hash.write(&chunk.bytes);
        text_bytes += chunk.bytes.len();
        let pushed = decoder.push(chunk);
        decoding += begun.elapsed();
        pushed
    })?;
    send(decoder, &mut decoding)?;
    work.add(begun.elapsed().saturating_sub(decoding + sending), decoding);
    Ok(hash.finish())
}

/// The asked-for columns of rows that needed no decoding; of the metadata they have only `_source`.
fn pick(rows: &RecordBatch, source: &str, projection: &[usize], metadata: &[MetadataColumn]) -> Result<RecordBatch> {
    let mut fields: Vec<FieldRef> = projection.iter().map(|at| rows.schema_ref().fields()[*at].clone()).collect();
    let mut columns: Vec<ArrayRef> = projection.iter().map(|at| rows.column(*at).clone()).collect();
    for column in metadata {
        let field = metadata_field(*column);
        columns.push(match column {
            MetadataColumn::Source => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(source, rows.num_rows()))),
            _ => new_null_array(field.data_type(), rows.num_rows()),
        });
        fields.push(field.into());
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .attempting(ErrorKind::Internal, || format!("pick columns of source {source:?}"))
}

#[cfg(test)]
mod tests {
    use arrow::compute::concat_batches;
    use arrow::datatypes::{DataType, Field};
    use futures::StreamExt;
    use proptest::prelude::*;

    use super::*;
    use crate::format::{Comparison, Condition, LineLimits, Literal, OnMalformed, Test};
    use crate::source::LineEnd;

    /// A part that hands out its chunks one after the other.
    #[derive(Debug)]
    struct Prepared(Vec<LineChunk>);

    impl LinePart for Prepared {
        fn read(self: Box<Self>, _buffer: &mut ReadBuffer, deliver: &mut dyn FnMut(&LineChunk) -> Result<()>) -> Result<()> {
            self.0.iter().try_for_each(deliver)
        }
    }

    fn rows(on_malformed: OnMalformed) -> SourceRows {
        let fields = vec![Field::new("n", DataType::Int32, true), Field::new("s", DataType::Utf8, true)];
        let request = DecodeRequest {
            schema: Arc::new(Schema::new(fields)),
            projection: vec![0, 1],
            metadata: vec![MetadataColumn::Position, MetadataColumn::File],
            filter: vec![Condition { column: 0, test: Test::Compare(Comparison::Less, Literal::Integer(7)) }],
            on_malformed,
            keep_malformed: crate::format::KeepMalformed::All,
            source: "t".into(),
            time_zone: "UTC".into(),
            limits: LineLimits::default(),
        };
        SourceRows::Lines(Arc::new(Decoders::new(FormatOptions::Json, request).unwrap()))
    }

    fn chunk(lines: &[String], position: usize) -> LineChunk {
        let bytes = lines.concat().into_bytes().into();
        LineChunk {
            bytes,
            origin: "in/a".into(),
            position: position as u64,
            received_at_us: None,
            records: None,
            end: LineEnd::Clean,
        }
    }

    /// Everything that comes of reading `chunks`, as text; the checksum apart.
    fn read(rows: &SourceRows, chunks: Vec<Chunk>, parts_max: usize) -> (String, Option<u64>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let chunks = futures::stream::iter(chunks.into_iter().map(Ok)).boxed();
            let mut feed = Feed { parts_max, ..Feed::new("t", rows.clone(), chunks) };
            let mut batches = Vec::new();
            while let Ok(Some(batch)) = feed.next().await {
                batches.push(batch);
            }
            match feed.finish().await {
                Err(error) => (error.chain(), None),
                Ok(read) => {
                    let all = batches.first().map(|first| concat_batches(&first.schema(), &batches).unwrap());
                    (format!("{all:?} {:?} {:?}", read.counts, read.malformed), Some(read.checksum.xxh3))
                }
            }
        })
    }

    proptest! {
        #[test]
        fn parts_side_by_side_give_what_one_after_the_other_gives(
            kinds in prop::collection::vec(0usize..6, 0..200),
            cuts in prop::collection::vec((1usize..20, prop::bool::ANY), 1..40),
            on_malformed in prop::sample::select(vec![OnMalformed::Permissive, OnMalformed::Drop, OnMalformed::Fail]),
        ) {
            let line = |(at, kind): (usize, &usize)| match kind {
                0..=2 => format!("{{\"n\": {}, \"s\": \"row {at}\"}}\n", at % 10),
                3 => format!("{{\"s\": \"{at}\"}}\r\n"),
                4 => "\n".to_owned(),
                _ if at % 3 == 0 => format!("{{\"n\": {at}, \"s\":\n"),
                _ => format!("{{\"n\": {at}}}\n"),
            };
            let lines: Vec<String> = kinds.iter().enumerate().map(line).collect();
            let (mut parts, mut at, mut position) = (vec![Vec::new()], 0, 0);
            for (length, ends) in cuts.iter().cycle() {
                let piece = &lines[at..(at + length).min(lines.len())];
                parts.last_mut().unwrap().push(chunk(piece, position));
                at += piece.len();
                position += piece.iter().map(String::len).sum::<usize>();
                if at == lines.len() {
                    break;
                }
                if *ends {
                    parts.push(Vec::new());
                }
            }
            let rows = rows(on_malformed);
            let (sequential, _) = read(&rows, vec![Chunk::Lines(chunk(&lines, 0))], 1);
            let in_parts = || parts.iter().map(|part| Chunk::Part(Box::new(Prepared(part.clone())))).collect();
            let (one_by_one, checksum) = read(&rows, in_parts(), 1);
            prop_assert_eq!(&one_by_one, &sequential);
            prop_assert_eq!(read(&rows, in_parts(), 4), (sequential, checksum));
        }
    }
}
