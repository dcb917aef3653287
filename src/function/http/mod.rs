//! Functions that are HTTP APIs: a request for each row, its answer read into the declared values.
//!
//! What is set up is checked and put together once (`setup`); a call fills the URL, sends a request through the chain (`chain`,
//! `middleware`, `auth`) to the transport, and reads the answer (`answer`, `envelope`).

use std::sync::Arc;

use arrow::datatypes::Fields;
use async_trait::async_trait;
use reqwest::Method;
use reqwest::header::HeaderMap;

mod url;
mod body;
mod answer;
mod envelope;
mod setup;
mod chain;
mod middleware;
mod auth;
mod token;
mod transport;
mod client;
mod address;
#[cfg(test)]
pub(super) mod tests;

pub use super::template::Template;
pub use address::AddressRules;
pub use answer::AnswerSettings;
pub use auth::{AuthSettings, Grant, OAuth2Settings};
pub use body::BodyTree;
pub use client::{Clients, ConnectionSettings};
pub use middleware::Step;
pub use setup::function;
pub use transport::Statuses;

pub(super) use self::url::{address, check};
pub(super) use address::Refused;
pub(super) use transport::{failure, named, retry_after, shortened};

use self::url::UrlTemplate;
use super::arguments::Arguments;
use super::policy::{Breaker, BreakerState};
use super::{AsyncFunction, CallError, CallErrorKind, Chunk, Reply};
use crate::clock::Clock;
use answer::AnswerMap;
use chain::{Call, Chain, Request};
use envelope::Envelope;

/// How an HTTP API is called.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSettings {
    /// The method; default: POST with a body, GET without.
    pub method: Option<String>,
    /// Where to. Arguments fill pieces of the path and the query.
    pub url: Template,
    /// Further parameters of the query, by name.
    pub query: Vec<(String, Template)>,
    /// Headers, by name.
    pub headers: Vec<(String, Template)>,
    /// The JSON body, if there is one.
    pub body: Option<BodyTree>,
    /// Where the returned values are found in the answer.
    pub answer: AnswerSettings,
    /// Pointer to the array whose items are the rows of the table form; default: the answer itself.
    pub rows: Option<String>,
    /// What a status means.
    pub statuses: Statuses,
    /// Who we are.
    pub auth: AuthSettings,
    /// How connections are made.
    pub connection: ConnectionSettings,
    /// What a request goes through, from the outside in; default: [`Step::ALL`].
    pub middleware: Vec<Step>,
}

impl HttpSettings {
    /// A GET of `url`, everything else at its default.
    pub fn new(url: Template) -> Self {
        Self {
            method: None,
            url,
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            answer: AnswerSettings::default(),
            rows: None,
            statuses: Statuses::default(),
            auth: AuthSettings::None,
            connection: ConnectionSettings::default(),
            middleware: Step::ALL.to_vec(),
        }
    }
}

/// What the HTTP functions of a process share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Their clients.
    pub clients: Arc<Clients>,
    /// The time, for dates of `Retry-After` and for envelopes.
    pub clock: Arc<dyn Clock>,
    /// Zone of timestamps in requests, and of zoneless ones in answers.
    pub time_zone: Arc<str>,
}

/// An HTTP API as a function.
#[derive(Debug)]
struct HttpFunction {
    args: Fields,
    method: Method,
    url: UrlTemplate,
    answer: AnswerMap,
    chain: Chain,
    /// The one in the chain.
    breaker: Option<Arc<Breaker>>,
    clock: Arc<dyn Clock>,
    time_zone: Arc<str>,
}

#[async_trait]
impl AsyncFunction for HttpFunction {
    async fn call(&self, chunk: Chunk) -> Result<Reply, CallError> {
        debug_assert_eq!((chunk.args.num_rows(), chunk.args.num_columns()), (1, self.args.len()), "a call is of one row");
        let context = chunk.context;
        let request_id = format!("{}/{}", context.origin, context.rows.start);
        let args = Arguments { row: chunk.args, time_zone: self.time_zone.clone(), request_id: request_id.into() };
        let requested_at_us = self.clock.now_us();
        let call = Arc::new(Call::new(args, context.attempts));
        let (url, result) = match self.url.fill(&call.args) {
            Err(error) => (self.url.shown.clone(), Err(error)),
            Ok(target) => {
                let (method, call) = (self.method.clone(), call.clone());
                let request = Box::new(Request { method, url: target.url, headers: HeaderMap::new(), body: None, call });
                (target.shown, self.chain.run(request).await)
            }
        };
        let (attempts, record) = (call.attempts.made(), call.note(|record| record.clone()));
        if !self.answer.is_envelope() {
            let read = result.and_then(|reply| self.answer.read(&reply.body, None));
            return read.map(Reply::from).map_err(|error| CallError { attempts, ..error });
        }
        let request_id = call.args.request_id.to_string();
        let method = self.method.to_string();
        let envelope = Envelope { request_id, url, method, attempts, record, error: None, requested_at_us };
        match result.and_then(|reply| self.answer.read(&reply.body, Some(&envelope))) {
            // Nobody gains from a row for each call that could never be made.
            Err(error) if error.kind == CallErrorKind::Config => Err(error),
            Err(error) => self.answer.without_answer(&Envelope { error: Some(error), ..envelope }),
            Ok(answer) => Ok(answer),
        }
        .map(Reply::from)
    }

    fn retries_itself(&self) -> bool {
        true
    }

    fn breaker(&self) -> Option<BreakerState> {
        self.breaker.as_ref().map(|breaker| breaker.state())
    }
}
