//! What a store answers when it does not answer an object: heard below the client for S3, which would read whatever comes and tell less of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use object_store::ClientOptions;
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpResponseBody, HttpService};
use reqwest::{Client, StatusCode};

use super::folder::outside;
use super::{not_found, rejected};
use crate::clock::{Clock, SystemClock};
use crate::function::http::{named, retry_after};
use crate::function::{CallError, CallErrorKind};

/// How much of the answer is read for the code of an error.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// Longest code of an error.
const CODE_BYTES_MAX: usize = 64;
/// Codes that say who we are is not right: no call can succeed.
const IDENTITY: &[&str] = &[
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AuthorizationHeaderMalformed",
    "InvalidToken",
    "ExpiredToken",
    "RequestTimeTooSkewed",
];
/// Codes after which another attempt may help, whatever the status.
const TRANSIENT: &[&str] = &["SlowDown", "InternalError", "RequestTimeout", "ServiceUnavailable"];

/// What is heard of one request; it goes along with it.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Option<Refusal>>>);

/// An answer that is no object.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    status: StatusCode,
    retry_after: Option<Duration>,
    /// `SlowDown`, `NoSuchKey`, …
    code: Option<String>,
}

impl Heard {
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Refusal {
    /// What it means for the call.
    pub(super) fn meaning(&self) -> CallError {
        let code = self.code.as_deref();
        let told = match code {
            Some(code) => format!("answered {} ({code})", named(self.status)),
            None => format!("answered {}", named(self.status)),
        };
        let is = |codes: &[&str]| code.is_some_and(|code| codes.contains(&code));
        match self.status.as_u16() {
            _ if is(TRANSIENT) => self.unavailable(told),
            429 | 408 | 500 | 502..=504 => self.unavailable(told),
            404 if code == Some("NoSuchBucket") => CallError::new(CallErrorKind::Config, "there is no such bucket"),
            404 => not_found(),
            416 => outside(),
            300..=399 => CallError::new(CallErrorKind::Config, format!("{told}: the bucket is at another endpoint or region")),
            _ if is(IDENTITY) => CallError::new(CallErrorKind::Config, told),
            _ => rejected(told),
        }
    }

    fn unavailable(&self, told: String) -> CallError {
        CallError { retry_after: self.retry_after, ..CallError::new(CallErrorKind::Unavailable, told) }
    }
}

/// Our own client for whoever builds requests to S3.
#[derive(Debug)]
pub(super) struct Connector(pub(super) Client);

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Listening(self.0.clone())))
    }
}

/// Sends requests, and keeps what is answered instead of an object.
#[derive(Debug)]
struct Listening(Client);

#[async_trait]
impl HttpService for Listening {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let heard = request.extensions().get::<Heard>().cloned().unwrap_or_default();
        let response = HttpService::call(&self.0, request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let retry_after = retry_after(&parts.headers, SystemClock.now_us());
        let refusal = Refusal { status: parts.status, retry_after, code: code(&start_of(body).await) };
        *heard.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(Bytes::new())))
    }
}

/// The first bytes of a body, as far as they come.
async fn start_of(body: HttpResponseBody) -> Vec<u8> {
    let mut start = Vec::new();
    let mut body = body.bytes_stream();
    while let Some(Ok(chunk)) = body.next().await {
        start.extend_from_slice(&chunk[..chunk.len().min(ERROR_BYTES_MAX - start.len())]);
        if start.len() == ERROR_BYTES_MAX {
            break;
        }
    }
    start
}

/// What stands in the `Code` of an error: `<Error><Code>NoSuchKey</Code>…`.
fn code(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let plain = !code.is_empty() && code.len() <= CODE_BYTES_MAX && code.bytes().all(|b| b.is_ascii_alphanumeric());
    plain.then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(status: u16, code: Option<&str>) -> String {
        let refusal = Refusal { status: StatusCode::from_u16(status).unwrap(), retry_after: None, code: code.map(str::to_owned) };
        let error = refusal.meaning();
        format!("{} {}", error.kind.name(), error.message)
    }

    #[test]
    fn each_refusal_has_its_meaning() {
        assert_eq!(meaning(404, None), "rejected not found");
        assert_eq!(meaning(404, Some("NoSuchKey")), "rejected not found");
        assert_eq!(meaning(404, Some("NoSuchBucket")), "config there is no such bucket");
        assert_eq!(meaning(403, Some("AccessDenied")), "rejected answered 403 Forbidden (AccessDenied)");
        assert_eq!(meaning(403, Some("SignatureDoesNotMatch")), "config answered 403 Forbidden (SignatureDoesNotMatch)");
        assert_eq!(meaning(503, Some("SlowDown")), "unavailable answered 503 Service Unavailable (SlowDown)");
        assert_eq!(meaning(400, Some("RequestTimeout")), "unavailable answered 400 Bad Request (RequestTimeout)");
        assert_eq!(meaning(500, None), "unavailable answered 500 Internal Server Error");
        assert_eq!(meaning(416, None), "rejected the range lies outside of the object");
        assert_eq!(
            meaning(301, Some("PermanentRedirect")),
            "config answered 301 Moved Permanently (PermanentRedirect): the bucket is at another endpoint or region"
        );
    }

    #[test]
    fn a_code_is_a_word() {
        let read = |text: &str| code(text.as_bytes());
        assert_eq!(read("<?xml?><Error><Code>NoSuchKey</Code><Key>a</Key>").as_deref(), Some("NoSuchKey"));
        for none in ["", "<Code>", "<Code></Code>", "<Code>a b</Code>", "<html>", "</Code><Code>"] {
            assert_eq!(read(none), None, "{none}");
        }
        assert_eq!(read(&format!("<Code>{}</Code>", "x".repeat(65))), None);
    }
}
