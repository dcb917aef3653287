//! Spark's casts.
//!
//! Arrow's casts differ from Spark's in what they accept, in overflow and in how values become text, so most casts are kernels of
//! our own; a cast that cannot fail and means the same stays an `Expr::Cast`, which the optimiser understands.

pub mod decimal;
pub mod interval;
mod kernel;
mod parse;
mod rule;
mod text;
pub mod time;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Cast, Expr, ScalarUDF};

use super::expression::arithmetic::{Arithmetic, arithmetic};
use super::expression::literal::literal;
use super::expression::native::{Kernel, Operand, call};
use super::expression::unsupported;
use super::functions::current_date;
use super::types::{calendar_interval, sql_name};
use super::{PlanSettings, Typed, is_fallible};
use crate::error::{Error, ErrorKind, Result};

pub use kernel::cast_array;
pub(in crate::plan::spark) use parse::digit;
use rule::{Route, WITH_CONF, WITHOUT_SUGGESTION, makes_null_keys, route};
pub(in crate::plan::spark) use text::to_text_with;
use time::{ParsedTime, parse_timestamp};

/// What a value that does not fit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CastMode {
    /// It fails the query.
    Ansi,
    /// It becomes null.
    Try,
}

/// `CAST(value AS to)` or `TRY_CAST(value AS to)`. Fails with `DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION` (or Spark's variants with
/// a suggestion) where Spark has no such cast.
pub fn cast(value: Typed, to: &DataType, mode: CastMode, settings: &PlanSettings) -> Result<Typed> {
    let from = value.data_type.clone();
    if let Expr::Literal(ScalarValue::Utf8(Some(written)), _) = &value.expr
        && let Some(special) = special_time(written, to)?
    {
        return Ok(special);
    }
    if mode == CastMode::Try && makes_null_keys(&from, to) {
        let message = format!("cannot cast {} to {}: a key might become null", sql_name(&from), sql_name(to));
        return Err(Error::spark(ErrorKind::Config, WITHOUT_SUGGESTION, message));
    }
    match route(&from, to) {
        Route::Same => Ok(Typed { data_type: to.clone(), ..value }),
        // What is null only because it fails (`raise_error`) must still be evaluated.
        Route::Null if is_fallible(&value.expr) => {
            Ok(call(NullKernel { to: to.clone() }, vec![value.expr], to.clone(), true, true))
        }
        Route::Null => {
            let null = ScalarValue::try_from(to).map_err(|e| Error::internal(format!("no null of type {to}: {e}")))?;
            Ok(Typed { expr: Expr::Literal(null, None), data_type: to.clone(), nullable: true })
        }
        Route::Arrow => {
            let expr = match exact_float(&value.expr, &from, to) {
                Some(exact) => exact,
                None => Expr::Cast(Cast::new(Box::new(as_wide(value.expr, &from, to)), to.clone())),
            };
            Ok(Typed { expr, data_type: to.clone(), nullable: value.nullable })
        }
        Route::Kernel { .. } if let Some(time) = time_of_day(&value.expr, to) => {
            let midnight = cast(current_date(settings)?, to, mode, settings)?;
            arithmetic(Arithmetic::Add, midnight, literal(ScalarValue::DurationMicrosecond(Some(time))), mode, settings)
        }
        Route::Kernel { fallible } => {
            let zone = settings.time_zone.clone();
            // NaN is null as a decimal, whatever the mode.
            let float_to_decimal = matches!((&from, to), (DataType::Float32 | DataType::Float64, DataType::Decimal128(..)));
            // And so is what is no INTERVAL.
            let null_where_odd = float_to_decimal || *to == calendar_interval();
            // Far out there are dates without a timestamp, and instants without one on a clock: too far to call the cast fallible.
            let far_out = matches!(to, DataType::Timestamp(..)) && matches!(from, DataType::Date32 | DataType::Timestamp(..));
            let nullable = value.nullable || null_where_odd || ((fallible || far_out) && mode == CastMode::Try);
            let kernel = CastKernel { to: to.clone(), mode, zone };
            Ok(call(kernel, vec![value.expr], to.clone(), nullable, fallible && mode == CastMode::Ansi))
        }
        Route::None(condition) => Err(Error::spark(
            ErrorKind::Config,
            // A setting that is off does not help TRY_CAST.
            if mode == CastMode::Try && condition == WITH_CONF { WITHOUT_SUGGESTION } else { condition },
            format!("cannot cast \"{}\" to \"{}\"", sql_name(&from), sql_name(to)),
        )),
    }
}

/// A whole number that becomes a FLOAT, as BIGINT before that, so that [`exact_float`] knows it again.
fn as_wide(expr: Expr, from: &DataType, to: &DataType) -> Expr {
    if *to == DataType::Float32 && from.is_signed_integer() && !matches!(expr, Expr::Literal(..)) {
        Expr::Cast(Cast::new(Box::new(expr), DataType::Int64))
    } else {
        expr
    }
}

/// A whole number as FLOAT as DOUBLE: Spark leaves out the FLOAT, which would have fewer digits.
fn exact_float(expr: &Expr, from: &DataType, to: &DataType) -> Option<Expr> {
    let (DataType::Float32, DataType::Float64, Expr::Cast(float)) = (from, to, expr) else { return None };
    match float.expr.as_ref() {
        Expr::Cast(whole) if *whole.field.data_type() == DataType::Int64 => {
            Some(Expr::Cast(Cast::new(float.expr.clone(), DataType::Float64)))
        }
        _ => None,
    }
}

/// `epoch`, `now`, … as a date or time. Only the first is the same for every batch.
pub(in crate::plan::spark) fn special_time(written: &str, to: &DataType) -> Result<Option<Typed>> {
    let word = written.trim().to_lowercase();
    match (word.as_str(), to) {
        ("epoch", DataType::Date32) => Ok(Some(literal(ScalarValue::Date32(Some(0))))),
        ("epoch", DataType::Timestamp(_, zone)) => Ok(Some(literal(ScalarValue::TimestampMicrosecond(Some(0), zone.clone())))),
        ("now" | "today" | "tomorrow" | "yesterday", DataType::Date32 | DataType::Timestamp(..)) => {
            Err(unsupported(&format!("the special time '{word}' (use current_timestamp() or current_date())")))
        }
        _ => Ok(None),
    }
}

/// The microseconds since midnight that a literal such as `10:20:30` says where a TIMESTAMP is wanted: it means today.
fn time_of_day(value: &Expr, to: &DataType) -> Option<i64> {
    let (Expr::Literal(ScalarValue::Utf8(Some(text)), _), DataType::Timestamp(_, Some(_))) = (value, to) else { return None };
    let text = text.trim();
    let digits = text.strip_prefix('T').unwrap_or(text);
    let is_time = digits.len() < text.len() || digits.contains(':');
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'));
    match (is_time && is_plain).then(|| parse_timestamp(format!("1970-01-01T{digits}").as_bytes()))? {
        Some(ParsedTime::At(clock, None)) => clock.local(),
        _ => None,
    }
}

/// `value` as something computed, even where nothing is left to compute: in Spark a column alone carries event time, and a literal alone
/// counts its digits beside a decimal, whatever stands around it.
pub fn computed(value: Typed) -> Typed {
    let is_plain = match &value.expr {
        Expr::Column(_) => matches!(value.data_type, DataType::Timestamp(_, Some(_))),
        Expr::Literal(number, _) => value.data_type.is_signed_integer() && !number.is_null(),
        _ => false,
    };
    if !is_plain {
        return value;
    }
    Typed { expr: Expr::Cast(Cast::new(Box::new(value.expr), value.data_type.clone())), ..value }
}

/// Whether `function` is one of the casts that are made here, and may fail.
pub fn is_cast(function: &ScalarUDF) -> bool {
    function.name() == "cast"
}

/// Nulls of a type, once the argument is evaluated.
#[derive(Debug, PartialEq, Eq, Hash)]
struct NullKernel {
    to: DataType,
}

impl Kernel for NullKernel {
    fn name(&self) -> &str {
        "null_of"
    }

    fn run(&self, _: &[Operand], rows: usize) -> Result<ArrayRef> {
        Ok(arrow::array::new_null_array(&self.to, rows))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CastKernel {
    to: DataType,
    mode: CastMode,
    zone: Arc<str>,
}

impl Kernel for CastKernel {
    fn name(&self) -> &str {
        match self.mode {
            CastMode::Ansi => "cast",
            CastMode::Try => "try_cast",
        }
    }

    fn run(&self, args: &[Operand], _rows: usize) -> Result<ArrayRef> {
        cast_array(&args[0].array, &self.to, self.mode, &self.zone)
    }
}
