//! EXISTS and IN (subquery) as values.
//!
//! DataFusion knows them in filters only, where they become joins. Anywhere else they are turned into counts, which are scalar
//! subqueries: `EXISTS (q)` is `(SELECT count(1) FROM q) > 0`. As in Spark's existence join, `NULL IN (q)` is false there.

use std::sync::Arc;

use datafusion::common::Spans;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DataFusionResult;
use datafusion::functions_aggregate::count::count;
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::{Aggregate, Expr, Filter, LogicalPlan, Projection, Subquery, lit, when};

use super::columns::{Attribute, column};
use super::planner::{Planner, broken};
use crate::error::Result;

/// `expr`, which stands among `columns`, without EXISTS and IN (subquery).
pub(super) fn counted(planner: &Planner<'_>, expr: Expr, columns: &[&[Attribute]]) -> Result<Expr> {
    let done = expr.transform_up(|node| match node {
        Expr::Exists(exists) => {
            let found = positive(planner, exists.subquery.subquery)?;
            Ok(Transformed::yes(if exists.negated { Expr::Not(Box::new(found)) } else { found }))
        }
        Expr::InSubquery(within) => in_counted(planner, within, columns).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    });
    done.map(|done| done.data).map_err(broken)
}

fn in_counted(planner: &Planner<'_>, within: InSubquery, columns: &[&[Attribute]]) -> DataFusionResult<Expr> {
    let plan = within.subquery.subquery;
    let values = column(plan.schema().field(0).name());
    // Inside the subquery the left side's columns are the query's around it.
    let left = outer(*within.expr.clone(), columns)?;
    let equal = LogicalPlan::Filter(Filter::try_new(values.clone().eq(left), plan.clone())?);
    let found = positive(planner, equal.into())?;
    if !within.negated {
        return Ok(found);
    }
    let null = LogicalPlan::Filter(Filter::try_new(values.is_null(), plan.clone())?);
    // NOT IN is true of an empty list, and else of no null beside or among the values.
    when(found, lit(false))
        .when(within.expr.is_null(), Expr::Not(Box::new(positive(planner, plan)?)))
        .otherwise(Expr::Not(Box::new(positive(planner, null.into())?)))
}

fn outer(expr: Expr, columns: &[&[Attribute]]) -> DataFusionResult<Expr> {
    let known = |id: &str| columns.iter().flat_map(|layer| layer.iter()).find(|attribute| attribute.id == id);
    let done = expr.transform_up(|node| match &node {
        Expr::Column(name) => match known(&name.name) {
            Some(attribute) => Ok(Transformed::yes(attribute.outer().expr)),
            None => Ok(Transformed::no(node)),
        },
        _ => Ok(Transformed::no(node)),
    });
    done.map(|done| done.data)
}

/// Whether a subquery has rows.
fn positive(planner: &Planner<'_>, plan: Arc<LogicalPlan>) -> DataFusionResult<Expr> {
    let id = planner.fresh("count");
    let aggregate = Aggregate::try_new(plan, Vec::new(), vec![count(lit(1_i64)).alias(&id)])?;
    let plan = LogicalPlan::Projection(Projection::try_new(vec![column(&id)], LogicalPlan::Aggregate(aggregate).into())?);
    let outer_ref_columns = plan.all_out_ref_exprs();
    let subquery = Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Spans::new() };
    Ok(Expr::ScalarSubquery(subquery).gt(lit(0_i64)))
}
