use super::*;

fn mistakes(change: impl FnOnce(&mut HttpSettings, &mut CallSettings)) -> String {
    let (mut settings, mut calls) = (HttpSettings::new(template("https://risk.example/{user}")), CallSettings::default());
    change(&mut settings, &mut calls);
    let mistakes = settings.mistakes(&signature("user STRING, amount DOUBLE", "score DOUBLE"), &calls);
    mistakes.iter().map(|mistake| format!("{}: {}", mistake.setting, mistake.message)).collect::<Vec<_>>().join("\n")
}

fn url(text: &str) -> String {
    mistakes(|settings, _| settings.url = template(text))
}

#[test]
fn s3_12_a_url_that_is_wrong_is_refused_before_anything_is_opened() {
    assert_eq!(url("https://risk.example"), "");
    assert_eq!(url("HTTP://risk.example:8080/a?b={user}&c={{x}}"), "");
    assert_eq!(url("ftp://risk.example/"), "url: expected a URL that begins with https:// or http://");
    assert_eq!(
        url("risk.example/{user}"),
        "url: expected scheme, host and port in front of the first {argument}: arguments fill the path and the query"
    );
    for text in ["https://{user}/x", "https://risk.example{user}/x", "https://risk.example:{user}/", "{user}", "{user}://x/"] {
        assert!(url(text).contains("in front of the first {argument}"), "{text}");
    }
    for text in ["http://", "https:///x", "http:risk", "https://a b/", "https://a\\b/", "https://[::1/", "https://host:99999/"] {
        assert!(url(text).starts_with("url: expected a URL"), "{text} {}", url(text));
    }
    assert_eq!(url("https://u:p@risk.example/"), "url: expected a URL without user and password: set auth instead");
    assert_eq!(url("https://risk.example/#a"), "url: expected a URL without a fragment (write %23 for a # in it)");
    assert_eq!(url("https://risk.example/a/../b"), "url: expected a URL without . and .. in its path");
    assert_eq!(url("https://risk.example/a/%2E%2e"), "url: expected a URL without . and .. in its path");
    assert_eq!(url("https://risk.example/{usr}"), "url: there is no argument \"usr\"; did you mean {user}?");
    assert_eq!(url("https://risk.example/{USER}"), "");
    assert!(url("https://10.0.0.7/").ends_with("10.0.0.7 is not a public address: allow_addresses must name it or its network"));
}

#[test]
fn all_mistakes_are_found_at_once() {
    let all = mistakes(|settings, _| {
        settings.method = Some("get it".to_owned());
        settings.url = template("https://risk.example/{usr}");
        settings.headers = vec![("Host".to_owned(), template("x"))];
        settings.body = Some(BodyTree::Text(template("{nobody}")));
        settings.answer = AnswerSettings::Text;
        settings.auth = AuthSettings::Bearer { token: Text::plain("a\nb") };
        settings.middleware = vec![Step::Retry, Step::Retry];
    });
    let expected = "method: expected a method such as GET or POST, found \"get it\"\n\
                    url: there is no argument \"usr\"; did you mean {user}?\n\
                    headers: host is not for a function to set\n\
                    body: there is no argument \"nobody\"\n\
                    answer: text goes with returns: STRING only\n\
                    auth: the token has a character that no header can hold\n\
                    middleware: expected headers in the chain, as headers is set";
    assert_eq!(all, expected);
}

#[test]
fn what_is_set_must_be_in_the_chain() {
    let chain = |steps: &[Step], change: &dyn Fn(&mut HttpSettings, &mut CallSettings)| {
        mistakes(|settings, calls| {
            settings.middleware = steps.to_vec();
            change(settings, calls);
        })
    };
    assert_eq!(chain(&[], &|_, _| {}), "");
    assert_eq!(chain(&[Step::Retry], &|_, calls| calls.retry.attempts = 9), "");
    assert_eq!(chain(&[], &|_, calls| calls.retry.attempts = 9), "middleware: expected retry in the chain, as retry is set");
    let body = |settings: &mut HttpSettings, _: &mut CallSettings| settings.body = Some(BodyTree::Plain(1.into()));
    assert_eq!(chain(&[Step::Retry], &body), "middleware: expected body in the chain, as body is set");
    let auth =
        |settings: &mut HttpSettings, _: &mut CallSettings| settings.auth = AuthSettings::Bearer { token: Text::plain("x") };
    assert_eq!(chain(&[Step::Retry], &auth), "middleware: expected auth in the chain, as auth is set");
    assert_eq!(chain(&[Step::Timing, Step::Timing], &|_, _| {}), "middleware: timing is there twice");
    let took = |settings: &mut HttpSettings, _: &mut CallSettings| {
        settings.answer = AnswerSettings::Fields(vec![("score".to_owned(), "$time_ms".to_owned())]);
    };
    assert_eq!(chain(&[], &took), "middleware: expected timing in the chain, as time_ms of the envelope is set");
}

#[test]
fn headers_that_are_not_right_are_refused() {
    let header = |name: &str, value: &str| mistakes(|settings, _| settings.headers = vec![(name.to_owned(), template(value))]);
    assert_eq!(header("X-A", "é"), "");
    assert_eq!(header("x a", "1"), "headers: expected the name of a header, found \"x a\"");
    assert_eq!(header("X-A", "a\nb"), "headers: the value of X-A has a character that no header can hold");
    assert_eq!(header("Content-Length", "0"), "headers: content-length is not for a function to set");
    let twice = mistakes(|settings, _| {
        settings.headers = vec![("a".to_owned(), template("1")), ("A".to_owned(), template("2"))];
    });
    assert_eq!(twice, "headers: a is there twice");
    let both = mistakes(|settings, _| {
        settings.headers = vec![("authorization".to_owned(), template("1"))];
        settings.auth = AuthSettings::Bearer { token: Text::plain("x") };
    });
    assert_eq!(both, "headers: authorization is set by auth");
}
