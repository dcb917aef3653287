//! What names and subqueries mean at one place of a query.

use std::sync::Arc;

use arrow::datatypes::{DataType, Fields};
use datafusion::common::Spans;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Subquery, lit, when};
use sqlparser::ast;

use super::super::expression::{self, access};
use super::super::{Context, Scope, SubqueryUsage, Typed};
use super::columns::{Attribute, Relation, column, find, place_of, unresolved, written};
use super::planner::{Env, Planner, broken};
use super::{exists, single, widen};
use crate::error::{Error, ErrorKind, Result};
use crate::function::Function;
use crate::plan::Scope as StateScope;
use crate::plan::catalog::is_streaming;

/// Columns in the order in which they are tried, then the query around.
pub(super) struct QueryScope<'a> {
    pub planner: &'a Planner<'a>,
    pub env: &'a Env<'a>,
    /// Tried one after the other: the first that knows a name decides.
    pub layers: Vec<&'a [Attribute]>,
}

impl<'a> QueryScope<'a> {
    pub(super) fn new(planner: &'a Planner<'a>, env: &'a Env<'a>, layers: Vec<&'a [Attribute]>) -> Self {
        Self { planner, env, layers }
    }

    /// Resolves an expression whose value is wanted here.
    pub(super) fn resolve(&self, expr: &ast::Expr) -> Result<Typed> {
        let typed = self.resolve_condition(expr)?;
        Ok(Typed { expr: exists::counted(self.planner, typed.expr, &self.layers)?, ..typed })
    }

    /// Resolves an expression that becomes a filter, in which EXISTS and IN (subquery) may stay.
    pub(super) fn resolve_condition(&self, expr: &ast::Expr) -> Result<Typed> {
        expression::resolve(expr, &Context { scope: self, settings: self.planner.settings })
    }

    /// The column that `parts` begin with, without looking at the query around.
    fn find(&self, parts: &[ast::Ident]) -> Result<Option<(&Attribute, usize)>> {
        for layer in &self.layers {
            if let Some(found) = find(layer, parts)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn find_outer(&self, parts: &[ast::Ident]) -> Result<Option<(Typed, usize)>> {
        let Some(outer) = self.env.outer else { return Ok(None) };
        let Some((attribute, used)) = outer.find(parts)? else { return Ok(None) };
        Ok(Some((attribute.outer(), used)))
    }
}

impl Scope for QueryScope<'_> {
    fn functions(&self) -> &[Arc<Function>] {
        &self.planner.catalog.functions
    }

    fn column(&self, parts: &[ast::Ident]) -> Result<Typed> {
        let (mut typed, used) = match self.find(parts)? {
            Some((attribute, used)) => (attribute.typed(), used),
            None => match self.find_outer(parts)? {
                Some(found) => found,
                None => return Err(unresolved(parts, self.layers.iter().flat_map(|layer| layer.iter()))),
            },
        };
        for field in &parts[used..] {
            typed = access::field(typed, &field.value, self.planner.settings)
                .map_err(|error| in_place(error, &parts[..used], field))?;
        }
        Ok(typed)
    }

    fn subquery(&self, query: &ast::Query, usage: SubqueryUsage<'_>) -> Result<Typed> {
        let env = Env { outer: Some(self), ..self.env.deeper()? };
        let relation = self.planner.query(query, &env)?;
        if self.planner.settings.scope != StateScope::MicroBatch && is_streaming(&relation.plan) {
            let message = "Invalid subquery: Streaming query is not allowed in subquery expressions.";
            return Err(Error::spark(ErrorKind::Config, "INVALID_SUBQUERY_EXPRESSION.STREAMING_QUERY", message));
        }
        match usage {
            SubqueryUsage::Scalar => scalar(self.planner, relation),
            SubqueryUsage::In { left, negated } => is_in(self.planner, relation, left, negated),
            SubqueryUsage::Exists { negated } => {
                let expr = Expr::Exists(Exists { subquery: subquery(self.planner, relation)?, negated });
                Ok(Typed { expr, data_type: DataType::Boolean, nullable: false })
            }
        }
    }
}

/// Says of which column a field was wanted, and where.
fn in_place(error: Error, base: &[ast::Ident], field: &ast::Ident) -> Error {
    let message = format!("{}, in {}{}", error.message(), written(base), place_of(field.span));
    match error.condition().map(str::to_owned) {
        Some(condition) => Error::spark(error.kind(), condition, message),
        None => Error::new(error.kind(), message),
    }
}

/// A subquery of the listed columns.
fn subquery(planner: &Planner<'_>, relation: Relation) -> Result<Subquery> {
    let mut exprs: Vec<Expr> = relation.listed().map(|attribute| column(&attribute.id)).collect();
    exprs.dedup();
    let plan = planner.project(relation.plan, exprs)?;
    let outer_ref_columns = plan.all_out_ref_exprs();
    Ok(Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Spans::new() })
}

fn scalar(planner: &Planner<'_>, relation: Relation) -> Result<Typed> {
    let only = only_column(&relation, "INVALID_SUBQUERY_EXPRESSION.SCALAR_SUBQUERY_RETURN_MORE_THAN_ONE_OUTPUT_COLUMN")?;
    let correlated = relation.plan.contains_outer_reference() || !relation.plan.all_out_ref_exprs().is_empty();
    let relation =
        if correlated && relation.plan.max_rows() != Some(1) { single::row(planner, relation, &only)? } else { relation };
    Ok(Typed { expr: Expr::ScalarSubquery(subquery(planner, relation)?), data_type: only.data_type, nullable: true })
}

fn is_in(planner: &Planner<'_>, relation: Relation, left: &Typed, negated: bool) -> Result<Typed> {
    if let DataType::Struct(fields) = &left.data_type
        && relation.listed().count() == fields.len()
        && fields.len() > 1
    {
        return is_row_in(planner, relation, left, fields, negated);
    }
    let condition = "DATATYPE_MISMATCH.IN_SUBQUERY_LENGTH_MISMATCH";
    let only = only_column(&relation, condition)?;
    let common = widen::common(&left.data_type, &only.data_type).ok_or_else(mismatch)?;
    let left = widen::key(widen::cast(planner, left.clone(), &common)?);
    let right = widen::key(widen::cast(planner, only.typed(), &common)?);
    let id = planner.fresh(&only.name);
    let plan = planner.project(relation.plan, vec![right.expr.alias(&id)])?;
    let nullable = left.nullable || right.nullable;
    let outer_ref_columns = plan.all_out_ref_exprs();
    let subquery = Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Spans::new() };
    let expr = Expr::InSubquery(InSubquery { expr: Box::new(left.expr), subquery, negated });
    Ok(Typed { expr, data_type: DataType::Boolean, nullable })
}

/// `(a, b) IN (subquery)`: rows are compared as structs, in which no field may be null.
fn is_row_in(planner: &Planner<'_>, relation: Relation, left: &Typed, fields: &Fields, negated: bool) -> Result<Typed> {
    if negated {
        return Err(Error::config("NOT IN over several columns is not supported; use NOT EXISTS"));
    }
    let mut left_keys = Vec::with_capacity(fields.len());
    let mut right_keys = Vec::with_capacity(fields.len());
    for (field, listed) in fields.iter().zip(relation.listed()) {
        let left = access::field(left.clone(), field.name(), planner.settings)?;
        let common = widen::common(&left.data_type, &listed.data_type).ok_or_else(mismatch)?;
        left_keys.push(widen::key(widen::cast(planner, left, &common)?).expr);
        right_keys.push(widen::key(widen::cast(planner, listed.typed(), &common)?).expr);
    }
    let known = right_keys.iter().cloned().map(Expr::is_not_null).reduce(Expr::and).unwrap_or_else(|| lit(true));
    let plan = LogicalPlan::Filter(Filter::try_new(known, relation.plan.into()).map_err(broken)?);
    let plan = planner.project(plan, vec![row(right_keys).alias(planner.fresh("row"))])?;
    let known = left_keys.iter().cloned().map(Expr::is_not_null).reduce(Expr::and).unwrap_or_else(|| lit(true));
    let expr = Box::new(when(known, row(left_keys)).end().map_err(broken)?);
    let outer_ref_columns = plan.all_out_ref_exprs();
    let subquery = Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Spans::new() };
    let expr = Expr::InSubquery(InSubquery { expr, subquery, negated });
    Ok(Typed { expr, data_type: DataType::Boolean, nullable: true })
}

fn row(values: Vec<Expr>) -> Expr {
    datafusion::functions::core::r#struct().call(values)
}

fn mismatch() -> Error {
    let message = "the types of the two sides of IN do not go together";
    Error::spark(ErrorKind::Config, "DATATYPE_MISMATCH.IN_SUBQUERY_DATA_TYPE_MISMATCH", message)
}

fn only_column(relation: &Relation, condition: &'static str) -> Result<Attribute> {
    let mut listed = relation.listed();
    match (listed.next(), listed.next()) {
        (Some(only), None) => Ok(only.clone()),
        _ => {
            let count = relation.listed().count();
            Err(Error::spark(ErrorKind::Config, condition, format!("a subquery here must have one column, but it has {count}")))
        }
    }
}
