//! What may be asked of one query while the others go on.
//!
//! The asking side ([`Control`]) is held by the service, the answering side ([`Requests`]) by the process that supervises the
//! queries. What is asked before the queries are started waits until they are.

use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, ErrorKind, Result};

/// Requests that wait to be looked at.
const WAITING_MAX: usize = 64;

/// What a query can be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start no further batch; the current one is finished, and sources keep what comes.
    Pause,
    /// Start batches again.
    Resume,
    /// End after the current batch. It can be restarted as long as the process runs.
    Stop,
    /// End after the current batch, if it runs, and begin anew from the checkpoint.
    Restart,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pause, Self::Resume, Self::Stop, Self::Restart];

    /// Its name in addresses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}

/// What was made of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It will be done.
    Accepted,
    /// The query is not in a state in which that can be done; the text says why.
    Refused(String),
}

/// One request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) query: String,
    pub(super) action: Action,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// The asking side; clones share it.
#[derive(Debug, Clone)]
pub struct Control(mpsc::Sender<Request>);

/// The answering side.
#[derive(Debug)]
pub struct Requests(pub(super) mpsc::Receiver<Request>);

/// Both sides.
pub fn channel() -> (Control, Requests) {
    let (asking, answering) = mpsc::channel(WAITING_MAX);
    (Control(asking), Requests(answering))
}

impl Control {
    /// Asks the query called `query` to do something.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when too much has been asked already, or nobody answers any more.
    pub async fn ask(&self, query: &str, action: Action) -> Result<Answer> {
        let (answer, answered) = oneshot::channel();
        let request = Request { query: query.to_owned(), action, answer };
        let nobody = || Error::new(ErrorKind::Unavailable, "the process is ending, or too busy to be controlled");
        self.0.try_send(request).map_err(|_| nobody())?;
        answered.await.map_err(|_| nobody())
    }
}
