//! The aggregates that are measured, each over all rows and by 10,000 keys.

use datafusion::logical_expr::{col, lit};

use super::peers::{Pair, agg, agg_distinct};

pub(crate) const AGGREGATES: &[Pair] = &[
    Pair::same("count(n)", || agg("count", [col("n")])),
    Pair::same("count(DISTINCT i)", || agg_distinct("count", [col("i")])),
    Pair::same("sum(n)", || agg("sum", [col("n")])).because("each sum is checked before the next, 1.5 ns; the peer adds several at a time"),
    Pair::near("sum(d)", || agg("sum", [col("d")]))
        .because("added in the order of the rows, so that the last bit is Spark's; the peer adds several at a time"),
    Pair::near("sum(c)", || agg("sum", [col("c")])),
    Pair::near("avg(d)", || agg("avg", [col("d")])),
    Pair::same("min(i)", || agg("min", [col("i")])),
    Pair::same("max(name)", || agg("max", [col("name")])),
    Pair::near("stddev(d)", || agg("stddev", [col("d")])),
    Pair::near("corr(d, n)", || agg("corr", [col("d"), col("n")])),
    Pair::near("approx_count_distinct(n)", || agg("approx_distinct", [col("n")]))
        .because("9 ns, of them the hash, Spark's own so that its estimates are ours, 3 to 4 and the registers the rest"),
    Pair::near("percentile(d, 0.5)", || agg("median", [col("d")]))
        .because("each value is kept with its count in a hash map, as a state over batches needs, and all are put in order at the end, each a third of the time; the peer keeps values and selects the middle one"),
    Pair::near("percentile_approx(d, 0.5)", || agg("approx_percentile_cont", [col("d"), lit(0.5)])),
    Pair::near("collect_list(i)", || agg("array_agg", [col("i")]))
        .because("a group keeps where its runs of rows are, with nulls between them, and copies run by run; the peer copies all rows and drops nulls afterwards"),
    Pair::near("collect_set(i)", || agg_distinct("array_agg", [col("i")])),
    Pair::near("string_agg(digits, ',')", || agg("string_agg", [col("digits"), lit(",")])),
    Pair::same("bit_xor(n)", || agg("bit_xor", [col("n")])).because("two calls by address, 2.5 ns: one way for all that a value absorbs"),
    Pair::same("bool_or(b)", || agg("bool_or", [col("b")])),
    Pair::near("first(name)", || agg("first_value", [col("name")])).because("0.1 ns both"),
    Pair::near("max_by(name, n)", || agg("max", [col("name")]))
        .because("no such function there: beside `max`; a quarter of the time goes into the best row of each group in a batch, the rest into values that are held one by one"),
    Pair::near("mode(i)", || agg_distinct("count", [col("i")]))
        .because("no such function there: beside a count of distinct values, which keeps no counts; every group has a hash map of its own"),
];
