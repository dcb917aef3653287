//! Lambda functions in names: Spark prints their variables without the names that they were given.

use std::ops::ControlFlow;

use sqlparser::ast::{self, VisitMut, VisitorMut};

use super::pretty;
use crate::plan::spark::dialect::plain_call;

const VARIABLE: &str = "namedlambdavariable()";

/// What `array_sort(a)` compares by.
const ASCENDING: &str = "lambdafunction((IF(((namedlambdavariable() IS NULL) AND (namedlambdavariable() IS NULL)), 0, \
    (IF((namedlambdavariable() IS NULL), 1, (IF((namedlambdavariable() IS NULL), -1, (IF((namedlambdavariable() < \
    namedlambdavariable()), -1, (IF((namedlambdavariable() > namedlambdavariable()), 1, 0)))))))))), namedlambdavariable(), \
    namedlambdavariable())";

/// A lambda function as an argument.
pub(super) fn text(lambda: &ast::LambdaFunction) -> String {
    let mut body = lambda.body.as_ref().clone();
    let names = lambda.params.iter().map(|parameter| parameter.name.value.to_lowercase()).collect();
    // The visitor never breaks.
    let _ = body.visit(&mut Variables { names });
    function(&pretty(&body), lambda.params.len())
}

/// The arguments of a call of `name`, other expressions in place of lambda functions and those left out as Spark prints them.
pub(super) fn complete(name: &str, written: &[ast::FunctionArg], args: &mut Vec<String>) {
    // Where a lambda function belongs and how many variables it has.
    let places: &[(usize, usize)] = match name {
        "transform" | "filter" | "exists" | "forall" => &[(1, 1)],
        "array_sort" | "map_filter" | "transform_keys" | "transform_values" => &[(1, 2)],
        "zip_with" => &[(2, 2)],
        "map_zip_with" => &[(2, 3)],
        "aggregate" | "reduce" => &[(2, 2), (3, 1)],
        _ => return,
    };
    match (name, args.len()) {
        ("array_sort", 1) => return args.push(ASCENDING.to_owned()),
        ("aggregate" | "reduce", 3) => args.push(VARIABLE.to_owned()),
        _ => {}
    }
    for (place, variables) in places {
        let is_lambda =
            matches!(written.get(*place), Some(ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(ast::Expr::Lambda(_)))));
        if let (false, Some(arg)) = (is_lambda, args.get_mut(*place)) {
            *arg = function(arg, *variables);
        }
    }
}

fn function(body: &str, variables: usize) -> String {
    format!("lambdafunction({body}{})", format!(", {VARIABLE}").repeat(variables))
}

/// Puts what Spark prints in place of a lambda function's variables.
struct Variables {
    /// In lower case.
    names: Vec<String>,
}

impl Variables {
    fn is_variable(&self, name: &ast::Ident) -> bool {
        self.names.contains(&name.value.to_lowercase())
    }
}

impl VisitorMut for Variables {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        match expr {
            // A field is no variable, whatever its name.
            ast::Expr::CompoundFieldAccess { access_chain, .. } => {
                for step in access_chain {
                    if let ast::AccessExpr::Dot(field) = step
                        && let ast::Expr::Identifier(name) = field
                    {
                        *field = raw(&name.value);
                    }
                }
            }
            ast::Expr::Tuple(values) => *expr = named_struct(values),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        match expr {
            ast::Expr::Identifier(name) if self.is_variable(name) => *expr = raw(VARIABLE),
            ast::Expr::CompoundIdentifier(parts) if parts.first().is_some_and(|name| self.is_variable(name)) => {
                let fields: Vec<&str> = parts[1..].iter().map(|part| part.value.as_str()).collect();
                *expr = raw(&format!("{VARIABLE}.{}", fields.join(".")));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// A piece of a name that is finished.
fn raw(text: &str) -> ast::Expr {
    ast::Expr::Value(ast::Value::Placeholder(text.to_owned()).into())
}

/// `(x, y)` names its fields before Spark forgets the variables' names.
fn named_struct(values: &mut Vec<ast::Expr>) -> ast::Expr {
    let mut args = Vec::with_capacity(2 * values.len());
    for (index, value) in std::mem::take(values).into_iter().enumerate() {
        let name = match &value {
            ast::Expr::Identifier(name) => name.value.clone(),
            ast::Expr::CompoundIdentifier(parts) => parts.last().map(|part| part.value.clone()).unwrap_or_default(),
            _ => format!("col{}", index + 1),
        };
        args.extend([raw(&name), value]);
    }
    let args = args.into_iter().map(|arg| ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(arg))).collect();
    plain_call("named_struct", args)
}
