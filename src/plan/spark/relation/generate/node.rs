//! The logical node of generators.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};

use super::super::carried::Carries;

/// How a list becomes rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub struct Options {
    /// Whether the element's position (INT, from 0) is the first generated column.
    pub position: bool,
    /// Whether elements are structs (or map entries) whose fields are columns each.
    pub flatten: bool,
    /// Whether a null or empty list yields one row of nulls.
    pub outer: bool,
}

/// Columns of the input carried along, and a row per element of a list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Generate {
    input: LogicalPlan,
    /// Columns of the input that the output begins with.
    keep: Vec<String>,
    list: Expr,
    options: Options,
    /// Generated columns: name, type, nullability.
    outputs: Vec<(String, DataType, bool)>,
    schema: DFSchemaRef,
}

impl Generate {
    /// The node as a plan.
    pub(super) fn plan(
        input: LogicalPlan,
        keep: Vec<String>,
        list: Expr,
        options: Options,
        outputs: Vec<(String, DataType, bool)>,
    ) -> Result<LogicalPlan> {
        let node = Self::new(input, keep, list, options, outputs)?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    fn new(
        input: LogicalPlan,
        keep: Vec<String>,
        list: Expr,
        options: Options,
        outputs: Vec<(String, DataType, bool)>,
    ) -> Result<Self> {
        let mut fields = Vec::with_capacity(keep.len() + outputs.len());
        for id in &keep {
            fields.push((None, input.schema().field_with_unqualified_name(id)?.clone()));
        }
        fields.extend(
            outputs.iter().map(|(id, data_type, nullable)| (None, Arc::new(Field::new(id, data_type.clone(), *nullable)))),
        );
        let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
        Ok(Self { input, keep, list, options, outputs, schema })
    }

    /// The list that becomes rows.
    pub fn list(&self) -> &Expr {
        &self.list
    }

    /// How it becomes rows.
    pub fn options(&self) -> Options {
        self.options
    }
}

impl Carries for Generate {
    fn keep(&self) -> &[String] {
        &self.keep
    }

    fn keeping(&self, wanted: &HashSet<String>) -> Result<Arc<dyn UserDefinedLogicalNode>> {
        let keep = self.keep.iter().filter(|id| wanted.contains(*id)).cloned().collect();
        let node = Self::new(self.input.clone(), keep, self.list.clone(), self.options, self.outputs.clone())?;
        Ok(Arc::new(node))
    }
}

impl PartialOrd for Generate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let order = (&self.keep, &self.list, self.options).partial_cmp(&(&other.keep, &other.list, other.options))?;
        (order != Ordering::Equal || self == other).then_some(order)
    }
}

impl UserDefinedLogicalNodeCore for Generate {
    fn name(&self) -> &str {
        "Generate"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.list.clone()]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.outputs.iter().map(|(id, ..)| id.clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Generate: {}", self.list)?;
        if self.options.outer {
            write!(f, ", outer")?;
        }
        let outputs: Vec<&str> = self.outputs.iter().map(|(id, ..)| id.as_str()).collect();
        write!(f, ", keep=[{}], yields=[{}]", self.keep.join(", "), outputs.join(", "))
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Some(list), Some(input)) = (exprs.pop(), inputs.pop()) else {
            return Err(DataFusionError::Internal("a generator takes one expression and one input".into()));
        };
        Self::new(input, self.keep.clone(), list, self.options, self.outputs.clone())
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let used = self.list.column_refs();
        let fields = self.input.schema().fields().iter().enumerate();
        let wanted = fields.filter(|(_, field)| self.keep.contains(field.name()) || used.iter().any(|c| c.name == *field.name()));
        Some(vec![wanted.map(|(index, _)| index).collect()])
    }
}
