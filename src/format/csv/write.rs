//! Rows as lines of CSV.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::CsvOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::format::json::write::{WriteOptions, Writer};

/// Appends the names of the columns as a line, if a header is asked for.
pub(super) fn write_header(options: &CsvOptions, schema: &Schema, out: &mut Vec<u8>) -> Result<()> {
    if options.header {
        for (at, field) in schema.fields().iter().enumerate() {
            write_text(field.name().as_bytes(), at, options, out);
        }
        out.push(b'\n');
    }
    Ok(())
}

/// Appends each row as one line (a line end inside a value stays in its quotes).
pub(super) fn write_rows(options: &CsvOptions, rows: &RecordBatch, time_zone: &str, out: &mut Vec<u8>) -> Result<()> {
    let schema = rows.schema();
    if let Some(field) = schema.fields().iter().find(|f| f.data_type().is_nested()) {
        let message = format!("CSV cannot hold column {:?} of type {}", field.name(), field.data_type());
        return Err(Error::spark(ErrorKind::Config, "UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE", message));
    }
    let writer = Writer::new(&WriteOptions { time_zone, ..WriteOptions::default() })?;
    let columns = rows.columns().iter().map(|column| writer.value(column.as_ref())).collect::<Result<Vec<_>>>()?;
    let mut text = Vec::new();
    for row in 0..rows.num_rows() {
        for (at, column) in columns.iter().enumerate() {
            if column.is_null(row) {
                write_null(at, options, out);
                continue;
            }
            text.clear();
            writer.write_plain(column, row, &mut text);
            write_text(&text, at, options, out);
        }
        out.push(b'\n');
    }
    Ok(())
}

fn write_null(at: usize, options: &CsvOptions, out: &mut Vec<u8>) {
    if at > 0 {
        out.push(options.separator);
    }
    out.extend_from_slice(options.null_value.as_bytes());
}

/// Appends one value: without the blanks around it, and quoted if it would not read back otherwise.
fn write_text(text: &[u8], at: usize, options: &CsvOptions, out: &mut Vec<u8>) {
    if at > 0 {
        out.push(options.separator);
    }
    let start = text.iter().position(|b| *b > b' ').unwrap_or(text.len());
    let end = text.iter().rposition(|b| *b > b' ').map_or(start, |last| last + 1);
    let text = &text[start..end];
    let special = |b: &u8| *b == options.separator || *b == options.quote || matches!(b, b'\n' | b'\r');
    // A line that begins with `#` is a comment to other readers.
    let quoted = text.is_empty() || at == 0 && text[0] == b'#' || text.iter().any(special);
    if !quoted {
        return out.extend_from_slice(text);
    }
    out.push(options.quote);
    for byte in text {
        if *byte == options.quote || *byte == options.escape {
            out.push(options.escape);
        }
        out.push(*byte);
    }
    out.push(options.quote);
}
