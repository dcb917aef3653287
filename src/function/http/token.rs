//! Tokens by OAuth 2: fetched once for all who need one, early enough, and again when one is refused.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Url};
use serde::Deserialize;
use tokio::time::Instant;

use super::auth::{Grant, OAuth2Settings, basic};
use super::middleware::header_value;
use super::transport::{failure, named};
use super::url::without_query;
use crate::function::policy::{Attempts, Retry, RetrySettings};
use crate::function::{CallError, CallErrorKind};

/// How long a token lives that does not say.
const LIFE_DEFAULT: Duration = Duration::from_secs(300);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Longest an attempt to fetch a token may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Where fresh tokens are refused too, the next is fetched after this time.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);
/// Tokens in a row that may be refused without that pause.
const REFUSED_MAX: u32 = 2;

/// A token.
#[derive(Clone)]
pub(super) struct Token {
    /// `Bearer` and the token.
    pub(super) header: HeaderValue,
    number: u64,
    renew_at: Instant,
}

type Fetch = Shared<BoxFuture<'static, Result<Token, CallError>>>;

/// Where tokens come from.
pub(super) struct Tokens {
    client: Client,
    settings: OAuth2Settings,
    url: Url,
    /// What messages call it.
    shown: String,
    retry: Retry,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// The fetch that is on its way: whoever comes meanwhile waits for it, and whoever waits moves it on.
    fetch: Option<WeakShared<BoxFuture<'static, Result<Token, CallError>>>>,
    fetched: u64,
    /// Tokens in a row that were refused, none having been accepted; when the last one was.
    refused: u32,
    refused_at: Option<Instant>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("url", &self.shown).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

impl Tokens {
    pub(super) fn new(client: Client, settings: OAuth2Settings, url: Url) -> Self {
        let retry = RetrySettings {
            attempts: settings.attempts,
            base_delay: settings.pause,
            max_delay: settings.pause.saturating_mul(10),
            budget: 1.0,
        };
        let shown = without_query(settings.token_url.shown()).to_owned();
        Self { client, settings, url, shown, retry: Retry::new(retry), state: Mutex::default() }
    }

    fn state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A token that is not about to expire.
    pub(super) async fn current(self: &Arc<Self>) -> Result<Token, CallError> {
        let fetch = self.state(|state| match &state.token {
            Some(token) if Instant::now() < token.renew_at => Err(token.clone()),
            _ => Ok(self.fetching(state)),
        });
        match fetch {
            Ok(fetch) => fetch.await,
            Err(token) => Ok(token),
        }
    }

    /// The token to use now that `refused` was: the one that has come since, or a new one. None where new ones are refused too.
    pub(super) async fn instead_of(self: &Arc<Self>, refused: &Token) -> Result<Option<Token>, CallError> {
        let now = Instant::now();
        let fetch = self.state(|state| {
            match &state.token {
                Some(token) if token.number != refused.number => return Some(Err(token.clone())),
                Some(_) => {
                    if state.refused >= REFUSED_MAX && state.refused_at.is_some_and(|at| now < at + REFUSED_PAUSE) {
                        return None;
                    }
                    state.token = None;
                    state.refused += 1;
                    state.refused_at = Some(now);
                }
                None => {}
            }
            Some(Ok(self.fetching(state)))
        });
        match fetch {
            None => Ok(None),
            Some(Err(token)) => Ok(Some(token)),
            Some(Ok(fetch)) => fetch.await.map(Some),
        }
    }

    /// A token did its work.
    pub(super) fn accepted(&self) {
        self.state(|state| state.refused = 0);
    }

    /// The fetch that is on its way, or a new one.
    fn fetching(self: &Arc<Self>, state: &mut State) -> Fetch {
        if let Some(fetch) = state.fetch.as_ref().and_then(WeakShared::upgrade)
            && fetch.peek().is_none()
        {
            return fetch;
        }
        state.fetched += 1;
        let (tokens, number) = (self.clone(), state.fetched);
        let fetch = async move {
            let fetched = tokens.fetch(number).await;
            // A failure is told to those who wait for it, and nobody else: who comes later tries anew.
            tokens.state(|state| {
                state.fetch = None;
                state.token = fetched.as_ref().ok().cloned();
            });
            fetched
        };
        let fetch = fetch.boxed().shared();
        state.fetch = fetch.downgrade();
        fetch
    }

    async fn fetch(&self, number: u64) -> Result<Token, CallError> {
        let made = Attempts::default();
        let fetched = self.retry.run(&made, |_| async {
            match tokio::time::timeout(TIMEOUT, self.ask(number)).await {
                Ok(answer) => answer,
                Err(_) => Err(CallError::new(CallErrorKind::Timeout, "no answer")),
            }
        });
        fetched.await.map_err(|error| {
            let message = format!("could not fetch a token from {}: {}", self.shown, error.message);
            CallError { message, attempts: 0, ..error }
        })
    }

    fn request(&self) -> Result<reqwest::Request, CallError> {
        let settings = &self.settings;
        let mut form = vec![];
        match &settings.grant {
            Grant::ClientCredentials => form.push(("grant_type", "client_credentials")),
            Grant::Password { username, password } => {
                form.extend([("grant_type", "password"), ("username", username.expose()), ("password", password.expose())])
            }
        }
        let mut headers = HeaderMap::from_iter([
            (ACCEPT, HeaderValue::from_static("application/json")),
            (CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")),
        ]);
        match &settings.client_secret {
            Some(secret) if !settings.client_in_body => {
                let unfit = || CallError::new(CallErrorKind::Config, "client_id and client_secret do not fit into a header");
                headers.insert(AUTHORIZATION, basic(&settings.client_id, secret).ok_or_else(unfit)?);
            }
            secret => {
                form.push(("client_id", settings.client_id.expose()));
                form.extend(secret.as_ref().map(|secret| ("client_secret", secret.expose())));
            }
        }
        form.extend(settings.scope.as_deref().map(|scope| ("scope", scope)));
        form.extend(settings.parameters.iter().map(|(name, value)| (name.as_str(), value.expose())));
        let mut request = reqwest::Request::new(Method::POST, self.url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(form_encoded(&form).into());
        Ok(request)
    }

    async fn ask(&self, number: u64) -> Result<Token, CallError> {
        let mut response = self.client.execute(self.request()?).await.map_err(|error| failure(&error))?;
        let status = response.status();
        if !status.is_success() {
            let transient = status.is_server_error() || status.as_u16() == 429;
            let kind = if transient { CallErrorKind::Unavailable } else { CallErrorKind::Rejected };
            return Err(CallError::new(kind, format!("answered {}", named(status))));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(CallError::new(CallErrorKind::BadAnswer, "the answer is larger than 64 KiB"));
            }
        }
        // What serde says of a wrong answer may quote it, and so the token.
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| CallError::new(CallErrorKind::BadAnswer, "the answer is no JSON object with an access_token"))?;
        let header = header_value(&format!("Bearer {}", answer.access_token))
            .ok_or_else(|| CallError::new(CallErrorKind::BadAnswer, "the token has a character that no header can hold"))?;
        let life = answer.expires_in.as_ref().and_then(seconds).unwrap_or(LIFE_DEFAULT);
        Ok(Token { header, number, renew_at: Instant::now() + used_for(life, self.settings.refresh_margin) })
    }
}

/// Seconds as a number, or as text, as some servers write them.
fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let seconds = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    // A token that lives for ever is renewed once a year.
    Duration::try_from_secs_f64(seconds.min(31_536_000.0)).ok().filter(|life| !life.is_zero())
}

/// How long a token that lives for `life` is used.
fn used_for(life: Duration, margin: Duration) -> Duration {
    life.saturating_sub(margin).clamp(life.mul_f64(0.5), life.mul_f64(0.8))
}

fn form_encoded(pairs: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://form/").expect("a URL");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_early() {
        let used = |life: u64, margin: u64| used_for(Duration::from_secs(life), Duration::from_secs(margin)).as_secs();
        assert_eq!(
            [used(3600, 60), used(300, 60), used(200, 60), used(100, 60), used(30, 60), used(200, 0)],
            [2880, 240, 140, 50, 15, 160]
        );
    }

    #[test]
    fn seconds_are_numbers_or_text() {
        let read = |json: &str| seconds(&serde_json::from_str(json).unwrap()).map(|life| life.as_secs());
        assert_eq!(
            [read("3600"), read("\"60\""), read("1e99"), read("0"), read("-1"), read("\"x\""), read("null")]
                .map(|s| s.unwrap_or(0)),
            [3600, 60, 31_536_000, 0, 0, 0, 0]
        );
    }

    #[test]
    fn a_form_holds_any_text() {
        assert_eq!(form_encoded(&[("a", "b c&d=é"), ("scope", "")]), "a=b+c%26d%3D%C3%A9&scope=");
    }
}
