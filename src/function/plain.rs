//! Every row in a call: chunks as the rows come, and an answer for each.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::answering::{Assembly, Calls};
use super::check::nothing;
use super::chunks::Chunker;
use super::{Answered, BatchContext, CallError, Chunk, Function, Reply};
use crate::error::Result;
use crate::metrics::FunctionMetrics;

/// How a call went.
pub(super) struct Called {
    /// Number of its chunk, from 0.
    chunk: usize,
    /// Rows of the batch that it was for, from 1.
    rows: Range<usize>,
    result: Result<Reply, CallError>,
}

/// The answers of one batch.
pub(super) struct Plain {
    function: Arc<Function>,
    metrics: Arc<FunctionMetrics>,
    chunker: Chunker,
    rows_called: usize,
    chunks_called: usize,
    /// Calls whose answer was not given out yet.
    held: usize,
    /// Answers of the chunks from `first` on, which is still in flight; `None` for others that are. Empty if order does not matter.
    early: VecDeque<Option<Answered>>,
    first: usize,
    /// Answers to be given out.
    ready: VecDeque<Answered>,
}

impl Plain {
    pub(super) fn new(function: &Arc<Function>, batch: &BatchContext) -> Self {
        Self {
            function: function.clone(),
            metrics: batch.metrics.clone(),
            chunker: Chunker::new(function.args.clone(), function.settings.chunk_size),
            rows_called: 0,
            chunks_called: 0,
            held: 0,
            early: VecDeque::new(),
            first: 0,
            ready: VecDeque::new(),
        }
    }
}

impl Assembly for Plain {
    type Called = Called;

    fn has_room(&self) -> bool {
        self.held < self.function.calls_ahead_max()
    }

    fn take(&mut self, rows: RecordBatch) -> Result<()> {
        self.chunker.push(rows);
        Ok(())
    }

    fn call_what_fits(&mut self, last: bool, calls: &mut Calls<Called>) -> Result<()> {
        while self.has_room()
            && let Some(args) = self.chunker.next(last)?
        {
            let start = self.rows_called + 1;
            let rows = start..start + args.num_rows();
            let chunk = self.chunks_called;
            self.rows_called += args.num_rows();
            self.chunks_called += 1;
            self.held += 1;
            calls.make(rows.clone(), |function, batch, context| async move {
                let result = function.call(&Chunk { context, args }, &batch).await;
                Called { chunk, rows, result }
            });
        }
        Ok(())
    }

    fn put(&mut self, called: Called) -> Result<()> {
        let (start, rows) = (called.rows.start - 1, called.rows.len());
        let (answer, failed) = match called.result {
            Ok(reply) => {
                if let Some((row, error)) = reply.failed.iter().find(|(_, error)| self.function.fails_batch(error)) {
                    let number = called.rows.start + row;
                    return Err(self.function.failed(&(number..number + 1), error.clone()));
                }
                (reply.answer, reply.failed.into_iter().map(|(row, error)| (row, Arc::new(error))).collect())
            }
            Err(error) if self.function.fails_batch(&error) => return Err(self.function.failed(&called.rows, error)),
            Err(error) => {
                let error = Arc::new(error);
                let failed: Vec<_> = (0..rows).map(|row| (row, error.clone())).collect();
                (nothing(&self.function.signature.returns, rows), failed)
            }
        };
        self.metrics.rows_failed.inc_by(failed.len() as u64);
        let answered = Answered { start, rows, answer, failed };
        if !self.function.keeps_order() {
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

    fn ready(&mut self) -> Result<Option<Answered>> {
        let answered = self.ready.pop_front();
        self.held -= usize::from(answered.is_some());
        Ok(answered)
    }
}
