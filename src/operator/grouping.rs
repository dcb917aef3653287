//! Group keys as physical expressions, grouping sets included.

use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::expr::physical_name;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, ExprSchemable, GroupingSet};
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_plan::aggregates::PhysicalGroupBy;

/// The keys `group_expr` of an aggregation over `input`. Mixed grouping sets have been multiplied out: they are the only key then.
pub(super) fn physical_group_by(
    group_expr: &[Expr],
    input: &DFSchema,
    properties: &ExecutionProps,
    subqueries: &PhysicalPlanningContext,
) -> Result<PhysicalGroupBy> {
    let physical = |expr: &Expr| Ok((create_physical_expr(expr, input, properties, subqueries)?, physical_name(expr)?));
    let sets = match group_expr {
        [] => return Ok(PhysicalGroupBy::new(Vec::new(), Vec::new(), Vec::new(), false)),
        [Expr::GroupingSet(set)] => members(set),
        keys => return Ok(PhysicalGroupBy::new_single(keys.iter().map(physical).collect::<Result<_>>()?)),
    };
    let mut keys: Vec<&Expr> = Vec::new();
    for key in sets.iter().flatten() {
        if !keys.contains(key) {
            keys.push(key);
        }
    }
    let null = |key: &&Expr| {
        let null = Expr::Literal(ScalarValue::try_from(&key.get_type(input)?)?, None);
        Ok((create_physical_expr(&null, input, properties, subqueries)?, physical_name(key)?))
    };
    let nulls = keys.iter().map(null).collect::<Result<_>>()?;
    let absent = sets.iter().map(|set| keys.iter().map(|key| !set.contains(key)).collect()).collect();
    Ok(PhysicalGroupBy::new(keys.iter().map(|key| physical(key)).collect::<Result<_>>()?, nulls, absent, true))
}

/// The keys of each set.
fn members(set: &GroupingSet) -> Vec<Vec<&Expr>> {
    match set {
        GroupingSet::GroupingSets(sets) => sets.iter().map(|set| set.iter().collect()).collect(),
        GroupingSet::Rollup(keys) => (0..=keys.len()).rev().map(|length| keys[..length].iter().collect()).collect(),
        GroupingSet::Cube(keys) => (0..1usize << keys.len().min(usize::BITS as usize - 1))
            .map(|dropped| keys.iter().enumerate().filter(|(i, _)| dropped & (1 << i) == 0).map(|(_, key)| key).collect())
            .collect(),
    }
}
