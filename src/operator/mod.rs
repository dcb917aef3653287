//! What remembers between batches.
//!
//! Before a query's plan is optimised, each batch node over a stream that must remember something (aggregate, distinct, limit) is
//! offered to [`OPERATORS`], and the one that claims it puts its own logical node in its place: rules made for batches leave that
//! alone. The physical node it becomes is built once; each execution reads its input of one batch, fetches the state of the keys
//! that the input touches, writes the new state to the overlay and emits what the output mode asks for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use datafusion::catalog::Session;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;

use crate::error::Result;
use crate::plan::{OperatorFingerprint, OperatorProgress, OutputMode};
use crate::state::memory::MemoryStore;
use crate::state::{OperatorState, StateMemory, StateSchema};

pub mod aggregate;
mod grouping;
pub mod in_turn;
pub mod limit;
pub mod node;
pub mod push_down;

/// One kind of stateful operator.
#[derive(Debug)]
pub struct OperatorSpec {
    /// First part of the ids of its operators (`aggregate-0`).
    pub kind: &'static str,
    /// Spark's name of it in progress.
    pub spark_name: &'static str,
    /// Whether the watermark moves it: a batch is run for it when that has moved, even without rows.
    pub expires: bool,
    /// The node that takes the place of a batch node over a stream, unless the batch node is none of its business.
    pub claim: fn(&LogicalPlan, &Claim<'_>) -> Result<Claimed>,
    /// The physical node of a logical node that `claim` made.
    pub plan: fn(&dyn UserDefinedLogicalNode, Planning<'_>) -> Result<Option<Planned>>,
}

/// A node that takes another's place, or nothing if the other stays.
pub type Claimed = Option<Arc<dyn UserDefinedLogicalNode>>;

/// Every stateful operator there is. A new one is its own file and one line here.
pub const OPERATORS: &[&OperatorSpec] = &[&aggregate::SPEC, &limit::SPEC];

/// What a claim may depend on.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The id that the operator will have.
    pub id: &'a str,
    /// The query's output mode.
    pub mode: OutputMode,
}

/// What a physical node is made from.
pub struct Planning<'a> {
    /// The input as a logical plan.
    pub logical_input: &'a LogicalPlan,
    /// The input as a physical plan.
    pub input: Arc<dyn ExecutionPlan>,
    /// The planner's session.
    pub session: &'a dyn Session,
    /// Where physical expressions find the results of scalar subqueries.
    pub subqueries: &'a PhysicalPlanningContext,
    /// The memory of the query's state.
    pub memory: &'a Arc<StateMemory>,
}

/// A physical node and the state it works on.
pub struct Planned {
    /// The node.
    pub node: Arc<dyn ExecutionPlan>,
    /// Its state, which the query's plan commits and restores.
    pub operator: Arc<Operator>,
}

/// One operator at run time: what its physical node and the query's plan share.
#[derive(Debug)]
pub struct Operator {
    spec: &'static OperatorSpec,
    fingerprint: OperatorFingerprint,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: OperatorState,
    batch: BatchCounts,
}

/// What an operator did in the batch under way.
#[derive(Debug, Clone, Copy, Default)]
pub struct BatchCounts {
    /// Rows put.
    pub rows_updated: usize,
    /// Rows evicted.
    pub rows_removed: usize,
    /// Time spent merging.
    pub updates: Duration,
}

impl Operator {
    /// An operator with empty state in memory.
    pub fn new(
        spec: &'static OperatorSpec,
        id: &str,
        schema: StateSchema,
        parameters: Vec<String>,
        memory: &Arc<StateMemory>,
    ) -> Result<Arc<Self>> {
        let describe = |fields: &[arrow::datatypes::FieldRef]| {
            fields.iter().map(|field| (field.name().clone(), field.data_type().to_string())).collect()
        };
        let fingerprint =
            OperatorFingerprint { id: id.to_owned(), keys: describe(schema.keys()), state: describe(schema.state()), parameters };
        let store = MemoryStore::new(schema.clone(), memory.account(id))?;
        let state = OperatorState::new(schema, Box::new(store));
        Ok(Arc::new(Self { spec, fingerprint, inner: Mutex::new(Inner { state, batch: BatchCounts::default() }) }))
    }

    /// Its id within the query.
    pub fn id(&self) -> &str {
        &self.fingerprint.id
    }

    /// What a checkpoint remembers of it.
    pub fn fingerprint(&self) -> &OperatorFingerprint {
        &self.fingerprint
    }

    /// Whether it has something to do when the watermark moves, even without rows.
    pub fn expires(&self) -> bool {
        self.spec.expires
    }

    /// Works on its state outside of a batch, or at the end of one.
    pub fn with_state<T>(&self, work: impl FnOnce(&mut OperatorState) -> T) -> T {
        work(&mut self.lock().state)
    }

    /// Merges a batch into the state, counting what `work` counts and how long it takes.
    pub fn update<T>(&self, work: impl FnOnce(&mut OperatorState, &mut BatchCounts) -> Result<T>) -> Result<T> {
        let started = Instant::now();
        let mut inner = self.lock();
        let Inner { state, batch } = &mut *inner;
        let result = work(state, batch);
        batch.updates += started.elapsed();
        result
    }

    /// Forgets what the last batch counted.
    pub fn begin_batch(&self) {
        self.lock().batch = BatchCounts::default();
    }

    /// Progress of the batch under way. `changelog` is how long its encoding took.
    pub fn progress(&self, changelog: Duration) -> OperatorProgress {
        let inner = self.lock();
        let size = inner.state.size();
        OperatorProgress {
            operator_name: self.spec.spark_name.to_owned(),
            num_rows_total: size.rows as u64,
            num_rows_updated: inner.batch.rows_updated as u64,
            num_rows_removed: inner.batch.rows_removed as u64,
            num_rows_dropped_by_watermark: 0,
            memory_used_bytes: size.bytes as u64,
            all_updates_time_ms: inner.batch.updates.as_millis() as u64,
            all_removals_time_ms: 0,
            commit_time_ms: changelog.as_millis() as u64,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock was held ends the query; its state is not used again.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
