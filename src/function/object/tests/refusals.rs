use super::*;

#[tokio::test]
async fn what_fails_is_tried_again_where_that_may_help() {
    let server = Server::start(|seen| async move {
        match seen.path.as_str() {
            "/lake/slow_down" if seen.number < 3 => refusal(503, "SlowDown"),
            "/lake/slow_down" => object(&seen),
            "/lake/wrong_key" => refusal(403, "SignatureDoesNotMatch"),
            "/lake/denied" => refusal(403, "AccessDenied"),
            "/lake/no_bucket" => refusal(404, "NoSuchBucket"),
            "/lake/moved" => with(refusal(301, "PermanentRedirect"), "location", "/lake/slow_down"),
            "/lake/later" => with(refusal(429, "TooMany"), "retry-after", "3600"),
            "/lake/strange" => with(
                reply(200, axum::body::Body::from_stream(futures::stream::iter([Ok::<_, std::io::Error>("x")]))),
                "etag",
                "e",
            ),
            _ => std::future::pending().await,
        }
    })
    .await;
    let function = Fixture::new(
        &objects(&server),
        "STRING",
        &settings("{path}", None),
        CallSettings { max_in_flight: 1, timeout: Duration::from_millis(500), ..calls() },
    );
    assert_eq!(function.one("slow_down").await, "\"slow_downslow_down\"");
    assert_eq!(server.seen().len(), 3);
    let asked = async |path: &str| {
        let before = server.seen().len();
        let answer = function.one(path).await;
        (answer, server.seen().len() - before)
    };
    let once = |text: &str| (text.to_owned(), 1);
    assert_eq!(asked("wrong_key").await, once("config 1 {path}: answered 403 Forbidden (SignatureDoesNotMatch)"));
    assert_eq!(asked("denied").await, once("rejected 1 {path}: answered 403 Forbidden (AccessDenied)"));
    assert_eq!(asked("no_bucket").await, once("config 1 {path}: there is no such bucket"));
    let moved =
        "config 1 {path}: answered 301 Moved Permanently (PermanentRedirect): the bucket is at another endpoint or region";
    assert_eq!(asked("moved").await, once(moved));
    let later = "unavailable 1 no further attempt, as it asks to wait 3600s: {path}: answered 429 Too Many Requests (TooMany)";
    assert_eq!(asked("later").await, once(later));
    let (strange, _) = asked("strange").await;
    assert!(strange.starts_with("bad_answer 1 {path}: ") && strange.contains("Content-Length"), "{strange}");
    let (slow, attempts) = asked("never").await;
    assert_eq!((slow.as_str(), attempts), ("timeout 3 attempts exhausted after 3: no answer within 500ms", 3));
}

#[tokio::test]
async fn a_store_that_is_not_there_or_hangs_up_is_asked_again() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = lake().await;
    let settings = S3Settings { endpoint: Some(Text::secret(format!("http://{nobody}/"), "${env:LAKE}")), ..s3(&server) };
    let answer = Fixture::plain(&Objects::s3(&settings).unwrap(), "STRING").one("a").await;
    assert!(answer.starts_with("unavailable 3 attempts exhausted after 3: {path}: no connection: "), "{answer}");
    assert!(!answer.contains(&nobody.to_string()), "{answer}");
    // It ends in the middle of the content, once.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings =
        S3Settings { endpoint: Some(Text::plain(format!("http://{}/", listener.local_addr().unwrap()))), ..s3(&server) };
    let serving = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        for content in ["", "ab", "abcd"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 8192];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            let head = format!("HTTP/1.1 200 OK\r\netag: \"e\"\r\nlast-modified: {MODIFIED}\r\ncontent-length: 4\r\n\r\n");
            stream.write_all(if content.is_empty() { String::new() } else { head + content }.as_bytes()).await.unwrap();
        }
    });
    assert_eq!(Fixture::plain(&Objects::s3(&settings).unwrap(), "STRING").one("a").await, "\"abcd\"");
    serving.await.unwrap();
}

#[tokio::test]
async fn a_path_cannot_leave_its_place_and_is_never_sent_if_it_tries() {
    let server = lake().await;
    let function = Fixture::new(&objects(&server), "STRING", &settings("mine/{path}", None), calls());
    for path in ["..", "../other", "a/../../b", ".", "a/./b", "", "/a", "a//b", "a/", "a\0", "a\nb"] {
        let answer = function.one(path).await;
        assert!(
            answer.starts_with("rejected 1 mine/{path}: ") || answer.starts_with("rejected 1 expected a path"),
            "{path:?}: {answer}"
        );
    }
    let long = "x".repeat(1020);
    assert!(function.one(&long).await.contains("no object has a path of more than 1024 bytes"));
    assert!(function.all_of(vec![None]).await[0].contains("argument path is null"));
    let alone = Fixture::plain(&objects(&server), "STRING");
    assert!(alone.all_of(vec![None]).await[0].contains("the path is null"));
    assert!(server.seen().is_empty());
    assert_eq!(function.one("%2e%2e/é").await, "\"mine/%252e%252e/%C3%A9mine/%252e%252e/%C3%A9\"");
}

#[tokio::test]
async fn content_that_is_no_text_is_a_failure_of_its_row() {
    let server = Server::start(|_| async { with(reply(200, vec![0xff, 0xfe]), "etag", "e") }).await;
    let objects = objects(&server);
    assert_eq!(Fixture::plain(&objects, "STRING").one("a").await, "bad_answer 1 {path}: the content is no UTF-8 text");
    assert_eq!(Fixture::plain(&objects, "BINARY").one("a").await, "\"//4=\"");
}

#[tokio::test]
async fn only_addresses_that_are_allowed_are_called() {
    let server = lake().await;
    let mut refused = s3(&server);
    refused.connection.addresses.allow.clear();
    let expected = "127.0.0.1 is not a public address: allow_addresses must name it or its network";
    assert_eq!(refused.mistakes(), [Mistake { setting: "endpoint", message: expected.to_owned() }]);
    assert!(Objects::s3(&refused).unwrap_err().message().contains(expected));
    // A name is judged when it is looked up.
    refused.endpoint = Some(Text::plain(format!("http://localhost:{}", server.address.port())));
    let answer = Fixture::plain(&Objects::s3(&refused).unwrap(), "STRING").one("a").await;
    assert!(
        answer.starts_with("config 1 {path}: localhost is at ") && answer.ends_with("must name it or its network"),
        "{answer}"
    );
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn what_is_wrong_is_found_before_anything_is_opened() {
    let server = lake().await;
    let wrong = |change: &dyn Fn(&mut S3Settings)| {
        let mut settings = s3(&server);
        change(&mut settings);
        settings
            .mistakes()
            .into_iter()
            .map(|mistake| format!("{}: {}", mistake.setting, mistake.message))
            .collect::<Vec<_>>()
            .join("; ")
    };
    assert_eq!(wrong(&|_| {}), "");
    for bucket in ["", "a", "Upper", "a..b", "-ab", "a/b", "a?b"] {
        assert!(wrong(&|settings| settings.bucket = bucket.to_owned()).starts_with("bucket: "), "{bucket}");
    }
    assert_eq!(
        wrong(&|settings| settings.allow_http = false),
        "endpoint: expected a URL that begins with https://, or allow_http: true"
    );
    assert_eq!(wrong(&|settings| settings.path_style = false), "endpoint: expected a host with a name, or path_style: true");
    assert_eq!(wrong(&|settings| settings.region = "eu central".to_owned()), "region: expected a region such as eu-central-1");
    let text = |text: &str| Text::secret(text, "(secret)");
    assert!(wrong(&|settings| settings.key = Some((text("a b"), text("")))).matches("expected a key").count() == 2);
    assert!(wrong(&|settings| settings.session_token = Some(text("a\nb"))).starts_with("session_token: "));
    assert!(wrong(&|settings| settings.endpoint = Some(text("ftp://x"))).starts_with("endpoint: "));

    let declared = |returns: &str, path: &str, range: Option<&str>| {
        let mistakes = settings(path, range).mistakes(&signature(returns));
        mistakes.into_iter().map(|mistake| format!("{}: {}", mistake.setting, mistake.message)).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(declared("BINARY", "{path}", None), "");
    assert_eq!(declared("INT", "{path}", None), "returns: a single value of an object is BINARY or STRING, not INT");
    assert_eq!(
        declared("STRUCT<contents: BINARY>", "{path}", None),
        "returns: an object has no \"contents\"; did you mean content?"
    );
    assert_eq!(declared("STRUCT<size: INT>", "{path}", None), "returns: size of an object is BIGINT, not INT");
    assert_eq!(declared("STRING", "{pth}", None), "path: there is no argument \"pth\"; did you mean {path}?");
    assert_eq!(declared("STRING", "/a/{path}", None).split(',').next().unwrap(), "path: expected a path such as folder/name");
    assert!(declared("STRING", "{path}", Some("1:2")).starts_with("range: expected a range of bytes"));
    assert_eq!(declared("STRUCT<size: BIGINT>", "{path}", Some("0-1")), "range: goes with content only, which is not returned");
}

#[tokio::test]
async fn no_secret_is_shown() {
    let server = Server::start(|_| async { refusal(403, "InvalidAccessKeyId") }).await;
    let settings = S3Settings { session_token: Some(Text::secret("t0ken", "(secret)")), ..s3(&server) };
    let objects = Objects::s3(&settings).unwrap();
    let function = Fixture::plain(&objects, "STRING");
    let shown = format!("{} {settings:?} {objects:?} {:?}", function.one("a").await, function.0);
    assert_eq!(server.seen()[0].header("x-amz-security-token"), "t0ken");
    for secret in ["s3cret", "t0ken", "AKIDEXAMPLE"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
