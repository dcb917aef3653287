//! `printf`: values in a format of Java's `Formatter`.

use arrow::array::{
    BooleanArray, Date32Array, Decimal128Array, DurationMicrosecondArray, DurationSecondArray, Float32Array, Float64Array,
    Int8Array, Int16Array, Int32Array, Int64Array, IntervalYearMonthArray, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;

use super::super::super::types::sql_name;
use super::super::super::{Call, Typed};
use super::super::arguments::{Want, arity, coerce_one, constant};
use super::super::native::{Args, Reader, Returns, call};
use super::spec::{Part, Source, invalid, parse};
use super::template::{Value, write};
use crate::error::{Error, ErrorKind, Result};

/// `printf(format, value, …)`.
pub(super) fn printf(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, None)?;
    let mut args = std::mem::take(&mut c.args).into_iter();
    let format = args.next().ok_or_else(|| Error::internal("printf has a format"))?;
    let format = coerce_one(&c, 0, format, &Want::Text)?;
    if let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = &format.expr
        && text.contains("%0$")
    {
        let message = "the argument index of a format begins with 1, not 0";
        return Err(Error::spark(ErrorKind::Config, "INVALID_PARAMETER_VALUE.ZERO_INDEX", message));
    }
    let values: Vec<Typed> = args.collect();
    for value in &values {
        if !has_text(&value.data_type) {
            let message = format!("printf of a value of type {} is not supported; CAST it to STRING", sql_name(&value.data_type));
            return Err(Error::spark(ErrorKind::Config, "UNSUPPORTED_FEATURE", message));
        }
    }
    // A constant format is checked at once; that it is wrong counts only if there is a row.
    if let Ok(Some(ScalarValue::Utf8(Some(text)))) = constant(&format)
        && let Err(error) = parse(&text)
        && error.condition().is_some()
    {
        return Err(error);
    }
    let returns = Returns::fallible(DataType::Utf8, format.nullable);
    let args = std::iter::once(format).chain(values).collect();
    Ok(call("printf", args, returns, |a| {
        let formats = a.column::<StringArray>(0)?;
        let values = (1..a.count()).map(|index| Argument::of(a, index)).collect::<Result<Vec<_>>>()?;
        let mut known: Option<(&str, Vec<Part>)> = None;
        a.try_strings(|row, out| {
            let Some(format) = formats.get(row) else { return Ok(None) };
            if known.as_ref().is_none_or(|(last, _)| *last != format) {
                known = Some((format, parse(format)?));
            }
            let parts = known.as_ref().map_or(&[][..], |(_, parts)| parts);
            write_row(parts, &values, row, out).map(Some)
        })
    }))
}

/// Whether Java writes a value of the type as something that means it.
fn has_text(data_type: &DataType) -> bool {
    !matches!(data_type, DataType::Binary | DataType::List(_) | DataType::Map(..) | DataType::Struct(_))
}

fn write_row(parts: &[Part], values: &[Argument<'_>], row: usize, out: &mut String) -> Result<()> {
    let (mut next, mut last) = (0, None);
    for part in parts {
        let spec = match part {
            Part::Text(text) => {
                out.push_str(text);
                continue;
            }
            Part::Spec(spec) => spec,
        };
        let place = match spec.source {
            Source::Nothing => None,
            Source::Next => {
                next += 1;
                Some(next - 1)
            }
            Source::Same => Some(last.ok_or_else(|| invalid("%< has no value before it"))?),
            Source::At(place) => Some(place),
        };
        let value = match place {
            None => Value::Null,
            Some(place) => {
                last = Some(place);
                let value = values.get(place).ok_or_else(|| invalid(format!("the format wants {} values", place + 1)))?;
                value.get(row)
            }
        };
        write(spec, &value, out)?;
    }
    Ok(())
}

/// An argument by the class that Java sees. Dates, times and intervals are numbers to it.
enum Argument<'a> {
    Null,
    Boolean(Reader<'a, BooleanArray>),
    Byte(Reader<'a, Int8Array>),
    Short(Reader<'a, Int16Array>),
    Int(Reader<'a, Int32Array>),
    Date(Reader<'a, Date32Array>),
    Months(Reader<'a, IntervalYearMonthArray>),
    Long(Reader<'a, Int64Array>),
    Timestamp(Reader<'a, TimestampMicrosecondArray>),
    Micros(Reader<'a, DurationMicrosecondArray>),
    Days(Reader<'a, DurationSecondArray>),
    Float(Reader<'a, Float32Array>),
    Double(Reader<'a, Float64Array>),
    Decimal(Reader<'a, Decimal128Array>, i8),
    Text(Reader<'a, StringArray>),
}

impl<'a> Argument<'a> {
    fn of(a: &Args<'a>, index: usize) -> Result<Self> {
        Ok(match a.any(index).array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Boolean(a.column(index)?),
            DataType::Int8 => Self::Byte(a.column(index)?),
            DataType::Int16 => Self::Short(a.column(index)?),
            DataType::Int32 => Self::Int(a.column(index)?),
            DataType::Date32 => Self::Date(a.column(index)?),
            DataType::Interval(IntervalUnit::YearMonth) => Self::Months(a.column(index)?),
            DataType::Int64 => Self::Long(a.column(index)?),
            DataType::Timestamp(..) => Self::Timestamp(a.column(index)?),
            DataType::Duration(TimeUnit::Second) => Self::Days(a.column(index)?),
            DataType::Duration(_) => Self::Micros(a.column(index)?),
            DataType::Float32 => Self::Float(a.column(index)?),
            DataType::Float64 => Self::Double(a.column(index)?),
            DataType::Decimal128(_, scale) => Self::Decimal(a.column(index)?, *scale),
            _ => Self::Text(a.column(index)?),
        })
    }

    fn get(&self, row: usize) -> Value<'a> {
        let int = |value: i32| Value::Whole { value: i64::from(value), bits: 32 };
        let long = |value: i64| Value::Whole { value, bits: 64 };
        match self {
            Self::Null => None,
            Self::Boolean(values) => values.get(row).map(Value::Boolean),
            Self::Byte(values) => values.get(row).map(|value| Value::Whole { value: i64::from(value), bits: 8 }),
            Self::Short(values) => values.get(row).map(|value| Value::Whole { value: i64::from(value), bits: 16 }),
            Self::Int(values) => values.get(row).map(int),
            Self::Date(values) => values.get(row).map(int),
            Self::Months(values) => values.get(row).map(int),
            Self::Long(values) => values.get(row).map(long),
            Self::Timestamp(values) => values.get(row).map(long),
            Self::Micros(values) => values.get(row).map(long),
            Self::Days(values) => values.get(row).map(|seconds| long(seconds.saturating_mul(1_000_000))),
            Self::Float(values) => values.get(row).map(Value::Float),
            Self::Double(values) => values.get(row).map(Value::Double),
            Self::Decimal(values, scale) => values.get(row).map(|value| Value::Decimal(value, *scale)),
            Self::Text(values) => values.get(row).map(Value::Text),
        }
        .unwrap_or(Value::Null)
    }
}
