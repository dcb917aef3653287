use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn secret(value: &str) -> Text {
    Text::secret(value, "${env:SECRET}")
}

async fn sent_with(auth: AuthSettings) -> server::Seen {
    let server = Server::scripted(&[]).await;
    let mut settings = local(&server.url("/u/{x}?a=1"));
    settings.auth = auth;
    Fixture::new("x STRING", "n INT", &settings).answer(vec![text("x")]).await;
    server.seen().remove(0)
}

#[tokio::test]
async fn who_we_are_goes_along() {
    let seen = sent_with(AuthSettings::Basic { username: secret("Aladdin"), password: secret("open sesame") }).await;
    assert_eq!(seen.header("authorization"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    let seen = sent_with(AuthSettings::Bearer { token: secret("t0ken") }).await;
    assert_eq!(seen.header("authorization"), "Bearer t0ken");
    let seen = sent_with(AuthSettings::ApiKeyHeader { name: "X-Api-Key".to_owned(), value: secret("k") }).await;
    assert_eq!(seen.header("x-api-key"), "k");
    let seen = sent_with(AuthSettings::ApiKeyQuery { name: "key".to_owned(), value: secret("k&y") }).await;
    assert_eq!(seen.query, "a=1&key=k%26y");
}

fn oauth(token_url: &str, grant: Grant) -> OAuth2Settings {
    OAuth2Settings {
        token_url: Text::plain(token_url),
        grant,
        client_id: Text::plain("tide"),
        client_secret: Some(secret("m!ll")),
        client_in_body: false,
        scope: Some("read write".to_owned()),
        parameters: BTreeMap::from([("audience".to_owned(), Text::plain("risk"))]),
        refresh_margin: Duration::from_secs(60),
        attempts: 3,
        pause: Duration::from_millis(1),
    }
}

const ANY: usize = usize::MAX;

/// An API that takes the newest token only, and gives out another at each fetch.
struct Api {
    server: Arc<Server>,
    fetched: Arc<AtomicUsize>,
    /// The number of the token that is right, or [`ANY`].
    right: Arc<AtomicUsize>,
}

impl Api {
    async fn start(expires_in: &'static str) -> Self {
        let (fetched, right) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(1)));
        let (counted, taken) = (fetched.clone(), right.clone());
        let server = Server::start(move |seen| {
            let (counted, taken) = (counted.clone(), taken.clone());
            async move {
                if seen.path == "/token" {
                    let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
                    return reply(200, format!("{{\"access_token\": \"t{number}\", \"token_type\": \"Bearer\"{expires_in}}}"));
                }
                let right = taken.load(Ordering::SeqCst);
                match right == ANY || seen.header("authorization") == format!("Bearer t{right}") {
                    true => reply(200, "{\"n\": 1}"),
                    false => reply(401, "{}"),
                }
            }
        })
        .await;
        Self { server: Arc::new(server), fetched, right }
    }

    fn function(&self, change: impl FnOnce(&mut OAuth2Settings)) -> Fixture {
        let mut settings = local(&self.server.url("/u/{x}"));
        let mut oauth = oauth(&self.server.url("/token?tenant=s3cret"), Grant::ClientCredentials);
        change(&mut oauth);
        settings.auth = AuthSettings::OAuth2(Box::new(oauth));
        let calls = CallSettings { max_in_flight: 200, ..calls() };
        Fixture::with("x STRING", "n INT", &settings, calls)
    }

    fn fetched(&self) -> usize {
        self.fetched.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_token_is_fetched_by_either_grant() {
    let api = Api::start(", \"expires_in\": 3600").await;
    let fetches = || -> Vec<server::Seen> { api.server.seen().into_iter().filter(|seen| seen.path == "/token").collect() };
    assert_eq!(api.function(|_| {}).answer(vec![text("x")]).await, "{\"n\":1}");
    let fetch = &fetches()[0];
    assert_eq!((fetch.method.as_str(), fetch.header("authorization")), ("POST", "Basic dGlkZTptIWxs"));
    assert_eq!(fetch.header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(fetch.body, "grant_type=client_credentials&scope=read+write&audience=risk");
    api.right.store(2, Ordering::SeqCst);
    let function = api.function(|oauth| {
        oauth.grant = Grant::Password { username: Text::plain("jo"), password: secret("p&w") };
        oauth.client_in_body = true;
        oauth.scope = None;
    });
    function.answer(vec![text("x")]).await;
    let fetch = &fetches()[1];
    assert_eq!(fetch.header("authorization"), "");
    assert_eq!(fetch.body, "grant_type=password&username=jo&password=p%26w&client_id=tide&client_secret=m%21ll&audience=risk");
}

#[tokio::test]
async fn s3_11_two_hundred_callers_with_an_expired_token_fetch_one() {
    let api = Api::start(", \"expires_in\": 3600").await;
    let function = api.function(|_| {});
    let rows: ArrayRef = Arc::new(StringArray::from_iter_values((0..200).map(|n| n.to_string())));
    let batch = RecordBatch::try_from_iter([("x", rows)]).unwrap();
    assert_eq!(function.all(batch.clone()).await.unwrap().len(), 200);
    assert_eq!((api.fetched(), api.server.seen().len()), (1, 201));
    // It is revoked: all are told so at once, and all go on with the next one.
    api.right.store(2, Ordering::SeqCst);
    api.server.close_gate();
    let release = async {
        api.server.until_in_flight(200).await;
        api.server.open_gate();
    };
    let (all, ()) = tokio::join!(function.all(batch), release);
    assert_eq!(all.unwrap(), vec!["{\"n\":1}"; 200]);
    assert_eq!((api.fetched(), api.server.seen().len()), (2, 201 + 200 + 1 + 200));
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_no_storm_follows() {
    let api = Api::start("").await;
    api.right.store(1000, Ordering::SeqCst);
    let function = api.function(|_| {});
    let (kind, message) = function.error(vec![text("x")]).await;
    assert_eq!(
        (kind, message),
        (CallErrorKind::Rejected, format!("GET {}: answered 401 Unauthorized", api.server.url("/u/{x}")))
    );
    assert_eq!((api.fetched(), api.server.seen().len()), (2, 4), "token, 401, token, 401");
    for _ in 0..10 {
        function.error(vec![text("x")]).await;
    }
    assert_eq!(api.fetched(), 3);
}

#[tokio::test]
async fn a_token_about_to_expire_is_renewed_before_it_is_refused() {
    let api = Api::start(", \"expires_in\": \"0.1\"").await;
    let function = api.function(|_| {});
    api.right.store(ANY, Ordering::SeqCst);
    let renewed = async {
        while api.fetched() < 2 {
            assert_eq!(function.answer(vec![text("x")]).await, "{\"n\":1}");
        }
    };
    tokio::time::timeout(Duration::from_secs(30), renewed).await.expect("a second token although none was refused");
}

#[tokio::test]
async fn a_failed_fetch_is_shared_and_not_kept() {
    let failing = Arc::new(AtomicUsize::new(3));
    let left = failing.clone();
    let server = Server::start(move |seen| {
        let left = left.clone();
        async move {
            if seen.path != "/token" {
                return reply(200, "{\"n\": 1}");
            }
            match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
                Ok(_) => reply(503, "{}"),
                Err(_) => reply(200, "{\"access_token\": \"t\"}"),
            }
        }
    })
    .await;
    let mut settings = local(&server.url("/"));
    settings.auth = AuthSettings::OAuth2(Box::new(oauth(&server.url("/token?tenant=s3cret"), Grant::ClientCredentials)));
    let function = Fixture::with(
        "x STRING",
        "n INT",
        &settings,
        CallSettings { retry: RetrySettings { attempts: 1, ..calls().retry }, ..calls() },
    );
    let failures = futures::future::join_all((0..20).map(|_| function.call(vec![text("x")]))).await;
    let expected = format!(
        "could not fetch a token from {}: attempts exhausted after 3: answered 503 Service Unavailable",
        server.url("/token")
    );
    for (failure, _) in failures {
        let failure = failure.unwrap_err();
        assert_eq!((failure.kind, failure.message), (CallErrorKind::Unavailable, expected.clone()));
    }
    assert_eq!(server.seen().len(), 3, "three attempts for all twenty");
    assert_eq!(function.answer(vec![text("x")]).await, "{\"n\":1}");
    assert_eq!(server.seen().len(), 5);
}

#[tokio::test]
async fn a_client_that_is_refused_is_not_asked_again() {
    for (status, body) in [(400, "{\"error\": \"invalid_client\"}"), (200, "{\"token\": \"s3cret\"}"), (200, "s3cret")] {
        let server = Server::start(move |_| async move { reply(status, body) }).await;
        let mut settings = local(&server.url("/"));
        settings.auth = AuthSettings::OAuth2(Box::new(oauth(&server.url("/token"), Grant::ClientCredentials)));
        let (kind, message) = Fixture::new("x STRING", "n INT", &settings).error(vec![text("x")]).await;
        assert!(!kind.is_transient() && !message.contains("s3cret"), "{kind:?} {message}");
        assert_eq!(server.seen().len(), 1);
    }
}

/// A token that stands in a file is replaced there while calls are made.
#[tokio::test]
async fn a_secret_of_a_file_is_read_again_where_it_is_refused() {
    let right = Arc::new(std::sync::Mutex::new("Bearer one"));
    let taken = right.clone();
    let server = Server::start(move |seen| {
        let is_right = seen.header("authorization") == *taken.lock().unwrap();
        async move { if is_right { reply(200, "{\"n\": 1}") } else { reply(401, "{}") } }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "one\n").unwrap();
    let mut settings = local(&server.url("/{x}"));
    settings.auth = AuthSettings::Bearer { token: Text::of_file(&file, "${file:token}").unwrap() };
    let function = Fixture::with("x STRING", "n INT", &settings, CallSettings { max_in_flight: 200, ..calls() });
    assert_eq!(function.answer(vec![text("x")]).await, "{\"n\":1}");
    // All are refused at once, and all go on with what stands there now.
    *right.lock().unwrap() = "Bearer two";
    std::fs::write(&file, "two").unwrap();
    server.close_gate();
    let rows: ArrayRef = Arc::new(StringArray::from_iter_values((0..200).map(|n| n.to_string())));
    let batch = RecordBatch::try_from_iter([("x", rows)]).unwrap();
    let release = async {
        server.until_in_flight(200).await;
        server.open_gate();
    };
    let (all, ()) = tokio::join!(function.all(batch), release);
    assert_eq!(all.unwrap(), vec!["{\"n\":1}"; 200]);
    assert_eq!(server.seen().len(), 1 + 200 + 200);
    // What is refused and has not changed is not sent again, nor is what cannot be read.
    *right.lock().unwrap() = "Bearer three";
    let refused = (CallErrorKind::Rejected, format!("GET {}: answered 401 Unauthorized", server.url("/{x}")));
    assert_eq!(function.error(vec![text("x")]).await, refused);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(function.error(vec![text("x")]).await, refused);
    assert_eq!(server.seen().len(), 401 + 2);
}

/// Whatever is shown of a function holds none of its secrets.
#[tokio::test]
async fn no_secret_is_shown() {
    const CANARY: &str = "c4nary";
    let api = Api::start("").await;
    api.right.store(1000, Ordering::SeqCst);
    let function = api.function(|oauth| {
        oauth.client_secret = Some(secret(CANARY));
        oauth.grant = Grant::Password { username: Text::plain("jo"), password: secret(CANARY) };
    });
    let (_, message) = function.error(vec![text("x")]).await;
    let mut url = template(&api.server.url("/u/"));
    url.push_text(secret(CANARY));
    url.push("?key=").unwrap();
    url.push_text(secret(CANARY));
    let mut settings = local("http://x/");
    settings.url = url;
    settings.auth = AuthSettings::Bearer { token: secret(CANARY) };
    settings.headers = vec![("x-key".to_owned(), {
        let mut key = Template::default();
        key.push_text(secret(CANARY));
        key
    })];
    settings.body = Some(BodyTree::Text({
        let mut key = template("{x}");
        key.push_text(secret(CANARY));
        key
    }));
    settings.answer = AnswerSettings::Fields(vec![("u".to_owned(), "$url".to_owned()), ("e".to_owned(), "$error".to_owned())]);
    let other = Fixture::new("x STRING", "u STRING, e STRING", &settings);
    let row = other.answer(vec![text("x")]).await;
    let shown = format!("{message} {row} {:?} {:?} {settings:?}", function.function, other.function);
    let base64 = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(format!("tide:{CANARY}"))
    };
    for secret in [CANARY, &base64, "Bearer t", "s3cret"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(row.contains("/u/${env:SECRET}") && row.contains("answered 401"), "{row}");
}
