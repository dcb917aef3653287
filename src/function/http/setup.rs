//! From settings to a function: everything that can be wrong is found before anything is opened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::Fields;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Url};

use super::address::{AddressRules, Refused};
use super::answer::AnswerMap;
use super::auth::{Auth, AuthSettings, Held, basic};
use super::body::Body;
use super::chain::{Chain, Middleware};
use super::middleware::{Headers, Logging, Step, Timing, header_value};
use super::token::Tokens;
use super::transport::Http;
use super::url::{UrlTemplate, address, check};
use super::{AnswerSettings, HttpFunction, HttpSettings, Shared};
use crate::error::{Error, Result};
use crate::function::arguments::Filling;
use crate::function::policy::{Breaker, Budget, RateLimit, Retry};
use crate::function::{CallSettings, Function, Mistake, Signature};
use crate::pipeline::Text;

/// How much more memory an answer may take decoded than as bytes: an item of two characters may be a number of eight bytes.
const DECODED_FACTOR: usize = 16;
/// Longest time limit that the engine takes.
const CALL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Headers that are about the connection, not the request: whoever sets them can make two requests of one.
const CONNECTION_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What is put together from the settings alone.
struct Parts {
    method: Method,
    url: UrlTemplate,
    headers: Headers,
    body: Option<Body>,
    answer: AnswerMap,
}

/// The function of a declaration. Its calls are made one row at a time, with further attempts, rate limit and breaker of `calls` at
/// their places in the chain.
///
/// # Errors
/// [`crate::ErrorKind::Config`] if a setting is wrong, or a file of certificates.
pub fn function(
    signature: Signature,
    settings: &HttpSettings,
    calls: CallSettings,
    shared: &Shared,
    process: Arc<Budget>,
) -> Result<Function> {
    calls.check()?;
    let parts = settings
        .parts(&signature, &calls, shared.time_zone.clone())
        .map_err(|mistakes| Mistake::error(&signature.name, &mistakes))?;
    let client = shared.clients.client(&settings.connection)?;
    let shown: Arc<str> = parts.url.shown.as_str().into();
    let transport = Http {
        client: client.clone(),
        timeout: calls.timeout,
        answer_bytes_max: calls.answer_bytes_max,
        statuses: settings.statuses.clone(),
        shown: shown.clone(),
        clock: shared.clock.clone(),
    };
    let auth = settings.auth.middleware(client)?;
    let (mut headers, mut body, mut auth) = (Some(parts.headers), parts.body, auth);
    let mut breaker = None;
    let mut steps: Vec<Arc<dyn Middleware>> = Vec::new();
    for step in &settings.middleware {
        match step {
            Step::Retry => steps.push(Arc::new(Retry::new(calls.retry))),
            Step::RateLimit => steps.extend(calls.rate_limit.map(|limit| Arc::new(RateLimit::new(limit)) as Arc<dyn Middleware>)),
            Step::Breaker => {
                breaker = calls.breaker.map(|settings| Arc::new(Breaker::new(settings, Instant::now())));
                steps.extend(breaker.clone().map(|breaker| breaker as Arc<dyn Middleware>));
            }
            Step::Headers => steps.extend(headers.take().map(|headers| Arc::new(headers) as Arc<dyn Middleware>)),
            Step::Body => steps.extend(body.take().map(|body| Arc::new(body) as Arc<dyn Middleware>)),
            Step::Auth => steps.extend(auth.take().map(|auth| Arc::new(auth) as Arc<dyn Middleware>)),
            Step::Logging => {
                steps.push(Arc::new(Logging { function: signature.name.as_str().into(), url: shown.clone() }));
            }
            Step::Timing => steps.push(Arc::new(Timing)),
        }
    }
    let function = HttpFunction {
        args: signature.args.clone(),
        method: parts.method,
        url: parts.url,
        answer: parts.answer,
        chain: Chain::new(steps, Arc::new(transport)),
        breaker,
        clock: shared.clock.clone(),
        time_zone: shared.time_zone.clone(),
    };
    let answer_bytes_max = calls.answer_bytes_max.saturating_mul(DECODED_FACTOR);
    let timeout = calls.timeout.saturating_add(turns(&calls)).min(CALL_MAX);
    let calls = CallSettings { chunk_size: 1, timeout, rate_limit: None, breaker: None, answer_bytes_max, ..calls };
    Function::new(signature, Arc::new(function), calls, process)
}

/// How long the last of the calls in flight waits for its turn. The engine's time limit is for the whole call, and must leave room for it.
fn turns(calls: &CallSettings) -> Duration {
    let waits = calls.rate_limit.map_or(0.0, |limit| calls.max_in_flight as f64 / limit.calls_per_second);
    Duration::try_from_secs_f64(waits).unwrap_or(CALL_MAX)
}

impl HttpSettings {
    /// Everything that is wrong with it. Opens nothing.
    pub fn mistakes(&self, signature: &Signature, calls: &CallSettings) -> Vec<Mistake> {
        self.parts(signature, calls, "UTC".into()).err().unwrap_or_default()
    }

    /// Whether a call that fails is a row like any other, as what is known of the call is returned.
    pub fn keeps_failures(&self, signature: &Signature) -> bool {
        AnswerMap::new(&self.answer, self.rows.as_deref(), &signature.returns, "UTC".into())
            .is_ok_and(|answer| answer.is_envelope())
    }

    fn parts(&self, signature: &Signature, calls: &CallSettings, time_zone: Arc<str>) -> Result<Parts, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let args = &signature.args;
        let method = noted("method", self.method(), &mut mistakes);
        let url = noted("url", UrlTemplate::new(self.url.clone(), self.query.clone(), args), &mut mistakes);
        let rules = &self.connection.addresses;
        let refused = url.as_ref().and_then(|url| refused(url.address, rules));
        mistakes.extend(refused.map(|message| Mistake { setting: "url", message }));
        let headers = noted("headers", self.headers(args), &mut mistakes);
        let body = noted("body", self.body.as_ref().map(|body| Body::new(body, args)).transpose(), &mut mistakes);
        let answer =
            noted("answer", AnswerMap::new(&self.answer, self.rows.as_deref(), &signature.returns, time_zone), &mut mistakes);
        noted("auth", self.auth.check(rules), &mut mistakes);
        noted("middleware", self.chain_fits(calls, answer.as_ref()), &mut mistakes);
        match (method, url, headers, body, answer) {
            (Some(method), Some(url), Some(headers), Some(body), Some(answer)) if mistakes.is_empty() => {
                Ok(Parts { method, url, headers, body, answer })
            }
            _ => Err(mistakes),
        }
    }

    fn method(&self) -> Result<Method, String> {
        match (&self.method, &self.body) {
            (None, None) => Ok(Method::GET),
            (None, Some(_)) => Ok(Method::POST),
            (Some(name), _) => {
                let token = !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
                Method::from_bytes(name.as_bytes())
                    .ok()
                    .filter(|method| token && *method != Method::CONNECT)
                    .ok_or_else(|| format!("expected a method such as GET or POST, found {name:?}"))
            }
        }
    }

    fn headers(&self, args: &Fields) -> Result<Headers, String> {
        let mut headers = Headers { fixed: HeaderMap::new(), filled: Vec::new() };
        if !matches!(self.answer, AnswerSettings::Text | AnswerSettings::Envelope) {
            headers.fixed.insert(ACCEPT, HeaderValue::from_static("application/json"));
        }
        let mut known: Vec<HeaderName> = Vec::new();
        for (name, value) in &self.headers {
            let header: HeaderName = name.parse().map_err(|_| format!("expected the name of a header, found {name:?}"))?;
            if CONNECTION_HEADERS.contains(&header.as_str()) {
                return Err(format!("{header} is not for a function to set"));
            }
            if header == AUTHORIZATION && self.auth != AuthSettings::None {
                return Err("authorization is set by auth".to_owned());
            }
            if known.contains(&header) {
                return Err(format!("{header} is there twice"));
            }
            known.push(header.clone());
            if value.args().next().is_some() {
                headers.filled.push((header, Filling::new(value.clone(), args)?));
            } else {
                let fixed = header_value(&value.start());
                headers
                    .fixed
                    .insert(header, fixed.ok_or_else(|| format!("the value of {name} has a character that no header can hold"))?);
            }
        }
        Ok(headers)
    }

    /// What is set must be in the chain, or it would be ignored in silence.
    fn chain_fits(&self, calls: &CallSettings, answer: Option<&AnswerMap>) -> Result<(), String> {
        let defaults = CallSettings::default();
        let needed = [
            (Step::Retry, calls.retry != defaults.retry, "retry"),
            (Step::RateLimit, calls.rate_limit.is_some(), "rate_limit"),
            (Step::Breaker, calls.breaker.is_some() && calls.breaker != defaults.breaker, "breaker"),
            (Step::Headers, !self.headers.is_empty(), "headers"),
            (Step::Body, self.body.is_some(), "body"),
            (Step::Auth, self.auth != AuthSettings::None, "auth"),
            (Step::Timing, answer.is_some_and(AnswerMap::tells_time), "time_ms of the envelope"),
        ];
        for (step, set, what) in needed {
            if set && !self.middleware.contains(&step) {
                return Err(format!("expected {} in the chain, as {what} is set", step.name()));
            }
        }
        let twice = self.middleware.iter().enumerate().find(|(nth, step)| self.middleware[..*nth].contains(step));
        match twice {
            Some((_, step)) => Err(format!("{} is there twice", step.name())),
            None => Ok(()),
        }
    }
}

fn noted<T>(setting: &'static str, result: Result<T, String>, mistakes: &mut Vec<Mistake>) -> Option<T> {
    result.map_err(|message| mistakes.push(Mistake { setting, message })).ok()
}

/// Why an address that stands in a URL may not be called.
fn refused(address: Option<std::net::IpAddr>, rules: &AddressRules) -> Option<String> {
    address.filter(|address| !rules.admit(*address)).map(|address| Refused::literal(address).to_string())
}

impl AuthSettings {
    fn check(&self, rules: &AddressRules) -> Result<(), String> {
        let fits = |text: &Text, what: &str| match header_value(text.expose()) {
            Some(_) => Ok(()),
            None => Err(format!("the {what} has a character that no header can hold")),
        };
        match self {
            Self::None | Self::Basic { .. } | Self::ApiKeyQuery { .. } => Ok(()),
            Self::Bearer { token } => fits(token, "token"),
            Self::ApiKeyHeader { name, value } => {
                let known = name.parse::<HeaderName>().ok().filter(|name| !CONNECTION_HEADERS.contains(&name.as_str()));
                known.ok_or_else(|| format!("expected the name of a header, found {name:?}"))?;
                fits(value, "key")
            }
            Self::OAuth2(oauth) => {
                let url = check(oauth.token_url.expose()).map_err(|message| format!("token_url: {message}"))?;
                refused(address(&url), rules).map_or(Ok(()), |message| Err(format!("token_url: {message}")))
            }
        }
    }

    /// What puts it into requests, once it is checked.
    fn middleware(&self, client: Client) -> Result<Option<Auth>> {
        let unfit = || Error::config("the auth does not fit into a header");
        Ok(Some(match self {
            Self::None => return Ok(None),
            Self::Basic { username, password } => {
                Auth::Header(Held::fixed(AUTHORIZATION, basic(username, password).ok_or_else(unfit)?))
            }
            Self::Bearer { token } => Auth::Header(Held::new(AUTHORIZATION, "Bearer ", token).ok_or_else(unfit)?),
            Self::ApiKeyHeader { name, value } => {
                let name = name.parse().map_err(|_| unfit())?;
                Auth::Header(Held::new(name, "", value).ok_or_else(unfit)?)
            }
            Self::ApiKeyQuery { name, value } => Auth::Query(name.clone(), value.clone()),
            Self::OAuth2(oauth) => {
                let url: Url = check(oauth.token_url.expose()).map_err(Error::config)?;
                Auth::Token(Arc::new(Tokens::new(client, oauth.as_ref().clone(), url)))
            }
        }))
    }
}
