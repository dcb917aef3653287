//! What an expression reads in several places: one value for all of them, and no plan that grows with each level of nesting.

use std::time::{Duration, Instant};

use super::{answer, catalog, run, settings};
use crate::plan::spark::expression::logic::conjuncts;
use crate::plan::spark::relation::{optimise, plan_query};

/// A thousand rows with `i` from 1 on and a `one` that is 1.
const ROWS: &str = "(SELECT explode(sequence(1, 1000)) AS i, div(v, 10) AS one FROM t WHERE v = 10)";

/// In how many of a thousand rows `condition` holds.
fn held(condition: &str) -> usize {
    let sql = format!("SELECT i FROM (SELECT i, {condition} AS held FROM {}) WHERE held", ROWS.replace("div(v, 10)", "v div 10"));
    run(&sql).unwrap_or_else(|error| panic!("{condition}: {}", error.chain())).1.len()
}

#[test]
fn a_random_value_is_the_same_wherever_it_is_read() {
    for always in [
        "coalesce(nullif(CAST(rand() * 2 AS INT), 0), 1) = 1",
        "coalesce(nullif(CAST(rand() * 2 AS INT), 0), one + 0) = 1",
        "coalesce(nullifzero(CAST(rand() * 2 AS INT)), one div 1, 7) = 1",
        "CASE CAST(rand() * 3 AS INT) WHEN 0 THEN true WHEN 1 THEN true WHEN 2 THEN true ELSE false END",
        "decode(CAST(rand() * 3 AS INT), 0, 'a', 1, 'b', 2, 'c') IS NOT NULL",
        "CAST(rand() * 2 AS INT) IN (0, 1)",
        "CAST(rand() * 2 AS INT) IN (one - 1, one + 0)",
        "array(CAST(rand() * 2 AS INT)) IN (array(0), array(1))",
        "CAST(CAST(rand() * 2 AS INT) AS STRING) LIKE ANY ('0', '1')",
        "CAST(CAST(rand() * 2 AS INT) AS STRING) NOT LIKE ALL ('1_', '0_')",
        "pmod(CAST(CAST(rand() * 5 AS INT) - 2 AS DECIMAL(5,0)), CAST(3 AS DECIMAL(5,0))) BETWEEN 0 AND 2",
        "pmod(7, CAST(rand() * 2 AS INT) + 2) IN (1, 1)",
        "nanvl(CASE WHEN rand() < 0.5D THEN double('NaN') ELSE 1D END, 1D / one) = 1D",
        "map(0, i, 1, one, i, one)[CAST(rand() * 2 AS INT)] > 0",
        "to_csv(struct(array(CAST(rand() * 1000 AS INT)) AS a)) IS NOT NULL",
        "forall(array(1, 2, 3), x -> nullif(CAST(rand() * 2 AS INT) + x, x) IS NULL OR nullif(x, x) IS NULL)",
    ] {
        assert_eq!(held(always), 1000, "{always}");
    }
    for (about, condition) in [
        (100, "rand() BETWEEN 0.4D AND 0.5D"),
        (900, "rand() NOT BETWEEN 0.4D AND 0.5D"),
        (100, "rand() + 0.1D / one BETWEEN 0.5D AND 0.6D"),
    ] {
        let held = held(condition);
        assert!(held.abs_diff(about) < 60, "{condition}: {held}");
    }
}

/// `start`, wrapped again and again.
fn nested(levels: usize, start: &str, wrap: impl Fn(usize, String) -> String) -> String {
    (0..levels).fold(start.to_owned(), |inner, level| wrap(level, inner))
}

#[test]
fn values_within_values_do_not_multiply() {
    const LEVELS: usize = 60;
    let deep = [
        nested(LEVELS, "v + 1", |_, inner| format!("nullif({inner}, 0)")),
        nested(LEVELS, "v + 1", |_, inner| format!("nullif(0, {inner})")),
        nested(LEVELS, "v + 1", |_, inner| format!("coalesce(nullif(id, 1), {inner}, v div id)")),
        nested(LEVELS, "v div id = 1", |_, inner| format!("v div id = 2 AND ({inner})")),
        nested(LEVELS, "v div id = 1", |_, inner| format!("v div id = 2 OR ({inner})")),
        nested(LEVELS, "v div id = 1", |level, inner| {
            if level % 2 == 0 { format!("k = 'a' AND ({inner})") } else { format!("k = 'b' OR ({inner})") }
        }),
        nested(LEVELS, "v + 1 > 2", |_, inner| format!("({inner}) BETWEEN false AND (k = 'a')")),
        nested(LEVELS, "v + 1 > 2", |_, inner| format!("false BETWEEN ({inner}) AND (v div id = 1)")),
        nested(LEVELS, "v + 1 > 2", |_, inner| format!("({inner}) IN (v div id = 1, id div v = 1)")),
        nested(LEVELS, "v + 1 > 2", |_, inner| format!("(v div id = 7) IN (v div id = 1, {inner})")),
        nested(30, "v + 1", |_, inner| format!("CASE ({inner}) WHEN 1 THEN 2 WHEN 3 THEN v div id ELSE 5 END")),
        nested(30, "v + 1", |_, inner| format!("CASE v + 1 WHEN 1 THEN 2 WHEN 3 THEN v div id ELSE {inner} END")),
        nested(LEVELS, "v + 1", |_, inner| format!("decode({inner}, 1, 2, 3, 4, 5)")),
        nested(LEVELS, "k || 'x'", |_, inner| format!("CAST({inner} LIKE ANY ('a%', 'b%') AS STRING)")),
        nested(LEVELS, "1.5 * v", |_, inner| format!("pmod({inner}, 7.5)")),
        nested(LEVELS, "7.5", |_, inner| format!("pmod(1.5 * v, {inner})")),
        nested(30, "v + 1", |_, inner| format!("map(v, 1, id, v div id)[{inner}]")),
        nested(15, "v + 1", |_, inner| format!("length(to_csv(struct({inner} AS a, 1 AS b, 2 AS c)))")),
        nested(LEVELS, "d * 1", |_, inner| format!("nanvl({inner}, d / v)")),
    ];
    // The stack that the threads of a running query have.
    let plans = std::thread::Builder::new().stack_size(8 << 20).spawn(move || {
        for expression in &deep {
            let begin = Instant::now();
            if let Err(error) = run(&format!("SELECT {expression} AS x FROM t WHERE id IS NOT NULL")) {
                assert_eq!(error.condition(), Some("REMAINDER_BY_ZERO"), "{}: {expression}", error.chain());
            }
            // Each takes a fraction of a second; with a copy per level it would be years.
            assert!(begin.elapsed() < Duration::from_secs(10), "{expression}");
        }
    });
    plans.unwrap().join().unwrap();
}

/// A fallible condition of many parts, which is true where `inner` is.
fn heavy(inner: &str) -> String {
    nested(12, inner, |level, inner| format!("coalesce({inner}, v div (v - v) = {level})"))
}

#[test]
fn a_right_side_of_many_parts_is_asked_for_the_rows_that_are_open() {
    let pick = |column: &str| format!("CASE {column} WHEN 1 THEN true WHEN 2 THEN false END");
    let pairs = "(SELECT explode(array(1, 2, 3)) AS l, r, v FROM (SELECT explode(array(1, 2, 3)) AS r, v FROM t WHERE v = 10))";
    for operator in ["AND", "OR"] {
        let right = format!("(r div 1 < 9 AND {})", heavy("r < 9").replace("r < 9", &format!("({} OR r > 9)", pick("r"))));
        let plain = format!("SELECT l, r, ({}) {operator} ({}) AS x FROM {pairs} WHERE r < 3", pick("l"), pick("r"));
        let guarded = format!("SELECT l, r, ({}) {operator} {right} AS x FROM {pairs} WHERE r < 3", pick("l"));
        assert_eq!(answer(&guarded)["rows"], answer(&plain)["rows"], "{operator}");
        assert_eq!(answer(&plain)["rows"].as_array().unwrap().len(), 6, "{operator}");
    }
    // What is decided is not asked.
    let fails = heavy("1 div (l - 1) > 0");
    for (sql, error) in [
        (format!("SELECT (l <> 1 AND {fails}) AS x FROM {pairs}"), false),
        (format!("SELECT (l = 1 OR {fails}) AS x FROM {pairs}"), false),
        (format!("SELECT (l <> 2 AND {fails}) AS x FROM {pairs}"), true),
        (format!("SELECT (l = 2 OR {fails}) AS x FROM {pairs}"), true),
    ] {
        let answer = answer(&sql);
        assert_eq!(answer.get("error").is_some_and(|error| error == "DIVIDE_BY_ZERO"), error, "{sql}: {answer}");
    }
}

#[test]
fn only_rows_that_need_it_evaluate_what_stands_beside_a_bound_value() {
    for (sql, rows) in [
        ("SELECT CASE v + 1 WHEN 11 THEN 0 WHEN 21 THEN 1 div (v - 10) ELSE 2 END AS x FROM t WHERE v < 40", "[[0],[0],[2]]"),
        ("SELECT coalesce(nullif(v - 10, 0), nullif(v - 10, 0), 1 div (v + 0)) AS x FROM t WHERE v < 30", "[[0],[10]]"),
        ("SELECT v - 9 IN (1, 1 div (v - 10)) AS x FROM t WHERE v = 10", "[[true]]"),
        ("SELECT CASE WHEN v > 10 THEN nullif(1 div (v - 10), 0) ELSE 7 END AS x FROM t WHERE v < 30", "[[7],[null]]"),
        ("SELECT nullif(NULL, 1 div (v - v)) AS x FROM t WHERE v = 10", "[[null]]"),
        ("SELECT v + 1 BETWEEN NULL AND 5 AS x FROM t WHERE v = 10", "[[false]]"),
    ] {
        let answer = answer(sql);
        assert_eq!(answer["rows"].to_string(), rows, "{sql}: {answer}");
    }
}

#[test]
fn keys_and_aggregates_are_found_where_a_value_is_bound() {
    for (sql, rows) in [
        (
            "SELECT CASE v + 1 WHEN 11 THEN 'a' WHEN id + 1 THEN 'b' END AS x FROM t GROUP BY v + 1, id + 1",
            r#"[["a"],[null],[null],[null]]"#,
        ),
        ("SELECT nullif(sum(v) + 0, max(id) + 27) AS x FROM t GROUP BY k", "[[30],[40],[null]]"),
        ("SELECT k FROM t GROUP BY k HAVING sum(v) + 1 BETWEEN min(v) + 1 AND max(v) + 1 ORDER BY k", r#"[[null],["b"]]"#),
        ("SELECT transform(array(1), x -> x + (id + 1)) AS x FROM t WHERE id = 1 GROUP BY id + 1", "[[[3]]]"),
        ("SELECT nullif(id + 1, 2) AS x, count(*) AS n FROM t WHERE id < 3 GROUP BY nullif(id + 1, 2)", "[[3,1],[null,1]]"),
        ("SELECT (SELECT max(v) FROM t) + 0 BETWEEN 40 AND 40 AS x FROM u WHERE id = 1", "[[true]]"),
        ("SELECT id + 1 BETWEEN (SELECT min(v) FROM t) - 7 AND 4 AS x FROM u", "[[false],[true],[true]]"),
        ("SELECT id FROM u WHERE nullif(id + 1, 3) IN (SELECT v div 5 FROM t)", "[[1],[3]]"),
        (
            "SELECT id FROM u WHERE CASE id + 1 WHEN 2 THEN true WHEN 3 THEN id IN (SELECT id FROM t WHERE v = 20) END",
            "[[1],[2]]",
        ),
    ] {
        let answer = answer(sql);
        assert_eq!(answer["rows"].to_string(), rows, "{sql}: {answer}");
    }
    let error = answer("SELECT CASE v + 1 WHEN id THEN 'a' WHEN id + 1 THEN 'b' END AS x FROM t GROUP BY v + 1");
    assert_eq!(error["error"], "MISSING_AGGREGATION", "{error}");
}

#[test]
fn the_parts_of_a_condition_are_found_whatever_binds_them() {
    let parts = |condition: &str| {
        let sql = format!("SELECT id FROM t WHERE {condition}");
        let plan = plan_query(&sql, &catalog(), &settings()).unwrap().plan;
        let filter = plan.inputs()[0].expressions();
        filter.into_iter().flat_map(conjuncts).count()
    };
    assert_eq!(parts(&format!("id > 0 AND k = 'a' AND {}", heavy("1 div v > 0"))), 3);
    assert_eq!(parts(&format!("id > 0 AND (k = 'a' AND {})", heavy("1 div v > 0"))), 3);
    assert_eq!(parts("v + 1 BETWEEN 1 AND 2"), 2);
    assert_eq!(parts("v + 1 BETWEEN 1 AND 1 div v"), 2);
    assert_eq!(parts("rand() BETWEEN 0.1D AND 0.2D"), 1);
    assert_eq!(parts("v + 1 NOT BETWEEN 1 AND 2"), 1);
    let planned = plan_query("SELECT id FROM t WHERE v + 1 BETWEEN 1 AND 2", &catalog(), &settings()).unwrap();
    let text = optimise(planned.plan).unwrap().display_indent().to_string();
    assert!(text.contains("once[_1 -> _1 >= Int32(1) AND _1 <= Int32(2)](add("), "{text}");
}
