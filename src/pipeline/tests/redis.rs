use expect_test::expect;

use super::*;

const STORE: &str =
    "connections: { store: { redis: { address: \"localhost:6379\" } }, main: { kafka: { bootstrap_servers: \"b:1\" } } }\n";

fn check_function(redis: &str, expected: Expect) {
    check(
        &format!("{RATE}{QUERY}{STORE}functions:\n  f: {{ args: \"id INT\", returns: STRING, redis: {{ {redis} }} }}\n"),
        expected,
    );
}

fn sink(redis: &str, beside: &str) -> String {
    format!(
        "{RATE}{STORE}checkpoint: c\nqueries:\n  q:\n    sql: SELECT * FROM r\n    {beside}\n    to: {{ redis: {{ connection: store, {redis} }} }}\n"
    )
}

fn check_sink(redis: &str, expected: Expect) {
    check(&sink(redis, "trigger: once"), expected);
}

#[test]
fn functions_of_redis_read_and_nothing_else() {
    for write in ["set", "INCR", "hset", "atomic_add", "del"] {
        let text = format!(
            "{RATE}{QUERY}{STORE}functions:\n  f: {{ args: \"id INT\", returns: INT, redis: {{ connection: store, {write}: \"a:{{id}}\" }} }}\n"
        );
        let problems = read_with(&text, &[]).unwrap_err().to_string();
        let expected = "; functions only read, as a planned batch may run twice: what writes is the sink redis";
        assert!(problems.contains(expected), "{problems}");
    }
    check_function(
        "connection: store, gett: \"a\"",
        expect![[r#"
        p.yaml:5:41: functions.f.redis: expected get, hash or members: the key to read
        p.yaml:5:69: functions.f.redis: unknown setting "gett"; did you mean get?"#]],
    );
    check_function(
        "connection: store, get: a, members: b",
        expect!["p.yaml:5:77: functions.f.redis: expected one of get, hash and members, found get and members"],
    );
    check_function("connection: store, get: a, field: b", expect!["p.yaml:5:77: functions.f.redis.field: goes with hash only"]);
    check_function(
        "connection: store",
        expect!["p.yaml:5:41: functions.f.redis: expected get, hash or members: the key to read"],
    );
    check_function(
        "connection: stor, get: a",
        expect![[r#"p.yaml:5:50: functions.f.redis.connection: there is no "stor" under connections; did you mean store?"#]],
    );
    check_function(
        "connection: main, get: a",
        expect![[r#"p.yaml:5:50: functions.f.redis.connection: "main" is a connection of kafka, not of redis"#]],
    );
    check_function(
        "connection: store, get: \"{nobody}\"",
        expect![[r#"p.yaml:5:69: functions.f.redis.get: there is no argument "nobody""#]],
    );
}

#[test]
fn what_a_redis_sink_is_told_goes_together() {
    read(&sink("operation: put, key: \"a:{value}\"", "output_mode: append"));
    check_sink(
        "operation: put",
        expect!["p.yaml:8:11: queries.q.to.redis: expected key: text, in which {argument} stands for an argument"],
    );
    check_sink(
        "operation: incr, key: a",
        expect![[
            r#"p.yaml:8:50: queries.q.to.redis.operation: expected put, set_add, atomic_add, cond_put or delete, found "incr""#
        ]],
    );
    check_sink(
        "operation: put, key: a, amount: b, if_absent: true",
        expect![[r#"
        p.yaml:8:63: queries.q.to.redis.amount: goes with operation: atomic_add only
        p.yaml:8:74: queries.q.to.redis.if_absent: goes with operation: cond_put only"#]],
    );
    check_sink(
        "operation: put, key: a, columns: [b], value: c",
        expect!["p.yaml:8:77: queries.q.to.redis.value: goes without columns only"],
    );
    check_sink("operation: set_add, key: a", expect!["p.yaml:8:11: queries.q.to.redis: expected value: the member"]);
    check_sink(
        "operation: atomic_add, key: a",
        expect!["p.yaml:8:11: queries.q.to.redis: expected amount: the column with the number"],
    );
    check_sink(
        "operation: cond_put, key: a",
        expect!["p.yaml:8:11: queries.q.to.redis: expected if_absent: true, or if: the values that fields must have"],
    );
    check_sink(
        "operation: cond_put, key: a, if: {}",
        expect!["p.yaml:8:11: queries.q.to.redis: expected if_absent: true, or if: the values that fields must have"],
    );
    check_sink(
        "operation: cond_put, key: a, if: { b: c }, if_absent: true",
        expect!["p.yaml:8:82: queries.q.to.redis.if_absent: goes without if only"],
    );
    check_sink(
        "operation: cond_put, key: a, if: { b: c }, value: d",
        expect!["p.yaml:8:68: queries.q.to.redis.if: compares fields of a hash: columns are put then, and no value"],
    );
    check_sink(
        "operation: delete, key: a, ttl: 5s, chunk_size: 1025",
        expect![[r#"
        p.yaml:8:66: queries.q.to.redis.ttl: goes with operation: put, set_add, atomic_add, cond_put only
        p.yaml:8:87: queries.q.to.redis.chunk_size: expected a whole number from 1 to 1024, found "1025""#]],
    );
    check(
        &sink("operation: atomic_add, key: a, amount: value", "output_mode: update"),
        expect![
            "p.yaml:7:5: [STREAMING_OUTPUT_MODE.UNSUPPORTED_DATASOURCE] queries.q.output_mode: invalid streaming output mode: update. This output mode is not supported by the sink redis with operation: atomic_add, which would add each result again"
        ],
    );
    check(
        &sink("operation: put, key: a", "trigger: once").replace("checkpoint: c\n", ""),
        expect!["p.yaml:7:5: checkpoint must be specified: query q writes to Redis, and a restart must know which"],
    );
    check(
        &sink("operation: put, key: a } , format: { csv: {}", "trigger: once"),
        expect![[r#"p.yaml:8:66: queries.q.to.format: expected json or nothing for redis, found "csv""#]],
    );
}

#[test]
fn each_redis_sink_has_a_mark_of_its_own() {
    let two = sink(
        "operation: delete, key: a, marker: m } }\n      - { redis: { connection: store, operation: delete, key: b, marker: m",
        "trigger: once",
    );
    check(
        &two.replace("to: {", "to:\n      - {").replace("m } }\n      - {", "m }, name: one }\n      - {"),
        expect![[
            r#"p.yaml:10:66: queries.q.to[1].redis.marker: queries.q.redis and queries.q.one have the marker "m"; each sink needs its own"#
        ]],
    );
}

#[test]
fn passwords_are_never_shown() {
    let text = sink("operation: delete, key: a", "trigger: once")
        .replace("\"localhost:6379\"", "\"h:1\", password: hunter2, username: me, tls: {}");
    let shown = format!("{:?}", read(&text));
    assert!(!shown.contains("hunter2") && shown.contains("tls: Some"), "{shown}");
}
