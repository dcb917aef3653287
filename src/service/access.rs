//! Who may look at the process and control it.
//!
//! A browser on this machine sends requests wherever a page of any site tells it to. Such a page can make a name of its own stand for
//! `127.0.0.1` (DNS rebinding), which the `Host` of the request gives away, or send a request without being able to read the answer
//! (CSRF), which its `Origin` gives away; and a request that changes something must carry what a browser does not send to another
//! site without asking it first. There are no cookies, and no other site is ever allowed anything.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::Service;
use crate::error::{Error, Result};

/// Characters of a token at least: 128 bits as base64.
const TOKEN_CHARS_MIN: usize = 22;
/// A header that only a page of our own can send, as another site's would have to ask first.
const OWN_HEADER: &str = "x-tidemill";
/// Everything the page needs comes from where it came from, and nothing else is loaded, framed or sent anywhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                                       base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// Who may come in.
#[derive(Debug, Clone, Default)]
pub struct Access {
    token: Option<[u8; 32]>,
    is_insecure: bool,
}

impl Access {
    /// Who may use control at `address`, which is encrypted or not. With `is_insecure` a token is enough beyond loopback, though it is
    /// sent in clear.
    ///
    /// # Errors
    /// `Config` when the address is reachable from elsewhere and nothing guards it, or the token is no good.
    pub fn new(address: SocketAddr, token: Option<&str>, is_encrypted: bool, is_insecure: bool) -> Result<Self> {
        if let Some(token) = token {
            check_token(token).map_err(|message| Error::config(format!("the token of --http: {message}")))?;
        }
        let is_exposed = !address.ip().is_loopback();
        match (is_exposed, token.is_some(), is_encrypted || is_insecure) {
            (true, false, _) => Err(Error::config(format!(
                "--http {address} is not a loopback address: whoever can reach it could control the queries. Set service.token (or \
                 --http-token-file), or use --metrics for what may be seen anywhere"
            ))),
            (true, true, false) => Err(Error::config(format!(
                "--http {address} is not a loopback address, and the token and all rows would cross the network in clear: set service.tls, or \
                 accept that with --i-know-insecure"
            ))),
            _ => Ok(Self { token: token.map(digest), is_insecure: is_exposed && !is_encrypted }),
        }
    }

    /// Who may send rows to the source `name` at `address`, which is encrypted or not.
    ///
    /// # Errors
    /// `Config` when the address is reachable from elsewhere and it has no token or no encryption, or the token is no good.
    pub(crate) fn of_source(name: &str, address: SocketAddr, token: Option<&str>, is_encrypted: bool) -> Result<Self> {
        if let Some(token) = token {
            check_token(token).map_err(|message| Error::config(format!("the token of source `{name}`: {message}")))?;
        }
        let is_exposed = !address.ip().to_canonical().is_loopback();
        match (is_exposed, token.is_some(), is_encrypted) {
            (true, false, _) => Err(Error::config(format!(
                "source `{name}` listens at {address}, which is not a loopback address: whoever can reach it could send rows. Set its \
                 token"
            ))),
            (true, true, false) => Err(Error::config(format!(
                "source `{name}` listens at {address}, which is not a loopback address, and the token and all rows would cross the \
                 network in clear: set its tls"
            ))),
            _ => Ok(Self { token: token.map(digest), is_insecure: false }),
        }
    }

    /// What to answer a request with these headers that would send rows, if it may not.
    pub(crate) fn refuse_rows(&self, headers: &HeaderMap) -> Option<Response> {
        if let Some(why) = of_another_site(headers, true, self.token.is_some()) {
            return Some(refused(StatusCode::FORBIDDEN, why));
        }
        (!self.allows(headers)).then(token_needed)
    }

    /// Whether what is sent can be read on the way.
    pub fn is_insecure(&self) -> bool {
        self.is_insecure
    }

    fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        shown.is_some_and(|(_, shown)| is_same(&digest(shown.trim()), token))
    }
}

/// Whether a text is good for a token: long enough not to be guessed, and of characters that a header takes.
pub fn check_token(token: &str) -> std::result::Result<(), &'static str> {
    match token {
        token if token.len() < TOKEN_CHARS_MIN => Err("expected 22 characters or more, such as `openssl rand -base64 24` makes"),
        token if !token.bytes().all(|byte| byte.is_ascii_graphic()) => Err("expected letters, digits and signs of ASCII"),
        _ => Ok(()),
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Looks at every byte, so that the time it takes tells nothing.
fn is_same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    std::hint::black_box(one.iter().zip(other).fold(0, |differences, (one, other)| differences | (one ^ other))) == 0
}

/// Turns away what a page of another site may have made a browser send.
pub(super) async fn is_meant(State(service): State<Service>, request: Request, next: Next) -> Response {
    match unmeant(request.method(), request.headers(), service.inner.access.token.is_some()) {
        Some(why) => refused(StatusCode::FORBIDDEN, why),
        None => next.run(request).await,
    }
}

/// Turns away who shows no token where one is needed.
pub(super) async fn let_in(State(service): State<Service>, request: Request, next: Next) -> Response {
    if service.inner.access.allows(request.headers()) {
        return next.run(request).await;
    }
    token_needed()
}

fn token_needed() -> Response {
    let mut response = refused(StatusCode::UNAUTHORIZED, "a token is needed: Authorization: Bearer …");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// What every answer tells browsers.
pub(super) async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let told = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in told {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Why a request may be another site's.
fn unmeant(method: &Method, headers: &HeaderMap, has_token: bool) -> Option<&'static str> {
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    if let Some(why) = of_another_site(headers, changes, has_token) {
        return Some(why);
    }
    let is_json = text(headers, &header::CONTENT_TYPE)
        .is_some_and(|kind| kind.split(';').next().unwrap_or("").trim() == "application/json");
    if changes && !is_json && !headers.contains_key(OWN_HEADER) {
        return Some("a request that changes something needs Content-Type: application/json or a header X-Tidemill");
    }
    None
}

/// Why a request may be another site's, by what browsers say about every request.
fn of_another_site(headers: &HeaderMap, changes: bool, has_token: bool) -> Option<&'static str> {
    let host = text(headers, &header::HOST);
    // A token is nothing that a browser sends by itself, so behind a proxy any name is good.
    if !has_token && !host.is_some_and(is_loopback) {
        return Some("the request is for another host: use localhost or 127.0.0.1");
    }
    if let Some(origin) = text(headers, &header::ORIGIN) {
        let site = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if site.is_none() || site != host {
            return Some("the request comes from another site");
        }
    }
    let from = headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or("?"));
    if changes && from.is_some_and(|from| !matches!(from, "same-origin" | "none")) {
        return Some("the request comes from another site");
    }
    None
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// Whether `host` (perhaps with a port) names this machine whatever a name server says.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn refused(status: StatusCode, why: &'static str) -> Response {
    (status, format!("{why}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdefghijkl";

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        given.iter().map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn only_what_is_guarded_listens_beyond_loopback() {
        let check = |address: &str, token: Option<&str>, insecure: bool| {
            Access::new(address.parse().unwrap(), token, false, insecure).map_err(|error| error.chain())
        };
        assert!(check("127.0.0.1:1", None, false).is_ok());
        assert!(check("[::1]:1", None, false).is_ok());
        assert!(check("0.0.0.0:1", None, true).unwrap_err().contains("service.token"));
        assert!(check("10.0.0.1:1", Some(TOKEN), false).unwrap_err().contains("--i-know-insecure"));
        assert!(check("10.0.0.1:1", Some(TOKEN), true).unwrap().is_insecure());
        assert!(!check("127.0.0.1:1", Some(TOKEN), true).unwrap().is_insecure());
        let encrypted = |token| Access::new("10.0.0.1:1".parse().unwrap(), token, true, false);
        assert!(!encrypted(Some(TOKEN)).unwrap().is_insecure());
        assert!(encrypted(None).is_err());
        assert!(check("127.0.0.1:1", Some("short"), false).unwrap_err().contains("22 characters"));
    }

    #[test]
    fn a_token_must_be_the_right_one() {
        let access = Access::new("127.0.0.1:1".parse().unwrap(), Some(TOKEN), false, false).unwrap();
        let allows = |value: &str| access.allows(&headers(&[("authorization", value)]));
        assert!(allows(&format!("Bearer {TOKEN}")) && allows(&format!("bearer  {TOKEN}")));
        for wrong in ["", TOKEN, "Bearer", "Bearer ", "Basic 0123456789abcdefghijkl", "Bearer 0123456789abcdefghijkL"] {
            assert!(!allows(wrong), "{wrong:?}");
        }
        assert!(!access.allows(&HeaderMap::new()));
        assert!(Access::default().allows(&HeaderMap::new()));
    }

    #[test]
    fn rows_are_taken_from_this_machine_or_with_a_token_and_encrypted() {
        let check = |address: &str, token: Option<&str>, encrypted: bool| {
            Access::of_source("in", address.parse().unwrap(), token, encrypted).map_err(|error| error.chain())
        };
        let open = check("127.0.0.1:1", None, false).unwrap();
        assert!(check("[::ffff:127.0.0.1]:1", None, false).is_ok());
        assert!(check("0.0.0.0:1", None, true).unwrap_err().contains("Set its token"));
        assert!(check("10.0.0.1:1", Some(TOKEN), false).unwrap_err().contains("set its tls"));
        assert!(check("127.0.0.1:1", Some("short"), false).unwrap_err().contains("22 characters"));
        let guarded = check("10.0.0.1:1", Some(TOKEN), true).unwrap();
        let status =
            |access: &Access, given: &[(&'static str, &str)]| access.refuse_rows(&headers(given)).map(|no| no.status().as_u16());
        let host = ("host", "localhost:8080");
        assert_eq!(status(&open, &[host, ("content-type", "application/x-www-form-urlencoded")]), None);
        assert_eq!(status(&open, &[("host", "evil.example")]), Some(403));
        assert_eq!(status(&open, &[host, ("origin", "http://evil.example")]), Some(403));
        assert_eq!(status(&open, &[host, ("sec-fetch-site", "cross-site")]), Some(403));
        assert_eq!(status(&guarded, &[host]), Some(401));
        assert_eq!(status(&guarded, &[("host", "ingest.example"), ("authorization", &format!("Bearer {TOKEN}"))]), None);
    }

    #[test]
    fn requests_that_another_site_may_have_made_are_known_by_their_headers() {
        let check = |method: Method, given: &[(&'static str, &str)]| unmeant(&method, &headers(given), false).is_none();
        for host in ["localhost", "LOCALHOST:4040", "127.0.0.1:4040", "127.9.9.9", "[::1]:4040"] {
            assert!(check(Method::GET, &[("host", host)]), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:4040", "10.0.0.1", "[::2]", ""] {
            assert!(!check(Method::GET, &[("host", host)]), "{host}");
        }
        assert!(!check(Method::GET, &[]));
        let own = ("x-tidemill", "1");
        let host = ("host", "localhost:4040");
        assert!(check(Method::POST, &[host, own]));
        assert!(check(Method::POST, &[host, ("content-type", "application/json; charset=utf-8")]));
        assert!(check(Method::POST, &[host, own, ("origin", "http://localhost:4040"), ("sec-fetch-site", "same-origin")]));
        assert!(!check(Method::POST, &[host]));
        assert!(!check(Method::POST, &[host, ("content-type", "text/plain")]));
        for origin in ["http://evil.example", "null", "http://localhost:4041", "http://localhost", "file://", "localhost:4040"] {
            assert!(!check(Method::POST, &[host, own, ("origin", origin)]), "{origin}");
            assert!(!check(Method::GET, &[host, ("origin", origin)]), "{origin}");
        }
        assert!(!check(Method::POST, &[host, own, ("sec-fetch-site", "cross-site")]));
        assert!(!check(Method::POST, &[host, own, ("sec-fetch-site", "same-site")]));
    }
}
