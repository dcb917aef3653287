//! JSON texts that are values of a column: `from_json`.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Fields};

use super::keys::Shape;
use super::lexer::Cursor;
use super::relaxed::Relaxed;
use super::value::{Parser, Wrong};
use super::{CORRUPT_RECORD, JsonRows, Line, Reason};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::format::column::{Column, Data, nullable_field};
use crate::format::lines::RowParser;
use crate::format::times::{ReadTime, Times};
use crate::format::{LineLimits, OnMalformed};

/// How [`decode_values`] reads.
#[derive(Debug, Clone)]
pub struct ValueOptions<'a> {
    /// Zone of zoneless timestamps.
    pub time_zone: &'a str,
    /// Permissive or fail (`FAILFAST`); Spark offers no dropping here (`PARSE_MODE_UNSUPPORTED`).
    pub on_malformed: OnMalformed,
    /// The field of a STRUCT that holds malformed texts, if it is declared.
    pub corrupt_column: &'a str,
    /// Deepest nesting.
    pub json_depth_max: usize,
    /// How times are written, where that is not the usual way.
    pub times: Option<Arc<Times<ReadTime>>>,
    /// Other rules than the usual ones.
    pub relaxed: Option<Relaxed>,
}

impl ValueOptions<'_> {
    /// `text` as it is read.
    fn read<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.relaxed.map_or(Cow::Borrowed(text), |rules| Cow::Owned(rules.rewritten(text)))
    }
}

impl Default for ValueOptions<'_> {
    fn default() -> Self {
        Self {
            time_zone: "UTC",
            on_malformed: OnMalformed::Permissive,
            corrupt_column: CORRUPT_RECORD,
            json_depth_max: LineLimits::default().json_depth_max,
            times: None,
            relaxed: None,
        }
    }
}

/// Spark's `from_json`: reads each text as a value of `data_type`, a STRUCT, ARRAY or MAP. Null and blank texts give null.
///
/// Errors: `MALFORMED_RECORD_IN_PARSING` with [`OnMalformed::Fail`], `PARSE_MODE_UNSUPPORTED` with [`OnMalformed::Drop`],
/// `DATATYPE_MISMATCH.INVALID_JSON_SCHEMA` for another type.
pub fn decode_values(values: &StringArray, data_type: &DataType, options: &ValueOptions<'_>) -> Result<ArrayRef> {
    if options.on_malformed == OnMalformed::Drop {
        let message = "from_json has the parse modes PERMISSIVE and FAILFAST, not DROPMALFORMED";
        return Err(Error::spark(ErrorKind::Config, "PARSE_MODE_UNSUPPORTED", message));
    }
    let mut parser = Parser::new(crate::format::zone(options.time_zone)?, options.json_depth_max);
    parser.times = options.times.clone();
    match data_type {
        DataType::Struct(fields) => structs(values, fields, parser, options),
        DataType::List(_) | DataType::Map(..) => collections(values, data_type, parser, options),
        other => {
            let message = format!("from_json gives a STRUCT, an ARRAY or a MAP, not {other}");
            Err(Error::spark(ErrorKind::Config, "DATATYPE_MISMATCH.INVALID_JSON_SCHEMA", message))
        }
    }
}

fn structs(values: &StringArray, fields: &Fields, parser: Parser, options: &ValueOptions<'_>) -> Result<ArrayRef> {
    let projection: Vec<usize> = Range { start: 0, end: fields.len() }.collect();
    let mut rows = JsonRows::new(fields, &projection, parser, options.corrupt_column, false)?;
    let mut valid = Vec::with_capacity(values.len());
    for text in values {
        let read = options.read(text.unwrap_or_default());
        let line = rows.fields(read.as_bytes());
        valid.push(!matches!(line, Line::Blank));
        match line {
            Line::Malformed(_, reason) if options.on_malformed == OnMalformed::Fail => return Err(malformed(&reason)),
            Line::Malformed(..) => rows.end_row(text),
            Line::Blank | Line::Right => rows.end_row(None),
        }
    }
    let fields = fields.iter().map(nullable_field).collect();
    let structs = StructArray::try_new_with_length(fields, rows.take()?, Some(NullBuffer::from(valid)), values.len())
        .attempting(ErrorKind::Internal, || "build a column of structs".to_owned())?;
    Ok(Arc::new(structs))
}

fn collections(values: &StringArray, data_type: &DataType, mut parser: Parser, options: &ValueOptions<'_>) -> Result<ArrayRef> {
    let shape = Shape::of(data_type);
    let mut column = Column::new(data_type)?;
    for text in values {
        let row = column.len();
        parser.wrong = None;
        let read = options.read(text.unwrap_or_default());
        let mut cursor = Cursor::new(read.as_bytes());
        cursor.skip_blanks();
        let result = match (cursor.is_at_end(), cursor.peek()) {
            (true, _) => {
                column.push_null();
                continue;
            }
            (_, b'{') if matches!(data_type, DataType::List(item) if matches!(item.data_type(), DataType::Struct(_))) => {
                only_item(&mut parser, &mut cursor, &shape, &mut column)
            }
            (_, b'{' | b'[') => parser.value(&mut cursor, &shape, &mut column, 0),
            _ => Err(Reason::NotJson),
        };
        let fault = match (result, parser.wrong.take()) {
            (Ok(true), None) => None,
            (Err(reason), _) => Some(reason),
            (Ok(_), Some(Wrong { expected, .. })) => Some(Reason::Expected(expected)),
            (Ok(false), None) => Some(Reason::NotJson),
        };
        match fault {
            Some(reason) if options.on_malformed == OnMalformed::Fail => return Err(malformed(&reason)),
            // An item that is partly right stays, an array or map that is wrong as a whole is null.
            Some(Reason::Expected(_)) if column.len() > row => {}
            Some(_) => {
                column.truncate(row);
                column.push_null();
            }
            None => {}
        }
    }
    column.take()
}

/// An object where an array of structs is expected is its only item.
fn only_item(
    parser: &mut Parser,
    cursor: &mut Cursor<'_>,
    shape: &Shape,
    column: &mut Column,
) -> std::result::Result<bool, Reason> {
    let (Shape::Items(shape), Data::List(ends, items, _)) = (shape, &mut column.data) else { return Ok(false) };
    parser.value(cursor, shape, items, 0)?;
    ends.push(i32::try_from(items.len()).map_err(|_| Reason::TooLong)?);
    column.pushed();
    Ok(true)
}

fn malformed(reason: &Reason) -> Error {
    let condition = match reason {
        Reason::AnArray => "MALFORMED_RECORD_IN_PARSING.CANNOT_PARSE_JSON_ARRAYS_AS_STRUCTS",
        _ => "MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION",
    };
    Error::spark(ErrorKind::Data, condition, format!("malformed record in the parse mode FAILFAST: {reason}"))
}
