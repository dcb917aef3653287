//! Servers that go away, are full, refuse, or are not what they should be; engines that die.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;

use super::super::binary::Folder;
use super::super::binary::fails;
use super::super::kafka::run;
use super::proxy::Proxy;
use super::sink::{hash, writing};
use super::{Server, prefix};

/// Rows with ids, in files of a batch each.
fn fill(folder: &Folder, files: usize, rows: usize) {
    for file in 0..files {
        let row = |nth: usize| {
            let id = file * rows + nth;
            format!("{{\"k\":\"{}\",\"n\":{id}}}\n", id % 97)
        };
        folder.write(&format!("in/{file:03}.json"), (0..rows).map(row).collect::<String>());
    }
}

/// Two sinks: one adds to a number for each `k`, the other puts each `n`.
fn adding_and_putting(address: &str, p: &str) -> Folder {
    Folder::with(&format!(
        "version: 1\nname: {p}\ncheckpoint: checkpoint\nsources:\n  t:\n    from: {{ file: {{ path: in/*.json, max_files_per_trigger: 1 }} }}\n    \
         format: {{ json: {{ schema: \"k STRING, n BIGINT\" }} }}\nconnections:\n  store: {{ redis: {{ address: \"{address}\" }} }}\nqueries:\n  \
         q:\n    sql: SELECT k, n FROM t\n    trigger: available_now\n    to:\n      - {{ redis: {{ connection: store, operation: atomic_add, key: \
         \"{p}:sum\", field: \"{{k}}\", amount: n, request_timeout: 5s }}, name: sums }}\n      - {{ redis: {{ connection: store, operation: put, \
         key: \"{p}:{{n}}\", request_timeout: 5s }}, name: rows }}\n"
    ))
}

#[test]
fn scenario_17_a_hundred_thousand_rows_once_although_store_and_engine_die() {
    const FILES: usize = 20;
    const ROWS: usize = 5_000;
    let seed = std::env::var("TIDEMILL_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("TIDEMILL_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (server, p) = (Server::own(&[]), prefix());
    let proxy = Proxy::before(&server.address);
    let folder = adding_and_putting(&proxy.address, &p);
    fill(&folder, FILES, ROWS);
    // Between the moments in which something dies lie as many operations as are drawn.
    for dies in ["engine", "store", "engine", "store", "engine"] {
        let until = proxy.counted().1 + random.random_range(1..20_000);
        let process = folder.start_pipeline(&[]);
        process.until("some operations", || (proxy.counted().1 >= until).then_some(()));
        if dies == "store" {
            server.kill();
            process.says("query paused");
            server.start();
            // It goes on by itself.
            let before = proxy.counted().1;
            process.until("more operations", || (proxy.counted().1 > before).then_some(()));
        }
        process.signal(Signal::KILL);
        process.end();
    }
    run(&folder);
    let (most, _) = proxy.counted();
    assert!((2..=1024).contains(&most), "{most} operations were outstanding");
    let sums = hash(&server, &format!("{p}:sum"));
    assert_eq!(sums.len(), 97);
    for k in 0..97 {
        let expected: usize = (0..FILES * ROWS).filter(|id| id % 97 == k).sum();
        assert_eq!(sums[&k.to_string()], expected.to_string(), "sum of {k}");
    }
    let mut all = ::redis::Pipeline::new();
    for n in 0..FILES * ROWS {
        all.cmd("HGET").arg(format!("{p}:{n}")).arg("k");
    }
    let found: Vec<Option<usize>> = all.query(&mut server.client()).unwrap();
    assert_eq!(found, (0..FILES * ROWS).map(|n| Some(n % 97)).collect::<Vec<_>>());
}

#[test]
fn a_server_that_is_not_as_it_should_be_is_refused() {
    let at = |server: &Server, connection: &str, more: &str| {
        let p = prefix();
        let folder = writing(server, &p, "SELECT * FROM t", &format!("operation: put, key: \"{p}:{{k}}\"{more}"), "");
        let text = std::fs::read_to_string(folder.path("pipeline.yaml")).unwrap();
        let begin = format!("address: \"{}\"", server.address);
        folder.write("pipeline.yaml", text.replace(&begin, connection));
        folder.write("in/a.json", "{\"k\":\"a\"}\n");
        folder
    };
    let plain = |server: &Server| format!("address: \"{}\"", server.address);
    let forgetful = Server::own(&["--fsync", "everysec"]);
    let message = "may lose what it acknowledges: appendonly is \"yes\" and appendfsync is \"everysec\"";
    fails(&at(&forgetful, &plain(&forgetful), ""), 2, &[message, "durable: false"]);
    run(&at(&forgetful, &plain(&forgetful), ", durable: false"));

    let secure = Server::own(&["--secure"]);
    let (port, tls) = (secure.address.clone(), format!("localhost:{}", secure.port(1)));
    fails(&at(&secure, &format!("address: \"{port}\""), ""), 2, &["does not let us"]);
    let wrong = at(&secure, &format!("address: \"{port}\", password: hunter2"), "");
    fails(&wrong, 2, &["does not let us in"]);
    assert!(!wrong.start_pipeline(&[]).end().stderr.contains("hunter2"));
    run(&at(&secure, &format!("address: \"{port}\", password: secret"), ""));
    let certificates = format!("certificate: {}, key: {}", secure.file("client.pem"), secure.file("client.key"));
    let encrypted =
        |ca: &str, more: &str| format!("address: \"{tls}\", password: secret, tls: {{ ca: {}, {more} }}", secure.file(ca));
    run(&at(&secure, &encrypted("ca.pem", &certificates), ""));
    fails(&at(&secure, &encrypted("server.pem", &certificates), ""), 2, &["do not agree on TLS"]);
    fails(&at(&secure, &encrypted("ca.pem", ""), ""), 2, &["do not agree on TLS"]);
    fails(&at(&secure, &encrypted("nothing.pem", ""), ""), 2, &["could not read"]);
    fails(&at(&secure, &encrypted("client.key", ""), ""), 2, &["holds no certificate in PEM"]);

    let _: () = secure.tell(&["ACL", "SETUSER", "mute", "on", ">secret", "~*", "+@all", "-config"]);
    let mute = format!("address: \"{port}\", username: mute, password: secret");
    fails(&at(&secure, &mute, ""), 2, &["does not tell whether it keeps what it acknowledges", "durable: false"]);
    run(&at(&secure, &mute, ", durable: false"));
    let _: () = secure.tell(&["ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@all", "-hset"]);
    fails(&at(&secure, &format!("address: \"{port}\", username: reader, password: secret"), ""), 2, &["NOPERM"]);
    fails(&at(&secure, &format!("address: \"{port}\", password: secret, database: 99"), ""), 2, &["DB index is out of range"]);

    let gone = Server::own(&[]);
    let folder = at(&gone, &plain(&gone), "");
    gone.kill();
    fails(&folder, 75, &["cannot be reached"]);
    gone.start();
    run(&folder);
}

#[test]
fn a_server_that_cannot_just_now_is_waited_for() {
    let (server, p) = (Server::own(&[]), prefix());
    let folder = writing(&server, &p, "SELECT * FROM t", &format!("operation: put, key: \"{p}:{{k}}\""), "");
    let waits = |file: &str, before: &[&str], says: &str, after: &[&str]| {
        server.tell::<::redis::Value>(before);
        folder.write(&format!("in/{file}.json"), format!("{{\"k\":\"{file}\",\"n\":1}}\n"));
        let process = folder.start_pipeline(&[]);
        process.says(says);
        server.tell::<::redis::Value>(after);
        let ended = process.end();
        assert_eq!(ended.code, 0, "{ended:#?}");
        assert_eq!(hash(&server, &format!("{p}:{file}")).len(), 2);
    };
    waits("a", &["CONFIG", "SET", "maxmemory", "1"], "OOM", &["CONFIG", "SET", "maxmemory", "0"]);
    waits("b", &["CONFIG", "SET", "min-replicas-to-write", "1"], "NOREPLICAS", &["CONFIG", "SET", "min-replicas-to-write", "0"]);
    waits("c", &["REPLICAOF", "127.0.0.1", "1"], "READONLY", &["REPLICAOF", "NO", "ONE"]);
}

#[test]
fn replicas_that_are_asked_for_are_waited_for() {
    let (server, p) = (Server::own(&[]), prefix());
    let sink = format!("operation: atomic_add, key: \"{p}:{{k}}\", amount: n, replicas: 1, request_timeout: 300ms");
    let folder = writing(&server, &p, "SELECT * FROM t", &sink, "");
    folder.write("in/a.json", "{\"k\":\"a\",\"n\":7}\n");
    let process = folder.start_pipeline(&[]);
    process.says("of the 1 replicas");
    // What is in, but not with a replica, is not done again, nor taken for done.
    process.says("retry_in_s");
    let replica = Server::own(&["--replica-of", &server.port(0).to_string()]);
    let ended = process.end();
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(replica.tell::<i64>(&["GET", &format!("{p}:a")]), 7);
}

#[test]
fn a_function_goes_on_once_its_server_is_back() {
    let (server, p) = (Server::own(&[]), prefix());
    server.set(&[(&format!("{p}:a"), "7")]);
    let function = format!(
        "  score:\n    args: \"id STRING\"\n    returns: INT\n    redis: {{ connection: store, get: \"{p}:{{id}}\" }}\n    retry: {{ attempts: 1 }}\n"
    );
    let folder = super::printing(&server, "id STRING", &function, "SELECT score(id) AS score FROM t", "");
    folder.write("in/a.json", "{\"id\":\"a\"}\n");
    server.kill();
    let process = folder.start_pipeline(&[]);
    process.says("cannot be reached");
    server.start();
    let ended = process.end();
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert!(ended.stdout.contains("\"score\":7"), "{ended:#?}");
}
