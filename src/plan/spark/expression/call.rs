//! Function calls: arguments are resolved, then the function table builds the expression.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use sqlparser::ast;

use super::beside_null::is_beside_null;
use super::literal::{literal, text};
use super::logic::if_else;
use super::pattern::like;
use super::temporal::as_plain;
use super::{resolve, unsupported};
use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::function::Function;
use crate::plan::function::call::{call as call_of, find};
use crate::plan::spark::cast::{CastMode, cast, computed};
use crate::plan::spark::functions::{self, FUNCTIONS, FunctionKind, arity, constant, forms, missing};
use crate::plan::spark::relation::generate::is_generator;
use crate::plan::spark::suggest::nearest;
use crate::plan::spark::types::interval::is_decimal_interval;
use crate::plan::spark::types::{calendar_interval, parse_type};
use crate::plan::spark::{Call, Context, NullTreatment, SortKey, Typed, not_aggregate};

/// A call as the parser yields it.
pub(super) fn function(function: &ast::Function, context: &Context<'_>) -> Result<Typed> {
    let name = function_name(&function.name)?;
    // Of the functions that the parser reads without brackets, this one needs them.
    if name == "localtimestamp" && matches!(function.args, ast::FunctionArguments::None) {
        return context.scope.column(&[ast::Ident::new(name)]);
    }
    if let Some(over) = &function.over {
        return Err(refused_over(&name, function, over, context)?);
    }
    if let Some(with_unit) = with_unit(&name, function, context)? {
        return Ok(with_unit);
    }
    let mut args = Vec::new();
    let mut lambdas = Vec::new();
    let mut distinct = false;
    let mut nulls = function.null_treatment.as_ref().map(null_treatment);
    match &function.args {
        ast::FunctionArguments::None => {}
        ast::FunctionArguments::Subquery(_) => return Err(unsupported(&format!("a subquery as argument of {name}"))),
        ast::FunctionArguments::List(list) => {
            distinct = matches!(list.duplicate_treatment, Some(ast::DuplicateTreatment::Distinct));
            for clause in &list.clauses {
                match clause {
                    ast::FunctionArgumentClause::IgnoreOrRespectNulls(treatment) => nulls = Some(null_treatment(treatment)),
                    other => return Err(unsupported(&format!("`{other}` in a call of {name}"))),
                }
            }
            let mut named = Vec::new();
            for (place, arg) in list.args.iter().enumerate() {
                match arg {
                    ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(ast::Expr::Lambda(lambda))) => {
                        lambdas.push((place, lambda));
                        args.push(super::literal::literal(datafusion::common::ScalarValue::Null));
                    }
                    ast::FunctionArg::Named { name: parameter, arg: ast::FunctionArgExpr::Expr(value), .. } => {
                        named.push((parameter.value.as_str(), resolve(value, context)?));
                    }
                    _ if !named.is_empty() => {
                        let message = format!("`{name}` has an argument without a name behind one with a name");
                        return Err(Error::spark(ErrorKind::Config, "UNEXPECTED_POSITIONAL_ARGUMENT", message));
                    }
                    arg => args.push(argument(&name, distinct, arg, context)?),
                }
            }
            if is_built_in(&name) {
                functions::place_named(&name, &mut args, named)?;
            } else if !named.is_empty() {
                return Err(unresolved(&name, context.scope.functions()));
            }
        }
    }
    let filter = function.filter.as_ref().map(|filter| resolve(filter, context)).transpose()?;
    let within_group = function.within_group.iter().map(|key| sort_key(key, context)).collect::<Result<_>>()?;
    build(Call { name: &name, args, distinct, filter, nulls, within_group, lambdas, context: *context })
}

/// Functions that there are over a window only, and whether the rows of it must have an order.
const OF_WINDOWS: [(&str, bool); 9] = [
    ("row_number", true),
    ("rank", true),
    ("dense_rank", true),
    ("percent_rank", true),
    ("cume_dist", true),
    ("ntile", true),
    ("lag", true),
    ("lead", true),
    ("nth_value", false),
];

/// What a call over a window is refused as; the error is what is wrong with it besides.
fn refused_over(name: &str, function: &ast::Function, over: &ast::WindowType, context: &Context<'_>) -> Result<Error> {
    let refused =
        |condition: &'static str, why: &str| Error::spark(ErrorKind::Config, condition, format!("{name}(…) OVER: {why}"));
    let ast::WindowType::WindowSpec(window) = over else {
        return Ok(refused("MISSING_WINDOW_SPECIFICATION", "there is no window of this name"));
    };
    match OF_WINDOWS.iter().find(|(known, _)| *known == name) {
        Some((_, true)) if window.order_by.is_empty() => {
            return Ok(refused("WINDOW_FUNCTION_FRAME_NOT_ORDERED", "the window needs an ORDER BY"));
        }
        Some(_) => {}
        None => {
            self::function(&ast::Function { over: None, ..function.clone() }, context)?;
            if functions::find(name).is_none_or(|spec| spec.kind != FunctionKind::Aggregate) {
                return Ok(refused("UNSUPPORTED_EXPR_FOR_WINDOW", "it is no aggregate function"));
            }
        }
    }
    let is_distinct = |list: &ast::FunctionArgumentList| list.duplicate_treatment == Some(ast::DuplicateTreatment::Distinct);
    if matches!(&function.args, ast::FunctionArguments::List(list) if is_distinct(list)) {
        return Ok(refused("DISTINCT_WINDOW_FUNCTION_UNSUPPORTED", "DISTINCT is not supported there"));
    }
    for expr in window.partition_by.iter().chain(window.order_by.iter().map(|key| &key.expr)) {
        resolve(expr, context)?;
    }
    let why = "window functions other than time windows are not supported over streams";
    Ok(refused("NON_TIME_WINDOW_NOT_SUPPORTED_IN_STREAMING", why))
}

fn null_treatment(written: &ast::NullTreatment) -> NullTreatment {
    match written {
        ast::NullTreatment::IgnoreNulls => NullTreatment::Ignore,
        ast::NullTreatment::RespectNulls => NullTreatment::Respect,
    }
}

fn sort_key(key: &ast::OrderByExpr, context: &Context<'_>) -> Result<SortKey> {
    let ast::OrderByExpr { expr, options, with_fill: None } = key else { return Err(unsupported(&format!("ORDER BY {key}"))) };
    let descending = options.asc == Some(false);
    Ok(SortKey { value: resolve(expr, context)?, descending, nulls_first: options.nulls_first.unwrap_or(!descending) })
}

/// A call of a function by name, its arguments resolved.
pub fn by_name(name: &str, args: Vec<Typed>, context: &Context<'_>) -> Result<Typed> {
    let (nulls, within_group, lambdas) = (None, Vec::new(), Vec::new());
    build(Call { name, args, distinct: false, filter: None, nulls, within_group, lambdas, context: *context })
}

/// Types that are functions too: `double('7')`.
pub(super) const CAST_FUNCTIONS: [&str; 12] =
    ["boolean", "tinyint", "smallint", "int", "bigint", "float", "double", "decimal", "date", "timestamp", "binary", "string"];

/// Whether SQL has a function of this name by itself, which a declared one cannot have then.
pub fn is_built_in(name: &str) -> bool {
    let name = name.to_lowercase();
    let has_syntax = ["if", "like", "ilike", "timestampdiff", "timestampadd", "dateadd", "date_diff", "timediff"];
    functions::find(&name).is_some()
        || CAST_FUNCTIONS.contains(&name.as_str())
        || has_syntax.contains(&name.as_str())
        || is_generator(&name)
}

fn build(mut call: Call<'_>) -> Result<Typed> {
    if !call.lambdas.is_empty() && is_built_in(call.name) && !functions::takes_lambda(call.name) {
        return Err(functions::not_higher_order(call.name));
    }
    if call.name == "if" || CAST_FUNCTIONS.contains(&call.name) {
        let wanted = if call.name == "if" { 3 } else { 1 };
        arity(&call, wanted, wanted)?;
        let last = call.args.pop();
        return match (last, call.args.pop(), call.args.pop()) {
            (Some(no), Some(yes), Some(condition)) => if_else(condition, yes, no, call.context.settings),
            (Some(value), _, _) => cast(value, &parse_type(call.name)?, CastMode::Ansi, call.context.settings).map(computed),
            _ => Err(unresolved(call.name, &[])),
        };
    }
    if matches!(call.name, "like" | "ilike") {
        return like_call(call);
    }
    match functions::find(call.name) {
        Some(spec) if spec.kind == FunctionKind::Scalar && call.is_of_aggregate() => Err(not_aggregate(call.name)),
        Some(spec) => {
            functions::refuse_clauses(&call)?;
            build_plain(spec, call)
        }
        None => {
            let functions = call.context.scope.functions();
            match find(functions, call.name) {
                Some(_) if !call.lambdas.is_empty() => Err(functions::not_higher_order(call.name)),
                Some(function) => call_of(function.clone(), call),
                None => Err(unresolved(call.name, functions)),
            }
        }
    }
}

/// `like(text, pattern[, escape])` and `ilike`.
fn like_call(mut call: Call<'_>) -> Result<Typed> {
    arity(&call, 2, 3)?;
    let escape = (call.args.len() == 3).then(|| call.args.remove(2));
    let escape = match escape.map(|escape| constant(&escape)).transpose()? {
        None => Some('\\'),
        Some(Some(ScalarValue::Utf8(Some(text)))) if text.chars().count() == 1 => text.chars().next(),
        Some(_) => None,
    };
    let escape = escape.ok_or_else(|| {
        Error::spark(ErrorKind::Config, "INVALID_ESCAPE_CHAR", "the escape character must be a constant text of one character")
    })?;
    let (ignore_case, settings) = (call.name == "ilike", call.context.settings);
    match (call.args.pop(), call.args.pop()) {
        (Some(pattern), Some(value)) => like(value, pattern, escape, ignore_case, settings),
        _ => Err(unresolved(call.name, &[])),
    }
}

/// Functions that compute with intervals of all units of their kind; so do aggregates. Others take an interval as it is.
const COMPUTE: [&str; 13] = [
    "abs",
    "negative",
    "sign",
    "signum",
    "sequence",
    "time_bucket",
    "window",
    "session_window",
    "try_multiply",
    "try_divide",
    "width_bucket",
    "printf",
    "format_string",
];

/// Functions that compute with all units and give one of those that their first argument has, or an array of them.
const GIVE_UNITS: [&str; 19] = [
    "abs",
    "negative",
    "sum",
    "try_sum",
    "min",
    "max",
    "min_by",
    "max_by",
    "first",
    "first_value",
    "any_value",
    "last",
    "last_value",
    "mode",
    "percentile_disc",
    "array_agg",
    "collect_list",
    "collect_set",
    "collect_union",
];

/// Functions that take an INTERVAL of months, days and microseconds.
const TAKE_CALENDAR: [&str; 9] = ["typeof", "isnull", "isnotnull", "coalesce", "nvl", "ifnull", "hash", "xxhash64", "count"];

/// Calls a function.
fn build_plain(spec: &functions::FunctionSpec, mut call: Call<'_>) -> Result<Typed> {
    let settings = call.context.settings;
    if call.args.iter().any(|arg| arg.data_type == calendar_interval()) && !TAKE_CALENDAR.contains(&call.name) {
        return Err(unsupported(&format!("{} of an INTERVAL, which make_interval makes,", call.name)));
    }
    let same_units = GIVE_UNITS.contains(&call.name).then(|| call.args.first().map(|arg| arg.data_type.clone())).flatten();
    if spec.kind == FunctionKind::Aggregate || COMPUTE.contains(&call.name) {
        let plain = |arg: Typed| match is_decimal_interval(&arg.data_type) {
            true => {
                let units = arg.data_type.clone();
                as_plain(arg, &units, settings)
            }
            false => Ok(arg),
        };
        call.args = std::mem::take(&mut call.args).into_iter().map(plain).collect::<Result<_>>()?;
    }
    let beside_null = is_beside_null(&call);
    let result = (spec.build)(call)?;
    if beside_null {
        let null = ScalarValue::try_new_null(&result.data_type).map_err(|error| from_datafusion(error, ErrorKind::Internal))?;
        return Ok(literal(null));
    }
    match same_units.filter(is_decimal_interval) {
        Some(units) => {
            let units = match &result.data_type {
                DataType::List(item) => DataType::List(Arc::new(item.as_ref().clone().with_data_type(units))),
                _ => units,
            };
            cast(result, &units, CastMode::Ansi, settings)
        }
        None => Ok(result),
    }
}

const TIME_UNITS: [&str; 11] =
    ["MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY", "DAYOFYEAR", "WEEK", "MONTH", "QUARTER", "YEAR"];

/// `timestampdiff(HOUR, a, b)` and its like, whose first argument is a unit rather than a value.
fn with_unit(name: &str, function: &ast::Function, context: &Context<'_>) -> Result<Option<Typed>> {
    let target = match name {
        "timestampdiff" | "datediff" | "date_diff" | "timediff" => "timestampdiff",
        "timestampadd" | "dateadd" | "date_add" => "timestampadd",
        _ => return Ok(None),
    };
    // Without a unit, some are other functions and some are none.
    let otherwise =
        || if matches!(name, "timestampdiff" | "timestampadd" | "timediff") { Err(unresolved(name, &[])) } else { Ok(None) };
    let ast::FunctionArguments::List(list) = &function.args else { return otherwise() };
    let [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(unit)), first, second] = list.args.as_slice() else {
        return otherwise();
    };
    let unit = match unit {
        ast::Expr::Identifier(unit) if TIME_UNITS.contains(&unit.value.to_uppercase().as_str()) => unit,
        ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::SingleQuotedString(unit), .. }) => {
            let message = format!("`{name}` expects a unit such as HOUR, not the text '{unit}'");
            return Err(Error::spark(ErrorKind::Config, "INVALID_PARAMETER_VALUE.DATETIME_UNIT", message));
        }
        _ => return otherwise(),
    };
    let args = vec![text(&unit.value), argument(name, false, first, context)?, argument(name, false, second, context)?];
    by_name(target, args, context).map(Some)
}

fn function_name(name: &ast::ObjectName) -> Result<String> {
    match name.0.as_slice() {
        [ast::ObjectNamePart::Identifier(name)] => Ok(name.value.to_lowercase()),
        // Where Spark keeps its own.
        [schema @ .., ast::ObjectNamePart::Identifier(name)]
            if matches!(
                schema.iter().map(|part| part.to_string().to_lowercase()).collect::<Vec<_>>().join(".").as_str(),
                "builtin" | "system.builtin"
            ) =>
        {
            Ok(name.value.to_lowercase())
        }
        _ => Err(unresolved(&name.to_string(), &[])),
    }
}

fn unresolved(name: &str, declared: &[Arc<Function>]) -> Error {
    let mut known: Vec<&str> = FUNCTIONS.iter().map(|spec| spec.name).chain(forms::names()).collect();
    known.extend(declared.iter().map(|function| function.signature().name.as_str()));
    let near = nearest(name, known, 3);
    let hint = if near.is_empty() { String::new() } else { format!(", did you mean {}?", near.join(", ")) };
    if let Some(reason) = missing::reason(name) {
        let message = format!("the function `{name}` of Spark is not supported: {reason}");
        return Error::spark(ErrorKind::Config, missing::condition(name), message);
    }
    Error::spark(ErrorKind::Config, "UNRESOLVED_ROUTINE", format!("there is no function `{name}`{hint}"))
}

fn argument(function: &str, distinct: bool, arg: &ast::FunctionArg, context: &Context<'_>) -> Result<Typed> {
    match arg {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => resolve(expr, context),
        // `count(*)` counts rows, as `count(1)` does; `count(DISTINCT *)` is about every column.
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Wildcard) if function == "count" && !distinct => {
            Ok(super::literal::literal(datafusion::common::ScalarValue::Int32(Some(1))))
        }
        other => Err(unsupported(&format!("the argument `{other}` of {function}"))),
    }
}
