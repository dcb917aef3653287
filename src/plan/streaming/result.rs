//! Stateless SQL over the rows of a finished batch: a sink's `select`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;

use super::{BatchRows, Moment, Runner, RunningBatch, build};
use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::plan::spark::relation::{PlannedQuery, optimise, plan_query};
use crate::plan::{Catalog, InputRows, PlanSettings, Scope, StreamTable};
use crate::state::StateMemory;

/// What a `select` calls the rows it reads.
const TABLE: &str = "result";

/// Stateless SQL over the rows of a finished batch, which it calls `result`: a sink's `select`.
#[derive(Debug)]
pub struct ResultPlan {
    runner: Runner,
}

impl ResultPlan {
    /// Plans `sql` over `result` with the columns of `schema`. Anything but projections and filters is refused.
    pub async fn new(sql: &str, schema: &SchemaRef, settings: &PlanSettings) -> Result<Self> {
        let table = StreamTable { name: TABLE.to_owned(), schema: schema.clone(), metadata: Vec::new() };
        let catalog = Catalog { streams: vec![table], ..Catalog::default() };
        let settings = PlanSettings { scope: Scope::MicroBatch, ..settings.clone() };
        let PlannedQuery { plan, columns } = plan_query(sql, &catalog, &settings)?;
        check(&plan)?;
        let names: Vec<_> = columns.into_iter().map(|column| column.name).collect();
        let batch = RunningBatch::default();
        let session = build::session(&batch);
        let built = build::physical(&optimise(plan)?, &session, &StateMemory::new(0), &Arc::default(), &[]).await?;
        Ok(Self { runner: Runner::new(TABLE, &session, batch, built.plan, &names) })
    }

    /// Columns of the output, named as the user sees them.
    pub fn schema(&self) -> SchemaRef {
        self.runner.schema.clone()
    }

    /// Runs it over one batch's rows.
    pub async fn run(&mut self, rows: Vec<RecordBatch>, moment: Moment) -> Result<Vec<RecordBatch>> {
        let rows = BatchRows::new(BTreeMap::from([(TABLE.to_owned(), InputRows::Held(rows))]));
        self.runner.run(rows, moment, None).await
    }
}

fn check(plan: &LogicalPlan) -> Result<()> {
    let mut refused = None;
    plan.apply(|node| match node {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::TableScan(_) => {
            Ok(TreeNodeRecursion::Continue)
        }
        other => {
            refused = Some(other.display().to_string());
            Ok(TreeNodeRecursion::Stop)
        }
    })
    .map_err(|e| from_datafusion(e, ErrorKind::Internal))?;
    match refused {
        None => Ok(()),
        Some(node) => Err(Error::config(format!("a sink's select takes each row by itself, which does not go with {node}"))),
    }
}
