//! From chunks of lines to batches of rows, for every format.
//!
//! Lines are found, judged by length and encoding, and handed on in blocks; what a line means is its format's [`RowParser`]. Here
//! too is everything that formats share: malformed lines, metadata columns, batches of bounded size.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};

use super::column::nullable_field;
use super::json::{Job, Level, Simd};
use super::metadata::Metadata;
use super::{DecodeRequest, Decoded, Decoder, KeepMalformed, Malformed, OnMalformed};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::source::{LineChunk, LineEnd, Records};

/// Rows of a batch at most.
const ROWS_MAX: usize = 8192;
/// Lines that a parser gets at once.
const BLOCK_LINES: usize = 64;
/// A batch ends early once its lines have this many bytes: offsets have 32 bits.
const BATCH_BYTES: usize = 64 << 20;

/// Malformed lines that are kept as samples, and bytes of each: a flood of them costs no more than a few.
const SAMPLES_MAX: usize = 8;
const SAMPLE_BYTES_MAX: usize = 1024;
/// Bytes that are searched for line ends at once: they stay in the nearest cache until they are parsed.
const SLAB_BYTES: usize = 32 << 10;

/// What a line means.
///
/// # Contract
/// - Every line gives one row, malformed or not, except that a malformed one gives none if the decode request says
///   [`OnMalformed::Drop`].
/// - The row of a line depends on that line alone.
pub(super) trait RowParser: Send {
    /// Appends the rows of up to 64 `lines` (ranges of `text`, without line ends, valid UTF-8 each) and tells which were malformed,
    /// in the order of the lines. Returns a bit for each line whose row is left out because the filter does not want it; that is
    /// no duty, for every row is tested again.
    fn parse(&mut self, text: &[u8], lines: &[Range<usize>], faults: &mut Vec<LineFault>) -> u64;
    /// Appends the row of a line that is malformed whatever it says; with `salvage` its fields are read as far as they go.
    fn malformed(&mut self, text: &str, salvage: bool);
    /// Appends the row of a record that has no value at all.
    fn absent(&mut self);
    /// The rows since the last call, a column per field of [`DecodeRequest::built`].
    fn take(&mut self) -> Result<Vec<ArrayRef>>;
}

/// Why a line of a block is malformed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LineFault {
    /// Index within the block.
    pub(super) line: usize,
    /// The top-level field that was wrong, where one was.
    pub(super) field: Option<Arc<str>>,
    /// Why.
    pub(super) reason: Arc<str>,
}

/// A [`Decoder`] for any [`RowParser`].
pub(super) struct LineDecoder<P> {
    parser: P,
    /// Whether the first line of a file is no row.
    has_header: bool,
    request: DecodeRequest,
    /// Of the rows given out.
    schema: SchemaRef,
    /// The columns that the parser builds: the projected ones, then others that the filter looks at.
    built: Vec<usize>,
    /// Of the batch in the making.
    rows: usize,
    bytes: usize,
    metadata: Metadata,
    decoded: Decoded,
    block: Vec<Range<usize>>,
    faults: Vec<LineFault>,
    level: Level,
    line_feeds: Vec<u32>,
}

/// Searches text for line feeds: how many there are, and whether the text is ASCII.
struct LineFeeds<'a> {
    text: &'a [u8],
    found: &'a mut [u32],
}

impl Job for LineFeeds<'_> {
    type Output = (usize, bool);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (usize, bool) {
        simd.line_feeds(self.text, self.found)
    }
}

impl<P: RowParser> LineDecoder<P> {
    pub(super) fn new(request: DecodeRequest, parser: P) -> Self {
        let declared = request.projection.iter().map(|at| nullable_field(&request.schema.fields()[*at]));
        let metadata = request.metadata.iter().map(|column| Arc::new(column.field()));
        let schema = Arc::new(Schema::new(declared.chain(metadata).collect::<Vec<_>>()));
        Self {
            parser,
            has_header: false,
            schema,
            built: request.built(),
            rows: 0,
            bytes: 0,
            metadata: Metadata::default(),
            decoded: nothing(),
            block: Vec::with_capacity(BLOCK_LINES),
            faults: Vec::new(),
            level: Level::detect(),
            line_feeds: Vec::new(),
            request,
        }
    }

    /// Leaves out the first line of each file, and of whatever else is read from its first byte.
    pub(super) fn skipping_header(mut self, has_header: bool) -> Self {
        self.has_header = has_header;
        self
    }

    fn parse_block(&mut self, chunk: &LineChunk, text: &[u8]) -> Result<()> {
        let (Some(first), Some(last)) = (self.block.first(), self.block.last()) else { return Ok(()) };
        self.bytes += last.end - first.start;
        self.faults.clear();
        let left_out = self.parser.parse(text, &self.block, &mut self.faults);
        self.decoded.rows_filtered += u64::from(left_out.count_ones());
        if self.faults.is_empty() {
            self.decoded.lines_read += self.block.len() as u64;
            self.rows += self.block.len() - left_out.count_ones() as usize;
            if !self.request.metadata.is_empty() {
                let kept = (0..self.block.len()).filter(|line| left_out >> line & 1 == 0);
                kept.for_each(|line| self.metadata.push(&self.request.metadata, chunk, self.block[line].start));
            }
        } else {
            self.keep_faults(chunk, text, left_out)?;
        }
        self.block.clear();
        self.end_batch_if(ROWS_MAX - BLOCK_LINES + 1)
    }

    /// Counts the lines of a block some of which are malformed.
    fn keep_faults(&mut self, chunk: &LineChunk, text: &[u8], left_out: u64) -> Result<()> {
        let mut faults = std::mem::take(&mut self.faults);
        let mut next_fault = faults.drain(..).peekable();
        for at in 0..self.block.len() {
            let line = self.block[at].clone();
            match next_fault.next_if(|fault| fault.line == at) {
                None if left_out >> at & 1 == 1 => self.decoded.lines_read += 1,
                None => self.keep_row(chunk, line.start),
                Some(fault) => self.count_malformed(chunk, line.start, &text[line], fault.field, fault.reason)?,
            }
        }
        drop(next_fault);
        self.faults = faults;
        Ok(())
    }

    /// A line that is malformed before anything is parsed.
    fn reject(&mut self, chunk: &LineChunk, start: usize, line: &[u8], reason: &str, salvage: bool) -> Result<()> {
        let raw = &line[..line.len().min(self.request.limits.line_bytes_max)];
        if self.request.on_malformed == OnMalformed::Permissive {
            self.parser.malformed(&String::from_utf8_lossy(raw), salvage);
        }
        self.bytes += raw.len();
        self.count_malformed(chunk, start, raw, None, reason.into())?;
        self.end_batch_if(ROWS_MAX - BLOCK_LINES + 1)
    }

    fn keep_row(&mut self, chunk: &LineChunk, start: usize) {
        self.decoded.lines_read += 1;
        self.rows += 1;
        self.metadata.push(&self.request.metadata, chunk, start);
    }

    fn count_malformed(
        &mut self,
        chunk: &LineChunk,
        start: usize,
        raw: &[u8],
        field: Option<Arc<str>>,
        reason: Arc<str>,
    ) -> Result<()> {
        self.decoded.lines_malformed += 1;
        match self.request.on_malformed {
            OnMalformed::Permissive => self.keep_row(chunk, start),
            OnMalformed::Drop => {
                self.decoded.lines_read += 1;
                self.decoded.lines_dropped += 1;
            }
            OnMalformed::Fail => {
                let field = field.map(|name| format!(", field {name:?}")).unwrap_or_default();
                let what = if chunk.records.is_some() { "record at offset" } else { "line at byte" };
                let position = chunk.position_of(start);
                return Err(Error::spark(
                    ErrorKind::Data,
                    "MALFORMED_RECORD_IN_PARSING",
                    format!("malformed {what} {position} of {}{field}: {reason}", chunk.origin),
                ));
            }
        }
        let raw = match self.request.keep_malformed {
            KeepMalformed::All => Some(raw),
            KeepMalformed::Samples if self.decoded.malformed.len() < SAMPLES_MAX => Some(&raw[..raw.len().min(SAMPLE_BYTES_MAX)]),
            KeepMalformed::Samples | KeepMalformed::None => None,
        };
        if let Some(raw) = raw {
            let position = chunk.position_of(start);
            self.decoded.malformed.push(Malformed {
                origin: Arc::clone(&chunk.origin),
                position,
                field,
                reason,
                raw: raw.to_vec(),
            });
        }
        Ok(())
    }

    /// Ends the batch once it has `rows` rows, or as many bytes as a batch may have.
    fn end_batch_if(&mut self, rows: usize) -> Result<()> {
        if self.rows < rows && self.bytes < BATCH_BYTES {
            return Ok(());
        }
        let mut columns = self.parser.take()?;
        let wanted = self.wanted(&columns);
        columns.truncate(self.request.projection.len());
        columns.extend(self.metadata.take(&self.request.metadata, &self.request.source));
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let mut batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .attempting(ErrorKind::Internal, || "build a batch of rows".to_owned())?;
        if let Some(wanted) = wanted.filter(|wanted| wanted.count_set_bits() < self.rows) {
            batch = filter_record_batch(&batch, &wanted.into())
                .attempting(ErrorKind::Internal, || "filter a batch of rows".to_owned())?;
            self.decoded.rows_filtered += (self.rows - batch.num_rows()) as u64;
        }
        if batch.num_rows() > 0 {
            self.decoded.rows.push(batch);
        }
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    /// Which rows fulfil the filter, if there is one.
    fn wanted(&self, columns: &[ArrayRef]) -> Option<BooleanBuffer> {
        let passed = self.request.filter.iter().map(|condition| {
            let at = self.built.iter().position(|column| *column == condition.column);
            condition.test.holds(&columns[at.expect("a column that the filter looks at is built")])
        });
        passed.reduce(|all, one| &all & &one)
    }

    /// Takes in one line; `whole` says whether every byte of the chunk so far is known to be UTF-8.
    #[inline]
    fn line(&mut self, chunk: &LineChunk, text: &[u8], line: Range<usize>, whole: bool) -> Result<()> {
        if !whole || line.len() > self.request.limits.line_bytes_max {
            return self.unusual_line(chunk, text, line);
        }
        self.push_line(chunk, text, line)
    }

    #[inline]
    fn push_line(&mut self, chunk: &LineChunk, text: &[u8], line: Range<usize>) -> Result<()> {
        if self.block.first().is_some_and(|first| line.end - first.start > BATCH_BYTES) {
            self.parse_block(chunk, text)?;
        }
        self.block.push(line);
        if self.block.len() == BLOCK_LINES { self.parse_block(chunk, text) } else { Ok(()) }
    }

    /// Takes in a line that is too long or that may not be UTF-8.
    #[cold]
    fn unusual_line(&mut self, chunk: &LineChunk, text: &[u8], line: Range<usize>) -> Result<()> {
        let bytes = &text[line.clone()];
        let (reason, salvage) = if bytes.len() > self.request.limits.line_bytes_max {
            ("too long", false)
        } else if simdutf8::basic::from_utf8(bytes).is_err() {
            ("invalid UTF-8", true)
        } else {
            return self.push_line(chunk, text, line);
        };
        self.parse_block(chunk, text)?;
        self.reject(chunk, line.start, bytes, reason, salvage)
    }

    fn lines(&mut self, chunk: &LineChunk) -> Result<()> {
        let text = chunk.bytes.as_ref();
        // Files have no time of receipt; theirs alone may begin with a byte order mark.
        let marked = chunk.position == 0 && chunk.received_at_us.is_none() && text.starts_with(b"\xef\xbb\xbf");
        let mut start = if marked { 3 } else { 0 };
        if self.has_header && chunk.position == 0 {
            start = memchr::memchr(b'\n', text).map_or(text.len(), |end| end + 1);
        }
        // As long as all is ASCII, all is valid.
        let mut whole = None;
        let mut line_feeds = std::mem::take(&mut self.line_feeds);
        line_feeds.resize(SLAB_BYTES + 2, 0);
        for slab in (start..text.len()).step_by(SLAB_BYTES) {
            let in_slab = LineFeeds { text: &text[slab..text.len().min(slab + SLAB_BYTES)], found: &mut line_feeds };
            let (count, ascii) = self.level.run(in_slab);
            if !ascii && whole.is_none() {
                whole = Some(simdutf8::basic::from_utf8(text).is_ok());
            }
            for end in line_feeds[..count].iter().map(|at| slab + *at as usize) {
                let line_end = if end > start && text[end - 1] == b'\r' { end - 1 } else { end };
                self.line(chunk, text, start..line_end, whole != Some(false))?;
                start = end + 1;
            }
        }
        self.line_feeds = line_feeds;
        let whole = whole != Some(false);
        if start < text.len() {
            match chunk.end {
                LineEnd::Clean => self.line(chunk, text, start..text.len(), whole)?,
                LineEnd::Truncated | LineEnd::TooLong => {
                    self.parse_block(chunk, text)?;
                    let reason = if chunk.end == LineEnd::Truncated { "truncated" } else { "too long" };
                    self.reject(chunk, start, &text[start..], reason, false)?;
                }
            }
        }
        self.parse_block(chunk, text)
    }

    /// Takes in the records of a chunk: what lies in one is never cut, whatever bytes it holds.
    fn records(&mut self, chunk: &LineChunk, records: &Records) -> Result<()> {
        let text = chunk.bytes.as_ref();
        // Each ends with a line feed, which no character reaches across: all are valid exactly when the whole is.
        let whole = simdutf8::basic::from_utf8(text).is_ok();
        for (range, has_value) in records.ranges() {
            if has_value {
                self.line(chunk, text, range, whole)?;
            } else {
                self.parse_block(chunk, text)?;
                self.parser.absent();
                self.keep_row(chunk, range.start);
                self.end_batch_if(ROWS_MAX - BLOCK_LINES + 1)?;
            }
        }
        self.parse_block(chunk, text)
    }

    /// Forgets everything since the last `finish`.
    fn reset(&mut self) {
        self.block.clear();
        self.faults.clear();
        self.metadata = Metadata::default();
        self.decoded = nothing();
        (self.rows, self.bytes) = (0, 0);
    }
}

impl<P: RowParser> Decoder for LineDecoder<P> {
    fn push(&mut self, chunk: &LineChunk) -> Result<()> {
        let result = match &chunk.records {
            Some(records) => self.records(chunk, records),
            None => self.lines(chunk),
        };
        if result.is_err() {
            self.reset();
            self.parser.take()?;
        }
        result
    }

    fn finish(&mut self) -> Result<Decoded> {
        if self.rows > 0 {
            self.end_batch_if(0)?;
        }
        if self.decoded.rows.is_empty() {
            self.decoded.rows.push(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        Ok(std::mem::replace(&mut self.decoded, nothing()))
    }
}

fn nothing() -> Decoded {
    Decoded { rows: Vec::new(), lines_read: 0, lines_malformed: 0, lines_dropped: 0, rows_filtered: 0, malformed: Vec::new() }
}
