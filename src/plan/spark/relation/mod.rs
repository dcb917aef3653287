//! Relations: a statement's text → a plan, and what its columns are called.
//!
//! DataFusion's own SQL planner is not used: names here are case-insensitive with their case kept, every type is settled by Spark's
//! coercion while resolving bottom-up, and errors are Spark's. Read `query` first, then `select`.
//!
//! Inside a plan every column has a unique name (`amount#7`); the names that users see, which may repeat, are in
//! [`PlannedQuery::columns`] and put on the rows at the very end ([`PlannedQuery::named`]).

mod columns;
mod planner;
mod scope;
mod query;
mod from;
mod event_time;
mod join;
mod set_operation;
mod values;
mod select;
mod list;
mod shown;
mod grouping;
mod having;
mod aggregate;
mod time_window;
mod order;
pub mod generate;
mod widen;
pub(crate) mod carried;
mod exists;
mod single;
mod optimise;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::{Expr, InvariantLevel, LogicalPlan};
use sqlparser::ast::{self, Statement};

use self::columns::{Access, column};
use self::planner::{Env, Planner, broken};
use super::dialect;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::function::place::place;
use crate::plan::{Catalog, PlanSettings};

pub use self::grouping::FUNCTIONS;
pub use self::optimise::optimise;

/// A query, planned.
#[derive(Debug, Clone)]
pub struct PlannedQuery {
    /// What computes the rows. Its columns are in the order of `columns`, under unique names.
    pub plan: LogicalPlan,
    /// The columns as the user sees them; names may repeat.
    pub columns: Vec<OutputColumn>,
}

/// A column of a query's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// Whether it can be null.
    pub nullable: bool,
}

impl PlannedQuery {
    /// The columns as the user sees them. All are nullable, as in everything that Spark writes.
    pub fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|column| Field::new(&column.name, column.data_type.clone(), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Rows of the plan under the names that the user sees.
    pub fn named(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let fields = rows.columns().iter().zip(&self.columns);
        let fields: Vec<Field> =
            fields.map(|(values, column)| Field::new(&column.name, values.data_type().clone(), true)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), rows.columns().to_vec(), &options)
            .map_err(|error| Error::internal("a query's rows do not fit its columns").because(error))
    }
}

/// Plans one SELECT statement over `catalog`. What is wrong with it is an error of kind `Config` with Spark's condition.
pub fn plan_query(sql: &str, catalog: &Catalog, settings: &PlanSettings) -> Result<PlannedQuery> {
    let statement = dialect::parse(sql)?;
    let query = only_query(&statement)?;
    let planner = Planner::new(catalog, settings);
    let relation = planner.query(query, &Env::default())?;
    let attributes: Vec<_> = relation.columns.into_iter().filter(|column| column.access == Access::Listed).collect();
    let mut exprs: Vec<Expr> = Vec::with_capacity(attributes.len());
    for attribute in &attributes {
        let expr = column(&attribute.id);
        exprs.push(if exprs.contains(&expr) { expr.alias(planner.fresh(&attribute.name)) } else { expr });
    }
    let same = relation.plan.schema().fields().len() == exprs.len()
        && relation.plan.schema().fields().iter().zip(&exprs).all(|(field, expr)| *expr == column(field.name()));
    let plan = if same { relation.plan } else { planner.project(relation.plan, exprs)? };
    plan.check_invariants(InvariantLevel::Always).map_err(broken)?;
    let plan = place(plan, &|name| planner.fresh(name))?;
    let plan = optimise::decorrelated(plan)?;
    let columns = attributes
        .into_iter()
        .map(|attribute| OutputColumn { name: attribute.name, data_type: attribute.data_type, nullable: attribute.nullable })
        .collect();
    Ok(PlannedQuery { plan, columns })
}

/// What the number of a row's grouping set is called, before it is made unique.
pub const GROUPING_SET: &str = "spark_grouping_id";

/// The name that the user gave to the plan's column `id`.
pub fn visible_name(id: &str) -> &str {
    match id.rsplit_once('#') {
        Some((name, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => id,
    }
}

/// The query that a statement is; anything but a query is refused.
fn only_query(statement: &Statement) -> Result<&ast::Query> {
    match statement {
        Statement::Query(query) => Ok(query),
        other => {
            let text = other.to_string();
            let verb = text.split_whitespace().next().unwrap_or_default().to_uppercase();
            let message = format!("a query is one SELECT statement (or WITH … SELECT), but this is {verb}");
            Err(Error::new(ErrorKind::Config, message))
        }
    }
}
