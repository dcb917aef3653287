//! Who we are to the other side.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::chain::{Middleware, Next, Reply, Request};
use super::middleware::header_value;
use super::token::Tokens;
use crate::function::CallError;
use crate::pipeline::Text;

/// Who we are to the other side.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum AuthSettings {
    /// Nobody.
    #[default]
    None,
    /// A user with a password.
    Basic {
        /// The user.
        username: Text,
        /// The password.
        password: Text,
    },
    /// A token that somebody gave us.
    Bearer {
        /// The token.
        token: Text,
    },
    /// A key in a header.
    ApiKeyHeader {
        /// Name of the header.
        name: String,
        /// The key.
        value: Text,
    },
    /// A key in the query of the URL.
    ApiKeyQuery {
        /// Name of the parameter.
        name: String,
        /// The key.
        value: Text,
    },
    /// Tokens that we fetch.
    OAuth2(Box<OAuth2Settings>),
}

/// How tokens are fetched.
#[derive(Debug, Clone, PartialEq)]
pub struct OAuth2Settings {
    /// Where.
    pub token_url: Text,
    /// By which grant.
    pub grant: Grant,
    /// Name of the client.
    pub client_id: Text,
    /// Its secret; public clients of the password grant have none.
    pub client_secret: Option<Text>,
    /// Whether name and secret of the client go into the body of the request instead of into its `Authorization`.
    pub client_in_body: bool,
    /// What is asked for.
    pub scope: Option<String>,
    /// Further parameters of the request.
    pub parameters: BTreeMap<String, Text>,
    /// A token is renewed so long before it expires, yet not in the first half of its life, and by 80 % of it.
    pub refresh_margin: Duration,
    /// Attempts to fetch a token, and the first pause between them, which doubles up to ten times itself.
    pub attempts: u32,
    /// See `attempts`.
    pub pause: Duration,
}

/// An OAuth 2 grant.
#[derive(Debug, Clone, PartialEq)]
pub enum Grant {
    /// The client itself.
    ClientCredentials,
    /// A user, in whose name the client acts.
    Password {
        /// The user.
        username: Text,
        /// The password.
        password: Text,
    },
}

/// What is put into every request.
#[derive(Debug)]
pub(super) enum Auth {
    Header(Held),
    Query(String, Text),
    Token(Arc<Tokens>),
}

/// A header that somebody gave us the value of; one that stands in a file may be replaced there.
#[derive(Debug)]
pub(super) struct Held {
    name: HeaderName,
    /// What stands before the secret.
    scheme: &'static str,
    /// The secret, if it stands in a file.
    secret: Option<Text>,
    value: RwLock<HeaderValue>,
    /// Whoever reads the file: the others wait for what they find.
    reading: tokio::sync::Mutex<()>,
}

impl Held {
    /// A header whose value is `scheme` and `secret`; `None` if that fits into no header.
    pub(super) fn new(name: HeaderName, scheme: &'static str, secret: &Text) -> Option<Self> {
        let value = RwLock::new(header_value(&format!("{scheme}{}", secret.expose()))?);
        let secret = secret.file().map(|_| secret.clone());
        Some(Self { name, scheme, secret, value, reading: tokio::sync::Mutex::default() })
    }

    /// A header that stays as it is.
    pub(super) fn fixed(name: HeaderName, value: HeaderValue) -> Self {
        Self { name, scheme: "", secret: None, value: RwLock::new(value), reading: tokio::sync::Mutex::default() }
    }

    fn value(&self) -> HeaderValue {
        self.value.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What to send now that `refused` was: what its file has by now. `None` if that is the same, or there is no file.
    async fn instead_of(&self, refused: &HeaderValue) -> Option<HeaderValue> {
        let secret = self.secret.clone()?;
        let _alone = self.reading.lock().await;
        let value = self.value();
        if value != *refused {
            return Some(value);
        }
        let read = tokio::task::spawn_blocking(move || {
            Text::of_file(secret.file()?, secret.shown())
                .map_err(|why| {
                    tracing::warn!(secret = secret.shown(), why, "could not read a secret again");
                })
                .ok()
        });
        let fresh = header_value(&format!("{}{}", self.scheme, read.await.ok()??.expose()))?;
        if fresh == *refused {
            return None;
        }
        *self.value.write().unwrap_or_else(PoisonError::into_inner) = fresh.clone();
        Some(fresh)
    }
}

/// `Basic` with user and password.
pub(super) fn basic(username: &Text, password: &Text) -> Option<HeaderValue> {
    header_value(&format!("Basic {}", STANDARD.encode(format!("{}:{}", username.expose(), password.expose()))))
}

#[async_trait]
impl Middleware for Auth {
    async fn handle(&self, mut request: Box<Request>, next: Next<'_>) -> Result<Reply, CallError> {
        match self {
            Self::Header(held) => with_header(held, request, next).await,
            Self::Query(name, value) => {
                request.url.query_pairs_mut().append_pair(name, value.expose());
                next.run(request).await
            }
            Self::Token(tokens) => with_token(tokens, request, next).await,
        }
    }
}

/// A secret that is refused is read again, and the request made again, once, if it has changed.
async fn with_header(held: &Held, mut request: Box<Request>, next: Next<'_>) -> Result<Reply, CallError> {
    let call = request.call.clone();
    let value = held.value();
    request.headers.insert(held.name.clone(), value.clone());
    if held.secret.is_none() {
        return next.run(request).await;
    }
    let reply = next.run(request.clone()).await;
    if call.status() != Some(StatusCode::UNAUTHORIZED) {
        return reply;
    }
    let Some(fresh) = held.instead_of(&value).await else { return reply };
    request.headers.insert(held.name.clone(), fresh);
    next.run(request).await
}

/// A token that is refused is renewed, and the request made again, once.
async fn with_token(tokens: &Arc<Tokens>, mut request: Box<Request>, next: Next<'_>) -> Result<Reply, CallError> {
    let call = request.call.clone();
    let token = tokens.current().await?;
    request.headers.insert(AUTHORIZATION, token.header.clone());
    let reply = next.run(request.clone()).await;
    if call.status() != Some(StatusCode::UNAUTHORIZED) {
        tokens.accepted();
        return reply;
    }
    let Some(token) = tokens.instead_of(&token).await? else { return reply };
    request.headers.insert(AUTHORIZATION, token.header.clone());
    let reply = next.run(request).await;
    if call.status() != Some(StatusCode::UNAUTHORIZED) {
        tokens.accepted();
    }
    reply
}
