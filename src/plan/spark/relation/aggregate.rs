//! Grouped rows: what of the select list is computed before, by and after the aggregate.
//!
//! Every expression over a group is rewritten top-down: what equals a key becomes the key's column, an aggregate function becomes a
//! column of the aggregate, and any other column is an error. Grouping sets are rows multiplied before the aggregate, once per set,
//! with the keys outside the set made null and the set's number as one more key: the aggregate itself never knows.

use std::collections::HashSet;

use arrow::datatypes::DataType;
use datafusion::common::DFSchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan, Operator, Subquery, binary_expr, lit, when};
use datafusion::scalar::ScalarValue;

use super::super::functions::time_window::{WindowFunction, window_function};
use super::super::functions::{is_variable, rewritten};
use super::super::{Typed, is_fallible};
use super::GROUPING_SET;
use super::columns::column;
use super::generate;
use super::grouping::{self, Asked, Grouping};
use super::planner::{Planner, broken};
use super::query::null_of;
use super::select::has_subquery;
use super::widen;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Scope;
use crate::plan::catalog::is_streaming;
use crate::plan::function::place;

/// One key of the aggregate.
struct Key {
    expr: Expr,
    data_type: DataType,
    id: String,
}

/// An aggregate being put together.
pub(super) struct Aggregation<'a> {
    planner: &'a Planner<'a>,
    keys: Vec<Key>,
    sets: Option<Vec<Vec<usize>>>,
    set_id: String,
    /// Aggregate functions and the columns they become.
    calls: Vec<(Expr, String)>,
    /// Arguments that must be computed before the aggregate, and their columns.
    arguments: Vec<(Expr, String)>,
    /// The rows that are aggregated.
    input: DFSchemaRef,
    /// Columns of the select list, which are computed afterwards.
    items: HashSet<String>,
    grouped: bool,
}

impl<'a> Aggregation<'a> {
    /// Groups by `grouping`, or everything together. `items` are the columns that expressions may use although they come later.
    pub(super) fn new(planner: &'a Planner<'a>, grouping: Option<Grouping>, items: HashSet<String>, input: DFSchemaRef) -> Self {
        let grouped = grouping.is_some();
        let grouping = grouping.unwrap_or_default();
        let keys = grouping.keys.into_iter().map(|key| {
            let id = match &key.expr {
                Expr::Column(name) if grouping.sets.is_none() && !widen::has_key(&key.data_type) => name.name.clone(),
                _ => planner.fresh(&key.name),
            };
            Key { expr: key.expr, data_type: key.data_type, id }
        });
        let keys: Vec<Key> = keys.collect();
        Self {
            planner,
            keys,
            sets: grouping.sets,
            set_id: planner.fresh(GROUPING_SET),
            calls: Vec::new(),
            arguments: Vec::new(),
            input,
            items,
            grouped,
        }
    }

    /// `expr` over the aggregate's output.
    pub(super) fn rewrite(&mut self, expr: Expr) -> Result<Expr> {
        expr.transform_down(|node| self.rewrite_node(node).map_err(Into::into)).map(|done| done.data).map_err(broken)
    }

    fn rewrite_node(&mut self, node: Expr) -> Result<Transformed<Expr>> {
        let done = |expr| Ok(Transformed::new(expr, true, TreeNodeRecursion::Jump));
        if let Some(key) = self.keys.iter().find(|key| key.expr == node) {
            return done(column(&key.id));
        }
        if let Some(asked) = grouping::asked(&node) {
            return done(self.set_bits(asked)?);
        }
        if matches!(window_function(&node), Some((WindowFunction::Time, _))) {
            // Spark computes it before it groups, even where its window is a key.
            return Err(self.missing("window_time"));
        }
        // A key may be part of a body.
        if let Some(call) = rewritten(&node, &mut |inner, _| self.rewrite(inner))? {
            return done(call);
        }
        match node {
            Expr::AggregateFunction(call) => done(self.call(call)?),
            Expr::Column(name) if self.items.contains(&name.name) || is_variable(&name.name) => {
                Ok(Transformed::no(Expr::Column(name)))
            }
            Expr::Column(name) => Err(self.missing(&name.name)),
            Expr::ScalarSubquery(subquery) if subquery.outer_ref_columns.is_empty() => {
                Ok(Transformed::no(Expr::ScalarSubquery(subquery)))
            }
            Expr::ScalarSubquery(_) => {
                let message = "a correlated scalar subquery beside groups must be grouped by or be in an aggregate function";
                let condition = "SCALAR_SUBQUERY_IS_IN_GROUP_BY_OR_AGGREGATE_FUNCTION";
                Err(Error::spark(ErrorKind::Config, condition, message))
            }
            Expr::Exists(mut exists) => {
                exists.subquery = self.rewrite_outer(exists.subquery)?;
                Ok(Transformed::yes(Expr::Exists(exists)))
            }
            Expr::InSubquery(mut within) => {
                within.subquery = self.rewrite_outer(within.subquery)?;
                Ok(Transformed::yes(Expr::InSubquery(within)))
            }
            other => Ok(Transformed::no(other)),
        }
    }

    fn call(&mut self, mut call: AggregateFunction) -> Result<Expr> {
        let nested = call.params.args.iter().any(has_aggregate);
        if nested {
            let message = "an aggregate function cannot be the argument of another; use a subquery";
            return Err(Error::spark(ErrorKind::Config, "NESTED_AGGREGATE_FUNCTION", message));
        }
        if call.params.filter.as_deref().is_some_and(has_aggregate) {
            let message = "the filter of an aggregate function must not have an aggregate function; use a subquery";
            return Err(Error::spark(ErrorKind::Config, "INVALID_AGGREGATE_FILTER.CONTAINS_AGGREGATE", message));
        }
        place::refuse(call.params.args.iter().chain(call.params.filter.as_deref()), "an aggregate function")?;
        if let Some(filter) = &call.params.filter {
            // DataFusion evaluates arguments for every row; a fallible one must only see the rows that the filter lets through.
            for argument in &mut call.params.args {
                if is_fallible(argument) {
                    *argument = when(filter.as_ref().clone(), argument.clone()).end().map_err(broken)?;
                }
            }
        }
        if call.params.distinct {
            for argument in &mut call.params.args {
                let data_type = argument.get_type(self.input.as_ref()).map_err(broken)?;
                let value = Typed { expr: argument.clone(), data_type, nullable: true };
                *argument = widen::key(value).expr;
            }
        }
        for argument in &mut call.params.args {
            self.precompute(argument);
        }
        if let Some(filter) = &mut call.params.filter {
            self.precompute(filter);
        }
        let name = call.func.name().to_owned();
        let expr = Expr::AggregateFunction(call);
        if let Some((_, id)) = self.calls.iter().find(|(known, _)| *known == expr) {
            return Ok(column(id));
        }
        let id = self.planner.fresh(&name);
        self.calls.push((expr, id.clone()));
        Ok(column(&id))
    }

    /// A subquery cannot be planned inside an aggregate: it becomes a column of the rows before.
    fn precompute(&mut self, argument: &mut Expr) {
        if !has_subquery(argument) {
            return;
        }
        let id = match self.arguments.iter().find(|(known, _)| known == argument) {
            Some((_, id)) => id.clone(),
            None => {
                let id = self.planner.fresh("argument");
                self.arguments.push((argument.clone(), id.clone()));
                id
            }
        };
        *argument = column(&id);
    }

    /// The value of `grouping` or `grouping_id`: bit k from the right is set where the k-th key from the right is not in the set.
    fn set_bits(&self, asked: Asked<'_>) -> Result<Expr> {
        if self.sets.is_none() {
            return Err(grouping::unsupported());
        }
        match asked {
            Asked::All(exprs) => {
                let matches = exprs.len() == self.keys.len() && exprs.iter().zip(&self.keys).all(|(expr, key)| *expr == key.expr);
                if !exprs.is_empty() && !matches {
                    let message = "the columns of grouping_id do not match the grouping columns";
                    return Err(Error::spark(ErrorKind::Config, "GROUPING_ID_COLUMN_MISMATCH", message));
                }
                Ok(column(&self.set_id))
            }
            Asked::One(expr) => {
                let position = self.keys.iter().position(|key| key.expr == *expr).ok_or_else(|| {
                    let message = "the column of grouping is not a grouping column";
                    Error::spark(ErrorKind::Config, "GROUPING_COLUMN_MISMATCH", message)
                })?;
                when(self.in_set(position), lit(0_i8)).otherwise(lit(1_i8)).map_err(broken)
            }
        }
    }

    fn bit(&self, key: usize) -> i64 {
        1 << (self.keys.len() - 1 - key)
    }

    /// Whether the row's grouping set has the key.
    fn in_set(&self, key: usize) -> Expr {
        binary_expr(column(&self.set_id), Operator::BitwiseAnd, lit(self.bit(key))).eq(lit(0_i64))
    }

    fn missing(&self, id: &str) -> Error {
        let name = super::visible_name(id);
        if self.grouped {
            let message = format!(
                "the non-aggregating expression \"{name}\" is based on columns which are not participating in the GROUP BY clause"
            );
            return Error::spark(ErrorKind::Config, "MISSING_AGGREGATION", message);
        }
        let message = format!("\"{name}\" stands beside an aggregate function, but the query has no GROUP BY clause");
        Error::spark(ErrorKind::Config, "MISSING_GROUP_BY", message)
    }

    /// A subquery that refers to this query's rows may only refer to keys.
    fn rewrite_outer(&self, subquery: Subquery) -> Result<Subquery> {
        if subquery.outer_ref_columns.is_empty() {
            return Ok(subquery);
        }
        let rename = |expr: Expr| -> Result<Transformed<Expr>> {
            let Expr::OuterReferenceColumn(field, name) = expr else { return Ok(Transformed::no(expr)) };
            let inner = column(&name.name);
            let key = self.keys.iter().find(|key| key.expr == inner).ok_or_else(|| self.missing(&name.name))?;
            let to = datafusion::common::Column::new_unqualified(&key.id);
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, to)))
        };
        let plan = subquery.subquery.as_ref().clone().transform_up_with_subqueries(|plan| {
            plan.map_expressions(|expr| expr.transform_up(|node| rename(node).map_err(Into::into)))?
                .map_data(|plan| plan.recompute_schema())
        });
        let plan = plan.map_err(broken)?.data;
        let outer_ref_columns = plan.all_out_ref_exprs();
        Ok(Subquery { subquery: plan.into(), outer_ref_columns, ..subquery })
    }

    /// The aggregate over `plan`.
    pub(super) fn plan(self, mut plan: LogicalPlan) -> Result<LogicalPlan> {
        let mut group: Vec<Expr> = self.keys.iter().map(|key| column(&key.id)).collect();
        if let Some(sets) = &self.sets {
            let numbers: Vec<i64> = sets
                .iter()
                .map(|set| (0..self.keys.len()).filter(|key| !set.contains(key)).map(|key| self.bit(key)).sum())
                .collect();
            group.push(column(&self.set_id));
            let mut distinct = numbers.clone();
            distinct.sort_unstable();
            distinct.dedup();
            // The same set twice is two groups.
            let position = (distinct.len() < numbers.len()).then(|| self.planner.fresh("grouping_position"));
            group.extend(position.as_deref().map(column));
            plan = multiplied(plan, &numbers, &self.set_id, position.as_deref())?;
        }
        let mut computed = Vec::new();
        for (index, key) in self.keys.iter().enumerate() {
            if key.expr == column(&key.id) {
                continue;
            }
            let value = Typed { expr: key.expr.clone(), data_type: key.data_type.clone(), nullable: true };
            let mut expr = widen::key(value).expr;
            if self.sets.iter().flatten().any(|set| !set.contains(&index)) {
                expr = when(self.in_set(index), expr).otherwise(null_of(&key.data_type)?).map_err(broken)?;
            }
            computed.push(expr.alias(&key.id));
        }
        computed.extend(self.arguments.into_iter().map(|(argument, id)| argument.alias(id)));
        let planner = self.planner;
        let distinct = match planner.settings.scope == Scope::MicroBatch || !is_streaming(&plan) {
            true => {
                shared_distinct(&self.calls).map(|args| args.iter().map(|arg| (arg.clone(), planner.fresh("distinct"))).collect())
            }
            false => None,
        };
        let distinct: Vec<(Expr, String)> = distinct.unwrap_or_default();
        computed.extend(distinct.iter().map(|(arg, id)| arg.clone().alias(id)));
        if !computed.is_empty() {
            let mut exprs: Vec<Expr> = plan.schema().fields().iter().map(|field| column(field.name())).collect();
            exprs.extend(computed);
            plan = planner.project(plan, exprs)?;
        }
        let mut calls = self.calls;
        if !distinct.is_empty() {
            let each = group.iter().cloned().chain(distinct.iter().map(|(_, id)| column(id))).collect();
            plan = Aggregate::try_new(plan.into(), each, Vec::new()).map(LogicalPlan::Aggregate).map_err(broken)?;
            for (call, _) in &mut calls {
                if let Expr::AggregateFunction(call) = call {
                    call.params.distinct = false;
                    call.params.args = distinct.iter().map(|(_, id)| column(id)).collect();
                }
            }
        }
        let calls = calls.into_iter().map(|(call, id)| call.alias(id)).collect();
        Aggregate::try_new(plan.into(), group, calls).map(LogicalPlan::Aggregate).map_err(broken)
    }
}

/// Functions that give the same of the same values in whatever order these come, as they do once they were grouped.
const IN_ANY_ORDER: [&str; 7] = ["count", "min", "max", "bit_and", "bit_or", "bit_xor", "approx_count_distinct"];

/// The arguments of the aggregates, if all are over the distinct values of the same ones: these can be grouped by first.
fn shared_distinct(calls: &[(Expr, String)]) -> Option<&[Expr]> {
    let mut shared: Option<&[Expr]> = None;
    for (call, _) in calls {
        let Expr::AggregateFunction(call) = call else { return None };
        let plain = call.params.filter.is_none() && IN_ANY_ORDER.contains(&call.func.name());
        if !call.params.distinct || !plain || shared.is_some_and(|args| args != call.params.args) {
            return None;
        }
        shared = Some(&call.params.args);
    }
    shared
}

/// Every row once per grouping set, with the set's number and, if asked for, its position.
fn multiplied(plan: LogicalPlan, numbers: &[i64], set_id: &str, position: Option<&str>) -> Result<LogicalPlan> {
    let values: Vec<ScalarValue> = numbers.iter().map(|number| ScalarValue::Int64(Some(*number))).collect();
    let list = Expr::Literal(ScalarValue::List(ScalarValue::new_list(&values, &DataType::Int64, false)), None);
    generate::literal(plan, list, position, set_id)
}

/// Whether an aggregate function is part of `expr`.
pub(super) fn has_aggregate(expr: &Expr) -> bool {
    expr.exists(|node| Ok(matches!(node, Expr::AggregateFunction(_)))).unwrap_or(true)
}
