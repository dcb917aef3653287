//! Arguments: how many, of what type, and Spark's implicit casts of them.
//!
//! A builder says per argument what it [`Want`]s; [`coerce`] casts what Spark casts by itself and refuses the rest, as Spark's
//! analyzer does in ANSI mode.

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use datafusion::logical_expr::{Expr, lit};
use datafusion::scalar::ScalarValue;

use super::super::cast::{CastMode, cast};
use super::super::constant::evaluate;
pub(super) use super::super::constant::{is_foldable, is_null_constant};
use super::super::types::interval::is_interval;
pub(super) use super::super::types::{array_of, is_numeric, map_of, timestamp};
use super::super::types::{has_map, sql_name};
use super::super::{Call, Typed};
use crate::error::{Error, ErrorKind, Result};

/// What an argument may be, in Spark's terms.
#[derive(Debug, Clone, Copy)]
pub(super) enum Want {
    /// Anything.
    Any,
    /// A null without a type.
    Null,
    /// BOOLEAN.
    Boolean,
    /// INT.
    Int,
    /// BIGINT.
    Long,
    /// DOUBLE.
    Double,
    /// FLOAT.
    Float,
    /// STRING.
    Text,
    /// BINARY.
    Binary,
    /// DATE.
    Date,
    /// TIMESTAMP.
    Timestamp,
    /// TIMESTAMP_NTZ.
    TimestampNtz,
    /// TIMESTAMP or TIMESTAMP_NTZ.
    AnyTimestamp,
    /// Any number.
    Numeric,
    /// Any whole number.
    Integral,
    /// A decimal of any precision.
    Decimal,
    /// A day-time interval.
    DayTime,
    /// A year-month interval.
    YearMonth,
    /// ARRAY of anything.
    Array,
    /// ARRAY of what is wanted.
    ArrayOf(&'static Want),
    /// MAP of anything.
    Map,
    /// STRUCT of anything.
    Struct,
    /// The first that fits.
    OneOf(&'static [Want]),
}

/// STRUCT of nullable fields.
pub(super) fn struct_of<N: Into<String>>(fields: impl IntoIterator<Item = (N, DataType)>) -> DataType {
    DataType::Struct(fields.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)).collect::<Fields>())
}

/// The item type of an ARRAY.
pub(super) fn item_of(list: &DataType) -> Option<&DataType> {
    match list {
        DataType::List(item) => Some(item.data_type()),
        _ => None,
    }
}

/// Key and value type of a MAP.
pub(super) fn entry_of(map: &DataType) -> Option<(&DataType, &DataType)> {
    match map {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => Some((fields[0].data_type(), fields[1].data_type())),
            _ => None,
        },
        _ => None,
    }
}

/// TINYINT to BIGINT.
pub(super) fn is_integral(t: &DataType) -> bool {
    matches!(t, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64)
}

fn is_datetime(t: &DataType) -> bool {
    matches!(t, DataType::Date32 | DataType::Timestamp(..))
}

fn is_atomic(t: &DataType) -> bool {
    is_numeric(t) || is_datetime(t) || matches!(t, DataType::Utf8 | DataType::Binary | DataType::Boolean) || is_interval(t)
}

impl Want {
    /// Whether a value of the type is taken as it is.
    pub(super) fn accepts(&self, t: &DataType) -> bool {
        match self {
            Self::Any => true,
            Self::AnyTimestamp => matches!(t, DataType::Timestamp(..)),
            Self::DayTime => matches!(t, DataType::Duration(_)),
            Self::Numeric => is_numeric(t),
            Self::Integral => is_integral(t),
            Self::Decimal => matches!(t, DataType::Decimal128(..)),
            Self::Array => matches!(t, DataType::List(_)),
            Self::ArrayOf(item) => item_of(t).is_some_and(|i| item.accepts(i)),
            Self::Map => matches!(t, DataType::Map(..)),
            Self::Struct => matches!(t, DataType::Struct(_)),
            Self::OneOf(wants) => wants.iter().any(|w| w.accepts(t)),
            _ => self.concrete() == *t,
        }
    }

    /// The type that null, or a value that must be cast, becomes.
    fn concrete(&self) -> DataType {
        match self {
            Self::Any | Self::Null => DataType::Null,
            Self::Boolean => DataType::Boolean,
            Self::Int | Self::Integral => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Double | Self::Numeric => DataType::Float64,
            Self::Float => DataType::Float32,
            Self::Text => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Timestamp | Self::AnyTimestamp => timestamp(),
            Self::TimestampNtz => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Decimal => DataType::Decimal128(38, 18),
            Self::DayTime => DataType::Duration(TimeUnit::Microsecond),
            Self::YearMonth => DataType::Interval(IntervalUnit::YearMonth),
            Self::Array => array_of(DataType::Null),
            Self::ArrayOf(item) => array_of(item.concrete()),
            Self::Map => map_of(DataType::Null, DataType::Null),
            Self::Struct => DataType::Struct(Fields::empty()),
            Self::OneOf(wants) => wants[0].concrete(),
        }
    }

    /// The type that a value of type `from` is implicitly cast to, if it can be.
    pub(super) fn from(&self, from: &DataType) -> Option<DataType> {
        if self.accepts(from) {
            return Some(from.clone());
        }
        match (from, self) {
            (_, Self::OneOf(wants)) => wants.iter().find_map(|w| w.from(from)),
            (DataType::Null, _) => Some(self.concrete()),
            (t, Self::Decimal) if is_numeric(t) => decimal_for(t),
            (DataType::Float32 | DataType::Float64 | DataType::Decimal128(..), Self::Integral) => None,
            (DataType::Utf8, Self::Decimal) => Some(self.concrete()),
            (DataType::Utf8, _) => Some(self.concrete()).filter(is_atomic),
            (DataType::List(item), Self::ArrayOf(want)) => want.from(item.data_type()).map(array_of),
            (t, _) => {
                let to = self.concrete();
                let assignable = (is_numeric(t) && is_numeric(&to))
                    || (is_atomic(t) && to == DataType::Utf8)
                    || (is_datetime(t) && is_datetime(&to));
                assignable.then_some(to)
            }
        }
    }

    /// How Spark writes it.
    fn sql(&self) -> String {
        match self {
            Self::Any => "ANY".into(),
            Self::AnyTimestamp => "(TIMESTAMP OR TIMESTAMP WITHOUT TIME ZONE)".into(),
            Self::Numeric => "NUMERIC".into(),
            Self::Integral => "INTEGRAL".into(),
            Self::Decimal => "DECIMAL".into(),
            Self::Array => "ARRAY".into(),
            Self::ArrayOf(item) => format!("ARRAY<{}>", item.sql()),
            Self::Map => "MAP".into(),
            Self::Struct => "STRUCT".into(),
            Self::OneOf(wants) => format!("({})", wants.iter().map(Self::sql).collect::<Vec<_>>().join(" or ")),
            _ => sql_name(&self.concrete()),
        }
    }
}

/// The decimal that holds every value of a numeric type.
pub(super) fn decimal_for(t: &DataType) -> Option<DataType> {
    Some(match t {
        DataType::Int8 => DataType::Decimal128(3, 0),
        DataType::Int16 => DataType::Decimal128(5, 0),
        DataType::Int32 => DataType::Decimal128(10, 0),
        DataType::Int64 => DataType::Decimal128(20, 0),
        DataType::Float32 => DataType::Decimal128(14, 7),
        DataType::Float64 => DataType::Decimal128(30, 15),
        DataType::Decimal128(..) => t.clone(),
        _ => return None,
    })
}

/// Refuses a call whose number of arguments is not in `least..=most` (`most` `None`: any number).
pub(in super::super) fn arity(call: &Call<'_>, least: usize, most: impl Into<Option<usize>>) -> Result<()> {
    let (count, most) = (call.args.len(), most.into());
    if count >= least && most.is_none_or(|most| count <= most) {
        return Ok(());
    }
    let expected = match most {
        Some(most) if most == least => least.to_string(),
        Some(most) => format!("[{}]", (least..=most).map(|n| n.to_string()).collect::<Vec<_>>().join(", ")),
        None => format!("> {}", least.saturating_sub(1)),
    };
    Err(wrong_count(call.name, &expected, count))
}

/// The error of a call with so many arguments, where others are `expected`.
pub(in super::super) fn wrong_count(function: &str, expected: &str, count: usize) -> Error {
    let message = format!("the `{function}` requires {expected} parameters but the actual number is {count}");
    Error::spark(ErrorKind::Config, "WRONG_NUM_ARGS.WITHOUT_SUGGESTION", message)
}

/// Refuses values that have no order.
pub(super) fn orderable(call: &Call<'_>, data_type: &DataType) -> Result<()> {
    if has_map(data_type) {
        return Err(mismatch("INVALID_ORDERING_TYPE", format!("`{}` does not take {}", call.name, sql_name(data_type))));
    }
    Ok(())
}

/// Exactly as many arguments as `wants`, each cast as Spark does by itself.
pub(super) fn coerce(call: &mut Call<'_>, wants: &[Want]) -> Result<Vec<Typed>> {
    arity(call, wants.len(), wants.len())?;
    coerce_some(call, wants)
}

/// Like [`coerce`]; the arguments beyond the first `least` may be left out.
pub(super) fn coerce_optional(call: &mut Call<'_>, least: usize, wants: &[Want]) -> Result<Vec<Typed>> {
    arity(call, least, wants.len())?;
    coerce_some(call, wants)
}

fn coerce_some(call: &mut Call<'_>, wants: &[Want]) -> Result<Vec<Typed>> {
    let args = std::mem::take(&mut call.args);
    args.into_iter().zip(wants).enumerate().map(|(index, (arg, want))| coerce_one(call, index, arg, want)).collect()
}

/// `arg`, the call's argument `index`, as `want`.
pub(super) fn coerce_one(call: &Call<'_>, index: usize, arg: Typed, want: &Want) -> Result<Typed> {
    match want.from(&arg.data_type) {
        Some(to) => convert(call, arg, &to),
        None => Err(unexpected_type(call, index, &arg.data_type, want)),
    }
}

/// `arg` as it is, if `want` accepts its type without a cast.
pub(super) fn expect_one(call: &Call<'_>, index: usize, arg: Typed, want: &Want) -> Result<Typed> {
    if want.accepts(&arg.data_type) { Ok(arg) } else { Err(unexpected_type(call, index, &arg.data_type, want)) }
}

/// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE`.
pub(super) fn unexpected_type(call: &Call<'_>, index: usize, found: &DataType, want: &Want) -> Error {
    mismatch(
        "UNEXPECTED_INPUT_TYPE",
        format!(
            "parameter {} of `{}` requires the {} type, however it has the type {}",
            index + 1,
            call.name,
            want.sql(),
            sql_name(found)
        ),
    )
}

/// An error of the class `DATATYPE_MISMATCH`.
pub(super) fn mismatch(sub_condition: &str, message: impl Into<String>) -> Error {
    Error::spark(ErrorKind::Config, format!("DATATYPE_MISMATCH.{sub_condition}"), message)
}

/// An error that a row causes.
pub(super) fn data_error(condition: &'static str, message: impl Into<String>) -> Error {
    Error::spark(ErrorKind::Data, condition, message)
}

/// Spark's explicit cast.
pub(super) fn convert(call: &Call<'_>, arg: Typed, to: &DataType) -> Result<Typed> {
    if arg.data_type == *to {
        return Ok(arg);
    }
    if arg.data_type == DataType::Null {
        let expr = match &arg.expr {
            Expr::Literal(..) => null_literal(to)?,
            other => Expr::Cast(datafusion::logical_expr::Cast::new(Box::new(other.clone()), to.clone())),
        };
        return Ok(Typed { expr, data_type: to.clone(), nullable: true });
    }
    cast(arg, to, CastMode::Ansi, call.context.settings)
}

fn null_literal(to: &DataType) -> Result<Expr> {
    let value = ScalarValue::try_new_null(to).map_err(|e| crate::error::from_datafusion(e, ErrorKind::Internal))?;
    Ok(Expr::Literal(value, None))
}

/// A null of type `to`.
pub(super) fn null_of(to: DataType) -> Result<Typed> {
    Ok(Typed { expr: null_literal(&to)?, data_type: to, nullable: true })
}

/// A constant.
pub(super) fn literal(value: ScalarValue) -> Typed {
    Typed { data_type: value.data_type(), nullable: value.is_null(), expr: lit(value) }
}

/// A constant text.
pub(super) fn text(value: impl Into<String>) -> Typed {
    literal(ScalarValue::Utf8(Some(value.into())))
}

/// Whether any of them can be null.
pub(super) fn any_nullable(args: &[Typed]) -> bool {
    args.iter().any(|a| a.nullable)
}

/// The value of a constant argument; `None` if it is not constant. A constant that fails gives its error.
pub(in super::super) fn constant(arg: &Typed) -> Result<Option<ScalarValue>> {
    evaluate(&arg.expr)
}

/// A constant argument's value, or Spark's refusal of one that is not.
pub(super) fn require_constant(call: &Call<'_>, name: &str, arg: &Typed) -> Result<ScalarValue> {
    constant(arg)?.ok_or_else(|| {
        mismatch("NON_FOLDABLE_INPUT", format!("the parameter `{name}` of `{}` must be a constant expression", call.name))
    })
}
