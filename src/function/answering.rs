//! A stream of arguments → a stream of answers: the window of calls of one function in one batch.
//!
//! The stream itself is polled by the plan, on the runtime that computes; each call is a task on the one that does I/O. For up to twice
//! `max_in_flight` chunks there is a task, or an answer that waits for an earlier one: those that are in flight are fewer, as each
//! task asks for its places itself. So the window stays full while the plan is busy elsewhere, and memory is bounded.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use futures::stream::{BoxStream, StreamExt};
use tokio::task::{JoinError, JoinSet};
use tracing::Instrument;

use super::{Answered, Attempts, BatchContext, ChunkContext, Function, Returns};
use crate::clock::{Clock, SystemClock};
use crate::error::Result;

/// How rows become calls, and how what they answer becomes the answer for these rows.
pub(super) trait Assembly: Send {
    /// What a call hands back.
    type Called: Send + 'static;

    /// Whether rows may be taken, and calls made.
    fn has_room(&self) -> bool;
    /// Takes rows that are to be answered.
    fn take(&mut self, rows: RecordBatch) -> Result<()>;
    /// Makes the calls that there is room for; if `last`, there will be no more rows.
    fn call_what_fits(&mut self, last: bool, calls: &mut Calls<Self::Called>) -> Result<()>;
    /// Takes what a call handed back. An error fails the batch.
    fn put(&mut self, called: Self::Called) -> Result<()>;
    /// The next part of the answer, if it is complete.
    fn ready(&mut self) -> Result<Option<Answered>>;
}

/// The calls of one function in one batch.
#[derive(Debug)]
pub(super) struct Calls<T> {
    pub(super) function: Arc<Function>,
    pub(super) batch: BatchContext,
    started: SystemTime,
    made: usize,
    tasks: JoinSet<T>,
}

/// A batch that is being answered.
pub(super) struct Answering<A: Assembly> {
    calls: Calls<A::Called>,
    /// `None` once it has ended.
    args: Option<BoxStream<'static, Result<RecordBatch>>>,
    /// `None` once it has failed.
    assembly: Option<A>,
}

impl<T: Send + 'static> Calls<T> {
    fn new(function: Arc<Function>, batch: BatchContext) -> Self {
        let since_1970 = Duration::from_micros(u64::try_from(SystemClock.now_us()).unwrap_or(0));
        Self { function, batch, started: UNIX_EPOCH + since_1970, made: 0, tasks: JoinSet::new() }
    }

    /// Makes a call for `rows` of the batch, counted from 1, as a task of its own.
    pub(super) fn make<F>(&mut self, rows: Range<usize>, call: impl FnOnce(Arc<Function>, BatchContext, ChunkContext) -> F)
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.made += 1;
        let context = ChunkContext {
            origin: self.batch.origin.clone(),
            query: self.batch.query.clone(),
            batch_id: self.batch.batch_id,
            partition: 0,
            index: self.made,
            rows,
            started: self.started,
            parameters: self.function.settings.parameters.clone(),
            attempts: Attempts::default(),
        };
        let span = tracing::debug_span!(
            "call",
            function = %self.function.signature.name,
            query = %context.query,
            batch = context.batch_id,
            partition = context.partition,
            chunk = context.index
        );
        let call = call(self.function.clone(), self.batch.clone(), context);
        self.tasks.spawn_on(call.instrument(span), &self.batch.runtime);
    }

    fn back(&self, joined: Result<T, JoinError>) -> Result<T> {
        joined.map_err(|error| self.function.lost(&error))
    }
}

impl<A: Assembly> Answering<A> {
    pub(super) fn new(
        function: Arc<Function>,
        batch: BatchContext,
        args: BoxStream<'static, Result<RecordBatch>>,
        assembly: A,
    ) -> Self {
        Self { calls: Calls::new(function, batch), args: Some(args), assembly: Some(assembly) }
    }

    /// The next part of the answer. After an error there is none, and no call is in flight any more.
    pub(super) async fn next(&mut self) -> Option<Result<Answered>> {
        let assembly = self.assembly.as_mut()?;
        match advance(&mut self.calls, &mut self.args, assembly).await {
            Ok(answered) => answered.map(Ok),
            Err(error) => {
                (self.args, self.assembly) = (None, None);
                self.calls.tasks.shutdown().await;
                Some(Err(error))
            }
        }
    }
}

async fn advance<A: Assembly>(
    calls: &mut Calls<A::Called>,
    args: &mut Option<BoxStream<'static, Result<RecordBatch>>>,
    assembly: &mut A,
) -> Result<Option<Answered>> {
    loop {
        while let Some(joined) = calls.tasks.try_join_next() {
            assembly.put(calls.back(joined)?)?;
        }
        assembly.call_what_fits(args.is_none(), calls)?;
        if let Some(answered) = assembly.ready()? {
            return Ok(Some(answered));
        }
        let wanted = args.is_some() && assembly.has_room();
        if calls.tasks.is_empty() && !wanted {
            return Ok(None);
        }
        tokio::select! {
            biased;
            Some(joined) = calls.tasks.join_next(), if !calls.tasks.is_empty() => assembly.put(calls.back(joined)?)?,
            rows = next_of(args), if wanted => match rows {
                Some(rows) => assembly.take(calls.function.conform(rows?)?)?,
                None => *args = None,
            },
        }
    }
}

async fn next_of(args: &mut Option<BoxStream<'static, Result<RecordBatch>>>) -> Option<Result<RecordBatch>> {
    match args {
        Some(args) => args.next().await,
        None => None,
    }
}

impl Function {
    /// Values are in order: only then each stands beside its row.
    pub(super) fn keeps_order(&self) -> bool {
        self.settings.ordered || matches!(self.signature.returns, Returns::Value(_))
    }

    /// Calls of a batch that may be made or have answers waiting.
    pub(super) fn calls_ahead_max(&self) -> usize {
        self.settings.max_in_flight * 2
    }
}
