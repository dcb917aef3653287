//! Who and where: constants of the process and the query.

use datafusion::scalar::ScalarValue;

use super::super::{Call, Typed};
use super::arguments::{arity, literal, text};
use super::{FunctionSpec, scalar};
use crate::error::Result;

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("current_user()", "The user that the process runs as", "", user),
    scalar("user()", "As `current_user`", "", user),
    scalar("session_user()", "As `current_user`", "", user),
    scalar("current_catalog()", "Always `spark_catalog`", "current_catalog() → spark_catalog", |c| constant(c, text("spark_catalog"))),
    scalar("current_database()", "Always `default`", "current_database() → default", |c| constant(c, text("default"))),
    scalar("current_schema()", "Always `default`", "current_schema() → default", |c| constant(c, text("default"))),
    scalar("version()", "The version of Spark whose functions these are", "", |c| constant(c, text("4.3.0 0000000000000000000000000000000000000000"))),
    scalar("spark_partition_id()", "Always 0: a batch is one partition", "spark_partition_id() → 0", |c| constant(c, literal(ScalarValue::Int32(Some(0))))),
];

fn constant(c: Call<'_>, value: Typed) -> Result<Typed> {
    arity(&c, 0, 0)?;
    Ok(value)
}

/// As the environment tells it; a container may not.
fn user(c: Call<'_>) -> Result<Typed> {
    let name = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    constant(c, text(name.unwrap_or_else(|| "unknown".into())))
}
