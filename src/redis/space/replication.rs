//! Replicas that must have what was written. One `WAIT` speaks for everything that its connection wrote before it, so those who wait at the
//! same time share one.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::function::{CallError, CallErrorKind};
use crate::redis::{Durability, Store};

type Waiting = Shared<BoxFuture<'static, Result<(), CallError>>>;

/// Waits for replicas, if any are asked for.
pub(super) struct Replication {
    durability: Durability,
    limit: Duration,
    /// The next `WAIT`, which is not sent yet, and the number of its connection.
    next: Arc<Mutex<Option<(u64, Waiting)>>>,
    /// Who has it may send one: a second one would only queue up behind it.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Replication {
    pub(super) fn new(durability: Durability, limit: Duration) -> Self {
        Self { durability, limit, next: Arc::default(), turn: Arc::default() }
    }

    /// Returns once enough replicas have what was written on this connection, and answered, by now.
    pub(super) async fn acknowledged(&self, store: &Arc<Store>, connection: u64) -> Result<(), CallError> {
        let Some(command) = self.durability.wait(self.limit) else { return Ok(()) };
        let waiting = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            match &*next {
                Some((number, waiting)) if *number == connection => waiting.clone(),
                _ => {
                    let (durability, limit, store) = (self.durability, self.limit, store.clone());
                    // Whoever waits for it keeps it alive, not it itself.
                    let (nexts, turn) = (Arc::downgrade(&self.next), self.turn.clone());
                    let waiting = async move {
                        let _turn = turn.lock().await;
                        // What is written from now on is for the one after it.
                        if let Some(nexts) = nexts.upgrade() {
                            nexts.lock().unwrap_or_else(PoisonError::into_inner).take_if(|(number, _)| *number == connection);
                        }
                        // The server answers at the limit, with as many as there are by then.
                        let answer = tokio::time::timeout(limit * 2, store.ask_on(connection, &command)).await;
                        let late = |_| {
                            CallError::new(CallErrorKind::Timeout, format!("Redis at {} did not answer in time", store.shown()))
                        };
                        durability.acknowledged(&answer.map_err(late)??, store.shown())
                    };
                    let waiting = waiting.boxed().shared();
                    *next = Some((connection, waiting.clone()));
                    waiting
                }
            }
        };
        waiting.await
    }
}

impl fmt::Debug for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replication").field("durability", &self.durability).finish_non_exhaustive()
    }
}
