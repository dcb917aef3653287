//! Arguments behind a null: where one could fail, the call is made one that Spark's order holds for
//! ([`strict`]). Done last, so that every rule sees operators and functions as they are.

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion, TreeNodeRewriter};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};

use super::super::super::constant::is_foldable;
use super::super::super::functions::{NullOrder, null_order, rewritten, strict, variable_fields, weight};
use super::super::super::is_fallible;
use super::everywhere;
use crate::error::Result;

/// Nodes of a call, at most: the names of calls within calls would grow with the square of their number.
const NODES_MAX: usize = 256;

/// The plan with such calls in what it projects, filters by and aggregates.
pub(super) fn beside_nulls(plan: LogicalPlan) -> Result<LogicalPlan> {
    everywhere(plan, |node| {
        if !matches!(node, LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::Aggregate(_)) {
            return Ok(Transformed::no(node));
        }
        let Some(schema) = node.inputs().first().map(|input| input.schema().clone()) else { return Ok(Transformed::no(node)) };
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            if !is_fallible(&expr) {
                return Ok(Transformed::no(expr));
            }
            let name = names.save(&expr);
            let expr = in_order(expr, &schema).map_err(DataFusionError::from)?;
            Ok(Transformed::yes(name.restore(expr)))
        })
    })
}

fn in_order(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    expr.rewrite(&mut Calls { schema }).map(|done| done.data).map_err(super::super::planner::broken)
}

struct Calls<'a> {
    schema: &'a DFSchema,
}

impl TreeNodeRewriter for Calls<'_> {
    type Node = Expr;

    fn f_down(&mut self, node: Expr) -> DataFusionResult<Transformed<Expr>> {
        let within = rewritten(&node, &mut |body, variables| {
            let schema = self.schema.join(&variable_fields(variables)?).map_err(super::super::planner::broken)?;
            in_order(body, &schema)
        });
        Ok(match within? {
            Some(call) => Transformed::new(call, true, TreeNodeRecursion::Jump),
            None => Transformed::no(node),
        })
    }

    fn f_up(&mut self, node: Expr) -> DataFusionResult<Transformed<Expr>> {
        let order = order(&node);
        if !self.may_save(&order, &node) || weight(&node, NODES_MAX) > NODES_MAX {
            return Ok(Transformed::no(node));
        }
        // What is constant may be used as one.
        let indices: Vec<usize> = order.iter().filter(|(_, arg)| !is_foldable(arg)).map(|(index, _)| *index).collect();
        Ok(Transformed::yes(strict(node, &indices, self.schema)?))
    }
}

impl Calls<'_> {
    /// Whether an argument that can fail is behind one that can be null.
    fn may_save(&self, order: &[(usize, &Expr)], call: &Expr) -> bool {
        let (mut is_behind, indices) = (false, order.iter().map(|(index, _)| *index).collect::<Vec<_>>());
        let others = arguments(call).into_iter().enumerate().filter(|(index, _)| !indices.contains(index));
        for (index, argument) in order.iter().copied().chain(others) {
            if is_behind && is_fallible(argument) && !is_foldable(argument) {
                return true;
            }
            is_behind |= indices.contains(&index) && argument.nullable(self.schema).unwrap_or(true);
        }
        false
    }
}

fn arguments(call: &Expr) -> Vec<&Expr> {
    match call {
        Expr::ScalarFunction(call) => call.args.iter().collect(),
        Expr::BinaryExpr(BinaryExpr { left, right, .. }) => vec![left, right],
        _ => Vec::new(),
    }
}

/// The arguments that make the call null, without the literals, in the order in which Spark looks at them.
fn order(call: &Expr) -> Vec<(usize, &Expr)> {
    let arguments = arguments(call);
    let order = match call {
        Expr::ScalarFunction(call) => null_order(call.name(), &arguments),
        Expr::BinaryExpr(operation) => is_null_beside_null(operation.op).then_some(NullOrder::Any),
        _ => None,
    };
    let mut ordered: Vec<(usize, &Expr)> = arguments.into_iter().enumerate().collect();
    match order {
        None => return Vec::new(),
        Some(NullOrder::Leading(count)) => ordered.truncate(count),
        Some(NullOrder::Divisor) => ordered.reverse(),
        Some(NullOrder::LastOfThree) => ordered.rotate_right(1),
        Some(NullOrder::Any | NullOrder::Earlier) => {}
    }
    ordered.retain(|(_, argument)| !matches!(argument, Expr::Literal(..)));
    ordered
}

fn is_null_beside_null(operator: Operator) -> bool {
    use Operator::{BitwiseAnd, BitwiseOr, BitwiseXor, Eq, Gt, GtEq, Lt, LtEq, Minus, Multiply, NotEq, Plus};
    matches!(operator, Eq | NotEq | Lt | LtEq | Gt | GtEq | Plus | Minus | Multiply | BitwiseAnd | BitwiseOr | BitwiseXor)
}
