//! Rows out of lists: `explode` and its like, in the select list, in LATERAL VIEW and in FROM.
//!
//! All of them are one plan node, [`node::Generate`]: it carries columns of its input along and adds a row per element of a list.

pub mod exec;
pub mod node;

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::scalar::ScalarValue;
use sqlparser::ast::{self, Ident};

use self::node::{Generate, Options};
use super::super::functions::{array_with, json_tuple, wrong_count};
use super::super::{Context, Typed, types};
use super::columns::{Access, Attribute, Relation, column, place_of};
use super::from::identifiers;
use super::planner::{Env, Planner, broken};
use super::query::null_of;
use super::scope::QueryScope;
use super::select::Item;
use super::{join, widen};
use crate::error::{Error, ErrorKind, Result};
use crate::function::{Function, Returns};
use crate::plan::function::call::{arguments, find};
use crate::plan::function::node::{CallNode, Callee};
use crate::plan::spark::constant;

/// A generator of the select list. Its list is an [`Item`]; the node comes after the projection.
pub(super) struct Generator {
    /// The item that is the list.
    pub list_id: String,
    /// What it yields, in order.
    pub outputs: Vec<Attribute>,
    /// Whether its outputs have names of their own, so that later entries can use them.
    pub aliased: bool,
    options: Options,
}

/// A call of a generator.
pub(super) struct GeneratorCall<'a> {
    name: String,
    args: Vec<&'a ast::Expr>,
    shown: String,
    /// Whether a row without elements yields one row of nulls.
    outer: bool,
}

/// A generator in FROM.
pub(super) struct TableFunction<'a> {
    pub name: &'a ast::ObjectName,
    pub args: &'a [ast::FunctionArg],
    pub alias: Option<&'a ast::TableAlias>,
}

/// Rows of one `stack` at most.
const STACK_ROWS_MAX: usize = 10_000;

/// What a generator makes of its argument.
struct Shape {
    list: Typed,
    options: Options,
    /// Name, type, nullability.
    outputs: Vec<(String, DataType, bool)>,
}

const GENERATORS: [&str; 5] = ["explode", "posexplode", "inline", "stack", "json_tuple"];

/// Whether a generator has this name (in lower case).
pub fn is_generator(name: &str) -> bool {
    GENERATORS.contains(&name.strip_suffix("_outer").unwrap_or(name))
}

/// The generator that `expr` calls, if it calls one.
pub(super) fn call(expr: &ast::Expr) -> Option<GeneratorCall<'_>> {
    match expr {
        ast::Expr::Nested(inner) => call(inner),
        ast::Expr::Function(function) => {
            let ast::FunctionArguments::List(list) = &function.args else { return None };
            named_call(&function.name, &list.args, expr.to_string())
        }
        _ => None,
    }
}

fn named_call<'a>(name: &ast::ObjectName, args: &'a [ast::FunctionArg], shown: String) -> Option<GeneratorCall<'a>> {
    let [ast::ObjectNamePart::Identifier(name)] = name.0.as_slice() else { return None };
    let name = name.value.to_lowercase();
    let (name, outer) = match name.strip_suffix("_outer") {
        Some(inner) => (inner.to_owned(), true),
        None => (name, false),
    };
    if !GENERATORS.contains(&name.as_str()) {
        return None;
    }
    let args = args.iter().filter_map(|arg| match arg {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    Some(GeneratorCall { name, args: args.collect(), shown, outer })
}

impl GeneratorCall<'_> {
    fn shape(&self, scope: &QueryScope<'_>) -> Result<Shape> {
        if self.name == "stack" {
            return self.stack(scope);
        }
        if self.name == "json_tuple" {
            return self.json_tuple(scope);
        }
        let [argument] = self.args.as_slice() else {
            return Err(wrong_count(&self.name, "1", self.args.len()));
        };
        let list = scope.resolve(argument)?;
        let (name, outer) = (self.name.as_str(), self.outer);
        let refused = |expected: &str| {
            let found = types::sql_name(&list.data_type);
            let message = format!("{} needs {expected}, but {argument} is of type {found}", self.name);
            Error::spark(ErrorKind::Config, "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", message)
        };
        let position = name == "posexplode";
        let mut outputs = Vec::new();
        if position {
            outputs.push(("pos".to_owned(), DataType::Int32, outer));
        }
        let mut flatten = false;
        match (&list.data_type, name) {
            (DataType::List(item), "inline") => {
                let DataType::Struct(fields) = item.data_type() else { return Err(refused("an array of structs")) };
                flatten = true;
                let nullable = outer || item.is_nullable();
                outputs.extend(fields.iter().map(|f| (f.name().clone(), f.data_type().clone(), nullable || f.is_nullable())));
            }
            (_, "inline") => return Err(refused("an array of structs")),
            (DataType::List(item), _) => outputs.push(("col".into(), item.data_type().clone(), outer || item.is_nullable())),
            (DataType::Map(entries, _), _) => {
                let Some((key, value)) = types::map_fields(entries) else { return Err(refused("a map")) };
                flatten = true;
                outputs.push(("key".into(), key.data_type().clone(), outer));
                outputs.push(("value".into(), value.data_type().clone(), outer || value.is_nullable()));
            }
            _ => return Err(refused("an array or a map")),
        }
        Ok(Shape { list, options: Options { position, flatten, outer }, outputs })
    }
}

impl GeneratorCall<'_> {
    /// `json_tuple(text, name, …)`: one row of the members' values.
    fn json_tuple(&self, scope: &QueryScope<'_>) -> Result<Shape> {
        let list = json_tuple(self.args.iter().map(|arg| scope.resolve(arg)).collect::<Result<_>>()?)?;
        let outputs = (1..self.args.len()).map(|place| (format!("c{}", place - 1), DataType::Utf8, true)).collect();
        Ok(Shape { list, options: Options { position: false, flatten: true, outer: false }, outputs })
    }

    /// `stack(n, a, b, …)`: the values in n rows, as an array of structs; missing ones at the end are null.
    fn stack(&self, scope: &QueryScope<'_>) -> Result<Shape> {
        let invalid = |why: String| Error::spark(ErrorKind::Config, "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", why);
        let [count, values @ ..] = self.args.as_slice() else {
            return Err(wrong_count("stack", "> 1", 0));
        };
        let count = scope.resolve(count)?;
        let count = match constant::evaluate(&count.expr)? {
            Some(ScalarValue::Int32(Some(count))) => {
                usize::try_from(count).ok().filter(|count| (1..=STACK_ROWS_MAX).contains(count))
            }
            _ => None,
        };
        let count =
            count.ok_or_else(|| invalid(format!("stack's first argument must be a constant INT from 1 to {STACK_ROWS_MAX}")))?;
        if values.is_empty() {
            return Err(wrong_count("stack", "> 1", 1));
        }
        let values = values.iter().map(|value| scope.resolve(value)).collect::<Result<Vec<_>>>()?;
        let width = values.len().div_ceil(count);
        let mut types: Vec<DataType> = vec![DataType::Null; width];
        for (index, value) in values.iter().enumerate() {
            let known = &mut types[index % width];
            *known = widen::common(known, &value.data_type).ok_or_else(|| {
                let message = format!("column {} of stack has values of types that do not go together", index % width);
                Error::spark(ErrorKind::Config, "DATATYPE_MISMATCH.STACK_COLUMN_DIFF_TYPES", message)
            })?;
        }
        let fields: Fields = types.iter().enumerate().map(|(at, t)| Field::new(format!("c{at}"), t.clone(), true)).collect();
        let item = DataType::Struct(fields);
        let mut values = values.into_iter();
        let mut rows = Vec::with_capacity(count);
        for _ in 0..count {
            let mut row = Vec::with_capacity(width);
            for data_type in &types {
                row.push(match values.next() {
                    Some(value) => widen::cast(scope.planner, value, data_type)?.expr,
                    None => null_of(data_type)?,
                });
            }
            let expr = datafusion::functions::core::r#struct().call(row);
            rows.push(Typed { expr, data_type: item.clone(), nullable: false });
        }
        let list = array_with(rows, item);
        let outputs = types.into_iter().enumerate().map(|(at, t)| (format!("col{at}"), t, true)).collect();
        Ok(Shape { list, options: Options { position: false, flatten: true, outer: false }, outputs })
    }
}

/// What is yielded, as columns, called by `aliases` if there are any.
fn named(
    planner: &Planner<'_>,
    outputs: &[(String, DataType, bool)],
    aliases: &[Ident],
    table: Option<&str>,
    shown: &str,
) -> Result<Vec<Attribute>> {
    if !aliases.is_empty() && aliases.len() != outputs.len() {
        let message = format!(
            "the number of aliases does not match the number of columns: {shown} yields {} columns but {} names are given{}",
            outputs.len(),
            aliases.len(),
            place_of(aliases[0].span),
        );
        return Err(Error::spark(ErrorKind::Config, "UDTF_ALIAS_NUMBER_MISMATCH", message));
    }
    let attribute = |(index, (name, data_type, nullable)): (usize, &(String, DataType, bool))| {
        let name = aliases.get(index).map_or_else(|| name.clone(), |alias| alias.value.clone());
        Attribute {
            id: planner.fresh(&name),
            name,
            qualifier: table.map(str::to_owned),
            data_type: data_type.clone(),
            nullable: *nullable,
            access: Access::Listed,
        }
    };
    Ok(outputs.iter().enumerate().map(attribute).collect())
}

/// A generator in the select list: its list as an item, and what becomes of it.
pub(super) fn in_list(scope: &QueryScope<'_>, call: &GeneratorCall<'_>, aliases: &[Ident]) -> Result<(Item, Generator)> {
    let shape = call.shape(scope)?;
    // One alias for several columns is refused; Spark takes it for `explode` of an array only.
    let outputs = named(scope.planner, &shape.outputs, aliases, None, &call.shown)?;
    let id = scope.planner.fresh("list");
    let attribute = Attribute {
        name: call.shown.clone(),
        qualifier: None,
        id: id.clone(),
        data_type: shape.list.data_type,
        nullable: shape.list.nullable,
        access: Access::Named,
    };
    let item = Item { attribute, expr: shape.list.expr, aliased: false };
    Ok((item, Generator { list_id: id, outputs, aliased: !aliases.is_empty(), options: shape.options }))
}

/// A generator nested in another expression has its own error.
pub(super) fn refused_if_nested(error: Error, expr: &ast::Expr) -> Error {
    refused_inside(error, expr, "NESTED_IN_EXPRESSIONS", "inside another expression")
}

/// A generator where no rows can come of it has its own error.
pub(super) fn refused_outside_select(error: Error, expr: &ast::Expr) -> Error {
    refused_inside(error, expr, "OUTSIDE_SELECT", "outside a SELECT list")
}

fn refused_inside(error: Error, expr: &ast::Expr, condition: &str, place: &str) -> Error {
    if error.condition() != Some("UNRESOLVED_ROUTINE") {
        return error;
    }
    let nested = ast::visit_expressions(expr, |inner| match call(inner) {
        Some(_) => ControlFlow::Break(()),
        None => ControlFlow::Continue(()),
    });
    if nested.is_continue() {
        return error;
    }
    let message = format!("a generator cannot stand {place}: {expr}");
    Error::spark(ErrorKind::Config, format!("UNSUPPORTED_GENERATOR.{condition}"), message)
}

/// The rows of a generator of the select list, over a plan whose columns are the items.
pub(super) fn over_items(plan: LogicalPlan, generator: Generator) -> Result<LogicalPlan> {
    let keep = all_columns(&plan).into_iter().filter(|id| *id != generator.list_id).collect();
    generated(plan, keep, column(&generator.list_id), generator.options, &generator.outputs)
}

fn generated(plan: LogicalPlan, keep: Vec<String>, list: Expr, options: Options, outputs: &[Attribute]) -> Result<LogicalPlan> {
    let outputs = outputs.iter().map(|output| (output.id.clone(), output.data_type.clone(), output.nullable)).collect();
    Generate::plan(plan, keep, list, options, outputs).map_err(broken)
}

fn all_columns(plan: &LogicalPlan) -> Vec<String> {
    plan.schema().fields().iter().map(|field| field.name().clone()).collect()
}

/// `LATERAL VIEW [OUTER] explode(…) t AS a, b`.
pub(super) fn lateral_view(planner: &Planner<'_>, input: Relation, view: &ast::LateralView, env: &Env<'_>) -> Result<Relation> {
    let mut call = call(&view.lateral_view).ok_or_else(|| not_a_generator(&view.lateral_view.to_string()))?;
    call.outer |= view.outer;
    let table = identifiers(&view.lateral_view_name)?.pop().map(|name| name.value);
    add(planner, input, &call, &view.lateral_col_alias, table.as_deref(), env)
}

/// `left, LATERAL explode(…) t(a, b)`; a table function alone is over one row.
pub(super) fn lateral_join(
    planner: &Planner<'_>,
    left: Relation,
    function: &TableFunction<'_>,
    kind: join::Kind,
    env: &Env<'_>,
) -> Result<Relation> {
    let call = named_call(function.name, function.args, function.name.to_string());
    match kind {
        join::Kind::Inner | join::Kind::Cross => {}
        // Spark drops the rows that the join should keep.
        join::Kind::Left => {
            return Err(Error::config("LEFT JOIN LATERAL is not supported; explode_outer keeps rows without elements"));
        }
        join::Kind::Right | join::Kind::Full | join::Kind::Semi | join::Kind::Anti => {
            let message = "only INNER and CROSS joins can be LATERAL";
            return Err(Error::spark(ErrorKind::Config, "UNSUPPORTED_JOIN_TYPE", message));
        }
    }
    let names: Vec<Ident> =
        function.alias.iter().flat_map(|alias| alias.columns.iter().map(|column| column.name.clone())).collect();
    let table = function.alias.map(|alias| alias.name.value.as_str());
    match (call, asked(planner, function.name)) {
        (Some(call), _) => add(planner, left, &call, &names, table, env),
        (None, Some(callee)) => add_call(planner, left, callee, function, (&names, table), env),
        (None, None) => Err(not_a_generator(&function.name.to_string())),
    }
}

/// The function of this name that asks the outside world.
fn asked(planner: &Planner<'_>, name: &ast::ObjectName) -> Option<Arc<Function>> {
    match name.0.as_slice() {
        [ast::ObjectNamePart::Identifier(name)] => find(&planner.catalog.functions, &name.value).cloned(),
        _ => None,
    }
}

/// `left` and what a function yields for each of its rows.
fn add_call(
    planner: &Planner<'_>,
    left: Relation,
    callee: Arc<Function>,
    function: &TableFunction<'_>,
    (aliases, table): (&[Ident], Option<&str>),
    env: &Env<'_>,
) -> Result<Relation> {
    let name = callee.signature().name.clone();
    let Returns::Rows(yields) = &callee.signature().returns else {
        let message = format!("{name} yields a value, not rows: call it in the SELECT list or in WHERE");
        return Err(Error::spark(ErrorKind::Config, "UNRESOLVABLE_TABLE_VALUED_FUNCTION", message));
    };
    let outputs = yields.fields().iter().map(|field| (field.name().clone(), field.data_type().clone(), true)).collect::<Vec<_>>();
    let scope = QueryScope::new(planner, env, vec![&left.columns]);
    let args = function.args.iter().map(|arg| match arg {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => scope.resolve(expr),
        other => Err(Error::config(format!("the argument `{other}` of {name} is not supported"))),
    });
    let args = args.collect::<Result<Vec<_>>>()?;
    let args = arguments(&callee, args, &Context { scope: &scope, settings: planner.settings })?;
    let outputs = named(planner, &outputs, aliases, Some(table.unwrap_or(&name)), &name)?;
    let ids = outputs.iter().map(|output| output.id.clone()).collect();
    let plan = CallNode::plan(left.plan, Callee(callee), args, ids).map_err(broken)?;
    let mut columns = left.columns;
    columns.extend(outputs);
    Ok(Relation { plan, columns })
}

fn not_a_generator(name: &str) -> Error {
    let message = format!("{name} is no table function here; known are {} and their _outer forms", GENERATORS.join(", "));
    Error::spark(ErrorKind::Config, "UNRESOLVABLE_TABLE_VALUED_FUNCTION", message)
}

fn add(
    planner: &Planner<'_>,
    input: Relation,
    call: &GeneratorCall<'_>,
    aliases: &[Ident],
    table: Option<&str>,
    env: &Env<'_>,
) -> Result<Relation> {
    let shape = call.shape(&QueryScope::new(planner, env, vec![&input.columns]))?;
    let outputs = named(planner, &shape.outputs, aliases, table, &call.shown)?;
    let keep = all_columns(&input.plan);
    let plan = generated(input.plan, keep, shape.list.expr, shape.options, &outputs)?;
    let mut columns = input.columns;
    columns.extend(outputs);
    Ok(Relation { plan, columns })
}

/// Every row once per element of `list`, whose elements are of `data_type` and never null.
pub(super) fn elements(plan: LogicalPlan, list: Expr, element: &str, data_type: DataType) -> Result<LogicalPlan> {
    let keep = all_columns(&plan);
    let options = Options { position: false, flatten: false, outer: false };
    Generate::plan(plan, keep, list, options, vec![(element.to_owned(), data_type, false)]).map_err(broken)
}

/// Every row once per element of a literal list of BIGINT, with the element and, if asked for, its position.
pub(super) fn literal(plan: LogicalPlan, list: Expr, position: Option<&str>, element: &str) -> Result<LogicalPlan> {
    let keep = all_columns(&plan);
    let mut outputs = Vec::new();
    outputs.extend(position.map(|id| (id.to_owned(), DataType::Int32, false)));
    outputs.push((element.to_owned(), DataType::Int64, false));
    let options = Options { position: position.is_some(), flatten: false, outer: false };
    Generate::plan(plan, keep, list, options, outputs).map_err(broken)
}
