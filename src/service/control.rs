//! `POST /queries/{name}/pause`, `resume`, `stop`, `restart`: one query is controlled while the others go on.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};

use super::{Service, unknown};
use crate::engine::control::{Action, Answer};

/// A request says everything in its address; a body of this many bytes at most is taken and not looked at.
const BODY_BYTES_MAX: usize = 4 << 10;
/// How long a body may take, and the answer of a process that is still starting.
const PATIENCE: Duration = Duration::from_secs(5);

/// Passes the request on, and answers with the query's status once it is accepted.
pub(super) async fn act(State(service): State<Service>, Path((name, action)): Path<(String, String)>, body: Body) -> Response {
    let Some(action) = Action::ALL.into_iter().find(|known| known.name() == action) else {
        return (StatusCode::NOT_FOUND, "a query can be asked to: pause, resume, stop, restart\n").into_response();
    };
    let (Some(query), Some(control)) = (service.find(&name), &service.inner.control) else { return unknown(&service, &name) };
    match tokio::time::timeout(PATIENCE, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) => return (StatusCode::PAYLOAD_TOO_LARGE, "expected no body\n").into_response(),
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n").into_response(),
    }
    match tokio::time::timeout(PATIENCE, control.ask(&name, action)).await {
        Ok(Ok(Answer::Accepted)) => (StatusCode::ACCEPTED, Json(query.status())).into_response(),
        Ok(Ok(Answer::Refused(why))) => (StatusCode::CONFLICT, format!("{why}\n")).into_response(),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", error.chain())).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the queries have not been started yet\n").into_response(),
    }
}
