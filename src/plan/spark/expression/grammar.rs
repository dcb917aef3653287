//! What Spark's grammar does not take and sqlparser's does.
//!
//! A predicate (`x IS NULL`, `x IN (…)`, `NOT x`, …) is no operand of anything but AND, OR and NOT, unless it stands in brackets.

use sqlparser::ast::{self, BinaryOperator, Expr as A, UnaryOperator};

use crate::error::{Error, ErrorKind, Result};

/// Fails with `PARSE_SYNTAX_ERROR` if an operand of `ast` is a predicate where Spark takes a value.
pub(super) fn check_operands(ast: &ast::Expr) -> Result<()> {
    let operands: [Option<&A>; 3] = match ast {
        A::BinaryOp { op: BinaryOperator::And | BinaryOperator::Or, .. } => return Ok(()),
        A::BinaryOp { left, right, .. } | A::IsDistinctFrom(left, right) | A::IsNotDistinctFrom(left, right) => {
            [Some(left), Some(right), None]
        }
        A::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus | UnaryOperator::BitwiseNot, expr }
        | A::IsNull(expr)
        | A::IsNotNull(expr)
        | A::IsUnknown(expr)
        | A::IsNotUnknown(expr)
        | A::IsTrue(expr)
        | A::IsNotTrue(expr)
        | A::IsFalse(expr)
        | A::IsNotFalse(expr)
        | A::InList { expr, .. }
        | A::InSubquery { expr, .. } => [Some(expr), None, None],
        A::Like { expr, pattern, .. } | A::ILike { expr, pattern, .. } | A::RLike { expr, pattern, .. } => {
            [Some(expr), Some(pattern), None]
        }
        A::Between { expr, low, high, .. } => [Some(expr), Some(low), Some(high)],
        _ => return Ok(()),
    };
    match operands.into_iter().flatten().find(|operand| is_predicate(operand)) {
        None => Ok(()),
        Some(operand) => Err(Error::spark(
            ErrorKind::Config,
            "PARSE_SYNTAX_ERROR",
            format!("`{operand}` is no operand without brackets around it"),
        )),
    }
}

fn is_predicate(ast: &A) -> bool {
    matches!(
        ast,
        A::UnaryOp { op: UnaryOperator::Not | UnaryOperator::BangNot, .. }
            | A::IsNull(_)
            | A::IsNotNull(_)
            | A::IsUnknown(_)
            | A::IsNotUnknown(_)
            | A::IsTrue(_)
            | A::IsNotTrue(_)
            | A::IsFalse(_)
            | A::IsNotFalse(_)
            | A::IsDistinctFrom(..)
            | A::IsNotDistinctFrom(..)
            | A::InList { .. }
            | A::InSubquery { .. }
            | A::Exists { .. }
            | A::Between { .. }
            | A::Like { .. }
            | A::ILike { .. }
            | A::RLike { .. }
    )
}
