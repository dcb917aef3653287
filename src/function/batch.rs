//! What the functions of a query are called with in one of its batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::BatchContext;
use super::policy::Budget;
use crate::error::{Error, Result};
use crate::metrics::{FunctionMetrics, Metrics};

/// What the functions of a query are called with.
#[derive(Debug, Clone)]
pub struct QueryCalls {
    pipeline: Arc<str>,
    query: Arc<str>,
    batch_id: u64,
    budget: Arc<Budget>,
    metrics: Arc<BTreeMap<String, Arc<FunctionMetrics>>>,
    runtime: Handle,
}

impl QueryCalls {
    /// For the functions of these names in a query; `runtime` is where calls are made, `in_flight_max` how many of all of them at a time.
    pub fn new(
        (pipeline, query): (&str, &str),
        functions: impl IntoIterator<Item = String>,
        in_flight_max: usize,
        metrics: &Metrics,
        runtime: Handle,
    ) -> Self {
        let metrics = functions.into_iter().map(|name| {
            let series = metrics.function(pipeline, query, &name);
            (name, Arc::new(series))
        });
        let (metrics, budget) = (Arc::new(metrics.collect()), Arc::new(Budget::new(in_flight_max)));
        Self { pipeline: pipeline.into(), query: query.into(), batch_id: 0, budget, metrics, runtime }
    }

    /// The same in the batch of this number.
    #[must_use]
    pub fn in_batch(&self, batch_id: u64) -> Self {
        Self { batch_id, ..self.clone() }
    }

    /// For one of the functions; `call` tells the query's calls of functions apart.
    pub(crate) fn of(&self, function: &str, call: &str) -> Result<BatchContext> {
        let metrics = self.metrics.get(function).cloned();
        let metrics = metrics.ok_or_else(|| Error::internal(format!("function {function} is not one of the query's")))?;
        let origin = format!("{}/{}/{}/{function}.{call}", self.pipeline, self.query, self.batch_id);
        Ok(BatchContext {
            origin: origin.into(),
            query: self.query.clone(),
            batch_id: self.batch_id,
            query_budget: self.budget.clone(),
            metrics,
            runtime: self.runtime.clone(),
        })
    }
}
