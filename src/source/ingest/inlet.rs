//! An ingest log together with what receives for it: what the sources that listen or connect have in common.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::{Ingest, IngestSettings, IngestSource, Keep};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::source::{Extent, SourceStats};

/// What a source that receives runs on.
#[derive(Debug, Clone)]
pub struct Host<'a> {
    /// Says when lines were received.
    pub clock: Arc<dyn Clock>,
    /// Runs the network tasks.
    pub runtime: &'a Handle,
    /// Ends them; [`Inlet::close`] does, too.
    pub cancel: &'a CancellationToken,
}

/// An open source with its ingest log.
///
/// Dropping it without [`Inlet::close`] is like a crash: what was not yet written to the log is gone.
#[derive(Debug)]
pub struct Inlet {
    pub(in crate::source) ingest: Ingest,
    pub(in crate::source) tasks: TaskTracker,
    pub(in crate::source) local_addr: Option<SocketAddr>,
    /// Ends the tasks when dropped.
    cancel: DropGuard,
}

impl Inlet {
    /// Opens the log; nothing receives yet. Answers also what ends the tasks.
    pub(in crate::source) async fn open(
        keep: Keep,
        log: IngestSettings,
        queries: Vec<String>,
        host: &Host<'_>,
    ) -> Result<(Self, CancellationToken)> {
        let opened = tokio::task::spawn_blocking(move || Ingest::open(keep, log, &queries)).await;
        let ingest = opened.map_err(|cause| Error::internal("opening an ingest log stopped unexpectedly").because(cause))??;
        let cancel = host.cancel.child_token();
        let inlet = Self { ingest, tasks: TaskTracker::new(), local_addr: None, cancel: cancel.clone().drop_guard() };
        Ok((inlet, cancel))
    }

    /// A query's view of what was received. The query holds what it has not released.
    pub fn source(&self, query: &str, extent: Extent) -> IngestSource {
        self.ingest.source(query, extent)
    }

    /// Lets go of what a query holds; see [`Ingest::forget`].
    pub fn forget(&self, query: &str) {
        self.ingest.forget(query);
    }

    /// Where a listening source listens: the real port where port 0 was asked for.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// Counters.
    pub fn stats(&self) -> Arc<SourceStats> {
        self.ingest.stats()
    }

    /// Disconnects everyone, ends every task, and writes what was received.
    ///
    /// # Errors
    /// The failure that kept the log from being written.
    pub async fn close(self) -> Result<()> {
        let Self { ingest, tasks, cancel, .. } = self;
        drop(cancel);
        tasks.wait().await;
        let closed = tokio::task::spawn_blocking(move || ingest.close()).await;
        closed.map_err(|cause| Error::internal("closing an ingest log stopped unexpectedly").because(cause))?
    }
}
