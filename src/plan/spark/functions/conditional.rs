//! Functions that choose between their arguments.
//!
//! Spark evaluates an argument only if it is needed. An argument that cannot fail is evaluated at once with the others; one that can
//! is put behind a CASE.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float32Array, Float64Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::DataType;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, lit};

use super::super::expression::coercion::{common_type, common_type_without_strings, tightest_type};
use super::super::expression::once::once;
use super::super::types::has_map;
use super::super::types::sql_name;
use super::super::{Call, Typed, is_fallible};
use super::arguments::{Want, any_nullable, arity, coerce, convert, literal, mismatch, null_of};
use super::native::{Args, Returns, call, from_arrow};
use super::{FunctionSpec, scalar};
use crate::error::Result;
use crate::plan::spark::cast::computed;

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("coalesce(value, …)", "The first value that is not null", "coalesce(NULL, 1, 2) → 1", coalesce),
    scalar("nvl(value, other)", "`value`, or `other` where it is null", "nvl(NULL, 'none') → none", nvl),
    scalar("ifnull(value, other)", "As `nvl`", "ifnull(1, 2) → 1", nvl),
    scalar("nvl2(value, if_not_null, if_null)", "One of two values, by whether a third is null", "nvl2(NULL, 'yes', 'no') → no", nvl2),
    scalar("if(condition, then, else)", "`then` where the condition holds, else `else`", "if(1 < 2, 'a', 'b') → a", if_then_else),
    scalar("nullif(a, b)", "`a`, but null where it equals `b`", "nullif(2, 2) → NULL", nullif),
    scalar("nullifzero(n)", "`n`, but null where it is 0", "nullifzero(0) → NULL", nullifzero),
    scalar("zeroifnull(n)", "`n`, but 0 where it is null", "zeroifnull(NULL) → 0", zeroifnull),
    scalar("nanvl(x, y)", "`x`, but `y` where it is NaN", "nanvl(double('NaN'), 1.5) → 1.5", nanvl),
    scalar("isnull(value)", "Whether a value is null", "isnull(NULL) → true", |c| is_null(c, false)),
    scalar("isnotnull(value)", "Whether a value is not null", "isnotnull(1) → true", |c| is_null(c, true)),
    scalar("isnan(x)", "Whether a number is NaN; false for null", "isnan(double('NaN')) → true", isnan),
    scalar("equal_null(a, b)", "`a <=> b`: equal, or both null", "equal_null(NULL, NULL) → true", equal_null),
    scalar("greatest(value, …)", "The greatest of the values that are not null", "greatest(10, 9, NULL) → 10", |c| extreme(c, true)),
    scalar("least(value, …)", "The least of the values that are not null", "least(10, 9, NULL) → 9", |c| extreme(c, false)),
];

/// The type that all `args` share, or Spark's refusal.
pub(super) fn common_of(c: &Call<'_>, args: &[Typed]) -> Result<DataType> {
    common_type(args).ok_or_else(|| differ(c, args))
}

fn differ(c: &Call<'_>, args: &[Typed]) -> crate::Error {
    let types: Vec<String> = args.iter().map(|a| format!("\"{}\"", sql_name(&a.data_type))).collect();
    mismatch("DATA_DIFF_TYPES", format!("input to `{}` should all be the same type, but it's [{}]", c.name, types.join(", ")))
}

/// All arguments cast to the type they share.
fn unify(c: &Call<'_>, args: Vec<Typed>) -> Result<(Vec<Typed>, DataType)> {
    let to = common_of(c, &args)?;
    let args = args.into_iter().map(|a| convert(c, a, &to)).collect::<Result<Vec<_>>>()?;
    Ok((args, to))
}

fn case(when: Vec<(Expr, Expr)>, otherwise: Expr) -> Expr {
    let when = when.into_iter().map(|(w, t)| (Box::new(w), Box::new(t))).collect();
    Expr::Case(Case::new(None, when, Some(Box::new(otherwise))))
}

fn coalesce(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, None)?;
    let args = std::mem::take(&mut c.args);
    let (mut args, data_type) = unify(&c, args)?;
    let nullable = args.iter().all(|a| a.nullable);
    // What follows an argument that is never null is never looked at.
    if let Some(first) = args.iter().position(|a| !a.nullable) {
        args.truncate(first + 1);
    }
    if args.len() == 1 || data_type == DataType::Null {
        return Ok(computed(args.swap_remove(0)));
    }
    if args[1..].iter().any(|a| is_fallible(&a.expr)) {
        return first_not_null(args, nullable);
    }
    Ok(call("coalesce", args, Returns::new(data_type, nullable), |a| {
        let mut result = a.expanded(0)?;
        for index in 1..a.count() {
            if result.logical_null_count() == 0 {
                break;
            }
            let mask = arrow::compute::is_not_null(&result).map_err(from_arrow)?;
            result = zip(&mask, &result, &a.expanded(index)?).map_err(from_arrow)?;
        }
        Ok(result)
    }))
}

/// The first of `args`, which are of one type, that is not null; the next one is evaluated only where it is needed.
fn first_not_null(mut args: Vec<Typed>, nullable: bool) -> Result<Typed> {
    let last = args.pop().ok_or_else(|| crate::Error::internal("a call without the arguments it was checked for"))?;
    let first = args.into_iter().rev().try_fold(last, |otherwise, arg| {
        once(arg, |arg| {
            let (data_type, nullable) = (arg.data_type, arg.nullable && otherwise.nullable);
            let mut when = vec![(arg.expr.clone().is_not_null(), arg.expr)];
            let expr = match otherwise.expr {
                Expr::Case(Case { expr: None, when_then_expr, else_expr: Some(last) }) => {
                    when.extend(when_then_expr.into_iter().map(|(when, then)| (*when, *then)));
                    case(when, *last)
                }
                last => case(when, last),
            };
            Ok(Typed { expr, data_type, nullable })
        })
    })?;
    Ok(Typed { nullable, ..first })
}

fn condition(c: &Call<'_>, arg: Typed) -> Result<Typed> {
    if arg.data_type == DataType::Boolean {
        return Ok(arg);
    }
    Err(super::arguments::unexpected_type(c, 0, &arg.data_type, &Want::Boolean))
}

fn if_then_else(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 3, 3)?;
    let mut args = std::mem::take(&mut c.args);
    let test = condition(&c, args.remove(0))?;
    let (branches, data_type) = unify(&c, args)?;
    let nullable = any_nullable(&branches);
    let [then, otherwise] = <[Typed; 2]>::try_from(branches).map_err(|_| crate::Error::internal("two branches"))?;
    Ok(Typed { expr: case(vec![(test.expr, then.expr)], otherwise.expr), data_type, nullable })
}

fn nvl(c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 2)?;
    coalesce(c)
}

fn nvl2(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 3, 3)?;
    let test = c.args.remove(0);
    let test = Typed { expr: test.expr.is_not_null(), data_type: DataType::Boolean, nullable: false };
    c.args.insert(0, test);
    if_then_else(c)
}

/// `left` and `right`, each cast to the type they are compared as.
fn comparable(c: &Call<'_>, left: Typed, right: Typed) -> Result<(Typed, Typed)> {
    let mut pair = vec![left, right];
    let is_nested = pair.iter().any(|side| side.data_type.is_nested());
    let common = if is_nested { tightest_type(&pair[0].data_type, &pair[1].data_type) } else { common_type(&pair) };
    let to = common.ok_or_else(|| {
        mismatch(
            "BINARY_OP_DIFF_TYPES",
            format!("\"{}\" and \"{}\" cannot be compared", sql_name(&pair[0].data_type), sql_name(&pair[1].data_type)),
        )
    })?;
    if has_map(&to) {
        return Err(mismatch("INVALID_ORDERING_TYPE", format!("`{}` does not take {}", c.name, sql_name(&to))));
    }
    let right = convert(c, pair.remove(1), &to)?;
    let left = convert(c, pair.remove(0), &to)?;
    Ok((left, right))
}

/// Null-safe equality as a kernel.
pub(super) fn same(c: &Call<'_>, left: Typed, right: Typed) -> Result<Typed> {
    let (left, right) = comparable(c, left, right)?;
    if left.data_type == DataType::Null {
        return Ok(literal(true.into()));
    }
    Ok(call("equal_null", vec![left, right], Returns::new(DataType::Boolean, false), |a| {
        let (left, right) =
            (super::collection::comparable_values(&a.expanded(0)?)?, super::collection::comparable_values(&a.expanded(1)?)?);
        if left.data_type().is_nested() {
            let rows = super::collection::Rows::of(&[&left, &right])?;
            return a.booleans(|row| Some(rows.row(0, row) == rows.row(1, row)));
        }
        let equal: BooleanArray = not_distinct(&left, &right).map_err(from_arrow)?;
        Ok(Arc::new(equal))
    }))
}

fn equal_null(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 2)?;
    let (right, left) = (c.args.remove(1), c.args.remove(0));
    same(&c, left, right)
}

fn nullif(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 2)?;
    let (right, left) = (c.args.remove(1), c.args.remove(0));
    null_where_same(&c, left, right)
}

fn null_where_same(c: &Call<'_>, left: Typed, right: Typed) -> Result<Typed> {
    once(left, |left| {
        let data_type = left.data_type.clone();
        let null = null_of(data_type.clone())?.expr;
        let mut when = Vec::with_capacity(2);
        // Nothing equals a null, and what can fail is not asked for one.
        if left.nullable && is_fallible(&right.expr) {
            when.push((left.expr.clone().is_null(), null.clone()));
        }
        when.push((same(c, left.clone(), right)?.expr, null));
        Ok(Typed { expr: case(when, left.expr), data_type, nullable: true })
    })
}

fn nullifzero(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 1)?;
    let left = c.args.remove(0);
    null_where_same(&c, left, literal(0_i32.into()))
}

fn zeroifnull(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 1)?;
    c.args.push(literal(0_i32.into()));
    coalesce(c)
}

fn is_null(mut c: Call<'_>, negated: bool) -> Result<Typed> {
    arity(&c, 1, 1)?;
    let arg = c.args.remove(0);
    Ok(super::super::expression::logic::is_null(arg, negated))
}

const FLOATING: Want = Want::OneOf(&[Want::Double, Want::Float]);

fn isnan(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[FLOATING])?;
    let double = args[0].data_type == DataType::Float64;
    Ok(call("isnan", args, Returns::new(DataType::Boolean, false), move |a| {
        if double {
            let d = a.column::<Float64Array>(0)?;
            return a.booleans(|row| Some(d.get(row).is_some_and(f64::is_nan)));
        }
        let d = a.column::<Float32Array>(0)?;
        a.booleans(|row| Some(d.get(row).is_some_and(f32::is_nan)))
    }))
}

fn nanvl(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[FLOATING, FLOATING])?;
    let (mut args, to) = unify(&c, args)?;
    let nullable = any_nullable(&args);
    if is_fallible(&args[1].expr) {
        let (right, left) = (args.remove(1), args.remove(0));
        let nan = if to == DataType::Float32 { lit(f32::NAN) } else { lit(f64::NAN) };
        return once(left, |left| {
            Ok(Typed { expr: case(vec![(left.expr.clone().eq(nan), right.expr)], left.expr), data_type: to, nullable })
        });
    }
    let double = to == DataType::Float64;
    Ok(call("nanvl", args, Returns::new(to, nullable), move |a| {
        use arrow::datatypes::{Float32Type, Float64Type};
        if double {
            let (left, right) = (a.column::<Float64Array>(0)?, a.column::<Float64Array>(1)?);
            return a
                .primitive::<Float64Type>(|row| left.get(row).and_then(|d| if d.is_nan() { right.get(row) } else { Some(d) }));
        }
        let (left, right) = (a.column::<Float32Array>(0)?, a.column::<Float32Array>(1)?);
        a.primitive::<Float32Type>(|row| left.get(row).and_then(|d| if d.is_nan() { right.get(row) } else { Some(d) }))
    }))
}

/// `greatest`, `least`: nulls are passed over, NaN is the greatest.
fn extreme(mut c: Call<'_>, greatest: bool) -> Result<Typed> {
    arity(&c, 2, None)?;
    let args = std::mem::take(&mut c.args);
    let to = common_type_without_strings(&args).ok_or_else(|| differ(&c, &args))?;
    if has_map(&to) {
        return Err(mismatch("INVALID_ORDERING_TYPE", format!("`{}` does not take {}", c.name, sql_name(&to))));
    }
    let args = args.into_iter().map(|a| convert(&c, a, &to)).collect::<Result<Vec<_>>>()?;
    let nullable = args.iter().all(|a| a.nullable);
    Ok(call(c.name, args, Returns::new(to, nullable), move |a| choose(a, greatest)))
}

/// Where what is offered is greater, or less, than what is held.
fn better<K: Ord>(rows: usize, held: impl Fn(usize) -> K, offered: impl Fn(usize) -> K, greatest: bool) -> BooleanBuffer {
    BooleanBuffer::collect_bool(rows, |row| if greatest { offered(row) > held(row) } else { offered(row) < held(row) })
}

fn choose(a: &Args<'_>, greatest: bool) -> Result<ArrayRef> {
    let mut best = a.expanded(0)?;
    for index in 1..a.count() {
        let other = a.expanded(index)?;
        let (left, right) = (super::collection::comparable_values(&best)?, super::collection::comparable_values(&other)?);
        let rows = super::collection::Rows::of(&[&left, &right])?;
        // The first of equals stays (0.0 and -0.0 are equal).
        let better = match (rows.numbers(0), rows.numbers(1)) {
            (Some(held), Some(offered)) => better(a.rows(), |row| held[row], |row| offered[row], greatest),
            _ => better(a.rows(), |row| rows.row(0, row), |row| rows.row(1, row), greatest),
        };
        let mut kept = !&better;
        if let Some(held) = left.logical_nulls() {
            kept = &kept & held.inner();
        }
        if let Some(offered) = right.logical_nulls() {
            kept = &kept | &!offered.inner();
        }
        let keep = BooleanArray::new(kept, None);
        best = zip(&keep, &best, &other).map_err(from_arrow)?;
    }
    Ok(best)
}
