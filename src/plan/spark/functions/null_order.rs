//! Which functions and operators Spark does not compute where an argument is null, nor the arguments behind the null, so that those cannot fail.

use datafusion::logical_expr::Expr;

/// What of a function's arguments is looked at before it is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum NullOrder {
    /// One after the other, as far as the first null; a constant null is seen wherever it stands.
    Any,
    /// The same, but first the second of two: a divisor.
    Divisor,
    /// One after the other, as far as the first null.
    Earlier,
    /// The same, but first the last of three.
    LastOfThree,
    /// One after the other as far as the first null, but only so many of them.
    Leading(usize),
}

#[rustfmt::skip]
const ANY: &[&str] = &[
    "add_months", "array_contains", "array_except", "array_intersect", "array_position", "array_remove", "array_union",
    "arrays_overlap", "atan2", "bit_get", "contains", "conv", "convert_timezone", "date_add", "date_diff", "date_format", "date_sub",
    "dateadd", "datediff", "decode", "element_at", "encode", "endswith", "find_in_set", "format_number", "from_unixtime",
    "from_utc_timestamp", "get", "getbit", "hmac", "hypot", "instr", "jaro_winkler_similarity", "left", "levenshtein", "log", "lpad",
    "make_date", "make_dt_interval", "make_timestamp", "make_timestamp_ltz", "make_timestamp_ntz", "map_contains_key",
    "map_from_arrays", "months_between", "next_day", "overlay", "parse_url", "position", "pow", "power", "regexp", "regexp_count",
    "regexp_extract", "regexp_extract_all", "regexp_instr", "regexp_like", "regexp_replace", "regexp_substr", "repeat", "replace",
    "right", "rlike", "rpad", "sha2", "shiftleft", "shiftright", "shiftrightunsigned", "slice", "sort_array", "split", "split_part",
    "startswith", "str_to_map", "substr", "substring", "substring_index", "timestampadd", "timestampdiff", "to_utc_timestamp",
    "translate", "trunc", "try_add", "try_element_at", "try_make_timestamp", "try_make_timestamp_ltz", "try_make_timestamp_ntz",
    "try_multiply", "try_parse_url", "try_subtract", "vector_cosine_similarity", "vector_inner_product", "vector_l2_distance",
    "width_bucket",
];

/// Operators, and parts of functions, by the names of their kernels.
#[rustfmt::skip]
const OPERATORS: &[&str] = &[
    "add", "add_calendar_interval", "add_interval", "array_element", "days_between", "divide_interval", "ilike", "like", "map_value",
    "multiply", "multiply_interval", "parse_timestamp", "subtract", "subtract_calendar_interval", "subtract_interval", "time_between",
    "try_parse_timestamp",
];

const DIVISOR: &[&str] = &["div", "divide", "mod", "pmod", "try_divide", "try_mod"];

#[rustfmt::skip]
const EARLIER: &[&str] = &[
    "arrays_zip", "btrim", "concat", "date_trunc", "map_concat", "sequence", "to_date",
    "to_timestamp", "to_unix_timestamp", "try_to_date", "try_to_timestamp", "unix_timestamp",
];

const FIRST: &[&str] = &["array_append", "array_prepend", "elt", "format_string", "locate", "nanvl", "printf"];

/// The order of the function called `name` with these arguments, if it is null where one of them is.
pub(in super::super) fn null_order(name: &str, args: &[&Expr]) -> Option<NullOrder> {
    match (name, args.len()) {
        // With more arguments it compares.
        ("decode", count) if count != 2 => return None,
        ("array_join", 3) => return Some(NullOrder::LastOfThree),
        ("array_join", _) => return Some(NullOrder::Earlier),
        ("array_insert", _) => return Some(NullOrder::Leading(2)),
        // With a null for where to begin it is 0.
        ("locate", 3) if !matches!(args[2], Expr::Literal(..)) => return None,
        _ => {}
    }
    let orders = [
        (ANY, NullOrder::Any),
        (OPERATORS, NullOrder::Any),
        (DIVISOR, NullOrder::Divisor),
        (EARLIER, NullOrder::Earlier),
        (FIRST, NullOrder::Leading(1)),
    ];
    orders.into_iter().find_map(|(names, order)| names.contains(&name).then_some(order))
}
