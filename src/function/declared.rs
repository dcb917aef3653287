//! A function that was declared: shared by all queries that call it, with what they share of it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::runtime::Handle;
use tokio::task::JoinError;

use super::answering::{Answering, Assembly};
use super::cache::{Cache, Codec, Memory, Recalling};
use super::plain::Plain;
use super::policy::{Breaker, BreakerState, Budget, RateLimit, Retry};
use super::{Answer, AsyncFunction, CallError, CallErrorKind, CallSettings, OnError, Signature};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::metrics::FunctionMetrics;

/// One declared function of the process: every query that calls it shares its places, its rate, its breaker.
#[derive(Debug)]
pub struct Function {
    pub(super) signature: Signature,
    pub(super) args: SchemaRef,
    pub(super) kind: Arc<dyn AsyncFunction>,
    pub(super) settings: CallSettings,
    pub(super) own: Budget,
    pub(super) process: Arc<Budget>,
    pub(super) retry: Retry,
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) breaker: Option<Breaker>,
    memory: Option<Arc<Memory>>,
}

/// For which batch of which query a function is called.
#[derive(Debug, Clone)]
pub struct BatchContext {
    /// Names the calls: pipeline, query, batch, function, and which of the query's calls of functions they are.
    pub origin: Arc<str>,
    /// Name of the query.
    pub query: Arc<str>,
    /// The batch.
    pub batch_id: u64,
    /// Places for the calls of all functions of the query.
    pub query_budget: Arc<Budget>,
    /// The function's series in the query.
    pub metrics: Arc<FunctionMetrics>,
    /// Where calls are made: a runtime for I/O with its timers, not the one that computes.
    pub runtime: Handle,
}

/// The answer for some of the rows that a function was asked about.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The first of them: its number among the rows as they came, from 0. The end of the part before, unless rows of the table form
    /// may come in any order.
    pub start: usize,
    /// How many rows they are.
    pub rows: usize,
    /// For these rows, counted from 0; null or no row where the call failed.
    pub answer: Answer,
    /// The rows whose call failed, counted from 0, rising; none where a failure fails the batch.
    pub failed: Vec<(usize, Arc<CallError>)>,
}

impl Function {
    /// A function with everything that its queries share, except for `process`: the places for calls of all functions.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a setting is out of its range, or if answers are to be kept of a type that cannot be.
    pub fn new(signature: Signature, kind: Arc<dyn AsyncFunction>, settings: CallSettings, process: Arc<Budget>) -> Result<Self> {
        settings.check().map_err(|error| {
            let message = format!("function {:?}: {}", signature.name, error.message());
            Error::config(message)
        })?;
        let memory = match settings.cache.filter(|cache| cache.entries > 0) {
            Some(cache) => Some(Arc::new(Memory { cache: Cache::new(cache), codec: Codec::new(&signature)? })),
            None => None,
        };
        let nullable = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
        Ok(Self {
            args: Arc::new(Schema::new(signature.args.iter().map(nullable).collect::<Vec<_>>())),
            own: Budget::new(settings.max_in_flight),
            retry: Retry::new(settings.retry),
            rate_limit: settings.rate_limit.map(RateLimit::new),
            breaker: settings.breaker.map(|breaker| Breaker::new(breaker, Instant::now())),
            signature,
            kind,
            settings,
            process,
            memory,
        })
    }

    /// What SQL knows of it.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// How it is called.
    pub fn settings(&self) -> &CallSettings {
        &self.settings
    }

    /// Whether calls are made just now; none if it has no breaker.
    pub fn breaker(&self) -> Option<BreakerState> {
        self.breaker.as_ref().map(Breaker::state).or_else(|| self.kind.breaker())
    }

    /// Calls in flight just now, those of all queries.
    pub fn in_flight(&self) -> usize {
        self.own.in_flight()
    }

    /// Answers all rows of `args`, whose columns are the arguments by position: a part for each call, in the order of the rows, or as
    /// they come if the function is of the table form and not `ordered`. Rows are taken from `args` only while there is room in the
    /// window, on the task that polls the stream; the calls themselves are made on [`BatchContext::runtime`]. Dropping the stream
    /// cancels them.
    ///
    /// # Errors
    /// Where a failure fails the batch ([`OnError::Fail`]), the first one, after all other calls have been
    /// cancelled; it is the stream's last item. It is [`ErrorKind::Unavailable`] if the other side did not answer,
    /// [`ErrorKind::Config`] if the function is set up wrong, else [`ErrorKind::Data`]. Also any error of `args`.
    pub fn answer(
        self: &Arc<Self>,
        batch: BatchContext,
        args: BoxStream<'static, Result<RecordBatch>>,
    ) -> BoxStream<'static, Result<Answered>> {
        match &self.memory {
            Some(memory) => {
                let assembly = Recalling::new(self, memory, &batch);
                stream_of(Answering::new(self.clone(), batch, args, assembly))
            }
            None => {
                let assembly = Plain::new(self, &batch);
                stream_of(Answering::new(self.clone(), batch, args, assembly))
            }
        }
    }

    /// Forgets the answers that are kept for the rows of `args`, also those on their way: who asks from now on gets a fresh one.
    ///
    /// # Errors
    /// If `args` are not the arguments of the function.
    pub fn invalidate(&self, args: RecordBatch) -> Result<()> {
        if let Some(memory) = &self.memory {
            let keys = memory.codec.keys(&self.conform(args)?)?;
            (0..keys.count()).for_each(|row| memory.cache.invalidate(keys.key(row)));
        }
        Ok(())
    }

    /// Forgets all answers that are kept.
    pub fn invalidate_all(&self) {
        if let Some(memory) = &self.memory {
            memory.cache.clear();
        }
    }

    /// The arguments under the signature's names.
    pub(super) fn conform(&self, args: RecordBatch) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(args.num_rows()));
        let (_, columns, _) = args.into_parts();
        RecordBatch::try_new_with_options(self.args.clone(), columns, &options)
            .attempting(ErrorKind::Internal, || format!("pass the arguments of function {:?}", self.signature.name))
    }

    /// Whether a call or a row that failed so fails the batch: one of a function that is set up wrong always does, as no other will be answered.
    pub(super) fn fails_batch(&self, error: &CallError) -> bool {
        self.settings.on_error == OnError::Fail || error.kind == CallErrorKind::Config
    }

    /// The error of a batch that fails because a call for `rows`, counted from 1, did.
    pub(super) fn failed(&self, rows: &Range<usize>, error: CallError) -> Error {
        let kind = match error.kind {
            CallErrorKind::Timeout | CallErrorKind::Unavailable | CallErrorKind::CircuitOpen => ErrorKind::Unavailable,
            CallErrorKind::Rejected | CallErrorKind::BadAnswer | CallErrorKind::Defect => ErrorKind::Data,
            CallErrorKind::Config => ErrorKind::Config,
        };
        let rows = match rows.len() {
            1 => format!("row {}", rows.start),
            _ => format!("rows {} to {}", rows.start, rows.end - 1),
        };
        let message = format!("could not call function {:?} for {rows} (attempts: {})", self.signature.name, error.attempts);
        Error::new(kind, message).because(error)
    }

    /// The error of a call that did not come back.
    pub(super) fn lost(&self, error: &JoinError) -> Error {
        let message = format!("a call of function {:?} did not come back", self.signature.name);
        // Cancelled although nobody did: the runtime is shutting down, and a restart runs the batch again.
        let kind = if error.is_cancelled() { ErrorKind::Unavailable } else { ErrorKind::Internal };
        Error::new(kind, format!("{message}: {error}"))
    }
}

fn stream_of<A: Assembly + 'static>(answering: Answering<A>) -> BoxStream<'static, Result<Answered>> {
    stream::unfold(answering, |mut answering| async { answering.next().await.map(|part| (part, answering)) }).boxed()
}
