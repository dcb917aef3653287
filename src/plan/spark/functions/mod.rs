//! The functions that SQL may call: an allow-list, each with Spark's meaning.

use super::{Call, Typed};
use crate::error::Result;

/// How a function is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionKind {
    /// One value per row.
    Scalar,
    /// One value per group; its [`Typed::expr`] is an aggregate function expression.
    Aggregate,
}

/// A function of the allow-list.
pub struct FunctionSpec {
    /// Spark's name, lower case.
    pub name: &'static str,
    /// Scalar or aggregate.
    pub kind: FunctionKind,
    /// Checks the arguments, coerces them as Spark does and builds the expression.
    pub build: fn(Call<'_>) -> Result<Typed>,
}

/// Every function there is. A new one is its spec in one of this folder's files and one line here.
pub static FUNCTIONS: &[&FunctionSpec] = &[];

/// The function called `name` (any case), if it is on the list.
pub fn find(name: &str) -> Option<&'static FunctionSpec> {
    FUNCTIONS.iter().find(|spec| spec.name.eq_ignore_ascii_case(name)).copied()
}
