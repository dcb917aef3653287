//! What the process tells over HTTP: health, metrics, what its queries do, and the live page; and what it can be asked to do.
//!
//! Handlers only read shared state, or pass a request on, and run on the I/O runtime, so that they answer while a batch grinds on the
//! other one.

mod access;
mod clients;
mod control;
mod events;
mod page;
mod renewal;
mod serve;
mod stats;
mod tls;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use self::access::{Access, Exposure, Scope, Tokens, check_token};
pub use self::clients::CLIENTS_PER_ADDRESS_MAX;
pub(crate) use self::clients::{Client, Clients};
pub(crate) use self::serve::Peer;
pub use self::serve::{Limits, Listening, bind, serve};
pub use self::stats::ListenerStats;
pub use self::tls::Tls;
use crate::engine::control::Control;
use crate::engine::status::{QueryMonitor, QueryState, QueryStatus};
use crate::metrics::Metrics;

/// Pages that may follow events at a time.
const FOLLOWERS_MAX: usize = 32;

/// What the handlers read; clones share it.
#[derive(Debug, Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pipeline: String,
    queries: Vec<QueryMonitor>,
    metrics: Metrics,
    control: Option<Control>,
    access: Access,
    followers: Arc<Semaphore>,
    /// Ends what would go on for ever.
    stop: CancellationToken,
}

impl Service {
    /// A service for the queries of one process, for this machine only and without control. It ends what it streams when `stop` is
    /// cancelled.
    pub fn new(pipeline: &str, queries: Vec<QueryMonitor>, metrics: Metrics, stop: CancellationToken) -> Self {
        let inner = Inner {
            pipeline: pipeline.to_owned(),
            queries,
            metrics,
            control: None,
            access: Access::default(),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            stop,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The same, through which queries can be controlled by whoever `access` lets in.
    #[must_use]
    pub fn with_control(self, control: Control, access: Access) -> Self {
        let Inner { pipeline, queries, metrics, followers, stop, .. } = &*self.inner;
        let inner = Inner {
            pipeline: pipeline.clone(),
            queries: queries.clone(),
            metrics: metrics.clone(),
            control: Some(control),
            access,
            followers: followers.clone(),
            stop: stop.clone(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Everything: page, control and state.
    pub fn control(&self) -> Router {
        let guarded = Router::new()
            .route("/metrics", get(metrics))
            .route("/queries", get(queries))
            .route("/queries/{name}", get(query))
            .route("/queries/{name}/progress", get(progress))
            .route("/queries/{name}/plan", get(plan))
            .route("/queries/{name}/{action}", post(control::act))
            .route("/events", get(events::follow))
            .route_layer(from_fn_with_state(self.clone(), access::let_in));
        // The page itself holds nothing: whoever opens it is asked for the token that what it shows needs.
        let open = page::routes().route("/healthz", get(healthz)).route("/readyz", get(readyz));
        let router = guarded.merge(open).layer(from_fn_with_state(self.clone(), access::is_meant));
        router.layer(from_fn(access::with_headers)).with_state(self.clone())
    }

    /// Only what may be seen anywhere: `/healthz`, `/readyz`, and `/metrics` by whoever `access` lets in.
    pub fn public(&self, access: &Access) -> Router {
        let routes =
            Router::new().route("/metrics", get(metrics)).route_layer(from_fn_with_state(access.clone(), access::let_read));
        let routes = routes.route("/healthz", get(healthz)).route("/readyz", get(readyz));
        routes.layer(from_fn(access::with_headers)).with_state(self.clone())
    }

    /// Whether what is sent can be read on the way.
    pub fn is_insecure(&self) -> bool {
        self.inner.access.is_insecure()
    }

    fn find(&self, name: &str) -> Option<&QueryMonitor> {
        self.inner.queries.iter().find(|query| query.status().name == name)
    }
}

async fn healthz() -> &'static str {
    "ok\n"
}

/// 503 while a query is starting or paused or once one has failed, with the names.
async fn readyz(State(service): State<Service>) -> Response {
    let is_ready = |status: &QueryStatus| matches!(status.state, QueryState::Running | QueryState::Stopped);
    let statuses = service.inner.queries.iter().map(QueryMonitor::status).filter(|status| !is_ready(status));
    let not_ready: Vec<String> = statuses.map(|status| format!("{} {:?}", status.name, status.state).to_lowercase()).collect();
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

async fn plan(State(service): State<Service>, Path(name): Path<String>) -> Response {
    match service.find(&name) {
        Some(query) => Json(query.glance().plan()).into_response(),
        None => unknown(&service, &name),
    }
}

fn unknown(service: &Service, name: &str) -> Response {
    let known: Vec<_> = service.inner.queries.iter().map(|query| query.status().name).collect();
    let text = format!("there is no query {name:?}; there are: {}\n", known.join(", "));
    (StatusCode::NOT_FOUND, text).into_response()
}
