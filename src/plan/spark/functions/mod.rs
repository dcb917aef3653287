//! The functions that SQL may call: an allow-list, each with Spark's meaning.
//!
//! A family of functions is a file with a table `FUNCTIONS`; an alias is an entry of its own. What is not on a table is refused, so
//! that no function is ever only nearly Spark's.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::{Call, Typed};
use crate::error::Result;

mod native;
mod arguments;
mod math;
mod misc;
mod hash;
mod conditional;
mod string;
mod regex;
mod datetime;
mod collection;
mod lambda;
mod json;
mod aggregate;
pub mod session_window;
pub mod time_window;

pub(super) use collection::array_with;
pub(super) use lambda::{not_higher_order, takes_lambda};

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

const fn scalar(name: &'static str, build: fn(Call<'_>) -> Result<Typed>) -> FunctionSpec {
    FunctionSpec { name, kind: FunctionKind::Scalar, build }
}

const fn aggregate(name: &'static str, build: fn(Call<'_>) -> Result<Typed>) -> FunctionSpec {
    FunctionSpec { name, kind: FunctionKind::Aggregate, build }
}

/// Every family's table. A new function is a line in its family's.
static FAMILIES: &[&[FunctionSpec]] = &[
    math::FUNCTIONS,
    misc::FUNCTIONS,
    hash::FUNCTIONS,
    conditional::FUNCTIONS,
    string::FUNCTIONS,
    regex::FUNCTIONS,
    datetime::FUNCTIONS,
    collection::FUNCTIONS,
    lambda::FUNCTIONS,
    json::FUNCTIONS,
    aggregate::FUNCTIONS,
    time_window::FUNCTIONS,
    session_window::FUNCTIONS,
    super::relation::FUNCTIONS,
];

/// Every function there is.
pub static FUNCTIONS: LazyLock<Vec<&'static FunctionSpec>> = LazyLock::new(|| FAMILIES.iter().copied().flatten().collect());

static BY_NAME: LazyLock<HashMap<&'static str, &'static FunctionSpec>> =
    LazyLock::new(|| FUNCTIONS.iter().map(|spec| (spec.name, *spec)).collect());

/// The function called `name` (any case), if it is on the list.
pub fn find(name: &str) -> Option<&'static FunctionSpec> {
    BY_NAME.get(name).or_else(|| BY_NAME.get(name.to_lowercase().as_str())).copied()
}

#[cfg(test)]
mod tests;
