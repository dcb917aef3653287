//! Expressions: a syntax tree becomes an expression whose types are settled as Spark settles them.

pub mod access;
pub mod arithmetic;
mod arithmetic_kernel;
mod beside_null;
pub mod bits;
pub mod call;
pub mod coercion;
pub mod comparison;
pub mod extract;
mod grammar;
mod interval;
pub mod literal;
pub mod logic;
mod name;
pub mod native;
pub mod once;
pub mod pattern;
mod special;
pub mod temporal;
mod temporal_kernel;

use sqlparser::ast;

use super::cast::{CastMode, cast};
use super::{Context, SubqueryUsage, Typed};
use crate::error::{Error, ErrorKind, Result};
use arithmetic::Arithmetic;
use comparison::Comparison;

pub use coercion::{common_type, implicit_cast};
pub(in crate::plan::spark) use interval::{CalendarInterval, calendar_interval, from_text as interval_from_text};
pub use name::{printed, spark_column_name};

/// When less stack than this is left, in bytes, a nested expression gets a new piece of [`STACK_SIZE`].
const STACK_LEFT_MIN: usize = 256 * 1024;
const STACK_SIZE: usize = 2 * 1024 * 1024;

/// Gives `ast` its meaning where it stands. Everything that is wrong about it is found here, with Spark's condition; what is Spark's
/// but not ours is refused by name.
pub fn resolve(ast: &ast::Expr, context: &Context<'_>) -> Result<Typed> {
    stacker::maybe_grow(STACK_LEFT_MIN, STACK_SIZE, || resolve_here(ast, context))
}

fn resolve_here(ast: &ast::Expr, context: &Context<'_>) -> Result<Typed> {
    use ast::Expr as A;
    let settings = context.settings;
    grammar::check_operands(ast)?;
    match ast {
        A::Nested(inner) => resolve(inner, context),
        A::Identifier(name) => special::identifier(name, context),
        A::CompoundIdentifier(parts) => context.scope.column(parts),
        A::CompoundFieldAccess { root, access_chain } => special::access(root, access_chain, context),
        A::Value(value) => literal::value(&value.value),
        A::TypedString(typed) => special::typed_literal(typed, context),
        A::Interval(written) => interval::interval(written),
        A::BinaryOp { .. } => chain(ast, context),
        A::UnaryOp { op, expr } => unary(*op, expr, context),
        A::Cast { kind, expr, data_type, .. } => special::cast_to(kind, expr, data_type, context),
        A::IsNull(e) | A::IsUnknown(e) => Ok(logic::is_null(resolve(e, context)?, false)),
        A::IsNotNull(e) | A::IsNotUnknown(e) => Ok(logic::is_null(resolve(e, context)?, true)),
        A::IsTrue(e) => logic::is_boolean(resolve(e, context)?, true, false, settings),
        A::IsNotTrue(e) => logic::is_boolean(resolve(e, context)?, true, true, settings),
        A::IsFalse(e) => logic::is_boolean(resolve(e, context)?, false, false, settings),
        A::IsNotFalse(e) => logic::is_boolean(resolve(e, context)?, false, true, settings),
        A::IsDistinctFrom(l, r) => {
            let same = comparison::compare(Comparison::NullSafeEqual, resolve(l, context)?, resolve(r, context)?, settings)?;
            logic::not(same, settings)
        }
        A::IsNotDistinctFrom(l, r) => {
            comparison::compare(Comparison::NullSafeEqual, resolve(l, context)?, resolve(r, context)?, settings)
        }
        A::InList { expr, list, negated } => special::in_list(expr, list, *negated, context),
        A::Between { expr, negated, low, high } => {
            let (value, low, high) = (resolve(expr, context)?, resolve(low, context)?, resolve(high, context)?);
            let between = comparison::between(value, low, high, settings)?;
            if *negated { logic::not(between, settings) } else { Ok(between) }
        }
        A::Like { negated, any, expr, pattern, escape_char } => special::like(
            expr,
            pattern,
            escape_char.as_ref(),
            special::LikeKind { any: *any, negated: *negated, ignore_case: false },
            context,
        ),
        A::ILike { negated, any, expr, pattern, escape_char } => special::like(
            expr,
            pattern,
            escape_char.as_ref(),
            special::LikeKind { any: *any, negated: *negated, ignore_case: true },
            context,
        ),
        A::RLike { negated, expr, pattern, .. } => {
            let matches = call::by_name("rlike", vec![resolve(expr, context)?, resolve(pattern, context)?], context)?;
            if *negated { logic::not(matches, settings) } else { Ok(matches) }
        }
        A::Case { operand, conditions, else_result, .. } => {
            special::case(operand.as_deref(), conditions, else_result.as_deref(), context)
        }
        A::Function(function) => call::function(function, context),
        A::Struct { values, .. } => special::named_struct(values, context),
        A::Tuple(values) => special::named_struct(values, context),
        A::Subquery(query) => context.scope.subquery(query, SubqueryUsage::Scalar),
        A::Exists { subquery, negated } => context.scope.subquery(subquery, SubqueryUsage::Exists { negated: *negated }),
        A::InSubquery { expr, subquery, negated } => {
            let left = resolve(expr, context)?;
            context.scope.subquery(subquery, SubqueryUsage::In { left: &left, negated: *negated })
        }
        A::Collate { expr, collation } => special::collated(resolve(expr, context)?, collation),
        other => special::function_syntax(other, context),
    }
}

/// Binary operators, from the leftmost operand on: a chain of a thousand of them must not take a thousand stack frames.
fn chain(ast: &ast::Expr, context: &Context<'_>) -> Result<Typed> {
    let mut steps = Vec::new();
    let mut first = ast;
    while let ast::Expr::BinaryOp { left, op, right } = first {
        grammar::check_operands(first)?;
        steps.push((op, right));
        first = left;
    }
    let first = resolve(first, context)?;
    steps.into_iter().rev().try_fold(first, |left, (op, right)| binary(left, op, resolve(right, context)?, context))
}

fn binary(l: Typed, op: &ast::BinaryOperator, r: Typed, context: &Context<'_>) -> Result<Typed> {
    use ast::BinaryOperator as B;
    let settings = context.settings;
    let compute = |op, l, r| arithmetic::arithmetic(op, l, r, CastMode::Ansi, settings);
    let compare = |op, l, r| comparison::compare(op, l, r, settings);
    match op {
        B::And => logic::and(l, r, settings),
        B::Or => logic::or(l, r, settings),
        B::Plus => compute(Arithmetic::Add, l, r),
        B::Minus => compute(Arithmetic::Subtract, l, r),
        B::Multiply => compute(Arithmetic::Multiply, l, r),
        B::Divide => compute(Arithmetic::Divide, l, r),
        B::MyIntegerDivide => compute(Arithmetic::IntegerDivide, l, r),
        B::Modulo => compute(Arithmetic::Remainder, l, r),
        B::Eq => compare(Comparison::Equal, l, r),
        B::NotEq => compare(Comparison::NotEqual, l, r),
        B::Lt => compare(Comparison::Less, l, r),
        B::LtEq => compare(Comparison::LessOrEqual, l, r),
        B::Gt => compare(Comparison::Greater, l, r),
        B::GtEq => compare(Comparison::GreaterOrEqual, l, r),
        B::Spaceship => compare(Comparison::NullSafeEqual, l, r),
        B::StringConcat => call::by_name("concat", vec![l, r], context),
        B::BitwiseAnd => bits::combine(bits::Bits::And, l, r, settings),
        B::BitwiseOr => bits::combine(bits::Bits::Or, l, r, settings),
        B::BitwiseXor => bits::combine(bits::Bits::Xor, l, r, settings),
        B::PGBitwiseShiftLeft => bits::shift(bits::Shift::Left, l, r, settings),
        B::PGBitwiseShiftRight => bits::shift(bits::Shift::Right, l, r, settings),
        B::Custom(op) if op == ">>>" => bits::shift(bits::Shift::RightUnsigned, l, r, settings),
        other => Err(unsupported(&format!("the operator `{other}`"))),
    }
}

/// `expr` with the minus before it on the number that it begins with: `-1::string` is `(-1)::string`.
fn with_negative_number(expr: &ast::Expr) -> Option<ast::Expr> {
    match expr {
        ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Number(..), .. }) => {
            Some(ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr: Box::new(expr.clone()) })
        }
        ast::Expr::Cast { kind: ast::CastKind::DoubleColon, expr: inner, .. } => {
            let (negative, mut cast) = (with_negative_number(inner)?, expr.clone());
            if let ast::Expr::Cast { expr, .. } = &mut cast {
                **expr = negative;
            }
            Some(cast)
        }
        _ => None,
    }
}

fn unary(op: ast::UnaryOperator, expr: &ast::Expr, context: &Context<'_>) -> Result<Typed> {
    use ast::UnaryOperator as U;
    let settings = context.settings;
    // The minus belongs to the number: the smallest integers have no positive counterpart.
    if let (U::Minus, ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Number(digits, long), .. })) = (op, expr) {
        return literal::number(digits, *long, true);
    }
    if let (U::Minus, Some(negative)) = (op, with_negative_number(expr)) {
        return resolve(&negative, context);
    }
    let value = resolve(expr, context)?;
    match op {
        U::Minus => arithmetic::negate(value, settings),
        U::Plus => arithmetic::positive(value, settings),
        U::Not | U::BangNot => logic::not(value, settings),
        U::BitwiseNot => bits::complement(value),
        other => Err(unsupported(&format!("the operator `{other}`"))),
    }
}

/// Something of Spark's that Tidemill does not do.
pub fn unsupported(what: &str) -> Error {
    Error::spark(ErrorKind::Config, "UNSUPPORTED_FEATURE", format!("{what} is not supported"))
}
