//! Rows as comma-separated values, as Spark writes them.
//!
//! Null is the null text, an empty string is a pair of quotes; a value is quoted where it holds the separator, a quote or a line end,
//! and within quotes a quote and the escape character are escaped. Unlike Spark, spaces at the ends of a value are kept.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::format::json::write::write_rows;
use crate::pipeline::CsvSpec;

/// Appends one file with all the rows; how many bytes of it are its header.
pub(super) fn encode(
    csv: &CsvSpec,
    schema: &SchemaRef,
    rows: &[RecordBatch],
    time_zone: &str,
    out: &mut Vec<u8>,
) -> Result<usize> {
    if let Some(field) = schema.fields().iter().find(|field| field.data_type().is_nested()) {
        let message =
            format!("The CSV datasource doesn't support the column `{}` of the type {}.", field.name(), field.data_type());
        return Err(Error::spark(ErrorKind::Config, "UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE", message));
    }
    let start = out.len();
    if csv.header {
        for (at, field) in schema.fields().iter().enumerate() {
            separate(csv, at, out);
            write_value(csv, field.name().as_bytes(), out);
        }
        out.push(b'\n');
    }
    let header_bytes = out.len() - start;
    for rows in rows {
        let columns: Vec<Cells> = rows.columns().iter().map(|column| Cells::new(column, time_zone)).collect::<Result<_>>()?;
        for row in 0..rows.num_rows() {
            for (at, column) in columns.iter().enumerate() {
                separate(csv, at, out);
                match column.get(row) {
                    None => out.extend_from_slice(csv.null_value.as_bytes()),
                    Some(value) => write_value(csv, value, out),
                }
            }
            out.push(b'\n');
        }
    }
    Ok(header_bytes)
}

fn separate(csv: &CsvSpec, column: usize, out: &mut Vec<u8>) {
    if column > 0 {
        out.push(csv.separator);
    }
}

fn write_value(csv: &CsvSpec, value: &[u8], out: &mut Vec<u8>) {
    let Some(quote) = csv.quote else {
        out.extend_from_slice(value);
        return;
    };
    let is_special = |byte: &u8| *byte == csv.separator || *byte == quote || *byte == b'\n' || *byte == b'\r';
    if !value.is_empty() && !value.iter().any(is_special) {
        out.extend_from_slice(value);
        return;
    }
    out.push(quote);
    for byte in value {
        if *byte == quote {
            out.push(csv.escape.unwrap_or(quote));
        } else if Some(*byte) == csv.escape {
            out.push(*byte);
        }
        out.push(*byte);
    }
    out.push(quote);
}

/// The texts of a column.
enum Cells {
    Text(StringArray),
    /// Where each value stands in the text; `None` for null.
    Json {
        text: Vec<u8>,
        values: Vec<Option<(usize, usize)>>,
    },
}

impl Cells {
    fn new(column: &ArrayRef, time_zone: &str) -> Result<Self> {
        if matches!(column.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
            let text = cast(column, &DataType::Utf8).attempting(ErrorKind::Internal, || "write CSV".to_owned())?;
            return Ok(Self::Text(text.as_string::<i32>().clone()));
        }
        // Other values read as in JSON, which leaves nulls out: `{"c":1.5}`, `{"c":"2024-05-01"}`, `{}`.
        let schema = Schema::new(vec![Field::new("c", column.data_type().clone(), true)]);
        let rows = RecordBatch::try_new(schema.into(), vec![column.clone()]);
        let rows = rows.attempting(ErrorKind::Internal, || "write CSV".to_owned())?;
        let mut text = Vec::new();
        write_rows(&rows, time_zone, &mut text)?;
        let mut values = Vec::with_capacity(column.len());
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &text) {
            let line = &text[start..end];
            values.push(line.strip_prefix(b"{\"c\":").map(|value| {
                let quotes = usize::from(value.first() == Some(&b'"'));
                (end - value.len() + quotes, end - 1 - quotes)
            }));
            start = end + 1;
        }
        Ok(Self::Json { text, values })
    }

    fn get(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Text(texts) => texts.is_valid(row).then(|| texts.value(row).as_bytes()),
            Self::Json { text, values } => values[row].map(|(start, end)| &text[start..end]),
        }
    }
}
