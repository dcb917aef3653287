//! Sends a request and reads its answer, within a time and a size, and says what a failure means.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode};

use super::address::Refused;
use super::chain::{Reply, Request, Transport};
use crate::clock::Clock;
use crate::function::{CallError, CallErrorKind};

/// Longest text of another's that a message has.
const FOREIGN_CHARS_MAX: usize = 256;

/// Sends requests with a client.
#[derive(Debug)]
pub(super) struct Http {
    pub(super) client: Client,
    /// For each attempt, from the connection to the last byte.
    pub(super) timeout: Duration,
    pub(super) answer_bytes_max: usize,
    pub(super) statuses: Statuses,
    /// What messages call the other side.
    pub(super) shown: Arc<str>,
    pub(super) clock: Arc<dyn Clock>,
}

/// What a status means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses {
    /// Those of an answer; default: all below 400.
    pub success: Vec<RangeInclusive<u16>>,
    /// Those after which another attempt may help; default 429, 500, 502, 503 and 504.
    pub transient: Vec<RangeInclusive<u16>>,
}

impl Default for Statuses {
    fn default() -> Self {
        Self { success: vec![100..=399], transient: vec![429..=429, 500..=500, 502..=504] }
    }
}

impl Statuses {
    fn is(ranges: &[RangeInclusive<u16>], status: StatusCode) -> bool {
        ranges.iter().any(|range| range.contains(&status.as_u16()))
    }
}

#[async_trait]
impl Transport for Http {
    async fn send(&self, request: Box<Request>) -> Result<Reply, CallError> {
        let Request { method, url, headers, body, call } = *request;
        let what = format!("{method} {}", self.shown);
        let mut out = reqwest::Request::new(method, url);
        *out.headers_mut() = headers;
        *out.body_mut() = body.clone().map(Into::into);
        call.attempts.begin();
        call.note(|record| {
            record.body = body.unwrap_or_default();
            record.reply = None;
        });
        let reply = match tokio::time::timeout(self.timeout, self.exchange(out)).await {
            Ok(reply) => reply.map_err(|error| CallError { message: format!("{what}: {}", error.message), ..error })?,
            Err(_) => {
                let message = format!("{what}: no answer within {}", crate::pipeline::show_duration(self.timeout));
                return Err(CallError::new(CallErrorKind::Timeout, message));
            }
        };
        call.note(|record| record.reply = Some(reply.clone()));
        if Statuses::is(&self.statuses.success, reply.status) {
            return Ok(reply);
        }
        let transient = Statuses::is(&self.statuses.transient, reply.status);
        let kind = if transient { CallErrorKind::Unavailable } else { CallErrorKind::Rejected };
        let retry_after = transient.then(|| retry_after(&reply.headers, self.clock.now_us())).flatten();
        Err(CallError { retry_after, ..CallError::new(kind, format!("{what}: answered {}", named(reply.status))) })
    }
}

impl Http {
    async fn exchange(&self, request: reqwest::Request) -> Result<Reply, CallError> {
        let mut response = self.client.execute(request).await.map_err(|error| failure(&error))?;
        let too_large = || {
            let limit = crate::pipeline::show_size(self.answer_bytes_max as u64);
            CallError::new(CallErrorKind::BadAnswer, format!("the answer is larger than max_answer ({limit})"))
        };
        if response.content_length().is_some_and(|bytes| bytes > self.answer_bytes_max as u64) {
            return Err(too_large());
        }
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let mut body = Body::Empty;
        while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
            if body.len() + chunk.len() > self.answer_bytes_max {
                return Err(too_large());
            }
            body.push(chunk);
        }
        Ok(Reply { status, headers, body: body.finish() })
    }
}

/// A body in the making: one that comes in one piece is not copied.
enum Body {
    Empty,
    One(Bytes),
    Many(BytesMut),
}

impl Body {
    fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.len(),
        }
    }

    fn push(&mut self, chunk: Bytes) {
        *self = match std::mem::replace(self, Self::Empty) {
            Self::Empty => Self::One(chunk),
            Self::One(first) => Self::Many([&first[..], &chunk[..]].concat().as_slice().into()),
            Self::Many(mut bytes) => {
                bytes.extend_from_slice(&chunk);
                Self::Many(bytes)
            }
        };
    }

    fn finish(self) -> Bytes {
        match self {
            Self::Empty => Bytes::new(),
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.freeze(),
        }
    }
}

/// `503 Service Unavailable`.
pub(in crate::function) fn named(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// What a failed exchange means. The URL is not among what is said: it may hold secrets.
pub(in crate::function) fn failure(error: &reqwest::Error) -> CallError {
    let mut innermost: &(dyn std::error::Error + 'static) = error;
    let mut why = None;
    while let Some(cause) = innermost.source() {
        if let Some(refused) = cause.downcast_ref::<Refused>() {
            return CallError::new(CallErrorKind::Config, refused.to_string());
        }
        innermost = cause;
        why = Some(innermost.to_string());
    }
    let why = shortened(&why.unwrap_or_else(|| "the request could not be sent".to_owned()));
    if error.is_builder() {
        return CallError::new(CallErrorKind::Config, why);
    }
    if error.is_timeout() {
        return CallError::new(CallErrorKind::Timeout, format!("no connection: {why}"));
    }
    // Another attempt does not make a certificate right.
    let certificate = why.to_ascii_lowercase().contains("certificate");
    let kind = if certificate { CallErrorKind::Rejected } else { CallErrorKind::Unavailable };
    CallError::new(kind, if error.is_connect() { format!("no connection: {why}") } else { why })
}

/// Foreign text as messages have it: never long, never a control character.
pub(in crate::function) fn shortened(text: &str) -> String {
    let short: String = text.chars().take(FOREIGN_CHARS_MAX).collect();
    short.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

/// How long the other side asks to wait: seconds, or until a date.
pub(in crate::function) fn retry_after(headers: &HeaderMap, now_us: i64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = chrono::DateTime::parse_from_rfc2822(text).ok()?.timestamp_micros();
    Some(Duration::from_micros(u64::try_from(until.saturating_sub(now_us)).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_side_says_how_long_to_wait() {
        let now = 784_111_777_000_000; // Sun, 06 Nov 1994 08:49:37 GMT
        let check = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(check("7"), Some(7));
        assert_eq!(check("0"), Some(0));
        assert_eq!(check("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30));
        assert_eq!(check("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(check("soon"), None);
        assert_eq!(check("-1"), None);
    }

    #[test]
    fn a_body_is_put_together() {
        let put = |chunks: &[&'static str]| {
            let mut body = Body::Empty;
            chunks.iter().for_each(|chunk| body.push(Bytes::from_static(chunk.as_bytes())));
            body.finish()
        };
        assert_eq!((put(&[]), put(&["a"]), put(&["a", "b", "c"])), ("".into(), "a".into(), "abc".into()));
    }
}
