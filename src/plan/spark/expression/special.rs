//! Syntax of its own that becomes operators or calls of functions.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use sqlparser::ast;

use super::arithmetic::unexpected_type;
use super::comparison::{Comparison, compare, in_list as compare_in_list};
use super::literal::{literal, text};
use super::once::once;
use super::{access, call, logic, pattern, resolve, unsupported};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::cast::time::{Clock, ParsedTime, Zone, parse_date, parse_timestamp};
use crate::plan::spark::cast::{computed, special_time};
use crate::plan::spark::dialect::TYPED_LITERALS;
use crate::plan::spark::types::parse_type;
use crate::plan::spark::{Context, Typed};

use super::{CastMode, cast};

/// Functions that may stand without brackets.
const BARE_FUNCTIONS: [&str; 5] = ["current_date", "current_timestamp", "current_user", "session_user", "user"];

/// A column, or a function that needs no brackets.
pub(super) fn identifier(name: &ast::Ident, context: &Context<'_>) -> Result<Typed> {
    let column = context.scope.column(std::slice::from_ref(name));
    let bare = name.value.to_lowercase();
    match column {
        Err(_) if name.quote_style.is_none() && BARE_FUNCTIONS.contains(&bare.as_str()) => {
            call::by_name(&bare, Vec::new(), context)
        }
        column => column,
    }
}

/// `value COLLATE name`.
pub(super) fn collated(value: Typed, collation: &ast::ObjectName) -> Result<Typed> {
    let name = collation_name(collation);
    if !name.eq_ignore_ascii_case("UTF8_BINARY") {
        let only = "texts have the one collation UTF8_BINARY; `lower` and `upper` help where case does not matter";
        let message = format!("the collation {name} is not supported: {only}");
        return Err(Error::spark(ErrorKind::Config, "UNSUPPORTED_FEATURE", message));
    }
    match &value.data_type {
        DataType::Utf8 => Ok(value),
        other => Err(unexpected_type("COLLATE", other)),
    }
}

/// The name of a collation, without its schema.
pub(super) fn collation_name(collation: &ast::ObjectName) -> &str {
    collation.0.last().and_then(|part| part.as_ident()).map_or("", |name| &name.value)
}

/// `root.field[index]…`.
pub(super) fn access(root: &ast::Expr, chain: &[ast::AccessExpr], context: &Context<'_>) -> Result<Typed> {
    let settings = context.settings;
    // A chain of names may start with a table's.
    let mut names: Vec<ast::Ident> = match root {
        ast::Expr::Identifier(name) => vec![name.clone()],
        ast::Expr::CompoundIdentifier(parts) => parts.clone(),
        _ => Vec::new(),
    };
    let mut rest = chain;
    if !names.is_empty() {
        while let [ast::AccessExpr::Dot(ast::Expr::Identifier(name)), tail @ ..] = rest {
            names.push(name.clone());
            rest = tail;
        }
    }
    let mut value = match names.as_slice() {
        [] => resolve(root, context)?,
        [name] => identifier(name, context)?,
        names => context.scope.column(names)?,
    };
    for step in rest {
        value = match step {
            ast::AccessExpr::Dot(ast::Expr::Identifier(name)) => access::field(value, &name.value, settings)?,
            ast::AccessExpr::Subscript(ast::Subscript::Index { index }) => {
                access::element(value, resolve(index, context)?, settings)?
            }
            ast::AccessExpr::Dot(ast::Expr::Value(number)) => {
                return Err(Error::spark(ErrorKind::Config, "PARSE_SYNTAX_ERROR", format!("`.{number}` is no field")));
            }
            other => return Err(unsupported(&format!("the access `{other}`"))),
        };
    }
    Ok(value)
}

/// `DATE'…'`, `TIMESTAMP'…'`, `X'…'`.
pub(super) fn typed_literal(typed: &ast::TypedString, context: &Context<'_>) -> Result<Typed> {
    let name = typed.data_type.to_string().to_uppercase();
    let ast::Value::SingleQuotedString(written) = &typed.value.value else {
        return Err(unsupported(&format!("the literal `{typed}`")));
    };
    let invalid = || {
        Error::spark(
            ErrorKind::Config,
            "INVALID_TYPED_LITERAL",
            format!("the value of the typed literal \"{name}\" is invalid: '{written}'"),
        )
    };
    let value = match name.as_str() {
        "X" => ScalarValue::Binary(Some(hexadecimal(written).ok_or_else(invalid)?)),
        "TIME" => return Err(unsupported("the type TIME")),
        _ if !TYPED_LITERALS.contains(&name.as_str()) => {
            return Err(Error::spark(
                ErrorKind::Config,
                "UNSUPPORTED_TYPED_LITERAL",
                format!("literals of the type \"{name}\" are not supported"),
            ));
        }
        _ => {
            let to = parse_type(&name)?;
            if let Some(special) = special_time(written, &to)? {
                return Ok(special);
            }
            match &to {
                DataType::Date32 => ScalarValue::Date32(Some(parse_date(written.as_bytes()).ok_or_else(invalid)?)),
                _ => {
                    let Some(ParsedTime::At(clock, zone)) = parse_timestamp(written.as_bytes()) else { return Err(invalid()) };
                    return timestamp(&to, clock, zone, context).ok_or_else(invalid);
                }
            }
        }
    };
    Ok(literal(value))
}

fn timestamp(to: &DataType, clock: Clock, zone: Option<Zone>, context: &Context<'_>) -> Option<Typed> {
    let DataType::Timestamp(_, with_zone) = to else { return None };
    let value = match with_zone {
        None => clock.local()?,
        Some(_) => zone.or_else(|| Zone::parse(&context.settings.time_zone))?.instant(clock)?,
    };
    Some(literal(ScalarValue::TimestampMicrosecond(Some(value), with_zone.clone())))
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<Vec<u8>>>()?;
    let (odd, rest) = digits.split_at(digits.len() % 2);
    Some(odd.iter().copied().chain(rest.chunks_exact(2).map(|pair| pair[0] * 16 + pair[1])).collect())
}

/// `CAST(… AS …)`, `TRY_CAST`, `::`.
pub(super) fn cast_to(kind: &ast::CastKind, expr: &ast::Expr, data_type: &ast::DataType, context: &Context<'_>) -> Result<Typed> {
    let to = parse_type(&data_type.to_string())?;
    let mode = match kind {
        ast::CastKind::TryCast | ast::CastKind::SafeCast => CastMode::Try,
        ast::CastKind::Cast | ast::CastKind::DoubleColon => CastMode::Ansi,
    };
    cast(resolve(expr, context)?, &to, mode, context.settings).map(computed)
}

/// `value [NOT] IN (…)`.
pub(super) fn in_list(value: &ast::Expr, list: &[ast::Expr], negated: bool, context: &Context<'_>) -> Result<Typed> {
    if list.is_empty() {
        return Err(Error::spark(ErrorKind::Config, "INVALID_SQL_SYNTAX.EMPTY_IN_PREDICATE", "IN needs at least one value"));
    }
    let value = resolve(value, context)?;
    let list = list.iter().map(|item| resolve(item, context)).collect::<Result<Vec<_>>>()?;
    compare_in_list(value, list, negated, context.settings)
}

/// Which LIKE it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct LikeKind {
    /// `LIKE ANY (…)`.
    pub(super) any: bool,
    /// `NOT LIKE`.
    pub(super) negated: bool,
    /// ILIKE.
    pub(super) ignore_case: bool,
}

/// `value LIKE pattern`, `value LIKE ANY (patterns)`.
pub(super) fn like(
    value: &ast::Expr,
    pattern: &ast::Expr,
    escape: Option<&ast::ValueWithSpan>,
    kind: LikeKind,
    context: &Context<'_>,
) -> Result<Typed> {
    let settings = context.settings;
    let escape = match escape.map(|v| &v.value) {
        None => '\\',
        Some(ast::Value::SingleQuotedString(text)) if text.chars().count() == 1 => text.chars().next().unwrap_or('\\'),
        Some(other) => {
            let is_text = matches!(other, ast::Value::SingleQuotedString(_));
            let condition = if is_text { "INVALID_ESC" } else { "PARSE_SYNTAX_ERROR" };
            return Err(Error::spark(
                ErrorKind::Config,
                condition,
                format!("the escape string must be one character, not {other}"),
            ));
        }
    };
    let value = resolve(value, context)?;
    let (patterns, all) = match pattern {
        ast::Expr::Tuple(items) if kind.any => (items.iter().collect(), false),
        other => quantified(other).unwrap_or_else(|| (vec![other], false)),
    };
    once(value, |value| {
        let mut found: Option<Typed> = None;
        for item in patterns {
            let mut one = pattern::like(value.clone(), resolve(item, context)?, escape, kind.ignore_case, settings)?;
            if kind.negated {
                one = logic::not(one, settings)?;
            }
            found = Some(match found {
                Some(so_far) if all => logic::and(so_far, one, settings)?,
                Some(so_far) => logic::or(so_far, one, settings)?,
                None => one,
            });
        }
        let none = "INVALID_SQL_SYNTAX.EMPTY_QUANTIFIED_PATTERN";
        found.ok_or_else(|| Error::spark(ErrorKind::Config, none, "LIKE ANY needs a pattern"))
    })
}

/// The patterns of `LIKE ALL (…)` and `LIKE SOME (…)`, which the parser reads as a call of a function, and whether all must match.
fn quantified(pattern: &ast::Expr) -> Option<(Vec<&ast::Expr>, bool)> {
    let ast::Expr::Function(ast::Function { name, args: ast::FunctionArguments::List(list), .. }) = pattern else { return None };
    let all = match name.to_string().to_ascii_lowercase().as_str() {
        "all" => true,
        "some" => false,
        _ => return None,
    };
    fn one(arg: &ast::FunctionArg) -> Option<&ast::Expr> {
        match arg {
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        }
    }
    Some((list.args.iter().map(one).collect::<Option<_>>()?, all))
}

/// `CASE [operand] WHEN … THEN … [ELSE …] END`.
pub(super) fn case(
    operand: Option<&ast::Expr>,
    conditions: &[ast::CaseWhen],
    otherwise: Option<&ast::Expr>,
    context: &Context<'_>,
) -> Result<Typed> {
    let branches = |operand: Option<Typed>| {
        let mut branches = Vec::with_capacity(conditions.len());
        for branch in conditions {
            let condition = resolve(&branch.condition, context)?;
            let condition = match &operand {
                Some(operand) => compare(Comparison::Equal, operand.clone(), condition, context.settings)?,
                None => condition,
            };
            branches.push((condition, resolve(&branch.result, context)?));
        }
        let otherwise = otherwise.map(|e| resolve(e, context)).transpose()?;
        logic::case(branches, otherwise, context.settings)
    };
    match operand {
        Some(operand) => once(resolve(operand, context)?, |operand| branches(Some(operand))),
        None => branches(None),
    }
}

/// `struct(…)` or `(a, b)`: a struct with the names that its values have.
pub(super) fn named_struct(values: &[ast::Expr], context: &Context<'_>) -> Result<Typed> {
    let mut args = Vec::with_capacity(values.len() * 2);
    for (i, value) in values.iter().enumerate() {
        let (name, value) = match value {
            ast::Expr::Named { expr, name } => (Some(name.value.clone()), expr.as_ref()),
            value => (field_name(value), value),
        };
        args.push(text(&name.unwrap_or_else(|| format!("col{}", i + 1))));
        args.push(resolve(value, context)?);
    }
    call::by_name("named_struct", args, context)
}

/// The name that a value gives to its field: a column's, or that of a field it is taken from.
fn field_name(value: &ast::Expr) -> Option<String> {
    match value {
        ast::Expr::Identifier(name) => Some(name.value.clone()),
        ast::Expr::CompoundIdentifier(parts) => parts.last().map(|part| part.value.clone()),
        ast::Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last() {
            Some(ast::AccessExpr::Dot(ast::Expr::Identifier(name))) => Some(name.value.clone()),
            Some(ast::AccessExpr::Subscript(ast::Subscript::Index { index: ast::Expr::Value(key) })) => match &key.value {
                ast::Value::SingleQuotedString(name) => Some(name.clone()),
                _ => None,
            },
            _ => None,
        },
        ast::Expr::Nested(value) => field_name(value),
        _ => None,
    }
}

fn scale_of(value: &ast::ValueWithSpan) -> Result<Typed> {
    super::literal::value(&value.value)
}

/// Functions that have a syntax of their own.
pub(super) fn function_syntax(expr: &ast::Expr, context: &Context<'_>) -> Result<Typed> {
    use ast::Expr as A;
    let one = |e: &ast::Expr| resolve(e, context);
    let (name, args) = match expr {
        A::Extract { field, expr, .. } => ("date_part", vec![text(&field.to_string()), one(expr)?]),
        A::Position { expr, r#in } => ("locate", vec![one(expr)?, one(r#in)?]),
        A::Substring { substring_from: None, substring_for: Some(_), .. } => {
            return Err(Error::spark(ErrorKind::Config, "PARSE_SYNTAX_ERROR", "SUBSTRING with FOR needs a FROM"));
        }
        A::Substring { expr, substring_from, substring_for, .. } => {
            let mut args = vec![one(expr)?];
            for part in [substring_from, substring_for].into_iter().flatten() {
                args.push(one(part)?);
            }
            ("substring", args)
        }
        A::Ceil { expr, field: ast::CeilFloorKind::Scale(scale) } => ("ceil", vec![one(expr)?, scale_of(scale)?]),
        A::Floor { expr, field: ast::CeilFloorKind::Scale(scale) } => ("floor", vec![one(expr)?, scale_of(scale)?]),
        A::Ceil { expr, .. } => ("ceil", vec![one(expr)?]),
        A::Floor { expr, .. } => ("floor", vec![one(expr)?]),
        // As a function it takes the characters first.
        A::Trim { trim_characters: Some(rest), expr, .. } => {
            ("trim", [expr.as_ref()].into_iter().chain(rest).map(one).collect::<Result<Vec<_>>>()?)
        }
        A::Trim { trim_where, trim_what, expr, .. } => {
            let side = match trim_where {
                Some(ast::TrimWhereField::Leading) => "ltrim",
                Some(ast::TrimWhereField::Trailing) => "rtrim",
                Some(ast::TrimWhereField::Both) | None => "trim",
            };
            match trim_what {
                None => (side, vec![one(expr)?]),
                Some(what) if side == "trim" => ("btrim", vec![one(expr)?, one(what)?]),
                Some(what) => (side, vec![one(what)?, one(expr)?]),
            }
        }
        A::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let mut args = vec![one(expr)?, one(overlay_what)?, one(overlay_from)?];
            if let Some(length) = overlay_for {
                args.push(one(length)?);
            }
            ("overlay", args)
        }
        A::Lambda(_) => return Err(unsupported("a lambda function")),
        other => return Err(unsupported(&format!("the expression `{other}`"))),
    };
    call::by_name(name, args, context)
}
