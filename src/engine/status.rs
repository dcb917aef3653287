//! What the outside may know of a running query: shared with the service, the status line and the metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use serde::Serialize;
use tokio::sync::watch;

use super::glance::Glance;
use super::progress::RecentProgress;

/// Where a query is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QueryState {
    /// Opening sources, sinks and checkpoint.
    Starting,
    /// Running batches or waiting for data.
    Running,
    /// Waiting for something outside to come back, and resumes by itself; or held by request, until it is told to resume.
    Paused,
    /// Ended by itself or by request.
    Stopped,
    /// Ended by an error.
    Failed,
}

/// The names of what [`QueryMonitor::state_name`] tells apart.
pub(super) const STATES: [&str; 6] = ["starting", "running", "paused", "held", "stopped", "failed"];

/// A query's status as the service shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryStatus {
    /// The query's name.
    pub name: String,
    /// Where it is in its life.
    pub state: QueryState,
    /// Spark's words for what it does just now.
    pub message: String,
    /// Whether there is data to process.
    pub is_data_available: bool,
    /// Whether a batch is running.
    pub is_trigger_active: bool,
    /// Whether it was asked to pause; the batch that was running by then may still be.
    pub is_held: bool,
    /// Why it is paused or has failed.
    pub error: Option<String>,
    /// The sinks and what they promise.
    pub sinks: Vec<SinkStatus>,
}

/// A sink as status shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SinkStatus {
    /// The sink's name.
    pub name: String,
    /// `exactly-once` or `at-least-once`.
    pub guarantee: &'static str,
}

const NO_BATCH: u64 = u64::MAX;

/// The shared side of a query; clones share it.
#[derive(Debug, Clone)]
pub struct QueryMonitor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    status: Mutex<QueryStatus>,
    progress: RecentProgress,
    glance: Glance,
    held: watch::Sender<bool>,
    batch: AtomicU64,
    has_run: AtomicBool,
}

/// A monitor that does not keep what it looks at.
#[derive(Debug)]
pub(super) struct WeakMonitor(Weak<Inner>);

impl WeakMonitor {
    /// The monitor, if anyone still has it.
    pub(super) fn upgrade(&self) -> Option<QueryMonitor> {
        self.0.upgrade().map(QueryMonitor)
    }
}

impl QueryMonitor {
    /// A query that has not started yet.
    pub fn new(name: &str) -> Self {
        let status = QueryStatus {
            name: name.to_owned(),
            state: QueryState::Starting,
            message: "Initializing StreamExecution".to_owned(),
            is_data_available: false,
            is_trigger_active: false,
            is_held: false,
            error: None,
            sinks: Vec::new(),
        };
        Self(Arc::new(Inner {
            status: Mutex::new(status),
            progress: RecentProgress::default(),
            glance: Glance::default(),
            held: watch::Sender::new(false),
            batch: AtomicU64::new(NO_BATCH),
            has_run: AtomicBool::new(false),
        }))
    }

    /// A copy of the status.
    pub fn status(&self) -> QueryStatus {
        let mut status = self.lock().clone();
        status.is_held = self.is_held();
        status
    }

    /// Its state in one word: `held` is paused by request, `paused` waits for something outside.
    pub(super) fn state_name(&self) -> &'static str {
        let [starting, running, paused, held, stopped, failed] = STATES;
        let status = self.lock();
        match status.state {
            QueryState::Starting => starting,
            QueryState::Running => running,
            QueryState::Paused if status.error.is_some() => paused,
            QueryState::Paused => held,
            QueryState::Stopped => stopped,
            QueryState::Failed => failed,
        }
    }

    /// Looks at it for as long as anyone else does.
    pub(super) fn downgrade(&self) -> WeakMonitor {
        WeakMonitor(Arc::downgrade(&self.0))
    }

    /// The last batches' progress.
    pub fn progress(&self) -> &RecentProgress {
        &self.0.progress
    }

    /// What a person who looks on may see of its rows and its plan.
    pub fn glance(&self) -> &Glance {
        &self.0.glance
    }

    /// Whether the query was asked to pause.
    pub fn is_held(&self) -> bool {
        *self.0.held.borrow()
    }

    /// Lets no further batch start, or lets them start again.
    pub(super) fn hold(&self, is_held: bool) {
        self.0.held.send_if_modified(|held| std::mem::replace(held, is_held) != is_held);
    }

    /// Completes when the query is held, or is not any more.
    pub(super) async fn until_held(&self, is_held: bool) {
        // The sending side lives in `self`, so waiting ends in no other way.
        let _ = self.0.held.subscribe().wait_for(|held| *held == is_held).await;
    }

    /// Whether the query has ever got as far as waiting for or running a batch.
    pub fn has_run(&self) -> bool {
        self.0.has_run.load(Ordering::Relaxed)
    }

    /// The batch that the query is at, if it has come to one.
    pub fn batch(&self) -> Option<u64> {
        Some(self.0.batch.load(Ordering::Relaxed)).filter(|batch| *batch != NO_BATCH)
    }

    pub(super) fn set_batch(&self, batch: u64) {
        self.0.batch.store(batch, Ordering::Relaxed);
    }

    pub(super) fn set_sinks(&self, sinks: Vec<SinkStatus>) {
        self.lock().sinks = sinks;
    }

    pub(super) fn running(&self, message: &str, active: bool) {
        self.0.has_run.store(true, Ordering::Relaxed);
        let mut status = self.lock();
        status.state = QueryState::Running;
        if status.message != message {
            status.message = message.to_owned();
        }
        status.is_trigger_active = active;
        status.is_data_available = active;
        status.error = None;
    }

    pub(super) fn paused(&self, error: String) {
        let mut status = self.lock();
        status.state = QueryState::Paused;
        status.message = "Waiting to try again".to_owned();
        status.error = Some(error);
    }

    /// It is held, and nothing of it runs.
    pub(super) fn holding(&self) {
        self.0.has_run.store(true, Ordering::Relaxed);
        let mut status = self.lock();
        status.state = QueryState::Paused;
        status.message = "Paused by request".to_owned();
        status.is_trigger_active = false;
        status.is_data_available = false;
        status.error = None;
    }

    /// It begins anew.
    pub(super) fn starting(&self) {
        self.hold(false);
        let mut status = self.lock();
        status.state = QueryState::Starting;
        status.message = "Initializing StreamExecution".to_owned();
        status.error = None;
    }

    pub(super) fn ended(&self, error: Option<String>) {
        let mut status = self.lock();
        status.state = if error.is_some() { QueryState::Failed } else { QueryState::Stopped };
        status.message = error.as_ref().map_or("Stopped".to_owned(), |error| format!("Terminated with exception: {error}"));
        status.is_trigger_active = false;
        status.is_data_available = false;
        status.error = error;
        drop(status);
        self.hold(false);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, QueryStatus> {
        self.0.status.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
