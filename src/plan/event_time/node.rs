//! The node of a watermark: it looks at the event times that pass and hands every row on, unless one lies too far in the future.

use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{Column, DFSchemaRef};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::Watermark;
use super::exec::{Observer, WatermarkExec};
use super::shared::EventTime;

/// A watermark in a logical plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct WatermarkNode {
    id: String,
    column: Column,
    watermark: Watermark,
    input: LogicalPlan,
}

impl WatermarkNode {
    pub(super) fn new(id: &str, column: Column, watermark: Watermark, input: LogicalPlan) -> Self {
        Self { id: id.to_owned(), column, watermark, input }
    }

    /// What tells it from the query's other watermarks.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The event-time column.
    pub fn column(&self) -> &Column {
        &self.column
    }

    /// As it was declared.
    pub fn watermark(&self) -> &Watermark {
        &self.watermark
    }
}

/// The watermark that `plan` is, if it is one.
pub(super) fn watermark_of(plan: &LogicalPlan) -> Option<&WatermarkNode> {
    let LogicalPlan::Extension(extension) = plan else { return None };
    extension.node.as_any().downcast_ref()
}

impl UserDefinedLogicalNodeCore for WatermarkNode {
    fn name(&self) -> &str {
        "Watermark"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![Expr::Column(self.column.clone())]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        // As in Spark: a condition on other columns keeps its rows from moving the watermark, one on the event time does not.
        HashSet::from([self.column.name.clone()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Watermark { delay_ms, max_future_ms, idle_after_ms, .. } = &self.watermark;
        write!(f, "Watermark: {}, column={}, delay={delay_ms} ms", self.id, self.column)?;
        if let Some(ahead_ms) = max_future_ms {
            write!(f, ", max_future={ahead_ms} ms")?;
        }
        if let Some(silence_ms) = idle_after_ms {
            write!(f, ", idle_after={silence_ms} ms")?;
        }
        Ok(())
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DataFusionResult<Self> {
        match (exprs.pop(), inputs.pop()) {
            (Some(Expr::Column(column)), Some(input)) => Ok(Self { column, input, ..self.clone() }),
            _ => Err(DataFusionError::Internal("a watermark takes a column and an input".to_owned())),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut wanted = output_columns.to_vec();
        wanted.extend(self.input.schema().maybe_index_of_column(&self.column));
        wanted.sort_unstable();
        wanted.dedup();
        Some(vec![wanted])
    }
}

/// Plans [`WatermarkNode`]s; any other node is somebody else's.
#[derive(Debug)]
pub struct WatermarkPlanner(pub Arc<EventTime>);

#[async_trait]
impl ExtensionPlanner for WatermarkPlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        _session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> DataFusionResult<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = (node.as_any() as &dyn Any).downcast_ref::<WatermarkNode>() else { return Ok(None) };
        let ([logical], [input]) = (logical_inputs, physical_inputs) else {
            return Err(DataFusionError::Internal("a watermark takes one input".to_owned()));
        };
        let observer = Observer {
            shared: self.0.clone(),
            id: node.id.clone(),
            index: logical.schema().index_of_column(&node.column)?,
            max_future_ms: node.watermark.max_future_ms,
        };
        Ok(Some(Arc::new(WatermarkExec::new(observer, input.clone()))))
    }
}
