use std::time::Duration;

use expect_test::expect;
use proptest::prelude::*;

use super::*;
use crate::plan::QueryText;

/// A line per part.
fn listed(pipeline: &Pipeline) -> String {
    let Pipeline { name, checkpoint, time_zone, sources, tables, views, queries, functions: _, limits, service: _ } = pipeline;
    let mut lines = vec![format!("{name} {checkpoint:?} {time_zone}")];
    lines.extend(sources.iter().map(|source| format!("{source:?}")));
    lines.extend(tables.iter().map(|table| format!("{table:?}")));
    lines.extend(views.iter().map(|view| format!("{view:?}")));
    lines.extend(queries.iter().map(|query| format!("{query:?}")));
    lines.push(format!("{limits:?}"));
    lines.join("\n")
}

#[test]
fn the_smallest_file_takes_every_default() {
    let pipeline = read(&format!("{RATE}{QUERY}"));
    expect![[r#"
        p Temporary UTC
        SourceSpec { name: "r", connector: Rate(RateSource { rows_per_second: 1 }), format: None, on_malformed: Permissive, admission: ReadLimit { rows_max: None, bytes_max: None, files_max: None }, watermark: None, deduplicate: None }
        QuerySpec { name: "q", text: Sql("SELECT * FROM r"), position: Some(Position { line: 2, column: 17 }), output_mode: Append, scope: Query, trigger: AsFastAsPossible, watermark_policy: Min, sinks: [SinkSpec { name: "console", connector: Console(ConsoleSink { format: Table, num_rows: 20, truncate: Some(20) }), select: None, position: None }], dead_letter: None }
        Limits { state_memory_bytes_max: 1073741824, ingest_log_bytes_max: 4294967296, stage_bytes_max: 1073741824, lines: LineLimits { line_bytes_max: 1048576, json_depth_max: 64 }, connections_max: 1024, calls_in_flight_max: 1000, calls_in_flight_per_query_max: 1000 }"#]].assert_eq(&listed(&pipeline));
}

#[test]
fn a_time_zone_is_a_region_an_offset_or_another_name_that_java_knows() {
    for zone in ["UTC", "Z", "+02:00", "-08", "+5:30", "GMT+1", "UTC-03:30", "Europe/Rome", "PST"] {
        let pipeline = read(&format!("time_zone: {zone}\n{RATE}{QUERY}"));
        assert_eq!(&*pipeline.time_zone, zone);
    }
}

#[test]
fn every_setting_is_read() {
    let pipeline = read(EVERY_SETTING);
    assert!(!listed(&pipeline).contains("hunter2"), "a secret is shown");
    expect![[r#"
        all-of-it At("/base/state/x") Europe/Rome
        SourceSpec { name: "socket_in", connector: Socket(SocketSource { endpoint: Listen("[::1]:0"), include_timestamp: true, connect_timeout: 30s, durable: true, allow_from: [10.0.0.0/8, 192.168.1.7/32] }), format: Some(Text), on_malformed: Fail, admission: ReadLimit { rows_max: Some(10), bytes_max: Some(1048576), files_max: None }, watermark: None, deduplicate: None }
        SourceSpec { name: "client", connector: Socket(SocketSource { endpoint: Connect("localhost:5555"), include_timestamp: false, connect_timeout: 5s, durable: false, allow_from: [] }), format: Some(Json { schema: Schema { fields: [Field { name: "a", data_type: Int32, nullable: true }, Field { name: "b", data_type: Struct([Field { name: "c", data_type: Utf8, nullable: true }]), nullable: true }], metadata: {} } }), on_malformed: Drop, admission: ReadLimit { rows_max: None, bytes_max: Some(67108864), files_max: None }, watermark: None, deduplicate: None }
        SourceSpec { name: "files", connector: File(FileSource { path: "/base/in/*.csv.gz", max_file_age: 5400s, clean_source: Archive("/base/done"), tail: false }), format: Some(Csv { schema: Schema { fields: [Field { name: "a", data_type: Int32, nullable: true }], metadata: {} }, csv: CsvSpec { header: true, separator: 9, quote: None, escape: None, null_value: "NA" } }), on_malformed: Permissive, admission: ReadLimit { rows_max: None, bytes_max: None, files_max: Some(3) }, watermark: None, deduplicate: None }
        SourceSpec { name: "ticks", connector: Rate(RateSource { rows_per_second: 5 }), format: None, on_malformed: Permissive, admission: ReadLimit { rows_max: None, bytes_max: None, files_max: None }, watermark: Some(Watermark { column: "timestamp", delay_ms: 300000, max_future_ms: Some(3600000), idle_after_ms: Some(60000) }), deduplicate: None }
        TableSpec { name: "users", path: "/base/ref/users.csv", format: Csv { schema: Schema { fields: [Field { name: "id", data_type: Int32, nullable: true }], metadata: {} }, csv: CsvSpec { header: false, separator: 44, quote: Some(34), escape: Some(92), null_value: "" } }, refresh: Never }
        ViewSpec { name: "v", sql: "SELECT 1", position: Some(Position { line: 31, column: 8 }), watermark: Some(Watermark { column: "at", delay_ms: 0, max_future_ms: None, idle_after_ms: None }), deduplicate: None }
        QuerySpec { name: "one", text: Sql("SELECT 1"), position: Some(Position { line: 34, column: 5 }), output_mode: Update, scope: Query, trigger: Interval(2s), watermark_policy: Max, sinks: [SinkSpec { name: "console", connector: Console(ConsoleSink { format: Table, num_rows: 5, truncate: Some(30) }), select: None, position: None }, SinkSpec { name: "machine", connector: Console(ConsoleSink { format: Json, num_rows: 20, truncate: None }), select: Some("SELECT * FROM result"), position: Some(Position { line: 40, column: 70 }) }, SinkSpec { name: "discard", connector: Discard, select: None, position: None }], dead_letter: None }
        QuerySpec { name: "two", text: Sql("SELECT 2"), position: Some(Position { line: 43, column: 5 }), output_mode: Append, scope: MicroBatch, trigger: AvailableNow, watermark_policy: Min, sinks: [SinkSpec { name: "file", connector: File(FileSink { path: "/base/out", format: Csv(CsvSpec { header: true, separator: 44, quote: Some(34), escape: Some(92), null_value: "" }), partition_by: ["a", "b"], roll: None }), select: None, position: None }], dead_letter: Some(SinkSpec { name: "dead_letter", connector: File(FileSink { path: "/base/bad", format: Json, partition_by: [], roll: None }), select: None, position: None }) }
        QuerySpec { name: "three", text: Sql("SELECT 3"), position: Some(Position { line: 49, column: 5 }), output_mode: Append, scope: Query, trigger: AsFastAsPossible, watermark_policy: Min, sinks: [SinkSpec { name: "kafka", connector: Kafka(KafkaSinkSettings { connection: KafkaConnection { bootstrap_servers: "a:1,b:2", tls: Some(KafkaTls { ca: Some("/base/ca.pem"), certificate: Some("/base/own.pem"), key: Some("/base/own.key"), key_password: Some("(secret)") }), sasl: Some(KafkaSasl { mechanism: "SCRAM-SHA-512", username: "(secret)", password: "(secret)" }), properties: {"compression.type": "(secret)", "linger.ms": "(secret)"} }, topic: Some("out"), marker_topic: Some("marks"), progress_topic: Some("progress"), value: Json { key: Some("user") }, guarantee: ExactlyOnce, transactional_id: Some("team.out"), transaction_timeout: 120s, request_timeout: 10s }), select: None, position: None }, SinkSpec { name: "columns", connector: Kafka(KafkaSinkSettings { connection: KafkaConnection { bootstrap_servers: "c:3", tls: Some(KafkaTls { ca: None, certificate: None, key: None, key_password: None }), sasl: None, properties: {"socket.timeout.ms": "(secret)"} }, topic: None, marker_topic: None, progress_topic: None, value: Columns, guarantee: AtLeastOnce, transactional_id: None, transaction_timeout: 60s, request_timeout: 30s }), select: None, position: None }], dead_letter: None }
        Limits { state_memory_bytes_max: 2147483648, ingest_log_bytes_max: 8388608, stage_bytes_max: 3145728, lines: LineLimits { line_bytes_max: 4096, json_depth_max: 10 }, connections_max: 9, calls_in_flight_max: 1000, calls_in_flight_per_query_max: 1000 }"#]].assert_eq(&listed(&pipeline));
}

#[test]
fn what_listens_for_http_is_read() {
    let text = r#"
name: p
sources:
  in:
    from:
      http:
        listen: "0.0.0.0:8080"
        path: /rows
        token: [ "${env:TOKEN}", hunter2-6789012345678901 ]
        tls: { certificate: server.pem, key: keys/server.key, client_ca: "${env:CA}" }
        allow_from: 10.0.0.0/8
        max_request: 1 MiB
        max_rows_per_trigger: 5
  open: { from: { http: { listen: "localhost:0", path: /a } } }
queries: { q: { sql: SELECT * FROM open, to: { console: {} } } }
service:
  token: [ one-hunter2-89012345678901, two-hunter2-89012345678901 ]
  read_token: "${env:TOKEN}"
  metrics_token: "${env:TOKEN}"
  tls: { certificate: server.pem, key: server.key }
  show_rows: false
"#;
    let environment = |name: &str| Some(format!("hunter2-of-{name}-3456789012345"));
    let pipeline = parse(text, "p.yaml", Path::new("/base"), &[], &environment).unwrap();
    let shown = format!("{}\n{:?}", listed(&pipeline), pipeline.service);
    assert!(!shown.contains("hunter2"), "a secret is shown: {shown}");
    let SourceConnector::Http(source) = &pipeline.sources[0].connector else { panic!("an HTTP source") };
    let tokens: Vec<_> = source.tokens.iter().map(Text::expose).collect();
    assert_eq!(tokens, ["hunter2-of-TOKEN-3456789012345", "hunter2-6789012345678901"]);
    expect![[r#"
        HttpSource { listen: "0.0.0.0:8080", path: "/rows", tokens: ["${env:TOKEN}", "(secret)"], tls: Some(TlsSpec { certificate: "/base/server.pem", key: "/base/keys/server.key", client_ca: Some("${env:CA}") }), is_insecure: false, allow_from: [10.0.0.0/8], request_bytes_max: 1048576 }
        ReadLimit { rows_max: Some(5), bytes_max: Some(67108864), files_max: None }
        Http(HttpSource { listen: "localhost:0", path: "/a", tokens: [], tls: None, is_insecure: false, allow_from: [], request_bytes_max: 8388608 })
        ServiceSpec { tokens: ["(secret)", "(secret)"], read_tokens: ["${env:TOKEN}"], metrics_tokens: ["${env:TOKEN}"], tls: Some(TlsSpec { certificate: "/base/server.pem", key: "/base/server.key", client_ca: None }), is_insecure: false, show_rows: false }"#]]
    .assert_eq(&format!("{source:?}\n{:?}\n{:?}\n{:?}", pipeline.sources[0].admission, pipeline.sources[1].connector, pipeline.service));
}

#[test]
fn what_is_in_clear_beyond_loopback_has_to_be_accepted() {
    let text = "sources: { in: { from: { http: { listen: \"0.0.0.0:0\", path: /a, token: 0123456789012345678901 } } } }\n\
                queries: { q: { sql: SELECT * FROM in, to: { discard: {} } } }\n";
    let problems = read_with(text, &[]).unwrap_err().to_string();
    assert!(problems.contains("beyond loopback tls is needed") && problems.contains("--i-know-insecure"), "{problems}");
    let pipeline = read_with(text, &["service.i_know_insecure=true"]).unwrap();
    let SourceConnector::Http(source) = &pipeline.sources[0].connector else { panic!("an HTTP source") };
    assert!(source.is_insecure && pipeline.service.is_insecure);
    let without = text.replace(", token: 0123456789012345678901", "");
    let problems = read_with(&without, &["service.i_know_insecure=true"]).unwrap_err().to_string();
    assert!(problems.contains("beyond loopback a token is needed"), "{problems}");
}

#[test]
fn json_is_read_too() {
    let text = "{\n\t\"sources\": {\"r\": {\"from\": {\"rate\": {\"rows_per_second\": 3}}}},\n\t\"queries\": {\"q\": {\"sql\": \"SELECT '\\u00e9\\ud83d\\ude00\\\\ud83d\\/'\", \"to\": {\"console\": {}}}}\n}";
    let QueryText::Sql(sql) = &read(text).queries[0].text else { panic!("a plan from a file") };
    assert_eq!(sql, "SELECT 'é😀\\ud83d/'");
}

#[test]
fn an_alias_stands_for_its_anchor() {
    let pipeline = read(&format!("{RATE}queries:\n  a: &a {{ sql: SELECT 1, to: console }}\n  b: *a\n"));
    assert_eq!(pipeline.queries[1].name, "b");
}

#[test]
fn triggers_are_read() {
    for (text, expected) in [
        ("2 seconds", Trigger::Interval(Duration::from_secs(2))),
        ("500ms", Trigger::Interval(Duration::from_millis(500))),
        ("0s", Trigger::AsFastAsPossible),
        ("as_fast_as_possible", Trigger::AsFastAsPossible),
        ("available_now", Trigger::AvailableNow),
        ("once", Trigger::Once),
    ] {
        let pipeline = read_with(&format!("{RATE}{QUERY}"), &[&format!("queries.q.trigger={text}")]).expect("right");
        assert_eq!(pipeline.queries[0].trigger, expected, "{text}");
    }
}

#[test]
fn references_are_replaced_and_never_shown() {
    let text = format!(
        "sources: {{ r: {{ from: {{ rate: {{ rows_per_second: \"${{env:ROWS}}\" }} }} }}, s: {{ from: {{ socket: {{ connect: \
         \"${{env:SECRET}}:1\" }} }} }}, f: {{ from: {{ file: {{ path: \"${{env:SECRET}}/$${{x}}\" }} }} }} }}\n{QUERY}"
    );
    let pipeline = read(&text);
    let debug = format!("{pipeline:?}");
    assert!(!debug.contains("hunter2"), "{debug}");
    let SourceConnector::Socket(SocketSource { endpoint: SocketEndpoint::Connect(address), .. }) = &pipeline.sources[1].connector
    else {
        panic!("another connector");
    };
    assert_eq!((address.host_and_port(), address.to_string()), (("hunter2", 1), "${env:SECRET}:1".to_owned()));
    let SourceConnector::File(file) = &pipeline.sources[2].connector else { panic!("another connector") };
    assert_eq!((&*file.path, file.path.to_string()), (Path::new("/base/hunter2/${x}"), "${env:SECRET}/$${x}".to_owned()));
}

#[test]
fn wrong_references_are_refused_without_the_secret() {
    check_source(
        "    from: { socket: { connect: \"${env:SECRET}\" } }",
        expect![[r#"p.yaml:3:32: sources.s.from.socket.connect: expected host:port, found "${env:SECRET}""#]],
    );
    check_source(
        "    from: { socket: { connect: \"${env:NONE}:1\" } }",
        expect![
            "p.yaml:3:32: sources.s.from.socket.connect: environment variable NONE is not set (write ${env:NONE:-…} to give a default)"
        ],
    );
    check_source(
        "    from: { socket: { connect: \"${NONE}:1\" } }",
        expect![
            "p.yaml:3:32: sources.s.from.socket.connect: expected ${env:NAME}, ${env:NAME:-default} or ${file:/path} (write $${ for a literal ${)"
        ],
    );
    check_source(
        "    from: { rate: { rows_per_second: \"${env:SECRET}\" } }\n    on_malformed: \"${env:SECRET}\"",
        expect![[r#"
        p.yaml:3:38: sources.s.from.rate.rows_per_second: expected a whole number from 1 to 1000000000, found "${env:SECRET}"
        p.yaml:4:19: sources.s.on_malformed: expected permissive, drop or fail, found "${env:SECRET}""#]],
    );
    check(
        &format!("name: \"${{env:SECRET}}\"\n{RATE}queries: {{ q: {{ sql: \"S ${{env:SECRET}}\", to: console }} }}"),
        expect![[r#"
        p.yaml:1:7: name: a reference cannot stand here: what it stands for is a secret, and this is shown
        p.yaml:3:22: queries.q.sql: a reference cannot stand here: what it stands for is a secret, and this is shown"#]],
    );
    // A reference gives text and never structure.
    check(
        &format!("{RATE}queries: {{ q: {{ sql: S, to: \"${{env:TREE}}\" }} }}"),
        expect![[
            r#"p.yaml:2:29: queries.q.to: unknown connector or setting "${env:TREE}"; known here: console, file, kafka, redis, discard, metric, name, format, select"#
        ]],
    );
}

#[test]
fn overrides_are_put_over_the_file() {
    let text = format!("{RATE}{QUERY}");
    let overrides = [
        "queries.q.trigger=once",
        "sources.r.from={ rate: { rows_per_second: 9 } }",
        "limits.line=2 MiB",
        "queries.q.to=[console, { console: {}, name: b }]",
        "queries.q.to.1.console.num_rows=5",
        "queries.q.sql=SELECT a = b FROM r",
    ];
    let pipeline = read_with(&text, &overrides).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((pipeline.queries[0].trigger, pipeline.limits.lines.line_bytes_max), (Trigger::Once, 2 << 20));
    let SinkConnector::Console(console) = &pipeline.queries[0].sinks[1].connector else { panic!("another sink") };
    assert_eq!(console.num_rows, 5);
    let QueryText::Sql(sql) = &pipeline.queries[0].text else { panic!("a plan from a file") };
    assert_eq!(sql, "SELECT a = b FROM r");
}

#[test]
fn wrong_overrides_are_shown_as_given() {
    let overrides = [
        "queries.q.trigger",
        "queries..trigger=once",
        "=1",
        "queries.q.trigger=never",
        "queries.q.to.console=1",
        "queries.q.sql.x=1",
        "limits.lines=1",
        "name={",
    ];
    let problems =
        read_with(&format!("{RATE}queries: {{ q: {{ sql: S, to: [console] }} }}"), &overrides).expect_err("all are wrong");
    expect![[r#"
        --set =1: expected KEY=VALUE, such as queries.fraud.trigger=once
        --set limits.lines=1: limits: unknown setting "lines"; did you mean line?
        --set name={: not valid YAML: while parsing a node, did not find expected node content
        --set queries..trigger=once: expected KEY=VALUE, such as queries.fraud.trigger=once
        --set queries.q.sql.x=1: expected a map or a list, found a value at queries.q.sql.x
        --set queries.q.to.console=1: expected an index below 1 at queries.q.to.console
        --set queries.q.trigger: expected KEY=VALUE, such as queries.fraud.trigger=once
        --set queries.q.trigger=never: queries.q.trigger: expected an interval such as 2 seconds, as_fast_as_possible, available_now or once, found "never""#]].assert_eq(&problems.to_string());
}

#[test]
fn bombs_are_bounded() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    check(&bomb, expect!["p.yaml:5:10: expected at most 10000 values, aliases written out"]);
    let copies = vec!["*a"; 5000].join(", ");
    check(
        &format!("a: &a \"{}\"\nb: [{copies}]", "x".repeat(100_000)),
        expect!["p.yaml:2:409: expected at most 10000 values, aliases written out"],
    );
    check(&"[".repeat(50_000), expect!["p.yaml:1:256: not valid YAML: recursion limit exceeded"]);
    check(&"- ".repeat(50_000), expect!["p.yaml:1:65: expected at most 32 levels of nesting"]);
    check(&format!("a: {}", "{a: ".repeat(100)), expect!["p.yaml:1:128: expected at most 32 levels of nesting"]);
    check(&"x".repeat((1 << 20) + 1), expect!["p.yaml: expected a pipeline file of at most 1 MiB"]);
    check("a: &a [*a]", expect!["p.yaml:1:8: expected an anchor that stands above, outside of this value"]);
    check(
        &(0..20_000).map(|n| format!("k{n}: 1\n")).collect::<String>(),
        expect!["p.yaml:5000:8: expected at most 10000 values, aliases written out"],
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join("none.yaml");
    let problems = load(&missing, &[]).expect_err("there is no file");
    assert!(
        problems.to_string().ends_with("none.yaml: could not read the pipeline file: No such file or directory (os error 2)")
    );
    let path = folder.path().join("latin1.yaml");
    std::fs::write(&path, b"name: caf\xe9").expect("written");
    assert!(load(&path, &[]).expect_err("not UTF-8").to_string().ends_with("expected UTF-8, found another byte at 9"));
}

#[test]
fn networks_are_asked_without_regard_to_how_an_address_is_written() {
    let pipeline = read(&format!(
        "sources: {{ s: {{ from: {{ socket: {{ listen: \"0.0.0.0:1\", allow_from: [10.0.0.0/8, \"::1\"] }} }} }} }}\n{QUERY}"
    ));
    let SourceConnector::Socket(socket) = &pipeline.sources[0].connector else { panic!("another connector") };
    for (ip, allowed) in [("10.1.2.3", true), ("11.1.2.3", false), ("::ffff:10.1.2.3", true), ("::1", true), ("::2", false)] {
        assert_eq!(socket.allows(ip.parse().expect("an address")), allowed, "{ip}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let _ = read_with(&text, &[&text]);
    }

    #[test]
    fn no_mutated_file_panics(which in 0usize..64, at in any::<prop::sample::Index>(), length in 0usize..40, insert in "[-:{}\\[\\]&*!|>'\"#%@`,?a-z0-9 \n\t$]{0,12}") {
        let paths = examples();
        let text = std::fs::read_to_string(&paths[which % paths.len()]).expect("read");
        let chars: Vec<char> = text.chars().collect();
        let start = at.index(chars.len());
        let end = (start + length).min(chars.len());
        let mutated: String = chars[..start].iter().copied().chain(insert.chars()).chain(chars[end..].iter().copied()).collect();
        if let Err(problems) = read_with(&mutated, &[]) {
            prop_assert!(problems.iter().count() > 0);
        }
    }
}
