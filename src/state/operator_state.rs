//! One operator's state: a store, and what the batch under way changed in it.

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use bytes::Bytes;
use std::sync::Arc;

use super::changelog::{self, Change};
use super::{BatchEnd, Found, Frozen, Lookup, New, StateSchema, StateSize, StateStore};
use crate::error::{Error, Result};

/// State of one operator on any backend.
#[derive(Debug)]
pub struct OperatorState {
    schema: StateSchema,
    store: Box<dyn StateStore>,
    changes: Vec<Change>,
    /// The changelog of the batch before: its memory is used again once nobody else holds it.
    last: Bytes,
}

/// More memory than this is not kept for the next changelog.
const CHANGELOG_KEPT_BYTES_MAX: usize = 16 << 20;

impl OperatorState {
    /// State of the columns `schema` in `store`, which is empty.
    pub fn new(schema: StateSchema, store: Box<dyn StateStore>) -> Self {
        Self { schema, store, changes: Vec::new(), last: Bytes::new() }
    }

    /// Its columns.
    pub fn schema(&self) -> &StateSchema {
        &self.schema
    }

    /// See [`StateStore::get`].
    pub fn get(&self, keys: &[ArrayRef], rows: usize) -> Result<Found> {
        self.store.get(keys, rows)
    }

    /// See [`super::FindNew::find_new`].
    pub fn find_new(&self, keys: &[ArrayRef], rows: usize) -> Result<New> {
        self.store.find_new(keys, rows)
    }

    /// See [`StateStore::put`].
    pub fn put(&mut self, rows: RecordBatch, lookup: Option<Lookup>) -> Result<()> {
        if rows.num_rows() > 0 {
            self.store.put(&rows, lookup)?;
            self.changes.push(Change::Put(rows));
        }
        Ok(())
    }

    /// See [`StateStore::remove`].
    pub fn remove(&mut self, keys: &[ArrayRef], rows: usize) -> Result<usize> {
        let removed = self.store.remove(keys, rows)?;
        if removed > 0 {
            let schema = Arc::new(Schema::new(self.schema.keys().to_vec()));
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let rows = RecordBatch::try_new_with_options(schema, keys.to_vec(), &options)
                .map_err(|e| Error::internal("keys of another type were removed").because(e))?;
            self.changes.push(Change::Remove(rows));
        }
        Ok(removed)
    }

    /// See [`StateStore::freeze`].
    pub fn freeze(&self) -> Frozen {
        self.store.freeze()
    }

    /// See [`StateStore::size`].
    pub fn size(&self) -> StateSize {
        self.store.size()
    }

    /// What the batch under way changed; nothing if it changed nothing.
    pub fn changelog(&mut self) -> Result<Option<Bytes>> {
        if self.changes.is_empty() {
            return Ok(None);
        }
        let last = std::mem::take(&mut self.last);
        let bytes = changelog::encode(&self.changes, if last.is_unique() { last.into() } else { Vec::new() })?;
        if bytes.len() <= CHANGELOG_KEPT_BYTES_MAX {
            self.last = bytes.clone();
        }
        Ok(Some(bytes))
    }

    /// Everything held, as it is now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { schema: self.schema.clone(), rows: self.store.freeze() }
    }

    /// Merges or drops the changes of the batch under way, or tidies up behind it.
    pub fn end(&mut self, end: BatchEnd) -> Result<()> {
        self.changes.clear();
        self.store.end(end)
    }

    /// Applies changelogs, oldest first, the first of them possibly a snapshot. After an error the state must not be used.
    pub fn restore(&mut self, changelogs: &[Bytes]) -> Result<()> {
        for bytes in changelogs {
            for change in changelog::decode(bytes, &self.schema)? {
                match change {
                    Change::Put(rows) => self.store.put(&rows, None)?,
                    Change::Remove(keys) => {
                        self.store.remove(keys.columns(), keys.num_rows())?;
                    }
                }
            }
            self.store.end(BatchEnd::Commit)?;
            self.store.end(BatchEnd::Closed)?;
        }
        Ok(())
    }
}

/// An operator's state at one moment, to be written while the operator goes on.
pub struct Snapshot {
    schema: StateSchema,
    rows: Frozen,
}

impl Snapshot {
    /// All of it, in the encoding of a changelog.
    pub fn encode(self) -> Result<Bytes> {
        changelog::encode_puts(&self.schema, self.rows)
    }
}
