use super::*;

#[tokio::test]
async fn s3_5_a_flaky_api_is_asked_again() {
    let server = Server::scripted(&[503, 503, 200]).await;
    let retry = RetrySettings { attempts: 5, ..calls().retry };
    let function = Fixture::with("x STRING", "n INT", &local(&server.url("/")), CallSettings { retry, ..calls() });
    let (answer, attempts) = function.call(vec![text("x")]).await;
    assert_eq!((json(answer.unwrap()).as_str(), attempts, server.seen().len()), ("{\"n\":3}", 3, 3));
}

#[tokio::test]
async fn s3_6_an_api_that_always_fails_is_given_up() {
    let server = Server::start(|_| async { reply(500, "") }).await;
    let function = Fixture::new("x STRING", "n INT", &local(&server.url("/risk?key=1")));
    let (answer, attempts) = function.call(vec![text("x")]).await;
    let error = answer.unwrap_err();
    assert_eq!((error.kind, error.attempts, attempts, server.seen().len()), (CallErrorKind::Unavailable, 3, 3, 3));
    let expected = format!("attempts exhausted after 3: GET {}: answered 500 Internal Server Error", server.url("/risk"));
    assert_eq!(error.message, expected);
}

#[tokio::test]
async fn s3_7_a_no_is_taken_for_an_answer() {
    for status in [400, 401, 403, 404, 409, 410, 422, 501, 505] {
        let server = Server::start(move |_| async move { reply(status, "{}") }).await;
        let function = Fixture::new("x STRING", "n INT", &local(&server.url("/")));
        let (answer, attempts) = function.call(vec![text("x")]).await;
        assert_eq!((answer.unwrap_err().kind, attempts), (CallErrorKind::Rejected, 1), "{status}");
    }
}

#[tokio::test]
async fn success_and_what_is_asked_again_can_be_set() {
    let server = Server::scripted(&[404, 409, 409, 206]).await;
    let mut settings = local(&server.url("/"));
    settings.statuses = Statuses { success: vec![404..=404, 200..=204], transient: vec![409..=409] };
    let function = Fixture::new("x STRING", "n INT", &settings);
    assert_eq!(function.answer(vec![text("x")]).await, "{\"n\":1}");
    let (kind, message) = function.error(vec![text("x")]).await;
    assert_eq!(kind, CallErrorKind::Rejected);
    assert!(message.ends_with("answered 206 Partial Content"), "{message}");
    assert_eq!(server.seen().len(), 4);
}

/// Nobody listens on a port that was just given back.
#[tokio::test]
async fn a_refused_connection_is_tried_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let function = Fixture::new("x STRING", "n INT", &local(&url));
    let (answer, attempts) = function.call(vec![text("x")]).await;
    let error = answer.unwrap_err();
    assert_eq!((error.kind, attempts), (CallErrorKind::Unavailable, 3));
    assert!(error.message.contains("no connection: Connection refused"), "{}", error.message);
}

#[tokio::test]
async fn s3_9_no_answer_in_time_is_a_timeout_and_the_next_call_goes_on() {
    let server = Server::start(|seen| async move {
        if seen.number == 1 {
            std::future::pending::<()>().await;
        }
        reply(200, "{\"n\": 2}")
    })
    .await;
    let retry = RetrySettings { attempts: 1, ..calls().retry };
    let calls = CallSettings { timeout: Duration::from_millis(100), retry, ..calls() };
    let function = Fixture::with("x STRING", "n INT", &local(&server.url("/")), calls);
    let (kind, message) = function.error(vec![text("x")]).await;
    assert_eq!((kind, message), (CallErrorKind::Timeout, format!("GET {}: no answer within 100ms", server.url("/"))));
    assert_eq!(function.answer(vec![text("x")]).await, "{\"n\":2}");
}

#[tokio::test]
async fn the_pause_that_is_asked_for_is_kept() {
    let server = Server::start(|seen| async move {
        if seen.number == 1 { with(reply(429, ""), "retry-after", "1") } else { reply(200, "{}") }
    })
    .await;
    let function = Fixture::new("x STRING", "n INT", &local(&server.url("/")));
    let started = std::time::Instant::now();
    function.answer(vec![text("x")]).await;
    assert!(started.elapsed() >= Duration::from_secs(1));
    // Too long a pause ends the attempts at once.
    let server = Server::start(|_| async { with(reply(503, ""), "retry-after", "3600") }).await;
    let function = Fixture::new("x STRING", "n INT", &local(&server.url("/")));
    let (answer, attempts) = function.call(vec![text("x")]).await;
    let error = answer.unwrap_err();
    assert_eq!((attempts, error.retry_after), (1, Some(Duration::from_secs(3600))));
}

#[tokio::test]
async fn garbage_is_a_bad_answer() {
    for (body, expected) in [
        ("<html>", "the answer is not JSON: expected value at line 1 column 1"),
        ("{\"n\": 1", "the answer is not JSON: EOF while parsing an object at line 1 column 7"),
        ("{\"n\": 1} x", "the answer is not JSON: trailing characters at line 1 column 10"),
        ("{\"n\": \"many\"}", "the answer's /n is no INT"),
        ("{\"n\": 99999999999}", "the answer's /n is no INT"),
    ] {
        let server = Server::start(move |_| async move { reply(200, body) }).await;
        let function = Fixture::new("x STRING", "n INT, s STRING", &local(&server.url("/")));
        assert_eq!(function.error(vec![text("x")]).await, (CallErrorKind::BadAnswer, expected.to_owned()), "{body}");
        assert_eq!(server.seen().len(), 1, "it is not asked again");
    }
    let server = Server::start(|_| async { reply(200, vec![b'"', 0xff, b'"']) }).await;
    let function = Fixture::new("x STRING", "STRING", &local(&server.url("/")));
    assert_eq!(function.error(vec![text("x")]).await, (CallErrorKind::BadAnswer, "the answer is not UTF-8".to_owned()));
}

#[tokio::test]
async fn an_answer_is_read_no_further_than_its_limit() {
    let endless = |_| async {
        let chunks = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(bytes::Bytes::from_static(&[b' '; 1000])));
        reply(200, axum::body::Body::from_stream(chunks))
    };
    let server = Server::start(endless).await;
    let calls = CallSettings { answer_bytes_max: 64 << 10, ..calls() };
    let function = Fixture::with("x STRING", "n INT", &local(&server.url("/")), calls.clone());
    let (kind, message) = function.error(vec![text("x")]).await;
    assert_eq!(
        (kind, message),
        (CallErrorKind::BadAnswer, format!("GET {}: the answer is larger than max_answer (64 KiB)", server.url("/")))
    );
    let server = Server::start(|_| async { reply(200, " ".repeat((64 << 10) - 2) + "{}") }).await;
    let function = Fixture::with("x STRING", "n INT", &local(&server.url("/")), calls);
    assert_eq!(function.answer(vec![text("x")]).await, "{\"n\":null}");
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        for answer in
            ["", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"n\": 3}"]
        {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            assert!(stream.read(&mut buffer).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let function = Fixture::new("x STRING", "n INT", &local(&url));
    let (answer, attempts) = function.call(vec![text("x")]).await;
    assert_eq!((json(answer.unwrap()).as_str(), attempts), ("{\"n\":3}", 3));
    server.await.unwrap();
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = Server::start(|_| async { with(reply(302, ""), "location", "/elsewhere") }).await;
    let mut settings = local(&server.url("/"));
    settings.answer =
        AnswerSettings::Fields(vec![("status".to_owned(), "$status".to_owned()), ("to".to_owned(), "$headers".to_owned())]);
    let function = Fixture::new("x STRING", "status INT, to MAP<STRING, STRING>", &settings);
    let answer = function.answer(vec![text("x")]).await;
    assert!(answer.starts_with(r#"{"status":302,"to":{"location":"/elsewhere""#), "{answer}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn an_address_that_is_not_public_is_not_called() {
    let server = Server::scripted(&[]).await;
    // A literal address is refused before anything runs, a name when it is resolved.
    let mut settings = HttpSettings::new(template(&server.url("/{x}")));
    let mistakes = settings.mistakes(&signature("x STRING", "n INT"), &calls());
    let expected = "127.0.0.1 is not a public address: allow_addresses must name it or its network";
    assert_eq!(mistakes, [Mistake { setting: "url", message: expected.to_owned() }]);
    settings.url = template(&format!("http://localhost:{}/{{x}}", server.address.port()));
    let function = Fixture::new("x STRING", "n INT", &settings);
    let (answer, attempts) = function.call(vec![text("x")]).await;
    let error = answer.unwrap_err();
    assert_eq!((error.kind, attempts), (CallErrorKind::Config, 1));
    assert!(
        error.message.contains("localhost is at ") && error.message.ends_with("allow_addresses must name it or its network"),
        "{error}"
    );
    assert!(server.seen().is_empty());
    settings.connection.addresses.allow = vec!["127.0.0.1/32".parse().unwrap()];
    assert_eq!(Fixture::new("x STRING", "n INT", &settings).answer(vec![text("x")]).await, "{\"n\":1}");
    for written in
        ["http://2130706433/", "http://0x7f.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://0/", "http://127.1/"]
    {
        let mistakes = HttpSettings::new(template(written)).mistakes(&signature("x STRING", "n INT"), &calls());
        assert!(mistakes.len() == 1 && mistakes[0].message.contains("is not a public address"), "{written}: {mistakes:?}");
    }
}

#[tokio::test]
async fn failures_route_as_the_engine_is_told() {
    let server = Server::start(|seen| async move { if seen.path == "/2" { reply(404, "") } else { reply(200, "1") } }).await;
    let batch = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef)]).unwrap();
    let run = |on_error| {
        let function = Fixture::with("n BIGINT", "INT", &local(&server.url("/{n}")), CallSettings { on_error, ..calls() });
        let batch = batch.clone();
        async move { function.all(batch).await }
    };
    assert_eq!(run(OnError::ReturnNull).await.unwrap(), ["1", "null", "1"]);
    let error = run(OnError::Fail).await.unwrap_err();
    let answered = format!("GET {}: answered 404 Not Found", server.url("/{n}"));
    assert_eq!(error, format!("could not call function \"risk\" for row 2 (attempts: 1): {answered}"));
}
