//! What the process tells over HTTP: health, metrics, and what its queries do.
//!
//! Handlers only read shared state and run on the I/O runtime, so that they answer while a batch grinds on the other one.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::engine::status::{QueryMonitor, QueryState};
use crate::error::{Attempt, ErrorKind, Result};
use crate::metrics::Metrics;

/// What the handlers read.
#[derive(Debug, Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pipeline: String,
    queries: Vec<QueryMonitor>,
    metrics: Metrics,
}

impl Service {
    /// A service for the queries of one process.
    pub fn new(pipeline: &str, queries: Vec<QueryMonitor>, metrics: Metrics) -> Self {
        Self { inner: Arc::new(Inner { pipeline: pipeline.to_owned(), queries, metrics }) }
    }

    /// Everything: control and state. Meant for loopback.
    pub fn control(&self) -> Router {
        self.public_routes()
            .route("/queries", get(queries))
            .route("/queries/{name}", get(query))
            .route("/queries/{name}/progress", get(progress))
            .with_state(self.clone())
    }

    /// Only what may be seen anywhere: `/metrics`, `/healthz`, `/readyz`.
    pub fn public(&self) -> Router {
        self.public_routes().with_state(self.clone())
    }

    fn public_routes(&self) -> Router<Service> {
        Router::new().route("/metrics", get(metrics)).route("/healthz", get(healthz)).route("/readyz", get(readyz))
    }

    fn find(&self, name: &str) -> Option<&QueryMonitor> {
        self.inner.queries.iter().find(|query| query.status().name == name)
    }
}

/// Binds `address`; with `or_next`, the next free port when it is taken (up to 100 further).
pub async fn bind(address: SocketAddr, or_next: bool) -> Result<TcpListener> {
    let mut attempt = address;
    loop {
        match TcpListener::bind(attempt).await {
            Ok(listener) => return Ok(listener),
            Err(error) => {
                let taken = error.kind() == std::io::ErrorKind::AddrInUse;
                let next =
                    attempt.port().checked_add(1).filter(|port| or_next && taken && *port <= address.port().saturating_add(100));
                match next {
                    Some(port) => attempt.set_port(port),
                    None => return Err(error).attempting(ErrorKind::Config, || format!("listen on {address}")),
                }
            }
        }
    }
}

/// Serves `router` until `stop` is cancelled.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> Result<()> {
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
        .attempting(ErrorKind::Unavailable, || "serve HTTP".to_owned())
}

async fn healthz() -> &'static str {
    "ok\n"
}

/// 503 while a query is starting or once one has failed, with the names.
async fn readyz(State(service): State<Service>) -> Response {
    let not_ready: Vec<String> = service
        .inner
        .queries
        .iter()
        .map(QueryMonitor::status)
        .filter(|status| !matches!(status.state, QueryState::Running | QueryState::Stopped))
        .map(|status| format!("{} {:?}", status.name, status.state).to_lowercase())
        .collect();
    if not_ready.is_empty() {
        (StatusCode::OK, "ready\n".to_owned()).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", not_ready.join("\n"))).into_response()
    }
}

async fn metrics(State(service): State<Service>) -> Response {
    match service.inner.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.chain()).into_response(),
    }
}

async fn queries(State(service): State<Service>) -> Response {
    let queries: Vec<_> = service.inner.queries.iter().map(QueryMonitor::status).collect();
    Json(serde_json::json!({ "pipeline": service.inner.pipeline, "queries": queries })).into_response()
}

async fn query(State(service): State<Service>, Path(name): Path<String>) -> Response {
    match service.find(&name) {
        Some(query) => {
            Json(serde_json::json!({ "status": query.status(), "lastProgress": query.progress().last() })).into_response()
        }
        None => unknown(&service, &name),
    }
}

async fn progress(State(service): State<Service>, Path(name): Path<String>) -> Response {
    match service.find(&name) {
        Some(query) => Json(query.progress().all()).into_response(),
        None => unknown(&service, &name),
    }
}

fn unknown(service: &Service, name: &str) -> Response {
    let known: Vec<_> = service.inner.queries.iter().map(|query| query.status().name).collect();
    let text = format!("there is no query {name:?}; there are: {}\n", known.join(", "));
    (StatusCode::NOT_FOUND, text).into_response()
}
