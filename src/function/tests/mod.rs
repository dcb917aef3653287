//! The engine under all kinds, with a kind that does as it is told and counts what it sees.

mod cached;
mod calls;
mod failures;
mod shapes;
mod window;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema};
use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::runtime::Handle;

use super::policy::{Budget, RetrySettings};
use super::*;
use crate::error::Result;
use crate::metrics::Metrics;

type Behaviour = dyn Fn(Chunk, Arc<Seen>) -> BoxFuture<'static, Result<Reply, CallError>> + Send + Sync;

/// What a kind has seen.
#[derive(Debug, Default)]
struct Seen {
    calls: Mutex<Vec<ChunkContext>>,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
    finished: AtomicUsize,
}

impl Seen {
    fn calls(&self) -> Vec<ChunkContext> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    fn finished(&self) -> usize {
        self.finished.load(Ordering::SeqCst)
    }
}

/// Counts a call out however it ends.
struct InFlight(Arc<Seen>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Scripted {
    seen: Arc<Seen>,
    behaviour: Box<Behaviour>,
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

#[async_trait]
impl AsyncFunction for Scripted {
    async fn call(&self, chunk: Chunk) -> Result<Reply, CallError> {
        self.seen.calls.lock().unwrap().push(chunk.context.clone());
        let now = self.seen.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.seen.in_flight_max.fetch_max(now, Ordering::SeqCst);
        let _in_flight = InFlight(self.seen.clone());
        let reply = (self.behaviour)(chunk, self.seen.clone()).await;
        self.seen.finished.fetch_add(1, Ordering::SeqCst);
        reply
    }
}

/// A function from `n BIGINT` to a BIGINT, and what it sees.
struct Fixture {
    function: Arc<Function>,
    seen: Arc<Seen>,
}

fn settings() -> CallSettings {
    let retry = RetrySettings { attempts: 1, base_delay: Duration::from_millis(1), ..RetrySettings::default() };
    CallSettings { retry, timeout: Duration::from_secs(60), ..CallSettings::default() }
}

fn numbers_of(args: &RecordBatch) -> Vec<i64> {
    args.column(0).as_primitive::<Int64Type>().values().to_vec()
}

fn values(values: impl IntoIterator<Item = i64>) -> Reply {
    Answer::Values(Arc::new(Int64Array::from_iter_values(values))).into()
}

/// The answer that tests expect: ten times as much.
fn tenfold(chunk: &Chunk) -> Reply {
    values(numbers_of(&chunk.args).into_iter().map(|n| n * 10))
}

impl Fixture {
    fn new<F>(settings: CallSettings, behaviour: impl Fn(Chunk, Arc<Seen>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Reply, CallError>> + Send + 'static,
    {
        Self::returning(Returns::Value(DataType::Int64), settings, Arc::new(Budget::new(1000)), behaviour)
    }

    fn returning<F>(
        returns: Returns,
        settings: CallSettings,
        process: Arc<Budget>,
        behaviour: impl Fn(Chunk, Arc<Seen>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Reply, CallError>> + Send + 'static,
    {
        let seen = Arc::<Seen>::default();
        let behaviour = Box::new(move |chunk, seen| Box::pin(behaviour(chunk, seen)) as BoxFuture<'static, _>);
        let kind = Arc::new(Scripted { seen: seen.clone(), behaviour });
        let args = Fields::from(vec![Field::new("n", DataType::Int64, true)]);
        let signature = Signature { name: "risk".to_owned(), args, returns };
        Self { function: Arc::new(Function::new(signature, kind, settings, process).unwrap()), seen }
    }

    fn answer(&self, args: BoxStream<'static, Result<RecordBatch>>) -> BoxStream<'static, Result<Answered>> {
        self.function.answer(batch("q", &Arc::new(Budget::new(1000))), args)
    }

    /// The values for batches of so many rows each; `None` is a null. Parts must follow on each other.
    async fn values(&self, batches: &[usize]) -> Result<Vec<Option<i64>>> {
        let mut parts = self.answer(rows(batches));
        let mut all = Vec::new();
        while let Some(part) = soon(parts.next()).await {
            let part = part?;
            assert_eq!(part.start, all.len());
            let Answer::Values(values) = part.answer else { panic!("values were declared") };
            assert_eq!(values.len(), part.rows);
            all.extend(values.as_primitive::<Int64Type>());
        }
        Ok(all)
    }
}

fn batch(query: &str, query_budget: &Arc<Budget>) -> BatchContext {
    let metrics = Arc::new(Metrics::new().unwrap().function("p", query, "risk"));
    BatchContext {
        origin: format!("p/{query}/7/risk.1").into(),
        query: query.into(),
        batch_id: 7,
        query_budget: query_budget.clone(),
        metrics,
        runtime: Handle::current(),
    }
}

/// Batches of so many rows each, whose numbers count up from 0.
fn rows(batches: &[usize]) -> BoxStream<'static, Result<RecordBatch>> {
    let mut next = 0;
    let batches: Vec<_> = batches
        .iter()
        .map(|rows| {
            let numbers = next..next + *rows as i64;
            next = numbers.end;
            Ok(of(numbers))
        })
        .collect();
    stream::iter(batches).boxed()
}

fn of(numbers: impl IntoIterator<Item = i64>) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
    RecordBatch::try_from_iter([("any", numbers)]).unwrap()
}

/// What is waited for, or a test that fails.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it takes too long")
}

async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
