//! Rows → operations: which column is what, checked once, and each batch's rows packed.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Fields, Schema};

use super::settings::{RedisCondition, RedisOperation, RedisSinkSettings, RedisValue, Template};
use super::staged::{Kind, Packer};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::format::json::write::write_rows;
use crate::function::arguments::write_text;
use crate::pipeline::nearest;
use crate::plan::spark::types::is_numeric;
use crate::plan::spark::types::sql_name;
use crate::redis::{Keys, to_error};

/// How rows become operations.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) kind: Kind,
    key: Keys,
    arguments: Arguments,
    time_zone: Arc<str>,
}

#[derive(Debug)]
enum Arguments {
    None,
    /// Columns that are fields, after those that are compared.
    Fields {
        compared: Vec<(String, Keys)>,
        columns: Vec<(usize, String)>,
    },
    Text(Keys),
    Json,
    Amount {
        field: Option<Keys>,
        column: usize,
    },
}

impl Rows {
    /// Finds the columns.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for one that is missing, or has a type that does not fit.
    pub(super) fn new(schema: &Schema, settings: &RedisSinkSettings, time_zone: &str) -> Result<Self> {
        let time_zone: Arc<str> = time_zone.into();
        let keys = |what: &str, template: &Template| {
            let keys = Keys::new(template, schema.fields(), time_zone.clone());
            keys.map_err(|message| Error::config(format!("{what}: {}", message.replace("argument", "column"))))
        };
        let value = |value: &RedisValue| match value {
            RedisValue::Fields(names) => {
                Ok(Arguments::Fields { compared: Vec::new(), columns: fields(schema, names.as_deref())? })
            }
            RedisValue::Text(template) => keys("value", template).map(Arguments::Text),
            RedisValue::Json => {
                write_rows(&RecordBatch::new_empty(Arc::new(schema.clone())), &time_zone, &mut Vec::new())?;
                Ok(Arguments::Json)
            }
        };
        let (kind, arguments) = match &settings.operation {
            RedisOperation::Put(put @ RedisValue::Fields(_)) => (Kind::PutFields, value(put)?),
            RedisOperation::Put(put) => (Kind::PutText, value(put)?),
            RedisOperation::SetAdd { member } => (Kind::SetAdd, Arguments::Text(keys("value", member)?)),
            RedisOperation::AtomicAdd { field, amount } => {
                let (column, is_integer) = amount_column(schema, amount)?;
                let field = field.as_ref().map(|field| keys("field", field)).transpose()?;
                (if is_integer { Kind::AddInteger } else { Kind::AddDecimal }, Arguments::Amount { field, column })
            }
            RedisOperation::CondPut(RedisCondition::Absent, put @ RedisValue::Fields(_)) => {
                (Kind::PutFieldsIfAbsent, value(put)?)
            }
            RedisOperation::CondPut(RedisCondition::Absent, put) => (Kind::PutTextIfAbsent, value(put)?),
            RedisOperation::CondPut(RedisCondition::Equal(conditions), RedisValue::Fields(names)) => {
                let compared = conditions.iter().map(|(name, value)| Ok((name.clone(), keys("if", value)?)));
                let compared = compared.collect::<Result<Vec<_>>>()?;
                (Kind::PutFieldsIfEqual, Arguments::Fields { compared, columns: fields(schema, names.as_deref())? })
            }
            RedisOperation::CondPut(RedisCondition::Equal(_), _) => {
                return Err(Error::config("if compares fields of a hash, where columns are put, not a value"));
            }
            RedisOperation::Delete => (Kind::Delete, Arguments::None),
        };
        Ok(Self { kind, key: keys("key", &settings.key)?, arguments, time_zone })
    }

    /// Adds the rows' operations.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] for a row with a null where a key, a value or an amount is made of it, and for an amount that is no number.
    pub(super) fn pack(&self, rows: &RecordBatch, packer: &mut Packer) -> Result<()> {
        let rows = plain(rows)?;
        let lines = match self.arguments {
            Arguments::Json => {
                let mut lines = Vec::new();
                write_rows(&rows, &self.time_zone, &mut lines)?;
                lines
            }
            _ => Vec::new(),
        };
        let mut lines = lines.split(|byte| *byte == b'\n');
        for row in 0..rows.num_rows() {
            let key = made(&self.key, &rows, row, "key")?;
            let arguments: Vec<Option<Cow<'_, [u8]>>> = match &self.arguments {
                Arguments::None => Vec::new(),
                Arguments::Json => vec![Some(lines.next().unwrap_or_default().into())],
                Arguments::Text(value) => vec![Some(made(value, &rows, row, "value")?.into())],
                Arguments::Amount { field, column } => {
                    let field = field.as_ref().map(|field| made(field, &rows, row, "field")).transpose()?;
                    vec![field.map(Cow::Owned), Some(self.amount(&rows, row, *column)?.into())]
                }
                Arguments::Fields { compared, columns } => {
                    let mut arguments = Vec::with_capacity(1 + 2 * (compared.len() + columns.len()));
                    if self.kind == Kind::PutFieldsIfEqual {
                        arguments.push(Some(compared.len().to_string().into_bytes().into()));
                    }
                    for (name, value) in compared {
                        let value = value.key(&rows, row).map_err(to_error)?;
                        arguments.extend([Some(name.as_bytes().into()), value.map(Cow::Owned)]);
                    }
                    for (column, name) in columns {
                        arguments.extend([Some(name.as_bytes().into()), self.text(rows.column(*column), row)?.map(Cow::Owned)]);
                    }
                    arguments
                }
            };
            let arguments: Vec<Option<&[u8]>> = arguments.iter().map(Option::as_deref).collect();
            packer.add(&key, &arguments)?;
        }
        Ok(())
    }

    fn amount(&self, rows: &RecordBatch, row: usize, column: usize) -> Result<Vec<u8>> {
        let amount = self.text(rows.column(column), row)?;
        let name = || rows.schema_ref().field(column).name().clone();
        let amount = amount.ok_or_else(|| refused(format!("a row's amount, the column {}, is null", name())))?;
        let number = std::str::from_utf8(&amount).ok().and_then(|text| text.parse::<f64>().ok());
        match number.filter(|number| number.is_finite()) {
            Some(_) => Ok(amount),
            None => Err(refused(format!("a row's amount, the column {}, is no finite number", name()))),
        }
    }

    /// Bytes are put as they are.
    fn text(&self, column: &ArrayRef, row: usize) -> Result<Option<Vec<u8>>> {
        if let Some(bytes) = column.as_binary_opt::<i32>() {
            return Ok(bytes.is_valid(row).then(|| bytes.value(row).to_vec()));
        }
        let mut text = Vec::new();
        Ok(write_text(column.as_ref(), row, &self.time_zone, &mut text)?.then_some(text))
    }
}

/// A text that must be there.
fn made(keys: &Keys, rows: &RecordBatch, row: usize, what: &str) -> Result<Vec<u8>> {
    let text = keys.key(rows, row).map_err(to_error)?;
    text.ok_or_else(|| refused(format!("a row's {what} {:?} has a null in it; leave such rows out in SQL", keys.shown())))
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Data, format!("a row cannot be written to Redis: {message}"))
}

/// The same rows, with every text and every binary in the plainest form.
fn plain(rows: &RecordBatch) -> Result<RecordBatch> {
    let columns = rows.columns().iter().map(|column| match column.data_type() {
        DataType::LargeUtf8 | DataType::Utf8View => cast(column, &DataType::Utf8),
        DataType::LargeBinary | DataType::BinaryView => cast(column, &DataType::Binary),
        _ => Ok(column.clone()),
    });
    let columns = columns.collect::<Result<Vec<_>, _>>();
    let columns = columns.attempting(ErrorKind::Internal, || "write rows to Redis".to_owned())?;
    let fields = rows.schema_ref().fields().iter().zip(&columns);
    let fields: Fields =
        fields.map(|(field, column)| field.as_ref().clone().with_data_type(column.data_type().clone())).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .attempting(ErrorKind::Internal, || "write rows to Redis".to_owned())
}

/// The columns that are fields: all of them, or those that are named.
fn fields(schema: &Schema, names: Option<&[String]>) -> Result<Vec<(usize, String)>> {
    match names {
        None => Ok(schema.fields().iter().enumerate().map(|(at, field)| (at, field.name().clone())).collect()),
        Some(names) => names.iter().map(|name| Ok((find(schema, name)?, name.clone()))).collect(),
    }
}

/// The column with the amount, and whether it is of whole numbers.
/// Digits of a DECIMAL that the server adds without rounding.
const DECIMAL_DIGITS_MAX: u8 = 15;

fn amount_column(schema: &Schema, name: &str) -> Result<(usize, bool)> {
    let at = find(schema, name)?;
    let kind = schema.field(at).data_type();
    match kind {
        // The server adds in floating point.
        DataType::Decimal128(precision, _) if *precision > DECIMAL_DIGITS_MAX => Err(Error::config(format!(
            "amount: the column {name} is {}, which Redis does not add exactly: cast it to DOUBLE, or to BIGINT in units of its last digit",
            sql_name(kind)
        ))),
        kind if is_numeric(kind) => Ok((at, kind.is_integer())),
        _ => Err(Error::config(format!("amount: the column {name} is no number but {}", sql_name(kind)))),
    }
}

fn find(schema: &Schema, name: &str) -> Result<usize> {
    let found = schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name));
    found.ok_or_else(|| {
        let near = nearest(name, schema.fields().iter().map(|field| field.name().as_str()));
        let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        Error::config(format!("the result has no column {name:?}{hint}"))
    })
}
