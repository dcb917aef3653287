//! Prints each batch on standard output, as Spark's console sink does, or as one JSON line per batch.
//!
//! The table is what Spark's `show()` prints: 43 dashes, the batch id, a box table. A crash between printing and logging that it
//! was printed repeats the batch: the guarantee is at-least-once, and the batch id is printed so that a reader can tell.

mod cell;
mod table;

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;

use super::{CommitId, Contains, Guarantee, Sink};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::format::json::write::write_rows;

pub use table::Truncate;

/// What the console prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsoleFormat {
    /// Spark's box table.
    Table {
        /// Rows shown per batch (default 20).
        num_rows: usize,
        /// How long cells are cut (default 20 characters).
        truncate: Truncate,
    },
    /// `{"query":…,"batch_id":…,"rows":[…]}`, one line per batch with all its rows.
    Json,
}

impl Default for ConsoleFormat {
    fn default() -> Self {
        Self::Table { num_rows: 20, truncate: Truncate::default() }
    }
}

/// The table that `show()` prints of `rows`, at most `num_rows` of them, whole cells.
pub fn show(rows: &RecordBatch, num_rows: usize, time_zone: &str) -> Result<String> {
    table::show(&rows.schema(), std::slice::from_ref(rows), num_rows, Truncate::Never, time_zone)
}

/// Where the console prints: standard output, or a buffer in tests.
pub type Output = Box<dyn Write + Send + Sync>;

/// Condition of a query whose output nobody reads any more (`| head`): it is stopped, which is no failure.
pub(crate) const OUTPUT_CLOSED: &str = "OUTPUT_CLOSED";

/// The console sink.
pub struct Console {
    query: String,
    format: ConsoleFormat,
    time_zone: String,
    output: Output,
    schema: Option<SchemaRef>,
}

impl Console {
    /// A console for `query`; timestamps are shown in `time_zone`.
    pub fn new(query: &str, format: ConsoleFormat, time_zone: &str, output: Output) -> Self {
        Self { query: query.to_owned(), format, time_zone: time_zone.to_owned(), output, schema: None }
    }

    fn json_rows(&self, rows: &[RecordBatch]) -> Result<Vec<u8>> {
        let mut lines = Vec::new();
        for batch in rows {
            write_rows(batch, &self.time_zone, &mut lines)?;
        }
        let mut text = Vec::with_capacity(lines.len() + 2);
        text.push(b'[');
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if text.len() > 1 {
                text.push(b',');
            }
            text.extend_from_slice(line);
        }
        text.push(b']');
        Ok(text)
    }

    /// Prints a batch with one write, so that whoever reads is woken once.
    fn print(&mut self, id: &CommitId, staged: &[u8]) -> std::io::Result<()> {
        const RULE: &str = "-------------------------------------------";
        let (before, after) = match self.format {
            ConsoleFormat::Table { .. } => (format!("{RULE}\nBatch: {}\n{RULE}\n", id.batch_id), ""),
            ConsoleFormat::Json => {
                let name = serde_json::Value::from(self.query.as_str());
                (format!("{{\"query\":{name},\"batch_id\":{},\"rows\":", id.batch_id), "}\n")
            }
        };
        self.output.write_all(&[before.as_bytes(), staged, after.as_bytes()].concat())?;
        self.output.flush()
    }
}

#[async_trait]
impl Sink for Console {
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    async fn open(&mut self, schema: &SchemaRef) -> Result<()> {
        self.schema = Some(schema.clone());
        Ok(())
    }

    fn stage(&mut self, rows: &[RecordBatch]) -> Result<Bytes> {
        let schema = self.schema.as_ref().ok_or_else(|| Error::internal("a console was staged before it was opened"))?;
        match self.format {
            ConsoleFormat::Table { num_rows, truncate } => {
                Ok(table::show(schema, rows, num_rows, truncate, &self.time_zone)?.into_bytes().into())
            }
            ConsoleFormat::Json => Ok(self.json_rows(rows)?.into()),
        }
    }

    async fn contains(&mut self, _id: &CommitId) -> Result<Contains> {
        Ok(Contains::No)
    }

    async fn commit(&mut self, id: &CommitId, staged: &Bytes) -> Result<()> {
        match self.print(id, staged) {
            Err(cause) if cause.kind() == std::io::ErrorKind::BrokenPipe => {
                Err(Error::spark(ErrorKind::Data, OUTPUT_CLOSED, "nobody reads the output any more").because(cause))
            }
            printed => printed.attempting(ErrorKind::Data, || "print to standard output".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
