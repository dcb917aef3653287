//! Comparisons with Spark's order: NaN equals NaN and is greater than any other number, -0.0 equals 0.0, null sorts first inside
//! of arrays and structs.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, ListArray, MapArray, PrimitiveArray, StructArray, make_comparator,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::SortOptions;
use arrow::datatypes::{ArrowNativeTypeOp, DataType, Float32Type, Float64Type, IntervalUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::arithmetic::{different_types, null_beside};
use super::arithmetic_kernel::expand;
use super::coercion::{common_type, decimal_beside_decimal, integer_rank, tightest_type, wider_type};
use super::literal::literal;
use super::logic::{and, not, or};
use super::native::{Kernel, Operand, call};
use super::once::once;
use super::temporal::{as_plain, tightest_interval};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::cast::{CastMode, cast};
use crate::plan::spark::constant::is_null_constant;
use crate::plan::spark::types::interval::is_interval;
use crate::plan::spark::types::{same_structure, sql_name};
use crate::plan::spark::{PlanSettings, Typed, is_fallible};

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<=>`: null equals null.
    NullSafeEqual,
}

impl Comparison {
    fn symbol(self) -> &'static str {
        match self {
            Comparison::Equal => "=",
            Comparison::NotEqual => "<>",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
            Comparison::NullSafeEqual => "<=>",
        }
    }

    fn operator(self) -> Operator {
        match self {
            Comparison::Equal => Operator::Eq,
            Comparison::NotEqual => Operator::NotEq,
            Comparison::Less => Operator::Lt,
            Comparison::LessOrEqual => Operator::LtEq,
            Comparison::Greater => Operator::Gt,
            Comparison::GreaterOrEqual => Operator::GtEq,
            Comparison::NullSafeEqual => Operator::IsNotDistinctFrom,
        }
    }

    fn holds(self, order: Ordering) -> bool {
        match self {
            Comparison::Equal | Comparison::NullSafeEqual => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// `left op right`, after Spark's coercion.
pub fn compare(op: Comparison, left: Typed, right: Typed, settings: &PlanSettings) -> Result<Typed> {
    let (left, right) = aligned(op, left, right, settings)?;
    if op == Comparison::NullSafeEqual {
        return Ok(compare_same(op, left, right));
    }
    let null = null_beside(&left, &right, &DataType::Boolean);
    Ok(null.unwrap_or_else(|| compare_same(op, left, right)))
}

/// Both sides as the type that they are compared in.
fn aligned(op: Comparison, left: Typed, right: Typed, settings: &PlanSettings) -> Result<(Typed, Typed)> {
    let (l, r) = (&left.data_type, &right.data_type);
    let refuse = || different_types(op.symbol(), &left, &right);
    if is_interval(l) && is_interval(r) {
        let Some(common) = tightest_interval(l, r) else { return Err(refuse()) };
        return Ok((as_plain(left, &common, settings)?, as_plain(right, &common, settings)?));
    }
    let is_decimal = |t: &DataType| matches!(t, DataType::Decimal128(..));
    let common = if is_decimal(l) && integer_rank(r).is_some() || is_decimal(r) && integer_rank(l).is_some() {
        decimal_comparison(&left, &right)
    } else if l.is_nested() || r.is_nested() {
        // Names do not matter when structs are compared.
        tightest_type(l, r).or_else(|| same_structure(l, r).then(|| l.clone()))
    } else {
        wider_type(l, r)
    };
    let Some(common) = common else { return Err(refuse()) };
    if contains_map(&common) {
        return Err(Error::spark(
            ErrorKind::Config,
            "DATATYPE_MISMATCH.INVALID_ORDERING_TYPE",
            format!("`{}` does not compare values of type \"{}\"", op.symbol(), sql_name(&common)),
        ));
    }
    Ok((cast(left, &common, CastMode::Ansi, settings)?, cast(right, &common, CastMode::Ansi, settings)?))
}

/// The type of a value without the value.
fn shape(value: &Typed) -> Typed {
    Typed { expr: Expr::Literal(ScalarValue::Null, None), data_type: value.data_type.clone(), nullable: value.nullable }
}

fn decimal_comparison(left: &Typed, right: &Typed) -> Option<DataType> {
    let as_decimal =
        |v: &Typed| decimal_beside_decimal(v).map(|(p, s)| Typed { data_type: DataType::Decimal128(p, s), ..shape(v) });
    common_type(&[as_decimal(left)?, as_decimal(right)?])
}

fn contains_map(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(..) => true,
        // INTERVALs of months, days and microseconds have no order either.
        DataType::Interval(IntervalUnit::MonthDayNano) => true,
        DataType::List(item) => contains_map(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|f| contains_map(f.data_type())),
        _ => false,
    }
}

/// A comparison of two values of one type.
pub(super) fn compare_same(op: Comparison, left: Typed, right: Typed) -> Typed {
    let null_safe = op == Comparison::NullSafeEqual;
    let nullable = !null_safe && (left.nullable || right.nullable);
    match &left.data_type {
        DataType::Null if !null_safe => literal(ScalarValue::Boolean(None)),
        DataType::Null => literal(ScalarValue::Boolean(Some(true))),
        nested if nested.is_nested() => call(Nested(op), vec![left.expr, right.expr], DataType::Boolean, nullable, false),
        _ => {
            let (left, right) = (normalized(left), normalized(right));
            let expr = Expr::BinaryExpr(BinaryExpr::new(Box::new(left.expr), op.operator(), Box::new(right.expr)));
            Typed { expr, data_type: DataType::Boolean, nullable }
        }
    }
}

/// `value [NOT] IN (list)`.
pub fn in_list(value: Typed, list: Vec<Typed>, negated: bool, settings: &PlanSettings) -> Result<Typed> {
    let mut all = vec![value];
    all.extend(list);
    // As in comparisons, the names of struct fields do not matter.
    let alike = all.iter().all(|v| same_structure(&v.data_type, &all[0].data_type));
    let common = match common_type(&all).or_else(|| alike.then(|| all[0].data_type.clone())) {
        Some(common) if !contains_map(&common) => common,
        common => {
            let types: Vec<String> = all.iter().map(|v| sql_name(&v.data_type)).collect();
            let of_maps = common.is_some_and(|common| contains_map(&common));
            return Err(Error::spark(
                ErrorKind::Config,
                if of_maps { "DATATYPE_MISMATCH.INVALID_ORDERING_TYPE" } else { "DATATYPE_MISMATCH.DATA_DIFF_TYPES" },
                format!("the values of IN should all be the same type, but they are {}", types.join(", ")),
            ));
        }
    };
    let mut all = all.into_iter().map(|v| cast(v, &common, CastMode::Ansi, settings)).collect::<Result<Vec<_>>>()?;
    let value = all.remove(0);
    if common == DataType::Null || is_null_constant(&value) || !all.is_empty() && all.iter().all(is_null_constant) {
        return Ok(literal(ScalarValue::Boolean(None)));
    }
    // Spark looks at one after the other and stops at the first that is equal.
    if common.is_nested() || all.iter().any(|item| is_fallible(&item.expr)) {
        let found = once(value, |value| {
            let mut equal = all.into_iter().map(|item| compare_same(Comparison::Equal, value.clone(), item));
            let first = equal.next().unwrap_or_else(|| literal(ScalarValue::Boolean(Some(false))));
            equal.try_fold(first, |so_far, equal| or(so_far, equal, settings))
        })?;
        return if negated { not(found, settings) } else { Ok(found) };
    }
    let nullable = value.nullable || all.iter().any(|item| item.nullable);
    let list = all.into_iter().map(|item| normalized(item).expr).collect();
    let expr = Expr::InList(InList::new(Box::new(normalized(value).expr), list, negated));
    Ok(Typed { expr, data_type: DataType::Boolean, nullable })
}

/// `value BETWEEN low AND high`.
pub fn between(value: Typed, low: Typed, high: Typed, settings: &PlanSettings) -> Result<Typed> {
    once(value, |value| {
        let from = compare(Comparison::GreaterOrEqual, value.clone(), low, settings)?;
        let to = compare(Comparison::LessOrEqual, value, high, settings)?;
        and(from, to, settings)
    })
}

/// A float with one zero and one NaN, so that Arrow's total order, equality and hash are Spark's; other values as they are.
pub fn normalized(value: Typed) -> Typed {
    if !contains_float(&value.data_type) {
        return value;
    }
    match &value.expr {
        Expr::Literal(ScalarValue::Float64(Some(v)), _) => return literal(ScalarValue::Float64(Some(one_zero_64(*v)))),
        Expr::Literal(ScalarValue::Float32(Some(v)), _) => return literal(ScalarValue::Float32(Some(one_zero_32(*v)))),
        _ => {}
    }
    let (data_type, nullable) = (value.data_type.clone(), value.nullable);
    call(Normalize, vec![value.expr], data_type, nullable, false)
}

/// What `expr` says to be equal, and whether null equals null, if it says that. Nested values are
/// compared as [`normalize`] makes them.
pub fn equality(expr: &Expr) -> Option<(&Expr, &Expr, bool)> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => Some((left, right, false)),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::IsNotDistinctFrom, right }) => Some((left, right, true)),
        Expr::ScalarFunction(call) => {
            let null_safe = match call.func.name() {
                name if name == Nested(Comparison::Equal).name() => false,
                name if name == Nested(Comparison::NullSafeEqual).name() => true,
                _ => return None,
            };
            match call.args.as_slice() {
                [left, right] => Some((left, right, null_safe)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What [`normalized`] was applied to.
pub fn under_normalization(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == Normalize.name() => call.args.first(),
        _ => None,
    }
}

fn one_zero_64(v: f64) -> f64 {
    if v.is_nan() { f64::NAN } else { v + 0.0 }
}

fn one_zero_32(v: f32) -> f32 {
    if v.is_nan() { f32::NAN } else { v + 0.0 }
}

fn contains_float(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float32 | DataType::Float64 => true,
        DataType::List(item) | DataType::Map(item, _) => contains_float(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|f| contains_float(f.data_type())),
        _ => false,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Normalize;

impl Kernel for Normalize {
    fn name(&self) -> &str {
        "normalize_nan_and_zero"
    }

    fn run(&self, args: &[Operand], _rows: usize) -> Result<ArrayRef> {
        normalize(&args[0].array)
    }
}

/// [`normalized`] for an array.
pub fn normalize(array: &ArrayRef) -> Result<ArrayRef> {
    fn each<T: ArrowPrimitiveType>(array: &ArrayRef, f: impl Fn(T::Native) -> T::Native) -> ArrayRef
    where
        T::Native: ArrowNativeTypeOp,
    {
        let normal: PrimitiveArray<T> = array.as_primitive::<T>().unary(f);
        Arc::new(normal)
    }
    if !contains_float(array.data_type()) {
        return Ok(array.clone());
    }
    let broken = |e: arrow::error::ArrowError| Error::internal("could not normalise floats").because(e);
    Ok(match array.data_type() {
        DataType::Float32 => each::<Float32Type>(array, one_zero_32),
        DataType::Float64 => each::<Float64Type>(array, one_zero_64),
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let values = normalize(list.values())?;
            Arc::new(ListArray::try_new(item.clone(), list.offsets().clone(), values, list.nulls().cloned()).map_err(broken)?)
        }
        DataType::Map(entries, sorted) => {
            let map = array.as_map();
            let pairs = normalize(&(Arc::new(map.entries().clone()) as ArrayRef))?;
            let pairs = pairs.as_struct().clone();
            let map = MapArray::try_new(entries.clone(), map.offsets().clone(), pairs, map.nulls().cloned(), *sorted);
            Arc::new(map.map_err(broken)?)
        }
        DataType::Struct(fields) => {
            let from = array.as_struct();
            let columns = from.columns().iter().map(normalize).collect::<Result<Vec<_>>>()?;
            let length = from.len();
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, from.nulls().cloned(), length).map_err(broken)?)
        }
        _ => array.clone(),
    })
}

/// A comparison of arrays or structs.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Nested(Comparison);

impl Kernel for Nested {
    fn name(&self) -> &str {
        match self.0 {
            Comparison::Equal => "nested_equal",
            Comparison::NotEqual => "nested_not_equal",
            Comparison::Less => "nested_less",
            Comparison::LessOrEqual => "nested_less_or_equal",
            Comparison::Greater => "nested_greater",
            Comparison::GreaterOrEqual => "nested_greater_or_equal",
            Comparison::NullSafeEqual => "nested_null_safe_equal",
        }
    }

    fn run(&self, args: &[Operand], rows: usize) -> Result<ArrayRef> {
        let (left, right) = (normalize(&args[0].array)?, normalize(&args[1].array)?);
        let options = SortOptions { descending: false, nulls_first: true };
        let comparator = make_comparator(left.as_ref(), right.as_ref(), options)
            .map_err(|e| Error::internal("could not compare nested values").because(e))?;
        let holds = BooleanBuffer::collect_bool(rows, |row| self.0.holds(comparator(args[0].index(row), args[1].index(row))));
        let nulls = if self.0 == Comparison::NullSafeEqual {
            None
        } else {
            NullBuffer::union(expand(&args[0], rows).as_ref(), expand(&args[1], rows).as_ref())
        };
        Ok(Arc::new(BooleanArray::new(holds, nulls)))
    }
}
