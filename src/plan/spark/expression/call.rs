//! Function calls: arguments are resolved, then the function table builds the expression.

use datafusion::sql::sqlparser::ast;

use super::{resolve, unsupported};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::functions::{self, FUNCTIONS};
use crate::plan::spark::suggest::nearest;
use crate::plan::spark::{Call, Context, Typed};

/// A call as the parser yields it.
pub(super) fn function(function: &ast::Function, context: &Context<'_>) -> Result<Typed> {
    let name = function_name(&function.name)?;
    if function.over.is_some() {
        return Err(unsupported(&format!("the window function {name}(…) OVER")));
    }
    let mut args = Vec::new();
    let mut distinct = false;
    let mut ignore_nulls = matches!(function.null_treatment, Some(ast::NullTreatment::IgnoreNulls));
    match &function.args {
        ast::FunctionArguments::None => {}
        ast::FunctionArguments::Subquery(_) => return Err(unsupported(&format!("a subquery as argument of {name}"))),
        ast::FunctionArguments::List(list) => {
            distinct = matches!(list.duplicate_treatment, Some(ast::DuplicateTreatment::Distinct));
            for clause in &list.clauses {
                match clause {
                    ast::FunctionArgumentClause::IgnoreOrRespectNulls(treatment) => {
                        ignore_nulls = matches!(treatment, ast::NullTreatment::IgnoreNulls);
                    }
                    other => return Err(unsupported(&format!("`{other}` in a call of {name}"))),
                }
            }
            for arg in &list.args {
                args.push(argument(&name, arg, context)?);
            }
        }
    }
    let filter = function.filter.as_ref().map(|filter| resolve(filter, context)).transpose()?;
    build(Call { name: &name, args, distinct, filter, ignore_nulls, context: *context })
}

/// A call of a function by name, its arguments resolved.
pub fn by_name(name: &str, args: Vec<Typed>, context: &Context<'_>) -> Result<Typed> {
    build(Call { name, args, distinct: false, filter: None, ignore_nulls: false, context: *context })
}

fn build(call: Call<'_>) -> Result<Typed> {
    match functions::find(call.name) {
        Some(spec) => (spec.build)(call),
        None => Err(unresolved(call.name)),
    }
}

fn function_name(name: &ast::ObjectName) -> Result<String> {
    match name.0.as_slice() {
        [ast::ObjectNamePart::Identifier(name)] => Ok(name.value.to_lowercase()),
        _ => Err(unresolved(&name.to_string())),
    }
}

fn unresolved(name: &str) -> Error {
    let near = nearest(name, FUNCTIONS.iter().map(|spec| spec.name), 3);
    let hint = if near.is_empty() { String::new() } else { format!(", did you mean {}?", near.join(", ")) };
    Error::spark(ErrorKind::Config, "UNRESOLVED_ROUTINE", format!("there is no function `{name}`{hint}"))
}

fn argument(function: &str, arg: &ast::FunctionArg, context: &Context<'_>) -> Result<Typed> {
    match arg {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(ast::Expr::Lambda(_))) => {
            Err(unsupported(&format!("a lambda function, as in {function}(… -> …),")))
        }
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => resolve(expr, context),
        // `count(*)` counts rows, as `count(1)` does.
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Wildcard) if function == "count" => {
            Ok(super::literal::literal(datafusion::common::ScalarValue::Int32(Some(1))))
        }
        other => Err(unsupported(&format!("the argument `{other}` of {function}"))),
    }
}
