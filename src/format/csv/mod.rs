//! CSV, a line at a time: values by the declared schema as Spark's CSV reader takes them, and rows as its writer gives them.
//!
//! A value that does not fit its column is null and makes the line malformed, as do too few or too many values; the others stay. A
//! line ends at its line end even inside quotes, so that a stray quote cannot swallow its neighbours.

use crate::error::{Error, Result};

mod read;
mod values;
mod write;

pub use read::is_double;
pub use values::{ValueOptions, decode_values, split_line};

use super::{FormatOptions, FormatSpec};

/// CSV lines.
pub static SPEC: FormatSpec = FormatSpec {
    name: "csv",
    settings: &["header", "separator", "quote", "escape", "null_value"],
    needs_schema: true,
    decoder: |format, request| read::decoder(options(format)?, request),
    encode: |format, rows, time_zone, out| write::write_rows(options(format)?, rows, time_zone, out),
    encode_header: |format, schema, out| write::write_header(options(format)?, schema, out),
};

/// How CSV is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvOptions {
    /// Whether the first line of a file has the names of the columns: skipped when reading, written when writing.
    pub header: bool,
    /// Between values, an ASCII character (default `,`).
    pub separator: u8,
    /// Around values that need it, an ASCII character (default `"`).
    pub quote: u8,
    /// Before a quote or itself inside quotes, an ASCII character (default `\`).
    pub escape: u8,
    /// What stands for null, beside nothing at all (default: only nothing).
    pub null_value: String,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { header: false, separator: b',', quote: b'"', escape: b'\\', null_value: String::new() }
    }
}

fn options(format: &FormatOptions) -> Result<&CsvOptions> {
    let FormatOptions::Csv(options) = format else {
        return Err(Error::internal("these are not the options of CSV"));
    };
    let signs = [("separator", options.separator), ("quote", options.quote), ("escape", options.escape)];
    for (name, sign) in signs {
        if !sign.is_ascii() || matches!(sign, b'\n' | b'\r' | 0) {
            return Err(Error::config(format!("the {name} of CSV must be an ASCII character that ends no line")));
        }
    }
    if options.separator == options.quote || options.separator == options.escape {
        return Err(Error::config("the separator of CSV must differ from quote and escape"));
    }
    Ok(options)
}

#[cfg(test)]
mod tests;
