//! Answers requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};

use super::HttpSettings;
use super::body::{Head, Lines, Refusal, lines, unpacked_max};
use crate::clock::Clock;
use crate::service::{Access, Peer};
use crate::source::ingest::{Appender, Taken};
use crate::source::lines::count_lines;

/// Seconds until a client that was turned away may come back.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
/// A body up to this size is looked at where it arrives; a larger one, or one to unpack, would hold the other requests up.
const SMALL_BODY_BYTES: usize = 64 << 10;

/// What the requests of a source share.
#[derive(Debug)]
pub(super) struct Receiver {
    /// The source's name, for messages.
    pub(super) name: Arc<str>,
    pub(super) settings: HttpSettings,
    pub(super) access: Access,
    pub(super) appender: Appender,
    pub(super) clock: Arc<dyn Clock>,
    /// A permit for each byte that requests may hold.
    pub(super) held: Arc<Semaphore>,
    pub(super) requests: AtomicU64,
}

/// Takes a request's lines.
pub(super) async fn take(State(receiver): State<Arc<Receiver>>, Extension(peer): Extension<Peer>, request: Request) -> Response {
    if let Some(refused) = receiver.access.refuse_rows(request.headers(), peer.0.ip()) {
        return refused;
    }
    match receiver.take(peer, request).await {
        Ok(rows) => Json(serde_json::json!({ "rows": rows })).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

impl Receiver {
    /// How many lines are durable now.
    async fn take(&self, Peer(peer): Peer, request: Request) -> Result<u64, Refusal> {
        if request.uri().path() != self.settings.path {
            return Err(Refusal::Elsewhere);
        }
        if request.method() != Method::POST {
            return Err(Refusal::NotPosted);
        }
        let head = Head::read(request.headers())?;
        // Better now than when all of it has arrived.
        if self.appender.receivable() == 0 {
            self.appender.warn_when_full();
            return Err(Refusal::Full);
        }
        let mut held = Held::new(self.held.clone());
        let arrived = tokio::time::timeout(self.settings.request_timeout, self.body(request, &mut held)).await;
        let body = arrived.map_err(|_| Refusal::Slow)??;
        let Lines { bytes, key } = self.lines(head, body, &mut held).await?;
        let rows = count_lines(&bytes);
        if rows == 0 {
            return Ok(0);
        }
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let origin = format!("{}#{number}", SocketAddr::new(peer.ip().to_canonical(), peer.port())).into();
        match self.appender.take(&origin, self.clock.now_us(), &bytes, key).await {
            Ok(Taken::Before) => Ok(rows),
            Ok(Taken::Now) => {
                self.appender.stats().bytes_received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Ok(rows)
            }
            Ok(Taken::OtherLines) => Err(Refusal::OtherLines),
            Ok(Taken::NoRoom) => Err(Refusal::Full),
            Err(error) => {
                warn!(source = &*self.name, error = %error.chain(), "a request could not be made durable");
                Err(Refusal::Unwritten)
            }
        }
    }

    /// All of a body, as it was sent.
    async fn body(&self, request: Request<Body>, held: &mut Held) -> Result<Vec<u8>, Refusal> {
        let bytes_max = self.settings.request_bytes_max;
        let too_large = || Refusal::TooLarge(format!("a request has at most {bytes_max} bytes (max_request)"));
        let told = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if told.is_some_and(|told| told > bytes_max as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        let mut arriving = request.into_body().into_data_stream();
        while let Some(part) = arriving.next().await {
            let part = part.map_err(|error| {
                debug!(source = &*self.name, %error, "a request broke off");
                Refusal::Bad("the request broke off")
            })?;
            if body.len() + part.len() > bytes_max {
                return Err(too_large());
            }
            held.add(part.len())?;
            body.extend_from_slice(&part);
        }
        Ok(body)
    }

    /// The lines of a body.
    async fn lines(&self, head: Head, body: Vec<u8>, held: &mut Held) -> Result<Lines, Refusal> {
        let (request_bytes_max, line_bytes_max) = (self.settings.request_bytes_max, self.settings.line_bytes_max);
        if head.is_gzip {
            held.add(unpacked_max(body.len(), request_bytes_max))?;
        } else if body.len() <= SMALL_BODY_BYTES {
            return lines(&head, body, request_bytes_max, line_bytes_max);
        }
        let looked = tokio::task::spawn_blocking(move || lines(&head, body, request_bytes_max, line_bytes_max)).await;
        looked.map_err(|_| Refusal::Unwritten)?
    }
}

/// What a request holds of the memory that all of them may; given back when it is dropped.
struct Held {
    of: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Held {
    fn new(of: Arc<Semaphore>) -> Self {
        Self { of, permit: None }
    }

    fn add(&mut self, bytes: usize) -> Result<(), Refusal> {
        let more = u32::try_from(bytes).ok().and_then(|bytes| self.of.clone().try_acquire_many_owned(bytes).ok());
        let more = more.ok_or(Refusal::TooMany)?;
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
        Ok(())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, why) = match &self {
            Self::Bad(why) => (StatusCode::BAD_REQUEST, *why),
            Self::Elsewhere => (StatusCode::NOT_FOUND, "there is nothing here"),
            Self::NotPosted => (StatusCode::METHOD_NOT_ALLOWED, "expected POST"),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "the request took too long to arrive"),
            Self::TooLarge(why) => (StatusCode::PAYLOAD_TOO_LARGE, why.as_str()),
            Self::Packed => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected Content-Encoding: gzip or none"),
            Self::OtherLines => (StatusCode::UNPROCESSABLE_ENTITY, "the Idempotency-Key was that of a request with other lines"),
            Self::Full => (StatusCode::TOO_MANY_REQUESTS, "the ingest log is full"),
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "there are too many requests at once"),
            Self::Unwritten => (StatusCode::SERVICE_UNAVAILABLE, "the lines could not be written; they may be taken later"),
        };
        let mut response = (status, format!("{why}\n")).into_response();
        let said = match self {
            Self::NotPosted => Some((header::ALLOW, HeaderValue::from_static("POST"))),
            Self::Packed => Some((header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"))),
            Self::Full | Self::TooMany | Self::Unwritten => Some((header::RETRY_AFTER, RETRY_AFTER)),
            _ => None,
        };
        response.headers_mut().extend(said);
        response
    }
}
