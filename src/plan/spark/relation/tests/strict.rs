//! What is not computed behind a null: it changes nothing but errors, and costs no more the deeper calls are nested.

use std::time::{Duration, Instant};

use super::{answer, run};

#[test]
fn an_argument_behind_a_null_fails_only_where_it_is_needed() {
    // `v` is 10, 20, 30 for the ids 1, 2, 3, and 40 for none.
    for (sql, expected) in [
        ("SELECT nullif(v, 10) + 1 div (v - 10) AS x FROM t WHERE id < 3 ORDER BY id", "[[null],[20]]"),
        ("SELECT 1 div (v - 10) + nullif(v, 10) AS x FROM t WHERE id < 3", "DIVIDE_BY_ZERO"),
        ("SELECT nullif(v, 20) + 1 div (v - 10) AS x FROM t WHERE id < 3", "DIVIDE_BY_ZERO"),
        ("SELECT 1 div (v - 10) / nullif(v, 10) AS x FROM t WHERE id < 3 ORDER BY id", "[[null],[0.0]]"),
        ("SELECT array_insert(array(1), nullif(v, 10), 1 div (v - 10)) AS x FROM t WHERE id = 1", "[[null]]"),
        (
            "SELECT array_append(nullif(array(v), array(10)), 1 div (v - 10)) AS x FROM t WHERE id < 3 ORDER BY id",
            "[[null],[[20,0]]]",
        ),
        (
            "SELECT array_append(array(v), nullif(1 div (v - 9), 1)) AS x FROM t WHERE id < 3 ORDER BY id",
            "[[[10,null]],[[20,0]]]",
        ),
        ("SELECT transform(array(1, 0), x -> nullif(x, 0) + v div x) AS x FROM t WHERE id = 1", "[[[11,null]]]"),
        ("SELECT id FROM t WHERE nullif(v, 10) > 1 div (v - 10)", "[[2],[3],[null]]"),
        ("SELECT max(nullif(v, 10) + 1 div (v - 10)) AS x FROM t WHERE id < 3", "[[20]]"),
        (
            "SELECT nullif(v, 10) + 1 div (v - 10) AS x, count(*) AS n FROM t WHERE id = 1 GROUP BY nullif(v, 10) + 1 div (v - 10)",
            "[[null,1]]",
        ),
        ("SELECT (SELECT max(nullif(v, 10) + 1 div (v - 10)) FROM t) AS x FROM u WHERE id = 1", "[[40]]"),
    ] {
        let answer = answer(sql);
        let found =
            answer.get("error").map_or_else(|| answer["rows"].to_string(), |error| error.as_str().unwrap_or_default().to_owned());
        assert_eq!(found, expected, "{sql}: {answer}");
    }
}

#[test]
fn calls_within_calls_are_not_tried_again_and_again() {
    let deep = |inner: &str| (0..60).fold(inner.to_owned(), |inner, _| format!("nullif(id, 3) + ({inner})"));
    let begin = Instant::now();
    for (inner, fails) in [("1 div (v - 10)", true), ("1 div (v - 30)", false), ("1 div v", false)] {
        let result = run(&format!("SELECT {} AS x FROM t", deep(inner)));
        assert_eq!(result.is_err(), fails, "{inner}");
    }
    // A fraction of a second; were each level tried twice it would be years.
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[test]
fn constants_are_told_of_first() {
    for (sql, condition) in [
        ("SELECT concat(CAST(k AS INT), 1 / 0) AS x FROM t", "DIVIDE_BY_ZERO"),
        ("SELECT transform(array(), x -> CAST('x' AS INT)) AS x FROM t WHERE false", "CAST_INVALID_INPUT"),
        ("SELECT count(*) AS n FROM t WHERE id > 0 AND k LIKE CAST(1 / 0 AS STRING)", "DIVIDE_BY_ZERO"),
    ] {
        assert_eq!(answer(sql)["error"], condition, "{sql}");
    }
    for sql in [
        "SELECT if(v > 100, 1 / 0, 1D) AS x FROM t",
        "SELECT if(v > 100, raise_error('no'), 1) AS x FROM t",
        "SELECT v > 100 AND raise_error('no') AS x FROM t WHERE v > 0",
        "SELECT try_divide(1, 0) AS x FROM t",
    ] {
        assert!(answer(sql).get("error").is_none(), "{sql}: {}", answer(sql));
    }
}
