//! Pipelines that call an HTTP API: the real binary against a server of the test.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::http_server::{Fixture, LOCAL, reply, users, with};

#[test]
fn rows_are_enriched_in_order_and_few_at_a_time() {
    let function = format!(
        "  risk: {{ args: \"user STRING, n BIGINT\", returns: \"score DOUBLE, band STRING\", max_in_flight: 20, \
         http: {{ url: \"http://{{server}}/u/{{user}}\", body: {{ n: \"{{n}}\" }}, answer: {{ score: /data/score, band: /data/band }}, {LOCAL} }} }}"
    );
    let fixture = Fixture::new(
        &function,
        "SELECT n, risk(user, n).score AS score, risk(user, n).band AS band FROM t WHERE n >= 10",
        &users(200),
        |seen| async move {
            let body: Value = serde_json::from_str(&seen.body).unwrap();
            reply(200, json!({ "data": { "score": body["n"], "band": seen.path } }).to_string())
        },
    );
    for command in ["check", "explain"] {
        let ended = fixture.folder.run(&[command, "pipeline.yaml"]);
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    assert!(fixture.server.seen().is_empty(), "nothing is called before a batch runs");
    let ended = fixture.run(&[]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let expected: Vec<Value> = (10..200).map(|n| json!({ "n": n, "score": f64::from(n), "band": format!("/u/u{n}") })).collect();
    assert_eq!(fixture.rows(), expected);
    assert_eq!(fixture.server.seen().len(), 190, "one call a row, however many fields are read, behind the filter");
    assert!(fixture.server.in_flight_max() <= 20);
}

/// Each row meets another failure: what heals is answered, what does not is null and goes to the dead letter.
#[test]
fn every_failure_goes_where_it_is_sent() {
    let function = format!(
        "  risk: {{ args: user STRING, returns: INT, on_error: return_null, retry: {{ base_delay: 1ms }}, timeout: 5s, \
         http: {{ url: \"http://{{server}}/{{user}}\", answer: /n, {LOCAL} }} }}"
    );
    let names = ["fine", "flaky", "busy", "broken", "missing", "garbage", "text", "moved", "fine2"];
    let rows: Vec<Value> = names.iter().enumerate().map(|(n, user)| json!({ "n": n, "user": user })).collect();
    let asked: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let fixture = Fixture::new(&function, "SELECT n, risk(user) AS answer FROM t", &rows, move |seen| {
        let asked = asked.clone();
        async move {
            let time = {
                let mut asked = asked.lock().unwrap();
                let time = asked.entry(seen.path.clone()).or_default();
                *time += 1;
                *time
            };
            match seen.path.as_str() {
                "/flaky" if time < 3 => reply(503, ""),
                "/busy" if time < 2 => with(reply(429, ""), "retry-after", "0"),
                "/broken" => reply(500, ""),
                "/missing" => reply(404, "{\"n\": 9}"),
                "/garbage" => reply(200, "<html>"),
                "/text" => reply(200, "{\"n\": \"many\"}"),
                "/moved" => with(reply(301, ""), "location", "/fine"),
                _ => reply(200, "{\"n\": 7}"),
            }
        }
    });
    let ended = fixture.run(&[]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let expected = [Some(7), Some(7), Some(7), None, None, None, None, None, Some(7)];
    let answers: Vec<Option<i64>> = fixture.rows().iter().map(|row| row["answer"].as_i64()).collect();
    assert_eq!(answers, expected);
    let asked = |path: &str| fixture.server.seen().iter().filter(|seen| seen.path == path).count();
    assert_eq!(["/fine", "/flaky", "/busy", "/broken", "/missing", "/garbage"].map(asked), [1, 3, 2, 3, 1, 1]);
    let kinds: Vec<String> =
        fixture.dead_letters().iter().map(|row| row["kind"].as_str().unwrap_or_default().to_owned()).collect();
    // A redirect without content is an answer that has nothing.
    assert_eq!(kinds, vec!["failed_call"; 4]);
}

#[test]
fn a_row_tells_of_its_call() {
    let function = format!(
        "  call: {{ args: user STRING, returns: \"request_id STRING, row_hash STRING, status INT, success BOOLEAN, attempts INT, error STRING\", \
         retry: {{ base_delay: 1ms }}, http: {{ url: \"http://{{server}}/{{user}}\", body: {{ u: \"{{user}}\" }}, answer: envelope, {LOCAL} }} }}"
    );
    let fixture = Fixture::new(&function, "SELECT n, call(user) AS c FROM t", &users(3), |seen| async move {
        if seen.path == "/u1" { reply(500, "") } else { reply(200, "fine, though not JSON") }
    });
    let ended = fixture.run(&[]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let rows = fixture.rows();
    let told: Vec<_> = rows.iter().map(|row| (&row["c"]["status"], &row["c"]["success"], &row["c"]["attempts"])).collect();
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(told, [(&json!(200), &yes, &json!(1)), (&json!(500), &no, &json!(3)), (&json!(200), &yes, &json!(1))]);
    assert!(rows[1]["c"]["error"].as_str().unwrap().contains("exhausted"), "{rows:?}");
    // printf '{"u":"u0"}' | sha256sum
    assert_eq!(rows[0]["c"]["row_hash"], "ebfbd8c988e221b7df2b31d6ed122f611a5a9975d88ed600f1b6afe724a71389");
    let id = rows[2]["c"]["request_id"].as_str().unwrap();
    assert!(id.contains("/q/0/call.") && id.ends_with("/3"), "{id}");
}

/// Every secret a function can hold is somewhere in this pipeline, and in nothing that it leaves behind.
#[test]
fn no_secret_is_left_anywhere() {
    const CANARY: &str = "c4naryInTheMine";
    let functions = format!(
        "  token: {{ args: user STRING, returns: INT, on_error: return_null, retry: {{ attempts: 1 }}, http: {{ url: \"http://{{server}}/${{env:CANARY}}/{{user}}?k=${{env:CANARY}}\", \
         headers: {{ X-Key: \"${{env:CANARY}}\" }}, body: [\"${{env:CANARY}}\"], auth: {{ oauth2_password: {{ token_url: \"http://{{server}}/token?t=${{env:CANARY}}\", \
         client_id: \"${{env:CANARY}}\", client_secret: \"${{env:CANARY}}\", username: jo, password: \"${{env:CANARY}}\" }} }}, {LOCAL} }} }}\n  \
         basic: {{ args: user STRING, returns: \"url STRING, error STRING\", http: {{ url: \"http://{{server}}/{{user}}\", answer: envelope, \
         auth: {{ basic: {{ username: \"${{env:CANARY}}\", password: \"${{env:CANARY}}\" }} }}, {LOCAL} }} }}"
    );
    let fixture = Fixture::new(&functions, "SELECT n, token(user) AS a, basic(user) AS b FROM t", &users(3), |seen| async move {
        if seen.path == "/token" { reply(200, format!("{{\"access_token\": \"{CANARY}\"}}")) } else { reply(401, "") }
    });
    let ended = fixture.run(&[("CANARY", CANARY)]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let sent = format!("{:?}", fixture.server.seen());
    assert!(sent.contains(CANARY), "the canary was alive");
    let explained = fixture.folder.start_with(&["explain", "pipeline.yaml"], &[("CANARY", CANARY)]).end();
    let mut left = vec![(
        "output".to_owned(),
        format!("{}{}{}{}", ended.stdout, ended.stderr, explained.stdout, explained.stderr).into_bytes(),
    )];
    for name in all_files(&fixture.folder.path("")) {
        left.push((name.display().to_string(), fs::read(&name).unwrap()));
    }
    assert!(left.len() > 4, "{left:?}");
    let base64 = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(format!("{CANARY}:{CANARY}"))
    };
    for (name, bytes) in left {
        let text = String::from_utf8_lossy(&bytes);
        for secret in [CANARY, &base64] {
            assert!(!text.contains(secret), "{secret} in {name}:\n{text}");
        }
    }
}

fn all_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(all_files(&path)) } else { files.push(path) }
    }
    files
}
