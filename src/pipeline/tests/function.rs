use expect_test::expect;

use super::*;
use crate::function::http::Template;
use crate::function::policy::RetrySettings;
use crate::function::{CacheSettings, CallSettings, OnError, Returns};

fn with_function(function: &str) -> String {
    format!("{RATE}{QUERY}functions:\n  risk:\n{function}\n")
}

fn check_function(function: &str, expected: Expect) {
    check(&with_function(function), expected);
}

/// A right function but for what stands under `http`.
fn check_http(http: &str, expected: Expect) {
    check_function(&format!("    args: user STRING, amount DOUBLE\n    returns: score DOUBLE\n    http: {{ {http} }}"), expected);
}

const URL: &str = "url: \"https://risk.example/{user}\"";

#[test]
fn the_guides_example_is_right() {
    let pipeline = read(&with_function(
        r#"    { args: "user STRING, amount DOUBLE", returns: "score DOUBLE, band STRING",
      http: { method: POST, url: "https://risk.example/u/{user}", body: { amount: "{amount}" }, answer: { score: /data/score, band: /data/band } },
      timeout: 2s, max_in_flight: 50, cache: { entries: 10000, ttl: 10 minutes }, on_error: return_null }"#,
    ));
    let function = &pipeline.functions[0];
    assert_eq!(function.signature().name, "risk");
    let settings = function.settings();
    assert_eq!((settings.max_in_flight, settings.on_error), (50, OnError::ReturnNull));
    assert_eq!(settings.cache, Some(CacheSettings::default()));
}

#[test]
fn every_default_is_the_engines_own() {
    let function = with_function("    { args: x INT, returns: INT, http: { url: \"https://a.example/{x}\" } }");
    let pipeline = read(&function);
    let settings = pipeline.functions[0].settings();
    // What HTTP does itself is not the engine's to do.
    let expected =
        CallSettings { chunk_size: 1, breaker: None, answer_bytes_max: settings.answer_bytes_max, ..CallSettings::default() };
    assert_eq!(settings, &expected);
}

#[test]
fn every_setting_of_a_function_is_read() {
    let pipeline = read(EVERY_SETTING);
    let [risk, items] = pipeline.functions.as_slice() else { panic!("two functions") };
    let settings = risk.settings();
    // Fifty calls wait up to 100 seconds for their turns.
    assert_eq!((settings.max_in_flight, settings.timeout.as_secs(), settings.on_error), (50, 102, OnError::ReturnNull));
    let retry = RetrySettings {
        attempts: 5,
        base_delay: std::time::Duration::from_millis(10),
        max_delay: std::time::Duration::from_secs(1),
        budget: 1.0,
    };
    assert_eq!(settings.retry, retry);
    assert_eq!(settings.cache.map(|cache| (cache.entries, cache.ttl.as_secs(), cache.bytes_max)), Some((7, 3600, 1 << 20)));
    let shown = format!("{risk:?} {items:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(matches!(&items.signature().returns, Returns::Rows(schema) if schema.fields().len() == 2));
    assert!(!items.settings().ordered);
}

/// What stands under `http` of the first function of a file.
fn http_of(text: &str) -> crate::function::http::HttpSettings {
    let mut problems = Problems::of("p.yaml");
    let root = tree::parse(text, &mut problems).expect("YAML");
    let env = |_: &str| Some("hunter2".to_owned());
    let lookup = reference::Lookup { env: &env, folder: Path::new("/base") };
    let mut reading = values::Reading { lookup, problems: &mut problems };
    let root = values::Values::read(&tables::ROOT, &root, &Place::File, String::new(), &mut reading);
    let (_, function) = &root.named("functions")[0];
    let (_, http) = function.branch.as_ref().expect("a kind");
    function_http::settings(http, &mut problems).unwrap_or_else(|| panic!("{problems}"))
}

#[test]
fn every_setting_of_http_is_read() {
    expect![[r#"
        HttpSettings {
            method: Some(
                "PUT",
            ),
            url: Template {
                pieces: [
                    Text(
                        "https://risk.example/u/",
                    ),
                    Arg(
                        "user",
                    ),
                    Text(
                        "?v=1",
                    ),
                ],
            },
            query: [
                (
                    "amount",
                    Template {
                        pieces: [
                            Arg(
                                "amount",
                            ),
                        ],
                    },
                ),
                (
                    "n",
                    Template {
                        pieces: [
                            Text(
                                "1",
                            ),
                        ],
                    },
                ),
            ],
            headers: [
                (
                    "X-Key",
                    Template {
                        pieces: [
                            Text(
                                "${env:SECRET}",
                            ),
                        ],
                    },
                ),
                (
                    "X-User",
                    Template {
                        pieces: [
                            Arg(
                                "user",
                            ),
                        ],
                    },
                ),
            ],
            body: Some(
                Object(
                    [
                        (
                            "amount",
                            Text(
                                Template {
                                    pieces: [
                                        Arg(
                                            "amount",
                                        ),
                                    ],
                                },
                            ),
                        ),
                        (
                            "note",
                            Text(
                                Template {
                                    pieces: [
                                        Text(
                                            "of ",
                                        ),
                                        Arg(
                                            "user",
                                        ),
                                    ],
                                },
                            ),
                        ),
                        (
                            "one",
                            Plain(
                                Number(1),
                            ),
                        ),
                        (
                            "yes",
                            Plain(
                                Bool(true),
                            ),
                        ),
                        (
                            "text",
                            Text(
                                Template {
                                    pieces: [
                                        Text(
                                            "1",
                                        ),
                                    ],
                                },
                            ),
                        ),
                        (
                            "none",
                            Plain(
                                Null,
                            ),
                        ),
                        (
                            "list",
                            List(
                                [
                                    Plain(
                                        Number(1.5),
                                    ),
                                    Text(
                                        Template {
                                            pieces: [
                                                Arg(
                                                    "user",
                                                ),
                                            ],
                                        },
                                    ),
                                ],
                            ),
                        ),
                    ],
                ),
            ),
            answer: Fields(
                [
                    (
                        "score",
                        "/data/score",
                    ),
                    (
                        "band",
                        "/data/band",
                    ),
                ],
            ),
            rows: None,
            statuses: Statuses {
                success: [
                    200..=299,
                    404..=404,
                ],
                transient: [
                    503..=503,
                ],
            },
            auth: OAuth2(
                OAuth2Settings {
                    token_url: "https://login.example/token",
                    grant: Password {
                        username: "(secret)",
                        password: "${env:SECRET}",
                    },
                    client_id: "(secret)",
                    client_secret: Some(
                        "${env:SECRET}",
                    ),
                    client_in_body: true,
                    scope: Some(
                        "read write",
                    ),
                    parameters: {
                        "audience": "(secret)",
                    },
                    refresh_margin: 30s,
                    attempts: 5,
                    pause: 1s,
                },
            ),
            connection: ConnectionSettings {
                addresses: AddressRules {
                    allow: [
                        10.0.0.0/8,
                        ::1/128,
                    ],
                },
                connect_timeout: Some(
                    1s,
                ),
                ca: None,
                identity: None,
            },
            middleware: [
                Timing,
                Retry,
                Headers,
                Auth,
                Body,
                RateLimit,
                Breaker,
            ],
        }
    "#]]
    .assert_debug_eq(&http_of(EVERY_SETTING));
}

#[test]
fn what_a_function_needs_is_missed() {
    check_function(
        "    {}",
        expect![[r#"
            p.yaml:4:3: functions.risk: expected a kind: http, redis, object or python
            p.yaml:4:3: functions.risk: expected args: columns such as "name STRING, amount DOUBLE"
            p.yaml:4:3: functions.risk: expected returns: a type, columns such as "score DOUBLE, band STRING", or TABLE (columns)"#]],
    );
    check_function(
        "    args: a INT\n    returns: INT\n    grpc: {}",
        expect![[
            r#"p.yaml:7:5: functions.risk: unknown kind or setting "grpc"; known here: http, redis, object, python, args, returns, timeout, max_in_flight, chunk_size, on_error, retry, rate_limit, breaker, cache, max_answer, ordered, parameters"#
        ]],
    );
    check_function(
        "    args: a INT\n    returns: INT\n    http: { method: FETCH, urll: x }",
        expect![[r#"
        p.yaml:7:5: functions.risk.http: expected url: text, in which {argument} stands for an argument
        p.yaml:7:21: functions.risk.http.method: expected GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS, found "FETCH"
        p.yaml:7:28: functions.risk.http: unknown setting "urll"; did you mean url?"#]],
    );
    check_function(
        "    args: a INTT\n    returns: TABLE (a INTT)\n    http: { url: \"https://a.example/\" }",
        expect![[r#"
        p.yaml:5:11: functions.risk.args: expected columns as "name STRING, amount DOUBLE": [UNSUPPORTED_DATATYPE] unknown data type "intt" at column 3, did you mean int?
        p.yaml:6:14: functions.risk.returns: expected a type, columns such as "score DOUBLE, band STRING", or TABLE (columns): [UNSUPPORTED_DATATYPE] unknown data type "intt" at column 3, did you mean int?"#]],
    );
    check_function(
        "    args: a INT\n    returns: TABLE ()\n    http: { url: \"https://a.example/\" }",
        expect![[
            r#"p.yaml:6:14: functions.risk.returns: expected a type, columns such as "score DOUBLE, band STRING", or TABLE (columns): expected at least one column"#
        ]],
    );
}

#[test]
fn names_are_names_that_sql_can_call() {
    let named = |name: &str| {
        format!("{RATE}{QUERY}functions: {{ {name}: {{ args: a INT, returns: INT, http: {{ url: \"https://a.example/\" }} }} }}")
    };
    check(
        &named("Upper"),
        expect![[r#"p.yaml:3:14: functions: "Upper" is one of Spark's functions, which cannot be declared anew"#]],
    );
    check(
        &named("risk-score"),
        expect![[
            r#"p.yaml:3:14: functions: expected a name that SQL can call (a letter, then letters, digits or _), found "risk-score""#
        ]],
    );
    check(
        &named("1st"),
        expect![[r#"p.yaml:3:14: functions: expected a name (a letter, then at most 99 letters, digits, _ or -), found "1st""#]],
    );
    let two = format!(
        "{}  RISK: {{ args: a INT, returns: INT, http: {{ url: \"https://a.example/\" }} }}\n",
        with_function("    { args: a INT, returns: INT, http: { url: \"https://a.example/\" } }")
    );
    check(&two, expect!["p.yaml:6:3: functions.RISK: the name is taken by functions.risk; names differ in more than case"]);
}

#[test]
fn settings_of_calls_are_held_against_their_ranges() {
    let base = "    args: a INT\n    returns: INT\n    http: { url: \"https://a.example/\" }\n";
    check_function(
        &format!(
            "{base}    timeout: 0s\n    max_in_flight: 0\n    on_error: retur_null\n    retry: {{ attempts: 0, jitter: 1 }}\n    rate_limit: {{}}\n    breaker: {{ failure_percent: 101 }}\n    cache: {{ ttl: 0s }}\n    max_answer: 0"
        ),
        expect![[r#"
            p.yaml:8:14: functions.risk.timeout: expected a duration of at least 1ms, found "0s"
            p.yaml:9:20: functions.risk.max_in_flight: expected a whole number from 1 to 100000, found "0"
            p.yaml:10:15: functions.risk.on_error: expected fail, return_null or drop_row, found "retur_null"; did you mean return_null?
            p.yaml:11:24: functions.risk.retry.attempts: expected a whole number from 1 to 100, found "0"
            p.yaml:11:27: functions.risk.retry: unknown setting "jitter"; known here: attempts, base_delay, max_delay, budget_percent
            p.yaml:12:5: functions.risk.rate_limit: expected calls: a whole number of at least 1
            p.yaml:13:33: functions.risk.breaker.failure_percent: expected a whole number from 1 to 100, found "101"
            p.yaml:14:19: functions.risk.cache.ttl: expected a duration of at least 1ms, found "0s"
            p.yaml:15:17: functions.risk.max_answer: expected a size of at least 1 B, such as 64 MiB, found "0""#]],
    );
    check_function(
        &format!("{base}    ordered: false\n    chunk_size: 5\n    parameters: {{ a: 1 }}"),
        expect![[r#"
        p.yaml:8:5: functions.risk.ordered: goes with returns: TABLE (…) only: values always come in order
        p.yaml:9:5: functions.risk.chunk_size: http makes a call for each row
        p.yaml:10:5: functions.risk.parameters: http takes none: write values where they belong"#]],
    );
}

#[test]
fn http_is_checked_as_a_whole() {
    check_http(
        "url: \"https://risk.example/{usr}\", answer: { scor: /a }, headers: { Host: x }",
        expect![[r#"
        p.yaml:7:13: functions.risk.http.url: there is no argument "usr"; did you mean {user}?
        p.yaml:7:48: functions.risk.http.answer: returns has no field "scor"; did you mean score?
        p.yaml:7:70: functions.risk.http.headers: host is not for a function to set"#]],
    );
    check_http(
        &format!("{URL}, answer: {{ score: [] }}"),
        expect![
            "p.yaml:7:49: functions.risk.http.answer: expected a map from fields to JSON pointers, such as { score: /data/score }, one pointer, text or envelope"
        ],
    );
    check_http(
        &format!("{URL}, answer: ~"),
        expect![
            "p.yaml:7:57: functions.risk.http.answer: expected a map from fields to JSON pointers, such as { score: /data/score }, one pointer, text or envelope, found nothing"
        ],
    );
    check_http(
        &format!("{URL}, query: {{ a: \"{{\" }}, headers: [a], body: \"{{b\""),
        expect![[r#"
        p.yaml:7:61: functions.risk.http.query: expected {name of an argument}, found a { alone (write {{ for the character)
        p.yaml:7:77: functions.risk.http.headers: expected a map from names to texts, in which {argument} stands for an argument, found a list
        p.yaml:7:88: functions.risk.http.body: expected {name of an argument}, found a { alone (write {{ for the character)"#]],
    );
    check_http(
        "url: \"http://127.0.0.1:8080/{user}\"",
        expect![
            "p.yaml:7:13: functions.risk.http.url: 127.0.0.1 is not a public address: allow_addresses must name it or its network"
        ],
    );
    check_http(
        "url: \"http://{user}.example/\"",
        expect![
            "p.yaml:7:13: functions.risk.http.url: expected scheme, host and port in front of the first {argument}: arguments fill the path and the query"
        ],
    );
    check_http(
        &format!("{URL}, success: [20, 300-200, x], retry_on: 600"),
        expect![[r#"
        p.yaml:7:59: functions.risk.http.success: expected a status such as 200, a range such as 200-299, or a list of them, found "20"
        p.yaml:7:63: functions.risk.http.success: expected a status such as 200, a range such as 200-299, or a list of them, found "300-200"
        p.yaml:7:72: functions.risk.http.success: expected a status such as 200, a range such as 200-299, or a list of them, found "x"
        p.yaml:7:86: functions.risk.http.retry_on: expected a status such as 200, a range such as 200-299, or a list of them, found "600""#]],
    );
    check_http(
        &format!("{URL}, middleware: [retry, retri]"),
        expect![[
            r#"p.yaml:7:69: functions.risk.http.middleware: expected retry, rate_limit, breaker, headers, body, auth, logging or timing, found "retri"; did you mean retry?"#
        ]],
    );
    check_http(
        &format!("{URL}, middleware: [retry], headers: {{ a: b }}"),
        expect!["p.yaml:7:49: functions.risk.http.middleware: expected headers in the chain, as headers is set"],
    );
    check_http(
        &format!("{URL}, allow_addresses: 10.0.0.0/99"),
        expect![[
            r#"p.yaml:7:66: functions.risk.http.allow_addresses: expected a network such as 10.0.0.0/8, an address, or a list of them, found "10.0.0.0/99""#
        ]],
    );
}

#[test]
fn identity_is_checked_too() {
    check_http(
        &format!("{URL}, auth: {{ bearr: {{ token: x }} }}"),
        expect![[r#"p.yaml:7:57: functions.risk.http.auth: unknown way "bearr"; did you mean bearer?"#]],
    );
    check_http(
        &format!("{URL}, auth: {{ basic: {{ username: x }} }}"),
        expect!["p.yaml:7:57: functions.risk.http.auth.basic: expected password: text"],
    );
    check_http(
        &format!("{URL}, auth: {{ api_key: {{ value: x }} }}"),
        expect!["p.yaml:7:57: functions.risk.http.auth.api_key: expected one of header and query"],
    );
    check_http(
        &format!(
            "{URL}, auth: {{ oauth2_client_credentials: {{ token_url: \"http://10.0.0.7/token\", client_id: a, client_secret: b }} }}"
        ),
        expect![
            "p.yaml:7:49: functions.risk.http.auth: token_url: 10.0.0.7 is not a public address: allow_addresses must name it or its network"
        ],
    );
    check_http(
        &format!("{URL}, tls: {{ certificate: a.pem }}"),
        expect!["p.yaml:7:56: functions.risk.http.tls.certificate: goes with key only"],
    );
    check_http(
        &format!("{URL}, tls: {{ ca: missing.pem }}"),
        expect!["p.yaml:7:49: functions.risk.http.tls: could not read /base/missing.pem: No such file or directory (os error 2)"],
    );
}

#[test]
fn an_envelope_is_not_kept() {
    check_function(
        "    args: a INT\n    returns: status INT\n    http: { url: \"https://a.example/{a}\", answer: envelope }\n    cache: {}",
        expect!["p.yaml:8:5: functions.risk.cache: goes without an envelope only: an answer that is kept is of another call"],
    );
}

/// What a reference stands for is text: braces in it are no places, and nothing shows it.
#[test]
fn references_in_templates_are_text() {
    let env = |name: &str| match name {
        "KEY" => Some("{user}".to_owned()),
        "BASE" => Some("https://a.example".to_owned()),
        _ => None,
    };
    let lookup = reference::Lookup { env: &env, folder: Path::new(".") };
    let template = reference::resolve_template("${env:BASE}/{id}?k=${env:KEY}&l=$${x}}", lookup).expect("right");
    assert_eq!(template.args().collect::<Vec<_>>(), ["id"]);
    assert_eq!(template.to_string(), "${env:BASE}/{id}?k=${env:KEY}&l=${x}");
    assert_eq!(reference::resolve_template("", lookup), Ok(Template::default()));
    assert!(reference::resolve_template("${env:NONE}", lookup).is_err());
}
