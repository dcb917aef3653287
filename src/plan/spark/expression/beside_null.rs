//! Which functions Spark does not call where an argument is null whatever the row, so that their other arguments cannot fail.

use crate::plan::spark::functions::{fails_when_planned, is_null_constant};
use crate::plan::spark::{Call, is_fallible};

/// Functions that are null where any argument is.
#[rustfmt::skip]
const BESIDE_ANY: &[&str] = &[
    "add_months", "array_contains", "array_except", "array_intersect", "array_position", "array_remove", "array_union",
    "arrays_overlap", "atan2", "bit_get", "contains", "conv", "convert_timezone", "date_add", "date_diff", "date_format", "date_sub",
    "dateadd", "datediff", "decode", "div", "element_at", "encode", "endswith", "find_in_set", "format_number", "from_unixtime",
    "from_utc_timestamp", "get", "getbit", "hmac", "hypot", "instr", "jaro_winkler_similarity", "left", "levenshtein", "log", "lpad",
    "make_date", "make_dt_interval", "make_timestamp", "map_contains_key", "map_from_arrays", "mod", "months_between", "next_day",
    "overlay", "parse_url", "pmod", "pow", "power", "regexp", "regexp_count", "regexp_extract", "regexp_extract_all", "regexp_instr",
    "regexp_like", "regexp_replace", "regexp_substr", "repeat", "replace", "right", "rlike", "rpad", "sha2", "shiftleft",
    "shiftright", "shiftrightunsigned", "slice", "sort_array", "split", "split_part", "startswith", "str_to_map", "substr",
    "substring", "substring_index", "timestampadd", "timestampdiff", "to_utc_timestamp", "translate", "trunc", "try_element_at",
    "width_bucket",
];

/// Functions that look at their arguments one after the other, as far as the first null.
#[rustfmt::skip]
const BESIDE_EARLIER: &[&str] = &[
    "array_append", "array_prepend", "arrays_zip", "btrim", "concat", "date_trunc", "map_concat", "nanvl", "sequence", "to_date",
    "to_timestamp", "to_unix_timestamp", "try_to_date", "try_to_timestamp", "unix_timestamp",
];

/// Functions that are null without a look at the others where the first argument is.
const BESIDE_FIRST: &[&str] = &["array_insert", "array_join", "elt", "format_string", "locate", "printf"];

/// Whether the call is null because an argument is.
pub(super) fn is_beside_null(call: &Call<'_>) -> bool {
    if !call.args.iter().any(|arg| is_fallible(&arg.expr)) {
        return false;
    }
    let (is_any, is_earlier) = (BESIDE_ANY.contains(&call.name), BESIDE_EARLIER.contains(&call.name));
    // `decode` with more arguments compares.
    let is_other = call.name == "decode" && call.args.len() != 2;
    if is_other || !is_any && !is_earlier && !BESIDE_FIRST.contains(&call.name) {
        return false;
    }
    let Some(place) = call.args.iter().position(is_null_constant) else { return false };
    let before = &call.args[..place];
    match (is_any, is_earlier) {
        // What is constant is computed first, in order, and may fail.
        (true, _) => !before.iter().any(|arg| fails_when_planned(&arg.expr)),
        (_, true) => {
            let computed_all = call.name == "concat" && call.args.iter().any(|arg| fails_when_planned(&arg.expr));
            !computed_all && !before.iter().any(|arg| is_fallible(&arg.expr))
        }
        _ => place == 0,
    }
}
