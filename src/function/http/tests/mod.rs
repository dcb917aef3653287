//! HTTP functions against a real server in the same process.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{Array, ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Fields};
use futures::StreamExt;
use tokio::runtime::Handle;

use super::*;
use crate::clock::ManualClock;
use crate::format::json::write::{WriteOptions, write_value};
use crate::function::policy::{Attempts, Budget, RetrySettings};
use crate::function::{
    Answer, BatchContext, CallErrorKind, CallSettings, ChunkContext, Function, Mistake, OnError, Returns, Signature,
};
use crate::metrics::Metrics;
use crate::pipeline::Text;
use crate::plan::spark::types::{parse_ddl, parse_schema};

mod calls;
mod chains;
mod failures;
mod identity;
mod mapping;
mod mistakes;
mod secured;
pub(in crate::function) mod server;
mod tls;

use server::{Server, reply, with};

/// 2026-01-02T03:04:05.678Z.
const NOW_US: i64 = 1_767_323_045_678_000;

fn template(text: &str) -> Template {
    Template::parse(text).unwrap()
}

/// Settings for a server of this machine.
fn local(url: &str) -> HttpSettings {
    let mut settings = HttpSettings::new(template(url));
    settings.connection.addresses.allow = vec!["127.0.0.0/8".parse().unwrap()];
    settings
}

/// Few attempts, and none waits for long.
fn calls() -> CallSettings {
    let retry =
        RetrySettings { attempts: 3, base_delay: Duration::from_millis(1), max_delay: Duration::from_millis(2), budget: 1.0 };
    CallSettings { chunk_size: 1, retry, timeout: Duration::from_secs(30), ..CallSettings::default() }
}

fn shared() -> Shared {
    let clock = Arc::new(ManualClock::at_us(NOW_US));
    Shared { clients: Arc::default(), clock, time_zone: "Europe/Rome".into() }
}

fn signature(args: &str, returns: &str) -> Signature {
    let returns = match returns.strip_prefix("TABLE ") {
        Some(columns) => Returns::Rows(Arc::new(parse_schema(columns).unwrap())),
        None => Returns::Value(parse_ddl(returns).unwrap()),
    };
    Signature { name: "risk".to_owned(), args: parse_schema(args).unwrap().fields().clone(), returns }
}

/// A function, and the way to call it for a single row.
struct Fixture {
    function: Arc<Function>,
    args: Fields,
}

impl Fixture {
    fn new(args: &str, returns: &str, settings: &HttpSettings) -> Self {
        Self::with(args, returns, settings, calls())
    }

    fn with(args: &str, returns: &str, settings: &HttpSettings, calls: CallSettings) -> Self {
        Self::sharing(args, returns, settings, calls, &shared())
    }

    fn sharing(args: &str, returns: &str, settings: &HttpSettings, calls: CallSettings, shared: &Shared) -> Self {
        let signature = signature(args, returns);
        let args = signature.args.clone();
        let function = function(signature, settings, calls, shared, Arc::new(Budget::new(10_000))).unwrap();
        Self { function: Arc::new(function), args }
    }

    /// One call, past the engine.
    async fn call(&self, values: Vec<ArrayRef>) -> (Result<Answer, CallError>, u32) {
        let args = RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(self.args.clone())), values).unwrap();
        let attempts = Attempts::default();
        let context = ChunkContext {
            origin: "p/q/7/risk.1".into(),
            query: "q".into(),
            batch_id: 7,
            partition: 0,
            index: 1,
            rows: 3..4,
            started: SystemTime::UNIX_EPOCH,
            parameters: Arc::default(),
            attempts: attempts.clone(),
        };
        let reply = self.function.kind.call(Chunk { context, args }).await;
        (reply.map(|reply| reply.answer), attempts.made())
    }

    /// The answer for one row, as JSON.
    async fn answer(&self, values: Vec<ArrayRef>) -> String {
        match self.call(values).await.0 {
            Ok(answer) => json(answer),
            Err(error) => panic!("{error}"),
        }
    }

    /// The failure for one row.
    async fn error(&self, values: Vec<ArrayRef>) -> (CallErrorKind, String) {
        match self.call(values).await.0 {
            Ok(answer) => panic!("{}", json(answer)),
            Err(error) => (error.kind, error.message),
        }
    }

    /// The values for all rows through the engine, as JSON; an error as its chain.
    async fn all(&self, batch: RecordBatch) -> Result<Vec<String>, String> {
        let context = BatchContext {
            origin: "p/q/7/f.1".into(),
            query: "q".into(),
            batch_id: 7,
            query_budget: Arc::new(Budget::new(10_000)),
            metrics: Arc::new(Metrics::new().unwrap().function("p", "q", "risk")),
            runtime: Handle::current(),
        };
        let mut parts = self.function.answer(context, futures::stream::iter([Ok(batch)]).boxed());
        let mut all = Vec::new();
        while let Some(part) = parts.next().await {
            match part {
                Ok(part) => all.push(json(part.answer)),
                Err(error) => return Err(error.chain()),
            }
        }
        Ok(all)
    }
}

fn json(answer: Answer) -> String {
    let array: ArrayRef = match answer {
        Answer::Values(values) => values,
        Answer::Rows { rows, .. } => Arc::new(StructArray::from(rows)),
    };
    let options = WriteOptions { ignore_null_fields: false, ..WriteOptions::default() };
    let row = |row| {
        let mut out = Vec::new();
        write_value(array.as_ref(), row, &options, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    (0..array.len()).map(row).collect::<Vec<_>>().join(" ")
}

fn text(value: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![value]))
}

fn double(value: f64) -> ArrayRef {
    Arc::new(Float64Array::from(vec![value]))
}

fn null(data_type: &DataType) -> ArrayRef {
    arrow::array::new_null_array(data_type, 1)
}
