//! The logical node of a call: columns of the input, and what the function answers for each row.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};

use crate::function::{Function, Returns};
use crate::plan::spark::relation::carried::Carries;

/// A function, told from others by its name, which is unique in a catalog.
#[derive(Debug, Clone)]
pub struct Callee(pub Arc<Function>);

impl Callee {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.signature().name
    }
}

impl PartialEq for Callee {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Callee {}

impl Hash for Callee {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

/// Columns of the input carried along, and the answer to a call for each row; rows of the table form are several or none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CallNode {
    input: LogicalPlan,
    /// Columns of the input that the output begins with.
    keep: Vec<String>,
    callee: Callee,
    args: Vec<Expr>,
    /// The answer's columns: one, or those of the table form.
    outputs: Vec<String>,
    schema: DFSchemaRef,
}

impl CallNode {
    /// The node as a plan.
    pub fn plan(input: LogicalPlan, callee: Callee, args: Vec<Expr>, outputs: Vec<String>) -> Result<LogicalPlan> {
        let keep = input.schema().fields().iter().map(|field| field.name().clone()).collect();
        let node = Self::new(input, keep, callee, args, outputs)?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    fn new(input: LogicalPlan, keep: Vec<String>, callee: Callee, args: Vec<Expr>, outputs: Vec<String>) -> Result<Self> {
        let mut fields = Vec::with_capacity(keep.len() + outputs.len());
        for id in &keep {
            fields.push((None, input.schema().field_with_unqualified_name(id)?.clone()));
        }
        let types: Vec<DataType> = match &callee.0.signature().returns {
            Returns::Value(data_type) => vec![data_type.clone()],
            Returns::Rows(schema) => schema.fields().iter().map(|field| field.data_type().clone()).collect(),
        };
        if types.len() != outputs.len() {
            return Err(DataFusionError::Internal(format!("{} has other columns than planned", callee.name())));
        }
        fields.extend(outputs.iter().zip(types).map(|(id, data_type)| (None, Arc::new(Field::new(id, data_type, true)))));
        let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
        Ok(Self { input, keep, callee, args, outputs, schema })
    }

    /// Who is called.
    pub(super) fn callee(&self) -> &Callee {
        &self.callee
    }

    /// With what.
    pub(super) fn args(&self) -> &[Expr] {
        &self.args
    }
}

impl Carries for CallNode {
    fn keep(&self) -> &[String] {
        &self.keep
    }

    fn keeping(&self, wanted: &HashSet<String>) -> Result<Arc<dyn UserDefinedLogicalNode>> {
        let keep = self.keep.iter().filter(|id| wanted.contains(*id)).cloned().collect();
        let node = Self::new(self.input.clone(), keep, self.callee.clone(), self.args.clone(), self.outputs.clone())?;
        Ok(Arc::new(node))
    }
}

impl PartialOrd for CallNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let key = |node: &Self| (node.callee.name().to_owned(), node.keep.clone(), node.outputs.clone());
        let order = key(self).cmp(&key(other));
        (order != Ordering::Equal || self == other).then_some(order)
    }
}

impl UserDefinedLogicalNodeCore for CallNode {
    fn name(&self) -> &str {
        "Call"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.args.clone()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        // A condition on anything else saves calls.
        self.outputs.iter().cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args: Vec<String> = self.args.iter().map(ToString::to_string).collect();
        let (name, args) = (self.callee.name(), args.join(", "));
        write!(f, "Call: {name}({args}), keep=[{}], yields=[{}]", self.keep.join(", "), self.outputs.join(", "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) if exprs.len() == self.args.len() => {
                Self::new(input, self.keep.clone(), self.callee.clone(), exprs, self.outputs.clone())
            }
            _ => Err(DataFusionError::Internal("a call takes its arguments and one input".into())),
        }
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let used: HashSet<&str> = self.args.iter().flat_map(|arg| arg.column_refs()).map(|column| column.name.as_str()).collect();
        let fields = self.input.schema().fields().iter().enumerate();
        let wanted = fields.filter(|(_, field)| self.keep.contains(field.name()) || used.contains(field.name().as_str()));
        Some(vec![wanted.map(|(index, _)| index).collect()])
    }
}
