//! A query's plan, built once and run for every batch.
//!
//! [`StreamingPlan`] owns the physical plan and the state of its operators. A run applies the batch's changes on an overlay of
//! that state; the engine merges it with [`StreamingPlan::commit`] once the batch is decided, or drops it.

mod build;

mod result;
mod static_side;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};
use bytes::Bytes;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use tracing::warn;

pub use self::result::ResultPlan;
use super::catalog::{BatchRows, scan_requests, stream_of};
use super::event_time::{
    self, EventTime, EventTimeReport, Watermark, below_watermarks, without_null_keys, without_unread, without_unread_in_joins,
};
use super::explain::{Explained, Keeper, Kept};
use super::function::exec::CallExec;
use super::running_batch::{Moment, RunningBatch};
use super::spark::relation::{optimise, plan_query};
use super::static_table::TablesInUse;
use super::{
    BatchInput, BatchOutput, Catalog, InputRows, OperatorFingerprint, OperatorProgress, PlanSettings, QueryText, ScanRequest,
    Scope, output_mode,
};
use crate::error::{Error, ErrorKind, Result, from_datafusion};
use crate::function::QueryCalls;
use crate::operator::Operator;
use crate::operator::ending::Ending;
use crate::operator::node::collect_partitions;
use crate::operator::push_down::key_filters;
use crate::state::{BatchEnd, Snapshot, StateMemory};
use crate::watermark::WatermarkPolicy;

/// One query, planned.
///
/// # Contract
/// - Built once per query start; [`run`](Self::run) plans nothing.
/// - After a `run`, exactly one of `commit` and `abort` follows, whether the run succeeded or not (a failed run has already
///   dropped its overlay; `abort` is then harmless).
#[derive(Debug)]
pub struct StreamingPlan {
    runner: Runner,
    scans: Vec<ScanRequest>,
    scope: Scope,
    /// Downstream first.
    operators: Vec<Arc<Operator>>,
    /// How far the watermark that each operator sees lies behind the query's, if it sees one.
    lags_ms: BTreeMap<String, Option<i64>>,
    watermarks: Vec<(String, Watermark)>,
    event_time: Arc<EventTime>,
    memory: Arc<StateMemory>,
    tables: TablesInUse,
    explained: Explained,
}

impl StreamingPlan {
    /// Plans `query`, called `name` in messages, and refuses what Spark refuses (kind `Config`, with Spark's condition).
    pub async fn new(name: &str, query: &QueryText, catalog: &Catalog, settings: &PlanSettings) -> Result<Self> {
        let batch = RunningBatch::default();
        let session = build::session(&batch);
        let (written, names) = match query {
            QueryText::Sql(sql) => {
                let planned = plan_query(sql, catalog, settings)?;
                (planned.plan, planned.columns.into_iter().map(|column| column.name).collect::<Vec<_>>())
            }
            QueryText::Plan(plan) => {
                let plan = build::analyze(plan.as_ref().clone(), &session)?;
                let names = plan.schema().fields().iter().map(|field| field.name().clone()).collect();
                (plan, names)
            }
        };
        let written = without_unread_in_joins(written)?;
        output_mode::check(&written, settings)?;
        let watermarks = event_time::watermarks(&written);
        let filtered = without_null_keys(written.clone())?;
        let (incremental, ids) = match settings.scope {
            Scope::Query => {
                let moved = key_filters(filtered)?;
                output_mode::check_join_keys(&moved)?;
                build::make_stateful(below_watermarks(moved)?, settings.output_mode)?
            }
            Scope::MicroBatch => (below_watermarks(filtered)?, Vec::new()),
        };
        let optimized = match query {
            QueryText::Sql(_) => optimise(incremental)?,
            QueryText::Plan(_) => session.optimize(&incremental).map_err(|e| from_datafusion(e, ErrorKind::Config))?,
        };
        let optimized = without_unread(optimized)?;
        let memory = StateMemory::new(settings.state_memory_bytes_max);
        let event_time = Arc::new(EventTime::default());
        let built = build::physical(&optimized, &session, &memory, &event_time, &ids).await?;
        let lags_ms = built.operators.iter().map(|seen| (seen.operator.id().to_owned(), seen.lag_ms)).collect();
        let explained = Explained::new(&written, &optimized, &built.plan);
        let scans = requests(&written, &optimized)?;
        let tables = TablesInUse::of(&written)?;
        let runner = Runner::new(name, &session, batch, built.plan, &names);
        let operators = built.operators.into_iter().map(|seen| seen.operator).collect();
        Ok(Self { runner, scans, scope: settings.scope, operators, lags_ms, watermarks, event_time, memory, tables, explained })
    }

    /// Columns of the output, named as the user sees them.
    pub fn schema(&self) -> SchemaRef {
        self.runner.schema.clone()
    }

    /// What a batch must bring, one entry per source.
    pub fn scans(&self) -> &[ScanRequest] {
        &self.scans
    }

    /// The static tables it reads whose rows may be replaced, by name.
    pub fn replaceable_tables(&self) -> impl Iterator<Item = &str> {
        self.tables.names()
    }

    /// From the next run on, static tables have the rows that they have now; until it is called again, whatever becomes of them.
    pub fn use_latest_tables(&mut self) {
        if self.tables.use_latest() {
            self.runner.forget_static_sides();
        }
    }

    /// The watermarks that move the query's, each with its id; outer ones first.
    pub fn watermarks(&self) -> &[(String, Watermark)] {
        &self.watermarks
    }

    /// Whether state expires as the watermark moves, so that a batch without rows has something to do.
    pub fn expires(&self) -> bool {
        !self.watermarks.is_empty() && self.operators.iter().any(|operator| operator.expires())
    }

    /// The functions that a run asks the outside world with.
    pub fn functions(&self) -> BTreeSet<String> {
        let mut called = BTreeSet::new();
        let walked = self.runner.plan.apply(|node| {
            called.extend(node.downcast_ref::<CallExec>().map(|call| call.function().to_owned()));
            Ok(TreeNodeRecursion::Continue)
        });
        debug_assert!(walked.is_ok(), "walking a plan fails only where the visitor does");
        called
    }

    /// Whether a batch hands over the rows that it sets aside (late, too far in the future, a failed call); it counts them anyway.
    pub fn keep_set_aside(&self, keep: bool) {
        self.event_time.keep_rows(keep);
    }

    /// What a checkpoint must remember of each stateful operator, the downstream operator first.
    pub fn fingerprints(&self) -> Vec<OperatorFingerprint> {
        self.operators.iter().map(|operator| operator.fingerprint().clone()).collect()
    }

    /// The ids of the operators, as [`BatchOutput::operators`] has them.
    pub fn operator_ids(&self) -> impl Iterator<Item = &str> {
        let is_first = |at: usize| at == 0 || !self.operators[at - 1].belongs_with(&self.operators[at]);
        self.operators.iter().enumerate().filter(move |(at, _)| is_first(*at)).map(|(_, operator)| operator.planned_id())
    }

    /// How the state of those operators ends that forget, by operator.
    pub fn endings(&self) -> BTreeMap<String, Ending> {
        let endings = self.operators.iter().filter_map(|operator| {
            let lag_ms = self.lag_ms(operator).unwrap_or(0);
            Some((operator.id().to_owned(), Ending { expiry: operator.expiry()?, lag_ms }))
        });
        endings.collect()
    }

    fn lag_ms(&self, operator: &Operator) -> Option<i64> {
        self.lags_ms.get(operator.id()).copied().flatten()
    }

    /// The logical, incremental and physical plan, which watermark the query has under `policy`, and what each operator keeps for how
    /// long.
    pub fn explain(&self, policy: WatermarkPolicy) -> String {
        let operators = self.operators.iter().map(|operator| Keeper {
            fingerprint: operator.fingerprint(),
            expires: operator.expires(),
            lag_ms: self.lag_ms(operator),
        });
        let operators = operators.collect::<Vec<_>>();
        let kept = Kept { watermarks: &self.watermarks, policy, operators: &operators, endings: &self.endings() };
        self.explained.text(&self.scans, &kept)
    }

    /// What it does, as a tree of `name`, `detail` and `inputs` that a page can draw.
    pub fn picture(&self) -> &serde_json::Value {
        self.explained.picture()
    }

    /// Loads one operator's state from a snapshot (or nothing) followed by later changelogs, oldest first. Kind `Corrupt` if the
    /// bytes are damaged or belong to another plan, `Limit` if the state does not fit.
    pub fn restore(&mut self, operator: &str, changelog: &[Bytes]) -> Result<()> {
        self.operator(operator)?.restore(changelog)
    }

    /// Runs one batch on an overlay of the state.
    pub async fn run(&mut self, input: BatchInput) -> Result<BatchOutput> {
        // A run that was cancelled half-way has left changes behind.
        self.abort();
        for operator in &self.operators {
            operator.begin_batch();
        }
        self.event_time.begin(input.batch_time_us, input.watermark_ms, input.late_watermark_ms);
        if self.scope == Scope::MicroBatch && input.rows.values().all(InputRows::is_empty) {
            return Ok(BatchOutput {
                rows: vec![RecordBatch::new_empty(self.schema())],
                state: Vec::new(),
                operators: Vec::new(),
                event_time: EventTimeReport::default(),
            });
        }
        let rows = BatchRows::new(input.rows).with_tables(self.tables.rows());
        let moment = Moment { time_us: input.batch_time_us, seed: input.seed };
        let ran = self.runner.run(rows, moment, input.calls).await;
        ran.and_then(|rows| self.output(rows)).inspect_err(|_| self.abort())
    }

    fn output(&self, rows: Vec<RecordBatch>) -> Result<BatchOutput> {
        let (mut state, mut operators) = (Vec::new(), Vec::<OperatorProgress>::new());
        let mut before: Option<&Operator> = None;
        for operator in &self.operators {
            let started = Instant::now();
            let changelog = operator.with_state(|state| state.changelog())?;
            state.extend(changelog.map(|bytes| (operator.id().to_owned(), bytes)));
            let progress = operator.progress(started.elapsed());
            match operators.last_mut() {
                Some(whole) if before.is_some_and(|before| before.belongs_with(operator)) => whole.add_store(&progress),
                _ => operators.push(progress),
            }
            before = Some(operator);
        }
        Ok(BatchOutput { rows, state, operators, event_time: self.event_time.take_report() })
    }

    /// Merges the overlay of the last run.
    pub fn commit(&mut self) {
        self.end(BatchEnd::Commit);
    }

    /// Drops the overlay of the last run.
    pub fn abort(&mut self) {
        self.end(BatchEnd::Abort);
    }

    /// Tidies up the state behind a batch whose output has gone out.
    pub fn close(&mut self) {
        self.end(BatchEnd::Closed);
    }

    fn end(&self, end: BatchEnd) {
        for operator in &self.operators {
            if let Err(error) = operator.end(end) {
                // Only our own mistake can make this fail, and what the batch decided stands.
                warn!(operator = operator.id(), error = error.chain(), "state was not tidied up");
            }
        }
    }

    /// Empties the state of every operator: as good as planned anew.
    #[cfg(test)]
    pub(crate) fn forget(&mut self) {
        self.operators.iter().for_each(|operator| operator.forget(&self.memory));
    }

    /// One operator's whole state as it is now, to be encoded beside the next batches. Called between a commit and the next run.
    pub fn snapshot(&self, operator: &str) -> Result<Snapshot> {
        Ok(self.operator(operator)?.with_state(|state| state.snapshot()))
    }

    /// One operator's state as rows: key columns, then state columns.
    pub fn state_rows(&self, operator: &str) -> Result<RecordBatch> {
        self.operator(operator)?.with_state(|state| {
            concat_batches(state.schema().columns(), &state.freeze().collect::<Result<Vec<_>>>()?)
                .map_err(|e| Error::new(ErrorKind::Limit, "the state is too large to be shown at once").because(e))
        })
    }

    /// Bytes held by the state of all operators, indexes included.
    pub fn memory_used_bytes(&self) -> usize {
        self.memory.used()
    }

    fn operator(&self, id: &str) -> Result<&Operator> {
        let found = self.operators.iter().find(|operator| operator.id() == id);
        found.map(Arc::as_ref).ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("the query has no operator {id}")))
    }
}

/// What each source must bring. A source that optimisation has found to be without effect is still read, without columns.
fn requests(written: &LogicalPlan, optimized: &LogicalPlan) -> Result<Vec<ScanRequest>> {
    let mut requests = scan_requests(optimized)?;
    let mut named = BTreeSet::new();
    let walked = written.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            named.extend(stream_of(scan).map(|stream| stream.name().to_owned()));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map_err(|e| from_datafusion(e, ErrorKind::Internal))?;
    for source in named {
        if !requests.iter().any(|request| request.source == source) {
            requests.push(ScanRequest {
                source,
                projection: Vec::new(),
                metadata: Vec::new(),
                filter: Vec::new(),
                filter_text: Vec::new(),
                scans: 0,
            });
        }
    }
    requests.sort_by(|a, b| a.source.cmp(&b.source));
    Ok(requests)
}

/// A physical plan that is run again and again.
#[derive(Debug)]
struct Runner {
    name: String,
    schema: SchemaRef,
    plan: Arc<dyn ExecutionPlan>,
    session: SessionState,
    batch: RunningBatch,
    runs: u64,
    /// Whether hash tables made of static tables are from rows that have changed.
    static_sides_changed: bool,
}

impl Runner {
    /// `plan`, whose columns the user calls `names`. All are nullable, as in everything that Spark writes.
    fn new(name: &str, session: &SessionState, batch: RunningBatch, plan: Arc<dyn ExecutionPlan>, names: &[String]) -> Self {
        let planned = plan.schema();
        let fields = planned.fields().iter().zip(names);
        let fields: Vec<Field> = fields.map(|(field, name)| Field::new(name, field.data_type().clone(), true)).collect();
        Self {
            name: name.to_owned(),
            schema: Arc::new(Schema::new(fields)),
            plan,
            session: session.clone(),
            batch,
            runs: 0,
            static_sides_changed: false,
        }
    }

    /// The next run makes the hash tables of static tables anew.
    fn forget_static_sides(&mut self) {
        self.static_sides_changed = true;
    }

    /// Rows of one batch; at least one, possibly empty, record batch.
    async fn run(&mut self, rows: BatchRows, moment: Moment, calls: Option<QueryCalls>) -> Result<Vec<RecordBatch>> {
        let rerun = static_side::rerun(&self.plan, self.runs, self.static_sides_changed);
        self.plan = rerun.map_err(|e| from_datafusion(e, ErrorKind::Internal))?;
        self.static_sides_changed = false;
        self.runs += 1;
        let running = self.batch.begin(moment);
        let mut config = self.session.config().clone().with_extension(Arc::new(rows));
        if let Some(calls) = calls {
            config = config.with_extension(Arc::new(calls));
        }
        // Functions are in the plan; the context's tables of them are for plans that arrive as bytes.
        let context = TaskContext::new(
            None,
            self.name.clone(),
            config,
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            self.session.runtime_env().clone(),
        );
        let rows = collect_partitions(&self.plan, &Arc::new(context)).await.map_err(|e| from_datafusion(e, ErrorKind::Data))?;
        drop(running);
        let mut renamed = Vec::with_capacity(rows.len().max(1));
        for rows in rows {
            let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
            let rows = RecordBatch::try_new_with_options(self.schema.clone(), rows.columns().to_vec(), &options);
            renamed.push(rows.map_err(|e| Error::internal("the plan yielded other columns than planned").because(e))?);
        }
        if renamed.is_empty() {
            renamed.push(RecordBatch::new_empty(self.schema.clone()));
        }
        Ok(renamed)
    }
}

#[cfg(test)]
mod tests;
