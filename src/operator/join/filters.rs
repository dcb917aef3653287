//! Conditions move through joins of streams as Spark moves them: results depend on which rows reach a watermark or the state.
//!
//! What concerns one side goes to that side, unless the join must show its rows anyway. Rows that cannot match because of a null are
//! left out likewise. An outer join above which no row without partner survives is an inner one.

use std::sync::Arc;

use datafusion::common::{Column, DFSchema, ExprSchema, ScalarValue};
use datafusion::logical_expr::{Expr, Filter, Join, JoinType, LogicalPlan};

use super::condition::{Concerns, Condition, column_it_is_null_with, has, not_null_columns, renamed};
use crate::error::{ErrorKind, Result, from_datafusion};
use crate::plan::catalog::is_streaming;
use crate::plan::spark::constant;
use crate::plan::spark::expression::logic;
use crate::plan::spark::is_fallible;

/// The join of two streams that `plan` is, if it is one.
pub fn stream_join(plan: &LogicalPlan) -> Option<&Join> {
    match plan {
        LogicalPlan::Join(join) if is_streaming(&join.left) && is_streaming(&join.right) => Some(join),
        _ => None,
    }
}

/// `join` under a WHERE with `predicate`. None of its parts moves past one that stays if it can fail.
pub fn under_where(predicate: Expr, join: &Join) -> Result<LogicalPlan> {
    let conjuncts = logic::conjuncts(predicate);
    let join_type = without_alone(join, &conjuncts);
    let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
    let (mut left, mut right, mut inside, mut kept) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for conjunct in conjuncts {
        let stays = !kept.is_empty() && is_fallible(&conjunct);
        match Concerns::of(&conjunct, left_schema, right_schema) {
            Concerns::Left if !stays && matches!(join_type, JoinType::Inner | JoinType::Left | JoinType::LeftSemi) => {
                left.push(conjunct);
            }
            Concerns::Right if !stays && matches!(join_type, JoinType::Inner | JoinType::Right) => right.push(conjunct),
            Concerns::Both if !stays && join_type == JoinType::Inner => inside.push(conjunct),
            _ => kept.push(conjunct),
        }
    }
    let filter = logic::all(join.filter.iter().cloned().flat_map(logic::conjuncts).chain(inside));
    let (left, right) = (filtered(join.left.clone(), left)?, filtered(join.right.clone(), right)?);
    let join = rebuilt(join, left, right, join_type, filter)?;
    match logic::all(kept) {
        None => Ok(LogicalPlan::Join(sides_filtered(join)?)),
        // The join is looked at when the walk comes to it.
        Some(kept) => filtered(Arc::new(LogicalPlan::Join(join)), vec![kept]).map(Arc::unwrap_or_clone),
    }
}

/// `join` with what its condition says about one side evaluated there.
pub fn sides_filtered(join: Join) -> Result<Join> {
    let kind = join.join_type;
    let condition = Condition::of(&join);
    let to_left = matches!(kind, JoinType::Inner | JoinType::LeftSemi | JoinType::Right);
    let to_right = matches!(kind, JoinType::Inner | JoinType::LeftSemi | JoinType::Left);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut kept = Vec::new();
    for conjunct in join.filter.iter().cloned().flat_map(logic::conjuncts) {
        match Concerns::of(&conjunct, join.left.schema(), join.right.schema()) {
            Concerns::Left if to_left => left.push(conjunct),
            Concerns::Right if to_right => right.push(conjunct),
            _ => kept.push(conjunct),
        }
    }
    if to_left {
        left.extend(not_null(&condition, join.left.schema(), join.right.schema(), true));
        left.retain(|conjunct| !top_conjuncts(&join.left).contains(conjunct));
    }
    if to_right {
        right.extend(not_null(&condition, join.left.schema(), join.right.schema(), false));
        right.retain(|conjunct| !top_conjuncts(&join.right).contains(conjunct));
    }
    let (left, right) = (filtered(join.left.clone(), left)?, filtered(join.right.clone(), right)?);
    rebuilt(&join, left, right, kind, logic::all(kept))
}

/// That the columns of one side that a match depends on are not null.
pub fn not_null(condition: &Condition, left: &DFSchema, right: &DFSchema, is_left: bool) -> Vec<Expr> {
    let schema = if is_left { left } else { right };
    let keys = condition.keys.iter().filter(|key| !key.null_safe).map(|key| if is_left { &key.left } else { &key.right });
    let mut columns: Vec<Column> = keys.filter_map(|key| column_it_is_null_with(key, schema)).collect();
    let Ok(both) = left.join(right) else { return Vec::new() };
    columns.extend(
        condition.both.iter().flat_map(|conjunct| not_null_columns(conjunct, &both)).filter(|column| has(schema, column)),
    );
    let mut found = Vec::new();
    for column in columns {
        let conjunct = Expr::IsNotNull(Box::new(Expr::Column(column)));
        if !found.contains(&conjunct) {
            found.push(conjunct);
        }
    }
    found
}

/// What filters at the top of `plan` ask for.
fn top_conjuncts(plan: &LogicalPlan) -> Vec<Expr> {
    match plan {
        LogicalPlan::Filter(filter) => {
            let mut conjuncts = logic::conjuncts(filter.predicate.clone());
            conjuncts.extend(top_conjuncts(&filter.input));
            conjuncts
        }
        _ => Vec::new(),
    }
}

/// The kind of join that is left of an outer one if `conjuncts` are asked for above it.
fn without_alone(join: &Join, conjuncts: &[Expr]) -> JoinType {
    let both = join.left.schema().join(join.right.schema());
    let rejects_nulls_of = |schema: &DFSchema, side: Concerns| {
        conjuncts.iter().any(|conjunct| {
            if Concerns::of(conjunct, join.left.schema(), join.right.schema()) == side {
                return is_untrue_of_nulls(conjunct, schema);
            }
            let columns = both.as_ref().map(|both| not_null_columns(conjunct, both)).unwrap_or_default();
            columns.iter().any(|column| has(schema, column))
        })
    };
    let no_left_nulls = || rejects_nulls_of(join.left.schema(), Concerns::Left);
    let no_right_nulls = || rejects_nulls_of(join.right.schema(), Concerns::Right);
    match join.join_type {
        JoinType::Left if no_right_nulls() => JoinType::Inner,
        JoinType::Right if no_left_nulls() => JoinType::Inner,
        JoinType::Full => match (no_left_nulls(), no_right_nulls()) {
            (true, true) => JoinType::Inner,
            (true, false) => JoinType::Left,
            (false, true) => JoinType::Right,
            (false, false) => JoinType::Full,
        },
        other => other,
    }
}

/// Whether `conjunct` cannot be true if all its columns are null.
fn is_untrue_of_nulls(conjunct: &Expr, schema: &DFSchema) -> bool {
    let null = |column: &Column| {
        let data_type = schema.field_from_column(column).ok()?.data_type().clone();
        Some(Expr::Literal(ScalarValue::try_from(&data_type).ok()?, None))
    };
    // A condition that cannot be evaluated here says nothing.
    let value = renamed(conjunct.clone(), null).and_then(|conjunct| constant::evaluate(&conjunct));
    matches!(value, Ok(Some(ScalarValue::Boolean(None | Some(false)) | ScalarValue::Null)))
}

/// `input` under `conjuncts`, if there are any.
pub fn filtered(input: Arc<LogicalPlan>, conjuncts: Vec<Expr>) -> Result<Arc<LogicalPlan>> {
    match logic::all(conjuncts) {
        None => Ok(input),
        Some(predicate) => {
            let filter = Filter::try_new(predicate, input).map_err(|e| from_datafusion(e, ErrorKind::Internal))?;
            Ok(Arc::new(LogicalPlan::Filter(filter)))
        }
    }
}

fn rebuilt(
    join: &Join,
    left: Arc<LogicalPlan>,
    right: Arc<LogicalPlan>,
    join_type: JoinType,
    filter: Option<Expr>,
) -> Result<Join> {
    let Join { on, join_constraint, null_equality, null_aware, .. } = join.clone();
    Join::try_new(left, right, on, filter, join_type, join_constraint, null_equality, null_aware)
        .map_err(|e| from_datafusion(e, ErrorKind::Internal))
}
