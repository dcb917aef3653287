//! JSON lines: one object per line, read strictly and by the declared schema, straight into columns.
//!
//! A line is judged on the whole declared schema. A field whose value is of another type is null and makes the line malformed; the
//! other fields stay. Text that is not JSON gives a row of nulls. A declared `_corrupt_record STRING` holds malformed lines.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef, Fields};

use super::column::{Column, bits, first};
use super::lines::{LineDecoder, LineFault, RowParser};
use super::{Condition, DecodeRequest, Decoder, FormatSpec, OnMalformed};
use crate::error::{Error, ErrorKind, Result};

mod block;
mod kernel;
mod infer;
mod keys;
mod lexer;
pub mod path;
pub mod pretty;
pub mod relaxed;
mod simd;
mod template;
mod text;
mod value;
mod values;
pub mod write;

use block::{Speculation, block_text};
use keys::{Keys, Role, Shape};
use lexer::Cursor;
use value::Parser;

pub(super) use simd::{Job, Level, Simd};

pub use infer::{Inference, infer_type};
pub use values::{ValueOptions, decode_values};

/// The column that holds malformed lines.
pub const CORRUPT_RECORD: &str = "_corrupt_record";

/// Why a line is malformed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reason {
    NotJson,
    NotAnObject,
    AnArray,
    TooDeep,
    NumberTooLong,
    TooLong,
    /// A value is not of this type.
    Expected(Arc<str>),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotJson => "not valid JSON",
            Self::NotAnObject | Self::AnArray => "not a JSON object",
            Self::TooDeep => "nested too deep",
            Self::NumberTooLong => "number of more than 1000 digits",
            Self::TooLong => "too long",
            Self::Expected(name) => return write!(f, "expected {name}"),
        })
    }
}

/// JSON lines.
pub static SPEC: FormatSpec = FormatSpec {
    name: "json",
    settings: &[],
    needs_schema: true,
    decoder: |_, request| decoder(request),
    encode: |_, rows, time_zone, out| write::write_rows(rows, time_zone, out),
    encode_header: |_, _, _| Ok(()),
};

fn decoder(request: DecodeRequest) -> Result<Box<dyn Decoder>> {
    guessing_decoder(request, Some(Level::detect()))
}

/// A decoder of JSON lines by the strict parser alone: what the way around it is measured against.
pub fn strict_decoder(request: DecodeRequest) -> Result<Box<dyn Decoder>> {
    request.check()?;
    guessing_decoder(request, None)
}

/// A decoder that guesses with the instructions of `level`, or not at all.
fn guessing_decoder(request: DecodeRequest, level: Option<Level>) -> Result<Box<dyn Decoder>> {
    let zone = super::zone(&request.time_zone)?;
    let mut rows = JsonRows::new(
        request.schema.fields(),
        &request.built(),
        Parser::new(zone, request.limits.json_depth_max),
        CORRUPT_RECORD,
        request.on_malformed == OnMalformed::Drop,
    )?;
    rows.filter = request.filter.clone();
    rows.speculation = level.map(|level| Speculation::new(request.schema.fields(), level));
    Ok(Box::new(LineDecoder::new(request, rows)))
}

/// The rows of a batch in the making.
struct JsonRows {
    parser: Parser,
    names: Vec<Arc<str>>,
    keys: Keys,
    shapes: Vec<Shape>,
    /// One per declared field, also for those that are only checked.
    columns: Vec<Column>,
    rows: usize,
    projection: Vec<usize>,
    /// The place of the column of malformed lines, if it is declared and asked for.
    corrupt: Option<usize>,
    drop_malformed: bool,
    /// What a row must fulfil: tested where it saves copying strings; the caller tests every row.
    filter: Vec<Condition>,
    /// The way around this parser for lines that look alike.
    speculation: Option<Speculation>,
}

/// What a line was.
enum Line {
    Blank,
    Right,
    Malformed(Option<usize>, Reason),
}

impl JsonRows {
    fn new(fields: &Fields, projection: &[usize], parser: Parser, corrupt_column: &str, drop_malformed: bool) -> Result<Self> {
        let role = |(at, field): (usize, &FieldRef)| match field.data_type() {
            _ if field.name() == corrupt_column => Role::Corrupt,
            _ if projection.contains(&at) => Role::Keep,
            // Any value can be a STRING.
            DataType::Utf8 => Role::Skip,
            _ => Role::Check,
        };
        let keys = Keys::new(fields.iter().enumerate().map(|(at, field)| (field.name().as_str(), role((at, field)))));
        let declared = keys.roles().position(|role| role == Role::Corrupt);
        if declared.is_some_and(|at| fields[at].data_type() != &DataType::Utf8) {
            return Err(Error::spark(
                ErrorKind::Config,
                "INVALID_CORRUPT_RECORD_TYPE",
                format!("the column {corrupt_column} for corrupt records must have the nullable STRING type"),
            ));
        }
        Ok(Self {
            parser,
            names: fields.iter().map(|f| Arc::from(f.name().as_str())).collect(),
            shapes: fields.iter().map(|f| Shape::of(f.data_type())).collect(),
            columns: fields.iter().map(|f| Column::new(f.data_type())).collect::<Result<_>>()?,
            keys,
            rows: 0,
            projection: projection.to_vec(),
            corrupt: declared.filter(|at| projection.contains(at)),
            drop_malformed,
            filter: Vec::new(),
            speculation: None,
        })
    }

    /// Appends the row of one line, whatever the line is; only the column of malformed lines still lacks its value.
    fn fields(&mut self, text: &[u8]) -> Line {
        self.parser.wrong = None;
        let mut cursor = Cursor::new(text);
        cursor.skip_blanks();
        if cursor.is_at_end() {
            self.null_fields();
            return Line::Blank;
        }
        // Whatever follows the object is ignored.
        let result = match cursor.peek() {
            b'{' => self.parser.object(&mut cursor, (&self.keys, &self.shapes), &mut self.columns, self.rows, 0),
            b'[' => Err(Reason::AnArray),
            _ => Err(cursor.token().err().unwrap_or(Reason::NotAnObject)),
        };
        match (result, self.parser.wrong.take()) {
            (Ok(()), None) => Line::Right,
            (Ok(()), Some(wrong)) => Line::Malformed(wrong.field, Reason::Expected(wrong.expected)),
            (Err(reason), _) => {
                self.null_fields();
                Line::Malformed(None, reason)
            }
        }
    }

    fn null_fields(&mut self) {
        for (column, role) in self.columns.iter_mut().zip(self.keys.roles()) {
            match role {
                Role::Keep => {
                    column.truncate(self.rows);
                    column.push_null();
                }
                Role::Check => column.truncate(0),
                Role::Skip | Role::Corrupt => {}
            }
        }
    }

    /// Ends the row: `corrupt` is the line if it was malformed.
    fn end_row(&mut self, corrupt: Option<&str>) {
        self.rows += 1;
        let Some(at) = self.corrupt else { return };
        let column = &mut self.columns[at];
        match (corrupt, &mut column.data) {
            (Some(line), super::column::Data::String(out)) => {
                out.bytes.extend_from_slice(line.as_bytes());
                if out.end_value() {
                    column.pushed();
                } else {
                    column.push_null();
                }
            }
            _ => column.push_null(),
        }
    }

    /// Takes the row that was just appended back.
    fn drop_row(&mut self) {
        for (column, role) in self.columns.iter_mut().zip(self.keys.roles()) {
            if role == Role::Keep {
                column.truncate(self.rows);
            }
        }
    }

    /// Appends the row of one line by the strict parser, and notes what is wrong with it; whether it is right.
    fn strict_line(&mut self, raw: &[u8], line: usize, faults: &mut Vec<LineFault>) -> bool {
        match self.fields(raw) {
            Line::Malformed(field, reason) => {
                let field = field.map(|at| Arc::clone(&self.names[at]));
                faults.push(LineFault { line, field, reason: reason.to_string().into() });
                if self.drop_malformed {
                    self.drop_row();
                } else {
                    self.end_row(Some(&String::from_utf8_lossy(raw)));
                }
                false
            }
            line => {
                self.end_row(None);
                matches!(line, Line::Right)
            }
        }
    }

    /// Appends the rows of lines that the speculation has read.
    fn append(&mut self, speculation: &Speculation, rows: u64, text: &[u8]) {
        if rows == 0 {
            return;
        }
        let count = rows.count_ones() as usize;
        speculation.append(&mut self.columns, &self.keys, rows, text);
        self.rows += count;
        if let Some(at) = self.corrupt {
            self.columns[at].push_nulls(count);
        }
    }
}

impl RowParser for JsonRows {
    fn parse(&mut self, text: &[u8], lines: &[Range<usize>], faults: &mut Vec<LineFault>) -> u64 {
        let Some(mut speculation) = self.speculation.take() else {
            for (line, range) in lines.iter().enumerate() {
                self.strict_line(&text[range.clone()], line, faults);
            }
            return 0;
        };
        let read = speculation.read(text, lines, &mut self.parser);
        let values = block_text(text, lines);
        let wanted =
            self.filter.iter().fold(read, |rows, Condition { column, test }| speculation.wanted(*column, test, rows, values));
        let (mut next, mut other) = (0, None);
        for line in bits(first(lines.len()) & !read) {
            self.append(&speculation, wanted & first(line) & !first(next), values);
            next = line + 1;
            let raw = &text[lines[line].clone()];
            if self.strict_line(raw, line, faults) {
                other = Some(raw);
            }
        }
        self.append(&speculation, wanted & !first(next), values);
        speculation.learn(read, other, (&self.keys, &self.shapes), self.parser.depth_max);
        self.speculation = Some(speculation);
        read & !wanted
    }

    fn malformed(&mut self, text: &str, salvage: bool) {
        if salvage {
            self.fields(text.as_bytes());
        } else {
            self.null_fields();
        }
        self.end_row(Some(text));
    }

    fn absent(&mut self) {
        self.null_fields();
        self.end_row(None);
    }

    fn take(&mut self) -> Result<Vec<ArrayRef>> {
        self.rows = 0;
        let mut arrays = vec![None; self.columns.len()];
        for at in &self.projection {
            if arrays[*at].is_none() {
                arrays[*at] = Some(self.columns[*at].take()?);
            }
        }
        Ok(self.projection.iter().filter_map(|at| arrays[*at].clone()).collect())
    }
}

#[cfg(test)]
mod tests;
