//! One call of a chunk: every attempt within its limits, every place it takes given back, whatever happens to it.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::time::timeout;

use super::check::check;
use super::policy::{Budget, RETRY_AFTER_MAX};
use super::{Answer, CallError, CallErrorKind, Chunk, Function};

impl Function {
    /// Answers a chunk: breaker, then attempts with pauses between them. Dropping the future cancels whatever it is at.
    pub(super) async fn call(&self, chunk: &Chunk, query: &Budget) -> Result<Answer, CallError> {
        let Some(breaker) = &self.breaker else { return self.attempts(chunk, query).await };
        let pass = breaker.pass(Instant::now()).map_err(|wait| {
            let message = format!("no call is made for another {:.1} s, as most have failed", wait.as_secs_f64());
            CallError { attempts: 0, ..CallError::new(CallErrorKind::CircuitOpen, message) }
        })?;
        let answer = self.attempts(chunk, query).await;
        pass.report(answer.as_ref().is_err_and(|error| error.kind.is_transient()), Instant::now());
        answer
    }

    async fn attempts(&self, chunk: &Chunk, query: &Budget) -> Result<Answer, CallError> {
        if self.kind.retries_itself() {
            return self.attempt(chunk, query, self.whole_call_max()).await;
        }
        self.retry.run(|_| self.attempt(chunk, query, self.settings.timeout)).await
    }

    /// A function that makes its own attempts has its own time limits too; this one holds if they do not.
    fn whole_call_max(&self) -> Duration {
        let retry = self.retry.settings();
        (self.settings.timeout + retry.max_delay + RETRY_AFTER_MAX).saturating_mul(retry.attempts)
    }

    /// One attempt. Places are held for no longer than it takes: a pause between attempts leaves them to others.
    async fn attempt(&self, chunk: &Chunk, query: &Budget, limit: Duration) -> Result<Answer, CallError> {
        // The function's place first, so that those who wait for its rate hold nothing of the query's or the process's.
        let _of_function = self.own.permit().await;
        if let Some(rate) = &self.rate_limit {
            rate.turn().await;
        }
        let _of_query = query.permit().await;
        let _of_process = self.process.permit().await;
        let asked = AssertUnwindSafe(async { self.kind.call(chunk.clone()).await }).catch_unwind();
        let answer = match timeout(limit, asked).await {
            Ok(Ok(answer)) => answer?,
            Ok(Err(panic)) => return Err(CallError::new(CallErrorKind::Defect, format!("it panicked: {}", panic_text(&*panic)))),
            Err(_) => return Err(CallError::new(CallErrorKind::Timeout, format!("no answer within {limit:?}"))),
        };
        check(&self.signature.returns, chunk.args.num_rows(), self.settings.answer_bytes_max, &answer)?;
        Ok(answer)
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
