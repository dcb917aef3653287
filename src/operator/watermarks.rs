//! How far the watermark that an operator sees lies behind the query's.
//!
//! An operator's watermark is the lowest of those that its inputs hand on; an input without any says nothing. A join hands on what
//! the older of its sides has been remembered for, everything else what it sees.

use datafusion::logical_expr::LogicalPlan;

use super::join;
use crate::plan::event_time::WatermarkNode;

/// The lag of an operator over `inputs`, in milliseconds; `None` if no watermark stands below it.
pub fn input_lag_ms(inputs: &[&LogicalPlan]) -> Option<i64> {
    inputs.iter().filter_map(|input| output_lag_ms(input)).max()
}

/// The lag of the watermark that `plan` hands on.
fn output_lag_ms(plan: &LogicalPlan) -> Option<i64> {
    if let LogicalPlan::Extension(extension) = plan
        && extension.node.as_any().is::<WatermarkNode>()
    {
        return Some(0);
    }
    let seen_ms = input_lag_ms(&plan.inputs())?;
    let held_back_ms = match plan {
        LogicalPlan::Extension(extension) => join::held_back_ms(extension.node.as_ref()).unwrap_or(0),
        _ => 0,
    };
    Some(seen_ms.saturating_add(held_back_ms))
}
