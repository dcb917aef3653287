//! A handle on a running query.

use arrow::array::RecordBatch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Session;
use crate::engine::progress::Progress;
use crate::engine::start::Running;
use crate::engine::status::{QueryMonitor, QueryStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::PlanSettings;
use crate::plan::running_batch::Moment;
use crate::plan::streaming::ResultPlan;
use crate::sink::memory::MemoryTable;

/// A query that runs until it ends, fails or is stopped. Dropping the handle does not stop it.
pub struct StreamingQuery {
    session: Session,
    monitor: QueryMonitor,
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
    table: Option<MemoryTable>,
}

impl StreamingQuery {
    pub(super) fn new(session: Session, running: Running, table: Option<MemoryTable>) -> Self {
        Self { session, monitor: running.monitor, stop: running.stop, task: running.task, table }
    }

    /// Waits until the query has ended; the error is why it failed.
    pub async fn await_termination(self) -> Result<()> {
        let outcome = self.task.await.unwrap_or_else(|end| Err(Error::internal("the query's task was ended").because(end)));
        self.session.state().forget(&self.monitor.status().name);
        outcome
    }

    /// Stops the query after its current batch and waits for that.
    pub async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.await_termination().await
    }

    /// Where the query is in its life.
    pub fn status(&self) -> QueryStatus {
        self.monitor.status()
    }

    /// The last batches' progress, oldest first, as Spark's `recentProgress`.
    pub fn recent_progress(&self) -> Vec<Progress> {
        self.monitor.progress().all()
    }

    /// The newest progress.
    pub fn last_progress(&self) -> Option<Progress> {
        self.monitor.progress().last()
    }

    /// The table of its memory sink, if it has one.
    pub fn table(&self) -> Option<&MemoryTable> {
        self.table.as_ref()
    }

    /// Runs SQL over the table of its memory sink, which the SQL calls `result`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] without a memory sink or for wrong SQL.
    pub async fn sql(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let table = self.table.as_ref().ok_or_else(|| Error::config("this query has no memory sink to read"))?;
        let (schema, rows) = table.held();
        let schema = schema.ok_or_else(|| Error::new(ErrorKind::Unavailable, "the query has not opened its sink yet"))?;
        let settings: PlanSettings = self.session.state().settings();
        ResultPlan::new(sql, &schema, &settings).await?.run(rows, Moment::default()).await
    }
}
