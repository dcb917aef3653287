//! ORDER BY.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{Expr, LogicalPlan, Sort, SortExpr};
use sqlparser::ast::{self, OrderByKind, OrderByOptions};

use super::super::{Typed, types};
use super::columns::{Attribute, Relation};
use super::planner::{Env, Planner};
use super::scope::QueryScope;
use super::{grouping, widen};
use crate::error::{Error, ErrorKind, Result};

/// One sort key.
pub(super) struct Key {
    pub expr: Expr,
    pub data_type: DataType,
    ascending: bool,
    nulls_first: bool,
}

/// The keys of `order_by`: positions in and names of `outputs`, or expressions. They are resolved in the first of `scopes` (outputs
/// first, then input first) that does not aggregate what the select list computes.
pub(super) fn keys(order_by: &ast::OrderBy, outputs: &[Attribute], scopes: &[&QueryScope<'_>]) -> Result<Vec<Key>> {
    if order_by.interpolate.is_some() {
        return Err(Error::spark(ErrorKind::Config, "PARSE_SYNTAX_ERROR", "INTERPOLATE is not supported"));
    }
    match &order_by.kind {
        OrderByKind::All(options) => outputs.iter().map(|output| key(output.typed(), options)).collect(),
        OrderByKind::Expressions(exprs) => {
            if let [only] = exprs.as_slice()
                && is_all(&only.expr)
                && !outputs.iter().any(|output| output.name.eq_ignore_ascii_case("all"))
            {
                return outputs.iter().map(|output| key(output.typed(), &only.options)).collect();
            }
            exprs.iter().map(|expr| key(value(&expr.expr, outputs, scopes)?, &expr.options)).collect()
        }
    }
}

fn is_all(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Identifier(name) if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all"))
}

fn value(expr: &ast::Expr, outputs: &[Attribute], scopes: &[&QueryScope<'_>]) -> Result<Typed> {
    if let Some(position) = grouping::ordinal(expr) {
        let output = usize::try_from(position).ok().and_then(|position| outputs.get(position.checked_sub(1)?));
        return output.map(Attribute::typed).ok_or_else(|| {
            let message = format!("ORDER BY position {position} is not in select list (valid range is [1, {}])", outputs.len());
            Error::spark(ErrorKind::Config, "ORDER_BY_POS_OUT_OF_RANGE", message)
        });
    }
    let inputs = scopes.get(1).map(|inner_first| inner_first.layers[0]).unwrap_or_default();
    let is_input = |output: &Attribute| inputs.iter().any(|input| input.id == output.id);
    let computed: Vec<&str> = outputs.iter().filter(|output| !is_input(output)).map(|output| output.id.as_str()).collect();
    let mut first = None;
    for scope in scopes {
        let typed = scope.resolve(expr);
        match typed {
            Ok(typed) if !aggregates_output(&typed.expr, &computed) => return Ok(typed),
            other => first = first.or(Some(other)),
        }
    }
    first.unwrap_or_else(|| Err(Error::internal("an ORDER BY without a scope")))
}

/// Whether an aggregate's argument uses a value that the select list computes, which may be an aggregate itself.
fn aggregates_output(expr: &Expr, computed: &[&str]) -> bool {
    let uses = |node: &Expr| matches!(node, Expr::Column(name) if computed.contains(&name.name.as_str()));
    expr.exists(|node| match node {
        Expr::AggregateFunction(_) => node.exists(|inner| Ok(uses(inner))),
        _ => Ok(false),
    })
    .unwrap_or(true)
}

fn key(typed: Typed, options: &OrderByOptions) -> Result<Key> {
    if types::has_map(&typed.data_type) {
        let name = types::sql_name(&typed.data_type);
        let message = format!("ORDER BY needs a type that has an order, but {name} has none");
        return Err(Error::spark(ErrorKind::Config, "DATATYPE_MISMATCH.INVALID_ORDERING_TYPE", message));
    }
    let ascending = options.asc.unwrap_or(true);
    Ok(Key { expr: typed.expr, data_type: typed.data_type, ascending, nulls_first: options.nulls_first.unwrap_or(ascending) })
}

/// Sorts the rows of a relation by its own columns.
pub(super) fn sorted(planner: &Planner<'_>, relation: Relation, order_by: &ast::OrderBy, env: &Env<'_>) -> Result<Relation> {
    let outputs: Vec<Attribute> = relation.listed().cloned().collect();
    let keys = {
        let scope = QueryScope::new(planner, env, vec![&outputs]);
        keys(order_by, &outputs, &[&scope])?
    };
    if keys.iter().any(|key| super::aggregate::has_aggregate(&key.expr)) {
        return Err(Error::config("ORDER BY has an aggregate function, but there is nothing that it aggregates"));
    }
    sort(relation, keys)
}

/// Sorts by keys over the plan's columns.
pub(super) fn sort(relation: Relation, keys: Vec<Key>) -> Result<Relation> {
    if keys.is_empty() {
        return Ok(relation);
    }
    let expr = keys
        .into_iter()
        .map(|key| {
            let typed = widen::key(Typed { expr: key.expr, data_type: key.data_type, nullable: true });
            SortExpr { expr: typed.expr, asc: key.ascending, nulls_first: key.nulls_first }
        })
        .collect();
    let plan = LogicalPlan::Sort(Sort { expr, input: relation.plan.into(), fetch: None });
    Ok(Relation { plan, columns: relation.columns })
}
