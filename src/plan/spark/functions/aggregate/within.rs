//! `WITHIN GROUP (ORDER BY …)` of aggregates.

use super::super::super::{Call, NullTreatment, SortKey};
use crate::error::{Error, ErrorKind, Result};

/// What each function lists of WITHIN GROUP is read by its builder.
const ORDERED: [&str; 5] = ["mode", "percentile_cont", "percentile_disc", "listagg", "string_agg"];

/// Functions to which nulls are values, or can be.
const OF_NULLS: [&str; 9] =
    ["first", "first_value", "any_value", "last", "last_value", "collect_list", "array_agg", "collect_set", "collect_union"];

/// Refuses a clause in a call of a function that has no meaning for it.
pub(in super::super::super) fn refuse_clauses(c: &Call<'_>) -> Result<()> {
    let clause = match c {
        _ if !c.within_group.is_empty() && !ORDERED.contains(&c.name) => "WITHIN GROUP",
        // RESPECT NULLS is what happens anyway.
        _ if c.nulls == Some(NullTreatment::Ignore) && !OF_NULLS.contains(&c.name) => "IGNORE NULLS",
        _ if c.distinct && ORDERED[..3].contains(&c.name) => {
            let message = format!("`{}` does not take DISTINCT", c.name);
            return Err(Error::spark(ErrorKind::Config, "INVALID_WITHIN_GROUP_EXPRESSION.DISTINCT_UNSUPPORTED", message));
        }
        _ => return Ok(()),
    };
    let message = format!("`{}` does not take {clause}", c.name);
    Err(Error::spark(ErrorKind::Config, "INVALID_SQL_SYNTAX.FUNCTION_WITH_UNSUPPORTED_SYNTAX", message))
}

/// The only key of the call's WITHIN GROUP, taken out of it.
pub(super) fn only_key(c: &mut Call<'_>) -> Result<SortKey> {
    let mut keys = std::mem::take(&mut c.within_group);
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => Ok(key),
        (None, _) => Err(Error::spark(
            ErrorKind::Config,
            "INVALID_WITHIN_GROUP_EXPRESSION.WITHIN_GROUP_MISSING",
            format!("WITHIN GROUP is required for the inverse distribution function `{}`", c.name),
        )),
        (Some(_), false) => Err(wrong_number(c, 1, keys.len() + 1)),
    }
}

/// A WITHIN GROUP with another number of keys than the call takes.
pub(super) fn wrong_number(c: &Call<'_>, wanted: usize, found: usize) -> Error {
    let message = format!("`{}` takes {wanted} orderings in WITHIN GROUP, not {found}", c.name);
    Error::spark(ErrorKind::Config, "INVALID_WITHIN_GROUP_EXPRESSION.WRONG_NUM_ORDERINGS", message)
}
