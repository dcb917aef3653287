//! `tidemill-producer` as a sender of messages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use tidemill_producer::{Line, Options, Topic, Transactions, send};

use super::{Broker, ids, printing, run};

/// What the stream of `options` is made of, in order.
fn lines(options: &Options) -> Vec<(Line, String)> {
    let mut stream = Transactions::new(options);
    let mut value = Vec::new();
    let mut next = |_| {
        value.clear();
        (stream.write_next_value(&mut value), String::from_utf8(value.clone()).unwrap())
    };
    (0..options.count.unwrap()).map(&mut next).collect()
}

/// The values of each partition, in order.
fn values(broker: &Broker, topic: &str) -> BTreeMap<String, Vec<String>> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in broker.read(topic) {
        let fields: Vec<&str> = message.split('|').collect();
        values.entry(fields[0].to_owned()).or_default().push(fields[2].to_owned());
    }
    values
}

/// The same as the producer should send them to one partition.
fn in_one_partition(options: &Options) -> BTreeMap<String, Vec<String>> {
    BTreeMap::from([("0".to_owned(), lines(options).into_iter().map(|(_, value)| value).collect())])
}

fn unheard(_: &str) {}

#[test]
fn messages_have_their_users_key_partition_and_time() {
    let broker = Broker::shared();
    let options =
        Options { rate: 0.0, count: Some(2000), event_time: true, late: 0.02, malformed: 0.01, seed: 9, ..Options::default() };
    let name = format!("produced-{}", broker.topic(1));
    let topic = Topic { partitions: Some(4), ..Topic::new(&broker.address, &name) };
    assert_eq!(send(&topic, &options, &|| false, &unheard).unwrap(), 2000);

    let mut places = BTreeMap::new();
    let (mut expected, mut late, mut malformed) = (Vec::new(), 0, 0);
    for (line, value) in lines(&options) {
        let key = line.user.concat();
        let place = places.entry(key.clone()).or_insert_with(|| broker.tell(&["place", &key, "4"]));
        expected.push(format!("{place}|{key}|{value}|{}", line.event_time_ms.unwrap()));
    }
    let mut found: Vec<String> = broker.tell(&["read", &name, "timed"]).split('\t').map(str::to_owned).collect();
    for message in &found {
        let fields: Vec<&str> = message.split('|').collect();
        match serde_json::from_str::<Value>(fields[2]) {
            Ok(row) => {
                assert_eq!(fields[1], format!("{}{}", row["name"].as_str().unwrap(), row["surname"].as_str().unwrap()));
                late += u64::from(row["ts"].as_str().unwrap() < "2026-01-01T00:00:00.000Z");
            }
            Err(_) => malformed += 1,
        }
    }
    assert_eq!((late, malformed), (40, 20));
    assert_eq!(places.values().collect::<BTreeSet<_>>().len(), 4, "every partition has users");
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);

    // The topic is there now, and has four partitions.
    let again = Options { count: Some(1), ..options.clone() };
    assert_eq!(send(&topic, &again, &|| false, &unheard).unwrap(), 1);
    let error = send(&Topic { partitions: Some(3), ..topic.clone() }, &again, &|| false, &unheard).unwrap_err();
    assert_eq!(error.to_string(), format!("topic \"{name}\" has 4 partitions, not 3"));
    // What is malformed to us is malformed to the engine.
    let from = format!(
        "from: {{ kafka: {{ bootstrap_servers: \"{}\", starting_offsets: earliest, subscribe: {name} }} }}\n    format: {{ json: {{ schema: \
         \"flag INT\" }} }}\n    on_malformed: drop",
        broker.address
    );
    let sql = "SELECT count(*) AS id FROM t";
    let ended = run(&printing(&from, sql, "output_mode: complete\n    trigger: available_now"));
    assert_eq!(ids(&ended.stdout), [1981]);
}

#[test]
fn a_broker_that_goes_away_is_waited_for_and_gets_each_message_once() {
    let broker = Broker::own();
    let topic = Topic::new(&broker.address, &broker.topic(1));
    let options = Options { rate: 200.0, count: Some(600), ..Options::default() };
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| send(&topic, &options, &|| false, &move |text| tell.send(text.to_owned()).unwrap()));
        while broker.read(&topic.name).is_empty() {
            assert!(!sending.is_finished());
        }
        broker.kill();
        let waiting = told.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(waiting.starts_with("waiting for Kafka: "), "{waiting}");
        broker.start();
        assert_eq!(sending.join().unwrap().unwrap(), 600);
    });
    assert_eq!(values(&broker, &topic.name), in_one_partition(&options));
}

#[test]
fn who_stops_it_has_every_message_that_was_counted() {
    let broker = Broker::shared();
    let topic = Topic::new(&broker.address, &broker.topic(1));
    let is_over = AtomicBool::new(false);
    let options = Options { rate: 0.0, ..Options::default() };
    // Looks once per burst.
    let stop = || is_over.swap(true, Ordering::SeqCst);
    let sent = send(&topic, &options, &stop, &unheard).unwrap();
    assert!(sent > 0);
    let options = Options { count: Some(sent), ..options };
    assert_eq!(values(broker, &topic.name), in_one_partition(&options));
}

#[test]
fn what_cannot_be_reached_is_named() {
    let broker = Broker::secured();
    let options = Options { count: Some(1), ..Options::default() };
    let fails = |servers: &str, name: &str, properties: &[(&str, &str)]| {
        let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let topic = Topic { properties, ..Topic::new(servers, name) };
        send(&topic, &options, &|| false, &unheard).unwrap_err().to_string()
    };
    let none = fails(&broker.address, "no-such-topic", &[]);
    assert!(none.starts_with("there is no topic \"no-such-topic\" at "), "{none}");
    let tls = broker.port(3);
    let wrong = fails(&tls, "t", &[]);
    assert!(wrong.starts_with(&format!("{tls} does not answer as a Kafka broker does: ")), "{wrong}");
    let ca = broker.file("other.pem");
    let refused = fails(&tls, "t", &[("security.protocol", "ssl"), ("ssl.ca.location", &ca)]);
    assert!(refused.contains("refuses the connection") && refused.contains("certificate verify failed"), "{refused}");
    let ca = broker.file("ca.pem");
    let absent = fails(&tls, "no-such-topic", &[("security.protocol", "ssl"), ("ssl.ca.location", &ca)]);
    assert!(absent.starts_with("there is no topic"), "{absent}");
}
