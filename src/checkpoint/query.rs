//! The checkpoint of one query.

use std::path::Path;

use bytes::Bytes;
use serde_json::Value;

use super::storage::SharedVfs;
use super::{BatchId, CheckpointRoot, Identity, PlannedBatch, PreparedBatch, Recovered};
use crate::error::{Error, Result};

/// The checkpoint of one query, open for its engine alone.
#[derive(Debug)]
pub struct Checkpoint {
    query_id: String,
    epoch: u64,
}

impl Checkpoint {
    /// Opens (or creates) the checkpoint of `query` and says what is in it.
    pub fn open(_root: &CheckpointRoot, _query: &str, _identity: &Identity) -> Result<(Self, Recovered)> {
        Err(Error::internal("the log is being written"))
    }

    /// The checkpoint's UUID, 32 hex digits.
    pub fn query_id(&self) -> &str {
        &self.query_id
    }

    /// How often it was opened.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Logs a plan; durable with `prepared` at the latest. A batch may be planned again until it is prepared.
    pub fn planned(&mut self, _plan: &PlannedBatch) -> Result<()> {
        Err(Error::internal("the log is being written"))
    }

    /// The decision point: durable when it returns.
    pub fn prepared(&mut self, _prepared: &PreparedBatch) -> Result<()> {
        Err(Error::internal("the log is being written"))
    }

    /// Logs that every sink has the batch; durable with the next `prepared` or `sync`.
    pub fn committed(&mut self, _batch: BatchId, _receipts: Value) -> Result<()> {
        Err(Error::internal("the log is being written"))
    }

    /// The newest batch known to be committed even after a power cut: sources may forget what it read.
    pub fn committed_durable(&self) -> Option<BatchId> {
        None
    }

    /// Makes everything logged durable: after a second of idleness, and at a stop.
    pub fn sync(&mut self) -> Result<()> {
        Err(Error::internal("the log is being written"))
    }

    /// Logs an operator's whole state as of `batch`, the last prepared one.
    pub fn snapshot(&mut self, _batch: BatchId, _operator: &str, _bytes: &Bytes) -> Result<()> {
        Err(Error::internal("the log is being written"))
    }

    /// Bytes of an operator's changes since its newest snapshot.
    pub fn bytes_since_snapshot(&self, _operator: &str) -> u64 {
        0
    }

    /// Whether a snapshot of the operator would shorten recovery or free log space by enough to be worth its size.
    pub fn wants_snapshot(&self, _operator: &str) -> bool {
        false
    }

    /// Forgets what no recovery needs, keeping the last `batches` batches for inspection.
    pub fn retain(&mut self, _batches: u64) -> Result<()> {
        Err(Error::internal("the log is being written"))
    }
}

/// What of `identity` does not fit the checkpoint of `query` under `root`, a sentence per part; empty when it fits or there is none.
/// Changes nothing and takes no lock.
pub fn compare(_vfs: &SharedVfs, _root: &Path, _query: &str, _identity: &Identity) -> Result<Vec<String>> {
    Err(Error::internal("the log is being written"))
}
