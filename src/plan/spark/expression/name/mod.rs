//! The names that Spark gives to select items without alias: the expression as Spark prints it.

mod aggregate;
mod lambda;

use std::fmt::Write;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use sqlparser::ast::{self, BinaryOperator as B, UnaryOperator as U};

use super::call::CAST_FUNCTIONS;
use super::{interval, literal};
use crate::format::number::{double_text, float_text};
use crate::plan::spark::cast::decimal::write_decimal;
use crate::plan::spark::cast::time::{ParsedTime, parse_date, parse_timestamp, write_date, write_timestamp};
use crate::plan::spark::types::{parse_type, sql_name};

/// The name of a select item without alias: `count(1)`, `(a + b)`, `upper(s)`. A column, a field and a cast of either keep their name.
pub fn spark_column_name(ast: &ast::Expr) -> String {
    use ast::Expr as A;
    match ast {
        A::Nested(inner) => spark_column_name(inner),
        A::CompoundIdentifier(parts) => parts.last().map(|p| p.value.clone()).unwrap_or_default(),
        A::CompoundFieldAccess { root, access_chain } => match (root.as_ref(), access_chain.last()) {
            (A::Identifier(_) | A::CompoundIdentifier(_), Some(ast::AccessExpr::Dot(A::Identifier(name))))
                if access_chain.iter().all(|step| matches!(step, ast::AccessExpr::Dot(_))) =>
            {
                name.value.clone()
            }
            _ => pretty(ast),
        },
        A::Cast { expr, .. } if is_name(expr) => spark_column_name(expr),
        other => pretty(other),
    }
}

fn is_name(ast: &ast::Expr) -> bool {
    match ast {
        ast::Expr::Nested(inner) => is_name(inner),
        ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_) => true,
        // A cast of a column is itself named after it.
        ast::Expr::Cast { expr, .. } => is_name(expr),
        _ => false,
    }
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
        A::Value(value) => value_text(&value.value, false),
        A::TypedString(typed) => typed_text(typed),
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
        A::Like { any: true, expr, .. } | A::ILike { any: true, expr, .. } => format!("likeany({})", pretty(expr)),
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
        A::Named { expr, name } => format!("{} AS {}", pretty(expr), name.value),
        other => syntax_text(other),
    }
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
            B::Plus | B::Minus if is_interval(left) || is_interval(right) => return format!("{text} {op} {right_text}"),
            B::MyIntegerDivide => "div".to_owned(),
            B::PGBitwiseShiftLeft => "<<".to_owned(),
            B::PGBitwiseShiftRight => ">>".to_owned(),
            B::Custom(op) => op.clone(),
            op => op.to_string(),
        };
        format!("({text} {symbol} {right_text})")
    })
}

fn is_interval(ast: &ast::Expr) -> bool {
    match ast {
        ast::Expr::Nested(inner) => is_interval(inner),
        other => matches!(other, ast::Expr::Interval(_)),
    }
}

fn unary(op: U, expr: &ast::Expr) -> String {
    if let (U::Minus, ast::Expr::Value(value)) = (op, expr)
        && matches!(value.value, ast::Value::Number(..))
    {
        return value_text(&value.value, true);
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
    if matches!(expr, ast::Expr::Value(value) if value.value == ast::Value::Null) {
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

fn value_text(value: &ast::Value, negative: bool) -> String {
    match value {
        ast::Value::Null => "NULL".into(),
        ast::Value::SingleQuotedString(text) => text.clone(),
        ast::Value::Number(digits, long) => match literal::number(digits, *long, negative).map(|typed| typed.expr) {
            Ok(Expr::Literal(ScalarValue::Float64(Some(v)), _)) => double_text(v).to_string(),
            Ok(Expr::Literal(ScalarValue::Float32(Some(v)), _)) => float_text(v).to_string(),
            Ok(Expr::Literal(ScalarValue::Decimal128(Some(v), _, scale), _)) => {
                let mut text = String::new();
                let _ = write_decimal(&mut text, v, scale);
                text
            }
            Ok(Expr::Literal(number, _)) => number.to_string(),
            _ => digits.clone(),
        },
        other => other.to_string(),
    }
}

fn typed_text(typed: &ast::TypedString) -> String {
    let name = typed.data_type.to_string().to_uppercase();
    let ast::Value::SingleQuotedString(written) = &typed.value.value else { return typed.to_string() };
    let mut text = String::new();
    let normal = match name.as_str() {
        "DATE" => parse_date(written.as_bytes()).and_then(|days| write_date(&mut text, i64::from(days)).ok()),
        "X" => return format!("X'{}'", written.to_uppercase()),
        _ => match parse_timestamp(written.as_bytes()) {
            Some(ParsedTime::At(local, None)) => write_timestamp(&mut text, local).ok(),
            _ => None,
        },
    };
    let shown = if normal.is_some() { &text } else { written };
    format!("{} '{shown}'", if name == "TIMESTAMP_LTZ" { "TIMESTAMP" } else { &name })
}

fn function_text(function: &ast::Function) -> String {
    let name = function.name.to_string().replace('`', "").to_lowercase();
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
    let called = called(&name, function, args, distinct);
    match &function.filter {
        Some(filter) => format!("{called} FILTER (WHERE {})", pretty(filter)),
        None => called,
    }
}

/// A call with the arguments that Spark adds by itself, under the name that Spark prints.
fn called(name: &str, function: &ast::Function, mut args: Vec<String>, distinct: &str) -> String {
    let count = args.len();
    let mut default = |at: usize, value: &str| {
        if count == at {
            args.push(value.to_owned());
        }
    };
    match name {
        "substr" | "substring" => default(2, "2147483647"),
        "locate" | "position" => default(2, "1"),
        "split" => default(2, "-1"),
        "hmac" => default(2, "SHA-256"),
        "replace" => default(2, ""),
        "regexp_replace" => default(3, "1"),
        "overlay" => default(3, "-1"),
        "round" | "bround" => default(1, "0"),
        "sort_array" => default(1, "true"),
        "percentile" => default(2, "1"),
        "listagg" | "string_agg" => default(1, "NULL"),
        "percentile_approx" | "approx_percentile" => default(2, "10000"),
        "approx_top_k" => {
            default(1, "5, 10000");
            default(2, "10000");
        }
        "approx_count_distinct" => args.truncate(1),
        "unix_timestamp" | "to_unix_timestamp" => default(1, "yyyy-MM-dd HH:mm:ss"),
        "from_json" | "from_csv" | "first" | "last" | "first_value" | "last_value" | "any_value" => args.truncate(1),
        "schema_of_json" | "schema_of_csv" | "to_csv" | "shuffle" => args.truncate(1),
        "sentences" => args.resize(3, String::new()),
        "make_ym_interval" => args.resize(2, "0".into()),
        "make_interval" | "try_make_interval" if count < 7 => {
            args.resize(6, "0".into());
            args.push("0.000000".into());
        }
        "make_dt_interval" if count < 4 => {
            args.resize(3, "0".into());
            args.push("0.000000".into());
        }
        "log" if count == 1 => args.insert(0, "E()".into()),
        _ => {}
    }
    let list = args.join(", ");
    match name {
        "if" => format!("(IF({list}))"),
        "isnull" => format!("({list} IS NULL)"),
        "isnotnull" => format!("({list} IS NOT NULL)"),
        "positive" => format!("(+ {list})"),
        "position" => format!("locate({list})"),
        "dateadd" => format!("date_add({list})"),
        "random" => format!("rand({list})"),
        "to_varchar" => format!("to_char({list})"),
        "current_database" => format!("current_schema({list})"),
        "window" | "session_window" => name.into(),
        "ceil" | "floor" if count == 1 => format!("{}({list})", name.to_uppercase()),
        "power" | "sqrt" | "signum" | "log" | "spark_partition_id" => format!("{}({list})", name.to_uppercase()),
        _ => aggregate::ordered(name, function, distinct, args),
    }
}

fn syntax_text(ast: &ast::Expr) -> String {
    use ast::Expr as A;
    match ast {
        A::Extract { field, expr, .. } => format!("extract({field} FROM {})", pretty(expr)),
        A::Position { expr, r#in } => format!("locate({}, {}, 1)", pretty(expr), pretty(r#in)),
        A::Substring { expr, substring_from, substring_for, shorthand, .. } => {
            let part = |part: &Option<Box<ast::Expr>>, default: &str| part.as_ref().map_or(default.to_owned(), |e| pretty(e));
            let name = if *shorthand { "substr" } else { "substring" };
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
