//! A stream of arguments → a stream of answers: the window of calls of one function in one batch.
//!
//! The stream itself is polled by the plan, on the runtime that computes; each call is a task on the one that does I/O. For up to twice
//! `max_in_flight` chunks there is a task, or an answer that waits for an earlier one: those that are in flight are fewer, as each
//! task asks for its places itself. So the window stays full while the plan is busy elsewhere, and memory is bounded.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use futures::stream::{BoxStream, StreamExt};
use tokio::task::{JoinError, JoinSet};
use tracing::Instrument;

use super::check::nothing;
use super::chunks::Chunker;
use super::{Answer, Answered, Attempts, BatchContext, CallError, Chunk, ChunkContext, Function, OnError, Returns};
use crate::clock::{Clock, SystemClock};
use crate::error::Result;

/// How a call went.
struct Called {
    /// Number of its chunk, from 0.
    chunk: usize,
    /// Rows of the batch that it was for, from 1.
    rows: Range<usize>,
    result: Result<Answer, CallError>,
}

/// The calls of one function in one batch.
pub(super) struct Answering {
    function: Arc<Function>,
    batch: BatchContext,
    started: SystemTime,
    /// `None` once it has ended.
    args: Option<BoxStream<'static, Result<RecordBatch>>>,
    chunker: Chunker,
    rows_called: usize,
    chunks_called: usize,
    calls: JoinSet<Called>,
    /// Calls whose answer was not given out yet.
    held: usize,
    ordered: bool,
    /// Answers of the chunks from `first` on, which is still in flight; `None` for others that are. Empty unless `ordered`.
    early: VecDeque<Option<Answered>>,
    first: usize,
    /// Answers to be given out.
    ready: VecDeque<Answered>,
}

impl Answering {
    pub(super) fn new(function: Arc<Function>, batch: BatchContext, args: BoxStream<'static, Result<RecordBatch>>) -> Self {
        let chunker = Chunker::new(function.args.clone(), function.settings.chunk_size);
        let ordered = function.settings.ordered || matches!(function.signature.returns, Returns::Value(_));
        let since_1970 = Duration::from_micros(u64::try_from(SystemClock.now_us()).unwrap_or(0));
        Self {
            function,
            batch,
            started: UNIX_EPOCH + since_1970,
            args: Some(args),
            chunker,
            rows_called: 0,
            chunks_called: 0,
            calls: JoinSet::new(),
            held: 0,
            ordered,
            early: VecDeque::new(),
            first: 0,
            ready: VecDeque::new(),
        }
    }

    /// The next part of the answer. After an error there is none, and no call is in flight any more.
    pub(super) async fn next(&mut self) -> Option<Result<Answered>> {
        match self.advance().await {
            Ok(answered) => answered.map(Ok),
            Err(error) => {
                self.args = None;
                self.ready.clear();
                self.chunker = Chunker::new(self.function.args.clone(), self.function.settings.chunk_size);
                self.calls.shutdown().await;
                Some(Err(error))
            }
        }
    }

    async fn advance(&mut self) -> Result<Option<Answered>> {
        loop {
            while let Some(done) = self.calls.try_join_next() {
                self.put(done)?;
            }
            self.call_what_fits()?;
            if let Some(answered) = self.ready.pop_front() {
                self.held -= 1;
                return Ok(Some(answered));
            }
            let wanted = self.has_room() && self.args.is_some();
            if self.calls.is_empty() && !wanted {
                return Ok(None);
            }
            tokio::select! {
                biased;
                Some(done) = self.calls.join_next(), if !self.calls.is_empty() => self.put(done)?,
                rows = next_of(&mut self.args), if wanted => match rows {
                    Some(rows) => self.chunker.push(self.function.conform(rows?)?),
                    None => self.args = None,
                },
            }
        }
    }

    fn has_room(&self) -> bool {
        self.held < self.function.settings.max_in_flight * 2
    }

    fn call_what_fits(&mut self) -> Result<()> {
        while self.has_room()
            && let Some(args) = self.chunker.next(self.args.is_none())?
        {
            self.call(args);
        }
        Ok(())
    }

    fn call(&mut self, args: RecordBatch) {
        let start = self.rows_called + 1;
        let rows = start..start + args.num_rows();
        let index = self.chunks_called;
        self.rows_called += args.num_rows();
        self.chunks_called += 1;
        self.held += 1;
        let context = ChunkContext {
            query: self.batch.query.clone(),
            batch_id: self.batch.batch_id,
            partition: 0,
            index: index + 1,
            rows: rows.clone(),
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
        let (function, batch) = (self.function.clone(), self.batch.clone());
        let call = async move {
            let result = function.call(&Chunk { context, args }, &batch).await;
            Called { chunk: index, rows, result }
        };
        self.calls.spawn_on(call.instrument(span), &self.batch.runtime);
    }

    fn put(&mut self, done: Result<Called, JoinError>) -> Result<()> {
        let called = done.map_err(|error| self.function.lost(&error))?;
        let (start, rows) = (called.rows.start - 1, called.rows.len());
        let answered = match called.result {
            Ok(answer) => Answered { start, rows, answer, failed: Vec::new() },
            Err(error) if self.function.settings.on_error == OnError::Fail => {
                return Err(self.function.failed(&called.rows, error));
            }
            Err(error) => {
                self.batch.metrics.rows_failed.inc_by(rows as u64);
                let error = Arc::new(error);
                let failed = (0..rows).map(|row| (row, error.clone())).collect();
                Answered { start, rows, answer: nothing(&self.function.signature.returns, rows), failed }
            }
        };
        if !self.ordered {
            self.ready.push_back(answered);
            return Ok(());
        }
        let place = called.chunk - self.first;
        if self.early.len() <= place {
            self.early.resize_with(place + 1, || None);
        }
        self.early[place] = Some(answered);
        while let Some(next) = self.early.front_mut().and_then(Option::take) {
            self.early.pop_front();
            self.first += 1;
            self.ready.push_back(next);
        }
        Ok(())
    }
}

async fn next_of(args: &mut Option<BoxStream<'static, Result<RecordBatch>>>) -> Option<Result<RecordBatch>> {
    match args {
        Some(args) => args.next().await,
        None => None,
    }
}
