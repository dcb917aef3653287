//! Joins.

use std::collections::HashSet;

use arrow::datatypes::DataType;
use datafusion::common::NullEquality;
use datafusion::logical_expr::{BinaryExpr, Expr, Join, JoinConstraint, JoinType, LogicalPlan, Operator, when};
use sqlparser::ast::{self, Ident, JoinOperator};

use super::super::Typed;
use super::super::expression::logic;
use super::columns::{Access, Attribute, Relation, find, same_name, unresolved};
use super::planner::{Env, Planner, broken};
use super::scope::QueryScope;
use super::{from, select, time_window, widen};
use crate::error::{Error, ErrorKind, Result};

/// Spark's joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Inner,
    Cross,
    Left,
    Right,
    Full,
    Semi,
    Anti,
}

impl Kind {
    fn join_type(self) -> JoinType {
        match self {
            Kind::Inner | Kind::Cross => JoinType::Inner,
            Kind::Left => JoinType::Left,
            Kind::Right => JoinType::Right,
            Kind::Full => JoinType::Full,
            Kind::Semi => JoinType::LeftSemi,
            Kind::Anti => JoinType::LeftAnti,
        }
    }

    fn keeps_right(self) -> bool {
        !matches!(self, Kind::Semi | Kind::Anti)
    }
}

/// What the syntax tree calls a join.
pub(super) fn kind(operator: &JoinOperator) -> Result<(Kind, &ast::JoinConstraint)> {
    Ok(match operator {
        JoinOperator::Join(on) | JoinOperator::Inner(on) => (Kind::Inner, on),
        JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (Kind::Left, on),
        JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (Kind::Right, on),
        JoinOperator::FullOuter(on) => (Kind::Full, on),
        JoinOperator::CrossJoin(on) => (Kind::Cross, on),
        JoinOperator::Semi(on) | JoinOperator::LeftSemi(on) => (Kind::Semi, on),
        JoinOperator::Anti(on) | JoinOperator::LeftAnti(on) => (Kind::Anti, on),
        JoinOperator::RightSemi(_)
        | JoinOperator::RightAnti(_)
        | JoinOperator::CrossApply
        | JoinOperator::OuterApply
        | JoinOperator::AsOf { .. }
        | JoinOperator::StraightJoin(_)
        | JoinOperator::ArrayJoin
        | JoinOperator::LeftArrayJoin
        | JoinOperator::InnerArrayJoin => {
            return Err(Error::spark(ErrorKind::Config, "PARSE_SYNTAX_ERROR", "this kind of join is not part of the language"));
        }
    })
}

/// Every row of one side with every row of the other.
pub(super) fn cross(planner: &Planner<'_>, left: Relation, right: Relation) -> Result<Relation> {
    let env = Env::default();
    plan(planner, left, right, Kind::Cross, &ast::JoinConstraint::None, &env)
}

/// Joins two relations.
pub(super) fn plan(
    planner: &Planner<'_>,
    left: Relation,
    right: Relation,
    kind: Kind,
    constraint: &ast::JoinConstraint,
    env: &Env<'_>,
) -> Result<Relation> {
    match constraint {
        ast::JoinConstraint::None => joined(planner, left, right, kind, Vec::new()),
        ast::JoinConstraint::On(condition) => {
            let both: Vec<Attribute> = left.columns.iter().chain(&right.columns).cloned().collect();
            let condition = select::condition(&QueryScope::new(planner, env, vec![&both]), condition, "JOIN")?;
            time_window::refuse(&condition.expr)?;
            joined(planner, left, right, kind, logic::conjuncts(condition.expr))
        }
        ast::JoinConstraint::Using(names) => {
            let mut keys = Vec::with_capacity(names.len());
            for name in names {
                match from::identifiers(name)?.as_slice() {
                    [only] => keys.push(only.clone()),
                    _ => {
                        return Err(Error::spark(
                            ErrorKind::Config,
                            "PARSE_SYNTAX_ERROR",
                            format!("USING ({name}) takes plain column names"),
                        ));
                    }
                }
            }
            using(planner, left, right, kind, &keys)
        }
        ast::JoinConstraint::Natural => {
            let shared: Vec<Ident> = left
                .listed()
                .filter(|column| right.listed().any(|other| same_name(&column.name, &other.name)))
                .map(|column| Ident::new(&column.name))
                .collect();
            using(planner, left, right, kind, &shared)
        }
    }
}

/// `USING`: the shared columns first and once, then the others.
fn using(planner: &Planner<'_>, left: Relation, right: Relation, kind: Kind, keys: &[Ident]) -> Result<Relation> {
    let mut pairs = Vec::with_capacity(keys.len());
    let mut on = Vec::with_capacity(keys.len());
    for key in keys {
        let side = |relation: &Relation| match find(&relation.columns, std::slice::from_ref(key))? {
            Some((column, _)) => Ok(column.clone()),
            None => Err(missing_using(key, relation)),
        };
        let (l, r) = (side(&left)?, side(&right)?);
        let common = widen::common(&l.data_type, &r.data_type).ok_or_else(|| {
            let message = format!("the two columns {key} of USING have types that do not go together");
            Error::spark(ErrorKind::Config, "DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES", message)
        })?;
        on.push(widen::equal(widen::cast(planner, l.typed(), &common)?, widen::cast(planner, r.typed(), &common)?));
        pairs.push((l, r, common));
    }
    let is_key = |attribute: &Attribute| pairs.iter().any(|(l, r, _)| attribute.id == l.id || attribute.id == r.id);
    let mut joined = joined(planner, left, right, kind, on)?;
    let mut merged = Vec::with_capacity(pairs.len());
    if kind == Kind::Full {
        let mut exprs: Vec<Expr> = joined.columns.iter().map(|attribute| super::columns::column(&attribute.id)).collect();
        for (l, r, common) in &pairs {
            let (from_left, from_right) =
                (widen::cast(planner, l.typed(), common)?.expr, widen::cast(planner, r.typed(), common)?.expr);
            let id = planner.fresh(&l.name);
            let value = when(from_left.clone().is_not_null(), from_left).otherwise(from_right).map_err(broken)?;
            exprs.push(value.alias(&id));
            let nullable = l.nullable || r.nullable;
            merged.push(Attribute { id, qualifier: None, data_type: common.clone(), nullable, ..l.clone() });
        }
        exprs.dedup();
        joined.plan = planner.project(joined.plan, exprs)?;
    } else {
        for (l, r, _) in &pairs {
            merged.push(if kind == Kind::Right { r.clone() } else { l.clone() });
        }
    }
    for attribute in joined.columns {
        if merged.iter().any(|key| key.id == attribute.id) {
            continue;
        }
        let access = if is_key(&attribute) { Access::Qualified } else { attribute.access };
        merged.push(Attribute { access, ..attribute });
    }
    Ok(Relation { plan: joined.plan, columns: merged })
}

fn missing_using(key: &Ident, relation: &Relation) -> Error {
    let nearest = unresolved(std::slice::from_ref(key), relation.columns.iter());
    let message = format!("USING column `{}` cannot be resolved on one side of the join: {}", key.value, nearest.message());
    Error::spark(ErrorKind::Config, "UNRESOLVED_USING_COLUMN_FOR_JOIN", message)
}

/// The join itself, its condition given as conjuncts; equalities between the sides become its keys.
fn joined(planner: &Planner<'_>, left: Relation, right: Relation, kind: Kind, conjuncts: Vec<Expr>) -> Result<Relation> {
    let ids = |relation: &Relation| relation.plan.schema().fields().iter().map(|field| field.name().clone()).collect();
    let (left_ids, right_ids): (HashSet<String>, HashSet<String>) = (ids(&left), ids(&right));
    let mut on = Vec::new();
    let mut rest = Vec::new();
    for conjunct in conjuncts {
        match equal_keys(conjunct, &left_ids, &right_ids) {
            Ok(pair) => on.push(pair),
            Err(other) => rest.push(*other),
        }
    }
    let filter = logic::all(rest);
    let has_subquery = filter.as_ref().is_some_and(select::has_subquery);
    if has_subquery && kind.join_type() != JoinType::Inner {
        return Err(Error::config("a subquery in the condition of an outer, semi or anti join is not supported"));
    }
    let (inside, above) = if has_subquery { (None, filter) } else { (filter, None) };
    let join = Join::try_new(
        left.plan.into(),
        right.plan.into(),
        on,
        inside,
        kind.join_type(),
        JoinConstraint::On,
        NullEquality::NullEqualsNothing,
        false,
    );
    let plan = LogicalPlan::Join(join.map_err(broken)?);
    let (left_null, right_null) = (matches!(kind, Kind::Right | Kind::Full), matches!(kind, Kind::Left | Kind::Full));
    let mut columns = nullable_if(left.columns, left_null);
    if kind.keeps_right() {
        columns.extend(nullable_if(right.columns, right_null));
    }
    let joined = Relation { plan, columns };
    match above {
        Some(expr) => select::filtered(planner, joined, Typed { expr, data_type: DataType::Boolean, nullable: true }),
        None => Ok(joined),
    }
}

fn nullable_if(mut columns: Vec<Attribute>, nullable: bool) -> Vec<Attribute> {
    columns.iter_mut().for_each(|column| column.nullable |= nullable);
    columns
}

/// `left = right` with one side from each input, in that order; anything else comes back.
fn equal_keys(conjunct: Expr, left: &HashSet<String>, right: &HashSet<String>) -> Result<(Expr, Expr), Box<Expr>> {
    let Expr::BinaryExpr(BinaryExpr { left: a, op: Operator::Eq, right: b }) = conjunct else { return Err(Box::new(conjunct)) };
    if select::has_subquery(&a) || select::has_subquery(&b) {
        return Err(Box::new(Expr::eq(*a, *b)));
    }
    let within = |expr: &Expr, ids: &HashSet<String>| {
        let columns = expr.column_refs();
        !columns.is_empty() && columns.iter().all(|column| ids.contains(&column.name))
    };
    if within(&a, left) && within(&b, right) {
        Ok((*a, *b))
    } else if within(&a, right) && within(&b, left) {
        Ok((*b, *a))
    } else {
        Err(Box::new(Expr::eq(*a, *b)))
    }
}
