//! A higher-order function as an expression of a plan: its bodies are part of it, what they read of the row are arguments.
//!
//! In a body the k-th variable is the column `_k`, counted from 1, and what is read of the row is `$j`, the j-th argument after the
//! values. So two calls that mean the same are equal whatever their variables are called, and two that differ are not.

use std::any::Any;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, new_empty_array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::scalar::ScalarValue;

use super::super::super::{Typed, is_fallible};
use super::super::random::{elsewhere, random_call};
use super::super::time_window::window_function;
use super::bind::{Bound, VariableOf, variable};
use super::elements::{Capture, Evaluator, Input};
use super::{array, attempt, fold, map, once, sort, strict};
use crate::error::{Error, ErrorKind, Result, from_datafusion};

/// When less stack than this is left, in bytes, a body gets a new piece of [`STACK_SIZE`].
const STACK_LEFT_MIN: usize = 256 * 1024;
const STACK_SIZE: usize = 2 * 1024 * 1024;

/// What is done with the bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum HigherOrder {
    Transform,
    Filter,
    Exists,
    ForAll,
    Aggregate,
    ZipWith,
    ArraySort,
    MapFilter,
    TransformKeys,
    TransformValues,
    MapZipWith,
    /// A value that the body reads more than once.
    Once,
    /// AND, whose right side is the body.
    And,
    /// OR, whose right side is the body.
    Or,
    Attempt,
    /// A call, the last body, of the other bodies.
    Strict,
}

impl HigherOrder {
    fn run(self, input: &Input<'_>) -> Result<ArrayRef> {
        match self {
            Self::Transform => array::transform(input),
            Self::Filter => array::filter(input),
            Self::Exists => array::test(input, array::Test::Exists),
            Self::ForAll => array::test(input, array::Test::ForAll),
            Self::Aggregate => fold::aggregate(input),
            Self::ZipWith => array::zip_with(input),
            Self::ArraySort => sort::array_sort(input),
            Self::MapFilter => map::filter(input),
            Self::TransformKeys => map::transform_keys(input),
            Self::TransformValues => map::transform_values(input),
            Self::MapZipWith => map::zip_with(input),
            Self::Once => once::once(input),
            Self::And => once::connected(input, false),
            Self::Or => once::connected(input, true),
            Self::Attempt => attempt::run(input),
            Self::Strict => strict::run(input),
        }
    }

    /// Whether a row can make it fail although its bodies cannot.
    fn can_fail(self) -> bool {
        matches!(self, Self::TransformKeys | Self::ArraySort)
    }
}

/// A body over `_k` and `$j`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Body {
    expr: Expr,
    /// The variables' types.
    variables: Vec<DataType>,
    /// Which variables it reads, from 0.
    read: Vec<usize>,
    /// Which of the arguments after the values it reads, from 0.
    captures: Vec<usize>,
    data_type: DataType,
}

/// The call `name` of `function` with `values` and `bodies`.
pub(super) fn build(
    function: HigherOrder,
    name: &str,
    values: Vec<Typed>,
    bodies: Vec<Bound>,
    data_type: DataType,
    nullable: bool,
) -> Result<Typed> {
    let values = values.into_iter().map(|value| value.expr).collect();
    let expr = called(function, name, values, bodies, &data_type, nullable)?;
    Ok(Typed { expr, data_type, nullable })
}

fn called(
    function: HigherOrder,
    name: &str,
    mut args: Vec<Expr>,
    bodies: Vec<Bound>,
    data_type: &DataType,
    nullable: bool,
) -> Result<Expr> {
    let (values, mut captures) = (args.len(), Vec::new());
    let bodies_fail = function != HigherOrder::Attempt && bodies.iter().any(|bound| is_fallible(&bound.body.expr));
    let fallible = function.can_fail() || bodies_fail;
    let bodies = bodies.into_iter().map(|bound| close(bound, &mut captures)).collect::<Result<Vec<_>>>()?;
    let volatility = if fallible { Volatility::Volatile } else { Volatility::Immutable };
    let called = Called {
        name: shown(name, &bodies),
        function,
        values,
        weight: bodies.iter().map(|body| weight(&body.expr, usize::MAX)).fold(0, usize::saturating_add),
        bodies,
        data_type: data_type.clone(),
        nullable,
        signature: Signature::user_defined(volatility),
        compiled: Compiled::default(),
    };
    args.extend(captures);
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(called)), args)))
}

/// How many nodes `expr` has, those in bodies included, counted up to a little more than `most`.
pub(in super::super::super) fn weight(expr: &Expr, most: usize) -> usize {
    let mut weight = 0_usize;
    let counted = expr.apply(|node| {
        let inside = opened(node).map_or(0, |call| call.called.weight);
        weight = weight.saturating_add(inside).saturating_add(1);
        Ok(if weight > most { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    counted.map_or(usize::MAX, |_| weight)
}

/// A higher-order function and its arguments.
pub(super) struct Opened<'a> {
    called: &'a Called,
    args: &'a [Expr],
}

/// The call that `expr` is, if it is one of a higher-order function.
pub(super) fn opened(expr: &Expr) -> Option<Opened<'_>> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let called = (call.func.inner().as_ref() as &dyn Any).downcast_ref::<Called>()?;
    Some(Opened { called, args: &call.args })
}

/// The bodies of a call, and whether they are lambda functions. Not of `try_…`, which takes errors in its body for nulls.
pub(in super::super::super) fn bodies(expr: &Expr) -> (bool, Vec<&Expr>) {
    match opened(expr) {
        Some(call) if call.called.function != HigherOrder::Attempt => {
            let is_lambda =
                !matches!(call.called.function, HigherOrder::Once | HigherOrder::And | HigherOrder::Or | HigherOrder::Strict);
            (is_lambda, call.called.bodies.iter().map(|body| &body.expr).collect())
        }
        _ => (false, Vec::new()),
    }
}

impl Opened<'_> {
    pub(super) fn function(&self) -> HigherOrder {
        self.called.function
    }

    pub(super) fn values(&self) -> &[Expr] {
        &self.args[..self.called.values]
    }

    /// The body at `index` over the row's own columns, with `variables` for what it calls `_1`, `_2`, ….
    pub(super) fn body(&self, index: usize, variables: &[Expr]) -> Result<Expr> {
        let captures = &self.args[self.called.values..];
        let placed = self.called.bodies[index].expr.clone().transform_up(|node| {
            let Expr::Column(column) = &node else { return Ok(Transformed::no(node)) };
            let place = |sign| column.name.strip_prefix(sign)?.parse::<usize>().ok()?.checked_sub(1);
            let stands_for = match place('_') {
                Some(k) => variables.get(k),
                None => place('$').and_then(|j| captures.get(j)),
            };
            Ok(stands_for.map_or_else(|| Transformed::no(node.clone()), |expr| Transformed::yes(expr.clone())))
        });
        placed.map(|done| done.data).map_err(|error| from_datafusion(error, ErrorKind::Internal))
    }

    /// The same call with its values and its bodies rewritten, a body with the columns that stand for its variables.
    pub(super) fn rewritten(&self, rewrite: &mut dyn FnMut(Expr, &[VariableOf]) -> Result<Expr>) -> Result<Expr> {
        let called = self.called;
        let values = self.values().iter().map(|value| rewrite(value.clone(), &[])).collect::<Result<Vec<_>>>()?;
        let mut bodies = Vec::with_capacity(called.bodies.len());
        for (index, body) in called.bodies.iter().enumerate() {
            let (mut variables, mut columns) = (Vec::new(), Vec::new());
            for data_type in &body.variables {
                let (id, column) = variable("value");
                variables.push((id, data_type.clone()));
                columns.push(column);
            }
            let expr = rewrite(self.body(index, &columns)?, &variables)?;
            bodies.push(Bound { body: Typed { expr, data_type: body.data_type.clone(), nullable: true }, variables });
        }
        let name = called.name.split('[').next().unwrap_or_default();
        self::called(called.function, name, values, bodies, &called.data_type, called.nullable)
    }
}

/// `transform[_1 -> _1 + $1]`.
fn shown(name: &str, bodies: &[Body]) -> String {
    let mut text = format!("{name}[");
    for (index, body) in bodies.iter().enumerate() {
        let names: Vec<String> = (1..=body.variables.len()).map(|k| format!("_{k}")).collect();
        let separator = if index == 0 { "" } else { "; " };
        // Writing to a string cannot fail.
        let _ = match names.as_slice() {
            [one] => write!(text, "{separator}{one} -> {}", body.expr),
            more => write!(text, "{separator}({}) -> {}", more.join(", "), body.expr),
        };
    }
    text + "]"
}

/// Numbers what the body reads; what it reads of the row is added to `captures`.
fn close(bound: Bound, captures: &mut Vec<Expr>) -> Result<Body> {
    let Bound { body, variables } = bound;
    let (mut read, mut mine) = (Vec::new(), Vec::new());
    let place = |expr: Expr, captures: &mut Vec<Expr>| {
        captures.iter().position(|known| *known == expr).unwrap_or_else(|| {
            captures.push(expr);
            captures.len() - 1
        })
    };
    let numbered = body.expr.transform_down(|node| {
        let variable = |node: &Expr| match node {
            Expr::Column(column) => variables.iter().position(|(id, _)| *id == column.name),
            _ => None,
        };
        if let Some(index) = variable(&node) {
            read.push(index);
            return Ok(Transformed::yes(numbered('_', index)));
        }
        let whole = belongs_outside(&node);
        if whole && node.exists(|inner| Ok(variable(inner).is_some()))? {
            return Err(DataFusionError::from(outside(&node)));
        }
        if whole || matches!(node, Expr::Column(_) | Expr::OuterReferenceColumn(..)) {
            let index = place(node, captures);
            mine.push(index);
            return Ok(Transformed::new(numbered('$', index), true, TreeNodeRecursion::Jump));
        }
        // An argument that is not read: whoever asks whether the call's value depends on more than rows looks there.
        if let Some(name) = random_call(&node) {
            place(elsewhere(name), captures);
        } else if is_of_batch(&node) {
            place(node.clone(), captures);
        }
        Ok(Transformed::no(node))
    });
    let expr = numbered.map_err(|error| from_datafusion(error, ErrorKind::Config))?.data;
    for indices in [&mut read, &mut mine] {
        indices.sort_unstable();
        indices.dedup();
    }
    let variables = variables.into_iter().map(|(_, data_type)| data_type).collect();
    Ok(Body { expr, variables, read, captures: mine, data_type: body.data_type })
}

fn numbered(sign: char, index: usize) -> Expr {
    Expr::Column(Column::new_unqualified(format!("{sign}{}", index + 1)))
}

/// What is computed from other rows or before any expression, and so never inside of a body.
fn belongs_outside(node: &Expr) -> bool {
    match node {
        Expr::AggregateFunction(_) | Expr::WindowFunction(_) => true,
        Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) => true,
        Expr::ScalarFunction(call) => window_function(node).is_some() || matches!(call.name(), "grouping" | "grouping_id"),
        _ => false,
    }
}

fn outside(node: &Expr) -> Error {
    let condition = if matches!(node, Expr::AggregateFunction(_)) { "MISSING_GROUP_BY" } else { "UNSUPPORTED_FEATURE" };
    let message = "an aggregate or window function cannot be applied to the variable of a lambda function; aggregate(…) can";
    Error::spark(ErrorKind::Config, condition, message)
}

/// `current_timestamp()` and what is like it: not a function of its arguments.
fn is_of_batch(node: &Expr) -> bool {
    matches!(node, Expr::ScalarFunction(call)
        if call.args.is_empty() && call.func.signature().volatility != Volatility::Immutable)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Called {
    name: String,
    function: HigherOrder,
    /// How many arguments are values; the others are read by bodies.
    values: usize,
    bodies: Vec<Body>,
    /// How many nodes the bodies have.
    weight: usize,
    data_type: DataType,
    nullable: bool,
    signature: Signature,
    compiled: Compiled,
}

/// The bodies, ready to run under one configuration.
type Ready = Arc<Vec<(Arc<dyn PhysicalExpr>, SchemaRef)>>;

/// What [`Ready`] was last made; it follows from the rest.
#[derive(Debug, Default)]
struct Compiled(Mutex<Option<(Arc<ConfigOptions>, Ready)>>);

impl PartialEq for Compiled {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Compiled {}

impl Hash for Compiled {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Called {
    /// The bodies under `config`; `types` are those of the arguments after the values.
    fn ready(&self, config: &Arc<ConfigOptions>, types: &[FieldRef]) -> Result<Ready> {
        let mut last = self.compiled.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, ready)) = last.as_ref()
            && Arc::ptr_eq(known, config)
        {
            return Ok(Arc::clone(ready));
        }
        let ours = |error| from_datafusion(error, ErrorKind::Internal);
        let properties = ExecutionProps { config_options: Some(Arc::clone(config)), ..ExecutionProps::new() };
        let ready = self.bodies.iter().map(|body| {
            let variables = body.read.iter().map(|k| Field::new(format!("_{}", k + 1), body.variables[*k].clone(), true));
            let captures = body.captures.iter().map(|j| Field::new(format!("${}", j + 1), types[*j].data_type().clone(), true));
            let schema = Arc::new(Schema::new(variables.chain(captures).collect::<Vec<_>>()));
            let columns = DFSchema::try_from(Arc::clone(&schema)).map_err(ours)?;
            let physical = create_physical_expr(&body.expr, &columns, &properties, &PhysicalPlanningContext::default());
            Ok((physical.map_err(ours)?, schema))
        });
        let ready: Ready = Arc::new(ready.collect::<Result<Vec<_>>>()?);
        *last = Some((Arc::clone(config), Arc::clone(&ready)));
        Ok(ready)
    }

    fn run(&self, args: &ScalarFunctionArgs, rows: usize) -> Result<ArrayRef> {
        let ours = |error| from_datafusion(error, ErrorKind::Internal);
        let (values, captures) = args.args.split_at(self.values);
        let values = values.iter().map(|value| match value {
            ColumnarValue::Array(array) => Ok((Arc::clone(array), false)),
            ColumnarValue::Scalar(scalar) => Ok((scalar.to_array().map_err(ours)?, true)),
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        let captures: Vec<Capture> = captures.iter().map(Capture::from).collect();
        let ready = self.ready(&args.config_options, &args.arg_fields[self.values..])?;
        let evaluators = self.bodies.iter().zip(ready.iter()).map(|(body, (physical, schema))| Evaluator {
            physical: physical.as_ref(),
            schema,
            read: &body.read,
            captures: body.captures.iter().map(|j| &captures[*j]).collect(),
        });
        let bodies: Vec<Evaluator<'_>> = evaluators.collect();
        self.function.run(&Input { rows, values: &values, bodies: &bodies, returns: &self.data_type })
    }
}

impl ScalarUDFImpl for Called {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.data_type.clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        Ok(Arc::new(Field::new(&self.name, self.data_type.clone(), self.nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        if args.number_rows == 0 {
            return Ok(ColumnarValue::Array(new_empty_array(&self.data_type)));
        }
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        // Bodies within bodies take stack as they run.
        let result = stacker::maybe_grow(STACK_LEFT_MIN, STACK_SIZE, || self.run(&args, rows))?;
        debug_assert_eq!(result.len(), rows, "{}", self.name);
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}
