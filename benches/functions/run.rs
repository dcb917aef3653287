//! Plans a call and its peer over the same rows, and runs either.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::Schema;
use datafusion::datasource::MemTable;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::{SessionConfig, SessionContext, col};
use futures::StreamExt;
use tidemill::plan::running_batch::{Moment, Running, RunningBatch};
use tidemill::plan::spark::relation::{optimise, plan_query};
use tidemill::plan::{Catalog, OutputMode, PlanSettings, Scope, StaticTable};

use super::peers::{Pair, Peer};

pub(crate) type BoxError = Box<dyn std::error::Error>;

/// The rows, ready to be read by both sides.
pub(crate) struct Bench {
    rows: Vec<RecordBatch>,
    catalog: Catalog,
    context: SessionContext,
    /// Held, as functions of the batch read it.
    _running: Running,
}

/// What is run again and again.
pub(crate) enum Runnable {
    Plan(Arc<dyn ExecutionPlan>, Arc<TaskContext>),
    Loop(fn(&RecordBatch) -> ArrayRef, Vec<RecordBatch>),
}

impl Bench {
    pub(crate) fn new(rows: Vec<RecordBatch>) -> Self {
        let schema = rows.first().map_or_else(|| Arc::new(Schema::empty()), |rows| rows.schema());
        let table = StaticTable { name: "bench".to_owned(), schema, rows: rows.clone().into() };
        let catalog = Catalog { tables: vec![table], ..Catalog::default() };
        let batch = RunningBatch::default();
        let running = batch.begin(Moment::default());
        let config = SessionConfig::new().with_target_partitions(1).with_option_extension(batch);
        Self { rows, catalog, context: SessionContext::new_with_config(config), _running: running }
    }

    /// The call as queries have it; `key` is a column to group by.
    pub(crate) async fn ours(&self, call: &str, key: Option<&str>) -> Result<Runnable, BoxError> {
        let settings = PlanSettings {
            time_zone: "UTC".into(),
            state_memory_bytes_max: 1 << 30,
            output_mode: OutputMode::Append,
            scope: Scope::MicroBatch,
        };
        let sql = match key {
            Some(key) => format!("SELECT {key}, {call} AS r FROM bench GROUP BY {key}"),
            None => format!("SELECT {call} AS r FROM bench"),
        };
        self.ours_of(&sql, &settings).await
    }

    async fn ours_of(&self, sql: &str, settings: &PlanSettings) -> Result<Runnable, BoxError> {
        let plan = optimise(plan_query(sql, &self.catalog, settings)?.plan)?;
        let physical = DefaultPhysicalPlanner::default().create_physical_plan(&plan, &self.context.state()).await?;
        Ok(Runnable::Plan(physical, self.context.task_ctx()))
    }

    /// What stands beside it.
    pub(crate) async fn peer(&self, peer: &Peer, key: Option<&str>) -> Result<Runnable, BoxError> {
        let expr = match peer {
            Peer::Loop(_, run) => return Ok(Runnable::Loop(*run, self.rows.clone())),
            Peer::DataFusion(expr) => self.resolved(expr())?.alias("r"),
        };
        let schema = self.rows.first().ok_or("no rows")?.schema();
        let table = self.context.read_table(Arc::new(MemTable::try_new(schema, vec![self.rows.clone()])?))?;
        let table = match (key, &expr) {
            (Some(key), expr) => table.aggregate(vec![col(key)], vec![expr.clone()])?,
            (None, expr) if is_aggregate(expr) => table.aggregate(vec![], vec![expr.clone()])?,
            (None, expr) => table.select(vec![expr.clone()])?,
        };
        Ok(Runnable::Plan(table.create_physical_plan().await?, self.context.task_ctx()))
    }

    fn resolved(&self, expr: Expr) -> Result<Expr, BoxError> {
        let schema = self.rows.first().ok_or("no rows")?.schema();
        let schema = datafusion::common::DFSchema::try_from(schema.as_ref().clone())?;
        Ok(expr.resolve_lambda_variables(&schema)?.data)
    }

    /// An error if ours and the peer should give the same and do not.
    pub(crate) async fn check(&self, pair: &Pair) -> Result<(), BoxError> {
        let ours = self.ours(pair.ours, None).await?.column().await?;
        let peer = self.peer(&pair.peer, None).await?.column().await?;
        if !pair.alike {
            return Ok(());
        }
        let peer = if peer.data_type() == ours.data_type() { peer } else { arrow::compute::cast(&peer, ours.data_type())? };
        match (0..ours.len().min(peer.len())).find(|row| ours.slice(*row, 1) != peer.slice(*row, 1)) {
            None if ours.len() == peer.len() => Ok(()),
            None => Err(format!("{} rows beside {}", ours.len(), peer.len()).into()),
            Some(row) => {
                let row = format!("{:?} beside {:?}", ours.slice(row, 1), peer.slice(row, 1));
                Err(format!("{} of {row}", pair.peer.shown()).into())
            }
        }
    }
}

fn is_aggregate(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_aggregate(&alias.expr),
        expr => matches!(expr, Expr::AggregateFunction(_)),
    }
}

impl Runnable {
    /// Computes everything and drops it, a batch at a time.
    pub(crate) async fn run(&self) -> Result<usize, BoxError> {
        let mut rows = 0;
        match self {
            Self::Plan(plan, context) => {
                let mut stream = plan.execute(0, context.clone())?;
                while let Some(batch) = stream.next().await {
                    rows += std::hint::black_box(batch?).num_rows();
                }
            }
            Self::Loop(run, batches) => {
                for batch in batches {
                    rows += std::hint::black_box(run(batch)).len();
                }
            }
        }
        Ok(rows)
    }

    /// The only column of the result.
    async fn column(&self) -> Result<ArrayRef, BoxError> {
        let mut arrays = Vec::new();
        match self {
            Self::Plan(plan, context) => {
                let mut stream = plan.execute(0, context.clone())?;
                while let Some(batch) = stream.next().await {
                    arrays.push(batch?.column(0).clone());
                }
            }
            Self::Loop(run, batches) => arrays.extend(batches.iter().map(run)),
        }
        let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
        Ok(arrow::compute::concat(&arrays)?)
    }
}
