//! What remembers between batches.
//!
//! Before a query's plan is optimised, each batch node over a stream that must remember something (aggregate, sessions, distinct, limit) is
//! offered to [`OPERATORS`], and the one that claims it puts its own logical node in its place: rules made for batches leave that
//! alone. The physical node it becomes is built once; each execution reads its input of one batch, fetches the state of the keys
//! that the input touches, writes the new state to the overlay and emits what the output mode asks for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use datafusion::catalog::Session;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;

use self::expiry::{Expiry, ExpiryIndex};
use self::join::index::RowIndex;
use self::join::keys::JoinKeys;
use self::session::open::OpenSessions;
use crate::error::Result;
use crate::plan::event_time::EventTime;
use crate::plan::{OperatorFingerprint, OperatorProgress, OutputMode};
use crate::state::memory::MemoryStore;
use crate::state::{BatchEnd, OperatorState, StateMemory, StateSchema};

pub mod aggregate;
pub mod arrivals;
mod functions;
mod grouping;
pub mod join;
pub mod deduplicate;
mod lateness;
pub mod expiry;
pub mod ending;
pub mod limit;
pub mod node;
mod numbering;
pub mod push_down;
pub mod session;
pub mod watermarks;

/// One kind of stateful operator.
#[derive(Debug)]
pub struct OperatorSpec {
    /// First part of the ids of its operators (`aggregate-0`).
    pub kind: &'static str,
    /// Spark's name of it in progress.
    pub spark_name: &'static str,
    /// The node that takes the place of a batch node over a stream, unless the batch node is none of its business.
    pub claim: fn(&LogicalPlan, &Claim<'_>) -> Result<Claimed>,
    /// The physical node of a logical node that `claim` made.
    pub plan: fn(&dyn UserDefinedLogicalNode, Planning<'_>) -> Result<Option<Planned>>,
}

/// A node that takes another's place, or nothing if the other stays.
pub type Claimed = Option<Arc<dyn UserDefinedLogicalNode>>;

/// Every stateful operator there is. A new one is its own file and one line here.
pub const OPERATORS: &[&OperatorSpec] =
    &[&aggregate::SPEC, &session::SPEC, &deduplicate::SPEC, &deduplicate::WITHIN_WATERMARK, &join::SPEC, &limit::SPEC];

/// What it means to an operator that the watermark has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnWatermark {
    /// Nothing.
    Nothing,
    /// A batch is run, even without rows: Spark runs one for every operator that could have state to remove.
    Run,
    /// The same, and keys expire.
    Evict(Expiry),
}

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
    /// The second input of a node that has two, as both.
    pub second: Option<(&'a LogicalPlan, Arc<dyn ExecutionPlan>)>,
    /// The planner's session.
    pub session: &'a dyn Session,
    /// Where physical expressions find the results of scalar subqueries.
    pub subqueries: &'a PhysicalPlanningContext,
    /// The memory of the query's state.
    pub memory: &'a Arc<StateMemory>,
    /// What a running batch says about event time, as this operator sees it.
    pub event_time: &'a Arc<EventTime>,
}

/// A physical node and the state it works on.
pub struct Planned {
    /// The node.
    pub node: Arc<dyn ExecutionPlan>,
    /// Its state, which the query's plan commits and restores; one with several stores is as many operators.
    pub operators: Vec<Arc<Operator>>,
}

/// One operator at run time: what its physical node and the query's plan share.
#[derive(Debug)]
pub struct Operator {
    spec: &'static OperatorSpec,
    fingerprint: OperatorFingerprint,
    /// The operator that this is one of several stores of.
    part_of: Option<String>,
    runs_on_watermark: bool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    held: Held,
    batch: BatchCounts,
}

/// What an operator remembers.
#[derive(Debug)]
pub struct Held {
    /// Keys and their state.
    pub state: OperatorState,
    /// When keys expire, if they do.
    pub expiring: Option<ExpiryIndex>,
    /// Which sessions a key has, if keys are sessions.
    pub sessions: Option<OpenSessions>,
    /// Which rows a join may find, if this is one side of it.
    pub rows: Option<RowIndex>,
}

/// One of several stores of an operator.
pub(crate) struct Store<'a> {
    /// The operator's id.
    operator: &'a str,
    /// What tells it from the operator's other stores.
    name: &'a str,
    /// The keys by which a join finds its rows.
    rows: Option<JoinKeys>,
}

/// What an operator did in the batch under way.
#[derive(Debug, Clone, Copy, Default)]
pub struct BatchCounts {
    /// Rows put.
    pub rows_updated: usize,
    /// Rows evicted.
    pub rows_removed: usize,
    /// Rows that came too late, counted as Spark does.
    pub rows_dropped: usize,
    /// Rows that were duplicates, where these are looked for.
    pub rows_duplicate: Option<usize>,
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
        on_watermark: OnWatermark,
        memory: &Arc<StateMemory>,
    ) -> Result<Arc<Self>> {
        Self::make(spec, (id, None, None), schema, parameters, on_watermark, memory)
    }

    /// An operator's store with empty state in memory, if it has several.
    pub(crate) fn with_store(
        spec: &'static OperatorSpec,
        store: Store<'_>,
        schema: StateSchema,
        parameters: Vec<String>,
        on_watermark: OnWatermark,
        memory: &Arc<StateMemory>,
    ) -> Result<Arc<Self>> {
        let id = format!("{}-{}", store.operator, store.name);
        Self::make(spec, (&id, Some(store.operator.to_owned()), store.rows), schema, parameters, on_watermark, memory)
    }

    fn make(
        spec: &'static OperatorSpec,
        (id, part_of, rows): (&str, Option<String>, Option<JoinKeys>),
        schema: StateSchema,
        parameters: Vec<String>,
        on_watermark: OnWatermark,
        memory: &Arc<StateMemory>,
    ) -> Result<Arc<Self>> {
        let describe = |fields: &[arrow::datatypes::FieldRef]| {
            fields.iter().map(|field| (field.name().clone(), field.data_type().to_string())).collect()
        };
        let fingerprint =
            OperatorFingerprint { id: id.to_owned(), keys: describe(schema.keys()), state: describe(schema.state()), parameters };
        let store = MemoryStore::new(schema.clone(), memory.account(id))?;
        let state = OperatorState::new(schema, Box::new(store));
        let expiring = match on_watermark {
            OnWatermark::Evict(expiry) => Some(ExpiryIndex::new(expiry, memory.account(id))),
            OnWatermark::Nothing | OnWatermark::Run => None,
        };
        let rows = rows.map(|keys| RowIndex::new(keys, memory.account(id)));
        let inner = Inner { held: Held { state, expiring, sessions: None, rows }, batch: BatchCounts::default() };
        Ok(Arc::new(Self {
            spec,
            fingerprint,
            part_of,
            runs_on_watermark: on_watermark != OnWatermark::Nothing,
            inner: Mutex::new(inner),
        }))
    }

    /// Whether `self` and `other` are stores of one operator: they have the same id but for its last part, the store's name.
    pub fn belongs_with(&self, other: &Self) -> bool {
        self.part_of.is_some() && self.part_of == other.part_of
    }

    /// The id that the plan knows it by.
    pub fn planned_id(&self) -> &str {
        self.part_of.as_deref().unwrap_or(self.id())
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
        self.runs_on_watermark
    }

    /// Where the time at which its rows expire comes from, if they do.
    pub fn expiry(&self) -> Option<Expiry> {
        self.lock().held.expiring.as_ref().map(ExpiryIndex::expiry)
    }

    /// Works on its state outside of a batch, or at the end of one.
    pub fn with_state<T>(&self, work: impl FnOnce(&mut OperatorState) -> T) -> T {
        work(&mut self.lock().held.state)
    }

    /// Loads its state from changelogs, oldest first, the first of them possibly a snapshot.
    pub fn restore(&self, changelogs: &[Bytes]) -> Result<()> {
        let Held { state, expiring, sessions, rows } = &mut self.lock().held;
        state.restore(changelogs)?;
        if let Some(rows) = rows {
            rows.restore(state.freeze())?;
            rows.end(BatchEnd::Commit);
        }
        if expiring.is_none() && sessions.is_none() {
            return Ok(());
        }
        let keys = state.schema().keys().len();
        for page in state.freeze() {
            let page = page?;
            if let Some(expiring) = expiring {
                expiring.add(&page.columns()[..keys], &expiring.expiry().times(page.columns()))?;
            }
            if let Some(sessions) = sessions {
                sessions.restore(&page)?;
            }
        }
        expiring.as_mut().map_or(Ok(()), |expiring| expiring.end(BatchEnd::Commit))?;
        sessions.as_mut().map_or(Ok(()), |sessions| sessions.end(BatchEnd::Commit))
    }

    /// Keeps an index of the sessions in its state, which is empty yet.
    fn keep_sessions(&self, sessions: OpenSessions) {
        self.lock().held.sessions = Some(sessions);
    }

    /// Empties its state.
    #[cfg(test)]
    pub(crate) fn forget(&self, memory: &Arc<StateMemory>) {
        let held = &mut self.lock().held;
        let schema = held.state.schema().clone();
        let store = MemoryStore::new(schema.clone(), memory.account(self.id())).expect("there was room for it before");
        held.state = OperatorState::new(schema, Box::new(store));
        held.expiring = held.expiring.as_ref().map(|index| ExpiryIndex::new(index.expiry(), memory.account(self.id())));
        if let (Some(sessions), Some((_, others))) = (&mut held.sessions, held.state.schema().keys().split_last()) {
            let emptied = OpenSessions::new(others.to_vec(), memory.account(self.id()));
            *sessions = emptied.expect("there was room for it before");
        }
        if let Some(rows) = &mut held.rows {
            rows.forget();
        }
    }

    /// Merges or drops what the batch under way changed, or tidies up behind it.
    pub fn end(&self, end: BatchEnd) -> Result<()> {
        let Held { state, expiring, sessions, rows } = &mut self.lock().held;
        state.end(end)?;
        sessions.as_mut().map_or(Ok(()), |sessions| sessions.end(end))?;
        if let Some(rows) = rows {
            rows.end(end);
        }
        expiring.as_mut().map_or(Ok(()), |expiring| expiring.end(end))
    }

    /// Merges a batch into the state, counting what `work` counts and how long it takes.
    pub fn update<T>(&self, work: impl FnOnce(&mut Held, &mut BatchCounts) -> Result<T>) -> Result<T> {
        let started = Instant::now();
        let mut inner = self.lock();
        let Inner { held, batch } = &mut *inner;
        let result = work(held, batch);
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
        let size = inner.held.state.size();
        let index_bytes = inner.held.expiring.as_ref().map_or(0, ExpiryIndex::bytes)
            + inner.held.sessions.as_ref().map_or(0, OpenSessions::bytes)
            + inner.held.rows.as_ref().map_or(0, RowIndex::bytes);
        let duplicates = inner.batch.rows_duplicate.map(|rows| ("numDroppedDuplicateRows".to_owned(), rows as u64));
        OperatorProgress {
            operator_name: self.spec.spark_name.to_owned(),
            num_rows_total: size.rows as u64,
            num_rows_updated: inner.batch.rows_updated as u64,
            num_rows_removed: inner.batch.rows_removed as u64,
            num_rows_dropped_by_watermark: inner.batch.rows_dropped as u64,
            memory_used_bytes: (size.bytes + index_bytes) as u64,
            all_updates_time_ms: inner.batch.updates.as_millis() as u64,
            all_removals_time_ms: 0,
            commit_time_ms: changelog.as_millis() as u64,
            custom_metrics: duplicates.into_iter().collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock was held ends the query; its state is not used again.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
