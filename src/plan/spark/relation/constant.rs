//! Constant expressions, evaluated while planning.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{ColumnarValue, Expr};
use datafusion::physical_expr::create_physical_expr;
use datafusion::scalar::ScalarValue;

use super::planner::broken;
use crate::error::{ErrorKind, Result, from_datafusion};

/// The value of `expr`, or nothing if it depends on more than constants.
pub(crate) fn evaluate(expr: &Expr) -> Result<Option<ScalarValue>> {
    let varies = expr.exists(|node| {
        Ok(matches!(
            node,
            Expr::Column(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
        ))
    });
    if varies.map_err(broken)? {
        return Ok(None);
    }
    let physical = create_physical_expr(expr, &DFSchema::empty(), &ExecutionProps::new(), &PhysicalPlanningContext::default())
        .map_err(broken)?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Schema::empty().into(), Vec::new(), &options);
    let row = row.map_err(|error| broken(error.into()))?;
    match physical.evaluate(&row).map_err(|error| from_datafusion(error, ErrorKind::Data))? {
        ColumnarValue::Scalar(value) => Ok(Some(value)),
        ColumnarValue::Array(values) => ScalarValue::try_from_array(&values, 0).map(Some).map_err(broken),
    }
}
