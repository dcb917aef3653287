//! Expressions: a syntax tree becomes an expression whose types are settled as Spark settles them.

pub mod call;
pub mod coercion;
pub mod literal;
mod name;
pub mod native;

use datafusion::sql::sqlparser::ast;

use super::{Context, Typed};
use crate::error::{Error, ErrorKind, Result};

pub use coercion::{common_type, implicit_cast};
pub use name::spark_column_name;

/// Gives `ast` its meaning where it stands. Everything that is wrong about it is found here, with Spark's condition; what is Spark's
/// but not ours is refused by name.
pub fn resolve(ast: &ast::Expr, context: &Context<'_>) -> Result<Typed> {
    use ast::Expr as A;
    match ast {
        A::Nested(inner) => resolve(inner, context),
        A::Identifier(name) => context.scope.column(std::slice::from_ref(name)),
        A::CompoundIdentifier(parts) => context.scope.column(parts),
        A::Value(value) => literal::value(&value.value),
        A::Function(function) => call::function(function, context),
        other => Err(unsupported(&format!("the expression `{other}`"))),
    }
}

/// Something of Spark's that Tidemill does not do.
pub fn unsupported(what: &str) -> Error {
    Error::spark(ErrorKind::Config, "UNSUPPORTED_FEATURE", format!("{what} is not supported"))
}
