//! Exactly once, from topic to topic: the engine dies again and again, the broker too, and a consumer of Kafka's own sees every
//! output once.
//!
//! Two queries read the same four partitions. One counts suspicious payments per user and sends each count that has changed; the other
//! sends the position of every message. Positions tell exactly: each must be there once. Counts tell whether state and output belong
//! together: those of a user grow from message to message and end at what the test knows of its input, so that an update that is
//! repeated shows, and one that is lost too, for most users pay only a few times.
//!
//! What happens when is drawn from a seed, which is printed; `TIDEMILL_SEED=<seed>` draws the same again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;

use super::super::binary::{Folder, Running, pause};
use super::Broker;

const PARTITIONS: u32 = 4;

/// How much is proved at once.
struct Size {
    messages: usize,
    /// Portions in which messages are sent while the engine works.
    portions: usize,
    /// Users that pay; a third of all payments is suspicious.
    users: usize,
    rows_max_per_trigger: usize,
    /// Times that the engine is killed.
    kills: usize,
    /// Times that the broker is killed meanwhile.
    broker_kills: usize,
    /// Times that a second engine is started meanwhile.
    seconds: usize,
}

#[test]
fn ten_thousand_messages_come_out_once() {
    prove(&Size {
        messages: 10_000,
        portions: 5,
        users: 1000,
        rows_max_per_trigger: 200,
        kills: 16,
        broker_kills: 3,
        seconds: 3,
    });
}

#[test]
fn a_million_messages_come_out_once() {
    prove(&Size {
        messages: 1_000_000,
        portions: 10,
        users: 100_000,
        rows_max_per_trigger: 10_000,
        kills: 55,
        broker_kills: 10,
        seconds: 5,
    });
}

/// The exit code of an engine that something outside kept from its work.
const UNAVAILABLE: i32 = 75;

/// What befalls the engine before it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    None,
    /// The broker is killed and started again.
    BrokerDies,
    /// The broker is away while the engine starts and dies.
    BrokerAway,
    /// Another engine is started on the same checkpoint.
    SecondEngine,
}

/// What was seen on the way.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    kills_after_commits: usize,
    broker_kills: usize,
    /// How long each second engine took to be refused.
    refused_after: Vec<Duration>,
}

fn prove(size: &Size) {
    let seed = std::env::var("TIDEMILL_SEED").map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    println!("TIDEMILL_SEED={seed}");
    let began = Instant::now();
    let mut random = StdRng::seed_from_u64(seed);
    let broker = Broker::own();
    let [input, alerts, positions] = ["transactions", "alerts", "positions"];
    for topic in [input, alerts, positions] {
        broker.tell(&["create", topic, &PARTITIONS.to_string()]);
    }
    let folder = Folder::with(&pipeline(&broker.address, size.rows_max_per_trigger));
    let expected = write_messages(&folder, size, &mut random);
    let mut events = events(size);
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let (allow, allowed) = mpsc::channel::<usize>();
        let (broker, folder) = (&broker, &folder);
        scope.spawn(move || {
            for portion in allowed {
                let from = folder.path(&format!("messages/{portion:03}")).display().to_string();
                broker.tell(&["load", input, &PARTITIONS.to_string(), &from]);
            }
        });
        let mut portions = 0;
        for kill in 0..size.kills {
            while portions < size.portions && portions * size.kills <= kill * size.portions {
                allow.send(portions).unwrap();
                portions += 1;
            }
            let event = events.swap_remove(random.random_range(0..events.len()));
            engine_dies(broker, folder, event, &mut random, &mut tally);
        }
    });
    println!("{} commits up to the last kill, {:?}", commits(&broker), began.elapsed());
    let set = ["suspicious", "positions"].map(|query| format!("queries.{query}.trigger=available_now"));
    // A broker that was just started again may take longer than the engine waits for it, which then asks to be run again.
    let mut runs = (0..3).map(|_| {
        let last = folder.start_pipeline(&["--quiet", "--set", &set[0], "--set", &set[1]]);
        last.end_within(Duration::from_secs(600))
    });
    let ended = runs.find(|ended| ended.code != UNAVAILABLE).expect("the broker is there in the end");
    assert_eq!(ended.code, 0, "TIDEMILL_SEED={seed}: {ended:#?}");
    println!("{} messages, {tally:?}, {} commits, {:?}", size.messages, commits(&broker), began.elapsed());
    check_positions(&drain(&broker, &folder, positions), size.messages);
    check_counts(&drain(&broker, &folder, alerts), &expected);
    println!("checked after {:?}", began.elapsed());
    assert!(tally.kills_after_commits > size.kills / 4, "TIDEMILL_SEED={seed}: too few kills hit an engine at work: {tally:?}");
    let quickest = tally.refused_after.iter().min().unwrap();
    assert!(*quickest < Duration::from_secs(1), "a second engine is refused at once: {tally:?}");
}

fn pipeline(servers: &str, rows_max: usize) -> String {
    format!(
        r#"
version: 1
name: proof
checkpoint: checkpoint
connections:
  main: {{ kafka: {{ bootstrap_servers: "{servers}" }} }}
sources:
  transactions:
    from: {{ kafka: {{ connection: main, subscribe: transactions, starting_offsets: earliest, max_rows_per_trigger: {rows_max} }} }}
    format: {{ json: {{ schema: "name STRING, surname STRING, amount DOUBLE, delta_t DOUBLE, flag INT" }} }}
queries:
  suspicious:
    sql: |
      SELECT concat(name, surname) AS userID, true AS isFraud, count(*) AS nTransactions
      FROM transactions WHERE flag = 1
      GROUP BY concat(name, surname) HAVING count(*) > 1
    output_mode: update
    to: {{ kafka: {{ connection: main, topic: alerts, key: userID }}, format: json }}
  positions:
    sql: SELECT _partition AS p, _offset AS o FROM transactions
    to: {{ kafka: {{ connection: main, topic: positions }}, format: json }}
"#
    )
}

/// Writes the portions of messages; how many suspicious payments each user makes.
fn write_messages(folder: &Folder, size: &Size, random: &mut StdRng) -> BTreeMap<String, usize> {
    let mut suspicious = BTreeMap::new();
    fs::create_dir(folder.path("messages")).unwrap();
    for portion in 0..size.portions {
        let mut file = BufWriter::new(File::create(folder.path(&format!("messages/{portion:03}"))).unwrap());
        let share = |portion| size.messages * portion / size.portions;
        for _ in share(portion)..share(portion + 1) {
            let (user, flag) = (random.random_range(0..size.users), usize::from(random.random_ratio(1, 3)));
            let (name, surname) = (format!("name{}", user % 97), format!("surname{}", user / 97));
            writeln!(file, "{{\"name\":\"{name}\",\"surname\":\"{surname}\",\"amount\":12.5,\"delta_t\":0.25,\"flag\":{flag}}}")
                .unwrap();
            if flag == 1 {
                *suspicious.entry(name + &surname).or_default() += 1;
            }
        }
        file.flush().unwrap();
    }
    suspicious
}

/// One for each kill.
fn events(size: &Size) -> Vec<Event> {
    let away = size.broker_kills / 5;
    let mut events = vec![Event::BrokerAway; away];
    events.resize(size.broker_kills, Event::BrokerDies);
    events.resize(size.broker_kills + size.seconds, Event::SecondEngine);
    events.resize(size.kills, Event::None);
    events
}

/// A time up to so many milliseconds.
fn draw(random: &mut StdRng, ms_max: u64) -> Duration {
    Duration::from_micros(random.random_range(0..ms_max * 1000))
}

fn engine_dies(broker: &Broker, folder: &Folder, event: Event, random: &mut StdRng, tally: &mut Tally) {
    let commits = commits(broker);
    if event == Event::BrokerAway {
        broker.kill();
    }
    let process = folder.start_pipeline(&["--quiet"]);
    match event {
        // While it opens things, recovers or finds the broker away; or at work.
        Event::BrokerAway => pause(draw(random, 1000)),
        Event::None if random.random_ratio(1, 4) => pause(draw(random, 800)),
        _ => {
            process.says("query started");
            pause(draw(random, 1500));
        }
    }
    match event {
        Event::None | Event::BrokerAway => {}
        Event::BrokerDies => {
            broker.kill();
            pause(draw(random, 500));
            broker.start();
            pause(draw(random, 2000));
        }
        Event::SecondEngine => tally.refused_after.push(second_engine(folder, &process)),
    }
    process.signal(Signal::KILL);
    let ended = process.end();
    assert_eq!(ended.code, 128 + 9, "it ended by itself: {ended:#?}");
    assert!(!ended.stderr.contains("query failed"), "{ended:#?}");
    if event == Event::BrokerAway {
        broker.start();
    }
    tally.kills += 1;
    tally.broker_kills += usize::from(matches!(event, Event::BrokerDies | Event::BrokerAway));
    tally.kills_after_commits += usize::from(self::commits(broker) > commits);
}

/// Starts another engine on the checkpoint of `first`: it is refused, and told who has it; after how long.
fn second_engine(folder: &Folder, first: &Running) -> Duration {
    let began = Instant::now();
    let ended = folder.start_pipeline(&["--quiet"]).end();
    let took = began.elapsed();
    assert_eq!(ended.code, 75, "{ended:#?}");
    assert!(ended.stderr.contains(&format!("process {}", first.id())), "{ended:#?}");
    took
}

/// Commits of the sinks so far, as their marks tell.
fn commits(broker: &Broker) -> i64 {
    let marks = ["suspicious", "positions"].map(|query| broker.tell(&["committed", &format!("tidemill.proof.{query}.kafka")]));
    marks.iter().filter_map(|mark| mark.trim_end_matches('}').rsplit_once('=')?.1.parse::<i64>().ok()).sum()
}

/// All that a consumer of committed messages sees of a topic, a message a line.
fn drain(broker: &Broker, folder: &Folder, topic: &str) -> std::path::PathBuf {
    let path = folder.path(topic);
    broker.tell(&["drain", topic, path.to_str().unwrap()]);
    path
}

fn lines(path: &Path) -> impl Iterator<Item = String> {
    BufReader::with_capacity(1 << 20, File::open(path).unwrap()).lines().map(Result::unwrap)
}

/// Every position of the input is there once.
fn check_positions(path: &Path, messages: usize) {
    let mut times: Vec<Vec<u32>> = vec![Vec::new(); PARTITIONS as usize];
    for line in lines(path) {
        // partition|key|{"p":0,"o":1}|headers
        let numbers: Vec<usize> =
            line.split('|').nth(2).unwrap().split(|c: char| !c.is_ascii_digit()).filter_map(|text| text.parse().ok()).collect();
        let [partition, offset] = numbers[..] else { panic!("{line}") };
        let times = &mut times[partition];
        times.resize(times.len().max(offset + 1), 0);
        times[offset] += 1;
    }
    for (partition, times) in times.iter().enumerate() {
        let other: Vec<_> = times.iter().enumerate().filter(|(_, times)| **times != 1).take(20).collect();
        assert!(other.is_empty(), "partition {partition}: offsets that are not there once, and how often they are: {other:?}");
    }
    // Nothing but messages takes an offset in the input, so that it cannot end early.
    assert_eq!(times.iter().map(Vec::len).sum::<usize>(), messages);
}

/// The counts of each user grow, and the last one is right.
fn check_counts(path: &Path, expected: &BTreeMap<String, usize>) {
    let mut counts: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for line in lines(path) {
        let [partition, key, value, _] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let count = value.strip_prefix(&format!("{{\"userID\":\"{key}\",\"isFraud\":true,\"nTransactions\":"));
        let count: usize = count.and_then(|rest| rest.strip_suffix('}')?.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        let (home, last) = counts.entry(key.to_owned()).or_insert_with(|| (partition.to_owned(), 1));
        assert_eq!(home, partition, "{line}: a key stays in its partition");
        assert!(count > *last, "{line} comes after {last}");
        *last = count;
    }
    let last: BTreeMap<_, _> = counts.into_iter().map(|(user, (_, count))| (user, count)).collect();
    let wrong = expected.iter().filter(|(user, count)| **count > 1 && last.get(*user) != Some(count));
    let wrong: Vec<_> = wrong.map(|(user, count)| (user, count, last.get(user))).take(20).collect();
    assert!(wrong.is_empty(), "users, their payments and what came last of them: {wrong:?}");
    assert_eq!(last.len(), expected.values().filter(|count| **count > 1).count());
}
