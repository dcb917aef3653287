//! A lambda function in its place: what the names of its body mean.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::Expr;
use sqlparser::ast;

use super::super::super::expression::{access, resolve};
use super::super::super::{Call, Context, PlanSettings, Scope, SubqueryUsage, Typed};
use super::invalid_call;
use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::function::Function;
use crate::plan::function::call::first_called;

/// Numbers of variables begin far above those of a query's columns, which are called `name#n` too.
static NEXT: AtomicU64 = AtomicU64::new(FIRST);
const FIRST: u64 = 1 << 60;

/// A column that stands for a variable: its name and its type.
pub(in super::super::super) type VariableOf = (String, DataType);

/// The columns that stand for variables, as a schema.
pub(in super::super::super) fn variable_fields(variables: &[VariableOf]) -> Result<DFSchema> {
    let fields = variables.iter().map(|(id, data_type)| Field::new(id, data_type.clone(), true));
    DFSchema::from_unqualified_fields(fields.collect(), Default::default())
        .map_err(|error| from_datafusion(error, ErrorKind::Internal))
}

/// A body and the columns that stand for the lambda function's variables in it.
pub(super) struct Bound {
    /// The resolved body.
    pub body: Typed,
    /// In order.
    pub variables: Vec<VariableOf>,
}

/// How many variables the lambda function at `index` names; 1 where something else stands there.
pub(super) fn parameters(c: &Call<'_>, index: usize) -> usize {
    lambda(c, index).map_or(1, |lambda| lambda.params.len())
}

fn lambda<'a>(c: &Call<'a>, index: usize) -> Option<&'a ast::LambdaFunction> {
    c.lambdas.iter().find(|(at, _)| *at == index).map(|(_, lambda)| *lambda)
}

/// Refuses lambda functions at other places than `places`.
pub(in super::super) fn refuse_elsewhere(c: &Call<'_>, places: &[usize]) -> Result<()> {
    match c.lambdas.iter().find(|(at, _)| !places.contains(at)) {
        None => Ok(()),
        Some((at, _)) => Err(invalid_call(
            "PARAMETER_DOES_NOT_ACCEPT_LAMBDA_FUNCTION",
            format!("parameter {} of `{}` does not take a lambda function", at + 1, c.name),
        )),
    }
}

/// Refuses subqueries among the arguments of a higher-order function, as Spark does.
pub(super) fn refuse_subqueries(expr: &Expr) -> Result<()> {
    let found = expr.exists(|node| Ok(matches!(node, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_))));
    if found.unwrap_or(true) { Err(subquery()) } else { Ok(()) }
}

fn subquery() -> Error {
    Error::spark(
        ErrorKind::Config,
        "UNSUPPORTED_SUBQUERY_EXPRESSION_CATEGORY.HIGHER_ORDER_FUNCTION",
        "subqueries are not supported in higher-order functions",
    )
}

/// The argument `index` of the call as a function of variables of the given types, each with whether it can be null. Any
/// expression is a function that does not look at its variables.
pub(super) fn bind(c: &Call<'_>, index: usize, variables: &[(DataType, bool)]) -> Result<Bound> {
    let Some(lambda) = lambda(c, index) else {
        let body = c.args[index].clone();
        refuse_subqueries(&body.expr)?;
        return checked(Bound { body, variables: variables.iter().map(|(t, _)| (String::new(), t.clone())).collect() });
    };
    let names = names(lambda)?;
    if names.len() != variables.len() {
        return Err(invalid_call(
            "NUM_ARGS_MISMATCH",
            format!("`{}` calls its lambda function with {} arguments, not {}", c.name, variables.len(), names.len()),
        ));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(name.to_lowercase())) {
        let message = format!("the lambda function has more than one argument `{twice}`; upper and lower case are the same");
        return Err(invalid_call("DUPLICATE_ARG_NAMES", message));
    }
    let named = names.iter().zip(variables).map(|(name, (data_type, nullable))| {
        let (_, expr) = variable(name);
        (name.to_lowercase(), Typed { expr, data_type: data_type.clone(), nullable: *nullable })
    });
    let named: Vec<(String, Typed)> = named.collect();
    let scope = LambdaScope { outer: c.context.scope, variables: &named, settings: c.context.settings };
    let body = resolve(&lambda.body, &Context { scope: &scope, settings: c.context.settings })?;
    let ids = named.iter().zip(variables).filter_map(|((_, typed), (data_type, _))| match &typed.expr {
        Expr::Column(column) => Some((column.name.clone(), data_type.clone())),
        _ => None,
    });
    checked(Bound { body, variables: ids.collect() })
}

fn checked(bound: Bound) -> Result<Bound> {
    if let Some(function) = first_called(&bound.body.expr) {
        let message = format!("`{function}` asks the outside world, which a lambda function cannot; call it beside it");
        return Err(Error::spark(ErrorKind::Config, "UNSUPPORTED_FEATURE.LAMBDA_FUNCTION_WITH_PYTHON_UDF", message));
    }
    Ok(bound)
}

fn names(lambda: &ast::LambdaFunction) -> Result<Vec<&str>> {
    let untyped = lambda.params.iter().all(|parameter| parameter.data_type.is_none());
    let bracketed_one = matches!(&lambda.params, ast::OneOrManyWithParens::Many(names) if names.len() < 2);
    if lambda.syntax != ast::LambdaSyntax::Arrow || !untyped || bracketed_one {
        let message = format!("`{lambda}` is no lambda function: write `x -> …` or `(x, y) -> …`");
        return Err(Error::spark(ErrorKind::Config, "PARSE_SYNTAX_ERROR", message));
    }
    Ok(lambda.params.iter().map(|parameter| parameter.name.value.as_str()).collect())
}

/// A column that is no other column, for a variable of this name: what it is called, and itself.
pub(super) fn variable(name: &str) -> (String, Expr) {
    let id = format!("{name}#{}", NEXT.fetch_add(1, Ordering::Relaxed));
    (id.clone(), Expr::Column(Column::new_unqualified(id)))
}

/// Whether a column is one that stands for a variable.
pub(in super::super::super) fn is_variable(column: &str) -> bool {
    let number = column.rsplit_once('#').and_then(|(_, number)| number.parse::<u64>().ok());
    number.is_some_and(|number| number >= FIRST)
}

/// The variables of a lambda function, then the names around it.
struct LambdaScope<'a> {
    outer: &'a dyn Scope,
    /// By name in lower case.
    variables: &'a [(String, Typed)],
    settings: &'a PlanSettings,
}

impl Scope for LambdaScope<'_> {
    fn column(&self, parts: &[ast::Ident]) -> Result<Typed> {
        let name = parts.first().map(|part| part.value.to_lowercase()).unwrap_or_default();
        match self.variables.iter().find(|(known, _)| *known == name) {
            Some((_, variable)) => {
                parts[1..].iter().try_fold(variable.clone(), |value, part| access::field(value, &part.value, self.settings))
            }
            None => self.outer.column(parts),
        }
    }

    fn subquery(&self, _query: &ast::Query, _usage: SubqueryUsage<'_>) -> Result<Typed> {
        Err(subquery())
    }

    fn functions(&self) -> &[Arc<Function>] {
        self.outer.functions()
    }
}
