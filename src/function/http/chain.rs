//! What a request goes through on its way out, and its answer on the way back.
//!
//! Each middleware wraps those behind it: it may change the request, send it on once, several times or not at all, and look at what
//! comes back. The chain is built once, when the function is.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode, Url};

use crate::function::CallError;
use crate::function::arguments::Arguments;
use crate::function::policy::Attempts;

/// A request on its way out. It goes along in a box: each step that it passes holds its place while the call is in flight.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    pub(super) call: Arc<Call>,
}

/// What belongs to the call as a whole, however many requests it takes.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) args: Arguments,
    /// Counts the requests that are sent.
    pub(super) attempts: Attempts,
    record: Mutex<Record>,
}

/// What has become of a call so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    /// The body of the last request.
    pub(super) body: Bytes,
    /// What was answered to the last, if anything.
    pub(super) reply: Option<Reply>,
    /// How long the last took, as far as the middleware `timing` saw it.
    pub(super) took: Option<Duration>,
}

/// What was answered.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) fn new(args: Arguments, attempts: Attempts) -> Self {
        Self { args, attempts, record: Mutex::default() }
    }

    pub(super) fn note<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        change(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The status that was answered to the last request.
    pub(super) fn status(&self) -> Option<StatusCode> {
        self.note(|record| record.reply.as_ref().map(|reply| reply.status))
    }
}

/// One step of the chain.
#[async_trait]
pub(super) trait Middleware: fmt::Debug + Send + Sync {
    /// Answers `request`, as a rule by what `next` answers. Any status may be an answer or an error; what it was is in the record.
    async fn handle(&self, request: Box<Request>, next: Next<'_>) -> Result<Reply, CallError>;
}

/// What sends requests at the end of the chain.
#[async_trait]
pub(super) trait Transport: fmt::Debug + Send + Sync {
    async fn send(&self, request: Box<Request>) -> Result<Reply, CallError>;
}

/// What is left of the chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next<'a> {
    rest: &'a [Arc<dyn Middleware>],
    transport: &'a dyn Transport,
}

impl Next<'_> {
    /// Sends a request on.
    pub(super) async fn run(self, request: Box<Request>) -> Result<Reply, CallError> {
        match self.rest.split_first() {
            Some((first, rest)) => first.handle(request, Next { rest, ..self }).await,
            None => self.transport.send(request).await,
        }
    }
}

/// The whole way of a request.
#[derive(Debug)]
pub(super) struct Chain {
    steps: Vec<Arc<dyn Middleware>>,
    transport: Arc<dyn Transport>,
}

impl Chain {
    pub(super) fn new(steps: Vec<Arc<dyn Middleware>>, transport: Arc<dyn Transport>) -> Self {
        Self { steps, transport }
    }

    pub(super) async fn run(&self, request: Box<Request>) -> Result<Reply, CallError> {
        Next { rest: &self.steps, transport: self.transport.as_ref() }.run(request).await
    }
}
