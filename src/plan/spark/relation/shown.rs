//! An expression of the select list as Spark names a column after it, where that depends on what the names in it are: columns lose
//! their table, fields are written with a point and a map's values in brackets, days are added by `date_add`.

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use sqlparser::ast::{self, AccessExpr, BinaryOperator, Expr, Ident};

use super::columns::{Attribute, find};
use super::scope::QueryScope;
use crate::plan::spark::dialect::plain_call;
use crate::plan::spark::expression::{printed, spark_column_name};
use crate::plan::spark::types::map_fields;

/// Nodes of an operand whose type is asked for: in long sums that would be done again and again.
const NODES_MAX: usize = 8;

/// The name of the column that `expr` gives without an alias.
pub(super) fn name(expr: &Expr, columns: &[Attribute], scope: &QueryScope<'_>) -> String {
    match expr {
        Expr::Nested(inner) => name(inner, columns, scope),
        // A path that is written with points alone has its last name.
        Expr::CompoundIdentifier(_) => spark_column_name(expr),
        Expr::CompoundFieldAccess { access_chain, .. }
            if access_chain.iter().any(|step| matches!(step, AccessExpr::Subscript(_))) =>
        {
            printed(&as_printed(expr, columns, scope))
        }
        _ => spark_column_name(&as_printed(expr, columns, scope)),
    }
}

/// `expr` with what Spark would print in place of what is written.
fn as_printed(expr: &Expr, columns: &[Attribute], scope: &QueryScope<'_>) -> Expr {
    let mut shown = expr.clone();
    // The visitor never breaks.
    let _ = ast::visit_expressions_mut(&mut shown, |node| {
        if let Some(days) = days_added(node, scope) {
            *node = days;
        }
        ControlFlow::<()>::Continue(())
    });
    let _ = ast::visit_expressions_mut(&mut shown, |node| {
        match node {
            Expr::CompoundIdentifier(parts) => {
                if let Some(access) = access(parts, &[], columns) {
                    *node = access;
                }
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                let mut parts = match root.as_ref() {
                    Expr::Identifier(name) => vec![name.clone()],
                    Expr::CompoundIdentifier(parts) => parts.clone(),
                    _ => return ControlFlow::<()>::Continue(()),
                };
                // A path may begin with a table.
                let names = access_chain.iter().map_while(|step| match step {
                    AccessExpr::Dot(Expr::Identifier(name)) => Some(name.clone()),
                    _ => None,
                });
                let before = parts.len();
                parts.extend(names);
                let rest = &access_chain[parts.len() - before..];
                if let Some(access) = access(&parts, rest, columns) {
                    *node = access;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
    shown
}

/// A path from a column on, without the column's table.
fn access(parts: &[Ident], chain: &[AccessExpr], columns: &[Attribute]) -> Option<Expr> {
    let (attribute, used) = find(columns, parts).ok()??;
    let column = parts.get(used - 1)?.clone();
    let (mut data_type, mut steps) = (Some(attribute.data_type.clone()), Vec::new());
    let fields = parts[used..].iter().map(|name| AccessExpr::Dot(Expr::Identifier(name.clone())));
    for step in fields.chain(chain.iter().cloned()) {
        let key = match &step {
            AccessExpr::Dot(Expr::Identifier(name)) => Some(name.value.clone()),
            AccessExpr::Subscript(ast::Subscript::Index { index: Expr::Value(value) }) => match &value.value {
                ast::Value::SingleQuotedString(text) => Some(text.clone()),
                _ => None,
            },
            _ => None,
        };
        let (inner, step) = match (data_type.take(), key) {
            (Some(DataType::Struct(members)), Some(key)) => {
                let member = members.iter().find(|member| member.name().to_lowercase() == key.to_lowercase());
                let inner = member.map(|member| member.data_type().clone());
                (inner, AccessExpr::Dot(Expr::Identifier(Ident::with_quote('`', key))))
            }
            (Some(DataType::Map(entries, _)), key) => {
                let index = key.map(|key| Expr::Value(ast::Value::SingleQuotedString(key).into()));
                let step = index.map_or(step, |index| AccessExpr::Subscript(ast::Subscript::Index { index }));
                (map_fields(&entries).map(|(_, held)| held.data_type().clone()), step)
            }
            (Some(DataType::List(item)), None) => (Some(item.data_type().clone()), step),
            (_, _) => (None, step),
        };
        data_type = inner;
        steps.push(step);
    }
    if steps.is_empty() {
        return Some(Expr::Identifier(column));
    }
    // Fields alone are one name of several parts.
    let names = steps.iter().map(|step| match step {
        AccessExpr::Dot(Expr::Identifier(name)) => Some(name.clone()),
        _ => None,
    });
    if let Some(names) = names.collect::<Option<Vec<_>>>() {
        return Some(Expr::CompoundIdentifier(std::iter::once(column).chain(names).collect()));
    }
    Some(Expr::CompoundFieldAccess { root: Box::new(Expr::Identifier(column)), access_chain: steps })
}

/// `date + n` and `date - n` as the calls that Spark makes of them.
fn days_added(node: &Expr, scope: &QueryScope<'_>) -> Option<Expr> {
    let Expr::BinaryOp { left, op, right } = node else { return None };
    let name = match op {
        BinaryOperator::Plus => "date_add",
        BinaryOperator::Minus => "date_sub",
        _ => return None,
    };
    let type_of = |expr: &Expr| {
        let mut nodes = 0;
        let counted = ast::visit_expressions(expr, |_| {
            nodes += 1;
            if nodes > NODES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if counted.is_break() { None } else { scope.resolve(expr).ok().map(|typed| typed.data_type) }
    };
    // Most sums are of numbers, which the operand that is simpler tells.
    let whole = |t: &DataType| t.is_signed_integer();
    let (l, r) = (type_of(left)?, type_of(right)?);
    let (date, days) = match (&l, &r) {
        (DataType::Date32, days) if whole(days) => (left, right),
        (days, DataType::Date32) if whole(days) && name == "date_add" => (right, left),
        _ => return None,
    };
    let arg = |expr: &Expr| ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr.clone()));
    Some(plain_call(name, vec![arg(date), arg(days)]))
}
