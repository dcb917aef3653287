//! What the optimiser may and may not do.

use super::{catalog, settings};
use crate::plan::catalog::{is_streaming, scan_requests};
use crate::plan::spark::relation::{optimise, plan_query};

fn optimised(sql: &str) -> String {
    let planned = plan_query(sql, &catalog(), &settings()).unwrap();
    optimise(planned.plan).unwrap().display_indent().to_string()
}

#[test]
fn only_used_columns_are_read() {
    for (sql, columns) in [
        ("SELECT id FROM t WHERE v > 1", vec![0, 2]),
        ("SELECT count(*) FROM t", vec![]),
        ("SELECT * FROM (SELECT k, v FROM t) WHERE k = 'a'", vec![1, 2]),
        ("SELECT e FROM n LATERAL VIEW explode(l) x AS e", vec![1]),
        ("SELECT id, explode(l) FROM n", vec![0, 1]),
        ("SELECT transform(l, x -> x + id) FROM n", vec![0, 1]),
        ("SELECT transform(l, id -> id + 1) FROM n", vec![1]),
        ("SELECT transform(l, x -> transform(l, y -> map_filter(m, (k, v) -> v = x + id))) FROM n", vec![0, 1, 2]),
        ("SELECT k, count(*) FROM t GROUP BY ROLLUP(k)", vec![1]),
        ("SELECT a.id FROM t a JOIN u ON a.k = u.k", vec![0, 1]),
        ("SELECT a.id, b.v FROM t a JOIN t b ON a.k = b.k", vec![0, 1, 2]),
    ] {
        let planned = plan_query(sql, &catalog(), &settings()).unwrap();
        assert!(is_streaming(&planned.plan), "{sql}");
        let requests = scan_requests(&optimise(planned.plan).unwrap()).unwrap();
        assert_eq!(requests.len(), 1, "{sql}");
        assert_eq!(requests[0].projection, columns, "{sql}");
    }
}

#[test]
fn filters_move_to_their_table_and_become_join_keys() {
    let plan = optimised("SELECT t.id FROM t, u WHERE t.k = u.k AND t.v > 1");
    let (join, scans) = plan.split_once("Join").unwrap();
    assert!(!join.contains("Filter"), "{plan}");
    assert!(scans.contains("Filter"), "{plan}");
}

#[test]
fn what_can_fail_stays_behind_what_guards_it() {
    let plan = optimised("SELECT a.id FROM (SELECT * FROM t WHERE v <> 0) a JOIN u ON a.k = u.k WHERE 1 / a.v > 0 AND a.id > 0");
    let (above, below) = plan.split_once("Join").unwrap();
    assert!(above.contains("Filter"), "{plan}");
    assert_eq!(below.matches("Filter").count(), 1, "{plan}");
    let plan = optimised("SELECT * FROM (SELECT * FROM t WHERE 10 / v > 1) WHERE v <> 0");
    assert_eq!(plan.matches("Filter").count(), 2, "{plan}");
}
