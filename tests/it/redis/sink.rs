//! What the sink writes.

use std::collections::BTreeMap;

use super::super::binary::{Folder, fails};
use super::super::kafka::run;
use super::{Server, prefix};

/// A pipeline called `name` from files of rows (`k`, `n`, `d`, `s`) to Redis; `sink` are the sink's settings.
pub(super) fn writing(server: &Server, name: &str, sql: &str, sink: &str, more: &str) -> Folder {
    Folder::with(&format!(
        "version: 1\nname: {name}\ncheckpoint: checkpoint\nsources:\n  t:\n    from: {{ file: {{ path: in/*.json, max_files_per_trigger: 1 }} }}\n    \
         format: {{ json: {{ schema: \"k STRING, n BIGINT, d DOUBLE, s STRING\" }} }}\nconnections:\n  store: {{ redis: {{ address: \"{}\" }} }}\n\
         queries:\n  q:\n    sql: {sql}\n    trigger: available_now\n    to: {{ redis: {{ connection: store, {sink} }} }}\n{more}",
        server.address
    ))
}

pub(super) fn hash(server: &Server, key: &str) -> BTreeMap<String, String> {
    server.tell(&["HGETALL", key])
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn put_writes_columns_as_fields_and_nulls_as_none() {
    let (server, p) = (Server::shared(), prefix());
    let folder = writing(server, &p, "SELECT k, n, d, s FROM t", &format!("operation: put, key: \"{p}:{{k}}\""), "");
    folder.write("in/a.json", "{\"k\":\"a\",\"n\":1,\"d\":1.5,\"s\":\"x\"}\n{\"k\":\"b\",\"n\":2}\n");
    run(&folder);
    assert_eq!(hash(server, &format!("{p}:a")), pairs(&[("k", "a"), ("n", "1"), ("d", "1.5"), ("s", "x")]));
    assert_eq!(hash(server, &format!("{p}:b")), pairs(&[("k", "b"), ("n", "2")]));
    // The rows of a batch take effect in their order, and a null takes its field away.
    folder.write("in/b.json", "{\"k\":\"a\",\"n\":5,\"d\":2}\n{\"k\":\"a\",\"n\":6,\"s\":\"y\"}\n");
    run(&folder);
    assert_eq!(hash(server, &format!("{p}:a")), pairs(&[("k", "a"), ("n", "6"), ("s", "y")]));
    assert_eq!(server.tell::<i64>(&["TTL", &format!("{p}:a")]), -1);
    let mark: String = server.tell(&["GET", &format!("tidemill.{p}.q.redis")]);
    let parts: Vec<&str> = mark.split(';').collect();
    assert_eq!((parts[0], parts[1], parts[3], parts[4]), ("2", "v1", "1", "2"), "{mark}");
}

#[test]
fn put_writes_texts_and_json_as_strings() {
    let (server, p) = (Server::shared(), prefix());
    let text = format!("operation: put, key: \"{p}:{{k}}\", value: \"{{n}}/{{s}}\", ttl: 1 hour");
    let folder = writing(server, &p, "SELECT * FROM t", &text, "");
    folder.write("in/a.json", "{\"k\":\"a\",\"n\":1,\"s\":\"x\"}\n");
    run(&folder);
    assert_eq!(server.tell::<String>(&["GET", &format!("{p}:a")]), "1/x");
    assert!((3_500..=3_600).contains(&server.tell::<i64>(&["TTL", &format!("{p}:a")])));
    let json = format!("operation: put, key: \"{p}:{{k}}\" }}, format: json, name: {{");
    let folder = writing(server, &format!("{p}j"), "SELECT * FROM t", json.trim_end_matches(", name: {"), "");
    let pipeline = std::fs::read_to_string(folder.path("pipeline.yaml")).unwrap().replace("format: json } }", "format: json }");
    folder.write("pipeline.yaml", pipeline);
    folder.write("in/a.json", "{\"k\":\"b\",\"n\":1,\"s\":\"x\"}\n");
    run(&folder);
    assert_eq!(server.tell::<String>(&["GET", &format!("{p}:b")]), r#"{"k":"b","n":1,"s":"x"}"#);
}

#[test]
fn sets_numbers_conditions_and_deletions() {
    let (server, p) = (Server::shared(), prefix());
    let key = |name: &str| format!("{p}:{name}");
    let go = |name: &str, sink: &str, rows: &str| {
        let folder = writing(server, &format!("{p}-{name}"), "SELECT * FROM t", sink, "");
        folder.write("in/a.json", rows);
        run(&folder);
    };
    go(
        "set",
        &format!("operation: set_add, key: \"{p}:s{{k}}\", value: \"{{s}}\""),
        "{\"k\":\"a\",\"s\":\"x\"}\n{\"k\":\"a\",\"s\":\"y\"}\n",
    );
    let mut members: Vec<String> = server.tell(&["SMEMBERS", &key("sa")]);
    members.sort();
    assert_eq!(members, ["x", "y"]);
    let numbers = "{\"k\":\"a\",\"n\":2,\"d\":0.5,\"s\":\"f\"}\n{\"k\":\"a\",\"n\":3,\"d\":1.25,\"s\":\"g\"}\n";
    go("string", &format!("operation: atomic_add, key: \"{p}:n{{k}}\", amount: n"), numbers);
    assert_eq!(server.tell::<i64>(&["GET", &key("na")]), 5);
    go("field", &format!("operation: atomic_add, key: \"{p}:h{{k}}\", field: \"{{s}}\", amount: d"), numbers);
    assert_eq!(hash(server, &key("ha")), pairs(&[("f", "0.5"), ("g", "1.25")]));
    // Of two with the same key, the second one sees what the first one did.
    let rows = "{\"k\":\"a\",\"n\":1}\n{\"k\":\"b\",\"n\":2}\n{\"k\":\"a\",\"n\":3}\n";
    go("absent", &format!("operation: cond_put, key: \"{p}:c{{k}}\", if_absent: true, columns: [n]"), rows);
    assert_eq!((hash(server, &key("ca")), hash(server, &key("cb"))), (pairs(&[("n", "1")]), pairs(&[("n", "2")])));
    let rows = "{\"k\":\"a\",\"n\":7,\"s\":\"1\"}\n{\"k\":\"a\",\"n\":8,\"s\":\"7\"}\n{\"k\":\"b\",\"n\":9,\"s\":\"1\"}\n{\"k\":\"c\",\"n\":1}\n";
    go("equal", &format!("operation: cond_put, key: \"{p}:c{{k}}\", if: {{ n: \"{{s}}\" }}, columns: [n]"), rows);
    assert_eq!(
        [hash(server, &key("ca")), hash(server, &key("cb")), hash(server, &key("cc"))],
        [pairs(&[("n", "8")]), pairs(&[("n", "2")]), pairs(&[("n", "1")])]
    );
    go("delete", &format!("operation: delete, key: \"{p}:c{{k}}\""), "{\"k\":\"a\"}\n{\"k\":\"nobody\"}\n");
    assert_eq!(server.tell::<Vec<String>>(&["KEYS", &key("c*")]).len(), 2);
}

#[test]
fn a_batch_that_cannot_be_done_changes_nothing() {
    let (server, p) = (Server::shared(), prefix());
    let key = |name: &str| format!("{p}:{name}");
    server.tell::<i64>(&["RPUSH", &key("list"), "x"]);
    server.set(&[(&key("text"), "7x"), (&key("max"), "9223372036854775806")]);
    let refuses = |name: &str, sink: &str, rows: &str, expected: &str| {
        let folder = writing(server, &format!("{p}-{name}"), "SELECT * FROM t", sink, "");
        folder.write("in/a.json", format!("{{\"k\":\"before\",\"n\":1,\"s\":\"x\"}}\n{rows}"));
        fails(&folder, 1, &[expected]);
        assert_eq!(server.tell::<i64>(&["EXISTS", &key("before"), &format!("tidemill.{p}-{name}.q.redis")]), 0, "{name}");
    };
    let (put, add) =
        (format!("operation: put, key: \"{p}:{{k}}\""), format!("operation: atomic_add, key: \"{p}:{{k}}\", amount: n"));
    refuses(
        "put",
        &put,
        "{\"k\":\"list\",\"n\":1}\n",
        &format!("put cannot write the key \"{p}:list\": it holds a list, not a hash"),
    );
    let set = format!("operation: set_add, key: \"{p}:{{k}}\", value: \"{{s}}\"");
    refuses("set", &set, "{\"k\":\"text\",\"s\":\"x\"}\n", "it holds a string, not a set");
    refuses("add", &add, "{\"k\":\"text\",\"n\":1}\n", "what it holds is no whole number");
    refuses("list", &add, "{\"k\":\"list\",\"n\":1}\n", "it holds something else than numbers");
    refuses("max", &add, "{\"k\":\"max\",\"n\":1}\n{\"k\":\"max\",\"n\":1}\n", "the sum would be out of range");
    assert_eq!(server.tell::<String>(&["GET", &key("max")]), "9223372036854775806");
    refuses("key", &put, "{\"n\":1}\n", "has a null in it");
    refuses("null", &add, "{\"k\":\"b\"}\n", "a row's amount, the column n, is null");
    let float = format!("operation: atomic_add, key: \"{p}:{{k}}\", amount: d");
    refuses("nan", &float, "{\"k\":\"b\",\"d\":\"NaN\"}\n", "is null");
}
