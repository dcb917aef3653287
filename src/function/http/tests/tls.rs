use super::secured::{certificates, secured_server};
use super::*;
use crate::pipeline::FilePath;

#[tokio::test]
async fn both_sides_show_their_certificates() {
    let folder = certificates();
    let server = secured_server(folder.path(), |_| async { reply(200, "{\"n\": 1}") }).await;
    let file = |name: &str| FilePath::plain(folder.path().join(name));
    let with = |ca: bool, identity: bool| {
        let mut settings = local(&server.url("/").replace("http:", "https:"));
        settings.connection.ca = ca.then(|| file("ca.pem"));
        settings.connection.identity = identity.then(|| (file("client.pem"), file("client.key")));
        Fixture::new("x STRING", "n INT", &settings)
    };
    assert_eq!(with(true, true).answer(vec![text("x")]).await, "{\"n\":1}");
    let (answer, attempts) = with(false, true).call(vec![text("x")]).await;
    let error = answer.unwrap_err();
    assert_eq!((error.kind, attempts), (CallErrorKind::Rejected, 1), "another attempt is no use: {error}");
    assert!(error.message.contains("invalid peer certificate: UnknownIssuer"), "{error}");
    let (answer, attempts) = with(true, false).call(vec![text("x")]).await;
    let error = answer.unwrap_err();
    assert_eq!((error.kind, attempts), (CallErrorKind::Rejected, 1), "{error}");
    assert!(error.message.contains("CertificateRequired"), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn files_that_hold_no_certificate_are_named() {
    let folder = certificates();
    let file = |name: &str| FilePath::plain(folder.path().join(name));
    let refused = |ca: Option<&str>, identity: Option<(&str, &str)>| {
        let mut settings = local("https://127.0.0.1/");
        settings.connection.ca = ca.map(file);
        settings.connection.identity = identity.map(|(one, other)| (file(one), file(other)));
        let made = function(signature("x STRING", "n INT"), &settings, calls(), &shared(), Arc::new(Budget::new(1)));
        made.unwrap_err().chain()
    };
    assert!(refused(Some("missing.pem"), None).contains("missing.pem: No such file"));
    assert!(refused(Some("ca.key"), None).starts_with("there is no certificate (PEM) in "));
    assert!(refused(None, Some(("ca.key", "extensions"))).contains("could not use the certificate "));
}
