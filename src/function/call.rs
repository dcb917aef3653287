//! One call of a chunk: every attempt within its limits, every place it takes given back, whatever happens to it.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use arrow::array::{Array, UInt32Array};
use futures::FutureExt;
use tokio::time::timeout;

use super::check::check;
use super::policy::{Attempts, Breaker, BreakerState, RETRY_AFTER_MAX};
use super::{Answer, BatchContext, CallError, CallErrorKind, Chunk, Function, Reply};
use crate::metrics::FunctionMetrics;

impl Function {
    /// Answers a chunk. Dropping the future cancels whatever it is at.
    pub(super) async fn call(&self, chunk: &Chunk, batch: &BatchContext) -> Result<Reply, CallError> {
        let mut call = Call { metrics: &batch.metrics, attempts: &chunk.context.attempts, ended: false };
        let mut reply = match &self.breaker {
            Some(breaker) => self.unless_open(breaker, chunk, batch).await,
            None => self.attempts(chunk, batch).await,
        };
        call.ended = true;
        if let Some(state) = self.kind.breaker() {
            batch.metrics.breaker(state);
        }
        match &mut reply {
            Ok(reply) => {
                batch.metrics.answered();
                reply.failed.iter_mut().for_each(|(_, error)| error.attempts = call.attempts.made());
            }
            Err(error) => batch.metrics.failed(error.kind),
        }
        reply
    }

    async fn unless_open(&self, breaker: &Breaker, chunk: &Chunk, batch: &BatchContext) -> Result<Reply, CallError> {
        let pass = breaker.pass(Instant::now()).map_err(|wait| {
            let message = format!("no call is made for another {:.1} s, as most have failed", wait.as_secs_f64());
            CallError { attempts: 0, ..CallError::new(CallErrorKind::CircuitOpen, message) }
        })?;
        if pass.is_trial() {
            batch.metrics.breaker(BreakerState::HalfOpen);
        }
        let reply = self.attempts(chunk, batch).await;
        pass.report(reply.as_ref().is_err_and(|error| error.kind.is_transient()), Instant::now());
        batch.metrics.breaker(breaker.state());
        reply
    }

    async fn attempts(&self, chunk: &Chunk, batch: &BatchContext) -> Result<Reply, CallError> {
        let made = &chunk.context.attempts;
        if self.kind.retries_itself() {
            let reply = self.attempt(chunk, batch, self.whole_call_max()).await;
            if made.made() == 0 {
                made.begin();
            }
            return reply;
        }
        self.retry.run(made, |_| self.attempt(chunk, batch, self.settings.timeout)).await
    }

    /// A function that makes its own attempts has its own time limits too; this one holds if they do not.
    fn whole_call_max(&self) -> Duration {
        let retry = self.retry.settings();
        (self.settings.timeout + retry.max_delay + RETRY_AFTER_MAX).saturating_mul(retry.attempts)
    }

    /// One attempt. Places are held for no longer than it takes: a pause between attempts leaves them to others.
    async fn attempt(&self, chunk: &Chunk, batch: &BatchContext, limit: Duration) -> Result<Reply, CallError> {
        // Before any place is taken: what starts may take its time.
        self.kind.ready().await?;
        // The function's place first, so that those who wait for its rate hold nothing of the query's or the process's.
        let _of_function = self.own.permit().await;
        if let Some(rate) = &self.rate_limit {
            rate.turn().await;
        }
        let _of_query = batch.query_budget.permit().await;
        let _of_process = self.process.permit().await;
        let _in_flight = InFlight::begin(&batch.metrics);
        let asked = AssertUnwindSafe(async { self.kind.call(chunk.clone()).await }).catch_unwind();
        let reply = match timeout(limit, asked).await {
            Ok(Ok(reply)) => reply?,
            Ok(Err(panic)) => {
                let message = format!("it panicked: {}", panic_text(&*panic));
                return Err(CallError::new(CallErrorKind::Defect, message));
            }
            Err(_) => return Err(CallError::new(CallErrorKind::Timeout, format!("no answer within {limit:?}"))),
        };
        let rows = chunk.args.num_rows();
        check(&self.signature.returns, rows, self.settings.answer_bytes_max, &reply)?;
        Ok(Reply { answer: told_apart(reply.answer, rows), ..reply })
    }
}

/// Rows for the whole of a chunk of a single row are for that row.
fn told_apart(answer: Answer, rows: usize) -> Answer {
    match answer {
        Answer::Rows { rows: answered, of } if rows == 1 && of.null_count() > 0 => {
            Answer::Rows { of: UInt32Array::from(vec![0; of.len()]), rows: answered }
        }
        answer => answer,
    }
}

/// Counts a call's attempts however it ends.
struct Call<'a> {
    metrics: &'a FunctionMetrics,
    attempts: &'a Attempts,
    ended: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let attempts = u64::from(self.attempts.made());
        self.metrics.attempts.inc_by(attempts);
        self.metrics.retries.inc_by(attempts.saturating_sub(1));
        if !self.ended {
            self.metrics.cancelled();
        }
    }
}

/// An attempt in flight, until it is dropped.
struct InFlight<'a> {
    metrics: &'a FunctionMetrics,
    since: Instant,
}

impl<'a> InFlight<'a> {
    fn begin(metrics: &'a FunctionMetrics) -> Self {
        metrics.in_flight.inc();
        Self { metrics, since: Instant::now() }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        self.metrics.attempt_duration.observe(self.since.elapsed().as_secs_f64());
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "without a text",
    }
}
