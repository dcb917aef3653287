//! What services that call HTTP APIs were seen to get wrong: how many calls are in flight, what a failure costs, who we are. The real
//! binary against a server of the test, which says what it has seen.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::binary::Folder;
use super::http_server::{Fixture, HttpServer, LOCAL, Reply, Seen, certificates, reply, users, with};

/// A function whose answer is the number in the path, with further settings.
fn numbered(settings: &str) -> String {
    format!("  f: {{ args: n BIGINT, returns: BIGINT, {settings}, http: {{ url: \"http://{{server}}/{{n}}\", {LOCAL} }} }}")
}

async fn same_number(seen: Seen) -> Reply {
    reply(200, seen.path[1..].to_owned())
}

/// Runs over so many rows, all of which the server holds back until as many calls are in flight as may be.
fn as_many_as(rows: usize, max_in_flight: usize) {
    let function = numbered(&format!("max_in_flight: {max_in_flight}"));
    let fixture = Fixture::new(&function, "SELECT n, f(n) AS answer FROM t", &users(rows), same_number);
    fixture.server.close_gate();
    let running = fixture.start(&[]);
    fixture.server.has_in_flight(rows.min(max_in_flight));
    fixture.server.open_gate();
    let ended = running.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    let expected: Vec<Value> = (0..rows).map(|n| json!({ "n": n, "answer": n })).collect();
    assert_eq!(fixture.rows(), expected, "all of them, in their order");
    assert_eq!((fixture.server.in_flight_max(), fixture.server.seen().len()), (rows.min(max_in_flight), rows));
}

#[test]
fn scenario_10_as_many_calls_are_in_flight_as_may_be_and_the_order_stays() {
    [1, 20, 100].into_iter().for_each(|max_in_flight| as_many_as(1000, max_in_flight));
}

#[test]
fn s3_1_and_2_few_rows_with_a_limit() {
    as_many_as(10, 5);
    as_many_as(15, 3);
}

/// What an envelope tells of each call.
const TOLD: &str = "status INT, success BOOLEAN, attempts INT, error STRING, error_kind STRING, body STRING";

fn told(settings: &str) -> String {
    format!(
        "  f: {{ args: user STRING, returns: {TOLD:?}, {settings}, http: {{ url: \"http://{{server}}/{{user}}\", answer: envelope, {LOCAL} }} }}"
    )
}

/// What is told of the call for each of `names`.
fn envelopes<F>(settings: &str, names: &[&str], answer: impl Fn(Seen) -> F + Send + Sync + 'static) -> Vec<Value>
where
    F: Future<Output = Reply> + Send + 'static,
{
    let rows: Vec<Value> = names.iter().enumerate().map(|(n, user)| json!({ "n": n, "user": user })).collect();
    let fixture = Fixture::new(&told(settings), "SELECT n, f(user) AS c FROM t", &rows, answer);
    let ended = fixture.run(&[]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(fixture.dead_letters().is_empty());
    fixture.rows().into_iter().map(|mut row| row["c"].take()).collect()
}

#[test]
fn s3_3_and_4_no_row_and_one_row() {
    assert_eq!(envelopes("max_in_flight: 5", &[], same_number), Vec::<Value>::new());
    let one = envelopes("max_in_flight: 5", &["7"], same_number);
    assert_eq!(one, [json!({ "status": 200, "success": true, "attempts": 1, "body": "7" })]);
}

/// Counts how often each path was asked for.
#[derive(Clone, Default)]
struct Times(Arc<Mutex<HashMap<String, usize>>>);

impl Times {
    /// Which time this is, from 1.
    fn next(&self, path: &str) -> usize {
        let mut times = self.0.lock().unwrap();
        let time = times.entry(path.to_owned()).or_default();
        *time += 1;
        *time
    }
}

#[test]
fn s3_5_to_7_attempts_are_made_where_they_may_help() {
    let times = Times::default();
    let menu = move |seen: Seen| {
        let time = times.next(&seen.path);
        async move {
            match seen.path.as_str() {
                "/flaky" if time < 3 => reply(503, ""),
                "/broken" => reply(500, ""),
                "/missing" => reply(404, "nobody"),
                _ => reply(200, "fine"),
            }
        }
    };
    let five = envelopes("retry: { attempts: 5, base_delay: 10ms }", &["flaky", "missing"], menu.clone());
    assert_eq!(five[0], json!({ "status": 200, "success": true, "attempts": 3, "body": "fine" }));
    let short =
        |told: &Value| (told["status"].clone(), told["success"].clone(), told["attempts"].clone(), told["error_kind"].clone());
    assert_eq!(short(&five[1]), (json!(404), json!(false), json!(1), json!("rejected")), "an answer below 400 alone is success");
    let three = envelopes("retry: { attempts: 3, base_delay: 1ms }", &["broken"], menu);
    assert_eq!(short(&three[0]), (json!(500), json!(false), json!(3), json!("unavailable")));
    assert!(three[0]["error"].as_str().unwrap().starts_with("attempts exhausted after 3: "), "{three:?}");
}

#[test]
fn s3_8_what_is_sent_arrives_as_it_is() {
    let function = format!(
        "  f: {{ args: \"n BIGINT, user STRING\", returns: \"method STRING, query STRING, x STRING, body STRING\", http: {{ url: \"http://{{server}}/echo?a={{n}}\", \
         query: {{ who: \"{{user}}\" }}, headers: {{ X-User: \"<{{user}}>\" }}, body: {{ id: \"{{n}}\", name: \"{{user}}\", tags: [a, 1] }}, {LOCAL} }} }}"
    );
    let rows = [json!({ "n": 4, "user": "a b&c/\"d" })];
    let fixture = Fixture::new(&function, "SELECT f(n, user) AS c FROM t", &rows, |seen| async move {
        let echo = json!({ "method": seen.method, "query": seen.query, "x": seen.header("x-user"), "body": seen.body });
        reply(200, echo.to_string())
    });
    assert_eq!(fixture.run(&[]).code, 0);
    let expected = json!({
        "method": "POST", "query": "a=4&who=a%20b%26c%2F%22d", "x": "<a b&c/\"d>",
        "body": "{\"id\":4,\"name\":\"a b&c/\\\"d\",\"tags\":[\"a\",1]}",
    });
    assert_eq!(fixture.rows(), [json!({ "c": expected })]);
}

#[test]
fn s3_9_an_endpoint_that_does_not_answer_keeps_nobody_else_waiting() {
    let answer = |seen: Seen| async move {
        match seen.path.as_str() {
            "/slow" => std::future::pending().await,
            _ => reply(200, "fine"),
        }
    };
    let all = envelopes("timeout: 1s, retry: { attempts: 1 }, max_in_flight: 2", &["a", "slow", "b", "c"], answer);
    let statuses: Vec<&Value> = all.iter().map(|told| &told["status"]).collect();
    assert_eq!(statuses, [&json!(200), &Value::Null, &json!(200), &json!(200)]);
    assert_eq!((&all[1]["error_kind"], &all[1]["success"]), (&json!("timeout"), &json!(false)));
    assert!(all[1]["error"].as_str().unwrap().ends_with("no answer within 1s"), "{all:?}");
}

/// What stands behind `retry` happens with each attempt; what stands before it once; and a breaker that is open sends nothing.
#[test]
fn s3_10_the_chain_is_in_the_order_that_is_written() {
    let lines_of = |middleware: &str| {
        let function = format!(
            "  f: {{ args: n BIGINT, returns: BIGINT, retry: {{ base_delay: 1ms }}, http: {{ url: \"http://{{server}}/{{n}}\", \
             middleware: [{middleware}], {LOCAL} }} }}"
        );
        let fixture = Fixture::new(&function, "SELECT f(n) AS answer FROM t", &users(1), |seen| async move {
            if seen.number < 3 { reply(503, "") } else { reply(200, "1") }
        });
        let ended = fixture.run(&[]);
        assert_eq!((ended.code, fixture.server.seen().len()), (0, 3), "{ended:?}");
        ended.stderr.lines().filter(|line| line.contains("request finished")).count()
    };
    assert_eq!((lines_of("retry, logging"), lines_of("logging, retry")), (3, 1));
    let function = numbered(
        "max_in_flight: 1, on_error: return_null, retry: { attempts: 1 }, breaker: { min_calls: 10, window: 1h, open_for: 1h }",
    );
    let fixture = Fixture::new(&function, "SELECT f(n) AS answer FROM t", &users(50), |_| async { reply(500, "") });
    let ended = fixture.run(&[]);
    assert_eq!((ended.code, fixture.server.seen().len()), (0, 10), "{ended:?}");
    let dead = fixture.dead_letters();
    let by_breaker = dead.iter().filter(|letter| letter["reason"].as_str().unwrap().starts_with("no call is made"));
    assert_eq!((dead.len(), by_breaker.count()), (50, 40));
}

/// Every way in which a call fails, in one stream; some of it heals.
const MENU: [&str; 9] = ["fine", "throttled", "twice", "broken", "missing", "garbage", "wrong", "slow", "fine2"];
const HEALS: [&str; 4] = ["fine", "throttled", "twice", "fine2"];

fn menu(on_error: &str) -> Fixture {
    let function = format!(
        "  f: {{ args: user STRING, returns: INT, on_error: {on_error}, timeout: 1s, retry: {{ base_delay: 1ms }}, \
         http: {{ url: \"http://{{server}}/{{user}}\", answer: /n, {LOCAL} }} }}"
    );
    let times = Times::default();
    let rows: Vec<Value> = MENU.iter().enumerate().map(|(n, user)| json!({ "n": n, "user": user })).collect();
    Fixture::new(&function, "SELECT user, f(user) AS answer FROM t", &rows, move |seen| {
        let time = times.next(&seen.path);
        async move {
            match seen.path.as_str() {
                "/throttled" if time < 2 => with(reply(429, ""), "retry-after", "0"),
                "/twice" if time < 3 => reply(503, ""),
                "/broken" => reply(500, ""),
                "/missing" => reply(404, "{\"n\": 9}"),
                "/garbage" => reply(200, "<html>"),
                "/wrong" => reply(200, "{\"n\": \"many\"}"),
                "/slow" => std::future::pending().await,
                _ => reply(200, "{\"n\": 7}"),
            }
        }
    })
}

#[test]
fn scenario_13_every_failure_costs_what_it_must_and_goes_where_it_is_sent() {
    for on_error in ["return_null", "drop_row"] {
        let fixture = menu(on_error);
        let ended = fixture.run(&[]);
        assert_eq!(ended.code, 0, "{ended:?}");
        let stays = MENU.iter().filter(|user| on_error == "return_null" || HEALS.contains(user));
        // JSON leaves nulls out.
        let row = |user| if HEALS.contains(user) { json!({ "user": user, "answer": 7 }) } else { json!({ "user": user }) };
        let expected: Vec<Value> = stays.map(row).collect();
        assert_eq!(fixture.rows(), expected, "{on_error}");
        let mut times = BTreeMap::new();
        fixture.server.seen().iter().for_each(|seen| *times.entry(seen.path[1..].to_owned()).or_insert(0) += 1);
        let asked = MENU.map(|user| times[user]);
        assert_eq!(asked, [1, 2, 3, 3, 1, 1, 1, 3, 1], "{on_error}");
        let reasons: BTreeMap<String, String> = fixture
            .dead_letters()
            .iter()
            .map(|letter| {
                let row: Value = serde_json::from_str(letter["row"].as_str().unwrap()).unwrap();
                assert_eq!((&letter["kind"], &letter["operator"]), (&json!("failed_call"), &json!("function f")));
                let reason = letter["reason"].as_str().unwrap();
                (row["user"].as_str().unwrap().to_owned(), reason.replace(&fixture.server.address.to_string(), "api"))
            })
            .collect();
        let get = "GET http://api/{user}";
        let expected = [
            ("broken", format!("attempts exhausted after 3: {get}: answered 500 Internal Server Error")),
            ("garbage", reasons["garbage"].clone()),
            ("missing", format!("{get}: answered 404 Not Found")),
            ("slow", format!("attempts exhausted after 3: {get}: no answer within 1s")),
            ("wrong", reasons["wrong"].clone()),
        ];
        assert_eq!(reasons, expected.map(|(user, reason)| (user.to_owned(), reason)).into(), "{on_error}");
        assert!(reasons["garbage"].contains("JSON") && reasons["wrong"].contains("INT"), "{reasons:?}");
    }
}

#[test]
fn scenario_13_a_server_that_is_not_there_is_a_failure_like_any_other() {
    for (on_error, rows) in [("return_null", 3), ("drop_row", 0)] {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let function =
            numbered(&format!("on_error: {on_error}, retry: {{ base_delay: 1ms }}")).replace("{server}", &nobody.to_string());
        let fixture = Fixture::new(&function, "SELECT n, f(n) AS answer FROM t", &users(3), same_number);
        let ended = fixture.run(&[]);
        assert_eq!((ended.code, fixture.rows().len()), (0, rows), "{ended:?}");
        assert!(fixture.rows().iter().all(|row| row["answer"].is_null()));
        let dead = fixture.dead_letters();
        assert_eq!(dead.len(), 3);
        for letter in dead {
            let reason = letter["reason"].as_str().unwrap();
            assert!(reason.starts_with("attempts exhausted after 3: ") && reason.contains("no connection: "), "{reason}");
        }
    }
}

/// With `on_error: fail` a refusal ends the run, and a server that cannot answer is waited for.
#[test]
fn scenario_13_a_batch_that_fails_leaves_nothing_and_is_made_again() {
    let fixture = Fixture::new(&numbered("on_error: fail"), "SELECT n, f(n) AS answer FROM t", &users(10), |seen| async move {
        if seen.path == "/7" { reply(404, "") } else { same_number(seen).await }
    });
    let ended = fixture.run(&[]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("could not call function") && ended.stderr.contains("answered 404 Not Found"), "{ended:?}");
    assert!(fixture.rows().is_empty() && fixture.dead_letters().is_empty());

    let is_ill = Arc::new(AtomicBool::new(true));
    let ill = is_ill.clone();
    let function = numbered("on_error: fail, retry: { attempts: 2, base_delay: 1ms }");
    let fixture = Fixture::new(&function, "SELECT n, f(n) AS answer FROM t", &users(10), move |seen| {
        let refused = seen.path == "/7" && ill.load(Ordering::SeqCst);
        async move { if refused { reply(500, "") } else { same_number(seen).await } }
    });
    let running = fixture.start(&[]);
    running.says("answered 500");
    assert!(fixture.rows().is_empty());
    is_ill.store(false, Ordering::SeqCst);
    let ended = running.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(fixture.rows(), (0..10).map(|n| json!({ "n": n, "answer": n })).collect::<Vec<_>>());
    assert!(fixture.dead_letters().is_empty());
}

/// An API that takes one token only: the first, until a hundred calls were answered; from then on the second, once two hundred calls with
/// the first have come.
struct Revoking {
    fetched: AtomicUsize,
    answered: AtomicUsize,
    refused: watch::Sender<usize>,
}

impl Revoking {
    async fn answer(self: Arc<Self>, seen: Seen, canary: &str) -> Reply {
        if seen.path == "/token" {
            let number = self.fetched.fetch_add(1, Ordering::SeqCst) + 1;
            return reply(200, format!("{{\"access_token\": \"{canary}{number}\", \"expires_in\": 3600}}"));
        }
        let is_first = seen.header("authorization") == format!("Bearer {canary}1");
        if is_first && self.answered.fetch_add(1, Ordering::SeqCst) >= 100 {
            self.refused.send_modify(|refused| *refused += 1);
            let enough = self.refused.subscribe().wait_for(|refused| *refused >= 200).await.map(|_| ());
            enough.unwrap();
            return reply(401, "{\"error\": \"expired\"}");
        }
        reply(200, "1")
    }
}

#[test]
fn scenario_14_a_token_that_expires_with_two_hundred_calls_in_flight_is_renewed_once() {
    const CANARY: &str = "c4naryInTheMine";
    let function = format!(
        "  f: {{ args: n BIGINT, returns: INT, max_in_flight: 200, timeout: 30s, http: {{ url: \"http://{{server}}/{{n}}\", {LOCAL}, \
         auth: {{ oauth2_client_credentials: {{ token_url: \"http://{{server}}/token\", client_id: tide, client_secret: \"${{env:CANARY}}\" }} }} }} }}"
    );
    let api = Arc::new(Revoking { fetched: AtomicUsize::new(0), answered: AtomicUsize::new(0), refused: watch::Sender::new(0) });
    let asked = api.clone();
    let fixture = Fixture::new(&function, "SELECT n, f(n) AS answer FROM t", &users(400), move |seen| {
        let asked = asked.clone();
        async move { asked.answer(seen, CANARY).await }
    });
    fixture.server.close_gate();
    let running = fixture.start(&[("CANARY", CANARY)]);
    fixture.server.has_in_flight(1);
    let (status, metrics) = running.get("/metrics");
    assert!(status == 200 && metrics.contains("tidemill_function"), "{metrics}");
    assert!(!metrics.contains(CANARY));
    fixture.server.open_gate();
    let ended = running.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(fixture.rows(), (0..400).map(|n| json!({ "n": n, "answer": 1 })).collect::<Vec<_>>(), "no refusal is an answer");
    assert!(fixture.dead_letters().is_empty());
    assert_eq!(api.fetched.load(Ordering::SeqCst), 2, "one token for all, and one more");
    assert_eq!(fixture.server.seen().len(), 2 + 400 + 200);
    assert_eq!(fixture.server.in_flight_max(), 200);
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains(CANARY), "{ended:?}");
}

#[test]
fn scenario_14_both_sides_show_their_certificates() {
    let authority = certificates();
    let server = HttpServer::secured(authority.path(), same_number);
    let function = numbered("on_error: fail")
        .replace("http://", "https://")
        .replace(LOCAL, &format!("{LOCAL}, tls: {{ ca: tls/ca.pem, certificate: tls/client.pem, key: tls/client.key }}"));
    let fixture = Fixture::asking(server, &function, "SELECT n, f(n) AS answer FROM t", &users(20));
    for name in ["ca.pem", "client.pem", "client.key"] {
        fixture.folder.write(&format!("tls/{name}"), fs::read(authority.path().join(name)).unwrap());
    }
    let ended = fixture.run(&[]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(fixture.rows().len(), 20);
    let stranger =
        numbered("on_error: fail").replace("http://", "https://").replace(LOCAL, &format!("{LOCAL}, tls: {{ ca: tls/ca.pem }}"));
    let server = HttpServer::secured(authority.path(), same_number);
    let fixture = Fixture::asking(server, &stranger, "SELECT n, f(n) AS answer FROM t", &users(20));
    fixture.folder.write("tls/ca.pem", fs::read(authority.path().join("ca.pem")).unwrap());
    let ended = fixture.run(&[]);
    assert_eq!((ended.code, fixture.server.seen().len()), (1, 0), "{ended:?}");
    assert!(ended.stderr.contains("CertificateRequired"), "{ended:?}");
}

/// The program that keeps a token fresh puts the next one into the file.
#[test]
fn a_token_that_is_replaced_in_its_file_is_taken_from_there() {
    let tokens = Folder::new();
    tokens.write("token", "one\n");
    let file = tokens.path("token");
    let function = numbered("max_in_flight: 1")
        .replace(LOCAL, &format!("{LOCAL}, auth: {{ bearer: {{ token: \"${{file:{}}}\" }} }}", file.display()));
    let fixture = Fixture::new(&function, "SELECT n, f(n) AS answer FROM t", &users(10), move |seen| {
        let right = if seen.number <= 5 { "Bearer one" } else { "Bearer two" };
        if seen.number == 6 {
            fs::write(&file, "two\n").unwrap();
        }
        async move { if seen.header("authorization") == right { same_number(seen).await } else { reply(401, "") } }
    });
    let ended = fixture.run(&[]);
    assert_eq!((ended.code, fixture.rows().len(), fixture.server.seen().len()), (0, 10, 11), "{ended:?}");
}

/// While a hundred calls hang, whoever watches the process is answered.
#[test]
fn s4_4_calls_that_hang_do_not_keep_the_health_check_waiting() {
    let function = numbered("max_in_flight: 100, timeout: 1h");
    let fixture = Fixture::new(&function, "SELECT n, f(n) AS answer FROM t", &users(100), same_number);
    fixture.server.close_gate();
    let running = fixture.start(&[]);
    fixture.server.has_in_flight(100);
    for _ in 0..50 {
        assert_eq!(running.get("/healthz").0, 200);
    }
    assert_eq!(running.state_of("q"), "running");
    let (_, metrics) = running.get("/metrics");
    let in_flight = metrics
        .lines()
        .find(|line| line.starts_with("tidemill_function") && line.contains("in_flight") && line.ends_with(" 100"));
    assert!(in_flight.is_some(), "{metrics}");
    assert!(fixture.rows().is_empty(), "they hung all the while");
    fixture.server.open_gate();
    assert_eq!(running.end().code, 0);
    assert_eq!(fixture.rows().len(), 100);
}
