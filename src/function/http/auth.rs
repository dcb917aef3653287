//! Who we are to the other side.

use std::collections::BTreeMap;
use std::sync::Arc;
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
    Header(HeaderName, HeaderValue),
    Query(String, Text),
    Token(Arc<Tokens>),
}

/// `Basic` with user and password.
pub(super) fn basic(username: &Text, password: &Text) -> Option<HeaderValue> {
    header_value(&format!("Basic {}", STANDARD.encode(format!("{}:{}", username.expose(), password.expose()))))
}

#[async_trait]
impl Middleware for Auth {
    async fn handle(&self, mut request: Request, next: Next<'_>) -> Result<Reply, CallError> {
        match self {
            Self::Header(name, value) => {
                request.headers.insert(name.clone(), value.clone());
                next.run(request).await
            }
            Self::Query(name, value) => {
                request.url.query_pairs_mut().append_pair(name, value.expose());
                next.run(request).await
            }
            Self::Token(tokens) => with_token(tokens, request, next).await,
        }
    }
}

/// A token that is refused is renewed, and the request made again, once.
async fn with_token(tokens: &Arc<Tokens>, mut request: Request, next: Next<'_>) -> Result<Reply, CallError> {
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
