//! What goes wrong between the sink and its broker, and who has its transactional id then.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use super::super::bad_input::SmallDisk;
use super::super::binary::Folder;
use super::super::binary::fails;
use super::proxy::{Fate, Proxy, api};
use super::sink::{AVAILABLE, ids, json, once, put};
use super::{Broker, run};

/// Rows of JSON to `topic`, through `proxy`.
fn through(proxy: &Proxy, broker: &Broker, topic: &str, settings: &str, more: &str) -> Folder {
    let folder = json(broker, topic, settings, more);
    let pipeline = std::fs::read_to_string(folder.path("pipeline.yaml")).unwrap();
    folder.write("pipeline.yaml", pipeline.replace(&broker.address, &format!("127.0.0.1:{}", proxy.port)));
    folder
}

const SHORT: &str = ", request_timeout: 2s, transaction_timeout: 20s";

#[test]
fn a_commit_whose_request_or_answer_is_lost_happens_once() {
    let proxy = Proxy::new();
    let broker = Broker::behind(&proxy);
    for fate in [Fate::Lose, Fate::LoseAnswer] {
        // The client asks again by itself.
        let topic = broker.topic(2);
        let folder = through(&proxy, &broker, &topic, SHORT, AVAILABLE);
        for file in 0..3 {
            put(&folder, &file.to_string(), file * 5..file * 5 + 5);
        }
        let came = proxy.once(api::END_TXN, fate);
        run(&folder);
        assert!(came.load(Ordering::SeqCst));
        assert_eq!(ids(&broker, &topic), once(0..15), "{fate:?}, asked again");

        // The cluster stays away until the engine has given up, with the commit unclear.
        let close = proxy.closer();
        let mut came = false;
        proxy.judge(move |kind| {
            if kind != api::END_TXN || came {
                return Fate::Pass;
            }
            came = true;
            close(true);
            fate
        });
        put(&folder, "3", 15..20);
        put(&folder, "4", 20..25);
        let process = folder.start_pipeline(&[]);
        let paused = process.says("query paused");
        assert!(paused.contains("could not commit the transaction"), "{paused}");
        proxy.closer()(false);
        let ended = process.end();
        assert_eq!(ended.code, 0, "{ended:#?}");
        assert_eq!(ids(&broker, &topic), once(0..25), "{fate:?}, asked the mark");

        // And the engine dies in that moment.
        let close = proxy.closer();
        let died = Arc::new(AtomicBool::new(false));
        let dies = died.clone();
        proxy.judge(move |kind| {
            if kind != api::END_TXN {
                return Fate::Pass;
            }
            close(true);
            dies.store(true, Ordering::SeqCst);
            fate
        });
        put(&folder, "5", 25..30);
        let process = folder.start_pipeline(&[]);
        process.until("the commit is asked for", || died.load(Ordering::SeqCst).then_some(()));
        process.signal(Signal::KILL);
        process.end();
        proxy.closer()(false);
        proxy.judge(|_| Fate::Pass);
        run(&folder);
        assert_eq!(ids(&broker, &topic), once(0..30), "{fate:?}, asked by the next process");
    }
}

#[test]
fn a_commit_that_comes_late_does_not_end_the_next_transaction() {
    let proxy = Proxy::new();
    let broker = Broker::behind(&proxy);
    let topic = broker.topic(1);
    let folder = through(&proxy, &broker, &topic, SHORT, AVAILABLE);
    put(&folder, "a", 0..5);
    put(&folder, "b", 5..10);
    // The first request to commit is held back, the client asks again, and that commits the first batch. When the messages of the
    // second one have been sent, and not yet their mark, the broker sees the first request; and the engine dies.
    let (release, close) = (proxy.releaser(), proxy.closer());
    let has_come = Arc::new(AtomicBool::new(false));
    let came = has_come.clone();
    let mut is_held = false;
    proxy.judge(move |kind| match kind {
        api::END_TXN if !is_held => {
            is_held = true;
            Fate::Hold
        }
        api::ADD_OFFSETS_TO_TXN if is_held => {
            release();
            close(true);
            came.store(true, Ordering::SeqCst);
            Fate::Lose
        }
        _ => Fate::Pass,
    });
    let process = folder.start_pipeline(&[]);
    process.until("the late request has come", || has_come.load(Ordering::SeqCst).then_some(()));
    process.signal(Signal::KILL);
    process.end();
    proxy.closer()(false);
    proxy.judge(|_| Fate::Pass);
    run(&folder);
    assert_eq!(ids(&broker, &topic), once(0..10));
}

#[test]
fn a_sink_does_not_stop_for_a_late_request_of_its_own() {
    let proxy = Proxy::new();
    let broker = Broker::behind(&proxy);
    let topic = broker.topic(1);
    let folder = through(&proxy, &broker, &topic, SHORT, AVAILABLE);
    put(&folder, "a", 0..5);
    put(&folder, "b", 5..10);
    // The first request for the id is held back, and comes when the second one has been answered and a transaction begun.
    let release = proxy.releaser();
    let (mut is_held, mut is_released) = (false, false);
    proxy.judge(move |kind| match kind {
        api::INIT_PRODUCER_ID if !is_held => {
            is_held = true;
            Fate::Hold
        }
        api::ADD_OFFSETS_TO_TXN if !is_released => {
            is_released = true;
            release();
            Fate::Pass
        }
        _ => Fate::Pass,
    });
    let ended = run(&folder);
    assert!(ended.stderr.contains("a late request of our own"), "{ended:#?}");
    assert_eq!(ids(&broker, &topic), once(0..10));
}

#[test]
fn an_engine_that_slept_through_its_transaction_goes_on() {
    let proxy = Proxy::new();
    let broker = Broker::behind(&proxy);
    let topic = broker.topic(1);
    let settings = ", request_timeout: 5s, transaction_timeout: 6s";
    let folder = through(&proxy, &broker, &topic, settings, AVAILABLE);
    put(&folder, "a", 0..5);
    put(&folder, "b", 5..10);
    // All messages were sent, and the mark is about to be.
    let engine = Arc::new(AtomicU32::new(0));
    let stopped = engine.clone();
    let mut has_come = false;
    proxy.judge(move |kind| {
        let process = stopped.load(Ordering::SeqCst);
        if kind == api::ADD_OFFSETS_TO_TXN && !has_come && process > 0 {
            has_come = true;
            kill_process(Pid::from_raw(i32::try_from(process).unwrap()).unwrap(), Signal::STOP).unwrap();
        }
        Fate::Pass
    });
    let process = folder.start_pipeline(&[]);
    engine.store(process.id(), Ordering::SeqCst);
    // What comes behind an open transaction is seen once the broker has aborted it.
    process.until("something is sent", || broker.tell(&["end", &topic]).parse::<u64>().ok().filter(|end| *end >= 5));
    broker.send(&topic, 0, "-", "{\"id\":99}");
    process.until("the transaction times out", || ids(&broker, &topic).contains_key(&99).then_some(()));
    assert_eq!(ids(&broker, &topic), once(99..100));
    process.signal(Signal::CONT);
    process.says("query paused");
    let ended = process.end();
    assert_eq!(ended.code, 0, "{ended:#?}");
    let mut expected = once(0..10);
    expected.insert(99, 1);
    assert_eq!(ids(&broker, &topic), expected);
}

#[test]
fn a_copy_of_the_checkpoint_is_fenced_off_and_noticed() {
    let broker = Broker::shared();
    let topic = broker.topic(1);
    let first = json(broker, &topic, "", "trigger: 20ms");
    put(&first, "a", 0..5);
    let process = first.start_pipeline(&[]);
    process.until("the first rows", || (ids(broker, &topic).len() == 5).then_some(()));
    // Two processes cannot have one checkpoint.
    let refused = first.start_pipeline(&[]).end();
    assert_eq!(refused.code, 75, "{refused:#?}");
    assert!(refused.stderr.contains(&format!("is in use by process {}", process.id())), "{refused:#?}");
    // Each can have a copy of it, which counts the same commits of the same checkpoint.
    let second = json(broker, &topic, "", AVAILABLE);
    let copied = Command::new("cp").arg("-r").args([first.path("checkpoint"), second.path("checkpoint")]).status();
    assert!(copied.unwrap().success());
    put(&second, "b", 5..10);
    let second_id = {
        let running = second.start_pipeline(&[]);
        let id = running.id();
        let ended = running.end();
        assert_eq!(ended.code, 0, "{ended:#?}");
        id
    };
    put(&first, "c", 10..15);
    let ended = process.end();
    assert_eq!(ended.code, 75, "{ended:#?}");
    for text in ["PRODUCER_FENCED", &format!("the last commit there is 1, by pid {second_id} on ")] {
        assert!(ended.stderr.contains(text), "expected {text:?}: {ended:#?}");
    }
    // Its own commit of that number has other rows: they are not in, although the number is.
    fails(&first, 1, &["SINK_AHEAD"]);
    assert_eq!(ids(broker, &topic), once(0..10));
}

#[test]
fn who_came_between_two_producers_of_a_sink_is_noticed() {
    let proxy = Proxy::new();
    let broker = Broker::behind(&proxy);
    let topic = broker.topic(1);
    let settings = ", request_timeout: 20s, transaction_timeout: 30s";
    let (first, second) = (through(&proxy, &broker, &topic, settings, AVAILABLE), json(&broker, &topic, settings, AVAILABLE));
    put(&first, "a", 0..5);
    put(&first, "b", 5..10);
    put(&second, "c", 10..15);
    // The first commit is asked for twice, so a new producer follows; before it has the id, a copy of the checkpoint goes on.
    let (from, to) = (first.path("checkpoint"), second.path("checkpoint"));
    let (mut has_committed, mut has_run) = (false, false);
    proxy.judge(move |kind| match kind {
        api::END_TXN if !has_committed => {
            has_committed = true;
            Fate::LoseAnswer
        }
        api::INIT_PRODUCER_ID if has_committed && !has_run => {
            has_run = true;
            assert!(Command::new("cp").arg("-r").args([&from, &to]).status().unwrap().success());
            run(&second);
            Fate::Pass
        }
        _ => Fate::Pass,
    });
    fails(&first, 1, &["SINK_AHEAD"]);
    let mut expected = once(0..5);
    expected.extend(once(10..15));
    assert_eq!(ids(&broker, &topic), expected);
}

#[test]
fn secured_listeners_take_the_messages_of_who_they_know() {
    let broker = Broker::secured();
    let at = |port: u16, settings: &str| {
        let topic = broker.topic(1);
        let folder = json(broker, &topic, settings, AVAILABLE);
        let pipeline = std::fs::read_to_string(folder.path("pipeline.yaml")).unwrap();
        folder.write("pipeline.yaml", pipeline.replace(&broker.address, &broker.port(port)));
        put(&folder, "a", 0..3);
        (topic, folder)
    };
    let sasl = |mechanism: &str, password: &str| {
        at(2, &format!(", sasl: {{ mechanism: {mechanism}, username: test, password: {password} }}"))
    };
    let tls = |ca: &str| at(3, &format!(", tls: {{ ca: \"{}\" }}", broker.file(ca)));
    for (topic, folder) in [sasl("PLAIN", "secret"), sasl("SCRAM-SHA-256", "secret"), tls("ca.pem")] {
        run(&folder);
        assert_eq!(ids(broker, &topic), once(0..3));
    }
    let ((_, wrong_password), (_, wrong_ca)) = (sasl("SCRAM-SHA-256", "wrong"), tls("other.pem"));
    fails(&wrong_password, 2, &["sink \"kafka\" cannot be opened", "refuses the sink", "uthentication failed"]);
    fails(&wrong_ca, 2, &["sink \"kafka\" cannot be opened", "refuses the sink", "certificate verify failed"]);
}

#[test]
fn a_full_disk_on_our_side_sends_nothing_twice() {
    let broker = Broker::shared();
    let topic = broker.topic(1);
    let folder = json(broker, &topic, "", "trigger: 20ms");
    let pipeline = std::fs::read_to_string(folder.path("pipeline.yaml")).unwrap();
    folder.write("pipeline.yaml", pipeline.replace("checkpoint: checkpoint", "checkpoint: small/checkpoint"));
    let Some(disk) = SmallDisk::new(folder.path("small")) else {
        println!("may not mount");
        return;
    };
    put(&folder, "a", 0..5);
    let process = folder.start_pipeline(&[]);
    process.until("the first rows", || (ids(broker, &topic).len() == 5).then_some(()));
    disk.fill();
    // More than the log has room for without a new file.
    put(&folder, "b", 5..200_000);
    let paused = process.says("query paused");
    assert!(paused.contains("NO_SPACE"), "{paused}");
    assert_eq!(ids(broker, &topic).len(), 5, "nothing leaves before it is decided");
    disk.free();
    process.until("the rest", || (ids(broker, &topic).len() == 200_000).then_some(()));
    process.stop();
    assert_eq!(ids(broker, &topic), once(0..200_000));
}
