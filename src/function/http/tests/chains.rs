use std::sync::Mutex;

use super::chain::{Middleware, Next, Reply, Transport};
use super::*;
use crate::function::policy::{BreakerState, Retry};

type Log = Arc<Mutex<Vec<String>>>;

#[derive(Debug)]
struct Noting(&'static str, Log);

#[async_trait]
impl Middleware for Noting {
    async fn handle(&self, request: Box<Request>, next: Next<'_>) -> Result<Reply, CallError> {
        self.1.lock().unwrap().push(format!("{} in", self.0));
        let reply = next.run(request).await;
        self.1.lock().unwrap().push(format!("{} out", self.0));
        reply
    }
}

#[derive(Debug)]
struct ShortCircuit;

#[async_trait]
impl Middleware for ShortCircuit {
    async fn handle(&self, _: Box<Request>, _: Next<'_>) -> Result<Reply, CallError> {
        Ok(answered())
    }
}

/// Fails so many times, then answers.
#[derive(Debug)]
struct Flaky(Log, Mutex<u32>);

#[async_trait]
impl Transport for Flaky {
    async fn send(&self, _: Box<Request>) -> Result<Reply, CallError> {
        self.0.lock().unwrap().push("request".to_owned());
        let mut left = self.1.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            return Err(CallError::new(CallErrorKind::Unavailable, "busy"));
        }
        Ok(answered())
    }
}

fn answered() -> Reply {
    Reply { status: reqwest::StatusCode::OK, headers: HeaderMap::new(), body: bytes::Bytes::new() }
}

async fn run(failures: u32, steps: impl FnOnce(&Log) -> Vec<Arc<dyn Middleware>>) -> String {
    let log = Log::default();
    let chain = Chain::new(steps(&log), Arc::new(Flaky(log.clone(), Mutex::new(failures))));
    let row = RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
    let args = Arguments { row, time_zone: "UTC".into(), request_id: "".into() };
    let call = Arc::new(Call::new(args, Attempts::default()));
    let request =
        Box::new(Request { method: Method::GET, url: "http://x/".parse().unwrap(), headers: HeaderMap::new(), body: None, call });
    chain.run(request).await.unwrap();
    log.lock().unwrap().join(", ")
}

#[tokio::test]
async fn s3_10_a_chain_runs_from_the_outside_in_and_back() {
    let noting = |name, log: &Log| Arc::new(Noting(name, log.clone())) as Arc<dyn Middleware>;
    let all = run(0, |log| vec![noting("A", log), noting("B", log), noting("C", log)]).await;
    assert_eq!(all, "A in, B in, C in, request, C out, B out, A out");
    let short = run(0, |log| vec![noting("A", log), Arc::new(ShortCircuit), noting("C", log)]).await;
    assert_eq!(short, "A in, A out");
    let retry = run(2, |log| vec![noting("A", log), Arc::new(Retry::new(calls().retry)), noting("B", log)]).await;
    assert_eq!(retry, "A in, B in, request, B out, B in, request, B out, B in, request, B out, A out");
}

#[tokio::test]
async fn the_configured_order_holds() {
    let server = Server::scripted(&[503]).await;
    let mut settings = local(&server.url("/"));
    settings.answer = AnswerSettings::Envelope;
    let mut run = |steps: &[Step]| {
        settings.middleware = steps.to_vec();
        let calls = CallSettings { chunk_size: 1, ..CallSettings::default() };
        let function = Fixture::with("x STRING", "status INT, attempts INT, success BOOLEAN", &settings, calls);
        async move { function.answer(vec![text("x")]).await }
    };
    // Without the middleware there is one attempt.
    let first = run(&[Step::Headers, Step::Logging]).await;
    assert_eq!(first, r#"{"status":503,"attempts":1,"success":false}"#);
    assert_eq!(run(&[Step::Retry]).await, r#"{"status":200,"attempts":1,"success":true}"#);
}

#[tokio::test]
async fn nothing_is_sent_while_most_requests_fail() {
    let server = Server::start(|_| async { reply(503, "") }).await;
    let breaker = crate::function::policy::BreakerSettings { calls_min: 3, ..Default::default() };
    let calls = CallSettings { breaker: Some(breaker), ..calls() };
    let mut settings = local(&server.url("/"));
    settings.answer = AnswerSettings::Envelope;
    let function = Fixture::with("x STRING", "attempts INT, error_kind STRING, status INT", &settings, calls);
    assert_eq!(function.function.breaker(), Some(BreakerState::Closed));
    assert_eq!(function.answer(vec![text("x")]).await, r#"{"attempts":3,"error_kind":"unavailable","status":503}"#);
    assert_eq!(function.function.breaker(), Some(BreakerState::Open));
    assert_eq!(function.answer(vec![text("x")]).await, r#"{"attempts":0,"error_kind":"circuit_open","status":null}"#);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn an_envelope_tells_of_every_call() {
    let server = Server::scripted(&[404]).await;
    let mut settings = local(&server.url("/u/{user}?key=secret"));
    settings.body = Some(BodyTree::Object(vec![("user".to_owned(), BodyTree::Text(template("{user}")))]));
    settings.headers = vec![("idempotency-key".to_owned(), template("{$request_id}"))];
    settings.answer = AnswerSettings::Envelope;
    let returns = "request_id STRING, row_hash STRING, url STRING, method STRING, status INT, body STRING, success BOOLEAN, \
                   error STRING, error_kind STRING, attempts INT, requested_at TIMESTAMP";
    let function = Fixture::new("user STRING", returns, &settings);
    let url = server.url("/u/John");
    let failed: serde_json::Value = serde_json::from_str(&function.answer(vec![text("John")]).await).unwrap();
    assert_eq!(failed["request_id"], "p/q/7/risk.1/3");
    assert_eq!((&failed["url"], &failed["method"]), (&url.as_str().into(), &"POST".into()));
    assert_eq!((&failed["status"], &failed["success"], &failed["attempts"]), (&404.into(), &false.into(), &1.into()));
    let expected = format!("POST {}: answered 404 Not Found", server.url("/u/{user}"));
    assert_eq!((&failed["error"], &failed["error_kind"]), (&expected.into(), &"rejected".into()));
    assert_eq!((&failed["body"], &failed["requested_at"]), (&"{\"n\": 1}".into(), &"2026-01-02T03:04:05.678Z".into()));
    let sent = &server.seen()[0];
    let computed: String = {
        use sha2::Digest;
        sha2::Sha256::digest(sent.body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    assert_eq!((&failed["row_hash"], sent.body.as_str()), (&computed.as_str().into(), "{\"user\":\"John\"}"));
    assert_eq!(sent.header("idempotency-key"), "p/q/7/risk.1/3");
    let right: serde_json::Value = serde_json::from_str(&function.answer(vec![text("John")]).await).unwrap();
    assert_eq!((&right["success"], &right["error"], &right["status"]), (&true.into(), &serde_json::Value::Null, &200.into()));
}

#[tokio::test]
async fn values_and_envelope_mix() {
    let server = Server::start(|seen| async move {
        match seen.number {
            1 => reply(200, r#"{"data": {"score": 0.5}}"#),
            2 => reply(200, "garbage"),
            _ => reply(400, r#"{"data": {"score": 0.7}}"#),
        }
    })
    .await;
    let mut settings = local(&server.url("/"));
    let named = [("score", "/data/score"), ("ok", "$success"), ("why", "$error_kind"), ("took", "$time_ms")];
    settings.answer = AnswerSettings::Fields(named.map(|(name, at)| (name.to_owned(), at.to_owned())).into());
    let function = Fixture::new("x STRING", "score DOUBLE, ok BOOLEAN, why STRING, took BIGINT", &settings);
    for expected in [
        r#"{"score":0.5,"ok":true,"why":null,"#,
        r#"{"score":null,"ok":false,"why":"bad_answer","#,
        r#"{"score":null,"ok":false,"why":"rejected","#,
    ] {
        let answer = function.answer(vec![text("x")]).await;
        assert!(answer.starts_with(expected) && !answer.contains("\"took\":null"), "{answer}");
    }
}
