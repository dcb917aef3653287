//! Filters that can fail, kept where they are.
//!
//! DataFusion merges filters, reorders their conjuncts by cost and pushes them through joins. A conjunct like `1 / x > 2` would then
//! see rows that an earlier one excludes, and fail a query that Spark runs. Such conjuncts, and those after them, are hidden in a
//! node of their own while the rules run.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::DFSchemaRef;
use datafusion::common::tree_node::Transformed;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Expr, Extension, Filter, LogicalPlan, UserDefinedLogicalNodeCore};

use super::super::super::is_fallible;
use super::everywhere;
use crate::error::Result;

/// Hides the conjuncts of filters from the first fallible one on.
pub(super) fn protect(plan: LogicalPlan) -> Result<LogicalPlan> {
    everywhere(plan, |node| {
        let LogicalPlan::Filter(filter) = node else { return Ok(Transformed::no(node)) };
        if !is_fallible(&filter.predicate) {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        }
        let conjuncts = split_conjunction_owned(filter.predicate);
        let first = conjuncts.iter().position(is_fallible).unwrap_or(conjuncts.len());
        let mut conjuncts = conjuncts.into_iter();
        let mut input = Arc::unwrap_or_clone(filter.input);
        if let Some(predicate) = conjuncts.by_ref().take(first).reduce(Expr::and) {
            input = LogicalPlan::Filter(Filter::try_new(predicate, input.into())?);
        }
        let Some(predicate) = conjuncts.reduce(Expr::and) else { return Ok(Transformed::yes(input)) };
        Ok(Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(Guarded { input, predicate }) })))
    })
}

/// Brings the hidden filters back.
pub(super) fn release(plan: LogicalPlan) -> Result<LogicalPlan> {
    everywhere(plan, |node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        let Some(guarded) = extension.node.as_any().downcast_ref::<Guarded>() else { return Ok(Transformed::no(node)) };
        let filter = Filter::try_new(guarded.predicate.clone(), guarded.input.clone().into())?;
        Ok(Transformed::yes(LogicalPlan::Filter(filter)))
    })
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Guarded {
    input: LogicalPlan,
    predicate: Expr,
}

impl PartialOrd for Guarded {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let order = self.predicate.partial_cmp(&other.predicate)?;
        (order != Ordering::Equal || self == other).then_some(order)
    }
}

impl UserDefinedLogicalNodeCore for Guarded {
    fn name(&self) -> &str {
        "GuardedFilter"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.predicate.clone()]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuardedFilter: {}", self.predicate)
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DataFusionResult<Self> {
        match (exprs.pop(), inputs.pop()) {
            (Some(predicate), Some(input)) => Ok(Self { input, predicate }),
            _ => Err(DataFusionError::Internal("a filter takes one expression and one input".into())),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let schema = self.input.schema();
        let mut wanted = output_columns.to_vec();
        wanted.extend(self.predicate.column_refs().into_iter().filter_map(|column| schema.maybe_index_of_column(column)));
        wanted.sort_unstable();
        wanted.dedup();
        Some(vec![wanted])
    }
}
