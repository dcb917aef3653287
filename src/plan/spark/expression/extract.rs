//! What is taken out of an array, map or struct that the same expression makes: Spark never makes it, so that what else would be in it
//! cannot fail.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::comparison::{Comparison, compare_same};
use super::literal::literal;
use super::logic;
use super::once::once;
use crate::error::{ErrorKind, Result, from_datafusion};
use crate::plan::spark::types::map_fields;
use crate::plan::spark::{PlanSettings, Typed, is_fallible};

/// The arguments of `value`, if it is a call of `function`.
fn parts<'a>(value: &'a Expr, function: &str) -> Option<&'a [Expr]> {
    match value {
        Expr::ScalarFunction(call) if call.func.name() == function => Some(&call.args),
        _ => None,
    }
}

/// The part at `place`, if leaving out the others may make a difference.
fn part(parts: &[Expr], place: usize) -> Option<&Expr> {
    let any_fails = parts.iter().any(is_fallible);
    parts.get(place).filter(|_| any_fails && !fails_when_planned(parts))
}

/// Whether a part is a constant that may fail: Spark computes constants first.
fn fails_when_planned(parts: &[Expr]) -> bool {
    parts.iter().any(|part| is_fallible(part) && part.column_refs().is_empty())
}

/// Whether `value` makes an array, map or struct, which is not null whatever is in it.
pub(super) fn is_made(value: &Expr) -> bool {
    ["array", "map", "named_struct"].iter().any(|function| parts(value, function).is_some())
}

/// The field with this index of a struct.
pub(super) fn field(value: &Typed, index: usize) -> Option<Typed> {
    let DataType::Struct(fields) = &value.data_type else { return None };
    let expr = part(parts(&value.expr, "named_struct")?, index)?.clone();
    Some(Typed { expr, data_type: fields.get(index)?.data_type().clone(), nullable: fields.get(index)?.is_nullable() })
}

/// The structs whose field is taken from each, if `value` makes an array of them.
pub(super) fn structs(value: &Typed) -> Option<Vec<Typed>> {
    let DataType::List(item) = &value.data_type else { return None };
    let parts = parts(&value.expr, "array").filter(|parts| is_fallible(&value.expr) && !fails_when_planned(parts))?;
    let of = |expr: &Expr| Typed { expr: expr.clone(), data_type: item.data_type().clone(), nullable: true };
    Some(parts.iter().map(of).collect())
}

/// The element of an array at a constant place.
pub fn item(value: &Typed, place: &Typed) -> Option<Typed> {
    let DataType::List(item) = &value.data_type else { return None };
    let place = match &place.expr {
        Expr::Literal(ScalarValue::Int32(Some(place)), _) => usize::try_from(*place).ok()?,
        _ => return None,
    };
    let expr = part(parts(&value.expr, "array")?, place)?.clone();
    Some(Typed { expr, data_type: item.data_type().clone(), nullable: true })
}

/// The value of the first of a map's keys that equals `key`, which is of their type: null keys and equal ones do no harm.
pub(super) fn lookup(value: &Typed, key: &Typed, settings: &PlanSettings) -> Result<Option<Typed>> {
    let DataType::Map(entries, _) = &value.data_type else { return Ok(None) };
    let (Some((key_field, held)), Some(parts)) = (map_fields(entries), parts(&value.expr, "map")) else { return Ok(None) };
    let is_constant = [&key.expr, &value.expr].iter().all(|expr| expr.column_refs().is_empty());
    if is_constant || fails_when_planned(parts) {
        return Ok(None);
    }
    let (keys, values) = parts.split_at(parts.len() / 2);
    let typed = |expr: &Expr, data_type: &DataType| Typed { expr: expr.clone(), data_type: data_type.clone(), nullable: true };
    let found = once(key.clone(), |key| {
        let mut branches = Vec::new();
        for (from, value) in keys.iter().zip(values) {
            let value = typed(value, held.data_type());
            match (from, &key.expr) {
                (Expr::Literal(from, _), Expr::Literal(key, _)) if from == key && branches.is_empty() && !key.is_null() => {
                    return Ok(value);
                }
                (Expr::Literal(from, _), Expr::Literal(key, _)) if from != key => {}
                _ => {
                    let equal = compare_same(Comparison::Equal, typed(from, key_field.data_type()), key.clone());
                    branches.push((equal, value));
                }
            }
        }
        let nothing =
            literal(ScalarValue::try_new_null(held.data_type()).map_err(|error| from_datafusion(error, ErrorKind::Internal))?);
        if branches.is_empty() {
            return Ok(nothing);
        }
        logic::case(branches, Some(nothing), settings)
    });
    found.map(Some)
}
