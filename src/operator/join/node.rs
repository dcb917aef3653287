//! A join of two streams in a logical plan.

use std::fmt;
use std::sync::Arc;

use datafusion::common::{Column, DFSchemaRef, DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::builder::build_join_schema;
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan, UserDefinedLogicalNodeCore};

use super::bounds::JoinTimes;
use super::condition::{Condition, has};
use crate::error::{ErrorKind, Result, from_datafusion};

/// The node that takes a join's place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct StreamJoin {
    /// The id of its operator.
    pub id: String,
    /// Inner, left, right, full or left semi.
    pub join_type: JoinType,
    /// What a pair must fulfil.
    pub condition: Condition,
    /// How long rows are kept.
    pub times: JoinTimes,
    left: LogicalPlan,
    right: LogicalPlan,
    schema: DFSchemaRef,
}

// Nodes have no order, but the trait asks for one.
impl PartialOrd for StreamJoin {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.id.partial_cmp(&other.id).filter(|order| order.is_ne() || self == other)
    }
}

impl StreamJoin {
    /// Takes the place of `join`.
    ///
    /// # Errors
    /// Kind `Config`, if a side has several event times.
    pub(super) fn new(id: &str, join: &Join) -> Result<Self> {
        let condition = Condition::of(join);
        let times = JoinTimes::of(join, &condition)?;
        let (left, right) = (join.left.as_ref().clone(), join.right.as_ref().clone());
        let schema = build_join_schema(left.schema(), right.schema(), &join.join_type);
        let schema = Arc::new(schema.map_err(|e| from_datafusion(e, ErrorKind::Config))?);
        Ok(Self { id: id.to_owned(), join_type: join.join_type, condition, times, left, right, schema })
    }

    /// Both inputs.
    pub(super) fn sides(&self) -> [&LogicalPlan; 2] {
        [&self.left, &self.right]
    }

    /// All expressions, in the order in which they are given back.
    fn slots(&mut self) -> Vec<Slot<'_>> {
        let Condition { keys, left, right, both } = &mut self.condition;
        let mut slots: Vec<Slot<'_>> = Vec::new();
        slots.extend(keys.iter_mut().flat_map(|key| [Slot::Expr(&mut key.left), Slot::Expr(&mut key.right)]));
        slots.extend(left.iter_mut().chain(right).chain(both).map(Slot::Expr));
        let JoinTimes { left_event, right_event, left, right, .. } = &mut self.times;
        slots.extend([left_event, right_event].into_iter().flatten().map(|(column, _)| Slot::Column(column)));
        slots.extend([left, right].into_iter().flatten().map(|expiry| Slot::Expr(&mut expiry.value)));
        slots
    }
}

/// Where an expression of the node stands.
enum Slot<'a> {
    Expr(&'a mut Expr),
    Column(&'a mut Column),
}

impl UserDefinedLogicalNodeCore for StreamJoin {
    fn name(&self) -> &str {
        "StreamJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.sides().into()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let mut node = self.clone();
        let exprs = node.slots().into_iter().map(|slot| match slot {
            Slot::Expr(expr) => expr.clone(),
            Slot::Column(column) => Expr::Column(column.clone()),
        });
        exprs.collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self
            .condition
            .keys
            .iter()
            .map(|key| format!("{} {} {}", key.left, if key.null_safe { "<=>" } else { "=" }, key.right));
        write!(f, "StreamJoin: {}, kind={}, keys=[{}]", self.id, self.join_type, keys.collect::<Vec<_>>().join(", "))?;
        let Condition { left, right, both, .. } = &self.condition;
        let rest: Vec<String> = left.iter().chain(right).chain(both).map(ToString::to_string).collect();
        if !rest.is_empty() {
            write!(f, ", condition=[{}]", rest.join(", "))?;
        }
        for (side, expiry) in [("left", &self.times.left), ("right", &self.times.right)] {
            match expiry {
                Some(expiry) if expiry.ahead_ms == 0 => write!(f, ", {side} ends={}", expiry.value)?,
                Some(expiry) => write!(f, ", {side} ends={} + {} ms", expiry.value, expiry.ahead_ms.saturating_neg())?,
                None => write!(f, ", {side} never ends")?,
            }
        }
        Ok(())
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> DataFusionResult<Self> {
        let broken = || DataFusionError::Internal("a join of streams keeps its expressions and its two inputs".to_owned());
        let mut node = self.clone();
        let slots = node.slots();
        if slots.len() != exprs.len() {
            return Err(broken());
        }
        for (slot, expr) in slots.into_iter().zip(exprs) {
            match (slot, expr) {
                (Slot::Expr(slot), expr) => *slot = expr,
                (Slot::Column(slot), Expr::Column(column)) => *slot = column,
                (Slot::Column(_), _) => return Err(broken()),
            }
        }
        let Ok([left, right]) = <[LogicalPlan; 2]>::try_from(inputs) else { return Err(broken()) };
        node.schema = Arc::new(build_join_schema(left.schema(), right.schema(), &self.join_type)?);
        Ok(Self { left, right, ..node })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // What the expressions name is added by the caller.
        let wanted = |side: &LogicalPlan| {
            let columns = output_columns.iter().map(|index| Column::from(self.schema.qualified_field(*index)));
            let columns = columns.filter(|column| has(side.schema(), column));
            let mut wanted: Vec<usize> = columns.filter_map(|column| side.schema().maybe_index_of_column(&column)).collect();
            wanted.sort_unstable();
            wanted.dedup();
            wanted
        };
        Some(vec![wanted(&self.left), wanted(&self.right)])
    }
}
