//! CSV lines that are values of a column: `from_csv`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, StructArray};
use arrow::datatypes::Fields;

use super::CsvOptions;
use super::read::{CsvRows, Reading, next_value};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::format::column::nullable_field;
use crate::format::lines::RowParser;
use crate::format::times::{ReadTime, Times};

/// How [`decode_values`] reads.
#[derive(Debug, Clone)]
pub struct ValueOptions {
    /// The signs.
    pub csv: CsvOptions,
    /// Zone of zoneless timestamps.
    pub time_zone: String,
    /// Whether a malformed line is an error (`FAILFAST`).
    pub fail: bool,
    /// The field that holds malformed lines, if it is declared.
    pub corrupt_column: String,
    /// Whether blanks before and behind values that are not quoted do not count.
    pub trim: (bool, bool),
    /// How times are written, where that is not the usual way.
    pub times: Times<ReadTime>,
}

/// Spark's `from_csv`: reads each text as a row of `fields`. Null texts give null.
///
/// # Errors
/// `MALFORMED_RECORD_IN_PARSING` with `fail`; fields that CSV cannot hold.
pub fn decode_values(values: &StringArray, fields: &Fields, options: &ValueOptions) -> Result<ArrayRef> {
    let zone = crate::format::zone(&options.time_zone)?;
    let mut rows = CsvRows::of(options.csv.clone(), fields, (0..fields.len()).collect(), &options.corrupt_column, zone)?;
    let (trim_start, trim_end) = options.trim;
    rows.reading = Reading { trim_start, trim_end, times: options.times.clone() };
    for text in values {
        let Some(text) = text else {
            rows.null_fields();
            rows.end_row(None);
            continue;
        };
        let fault = rows.row(text.as_bytes());
        match fault {
            Some((_, reason)) if options.fail => {
                let message = format!("malformed record in the parse mode FAILFAST: {reason}");
                return Err(Error::spark(ErrorKind::Data, "MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION", message));
            }
            Some(_) => rows.end_row(Some(text.as_bytes())),
            None => rows.end_row(None),
        }
    }
    let fields = fields.iter().map(nullable_field).collect();
    let structs = StructArray::try_new_with_length(fields, rows.take()?, values.nulls().cloned(), values.len())
        .attempting(ErrorKind::Internal, || "build a column of structs".to_owned())?;
    Ok(Arc::new(structs))
}

/// The values of a line.
pub fn split_line(line: &str, csv: &CsvOptions) -> Vec<String> {
    let mut scratch = Vec::new();
    let mut rest = Some(line.as_bytes());
    let mut values = Vec::new();
    while let Some(text) = rest {
        let (value, behind) = next_value(text, csv, &mut scratch);
        values.push(String::from_utf8_lossy(value.text).into_owned());
        rest = behind;
    }
    values
}
