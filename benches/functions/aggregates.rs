//! The aggregates that are measured, each over all rows and by 10,000 keys.

use datafusion::logical_expr::{col, lit};

use super::peers::{Pair, agg, agg_distinct};

pub(crate) const AGGREGATES: &[Pair] = &[
    Pair::same("count(n)", || agg("count", [col("n")])),
    Pair::same("count(DISTINCT i)", || agg_distinct("count", [col("i")])),
    Pair::same("sum(n)", || agg("sum", [col("n")])).because("overflow is checked at each addition"),
    Pair::near("sum(d)", || agg("sum", [col("d")]))
        .because("added in the order of the rows, so that the last bit is Spark's; the peer adds several at a time"),
    Pair::near("sum(c)", || agg("sum", [col("c")])).because("overflow of 38 digits is checked at each addition"),
    Pair::near("avg(d)", || agg("avg", [col("d")])).because("added in the order of the rows, as `sum(d)`"),
    Pair::same("min(i)", || agg("min", [col("i")])),
    Pair::same("max(name)", || agg("max", [col("name")])),
    Pair::near("stddev(d)", || agg("stddev", [col("d")])),
    Pair::near("corr(d, n)", || agg("corr", [col("d"), col("n")])),
    Pair::near("approx_count_distinct(n)", || agg("approx_distinct", [col("n")]))
        .because("Spark's own hash, so that its estimates are ours"),
    Pair::near("percentile(d, 0.5)", || agg("median", [col("d")]))
        .because("keeps each value with its count, which a state over batches needs; the peer keeps values and sorts at the end"),
    Pair::near("percentile_approx(d, 0.5)", || agg("approx_percentile_cont", [col("d"), lit(0.5)])),
    Pair::near("collect_list(i)", || agg("array_agg", [col("i")]))
        .because("a group's values are bytes of its own, which can be stored; the peer keeps the batches"),
    Pair::near("collect_set(i)", || agg_distinct("array_agg", [col("i")])),
    Pair::near("string_agg(digits, ',')", || agg("string_agg", [col("digits"), lit(",")])),
    Pair::same("bit_xor(n)", || agg("bit_xor", [col("n")])).because("row by row, 2.7 ns"),
    Pair::same("bool_or(b)", || agg("bool_or", [col("b")])).because("row by row, 7 ns; the peer looks at 64 rows at a time"),
    Pair::near("first(name)", || agg("first_value", [col("name")])).because("looks at all rows, 3 ns; the peer stops"),
    Pair::near("max_by(name, n)", || agg("max", [col("name")]))
        .because("no such function there: beside `max`; key and value of any type are held for each group"),
    Pair::near("mode(i)", || agg_distinct("count", [col("i")]))
        .because("no such function there: beside a count of distinct values, which keeps no counts"),
];
