//! A join's condition, taken apart: keys, what concerns one side, what concerns both.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ExprSchema, NullEquality, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Join};

use crate::error::{ErrorKind, Result, from_datafusion};
use crate::plan::spark::constant;
use crate::plan::spark::expression::{comparison, logic};

/// One equality between the sides.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Over the left side's columns.
    pub left: Expr,
    /// Over the right side's columns.
    pub right: Expr,
    /// Whether null equals null.
    pub null_safe: bool,
}

/// What a pair of rows must fulfil; conjuncts are in the order in which they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Condition {
    /// Equalities between the sides.
    pub keys: Vec<Key>,
    /// What concerns the left side alone.
    pub left: Vec<Expr>,
    /// What concerns the right side alone.
    pub right: Vec<Expr>,
    /// Everything else.
    pub both: Vec<Expr>,
}

/// Which sides an expression names columns of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concerns {
    /// The left one only.
    Left,
    /// The right one only.
    Right,
    /// Both.
    Both,
    /// None.
    Neither,
}

impl Concerns {
    /// What `expr` over both inputs of a join names.
    pub fn of(expr: &Expr, left: &DFSchema, right: &DFSchema) -> Self {
        let columns = expr.column_refs();
        let any = |schema: &DFSchema| columns.iter().any(|column| has(schema, column));
        match (any(left), any(right)) {
            (true, false) => Self::Left,
            (false, true) => Self::Right,
            (true, true) => Self::Both,
            (false, false) => Self::Neither,
        }
    }
}

/// Whether `schema` has `column`.
pub fn has(schema: &DFSchema, column: &Column) -> bool {
    schema.maybe_index_of_column(column).is_some()
}

impl Condition {
    /// That of `join`.
    pub fn of(join: &Join) -> Self {
        let null_safe = join.null_equality == NullEquality::NullEqualsNull;
        let keys = join.on.iter().map(|(left, right)| Key { left: left.clone(), right: right.clone(), null_safe });
        let mut condition = Self { keys: keys.collect(), ..Self::default() };
        for conjunct in join.filter.iter().cloned().flat_map(logic::conjuncts) {
            condition.add(conjunct, join.left.schema(), join.right.schema());
        }
        condition
    }

    /// Takes in one more conjunct.
    pub fn add(&mut self, conjunct: Expr, left: &DFSchema, right: &DFSchema) {
        match Concerns::of(&conjunct, left, right) {
            Concerns::Left => self.left.push(conjunct),
            Concerns::Right => self.right.push(conjunct),
            Concerns::Neither => self.both.push(conjunct),
            Concerns::Both => match key(&conjunct, left, right) {
                Some(key) => self.keys.push(key),
                None => self.both.push(conjunct),
            },
        }
    }
}

/// The equality that `conjunct` is, if each of its sides concerns one side of the join.
fn key(conjunct: &Expr, left: &DFSchema, right: &DFSchema) -> Option<Key> {
    let (a, b, null_safe) = comparison::equality(conjunct)?;
    let (a, b) = match (Concerns::of(a, left, right), Concerns::of(b, left, right)) {
        (Concerns::Left, Concerns::Right) => (a, b),
        (Concerns::Right, Concerns::Left) => (b, a),
        _ => return None,
    };
    let same_type = a.get_type(left).ok()? == b.get_type(right).ok()?;
    same_type.then(|| Key { left: a.clone(), right: b.clone(), null_safe })
}

/// Columns of which `conjunct` is not true if they are null, as far as a look at one side of a comparison can tell.
pub fn not_null_columns(conjunct: &Expr, schema: &DFSchema) -> Vec<Column> {
    let sides = match conjunct {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_strict_comparison(*op) => vec![left.as_ref(), right.as_ref()],
        _ => match comparison::equality(conjunct) {
            Some((left, right, false)) => vec![left, right],
            _ => Vec::new(),
        },
    };
    let columns = sides.into_iter().filter_map(|side| column_it_is_null_with(side, schema));
    columns.collect()
}

fn is_strict_comparison(op: datafusion::logical_expr::Operator) -> bool {
    use datafusion::logical_expr::Operator as O;
    matches!(op, O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq)
}

/// The only column of `expr`, if `expr` is null where that is.
pub fn column_it_is_null_with(expr: &Expr, schema: &DFSchema) -> Option<Column> {
    let columns = expr.column_refs();
    let column = match columns.iter().collect::<Vec<_>>().as_slice() {
        [only] => (**only).clone(),
        _ => return None,
    };
    if matches!(expr, Expr::Column(_)) {
        return Some(column);
    }
    let null = ScalarValue::try_from(schema.field_from_column(&column).ok()?.data_type()).ok()?;
    let nothing = expr.clone().transform(|node| match node {
        Expr::Column(_) => Ok(Transformed::yes(Expr::Literal(null.clone(), None))),
        other => Ok(Transformed::no(other)),
    });
    // An expression that cannot be evaluated here says nothing.
    let value = constant::evaluate(&nothing.ok()?.data).ok()??;
    value.is_null().then_some(column)
}

/// `expr` with other columns in the place of its own.
pub fn renamed(expr: Expr, name: impl Fn(&Column) -> Option<Expr>) -> Result<Expr> {
    let renamed = expr.transform(|node| match &node {
        Expr::Column(column) => Ok(name(column).map_or_else(|| Transformed::no(node.clone()), Transformed::yes)),
        _ => Ok(Transformed::no(node)),
    });
    renamed.map(|done| done.data).map_err(|e| from_datafusion(e, ErrorKind::Internal))
}
