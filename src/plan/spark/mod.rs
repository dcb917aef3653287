//! Spark's dialect: SQL text → a DataFusion logical plan that means what Spark means.
//!
//! The text is parsed with sqlparser's Databricks dialect and resolved bottom-up, as Spark's analyzer does: names
//! case-insensitively, types by Spark's coercion rules, functions from the allow-list [`functions`]. Every expression leaves here
//! with its final type and with explicit casts, so that none of DataFusion's own coercion applies.
//!
//! Whatever can fail at run time (checked arithmetic, casts, index access) is a scalar function of *volatile* signature: DataFusion
//! then neither moves it below a filter, nor folds it, nor evaluates it twice. Where Spark evaluates lazily (the right side of
//! AND/OR, branches of CASE/IF/COALESCE) a fallible operand is put behind a CASE.

pub mod types;
pub mod suggest;
pub mod dialect;
pub mod elementwise;
pub mod column_size;
pub mod cast;
pub(crate) mod constant;
mod settled;
pub mod expression;
pub mod functions;
pub mod relation;

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, Volatility};
use sqlparser::ast;

use super::PlanSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::function::Function;

/// An expression whose type is settled.
///
/// Spark's types are Arrow's: TIMESTAMP is `Timestamp(Microsecond, "UTC")`, TIMESTAMP_NTZ `Timestamp(Microsecond, None)`, STRING
/// `Utf8`, BINARY `Binary`, DECIMAL `Decimal128`, VOID `Null`, INTERVAL DAY `Duration(Second)`, every other day-time interval
/// `Duration(Microsecond)`, year-month intervals `Interval(YearMonth)`, ARRAY `List` (field `item`), MAP `Map` (field `entries` of
/// `key`, `value`), STRUCT `Struct`.
#[derive(Debug, Clone)]
pub struct Typed {
    /// The expression, casts included.
    pub expr: Expr,
    /// Its type.
    pub data_type: DataType,
    /// Whether it can be null.
    pub nullable: bool,
}

/// What names and subqueries mean where an expression stands.
pub trait Scope {
    /// The column (or struct field of a column) that `parts` names: `[column]`, `[table, column]`, `[column, field, …]`, …, as
    /// Spark resolves it. `UNRESOLVED_COLUMN.WITH_SUGGESTION` and `AMBIGUOUS_REFERENCE` otherwise.
    fn column(&self, parts: &[ast::Ident]) -> Result<Typed>;
    /// A subquery used as an expression: scalar, `IN` (with its left side), or `EXISTS`.
    fn subquery(&self, query: &ast::Query, usage: SubqueryUsage<'_>) -> Result<Typed>;
    /// Functions that ask the outside world.
    fn functions(&self) -> &[Arc<Function>];
}

/// How an expression uses a subquery.
#[derive(Debug, Clone, Copy)]
pub enum SubqueryUsage<'a> {
    /// One value.
    Scalar,
    /// `left [NOT] IN (subquery)`.
    In {
        /// The left side.
        left: &'a Typed,
        /// Whether NOT IN.
        negated: bool,
    },
    /// `[NOT] EXISTS (subquery)`.
    Exists {
        /// Whether NOT EXISTS.
        negated: bool,
    },
}

/// Where an expression is resolved.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// What names mean.
    pub scope: &'a dyn Scope,
    /// Time zone and the like.
    pub settings: &'a PlanSettings,
}

/// One call of a function by name, its arguments resolved.
pub struct Call<'a> {
    /// The function's name as written, lower-cased.
    pub name: &'a str,
    /// Arguments in order.
    pub args: Vec<Typed>,
    /// `DISTINCT` before the arguments (aggregates only).
    pub distinct: bool,
    /// `FILTER (WHERE …)` (aggregates only).
    pub filter: Option<Typed>,
    /// `IGNORE NULLS` or `RESPECT NULLS` (first, last, collect_list and their like).
    pub nulls: Option<NullTreatment>,
    /// `WITHIN GROUP (ORDER BY …)` (aggregates only), empty without.
    pub within_group: Vec<SortKey>,
    /// The arguments that are lambda functions, each with its place; a null stands for it in `args`.
    pub lambdas: Vec<(usize, &'a ast::LambdaFunction)>,
    /// Where the call stands.
    pub context: Context<'a>,
}

impl Call<'_> {
    /// Whether it is written as only calls of aggregate functions may be.
    pub fn is_of_aggregate(&self) -> bool {
        self.distinct || self.filter.is_some() || self.nulls == Some(NullTreatment::Ignore) || !self.within_group.is_empty()
    }
}

/// The refusal of a call that is written like one of an aggregate function.
pub fn not_aggregate(name: &str) -> Error {
    let message = format!("{name} is no aggregate function: DISTINCT, FILTER, IGNORE NULLS and WITHIN GROUP are not for it");
    Error::spark(ErrorKind::Config, "INVALID_SQL_SYNTAX.FUNCTION_WITH_UNSUPPORTED_SYNTAX", message)
}

/// What a call says of nulls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NullTreatment {
    /// `IGNORE NULLS`.
    Ignore,
    /// `RESPECT NULLS`.
    Respect,
}

/// A key of `ORDER BY`.
#[derive(Debug, Clone)]
pub struct SortKey {
    /// What is ordered by.
    pub value: Typed,
    /// `DESC`.
    pub descending: bool,
    /// Whether nulls come first.
    pub nulls_first: bool,
}

impl SortKey {
    /// The order as Arrow sorts by it.
    pub fn options(&self) -> SortOptions {
        SortOptions { descending: self.descending, nulls_first: self.nulls_first }
    }
}

/// Whether evaluating `expr` can fail on some row.
pub fn is_fallible(expr: &Expr) -> bool {
    expr.is_volatile_node() || {
        use datafusion::common::tree_node::TreeNode;
        expr.exists(|e| Ok(matches!(e, Expr::ScalarFunction(f) if f.func.signature().volatility == Volatility::Volatile)))
            .unwrap_or(true)
    }
}
