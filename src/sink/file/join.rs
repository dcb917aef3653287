//! Makes one file of the staged files of many commits.
//!
//! Lines are put one behind the other, a header once. Parquet has its rows written anew, so that row groups are as large as those of a
//! file that was written at once: those of a batch are too small to be read well.

use std::io::{Error as IoError, Result as IoResult, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::open::{Piece, lost};
use crate::checkpoint::storage::{LogFile, Open, Vfs};
use crate::error::{Error, Result};

/// Bytes that are read or written at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Where staged files are read from.
pub(super) struct Pieces<'a> {
    pub(super) path: &'a Path,
    pub(super) file: &'a dyn LogFile,
    pub(super) extension: &'a str,
}

/// A file that was written: its length and CRC-32C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) bytes: u64,
    pub(super) crc32c: u32,
}

impl Pieces<'_> {
    /// Writes the new file `path` with `pieces` in their order; durable, but not its name.
    pub(super) fn join(&self, vfs: &dyn Vfs, path: &Path, pieces: &[Piece]) -> Result<Written> {
        let mut out = Growing::new(vfs.open(path, Open::New)?);
        match (self.extension, pieces) {
            ("parquet", [_, _, ..]) => self.rows(pieces, &mut out)?,
            _ => self.bytes(pieces, &mut out)?,
        }
        out.finish()
    }

    fn bytes(&self, pieces: &[Piece], out: &mut Growing) -> Result<()> {
        for (index, piece) in pieces.iter().enumerate() {
            let skipped = if index == 0 { 0 } else { piece.header_bytes.min(piece.bytes) };
            let (mut crc, mut at) = (0, 0);
            while at < piece.bytes {
                let chunk = self.file.read_at(piece.at + at as u64, (piece.bytes - at).min(CHUNK_BYTES))?;
                if chunk.is_empty() {
                    break;
                }
                crc = crc32c::crc32c_append(crc, &chunk);
                out.push(&chunk[skipped.saturating_sub(at).min(chunk.len())..])?;
                at += chunk.len();
            }
            self.check(crc, piece)?;
        }
        Ok(())
    }

    fn check(&self, crc: u32, piece: &Piece) -> Result<()> {
        if crc == piece.crc32c { Ok(()) } else { Err(lost(self.path, "is damaged")) }
    }

    #[cfg(feature = "parquet")]
    fn whole(&self, piece: &Piece) -> Result<Bytes> {
        let bytes = self.file.read_at(piece.at, piece.bytes)?;
        self.check(crc32c::crc32c(&bytes), piece)?;
        Ok(bytes)
    }

    #[cfg(feature = "parquet")]
    fn rows(&self, pieces: &[Piece], out: &mut Growing) -> Result<()> {
        use crate::plan::spark::types::outside::SPARK_SCHEMA;
        use parquet::arrow::ArrowWriter;
        use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
        use parquet::errors::ParquetError;

        /// What a row group may take in memory while it is written.
        const ROW_GROUP_BYTES: usize = 128 << 20;

        let written = (|| -> std::result::Result<(), Stopped> {
            let mut writer: Option<ArrowWriter<&mut Growing>> = None;
            let mut out = Some(&mut *out);
            for piece in pieces {
                let reader = ParquetRecordBatchReaderBuilder::try_new(self.whole(piece)?)?;
                let writer = match (&mut writer, out.take()) {
                    (Some(writer), _) => writer,
                    (none, Some(out)) => {
                        let told = reader.schema().metadata().get(SPARK_SCHEMA).cloned();
                        let properties = super::encode::parquet_properties(told);
                        none.insert(ArrowWriter::try_new(out, reader.schema().clone(), Some(properties))?)
                    }
                    (None, None) => return Err(Stopped::Ours(Error::internal("a file was written twice"))),
                };
                for rows in reader.build()? {
                    writer.write(&rows.map_err(ParquetError::from)?)?;
                    if writer.in_progress_size() >= ROW_GROUP_BYTES {
                        writer.flush()?;
                    }
                }
            }
            if let Some(writer) = writer {
                writer.close()?;
            }
            Ok(())
        })();
        match written {
            Ok(()) => Ok(()),
            Err(Stopped::Ours(error)) => Err(error),
            // A full disk is known by our own error.
            Err(Stopped::Parquet(cause)) => {
                Err(out.failed.take().unwrap_or_else(|| lost(self.path, "is damaged").because(cause)))
            }
        }
    }

    #[cfg(not(feature = "parquet"))]
    fn rows(&self, _pieces: &[Piece], _out: &mut Growing) -> Result<()> {
        Err(Error::config(
            "this tidemill was built without Parquet and cannot join Parquet files: build with the feature `parquet`",
        ))
    }
}

/// What ends the joining of Parquet files.
#[cfg(feature = "parquet")]
enum Stopped {
    Ours(Error),
    Parquet(parquet::errors::ParquetError),
}

#[cfg(feature = "parquet")]
impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

#[cfg(feature = "parquet")]
impl From<parquet::errors::ParquetError> for Stopped {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::Parquet(error)
    }
}

/// A file that is written from its beginning to its end.
struct Growing {
    file: Arc<dyn LogFile>,
    buffer: Vec<u8>,
    /// Bytes before those in the buffer.
    written: u64,
    crc: u32,
    /// Why a write failed: whoever writes through [`Write`] knows less.
    failed: Option<Error>,
}

impl Growing {
    fn new(file: Arc<dyn LogFile>) -> Self {
        Self { file, buffer: Vec::with_capacity(CHUNK_BYTES), written: 0, crc: 0, failed: None }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > CHUNK_BYTES {
            self.drain()?;
        }
        if bytes.len() >= CHUNK_BYTES {
            return self.put(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let drained = self.put(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        drained
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if !bytes.is_empty() {
            self.file.write_at(self.written, bytes)?;
            self.crc = crc32c::crc32c_append(self.crc, bytes);
            self.written += bytes.len() as u64;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Written> {
        self.drain()?;
        self.file.sync()?;
        Ok(Written { bytes: self.written, crc32c: self.crc })
    }
}

impl Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> IoResult<usize> {
        match self.push(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                let text = error.chain();
                self.failed = Some(error);
                Err(IoError::other(text))
            }
        }
    }

    fn flush(&mut self) -> IoResult<()> {
        Ok(())
    }
}
