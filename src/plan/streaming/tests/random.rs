//! What is random depends on the batch's seed and on its rows, not on how they come, and is drawn while a batch runs only.

use super::*;

/// `count` rows, so many in a record batch.
async fn drawn(plan: &mut StreamingPlan, seed: u64, count: usize, together: usize) -> Vec<String> {
    let all = rows(&vec![r("John", 1.0, 1); count]).remove(0);
    let scan = plan.scans().first().unwrap().clone();
    let all = all.project(&scan.projection).unwrap();
    let parts = (0..count).step_by(together).map(|from| all.slice(from, together.min(count - from)));
    let rows = BTreeMap::from([(scan.source, parts.collect())]);
    let output = plan.run(BatchInput { rows, seed, ..input(plan, &[], &[]) }).await.unwrap();
    plan.commit();
    text(&output.rows)
}

fn different(values: &[String]) -> usize {
    values.iter().collect::<std::collections::BTreeSet<_>>().len()
}

const CALLS: [&str; 7] =
    ["rand()", "rand(5)", "randn()", "uuid()", "randstr(20)", "uniform(0.0D, 1.0D)", "array_join(shuffle(sequence(1, 20)), ' ')"];

#[tokio::test]
async fn a_batch_that_runs_again_draws_the_same_however_its_rows_come() {
    for call in CALLS {
        let mut first = plan(&format!("SELECT {call} AS r FROM t"), OutputMode::Append).await;
        let values = drawn(&mut first, 11, 1000, 1000).await;
        assert_eq!(different(&values), 1000, "{call}");
        assert_eq!(drawn(&mut first, 11, 1000, 70).await, values, "{call}");
        let mut second = plan(&format!("SELECT {call} AS r FROM t"), OutputMode::Append).await;
        assert_eq!(drawn(&mut second, 11, 1000, 333).await, values, "{call}");
        let others = drawn(&mut second, 12, 1000, 1000).await;
        assert_eq!(others == values, call == "rand(5)", "{call}");
    }
}

#[tokio::test]
async fn each_place_of_a_query_draws_for_itself_unless_it_has_a_seed() {
    let mut plan = plan("SELECT rand() = rand(), rand(3) = rand(3), uuid() = uuid() FROM t", OutputMode::Append).await;
    let values = drawn(&mut plan, 1, 100, 10).await;
    assert_eq!((different(&values), values[0].as_str()), (1, "false true false"));
}

/// A condition that reads no column might be computed while the query is planned, where there is neither a clock nor a seed.
#[tokio::test]
async fn conditions_without_columns_are_not_decided_before_the_batch_runs() {
    for condition in ["current_date() > date'2020-01-01'", "rand() < 0.5", "year(now()) = 2026", "length(uuid()) = 36"] {
        let sql = format!("SELECT name, CASE WHEN {condition} THEN NULL ELSE 1 END AS r FROM t");
        let mut plan = plan(&sql, OutputMode::Append).await;
        for (run, years) in [50, 56].into_iter().enumerate() {
            let batch_time_us = years * 31_557_600_000_000 + 1_000_000;
            for seed in 0..8 {
                let batch = BatchInput { batch_time_us, seed, ..input(&plan, &[r("John", 1.0, 1); 20], &[]) };
                let found = text(&plan.run(batch).await.unwrap_or_else(|e| panic!("{sql}: {e}")).rows);
                plan.commit();
                let nulls = found.iter().filter(|row| *row == "John NULL").count();
                let expected = match condition {
                    "rand() < 0.5" => 1..20,
                    "year(now()) = 2026" => [0..1, 20..21][run].clone(),
                    "current_date() > date'2020-01-01'" => [0..1, 20..21][run].clone(),
                    _ => 20..21,
                };
                assert!(expected.contains(&nulls), "{sql}: {nulls} of 20, run {run}");
            }
        }
    }
}

/// A constant array is not shuffled once for all rows.
#[tokio::test]
async fn rows_of_the_same_arguments_have_their_own_order() {
    for call in ["shuffle(array(1, 2, 3, 4, 5))", "transform(array(1), x -> shuffle(array(1, 2, 3, 4, 5)))[0]"] {
        let mut plan = plan(&format!("SELECT array_join({call}, '') AS r FROM t"), OutputMode::Append).await;
        let values = drawn(&mut plan, 5, 2000, 500).await;
        assert_eq!(different(&values), 120, "{call}");
    }
}
