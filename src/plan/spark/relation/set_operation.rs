//! UNION, INTERSECT and EXCEPT.

use std::sync::Arc;

use datafusion::common::NullEquality;
use datafusion::logical_expr::{Distinct, Expr, Join, JoinConstraint, JoinType, LogicalPlan, Union};
use sqlparser::ast::{SetExpr, SetOperator, SetQuantifier};

use super::columns::{Access, Attribute, Relation, column};
use super::planner::{Env, Planner, broken};
use super::widen;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Scope;
use crate::plan::catalog::is_streaming;

impl Planner<'_> {
    /// A chain of set operations. The parser nests them to the left, as deep as the chain is long: it is walked, not recursed into.
    pub(super) fn set_operation(&self, body: &SetExpr, env: &Env<'_>) -> Result<Relation> {
        let mut chain = Vec::new();
        let mut first = body;
        while let SetExpr::SetOperation { left, op, set_quantifier, right } = first {
            chain.push((*op, *set_quantifier, right.as_ref()));
            first = left.as_ref();
        }
        let mut result = self.body(first, env, None)?;
        // Branches of one UNION ALL after another become one node.
        let mut branches: Vec<Relation> = Vec::new();
        for (op, quantifier, right) in chain.into_iter().rev() {
            let right = self.body(right, env, None)?;
            let keep_duplicates = keeps_duplicates(op, quantifier)?;
            if op == SetOperator::Union && keep_duplicates {
                branches.push(right);
                continue;
            }
            result = self.union_all(result, std::mem::take(&mut branches))?;
            result = match op {
                SetOperator::Union => {
                    let union = self.union_all(result, vec![right])?;
                    self.distinct(union)?
                }
                SetOperator::Intersect => self.filtered_by(result, right, JoinType::LeftSemi, "INTERSECT")?,
                SetOperator::Except | SetOperator::Minus => self.filtered_by(result, right, JoinType::LeftAnti, "EXCEPT")?,
            };
        }
        self.union_all(result, branches)
    }

    /// The rows of all, by position, under the first one's names.
    fn union_all(&self, first: Relation, others: Vec<Relation>) -> Result<Relation> {
        if others.is_empty() {
            return Ok(first);
        }
        let mut branches = vec![listed_only(first)];
        branches.extend(others.into_iter().map(listed_only));
        let columns = self.united(&branches, "UNION")?;
        let mut inputs = Vec::with_capacity(branches.len());
        for branch in branches {
            inputs.push(Arc::new(self.as_columns(branch, &columns)?));
        }
        let plan = Union::try_new_with_loose_types(inputs).map(LogicalPlan::Union).map_err(broken)?;
        Ok(Relation { plan, columns })
    }

    /// The rows of `left` that `right` has (or has not), each once.
    fn filtered_by(&self, left: Relation, right: Relation, join_type: JoinType, name: &str) -> Result<Relation> {
        self.refuse_streaming(&left, &right, join_type)?;
        let branches = [listed_only(left), listed_only(right)];
        let columns = self.united(&branches, name)?;
        let [left, right] = branches;
        let left = Relation { plan: self.as_columns(left, &columns)?, columns };
        let right_columns: Vec<Attribute> =
            left.columns.iter().map(|column| Attribute { id: self.fresh(&column.name), ..column.clone() }).collect();
        let right = Relation { plan: self.as_columns(right, &right_columns)?, columns: right_columns };
        let on = left
            .columns
            .iter()
            .zip(&right.columns)
            .map(|(l, r)| (widen::key(l.typed()).expr, widen::key(r.typed()).expr))
            .collect();
        let join = Join::try_new(
            left.plan.into(),
            right.plan.into(),
            on,
            None,
            join_type,
            JoinConstraint::On,
            NullEquality::NullEqualsNull,
            false,
        );
        // Each row once, but only of those that are left: a stream's state then holds no other.
        self.distinct(Relation { plan: LogicalPlan::Join(join.map_err(broken)?), columns: left.columns })
    }

    fn refuse_streaming(&self, left: &Relation, right: &Relation, join_type: JoinType) -> Result<()> {
        if self.settings.scope == Scope::MicroBatch {
            return Ok(());
        }
        let (left, right) = (is_streaming(&left.plan), is_streaming(&right.plan));
        let message = match join_type {
            JoinType::LeftAnti if right => "Except on a streaming DataFrame/Dataset on the right is not supported",
            JoinType::LeftSemi if left || right => "Intersect of streaming DataFrames/Datasets is not supported",
            _ => return Ok(()),
        };
        Err(Error::spark(ErrorKind::Config, "_LEGACY_ERROR_TEMP_3102", message))
    }

    /// Each row once; one NaN, one zero.
    pub(super) fn distinct(&self, relation: Relation) -> Result<Relation> {
        let columns = relation.columns;
        let mut exprs: Vec<Expr> = Vec::with_capacity(columns.len());
        for attribute in &columns {
            let key = widen::key(attribute.typed()).expr;
            // The name stays, so that sort keys over the rows before still fit.
            let expr = if key == column(&attribute.id) { key } else { key.alias(&attribute.id) };
            if !exprs.contains(&expr) {
                exprs.push(expr);
            }
        }
        let plan = self.project(relation.plan, exprs)?;
        Ok(Relation { plan: LogicalPlan::Distinct(Distinct::All(plan.into())), columns })
    }

    /// Columns for all `branches` together: the first one's names, types wide enough for all.
    fn united(&self, branches: &[Relation], name: &str) -> Result<Vec<Attribute>> {
        let mut columns = branches[0].columns.clone();
        for (index, branch) in branches.iter().enumerate().skip(1) {
            if branch.columns.len() != columns.len() {
                let message = format!(
                    "{name} can only be performed on inputs with the same number of columns, but the first input has {} columns and input {} has {}",
                    columns.len(),
                    index + 1,
                    branch.columns.len(),
                );
                return Err(Error::spark(ErrorKind::Config, "NUM_COLUMNS_MISMATCH", message));
            }
            for (position, (column, other)) in columns.iter_mut().zip(&branch.columns).enumerate() {
                column.data_type = widen::common(&column.data_type, &other.data_type).ok_or_else(|| {
                    let message = format!(
                        "{name}: column {} of input {} has a type that does not go with the first input's",
                        position + 1,
                        index + 1
                    );
                    Error::spark(ErrorKind::Config, "INCOMPATIBLE_COLUMN_TYPE", message)
                })?;
                column.nullable |= other.nullable;
            }
        }
        for column in &mut columns {
            column.qualifier = None;
            column.id = self.fresh(&column.name);
        }
        Ok(columns)
    }

    /// A branch with its columns cast to and called as `columns`.
    fn as_columns(&self, branch: Relation, columns: &[Attribute]) -> Result<LogicalPlan> {
        let mut exprs = Vec::with_capacity(columns.len());
        for (from, to) in branch.columns.iter().zip(columns) {
            exprs.push(widen::cast(self, from.typed(), &to.data_type)?.expr.alias(&to.id));
        }
        self.project(branch.plan, exprs)
    }
}

fn listed_only(mut relation: Relation) -> Relation {
    relation.columns.retain(|column| column.access == Access::Listed);
    relation
}

fn keeps_duplicates(op: SetOperator, quantifier: SetQuantifier) -> Result<bool> {
    match (op, quantifier) {
        (_, SetQuantifier::None | SetQuantifier::Distinct) => Ok(false),
        (SetOperator::Union, SetQuantifier::All) => Ok(true),
        (_, SetQuantifier::All) => Err(Error::config(format!("{op} ALL is not supported, only {op}"))),
        (_, SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName) => {
            Err(Error::spark(ErrorKind::Config, "PARSE_SYNTAX_ERROR", format!("{op} {quantifier} is not supported")))
        }
    }
}
