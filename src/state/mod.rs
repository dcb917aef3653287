//! Where operators remember: keyed rows that outlive a batch.
//!
//! A [`StateStore`] maps key rows to state rows. [`OperatorState`] wraps the one of an operator and keeps what a batch changed, so
//! that a batch can be merged, dropped, written as a changelog and read back, whatever the backend. The backend is
//! [`memory::MemoryStore`]: a log of Arrow pages with an index over them. [`changelog`] is the encoding on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};

use crate::error::{Error, ErrorKind, Result};

pub mod changelog;
pub mod memory;
mod operator_state;
mod inspect;

pub use inspect::rows_of_changelogs;
pub use operator_state::{OperatorState, Snapshot};

/// Keyed rows with a batch's changes on top.
///
/// # Contract
/// - Keys are equal as Spark groups them: null equals null, NaN equals NaN. A store without key columns has at most one row.
/// - `put`, `remove`, `get` and `freeze` see the changes of the batch under way at once; [`BatchEnd::Abort`] undoes all of them
///   since the last end, [`BatchEnd::Commit`] makes them final.
/// - `put` fails with kind `Limit` before it takes memory that is not there. After any error the batch is aborted, which restores
///   what was held.
/// - The cost of a batch grows with the keys it touches, amortised, not with the keys held.
pub trait StateStore: FindNew + Send + std::fmt::Debug {
    /// The state of those of `keys` that are held. All columns of `keys` have `rows` rows.
    fn get(&self, keys: &[ArrayRef], rows: usize) -> Result<Found>;
    /// Sets the state of the keys in `rows` (key columns, then state columns), replacing what is there; the last one wins if a
    /// key is there twice. The `lookup` of a get of just these keys, which stand in the order it gave them, saves finding them
    /// again; one that is older than another change is not used.
    fn put(&mut self, rows: &RecordBatch, lookup: Option<Lookup>) -> Result<()>;
    /// Forgets those of `keys` that are held, and says how many were.
    fn remove(&mut self, keys: &[ArrayRef], rows: usize) -> Result<usize>;
    /// Everything held, as it is now: key columns, then state columns, in pages of bounded size and in no particular order. It is
    /// put together page by page as it is read, beside later changes and on any thread.
    fn freeze(&self) -> Frozen;
    /// Ends the batch under way.
    fn end(&mut self, end: BatchEnd) -> Result<()>;
    /// What is held, the changes of the batch under way included.
    fn size(&self) -> StateSize;
}

/// Telling new keys from known ones, without a look at anything's state.
pub trait FindNew {
    /// Those of `keys` that are not held, each once. All columns of `keys` have `rows` rows.
    fn find_new(&self, keys: &[ArrayRef], rows: usize) -> Result<New>;
}

/// What [`FindNew::find_new`] found.
#[derive(Debug)]
pub struct New {
    /// The first row of each new key, ascending.
    pub rows: UInt32Array,
    /// For a put of these keys in that order.
    pub lookup: Lookup,
}

/// All rows of a store at one moment, page by page.
pub type Frozen = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// What a [`StateStore::get`] found.
#[derive(Debug)]
pub struct Found {
    /// The keys asked for by number: those that are held first, both parts ascending. `None` if that is the order they came in.
    pub order: Option<UInt32Array>,
    /// How many are held.
    pub held: usize,
    /// The state columns of those held, in that order.
    pub state: Vec<ArrayRef>,
    /// For a put of these keys in that order.
    pub lookup: Lookup,
}

/// Where a store found keys; only the store that made it reads it.
#[derive(Debug)]
pub struct Lookup(memory::Located);

/// How a batch ends for a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchEnd {
    /// Its changes stay.
    Commit,
    /// Its changes are undone.
    Abort,
    /// It was committed and its output has gone out: there is time to tidy up.
    Closed,
}

/// How much a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateSize {
    /// Keys.
    pub rows: usize,
    /// Memory, index included.
    pub bytes: usize,
}

/// Columns of an operator's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSchema {
    columns: SchemaRef,
    keys: usize,
}

impl StateSchema {
    /// Key columns, then state columns.
    pub fn new(keys: Vec<FieldRef>, state: Vec<FieldRef>) -> Self {
        let count = keys.len();
        Self { columns: Arc::new(Schema::new(keys.into_iter().chain(state).collect::<Vec<_>>())), keys: count }
    }

    /// All columns.
    pub fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// The key columns.
    pub fn keys(&self) -> &[FieldRef] {
        &self.columns.fields()[..self.keys]
    }

    /// The state columns.
    pub fn state(&self) -> &[FieldRef] {
        &self.columns.fields()[self.keys..]
    }
}

/// The memory that all stores of a query share.
#[derive(Debug)]
pub struct StateMemory {
    bytes_max: usize,
    used: AtomicUsize,
}

impl StateMemory {
    /// `bytes_max` for all stores together.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, used: AtomicUsize::new(0) })
    }

    /// Bytes held by all stores.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// An account of the operator `owner` on this memory.
    pub fn account(self: &Arc<Self>, owner: &str) -> MemoryAccount {
        MemoryAccount { memory: self.clone(), owner: owner.to_owned(), held: 0 }
    }
}

/// One store's share of a [`StateMemory`]; given back when it is dropped.
#[derive(Debug)]
pub struct MemoryAccount {
    memory: Arc<StateMemory>,
    owner: String,
    held: usize,
}

impl MemoryAccount {
    /// Bytes in this account.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes `bytes` more, or fails with kind `Limit` and takes nothing.
    pub fn grow(&mut self, bytes: usize) -> Result<()> {
        let max = self.memory.bytes_max;
        self.memory
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| used.checked_add(bytes).filter(|next| *next <= max))
            .map_err(|used| {
                let wanted = self.held.saturating_add(bytes);
                Error::new(
                    ErrorKind::Limit,
                    format!(
                        "the state of {} needs {wanted} bytes, {used} of {max} are in use by all operators of the query: raise limits.state_memory",
                        self.owner
                    ),
                )
            })?;
        self.held += bytes;
        Ok(())
    }

    /// Takes `bytes` more even past the limit: for work that gives back more than it takes.
    pub(crate) fn grow_unchecked(&mut self, bytes: usize) {
        self.memory.used.fetch_add(bytes, Ordering::Relaxed);
        self.held += bytes;
    }

    /// Gives `bytes` back.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.held);
        self.memory.used.fetch_sub(bytes, Ordering::Relaxed);
        self.held -= bytes;
    }
}

impl Drop for MemoryAccount {
    fn drop(&mut self) {
        self.shrink(self.held);
    }
}

#[cfg(test)]
mod tests;
