//! Nodes of ours that carry columns of their input along and add columns of their own.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{Extension, LogicalPlan, UserDefinedLogicalNode};

use super::generate::node::Generate;
use crate::plan::function::node::CallNode;

/// A node whose output begins with columns of its input.
pub(crate) trait Carries {
    /// These columns, by name.
    fn keep(&self) -> &[String];
    /// The same node with those of them that are `wanted`.
    fn keeping(&self, wanted: &HashSet<String>) -> Result<Arc<dyn UserDefinedLogicalNode>>;
}

/// `node` as one that carries columns along, if it is one.
pub(crate) fn carrying(node: &dyn UserDefinedLogicalNode) -> Option<&dyn Carries> {
    let node = node.as_any();
    let generate = node.downcast_ref::<Generate>().map(|node| node as &dyn Carries);
    generate.or_else(|| node.downcast_ref::<CallNode>().map(|node| node as &dyn Carries))
}

/// The same of a plan.
pub(crate) fn carrier(plan: &LogicalPlan) -> Option<&dyn Carries> {
    let LogicalPlan::Extension(Extension { node }) = plan else { return None };
    carrying(node.as_ref())
}
