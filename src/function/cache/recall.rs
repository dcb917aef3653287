//! Rows whose answer is kept are answered from the cache; each other is asked once, in chunks as full as there are such rows, and what
//! is answered goes back to every row it is for, in their order.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arrow::array::{Array, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};

use super::codec::Keys;
use super::{Cache, Claim, Codec, End, Key, Outcome, Value};
use crate::error::{Attempt, ErrorKind, Result};
use crate::function::answering::{Assembly, Calls};
use crate::function::{Answer, Answered, Attempts, BatchContext, CallError, CallErrorKind, Chunk, Function, Reply};
use crate::metrics::FunctionMetrics;

/// Rows that are given out together, at most.
const PART_ROWS: usize = 1024;
/// Rows that may wait for their answer, beside those of the window of calls: what is kept must not hold up what is asked.
const ROWS_AHEAD: usize = 8192;

/// What is kept of a function's answers.
#[derive(Debug)]
pub(in crate::function) struct Memory {
    pub(in crate::function) cache: Cache,
    pub(in crate::function) codec: Codec,
}

/// What is asked of one call; set once it has ended.
type Asked = OnceLock<Vec<Outcome>>;

/// Where the answer for a row comes from.
enum Source {
    Kept(Value),
    Asked(Arc<Asked>, usize),
}

/// Rows that are given out together.
struct Part {
    start: usize,
    rows: Vec<Source>,
    /// Calls it waits for.
    waits: Vec<Arc<Asked>>,
}

/// A batch that came in, looked up as far as `next`.
struct Incoming {
    rows: RecordBatch,
    keys: Keys,
    next: usize,
}

/// A chunk that is being filled.
#[derive(Default)]
struct Filling {
    asked: Arc<Asked>,
    keys: Vec<Key>,
    args: Vec<RecordBatch>,
    /// Rows of the incoming batch that are to be added to `args`.
    picked: Vec<u64>,
    /// The first and the last row of the batch that it is for, from 1.
    rows: Option<(usize, usize)>,
}

/// How a call went.
pub(in crate::function) struct Called {
    asked: Arc<Asked>,
    keys: Vec<Key>,
    outcomes: Result<Vec<Outcome>>,
}

/// The answers of one batch.
pub(in crate::function) struct Recalling {
    function: Arc<Function>,
    memory: Arc<Memory>,
    metrics: Arc<FunctionMetrics>,
    incoming: VecDeque<Incoming>,
    filling: Filling,
    /// What is asked or about to be, by key.
    asking: HashMap<Key, (Arc<Asked>, usize)>,
    calls: usize,
    rows_taken: usize,
    rows_held: usize,
    /// Rows looked up that are in no part yet.
    open: Part,
    parts: VecDeque<Part>,
}

impl Recalling {
    pub(in crate::function) fn new(function: &Arc<Function>, memory: &Arc<Memory>, batch: &BatchContext) -> Self {
        Self {
            function: function.clone(),
            memory: memory.clone(),
            metrics: batch.metrics.clone(),
            incoming: VecDeque::new(),
            filling: Filling::default(),
            asking: HashMap::new(),
            calls: 0,
            rows_taken: 0,
            rows_held: 0,
            open: Part { start: 0, rows: Vec::new(), waits: Vec::new() },
            parts: VecDeque::new(),
        }
    }

    fn rows_held_max(&self) -> usize {
        ROWS_AHEAD + self.function.calls_ahead_max().saturating_mul(self.function.settings.chunk_size)
    }

    /// Looks up rows of the batch at the front until a chunk is full, a part is, or it has no more.
    fn look_up(&mut self) -> Result<()> {
        let Some(front) = self.incoming.front_mut() else { return Ok(()) };
        let (now, chunk_size) = (Instant::now(), self.function.settings.chunk_size);
        let mut hits = 0;
        while front.next < front.keys.count() && self.open.rows.len() < PART_ROWS && self.filling.keys.len() < chunk_size {
            let (row, key) = (front.next, front.keys.key(front.next));
            front.next += 1;
            self.rows_taken += 1;
            self.rows_held += 1;
            if let Some(value) = self.memory.cache.get(key, now) {
                hits += 1;
                self.open.rows.push(Source::Kept(value));
                continue;
            }
            let (asked, at) = match self.asking.get(key) {
                Some(asked) => {
                    hits += 1;
                    asked.clone()
                }
                None => {
                    let key = Key::from(key);
                    let asked = self.filling.add(key.clone(), row, self.rows_taken);
                    self.asking.insert(key, asked.clone());
                    asked
                }
            };
            if !self.open.waits.last().is_some_and(|last| Arc::ptr_eq(last, &asked)) {
                self.open.waits.push(asked.clone());
            }
            self.open.rows.push(Source::Asked(asked, at));
        }
        self.metrics.cache_hits.inc_by(hits);
        self.filling.pick(&front.rows)?;
        let done = front.next == front.keys.count();
        if done {
            self.incoming.pop_front();
        }
        if done || self.open.rows.len() >= PART_ROWS {
            self.close();
        }
        Ok(())
    }

    fn close(&mut self) {
        if !self.open.rows.is_empty() {
            let next = Part { start: self.rows_taken, rows: Vec::new(), waits: Vec::new() };
            self.parts.push_back(std::mem::replace(&mut self.open, next));
        }
    }

    fn call(&mut self, calls: &mut Calls<Called>) -> Result<()> {
        let Filling { asked, keys, args, rows, .. } = std::mem::take(&mut self.filling);
        let Some((first, last)) = rows else { return Ok(()) };
        let args = concat_batches(&self.function.args, &args).attempting(ErrorKind::Internal, || "fill a chunk".to_owned())?;
        self.calls += 1;
        let memory = self.memory.clone();
        calls.make(first..last + 1, |function, batch, context| async move {
            let ask = Ask { function: &function, memory: &memory, batch: &batch, chunk: Chunk { context, args }, keys: &keys };
            let outcomes = ask.outcomes().await;
            Called { asked, keys, outcomes }
        });
        Ok(())
    }

    fn assemble(&mut self, part: Part) -> Result<Answered> {
        let mut failed = Vec::new();
        let values: Vec<Option<&Value>> = part
            .rows
            .iter()
            .enumerate()
            .map(|(row, source)| match source {
                Source::Kept(value) => Some(value),
                Source::Asked(asked, at) => match asked.get().and_then(|outcomes| outcomes.get(*at)) {
                    Some(Ok(value)) => Some(value),
                    Some(Err(error)) => {
                        failed.push((row, error.clone()));
                        None
                    }
                    None => None,
                },
            })
            .collect();
        self.metrics.rows_failed.inc_by(failed.len() as u64);
        self.rows_held -= values.len();
        let answer = self.memory.codec.join(values.into_iter())?;
        Ok(Answered { start: part.start, rows: part.rows.len(), answer, failed })
    }
}

impl Assembly for Recalling {
    type Called = Called;

    fn has_room(&self) -> bool {
        self.calls < self.function.calls_ahead_max() && self.rows_held < self.rows_held_max()
    }

    fn take(&mut self, rows: RecordBatch) -> Result<()> {
        if rows.num_rows() > 0 {
            let keys = self.memory.codec.keys(&rows)?;
            self.incoming.push_back(Incoming { rows, keys, next: 0 });
        }
        Ok(())
    }

    fn call_what_fits(&mut self, last: bool, calls: &mut Calls<Called>) -> Result<()> {
        while self.calls < self.function.calls_ahead_max() {
            let full = self.filling.keys.len() == self.function.settings.chunk_size;
            let stuck = self.rows_held >= self.rows_held_max() || (last && self.incoming.is_empty());
            if full || (stuck && !self.filling.keys.is_empty()) {
                self.call(calls)?;
            } else if stuck || self.incoming.is_empty() {
                break;
            } else {
                self.look_up()?;
            }
        }
        if self.rows_held >= self.rows_held_max() || (last && self.incoming.is_empty()) {
            self.close();
        }
        Ok(())
    }

    fn put(&mut self, called: Called) -> Result<()> {
        self.calls -= 1;
        for key in &called.keys {
            self.asking.remove(key);
        }
        // Set once: there is one task for each call.
        let _ = called.asked.set(called.outcomes?);
        Ok(())
    }

    fn ready(&mut self) -> Result<Option<Answered>> {
        let looked_at = if self.function.keeps_order() { 1 } else { self.parts.len() };
        let ready = self.parts.iter_mut().take(looked_at).position(|part| {
            while part.waits.last().is_some_and(|asked| asked.get().is_some()) {
                part.waits.pop();
            }
            part.waits.is_empty()
        });
        match ready.and_then(|at| self.parts.remove(at)) {
            Some(part) => self.assemble(part).map(Some),
            None => Ok(None),
        }
    }
}

impl Filling {
    /// Adds `row` of the incoming batch, which is number `number` of all rows.
    fn add(&mut self, key: Key, row: usize, number: usize) -> (Arc<Asked>, usize) {
        self.keys.push(key);
        self.picked.push(row as u64);
        self.rows = Some((self.rows.map_or(number, |(first, _)| first), number));
        (self.asked.clone(), self.keys.len() - 1)
    }

    /// Copies what was added of `rows`.
    fn pick(&mut self, rows: &RecordBatch) -> Result<()> {
        let picked = std::mem::take(&mut self.picked);
        let (Some(first), Some(last)) = (picked.first(), picked.last()) else { return Ok(()) };
        // Neighbours, as where nothing is kept yet, need no copy.
        let slice = last - first + 1 == picked.len() as u64;
        let args = if slice || rows.num_columns() == 0 {
            rows.slice(*first as usize, picked.len())
        } else {
            take_record_batch(rows, &UInt64Array::from(picked)).attempting(ErrorKind::Internal, || "fill a chunk".to_owned())?
        };
        self.args.push(args);
        Ok(())
    }
}

/// A chunk of different keys that were not kept when they were looked up.
struct Ask<'a> {
    function: &'a Function,
    memory: &'a Memory,
    batch: &'a BatchContext,
    chunk: Chunk,
    keys: &'a [Key],
}

impl Ask<'_> {
    /// What there is for each key: kept meanwhile, asked by somebody else, or asked here.
    ///
    /// # Errors
    /// The error of the batch, if a failure fails it.
    async fn outcomes(&self) -> Result<Vec<Outcome>> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; self.keys.len()];
        let mut open: Vec<usize> = (0..self.keys.len()).collect();
        while !open.is_empty() {
            let claims = self.memory.cache.claim(open.iter().map(|at| (*at, self.keys[*at].clone())), Instant::now());
            self.batch.metrics.cache_hits.inc_by(claims.found.len() as u64);
            for (at, value) in claims.found {
                outcomes[at] = Some(Ok(value));
            }
            self.ask(claims.mine, &mut outcomes).await?;
            open.clear();
            // Last: whoever waits for the call above must not wait for these too.
            for (at, flight, row) in claims.asked {
                self.batch.metrics.cache_hits.inc();
                outcomes[at] = match flight.end().await {
                    End::Answered(answers) => {
                        answers.get(row).map(|outcome| self.unless_it_fails_the_batch(outcome)).transpose()?
                    }
                    End::Failed(error) => Some(self.unless_it_fails_the_batch(&Err(error.clone()))?),
                    End::Abandoned => {
                        open.push(at);
                        None
                    }
                };
            }
        }
        let lost = || Arc::new(CallError::new(CallErrorKind::Defect, "its answer was lost"));
        Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Err(lost()))).collect())
    }

    /// Makes a call for what was claimed, if anything.
    async fn ask(&self, mine: Claim<'_>, outcomes: &mut [Option<Outcome>]) -> Result<()> {
        let numbers: Vec<usize> = mine.numbers().collect();
        if numbers.is_empty() {
            return Ok(());
        }
        self.batch.metrics.cache_misses.inc_by(numbers.len() as u64);
        match self.call(&numbers).await? {
            Ok(answered) => {
                mine.answered(answered.clone(), Instant::now());
                for (at, outcome) in numbers.iter().zip(answered.iter()) {
                    outcomes[*at] = Some(self.unless_it_fails_the_batch(outcome)?);
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                mine.failed(error.clone());
                let outcome = self.unless_it_fails_the_batch(&Err(error))?;
                numbers.iter().for_each(|at| outcomes[*at] = Some(outcome.clone()));
            }
        }
        Ok(())
    }

    fn unless_it_fails_the_batch(&self, outcome: &Outcome) -> Result<Outcome> {
        match outcome {
            Err(error) if self.function.fails_batch(error) => {
                Err(self.function.failed(&self.chunk.context.rows, error.as_ref().clone()))
            }
            outcome => Ok(outcome.clone()),
        }
    }

    async fn call(&self, mine: &[usize]) -> Result<Result<Arc<[Outcome]>, CallError>> {
        let mut chunk = self.chunk.clone();
        // Each call counts its own, should there be several.
        chunk.context.attempts = Attempts::default();
        if mine.len() < self.keys.len() {
            let rows = UInt64Array::from_iter_values(mine.iter().map(|at| *at as u64));
            chunk.args = take_record_batch(&chunk.args, &rows).attempting(ErrorKind::Internal, || "fill a chunk".to_owned())?;
        }
        match self.function.call(&chunk, self.batch).await {
            Ok(Reply { answer: Answer::Rows { of, .. }, .. }) if of.null_count() > 0 => {
                let why = "its rows do not say which row they are for: the cache must know";
                Ok(Err(CallError::new(CallErrorKind::BadAnswer, why)))
            }
            Ok(reply) => {
                let mut outcomes: Vec<Outcome> =
                    self.memory.codec.split(&reply.answer, mine.len())?.into_iter().map(Ok).collect();
                for (row, error) in reply.failed {
                    outcomes[row] = Err(Arc::new(error));
                }
                Ok(Ok(outcomes.into()))
            }
            Err(error) => Ok(Err(error)),
        }
    }
}
