//! Objects in a space, by the Rust API: operations that are issued, and waited for in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::redis::Pipeline;
use tidemill::ErrorKind;
use tidemill::function::{CallError, CallErrorKind, CallWindow, NotCompleted};
use tidemill::redis::{Attribute, AttributeKind, Condition, Durability, RedisConnection, Refused, Space, SpaceSettings};

use super::proxy::Proxy;
use super::{Server, prefix, until};

const FRIENDS: &[(&str, AttributeKind)] =
    &[("first", AttributeKind::Text), ("last", AttributeKind::Text), ("friends", AttributeKind::Set)];
const NUMBER: &[(&str, AttributeKind)] = &[("x", AttributeKind::Int)];

fn settings(address: &str, name: &str, attributes: &[(&str, AttributeKind)]) -> SpaceSettings {
    SpaceSettings::new(address.parse().unwrap(), name, attributes)
}

async fn space(server: &Server, name: &str, attributes: &[(&str, AttributeKind)]) -> Space {
    Space::open(&settings(&server.address, name, attributes)).await.unwrap()
}

fn set(members: &[&str]) -> Attribute {
    Attribute::Set(members.iter().map(|member| (*member).to_owned()).collect())
}

async fn three(friends: &Space) {
    for (key, first, last) in [("jsmith1", "John", "Smith"), ("jd", "John", "Doe"), ("bjones1", "Brian", "Jones")] {
        assert!(friends.put(key, &[("first", first.into()), ("last", last.into())]).unwrap().await.unwrap());
    }
}

#[tokio::test]
async fn s2_1_scenario_16_the_walkthrough() {
    let friends = space(Server::shared(), &prefix(), FRIENDS).await;
    three(&friends).await;
    let window = CallWindow::new(1024);
    let put = window.issue(friends.put("jj", &[("first", "John".into()), ("last", "Jackson".into())]).unwrap()).await;
    assert!(put.wait().await.unwrap().unwrap());
    let jj = friends.get("jj").await.unwrap().unwrap();
    let expected = [("first", "John".into()), ("last", "Jackson".into()), ("friends", set(&[]))];
    assert_eq!(jj, expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>());
    let keys = ["jsmith1", "jd", "bjones1", "jj"];
    for one in keys {
        for other in keys.into_iter().filter(|other| *other != one) {
            window.issue(friends.set_add(one, "friends", other).unwrap()).await;
        }
    }
    for _ in 0..12 {
        assert!(window.next_completed().await.unwrap().result.unwrap().unwrap());
    }
    let jd = friends.get("jd").await.unwrap().unwrap();
    assert_eq!(jd["friends"], set(&["jsmith1", "bjones1", "jj"]));
    assert_eq!(friends.get("nobody").await.unwrap(), None, "a miss is no failure");
}

#[tokio::test]
async fn s2_2_scenario_16_the_next_completed() {
    let friends = space(Server::shared(), &prefix(), FRIENDS).await;
    three(&friends).await;
    assert!(friends.put("jj", &[("first", "John".into())]).unwrap().await.unwrap());
    assert!(friends.put("jsmith1", &[("friends", ["jd", "bjones1", "jj"].into())]).unwrap().await.unwrap());
    let Attribute::Set(members) = friends.get("jsmith1").await.unwrap().unwrap().remove("friends").unwrap() else { panic!() };
    let window = CallWindow::new(1024);
    for member in &members {
        window.issue(friends.get(member)).await;
    }
    let mut firsts = Vec::new();
    while let Ok(completed) = window.next_completed().await {
        firsts.push(completed.result.unwrap().unwrap().unwrap().remove("first").unwrap());
    }
    firsts.sort();
    assert_eq!(firsts, ["Brian".into(), "John".into(), "John".into()]);
}

#[tokio::test]
async fn s2_3_s2_4_scenario_16_waiting_and_draining_mix() {
    let numbers = space(Server::shared(), &prefix(), NUMBER).await;
    let window = CallWindow::new(1024);
    let mut issued = Vec::new();
    for nth in 0..3 {
        issued.push(window.issue(numbers.put(&nth.to_string(), &[("x", nth.into())]).unwrap()).await);
    }
    assert!(issued[2].wait().await.unwrap().unwrap());
    let others: BTreeSet<u64> =
        [window.next_completed().await.unwrap().number, window.next_completed().await.unwrap().number].into();
    assert_eq!(others, [1, 2].into());
    assert_eq!(window.next_completed().await.unwrap_err(), NotCompleted::NonePending);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_5_never_more_than_the_window_is_outstanding() {
    const PUTS: i64 = 100_000;
    let (server, name) = (Server::own(&[]), prefix());
    let proxy = Proxy::before(&server.address);
    let numbers = Space::open(&settings(&proxy.address, &name, NUMBER)).await.unwrap();
    let window = CallWindow::new(1024);
    let mut done = 0;
    for nth in 0..PUTS {
        // Results are left for a while, so that only the window itself holds puts back.
        if nth >= 4096 {
            let put: Result<bool, CallError> = window.next_completed().await.unwrap().result.unwrap();
            assert!(put.unwrap());
            done += 1;
        }
        window.issue(numbers.put(&nth.to_string(), &[("x", nth.into())]).unwrap()).await;
    }
    for completed in window.drain().await {
        assert!(completed.result.unwrap().unwrap());
        done += 1;
    }
    assert_eq!(done, PUTS);
    let (most, operations) = proxy.counted();
    assert!((33..=1024).contains(&most), "{most} were outstanding");
    assert_eq!(operations, usize::try_from(PUTS).unwrap());
    assert_eq!(values(&server, &name, PUTS), (0..PUTS).map(Some).collect::<Vec<_>>());
}

/// What is under `x` of the first objects.
fn values(server: &Server, name: &str, count: i64) -> Vec<Option<i64>> {
    let mut all = Pipeline::new();
    for nth in 0..count {
        all.cmd("HGET").arg(format!("{name}:{nth}")).arg("x");
    }
    all.query(&mut server.client()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_6_what_was_acknowledged_is_there_after_the_server_was_killed() {
    let (server, name) = (Arc::new(Server::own(&[])), prefix());
    let mut settings = settings(&server.address, &name, NUMBER);
    settings.timeout = Duration::from_secs(5);
    let numbers = Space::open(&settings).await.unwrap();
    let (mut acknowledged, mut failed, mut next) = (BTreeSet::new(), 0, 0_i64);
    for kill_after in [1, 137, 2_500] {
        let window: CallWindow<(i64, Result<bool, CallError>)> = CallWindow::new(256);
        let before = acknowledged.len();
        let mut killing = None;
        for issued in 0..5_000 {
            let put = numbers.put(&next.to_string(), &[("x", next.into())]).unwrap();
            let nth = next;
            window.issue(async move { (nth, put.await) }).await;
            next += 1;
            if issued >= 512 {
                match window.next_completed().await.unwrap().result.unwrap() {
                    (nth, Ok(put)) => assert!(put && acknowledged.insert(nth)),
                    (_, Err(error)) => {
                        assert!(matches!(error.kind, CallErrorKind::Unavailable | CallErrorKind::Timeout), "{error}");
                        failed += 1;
                    }
                }
            }
            if killing.is_none() && acknowledged.len() >= before + kill_after {
                let server = server.clone();
                killing = Some(tokio::task::spawn_blocking(move || server.kill()));
            }
        }
        for completed in window.drain().await {
            if let (nth, Ok(_)) = completed.result.unwrap() {
                acknowledged.insert(nth);
            }
        }
        killing.expect("it was killed in between").await.unwrap();
        server.start();
        let found = values(&server, &name, next);
        for nth in &acknowledged {
            assert_eq!(found[usize::try_from(*nth).unwrap()], Some(*nth), "acknowledged and gone");
        }
    }
    assert!(failed > 0, "nothing was outstanding when it was killed");
    assert!(numbers.put("again", &[("x", 1.into())]).unwrap().await.unwrap(), "the connection comes back");
}

#[tokio::test]
async fn s2_7_scenario_16_what_was_awaited_comes_first() {
    let numbers = space(Server::shared(), &prefix(), NUMBER).await;
    for _ in 0..500 {
        assert!(numbers.put("k", &[("x", 1.into())]).unwrap().await.unwrap());
        assert!(numbers.put("k", &[("x", 2.into())]).unwrap().await.unwrap());
        assert_eq!(numbers.get("k").await.unwrap().unwrap()["x"], Attribute::Int(2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_8_a_replica_that_is_lost_fails_what_is_outstanding() {
    let server = Server::own(&[]);
    let port = server.port(0).to_string();
    let replicas = [Server::own(&["--replica-of", &port]), Server::own(&["--replica-of", &port])];
    let connected = |count: usize| {
        until(&format!("{count} replicas"), || {
            let info: String = server.tell(&["INFO", "replication"]);
            (info.matches("state=online").count() == count).then_some(())
        });
    };
    connected(2);
    let mut settings = settings(&server.address, &prefix(), NUMBER);
    settings.durability = Durability { durable: true, replicas: 2 };
    settings.timeout = Duration::from_secs(1);
    let numbers = Space::open(&settings).await.unwrap();
    let window: CallWindow<Result<bool, CallError>> = CallWindow::new(64);
    let (mut done, mut failed, mut named) = (0, 0, 0);
    for nth in 0..264_i64 {
        if nth == 200 {
            // Every one until here was acknowledged by both.
            done +=
                window.drain().await.into_iter().map(|completed| completed.result.unwrap().unwrap()).filter(|put| *put).count();
            assert_eq!(done, 200);
            replicas[1].kill();
        }
        window.issue(numbers.put(&nth.to_string(), &[("x", nth.into())]).unwrap()).await;
    }
    for completed in window.drain().await {
        match completed.result.unwrap() {
            Ok(_) => done += 1,
            Err(error) => {
                // Behind the first who wait for the replicas the connection stands still.
                assert!(error.kind.is_transient(), "{error}");
                named += usize::from(error.message.contains("of the 2 replicas"));
                failed += 1;
            }
        }
    }
    assert_eq!((done, failed), (200, 64));
    assert!(named > 0);
    replicas[1].start();
    connected(2);
    assert!(numbers.put("again", &[("x", 1.into())]).unwrap().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_9_no_read_goes_backwards() {
    const KEYS: usize = 128;
    const ROUNDS: i64 = 1024;
    let server = Server::own(&[]);
    let numbers = space(&server, &prefix(), NUMBER).await;
    let ended = Arc::new(AtomicBool::new(false));
    let reader = |number: usize| {
        let (numbers, ended) = (numbers.clone(), ended.clone());
        async move {
            let (mut seen, mut reads, mut backwards) = ([0; KEYS], 0, 0);
            while !ended.load(Ordering::Relaxed) {
                // Another order of keys for each.
                let key = (reads * (2 * number + 1) + number) % KEYS;
                if let Some(object) = numbers.get(&key.to_string()).await.unwrap()
                    && let Attribute::Int(x) = object["x"]
                {
                    backwards += usize::from(x < seen[key]);
                    seen[key] = x;
                }
                reads += 1;
            }
            (reads, backwards)
        }
    };
    let readers: Vec<_> = (0..16).map(|number| tokio::spawn(reader(number))).collect();
    let window = CallWindow::new(KEYS);
    for round in 1..=ROUNDS {
        for key in 0..KEYS {
            window.issue(numbers.put(&key.to_string(), &[("x", round.into())]).unwrap()).await;
        }
        // The next round comes after this one.
        for completed in window.drain().await {
            assert!(completed.result.unwrap().unwrap());
        }
    }
    ended.store(true, Ordering::Relaxed);
    for reader in readers {
        let (reads, backwards) = reader.await.unwrap();
        assert!(reads > 0);
        assert_eq!(backwards, 0);
    }
}

#[tokio::test]
async fn conditions_numbers_and_deletions() {
    let friends = space(Server::shared(), &prefix(), &[FRIENDS, NUMBER].concat()).await;
    let put = |condition, first: &str| friends.cond_put("a", condition, &[("first", first.into())]).unwrap();
    let equal = [("first", "one".into()), ("x", 0.into())];
    assert!(!put(Condition::Equal(&equal), "none").await.unwrap(), "there is none");
    assert!(put(Condition::Absent, "one").await.unwrap());
    assert!(!put(Condition::Absent, "two").await.unwrap());
    assert!(put(Condition::Equal(&equal), "three").await.unwrap(), "a number is 0 at first");
    assert!(!put(Condition::Equal(&equal), "four").await.unwrap());
    assert!(friends.atomic_add("a", "x", 5).unwrap().await.unwrap());
    assert!(friends.atomic_add("a", "x", -7).unwrap().await.unwrap());
    let a = friends.get("a").await.unwrap().unwrap();
    assert_eq!((&a["first"], &a["x"]), (&"three".into(), &Attribute::Int(-2)));
    assert!(friends.atomic_add("a", "x", i64::MIN + 2).unwrap().await.unwrap());
    let error = friends.atomic_add("a", "x", -1).unwrap().await.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Rejected, "{error}");
    // Objects that were made by a set alone are there, with everything else at its beginning.
    assert!(friends.set_add("b", "friends", "a").unwrap().await.unwrap());
    assert!(friends.put("c", &[("friends", [].into())]).unwrap().await.unwrap());
    assert_eq!(friends.get("b").await.unwrap().unwrap()["friends"], set(&["a"]));
    assert_eq!(friends.get("c").await.unwrap().unwrap()["x"], Attribute::Int(0));
    assert!(friends.put("b", &[("friends", ["x", "y"].into())]).unwrap().await.unwrap());
    assert_eq!(friends.get("b").await.unwrap().unwrap()["friends"], set(&["x", "y"]));
    assert!(friends.delete("b").await.unwrap());
    assert!(!friends.delete("b").await.unwrap());
    assert_eq!(friends.get("b").await.unwrap(), None);
    assert!(friends.set_add("b", "friends", "z").unwrap().await.unwrap());
    assert_eq!(friends.get("b").await.unwrap().unwrap()["friends"], set(&["z"]), "its sets went with it");
}

#[tokio::test]
async fn what_is_wrong_is_said_when_it_is_issued() {
    let friends = space(Server::shared(), &prefix(), &[FRIENDS, NUMBER].concat()).await;
    let refused = |refused: Refused| refused.to_string();
    let unknown = friends.put("a", &[("fist", "x".into())]).err().map(refused).unwrap();
    assert!(unknown.ends_with("has no attribute \"fist\"; did you mean first?"), "{unknown}");
    let wrong = friends.put("a", &[("x", "1".into())]).err().map(refused).unwrap();
    assert!(wrong.starts_with("attribute \"x\" of space") && wrong.ends_with("is a Int, not a Text"), "{wrong}");
    assert!(friends.set_add("a", "first", "x").is_err() && friends.atomic_add("a", "friends", 1).is_err());
    assert!(matches!(friends.put("a", &[("x", 1.into()), ("x", 2.into())]).err(), Some(Refused::Twice { .. })));
    let on_set = [("friends", set(&["x"]))];
    assert!(matches!(friends.cond_put("a", Condition::Equal(&on_set), &[]).err(), Some(Refused::ConditionOnSet { .. })));
    assert_eq!(friends.get("a").await.unwrap(), None, "nothing was sent");
    let address = Server::shared().address.parse::<tidemill::pipeline::Address>().unwrap();
    for (name, attributes) in
        [("a:b", NUMBER), ("", NUMBER), ("a", &[("x.y", AttributeKind::Int)]), ("a", &[NUMBER, NUMBER].concat())]
    {
        let error = Space::open(&SpaceSettings::new(address.clone(), name, attributes)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
    assert_eq!(RedisConnection::new(address).database, 0);
}
