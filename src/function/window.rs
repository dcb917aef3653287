//! Calls by hand: issue many, then wait for one, or take them as they complete.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::call::panic_text;

/// A window of calls, of which at most so many are outstanding.
///
/// Each call is a task: it goes on whoever waits for it. A call that was issued is told exactly once, by [`Deferred::wait`] or by
/// [`Self::next_completed`], whichever comes first; waiting for one takes none of the others away. Nothing is known of the order in which
/// outstanding calls take effect: whoever needs B after A waits for A before issuing B.
///
/// What completed and was not told yet is kept for whoever asks, so take results as they come, or drop the window: that cancels what is
/// still outstanding.
///
/// ```
/// use tidemill::function::{CallWindow, NotCompleted};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let window = CallWindow::new(1024);
/// let first = window.issue(async { 1 }).await;
/// window.issue(async { 2 }).await;
/// let third = window.issue(async { 3 }).await;
/// assert_eq!(third.wait().await, Ok(3));
///
/// // The other two, in the order in which they completed.
/// let mut others = vec![window.next_completed().await.unwrap().result, window.next_completed().await.unwrap().result];
/// others.sort();
/// assert_eq!(others, [Ok(1), Ok(2)]);
/// assert_eq!(window.next_completed().await.unwrap_err(), NotCompleted::NonePending);
///
/// assert_eq!(first.wait().await, Ok(1)); // as often as one likes
/// # }
/// ```
pub struct CallWindow<T> {
    shared: Arc<Shared<T>>,
    places: Arc<Semaphore>,
    outstanding_max: usize,
    tasks: Mutex<JoinSet<()>>,
    runtime: Handle,
}

/// A call that was issued; clones are the same call.
pub struct Deferred<T> {
    call: Arc<Call<T>>,
    shared: Arc<Shared<T>>,
}

/// A call that completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed<T> {
    /// [`Deferred::number`] of the call.
    pub number: u64,
    /// What it returned.
    pub result: Result<T, CallLost>,
}

/// Why there is no completed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCompleted {
    /// None is outstanding that somebody does not wait for already.
    #[error("no call is pending")]
    NonePending,
    /// None has completed in time.
    #[error("no call completed in time")]
    TimedOut,
}

/// Why a call returned nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum CallLost {
    /// It panicked, saying this.
    #[error("the call panicked: {0}")]
    Panicked(String),
    /// Its window or its runtime has gone; it may have taken effect or not.
    #[error("the call was cancelled")]
    Cancelled,
}

struct Call<T> {
    number: u64,
    result: OnceLock<Result<T, CallLost>>,
    ended: Notify,
    told: Mutex<Told>,
}

/// Who knows of a call; changed only while the window's state is locked.
#[derive(Debug, Default)]
struct Told {
    /// Those who wait for it just now.
    waiting: usize,
    done: bool,
    /// Its place among those that completed.
    completed: Option<u64>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    issued: u64,
    /// Calls that were not told and nobody waits for.
    pending: usize,
    /// Those that were not told, in the order in which they completed.
    completed: BTreeMap<u64, Arc<Call<T>>>,
    completions: u64,
}

impl<T: Clone + Send + Sync + 'static> CallWindow<T> {
    /// A window of at most `outstanding_max` calls, at least one, which run on the current runtime.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn new(outstanding_max: usize) -> Self {
        Self::on(outstanding_max, Handle::current())
    }

    /// A window whose calls run on `runtime`.
    pub fn on(outstanding_max: usize, runtime: Handle) -> Self {
        let outstanding_max = outstanding_max.clamp(1, Semaphore::MAX_PERMITS);
        let state = State { issued: 0, pending: 0, completed: BTreeMap::new(), completions: 0 };
        Self {
            shared: Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() }),
            places: Arc::new(Semaphore::new(outstanding_max)),
            outstanding_max,
            tasks: Mutex::new(JoinSet::new()),
            runtime,
        }
    }

    /// Begins `call` as soon as fewer than `outstanding_max` are outstanding. Dropping the future before that begins nothing.
    pub async fn issue(&self, call: impl Future<Output = T> + Send + 'static) -> Deferred<T> {
        let place = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let issued = self.shared.issue();
        let deferred = Deferred { call: issued.clone(), shared: self.shared.clone() };
        // Made here, not in the task: a task that is cancelled before it has begun tells so too.
        let ending = Ending { call: issued, shared: self.shared.clone(), result: Err(CallLost::Cancelled), _place: place };
        let task = async move {
            let result = AssertUnwindSafe(call).catch_unwind().await;
            ending.with(result.map_err(|panic| CallLost::Panicked(panic_text(&*panic).to_owned())));
        };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &self.runtime);
        deferred
    }

    /// The next call that completes and that nobody waits for, in whatever order they do. May be asked by several at once.
    ///
    /// # Errors
    /// [`NotCompleted::NonePending`], at once, if there is no such call.
    pub async fn next_completed(&self) -> Result<Completed<T>, NotCompleted> {
        loop {
            let mut changed = pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            if let Some(next) = self.shared.lock().next() {
                return next;
            }
            changed.await;
        }
    }

    /// Like [`Self::next_completed`], for at most `limit`.
    ///
    /// # Errors
    /// [`NotCompleted::NonePending`] at once, [`NotCompleted::TimedOut`] after `limit`; then nothing is lost.
    pub async fn next_completed_within(&self, limit: Duration) -> Result<Completed<T>, NotCompleted> {
        tokio::time::timeout(limit, self.next_completed()).await.unwrap_or(Err(NotCompleted::TimedOut))
    }

    /// Waits until no call is pending; what was not told yet, in the order of completion.
    pub async fn drain(&self) -> Vec<Completed<T>> {
        let mut all = Vec::new();
        while let Ok(completed) = self.next_completed().await {
            all.push(completed);
        }
        all
    }

    /// Calls that were issued and have not completed.
    pub fn outstanding(&self) -> usize {
        self.outstanding_max - self.places.available_permits().min(self.outstanding_max)
    }
}

impl<T: Clone> Deferred<T> {
    /// Number of the call in its window, from 1 in the order of issue.
    pub fn number(&self) -> u64 {
        self.call.number
    }

    /// Waits for the call. It may be asked in any order, again, and by several; if nobody was told of the call yet, this tells it.
    /// Dropping the future leaves the call to others.
    ///
    /// # Errors
    /// [`CallLost`] if it returned nothing.
    pub async fn wait(&self) -> Result<T, CallLost> {
        let _waiting = Waiting::begin(self);
        loop {
            let mut ended = pin!(self.call.ended.notified());
            ended.as_mut().enable();
            if let Some(result) = self.call.result.get() {
                self.shared.lock().tell(&self.call);
                return result.clone();
            }
            ended.await;
        }
    }
}

impl<T> Clone for Deferred<T> {
    fn clone(&self) -> Self {
        Self { call: self.call.clone(), shared: self.shared.clone() }
    }
}

impl<T> fmt::Debug for Deferred<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("number", &self.call.number).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for CallWindow<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallWindow").field("outstanding_max", &self.outstanding_max).finish_non_exhaustive()
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn issue(&self) -> Arc<Call<T>> {
        let mut state = self.lock();
        state.issued += 1;
        state.pending += 1;
        Arc::new(Call { number: state.issued, result: OnceLock::new(), ended: Notify::new(), told: Mutex::default() })
    }
}

impl<T> Call<T> {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// The call was told to somebody.
    fn tell(&mut self, call: &Call<T>) {
        let mut told = call.told();
        told.done = true;
        if let Some(place) = told.completed.take() {
            self.completed.remove(&place);
        }
    }
}

impl<T: Clone> State<T> {
    /// The first call that completed and that nobody waits for; nothing if it is worth waiting for one.
    fn next(&mut self) -> Option<Result<Completed<T>, NotCompleted>> {
        let first = self.completed.values().find(|call| call.told().waiting == 0).cloned();
        match first {
            Some(call) => {
                self.tell(&call);
                self.pending -= 1;
                let result = call.result.get().cloned().unwrap_or(Err(CallLost::Cancelled));
                Some(Ok(Completed { number: call.number, result }))
            }
            None if self.pending == 0 => Some(Err(NotCompleted::NonePending)),
            None => None,
        }
    }
}

/// Somebody waits for a call, which is therefore not for others.
struct Waiting<'a, T>(&'a Deferred<T>);

impl<'a, T> Waiting<'a, T> {
    fn begin(deferred: &'a Deferred<T>) -> Self {
        let mut state = deferred.shared.lock();
        let mut told = deferred.call.told();
        if !told.done && told.waiting == 0 {
            state.pending -= 1;
            deferred.shared.changed.notify_waiters();
        }
        told.waiting += 1;
        Self(deferred)
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        let Deferred { call, shared } = self.0;
        let mut state = shared.lock();
        let mut told = call.told();
        told.waiting -= 1;
        if !told.done && told.waiting == 0 {
            // It gave up: the call is for others again.
            state.pending += 1;
            shared.changed.notify_waiters();
        }
    }
}

/// Tells the end of a call, however it comes about.
struct Ending<T> {
    call: Arc<Call<T>>,
    shared: Arc<Shared<T>>,
    result: Result<T, CallLost>,
    _place: OwnedSemaphorePermit,
}

impl<T> Ending<T> {
    fn with(mut self, result: Result<T, CallLost>) {
        self.result = result;
    }
}

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Err(CallLost::Cancelled));
        let mut state = self.shared.lock();
        let place = state.completions;
        state.completions += 1;
        // Set once: a call has one end.
        let _ = self.call.result.set(result);
        self.call.told().completed = Some(place);
        state.completed.insert(place, self.call.clone());
        drop(state);
        self.call.ended.notify_waiters();
        self.shared.changed.notify_waiters();
    }
}
