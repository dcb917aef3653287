//! A server that notes what it is asked, and answers as it is told.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// A request as the server has seen it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// Its number, from 1.
    pub(crate) number: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or("?"))
    }
}

/// What is answered.
pub(crate) type Reply = Response<Body>;
type Handler = dyn Fn(Seen) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync;

/// The answer with this status and body.
pub(crate) fn reply(status: u16, body: impl Into<Body>) -> Reply {
    let mut reply = Response::new(body.into());
    *reply.status_mut() = StatusCode::from_u16(status).expect("a status");
    reply
}

/// The answer with one more header.
pub(crate) fn with(mut reply: Reply, name: &'static str, value: &str) -> Reply {
    reply.headers_mut().insert(name, value.parse().expect("a header"));
    reply
}

/// A server; it ends with the runtime.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    handler: Box<Handler>,
    seen: Mutex<Vec<Seen>>,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
    /// Requests wait for a permit, where the test lets them.
    gate: Semaphore,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.address)
    }
}

impl Server {
    /// A server that answers by `handler`.
    pub(crate) async fn start<F>(handler: impl Fn(Seen) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        Self::serve(listener, address, handler)
    }

    /// A server on `listener`.
    pub(crate) fn serve<L, F>(listener: L, address: SocketAddr, handler: impl Fn(Seen) -> F + Send + Sync + 'static) -> Self
    where
        L: axum::serve::Listener<Addr = SocketAddr>,
        F: Future<Output = Reply> + Send + 'static,
    {
        let state = Arc::new(State {
            handler: Box::new(move |seen| Box::pin(handler(seen))),
            seen: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            in_flight_max: AtomicUsize::new(0),
            gate: Semaphore::new(1 << 20),
        });
        let router = axum::Router::new().fallback({
            let state = state.clone();
            move |request: Request| {
                let state = state.clone();
                async move { state.answer(request).await }
            }
        });
        drop(tokio::spawn(async move { axum::serve(listener, router).await }));
        Self { address, state }
    }

    /// A server that answers the first requests by these statuses, and all others by 200, with `{"n": number}`.
    pub(crate) async fn scripted(statuses: &'static [u16]) -> Self {
        Self::start(move |seen| async move {
            reply(statuses.get(seen.number - 1).copied().unwrap_or(200), format!("{{\"n\": {}}}", seen.number))
        })
        .await
    }

    pub(crate) fn url(&self, rest: &str) -> String {
        format!("http://{}{rest}", self.address)
    }

    /// What it has been asked.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The most requests that were in flight at a time.
    pub(crate) fn in_flight_max(&self) -> usize {
        self.state.in_flight_max.load(Ordering::SeqCst)
    }

    /// The requests that are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.state.in_flight.load(Ordering::SeqCst)
    }

    /// Lets no further request be answered.
    pub(crate) fn close_gate(&self) {
        self.state.gate.forget_permits(1 << 20);
    }

    /// Lets all be answered that wait and come.
    pub(crate) fn open_gate(&self) {
        self.state.gate.add_permits(1 << 20);
    }

    /// Waits until so many requests are in flight.
    pub(crate) async fn until_in_flight(&self, count: usize) {
        let enough = async {
            while self.in_flight() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), enough).await.expect("requests in flight");
    }
}

impl State {
    async fn answer(&self, request: Request) -> Reply {
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.in_flight_max.fetch_max(now, Ordering::SeqCst);
        let _out = Out(&self.in_flight);
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, 64 << 20).await.expect("a body");
        let seen = {
            let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = Seen {
                method: parts.method.to_string(),
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                headers: parts.headers,
                body: String::from_utf8_lossy(&body).into_owned(),
                number: all.len() + 1,
            };
            all.push(seen.clone());
            seen
        };
        let _pass = self.gate.acquire().await.expect("never closed");
        (self.handler)(seen).await
    }
}

/// Counts a request out however it ends.
struct Out<'a>(&'a AtomicUsize);

impl Drop for Out<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
