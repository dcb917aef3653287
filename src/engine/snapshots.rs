//! Snapshots of operators whose changelog has grown long, so that a restart stays short.
//!
//! One at a time, beside the batches: the state is frozen between two batches, encoded and written by a task of its own, and named in
//! the log at the end of a later batch. Until then a crash loses nothing but the work. One that failed is begun anew and waited for,
//! so that a query whose disk is full pauses instead of running on without ever getting a snapshot.

use tokio::task::{JoinError, JoinHandle};

use super::query::Query;
use crate::checkpoint::{SnapshotWriter, WrittenSnapshot};
use crate::error::{Error, Result};
use crate::state::Snapshot;

/// The snapshot that is being written, if there is one.
#[derive(Default)]
pub(super) struct Snapshots {
    running: Option<JoinHandle<Result<WrittenSnapshot>>>,
    /// The last one failed: the next is waited for.
    has_failed: bool,
}

impl Snapshots {
    /// Waits for the running one and gives it, if there is one.
    async fn join(&mut self) -> Option<Result<WrittenSnapshot>> {
        let running = self.running.as_mut()?;
        let joined = running.await;
        self.running = None;
        Some(
            joined
                .unwrap_or_else(|cause: JoinError| Err(Error::internal("a snapshot was not written to its end").because(cause))),
        )
    }

    fn is_ready(&self) -> bool {
        self.running.as_ref().is_some_and(|running| self.has_failed || running.is_finished())
    }
}

impl Query {
    /// Logs the snapshot that is ready, and begins the next one that is due.
    pub(super) async fn snapshot_if_due(&mut self) -> Result<()> {
        loop {
            self.log_snapshot().await?;
            if self.snapshots.running.is_some() || !self.begin_snapshot()? || !self.snapshots.has_failed {
                return Ok(());
            }
        }
    }

    /// Logs the snapshot that is ready, if one is.
    pub(super) async fn log_snapshot(&mut self) -> Result<()> {
        if self.snapshots.is_ready() {
            self.finish_snapshot().await?;
        }
        Ok(())
    }

    /// Waits for the snapshot that is being written and logs it.
    pub(super) async fn finish_snapshot(&mut self) -> Result<()> {
        let Some(written) = self.snapshots.join().await else { return Ok(()) };
        let logged = written.and_then(|written| self.parts.checkpoint.snapshot(written));
        self.snapshots.has_failed = logged.is_err();
        logged
    }

    /// Waits for the snapshot that is being written, which nobody needs any more.
    pub(super) async fn drop_snapshot(&mut self) {
        if let Some(Err(error)) = self.snapshots.join().await {
            tracing::debug!(query = self.parts.name, error = error.chain(), "a snapshot was not written");
        }
    }

    fn begin_snapshot(&mut self) -> Result<bool> {
        let operators = self.parts.plan.fingerprints();
        let Some(operator) = operators.into_iter().find(|operator| self.parts.checkpoint.wants_snapshot(&operator.id)) else {
            return Ok(false);
        };
        let state = self.parts.plan.snapshot(&operator.id)?;
        let writer = self.parts.checkpoint.begin_snapshot(&operator.id)?;
        self.snapshots.running = Some(tokio::task::spawn_blocking(move || write(state, writer)));
        Ok(true)
    }
}

fn write(state: Snapshot, writer: SnapshotWriter) -> Result<WrittenSnapshot> {
    writer.write(&state.encode()?)
}
