//! Who may look at the process, control it and send rows to it.
//!
//! A token says what its holder may do (`tokens`), many wrong ones shut an address out for a while (`failures`), and what a browser may
//! have been made to send is turned away (`browser`).

mod browser;
mod failures;
mod tokens;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::warn;

use self::browser::{of_another_site, unmeant};
use self::failures::{FAILURES_MAX, Failures, Verdict};
use self::tokens::Token;
pub use self::tokens::{Scope, Tokens, check_token};
use super::{Peer, Service};
use crate::error::{Error, Result};

/// Everything the page needs comes from where it came from, and nothing else is loaded, framed or sent anywhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                                       base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// Where something listens, and what is between it and whoever reads along.
#[derive(Debug, Clone, Copy)]
pub struct Exposure {
    /// Where.
    pub address: SocketAddr,
    /// Whether it is encrypted.
    pub is_encrypted: bool,
    /// Whether somebody has accepted that tokens and rows cross the network in clear.
    pub is_insecure: bool,
}

impl Exposure {
    fn is_beyond_loopback(&self) -> bool {
        !self.address.ip().to_canonical().is_loopback()
    }
}

/// Who may come in; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// What the listener is called, for logs.
    listener: Arc<str>,
    tokens: Tokens,
    failures: Arc<Failures>,
    is_insecure: bool,
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denied {
    /// It shows no token, or a wrong one.
    TokenNeeded,
    /// Its token is for something else.
    NotForThis,
    /// Too many wrong tokens came from its address: in so long it may try again.
    Later(Duration),
}

impl Access {
    /// Who may use control. With `is_insecure` a token is enough beyond loopback, though it is sent in clear.
    ///
    /// # Errors
    /// `Config` when the address is reachable from elsewhere and nothing guards it.
    pub fn control(exposure: Exposure, tokens: Tokens) -> Result<Self> {
        let Exposure { address, is_encrypted, is_insecure } = exposure;
        match (exposure.is_beyond_loopback(), tokens.is_empty(), is_encrypted || is_insecure) {
            (true, true, _) => Err(Error::config(format!(
                "--http {address} is not a loopback address: whoever can reach it could control the queries. Set service.token (or \
                 --http-token-file), or use --metrics for what may be seen anywhere"
            ))),
            (true, false, false) => Err(Error::config(format!(
                "--http {address} is not a loopback address, and the token and all rows would cross the network in clear: set service.tls, or \
                 accept that with --i-know-insecure"
            ))),
            _ => Ok(Self::new("http", exposure, tokens)),
        }
    }

    /// Who may read metrics: whoever can reach them, or who has one of the tokens.
    pub fn metrics(exposure: Exposure, tokens: Tokens) -> Self {
        Self::new("metrics", exposure, tokens)
    }

    /// Who may send rows to the source `name`.
    ///
    /// # Errors
    /// `Config` when the address is reachable from elsewhere and nothing guards it.
    pub(crate) fn of_source(name: &str, exposure: Exposure, tokens: Tokens) -> Result<Self> {
        let Exposure { address, is_encrypted, is_insecure } = exposure;
        match (exposure.is_beyond_loopback(), tokens.is_empty(), is_encrypted || is_insecure) {
            (true, true, _) => Err(Error::config(format!(
                "source `{name}` listens at {address}, which is not a loopback address: whoever can reach it could send rows. Set its \
                 token"
            ))),
            (true, false, false) => Err(Error::config(format!(
                "source `{name}` listens at {address}, which is not a loopback address, and the token and all rows would cross the \
                 network in clear: set its tls, or accept that with --i-know-insecure"
            ))),
            _ => Ok(Self::new(&format!("source.{name}"), exposure, tokens)),
        }
    }

    fn new(listener: &str, exposure: Exposure, tokens: Tokens) -> Self {
        let is_insecure = exposure.is_beyond_loopback() && !exposure.is_encrypted && !tokens.is_empty();
        Self { listener: listener.into(), tokens, failures: Arc::default(), is_insecure }
    }

    /// What the listener is called in logs and metrics.
    pub(crate) fn listener(&self) -> &str {
        &self.listener
    }

    /// What may be shown to come in.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// What to answer a request with these headers from `peer` that would send rows, if it may not.
    pub(crate) fn refuse_rows(&self, headers: &HeaderMap, peer: IpAddr) -> Option<Response> {
        if let Some(why) = of_another_site(headers, true, !self.tokens.is_empty()) {
            return Some(refused(StatusCode::FORBIDDEN, why));
        }
        self.judge(headers, peer, Scope::Ingest, Instant::now()).err().map(Denied::into_response)
    }

    /// Whether what is sent can be read on the way.
    pub fn is_insecure(&self) -> bool {
        self.is_insecure
    }

    /// The token that a request shows, when one is needed and it is good for `asked`.
    fn judge(&self, headers: &HeaderMap, peer: IpAddr, asked: Scope, now: Instant) -> std::result::Result<Option<Token>, Denied> {
        if self.tokens.is_empty() {
            return Ok(None);
        }
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let (_, shown) = shown.ok_or(Denied::TokenNeeded)?;
        let token = self.tokens.find(shown.trim());
        match self.failures.shown(peer, token.is_some(), now) {
            Verdict::Later(wait) => return Err(Denied::Later(wait)),
            Verdict::Judge => {}
            Verdict::JudgeLast => {
                let (listener, address) = (&*self.listener, peer.to_canonical());
                warn!(listener, %address, "{FAILURES_MAX} wrong tokens within a minute: no more from there until it is over");
            }
        }
        match token {
            None => Err(Denied::TokenNeeded),
            Some(token) if token.scope.covers(asked) => Ok(Some(token)),
            Some(_) => Err(Denied::NotForThis),
        }
    }
}

impl Denied {
    fn into_response(self) -> Response {
        let (status, why, told) = match self {
            Self::TokenNeeded => (
                StatusCode::UNAUTHORIZED,
                "a token is needed: Authorization: Bearer …",
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            ),
            Self::NotForThis => (StatusCode::FORBIDDEN, "this token is not for that", None),
            Self::Later(wait) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too many wrong tokens came from your address",
                Some((header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)))),
            ),
        };
        let mut response = refused(status, why);
        response.headers_mut().extend(told);
        response
    }
}

/// Who makes a request, for the log.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) address: IpAddr,
    /// The token that was shown.
    pub(super) token: Option<Arc<str>>,
}

/// Turns away what a page of another site may have made a browser send.
pub(super) async fn is_meant(State(service): State<Service>, request: Request, next: Next) -> Response {
    match unmeant(request.method(), request.headers(), !service.inner.access.tokens.is_empty()) {
        Some(why) => refused(StatusCode::FORBIDDEN, why),
        None => next.run(request).await,
    }
}

/// Turns away who shows no token where one is needed to use control.
pub(super) async fn let_in(State(service): State<Service>, request: Request, next: Next) -> Response {
    let asked = match *request.method() {
        Method::GET | Method::HEAD if request.uri().path() == "/metrics" => Scope::Metrics,
        Method::GET | Method::HEAD => Scope::Read,
        _ => Scope::Operate,
    };
    let access = service.inner.access.clone();
    judged(&access, asked, request, next).await
}

/// Turns away who shows no token where one is needed to read metrics.
pub(super) async fn let_read(State(access): State<Access>, request: Request, next: Next) -> Response {
    judged(&access, Scope::Metrics, request, next).await
}

async fn judged(access: &Access, asked: Scope, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>();
    let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(peer)| peer.ip().to_canonical());
    match access.judge(request.headers(), address, asked, Instant::now()) {
        Ok(token) => {
            request.extensions_mut().insert(Caller { address, token: token.map(|token| token.id) });
            next.run(request).await
        }
        Err(denied) => denied.into_response(),
    }
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

fn refused(status: StatusCode, why: &'static str) -> Response {
    (status, format!("{why}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Text;

    const TOKEN: &str = "0123456789abcdefghijkl";
    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    pub(super) fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        given.iter().map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn tokens(given: &[(Scope, &str)]) -> Tokens {
        let texts: Vec<_> = given.iter().map(|(scope, token)| (*scope, Text::plain(*token))).collect();
        Tokens::new("--http", texts.iter().map(|(scope, text)| (*scope, text))).unwrap()
    }

    fn exposure(address: &str, is_encrypted: bool, is_insecure: bool) -> Exposure {
        Exposure { address: address.parse().unwrap(), is_encrypted, is_insecure }
    }

    #[test]
    fn only_what_is_guarded_listens_beyond_loopback() {
        let check = |address: &str, token: bool, encrypted: bool, insecure: bool| {
            let tokens = if token { tokens(&[(Scope::Read, TOKEN)]) } else { Tokens::default() };
            Access::control(exposure(address, encrypted, insecure), tokens).map_err(|error| error.chain())
        };
        for address in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(check(address, false, false, false).is_ok());
        }
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"] {
            assert!(check(address, false, false, true).unwrap_err().contains("service.token"));
            assert!(check(address, false, true, true).unwrap_err().contains("service.token"));
            assert!(check(address, true, false, false).unwrap_err().contains("--i-know-insecure"));
            assert!(check(address, true, false, true).unwrap().is_insecure());
            assert!(!check(address, true, true, false).unwrap().is_insecure());
        }
        assert!(!check("127.0.0.1:1", true, false, true).unwrap().is_insecure());
    }

    #[test]
    fn a_token_must_be_a_right_one_and_for_that() {
        let other = "abcdefghijkl0123456789";
        let given = tokens(&[(Scope::Operate, TOKEN), (Scope::Operate, other), (Scope::Read, "read-56789abcdefghijkl0")]);
        let access = Access::control(exposure("127.0.0.1:1", false, false), given).unwrap();
        let judge = |value: &str, asked: Scope| {
            // A new one each time: wrong ones would add up.
            let access = Access { failures: Arc::default(), ..access.clone() };
            let judged = access.judge(&headers(&[("authorization", value)]), HERE, asked, Instant::now());
            judged.map(|token| token.unwrap().id.to_string())
        };
        assert_eq!(judge(&format!("Bearer {TOKEN}"), Scope::Operate), Ok("operate-1".to_owned()));
        assert_eq!(judge(&format!("bearer  {other}"), Scope::Read), Ok("operate-2".to_owned()));
        assert_eq!(judge("Bearer read-56789abcdefghijkl0", Scope::Metrics), Ok("read-1".to_owned()));
        assert_eq!(judge("Bearer read-56789abcdefghijkl0", Scope::Operate), Err(Denied::NotForThis));
        assert_eq!(judge(&format!("Bearer {TOKEN}"), Scope::Ingest), Err(Denied::NotForThis));
        for wrong in ["", TOKEN, "Bearer", "Bearer ", "Basic 0123456789abcdefghijkl", "Bearer 0123456789abcdefghijkL"] {
            assert_eq!(judge(wrong, Scope::Read), Err(Denied::TokenNeeded), "{wrong:?}");
        }
        assert_eq!(access.judge(&HeaderMap::new(), HERE, Scope::Read, Instant::now()).unwrap_err(), Denied::TokenNeeded);
        assert!(Access::default().judge(&HeaderMap::new(), HERE, Scope::Operate, Instant::now()).unwrap().is_none());
    }

    #[test]
    fn many_wrong_tokens_are_answered_later() {
        let access = Access::control(exposure("127.0.0.1:1", false, false), tokens(&[(Scope::Read, TOKEN)])).unwrap();
        let now = Instant::now();
        let judge =
            |token: &str| access.judge(&headers(&[("authorization", &format!("Bearer {token}"))]), HERE, Scope::Read, now);
        for _ in 0..10 {
            assert_eq!(judge("wrong").unwrap_err(), Denied::TokenNeeded);
        }
        assert_eq!(judge(TOKEN).unwrap_err(), Denied::Later(Duration::from_secs(60)));
        // Nothing is guessed by who shows nothing.
        assert_eq!(access.judge(&HeaderMap::new(), HERE, Scope::Read, now).unwrap_err(), Denied::TokenNeeded);
    }

    #[test]
    fn rows_are_taken_from_this_machine_or_with_a_token_and_encrypted() {
        let check = |address: &str, token: bool, encrypted: bool, insecure: bool| {
            let tokens = if token { tokens(&[(Scope::Ingest, TOKEN)]) } else { Tokens::default() };
            Access::of_source("in", exposure(address, encrypted, insecure), tokens).map_err(|error| error.chain())
        };
        let open = check("127.0.0.1:1", false, false, false).unwrap();
        assert!(check("[::ffff:127.0.0.1]:1", false, false, false).is_ok());
        assert!(check("0.0.0.0:1", false, true, true).unwrap_err().contains("Set its token"));
        assert!(
            check("10.0.0.1:1", true, false, false).unwrap_err().contains("set its tls, or accept that with --i-know-insecure")
        );
        assert!(check("10.0.0.1:1", true, false, true).unwrap().is_insecure());
        let guarded = check("10.0.0.1:1", true, true, false).unwrap();
        let status = |access: &Access, given: &[(&'static str, &str)]| {
            access.refuse_rows(&headers(given), HERE).map(|no| no.status().as_u16())
        };
        let host = ("host", "localhost:8080");
        assert_eq!(status(&open, &[host, ("content-type", "application/x-www-form-urlencoded")]), None);
        assert_eq!(status(&open, &[("host", "evil.example")]), Some(403));
        assert_eq!(status(&open, &[host, ("origin", "http://evil.example")]), Some(403));
        assert_eq!(status(&open, &[host, ("sec-fetch-site", "cross-site")]), Some(403));
        assert_eq!(status(&guarded, &[host]), Some(401));
        assert_eq!(status(&guarded, &[("host", "ingest.example"), ("authorization", &format!("Bearer {TOKEN}"))]), None);
    }
}
