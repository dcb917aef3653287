//! SELECT: its list, WHERE, DISTINCT; what groups is in `aggregate`, what sorts in `order`.
//!
//! The select list becomes [`Item`]s over the input's columns. An item may use the alias of an earlier one (lateral column alias):
//! it then refers to that item's column, and the projection is built in layers. With groups, every item is rewritten over the
//! aggregate's output before it is projected.

use std::collections::HashSet;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan};
use sqlparser::ast;

use super::super::{Typed, types};
use super::aggregate::{Aggregation, has_aggregate};
use super::columns::{Access, Attribute, Relation, column};
use super::planner::{Env, Planner, broken};
use super::scope::QueryScope;
use super::{generate, grouping, list, order, time_window};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::function::place;

/// How often an alias may be replaced by what it stands for in one expression.
const INLINED_MAX: usize = 10_000;

/// One entry of the select list.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// What it is called outside.
    pub attribute: Attribute,
    /// Its value over the input's columns and earlier items' columns.
    pub expr: Expr,
    /// Whether it is more than a column of the input, so that later items and GROUP BY can mean it by its name, given or made.
    pub aliased: bool,
}

impl Planner<'_> {
    /// Plans a SELECT together with the ORDER BY that follows it, which may use more than the select list.
    pub(super) fn select(&self, select: &ast::Select, env: &Env<'_>, order_by: Option<&ast::OrderBy>) -> Result<Relation> {
        refuse_clauses(select)?;
        let mut input = self.from(&select.from, env)?;
        for view in &select.lateral_views {
            input = generate::lateral_view(self, input, view, env)?;
        }
        if let Some(selection) = &select.selection {
            input = self.rows_where(selection, input, env)?;
        }
        let (input, window) = time_window::added(self, input, select, order_by, env)?;
        let mut selection = list::resolve(self, select, &input, env)?;
        if let Some(window) = &window {
            for item in &mut selection.items {
                item.expr = window.computed(item.expr.clone())?;
            }
        }
        let outputs = selection.outputs();
        let mut keys = match order_by {
            Some(order_by) => {
                let outer_first = QueryScope::new(self, env, vec![&outputs, &input.columns]);
                let inner_first = QueryScope::new(self, env, vec![&input.columns, &outputs]);
                order::keys(order_by, &outputs, &[&outer_first, &inner_first])?
            }
            None => Vec::new(),
        };
        for key in keys.iter_mut().filter(|key| has_aggregate(&key.expr)) {
            key.expr = inlined(key.expr.clone(), &selection.items)?;
        }
        let mut grouping = grouping::resolve(self, select, &selection.items, &input, env)?;
        let mut having = match &select.having {
            Some(having) => Some(self.having(having, (&selection.items, &outputs), (&input, grouping.as_ref()), env)?),
            None => None,
        };
        if let Some(window) = &window {
            for key in &mut keys {
                key.expr = window.computed(key.expr.clone())?;
            }
            if let Some(grouping) = &mut grouping {
                window.group(grouping)?;
            }
            having = having.map(|having| window.computed(having)).transpose()?;
        }
        let aggregates = selection.items.iter().any(|item| has_aggregate(&item.expr));
        let aggregated = grouping.is_some() || having.is_some() || aggregates;
        if !aggregated && keys.iter().any(|key| has_aggregate(&key.expr)) {
            return Err(no_place_for_aggregates("ORDER BY"));
        }
        let mut plan = input.plan;
        if let Some(grouping) = &grouping {
            place::refuse(grouping.keys.iter().map(|key| &key.expr), "GROUP BY")?;
        }
        if aggregated {
            let computed = selection.items.iter().filter(|item| item.expr != column(&item.attribute.id));
            let item_ids = computed.map(|item| item.attribute.id.clone()).chain(selection.generated_ids()).collect();
            let mut aggregation = Aggregation::new(self, grouping, item_ids, plan.schema().clone());
            for item in &mut selection.items {
                item.expr = aggregation.rewrite(item.expr.clone())?;
            }
            for key in &mut keys {
                key.expr = aggregation.rewrite(key.expr.clone()).map_err(outside_groups)?;
            }
            let having = having.map(|having| aggregation.rewrite(having).map_err(outside_groups)).transpose()?;
            plan = aggregation.plan(plan)?;
            if let Some(having) = having {
                plan = LogicalPlan::Filter(Filter::try_new(having, plan.into()).map_err(broken)?);
            }
        }
        self.finish(select, selection, keys, plan)
    }

    /// The rows of `input` for which WHERE is true.
    fn rows_where(&self, selection: &ast::Expr, input: Relation, env: &Env<'_>) -> Result<Relation> {
        let (rows, window) = time_window::added_for_where(self, input, selection, env)?;
        let scope = QueryScope::new(self, env, vec![&rows.columns]);
        let mut condition = condition(&scope, selection, "WHERE")?;
        if let Some(window) = window {
            condition.expr = window.computed(condition.expr)?;
        }
        time_window::refuse(&condition.expr)?;
        filtered(self, rows, condition)
    }

    /// Projects the items, generates rows, removes duplicates and sorts.
    fn finish(
        &self,
        select: &ast::Select,
        selection: list::Selection,
        keys: Vec<order::Key>,
        plan: LogicalPlan,
    ) -> Result<Relation> {
        let distinct = match &select.distinct {
            None | Some(ast::Distinct::All) => false,
            Some(ast::Distinct::Distinct) => true,
            Some(ast::Distinct::On(_)) => {
                return Err(Error::spark(ErrorKind::Config, "PARSE_SYNTAX_ERROR", "DISTINCT ON is not supported"));
            }
        };
        let columns = selection.outputs();
        let mut late: HashSet<String> = selection.generated_ids().collect();
        let (mut items, mut later) = (Vec::new(), Vec::new());
        for item in selection.items {
            if item.expr.column_refs().iter().any(|column| late.contains(&column.name)) {
                late.insert(item.attribute.id.clone());
                later.push(item);
            } else {
                items.push(item);
            }
        }
        let mut last = Vec::new();
        let mut sort = Vec::with_capacity(keys.len());
        for mut key in keys {
            let known = items.iter().chain(&later).find(|item| item.expr == key.expr || column(&item.attribute.id) == key.expr);
            let is_late = matches!(&key.expr, Expr::Column(column) if late.contains(&column.name));
            if let Some(item) = known {
                key.expr = column(&item.attribute.id);
            } else if !is_late {
                let item = hidden(self, &key);
                let refs = key.expr.column_refs();
                let after_rows = refs.iter().any(|column| late.contains(&column.name));
                if distinct && !refs.iter().all(|column| columns.iter().any(|output| output.id == column.name)) {
                    let message = "with SELECT DISTINCT, ORDER BY can only use what is selected";
                    return Err(Error::spark(ErrorKind::Config, "UNRESOLVED_COLUMN.WITH_SUGGESTION", message));
                }
                key.expr = column(&item.attribute.id);
                match (distinct, after_rows) {
                    (true, _) => last.push(item),
                    (false, true) => later.push(item),
                    (false, false) => items.push(item),
                }
            }
            sort.push(key);
        }
        let mut plan = project_items(self, plan, &items)?;
        for generator in selection.generators {
            plan = generate::over_items(plan, generator)?;
        }
        plan = with_items(self, plan, &later)?;
        let mut relation = Relation { plan, columns };
        if distinct {
            relation = self.distinct(relation)?;
            relation.plan = with_items(self, relation.plan, &last)?;
        }
        order::sort(relation, sort)
    }
}

fn hidden(planner: &Planner<'_>, key: &order::Key) -> Item {
    let id = planner.fresh("sort");
    let attribute = Attribute {
        name: id.clone(),
        qualifier: None,
        id,
        data_type: key.data_type.clone(),
        nullable: true,
        access: Access::Named,
    };
    Item { attribute, expr: key.expr.clone(), aliased: false }
}

/// A projection of exactly the items, in as many layers as their use of each other's aliases takes.
fn project_items(planner: &Planner<'_>, mut plan: LogicalPlan, items: &[Item]) -> Result<LogicalPlan> {
    let mut pending: Vec<&Item> = items.iter().collect();
    loop {
        let known: HashSet<String> = plan.schema().fields().iter().map(|field| field.name().clone()).collect();
        let ready = |item: &Item| item.expr.column_refs().iter().all(|column| known.contains(&column.name));
        let (now, after): (Vec<&Item>, Vec<&Item>) = pending.iter().partition(|item| ready(item));
        if after.is_empty() {
            let mut seen = HashSet::new();
            let items = items.iter().filter(|item| seen.insert(item.attribute.id.as_str()));
            let exprs = items.map(|item| {
                let done =
                    known.contains(&item.attribute.id) && !pending.iter().any(|other| other.attribute.id == item.attribute.id);
                if done { column(&item.attribute.id) } else { named(item) }
            });
            let exprs = exprs.collect();
            return planner.project(plan, exprs);
        }
        if now.is_empty() {
            return Err(Error::internal("a select list refers to columns that nothing yields"));
        }
        let mut exprs: Vec<Expr> = known_columns(&plan);
        exprs.extend(now.iter().filter(|item| !known.contains(&item.attribute.id)).map(|item| named(item)));
        plan = planner.project(plan, exprs)?;
        pending = after;
    }
}

/// The plan's columns and the items, each of which may use those before it.
fn with_items(planner: &Planner<'_>, mut plan: LogicalPlan, items: &[Item]) -> Result<LogicalPlan> {
    for item in items {
        let mut exprs = known_columns(&plan);
        exprs.push(named(item));
        plan = planner.project(plan, exprs)?;
    }
    Ok(plan)
}

fn known_columns(plan: &LogicalPlan) -> Vec<Expr> {
    plan.schema().fields().iter().map(|field| column(field.name())).collect()
}

fn named(item: &Item) -> Expr {
    if item.expr == column(&item.attribute.id) { item.expr.clone() } else { item.expr.clone().alias(&item.attribute.id) }
}

/// `expr` with the items' columns replaced by what they stand for.
pub(super) fn inlined(mut expr: Expr, items: &[Item]) -> Result<Expr> {
    let mut replaced = 0_usize;
    loop {
        let once = expr.transform_up(|node| match &node {
            Expr::Column(name) => match items.iter().find(|item| item.attribute.id == name.name && item.expr != node) {
                Some(item) => {
                    replaced += 1;
                    Ok(Transformed::yes(item.expr.clone()))
                }
                None => Ok(Transformed::no(node)),
            },
            _ => Ok(Transformed::no(node)),
        });
        let once = once.map_err(broken)?;
        if !once.transformed {
            return Ok(once.data);
        }
        if replaced > INLINED_MAX {
            return Err(Error::config("aliases of the select list refer to each other too often"));
        }
        expr = once.data;
    }
}

/// A condition that stands where nothing is grouped: of type boolean, without aggregates.
pub(super) fn condition(scope: &QueryScope<'_>, expr: &ast::Expr, clause: &str) -> Result<Typed> {
    let resolved = scope.resolve_condition(expr).map_err(|error| generate::refused_outside_select(error, expr))?;
    let typed = boolean(resolved, clause)?;
    if clause == "JOIN" {
        place::refuse([&typed.expr], "JOIN … ON")?;
        if has_aggregate(&typed.expr) {
            return Err(no_place_for_aggregates(clause));
        }
    }
    if has_aggregate(&typed.expr) {
        let message = format!("aggregate functions are not allowed in {clause}; HAVING is the place for them: {expr}");
        return Err(Error::spark(ErrorKind::Config, "INVALID_WHERE_CONDITION", message));
    }
    grouping::refuse_markers(&typed.expr)?;
    Ok(typed)
}

fn no_place_for_aggregates(clause: &str) -> Error {
    let message = format!("aggregate functions cannot be used in {clause} here");
    Error::spark(ErrorKind::Config, "UNSUPPORTED_EXPR_FOR_OPERATOR", message)
}

/// HAVING and ORDER BY beside groups do not know the columns before.
fn outside_groups(error: Error) -> Error {
    match error.condition() {
        Some("MISSING_AGGREGATION" | "MISSING_GROUP_BY") => {
            let message = format!("{}, so HAVING and ORDER BY cannot use it", error.message());
            Error::spark(ErrorKind::Config, "UNRESOLVED_COLUMN.WITH_SUGGESTION", message)
        }
        _ => error,
    }
}

pub(super) fn boolean(typed: Typed, clause: &str) -> Result<Typed> {
    match &typed.data_type {
        DataType::Boolean => Ok(typed),
        other => {
            let name = types::sql_name(other);
            let (condition, message) = match clause {
                "JOIN" => (
                    "JOIN_CONDITION_IS_NOT_BOOLEAN_TYPE",
                    format!("a join condition must be a BOOLEAN, but it is of type {name}"),
                ),
                _ => (
                    "DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN",
                    format!("the condition of {clause} must be a BOOLEAN, but it is of type {name}"),
                ),
            };
            Err(Error::spark(ErrorKind::Config, condition, message))
        }
    }
}

/// The rows for which `condition` is true.
pub(super) fn filtered(_planner: &Planner<'_>, relation: Relation, condition: Typed) -> Result<Relation> {
    let filter = Filter::try_new(condition.expr, relation.plan.into()).map_err(broken)?;
    Ok(Relation { plan: LogicalPlan::Filter(filter), columns: relation.columns })
}

/// Whether a subquery is part of `expr`.
pub(super) fn has_subquery(expr: &Expr) -> bool {
    expr.exists(|node| Ok(matches!(node, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_)))).unwrap_or(true)
}

fn refuse_clauses(select: &ast::Select) -> Result<()> {
    let clause = if select.top.is_some() {
        "TOP"
    } else if select.into.is_some() {
        "INTO"
    } else if select.prewhere.is_some() {
        "PREWHERE"
    } else if !select.connect_by.is_empty() {
        "CONNECT BY"
    } else if !select.cluster_by.is_empty() {
        "CLUSTER BY"
    } else if !select.distribute_by.is_empty() {
        "DISTRIBUTE BY"
    } else if !select.sort_by.is_empty() {
        "SORT BY (use ORDER BY)"
    } else if !select.named_window.is_empty() {
        let message = "non-time-based windows are not supported on streaming DataFrames/Datasets: WINDOW";
        return Err(Error::spark(ErrorKind::Config, "NON_TIME_WINDOW_NOT_SUPPORTED_IN_STREAMING", message));
    } else if select.qualify.is_some() {
        "QUALIFY"
    } else if select.value_table_mode.is_some() || select.select_modifiers.is_some() || select.exclude.is_some() {
        "this form of SELECT"
    } else {
        return Ok(());
    };
    Err(Error::config(format!("{clause} is not supported")))
}
