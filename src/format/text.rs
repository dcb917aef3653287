//! Plain text: each line is a row of the one column `value STRING`.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Fields};

use super::column::{Column, Data};
use super::lines::{LineDecoder, LineFault, RowParser};
use super::{DecodeRequest, Decoder, FormatSpec};
use crate::error::{Error, Result};

/// Lines as they are.
pub static SPEC: FormatSpec = FormatSpec {
    name: "text",
    settings: &[],
    needs_schema: false,
    decoder: |_, request| decoder(request),
    encode: |_, rows, _, out| write_rows(rows, out),
    encode_header: |_, _, _| Ok(()),
};

fn decoder(request: DecodeRequest) -> Result<Box<dyn Decoder>> {
    only_string(request.schema.fields())?;
    let rows = TextRows { value: Column::new(&DataType::Utf8)?, columns: request.built().len() };
    Ok(Box::new(LineDecoder::new(request, rows)))
}

fn only_string(fields: &Fields) -> Result<()> {
    match fields.as_ref() {
        [field] if field.data_type() == &DataType::Utf8 => Ok(()),
        _ => Err(Error::config("text has one column, of type STRING")),
    }
}

/// Appends each row's only value as a line; null is an empty one.
fn write_rows(rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
    only_string(rows.schema().fields())?;
    let values = rows.column(0).as_string::<i32>();
    for row in 0..values.len() {
        if values.is_valid(row) {
            out.extend_from_slice(values.value(row).as_bytes());
        }
        out.push(b'\n');
    }
    Ok(())
}

struct TextRows {
    value: Column,
    /// How often the column is asked for.
    columns: usize,
}

impl TextRows {
    fn push(&mut self, line: &[u8]) {
        if let Data::String(out) = &mut self.value.data {
            out.bytes.extend_from_slice(line);
            if out.end_value() { self.value.pushed() } else { self.value.push_null() }
        }
    }
}

impl RowParser for TextRows {
    fn parse(&mut self, text: &[u8], lines: &[Range<usize>], _: &mut Vec<LineFault>) -> u64 {
        for line in lines {
            self.push(&text[line.clone()]);
        }
        0
    }

    fn malformed(&mut self, text: &str, _: bool) {
        self.push(text.as_bytes());
    }

    fn absent(&mut self) {
        self.value.push_null();
    }

    fn take(&mut self) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.value.take()?; self.columns])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringArray;
    use arrow::datatypes::{Field, Schema};
    use bytes::Bytes;

    use super::*;
    use crate::format::{FormatOptions, LineLimits, MetadataColumn, OnMalformed, decoder, encode};
    use crate::source::{LineChunk, LineEnd};

    fn request(data_type: DataType) -> DecodeRequest {
        DecodeRequest {
            schema: Arc::new(Schema::new(vec![Field::new("value", data_type, true)])),
            projection: vec![0],
            metadata: vec![MetadataColumn::Position],
            filter: Vec::new(),
            on_malformed: OnMalformed::Permissive,
            keep_malformed: crate::format::KeepMalformed::All,
            source: "s".into(),
            time_zone: "UTC".into(),
            limits: LineLimits { line_bytes_max: 4, ..LineLimits::default() },
        }
    }

    #[test]
    fn every_line_is_a_row_blank_ones_too() {
        let mut decoder = decoder(&FormatOptions::Text, request(DataType::Utf8)).expect("a decoder");
        let bytes = Bytes::from_static(b"a\r\n\n x \n\xff\nabcdef\nlast");
        decoder
            .push(&LineChunk { bytes, origin: "o".into(), position: 0, received_at_us: None, records: None, end: LineEnd::Clean })
            .expect("decodes");
        let decoded = decoder.finish().expect("decodes");
        let values = decoded.rows[0].column(0).as_string::<i32>();
        assert_eq!(values.iter().flatten().collect::<Vec<_>>(), ["a", "", " x ", "\u{fffd}", "abcd", "last"]);
        let reasons: Vec<&str> = decoded.malformed.iter().map(|m| m.reason.as_ref()).collect();
        assert_eq!(reasons, ["invalid UTF-8", "too long"]);
    }

    #[test]
    fn one_string_column_is_written_and_nothing_else() {
        let values: ArrayRef = Arc::new(StringArray::from(vec![Some("a b"), None, Some("")]));
        let batch = RecordBatch::try_from_iter_with_nullable([("value", values, true)]).expect("rows");
        let mut out = Vec::new();
        encode(&FormatOptions::Text, &batch, "UTC", &mut out).expect("encodes");
        assert_eq!(out, b"a b\n\n\n");
        let number = Schema::new(vec![Field::new("value", DataType::Int32, true)]);
        assert!(encode(&FormatOptions::Text, &RecordBatch::new_empty(Arc::new(number)), "UTC", &mut out).is_err());
        assert!(decoder(&FormatOptions::Text, request(DataType::Int32)).is_err());
    }
}
