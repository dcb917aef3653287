//! The queries of one process, supervised: they end by themselves, by a signal, or one by one by request, and what was ended can be
//! started again from its checkpoint while the others go on.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::control::{Action, Answer, Request, Requests, channel};
use super::start::{Host, PlannedQuery, Resources, declared, failed, monitors_of, plan_all, plan_one};
use super::status::{QueryMonitor, QueryState};
use super::way_out::{self, About};
use crate::checkpoint::Asked;
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::Pipeline;

/// The queries of one pipeline, running.
pub struct Process {
    host: Host,
    pipeline: Arc<Pipeline>,
    /// In file order.
    queries: Vec<Supervised>,
    /// Index of the query, and how it ended.
    tasks: JoinSet<(usize, Result<()>)>,
    stop: CancellationToken,
}

/// One query of a process.
struct Supervised {
    monitor: QueryMonitor,
    /// Stops this query after its current batch.
    stop: CancellationToken,
    is_running: bool,
    /// It was ended by request: the process waits for it to be restarted.
    is_stopped: bool,
    /// It is to begin anew as soon as it has ended.
    restarts: bool,
    error: Option<Error>,
}

impl Process {
    /// Plans every query, claims the checkpoint and starts them on the current runtime.
    pub async fn start(pipeline: Pipeline, resources: Resources) -> Result<Self> {
        let monitors = monitors_of(&pipeline);
        Self::start_watched(pipeline, monitors, resources).await
    }

    /// The same with the monitors of [`monitors_of`], which the outside may look at already.
    pub async fn start_watched(pipeline: Pipeline, monitors: Vec<QueryMonitor>, resources: Resources) -> Result<Self> {
        monitors.iter().for_each(|monitor| resources.metrics.watch_query(&pipeline.name, monitor));
        let planned = plan_all(&pipeline).await?;
        let stop = resources.stop.clone();
        let root = pipeline.checkpoint_path();
        let host = Host::open(&pipeline.name, &pipeline.checkpoint, resources)
            .map_err(|error| way_out::complete(error, &About { root, ..About::default() }))?;
        for query in &planned {
            host.announce(query);
        }
        let queries = monitors.into_iter().map(|monitor| Supervised {
            monitor,
            stop: stop.child_token(),
            is_running: false,
            is_stopped: false,
            restarts: false,
            error: None,
        });
        let queries = queries.collect();
        let mut process = Self { host, pipeline: Arc::new(pipeline), queries, tasks: JoinSet::new(), stop };
        for (at, query) in planned.into_iter().enumerate() {
            process.begin(at, query)?;
        }
        Ok(process)
    }

    /// Starts a query, unless it was asked not to run before this process began.
    fn begin(&mut self, at: usize, planned: PlannedQuery) -> Result<()> {
        let asked = self.host.root().asked(planned.name())?;
        let name = planned.name().to_owned();
        match asked {
            None => self.launch(at, Some(planned)),
            Some(Asked::Paused) => {
                warn!(query = name, "the query was paused by request, and stays so until it is resumed");
                self.launch(at, Some(planned));
                self.queries[at].monitor.hold(true);
            }
            Some(Asked::Stopped) => {
                warn!(query = name, "the query was stopped by request, and stays so until it is restarted");
                let query = &mut self.queries[at];
                query.is_stopped = true;
                query.monitor.ended(None);
            }
        }
        Ok(())
    }

    /// What each query lets the outside know, in file order.
    pub fn monitors(&self) -> Vec<QueryMonitor> {
        self.queries.iter().map(|query| query.monitor.clone()).collect()
    }

    /// [`Process::supervise`] for a process of which nothing is asked. A query that another process was asked to stop stays stopped.
    pub async fn wait(self, grace: Duration) -> Result<()> {
        let (_nobody, requests) = channel();
        self.supervise(grace, requests).await
    }

    /// Does what is asked of single queries, until no query runs any more and none waits to be restarted. After a stop was asked
    /// for, batches that are not done within `grace` are abandoned: a restart runs them again. The error is that of the first query,
    /// in file order, that failed and was not restarted.
    pub async fn supervise(mut self, grace: Duration, mut requests: Requests) -> Result<()> {
        // On the I/O runtime, whose timers run even if every thread of this one computes.
        let mut deadline = AbortOnDropHandle::new(self.host.io().spawn(deadline(self.stop.clone(), grace)));
        while self.goes_on() {
            tokio::select! {
                Some(joined) = self.tasks.join_next() => match joined {
                    Ok((at, outcome)) => self.ended(at, outcome),
                    Err(join) => return Err(Error::internal("a query's task ended unexpectedly").because(join)),
                },
                Some(request) = requests.0.recv() => self.answer(request),
                // Queries that were stopped by request have nothing more to wait for.
                () = self.stop.cancelled(), if self.tasks.is_empty() => break,
                _ = &mut deadline => {
                    info!("abandoning the batches that are still running; a restart runs them again");
                    self.tasks.abort_all();
                    break;
                }
            }
        }
        let first_error = self.queries.iter_mut().find_map(|query| query.error.take());
        let closed = self.host.close(first_error.is_none()).await;
        first_error.map_or(closed, Err)
    }

    fn goes_on(&self) -> bool {
        self.queries.iter().any(|query| query.is_running || query.is_stopped && !self.stop.is_cancelled())
    }

    /// Starts a query, which is planned anew if it has run before.
    fn launch(&mut self, at: usize, planned: Option<PlannedQuery>) {
        let (host, pipeline) = (self.host.clone(), self.pipeline.clone());
        let query = &mut self.queries[at];
        query.stop = self.stop.child_token();
        query.is_running = true;
        query.is_stopped = false;
        query.restarts = false;
        query.error = None;
        let (monitor, stop) = (query.monitor.clone(), query.stop.clone());
        monitor.starting();
        self.tasks.spawn(async move {
            let planned = match planned {
                Some(planned) => Ok(planned),
                None => plan_again(&pipeline, at).await,
            };
            let outcome = match planned {
                Ok(planned) => {
                    let running = host.start_until(&pipeline, planned, monitor, stop);
                    let task = AbortOnDropHandle::new(running.task);
                    task.await.unwrap_or_else(|end| Err(Error::internal("a query's task was ended").because(end)))
                }
                Err(error) => {
                    let name = &pipeline.queries[at].name;
                    let about = About { root: Some(host.root().path()), query: Some(name), source: None };
                    Err(failed(&monitor, &host.metrics().query(&pipeline.name, name), error, &about))
                }
            };
            (at, outcome)
        });
    }

    fn ended(&mut self, at: usize, outcome: Result<()>) {
        let query = &mut self.queries[at];
        query.is_running = false;
        // The disk or the checkpoint is not to be trusted any more: nobody goes on.
        if let Err(error) = &outcome {
            if matches!(error.kind(), ErrorKind::Storage | ErrorKind::Fenced) {
                self.stop.cancel();
            }
        }
        query.error = outcome.err();
        if query.restarts && !self.stop.is_cancelled() {
            self.launch(at, None);
        }
    }

    fn answer(&mut self, request: Request) {
        let found = self.queries.iter().position(|query| query.monitor.status().name == request.query);
        let answer = match found {
            Some(_) if self.stop.is_cancelled() => Answer::Refused("the process is ending".to_owned()),
            Some(at) => self.note_and_act(at, request.action),
            None => Answer::Refused(format!("there is no query {:?}", request.query)),
        };
        if answer == Answer::Accepted {
            info!(query = request.query, action = request.action.name(), "asked for over HTTP");
        }
        // Who asked may have gone.
        let _ = request.answer.send(answer);
    }

    /// Notes what is asked, so that the next process keeps to it, and does it.
    fn note_and_act(&mut self, at: usize, action: Action) -> Answer {
        if let Some(refused) = self.refusal(at, action) {
            return refused;
        }
        let asked = match action {
            Action::Pause => Some(Asked::Paused),
            Action::Stop => Some(Asked::Stopped),
            Action::Resume | Action::Restart => None,
        };
        let name = &self.pipeline.queries[at].name;
        // A full disk may be why a query is to be paused.
        if let Err(error) = self.host.root().note_asked(name, asked) {
            warn!(query = name, error = error.chain(), "what was asked is not noted, and holds for this process only");
        }
        self.act(at, action);
        Answer::Accepted
    }

    /// Why the query cannot be asked that just now.
    fn refusal(&self, at: usize, action: Action) -> Option<Answer> {
        let query = &self.queries[at];
        let is_ending = query.stop.is_cancelled();
        match action {
            Action::Pause | Action::Resume if !query.is_running || is_ending => {
                let state = match query.monitor.status().state {
                    QueryState::Failed => "has failed",
                    QueryState::Stopped => "is stopped",
                    QueryState::Starting | QueryState::Running | QueryState::Paused => "is being stopped",
                };
                Some(Answer::Refused(format!("the query {state}: it can be restarted")))
            }
            Action::Pause | Action::Resume | Action::Stop | Action::Restart => None,
        }
    }

    fn act(&mut self, at: usize, action: Action) {
        let query = &mut self.queries[at];
        match action {
            Action::Pause => query.monitor.hold(true),
            Action::Resume => query.monitor.hold(false),
            Action::Stop => {
                query.is_stopped = true;
                query.restarts = false;
                query.stop.cancel();
            }
            Action::Restart if query.is_running => {
                query.restarts = true;
                query.stop.cancel();
            }
            Action::Restart => self.launch(at, None),
        }
    }
}

/// The query at `at`, planned anew as at a start: its operators begin empty, and static tables are read again.
async fn plan_again(pipeline: &Pipeline, at: usize) -> Result<PlannedQuery> {
    let declared = declared(pipeline)?;
    plan_one(pipeline, &pipeline.queries[at], &declared).await
}

async fn deadline(stop: CancellationToken, grace: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(grace).await;
}
