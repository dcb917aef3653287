//! One operator's state: a store, and what the batch under way changed in it.

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use bytes::Bytes;
use std::sync::Arc;

use super::changelog::{self, Change};
use super::{BatchEnd, Found, StateSchema, StateSize, StateStore};
use crate::error::{Error, Result};

/// State of one operator on any backend.
#[derive(Debug)]
pub struct OperatorState {
    schema: StateSchema,
    store: Box<dyn StateStore>,
    changes: Vec<Change>,
}

impl OperatorState {
    /// State of the columns `schema` in `store`, which is empty.
    pub fn new(schema: StateSchema, store: Box<dyn StateStore>) -> Self {
        Self { schema, store, changes: Vec::new() }
    }

    /// Its columns.
    pub fn schema(&self) -> &StateSchema {
        &self.schema
    }

    /// See [`StateStore::get`].
    pub fn get(&self, keys: &[ArrayRef], rows: usize) -> Result<Found> {
        self.store.get(keys, rows)
    }

    /// See [`StateStore::put`].
    pub fn put(&mut self, rows: RecordBatch) -> Result<()> {
        if rows.num_rows() > 0 {
            self.store.put(&rows)?;
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

    /// See [`StateStore::rows`].
    pub fn rows(&self) -> Result<Vec<RecordBatch>> {
        self.store.rows()
    }

    /// See [`StateStore::size`].
    pub fn size(&self) -> StateSize {
        self.store.size()
    }

    /// What the batch under way changed; nothing if it changed nothing.
    pub fn changelog(&self) -> Result<Option<Bytes>> {
        if self.changes.is_empty() { Ok(None) } else { changelog::encode(&self.changes).map(Some) }
    }

    /// Everything held, in the encoding of a changelog.
    pub fn snapshot(&self) -> Result<Bytes> {
        let puts: Vec<_> = self.store.rows()?.into_iter().map(Change::Put).collect();
        changelog::encode(&puts)
    }

    /// Merges or drops the changes of the batch under way.
    pub fn end(&mut self, end: BatchEnd) -> Result<()> {
        self.changes.clear();
        self.store.end(end)
    }

    /// Applies changelogs, oldest first, the first of them possibly a snapshot. After an error the state must not be used.
    pub fn restore(&mut self, changelogs: &[Bytes]) -> Result<()> {
        for bytes in changelogs {
            for change in changelog::decode(bytes, &self.schema)? {
                match change {
                    Change::Put(rows) => self.store.put(&rows)?,
                    Change::Remove(keys) => {
                        self.store.remove(keys.columns(), keys.num_rows())?;
                    }
                }
            }
            self.store.end(BatchEnd::Commit)?;
        }
        Ok(())
    }
}
