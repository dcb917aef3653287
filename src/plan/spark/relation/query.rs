//! A query: WITH, its body, ORDER BY, LIMIT.

use std::rc::Rc;

use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, Limit, LogicalPlan, lit};
use datafusion::scalar::ScalarValue;
use sqlparser::ast;

use super::super::constant;
use super::columns::Relation;
use super::planner::{Cte, Env, Planner};
use super::scope::QueryScope;
use super::{order, values};
use crate::error::{Error, ErrorKind, Result};

/// When less stack than this is left, in bytes, a nested query gets a new piece.
const STACK_LEFT_MIN: usize = 256 * 1024;
/// Size of such a piece, in bytes.
const STACK_SIZE: usize = 4 * 1024 * 1024;

impl<'a> Planner<'a> {
    /// Plans a query with the names of `env`.
    pub(super) fn query(&self, query: &ast::Query, env: &Env<'_>) -> Result<Relation> {
        let env = env.deeper()?;
        // Unoptimised frames of nested queries would not fit a thread's stack.
        stacker::maybe_grow(STACK_LEFT_MIN, STACK_SIZE, || self.query_here(query, env))
    }

    fn query_here(&self, query: &ast::Query, mut env: Env<'_>) -> Result<Relation> {
        refuse_clauses(query)?;
        if let Some(with) = &query.with {
            define(with, &mut env)?;
        }
        let relation = self.body(&query.body, &env, query.order_by.as_ref())?;
        match &query.limit_clause {
            Some(clause) => self.limited(relation, clause, &env),
            None => Ok(relation),
        }
    }

    /// Plans a query's body and sorts its rows.
    pub(super) fn body(&self, body: &ast::SetExpr, env: &Env<'_>, order_by: Option<&ast::OrderBy>) -> Result<Relation> {
        let relation = match body {
            ast::SetExpr::Select(select) => return self.select(select, env, order_by),
            ast::SetExpr::Query(query) => self.query(query, env)?,
            ast::SetExpr::SetOperation { .. } => self.set_operation(body, env)?,
            ast::SetExpr::Values(rows) => values::plan(self, rows, env)?,
            ast::SetExpr::Table(table) => self.table_statement(table, env)?,
            ast::SetExpr::Insert(_) | ast::SetExpr::Update(_) | ast::SetExpr::Delete(_) | ast::SetExpr::Merge(_) => {
                return Err(Error::config("a query only reads: INSERT, UPDATE, DELETE and MERGE are not for it"));
            }
        };
        match order_by {
            Some(order_by) => order::sorted(self, relation, order_by, env),
            None => Ok(relation),
        }
    }

    fn table_statement(&self, table: &ast::Table, env: &Env<'_>) -> Result<Relation> {
        let name = table.table_name.as_deref().unwrap_or_default();
        let parts: Vec<ast::Ident> = table.schema_name.iter().map(String::as_str).chain([name]).map(ast::Ident::new).collect();
        let mut relation = self.named_table(&parts, env)?;
        relation.columns.retain(|column| column.access == super::columns::Access::Listed);
        Ok(relation)
    }

    fn limited(&self, relation: Relation, clause: &ast::LimitClause, env: &Env<'_>) -> Result<Relation> {
        let (limit, offset) = match clause {
            ast::LimitClause::LimitOffset { limit_by, .. } if !limit_by.is_empty() => {
                return Err(Error::spark(ErrorKind::Config, "PARSE_SYNTAX_ERROR", "LIMIT … BY is not part of the language"));
            }
            ast::LimitClause::LimitOffset { limit, offset, .. } => (limit.as_ref(), offset.as_ref().map(|offset| &offset.value)),
            ast::LimitClause::OffsetCommaLimit { .. } => {
                return Err(Error::spark(
                    ErrorKind::Config,
                    "PARSE_SYNTAX_ERROR",
                    "write LIMIT n OFFSET m instead of LIMIT m, n",
                ));
            }
        };
        let fetch = limit.filter(|limit| !is_all(limit)).map(|limit| self.row_count(limit, "limit", env)).transpose()?;
        let skip = offset.map(|offset| self.row_count(offset, "offset", env)).transpose()?;
        if fetch.is_none() && skip.is_none() {
            return Ok(relation);
        }
        let plan = LogicalPlan::Limit(Limit {
            skip: skip.filter(|skip| *skip > 0).map(|skip| Box::new(lit(skip))),
            fetch: fetch.map(|fetch| Box::new(lit(fetch))),
            input: relation.plan.into(),
        });
        Ok(Relation { plan, columns: relation.columns })
    }

    /// A constant number of rows, as LIMIT and OFFSET want it.
    fn row_count(&self, expr: &ast::Expr, clause: &str, env: &Env<'_>) -> Result<i64> {
        let refused = |condition: &'static str, why: String| {
            Error::spark(
                ErrorKind::Config,
                format!("INVALID_LIMIT_LIKE_EXPRESSION.{condition}"),
                format!("the {clause} expression {expr} is invalid: {why}"),
            )
        };
        let scope = QueryScope::new(self, env, Vec::new());
        let typed = scope.resolve(expr).map_err(|error| match error.condition() {
            Some(condition) if condition.starts_with("UNRESOLVED_COLUMN") => {
                refused("IS_UNFOLDABLE", "it must be a constant".into())
            }
            _ => error,
        })?;
        if !matches!(typed.data_type, DataType::Int8 | DataType::Int16 | DataType::Int32) {
            let name = super::super::types::sql_name(&typed.data_type);
            return Err(refused("DATA_TYPE", format!("it must be an INT, but it is of type {name}")));
        }
        let Some(value) = constant::evaluate(&typed.expr)? else {
            return Err(refused("IS_UNFOLDABLE", "it must be a constant".into()));
        };
        match value {
            ScalarValue::Int8(Some(n)) => Some(i64::from(n)),
            ScalarValue::Int16(Some(n)) => Some(i64::from(n)),
            ScalarValue::Int32(Some(n)) => Some(i64::from(n)),
            _ => None,
        }
        .ok_or_else(|| refused("IS_NULL", "it is null".into()))
        .and_then(|n| if n < 0 { Err(refused("IS_NEGATIVE", format!("it is {n}, but must not be negative"))) } else { Ok(n) })
    }
}

fn is_all(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Identifier(name) if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all"))
}

fn define(with: &ast::With, env: &mut Env<'_>) -> Result<()> {
    if with.recursive {
        return Err(Error::config("WITH RECURSIVE is not supported"));
    }
    let mut names: Vec<String> = Vec::new();
    for definition in &with.cte_tables {
        let name = definition.alias.name.value.to_lowercase();
        if names.contains(&name) {
            let message = format!("CTE definition can't have duplicate names: [{}]", definition.alias.name.value);
            return Err(Error::spark(ErrorKind::Config, "DUPLICATED_CTE_NAMES", message));
        }
        names.push(name);
        env.ctes = Some(Rc::new(Cte { definition: definition.clone(), before: env.ctes.clone() }));
    }
    Ok(())
}

fn refuse_clauses(query: &ast::Query) -> Result<()> {
    let clause = if query.fetch.is_some() {
        "FETCH"
    } else if !query.locks.is_empty() {
        "FOR UPDATE"
    } else if query.for_clause.is_some() {
        "FOR"
    } else if query.settings.is_some() {
        "SETTINGS"
    } else if query.format_clause.is_some() {
        "FORMAT"
    } else if !query.pipe_operators.is_empty() {
        "|>"
    } else {
        return Ok(());
    };
    Err(Error::spark(ErrorKind::Config, "PARSE_SYNTAX_ERROR", format!("{clause} is not supported in a query")))
}

/// A literal of a plan's own making.
pub(super) fn null_of(data_type: &DataType) -> Result<Expr> {
    let null = ScalarValue::try_from(data_type).map_err(super::planner::broken)?;
    Ok(Expr::Literal(null, None))
}
