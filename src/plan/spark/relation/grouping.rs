//! GROUP BY: its keys, and the sets of keys of ROLLUP, CUBE and GROUPING SETS.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use sqlparser::ast::{self, GroupByExpr, GroupByWithModifier};

use super::super::functions::{FunctionSpec, arity, scalar};
use super::super::{Call, Typed, expression};
use super::aggregate::has_aggregate;
use super::columns::{Attribute, Relation};
use super::planner::{Env, Planner, broken};
use super::scope::QueryScope;
use super::select::{Item, inlined};
use crate::error::{Error, ErrorKind, Result};

/// More sets than this are refused; CUBE doubles them with each key.
const SETS_MAX: usize = 4096;

/// Keys of a query with grouping sets: their set's number is a BIGINT.
const KEYS_MAX: usize = 63;

/// One expression that is grouped by.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub name: String,
    pub expr: Expr,
    pub data_type: DataType,
}

/// What GROUP BY says.
#[derive(Debug, Default)]
pub(super) struct Grouping {
    pub keys: Vec<Key>,
    /// Which keys each grouping set has, where there are sets.
    pub sets: Option<Vec<Vec<usize>>>,
}

/// `grouping(column)` and `grouping_id(columns…)`, which only mean something beside grouping sets.
#[rustfmt::skip]
pub const FUNCTIONS: &[FunctionSpec] = &[
    scalar("grouping(column)", "1 where the column is not grouped by in this row of GROUPING SETS, CUBE or ROLLUP, else 0", "", grouping),
    scalar("grouping_id([column, …])", "The bits of `grouping` of the columns as one number", "", grouping_id),
];

/// A place in a list, if `expr` is an integer literal.
pub(super) fn ordinal(expr: &ast::Expr) -> Option<i64> {
    match expr {
        ast::Expr::Value(value) => match &value.value {
            ast::Value::Number(text, false) => text.parse().ok(),
            _ => None,
        },
        ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => ordinal(expr).map(|position| -position),
        _ => None,
    }
}

/// The GROUP BY of `select`, or nothing if there is none.
pub(super) fn resolve(
    planner: &Planner<'_>,
    select: &ast::Select,
    items: &[Item],
    input: &Relation,
    env: &Env<'_>,
) -> Result<Option<Grouping>> {
    let (exprs, modifiers) = match &select.group_by {
        GroupByExpr::All(modifiers) => {
            if !modifiers.is_empty() {
                return Err(Error::spark(ErrorKind::Config, "PARSE_SYNTAX_ERROR", "GROUP BY ALL takes no modifier"));
            }
            return all(items).map(Some);
        }
        GroupByExpr::Expressions(exprs, modifiers) if exprs.is_empty() && modifiers.is_empty() => return Ok(None),
        GroupByExpr::Expressions(exprs, modifiers) => (exprs, modifiers),
    };
    let aliases = aliases(items);
    let scope = QueryScope::new(planner, env, vec![&input.columns, &aliases]);
    let mut resolver = Resolver { scope, items, keys: Vec::new() };
    if let [ast::Expr::Identifier(name)] = exprs.as_slice()
        && name.quote_style.is_none()
        && name.value.eq_ignore_ascii_case("all")
        && !input.columns.iter().chain(&aliases).any(|column| column.name.eq_ignore_ascii_case("all"))
    {
        return all(items).map(Some);
    }
    let mut sets: Vec<Vec<usize>> = vec![Vec::new()];
    let mut has_sets = !modifiers.is_empty();
    for expr in exprs {
        let these = match expr {
            ast::Expr::Rollup(parts) => rollup(&resolver.groups(parts)?),
            ast::Expr::Cube(parts) => cube(&resolver.groups(parts)?)?,
            ast::Expr::GroupingSets(parts) => resolver.groups(parts)?,
            plain => {
                sets = product(&sets, &[vec![resolver.key(plain)?]])?;
                continue;
            }
        };
        has_sets = true;
        sets = product(&sets, &these)?;
    }
    let plain: Vec<Vec<usize>> = (0..resolver.keys.len()).map(|key| vec![key]).collect();
    for modifier in modifiers {
        sets = match modifier {
            GroupByWithModifier::Rollup => rollup(&plain),
            GroupByWithModifier::Cube => cube(&plain)?,
            GroupByWithModifier::GroupingSets(ast::Expr::GroupingSets(parts)) => resolver.groups(parts)?,
            GroupByWithModifier::GroupingSets(_) | GroupByWithModifier::Totals => {
                return Err(Error::spark(
                    ErrorKind::Config,
                    "PARSE_SYNTAX_ERROR",
                    format!("GROUP BY … {modifier} is not supported"),
                ));
            }
        };
    }
    if has_sets && resolver.keys.len() > KEYS_MAX {
        let message = format!("grouping sets can have at most {KEYS_MAX} expressions");
        return Err(Error::spark(ErrorKind::Config, "GROUPING_SIZE_LIMIT_EXCEEDED", message));
    }
    Ok(Some(Grouping { keys: resolver.keys, sets: has_sets.then_some(sets) }))
}

/// The items that GROUP BY can mean by name: of several called the same, the first.
fn aliases(items: &[Item]) -> Vec<Attribute> {
    let mut aliases: Vec<Attribute> = Vec::new();
    let mut names = HashSet::new();
    for item in items.iter().filter(|item| item.aliased) {
        if names.insert(item.attribute.name.to_lowercase()) {
            aliases.push(item.attribute.clone());
        }
    }
    aliases
}

/// GROUP BY ALL: every item that aggregates nothing.
fn all(items: &[Item]) -> Result<Grouping> {
    let mut keys: Vec<Key> = Vec::new();
    for item in items {
        let expr = inlined(item.expr.clone(), items)?;
        if has_aggregate(&expr) {
            continue;
        }
        if super::super::constant::evaluate(&expr).is_ok_and(|value| value.is_some()) || keys.iter().any(|key| key.expr == expr) {
            continue;
        }
        keys.push(Key { name: item.attribute.name.clone(), expr, data_type: item.attribute.data_type.clone() });
    }
    Ok(Grouping { keys, sets: None })
}

struct Resolver<'a> {
    scope: QueryScope<'a>,
    items: &'a [Item],
    keys: Vec<Key>,
}

impl Resolver<'_> {
    /// Sets of keys, as ROLLUP, CUBE and GROUPING SETS list them.
    fn groups(&mut self, parts: &[Vec<ast::Expr>]) -> Result<Vec<Vec<usize>>> {
        let mut sets = Vec::with_capacity(parts.len());
        for part in parts {
            let mut set = Vec::new();
            for expr in part {
                match expr {
                    ast::Expr::Tuple(members) => {
                        for member in members {
                            set.push(self.key(member)?);
                        }
                    }
                    ast::Expr::Rollup(_) | ast::Expr::Cube(_) | ast::Expr::GroupingSets(_) => {
                        return Err(Error::config("grouping sets inside grouping sets are not supported"));
                    }
                    plain => set.push(self.key(plain)?),
                }
            }
            set.dedup();
            sets.push(set);
        }
        Ok(sets)
    }

    /// The number of the key that `expr` is: a position in the select list, a column, an alias or an expression of these.
    fn key(&mut self, expr: &ast::Expr) -> Result<usize> {
        if matches!(expr, ast::Expr::Tuple(members) if members.is_empty()) {
            return Err(Error::spark(ErrorKind::Config, "PARSE_SYNTAX_ERROR", "GROUP BY () groups by nothing"));
        }
        let key = match ordinal(expr) {
            Some(position) => self.at(position)?,
            None => {
                let typed = self.scope.resolve(expr)?;
                let name = expression::spark_column_name(expr);
                Key { name, expr: inlined(typed.expr, self.items)?, data_type: typed.data_type }
            }
        };
        if has_aggregate(&key.expr) {
            let (condition, what) = match ordinal(expr) {
                Some(_) => (
                    "GROUP_BY_POS_AGGREGATE",
                    format!("GROUP BY {expr} refers to an expression that contains an aggregate function"),
                ),
                None => ("GROUP_BY_AGGREGATE", format!("aggregate functions are not allowed in GROUP BY, but found {expr}")),
            };
            return Err(Error::spark(ErrorKind::Config, condition, what));
        }
        refuse_markers(&key.expr)?;
        if let Some(known) = self.keys.iter().position(|known| known.expr == key.expr) {
            return Ok(known);
        }
        self.keys.push(key);
        Ok(self.keys.len() - 1)
    }

    fn at(&self, position: i64) -> Result<Key> {
        let item = usize::try_from(position).ok().and_then(|position| self.items.get(position.checked_sub(1)?));
        let item = item.ok_or_else(|| {
            let message =
                format!("GROUP BY position {position} is not in select list (valid range is [1, {}])", self.items.len());
            Error::spark(ErrorKind::Config, "GROUP_BY_POS_OUT_OF_RANGE", message)
        })?;
        let expr = inlined(item.expr.clone(), self.items)?;
        Ok(Key { name: item.attribute.name.clone(), expr, data_type: item.attribute.data_type.clone() })
    }
}

/// Every set of `a` together with every set of `b`.
fn product(a: &[Vec<usize>], b: &[Vec<usize>]) -> Result<Vec<Vec<usize>>> {
    if a.len().saturating_mul(b.len()) > SETS_MAX {
        return Err(too_many());
    }
    let mut sets = Vec::with_capacity(a.len() * b.len());
    for left in a {
        for right in b {
            let mut set = left.clone();
            set.extend(right.iter().filter(|key| !left.contains(key)));
            sets.push(set);
        }
    }
    Ok(sets)
}

fn rollup(groups: &[Vec<usize>]) -> Vec<Vec<usize>> {
    (0..=groups.len()).rev().map(|count| groups[..count].concat()).collect()
}

fn cube(groups: &[Vec<usize>]) -> Result<Vec<Vec<usize>>> {
    if groups.len() > 12 {
        return Err(too_many());
    }
    let all = (1_usize << groups.len()) - 1;
    let members = |mask: usize| (0..groups.len()).filter(move |index| mask >> (groups.len() - 1 - index) & 1 == 1);
    Ok((0..=all).rev().map(|mask| members(mask).flat_map(|index| groups[index].iter().copied()).collect()).collect())
}

fn too_many() -> Error {
    Error::config(format!("GROUP BY has more than {SETS_MAX} grouping sets"))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Marker {
    name: &'static str,
    data_type: DataType,
    signature: Signature,
}

static GROUPING: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| marker("grouping", DataType::Int8));
static GROUPING_ID: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| marker("grouping_id", DataType::Int64));

fn marker(name: &'static str, data_type: DataType) -> Arc<ScalarUDF> {
    let signature = Signature::one_of(vec![TypeSignature::Nullary, TypeSignature::VariadicAny], Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(Marker { name, data_type, signature }))
}

fn grouping(call: Call<'_>) -> Result<Typed> {
    arity(&call, 1, 1)?;
    Ok(Typed { expr: marked(&GROUPING, call), data_type: DataType::Int8, nullable: false })
}

fn grouping_id(call: Call<'_>) -> Result<Typed> {
    Ok(Typed { expr: marked(&GROUPING_ID, call), data_type: DataType::Int64, nullable: false })
}

fn marked(function: &Arc<ScalarUDF>, call: Call<'_>) -> Expr {
    function.call(call.args.into_iter().map(|argument| argument.expr).collect())
}

/// What `grouping` and `grouping_id` ask for, while their grouping sets are not known yet.
pub(super) enum Asked<'a> {
    /// Whether this expression is grouped by.
    One(&'a Expr),
    /// The bits of all keys, or of the keys given.
    All(&'a [Expr]),
}

/// Whether `expr` is a call of `grouping` or `grouping_id`.
pub(super) fn asked(expr: &Expr) -> Option<Asked<'_>> {
    match expr {
        Expr::ScalarFunction(call) if call.func == *GROUPING => call.args.first().map(Asked::One),
        Expr::ScalarFunction(call) if call.func == *GROUPING_ID => Some(Asked::All(&call.args)),
        _ => None,
    }
}

/// `grouping` and `grouping_id` where nothing is grouped.
pub(super) fn refuse_markers(expr: &Expr) -> Result<()> {
    if expr.exists(|node| Ok(asked(node).is_some())).map_err(broken)? {
        return Err(unsupported());
    }
    Ok(())
}

/// The error for `grouping` without grouping sets.
pub(super) fn unsupported() -> Error {
    let message = "grouping()/grouping_id() can only be used with GROUPING SETS, CUBE and ROLLUP";
    Error::spark(ErrorKind::Config, "UNSUPPORTED_GROUPING_EXPRESSION", message)
}

impl ScalarUDFImpl for Marker {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.data_type.clone())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        Err(DataFusionError::from(unsupported()))
    }
}
