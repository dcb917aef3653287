//! An expression of the select list as Spark names a column after it, where that depends on what the names in it are: columns lose
//! their table, fields are written with a point and a map's values in brackets, days are added by `date_add`.

use std::ops::ControlFlow;

use arrow::datatypes::{DataType, TimeUnit};
use sqlparser::ast::{self, AccessExpr, BinaryOperator, Expr, Ident, VisitMut, VisitorMut};

use super::columns::{Attribute, find};
use super::scope::QueryScope;
use crate::plan::spark::dialect::plain_call;
use crate::plan::spark::expression::{printed, spark_column_name};
use crate::plan::spark::types::{map_fields, parse_type};

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
    // The visitors never break.
    let _ = shown.visit(&mut Replaced { scope });
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

/// Puts in the place of calls and operators what Spark replaces them by.
struct Replaced<'a> {
    scope: &'a QueryScope<'a>,
}

impl VisitorMut for Replaced<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, node: &mut Expr) -> ControlFlow<()> {
        let other = match node {
            Expr::BinaryOp { left, op, right } => days_added(left, op, right, self.scope),
            Expr::Function(function) => formatted(function, self.scope),
            Expr::CompoundFieldAccess { root, access_chain } => key_in_brackets(root, access_chain, self.scope),
            _ => None,
        };
        if let Some(other) = other {
            *node = other;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, node: &mut Expr) -> ControlFlow<()> {
        if is_map_of_json(node) {
            *node = Expr::Identifier(Ident::new("entries"));
        }
        ControlFlow::Continue(())
    }
}

/// The type of an expression that is not large.
fn type_of(expr: &Expr, scope: &QueryScope<'_>) -> Option<DataType> {
    let mut nodes = 0;
    let counted = ast::visit_expressions(expr, |_| {
        nodes += 1;
        if nodes > NODES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if counted.is_break() { None } else { scope.resolve(expr).ok().map(|typed| typed.data_type) }
}

/// `date ± n` and `date ± INTERVAL … DAY` as the calls that Spark makes of them.
fn days_added(left: &Expr, op: &BinaryOperator, right: &Expr, scope: &QueryScope<'_>) -> Option<Expr> {
    let adds = match op {
        BinaryOperator::Plus => true,
        BinaryOperator::Minus => false,
        _ => return None,
    };
    // Most sums are of numbers, which the operand that is simpler tells.
    let (l, r) = (type_of(left, scope)?, type_of(right, scope)?);
    let (date, days, days_type) = match (&l, &r) {
        (DataType::Date32, days) => (left, right, days),
        (days, DataType::Date32) if adds => (right, left, days),
        _ => return None,
    };
    match days_type {
        DataType::Duration(TimeUnit::Second) => {
            let days = call_of("extractansiintervaldays", &[days]);
            let negative = || Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr: Box::new(days.clone()) };
            Some(call_of("date_add", &[date, &if adds { days } else { negative() }]))
        }
        whole if whole.is_signed_integer() => Some(call_of(if adds { "date_add" } else { "date_sub" }, &[date, days])),
        _ => None,
    }
}

/// `to_char` of what is no number.
fn formatted(function: &ast::Function, scope: &QueryScope<'_>) -> Option<Expr> {
    let [value, format] = arguments(function, &["to_char", "to_varchar"])?.try_into().ok()?;
    match type_of(value, scope)? {
        DataType::Date32 | DataType::Timestamp(..) => Some(call_of("date_format", &[value, format])),
        DataType::Binary => match constant_text(format)?.to_lowercase().as_str() {
            "hex" => Some(call_of("hex", &[value])),
            "base64" => Some(call_of("base64", &[value])),
            _ => Some(call_of("decode", &[value, format])),
        },
        _ => None,
    }
}

/// `map.key`, where the map is no column.
fn key_in_brackets(root: &Expr, chain: &[AccessExpr], scope: &QueryScope<'_>) -> Option<Expr> {
    let (AccessExpr::Dot(Expr::Identifier(key)), rest) = chain.split_first()? else { return None };
    let is_call = matches!(root, Expr::Function(_));
    if !is_call || !is_map_of_json(root) && !matches!(type_of(root, scope)?, DataType::Map(..)) {
        return None;
    }
    let index = Expr::Value(ast::Value::SingleQuotedString(key.value.clone()).into());
    let first = AccessExpr::Subscript(ast::Subscript::Index { index });
    let access_chain = std::iter::once(first).chain(rest.iter().cloned()).collect();
    Some(Expr::CompoundFieldAccess { root: Box::new(root.clone()), access_chain })
}

/// Whether it is `from_json` with a map as its schema, which Spark names after a field within its types.
fn is_map_of_json(expr: &Expr) -> bool {
    let Expr::Function(function) = expr else { return false };
    let schema = arguments(function, &["from_json"]).and_then(|args| constant_text(args.get(1)?));
    schema.and_then(|schema| parse_type(schema).ok()).is_some_and(|schema| matches!(schema, DataType::Map(..)))
}

/// The arguments of a call of one of these functions.
fn arguments<'e>(function: &'e ast::Function, names: &[&str]) -> Option<Vec<&'e Expr>> {
    let ast::FunctionArguments::List(list) = &function.args else { return None };
    let name = function.name.to_string();
    if !names.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        return None;
    }
    let plain = list.args.iter().map(|arg| match arg {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    plain.collect()
}

fn constant_text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn call_of(name: &str, args: &[&Expr]) -> Expr {
    let arg = |expr: &&Expr| ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr((*expr).clone()));
    plain_call(name, args.iter().map(arg).collect())
}
