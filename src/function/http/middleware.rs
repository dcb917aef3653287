//! What can stand in the chain, by name.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::body::Body;
use super::chain::{Middleware, Next, Reply, Request};
use crate::function::arguments::Filling;
use crate::function::policy::{Attempts, Breaker, RateLimit, Retry};
use crate::function::{CallError, CallErrorKind};

/// What can stand in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Further attempts of whatever stands behind it.
    Retry,
    /// Waits for its turn.
    RateLimit,
    /// Sends nothing while most requests fail.
    Breaker,
    /// Puts the configured headers in.
    Headers,
    /// Puts the body in.
    Body,
    /// Says who we are, and again with a fresh token where that was refused.
    Auth,
    /// A line of the log, at level `trace`.
    Logging,
    /// Measures what stands behind it.
    Timing,
}

impl Step {
    /// Every one, in the order of a chain that is not configured.
    pub const ALL: [Self; 8] =
        [Self::Retry, Self::RateLimit, Self::Breaker, Self::Headers, Self::Body, Self::Auth, Self::Logging, Self::Timing];

    /// As it is called in a pipeline file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::RateLimit => "rate_limit",
            Self::Breaker => "breaker",
            Self::Headers => "headers",
            Self::Body => "body",
            Self::Auth => "auth",
            Self::Logging => "logging",
            Self::Timing => "timing",
        }
    }
}

#[async_trait]
impl Middleware for Retry {
    async fn handle(&self, request: Box<Request>, next: Next<'_>) -> Result<Reply, CallError> {
        // What counts is what is sent, which the transport knows.
        self.run(&Attempts::default(), |_| next.run(request.clone())).await
    }
}

#[async_trait]
impl Middleware for RateLimit {
    async fn handle(&self, request: Box<Request>, next: Next<'_>) -> Result<Reply, CallError> {
        self.turn().await;
        next.run(request).await
    }
}

#[async_trait]
impl Middleware for Breaker {
    async fn handle(&self, request: Box<Request>, next: Next<'_>) -> Result<Reply, CallError> {
        let pass = self.pass(Instant::now()).map_err(|wait| {
            let message = format!("no call is made for another {:.1} s, as most have failed", wait.as_secs_f64());
            CallError { attempts: 0, ..CallError::new(CallErrorKind::CircuitOpen, message) }
        })?;
        let reply = next.run(request).await;
        pass.report(reply.as_ref().is_err_and(|error| error.kind.is_transient()), Instant::now());
        reply
    }
}

/// Headers of every request; those whose value is nothing but a null are left out.
#[derive(Debug)]
pub(super) struct Headers {
    pub(super) fixed: HeaderMap,
    pub(super) filled: Vec<(HeaderName, Filling)>,
}

#[async_trait]
impl Middleware for Headers {
    async fn handle(&self, mut request: Box<Request>, next: Next<'_>) -> Result<Reply, CallError> {
        for (name, value) in &self.fixed {
            request.headers.insert(name.clone(), value.clone());
        }
        for (name, filling) in &self.filled {
            let what = format!("header {name}");
            let Some(text) = filling.fill(&request.call.args, &what)? else { continue };
            let value = header_value(&text).ok_or_else(|| {
                let message = format!("the value of {what} has a character that no header can hold");
                CallError { attempts: 0, ..CallError::new(CallErrorKind::Rejected, message) }
            })?;
            request.headers.insert(name.clone(), value);
        }
        next.run(request).await
    }
}

/// A value that is never shown.
pub(super) fn header_value(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(text.as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[async_trait]
impl Middleware for Body {
    async fn handle(&self, mut request: Box<Request>, next: Next<'_>) -> Result<Reply, CallError> {
        request.body = Some(self.fill(&request.call.args)?);
        request.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        next.run(request).await
    }
}

/// Tells of every request in the log.
#[derive(Debug)]
pub(super) struct Logging {
    pub(super) function: Arc<str>,
    pub(super) url: Arc<str>,
}

#[async_trait]
impl Middleware for Logging {
    async fn handle(&self, request: Box<Request>, next: Next<'_>) -> Result<Reply, CallError> {
        let (method, call) = (request.method.clone(), request.call.clone());
        let reply = next.run(request).await;
        let status = call.status().map_or(0, |status| status.as_u16());
        let error = reply.as_ref().err().map(|error| error.kind.name());
        tracing::trace!(function = %self.function, %method, url = %self.url, status, error, "request finished");
        reply
    }
}

/// Measures.
#[derive(Debug)]
pub(super) struct Timing;

#[async_trait]
impl Middleware for Timing {
    async fn handle(&self, request: Box<Request>, next: Next<'_>) -> Result<Reply, CallError> {
        let (call, started) = (request.call.clone(), Instant::now());
        let reply = next.run(request).await;
        call.note(|record| record.took = Some(started.elapsed()));
        reply
    }
}
