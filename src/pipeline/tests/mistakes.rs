use expect_test::expect;

use std::time::Duration;

use super::*;
use crate::error::{Error, ErrorKind};
use crate::sink::metric::MetricSettings;

#[test]
fn an_empty_file_misses_what_a_pipeline_needs() {
    check(
        "",
        expect![[r#"
        p.yaml: expected sources: a map from names to settings
        p.yaml: expected queries: a map from names to settings"#]],
    );
    check("- a", expect!["p.yaml:1:1: expected a map of settings, found a list"]);
    check("just text", expect![[r#"p.yaml:1:1: expected a map of settings, found "just text""#]]);
    check(
        "sources: {}\nqueries: {}",
        expect![[r#"
        p.yaml:1:1: sources: expected at least one
        p.yaml:2:1: queries: expected at least one"#]],
    );
    check(
        "sources:\nqueries: [a]",
        expect![[r#"
        p.yaml:1:1: sources: expected at least one
        p.yaml:2:10: queries: expected a map from names to settings, found a list"#]],
    );
}

#[test]
fn what_is_no_yaml_says_where() {
    check("sources: {", expect!["p.yaml:2:1: not valid YAML: while parsing a node, did not find expected node content"]);
    check("a: b: c", expect!["p.yaml:1:5: not valid YAML: mapping values are not allowed in this context"]);
    check("a: \"\\q\"", expect!["p.yaml:1:4: not valid YAML: while parsing a quoted scalar, found unknown escape character"]);
    check("? [a]\n: b", expect!["p.yaml:1:3: expected a key, found a list or map"]);
    check("---\na: 1\n---\nb: 2", expect!["p.yaml:3:1: expected one YAML document, found a second"]);
}

#[test]
fn repeated_keys_tags_and_merges_are_refused() {
    check(&format!("{RATE}{QUERY}name: a\nname: b"), expect![[r#"p.yaml:4:1: "name" is given twice, first on line 3"#]]);
    check(
        &format!("{RATE}queries: {{ q: {{ sql: A, to: console, sql: B }}, q: {{ sql: C, to: console }} }}"),
        expect![[r#"
        p.yaml:2:38: "sql" is given twice, first on line 2
        p.yaml:2:48: "q" is given twice, first on line 2"#]],
    );
    check(&format!("{RATE}{QUERY}name: !!str a"), expect!["p.yaml:3:7: YAML tags are not supported"]);
    check(
        &format!("{RATE}queries:\n  a: &a {{ sql: A, to: console }}\n  b:\n    <<: *a\n    sql: B\n    to: console"),
        expect![[r#"p.yaml:5:5: queries.b: unknown setting "<<"; merge keys are not supported, write the settings out"#]],
    );
}

#[test]
fn unknown_keys_get_the_nearest_known_one() {
    check(&format!("{RATE}{QUERY}sorces: {{}}"), expect![[r#"p.yaml:3:1: unknown setting "sorces"; did you mean sources?"#]]);
    check(
        &format!("{RATE}{QUERY}json_depth: 3"),
        expect![[r#"p.yaml:3:1: unknown setting "json_depth"; it belongs to: Limits"#]],
    );
    check(
        &format!("{RATE}{QUERY}zebra: {{}}"),
        expect![[
            r#"p.yaml:3:1: unknown setting "zebra"; known here: version, name, checkpoint, time_zone, sources, tables, views, functions, queries, limits, service, connections"#
        ]],
    );
    check(
        &format!("{RATE}{QUERY}limits: {{ state-memory: 1, jsondepth: 2, path: x }}"),
        expect![[r#"
            p.yaml:3:11: limits: unknown setting "state-memory"; did you mean state_memory?
            p.yaml:3:28: limits: unknown setting "jsondepth"; did you mean json_depth?
            p.yaml:3:42: limits: unknown setting "path"; known here: state_memory, ingest_log, stage, line, json_depth, connections, calls_in_flight, calls_in_flight_per_query"#]],
    );
    check_source(
        "    from: { sockt: {} }",
        expect![[r#"p.yaml:3:13: sources.s.from: unknown connector "sockt"; did you mean socket?"#]],
    );
    check_source(
        "    from: { kinesis: { stream: x } }",
        expect![[r#"p.yaml:3:13: sources.s.from: unknown connector "kinesis"; known here: socket, http, file, kafka, rate"#]],
    );
    check_source(
        "    from: { memory: {} }",
        expect![[r#"p.yaml:3:13: sources.s.from: unknown connector "memory"; memory is for programs, through the Rust API"#]],
    );
    check_source(
        "    from: rate\n    refresh: when_changed",
        expect![[r#"p.yaml:4:5: sources.s: unknown setting "refresh"; it belongs to: A table"#]],
    );
    check_source(
        "    from: { file: { path: x } }\n    format: jsn",
        expect![[r#"p.yaml:4:13: sources.s.format: unknown format "jsn"; did you mean json?"#]],
    );
    check_source(
        "    from: { file: { path: x } }\n    format: { text: { schema: a INT } }",
        expect![[r#"p.yaml:4:23: sources.s.format.text: unknown setting "schema"; nothing is set here"#]],
    );
    check_query(
        "    to: { console: {}, watermark_policy: min }",
        expect![[r#"p.yaml:6:24: queries.q.to: unknown connector or setting "watermark_policy"; it belongs to: A query"#]],
    );
}

#[test]
fn sparks_names_are_answered_with_ours() {
    check(
        &format!(
            "checkpointLocation: x\n{RATE}queries: {{ q: {{ sql: S, outputMode: append, queryName: n, to: {{ console: {{ numRows: 3 }} }} }} }}"
        ),
        expect![[r#"
            p.yaml:1:1: unknown setting "checkpointLocation"; Spark's checkpointLocation is here checkpoint, at the top of the file
            p.yaml:3:25: queries.q: unknown setting "outputMode"; Spark's outputMode is here output_mode, in the query
            p.yaml:3:45: queries.q: unknown setting "queryName"; Spark's queryName is here the key of the query under queries
            p.yaml:3:76: queries.q.to.console: unknown setting "numRows"; Spark's numRows is here num_rows, in to.console"#]],
    );
    check_source(
        "    from: { socket: { host: localhost, port: 5555, includeTimestamp: true } }",
        expect![[r#"
        p.yaml:3:13: sources.s.from.socket: expected connect: "host:port" or listen: "host:port"
        p.yaml:3:23: sources.s.from.socket: unknown setting "host"; Spark's host is here connect: "host:port", in from.socket
        p.yaml:3:40: sources.s.from.socket: unknown setting "port"; Spark's port is here connect: "host:port", in from.socket
        p.yaml:3:52: sources.s.from.socket: unknown setting "includeTimestamp"; Spark's includeTimestamp is here include_timestamp, in from.socket"#]],
    );
    check_source(
        "    from: { file: { path: x, maxFilesPerTrigger: 1, cleanSource: off, latestFirst: true, maxfileage: 1h } }",
        expect![[r#"
            p.yaml:3:30: sources.s.from.file: unknown setting "maxFilesPerTrigger"; Spark's maxFilesPerTrigger is here max_files_per_trigger, in from.file
            p.yaml:3:53: sources.s.from.file: unknown setting "cleanSource"; Spark's cleanSource is here clean_source, in from.file
            p.yaml:3:71: sources.s.from.file: unknown setting "latestFirst"; Spark's latestFirst has no counterpart here
            p.yaml:3:90: sources.s.from.file: unknown setting "maxfileage"; Spark's maxFileAge is here max_file_age, in from.file"#]],
    );
    check_source(
        "    from: { rate: { rowsPerSecond: 1, numPartitions: 2, minPartitions: 4 } }",
        expect![[r#"
        p.yaml:3:21: sources.s.from.rate: unknown setting "rowsPerSecond"; Spark's rowsPerSecond is here rows_per_second, in from.rate
        p.yaml:3:39: sources.s.from.rate: unknown setting "numPartitions"; Spark's numPartitions has no counterpart here
        p.yaml:3:57: sources.s.from.rate: unknown setting "minPartitions"; Spark's minPartitions has no counterpart here"#]],
    );
    check_query(
        "    to: console\n    trigger: { processingTime: 2 seconds }",
        expect![
            "p.yaml:7:14: queries.q.trigger: expected an interval such as 2 seconds, as_fast_as_possible, available_now or once, found a map; Spark's processingTime is here trigger, in the query: trigger: 2 seconds"
        ],
    );
}

#[test]
fn wrong_values_say_what_was_expected() {
    check_source(
        "    from: { socket: { connect: localhost, durable: maybe, max_rows_per_trigger: 0, connect_timeout: 0s } }\n    on_malformed: permisive",
        expect![[r#"
            p.yaml:3:32: sources.s.from.socket.connect: expected host:port, found "localhost"
            p.yaml:3:52: sources.s.from.socket.durable: expected true or false, found "maybe"
            p.yaml:3:81: sources.s.from.socket.max_rows_per_trigger: expected a whole number of at least 1, found "0"
            p.yaml:3:101: sources.s.from.socket.connect_timeout: expected a duration of at least 1ms, found "0s"
            p.yaml:4:19: sources.s.on_malformed: expected permissive, drop or fail, found "permisive"; did you mean permissive?"#]],
    );
    check_source(
        "    from: { rate: { rows_per_second: -1 } }",
        expect![[
            r#"p.yaml:3:38: sources.s.from.rate.rows_per_second: expected a whole number from 1 to 1000000000, found "-1""#
        ]],
    );
    check_source(
        "    from: { rate: { rows_per_second: [1] } }",
        expect!["p.yaml:3:38: sources.s.from.rate.rows_per_second: expected a whole number from 1 to 1000000000, found a list"],
    );
    check_source(
        "    from: { file: { path: ~ } }",
        expect!["p.yaml:3:27: sources.s.from.file.path: expected a path, found nothing"],
    );
    check_source(
        "    from: { file: { path: \"in/[a\" } }",
        expect![
            "p.yaml:3:21: sources.s.from.file.path: expected a path or a glob such as in/*.json: unclosed character class; missing ']'"
        ],
    );
    check_query(
        "    to: { console: { truncate: wide, num_rows: many } }\n    scope: batch",
        expect![[r#"
        p.yaml:6:32: queries.q.to.console.truncate: expected true, false or a number of characters, found "wide"
        p.yaml:6:48: queries.q.to.console.num_rows: expected a whole number from 0 to 1000000, found "many"
        p.yaml:7:12: queries.q.scope: expected query or micro_batch, found "batch""#]],
    );
    check(
        &format!("version: 2\nname: 1st\ntime_zone: Europe/Roma\n{RATE}{QUERY}"),
        expect![[r#"
        p.yaml:1:10: version: expected 1, found "2"
        p.yaml:2:7: name: expected a name (a letter, then at most 99 letters, digits, _ or -), found "1st"
        p.yaml:3:12: time_zone: expected a time zone such as UTC, Europe/Rome or +02:00, found "Europe/Roma"; did you mean Europe/Rome?"#]],
    );
    check(
        &format!("{RATE}{QUERY}limits: {{ state_memory: 64 M, line: 2 GiB, json_depth: 1001, ingest_log: 4 EiB }}"),
        expect![[r#"
        p.yaml:3:25: limits.state_memory: expected a size such as 64 MiB, 1 GiB or 1000, found "64 M"
        p.yaml:3:37: limits.line: expected a size from 1 B to 1 GiB, found "2 GiB"
        p.yaml:3:56: limits.json_depth: expected a whole number from 1 to 1000, found "1001"
        p.yaml:3:74: limits.ingest_log: expected a size such as 64 MiB, 1 GiB or 1000, found "4 EiB""#]],
    );
    check(
        &format!("{RATE}{QUERY}limits: {{ line: 2 MiB, ingest_log: 1 MiB }}"),
        expect!["p.yaml:3:11: limits.line: expected at most limits.ingest_log, which could not hold such a line"],
    );
    check(&format!("{RATE}{QUERY}limits: 5"), expect![[r#"p.yaml:3:9: limits: expected a map of settings, found "5""#]]);
}

#[test]
fn addresses_are_checked() {
    for address in
        ["localhost", ":5555", "localhost:", "localhost:99999", "localhost:-1", "::1:5555", "[::1", "[x]:1", "a b:1", "h:0"]
    {
        let text = format!("sources: {{ s: {{ from: {{ socket: {{ connect: \"{address}\" }} }} }} }}\n{QUERY}");
        assert!(read_with(&text, &[]).is_err(), "{address}");
    }
    check_source(
        "    from: { socket: {} }",
        expect![[r#"p.yaml:3:13: sources.s.from.socket: expected connect: "host:port" or listen: "host:port""#]],
    );
    check_source(
        "    from: { socket: { connect: \"h:0\" } }",
        expect!["p.yaml:3:23: sources.s.from.socket.connect: expected a port of 1 to 65535"],
    );
    check_source(
        "    from: { socket: { connect: \"h:1\", listen: \"h:2\" } }",
        expect!["p.yaml:3:39: sources.s.from.socket: expected one of connect and listen, found both"],
    );
    check_source(
        "    from: { socket: { connect: \"h:1\", allow_from: 10.0.0.0/8 } }",
        expect!["p.yaml:3:39: sources.s.from.socket.allow_from: goes with listen only"],
    );
    check_source(
        "    from: { socket: { listen: \"h:1\", allow_from: [here], connect_timeout: 1s } }",
        expect![[r#"
        p.yaml:3:51: sources.s.from.socket.allow_from: expected a network such as 10.0.0.0/8, an address, or a list of them, found "here"
        p.yaml:3:58: sources.s.from.socket.connect_timeout: goes with connect only"#]],
    );
}

#[test]
fn a_map_has_exactly_one_connector() {
    check_source(
        "    from: { rate: {}, file: { path: x } }",
        expect!["p.yaml:3:23: sources.s.from: expected one connector, found rate and file"],
    );
    check_source("    from: {}", expect!["p.yaml:3:5: sources.s.from: expected a connector: socket, http, file, kafka or rate"]);
    check_source(
        "    format: text",
        expect!["p.yaml:2:3: sources.s: expected from: a connector: socket, http, file, kafka or rate"],
    );
    check_query(
        "    to: { name: x }",
        expect!["p.yaml:6:5: queries.q.to: expected a connector: console, file, kafka, redis, discard or metric"],
    );
    check_query("    to: []", expect!["p.yaml:6:9: queries.q.to: expected a map or a list of maps, found a list"]);
    check_query(
        "    to: [console, ~, [discard]]",
        expect![[r#"
            p.yaml:6:19: queries.q.to[1]: expected a connector: console, file, kafka, redis, discard or metric
            p.yaml:6:22: queries.q.to[2]: expected a connector: console, file, kafka, redis, discard or metric, found a list"#]],
    );
}

#[test]
fn settings_fit_their_neighbours() {
    check_source(
        "    from: rate\n    format: text\n    on_malformed: drop",
        expect![[r#"
        p.yaml:4:5: sources.s.format: rate makes rows of its own: there is nothing to decode
        p.yaml:5:5: sources.s.on_malformed: rate makes rows of its own: there is nothing to decode"#]],
    );
    check_source(
        "    from: { socket: { connect: \"h:1\", include_timestamp: true } }\n    format: { json: { schema: a INT } }",
        expect![
            "p.yaml:3:39: sources.s.from.socket.include_timestamp: goes with format: text only; name the column _received_at in SQL instead"
        ],
    );
    check_source(
        "    from: { socket: { connect: \"h:1\" } }\n    format: { csv: { schema: a INT, header: true } }",
        expect!["p.yaml:4:37: sources.s.format.csv.header: files have headers, what is sent line by line has none"],
    );
    check_source(
        "    from: { file: { path: x, clean_source: archive } }",
        expect!["p.yaml:3:30: sources.s.from.file: expected archive_to: the folder that clean_source: archive moves files into"],
    );
    check_source(
        "    from: { file: { path: x, archive_to: y } }",
        expect!["p.yaml:3:30: sources.s.from.file.archive_to: goes with clean_source: archive only"],
    );
    check_source(
        "    from: { file: { path: x, tail: true, clean_source: delete } }",
        expect!["p.yaml:3:30: sources.s.from.file.tail: a file that is followed is never finished, so clean_source must be off"],
    );
    check_source(
        "    from: { file: { path: x } }\n    format: json",
        expect![[r#"p.yaml:4:13: sources.s.format.json: expected schema: columns such as "name STRING, amount DOUBLE""#]],
    );
    check_source(
        "    from: { file: { path: x } }\n    format: parquet",
        expect![[r#"p.yaml:4:13: sources.s.format: unknown format "parquet"; known here: json, text, csv"#]],
    );
    check_source(
        "    from: { file: { path: x } }\n    format: { csv: { schema: a INT, separator: \"\", quote: ab, escape: \"é\" } }",
        expect![[r#"
            p.yaml:4:37: sources.s.format.csv.separator: expected one ASCII character, found nothing
            p.yaml:4:59: sources.s.format.csv.quote: expected one ASCII character, or "" for none, found "ab"
            p.yaml:4:71: sources.s.format.csv.escape: expected one ASCII character, or "" for none, found "é""#]],
    );
    check_source(
        "    from: { file: { path: x } }\n    format: { csv: { schema: a INT, quote: \",\" } }",
        expect!["p.yaml:4:37: sources.s.format.csv.quote: expected another character than the separator"],
    );
}

#[test]
fn schemas_are_checked() {
    check_source(
        "    from: { file: { path: x } }\n    format: { json: { schema: \"a INTEGR\" } }",
        expect![[
            r#"p.yaml:4:31: sources.s.format.json.schema: expected columns as "name STRING, amount DOUBLE": [UNSUPPORTED_DATATYPE] unknown data type "integr" at column 3, did you mean integer?"#
        ]],
    );
    check_source(
        "    from: { file: { path: x } }\n    format: { json: { schema: \"\" } }",
        expect!["p.yaml:4:31: sources.s.format.json.schema: expected at least one column"],
    );
    check_source(
        "    from: { file: { path: x } }\n    format: { json: { schema: { a: int } } }",
        expect![[
            r#"p.yaml:4:31: sources.s.format.json.schema: expected columns such as "name STRING, amount DOUBLE", found a map"#
        ]],
    );
}

#[test]
fn names_are_names_and_differ() {
    check(
        "sources: { a: { from: rate }, 1a: { from: rate }, \"a b\": { from: rate } }\ntables: { A: { from: { file: { path: x } }, \
             format: text } }\nviews: { é: { sql: S }, a: { sql: S } }\nqueries: { q: { sql: S, to: console }, Q: { sql: S, to: console } }\n",
        expect![[r#"
            p.yaml:1:31: sources: expected a name (a letter, then at most 99 letters, digits, _ or -), found "1a"
            p.yaml:1:51: sources: expected a name (a letter, then at most 99 letters, digits, _ or -), found "a b"
            p.yaml:2:11: tables.A: the name is taken by sources.a; names differ in more than case
            p.yaml:3:10: views: expected a name (a letter, then at most 99 letters, digits, _ or -), found "é"
            p.yaml:3:25: views.a: the name is taken by sources.a; names differ in more than case
            p.yaml:4:40: queries.Q: the name is taken by queries.q; names differ in more than case"#]],
    );
    check(
        &format!("{RATE}queries: {{ {}: {{ sql: S, to: console }} }}", "a".repeat(101)),
        expect![[
            r#"p.yaml:2:12: queries: expected a name (a letter, then at most 99 letters, digits, _ or -), found "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…""#
        ]],
    );
    check_query(
        "    to: [console, { console: {}, name: CONSOLE }, { discard: {}, name: dead_letter }]",
        expect![[r#"
        p.yaml:6:34: queries.q.to[1].name: two sinks of the query are called CONSOLE; give one of them another name
        p.yaml:6:66: queries.q.to[2].name: the name dead_letter is kept for the query's dead letter"#]],
    );
}

#[test]
fn files_that_gather_batches_are_done_at_some_point() {
    check_query(
        "    to: { file: { path: out, roll: {} }, format: json }",
        expect!["p.yaml:6:30: queries.q.to.file.roll: expected rows, bytes or age: when a file is done"],
    );
    check_query(
        "    to: { file: { path: out, roll: { rows: 0, bytes: 5 XB, age: 3, aeg: 1 s } }, format: json }",
        expect![[r#"
            p.yaml:6:44: queries.q.to.file.roll.rows: expected a whole number of at least 1, found "0"
            p.yaml:6:54: queries.q.to.file.roll.bytes: expected a size such as 64 MiB, 1 GiB or 1000, found "5 XB"
            p.yaml:6:65: queries.q.to.file.roll.age: expected a duration such as 2s, 500ms, 5 minutes or 1h 30m, found "3"
            p.yaml:6:68: queries.q.to.file.roll: unknown setting "aeg"; known here: rows, bytes, age"#]],
    );
    check_query(
        "    to: { console: { roll: { rows: 1 } }, format: json }",
        expect![[r#"p.yaml:6:22: queries.q.to.console: unknown setting "roll"; it belongs to: Sink file"#]],
    );
}

#[test]
fn spark_refuses_the_same_output_modes() {
    check_query(
        "    to: console\n    output_mode: upsert",
        expect![[
            r#"p.yaml:7:18: [STREAMING_OUTPUT_MODE.INVALID] queries.q.output_mode: invalid streaming output mode: "upsert". Accepted output modes are 'Append', 'Complete', 'Update'"#
        ]],
    );
    check_query(
        "    to: { file: { path: out }, format: json }\n    output_mode: update",
        expect![
            "p.yaml:7:5: [STREAMING_OUTPUT_MODE.UNSUPPORTED_DATASOURCE] queries.q.output_mode: invalid streaming output mode: update. This output mode is not supported by the sink file, which appends"
        ],
    );
    check_query(
        "    to: console\n    output_mode: complete\n    scope: micro_batch",
        expect![
            "p.yaml:7:5: [STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION] queries.q.output_mode: invalid streaming output mode: complete. This output mode is not supported for scope: micro_batch, which keeps no result"
        ],
    );
    let problems = read_with(&format!("{RATE}{QUERY}"), &["queries.q.output_mode=all"]).expect_err("no such mode");
    let error = Error::from(problems);
    assert_eq!((error.kind(), error.condition()), (ErrorKind::Config, Some("STREAMING_OUTPUT_MODE.INVALID")));
    assert_eq!(error.chain().matches("Accepted output modes").count(), 1);
}

#[test]
fn triggers_are_checked() {
    check_query(
        "    to: console\n    trigger: sometimes",
        expect![[
            r#"p.yaml:7:14: queries.q.trigger: expected an interval such as 2 seconds, as_fast_as_possible, available_now or once, found "sometimes""#
        ]],
    );
    check_query(
        "    to: console\n    trigger: availableNow",
        expect![[
            r#"p.yaml:7:14: queries.q.trigger: expected an interval such as 2 seconds, as_fast_as_possible, available_now or once, found "availableNow"; did you mean available_now?"#
        ]],
    );
    check_query(
        "    to: console\n    trigger: -2 seconds",
        expect!["p.yaml:7:14: queries.q.trigger: the interval of trigger should not be negative"],
    );
    check_query(
        "    to: console\n    trigger: 1 month",
        expect![[r#"p.yaml:7:14: queries.q.trigger: doesn't support month or year interval: "1 month""#]],
    );
    check_query(
        "    to: console\n    trigger: 2",
        expect![[
            r#"p.yaml:7:14: queries.q.trigger: expected an interval such as 2 seconds, as_fast_as_possible, available_now or once, found "2""#
        ]],
    );
}

#[test]
fn sinks_are_checked() {
    check_query(
        "    to: { file: { path: out } }",
        expect!["p.yaml:6:5: queries.q.to: expected format: json, csv or parquet for the sink file"],
    );
    check_query(
        "    to: { file: { path: out }, format: text }",
        expect![[r#"p.yaml:6:40: queries.q.to.format: unknown format "text"; known here: json, csv, parquet"#]],
    );
    check_query(
        "    to: { console: {}, format: csv }",
        expect![[r#"p.yaml:6:24: queries.q.to.format: expected json or nothing for the console, found "csv""#]],
    );
    check_query(
        "    to: { discard: {}, format: json }",
        expect!["p.yaml:6:24: queries.q.to.format: discard writes nothing and takes no format"],
    );
    check_query(
        "    to: { memory: {} }",
        expect![[
            r#"p.yaml:6:11: queries.q.to: unknown connector or setting "memory"; memory is for programs, through the Rust API"#
        ]],
    );
    check_query(
        "    to: { file: { path: out, partition_by: [a, A, \"\"] }, format: json }",
        expect!["p.yaml:6:51: queries.q.to.file.partition_by: expected a column or a list of columns, found nothing"],
    );
    check_query(
        "    to: { console: {}, select: \"\" }\n    dead_letter: { console: {}, name: x }",
        expect![[r#"
            p.yaml:6:32: queries.q.to.select: expected SQL, found nothing
            p.yaml:7:33: queries.q.dead_letter: unknown connector or setting "name"; known here: console, file, kafka, redis, discard, format"#]],
    );
}

#[test]
fn a_checkpoint_is_asked_for_where_something_lasts() {
    check(
        &format!("{RATE}queries: {{ q: {{ sql: S, to: {{ file: {{ path: o }}, format: json }} }} }}"),
        expect!["p.yaml:2:25: checkpoint must be specified: query q writes files, and a restart must know which"],
    );
    check(
        &format!("{RATE}queries: {{ q: {{ sql: S, to: console, dead_letter: {{ file: {{ path: o }}, format: json }} }} }}"),
        expect!["p.yaml:2:38: checkpoint must be specified: query q writes files, and a restart must know which"],
    );
    check_source(
        "    from: { socket: { connect: \"h:1\", durable: true } }",
        expect!["p.yaml:3:39: checkpoint must be specified: source s says durable: true"],
    );
    let socket = read(&format!("sources: {{ s: {{ from: {{ socket: {{ connect: \"h:1\" }} }} }} }}\n{QUERY}"));
    assert_eq!(socket.checkpoint, CheckpointRoot::Temporary);
}

#[test]
fn what_is_written_is_not_read_or_written_over() {
    check(
        "checkpoint: state\nsources: { s: { from: { file: { path: in, clean_source: archive, archive_to: ./in } } } }\nqueries:\n  \
         a: { sql: S, to: [{ file: { path: ./x/../in }, format: json }, { file: { path: out/ }, format: json, name: b }] }\n  \
         b: { sql: S, to: { file: { path: out }, format: json }, dead_letter: { file: { path: state/bad }, format: json } }\n",
        expect![[r#"
            p.yaml:2:66: sources.s.from.file.archive_to: source s reads there: it would read what is written
            p.yaml:4:31: queries.a.to[0].file.path: source s reads there: it would read what is written
            p.yaml:5:30: queries.b.to.file.path: query a writes there too; two sinks cannot share a folder
            p.yaml:5:82: queries.b.dead_letter.file.path: lies inside the checkpoint"#]],
    );
    for (glob, out, refused) in [
        ("in/*.json", "in", true),
        ("in/*.txt", "in", false),
        ("in/*.json", "in/sub", false),
        ("in/**/*.json", "in/sub", true),
        ("*/part*", "in", true),
        ("in", "in/sub", false),
        ("in", "input", false),
    ] {
        let text = format!(
            "checkpoint: c\nsources: {{ s: {{ from: {{ file: {{ path: \"{glob}\" }} }} }} }}\nqueries: {{ q: {{ sql: S, to: {{ file: {{ path: \
             {out} }}, format: json }} }} }}"
        );
        assert_eq!(read_with(&text, &[]).is_err(), refused, "{glob} {out}");
    }
}

#[test]
fn a_link_to_the_input_is_the_input() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("in")).expect("created");
    std::os::unix::fs::symlink("in", folder.path().join("link")).expect("linked");
    let text = "checkpoint: c\nsources: { s: { from: { file: { path: in } } } }\nqueries: { q: { sql: S, to: { file: { path: link }, format: json } } }";
    assert!(parse(text, "p.yaml", folder.path(), &[], &|_| None).is_err());
}

#[test]
fn each_kafka_sink_has_a_transactional_id_of_its_own() {
    let sink = |more: &str| format!("{{ kafka: {{ bootstrap_servers: \"b:1\", topic: t{more} }}, format: json }}");
    let queries = |one: &str, two: &str| {
        format!("name: p\ncheckpoint: c\n{RATE}queries:\n  a: {{ sql: S, to: {one} }}\n  b:\n    sql: S\n    to: [{two}]\n")
    };
    check(
        &queries(&sink(", transactional_id: x"), &sink(", transactional_id: x")),
        expect![[
            r#"p.yaml:8:57: queries.b.to[0].kafka.transactional_id: queries.b.kafka and queries.a.kafka have the transactional id "x"; each sink needs its own"#
        ]],
    );
    check(
        &queries(&sink(""), &sink(", transactional_id: tidemill.p.a.kafka")),
        expect![[
            r#"p.yaml:8:57: queries.b.to[0].kafka.transactional_id: queries.b.kafka and queries.a.kafka have the transactional id "tidemill.p.a.kafka"; each sink needs its own"#
        ]],
    );
    let (plain, other) = (sink(""), sink(", transactional_id: x").replace("json }", "json, name: o }"));
    let dead_letter =
        format!("{}    dead_letter: {}\n", queries(&plain, &format!("{plain}, {other}")), sink(", transactional_id: x"));
    check(
        &dead_letter,
        expect![[
            r#"p.yaml:9:65: queries.b.dead_letter.kafka.transactional_id: queries.b.dead_letter and queries.b.o have the transactional id "x"; each sink needs its own"#
        ]],
    );
    read(&queries(&plain, &format!("{plain}, {other}")));
    let at_least_once = sink(", guarantee: at_least_once");
    read(&queries(&at_least_once, &sink(", transactional_id: tidemill.p.a.kafka")));
}

#[test]
fn metric_sinks_are_checked() {
    let with = |more: &str| format!("name: p\n{RATE}queries:\n  q:\n    sql: S\n    to: {{ metric: {{ value: v, {more} }} }}\n");
    check(
        &with("name: tidemill_x"),
        expect!["p.yaml:6:31: queries.q.to.metric.name: tidemill_ is where our own metrics begin: choose another name"],
    );
    check(
        &with("name: 2nd"),
        expect![[
            r#"p.yaml:6:31: queries.q.to.metric.name: expected letters, digits, _ and :, not beginning with a digit, found "2nd""#
        ]],
    );
    check(
        &with("name: m, labels: [a, query]"),
        expect![[
            r#"p.yaml:6:40: queries.q.to.metric.labels: "query" is a label that every metric has already: give the column another name (AS)"#
        ]],
    );
    check(
        &with("name: m, labels: [a, a], max_series: 0"),
        expect![[r#"p.yaml:6:68: queries.q.to.metric.max_series: expected a whole number from 1 to 1000000, found "0""#]],
    );
    check(
        &with("name: m }, format: { json: {}"),
        expect!["p.yaml:6:42: queries.q.to.format: metric writes numbers and takes no format"],
    );
    check(
        &with("name: m }, name: x }\n    dead_letter: { metric: { name: m, value: v"),
        expect![[r#"p.yaml:7:20: queries.q.dead_letter: unknown connector or setting "metric"; it belongs to: A sink"#]],
    );
    let pipeline = read(&with("name: m, labels: a, help: Frauds, max_series: 7, expire_after: 1m"));
    let SinkConnector::Metric(metric) = &pipeline.queries[0].sinks[0].connector else { panic!() };
    let expected = MetricSettings {
        name: "m".to_owned(),
        help: Some("Frauds".to_owned()),
        labels: vec!["a".to_owned()],
        value: "v".to_owned(),
        series_max: 7,
        expire_after: Some(Duration::from_secs(60)),
    };
    assert_eq!(**metric, expected);
}
