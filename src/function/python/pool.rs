//! The workers of a function: started with the first call, started again when they end, each call to the one with the fewest.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::select_all;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::connection::{Launch, Worker};
use crate::function::{CallError, CallErrorKind};

/// Pause before a worker is started again; it doubles while workers end soon.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A worker that has run for so long did not end soon.
const STEADY: Duration = Duration::from_secs(60);

/// The workers of a function.
#[derive(Debug)]
pub(super) struct Pool {
    launch: Arc<Launch>,
    workers: usize,
    /// None before the first call.
    places: Mutex<Option<Places>>,
}

/// A place for each worker, and the tasks that look after them.
#[derive(Debug)]
struct Places {
    places: Vec<Place>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Clone)]
struct Place {
    state: watch::Receiver<State>,
    /// A worker is wanted here.
    wanted: Arc<Notify>,
}

/// What is at a place.
#[derive(Debug, Clone)]
enum State {
    /// The first worker, on its way.
    Starting,
    Running(Arc<Worker>),
    /// None for now, for this reason.
    Down(CallError),
}

impl Pool {
    pub(super) fn new(launch: Launch, workers: usize) -> Self {
        Self { launch: Arc::new(launch), workers, places: Mutex::new(None) }
    }

    /// Waits until there is a worker to call.
    ///
    /// # Errors
    /// Why none could be started.
    pub(super) async fn ready(&self) -> Result<(), CallError> {
        let mut places = self.places();
        // All of them, so that the first calls go to all of them.
        for place in &mut places {
            place.state.wait_for(|state| !matches!(state, State::Starting)).await.map_err(|_| stopped())?;
        }
        let mut is_running = false;
        let mut down = None;
        for place in &mut places {
            match &*place.state.borrow_and_update() {
                State::Running(_) => is_running = true,
                State::Starting => {}
                State::Down(error) => {
                    place.wanted.notify_one();
                    down = Some(error.clone());
                }
            }
        }
        match down {
            _ if is_running => return Ok(()),
            Some(error) if error.kind == CallErrorKind::Config => return Err(error),
            _ => {}
        }
        let changed =
            places.iter_mut().map(|place| async { place.state.changed().await.map(|()| place.state.borrow().clone()) }.boxed());
        match select_all(changed).await.0 {
            Ok(State::Down(error)) => Err(error),
            Ok(State::Running(_) | State::Starting) => Ok(()),
            Err(_) => Err(stopped()),
        }
    }

    /// The worker with the fewest calls. Whoever has waited for it to be ready may have waited for a place since, and it may be gone:
    /// that is no failure of this call.
    ///
    /// # Errors
    /// Why none could be started.
    pub(super) async fn worker(&self) -> Result<Arc<Worker>, CallError> {
        loop {
            self.ready().await?;
            let running = self.places().into_iter().filter_map(|place| match &*place.state.borrow() {
                State::Running(worker) => Some(worker.clone()),
                State::Starting | State::Down(_) => None,
            });
            if let Some(worker) = running.min_by_key(|worker| worker.in_flight()) {
                return Ok(worker);
            }
        }
    }

    /// The places, which are looked after on the runtime of the call that comes first.
    fn places(&self) -> Vec<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let are_stopped = |places: &Places| places.places.iter().any(|place| place.state.has_changed().is_err());
        if places.as_ref().is_none_or(are_stopped) {
            *places = None;
        }
        let places = places.get_or_insert_with(|| {
            let mut tasks = JoinSet::new();
            let places = (0..self.workers).map(|_| {
                let (tell, state) = watch::channel(State::Starting);
                let place = Place { state, wanted: Arc::default() };
                tasks.spawn(look_after(self.launch.clone(), tell, place.wanted.clone()));
                place
            });
            Places { places: places.collect(), _tasks: tasks }
        });
        places.places.clone()
    }
}

fn stopped() -> CallError {
    CallError::new(CallErrorKind::Unavailable, "its workers were stopped")
}

/// Keeps a worker running at a place, as long as one is wanted.
async fn look_after(launch: Arc<Launch>, tell: watch::Sender<State>, wanted: Arc<Notify>) {
    let function = &*launch.program.function;
    let mut pause = PAUSE;
    let tell_down = |error: &CallError| {
        warn!(function, reason = error.message, "no worker");
        tell.send_replace(State::Down(error.clone()));
    };
    loop {
        match launch.start().await {
            Ok(running) => {
                info!(function, pid = running.worker.id(), "worker started");
                tell.send_replace(State::Running(running.worker.clone()));
                let since = Instant::now();
                running.serve(&tell_down).await;
                if since.elapsed() >= STEADY {
                    pause = PAUSE;
                }
            }
            Err(error) => tell_down(&error),
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
        wanted.notified().await;
    }
}
