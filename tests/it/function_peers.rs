//! What the benchmark of functions measures side by side means the same, and runs.

#[path = "../../benches/functions/aggregates.rs"]
mod aggregates;
#[path = "../../benches/functions/calls.rs"]
mod calls;
#[path = "../../benches/functions/data.rs"]
mod data;
#[path = "../../benches/functions/peers.rs"]
mod peers;
#[path = "../../benches/functions/run.rs"]
mod run;

use std::fmt::Write;

const ROWS: usize = 1_000;

#[tokio::test]
async fn functions_beside_their_peers_give_the_same() {
    let bench = run::Bench::new(data::rows(ROWS).unwrap());
    let mut wrong = String::new();
    for pair in calls::FAMILIES.iter().flat_map(|(_, pairs)| *pairs).chain(aggregates::AGGREGATES) {
        assert!(!pair.reason.ends_with('.'), "a reason is a phrase: {}", pair.reason);
        if let Err(error) = bench.check(pair).await {
            writeln!(wrong, "{}: {error}", pair.ours).unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[tokio::test]
async fn aggregates_by_keys_have_the_groups_of_their_peers() {
    let bench = run::Bench::new(data::rows(ROWS).unwrap());
    for pair in aggregates::AGGREGATES {
        let ours = bench.ours(pair.ours, Some("k")).await.unwrap().run().await.unwrap();
        let peer = bench.peer(&pair.peer, Some("k")).await.unwrap().run().await.unwrap();
        assert_eq!(ours, peer, "{}", pair.ours);
    }
}
