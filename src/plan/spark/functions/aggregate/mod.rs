//! Aggregate functions. Whatever holds state is a [`fold`], or DataFusion's own where that means the same.

use std::cmp::Ordering;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, DurationMicrosecondType, DurationSecondType, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, IntervalUnit, IntervalYearMonthType, TimeUnit,
};
use datafusion::functions_aggregate::{count::count_udaf, min_max};
use datafusion::logical_expr::expr::{AggregateFunction, Case};
use datafusion::logical_expr::{AggregateUDF, Expr, lit};
use datafusion::scalar::ScalarValue;

use super::super::types::sql_name;
use super::super::{Call, NullTreatment, Typed};
use super::arguments::{Want, arity, coerce, coerce_one, convert, expect_one, orderable, unexpected_type};
use super::{FunctionSpec, aggregate};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Scope;

mod fold;
mod sum;
mod number;
mod statistic;
mod regression;
mod pick;
mod collect;
mod within;
mod text;
mod distinct_count;
mod mode;
mod doubles;
mod interval;
mod percentile;
mod quantile;
mod histogram;
mod bitmap;
mod java;
mod frequent;
mod most_by;
mod vector;
mod count_min;

pub(in super::super) use within::refuse_clauses;

use fold::{Fold, udaf};
use interval::IntervalAverage;
use number::{Absorb, Booleans, CountWhole};
use percentile::Rank;
use pick::{End, Extreme, Pick};
use regression::RegressionCell;
use statistic::{PairCell, correlation, explained, kurtosis, population, sample, skewness, statistic};
use sum::{Average, DecimalAverage, OnOverflow, Sum};

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    aggregate("count(* or value, …)", "How many rows there are, or rows where no value is null; `count(DISTINCT …)` over a stream is refused, as in Spark", "count(*) → 3", count).of_datafusion(),
    aggregate("count_if(condition)", "In how many rows the condition holds", "count_if(x > 1) → 2", count_if).of_datafusion(),
    aggregate("sum(n)", "The sum; an error where its type cannot hold it", "sum(x) → 6", |c| sum_of(c, OnOverflow::Fail)),
    aggregate("try_sum(n)", "The sum, null where its type cannot hold it", "try_sum(x) → 6", |c| sum_of(c, OnOverflow::Null)),
    aggregate("avg(n)", "The mean", "avg(x) → 2.0", |c| average(c, OnOverflow::Fail)),
    aggregate("mean(n)", "As `avg`", "mean(x) → 2.0", |c| average(c, OnOverflow::Fail)),
    aggregate("try_avg(n)", "The mean, null where its type cannot hold it", "try_avg(x) → 2.0", |c| average(c, OnOverflow::Null)),
    aggregate("min(value)", "The least value", "min(x) → 1", |c| extreme(c, Ordering::Less)).of_datafusion(),
    aggregate("max(value)", "The greatest value", "max(x) → 3", |c| extreme(c, Ordering::Greater)).of_datafusion(),
    aggregate("min_by(value, by[, k])", "The value of the row with the least `by`, or an array of the values of `k` such rows", "min_by(y, x, 2) → [a, b]", |c| extreme_by(c, Ordering::Less)),
    aggregate("max_by(value, by[, k])", "The value of the row with the greatest `by`, or an array of the values of `k` such rows", "max_by(y, x) → c", |c| extreme_by(c, Ordering::Greater)),
    aggregate("first(value[, ignore_nulls])", "The first value, or the first that is not null", "first(y) → a", |c| pick(c, End::First)),
    aggregate("first_value(value[, ignore_nulls])", "As `first`", "first_value(y) → a", |c| pick(c, End::First)),
    aggregate("any_value(value[, ignore_nulls])", "As `first`", "any_value(y) → a", |c| pick(c, End::First)),
    aggregate("last(value[, ignore_nulls])", "The last value, or the last that is not null", "last(y) → c", |c| pick(c, End::Last)),
    aggregate("last_value(value[, ignore_nulls])", "As `last`", "last_value(y) → c", |c| pick(c, End::Last)),
    aggregate("bool_and(condition)", "Whether it holds in all rows that are not null", "bool_and(x > 0) → true", |c| booleans(c, "bool_and", false)),
    aggregate("every(condition)", "As `bool_and`", "every(x > 1) → false", |c| booleans(c, "bool_and", false)),
    aggregate("bool_or(condition)", "Whether it holds in a row", "bool_or(x > 2) → true", |c| booleans(c, "bool_or", true)),
    aggregate("some(condition)", "As `bool_or`", "some(x > 2) → true", |c| booleans(c, "bool_or", true)),
    aggregate("any(condition)", "As `bool_or`", "any(x > 3) → false", |c| booleans(c, "bool_or", true)),
    aggregate("bit_and(n)", "Bits that are set in all", "bit_and(x) → 0", |c| bits(c, "bit_and")),
    aggregate("bit_or(n)", "Bits that are set in one", "bit_or(x) → 3", |c| bits(c, "bit_or")),
    aggregate("bit_xor(n)", "Bits that are set in an odd number", "bit_xor(x) → 0", |c| bits(c, "bit_xor")),
    aggregate("stddev(x)", "Standard deviation of a sample; null of fewer than two values", "stddev(x) → 1.0", |c| statistic(c, "stddev_samp", |m| sample(m).map(f64::sqrt))),
    aggregate("std(x)", "As `stddev`", "std(x) → 1.0", |c| statistic(c, "stddev_samp", |m| sample(m).map(f64::sqrt))),
    aggregate("stddev_samp(x)", "As `stddev`", "stddev_samp(x) → 1.0", |c| statistic(c, "stddev_samp", |m| sample(m).map(f64::sqrt))),
    aggregate("stddev_pop(x)", "Standard deviation of a population", "round(stddev_pop(x), 6) → 0.816497", |c| statistic(c, "stddev_pop", |m| population(m).map(f64::sqrt))),
    aggregate("variance(x)", "Variance of a sample; null of fewer than two values", "variance(x) → 1.0", |c| statistic(c, "var_samp", sample)),
    aggregate("var_samp(x)", "As `variance`", "var_samp(x) → 1.0", |c| statistic(c, "var_samp", sample)),
    aggregate("var_pop(x)", "Variance of a population", "round(var_pop(x), 6) → 0.666667", |c| statistic(c, "var_pop", population)),
    aggregate("skewness(x)", "How much values lean to one side", "skewness(x) → 0.0", |c| statistic(c, "skewness", skewness)),
    aggregate("kurtosis(x)", "How far values lie out, 0 for a normal distribution", "kurtosis(x) → -1.5", |c| statistic(c, "kurtosis", kurtosis)),
    aggregate("covar_pop(x, y)", "Covariance of a population of pairs", "round(covar_pop(x, z), 6) → 1.0", |c| statistic(c, "covar_pop", |p: &PairCell| (p.n > 0.0).then(|| p.c / p.n))),
    aggregate("covar_samp(x, y)", "Covariance of a sample of pairs", "covar_samp(x, z) → 1.5", |c| statistic(c, "covar_samp", |p: &PairCell| (p.n > 1.0).then(|| p.c / (p.n - 1.0)))),
    aggregate("corr(x, y)", "Pearson's correlation of pairs", "corr(x, z) → 0.9819805060619656", |c| statistic(c, "corr", correlation)),
    aggregate("regr_count(y, x)", "How many pairs there are of which neither is null", "regr_count(z, x) → 3", regression::pairs_counted),
    aggregate("regr_avgx(y, x)", "The mean of `x` over such pairs", "regr_avgx(z, x) → 2.0", |c| regression::mean_of(c, 1)),
    aggregate("regr_avgy(y, x)", "The mean of `y` over such pairs", "round(regr_avgy(z, x), 6) → 3.666667", |c| regression::mean_of(c, 0)),
    aggregate("regr_slope(y, x)", "How steep the line is that is nearest to the pairs", "regr_slope(z, x) → 1.5", |c| statistic(c, "regr_slope", |r: &RegressionCell| r.slope())),
    aggregate("regr_intercept(y, x)", "Where that line is at `x` = 0", "round(regr_intercept(z, x), 6) → 0.666667", |c| statistic(c, "regr_intercept", |r: &RegressionCell| r.intercept())),
    aggregate("regr_r2(y, x)", "How much of what `y` varies the line explains, 0 to 1", "round(regr_r2(z, x), 6) → 0.964286", |c| statistic(c, "regr_r2", explained)),
    aggregate("regr_sxx(y, x)", "The sum of squared distances of `x` from its mean", "regr_sxx(z, x) → 2.0", |c| statistic(c, "regr_sxx", |r: &RegressionCell| r.of_some(r.0.x2))),
    aggregate("regr_sxy(y, x)", "The sum of products of both sides' distances", "regr_sxy(z, x) → 3.0", |c| statistic(c, "regr_sxy", |r: &RegressionCell| r.of_some(r.0.c))),
    aggregate("regr_syy(y, x)", "The sum of squared distances of `y` from its mean", "round(regr_syy(z, x), 6) → 4.666667", |c| statistic(c, "regr_syy", |r: &RegressionCell| r.of_some(r.0.y2))),
    aggregate("mode(value[, deterministic])", "The value that comes most often, the least of several if `deterministic`; `mode() WITHIN GROUP (ORDER BY value [DESC])` takes the first of several in that order", "mode(x > 1) → true", mode::mode),
    aggregate("median(n)", "The value in the middle, or the mean of the two there", "median(z) → 4.0", percentile::median),
    aggregate("percentile(n, fractions[, frequency])", "The value below which a fraction (or each of an array) of the values lies, between two of them in proportion; a row counts `frequency` times", "percentile(z, 0.25) → 3.0", percentile::percentile),
    aggregate("percentile_cont(fractions)", "As `percentile` of what `WITHIN GROUP (ORDER BY n [DESC])` says", "percentile_cont(0.25) WITHIN GROUP (ORDER BY z) → 3.0", |c| percentile::within_group(c, Rank::Between)),
    aggregate("percentile_disc(fractions)", "The first of the values that `WITHIN GROUP (ORDER BY n [DESC])` says at which the fraction is reached", "percentile_disc(0.5) WITHIN GROUP (ORDER BY z) → 4.0", |c| percentile::within_group(c, Rank::Of)),
    aggregate("percentile_approx(value, fractions[, accuracy])", "About the value at which a fraction (or each of an array) of the values is reached; its rank is off by at most the number of values divided by `accuracy` (10000)", "percentile_approx(z, array(0.5, 1.0)) → [4, 5]", quantile::percentile_approx),
    aggregate("approx_percentile(value, fractions[, accuracy])", "As `percentile_approx`", "approx_percentile(z, 0.5) → 4", quantile::percentile_approx),
    aggregate("histogram_numeric(value, bins)", "Centres and heights of at most so many bins of different widths", "histogram_numeric(z, 2) → [{2, 1.0}, {4, 2.0}]", histogram::histogram),
    aggregate("listagg(value[, delimiter])", "All values that are not null as one text, in the order they came or in that of `WITHIN GROUP (ORDER BY …)`", "listagg(y, ', ') WITHIN GROUP (ORDER BY x DESC) → c, b, a", text::listagg),
    aggregate("string_agg(value[, delimiter])", "As `listagg`", "string_agg(y, '-') → a-b-c", text::listagg),
    aggregate("bitmap_construct_agg(position)", "A bitmap of 32768 bits of which those at the positions are set", "bitmap_count(bitmap_construct_agg(x)) → 3", bitmap::construct),
    aggregate("bitmap_or_agg(bitmap)", "The bits that are set in one of the bitmaps", "bitmap_count(bitmap_or_agg(CAST(y AS BINARY))) → 4", |c| bitmap::combined(c, bitmap::With::Or)),
    aggregate("bitmap_and_agg(bitmap)", "The bits that are set in all of the bitmaps", "bitmap_count(bitmap_and_agg(CAST(y AS BINARY))) → 2", |c| bitmap::combined(c, bitmap::With::And)),
    aggregate("approx_count_distinct(value[, error])", "About how many different values there are; HyperLogLog++ with a relative standard deviation of 0.05, or `error`", "approx_count_distinct(x) → 3", distinct_count::approx_count_distinct),
    aggregate("collect_list(value)", "All values that are not null, in an array", "collect_list(x) → [1, 2, 3]", collect::list),
    aggregate("array_agg(value)", "As `collect_list`", "array_agg(y) → [a, b, c]", collect::list),
    aggregate("collect_set(value)", "All different values that are not null, in an array", "size(collect_set(x)) → 3", collect::set),
    aggregate("collect_union(array)", "All different elements of the arrays, in an array", "collect_union(array(x, 2)) → [1, 2, 3]", collect::union),
    aggregate("approx_top_k(value[, k[, tracked]])", "The `k` (5) values that come most often, with how often; exact for up to `tracked` (10000) different values", "approx_top_k(x > 1, 1) → [{true, 2}]", frequent::approx_top_k),
    aggregate("count_min_sketch(value, error, confidence, seed)", "A count-min sketch of whole numbers, texts or bytes, as Spark's Java class reads it", "length(count_min_sketch(x, 0.5d, 0.5d, 1)) → 60", count_min::count_min_sketch),
    aggregate("vector_sum(vector)", "The sum of vectors of FLOAT, element by element", "vector_sum(array(CAST(x AS FLOAT), 1.0F)) → [6.0, 3.0]", |c| vector::vector(c, "vector_sum", false)),
    aggregate("vector_avg(vector)", "The mean of vectors of FLOAT, element by element", "vector_avg(array(CAST(x AS FLOAT), 1.0F)) → [2.0, 1.0]", |c| vector::vector(c, "vector_avg", true)),
];

/// The call of `function` with the call's DISTINCT and FILTER.
fn expression(
    c: &mut Call<'_>,
    function: Arc<AggregateUDF>,
    args: Vec<Typed>,
    data_type: DataType,
    nullable: bool,
) -> Result<Typed> {
    let filter = match c.filter.take() {
        None => None,
        Some(filter) if filter.data_type == DataType::Boolean => Some(Box::new(filter.expr)),
        Some(filter) => {
            let message = format!("the filter of `{}` is {}, not a BOOLEAN", c.name, sql_name(&filter.data_type));
            return Err(Error::spark(ErrorKind::Config, "INVALID_AGGREGATE_FILTER.NOT_BOOLEAN", message));
        }
    };
    let args: Vec<Expr> = args.into_iter().map(|a| a.expr).collect();
    if let Some(random) = filter.as_deref().and_then(super::random::random_function) {
        let message = format!("the filter of `{}` must not have the random function `{random}`", c.name);
        return Err(Error::spark(ErrorKind::Config, "INVALID_AGGREGATE_FILTER.NON_DETERMINISTIC", message));
    }
    if let Some(random) = args.iter().find_map(super::random::random_function) {
        let message = format!("the aggregate function `{}` does not take the random function `{random}`", c.name);
        return Err(Error::spark(ErrorKind::Config, "AGGREGATE_FUNCTION_WITH_NONDETERMINISTIC_EXPRESSION", message));
    }
    let function = AggregateFunction::new_udf(function, args, c.distinct, filter, vec![], None);
    Ok(Typed { expr: Expr::AggregateFunction(function), data_type, nullable })
}

/// The call of a fold.
fn folded<F: Fold>(c: &mut Call<'_>, name: &str, fold: F, args: Vec<Typed>, data_type: DataType) -> Result<Typed> {
    let function = udaf(name, fold, data_type.clone(), true);
    expression(c, function, args, data_type, true)
}

fn count(mut c: Call<'_>) -> Result<Typed> {
    if c.args.is_empty() {
        return Err(Error::spark(
            ErrorKind::Config,
            "WRONG_NUM_ARGS.WITH_SUGGESTION",
            "the `count` requires >= 1 parameters but the actual number is 0; use `count(*)` to count rows",
        ));
    }
    let mut args = std::mem::take(&mut c.args);
    if args.len() > 1 && !c.distinct {
        // Rows count whose arguments are all there.
        let all = args.into_iter().map(|a| a.expr.is_not_null()).reduce(Expr::and).unwrap_or_else(|| lit(true));
        args = vec![one_where(all)];
    }
    if args.len() > 1 {
        return expression(&mut c, udaf("count", CountWhole, DataType::Int64, false), args, DataType::Int64, false);
    }
    expression(&mut c, count_udaf(), args, DataType::Int64, false)
}

/// 1 where `condition` is true, else null.
fn one_where(condition: Expr) -> Typed {
    let when = vec![(Box::new(condition), Box::new(lit(1_i32)))];
    let expr = Expr::Case(Case::new(None, when, Some(Box::new(lit(ScalarValue::Int32(None))))));
    Typed { expr, data_type: DataType::Int32, nullable: true }
}

fn count_if(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Boolean])?;
    let args = args.into_iter().map(|a| one_where(a.expr)).collect();
    expression(&mut c, count_udaf(), args, DataType::Int64, false)
}

const SUMMABLE: Want = Want::OneOf(&[Want::Numeric, Want::DayTime, Want::YearMonth]);

/// The argument as a number or an interval; instants as the seconds since 1970 that they are.
fn summable(c: &mut Call<'_>) -> Result<Typed> {
    arity(c, 1, 1)?;
    let arg = c.args.remove(0);
    match arg.data_type {
        DataType::Timestamp(_, Some(_)) => convert(c, arg, &DataType::Float64),
        _ => coerce_one(c, 0, arg, &SUMMABLE),
    }
}

/// The argument as it is summed: whole numbers as BIGINT, FLOAT as DOUBLE.
fn summand(c: &mut Call<'_>) -> Result<Typed> {
    let arg = summable(c)?;
    let want = match arg.data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 => Want::Long,
        DataType::Float32 => Want::Double,
        _ => SUMMABLE,
    };
    coerce_one(c, 0, arg, &want)
}

fn sum_of(mut c: Call<'_>, on_overflow: OnOverflow) -> Result<Typed> {
    let arg = summand(&mut c)?;
    match arg.data_type {
        DataType::Int64 => sum_typed::<Int64Type>(c, on_overflow, arg, DataType::Int64),
        DataType::Float64 => sum_typed::<Float64Type>(c, on_overflow, arg, DataType::Float64),
        DataType::Duration(TimeUnit::Second) => {
            sum_typed::<DurationSecondType>(c, on_overflow, arg, DataType::Duration(TimeUnit::Second))
        }
        DataType::Duration(unit) => sum_typed::<DurationMicrosecondType>(c, on_overflow, arg, DataType::Duration(unit)),
        DataType::Interval(_) => {
            sum_typed::<IntervalYearMonthType>(c, on_overflow, arg, DataType::Interval(IntervalUnit::YearMonth))
        }
        DataType::Decimal128(p, s) => sum_typed::<Decimal128Type>(c, on_overflow, arg, DataType::Decimal128((p + 10).min(38), s)),
        other => Err(unexpected_type(&c, 0, &other, &SUMMABLE)),
    }
}

fn sum_typed<T: sum::Addable>(mut c: Call<'_>, on_overflow: OnOverflow, arg: Typed, data_type: DataType) -> Result<Typed> {
    let kept = c.context.settings.scope == Scope::Query;
    let fold = Sum::<T> { data_type: data_type.clone(), on_overflow, kept, kind: PhantomData };
    folded(&mut c, "sum", fold, vec![arg], data_type)
}

fn average(mut c: Call<'_>, on_overflow: OnOverflow) -> Result<Typed> {
    let arg = summable(&mut c)?;
    if let DataType::Duration(_) | DataType::Interval(_) = arg.data_type {
        let whole = matches!(arg.data_type, DataType::Interval(_));
        let data_type = if whole { arg.data_type.clone() } else { DataType::Duration(TimeUnit::Microsecond) };
        return folded(&mut c, "avg", IntervalAverage { data_type: data_type.clone(), on_overflow }, vec![arg], data_type);
    }
    if let DataType::Decimal128(p, scale) = arg.data_type {
        let (precision_out, scale_out) = ((p + 4).min(38), (scale + 4).min(38));
        let fold = DecimalAverage { scale, precision_out, scale_out, on_overflow };
        return folded(&mut c, "avg", fold, vec![arg], DataType::Decimal128(precision_out, scale_out));
    }
    let arg = coerce_one(&c, 0, arg, &Want::Double)?;
    folded(&mut c, "avg", Average, vec![arg], DataType::Float64)
}

fn absorb<T: ArrowPrimitiveType>(
    name: &'static str,
    data_type: &DataType,
    with: fn(T::Native, T::Native) -> T::Native,
) -> Absorb<T> {
    Absorb { name, data_type: data_type.clone(), with }
}

fn extreme(mut c: Call<'_>, wins: Ordering) -> Result<Typed> {
    arity(&c, 1, 1)?;
    let arg = c.args.remove(0);
    orderable(&c, &arg.data_type)?;
    let data_type = arg.data_type.clone();
    let name = if wins == Ordering::Greater { "max" } else { "min" };
    match (&data_type, wins) {
        // NaN is the greatest value, which it is not for DataFusion.
        (DataType::Float64, Ordering::Greater) => folded(
            &mut c,
            name,
            absorb::<Float64Type>(name, &data_type, |a, b| if b > a || b.is_nan() { b } else { a }),
            vec![arg],
            data_type,
        ),
        (DataType::Float64, _) => folded(
            &mut c,
            name,
            absorb::<Float64Type>(name, &data_type, |a, b| if b < a || a.is_nan() { b } else { a }),
            vec![arg],
            data_type,
        ),
        (DataType::Float32, Ordering::Greater) => folded(
            &mut c,
            name,
            absorb::<Float32Type>(name, &data_type, |a, b| if b > a || b.is_nan() { b } else { a }),
            vec![arg],
            data_type,
        ),
        (DataType::Float32, _) => folded(
            &mut c,
            name,
            absorb::<Float32Type>(name, &data_type, |a, b| if b < a || a.is_nan() { b } else { a }),
            vec![arg],
            data_type,
        ),
        (DataType::List(_) | DataType::Struct(_) | DataType::Null, _) => {
            let fold = Extreme { wins, value: data_type.clone(), key: data_type.clone() };
            folded(&mut c, name, fold, vec![arg], data_type)
        }
        (_, Ordering::Greater) => expression(&mut c, min_max::max_udaf(), vec![arg], data_type, true),
        (_, _) => expression(&mut c, min_max::min_udaf(), vec![arg], data_type, true),
    }
}

fn extreme_by(mut c: Call<'_>, wins: Ordering) -> Result<Typed> {
    arity(&c, 2, 3)?;
    if c.args.len() == 3 {
        return most_by::most_by(c, wins);
    }
    let args = std::mem::take(&mut c.args);
    orderable(&c, &args[1].data_type)?;
    let (value, key) = (args[0].data_type.clone(), args[1].data_type.clone());
    let name = if wins == Ordering::Greater { "max_by" } else { "min_by" };
    folded(&mut c, name, Extreme { wins, value: value.clone(), key }, args, value)
}

fn pick(mut c: Call<'_>, end: End) -> Result<Typed> {
    arity(&c, 1, 2)?;
    let mut args = std::mem::take(&mut c.args);
    let mut ignore_nulls = c.nulls == Some(NullTreatment::Ignore);
    if args.len() == 2 {
        match args.remove(1).expr {
            Expr::Literal(ScalarValue::Boolean(Some(ignore)), _) => ignore_nulls |= ignore,
            _ => {
                // Spark has no public name for it.
                let message = format!("the second argument of `{}` must be the literal true or false", c.name);
                return Err(Error::spark(ErrorKind::Config, "_LEGACY_ERROR_TEMP_1210", message));
            }
        }
    }
    let data_type = args[0].data_type.clone();
    let name = if end == End::First { "first" } else { "last" };
    folded(&mut c, name, Pick { end, ignore_nulls, data_type: data_type.clone() }, args, data_type)
}

fn booleans(mut c: Call<'_>, name: &str, decides: bool) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Boolean])?;
    folded(&mut c, name, Booleans { decides }, args, DataType::Boolean)
}

fn bits(mut c: Call<'_>, name: &'static str) -> Result<Typed> {
    arity(&c, 1, 1)?;
    let arg = c.args.remove(0);
    // No number is made of a text here.
    let arg = if arg.data_type == DataType::Utf8 {
        expect_one(&c, 0, arg, &Want::Integral)?
    } else {
        coerce_one(&c, 0, arg, &Want::Integral)?
    };
    let args = vec![arg];
    match &args[0].data_type {
        DataType::Int8 => bits_typed::<Int8Type>(c, name, args),
        DataType::Int16 => bits_typed::<Int16Type>(c, name, args),
        DataType::Int32 => bits_typed::<Int32Type>(c, name, args),
        _ => bits_typed::<Int64Type>(c, name, args),
    }
}

fn bits_typed<T: ArrowPrimitiveType>(mut c: Call<'_>, name: &'static str, args: Vec<Typed>) -> Result<Typed>
where
    T::Native: std::ops::BitAnd<Output = T::Native> + std::ops::BitOr<Output = T::Native> + std::ops::BitXor<Output = T::Native>,
{
    let data_type = args[0].data_type.clone();
    let with: fn(T::Native, T::Native) -> T::Native = match name {
        "bit_and" => |a, b| a & b,
        "bit_or" => |a, b| a | b,
        _ => |a, b| a ^ b,
    };
    folded(&mut c, name, absorb::<T>(name, &data_type, with), args, data_type)
}
