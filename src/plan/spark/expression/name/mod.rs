//! The names that Spark gives to select items without alias: the expression as Spark prints it.

mod aggregate;
mod defaults;
mod lambda;
mod literals;

use std::fmt::Write;

use sqlparser::ast::{self, BinaryOperator as B, UnaryOperator as U};

use super::call::CAST_FUNCTIONS;
use super::{interval, literal};
use crate::plan::spark::types::{parse_type, sql_name};

/// The name of a select item without alias: `count(1)`, `(a + b)`, `upper(s)`. A column, a field and a cast of either keep their name.
pub fn spark_column_name(ast: &ast::Expr) -> String {
    use ast::Expr as A;
    match ast {
        A::Nested(inner) => spark_column_name(inner),
        A::CompoundIdentifier(parts) => parts.last().map(|p| p.value.clone()).unwrap_or_default(),
        A::CompoundFieldAccess { root, access_chain } => match (unnested(root), access_chain.last()) {
            (A::Identifier(_) | A::CompoundIdentifier(_), Some(ast::AccessExpr::Dot(A::Identifier(name))))
                if access_chain.iter().all(|step| matches!(step, ast::AccessExpr::Dot(_))) =>
            {
                name.value.clone()
            }
            _ => pretty(ast),
        },
        A::Cast { expr, data_type, .. } if is_name(expr) || is_complex(data_type) => spark_column_name(expr),
        other => pretty(other),
    }
}

/// The expression as Spark prints it within others.
pub fn printed(ast: &ast::Expr) -> String {
    pretty(ast)
}

/// A column; a field of one is not.
fn is_name(ast: &ast::Expr) -> bool {
    matches!(unnested(ast), ast::Expr::Identifier(_))
}

fn unnested(ast: &ast::Expr) -> &ast::Expr {
    match ast {
        ast::Expr::Nested(inner) => unnested(inner),
        other => other,
    }
}

/// ARRAY, MAP and STRUCT, a cast to which Spark does not print.
fn is_complex(data_type: &ast::DataType) -> bool {
    let name = data_type.to_string().to_uppercase();
    ["ARRAY", "MAP", "STRUCT"].iter().any(|complex| name.starts_with(complex))
}

fn pretty(ast: &ast::Expr) -> String {
    use ast::Expr as A;
    let not = |inner: String, negated: bool| if negated { format!("(NOT {inner})") } else { inner };
    match ast {
        A::Nested(inner) => pretty(inner),
        A::Identifier(name) if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("current_user") => {
            "current_user()".into()
        }
        A::Identifier(name) => name.value.clone(),
        A::CompoundIdentifier(parts) => parts.iter().map(|p| p.value.as_str()).collect::<Vec<_>>().join("."),
        A::CompoundFieldAccess { root, access_chain } => access_chain.iter().fold(pretty(root), |text, step| match step {
            ast::AccessExpr::Dot(field) => format!("{text}.{}", pretty(field)),
            ast::AccessExpr::Subscript(ast::Subscript::Index { index }) => format!("{text}[{}]", pretty(index)),
            other => format!("{text}{other}"),
        }),
        A::Value(value) => literals::value_text(&value.value, false),
        A::TypedString(typed) => literals::typed_text(typed),
        A::Interval(written) => interval::name(written).unwrap_or_else(|| written.to_string()),
        A::BinaryOp { .. } => chain(ast),
        A::UnaryOp { op, expr } => unary(*op, expr),
        A::Cast { kind, expr, data_type, .. } => cast_text(kind, expr, data_type),
        A::IsNull(e) | A::IsUnknown(e) => format!("({} IS NULL)", pretty(e)),
        A::IsNotNull(e) | A::IsNotUnknown(e) => format!("({} IS NOT NULL)", pretty(e)),
        A::IsTrue(e) => format!("({} <=> true)", pretty(e)),
        A::IsNotTrue(e) => format!("(NOT ({} <=> true))", pretty(e)),
        A::IsFalse(e) => format!("({} <=> false)", pretty(e)),
        A::IsNotFalse(e) => format!("(NOT ({} <=> false))", pretty(e)),
        A::IsDistinctFrom(l, r) => format!("(NOT ({} <=> {}))", pretty(l), pretty(r)),
        A::IsNotDistinctFrom(l, r) => format!("({} <=> {})", pretty(l), pretty(r)),
        A::InList { expr, list, negated } => not(format!("({} IN ({}))", pretty(expr), joined(list)), *negated),
        A::InSubquery { expr, negated, .. } => not(format!("({} IN (listquery()))", pretty(expr)), *negated),
        A::Exists { negated, .. } => not("exists()".into(), *negated),
        A::Subquery(_) => "scalarsubquery()".into(),
        A::Between { expr, negated, low, high } => {
            not(format!("between({}, {}, {})", pretty(expr), pretty(low), pretty(high)), *negated)
        }
        A::Like { any: true, negated, expr, .. } => format!("{}likeany({})", if *negated { "not" } else { "" }, pretty(expr)),
        A::ILike { any: true, negated, expr, .. } => {
            format!("{}likeany(lower({}))", if *negated { "not" } else { "" }, pretty(expr))
        }
        A::Like { negated, expr, pattern, .. } if quantified(pattern).is_some() => {
            format!("{}like{}({})", if *negated { "not" } else { "" }, quantified(pattern).unwrap_or_default(), pretty(expr))
        }
        A::ILike { negated, expr, pattern, .. } if quantified(pattern).is_some() => {
            format!(
                "{}like{}(lower({}))",
                if *negated { "not" } else { "" },
                quantified(pattern).unwrap_or_default(),
                pretty(expr)
            )
        }
        A::Like { negated, expr, pattern, escape_char, .. } => {
            let escape = escape_char.as_ref().map(|e| format!(" ESCAPE {}", e.value)).unwrap_or_default();
            not(format!("{} LIKE {}{escape}", pretty(expr), pretty(pattern)), *negated)
        }
        A::ILike { negated, expr, pattern, .. } => not(format!("ilike({}, {})", pretty(expr), pretty(pattern)), *negated),
        A::RLike { negated, expr, pattern, .. } => not(format!("RLIKE({}, {})", pretty(expr), pretty(pattern)), *negated),
        A::Case { operand, conditions, else_result, .. } => case_text(operand.as_deref(), conditions, else_result.as_deref()),
        A::Function(function) => function_text(function),
        A::Struct { values, .. } => format!("struct({})", joined(values)),
        A::Tuple(values) => row_text(values),
        A::Lambda(lambda) => lambda::text(lambda),
        A::Named { expr, name } => format!("{} AS {}", pretty(expr), quoted_if_needed(&name.value)),
        A::Collate { expr, collation } => format!("collate({}, {})", pretty(expr), super::special::collation_name(collation)),
        other => syntax_text(other),
    }
}

/// What a LIKE with several patterns asks for.
fn quantified(pattern: &ast::Expr) -> Option<&'static str> {
    let ast::Expr::Function(function) = pattern else { return None };
    match function.name.to_string().to_lowercase().as_str() {
        "all" => Some("all"),
        "some" => Some("any"),
        _ => None,
    }
}

fn quoted_if_needed(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.chars().all(|c| c.is_ascii_digit());
    if plain { name.to_owned() } else { format!("`{}`", name.replace('`', "``")) }
}

/// `(a AS x, b)`: to Spark a call with the names as arguments.
fn row_text(values: &[ast::Expr]) -> String {
    let named = |(place, value): (usize, &ast::Expr)| {
        let name = match value {
            ast::Expr::Named { name, .. } | ast::Expr::Identifier(name) => name.value.clone(),
            ast::Expr::CompoundIdentifier(parts) => parts.last().map(|part| part.value.clone()).unwrap_or_default(),
            _ => format!("col{}", place + 1),
        };
        format!("{name}, {}", pretty(value))
    };
    format!("named_struct({})", values.iter().enumerate().map(named).collect::<Vec<_>>().join(", "))
}

fn joined(values: &[ast::Expr]) -> String {
    values.iter().map(pretty).collect::<Vec<_>>().join(", ")
}

/// Operators from the left, without recursion: chains may be long.
fn chain(ast: &ast::Expr) -> String {
    let mut steps = Vec::new();
    let mut first = ast;
    while let ast::Expr::BinaryOp { left, op, right } = first {
        steps.push((left, op, right));
        first = left;
    }
    steps.into_iter().rev().fold(pretty(first), |text, (left, op, right)| {
        let right_text = pretty(right);
        let symbol = match op {
            B::NotEq => return format!("(NOT ({text} = {right_text}))"),
            B::StringConcat => return format!("concat({text}, {right_text})"),
            // A time is shifted without brackets, and before the interval; intervals are added as numbers are.
            B::Plus | B::Minus if is_null(left) || is_null(right) => op.to_string(),
            B::Plus if is_interval(left) && !is_interval(right) => return format!("{right_text} {op} {text}"),
            B::Plus | B::Minus if !is_interval(left) && is_interval(right) => return format!("{text} {op} {right_text}"),
            B::Multiply if !is_interval(left) && is_interval(right) => return format!("({right_text} {op} {text})"),
            B::MyIntegerDivide => "div".to_owned(),
            B::PGBitwiseShiftLeft => "<<".to_owned(),
            B::PGBitwiseShiftRight => ">>".to_owned(),
            B::Custom(op) => op.clone(),
            op => op.to_string(),
        };
        format!("({text} {symbol} {right_text})")
    })
}

fn is_null(ast: &ast::Expr) -> bool {
    matches!(unnested(ast), ast::Expr::Value(value) if value.value == ast::Value::Null)
}

/// Whether it is plain to see that the value is an interval.
fn is_interval(ast: &ast::Expr) -> bool {
    match unnested(ast) {
        ast::Expr::Interval(_) => true,
        ast::Expr::UnaryOp { expr, .. } => is_interval(expr),
        // No deeper: chains are long.
        ast::Expr::BinaryOp { left, op: B::Multiply | B::Divide, right } => {
            [left, right].into_iter().any(|side| matches!(unnested(side), ast::Expr::Interval(_)))
        }
        ast::Expr::Cast { data_type, .. } => data_type.to_string().to_uppercase().starts_with("INTERVAL"),
        ast::Expr::Function(function) => {
            let name = function.name.to_string().to_lowercase();
            name.starts_with("make_") && name.ends_with("_interval")
                || matches!(name.as_str(), "make_interval" | "try_make_interval")
        }
        _ => false,
    }
}

fn unary(op: U, expr: &ast::Expr) -> String {
    if let (U::Minus, ast::Expr::Value(value)) = (op, expr)
        && matches!(value.value, ast::Value::Number(..))
    {
        return literals::value_text(&value.value, true);
    }
    if let (U::Minus, Some(negative)) = (op, super::with_negative_number(expr)) {
        return pretty(&negative);
    }
    match op {
        U::Minus => format!("(- {})", pretty(expr)),
        U::Plus => format!("(+ {})", pretty(expr)),
        U::BitwiseNot => format!("~{}", pretty(expr)),
        _ => format!("(NOT {})", pretty(expr)),
    }
}

fn cast_text(kind: &ast::CastKind, expr: &ast::Expr, data_type: &ast::DataType) -> String {
    let inner = pretty(expr);
    if is_complex(data_type) {
        return inner;
    }
    let name = parse_type(&data_type.to_string()).map_or_else(|_| data_type.to_string().to_uppercase(), |t| sql_name(&t));
    let word = if matches!(kind, ast::CastKind::TryCast) { "TRY_CAST" } else { "CAST" };
    format!("{word}({inner} AS {name})")
}

fn case_text(operand: Option<&ast::Expr>, conditions: &[ast::CaseWhen], otherwise: Option<&ast::Expr>) -> String {
    let operand = operand.map(pretty);
    let mut text = "CASE".to_owned();
    for branch in conditions {
        let condition = match &operand {
            Some(operand) => format!("({operand} = {})", pretty(&branch.condition)),
            None => pretty(&branch.condition),
        };
        let _ = write!(text, " WHEN {condition} THEN {}", pretty(&branch.result));
    }
    if let Some(otherwise) = otherwise {
        let _ = write!(text, " ELSE {}", pretty(otherwise));
    }
    text + " END"
}

fn function_text(function: &ast::Function) -> String {
    let name = function.name.to_string().replace('`', "").to_lowercase();
    let name = name.rsplit('.').next().unwrap_or_default().to_owned();
    let mut distinct = "";
    let mut args: Vec<String> = Vec::new();
    if let ast::FunctionArguments::List(list) = &function.args {
        if matches!(list.duplicate_treatment, Some(ast::DuplicateTreatment::Distinct)) {
            distinct = "DISTINCT ";
        }
        args.extend(list.args.iter().map(|arg| match arg {
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => pretty(expr),
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Wildcard) => "1".into(),
            other => other.to_string(),
        }));
        lambda::complete(&name, &list.args, &mut args);
    }
    if let [only] = args.as_slice()
        && CAST_FUNCTIONS.contains(&name.as_str())
    {
        return only.clone();
    }
    let called = defaults::called(&name, function, args, distinct);
    match &function.filter {
        Some(filter) => format!("{called} FILTER (WHERE {})", pretty(filter)),
        None => called,
    }
}

fn syntax_text(ast: &ast::Expr) -> String {
    use ast::Expr as A;
    match ast {
        A::Extract { field, expr, .. } => format!("extract({field} FROM {})", pretty(expr)),
        A::Position { expr, r#in } => format!("locate({}, {}, 1)", pretty(expr), pretty(r#in)),
        A::Substring { expr, substring_from, substring_for, shorthand, special } => {
            let part = |part: &Option<Box<ast::Expr>>, default: &str| part.as_ref().map_or(default.to_owned(), |e| pretty(e));
            let name = if *shorthand && *special { "substr" } else { "substring" };
            format!("{name}({}, {}, {})", pretty(expr), part(substring_from, "1"), part(substring_for, "2147483647"))
        }
        A::Trim { trim_characters: Some(text), expr, .. } if text.len() == 1 => {
            format!("TRIM(BOTH {} FROM {})", pretty(expr), pretty(&text[0]))
        }
        A::Trim { trim_where, trim_what, expr, .. } => {
            let (side, name) = match trim_where {
                Some(ast::TrimWhereField::Leading) => ("LEADING", "ltrim"),
                Some(ast::TrimWhereField::Trailing) => ("TRAILING", "rtrim"),
                Some(ast::TrimWhereField::Both) | None => ("BOTH", "trim"),
            };
            match trim_what {
                Some(what) => format!("TRIM({side} {} FROM {})", pretty(what), pretty(expr)),
                None => format!("{name}({})", pretty(expr)),
            }
        }
        A::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let length = overlay_for.as_ref().map_or("-1".into(), |e| pretty(e));
            format!("overlay({}, {}, {}, {length})", pretty(expr), pretty(overlay_what), pretty(overlay_from))
        }
        A::Ceil { expr, .. } => format!("CEIL({})", pretty(expr)),
        A::Floor { expr, .. } => format!("FLOOR({})", pretty(expr)),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
