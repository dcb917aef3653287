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
mod format;
mod regex;
mod datetime;
mod collection;
mod vector;
mod lambda;
mod json;
mod csv;
mod url;
mod session;
mod encoding;
mod random;
mod named;
mod null_order;
mod aggregate;
pub mod forms;
pub mod missing;
pub mod session_window;
pub mod time_window;

pub(super) use aggregate::refuse_clauses;
pub(super) use arguments::{arity, constant, wrong_count};
pub(super) use collection::array_with;
pub(super) use datetime::current_date;
pub(super) use json::json_tuple;
pub(super) use lambda::{
    Variable, behind, bodies, is_variable, not_higher_order, opened, rewritten, strict, takes_lambda, variable_fields, weight,
};
pub(super) use misc::is_raising;
pub(super) use named::place_named;
pub(super) use null_order::{NullOrder, null_order};
pub(super) use random::random_call;

/// How a function is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionKind {
    /// One value per row.
    Scalar,
    /// One value per group; its [`Typed::expr`] is an aggregate function expression.
    Aggregate,
}

/// Whose code computes a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Ours, by Spark's rules.
    Tidemill,
    /// DataFusion's, behind our check of the arguments.
    DataFusion,
}

/// A function of the allow-list.
pub struct FunctionSpec {
    /// Spark's name, lower case.
    pub name: &'static str,
    /// The name with its arguments: `[…]` may be left out, `…` repeats.
    pub signature: &'static str,
    /// What it gives, in a phrase of Markdown.
    pub doc: &'static str,
    /// A call and what it gives as text, with `→` between; empty where that differs from run to run. Aggregates see the rows
    /// (1, a, 2), (2, b, 4), (3, c, 5) of columns `x`, `y`, `z`.
    pub example: &'static str,
    /// Scalar or aggregate.
    pub kind: FunctionKind,
    /// Whose code it is.
    pub origin: Origin,
    /// Checks the arguments, coerces them as Spark does and builds the expression.
    pub build: fn(Call<'_>) -> Result<Typed>,
}

type Build = fn(Call<'_>) -> Result<Typed>;

/// A scalar function: signature, doc, example (see [`FunctionSpec`]), builder.
pub(super) const fn scalar(signature: &'static str, doc: &'static str, example: &'static str, build: Build) -> FunctionSpec {
    let (name, kind, origin) = (name_of(signature), FunctionKind::Scalar, Origin::Tidemill);
    FunctionSpec { name, signature, doc, example, kind, origin, build }
}

/// An aggregate function, as [`scalar`].
const fn aggregate(signature: &'static str, doc: &'static str, example: &'static str, build: Build) -> FunctionSpec {
    FunctionSpec { kind: FunctionKind::Aggregate, ..scalar(signature, doc, example, build) }
}

impl FunctionSpec {
    const fn of_datafusion(self) -> Self {
        Self { origin: Origin::DataFusion, ..self }
    }
}

/// What stands before the parenthesis.
const fn name_of(signature: &'static str) -> &'static str {
    let mut length = 0;
    while length < signature.len() && signature.as_bytes()[length] != b'(' {
        length += 1;
    }
    signature.split_at(length).0
}

/// Functions of one kind, under a heading of the guide.
pub struct Family {
    /// The heading.
    pub title: &'static str,
    /// Its table. A new function is a line there.
    pub functions: &'static [FunctionSpec],
}

/// Every family's table.
pub static FAMILIES: &[Family] = &[
    Family { title: "Numbers", functions: math::FUNCTIONS },
    Family { title: "Text", functions: string::FUNCTIONS },
    Family { title: "Formats", functions: format::FUNCTIONS },
    Family { title: "Regular expressions", functions: regex::FUNCTIONS },
    Family { title: "Dates and times", functions: datetime::FUNCTIONS },
    Family { title: "Conditions and nulls", functions: conditional::FUNCTIONS },
    Family { title: "Arrays, maps and structs", functions: collection::FUNCTIONS },
    Family { title: "Vectors", functions: vector::FUNCTIONS },
    Family { title: "Functions of functions", functions: lambda::FUNCTIONS },
    Family { title: "JSON", functions: json::FUNCTIONS },
    Family { title: "CSV", functions: csv::FUNCTIONS },
    Family { title: "URLs", functions: url::FUNCTIONS },
    Family { title: "Random values", functions: random::FUNCTIONS },
    Family { title: "Encodings", functions: encoding::FUNCTIONS },
    Family { title: "Hashes", functions: hash::FUNCTIONS },
    Family { title: "Types, encodings, errors", functions: misc::FUNCTIONS },
    Family { title: "Where a query runs", functions: session::FUNCTIONS },
    Family { title: "Aggregates", functions: aggregate::FUNCTIONS },
    Family { title: "Grouping sets", functions: super::relation::FUNCTIONS },
    Family { title: "Windows", functions: time_window::FUNCTIONS },
    Family { title: "Sessions", functions: session_window::FUNCTIONS },
];

/// Every function there is.
pub static FUNCTIONS: LazyLock<Vec<&'static FunctionSpec>> =
    LazyLock::new(|| FAMILIES.iter().flat_map(|family| family.functions).collect());

static BY_NAME: LazyLock<HashMap<&'static str, &'static FunctionSpec>> =
    LazyLock::new(|| FUNCTIONS.iter().map(|spec| (spec.name, *spec)).collect());

/// The function called `name` (any case), if it is on the list.
pub fn find(name: &str) -> Option<&'static FunctionSpec> {
    BY_NAME.get(name).or_else(|| BY_NAME.get(name.to_lowercase().as_str())).copied()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
#[path = "tests/hostile.rs"]
mod hostile;
