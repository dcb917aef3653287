//! Deduplications and joins judge rows by an event time that somebody reads.
//!
//! Spark takes out columns that nothing reads before it looks for the event time of such an operator, so a query that does not
//! select it has no late rows there. Results depend on it, hence the same here.

use std::collections::BTreeSet;

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, Projection};

use crate::error::{ErrorKind, Result, from_datafusion};
use crate::operator::deduplicate::Deduplicate;
use crate::operator::join::filters::stream_join;

use super::lineage::event_column;

/// An optimised plan whose deduplications no longer look at event times that are neither among their keys nor read above them.
pub fn without_unread(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !plan.exists(|node| Ok(deduplication(node).is_some())).map_err(|e| from_datafusion(e, ErrorKind::Internal))? {
        return Ok(plan);
    }
    let all = columns_of(&plan);
    rewritten(plan, &all)
}

/// A plan as written, in which the inputs of joins of streams have no event times that neither the join nor anything above it reads.
pub fn without_unread_in_joins(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !plan.exists(|node| Ok(stream_join(node).is_some())).map_err(|e| from_datafusion(e, ErrorKind::Internal))? {
        return Ok(plan);
    }
    let all = columns_of(&plan);
    joins_narrowed(plan, &all)
}

/// `plan`, of whose columns only `read` are.
fn joins_narrowed(plan: LogicalPlan, read: &BTreeSet<usize>) -> Result<LogicalPlan> {
    let is_join = stream_join(&plan).is_some();
    let reads = match &plan {
        // What generates rows names all that it carries along.
        LogicalPlan::Extension(_) if deduplication(&plan).is_none() => plan.inputs().into_iter().map(columns_of).collect(),
        // Nothing is read, but there are rows to be counted.
        LogicalPlan::Projection(_) if read.is_empty() => inputs_read(&plan, &columns_of(&plan)),
        _ => inputs_read(&plan, read),
    };
    let inputs = plan.inputs().into_iter().zip(&reads).map(|(input, read)| {
        let unread_time = || (0..input.schema().fields().len()).any(|i| !read.contains(&i) && event_column(input, i).is_some());
        let narrowed = joins_narrowed(input.clone(), read)?;
        if !is_join || !unread_time() {
            return Ok(narrowed);
        }
        let kept = read.iter().map(|index| Expr::Column(Column::from(input.schema().qualified_field(*index))));
        let projection = Projection::try_new(kept.collect(), narrowed.into());
        projection.map(LogicalPlan::Projection).map_err(|e| from_datafusion(e, ErrorKind::Internal))
    });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let exprs = match &plan {
        LogicalPlan::Projection(projection) if !read.is_empty() => {
            read.iter().filter_map(|index| projection.expr.get(*index).cloned()).collect()
        }
        _ => plan.expressions(),
    };
    plan.with_new_exprs(exprs, inputs).map_err(|e| from_datafusion(e, ErrorKind::Internal))
}

fn deduplication(plan: &LogicalPlan) -> Option<&Deduplicate> {
    let LogicalPlan::Extension(extension) = plan else { return None };
    extension.node.as_any().downcast_ref()
}

fn columns_of(plan: &LogicalPlan) -> BTreeSet<usize> {
    (0..plan.schema().fields().len()).collect()
}

/// `plan`, of whose columns only `read` are.
fn rewritten(plan: LogicalPlan, read: &BTreeSet<usize>) -> Result<LogicalPlan> {
    let unread = |node: &&Deduplicate| {
        let column = node.event_time_beside_keys();
        column.is_some_and(|column| node.input_index(column).is_some_and(|index| !read.contains(&index)))
    };
    let plan = match deduplication(&plan).filter(unread) {
        Some(node) => LogicalPlan::Extension(Extension { node: std::sync::Arc::new(node.without_event_time()) }),
        None => plan,
    };
    let reads = inputs_read(&plan, read);
    let inputs = plan.inputs().into_iter().zip(&reads).map(|(input, read)| rewritten(input.clone(), read));
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    plan.with_new_exprs(plan.expressions(), inputs).map_err(|e| from_datafusion(e, ErrorKind::Internal))
}

/// Which columns of each input are read, if `read` are of the plan's own.
fn inputs_read(plan: &LogicalPlan, read: &BTreeSet<usize>) -> Vec<BTreeSet<usize>> {
    let named = |input: &LogicalPlan| -> BTreeSet<usize> {
        let expressions = plan.expressions();
        let columns = expressions.iter().flat_map(|expr| expr.column_refs());
        columns.filter_map(|column| input.schema().maybe_index_of_column(column)).collect()
    };
    match plan {
        LogicalPlan::Projection(projection) => {
            let exprs = read.iter().filter_map(|index| projection.expr.get(*index));
            let columns = exprs.flat_map(|expr| expr.column_refs());
            vec![columns.filter_map(|column| projection.input.schema().maybe_index_of_column(column)).collect()]
        }
        LogicalPlan::Aggregate(_) => plan.inputs().into_iter().map(named).collect(),
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            let of_left = read.iter().copied().filter(|index| *index < left);
            let of_right = read.iter().filter_map(|index| index.checked_sub(left));
            match join.join_type {
                JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full | JoinType::LeftSemi | JoinType::LeftAnti => {
                    vec![&named(&join.left) | &of_left.collect(), &named(&join.right) | &of_right.collect()]
                }
                _ => vec![columns_of(&join.left), columns_of(&join.right)],
            }
        }
        LogicalPlan::Filter(_) | LogicalPlan::Sort(_) | LogicalPlan::Limit(_) | LogicalPlan::SubqueryAlias(_) => {
            plan.inputs().into_iter().map(|input| &named(input) | read).collect()
        }
        LogicalPlan::Extension(extension) => {
            let of_output = extension.node.necessary_children_exprs(&read.iter().copied().collect::<Vec<_>>());
            match of_output {
                Some(needed) => {
                    let needed = needed.into_iter().map(BTreeSet::from_iter);
                    plan.inputs().into_iter().zip(needed).map(|(input, needed)| &named(input) | &needed).collect()
                }
                None => plan.inputs().into_iter().map(columns_of).collect(),
            }
        }
        _ => plan.inputs().into_iter().map(columns_of).collect(),
    }
}
