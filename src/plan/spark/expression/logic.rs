//! AND, OR, NOT, CASE and the IS tests, lazy where Spark is.
//!
//! DataFusion evaluates both sides of AND and OR for every row unless one side decides for all of them. So where the right side can
//! fail it stands behind a CASE. That CASE has an operand: without one, the optimiser turns a boolean CASE into AND and OR again.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Case, Expr, Operator};

use super::arithmetic::{different_types, unexpected_type, wrong_types};
use super::coercion::common_type;
use super::extract::is_made;
use super::literal::literal;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::cast::{CastMode, cast};
use crate::plan::spark::functions::{behind, opened, weight};
use crate::plan::spark::types::sql_name;
use crate::plan::spark::{PlanSettings, Typed, is_fallible};

fn boolean(value: bool) -> Expr {
    Expr::Literal(ScalarValue::Boolean(Some(value)), None)
}

/// `left AND right`; the right side is evaluated only where the left one is not false.
pub fn and(left: Typed, right: Typed, settings: &PlanSettings) -> Result<Typed> {
    connect(Operator::And, left, right, settings)
}

/// `left OR right`; the right side is evaluated only where the left one is not true.
pub fn or(left: Typed, right: Typed, settings: &PlanSettings) -> Result<Typed> {
    connect(Operator::Or, left, right, settings)
}

fn connect(operator: Operator, left: Typed, right: Typed, settings: &PlanSettings) -> Result<Typed> {
    let takes = |t: &DataType| matches!(t, DataType::Boolean | DataType::Null | DataType::Utf8);
    let any_boolean = left.data_type != DataType::Utf8 || right.data_type != DataType::Utf8;
    let symbol = if operator == Operator::And { "AND" } else { "OR" };
    if !any_boolean {
        return Err(wrong_types(symbol, &left, &right));
    }
    if !takes(&left.data_type) && left.data_type == right.data_type {
        return Err(wrong_types(symbol, &left, &right));
    }
    if !takes(&left.data_type) || !takes(&right.data_type) {
        return Err(different_types(symbol, &left, &right));
    }
    let left = cast(left, &DataType::Boolean, CastMode::Ansi, settings)?;
    let right = cast(right, &DataType::Boolean, CastMode::Ansi, settings)?;
    let nullable = left.nullable || right.nullable;
    // A constant that decides makes Spark drop the other side, unless that is a constant too, which is computed first.
    let decisive = Expr::Literal(ScalarValue::Boolean(Some(operator == Operator::Or)), None);
    if right.expr == decisive && !left.expr.column_refs().is_empty() {
        return Ok(right);
    }
    let expr = connected(operator, left.expr, left.nullable, right.expr);
    Ok(Typed { expr, data_type: DataType::Boolean, nullable })
}

/// Nodes of a right side that may stand in two branches: right sides within right sides must not multiply.
const NODES_MAX: usize = 64;

/// Both sides connected, a fallible right one only evaluated where the left one does not decide.
fn connected(operator: Operator, left: Expr, left_nullable: bool, right: Expr) -> Expr {
    if !is_fallible(&right) {
        return Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right)));
    }
    if left_nullable
        && weight(&right, NODES_MAX) > NODES_MAX
        && let Some(call) = behind(operator, &left, &right)
    {
        return call;
    }
    let decides = operator == Operator::Or;
    let mut branches = vec![(Box::new(boolean(decides)), Box::new(boolean(decides)))];
    let mut otherwise = right;
    if left_nullable {
        branches.push((Box::new(boolean(!decides)), Box::new(otherwise.clone())));
        let null = Expr::Literal(ScalarValue::Boolean(None), None);
        otherwise = Expr::BinaryExpr(BinaryExpr::new(Box::new(otherwise), operator, Box::new(null)));
    }
    Expr::Case(Case::new(Some(Box::new(left)), branches, Some(Box::new(otherwise))))
}

/// What a condition asks for in order, also where a part that can fail was put behind those before it.
pub fn conjuncts(condition: Expr) -> Vec<Expr> {
    let (mut done, mut left) = (Vec::new(), vec![condition]);
    while let Some(next) = left.pop() {
        match next {
            Expr::BinaryExpr(BinaryExpr { left: first, op: Operator::And, right: second }) => left.extend([*second, *first]),
            other => match guarded_and(&other) {
                Some((first, second)) => left.extend([second.clone(), first.clone()]),
                None => match opened(&other).filter(is_and) {
                    Some(and) => left.push(and),
                    None => done.push(other),
                },
            },
        }
    }
    done
}

fn is_and(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryExpr(BinaryExpr { op: Operator::And, .. })) || guarded_and(expr).is_some()
}

/// Both sides of an AND whose right side can fail.
fn guarded_and(expr: &Expr) -> Option<(&Expr, &Expr)> {
    let Expr::Case(Case { expr: Some(first), when_then_expr, else_expr: Some(otherwise) }) = expr else { return None };
    let is = |expr: &Expr, value: bool| *expr == boolean(value);
    match when_then_expr.as_slice() {
        [(when, then)] if is(when, false) && is(then, false) => Some((first, otherwise)),
        [(when, then), (when_true, second)] if is(when, false) && is(then, false) && is(when_true, true) => Some((first, second)),
        _ => None,
    }
}

/// All of `conjuncts` in order: one that can fail is evaluated only where those before it hold.
pub fn all(conjuncts: impl IntoIterator<Item = Expr>) -> Option<Expr> {
    conjuncts.into_iter().reduce(|left, right| connected(Operator::And, left, true, right))
}

/// `NOT value`.
pub fn not(value: Typed, settings: &PlanSettings) -> Result<Typed> {
    let value = match &value.data_type {
        DataType::Boolean => value,
        DataType::Null | DataType::Utf8 => cast(value, &DataType::Boolean, CastMode::Ansi, settings)?,
        other => return Err(unexpected_type("NOT", other)),
    };
    Ok(Typed { expr: Expr::Not(Box::new(value.expr)), ..value })
}

/// `value IS [NOT] TRUE`, `… FALSE`.
pub fn is_boolean(value: Typed, wanted: bool, negated: bool, settings: &PlanSettings) -> Result<Typed> {
    let value = match &value.data_type {
        DataType::Boolean => value,
        DataType::Null | DataType::Utf8 => cast(value, &DataType::Boolean, CastMode::Ansi, settings)?,
        _ => return Err(different_types("<=>", &value, &literal(ScalarValue::Boolean(Some(wanted))))),
    };
    let inner = Box::new(value.expr);
    let expr = match (wanted, negated) {
        (true, false) => Expr::IsTrue(inner),
        (true, true) => Expr::IsNotTrue(inner),
        (false, false) => Expr::IsFalse(inner),
        (false, true) => Expr::IsNotFalse(inner),
    };
    Ok(Typed { expr, data_type: DataType::Boolean, nullable: false })
}

/// `value IS [NOT] NULL`.
pub fn is_null(value: Typed, negated: bool) -> Typed {
    if is_made(&value.expr) {
        return literal(ScalarValue::Boolean(Some(negated)));
    }
    let inner = Box::new(value.expr);
    let expr = if negated { Expr::IsNotNull(inner) } else { Expr::IsNull(inner) };
    Typed { expr, data_type: DataType::Boolean, nullable: false }
}

/// `CASE WHEN … THEN … ELSE … END`: conditions in order, branches evaluated only for the rows that take them.
pub fn case(branches: Vec<(Typed, Typed)>, otherwise: Option<Typed>, settings: &PlanSettings) -> Result<Typed> {
    let mut values: Vec<Typed> = branches.iter().map(|(_, value)| value.clone()).collect();
    let nullable = otherwise.as_ref().is_none_or(|v| v.nullable) || values.iter().any(|v| v.nullable);
    values.extend(otherwise.clone());
    let Some(data_type) = common_type(&values) else {
        let types: Vec<String> = values.iter().map(|v| sql_name(&v.data_type)).collect();
        return Err(Error::spark(
            ErrorKind::Config,
            "DATATYPE_MISMATCH.DATA_DIFF_TYPES",
            format!("the branches of CASE should all be the same type, but they are {}", types.join(", ")),
        ));
    };
    let fails = |(condition, value): &(Typed, Typed)| is_fallible(&condition.expr) || is_fallible(&value.expr);
    if data_type == DataType::Null && !branches.iter().any(fails) && otherwise.as_ref().is_none_or(|v| !is_fallible(&v.expr)) {
        return Ok(literal(ScalarValue::Null));
    }
    let mut lazy = false;
    let mut pairs = Vec::with_capacity(branches.len());
    for (condition, value) in branches {
        if condition.data_type != DataType::Boolean {
            return Err(unexpected_type("CASE WHEN", &condition.data_type));
        }
        let value = cast(value, &data_type, CastMode::Ansi, settings)?;
        lazy |= is_fallible(&condition.expr) || is_fallible(&value.expr);
        pairs.push((Box::new(condition.expr), Box::new(value.expr)));
    }
    let otherwise = otherwise.map(|v| cast(v, &data_type, CastMode::Ansi, settings)).transpose()?.map(|v| Box::new(v.expr));
    lazy |= otherwise.as_ref().is_some_and(|e| is_fallible(e));
    let operand = (lazy && data_type == DataType::Boolean).then(|| Box::new(boolean(true)));
    Ok(Typed { expr: Expr::Case(Case::new(operand, pairs, otherwise)), data_type, nullable })
}

/// `IF(condition, yes, no)`.
pub fn if_else(condition: Typed, yes: Typed, no: Typed, settings: &PlanSettings) -> Result<Typed> {
    let condition = match condition.data_type {
        DataType::Null => cast(condition, &DataType::Boolean, CastMode::Ansi, settings)?,
        _ => condition,
    };
    case(vec![(condition, yes)], Some(no), settings)
}
